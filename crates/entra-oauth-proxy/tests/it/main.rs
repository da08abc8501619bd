//! The proxy as clients, browsers and Entra have it, against a tenant.

mod conformance;
mod discovery;
mod layer;
mod rotation;
mod settings;
mod authorize;
mod consent;
mod registration;
mod sign_in;
mod support;
mod watched_store;
