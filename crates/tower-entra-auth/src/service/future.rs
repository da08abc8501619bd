//! The future of a service that answers at once or calls the inner one.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use pin_project_lite::pin_project;

use super::body::ResponseBody;

pin_project! {
    /// The response of a [`RequireService`](crate::RequireService) or a
    /// [`ResourceMetadataService`](crate::ResourceMetadataService): the inner service's, or one that was
    /// there at once.
    ///
    /// # Panics
    /// If it is polled after it was ready, as futures of std do.
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Inner { #[pin] future: F },
        Answered { answer: Option<Response<Full<Bytes>>> },
    }
}

impl<F> ResponseFuture<F> {
    pub(crate) fn inner(future: F) -> Self {
        Self {
            state: State::Inner { future },
        }
    }

    pub(crate) fn answered(answer: Response<Full<Bytes>>) -> Self {
        Self {
            state: State::Answered {
                answer: Some(answer),
            },
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Inner { future } => future
                .poll(context)
                .map_ok(|response| response.map(ResponseBody::inner)),
            StateProjection::Answered { answer } => {
                let answer = answer.take().unwrap_or_else(|| polled_after_completion());
                Poll::Ready(Ok(answer.map(ResponseBody::refusal)))
            }
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ResponseFuture")
            .finish_non_exhaustive()
    }
}

/// Panics as futures of std do that are polled after they were ready: to wait for ever would hide the
/// mistake.
#[cold]
#[expect(clippy::panic, reason = "a mistake of whoever polls, as std treats it")]
pub(crate) fn polled_after_completion() -> ! {
    panic!("a future was polled after completion")
}
