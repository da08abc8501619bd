//! An MCP server of rmcp behind `entra-oauth-proxy`.
//!
//! Clients that know only its URL register themselves, and users sign in at Entra. One tool needs
//! an additional scope, for which the client steps up. `entra-dev-tenant` plays Entra by default.
//!
//! `cargo run -p mcp_with_entra` serves until Ctrl-C. With `--once`, rmcp's own OAuth client signs
//! in and calls the tools; the program then exits, and fails if a response is not the expected one.
//! With `--real` the program uses a real tenant. Its app registration needs:
//!
//! - the redirect URIs `{PUBLIC_URL}/callback` and `{PUBLIC_URL}/signed-out`, under the platform
//!   "Web",
//! - a client secret,
//! - the scopes `Mcp.Access` and `Notes.Write` (Expose an API), which an administrator has
//!   consented to or users may consent to,
//! - `"requestedAccessTokenVersion": 2` in its manifest.
//!
//! | variable | meaning |
//! |---|---|
//! | `LISTEN` | the address to listen on; default: `127.0.0.1:8080` |
//! | `PUBLIC_URL` | the URL at which browsers and clients reach the server; default: `http://` and the address it listens on |
//! | `ENTRA_TENANT_ID`, `ENTRA_CLIENT_ID`, `ENTRA_CLIENT_SECRET` | with `--real`: the app registration |
//! | `DATA_DIRECTORY` | with `--real`: an existing directory for sign-ins and keys, so that clients stay registered and users signed in over a restart |
//! | `ENTRA_PROXY_KEYS` | with `--real`: your own keys in place of those in the directory, made with `openssl rand -base64 32` |

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::serve::ListenerExt as _;
use entra_dev_tenant::{AppRegistration, DevTenant};
use entra_oauth_proxy::{EntraOAuthProxy, EntraOAuthProxyBuilder, ProxyKeys, Resource, Secret};
use http::StatusCode;
use http::header::{COOKIE, LOCATION, SET_COOKIE};
use http::request::Parts;
use rmcp::handler::server::tool::Extension;
use rmcp::model::{CallToolRequestParams, ClientJsonRpcMessage, ClientRequest, JsonRpcMessage};
use rmcp::service::{RoleClient, RunningService, ServiceError};
use rmcp::transport::auth::{
    AuthClient, AuthorizationCallback, AuthorizationRequest, OAuthHttpClient,
    OAuthHttpClientFuture, OAuthHttpRequest, OAuthState,
};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{
    StreamableHttpClientTransport, StreamableHttpServerConfig, StreamableHttpService,
};
use rmcp::{ErrorData, ServerHandler, ServiceExt as _, tool, tool_handler, tool_router};
use tokio::net::TcpListener;
use tower_entra_auth::{Caller, RequireLayer, Scope, axum::Protected};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The MCP server.
///
/// The server keeps no data of a caller between requests. A server that does must key the data by
/// the caller's tenant and id, not by the MCP session's id.
#[derive(Clone)]
struct Tools;

#[tool_router]
impl Tools {
    #[tool(description = "Says who you are")]
    async fn whoami(&self, Extension(request): Extension<Parts>) -> Result<String, ErrorData> {
        let caller = request.extensions.get::<Caller>();
        let caller = caller.ok_or_else(|| ErrorData::internal_error("no caller", None))?;
        let name = caller.name().unwrap_or("somebody");
        let scopes: Vec<&str> = caller.scopes().collect();
        let tenant = caller.tenant_id();
        Ok(format!(
            "{name} of tenant {tenant} with {}",
            scopes.join(" ")
        ))
    }

    #[tool(description = "Writes a note that you were here; needs the scope Notes.Write")]
    async fn write_note(&self) -> String {
        "written".to_owned()
    }
}

#[tool_handler]
impl ServerHandler for Tools {}

fn app(proxy: &EntraOAuthProxy, public_url: &str) -> Result<Protected, Box<dyn Error>> {
    let host = reqwest::Url::parse(public_url)?;
    let host = host.host_str().ok_or("PUBLIC_URL has no host")?;
    let mcp = StreamableHttpService::new(
        || Ok(Tools),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default().with_allowed_hosts([host]),
    );
    let writers = proxy.auth().require(Scope("Notes.Write"))?;
    let routes = Router::new()
        .nest_service("/mcp", mcp)
        .layer(from_fn_with_state(writers, scope_of_tool))
        .layer(proxy.auth().end_at_expiry(Duration::from_secs(300))); // ends its event streams
    Ok(proxy.protect(routes)) // also serves the proxy's own endpoints
}

/// Requires the scope `Notes.Write` for calls of the tool `write_note`.
///
/// All tools share one path, and a client steps up only after an HTTP 403, which rmcp does not
/// send. The middleware therefore reads the message before rmcp does. It parses with rmcp's own
/// types, so that both agree on whether a message is such a call.
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
    let Ok(JsonRpcMessage::Request(message)) =
        serde_json::from_slice::<ClientJsonRpcMessage>(message)
    else {
        return false;
    };
    matches!(message.request, ClientRequest::CallToolRequest(call) if call.params.name == tool)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    let (once, real) = (has("--once"), has("--real"));
    if once && real {
        return Err("--once signs in at the local tenant: remove --real".into());
    }
    if real {
        tell_what_is_missing()?;
    }
    write_log();

    let port = if once { 0 } else { 8080 };
    let listen = variable("LISTEN").unwrap_or_else(|| format!("127.0.0.1:{port}"));
    let listener = TcpListener::bind(&listen).await;
    let listener = listener.map_err(|error| format!("LISTEN: cannot serve {listen}: {error}"))?;
    let mut address = listener.local_addr()?;
    if address.ip().is_unspecified() {
        address.set_ip([127, 0, 0, 1].into());
    }
    let public_url = variable("PUBLIC_URL").unwrap_or_else(|| format!("http://{address}"));

    let notes = Resource::at(format!("{public_url}/mcp"))
        .name("Notes")
        .required_scopes(["Mcp.Access"])
        .optional_scopes(["Notes.Write"])
        .describe_scope("Mcp.Access", "Read your notes")
        .describe_scope("Notes.Write", "Write notes in your name");
    let settings = EntraOAuthProxy::builder()
        .public_url(&public_url)
        .resource(notes);
    let (settings, tenant) = match real {
        true => (of_real_tenant(settings)?, None),
        false => {
            let (settings, tenant) = of_local_tenant(settings, &public_url).await?;
            (settings, Some(tenant))
        }
    };
    let proxy = settings.build()?;
    let app = app(&proxy, &public_url)?;
    // Adds the clients' addresses: the proxy limits requests per address.
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    // Disables Nagle's algorithm: small writes must not wait for each other.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    if once {
        return play(&public_url).await;
    }
    introduce(&proxy, &public_url, tenant.as_ref());
    tokio::select! {
        served = server => served??,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    // Finishes the sign-ins and refreshes in progress.
    proxy.shutdown().await;
    Ok(())
}

/// Writes the log to standard error.
///
/// The log contains the references shown on error pages, with their reasons, and what Entra
/// refuses. It leaves out rmcp's lines: rmcp writes one for each session and each request that it
/// refuses, so any signed-in user could fill the log. It also leaves out axum's lines: axum writes
/// one per second while it cannot accept connections, so any client could fill the log.
fn write_log() {
    let of_whom = Targets::new()
        .with_target("entra_oauth_proxy", LevelFilter::INFO)
        .with_target("entra_confidential_client", LevelFilter::INFO)
        .with_target("tower_entra_auth", LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry()
        .with(of_whom)
        .with(lines)
        .init();
}

/// Starts a tenant of `entra-dev-tenant` in which this server is registered.
///
/// The tenant stops when it is dropped.
async fn of_local_tenant(
    settings: EntraOAuthProxyBuilder,
    public_url: &str,
) -> Result<(EntraOAuthProxyBuilder, DevTenant), Box<dyn Error>> {
    const APP: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
    let application = AppRegistration::new(APP)
        .secret("the application's own secret")
        .redirect_uri(&format!("{public_url}/callback"))
        .redirect_uri(&format!("{public_url}/signed-out"))
        .scope("Mcp.Access")
        .scope("Notes.Write");
    let tenant = DevTenant::builder().register(application).start().await?;
    let settings = settings
        .tenant(tenant.id())
        .client_id(APP)
        .credential(Secret::new("the application's own secret"))
        .metadata_endpoint(tenant.url())
        .clock(tenant.clock());
    Ok((settings, tenant))
}

fn of_real_tenant(
    settings: EntraOAuthProxyBuilder,
) -> Result<EntraOAuthProxyBuilder, Box<dyn Error>> {
    let settings = settings
        .env()
        .credential(Secret::from_env("ENTRA_CLIENT_SECRET")?);
    let settings = settings.data_directory(std::env::var("DATA_DIRECTORY")?);
    Ok(match variable("ENTRA_PROXY_KEYS") {
        Some(keys) => settings.keys(ProxyKeys::from_base64(&keys)?),
        None => settings,
    })
}

/// Returns an error that names all missing variables together.
fn tell_what_is_missing() -> Result<(), Box<dyn Error>> {
    let needed = [
        "ENTRA_TENANT_ID",
        "ENTRA_CLIENT_ID",
        "ENTRA_CLIENT_SECRET",
        "PUBLIC_URL",
        "DATA_DIRECTORY",
    ];
    let missing: Vec<&str> = needed
        .into_iter()
        .filter(|name| variable(name).is_none())
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(format!("--real needs in the environment: {}", missing.join(", ")).into()),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn introduce(proxy: &EntraOAuthProxy, public_url: &str, tenant: Option<&DevTenant>) {
    let url = format!("{public_url}/mcp");
    tell("MCP server", &url);
    tell("sign-in for it", proxy.issuer());
    tell("redirect URI", &proxy.redirect_uri());
    tell("after sign-out", &proxy.post_logout_redirect_uri());
    match tenant {
        Some(tenant) => tell(
            "local tenant",
            &format!("{}, users ada and grace", tenant.url()),
        ),
        None => tell("tenant", "of ENTRA_TENANT_ID"),
    }
    tell(
        "log",
        "on standard error: the references of error pages, and refused requests",
    );
    println!("\nConnect a client; it signs you in with your browser:\n");
    println!("  claude mcp add --transport http notes {url}");
    println!("  code --add-mcp '{{\"name\":\"notes\",\"type\":\"http\",\"url\":\"{url}\"}}'");
    println!("  npx @modelcontextprotocol/inspector   # Streamable HTTP, {url}");
    if tenant.is_some() {
        println!(
            "\nThe local tenant, sign-ins and keys end with this program: then remove the server"
        );
        println!("from the client, and add it again. With --real, DATA_DIRECTORY keeps them.");
    }
    println!("\nServing, Ctrl-C ends it.");
}

fn tell(what: &str, is: &str) {
    println!("{what:<17} {is}");
}

/// Redirect URI of the client.
///
/// With a real browser, the client would listen there for the redirect.
const REDIRECT_URI: &str = "http://127.0.0.1:9000/callback";

/// Plays a client that knows only the URL.
async fn play(public_url: &str) -> Result<(), Box<dyn Error>> {
    let url = format!("{public_url}/mcp");

    // The server refuses the client. The challenge says where the metadata is and which scope to
    // request.
    let transport = StreamableHttpClientTransport::with_client(
        local_client()?,
        StreamableHttpClientTransportConfig::with_uri(&*url),
    );
    let Err(refused) = ().serve(transport).await else {
        return Err("the server accepted the request".into());
    };
    let challenge = refused.auth_challenge().ok_or("no challenge")?;
    tell("without a token", &format!("401 {challenge}"));
    expect(challenge.contains("resource_metadata=") && challenge.contains("Mcp.Access"))?;

    // The client reads both metadata documents and registers itself; the user then consents and
    // signs in.
    let http = Arc::new(Http(local_client()?));
    let mut client = OAuthState::new_with_oauth_http_client(&url, http).await?;
    let request = AuthorizationRequest::new(REDIRECT_URI)
        .with_client_name("A notes client")
        .with_challenge(challenge);
    client.start_authorization(request).await?;
    let authorize = client.get_authorization_url().await?;
    tell(
        "registered",
        &shortened(&parameter(&authorize, "client_id")?),
    );
    tell("asks for", &parameter(&authorize, "scope")?);
    let answered = sign_in(&authorize).await?;
    tell("answered with", &answered);
    expect(answered.starts_with(REDIRECT_URI) && parameter(&answered, "iss")? == public_url)?;
    client.handle_callback_url(&answered).await?;
    let manager = client.into_authorization_manager().ok_or("not signed in")?;

    // The signed-in client calls a tool that knows its caller.
    let auth = AuthClient::new(local_client()?, manager);
    let transport = StreamableHttpClientTransport::with_client(
        auth.clone(),
        StreamableHttpClientTransportConfig::with_uri(&*url),
    );
    let mcp = ().serve(transport).await?;
    let first = tokens(&auth).await?;
    tell("token for", &first.scope);
    let said = call(&mcp, "whoami").await?;
    tell("whoami", &said);
    expect(said.starts_with("ada of tenant") && said.ends_with("with Mcp.Access"))?;

    // Another tool needs a further scope, which the challenge names.
    let Err(refused) = call(&mcp, "write_note").await else {
        return Err("the server accepted the note".into());
    };
    let challenge = refused.auth_challenge().ok_or("no challenge")?;
    tell("write_note", &format!("403 {challenge}"));
    expect(challenge.contains("insufficient_scope") && challenge.contains("Notes.Write"))?;

    // The client requests the new scope along with the old one, and continues in the same MCP
    // session.
    let authorize = {
        let manager = auth.auth_manager.lock().await;
        manager.request_scope_upgrade("Notes.Write").await?
    };
    tell("steps up to", &parameter(&authorize, "scope")?);
    let answered = AuthorizationCallback::from_redirect_url(&sign_in(&authorize).await?)?;
    let exchanged = auth.auth_manager.lock().await;
    let issuer = answered.issuer.as_deref();
    exchanged
        .exchange_code_for_token_with_issuer(&answered.code, &answered.csrf_token, issuer)
        .await?;
    drop(exchanged);
    let said = call(&mcp, "write_note").await?;
    tell("write_note", &said);
    expect(said == "written")?;

    // A refresh replaces both tokens.
    let before = tokens(&auth).await?;
    auth.auth_manager.lock().await.refresh_token().await?;
    let after = tokens(&auth).await?;
    expect(after.access != before.access && after.refresh != before.refresh)?;
    tell("refreshed", "another access token, another refresh token");
    let said = call(&mcp, "whoami").await?;
    tell("whoami", &said);
    expect(said.ends_with("with Mcp.Access Notes.Write"))?;
    mcp.cancel().await?;
    Ok(())
}

async fn call(
    mcp: &RunningService<RoleClient, ()>,
    tool: &'static str,
) -> Result<String, ServiceError> {
    let result = mcp.call_tool(CallToolRequestParams::new(tool)).await?;
    let text = result.content.first().and_then(|content| content.as_text());
    Ok(text.map(|text| text.text.clone()).unwrap_or_default())
}

struct Tokens {
    access: String,
    refresh: String,
    scope: String,
}

/// Returns the tokens that rmcp's client received.
async fn tokens(auth: &AuthClient<reqwest::Client>) -> Result<Tokens, Box<dyn Error>> {
    let (_, answer) = auth.auth_manager.lock().await.get_credentials().await?;
    let answer = serde_json::to_value(answer)?;
    let member = |name: &str| {
        answer[name]
            .as_str()
            .map(str::to_owned)
            .ok_or("not in the response")
    };
    Ok(Tokens {
        access: member("access_token")?,
        refresh: member("refresh_token")?,
        scope: member("scope")?,
    })
}

/// Plays the user in a browser: consents, signs in as Ada and returns the URL of the redirect back
/// to the client.
///
/// The browser does not open that URL.
async fn sign_in(authorize: &str) -> Result<String, Box<dyn Error>> {
    let browser = local_client()?;
    let page = browser.get(authorize).send().await?.error_for_status()?;
    let (consent, of_page) = (page.url().join("/consent")?, cookies(&page));
    let page = page.text().await?;
    tell("a person reads", between(&page, "<h1>", "</h1>")?);

    let sealed = between(&page, "name=\"consent\" value=\"", "\"")?;
    let form = [("consent", sealed), ("decision", "approve")];
    let agreed = browser.post(consent).header(COOKIE, of_page).form(&form);
    let agreed = agreed.send().await?;
    let of_page = cookies(&agreed);
    let page = agreed.text().await?;
    let at_entra = between(&page, "content=\"0; url=", "\"")?.replace("&amp;", "&");
    let at_entra = browser.post(at_entra).form(&[("user", "ada")]);
    let back = browser.get(location(&at_entra.send().await?)?);
    let back = back.header(COOKIE, of_page);
    location(&back.send().await?)
}

fn location(answer: &reqwest::Response) -> Result<String, Box<dyn Error>> {
    let location = answer.headers().get(LOCATION);
    let location = location.ok_or_else(|| format!("{} without Location", answer.status()))?;
    Ok(location.to_str()?.to_owned())
}

fn cookies(answer: &reqwest::Response) -> String {
    let set = answer.headers().get_all(SET_COOKIE).iter();
    let set = set.filter_map(|cookie| cookie.to_str().ok()?.split(';').next());
    set.collect::<Vec<_>>().join("; ")
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Result<&'t str, Box<dyn Error>> {
    let (_, behind) = text.split_once(before).ok_or(before)?;
    Ok(behind.split_once(after).ok_or(after)?.0)
}

fn parameter(url: &str, name: &str) -> Result<String, Box<dyn Error>> {
    let url = reqwest::Url::parse(url)?;
    let found = url.query_pairs().find(|(other, _)| other == name);
    Ok(found.ok_or_else(|| format!("no {name}"))?.1.into_owned())
}

fn shortened(text: &str) -> String {
    text.chars().take(40).chain(['…']).collect()
}

/// rmcp's OAuth HTTP client, built to ignore this machine's proxies and certificates.
struct Http(reqwest::Client);

impl OAuthHttpClient for Http {
    fn execute(&self, request: OAuthHttpRequest) -> OAuthHttpClientFuture<'_> {
        Box::pin(async move {
            let response = self.0.execute(request.request.try_into()?).await?;
            let mut answer = http::Response::builder().status(response.status());
            if let Some(headers) = answer.headers_mut() {
                headers.clone_from(response.headers());
            }
            Ok(answer.body(response.bytes().await?.to_vec())?)
        })
    }
}

/// Builds a client that connects directly to loopback and ignores this machine's proxies and
/// certificates.
///
/// The client does not follow redirects.
fn local_client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

fn expect(is_so: bool) -> Result<(), Box<dyn Error>> {
    match is_so {
        true => Ok(()),
        false => Err("a response is not the expected one".into()),
    }
}
