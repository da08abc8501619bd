//! The endpoints as a tower service: for any HTTP server.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::time::Instant;
use tower_service::Service;
use tracing::Instrument as _;

use crate::endpoints::consent::opened_by_itself;
use crate::endpoints::endpoint::Endpoint;
use crate::endpoints::register;
use crate::endpoints::sign_out::signed_out_page;
use crate::http::cookies::Cookies;
use crate::http::media_type::MediaType;
use crate::http::response::{
    Answer, done, ends_connection, for_scripts, has_body_in_the_way, json, method_not_allowed,
    oauth_error, of_status, preflight, set,
};
use crate::oauth::error::{Code, OAuthError};
use crate::pages::log_error_page;
use crate::proxy::EntraOAuthProxy;
use crate::telemetry::log::throttled;
use crate::telemetry::spans;

/// Answers the endpoints of the proxy, and 404 elsewhere; made by
/// [`EntraOAuthProxy::service`](EntraOAuthProxy::service) and its neighbours.
///
/// It looks at the path, the method, cookies and the form; never at `Host`, and at `X-Forwarded-For`
/// only where a [proxy on the way](crate::EntraOAuthProxyBuilder::trusted_proxies) is trusted.
///
/// By which address a request came, it finds in its extensions: a [`SocketAddr`](std::net::SocketAddr),
/// or axum's `ConnectInfo` of one (feature `axum`). Without, no [limit](crate::Limits) by address can
/// count.
#[derive(Clone)]
pub struct ProxyService {
    proxy: EntraOAuthProxy,
    part: Part,
}

/// Which endpoints, by which paths.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    /// All, by their whole paths.
    All,
    /// The documents at the root of the host.
    WellKnown,
    /// The others, by what follows the public URL's path.
    Nested,
}

/// The longest form, in bytes.
const MOST_FORM: usize = 64 * 1024;

impl EntraOAuthProxy {
    /// All endpoints, by their whole paths: for a server without a router.
    #[must_use]
    pub fn service(&self) -> ProxyService {
        self.part(Part::All)
    }

    /// The documents under `/.well-known/`, which clients look for at the root of the host wherever
    /// the other endpoints are.
    #[must_use]
    pub fn well_known_service(&self) -> ProxyService {
        self.part(Part::WellKnown)
    }

    /// The endpoints without the documents, for a router that takes the path of the
    /// [public URL](crate::EntraOAuthProxyBuilder::public_url) off before.
    #[must_use]
    pub fn nested_service(&self) -> ProxyService {
        self.part(Part::Nested)
    }

    fn part(&self, part: Part) -> ProxyService {
        ProxyService {
            proxy: self.clone(),
            part,
        }
    }

    /// Where the documents are.
    #[cfg(feature = "axum")]
    pub(crate) fn well_known_paths(&self) -> Vec<String> {
        let inner = &self.inner;
        let mut paths: Vec<String> = inner.resource_metadata.paths().map(str::to_owned).collect();
        paths.extend(self.metadata_paths().map(|(path, _)| path));
        paths
    }

    /// RFC 8414 §3.1, and OpenID Connect's name for the same.
    fn metadata_paths(&self) -> [(String, Endpoint); 2] {
        let path = &self.inner.engine.urls.path;
        [
            ("oauth-authorization-server", Endpoint::Metadata),
            ("openid-configuration", Endpoint::OpenIdMetadata),
        ]
        .map(|(name, endpoint)| (format!("/.well-known/{name}{path}"), endpoint))
    }

    /// The other endpoints, by what follows the public URL's path.
    #[cfg(feature = "axum")]
    pub(crate) fn nested_paths() -> impl Iterator<Item = &'static str> {
        Endpoint::NESTED.iter().map(|(path, _)| *path)
    }

    fn endpoint(&self, part: Part, path: &str) -> Option<Endpoint> {
        let nested = |path: &str| {
            let mut endpoints = Endpoint::NESTED.iter();
            endpoints
                .find(|(of, _)| *of == path)
                .map(|(_, endpoint)| *endpoint)
        };
        let well_known = || {
            let mut documents = self.metadata_paths().into_iter();
            if let Some((_, document)) = documents.find(|(of, _)| of == path) {
                return Some(document);
            }
            let mut paths = self.inner.resource_metadata.paths();
            paths
                .any(|of| of == path)
                .then_some(Endpoint::ResourceMetadata)
        };
        match part {
            Part::WellKnown => well_known(),
            Part::Nested => nested(path),
            Part::All => {
                well_known().or_else(|| nested(path.strip_prefix(&*self.inner.engine.urls.path)?))
            }
        }
    }

    async fn answer<B>(self, part: Part, request: Request<B>) -> Answer
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let is_in_the_way = has_body_in_the_way(&head);
        let was_read = AtomicBool::new(false);
        let mut answer = match self.endpoint(part, head.uri.path()) {
            Some(endpoint) => self.observed(endpoint, head, (body, &was_read)).await,
            None => of_status(StatusCode::NOT_FOUND),
        };
        if is_in_the_way && !was_read.into_inner() {
            ends_connection(&mut answer);
        }
        answer
    }

    async fn observed<B>(&self, endpoint: Endpoint, head: Parts, body: Unread<'_, B>) -> Answer
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let answer = match endpoint.is_document() {
            true => self.answer_at(endpoint, head, body).await,
            false => {
                let span = spans::span(endpoint.name());
                let began = Instant::now();
                let answer = self
                    .answer_at(endpoint, head, body)
                    .instrument(span.clone())
                    .await;
                span.in_scope(|| log_error_page(&self.inner.engine.log, &answer));
                spans::answered(&span, endpoint.name(), &answer, began.elapsed());
                answer
            }
        };
        match endpoint.is_for_scripts() {
            true => for_scripts(answer),
            false => answer,
        }
    }

    async fn answer_at<B>(&self, endpoint: Endpoint, head: Parts, body: Unread<'_, B>) -> Answer
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let inner = &self.inner;
        let methods = endpoint.methods();
        let refusal = |group| inner.gate.refusal(group, &head);
        if let Some(refused) = endpoint.group().and_then(refusal) {
            return refused;
        }
        let query = head.uri.query().unwrap_or_default();
        let cookies = || Cookies::of(&inner.engine.urls, &head.headers);
        match (endpoint, &head.method) {
            (Endpoint::ResourceMetadata, _) => {
                let request = Request::from_parts(head, ());
                let mut service = inner.resource_metadata.clone();
                match Service::call(&mut service, request).await {
                    Ok(answer) => answer,
                    Err(never) => match never {},
                }
            }
            (Endpoint::Authorize, &Method::GET) => inner.authorize(query, &cookies()),
            (Endpoint::Callback, &Method::GET) => inner.callback(query, cookies()).await,
            (Endpoint::SignOut, &Method::GET) => inner.engine.sign_out(&cookies()),
            (Endpoint::SignedOut, &Method::GET) => signed_out_page(),
            (Endpoint::Consent, &Method::GET) => opened_by_itself(),
            (Endpoint::Consent, &Method::POST) => match form(&head.headers, body).await {
                Ok(form) => inner.consent(&head.headers, &form).await,
                Err(error) => oauth_error(&error),
            },
            (Endpoint::Token, &Method::POST) => match form(&head.headers, body).await {
                Ok(form) => match inner.token(&head.headers, &form).await {
                    Ok(tokens) => json(StatusCode::OK, &tokens),
                    Err(error) => self.refused("a token request was refused", &error),
                },
                Err(error) => oauth_error(&error),
            },
            (Endpoint::Revoke, &Method::POST) => match form(&head.headers, body).await {
                Ok(form) => match inner.revoke(&head.headers, &form).await {
                    Ok(()) => done(),
                    Err(error) => self.refused("a revocation was refused", &error),
                },
                Err(error) => oauth_error(&error),
            },
            (Endpoint::Register, &Method::POST) => self.register(&head.headers, body).await,
            (Endpoint::Metadata, &Method::GET | &Method::HEAD) => {
                public_document(&head.method, &inner.documents.metadata)
            }
            (Endpoint::OpenIdMetadata, &Method::GET | &Method::HEAD) => {
                public_document(&head.method, &inner.documents.openid)
            }
            (Endpoint::Keys, &Method::GET | &Method::HEAD) => match &inner.documents.keys {
                Some(keys) => public_document(&head.method, keys),
                None => of_status(StatusCode::NOT_FOUND),
            },
            (_, &Method::OPTIONS) if methods.contains("OPTIONS") => preflight(methods),
            (_, &Method::OPTIONS) => {
                let mut answer = of_status(StatusCode::NO_CONTENT);
                set(&mut answer, ALLOW, methods);
                answer
            }
            _ => method_not_allowed(methods),
        }
    }

    async fn register<B>(&self, headers: &HeaderMap, body: Unread<'_, B>) -> Answer
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        const REFUSED: &str = "a registration was refused";

        let inner = &self.inner;
        if !inner.engine.clients.registration {
            return of_status(StatusCode::NOT_FOUND);
        }
        // RFC 7591 §3.1. A text of another site's could pass for JSON, and browsers send it unasked.
        if !MediaType::of(headers).may_be_json() {
            let error = OAuthError::new(
                Code::UnsupportedMediaType,
                "the body must be application/json",
            );
            return self.refused(REFUSED, &error);
        }
        let registered = match read(body, register::MOST_BYTES).await {
            Some(body) => inner.engine.register(&body, inner.now()),
            None => Err(OAuthError::new(
                Code::InvalidClientMetadata,
                "the metadata is longer than 8 KiB, or was not sent to its end",
            )),
        };
        match registered {
            Ok(registered) => {
                let what = "a client registered itself";
                throttled!(info, inner.engine.log, (what, ""), "{what}");
                json(StatusCode::CREATED, &registered)
            }
            Err(error) => self.refused(REFUSED, &error),
        }
    }

    fn refused(&self, what: &'static str, error: &OAuthError) -> Answer {
        // Those that are not always the same have a reference in them.
        let why = match error.description {
            Cow::Borrowed(description) => description,
            Cow::Owned(_) => error.code.as_str(),
        };
        throttled!(
            info,
            self.inner.engine.log,
            (what, why),
            error = error.code.as_str(),
            description = &*error.description,
            "{what}"
        );
        oauth_error(error)
    }
}

/// JSON that everybody may keep for a while.
fn public_document(method: &Method, document: &Bytes) -> Answer {
    let mut answer = of_status(StatusCode::OK);
    set(&mut answer, CONTENT_TYPE, "application/json");
    set(&mut answer, CACHE_CONTROL, "public, max-age=300");
    if method == Method::GET {
        *answer.body_mut() = Full::new(document.clone());
    }
    answer
}

/// A body, and whether it was read to its end.
type Unread<'r, B> = (B, &'r AtomicBool);

async fn read<B>((body, was_read): Unread<'_, B>, most: usize) -> Option<Bytes>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let body = Box::pin(Limited::new(body, most).collect()).await.ok()?;
    was_read.store(true, Ordering::Relaxed);
    Some(body.to_bytes())
}

/// The body of a form, or why there is none.
async fn form<B>(headers: &HeaderMap, body: Unread<'_, B>) -> Result<String, OAuthError>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let invalid = |text: &'static str| OAuthError::new(Code::InvalidRequest, text);
    if !MediaType::of(headers).is("application/x-www-form-urlencoded") {
        return Err(invalid(
            "the body must be application/x-www-form-urlencoded",
        ));
    }
    let body = read(body, MOST_FORM).await;
    let text = body.and_then(|body| String::from_utf8(body.into()).ok());
    text.ok_or_else(|| {
        invalid("the form is longer than 64 KiB, no text, or was not sent to its end")
    })
}

impl<B> Service<Request<B>> for ProxyService
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (proxy, part) = (self.proxy.clone(), self.part);
        Box::pin(async move { Ok(proxy.answer(part, request).await) })
    }
}

impl fmt::Debug for ProxyService {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ProxyService")
            .field("proxy", &self.proxy)
            .field("part", &self.part)
            .finish()
    }
}
