//! Grants, the tokens that come of them, and what is kept of their users.
//!
//! A grant is one sign-in: that a user lets a client use the resource. [`Grants`] keeps them in the store,
//! writes their tokens and refreshes them; [`Users`] keeps the records of their users beside them. Here
//! stand the records that both share and, below [`Grants`], the rotation of refresh tokens and the locks under
//! which refreshes are made.

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
    /// The scopes that the user agreed to, and how the client wrote them.
    names: Vec<String>,
    shown: Vec<String>,
    user: User,
    upstream: EntraTokens,
    /// The number of times that the refresh token was replaced.
    generation: u32,
    /// The time when it was replaced last, in seconds since 1970.
    rotated_at: u64,
    /// The process that did so, by a random name. Since version 2.
    #[serde(default)]
    rotated_by: String,
    /// The end of the grant, whatever happens.
    ends_at: u64,
    /// True if the record of its user has a reference to it. Since version 1: before, none had.
    #[serde(default)]
    is_referred_to: bool,
    #[serde(default)]
    numbers: Numbers,
}

impl Versioned for Grant {
    const NAME: &'static str = "grant";
    const VERSION: u8 = 2;
}

/// The result of a sign-in at Entra, from which a grant is made.
#[derive(Deserialize, Serialize)]
pub(crate) struct SignedIn {
    user: User,
    upstream: EntraTokens,
    #[serde(default)]
    numbers: Numbers,
}

/// The numbers that a sign-in took. Since version 2 of a code and of a grant: before, all were zero.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
struct Numbers {
    #[serde(rename = "u")]
    user: u64,
    #[serde(rename = "c")]
    client: u64,
}

/// The state of a sign-in by the records of its user and its client.
struct Standing {
    /// The end of the keys of the user's records.
    user_key: String,
    client: String,
    numbers: Numbers,
    /// The store's record of what is demanded of the next sign-in, or refresh.
    demand: Option<String>,
}

/// The time for which a demand is open, in seconds.
const DEMAND_LIFETIME: u64 = 15 * 60;

/// The longest claims of a demand, in bytes: they come along in a cookie.
const MAX_DEMAND: usize = 1_024;

/// Returns the key of a grant.
fn grant_key(id: &str) -> String {
    format!("grant/{id}")
}

/// A refresh token, read: nothing of it is stored anywhere.
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

/// The decision about a refresh token that is of a grant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Rotation {
    /// It is the current one: the next takes its place.
    Next,
    /// It was replaced a moment ago, and the answer may have been lost: the current one again.
    Again,
    /// It was replaced before: two have it, and one of them is not the client.
    Stolen,
}

/// Decides about refresh tokens, and replaces them.
struct Rotations {
    /// The generation of each grant of which the store did not say whether it was replaced.
    uncertain: Cache<String, u32>,
    /// The time when this process began, in seconds since 1970.
    began_at: u64,
    /// Its name among those that share a store: random.
    process: String,
    /// The time for which a replaced token works, in seconds, if any.
    grace: Option<u64>,
    /// The greatest difference between two clocks, in seconds.
    skew: u64,
}

impl Rotations {
    /// The most grants of which it is known that the store did not answer.
    const MAX: u64 = 100_000;

    /// The time for which a client may be away that did not get an answer, as the store or this process was
    /// away: its token, too, may have been replaced.
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

    /// Decides what is to be done with a refresh token of this grant, which a client showed at this moment; it
    /// may have been overtaken by another request while it waited here.
    fn decide(
        &self,
        grant: &Grant,
        token: &RefreshToken,
        client: &str,
        (arrived_at, was_overtaken): (u64, bool),
    ) -> Result<Rotation, OAuthError> {
        let invalid = |text| Err(OAuthError::invalid_grant(text));
        if !is_same(&grant.client, client) {
            return invalid("the refresh token is another client's");
        }
        if arrived_at >= grant.ends_at {
            return invalid("the sign-in is over");
        }
        let is_in_grace = || {
            let until = self.grace_until(grant, token, arrived_at);
            until.is_some_and(|until| arrived_at <= until)
        };
        Ok(match grant.generation.checked_sub(token.generation) {
            // A later one than is known: its tag says that it was made here, so the store has lost
            // that.
            Some(0) | None => Rotation::Next,
            Some(1) if was_overtaken || is_in_grace() => Rotation::Again,
            Some(_) => Rotation::Stolen,
        })
    }

    /// Returns the last moment at which a replaced token works; `None` without a grace. It counts anew for
    /// whoever may not have been answered, as the process ended then, or the store did not say that the token
    /// was replaced; and it is longer by the skew where another process read the time from a clock of its own.
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

    /// Replaces the refresh token of a grant: from now on it is this one's successor.
    fn rotate(&self, grant: &mut Grant, token: &RefreshToken, now: u64) {
        let latest = grant.generation.max(token.generation);
        grant.generation = latest.saturating_add(1);
        grant.rotated_at = now;
        grant.rotated_by.clone_from(&self.process);
    }

    /// Records that the store did not say whether this token was replaced: the client must not suffer for
    /// it.
    fn mark_uncertain(&self, token: &RefreshToken) {
        self.uncertain.insert(token.grant.clone(), token.generation);
    }

    /// Records that it is known what there is.
    fn mark_certain(&self, token: &RefreshToken) {
        self.uncertain.invalidate(&token.grant);
    }
}

/// The locks of this process. Instances do not wait for each other: what two of them make of one grant, the
/// store's comparison decides.
struct RefreshLocks(Cache<String, Arc<RefreshLock>>);

/// The lock of one grant.
struct RefreshLock {
    lock: tokio::sync::Mutex<()>,
    permits: Semaphore,
    /// The number of times that Entra or the store did not answer, and the last of them.
    failures: Mutex<(u64, Option<Failure>)>,
    /// The number of times that the refresh token was replaced here.
    rotations: AtomicU64,
}

/// A lock that is held, with what there was before it was waited for.
struct HeldRefreshLock<'l> {
    lock: &'l RefreshLock,
    failures: u64,
    rotations: u64,
    _permit: SemaphorePermit<'l>,
    _guard: tokio::sync::MutexGuard<'l, ()>,
}

/// A recent failure, which whoever waited meanwhile is told, too.
#[derive(Clone)]
enum Failure {
    Entra(OAuthError),
    Store(OAuthError),
}

impl RefreshLocks {
    /// The most grants that are known at once. One that is pushed out while it is refreshed costs a
    /// request to Entra at most.
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
    /// The number that may wait for it: more than any client means to.
    const PERMITS: usize = 256;

    /// Waits until nobody else refreshes the grant. The error is that too many wait, or that the store did
    /// not answer those before.
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
    /// Returns whether another request replaced the refresh token while this one waited: it is not late by
    /// it.
    fn was_overtaken(&self) -> bool {
        self.lock.rotations.load(Ordering::Relaxed) != self.rotations
    }

    fn record_rotation(&self) {
        self.lock.rotations.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the failure that came while this one waited.
    fn failure(&self) -> Option<OAuthError> {
        let failures = self.lock.failures();
        let failed = failures.1.clone().filter(|_| failures.0 != self.failures);
        failed.map(|failure| match failure {
            Failure::Entra(error) | Failure::Store(error) => error,
        })
    }

    /// Records that Entra cannot be asked, for those who wait meanwhile: nobody is asked once for each of
    /// them.
    fn record_failure(&self, error: OAuthError) {
        self.record(Failure::Entra(error));
    }

    fn record(&self, failure: Failure) {
        let mut failures = self.lock.failures();
        *failures = (failures.0.wrapping_add(1), Some(failure));
    }

    /// Records that the store does not answer, and returns what a client is told.
    fn record_store_failure(&self, error: impl Into<OAuthError>) -> OAuthError {
        let error = error.into();
        self.record(Failure::Store(error.clone()));
        error
    }
}
