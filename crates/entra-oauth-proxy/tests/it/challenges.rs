//! Tests of claims challenges from the routes behind the proxy.
//!
//! The next refresh sends the challenge to Entra, or the next sign-in does.

use std::time::{Duration, SystemTime};

use entra_oauth_proxy::{EntraOAuthProxyBuilder, Lifetimes, ProxyKeys, RateLimits};
use http::StatusCode;
use serde_json::{Value, json};
use tower_entra_auth::{Caller, Refusal, refusal::ClaimsChallenge, require::AuthenticationContext};

use crate::logbook::Logbook;
use crate::refresh::{invalid_grant, token_of};
use crate::refusals_of_entra::demanded;
use crate::support::{APP, Browser, Client, MINUTE, Reply, Stage, claims, parameter, settings};
use crate::watched_store::WatchedStore;

/// Refuses a token that Entra issued before a revocation, as the Layer's `docs/tasks.md`
/// recommends.
fn still_counts(caller: &Caller, revoked_at: SystemTime) -> Result<(), Refusal> {
    if caller.issued_at().is_none_or(|at| at <= revoked_at) {
        return Err(caller.challenge(ClaimsChallenge::issued_after(revoked_at)));
    }
    Ok(())
}

/// Returns the status of the response to a refusal.
///
/// When the Layer builds the response, it passes the challenge to the proxy.
fn answer(refused: Result<(), Refusal>) -> StatusCode {
    let head = http::Request::new(()).into_parts().0;
    refused.unwrap_err().response_to(&head).status()
}

fn now(stage: &Stage) -> SystemTime {
    let clock = stage.tenant.clock();
    clock()
}

/// Returns the `claims` of the last request to Entra's token endpoint.
fn last_asked(stage: &Stage) -> Option<Value> {
    let request = stage.tenant.token_endpoint().requests().pop().unwrap();
    let claims = request.parameter("claims")?;
    Some(serde_json::from_str(claims).unwrap())
}

fn asked(stage: &Stage) -> usize {
    stage.tenant.token_endpoint().requests().len()
}

/// Waits for background work, such as a write that no request waits for.
async fn settles() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Signs a user in and refreshes nine minutes later, without a request to Entra.
async fn refreshed(stage: &Stage, client: &Client, user: &str) -> Value {
    let tokens = stage.sign_in(client, user).await;
    stage.tenant.time().advance(9 * MINUTE).await;
    let before = asked(stage);
    let tokens = stage.refresh(client, &tokens["refresh_token"]).await;
    assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.text());
    assert_eq!(asked(stage), before);
    tokens.json()
}

#[tokio::test(start_paused = true)]
async fn a_token_says_when_entra_issued_the_one_behind_it_and_which_client_registered() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let signed_in = now(&stage);
    let tokens = refreshed(&stage, &client, "ada").await;
    let caller = stage.verify(&tokens["access_token"]).await.unwrap();
    // The `iat` of Entra's tokens is five minutes before the time of issue.
    let issued_at = caller.issued_at().unwrap() + 5 * MINUTE;
    let since = signed_in.duration_since(issued_at).unwrap_or_default();
    assert!(
        issued_at <= signed_in && since < Duration::from_secs(2),
        "{since:?}"
    );
    let iat = &claims(&tokens["access_token"])["iat"];
    let entra_iat = &claims(&tokens["access_token"])["entra_iat"];
    assert_eq!(iat.as_u64().unwrap() - entra_iat.as_u64().unwrap(), 14 * 60);
    // The caller has no `client_id`, because that would be this server's application at Entra.
    assert_eq!(caller.client_id(), None);
    let of_client = caller.registered_client().unwrap().to_owned();
    let others = refreshed(&stage, &stage.client().await, "ada").await;
    let other = stage.verify(&others["access_token"]).await.unwrap();
    assert_ne!(other.registered_client(), Some(&*of_client));
    // The time changes once Entra has issued another token.
    stage.tenant.time().advance(51 * MINUTE).await;
    let renewed = stage
        .refresh(&client, &tokens["refresh_token"])
        .await
        .json();
    let caller = stage.verify(&renewed["access_token"]).await.unwrap();
    assert!(caller.issued_at().unwrap() > signed_in + 54 * MINUTE);
    assert_eq!(caller.registered_client(), Some(&*of_client));
    // Entra's own tokens still have a `client_id`.
    let own = stage.tenant.user("ada").scope("read").for_api(APP).mint();
    let own = stage.verify(&json!(own)).await.unwrap();
    assert!(own.client_id().is_some() && own.registered_client().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_user_who_is_disabled_is_out_of_a_route_that_compares_and_of_the_sign_in_with_it() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    stage.tenant.time().advance(MINUTE).await;
    let revoked_at = now(&stage);
    stage.tenant.people().disable("ada");
    stage.tenant.time().advance(MINUTE).await;
    // Entra's token is valid for an hour. Without a challenge, the sign-in continues for as long.
    let token = token_of(stage.refresh(&client, &tokens["refresh_token"]).await).await;
    let refreshed = stage.refresh(&client, &token).await.json();
    let caller = stage.verify(&refreshed["access_token"]).await.unwrap();
    let answered = answer(still_counts(&caller, revoked_at));
    assert_eq!(answered, StatusCode::UNAUTHORIZED, "clients refresh then");
    let reply = stage.refresh(&client, &refreshed["refresh_token"]).await;
    assert_eq!(reply.error(), invalid_grant());
    let nbf = &last_asked(&stage).unwrap()["access_token"]["nbf"];
    assert_eq!(nbf["essential"], true);
    stage.tenant.time().advance(Duration::from_secs(31)).await;
    assert!(stage.verify(&refreshed["access_token"]).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_user_whom_entra_lets_pass_goes_on_with_a_token_of_after_the_moment() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let tokens = refreshed(&stage, &client, "ada").await;
    let revoked_at = now(&stage);
    // The `iat` of Entra's tokens is five minutes before the time of issue.
    stage.tenant.time().advance(6 * MINUTE).await;
    let caller = stage.verify(&tokens["access_token"]).await.unwrap();
    answer(still_counts(&caller, revoked_at));
    let before = asked(&stage);
    let next = stage
        .refresh(&client, &tokens["refresh_token"])
        .await
        .json();
    assert_eq!(asked(&stage), before + 1);
    let caller = stage.verify(&next["access_token"]).await.unwrap();
    assert!(still_counts(&caller, revoked_at).is_ok());
    // The challenge is met, so the next refresh and the next sign-in send no claims.
    token_of(stage.refresh(&client, &next["refresh_token"]).await).await;
    assert_eq!(asked(&stage), before + 1);
    let at_entra = Browser::new(&stage).goes_to_entra(&client, &[]).await;
    assert_eq!(demanded(&at_entra), None);
    let before = asked(&stage);
    stage.sign_in(&client, "ada").await;
    assert_eq!(asked(&stage), before + 1, "one leg");
}

#[tokio::test(start_paused = true)]
async fn what_entra_does_not_let_pass_silently_is_carried_by_the_next_sign_in() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let strong = stage
        .proxy
        .auth()
        .require(AuthenticationContext("c1"))
        .unwrap();
    let tokens = refreshed(&stage, &client, "ada").await;
    let caller = stage.verify(&tokens["access_token"]).await.unwrap();
    // A failed requirement also leads to a challenge.
    assert_eq!(answer(strong.check(&caller)), StatusCode::UNAUTHORIZED);
    let demand = json!({ "access_token": { "acrs": { "essential": true, "value": "c1" } } });
    let body = json!({ "error": "interaction_required", "error_codes": [50076] });
    let endpoint = stage.tenant.token_endpoint();
    endpoint
        .answer_with(400, "application/json", &body.to_string())
        .for_next(1);
    let reply = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(reply.error(), invalid_grant());
    assert_eq!(last_asked(&stage), Some(demand.clone()));
    // The proxy sends the claims only once it knows who signs in.
    let mut browser = Browser::new(&stage);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    assert_eq!(demanded(&at_entra), None);
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    let again = browser.come_back(&callback).await.location();
    assert_eq!(demanded(&again), Some(demand));
    let callback = stage.tenant.people().sign_in("ada", &again);
    let tokens = code_of(&stage, &client, &browser.come_back(&callback).await).await;
    let caller = stage.verify(&tokens["access_token"]).await.unwrap();
    assert!(strong.check(&caller).is_ok());
}

/// Checks that a challenge that Entra met is not stored again.
///
/// If the proxy refuses the user after that, it has another reason.
#[tokio::test(start_paused = true)]
async fn what_entra_met_is_not_kept_again_for_a_user_whom_the_server_refuses() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let client = stage.client().await;
    let tokens = refreshed(&stage, &client, "ada").await;
    let caller = stage.verify(&tokens["access_token"]).await.unwrap();
    answer(still_counts(&caller, now(&stage)));
    settles().await;
    assert_eq!(store.count("standing/").await, 1);
    let written = store.written().len();
    let token = stage.tenant.user("ada").scope("write").for_api(APP);
    let token = token.client(APP).mint();
    let body = json!({ "token_type": "Bearer", "expires_in": 3_599, "access_token": token });
    let endpoint = stage.tenant.token_endpoint();
    endpoint
        .answer_with(200, "application/json", &body.to_string())
        .for_next(1);
    let reply = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(reply.error(), invalid_grant());
    assert!(last_asked(&stage).is_some(), "Entra was asked for it");
    // The end of the grant alone was written.
    let written = &store.written()[written..];
    assert!(written.iter().all(|(key, _)| key.starts_with("grant/")));
}

async fn code_of(stage: &Stage, client: &Client, reply: &Reply) -> Value {
    let url: url::Url = reply.location().parse().unwrap();
    let code = parameter(&url, "code").unwrap_or_else(|| panic!("{url}"));
    stage.redeem(client, &code).await.json()
}

#[tokio::test(start_paused = true)]
async fn what_entra_lets_pass_silently_is_in_the_refreshed_token() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let strong = stage
        .proxy
        .auth()
        .require(AuthenticationContext("c1"))
        .unwrap();
    let tokens = refreshed(&stage, &client, "ada").await;
    let caller = stage.verify(&tokens["access_token"]).await.unwrap();
    answer(strong.check(&caller));
    let next = stage
        .refresh(&client, &tokens["refresh_token"])
        .await
        .json();
    let caller = stage.verify(&next["access_token"]).await.unwrap();
    assert!(strong.check(&caller).is_ok());
}

#[tokio::test(start_paused = true)]
async fn it_is_of_its_user_and_its_client_and_of_no_other() {
    // Entra's token outlives the client's tokens here, so only a challenge leads to Entra.
    let lifetimes = Lifetimes::default().access_token(20 * MINUTE);
    let stage = Stage::with(|settings| settings.lifetimes(lifetimes)).await;
    let (client, other) = (stage.client().await, stage.client().await);
    let of_ada = refreshed(&stage, &client, "ada").await;
    let of_other = refreshed(&stage, &other, "ada").await;
    let of_grace = refreshed(&stage, &client, "grace").await;
    let caller = stage.verify(&of_ada["access_token"]).await.unwrap();
    let revoked_at = now(&stage);
    answer(still_counts(&caller, revoked_at));
    let before = asked(&stage);
    token_of(stage.refresh(&other, &of_other["refresh_token"]).await).await;
    token_of(stage.refresh(&client, &of_grace["refresh_token"]).await).await;
    assert_eq!(asked(&stage), before);
    token_of(stage.refresh(&client, &of_ada["refresh_token"]).await).await;
    assert_eq!(asked(&stage), before + 1);
}

#[tokio::test(start_paused = true)]
async fn while_entra_is_away_it_stays_open_and_no_token_that_does_not_meet_it_is_issued() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let token = refreshed(&stage, &client, "ada").await;
    let caller = stage.verify(&token["access_token"]).await.unwrap();
    answer(still_counts(&caller, now(&stage)));
    stage.tenant.start_outage();
    for _ in 0..2 {
        let put_off = stage.refresh(&client, &token["refresh_token"]).await;
        assert_eq!(put_off.error(), (503, "temporarily_unavailable".to_owned()));
        stage.tenant.time().advance(Duration::from_secs(10)).await;
    }
    stage.tenant.end_outage();
    let before = asked(&stage);
    token_of(stage.refresh(&client, &token["refresh_token"]).await).await;
    assert_eq!(asked(&stage), before + 1);
}

#[tokio::test(start_paused = true)]
async fn another_instance_knows_it_and_a_route_that_challenges_each_request_writes_it_once() {
    let (store, keys) = (WatchedStore::default(), ProxyKeys::generate());
    let stage = Stage::with(|settings| settings.store(store.clone()).keys(keys.clone())).await;
    let client = stage.client().await;
    let tokens = refreshed(&stage, &client, "ada").await;
    let caller = stage.verify(&tokens["access_token"]).await.unwrap();
    let revoked_at = now(&stage);
    let before = store.written().len();
    for _ in 0..50 {
        answer(still_counts(&caller, revoked_at));
        settles().await;
    }
    assert_eq!(store.written().len() - before, 1);
    // After a while, the proxy writes the challenge again, because another instance may have
    // removed it.
    stage.tenant.time().advance(Duration::from_secs(30)).await;
    answer(still_counts(&caller, revoked_at));
    settles().await;
    assert_eq!(store.written().len() - before, 2);
    let proxy = settings(&stage.tenant).store(store).keys(keys).build();
    let stage = Stage {
        tenant: stage.tenant,
        proxy: proxy.unwrap(),
    };
    let before = asked(&stage);
    token_of(stage.refresh(&client, &tokens["refresh_token"]).await).await;
    assert_eq!(asked(&stage), before + 1);
    assert!(last_asked(&stage).unwrap()["access_token"]["nbf"].is_object());
}

#[tokio::test(start_paused = true)]
async fn one_that_finds_too_many_being_written_is_written_when_it_comes_again() {
    /// Maximum number of challenges that are written at the same time.
    const AT_ONCE: usize = 64;

    let store = WatchedStore::default();
    let change =
        |settings: EntraOAuthProxyBuilder| settings.store(store.clone()).limits(RateLimits::none());
    let stage = Stage::with(change).await;
    let mut callers = Vec::new();
    for _ in 0..=AT_ONCE {
        let tokens = stage.sign_in(&stage.client().await, "ada").await;
        callers.push(stage.verify(&tokens["access_token"]).await.unwrap());
    }
    let last = callers.pop().unwrap();
    let revoked_at = now(&stage);
    let writes = || {
        let written = store.written();
        let of_users = |(key, _): &&(String, _)| key.starts_with("standing/");
        written.iter().filter(of_users).count()
    };
    store.takes(Duration::from_secs(1));
    for caller in &callers {
        answer(still_counts(caller, revoked_at));
    }
    answer(still_counts(&last, revoked_at));
    store.takes(Duration::ZERO);
    stage.tenant.time().advance(Duration::from_secs(5)).await;
    // The writes run one after another, because they are for one user.
    for _ in 0..AT_ONCE {
        settles().await;
    }
    assert_eq!(writes(), AT_ONCE);
    for _ in 0..2 {
        answer(still_counts(&last, revoked_at));
        settles().await;
        assert_eq!(writes(), AT_ONCE + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn two_of_them_go_to_entra_together_and_one_that_is_too_long_not_at_all() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let tokens = refreshed(&stage, &client, "ada").await;
    let caller = stage.verify(&tokens["access_token"]).await.unwrap();
    let log = Logbook::begin();
    let long = json!({ "access_token": { "x": { "value": "a".repeat(1_024) } } });
    let long = ClaimsChallenge::from_json(&long.to_string()).unwrap();
    answer(Err(caller.challenge(long)));
    let lines = log.lines("WARN");
    let too_long = lines.iter().filter(|line| line.contains("too long"));
    assert_eq!(too_long.count(), 1, "{lines:#?}");
    let before = asked(&stage);
    let next = stage
        .refresh(&client, &tokens["refresh_token"])
        .await
        .json();
    assert_eq!(asked(&stage), before);
    answer(Err(caller.challenge(
        ClaimsChallenge::authentication_context("c2").unwrap(),
    )));
    answer(Err(
        caller.challenge(ClaimsChallenge::issued_after(now(&stage)))
    ));
    token_of(stage.refresh(&client, &next["refresh_token"]).await).await;
    let sent = last_asked(&stage).unwrap();
    assert_eq!(sent["access_token"]["acrs"]["value"], "c2");
    assert!(sent["access_token"]["nbf"].is_object(), "{sent}");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_knows_it_before_the_store_does() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let client = stage.client().await;
    let tokens = refreshed(&stage, &client, "ada").await;
    let caller = stage.verify(&tokens["access_token"]).await.unwrap();
    store.refuses_writes_to("user/");
    answer(still_counts(&caller, now(&stage)));
    settles().await;
    let before = asked(&stage);
    let token = token_of(stage.refresh(&client, &tokens["refresh_token"]).await).await;
    assert_eq!(asked(&stage), before + 1);
    // Once the challenge is met, the next refresh does not send it again.
    token_of(stage.refresh(&client, &token).await).await;
    assert_eq!(asked(&stage), before + 1);
}
