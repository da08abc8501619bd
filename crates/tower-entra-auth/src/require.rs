//! Requirements of routes: conditions, and the Layer that refuses callers who do not meet them.
//!
//! The methods `and` and `or` combine [`Scope`](crate::Scope), [`UserRole`](crate::UserRole),
//! [`AppPermission`](crate::AppPermission), [`Group`](crate::Group) and the types in this module to
//! a [`Condition`]. [`EntraAuth::require`] makes a [`RequireLayer`] from it.

use std::fmt;
use std::task::{Context, Poll};

pub use entra_jwt_core::require::{
    AuthenticationContext, Claim, ClaimValue, Condition, IntoCondition, InvalidRequirement,
    NotInGroup, Requirement, RequirementProblem, RequirementProblemKind,
};
use http::{Extensions, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::authenticate::EntraAuth;
use crate::caller::{Caller, Refusal};
use crate::respond::Reason;
use crate::service::{ResponseBody, ResponseFuture, inner_service_accessors, respond_or_call};
use crate::telemetry::RefusedWithin;

/// A Layer that passes only callers who meet a requirement; made by [`EntraAuth::require`].
///
/// Put it inside of [`EntraAuth::layer`] of the same `EntraAuth`: on a route, on a nested router or
/// around any tower service. Without a caller of that `EntraAuth`, the response is 500
/// (`wrong_layer`), and the log explains the mistake. A request that the Layer passed without a
/// token gets 401.
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is a Layer around a service"]
pub struct RequireLayer {
    auth: EntraAuth,
    requirement: Requirement,
}

impl EntraAuth {
    /// Returns a Layer that passes only callers who meet the condition, for a route behind
    /// [`layer`](Self::layer).
    ///
    /// Other callers get 403, or the challenge to step up.
    ///
    /// ```
    /// # #[cfg(feature = "axum")] {
    /// use axum::{Router, routing::get};
    /// use tower_entra_auth::{AppPermission, EntraAuth, Scope, require::InvalidRequirement};
    ///
    /// fn routes(auth: &EntraAuth) -> Result<Router, InvalidRequirement> {
    ///     let readers = auth.require(Scope("Reports.Read").or(AppPermission("Reports.Read.All")))?;
    ///     Ok(Router::new().merge(readers.route("/reports", get(|| async { "…" }))))
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// Every problem with the condition, each with its correction. A condition has a problem if no
    /// token of Entra could meet it, if every token would meet it, or if it depends on a claim that
    /// users can change.
    pub fn require(
        &self,
        condition: impl IntoCondition,
    ) -> Result<RequireLayer, InvalidRequirement> {
        Ok(RequireLayer {
            auth: self.clone(),
            requirement: Requirement::new(condition)?,
        })
    }

    /// Returns the caller of a request, if the caller meets the requirement.
    pub(crate) fn check<'r>(
        &self,
        requirement: &Requirement,
        request: &'r Extensions,
    ) -> Result<&'r Caller, Reason> {
        let caller = self.caller_in(request)?.ok_or(Reason::NoCredentials)?;
        self.check_caller(requirement, caller)?;
        Ok(caller)
    }

    fn check_caller(&self, requirement: &Requirement, caller: &Caller) -> Result<(), Reason> {
        if !self.has_verified(caller) {
            return Err(Reason::WrongLayer { of_another: true });
        }
        requirement.check(caller).map_err(|denied| {
            let denied = caller.able_to_step_up(denied);
            let scopes = requirement.scopes_after(&denied, caller);
            Reason::PermissionDenied {
                scopes: scopes.into_iter().map(str::to_owned).collect(),
                denied,
            }
        })
    }
}

impl RequireLayer {
    /// Checks the requirement in a handler, for requirements that apply only to some requests.
    ///
    /// ```
    /// use tower_entra_auth::{Caller, Refusal, RequireLayer};
    ///
    /// async fn transfer(caller: Caller, amount: u64, strong: &RequireLayer) -> Result<(), Refusal> {
    ///     if amount > 1000 {
    ///         strong.check(&caller)?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// The refusal, for the handler to return, if the caller does not meet the requirement, or if
    /// another `EntraAuth` verified the caller (500, `wrong_layer`). The refusal is neither logged
    /// nor counted until a response is made from it.
    pub fn check(&self, caller: &Caller) -> Result<(), Refusal> {
        let checked = self.auth.check_caller(&self.requirement, caller);
        checked.map_err(|refusal| Refusal::new(self.auth.context(), Some(caller), refusal, None))
    }

    /// Returns the caller from the extensions of a request, if the caller meets the requirement.
    ///
    /// It is for frameworks whose methods receive the request itself, such as tonic.
    ///
    /// ```
    /// # #[cfg(feature = "tonic")] {
    /// use tonic::{Request, Response, Status};
    /// use tower_entra_auth::RequireLayer;
    ///
    /// async fn list(readers: &RequireLayer, request: Request<()>) -> Result<Response<String>, Status> {
    ///     let caller = readers.authorize(request.extensions())?; // feature `tonic`
    ///     Ok(Response::new(caller.id().to_string()))
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// The refusal, as for [`check`](Self::check): it is neither logged nor counted until a
    /// response is made from it. Without a caller, the refusal is 401 for an anonymous request, and
    /// 500 (`wrong_layer`) if no Layer ran.
    pub fn authorize(&self, request: &Extensions) -> Result<Caller, Refusal> {
        let checked = self.auth.check(&self.requirement, request);
        checked.cloned().map_err(|refusal| {
            // This `EntraAuth` cannot make a response to the caller of another `EntraAuth`.
            let caller = request.get::<Caller>();
            let caller = caller.filter(|caller| self.auth.has_verified(caller));
            let within = request.get::<RefusedWithin>();
            Refusal::new(self.auth.context(), caller, refusal, within)
        })
    }

    /// Returns a router with this route, to merge into another router; the requirement applies to
    /// all its methods.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use tower_entra_auth::RequireLayer;
    /// # async fn list() {}
    /// # async fn create() {}
    ///
    /// fn routes(clerks: &RequireLayer) -> Router {
    ///     Router::new().merge(clerks.route("/orders", get(list).post(create)))
    /// }
    /// ```
    ///
    /// It is the same as `.route("/orders", get(list).post(create).layer(clerks.clone()))`. A
    /// method that is added after a Layer is not protected by it: any caller may `POST` to
    /// `get(list).layer(clerks).post(create)`.
    ///
    /// # Panics
    /// Like axum's `Router::route`: if the path is not valid.
    #[cfg(feature = "axum")]
    pub fn route<S>(&self, path: &str, methods: axum::routing::MethodRouter<S>) -> axum::Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        axum::Router::new().route(path, methods.layer(self.clone()))
    }

    /// Returns the requirement.
    #[must_use]
    pub fn requirement(&self) -> &Requirement {
        &self.requirement
    }
}

impl<S> Layer<S> for RequireLayer {
    type Service = RequireService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireService {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service that a [`RequireLayer`] makes.
#[derive(Clone)]
pub struct RequireService<S> {
    inner: S,
    layer: RequireLayer,
}

impl<S> RequireService<S> {
    inner_service_accessors!();
}

impl<S, B, R> Service<Request<B>> for RequireService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let RequireLayer { auth, requirement } = &self.layer;
        let refusal = auth.check(requirement, request.extensions()).err();
        let response = refusal.map(|refusal| auth.refuse(&refusal, &request));
        respond_or_call(response, &mut self.inner, request)
    }
}

impl<S: fmt::Debug> fmt::Debug for RequireService<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RequireService")
            .field("inner", &self.inner)
            .field("requirement", &self.layer.requirement)
            .finish()
    }
}
