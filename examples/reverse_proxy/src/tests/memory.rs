//! Connections in memory, for the tests whose clock is paused.

use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tower::Service;

use crate::server;

/// The listener of a test's server.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Memory(memory_network::Listener),
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Listens in memory if the clock is paused.
///
/// Over TCP, a paused clock would advance while a packet is on its way.
pub(crate) async fn bind() -> (SocketAddr, Listener) {
    if memory_network::is_clock_paused() {
        let listener = memory_network::Listener::bind();
        return (listener.address(), Listener::Memory(listener));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener.local_addr().unwrap(), Listener::Tcp(listener))
}

pub(crate) async fn connect(address: SocketAddr) -> io::Result<Box<dyn Stream>> {
    if memory_network::has(address) {
        return Ok(Box::new(memory_network::connect(address)?));
    }
    memory_network::assert_clock_runs();
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}

impl server::Listener for Listener {
    type Stream = Box<dyn Stream>;

    async fn accept(&mut self) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = server::Listener::accept(listener).await?;
                Ok((Box::new(stream), peer))
            }
            Self::Memory(listener) => {
                let stream = listener.accept().await;
                Ok((Box::new(stream), listener.address()))
            }
        }
    }
}

/// A connector in memory for hyper's clients.
#[derive(Clone)]
pub(crate) struct Connector;

impl Service<Uri> for Connector {
    type Response = Pipe;
    type Error = io::Error;
    type Future = Ready<io::Result<Pipe>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let address = uri.authority().expect("a host").as_str().parse();
        let stream = memory_network::connect(address.expect("an address"));
        ready(stream.map(|stream| Pipe(TokioIo::new(stream))))
    }
}

/// A connection with hyper's traits.
pub(crate) struct Pipe(TokioIo<DuplexStream>);

impl Connection for Pipe {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
