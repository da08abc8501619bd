//! The token endpoint: who asks, for which grant, and Entra's answer.

use axum::Json;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

use crate::client_authentication::authenticate;
use crate::entra_error::EntraError;
use crate::grants::{check_authority, client_credentials, redeem_code, refresh};
use crate::parameters::Parameters;
use crate::tenant::Inner;

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
        Err(error) => error.into_response(&tenant.clock),
    }
}

fn grant(
    tenant: &Inner,
    authority: &str,
    headers: &HeaderMap,
    form: &Parameters,
) -> Result<Value, EntraError> {
    let authority = tenant.authority(authority)?;
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
