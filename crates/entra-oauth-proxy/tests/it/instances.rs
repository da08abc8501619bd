//! Tests of two instances, of slow stores and of a slow Entra, in which a refresh or a code must not
//! look late.

use std::time::{Duration, SystemTime};

use entra_oauth_proxy::{EntraOAuthProxy, Lifetimes, ProxyKeys};
use http::StatusCode;
use serde_json::Value;
use tokio::time::Instant;
use tower::ServiceExt as _;

use crate::refresh::{invalid_grant, token_of};
use crate::support::{Browser, Client, HOUR, MINUTE, Reply, Stage, post, settings};
use crate::watched_store::WatchedStore;

const SECOND: Duration = Duration::from_secs(1);

/// Starts two instances of one service. The clock of the second is ahead by `ahead`.
async fn two(ahead: Duration) -> (Stage, EntraOAuthProxy, WatchedStore) {
    let (store, keys) = (WatchedStore::default(), ProxyKeys::generate());
    let one = Stage::with(|settings| settings.store(store.clone()).keys(keys.clone())).await;
    let clock = one.tenant.clock();
    let ahead = move || -> SystemTime { clock() + ahead };
    let other = settings(&one.tenant)
        .store(store.clone())
        .keys(keys)
        .clock(ahead);
    (one, other.build().unwrap(), store)
}

async fn sent(proxy: &EntraOAuthProxy, form: &[(&str, &str)]) -> Reply {
    let asked = proxy.service().oneshot(post("/token", form, &[]));
    Reply::of(asked.await.unwrap()).await
}

async fn refreshed(proxy: &EntraOAuthProxy, client: &Client, token: &Value) -> Reply {
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token.as_str().unwrap()),
        ("client_id", &client.id),
    ];
    sent(proxy, &form).await
}

#[tokio::test(start_paused = true)]
async fn a_code_is_repeated_at_another_instance_for_ten_seconds_and_then_refused() {
    let (one, other, _) = two(Duration::ZERO).await;
    let client = one.client().await;
    let code = Browser::new(&one).code(&client, "ada", &[]).await;
    let tokens = one.redeem(&client, &code).await.json();
    one.tenant.time().advance(10 * SECOND).await;
    let again = sent(&other, &client.redemption(&code)).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text());
    assert_eq!(again.json()["refresh_token"], tokens["refresh_token"]);
    // From now on it may be a theft, or a clock that is ahead: nothing is issued, and nothing ends.
    for seconds in [1, 299] {
        one.tenant
            .time()
            .advance(Duration::from_secs(seconds))
            .await;
        let late = sent(&other, &client.redemption(&code)).await;
        assert_eq!(late.error(), invalid_grant());
        assert!(one.verify(&tokens["access_token"]).await.is_ok());
    }
    one.tenant.time().advance(SECOND).await;
    let late = sent(&other, &client.redemption(&code)).await;
    assert_eq!(late.error(), invalid_grant());
    let ended = one.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(ended.error(), invalid_grant());
}

#[tokio::test(start_paused = true)]
async fn a_code_of_an_instance_whose_clock_is_behind_is_good_for_a_minute() {
    for (wait, is_good) in [(60 * SECOND, true), (61 * SECOND, false)] {
        let (one, other, _) = two(5 * MINUTE).await;
        let client = one.client().await;
        let code = Browser::new(&one).code(&client, "ada", &[]).await;
        // For the store no time has passed.
        one.tenant.time().jump_forward(wait);
        let reply = sent(&other, &client.redemption(&code)).await;
        assert_eq!(reply.status == StatusCode::OK, is_good, "{wait:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unused_sign_in_of_an_instance_whose_clock_is_behind_is_not_over_early() {
    let (store, keys) = (WatchedStore::default(), ProxyKeys::generate());
    let lifetimes = Lifetimes::default().idle(2 * HOUR);
    let one = Stage::with(|settings| {
        settings
            .store(store.clone())
            .keys(keys.clone())
            .lifetimes(lifetimes)
    })
    .await;
    let clock = one.tenant.clock();
    let ahead = move || -> SystemTime { clock() + 5 * MINUTE };
    let other = settings(&one.tenant).store(store).keys(keys).clock(ahead);
    let other = other.lifetimes(lifetimes).build().unwrap();
    let client = one.client().await;
    let token = one.sign_in(&client, "ada").await["refresh_token"].clone();
    one.tenant.time().jump_forward(2 * HOUR);
    token_of(refreshed(&other, &client, &token).await).await;
}

/// Checks a request whose first read of the store is slow, while faster ones refresh twice.
#[tokio::test(start_paused = true)]
async fn a_slow_read_makes_no_token_late() {
    for grace in [MINUTE, Duration::ZERO] {
        let store = WatchedStore::default();
        let stage = Stage::with(|settings| {
            settings
                .store(store.clone())
                .lifetimes(Lifetimes::default().rotation_grace(grace))
        })
        .await;
        let client = stage.client().await;
        let first = stage.sign_in(&client, "ada").await["refresh_token"].clone();
        store.takes(2 * SECOND);
        let faster = async {
            while !store.is_waiting() {
                tokio::task::yield_now().await;
            }
            store.takes(Duration::ZERO);
            let second = token_of(stage.refresh(&client, &first).await).await;
            token_of(stage.refresh(&client, &second).await).await
        };
        let (slow, third) = tokio::join!(stage.refresh(&client, &first), faster);
        assert_eq!(token_of(slow).await, third, "{grace:?}");
        token_of(stage.refresh(&client, &third).await).await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_instance_sees_when_entra_failed_also_if_its_clock_is_behind() {
    for ahead in [Duration::ZERO, SECOND, MINUTE] {
        let (one, other, _) = two(ahead).await;
        let client = one.client().await;
        let token = one.sign_in(&client, "ada").await["refresh_token"].clone();
        one.tenant.time().advance(61 * MINUTE).await;
        let endpoint = one.tenant.token_endpoint();
        endpoint.throttle(429, "30");
        let before = endpoint.requests().len();
        for proxy in [&other, &one.proxy, &other, &one.proxy] {
            let put_off = refreshed(proxy, &client, &token).await;
            assert_eq!(put_off.error(), (503, "temporarily_unavailable".to_owned()));
            assert_eq!(endpoint.requests().len(), before + 1, "{ahead:?}");
        }
        endpoint.recover();
        one.tenant.time().advance(30 * SECOND + ahead).await;
        token_of(refreshed(&one.proxy, &client, &token).await).await;
    }
}

/// Checks a renewal that fails at one instance, while the same one succeeds at another.
#[tokio::test(start_paused = true)]
async fn a_failure_at_one_instance_does_not_hide_the_renewal_of_another() {
    let (one, other, _) = two(Duration::ZERO).await;
    let client = one.client().await;
    let token = one.sign_in(&client, "ada").await["refresh_token"].clone();
    one.tenant.time().advance(61 * MINUTE).await;
    let endpoint = one.tenant.token_endpoint();
    endpoint.hang().for_next(1);
    let before = endpoint.requests().len();
    let faster = async {
        while endpoint.requests().len() == before {
            tokio::task::yield_now().await;
        }
        token_of(refreshed(&other, &client, &token).await).await
    };
    let (slow, second) = tokio::join!(one.refresh(&client, &token), faster);
    assert_eq!(token_of(slow).await, second);
}

#[tokio::test(start_paused = true)]
async fn parents_that_come_late_at_two_instances_at_once_get_the_same_new_token() {
    let (one, other, _) = two(Duration::ZERO).await;
    let client = one.client().await;
    let first = one.sign_in(&client, "ada").await["refresh_token"].clone();
    let lost = token_of(one.refresh(&client, &first).await).await;
    // The grace of the other instance is longer by the skew.
    one.tenant.time().advance(HOUR).await;
    let (here, there) = tokio::join!(
        one.refresh(&client, &first),
        refreshed(&other, &client, &first)
    );
    let (here, there) = (token_of(here).await, token_of(there).await);
    assert_eq!(here, there);
    assert_ne!(here, lost);
}

#[tokio::test(start_paused = true)]
async fn while_its_own_token_serves_nobody_waits_for_entra_for_longer_than_four_seconds() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    stage.tenant.time().advance(30 * MINUTE).await;
    stage.tenant.token_endpoint().hang();
    let begun = Instant::now();
    let token = token_of(stage.refresh(&client, &token).await).await;
    assert_eq!(begun.elapsed(), 4 * SECOND);
    // The next one does not wait at all.
    let begun = Instant::now();
    token_of(stage.refresh(&client, &token).await).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

/// Checks Entra's own token that expires while the store takes its time.
#[tokio::test(start_paused = true)]
async fn a_token_of_entras_that_is_over_when_it_would_be_sent_is_not_passed_through() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| {
        settings
            .store(store.clone())
            .dangerous()
            .issue_entra_tokens()
    })
    .await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    stage.tenant.token_endpoint().throttle(429, "30");
    stage.tenant.time().advance(59 * MINUTE + 50 * SECOND).await;
    let held = stage.refresh(&client, &token).await;
    assert_eq!(held.json()["expires_in"], 9);
    let token = token_of(held).await;
    store.takes(4 * SECOND);
    let late = stage.refresh(&client, &token).await;
    assert_eq!(late.error(), (503, "temporarily_unavailable".to_owned()));
}
