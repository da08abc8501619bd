//! OAuth errors.

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

/// An OAuth error for a client.
///
/// The description never contains a value from outside, or a text from Entra.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct OAuthError {
    code: ErrorCode,
    /// The description for the client, with more details for the log.
    finding: Box<Finding>,
    /// The reference at the end of the description, if any.
    reference: Option<String>,
    retry_after: Option<Duration>,
}

/// An OAuth error code (RFC 6749 §4.1.2.1 and §5.2, RFC 7009 §2.2.1, RFC 7591 §3.2.2, RFC 8707 §2,
/// OpenID Connect Core §3.1.2.6).
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
    /// A request above a rate limit.
    ///
    /// Sent as `temporarily_unavailable`, because OAuth has no code for it.
    TooManyRequests,
    UnsupportedGrantType,
    /// A body with another media type.
    ///
    /// Sent as [`InvalidClientMetadata`](Self::InvalidClientMetadata), because RFC 7591 has no code
    /// for it.
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

    /// Returns the status of a JSON response with this error.
    ///
    /// If the server cannot do something now, the status is 503, regardless of the cause. Clients
    /// then keep their codes and tokens, and retry.
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

    /// Builds the error for a code or refresh token that is not valid, or no longer valid.
    pub(crate) fn invalid_grant(text: &'static str) -> Self {
        Self::new(ErrorCode::InvalidGrant, text)
    }

    /// Builds an error with a reference, and returns both.
    ///
    /// The reference also goes into the log, for users who ask the operator about the error.
    pub(crate) fn with_reference(code: ErrorCode, text: &'static str) -> (Self, String) {
        let reference = random_text::<6>();
        let mut error = Self::new(code, text);
        error.reference = Some(reference.clone());
        (error, reference)
    }

    /// Builds the error for a dependency of this server that does not respond.
    pub(crate) fn unavailable(retry_after: Option<Duration>) -> Self {
        // The default, if the dependency gave no time.
        const RETRY_AFTER: Duration = Duration::from_secs(5);

        let text = "try again in a few seconds";
        Self::new(ErrorCode::TemporarilyUnavailable, text)
            .retry_after(retry_after.unwrap_or(RETRY_AFTER))
    }

    /// Builds the error for a store without room for another sign-in.
    fn full() -> Self {
        // By then, another user's sign-in may have ended.
        const FULL_FOR: Duration = Duration::from_secs(5 * 60);

        let text = "this server has reached its limit of sign-ins; existing sign-ins continue; try \
                    again in 5 minutes";
        Self::new(ErrorCode::TemporarilyUnavailable, text).retry_after(FULL_FOR)
    }

    /// Builds the error for a valid value that only a later version of this server can read.
    ///
    /// The client keeps the value.
    pub(crate) fn later() -> Self {
        const LATER_FOR: Duration = Duration::from_secs(60);

        let text = "a later version of this server made this code, token or client id; keep it, \
                    and try again in a minute";
        Self::new(ErrorCode::TemporarilyUnavailable, text).retry_after(LATER_FOR)
    }

    /// Sets the time after which the client may retry. The response has it in whole seconds.
    pub(crate) fn retry_after(self, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..self
        }
    }

    /// Turns the refusal of a sign-in into that of its refresh token, with the same text.
    pub(crate) fn into_invalid_grant(self) -> Self {
        Self {
            code: ErrorCode::InvalidGrant,
            ..self
        }
    }

    /// Returns the time after which the client may retry.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.retry_after
    }

    pub(crate) fn code(&self) -> ErrorCode {
        self.code
    }

    /// Returns the finding, for the log.
    pub(crate) fn finding(&self) -> &Finding {
        &self.finding
    }

    /// Logs the error of a refused request; `what` is the text of the line.
    pub(crate) fn log(&self, log: &ThrottledLog, what: &'static str) {
        let (code, reference) = (self.code.as_str(), self.reference.as_deref());
        log_refusal(log, (what, &self.finding), Some(code), None, reference);
    }

    /// Returns the outcome of a request that is answered with this error, for spans and metrics.
    pub(super) fn outcome(&self) -> &'static str {
        match self.code {
            ErrorCode::TooManyRequests => "too_many_requests",
            code => code.as_str(),
        }
    }

    /// Builds the response that sends this error to a client (RFC 6749 §5.2).
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

/// Writes the description.
impl fmt::Display for OAuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.finding, f)?;
        match &self.reference {
            Some(reference) => write!(f, "; reference {reference}"),
            None => Ok(()),
        }
    }
}

/// Converts an error of the store into the error for the client.
///
/// It says that the store does not respond, is full, or has a record that only a later version of
/// this server can read. The log already has the store's error.
impl From<StoreError> for OAuthError {
    fn from(error: StoreError) -> Self {
        match () {
            () if error.is_full() => Self::full(),
            () if error.is_later() => Self::later(),
            () => Self::unavailable(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use entra_confidential_client::TokenErrorKind;

    use super::*;
    use crate::telemetry::outcome_of;

    const PAGE: &str = include_str!("../../docs/codes.md");

    /// Returns every code, in the order of the enum.
    ///
    /// The match has no wildcard: a new code does not compile until it has its arm here.
    fn all() -> Vec<ErrorCode> {
        let mut all = vec![ErrorCode::AccessDenied];
        loop {
            all.push(match all[all.len() - 1] {
                ErrorCode::AccessDenied => ErrorCode::InvalidClient,
                ErrorCode::InvalidClient => ErrorCode::InvalidClientMetadata,
                ErrorCode::InvalidClientMetadata => ErrorCode::InvalidGrant,
                ErrorCode::InvalidGrant => ErrorCode::InvalidRedirectUri,
                ErrorCode::InvalidRedirectUri => ErrorCode::InvalidRequest,
                ErrorCode::InvalidRequest => ErrorCode::InvalidScope,
                ErrorCode::InvalidScope => ErrorCode::InvalidTarget,
                ErrorCode::InvalidTarget => ErrorCode::RequestNotSupported,
                ErrorCode::RequestNotSupported => ErrorCode::RequestUriNotSupported,
                ErrorCode::RequestUriNotSupported => ErrorCode::ServerError,
                ErrorCode::ServerError => ErrorCode::TemporarilyUnavailable,
                ErrorCode::TemporarilyUnavailable => ErrorCode::TooManyRequests,
                ErrorCode::TooManyRequests => ErrorCode::UnsupportedGrantType,
                ErrorCode::UnsupportedGrantType => ErrorCode::UnsupportedMediaType,
                ErrorCode::UnsupportedMediaType => ErrorCode::UnsupportedResponseType,
                ErrorCode::UnsupportedResponseType => ErrorCode::UnsupportedTokenType,
                ErrorCode::UnsupportedTokenType => return all,
            });
        }
    }

    /// Returns the first two cells of each row with a code in a section of the page.
    fn rows(section: &str) -> BTreeMap<&'static str, &'static str> {
        let (_, text) = PAGE.split_once(&format!("\n## {section}\n")).unwrap();
        let text = text.split("\n## ").next().unwrap();
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.map(|row| {
            let (code, rest) = row.split_once("` | ").unwrap();
            let cells: Vec<&str> = rest.trim_end_matches(" |").split(" | ").collect();
            assert!(
                cells
                    .iter()
                    .skip(usize::from(cells.len() == 3))
                    .all(|cell| cell.ends_with('.')),
                "{row}"
            );
            (code, cells[0])
        })
        .collect()
    }

    #[test]
    fn the_page_of_codes_has_each_error_of_oauth_with_its_statuses() {
        let mut statuses: BTreeMap<&str, BTreeSet<u16>> = BTreeMap::new();
        for code in all() {
            statuses
                .entry(code.as_str())
                .or_default()
                .insert(code.status().as_u16());
        }
        let listed = rows("Errors that a client receives");
        assert_eq!(
            listed.keys().collect::<Vec<_>>(),
            statuses.keys().collect::<Vec<_>>()
        );
        for (code, listed) in listed {
            let listed: BTreeSet<u16> = listed
                .split(" or ")
                .map(|status| status.parse().unwrap())
                .collect();
            assert_eq!(listed, statuses[code], "{code}");
        }
    }

    #[test]
    fn the_page_of_codes_has_each_error_of_entras_token_endpoint() {
        let codes: BTreeSet<&str> = TokenErrorKind::ALL.iter().map(|kind| kind.code()).collect();
        let listed: BTreeSet<&str> = rows("Errors of Entra's token endpoint")
            .into_keys()
            .collect();
        assert_eq!(listed, codes);
    }

    #[test]
    fn the_page_of_codes_has_each_outcome_that_is_no_error_of_oauth() {
        let mut outcomes: BTreeSet<&str> = (100..600)
            .map(|status| StatusCode::from_u16(status).unwrap())
            .map(|status| outcome_of(&http::Response::builder().status(status).body(()).unwrap()))
            .collect();
        for code in all() {
            outcomes.insert(OAuthError::new(code, "").outcome());
        }
        for code in all() {
            outcomes.remove(code.as_str());
        }
        let listed: BTreeSet<&str> = rows("Outcomes of requests").into_keys().collect();
        assert_eq!(listed, outcomes);
    }
}
