//! Tests that streams end when a rule no longer permits their caller.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use entra_dev_tenant::DevTenant;
use http::{Method, Request};
use tokio::time::{Instant, sleep};
use tonic::Code;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_entra_auth::{
    expiry::{Expired, TokenExpired},
    testing,
};

use crate::expiry::{GRACE, ask, ended, endless, serve_streams};
use crate::grpc_api::{self, Api, Method as Rpc};
use crate::reissued;
use crate::support::{HOUR, MINUTE, SECOND, at_once_until, header, tenant, user};
use crate::tenants::Rule;

/// Default time for which the answer "yes" of the tenant rule is cached.
const TTL: Duration = Duration::from_secs(300);

/// Returns a tenant, a rule that permits it, and a token that outlives every cached yes.
async fn customer() -> (DevTenant, Rule, String) {
    let tenant = tenant().await;
    let token = user(&tenant).expires_in(10 * 3_600).mint();
    (tenant, Rule::saying(Ok(true)), token)
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_the_yes_about_its_tenant_has_run_out_and_the_next_answer_is_no() {
    let (tenant, rule, token) = customer().await;
    let auth = rule.of(&tenant).build().unwrap();
    let server = serve_streams(&auth).await;
    let start = Instant::now();
    let response = ask(&server, Method::GET, "/events", &token).await;
    let mut download = ask(&server, Method::GET, "/download", &token).await;
    let waiting = ask(&server, Method::GET, "/never", &token);
    let ending = async {
        sleep(TTL + MINUTE).await;
        assert_eq!(rule.asked(), 2, "a yes goes on");
        rule.says(Ok(false));
    };
    let (text, waited, ()) = ended(async { tokio::join!(response.text(), waiting, ending) }).await;

    let ticks = text.unwrap().matches("tick").count();
    assert!((595..=600).contains(&ticks), "{ticks}");
    let elapsed = start.elapsed();
    assert!(
        (2 * TTL..2 * TTL + SECOND).contains(&elapsed),
        "{elapsed:?}"
    );
    assert_eq!(waited.status(), 401);
    assert_eq!(
        header(&waited, "www-authenticate"),
        Some("Bearer error=\"invalid_token\", error_description=\"tenant_not_allowed\"")
    );
    assert_eq!(waited.text().await.unwrap(), "tenant_not_allowed\n");
    let end = loop {
        match ended(download.chunk()).await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert!(end.is_err(), "it looks whole");
    assert_eq!(start.elapsed(), elapsed, "all of them at once");
}

#[tokio::test(start_paused = true)]
async fn the_trailers_of_a_grpc_stream_have_the_code_of_the_no() {
    let (tenant, rule, token) = customer().await;
    let auth = rule.of(&tenant).build().unwrap();
    let server = grpc_api::serve_until_expiry(&auth, Api::default(), GRACE).await;
    let start = Instant::now();
    let call = grpc_api::call_with(&server, Rpc::Streaming, &token);
    let ending = async {
        sleep(MINUTE).await;
        rule.says(Ok(false));
    };
    let (seen, ()) = ended(async { tokio::join!(call, ending) }).await;
    let elapsed = start.elapsed();
    assert!((TTL..TTL + SECOND).contains(&elapsed), "{elapsed:?}");
    let end = seen.end.unwrap_err();
    assert_eq!(
        (end.code(), end.message()),
        (Code::Unauthenticated, "tenant_not_allowed")
    );
}

#[tokio::test(start_paused = true)]
async fn what_ends_a_body_is_its_error_and_has_the_code() {
    let (tenant, rule, token) = customer().await;
    let endless = service_fn(async |_: Request<Body>| {
        Ok::<_, std::convert::Infallible>(endless("application/octet-stream"))
    });
    for (says, code) in [(true, "expired"), (false, "tenant_not_allowed")] {
        rule.says(Ok(true));
        let auth = rule.of(&tenant).build().unwrap();
        let service = auth.layer().layer(auth.end_at_expiry(GRACE).layer(endless));
        let request = Request::get("/").header("authorization", format!("Bearer {token}"));
        let request = request.body(Body::empty()).unwrap();
        let response = service.oneshot(request).await.unwrap();
        rule.says(Ok(says));
        tenant
            .time()
            .jump_forward(if says { 24 * HOUR } else { Duration::ZERO });
        let whole = ended(http_body_util::BodyExt::collect(response.into_body()));
        let error = whole.await.unwrap_err();
        let inner = std::iter::successors(
            Some(&*error as &(dyn std::error::Error + 'static)),
            |error| error.source(),
        )
        .find_map(|error| error.downcast_ref::<TokenExpired>());
        assert_eq!(inner.map(TokenExpired::code), Some(code), "{error:?}");
        tenant
            .time()
            .jump_back(if says { 24 * HOUR } else { Duration::ZERO });
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_grant() {
    let server = reissued::Server::new().await;
    let rule = Rule::saying(Ok(true));
    let asked = rule.clone();
    let tokens = server.tokens();
    let tokens = tokens.grant_rule(30 * SECOND, move |_| asked.clone().ask());
    let auth = server.auth(tokens);
    let served = serve_streams(&auth).await;
    let start = Instant::now();
    let token = server.mint(&server.claims());
    let waiting = ask(&served, Method::GET, "/never", &token);
    let ending = async {
        sleep(MINUTE).await;
        rule.says(Ok(false));
    };
    let (response, ()) = ended(async { tokio::join!(waiting, ending) }).await;
    assert_eq!(response.text().await.unwrap(), "grant_ended\n");
    let elapsed = start.elapsed();
    assert!((MINUTE..MINUTE + SECOND).contains(&elapsed), "{elapsed:?}");
}

/// Checks the handler of a WebSocket, which holds the caller and no other value of this crate.
#[tokio::test(start_paused = true)]
async fn the_end_that_a_handler_awaits_comes_with_a_no_too() {
    let (tenant, rule, token) = customer().await;
    let auth = rule.of(&tenant).build().unwrap();
    let caller = auth.verify(&token).await.unwrap();
    drop(auth);
    let start = Instant::now();
    let mut expiry = caller.expired(GRACE);
    rule.says(Ok(false));
    ended(&mut expiry).await;
    let elapsed = start.elapsed();
    assert!((TTL..TTL + SECOND).contains(&elapsed), "{elapsed:?}");
    ended(expiry).await;
    assert_eq!(start.elapsed(), elapsed, "it is ready at once from then on");
    // The yes has expired, but the rule is not asked immediately about a caller that is still held.
    let again = caller.expired(GRACE);
    ended(again).await;
    let elapsed = start.elapsed() - elapsed;
    assert!((5 * SECOND..6 * SECOND).contains(&elapsed), "{elapsed:?}");
}

/// Polls the future once and returns whether it is ready.
async fn is_over(expiry: &mut Expired) -> bool {
    let mut expiry = pin!(expiry);
    poll_fn(|context| Poll::Ready(expiry.as_mut().poll(context).is_ready())).await
}

#[tokio::test(start_paused = true)]
async fn no_answer_ends_nothing_and_the_rule_is_asked_again_every_five_seconds() {
    let (tenant, rule, token) = customer().await;
    let auth = rule.of(&tenant).build().unwrap();
    let caller = auth.verify(&token).await.unwrap();
    let start = Instant::now();
    let mut expiry = caller.expired(GRACE);
    rule.says(Err("the database is down"));
    let mut asked_at = Vec::new();
    while asked_at.len() < 4 {
        let asked = rule.asked();
        while rule.asked() == asked {
            assert!(!is_over(&mut expiry).await);
            sleep(SECOND / 10).await;
        }
        asked_at.push(start.elapsed().as_secs());
    }
    let [first, second, third, fourth] = asked_at[..] else {
        panic!("{asked_at:?}");
    };
    assert_eq!(first, TTL.as_secs());
    for (before, after) in [(first, second), (second, third), (third, fourth)] {
        assert!((5..=6).contains(&(after - before)), "{asked_at:?}");
    }
    // A rule that does not answer at all is given up after the same time, and asked again.
    rule.hangs();
    let asked = rule.asked();
    for _ in 0..300 {
        assert!(!is_over(&mut expiry).await);
        sleep(SECOND / 10).await;
    }
    assert!(
        (2..=4).contains(&(rule.asked() - asked)),
        "{}",
        rule.asked() - asked
    );
    rule.says(Ok(false));
    let start = Instant::now();
    ended(expiry).await;
    assert!(start.elapsed() <= 6 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_streams_of_one_tenant_ask_once_while_a_yes_lasts_or_an_answer_fails() {
    let (tenant, rule, token) = customer().await;
    let auth = rule.of(&tenant).build().unwrap();
    let caller = auth.verify(&token).await.unwrap();
    let streams: Vec<_> = (0..1_000)
        .map(|_| tokio::spawn(caller.expired(GRACE)))
        .collect();
    sleep(4 * TTL - SECOND).await;
    assert_eq!(rule.asked(), 4);
    rule.says(Err("the database is down"));
    sleep(12 * SECOND).await;
    assert_eq!(rule.asked(), 7, "after 0, 5 and 10 s");
    rule.hangs();
    sleep(MINUTE).await;
    assert!((12..=14).contains(&rule.asked()), "{}", rule.asked());
    rule.says(Ok(false));
    let asked = rule.asked();
    for stream in streams {
        ended(stream).await.unwrap();
    }
    assert!(rule.asked() <= asked + 1);
}

/// Checks streams with a rule whose yes is not cached. The Layer asks the rule about each request.
#[tokio::test(start_paused = true)]
async fn streams_ask_every_five_seconds_where_no_yes_is_kept() {
    let (tenant, rule, token) = customer().await;
    let settings = rule.of(&tenant).rule_ttl(Duration::ZERO);
    let auth = settings.build().unwrap();
    let caller = auth.verify(&token).await.unwrap();
    auth.verify(&token).await.unwrap();
    assert_eq!(rule.asked(), 2);
    let streams: Vec<_> = (0..1_000)
        .map(|_| tokio::spawn(caller.expired(GRACE)))
        .collect();
    sleep(51 * SECOND).await;
    assert_eq!(rule.asked(), 12);
    // The rule's no to a request applies to the streams when they ask next.
    rule.says(Ok(false));
    assert!(auth.verify(&token).await.is_err());
    let start = Instant::now();
    for stream in streams {
        ended(stream).await.unwrap();
    }
    assert!(start.elapsed() <= 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_about_what_is_done_before_or_whom_nobody_verified() {
    let (tenant, rule, token) = customer().await;
    let auth = rule.of(&tenant).build().unwrap();
    let server = serve_streams(&auth).await;
    for _ in 0..3 {
        let response = ask(&server, Method::GET, "/me", &token).await;
        assert_eq!(response.text().await.unwrap(), "done");
    }
    assert_eq!(rule.asked(), 1);

    rule.says(Ok(false));
    let ada = testing::caller(&auth, serde_json::json!({ "scp": "x" })).unwrap();
    let mut expiry = ada.expired(GRACE);
    sleep(2 * TTL).await;
    assert!(!is_over(&mut expiry).await);
    sleep(MINUTE).await;
    assert!(!is_over(&mut expiry).await);
    assert_eq!(rule.asked(), 1);
}

/// Checks a stream that is no longer polled, because its client reads nothing: it must hold nothing
/// that others need.
#[tokio::test(start_paused = true)]
async fn a_stream_that_is_polled_no_more_keeps_nobody_waiting() {
    let (tenant, rule, token) = customer().await;
    let auth = rule.of(&tenant).build().unwrap();
    let caller = auth.verify(&token).await.unwrap();
    let mut stuck: Vec<_> = (0..2_000).map(|_| caller.expired(GRACE)).collect();
    rule.hangs();
    sleep(TTL).await;
    for expiry in &mut stuck {
        assert!(!is_over(expiry).await);
    }
    at_once_until(|| rule.asked() == 2).await;
    rule.says(Ok(true));
    assert!(auth.verify(&token).await.is_ok());
    sleep(2 * TTL).await;
    assert!(auth.verify(&token).await.is_ok());
}
