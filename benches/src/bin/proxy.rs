//! Measures the proxy's throughput on two cores, and checks that unknown clients cost it no memory.
//!
//! Run `cargo run --profile bench -p benches --bin proxy`. `-- --quick` makes the run short, and
//! `-- --judge` makes it fail if a throughput misses its goal. The memory check always applies.
//!
//! Requests go directly to the proxy's service in this process, without sockets, HTTP parsing or
//! TLS.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entra_oauth_proxy::{EntraOAuthProxyBuilder, ProxyKeys, RateLimits, store::DiskStore};
use http::StatusCode;
use serde_json::json;

use crate::support::{REDIRECT, Stage};

#[expect(dead_code, reason = "the proxy's own tests need more of it")]
#[path = "../../../crates/entra-oauth-proxy/tests/it/support.rs"]
mod support;

/// Number of clients that refresh at the same time, each with its own sign-in.
const CLIENTS: usize = 64;

/// Maximum growth of the memory in use after all requests of unknown clients, in KiB.
const BOUND: u64 = 8 * 1024;

const REFRESHES: f64 = 2_000.0;
const DOCUMENTS: f64 = 30_000.0;

struct Run {
    span: Duration,
    registrations: usize,
    requests: usize,
}

fn main() -> ExitCode {
    let has = |argument: &str| std::env::args().any(|other| other == argument);
    let run = match has("--quick") {
        true => Run {
            span: Duration::from_secs(1),
            registrations: 10_000,
            requests: 1_000,
        },
        false => Run {
            span: Duration::from_secs(5),
            registrations: 100_000,
            requests: 10_000,
        },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let (is_fast, is_flat) = runtime.block_on(run.everything());
    match is_flat && (is_fast || !has("--judge")) {
        true => ExitCode::SUCCESS,
        false => {
            println!("FAILED");
            ExitCode::FAILURE
        }
    }
}

impl Run {
    /// Runs all measurements, and returns whether the throughputs reach their goals and whether the
    /// memory stays within the bound.
    async fn everything(&self) -> (bool, bool) {
        let stage = stage(|settings| settings).await;
        let is_flat = self.strangers(&stage).await;
        let documents = self.documents(&stage).await;
        let in_memory = self.refreshes(stage).await;
        let directory = Directory::new();
        let store = DiskStore::open(directory.0.join("sign-ins.redb")).expect("a store");
        let on_disk = self.refreshes(stage_with(store).await).await;
        println!("{:44} {:>10} {:>10}", "in a second", "", "goal");
        println!(
            "{:44} {on_disk:>10.0} {REFRESHES:>10.0}",
            "refreshes, DiskStore"
        );
        println!("{:44} {in_memory:>10.0}", "refreshes, MemoryStore");
        println!(
            "{:44} {documents:>10.0} {DOCUMENTS:>10.0}",
            "metadata documents"
        );
        (on_disk >= REFRESHES && documents >= DOCUMENTS, is_flat)
    }

    /// Returns the number of refreshes per second.
    ///
    /// Entra's own tokens stay valid during the run.
    async fn refreshes(&self, stage: Arc<Stage>) -> f64 {
        let mut signed_in = Vec::new();
        for _ in 0..CLIENTS {
            let client = stage.client().await;
            let tokens = stage.sign_in(&client, "ada").await;
            signed_in.push((client, tokens));
        }
        let asked = stage.tenant.token_endpoint().hits();
        let (is_over, count) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let clients = signed_in.into_iter().map(|(client, mut tokens)| {
            let (stage, is_over, count) = (stage.clone(), is_over.clone(), count.clone());
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
                    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
                    tokens = refreshed.json();
                    count.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            })
        });
        let clients: Vec<_> = clients.collect();
        let rate = self.rate(&count).await;
        is_over.store(true, Ordering::Relaxed);
        for client in clients {
            client.await.expect("no panic");
        }
        assert_eq!(
            stage.tenant.token_endpoint().hits(),
            asked,
            "Entra was asked"
        );
        rate
    }

    async fn documents(&self, stage: &Arc<Stage>) -> f64 {
        let (is_over, count) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let readers = (0..2).map(|_| {
            let (stage, is_over, count) = (stage.clone(), is_over.clone(), count.clone());
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    for _ in 0..16 {
                        let document = stage.get("/.well-known/oauth-authorization-server").await;
                        assert_eq!(document.status, StatusCode::OK);
                    }
                    count.fetch_add(16, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            })
        });
        let readers: Vec<_> = readers.collect();
        let rate = self.rate(&count).await;
        is_over.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.await.expect("no panic");
        }
        rate
    }

    async fn rate(&self, count: &AtomicU64) -> f64 {
        // The first requests warm up the service.
        tokio::time::sleep(self.span / 5).await;
        let (before, start) = (count.load(Ordering::Relaxed), Instant::now());
        tokio::time::sleep(self.span).await;
        let counted = count.load(Ordering::Relaxed) - before;
        counted as f64 / start.elapsed().as_secs_f64()
    }

    /// Returns whether memory stays within the bound with clients that register and never return,
    /// and with consent pages that no user answers.
    async fn strangers(&self, stage: &Arc<Stage>) -> bool {
        // Lets buffers and the allocator's pools reach their size.
        registers(stage, 2_000).await;
        authorizes(stage, 500).await;
        let before = resident_kibibytes();
        registers(stage, self.registrations).await;
        let between = resident_kibibytes();
        authorizes(stage, self.requests).await;
        let after = resident_kibibytes();
        println!("{:44} {:>10} {:>10}", "memory in use, KiB", "", "more");
        println!("{:44} {before:>10}", "before");
        let row = |count: usize, what: &str, now: u64| {
            let more = i128::from(now) - i128::from(before);
            println!(
                "{:44} {now:>10} {more:>10}",
                format!("after {count} {what}")
            );
        };
        row(self.registrations, "registrations", between);
        row(self.requests, "idle authorize requests", after);
        println!("{:44} {:>10} {BOUND:>10}\n", "at most", "");
        after.saturating_sub(before) <= BOUND
    }
}

async fn registers(stage: &Arc<Stage>, count: usize) {
    let halves = (0..2).map(|_| {
        let stage = stage.clone();
        tokio::spawn(async move {
            for number in 0..count / 2 {
                let name = format!("client {number}");
                let metadata = json!({ "redirect_uris": [REDIRECT], "client_name": name });
                let registered = stage.register(&metadata).await;
                let text = registered.text();
                assert_eq!(registered.status, StatusCode::CREATED, "{text}");
            }
        })
    });
    for half in halves.collect::<Vec<_>>() {
        half.await.expect("no panic");
    }
}

async fn authorizes(stage: &Arc<Stage>, count: usize) {
    let client = stage.client().await;
    let halves = (0..2).map(|_| {
        let (stage, client) = (stage.clone(), client.clone());
        tokio::spawn(async move {
            for number in 0..count / 2 {
                let url = client.authorize(&[("state", &number.to_string())]);
                let page = stage.get(&url).await;
                assert_eq!(page.status, StatusCode::OK, "{}", page.text());
            }
        })
    });
    for half in halves.collect::<Vec<_>>() {
        half.await.expect("no panic");
    }
}

async fn stage(
    change: impl FnOnce(EntraOAuthProxyBuilder) -> EntraOAuthProxyBuilder,
) -> Arc<Stage> {
    // Each client refreshes more often than the rate limits permit, and all clients are of one
    // user.
    let limits = RateLimits::none().grants_per_user(CLIENTS);
    let unlimited = |settings: EntraOAuthProxyBuilder| change(settings.limits(limits));
    Arc::new(Stage::with(unlimited).await)
}

async fn stage_with(store: DiskStore) -> Arc<Stage> {
    let keys = ProxyKeys::from_base64(&STANDARD.encode(digest(&SHA256, b"a key")));
    let keys = keys.expect("a key");
    stage(|settings| settings.store(store).keys(keys)).await
}

/// A temporary directory, removed on drop.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let name = format!("entra-oauth-proxy benchmark {}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Returns the resident memory in KiB, or zero if the system does not report it.
fn resident_kibibytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kibibytes.unwrap_or(0)
}
