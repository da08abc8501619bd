//! A network in memory, for tests whose clock is paused.
//!
//! While tokio's clock is paused, it jumps to the next timer as soon as no task has work to do. A
//! packet that is in flight in the operating system does not count as work. A test that uses
//! sockets therefore passes or fails by how busy the machine is. Data that is sent through these
//! pipes has arrived when it is sent, as long as both ends are on one current-thread runtime.

use std::collections::HashMap;
use std::hint::spin_loop;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

/// Maximum number of bytes that one end can send before the other end reads.
const PIPE_BYTES: usize = 64 * 1024;
/// An address of TEST-NET-1, which no system has, so that no socket on this machine listens on it.
///
/// Source: RFC 5737 §3.
const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Number before the first port. All ports are above 80, which URLs leave out.
const BEFORE_FIRST_PORT: u16 = 99;

static NETWORK: LazyLock<Mutex<Network>> = LazyLock::new(|| {
    Mutex::new(Network {
        last_port: BEFORE_FIRST_PORT,
        listening: HashMap::new(),
    })
});

struct Network {
    last_port: u16,
    listening: HashMap<SocketAddr, UnboundedSender<DuplexStream>>,
}

fn network() -> MutexGuard<'static, Network> {
    NETWORK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A listener that accepts the connections to its own address until it is dropped.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    incoming: UnboundedReceiver<DuplexStream>,
}

impl Listener {
    /// Listens at an address that this process has never used before.
    ///
    /// # Panics
    /// If all 65,436 addresses were used.
    #[must_use]
    pub fn bind() -> Self {
        let (sender, incoming) = unbounded_channel();
        let mut network = network();
        network.last_port = network.last_port.checked_add(1).expect("a free port");
        let address = (HOST, network.last_port).into();
        network.listening.insert(address, sender);
        Self { address, incoming }
    }

    /// Returns the address at which [`connect`] finds the listener.
    ///
    /// No socket has this address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the next connection.
    pub async fn accept(&mut self) -> DuplexStream {
        match self.incoming.recv().await {
            Some(stream) => stream,
            // The network holds the sender for as long as the listener exists.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        network().listening.remove(&self.address);
    }
}

/// Connects to the [`Listener`] at this address.
///
/// # Errors
/// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) if no listener has this address.
pub fn connect(address: SocketAddr) -> io::Result<DuplexStream> {
    let (client, server) = duplex(PIPE_BYTES);
    let network = network();
    let listener = network.listening.get(&address);
    listener
        .and_then(|listener| listener.send(server).ok())
        .map(|()| client)
        .ok_or_else(|| io::ErrorKind::ConnectionRefused.into())
}

/// Returns `true` if the address belongs to this network, whether or not a listener has it now.
#[must_use]
pub fn has(address: SocketAddr) -> bool {
    address.ip() == HOST && address.port() <= network().last_port
}

/// Returns `true` if tokio's clock is paused.
///
/// A running clock moves when the system's clock moves, and a paused clock does not.
#[must_use]
pub fn is_clock_paused() -> bool {
    let (tokios, systems) = (Instant::now(), std::time::Instant::now());
    while systems.elapsed().is_zero() {
        spin_loop();
    }
    tokios.elapsed().is_zero()
}

/// Fails a test that is about to use a socket while its clock is paused.
///
/// # Panics
/// If tokio's clock is paused.
pub fn assert_clock_runs() {
    assert!(
        !is_clock_paused(),
        "a socket while tokio's clock is paused: time would pass while packets are on their way; \
         go through memory, or let the clock run"
    );
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_arrives_without_any_time_passing() {
        let mut listener = Listener::bind();
        let address = listener.address();
        let start = Instant::now();
        let server = tokio::spawn(async move {
            let mut stream = listener.accept().await;
            let mut received = Vec::new();
            stream.read_to_end(&mut received).await.unwrap();
            received.len()
        });
        let timer = tokio::spawn(tokio::time::sleep(Duration::from_millis(1)));
        let mut client = connect(address).unwrap();
        client.write_all(&[0; 1 << 20]).await.unwrap();
        drop(client);
        assert_eq!(server.await.unwrap(), 1 << 20);
        assert_eq!(start.elapsed(), Duration::ZERO);
        timer.await.unwrap();
    }

    #[tokio::test]
    async fn each_has_an_address_of_its_own_and_nobody_is_there_after_it() {
        let (mut one, other) = (Listener::bind(), Listener::bind());
        let (here, there) = (one.address(), other.address());
        assert_ne!(here, there);
        assert!(has(here) && has(there) && !has(([127, 0, 0, 1], here.port()).into()));
        let mut client = connect(here).unwrap();
        client.write_u8(7).await.unwrap();
        assert_eq!(one.accept().await.read_u8().await.unwrap(), 7);
        drop(other);
        let refused = connect(there).unwrap_err().kind();
        assert_eq!(refused, io::ErrorKind::ConnectionRefused);
        assert!(has(there));
    }

    #[tokio::test]
    async fn a_clock_that_runs_and_one_that_is_paused_are_told_apart() {
        for _ in 0..1_000 {
            assert_clock_runs();
        }
        tokio::time::pause();
        assert!(is_clock_paused());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(is_clock_paused());
        tokio::time::resume();
        assert_clock_runs();
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "a socket while tokio's clock is paused")]
    async fn a_socket_is_refused_while_the_clock_is_paused() {
        assert_clock_runs();
    }
}
