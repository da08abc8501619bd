//! `refresh_token`: new tokens without the user. The old refresh token stays good.

use serde_json::Value;

use super::issue::{Issue, check_scope};
use super::sign_in::unknown_grant;
use super::store::RefreshToken;
use crate::application::Authenticated;
use crate::clock::timestamp;
use crate::dev_tenant::Inner;
use crate::endpoint::Parameters;
use crate::entra_error::EntraError;
use crate::oauth::claims_request::ClaimsRequest;
use crate::oauth::{Permission, Requested, Resource};

/// 90 days, from each refresh token's own beginning.
const LIFETIME_SECONDS: i64 = 90 * 24 * 3_600;

pub(crate) fn refresh(
    tenant: &Inner,
    client: &Authenticated<'_>,
    form: &Parameters,
) -> Result<Value, EntraError> {
    let text = form.required("refresh_token")?;
    let token = tenant.grants.lock().refresh_tokens.get(text).cloned();
    let token = token
        .filter(|token| token.sign_in.client_id == client.application.id)
        .ok_or_else(unknown_grant)?;
    check_age(tenant, &token)?;

    let requested = match form.raw("scope") {
        Some(scope) => check_scope(tenant, scope)?,
        None => without_scope(client, &token)?,
    };
    requested.check_resource_parameter(tenant, form.get("resource"))?;
    let resource = requested.resource()?;
    token.sign_in.check(tenant, client, &requested, &resource)?;
    let claims = ClaimsRequest::parse(form.get("claims"))?;

    let issue = Issue {
        tenant,
        client,
        sign_in: &token.sign_in,
        requested: &requested,
        resource: &resource,
        nonce: None,
        claims: &claims,
    };
    Ok(issue.answer(true, form.get("client_info").is_some()))
}

fn check_age(tenant: &Inner, token: &RefreshToken) -> Result<(), EntraError> {
    if tenant.issuer.clock.unix_seconds() - token.issued_at <= LIFETIME_SECONDS {
        return Ok(());
    }
    let message = format!(
        "The refresh token has expired due to inactivity. The token was issued on {} and was \
         inactive for 90.00:00:00.",
        timestamp(token.issued_at),
    );
    Err(EntraError::new("invalid_grant", 700_082, message))
}

/// All that was granted of the same API; but an application that is the API, too, must say so.
fn without_scope(
    client: &Authenticated<'_>,
    token: &RefreshToken,
) -> Result<Requested, EntraError> {
    let app = client.application;
    if token.resource == Resource::Api(app.id.clone()) {
        let message = format!(
            "Application '{}'({}) is requesting a token for itself. This scenario is supported \
             only if resource is specified using the GUID based App Identifier.",
            app.id,
            app.display_name(),
        );
        return Err(EntraError::new("invalid_request", 90_009, message));
    }
    let mut requested = token.requested.clone();
    if !requested.permissions.is_empty() {
        requested.permissions = vec![Permission {
            resource: token.resource.clone(),
            name: ".default".to_owned(),
            prefix: requested.permissions[0].prefix.clone(),
        }];
    }
    Ok(requested)
}
