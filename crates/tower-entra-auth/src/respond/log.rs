//! One place that writes refusals into the log: the first of a kind, then one a minute.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use entra_jwt_core::Shown;
use tokio::time::Instant;

use super::{Refusal, ResponderConfig};

/// See [`Refusal::log_key`].
type LogKey = (&'static str, &'static str);

/// Decides which refusals are written. Keys are a closed set, so the map stays small.
#[derive(Debug, Default)]
pub(super) struct RefusalLog {
    written: Mutex<HashMap<LogKey, Written>>,
}

#[derive(Debug)]
struct Written {
    at: Instant,
    /// Counts the lines of this kind that were left out since.
    since: u64,
}

impl RefusalLog {
    /// The least time between two lines of one kind.
    const INTERVAL: Duration = Duration::from_secs(60);

    pub(super) fn write(&self, refusal: &Refusal, config: &ResponderConfig) {
        let code = refusal.code();
        if matches!(refusal, Refusal::NoCredentials | Refusal::OtherScheme) {
            tracing::debug!(code, "request without a bearer token");
            return;
        }
        // The ordinary end of a stream.
        if matches!(refusal, Refusal::ExpiredWhileServed) {
            tracing::debug!(code, "the token expired while its request was served");
            return;
        }
        if let Some(count) = self.due(refusal.log_key(), Instant::now()) {
            let remedy = refusal.remedy(config);
            write_line(refusal, code, &remedy, count);
        }
    }

    /// Returns the number of refusals that the line stands for, if one is due.
    fn due(&self, key: LogKey, now: Instant) -> Option<u64> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        match written.get_mut(&key) {
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
                written.insert(key, Written { at: now, since: 0 });
                Some(1)
            }
        }
    }
}

fn write_line(refusal: &Refusal, code: &'static str, remedy: &str, count: u64) {
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
        Refusal::Denied { denied, .. } => {
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
        Refusal::NoCredentials
        | Refusal::OtherScheme
        | Refusal::ExpiredWhileServed
        | Refusal::MalformedAuthorization
        | Refusal::SeveralAuthorizations => {
            tracing::warn!(code, remedy, count, "credentials refused");
        }
        Refusal::Ended(rejection) => {
            let found = rejection.found();
            let found = found.as_deref().map(Shown).map(tracing::field::display);
            tracing::warn!(
                code,
                found,
                remedy,
                count,
                "what was being served was ended: a rule says no now"
            );
        }
        // What a claims request asks for may be about a person.
        Refusal::Challenged { .. } => {
            tracing::warn!(code, remedy, count, "more claims are needed");
        }
        #[cfg(feature = "axum")]
        Refusal::OtherClaims { type_name } => {
            tracing::warn!(
                code,
                wanted = type_name,
                remedy,
                count,
                "valid token without the claims that the handler wants"
            );
        }
        Refusal::WrongLayer { of_another: false } => {
            tracing::error!(code, remedy, count, "no caller in the request");
        }
        Refusal::WrongLayer { of_another: true } => {
            tracing::error!(code, remedy, count, "the caller is of another EntraAuth");
        }
        Refusal::HookPanicked => {
            tracing::error!(code, remedy, count, "no answer from the response hook");
        }
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
        assert_eq!(log.due(("expired", ""), start), Some(1));
        assert_eq!(log.due(("expired", ""), after(1)), None);
        assert_eq!(log.due(("expired", ""), after(59)), None);
        assert_eq!(log.due(("v1_token", ""), after(59)), Some(1));
        assert_eq!(log.due(("expired", ""), after(60)), Some(3));
        assert_eq!(log.due(("expired", ""), after(61)), None);
    }
}
