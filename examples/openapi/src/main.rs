//! An OpenAPI document with the sign-in at Entra, and a Swagger UI that signs users in and calls the API.
//!
//! `cargo run -p openapi` serves until Ctrl-C, with a local tenant in place of Entra. With `--once` it signs in
//! as Swagger UI does, calls the API and exits; it fails if a response is not the expected one.
//!
//! In a real tenant Swagger UI has an app registration of its own, without a secret:
//!
//! - the redirect URI `https://…/swagger-ui/oauth2-redirect.html` under the platform "Single-page application",
//! - the scopes of the API under "API permissions", consented to or open to users' consent.

mod check;
mod reports;
mod sign_in;

use std::error::Error;

use axum::serve::ListenerExt as _;
use axum::{Router, routing::get};
use entra_dev_tenant::{AppRegistration, DevTenant};
use tokio::net::TcpListener;
use tower_entra_auth::axum::Protected;
use tower_entra_auth::{EntraAuth, refusal::RefusalDetail};
use utoipa::OpenApi as _;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::{SwaggerUi, oauth};

use crate::sign_in::SignIn;

/// The application (client) id of the API.
const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
/// The application (client) id of Swagger UI, a public client.
const SWAGGER_UI: &str = "2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b";

/// The scopes of the API, and what each is for.
const SCOPES: [(&str, &str); 2] = [
    ("Reports.Read", "Read reports"),
    ("Reports.Write", "Write reports"),
];

const USAGE: &str = "\
An OpenAPI document with the sign-in at Entra, and a Swagger UI that signs in.

usage: openapi [--once]

  --once     signs in as Swagger UI does, calls the API and exits; fails if a
             response is not the expected one
  --version  prints the version
";

#[derive(utoipa::OpenApi)]
#[openapi(info(title = "Reports", description = "An API behind Microsoft Entra ID."))]
struct Document;

/// Builds the API behind the Layer. Its document and Swagger UI are open.
fn app(auth: &EntraAuth) -> Result<Protected, Box<dyn Error>> {
    let sign_in = SignIn {
        auth,
        app_id_uri: &format!("api://{API}"),
    };
    let (routes, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(sign_in.require("Reports.Read", routes!(reports::list))?)
        .routes(sign_in.require("Reports.Write", routes!(reports::write))?)
        .split_for_parts();
    sign_in.describe(&mut document, &SCOPES);

    let client = oauth::Config::new()
        .client_id(SWAGGER_UI)
        .app_name("Swagger UI")
        .scopes(vec![sign_in.full_name("Reports.Read")]) // selected at first
        .use_pkce_with_authorization_code_grant(true);
    let swagger_ui = SwaggerUi::new("/swagger-ui")
        .url("/openapi.json", document)
        .oauth(client);
    Ok(auth
        .protect(routes)
        .open(swagger_ui)
        .open(Router::new().route("/healthz", get(|| async { "ok" }))))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut once = false;
    for argument in std::env::args().skip(1) {
        match &*argument {
            "--once" => once = true,
            "--version" => {
                println!("openapi {}", env!("CARGO_PKG_VERSION"));
                return Ok(());
            }
            "--help" => {
                print!("{USAGE}");
                return Ok(());
            }
            _ => return Err("there is no such option; --help shows those there are".into()),
        }
    }

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let tenant = tenant(&url).await?;
    // With a real tenant the last three settings go.
    let auth = EntraAuth::builder()
        .tenant(tenant.id())
        .client_id(API)
        .metadata_endpoint(tenant.url())
        .clock(tenant.clock())
        .refusal_detail(RefusalDetail::Full)
        .build()?;
    let app = app(&auth)?.into_make_service();
    // Small writes must not wait for each other.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    if once {
        return check::sign_in_and_call(&url).await;
    }
    introduce(&url);
    log_to_standard_error();
    tokio::select! {
        served = server => served??,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

/// Starts a tenant in which the API and Swagger UI are registered. It ends when it is dropped.
async fn tenant(url: &str) -> std::io::Result<DevTenant> {
    let swagger_ui = AppRegistration::new(SWAGGER_UI)
        .name("Swagger UI")
        .spa_redirect_uri(&format!("{url}/swagger-ui/oauth2-redirect.html"));
    let scopes = SCOPES.map(|(name, _)| name);
    let settings = DevTenant::builder().api(API, scopes).register(swagger_ui);
    settings.start().await
}

fn introduce(url: &str) {
    println!("Swagger UI  {url}/swagger-ui/");
    println!("document    {url}/openapi.json\n");
    println!("Open Swagger UI, and try:\n");
    println!("  1. GET /reports, Try it out, Execute: 401, no token.");
    println!("  2. Authorize, Authorize, a user (no password), Close.");
    println!("  3. Execute again: 200.");
    println!("  4. POST /reports: 403, as Reports.Write was not selected.");
    println!("\nServing, Ctrl-C ends it; its log follows.");
}

fn log_to_standard_error() {
    tracing_subscriber::fmt()
        .compact()
        .without_time()
        .with_target(false)
        .with_writer(std::io::stderr)
        .init();
}
