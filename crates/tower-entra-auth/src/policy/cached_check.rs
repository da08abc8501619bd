//! Questions about a verified token that are asked outside: after every other check, with an
//! answer that is remembered.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use entra_jwt_core::{Rejection, TenantId};
use moka::sync::Cache;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::waiting::Place;
use crate::caller::Caller;
use crate::keys::jittered;
use crate::policy::{GrantRule, TenantRule};
use crate::respond::Refusal;
use crate::time::usable_runtime;
use crate::unavailable::Unavailable;

/// The questions that are asked about verified tokens.
#[derive(Clone, Default)]
pub(crate) struct AfterChecks {
    pub(crate) tenant_rule: Option<Arc<Remembering<TenantRule>>>,
    /// Of tokens that have a grant.
    pub(crate) grant_rule: Option<Arc<Remembering<GrantRule>>>,
}

impl AfterChecks {
    /// Whether every answer is a yes that is still good. Never waits.
    pub(crate) fn remember(&self, caller: &Caller) -> bool {
        let of_tenant = self.tenant_rule.as_ref();
        let of_grant = self.grant_rule_about(caller);
        of_tenant.is_none_or(|rule| rule.remembers(caller))
            && of_grant.is_none_or(|rule| rule.remembers(caller))
    }

    /// Asks what is not remembered, one after the other.
    pub(crate) async fn ask(&self, caller: &Caller) -> Result<(), Refusal> {
        let of_tenant = self.tenant_rule.as_ref();
        if let Some(rule) = of_tenant.filter(|rule| !rule.remembers(caller)) {
            Arc::clone(rule).ask(caller.clone()).await?;
        }
        let of_grant = self.grant_rule_about(caller);
        if let Some(rule) = of_grant.filter(|rule| !rule.remembers(caller)) {
            Arc::clone(rule).ask(caller.clone()).await?;
        }
        Ok(())
    }

    /// Returns the moment at which a stream of the caller that begins now asks again; `None` if
    /// there is nothing to ask.
    pub(crate) fn rest_until(&self, caller: &Caller) -> Option<Instant> {
        // What a caller is that nobody verified, no rule can know.
        caller.proof()?;
        let now = Instant::now();
        let of_tenant = self.tenant_rule.as_ref();
        let of_tenant = of_tenant.map(|rule| rule.stream_rests_until(caller, now));
        let of_grant = self.grant_rule_about(caller);
        let of_grant = of_grant.map(|rule| rule.stream_rests_until(caller, now));
        of_tenant.into_iter().chain(of_grant).min()
    }

    /// Asks again while a stream of the caller lasts, and returns the moment at which to ask next,
    /// whether there was an answer or not.
    ///
    /// # Errors
    /// The no.
    pub(crate) async fn ask_again(self, caller: Caller) -> Result<Instant, Rejection> {
        let mut next = None;
        if let Some(rule) = &self.tenant_rule {
            let of_tenant = Arc::clone(rule).ask_again(caller.clone()).await?;
            next = Some(of_tenant);
        }
        if let Some(rule) = self.grant_rule_about(&caller) {
            let of_grant = Arc::clone(rule).ask_again(caller.clone()).await?;
            next = Some(next.map_or(of_grant, |next| of_grant.min(next)));
        }
        Ok(next.unwrap_or_else(|| Instant::now() + LEAST_REST))
    }

    /// Forgets what the tenant rule answered about this tenant.
    pub(crate) fn forget_tenant(&self, tenant: TenantId) {
        if let Some(rule) = &self.tenant_rule {
            rule.forget(&tenant);
        }
    }

    fn grant_rule_about(&self, caller: &Caller) -> Option<&Arc<Remembering<GrantRule>>> {
        let rule = self.grant_rule.as_ref();
        rule.filter(|_| caller.grant().is_some())
    }
}

/// A question about a verified token.
pub(crate) trait AfterCheck: Send + Sync + 'static {
    /// What the answer depends on, and under which a yes is kept.
    type Key: Clone + Eq + Hash + Send + Sync + 'static;

    fn key(&self, caller: &Caller) -> Self::Key;

    /// Asks. Runs on a task of its own.
    fn ask(&self, caller: Caller) -> Asking;

    /// Why there is no answer, where that is not for the question to say.
    fn no_answer(&self, reason: &str) -> Unavailable;
}

pub(crate) type Asking = Pin<Box<dyn Future<Output = Result<Answer, Unavailable>> + Send>>;

/// What was answered.
pub(crate) enum Answer {
    /// Good for so long from when it was asked.
    Yes {
        keep_for: Duration,
    },
    No(Rejection),
}

/// A yes, and for how long it is good.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Yes {
    /// For requests.
    until: Instant,
    /// For streams, which ask less often.
    rests_until: Instant,
}

/// What else a question came to.
#[derive(Clone)]
enum NotYes {
    No {
        rejection: Rejection,
        until: Instant,
    },
    /// There was no answer. For streams alone: requests ask anew.
    Unanswered { until: Instant },
}

/// What those learn who wait for the same answer.
pub(crate) type Outcome = Result<Yes, Refusal>;

/// The least time between two questions of a stream: also where a yes is kept for less.
const LEAST_REST: Duration = Duration::from_secs(5);

/// Asks each question once at a time, and remembers each yes for as long as it is good.
pub(crate) struct Remembering<C: AfterCheck> {
    check: C,
    /// Judged on use, as what is in `not_yes`; moka only bounds how many there are.
    yes: Cache<C::Key, Yes>,
    /// Apart from those, so that no crowd of strangers drives out a yes.
    not_yes: Cache<C::Key, NotYes>,
    questions: Mutex<Questions<C::Key>>,
    /// All that wait, of whichever key.
    waiting: AtomicUsize,
}

/// Those that are being asked.
struct Questions<K> {
    by_key: HashMap<K, Asked>,
    next: u64,
}

#[derive(Clone)]
struct Asked {
    number: u64,
    /// Until when its answer is waited for.
    deadline: Instant,
    answered: watch::Receiver<Option<Outcome>>,
    /// The requests that wait for it.
    waiting: Arc<AtomicUsize>,
}

impl<C: AfterCheck> Remembering<C> {
    /// How long a question is waited for at most, by all who wait for it.
    const MOST_WAIT: Duration = Duration::from_secs(5);

    /// When a request that got no answer should ask again.
    const RETRY_AFTER: Duration = Duration::from_secs(5);

    /// How many yes are kept at most.
    const MOST_KEPT: u64 = 10_000;

    /// For how long a no is kept: so that a tenant that is no customer does not have a slow rule
    /// asked with every request.
    const KEEP_NO: Duration = Duration::from_secs(1);

    /// How many no, and failures to answer, are kept at most.
    const MOST_NOT_YES: u64 = 1_000;

    /// How many questions are asked at the same time at most.
    const MOST_ASKING: usize = 256;

    /// With how many of them a stream begins one more: requests must find room, however many
    /// streams come to their moment at once.
    const MOST_ASKING_FOR_STREAMS: usize = Self::MOST_ASKING / 2;

    /// How many requests wait for answers at most. More than may wait for keys: those of one
    /// tenant all wait when its yes has run out.
    const MOST_WAITING: usize = 1_024;

    /// How many times as many of them wait for one answer, at most, as there are places left: one
    /// key alone may have 768, three quarters, and however many crowd in, some are left for others.
    const SHARE: usize = 3;

    pub(crate) fn new(check: C) -> Arc<Self> {
        Arc::new(Self {
            check,
            yes: Cache::new(Self::MOST_KEPT),
            not_yes: Cache::new(Self::MOST_NOT_YES),
            questions: Mutex::new(Questions {
                by_key: HashMap::new(),
                next: 0,
            }),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Whether a yes that is still good covers the caller. Never waits.
    pub(crate) fn remembers(&self, caller: &Caller) -> bool {
        let yes = self.yes.get(&self.check.key(caller));
        yes.is_some_and(|yes| Instant::now() < yes.until)
    }

    /// The moment at which a stream of the caller that begins now asks again. Where nothing is
    /// remembered, its request was answered a moment ago.
    fn stream_rests_until(&self, caller: &Caller, now: Instant) -> Instant {
        let rests_until = self.rests_until(&self.check.key(caller), now);
        rests_until.unwrap_or(now + LEAST_REST)
    }

    /// Until when no stream needs to ask; `None` if one should now.
    fn rests_until(&self, key: &C::Key, now: Instant) -> Option<Instant> {
        let of_yes = self.yes.get(key).map(|yes| yes.rests_until);
        let of_failure = match self.not_yes.get(key) {
            Some(NotYes::Unanswered { until }) => Some(until),
            _ => None,
        };
        let moments = of_yes.into_iter().chain(of_failure);
        moments.filter(|until| now < *until).max()
    }

    /// Asks on behalf of a stream, and returns when to ask next. It takes no place of a request's:
    /// the stream is there anyway, and nobody may ever poll this again.
    async fn ask_again(self: Arc<Self>, caller: Caller) -> Result<Instant, Rejection> {
        let (key, now) = (self.check.key(&caller), Instant::now());
        if let Some(until) = self.rests_until(&key, now) {
            return Ok(until);
        }
        if let Some(no) = self.kept_no(&key) {
            return Err(no);
        }
        let Ok(runtime) = usable_runtime() else {
            return Ok(now + Self::RETRY_AFTER);
        };
        let Some(asked) = self.asked(&runtime, caller, Self::MOST_ASKING_FOR_STREAMS) else {
            // Not all of them at the same moment again.
            return Ok(now + jittered(Self::RETRY_AFTER, 1));
        };
        match self.answer(asked).await {
            Ok(yes) => Ok(yes.rests_until),
            Err(Refusal::Rejected { rejection, .. }) => Err(rejection),
            Err(_) => Ok(Instant::now() + Self::RETRY_AFTER),
        }
    }

    /// A no of a moment ago.
    fn kept_no(&self, key: &C::Key) -> Option<Rejection> {
        match self.not_yes.get(key)? {
            NotYes::No { rejection, until } => (Instant::now() < until).then_some(rejection),
            NotYes::Unanswered { .. } => None,
        }
    }

    /// Asks, or waits for the answer if it is being asked already.
    pub(crate) async fn ask(self: Arc<Self>, caller: Caller) -> Outcome {
        if let Some(no) = self.kept_no(&self.check.key(&caller)) {
            return Err(no.into());
        }
        let Some(_place) = Place::among(&self.waiting, Self::MOST_WAITING) else {
            return self.unavailable("too many requests wait for it");
        };
        let Ok(runtime) = usable_runtime() else {
            return self.unavailable("there is no tokio runtime to ask it on");
        };
        let Some(asked) = self.asked(&runtime, caller, Self::MOST_ASKING) else {
            return self.unavailable("too many questions are being asked");
        };
        let of_question = Arc::clone(&asked.waiting);
        let left = Self::MOST_WAITING.saturating_sub(self.waiting.load(Ordering::Relaxed));
        let Some(_share) = Place::among(&of_question, Self::SHARE * left.max(1)) else {
            return self.unavailable("too many requests wait for the same answer");
        };
        self.answer(asked).await
    }

    async fn answer(&self, asked: Asked) -> Outcome {
        let mut answered = asked.answered;
        match timeout_at(asked.deadline, answered.wait_for(Option::is_some)).await {
            Ok(Ok(outcome)) => match &*outcome {
                Some(outcome) => outcome.clone(),
                None => self.unavailable("its task was ended"),
            },
            Ok(Err(_)) => self.unavailable("its task was ended"),
            Err(_) => self.unavailable("it took longer than 5 s"),
        }
    }

    /// The question about this caller that is being asked, from now on if it was not yet. One that
    /// nobody waits for any longer may be on a runtime that does not run, and is asked anew. `None`
    /// if it would be one more than `most`.
    fn asked(self: &Arc<Self>, runtime: &Handle, caller: Caller, most: usize) -> Option<Asked> {
        let key = self.check.key(&caller);
        let now = Instant::now();
        let mut questions = self.lock();
        match questions.by_key.get(&key) {
            Some(asked) if now < asked.deadline => return Some(asked.clone()),
            Some(_) => {}
            None if questions.by_key.len() < most => {}
            None => return None,
        }
        questions.next += 1;
        let (sender, answered) = watch::channel(None);
        let asked = Asked {
            number: questions.next,
            deadline: now + Self::MOST_WAIT,
            answered,
            waiting: Arc::default(),
        };
        questions.by_key.insert(key.clone(), asked.clone());
        // Never under the lock: on a runtime that is shutting down, the task is dropped here and
        // now, and dropping it locks.
        drop(questions);
        let question = Question {
            of: Arc::clone(self),
            key,
            number: asked.number,
            sender,
        };
        runtime.spawn(question.ask(caller, asked.deadline));
        Some(asked)
    }

    /// Takes a question off the list, and keeps what was answered. Does neither where a later
    /// question stands in its place.
    fn settle(&self, key: &C::Key, number: u64, outcome: Option<&Outcome>) {
        let mut questions = self.lock();
        let asked = questions.by_key.get(key);
        if asked.is_none_or(|asked| asked.number != number) {
            return;
        }
        // Before it is off the list: whoever comes between would ask anew.
        match outcome {
            Some(Ok(yes)) => self.yes.insert(key.clone(), *yes),
            Some(Err(Refusal::Rejected { rejection, .. })) => {
                self.yes.invalidate(key);
                let no = NotYes::No {
                    rejection: rejection.clone(),
                    until: Instant::now() + Self::KEEP_NO,
                };
                self.not_yes.insert(key.clone(), no);
            }
            Some(Err(_)) | None => {
                let until = Instant::now() + Self::RETRY_AFTER;
                self.not_yes
                    .insert(key.clone(), NotYes::Unanswered { until });
            }
        }
        questions.by_key.remove(key);
    }

    /// Forgets what was answered about a key. A question that is being asked may have looked before
    /// whatever it is that changed: those that wait for it get its answer, which nobody keeps.
    fn forget(&self, key: &C::Key) {
        let mut questions = self.lock();
        questions.by_key.remove(key);
        self.yes.invalidate(key);
        self.not_yes.invalidate(key);
    }

    fn unavailable(&self, reason: &str) -> Outcome {
        Err(Refusal::Unavailable {
            cause: self.check.no_answer(reason),
            retry_after: Self::RETRY_AFTER,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Questions<C::Key>> {
        self.questions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that is being asked; taken off the list however its task ends.
struct Question<C: AfterCheck> {
    of: Arc<Remembering<C>>,
    key: C::Key,
    number: u64,
    sender: watch::Sender<Option<Outcome>>,
}

impl<C: AfterCheck> Question<C> {
    async fn ask(self, caller: Caller, deadline: Instant) {
        let check = &self.of.check;
        // What the answer goes by may have been looked up at the beginning of a slow one.
        let asked_at = Instant::now();
        let outcome = match timeout_at(deadline, check.ask(caller)).await {
            Ok(Ok(Answer::Yes { keep_for })) => Ok(Yes {
                until: asked_at + keep_for,
                rests_until: asked_at + keep_for.max(LEAST_REST),
            }),
            Ok(Ok(Answer::No(rejection))) => Err(rejection.into()),
            Ok(Err(cause)) => Err(Refusal::Unavailable {
                cause,
                retry_after: Remembering::<C>::RETRY_AFTER,
            }),
            Err(_) => self.of.unavailable("it took longer than 5 s"),
        };
        // Off the list first: whoever comes after this asks anew.
        self.of.settle(&self.key, self.number, Some(&outcome));
        self.sender.send_replace(Some(outcome));
    }
}

impl<C: AfterCheck> Drop for Question<C> {
    fn drop(&mut self) {
        // After a panic of the question, or the end of its runtime: the answer never comes.
        self.of.settle(&self.key, self.number, None);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use tokio::sync::Notify;
    use tokio::time::advance;

    use super::*;
    use crate::caller::testing::caller;

    /// Says yes to whoever asks, once it is let, unless it is told otherwise.
    #[derive(Default)]
    struct Gate {
        open: Arc<Notify>,
        asked: Arc<AtomicUsize>,
        /// Another one with each request, unless it is the same.
        key: AtomicUsize,
        is_one_key: bool,
        says_no: AtomicBool,
        fails: AtomicBool,
    }

    impl Gate {
        fn of_one_key() -> Arc<Remembering<Self>> {
            Remembering::new(Self {
                is_one_key: true,
                ..Self::default()
            })
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }
    }

    impl AfterCheck for Gate {
        type Key = usize;

        fn key(&self, _: &Caller) -> usize {
            let step = usize::from(!self.is_one_key);
            self.key.fetch_add(step, Ordering::SeqCst)
        }

        fn ask(&self, _: Caller) -> Asking {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let open = Arc::clone(&self.open);
            let says_no = self.says_no.load(Ordering::SeqCst);
            let fails = self.fails.load(Ordering::SeqCst);
            Box::pin(async move {
                open.notified().await;
                match () {
                    () if fails => Err(Unavailable::NoRuntime),
                    () if says_no => Ok(Answer::No(Rejection::GrantEnded)),
                    () => Ok(Answer::Yes {
                        keep_for: Duration::from_secs(60),
                    }),
                }
            })
        }

        fn no_answer(&self, reason: &str) -> Unavailable {
            Unavailable::TenantRule {
                reason: reason.to_owned(),
            }
        }
    }

    fn reason(outcome: Outcome) -> String {
        match outcome {
            Err(Refusal::Unavailable {
                cause: Unavailable::TenantRule { reason },
                ..
            }) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_questions_asked_at_once_are_bounded() {
        let caller = caller().await;
        let gate = Remembering::new(Gate::default());
        let waiting: Vec<_> = (0..Remembering::<Gate>::MOST_ASKING)
            .map(|_| tokio::spawn(Arc::clone(&gate).ask(caller.clone())))
            .collect();
        while gate.lock().by_key.len() < Remembering::<Gate>::MOST_ASKING {
            tokio::task::yield_now().await;
        }
        let one_more = Arc::clone(&gate).ask(caller.clone()).await;
        assert!(reason(one_more).contains("too many questions"));
        for task in waiting {
            assert!(reason(task.await.unwrap()).contains("longer than 5 s"));
        }
        // Each takes itself off, at the same moment, when it is its turn.
        while !gate.lock().by_key.is_empty() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn streams_leave_room_for_the_questions_of_requests_and_come_again_at_times_of_their_own()
    {
        let caller = caller().await;
        let gate = Remembering::new(Gate::default());
        let most = Remembering::<Gate>::MOST_ASKING_FOR_STREAMS;
        let asking: Vec<_> = (0..most)
            .map(|_| tokio::spawn(Arc::clone(&gate).ask_again(caller.clone())))
            .collect();
        while gate.check.asked() < most {
            tokio::task::yield_now().await;
        }
        let now = Instant::now();
        let mut next = Vec::new();
        for _ in 0..20 {
            let turned_away = Arc::clone(&gate).ask_again(caller.clone()).await;
            next.push(turned_away.unwrap() - now);
        }
        assert!(next.iter().all(|wait| *wait <= Duration::from_secs(5)));
        next.dedup();
        assert!(next.len() > 1, "{next:?}");
        assert_eq!(gate.check.asked(), most);

        let request = tokio::spawn(Arc::clone(&gate).ask(caller.clone()));
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

    /// Has so many requests wait for the answer about the key that is the gate's now.
    async fn crowd(
        gate: &Arc<Remembering<Gate>>,
        caller: &Caller,
        size: usize,
    ) -> Vec<tokio::task::JoinHandle<Outcome>> {
        let before = gate.waiting.load(Ordering::SeqCst);
        let waiting = (0..size)
            .map(|_| tokio::spawn(Arc::clone(gate).ask(caller.clone())))
            .collect();
        for _ in 0..10 * size {
            tokio::task::yield_now().await;
        }
        assert_eq!(gate.waiting.load(Ordering::SeqCst), before + size);
        waiting
    }

    #[tokio::test(start_paused = true)]
    async fn one_key_may_have_most_places_and_leaves_some_to_all_others() {
        let caller = caller().await;
        let gate = Gate::of_one_key();
        let mut waiting = crowd(&gate, &caller, 768).await;
        let one_more = Arc::clone(&gate).ask(caller.clone()).await;
        assert!(reason(one_more).contains("the same answer"));
        // Those that crowd in next share what is left.
        for (key, most) in [(1, 192), (2, 48), (3, 12)] {
            gate.check.key.store(key, Ordering::SeqCst);
            waiting.append(&mut crowd(&gate, &caller, most).await);
            let one_more = Arc::clone(&gate).ask(caller.clone()).await;
            assert!(reason(one_more).contains("the same answer"), "{key}");
        }
        for key in 4..8 {
            gate.check.key.store(key, Ordering::SeqCst);
            waiting.append(&mut crowd(&gate, &caller, 1).await);
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
        assert_eq!(gate.waiting.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_requests_that_wait_are_bounded_whatever_they_ask_about() {
        let caller = caller().await;
        let gate = Gate::of_one_key();
        let keys = Remembering::<Gate>::MOST_ASKING;
        let mut requests = Vec::new();
        for number in 0..2_000 {
            gate.check.key.store(number % keys, Ordering::SeqCst);
            requests.push(tokio::spawn(Arc::clone(&gate).ask(caller.clone())));
            // It runs until it waits, or is turned away.
            tokio::task::yield_now().await;
        }
        let waiting = gate.waiting.load(Ordering::SeqCst);
        let most = Remembering::<Gate>::MOST_WAITING;
        assert!((most - 10..=most).contains(&waiting), "{waiting}");
        let turned_away = requests.iter().filter(|request| request.is_finished());
        assert_eq!(turned_away.count(), 2_000 - waiting);
        for request in requests {
            assert!(request.await.unwrap().is_err());
        }
        assert_eq!(gate.waiting.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_yes_counts_from_when_it_was_asked() {
        let caller = caller().await;
        let gate = Gate::of_one_key();
        let asking = tokio::spawn(Arc::clone(&gate).ask(caller.clone()));
        while gate.check.asked() == 0 {
            tokio::task::yield_now().await;
        }
        advance(Duration::from_secs(4)).await;
        gate.check.open.notify_one();
        assert!(asking.await.unwrap().is_ok());
        assert!(gate.remembers(&caller));
        advance(Duration::from_secs(55)).await;
        assert!(gate.remembers(&caller));
        advance(Duration::from_secs(1)).await;
        assert!(!gate.remembers(&caller), "60 s after the question");
    }

    #[tokio::test(start_paused = true)]
    async fn a_no_is_kept_for_a_second_and_no_longer() {
        let caller = caller().await;
        let gate = Gate::of_one_key();
        let ask = || Arc::clone(&gate).ask(caller.clone());
        gate.check.says_no.store(true, Ordering::SeqCst);
        gate.check.open.notify_one();
        for _ in 0..1_000 {
            let no = ask().await.unwrap_err();
            assert_eq!(no.code(), "grant_ended");
        }
        let stream = Arc::clone(&gate).ask_again(caller.clone()).await;
        assert_eq!(stream.unwrap_err().code(), "grant_ended");
        assert_eq!(gate.check.asked(), 1);

        gate.check.says_no.store(false, Ordering::SeqCst);
        advance(Duration::from_secs(1)).await;
        gate.check.open.notify_one();
        assert!(ask().await.is_ok());
        assert_eq!(gate.check.asked(), 2);
        // And it takes nothing from a yes that came after it.
        assert!(gate.remembers(&caller));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_forgotten_is_asked_anew_and_no_earlier_question_brings_it_back() {
        let caller = caller().await;
        let gate = Gate::of_one_key();
        let ask = || tokio::spawn(Arc::clone(&gate).ask(caller.clone()));
        // A yes, a no, and one of each that is still being asked when it is forgotten.
        for (before, is_asked_already) in
            [(true, true), (false, true), (true, false), (false, false)]
        {
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
            assert!(!gate.remembers(&caller));

            gate.check.says_no.store(before, Ordering::SeqCst);
            gate.check.open.notify_one();
            assert_eq!(ask().await.unwrap().is_ok(), !before, "{before}");
            assert_eq!(gate.check.asked(), asked + 2);
            gate.forget(&0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_yes_is_bounded_and_drives_out_no_yes() {
        let caller = caller().await;
        let gate = Gate::of_one_key();
        gate.check.open.notify_one();
        assert!(Arc::clone(&gate).ask(caller.clone()).await.is_ok());
        gate.check.says_no.store(true, Ordering::SeqCst);
        for key in 1..20_000 {
            gate.check.key.store(key, Ordering::SeqCst);
            gate.check.open.notify_one();
            assert!(Arc::clone(&gate).ask(caller.clone()).await.is_err());
        }
        gate.not_yes.run_pending_tasks();
        assert!(gate.not_yes.entry_count() <= Remembering::<Gate>::MOST_NOT_YES);
        gate.check.key.store(0, Ordering::SeqCst);
        assert!(gate.remembers(&caller));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_to_answer_is_kept_for_streams_and_not_for_requests() {
        let caller = caller().await;
        let gate = Gate::of_one_key();
        gate.check.fails.store(true, Ordering::SeqCst);
        let start = Instant::now();
        let five_seconds_later = start + Duration::from_secs(5);
        for _ in 0..100 {
            gate.check.open.notify_one();
            let next = Arc::clone(&gate).ask_again(caller.clone()).await.unwrap();
            assert_eq!(next, five_seconds_later);
        }
        assert_eq!(gate.check.asked(), 1);
        assert!(Arc::clone(&gate).ask(caller.clone()).await.is_err());
        assert_eq!(gate.check.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_on_a_runtime_that_does_not_run_holds_nobody_up_for_long() {
        let caller = caller().await;
        let gate = Gate::of_one_key();
        // A runtime that exists, and nobody drives.
        let idle = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let asked = gate.asked(idle.handle(), caller.clone(), 1).unwrap();
        let joined = Arc::clone(&gate).ask(caller.clone()).await;
        assert!(reason(joined).contains("longer than 5 s"));
        gate.check.open.notify_one();
        assert!(Arc::clone(&gate).ask(caller.clone()).await.is_ok());
        assert!(gate.lock().by_key.is_empty());

        // The end of that runtime takes off no question but its own.
        let later = gate.asked(&Handle::current(), caller.clone(), 1).unwrap();
        assert_ne!(later.number, asked.number);
        idle.shutdown_background();
        assert_eq!(gate.lock().by_key.len(), 1);
    }
}
