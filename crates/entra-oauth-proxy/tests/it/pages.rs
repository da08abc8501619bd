//! What all pages have in common, and what they say to whom.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entra_oauth_proxy::FixedClient;
use http::StatusCode;
use serde_json::json;

use crate::logbook::Logbook;
use crate::support::{Browser, Client, REDIRECT, Reply, Stage, encoded};

/// The directives of the page's policy.
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

/// What readers of screens and people on phones need.
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

/// One of each kind.
async fn pages(stage: &Stage) -> Vec<(StatusCode, Reply)> {
    let client = stage.client().await;
    let mut browser = Browser::new(stage);
    vec![
        (StatusCode::OK, stage.get(&client.authorize(&[])).await),
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
async fn forms_lead_to_entra_and_the_client_and_from_other_pages_nowhere() {
    let stage = Stage::new().await;
    for (status, page) in pages(&stage).await {
        let form_action = directive(&page, "form-action");
        if !page.text().contains("<form") {
            assert_eq!(form_action, "'none'", "{status}");
            continue;
        }
        for source in ["'self'", "https://client.example", stage.tenant.url()] {
            assert!(
                form_action.split(' ').any(|other| other == source),
                "{source}: {form_action}"
            );
        }
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
    let stage =
        Stage::with(|settings| settings.scope_text("read", "Read <your> notes & 'more'")).await;
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
    let fixed = FixedClient::public("desk")
        .redirect_uri(REDIRECT)
        .name("The desk");
    let stage = Stage::with(|settings| settings.fixed_client(fixed)).await;
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
        let (_, answer) = text.split_once("The answer goes to").unwrap();
        let answer = answer.split_once("</div>").unwrap().0;
        for shown in [&format!("<dd class=\"host\">{host}</dd>"), uri] {
            assert!(answer.contains(shown), "{shown}: {answer}");
        }
        assert_eq!(answer.contains("class=\"warning\""), warning.is_some());
        // Not by its colour alone.
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
    let client = stage.client().await;
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
        stage
            .get(&client.authorize(&[("redirect_uri", "https://call-0800-12345.example/")]))
            .await,
        browser
            .post("/consent", &[("consent", "call-0800-12345")])
            .await,
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
    assert!(page.text().contains("begins in the application"));
}
