//! The sign-ins that one browser has in progress, and what became of others, as its cookies tell.
//!
//! A consent page sets a cookie with a secret, which stays until the sign-in is over. Then its value
//! is a word in place of the secret, for the text of a later page. The word admits nobody.

use super::{AuthorizationRequest, SIGN_IN_LIFETIME, cookie_id, is_over};
use crate::crypto::{hash, is_same};
use crate::http::{CookieKind, Cookies, Response};

/// Maximum number of sign-ins in progress in one browser.
const MAX_OPEN: usize = 24;

/// Maximum number of ended sign-ins of which a browser knows the end.
const MAX_ENDED: usize = 24;

/// Time for which a browser keeps the secret of a sign-in, in seconds: a minute longer than the
/// sign-in lasts, so that this server says that it took too long.
const OPEN_FOR: u64 = SIGN_IN_LIFETIME + 60;

/// Time for which a browser knows the end of a sign-in, in seconds.
const ENDED_FOR: u64 = 60 * 60;

/// Maximum length of all cookies of this server in the header `Cookie`, in bytes: servers in
/// between accept headers of 8 KiB.
const MAX_BYTES: usize = 6_000;

/// Maximum length in the header of what is neither id nor value of a cookie: the prefix of the name
/// and the separators.
const FRAME: usize = 30;

/// End of a sign-in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// The application received a code.
    Done,
    /// The application received an error.
    Failed,
    /// The user cancelled on the consent page.
    Declined,
    /// Too many sign-ins were in progress in the browser.
    PushedOut,
    /// The user signed out.
    SignedOut,
}

impl End {
    const ALL: [Self; 5] = [
        Self::Done,
        Self::Failed,
        Self::Declined,
        Self::PushedOut,
        Self::SignedOut,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Declined => "declined",
            Self::PushedOut => "pushed-out",
            Self::SignedOut => "signed-out",
        }
    }

    /// Returns the end that the value of a consent cookie tells. A secret tells none.
    fn of(value: &str) -> Option<Self> {
        let (_, word) = value.split_once('.')?;
        Self::ALL.into_iter().find(|end| end.word() == word)
    }
}

/// Cause for which a browser cannot continue a sign-in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stopped {
    Ended(End),
    Late,
    /// The browser does not have the secret.
    Stranger,
}

/// Returns the consent cookie of a sign-in that began at `began_at`, if this browser has its secret
/// and the sign-in is not over.
pub(super) fn secret_of<'c>(
    cookies: &'c Cookies,
    asked: &AuthorizationRequest,
    began_at: u64,
    now: u64,
) -> Result<&'c str, Stopped> {
    let value = cookies.get(CookieKind::Consent, cookie_id(&asked.cookie));
    if let Some(end) = value.and_then(End::of) {
        return Err(Stopped::Ended(end));
    }
    if is_over(began_at, now) {
        return Err(Stopped::Late);
    }
    value
        .filter(|value| is_same(&hash(value), &asked.cookie))
        .ok_or(Stopped::Stranger)
}

/// Returns the end that the browser knows of the sign-in with this cookie id.
pub(super) fn end_of(cookies: &Cookies, id: &str) -> Option<End> {
    cookies.get(CookieKind::Consent, id).and_then(End::of)
}

/// Returns the time at the beginning of a cookie's value.
///
/// Servers on one host share their cookies, so the rest of a value may be another server's.
fn time_of(value: &str) -> Option<u64> {
    value.split('.').next()?.parse().ok()
}

/// This server's cookies in a browser, as a response will leave them.
pub(super) struct Jar<'c> {
    sent: &'c Cookies,
    held: Vec<Cookie>,
    removed: Vec<(CookieKind, String)>,
    now: u64,
}

#[derive(Clone)]
struct Cookie {
    kind: CookieKind,
    id: String,
    value: String,
    is_new: bool,
}

impl Cookie {
    fn length(&self) -> usize {
        FRAME + self.id.len() + self.value.len()
    }

    fn has_ended(&self) -> bool {
        self.kind == CookieKind::Consent && End::of(&self.value).is_some()
    }

    fn is_open(&self) -> bool {
        self.kind == CookieKind::Consent && !self.has_ended()
    }

    fn is(&self, kind: CookieKind, id: &str) -> bool {
        self.kind == kind && self.id == id
    }
}

impl<'c> Jar<'c> {
    pub(super) fn new(sent: &'c Cookies, now: u64) -> Self {
        let of = |kind| {
            sent.all(kind).map(move |(id, value)| Cookie {
                kind,
                id: id.to_owned(),
                value: value.to_owned(),
                is_new: false,
            })
        };
        let held = of(CookieKind::Consent).chain(of(CookieKind::SignIn));
        Self {
            held: held.collect(),
            sent,
            removed: Vec::new(),
            now,
        }
    }

    /// Sets the secret of a sign-in, again or for the first time, for a whole lifetime.
    ///
    /// If too many sign-ins are in progress, the oldest others are pushed out.
    pub(super) fn keep_open(&mut self, id: &str, secret: String) {
        self.put(CookieKind::Consent, id, secret);
        self.shrink(id);
    }

    /// Sets the cookie of a long sign-in, unless a sign-in in progress would be pushed out for it.
    pub(super) fn keep_sign_in(&mut self, id: &str, value: &str) -> bool {
        let others = self.held.iter();
        let others = others.filter(|cookie| !cookie.has_ended());
        let others = others.filter(|cookie| !cookie.is(CookieKind::SignIn, id));
        let length: usize = others.map(Cookie::length).sum();
        if length + FRAME + id.len() + value.len() > MAX_BYTES {
            return false;
        }
        self.put(CookieKind::SignIn, id, value.to_owned());
        self.shrink(id);
        true
    }

    /// Replaces the secret of a sign-in by its end.
    pub(super) fn end(&mut self, id: &str, end: End) {
        let value = format!("{}.{}", self.now, end.word());
        self.put(CookieKind::Consent, id, value);
        self.remove(CookieKind::SignIn, id);
        self.shrink(id);
    }

    /// Ends every sign-in in progress, because the user signs out.
    pub(super) fn sign_out(&mut self) {
        let held = self.held.clone();
        for cookie in held.iter().filter(|cookie| !cookie.has_ended()) {
            match cookie.kind {
                CookieKind::Consent => self.end(&cookie.id, End::SignedOut),
                CookieKind::SignIn => self.remove(CookieKind::SignIn, &cookie.id),
            }
        }
    }

    pub(super) fn remove(&mut self, kind: CookieKind, id: &str) {
        let before = self.held.len();
        self.held.retain(|cookie| !cookie.is(kind, id));
        if self.held.len() < before {
            self.removed.push((kind, id.to_owned()));
        }
    }

    /// Writes the changes into a response.
    pub(super) fn write(self, response: &mut Response) {
        for (kind, id) in &self.removed {
            if !self.held.iter().any(|cookie| cookie.is(*kind, id)) {
                self.sent.set(response, (*kind, id), "", 0);
            }
        }
        for cookie in self.held.iter().filter(|cookie| cookie.is_new) {
            let of = (cookie.kind, &*cookie.id);
            let seconds = if cookie.has_ended() {
                ENDED_FOR
            } else {
                OPEN_FOR
            };
            self.sent.set(response, of, &cookie.value, seconds);
        }
    }

    fn put(&mut self, kind: CookieKind, id: &str, value: String) {
        self.held.retain(|cookie| !cookie.is(kind, id));
        self.held.push(Cookie {
            kind,
            id: id.to_owned(),
            value,
            is_new: true,
        });
    }

    /// Keeps the limits, at the cost of other sign-ins than this one.
    fn shrink(&mut self, id: &str) {
        while self.count(Cookie::is_open) > MAX_OPEN && self.push_out(id, Cookie::is_open) {}
        while self.count(Cookie::has_ended) > MAX_ENDED && self.forget(id) {}
        while self.held.iter().map(Cookie::length).sum::<usize>() > MAX_BYTES
            && (self.forget(id)
                || self.push_out(id, |cookie| cookie.kind == CookieKind::SignIn)
                || self.push_out(id, Cookie::is_open))
        {}
    }

    fn count(&self, is: impl Fn(&Cookie) -> bool) -> usize {
        self.held.iter().filter(|cookie| is(cookie)).count()
    }

    /// Returns the oldest cookie of this kind that is not the sign-in with this id.
    fn oldest(&self, id: &str, is: impl Fn(&Cookie) -> bool) -> Option<Cookie> {
        let others = self.held.iter().filter(|cookie| cookie.id != id);
        let oldest = others.filter(|cookie| is(cookie));
        oldest.min_by_key(|cookie| time_of(&cookie.value)).cloned()
    }

    /// Ends the oldest such sign-in, and returns whether there was one.
    fn push_out(&mut self, id: &str, is: impl Fn(&Cookie) -> bool) -> bool {
        let Some(oldest) = self.oldest(id, is) else {
            return false;
        };
        self.remove(CookieKind::SignIn, &oldest.id);
        if self
            .held
            .iter()
            .any(|one| one.is(CookieKind::Consent, &oldest.id))
        {
            let value = format!("{}.{}", self.now, End::PushedOut.word());
            self.put(CookieKind::Consent, &oldest.id, value);
        }
        true
    }

    /// Forgets the oldest end, and returns whether there was one.
    fn forget(&mut self, id: &str) -> bool {
        let Some(oldest) = self.oldest(id, Cookie::has_ended) else {
            return false;
        };
        self.remove(CookieKind::Consent, &oldest.id);
        true
    }
}
