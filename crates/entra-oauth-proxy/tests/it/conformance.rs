//! Tests of the conformance suite for stores: the store in memory passes, and a broken one fails.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use entra_oauth_proxy::{
    store::{MemoryStore, Store, StoreError, StoreFuture},
    testing,
};

/// A fault of a store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    GetFindsNothing,
    PutKeepsTheFirst,
    PutIsForgotten,
    TakeLeavesIt,
    TakeFindsNothing,
    SwapIgnoresWhatIsExpected,
    SwapNeverSwaps,
    SwapSaysNoAndSwaps,
    TakeLooksFirst,
    SwapLooksFirst,
    PutIsLate,
    NothingEnds,
    EverythingEndsSoon,
    Fails,
    FullTakesMore,
    FullSaysThatItFails,
    FullForgetsAnother,
    FullReplacesNothing,
    FullSwapsNothing,
}

struct Broken {
    store: MemoryStore,
    fault: Fault,
    /// Record that is written with the next `put`.
    late: Mutex<Option<(String, Bytes)>>,
}

impl Broken {
    fn ttl(&self, ttl: Duration) -> Duration {
        match self.fault {
            Fault::NothingEnds => Duration::from_secs(1_000_000),
            Fault::EverythingEndsSoon => Duration::from_secs(1),
            _ => ttl,
        }
    }
}

impl Store for Broken {
    fn get<'s>(&'s self, key: &'s str) -> StoreFuture<'s, Option<Bytes>> {
        match self.fault {
            Fault::GetFindsNothing => Box::pin(async { Ok(None) }),
            Fault::Fails => Box::pin(async { Err(StoreError::new("it is broken")) }),
            _ => self.store.get(key),
        }
    }

    fn put<'s>(&'s self, key: &'s str, value: Bytes, ttl: Duration) -> StoreFuture<'s, ()> {
        match self.fault {
            Fault::FullTakesMore => Box::pin(async move {
                let _ = self.store.put(key, value, ttl).await;
                Ok(())
            }),
            Fault::FullSaysThatItFails => Box::pin(async move {
                let put = self.store.put(key, value, ttl).await;
                put.map_err(|error| StoreError::new(error.to_string()))
            }),
            Fault::FullForgetsAnother => Box::pin(async move {
                let put = self.store.put(key, value, ttl).await;
                if put.is_err() {
                    self.store.take("full/1").await?;
                }
                put
            }),
            Fault::FullReplacesNothing => Box::pin(async move {
                match self.store.put(" ", Bytes::new(), ttl).await {
                    Ok(()) => {
                        self.store.take(" ").await?;
                        self.store.put(key, value, ttl).await
                    }
                    full => full,
                }
            }),
            Fault::PutIsForgotten => Box::pin(async { Ok(()) }),
            Fault::PutIsLate => Box::pin(async move {
                let late = self.late.lock().unwrap().replace((key.to_owned(), value));
                match late {
                    Some((key, value)) => self.store.put(&key, value, ttl).await,
                    None => Ok(()),
                }
            }),
            Fault::PutKeepsTheFirst => Box::pin(async move {
                self.store
                    .compare_and_swap(key, None, value, ttl)
                    .await
                    .map(|_| ())
            }),
            _ => self.store.put(key, value, self.ttl(ttl)),
        }
    }

    fn take<'s>(&'s self, key: &'s str) -> StoreFuture<'s, Option<Bytes>> {
        match self.fault {
            Fault::TakeLeavesIt => self.store.get(key),
            Fault::TakeLooksFirst => Box::pin(async move {
                let found = self.store.get(key).await;
                tokio::task::yield_now().await;
                self.store.take(key).await?;
                found
            }),
            Fault::TakeFindsNothing => Box::pin(async { Ok(None) }),
            _ => self.store.take(key),
        }
    }

    fn compare_and_swap<'s>(
        &'s self,
        key: &'s str,
        expected: Option<Bytes>,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'s, bool> {
        match self.fault {
            Fault::SwapLooksFirst => Box::pin(async move {
                let fits = self.store.get(key).await? == expected;
                tokio::task::yield_now().await;
                if fits {
                    self.store.put(key, value, ttl).await?;
                }
                Ok(fits)
            }),
            Fault::FullSwapsNothing => Box::pin(async move {
                self.store.put(" ", Bytes::new(), ttl).await?;
                self.store.take(" ").await?;
                self.store.compare_and_swap(key, expected, value, ttl).await
            }),
            Fault::SwapNeverSwaps => Box::pin(async { Ok(false) }),
            Fault::SwapIgnoresWhatIsExpected | Fault::SwapSaysNoAndSwaps => Box::pin(async move {
                let fits = self.store.get(key).await? == expected;
                self.store.put(key, value, ttl).await?;
                Ok(fits || self.fault == Fault::SwapIgnoresWhatIsExpected)
            }),
            _ => self
                .store
                .compare_and_swap(key, expected, value, self.ttl(ttl)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_store_in_memory_conforms() {
    testing::check_store(&MemoryStore::new(), tokio::time::advance).await;
}

/// Checks a store that several proxies share, and a boxed one, which a program chooses at startup.
#[tokio::test(start_paused = true)]
async fn a_shared_store_and_one_in_a_box_conform() {
    let shared = Arc::new(MemoryStore::new());
    testing::check_store(&Arc::clone(&shared), tokio::time::advance).await;
    assert!(!Store::is_persistent(&shared) && Store::has_room(&shared));
    let chosen: Box<dyn Store> = Box::new(MemoryStore::new());
    testing::check_store(&chosen, tokio::time::advance).await;
    assert!(!Store::is_persistent(&chosen) && Store::has_room(&chosen));
    testing::check_full_store(&Arc::new(MemoryStore::with_capacity(20))).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_with_any_fault_does_not() {
    for fault in [
        Fault::GetFindsNothing,
        Fault::PutKeepsTheFirst,
        Fault::PutIsForgotten,
        Fault::TakeLeavesIt,
        Fault::TakeFindsNothing,
        Fault::SwapIgnoresWhatIsExpected,
        Fault::SwapNeverSwaps,
        Fault::SwapSaysNoAndSwaps,
        Fault::TakeLooksFirst,
        Fault::SwapLooksFirst,
        Fault::PutIsLate,
        Fault::NothingEnds,
        Fault::EverythingEndsSoon,
        Fault::Fails,
    ] {
        let checked = tokio::spawn(async move {
            let store = Broken {
                store: MemoryStore::new(),
                fault,
                late: Mutex::default(),
            };
            testing::check_store(&store, tokio::time::advance).await;
        });
        assert!(
            checked.await.is_err_and(|error| error.is_panic()),
            "{fault:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_store_in_memory_conforms_when_it_is_full() {
    testing::check_full_store(&MemoryStore::with_capacity(20)).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_with_any_fault_when_it_is_full_does_not() {
    for fault in [
        Fault::FullTakesMore,
        Fault::FullSaysThatItFails,
        Fault::FullForgetsAnother,
        Fault::FullReplacesNothing,
        Fault::FullSwapsNothing,
    ] {
        let checked = tokio::spawn(async move {
            let store = Broken {
                store: MemoryStore::with_capacity(20),
                fault,
                late: Mutex::default(),
            };
            testing::check_full_store(&store).await;
        });
        assert!(
            checked.await.is_err_and(|error| error.is_panic()),
            "{fault:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_in_memory_has_no_room_for_new_sign_ins_a_sixteenth_before_it_is_full() {
    let store = MemoryStore::with_capacity(32);
    let ttl = Duration::from_secs(60);
    for number in 0..30 {
        assert!(store.has_room(), "{number}");
        let key = format!("grant/{number}");
        store.put(&key, Bytes::new(), ttl).await.unwrap();
    }
    assert!(!store.has_room());
    store.put("grant/30", Bytes::new(), ttl).await.unwrap();
    store.take("grant/30").await.unwrap();
    store.take("grant/29").await.unwrap();
    assert!(store.has_room());
    store.put("grant/30", Bytes::new(), ttl).await.unwrap();
    // Expired records also make room.
    tokio::time::advance(ttl).await;
    assert!(store.has_room());
}

#[tokio::test(start_paused = true)]
async fn a_full_store_in_memory_refuses_what_is_new_and_keeps_what_is_there() {
    const MINUTE: Duration = Duration::from_secs(60);
    let store = MemoryStore::with_capacity(2);
    let value = || Bytes::from_static(b"value");
    store.put("a", value(), MINUTE).await.unwrap();
    store.put("b", value(), 2 * MINUTE).await.unwrap();
    assert!(store.put("c", value(), MINUTE).await.is_err());
    assert!(
        store
            .compare_and_swap("c", None, value(), MINUTE)
            .await
            .is_err()
    );
    assert!(store.put("a", value(), MINUTE).await.is_ok());
    assert_eq!(store.get("b").await.unwrap(), Some(value()));
    // An expired record makes room.
    tokio::time::advance(MINUTE).await;
    assert!(store.put("c", value(), MINUTE).await.is_ok());
    assert_eq!(store.get("b").await.unwrap(), Some(value()));
    assert_eq!(format!("{store:?}"), "MemoryStore { records: 2, .. }");
}

#[tokio::test(start_paused = true)]
async fn records_that_are_over_do_not_pile_up() {
    let store = MemoryStore::new();
    for round in 0..20 {
        for index in 0..1_000 {
            let key = format!("{round}/{index}");
            store
                .put(&key, Bytes::new(), Duration::from_secs(1))
                .await
                .unwrap();
        }
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let printed = format!("{store:?}");
    let records: usize = printed
        .split([':', ','])
        .nth(1)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(records <= 3_000, "{printed}");
}

#[tokio::test(start_paused = true)]
async fn a_full_store_is_looked_through_once_a_second_and_not_with_each_write() {
    const HALF: Duration = Duration::from_millis(500);
    let store = MemoryStore::with_capacity(2);
    store.put("short", Bytes::new(), HALF).await.unwrap();
    store.put("long", Bytes::new(), 60 * HALF).await.unwrap();
    assert!(store.put("new", Bytes::new(), HALF).await.is_err());
    // There is room now, but the store searched for expired records a moment ago.
    tokio::time::advance(HALF).await;
    assert!(store.put("new", Bytes::new(), HALF).await.is_err());
    tokio::time::advance(HALF).await;
    assert!(store.put("new", Bytes::new(), HALF).await.is_ok());
}
