//! Tests of requirements on routes: the places for their Layer, its responses, and its behaviour in
//! a wrong place.

use std::convert::Infallible;
use std::task::{Context, Waker};

use axum::Router;
use axum::routing::{any, get};
use entra_dev_tenant::DevTenant;
use http::Request;
use http::Response;
use tonic::Code;
use tonic::transport::server::TcpIncoming;
use tower::{Layer as _, Service as _, ServiceBuilder, ServiceExt as _, service_fn};
use tower_entra_auth::{
    AppPermission, Caller, EntraAuth, Group, RequireLayer, Scope, UserRole,
    layer::AnswerBody,
    require::{AuthenticationContext, NotInGroup},
};

use crate::grpc_api;
use crate::support::{API, CLIENT, Server, auth, client, header, serve, settings, tenant, user};

/// Returns the status, and the whole challenge or else the body.
async fn ask(server: &Server, path: &str, token: &str) -> (u16, String) {
    told(
        client()
            .get(format!("{}{path}", server.url))
            .bearer_auth(token)
            .send()
            .await
            .unwrap(),
    )
    .await
}

async fn told(response: reqwest::Response) -> (u16, String) {
    let status = response.status().as_u16();
    let challenge = header(&response, "www-authenticate").map(str::to_owned);
    let body = response.text().await.unwrap();
    (status, challenge.unwrap_or(body))
}

fn insufficient(parameters: &str, code: &str) -> (u16, String) {
    let text =
        format!("Bearer error=\"insufficient_scope\"{parameters}, error_description=\"{code}\"");
    (403, text)
}

fn ok() -> (u16, String) {
    (200, "ok".to_owned())
}

fn missing_scope() -> (u16, String) {
    insufficient(
        &format!(", scope=\"api://{API}/Reports.Write\""),
        "missing_scope",
    )
}

fn writer(tenant: &DevTenant) -> String {
    user(tenant).scope("Reports.Write").mint()
}

#[tokio::test]
async fn a_requirement_stands_on_a_method_a_route_a_nested_router_a_fallback_or_any_service() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let writers = || auth.require(Scope("Reports.Write")).unwrap();
    let handler = || get(async || "ok");
    let nested = Router::new()
        .route("/a", handler())
        .route("/open", handler())
        .layer(writers());
    let plain = writers().layer(service_fn(async |_: Request<axum::body::Body>| {
        Ok::<_, Infallible>(Response::new("ok".to_owned()))
    }));
    let app = Router::new()
        .route("/readers", handler())
        .route("/method", handler().layer(writers()))
        .route("/service", any(async || "unused"))
        .nest("/nested", nested)
        .merge(
            Router::new()
                .route("/route_layer", handler())
                .route_layer(writers()),
        )
        .nest_service("/plain", plain)
        .fallback_service(handler().layer(writers()))
        .layer(auth.layer());
    let server = serve(app).await;
    let (reader, writer) = (user(&tenant).mint(), writer(&tenant));
    assert_eq!(ask(&server, "/readers", &reader).await, ok());
    for path in [
        "/method",
        "/nested/a",
        "/nested/open",
        "/route_layer",
        "/plain",
        "/plain/below",
        "/whatever/else",
    ] {
        assert_eq!(ask(&server, path, &reader).await, missing_scope(), "{path}");
        assert_eq!(ask(&server, path, &writer).await, ok(), "{path}");
        let without = client().get(format!("{}{path}", server.url));
        let without = told(without.send().await.unwrap()).await;
        assert_eq!(without, (401, "Bearer".to_owned()), "{path}");
    }
}

/// Checks which clients receive axum's own responses, 404 and 405.
#[tokio::test]
async fn who_has_no_token_does_not_learn_which_paths_and_methods_there_are() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let writers = auth.require(Scope("Reports.Write")).unwrap();
    let app = Router::new()
        .route("/method", get(async || "ok").layer(writers.clone()))
        .merge(
            Router::new()
                .route("/route_layer", get(async || "ok"))
                .route_layer(writers),
        )
        .layer(auth.layer());
    let server = serve(app).await;
    let (reader, writer) = (user(&tenant).mint(), writer(&tenant));
    let post = |path: &str, token: &str| {
        let request = client().post(format!("{}{path}", server.url));
        request.bearer_auth(token).send()
    };
    let bare = (401, "Bearer".to_owned());
    for path in ["/nothing", "/method", "/route_layer"] {
        for method in [reqwest::Method::GET, reqwest::Method::POST] {
            let request = client().request(method, format!("{}{path}", server.url));
            assert_eq!(told(request.send().await.unwrap()).await, bare, "{path}");
        }
    }
    // The requirement of a route is not checked if there is no such route.
    assert_eq!(ask(&server, "/nothing", &reader).await.0, 404);
    assert_eq!(post("/nothing", &reader).await.unwrap().status(), 404);
    // `MethodRouter::layer` covers the 405 of its route, and so does `Router::route_layer`.
    for path in ["/method", "/route_layer"] {
        assert_eq!(
            told(post(path, &reader).await.unwrap()).await,
            missing_scope(),
            "{path}"
        );
        assert_eq!(post(path, &writer).await.unwrap().status(), 405, "{path}");
    }
}

/// Checks the table in `docs/tasks.md` about Layers that are not around everything.
#[tokio::test]
async fn what_is_outside_of_a_layer_is_open() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let handler = || get(async || "ok");
    let nested = || Router::new().route("/a", handler()).layer(auth.layer());
    let app = Router::new()
        .nest("/nested", nested())
        .nest("/with_fallback", nested_with_fallback(&auth))
        .merge(
            Router::new()
                .route("/route_layer", handler())
                .route_layer(auth.layer()),
        )
        .route("/late", handler().layer(auth.layer()).post(async || "open"));
    let outer = app.clone().fallback(async || "outer fallback");
    let (app, outer) = (serve(app).await, serve(outer).await);
    let token = user(&tenant).mint();
    for (server, method, path, without, with) in [
        (&app, "GET", "/nested/a", 401, 200),
        (&app, "GET", "/nested/nothing", 404, 404),
        (&app, "GET", "/nested", 404, 404),
        (&outer, "GET", "/nested/nothing", 200, 200),
        (&app, "GET", "/with_fallback/nothing", 401, 200),
        (&outer, "GET", "/with_fallback/nothing", 401, 200),
        (&app, "GET", "/route_layer", 401, 200),
        (&app, "POST", "/route_layer", 401, 405),
        (&app, "GET", "/nothing", 404, 404),
        (&outer, "GET", "/nothing", 200, 200),
        (&app, "GET", "/late", 401, 200),
        (&app, "POST", "/late", 200, 200),
        (&app, "PUT", "/late", 401, 405),
    ] {
        let request = || {
            let url = format!("{}{path}", server.url);
            client().request(method.parse().unwrap(), url)
        };
        let found = request().send().await.unwrap().status();
        assert_eq!(found, without, "{method} {path} without a token");
        let found = request().bearer_auth(&token).send().await.unwrap().status();
        assert_eq!(found, with, "{method} {path} with a token");
    }
}

fn nested_with_fallback(auth: &EntraAuth) -> Router {
    Router::new()
        .route("/a", get(async || "ok"))
        .fallback(async || "inner fallback")
        .layer(auth.layer())
}

/// Checks that a challenge names a scope if requesting that scope would suffice.
#[tokio::test]
async fn scopes_are_named_where_one_would_do() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let scope = || Scope("Reports.Write");
    let scoped = format!(", scope=\"api://{API}/Reports.Write\"");
    for (condition, parameters, code) in [
        (UserRole("Admin").or(scope()), &*scoped, "missing_role"),
        (scope().or(UserRole("Admin")), &scoped, "missing_scope"),
        (
            Group("8c5d2f3e-0c9a-4f7e-8a64-3a8f6d1d2b11").or(scope()),
            &scoped,
            "groups_not_emitted",
        ),
        (
            scope().and(UserRole("Editor")).or(UserRole("Admin")),
            &scoped,
            "missing_scope",
        ),
        (UserRole("Admin").and(scope()), "", "missing_role"),
    ] {
        let layer = auth.require(condition).unwrap();
        let app = Router::new().route("/", get(async || "ok").layer(layer));
        let server = serve(app.layer(auth.layer())).await;
        let answer = ask(&server, "/", &user(&tenant).mint()).await;
        assert_eq!(answer, insufficient(parameters, code));
    }
}

#[tokio::test]
async fn a_refused_head_has_no_body_and_a_refusal_keeps_no_place_in_the_inner_service() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let inner =
        || service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let refusing = || auth.require(Scope("Reports.Write")).unwrap();
    let limited = |layer| {
        ServiceBuilder::new()
            .layer(layer)
            .concurrency_limit(1)
            .service(inner())
    };
    let mut service = ServiceBuilder::new()
        .layer(auth.layer())
        .service(limited(refusing()));
    let request = |method: &str| {
        let token = format!("Bearer {}", user(&tenant).mint());
        let request = Request::builder()
            .method(method)
            .header("authorization", token);
        request.body(()).unwrap()
    };
    for (method, length) in [("HEAD", 0), ("GET", "missing_scope\n".len() as u64)] {
        let response = service
            .ready()
            .await
            .unwrap()
            .call(request(method))
            .await
            .unwrap();
        assert_eq!(response.status(), 403);
        assert_eq!(
            http_body::Body::size_hint(response.body()).exact(),
            Some(length)
        );
    }
    // A clone that was polled ready and refused its request holds no place: another clone becomes
    // ready.
    let mut polled = limited(refusing());
    let mut other = polled.clone();
    let refused = polled
        .ready()
        .await
        .unwrap()
        .call(request("GET"))
        .await
        .unwrap();
    assert_eq!(refused.status(), 500);
    let mut context = Context::from_waker(Waker::noop());
    assert!(other.poll_ready(&mut context).is_ready());
}

#[tokio::test]
async fn each_requirement_that_is_not_met_has_its_own_answer() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let group = "11111111-2222-4333-8444-555555555555";
    let requirements = [
        ("/scope", auth.require(Scope("Reports.Write"))),
        (
            "/either",
            auth.require(Scope("Reports.Write").or(AppPermission("Reports.Write.All"))),
        ),
        ("/role", auth.require(UserRole("Admin"))),
        (
            "/permission",
            auth.require(AppPermission("Reports.Read.All")),
        ),
        ("/group", auth.require(Group(group))),
        ("/not", auth.require(NotInGroup(group))),
        ("/step-up", auth.require(AuthenticationContext("c1"))),
    ];
    let mut app = Router::new();
    for (path, requirement) in requirements {
        app = app.route(path, get(async || "ok").layer(requirement.unwrap()));
    }
    let server = serve(app.layer(auth.layer())).await;

    let app_token = tenant.app(CLIENT).role("Other").for_api(API).mint();
    let scope = format!(", scope=\"api://{API}/Reports.Write\"");
    for (path, token, expected) in [
        ("/scope", user(&tenant).mint(), missing_scope()),
        ("/scope", app_token.clone(), insufficient(&scope, "user_required")),
        ("/scope", writer(&tenant), ok()),
        ("/either", user(&tenant).mint(), missing_scope()),
        ("/either", app_token.clone(), insufficient("", "missing_app_permission")),
        ("/role", user(&tenant).mint(), insufficient("", "missing_role")),
        ("/role", user(&tenant).role("Admin").mint(), ok()),
        ("/permission", user(&tenant).mint(), insufficient("", "app_required")),
        // A user's role of the same name is not the permission of an application.
        ("/permission", user(&tenant).role("Reports.Read.All").mint(), insufficient("", "app_required")),
        ("/permission", app_token, insufficient("", "missing_app_permission")),
        ("/group", user(&tenant).mint(), insufficient("", "groups_not_emitted")),
        ("/group", user(&tenant).claim("groups", [group]).mint(), ok()),
        ("/not", user(&tenant).claim("groups", [group]).mint(), insufficient("", "forbidden_group")),
        ("/group", user(&tenant).claim("hasgroups", true).mint(), insufficient("", "groups_overage")),
        ("/step-up", user(&tenant).claim("acrs", ["c1"]).mint(), ok()),
        ("/step-up", user(&tenant).mint(), insufficient("", "step_up")),
        (
            "/step-up",
            user(&tenant).claim("xms_cc", ["cp1"]).mint(),
            (
                401,
                "Bearer error=\"insufficient_claims\", \
                 claims=\"eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19\", \
                 authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\", \
                 error_description=\"step_up\""
                    .to_owned(),
            ),
        ),
    ] {
        assert_eq!(ask(&server, path, &token).await, expected, "{path}");
    }
}

#[tokio::test]
async fn scopes_are_named_as_they_are_requested_by_the_app_id_uri_that_was_set() {
    let tenant = tenant().await;
    let auth = settings(&tenant).audience("api://orders/").build().unwrap();
    let writers = auth.require(Scope("Reports.Write")).unwrap();
    let app = Router::new().route("/", get(async || "ok").layer(writers));
    let server = serve(app.layer(auth.layer())).await;
    assert_eq!(
        ask(&server, "/", &user(&tenant).mint()).await,
        insufficient(", scope=\"api://orders/Reports.Write\"", "missing_scope")
    );
}

/// Returns `/` behind these Layers, the first one innermost.
fn behind(layers: &[Stacked<'_>]) -> Router {
    let mut app = Router::new().route(
        "/",
        get(async |caller: Option<Caller>| caller.map_or("nobody".to_owned(), |_| "ok".to_owned())),
    );
    for layer in layers {
        app = match layer {
            Stacked::Verifies(auth) => app.layer(auth.layer()),
            Stacked::Optional(auth) => app.layer(auth.layer().optional()),
            Stacked::Requires(auth) => app.layer(auth.require(Scope("Reports.Read")).unwrap()),
        };
    }
    app
}

enum Stacked<'a> {
    Verifies(&'a EntraAuth),
    Optional(&'a EntraAuth),
    Requires(&'a EntraAuth),
}

#[tokio::test]
async fn a_requirement_knows_only_callers_of_its_own_auth() {
    use Stacked::{Optional, Requires, Verifies};

    let tenant = tenant().await;
    let (one, two) = (auth(&tenant), auth(&tenant));
    let clone = one.clone();
    let token = user(&tenant).mint();
    let wrong_layer = || (500, "wrong_layer\n".to_owned());
    let bare = || (401, "Bearer".to_owned());
    let nobody = || (200, "nobody".to_owned());
    for (layers, with_token, without) in [
        (&[Requires(&one), Verifies(&one)][..], ok(), bare()),
        (&[Requires(&clone), Verifies(&one)], ok(), bare()),
        (&[Requires(&one)], wrong_layer(), wrong_layer()),
        (&[Requires(&one), Verifies(&two)], wrong_layer(), bare()),
        // Outside the Layer there is no caller yet.
        (
            &[Verifies(&one), Requires(&one)],
            wrong_layer(),
            wrong_layer(),
        ),
        // An admin API is inside a public one: the inner Layer's caller counts from there on.
        (
            &[Requires(&two), Verifies(&two), Verifies(&one)],
            ok(),
            bare(),
        ),
        (
            &[Requires(&one), Verifies(&two), Verifies(&one)],
            wrong_layer(),
            bare(),
        ),
        (
            &[
                Requires(&two),
                Verifies(&two),
                Requires(&one),
                Verifies(&one),
            ],
            ok(),
            bare(),
        ),
        // A requirement refuses anonymous requests even if the Layer lets them pass.
        (&[Requires(&one), Optional(&one)], ok(), bare()),
        (&[Optional(&one)], ok(), nobody()),
        (
            &[Requires(&one), Optional(&two)],
            wrong_layer(),
            wrong_layer(),
        ),
        (&[Optional(&two), Verifies(&one)], ok(), bare()),
        (&[Verifies(&two), Optional(&one)], ok(), bare()),
    ] {
        let server = serve(behind(layers)).await;
        assert_eq!(ask(&server, "/", &token).await, with_token);
        let request = client().get(&server.url).send().await.unwrap();
        assert_eq!(told(request).await, without);
    }
}

#[tokio::test]
async fn an_anonymous_request_of_an_inner_layer_is_not_the_caller_of_an_outer_one() {
    let tenant = tenant().await;
    let outer = auth(&tenant);
    let inner = settings(&tenant).token_source(Nowhere).build().unwrap();
    let app = behind(&[Stacked::Optional(&inner), Stacked::Verifies(&outer)]);
    let server = serve(app).await;
    let answer = ask(&server, "/", &user(&tenant).mint()).await;
    assert_eq!(answer, (200, "nobody".to_owned()));
}

/// A token source that never finds a token.
struct Nowhere;

impl tower_entra_auth::token::TokenSource for Nowhere {
    fn find<'r>(
        &self,
        _: tower_entra_auth::token::RequestHead<'r>,
    ) -> tower_entra_auth::token::SentToken<'r> {
        tower_entra_auth::token::SentToken::Nothing
    }
}

#[tokio::test]
async fn grpc_is_answered_in_trailers() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let service = auth.layer().layer(
        auth.require(AuthenticationContext("c1").and(Scope("Reports.Write")))
            .unwrap()
            .layer(service_fn(async |_: Request<()>| {
                Ok::<_, Infallible>(Response::new(String::new()))
            })),
    );
    let cp1 = |token: entra_dev_tenant::TokenBuilder<'_>| token.claim("xms_cc", ["cp1"]).mint();
    for (token, status, message) in [
        (user(&tenant).mint(), "7", "missing_scope"),
        (writer(&tenant), "7", "step_up"),
        (cp1(user(&tenant).scope("Reports.Write")), "16", "step_up"),
    ] {
        let request = Request::post("/")
            .header("content-type", "application/grpc")
            .header("authorization", format!("Bearer {token}"))
            .body(())
            .unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], status, "{message}");
        assert_eq!(response.headers()["grpc-message"], message);
    }
}

/// Serves the API over gRPC behind any Layers, on a free port.
macro_rules! serve_tonic {
    ($layered:expr) => {{
        memory_network::assert_clock_runs();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let api = grpc_api::service(grpc_api::Api::default());
        let routes = $layered.add_service(api);
        Server::new(url, routes.serve_with_incoming(incoming))
    }};
}

/// Checks the section "Put the Layers in the right order" of `docs/tasks.md`.
#[tokio::test]
async fn tonic_and_a_service_builder_take_the_outer_layer_first_and_axum_takes_it_last() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let writers = || auth.require(Scope("Reports.Write")).unwrap();
    let (reader, writer) = (user(&tenant).mint(), writer(&tenant));

    let builder = tonic::transport::Server::builder;
    let right = serve_tonic!(builder().layer(auth.layer()).layer(writers()));
    let wrong = serve_tonic!(builder().layer(writers()).layer(auth.layer()));
    let open = auth.layer().open_grpc_service("grpc.health.v1.Health");
    let open = serve_tonic!(builder().layer(open.unwrap()).layer(writers()));
    for (server, token, code) in [
        (&right, &*writer, Code::Ok),
        (&right, &reader, Code::PermissionDenied),
        (&wrong, &writer, Code::Internal),
        // The requirement refuses requests to the open service, even those with a token.
        (&open, &writer, Code::Unauthenticated),
    ] {
        let called = grpc_api::call_with(server, grpc_api::Method::Unary, token).await;
        assert_eq!(
            called.end.err().map_or(Code::Ok, |status| status.code()),
            code
        );
    }

    let handler =
        || service_fn(async |_| Ok::<_, Infallible>(Response::new(AnswerBody::default())));
    let right = ServiceBuilder::new()
        .layer(auth.layer())
        .layer(writers())
        .service(handler());
    let wrong = ServiceBuilder::new()
        .layer(writers())
        .layer(auth.layer())
        .service(handler());
    assert_eq!(status(right.clone(), "/", Some(&writer)).await, 200);
    assert_eq!(status(right, "/", Some(&reader)).await, 403);
    assert_eq!(status(wrong, "/", Some(&writer)).await, 500);

    let routes = || Router::new().route("/", get(async || "ok"));
    let right = routes().layer(writers()).layer(auth.layer());
    let wrong = routes().layer(auth.layer()).layer(writers());
    assert_eq!(status(right.clone(), "/", Some(&writer)).await, 200);
    assert_eq!(status(right, "/", Some(&reader)).await, 403);
    assert_eq!(status(wrong, "/", Some(&writer)).await, 500);
}

/// Returns the status of the response to a request with this token.
async fn status<S, B>(service: S, path: &str, token: Option<&str>) -> u16
where
    S: tower::Service<Request<axum::body::Body>, Response = Response<B>, Error = Infallible>,
{
    let mut request = Request::get(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(axum::body::Body::empty()).unwrap();
    let Ok(response) = service.oneshot(request).await;
    response.status().as_u16()
}

#[tokio::test]
async fn a_path_that_does_not_exist_is_behind_the_layer_of_the_router_that_was_merged_last() {
    let tenant = tenant().await;
    let customers = auth(&tenant);
    let staff = settings(&tenant).client_id(CLIENT).build().unwrap();
    let router = |path, auth: &EntraAuth| {
        let routes = Router::new().route(path, get(async || "ok"));
        routes.layer(auth.layer())
    };
    let app = router("/customers", &customers).merge(router("/staff", &staff));
    let customer = user(&tenant).mint();
    let employee = user(&tenant).for_api(CLIENT).mint();
    for (path, token, expected) in [
        ("/customers", &customer, 200),
        ("/customers", &employee, 401),
        ("/staff", &customer, 401),
        ("/staff", &employee, 200),
        ("/nothing", &customer, 401),
        ("/nothing", &employee, 404),
    ] {
        assert_eq!(status(app.clone(), path, Some(token)).await, expected);
    }
}

/// Checks the section "Open a path of a service without routes" of `docs/tasks.md`.
#[tokio::test]
async fn a_requirement_around_everything_refuses_open_paths_and_one_in_the_handler_does_not() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let layer = || auth.layer().open_path("/healthz").unwrap();
    let readers = auth.require(Scope("Reports.Read")).unwrap();
    let around = ServiceBuilder::new().layer(layer()).layer(readers.clone());
    let around =
        around.service_fn(async |_| Ok::<_, Infallible>(Response::new(AnswerBody::default())));
    let inside = ServiceBuilder::new()
        .layer(layer())
        .service_fn(move |request| reports_or_health(request, readers.clone()));

    let reader = user(&tenant).mint();
    let other = tenant.user("lovelace").scope("Reports.Write");
    let other = other.for_api(API).mint();
    for (path, token, expected_around, expected_inside) in [
        ("/healthz", None, 401, 200),
        // The Layer does not validate tokens of open paths.
        ("/healthz", Some(&*reader), 401, 200),
        ("/reports", None, 401, 401),
        ("/reports", Some(&other), 403, 403),
        ("/reports", Some(&reader), 200, 200),
    ] {
        assert_eq!(status(around.clone(), path, token).await, expected_around);
        assert_eq!(status(inside.clone(), path, token).await, expected_inside);
    }
}

async fn reports_or_health(
    request: Request<axum::body::Body>,
    readers: RequireLayer,
) -> Result<Response<AnswerBody>, Infallible> {
    if request.uri().path() == "/healthz" {
        return Ok(Response::new(AnswerBody::from("ok")));
    }
    let (request, _) = request.into_parts();
    Ok(match readers.authorize(&request.extensions) {
        Ok(_) => Response::new(AnswerBody::from("reports")),
        Err(refusal) => refusal.response_to(&request),
    })
}

#[test]
fn a_requirement_that_makes_no_sense_is_none() {
    let auth = settings_without_tenant();
    let error = auth
        .require(Scope("api://orders/Reports.Read"))
        .unwrap_err();
    assert!(error.to_string().contains("use \"Reports.Read\""));
    assert!(auth.require(Scope("a").and(AppPermission("b"))).is_err());
}

fn settings_without_tenant() -> EntraAuth {
    crate::settings::good().build().unwrap()
}
