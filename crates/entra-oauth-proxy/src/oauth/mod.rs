//! The words of OAuth: its errors and parameters, which all here share, and its scopes, resources, claims
//! requests and clients.

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
