//! Refreshes of a grant: the role of a refresh token, the request to Entra, and the lock with which
//! refreshes wait for each other. [`steps`] does a refresh.
//!
//! The tokens of a grant are numbered. The record has the number of the current token, and of the
//! one in place of which it was issued, its parent. The holder of either may be the client, because
//! the response with the current token may have been lost. Of two holders, one therefore presents a
//! token that is neither (RFC 9700 §4.14.2), unless it always comes within the grace period after
//! the other.

mod steps;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::sync::{Semaphore, SemaphorePermit};

pub(super) use self::steps::refresh;
use super::super::{Attempt, Grant, RefreshToken, Stamps};
use crate::entra::EntraTokens;
use crate::oauth::OAuthError;

/// Role of a refresh token in its grant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    /// The current token: its successor replaces it.
    Current,
    /// The parent of the current token within its grace period, or a token that was replaced after
    /// its arrival: its holder receives the current token.
    Repeated,
    /// The parent of the current token, after its grace period: its holder receives a new token in
    /// place of the current one, which was perhaps never received. In a shared sign-in, this is so
    /// for every earlier token.
    Late,
    /// Neither the current token nor its parent: two parties have tokens of the grant, and one of
    /// them is not the client.
    Dead,
}

/// The refreshes of all grants in this process.
pub(super) struct Refreshes {
    rotation: Rotation,
    locks: RefreshLocks,
}

impl Refreshes {
    /// Creates the state from the grace period of a replaced token.
    ///
    /// `is_shared` says whether several processes of a client with a secret may share a sign-in.
    pub(super) fn new(grace: Duration, is_shared: bool) -> Self {
        Self {
            rotation: Rotation {
                grace: (!grace.is_zero()).then_some(grace),
                is_shared,
            },
            locks: RefreshLocks::default(),
        }
    }
}

/// Rules for the tokens of all grants.
#[derive(Debug)]
struct Rotation {
    /// Grace period of a replaced token, if any.
    grace: Option<Duration>,
    is_shared: bool,
}

/// A request at the time of its arrival.
///
/// It decides about the token, so that no wait, and no other request that is faster, makes the
/// token late.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    /// Seconds since 1970.
    at: u64,
    /// Number of the current token in the record that was read first.
    found: u32,
    /// Number that the current token had at most when the request arrived.
    at_most: u32,
    has_secret: bool,
}

impl Arrival {
    /// Describes a request that arrived at this time.
    ///
    /// `rotations` is the number of times that this process has replaced the grant's token since
    /// then, before the record was read.
    fn new(at: u64, grant: &Grant, rotations: u32, has_secret: bool) -> Self {
        Self {
            at,
            found: grant.current,
            at_most: grant.current.saturating_sub(rotations),
            has_secret,
        }
    }

    /// Returns whether the client proved itself by a secret, so that a dead token is no theft.
    ///
    /// Its refresh token is useless without the secret, so an old one tells nothing (RFC 9700
    /// §4.14.2).
    fn has_secret(self) -> bool {
        self.has_secret
    }
}

impl Rotation {
    /// Returns the role of a token that arrived when the grant was as `arrival` says.
    fn role(&self, grant: &Grant, token: &RefreshToken, arrival: Arrival, stamps: &Stamps) -> Role {
        let is_in_grace = || {
            let grace = self.grace;
            grace.is_some_and(|grace| !stamps.is_older(grant.rotated(), grace, arrival.at))
        };
        let is_parent = grant.parent() == Some(token.number);
        let is_shared = self.is_shared && arrival.has_secret;
        match () {
            () if token.number >= grant.current => Role::Current,
            // The token was good when it arrived, and another request has replaced it since.
            () if token.number >= arrival.at_most => Role::Repeated,
            () if grant.current != arrival.found => Role::Repeated,
            () if (is_parent || is_shared) && is_in_grace() => Role::Repeated,
            () if is_parent || is_shared => Role::Late,
            () => Role::Dead,
        }
    }

    /// Replaces the current token of a grant by a new one, for the holder of `token`.
    fn rotate(&self, grant: &mut Grant, token: &RefreshToken, now: u64, stamps: &Stamps) {
        grant.parent = match token.number >= grant.current {
            true => Some(token.number),
            // Records of earlier versions do not name it.
            false => grant.parent(),
        };
        grant.current = grant.current.max(token.number).saturating_add(1);
        grant.rotated_at = now;
        stamps.process().clone_into(&mut grant.rotated_by);
    }
}

/// Decision of a refresh about Entra's own tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Plan {
    /// Uses the tokens that are stored.
    Hold,
    /// Sends a request to Entra.
    Ask,
    /// Fails, because a request failed a moment ago. The value is the time until the next one.
    Refuse(Duration),
}

/// State of a grant that decides about a request to Entra.
#[derive(Clone, Copy)]
struct Situation<'g> {
    tokens: &'g EntraTokens,
    attempt: Option<Attempt>,
    /// `true` if a claims challenge is pending, which the stored tokens do not meet.
    is_demanded: bool,
    /// Lifetime of the token that the client will receive.
    lifetime: Duration,
    /// Maximum difference between two clocks, in seconds.
    skew: u64,
}

/// Time between requests that do not have to be made now, in seconds.
const EARLY: u64 = 10 * 60;

/// Time after a failure while the stored token is valid, in seconds.
const PATIENT: u64 = 2 * 60;

/// Maximum wait for Entra while the stored token is valid. claude.ai waits 10 s for everything
/// (<https://github.com/anthropics/claude-ai-mcp/issues/473>).
const PATIENCE: Duration = Duration::from_secs(4);

/// Time after a failure while clients wait for Entra, in seconds.
const IMPATIENT: u64 = 10;

impl Situation<'_> {
    /// Returns whether the stored tokens are good enough for a response.
    fn can_hold(self, now: u64) -> bool {
        !self.is_demanded && self.tokens.left(now) > 0
    }

    /// Returns the plan for a refresh now.
    ///
    /// Entra's token is renewed as early as the client's new token would outlive it, so that the
    /// client works on through an outage of Entra.
    fn plan(self, now: u64) -> Plan {
        // An attempt in the future was made by another clock, and counts as made now, unless that
        // clock is wrong.
        let since = |attempt: &Attempt| match attempt.at.checked_sub(now) {
            Some(ahead) => (ahead <= self.skew).then_some(0),
            None => Some(now - attempt.at),
        };
        let last = self.attempt.as_ref().and_then(since);
        let failed = self.attempt.filter(|attempt| attempt.has_failed);
        let paused_for = |pause: u64| {
            let failed = failed.as_ref()?;
            let pause = pause.max(failed.wait);
            pause.checked_sub(since(failed)?).filter(|left| *left > 0)
        };
        let must = self.is_demanded || self.tokens.must_be_renewed(now, self.skew);
        match (must, self.can_hold(now)) {
            (true, true) if paused_for(PATIENT).is_some() => Plan::Hold,
            (true, true) => Plan::Ask,
            (true, false) => match paused_for(IMPATIENT) {
                Some(left) => Plan::Refuse(Duration::from_secs(left)),
                None => Plan::Ask,
            },
            (false, _) => {
                let is_short = self.tokens.left(now) < self.lifetime.as_secs();
                let is_recent = last.is_some_and(|last| last < EARLY);
                match is_short && !is_recent {
                    true => Plan::Ask,
                    false => Plan::Hold,
                }
            }
        }
    }
}

/// The refresh locks of this process, by grant.
///
/// Instances do not wait for each other. If two of them refresh one grant, the store's
/// compare-and-swap decides.
struct RefreshLocks(Cache<String, Arc<RefreshLock>>);

/// The lock of one grant.
struct RefreshLock {
    lock: tokio::sync::Mutex<()>,
    permits: Semaphore,
    /// Number of failures of the store, and the last one, which requests that waited for the lock
    /// receive, too.
    failures: Mutex<(u64, Option<OAuthError>)>,
    /// Number of times that this process has replaced the grant's token.
    rotations: AtomicU32,
}

/// The permit of one request to hold the lock or wait for it.
struct QueuedRefresh<'l> {
    lock: &'l RefreshLock,
    /// Number of rotations before the request.
    rotations: u32,
    _permit: SemaphorePermit<'l>,
}

/// A held lock.
struct HeldRefreshLock<'l> {
    lock: &'l RefreshLock,
    has_waited: bool,
    _permit: SemaphorePermit<'l>,
    _guard: tokio::sync::MutexGuard<'l, ()>,
}

impl RefreshLocks {
    /// Maximum number of locks.
    ///
    /// If a lock is evicted during a refresh, the cost is one request to Entra at most.
    const MAX: u64 = 100_000;

    const IDLE: Duration = Duration::from_secs(60);

    /// Returns the lock of a grant.
    fn of(&self, grant: &str) -> Arc<RefreshLock> {
        self.0.get_with(grant.to_owned(), || {
            Arc::new(RefreshLock {
                lock: tokio::sync::Mutex::default(),
                permits: Semaphore::new(RefreshLock::PERMITS),
                failures: Mutex::default(),
                rotations: AtomicU32::default(),
            })
        })
    }
}

impl Default for RefreshLocks {
    fn default() -> Self {
        let locks = Cache::builder()
            .eviction_policy(EvictionPolicy::lru())
            .max_capacity(Self::MAX)
            .time_to_idle(Self::IDLE);
        Self(locks.build())
    }
}

impl RefreshLock {
    /// Maximum number of requests that hold the lock or wait for it: more than any client intends
    /// to send.
    const PERMITS: usize = 256;

    /// Admits a request, unless too many are in progress.
    fn enter(&self) -> Result<QueuedRefresh<'_>, OAuthError> {
        let permit = self.permits.try_acquire();
        Ok(QueuedRefresh {
            lock: self,
            rotations: self.rotations.load(Ordering::Relaxed),
            _permit: permit.map_err(|_| OAuthError::unavailable(None))?,
        })
    }

    fn failures(&self) -> MutexGuard<'_, (u64, Option<OAuthError>)> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'l> QueuedRefresh<'l> {
    /// Returns the number of times that this process has replaced the grant's token since the
    /// request.
    fn rotations_since(&self) -> u32 {
        let rotations = self.lock.rotations.load(Ordering::Relaxed);
        rotations.wrapping_sub(self.rotations)
    }

    /// Waits until no other request of this process refreshes the grant.
    ///
    /// The error is that of the store if it failed while this request waited.
    async fn hold(self) -> Result<HeldRefreshLock<'l>, OAuthError> {
        let Self { lock, _permit, .. } = self;
        let before = lock.failures().0;
        let (guard, has_waited) = match lock.lock.try_lock() {
            Ok(guard) => (guard, false),
            Err(_) => (lock.lock.lock().await, true),
        };
        let failures = lock.failures().clone();
        match failures {
            (count, Some(error)) if count != before => Err(error),
            _ => Ok(HeldRefreshLock {
                lock,
                has_waited,
                _permit,
                _guard: guard,
            }),
        }
    }
}

impl HeldRefreshLock<'_> {
    /// Records that this request has replaced the grant's token.
    fn record_rotation(&self) {
        self.lock.rotations.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns whether another request held the lock, and may have changed the grant.
    fn has_waited(&self) -> bool {
        self.has_waited
    }

    /// Records a failure of the store, and returns the error for the client.
    fn record_store_failure(&self, error: impl Into<OAuthError>) -> OAuthError {
        let error = error.into();
        let mut failures = self.lock.failures();
        *failures = (failures.0.wrapping_add(1), Some(error.clone()));
        error
    }
}
