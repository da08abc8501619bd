//! `POST /revoke`: a client wants a token to be ended (RFC 7009).

use http::HeaderMap;

use crate::endpoints::token::invalid_grant;
use crate::engine::Engine;
use crate::keys::format::Unread;
use crate::keys::keyring::is_same;
use crate::oauth::client::Client;
use crate::oauth::error::{Code, OAuthError};
use crate::oauth::parameters::Params;
use crate::tokens::grant::{Grant, RefreshToken};

/// A request to the revocation endpoint, of a client that is who it says.
pub(crate) struct Revocation {
    pub(crate) client: Client,
    pub(crate) token: Token,
}

/// What is to be ended, whatever `token_type_hint` says: nothing that is one passes for the other.
pub(crate) enum Token {
    Refresh(RefreshToken),
    /// An access token, or nothing.
    Other(String),
}

impl Engine {
    pub(crate) fn revocation(
        &self,
        headers: &HeaderMap,
        form: &str,
    ) -> Result<Revocation, OAuthError> {
        let params = Params::parse(form)?;
        let (_, client) = self.clients.authenticate(headers, &params, &self.keys)?;
        let text = params.required("token")?;
        Ok(Revocation {
            client,
            token: match self.read_refresh_token(text) {
                Ok(token) => Token::Refresh(token),
                Err(Unread::Malformed) => Token::Other(text.to_owned()),
                Err(Unread::Later) => return Err(OAuthError::later()),
            },
        })
    }

    /// Nobody ends what is another's.
    pub(crate) fn check_revocation(
        &self,
        grant: &Grant,
        client: &Client,
    ) -> Result<(), OAuthError> {
        match is_same(&grant.client, &client.hash) {
            true => Ok(()),
            false => Err(invalid_grant("the token is another client's")),
        }
    }
}

/// Entra takes no single token back.
pub(crate) fn not_revocable() -> OAuthError {
    OAuthError::new(
        Code::UnsupportedTokenType,
        "this is a token of Entra's, which ends by itself; revoke the refresh token",
    )
}
