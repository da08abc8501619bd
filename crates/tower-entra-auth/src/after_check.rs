//! Questions about a verified token that are asked outside: after every other check, with an
//! answer that is remembered.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use entra_jwt_core::Rejection;
use moka::sync::Cache;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::caller::Caller;
use crate::refusal::Refusal;
use crate::runtime::usable_runtime;
use crate::unavailable::Unavailable;

/// A question about a verified token.
pub(crate) trait AfterCheck: Send + Sync + 'static {
    /// What the answer depends on, and under which a yes is kept.
    type Key: Clone + Eq + Hash + Send + Sync + 'static;

    fn key(&self, caller: &Caller) -> Self::Key;

    /// Asks. Runs on a task of its own.
    fn ask(&self, caller: Caller) -> Asking;

    /// The answer that did not come within [`Remembering::MOST_WAIT`], or whose task ended.
    fn no_answer(&self, reason: &str) -> Unavailable;
}

pub(crate) type Asking = Pin<Box<dyn Future<Output = Result<Answer, Unavailable>> + Send>>;

/// What was answered.
pub(crate) enum Answer {
    /// Good for so long.
    Yes {
        keep_for: Duration,
    },
    No(Rejection),
}

/// What those learn who wait for the same answer.
type Outcome = Result<(), Refusal>;

/// Asks each question once at a time, and remembers each yes for as long as it is good.
pub(crate) struct Remembering<C: AfterCheck> {
    check: C,
    /// Until when each yes is good. Judged on use; moka only bounds how many there are.
    yes: Cache<C::Key, Instant>,
    asking: Mutex<HashMap<C::Key, watch::Receiver<Option<Outcome>>>>,
}

impl<C: AfterCheck> Remembering<C> {
    /// How long a request waits for an answer at most.
    const MOST_WAIT: Duration = Duration::from_secs(5);

    /// When a request that got no answer should ask again.
    const RETRY_AFTER: Duration = Duration::from_secs(5);

    /// How many yes are kept at most.
    const MOST_KEPT: u64 = 10_000;

    /// How many questions are asked at the same time at most.
    const MOST_ASKING: usize = 256;

    pub(crate) fn new(check: C) -> Arc<Self> {
        Arc::new(Self {
            check,
            yes: Cache::new(Self::MOST_KEPT),
            asking: Mutex::default(),
        })
    }

    /// Whether a yes that is still good covers the caller. Never waits.
    pub(crate) fn remembers(&self, caller: &Caller) -> bool {
        let until = self.yes.get(&self.check.key(caller));
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Asks, or waits for the answer if it is being asked already.
    pub(crate) async fn ask(self: Arc<Self>, caller: Caller) -> Outcome {
        let unavailable = |cause| {
            Err(Refusal::Unavailable {
                cause,
                retry_after: Self::RETRY_AFTER,
            })
        };
        let runtime = match usable_runtime() {
            Ok(runtime) => runtime,
            Err(cause) => return unavailable(cause),
        };
        let key = self.check.key(&caller);
        let mut answered = {
            let mut asking = self.lock();
            match asking.get(&key) {
                Some(answered) => answered.clone(),
                None if asking.len() >= Self::MOST_ASKING => {
                    return unavailable(self.check.no_answer("too many are being asked"));
                }
                None => {
                    let (sender, answered) = watch::channel(None);
                    asking.insert(key.clone(), answered.clone());
                    drop(asking);
                    let question = Question {
                        of: Arc::clone(&self),
                        key,
                        sender,
                    };
                    runtime.spawn(question.ask(caller));
                    answered
                }
            }
        };
        let outcome = match answered.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        match outcome {
            Some(outcome) => outcome,
            None => unavailable(self.check.no_answer("its task was ended")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<C::Key, watch::Receiver<Option<Outcome>>>> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that is being asked; taken off the list however its task ends.
struct Question<C: AfterCheck> {
    of: Arc<Remembering<C>>,
    key: C::Key,
    sender: watch::Sender<Option<Outcome>>,
}

impl<C: AfterCheck> Question<C> {
    async fn ask(self, caller: Caller) {
        let check = &self.of.check;
        let answer = timeout(Remembering::<C>::MOST_WAIT, check.ask(caller)).await;
        let outcome = match answer {
            Ok(Ok(Answer::Yes { keep_for })) => {
                if !keep_for.is_zero() {
                    let until = Instant::now() + keep_for;
                    self.of.yes.insert(self.key.clone(), until);
                }
                Ok(())
            }
            Ok(Ok(Answer::No(rejection))) => Err(rejection.into()),
            Ok(Err(cause)) => Err(Refusal::Unavailable {
                cause,
                retry_after: Remembering::<C>::RETRY_AFTER,
            }),
            Err(_) => Err(Refusal::Unavailable {
                cause: check.no_answer("it took longer than 5 s"),
                retry_after: Remembering::<C>::RETRY_AFTER,
            }),
        };
        // Off the list first: whoever comes after this asks anew.
        self.of.lock().remove(&self.key);
        self.sender.send_replace(Some(outcome));
    }
}

impl<C: AfterCheck> Drop for Question<C> {
    fn drop(&mut self) {
        // A panic of the question, or the end of its runtime: the answer never comes.
        if self.sender.borrow().is_none() {
            self.of.lock().remove(&self.key);
        }
    }
}
