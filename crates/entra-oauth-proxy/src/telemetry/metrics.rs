//! Metrics through the `metrics` facade; nothing at all without the feature.
//!
//! Every label's values are a closed set: nothing that a client sends becomes one.

use std::time::Duration;

use crate::telemetry::spans::Reused;

/// A request to an endpoint was answered.
pub(crate) fn request(endpoint: &'static str, outcome: &'static str, took: Duration) {
    #[cfg(feature = "metrics")]
    {
        ::metrics::counter!(
            "entra_proxy_requests_total",
            "endpoint" => endpoint,
            "outcome" => outcome
        )
        .increment(1);
        ::metrics::histogram!("entra_proxy_request_duration_seconds", "endpoint" => endpoint)
            .record(took);
    }
    #[cfg(not(feature = "metrics"))]
    let _ = (endpoint, outcome, took);
}

/// Entra was asked for tokens: `ok`, or the kind of its error.
pub(crate) fn entra_request(grant_type: &'static str, outcome: &'static str, took: Duration) {
    #[cfg(feature = "metrics")]
    {
        ::metrics::counter!(
            "entra_proxy_entra_requests_total",
            "grant_type" => grant_type,
            "outcome" => outcome
        )
        .increment(1);
        ::metrics::histogram!(
            "entra_proxy_entra_request_duration_seconds",
            "grant_type" => grant_type
        )
        .record(took);
    }
    #[cfg(not(feature = "metrics"))]
    let _ = (grant_type, outcome, took);
}

/// By what a refresh was answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Served {
    /// New tokens of Entra's.
    Renewed,
    /// Entra's token, which is good for long enough.
    Held,
    /// Entra's token, which is good for a little, as Entra could not be asked.
    HeldInTrouble,
    /// What the refresh before it came to.
    Again,
}

/// A refresh was answered with tokens.
pub(crate) fn refreshed(served: Served) {
    #[cfg(feature = "metrics")]
    {
        let by = match served {
            Served::Renewed => "renewed",
            Served::Held => "held",
            Served::HeldInTrouble => "held_in_trouble",
            Served::Again => "again",
        };
        ::metrics::counter!("entra_proxy_refreshes_total", "by" => by).increment(1);
    }
    #[cfg(not(feature = "metrics"))]
    let _ = served;
}

/// A sign-in was ended, as something of it was used again.
pub(crate) fn reused(what: Reused) {
    #[cfg(feature = "metrics")]
    ::metrics::counter!("entra_proxy_reused_total", "what" => what.as_str()).increment(1);
    #[cfg(not(feature = "metrics"))]
    let _ = what.as_str();
}

/// The store did not answer.
pub(crate) fn store_error() {
    #[cfg(feature = "metrics")]
    ::metrics::counter!("entra_proxy_store_errors_total").increment(1);
}

/// Counts a record for which the store had no room.
pub(crate) fn store_full() {
    #[cfg(feature = "metrics")]
    ::metrics::counter!("entra_proxy_store_full_total").increment(1);
}

/// What the metrics are, for whoever collects them.
pub(crate) fn describe() {
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
        for what in Reused::ALL {
            ::metrics::counter!("entra_proxy_reused_total", "what" => what.as_str()).increment(0);
        }
        ::metrics::counter!("entra_proxy_store_errors_total").increment(0);
        ::metrics::counter!("entra_proxy_store_full_total").increment(0);
    }
    #[cfg(not(feature = "metrics"))]
    let _ = Reused::ALL;
}
