//! The endpoint for readiness probes.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use entra_http::retry_after_value;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use serde::Serialize;
use tower_service::Service;

use crate::authenticate::EntraAuth;
use crate::service::{AnswerBody, new_response};
use crate::status::AuthStatus;

/// An endpoint for readiness probes, made by [`EntraAuth::readiness`]: a tower service, and with the feature
/// `axum` a handler.
///
/// It answers 200 while tokens can be judged, else 503 with `Retry-After`, and a little JSON. It keeps the
/// [`EntraAuth`] alive.
#[derive(Clone, Debug)]
#[must_use = "it answers nothing before it is the handler or service of a route"]
pub struct Readiness {
    auth: EntraAuth,
}

impl EntraAuth {
    /// Returns an endpoint for a readiness probe. Being asked starts the fetching of keys, so that a
    /// service which gets no requests before it is ready becomes so.
    ///
    /// ```
    /// # #[cfg(feature = "axum")]
    /// # fn app(auth: &tower_entra_auth::EntraAuth) -> axum::Router {
    /// use axum::{Router, routing::get};
    ///
    /// Router::new().route("/ready", get(auth.readiness())) // outside the Layer
    /// # }
    /// ```
    pub fn readiness(&self) -> Readiness {
        Readiness { auth: self.clone() }
    }
}

impl Readiness {
    /// Returns the answer to a probe at this moment. It comes at once.
    pub async fn response(&self) -> Response<AnswerBody> {
        let retry_after = self.auth.ensure_refreshers();
        response_of(&self.auth.status(), retry_after)
    }
}

/// Makes the answer: what is the matter as JSON, without names, keys or addresses.
fn response_of(status: &AuthStatus, retry_after: Duration) -> Response<AnswerBody> {
    let not_ready = status.issuers.iter().find(|issuer| !issuer.is_ready);
    let body = Answer {
        ready: not_ready.is_none(),
        keys: status.issuers.iter().map(|issuer| issuer.keys.len()).sum(),
        last_success_seconds_ago: status
            .issuers
            .iter()
            .map(|issuer| issuer.last_success_ago.map(|ago| ago.as_secs()))
            .max_by_key(|ago| ago.unwrap_or(u64::MAX))
            .flatten(),
        code: not_ready.map(|_| "keys_unavailable"),
        cause: not_ready.map(|issuer| {
            let failure = issuer.last_failure.as_ref();
            failure.map_or("not_fetched_yet", |failure| failure.cause.code())
        }),
    };
    let json = serde_json::to_vec(&body).unwrap_or_default();
    let mut response = new_response(json);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !body.ready {
        headers.insert(RETRY_AFTER, retry_after_value(retry_after));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

#[derive(Serialize)]
struct Answer {
    ready: bool,
    keys: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success_seconds_ago: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
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
impl<S> ::axum::handler::Handler<(), S> for Readiness {
    type Future = Pin<Box<dyn Future<Output = ::axum::response::Response> + Send>>;

    fn call(self, _: ::axum::extract::Request, _: S) -> Self::Future {
        Box::pin(async move { self.response().await.map(::axum::body::Body::new) })
    }
}
