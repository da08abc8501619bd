//! Lines of the log that strangers can cause: the first of a kind, then one a minute with their
//! number.
//!
//! Whoever has not signed in can send as many requests as the limits let through, and each may come
//! to a line. Exact numbers are in the metrics.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The kind of a line: its text and a reason, both of this server's own words, so that there are only
/// so many.
pub(crate) type Kind = (&'static str, &'static str);

/// Decides which lines are written.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog {
    written: Mutex<HashMap<Kind, Written>>,
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

    /// Returns how many the line stands for, if one is due.
    pub(crate) fn due(&self, kind: Kind) -> Option<u64> {
        let now = Instant::now();
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        match written.get_mut(&kind) {
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
                written.insert(kind, Written { at: now, since: 0 });
                Some(1)
            }
        }
    }
}

/// Writes a line that strangers can cause: at its level with `count` if one of its kind is due, else
/// at DEBUG.
macro_rules! throttled {
    ($level:ident, $log:expr, $kind:expr, $($line:tt)+) => {
        match $log.due($kind) {
            Some(count) => tracing::$level!(count, $($line)+),
            None => tracing::debug!($($line)+),
        }
    };
}

pub(crate) use throttled;

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_of_a_kind_is_written_then_one_a_minute_with_the_count() {
        let log = RefusalLog::default();
        let (one, other) = (("page", "one"), ("page", "other"));
        assert_eq!(log.due(one), Some(1));
        assert_eq!(log.due(one), None);
        advance(Duration::from_secs(59)).await;
        assert_eq!(log.due(one), None);
        assert_eq!(log.due(other), Some(1));
        advance(Duration::from_secs(1)).await;
        assert_eq!(log.due(one), Some(3));
        assert_eq!(log.due(one), None);
        assert_eq!(log.due(other), None);
    }
}
