//! Conformance suite for implementations of [`Store`], for use as a dev-dependency only.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use crate::store::{Store, StoreError};

/// Checks that a store fulfils the contract of [`Store`].
///
/// The store must be empty. `pass` lets time pass for it, by advancing paused time or by waiting
/// for a real clock.
///
/// ```
/// use entra_oauth_proxy::{store::MemoryStore, testing};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// testing::check_store(&MemoryStore::new(), tokio::time::advance).await;
/// # }
/// ```
///
/// # Panics
/// If the store does not do what [`Store`] promises. The message says what.
pub async fn check_store<F, P>(store: &dyn Store, pass: F)
where
    F: Fn(Duration) -> P,
    P: Future<Output = ()>,
{
    keeps_what_is_put(store).await;
    shows_several_at_once(store).await;
    gives_to_one_who_takes(store).await;
    swaps_only_what_is_expected(store).await;
    shows_what_was_answered(store).await;
    gives_to_one_of_many(store).await;
    lets_one_of_many_swap(store).await;
    forgets_in_time(store, pass).await;
}

/// Checks that a full store fulfils the contract of [`Store`].
///
/// The store must be empty at first, and keep 2 to 100 000 records.
///
/// ```
/// use entra_oauth_proxy::{store::MemoryStore, testing};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// testing::check_full_store(&MemoryStore::with_capacity(100)).await;
/// # }
/// ```
///
/// # Panics
/// If the store does not do what [`Store`] promises. The message says what.
pub async fn check_full_store(store: &dyn Store) {
    let key = |number: usize| format!("full/{number}");
    let mut kept = 0;
    let refused = loop {
        assert!(kept < 100_000, "a full store refuses another record");
        match store.put(&key(kept), value("1"), LONG).await {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(kept >= 2, "the store has room for at least two records");
    assert!(
        refused.is_full(),
        "the error is StoreError::full: {refused}"
    );
    let created = store.compare_and_swap("full/new", None, value("1"), LONG);
    let refused = created.await.err();
    assert!(
        refused.is_some_and(|error| error.is_full()),
        "a swap that needs room fails with StoreError::full"
    );
    assert_eq!(
        found(store, "full/new").await,
        None,
        "a failed swap creates no record"
    );
    for number in 0..kept {
        let found = found(store, &key(number)).await;
        assert_eq!(found, Some(value("1")), "existing records stay");
    }
    answered(store.put(&key(0), value("2"), LONG).await);
    let second = key(1);
    let swapped = store.compare_and_swap(&second, Some(value("1")), value("2"), LONG);
    assert!(
        answered(swapped.await),
        "an existing record can be swapped in a full store"
    );
    for number in [0, 1] {
        let found = found(store, &key(number)).await;
        assert_eq!(
            found,
            Some(value("2")),
            "an existing record can be replaced in a full store"
        );
    }
    let taken = answered(store.take(&key(0)).await);
    assert_eq!(
        taken,
        Some(value("2")),
        "an existing record can be taken from a full store"
    );
    answered(store.put("full/new", value("1"), LONG).await);
    let found = found(store, "full/new").await;
    assert_eq!(found, Some(value("1")), "taking a record makes room");
}

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_secs(2);

fn value(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

async fn found(store: &dyn Store, key: &str) -> Option<Bytes> {
    answered(store.get(key).await)
}

#[expect(clippy::panic, reason = "a test suite fails by panicking")]
fn answered<T>(answer: Result<T, StoreError>) -> T {
    answer.unwrap_or_else(|error| panic!("{error}"))
}

async fn shows_several_at_once(store: &dyn Store) {
    answered(store.put("several/a", value("1"), LONG).await);
    answered(store.put("several/b", value("2"), LONG).await);
    let keys = ["several/b", "several/none", "several/a", "several/b"];
    let expected = [Some(value("2")), None, Some(value("1")), Some(value("2"))];
    let found = answered(store.get_all(&keys).await);
    assert_eq!(
        found, expected,
        "get_all returns the values in the order of the keys"
    );
    assert_eq!(
        answered(store.get_all(&[]).await),
        [],
        "get_all without keys returns no values"
    );
}

async fn keeps_what_is_put(store: &dyn Store) {
    assert_eq!(found(store, "put/a").await, None, "a new key has no value");
    answered(store.put("put/a", value("1"), LONG).await);
    answered(store.put("put/b", value("2"), LONG).await);
    assert_eq!(
        found(store, "put/a").await,
        Some(value("1")),
        "get returns the value that was put"
    );
    answered(store.put("put/a", value("3"), LONG).await);
    assert_eq!(
        found(store, "put/a").await,
        Some(value("3")),
        "a later put replaces the value"
    );
    assert_eq!(
        found(store, "put/b").await,
        Some(value("2")),
        "other keys keep their values"
    );
    let bytes = Bytes::from((0..=u8::MAX).cycle().take(64 * 1024).collect::<Vec<_>>());
    answered(store.put("put/long", bytes.clone(), LONG).await);
    assert_eq!(
        found(store, "put/long").await,
        Some(bytes),
        "a value can be 64 KiB of any bytes"
    );
}

async fn gives_to_one_who_takes(store: &dyn Store) {
    assert_eq!(
        answered(store.take("take/a").await),
        None,
        "take returns no value for an absent key"
    );
    answered(store.put("take/a", value("1"), LONG).await);
    assert_eq!(
        answered(store.take("take/a").await),
        Some(value("1")),
        "take returns the value"
    );
    assert_eq!(
        answered(store.take("take/a").await),
        None,
        "take removes the value"
    );
    assert_eq!(
        found(store, "take/a").await,
        None,
        "get returns no value after take"
    );
}

async fn swaps_only_what_is_expected(store: &dyn Store) {
    let swap = |expected: Option<&'static str>, new: &'static str| {
        store.compare_and_swap("swap/a", expected.map(value), value(new), LONG)
    };
    assert!(
        !answered(swap(Some("1"), "2").await),
        "a swap that expects a value fails if there is none"
    );
    assert_eq!(
        found(store, "swap/a").await,
        None,
        "a failed swap writes nothing"
    );
    assert!(
        answered(swap(None, "1").await),
        "a swap that expects no value succeeds if there is none"
    );
    assert!(
        !answered(swap(None, "2").await),
        "a swap that expects no value fails if there is one"
    );
    assert!(
        !answered(swap(Some("2"), "3").await),
        "a swap that expects another value fails"
    );
    assert_eq!(
        found(store, "swap/a").await,
        Some(value("1")),
        "a failed swap changes nothing"
    );
    assert!(
        answered(swap(Some("1"), "2").await),
        "a swap that expects the present value succeeds"
    );
    assert_eq!(
        found(store, "swap/a").await,
        Some(value("2")),
        "a successful swap replaces the value"
    );
}

/// Number of concurrent operations.
const MANY: usize = 32;

/// Polls all futures concurrently, and returns their outputs in order.
async fn at_once<A: Future>(asked: impl Iterator<Item = A>) -> Vec<A::Output> {
    let mut answers: Vec<_> = asked.map(|asked| (Box::pin(asked), None)).collect();
    poll_fn(|context| {
        for (asked, answer) in answers.iter_mut().filter(|(_, answer)| answer.is_none()) {
            if let Poll::Ready(answered) = asked.as_mut().poll(context) {
                *answer = Some(answered);
            }
        }
        match answers.iter().all(|(_, answer)| answer.is_some()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    answers
        .into_iter()
        .filter_map(|(_, answer)| answer)
        .collect()
}

async fn shows_what_was_answered(store: &dyn Store) {
    let found = (0..MANY).map(|number| async move {
        let key = format!("shows/{number}");
        answered(store.put(&key, Bytes::from(key.clone()), LONG).await);
        found(store, &key).await
    });
    for (number, found) in at_once(found).await.into_iter().enumerate() {
        let expected = Bytes::from(format!("shows/{number}"));
        assert_eq!(
            found,
            Some(expected),
            "a completed write is visible to a later read"
        );
    }
}

async fn gives_to_one_of_many(store: &dyn Store) {
    answered(store.put("take/one", value("1"), LONG).await);
    let taken = (0..MANY).map(|_| async { answered(store.take("take/one").await) });
    let taken = at_once(taken).await;
    assert_eq!(
        taken.iter().flatten().count(),
        1,
        "only one of many concurrent takes returns the value"
    );
}

async fn lets_one_of_many_swap(store: &dyn Store) {
    // One key has a record, which is replaced. The other has none, and a record is created.
    answered(store.put("swap/replaced", value("before"), LONG).await);
    for (key, expected) in [
        ("swap/replaced", Some(value("before"))),
        ("swap/made", None),
    ] {
        let swapped = (0..MANY).map(|number: usize| {
            let (expected, new) = (expected.clone(), Bytes::from(number.to_string()));
            async move { answered(store.compare_and_swap(key, expected, new, LONG).await) }
        });
        let swapped = at_once(swapped).await;
        let winners = swapped.iter().filter(|swapped| **swapped).count();
        assert_eq!(winners, 1, "only one of many concurrent swaps succeeds");
        let winner = swapped.iter().position(|swapped| *swapped);
        let expected = winner.map(|number| Bytes::from(number.to_string()));
        assert_eq!(
            found(store, key).await,
            expected,
            "the value is that of the successful swap"
        );
    }
}

async fn forgets_in_time<F, P>(store: &dyn Store, pass: F)
where
    F: Fn(Duration) -> P,
    P: Future<Output = ()>,
{
    answered(store.put("time/short", value("1"), SHORT).await);
    answered(store.put("time/taken", value("1"), SHORT).await);
    answered(store.put("time/swapped", value("1"), SHORT).await);
    answered(store.put("time/long", value("1"), SHORT).await);
    answered(store.put("time/long", value("2"), LONG).await);
    pass(SHORT + Duration::from_secs(1)).await;
    assert_eq!(
        found(store, "time/short").await,
        None,
        "get returns no expired value"
    );
    assert_eq!(
        answered(store.take("time/taken").await),
        None,
        "take returns no expired value"
    );
    let created = store
        .compare_and_swap("time/swapped", None, value("2"), LONG)
        .await;
    assert!(
        answered(created),
        "a swap treats an expired value as absent"
    );
    assert_eq!(
        found(store, "time/long").await,
        Some(value("2")),
        "a later put replaces the time of expiry"
    );
}
