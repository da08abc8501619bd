//! The error of a request that got no tokens, classified by what can be done about it.

mod kind;
mod numbers;
mod refusal;
mod remedy;

use std::fmt;
use std::time::Duration;

use http::StatusCode;

pub use self::kind::TokenErrorKind;
use self::remedy::remedy;

/// The error of a request that got no tokens.
///
/// [`kind`](Self::kind) says what can be done. The rest is for the operator's log.
///
/// `Display` is one line. It has no secrets, and not Entra's description, which contains names of
/// users. Text from outside is escaped and cut.
#[derive(Clone)]
pub struct TokenError(Box<ErrorParts>);

/// The parts of an error. Every text is printable, except `claims`.
#[derive(Clone)]
struct ErrorParts {
    kind: TokenErrorKind,
    /// A description of the failure, if the kind alone does not describe it.
    text: Option<String>,
    status: Option<StatusCode>,
    error: Option<String>,
    suberror: Option<String>,
    claims: Option<String>,
    error_codes: Vec<u64>,
    correlation_id: Option<String>,
    trace_id: Option<String>,
    timestamp: Option<String>,
    retry_after: Option<Duration>,
    /// Entra received the same request too often.
    is_loop: bool,
    /// The standard client knows that no connection was made.
    was_not_sent: bool,
    /// The name of the requested grant in OAuth.
    grant_type: &'static str,
    /// The request went to this machine.
    is_local: bool,
}

impl TokenError {
    /// Builds an error that has a kind and a text only.
    pub(crate) fn new(kind: TokenErrorKind, text: impl Into<String>) -> Self {
        Self::of(ErrorParts {
            text: Some(text.into()),
            ..ErrorParts::new(kind)
        })
    }

    /// Builds the error of a request without a response.
    ///
    /// `was_not_sent` is `true` if certainly no connection was made.
    pub(crate) fn no_response(text: String, was_not_sent: bool) -> Self {
        let mut error = Self::new(TokenErrorKind::NoResponse, text);
        error.0.was_not_sent = was_not_sent;
        error
    }

    /// Builds the error of a response that does not look like one of Entra's token endpoint.
    pub(crate) fn invalid_response(status: StatusCode, problem: &str) -> Self {
        let mut error = Self::new(TokenErrorKind::InvalidResponse, problem);
        error.0.status = Some(status);
        error
    }

    fn of(parts: ErrorParts) -> Self {
        Self(Box::new(parts))
    }

    /// Returns the kind, which says what can be done about the error.
    #[must_use]
    pub fn kind(&self) -> TokenErrorKind {
        self.0.kind
    }

    /// Returns the [kind](Self::kind)'s code, which does not change, for metrics and logs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.kind().code()
    }

    /// Returns whether the same request may succeed later without any change.
    ///
    /// An authorization code may be used up nevertheless.
    ///
    /// It is `false` for [`InvalidResponse`](TokenErrorKind::InvalidResponse). A server between
    /// this machine and Entra may cause it for a moment, but a wrong authority causes it for ever.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.kind() {
            TokenErrorKind::CredentialUnavailable
            | TokenErrorKind::Throttled
            | TokenErrorKind::Unavailable
            | TokenErrorKind::NoResponse => true,
            TokenErrorKind::InvalidGrant
            | TokenErrorKind::InteractionRequired
            | TokenErrorKind::ConsentRequired
            | TokenErrorKind::AccessDenied
            | TokenErrorKind::InvalidClient
            | TokenErrorKind::Misconfigured
            | TokenErrorKind::InvalidResponse => false,
        }
    }

    /// Returns the time to wait that `Retry-After` demands (seconds or a date), at most five
    /// minutes.
    ///
    /// If Entra received the same request too often (AADSTS50196) and names no time, it is five
    /// minutes.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns the claims request of the response, unchanged.
    ///
    /// It belongs in the next sign-in, or in a claims challenge to the client.
    #[must_use]
    pub fn claims(&self) -> Option<&str> {
        self.0.claims.as_deref()
    }

    /// Returns the response's `error`.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.0.error.as_deref()
    }

    /// Returns the response's `suberror`, such as `bad_token`, `token_expired`, `consent_required`.
    #[must_use]
    pub fn suberror(&self) -> Option<&str> {
        self.0.suberror.as_deref()
    }

    /// Returns the HTTP status of the response.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status.map(|status| status.as_u16())
    }

    /// Returns the AADSTS numbers of the response as text for a log, such as `AADSTS50173`.
    ///
    /// Microsoft changes the numbers, so no decision should depend on them. The few that count have
    /// their effect on the [kind](TokenErrorKind).
    #[must_use]
    pub fn error_codes(&self) -> Option<String> {
        let codes = self.0.error_codes.iter();
        let codes: Vec<_> = codes.map(|code| format!("AADSTS{code}")).collect();
        (!codes.is_empty()).then(|| codes.join(", "))
    }

    /// Returns the id for a search in Entra's sign-in log and for Microsoft's support.
    ///
    /// It is the id in Entra's response, or the `client-request-id` that was sent.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        self.0.correlation_id.as_deref()
    }

    /// Returns Entra's id of the response.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.0.trace_id.as_deref()
    }

    /// Returns the time of the response by Entra's clock.
    #[must_use]
    pub fn timestamp(&self) -> Option<&str> {
        self.0.timestamp.as_deref()
    }

    /// Returns the operator's remedy, in one sentence.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        if self.kind() == TokenErrorKind::Misconfigured && self.0.status.is_none() {
            return "correct the request of this program; nothing was sent";
        }
        if self.kind() == TokenErrorKind::NoResponse && self.0.is_local {
            return "start the server at this address of this machine, such as entra-dev-tenant, or \
                correct the authority";
        }
        let request = (self.0.grant_type, self.error().unwrap_or_default());
        remedy(self.kind(), request, &self.0.error_codes)
    }

    /// Adds facts about the request.
    ///
    /// The grant and whether the request went to this machine decide the remedy. The request's id
    /// becomes the correlation id, if Entra may have received the request and its response has no
    /// id.
    pub(crate) fn of_request(
        mut self,
        (grant_type, is_local): (&'static str, bool),
        request_id: Option<String>,
    ) -> Self {
        self.0.grant_type = grant_type;
        self.0.is_local = is_local;
        if self.0.status.is_some() || self.0.kind == TokenErrorKind::NoResponse {
            self.0.correlation_id = self.0.correlation_id.or(request_id);
        }
        self
    }

    /// Returns `true` if the request certainly never left this machine.
    pub(crate) fn was_not_sent(&self) -> bool {
        self.0.was_not_sent
    }

    /// Returns `true` if Entra received the same request too often (AADSTS50196).
    pub(crate) fn is_loop(&self) -> bool {
        self.0.is_loop
    }

    /// Writes the error to the log: at WARN with the count if a line is due, else at DEBUG.
    ///
    /// `tenant` is the tenant that the request named, if any.
    pub(crate) fn log(&self, count: Option<u64>, tenant: Option<&str>) {
        // The level of a `tracing` event must be a constant.
        macro_rules! write_at {
            ($level:ident) => {
                tracing::$level!(
                    count,
                    class = self.code(),
                    what = self.what(),
                    tenant,
                    status = self.status(),
                    error = self.error(),
                    suberror = self.suberror(),
                    error_codes = self.error_codes(),
                    correlation_id = self.correlation_id(),
                    trace_id = self.trace_id(),
                    timestamp = self.timestamp(),
                    has_claims = self.claims().is_some(),
                    retry_after_s = self.retry_after().map(|wait| wait.as_secs()),
                    remedy = self.remedy(),
                    "no tokens from Entra"
                )
            };
        }
        match count {
            Some(_) => write_at!(warn),
            None => write_at!(debug),
        }
    }

    fn what(&self) -> &str {
        self.0.text.as_deref().unwrap_or(self.kind().sentence())
    }
}

impl ErrorParts {
    fn new(kind: TokenErrorKind) -> Self {
        Self {
            kind,
            text: None,
            status: None,
            error: None,
            suberror: None,
            claims: None,
            error_codes: Vec::new(),
            correlation_id: None,
            trace_id: None,
            timestamp: None,
            retry_after: None,
            is_loop: false,
            was_not_sent: false,
            grant_type: "",
            is_local: false,
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = |name: &str, value: &str| format!("{name} {value}");
        let facts = [
            self.status()
                .map(|status| with("status", &status.to_string())),
            self.error().map(str::to_owned),
            self.suberror().map(|value| with("suberror", value)),
            self.error_codes(),
            self.correlation_id()
                .map(|value| with("correlation id", value)),
        ];
        let facts: Vec<_> = facts.into_iter().flatten().collect();
        formatter.write_str(self.what())?;
        if !facts.is_empty() {
            write!(formatter, " ({})", facts.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Debug for TokenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TokenError({}: {self})", self.kind())
    }
}

impl std::error::Error for TokenError {}
