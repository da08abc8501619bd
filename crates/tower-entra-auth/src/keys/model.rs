//! What may never happen, whatever the key server answers and whenever requests come: random
//! schedules against a model that is too simple to be wrong.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use entra_jwt_core::KeySet;
use tokio::time::{Instant, sleep};

use super::held::testing::{document, id};
use super::source::{Failed, Fetched, Fetching, Reason, Source};
use super::{Keeping, KeyStore, Missing, TrustedKey};
use crate::unavailable::Unavailable;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// What each key can be made of.
static MATERIALS: LazyLock<HashMap<(&str, u16), KeySet>> = LazyLock::new(|| {
    let each = NAMES
        .iter()
        .flat_map(|name| (1..=3).map(move |material| (*name, material)));
    each.map(|key| (key, document(&[key]))).collect()
});

/// A small generator of numbers (xorshift), so that a seed names a schedule.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Which material each key that is published has.
type Published = HashMap<&'static str, u16>;

/// What the key server does, and what it did.
#[derive(Default)]
struct World {
    published: Published,
    is_down: bool,
    latency: Duration,
    fetches: Vec<(Instant, Reason)>,
    /// When each successful answer arrived, and what it said; the order is that of the questions.
    answers: Vec<(Instant, Published)>,
}

struct Scripted(Arc<Mutex<World>>);

impl Source for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }

    fn fetch(&self, reason: Reason) -> Fetching<'_> {
        Box::pin(async move {
            let (published, is_down, latency) = {
                let mut world = self.0.lock().unwrap();
                world.fetches.push((Instant::now(), reason));
                (world.published.clone(), world.is_down, world.latency)
            };
            sleep(latency).await;
            if is_down || published.is_empty() {
                return Err(Failed::from(Unavailable::TimedOut));
            }
            let keys: KeySet = document(&published.clone().into_iter().collect::<Vec<_>>());
            self.0
                .lock()
                .unwrap()
                .answers
                .push((Instant::now(), published));
            Ok(Fetched {
                keys: Arc::new(keys),
                is_unchanged: false,
                check_again_after: None,
            })
        })
    }
}

impl World {
    /// The last answer that has the key, and the first after it that lacks it.
    fn last_seen(&self, name: &str) -> Option<(u16, Option<Instant>)> {
        let has = |(_, keys): &&(Instant, Published)| keys.contains_key(name);
        let last = self.answers.iter().rposition(|answer| has(&answer))?;
        let absent_since = self.answers.get(last + 1).map(|(at, _)| *at);
        Some((self.answers[last].1[name], absent_since))
    }

    fn last_success(&self) -> Option<Instant> {
        self.answers.last().map(|(at, _)| *at)
    }

    /// Whether the key must, must not, or may be trusted now.
    fn expects(&self, name: &str, now: Instant) -> Option<u16> {
        if now.duration_since(self.last_success()?) >= Keeping::default().max_staleness {
            return None;
        }
        let (material, absent_since) = self.last_seen(name)?;
        let is_alive =
            absent_since.is_none_or(|since| now.duration_since(since) < TrustedKey::ABSENT_FOR);
        is_alive.then_some(material)
    }
}

/// Lets every task do what it can at this moment.
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
    // Every window of thirty seconds: two of the bucket and what flowed in meanwhile, one that a
    // request began because it was due.
    let on_demand: Vec<Instant> = world
        .fetches
        .iter()
        .filter(|(_, reason)| *reason == Reason::MissingKey)
        .map(|(at, _)| *at)
        .collect();
    for (index, start) in on_demand.iter().enumerate() {
        let within = |at: &&Instant| at.duration_since(*start) < Duration::from_secs(30);
        let count = on_demand[index..].iter().take_while(within).count();
        assert!(count <= 4, "{count} fetches in 30 s, schedule {schedule}");
    }
}

async fn one_schedule(schedule: u64) -> (usize, usize) {
    let mut random = Random(schedule.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let world = Arc::new(Mutex::new(World::default()));
    let store = KeyStore::new(Box::new(Scripted(Arc::clone(&world))), Keeping::default());
    let mut refused = 0;
    for _ in 0..60 {
        match random.below(8) {
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
                let name = NAMES[random.below(5) as usize];
                let _ = store.keep_running(Instant::now());
                if store.find(&id(name), Instant::now()).is_none() {
                    let found = store.wait_for(&id(name)).await;
                    let world = world.lock().unwrap();
                    match found {
                        Ok(key) => assert!(key.is_trusted(Instant::now())),
                        Err(Missing::Unknown) => {
                            refused += 1;
                            let is_known = world.expects(name, Instant::now()).is_some();
                            assert!(!is_known, "{name} refused, schedule {schedule}");
                        }
                        Err(Missing::Unavailable(_)) => {}
                    }
                }
            }
        }
        settle().await;
        judge(&store, &world.lock().unwrap(), schedule);
    }
    store.stop();
    let fetches = world.lock().unwrap().fetches.len();
    (fetches, refused)
}

#[tokio::test(start_paused = true)]
async fn nothing_that_may_never_happen_happens_in_any_schedule() {
    let (mut fetches, mut refused) = (0, 0);
    for schedule in 1..=100 {
        let (fetched, missed) = one_schedule(schedule).await;
        fetches += fetched;
        refused += missed;
    }
    // That the schedules do meet what they are about.
    assert!(fetches > 1_000 && refused > 50, "{fetches} {refused}");
}
