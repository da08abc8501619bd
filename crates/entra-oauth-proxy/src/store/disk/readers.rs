//! The reader threads. A disk that does not respond blocks only these threads.

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

/// Threads that read records, in addition to the writer.
pub(super) struct Readers {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

/// A request for records.
struct Read {
    keys: Vec<Box<str>>,
    /// Time of the request, in milliseconds since 1970.
    now: u64,
    answer: oneshot::Sender<Result<Vec<Option<Bytes>>, StoreError>>,
    /// Permit for a pending read.
    ///
    /// It is returned once the read is answered, or once its caller has given up.
    _place: OwnedSemaphorePermit,
}

/// The reads that wait for the next free thread.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    reads: VecDeque<Read>,
    /// Number of sleeping threads.
    asleep: usize,
    /// `true` from the notification of a thread until a thread takes a read.
    is_called: bool,
    is_over: bool,
}

impl Readers {
    /// Time after which a read without an answer wakes another thread.
    ///
    /// The threads that are awake may be blocked. While the disk responds, one thread alone is
    /// fastest, because waking another costs more than a read.
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

    /// Reads the records that are valid now.
    ///
    /// A caller that gives up leaves nothing except a read that has begun.
    pub(super) async fn get_all(
        &self,
        keys: &[&str],
        disk: &Disk,
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        let gone =
            || StoreError::new("its reader threads have ended; an error in the log has the cause");
        let now = disk.now();
        // Lets concurrent reads join the queue first, so that they wake only one thread.
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

    /// Adds a read, and wakes a thread if all are asleep.
    ///
    /// A thread that is awake takes the read by itself.
    fn push(&self, read: Read) {
        let mut waiting = self.lock();
        waiting.reads.push_back(read);
        if waiting.asleep == READERS && !waiting.is_called {
            waiting.is_called = true;
            drop(waiting);
            self.changed.notify_one();
        }
    }

    /// Waits for the next read, and returns it; `None` once the store is dropped.
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
            // After a disk has not responded for a while, most callers have given up.
            if read.answer.is_closed() {
                continue;
            }
            let found = disk.read(|opened| opened.get_all(&read.keys, read.now));
            let _ = read.answer.send(found);
        }
    }
}

impl Drop for Readers {
    /// Waits for the reads that have begun, because the file stays locked until they finish.
    ///
    /// No caller waits for the other reads: a waiting caller would still have the store.
    fn drop(&mut self) {
        self.queue.lock().is_over = true;
        self.queue.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A panic has already been reported.
            let _ = thread.join();
        }
    }
}
