//! Tests of the threat model: one test for each threat, with the threat's name.
//!
//! Three of the threats were advisories against the proxy that this one follows (FastMCP):
//! GHSA-c2jp-c369-7pvx, GHSA-rww4-4w9c-7733 and GHSA-6x8h-498w-gv8c.
//!
//! Other modules test the threats that need more than one test:
//!
//! - floods of registrations, sign-ins, token requests and requests to Entra: `limits` and
//!   `floods`;
//! - redirects before the user agreed, schemes, and forms of other sites: `redirects`;
//! - log lines that strangers can cause: `log_floods`;
//! - concurrent refreshes of one token: `at_once`;
//! - tokens that their client revokes: `revocation`;
//! - a process that ends in the middle of its work: the test binary `kill`.
//!
//! Not tested:
//!
//! - client id metadata documents (SSRF, DNS rebinding, a huge body, a document that changes after
//!   the consent): the proxy does not support them yet;
//! - timing: a test from outside cannot see whether secrets are compared in constant time.

mod browser;
mod registration;
mod tokens;
