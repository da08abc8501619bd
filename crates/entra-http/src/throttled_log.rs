//! Rate-limited log lines for events that strangers can cause: the first event of a kind, then one
//! line a minute with the count.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A rate limit for log lines: decides which lines are written.
///
/// Keys are of a closed set, such as the variants of an enum, because each key is kept permanently.
/// The details of a key may be any value, such as one from a token: only the last few details have
/// lines of their own.
#[derive(Debug)]
pub struct ThrottledLog<K> {
    written: Mutex<HashMap<K, Written>>,
    interval: Duration,
    /// Keyed at random, so that an attacker cannot choose details with equal hashes.
    hasher: RandomState,
}

/// The lines of one key.
#[derive(Debug, Default)]
struct Written {
    /// At most [`MOST_DETAILS`] lines, each with the hash of its detail.
    details: Vec<(u64, Line)>,
    /// The line that all other details share.
    others: Option<Line>,
}

/// A line that is written repeatedly.
#[derive(Debug)]
struct Line {
    at: Instant,
    /// Number of events since the line was last written.
    since: u64,
}

/// Default for the minimum time between two lines of one kind.
const INTERVAL: Duration = Duration::from_secs(60);

/// Maximum number of details of one key that have lines of their own at a time.
const MOST_DETAILS: usize = 8;

impl<K: Eq + Hash> ThrottledLog<K> {
    /// Creates a log that writes at most one line of a kind in this interval.
    ///
    /// The default is one minute.
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        Self {
            interval,
            ..Self::default()
        }
    }

    /// Returns the number of events to report if a line of this kind is due now, else `None`.
    ///
    /// The first event is due, then one a minute (or per [interval](Self::every)).
    pub fn due(&self, kind: K) -> Option<u64> {
        self.due_for(kind, ())
    }

    /// Returns the number of events to report if a line of this kind and detail is due now, else
    /// `None`.
    ///
    /// It works like [`due`](Self::due), but each detail of the kind has its own line, so that a
    /// second mistake is not hidden behind the first.
    ///
    /// A detail is, for example, the value that was found and the value that was expected. Eight
    /// details at a time have lines of their own; all other details of the kind share one line.
    pub fn due_for(&self, kind: K, detail: impl Hash) -> Option<u64> {
        let now = Instant::now();
        let detail = self.hasher.hash_one(detail);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = written.entry(kind).or_default();
        match lines.of(detail, now, self.interval) {
            Some(line) => line.due(now, self.interval),
            None => Some(1),
        }
    }
}

impl Written {
    /// Returns the existing line of a detail, or the shared line. `None` if the line is new.
    fn of(&mut self, detail: u64, now: Instant, interval: Duration) -> Option<&mut Line> {
        let known = self.details.iter().position(|(known, _)| *known == detail);
        if let Some(index) = known {
            return self.details.get_mut(index).map(|(_, line)| line);
        }
        let new = || Line { at: now, since: 0 };
        if self.details.len() < MOST_DETAILS {
            self.details.push((detail, new()));
            return None;
        }
        let oldest = self.details.iter_mut().min_by_key(|(_, line)| line.at);
        let Some(oldest) = oldest.filter(|(_, line)| now.duration_since(line.at) >= interval)
        else {
            let is_new = self.others.is_none();
            let others = self.others.get_or_insert_with(new);
            return (!is_new).then_some(others);
        };
        let (_, ended) = mem::replace(oldest, (detail, new()));
        if ended.since > 0 {
            // The events that the removed line counted go to the shared line.
            let others = self.others.get_or_insert(Line { since: 0, ..ended });
            others.since = others.since.saturating_add(ended.since);
        }
        None
    }
}

impl Line {
    fn due(&mut self, now: Instant, interval: Duration) -> Option<u64> {
        if now.duration_since(self.at) < interval {
            self.since = self.since.saturating_add(1);
            return None;
        }
        let count = self.since.saturating_add(1);
        *self = Self { at: now, since: 0 };
        Some(count)
    }
}

impl<K> Default for ThrottledLog<K> {
    fn default() -> Self {
        Self {
            written: Mutex::default(),
            interval: INTERVAL,
            hasher: RandomState::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    async fn after(seconds: u64) {
        advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_of_a_kind_is_written_then_one_a_minute_with_the_count() {
        let log = ThrottledLog::default();
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

    #[tokio::test(start_paused = true)]
    async fn another_interval_is_kept() {
        let log = ThrottledLog::every(Duration::from_secs(3_600));
        assert_eq!(log.due("probe"), Some(1));
        after(3_599).await;
        assert_eq!(log.due("probe"), None);
        after(1).await;
        assert_eq!(log.due("probe"), Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_mistake_of_a_kind_is_not_hidden_behind_the_first() {
        let log = ThrottledLog::default();
        for scope in ["Orders.Read", "Orders.Write", "Orders.Delete"] {
            assert_eq!(log.due_for("missing_scope", scope), Some(1), "{scope}");
            assert_eq!(log.due_for("missing_scope", scope), None, "{scope}");
        }
        after(60).await;
        assert_eq!(log.due_for("missing_scope", "Orders.Write"), Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_made_up_in_thousands_takes_nine_lines_a_minute_and_no_memory() {
        let log = ThrottledLog::default();
        let flood = |from: u64| {
            let lines = (from..from + 10_000).filter_map(|n| log.due_for("wrong_audience", n));
            lines.collect::<Vec<_>>()
        };
        assert_eq!(flood(0), [1; 9]);
        after(60).await;
        // The eight old details make room for new ones. The shared line reports the events that
        // were left out.
        assert_eq!(flood(10_000), [1, 1, 1, 1, 1, 1, 1, 1, 9_992]);
        let written = log.written.lock().unwrap();
        assert_eq!(written["wrong_audience"].details.len(), MOST_DETAILS);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_detail_counted_is_not_lost_when_it_makes_room() {
        let log = ThrottledLog::default();
        for detail in 0..8 {
            assert_eq!(log.due_for("wrong_audience", detail), Some(1));
        }
        assert_eq!(log.due_for("wrong_audience", 0), None);
        after(60).await;
        for detail in 8..16 {
            assert_eq!(log.due_for("wrong_audience", detail), Some(1));
        }
        // The ninth detail of this minute uses the shared line, which has one more event to report.
        assert_eq!(log.due_for("wrong_audience", 16), Some(2));
        assert_eq!(log.due_for("wrong_audience", 17), None);
    }
}
