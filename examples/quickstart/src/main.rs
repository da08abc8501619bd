//! A local Entra tenant, an axum API behind the Layer, and the response to each kind of request.
//!
//! `cargo run -p quickstart` prints a table, then `curl` commands, and serves until Ctrl-C. The
//! service's log goes to standard error. With `--once` the program exits after the table, and fails
//! if a response is not the expected one.

use std::error::Error;

use axum::serve::ListenerExt as _;
use axum::{Router, routing::get};
use entra_dev_tenant::DevTenant;
use textwrap::{Options, WordSplitter};
use tower_entra_auth::{Caller, EntraAuth, refusal::RefusalDetail};

/// The application (client) id of the API.
///
/// With a real tenant, use the id of its app registration.
const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
/// A client application that may call the API with its own identity.
const CLIENT: &str = "2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b";
const SECRET: &str = "dev-secret";

const USAGE: &str = "\
A local Entra tenant, an API behind the Layer, and the response to each kind of request.

usage: quickstart [--once] [--log]

  --once     exits after the table, and fails if a response is not the expected one
  --log      also prints the service's log of the table
  --version  prints the version
";

type Server = tokio::task::JoinHandle<std::io::Result<()>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (mut once, mut logs_all) = (false, false);
    for argument in std::env::args().skip(1) {
        match &*argument {
            "--once" => once = true,
            "--log" => logs_all = true,
            "--version" => {
                println!("quickstart {}", env!("CARGO_PKG_VERSION"));
                return Ok(());
            }
            "--help" => {
                print!("{USAGE}");
                return Ok(());
            }
            _ => return Err("unknown option; --help lists the options".into()),
        }
    }
    if logs_all {
        log_to_standard_error();
    }

    let tenant = DevTenant::builder()
        .client(CLIENT, SECRET, ["Reports.Read.All"])
        .start()
        .await?;

    let (url, _server) = serve(&tenant).await?;
    let all_as_expected = try_each_kind(&tenant, &format!("{url}/me")).await?;
    if once {
        return if all_as_expected {
            Ok(())
        } else {
            Err("a response is not the expected one".into())
        };
    }

    // Starts a second service with its own log limits: the first has logged these refusals already,
    // and repeats each at most once a minute.
    let (url, server) = serve(&tenant).await?;
    println!("\nTry it yourself; the token is valid for an hour:\n");
    let endpoint = format!("{}/{}/oauth2/v2.0/token", tenant.url(), tenant.id());
    println!("TOKEN=$(curl -s {endpoint} \\");
    println!("  -d grant_type=client_credentials -d client_id={CLIENT} \\");
    println!("  -d client_secret={SECRET} -d scope=api://{API}/.default |");
    println!("  sed 's/.*\"access_token\":\"\\([^\"]*\\).*/\\1/')");
    println!("curl -i {url}/me -H \"Authorization: Bearer $TOKEN\"");
    println!("curl -i {url}/me -H \"Authorization: Bearer ${{TOKEN}}AA\"  # changed in transit");
    println!("curl -i {url}/me");
    println!("curl -i {url}/healthz");
    println!("\nServing {url}, Ctrl-C ends it; its log follows.");
    if !logs_all {
        log_to_standard_error();
    }
    tokio::select! {
        served = server => served??,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

/// Serves the API behind the Layer and returns its URL.
async fn serve(tenant: &DevTenant) -> Result<(String, Server), Box<dyn Error>> {
    // With a real tenant, remove the last three settings.
    let auth = EntraAuth::builder()
        .tenant(tenant.id())
        .client_id(API)
        .metadata_endpoint(tenant.url())
        .clock(tenant.clock())
        .refusal_detail(RefusalDetail::Full)
        .build()?;

    let app = auth
        .protect(Router::new().route("/me", get(me)))
        .open(Router::new().route("/healthz", get(|| async { "ok" })));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    // Disables Nagle's algorithm: small writes must not wait for each other.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let server = tokio::spawn(async move { axum::serve(listener, app.into_make_service()).await });
    Ok((url, server))
}

/// Prints the log from now on.
fn log_to_standard_error() {
    tracing_subscriber::fmt()
        .compact()
        .without_time()
        .with_target(false)
        .with_writer(std::io::stderr)
        .init();
}

async fn me(caller: Caller) -> String {
    let permissions: Vec<&str> = caller.scopes().chain(caller.roles()).collect();
    format!(
        "{} {} with {}",
        caller.kind(),
        caller.id(),
        permissions.join(" ")
    )
}

/// Sends one request of each kind and prints a line for each.
async fn try_each_kind(tenant: &DevTenant, url: &str) -> Result<bool, reqwest::Error> {
    let user = || tenant.user("ada").scope("Reports.Read").for_api(API);
    let app = || tenant.app(CLIENT).role("Reports.Read.All").for_api(API);
    let requests: [(&str, u16, &str, &dyn Fn() -> String); 10] = [
        ("no token", 401, "-", &String::new),
        ("user token", 200, "-", &|| user().mint()),
        ("app token", 200, "-", &|| app().mint()),
        ("expired", 401, "expired", &|| user().expired().mint()),
        ("wrong audience", 401, "wrong_audience", &|| {
            user().for_api(CLIENT).mint()
        }),
        ("v1 token", 401, "v1_token", &|| user().v1().mint()),
        ("Graph token", 401, "graph_token", &|| {
            tenant.graph_token("ada").mint()
        }),
        ("id token", 401, "id_token", &|| {
            tenant.id_token("ada").for_api(API).mint()
        }),
        ("bad signature", 401, "untrusted_signature", &|| {
            user().bad_signature().mint()
        }),
        ("signed by a new key", 200, "-", &|| {
            tenant.signing_keys().rotate();
            user().mint()
        }),
    ];

    print_row("sent", "status", "code", "remedy");
    // Connects directly to loopback and ignores the proxies and certificates set on this machine.
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()?;
    let mut all_as_expected = true;
    for (sent, expected_status, expected_code, mint) in requests {
        let request = client.get(url);
        let request = match &*mint() {
            "" => request,
            token => request.bearer_auth(token),
        };
        let response = request.send().await?;
        let status = response.status().as_u16();
        let body = response.text().await?;
        let (code, remedy) = match (status, body.trim().split_once(": ")) {
            (200, _) => ("-", "-"),
            // With `RefusalDetail::Full` the body is "code: remedy", or only the remedy if no token
            // was sent.
            (_, Some((code, remedy))) if !code.contains(' ') => (code, remedy),
            _ => ("-", body.trim()),
        };
        print_row(sent, &status.to_string(), code, remedy);
        all_as_expected &= (status, code) == (expected_status, expected_code);
    }
    Ok(all_as_expected)
}

/// Prints a row of at most 100 columns.
///
/// Ids are shortened, and the remedy is wrapped within its column.
fn print_row(sent: &str, status: &str, code: &str, remedy: &str) {
    let remedy = remedy.replace(API, "6e74…").replace(CLIENT, "2b1f…");
    let head = format!("{sent:<19}  {status:<6}  {code:<19}  ");
    let below = " ".repeat(head.len());
    let options = Options::new(100)
        .initial_indent(&head)
        .subsequent_indent(&below)
        .break_words(false)
        .word_splitter(WordSplitter::NoHyphenation);
    println!("{}", textwrap::fill(&remedy, options));
}
