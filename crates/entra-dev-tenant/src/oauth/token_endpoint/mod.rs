//! The token endpoint: client authentication, grants, and Entra's responses.
//!
//! This module grants tokens to an application as itself. [`user_grants`] grants tokens that follow
//! from a user's [`SignIn`], and [`response`] makes them. [`cross_origin`] checks
//! where scripts in browsers may request tokens.

mod cross_origin;
mod response;
mod user_grants;

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use self::cross_origin::{check_origin, platform_of, share};
use self::user_grants::{redeem_code, refresh};
use super::{ClaimsRequest, Permission, RequestedScopes, Resource, SignIn, Tenant};
use crate::application::{AppRegistration, authenticate};
use crate::authority::Authority;
use crate::endpoint::Parameters;
use crate::entra_error::EntraError;
use crate::token::{Issuer, TokenBuilder, TokenKind};

/// The client of a token request, authenticated unless it is a public client.
struct Client<'t> {
    application: &'t AppRegistration,
    /// The `azpacr` or `appidacr` of the client's tokens.
    acr: &'static str,
}

/// A grant of a user to a client, for one API.
struct UserGrant<'a> {
    tenant: &'a Tenant,
    client: &'a Client<'a>,
    sign_in: &'a Arc<SignIn>,
    requested: &'a RequestedScopes,
    resource: Resource,
    nonce: Option<&'a str>,
    /// Claims that the token request asks for. The sign-in has its own.
    claims: ClaimsRequest,
}

pub(crate) fn respond_to_token_request(
    tenant: &Tenant,
    authority: &str,
    headers: &HeaderMap,
    form: &Parameters,
) -> Response {
    let response = match grant(tenant, authority, headers, form) {
        Ok(tokens) => (
            [
                (header::CACHE_CONTROL, "no-store, no-cache"),
                (header::PRAGMA, "no-cache"),
            ],
            Json(tokens),
        )
            .into_response(),
        Err(error) => error.into_response(&tenant.issuer.clock),
    };
    share(response, headers, form)
}

fn grant(
    tenant: &Tenant,
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
    let find = |id: &str| tenant.client(id);
    let Issuer { realm, clock, .. } = &tenant.issuer;
    let platform = platform_of(tenant, form);
    let (application, acr) = authenticate(realm, clock, find, headers, form, platform)?;
    check_origin(platform, headers)?;
    grant(tenant, &Client { application, acr }, form)
}

/// Grants `client_credentials`: a token of an application as itself.
fn client_credentials(
    tenant: &Tenant,
    client: &Client<'_>,
    form: &Parameters,
) -> Result<Value, EntraError> {
    let scope = form.required("scope")?;
    let resource = default_resource(tenant, scope, form.get("resource"))?;
    let claims = ClaimsRequest::parse(form.get("claims"))?;

    let app = client.application;
    let client_id = app.id.clone();
    let token = TokenBuilder::new(&tenant.issuer, TokenKind::App { client_id });
    let token = app.roles.iter().fold(token, |token, role| token.role(role));
    let token = for_api(tenant, token, resource.id(), client);
    Ok(json!({
        "token_type": "Bearer",
        "expires_in": 3_599,
        "ext_expires_in": 3_599,
        "access_token": claims.write(token).mint(),
    }))
}

/// Refuses the shared authorities, because only a tenant knows which applications are its own.
fn check_authority(authority: Authority<'_>) -> Result<(), EntraError> {
    match authority {
        Authority::Tenant(_) => Ok(()),
        Authority::Common | Authority::Organizations | Authority::Consumers => {
            Err(EntraError::new(
                "invalid_request",
                9_001_023,
                "The grant type is not supported over the /common or /consumers endpoints. Please \
                 use the /organizations or tenant-specific endpoint.",
            ))
        }
    }
}

/// Returns the API that a scope `{resource}/.default` names.
fn default_resource(
    tenant: &Tenant,
    scope: &str,
    parameter: Option<&str>,
) -> Result<Resource, EntraError> {
    let resource = scope.strip_suffix("/.default").ok_or_else(|| {
        let message = format!(
            "The provided value for scope {scope} is not valid. Client credential flows must have \
             a scope value with /.default suffixed to the resource identifier (application ID \
             URI)."
        );
        EntraError::new("invalid_scope", 1_002_012, message)
    })?;
    let resource = Resource::named(tenant, resource)?;
    let requested = RequestedScopes {
        open_id: Vec::new(),
        permissions: vec![Permission {
            resource: resource.clone(),
            name: ".default".to_owned(),
            prefix: None,
        }],
    };
    requested.check_resource_parameter(tenant, parameter)?;
    Ok(resource)
}

/// Sets the API that the token is for, and gives the token the API's version.
fn for_api<'t>(
    tenant: &Tenant,
    token: TokenBuilder<'t>,
    id: &str,
    client: &Client<'_>,
) -> TokenBuilder<'t> {
    let token = token.for_api(id);
    match tenant.application(id).filter(|api| api.has_v1_tokens) {
        Some(api) => token
            .v1()
            .audience(&api.resource_uri())
            .claim("appidacr", client.acr),
        None => token.claim("azpacr", client.acr),
    }
}
