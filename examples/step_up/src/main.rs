//! A stronger sign-in for sensitive operations: the claims challenge, and the client's part in it.
//!
//! In Entra, the API's manifest must request the optional claim `xms_cc`, so that its tokens say
//! which clients can handle a challenge.
//!
//! `cargo run -p step_up` plays a client that is challenged and serves until Ctrl-C. With `--once`
//! the program exits after the play, and fails if a response is not the expected one.

use std::error::Error;

use axum::serve::ListenerExt as _;
use axum::{Router, routing::get, routing::post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entra_dev_tenant::DevTenant;
use serde_json::Value;
use tower_entra_auth::{
    EntraAuth,
    axum::Protected,
    require::{AuthenticationContext, InvalidRequirement},
};

const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";

/// Builds the routes and their requirements.
///
/// Reading the balance needs any sign-in. Moving money needs one that satisfies the authentication
/// context c1, which Conditional Access can tie to a second factor.
fn app(auth: &EntraAuth) -> Result<Protected, InvalidRequirement> {
    let strong = auth.require(AuthenticationContext("c1"))?;
    let routes = Router::new()
        .route("/balance", get(|| async { "1000" }))
        .merge(strong.route("/transfer", post(|| async { "moved" })));
    Ok(auth.protect(routes))
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
    let app = app(&auth)?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    // Disables Nagle's algorithm: small writes must not wait for each other.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let server = tokio::spawn(async move { axum::serve(listener, app.into_make_service()).await });

    play(&tenant, &url).await?;
    if std::env::args().any(|argument| argument == "--once") {
        return Ok(());
    }
    println!("\nServing {url}, Ctrl-C ends it.");
    tokio::select! {
        served = server => served??,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

async fn play(tenant: &DevTenant, url: &str) -> Result<(), Box<dyn Error>> {
    // Connects directly to loopback and ignores the proxies and certificates set on this machine.
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()?;
    let transfer = format!("{url}/transfer");
    let user = || tenant.user("ada").scope("Money").for_api(API);

    // A client that declares cp1 receives a challenge ...
    let weak = user().capability("cp1").mint();
    let response = client.post(&transfer).bearer_auth(weak).send().await?;
    println!("weak sign-in                {}", response.status());
    expect(response.status() == 401)?;
    let challenge = response.headers().get("www-authenticate");
    let challenge = challenge.ok_or("no challenge")?.to_str()?;
    let claims = claims_of(challenge).ok_or("no claims in the challenge")?;
    println!("the challenge asks for      {claims}");

    // ... and would pass the claims to Entra (MSAL: `claims_challenge`), which makes the user sign
    // in again. The example mints the token that Entra would then issue.
    let context = claims["access_token"]["acrs"]["value"].as_str();
    let strong = user().authentication_context(context.ok_or("no context")?);
    let response = client.post(&transfer).bearer_auth(strong.mint());
    let response = response.send().await?;
    println!("stronger sign-in            {}", response.status());
    expect(response.status() == 200)?;

    // A client that does not declare cp1 would loop, so it receives a plain 403.
    let response = client.post(&transfer).bearer_auth(user().mint());
    let response = response.send().await?;
    println!("a client without cp1        {}", response.status());
    expect(response.status() == 403 && response.text().await? == "step_up\n")
}

/// Decodes the claims that the challenge requests: `claims="<base64 of JSON>"`.
fn claims_of(challenge: &str) -> Option<Value> {
    let (_, behind) = challenge.split_once("claims=\"")?;
    let (encoded, _) = behind.split_once('"')?;
    serde_json::from_slice(&STANDARD.decode(encoded).ok()?).ok()
}

fn expect(is_so: bool) -> Result<(), Box<dyn Error>> {
    match is_so {
        true => Ok(()),
        false => Err("a response is not the expected one".into()),
    }
}
