//! Tests of `POST /revoke`, with which a client ends its sign-in.

use std::time::Duration;

use entra_oauth_proxy::{Clients, Lifetimes, PreregisteredClient};
use http::StatusCode;
use serde_json::{Value, json};

use crate::refresh::{invalid_grant, token_of};
use crate::support::{Browser, Client, HOUR, REDIRECT, Reply, Stage, post};
use crate::watched_store::WatchedStore;

async fn revoke(stage: &Stage, client: &Client, token: &Value, more: &[(&str, &str)]) -> Reply {
    let mut form = vec![
        ("token", token.as_str().unwrap()),
        ("client_id", &client.id),
    ];
    form.extend(more);
    stage.send(post("/revoke", &form, &[])).await
}

#[track_caller]
fn is_done(reply: &Reply) {
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(reply.text(), "");
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.header("access-control-allow-origin"), "*");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_is_ended_at_once_and_its_access_tokens_when_the_layer_asks_next() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let other = stage.sign_in(&client, "ada").await;
    assert!(stage.verify(&tokens["access_token"]).await.is_ok());
    // The hint about the token's type makes no difference.
    let hint = [("token_type_hint", "access_token")];
    is_done(&revoke(&stage, &client, &tokens["refresh_token"], &hint).await);
    let reply = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(reply.error(), invalid_grant());
    stage.tenant.time().advance(Duration::from_secs(31)).await;
    assert_eq!(
        stage.verify(&tokens["access_token"]).await.unwrap_err(),
        "grant_ended"
    );
    // The same user's other sign-in by the same client continues.
    assert!(stage.verify(&other["access_token"]).await.is_ok());
    token_of(stage.refresh(&client, &other["refresh_token"]).await).await;
}

#[tokio::test(start_paused = true)]
async fn without_an_interval_access_tokens_end_at_once() {
    let stage = Stage::with(|settings| {
        settings.lifetimes(Lifetimes::default().grant_check(Duration::ZERO))
    })
    .await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    assert!(stage.verify(&tokens["access_token"]).await.is_ok());
    is_done(&revoke(&stage, &client, &tokens["refresh_token"], &[]).await);
    assert!(stage.verify(&tokens["access_token"]).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_access_token_ends_its_sign_in_too() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    is_done(&revoke(&stage, &client, &tokens["access_token"], &[]).await);
    let reply = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(reply.error(), invalid_grant());
    stage.tenant.time().advance(Duration::from_secs(31)).await;
    assert!(stage.verify(&tokens["access_token"]).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_replaced_ends_its_sign_in_as_the_current_one_does() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let first = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    let second = token_of(stage.refresh(&client, &first).await).await;
    stage.tenant.time().advance(HOUR).await;
    is_done(&revoke(&stage, &client, &first, &[]).await);
    let reply = stage.refresh(&client, &second).await;
    assert_eq!(reply.error(), invalid_grant());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_token_or_is_over_is_done_already() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let elsewhere = Stage::new().await;
    let of_elsewhere = elsewhere.sign_in(&elsewhere.client().await, "ada").await;
    for token in [
        &json!("x"),
        &of_elsewhere["refresh_token"],
        &of_elsewhere["access_token"],
    ] {
        is_done(&revoke(&stage, &client, token, &[]).await);
    }
    for _ in 0..2 {
        is_done(&revoke(&stage, &client, &tokens["refresh_token"], &[]).await);
    }
    stage.tenant.time().advance(HOUR + HOUR).await;
    is_done(&revoke(&stage, &client, &tokens["access_token"], &[]).await);
}

#[tokio::test(start_paused = true)]
async fn nobody_ends_the_sign_in_of_another() {
    let stage = Stage::new().await;
    let (client, other) = (stage.client().await, stage.client().await);
    let tokens = stage.sign_in(&client, "ada").await;
    for token in [&tokens["refresh_token"], &tokens["access_token"]] {
        let reply = revoke(&stage, &other, token, &[]).await;
        assert_eq!(reply.error(), invalid_grant());
    }
    token_of(stage.refresh(&client, &tokens["refresh_token"]).await).await;
}

#[tokio::test(start_paused = true)]
async fn a_confidential_client_proves_itself() {
    let secret = "a secret of the pre-registered client";
    let fixed = PreregisteredClient::confidential("fixed", secret).redirect_uri(REDIRECT);
    let stage =
        Stage::with(|settings| settings.clients(Clients::default().preregistered(fixed))).await;
    let client = Client {
        id: "fixed".to_owned(),
        secret: Some(secret.to_owned()),
        redirect_uri: REDIRECT.to_owned(),
    };
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    let mut form = client.redemption(&code);
    form.push(("client_secret", secret));
    let token = token_of(stage.token(&form).await).await;
    for more in [&[][..], &[("client_secret", "another secret of 20")]] {
        let reply = revoke(&stage, &client, &token, more).await;
        assert_eq!(reply.error(), (401, "invalid_client".to_owned()));
    }
    let stranger = Client {
        id: "unknown".to_owned(),
        ..client.clone()
    };
    let reply = revoke(&stage, &stranger, &token, &[]).await;
    assert_eq!(reply.error(), (401, "invalid_client".to_owned()));
    is_done(&revoke(&stage, &client, &token, &[("client_secret", secret)]).await);
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token.as_str().unwrap()),
        ("client_id", "fixed"),
        ("client_secret", secret),
    ];
    assert_eq!(stage.token(&form).await.error(), invalid_grant());
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_token_is_none() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let form = [("client_id", &*client.id)];
    let reply = stage.send(post("/revoke", &form, &[])).await;
    assert_eq!(reply.error(), (400, "invalid_request".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_token_of_entras_is_not_revoked_here_and_the_refresh_token_is() {
    let stage = Stage::with(|settings| settings.dangerous().issue_entra_tokens()).await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let reply = revoke(&stage, &client, &tokens["access_token"], &[]).await;
    assert_eq!(reply.error(), (400, "unsupported_token_type".to_owned()));
    is_done(&revoke(&stage, &client, &tokens["refresh_token"], &[]).await);
    let reply = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(reply.error(), invalid_grant());
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_down_nothing_is_said_to_be_done() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    store.goes_down();
    for token in [&tokens["refresh_token"], &tokens["access_token"]] {
        let reply = revoke(&stage, &client, token, &[]).await;
        assert_eq!(reply.error(), (503, "temporarily_unavailable".to_owned()));
        assert_eq!(reply.header("retry-after"), "5");
    }
}
