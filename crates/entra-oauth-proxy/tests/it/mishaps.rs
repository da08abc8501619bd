//! Tests of faults in the middle of a request, which must not sign a user out.
//!
//! The faults are writes without a confirmation, processes that end, stores that hang, and slow
//! instances.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use entra_oauth_proxy::{EntraOAuthProxy, EntraOAuthProxyBuilder, ProxyKeys, Rate, RateLimits};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tower::ServiceExt as _;

use crate::logbook::Logbook;
use crate::refresh::{invalid_grant, token_of};
use crate::support::{Browser, Client, HOUR, MINUTE, Reply, Stage, post, settings, tenant};
use crate::watched_store::{Swaps, WatchedStore};

fn unavailable() -> (u16, String) {
    (503, "temporarily_unavailable".to_owned())
}

async fn refreshed_at(proxy: &EntraOAuthProxy, client: &Client, token: &Value) -> Reply {
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token.as_str().unwrap()),
        ("client_id", &client.id),
    ];
    let asked = proxy.service().oneshot(post("/token", &form, &[]));
    Reply::of(asked.await.unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn a_replacement_that_was_done_though_the_store_did_not_say_so_costs_nobody_the_sign_in() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    store.swaps_are(Swaps::DoneUnsaid);
    assert_eq!(stage.refresh(&client, &token).await.error(), unavailable());
    store.goes_down();
    for _ in 0..12 {
        stage.tenant.time().advance(Duration::from_secs(10)).await;
        assert_eq!(stage.refresh(&client, &token).await.error(), unavailable());
    }
    store.comes_back();
    store.swaps_are(Swaps::Done);
    let next = token_of(stage.refresh(&client, &token).await).await;
    assert_ne!(next, token);
    // From now on, the usual rules apply: a token before the parent ends the sign-in.
    let last = token_of(stage.refresh(&client, &next).await).await;
    for old in [&token, &last] {
        assert_eq!(stage.refresh(&client, old).await.error(), invalid_grant());
    }
}

/// Checks a store that lost the writes since a backup, and then does not confirm a write.
///
/// The client may repeat the refresh that was not confirmed.
#[tokio::test(start_paused = true)]
async fn whose_replacements_the_store_has_lost_may_repeat_the_one_that_nobody_confirmed() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let client = stage.client().await;
    let mut token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    let backup = store.records("grant/").await.remove(0);
    for _ in 0..3 {
        token = token_of(stage.refresh(&client, &token).await).await;
    }
    store.puts_back(backup).await;
    store.swaps_are(Swaps::DoneUnsaid);
    assert_eq!(stage.refresh(&client, &token).await.error(), unavailable());
    store.swaps_are(Swaps::Done);
    stage.tenant.time().advance(2 * MINUTE).await;
    assert_ne!(token_of(stage.refresh(&client, &token).await).await, token);
}

#[tokio::test(start_paused = true)]
async fn a_replacement_that_was_not_done_then_leaves_nobody_a_longer_grace() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    store.refuses_writes();
    assert_eq!(stage.refresh(&client, &token).await.error(), unavailable());
    store.comes_back();
    let next = token_of(stage.refresh(&client, &token).await).await;
    stage.tenant.time().advance(2 * MINUTE).await;
    let late = token_of(stage.refresh(&client, &token).await).await;
    assert_ne!(late, next);
    assert_eq!(stage.refresh(&client, &next).await.error(), invalid_grant());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_a_process_left_without_a_response_continues_after_any_time() {
    let (keys, store) = (ProxyKeys::generate(), WatchedStore::default());
    let change =
        |settings: EntraOAuthProxyBuilder| settings.keys(keys.clone()).store(store.clone());
    for away in [Duration::ZERO, 10 * MINUTE, HOUR, 29 * 24 * HOUR] {
        let mut stage = Stage::with(change).await;
        let client = stage.client().await;
        let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
        stage.tenant.time().advance(Duration::from_secs(1)).await;
        // The process ends before the client receives the response.
        token_of(stage.refresh(&client, &token).await).await;
        stage.tenant.time().advance(away).await;
        stage.proxy = change(settings(&stage.tenant)).build().unwrap();
        let next = token_of(stage.refresh(&client, &token).await).await;
        token_of(stage.refresh(&client, &next).await).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_is_slow_at_one_instance_ends_nothing_that_another_made_meanwhile() {
    let (keys, store) = (ProxyKeys::generate(), WatchedStore::default());
    let change =
        |settings: EntraOAuthProxyBuilder| settings.keys(keys.clone()).store(store.clone());
    let stage = Stage::with(change).await;
    let other = change(settings(&stage.tenant)).build().unwrap();
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    stage.tenant.time().advance(HOUR).await;
    let endpoint = stage.tenant.token_endpoint();
    endpoint.delay(Duration::from_secs(3)).for_next(1);
    let before = endpoint.requests().len();
    let faster = async {
        while endpoint.requests().len() == before {
            tokio::task::yield_now().await;
        }
        let second = token_of(stage.refresh(&client, &token).await).await;
        token_of(stage.refresh(&client, &second).await).await
    };
    let (slow, third) = tokio::join!(refreshed_at(&other, &client, &token), faster);
    assert_eq!(token_of(slow).await, third);
    token_of(stage.refresh(&client, &third).await).await;
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_is_refused_does_not_ask_entra() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    stage.tenant.time().advance(HOUR).await;
    let before = stage.tenant.token_endpoint().requests().len();
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token.as_str().unwrap()),
        ("client_id", &client.id),
        ("scope", "nothing"),
    ];
    let reply = stage.token(&form).await;
    assert_eq!(reply.error(), (400, "invalid_scope".to_owned()));
    assert_eq!(stage.tenant.token_endpoint().requests().len(), before);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_hangs_nobody_waits_for_long_and_the_end_comes() {
    let store = WatchedStore::default();
    let stage =
        Stage::with(|settings| settings.store(store.clone()).limits(RateLimits::none())).await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    store.takes(HOUR);
    let begun = Instant::now();
    let mut all = JoinSet::new();
    for _ in 0..500 {
        let (proxy, client, token) = (stage.proxy.clone(), client.clone(), token.clone());
        all.spawn(async move {
            let refreshed = refreshed_at(&proxy, &client, &token);
            // The clients wait no longer than this.
            timeout(Duration::from_secs(1), refreshed).await.ok()
        });
    }
    let mut told = 0;
    while let Some(reply) = all.join_next().await {
        if let Some(reply) = reply.unwrap() {
            assert_eq!(reply.error(), unavailable());
            told += 1;
        }
    }
    // The requests beyond the 256 that may wait for the grant receive their response immediately.
    assert_eq!(told, 500 - 256);
    stage.proxy.shutdown().await;
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
    store.takes(Duration::ZERO);
    token_of(stage.refresh(&client, &token).await).await;
}

/// Sends a request's head over HTTP/1.1 without its body, and returns the response in lower case.
async fn told(address: SocketAddr, head: &str) -> String {
    memory_network::assert_clock_runs();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{head} HTTP/1.1\r\nhost: api\r\ncontent-length: 7\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
        .write_all(b"content-type: text/plain\r\n\r\n")
        .await
        .unwrap();
    let mut answer = vec![0; 4_096];
    let length = stream.read(&mut answer).await.unwrap();
    String::from_utf8(answer[..length].to_vec())
        .unwrap()
        .to_lowercase()
}

#[tokio::test]
async fn whoever_is_refused_before_the_body_was_read_is_told_that_the_connection_ends() {
    let tenant = tenant().start().await.unwrap();
    let limits = RateLimits::default().registrations_per_address(Rate::per_minute(1).burst(1));
    let proxy = settings(&tenant).limits(limits).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app: Router = proxy.routes();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    for (head, status) in [
        ("POST /token", "400"),
        ("POST /revoke", "400"),
        ("PUT /register", "405"),
        ("POST /register", "429"),
    ] {
        let answer = told(address, head).await;
        assert!(
            answer.starts_with(&format!("http/1.1 {status}")),
            "{head}: {answer}"
        );
        assert!(answer.contains("connection: close"), "{head}: {answer}");
    }
    server.abort();
    // If the server has read the body, the connection stays open.
    let form = [("grant_type", "x"), ("client_id", "x")];
    let answered = proxy
        .service()
        .oneshot(post("/token", &form, &[("content-length", "26")]));
    let reply = Reply::of(answered.await.unwrap()).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("connection")),
        (401, "")
    );
}

#[tokio::test(start_paused = true)]
async fn a_reverse_proxy_that_is_not_named_is_told_of_before_anybody_is_refused() {
    let stage = Stage::new().await;
    for (peer, count) in [("203.0.113.9:1", 0), ("10.1.2.3:1", 1), ("10.1.2.4:1", 1)] {
        let log = Logbook::begin();
        for _ in 0..2 {
            let headers = [("x-forwarded-for", "198.51.100.7")];
            let mut request = post("/token", &[], &headers);
            let peer: SocketAddr = peer.parse().unwrap();
            request.extensions_mut().insert(peer);
            stage.send(request).await;
        }
        let lines = log.lines("WARN");
        let warned = lines
            .iter()
            .filter(|line| line.contains("trusted_proxies(..)"));
        let expected = if peer.starts_with("10.1.2.4") {
            0
        } else {
            count
        };
        assert_eq!(warned.count(), expected, "{peer}: {lines:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_of_which_the_store_says_nothing_more_is_gone_with_its_first_access_token() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let client = stage.client().await;
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    // The store writes the grant, and then cannot change it or its code.
    let release = store.holds_the_next("grant/");
    let (redeemed, ()) = tokio::join!(stage.redeem(&client, &code), async {
        store.holds().await;
        store.goes_down();
        release.send(()).unwrap();
    });
    assert_eq!(redeemed.error(), unavailable());
    store.comes_back();
    assert_eq!(store.count("grant/").await, 1);
    stage.tenant.time().advance(71 * MINUTE).await;
    assert_eq!(store.count("grant/").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_that_the_store_did_not_lengthen_is_lengthened_by_its_first_refresh() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let client = stage.client().await;
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    let release = store.holds_the_next("code/");
    let (redeemed, ()) = tokio::join!(stage.redeem(&client, &code), async {
        store.holds().await;
        store.goes_down();
        release.send(()).unwrap();
    });
    store.comes_back();
    let token = token_of(redeemed).await;
    // The client refreshes when its first access token has expired.
    stage.tenant.time().advance(65 * MINUTE).await;
    let next = token_of(stage.refresh(&client, &token).await).await;
    stage.tenant.time().advance(29 * 24 * HOUR).await;
    token_of(stage.refresh(&client, &next).await).await;
}
