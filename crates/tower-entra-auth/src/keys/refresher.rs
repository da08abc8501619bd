//! The tasks: the refresher that keeps the schedule, and one for each attempt.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use entra_jwt_core::{KeyId, KeySet, Shown, UnusableKey};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use super::schedule::{AttemptNumber, Ending};
use super::{KeyStore, outcome_of};
use crate::unavailable::Unavailable;

/// Spawns a refresher; any older one ends when it next looks.
pub(super) fn spawn(store: &Arc<KeyStore>, runtime: &Handle, generation: u64) {
    let refresher = Refresher {
        store: Arc::clone(store),
        generation,
    };
    let task = runtime.spawn(async move { refresher.run().await });
    store.lock().tasks.push(task.abort_handle());
}

/// Spawns the task of an attempt that has begun. Never under the lock: on a runtime that is
/// shutting down, the task is dropped here and now, and ending the attempt locks.
pub(super) fn spawn_attempt(store: &Arc<KeyStore>, runtime: &Handle, number: AttemptNumber) {
    let attempt = Attempt {
        store: Arc::clone(store),
        number,
        has_ended: false,
    };
    let task = runtime.spawn(async move {
        let fetched = attempt.store.source.fetch().await;
        attempt.end(fetched);
    });
    let mut state = store.lock();
    state.tasks.retain(|task| !task.is_finished());
    state.tasks.push(task.abort_handle());
}

/// Fetches whenever the schedule says so.
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
                spawn_attempt(&self.store, &Handle::current(), number);
            }
            // The end of any attempt changes the schedule.
            drop(timeout_at(wake_at, outcome_of(ended)).await);
        }
    }
}

impl Drop for Refresher {
    fn drop(&mut self) {
        // The next request starts another.
        if self.store.lock().generation == self.generation {
            self.store.overdue_at.store(0, Ordering::Relaxed);
        }
    }
}

/// One attempt; ends even if its task is dropped half-way, because its runtime shut down.
struct Attempt {
    store: Arc<KeyStore>,
    number: AttemptNumber,
    has_ended: bool,
}

impl Attempt {
    fn end(mut self, fetched: Result<KeySet, Unavailable>) {
        self.has_ended = true;
        end(&self.store, self.number, fetched);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.has_ended {
            end(&self.store, self.number, Err(Unavailable::Interrupted));
        }
    }
}

/// Takes what an attempt brought, unless a newer one has begun since.
fn end(store: &KeyStore, number: AttemptNumber, fetched: Result<KeySet, Unavailable>) {
    let now = Instant::now();
    let host = store.source.host();
    let ending = match &fetched {
        Ok(_) => Ending::Succeeded,
        Err(Unavailable::Interrupted) if !std::thread::panicking() => Ending::Interrupted,
        Err(_) => Ending::Failed,
    };

    let mut state = store.lock();
    if !state.schedule.is_current(number) {
        return;
    }
    // All of it under the lock: whoever sees that the attempt has ended sees its keys, too.
    let outcome = fetched
        .as_ref()
        .map(|fetched| store.publish(fetched, now))
        .map_err(Clone::clone);
    let failures_before = state.schedule.end(ending, now);
    let next = state.schedule.next();
    store.set_overdue_after(next);
    store.ended.send_replace(Some(outcome.clone().map(|_| ())));
    drop(state);

    let next_attempt_in = next.saturating_duration_since(now).as_secs();
    match outcome {
        Ok(published) => {
            let keys = published.keys;
            if published.is_first || failures_before > 0 {
                tracing::info!(host, keys, next_attempt_in, "signing keys fetched");
            } else {
                tracing::debug!(host, keys, next_attempt_in, "signing keys fetched");
            }
        }
        Err(cause) if ending == Ending::Interrupted => {
            tracing::debug!(
                host,
                code = cause.code(),
                "fetching signing keys was interrupted"
            );
        }
        Err(cause) => tracing::warn!(
            host,
            code = cause.code(),
            %cause,
            remedy = &*cause.remedy(),
            failures = failures_before + 1,
            next_attempt_in,
            "cannot fetch signing keys"
        ),
    }
    if let Ok(fetched) = fetched {
        report_unusable(&fetched, host);
    }
}

/// A private key in public is for somebody to hear of; other entries are of no use, and no trouble.
fn report_unusable(fetched: &KeySet, host: &str) {
    for (key_id, reason) in fetched.unusable() {
        let key_id = key_id.map(KeyId::as_str).map(Shown);
        if reason == UnusableKey::Private {
            tracing::error!(
                host,
                ?key_id,
                "a signing key was published with its private half; it is no longer trusted"
            );
        } else {
            tracing::debug!(host, ?key_id, %reason, "a published key is not used");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use bytes::Bytes;
    use entra_jwt_core::{Cloud, TenantId, Validator};
    use http::{Request, Response};
    use http_body_util::Full;

    use super::*;
    use crate::endpoint::MetadataBase;
    use crate::http_client::HttpClient;
    use crate::keys::discovery::Discovery;
    use crate::keys::held::testing::{document, id};

    fn store() -> Arc<KeyStore> {
        let tenant: TenantId = "72f988bf-86f1-41af-91ab-2d7cd011db47".parse().unwrap();
        let api = "6e74172b-be56-4843-9ff4-e66a39bb12e3".parse().unwrap();
        let rules = Validator::entra(tenant, api).build().unwrap();
        let authority = rules.authority().clone();
        let endpoint = MetadataBase::of_cloud(Cloud::Public)
            .of_authority(&authority)
            .unwrap();
        let nobody = tower::service_fn(async |_: Request<Bytes>| {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        });
        let http = HttpClient::new(nobody);
        KeyStore::new(Discovery::new(endpoint, authority, http))
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_is_due_is_begun_by_whoever_misses_a_key() {
        use crate::keys::Ticket;

        let store = store();
        let now = Instant::now();
        let first = store.lock().schedule.begin_if_due(now).unwrap();
        end(&store, first, Err(Unavailable::TimedOut));
        for _ in 0..2 {
            let number = store.lock().schedule.begin_on_demand(now).unwrap();
            end(&store, number, Err(Unavailable::TimedOut));
        }
        assert!(matches!(
            store.ticket(&mut store.lock()),
            Ticket::Last(Some(Err(_)))
        ));
        // The back-off is over before the bucket has a token again.
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(matches!(store.ticket(&mut store.lock()), Ticket::Begin(..)));
        assert!(matches!(store.ticket(&mut store.lock()), Ticket::Join(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_older_slow_answer_never_overwrites_a_newer_one() {
        let store = store();
        let begin = || store.lock().schedule.begin_on_demand(Instant::now());
        let older = begin().unwrap();
        tokio::time::advance(Duration::from_secs(60)).await;
        let newer = begin().unwrap();

        end(&store, newer, Ok(document(&[("a", 2)])));
        end(&store, older, Ok(document(&[("a", 1)])));
        let held = store.find(&id("a")).unwrap();
        let expected = document(&[("a", 2)]);
        assert!(held.has_same_material(expected.key(&id("a")).unwrap()));

        let next = store.lock().schedule.next();
        end(&store, older, Err(Unavailable::TimedOut));
        assert_eq!(
            store.lock().schedule.next(),
            next,
            "nor does its failure count"
        );
    }
}
