//! Token requests of scripts in browsers (CORS). They are allowed for codes and refresh tokens of
//! single-page applications only.
//!
//! The headers are those of Entra's responses to MSAL.js (October 2024). Its response to a request
//! without `Origin` has none of them (October 2023).

use axum::http::HeaderMap;
use axum::http::header::{ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ORIGIN};
use axum::response::{IntoResponse as _, Response};

use crate::application::Platform;
use crate::endpoint::Parameters;
use crate::entra_error::EntraError;
use crate::oauth::Tenant;

/// Adds the CORS headers to the response if scripts may use the grant type: "Microsoft Entra ID and
/// B2C won't add the CORS headers for the unsupported flows"
/// (<https://learn.microsoft.com/troubleshoot/entra/entra-id/app-integration/troubleshoot-cross-origin-resource-sharing-issues>,
/// July 2025). Refusals have them, too: Swagger UI shows AADSTS9002326
/// (<https://github.com/vibber-ai/fastapi-azure-auth/issues/47>, February 2022).
pub(super) fn share(response: Response, headers: &HeaderMap, form: &Parameters) -> Response {
    let is_of_user = matches!(
        form.get("grant_type"),
        Some("authorization_code" | "refresh_token")
    );
    if !is_of_user || !headers.contains_key(ORIGIN) {
        return response;
    }
    let shared = [
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (ACCESS_CONTROL_ALLOW_METHODS, "POST, OPTIONS"),
    ];
    (shared, response).into_response()
}

/// Returns the platform of the sign-in to which the code or refresh token of the request belongs, or
/// `None` if it is unknown. Other grants are of programs.
pub(super) fn platform_of(tenant: &Tenant, form: &Parameters) -> Option<Platform> {
    let grants = tenant.grants();
    let sign_in = match form.get("grant_type")? {
        "authorization_code" => &grants.codes.get(form.get("code")?)?.sign_in,
        "refresh_token" => {
            &grants
                .refresh_tokens
                .get(form.get("refresh_token")?)?
                .sign_in
        }
        _ => return Some(Platform::Web),
    };
    Some(sign_in.platform)
}

/// Refuses an `Origin` header in the request of a program, and its absence in the request of a
/// single-page application: "the Microsoft identity platform returns an error if you attempt to use
/// a `spa` redirect URI without an `Origin` header", and "prevents the use of client credentials in
/// all flows in the presence of an `Origin` header"
/// (<https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow#redirect-uris-for-single-page-apps-spas>).
/// Any origin is accepted.
pub(super) fn check_origin(
    platform: Option<Platform>,
    headers: &HeaderMap,
) -> Result<(), EntraError> {
    let (code, message) = match (platform, headers.get(ORIGIN)) {
        (Some(Platform::Web), Some(origin)) => (
            9_002_326,
            format!(
                "Cross-origin token redemption is permitted only for the 'Single-Page Application' \
                 client-type. Request origin: '{}'.",
                String::from_utf8_lossy(origin.as_bytes()),
            ),
        ),
        (Some(Platform::SinglePage), None) => (
            9_002_327,
            "Tokens issued for the 'Single-Page Application' client-type may only be redeemed via \
             cross-origin requests."
                .to_owned(),
        ),
        (Some(Platform::Web), None) | (Some(Platform::SinglePage), Some(_)) | (None, _) => {
            return Ok(());
        }
    };
    Err(EntraError::new("invalid_request", code, message))
}
