//! Token buckets, one for each key.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::time::Instant;

/// So many at once, and so many a minute from then on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Rate {
    pub(crate) burst: u32,
    pub(crate) per_minute: u32,
}

/// A bucket for each key, of which only the moment is kept when it is full again (GCRA).
///
/// Not `governor`: its states of many keys grow without bound, and with a store and a clock of our own
/// nothing of it is left but the arithmetic below.
pub(crate) struct Buckets {
    /// From one token to the next, in nanoseconds.
    interval: u64,
    /// From empty to full, in nanoseconds.
    to_fill: u64,
    begun: Instant,
    /// Of a key only its hash is kept: nobody reads an address out of the memory.
    hasher: RandomState,
    /// When each is full again, in nanoseconds since `begun`. Those that are full are forgotten, and
    /// where there are too many, those that were not used for longest. Whoever has so many addresses
    /// gains full buckets, as any new address has one.
    full_at: Cache<u64, Arc<AtomicU64>>,
}

impl Buckets {
    /// The most keys that are remembered.
    const MOST: u64 = 50_000;

    /// The least time for which a key is remembered that nobody uses. It passes by moka's clock, which
    /// goes on where tokio's is paused, as in tests.
    const LEAST_IDLE: Duration = Duration::from_secs(60);

    /// A rate has no zero in it.
    pub(crate) fn new(rate: Rate) -> Self {
        let interval = 60_000_000_000 / u64::from(rate.per_minute.max(1));
        let to_fill = interval.saturating_mul(u64::from(rate.burst));
        Self {
            interval,
            to_fill,
            begun: Instant::now(),
            hasher: RandomState::new(),
            full_at: Cache::builder()
                .max_capacity(Self::MOST)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_idle(Duration::from_nanos(to_fill).max(Self::LEAST_IDLE))
                .build(),
        }
    }

    /// Takes a token; the error is how long it is until there is one.
    pub(crate) fn take(&self, key: impl Hash) -> Result<(), Duration> {
        let now = self.begun.elapsed().as_nanos();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let after = |full_at: u64| full_at.max(now).saturating_add(self.interval);
        let latest = now.saturating_add(self.to_fill);

        let full_at = self
            .full_at
            .get_with(self.hasher.hash_one(key), Arc::default);
        let taken = full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            Some(after(full_at)).filter(|after| *after <= latest)
        });
        taken
            .map(|_| ())
            .map_err(|full_at| Duration::from_nanos(after(full_at).saturating_sub(latest)))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const RATE: Rate = Rate {
        burst: 3,
        per_minute: 30,
    };

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_one_at_each_interval() {
        let buckets = Buckets::new(RATE);
        for _ in 0..3 {
            assert_eq!(buckets.take("key"), Ok(()));
        }
        assert_eq!(buckets.take("key"), Err(Duration::from_secs(2)));
        advance(Duration::from_millis(500)).await;
        assert_eq!(buckets.take("key"), Err(Duration::from_millis(1_500)));
        advance(Duration::from_millis(1_500)).await;
        assert_eq!(buckets.take("key"), Ok(()));
        assert_eq!(buckets.take("key"), Err(Duration::from_secs(2)));
        assert_eq!(buckets.take("another"), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn however_long_nobody_came_there_is_no_more_than_the_burst() {
        let buckets = Buckets::new(RATE);
        assert_eq!(buckets.take("key"), Ok(()));
        advance(Duration::from_secs(365 * 24 * 60 * 60)).await;
        let taken = (0..10).filter(|_| buckets.take("key").is_ok());
        assert_eq!(taken.count(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn being_refused_takes_nothing() {
        let buckets = Buckets::new(RATE);
        let refused = (0..1_000).filter(|_| buckets.take("key").is_err());
        assert_eq!(refused.count(), 997);
        advance(Duration::from_secs(2)).await;
        assert_eq!(buckets.take("key"), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_keys_are_kept_and_the_one_in_use_is_among_them() {
        let buckets = Buckets::new(RATE);
        while buckets.take("in use").is_ok() {}
        for stranger in 0..Buckets::MOST + 20_000 {
            buckets.take(stranger).unwrap();
            if stranger % 10_000 == 0 {
                assert!(buckets.take("in use").is_err(), "{stranger}");
            }
        }
        buckets.full_at.run_pending_tasks();
        let kept = buckets.full_at.entry_count();
        assert!(kept <= Buckets::MOST, "{kept}");
    }

    #[test]
    fn the_widest_and_the_narrowest_can_be_counted() {
        for number in [1, 1_000_000] {
            for burst in [1, 1_000_000] {
                let buckets = Buckets::new(Rate {
                    burst,
                    per_minute: number,
                });
                assert_eq!(buckets.take("key"), Ok(()));
            }
        }
    }
}
