//! A store over a file.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::open::{OpenStoreError, backend};
use super::readers::Readers;
use super::writer::Writer;
use super::{Clock, Disk, Opened, Pace, Task};
use crate::store::{Store, StoreError, StoreFuture};

/// A store in one file, for one instance.
///
/// It survives restarts and crashes of the process. A write that was answered is on the disk.
/// Concurrent writes share one transaction, and one wait for the disk. Only one process at a time
/// can open the file. The operating system releases the file when the process ends, however it
/// ends.
///
/// The store reads and writes in its own threads. A disk that does not respond delays only callers
/// that need a record, and the proxy gives up after 10 s. The store needs a tokio runtime with
/// timers, as the proxy does.
///
/// If the disk is full or fails, writes that cannot be done are refused, and reads continue. The
/// store recovers without a restart once the disk works. It tries again after 1 s, and then after
/// longer pauses, up to 30 s. After each failure it opens the file again and checks it. Meanwhile,
/// reads fail. A write that was answered with an error may be on the disk, or not.
///
/// The file grows to the largest size that was ever needed at one time. The space of an expired
/// record is reused after a day. A wall clock that is wrong for a moment, by less than a day,
/// therefore signs no user out permanently. If the store is nearly full, the space is reused
/// immediately. Only the owner can read the file (on Unix). A copy of the file is a backup if the
/// process was stopped during the copy.
///
/// The store keeps a [bounded](DiskStoreOptions::capacity) number of records. When it is full, it
/// refuses new records, but existing ones can still be replaced and removed. When only a sixteenth
/// of the capacity (1 024 records at most) is left, it accepts no new sign-ins, so that those in
/// progress can complete.
///
/// This is a cheap handle: clones share everything. Dropping the last clone waits for all accepted
/// writes, and for reads that have begun.
#[derive(Clone)]
pub struct DiskStore {
    shared: Arc<Shared>,
}

/// Options for opening a [`DiskStore`].
///
/// Begin with [`DiskStore::options`].
#[derive(Clone)]
#[must_use = "the options do nothing until open() is called"]
pub struct DiskStoreOptions {
    clock: Clock,
    capacity: u64,
}

/// State that clones share. The writer ends first, and then the readers.
struct Shared {
    disk: Arc<Disk>,
    writer: Writer,
    readers: Readers,
}

impl DiskStore {
    /// Default [capacity](DiskStoreOptions::capacity): 500 000 records.
    ///
    /// A sign-in has one record of 3 to 20 KB for as long as it lasts. It has another record of up
    /// to 3 KB for half an hour, and for the day that expired records stay in the file. A user has
    /// one record of up to a few KB. With 5 KB for each record, that is 2.5 GB.
    pub const DEFAULT_CAPACITY: u64 = 500_000;

    /// Opens the file, or creates it if it does not exist.
    ///
    /// Its directory must exist. Opening checks the whole file, so that damage is found now and not
    /// later. This takes about a second for each GB.
    ///
    /// # Errors
    /// If the store cannot be opened: see [`OpenStoreError`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenStoreError> {
        Self::options().open(path)
    }

    /// Returns the default options: the system's clock, and the [default
    /// capacity](Self::DEFAULT_CAPACITY).
    pub fn options() -> DiskStoreOptions {
        DiskStoreOptions {
            clock: Arc::new(SystemTime::now),
            capacity: Self::DEFAULT_CAPACITY,
        }
    }

    /// Returns whether the store has no valid record.
    pub(crate) fn is_empty(&self) -> Result<bool, StoreError> {
        let disk = &self.shared.disk;
        let latest = disk.read(Opened::latest_end)?;
        Ok(latest.is_none_or(|latest| latest <= disk.now()))
    }

    /// Starts the reader threads and the writer thread.
    pub(super) fn start(disk: Arc<Disk>, pace: Pace) -> Result<Self, OpenStoreError> {
        let failed = |error| OpenStoreError::of(&disk.path, error);
        let readers = Readers::start(&disk).map_err(failed)?;
        let writer = Writer::start(&disk, pace).map_err(failed)?;
        Ok(Self {
            shared: Arc::new(Shared {
                disk,
                writer,
                readers,
            }),
        })
    }
}

impl DiskStoreOptions {
    /// Sets the wall clock that decides when records expire.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets the maximum number of records.
    ///
    /// Default: [`DiskStore::DEFAULT_CAPACITY`]. If the file already has more records when it is
    /// opened, the store keeps them, and accepts no new ones until there are fewer.
    pub fn capacity(mut self, records: u64) -> Self {
        self.capacity = records;
        self
    }

    /// Opens the file: see [`DiskStore::open`].
    ///
    /// # Errors
    /// If the store cannot be opened: see [`OpenStoreError`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<DiskStore, OpenStoreError> {
        let path = path.as_ref();
        let disk = Disk::over(path, backend(path)?, self.clock, self.capacity);
        let disk = disk.map_err(|error| OpenStoreError::of(path, error))?;
        DiskStore::start(Arc::new(disk), Pace::default())
    }
}

impl Store for DiskStore {
    fn get<'s>(&'s self, key: &'s str) -> StoreFuture<'s, Option<Bytes>> {
        Box::pin(async move {
            let values = self.get_all(&[key]).await?;
            Ok(values.into_iter().next().flatten())
        })
    }

    fn get_all<'s>(&'s self, keys: &'s [&'s str]) -> StoreFuture<'s, Vec<Option<Bytes>>> {
        Box::pin(async move {
            let Shared { readers, disk, .. } = &*self.shared;
            readers.get_all(keys, disk).await
        })
    }

    fn put<'s>(&'s self, key: &'s str, value: Bytes, ttl: Duration) -> StoreFuture<'s, ()> {
        Box::pin(async move {
            let task = Task::Put { value, ttl };
            self.shared.writer.write(key, task).await.map(|_| ())
        })
    }

    fn take<'s>(&'s self, key: &'s str) -> StoreFuture<'s, Option<Bytes>> {
        Box::pin(async move { Ok(self.shared.writer.write(key, Task::Take).await?.taken) })
    }

    fn compare_and_swap<'s>(
        &'s self,
        key: &'s str,
        expected: Option<Bytes>,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'s, bool> {
        Box::pin(async move {
            let task = Task::Swap {
                expected,
                value,
                ttl,
            };
            Ok(self.shared.writer.write(key, task).await?.is_swapped)
        })
    }

    /// Compares the number of records after the last write or sweep with the capacity, less the
    /// part for sign-ins in progress.
    fn has_room(&self) -> bool {
        let disk = &self.shared.disk;
        disk.count.load(Ordering::Relaxed) < disk.nearly_full()
    }
}

impl fmt::Debug for DiskStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DiskStore")
            .field("path", &self.shared.disk.path)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for DiskStoreOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DiskStoreOptions")
            .finish_non_exhaustive()
    }
}
