//! Tests of log lines that strangers can cause: the log has the first of a kind, then one a minute.

use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::json;
use url::Url;

use crate::logbook::Logbook;
use crate::refresh::invalid_grant;
use crate::support::{Browser, Client, MINUTE, REDIRECT, Stage, encoded, parameter, post, request};
use crate::watched_store::WatchedStore;

type Sent = Request<Full<bytes::Bytes>>;

/// Number of requests of each kind.
const EACH: usize = 350;

/// Returns the lines at the levels that operators see by default, and their size in bytes.
fn written(log: &Logbook) -> (Vec<String>, usize) {
    let lines: Vec<String> = ["INFO", "WARN", "ERROR"]
        .into_iter()
        .flat_map(|level| log.lines(level))
        .collect();
    let bytes = lines.iter().map(|line| line.len() + 1).sum();
    (lines, bytes)
}

/// Checks that a line with this text has this count.
#[track_caller]
fn has_one(lines: &[String], text: &str, count: u64) {
    let found: Vec<_> = lines.iter().filter(|line| line.contains(text)).collect();
    let count = format!(" count={count}");
    assert!(
        found.iter().any(|line| line.contains(&count)),
        "{text}{count}: {found:#?}"
    );
}

fn get(path: &str) -> Sent {
    request(Method::GET, path, &[], "".into())
}

fn register(media_type: &str, body: String) -> Sent {
    let headers = [("content-type", media_type)];
    request(Method::POST, "/register", &headers, body.into())
}

/// Returns requests of a stranger without a sign-in to every endpoint, different for each `n`.
fn junk(clients: &[Client; 3], cookies: &str, state: &str, n: usize) -> Vec<Sent> {
    let [open, secret, local] = clients;
    let with_cookies = |path: &str| request(Method::GET, path, &[("cookie", cookies)], "".into());
    let n = n.to_string();
    let mut all = vec![
        get(&format!("/authorize?client_id={n}")),
        get(&format!("/authorize?client_id={n}&client_id={n}")),
        get("/authorize"),
        get(&open.authorize(&[("redirect_uri", &format!("https://evil.example/{n}"))])),
        get(&open.authorize(&[("scope", &n)])),
        get(&open.authorize(&[("resource", &n)])),
        get(&open.authorize(&[("code_challenge", &n)])),
        get(&local.authorize(&[("response_type", &n)])),
        get(&format!("/callback?state={n}&code={n}")),
        get(&format!("/callback?{n}")),
        get("/consent"),
        post("/consent", &[("consent", &*n)], &[]),
        post(
            "/consent",
            &[("consent", &*n)],
            &[("sec-fetch-site", "cross-site")],
        ),
        post("/token", &[("client_id", &*n)], &[]),
        post(
            "/token",
            &[("client_id", &*open.id), ("grant_type", &*n)],
            &[],
        ),
        post("/token", &open.redemption(&n), &[]),
        post("/token", &[], &[("authorization", &*n)]),
        post("/revoke", &[("client_id", &*n)], &[]),
        post("/revoke", &[("client_id", &*open.id)], &[]),
        post("/revoke", &[("client_id", &*open.id), ("token", &*n)], &[]),
        register("application/json", n.clone()),
        register("text/plain", n.clone()),
        register(
            "application/json",
            json!({ "redirect_uris": [n] }).to_string(),
        ),
        register(
            "application/json",
            json!({ "redirect_uris": [REDIRECT], "client_name": n }).to_string(),
        ),
        // The stranger agreed without signing in, and returns with invented URLs.
        with_cookies(&format!(
            "/callback?state={state}&error=access_denied&x={n}"
        )),
        with_cookies(&format!(
            "/callback?state={state}&error={n}&error_description=AADSTS{n}"
        )),
        with_cookies(&format!("/callback?state={state}&code={n}&code={n}")),
    ];
    for id in [&open.id, &secret.id] {
        let refresh = [
            ("grant_type", "refresh_token"),
            ("refresh_token", &*n),
            ("client_id", id),
            ("client_secret", &*n),
        ];
        all.push(post("/token", &refresh, &[]));
    }
    for path in ["/token", "/revoke", "/consent"] {
        let headers = [("content-type", "text/plain")];
        all.push(request(Method::POST, path, &headers, n.clone().into()));
        all.push(get(path));
    }
    all
}

#[tokio::test(start_paused = true)]
async fn thousands_of_junk_requests_to_every_endpoint_are_a_few_lines() {
    let stage = Stage::new().await;
    let open = stage.client().await;
    let metadata = json!({
        "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "client_secret_post",
    });
    let secret = stage.client_with(metadata).await;
    let local = json!({ "redirect_uris": ["http://localhost/callback"] });
    let local = stage.client_with(local).await;
    let clients = [open, secret, local];
    let mut stranger = Browser::new(&stage);
    let at_entra = stranger.goes_to_entra(&clients[0], &[]).await;
    let at_entra: Url = at_entra.parse().unwrap();
    let state = parameter(&at_entra, "state").unwrap();
    let (name, value) = &stranger.cookies[0];
    let cookies = format!("{name}={value}");
    stage.tenant.time().advance(MINUTE).await;

    let log = Logbook::begin();
    let mut sent = 0;
    for n in 0..EACH {
        for request in junk(&clients, &cookies, &state, n) {
            stage.send(request).await;
            sent += 1;
        }
    }
    assert!(sent > 10_000, "{sent}");
    let (lines, bytes) = written(&log);
    assert!(lines.len() <= 80, "{} {lines:#?}", lines.len());
    assert!(bytes <= 30_000, "{bytes}");

    // The log counts the suppressed lines, and has them at DEBUG.
    stage.tenant.time().advance(MINUTE).await;
    for request in junk(&clients, &cookies, &state, EACH) {
        stage.send(request).await;
    }
    let (lines, _) = written(&log);
    assert!(lines.len() <= 110, "{} {lines:#?}", lines.len());
    let each = u64::try_from(EACH).unwrap();
    for (text, count) in [
        ("title=\"The application's request cannot be read\"", each),
        (
            "title=\"There is nothing to see at this address\"",
            2 * each,
        ),
        ("title=\"Another site tried to answer for you\"", each),
        ("a client registered itself", each),
    ] {
        has_one(&lines, text, count);
    }
    let debug = log.lines("DEBUG");
    let told = debug
        .iter()
        .filter(|line| line.contains("an error page was shown"));
    assert!(told.count() > 9 * (EACH - 1));
}

/// Checks that invented codes cause few log lines.
///
/// The proxy sends these codes to Entra, which refuses them.
#[tokio::test(start_paused = true)]
async fn codes_that_strangers_make_up_are_a_few_lines() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let log = Logbook::begin();
    for n in 0..50 {
        let mut stranger = Browser::new(&stage);
        let at_entra: Url = stranger.goes_to_entra(&client, &[]).await.parse().unwrap();
        let state = parameter(&at_entra, "state").unwrap();
        let query = encoded(&[("code", n.to_string()), ("state", state)]);
        let told = stranger.get(&format!("/callback?{query}")).await;
        assert!(told.location().contains("error="), "{}", told.location());
    }
    assert_eq!(stage.tenant.token_endpoint().hits(), 50);
    let (lines, bytes) = written(&log);
    assert!(lines.len() <= 4, "{lines:#?}");
    assert!(bytes <= 4_000, "{bytes}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_or_damaged_is_a_few_lines_whoever_asks() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let client = stage.client().await;
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    store.goes_down();
    let log = Logbook::begin();
    let ready = stage.proxy.readiness();
    for n in 0..EACH {
        let reply = stage.redeem(&client, &n.to_string()).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            ready.response().await.status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
    }
    let (lines, bytes) = written(&log);
    // The lines are about the refusal, the store, the probe, and the keys, which are fetched
    // meanwhile.
    assert!(lines.len() <= 4, "{lines:#?}");
    assert!(bytes <= 2_000, "{bytes}");
    drop(log);

    store.comes_back();
    store.corrupts("code/").await;
    let log = Logbook::begin();
    for _ in 0..EACH {
        let reply = stage.redeem(&client, &code).await;
        assert_eq!(reply.error().1, "invalid_grant");
    }
    let (lines, bytes) = written(&log);
    assert!(lines.len() <= 2, "{lines:#?}");
    assert!(bytes <= 2_000, "{bytes}");
}

#[tokio::test(start_paused = true)]
async fn a_code_that_is_used_again_is_one_line_however_often_it_comes() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    assert_eq!(stage.redeem(&client, &code).await.status, StatusCode::OK);
    stage.tenant.time().advance(Duration::from_secs(11)).await;
    let log = Logbook::begin();
    for _ in 0..5 {
        let reply = stage.redeem(&client, &code).await;
        assert_eq!(reply.error(), invalid_grant());
    }
    let lines = log.lines("WARN");
    let told = lines.iter().filter(|line| line.contains("used twice"));
    assert_eq!(told.count(), 1, "{lines:#?}");
}
