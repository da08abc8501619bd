//! Refreshes of a grant, one at a time.
//!
//! Each use of a refresh token replaces it. If Entra's own token is about to expire, this server
//! renews it first.

use std::sync::Arc;

use serde_json::Value;

use super::super::users::{demand_of, keep_demand, remove_demand};
use super::super::{HeldRefreshLock, RefreshToken, Rotation, grant_key};
use super::issuer::tokens;
use super::{FoundGrant, Grant, Grants};
use crate::entra::NoTokens;
use crate::limits::RateLimiter;
use crate::oauth::OAuthError;
use crate::store::StoreError;
use crate::telemetry::{Event, Served, count, record};

/// Maximum number of attempts at a refresh while other instances change the grant.
const MAX_ROUNDS: usize = 4;

/// Replaces a client's refresh token by the next one, and issues tokens for its grant.
pub(super) async fn refresh(
    grants: &Grants,
    (client_id, client): (&str, &str),
    token: &RefreshToken,
    scope: Option<&str>,
    rate_limiter: &RateLimiter,
) -> Result<Value, OAuthError> {
    let id = &*token.grant;
    record("grant", id);
    // The time of arrival decides, so that the wait for the lock does not make the request late.
    let arrived_at = grants.clock.now();
    let lock = grants.locks.of(id);
    let lock = lock.hold().await?;
    for round in 0..MAX_ROUNDS {
        let (mut grant, rotation) = find(grants, token, client, arrived_at, &lock).await?;
        // The rate limit does not apply to a stolen token.
        if round == 0 && rotation != Rotation::Stolen {
            rate_limiter.admit(client, Some(id))?;
        }
        let current = match rotation {
            Rotation::Next => Some(token),
            Rotation::Again => None,
            // The token was valid on arrival. Other requests have replaced it more than once since
            // then.
            Rotation::Stolen if round > 0 => None,
            Rotation::Stolen => {
                count(Event::RefreshTokenReused);
                tracing::warn!(
                    grant = id,
                    "a rotated refresh token was used again; its sign-in ends"
                );
                grants.end(id).await?;
                return Err(OAuthError::invalid_grant(
                    "the refresh token has already been replaced",
                ));
            }
        };
        check(grants, &grant).await?;
        // Before any request to Entra and any change, so that a refused scope has no effect.
        let mut scopes = grants.downscoped(&grant, scope)?;

        let served = match renew(grants, &mut grant, &lock).await? {
            Renewal::NotDue if current.is_none() => Served::Again,
            Renewal::NotDue => Served::Held,
            Renewal::Postponed => Served::HeldInTrouble,
            Renewal::Renewed => {
                // Entra may have withdrawn a scope.
                scopes = grants.downscoped(&grant, scope)?;
                Served::Renewed
            }
            Renewal::Overtaken => continue,
        };
        // A repeated token already has its successor and its grace period.
        let is_changed = current.is_some() || served == Served::Renewed;
        if is_changed && !replace(grants, &mut grant, current, &lock).await? {
            continue;
        }
        let tokens = tokens(grants, client_id, &grant, &scopes)?;
        count(Event::Refresh(served));
        return Ok(tokens);
    }
    Err(OAuthError::unavailable(None))
}

/// Result of the renewal of Entra's tokens.
enum Renewal {
    /// The tokens are valid for long enough.
    NotDue,
    Renewed,
    /// The tokens are still valid, and their renewal at Entra failed.
    Postponed,
    /// Entra or the Layer refused the sign-in, but another request changed the grant first.
    ///
    /// Its result is used.
    Overtaken,
}

/// Reads the grant of a client's refresh token, and decides what to do with the token.
async fn find(
    grants: &Grants,
    token: &RefreshToken,
    client: &str,
    arrived_at: u64,
    lock: &HeldRefreshLock<'_>,
) -> Result<(FoundGrant, Rotation), OAuthError> {
    let id = &token.grant;
    let owner = grants.owners.get(id);
    let found = grants
        .users
        .grant_and_standing(id, client, owner.as_deref());
    let found = found
        .await
        .map_err(|error| lock.record_store_failure(error))?;
    let (grant, stored, standing) =
        found.ok_or_else(|| OAuthError::invalid_grant("the sign-in has ended"))?;
    if owner.is_none() {
        let owner = Arc::from(&*standing.user_key);
        grants.owners.insert(id.clone(), owner);
    }
    let arrival = (arrived_at, lock.was_overtaken());
    let rotation = grants.rotations.decide(&grant, token, client, arrival)?;
    let found = FoundGrant {
        id: id.clone(),
        grant,
        stored,
        standing,
        met: None,
    };
    Ok((found, rotation))
}

/// Checks that the sign-in may continue, and ends it otherwise.
///
/// It may not continue if an operator ended it, or if the user did not agree to all scopes that are
/// required today.
async fn check(grants: &Grants, found: &FoundGrant) -> Result<(), OAuthError> {
    let FoundGrant {
        id,
        grant,
        standing,
        ..
    } = found;
    let checked = match standing.numbers == grant.numbers {
        true => grants.check_scopes(grant).inspect_err(|_| {
            // The user has not agreed to that scope. The client must begin another sign-in.
            tracing::info!(
                client = grant.client,
                grant = id,
                "a sign-in ends because its user was not asked for a scope that is now required"
            );
        }),
        false => Err(OAuthError::invalid_grant("the sign-in has ended")),
    };
    if checked.is_err() {
        grants.end(id).await?;
    }
    checked
}

/// Renews Entra's tokens of a grant if they are about to expire, or if a claims challenge is
/// pending.
///
/// If Entra failed while this request waited for the lock, this request shares the failure and
/// sends no request. Ends the grant if Entra or the Layer refuses the sign-in.
async fn renew(
    grants: &Grants,
    found: &mut FoundGrant,
    lock: &HeldRefreshLock<'_>,
) -> Result<Renewal, OAuthError> {
    let FoundGrant {
        id,
        grant,
        standing,
        met,
        ..
    } = found;
    let demanded = demand_of(&grants.users, standing);
    let of = (&grant.user, &grant.upstream);
    let (names, failed) = (&grant.names, lock.failure());
    let has_failed = failed.is_some();
    let renewed = grants
        .entra
        .renew(of, names, demanded.as_deref(), failed, id);
    let failed = match renewed.await {
        Ok(None) => return Ok(Renewal::NotDue),
        Ok(Some((user, upstream))) => {
            (grant.user, grant.upstream, *met) = (user, upstream, demanded);
            return Ok(Renewal::Renewed);
        }
        Err(NoTokens::Failed(error)) => {
            if !has_failed {
                lock.record_failure(error.clone());
            }
            error
        }
        Err(over) => {
            // The claims are kept for the next sign-in, which this error starts.
            if let NoTokens::Demanded(claims) = over {
                keep_demand(&grants.users, standing, &claims).await;
            }
            if !is_unchanged(grants, found).await? {
                return Ok(Renewal::Overtaken);
            }
            grants.end(&found.id).await?;
            return Err(OAuthError::invalid_grant("the sign-in has ended"));
        }
    };
    // While Entra's own token is valid, the user stays signed in.
    match grant.upstream.left(grants.clock.now()) > 0 {
        true => Ok(Renewal::Postponed),
        false => Err(failed),
    }
}

/// Writes a refreshed grant, and returns whether it was written.
///
/// If `current` is set, replaces this refresh token by the next one. Writes nothing if another
/// request changed the grant first. If an earlier version made the grant without a reference, adds
/// the reference first.
async fn replace(
    grants: &Grants,
    found: &mut FoundGrant,
    current: Option<&RefreshToken>,
    lock: &HeldRefreshLock<'_>,
) -> Result<bool, OAuthError> {
    if !found.grant.is_referred_to {
        let (standing, id) = (&found.standing, &found.id);
        found.grant.is_referred_to = grants.users.adopt(standing, id, &found.grant).await;
    }
    if let Some(token) = current {
        grants
            .rotations
            .rotate(&mut found.grant, token, grants.clock.now());
    }
    let (key, ttl) = (grant_key(&found.id), grants.time_to_live(&found.grant));
    let stored = found.stored.clone();
    let replaced = grants.records.swap(&key, stored, &found.grant, ttl).await;
    let replaced = replaced.map_err(|error| {
        current.inspect(|token| grants.rotations.mark_uncertain(token));
        lock.record_store_failure(error)
    })?;
    if replaced {
        if let Some(sent) = &found.met {
            remove_demand(&grants.users, &found.standing, Some(sent)).await;
        }
        if let Some(token) = current {
            grants.rotations.mark_certain(token);
            lock.record_rotation();
        }
    }
    Ok(replaced)
}

/// Returns whether the grant is still stored unchanged.
async fn is_unchanged(grants: &Grants, found: &FoundGrant) -> Result<bool, StoreError> {
    let (grant, stored) = grants.records.get::<Grant>(&grant_key(&found.id)).await?;
    Ok(grant.is_some() && stored == found.stored)
}
