//! Encrypts records on their way to the store, and decrypts them on their way back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::{Store, StoreError, StoreFuture};
use crate::keys::{Keyring, Purpose, Unreadable, Versioned};
use crate::telemetry::{Event, Finding, ThrottledLog, count, throttled};

/// A store of encrypted records.
#[derive(Clone)]
pub(crate) struct Records {
    store: Arc<dyn Store>,
    keys: Arc<Keyring>,
    log: Arc<ThrottledLog>,
}

impl Records {
    pub(crate) fn new(store: Arc<dyn Store>, keys: Arc<Keyring>) -> Self {
        Self {
            store,
            keys,
            log: Arc::default(),
        }
    }

    /// Checks that there is room for new sign-ins.
    pub(crate) fn room(&self) -> Result<(), StoreError> {
        match self.store.has_room() {
            true => Ok(()),
            false => Err(self.counted(StoreError::full(
                "the remaining room is reserved for sign-ins in progress",
            ))),
        }
    }

    /// Reads a record, and its stored bytes for a later [`swap`](Self::swap).
    ///
    /// A record that cannot be read counts as absent: its key is gone, or its bytes were changed. A
    /// record that a later version of this server wrote is an error.
    pub(crate) async fn get<T: Versioned>(
        &self,
        key: &str,
    ) -> Result<(Option<T>, Option<Bytes>), StoreError> {
        let stored = self.answered(self.store.get(key)).await?;
        Ok((self.found(key, stored.as_deref())?, stored))
    }

    /// Reads the stored bytes under each of the keys, in their order.
    pub(crate) async fn all(&self, keys: &[&str]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let values = self.answered(self.store.get_all(keys)).await?;
        match values.len() == keys.len() {
            true => Ok(values),
            false => Err(self.counted(StoreError::new(
                "it returned a different number of records than requested",
            ))),
        }
    }

    /// Decrypts a record from the [stored bytes](Self::all).
    pub(crate) fn found<T: Versioned>(
        &self,
        key: &str,
        stored: Option<&[u8]>,
    ) -> Result<Option<T>, StoreError> {
        match stored {
            Some(stored) => self.read(key, stored),
            None => Ok(None),
        }
    }

    /// Checks that the store responds.
    pub(crate) async fn probe(&self) -> Result<(), StoreError> {
        // There is no record with this key.
        self.answered(self.store.get("probe")).await.map(|_| ())
    }

    /// Writes a record, replacing any other, and returns its stored bytes.
    pub(crate) async fn put<T: Versioned>(
        &self,
        key: &str,
        value: &T,
        ttl: Duration,
    ) -> Result<Bytes, StoreError> {
        let value = self.written(key, value)?;
        self.answered(self.store.put(key, value.clone(), ttl))
            .await?;
        Ok(value)
    }

    /// Removes a record, even one that cannot be read, and returns whether it existed.
    pub(crate) async fn remove(&self, key: &str) -> Result<bool, StoreError> {
        let taken = self.answered(self.store.take(key)).await?;
        Ok(taken.is_some())
    }

    /// Writes a record if the stored bytes still equal `stored`, and returns whether it did.
    ///
    /// With `None`, there must be no record.
    pub(crate) async fn swap<T: Versioned>(
        &self,
        key: &str,
        stored: Option<Bytes>,
        value: &T,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let value = self.written(key, value)?;
        let swapped = self.store.compare_and_swap(key, stored, value, ttl);
        self.answered(swapped).await
    }

    fn written<T: Versioned>(&self, key: &str, value: &T) -> Result<Bytes, StoreError> {
        let sealed = self.keys.seal(Purpose::Record, key.as_bytes(), value);
        Ok(sealed
            .ok_or_else(|| self.failed(StoreError::new("a record cannot be encrypted")))?
            .into())
    }

    fn read<T: Versioned>(&self, key: &str, stored: &[u8]) -> Result<Option<T>, StoreError> {
        match self.keys.open(Purpose::Record, key.as_bytes(), stored) {
            Ok(value) => Ok(Some(value)),
            Err(Unreadable::Later) => Err(StoreError::later()),
            Err(Unreadable::Malformed) => {
                let kind = T::NAME;
                throttled!(
                    warn,
                    self.log,
                    ("a record cannot be read", kind),
                    kind,
                    "a record in the store cannot be read and counts as absent: it was changed, or \
                     written under a key that is no longer in the list"
                );
                Ok(None)
            }
        }
    }

    /// Returns the store's answer. Logs and counts failures, including a timeout.
    async fn answered<T>(&self, asked: StoreFuture<'_, T>) -> Result<T, StoreError> {
        let answer = timeout(PATIENCE, asked).await;
        let answer = answer
            .unwrap_or_else(|_| Err(StoreError::new(format!("no response within {PATIENCE:?}"))));
        answer.map_err(|error| self.counted(error))
    }

    /// Logs and counts a failure of the store.
    fn counted(&self, error: StoreError) -> StoreError {
        if error.is_full() {
            count(Event::StoreFull);
            throttled!(
                error,
                self.log,
                ("the store is full", ""),
                error = error.to_string(),
                "no new sign-ins are possible; existing sign-ins continue. Increase the capacity \
                 of the store, or lower Lifetimes::idle(..) or RateLimits::grants_per_user(..)"
            );
            return error;
        }
        count(Event::StoreError);
        self.failed(error)
    }

    fn failed(&self, error: StoreError) -> StoreError {
        let what = "the store cannot be used at the moment";
        let text = error.to_string();
        let finding = Finding::default().found(&*text);
        throttled!(error, self.log, (what, &finding), error = text, "{what}");
        error
    }
}

/// Timeout of the store.
const PATIENCE: Duration = Duration::from_secs(10);
