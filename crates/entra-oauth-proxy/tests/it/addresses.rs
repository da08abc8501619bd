//! Tests of redirect URIs that are not registered: the error page, and the log line.

use entra_oauth_proxy::{Clients, PreregisteredClient, ProxyKeys};
use http::StatusCode;
use serde_json::json;

use crate::logbook::Logbook;
use crate::support::{Client, MINUTE, Reply, Stage, settings};
use crate::told::links;

const LOCALHOST: &str = "http://localhost/callback";

/// Returns the reference on a page, by which operators find its log line.
fn reference(page: &Reply) -> &str {
    let (_, rest) = page.text().split_once("reference: <code>").unwrap();
    rest.split_once("</code>").unwrap().0
}

/// Returns the only INFO line with the page's reference.
#[track_caller]
fn line_of(log: &Logbook, page: &Reply) -> String {
    let lines = log.lines("INFO");
    let mut found = lines.iter().filter(|line| line.contains(reference(page)));
    let line = found.next().unwrap_or_else(|| panic!("{lines:#?}"));
    assert!(found.next().is_none(), "{lines:#?}");
    line.clone()
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for words in words {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn localhost_and_127_0_0_1_are_said_to_be_two_addresses_on_the_page_and_in_the_log() {
    let stage = Stage::new().await;
    let metadata = json!({ "redirect_uris": [LOCALHOST, "https://client.example/<cb>"] });
    assert_eq!(
        stage.register(&metadata).await.status,
        StatusCode::BAD_REQUEST
    );
    let metadata = json!({ "redirect_uris": [LOCALHOST, "https://client.example/cb?a&b"] });
    let client = stage.client_with(metadata).await;
    let log = Logbook::begin();
    let sent = "http://127.0.0.1:33418/callback";
    let page = stage
        .get(&client.authorize(&[("redirect_uri", sent)]))
        .await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    says(
        page.text(),
        &[
            "<dt>The return address in the request</dt>\n\
             <dd><code>http://127.0.0.1:33418/callback</code></dd>",
            "<dt>What is wrong</dt>\n\
             <dd>redirect_uri differs from the nearest registered one in the host (127.0.0.1 and \
             localhost are two different addresses)</dd>",
            "<dt>Return addresses of the application</dt>\n\
             <dd><code>http://localhost/callback</code></dd>\n\
             <dd><code>https://client.example/cb?a&amp;b</code></dd>",
        ],
    );
    assert_eq!(links(&page), [""; 0]);
    says(
        &line_of(&log, &page),
        &[
            "an error page was shown",
            "status=400",
            "title=\"The return address is not allowed for this application\"",
            "reason=\"redirect_uri differs from the nearest registered one in the host (127.0.0.1 \
             and localhost are two different addresses)\"",
            "found=\"http://127.0.0.1:33418/callback\"",
            "expected=\"http://localhost/callback https://client.example/cb\"",
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn the_addresses_of_a_preregistered_client_are_in_the_log_alone() {
    let fixed = PreregisteredClient::public("desk").redirect_uri("https://desk.example/callback");
    let stage =
        Stage::with(|settings| settings.clients(Clients::default().preregistered(fixed))).await;
    let desk = Client {
        id: "desk".to_owned(),
        secret: None,
        redirect_uri: "https://desk.example/Callback".to_owned(),
    };
    let log = Logbook::begin();
    let page = stage.get(&desk.authorize(&[])).await;
    says(
        page.text(),
        &[
            "<dd><code>https://desk.example/Callback</code></dd>",
            "<dd>redirect_uri differs from the nearest registered one in letter case</dd>",
        ],
    );
    assert!(
        !page.text().contains("desk.example/callback"),
        "{}",
        page.text()
    );
    says(
        &line_of(&log, &page),
        &[
            "found=\"https://desk.example/Callback\"",
            "expected=\"https://desk.example/callback\"",
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn an_address_is_shown_cut_and_as_no_sentence_and_logged_without_its_query() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let log = Logbook::begin();
    let long = format!("https://client.example/{}?code=hunter2", "a".repeat(300));
    for (sent, shown, logged) in [
        (
            "<b>Call 0800</b>\n",
            "&lt;b&gt;Call%200800&lt;/b&gt;%0A",
            "<b>Call 0800</b>\\\\n",
        ),
        (
            &long,
            &format!("https://client.example/{}…", "a".repeat(177)),
            &"a".repeat(177),
        ),
        (
            "https://user:hunter2@client.example/callback",
            "https://user:hunter2@client.example/callback",
            "(not shown: it has a user name or password)",
        ),
    ] {
        let page = stage
            .get(&client.authorize(&[("redirect_uri", sent)]))
            .await;
        says(page.text(), &[&format!("<dd><code>{shown}</code></dd>")]);
        says(&line_of(&log, &page), &[logged]);
    }
    assert!(!log.text().contains("hunter2"), "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_redirect_uri_or_a_client_id_is_said_to_lack_it() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let log = Logbook::begin();
    let page = stage.get(&client.authorize(&[("redirect_uri", "")])).await;
    says(
        page.text(),
        &[
            "<h1>The application&#39;s request has no return address</h1>",
            "the request has no redirect_uri",
        ],
    );
    says(
        &line_of(&log, &page),
        &["reason=\"redirect_uri is missing\""],
    );
    for (id, reason) in [
        ("", "client_id is missing"),
        (
            "x",
            "client_id is unknown: another server issued it, it was made under other keys, or it \
             is not pre-registered",
        ),
    ] {
        let page = stage.get(&client.authorize(&[("client_id", id)])).await;
        says(&line_of(&log, &page), &[&format!("reason=\"{reason}\"")]);
    }
    let twice = format!("{}&client_id=x", client.authorize(&[]));
    let page = stage.get(&twice).await;
    let reason = "reason=\"the parameter client_id is repeated\"";
    says(&line_of(&log, &page), &[reason]);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_the_list_does_not_allow_any_more_is_said_to_be_registered() {
    let keys = ProxyKeys::generate();
    let mut stage = Stage::with(|settings| settings.keys(keys.clone())).await;
    let client = stage.client().await;
    let listed = Clients::default().allowed_redirects(["https://claude.ai"]);
    let changed = settings(&stage.tenant).keys(keys).clients(listed);
    stage.proxy = changed.build().unwrap();
    let log = Logbook::begin();
    let page = stage.get(&client.authorize(&[])).await;
    let reason = "redirect_uri is registered, but is not in the list of redirect URIs that this \
                  server allows";
    says(page.text(), &[&format!("<dd>{reason}</dd>")]);
    says(&line_of(&log, &page), &[&format!("reason=\"{reason}\"")]);
}

/// Checks that each wrong address gets its own log line, although all lead to the same page.
#[tokio::test(start_paused = true)]
async fn different_addresses_have_lines_of_their_own_and_a_flood_of_them_has_few() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let log = Logbook::begin();
    let open = async |n: usize| {
        let sent = format!("https://client.example/{n}");
        stage
            .get(&client.authorize(&[("redirect_uri", &sent)]))
            .await
    };
    for n in [1, 2, 3, 1, 2, 3] {
        open(n).await;
    }
    let lines = || -> Vec<String> {
        let lines = log.lines("INFO").into_iter();
        lines
            .filter(|line| line.contains("an error page was shown"))
            .collect()
    };
    assert_eq!(lines().len(), 3, "{:#?}", lines());
    for n in 0..1_000 {
        open(n).await;
    }
    // Eight addresses have lines of their own, and the others share one.
    assert_eq!(lines().len(), 9, "{:#?}", lines());
    stage.tenant.time().advance(MINUTE).await;
    for n in 2_000..2_009 {
        open(n).await;
    }
    let lines = lines();
    assert_eq!(lines.len(), 18, "{lines:#?}");
    says(
        &lines[17],
        &["count=998 ", "found=\"https://client.example/2008\""],
    );
}

/// Checks that the log has few lines even if the addresses differ in many ways.
///
/// The reason names the parts that differ, so there are thousands of possible reasons.
#[tokio::test(start_paused = true)]
async fn a_flood_that_differs_in_every_part_has_few_lines_too() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let log = Logbook::begin();
    let mut sent = 0;
    for scheme in ["http", "HTTPS", "x"] {
        for host in ["localhost", "127.0.0.1", "Client.example", "a.example"] {
            for port in ["", ":1", ":8443"] {
                for path in ["/callback", "/callback/", "/Callback", "/x"] {
                    for query in ["", "?a", "#f", "?a#f"] {
                        let uri = format!("{scheme}://{host}{port}{path}{query}");
                        stage
                            .get(&client.authorize(&[("redirect_uri", &uri)]))
                            .await;
                        sent += 1;
                    }
                }
            }
        }
    }
    assert!(sent > 500);
    let lines = log.lines("INFO");
    let told = lines
        .iter()
        .filter(|line| line.contains("an error page was shown"));
    assert!(
        told.clone().count() <= 18,
        "{:#?}",
        told.collect::<Vec<_>>()
    );
}

#[tokio::test(start_paused = true)]
async fn of_what_an_application_registered_the_nearest_three_are_shown_and_cut() {
    let stage = Stage::new().await;
    let words = "Your-account-is-locked.-Call-0800-123-now".repeat(6);
    let long = |n| format!("https://x{n}.example/{words}/{n}");
    let short = (2..7).map(|n| format!("https://x{n}.example/{n}"));
    let uris: Vec<String> = short.chain([long(7)]).collect();
    let client = stage.client_with(json!({ "redirect_uris": uris })).await;
    let sent = "https://x7.example/other";
    let page = stage
        .get(&client.authorize(&[("redirect_uri", sent)]))
        .await;
    let (_, registered) = page
        .text()
        .split_once("Return addresses of the application")
        .unwrap();
    let shown: Vec<&str> = registered.split("<dd>").skip(1).take(4).collect();
    assert!(
        shown[0].starts_with("<code>https://x7.example/"),
        "{shown:?}"
    );
    let (address, _) = shown[0].split_once("</code>").unwrap();
    assert!(
        address.ends_with('…') && address.chars().count() < 220,
        "{address}"
    );
    assert!(shown[3].starts_with("and 3 more</dd>"), "{shown:?}");
}

#[tokio::test(start_paused = true)]
async fn somebodys_address_or_token_in_a_request_is_not_in_the_log() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let log = Logbook::begin();
    for (name, value) in [
        ("scope", "ada@example.com"),
        ("scope", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"),
        ("resource", "https://mcp.example.com/eyJhbGciOiJSUzI1NiJ9"),
        ("code_challenge_method", "1.AXoAv4j5cvGGr0GRqy180BHbR.AgAB"),
    ] {
        stage.get(&client.authorize(&[(name, value)])).await;
    }
    let text = log.text();
    assert!(
        text.contains("found=\"(not shown: it may be private)\""),
        "{text}"
    );
    for private in ["ada@example.com", "eyJhbGci", "1.AXoA"] {
        assert!(!text.contains(private), "{private}: {text}");
    }
}
