//! `GET /authorize`: a client asks for a sign-in, and a person is asked whether to agree. Nothing is
//! stored.

use http::StatusCode;

use crate::endpoints::consent::Asked;
use crate::engine::{Engine, Return};
use crate::http::cookies::Cookies;
use crate::http::response::Answer;
use crate::keys::format::Unread;
use crate::keys::keyring::random_guid;
use crate::oauth::claims_request;
use crate::oauth::client::Client;
use crate::oauth::error::{Code, OAuthError};
use crate::oauth::parameters::Params;
use crate::oauth::redirect_uri::RedirectUri;
use crate::pages::{LATER_VERSION, Obstacle, error_page, error_page_with, escaped};
use crate::telemetry::log::throttled;
use crate::telemetry::spans;

/// The longest `state` of a client, in bytes: it comes along in a cookie.
const MOST_STATE: usize = 1_024;

/// The longest `claims` of a client, likewise.
const MOST_CLAIMS: usize = 512;

/// Why a request is not one.
enum Fault {
    /// The client, or where to answer it, cannot be trusted: a person is told, nobody else.
    Page(Obstacle),
    /// The client is told, by its own address.
    Told(Box<(Client, Return, OAuthError)>),
}

const UNREADABLE: Obstacle = Obstacle {
    status: StatusCode::BAD_REQUEST,
    title: "The application's request cannot be read",
    what_to_do: "Nothing was sent to anybody. Go back to the application and connect it again. If this \
        happens again, the fault is the application's: tell its makers.",
};

const UNKNOWN_CLIENT: Obstacle = Obstacle {
    status: StatusCode::BAD_REQUEST,
    title: "This application is not known here",
    what_to_do: "It may have been connected long ago, or to another server. Remove this server from the \
        application, add it there anew, and connect again.",
};

const UNKNOWN_ADDRESS: Obstacle = Obstacle {
    status: StatusCode::BAD_REQUEST,
    title: "The answer would go to an address that is not the application's",
    what_to_do: "For your safety nothing was sent to anybody. If a link brought you here, close this page. If \
        you were connecting an application, remove this server from it, add it there anew, and connect \
        again.",
};

const REFUSED: Obstacle = Obstacle {
    status: StatusCode::BAD_REQUEST,
    title: "The application's request was refused",
    what_to_do: "Nobody was signed in, and the application got nothing. If you were just connecting it, the \
        button takes you back to it, and tells it what is wrong. If a link brought you here, close this \
        page.",
};

/// Returns what is wrong with a request, in words for people.
fn in_words(code: Code) -> &'static str {
    match code {
        Code::InvalidTarget => "The application asks for access to a different service.",
        Code::InvalidScope => {
            "The application asks for a permission that this service does not offer."
        }
        _ => "The application sent its request in a form that this server does not accept.",
    }
}

impl Engine {
    pub(crate) fn authorize(&self, query: &str, cookies: &Cookies, now: u64) -> Answer {
        match self.asked(query, now) {
            Ok((client, to, asked)) => {
                spans::sign_in(&asked.id);
                self.consent_page(&client, &to, asked, cookies)
            }
            Err(Fault::Page(obstacle)) => error_page(&obstacle),
            Err(Fault::Told(told)) => {
                let (client, to, error) = *told;
                let what = "an authorization request was refused";
                throttled!(
                    info,
                    self.log,
                    (what, error.code.as_str()),
                    error = error.code.as_str(),
                    "{what}"
                );
                match self.vouches_for(&client, &to) {
                    true => self.told(&to, &error),
                    false => self.told_by_hand(&to, &error),
                }
            }
        }
    }

    fn asked(&self, query: &str, now: u64) -> Result<(Client, Return, Asked), Fault> {
        let unreadable = |_| Fault::Page(UNREADABLE);
        let params = Params::parse(query).map_err(unreadable)?;
        let id = params.one("client_id").map_err(unreadable)?;
        let client = id.map_or(Err(Unread::Malformed), |id| {
            self.clients.find(id, &self.keys)
        });
        let client = client.map_err(|unread| {
            Fault::Page(match unread {
                Unread::Malformed => UNKNOWN_CLIENT,
                Unread::Later => LATER_VERSION,
            })
        })?;
        spans::client(&client.hash);
        let uri = params.one("redirect_uri").map_err(unreadable)?;
        let redirect_uri = uri
            .and_then(|uri| self.redirect_uri(uri, &client))
            .ok_or(Fault::Page(UNKNOWN_ADDRESS))?;
        // From here on the client is told.
        let state = params.one("state");
        let to = Return {
            redirect_uri,
            state: state.as_ref().ok().copied().flatten().map(str::to_owned),
        };
        let asked = state
            .map(|_| ())
            .and_then(|()| self.asked_of(&client, &to, &params, now));
        match asked {
            Ok(asked) => Ok((client, to, asked)),
            Err(error) => Err(Fault::Told(Box::new((client, to, error)))),
        }
    }

    /// Returns whether a browser may be sent there although no person has agreed to anything (RFC 9700
    /// §4.11.2): anybody registers any address, and has others open a request for it.
    fn vouches_for(&self, client: &Client, to: &Return) -> bool {
        client.is_fixed || self.allow_list.vouches_for(&to.redirect_uri)
    }

    /// Tells a person, who may carry the error to the client: so it is not lost, and nobody is sent
    /// anywhere unasked.
    fn told_by_hand(&self, to: &Return, error: &OAuthError) -> Answer {
        let more = format!(
            "<dl>\n<div>\n<dt>What is wrong</dt>\n<dd>{fault}</dd>\n\
             <dd class=\"note\">In technical words: <code>{code}</code>, {description}</dd>\n</div>\n\
             <div>\n<dt>The application is at</dt>\n<dd class=\"host\">{host}</dd>\n\
             <dd class=\"note\">Anybody can send people here in the name of an application, and nobody \
             has checked whose this address is.</dd>\n</div>\n</dl>\n\
             <p class=\"actions\"><a class=\"button\" rel=\"noreferrer\" href=\"{href}\">Go back to \
             <bdi>{host}</bdi></a></p>\n",
            fault = in_words(error.code),
            code = error.code.as_str(),
            description = escaped(&error.description),
            host = escaped(to.redirect_uri.shown_host()),
            href = escaped(&self.error_url(to, error)),
        );
        let mut answer = error_page_with(&REFUSED, &more);
        spans::mark(&mut answer, error);
        answer
    }

    /// The URI, if it is one that the client registered and that is allowed today.
    pub(crate) fn redirect_uri(&self, uri: &str, client: &Client) -> Option<RedirectUri> {
        let uri = RedirectUri::parse(uri, &self.allow_list).ok()?;
        let mut registered = client.redirect_uris.iter();
        registered
            .any(|registered| uri.is(registered))
            .then_some(uri)
    }

    fn asked_of(
        &self,
        client: &Client,
        to: &Return,
        params: &Params,
        now: u64,
    ) -> Result<Asked, OAuthError> {
        let invalid = |text| OAuthError::new(Code::InvalidRequest, text);
        if to
            .state
            .as_ref()
            .is_some_and(|state| state.len() > MOST_STATE)
        {
            return Err(invalid("state is longer than 1024 bytes"));
        }
        if params.one("request")?.is_some() {
            return Err(OAuthError::new(
                Code::RequestNotSupported,
                "request objects are not supported",
            ));
        }
        if params.one("request_uri")?.is_some() {
            return Err(OAuthError::new(
                Code::RequestUriNotSupported,
                "request_uri is not supported",
            ));
        }
        if params.required("response_type")? != "code" {
            return Err(OAuthError::new(
                Code::UnsupportedResponseType,
                "response_type must be code",
            ));
        }
        if params
            .one("response_mode")?
            .is_some_and(|mode| mode != "query")
        {
            return Err(invalid("response_mode must be query"));
        }
        let challenge = params.required("code_challenge")?;
        // Left out, it is plain (RFC 7636 §4.3).
        if params.one("code_challenge_method")? != Some("S256") {
            return Err(invalid("code_challenge_method must be S256"));
        }
        if !is_s256(challenge) {
            return Err(invalid("code_challenge is no SHA-256 in base64url"));
        }
        self.resource.check(params)?;
        let granted = self.scopes.grant(params.one("scope")?)?;
        Ok(Asked {
            client: client.hash.clone(),
            may_refresh: client.may_refresh,
            redirect_uri: to.redirect_uri.as_str().to_owned(),
            state: to.state.clone(),
            challenge: challenge.to_owned(),
            names: granted.names,
            shown: granted.shown,
            claims: requested_claims(params)?,
            id: random_guid(),
            at: now,
            cookie: String::new(),
        })
    }
}

/// Returns the part of a claims request (OpenID Connect Core §5.5), which a claims challenge said, that goes to
/// Entra.
fn requested_claims(params: &Params) -> Result<Option<String>, OAuthError> {
    let Some(text) = params.one("claims")? else {
        return Ok(None);
    };
    let short = Some(text).filter(|text| text.len() <= MOST_CLAIMS);
    let passed = short.and_then(|text| claims_request::of_client(text).ok());
    passed.ok_or_else(|| {
        OAuthError::new(
            Code::InvalidRequest,
            "claims is no JSON object of at most 512 bytes",
        )
    })
}

/// 32 bytes in base64url.
fn is_s256(challenge: &str) -> bool {
    crate::keys::keyring::from_base64url(challenge).is_some_and(|bytes| bytes.len() == 32)
}
