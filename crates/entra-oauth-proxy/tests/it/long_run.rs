//! Simulates 72 hours of clients, in which Entra is down for one hour in each six.
//!
//! Responses are lost, codes are redeemed twice, processes end, and clients send the same refresh
//! twice at once. No client may be signed out.

use std::time::Duration;

use entra_oauth_proxy::{EntraOAuthProxyBuilder, Lifetimes, ProxyKeys};
use http::StatusCode;
use serde_json::Value;

use crate::support::{Browser, Client, HOUR, MINUTE, Stage, settings};
use crate::watched_store::{Swaps, WatchedStore};

/// A reproducible sequence of choices.
struct Choices(u64);

impl Choices {
    /// Returns one of `count` values.
    fn one_of(&mut self, count: u64) -> u64 {
        // Knuth's MMIX generator.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % count
    }
}

/// A client that refreshes shortly before its access token expires, or when it is refused.
struct Running {
    client: Client,
    user: &'static str,
    refresh_token: Value,
    /// Minute in which the access token expires.
    expires: u64,
    /// Minutes before the expiry from which the client refreshes.
    early: u64,
}

#[derive(Debug, Default)]
struct Outcome {
    refreshes: u32,
    put_off: u32,
    lost: u32,
    at_once: u32,
    codes_again: u32,
    restarts: u32,
    signed_out: Vec<String>,
}

const CLIENTS: u64 = 8;
const HOURS: u64 = 72;

async fn signed_in(stage: &Stage, choices: &mut Choices, outcome: &mut Outcome) -> Running {
    let client = stage.client().await;
    let user = ["ada", "grace"][choices.one_of(2) as usize];
    let code = Browser::new(stage).code(&client, user, &[]).await;
    let mut tokens = stage.redeem(&client, &code).await;
    // The first response was lost.
    if choices.one_of(2) == 0 {
        let wait = Duration::from_secs(choices.one_of(11));
        stage.tenant.time().advance(wait).await;
        let again = stage.redeem(&client, &code).await;
        assert_eq!(again.status, StatusCode::OK, "{}", again.text());
        tokens = again;
        outcome.codes_again += 1;
    }
    let tokens = tokens.json();
    Running {
        client,
        user,
        refresh_token: tokens["refresh_token"].clone(),
        expires: 60,
        early: choices.one_of(6),
    }
}

#[tokio::test(start_paused = true)]
async fn in_72_hours_with_outages_and_accidents_nobody_is_signed_out() {
    for seed in [1, 2] {
        let outcome = run(seed).await;
        assert!(outcome.signed_out.is_empty(), "{seed}: {outcome:#?}");
        // The run had what it is about.
        let Outcome {
            refreshes,
            put_off,
            lost,
            at_once,
            codes_again,
            restarts,
            ..
        } = outcome;
        assert!(refreshes > 400 && put_off > 5, "{seed}: {outcome:?}");
        assert!(lost > 50 && at_once > 20, "{seed}: {outcome:?}");
        assert!(codes_again > 0 && restarts > 2, "{seed}: {outcome:?}");
    }
}

async fn run(seed: u64) -> Outcome {
    let (keys, store) = (ProxyKeys::generate(), WatchedStore::default());
    let change = |settings: EntraOAuthProxyBuilder| {
        let lifetimes = Lifetimes::default().session(90 * 24 * HOUR);
        settings
            .keys(keys.clone())
            .store(store.clone())
            .lifetimes(lifetimes)
    };
    let mut stage = Stage::with(change).await;
    let (mut choices, mut outcome) = (Choices(seed), Outcome::default());
    let mut all = Vec::new();
    for _ in 0..CLIENTS {
        all.push(signed_in(&stage, &mut choices, &mut outcome).await);
    }
    for minute in 0..HOURS * 60 {
        match minute % (6 * 60) {
            240 => stage.tenant.start_outage(),
            300 => stage.tenant.end_outage(),
            _ => {}
        }
        if choices.one_of(600) == 0 {
            stage.proxy = change(settings(&stage.tenant)).build().unwrap();
            outcome.restarts += 1;
        }
        for running in &mut all {
            if minute + running.early >= running.expires {
                refresh(&stage, &store, running, minute, &mut choices, &mut outcome).await;
            }
        }
        stage.tenant.time().advance(MINUTE).await;
    }
    outcome
}

async fn refresh(
    stage: &Stage,
    store: &WatchedStore,
    running: &mut Running,
    minute: u64,
    choices: &mut Choices,
    outcome: &mut Outcome,
) {
    let (client, token) = (&running.client, &running.refresh_token);
    let accident = choices.one_of(8);
    // The store writes, and does not say so.
    if accident == 0 {
        store.swaps_are(Swaps::DoneUnsaid);
    }
    let reply = match accident {
        // Two processes of the client refresh at once.
        1 => {
            let both = tokio::join!(stage.refresh(client, token), stage.refresh(client, token));
            outcome.at_once += 1;
            let is_good = both.0.status == StatusCode::OK;
            if is_good {
                let one = &both.0.json()["refresh_token"];
                assert_eq!(one, &both.1.json()["refresh_token"]);
            }
            both.0
        }
        _ => stage.refresh(client, token).await,
    };
    store.swaps_are(Swaps::Done);
    match reply.status {
        // The response is lost. The client tries again with the same token, in a minute or later.
        StatusCode::OK if accident > 5 => {
            outcome.lost += 1;
            running.expires = minute + running.early + 1 + choices.one_of(30);
        }
        StatusCode::OK => {
            outcome.refreshes += 1;
            let tokens = reply.json();
            running.refresh_token = tokens["refresh_token"].clone();
            running.expires = minute + tokens["expires_in"].as_u64().unwrap() / 60;
        }
        StatusCode::SERVICE_UNAVAILABLE => outcome.put_off += 1,
        _ => {
            let text = reply.text();
            let what = format!("{} in minute {minute}: {text}", running.user);
            outcome.signed_out.push(what);
            running.expires = u64::MAX;
        }
    }
}

/// Checks a user whose tokens are fresh when an outage of an hour begins.
///
/// The client refreshes when its access token is refused or about to expire.
#[tokio::test(start_paused = true)]
async fn an_outage_of_an_hour_is_noticed_by_nobody_whose_token_is_fresh() {
    for refreshes_at in [50, 55, 59] {
        let stage = Stage::new().await;
        let client = stage.client().await;
        let tokens = stage.sign_in(&client, "ada").await;
        stage.tenant.time().advance(30 * MINUTE).await;
        let fresh = stage.refresh(&client, &tokens["refresh_token"]).await;
        let fresh = fresh.json();
        stage.tenant.start_outage();
        let time = stage.tenant.time();
        time.advance(refreshes_at * MINUTE).await;
        stage.verify(&fresh["access_token"]).await.unwrap();
        let next = stage.refresh(&client, &fresh["refresh_token"]).await;
        assert_eq!(next.status, StatusCode::OK, "{}", next.text());
        let next = next.json();
        time.advance((60 - refreshes_at) * MINUTE).await;
        stage.tenant.end_outage();
        stage.verify(&next["access_token"]).await.unwrap();
        time.advance(2 * MINUTE).await;
        let last = stage.refresh(&client, &next["refresh_token"]).await;
        assert_eq!(last.status, StatusCode::OK, "{}", last.text());
    }
}

#[tokio::test(start_paused = true)]
async fn early_renewals_are_at_least_ten_minutes_apart() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    let endpoint = stage.tenant.token_endpoint();
    // A client that refreshes every minute.
    let mut asked = Vec::new();
    for minute in 1..=54_u64 {
        stage.tenant.time().advance(MINUTE).await;
        let before = endpoint.requests().len();
        let reply = stage.refresh(&client, &token).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        token = reply.json()["refresh_token"].clone();
        if endpoint.requests().len() > before {
            asked.push(minute);
        }
    }
    assert_eq!(asked, [10, 20, 30, 40, 50]);
    // While Entra fails, too, until its token is in its last five minutes: then every two.
    endpoint.fail_with(500);
    let mut failed = Vec::new();
    for minute in 55..=111_u64 {
        stage.tenant.time().advance(MINUTE).await;
        let before = endpoint.requests().len();
        let reply = stage.refresh(&client, &token).await;
        if reply.status == StatusCode::OK {
            token = reply.json()["refresh_token"].clone();
        }
        if endpoint.requests().len() > before {
            failed.push((minute, reply.status.as_u16()));
        }
    }
    // The last renewal was in minute 50, and its token ends a second before minute 110.
    let expected = [
        (60, 200),
        (70, 200),
        (80, 200),
        (90, 200),
        (100, 200),
        (105, 200),
        (107, 200),
        (109, 200),
        (110, 503),
        (111, 503),
    ];
    assert_eq!(failed, expected);
}
