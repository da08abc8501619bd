//! Tests of the proxy's Layer: the tokens that reach the resource, and their scopes.

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use entra_oauth_proxy::Lifetimes;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;
use tower_entra_auth::{Caller, Scope};

use crate::logbook::Logbook;
use crate::support::{APP, Browser, MINUTE, Reply, Stage, request};

async fn ask(stage: &Stage, path: &str, token: &str) -> Reply {
    let write = stage.proxy.auth().require(Scope("write")).unwrap();
    let router: Router = Router::new()
        .route(
            "/mcp",
            get(|caller: Caller| async move { caller.id().to_string() }),
        )
        .route("/mcp/write", get(|| async { "written" }).layer(write))
        .layer(stage.proxy.layer());
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", &*authorization)];
    let request = request(Method::GET, path, &headers, Bytes::new()).map(axum::body::Body::new);
    let (head, body) = router.oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Reply::of(http::Response::from_parts(head, body.into())).await
}

#[tokio::test(start_paused = true)]
async fn a_protected_router_has_the_endpoints_beside_it_and_nothing_else_is_open() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let routes = Router::new().route("/mcp", get(|| async { "served" }));
    let app = stage.proxy.protect(routes);
    let app = app.open(Router::new().route("/ready", get(stage.proxy.readiness())));
    let status = async |method: Method, path: &str, token: &str| {
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", &*authorization)];
        let headers = if token.is_empty() {
            &[][..]
        } else {
            &headers[..]
        };
        let request = request(method, path, headers, Bytes::new()).map(axum::body::Body::new);
        app.clone()
            .oneshot(request)
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    stage.proxy.auth().ready().await.unwrap();
    let metadata = "/.well-known/oauth-authorization-server";
    assert_eq!(status(Method::GET, metadata, "").await, 200);
    assert_eq!(status(Method::POST, "/register", "").await, 400);
    assert_eq!(status(Method::GET, "/ready", "").await, 200);
    for path in ["/mcp", "/nothing"] {
        assert_eq!(status(Method::GET, path, "").await, 401, "{path}");
    }
    let token = text(&tokens["access_token"]);
    assert_eq!(status(Method::GET, "/mcp", token).await, 200);
    // The router requires the scopes that every token needs.
    let other = stage.tenant.user("ada").scope("other").for_api(APP).mint();
    assert_eq!(status(Method::GET, "/mcp", &other).await, 403);
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[tokio::test(start_paused = true)]
async fn tokens_of_this_server_and_of_entra_reach_the_resource_as_one_user() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let own = ask(&stage, "/mcp", text(&tokens["access_token"])).await;
    let entras = stage.tenant.user("ada").scope("read").for_api(APP).mint();
    let entras = ask(&stage, "/mcp", &entras).await;
    assert_eq!(
        (own.status, entras.status),
        (StatusCode::OK, StatusCode::OK)
    );
    assert_eq!(own.text(), entras.text());
}

#[tokio::test(start_paused = true)]
async fn the_required_scopes_are_required_of_every_token() {
    let stage = Stage::new().await;
    let entras = stage.tenant.user("ada").scope("other").for_api(APP).mint();
    let app = stage
        .tenant
        .app("2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b")
        .role("All")
        .for_api(APP);
    for token in [entras, app.mint()] {
        let refused = ask(&stage, "/mcp", &token).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        let challenge = refused.header("www-authenticate").to_owned();
        assert!(
            challenge.contains("error=\"insufficient_scope\""),
            "{challenge}"
        );
        assert!(challenge.contains("scope=\"read\""), "{challenge}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_asks_for_an_optional_scope_and_a_new_sign_in_brings_it() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let log = Logbook::begin();
    let refused = ask(&stage, "/mcp/write", text(&tokens["access_token"])).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let challenge = refused.header("www-authenticate").to_owned();
    assert!(challenge.contains("scope=\"write\""), "{challenge}");
    // The remedy is one for a client that registered itself here.
    let remedy = "have the client request the scope write in a new sign-in";
    let log = log.text();
    assert!(
        log.contains(remedy) && log.contains("optional_scopes"),
        "{log}"
    );

    let mut browser = Browser::new(&stage);
    let code = browser.code(&client, "ada", &[("scope", "write")]).await;
    let tokens = stage.redeem(&client, &code).await.json();
    assert_eq!(tokens["scope"], "write read");
    let written = ask(&stage, "/mcp/write", text(&tokens["access_token"])).await;
    assert_eq!(written.text(), "written");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_or_a_code_is_no_access_token() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let code = browser.code(&client, "ada", &[]).await;
    assert_eq!(
        ask(&stage, "/mcp", &code).await.status,
        StatusCode::UNAUTHORIZED
    );
    let tokens = stage.redeem(&client, &code).await.json();
    let refused = ask(&stage, "/mcp", text(&tokens["refresh_token"])).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn an_access_token_ends_with_its_lifetime() {
    let stage =
        Stage::with(|settings| settings.lifetimes(Lifetimes::default().access_token(10 * MINUTE)))
            .await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    assert_eq!(tokens["expires_in"], 600);
    stage.tenant.time().advance(9 * MINUTE).await;
    assert!(stage.verify(&tokens["access_token"]).await.is_ok());
    // The clock skew adds five minutes.
    stage.tenant.time().advance(7 * MINUTE).await;
    assert_eq!(
        stage.verify(&tokens["access_token"]).await.unwrap_err(),
        "expired"
    );
}

#[tokio::test(start_paused = true)]
async fn entras_own_tokens_are_passed_on_where_that_is_set() {
    let stage = Stage::with(|settings| settings.dangerous().issue_entra_tokens()).await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let caller = stage.verify(&tokens["access_token"]).await.unwrap();
    assert_eq!(caller.grant_id(), None);
    assert_eq!(caller.audience(), APP);
    assert!(tokens["expires_in"].as_u64().unwrap() <= 5_400);
    let refreshed = stage
        .refresh(&client, &tokens["refresh_token"])
        .await
        .json();
    assert!(stage.verify(&refreshed["access_token"]).await.is_ok());
}
