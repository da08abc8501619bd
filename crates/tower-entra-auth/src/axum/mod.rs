//! Extractors for axum, and protected routers.
//!
//! The extractors are `Caller`, `Option<Caller>`, [a caller who meets a requirement](CallerWith)
//! and [claims](CustomClaims) as your own type. [`Protected`] is a router whose routes are all
//! behind the Layer, unless they are explicitly open.

mod caller_with;
mod protected;

use std::any::type_name;

use ::axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;
use serde::de::DeserializeOwned;

pub use self::caller_with::{CallerRequirement, CallerWith};
pub use self::protected::Protected;
use crate::caller::{Anonymous, Caller, Refusal};
use crate::respond::{Format, Reason};

/// Refuses anonymous requests with 401.
///
/// If no Layer of an `EntraAuth` ran, the response is 500, and the log says what to change.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        match optional(parts)? {
            Some(caller) => Ok(caller),
            None => Err(refused(parts, Reason::NoCredentials)),
        }
    }
}

/// Returns `None` for an anonymous request; see
/// [`EntraLayer::optional`](crate::EntraLayer::optional).
impl<S: Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Refusal> {
        optional(parts)
    }
}

/// The token's claims as your own struct, deserialized from the payload on each request.
///
/// ```
/// use serde::Deserialize;
/// use tower_entra_auth::axum::CustomClaims;
///
/// #[derive(Deserialize)]
/// struct Staff {
///     #[serde(rename = "extn.employeeId")] // a directory extension, as an optional claim
///     employee_id: Option<String>,
/// }
///
/// async fn staff(CustomClaims(staff): CustomClaims<Staff>) -> String {
///     staff.employee_id.unwrap_or_default()
/// }
/// ```
///
/// A token whose claims do not fit the type is valid, but cannot be used here: 403
/// (`other_claims`). If a request may have no caller, use `Option<Caller>` and its
/// [`claims_as`](crate::token::AccessToken::claims_as).
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "users destructure it by its pattern"
)]
pub struct CustomClaims<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for CustomClaims<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let caller = <Caller as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        // serde's error is not logged, because it may quote a claim.
        caller.claims_as().map(Self).map_err(|_| {
            let type_name = type_name::<T>();
            refused(parts, Reason::OtherClaims { type_name })
        })
    }
}

/// Returns the caller that the nearest Layer put into the request; `None` for an anonymous request.
fn optional(parts: &Parts) -> Result<Option<Caller>, Refusal> {
    match parts.extensions.get::<Caller>() {
        Some(caller) => Ok(Some(in_format_of(caller, parts))),
        None if parts.extensions.get::<Anonymous>().is_some() => Ok(None),
        None => {
            let refusal = Reason::WrongLayer { of_another: false };
            Err(refused(parts, refusal))
        }
    }
}

/// Returns the caller, with the response format that the request asks for.
fn in_format_of(caller: &Caller, parts: &Parts) -> Caller {
    let format = Format::of(&parts.method, &parts.headers);
    caller.clone().with_format(format)
}

/// Makes the refusal in the same way as the nearest Layer.
fn refused(parts: &Parts, reason: Reason) -> Refusal {
    let caller = parts.extensions.get::<Caller>();
    let anonymous = parts.extensions.get::<Anonymous>();
    let context = caller
        .map(Caller::context)
        .or(anonymous.map(|Anonymous(context)| context));
    Refusal::of_request(context, caller, reason, parts)
}
