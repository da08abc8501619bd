//! Tests of the errors for responses without tokens.

use std::time::Duration;

use entra_confidential_client::TokenErrorKind;
use http::HeaderValue;
use proptest::prelude::*;
use serde_json::json;

use crate::support::{Script, Step, answer, code, error_of, json, refresh, refusal, tokens};

#[tokio::test]
async fn a_refusal_tells_the_operator_everything_but_the_description() {
    let mut document = refusal(400, "invalid_grant", 50_173);
    document["suberror"] = json!("bad_token");
    let error = error_of(json(400, &document)).await;
    assert_eq!(error.kind(), TokenErrorKind::InvalidGrant);
    assert_eq!(error.error(), Some("invalid_grant"));
    assert_eq!(error.suberror(), Some("bad_token"));
    assert_eq!(error.status(), Some(400));
    assert_eq!(error.error_codes().as_deref(), Some("AADSTS50173"));
    let correlation_id = "66666666-7777-8888-9999-aaaaaaaaaaaa";
    assert_eq!(error.correlation_id(), Some(correlation_id));
    let trace_id = "11111111-2222-3333-4444-555555555555";
    assert_eq!(error.trace_id(), Some(trace_id));
    assert_eq!(error.timestamp(), Some("2026-11-26 13:00:00Z"));
    assert!(error.remedy().contains("revoked"), "{}", error.remedy());
    assert!(!error.is_transient());
    assert_eq!(error.code(), "invalid_grant");
    let expected = format!(
        "Entra no longer accepts the code, refresh token or assertion (status 400, invalid_grant, \
         suberror bad_token, AADSTS50173, correlation id {correlation_id})"
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(
        format!("{error:?}"),
        format!("TokenError(invalid_grant: {expected})")
    );
    assert_eq!(format!("{:?}", error.clone()), format!("{error:?}"));
}

/// Returns the refusal of a refresh with these members.
fn refused(error: &str, suberror: &str, codes: &[u64]) -> Step {
    let mut document = refusal(400, error, 0);
    document["error_codes"] = json!(codes);
    if !suberror.is_empty() {
        document["suberror"] = json!(suberror);
    }
    json(400, &document)
}

async fn kind_of(error: &str, suberror: &str, codes: &[u64]) -> TokenErrorKind {
    error_of(refused(error, suberror, codes)).await.kind()
}

const ERRORS: [(&str, TokenErrorKind); 4] = [
    ("invalid_grant", TokenErrorKind::InvalidGrant),
    ("invalid_client", TokenErrorKind::InvalidClient),
    ("interaction_required", TokenErrorKind::InteractionRequired),
    ("invalid_scope", TokenErrorKind::Misconfigured),
];

const PASSING: [(u64, TokenErrorKind); 8] = [
    (50_196, TokenErrorKind::Throttled),
    (90_055, TokenErrorKind::Throttled),
    (50_033, TokenErrorKind::Unavailable),
    (501_621, TokenErrorKind::Unavailable),
    (90_006, TokenErrorKind::Unavailable),
    (90_024, TokenErrorKind::Unavailable),
    (90_033, TokenErrorKind::Unavailable),
    (90_090, TokenErrorKind::Unavailable),
];

const LASTING: [(u64, TokenErrorKind); 17] = [
    (50_132, TokenErrorKind::InvalidGrant),
    (50_133, TokenErrorKind::InvalidGrant),
    (50_173, TokenErrorKind::InvalidGrant),
    (70_008, TokenErrorKind::InvalidGrant),
    (700_082, TokenErrorKind::InvalidGrant),
    (700_084, TokenErrorKind::InvalidGrant),
    (70_043, TokenErrorKind::InvalidGrant),
    (50_055, TokenErrorKind::InteractionRequired),
    (50_072, TokenErrorKind::InteractionRequired),
    (50_074, TokenErrorKind::InteractionRequired),
    (50_076, TokenErrorKind::InteractionRequired),
    (50_078, TokenErrorKind::InteractionRequired),
    (50_079, TokenErrorKind::InteractionRequired),
    (50_158, TokenErrorKind::InteractionRequired),
    (65_001, TokenErrorKind::ConsentRequired),
    (50_105, TokenErrorKind::AccessDenied),
    (53_003, TokenErrorKind::AccessDenied),
];

#[tokio::test]
async fn a_number_outside_the_table_decides_nothing() {
    for code in [7_000_222, 54_005, 70_000, 90_002, 90_036, 9_002_313] {
        for (error, expected) in ERRORS {
            assert_eq!(
                kind_of(error, "", &[code]).await,
                expected,
                "{error} {code}"
            );
        }
    }
}

#[tokio::test]
async fn a_number_that_passes_by_itself_is_retried_later_whatever_the_error() {
    for (code, expected) in PASSING {
        for (error, _) in ERRORS {
            let found = error_of(refused(error, "", &[1, code, 2])).await;
            assert_eq!(found.kind(), expected, "{error} {code}");
            assert!(found.is_transient());
            let five_minutes = Duration::from_secs(300);
            let wait = (code == 50_196).then_some(five_minutes);
            assert_eq!(found.retry_after(), wait, "{code}");
        }
    }
    let found = error_of(refused("invalid_grant", "", &[50_196])).await;
    assert!(found.remedy().contains("wait 5 minutes"), "{found}");
    // The first of several decides.
    let both = error_of(refused("invalid_grant", "", &[90_033, 50_196])).await;
    assert_eq!(both.kind(), TokenErrorKind::Unavailable);
    assert_eq!(both.retry_after(), Some(Duration::from_secs(300)));
}

#[tokio::test]
async fn another_number_makes_only_an_invalid_grant_more_precise() {
    let disabled = (50_057, TokenErrorKind::AccessDenied);
    for (code, expected) in LASTING.into_iter().chain([disabled]) {
        for (error, by_error) in ERRORS {
            let expected = match error {
                "invalid_grant" => expected,
                _ => by_error,
            };
            let found = error_of(refused(error, "", &[1, code])).await;
            assert_eq!(found.kind(), expected, "{error} {code}");
            assert!(!found.is_transient() && found.retry_after().is_none());
        }
    }
    let found = error_of(refused("invalid_grant", "", &[50_057])).await;
    assert!(found.remedy().contains("disabled"), "{}", found.remedy());
    let found = error_of(refused("invalid_grant", "", &[50_105])).await;
    assert!(found.remedy().contains("assign"), "{}", found.remedy());
}

#[tokio::test]
async fn a_suberror_of_the_table_makes_an_invalid_grant_more_precise() {
    for (suberror, expected) in [
        ("basic_action", TokenErrorKind::InteractionRequired),
        ("additional_action", TokenErrorKind::InteractionRequired),
        ("user_password_expired", TokenErrorKind::InteractionRequired),
        ("consent_required", TokenErrorKind::ConsentRequired),
        ("bad_token", TokenErrorKind::InvalidGrant),
        ("token_expired", TokenErrorKind::InvalidGrant),
        ("message_only", TokenErrorKind::AccessDenied),
        ("client_mismatch", TokenErrorKind::InvalidGrant),
    ] {
        assert_eq!(kind_of("invalid_grant", suberror, &[]).await, expected);
    }
    let found = kind_of("interaction_required", "message_only", &[53_003]).await;
    assert_eq!(found, TokenErrorKind::InteractionRequired);
}

/// Checks that a refusal for good is not retried because of another number in it.
#[tokio::test]
async fn a_number_that_passes_counts_only_if_nothing_speaks_against_it() {
    for (code, expected) in LASTING {
        for codes in [[50_196, code], [code, 50_196]] {
            assert_eq!(kind_of("invalid_grant", "", &codes).await, expected);
        }
    }
    // The ninth number is not logged, but counts.
    let mut codes = vec![50_196; 8];
    codes.push(50_173);
    let found = kind_of("invalid_grant", "", &codes).await;
    assert_eq!(found, TokenErrorKind::InvalidGrant);
    for suberror in ["bad_token", "token_expired"] {
        let found = kind_of("invalid_grant", suberror, &[50_196]).await;
        assert_eq!(found, TokenErrorKind::InvalidGrant);
    }
    let found = kind_of("invalid_grant", "something_new", &[50_196]).await;
    assert_eq!(found, TokenErrorKind::Throttled);

    let mut document = refusal(400, "invalid_grant", 50_196);
    document["claims"] = json!("{}");
    let found = error_of(json(400, &document)).await;
    assert_eq!(found.kind(), TokenErrorKind::InteractionRequired);
    assert_eq!(found.retry_after(), None);

    // A number counts only as a number, and only in a refusal of Entra's form.
    for document in [
        json!({"error": "invalid_grant", "error_description": "AADSTS50196: x"}),
        json!({"error": "invalid_grant", "error_codes": ["50196"]}),
        json!({"error": "invalid_grant", "error_codes": 50_196}),
    ] {
        let found = error_of(json(400, &document)).await;
        assert_eq!(found.kind(), TokenErrorKind::InvalidGrant, "{document}");
    }
    for status in [200, 302, 400] {
        let found = error_of(json(status, &json!({"error_codes": [50_196]}))).await;
        assert_eq!(found.kind(), TokenErrorKind::InvalidResponse);
    }
}

#[tokio::test]
async fn claims_are_handed_on_unchanged() {
    let claims = "{\"access_token\":{\"capolids\":{\"essential\":true,\"values\":[\"ü\\n\"]}}}";
    let mut document = refusal(400, "invalid_grant", 50_076);
    document["claims"] = json!(claims);
    let error = error_of(json(400, &document)).await;
    assert_eq!(error.kind(), TokenErrorKind::InteractionRequired);
    assert_eq!(error.claims(), Some(claims));
    assert!(!format!("{error} {error:?}").contains("capolids"));

    document["claims"] = json!("");
    let error = error_of(json(400, &document)).await;
    assert_eq!(
        (error.kind(), error.claims()),
        (TokenErrorKind::InteractionRequired, None)
    );
}

#[tokio::test]
async fn busy_servers_say_when_to_come_again() {
    for (status, kind) in [
        (429, TokenErrorKind::Throttled),
        (503, TokenErrorKind::Unavailable),
    ] {
        let mut response = answer(status, "<html>busy</html>");
        let headers = response.headers_mut();
        headers.insert("retry-after", HeaderValue::from_static("86400"));
        let error = error_of(Step::Answer(response)).await;
        assert_eq!(error.kind(), kind);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(300)));
        assert!(error.is_transient());

        let mut response = answer(status, "{}");
        let headers = response.headers_mut();
        let date = |text| HeaderValue::from_static(text);
        headers.insert("date", date("Wed, 25 Nov 2026 10:00:00 GMT"));
        headers.insert("retry-after", date("Wed, 25 Nov 2026 10:00:30 GMT"));
        let error = error_of(Step::Answer(response)).await;
        assert_eq!(
            (error.kind(), error.retry_after()),
            (kind, Some(Duration::from_secs(30)))
        );
    }
}

#[tokio::test]
async fn what_is_not_entras_answer_is_an_invalid_response() {
    for (status, body) in [
        (200, "<html>sign in to the network</html>".to_owned()),
        (200, String::new()),
        (200, "[]".to_owned()),
        (200, "{}".to_owned()),
        (200, refusal(200, "invalid_grant", 1).to_string()),
        (204, String::new()),
        (201, tokens().to_string()),
        (302, String::new()),
        (307, String::new()),
        (400, "<html>bad request</html>".to_owned()),
        (403, "{}".to_owned()),
        (404, "not found".to_owned()),
        (407, String::new()),
        (400, json!({"error": 1}).to_string()),
        (400, json!({"error": "line\nbreak"}).to_string()),
        (400, json!({"error": "something_new"}).to_string()),
        (400, json!({"error": "x".repeat(65)}).to_string()),
    ] {
        let error = error_of(Step::Answer(answer(status, body.clone()))).await;
        assert_eq!(
            error.kind(),
            TokenErrorKind::InvalidResponse,
            "{status} {body}"
        );
        assert_eq!(error.status(), Some(status));
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
        let is_known = body.contains("something_new");
        assert_eq!(error.error().is_some(), is_known, "{error}");
    }
}

#[tokio::test]
async fn an_answer_is_read_up_to_its_limit() {
    let padded = |length: usize| {
        let document = tokens().to_string();
        let padding = " ".repeat(length - document.len());
        document + &padding
    };
    let limit = 256 * 1024;
    let script = Script::new([Step::Answer(answer(200, padded(limit)))]);
    script.client().send(refresh()).await.unwrap();

    let error = error_of(Step::Answer(answer(200, padded(limit + 1)))).await;
    assert_eq!(error.kind(), TokenErrorKind::InvalidResponse);
    assert!(error.to_string().contains("longer"), "{error}");

    let error = error_of(Step::Answer(answer(503, padded(limit + 1)))).await;
    assert_eq!(error.kind(), TokenErrorKind::Unavailable);
}

#[tokio::test]
async fn an_error_without_ids_has_the_one_that_was_sent() {
    let script = Script::new([Step::Answer(answer(502, "")), Step::Fail("broken".into())]);
    for _ in 0..2 {
        let error = script.client().send(code()).await.unwrap_err();
        let sent = script.sent().pop().unwrap();
        let sent = sent.headers["client-request-id"].to_str().unwrap();
        assert_eq!(error.correlation_id(), Some(sent));
    }
    let [first, second] = &script.sent()[..] else {
        panic!("two requests");
    };
    assert_ne!(
        first.headers["client-request-id"],
        second.headers["client-request-id"]
    );
}

#[tokio::test]
async fn a_client_that_fails_is_no_response() {
    let error = error_of(Step::Fail("connection\nreset".into())).await;
    assert_eq!(error.kind(), TokenErrorKind::NoResponse);
    assert!(error.is_transient() && error.status().is_none());
    assert!(error.to_string().contains("connection\\nreset"), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_are_an_error_unless_they_are_tokens(
        status in prop::sample::select(vec![200_u16, 204, 302, 400, 401, 429, 500, 503]),
        body: Vec<u8>,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let error = runtime.block_on(error_of(Step::Answer(answer(status, body))));
        let expected = match status {
            429 => TokenErrorKind::Throttled,
            500.. => TokenErrorKind::Unavailable,
            _ => TokenErrorKind::InvalidResponse,
        };
        prop_assert_eq!(error.kind(), expected);
    }

    #[test]
    fn any_members_are_told_in_one_short_line(
        error in "\\PC*|invalid_grant", suberror: String, id: String, codes: Vec<u64>, claims: String,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let document = json!({
            "error": error, "suberror": suberror, "correlation_id": id, "trace_id": id,
            "timestamp": id, "error_codes": codes, "claims": claims,
        });
        let error = runtime.block_on(error_of(json(400, &document)));
        let text = format!("{error} {error:?}");
        prop_assert!(text.len() < 1_200 && !text.contains(char::is_control), "{}", text);
    }
}
