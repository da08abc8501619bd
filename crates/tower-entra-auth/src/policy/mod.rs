//! Checks that are asked outside, about a verified token, after every other check: each is asked once
//! at a time about the same, and each yes is remembered.
//!
//! [`PostVerificationChecks`] asks the [rules](Rule) that there are; here is what asks one of them.

mod checks;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

pub(crate) use self::checks::{CallerKey, PostVerificationChecks, Subject};
pub(crate) use self::rules::Rule;
use crate::respond::Reason;
use crate::time::{jittered, usable_runtime};
use crate::unavailable::Outage;

/// A check of something about a verified token.
trait Check: Send + Sync + 'static {
    /// The subject of the answer, under which a yes is kept.
    type Key: Clone + Eq + Hash + Send + Sync + 'static;

    /// The subject itself.
    type Question: Send + 'static;

    /// Asks. Runs on a task of its own.
    fn ask(&self, key: Self::Key, question: Self::Question) -> CheckFuture;

    /// Returns why there is no answer, where that is not for the check to say.
    fn no_answer(&self, reason: &str) -> Outage;
}

type CheckFuture = Pin<Box<dyn Future<Output = Result<Verdict, Outage>> + Send>>;

/// The answer of a check.
enum Verdict {
    /// Good for so long from when it was asked.
    Yes {
        keep_for: Duration,
    },
    No(Reason),
}

/// A yes, and for how long it is good.
#[derive(Clone, Copy, Debug)]
struct Yes {
    /// The time until which requests rely on it.
    until: Instant,
    /// The time until which streams, which ask less often, rely on it.
    rests_until: Instant,
}

/// Any other outcome.
#[derive(Clone)]
enum NotYes {
    No {
        reason: Reason,
        until: Instant,
    },
    /// There was no answer. For streams alone: requests ask again.
    Unanswered {
        until: Instant,
    },
}

/// The outcome for all who wait for the same answer.
type CheckOutcome = Result<Yes, Reason>;

/// The least time between two questions of a stream: also where a yes is kept for less.
const MIN_REST: Duration = Duration::from_secs(5);

/// Asks each question once at a time, and remembers each yes for as long as it is good.
struct CachedCheck<C: Check> {
    check: C,
    /// Judged on use, as what is in `not_yes`; moka only bounds how many there are.
    yes: Cache<C::Key, Yes>,
    /// Apart from those, so that no crowd of strangers drives out a yes.
    not_yes: Cache<C::Key, NotYes>,
    in_flight: Mutex<PendingChecks<C::Key>>,
    /// A permit for each request that waits, of whichever key.
    permits: Semaphore,
}

/// The questions that are being asked.
struct PendingChecks<K> {
    by_key: HashMap<K, PendingCheck>,
    /// Those whose key was forgotten, by their numbers, each until its deadline: they are asked all the same.
    forgotten: HashMap<u64, Instant>,
    next: u64,
}

#[derive(Clone)]
struct PendingCheck {
    number: u64,
    /// The time until which its answer is waited for.
    deadline: Instant,
    outcome: watch::Receiver<Option<CheckOutcome>>,
    /// A permit for each request that waits for it.
    permits: Arc<Semaphore>,
}

impl<C: Check> CachedCheck<C> {
    /// The longest that a question is waited for, by all who wait for it.
    const MAX_WAIT: Duration = Duration::from_secs(5);

    /// The time after which a request that got no answer should ask again.
    const RETRY_AFTER: Duration = Duration::from_secs(5);

    /// The time for which a no is kept: so that a tenant that is no customer does not have a slow rule
    /// asked with every request.
    const KEEP_NO: Duration = Duration::from_secs(1);

    /// The greatest number of no answers, and failures to answer, that are kept.
    const MAX_NOT_YES: u64 = 1_000;

    /// The most questions that are asked at the same time.
    const MAX_ASKING: usize = 256;

    /// The number of them with which a stream begins no other: requests must find room, however many
    /// streams come to their moment at once.
    const MAX_ASKING_FOR_STREAMS: usize = Self::MAX_ASKING / 2;

    /// The most requests that wait for answers. More than may wait for keys: those of one
    /// tenant all wait when its yes has run out.
    const MAX_WAITING: usize = 1_024;

    /// The most requests that wait for one answer, as a multiple of the places left: those of one
    /// key alone may be 768, three quarters, and however many crowd in, some places are left.
    const SHARE: usize = 3;

    fn new(check: C, max_kept: u64) -> Arc<Self> {
        // The longest unused goes first: what was asked for often and never will be again, such as an expired
        // token, makes room.
        let lru = EvictionPolicy::lru();
        let yes = Cache::builder().max_capacity(max_kept);
        let not_yes = Cache::builder().max_capacity(Self::MAX_NOT_YES);
        Arc::new(Self {
            check,
            yes: yes.eviction_policy(lru.clone()).build(),
            not_yes: not_yes.eviction_policy(lru).build(),
            in_flight: Mutex::new(PendingChecks {
                by_key: HashMap::new(),
                forgotten: HashMap::new(),
                next: 0,
            }),
            permits: Semaphore::new(Self::MAX_WAITING),
        })
    }

    /// Returns whether there is a yes that is still good. Never waits.
    fn has_yes(&self, key: &C::Key) -> bool {
        let yes = self.yes.get(key);
        yes.is_some_and(|yes| Instant::now() < yes.until)
    }

    /// Returns the moment at which a stream that begins now asks again. Where nothing is remembered, its
    /// request was answered a moment ago.
    fn stream_asks_at(&self, key: &C::Key, now: Instant) -> Instant {
        self.rests_until(key, now).unwrap_or(now + MIN_REST)
    }

    /// Returns until when no stream needs to ask; `None` if one should now.
    fn rests_until(&self, key: &C::Key, now: Instant) -> Option<Instant> {
        let of_yes = self.yes.get(key).map(|yes| yes.rests_until);
        let of_failure = match self.not_yes.get(key) {
            Some(NotYes::Unanswered { until }) => Some(until),
            _ => None,
        };
        let moments = of_yes.into_iter().chain(of_failure);
        moments.filter(|until| now < *until).max()
    }

    /// Asks on behalf of a stream, and returns when to ask next. It takes no permit of a request's: the
    /// stream is there anyway, and nobody may ever poll this again.
    async fn ask_for_stream(
        self: Arc<Self>,
        key: C::Key,
        question: C::Question,
    ) -> Result<Instant, Reason> {
        let now = Instant::now();
        if let Some(until) = self.rests_until(&key, now) {
            return Ok(until);
        }
        if let Some(no) = self.kept_no(&key) {
            return Err(no);
        }
        let Ok(runtime) = usable_runtime() else {
            return Ok(now + Self::RETRY_AFTER);
        };
        let most = Self::MAX_ASKING_FOR_STREAMS;
        let Some(pending) = self.join_or_ask(&runtime, key, question, most) else {
            // Not all of them at the same moment again.
            return Ok(now + jittered(Self::RETRY_AFTER, 1));
        };
        match self.wait_for(pending).await {
            Ok(yes) => Ok(yes.rests_until),
            Err(Reason::Unavailable { .. }) => Ok(Instant::now() + Self::RETRY_AFTER),
            Err(no) => Err(no),
        }
    }

    /// Returns the no of a moment ago.
    fn kept_no(&self, key: &C::Key) -> Option<Reason> {
        match self.not_yes.get(key)? {
            NotYes::No { reason, until } => (Instant::now() < until).then_some(reason),
            NotYes::Unanswered { .. } => None,
        }
    }

    /// Asks, or waits for the answer if it is being asked already.
    async fn ask(self: Arc<Self>, key: C::Key, question: C::Question) -> CheckOutcome {
        if let Some(no) = self.kept_no(&key) {
            return Err(no);
        }
        let Ok(_permit) = self.permits.try_acquire() else {
            return self.unavailable("too many requests wait for it");
        };
        let Ok(runtime) = usable_runtime() else {
            return self.unavailable("there is no tokio runtime to ask it on");
        };
        let Some(pending) = self.join_or_ask(&runtime, key, question, Self::MAX_ASKING) else {
            return self.unavailable("too many questions are being asked");
        };
        let of_question = Arc::clone(&pending.permits);
        let share = of_question.try_acquire();
        let of_all = Self::SHARE * self.permits.available_permits().max(1);
        let taken = Self::MAX_WAITING - of_question.available_permits();
        if share.is_err() || taken > of_all {
            return self.unavailable("too many requests wait for the same answer");
        }
        self.wait_for(pending).await
    }

    async fn wait_for(&self, pending: PendingCheck) -> CheckOutcome {
        let mut outcome = pending.outcome;
        match timeout_at(pending.deadline, outcome.wait_for(Option::is_some)).await {
            Ok(Ok(outcome)) => match &*outcome {
                Some(outcome) => outcome.clone(),
                None => self.unavailable("its task was ended"),
            },
            Ok(Err(_)) => self.unavailable("its task was ended"),
            Err(_) => self.unavailable("it took longer than 5 s"),
        }
    }

    /// Returns the question that is being asked, or asks it. One that nobody waits for any longer may be
    /// on a runtime that does not run, and is asked again. `None` if it would be one more than `max`.
    fn join_or_ask(
        self: &Arc<Self>,
        runtime: &Handle,
        key: C::Key,
        question: C::Question,
        max: usize,
    ) -> Option<PendingCheck> {
        let now = Instant::now();
        let mut in_flight = self.lock();
        in_flight.forgotten.retain(|_, deadline| now < *deadline);
        let asked = in_flight.by_key.len() + in_flight.forgotten.len();
        match in_flight.by_key.get(&key) {
            Some(pending) if now < pending.deadline => return Some(pending.clone()),
            Some(_) => {}
            None if asked < max => {}
            None => return None,
        }
        in_flight.next += 1;
        let (sender, outcome) = watch::channel(None);
        let pending = PendingCheck {
            number: in_flight.next,
            deadline: now + Self::MAX_WAIT,
            outcome,
            permits: Arc::new(Semaphore::new(Self::MAX_WAITING)),
        };
        in_flight.by_key.insert(key.clone(), pending.clone());
        // Never under the lock: on a runtime that is shutting down, the task is dropped here and
        // now, and dropping it locks.
        drop(in_flight);
        let task = CheckTask {
            of: Arc::clone(self),
            key,
            number: pending.number,
            sender,
        };
        runtime.spawn(task.run(question, pending.deadline));
        Some(pending)
    }

    /// Takes a question off the list, and keeps what was answered. Does neither where a later
    /// question stands in its place.
    fn settle(&self, key: &C::Key, number: u64, outcome: Option<&CheckOutcome>) {
        let mut in_flight = self.lock();
        let pending = in_flight.by_key.get(key);
        if pending.is_none_or(|pending| pending.number != number) {
            return;
        }
        // Before it is off the list: a request that comes between would ask again.
        match outcome {
            Some(Ok(yes)) => self.yes.insert(key.clone(), *yes),
            Some(Err(Reason::Unavailable { .. })) | None => {
                let until = Instant::now() + Self::RETRY_AFTER;
                self.not_yes
                    .insert(key.clone(), NotYes::Unanswered { until });
            }
            Some(Err(reason)) => {
                self.yes.invalidate(key);
                let no = NotYes::No {
                    reason: reason.clone(),
                    until: Instant::now() + Self::KEEP_NO,
                };
                self.not_yes.insert(key.clone(), no);
            }
        }
        in_flight.by_key.remove(key);
    }

    /// Forgets what was answered about a key. A question that is being asked may have looked before
    /// whatever it is that changed: those that wait for it get its answer, which nobody keeps.
    fn forget(&self, key: &C::Key) {
        let mut in_flight = self.lock();
        if let Some(pending) = in_flight.by_key.remove(key) {
            let PendingCheck {
                number, deadline, ..
            } = pending;
            in_flight.forgotten.insert(number, deadline);
        }
        self.yes.invalidate(key);
        self.not_yes.invalidate(key);
    }

    /// Forgets what was answered about each of these keys, as [`forget`](Self::forget) does about one.
    fn forget_where(&self, is_meant: impl Fn(&C::Key) -> bool) {
        let asked: Vec<C::Key> = self.lock().by_key.keys().cloned().collect();
        let yes = self.yes.iter().map(|(key, _)| C::Key::clone(&key));
        let not_yes = self.not_yes.iter().map(|(key, _)| C::Key::clone(&key));
        for key in asked.into_iter().chain(yes).chain(not_yes) {
            if is_meant(&key) {
                self.forget(&key);
            }
        }
    }

    fn unavailable(&self, reason: &str) -> CheckOutcome {
        Err(Reason::Unavailable {
            cause: self.check.no_answer(reason),
            retry_after: Self::RETRY_AFTER,
        })
    }

    fn lock(&self) -> MutexGuard<'_, PendingChecks<C::Key>> {
        self.in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that is being asked; taken off the list however its task ends.
struct CheckTask<C: Check> {
    of: Arc<CachedCheck<C>>,
    key: C::Key,
    number: u64,
    sender: watch::Sender<Option<CheckOutcome>>,
}

impl<C: Check> CheckTask<C> {
    async fn run(self, question: C::Question, deadline: Instant) {
        let check = &self.of.check;
        // What the answer goes by may have been looked up at the beginning of a slow one.
        let asked_at = Instant::now();
        let outcome = match timeout_at(deadline, check.ask(self.key.clone(), question)).await {
            Ok(Ok(Verdict::Yes { keep_for })) => Ok(Yes {
                until: asked_at + keep_for,
                rests_until: asked_at + keep_for.max(MIN_REST),
            }),
            Ok(Ok(Verdict::No(reason))) => Err(reason),
            Ok(Err(cause)) => Err(Reason::Unavailable {
                cause,
                retry_after: CachedCheck::<C>::RETRY_AFTER,
            }),
            Err(_) => self.of.unavailable("it took longer than 5 s"),
        };
        // Off the list first: a request that comes after this asks again.
        self.of.settle(&self.key, self.number, Some(&outcome));
        self.sender.send_replace(Some(outcome));
    }
}

impl<C: Check> Drop for CheckTask<C> {
    fn drop(&mut self) {
        // After a panic of the question, or the end of its runtime: the answer never comes.
        self.of.settle(&self.key, self.number, None);
        self.of.lock().forgotten.remove(&self.number);
    }
}
