//! The keys of a tenant: the signing key, the published keys, and the content of JWKS documents
//! that a test sets instead.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::document::document;
use super::{Edition, Oddity, PublishedKeys, SigningKey, certificate_name, give_back, take};
use crate::authority::{Authority, DevCloud, Realm, Version};

/// Number of keys that stay published, as many as Entra usually has.
const PUBLISHED: usize = 6;

/// All keys of one tenant.
pub(crate) struct KeyRing {
    certificate_name: &'static str,
    state: Mutex<RingState>,
    custom: Vec<CustomKey>,
}

/// The signing key of one application, which never rotates.
///
/// Entra publishes such keys to clients that ask with `?appid=`.
struct CustomKey {
    client_id: String,
    key: Arc<SigningKey>,
}

#[derive(Clone)]
struct RingState {
    /// Published keys, the oldest first; the last one signs.
    keys: Vec<Arc<SigningKey>>,
    before_rotation: Vec<Arc<SigningKey>>,
    oddities: Vec<Oddity>,
    lagging: usize,
    alternating: Vec<PublishedKeys>,
    omitted: Vec<Omitted>,
}

#[derive(Clone)]
struct Omitted {
    kid: String,
    remaining: usize,
}

/// A change of the signing key, or of the content of JWKS documents.
pub(crate) enum KeyChange {
    /// A new key signs. It is published together with the latest others.
    Rotate,
    /// A new key signs. Only this key is published.
    Replace,
    /// Only the signing key stays published.
    WithdrawOld,
    /// The given number of documents hold the keys from before the latest new one.
    Lag(usize),
    /// Documents hold these sets in turn. If there are none, documents hold the published keys.
    Alternate(Vec<PublishedKeys>),
    /// The given number of documents lack the key of this `kid`.
    Omit(String, usize),
    /// Documents also hold this addition.
    Publish(Oddity),
    /// Documents hold no additions any longer.
    Reset,
}

impl KeyRing {
    /// Makes the first key of a tenant in `cloud`, and one for each application that has its own.
    pub(crate) fn new(cloud: DevCloud, applications: Vec<String>) -> Self {
        let mut keys = Self::named(certificate_name(cloud));
        let custom = applications.into_iter().map(|client_id| CustomKey {
            client_id,
            key: Arc::new(SigningKey::generate(keys.certificate_name)),
        });
        keys.custom = custom.collect();
        keys
    }

    fn named(certificate_name: &'static str) -> Self {
        let keys = vec![take(certificate_name)];
        Self {
            certificate_name,
            state: Mutex::new(RingState {
                before_rotation: keys.clone(),
                keys,
                oddities: Vec::new(),
                lagging: 0,
                alternating: Vec::new(),
                omitted: Vec::new(),
            }),
            custom: Vec::new(),
        }
    }

    /// Returns the tenant's current signing key, which signs unless an application has its own key.
    pub(crate) fn signing(&self) -> Arc<SigningKey> {
        let state = self.lock();
        // A ring starts with one key, and always keeps the newest.
        Arc::clone(state.keys.last().expect("a ring always has a key"))
    }

    /// Returns the key that signs for an audience.
    ///
    /// The audience names an application by its id, or by `api://` and its id.
    pub(crate) fn signing_for(&self, audience: &str) -> Arc<SigningKey> {
        match self.custom(audience.strip_prefix("api://").unwrap_or(audience)) {
            Some(custom) => Arc::clone(&custom.key),
            None => self.signing(),
        }
    }

    /// Returns the application with its own key that a query names. An unknown application counts
    /// as none.
    pub(crate) fn application_of(&self, query: Option<&str>) -> Option<&str> {
        let mut parameters = query?.split('&');
        let client_id = parameters.find_map(|parameter| parameter.strip_prefix("appid="))?;
        self.custom(client_id).map(|custom| &*custom.client_id)
    }

    /// Returns the published keys, regardless of changes to single documents.
    pub(crate) fn published(&self) -> PublishedKeys {
        self.lock().published()
    }

    /// Makes the next JWKS document of an authority, with the key of the application `appid` if it
    /// has its own.
    pub(crate) fn document(
        &self,
        realm: &Realm,
        authority: Authority<'_>,
        version: Version,
        appid: Option<&str>,
    ) -> Value {
        let custom = appid.and_then(|appid| self.custom(appid));
        let custom = custom.map(|custom| &custom.key);
        let edition = self.lock().next();
        document(realm, authority, version, custom, &edition)
    }

    /// Makes the v2 document that an authority would serve next, without changing the state.
    pub(crate) fn peek(&self, realm: &Realm, authority: Authority<'_>) -> Value {
        let edition = self.lock().clone().next();
        document(realm, authority, Version::V2, None, &edition)
    }

    pub(crate) fn apply(&self, change: KeyChange) {
        let new_key = match change {
            // Making a key takes a while, so it happens before the lock is taken.
            KeyChange::Rotate | KeyChange::Replace => Some(take(self.certificate_name)),
            _ => None,
        };
        self.lock().apply(change, new_key);
    }

    fn custom(&self, client_id: &str) -> Option<&CustomKey> {
        let mut custom = self.custom.iter();
        custom.find(|custom| custom.client_id.eq_ignore_ascii_case(client_id))
    }

    fn lock(&self) -> MutexGuard<'_, RingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RingState {
    fn apply(&mut self, change: KeyChange, new_key: Option<Arc<SigningKey>>) {
        if let Some(key) = new_key {
            self.before_rotation = self.keys.clone();
            self.keys.push(key);
        }
        match change {
            KeyChange::Rotate => self.keep_newest(PUBLISHED),
            KeyChange::Replace | KeyChange::WithdrawOld => self.keep_newest(1),
            KeyChange::Lag(documents) => self.lagging = documents,
            KeyChange::Alternate(sets) => self.alternating = sets,
            KeyChange::Omit(kid, remaining) => {
                self.omitted.retain(|omitted| omitted.kid != kid);
                self.omitted.push(Omitted { kid, remaining });
            }
            KeyChange::Publish(oddity) => {
                if !self.oddities.contains(&oddity) {
                    self.oddities.push(oddity);
                }
            }
            KeyChange::Reset => self.oddities.clear(),
        }
    }

    fn keep_newest(&mut self, kept: usize) {
        let surplus = self.keys.len().saturating_sub(kept);
        self.keys.drain(..surplus);
    }

    /// Returns the content of the next document.
    fn next(&mut self) -> Edition {
        let published = if self.lagging > 0 {
            self.lagging -= 1;
            PublishedKeys {
                keys: self.before_rotation.clone(),
                oddities: self.oddities.clone(),
            }
        } else if let Some(set) = self.alternating.first().cloned() {
            self.alternating.rotate_left(1);
            set
        } else {
            self.published()
        };

        self.omitted.retain(|omitted| omitted.remaining > 0);
        let without = self.omitted.iter_mut().map(|omitted| {
            omitted.remaining -= 1;
            omitted.kid.clone()
        });
        Edition {
            published,
            without: without.collect(),
        }
    }

    fn published(&self) -> PublishedKeys {
        PublishedKeys {
            keys: self.keys.clone(),
            oddities: self.oddities.clone(),
        }
    }
}

impl Drop for KeyRing {
    fn drop(&mut self) {
        // Only the published keys: a withdrawn key must never come back.
        let published = std::mem::take(&mut self.lock().keys);
        give_back(self.certificate_name, published);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn ids(ring: &KeyRing) -> HashSet<String> {
        let published = ring.published();
        published.keys.iter().map(|key| key.id.clone()).collect()
    }

    // These tests use their own certificate names. Tests of other files take keys by the names of
    // clouds.

    #[test]
    fn living_rings_share_no_key_and_no_key_of_a_ring_comes_back_to_it() {
        let (ring, other) = (
            KeyRing::named("living.example"),
            KeyRing::named("living.example"),
        );
        let first = ids(&ring);
        assert!(first.is_disjoint(&ids(&other)));
        ring.apply(KeyChange::Replace);
        ring.apply(KeyChange::Replace);
        assert!(first.is_disjoint(&ids(&ring)));
    }

    #[test]
    fn a_ring_takes_the_keys_of_one_that_has_ended() {
        let ended = KeyRing::named("ended.example");
        ended.apply(KeyChange::Replace);
        ended.apply(KeyChange::Rotate);
        let before = ids(&ended);
        drop(ended);
        let ring = KeyRing::named("ended.example");
        ring.apply(KeyChange::Rotate);
        assert_eq!(ids(&ring), before);
    }
}
