//! Tests of the log lines when a proxy is built, and of their format.

use entra_oauth_proxy::{Resource, Secret};

use tower::ServiceExt as _;

use crate::logbook::Logbook;
use crate::support::{RESOURCE, Stage, resource_at, settings, settings_of, tenant};
use crate::watched_store::WatchedStore;

/// Returns the part of a line after the name of its module.
fn said(line: &str) -> &str {
    line.split_once("entra_oauth_proxy::config::build: ")
        .unwrap()
        .1
}

#[tokio::test]
async fn a_start_is_one_short_line_and_the_rest_is_at_debug() {
    let tenant = tenant().start().await.unwrap();
    let log = Logbook::begin();
    settings(&tenant).build().unwrap();
    let lines = log.lines("INFO");
    let of_layer = "tokens of Microsoft Entra ID are required";
    assert!(
        lines.iter().any(|line| line.contains(of_layer)),
        "{lines:?}"
    );
    let of_proxy = |line: &&String| line.contains("entra_oauth_proxy::");
    let lines: Vec<&str> = lines
        .iter()
        .filter(of_proxy)
        .map(|line| said(line))
        .collect();
    assert_eq!(
        lines,
        [
            "clients sign in through this server issuer=\"https://mcp.example.com\" \
             resource=\"https://mcp.example.com/mcp\" \
             redirect_uri=\"https://mcp.example.com/callback\""
        ]
    );
    let lines = log.lines("DEBUG");
    let lines: Vec<&str> = lines
        .iter()
        .filter(of_proxy)
        .map(|line| said(line))
        .collect();
    assert_eq!(
        lines,
        [format!(
            "settings of the OAuth proxy token_endpoint=\"{}/{}/oauth2/v2.0/token\" \
             required_scopes=\"read\" optional_scopes=\"write\" registration=true \
             preregistered_clients=0 issues_entra_tokens=false sign_ins=\"in memory, until this \
             process ends\" keys=\"generated at start, until this process ends\"",
            tenant.url(),
            tenant.id()
        )]
    );
}

#[tokio::test]
async fn settings_that_come_to_nothing_write_no_line_that_clients_sign_in() {
    let tenant = tenant().start().await.unwrap();
    let log = Logbook::begin();
    for wrong in [
        settings(&tenant).credential(Secret::new("0f9c1f4e-6f0b-4d2e-9b0a-0d3f5f7a1c2b")),
        settings(&tenant).tenant("contoso"),
        settings(&tenant).resource(resource_at(RESOURCE)),
        settings_of(&tenant, Resource::at(RESOURCE)),
    ] {
        wrong.build().unwrap_err();
    }
    let text = log.text();
    for line in [
        "clients sign in through this server",
        "tokens of Microsoft Entra ID are required",
    ] {
        assert!(!text.contains(line), "{text}");
    }
}

/// Checks routes inside their own Layer: every endpoint responds 401, so no user can sign in.
#[tokio::test]
async fn endpoints_inside_their_own_layer_are_an_error_in_the_log() {
    let stage = Stage::with(|settings| settings).await;
    let app = stage.proxy.routes().layer(stage.proxy.layer());
    let log = Logbook::begin();
    for path in [
        "/register",
        "/token",
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource/mcp",
    ] {
        let request = http::Request::post(path).body(axum::body::Body::empty());
        let response = app.clone().oneshot(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), 401);
    }
    let lines = log.lines("ERROR");
    let [line] = &*lines else { panic!("{lines:?}") };
    for part in [
        "request without a bearer token",
        "method=\"POST\" path=\"/register\" looks_like=\"an endpoint of the OAuth proxy itself\"",
        "remedy=\"keep the proxy's routes outside of its own Layer: proxy.protect(routes) does, or \
         .merge(proxy.routes()) after .layer(proxy.layer())\"",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
}

#[tokio::test(start_paused = true)]
async fn fields_with_spaces_are_quoted() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let client = stage.client().await;
    store.goes_down();
    let log = Logbook::begin();
    stage.redeem(&client, "x").await;
    stage.proxy.readiness().response().await;
    for lines in [log.lines("ERROR"), log.lines("WARN")] {
        let of_store = lines
            .iter()
            .find(|line| line.contains("entra_oauth_proxy::"));
        let line = of_store.unwrap();
        assert!(line.contains(" error=\""), "{line}");
    }
}

/// Checks that a path that neither the service nor the proxy serves is not logged as a fault.
///
/// Behind the Layer, such a request is only refused.
#[tokio::test]
async fn what_the_proxy_does_not_serve_is_no_endpoint_of_its_own() {
    let stage = Stage::with(|settings| settings).await;
    let mcp = axum::Router::new().route("/mcp", axum::routing::post(|| async { "served" }));
    let app = stage.proxy.protect(mcp);
    let log = Logbook::begin();
    for path in [
        "/.well-known/security.txt",
        "/.well-known/oauth-authorization-server/mcp",
        "/.well-known/openid-configuration/mcp",
        "/admin",
    ] {
        let request = http::Request::get(path).body(axum::body::Body::empty());
        let response = app.clone().oneshot(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), 401, "{path}");
    }
    assert_eq!(log.lines("ERROR"), [] as [String; 0]);
}
