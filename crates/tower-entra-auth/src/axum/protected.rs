//! Routers to which nothing can be added outside the Layer.

use std::convert::Infallible;
use std::task::{Context, Poll};

use ::axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use ::axum::routing::{IntoMakeService, future::RouteFuture};
use ::axum::{BoxError, Router, response::Response};
use bytes::Bytes;
use http::Request;
use http_body::Body;
use tower_service::Service;

/// A router behind the Layer, made by [`EntraAuth::protect`](crate::EntraAuth::protect): a tower service, to
/// which no route can be added but those that are named as [open](Self::open).
///
/// Requests for paths that nobody serves are refused without a token, too.
#[derive(Clone, Debug)]
#[must_use = "nothing is served before it is given to a server"]
pub struct Protected(Router);

impl Protected {
    /// Takes a router that has its Layer.
    pub(crate) fn new(router: Router) -> Self {
        Self(router)
    }

    /// Adds routes that need no token, such as a health check or the
    /// [metadata](crate::EntraAuth::resource_metadata) of the resource. Several calls add up. A fallback
    /// among them serves every path without a route. A method that is added here to a protected path is open.
    ///
    /// # Panics
    /// Like [`Router::merge`]: if two routes are for the same path and method or have overlapping captures,
    /// or both routers have a fallback.
    pub fn open(self, routes: impl Into<Router>) -> Self {
        // Of two fallbacks that nobody set the other's is kept: that behind the Layer.
        Self(routes.into().merge(self.0))
    }

    /// Returns the router. Routes that are added to it are open.
    pub fn into_router(self) -> Router {
        self.0
    }

    /// Returns the service that `axum::serve` takes.
    #[must_use]
    pub fn into_make_service(self) -> IntoMakeService<Router> {
        self.0.into_make_service()
    }

    /// Returns the same with the address of each client as the extractor `ConnectInfo<C>`, where `C` is mostly a
    /// `SocketAddr`.
    #[must_use]
    pub fn into_make_service_with_connect_info<C>(
        self,
    ) -> IntoMakeServiceWithConnectInfo<Router, C> {
        self.0.into_make_service_with_connect_info()
    }
}

impl<B> Service<Request<B>> for Protected
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.0.call(request)
    }
}
