//! The background tasks: the refresher that keeps the schedule, and one task for each attempt.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use entra_jwt_core::{KeySet, ids::KeyId, integration::Escaped, keys::UnusableKey};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout, timeout_at};

use super::schedule::{AttemptNumber, AttemptOutcome};
use super::{ATTEMPT_TIMEOUT, FetchError, FetchReason, Fetched, KeyStore, outcome_of};
use crate::setting::name_of;
use crate::telemetry;
use crate::time::usable_runtime;
use crate::unavailable::Outage;

impl KeyStore {
    /// Starts a refresher, unless another request has done so in the meantime.
    pub(super) fn start_refresher(self: &Arc<Self>, now: Instant) -> Result<(), Outage> {
        let runtime = usable_runtime()?;
        let (begun, generation) = {
            let mut state = self.lock();
            if self.has_refresher(now) {
                return Ok(());
            }
            state.generation += 1;
            // Begun here, so that requests that arrive at this moment join the attempt.
            let begun = state.schedule.begin_if_due(now);
            self.set_overdue_after(state.schedule.next().max(now));
            (begun, state.generation)
        };
        if let Some(number) = begun {
            spawn_attempt(self, &runtime, number, FetchReason::Schedule);
        }
        spawn(self, &runtime, generation);
        Ok(())
    }
}

/// Spawns a refresher. An older one ends when it wakes up and sees the new generation.
fn spawn(store: &Arc<KeyStore>, runtime: &Handle, generation: u64) {
    let refresher = Refresher {
        store: Arc::clone(store),
        generation,
    };
    let task = runtime.spawn(async move { refresher.run().await });
    store.lock().tasks.push(task.abort_handle());
}

/// Spawns the task of an attempt that has begun.
///
/// Must not be called under the lock: on a runtime that is shutting down, the task is dropped
/// during the call. The drop ends the attempt, which takes the lock.
pub(super) fn spawn_attempt(
    store: &Arc<KeyStore>,
    runtime: &Handle,
    number: AttemptNumber,
    reason: FetchReason,
) {
    let attempt = Attempt {
        store: Arc::clone(store),
        number,
        begun: Instant::now(),
        has_ended: false,
    };
    let task = runtime.spawn(async move {
        let source = &attempt.store.source.0;
        let fetched = timeout(ATTEMPT_TIMEOUT, source.fetch(reason)).await;
        let fetched = fetched.unwrap_or_else(|_| {
            Err(FetchError::from(Outage::Timeout {
                host: source.name().to_owned(),
                after: ATTEMPT_TIMEOUT,
            }))
        });
        attempt.end(fetched);
    });
    let mut state = store.lock();
    state.tasks.retain(|task| !task.is_finished());
    state.tasks.push(task.abort_handle());
}

/// A task that begins an attempt whenever the schedule says so.
struct Refresher {
    store: Arc<KeyStore>,
    generation: u64,
}

impl Refresher {
    async fn run(&self) {
        loop {
            let (begun, ended, wake_at) = {
                let mut state = self.store.lock();
                if state.generation != self.generation {
                    return;
                }
                let now = Instant::now();
                let ended = self.store.ended.subscribe();
                let begun = state.schedule.begin_if_due(now);
                (begun, ended, state.schedule.wake_at(now))
            };
            if let Some(number) = begun {
                spawn_attempt(
                    &self.store,
                    &Handle::current(),
                    number,
                    FetchReason::Schedule,
                );
            }
            // The end of any attempt changes the schedule.
            drop(timeout_at(wake_at, outcome_of(ended)).await);
        }
    }
}

impl Drop for Refresher {
    fn drop(&mut self) {
        // Makes the next request start another refresher.
        if self.store.lock().generation == self.generation {
            self.store.overdue_at.store(0, Ordering::Relaxed);
        }
    }
}

/// An attempt in flight. If its runtime shuts down before the fetch is over, the drop of this value
/// ends the attempt.
struct Attempt {
    store: Arc<KeyStore>,
    number: AttemptNumber,
    begun: Instant,
    has_ended: bool,
}

impl Attempt {
    fn end(mut self, fetched: Result<Fetched, FetchError>) {
        self.has_ended = true;
        self.ended_with(fetched);
    }

    fn ended_with(&self, fetched: Result<Fetched, FetchError>) {
        let outcome = match &fetched {
            Ok(fetched) if fetched.is_unchanged => "not_modified",
            Ok(_) => "fetched",
            Err(failed) => failed.cause.kind().code(),
        };
        telemetry::record_key_fetch(self.store.source.name(), outcome, self.begun.elapsed());
        end(&self.store, self.number, fetched);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.has_ended {
            self.ended_with(Err(Outage::Interrupted.into()));
        }
    }
}

/// Ends an attempt and publishes the keys that it brought, unless a newer one has begun since.
pub(super) fn end(store: &KeyStore, number: AttemptNumber, fetched: Result<Fetched, FetchError>) {
    let now = Instant::now();
    let source = store.source.name();
    let outcome = match &fetched {
        Ok(fetched) => AttemptOutcome::Succeeded {
            is_unchanged: fetched.is_unchanged,
            check_again_after: fetched.check_again_after,
        },
        Err(failed) if failed.cause == Outage::Interrupted && !std::thread::panicking() => {
            AttemptOutcome::Interrupted
        }
        Err(failed) => AttemptOutcome::Failed {
            retry_after: failed.retry_after,
        },
    };

    let mut state = store.lock();
    if !state.schedule.is_current(number) {
        return;
    }
    // All under the lock, so that a request which sees the end of the attempt sees its keys too.
    let published = fetched
        .as_ref()
        .map(|fetched| store.publish(&fetched.keys, now))
        .map_err(|failed| failed.cause.clone());
    if let Ok(fetched) = &fetched {
        state.is_final = fetched.is_final;
    }
    match &published {
        Ok(_) => state.last_success = Some(now),
        Err(_) if outcome == AttemptOutcome::Interrupted => {}
        Err(cause) => state.last_failure = Some((now, cause.clone())),
    }
    let document = match fetched {
        Ok(fetched) => Some(fetched.keys),
        Err(failed) => failed.useless,
    };
    let weak_before = document
        .as_deref()
        .map(|keys| mem::replace(&mut state.weak_keys, weak_keys(keys)));
    // Only now: after a panic above, the attempt is still in flight, and is given up at its time
    // limit.
    let failures_before = state.schedule.end(outcome, now);
    let next = state.schedule.next();
    store.set_overdue_after(next);
    store
        .ended
        .send_replace(Some(published.clone().map(|_| ())));
    drop(state);

    let next_attempt_in = next.saturating_duration_since(now).as_secs();
    match published {
        Ok(published) => {
            let keys = published.keys;
            telemetry::record_keys(source, keys);
            if published.is_first || failures_before > 0 {
                tracing::info!(source, keys, next_attempt_in, "signing keys fetched");
            } else {
                tracing::debug!(source, keys, next_attempt_in, "signing keys fetched");
            }
        }
        Err(cause) if outcome == AttemptOutcome::Interrupted => {
            tracing::debug!(
                source,
                code = cause.kind().code(),
                "fetching signing keys was interrupted"
            );
        }
        Err(cause) => tracing::warn!(
            source,
            code = cause.kind().code(),
            cause = cause.to_string(),
            remedy = &*cause.remedy_with(name_of),
            failures = failures_before + 1,
            next_attempt_in,
            "cannot fetch signing keys"
        ),
    }
    if let (Some(document), Some(weak_before)) = (document, weak_before) {
        report_unusable(&document, &weak_before, source);
    }
}

/// Returns the ids of the keys whose private half can be computed from the public one (ROCA).
fn weak_keys(document: &KeySet) -> Vec<Option<KeyId>> {
    let unusable = document.unusable();
    let weak = unusable.filter(|(_, reason)| *reason == UnusableKey::Roca);
    weak.map(|(id, _)| id.cloned()).collect()
}

/// Logs the entries of a document that are not used.
///
/// A published private half is an error. A private half that every attacker can compute is a
/// warning, unless the document before had the same key. All other entries are debug messages: they
/// are of no use, but do no harm.
fn report_unusable(document: &KeySet, weak_before: &[Option<KeyId>], source: &str) {
    for (id, reason) in document.unusable() {
        let key_id = id.map(|id| Escaped(id.as_str()).to_string());
        let is_known = || weak_before.iter().any(|known| known.as_ref() == id);
        match reason {
            UnusableKey::Private => tracing::error!(
                source,
                key_id,
                "a signing key was published with its private half; it is no longer trusted"
            ),
            UnusableKey::Roca if !is_known() => tracing::warn!(
                source,
                key_id,
                "a key was published whose private half can be computed (ROCA); it is not used"
            ),
            _ => {
                let reason = reason.to_string();
                tracing::debug!(source, key_id, reason, "a published key is not used");
            }
        }
    }
}

/// Helpers of tests: a store whose attempts the tests begin and end by hand.
#[cfg(test)]
pub(super) mod testing {
    use std::sync::Arc;
    use std::time::Duration;

    use crate::keys::record::testing::document;
    use crate::keys::{Fetch, FetchError, FetchFuture, FetchReason, Fetched, KeyStore, Source};

    pub(crate) const REFRESH_INTERVAL: Duration = Duration::from_secs(60 * 60);
    pub(crate) const MAX_STALENESS: Duration = Duration::from_secs(24 * 60 * 60);

    struct Nothing;

    impl Fetch for Nothing {
        fn name(&self) -> &str {
            "nothing"
        }

        fn fetch(&self, _: FetchReason) -> FetchFuture<'_> {
            Box::pin(std::future::pending())
        }
    }

    pub(crate) fn store() -> Arc<KeyStore> {
        KeyStore::new(Source(Arc::new(Nothing)), REFRESH_INTERVAL, MAX_STALENESS)
    }

    pub(crate) fn fetched(keys: &[(&str, u16)]) -> Result<Fetched, FetchError> {
        Ok(Fetched {
            keys: Arc::new(document(keys)),
            is_unchanged: false,
            is_final: false,
            check_again_after: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::testing::{fetched, store};
    use super::*;
    use crate::keys::record::testing::{document, id};

    fn failed() -> Result<Fetched, FetchError> {
        Err(Outage::TimedOut.into())
    }

    #[tokio::test(start_paused = true)]
    async fn an_older_slow_answer_never_overwrites_a_newer_one() {
        let store = store();
        let begin = || store.lock().schedule.begin_for_request(Instant::now());
        let older = begin().unwrap();
        tokio::time::advance(Duration::from_secs(60)).await;
        let newer = begin().unwrap();

        end(&store, newer, fetched(&[("a", 2)]));
        end(&store, older, fetched(&[("a", 1)]));
        let held = store.find(&id("a"), Instant::now()).unwrap();
        let expected = document(&[("a", 2)]);
        assert!(
            held.key()
                .has_same_material(expected.key(&id("a")).unwrap())
        );

        let next = store.lock().schedule.next();
        end(&store, older, failed());
        assert_eq!(
            store.lock().schedule.next(),
            next,
            "nor does its failure count"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_trusted_once_the_last_success_is_too_long_ago() {
        let store = store();
        let number = store.lock().schedule.begin_if_due(Instant::now()).unwrap();
        end(&store, number, fetched(&[("a", 1)]));
        let key = store.find(&id("a"), Instant::now()).unwrap();

        tokio::time::advance(Duration::from_secs(24 * 60 * 60 - 1)).await;
        assert!(store.find(&id("a"), Instant::now()).is_some());
        assert!(store.trusts(&key, Instant::now()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(store.find(&id("a"), Instant::now()).is_none());
        assert!(!store.trusts(&key, Instant::now()), "nor remembered tokens");
        assert!(store.all().is_none());
        assert!(!store.status().is_ready);
    }
}
