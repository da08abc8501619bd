//! Tests of a refresh that is repeated with the previous refresh token.
//!
//! The proxy asks Entra as at any other refresh, and clock differences end no sign-in.

use std::time::{Duration, SystemTime};

use entra_oauth_proxy::{EntraOAuthProxy, EntraOAuthProxyBuilder, Lifetimes, ProxyKeys};
use http::StatusCode;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::refresh::{invalid_grant, token_of};
use crate::support::{APP, Client, HOUR, MINUTE, Reply, Stage, post, settings};
use crate::watched_store::{Swaps, WatchedStore};

const SECOND: Duration = Duration::from_secs(1);

/// A sign-in whose refresh token was replaced a moment ago.
///
/// Entra was asked nine and a half minutes ago, so half a minute later it is asked again: Entra's
/// token ends before the client's next one would.
struct Replaced {
    stage: Stage,
    store: WatchedStore,
    client: Client,
    /// The replaced token, and its successor.
    tokens: [Value; 2],
}

impl Replaced {
    async fn with(change: impl FnOnce(EntraOAuthProxyBuilder) -> EntraOAuthProxyBuilder) -> Self {
        let store = WatchedStore::default();
        let stage = Stage::with(|settings| change(settings.store(store.clone()))).await;
        let client = stage.client().await;
        let first = stage.sign_in(&client, "ada").await["refresh_token"].clone();
        stage.tenant.time().advance(570 * SECOND).await;
        let second = token_of(stage.refresh(&client, &first).await).await;
        Self {
            stage,
            store,
            client,
            tokens: [first, second],
        }
    }

    async fn again(&self) -> Reply {
        self.stage.refresh(&self.client, &self.tokens[0]).await
    }

    fn asked(&self) -> usize {
        self.stage.tenant.token_endpoint().requests().len()
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeat_asks_entra_where_a_refresh_would_and_replaces_nothing() {
    let replaced = Replaced::with(|settings| settings).await;
    let asked = replaced.asked();
    let time = replaced.stage.tenant.time();
    for seconds in [0, 29] {
        time.advance(Duration::from_secs(seconds)).await;
        assert_eq!(token_of(replaced.again().await).await, replaced.tokens[1]);
        assert_eq!(replaced.asked(), asked, "Entra was asked just now");
    }
    time.advance(SECOND).await;
    for _ in 0..2 {
        let again = replaced.again().await;
        assert_eq!(again.status, StatusCode::OK, "{}", again.text());
        let access_token = &again.json()["access_token"];
        assert!(replaced.stage.verify(access_token).await.is_ok());
        assert_eq!(token_of(again).await, replaced.tokens[1]);
        assert_eq!(replaced.asked(), asked + 1, "once");
    }
    // The renewal did not lengthen the grace period of the replaced token.
    time.advance(31 * SECOND).await;
    assert_ne!(token_of(replaced.again().await).await, replaced.tokens[1]);
}

#[tokio::test(start_paused = true)]
async fn a_user_who_is_disabled_is_not_let_in_by_a_repeat_however_long_its_grace() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    stage.tenant.time().advance(45 * MINUTE).await;
    // The store did not confirm the replacement, so the client may repeat the refresh for an hour.
    store.swaps_are(Swaps::DoneUnsaid);
    assert_eq!(stage.refresh(&client, &token).await.status, 503);
    store.swaps_are(Swaps::Done);
    stage.tenant.people().disable("ada");
    stage.tenant.time().advance(5 * MINUTE).await;
    let held = stage.refresh(&client, &token).await;
    assert_eq!(held.status, StatusCode::OK, "Entra's token is good");
    for _ in 0..3 {
        stage.tenant.time().advance(15 * MINUTE).await;
        let repeated = stage.refresh(&client, &token).await;
        assert_eq!(repeated.error(), invalid_grant());
    }
    assert_eq!(store.count("grant/").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_hands_no_expired_token_of_entras_through() {
    let replaced = Replaced::with(|settings| {
        settings
            .lifetimes(Lifetimes::default().rotation_grace(2 * MINUTE))
            .dangerous()
            .issue_entra_tokens()
    })
    .await;
    replaced.stage.tenant.time().advance(100 * SECOND).await;
    let again = replaced.again().await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text());
    assert!(again.json()["expires_in"].as_u64().unwrap() > 3_000);
    assert_eq!(token_of(again).await, replaced.tokens[1]);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_is_held_in_trouble_and_put_off_as_a_refresh_is() {
    let replaced = Replaced::with(|settings| {
        settings.lifetimes(Lifetimes::default().rotation_grace(2 * MINUTE))
    })
    .await;
    let endpoint = replaced.stage.tenant.token_endpoint();
    endpoint.throttle(429, "1");
    replaced.stage.tenant.time().advance(100 * SECOND).await;
    let asked = replaced.asked();
    for _ in 0..2 {
        assert_eq!(token_of(replaced.again().await).await, replaced.tokens[1]);
        let now = replaced.asked();
        assert!(
            now > asked && now <= asked + 2,
            "one attempt, repeated once"
        );
    }
    endpoint.recover();
    replaced.store.goes_down();
    let put_off = replaced.again().await;
    assert_eq!(put_off.error(), (503, "temporarily_unavailable".to_owned()));
    replaced.store.comes_back();
    assert_eq!(token_of(replaced.again().await).await, replaced.tokens[1]);
}

#[tokio::test(start_paused = true)]
async fn without_grace_a_repeat_within_the_same_second_pushes_out_the_successor() {
    let replaced = Replaced::with(|settings| {
        settings.lifetimes(Lifetimes::default().rotation_grace(Duration::ZERO))
    })
    .await;
    let third = token_of(replaced.again().await).await;
    assert_ne!(third, replaced.tokens[1]);
    for token in [&replaced.tokens[1], &third] {
        let next = replaced.stage.refresh(&replaced.client, token);
        assert_eq!(next.await.error(), invalid_grant());
    }
}

#[tokio::test(start_paused = true)]
async fn entra_is_asked_every_90_minutes_however_long_it_says_that_its_token_is_good() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    stage.tenant.time().advance(56 * MINUTE).await;
    let user = stage.tenant.user("ada").scope("read").for_api(APP);
    let access_token = user.client(APP).mint();
    let body = json!({
        "token_type": "Bearer", "expires_in": 4_294_967_295_u64, "access_token": access_token,
    });
    let endpoint = stage.tenant.token_endpoint();
    endpoint
        .answer_with(200, "application/json", &body.to_string())
        .for_next(1);
    token = token_of(stage.refresh(&client, &token).await).await;
    let asked = endpoint.requests().len();
    // The client's token would end an hour later, as Entra's does.
    stage.tenant.time().advance(30 * MINUTE).await;
    token = token_of(stage.refresh(&client, &token).await).await;
    assert_eq!(endpoint.requests().len(), asked);
    stage.tenant.time().advance(MINUTE).await;
    token_of(stage.refresh(&client, &token).await).await;
    assert_eq!(endpoint.requests().len(), asked + 1);
}

/// Starts two instances of one service. The clock of the second is ahead by `ahead`.
async fn two(ahead: Duration) -> (Stage, EntraOAuthProxy) {
    let store = WatchedStore::default();
    let keys = ProxyKeys::generate();
    let one = Stage::with(|settings| settings.store(store.clone()).keys(keys.clone())).await;
    let clock = one.tenant.clock();
    let ahead = move || -> SystemTime { clock() + ahead };
    let other = settings(&one.tenant).store(store).keys(keys).clock(ahead);
    (one, other.build().unwrap())
}

async fn refresh(proxy: &EntraOAuthProxy, client: &Client, token: &Value) -> Reply {
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token.as_str().unwrap()),
        ("client_id", &client.id),
    ];
    let asked = proxy.service().oneshot(post("/token", &form, &[]));
    Reply::of(asked.await.unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn clocks_of_two_instances_that_differ_by_the_skew_end_no_sign_in() {
    for (ahead, wait, is_over) in [(62, 0, false), (300, 59, false), (300, 61, true)] {
        let (one, other) = two(Duration::from_secs(ahead)).await;
        let client = one.client().await;
        let first = one.sign_in(&client, "ada").await["refresh_token"].clone();
        // By then, the second instance also started long ago.
        one.tenant.time().advance(2 * HOUR).await;
        let second = token_of(one.refresh(&client, &first).await).await;
        one.tenant.time().advance(Duration::from_secs(wait)).await;
        let again = refresh(&other, &client, &first).await;
        assert_eq!(token_of(again).await != second, is_over, "{ahead} {wait}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_longer_grace_is_for_what_another_instance_replaced_alone() {
    let (one, other) = two(Duration::ZERO).await;
    let client = one.client().await;
    let first = one.sign_in(&client, "ada").await["refresh_token"].clone();
    one.tenant.time().advance(2 * HOUR).await;
    let second = token_of(one.refresh(&client, &first).await).await;
    one.tenant.time().advance(61 * SECOND).await;
    assert_eq!(
        token_of(refresh(&other, &client, &first).await).await,
        second
    );
    assert_ne!(token_of(one.refresh(&client, &first).await).await, second);
}
