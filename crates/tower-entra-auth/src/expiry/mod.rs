//! When the token of a caller has expired, or a rule says no.

mod body;
mod layer;

use std::fmt;
use std::future::Future;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use entra_jwt_core::Rejection;
use tokio::time::{Instant, Sleep, sleep};

pub use self::body::{ExpiryBody, Outlived};
pub use self::layer::{ExpiryFuture, ExpiryLayer, ExpiryService};
use crate::caller::Caller;
use crate::respond::Refusal;

/// Waits until a caller's token has expired, or a rule says no; made by
/// [`Caller::expiry`](crate::Caller::expiry).
///
/// It goes by the wall clock, which it looks at every 30 s at least: a clock that is put right, or a
/// machine that slept, is noticed by then. Awaited outside of a tokio runtime with timers, where
/// nothing can be waited for, it is ready at once.
#[must_use = "it ends nothing by itself: await it beside the stream"]
pub struct Expiry {
    at: SystemTime,
    caller: Caller,
    /// When the rules are asked again; `None` if there are none.
    ask_at: Option<Instant>,
    asking: Option<Asking>,
    /// `None` before the first look at the clock.
    timer: Option<Pin<Box<Sleep>>>,
    /// What a rule said.
    no: Option<Rejection>,
}

/// When to ask next, or the no.
type Asking = Pin<Box<dyn Future<Output = Result<Instant, Rejection>> + Send + Sync>>;

impl Expiry {
    /// The longest time between two looks at the wall clock.
    const LONGEST: Duration = Duration::from_secs(30);

    pub(crate) fn new(at: SystemTime, caller: Caller) -> Self {
        Self {
            at,
            ask_at: caller.answers().after_checks().rest_until(&caller),
            caller,
            asking: None,
            timer: None,
            no: None,
        }
    }

    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whether the token has expired.
    pub(crate) fn is_over(&self) -> bool {
        self.left().is_none()
    }

    /// Waits for the end, and says why it is.
    pub(crate) fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Refusal> {
        loop {
            if let Some(no) = &self.no {
                return Poll::Ready(Refusal::Ended(no.clone()));
            }
            match self.poll_answer(context) {
                Poll::Ready(Ok(next)) => self.ask_at = Some(next),
                Poll::Ready(Err(no)) => {
                    self.no = Some(no);
                    continue;
                }
                Poll::Pending => ready!(self.poll_timer(context)),
            }
            let Some(left) = self.left() else {
                return Poll::Ready(Refusal::Outlived);
            };
            let left = left.min(self.ask_if_due());
            if !self.set_timer(left) {
                return Poll::Ready(Refusal::Outlived);
            }
        }
    }

    /// The answer, if one is awaited.
    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Result<Instant, Rejection>> {
        let Some(asking) = &mut self.asking else {
            return Poll::Pending;
        };
        let answer = ready!(asking.as_mut().poll(context));
        self.asking = None;
        Poll::Ready(answer)
    }

    /// Waits until there is something to look at.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(context),
            None => Poll::Ready(()),
        }
    }

    /// Asks the rules if it is time to, and returns how long it is until then.
    fn ask_if_due(&mut self) -> Duration {
        let Some(ask_at) = self.ask_at.filter(|_| self.asking.is_none()) else {
            return Self::LONGEST;
        };
        let left = ask_at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let rules = self.caller.answers().after_checks().clone();
            self.asking = Some(Box::pin(rules.ask_again(self.caller.clone())));
            return Self::LONGEST;
        }
        left
    }

    /// Whether there is a timer.
    fn set_timer(&mut self, left: Duration) -> bool {
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(Instant::now() + left),
            // Without a runtime that has timers it panics.
            None => match catch_unwind(|| sleep(left)) {
                Ok(timer) => self.timer = Some(Box::pin(timer)),
                Err(_) => return false,
            },
        }
        true
    }

    /// How long the token is good by the clock as it is now; `None` if it has expired.
    fn left(&self) -> Option<Duration> {
        let now = (self.caller.answers().time().clock)();
        let left = self.at.duration_since(now).ok()?;
        (!left.is_zero()).then(|| left.min(Self::LONGEST))
    }
}

impl Future for Expiry {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.poll_end(context).map(drop)
    }
}

impl fmt::Debug for Expiry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Expiry")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}
