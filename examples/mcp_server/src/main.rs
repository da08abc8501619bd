//! Serves the MCP server on port 8080.

use std::env::var;
use std::error::Error;
use std::net::SocketAddr;

use axum::serve::ListenerExt as _;
use entra_oauth_proxy::Secret;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().init(); // without it, there is no log
    let proxy = mcp_server::settings(&var("PUBLIC_URL")?)
        .env() // ENTRA_TENANT_ID, ENTRA_CLIENT_ID
        .credential(Secret::from_env("ENTRA_CLIENT_SECRET")?)
        .data_directory(var("DATA_DIRECTORY")?) // sign-ins and keys
        .build()?;
    let app = mcp_server::app(&proxy)?;
    let app = app.into_make_service_with_connect_info::<SocketAddr>(); // for limits by address
    let listener = TcpListener::bind("0.0.0.0:8080").await?;
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true))); // for small events
    axum::serve(listener, app)
        .with_graceful_shutdown(async { drop(tokio::signal::ctrl_c().await) })
        .await?;
    proxy.shutdown().await; // finishes sign-ins and refreshes in progress
    Ok(())
}
