//! Tests of the exchange of a code for tokens.

use entra_dev_tenant::AppRegistration;
use serde_json::{Value, json};

use crate::browser::{
    CHALLENGE, READ, REDIRECT, SCOPES, SECRET, VERIFIER, builder, code, parameters, redeem,
    refusal, sign_in, tenant, tokens,
};
use crate::support::{API, CLIENT, decoded, verifies};

#[tokio::test]
async fn a_user_signs_in_and_the_client_gets_all_three_tokens() {
    let tenant = tenant().await;
    let location = sign_in(&tenant, "ada", &[]).await;
    assert!(location.starts_with(&format!("{REDIRECT}&")), "{location}");
    let answer = parameters(&location);
    assert_eq!(answer["state"], "a state");
    assert!(!answer.contains_key("iss"), "Entra sends none");

    let (status, tokens) = redeem(&tenant, &answer["code"], &[]).await;
    assert_eq!(status, 200, "{tokens}");
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["scope"], READ);
    assert_eq!(tokens["expires_in"], 3_599);
    assert_eq!(tokens["ext_expires_in"], 3_599);
    assert!(tokens["refresh_token"].is_string());
    assert_eq!(tokens["client_info"], Value::Null);

    let jwks: Value = serde_json::from_str(&tenant.signing_keys().document()).unwrap();
    for name in ["access_token", "id_token"] {
        assert!(verifies(tokens[name].as_str().unwrap(), &jwks), "{name}");
    }
    let access = decoded(tokens["access_token"].as_str().unwrap(), 1);
    assert_eq!(
        (&access["aud"], &access["azp"], &access["azpacr"]),
        (&json!(API), &json!(CLIENT), &json!("1"))
    );
    assert_eq!(
        (&access["scp"], &access["ver"]),
        (&json!("read"), &json!("2.0"))
    );

    let id = decoded(tokens["id_token"].as_str().unwrap(), 1);
    assert_eq!(
        (&id["aud"], &id["nonce"]),
        (&json!(CLIENT), &json!("a nonce"))
    );
    assert_eq!(id["name"], "ada");
    assert_eq!(id["preferred_username"], "ada@contoso.onmicrosoft.com");
    assert_ne!(id["sub"], access["sub"], "pairwise");

    let ada = decoded(&tenant.user("ada").for_api(API).mint(), 1);
    for claims in [&access, &id] {
        assert_eq!((&claims["oid"], &claims["tid"]), (&ada["oid"], &ada["tid"]));
    }
    assert_eq!(access["sub"], ada["sub"]);
}

#[tokio::test]
async fn users_have_the_app_roles_of_the_api_that_the_token_is_for() {
    let api = AppRegistration::new(API)
        .user_role("Admin")
        .user_role("Audit");
    let tenant = builder().register(api).start().await.unwrap();
    let code = code(&tenant, &[]).await;
    let (_, tokens) = redeem(&tenant, &code, &[]).await;
    let access = decoded(tokens["access_token"].as_str().unwrap(), 1);
    assert_eq!(access["roles"], json!(["Admin", "Audit"]));
    let id = decoded(tokens["id_token"].as_str().unwrap(), 1);
    assert_eq!(
        id["roles"],
        Value::Null,
        "they are the API's, not the client's"
    );
}

#[tokio::test]
async fn a_code_is_of_use_once() {
    let tenant = tenant().await;
    let code = code(&tenant, &[]).await;
    assert_eq!(redeem(&tenant, &code, &[]).await.0, 200);
    let again = redeem(&tenant, &code, &[]).await;
    assert_eq!(refusal(&again), (400, "invalid_grant", 54_005));
}

#[tokio::test]
async fn a_refused_code_can_be_redeemed_rightly_later() {
    let tenant = tenant().await;
    let code = code(&tenant, &[]).await;
    let wrong = redeem(&tenant, &code, &[("code_verifier", Some("another"))]).await;
    assert_eq!(refusal(&wrong), (400, "invalid_grant", 501_481));
    assert_eq!(redeem(&tenant, &code, &[]).await.0, 200);
}

#[tokio::test]
async fn a_code_expires_after_ten_minutes_of_the_tenants_clock() {
    let tenant = tenant().await;
    let (first, second) = (code(&tenant, &[]).await, code(&tenant, &[]).await);
    tenant
        .time()
        .jump_forward(std::time::Duration::from_secs(540)); // leaves a minute for the test itself
    assert_eq!(redeem(&tenant, &first, &[]).await.0, 200);
    tenant
        .time()
        .jump_forward(std::time::Duration::from_secs(61));
    let late = redeem(&tenant, &second, &[]).await;
    assert_eq!(refusal(&late), (400, "invalid_grant", 70_008));
}

#[tokio::test]
async fn what_does_not_match_the_authorization_request_is_refused() {
    let other_client = "0f4e4b1c-6a0d-4c57-8d6f-3a1d1c4b7e55";
    let builder = builder().web_client(other_client, SECRET, vec![REDIRECT.to_owned()]);
    let tenant = builder.start().await.unwrap();
    let code = code(&tenant, &[]).await;
    for (name, value, expected) in [
        (
            "redirect_uri",
            Some("https://app.example/"),
            (401, "invalid_client", 500_112),
        ),
        ("redirect_uri", None, (400, "invalid_request", 900_144)),
        (
            "client_id",
            Some(other_client),
            (400, "invalid_grant", 70_000),
        ),
        ("code", Some("1.unknown"), (400, "invalid_grant", 70_000)),
        ("code", None, (400, "invalid_request", 900_144)),
        (
            "code_verifier",
            Some(CHALLENGE),
            (400, "invalid_grant", 501_481),
        ),
        ("code_verifier", None, (400, "invalid_grant", 501_481)),
    ] {
        let answer = redeem(&tenant, &code, &[(name, value)]).await;
        assert_eq!(refusal(&answer), expected, "{name}={value:?}");
    }
    assert_eq!(redeem(&tenant, &code, &[]).await.0, 200);
}

#[tokio::test]
async fn pkce_is_not_required_and_plain_is_accepted() {
    let tenant = tenant().await;
    let without = [("code_challenge", None), ("code_challenge_method", None)];
    let first = code(&tenant, &without).await;
    let with_verifier = redeem(&tenant, &first, &[]).await;
    assert_eq!(refusal(&with_verifier), (400, "invalid_grant", 501_481));
    assert_eq!(
        redeem(&tenant, &first, &[("code_verifier", None)]).await.0,
        200
    );

    for method in [Some("plain"), None] {
        let plain = [
            ("code_challenge", Some(VERIFIER)),
            ("code_challenge_method", method),
        ];
        let code = code(&tenant, &plain).await;
        assert_eq!(redeem(&tenant, &code, &[]).await.0, 200, "{method:?}");
    }
}

#[tokio::test]
async fn the_scope_of_a_redemption_is_one_resource_and_not_nothing() {
    let tenant = tenant().await;
    let both = format!("{SCOPES} User.Read");
    let code = code(&tenant, &[("scope", Some(&both))]).await;
    for (scope, expected) in [
        (None, (400, "invalid_request", 28_003)),
        (Some(""), (400, "invalid_scope", 70_011)),
        (Some("offline_access"), (400, "invalid_scope", 70_011)),
        (Some("a\"b"), (400, "invalid_scope", 70_011)),
        (Some(&*both), (400, "invalid_request", 28_000)),
        (
            Some("api://nobody/read"),
            (400, "invalid_resource", 500_011),
        ),
    ] {
        let answer = redeem(&tenant, &code, &[("scope", scope)]).await;
        assert_eq!(refusal(&answer), expected, "{scope:?}");
    }
    let (status, tokens) = redeem(&tenant, &code, &[("scope", Some(READ))]).await;
    assert_eq!(status, 200, "{tokens}");
    assert_eq!(tokens["refresh_token"], Value::Null, "offline_access");
    assert_eq!(tokens["id_token"], Value::Null, "openid");
}

#[tokio::test]
async fn a_code_of_one_api_needs_no_scope_again() {
    let tenant = tenant().await;
    let code = code(&tenant, &[]).await;
    let (status, tokens) = redeem(&tenant, &code, &[("scope", None)]).await;
    assert_eq!((status, &tokens["scope"]), (200, &json!(READ)), "{tokens}");
    assert!(tokens["refresh_token"].is_string(), "offline_access");
    assert!(tokens["id_token"].is_string(), "openid");
}

#[tokio::test]
async fn tokens_verify_by_the_published_keys_after_a_rotation() {
    let tenant = tenant().await;
    tenant.signing_keys().rotate();
    let tokens = tokens(&tenant).await;
    let jwks: Value = serde_json::from_str(&tenant.signing_keys().document()).unwrap();
    assert!(verifies(tokens["access_token"].as_str().unwrap(), &jwks));
}
