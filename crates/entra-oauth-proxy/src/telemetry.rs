//! The part of requests that operators see: a span around each, with what joins it to the others of
//! the same sign-in and to Entra's own log; what it came to; metrics; and lines of the log that
//! strangers can cause.
//!
//! Nothing of a person, no token, code or `state` becomes part of it: clients are known by the hash of
//! their id, sign-ins and grants by random ids. Metrics go through the `metrics` facade, and are nothing at
//! all without the feature; every label's values are a closed set.

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

/// The outcome of a response whose status does not say it: the code of an error that a client is told.
#[derive(Clone, Copy, Debug)]
struct Outcome(&'static str);

/// Marks a response with its outcome, for whoever counts it.
pub(crate) fn set_outcome<B>(response: &mut Response<B>, outcome: &'static str) {
    response.extensions_mut().insert(Outcome(outcome));
}

fn outcome_of<B>(response: &Response<B>) -> &'static str {
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

/// Answers a request in a span of its own, and records in it and in the metrics what it came to.
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

/// Records in the span of the request of which `client` it is, by the hash of its id, of which `sign_in`,
/// which Entra's log has as its correlation id, or of which `grant`, or which `scopes` are asked for.
pub(crate) fn record(field: &'static str, value: &str) {
    Span::current().record(field, value);
}

/// Decides which lines of the log that strangers can cause are written: the first of a kind, then one a
/// minute with their number, and beside it a few that differ in what was found.
///
/// Somebody who has not signed in can send as many requests as the limits let through, and each may come to
/// a line. Exact numbers are in the metrics.
pub(crate) type ThrottledLog = entra_http::ThrottledLog<Line>;

/// The text and the reason of a line; none where that is made of parts, of which there are thousands.
type Line = (&'static str, &'static str);

/// The kind of a line, and what tells it from others of the kind.
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

/// The reason for which a request is refused, and what was found and expected where that says more: for the
/// log alone. None of it is a secret, and what comes from the request is escaped and cut.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Finding {
    reason: Cow<'static, str>,
    found: Option<String>,
    expected: Option<String>,
}

impl Finding {
    /// Adds what was found, unless it may be a token or an address of somebody; the caller escapes and cuts
    /// it.
    pub(crate) fn found(mut self, found: impl Into<String>) -> Self {
        let found = Some(found.into()).filter(|found| !is_private(found));
        self.found = Some(found.unwrap_or_else(|| "(not shown: it may be private)".to_owned()));
        self
    }

    /// Adds what was expected.
    pub(crate) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }
}

/// Returns whether there is a JWT or an address of e-mail in a text, or the text is a refresh token or a code of
/// Entra.
fn is_private(text: &str) -> bool {
    text.contains("eyJ")
        || text.contains('@') && !text.starts_with("(not shown")
        || SentInstead::recognise(text.as_bytes()) == Some(SentInstead::RefreshToken)
}

/// The reason.
impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reason)
    }
}

/// The reason is one of few: there is no text from outside in it.
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

/// Writes a line that strangers can cause: at its level with `count` if one of its kind is due, else
/// at DEBUG.
macro_rules! throttled {
    ($level:ident, $log:expr, $kind:expr, $($line:tt)+) => {
        match $crate::telemetry::Kind::from($kind).due(&$log) {
            Some(count) => tracing::$level!(count, $($line)+),
            None => tracing::debug!($($line)+),
        }
    };
}

pub(crate) use throttled;

/// Writes into the log that a request was refused: with the code of an error that a client is told, the
/// status and the title of a page that a person is shown, and the reference of either.
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
    /// A request to an endpoint was answered.
    Request {
        endpoint: &'static str,
        outcome: &'static str,
        took: Duration,
    },
    /// A request to Entra for tokens came to this: `ok`, or the kind of its error.
    EntraRequest {
        grant_type: &'static str,
        outcome: &'static str,
        took: Duration,
    },
    /// A refresh was answered with tokens.
    Refresh(Served),
    /// A sign-in was ended, as its refresh token was used long after it was replaced.
    RefreshTokenReused,
    /// A sign-in was ended, as its code was used again by whoever could prove it.
    CodeReused,
    /// The store had no room for a record.
    StoreFull,
    /// The store did not answer a request.
    StoreError,
}

/// The tokens of Entra's by which a refresh was answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Served {
    /// New tokens of Entra's.
    Renewed,
    /// Entra's token, which is good for long enough.
    Held,
    /// Entra's token, which is good for a little, as Entra could not be asked.
    HeldInTrouble,
    /// The refresh got what the refresh before it came to.
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
        Event::StoreFull => counter!("entra_proxy_store_full_total").increment(1),
        Event::StoreError => counter!("entra_proxy_store_errors_total").increment(1),
    }
    #[cfg(not(feature = "metrics"))]
    let _ = event;
}

/// Describes the metrics, for whoever collects them.
pub(crate) fn describe_metrics() {
    #[cfg(feature = "metrics")]
    {
        use ::metrics::{Unit, describe_counter, describe_histogram};

        describe_counter!(
            "entra_proxy_requests_total",
            "Requests to the endpoints, by what they came to"
        );
        describe_histogram!(
            "entra_proxy_request_duration_seconds",
            Unit::Seconds,
            "How long requests to the endpoints took"
        );
        describe_counter!(
            "entra_proxy_entra_requests_total",
            "Requests to Entra's token endpoint, by what they came to"
        );
        describe_histogram!(
            "entra_proxy_entra_request_duration_seconds",
            Unit::Seconds,
            "How long requests to Entra's token endpoint took"
        );
        describe_counter!(
            "entra_proxy_refreshes_total",
            "Refreshes that were answered with tokens, by what they came of"
        );
        describe_counter!(
            "entra_proxy_reused_total",
            "Refresh tokens and codes that were used again, which ended their sign-ins"
        );
        describe_counter!(
            "entra_proxy_store_errors_total",
            "Requests that the store did not answer"
        );
        describe_counter!(
            "entra_proxy_store_full_total",
            "Records, and requests of people who would sign in, for which the store had no room"
        );
        // There from the beginning: the first one would otherwise be no increase.
        for what in ["refresh_token", "code"] {
            counter!("entra_proxy_reused_total", "what" => what).increment(0);
        }
        counter!("entra_proxy_store_errors_total").increment(0);
        counter!("entra_proxy_store_full_total").increment(0);
    }
}
