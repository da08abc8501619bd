//! Errors in the words of OAuth.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;

use crate::keys::keyring::random_text;

/// What a client is told. The description never holds a value that came from outside, nor a word of
/// Entra's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct OAuthError {
    pub(crate) code: Code,
    pub(crate) description: Cow<'static, str>,
    pub(crate) retry_after: Option<Duration>,
}

/// RFC 6749 §4.1.2.1 and §5.2, RFC 7009 §2.2.1, RFC 7591 §3.2.2, RFC 8707 §2, OpenID Connect Core
/// §3.1.2.6.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Code {
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

impl Code {
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

    /// Where it is answered as JSON. What the server cannot do now is 503, whosever fault: clients
    /// keep what they have, and ask again.
    pub(crate) const fn status(self) -> StatusCode {
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
    pub(crate) fn new(code: Code, description: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            description: description.into(),
            retry_after: None,
        }
    }

    /// With a reference that is in the log, too: for whoever asks the operator about it.
    pub(crate) fn referring(code: Code, text: &str) -> (Self, String) {
        let reference = random_text::<6>();
        let told = Self::new(code, format!("{text}; reference {reference}"));
        (told, reference)
    }

    /// Something that this server needs does not answer.
    pub(crate) fn unavailable(retry_after: Option<Duration>) -> Self {
        Self {
            retry_after: Some(retry_after.unwrap_or(Self::RETRY_AFTER)),
            ..Self::new(Code::TemporarilyUnavailable, "try again in a few seconds")
        }
    }

    /// Returns the error of a store without room for another sign-in.
    pub(crate) fn full() -> Self {
        Self {
            retry_after: Some(Self::FULL_FOR),
            ..Self::new(
                Code::TemporarilyUnavailable,
                "this server keeps as many sign-ins as it can; those who are signed in are not \
                 concerned; try again in 5 minutes",
            )
        }
    }

    /// The time after which somebody else's sign-in may have ended.
    pub(crate) const FULL_FOR: Duration = Duration::from_secs(5 * 60);

    /// Returns the error of what is good, but can be read by a later version of this server alone: the
    /// client keeps it.
    pub(crate) fn later() -> Self {
        Self {
            retry_after: Some(Self::LATER_FOR),
            ..Self::new(
                Code::TemporarilyUnavailable,
                "this was made by a later version of this server than the one that answers; keep it, \
                 and try again in a minute",
            )
        }
    }

    const LATER_FOR: Duration = Duration::from_secs(60);

    /// When to ask again, where nobody else says it.
    pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(5);
}
