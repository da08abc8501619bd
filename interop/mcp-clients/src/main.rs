//! Starts an MCP server behind the proxy, with its own tenant, for clients written in other
//! languages.
//!
//! The program prints its URLs as `NAME=value` and serves until its standard input ends.
//! `CONTROL_URL` returns the received requests (`GET /requests`), and lets time pass (`POST
//! /hour`).

use std::error::Error;
use std::io::Read as _;
use std::mem::take;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router, routing::get, routing::post};
use entra_dev_tenant::{AppRegistration, DevTenant};
use entra_oauth_proxy::{EntraOAuthProxy, Lifetimes, Resource, Secret};
use http::request::Parts;
use http::{StatusCode, header::AUTHORIZATION};
use rmcp::handler::server::tool::Extension;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, ServerHandler, tool, tool_handler, tool_router};
use serde::Serialize;
use tokio::net::TcpListener;
use tower_entra_auth::Caller;

const APP: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
const SECRET: &str = "the application's own secret";

#[derive(Clone)]
struct Tools;

#[tool_router]
impl Tools {
    #[tool(description = "Says who you are")]
    async fn whoami(&self, Extension(request): Extension<Parts>) -> Result<String, ErrorData> {
        let caller = request.extensions.get::<Caller>();
        let caller = caller.ok_or_else(|| ErrorData::internal_error("no caller", None))?;
        let scopes: Vec<&str> = caller.scopes().collect();
        let name = caller.name().unwrap_or("somebody");
        Ok(format!("{name} with {}", scopes.join(" ")))
    }
}

#[tool_handler]
impl ServerHandler for Tools {}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let control = TcpListener::bind("127.0.0.1:0").await?;
    let public_url = format!("http://{}", listener.local_addr()?);

    let application = AppRegistration::new(APP)
        .secret(SECRET)
        .redirect_uri(&format!("{public_url}/callback"))
        .scope("Mcp.Access");
    let tenant = DevTenant::builder().register(application).start().await?;
    let proxy = EntraOAuthProxy::builder()
        .tenant(tenant.id())
        .client_id(APP)
        .credential(Secret::new(SECRET))
        .public_url(&public_url)
        .resource(
            Resource::at(format!("{public_url}/mcp"))
                .name("Notes")
                .required_scopes(["Mcp.Access"]),
        )
        .lifetimes(Lifetimes::default().grant_check(Duration::ZERO))
        .metadata_endpoint(tenant.url())
        .clock(tenant.clock())
        .build()?;

    println!("MCP_URL={public_url}/mcp");
    println!("CONTROL_URL=http://{}", control.local_addr()?);
    let requests = Requests::default();
    let app = app(&proxy, requests.clone());
    let control_app = Router::new()
        .route("/requests", get(tell).with_state(requests))
        .route("/hour", post(pass_an_hour).with_state(Arc::new(tenant)));
    tokio::select! {
        served = axum::serve(listener, app) => served?,
        served = axum::serve(control, control_app) => served?,
        ended = tokio::task::spawn_blocking(wait_for_the_end_of_input) => ended??,
    }
    Ok(())
}

fn app(proxy: &EntraOAuthProxy, requests: Requests) -> Router {
    let mcp = StreamableHttpService::new(
        || Ok(Tools),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default(),
    );
    Router::new()
        .nest_service("/mcp", mcp)
        .layer(proxy.layer())
        .merge(proxy.routes()) // outside the Layer, so open
        .layer(from_fn_with_state(requests, write_down))
}

/// The requests since the last query, in the order of their responses.
type Requests = Arc<Mutex<Vec<Asked>>>;

/// A received request without its secrets, because failure messages show it.
#[derive(Serialize)]
struct Asked {
    method: String,
    path: String,
    /// Presence of an `Authorization` header.
    bearer: bool,
    /// Grant type of a token request.
    grant: Option<String>,
    status: u16,
    /// Error code in the response to a token request.
    error: Option<String>,
}

async fn write_down(State(requests): State<Requests>, request: Request, next: Next) -> Response {
    const MOST: usize = 64 * 1024;
    let method = request.method().to_string();
    let path = request.uri().path().to_owned();
    let bearer = request.headers().contains_key(AUTHORIZATION);
    let of_tokens = path == "/token";

    let (head, mut body) = request.into_parts();
    let mut grant = None;
    if of_tokens {
        let Ok(form) = to_bytes(body, MOST).await else {
            return StatusCode::PAYLOAD_TOO_LARGE.into_response();
        };
        grant = form_urlencoded::parse(&form)
            .find(|(name, _)| name == "grant_type")
            .map(|(_, value)| value.into_owned());
        body = Body::from(form);
    }
    let (head, mut body) = next.run(Request::from_parts(head, body)).await.into_parts();
    let mut error = None;
    if of_tokens {
        let Ok(answer) = to_bytes(body, MOST).await else {
            return StatusCode::BAD_GATEWAY.into_response();
        };
        let read = serde_json::from_slice::<serde_json::Value>(&answer).unwrap_or_default();
        error = read["error"].as_str().map(str::to_owned);
        body = Body::from(answer);
    }
    let asked = Asked {
        method,
        path,
        bearer,
        grant,
        status: head.status.as_u16(),
        error,
    };
    let mut requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
    requests.push(asked);
    drop(requests);
    Response::from_parts(head, body)
}

async fn tell(State(requests): State<Requests>) -> Json<Vec<Asked>> {
    Json(take(
        &mut requests.lock().unwrap_or_else(PoisonError::into_inner),
    ))
}

/// Moves the clock forward by an hour and the clock skew, so that all earlier tokens have expired.
async fn pass_an_hour(State(tenant): State<Arc<DevTenant>>) {
    tenant.time().jump_forward(Duration::from_secs(66 * 60));
}

fn wait_for_the_end_of_input() -> std::io::Result<()> {
    std::io::stdin().read_to_end(&mut Vec::new()).map(drop)
}
