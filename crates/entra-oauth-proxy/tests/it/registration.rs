//! `POST /register` (RFC 7591), and what an id is worth afterwards.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entra_oauth_proxy::{EntraOAuthProxyBuilder, FixedClient, ProxyKeys};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    Browser, Client, REDIRECT, RESOURCE, Reply, Stage, VERIFIER, post, request, settings,
};

const KEY: &str = "q0vYc6kM2mVb4u0q8oLQ0mJwT7x1n5rG9sZ3aE6dHfI=";
const LATER_KEY: &str = "Zk9dS2pX7vN1rB5tYw8uC3eA6hL0mQ4gJoRiTfKxVbU=";

fn keys(text: &str) -> ProxyKeys {
    ProxyKeys::from_base64(text).unwrap()
}

/// Redeems a code, with these changes to the form and these headers.
async fn redeemed(
    stage: &Stage,
    client: &Client,
    more: &[(&str, &str)],
    headers: &[(&str, &str)],
) -> Reply {
    let code = Browser::new(stage).code(client, "ada", &[]).await;
    let mut form = client.redemption(&code);
    for (name, value) in more {
        form.retain(|(other, _)| other != name);
        if !value.is_empty() {
            form.push((name, value));
        }
    }
    stage.send(post("/token", &form, headers)).await
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

async fn is_known(stage: &Stage, client: &Client) -> bool {
    stage.get(&client.authorize(&[])).await.status == StatusCode::OK
}

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
async fn a_confidential_client_gets_a_secret_by_either_method_and_needs_it() {
    for method in ["client_secret_basic", "client_secret_post"] {
        let stage = Stage::new().await;
        let metadata = json!({ "redirect_uris": [REDIRECT], "token_endpoint_auth_method": method });
        let registered = stage.register(&metadata).await.json();
        assert_eq!(registered["token_endpoint_auth_method"], method);
        assert_eq!(registered["client_secret_expires_at"], 0);
        let client = stage.client_with(metadata).await;
        let secret = client.secret.clone().unwrap();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!(secret.len() >= 43 && secret.chars().all(is_plain));

        let wrong = format!("{}A", &secret[1..]);
        for secret in ["", &wrong, "x"] {
            let reply = redeemed(&stage, &client, &[("client_secret", secret)], &[]).await;
            assert_eq!(
                reply.error(),
                (401, "invalid_client".to_owned()),
                "{secret}"
            );
            assert!(reply.header("www-authenticate").starts_with("Basic"));
        }
        let others = stage.client_with(json!({
            "redirect_uris": [REDIRECT], "token_endpoint_auth_method": method,
        }));
        let others = others.await.secret.unwrap();
        let reply = redeemed(&stage, &client, &[("client_secret", &others)], &[]).await;
        assert_eq!(reply.error(), (401, "invalid_client".to_owned()));

        let in_form = redeemed(&stage, &client, &[("client_secret", &secret)], &[]).await;
        assert_eq!(in_form.status, StatusCode::OK, "{}", in_form.text());
        let headers = [("authorization", &*basic(&client.id, &secret))];
        for more in [&[][..], &[("client_id", "")]] {
            let in_header = redeemed(&stage, &client, more, &headers).await;
            assert_eq!(in_header.status, StatusCode::OK, "{}", in_header.text());
        }
        let both = redeemed(&stage, &client, &[("client_secret", &secret)], &headers).await;
        assert_eq!(both.error(), (400, "invalid_request".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn basic_credentials_are_taken_raw_and_form_encoded() {
    let secret = "p+ss w%rd/of=the&desk:";
    let client = FixedClient::confidential("ops/desk+1", secret).redirect_uri(REDIRECT);
    let stage = Stage::with(|settings| settings.fixed_client(client)).await;
    let client = Client {
        id: "ops/desk+1".to_owned(),
        secret: Some(secret.to_owned()),
        redirect_uri: REDIRECT.to_owned(),
    };
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let (id, form_encoded): (String, String) = (encoded("ops/desk+1"), encoded(secret));
    for credentials in [basic("ops/desk+1", secret), basic(&id, &form_encoded)] {
        for more in [&[][..], &[("client_id", "")]] {
            let headers = [("authorization", &*credentials)];
            let reply = redeemed(&stage, &client, more, &headers).await;
            assert_eq!(
                reply.status,
                StatusCode::OK,
                "{credentials} {more:?} {}",
                reply.text()
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_that_are_none_are_an_invalid_client() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let other = stage.client().await;
    for credentials in ["Bearer abc", "Basic", "Basic %%%", "Basic YWJj", "abc"] {
        let reply = redeemed(&stage, &client, &[], &[("authorization", credentials)]).await;
        assert_eq!(
            reply.error(),
            (401, "invalid_client".to_owned()),
            "{credentials}"
        );
    }
    let own = basic(&client.id, "");
    let twice = [("authorization", &*own); 2];
    let reply = redeemed(&stage, &client, &[], &twice).await;
    assert_eq!(reply.error(), (401, "invalid_client".to_owned()));
    let another = [("authorization", &*basic(&other.id, ""))];
    let reply = redeemed(&stage, &client, &[], &another).await;
    assert_eq!(reply.error(), (400, "invalid_request".to_owned()));
    for id in ["", "x", &client.id[1..]] {
        let reply = redeemed(&stage, &client, &[("client_id", id)], &[]).await;
        assert_eq!(reply.error(), (401, "invalid_client".to_owned()), "{id}");
    }
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
        // Everything that follows would be a policy of its own.
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

#[tokio::test(start_paused = true)]
async fn registration_can_be_switched_off() {
    let fixed = FixedClient::public("desk")
        .redirect_uri(REDIRECT)
        .name("The desk");
    let open = Stage::with(|settings| settings.keys(keys(KEY))).await;
    let document = "/.well-known/oauth-authorization-server";
    assert!(open.get(document).await.json()["registration_endpoint"].is_string());
    let registered = open.client().await;

    let closed = |settings: EntraOAuthProxyBuilder| {
        settings
            .keys(keys(KEY))
            .without_registration()
            .fixed_client(fixed)
    };
    let stage = Stage::with(closed).await;
    let reply = stage
        .register(&json!({ "redirect_uris": [REDIRECT] }))
        .await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert!(stage.get(document).await.json()["registration_endpoint"].is_null());
    assert!(!is_known(&stage, &registered).await);

    let desk = Client {
        id: "desk".to_owned(),
        secret: None,
        redirect_uri: REDIRECT.to_owned(),
    };
    let page = stage.get(&desk.authorize(&[])).await;
    assert!(page.text().contains("The desk"));
    assert!(!page.text().contains("not verified"));
    let tokens = stage.sign_in(&desk, "ada").await;
    assert!(stage.verify(&tokens["access_token"]).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_allow_list_bounds_where_answers_go() {
    let list = ["https://client.example", "http://localhost", "cursor:"];
    let stage = Stage::with(|settings| settings.keys(keys(KEY)).redirect_allow_list(list)).await;
    for (uri, is_allowed) in [
        ("https://client.example/any/path", true),
        ("http://localhost:5555/callback", true),
        ("cursor://anysphere.cursor-mcp/oauth/callback", true),
        ("https://client.example:8443/callback", false),
        ("https://client.example.evil.example/callback", false),
        ("https://evil.example/callback", false),
        ("http://127.0.0.1:5555/callback", false),
        ("vscode://host/callback", false),
    ] {
        let reply = stage.register(&json!({ "redirect_uris": [uri] })).await;
        assert_eq!(reply.status == StatusCode::CREATED, is_allowed, "{uri}");
    }
    // A client from before the list is bound by it, too.
    let before = Stage::with(|settings| settings.keys(keys(KEY))).await;
    let client = before
        .client_with(json!({ "redirect_uris": ["https://evil.example/callback"] }))
        .await;
    assert!(is_known(&before, &client).await);
    let reply = stage.get(&client.authorize(&[])).await;
    assert_eq!(
        (reply.status, reply.location()),
        (StatusCode::BAD_REQUEST, String::new())
    );
}

#[tokio::test(start_paused = true)]
async fn an_id_of_another_issuer_or_of_other_keys_is_unknown() {
    let stage = Stage::with(|settings| settings.keys(keys(KEY))).await;
    let client = stage.client().await;
    assert!(is_known(&stage, &client).await);
    let of_other_keys = Stage::with(|settings| settings.keys(keys(LATER_KEY))).await;
    assert!(!is_known(&of_other_keys, &client).await);
    let elsewhere = |settings: EntraOAuthProxyBuilder| {
        let settings = settings
            .keys(keys(KEY))
            .public_url("https://other.example.com");
        settings.resource(RESOURCE)
    };
    assert!(!is_known(&Stage::with(elsewhere).await, &client).await);
}

#[tokio::test(start_paused = true)]
async fn ids_and_secrets_outlive_a_restart_and_a_change_of_keys_until_theirs_is_gone() {
    let first = Stage::with(|settings| settings.keys(keys(KEY))).await;
    let metadata = json!({
        "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "client_secret_post",
    });
    let client = first.client_with(metadata).await;
    let secret = client.secret.clone().unwrap();
    let Stage { tenant, proxy } = first;
    drop(proxy);
    let mut stage = Stage {
        proxy: settings(&tenant).keys(keys(KEY)).build().unwrap(),
        tenant,
    };
    let both = format!("{LATER_KEY},{KEY}");
    for list in [KEY, &both] {
        stage.proxy = settings(&stage.tenant).keys(keys(list)).build().unwrap();
        let reply = redeemed(&stage, &client, &[("client_secret", &secret)], &[]).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    }
    stage.proxy = settings(&stage.tenant)
        .keys(keys(LATER_KEY))
        .build()
        .unwrap();
    assert!(!is_known(&stage, &client).await);
    let form = [
        ("grant_type", "authorization_code"),
        ("code", "x"),
        ("code_verifier", VERIFIER),
        ("redirect_uri", REDIRECT),
        ("client_id", &client.id),
        ("client_secret", &secret),
    ];
    assert_eq!(
        stage.token(&form).await.error(),
        (401, "invalid_client".to_owned())
    );
}
