//! Lines of a log that strangers can cause: the first of a kind, then one a minute with the count.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Decides which lines are written. Keys, one for each kind of line, are of a closed set, such as the
/// variants of an enum: each is kept for ever.
#[derive(Debug)]
pub struct ThrottledLog<K> {
    written: Mutex<HashMap<K, Written>>,
}

#[derive(Debug)]
struct Written {
    at: Instant,
    /// Counts the lines of this kind that were left out since.
    since: u64,
}

/// The least time between two lines of one kind.
const INTERVAL: Duration = Duration::from_secs(60);

impl<K: Eq + Hash> ThrottledLog<K> {
    /// Returns the number of events that a line stands for, if one of this kind is due: the first, then
    /// one a minute.
    pub fn due(&self, kind: K) -> Option<u64> {
        let now = Instant::now();
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        match written.get_mut(&kind) {
            Some(last) if now.duration_since(last.at) < INTERVAL => {
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

impl<K> Default for ThrottledLog<K> {
    fn default() -> Self {
        let written = Mutex::default();
        Self { written }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_of_a_kind_is_written_then_one_a_minute_with_the_count() {
        let log = ThrottledLog::default();
        let after = |seconds| advance(Duration::from_secs(seconds));
        assert_eq!(log.due("expired"), Some(1));
        after(1).await;
        assert_eq!(log.due("expired"), None);
        after(58).await;
        assert_eq!(log.due("expired"), None);
        assert_eq!(log.due("v1_token"), Some(1));
        after(1).await;
        assert_eq!(log.due("expired"), Some(3));
        after(1).await;
        assert_eq!(log.due("expired"), None);
    }
}
