//! Tests of a disk that does not answer.

use std::sync::Mutex;
use std::thread;

use tokio::task::JoinSet;

use super::*;
use crate::keys::{Keyring, ProxyKeys};
use crate::store::Records;

/// Starts a store of 200 records, most of which are not cached, on a disk that does not respond.
async fn stuck() -> (Arc<Ram>, DiskStore, Arc<Disk>) {
    let ram = Ram::new(Vec::new());
    let store = opened(&ram).unwrap();
    for number in 0..200 {
        put(&store, number).await.unwrap();
    }
    drop(store);
    let disk = Arc::new(disk(&ram, Arc::new(SystemTime::now)).unwrap());
    let pace = Pace {
        idle: HOUR,
        ..Pace::default()
    };
    let store = DiskStore::start(Arc::clone(&disk), pace).unwrap();
    // After this write, the writer is idle.
    put(&store, 0).await.unwrap();
    ram.hold_up_reads();
    (ram, store, disk)
}

/// Starts the given number of reads.
fn asked(store: &DiskStore, reads: usize) -> JoinSet<()> {
    let mut asked = JoinSet::new();
    for number in 0..reads {
        let store = store.clone();
        asked.spawn(async move {
            get(&store, number % 200).await;
        });
    }
    asked
}

/// Reads records until the disk blocks one, and returns its key and the read.
async fn held_up(ram: &Arc<Ram>, store: &DiskStore) -> (String, tokio::task::JoinHandle<()>) {
    let before = ram.reads_since_stuck();
    for number in 1..200 {
        let key = format!("grant/{number}");
        let read = tokio::spawn({
            let (store, key) = (store.clone(), key.clone());
            async move { drop(store.get(&key).await) }
        });
        comes_to_be(async || read.is_finished() || ram.reads_since_stuck() > before).await;
        if !read.is_finished() {
            return (key, read);
        }
    }
    panic!("all are in memory");
}

/// Checks that the fourth thread answers while the disk blocks the other three.
#[tokio::test]
async fn a_read_that_is_held_up_holds_up_no_record_that_is_in_memory() {
    let (ram, store, _) = stuck().await;
    let mut held = Vec::new();
    for _ in 1..READERS {
        held.push(held_up(&ram, &store).await.1);
        let read = tokio::spawn({
            let store = store.clone();
            async move { get(&store, 0).await }
        });
        comes_to_be(async || read.is_finished()).await;
        assert_eq!(read.await.unwrap(), Some(value(0)));
        assert!(held.iter().all(|read| !read.is_finished()));
    }
    ram.release_reads();
    for read in held {
        read.await.unwrap();
    }
}

/// Checks that a disk that does not respond blocks no other work, on a runtime with one thread.
#[tokio::test]
async fn while_the_disk_does_not_answer_others_go_on_and_whoever_reads_is_told_after_ten_seconds() {
    let (ram, store, _) = stuck().await;
    let (key, _) = held_up(&ram, &store).await;
    let keyring = Keyring::new(&ProxyKeys::generate(), "https://mcp.example.com").unwrap();
    let records = Records::new(Arc::new(store.clone()), Arc::new(keyring));
    // Paused time advances whenever all tasks wait.
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let error = records.all(&[&*key]).await.unwrap_err();
    let expected = "the store does not respond: no response within 10s";
    assert_eq!(error.to_string(), expected);
    assert!(begun.elapsed() >= Duration::from_secs(10));
    ram.release_reads();
    for number in 0..200 {
        assert_eq!(get(&store, number).await, Some(value(number)), "{number}");
    }
}

#[tokio::test]
async fn of_those_who_gave_up_on_a_disk_that_does_not_answer_little_is_left() {
    let (ram, store, disk) = stuck().await;
    let places = &disk.places_to_read;
    let mut asked = asked(&store, 3 * PLACES);
    comes_to_be(async || places.available_permits() == 0 && ram.reads_since_stuck() > 0).await;
    asked.shutdown().await;
    ram.release_reads();
    comes_to_be(async || places.available_permits() == PLACES).await;
    // Reads that had begun: a few pages for each thread.
    let reads = ram.reads_since_stuck();
    assert!(reads <= 8 * READERS, "{reads}");
    for number in 0..200 {
        assert_eq!(get(&store, number).await, Some(value(number)), "{number}");
    }
}

#[tokio::test]
async fn a_store_that_was_dropped_reads_no_more() {
    let (ram, store, disk) = stuck().await;
    drop(disk);
    let mut asked = asked(&store, 200);
    comes_to_be(async || ram.reads_since_stuck() > 0).await;
    asked.shutdown().await;
    let order = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let dropped = scope.spawn(|| {
            drop(store);
            order.lock().unwrap().push("dropped");
        });
        // Long enough for a drop that does not wait.
        for _ in 0..10_000 {
            if dropped.is_finished() {
                break;
            }
            thread::yield_now();
        }
        order.lock().unwrap().push("released");
        ram.release_reads();
    });
    assert_eq!(order.into_inner().unwrap(), ["released", "dropped"]);
    assert_eq!(Arc::strong_count(&ram), 1);
}
