//! Whose turn it is to refresh a sign-in, and what those are told who wait for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::sync::Semaphore;

use crate::engine::Engine;
use crate::oauth::error::OAuthError;
use crate::proxy::down;
use crate::store::StoreError;
use crate::tokens::grant::{Grant, RefreshToken};

/// The refreshes that are under way here, by grant. Instances do not wait for each other: what two of
/// them make of one grant, the store's comparison decides.
pub(crate) struct Refreshes {
    turns: Cache<String, Arc<Turn>>,
    /// The generation of each grant of which the store did not say whether it was replaced.
    uncertain: Cache<String, u32>,
    /// The user of each grant, which never changes: the end of the keys of the user's records.
    users: Cache<String, Arc<str>>,
    /// When this process began, in seconds since 1970.
    began_at: u64,
    /// Its name among those that share a store: random.
    process: String,
    /// The time for which a replaced token works, in seconds, if any.
    grace: Option<u64>,
    /// The greatest difference between two clocks, in seconds.
    skew: u64,
}

/// Whose turn it is to refresh a grant.
pub(crate) struct Turn {
    pub(crate) taken: tokio::sync::Mutex<()>,
    pub(crate) places: Semaphore,
    /// How often Entra or the store did not answer, and how it was the last time.
    trouble: Mutex<(u64, Option<Trouble>)>,
    /// How often the refresh token was replaced here.
    rotations: AtomicU64,
}

/// What whoever waited meanwhile is told, too.
#[derive(Clone)]
pub(crate) enum Trouble {
    Entra(OAuthError),
    Store(OAuthError),
}

impl Refreshes {
    /// How many grants are known at once. One that is pushed out while it is refreshed costs a
    /// request to Entra at most.
    const MOST: u64 = 100_000;

    const IDLE: Duration = Duration::from_secs(60);

    /// For how long a client may be away that did not get an answer, as the store or this process was
    /// away: its token, too, may have been replaced.
    const AWAY: Duration = Duration::from_secs(60 * 60);

    pub(crate) fn new(engine: &Engine, now: u64) -> Self {
        let grace = engine.lifetimes.grace;
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let turns = Cache::builder().eviction_policy(EvictionPolicy::lru());
        let uncertain = Cache::builder().eviction_policy(EvictionPolicy::lru());
        let users = Cache::builder().eviction_policy(EvictionPolicy::lru());
        Self {
            turns: turns
                .max_capacity(Self::MOST)
                .time_to_idle(Self::IDLE)
                .build(),
            uncertain: uncertain
                .max_capacity(Self::MOST)
                .time_to_live(Self::AWAY)
                .build(),
            users: users.max_capacity(Self::MOST).build(),
            began_at: now,
            process: engine.process.clone(),
            grace: (seconds > 0).then_some(seconds),
            skew: engine.skew,
        }
    }

    pub(crate) fn of(&self, grant: &str) -> Arc<Turn> {
        self.turns
            .get_with(grant.to_owned(), || Arc::new(Turn::new()))
    }

    /// Returns whose grant it is, if that is known here.
    pub(crate) fn user_of(&self, grant: &str) -> Option<Arc<str>> {
        self.users.get(grant)
    }

    /// Remembers whose grant it is.
    pub(crate) fn is_of(&self, grant: &str, user: &str) {
        if !self.users.contains_key(grant) {
            self.users.insert(grant.to_owned(), user.into());
        }
    }

    /// Records that the store did not say whether this generation was replaced: the client must not suffer
    /// for it.
    pub(crate) fn mark_uncertain(&self, id: &str, generation: u32) {
        self.uncertain.insert(id.to_owned(), generation);
    }

    /// Records that it is known what there is.
    pub(crate) fn mark_certain(&self, id: &str) {
        self.uncertain.invalidate(id);
    }

    /// Returns the last moment at which a replaced token works; `None` without a grace. It counts anew for
    /// whoever may not have been answered, as the process ended then, or the store did not say that the token
    /// was replaced; and it is longer by the skew where another process read the time from a clock of its own.
    pub(crate) fn grace_until(
        &self,
        id: &str,
        grant: &Grant,
        token: &RefreshToken,
        came: u64,
    ) -> Option<u64> {
        let grace = self.grace?;
        let skew = match grant.rotated_by == self.process {
            true => 0,
            false => self.skew,
        };
        let began_at = self.began_at.checked_sub(grant.rotated_at);
        let began_at = began_at.filter(|before| *before <= Self::AWAY.as_secs());
        let came = Some(came).filter(|_| self.uncertain.get(id) == Some(token.generation));
        let anew = came.or(began_at.map(|_| self.began_at));
        let until = grant.rotated_at.saturating_add(grace).saturating_add(skew);
        let anew = anew.map(|from| from.saturating_add(grace));
        Some(anew.map_or(until, |anew| anew.max(until)))
    }
}

impl Turn {
    /// How many may wait for it: more than any client means to.
    const PLACES: usize = 256;

    fn new() -> Self {
        Self {
            taken: tokio::sync::Mutex::default(),
            places: Semaphore::new(Self::PLACES),
            trouble: Mutex::default(),
            rotations: AtomicU64::new(0),
        }
    }

    /// Returns how often the refresh token was replaced here: whoever waits meanwhile is not late by it.
    pub(crate) fn rotations(&self) -> u64 {
        self.rotations.load(Ordering::Relaxed)
    }

    pub(crate) fn has_rotated(&self) {
        self.rotations.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn troubles(&self) -> u64 {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.0
    }

    /// The store does not answer.
    pub(crate) fn down(&self, error: &StoreError) -> OAuthError {
        let told = down(error);
        self.record(Trouble::Store(told.clone()));
        told
    }

    /// Remembers trouble for those who wait meanwhile: nobody is asked once for each of them.
    pub(crate) fn record(&self, what: Trouble) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *trouble = (trouble.0.wrapping_add(1), Some(what));
    }

    /// The trouble that came after so many.
    pub(crate) fn trouble_since(&self, before: u64) -> Option<Trouble> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.1.clone().filter(|_| trouble.0 != before)
    }
}
