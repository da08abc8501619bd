use super::*;

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn list_of(entries: &[&str]) -> Result<AllowList, String> {
    AllowList::new(&owned(entries)).map_err(str::to_owned)
}

fn with_schemes(list: AllowList, schemes: &[&str]) -> Result<AllowList, String> {
    list.with_schemes(&owned(schemes)).map_err(str::to_owned)
}

fn parse(text: &str) -> Result<RedirectUri, UnfitUri> {
    RedirectUri::parse(text, &AllowList::default())
}

#[test]
fn what_clients_register_is_accepted() {
    for (text, kind) in [
        (
            "https://claude.ai/api/mcp/auth_callback",
            RedirectUriKind::Https,
        ),
        (
            "https://chatgpt.com/connector/oauth/abc?x=1",
            RedirectUriKind::Https,
        ),
        ("https://example.com", RedirectUriKind::Https),
        ("https://example.com:8443/cb", RedirectUriKind::Https),
        ("http://localhost/callback", RedirectUriKind::Loopback),
        ("http://localhost:51234/callback", RedirectUriKind::Loopback),
        ("http://127.0.0.1:33418/", RedirectUriKind::Loopback),
        ("http://127.9.9.9/", RedirectUriKind::Loopback),
        ("http://[::1]:8080/cb", RedirectUriKind::Loopback),
        (
            "cursor://anysphere.cursor-retrieval/oauth/user-x/callback",
            RedirectUriKind::Custom,
        ),
        ("com.example.app:/oauth", RedirectUriKind::Custom),
        (
            "vscode://vscode.github-authentication/did-authenticate",
            RedirectUriKind::Custom,
        ),
        (
            "vscode-insiders://saoudrizwan.claude-dev/mcp-auth/callback/x",
            RedirectUriKind::Custom,
        ),
        (
            "windsurf://saoudrizwan.claude-dev/mcp-auth/x",
            RedirectUriKind::Custom,
        ),
        (
            "cursor://anysphere.cursor-mcp/oauth/callback",
            RedirectUriKind::Custom,
        ),
        ("warp://mcp/oauth2callback", RedirectUriKind::Custom),
        (
            "raycast://oauth?package_name=Extension",
            RedirectUriKind::Custom,
        ),
        (
            "com.raycast:/oauth?package_name=Extension",
            RedirectUriKind::Custom,
        ),
        (
            "io.github.somebody.notes://callback",
            RedirectUriKind::Custom,
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

/// Schemes of systems and applications on Windows, macOS, iOS, Android and Linux, from their
/// documentation.
///
/// Opening such a link has an effect.
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
    assert_eq!(
        of_length(513),
        Err(UnfitUri::Unsafe("is longer than 512 bytes"))
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
        with("https://example.com/cb?a=1&"),
        format!("https://example.com/cb?a=1&{added}")
    );
    assert_eq!(
        with("com.example.app:/cb"),
        format!("com.example.app:/cb?{added}")
    );
}

fn parse_with<'l>(list: &'l AllowList) -> impl Fn(&str) -> Result<RedirectUri, UnfitUri> + 'l {
    |text| RedirectUri::parse(text, list)
}

#[test]
fn the_allow_list_has_the_last_word() {
    let list = list_of(&[
        "https://claude.ai",
        "http://localhost",
        "cursor:",
        "myapp",
        "com.example.notes:/cb",
        "https://vscode.dev/redirect",
        "http://127.0.0.1/cb",
    ])
    .unwrap();
    let allowed = |text: &str| parse_with(&list)(text).is_ok();
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
    let nothing = AllowList::new(&[]).unwrap();
    assert!(parse_with(&nothing)("https://claude.ai/").is_err());
}

#[test]
fn the_allow_list_vouches_for_this_machine_and_for_the_very_uri() {
    let list = list_of(&[
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
        let uri = parse_with(&list)(text).unwrap();
        assert_eq!(list.vouches_for(&uri), vouches, "{text}");
    }
    let any = AllowList::default();
    for (text, vouches) in [
        ("http://127.0.0.1:1/cb", true),
        ("http://[::1]/cb", true),
        ("https://vscode.dev/redirect", false),
        ("com.example.notes:/cb", false),
    ] {
        let uri = parse_with(&any)(text).unwrap();
        assert_eq!(any.vouches_for(&uri), vouches, "{text}");
    }
}

#[test]
fn entries_of_the_allow_list_are_origins_schemes_and_uris_that_could_be_registered() {
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
        assert_eq!(list_of(&[entry]).unwrap_err(), entry);
        let known = with_schemes(AllowList::default(), &[entry]);
        assert_eq!(known.unwrap_err(), entry);
    }
    // Each could be a host.
    for entry in ["app.example.com", "chat.openai.com/", "com.example.app"] {
        assert_eq!(list_of(&[entry]).unwrap_err(), entry);
    }
    for entry in ["com.example.app", "com.example.app:"] {
        assert!(with_schemes(AllowList::default(), &[entry]).is_ok());
    }
    assert!(list_of(&["com.example.app:"]).is_ok());
    // These are addresses, not schemes.
    for entry in ["https://claude.ai", "myapp:/callback", "https://x/cb"] {
        assert!(list_of(&[entry]).is_ok());
        assert!(with_schemes(AllowList::default(), &[entry]).is_err());
    }
}

#[test]
fn schemes_that_are_named_are_known_with_a_list_and_without() {
    let known = with_schemes(AllowList::default(), &["notes-desk", "other:"]).unwrap();
    for text in ["notes-desk:/cb", "notes-desk://x/y", "other:/"] {
        assert!(parse_with(&known)(text).is_ok(), "{text}");
        let uri = parse_with(&known)(text).unwrap();
        assert!(!known.vouches_for(&uri), "{text}");
    }
    assert!(parse_with(&known)("notes-desks:/cb").is_err());
    // A known scheme that the list does not contain is not permitted.
    let listed = list_of(&["https://claude.ai"]).unwrap();
    let listed = with_schemes(listed, &["notes-desk"]).unwrap();
    let refused = parse_with(&listed)("notes-desk:/cb").unwrap_err();
    assert_eq!(refused, UnfitUri::NotListed);
}
