//! Tests of the lifetime of an `EntraAuth`: outside runtimes, across them, and until its last
//! handle.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::Body;
use entra_dev_tenant::DevTenant;
use http::Request;
use tokio::runtime::{Builder, Handle, Runtime};
use tower::{Layer as _, Service as _, ServiceExt as _};
use tower_entra_auth::{EntraAuth, Scope, resource_metadata::ProtectedResource};

use crate::support::{app, auth, settings, tenant, user};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Starts a tenant on its own runtime, which ends when the first value is dropped.
fn elsewhere() -> (Runtime, DevTenant, EntraAuth) {
    let tenants = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let tenant = tenants.block_on(tenant());
    let auth = auth(&tenant);
    (tenants, tenant, auth)
}

async fn status(auth: &EntraAuth, token: &str) -> u16 {
    let request = Request::get("/me")
        .header("authorization", format!("Bearer {token}"))
        .body(Body::empty())
        .unwrap();
    app(auth).oneshot(request).await.unwrap().status().as_u16()
}

#[test]
fn it_is_built_outside_a_runtime_and_survives_the_end_of_one() {
    let (_tenants, tenant, auth) = elsewhere();

    assert_eq!(
        runtime().block_on(status(&auth, &user(&tenant).mint())),
        200
    );
    // That runtime and its refresher are gone.
    tenant.signing_keys().rotate();
    let second = runtime();
    assert_eq!(second.block_on(status(&auth, &user(&tenant).mint())), 200);
    assert_eq!(second.block_on(status(&auth, &user(&tenant).mint())), 200);
    assert_eq!(tenant.key_endpoint().hits(), 2);
}

#[test]
fn an_attempt_that_dies_with_its_runtime_does_not_block_the_next() {
    let (_tenants, tenant, auth) = elsewhere();
    tenant.key_endpoint().hang();
    let first = runtime();
    first.block_on(async {
        let request = tokio::spawn({
            let (auth, token) = (auth.clone(), user(&tenant).mint());
            async move { status(&auth, &token).await }
        });
        while tenant.key_endpoint().hits() < 1 {
            tokio::task::yield_now().await;
        }
        request.abort();
    });
    drop(first);
    tenant.key_endpoint().recover();
    assert_eq!(
        runtime().block_on(status(&auth, &user(&tenant).mint())),
        200
    );
}

/// Runs the work on its own thread, and fails instead of hanging if the work blocks forever.
fn without_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    let patience = Duration::from_secs(60);
    receiver
        .recv_timeout(patience)
        .expect("an answer, not a deadlock")
}

#[test]
fn a_runtime_that_has_shut_down_blocks_nobody() {
    let (_tenants, tenant, auth) = elsewhere();
    let token = user(&tenant).mint();
    let auth = without_blocking(move || {
        let gone = runtime();
        let handle = gone.handle().clone();
        drop(gone);
        let _entered = handle.enter();
        let mut context = Context::from_waker(Waker::noop());
        let mut answer = Box::pin(status(&auth, &token));
        let _ = answer.as_mut().poll(&mut context);
        drop(answer);
        auth
    });
    assert_eq!(
        runtime().block_on(status(&auth, &user(&tenant).mint())),
        200
    );
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_does_not_run_blocks_the_others_for_seconds_only() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let token = user(&tenant).mint();
    // The first attempt and the refresher are tasks of a runtime that is never run.
    let idle = runtime();
    {
        let _entered = idle.enter();
        let mut answer = Box::pin(status(&auth, &token));
        let mut context = Context::from_waker(Waker::noop());
        assert!(answer.as_mut().poll(&mut context).is_pending());
    }
    let start = tokio::time::Instant::now();
    while status(&auth, &token).await != 200 {}
    assert!(
        start.elapsed() <= Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(tenant.key_endpoint().hits(), 1);

    // The next request after an hour finds that the schedule has stopped, and starts it again.
    let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
    tokio::time::sleep(hour + minute).await;
    assert_eq!(tenant.key_endpoint().hits(), 1);
    let token = user(&tenant).mint();
    assert_eq!(status(&auth, &token).await, 200);
    tokio::time::sleep(hour + minute).await;
    assert_eq!(tenant.key_endpoint().hits(), 3);
    idle.shutdown_background();
}

#[test]
fn a_runtime_without_timers_gets_an_answer_and_no_panic() {
    let (_tenants, tenant, auth) = elsewhere();
    let token = user(&tenant).mint();
    let without_timers = Builder::new_current_thread().enable_io().build().unwrap();
    assert_eq!(without_timers.block_on(status(&auth, &token)), 503);
    let failure = without_timers.block_on(auth.ready()).unwrap_err();
    assert_eq!(failure.code(), "no_runtime");
    assert_eq!(runtime().block_on(status(&auth, &token)), 200);
    // While the key is held, no timer is needed.
    assert_eq!(without_timers.block_on(status(&auth, &token)), 200);
}

#[test]
fn a_request_without_a_tokio_runtime_is_refused_without_a_panic() {
    let (_tenants, tenant, auth) = elsewhere();
    let token = user(&tenant).mint();
    let mut answer = std::pin::pin!(status(&auth, &token));
    let mut context = Context::from_waker(Waker::noop());
    let answer = answer.as_mut().poll(&mut context);
    assert_eq!(answer, Poll::Ready(503));
}

#[tokio::test(start_paused = true)]
async fn the_background_ends_with_the_last_handle() {
    let tenant = tenant().await;
    tokio::task::yield_now().await;
    let alive = || Handle::current().metrics().num_alive_tasks();
    let before = alive();

    let auth = auth(&tenant);
    assert_eq!(alive(), before, "building starts nothing");
    auth.ready().await.unwrap();
    let layer = auth.layer();
    drop(auth);
    tokio::time::sleep(Duration::from_secs(7_200)).await;
    assert!(
        tenant.key_endpoint().hits() >= 2,
        "the Layer is a handle, too"
    );

    drop(layer);
    let hits = tenant.key_endpoint().hits();
    tokio::time::sleep(Duration::from_secs(7_200)).await;
    assert_eq!(tenant.key_endpoint().hits(), hits);
    assert_eq!(alive(), before);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_ends_with_the_last_handle() {
    let tenant = tenant().await;
    tenant.key_endpoint().hang();
    let auth = auth(&tenant);
    let waiting = tokio::spawn({
        let auth = auth.clone();
        async move { auth.ready().await }
    });
    while tenant.key_endpoint().hits() < 1 {
        tokio::task::yield_now().await;
    }
    waiting.abort();
    drop(auth);
    drop(waiting.await);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(tenant.key_endpoint().hits(), 1);
}

#[test]
fn handles_and_futures_have_the_traits_that_frameworks_need() {
    fn is_layer<L: Clone + Send + Sync + std::fmt::Debug + 'static>() {}
    fn is_future<F: Send + std::fmt::Debug>() {}

    type Inner = tower::util::BoxCloneSyncService<Request<Body>, http::Response<Body>, Infallible>;
    is_layer::<EntraAuth>();
    is_layer::<tower_entra_auth::EntraLayer>();
    is_layer::<tower_entra_auth::layer::EntraService<Inner>>();
    is_layer::<tower_entra_auth::Caller>();
    is_future::<tower_entra_auth::layer::EntraFuture<Inner, Body>>();
    is_future::<tower_entra_auth::layer::ResponseFuture<std::future::Ready<()>>>();
}

/// Polls a future until it is ready, and returns whether the next poll panics.
async fn panics_after_completion<F: Future>(future: F) -> bool {
    let mut future = std::pin::pin!(future);
    future.as_mut().await;
    let mut context = Context::from_waker(Waker::noop());
    let again = catch_unwind(AssertUnwindSafe(|| {
        future.as_mut().poll(&mut context).is_ready()
    }));
    match again {
        Ok(is_ready) => {
            assert!(!is_ready, "a second answer");
            false
        }
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            assert_eq!(text, Some("a future was polled after completion"));
            true
        }
    }
}

#[tokio::test]
async fn a_future_that_is_polled_after_completion_panics_as_those_of_std_do() {
    let tenant = tenant().await;
    let resource = ProtectedResource::at("https://api.example.com/mcp").scopes(["Mcp.Access"]);
    let auth = settings(&tenant).protected_resource(resource).build();
    let auth = auth.unwrap();
    let inner = tower::service_fn(|_| async { Ok::<_, Infallible>(http::Response::new(())) });
    let get = |path: &str| Request::get(path).body(()).unwrap();

    // These responses are immediate: without a token, without a Layer, and with the document.
    let refused = auth.layer().layer(inner).call(get("/me"));
    assert!(panics_after_completion(refused).await);
    let readers = auth.require(Scope("Reports.Read")).unwrap();
    assert!(panics_after_completion(readers.layer(inner).call(get("/me"))).await);
    let stream = auth.end_at_expiry(Duration::ZERO);
    assert!(panics_after_completion(stream.layer(inner).call(get("/me"))).await);
    let metadata = auth.resource_metadata().unwrap();
    let document = metadata.paths().next().unwrap().to_owned();
    assert!(panics_after_completion(metadata.layer(inner).call(get(&document))).await);

    // This response comes after a wait for keys.
    let mut unknown = get("/me");
    let token = user(&tenant).header("kid", "unknown").mint();
    let token = format!("Bearer {token}").parse().unwrap();
    unknown.headers_mut().insert("authorization", token);
    let waited = auth.layer().layer(inner).call(unknown);
    assert!(panics_after_completion(waited).await);
}
