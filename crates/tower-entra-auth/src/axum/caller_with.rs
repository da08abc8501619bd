//! Requirements in the signatures of handlers.

use std::any::{TypeId, type_name};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::rc::Rc;

use ::axum::extract::{FromRef, FromRequestParts};
use entra_jwt_core::require::{IntoCondition, InvalidRequirement, Requirement};
use http::request::Parts;

use crate::authenticate::EntraAuth;
use crate::caller::{Caller, Refusal};
use crate::respond::Reason;

/// A requirement as a type, for the signature of a handler; see [`CallerWith`] for an example.
pub trait CallerRequirement: 'static {
    /// Returns the condition, which must always be the same.
    ///
    /// The first request of each thread calls this function, which must not panic.
    fn condition() -> impl IntoCondition;
}

/// An extractor for a [`Caller`] who meets the requirement `R`.
///
/// The handler is called only for such callers.
///
/// ```
/// use axum::{Router, routing::get};
/// use tower_entra_auth::axum::{CallerRequirement, CallerWith, Protected};
/// use tower_entra_auth::{AppPermission, EntraAuth, Scope, require::IntoCondition};
///
/// struct ReadReports;
///
/// impl CallerRequirement for ReadReports {
///     fn condition() -> impl IntoCondition {
///         Scope("Reports.Read").or(AppPermission("Reports.Read.All"))
///     }
/// }
///
/// async fn reports(caller: CallerWith<ReadReports>) -> String {
///     format!("reports for {}", caller.id())
/// }
///
/// fn app(auth: EntraAuth) -> Protected {
///     let routes = Router::new().route("/reports", get(reports));
///     auth.protect(routes.with_state(auth.clone()))
/// }
/// ```
///
/// The router's state contains the [`EntraAuth`] (axum's `FromRef`), which must be that of the
/// Layer. A caller that another `EntraAuth` verified is refused with 500 `wrong_layer`, because the
/// tokens of another API may have a scope of the same name. All other callers who do not meet the
/// requirement are refused as by [`RequireLayer`](crate::RequireLayer).
///
/// A condition that no token could meet, or that every token would meet, is 500
/// `invalid_requirement`, and the log explains the problem. To check it when the service starts,
/// call [`EntraAuth::require`]: `auth.require(ReadReports::condition())?`.
pub struct CallerWith<R> {
    caller: Caller,
    requirement: PhantomData<fn() -> R>,
}

impl<R> CallerWith<R> {
    /// Returns the caller, who meets the requirement.
    #[must_use]
    pub fn into_caller(self) -> Caller {
        self.caller
    }
}

impl<R> Deref for CallerWith<R> {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl<R> Clone for CallerWith<R> {
    fn clone(&self) -> Self {
        Self {
            caller: self.caller.clone(),
            ..*self
        }
    }
}

impl<R> fmt::Debug for CallerWith<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("CallerWith")
            .field(&self.caller)
            .finish()
    }
}

impl<S, R> FromRequestParts<S> for CallerWith<R>
where
    S: Sync,
    EntraAuth: FromRef<S>,
    R: CallerRequirement,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let auth = EntraAuth::from_ref(state);
        let checked = match &*requirement_of::<R>() {
            Ok(requirement) => auth.check(requirement, &parts.extensions),
            Err(error) => Err(Reason::InvalidRequirement {
                type_name: type_name::<R>(),
                problems: error.to_string(),
            }),
        };
        match checked {
            Ok(caller) => Ok(Self {
                caller: super::in_format_of(caller, parts),
                requirement: PhantomData,
            }),
            Err(reason) => {
                // This `EntraAuth` cannot make a response to the caller of another `EntraAuth`.
                let caller = parts.extensions.get::<Caller>();
                let caller = caller.filter(|caller| auth.has_verified(caller));
                let context = Some(auth.context());
                Err(Refusal::of_request(context, caller, reason, parts))
            }
        }
    }
}

type Checked = Rc<Result<Requirement, InvalidRequirement>>;

thread_local! {
    /// The requirements that handlers used on this thread. No lookup takes a lock.
    static REQUIREMENTS: RefCell<HashMap<TypeId, Checked>> = RefCell::default();
}

/// Returns the requirement of the type `R`, from the cache of this thread if it is there.
fn requirement_of<R: CallerRequirement>() -> Checked {
    let of = TypeId::of::<R>();
    let kept = REQUIREMENTS.with_borrow(|kept| kept.get(&of).map(Rc::clone));
    kept.unwrap_or_else(|| {
        let checked = Rc::new(Requirement::new(R::condition()));
        REQUIREMENTS.with_borrow_mut(|kept| kept.insert(of, Rc::clone(&checked)));
        checked
    })
}
