//! An MCP server of rmcp behind the Layer, with Protected Resource Metadata (RFC 9728).
//!
//! The metadata names Entra itself as the place to sign in. This fits clients that have a client id
//! in that tenant. Clients that register themselves need an authorization server in front of Entra.
//!
//! `cargo run -p mcp_resource_server` plays a client and serves until Ctrl-C. With `--once` the
//! program exits after the play, and fails if a response is not the expected one.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use entra_dev_tenant::DevTenant;
use http::request::Parts;
use rmcp::handler::server::tool::Extension;
use rmcp::model::CallToolRequestParams;
use rmcp::transport::auth::{OAuthHttpClient, OAuthHttpClientFuture, OAuthHttpRequest};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{
    AuthorizationManager, StreamableHttpClientTransport, StreamableHttpServerConfig,
    StreamableHttpService,
};
use rmcp::{ErrorData, ServerHandler, ServiceExt as _, tool, tool_handler, tool_router};
use tokio::net::TcpListener;
use tower_entra_auth::{
    Caller, EntraAuth, RequireLayer, Scope, axum::Protected, resource_metadata::ProtectedResource,
};

const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";

/// The MCP server, with a tool that knows its caller and a tool that requires a scope of its own.
///
/// The server keeps no data of a caller between requests. A server that does must key the data by
/// the caller's tenant and id, not by the MCP session's id.
#[derive(Clone)]
struct Tools {
    writers: RequireLayer,
}

#[tool_router]
impl Tools {
    #[tool(description = "Says who you are")]
    async fn whoami(&self, Extension(request): Extension<Parts>) -> Result<String, ErrorData> {
        let caller = request.extensions.get::<Caller>();
        let caller = caller.ok_or_else(|| ErrorData::internal_error("no caller", None))?;
        let scopes: Vec<&str> = caller.scopes().collect();
        let (kind, tenant) = (caller.kind(), caller.tenant_id());
        Ok(format!(
            "{kind} of tenant {tenant} with {}",
            scopes.join(" ")
        ))
    }

    #[tool(description = "Writes a note; needs the scope Notes.Write")]
    async fn write_note(&self, Extension(request): Extension<Parts>) -> Result<String, String> {
        match self.writers.authorize(&request.extensions) {
            Ok(caller) => Ok(format!("written by a {}", caller.kind())),
            Err(refusal) => {
                let _ = refusal.response_to(&request); // logs and counts the refusal
                Err(refusal.to_string()) // a tool error
            }
        }
    }
}

#[tool_handler]
impl ServerHandler for Tools {}

fn app(auth: &EntraAuth) -> Result<Protected, Box<dyn Error>> {
    let tools = Tools {
        writers: auth.require(Scope("Notes.Write"))?,
    };
    let mcp = StreamableHttpService::new(
        move || Ok(tools.clone()),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default(), // allows loopback hosts only: name your own
    );
    let routes = Router::new()
        .nest_service("/mcp", mcp)
        .layer(auth.end_at_expiry(Duration::from_secs(300))) // ends its event streams
        .layer(auth.require(Scope("Mcp.Access"))?);
    Ok(auth.protect(routes).open(auth.resource_metadata()?))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let tenant = DevTenant::start().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/mcp", listener.local_addr()?);
    let auth = EntraAuth::builder()
        .tenant(tenant.id())
        .client_id(API)
        .protected_resource(ProtectedResource::at(&url).scopes(["Mcp.Access"]))
        .metadata_endpoint(tenant.url())
        .clock(tenant.clock())
        .build()?;
    let app = app(&auth)?;
    // Disables Nagle's algorithm: small writes must not wait for each other.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let server = tokio::spawn(async move { axum::serve(listener, app.into_make_service()).await });

    play(&tenant, &url).await?;
    if std::env::args().any(|argument| argument == "--once") {
        return Ok(());
    }
    let token = token(&tenant, &["Mcp.Access", "Notes.Write"]);
    println!("\nTOKEN={token}\n\nServing {url}, Ctrl-C ends it.");
    tokio::select! {
        served = server => served??,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

/// Returns a token as Entra would issue it after a sign-in.
fn token(tenant: &DevTenant, scopes: &[&str]) -> String {
    let ada = tenant.user("ada").for_api(API);
    let token = scopes.iter().fold(ada, |token, scope| token.scope(scope));
    token.mint()
}

/// Plays a client that knows only the URL.
async fn play(tenant: &DevTenant, url: &str) -> Result<(), Box<dyn Error>> {
    // The server refuses the client, and the challenge says where the metadata is.
    let challenge = refused(url, None).await?;
    println!("without a token   {challenge}");

    let internet = Internet {
        client: local_client()?,
        login: tenant.url().to_owned(),
    };
    let client = AuthorizationManager::new_with_oauth_http_client(url, Arc::new(internet)).await?;
    let found = client
        .resolve_metadata_from_challenge(Some(&challenge))
        .await?;
    let issuer = found.metadata.issuer.unwrap_or_default();
    println!("\nsign in at        {issuer}");
    println!(
        "                  {}",
        found.metadata.authorization_endpoint
    );
    let scopes = client.select_initial_scopes(&[]).await;
    println!("for the scope     {}", scopes.join(" "));
    let of_tenant = format!("https://login.microsoftonline.com/{}/v2.0", tenant.id());
    expect(issuer == of_tenant && scopes == [format!("api://{API}/Mcp.Access")])?;

    // The user signs in at Entra; the tool then knows the user.
    let reader = token(tenant, &["Mcp.Access"]);
    let said = call(url, &reader, "whoami").await?;
    println!("\nwhoami            {}", said.text);
    let expected = format!("user of tenant {} with Mcp.Access", tenant.id());
    expect(!said.is_error && said.text == expected)?;

    // One tool requires a second scope. Without it, its result is an error; HTTP has status 200.
    let said = call(url, &reader, "write_note").await?;
    println!("\nwrite_note        error: {}", said.text);
    expect(said.is_error && said.text == "the caller is refused: missing_scope")?;
    let writer = token(tenant, &["Mcp.Access", "Notes.Write"]);
    let said = call(url, &writer, "write_note").await?;
    println!("                  {}", said.text);
    expect(!said.is_error && said.text == "written by a user")?;

    // A token without the server's own scope is not enough, and the challenge names that scope.
    let other = token(tenant, &["Reports.Read"]);
    let challenge = refused(url, Some(&other)).await?;
    println!("\nanother scope     {challenge}");
    expect(challenge.contains("insufficient_scope"))
}

/// Returns the challenge that rmcp's client receives.
async fn refused(url: &str, token: Option<&str>) -> Result<String, Box<dyn Error>> {
    let Err(error) = ().serve(transport(url, token)?).await else {
        return Err("the server accepted the request".into());
    };
    let challenge = error.auth_challenge().ok_or("no challenge")?;
    Ok(challenge.to_owned())
}

/// The result of a tool.
struct Said {
    text: String,
    is_error: bool,
}

async fn call(url: &str, token: &str, tool: &'static str) -> Result<Said, Box<dyn Error>> {
    let client = ().serve(transport(url, Some(token))?).await?;
    let result = client.call_tool(CallToolRequestParams::new(tool)).await?;
    client.cancel().await?;
    let text = result.content.first().and_then(|content| content.as_text());
    Ok(Said {
        text: text.ok_or("no text")?.text.clone(),
        is_error: result.is_error == Some(true),
    })
}

fn transport(
    url: &str,
    token: Option<&str>,
) -> Result<StreamableHttpClientTransport<reqwest::Client>, Box<dyn Error>> {
    let mut config = StreamableHttpClientTransportConfig::with_uri(url);
    if let Some(token) = token {
        config = config.auth_header(token);
    }
    let client = local_client()?;
    Ok(StreamableHttpClientTransport::with_client(client, config))
}

/// Builds a client that connects directly to loopback and ignores this machine's proxies and
/// certificates.
fn local_client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
}

/// An HTTP client that sends requests for Entra's host to `entra-dev-tenant`.
struct Internet {
    client: reqwest::Client,
    login: String,
}

impl OAuthHttpClient for Internet {
    fn execute(&self, request: OAuthHttpRequest) -> OAuthHttpClientFuture<'_> {
        Box::pin(async move {
            let (parts, body) = request.request.into_parts();
            let uri = parts.uri.to_string();
            let uri = uri.replacen("https://login.microsoftonline.com", &self.login, 1);
            let request = self.client.request(parts.method, uri);
            let response = request.headers(parts.headers).body(body).send().await?;
            let mut answer = http::Response::builder().status(response.status());
            if let Some(headers) = answer.headers_mut() {
                headers.clone_from(response.headers());
            }
            Ok(answer.body(response.bytes().await?.to_vec())?)
        })
    }
}

fn expect(is_so: bool) -> Result<(), Box<dyn Error>> {
    match is_so {
        true => Ok(()),
        false => Err("a response is not the expected one".into()),
    }
}
