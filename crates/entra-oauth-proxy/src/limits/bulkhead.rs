//! So many calls to Entra at a time, and no more.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::oauth::error::OAuthError;
use crate::telemetry::log::RefusalLog;

/// Places for calls of one kind, and a queue before them.
pub(crate) struct Bulkhead {
    /// For the log.
    calls: &'static str,
    places: Semaphore,
    queue: Semaphore,
    refused: RefusalLog,
}

impl Bulkhead {
    /// How long a call waits for its place.
    const LONGEST_WAIT: Duration = Duration::from_secs(2);

    /// How many may wait for each place. A call takes Entra a fraction of a second, so more would wait
    /// in vain.
    const WAITING: usize = 4;

    pub(crate) fn new(calls: &'static str, places: usize) -> Self {
        Self {
            calls,
            places: Semaphore::new(places),
            queue: Semaphore::new(places.saturating_mul(Self::WAITING)),
            refused: RefusalLog::default(),
        }
    }

    /// Does it in a place of its own. Without one it is as if Entra did not answer: nothing is sent.
    pub(crate) async fn call<C: Future>(&self, call: C) -> Result<C::Output, OAuthError> {
        let _place = match self.places.try_acquire() {
            Ok(place) => place,
            Err(_) => {
                let waiting = self.queue.try_acquire().map_err(|_| self.full())?;
                let place = timeout(Self::LONGEST_WAIT, self.places.acquire()).await;
                drop(waiting);
                // Places are never closed.
                place.ok().and_then(Result::ok).ok_or_else(|| self.full())?
            }
        };
        Ok(call.await)
    }

    fn full(&self) -> OAuthError {
        if let Some(count) = self.refused.due((self.calls, "")) {
            tracing::warn!(
                calls = self.calls,
                count,
                "Entra is not asked, as too many calls to it are under way; if it answers as fast as \
                 ever, set Limits::entra_calls(..) higher"
            );
        }
        OAuthError::unavailable(None)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;

    use tokio::task::yield_now;
    use tokio::time::{Instant, sleep};

    use super::*;

    async fn occupied(places: usize, calls: usize) -> Arc<Bulkhead> {
        let bulkhead = Arc::new(Bulkhead::new("of a test", places));
        for _ in 0..calls {
            let bulkhead = Arc::clone(&bulkhead);
            tokio::spawn(async move { bulkhead.call(pending::<()>()).await });
        }
        yield_now().await;
        bulkhead
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_finds_no_place_waits_two_seconds() {
        let bulkhead = occupied(2, 2).await;
        let begun = Instant::now();
        assert!(bulkhead.call(async {}).await.is_err());
        assert_eq!(begun.elapsed(), Bulkhead::LONGEST_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_finds_no_place_to_wait_is_told_at_once() {
        let bulkhead = occupied(2, 2 + 8).await;
        let begun = Instant::now();
        let told = bulkhead.call(async {}).await.unwrap_err();
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(told.code.as_str(), "temporarily_unavailable");
        assert!(told.retry_after.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_free_again_when_the_call_is_done_or_given_up() {
        let bulkhead = Bulkhead::new("of a test", 1);
        assert_eq!(bulkhead.call(async { 1 }).await, Ok(1));
        let given_up = timeout(Duration::from_secs(1), bulkhead.call(pending::<()>()));
        assert!(given_up.await.is_err());
        assert_eq!(bulkhead.call(async { 2 }).await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_gets_the_place_that_becomes_free() {
        let bulkhead = Arc::new(Bulkhead::new("of a test", 1));
        let first = Arc::clone(&bulkhead);
        tokio::spawn(async move { first.call(sleep(Duration::from_secs(1))).await });
        yield_now().await;
        let begun = Instant::now();
        assert!(bulkhead.call(async {}).await.is_ok());
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
    }
}
