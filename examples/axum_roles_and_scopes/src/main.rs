//! An axum API in which each route has its own requirement, and the response to each kind of
//! caller.
//!
//! `cargo run -p axum_roles_and_scopes` prints a table and serves until Ctrl-C. With `--once` the
//! program exits after the table, and fails if a response is not the expected one.

use std::error::Error;

use axum::serve::ListenerExt as _;
use axum::{
    Router,
    routing::{get, post},
};
use entra_dev_tenant::DevTenant;
use reqwest::Method;
use tower_entra_auth::{
    AppPermission, Caller, EntraAuth, Scope, UserRole, axum::Protected, require::InvalidRequirement,
};

const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
const CLIENT: &str = "2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b";

/// Builds the routes and their requirements.
///
/// Users and applications may read, users with the role `Editor` may write, and all of `/admin` is
/// for users with the role `Admin`.
fn app(auth: &EntraAuth) -> Result<Protected, InvalidRequirement> {
    let readers = auth.require(Scope("Reports.Read").or(AppPermission("Reports.Read.All")))?;
    let editors = auth.require(Scope("Reports.Write").and(UserRole("Editor")))?;
    let admins = auth.require(UserRole("Admin"))?;

    let admin = Router::new()
        .route("/settings", get(settings))
        .layer(admins);
    let routes = Router::new()
        .route("/me", get(me))
        .merge(readers.route("/reports", get(read)))
        .merge(editors.route("/reports", post(write)))
        .nest("/admin", admin);
    Ok(auth.protect(routes)) // protects every route
}

async fn me(caller: Caller) -> String {
    format!("{} {}", caller.kind(), caller.id())
}

async fn read() -> &'static str {
    "reports"
}

async fn write() -> &'static str {
    "written"
}

async fn settings() -> &'static str {
    "settings"
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let tenant = DevTenant::start().await?;
    let auth = EntraAuth::builder()
        .tenant(tenant.id())
        .client_id(API)
        .metadata_endpoint(tenant.url())
        .clock(tenant.clock())
        .build()?;

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let app = app(&auth)?;
    // Disables Nagle's algorithm: small writes must not wait for each other.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let server = tokio::spawn(async move { axum::serve(listener, app.into_make_service()).await });

    let all_as_expected = try_everybody(&tenant, &url).await?;
    if std::env::args().any(|argument| argument == "--once") {
        return all_as_expected
            .then_some(())
            .ok_or_else(|| "a response is not the expected one".into());
    }
    println!("\nServing {url}, Ctrl-C ends it.");
    tokio::select! {
        served = server => served??,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

/// Sends a request from each kind of caller to each route, and prints a line for each caller.
async fn try_everybody(tenant: &DevTenant, url: &str) -> Result<bool, reqwest::Error> {
    let user = || tenant.user("ada").for_api(API);
    let job = || tenant.app(CLIENT).for_api(API);
    let routes = [
        (Method::GET, "/me"),
        (Method::GET, "/reports"),
        (Method::POST, "/reports"),
        (Method::GET, "/admin/settings"),
    ];
    let callers = [
        ("no token", String::new(), ["401 no token"; 4]),
        (
            "a reader",
            user().scope("Reports.Read").mint(),
            ["200", "200", "403 missing_scope", "403 missing_role"],
        ),
        (
            "a writer without the role Editor",
            user().scope("Reports.Write").mint(),
            [
                "200",
                "403 missing_scope",
                "403 missing_role",
                "403 missing_role",
            ],
        ),
        (
            "an editor",
            user()
                .scope("Reports.Read")
                .scope("Reports.Write")
                .role("Editor")
                .mint(),
            ["200", "200", "200", "403 missing_role"],
        ),
        (
            "an administrator",
            user().scope("Reports.Read").role("Admin").mint(),
            ["200", "200", "403 missing_scope", "200"],
        ),
        (
            "a job",
            job().role("Reports.Read.All").mint(),
            ["200", "200", "403 user_required", "403 user_required"],
        ),
        (
            "a job with the role Admin",
            job().role("Admin").mint(),
            [
                "200",
                "403 missing_app_permission",
                "403 user_required",
                "403 user_required",
            ],
        ),
    ];

    let heads = routes
        .each_ref()
        .map(|(method, path)| format!("{method} {path}"));
    print_line("caller", &heads);
    // Connects directly to loopback and ignores the proxies and certificates set on this machine.
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()?;
    let mut all_as_expected = true;
    for (caller, token, expected) in callers {
        let mut answers = Vec::new();
        for ((method, path), expected) in routes.iter().zip(expected) {
            let request = client.request(method.clone(), format!("{url}{path}"));
            let request = match &*token {
                "" => request,
                token => request.bearer_auth(token),
            };
            let response = request.send().await?;
            let status = response.status();
            let code = match status.is_success() {
                true => String::new(),
                false => response.text().await?,
            };
            // Without a token, the body is a short text in place of a code.
            let code = code.split(';').next().unwrap_or_default();
            let answer = format!("{} {}", status.as_u16(), code.trim());
            all_as_expected &= answer.trim() == expected;
            answers.push(answer);
        }
        print_line(caller, &answers);
    }
    Ok(all_as_expected)
}

fn print_line(caller: &str, cells: &[String]) {
    let cells: String = cells.iter().map(|cell| format!("  {cell:<26}")).collect();
    println!("{}", format!("{caller:<30}{cells}").trim_end());
}
