//! The endpoint for readiness probes.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::RETRY_AFTER;
use http::{Request, Response, StatusCode};
use serde_json::json;
use tower_entra_auth::{layer::AnswerBody, readiness};
use tower_service::Service;

use crate::endpoints::Server;
use crate::http::{json, set_static};

/// An endpoint for readiness probes, made by
/// [`EntraOAuthProxy::readiness`](crate::EntraOAuthProxy::readiness): a tower service, and with the feature
/// `axum` a handler.
///
/// It answers 200 while Entra's keys are held and the store can be read, else 503 with `Retry-After`. The
/// store is asked each time; of the rest see [the Layer's](readiness::Readiness), whose JSON it is. `code` is
/// `store_unavailable` or `shutting_down` beside that.
#[derive(Clone)]
#[must_use = "it answers nothing before it is the handler or service of a route"]
pub struct Readiness {
    server: Arc<Server>,
    of_auth: readiness::Readiness,
}

impl Readiness {
    pub(super) fn new(server: Arc<Server>, of_auth: readiness::Readiness) -> Self {
        Self { server, of_auth }
    }

    /// Returns the answer to a probe at this moment.
    pub async fn response(&self) -> Response<AnswerBody> {
        // Being asked starts the fetching of keys.
        let of_auth = self.of_auth.response().await;
        let Some(code) = self.server.not_ready().await else {
            return of_auth;
        };
        let body = json!({ "ready": false, "code": code });
        let mut response = json(StatusCode::SERVICE_UNAVAILABLE, &body);
        set_static(&mut response, RETRY_AFTER, "5");
        response
    }
}

impl<B> Service<Request<B>> for Readiness {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.response().await) })
    }
}

#[cfg(feature = "axum")]
impl<S> axum::handler::Handler<(), S> for Readiness {
    type Future = Pin<Box<dyn Future<Output = axum::response::Response> + Send>>;

    fn call(self, _: axum::extract::Request, _: S) -> Self::Future {
        Box::pin(async move { self.response().await.map(axum::body::Body::new) })
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Readiness").finish_non_exhaustive()
    }
}
