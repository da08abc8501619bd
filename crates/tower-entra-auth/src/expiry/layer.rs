//! A Layer that ends responses and their bodies when the caller's token expires, or when a rule
//! answers no.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use entra_http::BoxError;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::ExpiryGuard;
use crate::authenticate::EntraAuth;
use crate::respond::{Format, Reason};
use crate::service::{AnswerBody, ResponseBody, inner_service_accessors, polled_after_completion};

/// A Layer that ends responses when the caller's token and a grace period have expired, or when a
/// rule answers no; made by [`EntraAuth::end_at_expiry`].
///
/// The token is validated when its request arrives, but a stream of events can continue for hours.
/// The expiry of a token ends nothing before the [clock skew](crate::EntraAuthBuilder::clock_skew)
/// is over, because until then the same token is accepted. Put this Layer inside of
/// [`EntraAuth::layer`] of the same `EntraAuth`, around routes that stream:
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use std::time::Duration;
/// use axum::{Router, routing::get};
/// use tower_entra_auth::EntraAuth;
///
/// fn app(auth: &EntraAuth) -> Router {
///     Router::new()
///         .route("/events", get(|| async { "…" }).layer(auth.end_at_expiry(Duration::from_secs(300))))
///         .layer(auth.layer())
/// }
/// # }
/// ```
///
/// | response at expiry plus grace period, or when a rule answers no | what the client sees |
/// |---|---|
/// | has not begun | 401 with the code, or gRPC status 16. For `caller_not_allowed` 403, or gRPC status 7. The inner service's future is dropped |
/// | a gRPC stream | the trailers `grpc-status` and `grpc-message`, with the same status |
/// | a `text/event-stream` | the end of the stream: the browser sends another request, which is refused |
/// | any other body | an error of the connection (HTTP/1.1) or of the stream (HTTP/2), because a normal end would look like a complete body |
///
/// The code is `expired`, or that of the rule which answered no. The
/// [tenant rule](crate::EntraAuthBuilder::tenant_rule) has `tenant_not_allowed`, the
/// [caller rule](crate::EntraAuthBuilder::caller_rule) has `caller_not_allowed`, and the
/// [grant rule](crate::issuer::TrustedIssuer::grant_rule) has `grant_ended`.
///
/// A configured rule is asked again when its cached yes has expired, but at most every 5 s, also if
/// a yes is not cached at all. All streams of one tenant, one token or one grant share the question
/// and its answer, also with requests. A no ends them without a grace period. If the rule does not
/// answer, nothing ends: the stream continues, and the rule is asked again after 5 s.
///
/// Requests without a caller ([optional](crate::EntraLayer::optional)) are not ended. A WebSocket
/// is not a response: its handler must await [`Caller::expired`](crate::Caller::expired) itself.
/// For a client that does not read, the end is detected when the client reads again. Nothing is
/// sent to it until then.
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is a Layer around a service"]
pub struct ExpiryLayer {
    auth: EntraAuth,
    grace: Duration,
}

impl EntraAuth {
    /// Returns a Layer that ends responses when the caller's token and the grace period have
    /// expired, or when a rule about the caller answers no.
    ///
    /// Use it for routes that stream, behind [`layer`](Self::layer). See [`ExpiryLayer`].
    ///
    /// The grace period is at least the [clock skew](crate::EntraAuthBuilder::clock_skew), 5
    /// minutes by default. Until then the same token could start the next stream.
    pub fn end_at_expiry(&self, grace: Duration) -> ExpiryLayer {
        ExpiryLayer {
            auth: self.clone(),
            grace,
        }
    }
}

impl<S> Layer<S> for ExpiryLayer {
    type Service = ExpiryService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ExpiryService {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service that an [`ExpiryLayer`] makes.
#[derive(Clone, Debug)]
pub struct ExpiryService<S> {
    inner: S,
    layer: ExpiryLayer,
}

impl<S> ExpiryService<S> {
    inner_service_accessors!();
}

impl<S, B, R> Service<Request<B>> for ExpiryService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    type Response = Response<ExpiryBody<R>>;
    type Error = S::Error;
    type Future = ExpiryFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let ExpiryLayer { auth, grace } = &self.layer;
        let guard = auth.caller_in(request.extensions()).map(|caller| {
            let format = Format::of(request.method(), request.headers());
            let method = request.method().clone();
            Some(Box::new(ExpiryGuard::new(caller?, *grace, method, format)))
        });
        let response = match guard {
            // The expiry may have passed already: `EntraAuth::layer` counts in whole seconds.
            Ok(Some(guard)) if guard.expiry.is_over() => guard.refuse(&Reason::ExpiredWhileServed),
            Ok(guard) => {
                let future = self.inner.call(request);
                return ExpiryFuture {
                    state: ExpiryState::Running { future, guard },
                };
            }
            Err(refusal) => auth.refuse(&refusal, &request),
        };
        // Gives the readiness of the inner service back unused.
        self.inner = self.inner.clone();
        ExpiryFuture {
            state: ExpiryState::Refused {
                response: Some(response),
            },
        }
    }
}

pin_project! {
    /// The response future of an [`ExpiryService`].
    ///
    /// # Panics
    /// If it is polled after completion, as futures of std do.
    pub struct ExpiryFuture<F> {
        #[pin]
        state: ExpiryState<F>,
    }
}

pin_project! {
    #[project = ExpiryStateProjection]
    enum ExpiryState<F> {
        Running {
            #[pin]
            future: F,
            guard: Option<Box<ExpiryGuard>>,
        },
        Refused {
            response: Option<Response<AnswerBody>>,
        },
    }
}

impl<F, R, E> Future for ExpiryFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ExpiryBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let response = match state.as_mut().project() {
                ExpiryStateProjection::Refused { response } => match response.take() {
                    Some(response) => return Poll::Ready(Ok(response.map(ExpiryBody::refusal))),
                    None => polled_after_completion(),
                },
                ExpiryStateProjection::Running { future, guard } => {
                    if let Poll::Ready(response) = future.poll(context) {
                        let guard = guard.take();
                        return Poll::Ready(response.map(|response| watched(response, guard)));
                    }
                    let Some(guard) = guard else {
                        return Poll::Pending;
                    };
                    let refusal = ready!(guard.expiry.poll_end(context));
                    guard.refuse(&refusal)
                }
            };
            // This drops the inner service's future.
            state.set(ExpiryState::Refused {
                response: Some(response),
            });
        }
    }
}

impl<F> fmt::Debug for ExpiryFuture<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ExpiryFuture")
            .finish_non_exhaustive()
    }
}

/// Returns the response with a body that ends when the caller's access ends.
fn watched<R>(response: Response<R>, guard: Option<Box<ExpiryGuard>>) -> Response<ExpiryBody<R>> {
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
        guard,
        end,
    })
}

fn is_events(headers: &HeaderMap) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";

    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let start = content_type.and_then(|value| value.get(..EVENTS.len()));
    start.is_some_and(|start| start.eq_ignore_ascii_case(EVENTS))
}

/// Form of a response's end before its body is complete.
#[derive(Clone, Copy, Debug)]
enum End {
    Grpc,
    Clean,
    Error,
}

pin_project! {
    /// The inner service's body, until the caller's access ends.
    pub struct ExpiryBody<B> {
        // `None` after the end.
        #[pin]
        body: Option<ResponseBody<B>>,
        // `None` if the body never ends early.
        guard: Option<Box<ExpiryGuard>>,
        end: End,
    }
}

/// The error of an [`ExpiryBody`] that ended early: the caller's token has expired, or a rule
/// answered no.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the response was ended before it was complete: {code}")]
pub struct TokenExpired {
    code: &'static str,
}

impl TokenExpired {
    /// Returns the code: `expired`, or that of the rule which answered no (`tenant_not_allowed`,
    /// `caller_not_allowed` or `grant_ended`).
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }
}

impl<B> ExpiryBody<B> {
    fn refusal(body: AnswerBody) -> Self {
        Self {
            body: Some(ResponseBody::refusal(body)),
            guard: None,
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
        let ended = match this.guard {
            Some(guard) => match guard.expiry.poll_end(context) {
                Poll::Ready(refusal) => Some((guard, refusal)),
                Poll::Pending => None,
            },
            None => None,
        };
        let Some((guard, refusal)) = ended else {
            let frame = ready!(body.poll_frame(context));
            if frame.is_none() {
                this.body.set(None);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        };
        this.body.set(None);
        if let End::Grpc = this.end {
            return Poll::Ready(Some(Ok(Frame::trailers(guard.trailers(&refusal)))));
        }
        guard.expiry.caller.context().record(&refusal);
        Poll::Ready(match this.end {
            End::Error => Some(Err(TokenExpired {
                code: refusal.code(),
            }
            .into())),
            End::Clean | End::Grpc => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            // A body that may end early must not announce a length.
            Some(_) if self.guard.is_some() && !matches!(self.end, End::Error) => {
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
