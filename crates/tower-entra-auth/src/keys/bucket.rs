//! The refill bucket that limits fetches on demand.

use std::time::Duration;

use tokio::time::Instant;

/// Two at once, then one every 30 s of monotonic time, refilled continuously.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// The time at which the bucket is, or was, full; each token spent moves it by one interval.
    full_at: Instant,
}

impl Bucket {
    const CAPACITY: u32 = 2;
    const INTERVAL: Duration = Duration::from_secs(30);

    pub(crate) fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes one token, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        if self.until_next(now) > Duration::ZERO {
            return false;
        }
        self.full_at = self.full_at.max(now) + Self::INTERVAL;
        true
    }

    /// How long until there is a token.
    pub(crate) fn until_next(&self, now: Instant) -> Duration {
        let until_full = self.full_at.saturating_duration_since(now);
        until_full.saturating_sub(Self::INTERVAL * (Self::CAPACITY - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_at_once_then_one_every_thirty_seconds() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut bucket = Bucket::full(start);
        assert!(bucket.take(start) && bucket.take(start) && !bucket.take(start));
        assert_eq!(bucket.until_next(start), Duration::from_secs(30));
        assert!(!bucket.take(at(29)));
        assert!(bucket.take(at(30)) && !bucket.take(at(30)));
        assert!(!bucket.take(at(59)) && bucket.take(at(60)));
    }

    #[test]
    fn it_never_holds_more_than_two() {
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        assert!(bucket.take(start));
        let later = start + Duration::from_secs(3_600);
        assert!(bucket.take(later) && bucket.take(later) && !bucket.take(later));
    }
}
