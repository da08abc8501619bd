//! The path of a request: target check, Layer, forwarding.

use std::convert::Infallible;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy::connect::Connect;
use tower::{Layer as _, Service, ServiceExt as _, service_fn};
use tower_entra_auth::{Caller, EntraAuth};

use crate::answer::{Body, Form};
use crate::headers::{clean_request, remove_hop_by_hop, say_forwarded};
use crate::identity::say_who_calls;
use crate::server::Peer;
use crate::target::{Asked, asked};
use crate::upstream::Upstream;

/// Returns the proxy as a service for every connection.
pub(crate) fn service<C: Connect + Clone + Send + Sync + 'static>(
    auth: &EntraAuth,
    upstream: Upstream<C>,
) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    let protected = auth.layer().layer(service_fn(move |request| {
        let upstream = upstream.clone();
        async move { Ok::<_, Infallible>(forward(&upstream, request).await) }
    }));

    // The check runs before the Layer: a malformed request gets 400 from any sender (RFC 9112
    // §3.2), without a look at the token.
    service_fn(move |mut request: Request<Incoming>| {
        let protected = protected.clone();
        async move {
            match asked(&request) {
                Ok(asked) => request.extensions_mut().insert(asked),
                Err((status, text)) => return Ok(Form::of(&request).refusal(status, text)),
            };
            let response = protected.oneshot(request).await?;
            Ok(response.map(|body| body.map_err(Into::into).boxed()))
        }
    })
}

/// Forwards a request that passed the Layer.
///
/// Its token was valid and is already removed.
async fn forward<C>(upstream: &Upstream<C>, request: Request<Incoming>) -> Response<Body>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let form = Form::of(&request);
    let request = match for_upstream(upstream, request) {
        Ok(request) => request,
        Err((status, text)) => return form.refusal(status, text),
    };
    match upstream.send(request).await {
        Ok(mut response) => {
            remove_hop_by_hop(response.headers_mut());
            // The upstream's HTTP version says nothing about the client's connection.
            *response.version_mut() = Version::HTTP_11;
            response
        }
        Err(failure) => form.unavailable(failure.status(), failure.text()),
    }
}

/// Builds the request for the upstream, without reading its body.
fn for_upstream<C>(
    upstream: &Upstream<C>,
    request: Request<Incoming>,
) -> Result<Request<Incoming>, (StatusCode, &'static str)>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let (mut parts, body) = request.into_parts();
    let uri = upstream.uri(&parts.uri);
    parts.uri = uri.ok_or((StatusCode::URI_TOO_LONG, "the path is too long"))?;
    parts.version = upstream.version();

    clean_request(&mut parts.headers, upstream.version());
    let has_length = parts.headers.contains_key(CONTENT_LENGTH);
    if parts.version == Version::HTTP_11 && !has_length && !body.is_end_stream() {
        // Without `Transfer-Encoding`, hyper sends GET and HEAD as requests without a body.
        let chunked = HeaderValue::from_static("chunked");
        parts.headers.insert(TRANSFER_ENCODING, chunked);
    }
    let known = std::mem::take(&mut parts.extensions);
    say_forwarded(
        &mut parts.headers,
        known.get::<Peer>(),
        known.get::<Asked>(),
    );
    // The Layer has inserted the caller. If the caller were ever missing, the request fails instead
    // of being forwarded anonymously.
    let nobody = (StatusCode::INTERNAL_SERVER_ERROR, "no caller");
    say_who_calls(&mut parts.headers, known.get::<Caller>().ok_or(nobody)?);

    Ok(Request::from_parts(parts, body))
}
