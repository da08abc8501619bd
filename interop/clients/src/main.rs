//! Starts a protected API and its tenant for clients written in other languages.
//!
//! The program prints their URLs and tokens to send, as `NAME=value`, and serves until its standard
//! input ends.

use std::collections::HashSet;
use std::error::Error;
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use axum::extract::State;
use axum::http::{HeaderName, Method};
use axum::{Router, routing::get, routing::post};
use entra_dev_tenant::DevTenant;
use tower_entra_auth::{Caller, EntraAuth, Refusal, Scope, refusal::ClaimsChallenge};
use tower_http::cors::{Any, CorsLayer};

const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
const CLIENT: &str = "2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b";
const SECRET: &str = "interop-secret";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let tenant = DevTenant::builder()
        .client(CLIENT, SECRET, ["Money"])
        .start()
        .await?;
    let auth = EntraAuth::builder()
        .tenant(tenant.id())
        .client_id(API)
        .metadata_endpoint(tenant.url())
        .clock(tenant.clock())
        .build()?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;

    println!("API_URL=http://{}", listener.local_addr()?);
    println!("TENANT_URL={}", tenant.url());
    println!("TENANT_ID={}", tenant.id());
    println!("API_ID={API}");
    println!("CLIENT_ID={CLIENT}");
    println!("CLIENT_SECRET={SECRET}");
    let user = || tenant.user("ada").scope("Reports.Read").for_api(API);
    println!("GOOD_TOKEN={}", user().mint());
    println!("EXPIRED_TOKEN={}", user().expired().mint());

    let app = app(&auth)?;
    tokio::select! {
        served = axum::serve(listener, app) => served?,
        ended = tokio::task::spawn_blocking(wait_for_the_end_of_input) => ended??,
    }
    Ok(())
}

fn app(auth: &EntraAuth) -> Result<Router, Box<dyn Error>> {
    let writers = auth.require(Scope("Reports.Write"))?;
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([HeaderName::from_static("authorization")]);
    let layer = auth.layer().open_path("/healthz")?.open_prefix("/assets")?;
    Ok(Router::new()
        .route("/me", get(me))
        .route("/reports", get(reports).layer(writers))
        .route("/account", get(account))
        .route("/account/revocation", post(revoke))
        .route("/healthz", get(healthz))
        .route("/assets/{*path}", get(asset))
        .fallback(fallback)
        .with_state(Revoked::default())
        .layer(cors) // inside the Layer, so that preflights must pass it
        .layer(layer.open_preflights()))
}

async fn me(caller: Caller) -> String {
    format!("{} of tenant {}\n", caller.id(), caller.tenant_id())
}

async fn reports() -> &'static str {
    "reports\n"
}

/// The revoked tokens.
type Revoked = Arc<Mutex<HashSet<String>>>;

/// Returns the account, or a claims challenge for a newer token if the token was revoked, as in
/// continuous access evaluation.
async fn account(caller: Caller, State(revoked): State<Revoked>) -> Result<&'static str, Refusal> {
    let revoked = revoked.lock().unwrap_or_else(PoisonError::into_inner);
    if revoked.contains(caller.bearer_token()) {
        return Err(caller.challenge(ClaimsChallenge::issued_after(SystemTime::now())));
    }
    Ok("balanced\n")
}

async fn revoke(caller: Caller, State(revoked): State<Revoked>) -> &'static str {
    let mut revoked = revoked.lock().unwrap_or_else(PoisonError::into_inner);
    revoked.insert(caller.bearer_token().to_owned());
    "revoked\n"
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn asset() -> &'static str {
    "asset\n"
}

/// Responds to paths that a client must not reach without a token, in any spelling of the path.
async fn fallback() -> &'static str {
    "behind the Layer\n"
}

fn wait_for_the_end_of_input() -> std::io::Result<()> {
    std::io::stdin().read_to_end(&mut Vec::new()).map(drop)
}
