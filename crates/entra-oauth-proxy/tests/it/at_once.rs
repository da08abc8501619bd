//! Tests of concurrent refreshes, of clients that hang up early, of shutdown and of readiness.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use entra_oauth_proxy::{Lifetimes, RateLimits};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tower::ServiceExt as _;
use url::Url;

use crate::logbook::Logbook;
use crate::refresh::{invalid_grant, token_of};
use crate::support::{Browser, Client, HOUR, PUBLIC, Reply, Stage, parameter, post, request};
use crate::watched_store::WatchedStore;

/// Sends `count` refreshes of one token, all before the first response.
async fn at_once(stage: &Stage, client: &Client, token: &Value, count: usize) -> Vec<Reply> {
    let mut all = JoinSet::new();
    for _ in 0..count {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token.as_str().unwrap()),
            ("client_id", &client.id),
        ];
        let asked = stage.proxy.service().oneshot(post("/token", &form, &[]));
        all.spawn(async move { Reply::of(asked.await.unwrap()).await });
    }
    all.join_all().await
}

/// Returns the number of requests that Entra's token endpoint received.
fn asked(stage: &Stage) -> usize {
    stage.tenant.token_endpoint().requests().len()
}

#[tokio::test(start_paused = true)]
async fn refreshes_at_once_ask_entra_once_and_get_the_same_token() {
    let stage = Stage::with(|settings| settings.store(WatchedStore::default())).await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    stage.tenant.time().advance(HOUR).await;
    let before = asked(&stage);
    let endpoint = stage.tenant.token_endpoint();
    endpoint.delay(Duration::from_secs(3)).for_next(1);
    let mut next = Vec::new();
    for reply in at_once(&stage, &client, &token, 50).await {
        next.push(token_of(reply).await);
    }
    assert_eq!(asked(&stage) - before, 1);
    assert!(next.iter().all(|one| *one == next[0] && *one != token));
    token_of(stage.refresh(&client, &next[0]).await).await;
}

#[tokio::test(start_paused = true)]
async fn without_grace_those_who_waited_are_not_late() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| {
        settings
            .lifetimes(Lifetimes::default().rotation_grace(Duration::ZERO))
            .store(store.clone())
    })
    .await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    // The store is slow, so the proxy decides about the last request long after the first response.
    store.takes(Duration::from_secs(2));
    for reply in at_once(&stage, &client, &token, 5).await {
        token_of(reply).await;
    }
}

#[tokio::test(start_paused = true)]
async fn while_entra_hangs_all_who_wait_are_told_after_one_attempt() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    stage.tenant.time().advance(HOUR).await;
    let before = asked(&stage);
    stage.tenant.token_endpoint().hang();
    let begun = Instant::now();
    for reply in at_once(&stage, &client, &token, 50).await {
        assert_eq!(reply.error(), (503, "temporarily_unavailable".to_owned()));
        assert_eq!(reply.header("retry-after"), "10");
    }
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "one after another"
    );
    assert_eq!(asked(&stage) - before, 1);
    // For ten seconds, nobody sends another request, and each client learns when to come.
    stage.tenant.token_endpoint().recover();
    stage.tenant.time().advance(Duration::from_secs(9)).await;
    let early = stage.refresh(&client, &token).await;
    assert_eq!(early.error(), (503, "temporarily_unavailable".to_owned()));
    assert_eq!(early.header("retry-after"), "1");
    assert_eq!(asked(&stage) - before, 1);
    stage.tenant.time().advance(Duration::from_secs(1)).await;
    token_of(stage.refresh(&client, &token).await).await;
}

#[tokio::test(start_paused = true)]
async fn another_sign_in_does_not_wait() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let slow = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    let other = stage.sign_in(&client, "grace").await["refresh_token"].clone();
    stage.tenant.time().advance(HOUR).await;
    let before = asked(&stage);
    stage.tenant.token_endpoint().hang().for_next(1);
    let slow = at_once(&stage, &client, &slow, 1);
    let other = async {
        while asked(&stage) == before {
            tokio::task::yield_now().await;
        }
        let begun = Instant::now();
        token_of(stage.refresh(&client, &other).await).await;
        begun.elapsed()
    };
    let (slow, took) = tokio::join!(slow, other);
    assert_eq!(slow[0].status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stolen_token_among_those_at_once_ends_the_sign_in() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let first = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    let second = token_of(stage.refresh(&client, &first).await).await;
    let third = token_of(stage.refresh(&client, &second).await).await;
    for reply in at_once(&stage, &client, &first, 10).await {
        assert_eq!(reply.error(), invalid_grant());
    }
    let reply = stage.refresh(&client, &third).await;
    assert_eq!(reply.error(), invalid_grant());
}

#[tokio::test(start_paused = true)]
async fn parents_that_come_late_at_once_get_the_same_new_token() {
    for grace in [Duration::from_secs(60), Duration::ZERO] {
        let store = WatchedStore::default();
        let stage = Stage::with(|settings| {
            settings
                .lifetimes(Lifetimes::default().rotation_grace(grace))
                .store(store)
        })
        .await;
        let client = stage.client().await;
        let first = stage.sign_in(&client, "ada").await["refresh_token"].clone();
        let lost = token_of(stage.refresh(&client, &first).await).await;
        stage.tenant.time().advance(Duration::from_secs(61)).await;
        let mut all = BTreeSet::new();
        for reply in at_once(&stage, &client, &first, 10).await {
            all.insert(token_of(reply).await.to_string());
        }
        assert!(
            all.len() == 1 && !all.contains(&lost.to_string()),
            "{all:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_goes_on_when_its_client_is_gone() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    stage.tenant.time().advance(HOUR).await;
    let before = asked(&stage);
    let endpoint = stage.tenant.token_endpoint();
    endpoint.delay(Duration::from_secs(3)).for_next(1);
    let impatient = timeout(Duration::from_secs(1), stage.refresh(&client, &token));
    assert!(impatient.await.is_err());
    token_of(stage.refresh(&client, &token).await).await;
    assert_eq!(asked(&stage) - before, 1);
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_goes_on_when_its_browser_is_gone_and_is_there_when_it_asks_again() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    let endpoint = stage.tenant.token_endpoint();
    endpoint.delay(Duration::from_secs(3)).for_next(1);
    let impatient = timeout(Duration::from_secs(1), browser.come_back(&callback));
    assert!(impatient.await.is_err());
    let answered: Url = browser
        .come_back(&callback)
        .await
        .location()
        .parse()
        .unwrap();
    assert_eq!(asked(&stage), 1);
    let code = parameter(&answered, "code").unwrap();
    assert_eq!(stage.redeem(&client, &code).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_what_is_under_way() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    let endpoint = stage.tenant.token_endpoint();
    endpoint.delay(Duration::from_secs(3)).for_next(1);
    let impatient = timeout(Duration::from_secs(1), browser.come_back(&callback));
    assert!(impatient.await.is_err());
    let begun = Instant::now();
    stage.proxy.shutdown().await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
    // The proxy kept the result of the sign-in, and needs no further request to Entra.
    stage.tenant.start_outage();
    let answered: Url = browser
        .come_back(&callback)
        .await
        .location()
        .parse()
        .unwrap();
    let code = parameter(&answered, "code").unwrap();
    assert_eq!(stage.redeem(&client, &code).await.status, StatusCode::OK);
    // If no work is in flight, shutdown returns immediately.
    let begun = Instant::now();
    stage.proxy.shutdown().await;
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn readiness_is_that_of_keys_and_store_until_the_end() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let router: Router = Router::new().route("/ready", get(stage.proxy.readiness()));
    let ready = || {
        let router = router.clone();
        async move {
            let request = request(Method::GET, "/ready", &[], Bytes::new());
            let response = router.oneshot(request.map(Body::new)).await.unwrap();
            let retry_after = response.headers().get("retry-after").cloned();
            let (head, body) = response.into_parts();
            let body = axum::body::to_bytes(body, 4_096).await.unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            (head.status.as_u16(), body, retry_after)
        }
    };
    // During the first fetch. The proxy's own key is there, but is not one of Entra's.
    let second = Duration::from_secs(1);
    stage.tenant.discovery_endpoint().delay(second).for_next(1);
    let (status, body, _) = ready().await;
    let expected = json!({
        "ready": false, "keys": 0, "code": "keys_unavailable", "cause": "not_fetched_yet",
        "source": body["source"],
    });
    assert_eq!((status, &body), (503, &expected));
    let mut codes = BTreeSet::from([text(&body["code"])]);

    stage.proxy.auth().ready().await.unwrap();
    let (status, body, _) = ready().await;
    assert_eq!((status, &body["ready"]), (200, &Value::Bool(true)));
    assert_eq!(body["keys"], 1, "one of Entra's");
    store.goes_down();
    let (status, body, retry_after) = ready().await;
    assert_eq!((status, &body["ready"]), (503, &Value::Bool(false)));
    assert_eq!(body["code"], "store_unavailable");
    codes.insert(text(&body["code"]));
    assert_eq!(retry_after.unwrap(), "5");
    store.comes_back();
    assert_eq!(ready().await.0, 200);
    stage.proxy.shutdown().await;
    let (status, body, _) = ready().await;
    assert_eq!(
        (status, &body["code"]),
        (503, &Value::from("shutting_down"))
    );
    codes.insert(text(&body["code"]));

    let page = include_str!("../../docs/codes.md");
    let (_, section) = page.split_once("\n## Readiness\n").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeSet<String> = rows
        .map(|row| row.split('`').next().unwrap().to_owned())
        .collect();
    assert_eq!(listed, codes);
    assert!(section.contains("`not_fetched_yet`"));
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn without_entras_keys_it_is_not_ready() {
    let stage = Stage::new().await;
    stage.tenant.start_outage();
    let answer = stage.proxy.readiness().response().await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}

/// Maximum number of work items in flight, as documented for operators.
const MOST: usize = 4_096;

/// Sends a request `times` times, and hangs up each time while it is in flight.
async fn hangs_up(stage: &Stage, times: usize, request: impl Fn() -> Request<Full<Bytes>>) {
    for _ in 0..times {
        let mut asked = stage.proxy.service().oneshot(request());
        let polled =
            poll_fn(|context| Poll::Ready(Pin::new(&mut asked).poll(context).is_pending()));
        assert!(polled.await, "it was answered at once");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_while_too_much_is_under_way_is_told_to_come_later_and_loses_nothing() {
    let store = WatchedStore::default();
    let limits = RateLimits::none();
    let stage = Stage::with(|settings| settings.store(store.clone()).limits(limits)).await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    let form = client.redemption("no code");
    let unavailable = (503, "temporarily_unavailable".to_owned());

    store.takes(HOUR);
    hangs_up(&stage, MOST, || post("/token", &form, &[])).await;
    let (begun, calls, log) = (Instant::now(), store.calls(), Logbook::begin());
    let revocation = [
        ("token", token.as_str().unwrap()),
        ("client_id", &client.id),
    ];
    for reply in [
        stage.refresh(&client, &token).await,
        stage.redeem(&client, &code).await,
        stage.send(post("/revoke", &revocation, &[])).await,
    ] {
        assert_eq!(reply.error(), unavailable);
        assert_eq!(reply.header("retry-after"), "5");
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(store.calls(), calls);
    let lines = log.lines("WARN");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(
        lines[0].contains("too many requests in progress"),
        "{lines:#?}"
    );

    store.takes(Duration::ZERO);
    // Shutdown waits for all work in flight.
    stage.proxy.shutdown().await;
    assert_eq!(stage.redeem(&client, &code).await.status, StatusCode::OK);
    token_of(stage.refresh(&client, &token).await).await;
}

#[tokio::test(start_paused = true)]
async fn a_browser_that_comes_back_while_too_many_do_loads_the_page_again_and_takes_no_place_of_a_client()
 {
    let stage = Stage::with(|settings| settings.limits(RateLimits::none())).await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    let mut one = Browser::new(&stage);
    let at_entra = one.goes_to_entra(&client, &[]).await;
    let slow = stage.tenant.people().sign_in("ada", &at_entra);
    let mut other = Browser::new(&stage);
    let at_entra = other.goes_to_entra(&client, &[]).await;
    let callback = stage.tenant.people().sign_in("grace", &at_entra);

    let endpoint = stage.tenant.token_endpoint();
    endpoint.delay(Duration::from_secs(5)).for_next(1);
    let (path, cookie) = (slow.strip_prefix(PUBLIC).unwrap(), one.cookie());
    let headers = [("cookie", &*cookie)];
    let comes_back = || request(Method::GET, path, &headers, Bytes::new());
    hangs_up(&stage, MOST, comes_back).await;
    let page = other.come_back(&callback).await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(page.header("retry-after"), "5");
    assert!(
        page.text().contains("Load this page again"),
        "{}",
        page.text()
    );
    assert!(page.cookies().is_empty());
    token_of(stage.refresh(&client, &token).await).await;

    stage.proxy.shutdown().await;
    for (browser, callback) in [(&mut other, &callback), (&mut one, &slow)] {
        let answered: Url = browser
            .come_back(callback)
            .await
            .location()
            .parse()
            .unwrap();
        let code = parameter(&answered, "code").unwrap();
        assert_eq!(stage.redeem(&client, &code).await.status, StatusCode::OK);
    }
}
