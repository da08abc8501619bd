//! Tests of the client that reaches the tenant in memory, as over TCP and with a paused clock.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, Response};
use entra_dev_tenant::{DevTenant, Endpoint, Fault, HttpClient, ResponseBody};
use hyper::body::Body as _;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tower::ServiceExt as _;

use crate::raw::{Answer, Place, tenant};
use crate::support::{API, CLIENT};

const SECOND: Duration = Duration::from_secs(1);

/// Accepts the clients that `http_client(..)` of our other crates accepts.
fn fits<S>(_: &S)
where
    S: tower::Service<Request<Bytes>, Response = Response<ResponseBody>> + Clone + Send + Sync,
    S::Future: Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    ResponseBody: hyper::body::Body<Data = Bytes> + Send + Sync + 'static,
    <ResponseBody as hyper::body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
}

async fn get(client: &HttpClient, url: &str) -> io::Result<Response<ResponseBody>> {
    let request = Request::get(url).body(Bytes::new()).unwrap();
    client.clone().oneshot(request).await
}

async fn keys(tenant: &DevTenant) -> io::Result<Response<ResponseBody>> {
    get(&tenant.http_client(), &keys_url(tenant)).await
}

fn keys_url(tenant: &DevTenant) -> String {
    format!("{}/{}/discovery/v2.0/keys", tenant.url(), tenant.id())
}

async fn whole(answer: Response<ResponseBody>) -> Result<Bytes, axum::Error> {
    to_bytes(Body::new(answer.into_body()), usize::MAX).await
}

#[tokio::test(start_paused = true)]
async fn it_fetches_documents_and_tokens_on_a_connection_for_each() {
    let tenant = tenant().await;
    let client = tenant.http_client();
    fits(&client);
    let answer = get(&client, &keys_url(&tenant)).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.version(), axum::http::Version::HTTP_11);
    let length = answer.body().size_hint().exact().unwrap();
    let body = whole(answer).await.unwrap();
    assert_eq!(body.len() as u64, length);
    assert!(Place::Keys.is_right(&body));

    let form = format!(
        "grant_type=client_credentials&client_id={CLIENT}&client_secret=s3cret\
         &scope=api://{API}/.default"
    );
    let url = format!("{}/{}/oauth2/v2.0/token?x=1", tenant.url(), tenant.id());
    let request = Request::post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Bytes::from(form));
    let answer = client.oneshot(request.unwrap()).await.unwrap();
    assert!(Place::Token.is_right(&whole(answer).await.unwrap()));

    let asked = &tenant.token_endpoint().requests()[0];
    let path = format!("/{}/oauth2/v2.0/token?x=1", tenant.id());
    assert_eq!(asked.path_and_query, path);
    let host = tenant.url().strip_prefix("http://");
    assert_eq!(asked.header("host"), host);
}

/// Checks each fault except those that take time. The tests of those are in `faults`, which reads
/// in memory.
#[tokio::test]
async fn each_fault_is_on_the_wire_what_it_is_over_tcp() {
    type Spoil = fn(&Endpoint) -> Option<Fault<'_>>;
    const FAULTS: [(&str, Spoil); 11] = [
        ("none", |_| None),
        ("fails", |endpoint| Some(endpoint.fail_with(503))),
        ("throttles", |endpoint| Some(endpoint.throttle(429, "7"))),
        ("redirects", |endpoint| {
            Some(endpoint.redirect_to("http://attacker.example"))
        }),
        ("not modified", |endpoint| {
            Some(endpoint.answer_not_modified())
        }),
        ("html", |endpoint| Some(endpoint.answer_html())),
        ("error", |endpoint| Some(endpoint.answer_error_json())),
        ("invalid", |endpoint| Some(endpoint.answer_invalid_json())),
        ("oversized", |endpoint| {
            Some(endpoint.answer_oversized(1 << 20))
        }),
        ("bomb", |endpoint| Some(endpoint.answer_gzip_bomb())),
        ("truncated", |endpoint| Some(endpoint.truncate())),
    ];
    let tenant = tenant().await;
    let without_date = |bytes: Vec<u8>| {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lines = text.split_inclusive('\n');
        let kept = lines.filter(|line| !line.starts_with("date: "));
        kept.collect::<String>()
    };
    for place in [Place::Discovery, Place::Keys] {
        for (name, spoil) in FAULTS {
            place.endpoint(&tenant).recover();
            let _ = spoil(place.endpoint(&tenant));
            let (mut through_memory, mut over_tcp) = (Vec::new(), Vec::new());
            let close = "connection: close\r\n";
            let mut memory = place.asks(&tenant, close).await;
            memory.read_to_end(&mut through_memory).await.unwrap();
            let mut tcp = place.asks_over_tcp(&tenant, close).await;
            tcp.read_to_end(&mut over_tcp).await.unwrap();
            assert!(through_memory.starts_with(b"HTTP/1.1 "), "{name}");
            let (through_memory, over_tcp) = (without_date(through_memory), without_date(over_tcp));
            assert!(through_memory == over_tcp, "{place:?}: {name}");
        }
    }

    tenant.start_outage();
    let mut nothing = Vec::new();
    let mut memory = Place::Keys.asks(&tenant, "").await;
    memory.read_to_end(&mut nothing).await.unwrap();
    let mut tcp = Place::Keys.asks_over_tcp(&tenant, "").await;
    tcp.read_to_end(&mut nothing).await.unwrap();
    assert_eq!(nothing, b"");
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_is_down_closes_the_connection_without_an_answer() {
    let tenant = tenant().await;
    tenant.start_outage();
    let error = keys(&tenant).await.unwrap_err();
    let source = error.get_ref().unwrap().to_string();
    assert_eq!(source, "connection closed before message completed");
    tenant.end_outage();
    assert_eq!(keys(&tenant).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_trickle_is_as_slow_as_the_clock_says_and_ends_when_nobody_reads() {
    let tenant = tenant().await;
    tenant.key_endpoint().trickle();
    let start = Instant::now();
    let mut answer = keys(&tenant).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), start.elapsed()),
        (200, Duration::ZERO)
    );
    let length = answer.body().size_hint().exact().unwrap();
    for second in 1..=3 {
        let frame = std::future::poll_fn(|context| {
            std::pin::Pin::new(answer.body_mut()).poll_frame(context)
        });
        let frame = frame.await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap().len(), 1);
        assert_eq!(start.elapsed(), second * SECOND);
    }
    assert_eq!(whole(answer).await.unwrap().len() as u64, length - 3);
    assert_eq!(start.elapsed().as_secs(), length);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_cut_off_is_an_error_after_its_half() {
    let tenant = tenant().await;
    tenant.key_endpoint().truncate();
    let mut answer = keys(&tenant).await.unwrap();
    let length = answer.body().size_hint().exact().unwrap();
    let mut read = 0;
    let error = loop {
        let frame = std::future::poll_fn(|context| {
            std::pin::Pin::new(answer.body_mut()).poll_frame(context)
        });
        match frame.await.unwrap() {
            Ok(frame) => read += frame.into_data().unwrap().len() as u64,
            Err(error) => break error,
        }
    };
    assert_eq!(read, length / 2);
    assert_eq!(error.kind(), io::ErrorKind::Other, "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_hangs_and_one_that_is_late_take_the_clocks_time() {
    let tenant = tenant().await;
    tenant.key_endpoint().hang();
    let start = Instant::now();
    assert!(timeout(60 * SECOND, keys(&tenant)).await.is_err());
    assert_eq!(start.elapsed(), 60 * SECOND);

    tenant.key_endpoint().delay(7 * SECOND);
    assert_eq!(keys(&tenant).await.unwrap().status(), 200);
    assert_eq!(start.elapsed(), 67 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn redirects_are_not_followed_and_bombs_not_inflated() {
    let tenant = tenant().await;
    tenant.key_endpoint().redirect_to(&keys_url(&tenant));
    let answer = keys(&tenant).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), tenant.key_endpoint().hits()),
        (302, 1)
    );
    assert_eq!(answer.headers()["location"], *keys_url(&tenant));

    tenant.key_endpoint().answer_gzip_bomb();
    let answer = keys(&tenant).await.unwrap();
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    assert!(whole(answer).await.unwrap().len() < 200 << 10);
}

#[tokio::test]
async fn it_reaches_the_tenant_by_its_urls_and_nobody_else() {
    let own = tenant().await;
    let other = tenant().await;
    let named = DevTenant::builder().url("https://Login.example:8443/");
    let named = named.start().await.unwrap();
    let client = named.http_client();
    for (url, is_right) in [
        ("https://login.example:8443/x".to_owned(), true),
        ("https://LOGIN.example:8443/x".to_owned(), true),
        (format!("http://{}/x", named.address()), true),
        (format!("https://{}/x", named.address()), false),
        ("http://login.example:8443/x".to_owned(), false),
        ("https://login.example/x".to_owned(), false),
        (
            "https://login.example:8443@attacker.example/x".to_owned(),
            false,
        ),
        (keys_url(&own), false),
        ("/x".to_owned(), false),
    ] {
        match get(&client, &url).await {
            Ok(answer) => assert_eq!((answer.status().as_u16(), is_right), (404, true), "{url}"),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{url}");
                assert!(!is_right, "{url}: {error}");
            }
        }
    }
    let answer = get(&own.http_client(), &keys_url(&other)).await;
    assert!(answer.is_err());
    assert_eq!(other.key_endpoint().hits(), 0);
}

#[tokio::test]
async fn it_is_refused_after_the_tenant_has_ended() {
    let tenant = tenant().await;
    let (client, url) = (tenant.http_client(), keys_url(&tenant));
    let kept = get(&client, &url).await.unwrap();
    tenant.key_endpoint().trickle();
    let trickling = get(&client, &url).await.unwrap();
    drop(tenant);
    // The first response was complete. The second ends with the tenant.
    assert!(Place::Keys.is_right(&whole(kept).await.unwrap()));
    assert!(whole(trickling).await.is_err());
    let error = get(&client, &url).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

/// Checks that such a request gets no response. Time would pass while packets are in flight, and
/// tests would pass or fail by chance.
#[tokio::test(start_paused = true)]
async fn a_request_over_tcp_gets_no_answer_while_the_clock_is_paused() {
    let tenant = tenant().await;
    let close = "connection: close\r\n";
    let mut stream = Place::Keys.asks_over_tcp(&tenant, close).await;
    let mut nothing = Vec::new();
    stream.read_to_end(&mut nothing).await.unwrap();
    assert_eq!((nothing, tenant.key_endpoint().hits()), (Vec::new(), 0));
    assert!(Place::Keys.is_right(&Place::Keys.answer(&tenant).await.body));

    tokio::time::resume();
    let mut stream: TcpStream = Place::Keys.asks_over_tcp(&tenant, close).await;
    let mut answer = Answer::head_of(&mut stream).await;
    stream.read_to_end(&mut answer.body).await.unwrap();
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(body["keys"][0]["n"].is_string());
}
