//! `client_credentials`: a token of an application as itself.

use serde_json::{Value, json};

use crate::application::Authenticated;
use crate::authority::Authority;
use crate::dev_tenant::Inner;
use crate::endpoint::Parameters;
use crate::entra_error::EntraError;
use crate::oauth::claims_request::ClaimsRequest;
use crate::oauth::{Permission, Requested, Resource};
use crate::token::{TokenBuilder, TokenKind};

pub(crate) fn client_credentials(
    tenant: &Inner,
    client: &Authenticated<'_>,
    form: &Parameters,
) -> Result<Value, EntraError> {
    let scope = form.required("scope")?;
    let resource = resource_of(tenant, scope, form.get("resource"))?;
    let claims = ClaimsRequest::parse(form.get("claims"))?;

    let app = client.application;
    let token = TokenBuilder::new(
        &tenant.issuer,
        TokenKind::App {
            client_id: app.id.clone(),
        },
    )
    .for_api(resource.id());
    let token = app.roles.iter().fold(token, |token, role| token.role(role));
    let api = tenant.application(resource.id());
    let (token, method) = match api.filter(|api| api.has_v1_tokens) {
        Some(api) => (token.v1().audience(&api.resource_uri()), "appidacr"),
        None => (token, "azpacr"),
    };
    let token = token.claim(method, client.method.acr());
    Ok(json!({
        "token_type": "Bearer",
        "expires_in": 3_599,
        "ext_expires_in": 3_599,
        "access_token": claims.write(token).mint(),
    }))
}

/// Only a tenant can say which applications are its own.
pub(crate) fn check_authority(authority: Authority<'_>) -> Result<(), EntraError> {
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

/// The API that a scope `{resource}/.default` names.
fn resource_of(
    tenant: &Inner,
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
    let requested = Requested {
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
