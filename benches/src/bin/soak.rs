//! Sends mixed traffic for some time, while the key server has one fault after the other.
//!
//! The program prints memory, counts and percentiles. It fails if a bad token was ever accepted, or
//! if a good token was refused although its key was held.
//!
//! `cargo run --profile bench -p benches --bin soak` takes ten minutes, less with `-- --seconds
//! 20`.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use benches::layer::Inner;
use benches::{API, bearer, with_bad_signature};
use entra_dev_tenant::DevTenant;
use hdrhistogram::Histogram;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Empty;
use tokio::time::sleep;
use tower::{Layer as _, ServiceExt as _};
use tower_entra_auth::EntraAuth;
use tower_entra_auth::settings::TokenCache;

/// Number of good tokens in circulation at the start.
const SUBJECTS: usize = 1_000;

/// Good tokens of one key, and whether a token of that key was ever accepted.
///
/// After the first acceptance, the service holds the key for a day.
struct Pool {
    headers: Vec<HeaderValue>,
    is_known: AtomicBool,
}

#[derive(Default)]
struct Counts {
    good: AtomicU64,
    bad: AtomicU64,
    unavailable: AtomicU64,
    /// Good tokens refused because their key was not held yet: the service cannot know the key
    /// while the bucket is empty.
    too_new: AtomicU64,
    wrongly_refused: AtomicU64,
    wrongly_accepted: AtomicU64,
}

struct Soak {
    tenant: DevTenant,
    auth: EntraAuth,
    pools: RwLock<Vec<Arc<Pool>>>,
    counts: Counts,
    latencies: Mutex<Histogram<u64>>,
    hostile_run: AtomicBool,
    is_over: AtomicBool,
    serial: AtomicUsize,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--seconds");
    let seconds = arguments.nth(1).and_then(|text| text.parse().ok());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(soak(Duration::from_secs(seconds.unwrap_or(600))))
}

async fn soak(span: Duration) -> ExitCode {
    let tenant = DevTenant::start().await.expect("a tenant");
    let auth = EntraAuth::builder()
        .tenant(tenant.id())
        .client_id(API)
        .metadata_endpoint(tenant.url())
        .token_cache(TokenCache::bytes(8 * 1024 * 1024))
        .build()
        .expect("good settings");
    let soak = Arc::new(Soak {
        tenant,
        auth,
        pools: RwLock::default(),
        counts: Counts::default(),
        latencies: Mutex::new(Histogram::new(3).expect("a histogram")),
        hostile_run: AtomicBool::new(false),
        is_over: AtomicBool::new(false),
        serial: AtomicUsize::new(0),
    });
    soak.sign(SUBJECTS);
    soak.auth.ready().await.expect("keys");

    let workers: Vec<_> = (0..2)
        .map(|number| {
            let soak = Arc::clone(&soak);
            tokio::spawn(async move {
                if number == 0 {
                    soak.send_good().await;
                } else {
                    soak.send_bad().await;
                }
            })
        })
        .collect();

    println!(
        "{:>6} {:28} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>7} {:>9}",
        "s", "phase", "good", "bad", "503", "too new", "fetches", "p50 us", "p99 us", "RSS MiB"
    );
    let start = Instant::now();
    let phases = phases();
    let each = span / u32::try_from(phases.len()).expect("few phases");
    let mut memory = Vec::new();
    for (name, begin) in &phases {
        begin(&soak);
        sleep(each).await;
        memory.push(soak.report(start.elapsed(), name));
    }
    soak.is_over.store(true, Ordering::SeqCst);
    for worker in workers {
        worker.await.expect("no panic");
    }
    soak.verdict(span, &memory)
}

type Begin = fn(&Soak);

/// Returns the phases of the run, in order. A fault of the key server lasts for a phase or longer.
fn phases() -> Vec<(&'static str, Begin)> {
    vec![
        ("good tokens alone", |_| {}),
        ("bad tokens, too", |soak| {
            soak.hostile_run.store(true, Ordering::SeqCst);
        }),
        ("rotation", |soak| soak.rotate()),
        ("key server down", |soak| soak.tenant.start_outage()),
        ("back, HTML for keys", |soak| {
            soak.tenant.end_outage();
            soak.tenant.key_endpoint().answer_html();
        }),
        ("no keys at all", |soak| {
            soak.tenant.key_endpoint().recover();
            soak.tenant.signing_keys().serve_none();
        }),
        ("one byte a second", |soak| {
            soak.tenant.key_endpoint().trickle();
        }),
        ("503 and Retry-After", |soak| {
            soak.tenant.key_endpoint().throttle(503, "2");
        }),
        ("rotation, older keys withdrawn", |soak| {
            soak.tenant.key_endpoint().recover();
            soak.rotate();
            soak.tenant.signing_keys().withdraw_old();
        }),
        ("good tokens alone again", |soak| {
            soak.hostile_run.store(false, Ordering::SeqCst);
        }),
    ]
}

impl Soak {
    /// Adds `count` good tokens of the current key to the circulation.
    fn sign(&self, count: usize) {
        let headers = (0..count).map(|_| {
            let number = self.serial.fetch_add(1, Ordering::Relaxed);
            let user = self.tenant.user(&format!("user {number}"));
            bearer(&user.scope("Reports.Read").for_api(API).mint())
        });
        let pool = Pool {
            headers: headers.collect(),
            is_known: AtomicBool::new(false),
        };
        let mut pools = self.pools.write().expect("no panic");
        pools.push(Arc::new(pool));
    }

    fn rotate(&self) {
        self.tenant.signing_keys().rotate();
        self.sign(100);
    }

    async fn send_good(&self) {
        let service = self.auth.layer().layer(Inner);
        let mut turn = 0_usize;
        while !self.is_over.load(Ordering::Relaxed) {
            turn = turn.wrapping_add(7_919);
            let pool = {
                let pools = self.pools.read().expect("no panic");
                Arc::clone(&pools[turn % pools.len()])
            };
            let was_known = pool.is_known.load(Ordering::Relaxed);
            let header = &pool.headers[turn % pool.headers.len()];
            let start = Instant::now();
            let answer = service.clone().oneshot(request(header)).await;
            let took = start.elapsed();
            match answer.expect("no error").status() {
                StatusCode::OK => {
                    pool.is_known.store(true, Ordering::Relaxed);
                    self.counts.good.fetch_add(1, Ordering::Relaxed);
                    let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                    let mut latencies = self.latencies.lock().expect("no panic");
                    latencies.saturating_record(nanoseconds);
                }
                _ if was_known => {
                    self.counts.wrongly_refused.fetch_add(1, Ordering::Relaxed);
                }
                StatusCode::SERVICE_UNAVAILABLE => {
                    self.counts.unavailable.fetch_add(1, Ordering::Relaxed);
                }
                _ => {
                    self.counts.too_new.fetch_add(1, Ordering::Relaxed);
                }
            }
            tokio::task::yield_now().await;
        }
    }

    async fn send_bad(&self) {
        let bad: Vec<HeaderValue> = (0..500)
            .map(|number| {
                let user = || {
                    self.tenant
                        .user("mallory")
                        .scope("Reports.Read")
                        .for_api(API)
                };
                let token = match number % 6 {
                    0 | 1 => user().expired().mint(),
                    2 | 3 => user().header("kid", format!("unknown {number}")).mint(),
                    4 => with_bad_signature(&user().mint()),
                    _ => format!("garbage.{number}"),
                };
                bearer(&token)
            })
            .collect();
        let service = self.auth.layer().layer(Inner);
        for header in bad.iter().cycle() {
            while !self.hostile_run.load(Ordering::Relaxed) {
                if self.is_over.load(Ordering::Relaxed) {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
            let answer = service.clone().oneshot(request(header)).await;
            if answer.expect("no error").status() == StatusCode::OK {
                self.counts.wrongly_accepted.fetch_add(1, Ordering::Relaxed);
            }
            self.counts.bad.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    }

    /// Prints one line, resets the counts except that of fetches, and returns the memory in MiB.
    fn report(&self, elapsed: Duration, phase: &str) -> u64 {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        let mut latencies = self.latencies.lock().expect("no panic");
        let micros =
            |quantile: f64, of: &Histogram<u64>| of.value_at_quantile(quantile) as f64 / 1_000.0;
        let memory = resident_mebibytes();
        let mut line = String::new();
        let _ = write!(
            line,
            "{:>6} {phase:28} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8.2} {:>7.1} {memory:>9}",
            elapsed.as_secs(),
            take(&self.counts.good),
            take(&self.counts.bad),
            take(&self.counts.unavailable),
            take(&self.counts.too_new),
            self.tenant.key_endpoint().hits(),
            micros(0.5, &latencies),
            micros(0.99, &latencies),
        );
        latencies.reset();
        println!("{line}");
        memory
    }

    fn verdict(&self, span: Duration, memory: &[u64]) -> ExitCode {
        let wrongly_accepted = self.counts.wrongly_accepted.load(Ordering::Relaxed);
        let wrongly_refused = self.counts.wrongly_refused.load(Ordering::Relaxed);
        let fetches = self.tenant.discovery_endpoint().hits() as u64;
        // The limit consists of two fetches of the bucket, one each 30 s, the first one, and those
        // of the back-off. With 5 s per attempt and a second between attempts, the back-off makes
        // at most one fetch per second.
        let most = 3 + span.as_secs() / 30 + span.as_secs();
        println!("\n{}\n", self.auth.status());
        println!("bad tokens accepted:              {wrongly_accepted}");
        println!("good tokens of held keys refused: {wrongly_refused}");
        println!("fetches:                          {fetches}, at most {most}");
        println!("memory, MiB:                      {memory:?}");
        // The first phases fill caches and allocators.
        let has_grown = memory.last() > memory.get(3).map(|early| early + 32).as_ref();
        if wrongly_accepted > 0 || wrongly_refused > 0 || fetches > most || has_grown {
            println!("FAILED");
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}

fn request(header: &HeaderValue) -> Request<Empty<bytes::Bytes>> {
    let mut request = Request::new(Empty::new());
    request.headers_mut().insert(AUTHORIZATION, header.clone());
    request
}

/// Returns the resident memory in MiB, or zero if the system does not report it.
fn resident_mebibytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) / 1024
}
