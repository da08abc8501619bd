//! Metrics about decisions, keys and cached tokens, and the record of refusals for the span around
//! a request.
//!
//! Metrics go to the `metrics` facade; without the feature `metrics` there are none.
//!
//! All label values are from a closed set or from the configuration. No value that a caller sends
//! becomes a label.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Response;

/// The decision about a request, in terms of a closed set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Decided {
    pub(crate) outcome: &'static str,
    /// The exact code of a refusal.
    pub(crate) code: Option<&'static str>,
}

impl Decided {
    pub(crate) const ACCEPTED: Self = Self {
        outcome: "accepted",
        code: None,
    };
    pub(crate) const ANONYMOUS: Self = Self {
        outcome: "anonymous",
        code: None,
    };

    /// Counts the decision about a request, or the refusal of a request that was accepted before.
    pub(crate) fn count(self) {
        // Decisions other than refusals have literal labels, so that their metric keys need no
        // allocation.
        #[cfg(feature = "metrics")]
        match self {
            Self {
                outcome: _,
                code: Some(code),
            } => ::metrics::counter!(
                "entra_auth_decisions_total",
                "outcome" => self.outcome,
                "code" => code
            ),
            Self::ANONYMOUS => ::metrics::counter!(
                "entra_auth_decisions_total",
                "outcome" => "anonymous",
                "code" => "none"
            ),
            Self { .. } => ::metrics::counter!(
                "entra_auth_decisions_total",
                "outcome" => "accepted",
                "code" => "none"
            ),
        }
        .increment(1);
        #[cfg(not(feature = "metrics"))]
        let _ = self;
    }

    /// Counts a refusal, and records it in its response, for the span around the request.
    pub(crate) fn count_and_mark<B>(self, response: &mut Response<B>) {
        self.count();
        response.extensions_mut().insert(self);
    }
}

/// A refusal inside the inner service that the response does not show.
#[derive(Clone, Debug, Default)]
pub(crate) struct RefusedWithin(Arc<OnceLock<Decided>>);

impl RefusedWithin {
    /// Records the first refusal of a request, for the span around the request.
    pub(crate) fn record(&self, decided: Decided) {
        let _ = self.0.set(decided);
    }

    /// Returns the refusal that was recorded.
    pub(crate) fn recorded(&self) -> Option<&Decided> {
        self.0.get()
    }
}

/// Records the outcome of an attempt to fetch keys: `fetched`, `not_modified`, or the failure's
/// code.
pub(crate) fn record_key_fetch(source: &str, outcome: &'static str, took: Duration) {
    #[cfg(feature = "metrics")]
    {
        let labels = [
            ("source", source.to_owned()),
            ("outcome", outcome.to_owned()),
        ];
        ::metrics::counter!("entra_auth_key_fetches_total", &labels).increment(1);
        let source = source.to_owned();
        ::metrics::histogram!("entra_auth_key_fetch_duration_seconds", "source" => source)
            .record(took);
    }
    #[cfg(not(feature = "metrics"))]
    let _ = (source, outcome, took);
}

/// Records that keys were fetched, and the number of keys that are held now.
pub(crate) fn record_keys(source: &str, held: usize) {
    #[cfg(feature = "metrics")]
    {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        #[expect(clippy::cast_precision_loss, reason = "at most 200")]
        ::metrics::gauge!("entra_auth_keys", "source" => source.to_owned()).set(held as f64);
        ::metrics::gauge!(
            "entra_auth_key_last_success_timestamp_seconds",
            "source" => source.to_owned()
        )
        .set(now.unwrap_or_default().as_secs_f64());
    }
    #[cfg(not(feature = "metrics"))]
    let _ = (source, held);
}

/// Counts a token whose key was not held, by outcome: `found` by a fetch, `unknown`, `pending` or
/// `unavailable`.
pub(crate) fn count_missing_key(source: &str, outcome: &'static str) {
    #[cfg(feature = "metrics")]
    ::metrics::counter!(
        "entra_auth_missing_keys_total",
        "source" => source.to_owned(),
        "outcome" => outcome
    )
    .increment(1);
    #[cfg(not(feature = "metrics"))]
    let _ = (source, outcome);
}

/// The outcome of a lookup in the token cache.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CacheLookup {
    Hit,
    Miss,
    /// The token was cached, but must be verified again.
    Outdated,
}

/// Counts a lookup in the token cache.
pub(crate) fn count_cache_lookup(outcome: CacheLookup) {
    // Each outcome has a literal label, so that no request allocates a metric key.
    #[cfg(feature = "metrics")]
    match outcome {
        CacheLookup::Hit => {
            ::metrics::counter!("entra_auth_token_cache_lookups_total", "outcome" => "hit")
        }
        CacheLookup::Miss => {
            ::metrics::counter!("entra_auth_token_cache_lookups_total", "outcome" => "miss")
        }
        CacheLookup::Outdated => {
            ::metrics::counter!("entra_auth_token_cache_lookups_total", "outcome" => "outdated")
        }
    }
    .increment(1);
    #[cfg(not(feature = "metrics"))]
    let _ = outcome;
}

/// Describes the metrics to the metrics recorder.
pub(crate) fn describe_metrics() {
    #[cfg(feature = "metrics")]
    {
        use ::metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

        describe_counter!(
            "entra_auth_decisions_total",
            "Decisions about requests, and later refusals of accepted requests, by outcome and code"
        );
        // Registered at 0, because a counter that appears with its first fault shows no increase.
        for code in ["wrong_layer", "response_hook_panicked"] {
            ::metrics::counter!("entra_auth_decisions_total", "outcome" => "fault", "code" => code)
                .increment(0);
        }
        describe_counter!(
            "entra_auth_key_fetches_total",
            "Attempts to fetch signing keys, by outcome"
        );
        describe_histogram!(
            "entra_auth_key_fetch_duration_seconds",
            Unit::Seconds,
            "Duration of attempts to fetch signing keys"
        );
        describe_gauge!(
            "entra_auth_keys",
            "Number of signing keys held since the last fetch"
        );
        describe_gauge!(
            "entra_auth_key_last_success_timestamp_seconds",
            Unit::Seconds,
            "Time of the last successful fetch of signing keys, in seconds since 1970"
        );
        describe_counter!(
            "entra_auth_missing_keys_total",
            "Tokens whose key was not held, by outcome"
        );
        describe_counter!(
            "entra_auth_token_cache_lookups_total",
            "Lookups in the cache of verified tokens, by outcome"
        );
    }
}
