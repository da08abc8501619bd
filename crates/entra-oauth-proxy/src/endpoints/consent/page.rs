//! What a person reads before agreeing.

use http::StatusCode;

use super::{Asked, cookie_id};
use crate::engine::{Engine, Return};
use crate::http::cookies::{self, Cookies, Kind};
use crate::http::response::{Answer, add_cookie};
use crate::keys::keyring::{Purpose, base64url, hash, random_text};
use crate::oauth::client::Client;
use crate::oauth::redirect_uri;
use crate::pages::{Obstacle, error_page, escaped, page};

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
        let sealed = self.keys.seal_versioned(Purpose::Consent, b"", &asked);
        let Some(sealed) = sealed else {
            return error_page(&Obstacle {
                status: StatusCode::SERVICE_UNAVAILABLE,
                title: "This sign-in cannot begin",
                what_to_do: "Something failed at this server, not at your side. Go back to the \
                    application in a few minutes and connect it again.",
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
                &cookies::expire(&self.urls, Kind::Consent, &old),
            );
        }
        add_cookie(
            &mut answer,
            &cookies::set(&self.urls, Kind::Consent, &id, &value),
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

    /// Nothing in it has an id or the focus: a URL could give the focus to what has an id, and a key
    /// that is held down would then answer.
    fn consent_body(&self, client: &Client, to: &Return, asked: &Asked, sealed: &str) -> String {
        format!(
            "<h1>Let an application use {resource} in your name?</h1>\n\
             <dl>\n\
             <div>\n<dt>Application</dt>\n{application}</div>\n\
             <div>\n<dt>The answer goes to</dt>\n<dd class=\"host\">{host}</dd>\n\
             <dd class=\"note\">{uri}</dd>\n{warning}</div>\n\
             <div>\n<dt>What it may do</dt>\n{scopes}</div>\n\
             <div>\n<dt>On this server</dt>\n<dd>{resource_url}</dd>\n</div>\n\
             <div>\n<dt>What it learns</dt>\n\
             <dd>Who you are: your name and user name, your roles and groups here</dd>\n</div>\n\
             <div>\n<dt>You sign in with</dt>\n<dd>Microsoft, {tenancy}</dd>\n</div>\n\
             </dl>\n\
             <form method=\"post\" action=\"{path}/consent\">\n\
             <input type=\"hidden\" name=\"consent\" value=\"{sealed}\">\n\
             <button type=\"submit\" name=\"decision\" value=\"approve\" class=\"primary\">Continue to \
             sign in</button>\n\
             <button type=\"submit\" name=\"decision\" value=\"deny\">Cancel</button>\n\
             </form>\n\
             <p class=\"note\">Microsoft may take the account that this browser is signed in with. To \
             use another one, <a href=\"{path}/sign-out\">sign out of it first</a> and connect the \
             application again.</p>\n",
            resource = escaped(self.resource_name()),
            application = application(client),
            host = escaped(to.redirect_uri.shown_host()),
            uri = escaped(to.redirect_uri.as_str()),
            warning = warning(to.redirect_uri.kind()),
            scopes = self.scopes_in_words(&asked.names),
            resource_url = escaped(&self.resource.url),
            tenancy = escaped(&self.entra.tenancy),
            path = escaped(&self.urls.path),
        )
    }

    fn scopes_in_words(&self, names: &[String]) -> String {
        let in_words = |name: &String| match self.scopes.text(name) {
            Some(text) => format!(
                "<dd>{} <code>{}</code></dd>\n",
                escaped(text),
                escaped(name)
            ),
            None => format!("<dd>{}</dd>\n", escaped(name)),
        };
        let mut all: String = names.iter().map(in_words).collect();
        if self.pass_through {
            all.push_str("<dd>And whatever else of it you agreed to before</dd>\n");
        }
        all
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
}

/// What the application calls itself, and what that is worth.
fn application(client: &Client) -> String {
    let (mark, note) = match (client.is_fixed, &client.name) {
        (true, _) => (
            "known here",
            "Those who run this server entered it here themselves.",
        ),
        (false, Some(_)) => (
            "not verified",
            "It gave itself this name, which nobody has checked.",
        ),
        (false, None) => (
            "not verified",
            "It gave no name, and nobody has checked whose it is.",
        ),
    };
    let name = client.name.as_deref();
    let name = escaped(name.unwrap_or("An application without a name"));
    format!(
        "<dd><bdi class=\"name\">{name}</bdi> <span class=\"mark\">{mark}</span></dd>\n\
         <dd class=\"note\">{note}</dd>\n"
    )
}

fn warning(kind: redirect_uri::Kind) -> &'static str {
    match kind {
        redirect_uri::Kind::Https => "",
        redirect_uri::Kind::Loopback => {
            "<dd class=\"warning\"><strong>Careful:</strong> this is a program on your own computer. Go \
             on only if you have just started to connect it yourself.</dd>\n"
        }
        redirect_uri::Kind::Custom => {
            "<dd class=\"warning\"><strong>Careful:</strong> this is an application on your device, and \
             any application there can claim this address. Go on only if you have just started to \
             connect it yourself.</dd>\n"
        }
    }
}
