//! A store for tests that can fail, and that records its writes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use entra_oauth_proxy::store::{MemoryStore, Store, StoreError, StoreFuture};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::sleep;

/// A cheap handle: all clones are the same store.
#[derive(Clone, Default)]
pub(crate) struct WatchedStore(Arc<Inner>);

#[derive(Default)]
struct Inner {
    records: MemoryStore,
    is_down: AtomicBool,
    is_read_only: AtomicBool,
    is_short: AtomicBool,
    /// Prefix of the keys whose writes fail.
    refuses: Mutex<Option<&'static str>>,
    /// Key of a record that `take` does not remove.
    keeps: Mutex<Option<String>>,
    /// Every key and value that was ever written.
    written: Mutex<Vec<(String, Bytes)>>,
    calls: AtomicUsize,
    swaps: Mutex<Swaps>,
    delay: Mutex<Duration>,
    /// Number of calls that are delayed now.
    waiting: AtomicUsize,
    /// An earlier value of a record, for the next read of its key.
    older: Mutex<Option<(String, Bytes)>>,
    /// A key prefix, and the signal for which the next write with such a key waits.
    held: Mutex<Option<(&'static str, oneshot::Receiver<()>)>>,
}

/// Outcome of a swap that replaces a grant or a code.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Swaps {
    #[default]
    Done,
    /// The store reports success and writes nothing.
    Forgotten,
    /// Another writer is always faster.
    Lost,
    /// The store writes, and reports an error.
    DoneUnsaid,
    /// The same, when a code is marked as used.
    CodeDoneUnsaid,
}

impl WatchedStore {
    pub(crate) fn swaps_are(&self, swaps: Swaps) {
        *self.0.swaps.lock().unwrap() = swaps;
    }

    /// Makes the next read of a grant return its first value, as for a reader that began earlier.
    pub(crate) fn shows_the_first_grant_once(&self) {
        let written = self.written();
        let first = written
            .into_iter()
            .find(|(key, _)| key.starts_with("grant/"));
        *self.0.older.lock().unwrap() = first;
    }

    /// Holds back the next write whose key has this prefix, until the sender is used.
    pub(crate) fn holds_the_next(&self, beginning: &'static str) -> oneshot::Sender<()> {
        let (release, released) = oneshot::channel();
        *self.0.held.lock().unwrap() = Some((beginning, released));
        release
    }

    /// Waits until such a write has arrived and is held back.
    pub(crate) async fn holds(&self) {
        while self.0.held.lock().unwrap().is_some() {
            yield_now().await;
        }
    }

    pub(crate) fn goes_down(&self) {
        self.0.is_down.store(true, Ordering::SeqCst);
    }

    /// Makes all writes fail. Reads succeed.
    pub(crate) fn refuses_writes(&self) {
        self.0.is_read_only.store(true, Ordering::SeqCst);
    }

    /// Makes `get_all` leave out the last record.
    pub(crate) fn leaves_one_out(&self) {
        self.0.is_short.store(true, Ordering::SeqCst);
    }

    /// Makes writes fail whose keys have this prefix.
    pub(crate) fn refuses_writes_to(&self, beginning: &'static str) {
        *self.0.refuses.lock().unwrap() = Some(beginning);
    }

    /// Makes `take` fail for this record.
    pub(crate) fn keeps(&self, key: String) {
        *self.0.keeps.lock().unwrap() = Some(key);
    }

    pub(crate) fn comes_back(&self) {
        *self.0.refuses.lock().unwrap() = None;
        self.0.is_down.store(false, Ordering::SeqCst);
        self.0.is_read_only.store(false, Ordering::SeqCst);
        self.0.is_short.store(false, Ordering::SeqCst);
    }

    /// Delays each response by this time, on the paused clock.
    pub(crate) fn takes(&self, delay: Duration) {
        *self.0.delay.lock().unwrap() = delay;
    }

    async fn lets_others_go_first(&self) {
        yield_now().await;
        let delay = *self.0.delay.lock().unwrap();
        if !delay.is_zero() {
            self.0.waiting.fetch_add(1, Ordering::SeqCst);
            sleep(delay).await;
            self.0.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Returns whether a call is delayed now.
    pub(crate) fn is_waiting(&self) -> bool {
        self.0.waiting.load(Ordering::SeqCst) > 0
    }

    async fn shown(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let older = self.0.older.lock().unwrap().take_if(|(of, _)| of == key);
        match older {
            Some((_, value)) => Ok(Some(value)),
            None => self.0.records.get(key).await,
        }
    }

    /// Waits until a held write is released.
    async fn is_released(&self, key: &str) {
        let is_held = |held: &mut (&'static str, oneshot::Receiver<()>)| key.starts_with(held.0);
        let held = self.0.held.lock().unwrap().take_if(is_held);
        if let Some((_, released)) = held {
            released.await.unwrap();
        }
    }

    /// Returns the number of calls.
    pub(crate) fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn written(&self) -> Vec<(String, Bytes)> {
        self.0.written.lock().unwrap().clone()
    }

    /// Returns the existing records whose keys have this prefix, in the order of their first
    /// writes.
    pub(crate) async fn records(&self, beginning: &str) -> Vec<(String, Bytes)> {
        let mut records: Vec<(String, Bytes)> = Vec::new();
        for (key, _) in self.written() {
            let is_known = records.iter().any(|(known, _)| *known == key);
            if is_known || !key.starts_with(beginning) {
                continue;
            }
            if let Some(value) = self.0.records.get(&key).await.unwrap() {
                records.push((key, value));
            }
        }
        records
    }

    /// Returns the number of existing records whose keys have this prefix.
    pub(crate) async fn count(&self, beginning: &str) -> usize {
        self.records(beginning).await.len()
    }

    /// Replaces a record by a backup of it.
    pub(crate) async fn puts_back(&self, (key, value): (String, Bytes)) {
        let ttl = Duration::from_secs(3_600);
        self.0.records.put(&key, value, ttl).await.unwrap();
    }

    /// Changes a byte of each record whose key has this prefix.
    pub(crate) async fn corrupts(&self, beginning: &str) {
        let ttl = Duration::from_secs(3_600);
        for (key, value) in self.records(beginning).await {
            let mut value = value.to_vec();
            *value.last_mut().unwrap() ^= 1;
            self.0.records.put(&key, value.into(), ttl).await.unwrap();
        }
    }

    fn check(&self, writes: Option<(&str, &Bytes)>) -> Result<(), StoreError> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        let is_down = self.0.is_down.load(Ordering::SeqCst);
        let refused = *self.0.refuses.lock().unwrap();
        let is_refused = |(key, _): (&str, _)| {
            self.0.is_read_only.load(Ordering::SeqCst)
                || refused.is_some_and(|beginning| key.starts_with(beginning))
        };
        if is_down || writes.is_some_and(is_refused) {
            return Err(StoreError::new("connection refused"));
        }
        if let Some((key, value)) = writes {
            let mut written = self.0.written.lock().unwrap();
            written.push((key.to_owned(), value.clone()));
        }
        Ok(())
    }
}

/// Each call lets other tasks run first, as calls to a remote store do, so that concurrent requests
/// interleave.
impl Store for WatchedStore {
    fn get<'s>(&'s self, key: &'s str) -> StoreFuture<'s, Option<Bytes>> {
        Box::pin(async move {
            self.lets_others_go_first().await;
            self.check(None)?;
            self.shown(key).await
        })
    }

    fn get_all<'s>(&'s self, keys: &'s [&'s str]) -> StoreFuture<'s, Vec<Option<Bytes>>> {
        Box::pin(async move {
            self.lets_others_go_first().await;
            self.check(None)?;
            let mut values = Vec::new();
            for key in keys {
                values.push(self.shown(key).await?);
            }
            if self.0.is_short.load(Ordering::SeqCst) {
                values.pop();
            }
            Ok(values)
        })
    }

    fn put<'s>(&'s self, key: &'s str, value: Bytes, ttl: Duration) -> StoreFuture<'s, ()> {
        Box::pin(async move {
            self.lets_others_go_first().await;
            self.check(Some((key, &value)))?;
            self.is_released(key).await;
            self.0.records.put(key, value, ttl).await
        })
    }

    fn take<'s>(&'s self, key: &'s str) -> StoreFuture<'s, Option<Bytes>> {
        Box::pin(async move {
            self.lets_others_go_first().await;
            self.check(None)?;
            if self.0.keeps.lock().unwrap().as_deref() == Some(key) {
                return Err(StoreError::new("connection refused"));
            }
            self.0.records.take(key).await
        })
    }

    fn compare_and_swap<'s>(
        &'s self,
        key: &'s str,
        expected: Option<Bytes>,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'s, bool> {
        Box::pin(async move {
            self.lets_others_go_first().await;
            self.check(Some((key, &value)))?;
            self.is_released(key).await;
            let swaps = *self.0.swaps.lock().unwrap();
            let records = &self.0.records;
            match swaps {
                Swaps::Forgotten if key.starts_with("grant/") => Ok(true),
                Swaps::Lost if key.starts_with("grant/") => Ok(false),
                Swaps::DoneUnsaid if key.starts_with("grant/") => {
                    records.compare_and_swap(key, expected, value, ttl).await?;
                    Err(StoreError::new("connection reset"))
                }
                Swaps::CodeDoneUnsaid if key.starts_with("code/") => {
                    records.compare_and_swap(key, expected, value, ttl).await?;
                    Err(StoreError::new("connection reset"))
                }
                _ => records.compare_and_swap(key, expected, value, ttl).await,
            }
        })
    }

    fn is_persistent(&self) -> bool {
        false
    }
}
