//! Tests of the rate limits for one address, one client and one sign-in.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use entra_oauth_proxy::{Clients, PreregisteredClient, Rate, RateLimits};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::logbook::Logbook;
use crate::refresh::{invalid_grant, token_of};
use crate::support::{Browser, Client, REDIRECT, Reply, Stage, post, request, settings, tenant};

pub(crate) fn address(text: &str) -> SocketAddr {
    let address: IpAddr = text.parse().unwrap();
    SocketAddr::from((address, 50_000))
}

/// Returns the request with this peer address.
pub(crate) fn from(address: SocketAddr, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    request.extensions_mut().insert(address);
    request
}

pub(crate) fn registration() -> Request<Full<Bytes>> {
    let headers = [("content-type", "application/json")];
    let body = json!({ "redirect_uris": [REDIRECT] }).to_string();
    request(Method::POST, "/register", &headers, body.into())
}

fn get(path: &str) -> Request<Full<Bytes>> {
    request(Method::GET, path, &[], Bytes::new())
}

fn forwarded(for_whom: &str) -> Request<Full<Bytes>> {
    let mut request = registration();
    let for_whom = for_whom.parse().unwrap();
    request.headers_mut().append("x-forwarded-for", for_whom);
    request
}

/// Returns the seconds to wait, if the response is a 429.
pub(crate) fn wait(reply: &Reply) -> Option<u64> {
    (reply.status == StatusCode::TOO_MANY_REQUESTS)
        .then(|| reply.header("retry-after").parse().unwrap())
}

async fn limited(limits: RateLimits) -> Stage {
    Stage::with(|settings| settings.limits(limits)).await
}

fn is_told_in_words_of_oauth(reply: &Reply) {
    let expected = (429, "temporarily_unavailable".to_owned());
    assert_eq!(reply.error(), expected);
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.header("access-control-allow-origin"), "*");
    let exposed = reply.header("access-control-expose-headers");
    assert!(exposed.contains("retry-after"), "{exposed}");
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_registrations_passes_and_then_one_at_a_time() {
    let stage =
        limited(RateLimits::default().registrations_per_address(Rate::per_minute(4).burst(3)))
            .await;
    let here = address("192.0.2.1");
    let register = || stage.send(from(here, registration()));
    for _ in 0..3 {
        assert_eq!(register().await.status, StatusCode::CREATED);
    }
    let refused = register().await;
    is_told_in_words_of_oauth(&refused);
    assert_eq!(wait(&refused), Some(15));
    // Neither other addresses nor other endpoints are limited.
    let elsewhere = stage.send(from(address("192.0.2.2"), registration())).await;
    assert_eq!(elsewhere.status, StatusCode::CREATED);
    let token = stage.send(from(here, post("/token", &[], &[]))).await;
    assert_eq!(token.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        stage.send(from(here, get("/authorize"))).await.status,
        StatusCode::BAD_REQUEST
    );

    stage
        .tenant
        .time()
        .advance(Duration::from_millis(14_500))
        .await;
    // The wait is rounded up, so that a registration succeeds after it.
    assert_eq!(wait(&register().await), Some(1));
    stage.tenant.time().advance(Duration::from_secs(1)).await;
    assert_eq!(register().await.status, StatusCode::CREATED);
    assert_eq!(wait(&register().await), Some(15));
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_token_requests_passes_and_then_one_at_a_time() {
    let stage =
        limited(RateLimits::default().token_requests_per_address(Rate::per_minute(60).burst(3)))
            .await;
    let here = address("192.0.2.1");
    let ask = || stage.send(from(here, post("/token", &[], &[])));
    for _ in 0..3 {
        assert_eq!(ask().await.status, StatusCode::UNAUTHORIZED);
    }
    let refused = ask().await;
    is_told_in_words_of_oauth(&refused);
    assert_eq!(wait(&refused), Some(1));
    stage.tenant.time().advance(Duration::from_secs(1)).await;
    assert_eq!(ask().await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn what_browsers_come_to_is_counted_together_and_a_page_says_to_wait() {
    let stage =
        limited(RateLimits::default().sign_ins_per_address(Rate::per_minute(6).burst(3))).await;
    let client = stage.client().await;
    let here = address("192.0.2.1");
    let mut browser = Browser::at(&stage, here);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    // Another request from the same address.
    stage.send(from(here, get("/authorize"))).await;

    let told = browser.come_back(&callback).await;
    assert_eq!(wait(&told), Some(10));
    assert!(told.text().contains("Wait a minute"), "{}", told.text());
    assert_eq!(told.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(told.header("cache-control"), "no-store");
    for request in [get(&client.authorize(&[])), post("/consent", &[], &[])] {
        assert_eq!(wait(&stage.send(from(here, request)).await), Some(10));
    }
    // The sign-in continues where it stopped.
    stage.tenant.time().advance(Duration::from_secs(10)).await;
    let answered = browser.come_back(&callback).await;
    assert!(answered.location().contains("code="), "{answered:?}");
}

#[tokio::test(start_paused = true)]
async fn documents_and_preflights_are_not_counted() {
    let limits = RateLimits::default()
        .registrations_per_address(Rate::per_minute(1).burst(1))
        .sign_ins_per_address(Rate::per_minute(1).burst(1))
        .token_requests_per_address(Rate::per_minute(1).burst(1));
    let stage = limited(limits).await;
    let here = address("192.0.2.1");
    for _ in 0..10 {
        for path in [
            "/.well-known/oauth-authorization-server",
            "/.well-known/oauth-protected-resource/mcp",
        ] {
            let document = stage.send(from(here, get(path))).await;
            assert_eq!(document.status, StatusCode::OK, "{path}");
        }
        for path in ["/token", "/register"] {
            let preflight = request(Method::OPTIONS, path, &[], Bytes::new());
            let reply = stage.send(from(here, preflight)).await;
            assert_eq!(reply.status, StatusCode::NO_CONTENT, "{path}");
        }
    }
    let reply = stage.send(from(here, registration())).await;
    assert_eq!(reply.status, StatusCode::CREATED);
}

#[tokio::test(start_paused = true)]
async fn the_defaults_let_through_what_is_documented() {
    let stage = Stage::new().await;
    let here = address("192.0.2.1");
    type Make = fn() -> Request<Full<Bytes>>;
    let cases: [(Make, usize, u64); 3] = [
        (registration, 200, 120),
        (|| get("/authorize"), 600, 600),
        (|| post("/token", &[], &[]), 1_000, 3_000),
    ];
    for (make, burst, per_minute) in cases {
        for _ in 0..burst {
            assert_eq!(wait(&stage.send(from(here, make())).await), None);
        }
        assert_eq!(wait(&stage.send(from(here, make())).await), Some(1));
        stage
            .tenant
            .time()
            .advance(Duration::from_nanos(60_000_000_000 / per_minute))
            .await;
        assert_eq!(wait(&stage.send(from(here, make())).await), None);
        assert_eq!(wait(&stage.send(from(here, make())).await), Some(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_network_of_64_bits_is_one_address_and_ipv4_is_the_same_in_ipv6() {
    let stage =
        limited(RateLimits::default().registrations_per_address(Rate::per_minute(1).burst(1)))
            .await;
    for (peer, is_refused) in [
        ("2001:db8:1:2::1", false),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", true),
        ("2001:db8:1:3::1", false),
        ("192.0.2.1", false),
        ("::ffff:192.0.2.1", true),
        ("::ffff:192.0.2.2", false),
    ] {
        let reply = stage.send(from(address(peer), registration())).await;
        assert_eq!(wait(&reply).is_some(), is_refused, "{peer}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_stranger_says_of_where_it_comes_from_changes_nothing() {
    let limits = RateLimits::default().registrations_per_address(Rate::per_minute(1).burst(1));
    let stage =
        Stage::with(|settings| settings.limits(limits).trusted_proxies(["10.0.0.0/8"])).await;
    let stranger = address("192.0.2.1");
    let log = Logbook::begin();
    let first = stage.send(from(stranger, forwarded("203.0.113.1"))).await;
    assert_eq!(wait(&first), None);
    for index in 2..10 {
        let made_up = forwarded(&format!("203.0.113.{index}"));
        assert!(wait(&stage.send(from(stranger, made_up)).await).is_some());
    }
    // The header did not count against the client whose address it names.
    let honest = stage
        .send(from(address("203.0.113.1"), registration()))
        .await;
    assert_eq!(wait(&honest), None);
    // The peer may be a reverse proxy that the operator has not named.
    let said = log.lines("WARN").join("\n");
    assert!(said.contains("trusted_proxies"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn through_a_trusted_proxy_the_client_counts_and_not_what_it_says_of_itself() {
    let limits = RateLimits::default().registrations_per_address(Rate::per_minute(1).burst(1));
    let stage = Stage::with(|settings| {
        settings
            .limits(limits)
            .trusted_proxies(["10.0.0.0/8"])
            .trusted_proxies(["192.0.2.7"])
    })
    .await;
    let proxy = address("10.0.0.1");
    for (for_whom, is_refused) in [
        ("203.0.113.1", false),
        ("203.0.113.1", true),
        ("203.0.113.2", false),
        // The trusted proxy adds the second address. The first one is a claim of the client.
        ("203.0.113.3, 203.0.113.2", true),
        ("203.0.113.3", false),
        // Through two trusted proxies.
        ("198.51.100.9, 203.0.113.3, 192.0.2.7", true),
        ("203.0.113.4:50000", false),
        ("203.0.113.4", true),
    ] {
        let reply = stage.send(from(proxy, forwarded(for_whom))).await;
        assert_eq!(wait(&reply).is_some(), is_refused, "{for_whom}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_trusted_proxy_is_believed_about_addresses_alone() {
    let stage = Stage::with(|settings| settings.trusted_proxies(["10.0.0.0/8"])).await;
    let at = |path| {
        let headers = [
            ("host", "evil.example"),
            ("x-forwarded-for", "203.0.113.1"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "http"),
            ("forwarded", "for=203.0.113.1;host=evil.example;proto=http"),
        ];
        from(
            address("10.0.0.1"),
            request(Method::GET, path, &headers, Bytes::new()),
        )
    };
    let client = stage.client().await;
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource/mcp",
        &client.authorize(&[]),
        &client.authorize(&[("response_type", "token")]),
    ] {
        let reply = stage.send(at(path)).await;
        let told = format!("{:?} {}", reply.headers, reply.text());
        assert!(reply.status.as_u16() <= 400, "{told}");
        assert!(
            !told.contains("evil") && !told.contains("http://mcp"),
            "{told}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_address_requests_pass_and_the_log_says_it_once_with_the_remedy() {
    let limits = RateLimits::default().registrations_per_address(Rate::per_minute(1).burst(1));
    let stage = limited(limits).await;
    let log = Logbook::begin();
    for _ in 0..5 {
        let reply = stage.send(forwarded("203.0.113.1")).await;
        assert_eq!(reply.status, StatusCode::CREATED);
    }
    let said = log.lines("WARN");
    assert_eq!(said.len(), 1, "{said:?}");
    let remedy = "into_make_service_with_connect_info::<SocketAddr>()";
    assert!(said[0].contains(remedy), "{}", said[0]);

    let stage = limited(RateLimits::none()).await;
    let log = Logbook::begin();
    assert_eq!(stage.send(registration()).await.status, StatusCode::CREATED);
    assert!(log.lines("WARN").is_empty(), "{}", log.text());
}

#[tokio::test]
async fn axum_says_the_address_where_it_is_asked_to() {
    let tenant = tenant().start().await.unwrap();
    let limits = RateLimits::default().registrations_per_address(Rate::per_minute(1).burst(1));
    let proxy = settings(&tenant).limits(limits).build().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/register", listener.local_addr().unwrap());
    let app: axum::Router = proxy.routes();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let body = json!({ "redirect_uris": [REDIRECT] });
        let sent = reqwest::Client::new().post(&url).json(&body).send();
        statuses.push(sent.await.unwrap().status().as_u16());
    }
    assert_eq!(statuses, [201, 429]);
    server.abort();
}

#[tokio::test(start_paused = true)]
async fn refusals_are_one_line_a_minute_without_an_address() {
    let stage =
        limited(RateLimits::default().registrations_per_address(Rate::per_minute(1).burst(1)))
            .await;
    let log = Logbook::begin();
    let here = address("203.0.113.77");
    for _ in 0..50 {
        stage.send(from(here, registration())).await;
    }
    assert_eq!(log.lines("WARN").len(), 1);
    stage.tenant.time().advance(Duration::from_secs(60)).await;
    for _ in 0..2 {
        stage.send(from(here, registration())).await;
    }
    let said = log.lines("WARN");
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[1].contains("count=49"), "{}", said[1]);
    assert!(said[1].contains("registrations_per_address"), "{}", said[1]);
    for line in log.text().lines().filter(|line| line.contains("203.0.113")) {
        assert!(line.contains("DEBUG"), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_can_be_switched_off() {
    let stage = limited(RateLimits::none()).await;
    let here = address("192.0.2.1");
    for _ in 0..1_100 {
        for request in [registration(), get("/authorize"), post("/token", &[], &[])] {
            assert_eq!(wait(&stage.send(from(here, request)).await), None);
        }
    }
    let client = stage.client().await;
    let mut token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    for _ in 0..200 {
        token = token_of(stage.refresh(&client, &token).await).await;
    }
}

#[tokio::test]
async fn limits_that_are_none_are_told_each_with_a_good_one() {
    let tenant = tenant().start().await.unwrap();
    let limits = RateLimits::default()
        .registrations_per_address(Rate::per_minute(60).burst(0))
        .sign_ins_per_address(Rate::per_minute(0).burst(60))
        .token_requests_per_address(Rate::per_minute(1).burst(1_000_001))
        .token_requests_per_client(Rate::per_minute(1_000_001).burst(1))
        .refreshes_per_sign_in(Rate::per_minute(1).burst(1_000_000))
        .sign_ins_per_user(Rate::per_minute(1).burst(0))
        .grants_per_user(301)
        .grants_per_user_and_client(0)
        .entra_calls(0);
    let error = settings(&tenant)
        .limits(limits)
        .trusted_proxies(["10.0.0.0/8", "nginx", "0.0.0.0/0"])
        .build()
        .unwrap_err();
    let problems: Vec<String> = error.problems().map(ToString::to_string).collect();
    for (problem, says) in problems.iter().zip([
        "limits.registrations_per_address: Rate::per_minute(60).burst(0): both numbers must be from 1 to 1000000; for example \
         registrations_per_address(Rate::per_minute(120).burst(200))",
        "limits.sign_ins_per_address: Rate::per_minute(0).burst(60): both",
        "limits.token_requests_per_address: Rate::per_minute(1).burst(1000001): both",
        "limits.token_requests_per_client: Rate::per_minute(1000001).burst(1): both",
        "limits.sign_ins_per_user: Rate::per_minute(1).burst(0): both numbers must be from 1 to 1000000; for example \
         sign_ins_per_user(Rate::per_minute(10).burst(60))",
        "limits.grants_per_user: 301 is not from 1 to 300; for example grants_per_user(50)",
        "limits.grants_per_user_and_client: 0 is not from 1 to 300; for example \
         grants_per_user_and_client(10)",
        "limits.entra_calls: 0 is not from 1 to 10000; for example entra_calls(64)",
        "trusted_proxies: \"nginx\" is neither an address nor a network; for example 192.0.2.7",
        "trusted_proxies: \"0.0.0.0/0\" contains every address",
    ]) {
        assert!(problem.starts_with(says), "{problem}");
    }
    assert_eq!(problems.len(), 10, "{error}");
}

/// Id of a client that many users share.
const SHARED: &str = "shared";

fn shared() -> Client {
    Client {
        id: SHARED.to_owned(),
        secret: None,
        redirect_uri: REDIRECT.to_owned(),
    }
}

async fn with_a_shared_client(limits: RateLimits) -> (Stage, Client) {
    let known = PreregisteredClient::public(SHARED).redirect_uri(REDIRECT);
    let stage = Stage::with(|settings| {
        settings
            .limits(limits)
            .clients(Clients::default().preregistered(known))
    })
    .await;
    (stage, shared())
}

/// Refreshes until a 429, and returns the current token, the number of refreshes, and the seconds
/// to wait.
async fn in_a_loop(stage: &Stage, client: &Client, token: &Value) -> (Value, usize, u64) {
    let mut token = token.clone();
    for round in 0..1_000 {
        let reply = stage.refresh(client, &token).await;
        if let Some(wait) = wait(&reply) {
            is_told_in_words_of_oauth(&reply);
            return (token, round, wait);
        }
        token = token_of(reply).await;
    }
    panic!("nothing stops it");
}

#[tokio::test(start_paused = true)]
async fn a_loop_of_one_sign_in_is_told_to_wait_and_neither_it_nor_another_loses_anything() {
    let limits = RateLimits::default().token_requests_per_client(Rate::per_minute(60).burst(200));
    let (stage, client) = with_a_shared_client(limits).await;
    let ada = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    let grace = stage.sign_in(&client, "grace").await["refresh_token"].clone();
    let (token, rounds, wait) = in_a_loop(&stage, &client, &ada).await;
    assert_eq!((rounds, wait), (120, 1));
    for _ in 0..1_000 {
        assert_eq!(
            stage.refresh(&client, &token).await.status,
            StatusCode::TOO_MANY_REQUESTS
        );
    }
    // The client's other user is not limited.
    let grace = token_of(stage.refresh(&client, &grace).await).await;
    token_of(stage.refresh(&client, &grace).await).await;
    // The token works even after the grace period of a rotation, because nothing was replaced.
    stage.tenant.time().advance(Duration::from_secs(61)).await;
    assert_ne!(token_of(stage.refresh(&client, &token).await).await, token);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_too_often_keeps_its_code_and_its_tokens() {
    let limits = RateLimits::default().token_requests_per_client(Rate::per_minute(2).burst(3));
    let (stage, client) = with_a_shared_client(limits).await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    let code = Browser::new(&stage).code(&client, "grace", &[]).await;
    let token = token_of(stage.refresh(&client, &token).await).await;
    let token = token_of(stage.refresh(&client, &token).await).await;
    let refused = stage.refresh(&client, &token).await;
    is_told_in_words_of_oauth(&refused);
    assert_eq!(wait(&refused), Some(30));
    let refused = stage.redeem(&client, &code).await;
    is_told_in_words_of_oauth(&refused);
    // Another client is not limited.
    let other = stage.client().await;
    stage.sign_in(&other, "ada").await;

    stage.tenant.time().advance(Duration::from_secs(30)).await;
    assert_eq!(stage.redeem(&client, &code).await.status, StatusCode::OK);
    stage.tenant.time().advance(Duration::from_secs(60)).await;
    token_of(stage.refresh(&client, &token).await).await;
}

#[tokio::test(start_paused = true)]
async fn a_stranger_who_knows_a_public_client_cannot_use_it_up() {
    let limits = RateLimits::default().token_requests_per_client(Rate::per_minute(1).burst(3));
    let (stage, client) = with_a_shared_client(limits).await;
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    // Codes and refresh tokens that are invented, belong to another client, or lack the right
    // verifier.
    let own = stage.client().await;
    let strangers = stage.sign_in(&own, "grace").await["refresh_token"].clone();
    for _ in 0..10 {
        let mut guessed = client.redemption(&code);
        for (name, value) in &mut guessed {
            if *name == "code_verifier" {
                *value = "another-verifier-of-the-right-length-43-chars-";
            }
        }
        for refused in [
            stage.token(&guessed).await,
            stage.redeem(&client, "made up").await,
            stage.refresh(&client, &json!("made up")).await,
            stage.refresh(&client, &strangers).await,
        ] {
            assert_eq!(refused.error(), invalid_grant());
        }
    }
    let tokens = stage.redeem(&client, &code).await;
    let token = token_of(tokens).await;
    token_of(stage.refresh(&client, &token).await).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_uses_a_replaced_token_is_found_out_however_often_it_asked() {
    let limits = RateLimits::default()
        .refreshes_per_sign_in(Rate::per_minute(1).burst(2))
        .token_requests_per_client(Rate::per_minute(1).burst(3));
    let (stage, client) = with_a_shared_client(limits).await;
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    let first = token_of(stage.redeem(&client, &code).await).await;
    let (token, rounds, _) = in_a_loop(&stage, &client, &first).await;
    assert_eq!(rounds, 2);
    // The client has reached its limit, and so has the sign-in.
    for stolen in [
        stage.refresh(&client, &first).await,
        stage.redeem(&client, &code).await,
    ] {
        assert_eq!(stolen.error(), invalid_grant());
    }
    assert_eq!(
        stage.refresh(&client, &token).await.error(),
        invalid_grant()
    );
}
