//! Tests that a client cannot fill the log.

use std::io;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use http::Response;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::advance;
use tracing::subscriber::{DefaultGuard, set_default, set_global_default};

use super::memory::{Stream, connect};
use super::support::{
    Asked, BOTH, Http, Proxy, after, breaking_off, nobody, piece, played, read_to_end, stream,
};
use crate::answer::{Body, text_body};
use crate::log::{Throttle, subscriber};
use crate::upstream::RESPONSE_TIMEOUT;

/// Captures the lines that the program would write on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn capture() -> (Self, DefaultGuard) {
        // If there were no global subscriber, a test on another thread that reaches a log line
        // first could disable that line for all threads.
        static FOR_ALL: Once = Once::new();
        FOR_ALL.call_once(|| set_global_default(subscriber(io::sink)).unwrap());
        let log = Self::default();
        let writer = log.clone();
        let guard = set_default(subscriber(move || writer.clone()));
        (log, guard)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// Returns the counts of the lines that contain `needle`.
    fn counts(&self, needle: &str) -> Vec<u64> {
        let text = self.text();
        let lines = text.lines().filter(|line| line.contains(needle));
        let counts = lines.map(|line| line.rsplit_once("count=").expect(line).1);
        counts.map(|count| count.parse().expect(count)).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_of_a_kind_is_written_then_one_a_minute_with_the_count() {
    let (log, _guard) = Log::capture();
    let (one, other) = (Throttle::default(), Throttle::default());
    for _ in 0..1_000 {
        one.warn("this");
        advance(Duration::from_millis(100)).await;
    }
    other.warn("that");
    advance(Duration::from_secs(60)).await;
    one.warn("this");
    one.warn("this");
    // Lines are written at 0 s, 60 s and 160 s. The third covers 400 of the 1,001 calls until then;
    // one call follows.
    assert_eq!(log.counts("this"), [1, 600, 400]);
    assert_eq!(log.counts("that"), [1]);
}

#[tokio::test(start_paused = true)]
async fn many_lost_requests_are_few_lines_with_their_exact_count() {
    const LOST: u64 = 100;
    let (log, _guard) = Log::capture();
    let down = Proxy::before(&Http::One.upstream(nobody().await)).await;
    let broken = Proxy::before(&Http::One.upstream(breaking_off("nonsense\r\n\r\n").await)).await;
    let switching = breaking_off("HTTP/1.1 101 Switching Protocols\r\n\r\n").await;
    let switching = Proxy::before(&Http::One.upstream(switching)).await;
    let lose = async |proxy: &Proxy| {
        let token = proxy.user().mint();
        let line = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close";
        let sent = format!("{line}\r\nAuthorization: Bearer {token}\r\n\r\n");
        assert!(proxy.raw(&sent).await.starts_with("HTTP/1.1 502 "));
    };
    let kinds = [
        (&down, "client error (Connect)"),
        (&broken, "client error (SendRequest)"),
        (
            &switching,
            "101 Switching Protocols, which the proxy did not request",
        ),
    ];
    for (proxy, line) in kinds {
        for _ in 0..LOST {
            lose(proxy).await;
        }
        assert_eq!(log.counts(line), [1], "{line}");
    }
    advance(Duration::from_secs(60)).await;
    for (proxy, line) in kinds {
        lose(proxy).await;
        assert_eq!(log.counts(line), [1, LOST], "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn responses_that_break_off_are_few_lines_with_their_exact_count() {
    const LOST: u64 = 100;
    let (log, _guard) = Log::capture();
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    let proxy = Proxy::before(&Http::One.upstream(breaking_off(half).await)).await;
    let lose = async || {
        let request = proxy.get("/").body(text_body("")).unwrap();
        let response = proxy.send(Http::One, request).await;
        assert_eq!(response.status(), 200);
        assert!(response.into_body().collect().await.is_err());
    };
    for _ in 0..LOST {
        lose().await;
    }
    assert_eq!(log.counts("the response was interrupted: "), [1]);
    advance(Duration::from_secs(60)).await;
    lose().await;
    assert_eq!(log.counts("the response was interrupted: "), [1, LOST]);
    assert_eq!(log.counts("reverse_proxy::log: upstream "), [1, LOST]);
}

/// Begins an upload of ten bytes and sends four of them. Returns the client's connection and the
/// request that the upstream received.
async fn begin_upload(
    proxy: &Proxy,
    requests: &mut mpsc::UnboundedReceiver<Asked>,
) -> (Box<dyn Stream>, Incoming, oneshot::Sender<Response<Body>>) {
    let token = proxy.user().mint();
    let line = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10";
    let sent = format!("{line}\r\nAuthorization: Bearer {token}\r\n\r\nhalf");
    let mut client = connect(proxy.address).await.unwrap();
    client.write_all(sent.as_bytes()).await.unwrap();
    let (request, answer) = requests.recv().await.unwrap();
    let mut body = request.into_body();
    assert_eq!(piece(&mut body).await, "half");
    (client, body, answer)
}

#[tokio::test]
async fn an_upload_that_its_client_breaks_off_is_no_line_about_the_upstream() {
    let (mut requests, address) = played().await;
    for to in BOTH {
        let proxy = Proxy::before(&to.upstream(address)).await;
        let (log, _guard) = Log::capture();
        let (mut client, _body, _unanswered) = begin_upload(&proxy, &mut requests).await;
        // The client ends its upload, but still waits for a response.
        client.shutdown().await.unwrap();
        let answer = read_to_end(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert_eq!(log.text(), "", "{to:?}");
    }
}

#[tokio::test]
async fn nor_is_one_that_breaks_off_while_the_response_is_under_way() {
    let (mut requests, address) = played().await;
    for to in BOTH {
        let proxy = Proxy::before(&to.upstream(address)).await;
        let (log, _guard) = Log::capture();
        let (mut client, _body, answer) = begin_upload(&proxy, &mut requests).await;
        let (_down, answered) = stream();
        answer.send(Response::new(answered)).unwrap();
        let mut status = [0; 12];
        client.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
        client.shutdown().await.unwrap();
        // The response has no end except that of the connection.
        read_to_end(&mut client).await;
        assert_eq!(log.text(), "", "{to:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nor_is_one_of_which_its_client_sends_no_more() {
    for to in BOTH {
        let (mut requests, address) = played().await;
        let proxy = Proxy::before(&to.upstream(address)).await;
        let (log, _guard) = Log::capture();
        let (mut client, _body, _unanswered) = begin_upload(&proxy, &mut requests).await;
        let mut status = [0; 12];
        let answered = client.read_exact(&mut status);
        after(RESPONSE_TIMEOUT, answered).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 504");
        assert_eq!(log.text(), "", "{to:?}");

        // The upstream has the complete request here, so the upstream is late.
        let answer = after(RESPONSE_TIMEOUT, proxy.ask(Http::One, proxy.get("/"))).await;
        assert_eq!(answer.0, 504);
        assert_eq!(log.counts("no response within 30s"), [1], "{to:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_the_upstream_does_not_take_is_a_line_about_the_upstream() {
    static LARGE: [u8; 16 * 1024 * 1024] = [0; 16 * 1024 * 1024];
    let (_requests, address) = played().await;
    for to in BOTH {
        let proxy = Proxy::before(&to.upstream(address)).await;
        let (log, _guard) = Log::capture();
        let request = proxy.get("/").method("POST");
        let request = request.body(text_body(&LARGE[..])).unwrap();
        let response = after(RESPONSE_TIMEOUT, proxy.send(Http::Two, request)).await;
        assert_eq!(response.status(), 504);
        assert_eq!(log.counts("no response within 30s"), [1], "{to:?}");
    }
}

#[tokio::test]
async fn what_libraries_say_of_a_stranger_is_not_written() {
    let proxy = Proxy::before(&Http::One.upstream(nobody().await)).await;
    let (log, _guard) = Log::capture();
    let mut client = connect(proxy.address).await.unwrap();
    let frame = |kind, flags| [0, 0, if kind == 4 { 0 } else { 8 }, kind, flags, 0, 0, 0, 0];
    let (settings, ping, ack) = (4, 6, 1);
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(frame(settings, 0));
    for _ in 0..1_000 {
        sent.extend(frame(ping, ack));
        sent.extend(b"unasked!");
    }
    sent.extend(frame(ping, 0));
    sent.extend(b"are you ");
    client.write_all(&sent).await.unwrap();
    // The response to the last frame shows that all frames have been read.
    let mut received = Vec::new();
    while !received.ends_with(b"are you ") {
        received.push(client.read_u8().await.unwrap());
    }
    assert_eq!(log.text(), "");
    // The proxy's own lines are written.
    let answer = proxy.ask(Http::One, proxy.get("/")).await;
    assert_eq!(answer.0, 502);
    assert_eq!(log.counts("reverse_proxy::log: upstream "), [1]);
}
