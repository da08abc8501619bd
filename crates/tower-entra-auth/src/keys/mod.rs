//! The keys of one trusted issuer: kept fresh in the background, read from a snapshot.
//!
//! One attempt to fetch runs at a time, as a task of its own: the requests that wait for it can
//! come and go. Who starts one: the refresher, on its schedule; or a request with an unknown key,
//! if the [`Bucket`] has a token.

mod bucket;
pub(crate) mod discovery;
mod held;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use entra_jwt_core::{Key, KeyId, KeySet, UnusableKey};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use self::bucket::Bucket;
use self::discovery::Discovery;
use self::held::{Held, Snapshot};
use crate::refusal::Refusal;
use crate::unavailable::Unavailable;

/// The key set of one trusted issuer, and everything that keeps it fresh.
pub(crate) struct KeyStore {
    source: Discovery,
    held: Held,
    /// What requests read. Locked only for one look-up, or to put a new one in its place.
    snapshot: RwLock<Option<Snapshot>>,
    refresh: Mutex<Refresh>,
    /// Whether the refresher's task is alive.
    is_running: AtomicBool,
    /// The outcome of the last attempt that ended; changes with each.
    ended: watch::Sender<Option<Outcome>>,
    waiting: AtomicUsize,
}

/// How an attempt ended.
type Outcome = Result<(), Unavailable>;

struct Refresh {
    in_flight: bool,
    bucket: Bucket,
    failures_in_a_row: u32,
    next_scheduled: Instant,
    tasks: Vec<AbortHandle>,
}

/// Why a key cannot be had.
pub(crate) enum Missing {
    /// The last attempt succeeded, and the key is not among what it brought.
    Unknown,
    Unavailable(Unavailable),
}

/// What a request with an unknown key is to do.
enum Ticket {
    /// An attempt runs: wait for its end.
    Wait(watch::Receiver<Option<Outcome>>),
    /// None runs, and none may be started: the last one's outcome stands.
    Last(Option<Outcome>),
}

impl KeyStore {
    /// How long a request waits for keys at most.
    const MOST_WAIT: Duration = Duration::from_secs(3);
    /// How many requests wait for keys at most.
    const MOST_WAITING: usize = 256;
    /// How often keys are fetched when all is well.
    const REFRESH_INTERVAL: Duration = Duration::from_secs(60 * 60);
    /// The back-off after the first failure, doubled with each further one.
    const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
    /// The longest back-off.
    const MOST_BACK_OFF: Duration = Duration::from_secs(5 * 60);

    pub(crate) fn new(source: Discovery) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            source,
            held: Held::new(),
            snapshot: RwLock::new(None),
            refresh: Mutex::new(Refresh {
                in_flight: false,
                bucket: Bucket::full(now),
                failures_in_a_row: 0,
                next_scheduled: now,
                tasks: Vec::new(),
            }),
            is_running: AtomicBool::new(false),
            ended: watch::Sender::new(None),
            waiting: AtomicUsize::new(0),
        })
    }

    // === What requests use ===

    /// Starts the refresher if it is not alive: at first use, and after the runtime that it was
    /// on has ended.
    pub(crate) fn keep_running(self: &Arc<Self>) -> Result<(), Unavailable> {
        if self.is_running.load(Ordering::Relaxed) {
            return Ok(());
        }
        let runtime = Handle::try_current().map_err(|_| Unavailable::NoRuntime)?;
        let mut refresh = self.lock();
        if self.is_running.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        // At once, so that requests of this very moment wait for it rather than start their own.
        if refresh.next_scheduled <= Instant::now() {
            self.start_attempt(&mut refresh, &runtime);
        }
        let running = Running(Arc::clone(self));
        let refresher = runtime.spawn(async move {
            let running = running;
            running.0.refresh_on_schedule().await;
        });
        refresh.tasks.push(refresher.abort_handle());
        Ok(())
    }

    /// The key, if it is held and may be trusted at this moment.
    pub(crate) fn find(&self, id: &KeyId) -> Option<Arc<Key>> {
        let snapshot = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
        snapshot.as_ref()?.find(id, Instant::now()).cloned()
    }

    /// Waits for a key that is not held: at most 3 s, with at most 256 requests, for attempts
    /// that the bucket allows.
    pub(crate) async fn wait_for(self: &Arc<Self>, id: &KeyId) -> Result<Arc<Key>, Missing> {
        let unavailable = |cause| Err(Missing::Unavailable(cause));

        let Some(_place) = Place::among(&self.waiting) else {
            return unavailable(Unavailable::TooManyWaiting);
        };
        let deadline = Instant::now() + Self::MOST_WAIT;
        loop {
            if let Some(key) = self.find(id) {
                return Ok(key);
            }
            let outcome = match self.attempt_on_demand() {
                Ticket::Last(Some(Ok(()))) => return Err(Missing::Unknown),
                Ticket::Last(Some(Err(cause))) => return unavailable(cause),
                Ticket::Last(None) => return unavailable(Unavailable::Interrupted),
                Ticket::Wait(ended) => timeout_at(deadline, outcome_of(ended)).await,
            };
            match outcome {
                // Look again: found, or one more attempt if the bucket allows, or unknown.
                Ok(Ok(())) => {}
                Ok(Err(cause)) => return unavailable(cause),
                Err(_) => return unavailable(Unavailable::TimedOut),
            }
        }
    }

    /// Waits for the end of the attempt that runs, or else of the next one, unless keys are there.
    pub(crate) async fn ready(self: &Arc<Self>) -> Outcome {
        let ended = self.ended.subscribe();
        self.keep_running()?;
        if self.has_fresh_keys() {
            return Ok(());
        }
        outcome_of(ended).await
    }

    /// The refusal for a token that cannot be judged now, with the time to ask again.
    pub(crate) fn refusal(&self, cause: Unavailable) -> Refusal {
        let now = Instant::now();
        let refresh = self.lock();
        let scheduled = refresh.next_scheduled.saturating_duration_since(now);
        let retry_after = scheduled.min(refresh.bucket.until_next(now));
        Refusal::Unavailable { cause, retry_after }
    }

    /// Ends the refresher and any attempt.
    pub(crate) fn stop(&self) {
        let tasks = std::mem::take(&mut self.lock().tasks);
        for task in tasks {
            task.abort();
        }
    }

    // === Attempts ===

    /// Joins the attempt that runs, or starts one if the bucket has a token for it.
    fn attempt_on_demand(self: &Arc<Self>) -> Ticket {
        let mut refresh = self.lock();
        // Under the lock, so that the end of the attempt cannot be missed.
        let ended = self.ended.subscribe();
        if refresh.in_flight {
            return Ticket::Wait(ended);
        }
        match Handle::try_current() {
            Ok(runtime) if refresh.bucket.take(Instant::now()) => {
                self.start_attempt(&mut refresh, &runtime);
                Ticket::Wait(ended)
            }
            _ => Ticket::Last(ended.borrow().clone()),
        }
    }

    /// Fetches once per interval, sooner after failures. Ends only with its task.
    async fn refresh_on_schedule(self: &Arc<Self>) {
        loop {
            let (ended, due) = {
                let mut refresh = self.lock();
                let ended = self.ended.subscribe();
                if refresh.next_scheduled <= Instant::now() {
                    self.start_attempt(&mut refresh, &Handle::current());
                }
                let due = (!refresh.in_flight).then_some(refresh.next_scheduled);
                (outcome_of(ended), due)
            };
            // The end of any attempt changes the schedule.
            match due {
                None => drop(ended.await),
                Some(due) => drop(timeout_at(due, ended).await),
            }
        }
    }

    fn start_attempt(self: &Arc<Self>, refresh: &mut Refresh, runtime: &Handle) {
        if refresh.in_flight {
            return;
        }
        refresh.in_flight = true;
        refresh.tasks.retain(|task| !task.is_finished());
        let attempt = Attempt {
            store: Arc::clone(self),
            has_ended: false,
        };
        let task = runtime.spawn(async move {
            let fetched = attempt.store.source.fetch().await;
            attempt.end(fetched);
        });
        refresh.tasks.push(task.abort_handle());
    }

    /// Takes what an attempt brought. Only one runs at a time, so none overwrites a newer one's.
    fn end_attempt(&self, fetched: Result<KeySet, Unavailable>) {
        let now = Instant::now();
        let outcome = fetched.map(|fetched| {
            let snapshot = self.held.merge(&fetched, now);
            report_unusable(&fetched, self.source.host());
            self.publish(snapshot)
        });

        let mut refresh = self.lock();
        refresh.in_flight = false;
        let next = match &outcome {
            Ok(_) => jittered(Self::REFRESH_INTERVAL, 20),
            Err(_) => back_off(refresh.failures_in_a_row),
        };
        refresh.next_scheduled = now + next;
        let failures_before = refresh.failures_in_a_row;
        refresh.failures_in_a_row = match &outcome {
            Ok(_) => 0,
            Err(_) => failures_before.saturating_add(1),
        };
        drop(refresh);

        report(&outcome, failures_before, self.source.host(), next);
        self.ended.send_replace(Some(outcome.map(|_| ())));
    }

    fn publish(&self, snapshot: Snapshot) -> Published {
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

    fn lock(&self) -> MutexGuard<'_, Refresh> {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an attempt that succeeded changed.
struct Published {
    keys: usize,
    is_first: bool,
}

/// One attempt; ends even if its task is dropped half-way, because its runtime shut down.
struct Attempt {
    store: Arc<KeyStore>,
    has_ended: bool,
}

impl Attempt {
    fn end(mut self, fetched: Result<KeySet, Unavailable>) {
        self.has_ended = true;
        self.store.end_attempt(fetched);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.has_ended {
            self.store.end_attempt(Err(Unavailable::Interrupted));
        }
    }
}

/// Held by the refresher's task: says so when the task is gone.
struct Running(Arc<KeyStore>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.is_running.store(false, Ordering::Relaxed);
    }
}

/// A place among those that wait.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn among(waiting: &'a AtomicUsize) -> Option<Self> {
        if waiting.fetch_add(1, Ordering::Relaxed) < KeyStore::MOST_WAITING {
            return Some(Self(waiting));
        }
        waiting.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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

/// 1 s, 2 s, 4 s … 5 min, each between half and whole, so that replicas do not ask in step.
fn back_off(failures_before: u32) -> Duration {
    let doubled = KeyStore::FIRST_BACK_OFF.saturating_mul(1 << failures_before.min(16));
    jittered(doubled.min(KeyStore::MOST_BACK_OFF), 2)
}

/// The span less a random part of at most one `fraction`th.
fn jittered(span: Duration, fraction: u32) -> Duration {
    // Hash maps' keys are the standard library's only source of randomness; this is no secret.
    let random = RandomState::new().hash_one(()) % 1_000;
    let part = u32::try_from(random).unwrap_or(0);
    span - span / fraction / 1_000 * part
}

/// One log line per attempt that matters to people.
fn report(
    outcome: &Result<Published, Unavailable>,
    failures_before: u32,
    host: &str,
    next: Duration,
) {
    let next_attempt_in = next.as_secs();
    match outcome {
        Ok(published) if published.is_first || failures_before > 0 => {
            tracing::info!(
                host,
                keys = published.keys,
                next_attempt_in,
                "signing keys fetched"
            );
        }
        Ok(published) => {
            tracing::debug!(
                host,
                keys = published.keys,
                next_attempt_in,
                "signing keys fetched"
            );
        }
        Err(Unavailable::Interrupted) => {
            tracing::debug!(
                host,
                next_attempt_in,
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
}

/// A private key in public is for somebody to hear of; other entries are of no use, and no trouble.
fn report_unusable(fetched: &KeySet, host: &str) {
    for (key_id, reason) in fetched.unusable() {
        let key_id = key_id.map(KeyId::as_str).map(entra_jwt_core::Shown);
        if reason == UnusableKey::Private {
            tracing::error!(host, ?key_id, %reason, "a signing key is compromised; it is not used");
        } else {
            tracing::debug!(host, ?key_id, %reason, "a published key is not used");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_doubles_up_to_five_minutes() {
        let bounds = [(0, 1), (1, 2), (2, 4), (8, 256), (9, 300), (40, 300)];
        for (failures, seconds) in bounds {
            let longest = Duration::from_secs(seconds);
            for _ in 0..100 {
                let found = back_off(failures);
                assert!(
                    found <= longest && found >= longest / 2,
                    "{failures}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn the_places_to_wait_are_bounded_and_given_back() {
        let waiting = AtomicUsize::new(0);
        let mut places: Vec<_> = (0..256).map(|_| Place::among(&waiting).unwrap()).collect();
        assert!(Place::among(&waiting).is_none());
        places.pop();
        assert!(Place::among(&waiting).is_some());
        drop(places);
        assert_eq!(waiting.load(Ordering::Relaxed), 0);
    }
}
