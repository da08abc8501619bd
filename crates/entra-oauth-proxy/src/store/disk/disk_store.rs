//! The store over the file.

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

/// Keeps records in one file: for one instance, over restarts and whatever ends the process.
///
/// A write that was answered is on the disk. Writes that come at once share one transaction, and one
/// wait for the disk. One process at a time has the file: the operating system lets it go when the
/// process ends, in whichever way.
///
/// It reads and writes in threads of its own. A disk that does not answer holds up those alone who ask
/// for a record, and the proxy gives up on it after 10 s. It is used on a tokio runtime with timers, as
/// the proxy is.
///
/// Where the disk is full or fails, what cannot be written is refused, reads go on, and it works again
/// by itself once it can. It tries after 1 s, and each time later, up to 30 s. After each failure the
/// file is opened again, and looked through: reads fail in these moments. What was answered with an
/// error is written, or it is not.
///
/// The file grows to what was ever needed at the same time. The place of a record is used again a day
/// after its end, so that a wall clock that is wrong for a moment, by less, signs nobody out for good;
/// where the store is nearly full, at its end.
/// Its owner alone can read the file (on Unix). A copy is a backup if the process was stopped while it
/// was made.
///
/// It keeps a [bounded](DiskStoreOptions::capacity) number of records. When it is full, it refuses new
/// ones, and goes on to replace those that are there and to take them away. From a sixteenth before that
/// (1 024 records at most) it takes no new sign-ins, so that those under way come to their end.
///
/// A cheap handle: clones share everything. When the last one is dropped, that waits until everything
/// that was accepted is written, and for reads that have begun.
#[derive(Clone)]
pub struct DiskStore {
    shared: Arc<Shared>,
}

/// The options of opening a [`DiskStore`]; begin with [`DiskStore::options`].
#[derive(Clone)]
#[must_use = "nothing is opened before open()"]
pub struct DiskStoreOptions {
    clock: Clock,
    capacity: u64,
}

/// The state that clones share. The writer ends first, then those who read.
struct Shared {
    disk: Arc<Disk>,
    writer: Writer,
    readers: Readers,
}

impl DiskStore {
    /// The default [capacity](DiskStoreOptions::capacity): 500 000 records. A sign-in has one of 3 to
    /// 20 KB as long as it lasts, and one of up to 3 KB for half an hour and the day for which what is
    /// over stays; a user has one of up to some KB. With 5 KB each, that is 2.5 GB.
    pub const DEFAULT_CAPACITY: u64 = 500_000;

    /// Opens the file, or makes it if there is none. Its directory must be there.
    ///
    /// It is looked through first, so that no damage is met later: a second for each GB, more or less.
    ///
    /// # Errors
    /// If the store cannot be opened: see [`OpenStoreError`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenStoreError> {
        Self::options().open(path)
    }

    /// Begins with the defaults: the system's clock, and the
    /// [default capacity](Self::DEFAULT_CAPACITY).
    pub fn options() -> DiskStoreOptions {
        DiskStoreOptions {
            clock: Arc::new(SystemTime::now),
            capacity: Self::DEFAULT_CAPACITY,
        }
    }

    /// Returns whether no record is good.
    pub(crate) fn is_empty(&self) -> Result<bool, StoreError> {
        let disk = &self.shared.disk;
        let latest = disk.read(Opened::latest_end)?;
        Ok(latest.is_none_or(|latest| latest <= disk.now()))
    }

    /// Starts the threads over the disk.
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
    /// Sets the wall clock, by which records end.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets the number of records that it keeps at most. Default: [`DiskStore::DEFAULT_CAPACITY`]. One
    /// that has more when it is opened keeps them, and takes no new ones until there are fewer.
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

    /// Compares the number of records after the last write, or sweep, with the capacity less the part
    /// for sign-ins under way.
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
