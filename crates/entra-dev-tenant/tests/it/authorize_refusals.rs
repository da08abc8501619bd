//! Tests of the authorization endpoint's refusals, and of their recipients.

use crate::browser::{
    READ, REDIRECT, authorize_url, builder, code, open, parameters, redeem, redirected_refusal,
    refresh, refusal, sign_in, submit, tenant,
};
use crate::support::{API, CLIENT};

#[tokio::test]
async fn a_user_who_declines_is_told_of_to_the_client() {
    let tenant = tenant().await;
    let answer = submit(&authorize_url(&tenant, &[]), &[("decline", "1")]).await;
    assert_eq!(answer.status, 302);
    let location = answer.location();
    assert_eq!(
        redirected_refusal(&location),
        ("access_denied".to_owned(), 65_004)
    );
    let parameters = parameters(&location);
    assert_eq!(parameters["error_subcode"], "cancel");
    assert_eq!(parameters["state"], "a state");
}

#[tokio::test]
async fn without_a_client_and_a_redirect_uri_of_its_own_only_the_user_is_told() {
    let tenant = tenant().await;
    for (name, value, code) in [
        ("client_id", None, 900_144),
        ("client_id", Some("my-app"), 700_038),
        (
            "client_id",
            Some("0f4e4b1c-6a0d-4c57-8d6f-3a1d1c4b7e55"),
            700_016,
        ),
        ("client_id", Some(API), 500_113),
        (
            "redirect_uri",
            Some("https://evil.example/callback?from=entra"),
            50_011,
        ),
        ("redirect_uri", Some("https://app.example/callback"), 50_011),
    ] {
        let url = authorize_url(&tenant, &[(name, value)]);
        for answer in [open(&url).await, submit(&url, &[("user", "ada")]).await] {
            assert_eq!(
                (answer.status, answer.shown_code()),
                (400, code),
                "{value:?}"
            );
        }
    }
    let twice = format!("{}&state=another", authorize_url(&tenant, &[]));
    assert_eq!(open(&twice).await.shown_code(), 9_000_411);
    let elsewhere = authorize_url(&tenant, &[]).replace(tenant.id(), "contoso");
    assert_eq!(open(&elsewhere).await.shown_code(), 90_002);
}

#[tokio::test]
async fn the_only_redirect_uri_may_go_without_saying() {
    let tenant = tenant().await;
    let location = sign_in(&tenant, "ada", &[("redirect_uri", None)]).await;
    assert!(location.starts_with(REDIRECT), "{location}");

    let builder = builder().web_client(CLIENT, "another", ["https://app.example/second"]);
    let tenant = builder.start().await.unwrap();
    let answer = open(&authorize_url(&tenant, &[("redirect_uri", None)])).await;
    assert_eq!(answer.shown_code(), 900_971);
}

#[tokio::test]
async fn what_else_is_wrong_is_told_to_the_client() {
    let tenant = tenant().await;
    let unknown = format!("api://{API}/delete");
    let mixed = format!("api://{API}/.default {READ}");
    for (name, value, error, code) in [
        ("response_type", None, "invalid_request", 900_144),
        (
            "response_type",
            Some("token"),
            "unsupported_response_type",
            700_051,
        ),
        (
            "response_mode",
            Some("web_message"),
            "invalid_request",
            70_007,
        ),
        ("scope", None, "invalid_request", 900_144),
        ("scope", Some("api://"), "invalid_scope", 70_011),
        ("scope", Some("a\\b"), "invalid_scope", 70_011),
        ("scope", Some(&mixed), "invalid_scope", 70_011),
        (
            "scope",
            Some("https://nobody.example/read"),
            "invalid_resource",
            500_011,
        ),
        ("scope", Some(&unknown), "invalid_client", 650_053),
        ("scope", Some("read"), "invalid_client", 650_053),
        ("prompt", Some("create"), "invalid_request", 90_023),
        (
            "code_challenge_method",
            Some("S512"),
            "invalid_request",
            50_149,
        ),
        ("code_challenge", None, "invalid_request", 900_144),
        ("claims", Some("{"), "invalid_request", 9_002_313),
    ] {
        let url = authorize_url(&tenant, &[(name, value)]);
        for answer in [open(&url).await, submit(&url, &[("user", "ada")]).await] {
            assert_eq!(answer.status, 302, "{name}={value:?}");
            let location = answer.location();
            assert!(location.starts_with(REDIRECT), "{location}");
            assert_eq!(
                redirected_refusal(&location),
                (error.to_owned(), code),
                "{name}={value:?}"
            );
            assert_eq!(parameters(&location)["state"], "a state");
        }
    }
    let location = submit(&authorize_url(&tenant, &[("scope", Some("read"))]), &[]).await;
    let description = parameters(&location.location())["error_description"].clone();
    assert!(description.contains("00000003-0000-0000-c000-000000000000"));
}

#[tokio::test]
async fn a_resource_parameter_must_be_the_app_id_uri_of_the_scopes() {
    let uri = format!("api://{API}");
    let tenant = tenant().await;
    let tokens = crate::browser::tokens(&tenant).await;
    let refresh_token = tokens["refresh_token"].as_str().unwrap();
    for (resource, is_right) in [
        (&*uri, true),
        (&format!("{uri}/"), false),
        ("https://mcp.example/mcp", false),
        (API, false),
    ] {
        let resource = [("resource", Some(resource))];
        let location = sign_in(&tenant, "ada", &resource).await;
        let new_code = code(&tenant, &[]).await;
        let redeemed = redeem(&tenant, &new_code, &resource).await;
        let refreshed = refresh(&tenant, refresh_token, &resource).await;
        if is_right {
            assert!(parameters(&location).contains_key("code"), "{location}");
            assert_eq!((redeemed.0, refreshed.0), (200, 200));
        } else {
            let expected = ("invalid_target".to_owned(), 9_010_010);
            assert_eq!(redirected_refusal(&location), expected);
            let expected = (400, "invalid_target", 9_010_010);
            assert_eq!(refusal(&redeemed), expected);
            assert_eq!(refusal(&refreshed), expected);
        }
    }
    let only_open_id = [("scope", Some("openid")), ("resource", Some(&*uri))];
    let location = sign_in(&tenant, "ada", &only_open_id).await;
    assert_eq!(redirected_refusal(&location).1, 9_010_010);
}

#[tokio::test]
async fn a_resource_parameter_may_be_refused_as_of_old() {
    let builder = builder().refuse_resource_parameter();
    let tenant = builder.start().await.unwrap();
    let uri = format!("api://{API}");
    let resource = [("resource", Some(&*uri))];
    let location = sign_in(&tenant, "ada", &resource).await;
    assert_eq!(
        redirected_refusal(&location),
        ("invalid_request".to_owned(), 901_002)
    );
    let code = code(&tenant, &[]).await;
    let answer = redeem(&tenant, &code, &resource).await;
    assert_eq!(refusal(&answer), (400, "invalid_request", 901_002));
}

#[tokio::test]
async fn a_user_whom_nobody_knows_or_who_is_disabled_stays_on_the_page() {
    let tenant = tenant().await;
    let url = authorize_url(&tenant, &[]);
    let answer = submit(&url, &[("user", "mallory")]).await;
    assert_eq!((answer.status, answer.shown_code()), (400, 50_034));
    tenant.people().disable("ada");
    let answer = submit(&url, &[("user", "ada")]).await;
    assert_eq!((answer.status, answer.shown_code()), (400, 50_057));
}

#[tokio::test]
async fn without_a_prompt_the_user_must_be_signed_in_already() {
    let tenant = tenant().await;
    let silent = authorize_url(&tenant, &[("prompt", Some("none"))]);
    let ask = async || open(&silent).await.location();
    let refused = async |error: &str, code| {
        assert_eq!(redirected_refusal(&ask().await), (error.to_owned(), code));
    };
    refused("login_required", 50_058).await;

    tenant.people().start_session("ada");
    refused("consent_required", 65_001).await;
    code(&tenant, &[]).await;
    let answer = parameters(&ask().await);
    assert_eq!(redeem(&tenant, &answer["code"], &[]).await.0, 200);

    tenant.people().withdraw_consent(READ);
    refused("consent_required", 65_001).await;
    tenant.people().require_interaction("ada");
    refused("interaction_required", 50_076).await;
    tenant.people().disable("ada");
    refused("interaction_required", 50_057).await;
    tenant.people().revoke_sessions("ada");
    refused("login_required", 50_058).await;
}

#[tokio::test]
async fn what_an_administrator_must_approve_sends_the_user_back() {
    let tenant = tenant().await;
    let expected = ("access_denied".to_owned(), 90_094);
    code(&tenant, &[]).await;
    tenant.people().require_admin_approval(READ);
    let location = sign_in(&tenant, "ada", &[]).await;
    assert_eq!(redirected_refusal(&location), expected);

    tenant.people().approve_as_admin(READ);
    let code = code(&tenant, &[]).await;
    assert_eq!(redeem(&tenant, &code, &[]).await.0, 200);
    let location = sign_in(&tenant, "ada", &[("prompt", Some("consent"))]).await;
    assert_eq!(redirected_refusal(&location), expected, "asks again");
}
