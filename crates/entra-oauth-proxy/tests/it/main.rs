//! The proxy as clients, browsers and Entra have it, against a tenant.

mod sign_in;
mod support;
