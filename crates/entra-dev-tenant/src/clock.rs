//! The tenant's wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Wall time that follows tokio's clock: where a test pauses and advances that, this moves too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    wall_at_start: SystemTime,
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            wall_at_start: SystemTime::now(),
            start: Instant::now(),
        }
    }

    pub(crate) fn now(self) -> SystemTime {
        self.wall_at_start + self.start.elapsed()
    }

    /// Seconds since 1970.
    pub(crate) fn unix_seconds(self) -> i64 {
        let since_1970 = self.now().duration_since(UNIX_EPOCH);
        i64::try_from(since_1970.unwrap_or(Duration::ZERO).as_secs()).unwrap_or(i64::MAX)
    }
}
