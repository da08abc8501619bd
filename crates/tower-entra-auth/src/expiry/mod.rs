//! The end of what a caller may have: its token has expired, or a rule says no.
//!
//! [`EntraAuth::end_at_expiry`](crate::EntraAuth::end_at_expiry) ends responses then, and
//! [`Caller::expired`] is a future of that moment, for a WebSocket or a stream of your own.

mod layer;

use std::fmt;
use std::future::Future;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, Response};
use tokio::time::{Instant, Sleep, sleep};

pub use self::layer::{ExpiryBody, ExpiryFuture, ExpiryLayer, ExpiryService, TokenExpired};
use crate::caller::Caller;
use crate::respond::{Format, Reason, grpc_metadata};
use crate::service::{AnswerBody, for_method};

/// Waits until a caller's token has expired, or a rule says no; made by
/// [`Caller::expired`](crate::Caller::expired).
///
/// It goes by the wall clock, which it looks at every 30 s at least: a clock that is put right, or a
/// machine that slept, is noticed by then. Awaited outside of a tokio runtime with timers, where
/// nothing can be waited for, it is ready at once.
#[must_use = "it ends nothing by itself: await it beside the stream"]
pub struct Expired {
    at: SystemTime,
    caller: Caller,
    /// The time at which the rules are asked again; `None` if there are none.
    ask_at: Option<Instant>,
    check: Option<StreamCheck>,
    /// `None` before the first look at the clock.
    timer: Option<Pin<Box<Sleep>>>,
    /// The no of a rule.
    no: Option<Reason>,
}

/// The question to the rules: when to ask next, or the no.
type StreamCheck = Pin<Box<dyn Future<Output = Result<Instant, Reason>> + Send + Sync>>;

impl Caller {
    /// Waits until the token has expired, and the grace after that is over: to end what lasts
    /// longer than a request, such as a WebSocket. Any time after, it is ready at once.
    ///
    /// The grace is at least the [clock skew](crate::EntraAuthBuilder::clock_skew), 5 minutes by
    /// default: until then the same token would be let in again.
    ///
    /// It ends before that, without a grace, with a no of the
    /// [tenant rule](crate::EntraAuthBuilder::tenant_rule), the
    /// [caller rule](crate::EntraAuthBuilder::caller_rule) or the
    /// [grant rule](crate::issuer::TrustedIssuer::grant_rule), which are asked again as
    /// [`ExpiryLayer`] says: a client that comes again is refused.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_entra_auth::Caller;
    ///
    /// async fn serve(caller: Caller, socket: impl Future<Output = ()>) {
    ///     tokio::select! {
    ///         () = socket => {}
    ///         () = caller.expired(Duration::from_secs(300)) => {} // close it: the client asks again
    ///     }
    /// }
    /// # use std::future::Future;
    /// ```
    ///
    /// Responses that stream are ended by a Layer: [`EntraAuth::end_at_expiry`].
    ///
    /// [`EntraAuth::end_at_expiry`]: crate::EntraAuth::end_at_expiry
    pub fn expired(&self, grace: Duration) -> Expired {
        let skew = self.context().clock_skew();
        let expired = self.expires_at();
        // Beyond the end of time there is no grace.
        let ends = expired.checked_add(grace.max(skew));
        let ends = ends.or_else(|| expired.checked_add(skew));
        Expired::new(ends.unwrap_or(expired), self.clone())
    }
}

impl Expired {
    /// The longest time between two looks at the wall clock.
    const LONGEST: Duration = Duration::from_secs(30);

    fn new(at: SystemTime, caller: Caller) -> Self {
        Self {
            at,
            // What a caller is that nobody verified, no rule can know.
            ask_at: caller.proof().and_then(|_| {
                let checks = caller.context().checks();
                checks.stream_asks_at(&caller.subject())
            }),
            caller,
            check: None,
            timer: None,
            no: None,
        }
    }

    /// Returns whether the token has expired.
    fn is_over(&self) -> bool {
        self.left().is_none()
    }

    /// Waits for the end, and returns why it is.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Reason> {
        loop {
            if let Some(no) = &self.no {
                return Poll::Ready(Reason::Ended(Box::new(no.clone())));
            }
            match self.poll_check(context) {
                Poll::Ready(Ok(next)) => self.ask_at = Some(next),
                Poll::Ready(Err(no)) => {
                    self.no = Some(no);
                    continue;
                }
                Poll::Pending => ready!(self.poll_timer(context)),
            }
            let Some(left) = self.left() else {
                return Poll::Ready(Reason::ExpiredWhileServed);
            };
            let left = left.min(self.ask_if_due());
            if !self.set_timer(left) {
                return Poll::Ready(Reason::ExpiredWhileServed);
            }
        }
    }

    /// Waits for the answer of the rules, if they are being asked.
    fn poll_check(&mut self, context: &mut Context<'_>) -> Poll<Result<Instant, Reason>> {
        let Some(check) = &mut self.check else {
            return Poll::Pending;
        };
        let outcome = ready!(check.as_mut().poll(context));
        self.check = None;
        Poll::Ready(outcome)
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
        let Some(ask_at) = self.ask_at.filter(|_| self.check.is_none()) else {
            return Self::LONGEST;
        };
        let left = ask_at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let caller = self.caller.clone();
            self.check = Some(Box::pin(async move {
                let checks = caller.context().checks();
                checks.ask_for_stream(&caller.subject()).await
            }));
            return Self::LONGEST;
        }
        left
    }

    /// Sets the timer; `false` if there can be none.
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

    /// Returns how long the token is good by the clock as it is now; `None` if it has expired.
    fn left(&self) -> Option<Duration> {
        let now = self.caller.context().now();
        let left = self.at.duration_since(now).ok()?;
        (!left.is_zero()).then(|| left.min(Self::LONGEST))
    }
}

impl Future for Expired {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.poll_end(context).map(drop)
    }
}

impl fmt::Debug for Expired {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Expired")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// A request whose caller may be good no longer before it is done, and what is needed to end it
/// then.
struct ExpiryGuard {
    expiry: Expired,
    method: Method,
    format: Format,
}

impl ExpiryGuard {
    fn new(caller: &Caller, grace: Duration, method: Method, format: Format) -> Self {
        Self {
            expiry: caller.expired(grace),
            method,
            format,
        }
    }

    /// Makes the response in the place of one that has not begun.
    fn refuse(&self, refusal: &Reason) -> Response<AnswerBody> {
        for_method(&self.method, self.refuse_in(self.format, refusal))
    }

    /// Makes the trailers in the place of a gRPC stream's own.
    fn trailers(&self, refusal: &Reason) -> HeaderMap {
        grpc_metadata(refusal, self.refuse_in(Format::Grpc, refusal))
    }

    fn refuse_in(&self, format: Format, refusal: &Reason) -> Response<AnswerBody> {
        let caller = &self.expiry.caller;
        caller
            .context()
            .refuse_in(format, refusal, Some(caller), None)
    }
}
