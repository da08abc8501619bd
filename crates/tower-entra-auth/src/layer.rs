//! The Layer, its service and its future.

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

use crate::auth::{Decision, EntraAuth};
use crate::body::ResponseBody;
use crate::caller::Caller;
use crate::refusal::Refusal;
use crate::respond::{self, Protocol};

/// Protects a service; made by [`EntraAuth::layer`].
#[derive(Clone, Debug)]
pub struct EntraLayer {
    auth: EntraAuth,
}

impl EntraLayer {
    pub(crate) fn new(auth: EntraAuth) -> Self {
        Self { auth }
    }
}

impl<S> Layer<S> for EntraLayer {
    type Service = EntraService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        EntraService {
            inner,
            auth: self.auth.clone(),
        }
    }
}

/// The service that an [`EntraLayer`] makes: it calls the inner one only for verified callers.
#[derive(Clone, Debug)]
pub struct EntraService<S> {
    inner: S,
    auth: EntraAuth,
}

impl<S> EntraService<S> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B, R> Service<Request<B>> for EntraService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let state = match self.auth.decide(request.headers()) {
            Decision::Accept(caller) => {
                request.extensions_mut().insert(caller);
                State::Inner {
                    future: self.inner.call(request),
                }
            }
            Decision::Refuse(refusal) => {
                self.give_back_readied();
                let protocol = Protocol::of(request.headers());
                State::Refused {
                    response: Some(refused(&self.auth, &refusal, protocol)),
                }
            }
            Decision::Wait(waiting) => {
                self.give_back_readied();
                State::Waiting {
                    parked: Some(Box::new(Parked {
                        decision: Box::pin(waiting.decide()),
                        accepted: false,
                        service: self.inner.clone(),
                        request,
                        auth: self.auth.clone(),
                    })),
                }
            }
        };
        ResponseFuture { state }
    }
}

impl<S: Clone> EntraService<S> {
    /// Puts an unready clone in place of the inner service that was polled ready: a place in a
    /// concurrency limit must not be held by a request that does not use it.
    fn give_back_readied(&mut self) {
        self.inner = self.inner.clone();
    }
}

fn refused(auth: &EntraAuth, refusal: &Refusal, protocol: Protocol) -> Response<Full<Bytes>> {
    auth.log().refused(refusal);
    respond::response(refusal, auth.refusal_detail(), protocol)
}

pin_project! {
    /// The response of an [`EntraService`].
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B>,
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
        Refused {
            response: Option<Response<Full<Bytes>>>,
        },
        Waiting {
            parked: Option<Box<Parked<S, B>>>,
        },
    }
}

/// A request that waits: first for its key, then for the inner service to be ready again.
struct Parked<S, B> {
    decision: Pin<Box<dyn Future<Output = Result<Caller, Refusal>> + Send>>,
    accepted: bool,
    service: S,
    request: Request<B>,
    auth: EntraAuth,
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Inner { future } => {
                    let response = ready!(future.poll(context))?;
                    return Poll::Ready(Ok(response.map(ResponseBody::inner)));
                }
                StateProjection::Refused { response } => match response.take() {
                    Some(response) => {
                        let response = response.map(ResponseBody::refusal);
                        return Poll::Ready(Ok(response));
                    }
                    // Polled again after it was ready.
                    None => return Poll::Pending,
                },
                StateProjection::Waiting { parked } => {
                    let Some(waiting) = parked.as_mut() else {
                        return Poll::Pending;
                    };
                    let next = ready!(waiting.poll(context))?;
                    match (next, parked.take()) {
                        (Next::Refuse(response), _) => State::Refused {
                            response: Some(response),
                        },
                        (Next::Call, Some(mut parked)) => State::Inner {
                            future: parked.service.call(parked.request),
                        },
                        (Next::Call, None) => return Poll::Pending,
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

impl<S, B> Parked<S, B>
where
    S: Service<Request<B>>,
{
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Next, S::Error>> {
        if !self.accepted {
            match ready!(self.decision.as_mut().poll(context)) {
                Ok(caller) => {
                    self.request.extensions_mut().insert(caller);
                    self.accepted = true;
                }
                Err(refusal) => {
                    let protocol = Protocol::of(self.request.headers());
                    let response = refused(&self.auth, &refusal, protocol);
                    return Poll::Ready(Ok(Next::Refuse(response)));
                }
            }
        }
        ready!(self.service.poll_ready(context))?;
        Poll::Ready(Ok(Next::Call))
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ResponseFuture")
            .finish_non_exhaustive()
    }
}
