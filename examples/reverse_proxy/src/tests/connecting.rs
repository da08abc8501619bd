//! Tests of upstreams that do not connect, over TCP. Linux reports the state of each connection.

use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::yield_now;
use tokio::time;

use super::failures::{assert_unavailable, call};
use super::support::{BOTH, Proxy, SECOND};
use crate::upstream::CONNECT_TIMEOUT;

#[tokio::test]
async fn an_upstream_that_does_not_connect_is_504_after_5_s() {
    let full = FullQueue::new().await;
    for to in BOTH {
        for http in BOTH {
            let proxy = Proxy::before(&to.upstream(full.address)).await;
            let (status, text) = late(full.address, proxy.ask(http, proxy.get("/"))).await;
            assert_eq!(
                (status, &*text),
                (504, "the upstream did not respond in time\n")
            );
        }
        let proxy = Proxy::before(&to.upstream(full.address)).await;
        let response = late(full.address, call(&proxy, "application/grpc")).await;
        assert_unavailable(response).await;
    }
}

/// A listener that accepts no connection and whose queue is full.
///
/// Linux leaves any further connection without a response.
struct FullQueue {
    address: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl FullQueue {
    async fn new() -> Self {
        const BACKLOG: u32 = 1;
        memory_network::assert_clock_runs();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(BACKLOG).unwrap();
        let address = listener.local_addr().unwrap();
        // Linux queues one connection more than the backlog.
        let mut waiting = Vec::new();
        for accepted in 1..=BACKLOG + 1 {
            let socket = TcpSocket::new_v4().unwrap();
            waiting.push(socket.connect(address).await.unwrap());
            // The client is connected slightly before the connection is in the queue.
            while in_queue(address) != Some(accepted) {
                yield_now().await;
            }
        }
        Self {
            address,
            _listener: listener,
            _waiting: waiting,
        }
    }
}

/// Returns the result of a request whose connection gets no response.
///
/// The test advances the clock by hand: a paused clock does not advance on its own while a task is
/// ready, however busy the machine is.
async fn late<T>(address: SocketAddr, asked: impl Future<Output = T>) -> T {
    let mut asked = pin!(asked);
    let almost = async {
        time::pause();
        while !is_connecting(address) {
            yield_now().await;
        }
        time::advance(CONNECT_TIMEOUT - SECOND).await;
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(is_connecting(address), "too early");
        time::advance(2 * SECOND).await;
        while is_connecting(address) {
            yield_now().await;
        }
        time::resume();
    };
    tokio::select! {
        biased;
        () = almost => {}
        _ = &mut asked => panic!("too early"),
    }
    asked.await
}

/// Returns whether a connection to the address has been started but not accepted by the other end.
fn is_connecting(address: SocketAddr) -> bool {
    const SYN_SENT: &str = "02";
    let remote = format!(":{:04X}", address.port());
    connections().iter().any(|connection| {
        let [_, there, state, ..] = &connection[..] else {
            return false;
        };
        there.ends_with(&remote) && state == SYN_SENT
    })
}

/// Returns the number of connections that wait to be accepted by the listener at the address.
fn in_queue(address: SocketAddr) -> Option<u32> {
    const LISTEN: &str = "0A";
    let local = format!(":{:04X}", address.port());
    connections().iter().find_map(|connection| {
        let [here, _, state, queues, ..] = &connection[..] else {
            return None;
        };
        let (_, accepted) = queues.split_once(':')?;
        let is_it = here.ends_with(&local) && state == LISTEN;
        is_it.then(|| u32::from_str_radix(accepted, 16).unwrap())
    })
}

/// Returns this machine's TCP connections, each as a list of fields: its two ends, its state, its
/// queues and more.
fn connections() -> Vec<Vec<String>> {
    let text = fs::read_to_string("/proc/net/tcp").unwrap();
    let lines = text.lines().skip(1);
    let fields = lines.map(|line| line.split_whitespace().skip(1).map(str::to_owned));
    fields.map(Iterator::collect).collect()
}
