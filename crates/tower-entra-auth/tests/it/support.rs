//! Fixtures that the tests share: a tenant, a protected API, and tokens of each kind.

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use entra_dev_tenant::{DevTenant, TokenBuilder};
use reqwest::Response;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tower_entra_auth::{
    Caller, EntraAuth, EntraAuthBuilder, keys::KeySource, status::IssuerStatus,
};

pub(crate) use crate::client::{Client, client};

/// Body of the response to a request without a token.
pub(crate) const NO_TOKEN: &str =
    "no token; send one header Authorization: Bearer <access token>\n";

pub(crate) const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
pub(crate) const CLIENT: &str = "2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b";
pub(crate) const OTHER_TENANT: &str = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) async fn tenant() -> DevTenant {
    DevTenant::start().await.unwrap()
}

/// Returns the settings for an API in the tenant. The documents are fetched in memory if the clock
/// is paused.
pub(crate) fn settings(tenant: &DevTenant) -> EntraAuthBuilder {
    let settings = EntraAuth::builder()
        .tenant(tenant.id())
        .client_id(API)
        .metadata_endpoint(tenant.url())
        .clock(tenant.clock());
    if memory_network::is_clock_paused() {
        settings.http_client(tenant.http_client())
    } else {
        settings
    }
}

/// Returns the settings for an API in the tenant with this key source, without a metadata endpoint.
pub(crate) fn of_source(tenant: &DevTenant, source: impl KeySource) -> EntraAuthBuilder {
    EntraAuth::builder()
        .tenant(tenant.id())
        .client_id(API)
        .clock(tenant.clock())
        .key_source(source)
}

pub(crate) fn auth(tenant: &DevTenant) -> EntraAuth {
    settings(tenant).build().unwrap()
}

/// Returns the builder of a good token.
pub(crate) fn user(tenant: &DevTenant) -> TokenBuilder<'_> {
    tenant.user("lovelace").scope("Reports.Read").for_api(API)
}

/// Returns one token of each kind, with the status and code of the response.
pub(crate) fn each_kind(tenant: &DevTenant) -> Vec<(u16, &'static str, String)> {
    let app = || tenant.app(CLIENT).for_api(API);
    vec![
        (200, "", user(tenant).mint()),
        (200, "", app().role("Reports.Read.All").mint()),
        (401, "expired", user(tenant).expired().mint()),
        (401, "wrong_audience", user(tenant).for_api(CLIENT).mint()),
        (401, "v1_token", user(tenant).v1().mint()),
        (401, "graph_token", tenant.graph_token("lovelace").mint()),
        (
            401,
            "id_token",
            tenant.id_token("lovelace").for_api(API).mint(),
        ),
        (
            401,
            "untrusted_signature",
            user(tenant).bad_signature().mint(),
        ),
        (
            401,
            "untrusted_signature",
            user(tenant).header("kid", "unknown").mint(),
        ),
        (
            401,
            "tenant_not_allowed",
            user(tenant).of_tenant(OTHER_TENANT).mint(),
        ),
        (
            401,
            "wrong_algorithm",
            user(tenant).header("alg", "none").mint(),
        ),
        (401, "not_a_token", "garbage".to_owned()),
        (403, "no_permission", app().mint()),
    ]
}

/// A server that stops when the value is dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    task: AbortHandle,
}

impl Server {
    pub(crate) fn new(url: String, serving: impl Future<Output: Send> + Send + 'static) -> Self {
        let task = tokio::spawn(async move { drop(serving.await) }).abort_handle();
        Self { url, task }
    }

    /// Opens a new connection to the server.
    pub(crate) async fn connect(&self) -> Box<dyn Stream> {
        let address = self.url.trim_start_matches("http://").parse().unwrap();
        if memory_network::has(address) {
            return Box::new(memory_network::connect(address).unwrap());
        }
        memory_network::assert_clock_runs();
        Box::new(TcpStream::connect(address).await.unwrap())
    }
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves an axum application on a free port, or in memory if the clock is paused.
pub(crate) async fn serve(app: Router) -> Server {
    match Listener::bind().await {
        Listener::Tcp(url, listener) => {
            let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
            Server::new(url, async move { axum::serve(listener, app).await })
        }
        Listener::Memory(url, listener) => {
            let listener = Memory(listener);
            Server::new(url, async move { axum::serve(listener, app).await })
        }
    }
}

/// A server's listener, with the server's URL.
pub(crate) enum Listener {
    Tcp(String, TcpListener),
    Memory(String, memory_network::Listener),
}

impl Listener {
    /// Listens in memory if the clock is paused. Over TCP, a paused clock would advance while a
    /// packet is on its way.
    pub(crate) async fn bind() -> Self {
        if memory_network::is_clock_paused() {
            let listener = memory_network::Listener::bind();
            return Self::Memory(format!("http://{}", listener.address()), listener);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self::Tcp(url, listener)
    }
}

struct Memory(memory_network::Listener);

impl axum::serve::Listener for Memory {
    type Io = DuplexStream;
    type Addr = ();

    async fn accept(&mut self) -> (DuplexStream, ()) {
        (self.0.accept().await, ())
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns an application: `/me` behind the Layer says who is calling, and `/healthz` is outside
/// the Layer.
pub(crate) fn app(auth: &EntraAuth) -> Router {
    Router::new()
        .route("/me", get(async |caller: Caller| caller.id().to_string()))
        .layer(auth.layer())
        .route("/healthz", get(async || "ok"))
}

/// Requests a path without a token.
pub(crate) async fn ask_without_token(server: &Server, path: &str) -> Response {
    client()
        .get(format!("{}{path}", server.url))
        .send()
        .await
        .unwrap()
}

/// Requests `/me` with a token.
pub(crate) async fn ask(server: &Server, token: &str) -> Response {
    let request = client().get(format!("{}/me", server.url));
    request.bearer_auth(token).send().await.unwrap()
}

/// Requests `/me` with a token, and returns only the status.
pub(crate) async fn status(server: &Server, token: &str) -> u16 {
    ask(server, token).await.status().as_u16()
}

pub(crate) fn header<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    response
        .headers()
        .get(name)
        .map(|value| value.to_str().unwrap())
}

pub(crate) const ACCEPTED: &str = "accepted";
pub(crate) const UNTRUSTED: &str = "401 untrusted_signature";
pub(crate) const UNAVAILABLE: &str = "503 keys_unavailable";
pub(crate) const PENDING: &str = "503 key_refresh_pending";

/// A tenant, and a served API that trusts it.
pub(crate) struct Scene {
    pub(crate) tenant: DevTenant,
    pub(crate) auth: EntraAuth,
    pub(crate) server: Server,
    client: Client,
}

impl Scene {
    /// Starts an API with default settings, and fetches the keys.
    pub(crate) async fn start() -> Self {
        Self::with(|settings| settings).await
    }

    /// Starts an API with changed settings, and fetches the keys.
    pub(crate) async fn with(change: impl FnOnce(EntraAuthBuilder) -> EntraAuthBuilder) -> Self {
        let tenant = tenant().await;
        let auth = change(settings(&tenant)).build().unwrap();
        let scene = Self::of(tenant, auth).await;
        scene.auth.ready().await.unwrap();
        scene
    }

    /// Starts an API from the given parts; no keys are fetched yet.
    pub(crate) async fn of(tenant: DevTenant, auth: EntraAuth) -> Self {
        let server = serve(app(&auth)).await;
        Self {
            tenant,
            auth,
            server,
            client: client(),
        }
    }

    /// Mints a good token that was never sent, signed with the current key. The token outlives
    /// every test.
    pub(crate) fn token(&self) -> String {
        user(&self.tenant).expires_in(1_000 * 3_600).mint()
    }

    /// Mints `N` tokens like [`token`](Self::token).
    pub(crate) fn tokens<const N: usize>(&self) -> [String; N] {
        std::array::from_fn(|_| self.token())
    }

    /// Returns the whole response to a request with this token.
    pub(crate) async fn response(&self, token: &str) -> Response {
        let request = self.client.get(format!("{}/me", self.server.url));
        request.bearer_auth(token).send().await.unwrap()
    }

    /// Returns `accepted`, or the status and the code of the refusal.
    pub(crate) async fn answer(&self, token: &str) -> String {
        let response = self.response(token).await;
        let status = response.status().as_u16();
        let body = response.text().await.unwrap();
        match status {
            200 => ACCEPTED.to_owned(),
            _ => format!("{status} {}", body.trim()),
        }
    }

    /// Returns the same as [`answer`](Self::answer), and the time that it took.
    pub(crate) async fn timed(&self, token: &str) -> (String, Duration) {
        let start = Instant::now();
        (self.answer(token).await, start.elapsed())
    }

    /// Returns the state of the tenant's keys.
    pub(crate) fn issuer(&self) -> IssuerStatus {
        self.auth.status().issuers.remove(0)
    }

    /// Returns the code of the last failed attempt.
    pub(crate) fn last_failure(&self) -> &'static str {
        self.issuer().last_failure.unwrap().cause.code()
    }
}

/// Returns the `Retry-After` of a response, in seconds.
pub(crate) fn retry_after(response: &Response) -> u64 {
    header(response, "retry-after").unwrap().parse().unwrap()
}

/// Lets time pass, a step at a time, until the condition holds; fails after `longest`.
pub(crate) async fn until(longest: Duration, step: Duration, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < longest, "not within {longest:?}");
        tokio::time::sleep(step).await;
    }
}

/// Lets other tasks run until the condition holds, without any time passing; fails after a million
/// attempts.
pub(crate) async fn at_once_until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..1_000_000 {
        if is_so() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("not at once");
}

pub(crate) async fn scene_with(tenant: DevTenant, source: impl KeySource) -> Scene {
    let auth = of_source(&tenant, source).build().unwrap();
    Scene::of(tenant, auth).await
}
