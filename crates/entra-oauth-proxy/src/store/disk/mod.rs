//! A store in a file: the database, and the state that the readers and the writer share.

mod disk_store;
mod open;
mod readers;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use redb::{
    Database, ReadOnlyTable, ReadableDatabase as _, ReadableTable, ReadableTableMetadata as _,
    StorageBackend, TableDefinition, TableHandle as _,
};
use tokio::sync::Semaphore;

pub use self::disk_store::{DiskStore, DiskStoreOptions};
pub use self::open::{OpenStoreError, OpenStoreErrorKind};
use super::{StoreError, reserve};

/// Version of the tables in the file. The contents of the records have their own versions.
const FORMAT_VERSION: u64 = 1;

/// Time of expiry (milliseconds since 1970) and value of each record, by its key.
const RECORDS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("records");

/// Times of expiry of the records, and their keys. With them, a sweep reads expired records only.
const ENDS: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("ends");

/// Version of these tables, under the key `VERSION`.
///
/// Every version can read this table of a later one. Version 0 did not have the table.
const FORMAT: TableDefinition<'_, &str, u64> = TableDefinition::new("format");

const VERSION: &str = "version";

/// Size of redb's cache, in bytes. It is small in tests, so that they access the file.
const CACHE: usize = match cfg!(test) {
    true => 128 * 1024,
    false => 64 * 1024 * 1024,
};

/// Number of reader threads.
///
/// On a slow disk, reads of cached records do not wait for a read that needs the disk.
const READERS: usize = 4;

/// Maximum number of pending reads, and of pending writes.
///
/// More requests wait to be accepted. A disk that does not respond therefore costs little memory,
/// however many callers ask and give up.
const PLACES: usize = 1_024;

/// The wall clock.
type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The opened file, which the writer and the readers share.
struct Disk {
    path: Box<Path>,
    /// The file with its lock. It stays open when another database over it replaces the current
    /// one.
    backend: Arc<dyn StorageBackend>,
    opened: RwLock<Opened>,
    clock: Clock,
    capacity: u64,
    /// Number of records after the last write.
    count: AtomicU64,
    places_to_read: Arc<Semaphore>,
    places_to_write: Arc<Semaphore>,
}

impl Disk {
    /// Time for which an expired record stays in the file: a day, in milliseconds.
    const STAYS: u64 = 24 * 60 * 60 * 1_000;

    /// Opens the database over a file.
    fn over(
        path: &Path,
        backend: Arc<dyn StorageBackend>,
        clock: Clock,
        capacity: u64,
    ) -> Result<Self, NotOpened> {
        let opened = Opened::over(&backend)?;
        let count = opened.count().map_err(NotOpened::Failed)?;
        Ok(Self {
            path: path.into(),
            backend,
            opened: RwLock::new(opened),
            clock,
            capacity,
            count: AtomicU64::new(count),
            places_to_read: Arc::new(Semaphore::new(PLACES)),
            places_to_write: Arc::new(Semaphore::new(PLACES)),
        })
    }

    /// Returns the number of records at which there is no more room for new sign-ins.
    fn nearly_full(&self) -> u64 {
        self.capacity.saturating_sub(reserve(self.capacity))
    }

    /// Returns the time for which an expired record stays in a file of `count` records, in
    /// milliseconds.
    ///
    /// A clock that is wrong for a moment, by less than this, ends no sign-in. If the store is
    /// nearly full, the time is zero, because valid records need the room.
    fn stays(&self, count: u64) -> u64 {
        match count < self.nearly_full() {
            true => Self::STAYS,
            false => 0,
        }
    }

    /// Returns the current time, in milliseconds since 1970.
    fn now(&self) -> u64 {
        let since = (self.clock)().duration_since(UNIX_EPOCH);
        millis(since.unwrap_or_default())
    }

    fn opened(&self) -> RwLockReadGuard<'_, Opened> {
        self.opened.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the database by another one.
    fn replace(&self, by: Opened) {
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *opened, by);
        drop(opened);
        // A fault of the old database may also cause a panic when it is dropped.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(before)));
    }

    /// Reads from the database, and records a failure.
    fn read<T>(&self, what: impl FnOnce(&Opened) -> Result<T, Failed>) -> Result<T, StoreError> {
        let opened = self.opened();
        what(&opened).map_err(|Failed(error)| {
            // The writer opens the database again.
            opened.record_failure();
            StoreError::new(format!("{} cannot be read: {error}", self.path.display()))
        })
    }
}

/// Cause of a failed access to the database.
#[derive(Debug)]
struct Failed(Box<redb::Error>);

impl<E: Into<redb::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(Box::new(error.into()))
    }
}

/// Turns a panic into an error. redb panics on some damage, and if its file panics.
fn caught<T, E: From<redb::Error>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|_| Err(redb::Error::Corrupted("it makes no sense".to_owned()).into()))
}

/// Cause of a failure to open the database.
#[derive(Debug)]
enum NotOpened {
    /// The file has tables that are not a store's.
    Foreign,
    /// A later version of this server made the file, with this version of the tables.
    Later(u64),
    Failed(Failed),
}

impl<E: Into<redb::Error>> From<E> for NotOpened {
    fn from(error: E) -> Self {
        Self::Failed(Failed::from(error))
    }
}

/// A database over the file. After a failure, another one replaces it.
struct Opened {
    database: Database,
    is_over: Arc<AtomicBool>,
    has_failed: AtomicBool,
}

impl Opened {
    /// Opens the database, or creates one. Repairs a database that was not closed.
    fn over(backend: &Arc<dyn StorageBackend>) -> Result<Self, NotOpened> {
        caught(|| Self::open(backend))
    }

    fn open(backend: &Arc<dyn StorageBackend>) -> Result<Self, NotOpened> {
        let is_over = Arc::new(AtomicBool::new(false));
        let file = FileOfDatabase {
            backend: Arc::clone(backend),
            is_over: Arc::clone(&is_over),
        };
        let database = Database::builder()
            .set_cache_size(CACHE)
            // Without this check, redb may panic later when it reads a damaged page.
            .set_check_integrity_on_open(true)
            .create_with_backend(file)?;
        let opened = Self {
            database,
            is_over,
            has_failed: AtomicBool::new(false),
        };
        let tables: Vec<_> = opened.database.begin_read()?.list_tables()?.collect();
        let has_version = tables.iter().any(|table| table.name() == FORMAT.name());
        if has_version {
            let transaction = opened.database.begin_read()?;
            let version = transaction.open_table(FORMAT)?.get(VERSION)?;
            match version.map(|version| version.value()) {
                Some(version) if version <= FORMAT_VERSION => {}
                Some(version) => return Err(NotOpened::Later(version)),
                None => return Err(NotOpened::Foreign),
            }
        }
        let ours = [RECORDS.name(), ENDS.name(), FORMAT.name()];
        if tables.iter().any(|table| !ours.contains(&table.name())) {
            return Err(NotOpened::Foreign);
        }
        // Version 0 has the same tables, except this one.
        if !has_version {
            let transaction = opened.database.begin_write()?;
            transaction.open_table(RECORDS)?;
            transaction.open_table(ENDS)?;
            let version = &FORMAT_VERSION;
            transaction.open_table(FORMAT)?.insert(VERSION, version)?;
            transaction.commit()?;
        }
        Ok(opened)
    }

    /// Separates the database from its file permanently.
    fn close(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    /// Records that the database must be opened again before it can read or write.
    fn record_failure(&self) {
        self.has_failed.store(true, Ordering::SeqCst);
    }

    fn is_failed(&self) -> bool {
        self.has_failed.load(Ordering::SeqCst)
    }

    /// Reads committed records, in one transaction.
    fn get_all(&self, keys: &[Box<str>], now: u64) -> Result<Vec<Option<Bytes>>, Failed> {
        caught(|| {
            let transaction = self.database.begin_read()?;
            let records: ReadOnlyTable<_, _> = transaction.open_table(RECORDS)?;
            keys.iter().map(|key| good(&records, key, now)).collect()
        })
    }

    /// Returns the number of records, including expired ones that are still in the file.
    ///
    /// The table stores this number.
    fn count(&self) -> Result<u64, Failed> {
        caught(|| {
            let transaction = self.database.begin_read()?;
            Ok(transaction.open_table(RECORDS)?.len()?)
        })
    }

    /// Returns the time at which the last record expires.
    fn latest_end(&self) -> Result<Option<u64>, Failed> {
        caught(|| {
            let transaction = self.database.begin_read()?;
            let ends = transaction.open_table(ENDS)?;
            Ok(ends.last()?.map(|(key, _)| key.value().0))
        })
    }

    /// Returns whether a record expired at least `stays` milliseconds ago.
    fn has_to_sweep(&self, now: u64, stays: u64) -> Result<bool, Failed> {
        caught(|| {
            let transaction = self.database.begin_read()?;
            let ends = transaction.open_table(ENDS)?;
            let earliest = ends.first()?.map(|(key, _)| key.value().0);
            Ok(earliest.is_some_and(|end| end <= now.saturating_sub(stays)))
        })
    }
}

/// Returns the value of a record, unless the record has expired.
fn good(
    records: &impl ReadableTable<&'static str, (u64, &'static [u8])>,
    key: &str,
    now: u64,
) -> Result<Option<Bytes>, Failed> {
    let found = records.get(key)?;
    Ok(found.and_then(|record| {
        let (end, value) = record.value();
        (now < end).then(|| Bytes::copy_from_slice(value))
    }))
}

/// The file, as one database accesses it.
///
/// After [`close`](Opened::close), this database cannot access the file any more. The file itself
/// stays open and locked.
#[derive(Debug)]
struct FileOfDatabase {
    backend: Arc<dyn StorageBackend>,
    is_over: Arc<AtomicBool>,
}

impl FileOfDatabase {
    fn backend(&self) -> io::Result<&dyn StorageBackend> {
        match self.is_over.load(Ordering::SeqCst) {
            true => Err(io::Error::other("another database has the file now")),
            false => Ok(&*self.backend),
        }
    }
}

impl StorageBackend for FileOfDatabase {
    fn len(&self) -> io::Result<u64> {
        self.backend()?.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.backend()?.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.backend()?.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.backend()?.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.backend()?.write(offset, data)
    }
}

/// A change to one record.
enum Task {
    Put {
        value: Bytes,
        ttl: Duration,
    },
    Take,
    Swap {
        expected: Option<Bytes>,
        value: Bytes,
        ttl: Duration,
    },
}

/// Outcome of a task.
#[derive(Default)]
struct Written {
    taken: Option<Bytes>,
    is_swapped: bool,
    /// `true` if the task was not done, because there was no room.
    is_full: bool,
}

/// Wait times of the writer, for work and after failures.
struct Pace {
    /// Time that the writer waits for work before it looks for expired records.
    idle: Duration,
    /// Time since the start, by which the pauses are measured.
    elapsed: Box<dyn Fn() -> Duration + Send>,
    /// First pause after a failure. Each further pause is longer.
    rest: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let begun = Instant::now();
        Self {
            idle: Duration::from_secs(1),
            elapsed: Box::new(move || begun.elapsed()),
            rest: Duration::from_secs(1),
        }
    }
}

/// Writes a directory to the disk, so that a new name in it survives a power failure.
///
/// Only Unix can do this, and needs it.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    match cfg!(unix) {
        true => File::open(directory)?.sync_all(),
        false => Ok(()),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
