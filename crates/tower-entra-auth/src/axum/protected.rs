//! Routers whose routes are all behind the Layer, unless they are explicitly open.

use std::convert::Infallible;
use std::task::{Context, Poll};

use ::axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use ::axum::routing::{IntoMakeService, future::RouteFuture};
use ::axum::{BoxError, Router, response::Response};
use bytes::Bytes;
use http::Request;
use http_body::Body;
use tower_service::Service;

/// A router behind the Layer, made by [`EntraAuth::protect`](crate::EntraAuth::protect).
///
/// It is a tower service. Only routes that are explicitly [open](Self::open) can be added to it.
/// Requests for paths without a route are also refused without a token.
#[derive(Clone, Debug)]
#[must_use = "it serves nothing until it is passed to a server"]
pub struct Protected(Router);

impl Protected {
    /// Wraps a router that already has its Layer.
    pub(crate) fn new(router: Router) -> Self {
        Self(router)
    }

    /// Adds routes that need no token, such as a health check or the
    /// [metadata](crate::EntraAuth::resource_metadata) of the resource.
    ///
    /// Several calls add up. If the added routes have a fallback, it serves every path without a
    /// route. A method that is added here to a protected path is open.
    ///
    /// # Panics
    /// As [`Router::merge`] does: if two routes are for the same path and method or have
    /// overlapping captures, or if both routers have a fallback.
    pub fn open(self, routes: impl Into<Router>) -> Self {
        // If neither router has a fallback of its own, axum keeps the fallback of the argument,
        // which is behind the Layer.
        Self(routes.into().merge(self.0))
    }

    /// Returns the router. Routes that are added to the returned router are open.
    pub fn into_router(self) -> Router {
        self.0
    }

    /// Returns the service that `axum::serve` takes.
    #[must_use]
    pub fn into_make_service(self) -> IntoMakeService<Router> {
        self.0.into_make_service()
    }

    /// Returns the service that `axum::serve` takes, with the address of each client as the
    /// extractor `ConnectInfo<C>`.
    ///
    /// `C` is usually a `SocketAddr`.
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
