//! Telemetry for operators: spans, metrics, and throttled log lines.
//!
//! Each request has a span, with its outcome and the ids that join it to the other requests of the
//! same sign-in and to Entra's own log. Log lines that unauthenticated clients can cause are
//! throttled.
//!
//! Telemetry contains no personal data, token, code or `state`. Clients are identified by the hash
//! of their id, sign-ins and grants by random ids. Metrics go through the `metrics` facade. Without
//! the feature there are none. Every label has a closed set of values.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use http::{Response, StatusCode};
#[cfg(feature = "metrics")]
use metrics::{counter, histogram};
use tokio::time::Instant;
use tower_entra_auth::entra_jwt_core::refusal::SentInstead;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

/// Error code that was sent to the client, for a response whose status does not show the outcome.
#[derive(Clone, Copy, Debug)]
struct Outcome(&'static str);

/// Marks a response with its outcome, for spans and metrics.
pub(crate) fn set_outcome<B>(response: &mut Response<B>, outcome: &'static str) {
    response.extensions_mut().insert(Outcome(outcome));
}

pub(crate) fn outcome_of<B>(response: &Response<B>) -> &'static str {
    if let Some(Outcome(outcome)) = response.extensions().get() {
        return outcome;
    }
    match response.status() {
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
        StatusCode::TOO_MANY_REQUESTS => "too_many_requests",
        status if status.is_server_error() => "unavailable",
        status if status.is_client_error() => "bad_request",
        _ => "ok",
    }
}

/// Awaits a response in its own span, and records its outcome in the span and in the metrics.
pub(crate) async fn observed<B>(
    endpoint: &'static str,
    response: impl Future<Output = Response<B>>,
) -> Response<B> {
    let span = tracing::info_span!(
        "entra_oauth_proxy",
        endpoint,
        client = Empty,
        sign_in = Empty,
        grant = Empty,
        scopes = Empty,
        outcome = Empty,
    );
    let began = Instant::now();
    let response = response.instrument(span.clone()).await;
    let outcome = outcome_of(&response);
    span.record("outcome", outcome);
    count(Event::Request {
        endpoint,
        outcome,
        took: began.elapsed(),
    });
    response
}

/// Records a field in the current request's span.
///
/// The fields are `client` (the hash of the client's id), `sign_in` (the correlation id in Entra's
/// log), `grant`, and `scopes` (the requested scopes).
pub(crate) fn record(field: &'static str, value: &str) {
    Span::current().record(field, value);
}

/// Throttle for log lines that unauthenticated clients can cause.
///
/// It permits the first line of a kind, then one a minute with the number of events. In addition,
/// it permits separate lines for a few different findings.
///
/// An unauthenticated client can send as many requests as the limits permit, and each request can
/// cause a line. Exact numbers are in the metrics.
pub(crate) type ThrottledLog = entra_http::ThrottledLog<Line>;

/// Text and reason of a log line.
///
/// The reason is empty if it was composed from parts, because that can result in thousands of
/// different reasons.
type Line = (&'static str, &'static str);

/// Kind of a log line, with the finding that separates it from other lines of the kind.
pub(crate) struct Kind<'f>(Line, Option<&'f Finding>);

impl Kind<'_> {
    /// Returns the number of events that a line stands for, if one of this kind is due.
    pub(crate) fn due(self, log: &ThrottledLog) -> Option<u64> {
        let Self(line, finding) = self;
        log.due_for(line, finding)
    }
}

impl From<(&'static str, &'static str)> for Kind<'_> {
    fn from((what, reason): (&'static str, &'static str)) -> Self {
        Self((what, reason), None)
    }
}

impl<'f> From<(&'static str, &'f Finding)> for Kind<'f> {
    fn from((what, finding): (&'static str, &'f Finding)) -> Self {
        let reason = match finding.reason {
            Cow::Borrowed(reason) => reason,
            Cow::Owned(_) => "",
        };
        Self((what, reason), Some(finding))
    }
}

/// Reason for a refused request, with the values found and expected where they help.
///
/// The two values are for the log only. A finding contains no secret. Callers escape and shorten
/// values from the request.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Finding {
    reason: Cow<'static, str>,
    found: Option<String>,
    expected: Option<String>,
}

impl Finding {
    /// Adds the value that was found, unless it may be a token or an e-mail address.
    ///
    /// The caller escapes and shortens the value.
    pub(crate) fn found(mut self, found: impl Into<String>) -> Self {
        let found = Some(found.into()).filter(|found| !is_private(found));
        self.found = Some(found.unwrap_or_else(|| "(not shown: it may be private)".to_owned()));
        self
    }

    /// Adds the value that was expected.
    pub(crate) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }
}

/// Returns whether a text contains a JWT or an e-mail address, or is a refresh token or a code of
/// Entra.
fn is_private(text: &str) -> bool {
    text.contains("eyJ")
        || text.contains('@') && !text.starts_with("(not shown")
        || SentInstead::recognise(text.as_bytes()) == Some(SentInstead::RefreshToken)
}

/// Writes the reason.
impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reason)
    }
}

/// Takes a reason from a fixed set, which contains no text from outside.
impl From<&'static str> for Finding {
    fn from(reason: &'static str) -> Self {
        Self {
            reason: reason.into(),
            ..Self::default()
        }
    }
}

impl From<String> for Finding {
    fn from(reason: String) -> Self {
        Self {
            reason: reason.into(),
            ..Self::default()
        }
    }
}

/// Writes a log line that unauthenticated clients can cause.
///
/// If a line of its kind is due, the line has the given level and `count`. Otherwise its level is
/// DEBUG.
macro_rules! throttled {
    ($level:ident, $log:expr, $kind:expr, $($line:tt)+) => {
        match $crate::telemetry::Kind::from($kind).due(&$log) {
            Some(count) => tracing::$level!(count, $($line)+),
            None => tracing::debug!($($line)+),
        }
    };
}

pub(crate) use throttled;

/// Logs a refused request.
///
/// The line has the error code sent to the client, the status and title of the page shown to the
/// user, and the reference of either.
pub(crate) fn log_refusal(
    log: &ThrottledLog,
    (what, finding): (&'static str, &Finding),
    error: Option<&str>,
    page: Option<(u16, &'static str)>,
    reference: Option<&str>,
) {
    let (status, title) = page.unzip();
    let Finding {
        reason,
        found,
        expected,
    } = finding;
    let reason = Some(&**reason).filter(|reason| !reason.is_empty());
    throttled!(
        info,
        log,
        (title.unwrap_or(what), finding),
        error,
        status,
        title,
        reason,
        found,
        expected,
        reference,
        "{what}"
    );
}

/// An event that operators count.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(feature = "metrics"),
    expect(dead_code, reason = "nothing is counted without the feature metrics")
)]
pub(crate) enum Event {
    /// An answered request to an endpoint.
    Request {
        endpoint: &'static str,
        outcome: &'static str,
        took: Duration,
    },
    /// A token request to Entra, with its outcome: `ok`, or the kind of the error.
    EntraRequest {
        grant_type: &'static str,
        outcome: &'static str,
        took: Duration,
    },
    /// A refresh that was answered with tokens.
    Refresh(Served),
    /// The end of a sign-in of which a dead refresh token was used.
    RefreshTokenReused,
    /// A refresh with a token that is later than the stored one.
    LostWrite,
    /// The end of a sign-in whose code was used again, with a valid proof.
    CodeReused,
    /// The store had no room for a record or a new sign-in.
    StoreFull,
    /// The store did not answer a request.
    StoreError,
}

/// Source of the Entra tokens behind a refresh.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Served {
    /// New tokens from Entra.
    Renewed,
    /// Entra's stored token, which is valid for long enough.
    Held,
    /// Entra's stored token, which is still valid, because the renewal at Entra failed.
    HeldInTrouble,
    /// The current tokens, for a client that repeated a refresh.
    Again,
}

/// Counts an event.
pub(crate) fn count(event: Event) {
    #[cfg(feature = "metrics")]
    match event {
        Event::Request {
            endpoint,
            outcome,
            took,
        } => {
            counter!("entra_proxy_requests_total", "endpoint" => endpoint, "outcome" => outcome)
                .increment(1);
            histogram!("entra_proxy_request_duration_seconds", "endpoint" => endpoint).record(took);
        }
        Event::EntraRequest {
            grant_type,
            outcome,
            took,
        } => {
            counter!(
                "entra_proxy_entra_requests_total",
                "grant_type" => grant_type,
                "outcome" => outcome
            )
            .increment(1);
            histogram!("entra_proxy_entra_request_duration_seconds", "grant_type" => grant_type)
                .record(took);
        }
        Event::Refresh(served) => {
            let by = match served {
                Served::Renewed => "renewed",
                Served::Held => "held",
                Served::HeldInTrouble => "held_in_trouble",
                Served::Again => "again",
            };
            counter!("entra_proxy_refreshes_total", "by" => by).increment(1);
        }
        Event::RefreshTokenReused => {
            counter!("entra_proxy_reused_total", "what" => "refresh_token").increment(1);
        }
        Event::CodeReused => {
            counter!("entra_proxy_reused_total", "what" => "code").increment(1);
        }
        Event::LostWrite => counter!("entra_proxy_lost_writes_total").increment(1),
        Event::StoreFull => counter!("entra_proxy_store_full_total").increment(1),
        Event::StoreError => counter!("entra_proxy_store_errors_total").increment(1),
    }
    #[cfg(not(feature = "metrics"))]
    let _ = event;
}

/// Describes the metrics, for the recorder that collects them.
pub(crate) fn describe_metrics() {
    #[cfg(feature = "metrics")]
    {
        use ::metrics::{Unit, describe_counter, describe_histogram};

        describe_counter!(
            "entra_proxy_requests_total",
            "Requests to the endpoints, by outcome"
        );
        describe_histogram!(
            "entra_proxy_request_duration_seconds",
            Unit::Seconds,
            "Duration of requests to the endpoints"
        );
        describe_counter!(
            "entra_proxy_entra_requests_total",
            "Requests to Entra's token endpoint, by outcome"
        );
        describe_histogram!(
            "entra_proxy_entra_request_duration_seconds",
            Unit::Seconds,
            "Duration of requests to Entra's token endpoint"
        );
        describe_counter!(
            "entra_proxy_refreshes_total",
            "Refreshes that returned tokens, by source of Entra's tokens"
        );
        describe_counter!(
            "entra_proxy_reused_total",
            "Refresh tokens and codes that were used again; each reuse ended its sign-in"
        );
        describe_counter!(
            "entra_proxy_lost_writes_total",
            "Refreshes with a token that is later than the stored one, so the store lost a write"
        );
        describe_counter!(
            "entra_proxy_store_errors_total",
            "Requests to the store that failed"
        );
        describe_counter!(
            "entra_proxy_store_full_total",
            "Records and new sign-ins for which the store had no room"
        );
        // Creates these counters with zero. Otherwise the first event would not show as an
        // increase.
        for what in ["refresh_token", "code"] {
            counter!("entra_proxy_reused_total", "what" => what).increment(0);
        }
        counter!("entra_proxy_lost_writes_total").increment(0);
        counter!("entra_proxy_store_errors_total").increment(0);
        counter!("entra_proxy_store_full_total").increment(0);
    }
}
