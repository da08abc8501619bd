//! The steps of a refresh.
//!
//! They are the role of the presented token, the scopes, Entra's own tokens, one compare-and-swap,
//! the operator's ends, the response. A refresh that another one overtook begins again from the
//! record. If the store does not say whether it wrote, the client holds the current token or its
//! parent, and can repeat the refresh with either.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::super::super::users::{demand_of, keep_demand, remove_demand};
use super::super::super::{Attempt, Grant, RefreshToken, grant_key};
use super::super::issuer::tokens;
use super::super::{FoundGrant, Grants};
use super::{Arrival, HeldRefreshLock, IMPATIENT, PATIENCE, Plan, Role, Situation};
use crate::crypto::is_same;
use crate::entra::NoTokens;
use crate::limits::RateLimiter;
use crate::oauth::{ErrorCode, OAuthError};
use crate::telemetry::{Event, Served, count, record};

/// Maximum number of attempts at a refresh while other instances change the grant.
const MAX_ROUNDS: usize = 4;

/// A refresh request of an authenticated client.
struct Request<'r> {
    client_id: &'r str,
    /// Hash of the client's id.
    client: &'r str,
    token: &'r RefreshToken,
    /// The scopes that the client wants. `None` means all of them.
    scope: Option<&'r str>,
}

/// Replaces a client's refresh token by the next one, and issues tokens for its grant.
///
/// `has_secret` says whether the client proved itself by a secret.
pub(in super::super) async fn refresh(
    grants: &Grants,
    (client_id, client, has_secret): (&str, &str, bool),
    token: &RefreshToken,
    scope: Option<&str>,
    rate_limiter: &RateLimiter,
) -> Result<Value, OAuthError> {
    let request = &Request {
        client_id,
        client,
        token,
        scope,
    };
    let id = &*request.token.grant;
    record("grant", id);
    let arrived_at = grants.clock.now();
    let lock = grants.refreshes.locks.of(id);
    let queued = lock.enter()?;
    let mut found = find(grants, request).await?;
    let rotations = queued.rotations_since();
    let arrival = Arrival::new(arrived_at, &found.grant, rotations, has_secret);
    check(grants, &found, request, arrival).await?;
    let role = |found: &FoundGrant| {
        let (grant, token) = (&found.grant, request.token);
        grants
            .refreshes
            .rotation
            .role(grant, token, arrival, &grants.stamps)
    };
    if role(&found) == Role::Dead {
        return Err(dead(grants, &found, arrival).await);
    }
    rate_limiter.admit(request.client, Some(id))?;
    let lock = queued.hold().await?;
    let mut is_known = !lock.has_waited();
    for _ in 0..MAX_ROUNDS {
        if !is_known {
            let again = find(grants, request).await;
            found = again.map_err(|error| lock.record_store_failure(error))?;
            check_numbers(grants, &found).await?;
        }
        check_scopes(grants, &found).await?;
        let replaces = match role(&found) {
            Role::Current | Role::Late => Some(request.token),
            Role::Repeated | Role::Dead => None,
        };
        if let Some(tokens) = attempt(grants, request, &mut found, replaces, &lock).await? {
            return Ok(tokens);
        }
        is_known = false;
    }
    Err(OAuthError::unavailable(None))
}

/// Does a refresh from the found record. Returns `None` if the record has changed meanwhile.
///
/// If `replaces` is set, a new token replaces the current one. Otherwise the client receives the
/// current one.
async fn attempt(
    grants: &Grants,
    request: &Request<'_>,
    found: &mut FoundGrant,
    replaces: Option<&RefreshToken>,
    lock: &HeldRefreshLock<'_>,
) -> Result<Option<Value>, OAuthError> {
    // Before any request to Entra and any change, so that a refused scope has no effect.
    let mut scopes = grants.downscoped(found, request.scope)?;
    let served = match renew(grants, found, lock).await? {
        Renewal::NotDue if replaces.is_none() => Served::Again,
        Renewal::NotDue => Served::Held,
        Renewal::Postponed => Served::HeldInTrouble,
        Renewal::Renewed => {
            // Entra may have withdrawn a scope.
            scopes = grants.downscoped(found, request.scope)?;
            Served::Renewed
        }
        Renewal::Overtaken => return Ok(None),
    };
    let was_asked = matches!(served, Served::Renewed | Served::HeldInTrouble);
    if replaces.is_some() || was_asked {
        if !replace(grants, found, replaces, lock).await? {
            return Ok(None);
        }
        // The operator may have ended the sign-in while Entra or the store took its time.
        let standing = grants.users.standing(&found.grant.user, request.client);
        found.standing = standing
            .await
            .map_err(|error| lock.record_store_failure(error))?;
        check_numbers(grants, found).await?;
    }
    let tokens = tokens(grants, request.client_id, found, &scopes)?;
    count(Event::Refresh(served));
    Ok(Some(tokens))
}

/// Reads the grant of a client's refresh token.
async fn find(grants: &Grants, request: &Request<'_>) -> Result<FoundGrant, OAuthError> {
    let id = &request.token.grant;
    let owner = grants.owners.get(id);
    let found = grants
        .users
        .grant_and_standing(id, request.client, owner.as_deref());
    let found = found.await?;
    let (grant, stored, standing) =
        found.ok_or_else(|| OAuthError::invalid_grant("the sign-in has ended"))?;
    if owner.is_none() {
        let owner = Arc::from(&*standing.user_key);
        grants.owners.insert(id.clone(), owner);
    }
    Ok(FoundGrant {
        id: id.clone(),
        grant,
        stored,
        standing,
        met: None,
    })
}

/// Checks that the grant belongs to the client, and that it lasted until the request arrived.
async fn check(
    grants: &Grants,
    found: &FoundGrant,
    request: &Request<'_>,
    arrival: Arrival,
) -> Result<(), OAuthError> {
    let grant = &found.grant;
    let invalid = |text| Err(OAuthError::invalid_grant(text));
    if !is_same(&grant.client, request.client) {
        return invalid("the refresh token belongs to another client");
    }
    match grant.ends_at {
        0 => return invalid("the sign-in has ended"),
        end if arrival.at >= end => return invalid("the sign-in has reached its maximum lifetime"),
        _ => {}
    }
    let [_, idle, _] = grants.lifetimes;
    if grants.stamps.is_older(grant.rotated(), idle, arrival.at) {
        return invalid("the sign-in was not used for too long");
    }
    check_numbers(grants, found).await
}

/// Checks that no operator has ended the sign-in, and removes it otherwise.
async fn check_numbers(grants: &Grants, found: &FoundGrant) -> Result<(), OAuthError> {
    if found.standing.numbers == found.grant.numbers {
        return Ok(());
    }
    // It has ended already. This removes Entra's tokens from the store.
    grants.end(&found.id).await?;
    Err(OAuthError::invalid_grant(
        "an administrator of this server has ended the sign-in",
    ))
}

/// Checks that the user agreed to all scopes that are required today, and ends the sign-in
/// otherwise.
async fn check_scopes(grants: &Grants, found: &FoundGrant) -> Result<(), OAuthError> {
    let FoundGrant { id, grant, .. } = found;
    let checked = grants.check_scopes(grant);
    if checked.is_err() {
        // The user has not agreed to that scope. The client must begin another sign-in.
        tracing::info!(
            client = grant.client,
            grant = id,
            "a sign-in ends because its user was not asked for a scope that is now required"
        );
        grants.end(id).await?;
    }
    checked
}

/// Returns the error for a dead token, whose sign-in ends unless its client has a secret.
async fn dead(grants: &Grants, found: &FoundGrant, arrival: Arrival) -> OAuthError {
    let replaced = OAuthError::invalid_grant("the refresh token has already been replaced");
    let grant = &found.id;
    if arrival.has_secret() {
        tracing::info!(
            grant,
            "a rotated refresh token of a client with a secret was refused; its sign-in continues"
        );
        return replaced;
    }
    count(Event::RefreshTokenReused);
    tracing::warn!(
        grant,
        "a rotated refresh token was used again; its sign-in ends"
    );
    match grants.end(grant).await {
        Ok(_) => replaced,
        Err(error) => error.into(),
    }
}

/// Result of the renewal of Entra's tokens.
enum Renewal {
    /// The tokens are valid for long enough, or a request for new ones failed a moment ago.
    NotDue,
    Renewed,
    /// The tokens are still valid, and their renewal at Entra failed.
    Postponed,
    /// Another request has changed the grant. Its result is used.
    Overtaken,
}

/// Renews Entra's tokens of a grant, if the [`Plan`] says so.
///
/// Ends the grant if Entra or the Layer refuses the sign-in, unless another request has changed the
/// grant meanwhile.
async fn renew(
    grants: &Grants,
    found: &mut FoundGrant,
    lock: &HeldRefreshLock<'_>,
) -> Result<Renewal, OAuthError> {
    let demanded = demand_of(&grants.users, &found.standing);
    let situation = Situation {
        tokens: &found.grant.upstream,
        attempt: found.grant.attempt,
        is_demanded: demanded.is_some(),
        // A token does not outlive the sign-in.
        lifetime: grants.left(&found.grant, grants.lifetimes[0]),
        skew: grants.skew,
    };
    let now = grants.clock.now();
    let patience = situation.can_hold(now).then_some(PATIENCE);
    match situation.plan(now) {
        Plan::Hold => return Ok(Renewal::NotDue),
        Plan::Refuse(left) => return Err(OAuthError::unavailable(Some(left))),
        Plan::Ask => {}
    }
    let Grant {
        user,
        upstream,
        names,
        ..
    } = &found.grant;
    let of = (user, upstream);
    let renewed = grants
        .entra
        .renew(of, names, (demanded.as_deref(), patience), &found.id)
        .await;
    let now = grants.clock.now();
    match renewed {
        Ok((user, upstream)) => {
            let FoundGrant { grant, met, .. } = found;
            (grant.user, grant.upstream, *met) = (user, upstream, demanded);
            grant.attempt = Some(Attempt {
                at: now,
                has_failed: false,
                wait: 0,
            });
            Ok(Renewal::Renewed)
        }
        Err(NoTokens::Failed(error)) => {
            let can_hold = situation.can_hold(now);
            let wait = error.wait().unwrap_or_default();
            found.grant.attempt = Some(Attempt {
                at: now,
                has_failed: true,
                wait: wait.as_secs(),
            });
            match can_hold {
                true => Ok(Renewal::Postponed),
                // The others that wait read the attempt.
                false if replace(grants, found, None, lock).await? => Err(put_off(error, wait)),
                false => Ok(Renewal::Overtaken),
            }
        }
        Err(over) => {
            if !end_unchanged(grants, found, lock).await? {
                return Ok(Renewal::Overtaken);
            }
            Err(match over {
                NoTokens::Demanded(claims) => {
                    // The claims are kept for the next sign-in, which this error starts.
                    keep_demand(&grants.users, &found.standing, &claims).await;
                    OAuthError::invalid_grant(
                        "Microsoft Entra requires more of the user than the sign-in has; sign in \
                         again",
                    )
                }
                NoTokens::Denied(error) | NoTokens::Failed(error) => error.into_invalid_grant(),
            })
        }
    }
}

/// Returns the error of a request to Entra, with the time until the next one.
fn put_off(error: OAuthError, wait: Duration) -> OAuthError {
    match error.code() {
        ErrorCode::TemporarilyUnavailable => {
            error.retry_after(wait.max(Duration::from_secs(IMPATIENT)))
        }
        _ => error,
    }
}

/// Writes a refreshed grant, and returns whether it was written.
///
/// If `replaces` is set, the next token replaces the current one. Writes nothing if another request
/// changed the grant first. If an earlier version made the grant without a reference, adds the
/// reference first.
async fn replace(
    grants: &Grants,
    found: &mut FoundGrant,
    replaces: Option<&RefreshToken>,
    lock: &HeldRefreshLock<'_>,
) -> Result<bool, OAuthError> {
    if !found.grant.is_referred_to {
        let (standing, id) = (&found.standing, &found.id);
        found.grant.is_referred_to = grants.users.adopt(standing, id, &found.grant).await;
    }
    let before = found.grant.current;
    if let Some(token) = replaces {
        let now = grants.clock.now();
        grants
            .refreshes
            .rotation
            .rotate(&mut found.grant, token, now, &grants.stamps);
    }
    let (key, ttl) = (grant_key(&found.id), grants.time_to_live(&found.grant));
    let stored = found.stored.clone();
    let replaced = grants.records.swap(&key, stored, &found.grant, ttl).await;
    let replaced = replaced.map_err(|error| lock.record_store_failure(error))?;
    if !replaced {
        return Ok(false);
    }
    if let Some(token) = replaces {
        lock.record_rotation();
        warn_of_lost_write(&found.id, token.number, before);
    }
    if let Some(sent) = &found.met {
        remove_demand(&grants.users, &found.standing, Some(sent)).await;
    }
    Ok(true)
}

/// Logs a presented token that is later than the stored one.
fn warn_of_lost_write(grant: &str, presented: u32, stored: u32) {
    if presented > stored {
        count(Event::LostWrite);
        tracing::warn!(
            grant,
            presented,
            stored,
            "a refresh token is later than the stored one: the store has lost a write, perhaps \
             because a backup was restored; the token counted as the current one"
        );
    }
}

/// Ends a grant, unless another request has changed it. Returns whether it ended.
async fn end_unchanged(
    grants: &Grants,
    found: &mut FoundGrant,
    lock: &HeldRefreshLock<'_>,
) -> Result<bool, OAuthError> {
    /// Time for which an ended grant may stay in the store, if it cannot be removed.
    const ENDED: Duration = Duration::from_secs(60);

    found.grant.end();
    let key = grant_key(&found.id);
    let swapped = grants
        .records
        .swap(&key, found.stored.clone(), &found.grant, ENDED);
    let ended = swapped
        .await
        .map_err(|error| lock.record_store_failure(error))?;
    if ended {
        // Nobody can use it any more.
        let _ = grants.end(&found.id).await;
    }
    Ok(ended)
}
