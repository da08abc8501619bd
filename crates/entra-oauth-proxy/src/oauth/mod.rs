//! OAuth's errors, parameters, scopes, resource, claims requests and clients.
//!
//! The submodules share the errors and parameters.

mod claims_request;
mod clients;
mod error;
mod parameters;
mod resource;
mod scopes;

pub use self::clients::PreregisteredClient;
pub(crate) use self::{
    claims_request::{carries_claims, merge_claims},
    clients::{Client, ClientRegistry, MAX_CLIENT_ID, RedirectTarget, RedirectUriKind},
    error::{ErrorCode, OAuthError},
    parameters::Parameters,
    resource::ResourceId,
    scopes::{GrantedScopes, Scopes},
};
