//! Tests of the exchange of a refresh token for new tokens.

use std::time::Duration;

use entra_dev_tenant::AppRegistration;
use serde_json::{Value, json};

use crate::browser::{
    READ, REDIRECT, SECRET, builder, code, redeem, refresh, refusal, sign_in, tenant, tokens,
};
use crate::support::{API, CLIENT, decoded};

fn refresh_token(tokens: &Value) -> &str {
    tokens["refresh_token"].as_str().unwrap()
}

#[tokio::test]
async fn each_refresh_gives_a_new_refresh_token_and_the_old_one_stays_good() {
    let tenant = tenant().await;
    let first = tokens(&tenant).await;
    let (status, second) = refresh(&tenant, refresh_token(&first), &[]).await;
    assert_eq!((status, &second["scope"]), (200, &json!(READ)));
    assert_ne!(refresh_token(&first), refresh_token(&second));
    assert_eq!(refresh(&tenant, refresh_token(&first), &[]).await.0, 200);
    let (_, third) = refresh(&tenant, refresh_token(&second), &[]).await;

    let subject =
        |tokens: &Value| decoded(tokens["access_token"].as_str().unwrap(), 1)["sub"].clone();
    assert_eq!(subject(&first), subject(&third));
    let id = decoded(third["id_token"].as_str().unwrap(), 1);
    assert_eq!((&id["aud"], &id["nonce"]), (&json!(CLIENT), &Value::Null));
}

#[tokio::test]
async fn without_a_scope_a_refresh_is_for_the_same_api() {
    let tenant = tenant().await;
    let tokens = tokens(&tenant).await;
    let (status, again) = refresh(&tenant, refresh_token(&tokens), &[("scope", None)]).await;
    assert_eq!((status, &again["scope"]), (200, &json!(READ)));
}

#[tokio::test]
async fn an_application_that_is_the_api_too_must_name_the_scope() {
    // In the usual registration, one application is both client and API.
    let builder = builder().web_client(API, SECRET, [REDIRECT]);
    let tenant = builder.start().await.unwrap();
    let own = [("client_id", Some(API))];
    let code = code(&tenant, &own).await;
    let (_, tokens) = redeem(&tenant, &code, &own).await;
    let access = decoded(tokens["access_token"].as_str().unwrap(), 1);
    assert_eq!((&access["aud"], &access["azp"]), (&json!(API), &json!(API)));
    let id = decoded(tokens["id_token"].as_str().unwrap(), 1);
    assert_eq!(id["sub"], access["sub"]);

    let token = refresh_token(&tokens);
    let without = refresh(&tenant, token, &[own[0], ("scope", None)]).await;
    assert_eq!(refusal(&without), (400, "invalid_request", 90_009));
    assert_eq!(refresh(&tenant, token, &own).await.0, 200);
}

#[tokio::test]
async fn a_scope_without_its_api_is_one_of_graph_that_nobody_consented_to() {
    let tenant = tenant().await;
    let tokens = tokens(&tenant).await;
    for scope in ["read", "User.Read"] {
        let answer = refresh(&tenant, refresh_token(&tokens), &[("scope", Some(scope))]).await;
        assert_eq!(refusal(&answer), (400, "invalid_grant", 65_001), "{scope}");
        assert_eq!(answer.1["suberror"], "consent_required");
    }
}

#[tokio::test]
async fn the_scope_of_a_refresh_follows_the_rules_of_a_code() {
    let tenant = tenant().await;
    let tokens = tokens(&tenant).await;
    let both = format!("{READ} User.Read");
    for (scope, expected) in [
        ("", (400, "invalid_scope", 70_011)),
        ("offline_access", (400, "invalid_scope", 70_011)),
        (&both, (400, "invalid_request", 28_000)),
    ] {
        let answer = refresh(&tenant, refresh_token(&tokens), &[("scope", Some(scope))]).await;
        assert_eq!(refusal(&answer), expected, "{scope:?}");
    }
}

#[tokio::test]
async fn a_refresh_token_that_nobody_used_for_90_days_has_expired() {
    let tenant = tenant().await;
    const MINUTE: Duration = Duration::from_secs(60);
    let day = 24 * 60 * MINUTE;
    let first = tokens(&tenant).await;
    tenant.time().jump_forward(day * 90 - MINUTE); // leaves a minute for the test itself
    let (status, second) = refresh(&tenant, refresh_token(&first), &[]).await;
    assert_eq!(status, 200, "{second}");
    tenant.time().jump_forward(day);
    let answer = refresh(&tenant, refresh_token(&first), &[]).await;
    assert_eq!(refusal(&answer), (400, "invalid_grant", 700_082));
    assert_eq!(refresh(&tenant, refresh_token(&second), &[]).await.0, 200);
}

#[tokio::test]
async fn revoked_sessions_end_codes_and_refresh_tokens_of_that_user_alone() {
    let tenant = tenant().await;
    let old = tokens(&tenant).await;
    let old_code = code(&tenant, &[]).await;
    let of_grace = sign_in(&tenant, "grace", &[]).await;
    tenant.people().revoke_sessions("ada");

    let answer = refresh(&tenant, refresh_token(&old), &[]).await;
    assert_eq!(refusal(&answer), (400, "invalid_grant", 50_173));
    assert_eq!(answer.1["suberror"], "bad_token");
    let answer = redeem(&tenant, &old_code, &[]).await;
    assert_eq!(refusal(&answer), (400, "invalid_grant", 50_173));

    let of_grace = crate::browser::parameters(&of_grace)["code"].clone();
    assert_eq!(redeem(&tenant, &of_grace, &[]).await.0, 200);
    let new = tokens(&tenant).await;
    assert_eq!(refresh(&tenant, refresh_token(&new), &[]).await.0, 200);
}

#[tokio::test]
async fn a_disabled_user_gets_nothing_until_enabled() {
    let tenant = tenant().await;
    let tokens = tokens(&tenant).await;
    tenant.people().disable("ada");
    let answer = refresh(&tenant, refresh_token(&tokens), &[]).await;
    assert_eq!(refusal(&answer), (400, "invalid_grant", 50_057));
    tenant.people().enable("ada");
    assert_eq!(refresh(&tenant, refresh_token(&tokens), &[]).await.0, 200);
}

#[tokio::test]
async fn conditional_access_wants_a_sign_in_and_is_content_with_it() {
    let tenant = tenant().await;
    let tokens = tokens(&tenant).await;
    tenant.people().require_interaction("ada");
    let answer = refresh(&tenant, refresh_token(&tokens), &[]).await;
    assert_eq!(refusal(&answer), (400, "interaction_required", 50_076));
    assert_eq!(answer.1["suberror"], "basic_action");
    let claims = answer.1["claims"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(claims).unwrap()["access_token"].is_object());

    code(&tenant, &[("claims", Some(claims))]).await;
    assert_eq!(refresh(&tenant, refresh_token(&tokens), &[]).await.0, 200);
}

#[tokio::test]
async fn withdrawn_consent_is_given_again_by_signing_in() {
    let tenant = tenant().await;
    let tokens = tokens(&tenant).await;
    tenant.people().withdraw_consent(READ);
    let answer = refresh(&tenant, refresh_token(&tokens), &[]).await;
    assert_eq!(refusal(&answer), (400, "invalid_grant", 65_001));
    code(&tenant, &[]).await;
    assert_eq!(refresh(&tenant, refresh_token(&tokens), &[]).await.0, 200);

    tenant.people().require_admin_approval(READ);
    let answer = refresh(&tenant, refresh_token(&tokens), &[]).await;
    assert_eq!(refusal(&answer), (400, "invalid_grant", 65_001));
}

#[tokio::test]
async fn a_refresh_token_is_its_clients_alone() {
    let other = "0f4e4b1c-6a0d-4c57-8d6f-3a1d1c4b7e55";
    let builder = builder().register(AppRegistration::new(other).secret(SECRET));
    let tenant = builder.start().await.unwrap();
    let tokens = tokens(&tenant).await;
    for (token, client) in [(refresh_token(&tokens), other), ("1.unknown", CLIENT)] {
        let answer = refresh(&tenant, token, &[("client_id", Some(client))]).await;
        assert_eq!(refusal(&answer), (400, "invalid_grant", 70_000));
    }
}

#[tokio::test]
async fn faults_of_the_endpoint_cost_no_grant() {
    let tenant = tenant().await;
    let tokens = tokens(&tenant).await;
    let url = format!("{}/{}/oauth2/v2.0/token", tenant.url(), tenant.id());
    tenant.token_endpoint().throttle(429, "3").for_next(1);
    let form = [("grant_type", "refresh_token")];
    let answer = crate::browser::submit(&url, &form).await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (429, Some("3"))
    );
    assert_eq!(refresh(&tenant, refresh_token(&tokens), &[]).await.0, 200);

    let code = code(&tenant, &[]).await;
    tenant.token_endpoint().fail_with(503).for_next(1);
    let form = [("code", &*code)];
    assert_eq!(crate::browser::submit(&url, &form).await.status, 503);
    assert_eq!(redeem(&tenant, &code, &[]).await.0, 200);
}
