//! When the token of a caller has expired.

use std::fmt;
use std::future::Future;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, Sleep, sleep};

use crate::builder::Clock;

/// Waits until a caller's token has expired; made by [`Caller::expiry`](crate::Caller::expiry).
///
/// It goes by the wall clock, which it looks at every 30 s at least: a clock that is put right, or a
/// machine that slept, is noticed by then. Awaited outside of a tokio runtime with timers, where
/// nothing can be waited for, it is ready at once.
#[must_use = "it ends nothing by itself: await it beside the stream"]
pub struct Expiry {
    at: SystemTime,
    clock: Clock,
    /// `None` before the first look at the clock.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Expiry {
    /// The longest time between two looks at the wall clock.
    const LONGEST: Duration = Duration::from_secs(30);

    pub(crate) fn new(at: SystemTime, clock: Clock) -> Self {
        Self {
            at,
            clock,
            timer: None,
        }
    }

    /// Whether the moment has come.
    pub(crate) fn is_over(&self) -> bool {
        self.left().is_none()
    }

    /// How long it takes by the clock as it is now; `None` if the moment has come.
    fn left(&self) -> Option<Duration> {
        let left = self.at.duration_since((self.clock)()).ok()?;
        (!left.is_zero()).then(|| left.min(Self::LONGEST))
    }
}

impl Future for Expiry {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(timer) = &mut self.timer {
                if timer.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
            }
            let Some(left) = self.left() else {
                return Poll::Ready(());
            };
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(Instant::now() + left),
                // Without a runtime that has timers it panics.
                None => match catch_unwind(|| sleep(left)) {
                    Ok(timer) => self.timer = Some(Box::pin(timer)),
                    Err(_) => return Poll::Ready(()),
                },
            }
        }
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
