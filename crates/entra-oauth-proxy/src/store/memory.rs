//! Records in this process's memory.

use std::collections::HashMap;
use std::fmt;
use std::future::ready;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Store, StoreError, StoreFuture, reserve};

/// A store in memory, for one instance of the server; it is empty after a restart.
///
/// This is the default. After a restart, all users must therefore sign in again.
pub struct MemoryStore {
    table: Mutex<Table>,
    most: usize,
}

#[derive(Default)]
struct Table {
    by_key: HashMap<Box<str>, Record>,
    /// Number of records at which the next sweep removes expired ones.
    sweep_at: usize,
    /// Time of the last sweep that left the table full.
    full_at: Option<Instant>,
}

struct Record {
    value: Bytes,
    until: Instant,
}

impl MemoryStore {
    /// Default maximum number of records: 100 000.
    ///
    /// [`with_capacity`](Self::with_capacity) sets another. A sign-in (grant) has 3 to 20 KB.
    pub const DEFAULT_CAPACITY: usize = 100_000;

    /// Minimum value of `sweep_at` after a sweep.
    const SWEEP: usize = 1_024;

    /// Time for which a full store is not swept again.
    const LOOK_AGAIN: Duration = Duration::from_secs(1);

    /// Creates an empty store with the [default capacity](Self::DEFAULT_CAPACITY).
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(Self::DEFAULT_CAPACITY)
    }

    /// Creates an empty store that keeps at most the given number of records.
    ///
    /// A store that is full of valid records refuses new ones. No existing sign-in ends for a new
    /// one. When only a sixteenth of the capacity (1 024 records at most) is left, the store
    /// accepts no new sign-ins, so that those in progress can complete.
    #[must_use]
    pub fn with_capacity(records: usize) -> Self {
        Self {
            table: Mutex::default(),
            most: records,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn get(&self, key: &str) -> Option<&Bytes> {
        let record = self.by_key.get(key)?;
        (Instant::now() < record.until).then_some(&record.value)
    }

    /// Returns whether there is room for another record, after a sweep of expired records if
    /// necessary.
    ///
    /// `most` is the maximum number of records. A full table is not swept again for a moment.
    fn make_room(&mut self, now: Instant, most: usize) -> bool {
        let was_full = self
            .full_at
            .is_some_and(|at| now < at + MemoryStore::LOOK_AGAIN);
        if !was_full && self.by_key.len() >= self.sweep_at.min(most) {
            self.by_key.retain(|_, record| now < record.until);
            // Amortised: between two sweeps, as many records are written as a sweep looks at.
            self.sweep_at = self.by_key.len().saturating_mul(2).max(MemoryStore::SWEEP);
        }
        let has_room = self.by_key.len() < most;
        if !has_room && !was_full {
            self.full_at = Some(now);
        }
        has_room
    }

    fn put(
        &mut self,
        key: &str,
        value: Bytes,
        ttl: Duration,
        most: usize,
    ) -> Result<(), StoreError> {
        let now = Instant::now();
        if !self.by_key.contains_key(key) && !self.make_room(now, most) {
            let text = format!(
                "it can hold {most} records; increase MemoryStore::with_capacity(..), or end \
                 sign-ins earlier with Lifetimes::idle(..)"
            );
            return Err(StoreError::full(text));
        }
        let until = now.checked_add(ttl).unwrap_or(now);
        self.by_key.insert(key.into(), Record { value, until });
        Ok(())
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    fn get<'s>(&'s self, key: &'s str) -> StoreFuture<'s, Option<Bytes>> {
        let found = self.lock().get(key).cloned();
        Box::pin(ready(Ok(found)))
    }

    fn put<'s>(&'s self, key: &'s str, value: Bytes, ttl: Duration) -> StoreFuture<'s, ()> {
        let done = self.lock().put(key, value, ttl, self.most);
        Box::pin(ready(done))
    }

    fn take<'s>(&'s self, key: &'s str) -> StoreFuture<'s, Option<Bytes>> {
        let mut table = self.lock();
        let found = table.get(key).cloned();
        table.by_key.remove(key);
        Box::pin(ready(Ok(found)))
    }

    fn compare_and_swap<'s>(
        &'s self,
        key: &'s str,
        expected: Option<Bytes>,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'s, bool> {
        let mut table = self.lock();
        let swapped = match table.get(key) == expected.as_ref() {
            true => table.put(key, value, ttl, self.most).map(|()| true),
            false => Ok(false),
        };
        Box::pin(ready(swapped))
    }

    fn is_persistent(&self) -> bool {
        false
    }

    fn has_room(&self) -> bool {
        let reserve = usize::try_from(reserve(self.most as u64)).unwrap_or_default();
        let most = self.most.saturating_sub(reserve);
        self.lock().make_room(Instant::now(), most)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MemoryStore")
            .field("records", &self.lock().by_key.len())
            .finish_non_exhaustive()
    }
}
