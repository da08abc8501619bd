//! The records of users and clients in the store: references to grants, pending claims challenges,
//! and revocation counters.

mod demands;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use tower_entra_auth::{TenantId, token::ObjectId};

pub(crate) use self::demands::{demand_of, keep_challenge, keep_demand, remove_demand};
use super::super::{DEMAND_LIFETIME, Grant, Numbers, Standing, grant_key};
use super::{
    ClientStanding, Ends, GrantCaps, Reference, SelfCleaning, State, UserRecord, UserStanding,
};
use crate::crypto::hash;
use crate::entra::User;
use crate::store::{Records, StoreError};
use crate::telemetry::{ThrottledLog, record, throttled};
use crate::time::Clock;

/// A failure to end sign-ins.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct EndError(EndFault);

/// Kind of an [`EndError`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum EndErrorKind {
    /// The text is not the hash of a client's id.
    NoClientHash,
    /// The store did not respond, or has no room for the record.
    Store,
}

#[derive(Debug, thiserror::Error)]
enum EndFault {
    #[error("not the hash of a client id: the log has it as client, 43 characters of base64url")]
    NoClientHash,
    #[error(transparent)]
    Store(StoreError),
}

impl EndError {
    /// Returns the kind, for a `match`.
    #[must_use]
    pub fn kind(&self) -> EndErrorKind {
        match self.0 {
            EndFault::NoClientHash => EndErrorKind::NoClientHash,
            EndFault::Store(_) => EndErrorKind::Store,
        }
    }
}

impl From<StoreError> for EndError {
    fn from(error: StoreError) -> Self {
        Self(EndFault::Store(error))
    }
}

/// A pending claims challenge in this process.
#[derive(Clone)]
struct Challenged {
    claims: Arc<str>,
    /// Start of the last write of these claims to the store.
    written: Option<Instant>,
}

/// The records of users and clients.
///
/// Instances do not wait for each other. The store's compare-and-swap decides.
pub(crate) struct Users {
    records: Records,
    clock: Clock,
    /// URL of this server. Servers with different URLs keep separate records.
    issuer: String,
    caps: GrantCaps,
    /// Locks of the changes in progress in this process, by record key.
    locks: Cache<String, Arc<Mutex<()>>>,
    /// Challenges of this process, by user and client.
    ///
    /// A refresh may need one before it is in the store.
    challenges: Cache<(String, String), Challenged>,
    /// Permits for writes of challenges to the store.
    challenge_writes: Arc<Semaphore>,
    tasks: TaskTracker,
    log: ThrottledLog,
}

/// Outcome of a change of a record.
enum Change<T> {
    /// The record changed, and must be written.
    Made(T),
    /// The record did not change.
    None(T),
}

impl<T> Change<T> {
    fn made_if(is_made: bool, done: T) -> Self {
        match is_made {
            true => Self::Made(done),
            false => Self::None(done),
        }
    }
}

/// Returns the store key of the references to a user's grants.
fn record_key(user: &str) -> String {
    format!("user/{user}")
}

/// Returns the store key of a user's pending claims challenges and revocation counter.
fn standing_key(user: &str) -> String {
    format!("standing/{user}")
}

/// Returns the store key of a client's revocation counter.
fn client_key(client: &str) -> String {
    format!("client/{client}")
}

impl Users {
    /// Maximum number of locks, and of challenges.
    ///
    /// If a lock is evicted, a change may have to be repeated. Challenges that are evicted are
    /// still in the store.
    const MAX: u64 = 10_000;

    const IDLE: Duration = Duration::from_secs(60);

    /// Maximum number of concurrent writes of challenges.
    const CHALLENGE_WRITES: usize = 64;

    /// Maximum wait of a change for earlier ones: the same as the timeout of the store.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// Maximum number of attempts at a change while other instances change the record.
    const ROUNDS: usize = 16;

    /// Builds the records of users and clients from the settings.
    ///
    /// `of_user` and `of_client` are the maximum numbers of grants of a user, and of a user by one
    /// client. The server's shutdown waits for `tasks`.
    pub(crate) fn new(
        records: Records,
        clock: Clock,
        issuer: &str,
        [of_user, of_client]: [usize; 2],
        tasks: TaskTracker,
    ) -> Self {
        let challenges = Cache::builder()
            .eviction_policy(EvictionPolicy::lru())
            .max_capacity(Self::MAX)
            .time_to_live(Duration::from_secs(DEMAND_LIFETIME));
        let locks = Cache::builder()
            .eviction_policy(EvictionPolicy::lru())
            .max_capacity(Self::MAX)
            .time_to_idle(Self::IDLE);
        Self {
            records,
            clock,
            issuer: issuer.to_owned(),
            caps: GrantCaps { of_user, of_client },
            locks: locks.build(),
            challenges: challenges.build(),
            challenge_writes: Arc::new(Semaphore::new(Self::CHALLENGE_WRITES)),
            tasks,
            log: ThrottledLog::default(),
        }
    }

    /// Returns the last part of the keys of a user's records, from tenant and object id.
    ///
    /// A reader of the store cannot learn the user's id from it. It does not depend on the keys of
    /// this server, so that a new key loses no record.
    fn key(&self, [tenant, object]: [&str; 2]) -> String {
        // No part contains a line break.
        hash(&format!("{}\n{tenant}\n{object}", self.issuer))
    }

    /// Reads the current state of a user and a client.
    pub(in crate::tokens) async fn standing(
        &self,
        user: &User,
        client: &str,
    ) -> Result<Standing, StoreError> {
        let user_key = self.key(user.ids());
        let of_both = self.records_of(&user_key, client).await?;
        Ok(self.standing_of((user_key, client), of_both))
    }

    /// Reads the records of a user and of a client.
    async fn records_of(
        &self,
        user_key: &str,
        client: &str,
    ) -> Result<(UserStanding, ClientStanding), StoreError> {
        let keys = [standing_key(user_key), client_key(client)];
        let mut stored = self.records.all(&[&keys[0], &keys[1]]).await?.into_iter();
        let mut next = || stored.next().flatten();
        let (of_user, of_client) = (next(), next());
        let of_user = self.records.found(&keys[0], of_user.as_deref())?;
        let of_client = self.records.found(&keys[1], of_client.as_deref())?;
        Ok((of_user.unwrap_or_default(), of_client.unwrap_or_default()))
    }

    /// Reads a grant, with the state of its user and client.
    ///
    /// If the grant's `owner` is known, one request to the store is enough. `client` is the client
    /// that presents the grant. Whether the grant belongs to that client is not checked here.
    pub(in crate::tokens) async fn grant_and_standing(
        &self,
        id: &str,
        client: &str,
        owner: Option<&str>,
    ) -> Result<Option<(Grant, Option<Bytes>, Standing)>, StoreError> {
        let keys = [grant_key(id), client_key(client)];
        let of_owner = owner.map(standing_key);
        let all: &[&str] = match &of_owner {
            Some(of_owner) => &[&keys[0], &keys[1], of_owner],
            None => &[&keys[0], &keys[1]],
        };
        let mut stored = self.records.all(all).await?.into_iter();
        let (stored_grant, of_client) = (stored.next().flatten(), stored.next().flatten());
        let Some(grant) = self
            .records
            .found::<Grant>(&keys[0], stored_grant.as_deref())?
        else {
            return Ok(None);
        };
        let of_client = self.records.found(&keys[1], of_client.as_deref())?;
        let user_key = self.key(grant.user.ids());
        let key = standing_key(&user_key);
        let of_user = match stored.next().filter(|_| of_owner.as_ref() == Some(&key)) {
            Some(stored) => self.records.found(&key, stored.as_deref())?,
            None => self.records.get(&key).await?.0,
        };
        let of_both = (of_user.unwrap_or_default(), of_client.unwrap_or_default());
        let standing = self.standing_of((user_key, client), of_both);
        Ok(Some((grant, stored_grant, standing)))
    }

    /// Returns whether the grant exists, and no operator has ended it.
    pub(crate) async fn has_active_grant(&self, id: &str) -> Result<bool, StoreError> {
        let (Some(grant), _) = self.records.get::<Grant>(&grant_key(id)).await? else {
            return Ok(false);
        };
        let standing = self.standing(&grant.user, &grant.client).await?;
        Ok(standing.numbers == grant.numbers && self.clock.now() < grant.ends_at)
    }

    fn standing_of(
        &self,
        (user_key, client): (String, &str),
        (mut user, mut of_client): (UserStanding, ClientStanding),
    ) -> Standing {
        let now = self.clock.now();
        user.clean(now);
        of_client.clean(now);
        Standing {
            user_key,
            client: client.to_owned(),
            numbers: Numbers {
                user: user.ends.number(),
                client: of_client.ends.number(),
            },
            demand: user.demand(client, now).map(str::to_owned),
        }
    }

    /// Waits until no other request of this process changes the record.
    async fn lock(&self, key: &str) -> Result<OwnedMutexGuard<()>, StoreError> {
        let lock = self.locks.get_with(key.to_owned(), Arc::default);
        let lock = timeout(Self::PATIENCE, lock.lock_owned()).await;
        lock.map_err(|_| self.crowded())
    }

    /// Changes a record, and tries again if another instance changed it first.
    async fn change<R: SelfCleaning, T>(
        &self,
        key: &str,
        mut change: impl FnMut(&mut R, u64) -> Change<T>,
    ) -> Result<T, StoreError> {
        let _lock = self.lock(key).await?;
        for _ in 0..Self::ROUNDS {
            let (seen, stored) = self.records.get::<R>(key).await?;
            let now = self.clock.now();
            let mut record = seen.unwrap_or_default();
            record.clean(now);
            let done = match change(&mut record, now) {
                Change::Made(done) => done,
                Change::None(done) => return Ok(done),
            };
            let ttl = Duration::from_secs(record.time_to_live(now));
            if self.records.swap(key, stored, &record, ttl).await? {
                return Ok(done);
            }
        }
        Err(self.crowded())
    }

    /// Logs that a change is given up, and returns the error.
    fn crowded(&self) -> StoreError {
        let what = "too many concurrent changes to the record of one user or client";
        throttled!(warn, self.log, (what, ""), "{what}");
        StoreError::new(what)
    }

    /// Prepares a grant that is about to be made, and returns the state of its user and client.
    ///
    /// Keeps the revocation counters for as long as the grant may last, and adds a reference to the
    /// grant. Returns `None` if the sign-in was already ended; otherwise the span has the grant's
    /// id from then on. Once the grant is made, the caller must [trim](Self::trim) excess grants.
    pub(in crate::tokens) async fn prepare(
        &self,
        id: &str,
        grant: &Grant,
        skew: u64,
    ) -> Result<Option<Standing>, StoreError> {
        let user_key = self.key(grant.user.ids());
        let of_both = self.records_of(&user_key, &grant.client).await?;
        let ends = (of_both.0.ends, of_both.1.ends);
        let standing = self.standing_of((user_key, &grant.client), of_both);
        if standing.numbers != grant.numbers {
            return Ok(None);
        }
        // At most once a day. Otherwise all sign-ins by a client would wait for each other.
        let now = self.clock.now();
        if !ends.0.is_kept(now) {
            let user = &standing.user_key;
            self.change_user_number(user, Ends::keep).await?;
        }
        if !ends.1.is_kept(now) {
            self.change_client_number(&grant.client, Ends::keep).await?;
        }
        record("grant", id);
        for _ in 0..2 {
            if self.add_reference(&standing.user_key, id, grant).await? {
                return Ok(Some(standing));
            }
            self.trim(&standing.user_key, "", skew).await?;
        }
        Err(self.crowded())
    }

    /// Adds a reference if there is room for it, and returns whether the record then has it.
    async fn add_reference(&self, user: &str, id: &str, grant: &Grant) -> Result<bool, StoreError> {
        let added = |record: &mut UserRecord, now| {
            if record.is_full(self.caps) && !record.has(id) {
                return Change::None(false);
            }
            record.add(Reference {
                grant: id.to_owned(),
                client: grant.client.clone(),
                made_at: now,
                ends_at: grant.ends_at,
            });
            Change::Made(true)
        };
        self.change(&record_key(user), added).await
    }

    /// Adds a reference to a grant that an earlier version made without one, and returns whether
    /// that succeeded.
    ///
    /// The grant's next refresh calls this. If it fails, the refresh after that tries again.
    pub(in crate::tokens) async fn adopt(
        &self,
        standing: &Standing,
        id: &str,
        grant: &Grant,
    ) -> bool {
        let adopted = self.add_reference(&standing.user_key, id, grant).await;
        adopted.unwrap_or_else(|error| {
            tracing::warn!(
                %error,
                "a sign-in from an earlier version does not count for its user yet"
            );
            false
        })
    }

    /// Removes the reference to a grant that was not made.
    pub(in crate::tokens) async fn remove_reference(&self, standing: &Standing, id: &str) {
        let key = record_key(&standing.user_key);
        let removed = self.change(&key, |record: &mut UserRecord, _| {
            Change::made_if(record.remove(id), ())
        });
        if let Err(error) = removed.await {
            tracing::debug!(%error, "a reference to an ended sign-in stays until it expires");
        }
    }

    /// Ends the longest unused grants of a user who has too many, and returns whether this one is
    /// left.
    ///
    /// Every request that makes a grant calls this once its grant exists, so that the last call
    /// sees all of them. A grant that is used between the check and the end is ended nevertheless:
    /// a store cannot compare and take.
    pub(in crate::tokens) async fn trim(
        &self,
        user: &str,
        id: &str,
        skew: u64,
    ) -> Result<bool, StoreError> {
        let caps = self.caps;
        let key = &*record_key(user);
        let _lock = self.lock(key).await?;
        let mut ended = Vec::new();
        for _ in 0..Self::ROUNDS {
            let (seen, stored) = self.records.get::<UserRecord>(key).await?;
            let now = self.clock.now();
            let Some(mut record) = seen else {
                // The grant's reference was just written. If the record is gone, an operator has
                // ended the sign-ins.
                return Ok(id.is_empty());
            };
            record.clean(now);
            let is_all = record.grants.len() > caps.of_user;
            let mut looked = Vec::new();
            for reference in record.excessive(caps) {
                let state = self.state(&reference, now, skew).await?;
                looked.push((reference, state));
            }
            // A grant that this call ended in an earlier attempt would otherwise seem to be in
            // progress.
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
            // Before the reference is removed, because other requests find the grant through it.
            for grant in &ended {
                if self.records.remove(&grant_key(grant)).await? {
                    tracing::info!(
                        grant,
                        "a sign-in was ended: the longest unused one of a user at the limit"
                    );
                }
            }
            let ttl = Duration::from_secs(record.time_to_live(now));
            if self.records.swap(key, stored, &record, ttl).await? {
                return Ok(is_left);
            }
        }
        Err(self.crowded())
    }

    async fn state(&self, reference: &Reference, now: u64, skew: u64) -> Result<State, StoreError> {
        match self
            .records
            .get::<Grant>(&grant_key(&reference.grant))
            .await
        {
            Ok((grant, _)) => Ok(State::of(reference, grant.as_ref(), now, skew)),
            // A later version manages the grant. Here it neither counts nor ends.
            Err(error) if error.is_later() => Ok(State::Pending),
            Err(error) => Err(error),
        }
    }

    async fn change_user_number(
        &self,
        user: &str,
        change: impl Fn(&mut Ends, u64),
    ) -> Result<(), StoreError> {
        let changed = |record: &mut UserStanding, now| {
            let before = record.ends;
            change(&mut record.ends, now);
            Change::made_if(record.ends != before, ())
        };
        self.change(&standing_key(user), changed).await
    }

    async fn change_client_number(
        &self,
        client: &str,
        change: impl Fn(&mut Ends, u64),
    ) -> Result<(), StoreError> {
        let changed = |record: &mut ClientStanding, now| {
            let before = record.ends;
            change(&mut record.ends, now);
            Change::made_if(record.ends != before, ())
        };
        self.change(&client_key(client), changed).await
    }

    /// Ends all sign-ins of a user, including those in progress.
    pub(crate) async fn end_sign_ins_of(
        &self,
        tenant: TenantId,
        user: ObjectId,
    ) -> Result<(), StoreError> {
        let key = self.key([&tenant.to_string(), &user.to_string()]);
        self.change_user_number(&key, Ends::raise).await?;
        tracing::info!(%tenant, "the sign-ins of a user were ended by an operator");
        // The sign-ins have ended already. This removes Entra's tokens from the store.
        let count = self.take_grants(&key).await;
        let count = count.unwrap_or_else(|error| {
            let error = error.to_string();
            tracing::warn!(error, %tenant, "ended sign-ins were not yet removed from the store");
            0
        });
        tracing::debug!(%tenant, count, "ended sign-ins were removed from the store");
        Ok(())
    }

    /// Removes a user's referenced grants from the store, and returns their number.
    ///
    /// If one of them cannot be removed, the others still are. The error is the last one.
    async fn take_grants(&self, user: &str) -> Result<usize, StoreError> {
        let key = record_key(user);
        let taken = self.change(&key, |record: &mut UserRecord, _| {
            let references = std::mem::take(&mut record.grants);
            Change::made_if(!references.is_empty(), references)
        });
        let references = taken.await?;
        let mut taken = Ok(references.len());
        for reference in &references {
            if let Err(error) = self.records.remove(&grant_key(&reference.grant)).await {
                taken = Err(error);
            }
        }
        taken
    }

    /// Ends all sign-ins by a client, including those in progress.
    ///
    /// The hash of its id identifies the client.
    pub(crate) async fn end_sign_ins_of_client(&self, client: &str) -> Result<(), EndError> {
        let is_of_base64url = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if client.len() != 43 || !client.bytes().all(is_of_base64url) {
            return Err(EndError(EndFault::NoClientHash));
        }
        self.change_client_number(client, Ends::raise).await?;
        tracing::info!(client, "the sign-ins by a client were ended by an operator");
        Ok(())
    }

    /// Ends one sign-in by the id of its grant, and returns whether it existed.
    pub(crate) async fn end_sign_in(&self, grant: &str) -> Result<bool, StoreError> {
        let was_there = self.records.remove(&grant_key(grant)).await?;
        if was_there {
            tracing::info!(grant, "a sign-in was ended by an operator");
        }
        Ok(was_there)
    }
}
