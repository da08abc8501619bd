//! Challenges of this server's callers by the routes behind it: kept as their users' open demands, so that
//! the next refresh sends them to Entra. Most clients refresh after a 401, and send no `claims`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tower_entra_auth::{Caller, ClaimsChallenge};
use tracing::Instrument as _;

use crate::engine::Lifetimes;
use crate::oauth::claims_request;
use crate::proxy::{Inner, seconds};
use crate::store::Records;
use crate::tokens::ending::Standing;
use crate::tokens::standing::UserStanding;
use crate::tokens::users::{Users, user_key};

/// The challenges of this process that are not met yet, by user and client: at hand for the refresh that
/// comes before the store has them.
///
/// It has what it needs of the proxy, not the proxy: the Layer has it, and may be there alone.
pub(crate) struct Challenges {
    open: Cache<(String, String), Challenged>,
    issuer: String,
    records: Records,
    users: Arc<Users>,
    clock: Clock,
    tasks: TaskTracker,
    /// The places for writes to the store.
    writes: Arc<Semaphore>,
}

type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

#[derive(Clone)]
struct Challenged {
    claims: Arc<str>,
    written: Instant,
}

impl Challenges {
    /// The most users and clients that are known at once. What is pushed out is in the store.
    const MOST: u64 = 10_000;

    /// The least time between two writes of one challenge: routes give it with every request until the client
    /// has refreshed.
    const INTERVAL: Duration = Duration::from_secs(30);

    /// The most writes at a time.
    const WRITES: usize = 64;

    pub(crate) fn new(
        (issuer, records, users): (&str, &Records, &Arc<Users>),
        clock: Clock,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            issuer: issuer.to_owned(),
            records: records.clone(),
            users: Arc::clone(users),
            clock,
            tasks,
            open: Cache::builder()
                .eviction_policy(EvictionPolicy::lru())
                .max_capacity(Self::MOST)
                .time_to_live(Duration::from_secs(Lifetimes::SIGN_IN))
                .build(),
            writes: Arc::new(Semaphore::new(Self::WRITES)),
        }
    }

    /// Adds a challenge to what is open, and returns all of it if it is to be written.
    fn add(&self, key: &str, client: &str, claims: &str) -> Option<Arc<str>> {
        let entry = (key.to_owned(), client.to_owned());
        let before = self.open.get(&entry);
        let now = Instant::now();
        let claims: Arc<str> = match before {
            Some(before) if claims_request::carries(Some(&before.claims), claims) => {
                if now.duration_since(before.written) < Self::INTERVAL {
                    return None;
                }
                before.claims
            }
            Some(before) => claims_request::merged(&before.claims, claims)
                .filter(|both| both.len() <= UserStanding::MOST_CLAIMS)
                .map_or_else(|| claims.into(), Into::into),
            None => claims.into(),
        };
        let challenged = Challenged {
            claims: Arc::clone(&claims),
            written: now,
        };
        self.open.insert(entry, challenged);
        Some(claims)
    }

    fn of(&self, key: &str, client: &str) -> Option<Arc<str>> {
        let challenged = self.open.get(&(key.to_owned(), client.to_owned()));
        challenged.map(|challenged| challenged.claims)
    }

    /// Removes a challenge that Entra has met where these claims were sent.
    pub(crate) fn forget(&self, key: &str, client: &str, sent: Option<&str>) {
        let open = self.of(key, client);
        if open.is_some_and(|open| claims_request::carries(sent, &open)) {
            self.open.invalidate(&(key.to_owned(), client.to_owned()));
        }
    }

    /// Keeps the challenge of a caller as the open demand on its user, by its client.
    pub(crate) fn challenged(&self, caller: &Caller, challenge: &ClaimsChallenge) {
        let (Some(user), Some(client)) = (caller.object_id(), caller.registered_client()) else {
            return;
        };
        if challenge.json().len() > UserStanding::MOST_CLAIMS {
            tracing::warn!("a challenge is too long to be kept for its caller's next refresh");
            return;
        }
        let ids = [caller.tenant_id().to_string(), user.to_string()];
        let key = user_key(&self.issuer, [&ids[0], &ids[1]]);
        if let Some(claims) = self.add(&key, client, challenge.json()) {
            self.write(key, client.to_owned(), claims);
        }
    }

    /// Writes what is open to the store. Who finds no place, or no runtime, is challenged again.
    fn write(&self, key: String, client: String, claims: Arc<str>) {
        let Ok(place) = Arc::clone(&self.writes).try_acquire_owned() else {
            return;
        };
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let (records, users) = (self.records.clone(), Arc::clone(&self.users));
        let clock = Arc::clone(&self.clock);
        let work = async move {
            let _place = place;
            let now = || seconds(clock());
            users
                .keep_demand(&records, now, (&key, &client), &claims)
                .await;
        };
        self.tasks.spawn_on(work.in_current_span(), &runtime);
    }
}

impl Inner {
    /// Returns what is demanded of a user by this client: in the store, and here.
    pub(crate) fn demanded(&self, standing: &Standing, key: &str, client: &str) -> Option<String> {
        let kept = standing.user.demand(client, self.now());
        let here = self.challenges.of(key, client);
        match (kept, here) {
            (Some(kept), Some(here)) => {
                claims_request::merged(kept, &here).or_else(|| Some(kept.to_owned()))
            }
            (kept, here) => kept
                .map(str::to_owned)
                .or(here.map(|here| here.to_string())),
        }
    }
}
