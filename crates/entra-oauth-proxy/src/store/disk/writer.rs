//! The writer thread, which puts all waiting writes into one transaction.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::{AccessGuard, ReadableTable as _, ReadableTableMetadata as _, Table};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    Disk, ENDS, Failed, NotOpened, Opened, Pace, RECORDS, Task, Written, caught, good, millis,
};
use crate::store::StoreError;

/// The handle of the thread that writes records.
pub(super) struct Writer {
    disk: Arc<Disk>,
    /// `Some` until this handle is dropped.
    thread: Option<(Sender<Operation>, JoinHandle<()>)>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(disk: &Arc<Disk>, pace: Pace) -> io::Result<Self> {
        let (sender, operations) = mpsc::channel();
        let thread = WriterThread::new(Arc::clone(disk), pace);
        let thread = std::thread::Builder::new()
            .name("entra-oauth-proxy store".to_owned())
            .spawn(move || thread.run(&operations))?;
        Ok(Self {
            disk: Arc::clone(disk),
            thread: Some((sender, thread)),
        })
    }

    /// Sends a task to the thread, and waits for the outcome.
    ///
    /// Once the thread has accepted the task, it carries out the task even if the caller gives up.
    pub(super) async fn write(&self, key: &str, task: Task) -> Result<Written, StoreError> {
        let gone =
            || StoreError::new("its writer thread has ended; an error in the log has the cause");
        let places = Arc::clone(&self.disk.places_to_write);
        let place = places.acquire_owned().await.map_err(|_| gone())?;
        let (answer, answered) = oneshot::channel();
        let operation = Operation {
            key: key.into(),
            task,
            answer,
            _place: place,
        };
        let (sender, _) = self.thread.as_ref().ok_or_else(gone)?;
        sender.send(operation).map_err(|_| gone())?;
        let written = answered.await.map_err(|_| gone())??;
        if !written.is_full {
            return Ok(written);
        }
        let Disk { path, capacity, .. } = &*self.disk;
        Err(StoreError::full(format!(
            "{} can hold {capacity} records; increase DiskStoreOptions::capacity(..), or end \
             sign-ins earlier with Lifetimes::idle(..)",
            path.display()
        )))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.thread.take() {
            // The thread ends once it has written everything.
            drop(sender);
            // A panic has already been reported.
            let _ = thread.join();
        }
    }
}

/// A task on its way to the thread.
struct Operation {
    key: Box<str>,
    task: Task,
    answer: oneshot::Sender<Result<Written, StoreError>>,
    /// Permit for a pending write. It is returned once the task is answered.
    _place: OwnedSemaphorePermit,
}

/// State of the writer thread.
struct WriterThread {
    disk: Arc<Disk>,
    pace: Pace,
    /// Pause before the next write.
    ///
    /// After a failed write, the database is opened again, and reads fail meanwhile.
    before_writing: Patience,
    /// Pause before the database is opened again.
    before_opening: Patience,
    /// `true` while there may be more expired records to sweep out.
    has_to_sweep: bool,
    /// Description of the last failure.
    reason: String,
}

/// A pause before a retry, which becomes longer with each failure.
struct Patience {
    first: Duration,
    next: Duration,
    until: Duration,
}

impl Patience {
    const MOST: Duration = Duration::from_secs(30);

    fn of(first: Duration) -> Self {
        Self {
            first,
            next: first,
            until: Duration::ZERO,
        }
    }

    fn is_needed(&self, now: Duration) -> bool {
        now < self.until
    }

    fn begin(&mut self, now: Duration) {
        self.until = now.saturating_add(self.next);
        self.next = self.next.saturating_mul(2).min(Self::MOST);
    }

    fn reset(&mut self) {
        self.next = self.first;
    }
}

impl WriterThread {
    /// Maximum number of operations in one transaction.
    const BATCH: usize = 512;

    /// Maximum number of records that one transaction sweeps out, in addition to two for each
    /// operation.
    const PORTION: usize = 64;

    fn new(disk: Arc<Disk>, pace: Pace) -> Self {
        Self {
            reason: format!("{} cannot be read", disk.path.display()),
            disk,
            before_writing: Patience::of(pace.rest),
            before_opening: Patience::of(pace.rest),
            pace,
            has_to_sweep: true,
        }
    }

    /// Carries out operations until all are done and there are no more senders.
    fn run(mut self, operations: &Receiver<Operation>) {
        loop {
            let wait = match self.has_to_sweep {
                true => Duration::ZERO,
                false => self.pace.idle,
            };
            let mut batch = Vec::new();
            match operations.recv_timeout(wait) {
                Ok(operation) => batch.push(operation),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            batch.extend(operations.try_iter().take(Self::BATCH - batch.len()));
            if batch.is_empty() && !self.has_to_sweep && !self.has_work() {
                continue;
            }
            self.carry_out(batch);
        }
    }

    /// Returns whether there is work although no operation is waiting.
    fn has_work(&self) -> bool {
        let stays = self.disk.stays(self.disk.count.load(Ordering::Relaxed));
        let opened = self.disk.opened();
        // If this cannot be determined, a write attempt shows the cause.
        opened.is_failed() || opened.has_to_sweep(self.disk.now(), stays).unwrap_or(true)
    }

    fn carry_out(&mut self, batch: Vec<Operation>) {
        // The caller may have given up.
        match self.write(&batch) {
            Ok(answers) => {
                for (operation, written) in batch.into_iter().zip(answers) {
                    let _ = operation.answer.send(Ok(written));
                }
            }
            Err(reason) => {
                // Avoids an immediate retry of the sweep.
                self.has_to_sweep = false;
                for operation in batch {
                    let _ = operation.answer.send(Err(StoreError::new(reason.clone())));
                }
            }
        }
    }

    /// Writes the whole batch, or returns the reason why nothing of it was written.
    fn write(&mut self, batch: &[Operation]) -> Result<Vec<Written>, String> {
        self.open_again_if_failed()?;
        if self.before_writing.is_needed((self.pace.elapsed)()) {
            return Err(self.reason.clone());
        }
        let (now, capacity) = (self.disk.now(), self.disk.capacity);
        let most = Self::PORTION + 2 * batch.len();
        let opened = self.disk.opened();
        let done = opened.write(now, capacity, |tables| {
            let answers = batch.iter().map(|operation| operation.apply(tables));
            let answers = answers.collect::<Result<Vec<_>, _>>()?;
            let is_more = tables.sweep(self.disk.stays(tables.count), most)?;
            Ok((answers, is_more, tables.count))
        });
        match done {
            Ok((answers, is_more, count)) => {
                self.disk.count.store(count, Ordering::Relaxed);
                self.has_to_sweep = is_more;
                self.before_writing.reset();
                Ok(answers)
            }
            Err(error) => {
                // After an error, redb neither reads nor writes before it is opened again.
                opened.record_failure();
                drop(opened);
                let text = self.text(&error);
                tracing::error!(
                    error = text,
                    "the store cannot write: sign-ins and refreshes wait"
                );
                self.reason.clone_from(&text);
                // Opens the database immediately, so that reads continue.
                let _ = self.open_again();
                // Opening may have taken long, so the time is read again.
                self.before_writing.begin((self.pace.elapsed)());
                Err(text)
            }
        }
    }

    /// Opens the database again after a failure, but not all the time, because opening checks the
    /// whole file.
    fn open_again_if_failed(&mut self) -> Result<(), String> {
        if !self.disk.opened().is_failed() {
            return Ok(());
        }
        if self.before_opening.is_needed((self.pace.elapsed)()) {
            return Err(self.reason.clone());
        }
        self.open_again()
    }

    fn open_again(&mut self) -> Result<(), String> {
        let before = self.disk.opened();
        before.close();
        let opened = Opened::over(&self.disk.backend);
        drop(before);
        if opened.is_ok() {
            self.before_opening.reset();
        }
        self.before_opening.begin((self.pace.elapsed)());
        let opened = opened.map_err(|error| {
            self.reason = match error {
                NotOpened::Failed(error) => self.text(&error),
                NotOpened::Foreign | NotOpened::Later(_) => {
                    format!("{} is no longer a store", self.disk.path.display())
                }
            };
            self.reason.clone()
        })?;
        self.disk.replace(opened);
        tracing::info!(
            path = self.disk.path.display().to_string(),
            "the store was opened again"
        );
        Ok(())
    }

    fn text(&self, error: &Failed) -> String {
        let path = self.disk.path.display();
        match &*error.0 {
            redb::Error::Io(io) if io.kind() == io::ErrorKind::StorageFull => {
                format!(
                    "no space is left for {path}: free some space, and the store continues by \
                     itself"
                )
            }
            error => format!("{path} cannot be written: {error}"),
        }
    }
}

impl Operation {
    fn apply(&self, tables: &mut Tables<'_>) -> Result<Written, Failed> {
        let mut written = Written::default();
        match &self.task {
            Task::Put { value, ttl } => {
                written.is_full = !tables.put(&self.key, value, *ttl)?;
            }
            Task::Take => {
                written.taken = good(&tables.records, &self.key, tables.now)?;
                tables.remove(&self.key)?;
            }
            Task::Swap {
                expected,
                value,
                ttl,
            } => {
                if tables.has(&self.key, expected.as_deref())? {
                    written.is_swapped = tables.put(&self.key, value, *ttl)?;
                    written.is_full = !written.is_swapped;
                }
            }
        }
        Ok(written)
    }
}

impl Opened {
    /// Writes the changes that `work` makes in the tables durably.
    fn write<T>(
        &self,
        now: u64,
        capacity: u64,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        caught(|| {
            // One phase is enough: no attacker chooses the written bytes, because they are
            // encrypted.
            let transaction = self.database.begin_write()?;
            let records = transaction.open_table(RECORDS)?;
            let mut tables = Tables {
                count: records.len()?,
                records,
                ends: transaction.open_table(ENDS)?,
                now,
                capacity,
                is_changed: false,
            };
            let done = work(&mut tables)?;
            let is_changed = tables.is_changed;
            drop(tables);
            match is_changed {
                true => transaction.commit()?,
                false => transaction.abort()?,
            }
            Ok(done)
        })
    }
}

/// The tables in a write transaction, at one moment.
struct Tables<'t> {
    records: Table<'t, &'static str, (u64, &'static [u8])>,
    ends: Table<'t, (u64, &'static str), ()>,
    /// Number of records.
    count: u64,
    /// Time of the batch, in milliseconds since 1970.
    now: u64,
    capacity: u64,
    is_changed: bool,
}

impl Tables<'_> {
    /// Returns whether the record has exactly this value or, for `None`, whether there is none.
    fn has(&self, key: &str, value: Option<&[u8]>) -> Result<bool, Failed> {
        let found = self.records.get(key)?;
        let found = found.as_ref().map(AccessGuard::value);
        let found = found.filter(|(end, _)| self.now < *end);
        Ok(found.map(|(_, value)| value) == value)
    }

    /// Makes room for a record, and returns whether it may be written.
    ///
    /// If the tables are full, removes one expired record. A record that exists may always be
    /// written.
    fn make_room(&mut self, key: &str) -> Result<bool, Failed> {
        if self.count < self.capacity || self.records.get(key)?.is_some() {
            return Ok(true);
        }
        let first = self.ends.first()?;
        let over = first.and_then(|(end, _)| {
            let (end, key) = end.value();
            (end <= self.now).then(|| key.to_owned())
        });
        match over {
            Some(key) => {
                self.remove(&key)?;
                Ok(self.count < self.capacity)
            }
            None => Ok(false),
        }
    }

    /// Writes a record if there is room for it, and returns whether there was.
    fn put(&mut self, key: &str, value: &[u8], ttl: Duration) -> Result<bool, Failed> {
        if !self.make_room(key)? {
            return Ok(false);
        }
        let end = self.now.saturating_add(millis(ttl));
        self.is_changed = true;
        let before = self.records.insert(key, (end, value))?;
        let before = before.map(|record| record.value().0);
        self.count = self.count.saturating_add(before.is_none().into());
        if before != Some(end) {
            self.forget_end(before, key)?;
            self.ends.insert((end, key), ())?;
        }
        Ok(true)
    }

    fn remove(&mut self, key: &str) -> Result<(), Failed> {
        let before = self.records.remove(key)?;
        let before = before.map(|record| record.value().0);
        self.is_changed |= before.is_some();
        self.count = self.count.saturating_sub(before.is_some().into());
        self.forget_end(before, key)
    }

    fn forget_end(&mut self, end: Option<u64>, key: &str) -> Result<(), Failed> {
        if let Some(end) = end {
            self.ends.remove((end, key))?;
        }
        Ok(())
    }

    /// Removes records that expired at least `stays` milliseconds ago, and returns whether there
    /// may be more.
    ///
    /// Removes `most` records at most.
    fn sweep(&mut self, stays: u64, most: usize) -> Result<bool, Failed> {
        let over = ..(self.now.saturating_sub(stays).saturating_add(1), "");
        let over = self.ends.range::<(u64, &str)>(over)?;
        let keys = over.take(most);
        let keys = keys.map(|end| Ok(end?.0.value().1.to_owned()));
        let keys = keys.collect::<Result<Vec<_>, Failed>>()?;
        for key in &keys {
            self.remove(key)?;
        }
        Ok(keys.len() == most)
    }
}
