//! Records as the proxy sees them: read, and encrypted on their way to the store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::{Store, StoreError, Stored};
use crate::keys::format::{Kept, Unread};
use crate::keys::keyring::{Keyring, Purpose};
use crate::telemetry::log::{RefusalLog, throttled};
use crate::telemetry::metrics;

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
    pub(crate) stored: Bytes,
}

/// A record that may be missing or unreadable, with what the store has of it.
pub(crate) struct Seen<T> {
    pub(crate) value: Option<T>,
    pub(crate) stored: Option<Bytes>,
}

impl Records {
    pub(crate) fn new(store: Arc<dyn Store>, keys: Arc<Keyring>) -> Self {
        Self {
            store,
            keys,
            log: Arc::default(),
        }
    }

    /// Checks that new sign-ins fit; the error says that they do not.
    pub(crate) fn room(&self) -> Result<(), StoreError> {
        match self.store.has_room() {
            true => Ok(()),
            false => Err(self.counted(StoreError::full("what is left is for those under way"))),
        }
    }

    /// Reads the record. One that cannot be read is none: it was written under a key that is gone, or
    /// somebody changed it. One of a later version of this server is an error.
    pub(crate) async fn get<T: Kept>(&self, key: &str) -> Result<Option<Found<T>>, StoreError> {
        let stored = self.answered(self.store.get(key)).await?;
        self.found(key, stored)
    }

    /// Reads the record, with what the store has of one that cannot be read: to be replaced, too.
    pub(crate) async fn see<T: Kept>(&self, key: &str) -> Result<Seen<T>, StoreError> {
        let stored = self.answered(self.store.get(key)).await?;
        let value = match &stored {
            Some(stored) => self.read(key, stored)?,
            None => None,
        };
        Ok(Seen { value, stored })
    }

    /// Reads what the store has under each of the keys, in their order.
    pub(crate) async fn all(&self, keys: &[&str]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.answered(self.store.get_all(keys)).await
    }

    /// Reads a record that [the store has](Self::all).
    pub(crate) fn found<T: Kept>(
        &self,
        key: &str,
        stored: Option<Bytes>,
    ) -> Result<Option<Found<T>>, StoreError> {
        let Some(stored) = stored else {
            return Ok(None);
        };
        let value = self.read(key, &stored)?;
        Ok(value.map(|value| Found { value, stored }))
    }

    /// Returns whether the store answers.
    pub(crate) async fn answers(&self, key: &str) -> Result<(), StoreError> {
        self.answered(self.store.get(key)).await.map(|_| ())
    }

    /// Writes the record, whatever there is, and returns what the store has of it.
    pub(crate) async fn put<T: Kept>(
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

    /// Takes the record away, whatever it is. Says whether there was one.
    pub(crate) async fn remove(&self, key: &str) -> Result<bool, StoreError> {
        let taken = self.answered(self.store.take(key)).await?;
        Ok(taken.is_some())
    }

    /// Writes the record if the store still has exactly this, or nothing.
    pub(crate) async fn swap<T: Kept>(
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

    fn written<T: Kept>(&self, key: &str, value: &T) -> Result<Bytes, StoreError> {
        let sealed = self
            .keys
            .seal_versioned(Purpose::Record, key.as_bytes(), value);
        Ok(sealed
            .ok_or_else(|| self.failed(StoreError::new("a record cannot be encrypted")))?
            .into())
    }

    fn read<T: Kept>(&self, key: &str, stored: &[u8]) -> Result<Option<T>, StoreError> {
        match self
            .keys
            .open_versioned(Purpose::Record, key.as_bytes(), stored)
        {
            Ok(value) => Ok(Some(value)),
            Err(Unread::Later) => Err(StoreError::later()),
            Err(Unread::Malformed) => {
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
                Ok(None)
            }
        }
    }

    /// Returns what the store answers, and tells operators if it does not.
    async fn answered<T>(&self, asked: Stored<'_, T>) -> Result<T, StoreError> {
        let answer = timeout(PATIENCE, asked).await;
        let answer = answer
            .unwrap_or_else(|_| Err(StoreError::new(format!("no answer within {PATIENCE:?}"))));
        answer.map_err(|error| self.counted(error))
    }

    /// Tells operators that nothing, or nothing new, can be kept.
    fn counted(&self, error: StoreError) -> StoreError {
        if error.is_full() {
            metrics::store_full();
            throttled!(
                error,
                self.log,
                ("the store is full", ""),
                %error,
                "nobody new can sign in; those who are signed in go on. Give the store more room, or \
                 lower idle_lifetime(..) or Limits::grants_per_user(..)"
            );
            return error;
        }
        metrics::store_error();
        self.failed(error)
    }

    fn failed(&self, error: StoreError) -> StoreError {
        let what = "nothing can be kept or found at the moment";
        throttled!(error, self.log, (what, ""), %error, "{what}");
        error
    }
}

/// The kinds of records, by the beginnings of their keys.
const KINDS: [&str; 5] = ["grant", "code", "user", "standing", "client"];

/// The longest wait for the store.
const PATIENCE: Duration = Duration::from_secs(10);
