//! `GET /callback`: handles a browser that returns from Entra.
//!
//! It redeems Entra's code and checks the tokens, before it issues a code to the client.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::request::Parts;

use super::jar::{End, Jar, Stopped};
use super::sign_in::{self, NotFound, Returned};
use super::{
    CHANGED, CodeRecord, LATER_VERSION, NOTHING_TO_SEE, NoCode, NotDone, PendingGrant,
    RequestedClaims, Server, SignIn, ended,
};
use crate::crypto::{hash, random_text};
use crate::entra::{NoTokens, unnamed_error};
use crate::http::{Cookies, Response, see_other};
use crate::oauth::{Parameters, RedirectTarget, RedirectUriKind, merge_claims};
use crate::pages::{ErrorPage, Then};
use crate::store::StoreError;
use crate::telemetry::{record, throttled};

/// A browser's return from Entra.
struct Arrival {
    returned: Returned,
    target: RedirectTarget,
    /// Query parameters of the return.
    brought: Parameters,
}

const LATE: ErrorPage = ErrorPage::new(
    StatusCode::FORBIDDEN,
    "This sign-in took too long",
    "It began more than 15 minutes ago. If the application does not say that it is connected, go \
     back to it, connect it again, and finish within 15 minutes.",
);

/// Page for a return whose sign-in did not begin in this browser.
const STRANGER: ErrorPage = ErrorPage::new(
    StatusCode::FORBIDDEN,
    "This sign-in did not begin in this browser",
    "Nothing was connected. You followed a link from another browser, or this browser deletes or \
     blocks cookies. Go back to the application, connect it again, and finish in the same browser. \
     If that does not help, allow cookies for this site. If you were not connecting anything, \
     close this page.",
);

/// Page for a return whose sign-in no key of this server opens.
const UNKNOWN: ErrorPage = ErrorPage::new(
    StatusCode::FORBIDDEN,
    "This server does not know this sign-in",
    "Nothing was connected. The server was restarted with other keys after the sign-in began, or \
     the link that you followed is not from this server. Go back to the application and connect it \
     again. If you were not connecting anything, close this page.",
);

const INCOMPLETE: ErrorPage = ErrorPage::new(
    StatusCode::BAD_REQUEST,
    "The address of this page is incomplete",
    "Nothing was connected: a part of what Microsoft sends is missing or repeated. Go back to the \
     application and connect it again.",
);

/// Page for an administrator who declined a consent that began at Entra.
const NOT_GRANTED: ErrorPage = ErrorPage::new(
    StatusCode::FORBIDDEN,
    "The permission was not granted",
    "If Microsoft has just sent you here, the permission was declined there, and nothing has \
     changed. To grant it, begin again in the admin center. Nothing is connected.",
);

/// Page for another error that began at Entra.
const UNNAMED: ErrorPage = ErrorPage::new(
    StatusCode::BAD_REQUEST,
    "Microsoft reports an error and names no sign-in",
    "Nothing was connected. If you were connecting an application, go back to it and connect it \
     again. If this happens again, tell the administrator of this server.",
);

/// Page for a return while too many returns are in progress. The cookie stays.
const BUSY: ErrorPage = ErrorPage::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "This server is busy at the moment",
    "It cannot finish your sign-in right now. Load this page again in a few seconds: your sign-in \
     then continues.",
);

/// Time after which fewer returns may be in progress.
const BUSY_FOR: Duration = Duration::from_secs(5);

const FAILED: ErrorPage = ErrorPage::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "This sign-in cannot continue",
    "Something failed on this server. Go back to the application and connect it again.",
);

pub(super) async fn answer(server: &Arc<Server>, head: &Parts) -> Response {
    let cookies = server.cookies(&head.headers);
    let arrival = match parse(server, head.uri.query().unwrap_or_default(), &cookies) {
        Ok(arrival) => arrival,
        Err(page) => return *page,
    };
    let work = {
        let server = Arc::clone(server);
        async move { finish(&server, arrival, &cookies).await }
    };
    match server.work.for_browsers(work).await {
        Ok(response) => response,
        Err(NotDone::Full) => BUSY.response_for_later(BUSY_FOR),
        Err(NotDone::Panicked) => FAILED.response(),
    }
}

fn parse(server: &Server, query: &str, cookies: &Cookies) -> Result<Arrival, Box<Response>> {
    let page = |page: ErrorPage| Box::new(page.response());
    let parameters = query.parse::<Parameters>();
    let parameters = parameters.map_err(|_| page(INCOMPLETE))?;
    let state = parameters.one("state").map_err(|_| page(INCOMPLETE))?;
    let found = state.map_or(Err(NotFound::NotOurs), |state| {
        sign_in::find(server, state, cookies)
    });
    // An administrator's return can have a `state`, which is never one of ours.
    let is_of_admin = parameters.one("admin_consent").ok().flatten().is_some();
    let found = match found {
        Err(NotFound::Unknown | NotFound::Stopped(Stopped::Stranger)) if is_of_admin => {
            Err(NotFound::NotOurs)
        }
        found => found,
    };
    let returned = found.map_err(|not_found| match not_found {
        NotFound::NotOurs => Box::new(without_sign_in(server, query, &parameters)),
        NotFound::Unknown => page(UNKNOWN),
        NotFound::Later => page(LATER_VERSION),
        NotFound::Stopped(Stopped::Ended(end)) => page(ended(end)),
        NotFound::Stopped(Stopped::Late) => page(LATE),
        NotFound::Stopped(Stopped::Stranger) => page(STRANGER),
    })?;
    let asked = &returned.sign_in.asked;
    record("scopes", &asked.scopes.names.join(" "));
    Ok(Arrival {
        target: server.target_of(asked).ok_or_else(|| page(CHANGED))?,
        brought: parameters,
        returned,
    })
}

/// Returns the page for a return that belongs to no sign-in of this server.
///
/// Entra also redirects here after an administrator consented, or declined, in the admin center
/// (<https://learn.microsoft.com/entra/identity-platform/v2-admin-consent>).
fn without_sign_in(server: &Server, query: &str, parameters: &Parameters) -> Response {
    let one = |name: &str| parameters.one(name);
    let (Ok(code), Ok(error), Ok(state)) = (one("code"), one("error"), one("state")) else {
        return INCOMPLETE.response();
    };
    let consent = one("admin_consent").ok().flatten();
    let is_consent = |said: &str| consent.is_some_and(|value| value.eq_ignore_ascii_case(said));
    match (code, error) {
        (None, Some("access_denied" | "permission_denied")) => NOT_GRANTED.response(),
        (None, Some(_)) => UNNAMED.response_about(unnamed_error(parameters), None, String::new()),
        (None, None) if is_consent("true") => granted(server),
        (None, None) if is_consent("false") => NOT_GRANTED.response(),
        (None, None) if query.is_empty() => NOTHING_TO_SEE.response(),
        (Some(_), None) if state.is_some() => UNKNOWN.response(),
        _ => INCOMPLETE.response(),
    }
}

/// Returns the page for an administrator who consented in the admin center.
fn granted(server: &Server) -> Response {
    // Any user can open this page directly. Nothing proves that the browser comes from Entra.
    let body = "<h1>Permission for the organization</h1>\n\
                <p>If Microsoft has just sent you here, the permission was granted for the \
                organization, and you can close this page. If you opened this page yourself, \
                nothing has changed.</p>\n\
                <p>Nothing is connected yet. To connect an application, go to the application, \
                and connect it there.</p>\n";
    let title = "Permission for the organization";
    server.brand.page(title, body, Then::Stay)
}

/// Redeems Entra's code, unless an earlier request did, and responds to the browser.
async fn finish(server: &Server, arrival: Arrival, cookies: &Cookies) -> Response {
    let Arrival {
        returned,
        target,
        brought,
    } = arrival;
    let sign_in = &returned.sign_in;
    // Entra revokes the tokens of a code that it receives twice, and a browser that did not get the
    // response may retry. So the result is cached. It is not in the store, because users who have
    // not signed in must not be able to fill the store.
    let nonce = hash(&sign_in.nonce);
    let outcome = server.arrivals.0.get_with(nonce, Arc::default);
    let is_first = !outcome.initialized();
    let outcome = outcome.get_or_init(|| redeem(server, sign_in, &brought));
    let outcome = outcome.await.clone();
    // A code that the application has used must not come a second time.
    let is_used = match &outcome {
        Ok(code) if !is_first => is_used(server, code).await,
        _ => Ok(false),
    };
    let now = server.clock.now();
    let mut jar = Jar::new(cookies, now);
    match is_used {
        Ok(false) => {}
        Ok(true) => {
            returned.end(&mut jar, End::Done);
            let mut response = ended(End::Done).response();
            jar.write(&mut response);
            return response;
        }
        // The store does not respond. The sign-in stays as it is.
        Err(_) => return BUSY.response_for_later(BUSY_FOR),
    }
    let answered = match outcome {
        Ok(code) => {
            // Browsers ask before they open an application, or do not open it. Then the same
            // sign-in is sent on again.
            if target.kind() != RedirectUriKind::Custom {
                returned.end(&mut jar, End::Done);
            }
            Ok(target.code_redirect(&code))
        }
        Err(NoCode::Told(error)) => {
            // The function that found the cause has already logged it for the operator.
            tracing::debug!(error = error.code().as_str(), "a sign-in failed");
            Err(error)
        }
        Err(NoCode::Demanded(claims)) => {
            let what = "Entra sent a claims challenge for a sign-in";
            throttled!(
                info,
                server.log,
                (what, ""),
                client = sign_in.asked.client,
                "{what}"
            );
            let claims = RequestedClaims::Demanded(claims);
            let asked = returned.asked_again(&mut jar, now);
            let url = sign_in::begin(server, asked, claims, cookies, &mut jar);
            url.map(|url| see_other(&url))
        }
    };
    let mut response = answered.unwrap_or_else(|error| {
        returned.end(&mut jar, End::Failed);
        target.error_redirect(&error)
    });
    jar.write(&mut response);
    response
}

/// Returns whether the code was redeemed, or has expired.
async fn is_used(server: &Server, code: &str) -> Result<bool, StoreError> {
    let key = CodeRecord::key(code);
    let (found, _) = server.records.get::<CodeRecord>(&key).await?;
    Ok(!matches!(found, Some(CodeRecord::Fresh(_))))
}

/// Redeems Entra's code, checks the tokens, and returns a code for the client.
async fn redeem(server: &Server, sign_in: &SignIn, brought: &Parameters) -> Result<String, NoCode> {
    let Server {
        entra,
        grants,
        records,
        rate_limiter,
        ..
    } = server;
    let SignIn { asked, claims, .. } = sign_in;
    let (names, client) = (&asked.scopes.names, &asked.client);
    // Demand more only once: claims that did not help the first time do not help again, and a
    // sign-in that Entra accepts after the demand is accepted here.
    let may_demand = !matches!(claims, RequestedClaims::Demanded(_));
    let no_code = |no_tokens| match no_tokens {
        NoTokens::Demanded(demanded) => NoCode::Demanded(with_own(claims, &demanded)),
        NoTokens::Denied(error) | NoTokens::Failed(error) => NoCode::Told(error),
    };
    let returned = entra.read(brought)?;
    records.room()?;
    let proof = (&*sign_in.verifier, &*sign_in.nonce);
    let redeemed = entra.redeem(returned, proof, names, &asked.id, may_demand);
    let (user, tokens) = redeemed.await.map_err(no_code)?;

    let code = random_text::<32>();
    let keep = async |signed_in, lifetime| {
        let asked = asked.clone();
        let record = CodeRecord::Fresh(Box::new(PendingGrant { asked, signed_in }));
        let key = CodeRecord::key(&code);
        records.put(&key, &record, lifetime).await.map(drop)
    };
    let sent = (claims.text(), may_demand);
    let signed_in = grants.sign_in(client, (user, tokens), sent, rate_limiter, keep);
    signed_in.await.map_err(no_code)?;
    Ok(code)
}

/// Merges Entra's demand with the client's own claims request.
fn with_own(claims: &RequestedClaims, demanded: &str) -> String {
    let own = claims.text();
    let both = own.and_then(|own| merge_claims(own, demanded));
    both.unwrap_or_else(|| demanded.to_owned())
}
