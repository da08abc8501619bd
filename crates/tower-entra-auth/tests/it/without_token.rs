//! Tests of requests without a bearer token: the log's name for each recognisable kind, and the
//! check that finds open routes.

use axum::{Router, routing::get};
use entra_dev_tenant::DevTenant;
use http::Method;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;
use tower_entra_auth::{Caller, testing::check_protected};

use crate::mistakes::{app, field, lines, request};
use crate::support::{NO_TOKEN, settings, tenant, user};

/// Returns the level, the apparent kind of request, the remedy and the path from the only line
/// about it.
async fn look(app: &Router, method: &str, uri: &str, headers: &[(&str, &str)]) -> [String; 4] {
    let requests = (0..3).map(|_| request(method, uri, headers));
    let lines = lines(app, requests).await;
    let [line] = &*lines else {
        panic!("once, not {lines:#?}")
    };
    assert!(!line.contains("s3cr3t") && !line.contains("eyJ"), "{line}");
    let (level, _) = line.split_once(" request without a bearer token ").unwrap();
    let field = |name| field(line, name).unwrap();
    [
        level.to_owned(),
        field("looks_like"),
        field("remedy"),
        field("path"),
    ]
}

#[tokio::test(start_paused = true)]
async fn requests_without_a_token_say_once_what_they_look_like() {
    let tenant: DevTenant = tenant().await;
    let app = app(&settings(&tenant).build().unwrap());
    let token = user(&tenant).mint();
    let preflight = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "GET"),
    ];
    let outside = |path: &str| {
        format!(
            "put its route outside of the Layer: auth.protect(routes).open(Router::new() \
             .route(\"{path}\", ..)); or let that one path pass: auth.layer().open_path(\"{path}\")?"
        )
    };
    let (health, metrics) = (outside("/healthz"), outside("/metrics"));
    for (expected, method, uri, headers) in [
        (
            ["WARN", "a health probe", &*health, "/healthz"],
            "GET",
            "/healthz?x=s3cr3t",
            &[][..],
        ),
        (
            [
                "WARN",
                "a CORS preflight, which browsers send without a token",
                "put the CORS layer outside, so that refusals have its headers, too: .layer(cors) \
                 after .layer(auth.layer()), or around auth.protect(..).into_router(); it must \
                 allow the header authorization. For a CORS layer that must be inside there is \
                 auth.layer().open_preflights()",
                "/me",
            ],
            "OPTIONS",
            "/me",
            &preflight,
        ),
        (
            [
                "WARN",
                "a token without the word Bearer",
                "write the word Bearer and a space before the token: Authorization: Bearer <access token>",
                "/me",
            ],
            "GET",
            "/me",
            &[("authorization", &*token)],
        ),
        (
            [
                "WARN",
                "credentials of the scheme Basic",
                "send one header Authorization: Bearer <access token>",
                "/me",
            ],
            "GET",
            "/me",
            &[("authorization", "Basic s3cr3t")],
        ),
        (
            [
                "INFO",
                "a page opened in a browser, which sends no token by itself",
                "put pages outside of the Layer, and have their scripts send the token: fetch(url, { headers: \
             { Authorization: `Bearer ${token}` } })",
                "/me",
            ],
            "GET",
            "/me",
            &[("accept", "text/html")],
        ),
        (
            [
                "WARN",
                "a token in the query",
                "send one header Authorization: Bearer <access token>",
                "/me",
            ],
            "GET",
            "/me?access_token=s3cr3t",
            &[][..],
        ),
        (
            ["WARN", "a scrape of metrics", &*metrics, "/metrics"],
            "GET",
            "/metrics",
            &[][..],
        ),
        (
            [
                "WARN",
                "a request for a metadata document, which clients read without a token",
                "serve the document outside of the Layer: \
                 auth.protect(routes).open(auth.resource_metadata()?)",
                "/.well-known/oauth-protected-resource",
            ],
            "GET",
            "/.well-known/oauth-protected-resource",
            &[][..],
        ),
        (
            [
                "WARN",
                "a health probe",
                "let the probe pass with \
                 auth.layer().open_grpc_service(\"grpc.health.v1.Health\")?",
                "/grpc.health.v1.Health/Check",
            ],
            "POST",
            "/grpc.health.v1.Health/Check",
            &[][..],
        ),
        (
            [
                "WARN",
                "a token in the header x-forwarded-access-token",
                "send one header Authorization: Bearer <access token>; or let token_source(..) \
                 read it there",
                "/me",
            ],
            "GET",
            "/me",
            &[("x-forwarded-access-token", &*token)],
        ),
    ] {
        assert_eq!(look(&app, method, uri, headers).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_of_the_proxy_that_arrives_at_its_own_layer_is_an_error() {
    let tenant = tenant().await;
    let auth = settings(&tenant).own_endpoints(["/register".to_owned()]);
    let app = app(&auth.build().unwrap());
    assert_eq!(
        look(&app, "POST", "/register", &[]).await,
        [
            "ERROR",
            "an endpoint of the OAuth proxy itself",
            "keep the proxy's routes outside of its own Layer: proxy.protect(routes) does, or \
             .merge(proxy.routes()) after .layer(proxy.layer())",
            "/register",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_looks_alike_is_said_again_after_a_day_with_the_count() {
    let tenant = tenant().await;
    let app = app(&settings(&tenant).build().unwrap());
    let probe = || request("GET", "/healthz", &[("user-agent", "kube-probe/1.33")]);
    assert_eq!(lines(&app, [probe(), probe()]).await.len(), 1);
    tokio::time::advance(std::time::Duration::from_secs(86_399)).await;
    assert!(lines(&app, [probe()]).await.is_empty());
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    let lines = lines(&app, [probe()]).await;
    assert_eq!(field(&lines[0], "count").as_deref(), Some("3"));
}

/// Checks that no client can make the log advise opening a path of the client's choice. Any client
/// can send the user agent of a probe, and any path.
#[tokio::test(start_paused = true)]
async fn nobody_has_the_log_advise_to_open_a_path_of_their_choice() {
    let tenant = tenant().await;
    let app = app(&settings(&tenant).build().unwrap());
    let probe = [("user-agent", "kube-probe/1.33")];
    assert_eq!(
        look(&app, "GET", "/admin/users", &probe).await,
        [
            "WARN",
            "a health probe",
            "let the probe request its own path, outside of the Layer: \
             auth.protect(routes).open(Router::new().route(\"/healthz\", ..))",
            "/admin/users",
        ]
    );
    for path in [
        "/admin/users/health",
        "/admin/metrics",
        "/x/y/ready",
        "/x/ready/y",
    ] {
        let lines = lines(&app, [request("GET", path, &[])]).await;
        assert_eq!(lines, [] as [String; 0], "{path}");
    }
    // A stranger's path does not keep an honest one out of the log.
    lines(&app, [request("GET", "/health", &[])]).await;
    assert_eq!(look(&app, "GET", "/healthz", &[]).await[3], "/healthz");
}

#[tokio::test]
async fn what_may_be_private_in_a_path_is_not_shown() {
    let tenant = tenant().await;
    let app = app(&settings(&tenant).build().unwrap());
    let token = user(&tenant).mint();
    let page = [("accept", "text/html")];
    let said = look(&app, "GET", &format!("/dl/{token}"), &page).await;
    assert_eq!(said[3], "(not shown: it may be private)");
}

#[tokio::test]
async fn an_ordinary_request_without_a_token_gets_a_few_words_and_no_line() {
    let tenant = tenant().await;
    let app = app(&settings(&tenant).build().unwrap());
    assert!(lines(&app, [request("POST", "/me", &[])]).await.is_empty());
    let response = app.oneshot(request("GET", "/me", &[])).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, NO_TOKEN);
}

#[tokio::test]
async fn a_test_finds_the_routes_that_were_added_after_the_layer() {
    let tenant = tenant().await;
    let auth = settings(&tenant).build().unwrap();
    let app = app(&auth)
        .route("/secret", get(async || "the secret"))
        .route(
            "/own",
            get(async || (http::StatusCode::UNAUTHORIZED, "a 401 of its own")),
        );
    let me = (Method::GET, "/me");
    assert_eq!(check_protected(app.clone(), [me.clone()]).await, Ok(()));
    let routes = [
        (Method::GET, "/secret"),
        me,
        (Method::POST, "/own"),
        (Method::GET, "/own"),
        (Method::GET, "no path"),
    ];
    let open = check_protected(app, routes).await.unwrap_err().to_string();
    assert_eq!(
        open,
        "not refused without a token: GET /secret (200), POST /own (405), GET /own (401), GET no \
         path (invalid uri character); add routes before .layer(auth.layer()), or to \
         auth.protect(..), where nothing is open unless it is named"
    );
}

/// Checks that a handler alone also refuses an anonymous request.
#[tokio::test]
async fn a_handler_that_takes_the_caller_refuses_what_has_none() {
    let tenant = tenant().await;
    let auth = settings(&tenant).build().unwrap();
    let app = Router::new()
        .route("/me", get(async |caller: Caller| caller.kind().to_string()))
        .layer(auth.layer().optional());
    assert_eq!(check_protected(app, [(Method::GET, "/me")]).await, Ok(()));
}
