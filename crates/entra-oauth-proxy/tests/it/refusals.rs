//! Tests of the log lines about refused requests: the reason, the value found, and the expected
//! value.

use http::Method;
use serde_json::json;

use entra_oauth_proxy::Clients;

use crate::logbook::Logbook;
use crate::support::{
    Browser, Client, PUBLIC, REDIRECT, RESOURCE, Reply, Stage, encoded, post, request,
};

/// Checks that the log has only one line at INFO, which contains all of the words.
#[track_caller]
fn one_line(log: &Logbook, words: &[&str]) {
    let lines = log.lines("INFO");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    for words in words {
        assert!(lines[0].contains(words), "{words}: {}", lines[0]);
    }
}

/// Checks that the client receives only the reason.
#[track_caller]
fn is_told(reply: &Reply, reason: &str) {
    assert_eq!(
        reply.json()["error_description"],
        *reason,
        "{}",
        reply.text()
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_wrong_with_an_authorization_request_is_found_and_expected_in_the_log() {
    let stage = Stage::new().await;
    let metadata = json!({ "redirect_uris": ["http://localhost/callback"] });
    let local = stage.client_with(metadata).await;
    let (open, long) = (stage.client().await, "x".repeat(1_025));
    let cut = format!("found=\"{}…\"", "x".repeat(200));
    for (name, value, words) in [
        (
            "resource",
            PUBLIC,
            [
                "error=\"invalid_target\"",
                "reason=\"this server issues tokens for another resource\"",
                "found=\"https://mcp.example.com\"",
                "expected=\"https://mcp.example.com/mcp\"",
            ],
        ),
        (
            "scope",
            "openid Notes.Read Notes.Write",
            [
                "error=\"invalid_scope\"",
                "reason=\"none of these scopes is known here; omit scope to get the required \
                 scopes\"",
                "found=\"Notes.Read Notes.Write\"",
                "expected=\"read write\"",
            ],
        ),
        (
            "scope",
            &long,
            [
                "error=\"invalid_scope\"",
                &cut,
                "expected=\"read write\"",
                "",
            ],
        ),
        (
            "response_type",
            "token",
            [
                "error=\"unsupported_response_type\"",
                "reason=\"response_type must be code\"",
                "found=\"token\"",
                "expected=\"code\"",
            ],
        ),
        (
            "response_mode",
            "form_post",
            [
                "error=\"invalid_request\"",
                "reason=\"response_mode must be query\"",
                "found=\"form_post\"",
                "expected=\"query\"",
            ],
        ),
        (
            "code_challenge_method",
            "",
            [
                "error=\"invalid_request\"",
                "reason=\"code_challenge_method must be S256\"",
                "found=\"none, which means plain\"",
                "expected=\"S256\"",
            ],
        ),
        (
            "code_challenge",
            "hunter2",
            [
                "error=\"invalid_request\"",
                "reason=\"code_challenge is not a SHA-256 hash in base64url\"",
                "found=\"7 bytes\"",
                "expected=\"43 bytes, without padding\"",
            ],
        ),
        (
            "code_challenge",
            "",
            [
                "error=\"invalid_request\"",
                "reason=\"the parameter code_challenge is missing\"",
                "",
                "",
            ],
        ),
        (
            "state",
            &long,
            [
                "error=\"invalid_request\"",
                "reason=\"state is longer than 1024 bytes\"",
                "found=\"1025 bytes\"",
                "",
            ],
        ),
        (
            "claims",
            "hunter2",
            [
                "error=\"invalid_request\"",
                "reason=\"claims is not a JSON object of at most 512 bytes\"",
                "found=\"7 bytes\"",
                "",
            ],
        ),
        (
            "request",
            "hunter2",
            [
                "error=\"request_not_supported\"",
                "reason=\"request objects are not supported\"",
                "",
                "",
            ],
        ),
    ] {
        // The error goes to the client by redirect, or to a page. A page's line also has its
        // reference.
        for (client, of_kind) in [
            (&local, ["an authorization request was refused", ""]),
            (
                &open,
                [
                    "title=\"The application's request was refused\"",
                    "reference=",
                ],
            ),
        ] {
            stage.tenant.time().advance(crate::support::MINUTE).await;
            let log = Logbook::begin();
            stage.get(&client.authorize(&[(name, value)])).await;
            assert!(!log.text().contains("hunter2"), "{}", log.text());
            one_line(&log, &[&words[..], &of_kind].concat());
        }
    }
}

async fn registered(stage: &Stage, body: &str) -> Reply {
    let headers = [("content-type", "application/json")];
    let body = body.to_owned().into();
    stage
        .send(request(Method::POST, "/register", &headers, body))
        .await
}

#[tokio::test(start_paused = true)]
async fn what_was_wrong_with_a_registration_is_found_and_expected_in_the_log() {
    let listed = [
        "https://claude.ai",
        "cursor:",
        "http://localhost",
        "vscode:",
    ];
    let listed = Clients::default().allowed_redirects(listed);
    let stage = Stage::with(|settings| settings.clients(listed)).await;
    let not_listed =
        "the redirect URI 1 is not in the list of redirect URIs that this server allows";
    for (body, told, words) in [
        (
            json!({ "redirect_uris": [REDIRECT] }).to_string(),
            not_listed,
            [
                "error=\"invalid_redirect_uri\"",
                "found=\"https://client.example/callback\"",
                "expected=\"allowed_redirects(..): https://claude.ai cursor: http://localhost and \
                 1 more\"",
            ],
        ),
        (
            json!({ "redirect_uris": ["https://other.example/?code=hunter2"] }).to_string(),
            not_listed,
            ["", "found=\"https://other.example/\"", ""],
        ),
        (
            json!({ "redirect_uris": ["http://client.example/"] }).to_string(),
            "the redirect URI 1 is http, which is allowed only for loopback addresses (localhost, \
             127.0.0.1, [::1])",
            [
                "error=\"invalid_redirect_uri\"",
                "found=\"http://client.example/\"",
                "",
            ],
        ),
        (
            "{}".to_owned(),
            "redirect_uris is missing or empty: send 1 to 10 addresses, such as \
             http://127.0.0.1:33418/callback",
            ["error=\"invalid_redirect_uri\"", "", ""],
        ),
        (
            json!({ "redirect_uris": [], "grant_types": ["implicit"] }).to_string(),
            "redirect_uris is missing or empty: send 1 to 10 addresses, such as \
             http://127.0.0.1:33418/callback",
            ["", "", ""],
        ),
        (
            json!({ "redirect_uris": ["http://localhost/"], "grant_types": ["implicit", "\n"] })
                .to_string(),
            "grant_types must include authorization_code",
            [
                "error=\"invalid_client_metadata\"",
                "found=\"implicit \\\\n\"",
                "expected=\"authorization_code\"",
            ],
        ),
        (
            "{\"redirect_uris\": hunter2}".to_owned(),
            "the body is not a JSON object with a client's metadata",
            [
                "error=\"invalid_client_metadata\"",
                "found=\"invalid JSON at line 1, column 19\"",
                "expected=\"an object with redirect_uris, a list of strings\"",
            ],
        ),
        (
            "{\"redirect_uris\": \"hunter2\"}".to_owned(),
            "the body is not a JSON object with a client's metadata",
            ["", "found=\"a member of the wrong type\"", ""],
        ),
    ] {
        stage.tenant.time().advance(crate::support::MINUTE).await;
        let log = Logbook::begin();
        is_told(&registered(&stage, &body).await, told);
        assert!(!log.text().contains("hunter2"), "{}", log.text());
        let reason = format!("reason=\"{told}\"");
        let of_kind = ["a registration was refused", &*reason];
        one_line(&log, &[&words[..], &of_kind].concat());
    }
    let log = Logbook::begin();
    let text = request(
        Method::POST,
        "/register",
        &[("content-type", "text/plain")],
        "".into(),
    );
    is_told(&stage.send(text).await, "the body must be application/json");
    one_line(
        &log,
        &["found=\"text/plain\"", "expected=\"application/json\""],
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_wrong_with_a_token_request_is_found_and_expected_in_the_log() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let metadata = json!({
        "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "client_secret_post",
    });
    let secret = stage.client_with(metadata).await;
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    let form = |client: &Client, changes: &[(&str, &str)]| {
        let mut form = client.redemption(&code);
        form.retain(|(name, _)| changes.iter().all(|(other, _)| other != name));
        let changes = changes.iter().copied();
        let form = form.into_iter().chain(changes);
        let form: Vec<(String, String)> = form
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        form
    };
    for (form, told, words) in [
        (
            form(&client, &[("grant_type", "password")]),
            "grant_type must be authorization_code or refresh_token",
            [
                "error=\"unsupported_grant_type\"",
                "found=\"password\"",
                "expected=\"authorization_code or refresh_token\"",
            ],
        ),
        (
            form(&client, &[("resource", PUBLIC)]),
            "this server issues tokens for another resource",
            [
                "error=\"invalid_target\"",
                "found=\"https://mcp.example.com\"",
                &format!("expected=\"{RESOURCE}\""),
            ],
        ),
        (
            form(
                &client,
                &[("redirect_uri", "https://client.example/cb?x=hunter2")],
            ),
            "redirect_uri differs from the one that the code was sent to",
            [
                "error=\"invalid_grant\"",
                "found=\"https://client.example/cb\"",
                "expected=\"https://client.example/callback\"",
            ],
        ),
        (
            form(&client, &[("client_id", "")]),
            "the request has no client_id",
            ["error=\"invalid_client\"", "", ""],
        ),
        (
            form(&client, &[("client_id", "hunter2")]),
            "this client_id is not known here: register again, or remove this server from the \
             application and add it again",
            ["error=\"invalid_client\"", "", ""],
        ),
        (
            form(&client, &[("client_secret", "hunter2")]),
            "this client has no secret, so send none",
            ["error=\"invalid_client\"", "", ""],
        ),
        (
            form(&secret, &[("client_secret", "hunter2")]),
            "the client's secret is wrong",
            ["error=\"invalid_client\"", "", ""],
        ),
        (
            form(&secret, &[]),
            "the client's secret is missing",
            ["error=\"invalid_client\"", "", ""],
        ),
        (
            form(&client, &[("code_verifier", "hunter2")]),
            "code_verifier does not match code_challenge",
            ["error=\"invalid_grant\"", "", ""],
        ),
    ] {
        stage
            .tenant
            .time()
            .advance(std::time::Duration::from_secs(1))
            .await;
        let log = Logbook::begin();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let sent = request(Method::POST, "/token", &headers, encoded(&form).into());
        is_told(&stage.send(sent).await, told);
        assert!(!log.text().contains("hunter2"), "{}", log.text());
        let reason = format!("reason=\"{told}\"");
        let of_kind = ["a token request was refused", &*reason];
        one_line(&log, &[&words[..], &of_kind].concat());
    }
    for (path, what) in [
        ("/token", "a token request was refused"),
        ("/revoke", "a revocation was refused"),
        ("/consent", "a consent form was refused"),
    ] {
        let log = Logbook::begin();
        let headers = [("content-type", "application/json")];
        let sent = request(Method::POST, path, &headers, "{}".into());
        is_told(
            &stage.send(sent).await,
            "the body must be application/x-www-form-urlencoded",
        );
        let expected = "expected=\"application/x-www-form-urlencoded\"";
        one_line(&log, &[what, "found=\"application/json\"", expected]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_a_refresh_adds_is_found_in_the_log() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let log = Logbook::begin();
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
        ("client_id", &client.id),
        ("scope", "read write"),
    ];
    let reply = stage.send(post("/token", &form, &[])).await;
    assert_eq!(reply.error().1, "invalid_scope");
    one_line(
        &log,
        &[
            "reason=\"the user was not asked for one of these scopes; sign in again to get it\"",
            "found=\"read write\"",
            "expected=\"read\"",
        ],
    );
}

/// Checks that one mistake does not keep another out of the log, whichever came first.
#[tokio::test(start_paused = true)]
async fn three_mistakes_within_a_second_are_three_lines() {
    let stage = Stage::new().await;
    let metadata = json!({ "redirect_uris": ["http://localhost/callback"] });
    let client = stage.client_with(metadata).await;
    let log = Logbook::begin();
    for _ in 0..3 {
        for scope in ["Notes.Read", "Notes.Write", "notes.read"] {
            stage.get(&client.authorize(&[("scope", scope)])).await;
        }
    }
    let lines = log.lines("INFO");
    assert_eq!(lines.len(), 3, "{lines:#?}");
    for (line, found) in lines
        .iter()
        .zip(["Notes.Read", "Notes.Write", "notes.read"])
    {
        assert!(line.contains(&format!("found=\"{found}\"")), "{line}");
        assert!(line.contains("count=1"), "{line}");
    }
}
