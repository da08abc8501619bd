//! Tests of attacks through a user's browser.

use http::{Method, StatusCode};
use serde_json::json;
use url::Url;

use crate::support::{Browser, PUBLIC, REDIRECT, Stage, encoded, parameter, request};
use crate::told::carried;
use crate::watched_store::WatchedStore;

/// Checks that each client needs its own consent (GHSA-c2jp-c369-7pvx).
///
/// Entra knows only one client, this server, and does not ask a user again who consented once. So
/// this server asks before the browser goes to Entra.
#[tokio::test(start_paused = true)]
async fn confused_deputy_through_a_static_upstream_client() {
    let stage = Stage::new().await;
    let honest = stage.client().await;
    let mut browser = Browser::new(&stage);
    browser.code(&honest, "ada", &[]).await;
    stage.tenant.people().start_session("ada");
    let at_entra = stage.tenant.authorize_endpoint().hits();

    let evil = stage
        .client_with(json!({
            "redirect_uris": ["https://evil.example/callback"], "client_name": "Test client",
        }))
        .await;
    let page = browser.get(&evil.authorize(&[])).await;
    assert_eq!(
        (page.status, page.location()),
        (StatusCode::OK, String::new())
    );
    assert!(page.text().contains("<dd class=\"host\">evil.example</dd>"));
    assert!(page.text().contains("not verified"));
    // A `prompt` of the client does not skip the page either.
    let page = browser.get(&evil.authorize(&[("prompt", "none")])).await;
    assert_eq!(
        (page.status, page.location()),
        (StatusCode::OK, String::new())
    );
    let denied = browser.answer(&page, "deny").await.onward();
    assert!(!denied.contains("code="));
    assert_eq!(stage.tenant.authorize_endpoint().hits(), at_entra);
    // Consent to one client is not consent to another.
    let page = browser.get(&honest.authorize(&[])).await;
    let consent = page.field("consent");
    let form = [
        ("consent", &*consent),
        ("decision", "approve"),
        ("client_id", &evil.id),
        ("redirect_uri", "https://evil.example/callback"),
    ];
    let at_entra = browser.post("/consent", &form).await.onward();
    let answered = browser
        .come_back(&stage.tenant.people().sign_in("ada", &at_entra))
        .await;
    assert!(answered.location().starts_with(REDIRECT));
}

/// Checks that the callback works only in the browser in which the user agreed
/// (GHSA-rww4-4w9c-7733, CVE-2026-27124).
///
/// The attacker agrees, and sends the victim the link to Entra. Entra knows the victim and asks
/// nothing.
#[tokio::test(start_paused = true)]
async fn consent_in_the_attackers_browser_and_callback_in_the_victims() {
    let stage = Stage::new().await;
    let evil = stage
        .client_with(json!({ "redirect_uris": ["https://evil.example/callback"] }))
        .await;
    let mut attacker = Browser::new(&stage);
    let link = attacker.goes_to_entra(&evil, &[]).await;
    let callback = stage.tenant.people().sign_in("ada", &link);

    let mut victim = Browser::new(&stage);
    let reply = victim.come_back(&callback).await;
    assert_eq!(
        (reply.status, reply.location()),
        (StatusCode::FORBIDDEN, String::new())
    );
    // The same holds if the victim has another sign-in in progress.
    let honest = stage.client().await;
    victim.goes_to_entra(&honest, &[]).await;
    let reply = victim.come_back(&callback).await;
    assert_eq!(
        (reply.status, reply.location()),
        (StatusCode::FORBIDDEN, String::new())
    );
    assert_eq!(stage.tenant.token_endpoint().hits(), 0);
}

/// Checks that a malicious server gets no token if it names this one as its authorization server
/// (GHSA-6x8h-498w-gv8c).
///
/// The malicious server's clients request a token for it, and the user knows the client. With a
/// remembered consent, the user would see no page.
#[tokio::test(start_paused = true)]
async fn authorization_server_in_the_middle() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let evil = ("resource", "https://evil.example/mcp");
    let reply = browser.get(&client.authorize(&[evil])).await;
    let url = carried(&reply);
    assert_eq!(parameter(&url, "error").as_deref(), Some("invalid_target"));
    assert_eq!(parameter(&url, "iss").as_deref(), Some(PUBLIC));

    let code = browser.code(&client, "ada", &[]).await;
    let mut form = client.redemption(&code);
    form.retain(|(name, _)| *name != "resource");
    form.push(evil);
    assert_eq!(
        stage.token(&form).await.error(),
        (400, "invalid_target".to_owned())
    );
    let tokens = stage.redeem(&client, &code).await.json();
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
        ("client_id", &client.id),
        evil,
    ];
    assert_eq!(
        stage.token(&form).await.error(),
        (400, "invalid_target".to_owned())
    );
    // The proxy asks the user each time, and shows where the response goes.
    for _ in 0..3 {
        let page = browser.get(&client.authorize(&[])).await;
        assert_eq!(
            (page.status, page.location()),
            (StatusCode::OK, String::new())
        );
        assert!(
            page.text()
                .contains("<dd class=\"host\">client.example</dd>")
        );
        let at_entra = browser.answer(&page, "approve").await.onward();
        browser
            .come_back(&stage.tenant.people().sign_in("ada", &at_entra))
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn mix_up_of_authorization_servers() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let document = stage
        .get("/.well-known/oauth-authorization-server")
        .await
        .json();
    let issuer = document["issuer"].as_str().unwrap();
    assert_eq!(issuer, PUBLIC);
    assert_eq!(
        document["authorization_response_iss_parameter_supported"],
        true
    );
    let mut browser = Browser::new(&stage);
    let success = browser.signed_in(&client, "ada", &[]).await;
    let page = browser.get(&client.authorize(&[])).await;
    let denied: Url = browser
        .answer(&page, "deny")
        .await
        .onward()
        .parse()
        .unwrap();
    let refused = browser.get(&client.authorize(&[("scope", "x")])).await;
    let refused = carried(&refused);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    let declined = browser
        .come_back(&stage.tenant.people().decline(&at_entra))
        .await;
    for url in [
        success,
        denied,
        refused,
        declined.location().parse().unwrap(),
    ] {
        assert_eq!(parameter(&url, "iss").as_deref(), Some(issuer), "{url}");
    }
    for endpoint in [
        "authorization_endpoint",
        "token_endpoint",
        "registration_endpoint",
    ] {
        assert!(
            document[endpoint].as_str().unwrap().starts_with(issuer),
            "{endpoint}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn login_csrf_on_the_callback() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut attacker = Browser::new(&stage);
    let at_entra = attacker.goes_to_entra(&client, &[]).await;
    let attackers: Url = stage
        .tenant
        .people()
        .sign_in("grace", &at_entra)
        .parse()
        .unwrap();

    // The attacker's own callback URL, in the victim's browser.
    let mut victim = Browser::new(&stage);
    let at_entra: Url = victim.goes_to_entra(&client, &[]).await.parse().unwrap();
    let reply = victim.come_back(attackers.as_str()).await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    // The attacker's code with the victim's state. The code belongs to another challenge, and its
    // id token has another nonce.
    let code = parameter(&attackers, "code").unwrap();
    let state = parameter(&at_entra, "state").unwrap();
    let reply = victim
        .get(&format!("/callback?code={code}&state={state}"))
        .await;
    assert!(!reply.location().contains("code="), "{}", reply.location());
}

#[tokio::test(start_paused = true)]
async fn open_redirect() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    for uri in [
        "https://evil.example",
        "//evil.example",
        "https://client.example.evil.example/callback",
        "https://client.example@evil.example/callback",
        "https://client.example/callback/../../evil",
        "https://client.example\\@evil.example/callback",
        "javascript:alert(1)",
    ] {
        for changes in [
            &[("redirect_uri", uri)][..],
            &[("redirect_uri", uri), ("scope", "x")],
        ] {
            let reply = stage.get(&client.authorize(changes)).await;
            assert_eq!(
                (reply.status, reply.location()),
                (StatusCode::BAD_REQUEST, String::new())
            );
        }
    }
    // The proxy builds no URL from a request's claims about this server.
    let headers = [
        ("host", "evil.example"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "http"),
        ("forwarded", "host=evil.example;proto=http"),
    ];
    let path = "/.well-known/oauth-authorization-server";
    let document = stage
        .send(request(Method::GET, path, &headers, "".into()))
        .await;
    assert!(!document.text().contains("evil"));
    let path = "/.well-known/oauth-protected-resource/mcp";
    let document = stage
        .send(request(Method::GET, path, &headers, "".into()))
        .await;
    assert!(!document.text().contains("evil"));
    let mut browser = Browser::new(&stage);
    let path = client.authorize(&[]);
    let page = browser.send(Method::GET, &path, &headers, "".into()).await;
    assert!(
        !page.text().contains("evil") && !page.header("content-security-policy").contains("evil")
    );
    let form = encoded(&[
        ("consent", &*page.field("consent")),
        ("decision", "approve"),
    ]);
    let mut headers = headers.to_vec();
    headers.push(("content-type", "application/x-www-form-urlencoded"));
    let answered = browser
        .send(Method::POST, "/consent", &headers, form.into())
        .await;
    let onward = answered.onward();
    assert!(!onward.contains("evil"), "{onward}");
}

#[tokio::test(start_paused = true)]
async fn clickjacking_and_markup_in_client_metadata() {
    let stage = Stage::new().await;
    let name = "\"><script>alert(1)</script><img src=x onerror=alert(1)>&'";
    let client = stage
        .client_with(json!({
            "redirect_uris": ["https://client.example/callback?x='&y=(1)"],
            "client_name": name,
            "logo_uri": "https://evil.example/logo.png",
        }))
        .await;
    let page = stage
        .get(&client.authorize(&[("state", "\"><script>"), ("scope", "read")]))
        .await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    for markup in [
        "<script",
        "<img",
        "onerror=alert(1)>",
        "evil.example",
        "x='",
    ] {
        assert!(!page.text().contains(markup), "{markup}: {}", page.text());
    }
    assert!(page.text().contains("&lt;script&gt;"));
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(page.header("x-frame-options"), "DENY");
}

#[tokio::test(start_paused = true)]
async fn csrf_on_consent() {
    let stage = Stage::new().await;
    let evil = stage
        .client_with(json!({ "redirect_uris": ["https://evil.example/callback"] }))
        .await;
    // The attacker opens the page, and makes the victim's browser submit its form.
    let mut attacker = Browser::new(&stage);
    let page = attacker.get(&evil.authorize(&[])).await;
    let consent = page.field("consent");
    let form = [("consent", &*consent), ("decision", "approve")];
    let mut victim = Browser::new(&stage);
    victim.get(&evil.authorize(&[])).await;
    assert_eq!(
        victim.post("/consent", &form).await.status,
        StatusCode::FORBIDDEN
    );
    // The attacker makes the victim's browser submit the victim's own form, from another site.
    let page = victim.get(&evil.authorize(&[])).await;
    let form = encoded(&[
        ("consent", &*page.field("consent")),
        ("decision", "approve"),
    ]);
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ];
    let reply = victim
        .send(Method::POST, "/consent", &headers, form.clone().into())
        .await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    // A link does not submit a decision.
    let reply = victim.get(&format!("/consent?{form}")).await;
    assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(start_paused = true)]
async fn a_307_that_replays_credentials() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let page = browser.get(&client.authorize(&[])).await;
    let approved = browser.answer(&page, "approve").await;
    let callback = stage.tenant.people().sign_in("ada", &approved.onward());
    let answered = browser.come_back(&callback).await;
    assert_eq!(answered.status, StatusCode::SEE_OTHER);
    assert!(answered.body.is_empty());
    let page = browser.get(&client.authorize(&[])).await;
    let denied = browser.answer(&page, "deny").await;
    // No form is answered with a redirect at all.
    for reply in [approved, denied] {
        assert_eq!((reply.status, &*reply.location()), (StatusCode::OK, ""));
    }
}

#[tokio::test(start_paused = true)]
async fn leaks_by_referrer_and_cache() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let page = browser.get(&client.authorize(&[])).await;
    let approved = browser.answer(&page, "approve").await;
    let callback = stage.tenant.people().sign_in("ada", &approved.onward());
    let answered = browser.come_back(&callback).await;
    let stranger = Browser::new(&stage).come_back(&callback).await;
    for reply in [page, approved, answered, stranger] {
        assert_eq!(reply.header("referrer-policy"), "no-referrer");
        assert_eq!(reply.header("cache-control"), "no-store");
    }
}

#[tokio::test(start_paused = true)]
async fn denial_of_service_by_idle_flows() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    for _ in 0..50 {
        let client = stage.client().await;
        let mut browser = Browser::new(&stage);
        browser.goes_to_entra(&client, &[]).await;
    }
    // Invented callbacks and codes write nothing either, and cause no request to Entra.
    for n in 0..50 {
        stage.get(&format!("/callback?code={n}&state={n}")).await;
        stage.token(&stage.client().await.redemption("x")).await;
    }
    assert!(store.written().is_empty());
    assert_eq!(stage.tenant.token_endpoint().hits(), 0);
}

/// Checks that a `state` continues a sign-in only beside the secret of its own consent page.
///
/// The `state` is no secret: it is in URLs, histories and logs of servers in between.
#[tokio::test(start_paused = true)]
async fn a_state_without_the_secret_of_its_consent_page() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let evil = stage
        .client_with(json!({ "redirect_uris": ["https://evil.example/callback"] }))
        .await;
    let returns = |at_entra: &str| stage.tenant.people().sign_in("ada", at_entra);
    let mut attacker = Browser::new(&stage);
    let attackers = attacker.goes_to_entra(&evil, &[]).await;
    let mut victim = Browser::new(&stage);
    let victims = victim.goes_to_entra(&client, &[]).await;
    let refuses = async |browser: &mut Browser<'_>, callback: &str, case: &str| {
        let reply = browser.come_back(callback).await;
        let seen = (reply.status, reply.location());
        assert_eq!(seen, (StatusCode::FORBIDDEN, String::new()), "{case}");
    };
    refuses(&mut victim, &returns(&attackers), "the attacker's approval").await;
    refuses(&mut attacker, &returns(&victims), "the victim's state").await;
    // The attacker's cookie under the name of the victim's, as another server on this host can set
    // it without TLS, and the other way round.
    let mut planted = Browser::new(&stage);
    let name = victim.cookies[0].0.clone();
    planted.cookies = vec![(name, attacker.cookies[0].1.clone())];
    refuses(
        &mut planted,
        &returns(&victims),
        "another secret by this name",
    )
    .await;
    // Beside the victim's own, a second one of the same name.
    planted.cookies.push(victim.cookies[0].clone());
    refuses(&mut planted, &returns(&victims), "two by one name").await;
    // What was a secret once is none any more.
    for end in ["done", "failed", "declined", "pushed-out", "", "x"] {
        let mut over = Browser::new(&stage);
        let (name, value) = &victim.cookies[0];
        let (time, _) = value.split_once('.').unwrap();
        over.cookies = vec![(name.clone(), format!("{time}.{end}"))];
        refuses(&mut over, &returns(&victims), end).await;
    }
    assert_eq!(stage.tenant.token_endpoint().hits(), 0);
    let answered = victim.come_back(&returns(&victims)).await;
    assert!(answered.location().starts_with(REDIRECT));
    let callback = returns(&victims);
    refuses(&mut victim, &callback, "a replay").await;
    assert_eq!(stage.tenant.token_endpoint().hits(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_state_that_was_changed_or_made_for_something_else() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let page = browser.get(&client.authorize(&[])).await;
    let at_entra = browser.answer(&page, "approve").await.onward();
    let callback: Url = stage
        .tenant
        .people()
        .sign_in("ada", &at_entra)
        .parse()
        .unwrap();
    let state = parameter(&callback, "state").unwrap();
    let code = parameter(&callback, "code").unwrap();
    // Every byte in turn would be slow: each part of the sealed value, and both of its ends.
    let step = state.len() / 40;
    let mut states: Vec<String> = (0..state.len())
        .step_by(step)
        .chain([state.len() - 2])
        .map(|at| {
            let mut bytes = state.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            String::from_utf8(bytes).unwrap()
        })
        .collect();
    states.push(page.field("consent"));
    states.push(client.id.clone());
    states.push(browser.cookies[0].1.clone());
    for state in states {
        let reply = browser
            .get(&format!("/callback?code={code}&state={state}"))
            .await;
        let seen = (reply.status, reply.location());
        assert_eq!(seen, (StatusCode::FORBIDDEN, String::new()), "{state}");
    }
    // The sealed sign-in is no consent form either.
    let form = [("consent", &*state), ("decision", "approve")];
    let reply = browser.post("/consent", &form).await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    assert_eq!(stage.tenant.token_endpoint().hits(), 0);
    let answered = browser.come_back(callback.as_str()).await;
    assert!(answered.location().contains("code="));
}

/// Checks that the cookie of a long sign-in belongs to the secret and to its own `state`.
#[tokio::test(start_paused = true)]
async fn the_cookie_of_a_long_sign_in_is_worth_nothing_by_itself() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let state = "s".repeat(1_024);
    let long = [("state", &*state)];
    let mut browser = Browser::new(&stage);
    let at_entra = browser.goes_to_entra(&client, &long).await;
    let callback: Url = stage
        .tenant
        .people()
        .sign_in("ada", &at_entra)
        .parse()
        .unwrap();
    let is_long = |cookie: &&(String, String)| cookie.0.contains("sign-in");
    let of_long = browser.cookies.iter().find(is_long).unwrap().clone();
    // The cookie alone, in a browser without the secret.
    let mut other = Browser::new(&stage);
    other.cookies.push(of_long.clone());
    let reply = other.come_back(callback.as_str()).await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    // Its content as `state`, and another `state` of its form.
    let code = parameter(&callback, "code").unwrap();
    let sent = parameter(&callback, "state").unwrap();
    let (_, sealed) = of_long.1.split_once('.').unwrap();
    let (head, _) = sent.rsplit_once('.').unwrap();
    for state in [sealed, &format!("{head}.x"), &format!("{sent}A"), head] {
        let reply = browser
            .get(&format!("/callback?code={code}&state={state}"))
            .await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{state}");
    }
    assert_eq!(stage.tenant.token_endpoint().hits(), 0);
    let answered = browser.come_back(callback.as_str()).await;
    assert!(answered.location().contains("code="));
    assert!(
        !browser
            .cookies
            .iter()
            .any(|(name, _)| name.contains("sign-in"))
    );
}
