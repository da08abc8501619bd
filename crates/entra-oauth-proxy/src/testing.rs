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
    assert!(kept >= 2, "there is room for two");
    assert!(refused.is_full(), "it says that it is full: {refused}");
    let created = store.compare_and_swap("full/new", None, value("1"), LONG);
    let refused = created.await.err();
    assert!(
        refused.is_some_and(|error| error.is_full()),
        "a swap makes no other record, and says so"
    );
    assert_eq!(found(store, "full/new").await, None, "none is made");
    for number in 0..kept {
        let found = found(store, &key(number)).await;
        assert_eq!(found, Some(value("1")), "what is there stays");
    }
    answered(store.put(&key(0), value("2"), LONG).await);
    let second = key(1);
    let swapped = store.compare_and_swap(&second, Some(value("1")), value("2"), LONG);
    assert!(answered(swapped.await), "what is there can be swapped");
    for number in [0, 1] {
        let found = found(store, &key(number)).await;
        assert_eq!(found, Some(value("2")), "what is there can be replaced");
    }
    let taken = answered(store.take(&key(0)).await);
    assert_eq!(taken, Some(value("2")), "what is there can be taken");
    answered(store.put("full/new", value("1"), LONG).await);
    let found = found(store, "full/new").await;
    assert_eq!(found, Some(value("1")), "which makes room");
}

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_secs(2);

fn value(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

async fn found(store: &dyn Store, key: &str) -> Option<Bytes> {
    answered(store.get(key).await)
}

#[expect(clippy::panic, reason = "a suite of tests fails by panicking")]
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
        "several are read in the order of their keys"
    );
    assert_eq!(answered(store.get_all(&[]).await), [], "none are read");
}

async fn keeps_what_is_put(store: &dyn Store) {
    assert_eq!(
        found(store, "put/a").await,
        None,
        "an empty store has nothing"
    );
    answered(store.put("put/a", value("1"), LONG).await);
    answered(store.put("put/b", value("2"), LONG).await);
    assert_eq!(
        found(store, "put/a").await,
        Some(value("1")),
        "what was put is there"
    );
    answered(store.put("put/a", value("3"), LONG).await);
    assert_eq!(
        found(store, "put/a").await,
        Some(value("3")),
        "the later takes the place"
    );
    assert_eq!(found(store, "put/b").await, Some(value("2")), "others stay");
    let bytes = Bytes::from((0..=u8::MAX).cycle().take(64 * 1024).collect::<Vec<_>>());
    answered(store.put("put/long", bytes.clone(), LONG).await);
    assert_eq!(
        found(store, "put/long").await,
        Some(bytes),
        "any bytes, 64 KiB of them"
    );
}

async fn gives_to_one_who_takes(store: &dyn Store) {
    assert_eq!(
        answered(store.take("take/a").await),
        None,
        "nothing to take"
    );
    answered(store.put("take/a", value("1"), LONG).await);
    assert_eq!(
        answered(store.take("take/a").await),
        Some(value("1")),
        "what is there is taken"
    );
    assert_eq!(answered(store.take("take/a").await), None, "and gone");
    assert_eq!(
        found(store, "take/a").await,
        None,
        "for those who read, too"
    );
}

async fn swaps_only_what_is_expected(store: &dyn Store) {
    let swap = |expected: Option<&'static str>, new: &'static str| {
        store.compare_and_swap("swap/a", expected.map(value), value(new), LONG)
    };
    assert!(
        !answered(swap(Some("1"), "2").await),
        "nothing is not something"
    );
    assert_eq!(
        found(store, "swap/a").await,
        None,
        "what fails writes nothing"
    );
    assert!(answered(swap(None, "1").await), "nothing was expected");
    assert!(!answered(swap(None, "2").await), "something is not nothing");
    assert!(
        !answered(swap(Some("2"), "3").await),
        "another value is not that value"
    );
    assert_eq!(
        found(store, "swap/a").await,
        Some(value("1")),
        "what fails changes nothing"
    );
    assert!(
        answered(swap(Some("1"), "2").await),
        "the value was expected"
    );
    assert_eq!(
        found(store, "swap/a").await,
        Some(value("2")),
        "and was replaced"
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
        assert_eq!(found, Some(expected), "a write that was answered is seen");
    }
}

async fn gives_to_one_of_many(store: &dyn Store) {
    answered(store.put("take/one", value("1"), LONG).await);
    let taken = (0..MANY).map(|_| async { answered(store.take("take/one").await) });
    let taken = at_once(taken).await;
    assert_eq!(
        taken.iter().flatten().count(),
        1,
        "of many who take one, one gets it"
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
        assert_eq!(winners, 1, "of many who swap one, one does");
        let winner = swapped.iter().position(|swapped| *swapped);
        let expected = winner.map(|number| Bytes::from(number.to_string()));
        assert_eq!(found(store, key).await, expected, "and it is the winner's");
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
        "what is over is gone"
    );
    assert_eq!(
        answered(store.take("time/taken").await),
        None,
        "to those who take, too"
    );
    let created = store
        .compare_and_swap("time/swapped", None, value("2"), LONG)
        .await;
    assert!(answered(created), "what is over counts as nothing");
    assert_eq!(
        found(store, "time/long").await,
        Some(value("2")),
        "the later time counts"
    );
}
