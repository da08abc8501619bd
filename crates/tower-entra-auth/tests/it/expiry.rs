//! Tests that streams and connections end with the token, within a second of expiry and grace
//! period.

use std::future::{Future, pending};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::{any, get};
use bytes::Bytes;
use entra_dev_tenant::DevTenant;
use http::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep};
use tokio_stream::StreamExt as _;
use tonic::Code;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_entra_auth::{
    Caller, EntraAuth,
    expiry::{Expired, ExpiryBody},
    refusal::RefusalDetail,
};

use crate::grpc_api::{self, Api, Method as Rpc};
use crate::support::{
    HOUR, MINUTE, SECOND, Server, auth, client, header, serve, settings, tenant, user,
};

/// Grace period, which is longer than the clock skew.
pub(crate) const GRACE: Duration = Duration::from_secs(390);

/// Returns a token that expires in ten minutes, and the time at which its grace period ends.
fn token(tenant: &DevTenant) -> (String, SystemTime) {
    let now = tenant.clock()().duration_since(SystemTime::UNIX_EPOCH);
    // `exp` is in whole seconds.
    let expiry = Duration::from_secs(now.unwrap().as_secs()) + 10 * MINUTE;
    let token = user(tenant).expires_in(600).mint();
    (token, SystemTime::UNIX_EPOCH + expiry + GRACE)
}

/// Returns the result of the work, and fails if the work does not end within an hour.
pub(crate) async fn ended<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(HOUR, work).await.expect("an end")
}

/// Checks that the time is `then`, or at most a second later.
fn is_then(tenant: &DevTenant, then: SystemTime) {
    let now = tenant.clock()();
    let late = now.duration_since(then).expect("not too early");
    assert!(late <= SECOND, "{late:?} late");
}

/// Returns a response whose body sends a message every second, without end.
pub(crate) fn endless(content_type: &str) -> Response {
    let messages = tokio_stream::iter(std::iter::repeat(())).then(async |()| {
        sleep(SECOND).await;
        Ok::<_, std::io::Error>(Bytes::from("data: tick\n\n"))
    });
    Response::builder()
        .header("content-type", content_type)
        .body(Body::from_stream(messages))
        .unwrap()
}

/// Returns `/events` and `/download`, whose bodies never end, `/never`, which never responds, and
/// `/me`, which responds immediately.
fn streams(auth: &EntraAuth) -> Router {
    Router::new()
        .route(
            "/events",
            any(async || endless("Text/Event-Stream; charset=utf-8")),
        )
        .route(
            "/download",
            any(async || endless("application/octet-stream")),
        )
        .route("/never", any(pending::<()>))
        .route("/me", any(async || "done"))
        .layer(auth.end_at_expiry(GRACE))
}

pub(crate) async fn serve_streams(auth: &EntraAuth) -> Server {
    serve(streams(auth).layer(auth.layer())).await
}

pub(crate) async fn ask(
    server: &Server,
    method: Method,
    path: &str,
    token: &str,
) -> reqwest::Response {
    let request = client().request(method, format!("{}{path}", server.url));
    request.bearer_auth(token).send().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn server_sent_events_end_like_a_stream_that_is_over() {
    let tenant = tenant().await;
    let server = serve_streams(&auth(&tenant)).await;
    let (token, then) = token(&tenant);
    let response = ask(&server, Method::GET, "/events", &token).await;
    let text = ended(response.text()).await.unwrap();
    is_then(&tenant, then);
    let ticks = text.matches("tick").count();
    assert!((985..=990).contains(&ticks), "{ticks}");
}

#[tokio::test(start_paused = true)]
async fn another_body_ends_with_an_error_because_it_is_not_whole() {
    let tenant = tenant().await;
    let server = serve_streams(&auth(&tenant)).await;
    let (token, then) = token(&tenant);
    let mut response = ask(&server, Method::GET, "/download", &token).await;
    let end = loop {
        match ended(response.chunk()).await {
            Ok(Some(_)) if tenant.clock()() < then + MINUTE => {}
            end => break end,
        }
    };
    assert!(end.is_err(), "it looks whole");
    is_then(&tenant, then);
}

#[tokio::test(start_paused = true)]
async fn a_grpc_stream_ends_with_the_status_unauthenticated() {
    let tenant = tenant().await;
    let server = grpc_api::serve_until_expiry(&auth(&tenant), Api::default(), GRACE).await;
    let (token, then) = token(&tenant);
    let seen = ended(grpc_api::call_with(&server, Rpc::Streaming, &token)).await;
    is_then(&tenant, then);
    let end = seen.end.unwrap_err();
    assert_eq!(
        (end.code(), end.message()),
        (Code::Unauthenticated, "expired")
    );
    assert!((985..=990).contains(&seen.messages), "{}", seen.messages);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_has_not_begun_is_the_refusal() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let server = serve_streams(&auth).await;
    for method in [Method::GET, Method::HEAD] {
        let (token, then) = token(&tenant);
        let response = ended(ask(&server, method.clone(), "/never", &token)).await;
        is_then(&tenant, then);
        assert_eq!(response.status(), 401);
        assert_eq!(
            header(&response, "www-authenticate"),
            Some("Bearer error=\"invalid_token\", error_description=\"expired\"")
        );
        let body = response.text().await.unwrap();
        assert_eq!(
            body,
            if method == Method::HEAD {
                ""
            } else {
                "expired\n"
            }
        );
    }

    let hanging = Api {
        hangs: true,
        ..Api::default()
    };
    let server = grpc_api::serve_until_expiry(&auth, hanging, GRACE).await;
    for method in [Rpc::Unary, Rpc::Streaming] {
        let (token, then) = token(&tenant);
        let seen = ended(grpc_api::call_with(&server, method, &token)).await;
        let end = seen.end.unwrap_err();
        is_then(&tenant, then);
        assert_eq!(
            (end.code(), end.message()),
            (Code::Unauthenticated, "expired")
        );
    }
}

/// Checks an upgraded connection, such as a WebSocket, whose handler watches the token itself.
#[tokio::test(start_paused = true)]
async fn an_upgraded_connection_ends_by_its_handler() {
    let tenant = tenant().await;
    let echo = async |caller: Caller, request: Request<Body>| {
        let upgrade = hyper::upgrade::on(request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut byte = [0];
            let talk = async {
                while stream.read_exact(&mut byte).await.is_ok() {
                    stream.write_all(&byte).await.unwrap();
                }
            };
            tokio::select! {
                () = talk => panic!("the client went first"),
                () = caller.expired(GRACE) => {}
            }
        });
        Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "echo")
            .body(Body::empty())
            .unwrap()
    };
    let auth = auth(&tenant);
    let server = serve(Router::new().route("/", get(echo)).layer(auth.layer())).await;
    let (token, then) = token(&tenant);
    let response = client()
        .get(&server.url)
        .header("connection", "upgrade")
        .header("upgrade", "echo")
        .bearer_auth(token);
    let mut stream = response.send().await.unwrap().upgrade().await.unwrap();
    stream.write_all(b"x").await.unwrap();
    let mut received = Vec::new();
    ended(stream.read_to_end(&mut received)).await.unwrap();
    assert_eq!(received, b"x");
    is_then(&tenant, then);
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_is_noticed_within_half_a_minute() {
    let tenant = tenant().await;
    let server = serve_streams(&auth(&tenant)).await;
    let (token, _) = token(&tenant);
    let response = ask(&server, Method::GET, "/events", &token).await;
    tenant.time().jump_forward(HOUR);
    let start = Instant::now();
    ended(response.text()).await.unwrap();
    assert!(start.elapsed() <= 31 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_is_done_before_is_left_alone_and_so_is_who_has_no_token() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let server = serve_streams(&auth).await;
    let (token, _) = token(&tenant);
    let response = ask(&server, Method::GET, "/me", &token).await;
    assert_eq!(header(&response, "content-length"), Some("4"));
    assert_eq!(response.text().await.unwrap(), "done");

    let server = serve(streams(&auth).layer(auth.layer().optional())).await;
    let url = format!("{}/events", server.url);
    let mut response = client().get(url).send().await.unwrap();
    let start = Instant::now();
    while start.elapsed() < HOUR {
        assert!(response.chunk().await.unwrap().is_some());
    }
}

#[tokio::test]
async fn without_its_own_layer_it_is_a_fault_of_the_program() {
    let tenant = tenant().await;
    let (auth, other) = (auth(&tenant), auth(&tenant));
    let (token, _) = token(&tenant);
    for app in [streams(&auth), streams(&auth).layer(other.layer())] {
        let response = ask(&serve(app).await, Method::GET, "/me", &token).await;
        assert_eq!(response.status(), 500);
        assert_eq!(response.text().await.unwrap(), "wrong_layer\n");
    }
}

/// Checks that a grace period beyond the end of time does not count, because the connection would
/// never end.
#[tokio::test(start_paused = true)]
async fn a_grace_beyond_the_end_of_time_is_none() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let wait = async |caller: Caller| caller.expired(Duration::MAX).await;
    let server = serve(Router::new().route("/", get(wait)).layer(auth.layer())).await;
    let (token, then) = token(&tenant);
    assert_eq!(
        ended(ask(&server, Method::GET, "/", &token)).await.status(),
        200
    );
    // Only the clock skew is added to the expiry.
    is_then(&tenant, then - GRACE + 5 * MINUTE);
}

/// Checks the minimum grace period: while the Layer accepts a token, it must not open a stream that
/// ends immediately.
#[tokio::test(start_paused = true)]
async fn the_grace_is_at_least_the_clock_skew() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let app = Router::new()
        .route("/events", any(async || endless("text/event-stream")))
        .route("/me", any(async || "done"))
        .layer(auth.end_at_expiry(Duration::ZERO));
    let server = serve(app.layer(auth.layer())).await;
    let (token, then) = token(&tenant);
    let skew_is_over = then - GRACE + 5 * MINUTE;

    tenant.time().advance(14 * MINUTE).await;
    let response = ask(&server, Method::GET, "/me", &token).await;
    assert_eq!(response.text().await.unwrap(), "done");
    let response = ask(&server, Method::GET, "/events", &token).await;
    assert!(ended(response.text()).await.unwrap().contains("tick"));
    is_then(&tenant, skew_is_over);
    // The Layer itself counts whole seconds.
    for _ in 0..2 {
        let late = ask(&server, Method::GET, "/me", &token).await;
        assert_eq!(late.status(), 401);
        assert_eq!(late.text().await.unwrap(), "expired\n");
        tenant.time().advance(SECOND).await;
    }
}

/// Checks that the refusal of HEAD has no body itself. hyper leaves the body out, but other servers
/// may not.
#[tokio::test(start_paused = true)]
async fn a_refusal_of_head_has_no_body_by_itself() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let never = service_fn(async |_: Request<Body>| {
        pending::<()>().await;
        Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
    });
    let service = auth.layer().layer(auth.end_at_expiry(GRACE).layer(never));
    let (token, _) = token(&tenant);
    let request = Request::head("/").header("authorization", format!("Bearer {token}"));
    let request = request.body(Body::empty()).unwrap();
    let response = ended(service.oneshot(request)).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["content-length"], "8");
    let body = http_body_util::BodyExt::collect(response.into_body()).await;
    assert!(body.unwrap().to_bytes().is_empty());
}

/// Checks that the refusal detail also limits what the end of a stream says.
#[tokio::test(start_paused = true)]
async fn the_detail_decides_what_the_end_of_a_stream_says() {
    let tenant = tenant().await;
    let settings = settings(&tenant).refusal_detail(RefusalDetail::None);
    let auth = settings.build().unwrap();
    let server = grpc_api::serve_until_expiry(&auth, Api::default(), GRACE).await;
    let (token, _) = token(&tenant);
    let seen = ended(grpc_api::call_with(&server, Rpc::Streaming, &token)).await;
    let end = seen.end.unwrap_err();
    assert_eq!((end.code(), end.message()), (Code::Unauthenticated, ""));
}

#[test]
fn what_watches_a_caller_can_be_shared_between_threads() {
    fn is_shared<T: Send + Sync>() {}

    is_shared::<Expired>();
    is_shared::<ExpiryBody<String>>();
    // The Layer's future can be shared if the inner service's future can.
    type Answer = std::future::Ready<Result<Response<String>, std::convert::Infallible>>;
    type Inner = tower::util::ServiceFn<fn(Request<String>) -> Answer>;
    is_shared::<tower_entra_auth::layer::EntraFuture<Inner, String>>();
}
