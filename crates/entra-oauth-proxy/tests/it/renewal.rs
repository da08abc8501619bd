//! Tests of the requests to Entra at a refresh, and of the effects of Entra's response.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::logbook::Logbook;
use crate::refresh::{invalid_grant, token_of};
use crate::support::{APP, Browser, HOUR, MINUTE, Stage, parameter};

#[tokio::test(start_paused = true)]
async fn while_entra_does_not_answer_a_refresh_is_503_and_the_token_stays_good() {
    type Fail = fn(&Stage);
    let cases: [(&str, Fail); 6] = [
        ("failing", |s| {
            s.tenant.token_endpoint().fail_with(500);
        }),
        ("throttled", |s| {
            s.tenant.token_endpoint().throttle(429, "60");
        }),
        ("hanging", |s| {
            s.tenant.token_endpoint().hang();
        }),
        ("a page", |s| {
            s.tenant.token_endpoint().answer_html();
        }),
        ("cut off", |s| {
            s.tenant.token_endpoint().truncate();
        }),
        ("a wrong secret", |s| {
            let body = r#"{"error":"invalid_client","error_codes":[7000222]}"#;
            s.tenant
                .token_endpoint()
                .answer_with(401, "application/json", body);
        }),
    ];
    let stage = Stage::new().await;
    let client = stage.client().await;
    for (case, fail) in cases {
        let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
        stage.tenant.time().advance(HOUR).await;
        fail(&stage);
        let reply = stage.refresh(&client, &token).await;
        let expected = match case {
            "a wrong secret" => "server_error",
            _ => "temporarily_unavailable",
        };
        assert_eq!(reply.error(), (503, expected.to_owned()), "{case}");
        if expected == "temporarily_unavailable" {
            let wait: u64 = reply.header("retry-after").parse().unwrap();
            assert_eq!(wait, if case == "throttled" { 60 } else { 10 }, "{case}");
        }
        stage.tenant.token_endpoint().recover();
        // Waits longer than the grace period, in which a replaced token would still work.
        stage.tenant.time().advance(Duration::from_secs(61)).await;
        let next = token_of(stage.refresh(&client, &token).await).await;
        assert_ne!(next, token, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn while_entras_own_token_is_good_entra_is_not_needed() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    stage.tenant.start_outage();
    stage
        .tenant
        .time()
        .advance(Duration::from_secs(54 * 60))
        .await;
    let token = token_of(stage.refresh(&client, &token).await).await;
    // In the last five minutes of Entra's token, the proxy asks Entra, but does not need its
    // response.
    stage
        .tenant
        .time()
        .advance(Duration::from_secs(2 * 60))
        .await;
    let token = token_of(stage.refresh(&client, &token).await).await;
    // After that, it needs Entra.
    stage
        .tenant
        .time()
        .advance(Duration::from_secs(4 * 60))
        .await;
    assert_eq!(
        stage.refresh(&client, &token).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    stage.tenant.end_outage();
    stage.tenant.time().advance(Duration::from_secs(10)).await;
    token_of(stage.refresh(&client, &token).await).await;
}

/// Checks the table "Entra is down" in `docs/operations.md`, with a token of Entra that lives for an
/// hour.
#[tokio::test(start_paused = true)]
async fn in_an_outage_of_two_hours_a_user_works_for_the_rest_of_two_tokens() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    stage.tenant.start_outage();
    let time = stage.tenant.time();
    // The last refresh before Entra's token expires.
    time.advance(59 * MINUTE).await;
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    let tokens = refreshed.json();
    for minutes in [2, 30, 26] {
        time.advance(minutes * MINUTE).await;
        let refused = stage.refresh(&client, &tokens["refresh_token"]).await;
        assert_eq!(refused.error().0, 503);
        assert!(stage.verify(&tokens["access_token"]).await.is_ok());
    }
    // 117 minutes have passed. The access token ends at 119, and with the clock skew at 124.
    time.advance(8 * MINUTE).await;
    let refused = stage.verify(&tokens["access_token"]).await;
    assert_eq!(refused.err(), Some("expired"));

    // A new user's sign-in ends with an error, also if Entra's page still works.
    let returned = Browser::new(&stage).signed_in(&client, "ada", &[]).await;
    let error = parameter(&returned, "error").unwrap();
    assert_eq!(error, "temporarily_unavailable");

    stage.tenant.end_outage();
    token_of(stage.refresh(&client, &tokens["refresh_token"]).await).await;
}

/// Checks a user whom the Layer's caller rule refuses from some moment on.
#[tokio::test(start_paused = true)]
async fn a_user_whom_this_service_blocks_is_signed_out_and_in_no_more() {
    let is_blocked = Arc::new(AtomicBool::new(false));
    let blocks = Arc::clone(&is_blocked);
    let stage = Stage::with(|settings| {
        let rule = async move |_| Ok::<_, String>(!blocks.load(Ordering::SeqCst));
        settings.auth(|auth| auth.caller_rule(rule))
    })
    .await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    is_blocked.store(true, Ordering::SeqCst);
    // The Layer calls the rule again when its last result has expired. A refresh calls the rule
    // when Entra issues another token.
    let hour = Duration::from_secs(56 * 60);
    stage.tenant.time().advance(hour).await;
    let access_token = &tokens["access_token"];
    let refused = stage.verify(access_token).await.unwrap_err();
    assert_eq!(refused, "caller_not_allowed");
    let log = Logbook::begin();
    let reply = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(reply.error(), invalid_grant());
    let lines = log.lines("WARN");
    let names_the_rule = |line: &String| line.contains("auth(|auth| auth.caller_rule(..))");
    assert!(lines.iter().any(names_the_rule), "{lines:#?}");
    assert!(log.lines("ERROR").is_empty());

    let mut browser = Browser::new(&stage);
    let callback = {
        let at_entra = browser.goes_to_entra(&client, &[]).await;
        stage.tenant.people().sign_in("ada", &at_entra)
    };
    let reply = browser.come_back(&callback).await;
    assert!(reply.location().contains("error=access_denied"));

    // A user who is allowed again has to sign in.
    is_blocked.store(false, Ordering::SeqCst);
    stage.tenant.time().advance(Duration::from_secs(2)).await;
    let reply = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(reply.error(), invalid_grant());
    let tokens = stage.sign_in(&client, "ada").await;
    assert!(stage.verify(&tokens["access_token"]).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_entra_ends_is_ended_here() {
    type End = fn(&Stage);
    let cases: [(&str, End); 4] = [
        ("disabled", |s| s.tenant.people().disable("ada")),
        ("sessions revoked", |s| {
            s.tenant.people().revoke_sessions("ada");
        }),
        ("consent withdrawn", |s| {
            s.tenant
                .people()
                .withdraw_consent(&format!("api://{APP}/read"));
        }),
        ("conditional access", |s| {
            s.tenant.people().require_interaction("ada");
        }),
    ];
    let stage = Stage::new().await;
    let client = stage.client().await;
    for (case, end) in cases {
        let tokens = stage.sign_in(&client, "ada").await;
        end(&stage);
        stage
            .tenant
            .time()
            .advance(Duration::from_secs(56 * 60))
            .await;
        assert!(
            stage.verify(&tokens["access_token"]).await.is_ok(),
            "{case}"
        );
        let reply = stage.refresh(&client, &tokens["refresh_token"]).await;
        assert_eq!(reply.error(), invalid_grant(), "{case}");
        assert!(!reply.text().contains("AADSTS"), "{case}");
        // The access tokens end as well.
        stage.tenant.time().advance(Duration::from_secs(31)).await;
        assert!(
            stage.verify(&tokens["access_token"]).await.is_err(),
            "{case}"
        );
        stage.tenant.people().enable("ada");
        let reply = stage.refresh(&client, &tokens["refresh_token"]).await;
        assert_eq!(reply.error(), invalid_grant(), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_of_somebody_else_do_not_renew_a_sign_in_and_do_not_end_it() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    stage.tenant.time().advance(HOUR).await;
    let user = |name| {
        stage
            .tenant
            .user(name)
            .scope("read")
            .for_api(APP)
            .client(APP)
    };
    let endpoint = stage.tenant.token_endpoint();
    for (case, others) in [
        ("another user", user("grace").mint()),
        (
            "an application",
            stage.tenant.app(APP).role("read").for_api(APP).mint(),
        ),
        (
            "another API",
            user("ada")
                .for_api("11111111-2222-4333-8444-555555555555")
                .mint(),
        ),
        ("Graph", stage.tenant.graph_token("ada").mint()),
        ("not signed", user("ada").bad_signature().mint()),
        (
            "this server",
            stage.sign_in(&client, "ada").await["access_token"]
                .as_str()
                .unwrap()
                .to_owned(),
        ),
    ] {
        let body = json!({ "token_type": "Bearer", "expires_in": 3_599, "access_token": others });
        endpoint.answer_with(200, "application/json", &body.to_string());
        let reply = stage.refresh(&client, &token).await;
        assert_eq!(reply.error(), (503, "server_error".to_owned()), "{case}");
        assert!(reply.json()["access_token"].is_null(), "{case}");
        endpoint.recover();
        stage.tenant.time().advance(Duration::from_secs(10)).await;
    }
    stage.tenant.time().advance(Duration::from_secs(61)).await;
    token_of(stage.refresh(&client, &token).await).await;
}

#[tokio::test(start_paused = true)]
async fn entras_newest_refresh_token_is_used_next_and_the_old_one_where_it_sends_none() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    let used = || {
        let asked = stage.tenant.token_endpoint().requests().pop().unwrap();
        asked.parameter("refresh_token").unwrap().to_owned()
    };
    let mut all = Vec::new();
    for _ in 0..2 {
        stage.tenant.time().advance(HOUR).await;
        token = token_of(stage.refresh(&client, &token).await).await;
        all.push(used());
    }
    assert_ne!(all[0], all[1]);
    stage.tenant.time().advance(HOUR).await;
    let access_token = stage
        .tenant
        .user("ada")
        .scope("read")
        .for_api(APP)
        .client(APP)
        .mint();
    let body = json!({ "token_type": "Bearer", "expires_in": 3_599, "access_token": access_token });
    let endpoint = stage.tenant.token_endpoint();
    endpoint.answer_with(200, "application/json", &body.to_string());
    token = token_of(stage.refresh(&client, &token).await).await;
    let without = used();
    endpoint.recover();
    stage.tenant.time().advance(HOUR).await;
    token_of(stage.refresh(&client, &token).await).await;
    assert_eq!(used(), without);
}
