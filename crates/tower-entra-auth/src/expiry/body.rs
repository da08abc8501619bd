//! The body of a response that ends when its caller is good no longer.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

use super::Expiry;
use crate::caller::Caller;
use crate::outbound::BoxError;
use crate::respond::{Format, Refusal, grpc_metadata};
use crate::service::{ResponseBody, for_method};

/// A request whose caller may be good no longer before it is done, and what is needed to end it
/// then.
pub(super) struct Lasting {
    expiry: Expiry,
    method: Method,
    format: Format,
}

impl Lasting {
    pub(super) fn new(caller: &Caller, grace: Duration, method: Method, format: Format) -> Self {
        Self {
            expiry: caller.expiry(grace),
            method,
            format,
        }
    }

    /// Whether the token has expired before anything was done.
    pub(super) fn is_over(&self) -> bool {
        self.expiry.is_over()
    }

    /// Waits for the end, and says why it is.
    pub(super) fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Refusal> {
        self.expiry.poll_end(context)
    }

    /// The answer in the place of one that has not begun.
    pub(super) fn answer(&self, why: &Refusal) -> Response<Full<Bytes>> {
        for_method(&self.method, self.answer_in(self.format, why))
    }

    /// The trailers in the place of a gRPC stream's own.
    fn trailers(&self, why: &Refusal) -> HeaderMap {
        grpc_metadata(why, self.answer_in(Format::Grpc, why))
    }

    fn answer_in(&self, format: Format, why: &Refusal) -> Response<Full<Bytes>> {
        let (caller, headers) = (&self.expiry.caller, HeaderMap::new());
        let context = caller.context();
        context.answer_in(format, why, Some(caller), &headers)
    }
}

/// The response, that ends when its caller is good no longer.
pub(super) fn watched<R>(
    response: Response<R>,
    lasting: Option<Box<Lasting>>,
) -> Response<ExpiryBody<R>> {
    let headers = response.headers();
    let end = if Format::is_grpc(headers) {
        End::Grpc
    } else if is_events(headers) {
        End::Clean
    } else {
        End::Error
    };
    response.map(|body| ExpiryBody {
        body: Some(ResponseBody::inner(body)),
        lasting,
        end,
    })
}

fn is_events(headers: &HeaderMap) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";

    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let start = content_type.and_then(|value| value.get(..EVENTS.len()));
    start.is_some_and(|start| start.eq_ignore_ascii_case(EVENTS))
}

/// How a response is ended before its time.
#[derive(Clone, Copy, Debug)]
enum End {
    Grpc,
    Clean,
    Error,
}

pin_project! {
    /// The inner service's body, for as long as its caller is good.
    pub struct ExpiryBody<B> {
        // `None` when it is at its end.
        #[pin]
        body: Option<ResponseBody<B>>,
        // `None` if nobody's token counts.
        lasting: Option<Box<Lasting>>,
        end: End,
    }
}

/// The token of the caller has expired, or a rule has said no, before all of the response was sent:
/// the error of an [`ExpiryBody`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the response was ended before all of it was sent: {code}")]
pub struct Outlived {
    code: &'static str,
}

impl Outlived {
    /// The machine code: `expired`, or that of the rule's no, `tenant_not_allowed` or `grant_ended`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }
}

impl<B> ExpiryBody<B> {
    pub(super) fn refusal(body: Full<Bytes>) -> Self {
        Self {
            body: Some(ResponseBody::refusal(body)),
            lasting: None,
            end: End::Clean,
        }
    }
}

impl<B> Body for ExpiryBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let Some(body) = this.body.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        let ended = match this.lasting {
            Some(lasting) => match lasting.poll_end(context) {
                Poll::Ready(why) => Some((lasting, why)),
                Poll::Pending => None,
            },
            None => None,
        };
        let Some((lasting, why)) = ended else {
            let frame = ready!(body.poll_frame(context));
            if frame.is_none() {
                this.body.set(None);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        };
        this.body.set(None);
        if let End::Grpc = this.end {
            return Poll::Ready(Some(Ok(Frame::trailers(lasting.trailers(&why)))));
        }
        lasting.expiry.caller.context().record(&why);
        Poll::Ready(match this.end {
            End::Error => Some(Err(Outlived { code: why.code() }.into())),
            End::Clean | End::Grpc => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            // What may end early has no length to announce.
            Some(_) if self.lasting.is_some() && !matches!(self.end, End::Error) => {
                SizeHint::default()
            }
            Some(body) => body.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl<B: fmt::Debug> fmt::Debug for ExpiryBody<B> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ExpiryBody")
            .field("body", &self.body)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
