//! Tests of each row of Entra's numbers and suberrors at a refresh, while Entra's token is good and
//! once it is over.
//!
//! The rows are those of `entra-confidential-client`, src/error/numbers.rs.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::refresh::{invalid_grant, token_of};
use crate::support::{MINUTE, Stage};

/// The numbers that pass by themselves, with the time until the next request in seconds.
const PASS: [(u64, u64); 8] = [
    (50_196, 300),
    (90_055, 10),
    (50_033, 10),
    (501_621, 10),
    (90_006, 10),
    (90_024, 10),
    (90_033, 10),
    (90_090, 10),
];

/// The numbers with which Entra ends a sign-in.
const END: [u64; 19] = [
    50_132, 50_133, 50_173, 70_008, 700_082, 700_084, 70_043, 50_055, 50_072, 50_074, 50_076,
    50_078, 50_079, 50_158, 65_001, 50_057, 50_105, 53_003, 999_999,
];

/// The suberrors with which Entra ends a sign-in.
const END_BY_SUBERROR: [&str; 7] = [
    "basic_action",
    "additional_action",
    "user_password_expired",
    "consent_required",
    "bad_token",
    "token_expired",
    "message_only",
];

/// Makes Entra refuse the next requests with this body.
fn refuses(stage: &Stage, body: &Value) {
    let endpoint = stage.tenant.token_endpoint();
    endpoint.answer_with(400, "application/json", &body.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_number_that_passes_by_itself_ends_no_sign_in() {
    for (number, wait) in PASS {
        for (age, is_good) in [(57 * MINUTE, true), (61 * MINUTE, false)] {
            let stage = Stage::new().await;
            let client = stage.client().await;
            let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
            let time = stage.tenant.time();
            time.advance(age).await;
            let body = json!({ "error": "invalid_grant", "error_codes": [number] });
            refuses(&stage, &body);
            let reply = stage.refresh(&client, &token).await;
            let token = match is_good {
                true => token_of(reply).await,
                false => {
                    let expected = (503, "temporarily_unavailable".to_owned());
                    assert_eq!(reply.error(), expected, "{number}");
                    assert_eq!(reply.header("retry-after"), wait.to_string(), "{number}");
                    token
                }
            };
            stage.tenant.token_endpoint().recover();
            let asked = stage.tenant.token_endpoint().requests().len();
            // Until then, nobody asks Entra again.
            time.advance(Duration::from_secs(wait - 1)).await;
            let early = stage.refresh(&client, &token).await;
            let status = match is_good && wait < 300 {
                true => StatusCode::OK,
                false => StatusCode::SERVICE_UNAVAILABLE,
            };
            // After 5 minutes, the good token of Entra is over, too.
            assert_eq!(early.status, status, "{number} {is_good}");
            assert_eq!(stage.tenant.token_endpoint().requests().len(), asked);
            let token = match early.status {
                StatusCode::OK => token_of(early).await,
                _ => token,
            };
            time.advance(2 * MINUTE).await;
            token_of(stage.refresh(&client, &token).await).await;
            assert_eq!(stage.tenant.token_endpoint().requests().len(), asked + 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_loop_during_an_early_renewal_is_noticed_by_nobody_and_not_fed() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    let time = stage.tenant.time();
    time.advance(30 * MINUTE).await;
    refuses(
        &stage,
        &json!({ "error": "invalid_grant", "error_codes": [50_196] }),
    );
    let endpoint = stage.tenant.token_endpoint();
    let before = endpoint.requests().len();
    for minute in 0..20_usize {
        token = token_of(stage.refresh(&client, &token).await).await;
        assert_eq!(endpoint.requests().len() - before, 1 + minute / 10);
        time.advance(MINUTE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_other_word_of_entra_ends_the_sign_in_however_good_its_token_is() {
    let numbers = END.map(|number| json!({ "error_codes": [number] }));
    let suberrors = END_BY_SUBERROR.map(|suberror| json!({ "suberror": suberror }));
    for mut body in numbers.into_iter().chain(suberrors) {
        body["error"] = json!("invalid_grant");
        for age in [57 * MINUTE, 61 * MINUTE] {
            let stage = Stage::new().await;
            let client = stage.client().await;
            let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
            stage.tenant.time().advance(age).await;
            refuses(&stage, &body);
            let reply = stage.refresh(&client, &token).await;
            assert_eq!(reply.error(), invalid_grant(), "{body}");
            stage.tenant.token_endpoint().recover();
            let reply = stage.refresh(&client, &token).await;
            assert_eq!(reply.error(), invalid_grant(), "{body}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_client_reads_why_its_sign_in_ended() {
    for (number, text) in [
        (50_057, "this account is disabled at Entra"),
        (50_105, "this account is not assigned to the application"),
        (53_003, "a Conditional Access policy of Entra blocks this"),
        (50_076, "Entra requires the user to sign in interactively"),
        (65_001, "the user or an administrator must consent first"),
        (50_173, "Entra did not accept this sign-in; sign in again"),
    ] {
        let stage = Stage::new().await;
        let client = stage.client().await;
        let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
        stage.tenant.time().advance(57 * MINUTE).await;
        let body = json!({ "error": "invalid_grant", "error_codes": [number] });
        refuses(&stage, &body);
        let reply = stage.refresh(&client, &token).await;
        assert_eq!(reply.error(), invalid_grant());
        let found = reply.json()["error_description"].to_string();
        assert!(found.contains(text), "{number}: {found}");
    }
}

/// Checks that this file has each row of the table.
#[test]
fn the_rows_are_those_of_the_table() {
    let table = include_str!("../../../entra-confidential-client/src/error/numbers.rs");
    let rows = table.lines().filter_map(|line| {
        let row = line.strip_prefix("    (")?.strip_suffix("),")?;
        let (name, kind) = row.split_once(", ")?;
        let name = name.replace('_', "");
        Some((name.replace("LOOP", "50196"), kind))
    });
    let (mut numbers, mut words) = (0, 0);
    for (name, kind) in rows {
        let passes = ["Throttled", "Unavailable"].contains(&kind);
        match name.parse::<u64>() {
            Ok(number) => {
                numbers += 1;
                let is_listed = match passes {
                    true => PASS.iter().any(|(other, _)| *other == number),
                    false => END.contains(&number),
                };
                assert!(is_listed, "{number} {kind}");
            }
            Err(_) => {
                words += 1;
                let mut listed = END_BY_SUBERROR.iter();
                let word = name.trim_matches('"');
                let is_listed = listed.any(|listed| listed.replace('_', "") == word);
                assert!(is_listed && !passes, "{name} {kind}");
            }
        }
    }
    // One number in this file is in no table.
    let listed = (PASS.len() + END.len() - 1, END_BY_SUBERROR.len());
    assert_eq!((numbers, words), listed);
}
