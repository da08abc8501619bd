//! Refusals in the log: the first, then one line a minute.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// When refusals for one reason are written.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog {
    written: Mutex<Option<Written>>,
}

#[derive(Debug)]
struct Written {
    at: Instant,
    /// How many came since.
    since: u64,
}

impl RefusalLog {
    /// The least time between two lines.
    const INTERVAL: Duration = Duration::from_secs(60);

    /// How many refusals the line stands for, if one is due.
    pub(crate) fn due(&self) -> Option<u64> {
        let now = Instant::now();
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *written {
            Some(last) if now.duration_since(last.at) < Self::INTERVAL => {
                last.since += 1;
                None
            }
            last => {
                let since = last.as_ref().map_or(0, |last| last.since);
                *last = Some(Written { at: now, since: 0 });
                Some(since + 1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_is_written_then_one_a_minute_with_the_count() {
        let log = RefusalLog::default();
        assert_eq!(log.due(), Some(1));
        assert_eq!(log.due(), None);
        advance(Duration::from_secs(59)).await;
        assert_eq!(log.due(), None);
        advance(Duration::from_secs(1)).await;
        assert_eq!(log.due(), Some(3));
        assert_eq!(log.due(), None);
    }
}
