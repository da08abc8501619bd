//! The tables, and the database that they are in.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fmt, io};

use bytes::Bytes;
use redb::{
    AccessGuard, Database, ReadOnlyTable, ReadableDatabase as _, ReadableTable,
    ReadableTableMetadata as _, StorageBackend, Table, TableDefinition, TableHandle as _,
    WriteTransaction,
};

use crate::keys::format;

/// By key, when a record ends (milliseconds since 1970), and its value.
const RECORDS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("records");

/// When records end, and their keys: a sweep looks at nothing that stays.
const ENDS: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("ends");

/// The version of these tables, under the one name: every version can read that of a later one. Version
/// 0 had no such table.
const FORMAT: TableDefinition<'_, &str, u64> = TableDefinition::new("format");

const VERSION: &str = "version";

/// What redb keeps in memory: little in tests, so that they reach the file.
const CACHE: usize = match cfg!(test) {
    true => 128 * 1024,
    false => 64 * 1024 * 1024,
};

/// Why nothing is read or written.
pub(super) type Failed = Box<redb::Error>;

fn failed(error: impl Into<redb::Error>) -> Failed {
    Box::new(error.into())
}

/// redb panics of some damage, and where its file does. That is an error like any other.
fn caught<T, E: From<redb::Error>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|_| Err(redb::Error::Corrupted("it makes no sense".to_owned()).into()))
}

/// Why no database can be opened.
#[derive(Debug)]
pub(super) enum NotOpened {
    /// There are tables of something else.
    Foreign,
    /// A later version of this server made it, with this version of the tables.
    Later(u64),
    Failed(Failed),
}

impl<E: Into<redb::Error>> From<E> for NotOpened {
    fn from(error: E) -> Self {
        Self::Failed(failed(error))
    }
}

/// A database over the file, until it fails. Another takes its place then.
pub(super) struct Opened {
    database: Database,
    is_over: Arc<AtomicBool>,
    has_failed: AtomicBool,
}

impl Opened {
    /// Opens the database, or makes one. Repairs it if it was not closed.
    pub(super) fn over(backend: &Arc<dyn StorageBackend>) -> Result<Self, NotOpened> {
        caught(|| Self::open(backend))
    }

    fn open(backend: &Arc<dyn StorageBackend>) -> Result<Self, NotOpened> {
        let is_over = Arc::new(AtomicBool::new(false));
        let turn = Turn {
            backend: Arc::clone(backend),
            is_over: Arc::clone(&is_over),
        };
        let database = Database::builder()
            .set_cache_size(CACHE)
            // Of pages that are damaged it may panic later, when it comes to them.
            .set_check_integrity_on_open(true)
            .create_with_backend(turn)?;
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
            let version = version.map(|version| version.value());
            match version {
                Some(version) if version <= format::DISK => {}
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
            Tables::of(&transaction).map_err(NotOpened::Failed)?;
            let version = &format::DISK;
            transaction.open_table(FORMAT)?.insert(VERSION, version)?;
            transaction.commit()?;
        }
        Ok(opened)
    }

    /// Lets nothing more be read or written through it.
    pub(super) fn close(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    pub(super) fn record_failure(&self) {
        self.has_failed.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_failed(&self) -> bool {
        self.has_failed.load(Ordering::SeqCst)
    }

    /// Reads what was committed, in one transaction.
    pub(super) fn get_all(
        &self,
        keys: &[Box<str>],
        now: u64,
    ) -> Result<Vec<Option<Bytes>>, Failed> {
        caught(|| {
            let transaction = self.database.begin_read().map_err(failed)?;
            let records: ReadOnlyTable<_, _> = transaction.open_table(RECORDS).map_err(failed)?;
            keys.iter().map(|key| good(&records, key, now)).collect()
        })
    }

    /// Returns the number of records, with those that are over and stay for a while. The table knows it.
    pub(super) fn count(&self) -> Result<u64, Failed> {
        caught(|| {
            let transaction = self.database.begin_read().map_err(failed)?;
            let records = transaction.open_table(RECORDS).map_err(failed)?;
            records.len().map_err(failed)
        })
    }

    /// When the last record ends.
    pub(super) fn latest_end(&self) -> Result<Option<u64>, Failed> {
        caught(|| {
            let transaction = self.database.begin_read().map_err(failed)?;
            let ends = transaction.open_table(ENDS).map_err(failed)?;
            let latest = ends.last().map_err(failed)?;
            Ok(latest.map(|(key, _)| key.value().0))
        })
    }

    /// Returns whether a record has been over for so long.
    pub(super) fn has_to_sweep(&self, now: u64, stays: u64) -> Result<bool, Failed> {
        caught(|| {
            let transaction = self.database.begin_read().map_err(failed)?;
            let ends = transaction.open_table(ENDS).map_err(failed)?;
            let earliest = ends.first().map_err(failed)?;
            let earliest = earliest.map(|(key, _)| key.value().0);
            Ok(earliest.is_some_and(|end| end <= now.saturating_sub(stays)))
        })
    }

    /// Writes, durably, whatever `work` says that there is to write.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        caught(|| {
            // One phase is enough, as nobody chooses the bytes that are written: they are encrypted.
            let transaction = self.database.begin_write().map_err(failed)?;
            let mut tables = Tables::of(&transaction)?;
            let done = work(&mut tables)?;
            let is_changed = tables.is_changed;
            drop(tables);
            match is_changed {
                true => transaction.commit().map_err(failed)?,
                false => transaction.abort().map_err(failed)?,
            }
            Ok(done)
        })
    }
}

/// The value of a record that is not over.
fn good(
    records: &impl ReadableTable<&'static str, (u64, &'static [u8])>,
    key: &str,
    now: u64,
) -> Result<Option<Bytes>, Failed> {
    let found = records.get(key).map_err(failed)?;
    Ok(found.and_then(|record| {
        let (end, value) = record.value();
        (now < end).then(|| Bytes::copy_from_slice(value))
    }))
}

/// The tables in a transaction that writes.
pub(super) struct Tables<'t> {
    records: Table<'t, &'static str, (u64, &'static [u8])>,
    ends: Table<'t, (u64, &'static str), ()>,
    /// The number of records.
    count: u64,
    is_changed: bool,
}

impl<'t> Tables<'t> {
    fn of(transaction: &'t WriteTransaction) -> Result<Self, Failed> {
        let records = transaction.open_table(RECORDS).map_err(failed)?;
        Ok(Self {
            count: records.len().map_err(failed)?,
            records,
            ends: transaction.open_table(ENDS).map_err(failed)?,
            is_changed: false,
        })
    }

    pub(super) fn get(&self, key: &str, now: u64) -> Result<Option<Bytes>, Failed> {
        good(&self.records, key, now)
    }

    /// Returns whether the record has exactly this value or, for `None`, whether there is none.
    pub(super) fn has(&self, key: &str, now: u64, value: Option<&[u8]>) -> Result<bool, Failed> {
        let found = self.records.get(key).map_err(failed)?;
        let found = found.as_ref().map(AccessGuard::value);
        let found = found.filter(|(end, _)| now < *end);
        Ok(found.map(|(_, value)| value) == value)
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Makes room for the record where there may be `most`, by removing one that is over, and returns
    /// whether it may be written. One that is there always may.
    pub(super) fn make_room(&mut self, key: &str, now: u64, most: u64) -> Result<bool, Failed> {
        if self.count < most || self.records.get(key).map_err(failed)?.is_some() {
            return Ok(true);
        }
        let first = self.ends.first().map_err(failed)?;
        let over = first.and_then(|(end, _)| {
            let (end, key) = end.value();
            (end <= now).then(|| key.to_owned())
        });
        match over {
            Some(key) => {
                self.remove(&key)?;
                Ok(self.count < most)
            }
            None => Ok(false),
        }
    }

    pub(super) fn put(&mut self, key: &str, value: &[u8], end: u64) -> Result<(), Failed> {
        self.is_changed = true;
        let before = self.records.insert(key, (end, value)).map_err(failed)?;
        let before = before.map(|record| record.value().0);
        self.count = self.count.saturating_add(before.is_none().into());
        if before != Some(end) {
            self.forget_end(before, key)?;
            self.ends.insert((end, key), ()).map_err(failed)?;
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, key: &str) -> Result<(), Failed> {
        let before = self.records.remove(key).map_err(failed)?;
        let before = before.map(|record| record.value().0);
        self.is_changed |= before.is_some();
        self.count = self.count.saturating_sub(before.is_some().into());
        self.forget_end(before, key)
    }

    fn forget_end(&mut self, end: Option<u64>, key: &str) -> Result<(), Failed> {
        if let Some(end) = end {
            self.ends.remove((end, key)).map_err(failed)?;
        }
        Ok(())
    }

    /// Removes so many records, at most, that have been over for `stays` milliseconds. Returns whether
    /// there may be more.
    pub(super) fn sweep(&mut self, now: u64, stays: u64, most: usize) -> Result<bool, Failed> {
        let over = ..(now.saturating_sub(stays).saturating_add(1), "");
        let over = self.ends.range::<(u64, &str)>(over).map_err(failed)?;
        let keys = over.take(most).map(|end| {
            let (key, _) = end?;
            Ok(key.value().1.to_owned())
        });
        let keys: Result<Vec<String>, redb::StorageError> = keys.collect();
        let keys = keys.map_err(failed)?;
        for key in &keys {
            self.remove(key)?;
        }
        Ok(keys.len() == most)
    }
}

/// The file in the hands of one database. When that is over, it reaches the file no more, whatever it
/// may still want to do to it; the file itself stays open, and locked.
struct Turn {
    backend: Arc<dyn StorageBackend>,
    is_over: Arc<AtomicBool>,
}

impl Turn {
    fn backend(&self) -> io::Result<&dyn StorageBackend> {
        match self.is_over.load(Ordering::SeqCst) {
            true => Err(io::Error::other("another database has the file now")),
            false => Ok(&*self.backend),
        }
    }
}

impl StorageBackend for Turn {
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

impl fmt::Debug for Turn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Turn").finish_non_exhaustive()
    }
}
