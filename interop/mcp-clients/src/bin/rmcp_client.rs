//! rmcp's client, with the loopback listener and the browser that an application must add.
//!
//! `play.py` documents the commands, one per line, and the replies.

use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;

use reqwest::redirect::Policy;
use rmcp::ServiceExt as _;
use rmcp::model::CallToolRequestParams;
use rmcp::service::RoleClient;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::auth::{
    AuthClient, AuthorizationManager, AuthorizationRequest, CredentialStore as _,
    InMemoryCredentialStore, OAuthHttpClient, OAuthHttpClientFuture, OAuthHttpRequest, OAuthState,
};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut client = Client {
        url: std::env::var("MCP_URL")?,
        kept: InMemoryCredentialStore::new(),
        auth: None,
    };
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    while let Some(command) = commands.next_line().await? {
        let done = match (command.as_str(), command.strip_prefix("call ")) {
            (_, Some(tool)) => client.call(tool).await,
            ("an hour passes", _) => client.let_an_hour_pass().await,
            ("revoke", _) => client.revoke().await,
            (other, _) => Err(other.into()),
        };
        match done {
            Ok(said) => println!("ok {said}"),
            Err(error) => println!("failed {}", error.to_string().replace('\n', " ")),
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}

struct Client {
    url: String,
    kept: InMemoryCredentialStore,
    auth: Option<AuthClient<reqwest::Client>>,
}

impl Client {
    /// Calls the tool, and signs in first if the server requires it.
    async fn call(&mut self, tool: &str) -> Result<String, Failure> {
        let auth = match &self.auth {
            Some(auth) => auth.clone(),
            None => AuthClient::new(local_client()?, self.manager().await?),
        };
        let refused = match call_once(&self.url, tool, auth).await? {
            Ok(said) => return Ok(said),
            Err(challenge) => challenge,
        };
        let auth = self.sign_in(&refused).await?;
        let said = call_once(&self.url, tool, auth.clone()).await?;
        self.auth = Some(auth);
        said.map_err(Failure::from)
    }

    async fn manager(&self) -> Result<AuthorizationManager, Failure> {
        let http = Arc::new(Http(local_client()?));
        let manager = AuthorizationManager::new_with_oauth_http_client(&*self.url, http);
        let mut manager = manager.await?;
        manager.set_credential_store(self.kept.clone());
        Ok(manager)
    }

    async fn sign_in(&self, challenge: &str) -> Result<AuthClient<reqwest::Client>, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let redirect_uri = format!("http://{}/callback", listener.local_addr()?);
        let mut state = OAuthState::Unauthorized(self.manager().await?);
        let request = AuthorizationRequest::new(&*redirect_uri)
            .with_client_name("rmcp")
            .with_challenge(challenge);
        state.start_authorization(request).await?;

        let browser = std::env::var("BROWSER")?;
        let opened = Command::new(browser)
            .arg(state.get_authorization_url().await?)
            .status();
        opened.await?;
        let target = answered(&listener).await?;
        let answer = format!("http://{}{target}", listener.local_addr()?);
        state.handle_callback_url(&answer).await?;
        let manager = state.into_authorization_manager().ok_or("not signed in")?;
        Ok(AuthClient::new(local_client()?, manager))
    }

    /// Lets an hour pass for the client.
    ///
    /// The client reads the system's time itself, so this function moves the stored time at which
    /// the client received its token.
    async fn let_an_hour_pass(&self) -> Result<String, Failure> {
        let mut kept = self.kept.load().await?.ok_or("not signed in")?;
        kept.token_received_at = kept.token_received_at.map(|at| at.saturating_sub(66 * 60));
        self.kept.save(kept).await?;
        Ok(String::new())
    }

    /// Revokes the refresh token (RFC 7009), for which rmcp has no function.
    async fn revoke(&self) -> Result<String, Failure> {
        let kept = self.kept.load().await?.ok_or("not signed in")?;
        let answer = serde_json::to_value(&kept.token_response)?;
        let token = answer["refresh_token"].as_str().ok_or("no refresh token")?;
        let issuer = kept.issuer.ok_or("no issuer")?;
        let http = local_client()?;
        let metadata = http.get(format!("{issuer}/.well-known/oauth-authorization-server"));
        let metadata: serde_json::Value = metadata.send().await?.json().await?;
        let endpoint = metadata["revocation_endpoint"].as_str();
        let form = [("token", token), ("client_id", &kept.client_id)];
        let revoked = http.post(endpoint.ok_or("no endpoint")?).form(&form);
        revoked.send().await?.error_for_status()?;
        Ok(String::new())
    }
}

/// Returns the tool's reply, or the challenge if the server refuses the client.
async fn call_once(
    url: &str,
    tool: &str,
    auth: AuthClient<reqwest::Client>,
) -> Result<Result<String, String>, Failure> {
    let config = StreamableHttpClientTransportConfig::with_uri(url);
    let transport = StreamableHttpClientTransport::with_client(auth, config);
    let mcp: rmcp::service::RunningService<RoleClient, ()> = match ().serve(transport).await {
        Ok(mcp) => mcp,
        Err(error) => match error.auth_challenge() {
            Some(challenge) => return Ok(Err(challenge.to_owned())),
            None => return Err(error.into()),
        },
    };
    let result = mcp
        .call_tool(CallToolRequestParams::new(tool.to_owned()))
        .await;
    mcp.cancel().await?;
    match result {
        Ok(result) => {
            let text = result.content.first().and_then(|content| content.as_text());
            Ok(Ok(text.map(|text| text.text.clone()).unwrap_or_default()))
        }
        Err(error) => match error.auth_challenge() {
            Some(challenge) => Ok(Err(challenge.to_owned())),
            None => Err(error.into()),
        },
    }
}

/// Returns the path and query of the browser's redirect.
async fn answered(listener: &TcpListener) -> Result<String, Failure> {
    let (mut stream, _) = listener.accept().await?;
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Err("the browser went away".into());
        }
    }
    let text = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(text.as_bytes()).await?;
    let request = String::from_utf8(request)?;
    let target = request.split(' ').nth(1).ok_or("no target")?;
    Ok(target.to_owned())
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
fn local_client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .redirect(Policy::none())
        .build()
}
