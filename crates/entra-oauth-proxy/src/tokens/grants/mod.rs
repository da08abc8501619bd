//! The grants in the store.
//!
//! A sign-in writes the reference to its grant first, and then the grant. The end of a grant leaves
//! the reference. A process that stops in between therefore leaves a reference to nothing, but
//! never a grant without a reference. A reference to nothing is removed when the user has too many
//! references, or when it expires.
//!
//! No sign-in is ended for a new one before the new one is complete. The older grant is removed
//! first, and its reference with the next change of the record.

mod issuer;
mod refresh;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use serde_json::Value;

pub(crate) use self::issuer::room_for_claims;
use self::refresh::Refreshes;
use super::users::{demand_of, remove_demand};
use super::{
    Attempt, CODE_LIFETIME, Grant, REPEATED, RefreshToken, SignedIn, Stamps, Standing, Users,
    grant_key,
};
use crate::crypto::{hash, is_same, random_text};
use crate::entra::{Entra, EntraTokens, NoTokens, User};
use crate::keys::{Keyring, Unreadable};
use crate::limits::RateLimiter;
use crate::oauth::{GrantedScopes, OAuthError, Scopes, carries_claims};
use crate::store::{Records, StoreError};
use crate::telemetry::record;
use crate::time::Clock;

/// The grants in the store, and all operations on them.
pub(crate) struct Grants {
    records: Records,
    users: Arc<Users>,
    entra: Arc<Entra>,
    scopes: Arc<Scopes>,
    keys: Arc<Keyring>,
    /// URL of this server.
    issuer: String,
    resource: String,
    /// Lifetime of this server's access tokens; `None` if clients receive Entra's.
    issued_lifetime: Option<Duration>,
    clock: Clock,
    stamps: Stamps,
    /// Maximum difference between two clocks, in seconds.
    skew: u64,
    /// Maximum lifetimes: of an access token, of a grant without a refresh, and of a grant with
    /// refreshes.
    lifetimes: [Duration; 3],
    refreshes: Refreshes,
    /// Last part of the keys of a user's records, by grant. It never changes.
    owners: Cache<String, Arc<str>>,
}

/// A grant that is in the store, with the state of its user and client.
struct FoundGrant {
    id: String,
    grant: Grant,
    stored: Option<Bytes>,
    standing: Standing,
    /// The pending claims challenge that Entra has met.
    met: Option<String>,
}

impl Grants {
    /// Maximum number of grants in `owners`.
    const MAX_OWNERS: u64 = 100_000;

    /// Builds the grants from the settings.
    ///
    /// `issuer` and `resource` are the URLs of this server and of the resource. `skew` is the
    /// maximum difference between two clocks, in seconds. `lifetimes` are those of an access token,
    /// of a grant without a refresh, and of a grant with refreshes. `grace` is the grace period of
    /// a refresh token. `is_shared` says whether processes of a client with a secret may share a
    /// sign-in.
    pub(crate) fn new(
        (records, users, keys): (Records, Arc<Users>, Arc<Keyring>),
        (entra, scopes): (Arc<Entra>, Arc<Scopes>),
        (issuer, resource, issues_tokens): (&str, &str, bool),
        (clock, skew): (Clock, u64),
        lifetimes: [Duration; 3],
        (grace, is_shared): (Duration, bool),
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
            refreshes: Refreshes::new(grace, is_shared),
            clock,
            stamps: Stamps::new(skew),
            skew,
            lifetimes,
            owners: owners.max_capacity(Self::MAX_OWNERS).build(),
        }
    }

    /// Admits a user who signed in at Entra, within the rate limit.
    ///
    /// Compares the user's pending claims challenge with the claims that were sent to Entra. If
    /// Entra has not met the challenge, and `may_demand` is set, the result is the error
    /// [`NoTokens::Demanded`]. Otherwise `keep` stores the data for the grant, for the lifetime of a
    /// code. A challenge that was met stays pending until then.
    pub(crate) async fn sign_in<K: Future<Output = Result<(), StoreError>>>(
        &self,
        client: &str,
        (user, upstream): (User, EntraTokens),
        (sent, may_demand): (Option<&str>, bool),
        rate_limiter: &RateLimiter,
        keep: impl FnOnce(SignedIn, Duration) -> K,
    ) -> Result<(), NoTokens> {
        // Before the request to the store.
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
            issued_at: self.clock.now(),
            issued_by: self.stamps.process().to_owned(),
        };
        keep(signed_in, CODE_LIFETIME)
            .await
            .map_err(OAuthError::from)?;
        if is_met == Some(true) {
            remove_demand(&self.users, &standing, sent).await;
        }
        Ok(())
    }

    /// Makes a grant from a code, marks the code as used, and issues the first tokens.
    ///
    /// `use_code` marks the code, with the id of the grant and the random name of this process.
    /// Returns `None` if another request has used the code. The grant is then removed again.
    ///
    /// The grant is written before the code is marked. A second use of the code therefore ends the
    /// grant, even before the first request is answered.
    pub(crate) async fn create<U: Future<Output = Result<bool, StoreError>>>(
        &self,
        (client_id, client, may_refresh): (&str, &str, bool),
        scopes: &GrantedScopes,
        signed_in: &SignedIn,
        use_code: impl FnOnce(String, String) -> U,
    ) -> Result<Option<Value>, OAuthError> {
        let issued = (signed_in.issued_at, &*signed_in.issued_by);
        let now = self.clock.now();
        // The store also removes the code, but perhaps late. A code of an earlier version has no
        // time.
        if issued.0 > 0 && self.stamps.is_older(issued, CODE_LIFETIME, now) {
            return Err(OAuthError::invalid_grant(
                "the code is more than a minute old",
            ));
        }
        let found = self.add((client, may_refresh), scopes, signed_in).await?;
        let process = self.stamps.process().to_owned();
        match use_code(found.id.clone(), process).await {
            Ok(true) => {}
            Ok(false) => {
                // This request wrote the grant. Even if another one has removed it, the reference
                // now points to nothing.
                self.end(&found.id).await?;
                self.users
                    .remove_reference(&found.standing, &found.id)
                    .await;
                return Ok(None);
            }
            // The code may be marked with this grant, and the client will send it again. Otherwise
            // the grant expires soon.
            Err(error) => return Err(error.into()),
        }
        self.confirm(&found).await?;
        let scopes = self.downscoped(&found, None)?;
        tracing::info!(client, grant = found.id, "a code was redeemed");
        issuer::tokens(self, client_id, &found, &scopes).map(Some)
    }

    /// Makes a grant, and writes it with the lifetime of its first access token.
    ///
    /// If the store fails after that, perhaps no client receives the grant. The lifetime is
    /// therefore short at first. An error leaves no usable grant.
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
            current: 0,
            parent: None,
            rotated_at: now,
            rotated_by: self.stamps.process().to_owned(),
            attempt: Some(Attempt {
                at: now,
                has_failed: false,
                wait: 0,
            }),
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

    /// Ends a grant if the store did not confirm that the grant was written.
    async fn abandon(&self, found: &FoundGrant) -> Result<(), StoreError> {
        // A grant that was not there may still be on its way to the store. It keeps its reference,
        // and ends like any other unused grant.
        if self.end(&found.id).await? {
            self.users
                .remove_reference(&found.standing, &found.id)
                .await;
        }
        Ok(())
    }

    /// Extends a grant to its full lifetime, before the client receives its tokens.
    ///
    /// First ends the longest unused grants of a user who has too many. The error means that this
    /// grant is one of them, or that it was removed.
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
            tracing::warn!(
                %error,
                "a user has more sign-ins than the limit until the next sign-in"
            );
            true
        });
        if !is_left {
            self.end(id).await?;
            return Err(OAuthError::invalid_grant(
                "the sign-in has ended: its user has reached the limit with later sign-ins",
            ));
        }
        if !grant.may_refresh {
            return Ok(());
        }
        let (key, ttl) = (grant_key(id), self.time_to_live(grant));
        let swapped = self.records.swap(&key, stored.clone(), grant, ttl);
        let is_there = match swapped.await {
            Ok(true) => true,
            // Another request with the same code may have extended it.
            Ok(false) => self.records.get::<Grant>(&key).await?.0.is_some(),
            Err(error) => {
                tracing::debug!(
                    %error,
                    grant = id,
                    "a sign-in gets its full lifetime only at its first refresh"
                );
                true
            }
        };
        let ended = || OAuthError::invalid_grant("the sign-in was ended");
        is_there.then_some(()).ok_or_else(ended)
    }

    /// Checks that the user agreed to all scopes that are required today, and that Entra granted
    /// them.
    ///
    /// If not, the sign-in must begin again, with the consent page.
    fn check_scopes(&self, grant: &Grant) -> Result<(), OAuthError> {
        let has_required = |names| self.scopes.has_required(names);
        match has_required(&grant.names) && has_required(grant.user.scopes()) {
            true => Ok(()),
            false => Err(OAuthError::invalid_grant(
                "this server requires more scopes than the user agreed to; sign in again",
            )),
        }
    }

    /// Returns the scopes of a grant's tokens, or the requested part of them.
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

    /// Replaces a client's refresh token by the next one, and issues tokens for its grant.
    ///
    /// The client is given by its id, the hash of its id, and whether it proved itself by a secret.
    pub(crate) async fn refresh(
        &self,
        client: (&str, &str, bool),
        token: &RefreshToken,
        scope: Option<&str>,
        rate_limiter: &RateLimiter,
    ) -> Result<Value, OAuthError> {
        refresh::refresh(self, client, token, scope, rate_limiter).await
    }

    /// Issues the first tokens of a grant again, for a client that did not receive them.
    ///
    /// `used` is the time at which the code was used, in seconds since 1970, and the process that
    /// handled it. Returns `None` if that is too long ago, or if the grant was refreshed or has
    /// ended meanwhile. The error says that it may be too long ago, by the clock of another process.
    pub(crate) async fn repeat(
        &self,
        (client_id, client): (&str, &str),
        id: &str,
        used: (u64, &str),
        rate_limiter: &RateLimiter,
    ) -> Result<Option<Value>, OAuthError> {
        let now = self.clock.now();
        if self.stamps.is_older(used, REPEATED, now) {
            return Ok(None);
        }
        if now.saturating_sub(used.0) > REPEATED.as_secs() {
            return Err(OAuthError::invalid_grant("the code was used before"));
        }
        let found = self.users.grant_and_standing(id, client, None).await?;
        let Some((grant, stored, standing)) = found else {
            return Ok(None);
        };
        let is_active = standing.numbers == grant.numbers && self.clock.now() < grant.ends_at;
        if grant.current > 0 || !is_active || !is_same(&grant.client, client) {
            return Ok(None);
        }
        rate_limiter.admit(client, None)?;
        let id = id.to_owned();
        let found = FoundGrant {
            id,
            grant,
            stored,
            standing,
            met: None,
        };
        record("grant", &found.id);
        // The first request may have ended before it did so.
        self.confirm(&found).await?;
        let scopes = self.downscoped(&found, None)?;
        tracing::info!(
            client,
            grant = found.id,
            "a code was redeemed again within seconds; its client receives the same grant's tokens"
        );
        issuer::tokens(self, client_id, &found, &scopes).map(Some)
    }

    /// Reads a refresh token, if this server made it.
    pub(crate) fn read_refresh_token(&self, text: &str) -> Result<RefreshToken, Unreadable> {
        issuer::read_refresh_token(&self.keys, text)
    }

    /// Ends a grant, and returns whether it existed.
    ///
    /// Its refresh token ends immediately, its access tokens with the Layer's next check.
    pub(crate) async fn end(&self, id: &str) -> Result<bool, StoreError> {
        self.records.remove(&grant_key(id)).await
    }

    /// Ends a grant for its client. A client cannot end the grant of another client.
    pub(crate) async fn revoke(&self, id: &str, client: &str) -> Result<(), OAuthError> {
        let (Some(grant), _) = self.records.get::<Grant>(&grant_key(id)).await? else {
            return Ok(());
        };
        if !is_same(&grant.client, client) {
            return Err(OAuthError::invalid_grant(
                "the token belongs to another client",
            ));
        }
        record("grant", id);
        tracing::info!(client, grant = id, "a sign-in was ended by its client");
        self.end(id).await?;
        Ok(())
    }

    /// Returns the time to live of a grant, from now on.
    ///
    /// Without refresh tokens, a grant lasts as long as its only access token.
    fn time_to_live(&self, grant: &Grant) -> Duration {
        let [_, idle, _] = self.lifetimes;
        match grant.may_refresh {
            true => self.left(grant, idle),
            false => self.first_time_to_live(grant),
        }
    }

    /// Returns the time to live of a grant whose client has not received its tokens yet.
    fn first_time_to_live(&self, grant: &Grant) -> Duration {
        const MORE: Duration = Duration::from_secs(600);
        let [access_token, ..] = self.lifetimes;
        self.left(grant, access_token.saturating_add(MORE))
    }

    /// Returns the remaining time of a sign-in, at most `most`.
    fn left(&self, grant: &Grant, most: Duration) -> Duration {
        let left = grant.ends_at.saturating_sub(self.clock.now());
        Duration::from_secs(left.min(most.as_secs()))
    }
}
