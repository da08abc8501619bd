//! Decides about a token whose key is not held: fetch, wait, or say what is known.

use std::sync::Arc;
use std::time::Duration;

use entra_jwt_core::KeyId;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::schedule::{Arrival, AttemptNumber};
use super::source::Reason;
use super::{KeyStore, Outcome, State, TrustedKey, outcome_of, refresher};
use crate::time::usable_runtime;
use crate::unavailable::Unavailable;

/// The reason for which a key cannot be had.
pub(crate) enum Missing {
    /// There is no such key: a fetch that began after the request came succeeded without it, or the
    /// source has no others than those that are held. Or its private half was published, and
    /// whether another has its id cannot be asked now.
    Unknown,
    /// It is not known whether there is such a key.
    Unavailable(Unavailable),
}

/// The state of the search for a key before any waiting.
pub(crate) enum Search {
    Ended(Result<Arc<TrustedKey>, Missing>),
    /// An attempt that can bring it runs, or may begin now or in a moment.
    Waits(PendingKey),
}

/// A key that an attempt may bring.
pub(crate) struct PendingKey {
    store: Arc<KeyStore>,
    id: KeyId,
    arrival: Arrival,
}

impl PendingKey {
    /// Waits for the key: at most 3 s, with at most 256 requests, for attempts that the bucket allows.
    pub(crate) async fn wait(self) -> Result<Arc<TrustedKey>, Missing> {
        self.store.wait_for(&self.id, self.arrival).await
    }
}

/// An attempt that a request whose key is missing can wait for.
pub(super) struct Ticket {
    /// Its number if it has just begun, and is to be spawned.
    pub(super) begun: Option<AttemptNumber>,
    pub(super) ended: watch::Receiver<Option<Outcome>>,
}

impl KeyStore {
    /// The longest that a request waits for keys.
    const MOST_WAIT: Duration = Duration::from_secs(3);

    /// The most requests that wait for keys.
    pub(super) const MOST_WAITING: usize = 256;

    /// The longest that a request waits for an attempt that may not begin yet; the rest of its time
    /// is for the attempt. [`refusal`](Self::refusal) has clients return within this span, so that
    /// all who do are answered by one attempt, and not the first of them alone.
    pub(super) const MOST_AHEAD: Duration = Duration::from_secs(1);

    /// Begins the search for a key that was not held a moment ago. It is over at once if no attempt
    /// runs and none may begin: this is what a flood of unknown keys meets.
    pub(crate) fn search(self: &Arc<Self>, id: &KeyId, now: Instant) -> Search {
        // Before a refresher is started: an attempt that it begins is one for this request.
        let arrival = self.lock().schedule.arrival();
        if let Err(cause) = self.ensure_refresher(now) {
            return Search::Ended(Err(Missing::Unavailable(cause)));
        }
        let state = self.lock();
        // Under the lock, as in `wait_for`.
        if let Some(key) = self.find(id, now) {
            return Search::Ended(Ok(key));
        }
        if self.is_none(&state, now) {
            return Search::Ended(Err(Missing::Unknown));
        }
        let has_permit = || self.waiting.available_permits() > 0;
        if state.schedule.may_help(now) || self.begins_soon(&state, now).is_some() && has_permit() {
            return Search::Waits(PendingKey {
                store: Arc::clone(self),
                id: id.clone(),
                arrival,
            });
        }
        Search::Ended(Err(self.missing(&state, id, arrival)))
    }

    /// Waits for a key that is not held. A fetch that did not bring the key is followed by another while
    /// the bucket has a token: right after a rotation, some of Entra's servers still answer with the old
    /// keys.
    async fn wait_for(
        self: &Arc<Self>,
        id: &KeyId,
        arrival: Arrival,
    ) -> Result<Arc<TrustedKey>, Missing> {
        let unavailable = |cause| Err(Missing::Unavailable(cause));

        let Ok(_permit) = self.waiting.try_acquire() else {
            let state = self.lock();
            return match state.schedule.is_in_flight(Instant::now()) {
                true => unavailable(Unavailable::TooManyWaiting),
                false => Err(self.missing(&state, id, arrival)),
            };
        };
        let runtime = usable_runtime().map_err(Missing::Unavailable)?;
        let deadline = Instant::now() + Self::MOST_WAIT;
        loop {
            let (ticket, until) = {
                let mut state = self.lock();
                let now = Instant::now();
                // Under the lock, as attempts end under it: none can end unseen in between.
                if let Some(key) = self.find(id, now) {
                    return Ok(key);
                }
                if self.is_none(&state, now) {
                    return Err(Missing::Unknown);
                }
                match self.ticket(&mut state) {
                    Some(ticket) => (ticket, deadline),
                    None => match self.begins_soon(&state, now) {
                        Some(at) if at < deadline => (self.next_ticket(), at),
                        _ => return Err(self.missing(&state, id, arrival)),
                    },
                }
            };
            if let Some(number) = ticket.begun {
                refresher::spawn_attempt(self, &runtime, number, Reason::MissingKey);
            }
            match timeout_at(until, outcome_of(ticket.ended)).await {
                Ok(Ok(())) => {}
                Ok(Err(cause)) => return unavailable(cause),
                Err(_) if until < deadline => {}
                Err(_) => return unavailable(Unavailable::TimedOut),
            }
        }
    }

    /// Returns the attempt in flight, else one that begins now; `None` if none may.
    pub(super) fn ticket(&self, state: &mut State) -> Option<Ticket> {
        let now = Instant::now();
        let next = self.next_ticket();
        let schedule = &mut state.schedule;
        if schedule.is_in_flight(now) {
            return Some(next);
        }
        // One that is due anyway costs the bucket nothing, and its refresher may be on a runtime
        // that does not run.
        let begun = schedule
            .begin_if_due(now)
            .or_else(|| schedule.begin_on_demand(now))?;
        Some(Ticket {
            begun: Some(begun),
            ..next
        })
    }

    /// Returns the attempt that ends next, whenever it begins.
    fn next_ticket(&self) -> Ticket {
        Ticket {
            begun: None,
            ended: self.ended.subscribe(),
        }
    }

    /// Returns when the next attempt may begin, if that is so soon that it is worth waiting for. Not
    /// after a failure: it is what can be said, and the next may fail as well.
    fn begins_soon(&self, state: &State, now: Instant) -> Option<Instant> {
        let wait = state.schedule.retry_after(now);
        let is_soon = wait <= Self::MOST_AHEAD && matches!(*self.ended.borrow(), Some(Ok(())));
        is_soon.then(|| now + wait)
    }

    /// Returns why a request that came then goes without its key. That it does not exist is known
    /// only by what was asked since; whoever names one whose private half was published is refused
    /// without that.
    fn missing(&self, state: &State, id: &KeyId, arrival: Arrival) -> Missing {
        let is_known = || state.schedule.was_answered_since(arrival) || self.has_exposed(id);
        Missing::Unavailable(match &*self.ended.borrow() {
            Some(Ok(())) if is_known() => return Missing::Unknown,
            Some(Ok(())) => Unavailable::KeyRefreshPending,
            Some(Err(cause)) => cause.clone(),
            None => Unavailable::Interrupted,
        })
    }

    /// Returns whether a key that is not held needs no fetch to be refused. Where keys are stale, none
    /// is found that may be good.
    fn is_none(&self, state: &State, now: Instant) -> bool {
        self.is_fresh(now) && state.is_final
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::record::testing::{id, private, read};
    use crate::keys::refresher::end;
    use crate::keys::refresher::testing::{fetched, store};
    use crate::keys::source::Fetched;

    const SECOND: Duration = Duration::from_secs(1);

    /// Says what becomes of the key `x`, which is never published.
    fn search(store: &Arc<KeyStore>) -> &'static str {
        match store.search(&id("x"), Instant::now()) {
            Search::Ended(Ok(_)) => "found",
            Search::Ended(Err(missing)) => said(&missing),
            Search::Waits(_) => "waits",
        }
    }

    fn said(missing: &Missing) -> &'static str {
        match missing {
            Missing::Unknown => "unknown",
            Missing::Unavailable(cause) => cause.code(),
        }
    }

    fn begin(store: &KeyStore) -> AttemptNumber {
        let mut state = store.lock();
        store.ticket(&mut state).unwrap().begun.unwrap()
    }

    /// Returns a store with the keys fetched, and the bucket as it is after so many fetches on
    /// demand.
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
        assert_eq!(search(&store), "waits");
        tokio::time::advance(6 * SECOND).await;
        assert_eq!(search(&store), "key_refresh_pending");
        let missing = |arrival| said(&store.missing(&store.lock(), &id("x"), arrival));
        assert_eq!(missing(before), "key_refresh_pending");

        end(&store, stuck, fetched(&[("a", 1)]));
        assert_eq!(missing(before), "unknown");
        assert_eq!(search(&store), "key_refresh_pending");
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
        let missing = store.missing(&store.lock(), &id("x"), arrival);
        assert_eq!(said(&missing), "key_refresh_pending");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_starts_the_refresher_is_answered_by_its_first_attempt() {
        let store = store_after(0);
        // Due for so long that no refresher can be at work.
        tokio::time::advance(61 * 60 * SECOND).await;
        let Search::Waits(PendingKey { arrival, .. }) = store.search(&id("x"), Instant::now())
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
        assert_eq!(search(&store), "waits");
        end(&store, begin(&store), exposed());
        assert_eq!(search(&store), "unknown");
        tokio::time::advance(30 * SECOND).await;
        assert_eq!(search(&store), "waits");
    }

    #[tokio::test(start_paused = true)]
    async fn where_no_other_key_can_come_it_is_refused_at_once_unless_the_keys_are_stale() {
        let store = store();
        let fixed = fetched(&[("a", 1)]).map(|fetched| Fetched {
            is_final: true,
            ..fetched
        });
        end(&store, begin(&store), fixed);
        assert_eq!(search(&store), "unknown");
        assert_eq!(search(&store_after(0)), "waits", "where one can come");
        // Nobody has renewed them: the next attempt does.
        tokio::time::advance(24 * 60 * 60 * SECOND).await;
        assert_eq!(search(&store), "waits");
    }
}
