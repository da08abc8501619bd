//! An MCP server with two tools: `whoami`, and `write_note`, which needs a scope of its own.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use entra_oauth_proxy::tower_entra_auth::{Caller, RequireLayer, Scope};
use entra_oauth_proxy::{EntraOAuthProxy, EntraOAuthProxyBuilder, Resource, layer::Protected};
use http::{StatusCode, Uri, request::Parts};
use rmcp::handler::server::tool::Extension;
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, JsonRpcMessage};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, ServerHandler, tool, tool_handler, tool_router};

#[derive(Clone)]
struct Tools;

#[tool_router]
impl Tools {
    #[tool(description = "Says who you are")]
    async fn whoami(&self, Extension(request): Extension<Parts>) -> Result<String, ErrorData> {
        let caller = request.extensions.get::<Caller>();
        let caller = caller.ok_or_else(|| ErrorData::internal_error("no caller", None))?;
        let scopes: Vec<&str> = caller.scopes().collect();
        Ok(format!("user {} with {}", caller.id(), scopes.join(" ")))
    }

    #[tool(description = "Writes a note; needs the scope Notes.Write")]
    async fn write_note(&self) -> String {
        "written".to_owned()
    }
}

#[tool_handler]
impl ServerHandler for Tools {}

/// Returns the proxy's settings, without those of the tenant.
pub fn settings(public_url: &str) -> EntraOAuthProxyBuilder {
    EntraOAuthProxy::builder().public_url(public_url).resource(
        Resource::at(format!("{public_url}/mcp"))
            .name("Notes")
            .required_scopes(["Mcp.Access"])
            .optional_scopes(["Notes.Write"])
            .describe_scope("Mcp.Access", "Read your notes")
            .describe_scope("Notes.Write", "Write notes in your name"),
    )
}

/// Returns the MCP server at `/mcp` behind the proxy, with the proxy's own endpoints.
pub fn app(proxy: &EntraOAuthProxy) -> Result<Protected, Box<dyn Error>> {
    let public_url: Uri = proxy.issuer().parse()?;
    let host = public_url.host().ok_or("the public URL has no host")?;
    let mcp = StreamableHttpService::new(
        || Ok(Tools),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default().with_allowed_hosts([host]),
    );
    let writers = proxy.auth().require(Scope("Notes.Write"))?;
    let routes = Router::new()
        .nest_service("/mcp", mcp)
        .layer(from_fn_with_state(writers, scope_of_tool))
        .layer(proxy.auth().end_at_expiry(Duration::from_secs(300))); // ends event streams
    Ok(proxy.protect(routes))
}

/// Requires `Notes.Write` for the tool `write_note`, by a 403 that names the scope.
async fn scope_of_tool(
    State(writers): State<RequireLayer>,
    request: Request,
    next: Next,
) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, 1024 * 1024).await else {
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
    let message = serde_json::from_slice::<ClientJsonRpcMessage>(message); // as rmcp parses it
    let Ok(JsonRpcMessage::Request(message)) = message else {
        return false;
    };
    matches!(message.request, ClientRequest::CallToolRequest(call) if call.params.name == tool)
}
