//! Why there are no tokens, by what can be done about it.

use std::fmt;
use std::time::Duration;

use http::StatusCode;

/// Why a request got no tokens: [`kind`](Self::kind) says what can be done, the rest is for the
/// operator's log.
///
/// `Display` is one line without secrets and without Entra's description, which has names of
/// users in it. What others say is escaped and cut.
pub struct TokenError(Box<Details>);

/// What can be done about a [`TokenError`]. Decided by the HTTP status and by `error`, `suberror`
/// and `claims` of the answer, never by an AADSTS number: Microsoft changes those.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum TokenErrorKind {
    /// The code, refresh token or assertion is no longer good (`invalid_grant`): the user signs in
    /// again.
    InvalidGrant,
    /// The user must do something that only a sign-in can ask for: another factor, a policy
    /// (`interaction_required`, `login_required`, or an answer with `claims`, which go into the
    /// next sign-in or to the client).
    InteractionRequired,
    /// A user or an administrator has not consented (`consent_required`).
    ConsentRequired,
    /// The user or a policy said no (`access_denied`).
    Denied,
    /// Entra does not accept this application: its id, secret, certificate or assertion
    /// (`invalid_client`, `unauthorized_client`). The operator's fault, no user's.
    ClientRefused,
    /// The request is not as the app registrations say: scopes, resource, parameters
    /// (`invalid_scope`, `invalid_resource`, `invalid_request`, `unsupported_…`), or it was not
    /// even sent because it has no scope.
    Misconfigured,
    /// The credential could not be read or made; nothing was sent.
    NoCredential,
    /// Too many requests (429).
    Throttled,
    /// Entra cannot answer now (5xx, 408, `temporarily_unavailable`, `server_error`).
    Unavailable,
    /// There was no answer: no connection, or not in time. Entra may have seen the request.
    NoAnswer,
    /// What answered does not speak as Entra's token endpoint does: HTML, too long, a redirect, no
    /// token in it, an unknown `error`.
    BadAnswer,
}

/// What an error is made of. All text is as it may be printed, but for `claims`.
pub(crate) struct Details {
    kind: TokenErrorKind,
    /// What happened, if the kind does not say it all.
    text: Option<String>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) error: Option<String>,
    pub(crate) suberror: Option<String>,
    pub(crate) claims: Option<String>,
    pub(crate) error_codes: Vec<u64>,
    pub(crate) correlation_id: Option<String>,
    pub(crate) trace_id: Option<String>,
    pub(crate) timestamp: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    /// The standard client knows that no connection came about.
    pub(crate) was_not_sent: bool,
}

impl TokenError {
    /// What can be done about it.
    #[must_use]
    pub fn kind(&self) -> TokenErrorKind {
        self.0.kind
    }

    /// Whether the same request may succeed later although nobody changes anything. An
    /// authorization code may be used up all the same.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.kind() {
            TokenErrorKind::NoCredential
            | TokenErrorKind::Throttled
            | TokenErrorKind::Unavailable
            | TokenErrorKind::NoAnswer => true,
            TokenErrorKind::InvalidGrant
            | TokenErrorKind::InteractionRequired
            | TokenErrorKind::ConsentRequired
            | TokenErrorKind::Denied
            | TokenErrorKind::ClientRefused
            | TokenErrorKind::Misconfigured
            | TokenErrorKind::BadAnswer => false,
        }
    }

    /// How long to wait, if `Retry-After` says so (seconds or a date); at most five minutes.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The claims request of the answer, unchanged: for the next sign-in, or for the client in a
    /// claims challenge.
    #[must_use]
    pub fn claims(&self) -> Option<&str> {
        self.0.claims.as_deref()
    }

    /// `error` of the answer.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.0.error.as_deref()
    }

    /// `suberror` of the answer, such as `bad_token`, `token_expired`, `consent_required`.
    #[must_use]
    pub fn suberror(&self) -> Option<&str> {
        self.0.suberror.as_deref()
    }

    /// The HTTP status of the answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status.map(|status| status.as_u16())
    }

    /// The AADSTS numbers of the answer as text, such as `AADSTS50173`, for a log: they change, so
    /// nothing should be decided by them.
    #[must_use]
    pub fn error_codes(&self) -> Option<String> {
        let codes = self.0.error_codes.iter();
        let codes: Vec<_> = codes.map(|code| format!("AADSTS{code}")).collect();
        (!codes.is_empty()).then(|| codes.join(", "))
    }

    /// By which Entra's sign-in log and Microsoft's support find the request: Entra's own, or the
    /// `client-request-id` that was sent.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        self.0.correlation_id.as_deref()
    }

    /// Entra's id for the answer.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.0.trace_id.as_deref()
    }

    /// When Entra answered, by its own clock.
    #[must_use]
    pub fn timestamp(&self) -> Option<&str> {
        self.0.timestamp.as_deref()
    }

    /// What the operator can do, in one sentence.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        crate::remedy::remedy(self.kind(), &self.0.error_codes)
    }

    /// With the id that was sent, if the request may have reached Entra and it said none itself.
    pub(crate) fn correlated(mut self, request_id: Option<String>) -> Self {
        if self.0.status.is_some() || self.0.kind == TokenErrorKind::NoAnswer {
            self.0.correlation_id = self.0.correlation_id.or(request_id);
        }
        self
    }

    pub(crate) fn was_not_sent(&self) -> bool {
        self.0.was_not_sent
    }

    /// Writes it into the log: at WARN if a line is due, for so many, else at DEBUG.
    pub(crate) fn log(&self, count: Option<u64>) {
        // The level of a line is fixed where it is written.
        macro_rules! write_at {
            ($level:ident) => {
                tracing::$level!(
                    count,
                    class = self.kind().as_str(),
                    what = self.what(),
                    status = self.status(),
                    error = self.error(),
                    suberror = self.suberror(),
                    error_codes = self.error_codes(),
                    correlation_id = self.correlation_id(),
                    trace_id = self.trace_id(),
                    timestamp = self.timestamp(),
                    has_claims = self.claims().is_some(),
                    retry_after_s = self.retry_after().map(|span| span.as_secs()),
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

impl TokenErrorKind {
    /// A name that does not change, for metrics and logs: `invalid_grant`,
    /// `interaction_required`, `consent_required`, `denied`, `client_refused`, `misconfigured`,
    /// `no_credential`, `throttled`, `unavailable`, `no_answer`, `bad_answer`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidGrant => "invalid_grant",
            Self::InteractionRequired => "interaction_required",
            Self::ConsentRequired => "consent_required",
            Self::Denied => "denied",
            Self::ClientRefused => "client_refused",
            Self::Misconfigured => "misconfigured",
            Self::NoCredential => "no_credential",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::NoAnswer => "no_answer",
            Self::BadAnswer => "bad_answer",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::InvalidGrant => "Entra no longer takes the code, refresh token or assertion",
            Self::InteractionRequired => "Entra wants the user to sign in interactively",
            Self::ConsentRequired => "consent is missing",
            Self::Denied => "access was denied",
            Self::ClientRefused => "Entra does not accept this application's id or credential",
            Self::Misconfigured => "Entra does not accept what is requested",
            Self::NoCredential => "this application's credential cannot be had",
            Self::Throttled => "too many requests to Entra",
            Self::Unavailable => "Entra cannot answer now",
            Self::NoAnswer => "no answer from Entra",
            Self::BadAnswer => "the answer is not that of Entra's token endpoint",
        }
    }
}

impl Details {
    pub(crate) fn new(kind: TokenErrorKind) -> Self {
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
        }
    }

    pub(crate) fn text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }
}

impl From<Details> for TokenError {
    fn from(details: Details) -> Self {
        Self(Box::new(details))
    }
}

impl fmt::Display for TokenErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
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
