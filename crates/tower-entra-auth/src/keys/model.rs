//! Tests of the key store against a model that is too simple to be wrong.
//!
//! The tests run random schedules of responses of the key server and of requests, and check that no
//! forbidden state occurs.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use entra_jwt_core::KeySet;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::record::testing::{document, id};
use super::refresher::testing::{MAX_STALENESS, REFRESH_INTERVAL};
use super::{
    Fetch, FetchError, FetchFuture, FetchReason, Fetched, KeyLookup, KeyLookupError, KeyStore,
    Source, TrustedKey,
};
use crate::unavailable::Outage;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Every possible key, by its name and its material, each in a set of its own.
static MATERIALS: LazyLock<HashMap<(&str, u16), KeySet>> = LazyLock::new(|| {
    let each = NAMES
        .iter()
        .flat_map(|name| (1..=3).map(move |material| (*name, material)));
    each.map(|key| (key, document(&[key]))).collect()
});

/// A small random number generator (xorshift), so that a seed identifies a schedule.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Material of each published key, by name.
type Materials = HashMap<&'static str, u16>;

/// State and history of the key server.
#[derive(Default)]
struct World {
    published: Materials,
    is_down: bool,
    latency: Duration,
    fetches: Vec<(Instant, FetchReason)>,
    /// Arrival and content of each successful response, in the order of the fetches.
    answers: Vec<(Instant, Materials)>,
    /// Index in `fetches` of the fetch that received the last response.
    last_answered: Option<usize>,
}

struct Scripted(Arc<Mutex<World>>);

impl Fetch for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }

    fn fetch(&self, reason: FetchReason) -> FetchFuture<'_> {
        Box::pin(async move {
            let (number, published, is_down, latency) = {
                let mut world = self.0.lock().unwrap();
                let number = world.fetches.len();
                world.fetches.push((Instant::now(), reason));
                let published = world.published.clone();
                (number, published, world.is_down, world.latency)
            };
            sleep(latency).await;
            if is_down || published.is_empty() {
                return Err(FetchError::from(Outage::TimedOut));
            }
            let keys: KeySet = document(&published.clone().into_iter().collect::<Vec<_>>());
            let mut world = self.0.lock().unwrap();
            world.answers.push((Instant::now(), published));
            world.last_answered = Some(number);
            Ok(Fetched {
                keys: Arc::new(keys),
                is_unchanged: false,
                is_final: false,
                check_again_after: None,
            })
        })
    }
}

impl World {
    /// Returns the material of the key in the last response that has it, and the arrival of the
    /// first later response, which lacks it.
    fn last_seen(&self, name: &str) -> Option<(u16, Option<Instant>)> {
        let has = |(_, keys): &&(Instant, Materials)| keys.contains_key(name);
        let last = self.answers.iter().rposition(|answer| has(&answer))?;
        let absent_since = self.answers.get(last + 1).map(|(at, _)| *at);
        Some((self.answers[last].1[name], absent_since))
    }

    fn last_success(&self) -> Option<Instant> {
        self.answers.last().map(|(at, _)| *at)
    }

    /// Returns the material that the key must have, or `None` if the store must not trust the key
    /// now.
    fn expects(&self, name: &str, now: Instant) -> Option<u16> {
        if now.duration_since(self.last_success()?) >= MAX_STALENESS {
            return None;
        }
        let (material, absent_since) = self.last_seen(name)?;
        let is_alive =
            absent_since.is_none_or(|since| now.duration_since(since) < TrustedKey::ABSENT_FOR);
        is_alive.then_some(material)
    }
}

/// Lets every other task run until it waits.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

fn judge(store: &KeyStore, world: &World, schedule: u64) {
    let now = Instant::now();
    for name in NAMES {
        let found = store.find(&id(name), now);
        let expected = world.expects(name, now);
        let found_material = found.map(|key| {
            let is_this = |material: &u16| {
                let known = &MATERIALS[&(name, *material)];
                key.key().has_same_material(known.key(&id(name)).unwrap())
            };
            (1..=3).find(is_this).unwrap()
        });
        assert_eq!(found_material, expected, "key {name}, schedule {schedule}");
    }
    // Limit for every window of 30 s: two fetches from the full bucket, one from its refill, and
    // one that a request began because it was due.
    let on_demand: Vec<Instant> = world
        .fetches
        .iter()
        .filter(|(_, reason)| *reason == FetchReason::MissingKey)
        .map(|(at, _)| *at)
        .collect();
    for (index, start) in on_demand.iter().enumerate() {
        let within = |at: &&Instant| at.duration_since(*start) < Duration::from_secs(30);
        let count = on_demand[index..].iter().take_while(within).count();
        assert!(count <= 4, "{count} fetches in 30 s, schedule {schedule}");
    }
}

/// Outcome of a request whose key is not held.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Said {
    Found,
    Unknown,
    Pending,
    Unavailable,
}

async fn one_request(
    store: Arc<KeyStore>,
    world: Arc<Mutex<World>>,
    name: &'static str,
    schedule: u64,
) -> Said {
    let came = Instant::now();
    let fetches_before = world.lock().unwrap().fetches.len();
    let found = match store.look_up(&id(name), came) {
        KeyLookup::Ended(found) => found,
        KeyLookup::Pending(pending) => pending.wait().await,
    };
    let (now, world) = (Instant::now(), world.lock().unwrap());
    let of = format!("{name}, schedule {schedule}");
    assert!(now - came <= Duration::from_secs(3), "{of}: waits too long");
    match found {
        Ok(key) => {
            assert!(key.is_trusted(now), "{of}");
            Said::Found
        }
        Err(KeyLookupError::Unknown) => {
            assert!(world.expects(name, now).is_none(), "{of}: it is held");
            let answered = world.last_answered.is_some_and(|at| fetches_before <= at);
            assert!(answered, "{of}: no fetch since the request arrived");
            Said::Unknown
        }
        Err(KeyLookupError::Unavailable(Outage::KeyRefreshPending)) => {
            let wait = store.retry_after();
            let bounds = Duration::from_nanos(1)..=Duration::from_secs(30);
            assert!(bounds.contains(&wait), "{of}: {wait:?}");
            let (last, _) = world.fetches.last().unwrap();
            let is_recent = now - *last < Duration::from_secs(60);
            assert!(is_recent, "{of}: a fetch was possible");
            Said::Pending
        }
        Err(KeyLookupError::Unavailable(_)) => Said::Unavailable,
    }
}

/// Runs one schedule, and returns the number of fetches and the outcomes of the requests.
async fn one_schedule(schedule: u64) -> (usize, Vec<Said>) {
    let mut random = Random(schedule.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let world = Arc::new(Mutex::new(World::default()));
    let store = KeyStore::new(
        Source(Arc::new(Scripted(Arc::clone(&world)))),
        REFRESH_INTERVAL,
        MAX_STALENESS,
    );
    // The requests go on while keys change, attempts begin and end, and other requests arrive.
    let mut requests = JoinSet::new();
    for _ in 0..60 {
        match random.below(9) {
            0 => {
                let name = NAMES[random.below(5) as usize];
                let material = random.below(3) as u16 + 1;
                world.lock().unwrap().published.insert(name, material);
            }
            1 => {
                let name = NAMES[random.below(5) as usize];
                world.lock().unwrap().published.remove(name);
            }
            2 => {
                let mut world = world.lock().unwrap();
                world.is_down = random.below(3) == 0;
                world.latency = Duration::from_millis(random.below(7_000));
            }
            3 => sleep(Duration::from_secs(random.below(40))).await,
            4 => sleep(Duration::from_secs(random.below(30 * 3_600))).await,
            5 => sleep(Duration::from_secs(random.below(3_600))).await,
            _ => {
                for _ in 0..=random.below(4) {
                    let name = NAMES[random.below(5) as usize];
                    if store.find(&id(name), Instant::now()).is_none() {
                        let (store, world) = (Arc::clone(&store), Arc::clone(&world));
                        requests.spawn(one_request(store, world, name, schedule));
                    }
                    sleep(Duration::from_millis(random.below(3) * 1_000)).await;
                }
            }
        }
        settle().await;
        judge(&store, &world.lock().unwrap(), schedule);
    }
    let said = requests.join_all().await;
    store.stop();
    let fetches = world.lock().unwrap().fetches.len();
    (fetches, said)
}

#[tokio::test(start_paused = true)]
async fn nothing_that_may_never_happen_happens_in_any_schedule() {
    let (mut fetches, mut said) = (0, Vec::new());
    for schedule in 1..=100 {
        let (fetched, answers) = one_schedule(schedule).await;
        fetches += fetched;
        said.extend(answers);
    }
    // The schedules must have led to every outcome often enough.
    let count = |what| said.iter().filter(|said| **said == what).count();
    let counts = [Said::Found, Said::Unknown, Said::Pending, Said::Unavailable].map(count);
    assert!(
        fetches > 1_000 && counts.iter().all(|count| *count > 50),
        "{fetches} {counts:?}"
    );
}
