//! The grants that follow from a user's sign-in: a code, and the refresh tokens after it.

use std::mem;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

use super::response::tokens;
use super::{Client, UserGrant};
use crate::application::Platform;
use crate::clock::timestamp;
use crate::endpoint::Parameters;
use crate::entra_error::EntraError;
use crate::oauth::{
    Challenge, ClaimsRequest, Code, Permission, RefreshToken, RequestedScopes, Resource, SignIn,
    Tenant, invalid_scope,
};
use crate::text::base64url;

/// Lifetime of a code: "Authorization codes are short lived, typically they expire after about 10
/// minutes."
const CODE_LIFETIME_SECONDS: i64 = 600;

/// Lifetime of a refresh token: 90 days from its own issue.
const REFRESH_TOKEN_LIFETIME_SECONDS: i64 = 90 * 24 * 3_600;

/// Lifetime of a refresh token of a single-page application, from the sign-in: "Refresh tokens sent
/// to a redirect URI registered as `spa` expire after 24 hours. Additional refresh tokens acquired
/// using the initial refresh token carry over that expiration time"
/// (<https://learn.microsoft.com/entra/identity-platform/refresh-tokens>).
const SINGLE_PAGE_LIFETIME_SECONDS: i64 = 24 * 3_600;

/// Grants `authorization_code`: exchanges a code for tokens, once.
pub(super) fn redeem_code(
    tenant: &Tenant,
    client: &Client<'_>,
    form: &Parameters,
) -> Result<Value, EntraError> {
    let text = form.required("code")?;
    let redirect_uri = form.required("redirect_uri")?;
    let code = find_code(tenant, client, text)?;
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
        None => scopes_of(&code)?,
    };
    let mut grant = check_grant(tenant, client, &code.sign_in, &requested, form)?;
    grant.nonce = code.nonce.as_deref();

    // If two requests redeem the code at the same time, only one of them gets tokens.
    let was_redeemed = match tenant.grants().codes.get_mut(text) {
        Some(code) => mem::replace(&mut code.is_redeemed, true),
        None => true,
    };
    if was_redeemed {
        return Err(redeemed());
    }
    let has_refresh_token = requested.asks_for("offline_access");
    Ok(tokens(&grant, has_refresh_token, form))
}

fn find_code(tenant: &Tenant, client: &Client<'_>, text: &str) -> Result<Code, EntraError> {
    let code = tenant.grants().codes.get(text).cloned();
    let code = code
        .filter(|code| code.sign_in.client_id == client.application.id)
        .ok_or_else(unknown_grant)?;
    if code.is_redeemed {
        return Err(redeemed());
    }
    if tenant.issuer.clock.unix_seconds() - code.sign_in.at > CODE_LIFETIME_SECONDS {
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

/// Returns the scopes of a redemption without `scope`, such as that of Swagger UI: the scopes that were
/// authorized. A code for several APIs is refused
/// (<https://github.com/SecureAuthCorp/oauth2c/issues/130>, April 2025).
fn scopes_of(code: &Code) -> Result<RequestedScopes, EntraError> {
    if code.requested.resources().len() > 1 {
        return Err(EntraError::new(
            "invalid_request",
            28_003,
            "Provided value for the input parameter scope cannot be empty when requesting an \
             access token using the provided authorization code. Please specify a valid scope.",
        ));
    }
    Ok(code.requested.clone())
}

/// Checks the PKCE verifier. A verifier without a challenge is refused, and so is a challenge
/// without a verifier.
fn check_verifier(code: &Code, verifier: Option<&str>) -> Result<(), EntraError> {
    let is_met = match (&code.challenge, verifier) {
        (None, None) => true,
        (Some(challenge), Some(verifier)) => is_met_by(challenge, verifier),
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

fn is_met_by(challenge: &Challenge, verifier: &str) -> bool {
    match challenge {
        Challenge::Plain(text) => text == verifier,
        Challenge::S256(text) => *text == base64url(digest(&SHA256, verifier.as_bytes()).as_ref()),
    }
}

/// Grants `refresh_token`: issues new tokens without the user. The old refresh token stays valid.
pub(super) fn refresh(
    tenant: &Tenant,
    client: &Client<'_>,
    form: &Parameters,
) -> Result<Value, EntraError> {
    let text = form.required("refresh_token")?;
    let token = tenant.grants().refresh_tokens.get(text).cloned();
    let token = token
        .filter(|token| token.sign_in.client_id == client.application.id)
        .ok_or_else(unknown_grant)?;
    check_age(tenant, &token)?;

    let requested = match form.raw("scope") {
        Some(scope) => check_scope(tenant, scope)?,
        None => without_scope(client, &token)?,
    };
    let grant = check_grant(tenant, client, &token.sign_in, &requested, form)?;
    Ok(tokens(&grant, true, form))
}

fn check_age(tenant: &Tenant, token: &RefreshToken) -> Result<(), EntraError> {
    let now = tenant.issuer.clock.unix_seconds();
    let sign_in = &token.sign_in;
    if sign_in.platform == Platform::SinglePage && now - sign_in.at > SINGLE_PAGE_LIFETIME_SECONDS {
        let message = format!(
            "The refresh token was issued to a single page app (SPA), and therefore has a fixed, \
             limited lifetime of 1.00:00:00, which cannot be extended. It is now expired and a new \
             sign in request must be sent by the SPA to the sign in page. The token was issued on \
             {}.",
            timestamp(token.issued_at),
        );
        return Err(EntraError::new("invalid_grant", 700_084, message));
    }
    if now - token.issued_at <= REFRESH_TOKEN_LIFETIME_SECONDS {
        return Ok(());
    }
    let message = format!(
        "The refresh token has expired due to inactivity. The token was issued on {} and was \
         inactive for 90.00:00:00.",
        timestamp(token.issued_at),
    );
    Err(EntraError::new("invalid_grant", 700_082, message))
}

/// Returns the scopes of a refresh request without `scope`: all that the user has granted for the
/// same API. A client that is the API itself must name the scope.
fn without_scope(client: &Client<'_>, token: &RefreshToken) -> Result<RequestedScopes, EntraError> {
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

/// Checks that the sign-in is still valid, for this client and the requested scopes, and returns
/// its grant.
fn check_grant<'a>(
    tenant: &'a Tenant,
    client: &'a Client<'a>,
    sign_in: &'a Arc<SignIn>,
    requested: &'a RequestedScopes,
    form: &Parameters,
) -> Result<UserGrant<'a>, EntraError> {
    requested.check_resource_parameter(tenant, form.get("resource"))?;
    let resource = resource_of(requested)?;
    check_sign_in(tenant, client, sign_in, requested, &resource)?;
    Ok(UserGrant {
        tenant,
        client,
        sign_in,
        requested,
        resource,
        nonce: None,
        claims: ClaimsRequest::parse(form.get("claims"))?,
    })
}

fn check_sign_in(
    tenant: &Tenant,
    client: &Client<'_>,
    sign_in: &SignIn,
    requested: &RequestedScopes,
    resource: &Resource,
) -> Result<(), EntraError> {
    let directory = tenant.directory();
    directory.check_enabled(&sign_in.user)?;
    if sign_in.generation != directory.generation(&sign_in.user) {
        let message = format!(
            "The provided grant has expired due to it being revoked, a fresh auth token is \
             needed. The user might have changed or reset their password. The grant was \
             issued on '{}' and the TokensValidFrom date (before which tokens are not valid) \
             for this user is '{}'.",
            timestamp(sign_in.at),
            timestamp(tenant.issuer.clock.unix_seconds()),
        );
        let error = EntraError::new("invalid_grant", 50_173, message);
        return Err(error.with_suberror("bad_token"));
    }
    directory.check_needs_no_interaction(&sign_in.user, resource.id())?;
    directory
        .check_consent(&sign_in.user, client.application, requested)
        .map_err(|error| error.with_suberror("consent_required"))
}

/// Parses a `scope`. Refuses one that is empty or asks only for `offline_access`, because no token
/// can be for it.
fn check_scope(tenant: &Tenant, scope: &str) -> Result<RequestedScopes, EntraError> {
    let requested = RequestedScopes::parse(tenant, scope)?;
    let is_nothing = requested.permissions.is_empty()
        && requested
            .open_id
            .iter()
            .all(|scope| scope == "offline_access");
    match is_nothing {
        true => Err(invalid_scope(scope)),
        false => Ok(requested),
    }
}

/// Returns the one API that the token is for. If the scopes name none, this is Graph.
fn resource_of(requested: &RequestedScopes) -> Result<Resource, EntraError> {
    match requested.resources()[..] {
        [] => Ok(Resource::Graph),
        [one] => Ok(one.clone()),
        [..] => Err(EntraError::new(
            "invalid_request",
            28_000,
            "Provided value for the input parameter scope is not valid because it contains \
             more than one resource.",
        )),
    }
}

/// Returns the refusal of a code or refresh token that is unknown, or another client's.
fn unknown_grant() -> EntraError {
    let message = "Provided grant is invalid or malformed.";
    EntraError::new("invalid_grant", 70_000, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_met_as_in_the_example_of_rfc_7636() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        let challenge = challenge.to_owned();
        assert!(is_met_by(&Challenge::S256(challenge.clone()), verifier));
        assert!(!is_met_by(&Challenge::Plain(challenge), verifier));
    }
}
