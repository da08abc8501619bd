//! What the proxy is up against: one test for each threat, by its name.
//!
//! Three of them were advisories against the proxy that this one follows (FastMCP):
//! GHSA-c2jp-c369-7pvx, GHSA-rww4-4w9c-7733 and GHSA-6x8h-498w-gv8c.
//!
//! Not here, as what they are about is not there yet:
//!
//! - client id metadata documents: requests to addresses inside (SSRF, DNS rebinding, a huge body),
//!   and a document that is swapped after consent;
//! - rate limits and bulkheads, against floods of registrations, sign-ins and requests to Entra;
//! - one request to Entra for several refreshes of a sign-in at once (single-flight);
//! - the revocation endpoint;
//! - timing: that secrets are compared in constant time cannot be seen from outside.

mod browser;
mod registration;
mod tokens;
