//! A sign-in in progress at Entra, whose state is in a cookie of the browser.

use super::{
    AuthorizationRequest, RequestedClaims, SIGN_IN_LIFETIME, Server, SignIn, cookie_id,
    invalid_request, is_over,
};
use crate::crypto::{base64url, from_base64url, hash, random_text};
use crate::http::{CookieKind, Cookies, Response, see_other};
use crate::keys::{Purpose, Unreadable};
use crate::oauth::RedirectTarget;

/// Maximum number of sign-ins in progress per browser. Each has its own cookie.
const MAX_SIGN_INS: usize = 3;

/// Maximum total length of the sign-in cookies in bytes: servers in between accept headers of 8
/// KiB.
const MAX_COOKIES: usize = 6_000;

/// Maximum length of a cookie's value: browsers keep 4096 bytes, including name and attributes.
const MAX_COOKIE: usize = 3_800;

/// Redirects the user's browser to Entra, and sets the sign-in cookie.
pub(super) fn begin(
    server: &Server,
    asked: AuthorizationRequest,
    claims: RequestedClaims,
    target: &RedirectTarget,
    cookies: &Cookies,
) -> Response {
    let now = server.clock.now();
    let sign_in = SignIn {
        asked,
        state: random_text::<24>(),
        verifier: random_text::<48>(),
        nonce: random_text::<24>(),
        claims,
        at: now,
    };
    let sealed = server.keys.seal(Purpose::SignIn, b"", &sign_in);
    let sealed = sealed.map(|sealed| base64url(&sealed));
    let Some(sealed) = sealed.filter(|sealed| sealed.len() <= MAX_COOKIE) else {
        let error = invalid_request("the request is too long for a browser's cookie");
        return target.error_redirect(&error);
    };
    let challenge = hash(&sign_in.verifier);
    let mut parameters = vec![
        ("state", &*sign_in.state),
        ("nonce", &*sign_in.nonce),
        ("code_challenge", &*challenge),
        ("code_challenge_method", "S256"),
        ("client-request-id", &*sign_in.asked.id),
    ];
    parameters.extend(sign_in.claims.text().map(|claims| ("claims", claims)));
    let names = &sign_in.asked.scopes.names;
    let mut response = see_other(&server.entra.authorize_url(names, &parameters));
    let consent = cookie_id(&sign_in.asked.cookie);
    cookies.expire(&mut response, CookieKind::Consent, consent);
    for old in superfluous(server, cookies, sealed.len(), now) {
        cookies.expire(&mut response, CookieKind::SignIn, old);
    }
    let id = hash(&sign_in.state);
    let of = (CookieKind::SignIn, cookie_id(&id));
    cookies.set(&mut response, of, &sealed, SIGN_IN_LIFETIME);
    response
}

/// Returns the ids of the sign-in cookies to delete before a new one of this length is set.
///
/// These are the expired and unreadable ones, and the oldest ones beyond the limits on number and
/// length.
fn superfluous<'c>(server: &Server, cookies: &'c Cookies, length: usize, now: u64) -> Vec<&'c str> {
    let mut all: Vec<_> = cookies
        .all(CookieKind::SignIn)
        .map(|(id, value)| {
            let at = match open(server, value) {
                Ok(sign_in) => (!is_over(sign_in.at, now)).then_some(sign_in.at),
                // A later version of this server set the cookie. Do not delete it as unreadable.
                Err(Unreadable::Later) => Some(now),
                Err(Unreadable::Malformed) => None,
            };
            (at, id, value.len())
        })
        .collect();
    // The latest first, expired ones last.
    all.sort_by(|one, other| other.cmp(one));
    let mut left = MAX_COOKIES.saturating_sub(length);
    let mut kept = 1;
    all.retain(|(at, _, length)| {
        let fits = at.is_some() && *length <= left && kept < MAX_SIGN_INS;
        if fits {
            left -= length;
            kept += 1;
        }
        !fits
    });
    all.into_iter().map(|(_, id, _)| id).collect()
}

/// Decrypts a sign-in from the value of its cookie.
pub(super) fn open(server: &Server, sealed: &str) -> Result<SignIn, Unreadable> {
    let sealed = from_base64url(sealed).ok_or(Unreadable::Malformed)?;
    server.keys.open(Purpose::SignIn, b"", &sealed)
}
