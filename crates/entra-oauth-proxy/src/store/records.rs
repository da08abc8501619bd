//! Records as the proxy sees them: read, and encrypted on their way to the store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{Store, StoreError, Stored};
use crate::keys::{Keyring, Purpose};
use crate::log::{RefusalLog, throttled};
use crate::metrics;

/// A store of encrypted records.
#[derive(Clone)]
pub(crate) struct Records {
    store: Arc<dyn Store>,
    keys: Arc<Keyring>,
    log: Arc<RefusalLog>,
}

/// A record, and what the store has of it: to replace exactly that.
pub(crate) struct Found<T> {
    pub(crate) value: T,
    stored: Bytes,
}

impl Records {
    pub(crate) fn new(store: Arc<dyn Store>, keys: Arc<Keyring>) -> Self {
        Self {
            store,
            keys,
            log: Arc::default(),
        }
    }

    /// The record. One that cannot be read is none: it was written under a key that is gone, or
    /// somebody changed it.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<Found<T>>, StoreError> {
        let stored = self.answered(self.store.get(key)).await?;
        Ok(stored.and_then(|stored| {
            let value = self.read(key, &stored)?;
            Some(Found { value, stored })
        }))
    }

    /// Whether the store answers.
    pub(crate) async fn answers(&self, key: &str) -> Result<(), StoreError> {
        self.answered(self.store.get(key)).await.map(|_| ())
    }

    pub(crate) async fn put<T: Serialize>(
        &self,
        key: &str,
        value: &T,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        self.answered(self.store.put(key, self.written(key, value)?, ttl))
            .await
    }

    /// Takes the record away, whatever it is.
    pub(crate) async fn take<T: DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<T>, StoreError> {
        let stored = self.answered(self.store.take(key)).await?;
        Ok(stored.and_then(|stored| self.read(key, &stored)))
    }

    /// Writes the record in place of the one that was found, if nobody did so before.
    pub(crate) async fn replace<T: Serialize, U>(
        &self,
        key: &str,
        found: &Found<U>,
        value: &T,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let value = self.written(key, value)?;
        let expected = Some(found.stored.clone());
        self.answered(self.store.compare_and_swap(key, expected, value, ttl))
            .await
    }

    fn written<T: Serialize>(&self, key: &str, value: &T) -> Result<Bytes, StoreError> {
        let text = serde_json::to_vec(value);
        let text = text.map_err(|error| self.failed(StoreError::new(error)))?;
        let sealed = self.keys.seal(Purpose::Record, key.as_bytes(), &text);
        Ok(sealed
            .ok_or_else(|| self.failed(StoreError::new("a record cannot be encrypted")))?
            .into())
    }

    fn read<T: DeserializeOwned>(&self, key: &str, stored: &[u8]) -> Option<T> {
        let text = self.keys.open(Purpose::Record, key.as_bytes(), stored);
        let value = text.and_then(|text| serde_json::from_slice(&text).ok());
        if value.is_none() {
            let beginning = key.split('/').next();
            let mut kinds = KINDS.into_iter();
            let kind = kinds
                .find(|kind| beginning == Some(*kind))
                .unwrap_or("another");
            throttled!(
                warn,
                self.log,
                ("a record cannot be read", kind),
                kind,
                "a record in the store cannot be read and counts as absent: it was changed, or \
                 written under a key that is not in the list any more"
            );
        }
        value
    }

    /// Returns what the store answers, and tells operators if it does not.
    async fn answered<T>(&self, asked: Stored<'_, T>) -> Result<T, StoreError> {
        let answer = timeout(PATIENCE, asked).await;
        let answer = answer
            .unwrap_or_else(|_| Err(StoreError::new(format!("no answer within {PATIENCE:?}"))));
        answer.map_err(|error| {
            metrics::store_error();
            self.failed(error)
        })
    }

    fn failed(&self, error: StoreError) -> StoreError {
        let what = "nothing can be kept or found at the moment";
        throttled!(error, self.log, (what, ""), %error, "{what}");
        error
    }
}

/// The kinds of records, by the beginnings of their keys.
const KINDS: [&str; 4] = ["grant", "code", "claims", "user"];

/// How long the store may take: what waits for it waits no longer.
const PATIENCE: Duration = Duration::from_secs(10);
