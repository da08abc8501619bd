//! Accepts connections and limits what a client can use.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tower::{Service, ServiceExt as _};

use crate::answer::Body;
use crate::log::Throttle;

/// Timeout for the headers of a request, including the wait of a connection for its next request.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum size of all headers of a request together: a token of 16 KiB and the headers that
/// browsers send with it.
pub(crate) const MAX_HEADER_BYTES: u32 = 64 * 1024;
/// Maximum number of concurrent requests on one HTTP/2 connection.
pub(crate) const MAX_STREAMS: u32 = 128;
/// Maximum number of bytes in flight of one body on an HTTP/2 connection.
///
/// The connection's window has room for all its streams, so a body that is not read does not block
/// the others.
pub(crate) const STREAM_WINDOW: u32 = 128 * 1024;
pub(crate) const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;
/// Time without traffic after which the proxy pings an HTTP/2 client.
const PING_INTERVAL: Duration = Duration::from_secs(60);
/// Time that requests in progress have to finish when the proxy shuts down.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// The address of the connected client, in the request's extensions.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// A source of connections: TCP, or a test's memory network.
pub(crate) trait Listener {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Waits for the next connection and returns it with the address of its other end.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = Self::accept(self).await?;
        // Disables Nagle's algorithm: small frames of a stream must not wait for each other.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("{peer}: {error}");
        }
        Ok((stream, peer))
    }
}

/// Serves until `stop` completes, and then lets the requests in progress finish.
pub(crate) async fn serve<L, S>(mut listener: L, service: S, stop: impl Future<Output = ()>)
where
    L: Listener,
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let connections = GracefulShutdown::new();
    let not_accepted = Throttle::default();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let serving = connection(stream, peer, service.clone(), connections.watcher());
                tokio::spawn(serving);
            }
            Err(error) => {
                not_accepted.warn(format_args!("cannot accept a connection: {error}"));
                // If the process is out of file descriptors, the next attempt would fail
                // immediately.
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    // Closes the listener first, so that no client connects only to be disconnected.
    drop(listener);
    if timeout(SHUTDOWN_TIMEOUT, connections.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some requests did not end within {SHUTDOWN_TIMEOUT:?}");
    }
}

async fn connection<I, S>(stream: I, peer: SocketAddr, service: S, watcher: Watcher)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let has_asked = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&has_asked);
    let service = service_fn(move |mut request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(Peer(peer));
        service.clone().oneshot(request)
    });
    let protocol = protocol();
    let serving = protocol.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        served = watcher.watch(serving.into_owned()) => {
            if let Err(error) = served {
                tracing::debug!("{peer}: {error}");
            }
        }
        () = silent(&has_asked) => tracing::debug!("{peer}: sent no request"),
    }
}

/// Returns a builder that serves HTTP/1.1 or HTTP/2, depending on how the client begins.
fn protocol() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_INTERVAL);
    builder
}

/// Completes when a connection has sent no request within [`HEADER_TIMEOUT`].
///
/// hyper's own timeout starts only when hyper knows which HTTP version the client speaks, and does
/// not apply to HTTP/2.
async fn silent(has_asked: &AtomicBool) {
    sleep(HEADER_TIMEOUT).await;
    if has_asked.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}
