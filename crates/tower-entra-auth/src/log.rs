//! One place that writes refusals into the log: the first of a kind, then one a minute.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use entra_jwt_core::Shown;
use tokio::time::Instant;

use crate::refusal::Refusal;

/// Decides which refusals are written. Codes are a closed set, so the map stays small.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog {
    written: Mutex<HashMap<&'static str, Written>>,
}

#[derive(Debug)]
struct Written {
    at: Instant,
    /// How many of its kind came since.
    since: u64,
}

impl RefusalLog {
    /// The least time between two lines of one kind.
    const INTERVAL: Duration = Duration::from_secs(60);

    pub(crate) fn refused(&self, refusal: &Refusal) {
        let code = refusal.code();
        if matches!(refusal, Refusal::NoCredentials) {
            tracing::debug!(code, "request without a bearer token");
            return;
        }
        if let Some(count) = self.due(code, Instant::now()) {
            write(refusal, code, count);
        }
    }

    /// How many refusals the line stands for, if one is due.
    fn due(&self, code: &'static str, now: Instant) -> Option<u64> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        match written.get_mut(code) {
            Some(last) if now.duration_since(last.at) < Self::INTERVAL => {
                last.since += 1;
                None
            }
            Some(last) => {
                let count = last.since + 1;
                *last = Written { at: now, since: 0 };
                Some(count)
            }
            None => {
                written.insert(code, Written { at: now, since: 0 });
                Some(1)
            }
        }
    }
}

fn write(refusal: &Refusal, code: &'static str, count: u64) {
    let remedy = &*refusal.remedy();
    match refusal {
        Refusal::Rejected {
            rejection,
            unsigned,
        } => {
            let found = rejection.found();
            let expected = rejection.expected();
            let found = found.as_deref().map(Shown).map(tracing::field::display);
            let expected = expected.as_deref().map(Shown).map(tracing::field::display);
            let signature = unsigned.then_some("not checked");
            tracing::warn!(
                code,
                found,
                expected,
                signature,
                remedy,
                count,
                "token refused"
            );
        }
        Refusal::Unavailable { cause, .. } => {
            let cause: &dyn fmt::Display = cause;
            tracing::warn!(code, %cause, remedy, count, "cannot tell whether a token is valid");
        }
        Refusal::Denied(denied) => {
            let reason = denied.to_string();
            let reason = tracing::field::display(Shown(&reason));
            tracing::warn!(
                code,
                reason,
                remedy,
                count,
                "valid token without permission"
            );
        }
        Refusal::NoCredentials | Refusal::Authorization(_) => {
            tracing::warn!(code, remedy, count, "credentials refused");
        }
        #[cfg(feature = "axum")]
        Refusal::WrongLayer => tracing::error!(code, remedy, count, "no caller in the request"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_kind_is_written_then_one_a_minute_with_the_count() {
        let log = RefusalLog::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(log.due("expired", start), Some(1));
        assert_eq!(log.due("expired", after(1)), None);
        assert_eq!(log.due("expired", after(59)), None);
        assert_eq!(log.due("v1_token", after(59)), Some(1));
        assert_eq!(log.due("expired", after(60)), Some(3));
        assert_eq!(log.due("expired", after(61)), None);
    }
}
