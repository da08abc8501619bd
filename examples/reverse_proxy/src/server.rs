//! Accepts connections and bounds what a client may take.

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

/// Until the headers of a request are there; a connection that waits for its next one as well.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// All headers of a request together: a token of 16 KiB and what browsers send beside it.
pub(crate) const MAX_HEADER_BYTES: u32 = 64 * 1024;
/// Requests at a time on one HTTP/2 connection.
pub(crate) const MAX_STREAMS: u32 = 128;
/// The bytes that may be under way of one body on an HTTP/2 connection. The connection has room for
/// that of every stream, so that a body that nobody reads stops no other.
pub(crate) const STREAM_WINDOW: u32 = 128 * 1024;
pub(crate) const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;
/// The time after which a quiet HTTP/2 client is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(60);
/// For requests that are under way when the proxy is to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// The other end of the connection, in the request's extensions.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// A source of connections: TCP, or the memory of a test.
pub(crate) trait Listener {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Waits for the next connection, and returns it with its other end.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = Self::accept(self).await?;
        // Small frames of a stream must not wait for each other.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("{peer}: {error}");
        }
        Ok((stream, peer))
    }
}

/// Serves until `stop`, and then ends what is under way.
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
                // Where the process is out of files the next attempt would fail at once.
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    // Nobody should connect to be turned away.
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

/// HTTP/1.1 or HTTP/2, whichever the client begins with.
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

/// Ends when a connection has sent no request in time. hyper's own limit begins only when it is
/// known which HTTP the client speaks, and is not one of HTTP/2.
async fn silent(has_asked: &AtomicBool) {
    sleep(HEADER_TIMEOUT).await;
    if has_asked.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}
