//! Fixtures that the tests share: a tenant, a proxy in front of an upstream, and real clients.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use entra_dev_tenant::{DevTenant, TokenBuilder};
use http::request::{self, Parts};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tower_entra_auth::{EntraAuth, keys::BoxError};

use crate::answer::{Body, text_body};
use crate::settings::protection;
use crate::upstream::Upstream;
use crate::{forward, server};

use super::memory::{self, Listener};
use crate::server::Listener as _;

pub(crate) const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
pub(crate) const CLIENT: &str = "2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b";
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A version of HTTP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Http {
    One,
    Two,
}

pub(crate) const BOTH: [Http; 2] = [Http::One, Http::Two];

impl Http {
    /// Returns the value of `UPSTREAM` for this version.
    pub(crate) fn upstream(self, address: SocketAddr) -> String {
        match self {
            Self::One => format!("http://{address}"),
            Self::Two => format!("h2c://{address}"),
        }
    }
}

/// A tenant and a proxy that trusts it.
pub(crate) struct Proxy {
    pub(crate) tenant: DevTenant,
    pub(crate) address: SocketAddr,
    /// Shuts the proxy down gracefully.
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) task: tokio::task::JoinHandle<()>,
    clients: Clients,
}

/// A client for HTTP/1.1 and a client for HTTP/2.
enum Clients {
    Tcp([Client<HttpConnector, Body>; 2]),
    Memory([Client<memory::Connector, Body>; 2]),
}

impl Proxy {
    /// Starts a tenant and a proxy in front of `upstream`, and fetches the keys.
    pub(crate) async fn before(upstream: &str) -> Self {
        let tenant = DevTenant::start().await.unwrap();
        let settings = EntraAuth::builder()
            .tenant(tenant.id())
            .client_id(API)
            .metadata_endpoint(tenant.url())
            .http_client(tenant.http_client())
            .clock(tenant.clock());
        let auth = protection(settings).unwrap();
        auth.ready().await.unwrap();
        let (address, listener) = memory::bind().await;
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            if stopped.await.is_err() {
                pending::<()>().await;
            }
        };
        let (task, clients) = if let Listener::Memory(_) = listener {
            let upstream = Upstream::with_connector(upstream, memory::Connector).unwrap();
            let service = forward::service(&auth, upstream);
            let clients = [false, true].map(|is_http2| client(is_http2).build(memory::Connector));
            (
                tokio::spawn(server::serve(listener, service, stopped)),
                Clients::Memory(clients),
            )
        } else {
            let service = forward::service(&auth, Upstream::new(upstream).unwrap());
            let mut connector = HttpConnector::new();
            connector.set_nodelay(true);
            let clients = [false, true].map(|is_http2| client(is_http2).build(connector.clone()));
            (
                tokio::spawn(server::serve(listener, service, stopped)),
                Clients::Tcp(clients),
            )
        };
        Self {
            tenant,
            address,
            stop,
            task,
            clients,
        }
    }

    /// Returns the builder of a valid token.
    pub(crate) fn user(&self) -> TokenBuilder<'_> {
        let user = self.tenant.user("lovelace").scope("Reports.Read");
        user.for_api(API).expires_in(1_000_000)
    }

    /// Returns a request with a valid token.
    pub(crate) fn get(&self, path: &str) -> request::Builder {
        self.get_with(path, &self.user().mint())
    }

    pub(crate) fn get_with(&self, path: &str, token: &str) -> request::Builder {
        self.anonymous(path)
            .header("authorization", format!("Bearer {token}"))
    }

    pub(crate) fn anonymous(&self, path: &str) -> request::Builder {
        Request::get(format!("http://{}{path}", self.address))
    }

    pub(crate) async fn send(&self, http: Http, request: Request<Body>) -> Response<Incoming> {
        let response = match &self.clients {
            Clients::Tcp(clients) => clients[http as usize].request(request),
            Clients::Memory(clients) => clients[http as usize].request(request),
        };
        response.await.unwrap()
    }

    /// Sends a request without a body and returns the status and the text of the response.
    pub(crate) async fn ask(&self, http: Http, request: request::Builder) -> (u16, String) {
        let request = request.body(text_body("")).unwrap();
        let response = self.send(http, request).await;
        (response.status().as_u16(), text(response).await)
    }

    /// Sends `sent` as it is, and returns everything that the client reads until the connection
    /// ends.
    pub(crate) async fn raw(&self, sent: &str) -> String {
        let mut stream = memory::connect(self.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await
    }
}

/// Reads until the end of the stream, whether the end is clean or an error.
pub(crate) async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received).await;
    String::from_utf8_lossy(&received).into_owned()
}

pub(crate) async fn text(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn client(is_http2: bool) -> client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .http2_only(is_http2)
        .http2_initial_stream_window_size(64 * 1024)
        .http2_initial_connection_window_size(16 * 1024 * 1024);
    builder
}

/// Starts an upstream that speaks HTTP/1.1 and HTTP/2 and accepts larger headers than any proxy.
pub(crate) async fn upstream<F, A>(answer: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let (address, mut listener) = memory::bind().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answered = answer(request);
                async { Ok::<_, Infallible>(answered.await) }
            });
            tokio::spawn(async move {
                let mut protocol = auto::Builder::new(TokioExecutor::new());
                protocol.http2().max_header_list_size(1024 * 1024);
                let _ = protocol
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

/// The requests that an upstream received, each with its trailers, recorded once the body was read.
pub(crate) struct Recorded {
    requests: mpsc::UnboundedReceiver<(Parts, Option<HeaderMap>)>,
}

impl Recorded {
    /// Starts an upstream that responds `ok` to every request.
    pub(crate) async fn start() -> (Self, SocketAddr) {
        let (sender, requests) = mpsc::unbounded_channel();
        let address = upstream(move |request: Request<Incoming>| {
            let sender = sender.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap();
                sender.send((parts, body.trailers().cloned())).unwrap();
                Response::new(text_body("ok"))
            }
        })
        .await;
        (Self { requests }, address)
    }

    /// Returns the only request since the last call.
    pub(crate) fn one(&mut self) -> (Parts, Option<HeaderMap>) {
        let one = self.requests.try_recv().expect("a request arrived");
        assert!(self.requests.try_recv().is_err(), "only one");
        one
    }

    pub(crate) fn headers(&mut self) -> HeaderMap {
        self.one().0.headers
    }

    pub(crate) fn assert_none(&mut self) {
        assert!(self.requests.try_recv().is_err(), "a request arrived");
    }
}

/// A request to an upstream, with a channel for the test's response.
pub(crate) type Asked = (Request<Incoming>, oneshot::Sender<Response<Body>>);

/// Starts an upstream whose responses the test sends.
pub(crate) async fn played() -> (mpsc::UnboundedReceiver<Asked>, SocketAddr) {
    let (sender, requests) = mpsc::unbounded_channel();
    let address = upstream(move |request: Request<Incoming>| {
        let (answer, answered) = oneshot::channel();
        sender.send((request, answer)).unwrap();
        async {
            match answered.await {
                Ok(response) => response,
                // The test sends no response.
                Err(_) => pending().await,
            }
        }
    })
    .await;
    (requests, address)
}

/// Starts an upstream that reads a request's headers, sends `sent` and closes the connection.
pub(crate) async fn breaking_off(sent: &'static str) -> SocketAddr {
    let (address, mut listener) = memory::bind().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = server::Listener::accept(&mut listener).await {
            let mut received = Vec::new();
            while !received.ends_with(b"\r\n\r\n") {
                received.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(sent.as_bytes()).await.unwrap();
        }
    });
    address
}

/// Returns a body that the test sends piece by piece.
pub(crate) fn stream() -> (Sender<Bytes, BoxError>, Body) {
    let (sender, body) = Channel::new(1);
    (sender, body.boxed())
}

/// Returns the next piece of a body.
pub(crate) async fn piece(body: &mut Incoming) -> Bytes {
    let frame = body.frame().await.expect("not at its end").unwrap();
    frame.into_data().expect("not the trailers")
}

pub(crate) fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().unwrap();
    assert!(values.next().is_none(), "{name} twice");
    Some(value)
}

/// Returns the result of a future that completes before paused time passes.
pub(crate) async fn at_once<T>(future: impl Future<Output = T>) -> T {
    soon(future).await.expect("not at once")
}

/// Returns the result of a future, or `None` if it does not complete before paused time passes.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> Option<T> {
    assert!(memory_network::is_clock_paused());
    timeout(Duration::from_millis(1), future).await.ok()
}

/// Returns the result of a future, and fails unless the future completes after `time`, give or take
/// a second.
pub(crate) async fn after<T>(time: Duration, future: impl Future<Output = T>) -> T {
    assert!(memory_network::is_clock_paused());
    let start = Instant::now();
    let result = timeout(time + SECOND, future).await.expect("too late");
    assert!(
        start.elapsed() + SECOND > time,
        "too early: {:?}",
        start.elapsed()
    );
    result
}

/// Returns an address that no server listens on.
pub(super) async fn nobody() -> SocketAddr {
    memory::bind().await.0
}
