//! The response that is sent, made from the normal response and the fault.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Interval, interval_at};

use super::{Caching, Defect, gzip_bomb};
use crate::text::base64url;

/// Turns the normal response into the one that is sent: a 304 if the client already has the
/// content, or the response with a defect.
pub(super) async fn finished(
    right: Response<Body>,
    method: &Method,
    condition: Option<&str>,
    caching: &Caching,
    defect: Option<Defect>,
) -> Response<Body> {
    let (parts, body) = right.into_parts();
    let body = to_bytes(body, usize::MAX).await;
    // The tenant's own responses are complete in memory, and never fail halfway.
    let mut whole = Response::from_parts(parts, body.expect("a body in memory"));
    stamp(caching, method, &mut whole);
    match defect {
        None => unless_known(whole, condition).map(Body::from),
        Some(Defect::Late(delay)) => {
            tokio::time::sleep(delay).await;
            unless_known(whole, condition).map(Body::from)
        }
        Some(Defect::Trickling) => {
            unless_known(whole, condition).map(|body| Body::new(Trickle::new(body)))
        }
        Some(Defect::Truncated) => whole.map(|body| Body::new(Truncated::new(&body))),
        Some(Defect::CutInTheMiddle) => whole.map(|body| body.slice(..body.len() / 2).into()),
        Some(Defect::Oversized(bytes)) => whole.map(|body| padded(&body, bytes).into()),
        Some(Defect::GzipBomb) => {
            let mut response = whole.map(|body| Body::from(gzip_bomb::around(&body)));
            let gzip = HeaderValue::from_static("gzip");
            response
                .headers_mut()
                .insert(header::CONTENT_ENCODING, gzip);
            response
        }
    }
}

/// Sets the headers for caching.
fn stamp(caching: &Caching, method: &Method, response: &mut Response<Bytes>) {
    if response.status() != StatusCode::OK {
        return;
    }
    if let Some(value) = &caching.cache_control {
        if value.is_empty() {
            response.headers_mut().remove(header::CACHE_CONTROL);
        } else {
            let value = value.clone();
            response.headers_mut().insert(header::CACHE_CONTROL, value);
        }
    }
    if caching.serves_etags && matches!(*method, Method::GET | Method::HEAD) {
        let tag = format!(
            "\"{}\"",
            base64url(digest(&SHA256, response.body()).as_ref())
        );
        // The tag has only base64url characters and two quotes.
        let tag = HeaderValue::from_str(&tag).expect("visible characters");
        response.headers_mut().insert(header::ETAG, tag);
    }
}

/// Returns 304 in place of a response if `If-None-Match` names its `ETag`.
fn unless_known(response: Response<Bytes>, condition: Option<&str>) -> Response<Bytes> {
    let tag = response.headers().get(header::ETAG);
    let tag = tag.and_then(|tag| tag.to_str().ok());
    match (condition, tag) {
        (Some(condition), Some(tag)) if names(condition, tag) => {
            let (mut parts, _) = response.into_parts();
            parts.status = StatusCode::NOT_MODIFIED;
            parts.headers.remove(header::CONTENT_TYPE);
            Response::from_parts(parts, Bytes::new())
        }
        _ => response,
    }
}

/// Returns whether an `If-None-Match` names the tag, by weak comparison (RFC 9110, section 13.1.2).
fn names(condition: &str, tag: &str) -> bool {
    condition.trim() == "*"
        || condition.split(',').any(|candidate| {
            let candidate = candidate.trim();
            candidate.strip_prefix("W/").unwrap_or(candidate) == tag
        })
}

/// Adds a member to the JSON object in `body`, so that the result has at least `bytes` bytes. An
/// HTML page, which is no object, gets the same text at its end.
fn padded(body: &[u8], bytes: usize) -> Vec<u8> {
    let (start, end) = (br#","xms_padding":""#, br#""}"#);
    let mut padded = body.strip_suffix(b"}").unwrap_or(body).to_vec();
    padded.extend(start);
    let length = bytes.saturating_sub(end.len()).max(padded.len());
    padded.resize(length, b'x');
    padded.extend(end);
    padded
}

/// A body that yields one byte a second, the first one after a second.
struct Trickle {
    rest: Bytes,
    ticks: Interval,
}

impl Trickle {
    fn new(whole: Bytes) -> Self {
        let second = Duration::from_secs(1);
        Self {
            rest: whole,
            ticks: interval_at(Instant::now() + second, second),
        }
    }
}

impl hyper::body::Body for Trickle {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        ready!(self.ticks.poll_tick(context));
        let byte = self.rest.split_to(1);
        Poll::Ready(Some(Ok(Frame::data(byte))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// A body that yields half of its announced length and then an error, which makes hyper close the
/// connection.
struct Truncated {
    promised: u64,
    state: TruncatedState,
}

enum TruncatedState {
    Half(Bytes),
    /// A pause before the error, in which hyper sends the half. Otherwise the half would stay in
    /// hyper's buffer.
    Flushing,
    Broken,
}

impl Truncated {
    fn new(whole: &Bytes) -> Self {
        Self {
            promised: whole.len() as u64,
            state: TruncatedState::Half(whole.slice(..whole.len() / 2)),
        }
    }
}

impl hyper::body::Body for Truncated {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match std::mem::replace(&mut self.state, TruncatedState::Broken) {
            TruncatedState::Half(half) => {
                self.state = TruncatedState::Flushing;
                Poll::Ready(Some(Ok(Frame::data(half))))
            }
            TruncatedState::Flushing => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            TruncatedState::Broken => {
                Poll::Ready(Some(Err(io::Error::other("truncated on purpose"))))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.promised)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn padding_makes_an_object_at_least_as_long_as_asked_and_changes_nothing_else() {
        let object = br#"{"a":1}"#;
        for bytes in [0, 7, 24, 25, 26, 1_000] {
            let padded = padded(object, bytes);
            assert!(padded.len() >= bytes, "{bytes}");
            assert!(padded.len() <= bytes.max(25), "{bytes}: {}", padded.len());
            let mut value: Value = serde_json::from_slice(&padded).unwrap();
            assert!(
                value
                    .as_object_mut()
                    .unwrap()
                    .remove("xms_padding")
                    .is_some()
            );
            assert_eq!(value.to_string().as_bytes(), object);
        }
    }

    #[test]
    fn a_tag_is_named_alone_in_a_list_weakly_or_by_a_star() {
        for (condition, expected) in [
            (r#""a""#, true),
            (r#"W/"a""#, true),
            (r#""b", "a""#, true),
            ("*", true),
            (r#""b""#, false),
            ("a", false),
            ("", false),
        ] {
            assert_eq!(names(condition, r#""a""#), expected, "{condition}");
        }
    }
}
