//! The end of a caller's access while the caller is served: the token has expired, or a rule
//! answers no.
//!
//! [`EntraAuth::end_at_expiry`](crate::EntraAuth::end_at_expiry) then ends responses.
//! [`Caller::expired`] is a future that completes then, for your own WebSockets or streams.

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

/// A future that completes when a caller's token and the grace period have expired, or when a rule
/// answers no; made by [`Caller::expired`](crate::Caller::expired).
///
/// It reads the wall clock at least every 30 s. After a correction of the clock, or after the
/// machine slept, the future notices the new time by then. Outside of a tokio runtime with timers,
/// waiting is impossible, and the future is ready immediately.
#[must_use = "it does not end the response by itself: await it together with the stream"]
pub struct Expired {
    at: SystemTime,
    caller: Caller,
    /// Next time to ask the rules; `None` if there are none.
    ask_at: Option<Instant>,
    check: Option<StreamCheck>,
    /// `None` before the first reading of the clock.
    timer: Option<Pin<Box<Sleep>>>,
    /// Refusal by a rule that has answered no.
    no: Option<Reason>,
}

/// The question to the rules: returns the next time to ask, or the refusal if a rule answers no.
type StreamCheck = Pin<Box<dyn Future<Output = Result<Instant, Reason>> + Send + Sync>>;

impl Caller {
    /// Waits until the token and the grace period have expired, or a rule answers no.
    ///
    /// Use it to end work that lasts longer than a request, such as a WebSocket. After the end, the
    /// future is ready immediately.
    ///
    /// The grace period is at least the [clock skew](crate::EntraAuthBuilder::clock_skew), 5
    /// minutes by default. Until then the Layer would accept the same token again.
    ///
    /// The future completes earlier, without a grace period, if the
    /// [tenant rule](crate::EntraAuthBuilder::tenant_rule), the
    /// [caller rule](crate::EntraAuthBuilder::caller_rule) or the
    /// [grant rule](crate::issuer::TrustedIssuer::grant_rule) answers no. [`ExpiryLayer`] describes
    /// when these rules are asked again. A client that connects again is refused.
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
    /// To end streaming responses, use the Layer of [`EntraAuth::end_at_expiry`].
    ///
    /// [`EntraAuth::end_at_expiry`]: crate::EntraAuth::end_at_expiry
    pub fn expired(&self, grace: Duration) -> Expired {
        let skew = self.context().clock_skew();
        let expired = self.expires_at();
        // A grace period beyond the largest `SystemTime` is ignored.
        let ends = expired.checked_add(grace.max(skew));
        let ends = ends.or_else(|| expired.checked_add(skew));
        Expired::new(ends.unwrap_or(expired), self.clone())
    }
}

impl Expired {
    /// The longest time between two readings of the wall clock.
    const LONGEST: Duration = Duration::from_secs(30);

    fn new(at: SystemTime, caller: Caller) -> Self {
        Self {
            at,
            // The rules are not asked about a caller that a test made up: they cannot know it.
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

    /// Returns whether the token has expired and the grace period is over.
    fn is_over(&self) -> bool {
        self.left().is_none()
    }

    /// Waits for the end, and returns its reason.
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

    /// Polls the question to the rules; pending if there is none.
    fn poll_check(&mut self, context: &mut Context<'_>) -> Poll<Result<Instant, Reason>> {
        let Some(check) = &mut self.check else {
            return Poll::Pending;
        };
        let outcome = ready!(check.as_mut().poll(context));
        self.check = None;
        Poll::Ready(outcome)
    }

    /// Polls the timer; ready if there is none yet.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(context),
            None => Poll::Ready(()),
        }
    }

    /// Starts the question to the rules if it is due, and returns how long the timer may run at
    /// most.
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

    /// Sets the timer, and returns `false` if that is impossible.
    fn set_timer(&mut self, left: Duration) -> bool {
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(Instant::now() + left),
            // `sleep` panics without a runtime that has timers.
            None => match catch_unwind(|| sleep(left)) {
                Ok(timer) => self.timer = Some(Box::pin(timer)),
                Err(_) => return false,
            },
        }
        true
    }

    /// Returns the remaining time by the current wall clock, at most [`LONGEST`](Self::LONGEST);
    /// `None` if the end has come.
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

/// The caller, method and response format of a request, with which the request is ended when the
/// caller's access ends.
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

    /// Makes the response in place of one that has not begun.
    fn refuse(&self, refusal: &Reason) -> Response<AnswerBody> {
        for_method(&self.method, self.refuse_in(self.format, refusal))
    }

    /// Makes the trailers in place of the gRPC stream's own.
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
