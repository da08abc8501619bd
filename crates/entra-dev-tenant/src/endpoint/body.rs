//! Bodies that are slow, and that end too early.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Interval, interval_at};

/// One byte a second, the first after a second.
pub(super) struct Trickle {
    rest: Bytes,
    ticks: Interval,
}

impl Trickle {
    pub(super) fn new(whole: Bytes) -> Self {
        let second = Duration::from_secs(1);
        Self {
            rest: whole,
            ticks: interval_at(Instant::now() + second, second),
        }
    }
}

impl Body for Trickle {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        ready!(self.ticks.poll_tick(context));
        let byte = self.rest.split_to(1);
        Poll::Ready(Some(Ok(Frame::data(byte))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// Half of what it says it has, then an error, by which hyper closes the connection.
pub(super) struct Truncated {
    promised: u64,
    state: State,
}

enum State {
    Half(Bytes),
    /// The half must be on its way before the error comes, or it stays in hyper's buffer.
    Flushing,
    Broken,
}

impl Truncated {
    pub(super) fn new(whole: &Bytes) -> Self {
        Self {
            promised: whole.len() as u64,
            state: State::Half(whole.slice(..whole.len() / 2)),
        }
    }
}

impl Body for Truncated {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match std::mem::replace(&mut self.state, State::Broken) {
            State::Half(half) => {
                self.state = State::Flushing;
                Poll::Ready(Some(Ok(Frame::data(half))))
            }
            State::Flushing => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            State::Broken => Poll::Ready(Some(Err(io::Error::other("truncated on purpose")))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.promised)
    }
}
