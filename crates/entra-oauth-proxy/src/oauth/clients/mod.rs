//! Clients, and their redirect URIs.
//!
//! The [`registry`] finds and authenticates clients, and [`registration`] parses their metadata.
//! Both use this module to decide about redirect URIs: whether a [`RedirectUri`] can be registered,
//! whether it equals a registered one, and whether the operator's [`AllowList`] permits it.

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

/// Destination of the browser with the result of an authorization request.
///
/// Displays the redirect URI.
#[derive(Clone)]
pub(crate) struct RedirectTarget {
    uri: RedirectUri,
    state: Option<String>,
    issuer: String,
}

/// A URI to which a browser may be redirected with a code.
#[derive(Clone, Debug, Eq, PartialEq)]
struct RedirectUri {
    text: String,
    kind: RedirectUriKind,
    /// The host, or the scheme of an application, for users.
    host: String,
}

/// Kind of a redirect URI.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RedirectUriKind {
    Https,
    /// `http` on the user's own machine, where any program can listen.
    Loopback,
    /// An application's own scheme, which any application can claim.
    Custom,
}

/// Cause of a refused redirect URI. Displays the end of the sentence "the redirect URI …".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum UnfitUri {
    Unsafe(&'static str),
    /// The URI is safe, but its scheme is not known to be an application's.
    UnknownScheme,
    /// The URI is acceptable, but the operator's list does not contain it.
    NotListed,
}

/// The operator's rules for redirect URIs, in addition to the general safety checks.
#[derive(Clone, Debug, Default)]
struct AllowList {
    /// Entries of the list. `None` permits every acceptable URI.
    entries: Option<Vec<Entry>>,
    /// Schemes of applications that are known in addition to the list, as `myapp:`.
    schemes: Vec<String>,
}

/// An entry of an [`AllowList`].
#[derive(Clone, Debug, Eq, PartialEq)]
enum Entry {
    /// An origin such as `https://claude.ai`, or `http://localhost` for any port of that host.
    Origin(String),
    /// A scheme such as `cursor:`.
    Scheme(String),
    /// An exact URI, such as `https://claude.ai/api/mcp/auth_callback`.
    Exact(String),
}

/// Registration of a client, which is encrypted in its client id.
///
/// The serialized names are short, because the client id is part of every URL.
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
    /// `true` if the client may receive refresh tokens.
    #[serde(rename = "g")]
    may_refresh: bool,
    #[serde(rename = "t")]
    issued_at: u64,
}

impl Versioned for Registration {
    const NAME: &'static str = "client id";
    const VERSION: u8 = 1;
}

/// Authentication method of a client at the token endpoint (RFC 7591 §2).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum AuthMethod {
    #[serde(rename = "n")]
    None,
    #[serde(rename = "b")]
    Basic,
    #[serde(rename = "p")]
    Post,
}

/// Application type of a client (OpenID Connect Dynamic Registration §2).
///
/// Kept and returned, but without any effect.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum ApplicationType {
    #[serde(rename = "n")]
    Native,
    #[serde(rename = "w")]
    Web,
}

/// Maximum length of a redirect URI, in bytes. It is part of the client's id and of Entra's `state`.
const MAX_BYTES: usize = 512;

impl RedirectTarget {
    /// Returns the host, or the scheme of an application, for users.
    pub(crate) fn shown_host(&self) -> &str {
        &self.uri.host
    }

    pub(crate) fn kind(&self) -> RedirectUriKind {
        self.uri.kind
    }

    /// Redirects the browser to the target with a code.
    pub(crate) fn code_redirect(&self, code: &str) -> Response {
        see_other(&self.url(&[("code", code)]))
    }

    /// Redirects the browser to the target with an error.
    ///
    /// Call it only after the user agreed or declined in this browser, or if the target is [vouched
    /// for](ClientRegistry::vouches_for).
    pub(crate) fn error_redirect(&self, error: &OAuthError) -> Response {
        let mut response = see_other(&self.error_url(error));
        set_outcome(&mut response, error.outcome());
        response
    }

    /// Returns the URL that carries an error to the client (RFC 6749 §4.1.2.1, with RFC 9207's
    /// `iss`).
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
    /// Parses a URI that a client may register.
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

    /// Parses a URI that browsers neither execute nor read as data, and that all software reads
    /// alike.
    fn safe(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_BYTES {
            return Err("is longer than 512 bytes");
        }
        let is_plain = |byte: u8| matches!(byte, b'!'..=b'~') && !b"\"<>\\^`{|}*".contains(&byte);
        if !text.bytes().all(is_plain) {
            return Err("has a character that a URI cannot have, or a wildcard");
        }
        if text.contains('#') {
            return Err("has a fragment");
        }
        let (scheme, rest) = text.split_once(':').ok_or("is not absolute")?;
        let is_scheme =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
        if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.bytes().all(is_scheme) {
            return Err("has no lowercase scheme");
        }
        if scheme::is_acted_upon(scheme) {
            return Err("has a scheme that browsers or operating systems handle themselves");
        }
        let parsed = Url::parse(text).map_err(|_| "is not a URI")?;
        let authority = rest.strip_prefix("//").map(|rest| before_path(rest).0);
        if authority.is_some_and(|authority| authority.contains('@')) {
            return Err("has a user name or password");
        }
        if has_dot_segment(rest) {
            return Err("has a path segment of dots");
        }
        let host = parsed.host_str().unwrap_or_default();
        let kind = match scheme {
            "https" | "http" => {
                // All software must read the host alike.
                let written = authority.map(host_of).unwrap_or_default();
                if host.is_empty() || written != host {
                    return Err("has a host that is not in the normalized form that browsers use");
                }
                let is_of_host =
                    |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
                if !host.bytes().all(is_of_host) {
                    return Err("has a host with a character that a host name cannot have");
                }
                match (scheme, is_loopback_host(host)) {
                    ("https", _) => RedirectUriKind::Https,
                    (_, true) => RedirectUriKind::Loopback,
                    (_, false) => {
                        return Err(
                            "is http, which is allowed only for loopback addresses (localhost, \
                             127.0.0.1, [::1])",
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

    /// Returns whether the URI equals this registered one.
    ///
    /// The texts must be equal, except for the port of a loopback URI: a program gets a different
    /// port each time (RFC 8252 §7.3).
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

    /// Returns the URI with these parameters added to its query.
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
                "has a scheme that is neither a reversed domain name, such as com.example.app, nor \
                 a known product's scheme with the product's own host and path"
            }
            Self::NotListed => "is not in the list of redirect URIs that this server allows",
        })
    }
}

/// Splits a text into the authority and the rest.
fn before_path(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()))
}

fn host_of(authority: &str) -> &str {
    match authority.rfind(':') {
        // A colon inside brackets belongs to the address.
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    }
}

fn without_port(uri: &str) -> String {
    let (scheme, rest) = uri.split_once("://").unwrap_or_default();
    let (authority, path) = before_path(rest);
    format!("{scheme}://{}{path}", host_of(authority))
}

/// Returns whether a path contains a `.` or `..` segment, also in an escaped form.
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
    /// Parses the entries of a list. The error is the first invalid entry.
    fn new(entries: &[String]) -> Result<Self, &str> {
        let entries = entries.iter().map(|text| Entry::parse(text).ok_or(&**text));
        Ok(Self {
            entries: Some(entries.collect::<Result<_, _>>()?),
            schemes: Vec::new(),
        })
    }

    /// Adds schemes that are known in addition to the list. The error is the first invalid scheme.
    fn with_schemes(mut self, schemes: &[String]) -> Result<Self, &str> {
        for text in schemes {
            // Here a name without a colon can only be a scheme.
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

    /// Returns whether the list permits redirects to this URI.
    fn allows(&self, uri: &RedirectUri) -> bool {
        let Some(entries) = &self.entries else {
            return true;
        };
        entries.iter().any(|entry| entry.allows(uri))
    }

    /// Returns whether the operator named the application's scheme, or the exact URI.
    fn names(&self, uri: &RedirectUri) -> bool {
        let mut entries = self.entries.iter().flatten();
        self.schemes.contains(&uri.host)
            || entries.any(|entry| !matches!(entry, Entry::Origin(_)) && entry.allows(uri))
    }

    /// Returns whether a browser may be redirected to this URI before the user agreed to anything
    /// (RFC 9700 §4.11.2).
    ///
    /// This is permitted for loopback URIs, and for URIs that the operator listed exactly. A listed
    /// origin or scheme does not vouch for all its URIs, such as `https://claude.ai/redirect?to=…`.
    fn vouches_for(&self, uri: &RedirectUri) -> bool {
        let mut entries = self.entries.iter().flatten();
        uri.kind == RedirectUriKind::Loopback
            || entries.any(|entry| matches!(entry, Entry::Exact(_)) && entry.allows(uri))
    }
}

/// Writes the first few entries, for the log.
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
        // Otherwise `localhost:8080` would be a URI with the scheme `localhost`.
        let (scheme, rest) = text.split_once(':')?;
        let is_address = uri.kind != RedirectUriKind::Custom
            || rest.starts_with('/') && !scheme::is_taken_for_host(scheme, true);
        is_address.then_some(Self::Exact(uri.text))
    }

    /// Describes why a text is not a valid entry, and what to write in its place.
    fn problem(text: &str) -> String {
        let shown = EscapedUrl(text);
        if text.contains('*') {
            return format!(
                "\"{shown}\" has a wildcard, which is not supported here; list each host, such as \
                 https://claude.ai"
            );
        }
        if let Some(host) = Self::with_scheme(text.trim()) {
            let scheme = match scheme::is_private_use(text, "") {
                true => format!(", or \"{shown}:\" for the scheme of an application"),
                false => String::new(),
            };
            let host = EscapedUrl(&host);
            return format!("\"{shown}\" has no scheme; write \"{host}\"{scheme}");
        }
        format!(
            "\"{shown}\" is neither an origin, such as https://claude.ai or http://localhost, nor a URI \
             that could be registered, such as https://claude.ai/api/mcp/auth_callback, nor the \
             scheme of an application, such as cursor:"
        )
    }

    /// Returns the most likely URL for a host with or without port and path.
    ///
    /// It is `http` for a loopback host, and `https` for any other.
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
