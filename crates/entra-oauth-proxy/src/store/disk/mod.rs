//! Records in a file: the database over it, and what those who read and write share.

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

/// The version of the tables in the file, not of what is in the records.
const FORMAT_VERSION: u64 = 1;

/// The end of each record (milliseconds since 1970) and its value, by its key.
const RECORDS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("records");

/// The ends of the records, and their keys: a sweep looks at nothing that stays.
const ENDS: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("ends");

/// The version of these tables, under the one name: every version can read that of a later one. Version
/// 0 had no such table.
const FORMAT: TableDefinition<'_, &str, u64> = TableDefinition::new("format");

const VERSION: &str = "version";

/// The bytes that redb keeps in memory: little in tests, so that they reach the file.
const CACHE: usize = match cfg!(test) {
    true => 128 * 1024,
    false => 64 * 1024 * 1024,
};

/// The number of threads that read: on a disk that is slow, those whose records are in memory do not wait
/// for the one whose record is not.
const READERS: usize = 4;

/// The most reads, and the most writes, that wait; more wait to be accepted. So a disk that does not answer
/// costs little memory, however many ask and give up.
const PLACES: usize = 1_024;

/// The wall clock.
type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The opened file, shared by the writer and those who read.
struct Disk {
    path: Box<Path>,
    /// Stays while databases over it come and go, and with it the lock on the file.
    backend: Arc<dyn StorageBackend>,
    opened: RwLock<Opened>,
    clock: Clock,
    capacity: u64,
    /// The number of records after the last write.
    count: AtomicU64,
    places_to_read: Arc<Semaphore>,
    places_to_write: Arc<Semaphore>,
}

impl Disk {
    /// A day, in milliseconds.
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

    /// Returns the number of records from which on there is no room for new sign-ins.
    fn nearly_full(&self) -> u64 {
        self.capacity.saturating_sub(reserve(self.capacity))
    }

    /// Returns the milliseconds for which a record stays after its end, in a file of `count` records: a
    /// clock that is wrong for less, and for a moment, takes nobody's sign-in. Where it is nearly full,
    /// none: what is good needs the room.
    fn stays(&self, count: u64) -> u64 {
        match count < self.nearly_full() {
            true => Self::STAYS,
            false => 0,
        }
    }

    /// Returns the milliseconds since 1970.
    fn now(&self) -> u64 {
        let since = (self.clock)().duration_since(UNIX_EPOCH);
        millis(since.unwrap_or_default())
    }

    fn opened(&self) -> RwLockReadGuard<'_, Opened> {
        self.opened.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts another database in the place of this one.
    fn replace(&self, by: Opened) {
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *opened, by);
        drop(opened);
        // What made it fail may make it panic at its end, too.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(before)));
    }

    /// Reads from the database, and notes where that fails.
    fn read<T>(&self, what: impl FnOnce(&Opened) -> Result<T, Failed>) -> Result<T, StoreError> {
        let opened = self.opened();
        what(&opened).map_err(|Failed(error)| {
            // The writer opens it anew.
            opened.record_failure();
            StoreError::new(format!("{} cannot be read: {error}", self.path.display()))
        })
    }
}

/// Why nothing is read or written.
#[derive(Debug)]
struct Failed(Box<redb::Error>);

impl<E: Into<redb::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(Box::new(error.into()))
    }
}

/// Makes a panic an error like any other: redb panics of some damage, and where its file does.
fn caught<T, E: From<redb::Error>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|_| Err(redb::Error::Corrupted("it makes no sense".to_owned()).into()))
}

/// Why no database can be opened.
#[derive(Debug)]
enum NotOpened {
    /// There are tables of something else.
    Foreign,
    /// A later version of this server made it, with this version of the tables.
    Later(u64),
    Failed(Failed),
}

impl<E: Into<redb::Error>> From<E> for NotOpened {
    fn from(error: E) -> Self {
        Self::Failed(Failed::from(error))
    }
}

/// A database over the file, until it fails. Another takes its place then.
struct Opened {
    database: Database,
    is_over: Arc<AtomicBool>,
    has_failed: AtomicBool,
}

impl Opened {
    /// Opens the database, or makes one. Repairs it if it was not closed.
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
            // Of pages that are damaged it may panic later, when it comes to them.
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
        // Version 0 has the same tables but for this one.
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

    /// Keeps the database from its file from now on.
    fn close(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    /// Notes that it can neither read nor write before it is opened again.
    fn record_failure(&self) {
        self.has_failed.store(true, Ordering::SeqCst);
    }

    fn is_failed(&self) -> bool {
        self.has_failed.load(Ordering::SeqCst)
    }

    /// Reads what was committed, in one transaction.
    fn get_all(&self, keys: &[Box<str>], now: u64) -> Result<Vec<Option<Bytes>>, Failed> {
        caught(|| {
            let transaction = self.database.begin_read()?;
            let records: ReadOnlyTable<_, _> = transaction.open_table(RECORDS)?;
            keys.iter().map(|key| good(&records, key, now)).collect()
        })
    }

    /// Returns the number of records, with those that are over and stay for a while. The table knows it.
    fn count(&self) -> Result<u64, Failed> {
        caught(|| {
            let transaction = self.database.begin_read()?;
            Ok(transaction.open_table(RECORDS)?.len()?)
        })
    }

    /// Returns when the last record ends.
    fn latest_end(&self) -> Result<Option<u64>, Failed> {
        caught(|| {
            let transaction = self.database.begin_read()?;
            let ends = transaction.open_table(ENDS)?;
            Ok(ends.last()?.map(|(key, _)| key.value().0))
        })
    }

    /// Returns whether a record has been over for `stays` milliseconds.
    fn has_to_sweep(&self, now: u64, stays: u64) -> Result<bool, Failed> {
        caught(|| {
            let transaction = self.database.begin_read()?;
            let ends = transaction.open_table(ENDS)?;
            let earliest = ends.first()?.map(|(key, _)| key.value().0);
            Ok(earliest.is_some_and(|end| end <= now.saturating_sub(stays)))
        })
    }
}

/// Returns the value of a record, unless it is over.
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

/// The file in the hands of one database. When that is over, it reaches the file no more, whatever it
/// may still want to do to it; the file itself stays open, and locked.
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

/// A change of one record.
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

/// The outcome of a task.
#[derive(Default)]
struct Written {
    taken: Option<Bytes>,
    is_swapped: bool,
    /// It was not done, as there is no room.
    is_full: bool,
}

/// The waits of the writer: for work, and after failures.
struct Pace {
    /// The time that it waits for work before it looks whether records are over.
    idle: Duration,
    /// The time since it began, by which its rests are measured.
    elapsed: Box<dyn Fn() -> Duration + Send>,
    /// The first rest after a failure. Each is longer than the one before.
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

/// Writes a directory to the disk: then a new name in it is there after power was lost. Only Unix can, and
/// needs to.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    match cfg!(unix) {
        true => File::open(directory)?.sync_all(),
        false => Ok(()),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
