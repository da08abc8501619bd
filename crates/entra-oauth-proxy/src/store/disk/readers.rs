//! The threads that read: a disk that does not answer holds up nobody but them.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;

use super::{Disk, READERS};
use crate::store::StoreError;

/// Reads records in threads of their own, beside the writer.
pub(super) struct Readers {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

/// Records that are to be read.
struct Read {
    keys: Vec<Box<str>>,
    /// The time of the question.
    now: u64,
    answer: oneshot::Sender<Result<Vec<Option<Bytes>>, StoreError>>,
    /// Given back when it is answered, or nobody waits for it any more.
    _place: OwnedSemaphorePermit,
}

/// The reads that wait for whichever thread comes first.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    reads: VecDeque<Read>,
    /// The number of threads that sleep.
    asleep: usize,
    /// True from when one of them is notified until a thread takes a read.
    is_called: bool,
    is_over: bool,
}

impl Readers {
    /// The time after which a read without an answer wakes another thread: those that are awake may be
    /// held up. One thread alone is the fastest while the disk answers, as to wake one costs more than
    /// what it reads.
    const HELD_UP: Duration = Duration::from_millis(1);

    /// Starts the threads.
    pub(super) fn start(disk: &Arc<Disk>) -> io::Result<Self> {
        let mut readers = Self {
            queue: Arc::default(),
            threads: Vec::with_capacity(READERS),
        };
        for _ in 0..READERS {
            let (queue, disk) = (Arc::clone(&readers.queue), Arc::clone(disk));
            let thread = std::thread::Builder::new()
                .name("entra-oauth-proxy reads".to_owned())
                .spawn(move || queue.serve(&disk))?;
            readers.threads.push(thread);
        }
        Ok(readers)
    }

    /// Reads the records of this moment. Whoever gives up leaves nothing behind but the read
    /// that has begun.
    pub(super) async fn get_all(
        &self,
        keys: &[&str],
        disk: &Disk,
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        let gone = || StoreError::new("its readers have ended; an error in the log says why");
        let now = disk.now();
        // Whoever reads at the same moment is to wake one thread together.
        tokio::task::yield_now().await;
        let places = Arc::clone(&disk.places_to_read);
        let place = places.acquire_owned().await.map_err(|_| gone())?;
        let (answer, mut answered) = oneshot::channel();
        self.queue.push(Read {
            keys: keys.iter().map(|key| Box::from(*key)).collect(),
            now,
            answer,
            _place: place,
        });
        let found = match timeout(Self::HELD_UP, &mut answered).await {
            Ok(found) => found,
            Err(_) => {
                self.queue.changed.notify_one();
                answered.await
            }
        };
        found.map_err(|_| gone())?
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes a thread only if none is awake: the one that is comes by.
    fn push(&self, read: Read) {
        let mut waiting = self.lock();
        waiting.reads.push_back(read);
        if waiting.asleep == READERS && !waiting.is_called {
            waiting.is_called = true;
            drop(waiting);
            self.changed.notify_one();
        }
    }

    /// Takes the next read, once there is one; `None` when it is over.
    fn next(&self) -> Option<Read> {
        let mut waiting = self.lock();
        while waiting.reads.is_empty() && !waiting.is_over {
            waiting.asleep += 1;
            let woken = self.changed.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
            waiting.asleep -= 1;
        }
        waiting.is_called = false;
        match waiting.is_over {
            true => None,
            false => waiting.reads.pop_front(),
        }
    }

    fn serve(&self, disk: &Disk) {
        while let Some(read) = self.next() {
            // On a disk that did not answer for a while, most have given up.
            if read.answer.is_closed() {
                continue;
            }
            let found = disk.read(|opened| opened.get_all(&read.keys, read.now));
            let _ = read.answer.send(found);
        }
    }
}

impl Drop for Readers {
    /// Waits for the reads that have begun, as the file is locked as long as they go on. Nobody waits
    /// for the others: whoever does has the store.
    fn drop(&mut self) {
        self.queue.lock().is_over = true;
        self.queue.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A panic was said.
            let _ = thread.join();
        }
    }
}
