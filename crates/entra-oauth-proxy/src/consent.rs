//! The consent page, and what a person answered on it. Asked every time: a client cannot be told from
//! another that says the same of itself.

use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, add_cookie};
use crate::client::Client;
use crate::cookie::{self, Cookies, Kind};
use crate::engine::{Engine, Lifetimes, Return};
use crate::error::{Code, OAuthError};
use crate::keys::{Purpose, base64url, from_base64url, hash, is_same, random_text};
use crate::observe;
use crate::page::{Obstacle, error_page, escaped, page};
use crate::params::Params;
use crate::redirect_uri::{self, RedirectUri};

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
    pub(crate) fn consent_page(
        &self,
        client: &Client,
        to: &Return,
        mut asked: Asked,
        cookies: &Cookies,
    ) -> Answer {
        // When it was shown stands before it, so that the oldest can go.
        let value = format!("{}.{}", asked.at, random_text::<18>());
        asked.cookie = hash(&value);
        let id = cookie_id(&asked.cookie).to_owned();
        let sealed = serde_json::to_vec(&asked).ok();
        let sealed = sealed.and_then(|text| self.keys.seal(Purpose::Consent, b"", &text));
        let Some(sealed) = sealed else {
            return error_page(&Obstacle {
                status: StatusCode::SERVICE_UNAVAILABLE,
                title: "This sign-in cannot begin",
                what_to_do: "Something failed here. Try again.",
            });
        };
        let body = self.consent_body(client, to, &asked, &base64url(&sealed));
        // A browser applies the policy to every redirect that follows the form: to Entra, to the
        // identity provider of a company that Entra sends to, whose host nobody here knows, and to
        // the client.
        let form_action = format!(
            "'self' https: {} {}",
            self.entra.origin,
            to.redirect_uri.form_source()
        );
        let title = format!("Sign in to {}", self.resource_name());
        let mut answer = page(StatusCode::OK, &title, &body, &form_action);
        for old in self.superfluous(cookies) {
            add_cookie(
                &mut answer,
                &cookie::expire(&self.urls, Kind::Consent, &old),
            );
        }
        add_cookie(
            &mut answer,
            &cookie::set(&self.urls, Kind::Consent, &id, &value),
        );
        answer
    }

    /// The oldest cookies, so that with a new one there are not too many.
    fn superfluous(&self, cookies: &Cookies) -> Vec<String> {
        let age = |value: &str| {
            value
                .split('.')
                .next()
                .and_then(|at| at.parse::<u64>().ok())
        };
        let mut all: Vec<_> = cookies
            .all(&self.urls, Kind::Consent)
            .map(|(id, value)| (age(value), id.to_owned()))
            .collect();
        all.sort();
        let keep = Kind::Consent.most() - 1;
        all.truncate(all.len().saturating_sub(keep));
        all.into_iter().map(|(_, id)| id).collect()
    }

    fn consent_body(&self, client: &Client, to: &Return, asked: &Asked, sealed: &str) -> String {
        let name = client
            .name
            .as_deref()
            .unwrap_or("An application without a name");
        let standing = match client.is_fixed {
            true => "known to this server",
            false => "not verified: it gave itself this name",
        };
        let warning = match to.redirect_uri.kind() {
            redirect_uri::Kind::Https => "",
            redirect_uri::Kind::Loopback => {
                "<p class=\"warning\">The answer goes to a program on your own computer. Go on only if \
                 you have just started to connect it yourself.</p>\n"
            }
            redirect_uri::Kind::Custom => {
                "<p class=\"warning\">The answer goes to an application on your device, and any \
                 application there can claim this address. Go on only if you have just started to \
                 connect it yourself.</p>\n"
            }
        };
        let scopes: String = asked
            .names
            .iter()
            .map(|name| format!("<dd>{}</dd>\n", escaped(name)))
            .collect();
        format!(
            "<h1>Let an application use {resource} in your name?</h1>\n\
             <dl>\n\
             <dt>Application</dt>\n<dd><bdi>{name}</bdi> <small>({standing})</small></dd>\n\
             <dt>The answer goes to</dt>\n<dd class=\"host\">{host}</dd>\n<dd><small>{uri}</small></dd>\n\
             <dt>It may use</dt>\n{scopes}{more}\
             <dt>Of</dt>\n<dd>{resource_url}</dd>\n\
             <dt>It learns</dt>\n<dd>who you are: your name and user name, your roles and groups here</dd>\n\
             <dt>You sign in with</dt>\n<dd>Microsoft, {tenancy}</dd>\n\
             </dl>\n{warning}\
             <form method=\"post\" action=\"{action}\">\n\
             <input type=\"hidden\" name=\"consent\" value=\"{sealed}\">\n\
             <button type=\"submit\" name=\"decision\" value=\"approve\">Continue to sign in</button>\n\
             <button type=\"submit\" name=\"decision\" value=\"deny\">Cancel</button>\n\
             </form>\n",
            name = escaped(name),
            resource = escaped(self.resource_name()),
            host = escaped(to.redirect_uri.shown_host()),
            uri = escaped(to.redirect_uri.as_str()),
            resource_url = escaped(&self.resource.url),
            tenancy = escaped(&self.entra.tenancy),
            more = match self.pass_through {
                true => "<dd>and whatever else of it you agreed to before</dd>\n",
                false => "",
            },
            action = escaped(&format!("{}/consent", self.urls.path)),
        )
    }

    pub(crate) fn resource_name(&self) -> &str {
        let host = || {
            self.resource
                .parsed
                .host_str()
                .unwrap_or(&self.resource.url)
        };
        self.resource.name.as_deref().unwrap_or_else(host)
    }

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
                title: "This answer came from another page",
                what_to_do: "Go back to the application and connect it again.",
            });
        }
        let not_ours = || Obstacle {
            status: StatusCode::FORBIDDEN,
            title: "This page does not belong to this browser",
            what_to_do: "It was opened elsewhere, is older than 15 minutes, or cookies are switched off. Go \
                 back to the application and connect it again.",
        };
        let params = Params::parse(form).map_err(|_| not_ours())?;
        let sealed = params
            .one("consent")
            .ok()
            .flatten()
            .and_then(from_base64url);
        let text = sealed.and_then(|sealed| self.keys.open(Purpose::Consent, b"", &sealed));
        let asked: Option<Asked> = text.and_then(|text| serde_json::from_slice(&text).ok());
        let asked = asked.ok_or_else(not_ours)?;
        let cookie = cookies.get(&self.urls, Kind::Consent, cookie_id(&asked.cookie));
        if !cookie.is_some_and(|value| is_same(&hash(value), &asked.cookie))
            || now.saturating_sub(asked.at) > Lifetimes::SIGN_IN
        {
            return Err(not_ours());
        }
        observe::client(&asked.client);
        observe::sign_in(&asked.id);
        match params.one("decision").ok().flatten() {
            Some("approve") => Ok(Answered::Approved(asked)),
            Some("deny") => Ok(Answered::Denied {
                to: self.return_of(&asked).ok_or_else(not_ours)?,
                spent: cookie::expire(&self.urls, Kind::Consent, cookie_id(&asked.cookie)),
            }),
            _ => Err(Obstacle {
                status: StatusCode::BAD_REQUEST,
                title: "There is no answer in this form",
                what_to_do: "Go back, and choose one of the two.",
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

/// The person said no.
pub(crate) fn denied() -> OAuthError {
    OAuthError::new(Code::AccessDenied, "the user did not agree")
}
