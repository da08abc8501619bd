//! `authorization_code`: a code for tokens, once.

use std::mem;

use serde_json::Value;

use super::issue::{Issue, check_scope};
use super::sign_in::unknown_grant;
use super::store::Code;
use crate::application::Authenticated;
use crate::dev_tenant::Inner;
use crate::endpoint::Parameters;
use crate::entra_error::EntraError;
use crate::oauth::claims_request::ClaimsRequest;

/// "Authorization codes are short lived, typically they expire after about 10 minutes."
const LIFETIME_SECONDS: i64 = 600;

pub(crate) fn redeem_code(
    tenant: &Inner,
    client: &Authenticated<'_>,
    form: &Parameters,
) -> Result<Value, EntraError> {
    let text = form.required("code")?;
    let redirect_uri = form.required("redirect_uri")?;
    let code = find(tenant, client, text)?;
    if code.redirect_uri != redirect_uri {
        let message = format!(
            "The reply address '{redirect_uri}' does not match the reply address '{}' provided \
             when requesting Authorization code.",
            code.redirect_uri,
        );
        return Err(EntraError::new("invalid_client", 500_112, message));
    }
    check_verifier(&code, form.get("code_verifier"))?;

    let requested = match form.raw("scope") {
        Some(scope) => check_scope(tenant, scope)?,
        None => {
            return Err(EntraError::new(
                "invalid_request",
                28_003,
                "Provided value for the input parameter scope cannot be empty when requesting an \
                 access token using the provided authorization code. Please specify a valid scope.",
            ));
        }
    };
    requested.check_resource_parameter(tenant, form.get("resource"))?;
    let resource = requested.resource()?;
    code.sign_in.check(tenant, client, &requested, &resource)?;
    let claims = ClaimsRequest::parse(form.get("claims"))?;

    // Of two requests at once, one is the second.
    let was_redeemed = match tenant.grants.lock().codes.get_mut(text) {
        Some(code) => mem::replace(&mut code.is_redeemed, true),
        None => true,
    };
    if was_redeemed {
        return Err(redeemed());
    }
    let issue = Issue {
        tenant,
        client,
        sign_in: &code.sign_in,
        requested: &requested,
        resource: &resource,
        nonce: code.nonce.as_deref(),
        claims: &claims,
    };
    let has_refresh_token = requested.asks_for("offline_access");
    Ok(issue.answer(has_refresh_token, form.get("client_info").is_some()))
}

fn find(tenant: &Inner, client: &Authenticated<'_>, text: &str) -> Result<Code, EntraError> {
    let code = tenant.grants.lock().codes.get(text).cloned();
    let code = code
        .filter(|code| code.sign_in.client_id == client.application.id)
        .ok_or_else(unknown_grant)?;
    if code.is_redeemed {
        return Err(redeemed());
    }
    if tenant.issuer.clock.unix_seconds() - code.sign_in.at > LIFETIME_SECONDS {
        return Err(EntraError::new(
            "invalid_grant",
            70_008,
            "The provided authorization code or refresh token has expired due to inactivity. Send \
             a new interactive authorization request for this user and resource.",
        ));
    }
    Ok(code)
}

fn redeemed() -> EntraError {
    let message = "OAuth2 Authorization code was already redeemed, please retry with a new valid \
        code or use an existing refresh token.";
    EntraError::new("invalid_grant", 54_005, message)
}

/// A verifier without a challenge is as wrong as the other way round.
fn check_verifier(code: &Code, verifier: Option<&str>) -> Result<(), EntraError> {
    let is_met = match (&code.challenge, verifier) {
        (None, None) => true,
        (Some(challenge), Some(verifier)) => challenge.is_met_by(verifier),
        (Some(_), None) | (None, Some(_)) => false,
    };
    if is_met {
        return Ok(());
    }
    Err(EntraError::new(
        "invalid_grant",
        501_481,
        "The Code_Verifier does not match the code_challenge supplied in the authorization \
         request.",
    ))
}
