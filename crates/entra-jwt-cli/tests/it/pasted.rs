//! Tests of pasted texts other than a bare token: the program finds the token in them, or says what
//! they are.

use crate::support::{Desk, assert_fits};

/// Returns the first lines of the report about an accepted token.
fn accepted_after(note: &str) -> String {
    format!("{note}\n\naccepted\n")
}

#[tokio::test(start_paused = true)]
async fn the_access_token_is_taken_out_of_a_json_answer() {
    let desk = Desk::new().await;
    let good = desk.user().mint();
    let expected = accepted_after("read access_token from a JSON response");
    for answer in [
        format!(r#"{{"token_type":"Bearer","expires_in":3599,"access_token":"{good}"}}"#),
        format!("{{\n  \"access_token\": \"{good}\",\n  \"id_token\": \"e30.e30.\"\n}}\n"),
        // The names of MSAL and the Azure CLI, and of azd.
        format!(r#"{{"accessToken":"{good}","expiresOn":"2026-01-01 00:00:00.000000"}}"#),
        format!(r#"{{"token":"{good}"}}"#),
    ] {
        let ran = desk.explain_text(&answer, &[]);
        assert_eq!((ran.status, &*ran.err), (0, ""), "{}", ran.out);
        assert!(ran.out.starts_with(&expected), "{}", ran.out);
        let json = desk.explain_text(&answer, &["--json"]).out;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["notes"][0], "read access_token from a JSON response");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_with_an_id_token_alone_says_so() {
    let desk = Desk::new().await;
    let id_token = desk.tenant.id_token("ada").for_api(crate::support::API);
    let answer = format!(r#"{{"id_token":"{}"}}"#, id_token.mint());
    let ran = desk.explain_text(&answer, &[]);
    assert_eq!((ran.status, &*ran.err), (1, ""));
    let expected = "read id_token from a JSON response without access_token\n\n\
        refused: id_token (401)\n  fix        send access_token, not id_token, from Entra's response,";
    assert!(ran.out.starts_with(expected), "{}", ran.out);
}

#[tokio::test(start_paused = true)]
async fn an_error_answer_is_told_as_entras_error() {
    let desk = Desk::new().await;
    for (answer, said) in [
        (
            r#"{"error":"invalid_grant","error_description":"AADSTS70008: The provided authorization code or refresh token has expired due to inactivity. Trace ID: 0f3c Correlation ID: 1d2e","error_codes":[70008]}"#,
            "entra-jwt: this is not a token, but an error response of Entra: invalid_grant\n\
             AADSTS70008: The provided authorization code or refresh token has expired due to\n  \
             inactivity.\n\
             what it means: https://login.microsoftonline.com/error?code=70008\n",
        ),
        (
            r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid secret."}"#,
            "entra-jwt: this is not a token, but an error response of Entra: invalid_client\n\
             AADSTS7000215: Invalid secret.\n\
             what it means: https://login.microsoftonline.com/error?code=7000215\n",
        ),
        (
            r#"{"error":"authorization_pending\u001b[31m"}"#,
            "entra-jwt: this is not a token, but an error response of Entra:\n  \
             authorization_pending\\u{1b}[31m\n",
        ),
    ] {
        let ran = desk.explain_text(answer, &[]);
        assert_eq!((ran.status, &*ran.out, &*ran.err), (2, "", said));
        assert_fits(&ran.err);
    }
}

#[tokio::test(start_paused = true)]
async fn json_without_a_token_is_named() {
    let desk = Desk::new().await;
    for (text, said) in [
        (
            r#"{"keys":[]}"#,
            "entra-jwt: this is not a token, but JSON without access_token: pass the whole \
             response of the token endpoint, or only the token",
        ),
        (
            r#"{"access_token":"#,
            "entra-jwt: this is not a token, but JSON that cannot be read: pass the whole response \
             of the token endpoint, or only the token",
        ),
    ] {
        let ran = desk.explain_text(text, &[]);
        assert_eq!((ran.status, &*ran.out, &*ran.words()), (2, "", said));
        assert_fits(&ran.err);
    }
}

#[tokio::test(start_paused = true)]
async fn what_stands_around_a_token_is_named_and_left_out() {
    let desk = Desk::new().await;
    let good = desk.user().mint();
    let quotes = "the token is in quotes: send it without quotes";
    let twice = "the token has \"Bearer\" twice: send it once";
    for (text, note) in [
        (format!("Bearer Bearer {good}"), twice),
        (format!("Authorization: Bearer bearer {good}"), twice),
        (format!("\"{good}\""), quotes),
        (format!("'{good}'\n"), quotes),
        (format!("`{good}`"), quotes),
        (format!("“{good}”"), quotes),
        (format!("Bearer \"{good}\""), quotes),
    ] {
        let ran = desk.explain_text(&text, &[]);
        assert_eq!(ran.status, 0, "{note}");
        assert!(ran.out.starts_with(&accepted_after(note)), "{}", ran.out);
    }
    // The header as a whole is right, because clients send it so.
    for text in [
        format!("Authorization: Bearer {good}"),
        format!("authorization:bearer {good}\r\n"),
    ] {
        let ran = desk.explain_text(&text, &[]);
        assert!(ran.out.starts_with("accepted\n"), "{}", ran.out);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_token_is_named_with_what_to_do() {
    let desk = Desk::new().await;
    let opaque = format!("EwB{}", "Ab1+/".repeat(200));
    let opaque_fix = "request a token for this API, by a scope api://<client id>/<name>; a token \
        without dots is for an API of Microsoft (EwB…: Graph, for a personal account) or of \
        another server, and only that API can read it";
    let unset_fix = "the client has no token: the variable that it sends was never set; find out \
        why it got no token";
    for (text, found, fix) in [
        ("undefined", "the word undefined", unset_fix),
        ("Bearer null", "the word null", unset_fix),
        ("[object Object]", "the word [object Object]", unset_fix),
        ("\"NaN\"", "the word NaN", unset_fix),
        (&opaque, "an opaque token (1 segment)", opaque_fix),
        (
            &format!(r#"{{"access_token":"{opaque}"}}"#),
            "an opaque token (1 segment)",
            opaque_fix,
        ),
    ] {
        let ran = desk.explain_text(text, &[]);
        let words = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
        let said = format!(
            "refused: not_a_token (401) fix {fix} found {found} expected a token of 3 segments the checks"
        );
        assert_eq!(ran.status, 1, "{text}");
        assert!(words.contains(&said), "{said} in {words}");
        assert_fits(&ran.out);
    }
    for text in ["", "Bearer", "Bearer ", "\"\"", r#"{"access_token":""}"#] {
        let ran = desk.explain_text(text, &[]);
        let said = "entra-jwt: no token: pass it on standard input, or name a file that has it";
        assert_eq!(
            (ran.status, &*ran.out, &*ran.words()),
            (2, "", said),
            "{text}"
        );
    }
}
