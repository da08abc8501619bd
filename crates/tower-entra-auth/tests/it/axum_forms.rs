//! Tests of the forms for axum that prevent mistakes, and of the readiness endpoint.
//!
//! The forms are a protected router, a requirement in a handler's signature, and a route whose
//! methods are all behind a requirement.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::FromRef;
use axum::routing::{any, get};
use entra_dev_tenant::DevTenant;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use tower::{Service, ServiceExt as _};
use tower_entra_auth::axum::{CallerRequirement, CallerWith, Protected};
use tower_entra_auth::{
    AppPermission, Caller, EntraAuth, Scope, require::IntoCondition,
    resource_metadata::ProtectedResource,
};

use crate::logs::Log;
use crate::support::{API, CLIENT, NO_TOKEN, auth, client, settings, tenant, user};

/// Returns the status and body of the response.
async fn ask<S>(service: &S, method: Method, path: &str, token: &str) -> (u16, String)
where
    S: Service<Request<Body>, Response = axum::response::Response> + Clone,
    S::Error: std::fmt::Debug,
{
    let mut request = Request::builder().method(method).uri(path);
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Body::empty()).unwrap();
    let response = service.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn get_of<S>(service: &S, path: &str, token: &str) -> u16
where
    S: Service<Request<Body>, Response = axum::response::Response> + Clone,
    S::Error: std::fmt::Debug,
{
    ask(service, Method::GET, path, token).await.0
}

async fn me(caller: Option<Caller>) -> &'static str {
    match caller {
        Some(_) => "me",
        None => "nobody",
    }
}

#[tokio::test]
async fn a_protected_router_needs_a_token_on_every_path_but_the_open_ones() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let token = user(&tenant).mint();
    let app = auth
        .protect(Router::new().route("/me", get(me)))
        .open(Router::new().route("/ready", get(auth.readiness())))
        .open(Router::new().route("/about", get(|| async { "about" })));
    for (method, path, without, with) in [
        (Method::GET, "/me", 401, 200),
        (Method::POST, "/me", 401, 405),
        (Method::GET, "/nothing", 401, 404),
        (Method::GET, "/about/more", 401, 404),
        (Method::GET, "/about", 200, 200),
        (Method::POST, "/about", 405, 405),
    ] {
        assert_eq!(
            ask(&app, method.clone(), path, "").await.0,
            without,
            "{path}"
        );
        assert_eq!(ask(&app, method, path, &token).await.0, with, "{path}");
    }
    assert_eq!(get_of(&app, "/ready", "").await, 200);

    // The application also works as a part of another router.
    let whole = Router::new().nest_service("/api", app.clone());
    assert_eq!(get_of(&whole, "/api/me", "").await, 401);
    assert_eq!(get_of(&whole, "/api/me", &token).await, 200);
    assert_eq!(get_of(&whole, "/api/about", "").await, 200);
    assert_eq!(get_of(&app.into_router(), "/me", "").await, 401);
}

#[tokio::test]
async fn the_metadata_of_the_resource_is_open_by_name() {
    let tenant = tenant().await;
    for (url, paths) in [
        ("https://example.com/mcp", &["/mcp", ""][..]),
        ("https://example.com", &[""][..]),
    ] {
        let resource = ProtectedResource::at(url).scopes(["Reports.Read"]);
        let auth = settings(&tenant).protected_resource(resource);
        let auth = auth.build().unwrap();
        let routes = Router::new().route("/mcp", any(|| async { "mcp" }));
        let app = auth.protect(routes);
        let app = app.open(auth.resource_metadata().unwrap());
        for path in paths {
            let path = format!("/.well-known/oauth-protected-resource{path}");
            let (status, document) = ask(&app, Method::GET, &path, "").await;
            assert_eq!(status, 200, "{path}");
            assert!(document.contains(url), "{document}");
        }
        assert_eq!(get_of(&app, "/mcp", "").await, 401);
    }
}

#[tokio::test]
async fn fallbacks_are_as_protected_as_the_router_that_they_are_of() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let token = user(&tenant).mint();
    let routes = || Router::new().route("/me", get(me));
    let open = || Router::new().route("/about", get(|| async { "about" }));
    let fallback = || async { "fallback" };

    let app = auth.protect(routes().fallback(fallback)).open(open());
    assert_eq!(get_of(&app, "/nothing", "").await, 401);
    assert_eq!(get_of(&app, "/nothing", &token).await, 200);

    let app = auth.protect(routes()).open(open().fallback(fallback));
    assert_eq!(get_of(&app, "/nothing", "").await, 200);
    assert_eq!(get_of(&app, "/me", "").await, 401);
}

#[tokio::test]
async fn a_protected_router_has_the_settings_of_its_layer_and_is_served_as_a_router() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let layer = auth.layer().optional();
    let app = layer.protect(Router::new().route("/me", get(me)));
    assert_eq!(
        ask(&app, Method::GET, "/me", "").await,
        (200, "nobody".to_owned())
    );

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/me", listener.local_addr().unwrap());
    let server = tokio::spawn(async { axum::serve(listener, app.into_make_service()).await });
    let response = client().get(&url).bearer_auth(user(&tenant).mint());
    assert_eq!(response.send().await.unwrap().text().await.unwrap(), "me");
    let response = client().get(&url).bearer_auth("garbage").send();
    assert_eq!(response.await.unwrap().status(), StatusCode::UNAUTHORIZED);
    server.abort();
}

struct ReadReports;

impl CallerRequirement for ReadReports {
    fn condition() -> impl IntoCondition {
        Scope("Reports.Read").or(AppPermission("Reports.Read.All"))
    }
}

async fn reports(caller: CallerWith<ReadReports>) -> String {
    let kind = caller.kind().to_string();
    // Both forms contain the same caller.
    assert_eq!(
        caller.clone().into_caller().bearer_token(),
        caller.bearer_token()
    );
    kind
}

/// The state of an application.
#[derive(Clone)]
struct App {
    auth: EntraAuth,
}

impl FromRef<App> for EntraAuth {
    fn from_ref(app: &App) -> Self {
        app.auth.clone()
    }
}

fn app(auth: &EntraAuth) -> Router {
    let state = App { auth: auth.clone() };
    Router::new()
        .route("/reports", get(reports))
        .with_state(state)
}

#[tokio::test]
async fn a_handler_has_its_requirement_in_its_signature() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let app = auth.protect(app(&auth));
    let reader = user(&tenant).mint();
    let other = tenant.user("bob").scope("Orders.Read").for_api(API).mint();
    let job = tenant
        .app(CLIENT)
        .role("Reports.Read.All")
        .for_api(API)
        .mint();
    let ask = |token: &str| {
        let (app, token) = (app.clone(), token.to_owned());
        async move { ask(&app, Method::GET, "/reports", &token).await }
    };
    assert_eq!(ask(&reader).await, (200, "user".to_owned()));
    assert_eq!(ask(&job).await, (200, "app".to_owned()));
    assert_eq!(ask(&other).await, (403, "missing_scope\n".to_owned()));

    // The response has the requested format and names the scope to request.
    let request = Request::get("/reports")
        .header("authorization", format!("Bearer {other}"))
        .header("accept", "application/json");
    let request = request.body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    let challenge = response.headers()["www-authenticate"].to_str().unwrap();
    assert!(challenge.contains("/Reports.Read\""), "{challenge}");
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
}

/// Checks that a caller of another `EntraAuth` does not meet the requirement, although the tokens
/// of both APIs name the same scope.
#[tokio::test]
async fn a_caller_of_another_entra_auth_does_not_meet_it() {
    let tenant = tenant().await;
    let ours = auth(&tenant);
    let others = auth(&tenant);
    let token = user(&tenant).mint();
    let anonymous = (401, NO_TOKEN.to_owned());
    let wrong_layer = (500, "wrong_layer\n".to_owned());
    for (app, of_nobody, of_reader) in [
        (
            others.protect(app(&ours)),
            anonymous.clone(),
            wrong_layer.clone(),
        ),
        (
            Protected::open(ours.protect(Router::new()), app(&ours)),
            wrong_layer.clone(),
            wrong_layer.clone(),
        ),
        (
            ours.layer().optional().protect(app(&ours)),
            anonymous.clone(),
            (200, "user".to_owned()),
        ),
        // If there are two Layers, the innermost one determines the caller.
        (
            ours.protect(others.protect(app(&ours)).into_router()),
            anonymous,
            wrong_layer,
        ),
    ] {
        assert_eq!(ask(&app, Method::GET, "/reports", "").await, of_nobody);
        assert_eq!(ask(&app, Method::GET, "/reports", &token).await, of_reader);
    }
}

struct Impossible;

impl CallerRequirement for Impossible {
    fn condition() -> impl IntoCondition {
        Scope("Reports Read")
    }
}

#[tokio::test]
async fn a_requirement_that_no_token_could_meet_is_a_fault_that_the_log_explains() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let handler = |_: CallerWith<Impossible>| async { "served" };
    let routes = Router::new().route("/", get(handler));
    let app = auth.protect(routes.with_state(auth.clone()));
    let (log, _guard) = Log::capture();
    assert_eq!(
        ask(&app, Method::GET, "/", &user(&tenant).mint()).await,
        (500, "invalid_requirement\n".to_owned())
    );
    let log = log.text();
    for part in [
        "ERROR",
        "invalid_requirement",
        "Impossible",
        "Reports Read",
        "auth.require(..)?",
    ] {
        assert!(log.contains(part), "{part} in {log}");
    }
    assert!(auth.require(Impossible::condition()).is_err());
}

static ASKED: AtomicUsize = AtomicUsize::new(0);

struct Counted;

impl CallerRequirement for Counted {
    fn condition() -> impl IntoCondition {
        ASKED.fetch_add(1, Ordering::SeqCst);
        Scope("Reports.Read")
    }
}

#[tokio::test]
async fn a_condition_is_asked_for_once_in_a_thread() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let handler = |_: CallerWith<Counted>| async { "served" };
    let routes = Router::new().route("/", get(handler));
    let app = auth.protect(routes.with_state(auth.clone()));
    for _ in 0..3 {
        assert_eq!(get_of(&app, "/", &user(&tenant).mint()).await, 200);
    }
    assert_eq!(ASKED.load(Ordering::SeqCst), 1);
}

/// Checks all methods of a route, and shows what the documentation says about
/// `get(..).layer(..).post(..)`.
#[tokio::test]
async fn all_methods_of_a_route_are_behind_its_requirement() {
    async fn statuses(tenant: &DevTenant, auth: &EntraAuth, routes: Router) -> [u16; 3] {
        let app = auth.protect(routes);
        let token = tenant.user("bob").scope("Orders.Read").for_api(API).mint();
        let mut statuses = [0; 3];
        for (status, method) in statuses
            .iter_mut()
            .zip([Method::GET, Method::POST, Method::DELETE])
        {
            *status = ask(&app, method, "/orders", &token).await.0;
        }
        statuses
    }
    let tenant = tenant().await;
    let auth = settings(&tenant).build().unwrap();
    let clerks = auth.require(Scope("Orders.Write")).unwrap();
    let ok = || async { "ok" };
    let routes = Router::new().merge(clerks.route("/orders", get(ok).post(ok)));
    assert_eq!(statuses(&tenant, &auth, routes).await, [403, 403, 403]);
    let routes = clerks.route("/orders", any(ok));
    assert_eq!(statuses(&tenant, &auth, routes).await, [403, 403, 403]);
    let chained = get(ok).layer(clerks.clone()).post(ok);
    let routes = Router::new().route("/orders", chained);
    assert_eq!(statuses(&tenant, &auth, routes).await, [403, 200, 403]);
}

#[tokio::test]
async fn readiness_is_a_handler_and_a_service() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let service = auth.readiness();
    let answer = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    // The request for readiness has started the fetch.
    auth.ready().await.unwrap();
    let routes = Router::new().route("/ready", get(auth.readiness()));
    assert_eq!(get_of(&routes, "/ready", "").await, 200);
    assert_eq!(auth.readiness().response().await.status(), StatusCode::OK);
}

#[tokio::test]
async fn readiness_asks_what_the_service_adds_each_time() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    auth.ready().await.unwrap();
    let is_there = Arc::new(AtomicBool::new(false));
    let database = Arc::clone(&is_there);
    let readiness = auth.readiness().and(async || Ok(())).and(async move || {
        match database.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err("database_unavailable"),
        }
    });
    let routes = Router::new().route("/ready", get(readiness.clone()));
    assert_eq!(
        ask(&routes, Method::GET, "/ready", "").await,
        (
            503,
            r#"{"code":"database_unavailable","ready":false}"#.to_owned()
        )
    );
    let answer = readiness.response().await;
    assert_eq!(answer.headers()["retry-after"], "5");
    is_there.store(true, Ordering::SeqCst);
    let (status, body) = ask(&routes, Method::GET, "/ready", "").await;
    assert_eq!(status, 200);
    assert!(body.starts_with(r#"{"ready":true,"keys":"#), "{body}");
    // The keys are still required.
    let without_keys = settings(&tenant).build().unwrap();
    let readiness = without_keys.readiness().and(async || Ok(()));
    assert_eq!(readiness.response().await.status(), 503);
}
