//! Tests of the memory that cached tokens take, and of the allocations of a cache hit; both are
//! counted, not timed.

use std::convert::Infallible;
use std::future::{Ready, ready};

use allocation_counter::measure;
use bytes::Bytes;
use entra_dev_tenant::DevTenant;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use tower::{Layer as _, Service as _, service_fn};
use tower_entra_auth::EntraAuth;

const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";

async fn auth(tenant: &DevTenant) -> EntraAuth {
    let auth = EntraAuth::builder()
        .tenant(tenant.id())
        .client_id(API)
        .metadata_endpoint(tenant.url())
        .clock(tenant.clock())
        .build()
        .unwrap();
    auth.ready().await.unwrap();
    auth
}

fn tokens(tenant: &DevTenant, count: usize, groups: usize) -> Vec<String> {
    (0..count)
        .map(|number| {
            let user = tenant.user(&format!("user {number}"));
            let token = user.scope("Reports.Read Reports.Write").for_api(API);
            let ids =
                (0..groups).map(|group| format!("0a1b2c3d-4e5f-4a6b-{number:04}-{group:012}"));
            match groups {
                0 => token.mint(),
                _ => token.claim("groups", ids.collect::<Vec<_>>()).mint(),
            }
        })
        .collect()
}

fn answer(_: Request<()>) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
    ready(Ok(Response::new(Full::default())))
}

/// Sends each token once, and checks that it is accepted without waiting.
fn send(auth: &EntraAuth, headers: &[HeaderValue]) {
    let mut service = auth.layer().layer(service_fn(answer));
    for header in headers {
        let mut request = Request::new(());
        request
            .headers_mut()
            .insert("authorization", header.clone());
        let mut answered = polled_once(service.call(request));
        assert_eq!(answered.take().unwrap().status(), 200);
    }
}

/// Returns the response of a service that does not wait.
fn polled_once<F: Future<Output = Result<R, Infallible>>, R>(future: F) -> Option<R> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(Ok(response)) => Some(response),
        _ => None,
    }
}

fn headers(tokens: &[String]) -> Vec<HeaderValue> {
    let headers = tokens.iter().map(|token| format!("Bearer {token}"));
    headers.map(|header| header.parse().unwrap()).collect()
}

/// Returns the length of a token, the bytes that stay allocated beyond it, and the bytes that the
/// cache counts.
async fn beyond_its_own(tenant: &DevTenant, groups: usize) -> (usize, usize, usize) {
    let auth = auth(tenant).await;
    let tokens = tokens(tenant, 600, groups);
    let length = tokens[0].len();
    let headers = headers(&tokens);
    // By then, moka has made its one-time allocations.
    send(&auth, &headers[..100]);
    let weight = |auth: &EntraAuth| auth.status().token_cache.unwrap().bytes;
    let before = weight(&auth);
    let allocated = measure(|| send(&auth, &headers[100..]));
    let kept = usize::try_from(allocated.bytes_current).unwrap() / 500;
    let counted = usize::try_from(weight(&auth) - before).unwrap() / 500;
    println!("{length} bytes: {kept} are kept, {counted} are counted");
    (length, kept - length, counted)
}

#[tokio::test]
async fn a_remembered_token_takes_little_beyond_its_own_bytes() {
    let tenant = DevTenant::start().await.unwrap();
    let (length, beyond, _) = beyond_its_own(&tenant, 0).await;
    assert!(beyond <= 2_560, "{beyond} for {length}");
    let (length, beyond, _) = beyond_its_own(&tenant, 200).await;
    assert!(beyond <= length, "{beyond} for {length}");
}

#[tokio::test]
async fn what_the_cache_counts_is_what_is_kept() {
    let tenant = DevTenant::start().await.unwrap();
    for groups in [0, 20, 200] {
        let (length, beyond, counted) = beyond_its_own(&tenant, groups).await;
        let kept = length + beyond;
        assert!(kept <= counted, "{counted} counted, {kept} kept");
        assert!(counted <= kept * 3 / 2, "{counted} counted, {kept} kept");
    }
}

#[tokio::test]
async fn a_hit_allocates_only_what_the_requests_extensions_need() {
    let tenant = DevTenant::start().await.unwrap();
    let auth = auth(&tenant).await;
    let headers = headers(&tokens(&tenant, 1, 0));
    for _ in 0..3 {
        send(&auth, &headers);
    }
    let mut inner = service_fn(answer);
    let bare = measure(|| {
        let mut request = Request::new(());
        request
            .headers_mut()
            .insert("authorization", headers[0].clone());
        drop(polled_once(inner.call(request)));
    });
    let hit = measure(|| send(&auth, &headers));
    // The allocations are the map of extensions, its table, and the boxed caller.
    let allocations = hit.count_total - bare.count_total;
    println!("{allocations} allocations");
    assert!(allocations <= 3, "{allocations}");
}
