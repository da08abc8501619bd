//! The protocol engine: what is decided, without any I/O.
//!
//! Each endpoint is a function from a request, and what was found in the store or came from Entra, to
//! an answer, and what is to be done before it is given. It is done in
//! [`signing_in`](crate::signing_in) and [`granting`](crate::granting).

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::http::response::{Answer, see_other};
use crate::keys::keyring::Keyring;
use crate::oauth::client::Clients;
use crate::oauth::error::{Code, OAuthError};
use crate::oauth::parameters::Params;
use crate::oauth::redirect_uri::{AllowList, RedirectUri};
use crate::oauth::scopes::Scopes;
use crate::telemetry::log::RefusalLog;
use crate::telemetry::spans;

/// The settings, checked.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) urls: Urls,
    /// The one resource that tokens are for.
    pub(crate) resource: Resource,
    pub(crate) keys: Arc<Keyring>,
    pub(crate) clients: Clients,
    pub(crate) allow_list: AllowList,
    pub(crate) scopes: Scopes,
    pub(crate) lifetimes: Lifetimes,
    /// The greatest difference between two clocks, in seconds: that of the Layer.
    pub(crate) skew: u64,
    /// The name of this process among those that share a store: random.
    pub(crate) process: String,
    pub(crate) entra: Entra,
    /// Whether clients get Entra's own access tokens.
    pub(crate) pass_through: bool,
    /// Keeps strangers from filling the log.
    pub(crate) log: RefusalLog,
}

/// Where the endpoints are: configured, never taken from a request.
#[derive(Clone, Debug)]
pub(crate) struct Urls {
    /// The issuer, without a slash at its end.
    pub(crate) public: String,
    pub(crate) origin: String,
    /// What stands before each endpoint's path: empty, or such as `/oauth`.
    pub(crate) path: String,
    /// Whether cookies can be `Secure` and `__Host-`.
    pub(crate) is_https: bool,
}

/// Entra, as browsers are sent there.
#[derive(Clone, Debug)]
pub(crate) struct Entra {
    pub(crate) authorize_url: String,
    /// Where it signs a browser out, to send it back here.
    pub(crate) sign_out_url: String,
    /// Its origin, for the page's policy.
    pub(crate) origin: String,
    pub(crate) client_id: String,
    pub(crate) prompt: Option<&'static str>,
    /// Whose accounts are accepted, for people.
    pub(crate) tenancy: String,
}

/// How long things are good for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    pub(crate) access_token: Duration,
    /// Without a refresh.
    pub(crate) idle: Duration,
    /// However often it is refreshed.
    pub(crate) session: Duration,
    /// The time for which the refresh token before the current one still works.
    pub(crate) grace: Duration,
    /// How long a yes about a grant is kept.
    pub(crate) grant_check: Duration,
}

impl Lifetimes {
    /// From the consent page to the return from Entra, in seconds: setting up a second factor takes
    /// its time.
    pub(crate) const SIGN_IN: u64 = 15 * 60;

    /// Of an authorization code (RFC 6749 §4.1.2 has at most ten minutes).
    pub(crate) const CODE: Duration = Duration::from_secs(60);
}

impl Urls {
    pub(crate) fn endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.public)
    }

    pub(crate) fn callback(&self) -> String {
        self.endpoint("/callback")
    }

    pub(crate) fn signed_out(&self) -> String {
        self.endpoint("/signed-out")
    }
}

/// The resource, and which spellings of it are taken for it (RFC 8707).
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) url: String,
    pub(crate) parsed: Url,
    pub(crate) name: Option<String>,
    /// Whether a client has to name it.
    pub(crate) is_required: bool,
    /// Whether a parent path on the same origin passes for it.
    pub(crate) accepts_parents: bool,
}

impl Resource {
    /// Every resource that is named is this one. Another server's is refused whatever else is right:
    /// a server that names this one as its own would get tokens for ours.
    pub(crate) fn check(&self, params: &Params) -> Result<(), OAuthError> {
        if self.is_required && params.all("resource").next().is_none() {
            return Err(OAuthError::new(
                Code::InvalidTarget,
                "the parameter resource is missing",
            ));
        }
        self.check_named(params)
    }

    /// The same where it may be left out in any case.
    pub(crate) fn check_named(&self, params: &Params) -> Result<(), OAuthError> {
        let mut named = params.all("resource");
        match named.all(|text| self.is(text)) {
            true => Ok(()),
            false => Err(OAuthError::new(
                Code::InvalidTarget,
                "this server issues tokens for another resource",
            )),
        }
    }

    /// Up to a slash at the end, the case of scheme and host, and a query.
    fn is(&self, text: &str) -> bool {
        let Ok(other) = Url::parse(text) else {
            return false;
        };
        let is_plain = other.username().is_empty()
            && other.password().is_none()
            && !text.contains(['#', '\\', '\t', '\n', '\r'])
            && other.origin() == self.parsed.origin();
        let path = |url: &Url| url.path().trim_end_matches('/').to_owned();
        let (ours, theirs) = (path(&self.parsed), path(&other));
        let is_parent = || {
            ours.strip_prefix(&theirs)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        is_plain && (ours == theirs || self.accepts_parents && is_parent())
    }
}

/// Where the answer to a client's authorization request goes.
#[derive(Clone, Debug)]
pub(crate) struct Return {
    pub(crate) redirect_uri: RedirectUri,
    pub(crate) state: Option<String>,
}

impl Engine {
    /// Tells a client of an error by sending the browser there: after a person agreed or said no in
    /// this browser, or where somebody vouches for the address.
    pub(crate) fn told(&self, to: &Return, error: &OAuthError) -> Answer {
        let mut answer = see_other(&self.error_url(to, error));
        spans::mark(&mut answer, error);
        answer
    }

    /// Returns the address that tells a client of an error (RFC 6749 §4.1.2.1, with RFC 9207's `iss`).
    pub(crate) fn error_url(&self, to: &Return, error: &OAuthError) -> String {
        let description = &*error.description;
        let parameters = [
            ("error", error.code.as_str()),
            ("error_description", description),
        ];
        self.returned(to, &parameters)
    }

    pub(crate) fn with_code(&self, to: &Return, code: &str) -> Answer {
        see_other(&self.returned(to, &[("code", code)]))
    }

    fn returned(&self, to: &Return, parameters: &[(&str, &str)]) -> String {
        let mut parameters = parameters.to_vec();
        parameters.extend(to.state.as_deref().map(|state| ("state", state)));
        parameters.push(("iss", &self.urls.public));
        to.redirect_uri.with(&parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(accepts_parents: bool) -> Resource {
        let url = "https://mcp.example.com/v1/mcp";
        Resource {
            url: url.to_owned(),
            parsed: Url::parse(url).unwrap(),
            name: None,
            is_required: false,
            accepts_parents,
        }
    }

    #[test]
    fn spellings_of_the_resource_are_the_resource() {
        for text in [
            "https://mcp.example.com/v1/mcp",
            "https://mcp.example.com/v1/mcp/",
            "HTTPS://MCP.example.com/v1/mcp",
            "https://mcp.example.com:443/v1/mcp",
            "https://mcp.example.com/v1/mcp?kb_name=x",
        ] {
            assert!(resource(false).is(text), "{text}");
        }
    }

    #[test]
    fn anything_else_is_another_resource() {
        for text in [
            "",
            "https://mcp.example.com",
            "https://mcp.example.com/v1",
            "https://mcp.example.com/v1/mcp/x",
            "https://mcp.example.com/v1/MCP",
            "http://mcp.example.com/v1/mcp",
            "https://mcp.example.com:8443/v1/mcp",
            "https://evil.example/v1/mcp",
            "https://mcp.example.com@evil.example/v1/mcp",
            "https://user@mcp.example.com/v1/mcp",
            "https://mcp.example.com.evil.example/v1/mcp",
            "https://mcp.example.com/v1/mcp#x",
            "https:\\\\mcp.example.com\\v1\\mcp",
            "api://6e74172b-be56-4843-9ff4-e66a39bb12e3",
            "/v1/mcp",
        ] {
            assert!(!resource(false).is(text), "{text}");
        }
    }

    #[test]
    fn parents_on_the_same_origin_pass_where_that_is_set() {
        for text in [
            "https://mcp.example.com",
            "https://mcp.example.com/",
            "https://mcp.example.com/v1",
        ] {
            assert!(resource(true).is(text), "{text}");
        }
        for text in [
            "https://evil.example",
            "https://mcp.example.com/v",
            "https://mcp.example.com/v2",
        ] {
            assert!(!resource(true).is(text), "{text}");
        }
    }

    #[test]
    fn all_that_are_named_must_be_ours() {
        let check = |query: &str| resource(false).check(&Params::parse(query).unwrap());
        let ours = "resource=https://mcp.example.com/v1/mcp";
        assert!(check("").is_ok());
        assert!(check(&format!("{ours}&{ours}/")).is_ok());
        let error = check(&format!("{ours}&resource=https://evil.example/")).unwrap_err();
        assert_eq!(error.code, Code::InvalidTarget);
        let required = Resource {
            is_required: true,
            ..resource(false)
        };
        assert!(required.check(&Params::parse("").unwrap()).is_err());
    }
}
