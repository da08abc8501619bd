//! Tests of all pages: their headers and layout, their texts, and signing out.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use entra_oauth_proxy::{Clients, PreregisteredClient};
use http::{Method, Request, StatusCode};
use serde_json::json;
use tower::ServiceExt as _;

use crate::logbook::Logbook;
use crate::support::{
    Browser, Client, PUBLIC, REDIRECT, Reply, Stage, application, encoded, settings,
};
use crate::told::links;

/// Returns the directives of the page's content security policy.
fn policy(page: &Reply) -> Vec<(String, String)> {
    assert_eq!(
        page.headers
            .get_all("content-security-policy")
            .iter()
            .count(),
        1
    );
    let policy = page.header("content-security-policy");
    assert!(!policy.contains(','));
    let directives = policy.split("; ").map(|directive| {
        let (name, value) = directive.split_once(' ').unwrap();
        (name.to_owned(), value.to_owned())
    });
    directives.collect()
}

fn directive(page: &Reply, name: &str) -> String {
    let directives = policy(page);
    let mut all = directives.into_iter().filter(|(other, _)| other == name);
    let (_, value) = all.next().unwrap();
    assert!(all.next().is_none(), "{name}");
    value
}

fn style_hash(page: &Reply) -> String {
    let (_, rest) = page.text().split_once("<style>").unwrap();
    let style = rest.split_once("</style>").unwrap().0;
    format!(
        "'sha256-{}'",
        STANDARD.encode(digest(&SHA256, style.as_bytes()))
    )
}

#[track_caller]
fn is_protected(page: &Reply) {
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        assert_eq!(page.header(name), value, "{name}");
    }
    assert_eq!(directive(page, "default-src"), "'none'");
    assert_eq!(directive(page, "style-src"), style_hash(page));
    assert_eq!(directive(page, "frame-ancestors"), "'none'");
    assert_eq!(directive(page, "base-uri"), "'none'");
    for elsewhere in [
        "<script",
        "<img",
        "<link",
        "src=",
        "style=",
        "onclick",
        "url(",
        "@import",
        "http-equiv",
    ] {
        assert!(!page.text().contains(elsewhere), "{elsewhere}");
    }
}

/// Checks that a page has the markup that screen readers and phones need.
#[track_caller]
fn is_readable(page: &Reply) {
    let text = page.text();
    for needed in [
        "<html lang=\"en\">",
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
        "<main>",
        "color-scheme: light dark",
    ] {
        assert!(text.contains(needed), "{needed}: {text}");
    }
    assert_eq!(text.matches("<h1>").count(), 1, "{text}");
    let (_, title) = text.split_once("<title>").unwrap();
    assert!(!title.split_once("</title>").unwrap().0.is_empty());
}

/// Returns one page of each kind, with the expected status.
async fn pages(stage: &Stage) -> Vec<(StatusCode, Reply)> {
    let client = stage.client().await;
    let mut browser = Browser::new(stage);
    vec![
        (StatusCode::OK, stage.get(&client.authorize(&[])).await),
        (StatusCode::OK, stage.get("/signed-out").await),
        (
            StatusCode::BAD_REQUEST,
            stage.get("/authorize?client_id=x").await,
        ),
        (
            StatusCode::BAD_REQUEST,
            stage
                .get(&client.authorize(&[("redirect_uri", "https://evil.example/")]))
                .await,
        ),
        (
            StatusCode::FORBIDDEN,
            stage.get("/callback?state=x&code=y").await,
        ),
        (
            StatusCode::FORBIDDEN,
            browser.post("/consent", &[("consent", "x")]).await,
        ),
        (StatusCode::METHOD_NOT_ALLOWED, stage.get("/consent").await),
    ]
}

#[tokio::test(start_paused = true)]
async fn every_page_has_every_header_that_protects_it_and_nothing_from_elsewhere() {
    let stage = Stage::new().await;
    for (status, page) in pages(&stage).await {
        assert_eq!(page.status, status, "{}", page.text());
        is_protected(&page);
        is_readable(&page);
    }
}

#[tokio::test(start_paused = true)]
async fn forms_lead_to_this_server_and_from_other_pages_nowhere() {
    let stage = Stage::new().await;
    for (status, page) in pages(&stage).await {
        let expected = match page.text().contains("<form") {
            true => "'self'",
            false => "'none'",
        };
        assert_eq!(directive(&page, "form-action"), expected, "{status}");
    }
}

/// Checks the pages from which a browser goes on by itself.
#[tokio::test(start_paused = true)]
async fn after_a_decision_a_page_goes_on_and_has_a_button_to_the_same_place() {
    let stage = Stage::new().await;
    let uri = "https://client.example/callback?x='&y=(1);z";
    let client = stage.client_with(json!({ "redirect_uris": [uri] })).await;
    for (decision, button, place) in [
        ("approve", "Continue to Microsoft", stage.tenant.url()),
        ("deny", "Go back to <bdi>client.example</bdi>", uri),
    ] {
        let mut browser = Browser::new(&stage);
        let page = browser.get(&client.authorize(&[])).await;
        let page = browser.answer(&page, decision).await;
        let url = page.onward();
        assert!(url.starts_with(place), "{url}");
        assert_eq!(links(&page), [url]);
        let text = page.text();
        for shown in [
            &*format!("{button}</a>"),
            "rel=\"noreferrer\"",
            "If nothing happens",
        ] {
            assert!(text.contains(shown), "{shown}: {text}");
        }
        assert_eq!(text.matches("http-equiv").count(), 1, "{text}");
        for attribute in [" id=", "autofocus", "tabindex", "accesskey", "<form", "x='"] {
            assert!(!text.contains(attribute), "{attribute}");
        }
        assert_eq!(directive(&page, "form-action"), "'none'");
        is_readable(&page);
        let without = text.replace("http-equiv", "");
        is_protected(&Reply {
            body: without.into(),
            ..page
        });
    }
}

#[tokio::test(start_paused = true)]
async fn no_button_has_the_focus_or_an_id_by_which_a_url_could_give_it() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let page = stage.get(&client.authorize(&[])).await;
    for attribute in [" id=", "autofocus", "tabindex", "accesskey"] {
        assert!(!page.text().contains(attribute), "{attribute}");
    }
}

#[tokio::test(start_paused = true)]
async fn scopes_are_said_in_words_beside_their_names() {
    let stage = Stage::with_resource(|resource| {
        resource.describe_scope("read", "Read <your> notes & 'more'")
    })
    .await;
    let client = stage.client().await;
    let page = stage.get(&client.authorize(&[("scope", "write")])).await;
    let text = page.text();
    for shown in [
        "<dd>Read &lt;your&gt; notes &amp; &#39;more&#39; <code>read</code></dd>",
        "<dd>write</dd>",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_says_what_is_known_of_an_application() {
    let fixed = PreregisteredClient::public("desk")
        .redirect_uri(REDIRECT)
        .name("The desk");
    let stage =
        Stage::with(|settings| settings.clients(Clients::default().preregistered(fixed))).await;
    let desk = Client {
        id: "desk".to_owned(),
        secret: None,
        redirect_uri: REDIRECT.to_owned(),
    };
    let named = stage.client().await;
    let nameless = json!({ "redirect_uris": [REDIRECT] });
    let nameless = stage.client_with(nameless).await;
    for (client, name, mark) in [
        (desk, "The desk", "known here"),
        (named, "Test client", "not verified"),
        (nameless, "An application without a name", "not verified"),
    ] {
        let page = stage.get(&client.authorize(&[])).await;
        let shown =
            format!("<dd><bdi class=\"name\">{name}</bdi> <span class=\"mark\">{mark}</span></dd>");
        assert!(page.text().contains(&shown), "{shown}: {}", page.text());
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_on_the_persons_own_machine_has_a_warning_of_its_own() {
    let stage = Stage::new().await;
    for (uri, host, warning) in [
        (REDIRECT, "client.example", None),
        (
            "http://localhost:1/callback",
            "localhost",
            Some("a program on your own computer"),
        ),
        (
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "cursor:",
            Some("any application there can claim this address"),
        ),
    ] {
        let client = stage.client_with(json!({ "redirect_uris": [uri] })).await;
        let page = stage.get(&client.authorize(&[])).await;
        let text = page.text();
        let (_, answer) = text.split_once("You return to").unwrap();
        let answer = answer.split_once("</div>").unwrap().0;
        for shown in [&format!("<dd class=\"host\">{host}</dd>"), uri] {
            assert!(answer.contains(shown), "{shown}: {answer}");
        }
        assert_eq!(answer.contains("class=\"warning\""), warning.is_some());
        // The warning does not depend on colour alone.
        assert_eq!(text.contains("Careful:"), warning.is_some());
        assert!(answer.contains(warning.unwrap_or_default()), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_has_a_reference_that_is_in_the_log() {
    let stage = Stage::new().await;
    let logbook = Logbook::begin();
    let page = stage.get("/authorize?client_id=x").await;
    let (_, rest) = page.text().split_once("<code>").unwrap();
    let reference = rest.split_once("</code>").unwrap().0;
    assert_eq!(reference.len(), 8);
    let lines = logbook.lines("INFO");
    let mut found = lines.iter().filter(|line| line.contains(reference));
    let line = found.next().unwrap();
    assert!(line.contains("not known here"), "{line}");
    assert!(found.next().is_none());
    let another = stage.get("/authorize?client_id=x").await;
    assert!(!another.text().contains(reference));
}

#[tokio::test(start_paused = true)]
async fn an_error_repeats_nothing_that_came_with_the_request() {
    let stage = Stage::new().await;
    let query = encoded(&[
        ("error", "server_error"),
        ("error_description", "call-0800-12345"),
        ("state", "call-0800-12345"),
        ("client_id", "call-0800-12345"),
    ]);
    let mut browser = Browser::new(&stage);
    for page in [
        stage.get(&format!("/callback?{query}")).await,
        stage.get(&format!("/authorize?{query}")).await,
        browser
            .post("/consent", &[("consent", "call-0800-12345")])
            .await,
        stage.get(&format!("/signed-out?{query}")).await,
    ] {
        assert!(!page.text().contains("0800"), "{}", page.text());
    }
}

#[tokio::test(start_paused = true)]
async fn who_opens_the_address_of_the_form_is_told_where_a_sign_in_begins() {
    let stage = Stage::new().await;
    let page = stage.get("/consent").await;
    assert_eq!(page.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(page.header("allow"), "POST");
    assert!(
        page.text()
            .contains("Only the pages of a sign-in lead here")
    );
}

#[tokio::test(start_paused = true)]
async fn signing_out_ends_what_is_under_way_in_this_browser_and_goes_on_to_entra() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let open = browser.get(&client.authorize(&[("state", "1")])).await;
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    assert_eq!(browser.cookies.len(), 2, "{:?}", browser.cookies);
    browser
        .cookies
        .push(("session".to_owned(), "of the service".to_owned()));
    let signed_out = browser.get("/sign-out").await;
    assert_eq!(signed_out.status, StatusCode::SEE_OTHER);
    assert_eq!(
        signed_out.location(),
        format!(
            "{}/{}/oauth2/v2.0/logout?{}",
            stage.tenant.url(),
            stage.tenant.id(),
            encoded(&[(
                "post_logout_redirect_uri",
                "https://mcp.example.com/signed-out"
            )])
        )
    );
    assert_eq!(signed_out.header("cache-control"), "no-store");
    // No secret is left, only the word that says why.
    for (name, value) in &browser.cookies {
        assert!(
            name == "session" || value.ends_with(".signed-out"),
            "{name}={value}"
        );
    }
    assert!(
        !signed_out
            .cookies()
            .iter()
            .any(|cookie| cookie.contains("session"))
    );
    // Neither the page nor the sign-in is valid now.
    let answered = browser.answer(&open, "approve").await;
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    let came_back = browser.come_back(&callback).await;
    for page in [answered, came_back] {
        assert_eq!(page.status, StatusCode::FORBIDDEN);
        assert!(page.text().contains("You signed out during this sign-in"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_browser_comes_back_from_entra_signed_out_and_applications_stay_connected() {
    let tenant = entra_dev_tenant::DevTenant::builder()
        .register(application().redirect_uri("https://mcp.example.com/signed-out"))
        .start()
        .await
        .unwrap();
    let proxy = settings(&tenant).build().unwrap();
    let stage = Stage { tenant, proxy };
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    stage.tenant.people().start_session("ada");

    let at_entra = stage.get("/sign-out").await.location();
    let request = Request::get(at_entra).body(Bytes::new()).unwrap();
    let answered = stage.tenant.http_client().oneshot(request).await.unwrap();
    let back = answered.headers()["location"].to_str().unwrap();
    assert_eq!(back, stage.proxy.post_logout_redirect_uri());
    let page = stage.get(back.strip_prefix(PUBLIC).unwrap()).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text().contains("stay connected"), "{}", page.text());

    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
}

#[tokio::test(start_paused = true)]
async fn signed_out_opened_by_itself_claims_nothing() {
    let stage = Stage::with(|settings| settings.public_url("https://mcp.example.com/oauth")).await;
    let page = stage.get("/oauth/signed-out").await;
    let text = page.text();
    assert!(text.contains("<h1>Signing out</h1>"), "{text}");
    assert!(
        text.contains(
            "<p>If Microsoft has just sent you here, this browser is signed out, and you can close \
             this page. If you opened this page yourself, nothing has changed: <a \
             href=\"/oauth/sign-out\">sign out</a> first.</p>"
        ),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_consent_page_leads_to_where_a_browser_is_signed_out() {
    for public in [PUBLIC, "https://mcp.example.com/oauth"] {
        let stage = Stage::with(|settings| settings.public_url(public)).await;
        let path = public.strip_prefix(PUBLIC).unwrap();
        let registered = json!({ "redirect_uris": [REDIRECT] }).to_string();
        let registered = stage
            .send(crate::support::request(
                Method::POST,
                &format!("{path}/register"),
                &[("content-type", "application/json")],
                registered.into(),
            ))
            .await;
        let client = Client {
            id: registered.json()["client_id"].as_str().unwrap().to_owned(),
            secret: None,
            redirect_uri: REDIRECT.to_owned(),
        };
        let page = stage.get(&format!("{path}{}", client.authorize(&[]))).await;
        let (_, rest) = page.text().split_once("<a href=\"").unwrap();
        let link = rest.split_once('"').unwrap().0;
        let signed_out = stage.get(link).await;
        assert_eq!(signed_out.status, StatusCode::SEE_OTHER, "{link}");
        let back = encoded(&[("post_logout_redirect_uri", format!("{public}/signed-out"))]);
        assert!(signed_out.location().ends_with(&back));
        assert_eq!(
            stage.get(&format!("{path}/signed-out")).await.status,
            StatusCode::OK
        );
    }
}
