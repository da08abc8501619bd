//! Access to the tenant without a socket: pipes in memory, and an HTTP client that uses them.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Bytes;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tower_service::Service;

/// An HTTP client that reaches only its tenant, in memory instead of over the network.
///
/// [`DevTenant::http_client`](crate::DevTenant::http_client) returns it. It is a tower service from
/// `http::Request<Bytes>` to a response with a streaming body, as `http_client(..)` of
/// `tower-entra-auth`, `entra-confidential-client` and `entra-oauth-proxy` takes it. The tenant's
/// own server responds, in HTTP/1.1. Each request has its own connection, so every fault is the
/// same as over TCP: a response that is late, cut off or endless, or a connection that closes
/// without one. The client does not follow redirects.
///
/// # Errors
/// If the URL is neither the tenant's [`url`](crate::DevTenant::url) nor its
/// [`address`](crate::DevTenant::address), if the tenant has ended, or if the connection ends
/// before the response does.
#[derive(Clone)]
pub struct HttpClient {
    /// Sends the server's end of each new pipe to the server.
    pipes: UnboundedSender<DuplexStream>,
    places: Arc<[(&'static str, Authority)]>,
}

impl HttpClient {
    /// Returns a client, and the receiver of the server's ends of its pipes.
    pub(super) fn new(url: &str, address: SocketAddr) -> (Self, UnboundedReceiver<DuplexStream>) {
        let named = url.split_once("://").and_then(|(scheme, rest)| {
            let authority = rest.split(['/', '?', '#']).next()?.parse().ok()?;
            let scheme = match scheme.to_ascii_lowercase().as_str() {
                "https" => "https",
                _ => "http",
            };
            Some((scheme, authority))
        });
        let listens = address.to_string().parse().ok();
        let listens = listens.map(|authority| ("http", authority));
        let (pipes, opened) = unbounded_channel();
        let client = Self {
            pipes,
            places: named.into_iter().chain(listens).collect(),
        };
        (client, opened)
    }

    /// Opens a pipe to the server.
    pub(super) fn connect(&self) -> io::Result<DuplexStream> {
        /// Capacity of a pipe in bytes, roughly that of a socket. A writer that fills it waits for
        /// the reader.
        const BYTES: usize = 64 * 1024;

        let (client, server) = duplex(BYTES);
        let sent = self.pipes.send(server);
        sent.map_err(|_| refused("the tenant has ended".to_owned()))?;
        Ok(client)
    }

    fn connect_to(&self, uri: &Uri) -> io::Result<DuplexStream> {
        let is_its_own = self.places.iter().any(|(scheme, authority)| {
            uri.scheme_str() == Some(*scheme) && uri.authority() == Some(authority)
        });
        if !is_its_own {
            // Only the host: a query may hold secrets.
            let host = uri.host().unwrap_or_default();
            return Err(refused(format!("{host:?} is not the tenant's address")));
        }
        self.connect()
    }

    async fn send(self, mut request: Request<Bytes>) -> io::Result<Response<ResponseBody>> {
        let stream = self.connect_to(request.uri())?;
        if let Some(authority) = request.uri().authority() {
            let host = HeaderValue::from_str(authority.as_str()).map_err(io::Error::other)?;
            request.headers_mut().entry(header::HOST).or_insert(host);
        }
        // A request to an origin server names only the path.
        let path = request.uri().path_and_query();
        *request.uri_mut() = path.map_or_else(Uri::default, |path| path.clone().into());

        let handshake = http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(io::Error::other)?;
        let mut connection = Connection(Some(Box::pin(connection)));
        let mut response = pin!(sender.send_request(request.map(Full::new)));
        let response = poll_fn(|context| {
            connection.poll(context);
            response.as_mut().poll(context)
        });
        let response = response.await.map_err(io::Error::other)?;
        Ok(response.map(|incoming| ResponseBody {
            connection,
            incoming,
        }))
    }
}

impl Service<Request<Bytes>> for HttpClient {
    type Response = Response<ResponseBody>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HttpClient")
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

/// A response body that streams from the tenant.
///
/// Dropping it closes the connection.
pub struct ResponseBody {
    connection: Connection,
    incoming: Incoming,
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.connection.poll(context);
        Pin::new(&mut self.incoming)
            .poll_frame(context)
            .map_err(io::Error::other)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ResponseBody")
    }
}

/// An HTTP connection that moves bytes only while it is polled.
///
/// The future that waits for the bytes polls it, so there is no spawned task that could outlive the
/// request.
struct Connection(Option<Pin<Box<OverPipe>>>);

type OverPipe = http1::Connection<TokioIo<DuplexStream>, Full<Bytes>>;

impl Connection {
    fn poll(&mut self, context: &mut Context<'_>) {
        let Some(connection) = &mut self.0 else {
            return;
        };
        // The response or its body returns the same error.
        if connection.as_mut().poll(context).is_ready() {
            self.0 = None;
        }
    }
}

fn refused(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, problem)
}
