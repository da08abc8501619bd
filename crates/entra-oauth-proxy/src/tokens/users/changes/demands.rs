//! Pending claims challenges for a user's next sign-in or refresh by a client.
//!
//! They come from Entra, and from the routes behind this server. The server keeps the challenge of
//! a route, so that the next refresh sends it to Entra. Most clients refresh after a 401, and send
//! no `claims`.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tower_entra_auth::{Caller, refusal::ClaimsChallenge};
use tracing::Instrument as _;

use super::super::super::{MAX_DEMAND, Standing};
use super::super::UserStanding;
use super::{Challenged, Change, Users, standing_key};
use crate::oauth::{carries_claims, merge_claims};

/// Minimum time between two writes of the same challenge.
///
/// Routes issue a challenge with every request until the client has refreshed.
const INTERVAL: Duration = Duration::from_secs(30);

/// Returns the pending claims challenge, merged from the store and this process.
pub(crate) fn demand_of(users: &Users, standing: &Standing) -> Option<String> {
    let kept = standing.demand.as_deref();
    let here = challenge(users, &standing.user_key, &standing.client);
    match (kept, here) {
        (Some(kept), Some(here)) => merge_claims(kept, &here).or_else(|| Some(kept.to_owned())),
        (kept, here) => kept
            .map(str::to_owned)
            .or(here.map(|here| here.to_string())),
    }
}

/// Stores the claims that Entra demands of the next sign-in.
pub(crate) async fn keep_demand(users: &Users, standing: &Standing, claims: &str) {
    let of = (&*standing.user_key, &*standing.client);
    keep(users, of, claims).await;
}

/// Removes the pending claims challenge if Entra has met it with these claims.
///
/// A challenge that was added meanwhile stays.
pub(crate) async fn remove_demand(users: &Users, standing: &Standing, sent: Option<&str>) {
    let (user, client) = (&*standing.user_key, &*standing.client);
    let open = challenge(users, user, client);
    if open.is_some_and(|open| carries_claims(sent, &open)) {
        users
            .challenges
            .invalidate(&(user.to_owned(), client.to_owned()));
    }
    remove(users, (user, client), sent).await;
}

/// Keeps the challenge of a route as a pending claims challenge for the caller's user and client.
pub(crate) fn keep_challenge(users: &Arc<Users>, caller: &Caller, challenge: &ClaimsChallenge) {
    let (Some(user), Some(client)) = (caller.object_id(), caller.registered_client()) else {
        return;
    };
    if challenge.json().len() > MAX_DEMAND {
        tracing::warn!("a claims challenge is too long to store for its caller's next refresh");
        return;
    }
    let ids = [caller.tenant_id().to_string(), user.to_string()];
    let user = users.key([&ids[0], &ids[1]]);
    let permit = Arc::clone(&users.challenge_writes).try_acquire_owned();
    let means = permit.ok().zip(Handle::try_current().ok());
    let claims = add(users, &user, client, challenge.json(), means.is_some());
    if let (Some(claims), Some(means)) = (claims, means) {
        write(users, user, client.to_owned(), claims, means);
    }
}

fn challenge(users: &Users, user: &str, client: &str) -> Option<Arc<str>> {
    let challenged = users.challenges.get(&(user.to_owned(), client.to_owned()));
    challenged.map(|challenged| challenged.claims)
}

/// Adds a challenge to the pending one, and returns both if they must be written to the store.
///
/// If they cannot be written now, the next challenge is written.
fn add(users: &Users, user: &str, client: &str, claims: &str, can_write: bool) -> Option<Arc<str>> {
    let entry = (user.to_owned(), client.to_owned());
    let before = users.challenges.get(&entry);
    let now = Instant::now();
    let claims: Arc<str> = match before {
        Some(before) if carries_claims(Some(&before.claims), claims) => {
            let written = before.written;
            if written.is_some_and(|written| now.duration_since(written) < INTERVAL) {
                return None;
            }
            before.claims
        }
        Some(before) => merge_claims(&before.claims, claims)
            .filter(|both| both.len() <= MAX_DEMAND)
            .map_or_else(|| claims.into(), Into::into),
        None => claims.into(),
    };
    let challenged = Challenged {
        claims: Arc::clone(&claims),
        written: can_write.then_some(now),
    };
    users.challenges.insert(entry, challenged);
    can_write.then_some(claims)
}

/// Writes a pending claims challenge to the store in a task, with a permit, on a runtime.
fn write(
    users: &Arc<Users>,
    user: String,
    client: String,
    claims: Arc<str>,
    (permit, runtime): (OwnedSemaphorePermit, Handle),
) {
    let tasks = users.tasks.clone();
    let users = Arc::clone(users);
    let work = async move {
        let _permit = permit;
        keep(&users, (&user, &client), &claims).await;
    };
    tasks.spawn_on(work.in_current_span(), &runtime);
}

/// Stores the claims that Entra or a route demands of this user's next sign-in by this client.
async fn keep(users: &Users, (user, client): (&str, &str), claims: &str) {
    let key = standing_key(user);
    let kept = users.change(&key, |record: &mut UserStanding, now| {
        let is_kept = record.add_demand(client, claims, now);
        Change::made_if(is_kept, is_kept)
    });
    match kept.await {
        Ok(true) => {}
        Ok(false) => {
            tracing::warn!("a claims challenge is too long to store for the next sign-in");
        }
        Err(error) => {
            tracing::warn!(%error, "a claims challenge for the next sign-in was not stored");
        }
    }
}

/// Removes the stored claims challenge if Entra has met it with these claims.
///
/// A challenge that was added meanwhile stays.
async fn remove(users: &Users, (user, client): (&str, &str), sent: Option<&str>) {
    let key = standing_key(user);
    let removed = users.change(&key, |record: &mut UserStanding, now| {
        let demand = record.demand(client, now);
        let is_met = demand.is_some_and(|demanded| carries_claims(sent, demanded));
        if is_met {
            record.remove_demand(client);
        }
        Change::made_if(is_met, ())
    });
    if let Err(error) = removed.await {
        tracing::warn!(%error, "the next sign-in repeats a claims challenge that is already met");
    }
}
