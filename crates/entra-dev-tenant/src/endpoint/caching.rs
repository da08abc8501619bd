//! What the right answer says about caching, and how it answers a client that has it already.

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Bytes;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};

use super::Endpoint;
use crate::text::base64url;

/// Settings, not faults: they hold until they are set otherwise.
#[derive(Clone, Default)]
pub(super) struct Caching {
    serves_etags: bool,
    /// `None`: as Entra says; an empty one: nothing.
    cache_control: Option<HeaderValue>,
}

impl Endpoint {
    /// From now on right answers to `GET` have a strong `ETag`, which follows from their content,
    /// and a request whose `If-None-Match` names it is answered by 304 without a body. Default:
    /// `false`, as at Entra.
    pub fn serves_etags(&self, serves: bool) {
        self.lock().caching.serves_etags = serves;
    }

    /// From now on right answers have this `Cache-Control`; none, if it is empty. Default:
    /// `max-age=86400, private` of documents, `no-store, no-cache` of tokens.
    ///
    /// # Panics
    /// If it cannot be the value of a header.
    pub fn cache_control(&self, value: &str) {
        // The documented panic: a mistake of the test that sets it.
        let value = HeaderValue::from_str(value).expect("a value of Cache-Control");
        self.lock().caching.cache_control = Some(value);
    }
}

impl Caching {
    pub(super) fn stamp(&self, method: &Method, answer: &mut Response<Bytes>) {
        if answer.status() != StatusCode::OK {
            return;
        }
        if let Some(value) = &self.cache_control {
            if value.is_empty() {
                answer.headers_mut().remove(header::CACHE_CONTROL);
            } else {
                let value = value.clone();
                answer.headers_mut().insert(header::CACHE_CONTROL, value);
            }
        }
        if self.serves_etags && matches!(*method, Method::GET | Method::HEAD) {
            let tag = format!("\"{}\"", base64url(digest(&SHA256, answer.body()).as_ref()));
            // Base64url and two quotes.
            let tag = HeaderValue::from_str(&tag).expect("visible characters");
            answer.headers_mut().insert(header::ETAG, tag);
        }
    }
}

/// 304 in place of an answer whose `ETag` the client has named.
pub(super) fn unless_known(answer: Response<Bytes>, condition: Option<&str>) -> Response<Bytes> {
    let tag = answer.headers().get(header::ETAG);
    let tag = tag.and_then(|tag| tag.to_str().ok());
    match (condition, tag) {
        (Some(condition), Some(tag)) if names(condition, tag) => {
            let (mut parts, _) = answer.into_parts();
            parts.status = StatusCode::NOT_MODIFIED;
            parts.headers.remove(header::CONTENT_TYPE);
            Response::from_parts(parts, Bytes::new())
        }
        _ => answer,
    }
}

/// By weak comparison (RFC 9110, section 13.1.2).
fn names(condition: &str, tag: &str) -> bool {
    condition.trim() == "*"
        || condition.split(',').any(|candidate| {
            let candidate = candidate.trim();
            candidate.strip_prefix("W/").unwrap_or(candidate) == tag
        })
}

#[cfg(test)]
mod tests {
    use super::*;

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
