//! Stores of sign-ins and authorization codes: in memory, on disk, and the trait for your own
//! store.

#[cfg(feature = "disk-store")]
mod disk;
mod memory;
mod records;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

#[cfg(feature = "disk-store")]
pub(crate) use self::disk::sync_directory;
#[cfg(feature = "disk-store")]
pub use self::disk::{DiskStore, DiskStoreOptions, OpenStoreError, OpenStoreErrorKind};
pub use self::memory::MemoryStore;
pub(crate) use self::records::Records;

/// A store of small records, each with a limited lifetime.
///
/// Values are encrypted and bound to their keys before the store receives them. An attacker who
/// reads the store learns nothing. An attacker who writes into it can remove records or restore an
/// older one, but cannot create any. Keys are ASCII without spaces, of at most 128 characters.
///
/// A store must keep two promises. [`compare_and_swap`](Self::compare_and_swap) and
/// [`take`](Self::take) are atomic among all users of the store. A write that was answered is
/// visible to all later reads. `testing::check_store` (feature `testing`) tests both.
/// [`MemoryStore`] is the default.
///
/// An expired record counts as absent. The store decides when to free its space.
pub trait Store: Send + Sync + 'static {
    /// Returns the value of a record, or `None` if there is no such record.
    ///
    /// # Errors
    /// If the store cannot answer now. A missing record is not an error.
    fn get<'s>(&'s self, key: &'s str) -> StoreFuture<'s, Option<Bytes>>;

    /// Returns the values of several records, in the order of the keys.
    ///
    /// Override it in stores that can read several records in one request. Default:
    /// [`get`](Self::get) for each key, one after the other.
    ///
    /// # Errors
    /// If the store cannot answer for one of the keys now.
    fn get_all<'s>(&'s self, keys: &'s [&'s str]) -> StoreFuture<'s, Vec<Option<Bytes>>> {
        Box::pin(async move {
            let mut values = Vec::with_capacity(keys.len());
            for key in keys {
                values.push(self.get(key).await?);
            }
            Ok(values)
        })
    }

    /// Writes a record that expires after `ttl`, and replaces any existing one.
    ///
    /// # Errors
    /// If the store cannot confirm that the record was written. The error is [`StoreError::full`]
    /// if there is no room for another record. An existing record can be replaced even then.
    fn put<'s>(&'s self, key: &'s str, value: Bytes, ttl: Duration) -> StoreFuture<'s, ()>;

    /// Removes a record and returns it.
    ///
    /// If several callers take the same record, one receives it.
    ///
    /// # Errors
    /// If the store cannot confirm that the record is gone.
    fn take<'s>(&'s self, key: &'s str) -> StoreFuture<'s, Option<Bytes>>;

    /// Writes a record only if the existing value equals `expected`, and returns whether it was
    /// written.
    ///
    /// The record expires after `ttl`. If `expected` is `None`, there must be no record yet.
    ///
    /// # Errors
    /// If the store cannot say whether the record was written; [`StoreError::full`] as in
    /// [`put`](Self::put).
    fn compare_and_swap<'s>(
        &'s self,
        key: &'s str,
        expected: Option<Bytes>,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'s, bool>;

    /// Returns whether other processes, or this one after a restart, can find the records.
    ///
    /// If so, [keys](crate::EntraOAuthProxyBuilder::keys) must be set. Default: yes.
    fn is_persistent(&self) -> bool {
        true
    }

    /// Returns whether a new sign-in may begin, without taking the room that those in progress
    /// still need.
    ///
    /// The server calls this before each sign-in, so the answer must come from memory. If the
    /// answer is no, the server sends no user to Entra for a sign-in that would fail, and existing
    /// sign-ins continue. Default: yes. Without room, the writes then fail.
    fn has_room(&self) -> bool {
        true
    }
}

macro_rules! store_by_pointer {
    ($($pointer:ident),*) => {$(
        impl<S: Store + ?Sized> Store for $pointer<S> {
            fn get<'s>(&'s self, key: &'s str) -> StoreFuture<'s, Option<Bytes>> {
                S::get(self, key)
            }

            fn get_all<'s>(&'s self, keys: &'s [&'s str]) -> StoreFuture<'s, Vec<Option<Bytes>>> {
                S::get_all(self, keys)
            }

            fn put<'s>(&'s self, key: &'s str, value: Bytes, ttl: Duration) -> StoreFuture<'s, ()> {
                S::put(self, key, value, ttl)
            }

            fn take<'s>(&'s self, key: &'s str) -> StoreFuture<'s, Option<Bytes>> {
                S::take(self, key)
            }

            fn compare_and_swap<'s>(
                &'s self,
                key: &'s str,
                expected: Option<Bytes>,
                value: Bytes,
                ttl: Duration,
            ) -> StoreFuture<'s, bool> {
                S::compare_and_swap(self, key, expected, value, ttl)
            }

            fn is_persistent(&self) -> bool {
                S::is_persistent(self)
            }

            fn has_room(&self) -> bool {
                S::has_room(self)
            }
        }
    )*};
}

store_by_pointer!(Arc, Box);

/// Returns the part of a capacity that is reserved for sign-ins in progress.
///
/// Each of them still needs room for its grant and for a record of its user.
const fn reserve(most: u64) -> u64 {
    let part = most / 16;
    match part < 1_024 {
        true => part,
        false => 1_024,
    }
}

/// The future of a [`Store`] operation.
pub type StoreFuture<'s, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 's>>;

/// The error of a store that cannot answer now, or has no room.
///
/// Its text is for the log, and must not contain a value.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    reason: Box<dyn std::error::Error + Send + Sync>,
}

/// Kind of a store error. It decides which error the client receives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum StoreErrorKind {
    NoAnswer,
    Full,
    /// A later version of this server wrote the record.
    Later,
}

impl StoreError {
    /// Creates an error with this reason.
    pub fn new(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            kind: StoreErrorKind::NoAnswer,
            reason: reason.into(),
        }
    }

    /// Creates the error of a store without room for another record.
    ///
    /// Existing records stay, and can be replaced and taken.
    pub fn full(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            kind: StoreErrorKind::Full,
            ..Self::new(reason)
        }
    }

    /// Returns whether the store has no room for another record.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.kind == StoreErrorKind::Full
    }

    /// Creates the error for a record that a later version of this server wrote.
    fn later() -> Self {
        Self {
            kind: StoreErrorKind::Later,
            ..Self::new("a record was written by a later version of this server")
        }
    }

    /// Returns whether a later version of this server wrote the record.
    pub(crate) fn is_later(&self) -> bool {
        self.kind == StoreErrorKind::Later
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            StoreErrorKind::NoAnswer => "the store does not respond",
            StoreErrorKind::Full => "the store is full",
            StoreErrorKind::Later => "the store cannot be read",
        };
        write!(formatter, "{what}: {}", self.reason)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.reason)
    }
}
