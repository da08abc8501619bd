//! The proxy as clients, browsers and Entra have it, against a tenant.

mod at_once;
mod authorize;
mod callback;
mod clients;
mod conformance;
mod consent;
mod discovery;
mod hostile;
mod layer;
mod logbook;
mod logs;
mod properties;
mod refresh;
mod refusals_of_entra;
mod registration;
mod renewal;
mod revocation;
mod rotation;
mod settings;
mod sign_in;
mod stores;
mod support;
mod threats;
mod token;
mod tokens_of_entra;
mod watched_store;
