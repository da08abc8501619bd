//! The thread that writes: all who wait at once, in one transaction.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::database::{Failed, NotOpened, Opened, Tables};
use super::{Disk, StoreError, millis};

/// What is to be done to a record.
pub(super) struct Operation {
    pub(super) key: Box<str>,
    pub(super) task: Task,
    pub(super) answer: oneshot::Sender<Result<Answer, StoreError>>,
    /// Given back when it is answered.
    pub(super) _place: OwnedSemaphorePermit,
}

pub(super) enum Task {
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

/// What came of it.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) taken: Option<Bytes>,
    pub(super) is_swapped: bool,
    /// It was not done, as there is no room.
    pub(super) is_full: bool,
}

pub(super) struct Writer {
    disk: Arc<Disk>,
    /// How long it waits for work before it looks whether records are over.
    pub(super) idle: Duration,
    /// Since it is there: what it waits for is measured by that.
    pub(super) elapsed: Box<dyn Fn() -> Duration + Send>,
    /// Before it writes again. Trying costs the readers the database, as long as it is opened again.
    pub(super) before_writing: Patience,
    /// Before it opens the database again.
    pub(super) before_opening: Patience,
    /// Whether there may be more records that are to be swept out.
    has_to_sweep: bool,
    /// What was wrong last.
    reason: String,
}

/// Until when what failed is not tried again: each time longer.
pub(super) struct Patience {
    first: Duration,
    next: Duration,
    until: Duration,
}

impl Patience {
    const MOST: Duration = Duration::from_secs(30);

    pub(super) fn of(first: Duration) -> Self {
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

impl Writer {
    /// The most operations in one transaction.
    const BATCH: usize = 512;

    /// The most records that are swept out in one transaction, beside two for each operation.
    const PORTION: usize = 64;

    pub(super) fn new(disk: Arc<Disk>) -> Self {
        let begun = Instant::now();
        Self {
            reason: format!("{} cannot be read", disk.path.display()),
            disk,
            idle: Duration::from_secs(1),
            elapsed: Box::new(move || begun.elapsed()),
            before_writing: Patience::of(Duration::from_secs(1)),
            before_opening: Patience::of(Duration::from_secs(1)),
            has_to_sweep: true,
        }
    }

    /// Ends when nobody is there who could send anything, after all that was sent.
    pub(super) fn run(mut self, operations: &Receiver<Operation>) {
        loop {
            let wait = match self.has_to_sweep {
                true => Duration::ZERO,
                false => self.idle,
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

    /// Whether there is something to do though nobody asks for anything.
    fn has_work(&self) -> bool {
        let stays = self.disk.stays(self.disk.count.load(Ordering::Relaxed));
        let opened = self.disk.opened();
        // If that cannot be told, trying it tells why.
        opened.is_failed() || opened.has_to_sweep(self.disk.now(), stays).unwrap_or(true)
    }

    fn carry_out(&mut self, batch: Vec<Operation>) {
        let done = self.write(&batch);
        let mut reason = None;
        let answers = done.unwrap_or_else(|text| {
            // Not at once.
            self.has_to_sweep = false;
            reason = Some(text);
            Vec::new()
        });
        let mut answers = answers.into_iter();
        for operation in batch {
            let answer = match (answers.next(), &reason) {
                (Some(answer), _) => Ok(answer),
                (None, reason) => Err(StoreError::new(reason.clone().unwrap_or_default())),
            };
            // Whoever asked may be gone.
            let _ = operation.answer.send(answer);
        }
    }

    /// All of it, or why none of it.
    fn write(&mut self, batch: &[Operation]) -> Result<Vec<Answer>, String> {
        self.open_again_if_failed()?;
        if self.before_writing.is_needed((self.elapsed)()) {
            return Err(self.reason.clone());
        }
        let now = self.disk.now();
        let most = Self::PORTION + 2 * batch.len();
        let opened = self.disk.opened();
        let done = opened.write(|tables| {
            let capacity = self.disk.capacity;
            let answers = batch.iter();
            let answers = answers.map(|operation| operation.apply(tables, now, capacity));
            let answers = answers.collect::<Result<Vec<_>, _>>()?;
            let stays = self.disk.stays(tables.count());
            let is_more = tables.sweep(now, stays, most)?;
            Ok((answers, is_more, tables.count()))
        });
        match done {
            Ok((answers, is_more, count)) => {
                self.disk.count.store(count, Ordering::Relaxed);
                self.has_to_sweep = is_more;
                self.before_writing.reset();
                Ok(answers)
            }
            Err(error) => {
                // After an error redb neither reads nor writes before it is opened again.
                opened.record_failure();
                drop(opened);
                let text = self.text(&error);
                tracing::error!(
                    error = text,
                    "the store cannot write: sign-ins and refreshes wait"
                );
                self.reason.clone_from(&text);
                // At once, so that reads go on.
                let _ = self.open_again();
                // It may have taken long.
                self.before_writing.begin((self.elapsed)());
                Err(text)
            }
        }
    }

    /// Opens the database again, but not all the time: it is looked through then.
    fn open_again_if_failed(&mut self) -> Result<(), String> {
        if !self.disk.opened().is_failed() {
            return Ok(());
        }
        if self.before_opening.is_needed((self.elapsed)()) {
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
        self.before_opening.begin((self.elapsed)());
        let opened = opened.map_err(|error| {
            self.reason = match error {
                NotOpened::Failed(error) => self.text(&error),
                NotOpened::Foreign | NotOpened::Later(_) => {
                    format!("{} is no store any more", self.disk.path.display())
                }
            };
            self.reason.clone()
        })?;
        self.disk.replace(opened);
        tracing::info!(path = %self.disk.path.display(), "the store was opened again");
        Ok(())
    }

    fn text(&self, error: &Failed) -> String {
        let path = self.disk.path.display();
        match &**error {
            redb::Error::Io(io) if io.kind() == std::io::ErrorKind::StorageFull => {
                format!("no space is left for {path}: make room, and it goes on by itself")
            }
            error => format!("{path} cannot be written: {error}"),
        }
    }
}

impl Operation {
    fn apply(&self, tables: &mut Tables<'_>, now: u64, most: u64) -> Result<Answer, Failed> {
        let mut answer = Answer::default();
        let end = |ttl: &Duration| now.saturating_add(millis(*ttl));
        match &self.task {
            Task::Put { value, ttl } => match tables.make_room(&self.key, now, most)? {
                true => tables.put(&self.key, value, end(ttl))?,
                false => answer.is_full = true,
            },
            Task::Take => {
                answer.taken = tables.get(&self.key, now)?;
                tables.remove(&self.key)?;
            }
            Task::Swap {
                expected,
                value,
                ttl,
            } => {
                answer.is_swapped = tables.has(&self.key, now, expected.as_deref())?;
                if answer.is_swapped && !tables.make_room(&self.key, now, most)? {
                    answer = Answer {
                        is_full: true,
                        ..Answer::default()
                    };
                } else if answer.is_swapped {
                    tables.put(&self.key, value, end(ttl))?;
                }
            }
        }
        Ok(answer)
    }
}
