//! The proxy as clients, browsers and Entra have it, against a tenant.

mod discovery;
mod layer;
mod settings;
mod sign_in;
mod support;
