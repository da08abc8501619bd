//! The proxy as clients, browsers and Entra have it, against a tenant.

mod conformance;
mod discovery;
mod layer;
mod rotation;
mod settings;
mod authorize;
mod callback;
mod consent;
mod logbook;
mod registration;
mod sign_in;
mod support;
mod watched_store;
