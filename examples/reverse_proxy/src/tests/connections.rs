//! Tests of connections and of the proxy's shutdown.

use std::collections::HashMap;

use bytes::Bytes;
use http::Response;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::sleep;

use super::memory::connect;
use super::support::{
    BOTH, Http, Proxy, Recorded, SECOND, after, at_once, nobody, played, read_to_end, stream, text,
};
use crate::answer::text_body;
use crate::server::HEADER_TIMEOUT;

#[tokio::test]
async fn http2_clients_are_told_their_limits() {
    let proxy = Proxy::before(&Http::One.upstream(nobody().await)).await;
    let mut client = connect(proxy.address).await.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    client.write_all(preface).await.unwrap();
    // An empty SETTINGS frame (RFC 9113 §6.5); the proxy then sends its own.
    client
        .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
        .await
        .unwrap();
    let mut head = [0; 9];
    client.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4);
    let mut settings = vec![0; usize::from(head[2])];
    client.read_exact(&mut settings).await.unwrap();
    let settings: HashMap<u16, u32> = settings
        .chunks(6)
        .map(|setting| {
            let number = u16::from_be_bytes([setting[0], setting[1]]);
            let value = [setting[2], setting[3], setting[4], setting[5]];
            (number, u32::from_be_bytes(value))
        })
        .collect();
    let (max_concurrent_streams, max_header_list_size) = (3, 6);
    assert_eq!(settings[&max_concurrent_streams], 128);
    assert_eq!(settings[&max_header_list_size], 65_536);
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_ends_after_30_s() {
    let (_recorded, address) = Recorded::start().await;
    let proxy = Proxy::before(&Http::One.upstream(address)).await;
    for sent in [
        "",
        "G",
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "PRI",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = connect(proxy.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        after(HEADER_TIMEOUT, read_to_end(&mut stream)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_ends_before_the_proxy_does() {
    let (mut requests, address) = played().await;
    for http in BOTH {
        let proxy = Proxy::before(&Http::One.upstream(address)).await;
        let request = proxy.get("/").body(text_body("")).unwrap();
        let (mut body, answered) = stream();
        let upstream = async {
            let (_, answer) = requests.recv().await.unwrap();
            answer.send(Response::new(answered)).unwrap();
        };
        let both = async { tokio::join!(proxy.send(http, request), upstream) };
        let (response, ()) = at_once(both).await;
        let Proxy {
            address,
            stop,
            mut task,
            ..
        } = proxy;
        stop.send(()).unwrap();
        sleep(5 * SECOND).await;
        assert!(connect(address).await.is_err(), "it still listens");
        assert!(!task.is_finished());
        at_once(body.send_data(Bytes::from("done"))).await.unwrap();
        drop(body);
        assert_eq!(at_once(text(response)).await, "done", "{http:?}");
        at_once(&mut task).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_proxy_ends_after_10_s_at_most() {
    let (mut requests, address) = played().await;
    let proxy = Proxy::before(&Http::One.upstream(address)).await;
    let token = proxy.user().mint();
    let mut client = connect(proxy.address).await.unwrap();
    let sent = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    client.write_all(sent.as_bytes()).await.unwrap();
    let _unanswered = at_once(requests.recv()).await.unwrap();
    proxy.stop.send(()).unwrap();
    after(10 * SECOND, proxy.task).await.unwrap();
}
