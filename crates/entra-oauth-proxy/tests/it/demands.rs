//! Tests of claims challenges that Entra sends at a refresh.
//!
//! The user's next sign-in sends the claims to Entra, and no other user's sign-in does.

use http::StatusCode;
use serde_json::{Value, json};

use crate::logbook::Logbook;
use crate::refresh::invalid_grant;
use crate::refusals_of_entra::demanded;
use crate::support::{Browser, Client, HOUR, MINUTE, Reply, Stage};
use crate::watched_store::WatchedStore;

/// Returns a claims challenge with this claim, in the form that the dev tenant uses.
fn claim(name: &str) -> Value {
    json!({ "access_token": { name: { "essential": true, "values": ["1"] } } })
}

/// Signs a user in with this client, and lets Entra demand these claims at a refresh an hour later.
async fn is_demanded_at_a_refresh(stage: &Stage, client: &Client, user: &str, claims: &Value) {
    let tokens = sign_in_twice(stage, client, user).await;
    stage.tenant.time().advance(HOUR).await;
    refuses(stage, client, &tokens["refresh_token"], claims).await;
}

/// Signs a user in, and goes to Entra a second time if claims are pending.
async fn sign_in_twice(stage: &Stage, client: &Client, user: &str) -> Value {
    let mut browser = Browser::new(stage);
    let at_entra = browser.goes_to_entra(client, &[]).await;
    let callback = stage.tenant.people().sign_in(user, &at_entra);
    let mut reply = browser.come_back(&callback).await;
    if is_at_entra(&reply) {
        let callback = stage.tenant.people().sign_in(user, &reply.location());
        reply = browser.come_back(&callback).await;
    }
    stage.redeem(client, &code_of(&reply)).await.json()
}

async fn refuses(stage: &Stage, client: &Client, token: &Value, claims: &Value) {
    let body = json!({
        "error": "interaction_required", "error_codes": [50076], "claims": claims.to_string(),
    });
    let endpoint = stage.tenant.token_endpoint();
    endpoint.answer_with(400, "application/json", &body.to_string());
    let reply = stage.refresh(client, token).await;
    endpoint.recover();
    assert_eq!(reply.error(), invalid_grant());
}

fn is_at_entra(reply: &Reply) -> bool {
    reply.location().contains("/oauth2/v2.0/authorize?")
}

#[track_caller]
fn code_of(reply: &Reply) -> String {
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.text());
    let url: url::Url = reply.location().parse().unwrap();
    crate::support::parameter(&url, "code").unwrap_or_else(|| panic!("{url}"))
}

/// Signs in, and returns the `claims` that Entra receives at each visit of the browser.
async fn sent(stage: &Stage, client: &Client, user: &str, own: Option<&Value>) -> Vec<Value> {
    let own = own.map(ToString::to_string).unwrap_or_default();
    let mut browser = Browser::new(stage);
    let mut at_entra = browser.goes_to_entra(client, &[("claims", &own)]).await;
    let mut sent = Vec::new();
    loop {
        sent.push(demanded(&at_entra).unwrap_or_default());
        let callback = stage.tenant.people().sign_in(user, &at_entra);
        let reply = browser.come_back(&callback).await;
        if !is_at_entra(&reply) {
            code_of(&reply);
            assert_eq!(browser.told(), ["done"]);
            return sent;
        }
        at_entra = reply.location();
        assert!(sent.len() < 5, "{sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_does_not_go_to_another_user_of_the_client_whose_own_claims_are_what_is_sent() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    is_demanded_at_a_refresh(&stage, &client, "grace", &claim("of_grace")).await;
    let own = claim("acrs");
    let of_ada = sent(&stage, &client, "ada", Some(&own)).await;
    assert_eq!(of_ada, [own]);
    assert_eq!(sent(&stage, &client, "ada", None).await, [Value::Null]);
    // Grace's challenge is still pending.
    let of_grace = sent(&stage, &client, "grace", None).await;
    assert_eq!(of_grace, [Value::Null, claim("of_grace")]);
}

#[tokio::test(start_paused = true)]
async fn it_goes_to_its_user_once_and_to_no_other_client_of_hers() {
    let stage = Stage::new().await;
    let (client, other) = (stage.client().await, stage.client().await);
    is_demanded_at_a_refresh(&stage, &client, "grace", &claim("a")).await;
    assert_eq!(sent(&stage, &other, "grace", None).await, [Value::Null]);
    let of_grace = sent(&stage, &client, "grace", None).await;
    assert_eq!(of_grace, [Value::Null, claim("a")]);
    assert_eq!(sent(&stage, &client, "grace", None).await, [Value::Null]);
}

#[tokio::test(start_paused = true)]
async fn the_clients_own_claims_go_along_with_it() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    is_demanded_at_a_refresh(&stage, &client, "grace", &claim("a")).await;
    let mut own = json!({ "access_token": { "nbf": null, "acrs": null } });
    let asked = own.clone();
    own["access_token"]["groups"] = Value::Null;
    own["id_token"] = json!({ "c": null });
    let mut both = asked.clone();
    both["access_token"]["a"] = claim("a")["access_token"]["a"].clone();
    let of_grace = sent(&stage, &client, "grace", Some(&own)).await;
    assert_eq!(of_grace, [asked, both]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_for_it_by_itself_sends_its_user_to_entra_once() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    is_demanded_at_a_refresh(&stage, &client, "grace", &claim("acrs")).await;
    let own = claim("acrs");
    assert_eq!(sent(&stage, &client, "grace", Some(&own)).await, [own]);
    assert_eq!(sent(&stage, &client, "grace", None).await, [Value::Null]);
}

#[tokio::test(start_paused = true)]
async fn two_that_are_demanded_are_sent_together_to_their_client_and_apart_to_two() {
    let stage = Stage::new().await;
    let (client, other) = (stage.client().await, stage.client().await);
    let mut tokens = Vec::new();
    for client in [&client, &client, &other] {
        let signed_in = stage.sign_in(client, "grace").await;
        tokens.push(signed_in["refresh_token"].clone());
    }
    stage.tenant.time().advance(HOUR).await;
    refuses(&stage, &client, &tokens[0], &claim("a")).await;
    refuses(&stage, &client, &tokens[1], &claim("b")).await;
    refuses(&stage, &other, &tokens[2], &claim("c")).await;
    let mut both = claim("a");
    both["access_token"]["b"] = claim("b")["access_token"]["b"].clone();
    let of_client = sent(&stage, &client, "grace", None).await;
    assert_eq!(of_client, [Value::Null, both]);
    let of_other = sent(&stage, &other, "grace", None).await;
    assert_eq!(of_other, [Value::Null, claim("c")]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_to_it_while_it_is_met_stays() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let client = stage.client().await;
    let first = stage.sign_in(&client, "grace").await["refresh_token"].clone();
    let second = stage.sign_in(&client, "grace").await["refresh_token"].clone();
    stage.tenant.time().advance(HOUR).await;
    refuses(&stage, &client, &first, &claim("a")).await;
    let mut browser = Browser::new(&stage);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    let callback = stage.tenant.people().sign_in("grace", &at_entra);
    let at_entra = browser.come_back(&callback).await.location();
    assert_eq!(demanded(&at_entra), Some(claim("a")));
    let callback = stage.tenant.people().sign_in("grace", &at_entra);
    // The sign-in has read the challenge that it met, and is about to complete.
    let release = store.holds_the_next("code/");
    let (reply, ()) = tokio::join!(browser.come_back(&callback), async {
        store.holds().await;
        refuses(&stage, &client, &second, &claim("b")).await;
        release.send(()).unwrap();
    });
    code_of(&reply);
    let mut both = claim("a");
    both["access_token"]["b"] = claim("b")["access_token"]["b"].clone();
    let of_grace = sent(&stage, &client, "grace", None).await;
    assert_eq!(of_grace, [Value::Null, both]);
    assert_eq!(sent(&stage, &client, "grace", None).await, [Value::Null]);
}

#[tokio::test(start_paused = true)]
async fn it_is_over_after_a_quarter_of_an_hour() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    for (wait, legs) in [(14, 2), (16, 1)] {
        is_demanded_at_a_refresh(&stage, &client, "grace", &claim("a")).await;
        stage.tenant.time().advance(wait * MINUTE).await;
        let of_grace = sent(&stage, &client, "grace", None).await;
        assert_eq!(of_grace.len(), legs, "{wait}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_browser_that_comes_back_again_goes_where_it_went() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    is_demanded_at_a_refresh(&stage, &client, "grace", &claim("a")).await;
    let mut browser = Browser::new(&stage);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    let callback = stage.tenant.people().sign_in("grace", &at_entra);
    let cookies = browser.cookies.clone();
    let log = Logbook::begin();
    let first = browser.come_back(&callback).await;
    assert_eq!(demanded(&first.location()), Some(claim("a")));
    browser.cookies = cookies;
    let again = browser.come_back(&callback).await;
    assert_eq!(demanded(&again.location()), Some(claim("a")));
    let lines = log.lines("INFO");
    let told = lines
        .iter()
        .filter(|line| line.contains("claims challenge"));
    assert_eq!(told.count(), 1, "{lines:#?}");
    // The second visit to Entra results in a code. A repeated return gets the same code.
    let callback = stage.tenant.people().sign_in("grace", &first.location());
    let cookies = browser.cookies.clone();
    let code = code_of(&browser.come_back(&callback).await);
    browser.cookies = cookies;
    assert_eq!(code_of(&browser.come_back(&callback).await), code);
    assert_eq!(stage.redeem(&client, &code).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn another_user_who_comes_back_in_her_place_signs_in_and_hers_stays() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    is_demanded_at_a_refresh(&stage, &client, "grace", &claim("of_grace")).await;
    let mut browser = Browser::new(&stage);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    let callback = stage.tenant.people().sign_in("grace", &at_entra);
    let again = browser.come_back(&callback).await.location();
    assert_eq!(demanded(&again), Some(claim("of_grace")));
    let callback = stage.tenant.people().sign_in("ada", &again);
    let code = code_of(&browser.come_back(&callback).await);
    let tokens = stage.redeem(&client, &code).await.json();
    let caller = stage.verify(&tokens["access_token"]).await.unwrap();
    assert_eq!(caller.name(), Some("ada"));
    let of_grace = sent(&stage, &client, "grace", None).await;
    assert_eq!(of_grace, [Value::Null, claim("of_grace")]);
}

#[tokio::test(start_paused = true)]
async fn what_is_demanded_while_she_is_at_entra_for_the_second_time_waits_for_the_next_sign_in() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let signed_in = stage.sign_in(&client, "grace").await;
        tokens.push(signed_in["refresh_token"].clone());
    }
    stage.tenant.time().advance(HOUR).await;
    refuses(&stage, &client, &tokens[0], &claim("a")).await;
    let mut browser = Browser::new(&stage);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    let callback = stage.tenant.people().sign_in("grace", &at_entra);
    let again = browser.come_back(&callback).await.location();
    assert_eq!(demanded(&again), Some(claim("a")));
    refuses(&stage, &client, &tokens[1], &claim("b")).await;
    let callback = stage.tenant.people().sign_in("grace", &again);
    code_of(&browser.come_back(&callback).await);
    let of_grace = sent(&stage, &client, "grace", None).await;
    assert_eq!(of_grace.len(), 2);
    assert!(of_grace[1]["access_token"]["b"].is_object(), "{of_grace:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_in_the_store_says_whose_it_is() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let client = stage.client().await;
    is_demanded_at_a_refresh(&stage, &client, "grace", &claim("of_grace")).await;
    let caller = stage.sign_in(&stage.client().await, "grace").await;
    let caller = stage.verify(&caller["access_token"]).await.unwrap();
    let object_id = caller.object_id().unwrap().to_string();
    let written = store.written();
    assert!(written.iter().any(|(key, _)| key.starts_with("user/")));
    for (key, value) in &written {
        let value = String::from_utf8_lossy(value);
        for secret in [&*object_id, stage.tenant.id(), "of_grace", "essential"] {
            assert!(!key.contains(secret) && !value.contains(secret), "{key}");
        }
        assert!(!key.starts_with("claims/"), "{key}");
    }
}
