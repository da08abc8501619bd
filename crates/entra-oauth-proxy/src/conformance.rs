//! What every store must do, as a suite: for tests of stores.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use crate::store::Store;

/// Checks a store, which must be empty. `pass` lets time pass for it: paused time is advanced, a real
/// clock is waited for.
///
/// ```
/// use entra_oauth_proxy::{MemoryStore, conformance};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// conformance::check(&MemoryStore::new(), tokio::time::advance).await;
/// # }
/// ```
///
/// # Panics
/// If the store does not do what [`Store`] promises; the message says what.
pub async fn check<F, P>(store: &dyn Store, pass: F)
where
    F: Fn(Duration) -> P,
    P: Future<Output = ()>,
{
    keeps_what_is_put(store).await;
    gives_to_one_who_takes(store).await;
    swaps_only_what_is_expected(store).await;
    forgets_in_time(store, pass).await;
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
fn answered<T>(answer: Result<T, crate::StoreError>) -> T {
    answer.unwrap_or_else(|error| panic!("{error}"))
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
