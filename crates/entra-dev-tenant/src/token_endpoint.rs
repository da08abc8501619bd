//! The token endpoint: `client_credentials`, and Entra's refusals.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::body::Body;
use axum::extract::{Form, FromRequest};
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use axum::{Json, http};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::documents::Authority;
use crate::entra_error::EntraError;
use crate::tenant::Inner;
use crate::text::is_guid;
use crate::token::TokenBuilder;

/// An application that is registered.
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) roles: Vec<String>,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct TokenRequest {
    grant_type: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    scope: Option<String>,
    claims: Option<String>,
}

pub(crate) async fn answer(tenant: &Inner, authority: &str, request: Request<Body>) -> Response {
    let form = match Form::<TokenRequest>::from_request(request, &()).await {
        Ok(Form(form)) => form,
        Err(rejection) => return rejection.into_response(),
    };
    match grant(tenant, authority, form) {
        Ok(token) => (
            [
                (http::header::CACHE_CONTROL, "no-store, no-cache"),
                (http::header::PRAGMA, "no-cache"),
            ],
            Json(json!({
                "token_type": "Bearer",
                "expires_in": 3_599,
                "ext_expires_in": 3_599,
                "access_token": token,
            })),
        )
            .into_response(),
        Err(error) => error.into_response(&tenant.clock),
    }
}

fn grant(tenant: &Inner, authority: &str, request: TokenRequest) -> Result<String, EntraError> {
    match tenant.authority(authority)? {
        Authority::Tenant(_) => {}
        Authority::Common | Authority::Organizations | Authority::Consumers => {
            return Err(EntraError {
                error: "invalid_request",
                code: 9_001_023,
                message: "The grant type is not supported over the /common or /consumers \
                    endpoints. Please use the /organizations or tenant-specific endpoint."
                    .to_owned(),
            });
        }
    }
    let grant_type = required(request.grant_type, "grant_type")?;
    if grant_type != "client_credentials" {
        return Err(EntraError {
            error: "unsupported_grant_type",
            code: 70_003,
            message: format!("The app requested an unsupported grant type '{grant_type}'."),
        });
    }
    let client = authenticate(
        tenant,
        &required(request.client_id, "client_id")?,
        &required(request.client_secret, "client_secret")?,
    )?;
    let scope = required(request.scope, "scope")?;
    let api = api_of(tenant, &scope)?;

    let token = TokenBuilder::app(tenant, &client.id).for_api(&api);
    let token = client
        .roles
        .iter()
        .fold(token, |token, role| token.role(role));
    Ok(asked_for(token, request.claims.as_deref())?.mint())
}

/// The token with what a claims request asks for: whatever authentication context that is, it
/// counts as satisfied.
fn asked_for<'t>(
    mut token: TokenBuilder<'t>,
    claims: Option<&str>,
) -> Result<TokenBuilder<'t>, EntraError> {
    let claims: Value = match claims {
        None => return Ok(token),
        Some(text) => serde_json::from_str(text).map_err(|_| EntraError {
            error: "invalid_request",
            code: 9_002_313,
            message: "Invalid request. Request is malformed or invalid.".to_owned(),
        })?,
    };
    let asked = &claims["access_token"];
    for capability in values(&asked["xms_cc"]) {
        token = token.capability(capability);
    }
    for context in values(&asked["acrs"]) {
        token = token.authentication_context(context);
    }
    Ok(token)
}

/// What a claim is asked to have: one `value`, or any of `values` (OpenID Connect Core §5.5.1).
fn values(claim: &Value) -> impl Iterator<Item = &str> {
    let one = claim["value"].as_str();
    let several = claim["values"].as_array().into_iter().flatten();
    one.into_iter().chain(several.filter_map(Value::as_str))
}

fn required(parameter: Option<String>, name: &str) -> Result<String, EntraError> {
    parameter
        .filter(|value| !value.is_empty())
        .ok_or_else(|| EntraError {
            error: "invalid_request",
            code: 900_144,
            message: format!("The request body must contain the following parameter: '{name}'."),
        })
}

fn authenticate<'a>(tenant: &'a Inner, id: &str, secret: &str) -> Result<&'a Client, EntraError> {
    if !is_guid(id) {
        return Err(EntraError {
            error: "unauthorized_client",
            code: 700_038,
            message: format!("{id} is not a valid application identifier."),
        });
    }
    let client = tenant
        .clients
        .iter()
        .find(|client| client.id.eq_ignore_ascii_case(id))
        .ok_or_else(|| EntraError {
            error: "unauthorized_client",
            code: 700_016,
            message: format!(
                "Application with identifier '{id}' was not found in the directory '{}'. This \
                 can happen if the application has not been installed by the administrator of \
                 the tenant or consented to by any user in the tenant. You may have sent your \
                 authentication request to the wrong tenant.",
                tenant.id,
            ),
        })?;
    verify_slices_are_equal(client.secret.as_bytes(), secret.as_bytes()).map_err(|_| EntraError {
        error: "invalid_client",
        code: 7_000_215,
        message: format!(
            "Invalid client secret provided. Ensure the secret being sent in the request is the \
             client secret value, not the client secret ID, for a secret added to app '{id}'."
        ),
    })?;
    Ok(client)
}

/// The client id of the API that a scope `{resource}/.default` names. Every application id counts
/// as an API that exists.
fn api_of(tenant: &Inner, scope: &str) -> Result<String, EntraError> {
    let resource = scope.strip_suffix("/.default").ok_or_else(|| EntraError {
        error: "invalid_scope",
        code: 1_002_012,
        message: format!(
            "The provided value for scope {scope} is not valid. Client credential flows must \
             have a scope value with /.default suffixed to the resource identifier (application \
             ID URI)."
        ),
    })?;
    let id = resource.strip_prefix("api://").unwrap_or(resource);
    if is_guid(id) {
        return Ok(id.to_ascii_lowercase());
    }
    Err(EntraError {
        error: "invalid_resource",
        code: 500_011,
        message: format!(
            "The resource principal named {resource} was not found in the tenant named {}. This \
             can happen if the application has not been installed by the administrator of the \
             tenant or consented to by any user in the tenant. You might have sent your \
             authentication request to the wrong tenant.",
            tenant.id,
        ),
    })
}
