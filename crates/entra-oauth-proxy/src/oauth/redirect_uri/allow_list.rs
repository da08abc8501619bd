//! The redirect URIs that an operator allows, names and vouches for.

use super::{Kind, RedirectUri, scheme, without_port};

/// The operator's word on redirect URIs, beyond what is safe in general.
#[derive(Clone, Debug, Default)]
pub(crate) struct AllowList {
    /// `None`: all that is safe.
    entries: Option<Vec<Entry>>,
    /// Schemes of applications that are known here beside the list, as `myapp:`.
    schemes: Vec<String>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Entry {
    /// `https://claude.ai`, or `http://localhost` for any port there.
    Origin(String),
    /// `cursor:`
    Scheme(String),
    /// `https://claude.ai/api/mcp/auth_callback`: this very URI.
    Exact(String),
}

impl AllowList {
    /// Parses the entries of a list. The error is the one that is none.
    pub(crate) fn new<'e>(entries: impl IntoIterator<Item = &'e str>) -> Result<Self, &'e str> {
        let entries = entries
            .into_iter()
            .map(|text| Entry::parse(text).ok_or(text));
        Ok(Self {
            entries: Some(entries.collect::<Result<_, _>>()?),
            schemes: Vec::new(),
        })
    }

    /// Adds schemes that are known beside the list. The error is the one that is none.
    pub(crate) fn knows<'e>(
        mut self,
        schemes: impl IntoIterator<Item = &'e str>,
    ) -> Result<Self, &'e str> {
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
    pub(super) fn allows(&self, uri: &RedirectUri) -> bool {
        let Some(entries) = &self.entries else {
            return true;
        };
        entries.iter().any(|entry| entry.allows(uri))
    }

    /// Returns whether the operator named the application's scheme, or the very URI.
    pub(super) fn names(&self, uri: &RedirectUri) -> bool {
        let mut entries = self.entries.iter().flatten();
        self.schemes.contains(&uri.host)
            || entries.any(|entry| !matches!(entry, Entry::Origin(_)) && entry.allows(uri))
    }

    /// Returns whether a browser may be sent there before a person agreed to anything (RFC 9700
    /// §4.11.2): to this machine, or where the operator named the very URI. An origin or a scheme
    /// does not vouch for everything in it: `https://claude.ai/redirect?to=…`.
    pub(crate) fn vouches_for(&self, uri: &RedirectUri) -> bool {
        let mut entries = self.entries.iter().flatten();
        uri.kind == Kind::Loopback
            || entries.any(|entry| matches!(entry, Entry::Exact(_)) && entry.allows(uri))
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bare = text.trim_end_matches('/');
        let scheme = bare.strip_suffix(':').unwrap_or(bare);
        if !scheme.contains(['/', ':']) {
            // A host is easily taken for one: `app.example.com`, of which both ends are top-level
            // domains, is one without a colon.
            let is_host = scheme == "localhost"
                || scheme.contains('.') && !scheme::is_domain_name_in_reverse(scheme)
                || scheme == bare && scheme::is_domain_name(scheme);
            let probe = RedirectUri::safe(&format!("{scheme}://host")).ok()?;
            let is_scheme = probe.kind == Kind::Custom && !is_host;
            return is_scheme.then_some(Self::Scheme(probe.host));
        }
        if let Ok(uri) = RedirectUri::safe(bare)
            && uri.kind != Kind::Custom
            && uri.source() == bare
        {
            return Some(Self::Origin(bare.to_owned()));
        }
        let uri = RedirectUri::safe(text).ok()?;
        // `localhost:8080` would be of the scheme `localhost`.
        let is_address = uri.kind != Kind::Custom || text.contains(":/");
        is_address.then_some(Self::Exact(uri.text))
    }

    fn allows(&self, uri: &RedirectUri) -> bool {
        let is = |written: &str, text: &str| {
            written == text || uri.kind == Kind::Loopback && *written == without_port(text)
        };
        match self {
            Self::Origin(origin) => is(origin, &uri.source()),
            Self::Scheme(scheme) => uri.kind == Kind::Custom && *scheme == uri.host,
            Self::Exact(text) => is(text, &uri.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<'l>(list: &'l AllowList) -> impl Fn(&str) -> Result<RedirectUri, &'static str> + 'l {
        |text| RedirectUri::parse(text, list)
    }

    #[test]
    fn it_has_the_last_word() {
        let list = AllowList::new([
            "https://claude.ai",
            "http://localhost",
            "cursor:",
            "myapp",
            "com.example.notes:/cb",
            "https://vscode.dev/redirect",
            "http://127.0.0.1/cb",
        ])
        .unwrap();
        let allowed = |text: &str| parse(&list)(text).is_ok();
        for text in [
            "https://claude.ai/api/mcp/auth_callback",
            "http://localhost:1/x",
            "cursor://anysphere/x",
            "myapp:/callback",
            "com.example.notes:/cb",
            "https://vscode.dev/redirect",
            "http://127.0.0.1:1/cb",
        ] {
            assert!(allowed(text), "{text}");
        }
        for text in [
            "https://claude.ai.evil.example/",
            "https://claude.ai:8443/",
            "https://evil.example/",
            "http://127.0.0.1/x",
            "http://127.0.0.1/cb?x",
            "com.example:/x",
            "com.example.notes:/cb/x",
            "https://vscode.dev/redirect/",
            "https://vscode.dev/redirect?x=1",
            "https://vscode.dev/",
            "otherapp:/callback",
        ] {
            assert!(!allowed(text), "{text}");
        }
        let nothing = AllowList::new([]).unwrap();
        assert!(parse(&nothing)("https://claude.ai/").is_err());
    }

    #[test]
    fn it_vouches_for_this_machine_and_for_the_very_uri() {
        let list = AllowList::new([
            "https://claude.ai",
            "https://claude.com/",
            "https://vscode.dev/redirect",
            "cursor:",
            "com.example.notes:/cb",
            "http://localhost",
        ])
        .unwrap();
        for (text, vouches) in [
            ("https://vscode.dev/redirect", true),
            ("com.example.notes:/cb", true),
            ("http://localhost:51234/callback", true),
            ("https://claude.ai/redirect?to=https://evil.example", false),
            ("https://claude.ai", false),
            ("https://claude.com/", false),
            ("cursor://anysphere.cursor-mcp/oauth/callback", false),
        ] {
            let uri = parse(&list)(text).unwrap();
            assert_eq!(list.vouches_for(&uri), vouches, "{text}");
        }
        let any = AllowList::default();
        for (text, vouches) in [
            ("http://127.0.0.1:1/cb", true),
            ("http://[::1]/cb", true),
            ("https://vscode.dev/redirect", false),
            ("com.example.notes:/cb", false),
        ] {
            let uri = parse(&any)(text).unwrap();
            assert_eq!(any.vouches_for(&uri), vouches, "{text}");
        }
    }

    #[test]
    fn entries_are_origins_schemes_and_uris_that_could_be_registered() {
        for entry in [
            "http://example.com",
            "http://example.com/cb",
            "https://example.com/cb#x",
            "https://example.com/../cb",
            "https://user@example.com/cb",
            "https://*.x",
            "https://x/*",
            "javascript:",
            "javascript",
            "javascript:alert(1)",
            "data:text/html,x",
            "vbscript",
            "blob:",
            "file:",
            "view-source",
            "about:blank",
            "intent:",
            "http",
            "https:",
            "ms-settings",
            "microsoft-edge",
            "com.apple.notes:/cb",
            "x-apple.systempreferences",
            "claude.ai",
            "claude.ai:443",
            "localhost",
            "localhost:8080",
            "localhost:8080/cb",
            "",
            "a b",
        ] {
            assert_eq!(AllowList::new([entry]).unwrap_err(), entry);
            let known = AllowList::default().knows([entry]);
            assert_eq!(known.unwrap_err(), entry);
        }
        // Each could be a host.
        for entry in ["app.example.com", "chat.openai.com/", "com.example.app"] {
            assert_eq!(AllowList::new([entry]).unwrap_err(), entry);
        }
        for entry in ["com.example.app", "com.example.app:"] {
            assert!(AllowList::default().knows([entry]).is_ok());
        }
        assert!(AllowList::new(["com.example.app:"]).is_ok());
        // Which are addresses, and no schemes.
        for entry in ["https://claude.ai", "myapp:/callback", "https://x/cb"] {
            assert!(AllowList::new([entry]).is_ok());
            assert!(AllowList::default().knows([entry]).is_err());
        }
    }

    #[test]
    fn schemes_that_are_named_are_known_with_a_list_and_without() {
        let known = AllowList::default()
            .knows(["notes-desk", "other:"])
            .unwrap();
        for text in ["notes-desk:/cb", "notes-desk://x/y", "other:/"] {
            assert!(parse(&known)(text).is_ok(), "{text}");
            let uri = parse(&known)(text).unwrap();
            assert!(!known.vouches_for(&uri), "{text}");
        }
        assert!(parse(&known)("notes-desks:/cb").is_err());
        // Known is not yet allowed.
        let listed = AllowList::new(["https://claude.ai"]).unwrap();
        let listed = listed.knows(["notes-desk"]).unwrap();
        assert!(RedirectUri::is_safe("notes-desk:/cb", &listed));
        assert!(parse(&listed)("notes-desk:/cb").is_err());
    }
}
