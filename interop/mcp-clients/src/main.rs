//! Starts an MCP server behind the proxy, with its own tenant, for clients written in other
//! languages.
//!
//! The program prints its URLs as `NAME=value` and serves until its standard input ends. Its keys and
//! its store are in memory, so they end with the process. An argument is the port to listen on, such
//! as that of a process before.
//!
//! `CONTROL_URL` returns the received requests (`GET /requests`), lets time pass (`POST /hour`), and
//! stops and restores Entra's token endpoint (`POST /entra-down`, `POST /entra-up`).

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
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, JsonRpcMessage};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, ServerHandler, tool, tool_handler, tool_router};
use serde::Serialize;
use tokio::net::TcpListener;
use tower_entra_auth::{Caller, RequireLayer, Scope};

const APP: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
const SECRET: &str = "the application's own secret";

/// Largest body in bytes that is read.
const MOST: usize = 64 * 1024;

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

    #[tool(description = "Writes a note; needs the scope Notes.Write")]
    async fn write_note(&self) -> String {
        "written".to_owned()
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
    let port = std::env::args().nth(1).unwrap_or_else(|| "0".to_owned());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    let control = TcpListener::bind("127.0.0.1:0").await?;
    let public_url = format!("http://{}", listener.local_addr()?);

    let application = AppRegistration::new(APP)
        .secret(SECRET)
        .redirect_uri(&format!("{public_url}/callback"))
        .scope("Mcp.Access")
        .scope("Notes.Write");
    let tenant = DevTenant::builder().register(application).start().await?;
    let proxy = EntraOAuthProxy::builder()
        .tenant(tenant.id())
        .client_id(APP)
        .credential(Secret::new(SECRET))
        .public_url(&public_url)
        .resource(
            Resource::at(format!("{public_url}/mcp"))
                .name("Notes")
                .required_scopes(["Mcp.Access"])
                .optional_scopes(["Notes.Write"]),
        )
        .lifetimes(Lifetimes::default().grant_check(Duration::ZERO))
        .metadata_endpoint(tenant.url())
        .clock(tenant.clock())
        .build()?;

    println!("MCP_URL={public_url}/mcp");
    println!("CONTROL_URL=http://{}", control.local_addr()?);
    let requests = Requests::default();
    let app = app(&proxy, requests.clone())?;
    let control_app = Router::new()
        .route("/hour", post(pass_an_hour))
        .route("/entra-down", post(stop_entra))
        .route("/entra-up", post(restore_entra))
        .with_state(Arc::new(tenant))
        .route("/requests", get(tell).with_state(requests));
    tokio::select! {
        served = axum::serve(listener, app) => served?,
        served = axum::serve(control, control_app) => served?,
        ended = tokio::task::spawn_blocking(wait_for_the_end_of_input) => ended??,
    }
    Ok(())
}

fn app(proxy: &EntraOAuthProxy, requests: Requests) -> Result<Router, Box<dyn Error>> {
    let mcp = StreamableHttpService::new(
        || Ok(Tools),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default(),
    );
    let writers = proxy.auth().require(Scope("Notes.Write"))?;
    Ok(Router::new()
        .nest_service("/mcp", mcp)
        .layer(from_fn_with_state(writers, scope_of_tool))
        .layer(proxy.layer())
        .merge(proxy.routes()) // outside the Layer, so open
        .layer(from_fn_with_state(requests, write_down)))
}

/// Requires `Notes.Write` for the tool `write_note`, by a 403 that names the scope.
async fn scope_of_tool(
    State(writers): State<RequireLayer>,
    request: Request,
    next: Next,
) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MOST).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    if is_call_of(&body, "write_note")
        && let Err(refusal) = writers.authorize(&head.extensions)
    {
        return refusal.into_response();
    }
    next.run(Request::from_parts(head, Body::from(body))).await
}

fn is_call_of(message: &[u8], tool: &str) -> bool {
    let message = serde_json::from_slice::<ClientJsonRpcMessage>(message);
    let Ok(JsonRpcMessage::Request(message)) = message else {
        return false;
    };
    matches!(message.request, ClientRequest::CallToolRequest(call) if call.params.name == tool)
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

/// Lets Entra's token endpoint respond with 503. Its keys and its pages stay.
async fn stop_entra(State(tenant): State<Arc<DevTenant>>) {
    tenant.token_endpoint().fail_with(503);
}

async fn restore_entra(State(tenant): State<Arc<DevTenant>>) {
    tenant.token_endpoint().recover();
}

fn wait_for_the_end_of_input() -> std::io::Result<()> {
    std::io::stdin().read_to_end(&mut Vec::new()).map(drop)
}
