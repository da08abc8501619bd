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
}

impl EntraError {
    /// Entra's answer for a tenant that does not exist, at every endpoint.
    pub(crate) fn tenant_not_found(tenant: &str) -> Self {
        Self {
            error: "invalid_tenant",
            code: 90002,
            message: format!(
                "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID \
                 and are signing into the correct cloud. Check with your subscription \
                 administrator, this may happen if there are no active subscriptions for the \
                 tenant."
            ),
        }
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
        json!({
            "error": self.error,
            "error_description": format!(
                "AADSTS{}: {} Trace ID: {trace_id} Correlation ID: {correlation_id} \
                 Timestamp: {timestamp}",
                self.code, self.message,
            ),
            "error_codes": [self.code],
            "timestamp": timestamp,
            "trace_id": trace_id,
            "correlation_id": correlation_id,
            "error_uri": format!("https://login.microsoftonline.com/error?code={}", self.code),
        })
    }
}

/// In Entra's form, such as `2026-08-13 21:24:29Z`.
fn timestamp(unix_seconds: i64) -> String {
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
