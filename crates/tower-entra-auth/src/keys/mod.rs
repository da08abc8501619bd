//! The keys of one trusted issuer: kept fresh in the background, read from a snapshot.
//!
//! One attempt to fetch runs at a time, as a task of its own: the requests that wait for it can
//! come and go. Who begins one: the [`refresher`], on the [`Schedule`]; or a request whose key is
//! missing, if the [`bucket`] has a token.

mod bucket;
mod discovery;
mod file;
mod freshness;
mod lookup;
#[cfg(test)]
mod model;
mod record;
mod refresher;
mod schedule;
mod source;
mod trusted_key;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use entra_jwt_core::{KeyId, KeySet};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

pub(crate) use self::discovery::MetadataBase;
pub use self::file::JwksFile;
pub(crate) use self::lookup::{Missing, PendingKey, Search};
use self::record::{Held, Snapshot};
use self::schedule::Schedule;
use self::source::Reason;
pub(crate) use self::source::Source;
pub use self::source::{KeySource, PublishedKeys};
use self::trusted_key::Timeline;
pub(crate) use self::trusted_key::TrustedKey;
use crate::respond::Refusal;
use crate::status::{FailureStatus, IssuerStatus, KeyStatus};
use crate::time::usable_runtime;
use crate::unavailable::Unavailable;

/// The key set of one trusted issuer, and everything that keeps it fresh.
pub(crate) struct KeyStore {
    source: Source,
    held: Held,
    /// What requests read. Locked only for one look-up, or to put a new one in its place.
    snapshot: RwLock<Option<Snapshot>>,
    state: Mutex<State>,
    /// Until when any key is trusted, if no fetch succeeds.
    fresh_until: AtomicU64,
    max_staleness: Duration,
    /// From when on no refresher is known to keep the schedule.
    overdue_at: AtomicU64,
    timeline: Timeline,
    /// The outcome of the last attempt that ended; changes with each, under the lock of `state`.
    ended: watch::Sender<Option<Outcome>>,
    /// A permit for each request that waits.
    waiting: Semaphore,
}

/// How an attempt ended.
type Outcome = Result<(), Unavailable>;

struct State {
    schedule: Schedule,
    /// Which refresher is the one that counts.
    generation: u64,
    tasks: Vec<AbortHandle>,
    last_success: Option<Instant>,
    last_failure: Option<(Instant, Unavailable)>,
    /// The source has said that it brings no other keys than those that are held.
    is_final: bool,
    /// The ids of the keys in the last document whose private half can be computed (ROCA).
    weak_keys: Vec<Option<KeyId>>,
}

/// What an attempt that succeeded changed.
#[derive(Clone, Copy)]
struct Published {
    keys: usize,
    is_first: bool,
}

impl KeyStore {
    /// How late a scheduled attempt may end before a request starts another refresher: the old
    /// one may be on a runtime that exists, but does not run.
    const MOST_OVERDUE: Duration = Duration::from_secs(10);

    /// How often keys are fetched when all is well, unless set otherwise.
    pub(crate) const DEFAULT_REFRESH_INTERVAL: Duration = Schedule::DEFAULT_INTERVAL;

    /// For how long keys serve after the last fetch that succeeded, unless set otherwise.
    pub(crate) const DEFAULT_MAX_STALENESS: Duration = Duration::from_secs(24 * 60 * 60);

    pub(crate) fn new(
        source: Source,
        refresh_interval: Duration,
        max_staleness: Duration,
    ) -> Arc<Self> {
        let now = Instant::now();
        let timeline = Timeline::new(now);
        Arc::new(Self {
            source,
            held: Held::new(timeline),
            snapshot: RwLock::new(None),
            state: Mutex::new(State {
                schedule: Schedule::new(now, refresh_interval),
                generation: 0,
                tasks: Vec::new(),
                last_success: None,
                last_failure: None,
                is_final: false,
                weak_keys: Vec::new(),
            }),
            fresh_until: AtomicU64::new(0),
            max_staleness,
            overdue_at: AtomicU64::new(0),
            timeline,
            ended: watch::Sender::new(None),
            waiting: Semaphore::new(Self::MOST_WAITING),
        })
    }

    /// The key, if it is held and may be trusted at this moment.
    pub(crate) fn find(&self, id: &KeyId, now: Instant) -> Option<Arc<TrustedKey>> {
        if !self.is_fresh(now) {
            return None;
        }
        let snapshot = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
        snapshot.as_ref()?.find(id, now).cloned()
    }

    /// Whether a key that was found here before may be trusted at this moment, too.
    pub(crate) fn trusts(&self, key: &TrustedKey, now: Instant) -> bool {
        self.is_fresh(now) && key.is_trusted(now)
    }

    /// Returns whether the private half of a key of this id was published: that key is refused for
    /// good, and another may have its id.
    fn has_exposed(&self, id: &KeyId) -> bool {
        let snapshot = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
        snapshot.as_ref().is_some_and(|keys| keys.has_exposed(id))
    }

    /// What the keys of this issuer come from.
    pub(crate) fn source_name(&self) -> &str {
        self.source.name()
    }

    /// Starts a refresher if none is known to keep the schedule: at first use, after the runtime
    /// that it was on has ended, or where that runtime does not run.
    pub(crate) fn ensure_refresher(self: &Arc<Self>, now: Instant) -> Result<(), Unavailable> {
        if self.has_refresher(now) {
            return Ok(());
        }
        let runtime = usable_runtime()?;
        let (begun, generation) = {
            let mut state = self.lock();
            if self.has_refresher(now) {
                return Ok(());
            }
            state.generation += 1;
            // Begun here, so that requests of this very moment join it.
            let begun = state.schedule.begin_if_due(now);
            self.set_overdue_after(state.schedule.next().max(now));
            (begun, state.generation)
        };
        if let Some(number) = begun {
            refresher::spawn_attempt(self, &runtime, number, Reason::Schedule);
        }
        refresher::spawn(self, &runtime, generation);
        Ok(())
    }

    /// Waits until keys are there, or until the attempt fails that runs, or else the next one,
    /// which begins as soon as the schedule or the bucket allows.
    pub(crate) async fn ready(self: &Arc<Self>) -> Outcome {
        self.ensure_refresher(Instant::now())?;
        let runtime = usable_runtime()?;
        loop {
            let ticket = {
                let mut state = self.lock();
                if self.is_fresh(Instant::now()) {
                    return Ok(());
                }
                self.ticket(&mut state)
            };
            let Some(ticket) = ticket else {
                let ended = self.ended.subscribe();
                let wait = self.lock().schedule.retry_after(Instant::now());
                if let Ok(outcome) = timeout(wait, outcome_of(ended)).await {
                    return outcome;
                }
                continue;
            };
            if let Some(number) = ticket.begun {
                refresher::spawn_attempt(self, &runtime, number, Reason::Schedule);
            }
            return outcome_of(ticket.ended).await;
        }
    }

    /// The keys that are held and may be trusted at this moment; `None` if none were ever fetched,
    /// or too long ago.
    pub(crate) fn all(&self) -> Option<KeySet> {
        let now = Instant::now();
        let snapshot = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
        let snapshot = snapshot.as_ref().filter(|_| self.is_fresh(now))?;
        let keys = snapshot.trusted(now).map(|held| Arc::clone(held.key()));
        Some(keys.collect())
    }

    /// How the keys are doing.
    pub(crate) fn status(&self) -> IssuerStatus {
        let now = Instant::now();
        let ago = |moment| now.saturating_duration_since(moment);
        let mut keys: Vec<KeyStatus> = {
            let snapshot = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
            let trusted = snapshot.iter().flat_map(|snapshot| snapshot.trusted(now));
            trusted
                .map(|held| KeyStatus {
                    id: held.id().clone(),
                    first_seen_ago: ago(held.first_seen()),
                    last_seen_ago: ago(held.last_seen()),
                    time_to_live: held.time_to_live(now),
                })
                .collect()
        };
        keys.sort_by(|one, other| one.id.as_str().cmp(other.id.as_str()));

        let is_ready = self.is_fresh(now) && !keys.is_empty();
        let state = self.lock();
        IssuerStatus {
            source: self.source.name().to_owned(),
            is_ready,
            keys,
            last_success_ago: state.last_success.map(ago),
            last_failure: state
                .last_failure
                .as_ref()
                .map(|(at, cause)| FailureStatus {
                    ago: ago(*at),
                    cause: cause.clone(),
                }),
            failures_in_a_row: state.schedule.failures_in_a_row(),
            next_attempt_in: state.schedule.wake_at(now).saturating_duration_since(now),
        }
    }

    /// When it is worth to ask for keys again.
    pub(crate) fn retry_after(&self) -> Duration {
        self.lock().schedule.retry_after(Instant::now())
    }

    /// The refusal for a token that cannot be judged now, with the time to ask again.
    pub(crate) fn refusal(&self, cause: Unavailable) -> Refusal {
        let retry_after = match cause {
            // A moment before, so that they wait for the next attempt, which then answers for all of
            // them.
            Unavailable::KeyRefreshPending => self.retry_after().saturating_sub(Self::MOST_AHEAD),
            _ => self.retry_after(),
        };
        Refusal::Unavailable { cause, retry_after }
    }

    /// Ends the refresher and any attempt.
    pub(crate) fn stop(&self) {
        let tasks = std::mem::take(&mut self.lock().tasks);
        for task in tasks {
            task.abort();
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
        let fresh_until = self.timeline.at(now + self.max_staleness);
        self.fresh_until.store(fresh_until, Ordering::Relaxed);
        Published { keys, is_first }
    }

    /// Whether the last fetch that succeeded is recent enough for any key to be trusted.
    fn is_fresh(&self, now: Instant) -> bool {
        self.timeline.at(now) < self.fresh_until.load(Ordering::Relaxed)
    }

    fn has_refresher(&self, now: Instant) -> bool {
        self.timeline.at(now) < self.overdue_at.load(Ordering::Relaxed)
    }

    fn set_overdue_after(&self, next: Instant) {
        let overdue_at = self.timeline.at(next + Self::MOST_OVERDUE);
        self.overdue_at.store(overdue_at, Ordering::Relaxed);
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
