//! The grants in the store.
//!
//! A sign-in writes the reference to its grant first and then the grant; what ends a grant leaves the
//! reference. So a process that ends in between leaves a reference to nothing, which goes when there are too
//! many or when its time is over, and never a grant that nobody knows of. Nobody's sign-in is ended before
//! the new one is complete: whoever ends a grant for another takes the grant away first, and its reference
//! with the next change.

mod issuer;
mod refresh;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use serde_json::Value;

pub(crate) use self::issuer::room_for_claims;
use super::users::{demand_of, remove_demand};
use super::{Grant, RefreshLocks, RefreshToken, Rotations, SignedIn, Standing, Users, grant_key};
use crate::crypto::{hash, is_same, random_text};
use crate::entra::{Entra, EntraTokens, NoTokens, User};
use crate::keys::{Keyring, Unreadable};
use crate::limits::RateLimiter;
use crate::oauth::{GrantedScopes, OAuthError, Scopes, carries_claims};
use crate::store::{Records, StoreError};
use crate::telemetry::record;
use crate::time::Clock;

/// The grants in the store, and all that is done with them.
pub(crate) struct Grants {
    records: Records,
    users: Arc<Users>,
    entra: Arc<Entra>,
    scopes: Arc<Scopes>,
    keys: Arc<Keyring>,
    /// The URL of this server.
    issuer: String,
    resource: String,
    /// The lifetime of an access token of our own; `None` where clients get Entra's.
    issued_lifetime: Option<Duration>,
    clock: Clock,
    /// The greatest difference between two clocks, in seconds.
    skew: u64,
    /// The longest times of a grant: that of an access token, without a refresh, and in all.
    lifetimes: [Duration; 3],
    rotations: Rotations,
    locks: RefreshLocks,
    /// The end of the keys of its user's records, by grant: it never changes.
    owners: Cache<String, Arc<str>>,
}

/// A grant that is in the store, and what stands about it.
struct FoundGrant {
    id: String,
    grant: Grant,
    stored: Option<Bytes>,
    standing: Standing,
    /// The demand on its user that was met.
    met: Option<String>,
}

impl Grants {
    /// The most grants of which the owner is known at once.
    const MAX_OWNERS: u64 = 100_000;

    /// Takes the URLs of this server and of the resource, the greatest difference between two clocks in
    /// seconds, the lifetimes of an access token and of a grant, without a refresh and however often it is
    /// refreshed, and the grace of a refresh token.
    pub(crate) fn new(
        (records, users, keys): (Records, Arc<Users>, Arc<Keyring>),
        (entra, scopes): (Arc<Entra>, Arc<Scopes>),
        (issuer, resource, issues_tokens): (&str, &str, bool),
        (clock, skew): (Clock, u64),
        lifetimes: [Duration; 3],
        grace: Duration,
    ) -> Self {
        let owners = Cache::builder().eviction_policy(EvictionPolicy::lru());
        Self {
            records,
            users,
            entra,
            scopes,
            keys,
            issuer: issuer.to_owned(),
            resource: resource.to_owned(),
            issued_lifetime: issues_tokens.then_some(lifetimes[0]),
            rotations: Rotations::new(grace, skew, clock.now()),
            clock,
            skew,
            lifetimes,
            locks: RefreshLocks::default(),
            owners: owners.max_capacity(Self::MAX_OWNERS).build(),
        }
    }

    /// Admits a user whom Entra has signed in, if not too often; compares what is demanded of the user with
    /// the claims that were sent; and has that kept of which a grant is made. A demand that is met is open
    /// until then. An open demand is an error, if it may be.
    pub(crate) async fn sign_in<K: Future<Output = Result<(), StoreError>>>(
        &self,
        client: &str,
        (user, upstream): (User, EntraTokens),
        (sent, may_demand): (Option<&str>, bool),
        rate_limiter: &RateLimiter,
        keep: impl FnOnce(SignedIn) -> K,
    ) -> Result<(), NoTokens> {
        // Before the store is asked.
        rate_limiter.admit_user(&hash(&user.ids().concat()))?;
        let standing = self.users.standing(&user, client).await;
        let standing = standing.map_err(OAuthError::from)?;
        let demanded = demand_of(&self.users, &standing);
        let is_met = demanded
            .as_deref()
            .map(|demanded| carries_claims(sent, demanded));
        if let (Some(demanded), Some(false), true) = (demanded, is_met, may_demand) {
            return Err(NoTokens::Demanded(demanded));
        }
        tracing::info!(client, tenant = user.ids()[0], "a user signed in");
        let signed_in = SignedIn {
            user,
            upstream,
            numbers: standing.numbers,
        };
        keep(signed_in).await.map_err(OAuthError::from)?;
        if is_met == Some(true) {
            remove_demand(&self.users, &standing, sent).await;
        }
        Ok(())
    }

    /// Makes a grant of a code, has the code marked as used for it, and makes its first tokens. `None` if
    /// another request has used the code: then the grant is gone again.
    ///
    /// In this order, so that whoever uses the code again ends the grant, even before it is answered.
    pub(crate) async fn create<U: Future<Output = Result<bool, StoreError>>>(
        &self,
        (client_id, client, may_refresh): (&str, &str, bool),
        scopes: &GrantedScopes,
        signed_in: &SignedIn,
        use_code: impl FnOnce(String) -> U,
    ) -> Result<Option<Value>, OAuthError> {
        let found = self.add((client, may_refresh), scopes, signed_in).await?;
        match use_code(found.id.clone()).await {
            Ok(true) => {}
            Ok(false) => {
                // It was written: whoever has taken it away, its reference is to nothing.
                self.end(&found.id).await?;
                self.users
                    .remove_reference(&found.standing, &found.id)
                    .await;
                return Ok(None);
            }
            Err(error) => {
                // Where the store does not answer at all, it ends by time.
                let _ = self.abandon(&found).await;
                return Err(error.into());
            }
        }
        self.confirm(&found).await?;
        let scopes = self.downscoped(&found, None)?;
        tracing::info!(client, grant = found.id, "a code was redeemed");
        issuer::tokens(self, client_id, &found, &scopes).map(Some)
    }

    /// Makes a grant and writes it, for as long as its first access token, as one of which the store says
    /// nothing more may be nobody's. An error leaves nothing that works.
    async fn add(
        &self,
        (client, may_refresh): (&str, bool),
        scopes: &GrantedScopes,
        signed_in: &SignedIn,
    ) -> Result<FoundGrant, OAuthError> {
        let now = self.clock.now();
        let [.., session] = self.lifetimes;
        let grant = Grant {
            client: client.to_owned(),
            may_refresh,
            names: scopes.names.clone(),
            shown: scopes.shown.clone(),
            user: signed_in.user.clone(),
            upstream: signed_in.upstream.clone(),
            generation: 0,
            rotated_at: now,
            rotated_by: self.rotations.process.clone(),
            ends_at: now.saturating_add(session.as_secs()),
            is_referred_to: true,
            numbers: signed_in.numbers,
        };
        self.check_scopes(&grant)?;
        let id = random_text::<18>();
        let standing = self.users.prepare(&id, &grant, self.skew).await?;
        let standing =
            standing.ok_or_else(|| OAuthError::invalid_grant("the sign-in was ended"))?;
        let mut found = FoundGrant {
            id,
            grant,
            stored: None,
            standing,
            met: None,
        };
        let (key, ttl) = (grant_key(&found.id), self.first_time_to_live(&found.grant));
        match self.records.put(&key, &found.grant, ttl).await {
            Ok(stored) => {
                found.stored = Some(stored);
                Ok(found)
            }
            Err(error) => {
                let _ = self.abandon(&found).await;
                Err(error.into())
            }
        }
    }

    /// Ends a grant of which the store did not say that it was written, or that its code was used.
    async fn abandon(&self, found: &FoundGrant) -> Result<(), StoreError> {
        // If it was not there, it may still be on its way to the store: it keeps its reference then, and
        // goes like any other that nobody uses.
        if self.end(&found.id).await? {
            self.users
                .remove_reference(&found.standing, &found.id)
                .await;
        }
        Ok(())
    }

    /// Keeps a grant whose client is about to be answered for its whole time, after it has ended the
    /// longest unused ones of a user who has too many. The error is that this one is among them, or gone.
    async fn confirm(&self, found: &FoundGrant) -> Result<(), OAuthError> {
        let FoundGrant {
            id,
            grant,
            stored,
            standing,
            ..
        } = found;
        let trimmed = self.users.trim(&standing.user_key, id, self.skew).await;
        let is_left = trimmed.unwrap_or_else(|error| {
            tracing::warn!(%error, "a user has more sign-ins than may be until the next one");
            true
        });
        if !is_left {
            self.end(id).await?;
            return Err(OAuthError::invalid_grant(
                "the sign-in is over: its user has as many as may be, and later ones",
            ));
        }
        if !grant.may_refresh {
            return Ok(());
        }
        let (key, ttl) = (grant_key(id), self.time_to_live(grant));
        let swapped = self.records.swap(&key, stored.clone(), grant, ttl);
        let is_there = swapped.await.unwrap_or_else(|error| {
            tracing::debug!(%error, grant = id, "a sign-in has its whole time with its first refresh");
            true
        });
        let ended = || OAuthError::invalid_grant("the sign-in was ended");
        is_there.then_some(()).ok_or_else(ended)
    }

    /// Checks that the scopes that are required today are among those that the user agreed to and that
    /// Entra granted. If not, the sign-in has to begin again, with the page.
    fn check_scopes(&self, grant: &Grant) -> Result<(), OAuthError> {
        let has_required = |names| self.scopes.has_required(names);
        match has_required(&grant.names) && has_required(grant.user.scopes()) {
            true => Ok(()),
            false => Err(OAuthError::invalid_grant(
                "this server requires more than the user agreed to; sign in again",
            )),
        }
    }

    /// Returns the scopes of a grant's tokens, or those of them that are requested.
    fn downscoped(
        &self,
        found: &FoundGrant,
        requested: Option<&str>,
    ) -> Result<GrantedScopes, OAuthError> {
        let grant = &found.grant;
        let agreed = (&*grant.names, &*grant.shown);
        self.scopes
            .downscoped(agreed, grant.user.scopes(), requested)
    }

    /// Replaces a refresh token that a client shows by the next, and makes tokens of its grant.
    pub(crate) async fn refresh(
        &self,
        client: (&str, &str),
        token: &RefreshToken,
        scope: Option<&str>,
        rate_limiter: &RateLimiter,
    ) -> Result<Value, OAuthError> {
        refresh::refresh(self, client, token, scope, rate_limiter).await
    }

    /// Reads a refresh token, if it was made here.
    pub(crate) fn read_refresh_token(&self, text: &str) -> Result<RefreshToken, Unreadable> {
        issuer::read_refresh_token(&self.keys, text)
    }

    /// Ends a grant: its refresh token at once, its access tokens when the Layer asks next. Returns whether
    /// there was one.
    pub(crate) async fn end(&self, id: &str) -> Result<bool, StoreError> {
        self.records.remove(&grant_key(id)).await
    }

    /// Ends a grant for its client: nobody ends what is another's.
    pub(crate) async fn revoke(&self, id: &str, client: &str) -> Result<(), OAuthError> {
        let (Some(grant), _) = self.records.get::<Grant>(&grant_key(id)).await? else {
            return Ok(());
        };
        if !is_same(&grant.client, client) {
            return Err(OAuthError::invalid_grant("the token is another client's"));
        }
        record("grant", id);
        tracing::info!(client, grant = id, "a sign-in was ended by its client");
        self.end(id).await?;
        Ok(())
    }

    /// Returns the time to live of a grant from this moment on. Without refresh tokens it lasts as long as
    /// its only access token.
    fn time_to_live(&self, grant: &Grant) -> Duration {
        let [_, idle, _] = self.lifetimes;
        match grant.may_refresh {
            true => self.left(grant, idle),
            false => self.first_time_to_live(grant),
        }
    }

    /// Returns the time to live of a grant whose client has not been answered yet.
    fn first_time_to_live(&self, grant: &Grant) -> Duration {
        const MORE: Duration = Duration::from_secs(600);
        let [access_token, ..] = self.lifetimes;
        self.left(grant, access_token.saturating_add(MORE))
    }

    fn left(&self, grant: &Grant, most: Duration) -> Duration {
        let left = grant.ends_at.saturating_sub(self.clock.now());
        Duration::from_secs(left.min(most.as_secs()))
    }
}
