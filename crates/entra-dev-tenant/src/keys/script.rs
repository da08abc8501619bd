//! Which keys the coming key documents hold: what the ring publishes, or what a test wants.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::ring::KeyRing;
use super::signing_key::SigningKey;

/// The keys that a tenant published at one time, for
/// [`DevTenant::flaps_between`](crate::DevTenant::flaps_between).
#[derive(Clone)]
pub struct PublishedKeys {
    /// The oldest first.
    pub(crate) keys: Vec<Arc<SigningKey>>,
    pub(crate) oddities: Vec<Oddity>,
}

/// What no tenant should publish beside its keys.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Oddity {
    /// Keys of another cloud and of personal accounts.
    Foreign,
    /// The newest key's id once more, with other material.
    Twin,
    /// A key that is too short, and entries that are no RSA keys with a name.
    WeakAndExotic,
    /// The newest key with its private exponent.
    PrivateHalf,
    /// This entry.
    Also(Value),
}

/// What one key document is made of.
pub(crate) struct Edition {
    pub(crate) published: PublishedKeys,
    /// `kid`s that it lacks all the same.
    pub(crate) without: Vec<String>,
}

#[derive(Default)]
pub(crate) struct KeyScript {
    state: Mutex<State>,
}

#[derive(Clone, Default)]
struct State {
    oddities: Vec<Oddity>,
    lagging: usize,
    flapping: Vec<PublishedKeys>,
    vanished: Vec<Vanished>,
}

#[derive(Clone)]
struct Vanished {
    kid: String,
    remaining: usize,
}

impl KeyScript {
    /// For a document that is served.
    pub(crate) fn next(&self, ring: &KeyRing) -> Edition {
        self.lock().next(ring)
    }

    /// For a document that is only looked at.
    pub(crate) fn peek(&self, ring: &KeyRing) -> Edition {
        let mut state = self.lock().clone();
        state.next(ring)
    }

    /// What is published, whatever single documents hold.
    pub(crate) fn published(&self, ring: &KeyRing) -> PublishedKeys {
        self.lock().published(ring)
    }

    pub(crate) fn lag(&self, documents: usize) {
        self.lock().lagging = documents;
    }

    pub(crate) fn flap_between(&self, sets: Vec<PublishedKeys>) {
        self.lock().flapping = sets;
    }

    pub(crate) fn vanish(&self, kid: &str, documents: usize) {
        let mut state = self.lock();
        state.vanished.retain(|vanished| vanished.kid != kid);
        state.vanished.push(Vanished {
            kid: kid.to_owned(),
            remaining: documents,
        });
    }

    pub(crate) fn add(&self, oddity: Oddity) {
        let mut state = self.lock();
        if !state.oddities.contains(&oddity) {
            state.oddities.push(oddity);
        }
    }

    pub(crate) fn remove_oddities(&self) {
        self.lock().oddities.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&mut self, ring: &KeyRing) -> Edition {
        let published = if self.lagging > 0 {
            self.lagging -= 1;
            PublishedKeys {
                keys: ring.before_rotation(),
                oddities: self.oddities.clone(),
            }
        } else if let Some(set) = self.flapping.first().cloned() {
            self.flapping.rotate_left(1);
            set
        } else {
            self.published(ring)
        };

        self.vanished.retain(|vanished| vanished.remaining > 0);
        let without = self.vanished.iter_mut().map(|vanished| {
            vanished.remaining -= 1;
            vanished.kid.clone()
        });
        Edition {
            published,
            without: without.collect(),
        }
    }

    fn published(&self, ring: &KeyRing) -> PublishedKeys {
        PublishedKeys {
            keys: ring.published(),
            oddities: self.oddities.clone(),
        }
    }
}

impl fmt::Debug for PublishedKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.keys.iter().map(|key| &key.id).collect();
        formatter
            .debug_struct("PublishedKeys")
            .field("key_ids", &ids)
            .field("oddities", &self.oddities)
            .finish()
    }
}
