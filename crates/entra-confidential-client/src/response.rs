//! The tokens that were got.

use std::time::Duration;

use crate::secret::Secret;

/// The tokens that Entra gave. None of them has been verified: an access token for this
/// application's own API goes through its Layer, an id token is to be checked before its claims
/// are believed, and anything else is for somebody else to read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TokenResponse {
    /// Sent as `Authorization: Bearer …` to the resource of the scopes.
    pub access_token: Secret,
    /// For [`TokenRequest::refresh_token`](crate::TokenRequest::refresh_token); there if
    /// `offline_access` was requested, and never for `client_credentials`.
    pub refresh_token: Option<Secret>,
    /// There if `openid` was requested.
    pub id_token: Option<Secret>,
    /// How long the access token is good from now; at least a second.
    pub expires_in: Duration,
    /// The scopes that were granted, as Entra says them: in full, separated by spaces. Without it
    /// (`client_credentials`) they are those that were requested.
    pub scope: Option<String>,
}
