//! Tests of the effects of requested scopes and claims.

use entra_dev_tenant::AppRegistration;
use serde_json::Value;

use crate::browser::{
    READ, REDIRECT, SCOPES, SECRET, authorize_url, code, open, parameters, redeem,
    redirected_refusal, refresh, sign_in, tenant,
};
use crate::support::{API, CLIENT, decoded};

#[tokio::test]
async fn graph_and_the_api_may_be_consented_to_at_once_and_redeemed_apart() {
    let tenant = tenant().await;
    let both = format!("{SCOPES} https://graph.microsoft.com/User.Read");
    let code = code(&tenant, &[("scope", Some(&both))]).await;
    let (_, tokens) = redeem(&tenant, &code, &[]).await;
    assert_eq!(tokens["scope"], READ);
    let token = tokens["refresh_token"].as_str().unwrap();
    for scope in [
        "openid user.read",
        "openid https://graph.microsoft.com/User.Read",
    ] {
        let (status, graph) = refresh(&tenant, token, &[("scope", Some(scope))]).await;
        assert_eq!(status, 200, "{graph}");
        assert_eq!(
            graph["scope"],
            "openid https://graph.microsoft.com/User.Read"
        );
        let claims = decoded(graph["access_token"].as_str().unwrap(), 1);
        assert_eq!(claims["aud"], "https://graph.microsoft.com");
        assert_eq!(
            (&claims["appid"], &claims["scp"]),
            (&CLIENT.into(), &"User.Read openid".into())
        );
        assert!(decoded(graph["access_token"].as_str().unwrap(), 0)["nonce"].is_string());
    }
}

#[tokio::test]
async fn only_open_id_leads_to_a_token_for_graph() {
    let tenant = tenant().await;
    let only = [("scope", Some("openid email"))];
    let code = code(&tenant, &only).await;
    let (status, tokens) = redeem(&tenant, &code, &only).await;
    assert_eq!(status, 200, "{tokens}");
    assert_eq!(tokens["scope"], "openid email");
    let claims = decoded(tokens["access_token"].as_str().unwrap(), 1);
    assert_eq!(claims["aud"], "https://graph.microsoft.com");
    let id = decoded(tokens["id_token"].as_str().unwrap(), 1);
    assert_eq!(id["email"], "ada@contoso.onmicrosoft.com");
    assert_eq!(
        (&id["name"], &id["preferred_username"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn a_token_has_every_scope_of_its_api_that_was_ever_consented_to() {
    let tenant = tenant().await;
    let write = format!("api://{API}/write");
    code(&tenant, &[]).await;
    let code = code(&tenant, &[("scope", Some(&write))]).await;
    let (_, tokens) = redeem(&tenant, &code, &[("scope", Some(&write))]).await;
    let claims = decoded(tokens["access_token"].as_str().unwrap(), 1);
    assert_eq!(claims["scp"], "read write");
    assert_eq!(tokens["scope"], format!("{READ} {write}"));

    let of_grace = sign_in(&tenant, "grace", &[]).await;
    let (_, tokens) = redeem(&tenant, &parameters(&of_grace)["code"], &[]).await;
    let claims = decoded(tokens["access_token"].as_str().unwrap(), 1);
    assert_eq!(claims["scp"], "read");
}

#[tokio::test]
async fn default_stands_for_all_that_the_api_exposes() {
    let tenant = tenant().await;
    let scope = format!("{API}/.default");
    let code = code(&tenant, &[("scope", Some(&scope))]).await;
    let (status, tokens) = redeem(&tenant, &code, &[("scope", Some(&scope))]).await;
    assert_eq!(status, 200, "{tokens}");
    assert_eq!(tokens["scope"], format!("{API}/read {API}/write"));
}

#[tokio::test]
async fn an_api_may_have_another_uri_and_tokens_of_v1() {
    let api = AppRegistration::new(API)
        .name("Reports")
        .app_id_uri("https://reports.example")
        .scope("all")
        .v1_tokens();
    let client = AppRegistration::new(CLIENT)
        .name("A <client>")
        .secret(SECRET);
    let builder = entra_dev_tenant::DevTenant::builder().register(api);
    let tenant = builder
        .register(client.redirect_uri(REDIRECT))
        .start()
        .await
        .unwrap();
    let scope = [("scope", Some("https://reports.example/all"))];
    let page = open(&authorize_url(&tenant, &scope)).await;
    assert!(page.body.contains("A &lt;client&gt;"), "{}", page.body);
    let code = code(&tenant, &scope).await;
    let (status, tokens) = redeem(&tenant, &code, &scope).await;
    assert_eq!(status, 200, "{tokens}");
    let claims = decoded(tokens["access_token"].as_str().unwrap(), 1);
    assert_eq!(
        (&claims["ver"], &claims["scp"]),
        (&"1.0".into(), &"all".into())
    );
    assert_eq!(claims["aud"], "https://reports.example");
    assert_eq!(claims["appidacr"], "1");

    let other = format!("api://{API}/all");
    let location = sign_in(&tenant, "ada", &[("scope", Some(&other))]).await;
    assert_eq!(redirected_refusal(&location).1, 500_011);
}

#[tokio::test]
async fn what_claims_ask_for_counts_as_satisfied_from_then_on() {
    let tenant = tenant().await;
    let claims = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;
    let code = code(&tenant, &[("claims", Some(claims))]).await;
    let (_, tokens) = redeem(&tenant, &code, &[]).await;
    let refresh_token = tokens["refresh_token"].as_str().unwrap();
    let capable = r#"{"access_token":{"xms_cc":{"values":["cp1"]},"acrs":{"values":["c1","c2"]}}}"#;
    let (_, again) = refresh(&tenant, refresh_token, &[("claims", Some(capable))]).await;
    let claims = |tokens: &Value| decoded(tokens["access_token"].as_str().unwrap(), 1);
    assert_eq!(claims(&tokens)["acrs"], serde_json::json!(["c1"]));
    assert_eq!(claims(&tokens)["xms_cc"], Value::Null);
    assert_eq!(claims(&again)["acrs"], serde_json::json!(["c1", "c2"]));
    assert_eq!(claims(&again)["xms_cc"], serde_json::json!(["cp1"]));
}
