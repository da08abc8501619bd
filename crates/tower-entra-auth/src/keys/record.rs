//! The held keys: merged from every document, never replaced by a single one.
//!
//! Entra's front ends serve different sets from minute to minute, so a key that is missing from one
//! document may still be in use. A key counts as absent from the first successful fetch that lacks
//! it until a fetch that has it. It is no longer trusted once it was absent for
//! [`TrustedKey::ABSENT_FOR`].

use std::cmp::Reverse;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use entra_jwt_core::{
    KeySet,
    ids::KeyId,
    keys::{Key, UnusableKey},
};
use moka::sync::Cache;
use tokio::time::Instant;

use super::{KeyStore, MonotonicClock, SnapshotSummary, TrustedKey};
use crate::status::{FailureStatus, IssuerStatus, KeyStatus};

impl KeyStore {
    /// Returns the key, if the store holds it and it is trusted now.
    pub(crate) fn find(&self, id: &KeyId, now: Instant) -> Option<Arc<TrustedKey>> {
        if !self.is_fresh(now) {
            return None;
        }
        let snapshot = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
        snapshot.as_ref()?.find(id, now).cloned()
    }

    /// Returns whether the private half of a key with this id was published. That key is refused
    /// permanently, but another key may have its id.
    pub(super) fn has_exposed(&self, id: &KeyId) -> bool {
        let snapshot = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
        snapshot.as_ref().is_some_and(|keys| keys.has_exposed(id))
    }

    /// Returns the keys that are trusted now; `None` if the last successful fetch was too long ago,
    /// or there was none.
    pub(crate) fn all(&self) -> Option<KeySet> {
        let now = Instant::now();
        let snapshot = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
        let snapshot = snapshot.as_ref().filter(|_| self.is_fresh(now))?;
        let keys = snapshot.trusted(now).map(|held| Arc::clone(held.key()));
        Some(keys.collect())
    }

    /// Returns the state of the keys.
    pub(crate) fn status(&self) -> IssuerStatus {
        let now = Instant::now();
        let ago = |moment| now.saturating_duration_since(moment);
        let mut keys: Vec<KeyStatus> = {
            let snapshot = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
            let trusted = snapshot.iter().flat_map(|snapshot| snapshot.trusted(now));
            trusted
                .map(|held| KeyStatus {
                    id: held.id().clone(),
                    first_seen_ago: ago(held.first_seen),
                    last_seen_ago: ago(held.last_seen()),
                    time_to_live: held.time_to_live(now),
                })
                .collect()
        };
        keys.sort_by(|one, other| one.id.as_str().cmp(other.id.as_str()));

        let is_ready = self.is_fresh(now) && !keys.is_empty();
        let state = self.lock();
        IssuerStatus {
            source: self.source.name().to_owned(),
            is_ready,
            keys,
            last_success_ago: state.last_success.map(ago),
            last_failure: state
                .last_failure
                .as_ref()
                .map(|(at, cause)| FailureStatus {
                    ago: ago(*at),
                    cause: cause.clone().into(),
                }),
            failures_in_a_row: state.schedule.failures_in_a_row(),
            next_attempt_in: state.schedule.wake_at(now).saturating_duration_since(now),
        }
    }

    /// Merges the fetched keys into the snapshot that requests read.
    pub(super) fn publish(&self, fetched: &KeySet, now: Instant) -> SnapshotSummary {
        let snapshot = self.record.merge(fetched, now);
        let keys = snapshot.len();
        let mut current = self
            .snapshot
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let is_first = current.replace(snapshot).is_none();
        let fresh_until = self.clock.at(now + self.max_staleness);
        self.fresh_until.store(fresh_until, Ordering::Relaxed);
        SnapshotSummary { keys, is_first }
    }
}

/// A bounded record of all held keys, into which fetched documents are merged. Keys that were
/// published longest ago are dropped first.
pub(super) struct KeyRecord {
    /// The keys by id. The record never reaches moka's limit: this type decides which keys are
    /// dropped.
    record: Cache<KeyId, Arc<TrustedKey>>,
    clock: MonotonicClock,
    compromised: Mutex<Compromised>,
}

/// Keys whose private half was published.
///
/// Another front end may serve the public half alone for hours. So these keys are kept as long as
/// the process runs: the latest 200, which is also the maximum number of held keys.
#[derive(Default)]
struct Compromised {
    keys: Vec<Arc<Key>>,
    /// Ids under which these keys were published, with or without the private half.
    ids: Vec<KeyId>,
}

/// The held keys after the last document, in which requests look them up.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The keys, sorted by id: a few comparisons cost less than a hash.
    keys: Box<[Entry]>,
    /// Ids of keys that were dropped permanently, sorted.
    exposed: Box<[KeyId]>,
}

type Entry = (KeyId, Arc<TrustedKey>);

impl KeyRecord {
    /// Maximum number of held keys: twice that of one document, so that a new document never pushes
    /// out its own keys.
    const MAX_KEYS: usize = 2 * KeySet::MAX_KEYS;

    pub(super) fn new(clock: MonotonicClock) -> Self {
        Self {
            record: Cache::new(2 * Self::MAX_KEYS as u64),
            clock,
            compromised: Mutex::default(),
        }
    }

    /// Merges a successfully fetched document, and returns the new snapshot.
    fn merge(&self, fetched: &KeySet, now: Instant) -> Snapshot {
        let mut compromised = self
            .compromised
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        compromised.add(fetched);
        let is_compromised = |key: &Key| fetched.is_leaked(key) || compromised.contains(key);

        let before: Vec<Arc<TrustedKey>> = self.record.iter().map(|(_, held)| held).collect();
        let seen = before.iter().map(|held| held.key()).chain(fetched.iter());
        let dropped: Vec<KeyId> = seen
            .filter(|key| is_compromised(key))
            .map(|key| key.id().clone())
            .collect();
        for held in &before {
            // Every attacker can sign with a key whose private half is published, so it gets no
            // grace period.
            if !held.is_trusted(now) || is_compromised(held.key()) {
                self.record.invalidate(held.id());
            } else if fetched.key(held.id()).is_none() && !is_ambiguous(fetched, held.id()) {
                held.mark_absent(now);
            }
        }
        for key in fetched.iter().filter(|key| !is_compromised(key)) {
            let held = match self.record.get(key.id()) {
                Some(held) if held.key().is_same(key) => {
                    held.mark_published(now);
                    held
                }
                _ => Arc::new(TrustedKey::new(Arc::clone(key), self.clock, now)),
            };
            self.record.insert(key.id().clone(), held);
        }
        compromised.add_ids(dropped);

        let held = self.drop_surplus(fetched).into_iter();
        let held = held.map(|held| (held.id().clone(), held));
        let after = Snapshot::new(held.collect(), compromised.ids.clone().into());
        // Cached tokens refer to the key that verified them. There too, a key that was dropped,
        // replaced or pushed out must not be trusted any longer.
        for held in before {
            if !after.holds(&held) {
                held.distrust();
            }
        }
        after
    }

    /// Drops the keys that were published longest ago if there are too many, and returns the
    /// others. It never drops a key of `fetched`.
    fn drop_surplus(&self, fetched: &KeySet) -> Vec<Arc<TrustedKey>> {
        let mut held: Vec<_> = self.record.iter().map(|(_, held)| held).collect();
        held.sort_unstable_by_key(|held| {
            let is_published = fetched.key(held.id()).is_some();
            Reverse((is_published, held.last_seen()))
        });
        for surplus in held.drain(held.len().min(Self::MAX_KEYS)..) {
            self.record.invalidate(surplus.id());
        }
        held
    }
}

impl Compromised {
    fn contains(&self, key: &Key) -> bool {
        self.keys.iter().any(|known| known.has_same_modulus(key))
    }

    /// Adds the keys and ids that the document publishes with the private half.
    fn add(&mut self, fetched: &KeySet) {
        for key in fetched.leaked() {
            if !self.contains(key) {
                self.keys.push(Arc::clone(key));
            }
        }
        keep_latest(&mut self.keys);
        let private = fetched
            .unusable()
            .filter(|(_, reason)| *reason == UnusableKey::Private);
        self.add_ids(private.filter_map(|(id, _)| id.cloned()));
    }

    fn add_ids(&mut self, ids: impl IntoIterator<Item = KeyId>) {
        for id in ids {
            if !self.ids.contains(&id) {
                self.ids.push(id);
            }
        }
        keep_latest(&mut self.ids);
    }
}

/// Drops the oldest entries beyond the maximum number of held keys.
fn keep_latest<T>(all: &mut Vec<T>) {
    let surplus = all.len().saturating_sub(2 * KeySet::MAX_KEYS);
    all.drain(..surplus);
}

impl Snapshot {
    fn new(mut keys: Box<[Entry]>, mut exposed: Box<[KeyId]>) -> Self {
        keys.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        exposed.sort_unstable();
        Self { keys, exposed }
    }

    fn get(&self, id: &KeyId) -> Option<&Arc<TrustedKey>> {
        let at = self.keys.binary_search_by(|(held, _)| held.cmp(id)).ok()?;
        self.keys.get(at).map(|(_, held)| held)
    }

    /// Returns the key, if it is trusted now.
    fn find(&self, id: &KeyId, now: Instant) -> Option<&Arc<TrustedKey>> {
        self.get(id).filter(|held| held.is_trusted(now))
    }

    /// Returns every key that is trusted now.
    fn trusted(&self, now: Instant) -> impl Iterator<Item = &Arc<TrustedKey>> {
        let keys = self.keys.iter().map(|(_, held)| held);
        keys.filter(move |held| held.is_trusted(now))
    }

    /// Returns whether the private half of a key with this id was published.
    fn has_exposed(&self, id: &KeyId) -> bool {
        self.exposed.binary_search(id).is_ok()
    }

    fn len(&self) -> usize {
        self.keys.len()
    }

    fn holds(&self, key: &Arc<TrustedKey>) -> bool {
        let held = self.get(key.id());
        held.is_some_and(|held| Arc::ptr_eq(held, key))
    }
}

/// Returns whether the document has two entries with this id and different material. Then neither
/// is used, and the held key stays unchanged.
fn is_ambiguous(fetched: &KeySet, id: &KeyId) -> bool {
    fetched
        .unusable()
        .any(|(other, reason)| reason == UnusableKey::Ambiguous && other == Some(id))
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Builds a document of keys whose moduli are made up from the seeds, so that no private half
    /// is known.
    pub(crate) fn document(keys: &[(&str, u16)]) -> KeySet {
        let entries: Vec<String> = keys.iter().map(|(kid, seed)| entry(kid, *seed)).collect();
        read(&entries)
    }

    pub(crate) fn entry(kid: &str, seed: u16) -> String {
        // 342 characters of base64url are 256 bytes; the first and the last bit are set.
        let modulus = format!("_{}{seed:05}Q", "A".repeat(335));
        format!(r#"{{"kty":"RSA","kid":"{kid}","n":"{modulus}","e":"AQAB"}}"#)
    }

    /// Builds an entry as [`entry`] does, with a private half.
    pub(crate) fn private(kid: &str, seed: u16) -> String {
        entry(kid, seed).replace("\"e\"", "\"d\":\"AQAB\",\"e\"")
    }

    pub(crate) fn read(entries: &[String]) -> KeySet {
        let document = format!(r#"{{"keys":[{}]}}"#, entries.join(","));
        KeySet::from_jwks(document.as_bytes()).unwrap()
    }

    pub(crate) fn id(kid: &str) -> KeyId {
        KeyId::new(kid).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::testing::{document, entry, id, private, read};
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn record_since(start: Instant) -> KeyRecord {
        KeyRecord::new(MonotonicClock { origin: start })
    }

    #[test]
    fn the_made_up_keys_are_usable_and_differ() {
        let set = document(&[("a", 1), ("b", 2)]);
        let (a, b) = (set.key(&id("a")).unwrap(), set.key(&id("b")).unwrap());
        assert!(!a.has_same_material(b));
    }

    #[test]
    fn a_key_whose_private_half_is_published_is_dropped_at_once() {
        let now = Instant::now();
        for exposed in [private("a", 1), private("another name", 1)] {
            let held = record_since(now);
            held.merge(&document(&[("a", 1), ("b", 2)]), now);
            let snapshot = held.merge(&read(&[exposed, entry("b", 2)]), now);
            assert!(snapshot.find(&id("a"), now).is_none());
            assert!(snapshot.find(&id("b"), now).is_some());
            // A front end that lags behind does not bring the key back.
            let snapshot = held.merge(&document(&[("a", 1), ("b", 2)]), now);
            assert!(snapshot.find(&id("a"), now).is_none());
            assert!(snapshot.find(&id("b"), now).is_some());
        }
    }

    #[test]
    fn each_id_of_a_key_whose_private_half_is_published_is_remembered() {
        let now = Instant::now();
        let exposed = || read(&[private("b", 1), entry("c", 2)]);
        let beside = read(&[private("b", 1), entry("a", 1), entry("c", 2)]);
        // The same key under its other id was held before, is in the same document, or comes from a
        // front end that lags behind.
        for documents in [
            vec![document(&[("a", 1), ("c", 2)]), exposed()],
            vec![beside],
            vec![exposed(), document(&[("a", 1), ("c", 2)])],
        ] {
            let held = record_since(now);
            for fetched in documents {
                held.merge(&fetched, now);
            }
            let snapshot = held.merge(&document(&[("c", 2)]), now);
            let has_exposed = ["a", "b", "c"].map(|kid| snapshot.has_exposed(&id(kid)));
            assert_eq!(has_exposed, [true, true, false]);
        }
    }

    #[test]
    fn a_key_that_one_document_lacks_stays_for_a_day() {
        let start = Instant::now();
        let held = record_since(start);
        held.merge(&document(&[("a", 1), ("b", 2)]), start);
        let snapshot = held.merge(&document(&[("b", 2)]), start + HOUR);
        assert!(snapshot.find(&id("a"), start + HOUR).is_some());

        // Each use checks the time, without a merge in between.
        let fresh = held.merge(&document(&[("b", 2)]), start + 24 * HOUR);
        let second = Duration::from_secs(1);
        assert!(fresh.find(&id("a"), start + 25 * HOUR - second).is_some());
        assert!(fresh.find(&id("a"), start + 25 * HOUR).is_none());
        assert!(fresh.find(&id("b"), start + 25 * HOUR).is_some());
        let after = held.merge(&document(&[("b", 2)]), start + 26 * HOUR);
        assert_eq!(after.len(), 1);
    }

    #[test]
    fn a_key_that_comes_back_is_as_if_it_had_never_been_away() {
        let start = Instant::now();
        let held = record_since(start);
        held.merge(&document(&[("a", 1), ("b", 2)]), start);
        held.merge(&document(&[("b", 2)]), start + HOUR);
        held.merge(&document(&[("a", 1), ("b", 2)]), start + 20 * HOUR);
        let snapshot = held.merge(&document(&[("b", 2)]), start + 30 * HOUR);
        assert!(snapshot.find(&id("a"), start + 53 * HOUR).is_some());
        assert!(snapshot.find(&id("a"), start + 54 * HOUR).is_none());
    }

    #[test]
    fn new_material_under_the_same_id_replaces_the_old_and_the_same_does_not() {
        let now = Instant::now();
        let held = record_since(now);
        let first = held.merge(&document(&[("a", 1)]), now);
        let same = held.merge(&document(&[("a", 1)]), now);
        let other = held.merge(&document(&[("a", 2)]), now);
        let key = |snapshot: &Snapshot| Arc::clone(snapshot.get(&id("a")).unwrap());
        assert!(Arc::ptr_eq(&key(&first), &key(&same)));
        assert!(!key(&first).key().has_same_material(key(&other).key()));
        assert!(!key(&first).is_trusted(now), "whoever still has it");
        assert!(key(&other).is_trusted(now));
    }

    #[test]
    fn an_ambiguous_document_leaves_the_key_that_is_held() {
        let start = Instant::now();
        let held = record_since(start);
        let first = held.merge(&document(&[("a", 1), ("b", 2)]), start);
        let snapshot = held.merge(&document(&[("a", 3), ("a", 4), ("b", 2)]), start + HOUR);
        let find = |snapshot: &Snapshot| Arc::clone(snapshot.find(&id("a"), start).unwrap());
        assert!(Arc::ptr_eq(&find(&first), &find(&snapshot)));
        // The key does not count as absent, either.
        let later = held.merge(
            &document(&[("a", 3), ("a", 4), ("b", 2)]),
            start + 30 * HOUR,
        );
        assert!(later.find(&id("a"), start + 30 * HOUR).is_some());
    }

    #[test]
    fn a_server_that_invents_keys_cannot_fill_the_memory_nor_push_out_the_published() {
        let now = Instant::now();
        let held = record_since(now);
        for round in 0..5_u16 {
            let names: Vec<(String, u16)> = (0..100)
                .map(|n| (format!("round {round} key {n}"), round * 100 + n))
                .collect();
            let keys: Vec<(&str, u16)> = names.iter().map(|(kid, seed)| (&**kid, *seed)).collect();
            let snapshot = held.merge(&document(&keys), now);
            assert!(snapshot.len() <= 200, "{}", snapshot.len());
            for (kid, _) in keys {
                assert!(snapshot.find(&id(kid), now).is_some(), "{kid}");
            }
        }
    }
}
