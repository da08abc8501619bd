use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use entra_jwt_core::InvalidToken;
use tokio::sync::Notify;
use tokio::time::advance;

use super::*;

const MAX_KEPT: u64 = 10_000;

/// A check that answers once the test opens it: with a yes, unless the test sets another outcome.
#[derive(Default)]
struct Gate {
    open: Arc<Notify>,
    asked: Arc<AtomicUsize>,
    /// Key of the next request. It differs for each request, unless `is_one_key` is set.
    key: AtomicUsize,
    is_one_key: bool,
    says_no: AtomicBool,
    fails: AtomicBool,
}

impl Gate {
    fn of_one_key() -> Arc<CachedCheck<Self>> {
        let gate = Self {
            is_one_key: true,
            ..Self::default()
        };
        CachedCheck::new(gate, MAX_KEPT)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn key(&self) -> usize {
        let step = usize::from(!self.is_one_key);
        self.key.fetch_add(step, Ordering::SeqCst)
    }
}

impl Check for Gate {
    type Key = usize;
    type Question = ();

    fn ask(&self, _: usize, (): ()) -> CheckFuture {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let open = Arc::clone(&self.open);
        let says_no = self.says_no.load(Ordering::SeqCst);
        let fails = self.fails.load(Ordering::SeqCst);
        Box::pin(async move {
            open.notified().await;
            match () {
                () if fails => Err(Outage::NoRuntime),
                () if says_no => Ok(Verdict::No(InvalidToken::grant_ended().into())),
                () => Ok(Verdict::Yes {
                    keep_for: Duration::from_secs(60),
                }),
            }
        })
    }

    fn no_answer(&self, reason: &str) -> Outage {
        Outage::TenantRule {
            reason: reason.to_owned(),
        }
    }
}

fn reason(outcome: CheckOutcome) -> String {
    match outcome {
        Err(Reason::Unavailable {
            cause: Outage::TenantRule { reason },
            ..
        }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_questions_asked_at_once_are_bounded() {
    let gate = CachedCheck::new(Gate::default(), MAX_KEPT);
    let waiting: Vec<_> = (0..CachedCheck::<Gate>::MAX_ASKING)
        .map(|_| tokio::spawn(Arc::clone(&gate).ask(gate.check.key(), ())))
        .collect();
    while gate.lock().by_key.len() < CachedCheck::<Gate>::MAX_ASKING {
        tokio::task::yield_now().await;
    }
    let one_more = Arc::clone(&gate).ask(gate.check.key(), ()).await;
    assert!(reason(one_more).contains("too many calls"));
    for task in waiting {
        assert!(reason(task.await.unwrap()).contains("longer than 5 s"));
    }
    // Each task removes its question when it runs, all at the same moment.
    while !gate.lock().by_key.is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn streams_leave_room_for_the_questions_of_requests_and_come_again_at_times_of_their_own() {
    let gate = CachedCheck::new(Gate::default(), MAX_KEPT);
    let most = CachedCheck::<Gate>::MAX_ASKING_FOR_STREAMS;
    let asking: Vec<_> = (0..most)
        .map(|_| tokio::spawn(Arc::clone(&gate).ask_for_stream(gate.check.key(), ())))
        .collect();
    while gate.check.asked() < most {
        tokio::task::yield_now().await;
    }
    let now = Instant::now();
    let mut next = Vec::new();
    for _ in 0..20 {
        let turned_away = Arc::clone(&gate).ask_for_stream(gate.check.key(), ()).await;
        next.push(turned_away.unwrap() - now);
    }
    assert!(next.iter().all(|wait| *wait <= Duration::from_secs(5)));
    next.dedup();
    assert!(next.len() > 1, "{next:?}");
    assert_eq!(gate.check.asked(), most);

    let request = tokio::spawn(Arc::clone(&gate).ask(gate.check.key(), ()));
    while gate.check.asked() == most && !request.is_finished() {
        tokio::task::yield_now().await;
    }
    assert_eq!(gate.check.asked(), most + 1);
    gate.check.open.notify_waiters();
    for task in asking {
        let rests = task.await.unwrap().unwrap() - now;
        assert_eq!(rests, Duration::from_secs(60));
    }
    assert!(request.await.unwrap().is_ok());
}

/// Returns the number of requests that wait.
fn waiting_for(gate: &CachedCheck<Gate>) -> usize {
    CachedCheck::<Gate>::MAX_WAITING - gate.permits.available_permits()
}

/// Starts `size` requests that wait for the answer about the gate's current key.
async fn crowd(
    gate: &Arc<CachedCheck<Gate>>,
    size: usize,
) -> Vec<tokio::task::JoinHandle<CheckOutcome>> {
    let before = waiting_for(gate);
    let waiting = (0..size)
        .map(|_| tokio::spawn(Arc::clone(gate).ask(gate.check.key(), ())))
        .collect();
    for _ in 0..10 * size {
        tokio::task::yield_now().await;
    }
    assert_eq!(waiting_for(gate), before + size);
    waiting
}

#[tokio::test(start_paused = true)]
async fn one_key_may_have_most_places_and_leaves_some_to_all_others() {
    let gate = Gate::of_one_key();
    let mut waiting = crowd(&gate, 768).await;
    let one_more = Arc::clone(&gate).ask(gate.check.key(), ()).await;
    assert!(reason(one_more).contains("the same result"));
    // The requests of the next keys share the free places.
    for (key, most) in [(1, 192), (2, 48), (3, 12)] {
        gate.check.key.store(key, Ordering::SeqCst);
        waiting.append(&mut crowd(&gate, most).await);
        let one_more = Arc::clone(&gate).ask(gate.check.key(), ()).await;
        assert!(reason(one_more).contains("the same result"), "{key}");
    }
    for key in 4..8 {
        gate.check.key.store(key, Ordering::SeqCst);
        waiting.append(&mut crowd(&gate, 1).await);
    }
    let asked = gate.check.asked();
    for _ in 0..asked {
        gate.check.open.notify_one();
        tokio::task::yield_now().await;
    }
    for task in waiting {
        assert!(task.await.unwrap().is_ok());
    }
    assert_eq!(asked, 8, "one for each key");
    assert_eq!(waiting_for(&gate), 0);
}

#[tokio::test(start_paused = true)]
async fn the_requests_that_wait_are_bounded_whatever_they_ask_about() {
    let gate = Gate::of_one_key();
    let keys = CachedCheck::<Gate>::MAX_ASKING;
    let mut requests = Vec::new();
    for number in 0..2_000 {
        gate.check.key.store(number % keys, Ordering::SeqCst);
        requests.push(tokio::spawn(Arc::clone(&gate).ask(gate.check.key(), ())));
        // The request runs until it waits or is refused.
        tokio::task::yield_now().await;
    }
    let waiting = waiting_for(&gate);
    let most = CachedCheck::<Gate>::MAX_WAITING;
    assert!((most - 10..=most).contains(&waiting), "{waiting}");
    let turned_away = requests.iter().filter(|request| request.is_finished());
    assert_eq!(turned_away.count(), 2_000 - waiting);
    for request in requests {
        assert!(request.await.unwrap().is_err());
    }
    assert_eq!(waiting_for(&gate), 0);
}

#[tokio::test(start_paused = true)]
async fn a_yes_counts_from_when_it_was_asked() {
    let gate = Gate::of_one_key();
    let asking = tokio::spawn(Arc::clone(&gate).ask(gate.check.key(), ()));
    while gate.check.asked() == 0 {
        tokio::task::yield_now().await;
    }
    advance(Duration::from_secs(4)).await;
    gate.check.open.notify_one();
    assert!(asking.await.unwrap().is_ok());
    assert!(gate.has_yes(&gate.check.key()));
    advance(Duration::from_secs(55)).await;
    assert!(gate.has_yes(&gate.check.key()));
    advance(Duration::from_secs(1)).await;
    assert!(!gate.has_yes(&gate.check.key()), "60 s after the question");
}

#[tokio::test(start_paused = true)]
async fn a_no_is_kept_for_a_second_and_no_longer() {
    let gate = Gate::of_one_key();
    let ask = || Arc::clone(&gate).ask(gate.check.key(), ());
    gate.check.says_no.store(true, Ordering::SeqCst);
    gate.check.open.notify_one();
    for _ in 0..1_000 {
        let no = ask().await.unwrap_err();
        assert_eq!(no.code(), "grant_ended");
    }
    let stream = Arc::clone(&gate).ask_for_stream(gate.check.key(), ()).await;
    assert_eq!(stream.unwrap_err().code(), "grant_ended");
    assert_eq!(gate.check.asked(), 1);

    gate.check.says_no.store(false, Ordering::SeqCst);
    advance(Duration::from_secs(1)).await;
    gate.check.open.notify_one();
    assert!(ask().await.is_ok());
    assert_eq!(gate.check.asked(), 2);
    // The expired no does not affect the later yes.
    assert!(gate.has_yes(&gate.check.key()));
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_is_asked_anew_and_no_earlier_question_brings_it_back() {
    let gate = Gate::of_one_key();
    let ask = || tokio::spawn(Arc::clone(&gate).ask(gate.check.key(), ()));
    // A yes and a no that are cached, and a yes and a no that are still pending when their key is
    // forgotten.
    for (before, is_asked_already) in [(true, true), (false, true), (true, false), (false, false)] {
        let asked = gate.check.asked();
        gate.check.says_no.store(!before, Ordering::SeqCst);
        let earlier = ask();
        while gate.check.asked() == asked {
            tokio::task::yield_now().await;
        }
        if !is_asked_already {
            gate.forget(&0);
        }
        gate.check.open.notify_one();
        assert_eq!(earlier.await.unwrap().is_ok(), before);
        if is_asked_already {
            gate.forget(&0);
        }
        assert!(!gate.has_yes(&gate.check.key()));

        gate.check.says_no.store(before, Ordering::SeqCst);
        gate.check.open.notify_one();
        assert_eq!(ask().await.unwrap().is_ok(), !before, "{before}");
        assert_eq!(gate.check.asked(), asked + 2);
        gate.forget(&0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_yes_is_bounded_and_drives_out_no_yes() {
    let gate = Gate::of_one_key();
    gate.check.open.notify_one();
    assert!(Arc::clone(&gate).ask(gate.check.key(), ()).await.is_ok());
    gate.check.says_no.store(true, Ordering::SeqCst);
    for key in 1..20_000 {
        gate.check.key.store(key, Ordering::SeqCst);
        gate.check.open.notify_one();
        assert!(Arc::clone(&gate).ask(gate.check.key(), ()).await.is_err());
    }
    gate.not_yes.run_pending_tasks();
    assert!(gate.not_yes.entry_count() <= CachedCheck::<Gate>::MAX_NOT_YES);
    gate.check.key.store(0, Ordering::SeqCst);
    assert!(gate.has_yes(&gate.check.key()));
}

#[tokio::test(start_paused = true)]
async fn a_failure_to_answer_is_kept_for_streams_and_not_for_requests() {
    let gate = Gate::of_one_key();
    gate.check.fails.store(true, Ordering::SeqCst);
    let start = Instant::now();
    let five_seconds_later = start + Duration::from_secs(5);
    for _ in 0..100 {
        gate.check.open.notify_one();
        let next = Arc::clone(&gate)
            .ask_for_stream(gate.check.key(), ())
            .await
            .unwrap();
        assert_eq!(next, five_seconds_later);
    }
    assert_eq!(gate.check.asked(), 1);
    assert!(Arc::clone(&gate).ask(gate.check.key(), ()).await.is_err());
    assert_eq!(gate.check.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_question_on_a_runtime_that_does_not_run_holds_nobody_up_for_long() {
    let gate = Gate::of_one_key();
    // A runtime that exists, but that no thread drives.
    let idle = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let asked = gate
        .join_or_ask(idle.handle(), gate.check.key(), (), 1)
        .unwrap();
    let joined = Arc::clone(&gate).ask(gate.check.key(), ()).await;
    assert!(reason(joined).contains("longer than 5 s"));
    gate.check.open.notify_one();
    assert!(Arc::clone(&gate).ask(gate.check.key(), ()).await.is_ok());
    assert!(gate.lock().by_key.is_empty());

    // The end of that runtime removes no question but its own.
    let later = gate
        .join_or_ask(&Handle::current(), gate.check.key(), (), 1)
        .unwrap();
    assert_ne!(later.number, asked.number);
    idle.shutdown_background();
    assert_eq!(gate.lock().by_key.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn questions_that_were_forgotten_count_until_they_are_answered() {
    let gate = CachedCheck::new(Gate::default(), MAX_KEPT);
    let most = CachedCheck::<Gate>::MAX_ASKING;
    let ask = |count: usize| -> Vec<_> {
        let one = |_| tokio::spawn(Arc::clone(&gate).ask(gate.check.key(), ()));
        (0..count).map(one).collect()
    };
    let mut asking = ask(most);
    while gate.check.asked() < most {
        tokio::task::yield_now().await;
    }
    gate.forget_where(|key| *key < most / 2);
    gate.forget(&(most / 2));
    assert!(gate.lock().by_key.len() < most);
    for refused in ask(20) {
        assert!(reason(refused.await.unwrap()).contains("too many calls"));
    }
    gate.check.open.notify_waiters();
    for task in asking.drain(..) {
        assert!(task.await.unwrap().is_ok());
    }
    // The answers about forgotten keys are not cached.
    let kept = (0..most).filter(|key| gate.has_yes(key)).count();
    assert_eq!(kept, most - most / 2 - 1);
    asking.append(&mut ask(most));
    while gate.check.asked() < 2 * most {
        tokio::task::yield_now().await;
    }
}

/// Checks that entries that were used often do not keep out a new one, because tokens expire.
#[tokio::test(start_paused = true)]
async fn the_yes_that_was_used_last_stays_however_often_others_were() {
    let gate = CachedCheck::new(Gate::default(), 10);
    for old in 0..10 {
        gate.check.open.notify_one();
        assert!(Arc::clone(&gate).ask(gate.check.key(), ()).await.is_ok());
        for _ in 0..20 {
            assert!(gate.has_yes(&old));
        }
        gate.yes.run_pending_tasks();
    }
    for new in 10..20 {
        gate.check.open.notify_one();
        assert!(Arc::clone(&gate).ask(gate.check.key(), ()).await.is_ok());
        gate.yes.run_pending_tasks();
        assert!(gate.has_yes(&new), "{new}");
    }
}

/// Checks that the last no is cached, even if many others were refused before: a refused caller
/// asks again immediately.
#[tokio::test(start_paused = true)]
async fn the_no_that_came_last_is_kept_however_many_came_before() {
    let gate = CachedCheck::new(Gate::default(), MAX_KEPT);
    gate.check.says_no.store(true, Ordering::SeqCst);
    let most = usize::try_from(CachedCheck::<Gate>::MAX_NOT_YES).unwrap();
    for key in 0..2 * most {
        gate.check.open.notify_one();
        assert!(Arc::clone(&gate).ask(gate.check.key(), ()).await.is_err());
        gate.not_yes.run_pending_tasks();
        let refused_again = if key < most { 20 } else { 1 };
        for _ in 0..refused_again {
            assert!(gate.kept_no(&key).is_some(), "{key}");
        }
        gate.not_yes.run_pending_tasks();
    }
}
