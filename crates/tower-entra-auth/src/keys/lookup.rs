//! Look-up of a key that is not held: fetch the keys, wait for a fetch, or return the known
//! outcome.

use std::sync::Arc;
use std::time::Duration;

use entra_jwt_core::ids::KeyId;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::schedule::{Arrival, AttemptNumber};
use super::{AttemptResult, FetchReason, KeyStore, StoreState, TrustedKey, outcome_of, refresher};
use crate::respond::Reason;
use crate::time::usable_runtime;
use crate::unavailable::Outage;

/// Cause of a failed key look-up.
pub(crate) enum KeyLookupError {
    /// The key does not exist: a fetch that began after the request arrived did not bring it, or no
    /// fetch can, because the source never changes.
    ///
    /// Also for a key whose private half was published, while no fetch may look for another key
    /// with its id.
    Unknown,
    /// The service cannot find out now whether the key exists.
    Unavailable(Outage),
}

/// State of a key look-up before any waiting.
pub(crate) enum KeyLookup {
    Ended(Result<Arc<TrustedKey>, KeyLookupError>),
    /// An attempt that can bring the key is in flight, or may begin now or within a second.
    Pending(PendingKey),
}

/// A missing key that an attempt may bring.
pub(crate) struct PendingKey {
    store: Arc<KeyStore>,
    id: KeyId,
    arrival: Arrival,
}

/// An attempt that a request whose key is missing can wait for.
struct JoinedAttempt {
    /// Number of the attempt if it has just begun. The caller must then spawn its task.
    begun: Option<AttemptNumber>,
    ended: watch::Receiver<Option<AttemptResult>>,
}

impl KeyStore {
    /// Maximum time that a request waits for keys.
    const MAX_WAIT: Duration = Duration::from_secs(3);

    /// Maximum time that a request waits for the beginning of an attempt. The rest of its time is
    /// for the attempt itself.
    ///
    /// [`refusal`](Self::refusal) makes clients return up to this long before the next attempt. All
    /// of them then wait for that attempt, not only the first of them.
    const MAX_AHEAD: Duration = Duration::from_secs(1);

    /// Begins the look-up of a key that was not held a moment ago.
    ///
    /// The look-up ends immediately if no attempt is in flight and none may begin. A flood of
    /// tokens with unknown keys ends this way.
    pub(crate) fn look_up(self: &Arc<Self>, id: &KeyId, now: Instant) -> KeyLookup {
        // Taken before a refresher starts, so that an attempt which the refresher begins counts as
        // begun after the arrival of this request.
        let arrival = self.lock().schedule.arrival();
        if let Err(cause) = self.ensure_refresher(now) {
            return KeyLookup::Ended(Err(KeyLookupError::Unavailable(cause)));
        }
        let state = self.lock();
        // Under the lock, as in `PendingKey::wait`.
        if let Some(key) = self.find(id, now) {
            return KeyLookup::Ended(Ok(key));
        }
        if self.cannot_exist(&state, now) {
            return KeyLookup::Ended(Err(KeyLookupError::Unknown));
        }
        let has_permit = || self.permits.available_permits() > 0;
        if state.schedule.may_help(now) || self.begins_soon(&state, now).is_some() && has_permit() {
            return KeyLookup::Pending(PendingKey {
                store: Arc::clone(self),
                id: id.clone(),
                arrival,
            });
        }
        KeyLookup::Ended(Err(self.lookup_error(&state, id, arrival)))
    }

    /// Waits until keys are available, or until an attempt fails.
    ///
    /// That is the attempt in flight or, if there is none, the next one, which begins as soon as
    /// the schedule or the bucket permits.
    pub(crate) async fn ready(self: &Arc<Self>) -> AttemptResult {
        self.ensure_refresher(Instant::now())?;
        let runtime = usable_runtime()?;
        loop {
            let attempt = {
                let mut state = self.lock();
                if self.is_fresh(Instant::now()) {
                    return Ok(());
                }
                self.join_or_begin(&mut state)
            };
            let Some(attempt) = attempt else {
                let ended = self.ended.subscribe();
                let wait = self.lock().schedule.retry_after(Instant::now());
                if let Ok(outcome) = timeout(wait, outcome_of(ended)).await {
                    return outcome;
                }
                continue;
            };
            if let Some(number) = attempt.begun {
                refresher::spawn_attempt(self, &runtime, number, FetchReason::Schedule);
            }
            return outcome_of(attempt.ended).await;
        }
    }

    /// Returns the time after which a new key fetch can succeed.
    pub(crate) fn retry_after(&self) -> Duration {
        self.lock().schedule.retry_after(Instant::now())
    }

    /// Returns the refusal of a token that cannot be verified now, with the delay before a retry.
    pub(crate) fn refusal(&self, cause: Outage) -> Reason {
        let retry_after = match cause {
            // A little earlier, so that the clients wait for the next attempt, which then serves
            // all of them.
            Outage::KeyRefreshPending => self.retry_after().saturating_sub(Self::MAX_AHEAD),
            _ => self.retry_after(),
        };
        Reason::Unavailable { cause, retry_after }
    }

    /// Returns the attempt in flight, or begins one; `None` if none may begin.
    fn join_or_begin(&self, state: &mut StoreState) -> Option<JoinedAttempt> {
        let now = Instant::now();
        let next = self.next_attempt();
        let schedule = &mut state.schedule;
        if schedule.is_in_flight(now) {
            return Some(next);
        }
        let begun = schedule.begin_for_request(now)?;
        Some(JoinedAttempt {
            begun: Some(begun),
            ..next
        })
    }

    /// Returns the attempt that ends next, even if it has not begun yet.
    fn next_attempt(&self) -> JoinedAttempt {
        JoinedAttempt {
            begun: None,
            ended: self.ended.subscribe(),
        }
    }

    /// Returns the time at which the next attempt may begin, if that is soon enough to wait for it.
    ///
    /// After a failed attempt returns `None`: the request receives that error, because the next
    /// attempt may fail as well.
    fn begins_soon(&self, state: &StoreState, now: Instant) -> Option<Instant> {
        let wait = state.schedule.retry_after(now);
        let is_soon = wait <= Self::MAX_AHEAD && matches!(*self.ended.borrow(), Some(Ok(())));
        is_soon.then(|| now + wait)
    }

    /// Returns the error for a request that arrived at `arrival` and whose key was not found.
    ///
    /// Only an attempt that began after the arrival can show that the key does not exist. A key
    /// whose private half was published is refused without such an attempt.
    fn lookup_error(&self, state: &StoreState, id: &KeyId, arrival: Arrival) -> KeyLookupError {
        let is_known = || state.schedule.was_answered_since(arrival) || self.has_exposed(id);
        KeyLookupError::Unavailable(match &*self.ended.borrow() {
            Some(Ok(())) if is_known() => return KeyLookupError::Unknown,
            Some(Ok(())) => Outage::KeyRefreshPending,
            Some(Err(cause)) => cause.clone(),
            None => Outage::Interrupted,
        })
    }

    /// Returns whether a key that is not held is refused without a fetch. Not while the keys are
    /// stale: then the store finds no key, even a good one.
    fn cannot_exist(&self, state: &StoreState, now: Instant) -> bool {
        self.is_fresh(now) && state.is_final
    }
}

impl PendingKey {
    /// Waits for the key, for at most 3 s.
    ///
    /// At most 256 requests wait at the same time, and the bucket limits the attempts that they
    /// begin. If a fetch did not bring the key, another one follows while the bucket has a token:
    /// right after a key rotation, some of Entra's servers still return the old keys.
    pub(crate) async fn wait(self) -> Result<Arc<TrustedKey>, KeyLookupError> {
        let Self { store, id, arrival } = self;
        let unavailable = |cause| Err(KeyLookupError::Unavailable(cause));

        let Ok(_permit) = store.permits.try_acquire() else {
            let state = store.lock();
            return match state.schedule.is_in_flight(Instant::now()) {
                true => unavailable(Outage::TooManyWaiting),
                false => Err(store.lookup_error(&state, &id, arrival)),
            };
        };
        let runtime = usable_runtime().map_err(KeyLookupError::Unavailable)?;
        let deadline = Instant::now() + KeyStore::MAX_WAIT;
        loop {
            let (attempt, until) = {
                let mut state = store.lock();
                let now = Instant::now();
                // Under the lock, because attempts end under it too. So none can end unnoticed in
                // between.
                if let Some(key) = store.find(&id, now) {
                    return Ok(key);
                }
                if store.cannot_exist(&state, now) {
                    return Err(KeyLookupError::Unknown);
                }
                match store.join_or_begin(&mut state) {
                    Some(attempt) => (attempt, deadline),
                    None => match store.begins_soon(&state, now) {
                        Some(at) if at < deadline => (store.next_attempt(), at),
                        _ => return Err(store.lookup_error(&state, &id, arrival)),
                    },
                }
            };
            if let Some(number) = attempt.begun {
                refresher::spawn_attempt(&store, &runtime, number, FetchReason::MissingKey);
            }
            match timeout_at(until, outcome_of(attempt.ended)).await {
                Ok(Ok(())) => {}
                Ok(Err(cause)) => return unavailable(cause),
                Err(_) if until < deadline => {}
                Err(_) => return unavailable(Outage::TimedOut),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Fetched;
    use crate::keys::record::testing::{id, private, read};
    use crate::keys::refresher::end;
    use crate::keys::refresher::testing::{fetched, store};

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns the outcome for the key `x`, which is never published.
    fn look_up(store: &Arc<KeyStore>) -> &'static str {
        match store.look_up(&id("x"), Instant::now()) {
            KeyLookup::Ended(Ok(_)) => "found",
            KeyLookup::Ended(Err(missing)) => said(&missing),
            KeyLookup::Pending(_) => "waits",
        }
    }

    fn said(missing: &KeyLookupError) -> &'static str {
        match missing {
            KeyLookupError::Unknown => "unknown",
            KeyLookupError::Unavailable(cause) => cause.kind().code(),
        }
    }

    fn begin(store: &KeyStore) -> AttemptNumber {
        let mut state = store.lock();
        store.join_or_begin(&mut state).unwrap().begun.unwrap()
    }

    /// Returns a store that has fetched its keys, and whose bucket is in the state after the given
    /// number of fetches on demand.
    fn store_after(fetches: usize) -> Arc<KeyStore> {
        let store = store();
        for _ in 0..=fetches {
            end(&store, begin(&store), fetched(&[("a", 1)]));
        }
        store
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_is_given_up_says_nothing_and_a_late_answer_only_to_those_before_it() {
        let store = store_after(1);
        let before = store.lock().schedule.arrival();
        let stuck = begin(&store);
        assert_eq!(look_up(&store), "waits");
        tokio::time::advance(6 * SECOND).await;
        assert_eq!(look_up(&store), "key_refresh_pending");
        let missing = |arrival| said(&store.lookup_error(&store.lock(), &id("x"), arrival));
        assert_eq!(missing(before), "key_refresh_pending");

        end(&store, stuck, fetched(&[("a", 1)]));
        assert_eq!(missing(before), "unknown");
        assert_eq!(look_up(&store), "key_refresh_pending");
    }

    #[tokio::test(start_paused = true)]
    async fn that_nothing_has_changed_is_no_answer() {
        let store = store_after(1);
        let arrival = store.lock().schedule.arrival();
        let unchanged = fetched(&[("a", 1)]).map(|fetched| Fetched {
            is_unchanged: true,
            ..fetched
        });
        end(&store, begin(&store), unchanged);
        let missing = store.lookup_error(&store.lock(), &id("x"), arrival);
        assert_eq!(said(&missing), "key_refresh_pending");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_starts_the_refresher_is_answered_by_its_first_attempt() {
        let store = store_after(0);
        // The attempt has been due for so long that the refresher counts as lost.
        tokio::time::advance(61 * 60 * SECOND).await;
        let KeyLookup::Pending(PendingKey { arrival, .. }) =
            store.look_up(&id("x"), Instant::now())
        else {
            panic!("an attempt is due");
        };
        let running = store.lock().schedule.in_flight().unwrap();
        end(&store, running, fetched(&[("a", 1)]));
        assert!(store.lock().schedule.was_answered_since(arrival));
    }

    #[tokio::test(start_paused = true)]
    async fn an_exposed_key_is_looked_for_while_it_may_be_and_refused_at_once_while_not() {
        let store = store_after(0);
        let exposed = || {
            fetched(&[]).map(|fetched| Fetched {
                keys: Arc::new(read(&[private("x", 1)])),
                ..fetched
            })
        };
        end(&store, begin(&store), exposed());
        assert_eq!(look_up(&store), "waits");
        end(&store, begin(&store), exposed());
        assert_eq!(look_up(&store), "unknown");
        tokio::time::advance(30 * SECOND).await;
        assert_eq!(look_up(&store), "waits");
    }

    #[tokio::test(start_paused = true)]
    async fn where_no_other_key_can_come_it_is_refused_at_once_unless_the_keys_are_stale() {
        let store = store();
        let fixed = fetched(&[("a", 1)]).map(|fetched| Fetched {
            is_final: true,
            ..fetched
        });
        end(&store, begin(&store), fixed);
        assert_eq!(look_up(&store), "unknown");
        assert_eq!(look_up(&store_after(0)), "waits", "where one can come");
        // No fetch has renewed the keys. The next attempt does.
        tokio::time::advance(24 * 60 * 60 * SECOND).await;
        assert_eq!(look_up(&store), "waits");
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_is_due_is_begun_by_whoever_misses_a_key() {
        let store = store();
        let now = Instant::now();
        let first = store.lock().schedule.begin_if_due(now).unwrap();
        end(&store, first, Err(Outage::TimedOut.into()));
        for _ in 0..2 {
            let number = store.lock().schedule.begin_for_request(now).unwrap();
            end(&store, number, Err(Outage::TimedOut.into()));
        }
        let begins = || {
            let attempt = store.join_or_begin(&mut store.lock());
            attempt.map(|attempt| attempt.begun.is_some())
        };
        assert_eq!(begins(), None);
        // The back-off is over before the bucket has a token again.
        tokio::time::advance(5 * SECOND).await;
        assert_eq!((begins(), begins()), (Some(true), Some(false)));
    }
}
