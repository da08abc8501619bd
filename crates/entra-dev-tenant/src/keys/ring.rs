//! The keys of the tenant: which are published, and which signs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::shared_keys;
use super::signing_key::SigningKey;

pub(crate) struct KeyRing {
    certificate_name: &'static str,
    state: Mutex<State>,
}

struct State {
    /// Published keys, the oldest first; the last one signs.
    keys: Vec<Arc<SigningKey>>,
    before_rotation: Vec<Arc<SigningKey>>,
}

impl KeyRing {
    /// How many keys stay published, as many as Entra usually has.
    const PUBLISHED: usize = 6;

    pub(crate) fn new(certificate_name: &'static str) -> Self {
        let keys = vec![shared_keys::take(certificate_name)];
        Self {
            certificate_name,
            state: Mutex::new(State {
                before_rotation: keys.clone(),
                keys,
            }),
        }
    }

    pub(crate) fn signing(&self) -> Arc<SigningKey> {
        let state = self.lock();
        // One is there from the beginning, and keys are only ever added or replaced.
        Arc::clone(state.keys.last().expect("a ring always has a key"))
    }

    pub(crate) fn published(&self) -> Vec<Arc<SigningKey>> {
        self.lock().keys.clone()
    }

    /// What was published before the latest new key; without one, what is published.
    pub(crate) fn before_rotation(&self) -> Vec<Arc<SigningKey>> {
        self.lock().before_rotation.clone()
    }

    /// Publishes a new key and signs with it from now on.
    pub(crate) fn rotate(&self) {
        self.add_key(Self::PUBLISHED);
    }

    /// The same, and stops publishing all others.
    pub(crate) fn replace(&self) {
        self.add_key(1);
    }

    /// Stops publishing all keys but the one that signs.
    pub(crate) fn withdraw_old(&self) {
        keep_newest(&mut self.lock().keys, 1);
    }

    fn add_key(&self, kept: usize) {
        let key = shared_keys::take(self.certificate_name);
        let mut state = self.lock();
        state.before_rotation = state.keys.clone();
        state.keys.push(key);
        keep_newest(&mut state.keys, kept);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for KeyRing {
    fn drop(&mut self) {
        // The published ones alone: a key that the ring has withdrawn never comes back.
        let published = std::mem::take(&mut self.lock().keys);
        shared_keys::give_back(self.certificate_name, published);
    }
}

fn keep_newest(keys: &mut Vec<Arc<SigningKey>>, kept: usize) {
    let surplus = keys.len().saturating_sub(kept);
    keys.drain(..surplus);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn ids(ring: &KeyRing) -> HashSet<String> {
        let published = ring.published();
        published.iter().map(|key| key.id.clone()).collect()
    }

    // Names of their own: the tests of other files take keys by the names of clouds.

    #[test]
    fn living_rings_share_no_key_and_no_key_of_a_ring_comes_back_to_it() {
        let (ring, other) = (
            KeyRing::new("living.example"),
            KeyRing::new("living.example"),
        );
        let first = ids(&ring);
        assert!(first.is_disjoint(&ids(&other)));
        ring.replace();
        ring.replace();
        assert!(first.is_disjoint(&ids(&ring)));
    }

    #[test]
    fn a_ring_takes_the_keys_of_one_that_has_ended() {
        let ended = KeyRing::new("ended.example");
        ended.replace();
        ended.rotate();
        let before = ids(&ended);
        drop(ended);
        let ring = KeyRing::new("ended.example");
        ring.rotate();
        assert_eq!(ids(&ring), before);
    }
}
