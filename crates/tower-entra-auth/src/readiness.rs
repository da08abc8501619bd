//! The endpoint for readiness probes.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use entra_http::retry_after_value;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::uri::Authority;
use http::{Request, Response, StatusCode};
use serde::Serialize;
use tower_service::Service;

use crate::authenticate::EntraAuth;
use crate::service::{AnswerBody, new_response};
use crate::status::AuthStatus;

/// An endpoint for readiness probes, made by [`EntraAuth::readiness`].
///
/// It is a tower service and, with the feature `axum`, a handler. It responds with 200 while tokens
/// can be validated, else with 503 and `Retry-After`. The body is a short JSON document. The
/// endpoint keeps the [`EntraAuth`] alive.
#[derive(Clone)]
#[must_use = "it does nothing until it is the handler or service of a route"]
pub struct Readiness {
    auth: EntraAuth,
    /// The service's own checks.
    checks: Vec<Arc<OwnCheck>>,
}

type OwnCheck = dyn Fn() -> Boxed<Result<(), &'static str>> + Send + Sync;

/// A boxed future.
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl EntraAuth {
    /// Returns an endpoint for a readiness probe.
    ///
    /// The first probe starts to fetch keys. A service that gets no requests before it is ready can
    /// therefore become ready.
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
        Readiness {
            auth: self.clone(),
            checks: Vec::new(),
        }
    }
}

impl Readiness {
    /// Adds a check of the service itself, such as whether its database responds.
    ///
    /// Every request to the endpoint runs the check, and every client can send such requests. The
    /// check must be cheap, and end in time. Several calls add up. The error of a check is the code
    /// in a 503 response with `Retry-After: 5`.
    ///
    /// ```
    /// # #[derive(Clone)] struct Database;
    /// # impl Database { async fn is_there(&self) -> bool { true } }
    /// # fn probe(auth: &tower_entra_auth::EntraAuth, database: Database) {
    /// let readiness = auth.readiness().and(async move || match database.is_there().await {
    ///     true => Ok(()),
    ///     false => Err("database_unavailable"),
    /// });
    /// # }
    /// ```
    pub fn and<F, R>(mut self, check: F) -> Self
    where
        F: FnOnce() -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<(), &'static str>> + Send + 'static,
    {
        let check = move || -> Boxed<_> { Box::pin(check.clone()()) };
        self.checks.push(Arc::new(check));
        self
    }

    /// Returns the response to a probe at this moment.
    pub async fn response(&self) -> Response<AnswerBody> {
        let retry_after = self.auth.ensure_refreshers();
        for check in &self.checks {
            if let Err(code) = check().await {
                let body = serde_json::json!({ "ready": false, "code": code });
                return json(body.to_string(), Some(RETRY_AFTER_A_CHECK));
            }
        }
        let status = self.auth.status();
        let retry_after = (!status.is_ready()).then_some(retry_after);
        json(state_of(&status), retry_after)
    }
}

const RETRY_AFTER_A_CHECK: Duration = Duration::from_secs(5);

/// Returns the state of the keys as JSON, with the host of the key source if the keys are not
/// ready. It contains no tenant, no key and no path.
///
/// `keys` is the number of keys of that source, or of Entra if all keys are ready. It does not
/// count the keys that an authorization server in front of Entra has without a fetch.
fn state_of(status: &AuthStatus) -> Vec<u8> {
    let not_ready = status.issuers.iter().find(|issuer| !issuer.is_ready);
    // Entra is the first issuer.
    let described = not_ready.or(status.issuers.first());
    let state = State {
        ready: not_ready.is_none(),
        keys: described.map_or(0, |issuer| issuer.keys.len()),
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
        source: not_ready
            .map(|issuer| &*issuer.source)
            .filter(|source| source.parse::<Authority>().is_ok()),
    };
    serde_json::to_vec(&state).unwrap_or_default()
}

/// Makes the response: 200, or 503 if there is a time after which to retry.
fn json(body: impl Into<Bytes>, retry_after: Option<Duration>) -> Response<AnswerBody> {
    let mut response = new_response(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(retry_after) = retry_after {
        headers.insert(RETRY_AFTER, retry_after_value(retry_after));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

#[derive(Serialize)]
struct State<'s> {
    ready: bool,
    keys: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success_seconds_ago: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'s str>,
}

impl<B> Service<Request<B>> for Readiness {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Boxed<Result<Self::Response, Infallible>>;

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
    type Future = Boxed<::axum::response::Response>;

    fn call(self, _: ::axum::extract::Request, _: S) -> Self::Future {
        Box::pin(async move { self.response().await.map(::axum::body::Body::new) })
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Readiness")
            .field("auth", &self.auth)
            .field("checks", &self.checks.len())
            .finish()
    }
}
