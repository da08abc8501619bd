//! Where an answer may be sent: which URIs can be registered, and when one is a registered one.

mod allow_list;
mod scheme;

use std::net::Ipv4Addr;

use url::Url;

pub(crate) use self::allow_list::AllowList;

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

/// The longest, in bytes: it is kept in the client's id, and in a cookie.
const MOST_BYTES: usize = 512;

impl RedirectUri {
    /// The error completes the sentence "the redirect URI …".
    pub(crate) fn parse(text: &str, allowed: &AllowList) -> Result<Self, &'static str> {
        let uri = Self::owned(text, allowed)?;
        match allowed.allows(&uri) {
            true => Ok(uri),
            false => Err("is not among those that this server allows"),
        }
    }

    /// Returns whether nothing speaks against it but that its scheme is not known to be an
    /// application's.
    pub(crate) fn has_unknown_scheme(text: &str, allowed: &AllowList) -> bool {
        Self::safe(text).is_ok() && Self::owned(text, allowed).is_err()
    }

    /// Whether nothing but the list speaks against it.
    pub(crate) fn is_safe(text: &str, allowed: &AllowList) -> bool {
        Self::owned(text, allowed).is_ok()
    }

    fn owned(text: &str, allowed: &AllowList) -> Result<Self, &'static str> {
        let uri = Self::safe(text)?;
        let (scheme, rest) = text.split_once(':').unwrap_or_default();
        let is_clients =
            uri.kind != Kind::Custom || scheme::is_private_use(scheme, rest) || allowed.names(&uri);
        match is_clients {
            true => Ok(uri),
            false => Err(
                "has a scheme that is neither a domain name in reverse, such as com.example.app, nor \
                 one of a product at the place where that takes answers",
            ),
        }
    }

    /// Parses a URI that nobody runs or reads, and in which everybody reads the same.
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
            (
                "vscode-insiders://saoudrizwan.claude-dev/mcp-auth/callback/x",
                Kind::Custom,
            ),
            ("windsurf://saoudrizwan.claude-dev/mcp-auth/x", Kind::Custom),
            ("cursor://anysphere.cursor-mcp/oauth/callback", Kind::Custom),
            ("warp://mcp/oauth2callback", Kind::Custom),
            ("raycast://oauth?package_name=Extension", Kind::Custom),
            ("com.raycast:/oauth?package_name=Extension", Kind::Custom),
            ("io.github.somebody.notes://callback", Kind::Custom),
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
            "https://example.com/..%5ccb",
            "https://example.com/a%5C..%5Ccb",
            "com.example.app://user@host/cb",
            "com.example.app://user:password@host/cb",
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

    /// Of systems and applications on Windows, macOS, iOS, Android and Linux, by what each documents:
    /// one that opens such a link does something with it.
    const OTHERS_SCHEMES: &str = "\
        shortcuts workflow x-man-page x-apple.systempreferences x-apple-helpbasic x-apple-reminder \
        x-web-search x-dictionary help apple-feedback prefs app-prefs app-settings calshow maps music musics \
        itms itms-apps itms-appss itms-beta itms-books itms-bookss itms-podcast itunes videos photos-redirect \
        facetime-audio facetime-group mobilenotes notes message imessage sms-private rdar ichat terminal \
        vnc ssh sftp smb afp nfs cifs rdp telnet ftp ldap ldaps dav webcal feed podcast \
        microsoft-edge microsoft-edge-holographic msedge bingmaps bingweather ms-settings ms-msdt ms-cxh \
        ms-officecmd ms-word ms-excel ms-powerpoint ms-access ms-visio ms-project ms-publisher ms-infopath \
        ms-search ms-appinstaller ms-windows-store ms-screenclip ms-screensketch ms-gamingoverlay ms-photos \
        ms-call ms-people ms-device-enrollment ms-availablenetworks ms-quick-assist ms-cortana ms-clock \
        ms-contact-support ms-drive-to ms-walk-to ms-get-started ms-actioncenter ms-appx ms-appx-web ms-appdata \
        ms-its microsoft.windows.camera microsoft.windows.camera.picker microsoft.windows.photos.crop \
        com.microsoft.windows.camera com.microsoft.builder3d com.microsoft.print3d windowsdefender xbox \
        search search-ms onenote onenote-cmd skype skype-meetnow callto lync sip sips msteams ms-teams \
        outlook outlookmail owa mailto tel sms mms geo market intent android-app content package \
        com.android.settings com.google.android.gms com.apple.tv com.apple.systempreferences net.tcp net.pipe \
        googlechrome googlechromes google-search googlegmail googledrive comgooglemaps chrome chrome-native \
        chrome-extension moz-extension moz-icon resource edge opera brave firefox firefox-focus safari \
        steam com+epic epicgames origin origin2 uplay battlenet roblox roblox-player minecraft league \
        zoommtg zoomus zoomphonecall webex gotomeeting discord slack tg telegram whatsapp signal sgnl viber \
        wechat weixin line fb fb-messenger instagram twitter tiktok snapchat spotify deezer tidal vlc \
        bitcoin bitcoincash ethereum litecoin dogecoin monero lightning lnurl magnet ed2k thunder \
        git git-client github-mac github-windows sourcetree fork gitkraken jetbrains idea pycharm webstorm \
        zed subl txmt atom emacs org-protocol obsidian notion bear things omnifocus todoist trello evernote \
        onepassword bitwarden keepassxc anydesk teamviewer8 teamviewerapi logmein citrixreceiver vmware-view \
        vmrc docker-desktop postman insomnia alfred iterm2 warpterm figma sketch adobe+ps creativecloud \
        claude codex goose lmstudio ollama chatgpt windsurf-next javascript vbscript data blob about \
        filesystem view-source jar mhtml res mk hcp wyciwyg livescript mocha gopher dict imap pop nntp news \
        snews rtsp rtmp mms-stream z39.50r soap.beep urn cid mid tv ipp ipps print irc irc6 ircs xmpp jabber \
        openid web+mastodon web+example ipfs ipns dweb dat hyper gemini localhost local.app example.app \
        acrobat afp acct aaa iris.beep coap coaps mqtt redis mongodb postgres mysql jdbc s3 gs oid pkcs11";

    #[test]
    fn schemes_of_systems_and_of_other_applications_are_refused() {
        let schemes: Vec<&str> = OTHERS_SCHEMES.split_whitespace().collect();
        assert!(schemes.len() > 280, "{}", schemes.len());
        for scheme in schemes {
            for rest in [
                "//host.example/path",
                "//host/path?x=1",
                "//anysphere.cursor-mcp/oauth/callback",
                "//mcp/oauth2callback",
                "//oauth",
                "/path",
                "path",
            ] {
                let uri = format!("{scheme}:{rest}");
                assert!(parse(&uri).is_err(), "{uri}");
            }
        }
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
    fn the_longest_has_512_bytes() {
        let of_length = |length: usize| {
            let beginning = "https://example.com/";
            parse(&format!(
                "{beginning}{}",
                "a".repeat(length - beginning.len())
            ))
        };
        assert!(of_length(512).is_ok());
        assert_eq!(of_length(513), Err("is longer than 512 bytes"));
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
            with("https://example.com/cb?a=1&"),
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
        assert_eq!(source("com.example.app:/cb"), "com.example.app:");
    }
}
