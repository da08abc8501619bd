//! Starts three proxies in front of one tenant, for tests of the pages in browsers.
//!
//! The first proxy has ordinary settings, the second one the longest texts that a page may have to
//! show. The third one permits one sign-in per minute and address. A fourth server controls the
//! tenant. The program prints their URLs as `NAME=value`, and serves until its standard input ends.

use std::error::Error;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use entra_dev_tenant::{AppRegistration, DevTenant};
use entra_oauth_proxy::{
    Branding, EntraOAuthProxy, EntraOAuthProxyBuilder, Rate, RateLimits, Resource, Secret,
};
use tokio::net::TcpListener;

const APP: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
const SECRET: &str = "the application's own secret";
/// A logo that is wider than high.
const LOGO: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" width="400" height="50"><rect width="400" height="50" fill="#1b4f95"/></svg>"##;
/// A scope name that is longer than those at Entra.
const LONG_SCOPE: &str = "Calendars.ReadWrite.All.Of.Everybody.In.The.Organization.And.Of.Its.Guests.And.Partners.With.Delegated.Access.Since";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let usual = TcpListener::bind("127.0.0.1:0").await?;
    let long = TcpListener::bind("127.0.0.1:0").await?;
    let busy = TcpListener::bind("127.0.0.1:0").await?;
    let control = TcpListener::bind("127.0.0.1:0").await?;
    // Another site than the tenant, as Entra is: browsers then apply `SameSite` to the return.
    let url = |listener: &TcpListener| {
        let address = listener.local_addr();
        address.map(|address| format!("http://localhost:{}", address.port()))
    };
    let (usual_url, long_url, busy_url) = (url(&usual)?, url(&long)?, url(&busy)?);

    let application = [&usual_url, &long_url].into_iter().fold(
        AppRegistration::new(APP).name("Notes").secret(SECRET),
        |application, url| {
            application
                .redirect_uri(&format!("{url}/callback"))
                .redirect_uri(&format!("{url}/signed-out"))
        },
    );
    let tenant = DevTenant::builder().register(application).start().await?;
    let tenant = Arc::new(tenant);
    let settings = |url: &str| {
        EntraOAuthProxy::builder()
            .tenant(tenant.id())
            .client_id(APP)
            .credential(Secret::new(SECRET))
            .metadata_endpoint(tenant.url())
            .clock(tenant.clock())
            .public_url(url)
    };
    let resource = |url: &str| Resource::at(format!("{url}/mcp")).required_scopes(["Mcp.Access"]);
    let notes = resource(&usual_url)
        .name("Notes")
        .optional_scopes(["Notes.Write", "Notes.Share"])
        .describe_scope("Mcp.Access", "Read your notes")
        .describe_scope("Notes.Write", "Write and delete notes in your name");
    let usual_settings = settings(&usual_url).resource(notes);

    println!("USUAL_URL={usual_url}");
    println!("LONG_URL={long_url}");
    println!("BUSY_URL={busy_url}");
    println!("CONTROL_URL={}", url(&control)?);
    println!("TENANT_URL={}", tenant.url());
    println!("TENANT_ID={}", tenant.id());
    println!("APP_ID={APP}");
    let usual_app = app(usual_settings)?;
    let branding = Branding::new("W".repeat(60))
        .logo("image/svg+xml", LOGO)
        .support_url(format!(
            "https://intranet.contoso.com/{}",
            "help/".repeat(40)
        ))
        .support_email(format!("{}@contoso.com", "help.".repeat(20)));
    let long_settings = settings(&long_url).branding(branding);
    let long_app = app(long_settings.resource(with_long_texts(resource(&long_url))))?;
    let limits = RateLimits::none().sign_ins_per_address(Rate::per_minute(1).burst(1));
    let busy_app = app(settings(&busy_url)
        .resource(resource(&busy_url))
        .limits(limits))?;
    let busy_app = busy_app.into_make_service_with_connect_info::<SocketAddr>();
    println!("LONG_SCOPES={}", long_scopes().join(","));
    tokio::select! {
        served = async { axum::serve(usual, usual_app).await } => served?,
        served = async { axum::serve(long, long_app).await } => served?,
        served = async { axum::serve(busy, busy_app).await } => served?,
        served = async { axum::serve(control, controls(&tenant)).await } => served?,
        ended = tokio::task::spawn_blocking(wait_for_the_end_of_input) => ended??,
    }
    Ok(())
}

fn app(settings: EntraOAuthProxyBuilder) -> Result<Router, Box<dyn Error>> {
    Ok(settings.build()?.routes())
}

/// Returns a server whose requests change what the tenant does.
fn controls(tenant: &Arc<DevTenant>) -> Router {
    let still = {
        let tenant = Arc::clone(tenant);
        async move || {
            // On this response a browser stays on the page from which it went on.
            let authorize = tenant.authorize_endpoint();
            authorize.answer_with(204, "text/plain", "").for_next(1);
        }
    };
    let recover = {
        let tenant = Arc::clone(tenant);
        async move || tenant.authorize_endpoint().recover()
    };
    let later = {
        let tenant = Arc::clone(tenant);
        async move || tenant.time().jump_forward(Duration::from_secs(16 * 60))
    };
    Router::new()
        .route("/still", post(still))
        .route("/recover", post(recover))
        .route("/later", post(later))
}

fn with_long_texts(resource: Resource) -> Resource {
    let scopes = long_scopes();
    let resource = resource
        .name("The notes, calendars and Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaften of everybody")
        .optional_scopes(&scopes);
    scopes.iter().step_by(2).fold(resource, |resource, scope| {
        resource.describe_scope(scope, "In words ".repeat(22))
    })
}

fn long_scopes() -> Vec<String> {
    (1..=12).map(|n| format!("{LONG_SCOPE}.{n}")).collect()
}

fn wait_for_the_end_of_input() -> std::io::Result<()> {
    std::io::stdin().read_to_end(&mut Vec::new()).map(drop)
}
