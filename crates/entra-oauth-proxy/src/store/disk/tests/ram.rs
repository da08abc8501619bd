//! A file in memory, on a disk that can be full and can fail.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use redb::StorageBackend;

/// An operation on the file.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Write(u64, Vec<u8>),
    Length(u64),
    Sync,
}

/// A file in memory, on a disk of limited size. It records all operations.
#[derive(Debug)]
pub(super) struct Ram {
    pub(super) file: Mutex<(Vec<u8>, Vec<Step>)>,
    pub(super) space: AtomicU64,
    pub(super) reads: AtomicU64,
    /// Number of operations for which there was no space.
    pub(super) refused: AtomicU64,
    /// A failure of one of the next operations, with its countdown: the operation that reaches one
    /// fails.
    pub(super) mishap: Mutex<(u32, Mishap)>,
    stuck: Mutex<Stuck>,
    released: Condvar,
}

/// State of the hold on reads.
#[derive(Debug, Default)]
struct Stuck {
    is_stuck: bool,
    /// Number of reads since the first hold.
    came: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Mishap {
    Error,
    Panic,
}

impl Ram {
    pub(super) fn new(content: Vec<u8>) -> Arc<Self> {
        Arc::new(Self {
            file: Mutex::new((content, Vec::new())),
            space: AtomicU64::new(u64::MAX),
            reads: AtomicU64::new(u64::MAX),
            refused: AtomicU64::new(0),
            mishap: Mutex::new((0, Mishap::Error)),
            stuck: Mutex::default(),
            released: Condvar::new(),
        })
    }

    /// Blocks all reads from now on.
    pub(super) fn hold_up_reads(&self) {
        let mut stuck = self.stuck.lock().unwrap();
        stuck.is_stuck = true;
        stuck.came.get_or_insert_default();
    }

    /// Lets all reads continue.
    pub(super) fn release_reads(&self) {
        self.stuck.lock().unwrap().is_stuck = false;
        self.released.notify_all();
    }

    /// Returns the number of reads since the first hold.
    pub(super) fn reads_since_stuck(&self) -> usize {
        self.stuck.lock().unwrap().came.unwrap_or_default()
    }

    /// Waits while reads are blocked, but no longer than 30 s, so that a failing test ends.
    fn wait(&self) -> io::Result<()> {
        const LONGEST: Duration = Duration::from_secs(30);

        let mut stuck = self.stuck.lock().unwrap();
        if let Some(came) = &mut stuck.came {
            *came += 1;
        }
        let waited = self
            .released
            .wait_timeout_while(stuck, LONGEST, |stuck| stuck.is_stuck);
        match waited.unwrap().1.timed_out() {
            true => Err(io::Error::other("nobody released it")),
            false => Ok(()),
        }
    }

    /// Counts down to a failure before each operation.
    fn begin(&self) -> io::Result<()> {
        let mishap = {
            let mut mishap = self.mishap.lock().unwrap();
            mishap.0 = mishap.0.saturating_sub(1);
            (mishap.0 == 1).then_some(mishap.1)
        };
        match mishap {
            None => Ok(()),
            Some(Mishap::Error) => Err(io::Error::other("a bad moment")),
            // Without a message on the terminal.
            Some(Mishap::Panic) => std::panic::resume_unwind(Box::new("a bad moment")),
        }
    }

    fn take(&self, step: Step) -> io::Result<()> {
        self.begin()?;
        let end = match &step {
            Step::Write(offset, data) => offset + data.len() as u64,
            Step::Length(length) => *length,
            Step::Sync => 0,
        };
        if end > self.space.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut file = self.file.lock().unwrap();
        step.apply(&mut file.0);
        file.1.push(step);
        Ok(())
    }

    pub(super) fn steps(&self) -> usize {
        self.file.lock().unwrap().1.len()
    }
}

impl Step {
    pub(super) fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                let start = usize::try_from(*offset).unwrap();
                let end = start + data.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[start..end].copy_from_slice(data);
            }
            Self::Length(length) => content.resize(usize::try_from(*length).unwrap(), 0),
            Self::Sync => {}
        }
    }
}

impl StorageBackend for Ram {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.lock().unwrap().0.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.wait()?;
        self.begin()?;
        if self.reads.load(Ordering::SeqCst) == 0 {
            return Err(io::Error::other("a bad sector"));
        }
        let file = self.file.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let part = file.0.get(start..start + out.len());
        out.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.take(Step::Length(length))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.take(Step::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.take(Step::Write(offset, data.to_vec()))
    }
}
