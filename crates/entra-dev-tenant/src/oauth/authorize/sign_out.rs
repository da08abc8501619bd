//! The end-session endpoint: a browser is signed out, and sent back.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::html::{page, trouble};
use crate::dev_tenant::Inner;
use crate::endpoint::Parameters;

/// A redirect to `post_logout_redirect_uri` where that is a redirect URI of any application, as no
/// parameter names one; otherwise a page
/// (<https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc#send-a-sign-out-request>).
pub(crate) fn answer(tenant: &Inner, authority: &str, parameters: &Parameters) -> Response {
    if let Err(error) = tenant.issuer.realm.authority(authority) {
        return trouble(&error.description(&tenant.issuer.clock));
    }
    tenant.directory.lock().signed_in = None;
    let back = parameters.get("post_logout_redirect_uri").filter(|uri| {
        let mut applications = tenant.applications.iter();
        applications.any(|application| application.has_redirect_uri(uri))
    });
    match back.and_then(|uri| HeaderValue::from_str(uri).ok()) {
        Some(uri) => (StatusCode::FOUND, [(header::LOCATION, uri)]).into_response(),
        None => page(
            StatusCode::OK,
            "You signed out of your account",
            "<p>It is a good idea to close all browser windows.</p>\n",
        ),
    }
}
