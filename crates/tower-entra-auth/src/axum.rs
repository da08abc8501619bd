//! Extractors of axum: the caller, perhaps no caller, and claims as a type of one's own.

use std::any::type_name;
use std::sync::LazyLock;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http_body_util::Full;
use serde::de::DeserializeOwned;

use crate::caller::{Anonymous, Caller};
use crate::respond::{Format, Refusal, Responder};

/// The answer of an extractor that did not find what the handler wants: the same that the Layer
/// would give.
#[derive(Debug)]
pub struct ExtractorRefusal(Box<http::Response<Full<Bytes>>>);

/// Refuses anonymous requests by 401. Where no Layer of an `EntraAuth` ran, the answer is 500, and
/// the log says what to do.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ExtractorRefusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ExtractorRefusal> {
        match optional(parts)? {
            Some(caller) => Ok(caller),
            None => Err(refused(parts, &Refusal::NoCredentials)),
        }
    }
}

/// `None` for an anonymous request; see [`EntraLayer::optional`](crate::EntraLayer::optional).
impl<S: Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = ExtractorRefusal;

    async fn from_request_parts(
        parts: &mut Parts,
        _: &S,
    ) -> Result<Option<Self>, ExtractorRefusal> {
        optional(parts)
    }
}

/// The token's claims as a struct of your own, read from the payload with each request.
///
/// ```
/// use serde::Deserialize;
/// use tower_entra_auth::CustomClaims;
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
/// A token whose claims do not fit the type is valid, but of no use here: 403 (`other_claims`). Where
/// there may be no caller, take `Option<Caller>` and its
/// [`claims_as`](crate::AccessToken::claims_as).
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "taken apart by its pattern")]
pub struct CustomClaims<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for CustomClaims<T> {
    type Rejection = ExtractorRefusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ExtractorRefusal> {
        let caller = <Caller as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        // What serde says may quote a claim.
        caller.claims_as().map(Self).map_err(|_| {
            let type_name = type_name::<T>();
            refused(parts, &Refusal::OtherClaims { type_name })
        })
    }
}

/// Returns the caller, or nobody: by what the nearest Layer put into the request.
fn optional(parts: &Parts) -> Result<Option<Caller>, ExtractorRefusal> {
    match parts.extensions.get::<Caller>() {
        Some(caller) => Ok(Some(
            caller
                .clone()
                .with_format(Format::of(&parts.method, &parts.headers)),
        )),
        None if parts.extensions.get::<Anonymous>().is_some() => Ok(None),
        None => {
            let refusal = Refusal::WrongLayer { of_another: false };
            Err(refused(parts, &refusal))
        }
    }
}

/// Answers as the nearest Layer answers.
fn refused(parts: &Parts, refusal: &Refusal) -> ExtractorRefusal {
    let caller = parts.extensions.get::<Caller>();
    let anonymous = parts.extensions.get::<Anonymous>();
    let context = caller
        .map(Caller::context)
        .or(anonymous.map(|Anonymous(context)| context));
    let response = match context {
        Some(context) => context.refuse(refusal, caller, &parts.method, &parts.headers),
        None => without_layer(parts, refusal),
    };
    ExtractorRefusal(Box::new(response))
}

/// Answers where no Layer of ours ran, which is a fault of the program, not of a request.
fn without_layer(parts: &Parts, refusal: &Refusal) -> http::Response<Full<Bytes>> {
    /// Serves the whole process, as there is no `EntraAuth` that it could belong to.
    static RESPONDER: LazyLock<Responder> = LazyLock::new(Responder::default);

    RESPONDER.log(refusal);
    let format = Format::of(&parts.method, &parts.headers);
    let mut response = RESPONDER.response(refusal, format);
    refusal.decided().count_and_mark(&mut response);
    response
}

impl IntoResponse for ExtractorRefusal {
    fn into_response(self) -> Response {
        (*self.0).into_response()
    }
}
