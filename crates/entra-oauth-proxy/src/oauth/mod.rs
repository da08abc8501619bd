//! The words of OAuth: its errors, parameters, scopes, redirect URIs and clients.

pub(crate) mod claims_request;
pub(crate) mod client;
pub(crate) mod error;
pub(crate) mod parameters;
pub(crate) mod redirect_uri;
pub(crate) mod scopes;
