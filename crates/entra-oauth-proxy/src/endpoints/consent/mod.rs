//! The consent page, and what a person answered on it. Asked every time: a client cannot be told from
//! another that says the same of itself.

mod page;

use http::header::ALLOW;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use crate::engine::{Engine, Lifetimes, Return};
use crate::http::cookies::{self, Cookies, Kind};
use crate::http::response::{Answer, set};
use crate::keys::format::{self, Format, Kept, Unread};
use crate::keys::keyring::{Purpose, from_base64url, hash, is_same};
use crate::oauth::error::{Code, OAuthError};
use crate::oauth::parameters::Params;
use crate::oauth::redirect_uri::RedirectUri;
use crate::pages::{LATER_VERSION, Obstacle, error_page};
use crate::telemetry::spans;

/// What a client asked for: it goes through the page's form, encrypted, and is stored nowhere.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct Asked {
    pub(crate) client: String,
    pub(crate) may_refresh: bool,
    pub(crate) redirect_uri: String,
    pub(crate) state: Option<String>,
    pub(crate) challenge: String,
    pub(crate) names: Vec<String>,
    pub(crate) shown: Vec<String>,
    pub(crate) claims: Option<String>,
    /// Of the sign-in that began with it: in the log here, and in Entra's as its correlation id.
    pub(crate) id: String,
    /// In seconds since 1970.
    pub(crate) at: u64,
    /// Of the browser to which the page was shown.
    pub(crate) cookie: String,
}

impl Kept for Asked {
    const FORMAT: Format = format::CONSENT;
}

/// The page for a person who agreed to what is not offered any more.
pub(crate) const CHANGED: Obstacle = Obstacle {
    status: StatusCode::BAD_REQUEST,
    title: "This application may not connect any more",
    what_to_do: "What is allowed here has changed since you were asked. Go back to the application and \
        connect it again; if that does not help, ask whoever runs this server.",
};

/// What a person answered.
pub(crate) enum Answered {
    Approved(Asked),
    Denied {
        to: Return,
        /// The cookie has served.
        spent: String,
    },
}

/// How many characters of a hash tell cookies apart.
const COOKIE_ID: usize = 10;

pub(crate) fn cookie_id(hash: &str) -> &str {
    hash.get(..COOKIE_ID).unwrap_or(hash)
}

impl Engine {
    /// What a person answered: `POST /consent`. The error says why it does not count.
    pub(crate) fn answered(
        &self,
        headers: &HeaderMap,
        cookies: &Cookies,
        form: &str,
        now: u64,
    ) -> Result<Answered, Obstacle> {
        if !self.is_own_page(headers) {
            return Err(Obstacle {
                status: StatusCode::FORBIDDEN,
                title: "Another site tried to answer for you",
                what_to_do: "Nothing was agreed to. If you were connecting an application, go back to it and \
                    connect it again; otherwise close this page.",
            });
        }
        let not_ours = || Obstacle {
            status: StatusCode::FORBIDDEN,
            title: "Your answer came too late, or from another browser",
            what_to_do: "Nothing was agreed to. Go back to the application, connect it again, and answer in \
                the same browser within 15 minutes. If that does not help, this browser may not keep \
                cookies: allow them for this site.",
        };
        let params = Params::parse(form).map_err(|_| not_ours())?;
        let sealed = params
            .one("consent")
            .ok()
            .flatten()
            .and_then(from_base64url);
        let sealed = sealed.ok_or_else(not_ours)?;
        let asked: Asked = self
            .keys
            .open_versioned(Purpose::Consent, b"", &sealed)
            .map_err(|unread| match unread {
                Unread::Malformed => not_ours(),
                Unread::Later => LATER_VERSION,
            })?;
        let cookie = cookies.get(&self.urls, Kind::Consent, cookie_id(&asked.cookie));
        if !cookie.is_some_and(|value| is_same(&hash(value), &asked.cookie))
            || now.saturating_sub(asked.at) > Lifetimes::SIGN_IN
        {
            return Err(not_ours());
        }
        spans::client(&asked.client);
        spans::sign_in(&asked.id);
        match params.one("decision").ok().flatten() {
            Some("approve") => match self.scopes.has_required(&asked.names) {
                true => Ok(Answered::Approved(asked)),
                false => Err(CHANGED),
            },
            Some("deny") => Ok(Answered::Denied {
                to: self.return_of(&asked).ok_or_else(not_ours)?,
                spent: cookies::expire(&self.urls, Kind::Consent, cookie_id(&asked.cookie)),
            }),
            _ => Err(Obstacle {
                status: StatusCode::BAD_REQUEST,
                title: "Your answer did not arrive",
                what_to_do: "Go back one page, and choose Continue or Cancel.",
            }),
        }
    }

    /// Where to answer, if that is still allowed.
    pub(crate) fn return_of(&self, asked: &Asked) -> Option<Return> {
        Some(Return {
            redirect_uri: RedirectUri::parse(&asked.redirect_uri, &self.allow_list).ok()?,
            state: asked.state.clone(),
        })
    }

    /// A browser says where a form comes from, by `Sec-Fetch-Site` and `Origin`. As the page sends no
    /// referrer, some say `null` for its origin. The cookie decides in any case.
    fn is_own_page(&self, headers: &HeaderMap) -> bool {
        let is_ours = |name: &str, ours: &[&str]| {
            let mut values = headers.get_all(name).iter();
            values.all(|value| ours.iter().any(|ours| value == *ours))
        };
        is_ours("sec-fetch-site", &["same-origin"])
            && is_ours("origin", &[&self.urls.origin, "null"])
    }
}

/// Somebody opened the address that the form is sent to, by its URL: `GET /consent`.
pub(crate) fn opened_by_itself() -> Answer {
    let mut answer = error_page(&Obstacle {
        status: StatusCode::METHOD_NOT_ALLOWED,
        title: "There is nothing to see at this address",
        what_to_do: "A sign-in begins in the application that you want to connect. Go back to it, and connect \
            it again.",
    });
    set(&mut answer, ALLOW, "POST");
    answer
}

/// The person said no.
pub(crate) fn denied() -> OAuthError {
    OAuthError::new(Code::AccessDenied, "the user did not agree")
}
