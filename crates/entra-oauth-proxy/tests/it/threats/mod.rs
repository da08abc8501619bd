//! What the proxy is up against: one test for each threat, by its name.
//!
//! Three of them were advisories against the proxy that this one follows (FastMCP):
//! GHSA-c2jp-c369-7pvx, GHSA-rww4-4w9c-7733 and GHSA-6x8h-498w-gv8c.
//!
//! Elsewhere, as they take more than a test:
//!
//! - floods of registrations, sign-ins, token requests and requests to Entra: `limits` and `floods`;
//! - where browsers are sent before a person agreed, schemes, and forms of other sites: `redirects`;
//! - what strangers can write into the log: `log_floods`;
//! - many refreshes of one token at once: `at_once`;
//! - tokens that their client takes back: `revocation`;
//! - an end of the process in the middle of anything: the test binary `kill`.
//!
//! Not tested:
//!
//! - client id metadata documents (SSRF, DNS rebinding, a huge body, a document that is swapped after
//!   consent): there are none yet;
//! - timing: that secrets are compared in constant time cannot be seen from outside.

mod browser;
mod registration;
mod tokens;
