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

use super::jar::{self, End, Jar, Stopped};
use super::{
    AuthorizationRequest, CHANGED, LATER_VERSION, NOTHING_TO_SEE, RequestedClaims, Server,
    cookie_id, ended, new_secret, sign_in,
};
use crate::crypto::{base64url, from_base64url, hash};
use crate::http::{Response, UnreadBody, set_static};
use crate::keys::{Purpose, Unreadable};
use crate::oauth::{Client, ErrorCode, OAuthError, Parameters, RedirectTarget};
use crate::pages::{ErrorPage, Then};
use crate::telemetry::{record, throttled};

/// Page for a form that another site sent.
const NOT_OWN_PAGE: ErrorPage = ErrorPage::new(
    StatusCode::FORBIDDEN,
    "Another site tried to answer for you",
    "You have not agreed to anything. If you were connecting an application, go back to it and \
     connect it again. Otherwise close this page.",
);

const LATE: ErrorPage = ErrorPage::new(
    StatusCode::FORBIDDEN,
    "Your answer came too late",
    "The page was opened more than 15 minutes ago. If the application does not say that it is \
     connected, go back to it, connect it again, and answer within 15 minutes.",
);

const STRANGER: ErrorPage = ErrorPage::new(
    StatusCode::FORBIDDEN,
    "This browser does not have the cookie of that page",
    "You have not agreed to anything. The page was opened in another browser, or this browser \
     deletes or blocks cookies. Go back to the application, connect it again, and answer in the \
     same browser. If that does not help, allow cookies for this site.",
);

/// Page for a form that no key of this server opens.
const UNKNOWN: ErrorPage = ErrorPage::new(
    StatusCode::FORBIDDEN,
    "This server does not know that page",
    "You have not agreed to anything. The server was restarted with other keys after you opened \
     the page. Go back to the application and connect it again.",
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

/// Returns the consent page for the browser that brought a client's request.
pub(super) fn show(
    server: &Server,
    client: &Client,
    target: &RedirectTarget,
    mut request: AuthorizationRequest,
    headers: &HeaderMap,
) -> Response {
    let secret = new_secret(request.at);
    request.cookie = hash(&secret);
    let Some(sealed) = server.keys.seal(Purpose::Consent, b"", &request) else {
        return CANNOT_BEGIN.response();
    };
    let body = page::body(server, client, target, &request, &base64url(&sealed));
    let title = format!("Sign in to {}", server.resource.shown_name());
    let mut response = server.brand.page(&title, &body, Then::Form);
    let cookies = server.cookies(headers);
    let mut jar = Jar::new(&cookies, request.at);
    jar.keep_open(cookie_id(&request.cookie), secret);
    jar.write(&mut response);
    response
}

/// Responds to the user's decision.
///
/// The response is a page, from which the browser goes on by itself. See [`Then`] for the reason.
pub(super) async fn answer<B>(server: &Server, head: &Parts, body: UnreadBody<'_, B>) -> Response
where
    B: Body,
    B::Error: Into<BoxError>,
{
    if head.method == Method::GET {
        let mut response = NOTHING_TO_SEE.response();
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
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
    let (request, decision) = match parse(server, &form) {
        Ok(parsed) => parsed,
        Err(page) => return page.response(),
    };
    record("client", &request.client);
    record("sign_in", &request.id);
    let now = server.clock.now();
    let secret = jar::secret_of(&cookies, &request, request.at, now);
    let secret = match (secret, decision) {
        (Ok(secret), _) => secret.to_owned(),
        // The user clicked Cancel again. The client may not have received the first response.
        (Err(Stopped::Ended(End::Declined)), Decision::Deny) => String::new(),
        (Err(Stopped::Ended(end)), _) => return ended(end).response(),
        (Err(Stopped::Late), _) => return LATE.response(),
        (Err(Stopped::Stranger), _) => return STRANGER.response(),
    };
    let Some(target) = server.target_of(&request) else {
        return CHANGED.response();
    };
    let mut jar = Jar::new(&cookies, now);
    match decision {
        Decision::Deny => {
            let what = "a sign-in was declined on the consent page";
            throttled!(info, server.log, (what, ""), "{what}");
            let error = OAuthError::new(ErrorCode::AccessDenied, "the user did not agree");
            let mut response = page::to_client(server, &target, &error, "You have not agreed");
            jar.end(cookie_id(&request.cookie), End::Declined);
            jar.write(&mut response);
            response
        }
        Decision::Approve if !server.scopes.has_required(&request.scopes.names) => {
            CHANGED.response()
        }
        Decision::Approve => {
            // The user is not known yet, so only the client's own claims are requested.
            let claims = request.claims.clone();
            let claims = claims.map_or(RequestedClaims::None, RequestedClaims::Asked);
            let can_begin = can_sign_in(server).await;
            let url = can_begin.and_then(|()| {
                sign_in::begin(server, (request, secret), claims, &cookies, &mut jar)
            });
            match url {
                Ok(url) => {
                    let mut response = page::to_entra(server, &url, target.kind());
                    jar.write(&mut response);
                    response
                }
                Err(error) => {
                    let why = format!("The sign-in cannot begin: {error}");
                    page::to_client(server, &target, &error, &why)
                }
            }
        }
    }
}

/// The user's decision.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Decision {
    Approve,
    Deny,
}

/// Reads the request that the user was asked about, and the decision.
fn parse(server: &Server, form: &str) -> Result<(AuthorizationRequest, Decision), ErrorPage> {
    let parameters = form.parse::<Parameters>().map_err(|_| NO_DECISION)?;
    let sealed = parameters.one("consent").ok().flatten();
    let sealed = from_base64url(sealed.ok_or(NO_DECISION)?).ok_or(UNKNOWN)?;
    let request = server.keys.open(Purpose::Consent, b"", &sealed);
    let request = request.map_err(|unreadable| match unreadable {
        Unreadable::Malformed => UNKNOWN,
        Unreadable::Later => LATER_VERSION,
    })?;
    let decision = match parameters.one("decision").ok().flatten() {
        Some("approve") => Decision::Approve,
        Some("deny") => Decision::Deny,
        _ => return Err(NO_DECISION),
    };
    Ok((request, decision))
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
