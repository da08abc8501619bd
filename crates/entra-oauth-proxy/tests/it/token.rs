//! Tests of `POST /token` with a code, which only its client can redeem, and only once.

use entra_oauth_proxy::Lifetimes;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;

use crate::support::{
    Browser, Client, HOUR, REDIRECT, RESOURCE, Reply, Stage, VERIFIER, encoded, post, request,
};
use crate::watched_store::{Swaps, WatchedStore};

const GRANT_CHECK: Duration = Duration::from_secs(31);

async fn code(stage: &Stage, client: &Client) -> String {
    Browser::new(stage).code(client, "ada", &[]).await
}

/// Redeems the code with changes to the form.
///
/// A parameter whose new value is empty is left out.
async fn redeemed(stage: &Stage, client: &Client, code: &str, changes: &[(&str, &str)]) -> Reply {
    let mut form = client.redemption(code);
    for (name, value) in changes {
        form.retain(|(other, _)| other != name);
        if !value.is_empty() {
            form.push((name, value));
        }
    }
    stage.token(&form).await
}

#[tokio::test(start_paused = true)]
async fn tokens_are_kept_by_nobody_in_between_and_scripts_may_read_them() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let code = code(&stage, &client).await;
    for reply in [
        stage.redeem(&client, &code).await,
        stage.redeem(&client, "x").await,
    ] {
        assert_eq!(reply.header("cache-control"), "no-store");
        assert_eq!(reply.header("pragma"), "no-cache");
        assert_eq!(reply.header("content-type"), "application/json");
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        assert!(
            !reply
                .headers
                .contains_key("access-control-allow-credentials")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_none_is_answered_by_its_name() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let code = code(&stage, &client).await;
    for (changes, status, error) in [
        (&[("grant_type", "")][..], 400, "invalid_request"),
        (&[("grant_type", "password")], 400, "unsupported_grant_type"),
        (
            &[("grant_type", "client_credentials")],
            400,
            "unsupported_grant_type",
        ),
        (&[("code", "")], 400, "invalid_request"),
        (&[("redirect_uri", "")], 400, "invalid_request"),
        (&[("code_verifier", "")], 400, "invalid_request"),
        (&[("client_id", "")], 401, "invalid_client"),
        (&[("client_id", "x")], 401, "invalid_client"),
        (&[("code", "x")], 400, "invalid_grant"),
        (
            &[("resource", "https://evil.example/mcp")],
            400,
            "invalid_target",
        ),
        (
            &[("resource", "https://mcp.example.com")],
            400,
            "invalid_target",
        ),
    ] {
        let reply = redeemed(&stage, &client, &code, changes).await;
        assert_eq!(reply.error(), (status, error.to_owned()), "{changes:?}");
        let has_challenge = reply.headers.contains_key("www-authenticate");
        assert_eq!(has_challenge, status == 401, "{changes:?}");
    }
    for twice in [
        "grant_type",
        "code",
        "redirect_uri",
        "code_verifier",
        "client_id",
    ] {
        let mut form = client.redemption(&code);
        form.push((twice, "x"));
        let reply = stage.token(&form).await;
        assert_eq!(
            reply.error(),
            (400, "invalid_request".to_owned()),
            "{twice}"
        );
    }
    // None of these requests used up the code.
    assert_eq!(stage.redeem(&client, &code).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn only_a_form_by_post_is_read() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let code = code(&stage, &client).await;
    let form = encoded(&client.redemption(&code));
    for (kind, body) in [
        (
            "application/json",
            json!({ "grant_type": "authorization_code" }).to_string(),
        ),
        ("text/plain", form.clone()),
        ("multipart/form-data; boundary=x", form.clone()),
        ("", form.clone()),
    ] {
        let headers = [("content-type", kind)];
        let reply = stage
            .send(request(Method::POST, "/token", &headers, body.into()))
            .await;
        assert_eq!(reply.error(), (400, "invalid_request".to_owned()), "{kind}");
    }
    let form_type = [("content-type", "application/x-www-form-urlencoded")];
    let long = format!("{form}&x={}", "a".repeat(70_000));
    for body in [long.into(), vec![0xff, 0xfe].into()] {
        let reply = stage
            .send(request(Method::POST, "/token", &form_type, body))
            .await;
        assert_eq!(reply.error(), (400, "invalid_request".to_owned()));
    }
    // Every reverse proxy would log a code in a query.
    let path = format!("/token?{form}");
    let reply = stage
        .send(request(Method::POST, &path, &form_type, "".into()))
        .await;
    assert_ne!(reply.status, StatusCode::OK);
    let reply = stage.get(&path).await;
    assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED);
    let with_charset = [(
        "content-type",
        "Application/X-WWW-form-urlencoded; charset=UTF-8",
    )];
    let reply = stage
        .send(request(Method::POST, "/token", &with_charset, form.into()))
        .await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
}

#[tokio::test(start_paused = true)]
async fn a_code_is_good_for_a_minute() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    for (seconds, is_good) in [(59, true), (61, false)] {
        let code = code(&stage, &client).await;
        stage
            .tenant
            .time()
            .advance(Duration::from_secs(seconds))
            .await;
        let reply = stage.redeem(&client, &code).await;
        match is_good {
            true => assert_eq!(reply.status, StatusCode::OK),
            false => assert_eq!(reply.error(), (400, "invalid_grant".to_owned())),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_code_is_bound_to_client_redirect_uri_and_verifier_and_a_wrong_one_costs_nothing() {
    let stage = Stage::new().await;
    let uris = json!({ "redirect_uris": [REDIRECT, "https://client.example/other"] });
    let client = stage.client_with(uris.clone()).await;
    let other = stage.client_with(uris).await;
    let code = code(&stage, &client).await;
    let (near, long) = (format!("{VERIFIER}x"), "a".repeat(129));
    for changes in [
        [("client_id", &*other.id)],
        [("redirect_uri", "https://client.example/other")],
        [("redirect_uri", "https://client.example/callback/")],
        [("code_verifier", &near)],
        [("code_verifier", &VERIFIER[1..])],
        [("code_verifier", &VERIFIER[..42])],
        [("code_verifier", &long)],
        // The challenge itself, which would be right with the method `plain`.
        [("code_verifier", &crate::support::challenge())],
    ] {
        let reply = redeemed(&stage, &client, &code, &changes).await;
        assert_eq!(
            reply.error(),
            (400, "invalid_grant".to_owned()),
            "{changes:?}"
        );
    }
    assert_eq!(stage.redeem(&client, &code).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_port_of_this_machine_belongs_to_the_code() {
    let stage = Stage::new().await;
    let client = stage
        .client_with(json!({ "redirect_uris": ["http://localhost/callback"] }))
        .await;
    let changes = [("redirect_uri", "http://localhost:5000/callback")];
    let code = Browser::new(&stage);
    let code = {
        let mut browser = code;
        let at_entra = browser.goes_to_entra(&client, &changes).await;
        let callback = stage.tenant.people().sign_in("ada", &at_entra);
        let location = browser.come_back(&callback).await.location();
        assert!(
            location.starts_with("http://localhost:5000/callback?"),
            "{location}"
        );
        crate::support::parameter(&location.parse().unwrap(), "code").unwrap()
    };
    for (uri, is_good) in [
        ("http://localhost/callback", false),
        ("http://localhost:5001/callback", false),
        ("http://localhost:5000/callback", true),
    ] {
        let reply = redeemed(&stage, &client, &code, &[("redirect_uri", uri)]).await;
        assert_eq!(reply.status == StatusCode::OK, is_good, "{uri}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_code_that_is_used_again_later_ends_what_it_came_to() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let code = code(&stage, &client).await;
    let tokens = stage.redeem(&client, &code).await.json();
    assert!(stage.verify(&tokens["access_token"]).await.is_ok());

    stage.tenant.time().advance(Duration::from_secs(11)).await;
    let again = stage.redeem(&client, &code).await;
    assert_eq!(again.error(), (400, "invalid_grant".to_owned()));
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.error(), (400, "invalid_grant".to_owned()));
    // The Layer's last check of the grant may be 30 s old.
    stage.tenant.time().advance(GRANT_CHECK).await;
    assert!(stage.verify(&tokens["access_token"]).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_code_is_remembered_as_used_for_longer_than_it_was_good() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let code = code(&stage, &client).await;
    let tokens = stage.redeem(&client, &code).await.json();
    stage
        .tenant
        .time()
        .advance(Duration::from_secs(10 * 60))
        .await;
    let again = stage.redeem(&client, &code).await;
    assert_eq!(again.error(), (400, "invalid_grant".to_owned()));
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.error(), (400, "invalid_grant".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_code_that_is_used_twice_at_once_comes_to_one_grant() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let client = stage.client().await;
    let code = code(&stage, &client).await;
    let both = tokio::join!(stage.redeem(&client, &code), stage.redeem(&client, &code));
    let token = |reply: Reply| {
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        reply.json()["refresh_token"].clone()
    };
    let (one, other) = (token(both.0), token(both.1));
    assert_eq!(one, other);
    assert_eq!(store.count("grant/").await, 1, "nothing is left over");
    let refreshed = stage.refresh(&client, &one).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_did_not_receive_its_tokens_gets_them_again_within_ten_seconds() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let client = stage.client().await;
    for (seconds, is_good) in [(0, true), (10, true), (11, false)] {
        let code = code(&stage, &client).await;
        let lost = stage.redeem(&client, &code).await.json();
        let grants = store.count("grant/").await;
        let time = stage.tenant.time();
        time.advance(Duration::from_secs(seconds)).await;
        let again = stage.redeem(&client, &code).await;
        if is_good {
            assert_eq!(again.status, StatusCode::OK, "{}", again.text());
            let again = again.json();
            assert_eq!(again["refresh_token"], lost["refresh_token"]);
            assert_eq!(store.count("grant/").await, grants, "no second grant");
            assert!(stage.verify(&again["access_token"]).await.is_ok());
            stage.refresh(&client, &again["refresh_token"]).await;
        } else {
            assert_eq!(again.error(), (400, "invalid_grant".to_owned()));
            assert_eq!(store.count("grant/").await, grants - 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_code_that_is_used_again_after_a_refresh_ends_what_it_came_to_at_once() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let code = code(&stage, &client).await;
    let tokens = stage.redeem(&client, &code).await.json();
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    let again = stage.redeem(&client, &code).await;
    assert_eq!(again.error(), (400, "invalid_grant".to_owned()));
    let ended = &refreshed.json()["refresh_token"];
    let ended = stage.refresh(&client, ended).await;
    assert_eq!(ended.error(), (400, "invalid_grant".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_used_code_that_comes_without_its_proof_gets_and_ends_nothing() {
    let stage = Stage::new().await;
    let (client, other) = (stage.client().await, stage.client().await);
    let code = code(&stage, &client).await;
    let tokens = stage.redeem(&client, &code).await.json();
    let near = format!("{VERIFIER}x");
    for changes in [
        [("client_id", &*other.id)],
        [("redirect_uri", "https://client.example/other")],
        [("code_verifier", &near)],
    ] {
        let reply = redeemed(&stage, &client, &code, &changes).await;
        assert_eq!(reply.error(), (400, "invalid_grant".to_owned()));
        assert!(reply.json()["access_token"].is_null());
    }
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
}

/// Checks a use of the code that the store did not confirm, so that the client repeats it.
#[tokio::test(start_paused = true)]
async fn a_code_whose_use_the_store_did_not_confirm_can_be_sent_again() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let client = stage.client().await;
    let code = code(&stage, &client).await;
    store.swaps_are(Swaps::CodeDoneUnsaid);
    let put_off = stage.redeem(&client, &code).await;
    assert_eq!(put_off.error(), (503, "temporarily_unavailable".to_owned()));
    store.swaps_are(Swaps::Done);
    stage.tenant.time().advance(Duration::from_secs(5)).await;
    let tokens = stage.redeem(&client, &code).await;
    assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.text());
    assert_eq!(store.count("grant/").await, 1);
    // The grant has its full lifetime, although the first request did not get so far.
    stage.tenant.time().advance(29 * 24 * HOUR).await;
    let refreshed = stage
        .refresh(&client, &tokens.json()["refresh_token"])
        .await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
}

#[tokio::test(start_paused = true)]
async fn a_code_of_a_sign_in_that_an_operator_ended_gets_nothing_again() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let code = code(&stage, &client).await;
    let tokens = stage.redeem(&client, &code).await.json();
    let caller = stage.verify(&tokens["access_token"]).await.unwrap();
    let hash = caller.registered_client().unwrap();
    stage.proxy.end_sign_ins_of_client(hash).await.unwrap();
    let again = stage.redeem(&client, &code).await;
    assert_eq!(again.error(), (400, "invalid_grant".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_code_is_good_for_a_minute_even_if_the_store_still_has_it() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    for (seconds, is_good) in [(60, true), (61, false)] {
        let code = code(&stage, &client).await;
        // For the store no time has passed.
        stage
            .tenant
            .time()
            .jump_forward(Duration::from_secs(seconds));
        let reply = stage.redeem(&client, &code).await;
        assert_eq!(reply.status == StatusCode::OK, is_good, "{seconds}");
        if !is_good {
            let text = reply.json()["error_description"].clone();
            assert_eq!(text, "the code is more than a minute old");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_code_of_entras_is_no_code_here() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    let entras = crate::support::parameter(&callback.parse().unwrap(), "code").unwrap();
    let reply = stage.redeem(&client, &entras).await;
    assert_eq!(reply.error(), (400, "invalid_grant".to_owned()));
    assert!(
        browser
            .come_back(&callback)
            .await
            .location()
            .contains("code=")
    );
}

#[tokio::test(start_paused = true)]
async fn access_tokens_last_as_long_as_is_set_and_are_for_this_resource_alone() {
    let span = Duration::from_secs(600);
    let stage =
        Stage::with(|settings| settings.lifetimes(Lifetimes::default().access_token(span))).await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    assert_eq!(tokens["expires_in"], 600);
    let claims = crate::support::claims(&tokens["access_token"]);
    assert_eq!(claims["aud"], RESOURCE);
    assert!(stage.verify(&tokens["access_token"]).await.is_ok());
    // Ten minutes, and the clock skew that the Layer allows.
    stage
        .tenant
        .time()
        .advance(Duration::from_secs(600 + 301))
        .await;
    assert!(stage.verify(&tokens["access_token"]).await.is_err());
    // Neither a refresh token nor a client id is an access token.
    assert!(stage.verify(&tokens["refresh_token"]).await.is_err());
    assert!(stage.verify(&json!(client.id)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn where_tokens_are_passed_through_they_are_entras_for_this_api() {
    let stage = Stage::with(|settings| settings.dangerous().issue_entra_tokens()).await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let claims = crate::support::claims(&tokens["access_token"]);
    assert_eq!(claims["aud"], crate::support::APP);
    assert_ne!(claims["iss"], crate::support::PUBLIC);
    assert!(tokens["expires_in"].as_u64().unwrap() <= 3_599);
    assert!(stage.verify(&tokens["access_token"]).await.is_ok());
    // The client does not receive Entra's refresh token.
    let entras = stage.tenant.token_endpoint().requests().pop().unwrap();
    assert_eq!(entras.parameter("grant_type"), Some("authorization_code"));

    stage.tenant.time().advance(HOUR).await;
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
    let refreshed = refreshed.json();
    assert_ne!(refreshed["access_token"], tokens["access_token"]);
    assert!(refreshed["expires_in"].as_u64().unwrap() > 3_000);
    assert!(stage.verify(&refreshed["access_token"]).await.is_ok());
    let asked = stage.tenant.token_endpoint().requests().pop().unwrap();
    let entras = asked.parameter("refresh_token").unwrap();
    assert_ne!(tokens["refresh_token"], entras);
}

#[tokio::test(start_paused = true)]
async fn a_script_asks_first_and_may() {
    let stage = Stage::new().await;
    for path in ["/token", "/register"] {
        let headers = [
            ("origin", "https://inspector.example"),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type"),
        ];
        let reply = stage
            .send(request(Method::OPTIONS, path, &headers, "".into()))
            .await;
        assert_eq!(reply.status, StatusCode::NO_CONTENT, "{path}");
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        assert!(
            reply
                .header("access-control-allow-methods")
                .contains("POST")
        );
        assert!(
            reply
                .header("access-control-allow-headers")
                .contains("authorization")
        );
        assert!(
            !reply
                .headers
                .contains_key("access-control-allow-credentials")
        );
    }
    let reply = stage.send(post("/consent", &[], &[])).await;
    assert!(!reply.headers.contains_key("access-control-allow-origin"));
}
