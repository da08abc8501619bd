//! The errors of OAuth.

use std::fmt;
use std::time::Duration;

use entra_http::retry_after_value;
use http::StatusCode;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::json;

use crate::crypto::random_text;
use crate::http::{Response, json, set_static};
use crate::store::StoreError;
use crate::telemetry::{Finding, ThrottledLog, log_refusal, set_outcome};

/// An error that a client is told. The description never holds a value that came from outside, nor a word
/// of Entra's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct OAuthError {
    code: ErrorCode,
    /// The description, and what the log has beside it.
    finding: Box<Finding>,
    /// The reference that ends the description, if it has one.
    reference: Option<String>,
    retry_after: Option<Duration>,
}

/// RFC 6749 §4.1.2.1 and §5.2, RFC 7009 §2.2.1, RFC 7591 §3.2.2, RFC 8707 §2, OpenID Connect Core
/// §3.1.2.6.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ErrorCode {
    AccessDenied,
    InvalidClient,
    InvalidClientMetadata,
    InvalidGrant,
    InvalidRedirectUri,
    InvalidRequest,
    InvalidScope,
    InvalidTarget,
    RequestNotSupported,
    RequestUriNotSupported,
    ServerError,
    TemporarilyUnavailable,
    /// Said in the same word, as OAuth has none of its own.
    TooManyRequests,
    UnsupportedGrantType,
    /// Said as [`InvalidClientMetadata`](Self::InvalidClientMetadata), as RFC 7591 has no word of its
    /// own.
    UnsupportedMediaType,
    UnsupportedResponseType,
    UnsupportedTokenType,
}

impl ErrorCode {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::InvalidClient => "invalid_client",
            Self::InvalidClientMetadata | Self::UnsupportedMediaType => "invalid_client_metadata",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::RequestNotSupported => "request_not_supported",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable | Self::TooManyRequests => "temporarily_unavailable",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::UnsupportedTokenType => "unsupported_token_type",
        }
    }

    /// Returns the status of a response in JSON. What the server cannot do now is 503, whosever fault: clients
    /// keep what they have, and ask again.
    const fn status(self) -> StatusCode {
        match self {
            Self::InvalidClient => StatusCode::UNAUTHORIZED,
            Self::ServerError | Self::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl OAuthError {
    pub(crate) fn new(code: ErrorCode, finding: impl Into<Finding>) -> Self {
        Self {
            code,
            finding: Box::new(finding.into()),
            reference: None,
            retry_after: None,
        }
    }

    /// Makes the error of a code or a refresh token that gets nothing (any more).
    pub(crate) fn invalid_grant(text: &'static str) -> Self {
        Self::new(ErrorCode::InvalidGrant, text)
    }

    /// Makes an error with a reference that is in the log, too, for whoever asks the operator about it.
    pub(crate) fn with_reference(code: ErrorCode, text: &'static str) -> (Self, String) {
        let reference = random_text::<6>();
        let mut error = Self::new(code, text);
        error.reference = Some(reference.clone());
        (error, reference)
    }

    /// Makes the error of something that this server needs and that does not answer.
    pub(crate) fn unavailable(retry_after: Option<Duration>) -> Self {
        // Where nobody else says it.
        const RETRY_AFTER: Duration = Duration::from_secs(5);

        let text = "try again in a few seconds";
        Self::new(ErrorCode::TemporarilyUnavailable, text)
            .retry_after(retry_after.unwrap_or(RETRY_AFTER))
    }

    /// Makes the error of a store without room for another sign-in.
    fn full() -> Self {
        // After that, somebody else's sign-in may have ended.
        const FULL_FOR: Duration = Duration::from_secs(5 * 60);

        let text = "this server keeps as many sign-ins as it can; those who are signed in are not \
                    concerned; try again in 5 minutes";
        Self::new(ErrorCode::TemporarilyUnavailable, text).retry_after(FULL_FOR)
    }

    /// Makes the error of what is good, but can be read by a later version of this server alone: the client
    /// keeps it.
    pub(crate) fn later() -> Self {
        const LATER_FOR: Duration = Duration::from_secs(60);

        let text = "this was made by a later version of this server than the one that answers; keep \
                    it, and try again in a minute";
        Self::new(ErrorCode::TemporarilyUnavailable, text).retry_after(LATER_FOR)
    }

    /// Adds when to ask again, in whole seconds.
    pub(crate) fn retry_after(self, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..self
        }
    }

    pub(crate) fn code(&self) -> ErrorCode {
        self.code
    }

    /// Returns what the log has of it.
    pub(crate) fn finding(&self) -> &Finding {
        &self.finding
    }

    /// Writes it into the log, as the error of what a client asked for.
    pub(crate) fn log(&self, log: &ThrottledLog, what: &'static str) {
        let (code, reference) = (self.code.as_str(), self.reference.as_deref());
        log_refusal(log, (what, &self.finding), Some(code), None, reference);
    }

    /// Returns what a request came to that is answered with it.
    pub(super) fn outcome(&self) -> &'static str {
        match self.code {
            ErrorCode::TooManyRequests => "too_many_requests",
            code => code.as_str(),
        }
    }

    /// Makes the response that tells a client of it (RFC 6749 §5.2).
    pub(crate) fn response(&self) -> Response {
        let body = json!({
            "error": self.code.as_str(),
            "error_description": self.to_string(),
        });
        let mut response = json(self.code.status(), &body);
        if self.code == ErrorCode::InvalidClient {
            let challenge = "Basic realm=\"token endpoint\"";
            set_static(&mut response, WWW_AUTHENTICATE, challenge);
        }
        set_outcome(&mut response, self.outcome());
        if let Some(wait) = self.retry_after {
            let wait = retry_after_value(wait);
            response.headers_mut().insert(RETRY_AFTER, wait);
        }
        response
    }
}

/// The description.
impl fmt::Display for OAuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.finding, f)?;
        match &self.reference {
            Some(reference) => write!(f, "; reference {reference}"),
            None => Ok(()),
        }
    }
}

/// The error for clients where the store does not answer, is full, or has what only a later version of this
/// server can read. The log has it already.
impl From<StoreError> for OAuthError {
    fn from(error: StoreError) -> Self {
        match () {
            () if error.is_full() => Self::full(),
            () if error.is_later() => Self::later(),
            () => Self::unavailable(None),
        }
    }
}
