//! Checks of verified tokens that the service decides, after every other check.
//!
//! For the same key, a check is asked only once at a time, and each yes is cached.
//! [`PostVerificationChecks`] asks the configured [rules](Rule) in order. This module asks a single
//! one.

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

/// A check of a verified token.
trait Check: Send + Sync + 'static {
    /// Cache key of an answer.
    type Key: Clone + Eq + Hash + Send + Sync + 'static;

    /// The value that the check decides about.
    type Question: Send + 'static;

    /// Returns the answer to a question. Runs in its own task.
    fn ask(&self, key: Self::Key, question: Self::Question) -> CheckFuture;

    /// Returns the error for a missing answer whose reason lies outside of the check.
    fn no_answer(&self, reason: &str) -> Outage;
}

type CheckFuture = Pin<Box<dyn Future<Output = Result<Verdict, Outage>> + Send>>;

/// The answer of a check.
enum Verdict {
    /// A yes, cached for `keep_for` from the time of the question.
    Yes {
        keep_for: Duration,
    },
    No(Reason),
}

/// A cached yes, and how long it is valid.
#[derive(Clone, Copy, Debug)]
struct Yes {
    /// Time until which requests use the yes.
    until: Instant,
    /// Time until which streams use the yes. Streams ask less often.
    rests_until: Instant,
}

/// A cached outcome other than a yes.
#[derive(Clone)]
enum NotYes {
    No {
        reason: Reason,
        until: Instant,
    },
    /// The check gave no answer. Only streams use this entry; requests ask again.
    Unanswered {
        until: Instant,
    },
}

/// Outcome of a check, for all that wait for the same answer.
type CheckOutcome = Result<Yes, Reason>;

/// Minimum time between two questions of a stream, even if a yes is cached for less.
const MIN_REST: Duration = Duration::from_secs(5);

/// A check that asks each question only once at a time, and caches each yes while it is valid.
struct CachedCheck<C: Check> {
    check: C,
    /// The cached yes answers. As in `not_yes`, every use compares the time of the entry with the
    /// current time; moka only limits the number of entries.
    yes: Cache<C::Key, Yes>,
    /// The other cached outcomes. They are separate, so that many refused callers evict no yes.
    not_yes: Cache<C::Key, NotYes>,
    in_flight: Mutex<PendingChecks<C::Key>>,
    /// Permits for the requests that wait, of all keys together.
    permits: Semaphore,
}

/// The pending questions.
struct PendingChecks<K> {
    by_key: HashMap<K, PendingCheck>,
    /// Deadlines of the pending questions whose key was forgotten, by their numbers. Their tasks
    /// still run, so they count towards the limit.
    forgotten: HashMap<u64, Instant>,
    next: u64,
}

#[derive(Clone)]
struct PendingCheck {
    number: u64,
    /// Time until which requests and streams wait for the answer.
    deadline: Instant,
    outcome: watch::Receiver<Option<CheckOutcome>>,
    /// Permits for the requests that wait for this answer.
    permits: Arc<Semaphore>,
}

impl<C: Check> CachedCheck<C> {
    /// Maximum time from a question to its answer, for all that wait for it.
    const MAX_WAIT: Duration = Duration::from_secs(5);

    /// Delay before a request that got no answer should be retried.
    const RETRY_AFTER: Duration = Duration::from_secs(5);

    /// Cache time of a no. Without it, every request of a refused tenant would call a slow rule.
    const KEEP_NO: Duration = Duration::from_secs(1);

    /// Maximum number of cached outcomes other than a yes.
    const MAX_NOT_YES: u64 = 1_000;

    /// Maximum number of pending questions.
    const MAX_ASKING: usize = 256;

    /// Number of pending questions from which on streams ask no others. The rest is for requests,
    /// even if many streams are due at the same time.
    const MAX_ASKING_FOR_STREAMS: usize = Self::MAX_ASKING / 2;

    /// Maximum number of requests that wait for answers. It is higher than for keys, because all
    /// requests of a tenant wait when its yes has expired.
    const MAX_WAITING: usize = 1_024;

    /// Maximum number of requests that wait for one answer, as a multiple of the free places.
    ///
    /// The requests of a single key may be 768, three quarters of all places. So some places stay
    /// free, even if many requests arrive.
    const SHARE: usize = 3;

    fn new(check: C, max_kept: u64) -> Arc<Self> {
        // LRU evicts an entry that was used often but never will be again, such as one for an
        // expired token.
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

    /// Returns whether a valid yes is cached. Never waits.
    fn has_yes(&self, key: &C::Key) -> bool {
        let yes = self.yes.get(key);
        yes.is_some_and(|yes| Instant::now() < yes.until)
    }

    /// Returns the time at which a stream that begins now asks again: when the cached answer is
    /// due, or after [`MIN_REST`] if nothing is cached.
    ///
    /// In the second case, the rule has just answered the request of the stream.
    fn stream_asks_at(&self, key: &C::Key, now: Instant) -> Instant {
        self.rests_until(key, now).unwrap_or(now + MIN_REST)
    }

    /// Returns the time until which no stream needs to ask; `None` if one should ask now.
    fn rests_until(&self, key: &C::Key, now: Instant) -> Option<Instant> {
        let of_yes = self.yes.get(key).map(|yes| yes.rests_until);
        let of_failure = match self.not_yes.get(key) {
            Some(NotYes::Unanswered { until }) => Some(until),
            _ => None,
        };
        let moments = of_yes.into_iter().chain(of_failure);
        moments.filter(|until| now < *until).max()
    }

    /// Asks on behalf of a stream, and returns the time of its next question.
    ///
    /// It takes no permit of a request: the stream exists anyway, and its task may never poll this
    /// future again, which would never free the permit.
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
            // Spread, so that the streams do not all ask at the same moment again.
            return Ok(now + jittered(Self::RETRY_AFTER, 1));
        };
        match self.wait_for(pending).await {
            Ok(yes) => Ok(yes.rests_until),
            Err(Reason::Unavailable { .. }) => Ok(Instant::now() + Self::RETRY_AFTER),
            Err(no) => Err(no),
        }
    }

    /// Returns the cached no, if it is still valid.
    fn kept_no(&self, key: &C::Key) -> Option<Reason> {
        match self.not_yes.get(key)? {
            NotYes::No { reason, until } => (Instant::now() < until).then_some(reason),
            NotYes::Unanswered { .. } => None,
        }
    }

    /// Asks a question, or waits for its answer if it is already pending.
    async fn ask(self: Arc<Self>, key: C::Key, question: C::Question) -> CheckOutcome {
        if let Some(no) = self.kept_no(&key) {
            return Err(no);
        }
        let Ok(_permit) = self.permits.try_acquire() else {
            return self.unavailable("too many requests wait for it");
        };
        let Ok(runtime) = usable_runtime() else {
            return self.unavailable("there is no tokio runtime to run it on");
        };
        let Some(pending) = self.join_or_ask(&runtime, key, question, Self::MAX_ASKING) else {
            return self.unavailable("too many calls are in progress");
        };
        let of_question = Arc::clone(&pending.permits);
        let share = of_question.try_acquire();
        let of_all = Self::SHARE * self.permits.available_permits().max(1);
        let taken = Self::MAX_WAITING - of_question.available_permits();
        if share.is_err() || taken > of_all {
            return self.unavailable("too many requests wait for the same result");
        }
        self.wait_for(pending).await
    }

    async fn wait_for(&self, pending: PendingCheck) -> CheckOutcome {
        let mut outcome = pending.outcome;
        match timeout_at(pending.deadline, outcome.wait_for(Option::is_some)).await {
            Ok(Ok(outcome)) => match &*outcome {
                Some(outcome) => outcome.clone(),
                None => self.unavailable("its task was aborted"),
            },
            Ok(Err(_)) => self.unavailable("its task was aborted"),
            Err(_) => self.unavailable("it took longer than 5 s"),
        }
    }

    /// Returns the pending question of this key, or asks it; `None` if that would be more than
    /// `max` questions.
    ///
    /// A question after its deadline is asked again: its task may be on a runtime that does not
    /// run.
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
        // Never spawned under the lock: on a runtime that is shutting down, the task is dropped
        // during the call, and its drop takes the lock.
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

    /// Removes a pending question, and caches its outcome. Does neither if the question was
    /// forgotten or replaced by a later one.
    fn settle(&self, key: &C::Key, number: u64, outcome: Option<&CheckOutcome>) {
        let mut in_flight = self.lock();
        let pending = in_flight.by_key.get(key);
        if pending.is_none_or(|pending| pending.number != number) {
            return;
        }
        // Before the removal: otherwise a request in between would ask again.
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

    /// Removes the cached answers about a key.
    ///
    /// A pending question may have read its facts before the change that leads to this call. The
    /// requests that wait for its answer receive it, but it is not cached.
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

    /// Removes the cached answers about each of these keys, as [`forget`](Self::forget) does for
    /// one.
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

/// The task of a pending question. However the task ends, its drop removes the question.
struct CheckTask<C: Check> {
    of: Arc<CachedCheck<C>>,
    key: C::Key,
    number: u64,
    sender: watch::Sender<Option<CheckOutcome>>,
}

impl<C: Check> CheckTask<C> {
    async fn run(self, question: C::Question, deadline: Instant) {
        let check = &self.of.check;
        // A slow check may have looked up the facts at its beginning, so a yes counts from there.
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
        // First removed from the pending questions, so that a request after this asks again.
        self.of.settle(&self.key, self.number, Some(&outcome));
        self.sender.send_replace(Some(outcome));
    }
}

impl<C: Check> Drop for CheckTask<C> {
    fn drop(&mut self) {
        // If the check panicked or its runtime ended, the answer never comes.
        self.of.settle(&self.key, self.number, None);
        self.of.lock().forgotten.remove(&self.number);
    }
}
