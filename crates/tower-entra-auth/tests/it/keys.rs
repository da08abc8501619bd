//! Tests of keys that rotate, are late, or are unavailable.
//!
//! The tests run on paused time, in memory, except one on several threads, which uses sockets.

use std::convert::Infallible;
use std::ops::Range;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use entra_dev_tenant::DevTenant;
use http::{Request, Response};
use http_body_util::Full;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance};
use tower::limit::ConcurrencyLimitLayer;
use tower::{Service, ServiceBuilder, ServiceExt as _};
use tower_entra_auth::{Caller, EntraAuth};

use crate::support::{
    HOUR, PENDING, SECOND, UNTRUSTED, app, ask, auth, client, header, serve, status, tenant, user,
};

#[tokio::test(start_paused = true)]
async fn a_rotated_key_is_accepted_with_its_first_request() {
    let tenant = tenant().await;
    let server = serve(app(&auth(&tenant))).await;
    let old = user(&tenant).mint();
    assert_eq!(status(&server, &old).await, 200);
    tenant.signing_keys().rotate();
    assert_eq!(status(&server, &user(&tenant).mint()).await, 200);
    assert_eq!(status(&server, &old).await, 200);
    assert_eq!(tenant.key_endpoint().hits(), 2);
}

#[tokio::test(start_paused = true)]
async fn sixty_four_first_requests_download_the_keys_once() {
    let tenant = tenant().await;
    let server = serve(app(&auth(&tenant))).await;
    let url = format!("{}/me", server.url);
    let token = user(&tenant).mint();
    let mut requests = JoinSet::new();
    for _ in 0..64 {
        let request = client().get(&url).bearer_auth(&token);
        requests.spawn(async move { request.send().await.unwrap().status() });
    }
    let statuses = requests.join_all().await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(
        (
            tenant.discovery_endpoint().hits(),
            tenant.key_endpoint().hits()
        ),
        (1, 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_several_threads_too_each_rotation_is_one_download_and_no_wrong_refusal() {
    let tenant = tenant().await;
    let server = serve(app(&auth(&tenant))).await;
    let url = format!("{}/me", server.url);
    // The first keys, then two rotations: the bucket permits these fetches one directly after the
    // other.
    for downloads in 1..=3 {
        let token = user(&tenant).mint();
        let mut requests = JoinSet::new();
        for _ in 0..64 {
            let request = client().get(&url).bearer_auth(&token);
            requests.spawn(async move { request.send().await.unwrap().status() });
        }
        let statuses = requests.join_all().await;
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        assert_eq!(tenant.key_endpoint().hits(), downloads);
        tenant.signing_keys().rotate();
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_unknown_keys_fetch_no_more_than_the_bucket_allows() {
    let tenant = tenant().await;
    let stranger = DevTenant::start().await.unwrap();
    let server = serve(app(&auth(&tenant))).await;
    assert_eq!(status(&server, &user(&tenant).mint()).await, 200);
    assert_eq!(tenant.key_endpoint().hits(), 1);

    let client = client();
    let answer = async |number: usize| {
        let kid = format!("random {number}");
        let token = user(&stranger).header("kid", kid).mint();
        let request = client.get(format!("{}/me", server.url)).bearer_auth(token);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        format!("{status} {}", response.text().await.unwrap().trim())
    };
    // The token whose key was not in the fetched document is refused. About the other keys, nothing
    // is known.
    let flood = async |numbers: Range<usize>, refused: usize| {
        for number in numbers.clone() {
            let is_refused = number - numbers.start < refused;
            let expected = if is_refused { UNTRUSTED } else { PENDING };
            assert_eq!(answer(number).await, expected, "{number}");
        }
    };
    flood(0..1_000, 1).await;
    assert_eq!(tenant.key_endpoint().hits(), 1 + 2);
    advance(28 * SECOND).await;
    flood(1_000..1_010, 0).await;
    assert_eq!(tenant.key_endpoint().hits(), 1 + 2);
    advance(2 * SECOND).await;
    flood(1_010..1_020, 1).await;
    assert_eq!(tenant.key_endpoint().hits(), 1 + 2 + 1);
}

#[tokio::test(start_paused = true)]
async fn a_bad_signature_under_a_known_key_fetches_nothing() {
    let tenant = tenant().await;
    let server = serve(app(&auth(&tenant))).await;
    assert_eq!(status(&server, &user(&tenant).mint()).await, 200);
    for _ in 0..20 {
        assert_eq!(
            status(&server, &user(&tenant).bad_signature().mint()).await,
            401
        );
    }
    assert_eq!(tenant.key_endpoint().hits(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_valid_token_is_answered_at_once_while_forged_ones_wait_for_a_hanging_key_server() {
    let tenant = tenant().await;
    let stranger = DevTenant::start().await.unwrap();
    let app = Router::new()
        .route("/me", get(async |caller: Caller| caller.id().to_string()))
        .layer(ConcurrencyLimitLayer::new(1))
        .layer(auth(&tenant).layer());
    let server = serve(app).await;
    let good = user(&tenant).mint();
    assert_eq!(status(&server, &good).await, 200);

    tenant.key_endpoint().hang();
    let start = Instant::now();
    let mut forged = JoinSet::new();
    for _ in 0..100 {
        let request = client()
            .get(format!("{}/me", server.url))
            .bearer_auth(user(&stranger).mint());
        forged.spawn(async move { request.send().await.unwrap() });
    }
    while tenant.key_endpoint().hits() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(status(&server, &good).await, 200);
    assert!(start.elapsed() < 3 * SECOND, "{:?}", start.elapsed());
    assert!(
        forged.try_join_next().is_none(),
        "none of the forged ones has an answer yet"
    );

    for response in forged.join_all().await {
        assert_eq!(response.status(), 503);
        assert!(header(&response, "retry-after").is_some());
    }
    assert_eq!(start.elapsed().as_secs(), 3);
    assert_eq!(status(&server, &good).await, 200);
}

/// Returns a service behind the Layer that serves one request at a time.
///
/// The service uses no framework, because a framework would hide readiness.
fn one_at_a_time(
    auth: &EntraAuth,
) -> impl Service<Request<()>, Response = u16, Error = Infallible, Future: Send> + Clone + Send + use<>
{
    let inner = tower::service_fn(async |_: Request<()>| {
        tokio::time::sleep(SECOND / 10).await;
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
    });
    ServiceBuilder::new()
        .layer(auth.layer())
        .concurrency_limit(1)
        .service(inner)
        .map_response(|response: Response<_>| response.status().as_u16())
}

fn with_token(token: &str) -> Request<()> {
    let request = Request::get("/").header("authorization", format!("Bearer {token}"));
    request.body(()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waited_for_its_key_waits_for_the_inner_service_too() {
    let tenant = tenant().await;
    let service = one_at_a_time(&auth(&tenant));
    let token = user(&tenant).mint();
    // All requests wait for the first keys. Then one after the other is let in, each in its turn.
    let mut requests = JoinSet::new();
    for _ in 0..10 {
        requests.spawn(service.clone().oneshot(with_token(&token)));
    }
    let start = Instant::now();
    for answer in requests.join_all().await {
        assert_eq!(answer, Ok(200));
    }
    assert_eq!(
        start.elapsed().as_secs(),
        1,
        "ten times a tenth of a second"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_or_waiting_request_holds_no_place_in_the_inner_service() {
    let tenant = tenant().await;
    tenant.key_endpoint().hang();
    let service = one_at_a_time(&auth(&tenant));
    for token in ["garbage".to_owned(), user(&tenant).mint()] {
        let mut first = service.clone();
        let answer = first.ready().await.unwrap().call(with_token(&token));
        // The first clone still exists, as in a server that keeps one for each connection.
        let mut second = service.clone();
        let is_ready = tokio::time::timeout(SECOND, second.ready()).await;
        assert!(is_ready.is_ok(), "{token}");
        drop((answer, first));
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_than_256_requests_wait_for_keys() {
    let tenant = tenant().await;
    tenant.key_endpoint().hang();
    let auth = auth(&tenant);
    let token = user(&tenant).mint();
    let start = Instant::now();
    let mut requests = JoinSet::new();
    // This test uses no sockets, because a listener's backlog is shorter than 300.
    for _ in 0..300 {
        let request = Request::get("/me")
            .header("authorization", format!("Bearer {token}"))
            .body(axum::body::Body::empty())
            .unwrap();
        let answer = app(&auth).oneshot(request);
        requests.spawn(async move { (answer.await.unwrap().status(), start.elapsed()) });
    }
    let answers = requests.join_all().await;
    assert!(
        answers.iter().all(|(status, _)| *status == 503),
        "{answers:?}"
    );
    let after = |seconds| {
        let waited = answers
            .iter()
            .filter(|(_, after)| after.as_secs() == seconds);
        waited.count()
    };
    assert_eq!((after(0), after(3)), (300 - 256, 256));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_disconnects_does_not_lose_the_refresh() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    auth.ready().await.unwrap();
    let server = serve(app(&auth)).await;
    tenant.signing_keys().rotate();
    let token = user(&tenant).mint();

    // The request has its own connection, which closes as soon as the key server has received the
    // fetch.
    tenant.key_endpoint().delay(SECOND).for_next(1);
    let mut connection = server.connect().await;
    let request = format!("GET /me HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut connection, request.as_bytes())
        .await
        .unwrap();
    while tenant.key_endpoint().hits() < 2 {
        tokio::task::yield_now().await;
    }
    drop(connection);

    // The attempt that the disconnected client began brings the key for all requests.
    assert_eq!(status(&server, &token).await, 200);
    assert_eq!(tenant.key_endpoint().hits(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_is_down_at_the_start_is_found_when_it_comes() {
    let tenant = tenant().await;
    tenant.start_outage();
    let server = serve(app(&auth(&tenant))).await;
    let token = user(&tenant).mint();

    let response = ask(&server, &token).await;
    assert_eq!(response.status(), 503);
    assert_eq!(header(&response, "www-authenticate"), None);
    assert!(
        header(&response, "retry-after")
            .unwrap()
            .parse::<u64>()
            .unwrap()
            >= 1
    );
    assert_eq!(response.text().await.unwrap(), "keys_unavailable\n");

    tenant.end_outage();
    let start = Instant::now();
    while status(&server, &token).await != 200 {
        advance(SECOND).await;
    }
    assert!(start.elapsed() <= 31 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn without_requests_the_back_off_keeps_asking() {
    let tenant = tenant().await;
    tenant.discovery_endpoint().fail_with(503);
    let auth = auth(&tenant);
    assert_eq!(auth.ready().await.unwrap_err().code(), "status");
    let mut waits = Vec::new();
    for hits in 2..14 {
        let start = Instant::now();
        while tenant.discovery_endpoint().hits() < hits {
            tokio::time::sleep(SECOND / 10).await;
        }
        waits.push(start.elapsed());
    }
    assert!(waits[0] <= 2 * SECOND, "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= 301 * SECOND), "{waits:?}");
    assert!(waits[11] >= 149 * SECOND, "{waits:?}");

    // A caller of `ready` need not wait for the schedule.
    tenant.discovery_endpoint().recover();
    let start = Instant::now();
    assert!(auth.ready().await.is_ok());
    assert!(start.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn ready_says_why_it_failed_and_can_be_asked_again_and_again() {
    let tenant = tenant().await;
    tenant.key_endpoint().fail_with(500);
    let auth = auth(&tenant);
    for _ in 0..5 {
        let start = Instant::now();
        assert_eq!(auth.ready().await.unwrap_err().code(), "status");
        assert!(start.elapsed() <= 30 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_the_first_answer_lags_behind_is_found_while_the_bucket_lasts() {
    let tenant = tenant().await;
    let server = serve(app(&auth(&tenant))).await;
    assert_eq!(status(&server, &user(&tenant).mint()).await, 200);
    let old_keys = tenant.signing_keys().document();
    tenant.signing_keys().rotate();
    tenant
        .key_endpoint()
        .answer_with(200, "application/json", &old_keys)
        .for_next(1);
    assert_eq!(status(&server, &user(&tenant).mint()).await, 200);
    assert_eq!(tenant.key_endpoint().hits(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_private_half_is_published_is_refused_at_once() {
    let tenant = tenant().await;
    let server = serve(app(&auth(&tenant))).await;
    let old = user(&tenant).mint();
    assert_eq!(status(&server, &old).await, 200);
    let exposed = tenant
        .signing_keys()
        .document()
        .replace("\"kty\"", "\"d\":\"AQAB\",\"kty\"");
    tenant.signing_keys().rotate();
    tenant.signing_keys().withdraw_old();
    let both = format!(
        "{},{}",
        exposed.trim_end_matches("]}"),
        tenant
            .signing_keys()
            .document()
            .trim_start_matches("{\"keys\":[")
    );
    tenant
        .key_endpoint()
        .answer_with(200, "application/json", &both);
    assert_eq!(status(&server, &user(&tenant).mint()).await, 200);
    assert_eq!(status(&server, &old).await, 401);
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_every_hour_without_any_request() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    auth.ready().await.unwrap();
    for fetches in 2..6 {
        let start = Instant::now();
        while tenant.key_endpoint().hits() < fetches {
            tokio::time::sleep(SECOND).await;
        }
        let hour = 57 * 60 * SECOND..=HOUR + 2 * SECOND;
        assert!(hour.contains(&start.elapsed()), "{:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_unavailable_while_the_last_refresh_failed() {
    let tenant = tenant().await;
    let server = serve(app(&auth(&tenant))).await;
    let old = user(&tenant).mint();
    assert_eq!(status(&server, &old).await, 200);
    tenant.signing_keys().rotate();
    let new = user(&tenant).mint();
    tenant.key_endpoint().fail_with(500);
    for _ in 0..5 {
        assert_eq!(status(&server, &new).await, 503);
        assert_eq!(status(&server, &old).await, 200);
    }
    tenant.key_endpoint().recover();
    advance(31 * SECOND).await;
    assert_eq!(status(&server, &new).await, 200);
}

#[tokio::test(start_paused = true)]
async fn keys_serve_for_a_day_without_entra_and_no_longer() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    auth.ready().await.unwrap();
    let server = serve(app(&auth)).await;
    tenant.start_outage();
    let lasting = |tenant: &DevTenant| user(tenant).expires_in(48 * 3_600).mint();
    let token = lasting(&tenant);

    advance(24 * HOUR - 10 * SECOND).await;
    assert_eq!(status(&server, &token).await, 200);
    advance(10 * SECOND).await;
    let response = ask(&server, &token).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.text().await.unwrap(), "keys_unavailable\n");

    tenant.end_outage();
    advance(31 * SECOND).await;
    assert_eq!(status(&server, &token).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_key_is_trusted_for_a_day_more() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    auth.ready().await.unwrap();
    let server = serve(app(&auth)).await;
    let old = user(&tenant).expires_in(72 * 3_600).mint();
    tenant.signing_keys().rotate();
    tenant.signing_keys().withdraw_old();
    assert_eq!(status(&server, &user(&tenant).mint()).await, 200);

    advance(24 * HOUR - 10 * SECOND).await;
    assert_eq!(status(&server, &old).await, 200);
    advance(10 * SECOND).await;
    assert_eq!(status(&server, &old).await, 401);
}
