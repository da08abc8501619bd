//! The Layer, its service and its future.

mod open_paths;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

pub use self::open_paths::InvalidPath;
use self::open_paths::OpenPaths;
use crate::authenticate::{Decision, EntraAuth};
use crate::caller::Caller;
use crate::respond::Refusal;
use crate::service::{ResponseBody, inner_service_accessors, polled_after_completion};
use crate::telemetry::RequestSpan;

/// Protects a service; made by [`EntraAuth::layer`].
///
/// Without further settings every request needs a good token.
#[derive(Clone, Debug)]
#[must_use = "nothing is protected before it is a Layer around a service"]
pub struct EntraLayer {
    auth: EntraAuth,
    open: OpenPaths,
    is_optional: bool,
}

impl EntraAuth {
    /// The Layer that protects a service.
    pub fn layer(&self) -> EntraLayer {
        EntraLayer {
            auth: self.clone(),
            open: OpenPaths::default(),
            is_optional: false,
        }
    }
}

impl EntraLayer {
    /// Lets requests without any token pass, as anonymous ones: handlers take `Option<Caller>`. A
    /// bad token never passes, nor does another scheme than `Bearer`; a [requirement of a
    /// route](EntraAuth::require) answers an anonymous request with 401.
    pub fn optional(mut self) -> Self {
        self.is_optional = true;
        self
    }

    /// Lets every request to this path pass as an anonymous one, without a look at its token.
    /// Better, where the router allows it: add the route after the Layer, outside of it.
    ///
    /// The path is the one that the Layer sees: inside [`axum::Router::nest`] without what stands
    /// before. It is compared byte for byte, without the query. Headers that name another path,
    /// such as `X-Original-URL` and `X-Rewrite-URL`, reach the inner service as they came: one that
    /// forwards to a server that reads them (IIS, Symfony) must remove them.
    ///
    /// # Errors
    /// If there could be another spelling of the path: if it has escapes, parameters (`;x`), dots as
    /// segments or empty ones.
    ///
    /// [`axum::Router::nest`]: https://docs.rs/axum/latest/axum/struct.Router.html#method.nest
    pub fn open_path(mut self, path: &str) -> Result<Self, InvalidPath> {
        self.open = self.open.path(path)?;
        Ok(self)
    }

    /// Lets every request to this path and to all below pass; see [`open_path`](Self::open_path).
    /// A path below that has an escape (`%20`), a `;`, an empty segment or one of dots needs a token.
    ///
    /// # Errors
    /// As [`open_path`](Self::open_path), and for `/`, which would be everything.
    pub fn open_prefix(mut self, path: &str) -> Result<Self, InvalidPath> {
        self.open = self.open.prefix(path)?;
        Ok(self)
    }

    /// Lets every method of a gRPC service pass as [`open_path`](Self::open_path) does, by the full name
    /// of the service, such as `grpc.health.v1.Health`, which probes ask without a token, or
    /// `grpc.reflection.v1.ServerReflection`.
    ///
    /// ```
    /// # fn layer(auth: &tower_entra_auth::EntraAuth) -> Result<tower_entra_auth::EntraLayer, tower_entra_auth::InvalidPath> {
    /// auth.layer().open_grpc_service("grpc.health.v1.Health")
    /// # }
    /// ```
    ///
    /// # Errors
    /// If it is not the name of a service: names of letters, digits and `_`, separated by dots.
    pub fn open_grpc_service(mut self, name: &str) -> Result<Self, InvalidPath> {
        self.open = self.open.grpc_service(name)?;
        Ok(self)
    }

    /// Lets CORS preflights pass, for a CORS layer that is inside this one: `OPTIONS` with `Origin`
    /// and `Access-Control-Request-Method` and without `Authorization`. Whatever else answers
    /// `OPTIONS` inside is open with it. Better: put the CORS layer outside, so that refusals have
    /// its headers too and no preflight comes here.
    pub fn open_preflights(mut self) -> Self {
        self.open = self.open.preflights();
        self
    }
}

impl<S> Layer<S> for EntraLayer {
    type Service = EntraService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        EntraService {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service that an [`EntraLayer`] makes: it calls the inner one only for verified callers.
#[derive(Clone, Debug)]
pub struct EntraService<S> {
    inner: S,
    layer: EntraLayer,
}

impl<S> EntraService<S> {
    inner_service_accessors!();
}

impl<S, B, R> Service<Request<B>> for EntraService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = EntraFuture<S, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let EntraLayer {
            auth,
            open,
            is_optional,
        } = &self.layer;
        auth.hide_token(request.headers_mut());
        if open.lets_pass(&request) {
            return self.pass_anonymous(request);
        }
        match auth.decide(request.headers(), request.uri()) {
            Decision::Accept(caller) => {
                let span = RequestSpan::of(&caller);
                auth.admit(&mut request, caller);
                self.call_inner(request, span)
            }
            Decision::Refuse(Refusal::NoCredentials)
                if *is_optional && !EntraAuth::was_removed(request.extensions()) =>
            {
                self.pass_anonymous(request)
            }
            Decision::Refuse(refusal) => {
                let answer = auth.answer(&refusal, &request);
                self.give_back_readied();
                RequestSpan::begin().end(&answer);
                EntraFuture {
                    state: State::Answered {
                        answer: Some(answer),
                    },
                    span: RequestSpan::none(),
                }
            }
            Decision::Wait(decision) => {
                let pending = PendingRequest {
                    decision: Box::pin(decision.decide()),
                    is_accepted: false,
                    service: self.inner.clone(),
                    request,
                    auth: auth.clone(),
                };
                self.give_back_readied();
                EntraFuture {
                    state: State::Waiting {
                        pending: Some(Box::new(pending)),
                    },
                    span: RequestSpan::begin(),
                }
            }
        }
    }
}

impl<S> EntraService<S> {
    fn pass_anonymous<B, R>(&mut self, mut request: Request<B>) -> EntraFuture<S, B>
    where
        S: Service<Request<B>, Response = Response<R>>,
    {
        self.layer.auth.admit_anonymous(&mut request);
        self.call_inner(request, RequestSpan::anonymous())
    }

    fn call_inner<B, R>(
        &mut self,
        mut request: Request<B>,
        mut span: RequestSpan,
    ) -> EntraFuture<S, B>
    where
        S: Service<Request<B>, Response = Response<R>>,
    {
        span.prepare(&mut request);
        EntraFuture {
            state: State::Inner {
                future: span.in_scope(|| self.inner.call(request)),
            },
            span,
        }
    }
}

impl<S: Clone> EntraService<S> {
    /// Puts an unready clone in place of the inner service that was polled ready: a place in a
    /// concurrency limit must not be held by a request that does not use it.
    fn give_back_readied(&mut self) {
        self.inner = self.inner.clone();
    }
}

pin_project! {
    /// The response of an [`EntraService`].
    ///
    /// # Panics
    /// If it is polled after it was ready, as futures of std do.
    pub struct EntraFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B>,
        span: RequestSpan,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B>
    where
        S: Service<Request<B>>,
    {
        Inner {
            #[pin]
            future: S::Future,
        },
        Answered {
            answer: Option<Response<Full<Bytes>>>,
        },
        Waiting {
            pending: Option<Box<PendingRequest<S, B>>>,
        },
    }
}

/// A request that waits: first for its decision, then for the inner service to be ready again.
struct PendingRequest<S, B> {
    decision: Pin<Box<dyn Future<Output = Result<Caller, Refusal>> + Send>>,
    is_accepted: bool,
    service: S,
    request: Request<B>,
    auth: EntraAuth,
}

impl<S, B, R> Future for EntraFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (mut state, span) = (this.state, this.span);
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Inner { future } => {
                    let response = ready!(span.in_scope(|| future.poll(context)))?;
                    span.end(&response);
                    return Poll::Ready(Ok(response.map(ResponseBody::inner)));
                }
                StateProjection::Answered { answer } => {
                    let answer = answer.take().unwrap_or_else(|| polled_after_completion());
                    return Poll::Ready(Ok(answer.map(ResponseBody::refusal)));
                }
                StateProjection::Waiting { pending } => {
                    let mut waiting = pending.take().unwrap_or_else(|| polled_after_completion());
                    match waiting.poll(context, span) {
                        Poll::Pending => {
                            *pending = Some(waiting);
                            return Poll::Pending;
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Ready(Ok(Next::Refuse(answer))) => {
                            span.end(&answer);
                            State::Answered {
                                answer: Some(answer),
                            }
                        }
                        Poll::Ready(Ok(Next::Call)) => {
                            span.prepare(&mut waiting.request);
                            State::Inner {
                                future: span.in_scope(|| waiting.service.call(waiting.request)),
                            }
                        }
                    }
                }
            };
            state.set(next);
        }
    }
}

enum Next {
    /// The caller is in the request's extensions, and the service is ready.
    Call,
    Refuse(Response<Full<Bytes>>),
}

impl<S, B> PendingRequest<S, B>
where
    S: Service<Request<B>>,
{
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        span: &RequestSpan,
    ) -> Poll<Result<Next, S::Error>> {
        if !self.is_accepted {
            let decision = self.decision.as_mut();
            match ready!(span.in_scope(|| decision.poll(context))) {
                Ok(caller) => {
                    span.record_caller(&caller);
                    self.auth.admit(&mut self.request, caller);
                    self.is_accepted = true;
                }
                Err(refusal) => {
                    let answer = self.auth.answer(&refusal, &self.request);
                    return Poll::Ready(Ok(Next::Refuse(answer)));
                }
            }
        }
        ready!(self.service.poll_ready(context))?;
        Poll::Ready(Ok(Next::Call))
    }
}

impl<S, B> fmt::Debug for EntraFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EntraFuture")
            .finish_non_exhaustive()
    }
}
