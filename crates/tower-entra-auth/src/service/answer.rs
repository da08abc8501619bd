//! Answers of this crate's own, as the method and the body of a request want them.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, Version};
use http_body::Body as _;
use http_body_util::Full;

/// Begins an answer, but for gRPC: a browser takes its body for nothing but what its content type says.
pub(crate) fn new_answer(body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.into()));
    let no_sniff = HeaderValue::from_static("nosniff");
    answer
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, no_sniff);
    answer
}

/// Removes the body where the request is HEAD (RFC 9110 §9.3.2), and says the length that it would have.
/// Over HTTP/2 hyper sends a body where there is one, and clients take that for a fault of the protocol.
pub(crate) fn for_method(
    method: &Method,
    mut answer: Response<Full<Bytes>>,
) -> Response<Full<Bytes>> {
    if *method != Method::HEAD {
        return answer;
    }
    let length = answer.body().size_hint().exact();
    if let Some(length) = length.filter(|length| *length > 0) {
        answer.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    answer.map(|_| Full::default())
}

/// Adds `Connection: close` where the request has a body. The body is never read, so that an HTTP/1.1
/// server may close the connection; without the header the client would send its next request on it
/// (RFC 9112 §9.6).
pub(crate) fn for_body<B>(
    request: &Request<B>,
    mut answer: Response<Full<Bytes>>,
) -> Response<Full<Bytes>> {
    let headers = request.headers();
    let length = headers.get(CONTENT_LENGTH);
    let has_body =
        headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != "0");
    if has_body && request.version() <= Version::HTTP_11 {
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(CONNECTION, close);
    }
    answer
}
