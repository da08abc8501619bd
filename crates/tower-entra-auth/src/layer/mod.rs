//! The Layer around a service, and the types of its service, future and body.

mod open_paths;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use entra_jwt_core::AccessToken;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, ORIGIN};
use http::{Method, Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use tracing::Span;
use tracing::field::{Empty, display};

pub use self::open_paths::InvalidPath;
use crate::authenticate::{Decision, EntraAuth};
#[cfg(feature = "axum")]
use crate::axum::Protected;
use crate::caller::Caller;
use crate::respond::Reason;
pub use crate::service::{AnswerBody, ResponseBody, ResponseFuture};
use crate::service::{inner_service_accessors, polled_after_completion};
use crate::telemetry::{Decided, RefusedWithin};

/// A Layer that protects a service; made by [`EntraAuth::layer`].
///
/// Without further settings, every request needs a valid token.
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is a Layer around a service"]
pub struct EntraLayer {
    auth: EntraAuth,
    open: OpenPaths,
    is_optional: bool,
}

impl EntraAuth {
    /// Returns the Layer that protects a service.
    pub fn layer(&self) -> EntraLayer {
        EntraLayer {
            auth: self.clone(),
            open: OpenPaths::default(),
            is_optional: false,
        }
    }

    /// Protects all routes of a router, and its fallbacks.
    ///
    /// Routes can be added outside of the Layer only with [`open`](Protected::open). For a Layer
    /// with other settings, see [`EntraLayer::protect`].
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use tower_entra_auth::{EntraAuth, axum::Protected};
    /// # async fn me() {}
    /// # async fn orders() {}
    ///
    /// fn app(auth: &EntraAuth) -> Protected {
    ///     let routes = Router::new().route("/me", get(me)).route("/orders", get(orders));
    ///     auth.protect(routes)
    ///         .open(Router::new().route("/ready", get(auth.readiness())))
    /// }
    /// # async fn serve(auth: &EntraAuth, listener: tokio::net::TcpListener) -> std::io::Result<()> {
    ///
    /// axum::serve(listener, app(auth).into_make_service()).await
    /// # }
    /// ```
    #[cfg(feature = "axum")]
    pub fn protect(&self, routes: axum::Router) -> Protected {
        self.layer().protect(routes)
    }
}

#[cfg(feature = "axum")]
impl EntraLayer {
    /// Protects a router with the settings of this Layer.
    ///
    /// [`EntraAuth::protect`] does the same with the default settings.
    pub fn protect(self, routes: axum::Router) -> Protected {
        Protected::new(routes.layer(self))
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

/// The service that an [`EntraLayer`] makes.
///
/// It calls the inner service only for verified callers, and for requests that may pass as
/// anonymous.
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
        #[cfg(feature = "testing")]
        if crate::testing::is_made_up(auth, &request) {
            let span = RequestSpan::begin();
            return self.call_inner(request, span);
        }
        match auth.decide(request.headers(), request.uri()) {
            Decision::Accept(caller) => {
                let span = RequestSpan::of(&caller);
                auth.admit(&mut request, caller);
                self.call_inner(request, span)
            }
            Decision::Refuse(Reason::NoCredentials)
                if *is_optional && !EntraAuth::has_removed_token(request.extensions()) =>
            {
                self.pass_anonymous(request)
            }
            Decision::Refuse(refusal) => {
                let response = auth.refuse(&refusal, &request);
                self.give_back_readied();
                RequestSpan::begin().end(&response);
                EntraFuture {
                    state: RequestState::Refused {
                        response: Some(response),
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
                    state: RequestState::Pending {
                        request: Some(Box::new(pending)),
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
            state: RequestState::Inner {
                future: span.in_scope(|| self.inner.call(request)),
            },
            span,
        }
    }
}

impl<S: Clone> EntraService<S> {
    /// Replaces the inner service, which was polled ready, with an unready clone. A request that
    /// does not call the inner service must not hold a slot in a concurrency limit.
    fn give_back_readied(&mut self) {
        self.inner = self.inner.clone();
    }
}

pin_project! {
    /// The response future of an [`EntraService`].
    ///
    /// # Panics
    /// If it is polled after completion, as futures of std do.
    pub struct EntraFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: RequestState<S, B>,
        span: RequestSpan,
    }
}

pin_project! {
    #[project = RequestStateProjection]
    enum RequestState<S, B>
    where
        S: Service<Request<B>>,
    {
        Inner {
            #[pin]
            future: S::Future,
        },
        Refused {
            response: Option<Response<AnswerBody>>,
        },
        Pending {
            request: Option<Box<PendingRequest<S, B>>>,
        },
    }
}

/// A request that waits: first for its decision, then until the inner service is ready again.
struct PendingRequest<S, B> {
    decision: Pin<Box<dyn Future<Output = Result<Caller, Reason>> + Send + Sync>>,
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
                RequestStateProjection::Inner { future } => {
                    let response = ready!(span.in_scope(|| future.poll(context)))?;
                    span.end(&response);
                    return Poll::Ready(Ok(response.map(ResponseBody::inner)));
                }
                RequestStateProjection::Refused { response } => {
                    let response = response.take().unwrap_or_else(|| polled_after_completion());
                    return Poll::Ready(Ok(response.map(ResponseBody::refusal)));
                }
                RequestStateProjection::Pending { request } => {
                    let mut pending = request.take().unwrap_or_else(|| polled_after_completion());
                    match pending.poll(context, span) {
                        Poll::Pending => {
                            *request = Some(pending);
                            return Poll::Pending;
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Ready(Ok(Next::Refuse(response))) => {
                            span.end(&response);
                            RequestState::Refused {
                                response: Some(response),
                            }
                        }
                        Poll::Ready(Ok(Next::Call)) => {
                            span.prepare(&mut pending.request);
                            RequestState::Inner {
                                future: span.in_scope(|| pending.service.call(pending.request)),
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
    Refuse(Response<AnswerBody>),
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
                    let response = self.auth.refuse(&refusal, &self.request);
                    return Poll::Ready(Ok(Next::Refuse(response)));
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

/// The requests that a Layer passes on without validating a token.
#[derive(Clone, Debug, Default)]
struct OpenPaths {
    paths: Arc<[OpenPath]>,
    preflights: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum OpenPath {
    Exactly(String),
    /// A path and everything below it.
    Under(String),
    /// The methods of the gRPC service of this name: `/name/Method`.
    GrpcService(String),
}

impl OpenPaths {
    fn lets_pass<B>(&self, request: &Request<B>) -> bool {
        let path = request.uri().path();
        self.paths.iter().any(|open| open.is(path)) || self.preflights && is_preflight(request)
    }
}

impl OpenPath {
    /// Returns whether this entry opens the path. Only the normal spelling of a path matches. Two
    /// programs could read another spelling as two different paths, so that spelling counts as
    /// protected.
    fn is(&self, path: &str) -> bool {
        match self {
            Self::Exactly(open) => path == open,
            Self::Under(open) => {
                let below = path.strip_prefix(open.as_str());
                below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
                    && abnormality(path).is_none()
            }
            Self::GrpcService(open) => {
                let method = path
                    .strip_prefix('/')
                    .and_then(|path| path.strip_prefix(open.as_str()))
                    .and_then(|path| path.strip_prefix('/'));
                method.is_some_and(is_grpc_name)
            }
        }
    }
}

/// Returns whether the name is a protobuf identifier: one part of a gRPC service's name, or a
/// method's name.
fn is_grpc_name(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name
            .bytes()
            .next()
            .is_some_and(|byte| !byte.is_ascii_digit())
}

/// Returns the reason if the same path could also be spelled in another way.
fn abnormality(path: &str) -> Option<&'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,=:@".contains(&byte);
    let Some(relative) = path.strip_prefix('/') else {
        return Some("a path begins with a slash, without scheme and host");
    };
    let segments: Vec<&str> = relative.split('/').collect();
    if !path.bytes().all(is_plain) {
        Some("use a path without escapes, parameters, query and fragment")
    } else if segments
        .iter()
        .any(|segment| matches!(*segment, "." | ".."))
    {
        Some("it has a segment that is . or ..")
    } else if segments
        .split_last()
        .is_some_and(|(_, before)| before.contains(&""))
    {
        Some("it has two slashes in a row")
    } else {
        None
    }
}

/// Returns whether the request is a CORS preflight (Fetch Standard, CORS protocol). A preflight
/// never has credentials, and a CORS layer responds to it.
fn is_preflight<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
        && !headers.contains_key(AUTHORIZATION)
}

/// Target of the span, for the filters of subscribers.
const TARGET: &str = "tower_entra_auth::request";

/// The tracing span of one request, around the wait for its decision and the call of the inner
/// service.
///
/// It contains no claim of an unverified token, and no claim about a person.
struct RequestSpan {
    span: Span,
    decided: Decided,
    within: Option<RefusedWithin>,
}

impl RequestSpan {
    /// Makes a span that records nothing.
    fn none() -> Self {
        Self {
            span: Span::none(),
            decided: Decided::ACCEPTED,
            within: None,
        }
    }

    /// Starts the span of a request, with empty fields.
    fn begin() -> Self {
        let span = tracing::info_span!(
            target: TARGET,
            "entra_auth",
            caller = Empty,
            tenant = Empty,
            client_id = Empty,
            registered_client = Empty,
            outcome = Empty,
            code = Empty,
        );
        Self {
            span,
            decided: Decided::ACCEPTED,
            within: None,
        }
    }

    fn anonymous() -> Self {
        Self {
            decided: Decided::ANONYMOUS,
            ..Self::begin()
        }
    }

    fn of(caller: &AccessToken) -> Self {
        let span = Self::begin();
        span.record_caller(caller);
        span
    }

    /// Records the caller's kind, tenant and client.
    fn record_caller(&self, caller: &AccessToken) {
        if self.span.is_disabled() {
            return;
        }
        self.span.record("caller", display(caller.kind()));
        self.span.record("tenant", display(caller.tenant_id()));
        if let Some(client) = caller.client_id() {
            self.span.record("client_id", display(client));
        }
        if let Some(client) = caller.registered_client() {
            self.span.record("registered_client", client);
        }
    }

    /// Adds a [`RefusedWithin`] to a request for the inner service, which records a refusal there.
    fn prepare<B>(&mut self, request: &mut Request<B>) {
        if !self.span.is_disabled() {
            let within = self.within.insert(RefusedWithin::default());
            request.extensions_mut().insert(within.clone());
        }
    }

    fn in_scope<T>(&self, run: impl FnOnce() -> T) -> T {
        self.span.in_scope(run)
    }

    /// Records outcome and code: of the refusal in the response or inside the inner service, else
    /// of the Layer's decision.
    fn end<B>(&self, response: &Response<B>) {
        if self.span.is_disabled() {
            return;
        }
        let within = self.within.as_ref().and_then(RefusedWithin::recorded);
        let refused = response.extensions().get::<Decided>().or(within);
        let Decided { outcome, code } = refused.copied().unwrap_or(self.decided);
        self.span.record("outcome", outcome);
        if let Some(code) = code {
            self.span.record("code", code);
        }
    }
}

impl fmt::Debug for RequestSpan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.span.fmt(formatter)
    }
}
