//! Tests of the program as a separate process: the memory that a body of 1 GiB takes, and its end.
#![cfg(target_os = "linux")]

use std::convert::Infallible;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::task::{Context, Poll};

use bytes::Bytes;
use entra_dev_tenant::DevTenant;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
const MEBIBYTE: u64 = 1024 * 1024;
/// Permitted growth of the process's peak memory, in KiB.
const ALLOWED: u64 = 32 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_each_way_takes_no_memory() {
    assert_flat(false, 1024 * MEBIBYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_a_quarter_of_it_over_http2() {
    assert_flat(true, 256 * MEBIBYTE).await;
}

async fn assert_flat(is_http2: bool, bytes: u64) {
    let tenant = DevTenant::start().await.unwrap();
    let proxy = Proxy::start(&tenant, upstream().await, is_http2);
    let token = tenant.user("ada").scope("Reports.Read").for_api(API);
    let token = token.expires_in(1_000_000).mint();
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new())
        .http2_only(is_http2)
        .build::<_, Zeros>(connector);
    let send = async |bytes: u64| {
        let request = Request::post(&proxy.url)
            .header("authorization", format!("Bearer {token}"))
            .body(Zeros(bytes))
            .unwrap();
        let response = client.request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        count(response.into_body()).await
    };

    // Measures the baseline: connections, keys, the token.
    assert_eq!(send(MEBIBYTE).await, MEBIBYTE);
    let before = proxy.peak();
    let start = std::time::Instant::now();
    assert_eq!(send(bytes).await, bytes);
    let took = start.elapsed();
    let after = proxy.peak();
    println!("HTTP/2: {is_http2}; peak in KiB before {before}, after {after}; {took:.1?}");
    assert!(after < before + ALLOWED, "{before} KiB, then {after} KiB");
    assert!(proxy.interrupt().success());
}

/// Starts an upstream that sends as many bytes as it received.
///
/// Its response headers follow the last byte of the request.
async fn upstream() -> SocketAddr {
    memory_network::assert_clock_runs();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = service_fn(async |request: Request<Incoming>| {
        let bytes = count(request.into_body()).await;
        Ok::<_, Infallible>(Response::new(Zeros(bytes)))
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let protocol = auto::Builder::new(TokioExecutor::new());
                let _ = protocol
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

async fn count(mut body: Incoming) -> u64 {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame.unwrap().into_data().unwrap().len() as u64;
    }
    bytes
}

/// A body of the given number of zero bytes, without a known length.
struct Zeros(u64);

static PIECE: [u8; 64 * 1024] = [0; 64 * 1024];

impl Body for Zeros {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0 == 0 {
            return Poll::Ready(None);
        }
        let length = self.0.min(PIECE.len() as u64);
        self.0 -= length;
        let piece = Bytes::from_static(&PIECE[..usize::try_from(length).unwrap()]);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

/// The running program.
struct Proxy {
    process: Child,
    url: String,
}

impl Proxy {
    fn start(tenant: &DevTenant, upstream: SocketAddr, is_http2: bool) -> Self {
        let scheme = if is_http2 { "h2c" } else { "http" };
        let mut process = Command::new(env!("CARGO_BIN_EXE_reverse_proxy"))
            .env_clear()
            .env("LISTEN", "127.0.0.1:0")
            .env("UPSTREAM", format!("{scheme}://{upstream}"))
            .env("ENTRA_TENANT_ID", tenant.id())
            .env("ENTRA_CLIENT_ID", API)
            .env("ENTRA_METADATA_ENDPOINT", tenant.url())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(process.stdout.as_mut().unwrap());
        stdout.read_line(&mut line).unwrap();
        let rest = line.strip_prefix("Serving ").expect("it serves");
        let url = rest.split(',').next().unwrap().to_owned();
        Self { process, url }
    }

    /// Returns the peak memory of the process, in KiB.
    fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    }

    /// Sends Ctrl-C (SIGINT) and returns the exit status.
    fn interrupt(mut self) -> ExitStatus {
        let kill = format!("kill -INT {}", self.process.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
        self.process.wait().unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
