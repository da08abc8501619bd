//! Tests of redirects before the user agreed to anything.
//!
//! There are nearly none. A page shows the error instead (RFC 9700 §4.11.2).

use entra_oauth_proxy::{Clients, EntraOAuthProxyBuilder, PreregisteredClient, ProxyKeys};
use http::{Method, StatusCode};
use serde_json::json;
use url::Url;

use crate::support::{
    Browser, Client, PUBLIC, REDIRECT, Reply, Stage, encoded, parameter, request, settings,
};
use crate::told::{carried, links};

const PHISH: &str = "https://phish.example/login";
const CURSOR: &str = "cursor://anysphere.cursor-mcp/oauth/callback";

fn keys() -> ProxyKeys {
    ProxyKeys::from_base64("7wW6qQJqTgVd3o6m1z0kGk2rQ4cXnE9yB5fHhLpUsvA=").unwrap()
}

async fn client_at(stage: &Stage, uri: &str) -> Client {
    let metadata = json!({ "redirect_uris": [uri], "client_name": "Your bank" });
    stage.client_with(metadata).await
}

/// Invalid parameters at the authorization endpoint, one for each kind of error.
const ERRORS: [(&str, &str, &str); 9] = [
    ("response_type", "x", "unsupported_response_type"),
    ("response_type", "", "invalid_request"),
    ("response_mode", "fragment", "invalid_request"),
    ("code_challenge", "", "invalid_request"),
    ("resource", "https://evil.example/mcp", "invalid_target"),
    ("scope", "admin", "invalid_scope"),
    ("request", "eyJ.e30.x", "request_not_supported"),
    (
        "request_uri",
        "https://x.example",
        "request_uri_not_supported",
    ),
    ("claims", "x", "invalid_request"),
];

#[track_caller]
fn says(url: &Url, uri: &str, error: &str) {
    assert!(url.as_str().starts_with(uri), "{url}");
    assert_eq!(parameter(url, "error").as_deref(), Some(error), "{url}");
    let state = parameter(url, "state");
    assert_eq!(state.as_deref(), Some("the client's state"), "{url}");
    assert_eq!(parameter(url, "iss").as_deref(), Some(PUBLIC), "{url}");
    assert_eq!(parameter(url, "code"), None, "{url}");
}

async fn errors_are_redirected(stage: &Stage, client: &Client, are_redirected: bool) {
    for (name, value, error) in ERRORS {
        let reply = stage.get(&client.authorize(&[(name, value)])).await;
        let url = match are_redirected {
            true => {
                assert_eq!(
                    reply.status,
                    StatusCode::SEE_OTHER,
                    "{}",
                    client.redirect_uri
                );
                reply.location().parse().unwrap()
            }
            false => carried(&reply),
        };
        says(&url, &client.redirect_uri, error);
        assert!(reply.cookies().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_is_redirected_to_loopback_a_preregistered_client_and_a_listed_uri_alone() {
    let any = Stage::new().await;
    for (uri, are_redirected) in [
        (PHISH, false),
        (REDIRECT, false),
        (CURSOR, false),
        ("com.example.notes:/cb", false),
        ("http://localhost:51234/callback", true),
        ("http://127.0.0.1/callback", true),
        ("http://[::1]:9/callback", true),
    ] {
        let client = client_at(&any, uri).await;
        errors_are_redirected(&any, &client, are_redirected).await;
    }

    let list = [
        "https://claude.ai",
        "https://vscode.dev/redirect",
        "com.example.notes:/cb",
        "cursor:",
        "http://localhost",
    ];
    let listed =
        Stage::with(|settings| settings.clients(Clients::default().allowed_redirects(list))).await;
    for (uri, are_redirected) in [
        ("https://vscode.dev/redirect", true),
        ("com.example.notes:/cb", true),
        ("http://localhost:1/cb", true),
        // The addresses of one origin, or of one scheme, may belong to different parties.
        ("https://claude.ai/redirect?to=https://evil.example", false),
        ("https://claude.ai/api/mcp/auth_callback", false),
        (CURSOR, false),
    ] {
        let client = client_at(&listed, uri).await;
        errors_are_redirected(&listed, &client, are_redirected).await;
    }

    let fixed = |settings: EntraOAuthProxyBuilder| {
        let desk = PreregisteredClient::public("desk").redirect_uri(REDIRECT);
        settings.clients(Clients::default().preregistered(desk))
    };
    let stage = Stage::with(fixed).await;
    let desk = Client {
        id: "desk".to_owned(),
        secret: None,
        redirect_uri: REDIRECT.to_owned(),
    };
    errors_are_redirected(&stage, &desk, true).await;
    // Another client with the same address is not the client that the operator pre-registered.
    let other = client_at(&stage, REDIRECT).await;
    errors_are_redirected(&stage, &other, false).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_sent_anywhere_without_a_click_of_theirs() {
    let stage = Stage::new().await;
    let evil = client_at(&stage, PHISH).await;
    let mut victim = Browser::new(&stage);
    let mut attacker = Browser::new(&stage);
    let page = attacker.get(&evil.authorize(&[])).await;
    let consent = page.field("consent");
    let open = victim.get(&evil.authorize(&[])).await.field("consent");

    let mut replies: Vec<(String, Reply)> = Vec::new();
    let bad = evil.authorize(&[("response_type", "x")]);
    for method in [Method::HEAD, Method::POST, Method::OPTIONS, Method::PUT] {
        let body = bad.split_once('?').unwrap().1.to_owned();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        for (path, body) in [(&*bad, String::new()), ("/authorize", body)] {
            let reply = victim
                .send(method.clone(), path, &headers, body.into())
                .await;
            replies.push((format!("{method} {path}"), reply));
        }
    }
    for prompt in ["none", "login", "consent"] {
        for more in [("prompt", "none"), ("scope", "x")] {
            let reply = victim
                .get(&evil.authorize(&[("prompt", prompt), more]))
                .await;
            replies.push((format!("prompt={prompt} {more:?}"), reply));
        }
    }
    // Decisions with another browser's form, from another site, or with an invented form.
    for decision in ["approve", "deny", ""] {
        let form = [("consent", &*consent), ("decision", decision)];
        let reply = victim.post("/consent", &form).await;
        replies.push((format!("the attacker's form, {decision}"), reply));
        let form = encoded(&[("consent", &*open), ("decision", decision)]);
        for headers in [
            &[("origin", "https://phish.example")][..],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site"), ("origin", "null")],
            &[("sec-fetch-site", "none")],
        ] {
            for media_type in ["application/x-www-form-urlencoded", "text/plain"] {
                let mut headers = headers.to_vec();
                headers.push(("content-type", media_type));
                let reply = victim
                    .send(Method::POST, "/consent", &headers, form.clone().into())
                    .await;
                replies.push((format!("{headers:?} {decision}"), reply));
            }
        }
        let reply = victim
            .post("/consent", &[("consent", "x"), ("decision", decision)])
            .await;
        replies.push((format!("made up, {decision}"), reply));
        let reply = victim.get(&format!("/consent?{form}")).await;
        replies.push((format!("a link, {decision}"), reply));
    }
    for query in [
        "",
        "error=access_denied",
        "error=access_denied&state=x",
        "code=x&state=x",
        "code=x&state=x&iss=https://evil.example&redirect_uri=https://evil.example",
    ] {
        let reply = victim.get(&format!("/callback?{query}")).await;
        replies.push((format!("/callback?{query}"), reply));
        let query = format!("{query}&post_logout_redirect_uri={PHISH}&redirect_uri={PHISH}");
        let reply = victim.get(&format!("/signed-out?{query}")).await;
        replies.push((format!("/signed-out?{query}"), reply));
    }
    for (case, reply) in &replies {
        assert_eq!(reply.location(), "", "{case}");
        assert!(!reply.headers.contains_key("refresh"), "{case}");
        assert!(!reply.text().contains("http-equiv"), "{case}");
    }
    // The only endpoint that redirects without a decision goes to Entra, whichever address a
    // request names.
    let reply = victim
        .get(&format!("/sign-out?post_logout_redirect_uri={PHISH}"))
        .await;
    assert!(reply.location().starts_with(stage.tenant.url()));
    assert!(!reply.location().contains("phish"));

    // After a denial the form leads only to the same denial, for a second click.
    let page = attacker.get(&evil.authorize(&[])).await;
    let denied = attacker.answer(&page, "deny").await.onward();
    assert!(denied.starts_with(PHISH));
    assert_eq!(attacker.answer(&page, "deny").await.onward(), denied);
    let again = attacker.answer(&page, "approve").await;
    assert_eq!(
        (again.status, &*again.location()),
        (StatusCode::FORBIDDEN, "")
    );
    let page = attacker.get(&evil.authorize(&[])).await;
    stage
        .tenant
        .time()
        .advance(std::time::Duration::from_secs(901))
        .await;
    let late = attacker.answer(&page, "deny").await;
    assert_eq!(
        (late.status, &*late.location()),
        (StatusCode::FORBIDDEN, "")
    );
    assert_eq!(stage.tenant.authorize_endpoint().hits(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_page_says_what_is_wrong_and_where_the_button_leads() {
    let stage = Stage::new().await;
    let uri = "https://phish.example/call-0800-12345?a=1&b='x'";
    let client = client_at(&stage, uri).await;
    let state = "\"><script>alert(1)</script>&'";
    for (changes, fault) in [
        (("resource", "https://evil.example"), "a different service"),
        (
            ("scope", "admin"),
            "a permission that this service does not offer",
        ),
        (
            ("response_type", "x"),
            "in a form that this server does not accept",
        ),
    ] {
        let page = stage
            .get(&client.authorize(&[changes, ("state", state)]))
            .await;
        let url = carried(&page);
        let written = &links(&page)[0];
        assert!(written.starts_with(&format!("{uri}&error=")), "{written}");
        assert_eq!(parameter(&url, "state").as_deref(), Some(state));
        let text = page.text();
        assert!(text.contains(fault), "{text}");
        assert!(
            text.contains("<dd class=\"host\">phish.example</dd>"),
            "{text}"
        );
        // Of the texts that other parties wrote, the page shows only the host.
        let (before, rest) = text.split_once("href=\"").unwrap();
        let after = rest.split_once('"').unwrap().1;
        for said in ["0800", "Your bank", "alert(1)", "evil.example", "admin"] {
            assert!(
                !before.contains(said) && !after.contains(said),
                "{said}: {text}"
            );
        }
        assert!(!text.contains("<script"), "{text}");
        for attribute in [" id=", "autofocus", "tabindex", "accesskey", "target="] {
            assert!(!text.contains(attribute), "{attribute}");
        }
    }
    let client = client_at(&stage, CURSOR).await;
    let page = stage.get(&client.authorize(&[("scope", "x")])).await;
    assert!(page.text().contains("<dd class=\"host\">cursor:</dd>"));
    says(&carried(&page), CURSOR, "invalid_scope");
}

#[tokio::test(start_paused = true)]
async fn schemes_of_systems_and_of_other_applications_are_not_registered() {
    let stage = Stage::new().await;
    for uri in [
        "shortcuts://run-shortcut?name=x",
        "workflow://x",
        "x-man-page://1/ls",
        "x-apple.systempreferences:com.apple.preference.security",
        "com.apple.systempreferences:x",
        "itms-apps://apple.com/x",
        "microsoft-edge:https://evil.example",
        "microsoft-edge://evil.example/x",
        "microsoft.windows.camera:",
        "com.microsoft.windows.camera://x/y",
        "ms-settings://privacy",
        "ms-officecmd://x/y",
        "search-ms://query=x",
        "vnc://evil.example",
        "ssh://evil.example",
        "ldap://evil.example/x",
        "smb://evil.example/share",
        "googlechrome://evil.example",
        "chrome://settings",
        "com.google.android.gms://x/y",
        "intent://x/y",
        "android-app://com.example/x",
        "steam://run/1",
        "zoommtg://zoom.us/join",
        "slack://open",
        "tg://resolve?domain=x",
        "whatsapp://send?text=x",
        "bitcoin://1A1zP1",
        "magnet://x",
        "vscode://file/etc/passwd",
        "cursor://anysphere.cursor-deeplink/mcp/install?name=x",
        "warp://action/new_tab?path=/tmp",
        "web+app://x/y",
        "myapp://callback",
        "localhost://x/y",
        "net.tcp://evil.example/x",
    ] {
        for uris in [json!([uri]), json!([REDIRECT, uri])] {
            let reply = stage.register(&json!({ "redirect_uris": uris })).await;
            assert_eq!(
                reply.error(),
                (400, "invalid_redirect_uri".to_owned()),
                "{uri}"
            );
        }
    }
    for uri in [
        CURSOR,
        "vscode://saoudrizwan.claude-dev/mcp-auth/callback/x",
        "vscode-insiders://saoudrizwan.claude-dev/mcp-auth/callback/x",
        "windsurf://saoudrizwan.claude-dev/mcp-auth/callback/x",
        "warp://mcp/oauth2callback",
        "raycast://oauth?package_name=Extension",
        "com.raycast:/oauth?package_name=Extension",
        "com.example.notes:/cb",
        "io.github.somebody.notes://cb",
    ] {
        let client = client_at(&stage, uri).await;
        let page = stage.get(&client.authorize(&[])).await;
        assert_eq!(page.status, StatusCode::OK, "{uri}");
    }
}

/// Checks that a registration, or a consent, is invalid if the rules no longer allow its address.
#[tokio::test(start_paused = true)]
async fn an_address_that_falls_out_of_the_rules_gets_a_page_without_a_button() {
    let uri = "notes-desk://callback";
    let named = |settings: EntraOAuthProxyBuilder| {
        settings
            .keys(keys())
            .clients(Clients::default().private_use_schemes(["notes-desk"]))
    };
    let mut stage = Stage::with(named).await;
    let client = client_at(&stage, uri).await;
    let (page, cookies, at_entra, entras_cookies) = {
        let mut browser = Browser::new(&stage);
        let page = browser.get(&client.authorize(&[])).await;
        assert_eq!(page.status, StatusCode::OK);
        let mut other = Browser::new(&stage);
        let at_entra = other.goes_to_entra(&client, &[]).await;
        (page, browser.cookies, at_entra, other.cookies)
    };
    errors_are_redirected(&stage, &client, false).await;

    stage.proxy = settings(&stage.tenant).keys(keys()).build().unwrap();
    for changes in [&[][..], &[("scope", "x")], &[("response_type", "x")]] {
        let reply = stage.get(&client.authorize(changes)).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert_eq!(reply.location(), "");
        assert!(links(&reply).is_empty(), "{}", reply.text());
        let as_text = "<dd><code>notes-desk://callback</code></dd>";
        assert!(reply.text().contains(as_text), "{}", reply.text());
    }
    for decision in ["approve", "deny"] {
        let mut browser = Browser::new(&stage);
        browser.cookies = cookies.clone();
        let reply = browser.answer(&page, decision).await;
        assert_eq!(reply.location(), "", "{decision}");
        assert!(links(&reply).is_empty(), "{}", reply.text());
    }
    let mut browser = Browser::new(&stage);
    browser.cookies = entras_cookies;
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    let reply = browser.come_back(&callback).await;
    assert_eq!(
        (reply.status, &*reply.location()),
        (StatusCode::BAD_REQUEST, "")
    );
}

#[tokio::test(start_paused = true)]
async fn a_scheme_that_is_named_signs_in_with_a_list_and_without() {
    let named = |settings: EntraOAuthProxyBuilder| {
        settings.clients(Clients::default().private_use_schemes(["notes-desk:"]))
    };
    let listed = |settings: EntraOAuthProxyBuilder| {
        settings.clients(Clients::default().allowed_redirects(["notes-desk"]))
    };
    let exact = |settings: EntraOAuthProxyBuilder| {
        settings.clients(Clients::default().allowed_redirects(["notes-desk:/callback"]))
    };
    let fixed = |settings: EntraOAuthProxyBuilder| {
        let desk = PreregisteredClient::public("desk").redirect_uri("notes-desk:/callback");
        settings.clients(
            Clients::default()
                .private_use_schemes(["notes-desk"])
                .preregistered(desk),
        )
    };
    for stage in [
        Stage::with(named).await,
        Stage::with(listed).await,
        Stage::with(exact).await,
        Stage::with(fixed).await,
    ] {
        let client = client_at(&stage, "notes-desk:/callback").await;
        let code = Browser::new(&stage).code(&client, "ada", &[]).await;
        let tokens = stage.redeem(&client, &code).await;
        assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.text());
    }
}

/// Checks that a form of another site has no effect.
///
/// A browser sends such a form without a preflight, unless its body is JSON.
#[tokio::test(start_paused = true)]
async fn a_form_of_another_site_does_nothing() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let metadata = json!({ "redirect_uris": [PHISH], "x": "=" }).to_string();
    let token = tokens["refresh_token"].as_str().unwrap();
    let revocation = encoded(&[("token", token), ("client_id", &*client.id)]);
    let refresh = format!("{revocation}&grant_type=refresh_token&refresh_token={token}");
    let form = "application/x-www-form-urlencoded";
    for media_type in [
        "text/plain",
        "text/plain;charset=UTF-8",
        "text/plain; x=application/json",
        "multipart/form-data; boundary=x",
        "",
        "application/octet-stream",
        "text/html",
        form,
    ] {
        let headers = [
            ("content-type", media_type),
            ("origin", "https://evil.example"),
            ("sec-fetch-site", "cross-site"),
        ];
        let send = async |path: &str, body: &str| {
            let body = body.to_owned().into();
            stage
                .send(request(Method::POST, path, &headers, body))
                .await
        };
        let reply = send("/register", &metadata).await;
        let refused = (415, "invalid_client_metadata".to_owned());
        assert_eq!(reply.error(), refused, "{media_type}");
        if media_type != form {
            let refused = (400, "invalid_request".to_owned());
            for (path, body) in [
                ("/revoke", &revocation),
                ("/token", &refresh),
                ("/consent", &revocation),
            ] {
                assert_eq!(
                    send(path, body).await.error(),
                    refused,
                    "{path} {media_type}"
                );
            }
        }
    }
    // A second media type is refused, and so is a form without one.
    for headers in [
        &[
            ("content-type", "application/json"),
            ("content-type", "text/plain"),
        ][..],
        &[
            ("content-type", "application/json"),
            ("content-type", "application/json"),
        ],
    ] {
        let body = metadata.clone().into();
        let reply = stage
            .send(request(Method::POST, "/register", headers, body))
            .await;
        assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    for path in ["/token", "/revoke", "/consent"] {
        for headers in [&[][..], &[("content-type", form), ("content-type", form)]] {
            let body = revocation.clone().into();
            let reply = stage.send(request(Method::POST, path, headers, body)).await;
            assert_eq!(reply.error(), (400, "invalid_request".to_owned()), "{path}");
        }
    }
    // None of these requests ended the sign-in or replaced its token.
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
    for headers in [
        &[][..],
        &[("content-type", "application/json")],
        &[("content-type", "application/json; charset=utf-8")],
        &[("content-type", "application/vnd.client+json")],
    ] {
        let body = json!({ "redirect_uris": [REDIRECT] }).to_string().into();
        let reply = stage
            .send(request(Method::POST, "/register", headers, body))
            .await;
        assert_eq!(reply.status, StatusCode::CREATED, "{headers:?}");
    }
    let charset = [(
        "content-type",
        "application/x-www-form-urlencoded; charset=utf-8",
    )];
    let body = revocation.clone().into();
    let reply = stage
        .send(request(Method::POST, "/revoke", &charset, body))
        .await;
    assert_eq!(reply.status, StatusCode::OK);
}
