//! Tests of floods: other users must not notice them.

use std::time::Duration;

use entra_oauth_proxy::RateLimits;
use http::StatusCode;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use url::Url;

use crate::limits::{address, from, registration, wait};
use crate::logbook::Logbook;
use crate::refresh::token_of;
use crate::support::{
    Browser, Client, HOUR, REDIRECT, Reply, Stage, parameter, post, settings, tenant,
};

#[tokio::test(start_paused = true)]
async fn ten_thousand_registrations_a_minute_are_not_noticed_by_anybody_else() {
    let stage = Stage::new().await;
    let (hostile, honest) = (address("192.0.2.66"), address("192.0.2.1"));
    let mut tokens: Option<(Client, Value)> = None;
    let mut registered = 0;
    for round in 0..10_000 {
        let reply = stage.send(from(hostile, registration())).await;
        registered += u32::from(reply.status == StatusCode::CREATED);
        stage.tenant.time().advance(Duration::from_millis(6)).await;
        if round % 1_000 == 500 {
            let (client, token) = match tokens.take() {
                None => signs_in(&stage).await,
                Some((client, token)) => (client, token),
            };
            let form = [
                ("grant_type", "refresh_token"),
                ("refresh_token", token.as_str().unwrap()),
                ("client_id", &client.id),
            ];
            let refreshed = stage.send(from(honest, post("/token", &form, &[]))).await;
            tokens = Some((client, token_of(refreshed).await));
        }
    }
    // As many as the limit permits in a minute, and no more.
    assert!((310..=321).contains(&registered), "{registered}");

    async fn signs_in(stage: &Stage) -> (Client, Value) {
        let honest = address("192.0.2.1");
        let registered = stage.send(from(honest, registration())).await;
        assert_eq!(registered.status, StatusCode::CREATED);
        let client = Client {
            id: registered.json()["client_id"].as_str().unwrap().to_owned(),
            secret: None,
            redirect_uri: REDIRECT.to_owned(),
        };
        let code = Browser::at(stage, honest).code(&client, "ada", &[]).await;
        let form = client.redemption(&code);
        let redeemed = stage.send(from(honest, post("/token", &form, &[]))).await;
        let token = token_of(redeemed).await;
        (client, token)
    }
}

#[tokio::test(start_paused = true)]
async fn guessing_verifiers_costs_the_client_of_the_code_nothing() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    let (hostile, honest) = (address("192.0.2.66"), address("192.0.2.1"));
    let mut told_to_wait = 0;
    for guess in 0..3_000 {
        let verifier = format!("{guess:0>43}");
        let mut form = client.redemption(&code);
        for (name, value) in &mut form {
            if *name == "code_verifier" {
                *value = &verifier;
            }
        }
        let reply = stage.send(from(hostile, post("/token", &form, &[]))).await;
        match wait(&reply) {
            Some(_) => told_to_wait += 1,
            None => assert_eq!(reply.error(), (400, "invalid_grant".to_owned())),
        }
    }
    assert_eq!(told_to_wait, 2_000);
    let form = client.redemption(&code);
    let redeemed = stage.send(from(honest, post("/token", &form, &[]))).await;
    token_of(redeemed).await;
}

/// Signs a user in at Entra, and returns the browser and the callback URL to open.
async fn returning<'s>(stage: &'s Stage, client: &Client) -> (Browser<'s>, String) {
    let mut browser = Browser::new(stage);
    let at_entra = browser.goes_to_entra(client, &[]).await;
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    (browser, callback)
}

/// Returns the error that a redirect carries to the client, or "a code".
fn told(reply: &Reply) -> String {
    let location: Url = reply.location().parse().unwrap();
    let error = parameter(&location, "error");
    error.unwrap_or_else(|| {
        assert!(parameter(&location, "code").is_some(), "{location}");
        "a code".to_owned()
    })
}

#[tokio::test(start_paused = true)]
async fn returns_that_hang_at_entra_hold_up_other_returns_and_no_refresh() {
    let limits = RateLimits::default().entra_calls(2);
    let stage = Stage::with(|settings| settings.limits(limits)).await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "grace").await["refresh_token"].clone();
    stage.tenant.time().advance(HOUR).await;
    let (mut first, first_back) = returning(&stage, &client).await;
    let (mut second, second_back) = returning(&stage, &client).await;
    let (mut third, third_back) = returning(&stage, &client).await;
    stage.tenant.token_endpoint().hang().for_next(2);
    let log = Logbook::begin();
    let others = async {
        sleep(Duration::from_millis(100)).await;
        let begun = Instant::now();
        let refresh = async {
            let refreshed = stage.refresh(&client, &token).await;
            (refreshed, begun.elapsed())
        };
        let third = async {
            let told = third.come_back(&third_back).await;
            (told, begun.elapsed())
        };
        tokio::join!(third, refresh)
    };
    let (first, second, ((third, waited), (refreshed, after))) = tokio::join!(
        first.come_back(&first_back),
        second.come_back(&second_back),
        others
    );
    assert_eq!(told(&third), "temporarily_unavailable");
    assert_eq!(waited, Duration::from_secs(2));
    token_of(refreshed).await;
    assert!(after < Duration::from_secs(2), "{after:?}");
    // The proxy gives up the calls that hang, and then has room.
    for hung in [first, second] {
        assert_eq!(told(&hung), "temporarily_unavailable");
    }
    let said = log.lines("WARN").join("\n");
    assert!(said.contains("calls=\"sign-ins\" count=1"), "{said}");
    let (mut fourth, fourth_back) = returning(&stage, &client).await;
    assert_eq!(told(&fourth.come_back(&fourth_back).await), "a code");
}

#[tokio::test(start_paused = true)]
async fn renewals_that_hang_at_entra_cost_no_refresh_and_hold_up_no_sign_in() {
    let limits = RateLimits::default().entra_calls(1);
    let stage = Stage::with(|settings| settings.limits(limits)).await;
    let client = stage.client().await;
    for (is_good, age) in [(true, 56), (false, 61)] {
        let ada = stage.sign_in(&client, "ada").await["refresh_token"].clone();
        let grace = stage.sign_in(&client, "grace").await["refresh_token"].clone();
        stage
            .tenant
            .time()
            .advance(Duration::from_secs(age * 60))
            .await;
        let (mut browser, callback) = returning(&stage, &client).await;
        stage.tenant.token_endpoint().hang().for_next(1);
        let others = async {
            sleep(Duration::from_millis(100)).await;
            let signed_in = browser.come_back(&callback).await;
            let begun = Instant::now();
            let refreshed = stage.refresh(&client, &grace).await;
            (signed_in, refreshed, begun.elapsed())
        };
        let (hung, (signed_in, refreshed, waited)) =
            tokio::join!(stage.refresh(&client, &ada), others);
        assert_eq!(told(&signed_in), "a code");
        assert_eq!(waited, Duration::from_secs(2));
        for (token, reply) in [(ada, hung), (grace, refreshed)] {
            let token = match is_good {
                // Entra's own token is still valid for a while.
                true => token_of(reply).await,
                false => {
                    let expected = (503, "temporarily_unavailable".to_owned());
                    assert_eq!(reply.error(), expected);
                    assert_eq!(reply.header("retry-after"), "10");
                    token
                }
            };
            // Waits longer than the grace period, in which a replaced token would still work.
            stage.tenant.time().advance(Duration::from_secs(61)).await;
            assert_ne!(token_of(stage.refresh(&client, &token).await).await, token);
        }
    }
}

#[tokio::test]
async fn that_many_calls_to_entra_cannot_be_set() {
    let tenant = tenant().start().await.unwrap();
    for calls in [0, 10_001] {
        let limits = RateLimits::default().entra_calls(calls);
        let error = settings(&tenant).limits(limits).build().unwrap_err();
        let problem = error.problems().next().unwrap();
        assert_eq!(problem.setting(), "limits.entra_calls");
        assert!(
            problem.text().ends_with("for example entra_calls(64)"),
            "{problem}"
        );
    }
}
