//! The tests' HTTP client: reqwest over TCP, and the same calls in memory.

use std::net::SocketAddr;

use http::header::{ACCEPT, HOST};
use http::{HeaderName, HeaderValue, Method, Request};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use reqwest::{Body, Response};
use tower_entra_auth::keys::BoxError;

/// Returns a client for loopback that ignores this machine's proxies and certificates.
pub(crate) fn client() -> Client {
    let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    Client(builder.build().unwrap())
}

#[derive(Clone)]
pub(crate) struct Client(reqwest::Client);

/// A request builder with the part of reqwest's interface that the tests use.
#[must_use]
pub(crate) struct RequestBuilder {
    client: Client,
    builder: reqwest::RequestBuilder,
}

impl Client {
    pub(crate) fn request(&self, method: Method, url: impl reqwest::IntoUrl) -> RequestBuilder {
        RequestBuilder {
            client: self.clone(),
            builder: self.0.request(method, url),
        }
    }

    pub(crate) fn get(&self, url: impl reqwest::IntoUrl) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    pub(crate) fn head(&self, url: impl reqwest::IntoUrl) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    pub(crate) fn post(&self, url: impl reqwest::IntoUrl) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    async fn execute(&self, request: reqwest::Request) -> Result<Response, BoxError> {
        let authority = request.url().authority().to_owned();
        match authority.parse() {
            Ok(address) if memory_network::has(address) => through_memory(address, request).await,
            _ => {
                memory_network::assert_clock_runs();
                Ok(self.0.execute(request).await?)
            }
        }
    }
}

/// Sends the request on its own connection, as reqwest would.
async fn through_memory(
    address: SocketAddr,
    request: reqwest::Request,
) -> Result<Response, BoxError> {
    let mut request = Request::<Body>::try_from(request)?;
    let host = HeaderValue::try_from(address.to_string())?;
    let headers = request.headers_mut();
    headers.entry(HOST).or_insert(host);
    let anything = HeaderValue::from_static("*/*");
    headers.entry(ACCEPT).or_insert(anything);
    let path = request.uri().path_and_query().expect("a path").clone();
    *request.uri_mut() = path.into();

    let stream = TokioIo::new(memory_network::connect(address)?);
    let (mut sender, connection) = http1::handshake(stream).await?;
    tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(request).await?;
    Ok(response.map(Body::wrap).into())
}

impl RequestBuilder {
    pub(crate) fn header<N, V>(self, name: N, value: V) -> Self
    where
        HeaderName: TryFrom<N, Error: Into<http::Error>>,
        HeaderValue: TryFrom<V, Error: Into<http::Error>>,
    {
        self.with(|builder| builder.header(name, value))
    }

    pub(crate) fn basic_auth(self, user: &str, password: Option<&str>) -> Self {
        self.with(|builder| builder.basic_auth(user, password))
    }

    pub(crate) fn bearer_auth(self, token: impl std::fmt::Display) -> Self {
        self.with(|builder| builder.bearer_auth(token))
    }

    pub(crate) fn body(self, body: impl Into<Body>) -> Self {
        self.with(|builder| builder.body(body))
    }

    pub(crate) async fn send(self) -> Result<Response, BoxError> {
        let request = self.builder.build()?;
        self.client.execute(request).await
    }

    fn with(self, change: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder) -> Self {
        Self {
            client: self.client,
            builder: change(self.builder),
        }
    }
}
