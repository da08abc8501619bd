//! The cookies that bind a sign-in to the browser in which it began.

use http::HeaderMap;
use http::header::COOKIE;

use crate::engine::{Lifetimes, Urls};

/// What a cookie is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// A consent page that was shown.
    Consent,
    /// A sign-in that is under way at Entra.
    SignIn,
}

impl Kind {
    /// How many there may be of a kind: each page and each sign-in has its own, so that two of them do
    /// not end each other, and browsers send them all with every request.
    pub(crate) const fn most(self) -> usize {
        match self {
            Self::Consent => 8,
            Self::SignIn => 3,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Consent => "entra-proxy-consent-",
            Self::SignIn => "entra-proxy-sign-in-",
        }
    }
}

/// The cookies of a request that are ours.
#[derive(Debug, Default)]
pub(crate) struct Cookies(Vec<(String, String)>);

impl Cookies {
    pub(crate) fn of(urls: &Urls, headers: &HeaderMap) -> Self {
        let ours = [Kind::Consent, Kind::SignIn].map(|kind| name(urls, kind, ""));
        let values = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let pairs = values
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            // By the whole beginning: what others set by a like name does not take their place.
            .filter(|(name, _)| ours.iter().any(|ours| name.starts_with(&**ours)))
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self(pairs.take(64).collect())
    }

    pub(crate) fn get(&self, urls: &Urls, kind: Kind, id: &str) -> Option<&str> {
        let name = name(urls, kind, id);
        let mut found = self.0.iter().filter(|(other, _)| *other == name);
        // Of two by one name, one was set by somebody else.
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    /// What takes them all away.
    pub(crate) fn expire_all(&self, urls: &Urls) -> Vec<String> {
        let kinds = [Kind::Consent, Kind::SignIn].into_iter();
        let all = kinds.flat_map(|kind| self.all(urls, kind).map(move |(id, _)| (kind, id)));
        all.map(|(kind, id)| expire(urls, kind, id)).collect()
    }

    /// The ids and values of a kind.
    pub(crate) fn all(&self, urls: &Urls, kind: Kind) -> impl Iterator<Item = (&str, &str)> {
        let beginning = name(urls, kind, "");
        self.0
            .iter()
            .filter_map(move |(name, value)| Some((name.strip_prefix(&*beginning)?, &**value)))
    }
}

/// `__Host-`: of this host alone, over https, for every path. On loopback without TLS, browsers know
/// neither.
fn name(urls: &Urls, kind: Kind, id: &str) -> String {
    let prefix = if urls.is_https { "__Host-" } else { "" };
    format!("{prefix}{}{id}", kind.name())
}

/// What sets it. `Lax`, as the way back from Entra is a link from another site.
pub(crate) fn set(urls: &Urls, kind: Kind, id: &str, value: &str) -> String {
    written(urls, kind, id, value, Lifetimes::SIGN_IN)
}

/// What takes it away.
pub(crate) fn expire(urls: &Urls, kind: Kind, id: &str) -> String {
    written(urls, kind, id, "", 0)
}

fn written(urls: &Urls, kind: Kind, id: &str, value: &str, seconds: u64) -> String {
    let secure = if urls.is_https { "; Secure" } else { "" };
    let name = name(urls, kind, id);
    format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}
