//! Refusals in the shape in which Entra writes them.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::clock::Clock;
use crate::text::random_guid;

/// An OAuth error of Entra, with its AADSTS number.
#[derive(Debug)]
pub(crate) struct EntraError {
    pub(crate) error: &'static str,
    pub(crate) code: u32,
    pub(crate) message: String,
    /// What to do about it, where Entra says so in one word more.
    pub(crate) suberror: Option<&'static str>,
    /// A claims request, as text, that a sign-in must satisfy before it is tried again.
    pub(crate) claims: Option<String>,
}

impl EntraError {
    pub(crate) fn new(error: &'static str, code: u32, message: impl Into<String>) -> Self {
        Self {
            error,
            code,
            message: message.into(),
            suberror: None,
            claims: None,
        }
    }

    pub(crate) fn with_suberror(mut self, suberror: &'static str) -> Self {
        self.suberror = Some(suberror);
        self
    }

    pub(crate) fn public_client() -> Self {
        let message = "Client is public so neither 'client_assertion' nor 'client_secret' should \
            be presented.";
        Self::new("invalid_client", 700_025, message)
    }

    pub(crate) fn malformed() -> Self {
        let message = "Invalid request. Request is malformed or invalid.";
        Self::new("invalid_request", 9_002_313, message)
    }

    /// Entra's answer for a tenant that does not exist, at every endpoint.
    pub(crate) fn tenant_not_found(tenant: &str) -> Self {
        let message = format!(
            "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and \
             are signing into the correct cloud. Check with your subscription administrator, this \
             may happen if there are no active subscriptions for the tenant."
        );
        Self::new("invalid_tenant", 90_002, message)
    }

    pub(crate) fn into_response(self, clock: &Clock) -> Response {
        let status = match self.error {
            "invalid_client" => StatusCode::UNAUTHORIZED,
            _ => StatusCode::BAD_REQUEST,
        };
        (status, Json(self.body(clock))).into_response()
    }

    pub(crate) fn body(&self, clock: &Clock) -> Value {
        let (trace_id, correlation_id) = (random_guid(), random_guid());
        let timestamp = timestamp(clock.unix_seconds());
        let mut body = json!({
            "error": self.error,
            "error_description": self.described(&trace_id, &correlation_id, &timestamp),
            "error_codes": [self.code],
            "timestamp": timestamp,
            "trace_id": trace_id,
            "correlation_id": correlation_id,
            "error_uri": self.uri(),
        });
        if let Some(suberror) = self.suberror {
            body["suberror"] = json!(suberror);
        }
        if let Some(claims) = &self.claims {
            body["claims"] = json!(claims);
        }
        body
    }

    /// `error_description`, where there is no other place for its ids and its time.
    pub(crate) fn description(&self, clock: &Clock) -> String {
        let timestamp = timestamp(clock.unix_seconds());
        self.described(&random_guid(), &random_guid(), &timestamp)
    }

    pub(crate) fn uri(&self) -> String {
        format!("https://login.microsoftonline.com/error?code={}", self.code)
    }

    fn described(&self, trace_id: &str, correlation_id: &str, timestamp: &str) -> String {
        format!(
            "AADSTS{}: {} Trace ID: {trace_id} Correlation ID: {correlation_id} \
             Timestamp: {timestamp}",
            self.code, self.message,
        )
    }
}

/// In Entra's form, such as `2026-08-13 21:24:29Z`.
pub(crate) fn timestamp(unix_seconds: i64) -> String {
    let time =
        OffsetDateTime::from_unix_timestamp(unix_seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (hour, minute, second) = time.to_hms();
    format!("{} {hour:02}:{minute:02}:{second:02}Z", time.date())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_follow_the_calendar() {
        assert_eq!(timestamp(0), "1970-01-01 00:00:00Z");
        assert_eq!(timestamp(951_782_400), "2000-02-29 00:00:00Z");
        assert_eq!(timestamp(1_786_656_269), "2026-08-13 21:24:29Z");
    }
}
