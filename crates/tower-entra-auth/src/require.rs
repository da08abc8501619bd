//! The requirements of a route: conditions, and the Layer that refuses who does not meet them.
//!
//! [`Scope`](crate::Scope), [`UserRole`](crate::UserRole), [`AppPermission`](crate::AppPermission),
//! [`Group`](crate::Group) and the types here are joined by `and` and `or` to a [`Condition`], from which
//! [`EntraAuth::require`] makes a [`RequireLayer`].

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

/// Lets only callers pass that meet a requirement; made by [`EntraAuth::require`].
///
/// It belongs inside [`EntraAuth::layer`] of the same `EntraAuth`, on a route, on a nested router
/// or around any tower service. Without a caller of that one it answers 500 (`wrong_layer`) and
/// says so in the log; a request that the Layer let pass without a token gets 401.
#[derive(Clone, Debug)]
#[must_use = "nothing is required before it is a Layer around a service"]
pub struct RequireLayer {
    auth: EntraAuth,
    requirement: Requirement,
}

impl EntraAuth {
    /// Returns a Layer that lets only callers pass that meet the condition, for a route behind
    /// [`layer`](Self::layer): 403, or the challenge to step up, for the others.
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
    /// If no token of Entra could meet the condition, or every one would, or if it decides by a claim
    /// that people can change: every problem with it, each with the correction.
    pub fn require(
        &self,
        condition: impl IntoCondition,
    ) -> Result<RequireLayer, InvalidRequirement> {
        Ok(RequireLayer {
            auth: self.clone(),
            requirement: Requirement::new(condition)?,
        })
    }

    /// Returns the caller of a request, if it meets the requirement.
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
    /// Checks the requirement in a handler, where it depends on the request whether it applies.
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
    /// another `EntraAuth` verified it (500, `wrong_layer`).
    pub fn check(&self, caller: &Caller) -> Result<(), Refusal> {
        let checked = self.auth.check_caller(&self.requirement, caller);
        checked.map_err(|refusal| Refusal::new(self.auth.context(), Some(caller), refusal, None))
    }

    /// Returns the caller of a request, by its extensions, if the requirement is met: for frameworks
    /// whose methods get the request itself, such as tonic.
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
    /// The refusal: as [`check`](Self::check), and if there is no caller: 401 for an anonymous
    /// request, 500 (`wrong_layer`) where no Layer ran.
    pub fn authorize(&self, request: &Extensions) -> Result<Caller, Refusal> {
        let checked = self.auth.check(&self.requirement, request);
        checked.cloned().map_err(|refusal| {
            // Of another `EntraAuth` it is not the caller that this one answers.
            let caller = request.get::<Caller>();
            let caller = caller.filter(|caller| self.auth.has_verified(caller));
            let within = request.get::<RefusedWithin>();
            Refusal::new(self.auth.context(), caller, refusal, within)
        })
    }

    /// Returns a router with this route, all methods of which are behind the requirement, to merge into another.
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
    /// It is the same as `.route("/orders", get(list).post(create).layer(clerks.clone()))`. A method that follows
    /// a Layer is not behind it: any caller may `POST` to `get(list).layer(clerks).post(create)`.
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

    /// Returns what is required.
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
