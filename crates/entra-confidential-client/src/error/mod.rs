//! The error of a request that got no tokens, by what can be done about it.

mod kind;
mod refusal;
mod remedy;

use std::fmt;
use std::time::Duration;

use http::StatusCode;

pub use self::kind::TokenErrorKind;
use self::remedy::remedy;

/// The error of a request that got no tokens: [`kind`](Self::kind) says what can be done, the rest is for
/// the operator's log.
///
/// `Display` is one line without secrets and without Entra's description, which has names of
/// users in it. What others say is escaped and cut.
#[derive(Clone)]
pub struct TokenError(Box<ErrorParts>);

/// The parts of an error. All text is as it may be printed, but for `claims`.
#[derive(Clone)]
struct ErrorParts {
    kind: TokenErrorKind,
    /// The words for what happened, if the kind does not say it all.
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
    /// The standard client knows that no connection came about.
    was_not_sent: bool,
    /// The grant that was asked for, by its name in OAuth.
    grant_type: &'static str,
    /// The request was to this machine.
    is_local: bool,
}

impl TokenError {
    /// Makes an error of a kind and a text alone.
    pub(crate) fn new(kind: TokenErrorKind, text: impl Into<String>) -> Self {
        Self::of(ErrorParts {
            text: Some(text.into()),
            ..ErrorParts::new(kind)
        })
    }

    /// Makes the error of a request without a response; `was_not_sent` if no connection came about, for
    /// certain.
    pub(crate) fn no_response(text: String, was_not_sent: bool) -> Self {
        let mut error = Self::new(TokenErrorKind::NoResponse, text);
        error.0.was_not_sent = was_not_sent;
        error
    }

    /// Makes the error of a response unlike those of Entra's token endpoint.
    pub(crate) fn invalid_response(status: StatusCode, problem: &str) -> Self {
        let mut error = Self::new(TokenErrorKind::InvalidResponse, problem);
        error.0.status = Some(status);
        error
    }

    fn of(parts: ErrorParts) -> Self {
        Self(Box::new(parts))
    }

    /// Returns what can be done about it.
    #[must_use]
    pub fn kind(&self) -> TokenErrorKind {
        self.0.kind
    }

    /// Returns the exact machine code of its [kind](Self::kind), for metrics and logs, which does not
    /// change.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.kind().code()
    }

    /// Returns whether the same request may succeed later although nobody changes anything. An
    /// authorization code may be used up all the same.
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

    /// Returns the time to wait, if `Retry-After` says so (seconds or a date); at most five minutes.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns the claims request of the answer, unchanged: for the next sign-in, or for the client in a
    /// claims challenge.
    #[must_use]
    pub fn claims(&self) -> Option<&str> {
        self.0.claims.as_deref()
    }

    /// Returns `error` of the answer.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.0.error.as_deref()
    }

    /// Returns `suberror` of the answer, such as `bad_token`, `token_expired`, `consent_required`.
    #[must_use]
    pub fn suberror(&self) -> Option<&str> {
        self.0.suberror.as_deref()
    }

    /// Returns the HTTP status of the answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status.map(|status| status.as_u16())
    }

    /// Returns the AADSTS numbers of the answer as text, such as `AADSTS50173`, for a log: they change,
    /// so nothing should be decided by them.
    #[must_use]
    pub fn error_codes(&self) -> Option<String> {
        let codes = self.0.error_codes.iter();
        let codes: Vec<_> = codes.map(|code| format!("AADSTS{code}")).collect();
        (!codes.is_empty()).then(|| codes.join(", "))
    }

    /// Returns the id for a search in Entra's sign-in log and for Microsoft's support: Entra's own, or the
    /// `client-request-id` that was sent.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        self.0.correlation_id.as_deref()
    }

    /// Returns Entra's id for the answer.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.0.trace_id.as_deref()
    }

    /// Returns the time of the answer by Entra's clock.
    #[must_use]
    pub fn timestamp(&self) -> Option<&str> {
        self.0.timestamp.as_deref()
    }

    /// Returns what the operator can do, in one sentence.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        if self.kind() == TokenErrorKind::Misconfigured && self.0.status.is_none() {
            return "mend what this program asks for; nothing was sent";
        }
        if self.kind() == TokenErrorKind::NoResponse && self.0.is_local {
            return "start what is to answer at this address of this machine, such as entra-dev-tenant, or \
                    correct the authority";
        }
        let request = (self.0.grant_type, self.error().unwrap_or_default());
        remedy(self.kind(), request, &self.0.error_codes)
    }

    /// Adds the grant that was asked for, and whether on this machine, for the remedy; and the id of the
    /// request, if it may have reached Entra, which said none itself.
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

    /// Returns whether the request never left this machine, for certain.
    pub(crate) fn was_not_sent(&self) -> bool {
        self.0.was_not_sent
    }

    /// Writes the error of a request to this tenant, if it named one, into the log: at WARN if a line is
    /// due, for so many, else at DEBUG.
    pub(crate) fn log(&self, count: Option<u64>, tenant: Option<&str>) {
        // The level of a line is fixed where it is written.
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
