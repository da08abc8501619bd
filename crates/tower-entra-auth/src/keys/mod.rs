//! The signing keys that verify tokens, and their sources.
//!
//! The keys come from Entra, unless
//! [`EntraAuthBuilder::key_source`](crate::EntraAuthBuilder::key_source) sets another source.

// A `KeyStore` keeps the keys of one trusted issuer fresh in the background. Requests read the keys
// from a snapshot. One attempt to fetch runs at a time, in its own task, so that the requests that
// wait for it can come and go. The `refresher` begins attempts on the `Schedule`. A request whose
// key is missing also begins one, if the schedule's bucket has a token.

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
    /// The keys that requests read. The lock is held only for a short read, or to replace the
    /// snapshot.
    snapshot: RwLock<Option<Snapshot>>,
    state: Mutex<StoreState>,
    /// End of the trust in all keys, unless another fetch succeeds. In milliseconds of `clock`.
    fresh_until: AtomicU64,
    max_staleness: Duration,
    /// Time from which the refresher counts as lost, in milliseconds of `clock`. Requests then
    /// start another one.
    overdue_at: AtomicU64,
    clock: MonotonicClock,
    /// Outcome of the last attempt that ended. Changes with each attempt, under the lock of
    /// `state`.
    ended: watch::Sender<Option<AttemptResult>>,
    /// Permits for the requests that wait for keys, one for each.
    permits: Semaphore,
}

/// Outcome of an attempt, for the requests that wait for it.
type AttemptResult = Result<(), Outage>;

struct StoreState {
    schedule: Schedule,
    /// Number of the current refresher. Older refreshers end themselves.
    generation: u64,
    tasks: Vec<AbortHandle>,
    last_success: Option<Instant>,
    last_failure: Option<(Instant, Outage)>,
    /// `true` if the source never brings other keys than the held ones.
    is_final: bool,
    /// Ids of the keys in the last document whose private half can be computed (ROCA).
    weak_keys: Vec<Option<KeyId>>,
}

/// Facts about a new snapshot for the log: the number of keys, and whether it is the first one.
#[derive(Clone, Copy)]
struct SnapshotSummary {
    keys: usize,
    is_first: bool,
}

/// Timeout of one attempt as a whole.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

impl KeyStore {
    /// Maximum delay of a scheduled attempt. If the attempt has not ended by then, a request starts
    /// another refresher: the old one may be on a runtime that exists, but does not run.
    const MAX_OVERDUE: Duration = Duration::from_secs(10);

    /// Maximum number of requests that wait for keys.
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

    /// Returns whether a key that this store returned earlier is still trusted.
    pub(crate) fn trusts(&self, key: &TrustedKey, now: Instant) -> bool {
        // The store and its keys share one clock.
        let at = self.clock.at(now);
        at < self.fresh_until.load(Ordering::Relaxed)
            && at < key.trusted_until.load(Ordering::Relaxed)
    }

    /// Returns the name of the key source.
    pub(crate) fn source_name(&self) -> &str {
        self.source.name()
    }

    /// Starts a refresher if none is known to keep the schedule.
    ///
    /// None is at first use, after the end of the refresher's runtime, and while that runtime does
    /// not run.
    pub(crate) fn ensure_refresher(self: &Arc<Self>, now: Instant) -> Result<(), Outage> {
        match self.has_refresher(now) {
            true => Ok(()),
            false => self.start_refresher(now),
        }
    }

    /// Stops the refresher and the attempt in flight.
    pub(crate) fn stop(&self) {
        let tasks = std::mem::take(&mut self.lock().tasks);
        for task in tasks {
            task.abort();
        }
    }

    /// Returns whether the last successful fetch is recent enough to trust any key.
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

/// A signing key, and the time until which it is trusted.
///
/// Every use compares that time with the current time. The check reads only the fields of this type
/// and takes no lock, so every request with a cached token can run it.
#[derive(Debug)]
pub(crate) struct TrustedKey {
    key: Arc<Key>,
    clock: MonotonicClock,
    first_seen: Instant,
    /// Last time that a document contained the key, in milliseconds of `clock`.
    last_seen: AtomicU64,
    /// End of the trust in the key, in milliseconds of `clock`: `u64::MAX` while the key is
    /// published, zero once it was dropped.
    trusted_until: AtomicU64,
}

impl TrustedKey {
    /// Grace period during which a key that is no longer published stays trusted.
    const ABSENT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

    const PUBLISHED: u64 = u64::MAX;

    /// Creates a key that is published now.
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

    /// Records that a document contains the key.
    fn mark_published(&self, now: Instant) {
        self.last_seen.store(self.clock.at(now), Ordering::Relaxed);
        self.trusted_until.store(Self::PUBLISHED, Ordering::Relaxed);
    }

    /// Records that a document lacks the key. Only the first such document starts the grace period.
    fn mark_absent(&self, now: Instant) {
        if self.trusted_until.load(Ordering::Relaxed) == Self::PUBLISHED {
            let until = self.clock.at(now + Self::ABSENT_FOR);
            self.trusted_until.store(until, Ordering::Relaxed);
        }
    }

    /// Ends the trust in the key, also for cached tokens that still refer to it.
    fn distrust(&self) {
        self.trusted_until.store(0, Ordering::Relaxed);
    }

    fn last_seen(&self) -> Instant {
        self.clock.instant(self.last_seen.load(Ordering::Relaxed))
    }

    /// Returns how much longer the key is trusted if no document contains it again; `None` while it
    /// is published.
    fn time_to_live(&self, now: Instant) -> Option<Duration> {
        let until = self.trusted_until.load(Ordering::Relaxed);
        (until != Self::PUBLISHED).then(|| self.clock.instant(until).saturating_duration_since(now))
    }
}

/// Converts monotonic time to numbers that fit into an atomic: milliseconds since the creation of
/// the clock.
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

/// Maximum length of a fetched document, in bytes. Entra's JWKS documents have 15 to 25 KB.
const MAX_DOCUMENT_BYTES: usize = 512 * 1024;

/// The source of the keys of one issuer.
#[derive(Clone)]
pub(crate) struct Source(Arc<dyn Fetch>);

impl Source {
    pub(crate) fn name(&self) -> &str {
        self.0.name()
    }
}

/// A key source as the refresher uses it.
trait Fetch: Send + Sync {
    fn name(&self) -> &str;

    fn fetch(&self, reason: FetchReason) -> FetchFuture<'_>;
}

type FetchFuture<'s> = Pin<Box<dyn Future<Output = Result<Fetched, FetchError>> + Send + 's>>;

/// Reason for a fetch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum FetchReason {
    /// A scheduled fetch is due.
    Schedule,
    /// A token names a key that is not held. Only a new document can help.
    MissingKey,
}

/// Result of a successful fetch.
#[derive(Debug)]
struct Fetched {
    keys: Arc<KeySet>,
    /// `true` if the server says that the document is the same as last time.
    is_unchanged: bool,
    /// `true` if no later fetch ever brings another key. A user's key source cannot set this. If it
    /// were wrong, valid tokens of its next key would be refused.
    is_final: bool,
    /// Delay before the next fetch, if shorter than usual.
    check_again_after: Option<Duration>,
}

/// Error of a failed fetch.
#[derive(Debug)]
struct FetchError {
    cause: Outage,
    /// Delay that the server asked for.
    retry_after: Option<Duration>,
    /// A document without any usable key, to be reported.
    useless: Option<Arc<KeySet>>,
}

impl FetchError {
    /// Returns the error for a document without a usable key.
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

/// Returns whether a fetch of these keys counts as failed, because no key is usable.
///
/// A document that publishes the private half of a key does not count as failed, even if no key is
/// left: the store must learn of the exposed key.
fn brings_nothing(keys: &KeySet) -> bool {
    keys.is_empty()
        && !keys
            .unusable()
            .any(|(_, reason)| reason == UnusableKey::Private)
}
