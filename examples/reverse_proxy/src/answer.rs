//! Responses that the proxy creates itself.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use tower_entra_auth::keys::BoxError;

/// A body from the upstream, from the Layer or from this proxy.
pub(crate) type Body = BoxBody<Bytes, BoxError>;

/// The form of response that a request needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    Text,
    /// For `HEAD`: over HTTP/2 hyper would send a body, which the client treats as an error.
    NoBody,
    Grpc,
}

impl Form {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        match *request.method() {
            Method::HEAD => Self::NoBody,
            Method::POST if is_grpc(request.headers()) => Self::Grpc,
            _ => Self::Text,
        }
    }

    /// Returns the response for a request that got none from the upstream.
    pub(crate) fn unavailable(self, status: StatusCode, text: &'static str) -> Response<Body> {
        if self != Self::Grpc {
            return self.refusal(status, text);
        }
        // gRPC expects status 200 and, in a response without a body, its own status in the headers
        // ("Trailers-Only").
        let mut response = Response::new(text_body(""));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static("14"));
        headers.insert("grpc-message", HeaderValue::from_static(text));
        response
    }

    /// Returns the response to a malformed request.
    pub(crate) fn refusal(self, status: StatusCode, text: &str) -> Response<Body> {
        let body = match self {
            Self::NoBody => text_body(""),
            Self::Text | Self::Grpc => text_body([text, "\n"].concat()),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(CONTENT_TYPE, plain);
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            headers.insert(ALLOW, allowed);
        }
        response
    }
}

/// Returns whether the request is gRPC, by the same rule as the Layer.
fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    let value = value.as_bytes().split(|byte| *byte == b';').next();
    let media_type = value.unwrap_or_default().trim_ascii().to_ascii_lowercase();
    media_type == b"application/grpc" || media_type.starts_with(b"application/grpc+")
}

pub(crate) fn text_body(text: impl Into<Bytes>) -> Body {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed()
}
