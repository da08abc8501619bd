//! The service that publishes how clients get tokens for this API (RFC 9728).

mod protected_resource;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

pub use self::protected_resource::ProtectedResource;
use crate::respond::MetadataReference;
use crate::service::{
    AnswerBody, ResponseBody, ResponseFuture, for_method, inner_service_accessors, new_response,
    respond_or_call,
};

/// A Layer or service that serves the metadata document of a [`ProtectedResource`]; made by
/// [`EntraAuth::resource_metadata`](crate::EntraAuth::resource_metadata).
///
/// As a Layer around everything else, it responds on the two paths of the document: the document's
/// own path (`/.well-known/oauth-protected-resource/mcp`) and the path of the root. It passes every
/// other request on. As a service for routers, it responds on these paths, and with 404 on others.
///
/// It requires no token and reads only method and path: the document does not depend on the host
/// that a request names. Scripts of any origin may read it (CORS), and clients may cache it for 5
/// minutes.
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is a Layer around a service, or a router's service"]
pub struct ResourceMetadata {
    published: Arc<PublishedMetadata>,
}

/// The metadata document as it is served, made from the settings.
#[derive(Clone, Debug)]
struct PublishedMetadata {
    /// The document's own path, and the path of the root, where some clients look first.
    paths: [String; 2],
    document: Bytes,
    reference: MetadataReference,
}

/// An error: no [`ProtectedResource`] is set, so that there is no metadata to serve.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "no protected resource is set: add .protected_resource(ProtectedResource::at(\"https://…\")) to the \
     settings of this EntraAuth"
)]
#[non_exhaustive]
pub struct NoProtectedResource;

impl ResourceMetadata {
    /// Returns the data for challenges about this document.
    pub(crate) fn reference(&self) -> &MetadataReference {
        &self.published.reference
    }

    /// Returns the paths of the document, for a router.
    ///
    /// There are two, or one if the resource is a whole origin.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let [own, root] = &self.published.paths;
        let other = (own != root).then_some(&**root);
        std::iter::once(&**own).chain(other)
    }

    /// Returns the response, if the path is one of the document's.
    fn response_to(&self, method: &Method, path: &str) -> Option<Response<AnswerBody>> {
        let published = &self.published;
        if !published.paths.iter().any(|ours| ours == path) {
            return None;
        }
        let mut response = new_response(Bytes::new());
        set(&mut response, ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        match *method {
            Method::GET | Method::HEAD => {
                set(&mut response, CONTENT_TYPE, "application/json");
                set(&mut response, CACHE_CONTROL, "public, max-age=300");
                *response.body_mut() = AnswerBody::new(published.document.clone());
                response = for_method(method, response);
            }
            // A preflight: MCP clients in browsers send a custom header.
            Method::OPTIONS => {
                *response.status_mut() = StatusCode::NO_CONTENT;
                set(&mut response, ALLOW, METHODS);
                set(&mut response, ACCESS_CONTROL_ALLOW_METHODS, METHODS);
                set(&mut response, ACCESS_CONTROL_ALLOW_HEADERS, "*");
                set(&mut response, ACCESS_CONTROL_MAX_AGE, "86400");
            }
            _ => {
                *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
                set(&mut response, ALLOW, METHODS);
            }
        }
        Some(response)
    }
}

const METHODS: &str = "GET, HEAD, OPTIONS";

fn set(response: &mut Response<AnswerBody>, name: HeaderName, value: &'static str) {
    let value = HeaderValue::from_static(value);
    response.headers_mut().insert(name, value);
}

impl<B> Service<Request<B>> for ResourceMetadata {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let response = self.response_to(request.method(), request.uri().path());
        ready(Ok(response.unwrap_or_else(|| {
            let mut response = new_response(Bytes::new());
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        })))
    }
}

impl<S> Layer<S> for ResourceMetadata {
    type Service = ResourceMetadataService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ResourceMetadataService {
            inner,
            metadata: self.clone(),
        }
    }
}

/// Converts to a router with the paths of the document, for `merge` and
/// [`open`](crate::axum::Protected::open).
///
/// Two resources in one router would both have the path of the root. Use each as a Layer instead.
#[cfg(feature = "axum")]
impl<S> From<ResourceMetadata> for axum::Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    fn from(metadata: ResourceMetadata) -> Self {
        let [own, root] = &metadata.published.paths;
        let router = Self::new().route_service(own, metadata.clone());
        match own == root {
            true => router,
            false => router.route_service(root, metadata.clone()),
        }
    }
}

/// The service that [`ResourceMetadata`] makes as a Layer.
#[derive(Clone, Debug)]
pub struct ResourceMetadataService<S> {
    inner: S,
    metadata: ResourceMetadata,
}

impl<S> ResourceMetadataService<S> {
    inner_service_accessors!();
}

impl<S, B, R> Service<Request<B>> for ResourceMetadataService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path();
        let response = self.metadata.response_to(request.method(), path);
        respond_or_call(response, &mut self.inner, request)
    }
}
