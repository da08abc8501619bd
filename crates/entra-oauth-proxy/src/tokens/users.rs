//! The record of each user in the store: the decisions about it, carried out.
//!
//! A sign-in writes the reference first and then the grant; what ends a grant leaves the reference. So
//! a process that ends in between leaves a reference to nothing, which goes when there are too many or
//! when its time is over, and never a grant that nobody knows of. Nobody's sign-in is ended before the
//! new one is complete: whoever ends a grant for another takes the grant away first, and its reference
//! with the next change.

use std::sync::Arc;
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

use crate::keys::format::Changing;
use crate::keys::keyring::hash;
use crate::oauth::claims_request;
use crate::proxy::Inner;
use crate::store::{Records, StoreError};
use crate::telemetry::log::{RefusalLog, throttled};
use crate::tokens::grant::{Grant, grant_key};
use crate::tokens::standing::UserStanding;
use crate::tokens::user::User;
use crate::tokens::user_record::{Caps, Reference, State, UserRecord};

/// The changes of users' records that are under way here, by key. Instances do not wait for each other:
/// the store's comparison decides.
pub(crate) struct Users {
    turns: Cache<String, Arc<Mutex<()>>>,
    caps: Caps,
    log: RefusalLog,
}

impl Users {
    /// The most users that are known at once. One who is pushed out costs a change that is made again.
    const MOST: u64 = 10_000;

    const IDLE: Duration = Duration::from_secs(60);

    /// The longest wait of a change for those before it: as long as for the store.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// The most attempts at a change while other instances are faster.
    const ROUNDS: usize = 16;

    pub(crate) fn new(caps: Caps) -> Self {
        let turns = Cache::builder().eviction_policy(EvictionPolicy::lru());
        Self {
            turns: turns
                .max_capacity(Self::MOST)
                .time_to_idle(Self::IDLE)
                .build(),
            caps,
            log: RefusalLog::default(),
        }
    }

    async fn turn(&self, key: &str) -> Result<OwnedMutexGuard<()>, StoreError> {
        let turn = self.turns.get_with(key.to_owned(), Arc::default);
        let turn = timeout(Self::PATIENCE, turn.lock_owned()).await;
        turn.map_err(|_| self.crowded())
    }

    /// Changes a record of a user or a client, until nobody else did so meanwhile.
    pub(crate) async fn change<R: Changing, T>(
        &self,
        records: &Records,
        now: impl Fn() -> u64,
        key: &str,
        mut change: impl FnMut(&mut R, u64) -> Change<T>,
    ) -> Result<T, StoreError> {
        let _turn = self.turn(key).await?;
        for _ in 0..Self::ROUNDS {
            let seen = records.see::<R>(key).await?;
            let now = now();
            let mut record = seen.value.unwrap_or_default();
            record.clean(now);
            let done = match change(&mut record, now) {
                Change::Made(done) => done,
                Change::None(done) => return Ok(done),
            };
            let ttl = Duration::from_secs(record.time_to_live(now));
            if records.swap(key, seen.stored, &record, ttl).await? {
                return Ok(done);
            }
        }
        Err(self.crowded())
    }

    /// Keeps what Entra, or a route, demands of the next sign-in of this user by this client.
    pub(crate) async fn keep_demand(
        &self,
        records: &Records,
        now: impl Fn() -> u64,
        (user, client): (&str, &str),
        claims: &str,
    ) {
        let key = standing_key(user);
        let kept = self.change(
            records,
            now,
            &key,
            |record: &mut UserStanding, now| match record.demands(client, claims, now) {
                true => Change::Made(true),
                false => Change::None(false),
            },
        );
        match kept.await {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!("what is demanded of the next sign-in is too long to keep");
            }
            Err(error) => {
                tracing::warn!(%error, "what is demanded of the next sign-in is not kept");
            }
        }
    }

    /// Tells operators that a change is given up.
    fn crowded(&self) -> StoreError {
        let what = "too many change the record of one user or client at once";
        throttled!(warn, self.log, (what, ""), "{what}");
        StoreError::new(what)
    }
}

/// The outcome of a change of a record.
pub(crate) enum Change<T> {
    /// It is to be written.
    Made(T),
    /// There is nothing to write.
    None(T),
}

/// Returns the end of the keys of a user's records, by tenant and object id: whoever reads the store learns
/// nobody's id. It does not depend on the keys of this server, so that a new one loses no record.
pub(crate) fn user_key(issuer: &str, [tenant, object]: [&str; 2]) -> String {
    // None of them has a line break.
    hash(&format!("{issuer}\n{tenant}\n{object}"))
}

fn record_key(user: &str) -> String {
    format!("user/{user}")
}

/// Returns the key of the record of what stands about a user.
pub(crate) fn standing_key(user: &str) -> String {
    format!("standing/{user}")
}

impl Inner {
    pub(crate) fn user_key(&self, user: &User) -> String {
        user_key(self.engine.keys.issuer(), user.ids())
    }

    /// Changes the references to the grants of a user.
    async fn change_user<T>(
        &self,
        user: &str,
        change: impl FnMut(&mut UserRecord, u64) -> Change<T>,
    ) -> Result<T, StoreError> {
        let (now, key) = (|| self.now(), record_key(user));
        self.users.change(&self.records, now, &key, change).await
    }

    /// Changes what stands about a user.
    async fn change_standing<T>(
        &self,
        user: &str,
        change: impl FnMut(&mut UserStanding, u64) -> Change<T>,
    ) -> Result<T, StoreError> {
        let (now, key) = (|| self.now(), standing_key(user));
        self.users.change(&self.records, now, &key, change).await
    }

    /// Adds a reference to a grant that is about to be made. Once it is made, too many of them are
    /// [trimmed](Self::trim).
    pub(crate) async fn refer(&self, id: &str, grant: &Grant) -> Result<(), StoreError> {
        let key = self.user_key(&grant.user);
        for _ in 0..2 {
            if self.is_added(&key, id, grant).await? {
                return Ok(());
            }
            self.trim(&key, "").await?;
        }
        Err(self.users.crowded())
    }

    /// Raises the number of a user, which ends all sign-ins that took the one before.
    pub(crate) async fn raise_of_user(&self, user: &str) -> Result<(), StoreError> {
        let raised = self.change_standing(user, |record, now| {
            record.ends.raise(now);
            Change::Made(())
        });
        raised.await
    }

    /// Keeps the number that a sign-in took of its user for as long as the sign-in may last.
    pub(crate) async fn keep_user_number(&self, user: &str) -> Result<(), StoreError> {
        let kept = self.change_standing(user, |record, now| {
            let before = record.ends;
            record.ends.keep(now);
            match record.ends == before {
                true => Change::None(()),
                false => Change::Made(()),
            }
        });
        kept.await
    }

    /// Takes all references of a user away, and returns their grants.
    pub(crate) async fn take_references(&self, user: &str) -> Result<Vec<String>, StoreError> {
        let taken = self.change_user(user, |record, _| {
            let grants = std::mem::take(&mut record.grants);
            let grants: Vec<_> = grants
                .into_iter()
                .map(|reference| reference.grant)
                .collect();
            match grants.is_empty() {
                true => Change::None(grants),
                false => Change::Made(grants),
            }
        });
        taken.await
    }

    /// Removes the reference to a grant that was not made.
    pub(crate) async fn unrefer(&self, id: &str, grant: &Grant) {
        let key = self.user_key(&grant.user);
        let removed = self.change_user(&key, |record, _| match record.remove(id) {
            true => Change::Made(()),
            false => Change::None(()),
        });
        if let Err(error) = removed.await {
            tracing::debug!(%error, "a reference to nothing stays until it is over by time");
        }
    }

    /// Adds a reference, if there is room for one, and returns whether it is there then.
    async fn is_added(&self, key: &str, id: &str, grant: &Grant) -> Result<bool, StoreError> {
        let added = self.change_user(key, |record, now| {
            if record.is_full(self.users.caps) && !record.has(id) {
                return Change::None(false);
            }
            record.add(reference(id, grant, now));
            Change::Made(true)
        });
        added.await
    }

    /// Adds a grant that the version before made without a reference, at its next refresh. Says whether
    /// that was done: else the refresh after this one tries it again.
    pub(crate) async fn adopt(&self, id: &str, grant: &Grant) -> bool {
        let key = self.user_key(&grant.user);
        let adopted = self.is_added(&key, id, grant).await;
        adopted.unwrap_or_else(|error| {
            tracing::warn!(%error, "a sign-in of before is not counted for its user yet");
            false
        })
    }

    /// Ends the longest unused grants of a user who has too many. Returns whether this one is left.
    ///
    /// All who make a grant do so once theirs is there, so that whoever looks last sees all of them.
    /// A grant that is used between the look and the end is ended all the same: a store cannot compare
    /// and take.
    pub(crate) async fn trim(&self, user: &str, id: &str) -> Result<bool, StoreError> {
        let caps = self.users.caps;
        let key = &*record_key(user);
        let _turn = self.users.turn(key).await?;
        let mut ended = Vec::new();
        for _ in 0..Users::ROUNDS {
            let seen = self.records.see::<UserRecord>(key).await?;
            let now = self.now();
            let Some(mut record) = seen.value else {
                // Whose reference was just written: an end has taken it away.
                return Ok(id.is_empty());
            };
            record.clean(now);
            let is_all = record.grants.len() > caps.of_user;
            let mut looked = Vec::new();
            for reference in record.excessive(caps) {
                let state = self.state(&reference, now).await?;
                looked.push((reference, state));
            }
            // One that was ended here before another instance was faster would seem to be under way.
            ended.extend(UserRecord::superfluous(&looked, caps, is_all));
            let is_over = |grant: &str| {
                let mut over = looked.iter().filter(|(_, state)| *state == State::Over);
                over.any(|(reference, _)| reference.grant == grant)
            };
            let before = record.grants.len();
            record.grants.retain(|reference| {
                !is_over(&reference.grant) && !ended.contains(&reference.grant)
            });
            let is_left = id.is_empty() || record.has(id);
            if record.grants.len() == before {
                return Ok(is_left);
            }
            // Before the reference is gone, by which another would find it.
            for grant in &ended {
                if self.records.remove(&grant_key(grant)).await? {
                    tracing::info!(
                        grant,
                        "a sign-in was ended, the longest unused of a user who has as many as may be"
                    );
                }
            }
            let ttl = Duration::from_secs(record.time_to_live(now));
            if self.records.swap(key, seen.stored, &record, ttl).await? {
                return Ok(is_left);
            }
        }
        Err(self.users.crowded())
    }

    async fn state(&self, reference: &Reference, now: u64) -> Result<State, StoreError> {
        match self
            .records
            .get::<Grant>(&grant_key(&reference.grant))
            .await
        {
            Ok(found) => {
                let grant = found.map(|found| found.value);
                Ok(State::of(reference, grant.as_ref(), now, self.engine.skew))
            }
            // A later version takes care of it: it neither counts nor goes here.
            Err(error) if error.is_later() => Ok(State::Pending),
            Err(error) => Err(error),
        }
    }

    /// Keeps what Entra demands of the next sign-in of this user by this client.
    pub(crate) async fn keep_demand(&self, key: &str, client: &str, claims: &str) {
        let (now, of) = (|| self.now(), (key, client));
        self.users.keep_demand(&self.records, now, of, claims).await;
    }

    /// Removes the demand that Entra has met where these claims were sent; not what came to it meanwhile.
    pub(crate) async fn forget_demand(&self, key: &str, client: &str, sent: Option<&str>) {
        self.challenges.forget(key, client, sent);
        let forgotten = self.change_standing(key, |record, now| match record.demand(client, now) {
            Some(demanded) if claims_request::carries(sent, demanded) => {
                record.forget_demand(client);
                Change::Made(())
            }
            _ => Change::None(()),
        });
        if let Err(error) = forgotten.await {
            tracing::warn!(%error, "the next sign-in is asked once more for what Entra demanded");
        }
    }
}

fn reference(id: &str, grant: &Grant, now: u64) -> Reference {
    Reference {
        grant: id.to_owned(),
        client: grant.client.clone(),
        made_at: now,
        ends_at: grant.ends_at,
    }
}
