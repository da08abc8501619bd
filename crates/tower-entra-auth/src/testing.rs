//! Callers made of JSON, for unit tests of handlers, and a check that no route is open.
//!
//! Only for dev-dependencies.

use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll};

use entra_jwt_core::{InvalidToken, testing};
use http::{Method, Request, Response};
use serde_json::Value;
use tower_layer::Layer;
use tower_service::Service;

use crate::authenticate::{Decision, EntraAuth};
use crate::caller::Caller;
use crate::respond::Reason;
use crate::telemetry::Decided;

/// Makes a caller with these claims, which `auth` accepts although its token was not verified.
///
/// Use the caller as a handler's argument, or put it into a request's extensions. Claims that every
/// token has are added if `claims` lacks them. The added `tid` and `aud` are placeholders, not
/// those of `auth`; see [`entra_jwt_core::testing::access_token`].
///
/// ```
/// use tower_entra_auth::{Caller, EntraAuth, testing};
///
/// async fn me(caller: Caller) -> String {
///     caller.scopes().collect()
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let auth = EntraAuth::builder().tenant("72f988bf-86f1-41af-91ab-2d7cd011db47")
/// #     .client_id("6e74172b-be56-4843-9ff4-e66a39bb12e3").build()?;
/// let ada = testing::caller(&auth, serde_json::json!({ "scp": "Reports.Read" }))?;
/// assert_eq!(me(ada).await, "Reports.Read");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If `claims` is not a JSON object, or if a claim has another type than in Entra's tokens.
pub fn caller(auth: &EntraAuth, claims: Value) -> Result<Caller, InvalidToken> {
    testing::access_token(claims).map(|token| Caller::trusted(token, auth.context()))
}

/// A Layer that attaches a test caller to every request without a caller.
///
/// It can be put around the same application that is served in production, or around routes without
/// a Layer of an `EntraAuth`.
///
/// A request without a token then has the caller given to [`new`](Self::new), or the caller that is
/// already in its extensions. A request with a token is verified as usual.
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::routing::get;
/// use tower::Layer;
/// use tower_entra_auth::{EntraAuth, Scope, axum::Protected, require::InvalidRequirement, testing};
///
/// fn app(auth: &EntraAuth) -> Result<Protected, InvalidRequirement> {
///     let readers = auth.require(Scope("Reports.Read"))?;
///     Ok(auth.protect(readers.route("/reports", get(|| async { "…" }))))
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let auth = EntraAuth::builder().tenant("72f988bf-86f1-41af-91ab-2d7cd011db47")
/// #     .client_id("6e74172b-be56-4843-9ff4-e66a39bb12e3").build()?;
/// let ada = testing::caller(&auth, serde_json::json!({ "scp": "Reports.Read" }))?;
/// let app = testing::CallerLayer::new(ada).layer(app(&auth)?);
/// # Ok(())
/// # } }
/// ```
#[derive(Clone, Debug)]
pub struct CallerLayer {
    caller: Caller,
}

impl CallerLayer {
    /// Returns a Layer that attaches this caller to every request without a caller.
    #[must_use]
    pub fn new(caller: Caller) -> Self {
        Self { caller }
    }
}

impl<S> Layer<S> for CallerLayer {
    type Service = CallerService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CallerService {
            inner,
            caller: self.caller.clone(),
        }
    }
}

/// The service that a [`CallerLayer`] makes.
#[derive(Clone, Debug)]
pub struct CallerService<S> {
    inner: S,
    caller: Caller,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for CallerService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let extensions = request.extensions_mut();
        if extensions.get::<Caller>().is_none() {
            extensions.insert(self.caller.clone());
        }
        self.inner.call(request)
    }
}

/// Sends a request without a token to each of these routes, and checks that the Layer refuses it.
///
/// A route that was added after the Layer is served to everyone, and nothing else reports that
/// mistake.
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::get};
/// use http::Method;
/// use tower_entra_auth::{EntraAuth, testing};
///
/// fn app(auth: &EntraAuth) -> Router {
///     Router::new()
///         .route("/me", get(|| async { "…" }))
///         .layer(auth.layer())
///         .route("/secret", get(|| async { "…" }))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let auth = EntraAuth::builder().tenant("72f988bf-86f1-41af-91ab-2d7cd011db47")
/// #     .client_id("6e74172b-be56-4843-9ff4-e66a39bb12e3").build()?;
/// let routes = [(Method::GET, "/me"), (Method::GET, "/secret")];
/// let open = testing::check_protected(app(&auth), routes).await.unwrap_err();
/// assert!(open.to_string().starts_with("not refused without a token: GET /secret (200); "));
/// # Ok(())
/// # } }
/// ```
///
/// Only a refusal of an `EntraAuth` that asks for a token counts: a handler's own 401 does not
/// count, nor does a 404.
///
/// # Errors
/// All routes that do not refuse the request, each with the status of its response.
pub async fn check_protected<S, R>(
    mut service: S,
    routes: impl IntoIterator<Item = (Method, &str)>,
) -> Result<(), Unprotected>
where
    S: Service<Request<String>, Response = Response<R>>,
    S::Error: fmt::Display,
{
    let mut open = Vec::new();
    for (method, path) in routes {
        let answer = match Request::builder()
            .method(&method)
            .uri(path)
            .body(String::new())
        {
            Ok(request) => match poll_fn(|context| service.poll_ready(context)).await {
                Ok(()) => service
                    .call(request)
                    .await
                    .map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error.to_string()),
        };
        let is_refused = |response: &Response<R>| {
            let decided = response.extensions().get::<Decided>();
            decided.is_some_and(|decided| decided.outcome == "refused")
        };
        match answer {
            Ok(response) if is_refused(&response) => {}
            Ok(response) => open.push(format!("{method} {path} ({})", response.status().as_u16())),
            Err(error) => open.push(format!("{method} {path} ({error})")),
        }
    }
    match open.is_empty() {
        true => Ok(()),
        false => Err(Unprotected { open }),
    }
}

/// Routes that [`check_protected`] found to be served without a token, or not to be served at all.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unprotected {
    open: Vec<String>,
}

impl fmt::Display for Unprotected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.open.join(", ");
        write!(
            formatter,
            "not refused without a token: {open}; add routes before .layer(auth.layer()), or to \
             auth.protect(..), where nothing is open unless it is named"
        )
    }
}

impl std::error::Error for Unprotected {}

/// Returns whether a test made the request's caller for this `EntraAuth`, and the request has no
/// token to verify.
pub(crate) fn is_made_up<B>(auth: &EntraAuth, request: &Request<B>) -> bool {
    let caller = request.extensions().get::<Caller>();
    caller.is_some_and(|caller| caller.proof().is_none() && auth.has_verified(caller))
        && matches!(
            auth.decide(request.headers(), request.uri()),
            Decision::Refuse(Reason::NoCredentials)
        )
}
