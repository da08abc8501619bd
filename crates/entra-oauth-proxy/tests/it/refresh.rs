//! Tests of `POST /token` with a refresh token: rotation, and the causes that end a sign-in.

use std::time::Duration;

use entra_oauth_proxy::{EntraOAuthProxyBuilder, Lifetimes};
use http::StatusCode;
use serde_json::{Value, json};

use crate::logbook::Logbook;
use crate::support::{APP, Browser, Client, HOUR, REDIRECT, Reply, Stage, claims};
use crate::watched_store::WatchedStore;

pub(crate) fn invalid_grant() -> (u16, String) {
    (400, "invalid_grant".to_owned())
}

async fn refreshed(stage: &Stage, client: &Client, token: &Value, more: &[(&str, &str)]) -> Reply {
    let mut form = vec![
        ("grant_type", "refresh_token"),
        ("refresh_token", token.as_str().unwrap()),
        ("client_id", &client.id),
    ];
    form.extend(more);
    stage.token(&form).await
}

pub(crate) async fn token_of(reply: Reply) -> Value {
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    reply.json()["refresh_token"].clone()
}

#[tokio::test(start_paused = true)]
async fn each_refresh_replaces_the_token_and_the_one_before_works_for_a_minute() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let first = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    let second = token_of(stage.refresh(&client, &first).await).await;
    assert_ne!(first, second);
    // The response was lost, or two processes of the client sent the token.
    stage.tenant.time().advance(Duration::from_secs(59)).await;
    let again = stage.refresh(&client, &first).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text());
    let again = again.json();
    assert_eq!(again["refresh_token"], second);
    assert!(stage.verify(&again["access_token"]).await.is_ok());
    // The tokens are one family: the second one is valid, and its use ends the grace period of the
    // first.
    let third = token_of(stage.refresh(&client, &second).await).await;
    let log = Logbook::begin();
    assert_eq!(
        stage.refresh(&client, &first).await.error(),
        invalid_grant()
    );
    assert_eq!(
        stage.refresh(&client, &third).await.error(),
        invalid_grant()
    );
    assert!(
        log.lines("WARN")
            .iter()
            .any(|line| line.contains("a rotated refresh token was used again"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_before_the_parent_or_between_it_and_the_current_one_ends_the_whole_family() {
    for is_between in [false, true] {
        let stage = Stage::new().await;
        let client = stage.client().await;
        let tokens = stage.sign_in(&client, "ada").await;
        let first = &tokens["refresh_token"];
        let second = token_of(stage.refresh(&client, first).await).await;
        let (current, dead) = if is_between {
            stage.tenant.time().advance(Duration::from_secs(61)).await;
            // The parent comes late, and pushes out the second.
            (stage.refresh(&client, first).await, &second)
        } else {
            (stage.refresh(&client, &second).await, first)
        };
        let current = current.json();
        let reuse = stage.refresh(&client, dead).await;
        assert_eq!(reuse.error(), invalid_grant());
        let thief = stage.refresh(&client, &current["refresh_token"]).await;
        assert_eq!(thief.error(), invalid_grant());
        stage.tenant.time().advance(Duration::from_secs(31)).await;
        for token in [&tokens["access_token"], &current["access_token"]] {
            assert!(stage.verify(token).await.is_err());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_comes_late_gets_a_new_token_in_place_of_the_one_that_was_lost() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let first = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    let lost = token_of(stage.refresh(&client, &first).await).await;
    for seconds in [61, 61, 3_600, 24 * 3_600] {
        stage
            .tenant
            .time()
            .advance(Duration::from_secs(seconds))
            .await;
        // Each time, the response is lost again.
        let new = token_of(stage.refresh(&client, &first).await).await;
        assert!(new != lost && new != first);
        assert_eq!(token_of(stage.refresh(&client, &first).await).await, new);
    }
    stage.tenant.time().advance(Duration::from_secs(61)).await;
    let second = token_of(stage.refresh(&client, &first).await).await;
    let third = token_of(stage.refresh(&client, &second).await).await;
    // The second one was received, so the first one is before the parent.
    assert_eq!(
        stage.refresh(&client, &first).await.error(),
        invalid_grant()
    );
    assert_eq!(
        stage.refresh(&client, &third).await.error(),
        invalid_grant()
    );
}

#[tokio::test(start_paused = true)]
async fn repeating_a_refresh_does_not_lengthen_the_grace() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let first = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    let second = token_of(stage.refresh(&client, &first).await).await;
    for seconds in [20, 20, 20] {
        stage
            .tenant
            .time()
            .advance(Duration::from_secs(seconds))
            .await;
        assert_eq!(token_of(stage.refresh(&client, &first).await).await, second);
    }
    stage.tenant.time().advance(Duration::from_secs(1)).await;
    assert_ne!(token_of(stage.refresh(&client, &first).await).await, second);
    assert_eq!(
        stage.refresh(&client, &second).await.error(),
        invalid_grant()
    );
}

#[tokio::test(start_paused = true)]
async fn the_grace_begins_when_the_token_is_replaced_however_long_entra_took() {
    for (seconds, is_in_grace) in [(60, true), (61, false)] {
        let stage = Stage::new().await;
        let client = stage.client().await;
        let first = stage.sign_in(&client, "ada").await["refresh_token"].clone();
        stage.tenant.time().advance(HOUR).await;
        let endpoint = stage.tenant.token_endpoint();
        endpoint.delay(Duration::from_secs(4)).for_next(1);
        let second = token_of(stage.refresh(&client, &first).await).await;
        stage
            .tenant
            .time()
            .advance(Duration::from_secs(seconds))
            .await;
        let again = token_of(stage.refresh(&client, &first).await).await;
        assert_eq!(again == second, is_in_grace, "{seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_grace_the_parent_gets_a_new_token_at_once_and_the_pushed_out_one_ends_the_family()
{
    let stage = Stage::with(|settings| {
        settings.lifetimes(Lifetimes::default().rotation_grace(Duration::ZERO))
    })
    .await;
    let client = stage.client().await;
    let first = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    let second = token_of(stage.refresh(&client, &first).await).await;
    stage.tenant.time().advance(Duration::from_secs(1)).await;
    let third = token_of(stage.refresh(&client, &first).await).await;
    assert_ne!(third, second);
    for token in [&second, &third] {
        assert_eq!(stage.refresh(&client, token).await.error(), invalid_grant());
    }
}

#[tokio::test(start_paused = true)]
async fn two_refreshes_at_once_are_one_family() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store)).await;
    let client = stage.client().await;
    let first = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    stage.tenant.time().advance(HOUR).await;
    let both = tokio::join!(
        stage.refresh(&client, &first),
        stage.refresh(&client, &first)
    );
    let (one, other) = (token_of(both.0).await, token_of(both.1).await);
    assert_eq!(one, other);
    token_of(stage.refresh(&client, &one).await).await;
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_is_its_clients_alone_and_the_other_costs_it_nothing() {
    let stage = Stage::new().await;
    let (client, other) = (stage.client().await, stage.client().await);
    let first = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    assert_eq!(stage.refresh(&other, &first).await.error(), invalid_grant());
    // Waits longer than the grace period, in which a replaced token would still work.
    stage.tenant.time().advance(Duration::from_secs(61)).await;
    let second = token_of(stage.refresh(&client, &first).await).await;
    stage.tenant.time().advance(HOUR).await;
    // Another client cannot end the sign-in even with an old token, as the token's own client
    // would.
    assert_eq!(stage.refresh(&other, &first).await.error(), invalid_grant());
    token_of(stage.refresh(&client, &second).await).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_changed_or_is_no_refresh_token_is_unknown() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let token = tokens["refresh_token"].as_str().unwrap();
    let elsewhere = Stage::new().await;
    let of_elsewhere = elsewhere.sign_in(&elsewhere.client().await, "ada").await;
    let mut candidates = vec![
        "x".to_owned(),
        format!("{token}A"),
        token[1..].to_owned(),
        token[..token.len() - 4].to_owned(),
        of_elsewhere["refresh_token"].as_str().unwrap().to_owned(),
        tokens["access_token"].as_str().unwrap().to_owned(),
    ];
    for index in 0..token.len() {
        let other = if &token[index..=index] == "A" {
            "B"
        } else {
            "A"
        };
        candidates.push(format!("{}{other}{}", &token[..index], &token[index + 1..]));
    }
    for candidate in candidates {
        let reply = stage.refresh(&client, &json!(candidate)).await;
        assert_eq!(reply.error(), invalid_grant(), "{candidate}");
    }
    assert_eq!(
        stage
            .refresh(&client, &tokens["refresh_token"])
            .await
            .status,
        StatusCode::OK
    );
}

#[tokio::test(start_paused = true)]
async fn a_confidential_client_proves_itself_with_each_refresh() {
    let stage = Stage::new().await;
    let client = stage
        .client_with(json!({
            "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "client_secret_post",
        }))
        .await;
    let secret = client.secret.clone().unwrap();
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    let mut form = client.redemption(&code);
    form.push(("client_secret", &secret));
    let first = token_of(stage.token(&form).await).await;
    for more in [&[][..], &[("client_secret", "x")]] {
        let reply = refreshed(&stage, &client, &first, more).await;
        assert_eq!(reply.error(), (401, "invalid_client".to_owned()));
    }
    token_of(refreshed(&stage, &client, &first, &[("client_secret", &secret)]).await).await;
}

#[tokio::test(start_paused = true)]
async fn scopes_narrow_and_never_widen_and_a_refusal_costs_nothing() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let code = Browser::new(&stage)
        .code(&client, "ada", &[("scope", "read write")])
        .await;
    let tokens = stage.redeem(&client, &code).await.json();
    assert_eq!(tokens["scope"], "read write");
    let token = &tokens["refresh_token"];
    let narrow = refreshed(&stage, &client, token, &[("scope", "read")])
        .await
        .json();
    assert_eq!(narrow["scope"], "read");
    let caller = stage.verify(&narrow["access_token"]).await.unwrap();
    assert_eq!(caller.scopes().collect::<Vec<_>>(), ["read"]);
    // The grant keeps its scopes (RFC 6749 §6).
    let token = &narrow["refresh_token"];
    let all = refreshed(&stage, &client, token, &[]).await.json();
    assert_eq!(all["scope"], "read write");

    let narrow = stage.sign_in(&client, "ada").await;
    let token = &narrow["refresh_token"];
    for scope in [
        "read write",
        "write",
        &format!("api://{APP}/write"),
        "admin",
    ] {
        let reply = refreshed(&stage, &client, token, &[("scope", scope)]).await;
        assert_eq!(reply.error(), (400, "invalid_scope".to_owned()), "{scope}");
    }
    // Waits longer than the grace period, in which a replaced token would still work.
    stage.tenant.time().advance(Duration::from_secs(61)).await;
    let reply = refreshed(&stage, &client, token, &[("scope", "read offline_access")]).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
}

#[tokio::test(start_paused = true)]
async fn another_resource_is_refused_and_costs_nothing() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    let reply = refreshed(
        &stage,
        &client,
        &token,
        &[("resource", "https://evil.example/mcp")],
    )
    .await;
    assert_eq!(reply.error(), (400, "invalid_target".to_owned()));
    // Waits longer than the grace period, in which a replaced token would still work.
    stage.tenant.time().advance(Duration::from_secs(61)).await;
    let ours = [("resource", "https://mcp.example.com/mcp/")];
    assert_eq!(
        refreshed(&stage, &client, &token, &ours).await.status,
        StatusCode::OK
    );
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_ends_when_it_is_not_used_and_whatever_happens_in_the_end() {
    let short = |settings: EntraOAuthProxyBuilder| {
        settings.lifetimes(Lifetimes::default().idle(2 * HOUR).session(5 * HOUR))
    };
    let stage = Stage::with(short).await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    stage
        .tenant
        .time()
        .advance(2 * HOUR + Duration::from_secs(1))
        .await;
    assert_eq!(
        stage.refresh(&client, &token).await.error(),
        invalid_grant()
    );

    let mut tokens = stage.sign_in(&client, "ada").await;
    for _ in 0..4 {
        stage
            .tenant
            .time()
            .advance(HOUR + Duration::from_secs(60))
            .await;
        let reply = stage.refresh(&client, &tokens["refresh_token"]).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        tokens = reply.json();
    }
    // The last access token expires with the sign-in.
    assert_eq!(tokens["expires_in"], 3_600 - 240);
    let said = claims(&tokens["access_token"]);
    assert_eq!(
        said["exp"].as_u64().unwrap() - said["iat"].as_u64().unwrap(),
        3_360
    );
    stage
        .tenant
        .time()
        .advance(HOUR - Duration::from_secs(200))
        .await;
    assert_eq!(
        stage
            .refresh(&client, &tokens["refresh_token"])
            .await
            .error(),
        invalid_grant()
    );
    assert!(stage.verify(&tokens["access_token"]).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_sign_in_is_not_the_stores_affair_alone() {
    let stage =
        Stage::with(|settings| settings.lifetimes(Lifetimes::default().session(2 * HOUR))).await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    // The sign-in is over by the wall clock, and for the store no time has passed.
    stage.tenant.time().jump_forward(2 * HOUR);
    assert_eq!(
        stage.refresh(&client, &token).await.error(),
        invalid_grant()
    );
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_that_was_not_used_is_over_even_if_the_store_still_has_it() {
    let idle = 2 * HOUR;
    let stage = Stage::with(|settings| settings.lifetimes(Lifetimes::default().idle(idle))).await;
    let client = stage.client().await;
    for (away, is_over) in [(idle, false), (idle + Duration::from_secs(1), true)] {
        let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
        stage.tenant.time().jump_forward(away);
        let reply = stage.refresh(&client, &token).await;
        assert_eq!(reply.status == StatusCode::BAD_REQUEST, is_over, "{away:?}");
        if is_over {
            let text = reply.json()["error_description"].clone();
            assert_eq!(text, "the sign-in was not used for too long");
        }
    }
}
