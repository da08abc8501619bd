//! A client registers itself, its user consents and signs in, and it calls both tools.

use std::error::Error;
use std::net::SocketAddr;

use axum::serve::ListenerExt as _;
use entra_dev_tenant::DevTenant;
use entra_oauth_proxy::Secret;
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use reqwest::{Client, Response, Url, redirect::Policy};
use serde_json::{Value, json};
use tokio::net::TcpListener;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const APP: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
/// Redirect URI of the client. Nobody needs to listen there.
const REDIRECT_URI: &str = "http://127.0.0.1:9000/callback";
// The examples of RFC 7636. A real client makes new ones for each sign-in.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// The server, its tenant, and a client that has registered itself.
struct Stage {
    url: String,
    tenant: DevTenant,
    http: Client,
    client_id: String,
}

impl Stage {
    /// Starts the server on `listener`, which is bound first, because the tenant needs the URL.
    async fn start(listener: TcpListener) -> Result<Self> {
        let url = format!("http://{}", listener.local_addr()?);
        let tenant = DevTenant::builder()
            .web_client(APP, "dev-secret", [format!("{url}/callback")])
            .api(APP, ["Mcp.Access", "Notes.Write"]) // the same application: client and API
            .start()
            .await?;
        let proxy = mcp_server::settings(&url)
            .tenant(tenant.id())
            .client_id(APP)
            .credential(Secret::new("dev-secret"))
            .metadata_endpoint(tenant.url())
            .clock(tenant.clock())
            .build()?;
        let app = mcp_server::app(&proxy)?;
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        tokio::spawn(async move { axum::serve(listener, app).await });

        let http = Client::builder().no_proxy().redirect(Policy::none());
        let http = http.tls_certs_only([]).build()?; // everything is on loopback
        let client = json!({ "client_name": "test", "redirect_uris": [REDIRECT_URI] });
        let registered = http.post(format!("{url}/register")).json(&client);
        let registered: Value = registered.send().await?.error_for_status()?.json().await?;
        Ok(Self {
            client_id: text(&registered, "client_id")?,
            url,
            tenant,
            http,
        })
    }

    /// Signs Ada in and returns the access token.
    async fn sign_in(&self, scope: &str) -> Result<String> {
        // The client opens the browser, which shows the consent page.
        let resource = format!("{}/mcp", self.url);
        let parameters = [
            ("response_type", "code"),
            ("client_id", &self.client_id),
            ("redirect_uri", REDIRECT_URI),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("state", "xyz"),
            ("resource", &resource),
            ("scope", scope),
        ];
        let authorize = Url::parse_with_params(&format!("{}/authorize", self.url), parameters)?;
        let page = self.http.get(authorize).send().await?.error_for_status()?;
        let cookie = cookies(&page);
        let page = page.text().await?;
        let consent = between(&page, "name=\"consent\" value=\"", "\"")?;

        // The user consents, and the browser goes on to Entra by itself. After the sign-in, Entra
        // redirects it to the server.
        let form = [("decision", "approve"), ("consent", consent)];
        let consented = self.http.post(format!("{}/consent", self.url));
        let consented = consented.header(COOKIE, cookie).form(&form).send().await?;
        let cookie = cookies(&consented);
        let page = consented.text().await?;
        let at_entra = between(&page, "content=\"0; url=", "\"")?.replace("&amp;", "&");
        let callback = self.tenant.people().sign_in("ada", &at_entra);
        let returned = self.http.get(callback).header(COOKIE, cookie);
        let answer = location(&returned.send().await?)?;

        // The server redirects the browser to the client, which redeems the code.
        assert!(answer.starts_with(REDIRECT_URI), "{answer}");
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", &self.client_id),
            ("code", between(&answer, "code=", "&")?),
            ("code_verifier", VERIFIER),
            ("redirect_uri", REDIRECT_URI),
            ("resource", &resource),
        ];
        let tokens = self.http.post(format!("{}/token", self.url)).form(&form);
        let tokens: Value = tokens.send().await?.error_for_status()?.json().await?;
        text(&tokens, "access_token")
    }

    /// Calls a tool, as a client of MCP 2026-07-28 does.
    async fn call(&self, token: &str, tool: &str, host: Option<&str>) -> Result<Response> {
        const VERSION: &str = "2026-07-28";
        let message = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": { "name": tool, "_meta": {
                "io.modelcontextprotocol/protocolVersion": VERSION,
                "io.modelcontextprotocol/clientCapabilities": {},
            } },
        });
        let request = self.http.post(format!("{}/mcp", self.url));
        let request = match host {
            Some(host) => request.header("host", host),
            None => request,
        };
        let request = request
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", VERSION)
            .header("mcp-method", "tools/call")
            .header("mcp-name", tool);
        Ok(request.bearer_auth(token).json(&message).send().await?)
    }
}

#[tokio::test]
async fn a_client_signs_in_and_calls_both_tools() -> Result<()> {
    let stage = Stage::start(TcpListener::bind("127.0.0.1:0").await?).await?;
    let reader = stage.sign_in("Mcp.Access offline_access").await?;
    let response = stage.call(&reader, "whoami", None).await?;
    assert_eq!(response.status(), 200);
    assert!(response.text().await?.contains("with Mcp.Access"));

    // The challenge of the second tool names the scope to request.
    let refused = stage.call(&reader, "write_note", None).await?;
    assert_eq!(refused.status(), 403);
    let challenge = refused.headers()[WWW_AUTHENTICATE].to_str()?;
    assert!(challenge.contains("error=\"insufficient_scope\", scope=\"Notes.Write\""));

    let writer = stage.sign_in("Mcp.Access Notes.Write offline_access");
    let response = stage.call(&writer.await?, "write_note", None).await?;
    assert_eq!(response.status(), 200);
    assert!(response.text().await?.contains("written"));
    Ok(())
}

#[tokio::test]
async fn requests_without_a_token_or_for_another_host_are_refused() -> Result<()> {
    let stage = Stage::start(TcpListener::bind("127.0.0.1:0").await?).await?;
    let refused = stage.call("no token", "whoami", None).await?;
    assert_eq!(refused.status(), 401);

    let reader = stage.sign_in("Mcp.Access").await?;
    let host = Some("other.example.com");
    let refused = stage.call(&reader, "whoami", host).await?;
    assert_eq!(refused.status(), 403);
    assert_eq!(
        refused.text().await?,
        "Forbidden: Host header is not allowed"
    );
    Ok(())
}

fn text(answer: &Value, member: &str) -> Result<String> {
    Ok(answer[member]
        .as_str()
        .ok_or("not in the response")?
        .to_owned())
}

fn location(response: &Response) -> Result<String> {
    let location = response.headers().get(LOCATION);
    let location = location.ok_or_else(|| format!("{} without Location", response.status()))?;
    Ok(location.to_str()?.to_owned())
}

fn cookies(response: &Response) -> String {
    let set = response.headers().get_all(SET_COOKIE).iter();
    let set = set.filter_map(|cookie| cookie.to_str().ok()?.split(';').next());
    set.collect::<Vec<_>>().join("; ")
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Result<&'t str> {
    let (_, behind) = text.split_once(before).ok_or("not in the text")?;
    Ok(behind.split_once(after).ok_or("not in the text")?.0)
}
