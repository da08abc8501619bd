//! Grants, their tokens, and the records of their users.
//!
//! A grant is one sign-in: it lets a client use the resource for a user. [`Grants`] keeps grants in
//! the store, issues their tokens and refreshes them. [`Users`] keeps the records of users and
//! clients. This module has the records that both share, the rotation of refresh tokens, and the
//! locks for refreshes.

mod grants;
mod users;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit};

pub use self::users::{EndError, EndErrorKind};
pub(crate) use self::{
    grants::{Grants, room_for_claims},
    users::{Users, keep_challenge},
};
use crate::crypto::{is_same, random_text};
use crate::entra::{EntraTokens, User};
use crate::keys::Versioned;
use crate::oauth::OAuthError;

/// A grant, as it is stored (encrypted).
#[derive(Clone, Deserialize, Serialize)]
struct Grant {
    client: String,
    may_refresh: bool,
    /// Short names of the scopes that the user agreed to, and the scopes as the client wrote them.
    names: Vec<String>,
    shown: Vec<String>,
    user: User,
    upstream: EntraTokens,
    /// Number of times that the refresh token was replaced.
    generation: u32,
    /// Time of the last replacement, or of the creation, in seconds since 1970.
    rotated_at: u64,
    /// Random name of the process that wrote `rotated_at`. Since version 2.
    #[serde(default)]
    rotated_by: String,
    /// Latest end of the grant, in seconds since 1970.
    ends_at: u64,
    /// `true` if the user's record has a reference to this grant.
    ///
    /// Since version 1: before, there were no references.
    #[serde(default)]
    is_referred_to: bool,
    #[serde(default)]
    numbers: Numbers,
}

impl Versioned for Grant {
    const NAME: &'static str = "grant";
    const VERSION: u8 = 2;
}

/// Result of a sign-in at Entra, from which a grant is made.
#[derive(Deserialize, Serialize)]
pub(crate) struct SignedIn {
    user: User,
    upstream: EntraTokens,
    #[serde(default)]
    numbers: Numbers,
}

/// Values of the revocation counters at the time of a sign-in.
///
/// Since version 2 of a code and of a grant: before, all were zero.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
struct Numbers {
    #[serde(rename = "u")]
    user: u64,
    #[serde(rename = "c")]
    client: u64,
}

/// State of a user and a client that decides about a sign-in.
struct Standing {
    /// Last part of the keys of the user's records.
    user_key: String,
    client: String,
    numbers: Numbers,
    /// The pending claims challenge in the store, for the next sign-in or refresh.
    demand: Option<String>,
}

/// Lifetime of a pending claims challenge, in seconds.
const DEMAND_LIFETIME: u64 = 15 * 60;

/// Maximum length of a pending claims challenge, in bytes, because a cookie carries it.
const MAX_DEMAND: usize = 1_024;

/// Returns the store key of a grant.
fn grant_key(id: &str) -> String {
    format!("grant/{id}")
}

/// A parsed refresh token. The token itself is not stored anywhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RefreshToken {
    grant: String,
    generation: u32,
}

impl RefreshToken {
    pub(crate) fn grant_id(&self) -> &str {
        &self.grant
    }
}

/// Decision about a refresh token of a grant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Rotation {
    /// The token is the current one: its successor replaces it.
    Next,
    /// The token was replaced a moment ago, and the response may have been lost: the client
    /// receives the current token again.
    Again,
    /// The token was replaced earlier: two parties have it, and one of them is not the client.
    Stolen,
}

/// Decisions about refresh tokens, and their replacement.
struct Rotations {
    /// Generation of the token, for each grant whose replacement the store did not confirm.
    uncertain: Cache<String, u32>,
    /// Start of this process, in seconds since 1970.
    began_at: u64,
    /// Random name of this process among those that share the store.
    process: String,
    /// Grace period of a replaced token, in seconds, if any.
    grace: Option<u64>,
    /// Maximum difference between two clocks, in seconds.
    skew: u64,
}

impl Rotations {
    /// Maximum number of grants in `uncertain`.
    const MAX: u64 = 100_000;

    /// Time within which a client can repeat a refresh whose response was lost in an outage.
    ///
    /// While the store or this process was unavailable, the client's token may have been replaced
    /// without a response.
    const AWAY: Duration = Duration::from_secs(60 * 60);

    fn new(grace: Duration, skew: u64, now: u64) -> Self {
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        Self {
            uncertain: Cache::builder()
                .eviction_policy(EvictionPolicy::lru())
                .max_capacity(Self::MAX)
                .time_to_live(Self::AWAY)
                .build(),
            began_at: now,
            process: random_text::<9>(),
            grace: (seconds > 0).then_some(seconds),
            skew,
        }
    }

    /// Decides what to do with a refresh token of this grant.
    ///
    /// `arrived_at` is the time at which the client's request arrived. `was_overtaken` says whether
    /// another request replaced the token while this one waited for the lock.
    fn decide(
        &self,
        grant: &Grant,
        token: &RefreshToken,
        client: &str,
        (arrived_at, was_overtaken): (u64, bool),
    ) -> Result<Rotation, OAuthError> {
        let invalid = |text| Err(OAuthError::invalid_grant(text));
        if !is_same(&grant.client, client) {
            return invalid("the refresh token belongs to another client");
        }
        if arrived_at >= grant.ends_at {
            return invalid("the sign-in has ended");
        }
        let is_in_grace = || {
            let until = self.grace_until(grant, token, arrived_at);
            until.is_some_and(|until| arrived_at <= until)
        };
        Ok(match grant.generation.checked_sub(token.generation) {
            // The generation is later than the stored one. Its tag shows that this server made the
            // token, so the store has lost the latest write.
            Some(0) | None => Rotation::Next,
            Some(1) if was_overtaken || is_in_grace() => Rotation::Again,
            Some(_) => Rotation::Stolen,
        })
    }

    /// Returns the last moment at which a replaced token is accepted; `None` without a grace
    /// period.
    ///
    /// The grace period begins again if the client may not have received a response: because the
    /// process ended, or because the store did not confirm the replacement. It is longer by the
    /// clock skew if another process wrote the time of the replacement.
    fn grace_until(&self, grant: &Grant, token: &RefreshToken, arrived_at: u64) -> Option<u64> {
        let grace = self.grace?;
        let skew = match grant.rotated_by == self.process {
            true => 0,
            false => self.skew,
        };
        let before = self.began_at.checked_sub(grant.rotated_at);
        let before = before.filter(|before| *before <= Self::AWAY.as_secs());
        let is_uncertain = self.uncertain.get(&token.grant) == Some(token.generation);
        let again = match is_uncertain {
            true => Some(arrived_at),
            false => before.map(|_| self.began_at),
        };
        let until = grant.rotated_at.saturating_add(grace).saturating_add(skew);
        let again = again.map(|from| from.saturating_add(grace));
        Some(again.map_or(until, |again| again.max(until)))
    }

    /// Replaces the refresh token of a grant by the successor of `token`.
    fn rotate(&self, grant: &mut Grant, token: &RefreshToken, now: u64) {
        let latest = grant.generation.max(token.generation);
        grant.generation = latest.saturating_add(1);
        grant.rotated_at = now;
        grant.rotated_by.clone_from(&self.process);
    }

    /// Records that the store did not confirm whether this token was replaced.
    ///
    /// The client must not lose its sign-in because of that.
    fn mark_uncertain(&self, token: &RefreshToken) {
        self.uncertain.insert(token.grant.clone(), token.generation);
    }

    /// Records that the store confirmed the replacement of a token.
    fn mark_certain(&self, token: &RefreshToken) {
        self.uncertain.invalidate(&token.grant);
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
    /// Number of failures of Entra or the store, and the last failure.
    failures: Mutex<(u64, Option<Failure>)>,
    /// Number of times that this process replaced the refresh token.
    rotations: AtomicU64,
}

/// A held lock, with the state of its counters before the wait.
struct HeldRefreshLock<'l> {
    lock: &'l RefreshLock,
    failures: u64,
    rotations: u64,
    _permit: SemaphorePermit<'l>,
    _guard: tokio::sync::MutexGuard<'l, ()>,
}

/// A recent failure, which requests that waited for the lock receive, too.
#[derive(Clone)]
enum Failure {
    Entra(OAuthError),
    Store(OAuthError),
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
                rotations: AtomicU64::new(0),
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

    /// Waits until no other request of this process refreshes the grant.
    ///
    /// The error means that too many requests wait, or that the store failed while this one waited.
    async fn hold(&self) -> Result<HeldRefreshLock<'_>, OAuthError> {
        let permit = self.permits.try_acquire();
        let permit = permit.map_err(|_| OAuthError::unavailable(None))?;
        let (failures, rotations) = (self.failures().0, self.rotations.load(Ordering::Relaxed));
        let held = HeldRefreshLock {
            lock: self,
            failures,
            rotations,
            _permit: permit,
            _guard: self.lock.lock().await,
        };
        let failures = self.failures().clone();
        match failures {
            (count, Some(Failure::Store(error))) if count != held.failures => Err(error),
            _ => Ok(held),
        }
    }

    fn failures(&self) -> MutexGuard<'_, (u64, Option<Failure>)> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HeldRefreshLock<'_> {
    /// Returns whether another request replaced the refresh token while this one waited.
    ///
    /// If so, this request is not late.
    fn was_overtaken(&self) -> bool {
        self.lock.rotations.load(Ordering::Relaxed) != self.rotations
    }

    fn record_rotation(&self) {
        self.lock.rotations.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the failure that occurred while this request waited.
    fn failure(&self) -> Option<OAuthError> {
        let failures = self.lock.failures();
        let failed = failures.1.clone().filter(|_| failures.0 != self.failures);
        failed.map(|failure| match failure {
            Failure::Entra(error) | Failure::Store(error) => error,
        })
    }

    /// Records a failure of Entra, for the requests that wait meanwhile.
    ///
    /// They receive the same failure, so that each of them does not send a request to Entra.
    fn record_failure(&self, error: OAuthError) {
        self.record(Failure::Entra(error));
    }

    fn record(&self, failure: Failure) {
        let mut failures = self.lock.failures();
        *failures = (failures.0.wrapping_add(1), Some(failure));
    }

    /// Records a failure of the store, and returns the error for the client.
    fn record_store_failure(&self, error: impl Into<OAuthError>) -> OAuthError {
        let error = error.into();
        self.record(Failure::Store(error.clone()));
        error
    }
}
