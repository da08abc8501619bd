//! The stores of sign-ins and authorization codes: in memory, on disk, and the trait for one of your own.

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

/// Keeps small records, each for a limited time.
///
/// Values are encrypted before they come here, and bound to their keys: whoever reads the store learns
/// nothing, and whoever writes into it can take records away or put an older one back, but not make
/// any. Keys are ASCII
/// without spaces, of at most 128 characters.
///
/// What a store promises: [`compare_and_swap`](Self::compare_and_swap) and [`take`](Self::take) are
/// atomic among all who use the store, and a write that was answered is seen by all reads after it.
/// `testing::check_store` (feature `testing`) tests that. [`MemoryStore`] is the default.
///
/// A record whose time is over is gone; until when it takes space is the store's own affair.
pub trait Store: Send + Sync + 'static {
    /// The value of a record.
    ///
    /// # Errors
    /// If the store cannot tell now. Not if there is none.
    fn get<'s>(&'s self, key: &'s str) -> StoreFuture<'s, Option<Bytes>>;

    /// The values of several records, in the order of the keys: for stores that read them in one request.
    /// Default: [`get`](Self::get) for each, one after the other.
    ///
    /// # Errors
    /// If the store cannot tell of one of them now.
    fn get_all<'s>(&'s self, keys: &'s [&'s str]) -> StoreFuture<'s, Vec<Option<Bytes>>> {
        Box::pin(async move {
            let mut values = Vec::with_capacity(keys.len());
            for key in keys {
                values.push(self.get(key).await?);
            }
            Ok(values)
        })
    }

    /// Writes a record that is good for `ttl`, in place of any that is there.
    ///
    /// # Errors
    /// If it cannot be known that the record was written; with [`StoreError::full`] if there is no room
    /// for another record. One that is there can be replaced all the same.
    fn put<'s>(&'s self, key: &'s str, value: Bytes, ttl: Duration) -> StoreFuture<'s, ()>;

    /// Takes a record away and returns it: of several who take one, one gets it.
    ///
    /// # Errors
    /// If it cannot be known that the record is gone.
    fn take<'s>(&'s self, key: &'s str) -> StoreFuture<'s, Option<Bytes>>;

    /// Writes a record that is good for `ttl` if the one that is there is exactly `expected`, with
    /// `None` if there is none; says whether that was so.
    ///
    /// # Errors
    /// If it cannot be known whether the record was written; with [`StoreError::full`] as
    /// [`put`](Self::put).
    fn compare_and_swap<'s>(
        &'s self,
        key: &'s str,
        expected: Option<Bytes>,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'s, bool>;

    /// Returns whether records are there for other processes, or after a restart: then
    /// [keys](crate::EntraOAuthProxyBuilder::keys) must be set. Default: yes.
    fn is_persistent(&self) -> bool {
        true
    }

    /// Returns whether new sign-ins fit, with some room left for those that are under way. It is asked
    /// before each sign-in, so it is to be answered from memory. While it says no, nobody is sent to Entra in
    /// vain, and those who are signed in go on. Default: yes; where there is no room, the writes say so.
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

/// Returns the part of a capacity that is kept for sign-ins that are under way when there is room for
/// no others: a code comes to a grant, and to a record of its user.
const fn reserve(most: u64) -> u64 {
    let part = most / 16;
    match part < 1_024 {
        true => part,
        false => 1_024,
    }
}

/// The future of a [`Store`]'s answer.
pub type StoreFuture<'s, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 's>>;

/// A store cannot answer now.
///
/// Its text is for the log: it must not hold a value.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    reason: Box<dyn std::error::Error + Send + Sync>,
}

/// The kinds of errors, by what a client is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum StoreErrorKind {
    NoAnswer,
    Full,
    /// The record is of a later version of this server.
    Later,
}

impl StoreError {
    /// Makes an error with this reason.
    pub fn new(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            kind: StoreErrorKind::NoAnswer,
            reason: reason.into(),
        }
    }

    /// Makes the error of a store without room for another record. What is there stays, can be replaced, and can
    /// be taken.
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

    /// Makes the error of a record by a later version of this server.
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
            StoreErrorKind::NoAnswer => "the store does not answer",
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
