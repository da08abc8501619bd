//! The token endpoint: who asks, for which grant, and Entra's answer.
//!
//! A user's [sign-in](sign_in) stands behind every code and refresh token; the [`store`] has
//! those; [`issue`] makes the answer.

mod client_credentials;
mod code;
mod issue;
mod refresh;
mod sign_in;
mod store;

use axum::Json;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

pub(crate) use self::sign_in::SignIn;
pub(crate) use self::store::{Challenge, Code, Grants};

use self::client_credentials::{check_authority, client_credentials};
use self::code::redeem_code;
use self::refresh::refresh;
use crate::application::authenticate;
use crate::dev_tenant::Inner;
use crate::endpoint::Parameters;
use crate::entra_error::EntraError;

pub(crate) fn answer(
    tenant: &Inner,
    authority: &str,
    headers: &HeaderMap,
    form: &Parameters,
) -> Response {
    match grant(tenant, authority, headers, form) {
        Ok(answer) => (
            [
                (header::CACHE_CONTROL, "no-store, no-cache"),
                (header::PRAGMA, "no-cache"),
            ],
            Json(answer),
        )
            .into_response(),
        Err(error) => error.into_response(&tenant.issuer.clock),
    }
}

fn grant(
    tenant: &Inner,
    authority: &str,
    headers: &HeaderMap,
    form: &Parameters,
) -> Result<Value, EntraError> {
    let authority = tenant.issuer.realm.authority(authority)?;
    form.check_each_is_there_once()?;
    let grant = match form.required("grant_type")? {
        "client_credentials" => {
            check_authority(authority)?;
            client_credentials
        }
        "authorization_code" => redeem_code,
        "refresh_token" => refresh,
        other => {
            let message = format!("The app requested an unsupported grant type '{other}'.");
            return Err(EntraError::new("unsupported_grant_type", 70_003, message));
        }
    };
    let client = authenticate(tenant, headers, form)?;
    grant(tenant, &client, form)
}
