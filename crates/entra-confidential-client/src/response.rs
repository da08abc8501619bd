//! The response of the token endpoint, read as tokens or as an error.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Map, Value};

use crate::credential::Secret;
use crate::error::TokenError;
use crate::request::SentSecrets;

/// Tokens from Entra, none of which has been verified.
///
/// An access token for this application's own API is verified by its Layer. An id token must be
/// verified before its claims are believed. Other tokens are only for their resource to read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TokenResponse {
    /// The access token, sent as `Authorization: Bearer …` to the resource of the scopes.
    pub access_token: Secret,
    /// The refresh token, for [`TokenRequest::refresh_token`](crate::TokenRequest::refresh_token).
    ///
    /// Present if `offline_access` was requested, and never for `client_credentials`.
    pub refresh_token: Option<Secret>,
    /// The id token; present if `openid` was requested.
    pub id_token: Option<Secret>,
    /// Lifetime of the access token from the time of the response, at least one second.
    pub expires_in: Duration,
    /// The granted scopes as Entra returns them: in full, separated by spaces.
    ///
    /// If it is `None` (`client_credentials`), the granted scopes are the requested ones.
    pub scope: Option<String>,
}

impl TokenResponse {
    /// Maximum size of a response in bytes. Tokens of users in very many groups have some tens of
    /// KiB.
    pub(crate) const MAX_BYTES: usize = 256 * 1024;

    /// Reads a response, whose body is `None` if it is longer than [`MAX_BYTES`](Self::MAX_BYTES).
    pub(crate) fn read(
        response: &Response<Option<Bytes>>,
        sent: &SentSecrets,
    ) -> Result<Self, TokenError> {
        let document = document(response.body().as_deref());
        if response.status() != StatusCode::OK {
            let document = document.unwrap_or_default();
            return Err(TokenError::refusal(response, &document, sent));
        }
        document
            .and_then(|document| Self::from_document(&document))
            .map_err(|problem| TokenError::invalid_response(response.status(), problem))
    }

    /// Reads the tokens of a successful response (RFC 6749 §5.1). The error names the fault of the
    /// response.
    fn from_document(document: &Map<String, Value>) -> Result<Self, &'static str> {
        let text = |name| {
            let text = document.get(name).and_then(Value::as_str);
            text.filter(|text| !text.is_empty())
        };
        let access_token = text("access_token").ok_or("the response has no access_token")?;
        if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
            return Err("the token is not a bearer token (token_type)");
        }
        let expires_in = document
            .get("expires_in")
            .and_then(seconds)
            .ok_or("the response does not say how long the token is valid (expires_in)")?;
        Ok(Self {
            access_token: access_token.into(),
            refresh_token: text("refresh_token").map(Secret::from),
            id_token: text("id_token").map(Secret::from),
            expires_in,
            scope: text("scope").map(str::to_owned),
        })
    }
}

fn document(body: Option<&[u8]>) -> Result<Map<String, Value>, &'static str> {
    let Some(body) = body else {
        return Err("the response is longer than 256 KiB");
    };
    serde_json::from_slice(body).map_err(|_| "the response is not a JSON object")
}

/// Parses a positive number of seconds.
///
/// Entra's older endpoints write the number as a string. Values are cut at `u32::MAX`, so that they
/// can always be added to a time.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = value
        .as_u64()
        .or_else(|| value.as_str().and_then(|text| text.parse().ok()))?;
    (seconds > 0).then(|| Duration::from_secs(seconds.min(u64::from(u32::MAX))))
}
