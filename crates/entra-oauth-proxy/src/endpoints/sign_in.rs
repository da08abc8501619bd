//! A sign-in in progress at Entra, which the browser brings back.

use super::jar::{self, End, Jar, Stopped};
use super::{
    AuthorizationRequest, RequestedClaims, Server, SignIn, cookie_id, invalid_request, is_over,
    new_secret,
};
use crate::crypto::{base64url, from_base64url, hash, is_same, random_text};
use crate::http::{CookieKind, Cookies};
use crate::keys::{Purpose, Unreadable};
use crate::oauth::OAuthError;
use crate::telemetry::record;

/// Length up to which an encrypted sign-in is Entra's `state`, in bytes. A longer one is in a
/// cookie, if the browser has room for it.
///
/// Entra was reported to refuse a `state` of about 1,800 characters
/// (<https://github.com/aspnet/Security/issues/978>, 2016; `AADSTS90015` in
/// <https://github.com/bitwarden/server/issues/953>, 2020), and servers in between to refuse a query
/// of 2,048 bytes.
const SHORT_STATE: usize = 1_500;

/// Maximum length of Entra's `state` in bytes, where a cookie is no choice.
const LONG_STATE: usize = 4_096;

/// Maximum length of a cookie's value: browsers keep 4096 bytes, including name and attributes.
const MAX_COOKIE: usize = 3_800;

/// Length of a `state` before version 2, in bytes: it was random, and each sign-in in a cookie.
const RANDOM_STATE: usize = 24;

/// Least length of an encrypted value, in bytes, and more than the length of a GUID, which
/// administrators may send as `state`.
const LEAST_SEALED: usize = 37;

/// Cause for which a return from Entra continues no sign-in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NotFound {
    /// The `state` has no form that this server uses.
    NotOurs,
    /// No key of this server opens the sign-in.
    Unknown,
    /// A later version of this server made the sign-in.
    Later,
    Stopped(Stopped),
}

impl From<Unreadable> for NotFound {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Malformed => Self::Unknown,
            Unreadable::Later => Self::Later,
        }
    }
}

/// A sign-in that a browser brought back, and its cookies.
pub(super) struct Returned {
    pub(super) sign_in: SignIn,
    /// The secret of the consent page. `None` before version 2, where only the sign-in cookie binds
    /// the sign-in to its browser.
    secret: Option<String>,
    /// Id of the sign-in cookie of version 1.
    old_cookie: Option<String>,
}

impl Returned {
    /// Ends the sign-in in the browser.
    pub(super) fn end(&self, jar: &mut Jar<'_>, end: End) {
        match &self.old_cookie {
            Some(id) => jar.remove(CookieKind::SignIn, id),
            None => jar.end(cookie_id(&self.sign_in.asked.cookie), end),
        }
    }

    /// Returns the request of the sign-in with the secret that binds it to the browser. One of
    /// version 1 gets a secret.
    pub(super) fn asked_again(
        &self,
        jar: &mut Jar<'_>,
        now: u64,
    ) -> (AuthorizationRequest, String) {
        let mut asked = self.sign_in.asked.clone();
        let secret = self.secret.clone().unwrap_or_else(|| {
            let secret = new_secret(now);
            asked.cookie = hash(&secret);
            secret
        });
        if let Some(id) = &self.old_cookie {
            jar.remove(CookieKind::SignIn, id);
        }
        (asked, secret)
    }
}

/// Begins a sign-in at Entra, and returns the URL for the browser.
///
/// The server stores nothing. The sign-in travels encrypted, and is worth nothing without the secret
/// of the consent page, which is in the browser that showed it.
pub(super) fn begin(
    server: &Server,
    (asked, secret): (AuthorizationRequest, String),
    claims: RequestedClaims,
    cookies: &Cookies,
    jar: &mut Jar<'_>,
) -> Result<String, OAuthError> {
    let now = server.clock.now();
    let id = cookie_id(&asked.cookie).to_owned();
    jar.keep_open(&id, secret);
    let (sign_in, state) = match held(server, &asked, &claims, cookies, jar) {
        // The user clicked again, or went back: the same sign-in is sent on.
        Some(held) => held,
        None => {
            let mut sign_in = SignIn {
                // Those that count are in `claims`.
                asked: AuthorizationRequest {
                    claims: None,
                    ..asked
                },
                state: None,
                verifier: random_text::<48>(),
                nonce: random_text::<24>(),
                claims,
                at: now,
            };
            let state = state_of(server, &mut sign_in, &id, jar);
            let too_long = || invalid_request("the request is too long");
            (sign_in, state.ok_or_else(too_long)?)
        }
    };
    let challenge = hash(&sign_in.verifier);
    let mut parameters = vec![
        ("state", &*state),
        ("nonce", &*sign_in.nonce),
        ("code_challenge", &*challenge),
        ("code_challenge_method", "S256"),
        ("client-request-id", &*sign_in.asked.id),
    ];
    parameters.extend(sign_in.claims.text().map(|claims| ("claims", claims)));
    let names = &sign_in.asked.scopes.names;
    Ok(server.entra.authorize_url(names, &parameters))
}

/// Returns the sign-in of this request that is in a cookie already, with its `state`.
fn held(
    server: &Server,
    asked: &AuthorizationRequest,
    claims: &RequestedClaims,
    cookies: &Cookies,
    jar: &mut Jar<'_>,
) -> Option<(SignIn, String)> {
    let id = cookie_id(&asked.cookie);
    let value = cookies.get(CookieKind::SignIn, id)?;
    let mut held = open(server, sealed_in(value)).ok()?;
    let is_same = held.asked.id == asked.id && held.claims == *claims;
    let state = held.state.clone().filter(|_| is_same)?;
    // The time begins again with each click, as that of a short sign-in does.
    held.at = server.clock.now();
    let sealed = sealed(server, &held)?;
    jar.keep_sign_in(id, &format!("{}.{sealed}", held.at))
        .then_some((held, state))
}

fn sealed(server: &Server, sign_in: &SignIn) -> Option<String> {
    let sealed = server.keys.seal(Purpose::SignIn, b"", sign_in)?;
    Some(base64url(&sealed))
}

/// Encrypts a new sign-in, and returns its `state`. A long sign-in goes into a cookie.
fn state_of(server: &Server, sign_in: &mut SignIn, id: &str, jar: &mut Jar<'_>) -> Option<String> {
    let short = sealed(server, sign_in)?;
    if short.len() > SHORT_STATE {
        // The time tells a late return from that of another browser.
        let state = format!("{}.{id}.{}", sign_in.at, random_text::<24>());
        sign_in.state = Some(state.clone());
        let value = format!("{}.{}", sign_in.at, sealed(server, sign_in)?);
        if value.len() <= MAX_COOKIE && jar.keep_sign_in(id, &value) {
            return Some(state);
        }
        sign_in.state = None;
    }
    Some(short).filter(|sealed| sealed.len() <= LONG_STATE)
}

/// Finds the sign-in that a browser brings back with this `state`.
pub(super) fn find(server: &Server, state: &str, cookies: &Cookies) -> Result<Returned, NotFound> {
    let now = server.clock.now();
    if let [at, id, random] = state.split('.').collect::<Vec<_>>()[..] {
        let is_ours = cookie_id(&hash("")).len() == id.len() && random.len() == 32;
        let at = at.parse().ok().filter(|_| is_ours);
        let at: u64 = at.ok_or(NotFound::NotOurs)?;
        let Some(value) = cookies.get(CookieKind::SignIn, id) else {
            let stopped = match jar::end_of(cookies, id) {
                Some(end) => Stopped::Ended(end),
                None if is_over(at, now) => Stopped::Late,
                None => Stopped::Stranger,
            };
            return Err(NotFound::Stopped(stopped));
        };
        return bound(
            server,
            open(server, sealed_in(value))?,
            Some(state),
            cookies,
        );
    }
    let sealed = from_base64url(state).ok_or(NotFound::NotOurs)?;
    let is_guid = state.bytes().all(|byte| byte.is_ascii_hexdigit());
    match sealed.len() {
        RANDOM_STATE if !is_guid => of_version_1(server, state, cookies),
        ..LEAST_SEALED => Err(NotFound::NotOurs),
        _ => bound(server, open(server, state)?, None, cookies),
    }
}

/// Checks that a sign-in belongs to this browser, and to the `state` of its cookie, if it is in one.
fn bound(
    server: &Server,
    sign_in: SignIn,
    state: Option<&str>,
    cookies: &Cookies,
) -> Result<Returned, NotFound> {
    record("client", &sign_in.asked.client);
    record("sign_in", &sign_in.asked.id);
    let is_of_state = match (state, sign_in.state.as_deref()) {
        (Some(state), Some(own)) => is_same(state, own),
        (None, None) => true,
        _ => false,
    };
    if !is_of_state {
        return Err(NotFound::Unknown);
    }
    let secret = jar::secret_of(cookies, &sign_in.asked, sign_in.at, server.clock.now());
    Ok(Returned {
        secret: Some(secret.map_err(NotFound::Stopped)?.to_owned()),
        old_cookie: None,
        sign_in,
    })
}

/// Finds a sign-in that began before version 2.
fn of_version_1(server: &Server, state: &str, cookies: &Cookies) -> Result<Returned, NotFound> {
    let id = cookie_id(&hash(state)).to_owned();
    let value = cookies.get(CookieKind::SignIn, &id);
    let sign_in = open(server, value.ok_or(NotFound::Stopped(Stopped::Stranger))?)?;
    record("client", &sign_in.asked.client);
    record("sign_in", &sign_in.asked.id);
    if !sign_in
        .state
        .as_deref()
        .is_some_and(|own| is_same(own, state))
    {
        return Err(NotFound::Unknown);
    }
    if is_over(sign_in.at, server.clock.now()) {
        return Err(NotFound::Stopped(Stopped::Late));
    }
    Ok(Returned {
        sign_in,
        secret: None,
        old_cookie: Some(id),
    })
}

/// Returns the encrypted sign-in in a cookie's value, after the time.
fn sealed_in(value: &str) -> &str {
    value.split_once('.').map_or(value, |(_, sealed)| sealed)
}

fn open(server: &Server, sealed: &str) -> Result<SignIn, Unreadable> {
    let sealed = from_base64url(sealed).ok_or(Unreadable::Malformed)?;
    server.keys.open(Purpose::SignIn, b"", &sealed)
}
