//! The keys that tokens are verified with, and where they come from: Entra, unless
//! [`EntraAuthBuilder::key_source`](crate::EntraAuthBuilder::key_source) says otherwise.

// The keys of one trusted issuer are kept fresh in the background and read from a snapshot. One attempt to
// fetch runs at a time, as a task of its own: the requests that wait for it can come and go. It is begun by
// the `refresher`, on the `Schedule`, or by a request whose key is missing, if the schedule's bucket has a
// token.

mod discovery;
mod file;
mod lookup;
#[cfg(test)]
mod model;
mod record;
mod refresher;
mod schedule;
mod source;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

pub use entra_http::BoxError;
pub use entra_jwt_core::KeySet;
use entra_jwt_core::ids::KeyId;
use entra_jwt_core::keys::{Key, UnusableKey};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub(crate) use self::discovery::MetadataBase;
pub use self::file::JwksFile;
pub(crate) use self::lookup::{KeyLookup, KeyLookupError, PendingKey};
use self::record::{KeyRecord, Snapshot};
use self::schedule::Schedule;
pub use self::source::{FetchedKeys, KeySource};
use crate::unavailable::Outage;

/// The key set of one trusted issuer, and everything that keeps it fresh.
pub(crate) struct KeyStore {
    source: Source,
    record: KeyRecord,
    /// The keys that requests read. Locked only for one look-up, or to put a new one in its place.
    snapshot: RwLock<Option<Snapshot>>,
    state: Mutex<StoreState>,
    /// The time until which any key is trusted, if no fetch succeeds.
    fresh_until: AtomicU64,
    max_staleness: Duration,
    /// The time from which on no refresher is known to keep the schedule.
    overdue_at: AtomicU64,
    clock: MonotonicClock,
    /// The outcome of the last attempt that ended; changes with each, under the lock of `state`.
    ended: watch::Sender<Option<AttemptResult>>,
    /// A permit for each request that waits.
    permits: Semaphore,
}

/// The outcome of an attempt for those who wait for it.
type AttemptResult = Result<(), Outage>;

struct StoreState {
    schedule: Schedule,
    /// The number of the refresher that counts.
    generation: u64,
    tasks: Vec<AbortHandle>,
    last_success: Option<Instant>,
    last_failure: Option<(Instant, Outage)>,
    /// The source has said that it brings no other keys than those that are held.
    is_final: bool,
    /// The ids of the keys in the last document whose private half can be computed (ROCA).
    weak_keys: Vec<Option<KeyId>>,
}

/// The facts about a snapshot that the log has: the number of keys, and whether it is the first.
#[derive(Clone, Copy)]
struct SnapshotSummary {
    keys: usize,
    is_first: bool,
}

/// The time that one attempt may take, whatever it fetches.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

impl KeyStore {
    /// The delay with which a scheduled attempt may end before a request starts another refresher: the
    /// old one may be on a runtime that exists, but does not run.
    const MAX_OVERDUE: Duration = Duration::from_secs(10);

    /// The most requests that wait for keys.
    const MAX_WAITING: usize = 256;

    pub(crate) fn new(
        source: Source,
        refresh_interval: Duration,
        max_staleness: Duration,
    ) -> Arc<Self> {
        let now = Instant::now();
        let clock = MonotonicClock { origin: now };
        Arc::new(Self {
            source,
            record: KeyRecord::new(clock),
            snapshot: RwLock::new(None),
            state: Mutex::new(StoreState {
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
            clock,
            ended: watch::Sender::new(None),
            permits: Semaphore::new(Self::MAX_WAITING),
        })
    }

    /// Returns whether a key that was found here before may be trusted at this moment, too.
    pub(crate) fn trusts(&self, key: &TrustedKey, now: Instant) -> bool {
        // The store and its keys have one clock.
        let at = self.clock.at(now);
        at < self.fresh_until.load(Ordering::Relaxed)
            && at < key.trusted_until.load(Ordering::Relaxed)
    }

    /// Returns the name of what the keys come from.
    pub(crate) fn source_name(&self) -> &str {
        self.source.name()
    }

    /// Starts a refresher if none is known to keep the schedule: at first use, after the runtime
    /// that it was on has ended, or where that runtime does not run.
    pub(crate) fn ensure_refresher(self: &Arc<Self>, now: Instant) -> Result<(), Outage> {
        match self.has_refresher(now) {
            true => Ok(()),
            false => self.start_refresher(now),
        }
    }

    /// Ends the refresher and any attempt.
    pub(crate) fn stop(&self) {
        let tasks = std::mem::take(&mut self.lock().tasks);
        for task in tasks {
            task.abort();
        }
    }

    /// Returns whether the last fetch that succeeded is recent enough for any key to be trusted.
    fn is_fresh(&self, now: Instant) -> bool {
        self.clock.at(now) < self.fresh_until.load(Ordering::Relaxed)
    }

    fn has_refresher(&self, now: Instant) -> bool {
        self.clock.at(now) < self.overdue_at.load(Ordering::Relaxed)
    }

    fn set_overdue_after(&self, next: Instant) {
        let overdue_at = self.clock.at(next + Self::MAX_OVERDUE);
        self.overdue_at.store(overdue_at, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, StoreState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the outcome of the attempt that ends next.
async fn outcome_of(mut ended: watch::Receiver<Option<AttemptResult>>) -> AttemptResult {
    match ended.changed().await {
        Ok(()) => ended
            .borrow_and_update()
            .clone()
            .unwrap_or(Err(Outage::Interrupted)),
        Err(_) => Err(Outage::Interrupted),
    }
}

/// A key and its time to live. Judged on use, by what is written here and nothing else, so that
/// every request with a remembered token can ask, without any lock.
#[derive(Debug)]
pub(crate) struct TrustedKey {
    key: Arc<Key>,
    clock: MonotonicClock,
    first_seen: Instant,
    /// The time at which it was last published.
    last_seen: AtomicU64,
    /// `u64::MAX` while it is published, zero once it was dropped.
    trusted_until: AtomicU64,
}

impl TrustedKey {
    /// The time for which a key that is no longer published stays trusted.
    const ABSENT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

    const PUBLISHED: u64 = u64::MAX;

    /// A key that is published now.
    fn new(key: Arc<Key>, clock: MonotonicClock, now: Instant) -> Self {
        Self {
            key,
            clock,
            first_seen: now,
            last_seen: AtomicU64::new(clock.at(now)),
            trusted_until: AtomicU64::new(Self::PUBLISHED),
        }
    }

    pub(crate) fn key(&self) -> &Arc<Key> {
        &self.key
    }

    fn id(&self) -> &KeyId {
        self.key.id()
    }

    fn is_trusted(&self, now: Instant) -> bool {
        self.clock.at(now) < self.trusted_until.load(Ordering::Relaxed)
    }

    /// Records that a document has it.
    fn mark_published(&self, now: Instant) {
        self.last_seen.store(self.clock.at(now), Ordering::Relaxed);
        self.trusted_until.store(Self::PUBLISHED, Ordering::Relaxed);
    }

    /// Records that a document lacks it. Only the first one starts the clock.
    fn mark_absent(&self, now: Instant) {
        if self.trusted_until.load(Ordering::Relaxed) == Self::PUBLISHED {
            let until = self.clock.at(now + Self::ABSENT_FOR);
            self.trusted_until.store(until, Ordering::Relaxed);
        }
    }

    /// Ends all trust in it, whoever still has it.
    fn distrust(&self) {
        self.trusted_until.store(0, Ordering::Relaxed);
    }

    fn last_seen(&self) -> Instant {
        self.clock.instant(self.last_seen.load(Ordering::Relaxed))
    }

    /// Returns for how much longer it is trusted if no document has it again; `None` while it is
    /// published.
    fn time_to_live(&self, now: Instant) -> Option<Duration> {
        let until = self.trusted_until.load(Ordering::Relaxed);
        (until != Self::PUBLISHED).then(|| self.clock.instant(until).saturating_duration_since(now))
    }
}

/// Moments of monotonic time as numbers, so that they can be atomic: milliseconds since it was made.
#[derive(Clone, Copy, Debug)]
struct MonotonicClock {
    origin: Instant,
}

impl MonotonicClock {
    fn at(self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.origin).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    fn instant(self, at: u64) -> Instant {
        self.origin + Duration::from_millis(at)
    }
}

/// The longest document that is read, in bytes. Entra's key documents have 15 to 25 KB.
const MAX_DOCUMENT_BYTES: usize = 512 * 1024;

/// The source of the keys of one issuer.
#[derive(Clone)]
pub(crate) struct Source(Arc<dyn Fetch>);

impl Source {
    pub(crate) fn name(&self) -> &str {
        self.0.name()
    }
}

/// A source as the refresher uses it.
trait Fetch: Send + Sync {
    fn name(&self) -> &str;

    fn fetch(&self, reason: FetchReason) -> FetchFuture<'_>;
}

type FetchFuture<'s> = Pin<Box<dyn Future<Output = Result<Fetched, FetchError>> + Send + 's>>;

/// The reason for which keys are fetched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum FetchReason {
    /// It is time.
    Schedule,
    /// A token names a key that is not held: only a new document will do.
    MissingKey,
}

/// The keys that a fetch brought.
#[derive(Debug)]
struct Fetched {
    keys: Arc<KeySet>,
    /// The same document as last time, by the server's own word.
    is_unchanged: bool,
    /// No other fetch will ever bring another key. Not for sources of users to say: one that is wrong
    /// about it would have good tokens of its next key refused.
    is_final: bool,
    /// The time after which to fetch again, if sooner than usual.
    check_again_after: Option<Duration>,
}

/// The error of a fetch that brought nothing.
#[derive(Debug)]
struct FetchError {
    cause: Outage,
    /// The time that the server asked for.
    retry_after: Option<Duration>,
    /// A document without any key that can be used, to be reported.
    useless: Option<Arc<KeySet>>,
}

impl FetchError {
    /// Returns the failure to find a usable key in this document.
    fn no_usable_key(host: String, document: Arc<KeySet>) -> Self {
        Self {
            useless: Some(document),
            ..Self::from(Outage::NoUsableKey { host })
        }
    }
}

impl From<Outage> for FetchError {
    fn from(cause: Outage) -> Self {
        Self {
            cause,
            retry_after: None,
            useless: None,
        }
    }
}

/// Returns whether a fetch that brings these keys counts as failed: there is nothing to go on with. That a
/// key's private half is public is news, even if it leaves no key at all.
fn brings_nothing(keys: &KeySet) -> bool {
    keys.is_empty()
        && !keys
            .unusable()
            .any(|(_, reason)| reason == UnusableKey::Private)
}
