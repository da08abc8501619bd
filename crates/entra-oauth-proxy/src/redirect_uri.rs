//! Where an answer may be sent: which URIs can be registered, and when one is a registered one.

use std::net::Ipv4Addr;

use url::Url;

/// A URI to which a browser may be sent with a code in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RedirectUri {
    text: String,
    kind: Kind,
    /// For people.
    host: String,
}

/// What kind of address it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Https,
    /// `http` on this machine: any program there can listen.
    Loopback,
    /// An application's own scheme: any application can claim it.
    Custom,
}

/// Which redirect URIs an operator allows beyond what is safe in general.
#[derive(Clone, Debug, Default)]
pub(crate) struct AllowList {
    /// `None`: all that is safe.
    entries: Option<Vec<Entry>>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Entry {
    /// `https://claude.ai`, or `http://localhost` for any port there.
    Origin(String),
    /// `cursor:`
    Scheme(String),
}

/// The longest, in bytes: it is kept in the client's id, and in a cookie.
const MOST_BYTES: usize = 512;

/// What browsers run, or show as if it came from elsewhere.
const DANGEROUS: [&str; 30] = [
    "about",
    "blob",
    "data",
    "dict",
    "facetime",
    "feed",
    "file",
    "filesystem",
    "ftp",
    "ftps",
    "geo",
    "gopher",
    "imap",
    "intent",
    "itms-services",
    "jar",
    "javascript",
    "ldap",
    "ldaps",
    "mailto",
    "rdp",
    "search-ms",
    "sftp",
    "smb",
    "sms",
    "ssh",
    "tel",
    "telnet",
    "vbscript",
    "view-source",
];

/// Whether a scheme is none of a client's: browsers or the system run it, or act upon it.
fn is_dangerous(scheme: &str) -> bool {
    let is_systems = |beginning: &str| scheme.starts_with(beginning);
    DANGEROUS.contains(&scheme)
        || ["ms-", "chrome", "moz-", "ws"].into_iter().any(is_systems)
        || scheme.ends_with("-extension")
}

impl RedirectUri {
    /// The error completes the sentence "the redirect URI …".
    pub(crate) fn parse(text: &str, allowed: &AllowList) -> Result<Self, &'static str> {
        let uri = Self::owned(text, allowed)?;
        match allowed.allows(&uri) {
            true => Ok(uri),
            false => Err("is not among those that this server allows"),
        }
    }

    /// Whether nothing but the list speaks against it.
    pub(crate) fn is_safe(text: &str, allowed: &AllowList) -> bool {
        Self::owned(text, allowed).is_ok()
    }

    fn owned(text: &str, allowed: &AllowList) -> Result<Self, &'static str> {
        let uri = Self::safe(text)?;
        if uri.kind == Kind::Custom && !allowed.names_scheme(&uri) && !uri.has_owner() {
            return Err(
                "has a scheme that any application could claim: it needs a host, or a dot in the scheme",
            );
        }
        Ok(uri)
    }

    fn safe(text: &str) -> Result<Self, &'static str> {
        if text.len() > MOST_BYTES {
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
        if is_dangerous(scheme) {
            return Err("has a scheme that browsers run or read, not an application's");
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
                match (scheme, is_loopback(host)) {
                    ("https", _) => Kind::Https,
                    (_, true) => Kind::Loopback,
                    (_, false) => {
                        return Err(
                            "is http, which only addresses of this machine may be (localhost, 127.0.0.1, [::1])",
                        );
                    }
                }
            }
            _ => Kind::Custom,
        };
        Ok(Self {
            host: if kind == Kind::Custom {
                format!("{scheme}:")
            } else {
                host.to_owned()
            },
            text: text.to_owned(),
            kind,
        })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The host, or the scheme of an application, for people.
    pub(crate) fn shown_host(&self) -> &str {
        &self.host
    }

    /// Whether it is this registered one: the same text, but for the port on this machine, which a
    /// program gets anew each time (RFC 8252 §7.3).
    pub(crate) fn is(&self, registered: &str) -> bool {
        self.text == registered
            || self.kind == Kind::Loopback
                && Self::safe(registered).is_ok_and(|other| other.kind == Kind::Loopback)
                && without_port(&self.text) == without_port(registered)
    }

    /// What a browser has to know of it to let a form end up there (CSP `form-action`). An address of
    /// IPv6 cannot be said there.
    pub(crate) fn form_source(&self) -> String {
        match self.host.starts_with('[') {
            true => "http:".to_owned(),
            false => self.source(),
        }
    }

    /// The origin, or the scheme of an application.
    fn source(&self) -> String {
        match self.kind {
            Kind::Custom => self.host.clone(),
            Kind::Https | Kind::Loopback => {
                let (scheme, rest) = self.text.split_once("://").unwrap_or_default();
                format!("{scheme}://{}", before_path(rest).0)
            }
        }
    }

    /// With these parameters, added to those that it has.
    pub(crate) fn with(&self, parameters: &[(&str, &str)]) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        let separator = match self.text.split_once('?') {
            None => "?",
            Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
            Some(_) => "&",
        };
        format!("{}{separator}{}", self.text, query.finish())
    }

    /// Whether the scheme is somebody's: by a domain name in it, or by a host behind it.
    fn has_owner(&self) -> bool {
        let (scheme, rest) = self.text.split_once(':').unwrap_or_default();
        let host = rest.strip_prefix("//").map(|rest| before_path(rest).0);
        scheme.contains('.') || host.is_some_and(|host| !host.is_empty())
    }
}

impl AllowList {
    /// The error is the entry that is none.
    pub(crate) fn new<'e>(entries: impl IntoIterator<Item = &'e str>) -> Result<Self, &'e str> {
        let entries = entries
            .into_iter()
            .map(|text| Entry::parse(text).ok_or(text));
        Ok(Self {
            entries: Some(entries.collect::<Result<_, _>>()?),
        })
    }

    fn allows(&self, uri: &RedirectUri) -> bool {
        let Some(entries) = &self.entries else {
            return true;
        };
        entries.iter().any(|entry| match entry {
            Entry::Scheme(scheme) => uri.kind == Kind::Custom && *scheme == uri.host,
            Entry::Origin(origin) => {
                let source = uri.source();
                *origin == source || uri.kind == Kind::Loopback && *origin == without_port(&source)
            }
        })
    }

    fn names_scheme(&self, uri: &RedirectUri) -> bool {
        let mut entries = self.entries.iter().flatten();
        entries.any(|entry| *entry == Entry::Scheme(uri.host.clone()))
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_end_matches('/');
        let scheme = text.strip_suffix(':').unwrap_or(text);
        if !scheme.contains(['/', ':']) {
            let probe = RedirectUri::safe(&format!("{scheme}://host")).ok()?;
            return (probe.kind == Kind::Custom).then_some(Self::Scheme(probe.host));
        }
        let uri = RedirectUri::safe(text).ok()?;
        (uri.kind != Kind::Custom && uri.source() == text).then(|| Self::Origin(text.to_owned()))
    }
}

/// The authority, and what follows.
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

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host == "[::1]"
        || host
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Whether a path has `.` or `..` in it, however it is written.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RedirectUri, &'static str> {
        RedirectUri::parse(text, &AllowList::default())
    }

    #[test]
    fn what_clients_register_is_accepted() {
        for (text, kind) in [
            ("https://claude.ai/api/mcp/auth_callback", Kind::Https),
            ("https://chatgpt.com/connector/oauth/abc?x=1", Kind::Https),
            ("https://example.com", Kind::Https),
            ("https://example.com:8443/cb", Kind::Https),
            ("http://localhost/callback", Kind::Loopback),
            ("http://localhost:51234/callback", Kind::Loopback),
            ("http://127.0.0.1:33418/", Kind::Loopback),
            ("http://127.9.9.9/", Kind::Loopback),
            ("http://[::1]:8080/cb", Kind::Loopback),
            (
                "cursor://anysphere.cursor-retrieval/oauth/user-x/callback",
                Kind::Custom,
            ),
            ("com.example.app:/oauth", Kind::Custom),
            (
                "vscode://vscode.github-authentication/did-authenticate",
                Kind::Custom,
            ),
        ] {
            assert_eq!(parse(text).map(|uri| uri.kind), Ok(kind), "{text}");
        }
    }

    #[test]
    fn what_could_lead_elsewhere_is_refused() {
        for text in [
            "",
            "callback",
            "/callback",
            "//evil.example/cb",
            "http://example.com/cb",
            "http://localhost.evil.example/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://127.1/cb",
            "http://0x7f.0.0.1/cb",
            "http://2130706433/cb",
            "http://0.0.0.0/cb",
            "http://[::ffff:127.0.0.1]/cb",
            "https://user@example.com/cb",
            "https://claude.ai@evil.example/cb",
            "https://user:password@example.com/cb",
            "https://example.com/cb#fragment",
            "https://example.com/cb#",
            "https://*.example.com/cb",
            "https://example.com/*",
            "https://example.com/a/../cb",
            "https://example.com/a/%2e%2e/cb",
            "https://example.com/a/%2E./cb",
            "https://example.com/..%2fcb",
            "https://example.com\\@evil.example/cb",
            "https:example.com/cb",
            "https:/example.com/cb",
            "https:///example.com/cb",
            "HTTPS://example.com/cb",
            "https://EXAMPLE.com/cb",
            "https://example.com/c b",
            "https://example.com/\u{202e}cb",
            "https://exämple.com/cb",
            "https://example.com/\ncb",
            "https://",
            "javascript:alert(1)",
            "javascript://example.com/%0aalert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "vbscript:x",
            "blob:https://example.com/x",
            "about:blank",
            "intent://scan/#Intent;end",
            "ws://localhost/",
            "wss://example.com/",
            "ms-msdt://x/y",
            "search-ms://query",
            "smb://host/share",
            "chrome-extension://abc/page",
            "moz-extension://abc/page",
            "mailto://a.b/",
            "myapp:/callback",
            "myapp:callback",
            "urn:ietf:wg:oauth:2.0:oob",
            "1app://host/",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&format!("https://example.com/{}", "a".repeat(500))).is_err());
    }

    #[test]
    fn a_registered_one_is_matched_character_by_character_but_for_the_port_on_this_machine() {
        let is = |requested: &str, registered: &str| parse(requested).unwrap().is(registered);
        for (requested, registered) in [
            ("https://example.com/cb", "https://example.com/cb"),
            ("http://localhost:51234/cb", "http://localhost/cb"),
            ("http://localhost/cb", "http://localhost:80/cb"),
            (
                "http://localhost:51234/cb?a=1",
                "http://localhost:8080/cb?a=1",
            ),
            ("http://[::1]:51234/cb", "http://[::1]/cb"),
        ] {
            assert!(is(requested, registered), "{requested} {registered}");
        }
        for (requested, registered) in [
            ("https://example.com/cb", "https://example.com/cb/"),
            ("https://example.com/cb", "https://example.com/CB"),
            ("https://example.com/cb?a=1", "https://example.com/cb"),
            ("https://example.com:8443/cb", "https://example.com/cb"),
            ("http://localhost:51234/cb", "http://127.0.0.1/cb"),
            ("http://127.0.0.1:1/cb", "http://127.0.0.2:1/cb"),
            ("http://localhost:51234/cb", "https://localhost/cb"),
            ("http://localhost:51234/cb", "http://localhost/other"),
            ("http://localhost:51234/cb", "http://localhost"),
            ("cursor://a.b/cb", "cursor://a.b:1/cb"),
        ] {
            assert!(!is(requested, registered), "{requested} {registered}");
        }
    }

    #[test]
    fn an_allow_list_has_the_last_word() {
        let list =
            AllowList::new(["https://claude.ai", "http://localhost", "cursor:", "myapp"]).unwrap();
        let allowed = |text: &str| RedirectUri::parse(text, &list).is_ok();
        for text in [
            "https://claude.ai/api/mcp/auth_callback",
            "http://localhost:1/x",
            "cursor://anysphere/x",
            "myapp:/callback",
        ] {
            assert!(allowed(text), "{text}");
        }
        for text in [
            "https://claude.ai.evil.example/",
            "https://claude.ai:8443/",
            "https://evil.example/",
            "http://127.0.0.1/x",
            "com.example:/x",
        ] {
            assert!(!allowed(text), "{text}");
        }
        for entry in [
            "https://claude.ai/path",
            "http://example.com",
            "javascript:",
            "https://*.x",
            "",
            "a b",
        ] {
            assert_eq!(AllowList::new([entry]).unwrap_err(), entry);
        }
        assert!(
            !AllowList::new([])
                .unwrap()
                .allows(&parse("https://claude.ai/").unwrap())
        );
    }

    #[test]
    fn parameters_are_added_to_those_that_are_there() {
        let with = |text: &str| {
            parse(text)
                .unwrap()
                .with(&[("code", "a b"), ("iss", "https://x/")])
        };
        let added = "code=a+b&iss=https%3A%2F%2Fx%2F";
        assert_eq!(
            with("https://example.com/cb"),
            format!("https://example.com/cb?{added}")
        );
        assert_eq!(
            with("https://example.com/cb?"),
            format!("https://example.com/cb?{added}")
        );
        assert_eq!(
            with("https://example.com/cb?a=1"),
            format!("https://example.com/cb?a=1&{added}")
        );
        assert_eq!(
            with("com.example.app:/cb"),
            format!("com.example.app:/cb?{added}")
        );
    }

    #[test]
    fn browsers_are_told_origins_and_schemes() {
        let source = |text: &str| parse(text).unwrap().form_source();
        assert_eq!(
            source("https://example.com:8443/cb?x"),
            "https://example.com:8443"
        );
        assert_eq!(
            source("http://localhost:51234/cb"),
            "http://localhost:51234"
        );
        assert_eq!(source("http://[::1]:1?x"), "http:");
        assert_eq!(source("cursor://a.b/cb"), "cursor:");
    }
}
