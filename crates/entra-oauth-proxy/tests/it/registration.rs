//! Tests of `POST /register` (RFC 7591).

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{REDIRECT, Stage, request};

#[tokio::test(start_paused = true)]
async fn a_public_client_gets_an_id_and_no_secret() {
    let stage = Stage::new().await;
    let reply = stage
        .register(&json!({ "redirect_uris": [REDIRECT], "client_name": "Test client" }))
        .await;
    assert_eq!(reply.status, StatusCode::CREATED);
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.header("access-control-allow-origin"), "*");
    assert_eq!(reply.header("content-type"), "application/json");
    let registered = reply.json();
    assert_eq!(registered["redirect_uris"], json!([REDIRECT]));
    assert_eq!(registered["client_name"], "Test client");
    assert_eq!(registered["token_endpoint_auth_method"], "none");
    assert_eq!(
        registered["grant_types"],
        json!(["authorization_code", "refresh_token"])
    );
    assert_eq!(registered["response_types"], json!(["code"]));
    assert!(registered["client_id_issued_at"].is_u64());
    for member in ["client_secret", "client_secret_expires_at"] {
        assert!(registered[member].is_null(), "{member}");
    }
    let id = registered["client_id"].as_str().unwrap();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    assert!(id.chars().all(is_plain), "{id}");
    assert!(!id.contains("client.example"));
}

#[tokio::test(start_paused = true)]
async fn application_type_is_kept_and_decides_nothing() {
    let stage = Stage::new().await;
    for kind in ["native", "web"] {
        let registered = stage
            .register(&json!({
                "redirect_uris": ["cursor://anysphere.cursor-mcp/oauth/callback", REDIRECT],
                "application_type": kind,
            }))
            .await;
        assert_eq!(
            registered.status,
            StatusCode::CREATED,
            "{}",
            registered.text()
        );
        assert_eq!(registered.json()["application_type"], kind);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_supported_is_left_out_and_what_is_unknown_is_ignored() {
    let stage = Stage::new().await;
    let registered = stage
        .register(&json!({
            "redirect_uris": [REDIRECT],
            "grant_types": [
                "authorization_code",
                "urn:ietf:params:oauth:grant-type:device_code",
                "refresh_token",
            ],
            "response_types": ["code", "code id_token"],
            "scope": "openid read offline_access",
            "software_statement": "eyJ.e30.x",
            "logo_uri": "https://client.example/logo.png",
            "jwks": { "keys": [] },
            "x": { "y": [1, null] },
        }))
        .await;
    assert_eq!(
        registered.status,
        StatusCode::CREATED,
        "{}",
        registered.text()
    );
    let registered = registered.json();
    assert_eq!(
        registered["grant_types"],
        json!(["authorization_code", "refresh_token"])
    );
    assert_eq!(registered["response_types"], json!(["code"]));
    assert_eq!(registered["scope"], "read offline_access");
    for member in ["software_statement", "logo_uri", "jwks", "x"] {
        assert!(registered[member].is_null(), "{member}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_wants_no_refresh_token_gets_none() {
    let stage = Stage::new().await;
    let client = stage
        .client_with(json!({ "redirect_uris": [REDIRECT], "grant_types": ["authorization_code"] }))
        .await;
    let tokens = stage.sign_in(&client, "ada").await;
    assert!(tokens["refresh_token"].is_null());
    assert!(stage.verify(&tokens["access_token"]).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn there_are_limits() {
    let stage = Stage::new().await;
    let uris = |count: usize| -> Vec<String> {
        (0..count)
            .map(|n| format!("https://client.example/{n}"))
            .collect()
    };
    let of = |uris: Value| json!({ "redirect_uris": uris });
    assert_eq!(
        stage.register(&of(json!(uris(10)))).await.status,
        StatusCode::CREATED
    );
    for (metadata, error) in [
        (of(json!(uris(11))), "invalid_redirect_uri"),
        (of(json!([])), "invalid_redirect_uri"),
        (json!({}), "invalid_redirect_uri"),
        (
            of(json!([format!(
                "https://client.example/{}",
                "a".repeat(600)
            )])),
            "invalid_redirect_uri",
        ),
        (
            of(json!(
                (0..10)
                    .map(|n| format!("https://client.example/{n}{}", "a".repeat(480)))
                    .collect::<Vec<_>>()
            )),
            "invalid_client_metadata",
        ),
        (
            json!({ "redirect_uris": [REDIRECT], "x": "a".repeat(8 * 1024) }),
            "invalid_client_metadata",
        ),
    ] {
        let reply = stage.register(&metadata).await;
        assert_eq!(reply.error(), (400, error.to_owned()));
    }
    let room = 8 * 1024
        - json!({ "redirect_uris": [REDIRECT], "x": "" })
            .to_string()
            .len();
    let metadata = json!({ "redirect_uris": [REDIRECT], "x": "a".repeat(room) });
    assert_eq!(metadata.to_string().len(), 8 * 1024);
    assert_eq!(stage.register(&metadata).await.status, StatusCode::CREATED);
}

#[tokio::test(start_paused = true)]
async fn redirect_uris_that_are_not_safe_are_refused_by_that_name() {
    let stage = Stage::new().await;
    for uri in [
        "http://client.example/callback",
        "https://client.example/callback#fragment",
        "https://user@client.example/callback",
        "https://*.client.example/callback",
        "https://client.example/a/../callback",
        "https://client.example/call\nback",
        "https://client.example/call back",
        "javascript:alert(1)",
        "javascript://client.example/%0aalert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "vbscript:x",
        "blob:https://client.example/x",
        "about:blank",
        "myapp:/callback",
        "/callback",
        "",
        // In the content security policy, the text after the host would be a directive or policy of
        // its own.
        "https://client.example;sandbox/callback",
        "https://client.example,x/callback",
    ] {
        for uris in [json!([uri]), json!([REDIRECT, uri])] {
            let reply = stage.register(&json!({ "redirect_uris": uris })).await;
            assert_eq!(
                reply.error(),
                (400, "invalid_redirect_uri".to_owned()),
                "{uri:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_metadata_is_said_to_be_none() {
    let stage = Stage::new().await;
    for body in [
        "",
        "{",
        "[]",
        "null",
        "redirect_uris=https://client.example/",
        "\u{0}",
    ] {
        let body = body.to_owned().into();
        let reply = stage
            .send(request(
                Method::POST,
                "/register",
                &[("content-type", "application/json")],
                body,
            ))
            .await;
        assert_eq!(reply.error(), (400, "invalid_client_metadata".to_owned()));
    }
    for metadata in [
        json!({ "redirect_uris": REDIRECT }),
        json!({ "redirect_uris": [1] }),
        json!({ "redirect_uris": [REDIRECT], "grant_types": ["client_credentials"] }),
        json!({ "redirect_uris": [REDIRECT], "response_types": ["token"] }),
    ] {
        let reply = stage.register(&metadata).await;
        assert_eq!(
            reply.error(),
            (400, "invalid_client_metadata".to_owned()),
            "{metadata}"
        );
    }
}
