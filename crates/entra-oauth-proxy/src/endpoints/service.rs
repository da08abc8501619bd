//! The endpoints as a tower service, for any HTTP server.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};

use entra_http::BoxError;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CONNECTION, CONTENT_LENGTH,
    TRANSFER_ENCODING,
};
use http::request::Parts;
use http::{Method, Request, StatusCode, Version};
use http_body::Body;
use tower_entra_auth::layer::AnswerBody;
use tower_service::Service;

use super::{
    Mount, Server, Urls, authorize, callback, consent, metadata, register, revoke, sign_out, token,
};
use crate::http::{Response, UnreadBody, empty, set_static};
use crate::limits::EndpointGroup;
use crate::telemetry::observed;

/// A service for the endpoints of the proxy, which responds with 404 to all other paths.
///
/// [`EntraOAuthProxy::service`](crate::EntraOAuthProxy::service) and similar methods return it.
///
/// It uses the path, the query, the method, cookies, a few other headers and the body. It never
/// uses `Host`. It uses `X-Forwarded-For` only if a [proxy in
/// between](crate::EntraOAuthProxyBuilder::trusted_proxies) is trusted.
///
/// It takes the client's address from the request's extensions: a
/// [`SocketAddr`](std::net::SocketAddr), or axum's `ConnectInfo` of one (feature `axum`). Without
/// an address, no [limit](crate::RateLimits) by address applies.
#[derive(Clone)]
pub struct ProxyEndpoints {
    server: Arc<Server>,
    mount: Mount,
}

impl ProxyEndpoints {
    pub(crate) fn new(server: Arc<Server>, mount: Mount) -> Self {
        Self { server, mount }
    }

    /// Returns the paths of the endpoints that this service serves.
    #[cfg(feature = "axum")]
    pub(crate) fn paths(&self) -> Vec<String> {
        let well_known = || {
            let resource = self.server.resource_metadata.paths().map(str::to_owned);
            let documents = metadata_paths(&self.server.urls).map(|(path, _)| path);
            resource.chain(documents).collect::<Vec<String>>()
        };
        let nested = Endpoint::NESTED.iter().map(|(path, _)| *path);
        match self.mount {
            Mount::WellKnown => well_known(),
            Mount::Nested => nested.map(str::to_owned).collect(),
            Mount::All => {
                let mut paths = well_known();
                for path in paths_under(&self.server.urls) {
                    if !paths.contains(&path) {
                        paths.push(path);
                    }
                }
                paths
            }
        }
    }

    fn endpoint(&self, path: &str) -> Option<Endpoint> {
        let nested = |path: &str| {
            let mut endpoints = Endpoint::NESTED.iter();
            endpoints
                .find(|(of, _)| *of == path)
                .map(|(_, endpoint)| *endpoint)
        };
        let well_known = || {
            let mut documents = metadata_paths(&self.server.urls).into_iter();
            if let Some((_, document)) = documents.find(|(of, _)| of == path) {
                return Some(document);
            }
            let mut paths = self.server.resource_metadata.paths();
            paths
                .any(|of| of == path)
                .then_some(Endpoint::ResourceMetadata)
        };
        match self.mount {
            Mount::WellKnown => well_known(),
            Mount::Nested => nested(path),
            Mount::All => {
                well_known().or_else(|| nested(path.strip_prefix(&*self.server.urls.path)?))
            }
        }
    }

    async fn answer<B>(self, request: Request<B>) -> Response
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        let (head, body) = request.into_parts();
        let is_in_the_way = has_body_in_the_way(&head);
        let was_read = AtomicBool::new(false);
        let body = UnreadBody::new(body, &was_read);
        let mut response = match self.endpoint(head.uri.path()) {
            Some(endpoint) => answer_observed(&self.server, endpoint, head, body).await,
            None => empty(StatusCode::NOT_FOUND),
        };
        // The request has a body that was not read. If the body has not arrived yet, the server
        // closes the connection. Without `Connection: close` (RFC 9112 §9.6), the client sends its
        // next request into that connection.
        if is_in_the_way && !was_read.into_inner() {
            set_static(&mut response, CONNECTION, "close");
        }
        response
    }
}

/// An endpoint of the proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Endpoint {
    Authorize,
    Consent,
    Callback,
    SignOut,
    SignedOut,
    Token,
    Revoke,
    Register,
    Keys,
    Metadata,
    OpenIdMetadata,
    ResourceMetadata,
}

/// Returns the paths of all endpoints except the metadata of the resource.
pub(crate) fn paths_of(urls: &Urls) -> impl Iterator<Item = String> {
    let documents = metadata_paths(urls).map(|(path, _)| path);
    documents.into_iter().chain(paths_under(urls))
}

/// Returns the paths of the endpoints under the public URL.
fn paths_under(urls: &Urls) -> impl Iterator<Item = String> {
    let prefix = &urls.path;
    let nested = Endpoint::NESTED.iter();
    nested.map(move |(path, _)| format!("{prefix}{path}"))
}

impl Endpoint {
    /// Endpoints under the public URL, by their path below it.
    const NESTED: [(&'static str, Self); 10] = [
        ("/authorize", Self::Authorize),
        ("/consent", Self::Consent),
        ("/callback", Self::Callback),
        ("/sign-out", Self::SignOut),
        ("/signed-out", Self::SignedOut),
        ("/token", Self::Token),
        ("/revoke", Self::Revoke),
        ("/register", Self::Register),
        ("/jwks.json", Self::Keys),
        // Some clients append this path to the issuer.
        ("/.well-known/openid-configuration", Self::OpenIdMetadata),
    ];

    /// Returns the methods of the endpoint, as the header `Allow` lists them.
    const fn methods(self) -> &'static str {
        match self {
            Self::Authorize | Self::Callback | Self::SignOut | Self::SignedOut => "GET",
            Self::Consent => "POST",
            Self::Token | Self::Revoke | Self::Register => "POST, OPTIONS",
            Self::Keys | Self::Metadata | Self::OpenIdMetadata | Self::ResourceMetadata => {
                "GET, HEAD, OPTIONS"
            }
        }
    }

    /// Returns the name of the endpoint in spans and metrics.
    const fn name(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Consent => "consent",
            Self::Callback => "callback",
            Self::SignOut => "sign_out",
            Self::SignedOut => "signed_out",
            Self::Token => "token",
            Self::Revoke => "revoke",
            Self::Register => "register",
            Self::Keys => "keys",
            Self::Metadata | Self::OpenIdMetadata => "metadata",
            Self::ResourceMetadata => "resource_metadata",
        }
    }

    /// Returns whether the endpoint's response is the same document for every client.
    const fn is_document(self) -> bool {
        matches!(
            self,
            Self::Keys | Self::Metadata | Self::OpenIdMetadata | Self::ResourceMetadata
        )
    }

    /// Returns the group in which the endpoint's requests are counted, if they are counted.
    const fn group(self) -> Option<EndpointGroup> {
        match self {
            Self::Register => Some(EndpointGroup::Registration),
            Self::Authorize | Self::Consent | Self::Callback | Self::SignOut | Self::SignedOut => {
                Some(EndpointGroup::SignIn)
            }
            Self::Token | Self::Revoke => Some(EndpointGroup::Token),
            Self::Keys | Self::Metadata | Self::OpenIdMetadata | Self::ResourceMetadata => None,
        }
    }

    /// Returns whether scripts of any origin may use the endpoint.
    const fn is_for_scripts(self) -> bool {
        // The metadata of the resource sets its CORS headers itself.
        !matches!(
            self,
            Self::Authorize
                | Self::Consent
                | Self::Callback
                | Self::SignOut
                | Self::SignedOut
                | Self::ResourceMetadata
        )
    }
}

/// Returns the paths of the server's metadata: of RFC 8414 §3.1, and of OpenID Connect.
fn metadata_paths(urls: &Urls) -> [(String, Endpoint); 2] {
    let path = &urls.path;
    [
        ("oauth-authorization-server", Endpoint::Metadata),
        ("openid-configuration", Endpoint::OpenIdMetadata),
    ]
    .map(|(name, endpoint)| (format!("/.well-known/{name}{path}"), endpoint))
}

/// Returns whether the request has a body that blocks the next request on the same connection.
///
/// This can only be so up to HTTP/1.1.
fn has_body_in_the_way(head: &Parts) -> bool {
    let length = head.headers.get(CONTENT_LENGTH);
    let has_body =
        head.headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != "0");
    has_body && head.version <= Version::HTTP_11
}

/// Responds to a request, with its span, metrics and log, and with CORS headers.
async fn answer_observed<B>(
    server: &Arc<Server>,
    endpoint: Endpoint,
    head: Parts,
    body: UnreadBody<'_, B>,
) -> Response
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let answered = answer(server, endpoint, head, body);
    let mut response = match endpoint.is_document() {
        true => answered.await,
        false => {
            let logged = async {
                let mut response = answered.await;
                server.brand.show_error(&server.log, &mut response);
                response
            };
            observed(endpoint.name(), logged).await
        }
    };
    if endpoint.is_for_scripts() {
        let exposed = "www-authenticate, retry-after";
        set_static(&mut response, ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        set_static(&mut response, ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    response
}

async fn answer<B>(
    server: &Arc<Server>,
    endpoint: Endpoint,
    head: Parts,
    body: UnreadBody<'_, B>,
) -> Response
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let refused = endpoint
        .group()
        .and_then(|group| server.rate_limiter.refuse(group, &head));
    if let Some(refused) = refused {
        return refused;
    }
    let documents = &server.documents;
    match (endpoint, &head.method) {
        (Endpoint::ResourceMetadata, _) => {
            let request = Request::from_parts(head, ());
            match server.resource_metadata.clone().call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
        (Endpoint::Authorize, &Method::GET) => authorize::answer(server, &head),
        (Endpoint::Consent, &Method::GET | &Method::POST) => {
            consent::answer(server, &head, body).await
        }
        (Endpoint::Callback, &Method::GET) => callback::answer(server, &head).await,
        (Endpoint::SignOut, &Method::GET) => sign_out::answer(server, &head),
        (Endpoint::SignedOut, &Method::GET) => sign_out::signed_out(server),
        (Endpoint::Token, &Method::POST) => token::answer(server, &head, body).await,
        (Endpoint::Revoke, &Method::POST) => revoke::answer(server, &head, body).await,
        (Endpoint::Register, &Method::POST) => register::answer(server, &head, body).await,
        (Endpoint::Metadata, method @ (&Method::GET | &Method::HEAD)) => {
            metadata::answer(method, &documents.metadata)
        }
        (Endpoint::OpenIdMetadata, method @ (&Method::GET | &Method::HEAD)) => {
            metadata::answer(method, &documents.openid)
        }
        (Endpoint::Keys, method @ (&Method::GET | &Method::HEAD)) => match &documents.keys {
            Some(keys) => metadata::answer(method, keys),
            None => empty(StatusCode::NOT_FOUND),
        },
        (_, &Method::OPTIONS) => options(endpoint.methods()),
        _ => {
            let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
            set_static(&mut response, ALLOW, endpoint.methods());
            response
        }
    }
}

/// Responds to `OPTIONS`, for CORS preflights.
///
/// Scripts of any origin may use endpoints that list `OPTIONS` as a method, because these ignore
/// cookies.
fn options(methods: &'static str) -> Response {
    let mut response = empty(StatusCode::NO_CONTENT);
    set_static(&mut response, ALLOW, methods);
    if methods.contains("OPTIONS") {
        let headers = "authorization, content-type, mcp-protocol-version, *";
        set_static(&mut response, ACCESS_CONTROL_ALLOW_METHODS, methods);
        set_static(&mut response, ACCESS_CONTROL_ALLOW_HEADERS, headers);
        set_static(&mut response, ACCESS_CONTROL_MAX_AGE, "86400");
    }
    response
}

impl<B> Service<Request<B>> for ProxyEndpoints
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = http::Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}

impl fmt::Debug for ProxyEndpoints {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ProxyEndpoints")
            .field("issuer", &self.server.urls.issuer())
            .field("mount", &self.mount)
            .finish()
    }
}
