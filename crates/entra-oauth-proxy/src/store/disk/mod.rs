//! Records in a file.

mod database;
mod open;
mod readers;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use redb::StorageBackend;
use tokio::sync::{Semaphore, oneshot};

use self::database::{Failed, NotOpened, Opened};
pub use self::open::OpenStoreError;
pub(crate) use self::open::sync_directory;
use self::readers::Readers;
use self::writer::{Answer, Operation, Task, Writer};
use super::{Store, StoreError, Stored, reserve};

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
    inner: Arc<Inner>,
}

/// How a [`DiskStore`] is opened; begin with [`DiskStore::options`].
#[derive(Clone)]
#[must_use = "nothing is opened before open()"]
pub struct DiskStoreOptions {
    clock: Clock,
    capacity: u64,
}

/// A day, in milliseconds.
const STAYS: u64 = 24 * 60 * 60 * 1_000;

/// The wall clock.
type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

struct Inner {
    disk: Arc<Disk>,
    readers: Readers,
    /// There until it is dropped.
    writer: Option<(mpsc::Sender<Operation>, JoinHandle<()>)>,
    /// How many writes may wait.
    places: Arc<Semaphore>,
}

/// What the writer and those who read share.
struct Disk {
    path: Box<Path>,
    /// Stays while databases over it come and go, and with it the lock on the file.
    backend: Arc<dyn StorageBackend>,
    opened: RwLock<Opened>,
    clock: Clock,
    capacity: u64,
    /// The number of records after the last write.
    count: AtomicU64,
}

impl DiskStore {
    /// The default [capacity](DiskStoreOptions::capacity): 500 000 records. A sign-in has one of 3 to
    /// 20 KB as long as it lasts, and one of up to 3 KB for half an hour and the day for which what is
    /// over stays; a user has one of up to some KB. With 5 KB each, that is 2.5 GB.
    pub const DEFAULT_CAPACITY: u64 = 500_000;

    /// How many writes wait at most; more wait to be accepted.
    const PLACES: usize = 1_024;

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

    /// Whether no record is good.
    pub(crate) fn is_empty(&self) -> Result<bool, StoreError> {
        let disk = &self.inner.disk;
        let latest = disk.read(Opened::latest_end)?;
        Ok(latest.is_none_or(|latest| latest <= disk.now()))
    }

    /// Hands it to the writer. From when it is accepted it is carried out, whether or not anybody waits
    /// for the answer.
    async fn write(&self, key: &str, task: Task) -> Result<Answer, StoreError> {
        let gone = || StoreError::new("its writer has ended; an error in the log says why");
        let places = Arc::clone(&self.inner.places);
        let place = places.acquire_owned().await.map_err(|_| gone())?;
        let (answer, answered) = oneshot::channel();
        let operation = Operation {
            key: key.into(),
            task,
            answer,
            _place: place,
        };
        let (sender, _) = self.inner.writer.as_ref().ok_or_else(gone)?;
        sender.send(operation).map_err(|_| gone())?;
        let answer = answered.await.map_err(|_| gone())??;
        match answer.is_full {
            true => Err(self.full()),
            false => Ok(answer),
        }
    }

    fn full(&self) -> StoreError {
        let Disk { path, capacity, .. } = &*self.inner.disk;
        StoreError::full(format!(
            "{} keeps {capacity} records; give it more by DiskStoreOptions::capacity(..), or end \
             sign-ins earlier by idle_lifetime(..)",
            path.display()
        ))
    }
}

impl DiskStoreOptions {
    /// The wall clock, by which records end.
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
        let backend = open::backend(path)?;
        self.over(path, Arc::new(backend), Writer::new)
    }

    fn over(
        self,
        path: &Path,
        backend: Arc<dyn StorageBackend>,
        writer: impl FnOnce(Arc<Disk>) -> Writer,
    ) -> Result<DiskStore, OpenStoreError> {
        let opened = Opened::over(&backend).map_err(|error| OpenStoreError::of(path, error))?;
        let count = opened.count().map_err(NotOpened::Failed);
        let count = count.map_err(|error| OpenStoreError::of(path, error))?;
        let disk = Arc::new(Disk {
            opened: RwLock::new(opened),
            path: path.into(),
            backend,
            clock: self.clock,
            capacity: self.capacity,
            count: AtomicU64::new(count),
        });
        let readers = Readers::start(&disk);
        let readers = readers.map_err(|error| OpenStoreError::io(path, error))?;
        let (sender, receiver) = mpsc::channel();
        let writer = writer(Arc::clone(&disk));
        let thread = std::thread::Builder::new()
            .name("entra-oauth-proxy store".to_owned())
            .spawn(move || writer.run(&receiver));
        let thread = thread.map_err(|error| OpenStoreError::io(path, error))?;
        Ok(DiskStore {
            inner: Arc::new(Inner {
                disk,
                readers,
                writer: Some((sender, thread)),
                places: Arc::new(Semaphore::new(DiskStore::PLACES)),
            }),
        })
    }
}

impl Disk {
    /// Returns the number of records from which on there is no room for new sign-ins.
    fn nearly_full(&self) -> u64 {
        self.capacity.saturating_sub(reserve(self.capacity))
    }

    /// Returns how many milliseconds a record that is over stays in the file, which has so many: a
    /// clock that is wrong for less, and for a moment, takes nobody's sign-in. Where it is nearly full,
    /// none: what is good needs the room.
    fn stays(&self, count: u64) -> u64 {
        match count < self.nearly_full() {
            true => STAYS,
            false => 0,
        }
    }

    /// Milliseconds since 1970.
    fn now(&self) -> u64 {
        let since = (self.clock)().duration_since(UNIX_EPOCH);
        millis(since.unwrap_or_default())
    }

    fn opened(&self) -> RwLockReadGuard<'_, Opened> {
        self.opened.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, by: Opened) {
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *opened, by);
        drop(opened);
        // What made it fail may make it panic at its end, too.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(before)));
    }

    /// Reads what was committed.
    fn read<T>(&self, what: impl FnOnce(&Opened) -> Result<T, Failed>) -> Result<T, StoreError> {
        let opened = self.opened();
        what(&opened).map_err(|error| {
            // The writer opens it anew.
            opened.record_failure();
            StoreError::new(format!("{} cannot be read: {error}", self.path.display()))
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.writer.take() {
            // The writer ends when it has written everything.
            drop(sender);
            // If it panicked, that was said.
            let _ = thread.join();
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Store for DiskStore {
    fn get<'s>(&'s self, key: &'s str) -> Stored<'s, Option<Bytes>> {
        Box::pin(async move {
            let values = self.get_all(&[key]).await?;
            Ok(values.into_iter().next().flatten())
        })
    }

    fn get_all<'s>(&'s self, keys: &'s [&'s str]) -> Stored<'s, Vec<Option<Bytes>>> {
        Box::pin(async move {
            let Inner { readers, disk, .. } = &*self.inner;
            readers.get_all(keys, disk.now()).await
        })
    }

    fn put<'s>(&'s self, key: &'s str, value: Bytes, ttl: Duration) -> Stored<'s, ()> {
        Box::pin(async move {
            let task = Task::Put { value, ttl };
            self.write(key, task).await.map(|_| ())
        })
    }

    fn take<'s>(&'s self, key: &'s str) -> Stored<'s, Option<Bytes>> {
        Box::pin(async move {
            let answer = self.write(key, Task::Take).await?;
            Ok(answer.taken)
        })
    }

    fn compare_and_swap<'s>(
        &'s self,
        key: &'s str,
        expected: Option<Bytes>,
        value: Bytes,
        ttl: Duration,
    ) -> Stored<'s, bool> {
        Box::pin(async move {
            let task = Task::Swap {
                expected,
                value,
                ttl,
            };
            let answer = self.write(key, task).await?;
            Ok(answer.is_swapped)
        })
    }

    /// Compares the number of records after the last write, or sweep, with the capacity less the part
    /// for sign-ins under way.
    fn has_room(&self) -> bool {
        let disk = &self.inner.disk;
        disk.count.load(Ordering::Relaxed) < disk.nearly_full()
    }
}

impl fmt::Debug for DiskStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DiskStore")
            .field("path", &self.inner.disk.path)
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
