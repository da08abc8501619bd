//! Tests of streaming bodies.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::BodyExt as _;
use tokio::net::TcpListener;
use tonic::Code;
use tonic::transport::server::TcpIncoming;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::support::{BOTH, Http, Proxy, at_once, header, piece, played, soon, stream, upstream};
use crate::answer::text_body;

#[tokio::test(start_paused = true)]
async fn bodies_stream_both_ways() {
    let (mut requests, address) = played().await;
    for to in BOTH {
        let proxy = Proxy::before(&to.upstream(address)).await;
        for http in BOTH {
            let (mut up, sent) = stream();
            let request = proxy.get("/").method("POST").body(sent).unwrap();
            let (mut down, answered) = stream();
            // The response begins while the request is still in progress.
            let upstream = async {
                let (request, answer) = requests.recv().await.unwrap();
                answer.send(Response::new(answered)).unwrap();
                request.into_body()
            };
            let both = async { tokio::join!(proxy.send(http, request), upstream) };
            let (response, mut arriving) = at_once(both).await;
            let mut received = response.into_body();
            // Each piece arrives before the next one is sent.
            for text in ["one", "two", "three"] {
                at_once(up.send_data(Bytes::from(text))).await.unwrap();
                assert_eq!(
                    at_once(piece(&mut arriving)).await,
                    text,
                    "{http:?} to {to:?}"
                );
                at_once(down.send_data(Bytes::from(text))).await.unwrap();
                assert_eq!(
                    at_once(piece(&mut received)).await,
                    text,
                    "{to:?} to {http:?}"
                );
            }
            drop((up, down));
            for body in [arriving, received] {
                assert_eq!(at_once(body.collect()).await.unwrap().to_bytes(), "");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_of_unknown_length_arrives_whatever_the_method() {
    let (mut requests, address) = played().await;
    for to in BOTH {
        let proxy = Proxy::before(&to.upstream(address)).await;
        for http in BOTH {
            for method in ["GET", "HEAD", "DELETE", "POST"] {
                let (mut up, sent) = stream();
                let mut request = proxy.get("/").method(method);
                if http == Http::One {
                    // Without this header, the test's client would not send a body either.
                    request = request.header("transfer-encoding", "chunked");
                }
                let request = request.body(sent).unwrap();
                let upload = async {
                    up.send_data(Bytes::from("one")).await.unwrap();
                    up.send_data(Bytes::from("two")).await.unwrap();
                    drop(up);
                };
                let upstream = async {
                    let (request, answer) = requests.recv().await.unwrap();
                    assert_eq!(header(request.headers(), "content-length"), None);
                    let body = request.into_body().collect().await.unwrap();
                    answer.send(Response::new(text_body(""))).unwrap();
                    body.to_bytes()
                };
                let all = async { tokio::join!(proxy.send(http, request), upload, upstream) };
                let (response, (), arrived) = at_once(all).await;
                assert_eq!(response.status(), 200);
                assert_eq!(arrived, "onetwo", "{method}, {http:?} to {to:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_reads_is_not_taken() {
    static PIECE: [u8; 64 * 1024] = [0; 64 * 1024];
    let (mut requests, address) = played().await;
    for to in BOTH {
        for http in BOTH {
            let proxy = Proxy::before(&to.upstream(address)).await;
            let (mut up, sent) = stream();
            let (mut down, answered) = stream();
            let request = proxy.get("/").method("POST").body(sent).unwrap();
            let upstream = async {
                let (request, answer) = requests.recv().await.unwrap();
                answer.send(Response::new(answered)).unwrap();
                request
            };
            let both = async { tokio::join!(proxy.send(http, request), upstream) };
            let (_response, _request) = at_once(both).await;
            for sender in [&mut up, &mut down] {
                let mut pieces = 0;
                while let Some(sent) = soon(sender.send_data(Bytes::from_static(&PIECE))).await {
                    sent.unwrap();
                    pieces += 1;
                    // Pipes and windows may hold some MiB.
                    assert!(pieces < 512, "{http:?} to {to:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let (mut requests, address) = played().await;
    for to in BOTH {
        let proxy = Proxy::before(&to.upstream(address)).await;
        let trailers = |value| HeaderMap::from_iter([("checksum".parse().unwrap(), value)]);
        let (mut up, sent) = stream();
        let (mut down, answered) = stream();
        // HTTP/1.1 requires trailers to be announced.
        let request = proxy.get("/").method("POST").header("te", "trailers");
        let request = request.header("trailer", "checksum").body(sent).unwrap();
        let upstream = async {
            let (request, answer) = requests.recv().await.unwrap();
            assert_eq!(header(request.headers(), "te"), Some("trailers"));
            let connection = header(request.headers(), "connection");
            assert_eq!(connection, (to == Http::One).then_some("te"));
            let response = Response::builder().header("trailer", "checksum");
            answer.send(response.body(answered).unwrap()).unwrap();
            let body = request.into_body().collect().await.unwrap();
            assert_eq!(header(body.trailers().unwrap(), "checksum"), Some("up"));
            down.send_trailers(trailers(HeaderValue::from_static("down")))
                .await
                .unwrap();
            drop(down);
        };
        let upload = async {
            up.send_trailers(trailers(HeaderValue::from_static("up")))
                .await
                .unwrap();
            drop(up);
        };
        let response = async {
            let body = proxy.send(Http::Two, request).await.into_body();
            body.collect().await.unwrap()
        };
        let (body, (), ()) = tokio::join!(response, upload, upstream);
        assert_eq!(
            header(body.trailers().unwrap(), "checksum"),
            Some("down"),
            "{to:?}"
        );
    }
}

#[tokio::test]
async fn grpc_works_end_to_end() {
    let (reporter, health) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tonic::transport::Server::builder()
        .add_service(health)
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
    tokio::spawn(serving);
    let proxy = Proxy::before(&Http::Two.upstream(address)).await;
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", proxy.address));
    let mut client = HealthClient::new(endpoint.unwrap().connect().await.unwrap());
    let request = |service: &str, token: Option<String>| {
        let service = service.to_owned();
        let mut request = tonic::Request::new(HealthCheckRequest { service });
        if let Some(token) = token {
            let token = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", token);
        }
        request
    };

    let token = || Some(proxy.user().mint());
    assert!(client.check(request("", token())).await.is_ok());
    let refused = client.check(request("", None)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let unknown = client.check(request("unknown", token())).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);

    // In this stream, the second message arrives only when the status changes.
    let watched = client.watch(request("", token())).await.unwrap();
    let mut watched = watched.into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status, 1);
    let status = tonic_health::ServingStatus::NotServing;
    reporter.set_service_status("", status).await;
    assert_eq!(watched.message().await.unwrap().unwrap().status, 2);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_stops_no_other() {
    let address = upstream(|request| async move {
        let length = match request.uri().path() {
            "/large" => 4 * 1024 * 1024,
            _ => 100_000,
        };
        Response::new(text_body(vec![b'x'; length]))
    })
    .await;
    let proxy = Proxy::before(&Http::Two.upstream(address)).await;
    let mut unread = Vec::new();
    for _ in 0..50 {
        let request = proxy.get("/large").body(text_body("")).unwrap();
        unread.push(proxy.send(Http::Two, request).await);
    }
    for http in BOTH {
        let (status, text) = at_once(proxy.ask(http, proxy.get("/small"))).await;
        assert_eq!((status, text.len()), (200, 100_000), "{http:?}");
    }
}
