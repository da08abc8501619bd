//! Where grants and authorization codes are kept.

#[cfg(feature = "redb")]
mod disk;
mod memory;
mod records;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

#[cfg(feature = "redb")]
pub(crate) use self::disk::sync_directory;
#[cfg(feature = "redb")]
pub use self::disk::{DiskStore, DiskStoreOptions, OpenStoreError};
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
/// `conformance::check` (feature `testing`) tests that. [`MemoryStore`] is the default.
///
/// A record whose time is over is gone; until when it takes space is the store's own affair.
pub trait Store: Send + Sync + 'static {
    /// The value of a record.
    ///
    /// # Errors
    /// If the store cannot tell now. Not if there is none.
    fn get<'s>(&'s self, key: &'s str) -> Stored<'s, Option<Bytes>>;

    /// Writes a record that is good for `ttl`, in place of any that is there.
    ///
    /// # Errors
    /// If it cannot be known that the record was written.
    fn put<'s>(&'s self, key: &'s str, value: Bytes, ttl: Duration) -> Stored<'s, ()>;

    /// Takes a record away and returns it: of several who take one, one gets it.
    ///
    /// # Errors
    /// If it cannot be known that the record is gone.
    fn take<'s>(&'s self, key: &'s str) -> Stored<'s, Option<Bytes>>;

    /// Writes a record that is good for `ttl` if the one that is there is exactly `expected`, with
    /// `None` if there is none; says whether that was so.
    ///
    /// # Errors
    /// If it cannot be known whether the record was written.
    fn compare_and_swap<'s>(
        &'s self,
        key: &'s str,
        expected: Option<Bytes>,
        value: Bytes,
        ttl: Duration,
    ) -> Stored<'s, bool>;

    /// Whether records are there for other processes, or after a restart: then
    /// [keys](crate::EntraOAuthProxyBuilder::keys) must be set. Default: yes.
    fn outlives_the_process(&self) -> bool {
        true
    }
}

/// What a [`Store`] answers.
pub type Stored<'s, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 's>>;

/// A store cannot answer now.
///
/// Its text is for the log: it must not hold a value.
#[derive(Debug)]
pub struct StoreError(Box<dyn std::error::Error + Send + Sync>);

impl StoreError {
    /// For this reason.
    pub fn new(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the store does not answer: {}", self.0)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}
