//! The consent page, and `POST /consent` with the user's decision.
//!
//! The server asks the user every time, because it cannot distinguish a client from another one
//! that gives the same information about itself.

mod page;

use entra_http::BoxError;
use http::header::ALLOW;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use http_body::Body;

use super::{
    AuthorizationRequest, LATER_VERSION, RequestedClaims, SIGN_IN_LIFETIME, Server, cookie_id,
    is_over, sign_in,
};
use crate::crypto::{base64url, from_base64url, hash, is_same, random_text};
use crate::http::{CookieKind, Cookies, Response, UnreadBody, set_static};
use crate::keys::{Purpose, Unreadable};
use crate::oauth::{Client, ErrorCode, OAuthError, Parameters, RedirectTarget};
use crate::pages::ErrorPage;
use crate::telemetry::{record, throttled};

/// Page for a user who agreed to something that is no longer offered.
const CHANGED: ErrorPage = ErrorPage::new(
    StatusCode::BAD_REQUEST,
    "This application can no longer connect",
    "The settings of this server have changed since you opened the page. Go back to the \
     application and connect it again. If that does not help, ask the administrator of this \
     server.",
);

/// Page for a form that another site sent.
const NOT_OWN_PAGE: ErrorPage = ErrorPage::new(
    StatusCode::FORBIDDEN,
    "Another site tried to answer for you",
    "You have not agreed to anything. If you were connecting an application, go back to it and \
     connect it again. Otherwise close this page.",
);

/// Page for a browser in which this consent page was not shown, or was shown too long ago.
const NOT_ASKED: ErrorPage = ErrorPage::new(
    StatusCode::FORBIDDEN,
    "Your answer came too late, or from another browser",
    "You have not agreed to anything. Go back to the application, connect it again, and answer in \
     the same browser within 15 minutes. If that does not help, this browser may block cookies: \
     allow them for this site.",
);

const NO_DECISION: ErrorPage = ErrorPage::new(
    StatusCode::BAD_REQUEST,
    "Your answer did not arrive",
    "Go back one page, and choose Continue or Cancel.",
);

const CANNOT_BEGIN: ErrorPage = ErrorPage::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "This sign-in cannot begin",
    "Something failed on this server, not on your side. Go back to the application in a few \
     minutes and connect it again.",
);

/// Page for a user who opens the URL that the form is sent to.
const NOTHING_TO_SEE: ErrorPage = ErrorPage::new(
    StatusCode::METHOD_NOT_ALLOWED,
    "There is nothing to see at this address",
    "A sign-in begins in the application that you want to connect. Go back to it, and connect it again.",
);

/// Maximum number of consent pages that one browser may have open.
///
/// Each page has its own cookie, so that two pages do not end each other. Browsers send all of
/// these cookies with every request.
const MAX_PAGES: usize = 8;

/// Returns the consent page for the browser that brought a client's request.
pub(super) fn show(
    server: &Server,
    client: &Client,
    target: &RedirectTarget,
    mut request: AuthorizationRequest,
    headers: &HeaderMap,
) -> Response {
    // The value begins with the time of the request, so that the oldest cookies can be deleted.
    let value = format!("{}.{}", request.at, random_text::<18>());
    request.cookie = hash(&value);
    let Some(sealed) = server.keys.seal(Purpose::Consent, b"", &request) else {
        return CANNOT_BEGIN.response();
    };
    let body = page::body(server, client, target, &request, &base64url(&sealed));
    // A browser applies `form-action` to every redirect that follows the form: to Entra, to a
    // company's identity provider that Entra redirects to, and to the client. This server does not
    // know the host of the identity provider, so it allows `https:`.
    let form_action = format!(
        "'self' https: {} {}",
        server.entra.origin(),
        target.form_source()
    );
    let title = format!("Sign in to {}", server.resource.shown_name());
    let brand = &server.brand;
    let mut response = brand.page(StatusCode::OK, &title, &body, &form_action);
    let cookies = server.cookies(headers);
    for old in superfluous(&cookies) {
        cookies.expire(&mut response, CookieKind::Consent, old);
    }
    let of = (CookieKind::Consent, cookie_id(&request.cookie));
    cookies.set(&mut response, of, &value, SIGN_IN_LIFETIME);
    response
}

/// Returns the ids of the oldest cookies to delete, so that a new one does not exceed
/// [`MAX_PAGES`].
fn superfluous(cookies: &Cookies) -> Vec<&str> {
    let age = |value: &str| {
        let at = value.split('.').next();
        at.and_then(|at| at.parse::<u64>().ok())
    };
    let all = cookies.all(CookieKind::Consent);
    let mut all: Vec<_> = all.map(|(id, value)| (age(value), id)).collect();
    all.sort_unstable();
    all.truncate(all.len().saturating_sub(MAX_PAGES - 1));
    all.into_iter().map(|(_, id)| id).collect()
}

/// Responds to the user's decision.
pub(super) async fn answer<B>(server: &Server, head: &Parts, body: UnreadBody<'_, B>) -> Response
where
    B: Body,
    B::Error: Into<BoxError>,
{
    if head.method == Method::GET {
        let mut response = NOTHING_TO_SEE.response();
        set_static(&mut response, ALLOW, "POST");
        return response;
    }
    let headers = &head.headers;
    let form = match body.form(headers).await {
        Ok(form) => form,
        Err(finding) => {
            let error = super::invalid_request(finding);
            return server.refuse("a consent form was refused", &error);
        }
    };
    let cookies = server.cookies(headers);
    if !is_own_page(server, headers) {
        return NOT_OWN_PAGE.response();
    }
    let (request, decision) = match parse(server, &cookies, &form) {
        Ok(parsed) => parsed,
        Err(page) => return page.response(),
    };
    record("client", &request.client);
    record("sign_in", &request.id);
    let target = server.target_of(&request);
    match decision.as_deref() {
        Some("approve") if server.scopes.has_required(&request.scopes.names) => {
            let Some(target) = target else {
                return CHANGED.response();
            };
            if let Err(error) = can_sign_in(server).await {
                return target.error_redirect(&error);
            }
            // The user is not known yet, so only the client's own claims are requested.
            let claims = request.claims.clone();
            let claims = claims.map_or(RequestedClaims::None, RequestedClaims::Asked);
            sign_in::begin(server, request, claims, &target, &cookies)
        }
        Some("approve") => CHANGED.response(),
        Some("deny") => {
            let Some(target) = target else {
                return NOT_ASKED.response();
            };
            let what = "a sign-in was declined on the consent page";
            throttled!(info, server.log, (what, ""), "{what}");
            let error = OAuthError::new(ErrorCode::AccessDenied, "the user did not agree");
            let mut response = target.error_redirect(&error);
            // The cookie is no longer needed.
            let id = cookie_id(&request.cookie);
            cookies.expire(&mut response, CookieKind::Consent, id);
            response
        }
        _ => NO_DECISION.response(),
    }
}

/// Reads the request that the user was asked about, and the decision.
fn parse(
    server: &Server,
    cookies: &Cookies,
    form: &str,
) -> Result<(AuthorizationRequest, Option<String>), ErrorPage> {
    let parameters = form.parse::<Parameters>().map_err(|_| NOT_ASKED)?;
    let sealed = parameters.one("consent").ok().flatten();
    let sealed = sealed.and_then(from_base64url).ok_or(NOT_ASKED)?;
    let request = server.keys.open(Purpose::Consent, b"", &sealed);
    let request: AuthorizationRequest = request.map_err(|unreadable| match unreadable {
        Unreadable::Malformed => NOT_ASKED,
        Unreadable::Later => LATER_VERSION,
    })?;
    let cookie = cookies.get(CookieKind::Consent, cookie_id(&request.cookie));
    let is_asked = cookie.is_some_and(|value| is_same(&hash(value), &request.cookie));
    if !is_asked || is_over(request.at, server.clock.now()) {
        return Err(NOT_ASKED);
    }
    let decision = parameters.one("decision").ok().flatten();
    Ok((request, decision.map(str::to_owned)))
}

/// Returns whether the form comes from this server's page, as far as the browser says so.
///
/// A browser says so in `Sec-Fetch-Site` and `Origin`. The page sends no referrer, so some browsers
/// send `null` as its origin. The cookie is always checked.
fn is_own_page(server: &Server, headers: &HeaderMap) -> bool {
    let is_ours = |name: &str, ours: &[&str]| {
        let mut values = headers.get_all(name).iter();
        values.all(|value| ours.iter().any(|ours| value == *ours))
    };
    is_ours("sec-fetch-site", &["same-origin"]) && is_ours("origin", &[&server.urls.origin, "null"])
}

/// Checks that a sign-in can be stored, as far as this is known before Entra is involved.
async fn can_sign_in(server: &Server) -> Result<(), OAuthError> {
    server.records.room()?;
    Ok(server.records.probe().await?)
}
