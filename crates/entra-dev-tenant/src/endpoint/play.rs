//! From the right answer and the fault that is set to what is sent.

use std::future::Future;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderValue, Method, Response, header};
use axum::response::IntoResponse as _;

use super::body::{Trickle, Truncated};
use super::caching::unless_known;
use super::fault::{Answer, Manner};
use super::{Endpoint, RecordedRequest, gzip_bomb};

impl Endpoint {
    /// Records the request and answers it: by what `right` makes, unless a fault is set.
    pub(crate) async fn answer(
        &self,
        request: RecordedRequest,
        right: impl Future<Output = Response<Body>>,
    ) -> Response<Body> {
        let (method, condition) = (request.method.clone(), request.condition());
        let manner = match self.hit(request) {
            Some(Answer::Reply {
                status,
                headers,
                body,
            }) => return (status, headers, Body::from(body)).into_response(),
            Some(Answer::Hang) => return std::future::pending().await,
            Some(Answer::Right(manner)) => Some(manner),
            None => None,
        };
        let whole = self.whole(&method, right.await).await;
        let unless_known = |whole| unless_known(whole, condition.as_deref());
        match manner {
            None => unless_known(whole).map(Body::from),
            Some(Manner::Late(delay)) => {
                tokio::time::sleep(delay).await;
                unless_known(whole).map(Body::from)
            }
            Some(Manner::Trickling) => {
                unless_known(whole).map(|body| Body::new(Trickle::new(body)))
            }
            Some(Manner::Truncated) => whole.map(|body| Body::new(Truncated::new(&body))),
            Some(Manner::CutInTheMiddle) => whole.map(|body| body.slice(..body.len() / 2).into()),
            Some(Manner::Oversized(bytes)) => whole.map(|body| padded(&body, bytes).into()),
            Some(Manner::GzipBomb) => {
                let mut answer = whole.map(|body| Body::from(gzip_bomb::around(&body)));
                let gzip = HeaderValue::from_static("gzip");
                answer.headers_mut().insert(header::CONTENT_ENCODING, gzip);
                answer
            }
        }
    }

    async fn whole(&self, method: &Method, answer: Response<Body>) -> Response<Bytes> {
        let (parts, body) = answer.into_parts();
        let body = to_bytes(body, usize::MAX).await;
        // The tenant's own answers are made whole, and never fail half-way.
        let mut answer = Response::from_parts(parts, body.expect("a body in memory"));
        let caching = self.lock().caching.clone();
        caching.stamp(method, &mut answer);
        answer
    }
}

/// With a member added to the object that the body is; every right answer is one.
fn padded(body: &[u8], bytes: usize) -> Vec<u8> {
    let (start, end) = (br#","xms_padding":""#, br#""}"#);
    let mut padded = body.strip_suffix(b"}").unwrap_or(body).to_vec();
    padded.extend(start);
    let length = bytes.saturating_sub(end.len()).max(padded.len());
    padded.resize(length, b'x');
    padded.extend(end);
    padded
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
}
