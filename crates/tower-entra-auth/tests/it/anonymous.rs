//! Tests of requests that pass without a token: where the Layer permits it, on open paths, and as
//! CORS preflights.

use axum::Router;
use axum::routing::{any, get};
use http::Method;
use tower_entra_auth::{Caller, EntraAuth, Scope};

use crate::support::{
    NO_TOKEN, Server, ask_without_token, auth, client, each_kind, header, serve, tenant, user,
};

async fn who(caller: Option<Caller>) -> String {
    caller.map_or("nobody".to_owned(), |_| "somebody".to_owned())
}

/// Returns the status and body of the response to a raw path, which no client normalises.
async fn raw(server: &Server, method: &str, target: &str, headers: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = server.connect().await;
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

#[tokio::test]
async fn where_tokens_are_optional_a_missing_one_passes_and_a_bad_one_never_does() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let app = Router::new()
        .route("/me", get(who))
        .route("/strict", get(async |_: Caller| "somebody"))
        .layer(auth.layer().optional());
    let server = serve(app).await;
    let nobody = ask_without_token(&server, "/me").await;
    assert_eq!(nobody.status(), 200);
    assert_eq!(nobody.text().await.unwrap(), "nobody");
    for (status, code, token) in each_kind(&tenant) {
        let request = client()
            .get(format!("{}/me", server.url))
            .bearer_auth(token);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{code}");
        if status == 200 {
            assert_eq!(response.text().await.unwrap(), "somebody");
        }
    }
    for value in [
        "",
        "Basic dXNlcjpwYXNz",
        "DPoP a.b.c",
        "Bearer",
        "Bearer ",
        "bearer",
    ] {
        let request = client().get(format!("{}/me", server.url));
        let response = request.header("authorization", value).send().await.unwrap();
        assert_eq!(response.status(), 401, "{value:?}");
    }
    // An extractor that needs a caller responds as the Layer does.
    let strict = ask_without_token(&server, "/strict").await;
    assert_eq!(strict.status(), 401);
    assert_eq!(header(&strict, "www-authenticate"), Some("Bearer"));
}

fn with_open_paths(auth: &EntraAuth) -> Router {
    let layer = auth.layer().open_path("/healthz");
    let layer = layer.and_then(|layer| layer.open_prefix("/assets"));
    Router::new()
        .route("/healthz", get(who))
        .route("/assets/{*path}", any(who))
        .fallback(who)
        .layer(layer.unwrap())
}

#[tokio::test]
async fn an_open_path_is_open_in_its_one_spelling() {
    let tenant = tenant().await;
    let server = serve(with_open_paths(&auth(&tenant))).await;
    for target in ["/healthz", "/healthz?token=x", "/assets", "/assets/a.css"] {
        let answer = raw(&server, "GET", target, "").await;
        assert_eq!(answer, (200, "nobody".to_owned()), "{target}");
        let answer = raw(&server, "POST", target, "content-length: 0\r\n").await;
        assert!(matches!(answer.0, 200 | 405), "{target}");
    }
    for target in [
        "/",
        "/me",
        "/healthz/",
        "/HEALTHZ",
        "//healthz",
        "/healthz;x",
        "/health%7a",
        "/me?/healthz",
        "/me;/healthz",
        "/assets/../me",
        "/assets/..%2Fme",
        "/assets/%2e%2e/me",
        "/assets//me",
        "/assets/.",
        "/assets/..;/me",
        "/assetsx",
    ] {
        assert_eq!(
            raw(&server, "GET", target, "").await,
            (401, NO_TOKEN.to_owned()),
            "{target}"
        );
    }
    // On an open path the Layer ignores the token, and the request has no caller.
    let answer = raw(
        &server,
        "GET",
        "/healthz",
        "authorization: Bearer garbage\r\n",
    )
    .await;
    assert_eq!(answer, (200, "nobody".to_owned()));
    let good = format!("authorization: Bearer {}\r\n", user(&tenant).mint());
    assert_eq!(raw(&server, "GET", "/healthz", &good).await.1, "nobody");
    assert_eq!(raw(&server, "GET", "/me", &good).await.1, "somebody");
    // Similar header names have no effect.
    for name in ["x-original-url", "x-rewrite-url", "x_original_url"] {
        let headers = format!("{name}: /healthz\r\n");
        assert_eq!(raw(&server, "GET", "/me", &headers).await.0, 401, "{name}");
    }
    let token = user(&tenant).mint();
    for (name, status) in [
        ("AUTHORIZATION", 200),
        ("authorization_", 401),
        ("_authorization", 401),
        ("x-authorization", 401),
        ("proxy-authorization", 401),
    ] {
        let headers = format!("{name}: Bearer {token}\r\n");
        assert_eq!(
            raw(&server, "GET", "/me", &headers).await.0,
            status,
            "{name}"
        );
    }
}

#[tokio::test]
async fn in_a_nested_router_the_path_is_what_is_left_of_it() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let inner = Router::new()
        .route("/healthz", get(who))
        .route("/me", get(who))
        .layer(auth.layer().open_path("/healthz").unwrap());
    let server = serve(Router::new().nest("/api", inner)).await;
    assert_eq!(raw(&server, "GET", "/api/healthz", "").await.1, "nobody");
    assert_eq!(raw(&server, "GET", "/api/me", "").await.0, 401);
}

#[tokio::test]
async fn a_requirement_on_an_open_path_is_still_one() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let readers = auth.require(Scope("Reports.Read")).unwrap();
    let app = Router::new()
        .route("/open", get(who).layer(readers))
        .layer(auth.layer().open_path("/open").unwrap());
    let server = serve(app).await;
    assert_eq!(
        raw(&server, "GET", "/open", "").await,
        (401, NO_TOKEN.to_owned())
    );
}

const PREFLIGHT: &str = "origin: https://app.example\r\n\
    access-control-request-method: GET\r\naccess-control-request-headers: authorization\r\n";

fn cors() -> tower_http::cors::CorsLayer {
    tower_http::cors::CorsLayer::new()
        .allow_origin(["https://app.example".parse().unwrap()])
        .allow_headers([http::header::AUTHORIZATION])
        .allow_methods([Method::GET])
}

#[tokio::test]
async fn a_preflight_is_answered_by_a_cors_layer_outside_or_inside() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let app = || Router::new().route("/me", get(who));
    let outside = app().layer(auth.layer()).layer(cors());
    let inside = app().layer(cors()).layer(auth.layer().open_preflights());
    for app in [outside, inside] {
        let server = serve(app).await;
        assert_eq!(raw(&server, "OPTIONS", "/me", PREFLIGHT).await.0, 200);
        let headers = format!(
            "{PREFLIGHT}authorization: Bearer {}\r\n",
            user(&tenant).mint()
        );
        assert_eq!(raw(&server, "GET", "/me", &headers).await.1, "somebody");
        assert_eq!(raw(&server, "GET", "/me", PREFLIGHT).await.0, 401);
    }
}

#[tokio::test]
async fn what_is_no_preflight_needs_a_token_and_without_the_setting_a_preflight_does() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let app = Router::new().route("/me", any(who));
    let strict = serve(app.clone().layer(auth.layer())).await;
    assert_eq!(raw(&strict, "OPTIONS", "/me", PREFLIGHT).await.0, 401);
    let lenient = serve(app.layer(auth.layer().open_preflights())).await;
    assert_eq!(raw(&lenient, "OPTIONS", "/me", PREFLIGHT).await.1, "nobody");
    for headers in [
        "",
        "origin: https://app.example\r\n",
        "access-control-request-method: GET\r\n",
        "origin: https://app.example\r\naccess_control_request_method: GET\r\n",
    ] {
        assert_eq!(
            raw(&lenient, "OPTIONS", "/me", headers).await.0,
            401,
            "{headers}"
        );
    }
    assert_eq!(raw(&lenient, "POST", "/me", PREFLIGHT).await.0, 401);
    assert_eq!(raw(&lenient, "OPTIONS", "*", "").await.0, 401);
}
