//! The keys of one trusted issuer: kept fresh in the background, read from a snapshot.
//!
//! One attempt to fetch runs at a time, as a task of its own: the requests that wait for it can
//! come and go. Who begins one: the [`refresher`], on the [`Schedule`]; or a request whose key is
//! missing, if the [`bucket`] has a token.

mod bucket;
pub(crate) mod discovery;
mod held;
mod refresher;
mod schedule;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use entra_jwt_core::{Key, KeyId, KeySet};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use self::discovery::Discovery;
use self::held::{Held, Snapshot};
use self::schedule::{AttemptNumber, Schedule};
use crate::refusal::Refusal;
use crate::runtime::usable_runtime;
use crate::unavailable::Unavailable;
use crate::waiting::Place;

/// The key set of one trusted issuer, and everything that keeps it fresh.
pub(crate) struct KeyStore {
    source: Discovery,
    held: Held,
    /// What requests read. Locked only for one look-up, or to put a new one in its place.
    snapshot: RwLock<Option<Snapshot>>,
    state: Mutex<State>,
    /// In milliseconds since `created`: from when on no refresher is known to keep the schedule.
    overdue_at: AtomicU64,
    created: Instant,
    /// The outcome of the last attempt that ended; changes with each, under the lock of `state`.
    ended: watch::Sender<Option<Outcome>>,
    waiting: AtomicUsize,
}

/// How an attempt ended.
type Outcome = Result<(), Unavailable>;

struct State {
    schedule: Schedule,
    /// Which refresher is the one that counts.
    generation: u64,
    tasks: Vec<AbortHandle>,
}

/// Why a key cannot be had.
pub(crate) enum Missing {
    /// The last attempt succeeded, and the key is not among what it brought.
    Unknown,
    Unavailable(Unavailable),
}

/// What whoever misses a key is to do.
enum Ticket {
    /// An attempt has just begun: spawn it, and wait for its end.
    Begin(AttemptNumber, watch::Receiver<Option<Outcome>>),
    /// An attempt runs: wait for its end.
    Join(watch::Receiver<Option<Outcome>>),
    /// None runs, and none may begin: the last one's outcome stands.
    Last(Option<Outcome>),
}

/// What an attempt that succeeded changed.
#[derive(Clone, Copy)]
struct Published {
    keys: usize,
    is_first: bool,
}

impl KeyStore {
    /// How long a request waits for keys at most.
    const MOST_WAIT: Duration = Duration::from_secs(3);

    /// How many requests wait for keys at most.
    const MOST_WAITING: usize = 256;

    /// How late a scheduled attempt may end before a request starts another refresher: the old
    /// one may be on a runtime that exists, but does not run.
    const MOST_OVERDUE: Duration = Duration::from_secs(10);

    pub(crate) fn new(source: Discovery) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            source,
            held: Held::new(),
            snapshot: RwLock::new(None),
            state: Mutex::new(State {
                schedule: Schedule::new(now),
                generation: 0,
                tasks: Vec::new(),
            }),
            overdue_at: AtomicU64::new(0),
            created: now,
            ended: watch::Sender::new(None),
            waiting: AtomicUsize::new(0),
        })
    }

    /// The key, if it is held and may be trusted at this moment.
    pub(crate) fn find(&self, id: &KeyId) -> Option<Arc<Key>> {
        let snapshot = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
        snapshot.as_ref()?.find(id, Instant::now()).cloned()
    }

    /// Starts a refresher if none is known to keep the schedule: at first use, after the runtime
    /// that it was on has ended, or where that runtime does not run.
    pub(crate) fn keep_running(self: &Arc<Self>) -> Result<(), Unavailable> {
        let now = Instant::now();
        if self.is_kept_running(now) {
            return Ok(());
        }
        let runtime = usable_runtime()?;
        let (begun, generation) = {
            let mut state = self.lock();
            if self.is_kept_running(now) {
                return Ok(());
            }
            state.generation += 1;
            // Begun here, so that requests of this very moment join it.
            let begun = state.schedule.begin_if_due(now);
            self.set_overdue_after(state.schedule.next().max(now));
            (begun, state.generation)
        };
        if let Some(number) = begun {
            refresher::spawn_attempt(self, &runtime, number);
        }
        refresher::spawn(self, &runtime, generation);
        Ok(())
    }

    /// Waits for a key that is not held: at most 3 s, with at most 256 requests, for attempts
    /// that the bucket allows.
    ///
    /// A fetch that did not bring the key is followed by another while the bucket has a token:
    /// right after a rotation, some of Entra's servers still answer with the old keys.
    pub(crate) async fn wait_for(self: &Arc<Self>, id: &KeyId) -> Result<Arc<Key>, Missing> {
        let unavailable = |cause| Err(Missing::Unavailable(cause));

        let Some(_place) = Place::among(&self.waiting, Self::MOST_WAITING) else {
            return unavailable(Unavailable::TooManyWaiting);
        };
        let runtime = usable_runtime().map_err(Missing::Unavailable)?;
        let deadline = Instant::now() + Self::MOST_WAIT;
        loop {
            let ticket = {
                let mut state = self.lock();
                // Under the lock, as attempts end under it: none can end unseen in between.
                if let Some(key) = self.find(id) {
                    return Ok(key);
                }
                self.ticket(&mut state)
            };
            let ended = match ticket {
                Ticket::Begin(number, ended) => {
                    refresher::spawn_attempt(self, &runtime, number);
                    ended
                }
                Ticket::Join(ended) => ended,
                Ticket::Last(Some(Ok(()))) => return Err(Missing::Unknown),
                Ticket::Last(Some(Err(cause))) => return unavailable(cause),
                Ticket::Last(None) => return unavailable(Unavailable::Interrupted),
            };
            match timeout_at(deadline, outcome_of(ended)).await {
                Ok(Ok(())) => {}
                Ok(Err(cause)) => return unavailable(cause),
                Err(_) => return unavailable(Unavailable::TimedOut),
            }
        }
    }

    /// Waits until keys are there, or until the attempt fails that runs, or else the next one,
    /// which begins as soon as the schedule or the bucket allows.
    pub(crate) async fn ready(self: &Arc<Self>) -> Outcome {
        self.keep_running()?;
        let runtime = usable_runtime()?;
        loop {
            let ticket = {
                let mut state = self.lock();
                if self.has_fresh_keys() {
                    return Ok(());
                }
                self.ticket(&mut state)
            };
            match ticket {
                Ticket::Begin(number, ended) => {
                    refresher::spawn_attempt(self, &runtime, number);
                    return outcome_of(ended).await;
                }
                Ticket::Join(ended) => return outcome_of(ended).await,
                Ticket::Last(_) => {
                    let ended = self.ended.subscribe();
                    let wait = self.lock().schedule.retry_after(Instant::now());
                    if let Ok(outcome) = timeout(wait, outcome_of(ended)).await {
                        return outcome;
                    }
                }
            }
        }
    }

    /// The keys that are held and may be trusted at this moment; `None` if none were ever fetched,
    /// or too long ago.
    pub(crate) fn all(&self) -> Option<KeySet> {
        let now = Instant::now();
        let snapshot = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
        let snapshot = snapshot
            .as_ref()
            .filter(|snapshot| snapshot.is_fresh(now))?;
        Some(snapshot.trusted(now).cloned().collect())
    }

    /// The refusal for a token that cannot be judged now, with the time to ask again.
    pub(crate) fn refusal(&self, cause: Unavailable) -> Refusal {
        let retry_after = self.lock().schedule.retry_after(Instant::now());
        Refusal::Unavailable { cause, retry_after }
    }

    /// Ends the refresher and any attempt.
    pub(crate) fn stop(&self) {
        let tasks = std::mem::take(&mut self.lock().tasks);
        for task in tasks {
            task.abort();
        }
    }

    /// What whoever misses a key is to do now.
    fn ticket(&self, state: &mut State) -> Ticket {
        let now = Instant::now();
        let ended = self.ended.subscribe();
        if state.schedule.is_in_flight(now) {
            return Ticket::Join(ended);
        }
        // One that is due anyway costs the bucket nothing, and its refresher may be on a runtime
        // that does not run.
        let schedule = &mut state.schedule;
        let begun = schedule
            .begin_if_due(now)
            .or_else(|| schedule.begin_on_demand(now));
        match begun {
            Some(number) => Ticket::Begin(number, ended),
            None => Ticket::Last(ended.borrow().clone()),
        }
    }

    /// Merges what was fetched into what requests read.
    fn publish(&self, fetched: &KeySet, now: Instant) -> Published {
        let snapshot = self.held.merge(fetched, now);
        let keys = snapshot.len();
        let mut current = self
            .snapshot
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let is_first = current.replace(snapshot).is_none();
        Published { keys, is_first }
    }

    fn has_fresh_keys(&self) -> bool {
        let snapshot = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
        snapshot
            .as_ref()
            .is_some_and(|snapshot| snapshot.is_fresh(Instant::now()))
    }

    fn is_kept_running(&self, now: Instant) -> bool {
        self.milliseconds(now) < self.overdue_at.load(Ordering::Relaxed)
    }

    fn set_overdue_after(&self, next: Instant) {
        let overdue_at = self.milliseconds(next + Self::MOST_OVERDUE);
        self.overdue_at.store(overdue_at, Ordering::Relaxed);
    }

    fn milliseconds(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.created).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The outcome of the attempt that ends next.
async fn outcome_of(mut ended: watch::Receiver<Option<Outcome>>) -> Outcome {
    match ended.changed().await {
        Ok(()) => ended
            .borrow_and_update()
            .clone()
            .unwrap_or(Err(Unavailable::Interrupted)),
        Err(_) => Err(Unavailable::Interrupted),
    }
}
