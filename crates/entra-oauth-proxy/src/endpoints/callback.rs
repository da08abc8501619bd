//! `GET /callback`: handles a browser that returns from Entra.
//!
//! It redeems Entra's code and checks the tokens, before it issues a code to the client.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::request::Parts;

use super::{
    AuthorizationRequest, CodeRecord, LATER_VERSION, NoCode, NotDone, PendingGrant,
    RequestedClaims, Server, SignIn, cookie_id, is_over, sign_in,
};
use crate::crypto::{hash, is_same, random_text};
use crate::entra::NoTokens;
use crate::http::{CookieKind, Cookies, Response};
use crate::keys::Unreadable;
use crate::oauth::{Parameters, RedirectTarget, merge_claims};
use crate::pages::ErrorPage;
use crate::telemetry::{record, throttled};

/// A browser's return from Entra.
struct Arrival {
    sign_in: SignIn,
    target: RedirectTarget,
    /// Query parameters of the return.
    brought: Parameters,
    /// Id of the sign-in cookie, which is no longer needed.
    cookie: String,
}

/// Page for a return whose sign-in did not begin in this browser, or took too long.
const STRANGER: ErrorPage = ErrorPage::new(
    StatusCode::FORBIDDEN,
    "This sign-in took too long, or began in another browser",
    "Nothing was connected. Go back to the application, connect it again, and finish in the same browser \
     within 15 minutes. If you were not connecting anything, close this page.",
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
        Err(page) => return page.response(),
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

fn parse(server: &Server, query: &str, cookies: &Cookies) -> Result<Arrival, ErrorPage> {
    let parameters = query.parse::<Parameters>().map_err(|_| STRANGER)?;
    let state = parameters.one("state").ok().flatten().ok_or(STRANGER)?;
    let cookie = cookie_id(&hash(state)).to_owned();
    let sealed = cookies.get(CookieKind::SignIn, &cookie).ok_or(STRANGER)?;
    let sign_in = sign_in::open(server, sealed).map_err(|unreadable| match unreadable {
        Unreadable::Malformed => STRANGER,
        Unreadable::Later => LATER_VERSION,
    })?;
    if !is_same(&sign_in.state, state) || is_over(sign_in.at, server.clock.now()) {
        return Err(STRANGER);
    }
    record("client", &sign_in.asked.client);
    record("sign_in", &sign_in.asked.id);
    record("scopes", &sign_in.asked.scopes.names.join(" "));
    Ok(Arrival {
        target: server.target_of(&sign_in.asked).ok_or(STRANGER)?,
        brought: parameters,
        cookie,
        sign_in,
    })
}

/// Redeems Entra's code, unless an earlier request did, and responds to the browser.
async fn finish(server: &Server, arrival: Arrival, cookies: &Cookies) -> Response {
    let Arrival {
        sign_in,
        target,
        brought,
        cookie,
    } = arrival;
    // Entra revokes the tokens of a code that it receives twice, and a browser that did not get the
    // response may retry. So the result is cached. It is not in the store, because users who have
    // not signed in must not be able to fill the store.
    let nonce = hash(&sign_in.nonce);
    let outcome = server.arrivals.0.get_with(nonce, Arc::default);
    let outcome = outcome.get_or_init(|| redeem(server, &sign_in, &brought));
    let asked = &sign_in.asked;
    let mut response = match outcome.await.clone() {
        Ok(code) => target.code_redirect(&code),
        Err(NoCode::Told(error)) => {
            // The function that found the cause has already logged it for the operator.
            tracing::debug!(error = error.code().as_str(), "a sign-in failed");
            target.error_redirect(&error)
        }
        Err(NoCode::Demanded(claims)) => {
            let what = "Entra sent a claims challenge for a sign-in";
            throttled!(
                info,
                server.log,
                (what, ""),
                client = asked.client,
                "{what}"
            );
            // The demanded claims include the client's own request.
            let asked = AuthorizationRequest {
                claims: None,
                ..asked.clone()
            };
            let claims = RequestedClaims::Demanded(claims);
            sign_in::begin(server, asked, claims, &target, cookies)
        }
    };
    cookies.expire(&mut response, CookieKind::SignIn, &cookie);
    response
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
