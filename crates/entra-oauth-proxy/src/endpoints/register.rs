//! `POST /register`: dynamic registration of clients (RFC 7591), without storing anything.

use entra_http::BoxError;
use http::StatusCode;
use http::request::Parts;
use http_body::Body;
use serde_json::Value;

use super::Server;
use crate::http::{Response, UnreadBody, check_json, empty, json};
use crate::oauth::{ErrorCode, OAuthError};
use crate::telemetry::throttled;

/// Maximum size of the body in bytes.
const MAX_BYTES: usize = 8 * 1024;

pub(super) async fn answer<B>(server: &Server, head: &Parts, body: UnreadBody<'_, B>) -> Response
where
    B: Body,
    B::Error: Into<BoxError>,
{
    if !server.clients.can_register() {
        return empty(StatusCode::NOT_FOUND);
    }
    match register(server, head, body).await {
        Ok(document) => {
            let what = "a client registered itself";
            throttled!(info, server.log, (what, ""), "{what}");
            json(StatusCode::CREATED, &document)
        }
        Err(error) => server.refuse("a registration was refused", &error),
    }
}

async fn register<B>(
    server: &Server,
    head: &Parts,
    body: UnreadBody<'_, B>,
) -> Result<Value, OAuthError>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    // RFC 7591 §3.1 requires JSON. Another site could pass JSON off as plain text, which browsers
    // send without a preflight.
    check_json(&head.headers)
        .map_err(|finding| OAuthError::new(ErrorCode::UnsupportedMediaType, finding))?;
    let body = body.read(MAX_BYTES).await.ok_or_else(|| {
        OAuthError::new(
            ErrorCode::InvalidClientMetadata,
            "the metadata is longer than 8 KiB, or incomplete",
        )
    })?;
    let now = server.clock.now();
    server.clients.register(&body, &server.scopes, now)
}
