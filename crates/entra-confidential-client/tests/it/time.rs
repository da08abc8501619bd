//! Tests of the time limit and of the one repetition, on paused time.

use std::time::Duration;

use entra_confidential_client::{Secret, TokenErrorKind, TokenRequest};
use http::HeaderValue;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{
    CLIENT_SECRET, Logs, SCOPES, Script, Step, USER_TOKEN, answer, code, json, refresh, refusal,
    tokens,
};

fn busy(status: u16, retry_after: &'static str) -> Step {
    let mut response = answer(status, "{}");
    let headers = response.headers_mut();
    headers.insert("retry-after", HeaderValue::from_static(retry_after));
    Step::Answer(response)
}

fn slow(seconds: u64, step: Step) -> Step {
    Step::Slow(Duration::from_secs(seconds), Box::new(step))
}

#[tokio::test(start_paused = true)]
async fn a_request_takes_ten_seconds_at_most() {
    let started = Instant::now();
    let script = Script::new([slow(3_600, json(200, &tokens()))]);
    let error = script.client().send(refresh()).await.unwrap_err();
    assert_eq!(started.elapsed().as_secs(), 10);
    assert_eq!(error.kind(), TokenErrorKind::NoResponse);
    assert!(error.to_string().contains("within 10s"), "{error}");
    assert!(error.correlation_id().is_some());

    let script = Script::new([slow(9, json(200, &tokens()))]);
    script.client().send(refresh()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_a_setting_and_holds_for_the_answers_body_too() {
    let started = Instant::now();
    let script = Script::new([Step::Drip]);
    let settings = script.settings(Secret::new(CLIENT_SECRET));
    let entra = settings.timeout(Duration::from_secs(3)).build().unwrap();
    let error = entra.send(refresh()).await.unwrap_err();
    assert_eq!(started.elapsed().as_secs(), 3);
    assert_eq!(error.kind(), TokenErrorKind::NoResponse);
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_asked_once_more_if_it_says_soon() {
    for request in [
        refresh(),
        TokenRequest::client_credentials(["https://graph.microsoft.com/.default"]),
        TokenRequest::on_behalf_of(USER_TOKEN, SCOPES),
    ] {
        for status in [429, 503] {
            let started = Instant::now();
            let script = Script::new([busy(status, "2"), json(200, &tokens())]);
            script.client().send(request.clone()).await.unwrap();
            assert_eq!(started.elapsed().as_secs(), 2);
            assert_eq!(script.sent().len(), 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_not_asked_a_third_time() {
    let script = Script::new([busy(503, "1"), busy(429, "1")]);
    let error = script.client().send(refresh()).await.unwrap_err();
    assert_eq!(error.kind(), TokenErrorKind::Throttled);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
    assert_eq!(script.sent().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_repeated_that_a_wait_would_not_help() {
    for step in [
        busy(503, "3"),
        busy(400, "1"),
        busy(302, "1"),
        Step::Answer(answer(429, "{}")),
        Step::Answer(answer(204, "")),
        Step::Answer(answer(404, "<html>not found</html>")),
        json(400, &refusal(400, "invalid_grant", 50_173)),
        json(400, &refusal(400, "invalid_grant", 50_196)),
        json(429, &refusal(429, "invalid_grant", 50_196)),
        json(503, &refusal(503, "temporarily_unavailable", 50_196)),
        slow(4, busy(503, "2")),
        slow(5, Step::Answer(answer(500, ""))),
        slow(6, Step::Fail("reset".into())),
    ] {
        let script = Script::new([step]);
        script.client().send(refresh()).await.unwrap_err();
        assert_eq!(script.sent().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_may_succeed_at_once_is_sent_once_more() {
    let document = json!({"error": "temporarily_unavailable", "error_codes": [90_033]});
    let cases: [(fn() -> Step, u64); 8] = [
        (|| Step::Answer(answer(500, "<html>")), 500),
        (|| Step::Answer(answer(502, "")), 500),
        (|| Step::Answer(answer(503, "{}")), 500),
        (|| Step::Answer(answer(504, "{}")), 500),
        (|| Step::Answer(answer(200, "{\"access_to")), 500),
        (|| Step::Answer(answer(200, "<html>sign in</html>")), 500),
        (|| Step::Fail("reset".into()), 0),
        (|| slow(4, Step::Fail("reset".into())), 4_000),
    ];
    for request in [
        refresh(),
        TokenRequest::client_credentials(["https://graph.microsoft.com/.default"]),
        TokenRequest::on_behalf_of(USER_TOKEN, SCOPES),
    ] {
        for (step, pause) in cases {
            let started = Instant::now();
            let script = Script::new([step(), json(200, &tokens())]);
            script.client().send(request.clone()).await.unwrap();
            assert_eq!(started.elapsed().as_millis(), u128::from(pause));

            let script = Script::new([step(), json(400, &document)]);
            let error = script.client().send(request.clone()).await.unwrap_err();
            assert_eq!(error.kind(), TokenErrorKind::Unavailable);
            assert_eq!(script.sent().len(), 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_entra_reports_is_not_fed_whatever_it_says() {
    for status in [400, 429] {
        let mut response = answer(status, refusal(status, "invalid_grant", 50_196).to_string());
        let headers = response.headers_mut();
        headers.insert("retry-after", HeaderValue::from_static("1"));
        let script = Script::new([Step::Answer(response)]);
        let error = script.client().send(refresh()).await.unwrap_err();
        assert_eq!(error.kind(), TokenErrorKind::Throttled);
        // The loop is over 5 minutes later, and no sooner.
        assert_eq!(error.retry_after(), Some(Duration::from_secs(300)));
        assert_eq!(script.sent().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_code_is_sent_once_whatever_happens() {
    for step in [
        busy(503, "0"),
        busy(429, "0"),
        Step::Answer(answer(500, "")),
        Step::Answer(answer(200, "<html>")),
        Step::Fail("reset".into()),
        slow(60, json(200, &tokens())),
    ] {
        let script = Script::new([step]);
        script.client().send(code()).await.unwrap_err();
        assert_eq!(script.sent().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_has_the_first_error_of_a_kind_and_then_one_a_minute() {
    let refused = |error| json(400, &refusal(400, error, 50_173));
    let mut steps: Vec<Step> = (0..1_000).map(|_| refused("invalid_grant")).collect();
    steps.push(refused("consent_required"));
    steps.push(refused("invalid_grant"));
    let script = Script::new(steps);
    let entra = script.client();
    let logs = Logs::capture();
    for _ in 0..1_000 {
        entra.send(code()).await.unwrap_err();
    }
    assert_eq!(logs.count("WARN"), 1, "{}", logs.count("WARN"));
    assert_eq!(logs.count("DEBUG"), 999);
    entra.send(code()).await.unwrap_err();
    assert_eq!(logs.count("WARN"), 2);
    tokio::time::advance(Duration::from_secs(60)).await;
    entra.send(code()).await.unwrap_err();
    assert_eq!(logs.count("WARN"), 3);
    assert!(logs.text().contains("count=1000"));
}
