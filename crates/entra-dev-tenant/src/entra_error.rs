//! Refusals in the format of Entra's errors.

use std::fmt;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::clock::{Clock, timestamp};
use crate::text::random_guid;

/// An OAuth error of Entra, with its AADSTS number.
#[derive(Debug)]
pub(crate) struct EntraError {
    error: &'static str,
    code: u32,
    message: String,
    /// The `suberror`, by which Entra says what to do about the error.
    suberror: Option<&'static str>,
    /// A claims request, as text, that the user must satisfy by a new sign-in.
    claims: Option<&'static str>,
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

    /// Returns the same refusal with another value of `error`.
    pub(crate) fn renamed(mut self, error: &'static str) -> Self {
        self.error = error;
        self
    }

    pub(crate) fn malformed() -> Self {
        let message = "Invalid request. Request is malformed or invalid.";
        Self::new("invalid_request", 9_002_313, message)
    }

    /// Returns the refusal for a tenant that does not exist. All endpoints have the same one.
    pub(crate) fn tenant_not_found(tenant: &str) -> Self {
        let message = format!(
            "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and \
             are signing into the correct cloud. Check with your subscription administrator, this \
             may happen if there are no active subscriptions for the tenant."
        );
        Self::new("invalid_tenant", 90_002, message)
    }

    /// Returns the refusal by Conditional Access, which requires the user to sign in again.
    pub(crate) fn interaction_required(resource: &str) -> Self {
        let message = format!(
            "Due to a configuration change made by your administrator, or because you moved to a \
             new location, you must use multi-factor authentication to access '{resource}'."
        );
        // Only Entra knows what the policy's id means. The client must send it back unchanged.
        let claims = r#"{"access_token":{"capolids":{"essential":true,"values":["3f2504e0-4f89-41d3-9a0c-0305e82c3301"]}}}"#;
        Self {
            suberror: Some("basic_action"),
            claims: Some(claims),
            ..Self::new("interaction_required", 50_076, message)
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
        if let Some(claims) = self.claims {
            body["claims"] = json!(claims);
        }
        body
    }

    /// Returns `error_description`, for responses without other fields for its ids and its time.
    pub(crate) fn description(&self, clock: &Clock) -> String {
        let timestamp = timestamp(clock.unix_seconds());
        self.described(&random_guid(), &random_guid(), &timestamp)
    }

    /// Returns the parameters of the redirect by which the client receives the refusal.
    pub(crate) fn redirect_parameters(&self, clock: &Clock) -> Vec<(&'static str, String)> {
        let mut parameters = vec![
            ("error", self.error.to_owned()),
            ("error_description", self.description(clock)),
            ("error_uri", self.uri()),
        ];
        parameters.extend(self.suberror.map(|text| ("error_subcode", text.to_owned())));
        parameters.extend(self.claims.map(|text| ("claims", text.to_owned())));
        parameters
    }

    fn uri(&self) -> String {
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

impl fmt::Display for EntraError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}
