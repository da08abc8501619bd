//! A check whose yes is remembered, and that is asked once at a time about the same.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use entra_jwt_core::Rejection;
use moka::sync::Cache;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use crate::respond::Refusal;
use crate::time::{jittered, usable_runtime};
use crate::unavailable::Unavailable;

/// A check of something about a verified token.
pub(super) trait Check: Send + Sync + 'static {
    /// What the answer depends on, and under which a yes is kept.
    type Key: Clone + Eq + Hash + Send + Sync + 'static;

    /// Asks. Runs on a task of its own.
    fn ask(&self, key: Self::Key) -> Asking;

    /// Returns why there is no answer, where that is not for the check to say.
    fn no_answer(&self, reason: &str) -> Unavailable;
}

pub(super) type Asking = Pin<Box<dyn Future<Output = Result<Verdict, Unavailable>> + Send>>;

/// What was answered.
pub(super) enum Verdict {
    /// Good for so long from when it was asked.
    Yes {
        keep_for: Duration,
    },
    No(Rejection),
}

/// A yes, and for how long it is good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Yes {
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
type Outcome = Result<Yes, Refusal>;

/// The least time between two questions of a stream: also where a yes is kept for less.
pub(super) const LEAST_REST: Duration = Duration::from_secs(5);

/// Asks each question once at a time, and remembers each yes for as long as it is good.
pub(super) struct CachedCheck<C: Check> {
    check: C,
    /// Judged on use, as what is in `not_yes`; moka only bounds how many there are.
    yes: Cache<C::Key, Yes>,
    /// Apart from those, so that no crowd of strangers drives out a yes.
    not_yes: Cache<C::Key, NotYes>,
    in_flight: Mutex<InFlight<C::Key>>,
    /// A permit for each request that waits, of whichever key.
    waiting: Semaphore,
}

/// The questions that are being asked.
struct InFlight<K> {
    by_key: HashMap<K, Pending>,
    next: u64,
}

#[derive(Clone)]
struct Pending {
    number: u64,
    /// Until when its answer is waited for.
    deadline: Instant,
    answered: watch::Receiver<Option<Outcome>>,
    /// A permit for each request that waits for it.
    waiting: Arc<Semaphore>,
}

impl<C: Check> CachedCheck<C> {
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

    pub(super) fn new(check: C) -> Arc<Self> {
        Arc::new(Self {
            check,
            yes: Cache::new(Self::MOST_KEPT),
            not_yes: Cache::new(Self::MOST_NOT_YES),
            in_flight: Mutex::new(InFlight {
                by_key: HashMap::new(),
                next: 0,
            }),
            waiting: Semaphore::new(Self::MOST_WAITING),
        })
    }

    /// Returns whether there is a yes that is still good. Never waits.
    pub(super) fn has_yes(&self, key: &C::Key) -> bool {
        let yes = self.yes.get(key);
        yes.is_some_and(|yes| Instant::now() < yes.until)
    }

    /// Returns the moment at which a stream that begins now asks again. Where nothing is remembered, its
    /// request was answered a moment ago.
    pub(super) fn stream_asks_at(&self, key: &C::Key, now: Instant) -> Instant {
        self.rests_until(key, now).unwrap_or(now + LEAST_REST)
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
    pub(super) async fn ask_for_stream(self: Arc<Self>, key: C::Key) -> Result<Instant, Rejection> {
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
        let Some(pending) = self.pending(&runtime, key, Self::MOST_ASKING_FOR_STREAMS) else {
            // Not all of them at the same moment again.
            return Ok(now + jittered(Self::RETRY_AFTER, 1));
        };
        match self.answer(pending).await {
            Ok(yes) => Ok(yes.rests_until),
            Err(Refusal::Rejected { rejection, .. }) => Err(rejection),
            Err(_) => Ok(Instant::now() + Self::RETRY_AFTER),
        }
    }

    /// Returns the no of a moment ago.
    fn kept_no(&self, key: &C::Key) -> Option<Rejection> {
        match self.not_yes.get(key)? {
            NotYes::No { rejection, until } => (Instant::now() < until).then_some(rejection),
            NotYes::Unanswered { .. } => None,
        }
    }

    /// Asks, or waits for the answer if it is being asked already.
    pub(super) async fn ask(self: Arc<Self>, key: C::Key) -> Outcome {
        if let Some(no) = self.kept_no(&key) {
            return Err(no.into());
        }
        let Ok(_permit) = self.waiting.try_acquire() else {
            return self.unavailable("too many requests wait for it");
        };
        let Ok(runtime) = usable_runtime() else {
            return self.unavailable("there is no tokio runtime to ask it on");
        };
        let Some(pending) = self.pending(&runtime, key, Self::MOST_ASKING) else {
            return self.unavailable("too many questions are being asked");
        };
        let of_question = Arc::clone(&pending.waiting);
        let share = of_question.try_acquire();
        let of_all = Self::SHARE * self.waiting.available_permits().max(1);
        let taken = Self::MOST_WAITING - of_question.available_permits();
        if share.is_err() || taken > of_all {
            return self.unavailable("too many requests wait for the same answer");
        }
        self.answer(pending).await
    }

    async fn answer(&self, pending: Pending) -> Outcome {
        let mut answered = pending.answered;
        match timeout_at(pending.deadline, answered.wait_for(Option::is_some)).await {
            Ok(Ok(outcome)) => match &*outcome {
                Some(outcome) => outcome.clone(),
                None => self.unavailable("its task was ended"),
            },
            Ok(Err(_)) => self.unavailable("its task was ended"),
            Err(_) => self.unavailable("it took longer than 5 s"),
        }
    }

    /// Returns the question that is being asked, or asks it. One that nobody waits for any longer may be
    /// on a runtime that does not run, and is asked again. `None` if it would be one more than `most`.
    fn pending(self: &Arc<Self>, runtime: &Handle, key: C::Key, most: usize) -> Option<Pending> {
        let now = Instant::now();
        let mut in_flight = self.lock();
        match in_flight.by_key.get(&key) {
            Some(pending) if now < pending.deadline => return Some(pending.clone()),
            Some(_) => {}
            None if in_flight.by_key.len() < most => {}
            None => return None,
        }
        in_flight.next += 1;
        let (sender, answered) = watch::channel(None);
        let pending = Pending {
            number: in_flight.next,
            deadline: now + Self::MOST_WAIT,
            answered,
            waiting: Arc::new(Semaphore::new(Self::MOST_WAITING)),
        };
        in_flight.by_key.insert(key.clone(), pending.clone());
        // Never under the lock: on a runtime that is shutting down, the task is dropped here and
        // now, and dropping it locks.
        drop(in_flight);
        let question = Question {
            of: Arc::clone(self),
            key,
            number: pending.number,
            sender,
        };
        runtime.spawn(question.ask(pending.deadline));
        Some(pending)
    }

    /// Takes a question off the list, and keeps what was answered. Does neither where a later
    /// question stands in its place.
    fn settle(&self, key: &C::Key, number: u64, outcome: Option<&Outcome>) {
        let mut in_flight = self.lock();
        let pending = in_flight.by_key.get(key);
        if pending.is_none_or(|pending| pending.number != number) {
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
        in_flight.by_key.remove(key);
    }

    /// Forgets what was answered about a key. A question that is being asked may have looked before
    /// whatever it is that changed: those that wait for it get its answer, which nobody keeps.
    pub(super) fn forget(&self, key: &C::Key) {
        let mut in_flight = self.lock();
        in_flight.by_key.remove(key);
        self.yes.invalidate(key);
        self.not_yes.invalidate(key);
    }

    fn unavailable(&self, reason: &str) -> Outcome {
        Err(Refusal::Unavailable {
            cause: self.check.no_answer(reason),
            retry_after: Self::RETRY_AFTER,
        })
    }

    fn lock(&self) -> MutexGuard<'_, InFlight<C::Key>> {
        self.in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that is being asked; taken off the list however its task ends.
struct Question<C: Check> {
    of: Arc<CachedCheck<C>>,
    key: C::Key,
    number: u64,
    sender: watch::Sender<Option<Outcome>>,
}

impl<C: Check> Question<C> {
    async fn ask(self, deadline: Instant) {
        let check = &self.of.check;
        // What the answer goes by may have been looked up at the beginning of a slow one.
        let asked_at = Instant::now();
        let outcome = match timeout_at(deadline, check.ask(self.key.clone())).await {
            Ok(Ok(Verdict::Yes { keep_for })) => Ok(Yes {
                until: asked_at + keep_for,
                rests_until: asked_at + keep_for.max(LEAST_REST),
            }),
            Ok(Ok(Verdict::No(rejection))) => Err(rejection.into()),
            Ok(Err(cause)) => Err(Refusal::Unavailable {
                cause,
                retry_after: CachedCheck::<C>::RETRY_AFTER,
            }),
            Err(_) => self.of.unavailable("it took longer than 5 s"),
        };
        // Off the list first: whoever comes after this asks anew.
        self.of.settle(&self.key, self.number, Some(&outcome));
        self.sender.send_replace(Some(outcome));
    }
}

impl<C: Check> Drop for Question<C> {
    fn drop(&mut self) {
        // After a panic of the question, or the end of its runtime: the answer never comes.
        self.of.settle(&self.key, self.number, None);
    }
}
