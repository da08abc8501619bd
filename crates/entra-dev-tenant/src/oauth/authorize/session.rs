//! The session of a browser, which a cookie names.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

use crate::oauth::Tenant;
use crate::text::{base64url, random_bytes};

/// The name of the cookie, which is Entra's for "user's session information to facilitate SSO"
/// (<https://learn.microsoft.com/entra/identity/authentication/concept-authentication-web-browser-cookies>,
/// December 2026).
const COOKIE: &str = "ESTSAUTH";

/// Returns the user who is signed in in this browser: that of the browser's own session, or else
/// that of the session for browsers without one.
pub(super) fn user(tenant: &Tenant, headers: &HeaderMap) -> Option<String> {
    let sessions = &tenant.directory().sessions;
    let own = ids(headers).find_map(|id| sessions.get(&Some(id)));
    own.or_else(|| sessions.get(&None)).cloned()
}

/// Ends the session of the browser that gets the response, and starts one of this user, if there is
/// one.
pub(super) fn replace(
    tenant: &Tenant,
    headers: &HeaderMap,
    user: Option<String>,
    response: &mut Response,
) {
    let sessions = &mut tenant.directory().sessions;
    for id in ids(headers) {
        sessions.remove(&Some(id));
    }
    let cookie = match user {
        Some(user) => {
            let id = base64url(&random_bytes::<32>());
            sessions.insert(Some(id.clone()), user);
            format!("{COOKIE}={id}; Path=/; HttpOnly; SameSite=Lax")
        }
        None => format!("{COOKIE}=; Path=/; Max-Age=0"),
    };
    let cookie = HeaderValue::from_str(&cookie).ok();
    let headers = response.headers_mut();
    headers.extend(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
}

/// Lists the values of the cookie.
fn ids(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let cookies = headers.get_all(header::COOKIE).into_iter();
    cookies
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value.to_owned())
}
