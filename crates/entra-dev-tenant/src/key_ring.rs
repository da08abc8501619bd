//! The keys of the tenant: which are published, and which signs.

use std::sync::{Arc, Mutex, PoisonError};

use crate::signing_key::SigningKey;

/// Published keys, the oldest first; the last one signs.
pub(crate) struct KeyRing {
    certificate_name: &'static str,
    keys: Mutex<Vec<Arc<SigningKey>>>,
}

impl KeyRing {
    /// How many keys stay published, as many as Entra usually has.
    const PUBLISHED: usize = 6;

    pub(crate) fn new(certificate_name: &'static str) -> Self {
        Self {
            certificate_name,
            keys: Mutex::new(vec![Arc::new(SigningKey::generate(certificate_name))]),
        }
    }

    pub(crate) fn signing(&self) -> Arc<SigningKey> {
        let keys = self.lock();
        Arc::clone(keys.last().expect("a ring always has a key"))
    }

    pub(crate) fn published(&self) -> Vec<Arc<SigningKey>> {
        self.lock().clone()
    }

    /// Publishes a new key and signs with it from now on.
    pub(crate) fn rotate(&self) {
        let key = Arc::new(SigningKey::generate(self.certificate_name));
        let mut keys = self.lock();
        keys.push(key);
        let surplus = keys.len().saturating_sub(Self::PUBLISHED);
        keys.drain(..surplus);
    }

    /// Stops publishing all keys but the one that signs.
    pub(crate) fn withdraw_old(&self) {
        let mut keys = self.lock();
        let surplus = keys.len() - 1;
        keys.drain(..surplus);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<SigningKey>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
