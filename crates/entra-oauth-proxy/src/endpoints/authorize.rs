//! `GET /authorize`: checks a client's authorization request and shows the consent page.
//!
//! Nothing is stored.

use std::time::Duration;

use http::StatusCode;
use http::request::Parts;
use serde_json::{Map, Value, json};

use tower_entra_auth::entra_jwt_core::integration::Escaped;

use super::{AuthorizationRequest, LATER_VERSION, Server, consent, invalid_request};
use crate::crypto::{from_base64url, random};
use crate::http::Response;
use crate::keys::Unreadable;
use crate::oauth::{Client, ErrorCode, OAuthError, Parameters, RedirectTarget};
use crate::pages::{ErrorPage, escaped};
use crate::telemetry::{Finding, record};

/// Maximum length of a client's `state` in bytes. It travels to Entra and back.
const MAX_STATE: usize = 1_024;

/// Maximum length of a client's `claims` in bytes. They travel to Entra and back.
const MAX_CLAIMS: usize = 512;

/// Claims of Entra's access token that a client may request: an authentication context (`acrs`),
/// and a sign-in after a given time (`nbf`).
///
/// An API's claims challenges are about these two. Other claims would change the content of Entra's
/// tokens, which this server alone decides.
const PASSED_CLAIMS: [&str; 2] = ["acrs", "nbf"];

/// Members of a request for one claim (OpenID Connect Core §5.5.1).
const CLAIM_MEMBERS: [&str; 3] = ["essential", "value", "values"];

/// A refusal of an invalid authorization request.
enum Refused {
    /// The client or its redirect URI cannot be trusted, so only the user sees the error, on a
    /// page. The text is the HTML below the page's instructions.
    Page(Box<(ErrorPage, Finding, String)>),
    /// The client receives the error at its redirect URI, by a redirect or by a button that the
    /// user clicks.
    Told(Box<(Client, RedirectTarget, OAuthError)>),
}

const UNREADABLE: ErrorPage = ErrorPage::new(
    StatusCode::BAD_REQUEST,
    "The application's request cannot be read",
    "Nothing was sent. Go back to the application and connect it again. If this happens again, the \
     application has an error: report it to its maker.",
);

/// Page for a client id that no key of this server opens.
///
/// The SDK for Python waits for the browser, so its user must end that first.
const UNKNOWN_CLIENT: ErrorPage = ErrorPage::new(
    StatusCode::BAD_REQUEST,
    "This application is not known here",
    "This server does not know the application any more: it was restarted with other keys, or the \
     application was connected to another server. If the application is still waiting, cancel \
     there. Then remove this server from the application, add it again, and connect again.",
);

/// Page for an unknown client id while clients cannot register.
const NOT_REGISTERED: ErrorPage = ErrorPage::new(
    StatusCode::BAD_REQUEST,
    "This application is not registered here",
    "Only applications that the administrator of this server has registered can connect. Ask the \
     administrator for the client id, and enter it in the application.",
);

/// Page for a client id that is the URL of a client id metadata document.
const DOCUMENT: ErrorPage = ErrorPage::new(
    StatusCode::BAD_REQUEST,
    "The application must register with this server",
    "It sent the address of a document about itself (a client id metadata document), and this \
     server does not read such documents. Remove this server from the application, add it again \
     without a client id, and connect again. If this happens again, report it to the application's \
     maker: the metadata of this server has a registration_endpoint.",
);

const NO_CLIENT: ErrorPage = ErrorPage::new(
    StatusCode::BAD_REQUEST,
    "The application's request does not name the application",
    "Nothing was sent: the request has no client_id. Go back to the application and connect it \
     again. If this happens again, the application has an error: report it to its maker.",
);

/// Page for a redirect URI that the client registered, and that the operator no longer permits.
const FORBIDDEN_ADDRESS: ErrorPage = ErrorPage::new(
    StatusCode::BAD_REQUEST,
    "The return address is no longer allowed here",
    "For your safety, nothing was sent. The settings of this server have changed since the \
     application registered. If you were connecting it, ask the administrator of this server. \
     Otherwise close this page.",
);

/// Page for a redirect URI that the client did not register.
const UNKNOWN_ADDRESS: ErrorPage = ErrorPage::new(
    StatusCode::BAD_REQUEST,
    "The return address is not allowed for this application",
    "For your safety, nothing was sent. If you followed a link to this page, close the page. If \
     you were connecting an application, remove this server from the application, add it again, \
     and connect again.",
);

const NO_ADDRESS: ErrorPage = ErrorPage::new(
    StatusCode::BAD_REQUEST,
    "The application's request has no return address",
    "Nothing was sent: the request has no redirect_uri. Go back to the application and connect it \
     again. If this happens again, the application has an error: report it to its maker.",
);

const REFUSED: ErrorPage = ErrorPage::new(
    StatusCode::BAD_REQUEST,
    "The application's request was refused",
    "You were not signed in, and the application received nothing. If you were just connecting the \
     application, use the button to go back: the application then learns what is wrong. If you \
     followed a link to this page, close the page.",
);

/// Page for a user who arrives while the store has no room for another sign-in.
const FULL: ErrorPage = ErrorPage::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "No new connections at the moment",
    "This server has reached its limit of sign-ins. Connected applications stay connected, and \
     nothing was sent. Go back to the application in 5 minutes and connect it again. If that does \
     not help, tell the administrator of this server.",
);

/// Time after which another user's sign-in may have ended. Errors for clients use the same time.
const FULL_FOR: Duration = Duration::from_secs(5 * 60);

pub(super) fn answer(server: &Server, head: &Parts) -> Response {
    // Check first, so that no user reads the page, agrees and signs in at Entra for nothing.
    if server.records.room().is_err() {
        return FULL.response_for_later(FULL_FOR);
    }
    match parse(server, head.uri.query().unwrap_or_default()) {
        Ok((client, target, request)) => {
            record("sign_in", &request.id);
            consent::show(server, &client, &target, request, &head.headers)
        }
        Err(Refused::Page(page)) => {
            let (page, finding, more) = *page;
            page.response_about(finding, None, more)
        }
        Err(Refused::Told(told)) => {
            let (client, target, error) = *told;
            match server.clients.vouches_for(&client, &target) {
                true => {
                    error.log(&server.log, "an authorization request was refused");
                    target.error_redirect(&error)
                }
                false => told_by_hand(&target, &error),
            }
        }
    }
}

fn parse(
    server: &Server,
    query: &str,
) -> Result<(Client, RedirectTarget, AuthorizationRequest), Refused> {
    let page = |page, finding: Finding| Refused::Page(Box::new((page, finding, String::new())));
    let unreadable = |error: OAuthError| page(UNREADABLE, error.finding().clone());
    let parameters = query.parse::<Parameters>().map_err(unreadable)?;
    let id = parameters.one("client_id").map_err(unreadable)?;
    let id = id.ok_or_else(|| page(NO_CLIENT, "client_id is missing".into()))?;
    let unknown = "client_id is unknown: another server issued it, it was made under other keys, \
                   or it is not pre-registered";
    let client = server
        .clients
        .find(id)
        .map_err(|unreadable| match unreadable {
            Unreadable::Malformed if !server.clients.can_register() => {
                page(NOT_REGISTERED, "client_id is not pre-registered".into())
            }
            Unreadable::Malformed if id.starts_with("https://") => {
                page(DOCUMENT, "client_id is the URL of a document".into())
            }
            Unreadable::Malformed => page(UNKNOWN_CLIENT, unknown.into()),
            Unreadable::Later => page(LATER_VERSION, "a later version made client_id".into()),
        })?;
    record("client", &client.hash);
    let uri = parameters.one("redirect_uri").map_err(unreadable)?;
    let uri = uri.ok_or_else(|| page(NO_ADDRESS, "redirect_uri is missing".into()))?;
    let state = parameters.one("state");
    let known = state.as_ref().ok().copied().flatten();
    let target = server.clients.target(&client, uri, known);
    let target = target.map_err(|(is_registered, finding)| {
        let page = match is_registered {
            true => FORBIDDEN_ADDRESS,
            false => UNKNOWN_ADDRESS,
        };
        let more = addresses(uri, &finding, &client);
        Refused::Page(Box::new((page, finding, more)))
    })?;
    // From here on, the client receives the errors.
    let request = state.and_then(|state| request(server, &client, &target, state, &parameters));
    match request {
        Ok(request) => Ok((client, target, request)),
        Err(error) => Err(Refused::Told(Box::new((client, target, error)))),
    }
}

fn request(
    server: &Server,
    client: &Client,
    target: &RedirectTarget,
    state: Option<&str>,
    parameters: &Parameters,
) -> Result<AuthorizationRequest, OAuthError> {
    if let Some(state) = state.filter(|state| state.len() > MAX_STATE) {
        let finding = Finding::from("state is longer than 1024 bytes");
        let bytes = format!("{} bytes", state.len());
        return Err(invalid_request(finding.found(bytes)));
    }
    if parameters.one("request")?.is_some() {
        return Err(OAuthError::new(
            ErrorCode::RequestNotSupported,
            "request objects are not supported",
        ));
    }
    if parameters.one("request_uri")?.is_some() {
        return Err(OAuthError::new(
            ErrorCode::RequestUriNotSupported,
            "request_uri is not supported",
        ));
    }
    let kind = parameters.required("response_type")?;
    if kind != "code" {
        let finding = another("response_type must be code", kind, "code");
        return Err(OAuthError::new(ErrorCode::UnsupportedResponseType, finding));
    }
    if let Some(mode) = parameters
        .one("response_mode")?
        .filter(|mode| *mode != "query")
    {
        let finding = another("response_mode must be query", mode, "query");
        return Err(invalid_request(finding));
    }
    let challenge = parameters.required("code_challenge")?;
    // Without this parameter, the method is `plain` (RFC 7636 §4.3).
    let method = parameters.one("code_challenge_method")?;
    if method != Some("S256") {
        let method = method.unwrap_or("none, which means plain");
        let finding = another("code_challenge_method must be S256", method, "S256");
        return Err(invalid_request(finding));
    }
    if !is_code_challenge(challenge) {
        let finding = Finding::from("code_challenge is not a SHA-256 hash in base64url");
        let found = format!("{} bytes", challenge.len());
        let expected = "43 bytes, without padding";
        return Err(invalid_request(finding.found(found).expected(expected)));
    }
    server.resource.check(parameters)?;
    let granted = server.scopes.grant(parameters.one("scope")?)?;
    let claims = parameters.one("claims")?;
    Ok(AuthorizationRequest {
        client: client.hash.clone(),
        may_refresh: client.may_refresh,
        redirect_uri: target.to_string(),
        state: state.map(str::to_owned),
        challenge: challenge.to_owned(),
        scopes: granted,
        claims: claims.map(passed_claims).transpose()?.flatten(),
        id: random_id(),
        at: server.clock.now(),
        cookie: String::new(),
    })
}

/// Builds the finding for a parameter that is no secret and does not have the required value.
fn another(reason: &'static str, found: &str, expected: &str) -> Finding {
    let found = Escaped(found).to_string();
    Finding::from(reason).found(found).expected(expected)
}

/// Returns the id of a new sign-in: a random GUID, like the ids in Entra's log.
fn random_id() -> String {
    uuid::Builder::from_random_bytes(random())
        .into_uuid()
        .to_string()
}

/// Returns whether the text is a PKCE challenge (RFC 7636) by SHA-256: 32 bytes in base64url.
fn is_code_challenge(text: &str) -> bool {
    from_base64url(text).is_some_and(|bytes| bytes.len() == 32)
}

/// Returns the part of a claims request (OpenID Connect Core §5.5) that goes to Entra, if there is
/// any.
///
/// The client gets the claims request from a claims challenge.
fn passed_claims(request: &str) -> Result<Option<String>, OAuthError> {
    let length = request.len();
    let short = Some(request).filter(|request| request.len() <= MAX_CLAIMS);
    let request =
        short.and_then(|request| serde_json::from_str::<Map<String, Value>>(request).ok());
    let request = request.ok_or_else(|| {
        let finding = Finding::from("claims is not a JSON object of at most 512 bytes");
        invalid_request(finding.found(format!("{length} bytes")))
    })?;
    let Some(Value::Object(claims)) = request.get("access_token") else {
        return Ok(None);
    };
    let mut passed = Map::new();
    for name in PASSED_CLAIMS {
        match claims.get(name) {
            Some(Value::Null) => {
                passed.insert(name.to_owned(), Value::Null);
            }
            Some(Value::Object(members)) => {
                let mut members = members.clone();
                members.retain(|name, _| CLAIM_MEMBERS.contains(&&**name));
                passed.insert(name.to_owned(), Value::Object(members));
            }
            _ => {}
        }
    }
    Ok((!passed.is_empty()).then(|| json!({ "access_token": passed }).to_string()))
}

/// Maximum number of registered redirect URIs that a page shows. The client's author wrote them.
const MOST_SHOWN: usize = 3;

/// Returns HTML with the redirect URI that was sent, its fault, and the registered URIs.
///
/// The URIs are text, not links, so that no user opens one by mistake.
fn addresses(sent: &str, finding: &Finding, client: &Client) -> String {
    let row = |name: &str, shown: String| format!("<div>\n<dt>{name}</dt>\n{shown}</div>\n");
    let code = |uri: &str| format!("<dd><code>{}</code></dd>\n", escaped(uri));
    let fault = escaped(&finding.to_string());
    let mut rows = row("The return address in the request", code(&for_people(sent)));
    rows.push_str(&row("What is wrong", format!("<dd>{fault}</dd>\n")));
    // A client that registered itself wrote these URIs. The URIs of pre-registered clients are for
    // the operator only.
    if !client.is_preregistered {
        let nearest = client.nearest_redirect_uris(sent);
        let shown = nearest.iter().take(MOST_SHOWN);
        let mut registered: String = shown.map(|uri| code(&for_people(uri))).collect();
        let more = nearest.len().saturating_sub(MOST_SHOWN);
        if more > 0 {
            registered.push_str(&format!("<dd>and {more} more</dd>\n"));
        }
        rows.push_str(&row("Return addresses of the application", registered));
    }
    format!("<dl>\n{rows}</dl>\n")
}

/// Returns a URI in a form that users cannot mistake for a text of this server.
///
/// It is cut to 200 bytes, and every byte that is not visible ASCII is percent-encoded.
fn for_people(uri: &str) -> String {
    const MOST: usize = 200;

    let mut shown = String::new();
    for byte in uri.bytes().take(MOST) {
        match byte {
            b'!'..=b'~' => shown.push(byte.into()),
            _ => shown.push_str(&format!("%{byte:02X}")),
        }
    }
    if uri.len() > MOST {
        shown.push('…');
    }
    shown
}

/// Returns a page with the error and a button that takes the user, with the error, to the client.
///
/// So the error is not lost, and no browser is redirected without the user's consent.
fn told_by_hand(target: &RedirectTarget, error: &OAuthError) -> Response {
    let fault = match error.code() {
        ErrorCode::InvalidTarget => "The application asks for access to a different service.",
        ErrorCode::InvalidScope => {
            "The application asks for a permission that this service does not offer."
        }
        _ => "The application sent its request in a form that this server does not accept.",
    };
    let code = error.code().as_str();
    let more = format!(
        "<dl>\n<div>\n<dt>What is wrong</dt>\n<dd>{fault}</dd>\n\
         <dd class=\"note\">Technical details: <code>{code}</code>, {description}</dd>\n</div>\n\
         <div>\n<dt>The application is at</dt>\n<dd class=\"host\">{host}</dd>\n\
         <dd class=\"note\">Anyone can send you here in the name of an application. This server \
         has not checked who owns this address.</dd>\n</div>\n</dl>\n\
         <p class=\"actions\"><a class=\"button\" rel=\"noreferrer\" href=\"{href}\">Go back to \
         <bdi>{host}</bdi></a></p>\n",
        description = escaped(&error.to_string()),
        host = escaped(target.shown_host()),
        href = escaped(&target.error_url(error)),
    );
    REFUSED.response_about(error.finding().clone(), Some(code), more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_for_people_is_short_and_no_sentence() {
        assert_eq!(
            for_people("Call 0800\u{202e}"),
            "Call%200800%E2%80%AE".to_owned()
        );
        assert_eq!(for_people(&"x".repeat(200)), "x".repeat(200));
        let cut = for_people(&"é".repeat(5_000));
        assert_eq!(cut, format!("{}…", "%C3%A9".repeat(100)));
    }

    #[test]
    fn no_two_sign_ins_have_one_id() {
        assert_ne!(random_id(), random_id());
        assert_eq!(random_id().len(), 36);
    }

    #[test]
    fn clients_request_authentication_contexts_and_a_moment_and_nothing_else() {
        let passed = |request: &Value| passed_claims(&request.to_string()).unwrap();
        let challenge = json!({ "access_token": {
            "acrs": { "essential": true, "value": "c1" }, "nbf": { "essential": true, "value": "1" },
        } });
        assert_eq!(passed(&challenge), Some(challenge.to_string()));
        let mut more = challenge.clone();
        more["id_token"] = json!({ "acrs": null, "auth_time": null });
        more["userinfo"] = json!({});
        more["access_token"]["xms_cc"] = json!({ "values": ["cp1"] });
        more["access_token"]["groups"] = Value::Null;
        more["access_token"]["acrs"]["more"] = json!(1);
        assert_eq!(passed(&more), Some(challenge.to_string()));
        let null = json!({ "access_token": { "acrs": null } });
        assert_eq!(passed(&null), Some(null.to_string()));
        for nothing in [
            json!({}),
            json!({ "access_token": {} }),
            json!({ "access_token": null }),
            json!({ "access_token": { "acrs": "c1", "nbf": [1], "ACRS": null } }),
            json!({ "acrs": { "value": "c1" } }),
        ] {
            assert_eq!(passed(&nothing), None, "{nothing}");
        }
        for no_object in ["", "1", "[]", "\"{}\"", "{"] {
            assert!(passed_claims(no_object).is_err(), "{no_object}");
        }
    }
}
