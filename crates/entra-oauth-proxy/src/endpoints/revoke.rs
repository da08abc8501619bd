//! `POST /revoke`: ends a client's sign-in by one of its tokens (RFC 7009).

use std::sync::Arc;

use entra_http::BoxError;
use http::header::{CACHE_CONTROL, PRAGMA};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use http_body::Body;

use super::{Server, invalid_request};
use crate::http::{Response, UnreadBody, empty, set_static};
use crate::keys::Unreadable;
use crate::oauth::{Client, ErrorCode, OAuthError, Parameters};
use crate::telemetry::record;
use crate::tokens::RefreshToken;

/// A token to revoke. `token_type_hint` is ignored, because the two kinds cannot be confused.
enum Token {
    Refresh(RefreshToken),
    /// An access token, or a text that is no token.
    Other(String),
}

const REFUSED: &str = "a revocation was refused";

pub(super) async fn answer<B>(
    server: &Arc<Server>,
    head: &Parts,
    body: UnreadBody<'_, B>,
) -> Response
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let form = match body.form(&head.headers).await {
        Ok(form) => form,
        Err(finding) => return server.refuse(REFUSED, &invalid_request(finding)),
    };
    match revoke(server, &head.headers, &form).await {
        // The response has no content (RFC 7009 §2.2).
        Ok(()) => {
            let mut response = empty(StatusCode::OK);
            set_static(&mut response, CACHE_CONTROL, "no-store");
            set_static(&mut response, PRAGMA, "no-cache");
            response
        }
        Err(error) => server.refuse(REFUSED, &error),
    }
}

async fn revoke(server: &Arc<Server>, headers: &HeaderMap, form: &str) -> Result<(), OAuthError> {
    let parameters = form.parse::<Parameters>()?;
    let (_, client) = server.clients.authenticate(headers, &parameters)?;
    let text = parameters.required("token")?;
    let token = match server.grants.read_refresh_token(text) {
        Ok(token) => Token::Refresh(token),
        Err(Unreadable::Malformed) => Token::Other(text.to_owned()),
        Err(Unreadable::Later) => return Err(OAuthError::later()),
    };
    record("client", &client.hash);
    let work = {
        let server = Arc::clone(server);
        async move { end(&server, &client, token).await }
    };
    server.work.for_clients(work).await?
}

async fn end(server: &Server, client: &Client, token: Token) -> Result<(), OAuthError> {
    let id = match token {
        Token::Refresh(token) => token.grant_id().to_owned(),
        Token::Other(text) => match server.auth.verify(&text).await {
            // Entra cannot revoke a single token.
            Ok(caller) => caller.grant_id().ok_or_else(not_revocable)?.to_owned(),
            Err(refusal) if refusal.is_unavailable() => {
                return Err(OAuthError::unavailable(None));
            }
            // The token is invalid, so there is nothing to revoke (RFC 7009 §2.2).
            Err(_) => return Ok(()),
        },
    };
    server.grants.revoke(&id, &client.hash).await
}

fn not_revocable() -> OAuthError {
    OAuthError::new(
        ErrorCode::UnsupportedTokenType,
        "this is an access token of Entra, which this server cannot revoke; revoke the refresh \
         token",
    )
}
