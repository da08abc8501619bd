//! Tests of the metadata that clients read before their first request, and of its paths.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use axum::Router;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use entra_oauth_proxy::ProxyKeys;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{PUBLIC, RESOURCE, Reply, Stage, part, request};

/// Sends a request to a router and returns the response.
async fn ask(router: &Router, method: Method, path: &str) -> Reply {
    let request = request(method, path, &[], Bytes::new()).map(axum::body::Body::new);
    let response = router.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Reply::of(http::Response::from_parts(head, body.into())).await
}

#[tokio::test]
async fn the_metadata_says_what_works_and_nothing_else() {
    let stage = Stage::new().await;
    let document = stage.get("/.well-known/oauth-authorization-server").await;
    assert_eq!(document.status, StatusCode::OK);
    assert_eq!(document.header("content-type"), "application/json");
    assert_eq!(document.header("access-control-allow-origin"), "*");
    assert_eq!(
        document.json(),
        json!({
            "issuer": PUBLIC,
            "authorization_endpoint": "https://mcp.example.com/authorize",
            "token_endpoint": "https://mcp.example.com/token",
            "revocation_endpoint": "https://mcp.example.com/revoke",
            "jwks_uri": "https://mcp.example.com/jwks.json",
            "registration_endpoint": "https://mcp.example.com/register",
            "scopes_supported": ["read", "offline_access"],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_methods_supported":
                ["none", "client_secret_basic", "client_secret_post"],
            "revocation_endpoint_auth_methods_supported":
                ["none", "client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
        })
    );
    let by_openid = stage.get("/.well-known/openid-configuration").await;
    // Members that readers of OpenID Connect require in addition.
    let mut expected = document.json();
    expected["subject_types_supported"] = json!(["pairwise"]);
    expected["id_token_signing_alg_values_supported"] = json!(["ES256"]);
    assert_eq!(by_openid.json(), expected);
}

#[tokio::test]
async fn tokens_are_verified_by_the_published_keys_alone() {
    let keys = ProxyKeys::from_base64(&[[7_u8; 32], [8; 32]].map(random_key).join(",")).unwrap();
    let stage = Stage::with(|settings| settings.keys(keys)).await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["access_token"].clone();
    let document = stage.get("/jwks.json").await;
    assert_eq!(document.header("cache-control"), "public, max-age=300");
    assert_eq!(document.header("access-control-allow-origin"), "*");
    let document = document.json();
    let keys = document["keys"].as_array().unwrap();
    // The key that signs, and a key that is being added or removed.
    assert_eq!(keys.len(), 2);
    let verified: Vec<bool> = keys.iter().map(|key| is_signed_by(&token, key)).collect();
    assert_eq!(verified, [true, false]);
    assert_eq!(keys[0]["kid"], part(&token, 0)["kid"]);
    for key in keys {
        assert_eq!(
            (&key["kty"], &key["crv"], &key["alg"], &key["use"]),
            (
                &json!("EC"),
                &json!("P-256"),
                &json!("ES256"),
                &json!("sig")
            )
        );
        assert_eq!(key["d"], Value::Null);
    }
}

#[tokio::test]
async fn where_tokens_are_passed_through_there_are_no_keys_to_publish() {
    let stage = Stage::with(|settings| settings.dangerous().issue_entra_tokens()).await;
    assert_eq!(stage.get("/jwks.json").await.status, StatusCode::NOT_FOUND);
    let document = stage.get("/.well-known/oauth-authorization-server").await;
    assert_eq!(document.json()["jwks_uri"], Value::Null);
}

/// Returns a key derived from a seed. [`ProxyKeys`] refuses keys that are not random.
fn random_key(seed: [u8; 32]) -> String {
    STANDARD.encode(digest(&SHA256, &seed))
}

/// Returns whether this published key alone verifies a token (RFC 7515, RFC 7518 §3.4).
fn is_signed_by(token: &Value, key: &Value) -> bool {
    let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let (input, signature) = token.as_str().unwrap().rsplit_once('.').unwrap();
    let coordinate = |name: &str| decoded(key[name].as_str().unwrap());
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(input.as_bytes(), &decoded(signature))
        .is_ok()
}

#[tokio::test]
async fn the_resource_names_this_server_and_the_required_scopes() {
    let stage = Stage::with_resource(|resource| resource.name("Orders")).await;
    for path in [
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-protected-resource",
    ] {
        let document = stage.get(path).await.json();
        assert_eq!(document["resource"], RESOURCE);
        assert_eq!(document["authorization_servers"], json!([PUBLIC]));
        assert_eq!(document["scopes_supported"], json!(["read"]));
        assert_eq!(document["resource_name"], "Orders");
        assert_eq!(document["bearer_methods_supported"], json!(["header"]));
    }
}

#[tokio::test]
async fn scripts_of_any_origin_may_use_what_needs_no_cookie() {
    let stage = Stage::new().await;
    for path in [
        "/token",
        "/revoke",
        "/register",
        "/jwks.json",
        "/.well-known/oauth-authorization-server",
    ] {
        let preflight = stage
            .send(request(Method::OPTIONS, path, &[], Bytes::new()))
            .await;
        assert_eq!(preflight.status, StatusCode::NO_CONTENT, "{path}");
        assert_eq!(
            preflight.header("access-control-allow-origin"),
            "*",
            "{path}"
        );
        let headers = preflight.header("access-control-allow-headers");
        assert!(headers.contains("authorization") && headers.contains("mcp-protocol-version"));
        assert!(
            preflight
                .header("access-control-allow-methods")
                .contains("OPTIONS")
        );
    }
    for path in ["/authorize", "/consent", "/callback"] {
        let preflight = stage
            .send(request(Method::OPTIONS, path, &[], Bytes::new()))
            .await;
        assert_eq!(
            preflight.header("access-control-allow-origin"),
            "",
            "{path}"
        );
    }
}

#[tokio::test]
async fn other_methods_and_paths_are_none() {
    let stage = Stage::new().await;
    for (method, path, allowed) in [
        (Method::POST, "/authorize", "GET"),
        (Method::GET, "/consent", "POST"),
        (Method::POST, "/callback", "GET"),
        (Method::GET, "/token", "POST, OPTIONS"),
        (Method::PUT, "/register", "POST, OPTIONS"),
        (
            Method::POST,
            "/.well-known/oauth-authorization-server",
            "GET, HEAD, OPTIONS",
        ),
    ] {
        let answer = stage.send(request(method, path, &[], Bytes::new())).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(answer.header("allow"), allowed, "{path}");
    }
    for path in [
        "/",
        "/mcp",
        "/authorize/",
        "/tokens",
        "/.well-known/oauth-authorization-server/mcp",
    ] {
        assert_eq!(
            stage.get(path).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    let head = request(
        Method::HEAD,
        "/.well-known/oauth-authorization-server",
        &[],
        Bytes::new(),
    );
    let head = stage.send(head).await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn nothing_is_derived_from_the_host_that_a_request_names() {
    let stage = Stage::new().await;
    let headers = [
        ("host", "evil.example"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "http"),
        ("forwarded", "host=evil.example"),
    ];
    let path = "/.well-known/oauth-authorization-server";
    let answer = stage
        .send(request(Method::GET, path, &headers, Bytes::new()))
        .await;
    assert!(!answer.text().contains("evil"));
    assert_eq!(answer.json()["issuer"], PUBLIC);
}

#[tokio::test]
async fn under_a_path_the_documents_stay_at_the_root() {
    let nested = "https://mcp.example.com/oauth";
    let stage = Stage::with(|settings| settings.public_url(nested)).await;
    assert_eq!(
        stage.proxy.redirect_uri(),
        "https://mcp.example.com/oauth/callback"
    );
    let merged: Router = stage.proxy.routes();
    let apart: Router = Router::new()
        .nest("/oauth", stage.proxy.nested_routes())
        .merge(stage.proxy.well_known_routes());
    let service: Router = Router::new().fallback_service(stage.proxy.service());
    for router in [&merged, &apart, &service] {
        for path in [
            "/.well-known/oauth-authorization-server/oauth",
            "/.well-known/openid-configuration/oauth",
            "/oauth/.well-known/openid-configuration",
        ] {
            let document = ask(router, Method::GET, path).await;
            assert_eq!(document.status, StatusCode::OK, "{path}");
            let document = document.json();
            assert_eq!(document["issuer"], nested);
            assert_eq!(
                document["token_endpoint"],
                "https://mcp.example.com/oauth/token"
            );
        }
        let resource = ask(
            router,
            Method::GET,
            "/.well-known/oauth-protected-resource/mcp",
        )
        .await;
        assert_eq!(resource.json()["authorization_servers"], json!([nested]));
        for path in ["/oauth/authorize", "/oauth/callback"] {
            let answer = ask(router, Method::GET, path).await;
            assert!(answer.text().starts_with("<!doctype html>"), "{path}");
        }
        for path in ["/oauth/token", "/oauth/register", "/oauth/consent"] {
            let answer = ask(router, Method::GET, path).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        }
        for path in [
            "/authorize",
            "/token",
            "/.well-known/oauth-authorization-server",
        ] {
            let answer = ask(router, Method::GET, path).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        }
    }
}

#[tokio::test]
async fn the_routes_merge_with_those_of_a_service() {
    let stage = Stage::new().await;
    let router: Router = Router::new()
        .route("/mcp", axum::routing::get(|| async { "the tool" }))
        .layer(stage.proxy.layer())
        .merge(stage.proxy.routes());
    let refused = ask(&router, Method::GET, "/mcp").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        refused.header("www-authenticate"),
        "Bearer scope=\"read\", \
         resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource/mcp\""
    );
    let document = ask(
        &router,
        Method::GET,
        "/.well-known/oauth-authorization-server",
    )
    .await;
    assert_eq!(document.json()["issuer"], Value::from(PUBLIC));
}
