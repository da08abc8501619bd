//! Clients: which there are, and the addresses to which responses for them may be sent.
//!
//! The [`registry`] finds and authenticates clients, the [`registration`] makes them, and both ask here for
//! their addresses: which [`RedirectUri`] can be registered, when one is a registered one, and what the
//! operator's [`AllowList`] says of it.

mod difference;
mod registration;
mod registry;
mod scheme;
#[cfg(test)]
mod tests;

use std::fmt;

use entra_http::is_loopback_host;
use serde::{Deserialize, Serialize};
use tower_entra_auth::entra_jwt_core::integration::EscapedUrl;
use url::Url;

pub use self::registry::PreregisteredClient;
pub(crate) use self::registry::{Client, ClientRegistry, MAX_CLIENT_ID};
use super::OAuthError;
use crate::http::{Response, see_other};
use crate::keys::Versioned;
use crate::telemetry::set_outcome;

/// The place to which a browser carries what a client's authorization request came to; shown, it is the
/// redirect URI.
#[derive(Clone)]
pub(crate) struct RedirectTarget {
    uri: RedirectUri,
    state: Option<String>,
    issuer: String,
}

/// A URI to which a browser may be sent with a code in it.
#[derive(Clone, Debug, Eq, PartialEq)]
struct RedirectUri {
    text: String,
    kind: RedirectUriKind,
    /// The host, in words for people.
    host: String,
}

/// The kinds of addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RedirectUriKind {
    Https,
    /// `http` on this machine: any program there can listen.
    Loopback,
    /// An application's own scheme: any application can claim it.
    Custom,
}

/// The reason for which a URI is refused; it completes the sentence "the redirect URI …".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum UnfitUri {
    Unsafe(&'static str),
    /// Nothing speaks against it but that its scheme is not known to be an application's.
    UnknownScheme,
    /// Nothing but the operator's list speaks against it.
    NotListed,
}

/// The operator's word on redirect URIs, beyond what is safe in general.
#[derive(Clone, Debug, Default)]
struct AllowList {
    /// `None`: all that is safe.
    entries: Option<Vec<Entry>>,
    /// Schemes of applications that are known here beside the list, as `myapp:`.
    schemes: Vec<String>,
}

/// An entry of the list.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Entry {
    /// `https://claude.ai`, or `http://localhost` for any port there.
    Origin(String),
    /// `cursor:`
    Scheme(String),
    /// `https://claude.ai/api/mcp/auth_callback`: this very URI.
    Exact(String),
}

/// The registration of a client, which is kept in its id, encrypted. The names are short, as it is in
/// every URL.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Registration {
    #[serde(rename = "r")]
    redirect_uris: Vec<String>,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(rename = "m")]
    method: AuthMethod,
    #[serde(rename = "a")]
    application_type: ApplicationType,
    /// True if it asked for refresh tokens.
    #[serde(rename = "g")]
    may_refresh: bool,
    #[serde(rename = "t")]
    issued_at: u64,
}

impl Versioned for Registration {
    const NAME: &'static str = "client id";
    const VERSION: u8 = 1;
}

/// The way in which a client proves at the token endpoint who it is (RFC 7591 §2).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum AuthMethod {
    #[serde(rename = "n")]
    None,
    #[serde(rename = "b")]
    Basic,
    #[serde(rename = "p")]
    Post,
}

/// OpenID Connect Dynamic Registration §2. Kept and returned; it decides nothing.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum ApplicationType {
    #[serde(rename = "n")]
    Native,
    #[serde(rename = "w")]
    Web,
}

/// The longest redirect URI, in bytes: it is kept in the client's id, and in a cookie.
const MAX_BYTES: usize = 512;

impl RedirectTarget {
    /// Returns the host, or the scheme of an application, for people.
    pub(crate) fn shown_host(&self) -> &str {
        &self.uri.host
    }

    pub(crate) fn kind(&self) -> RedirectUriKind {
        self.uri.kind
    }

    /// Returns what a browser has to know of it to let a form end up there (CSP `form-action`). An address of
    /// IPv6 cannot be said there.
    pub(crate) fn form_source(&self) -> String {
        match self.uri.host.starts_with('[') {
            true => "http:".to_owned(),
            false => self.uri.source(),
        }
    }

    /// Sends the browser there with a code.
    pub(crate) fn code_redirect(&self, code: &str) -> Response {
        see_other(&self.url(&[("code", code)]))
    }

    /// Sends the browser there with an error: after a person agreed or said no in it, or where somebody
    /// vouches for the address.
    pub(crate) fn error_redirect(&self, error: &OAuthError) -> Response {
        let mut response = see_other(&self.error_url(error));
        set_outcome(&mut response, error.outcome());
        response
    }

    /// Returns the address that tells a client of an error (RFC 6749 §4.1.2.1, with RFC 9207's `iss`).
    pub(crate) fn error_url(&self, error: &OAuthError) -> String {
        self.url(&[
            ("error", error.code().as_str()),
            ("error_description", &error.to_string()),
        ])
    }

    fn url(&self, parameters: &[(&str, &str)]) -> String {
        let mut parameters = parameters.to_vec();
        parameters.extend(self.state.as_deref().map(|state| ("state", state)));
        parameters.push(("iss", &self.issuer));
        self.uri.with(&parameters)
    }
}

impl fmt::Display for RedirectTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.uri.text)
    }
}

impl RedirectUri {
    /// Parses a URI that may be registered.
    fn parse(text: &str, allowed: &AllowList) -> Result<Self, UnfitUri> {
        let uri = Self::safe(text).map_err(UnfitUri::Unsafe)?;
        let (scheme, rest) = text.split_once(':').unwrap_or_default();
        let is_clients = uri.kind != RedirectUriKind::Custom
            || scheme::is_private_use(scheme, rest)
            || allowed.names(&uri);
        match is_clients {
            false => Err(UnfitUri::UnknownScheme),
            true if allowed.allows(&uri) => Ok(uri),
            true => Err(UnfitUri::NotListed),
        }
    }

    /// Parses a URI that nobody runs or reads, and in which everybody reads the same.
    fn safe(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_BYTES {
            return Err("is longer than 512 bytes");
        }
        let is_plain = |byte: u8| matches!(byte, b'!'..=b'~') && !b"\"<>\\^`{|}*".contains(&byte);
        if !text.bytes().all(is_plain) {
            return Err("has a character that no URI has, or a wildcard");
        }
        if text.contains('#') {
            return Err("has a fragment");
        }
        let (scheme, rest) = text.split_once(':').ok_or("is not absolute")?;
        let is_scheme =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
        if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.bytes().all(is_scheme) {
            return Err("has no scheme in lower case");
        }
        if scheme::is_acted_upon(scheme) {
            return Err("has a scheme that browsers or systems act upon, not an application's");
        }
        let parsed = Url::parse(text).map_err(|_| "is no URI")?;
        let authority = rest.strip_prefix("//").map(|rest| before_path(rest).0);
        if authority.is_some_and(|authority| authority.contains('@')) {
            return Err("has a user in it");
        }
        if has_dot_segment(rest) {
            return Err("has a segment of dots");
        }
        let host = parsed.host_str().unwrap_or_default();
        let kind = match scheme {
            "https" | "http" => {
                // Read by everybody alike, or by nobody.
                let written = authority.map(host_of).unwrap_or_default();
                if host.is_empty() || written != host {
                    return Err("has a host that is not written as browsers write it");
                }
                // It goes into the policy of the consent page, where `;` and `,` end what is said.
                let is_of_host =
                    |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
                if !host.bytes().all(is_of_host) {
                    return Err("has a host with a character that no name has");
                }
                match (scheme, is_loopback_host(host)) {
                    ("https", _) => RedirectUriKind::Https,
                    (_, true) => RedirectUriKind::Loopback,
                    (_, false) => {
                        return Err(
                            "is http, which only addresses of this machine may be (localhost, 127.0.0.1, [::1])",
                        );
                    }
                }
            }
            _ => RedirectUriKind::Custom,
        };
        Ok(Self {
            host: if kind == RedirectUriKind::Custom {
                format!("{scheme}:")
            } else {
                host.to_owned()
            },
            text: text.to_owned(),
            kind,
        })
    }

    /// Returns whether it is this registered one: the same text, but for the port on this machine, which a
    /// program gets anew each time (RFC 8252 §7.3).
    fn is(&self, registered: &str) -> bool {
        self.text == registered
            || self.kind == RedirectUriKind::Loopback
                && Self::safe(registered).is_ok_and(|other| other.kind == RedirectUriKind::Loopback)
                && without_port(&self.text) == without_port(registered)
    }

    /// Returns the origin, or the scheme of an application.
    fn source(&self) -> String {
        match self.kind {
            RedirectUriKind::Custom => self.host.clone(),
            RedirectUriKind::Https | RedirectUriKind::Loopback => {
                let (scheme, rest) = self.text.split_once("://").unwrap_or_default();
                format!("{scheme}://{}", before_path(rest).0)
            }
        }
    }

    /// Returns it with these parameters, added to those that it has.
    fn with(&self, parameters: &[(&str, &str)]) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        let separator = match self.text.split_once('?') {
            None => "?",
            Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
            Some(_) => "&",
        };
        format!("{}{separator}{}", self.text, query.finish())
    }
}

impl fmt::Display for UnfitUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unsafe(fault) => fault,
            Self::UnknownScheme => {
                "has a scheme that is neither a domain name in reverse, such as com.example.app, nor \
                 one of a product at the place where that takes answers"
            }
            Self::NotListed => "is not among those that this server allows",
        })
    }
}

/// Splits into the authority, and what follows.
fn before_path(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()))
}

fn host_of(authority: &str) -> &str {
    match authority.rfind(':') {
        // Inside brackets it belongs to the address.
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    }
}

fn without_port(uri: &str) -> String {
    let (scheme, rest) = uri.split_once("://").unwrap_or_default();
    let (authority, path) = before_path(rest);
    format!("{scheme}://{}{path}", host_of(authority))
}

/// Returns whether a path has `.` or `..` in it, however it is written.
fn has_dot_segment(rest: &str) -> bool {
    let path = rest
        .split('?')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let path = path
        .replace("%2e", ".")
        .replace("%2f", "/")
        .replace("%5c", "/");
    path.split('/').any(|segment| matches!(segment, "." | ".."))
}

impl AllowList {
    /// Parses the entries of a list. The error is the one that is none.
    fn new(entries: &[String]) -> Result<Self, &str> {
        let entries = entries.iter().map(|text| Entry::parse(text).ok_or(&**text));
        Ok(Self {
            entries: Some(entries.collect::<Result<_, _>>()?),
            schemes: Vec::new(),
        })
    }

    /// Adds schemes that are known beside the list. The error is the one that is none.
    fn with_schemes(mut self, schemes: &[String]) -> Result<Self, &str> {
        for text in schemes {
            // Here nothing else could be meant.
            let scheme = match text.ends_with(':') {
                true => Entry::parse(text),
                false => Entry::parse(&format!("{text}:")),
            };
            match scheme {
                Some(Entry::Scheme(scheme)) => self.schemes.push(scheme),
                _ => return Err(text),
            }
        }
        Ok(self)
    }

    /// Returns whether an answer may go there.
    fn allows(&self, uri: &RedirectUri) -> bool {
        let Some(entries) = &self.entries else {
            return true;
        };
        entries.iter().any(|entry| entry.allows(uri))
    }

    /// Returns whether the operator named the application's scheme, or the very URI.
    fn names(&self, uri: &RedirectUri) -> bool {
        let mut entries = self.entries.iter().flatten();
        self.schemes.contains(&uri.host)
            || entries.any(|entry| !matches!(entry, Entry::Origin(_)) && entry.allows(uri))
    }

    /// Returns whether a browser may be sent there before a person agreed to anything (RFC 9700
    /// §4.11.2): to this machine, or where the operator named the very URI. An origin or a scheme
    /// does not vouch for everything in it: `https://claude.ai/redirect?to=…`.
    fn vouches_for(&self, uri: &RedirectUri) -> bool {
        let mut entries = self.entries.iter().flatten();
        uri.kind == RedirectUriKind::Loopback
            || entries.any(|entry| matches!(entry, Entry::Exact(_)) && entry.allows(uri))
    }
}

/// The entries for the log, of which there may be many.
impl fmt::Display for AllowList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries.iter().flatten();
        let entries = entries.map(|entry| match entry {
            Entry::Origin(text) | Entry::Scheme(text) | Entry::Exact(text) => &**text,
        });
        let entries: Vec<&str> = entries.collect();
        formatter.write_str(&difference::listed(&entries))
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bare = text.trim_end_matches('/');
        let scheme = bare.strip_suffix(':').unwrap_or(bare);
        if !scheme.contains(['/', ':']) {
            let is_host = scheme::is_taken_for_host(scheme, scheme != bare);
            let probe = RedirectUri::safe(&format!("{scheme}://host")).ok()?;
            let is_scheme = probe.kind == RedirectUriKind::Custom && !is_host;
            return is_scheme.then_some(Self::Scheme(probe.host));
        }
        if let Ok(uri) = RedirectUri::safe(bare)
            && uri.kind != RedirectUriKind::Custom
            && uri.source() == bare
        {
            return Some(Self::Origin(bare.to_owned()));
        }
        let uri = RedirectUri::safe(text).ok()?;
        // `localhost:8080` would be of the scheme `localhost`.
        let (scheme, rest) = text.split_once(':')?;
        let is_address = uri.kind != RedirectUriKind::Custom
            || rest.starts_with('/') && !scheme::is_taken_for_host(scheme, true);
        is_address.then_some(Self::Exact(uri.text))
    }

    /// Returns what is wrong with a text that is no entry, and what to write in its place.
    fn problem(text: &str) -> String {
        let shown = EscapedUrl(text);
        if text.contains('*') {
            return format!(
                "\"{shown}\" has a wildcard, which is none here; name each host by itself, such as \
                 https://claude.ai"
            );
        }
        if let Some(host) = Self::with_scheme(text.trim()) {
            let scheme = match scheme::is_private_use(text, "") {
                true => format!(", or \"{shown}:\" for the scheme of an application"),
                false => String::new(),
            };
            let host = EscapedUrl(&host);
            return format!("\"{shown}\" is no address with its scheme; write \"{host}\"{scheme}");
        }
        format!(
            "\"{shown}\" is neither an origin, such as https://claude.ai or http://localhost, nor a URI \
             that could be registered, such as https://claude.ai/api/mcp/auth_callback, nor the \
             scheme of an application, such as cursor:"
        )
    }

    /// Returns the address that a host, with or without port and path, has most likely: over TLS, but for
    /// this machine.
    fn with_scheme(text: &str) -> Option<String> {
        let rest = text.strip_prefix("http://").unwrap_or(text);
        let rest = rest.trim_end_matches(':');
        let host = host_of(before_path(rest).0);
        let scheme = match is_loopback_host(host) {
            true => "http",
            false if host.contains('.') => "https",
            false => return None,
        };
        let address = format!("{scheme}://{rest}");
        Self::parse(&address).map(|_| address)
    }

    fn allows(&self, uri: &RedirectUri) -> bool {
        let is = |written: &str, text: &str| {
            written == text
                || uri.kind == RedirectUriKind::Loopback && *written == without_port(text)
        };
        match self {
            Self::Origin(origin) => is(origin, &uri.source()),
            Self::Scheme(scheme) => uri.kind == RedirectUriKind::Custom && *scheme == uri.host,
            Self::Exact(text) => is(text, &uri.text),
        }
    }
}
