//! Moments of monotonic time as numbers, so that they can be atomic.

use std::time::Duration;

use tokio::time::Instant;

/// Counts milliseconds since it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeline {
    origin: Instant,
}

impl Timeline {
    pub(crate) fn new(origin: Instant) -> Self {
        Self { origin }
    }

    pub(crate) fn at(self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.origin).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    pub(crate) fn instant(self, at: u64) -> Instant {
        self.origin + Duration::from_millis(at)
    }
}
