//! Tests of failing upstreams.

use std::pin::pin;

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::io::AsyncWriteExt as _;
use tokio::time::sleep;

use super::memory::connect;
use super::support::{
    BOTH, Http, Proxy, SECOND, after, at_once, breaking_off, header, nobody, piece, played, stream,
    upstream,
};
use crate::answer::text_body;
use crate::upstream::RESPONSE_TIMEOUT;

#[tokio::test]
async fn an_upstream_that_is_down_is_502() {
    for to in BOTH {
        let proxy = Proxy::before(&to.upstream(nobody().await)).await;
        for http in BOTH {
            let answer = proxy.ask(http, proxy.get("/")).await;
            let text = "the upstream is not available\n".to_owned();
            assert_eq!(answer, (502, text), "{http:?}");
            let (status, text) = proxy.ask(http, proxy.get("/").method("HEAD")).await;
            assert_eq!((status, &*text), (502, ""));
        }
        for content_type in ["application/grpc", "Application/GRPC+proto; x=y"] {
            assert_unavailable(call(&proxy, content_type).await).await;
        }
    }
}

#[tokio::test]
async fn an_upstream_that_speaks_something_else_is_502() {
    for sent in [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "",
        "HTTP/1.1 101 Upgrade\r\n\r\n",
    ] {
        let address = breaking_off(sent).await;
        let proxy = Proxy::before(&Http::One.upstream(address)).await;
        assert_eq!(proxy.ask(Http::Two, proxy.get("/")).await.0, 502, "{sent}");
    }
}

/// Sends a POST request whose content type says that it is gRPC.
pub(super) async fn call(proxy: &Proxy, content_type: &str) -> Response<Incoming> {
    let request = proxy.get("/").method("POST");
    let request = request.header("content-type", content_type);
    proxy
        .send(Http::Two, request.body(text_body("")).unwrap())
        .await
}

/// Checks that the response has only headers, and that they contain gRPC status 14.
pub(super) async fn assert_unavailable(response: Response<Incoming>) {
    assert_eq!(response.status(), 200);
    let headers = response.headers();
    assert_eq!(header(headers, "grpc-status"), Some("14"));
    assert_eq!(header(headers, "content-type"), Some("application/grpc"));
    let body = response.into_body().collect().await.unwrap();
    assert!(body.trailers().is_none());
    assert!(body.to_bytes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_does_not_answer_is_504_after_30_s() {
    let address = upstream(|_| std::future::pending()).await;
    for to in BOTH {
        let proxy = Proxy::before(&to.upstream(address)).await;
        for http in BOTH {
            let (status, text) = after(RESPONSE_TIMEOUT, proxy.ask(http, proxy.get("/"))).await;
            assert_eq!(
                (status, &*text),
                (504, "the upstream did not respond in time\n")
            );
        }
        let response = after(RESPONSE_TIMEOUT, call(&proxy, "application/grpc")).await;
        at_once(assert_unavailable(response)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_moves_is_not_cut_and_one_that_stalls_is() {
    let (mut requests, address) = played().await;
    for to in BOTH {
        let proxy = Proxy::before(&to.upstream(address)).await;
        let (mut body, sent) = stream();
        let request = proxy.get("/").method("POST").body(sent).unwrap();
        let mut response = pin!(proxy.send(Http::Two, request));
        let upstream = async {
            let (request, answer) = at_once(requests.recv()).await.unwrap();
            let mut arriving = request.into_body();
            for _ in 0..10 {
                sleep(20 * SECOND).await;
                at_once(body.send_data(Bytes::from("a"))).await.unwrap();
                assert_eq!(at_once(piece(&mut arriving)).await, "a");
            }
            (arriving, answer)
        };
        let (mut arriving, _answer) = tokio::select! {
            _ = &mut response => panic!("cut"),
            upstream = upstream => upstream,
        };
        // The client neither continues nor ends the request.
        let response = after(RESPONSE_TIMEOUT, response).await;
        assert_eq!(response.status(), 504);
        assert!(
            at_once(arriving.frame()).await.unwrap().is_err(),
            "it looks complete"
        );
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_does_not_look_complete() {
    for sent in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let proxy = Proxy::before(&Http::One.upstream(breaking_off(sent).await)).await;
        for http in BOTH {
            let request = proxy.get("/").body(text_body("")).unwrap();
            let mut body = proxy.send(http, request).await.into_body();
            let error = loop {
                match body.frame().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break Some(error),
                    None => break None,
                }
            };
            assert!(error.is_some(), "{http:?} {sent}");
        }
        let token = proxy.user().mint();
        let raw = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
        assert!(!proxy.raw(&raw).await.ends_with("0\r\n\r\n"), "{sent}");
    }
}

#[tokio::test]
async fn an_upload_that_breaks_off_does_not_look_complete() {
    let (mut requests, address) = played().await;
    for to in BOTH {
        let proxy = Proxy::before(&to.upstream(address)).await;
        let token = proxy.user().mint();
        for framing in [
            "Content-Length: 10\r\n\r\nhalf",
            "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        ] {
            let mut client = connect(proxy.address).await.unwrap();
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n");
            client.write_all(head.as_bytes()).await.unwrap();
            client.write_all(framing.as_bytes()).await.unwrap();
            let (request, _answer) = requests.recv().await.unwrap();
            let mut body = request.into_body();
            assert_eq!(piece(&mut body).await, "half");
            drop(client);
            assert!(body.frame().await.unwrap().is_err(), "{to:?} {framing}");
        }
    }
}
