//! Tests of a disk that is full or fails, and of a process that ends at any moment.

mod ram;
mod stuck;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use self::ram::{Mishap, Ram, Step};
use super::*;
use crate::store::Store as _;

const HOUR: Duration = Duration::from_secs(3_600);

/// Time for which expired records stay in the file, in seconds.
const DAY: u64 = 24 * 3_600;

/// Maximum time for work that a thread does by itself.
const PATIENCE: Duration = Duration::from_secs(30);

fn impatient() -> Pace {
    Pace {
        rest: Duration::ZERO,
        ..Pace::default()
    }
}

fn disk(ram: &Arc<Ram>, clock: Clock) -> Result<Disk, OpenStoreError> {
    let path = Path::new("sign-ins.redb");
    Disk::over(path, ram.clone(), clock, DiskStore::DEFAULT_CAPACITY)
        .map_err(|error| OpenStoreError::of(path, error))
}

fn opened_with(ram: &Arc<Ram>, pace: Pace) -> Result<DiskStore, OpenStoreError> {
    DiskStore::start(Arc::new(disk(ram, Arc::new(SystemTime::now))?), pace)
}

fn opened(ram: &Arc<Ram>) -> Result<DiskStore, OpenStoreError> {
    opened_with(ram, impatient())
}

fn value(number: usize) -> Bytes {
    Bytes::from(vec![u8::try_from(number % 251).unwrap(); 3_000])
}

async fn put(store: &DiskStore, number: usize) -> Result<(), StoreError> {
    store
        .put(&format!("grant/{number}"), value(number), HOUR)
        .await
}

async fn get(store: &DiskStore, number: usize) -> Option<Bytes> {
    store.get(&format!("grant/{number}")).await.unwrap()
}

/// Waits until a thread, by itself, has made a condition true.
async fn comes_to_be(mut is_so: impl AsyncFnMut() -> bool) {
    let patience = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < patience, "it never was");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn on_a_full_disk_writes_are_refused_and_reads_go_on_and_all_is_well_with_space_again() {
    let ram = Ram::new(Vec::new());
    let store = opened(&ram).unwrap();
    for number in 0..20 {
        put(&store, number).await.unwrap();
    }
    let length = StorageBackend::len(&*ram).unwrap();
    ram.space.store(length, Ordering::SeqCst);
    let mut written = 20;
    let error = loop {
        match put(&store, written).await {
            Ok(()) => written += 1,
            Err(error) => break error.to_string(),
        }
        assert!(written < 10_000, "it never was full");
    };
    assert_eq!(
        error,
        "the store does not respond: no space is left for sign-ins.redb: free some space, and the \
         store continues by itself"
    );
    for _ in 0..5 {
        assert!(put(&store, written).await.is_err());
        for number in 0..written {
            assert_eq!(get(&store, number).await, Some(value(number)), "{number}");
        }
    }
    ram.space.store(u64::MAX, Ordering::SeqCst);
    for number in written..written + 20 {
        put(&store, number).await.unwrap();
    }
    drop(store);
    let store = opened(&ram).unwrap();
    for number in 0..written + 20 {
        assert_eq!(get(&store, number).await, Some(value(number)), "{number}");
    }
}

#[tokio::test]
async fn while_the_disk_is_full_reads_go_on_and_it_is_tried_again_ever_more_rarely() {
    let ram = Ram::new(Vec::new());
    let passed = Arc::new(AtomicU64::new(0));
    let of_writer = Arc::clone(&passed);
    let pace = Pace {
        elapsed: Box::new(move || Duration::from_millis(of_writer.load(Ordering::SeqCst))),
        ..Pace::default()
    };
    let store = opened_with(&ram, pace).unwrap();
    for number in 0..20 {
        put(&store, number).await.unwrap();
    }
    let length = StorageBackend::len(&*ram).unwrap();
    ram.space.store(length, Ordering::SeqCst);
    let mut written = 20;
    while put(&store, written).await.is_ok() {
        written += 1;
    }
    // Five minutes, in steps of 100 ms.
    for round in 0..3_000 {
        assert!(put(&store, written).await.is_err());
        let found = store.get(&format!("grant/{}", round % written)).await;
        assert_eq!(found.unwrap(), Some(value(round % written)), "{round}");
        passed.fetch_add(100, Ordering::SeqCst);
    }
    // Attempts after 0, 1, 3, 7 and 15 s, and every 30 s from then on.
    assert_eq!(ram.refused.load(Ordering::SeqCst), 14);
    ram.space.store(u64::MAX, Ordering::SeqCst);
    passed.fetch_add(30_000, Ordering::SeqCst);
    put(&store, written).await.unwrap();
    assert_eq!(get(&store, written).await, Some(value(written)));
    // The same must work if the database was opened again a moment ago, for another reason.
    ram.reads.store(0, Ordering::SeqCst);
    let mut has_failed = false;
    for number in 0..written {
        has_failed |= store.get(&format!("grant/{number}")).await.is_err();
    }
    assert!(has_failed);
    ram.reads.store(u64::MAX, Ordering::SeqCst);
    put(&store, written).await.unwrap();
    let length = StorageBackend::len(&*ram).unwrap();
    ram.space.store(length, Ordering::SeqCst);
    while put(&store, written).await.is_ok() {
        written += 1;
    }
    assert_eq!(get(&store, 0).await, Some(value(0)));
}

#[tokio::test]
async fn a_disk_that_is_full_from_the_beginning_is_named() {
    let ram = Ram::new(Vec::new());
    ram.space.store(4_096, Ordering::SeqCst);
    let error = opened(&ram).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no space is left for sign-ins.redb: free some space"
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_an_error_until_it_can() {
    let ram = Ram::new(Vec::new());
    let store = opened(&ram).unwrap();
    for number in 0..200 {
        put(&store, number).await.unwrap();
    }
    drop(store);
    // Most of it is no longer cached.
    let store = opened(&ram).unwrap();
    ram.reads.store(0, Ordering::SeqCst);
    let mut errors = Vec::new();
    for number in 0..200 {
        errors.extend(store.get(&format!("grant/{number}")).await.err());
    }
    let error = errors.first().expect("an error").to_string();
    assert!(error.contains("sign-ins.redb cannot be read"), "{error}");
    assert!(put(&store, 200).await.is_err());
    ram.reads.store(u64::MAX, Ordering::SeqCst);
    put(&store, 200).await.unwrap();
    for number in 0..=200 {
        assert_eq!(get(&store, number).await, Some(value(number)));
    }
}

#[tokio::test]
async fn a_store_that_is_only_read_recovers_too() {
    let (ram, store, ..) = writer_with_clock();
    for number in 0..200 {
        put(&store, number).await.unwrap();
    }
    drop(store);
    let pace = Pace {
        idle: Duration::from_millis(1),
        ..impatient()
    };
    let store = opened_with(&ram, pace).unwrap();
    ram.reads.store(0, Ordering::SeqCst);
    let mut failed = None;
    for number in 0..200 {
        let found = store.get(&format!("grant/{number}")).await;
        failed = failed.or(found.is_err().then_some(number));
    }
    let failed = format!("grant/{}", failed.expect("an error"));
    ram.reads.store(u64::MAX, Ordering::SeqCst);
    // There are no writes. The writer thread opens the database again.
    comes_to_be(async || store.get(&failed).await.is_ok()).await;
}

/// Checks that all answered writes survive, in any order in which the last steps reach the disk.
#[tokio::test]
async fn a_process_may_end_and_power_be_lost_at_any_moment() {
    let ram = Ram::new(Vec::new());
    let store = opened(&ram).unwrap();
    let mut answered = Vec::new();
    for number in 0..40 {
        put(&store, number).await.unwrap();
        answered.push((ram.steps(), number + 1));
    }
    drop(store);
    let steps = ram.file.lock().unwrap().1.clone();
    // From the first answer on. The next test covers the steps before it.
    let first = answered[0].0;
    let (mut killed, mut synced, mut unsynced) = (Vec::new(), Vec::new(), Vec::new());
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    for (index, step) in steps.iter().enumerate() {
        step.apply(&mut killed);
        unsynced.push(step);
        if let Step::Sync = step {
            unsynced.drain(..).for_each(|step| step.apply(&mut synced));
        }
        if index < first || index % 7 > 0 {
            continue;
        }
        let expected = answered.iter().filter(|(at, _)| *at <= index + 1).count();
        let mut lost = synced.clone();
        for step in &unsynced {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if seed >> 63 == 0 {
                step.apply(&mut lost);
            }
        }
        for content in [&killed, &lost] {
            let store = opened(&Ram::new(content.clone()));
            let store = store.unwrap_or_else(|error| panic!("{index}: {error}"));
            for number in 0..expected {
                assert_eq!(get(&store, number).await, Some(value(number)), "{index}");
            }
        }
    }
}

/// Checks that the next process can start, after any step of redb before the first record.
#[tokio::test]
async fn a_process_may_end_and_power_be_lost_while_it_makes_the_file() {
    let ram = Ram::new(Vec::new());
    drop(opened(&ram).unwrap());
    let steps = ram.file.lock().unwrap().1.clone();
    let name = format!("entra-oauth-proxy {} unfinished", std::process::id());
    let path = std::env::temp_dir().join(name);
    let (mut killed, mut synced) = (Vec::new(), Vec::new());
    for (index, step) in steps.iter().enumerate() {
        step.apply(&mut killed);
        match step {
            Step::Sync => synced.clone_from(&killed),
            // The length of the file and its content reach the disk separately.
            Step::Length(length) => synced.resize(usize::try_from(*length).unwrap(), 0),
            Step::Write(..) => {}
        }
        for content in [&killed, &synced] {
            std::fs::write(&path, content).unwrap();
            let store = DiskStore::open(&path);
            let store = store.unwrap_or_else(|error| panic!("{index}: {error}"));
            put(&store, 1).await.unwrap();
        }
    }
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_an_error_or_holds_what_it_held_and_never_a_panic() {
    const RECORDS: usize = 12;
    let ram = Ram::new(Vec::new());
    let store = opened(&ram).unwrap();
    for number in 0..RECORDS {
        put(&store, number).await.unwrap();
    }
    drop(store);
    let content = ram.file.lock().unwrap().0.clone();
    let (mut refused, mut whole) = (0, 0);
    // Each byte of the header, and some others.
    let places = (0..320).chain((320..content.len()).step_by(97));
    for index in places {
        let mut damaged = content.clone();
        damaged[index] ^= 0x55;
        let Ok(store) = opened(&Ram::new(damaged)) else {
            refused += 1;
            continue;
        };
        whole += 1;
        for number in 0..RECORDS {
            assert_eq!(get(&store, number).await, Some(value(number)), "{index}");
        }
    }
    assert!(refused > 100 && whole > 100, "{refused} {whole}");
    for length in [1, 9, 320, 4_096, content.len() / 2] {
        let error = opened(&Ram::new(content[..length].to_vec())).unwrap_err();
        assert!(
            error.kind() == OpenStoreErrorKind::NotAStore,
            "{length}: {error}"
        );
    }
}

#[tokio::test]
async fn whatever_fails_while_it_is_opened_it_is_an_error_and_nothing_is_lost() {
    let ram = Ram::new(Vec::new());
    let store = opened(&ram).unwrap();
    put(&store, 1).await.unwrap();
    // The file as a killed process leaves it.
    let killed = ram.file.lock().unwrap().0.clone();
    drop(store);
    let closed = ram.file.lock().unwrap().0.clone();
    for (mishap, content) in [
        (Mishap::Error, &killed),
        (Mishap::Error, &closed),
        (Mishap::Panic, &killed),
        (Mishap::Panic, &closed),
    ] {
        let mut errors = 0;
        for operation in 2..40 {
            let ram = Ram::new(content.clone());
            *ram.mishap.lock().unwrap() = (operation, mishap);
            let store = opened(&ram);
            ram.mishap.lock().unwrap().0 = 0;
            errors += usize::from(store.is_err());
            drop(store);
            let store = opened(&ram).unwrap();
            assert_eq!(
                get(&store, 1).await,
                Some(value(1)),
                "{mishap:?} {operation}"
            );
        }
        assert!(errors > 3, "{mishap:?}: {errors}");
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_again_rests_in_between() {
    let ram = Ram::new(Vec::new());
    drop(opened(&ram).unwrap());
    let looked = Arc::new(AtomicU64::new(0));
    let of_writer = Arc::clone(&looked);
    let pace = Pace {
        idle: HOUR,
        elapsed: Box::new(move || {
            of_writer.fetch_add(1, Ordering::SeqCst);
            Duration::ZERO
        }),
        ..Pace::default()
    };
    let disk = disk(&ram, Arc::new(SystemTime::now)).unwrap();
    // Before the writer has looked for expired records.
    disk.opened().record_failure();
    ram.reads.store(0, Ordering::SeqCst);
    let store = DiskStore::start(Arc::new(disk), pace).unwrap();
    for number in 0..100 {
        assert!(put(&store, number).await.is_err());
    }
    // Twice for the failed attempt to open the database, and once for each write. The first write
    // may be part of that attempt.
    let looked = looked.load(Ordering::SeqCst);
    assert!((101..=102).contains(&looked), "{looked}");
}

/// Checks that the store continues after any one operation on the file fails.
///
/// Answered writes are there. A write that returned an error may be there, or not.
#[tokio::test]
async fn whatever_fails_once_it_is_an_error_and_the_store_goes_on() {
    for mishap in [Mishap::Error, Mishap::Panic] {
        let ram = Ram::new(Vec::new());
        let store = opened(&ram).unwrap();
        for number in 0..100 {
            put(&store, number).await.unwrap();
        }
        let mut errors = 0;
        for operation in 2..60 {
            // One record to write, one to swap and one to take.
            put(&store, 200).await.unwrap();
            put(&store, 201).await.unwrap();
            *ram.mishap.lock().unwrap() = (operation, mishap);
            let (old, new) = (value(201), value(202));
            let was_read = store.get("grant/50").await;
            let was_put = store.put("grant/200", value(7), HOUR).await;
            let swap = store.compare_and_swap("grant/201", Some(old.clone()), new.clone(), HOUR);
            let was_swapped = swap.await;
            let was_taken = store.take("grant/202").await;
            ram.mishap.lock().unwrap().0 = 0;
            put(&store, 300).await.unwrap();
            let shown = format!("{mishap:?} {operation}");
            if let Ok(found) = &was_read {
                assert_eq!(*found, Some(value(50)), "{shown}");
            }
            let found = get(&store, 200).await.unwrap();
            assert!(found == value(7) || found == value(200), "{shown}");
            assert!(was_put.is_err() || found == value(7), "{shown}");
            let found = get(&store, 201).await.unwrap();
            match &was_swapped {
                Ok(is_swapped) => assert!(*is_swapped && found == new, "{shown}"),
                Err(_) => assert!(found == old || found == new, "{shown}"),
            }
            if let Ok(taken) = &was_taken {
                assert!(taken.is_none() || *taken == Some(value(202)), "{shown}");
                assert_eq!(get(&store, 202).await, None, "{shown}");
            }
            put(&store, 202).await.unwrap();
            errors += usize::from(was_read.is_err())
                + usize::from(was_put.is_err())
                + usize::from(was_swapped.is_err())
                + usize::from(was_taken.is_err());
            for number in (0..100).step_by(13) {
                assert_eq!(get(&store, number).await, Some(value(number)), "{shown}");
            }
        }
        assert!(errors > 10, "{errors}");
    }
}

/// Starts a store whose writer receives nothing, and returns its disk and its clock, too.
fn writer_with_clock() -> (Arc<Ram>, DiskStore, Arc<Disk>, Arc<AtomicU64>) {
    let ram = Ram::new(Vec::new());
    let clock = Arc::new(AtomicU64::new(1_000));
    let of_store = Arc::clone(&clock);
    let now = move || UNIX_EPOCH + Duration::from_secs(of_store.load(Ordering::SeqCst));
    let disk = Arc::new(disk(&ram, Arc::new(now)).unwrap());
    let pace = Pace {
        idle: Duration::from_millis(1),
        ..Pace::default()
    };
    let store = DiskStore::start(Arc::clone(&disk), pace).unwrap();
    (ram, store, disk, clock)
}

#[tokio::test]
async fn records_that_are_over_are_swept_out_though_nobody_asks_for_anything() {
    let (_, store, disk, clock) = writer_with_clock();
    for number in 0..300 {
        let ttl = Duration::from_secs(60);
        store
            .put(&format!("code/{number}"), Bytes::new(), ttl)
            .await
            .unwrap();
    }
    store.put("grant/1", value(1), 48 * HOUR).await.unwrap();
    clock.fetch_add(60 + DAY, Ordering::SeqCst);
    // The writer thread does it, in portions.
    comes_to_be(async || disk.count.load(Ordering::SeqCst) <= 1).await;
    assert_eq!(get(&store, 1).await, Some(value(1)));
}

#[tokio::test]
async fn a_clock_that_is_wrong_for_a_moment_takes_no_record() {
    let (_, store, _, clock) = writer_with_clock();
    put(&store, 1).await.unwrap();
    let jump = 3_600 + DAY - 1;
    clock.fetch_add(jump, Ordering::SeqCst);
    // The record has expired immediately, but the next write does not sweep it out.
    assert_eq!(get(&store, 1).await, None);
    put(&store, 2).await.unwrap();
    clock.fetch_sub(jump, Ordering::SeqCst);
    assert_eq!(get(&store, 1).await, Some(value(1)));
}

#[tokio::test]
async fn a_file_does_not_grow_by_records_that_are_over() {
    let (ram, store, _, clock) = writer_with_clock();
    let mut lengths = Vec::new();
    for round in 0..30 {
        for number in 0..50 {
            let key = format!("code/{round}/{number}");
            store
                .put(&key, value(number), Duration::from_secs(1))
                .await
                .unwrap();
        }
        clock.fetch_add(1 + DAY, Ordering::SeqCst);
        lengths.push(StorageBackend::len(&*ram).unwrap());
    }
    // All records together would need 4.5 MB.
    assert!(
        lengths.iter().all(|length| *length < 1_000_000),
        "{lengths:?}"
    );
}
