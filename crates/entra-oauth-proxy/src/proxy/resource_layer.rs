//! The Layer that protects the resource.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_entra_auth::{
    EntraLayer, RequireLayer,
    layer::{EntraFuture, EntraService, ResponseBody},
    require::RequireService,
};
use tower_layer::Layer;
use tower_service::Service;

/// A Layer that protects the resource.
///
/// [`EntraOAuthProxy::layer`](crate::EntraOAuthProxy::layer) creates it.
#[derive(Clone, Debug)]
#[must_use = "a Layer protects nothing until it wraps a service"]
pub struct ResourceLayer {
    auth: EntraLayer,
    required: RequireLayer,
}

impl ResourceLayer {
    pub(super) fn new(auth: EntraLayer, required: RequireLayer) -> Self {
        Self { auth, required }
    }
}

impl<S> Layer<S> for ResourceLayer {
    type Service = ResourceService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ResourceService(self.auth.layer(self.required.layer(inner)))
    }
}

/// The service that a [`ResourceLayer`] makes.
#[derive(Clone, Debug)]
pub struct ResourceService<S>(EntraService<RequireService<S>>);

impl<S, B, R> Service<Request<B>> for ResourceService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    type Response = Response<ResourceBody<R>>;
    type Error = S::Error;
    type Future = ResourceFuture<S, B, R>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ResourceFuture {
            inner: self.0.call(request),
        }
    }
}

pin_project! {
    /// The response future of a [`ResourceService`].
    ///
    /// # Panics
    /// If it is polled again after it was ready, as futures of std do.
    pub struct ResourceFuture<S, B, R>
    where
        S: Service<Request<B>, Response = Response<R>>,
        S: Clone,
    {
        #[pin]
        inner: EntraFuture<RequireService<S>, B>,
    }
}

impl<S, B, R> Future for ResourceFuture<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    type Output = Result<Response<ResourceBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let response = self.project().inner.poll(context);
        response.map_ok(|response| response.map(|inner| ResourceBody { inner }))
    }
}

impl<S, B, R> fmt::Debug for ResourceFuture<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ResourceFuture")
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The body of the response: the inner service's body, unchanged, or the short text of a
    /// refusal.
    #[derive(Debug)]
    pub struct ResourceBody<R> {
        #[pin]
        inner: ResponseBody<ResponseBody<R>>,
    }
}

impl<R: Body<Data = Bytes>> Body for ResourceBody<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        self.project().inner.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
