//! One endpoint: what it was asked, how it responds, and how it fails.
//!
//! In the order in which a request meets them: it is [`recorded`]; the [`Fault`] that is set, if one
//! is, decides; [`response`] turns the right response into what is sent, slow or broken, or the
//! [`gzip_bomb`], where asked to.

mod gzip_bomb;
mod recorded;
mod response;

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use axum::response::IntoResponse as _;

pub(crate) use self::recorded::Parameters;
pub use self::recorded::RecordedRequest;

use self::response::finished;

/// One kind of endpoint of a [`DevTenant`](crate::DevTenant): what it was asked, and how it fails.
///
/// A method that sets a [`Fault`] replaces the one before. A fault lasts until
/// [`recover`](Self::recover), or for as many requests as [`Fault::for_next`] says.
#[derive(Clone, Default)]
pub struct Endpoint {
    state: Arc<Mutex<EndpointState>>,
}

#[derive(Default)]
struct EndpointState {
    hits: usize,
    requests: VecDeque<RecordedRequest>,
    fault: Option<ActiveFault>,
    caching: Caching,
}

/// The settings of caching: no faults, as they hold until they are set otherwise.
#[derive(Clone, Default)]
struct Caching {
    serves_etags: bool,
    /// `None`: as Entra says; an empty one: nothing.
    cache_control: Option<HeaderValue>,
}

/// A fault that was just set; without more it lasts until [`Endpoint::recover`].
#[derive(Debug)]
pub struct Fault<'a> {
    endpoint: &'a Endpoint,
}

struct ActiveFault {
    action: FaultAction,
    /// The number of requests yet to fail; `None` without end.
    remaining: Option<usize>,
}

/// An action of an endpoint in place of its work.
#[derive(Clone, Debug)]
enum FaultAction {
    /// Answers exactly this.
    Reply {
        status: StatusCode,
        headers: HeaderMap,
        body: String,
    },
    /// Never answers.
    Hang,
    /// Gives the right response with a defect.
    Spoil(Defect),
}

/// A defect of the right response.
#[derive(Clone, Debug)]
enum Defect {
    /// It comes that much later.
    Late(Duration),
    /// One byte a second.
    Trickling,
    /// The connection is closed after half of it.
    Truncated,
    /// Half of it is sent as if that were all.
    CutInTheMiddle,
    /// It is at least that many bytes long.
    Oversized(usize),
    /// It is compressed, together with very much white space.
    GzipBomb,
}

impl Endpoint {
    /// The number of requests that are kept.
    const RECORDED: usize = 1_000;

    /// Returns the number of requests that have arrived, faults included.
    #[must_use]
    pub fn hits(&self) -> usize {
        self.lock().hits
    }

    /// Returns the latest 1,000 requests, the oldest first, faults included.
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.lock().requests.iter().cloned().collect()
    }

    /// Records a request that no fault touches.
    pub(crate) fn record(&self, request: RecordedRequest) {
        self.lock().record(request);
    }

    /// Answers with this status and an empty body from now on.
    ///
    /// # Panics
    /// If no status has this number: those are 100 to 999.
    pub fn fail_with(&self, status: u16) -> Fault<'_> {
        self.answer_with(status, "text/plain", "")
    }

    /// Answers with exactly this from now on.
    ///
    /// # Panics
    /// If no status has this number, or if the content type cannot be the value of a header.
    pub fn answer_with(&self, status: u16, content_type: &str, body: &str) -> Fault<'_> {
        self.reply(status, [(header::CONTENT_TYPE, content_type)], body)
    }

    /// Answers with 200 and the HTML page of a proxy that wants something first, from now on.
    pub fn answer_html(&self) -> Fault<'_> {
        const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Sign in to the network</title>\
            </head><body><h1>Sign in to the network</h1><p>Your browser must be signed in to \
            reach this site.</p></body></html>\n";
        self.answer_with(200, "text/html; charset=utf-8", PAGE)
    }

    /// Answers with the first half of the right answer from now on, as if that were all of it:
    /// status, content type and content length are right, the JSON ends in the middle.
    pub fn answer_invalid_json(&self) -> Fault<'_> {
        self.set(FaultAction::Spoil(Defect::CutInTheMiddle))
    }

    /// Answers with 200 and an object that is an error, as some gateways do, from now on.
    pub fn answer_error_json(&self) -> Fault<'_> {
        let body = r#"{"error":"temporarily_unavailable"}"#;
        self.answer_with(200, "application/json", body)
    }

    /// Gives the right answer from now on, with a member that nobody knows added as its last, so
    /// that its body is at least `bytes` bytes long.
    pub fn answer_oversized(&self, bytes: usize) -> Fault<'_> {
        self.set(FaultAction::Spoil(Defect::Oversized(bytes)))
    }

    /// Gives the right answer with `Content-Encoding: gzip` from now on, accepted or not: less than
    /// 200 KiB as it is sent, 100 MiB of white space and then the right JSON when it is inflated.
    pub fn answer_gzip_bomb(&self) -> Fault<'_> {
        self.set(FaultAction::Spoil(Defect::GzipBomb))
    }

    /// Answers 304 without a body from now on, whether or not the request was conditional.
    pub fn answer_not_modified(&self) -> Fault<'_> {
        self.reply(304, [], "")
    }

    /// Answers with this status, such as 429 or 503, and this `Retry-After` from now on: seconds,
    /// or a date such as [`http_date_in`](crate::Time::http_date_in) writes. Both that and the
    /// `Date`, which every answer has, are of the tenant's clock.
    ///
    /// # Panics
    /// If no status has this number, or if `retry_after` cannot be the value of a header.
    pub fn throttle(&self, status: u16, retry_after: &str) -> Fault<'_> {
        self.reply(status, [(header::RETRY_AFTER, retry_after)], "")
    }

    /// Answers with a redirect (302) to this URL from now on.
    ///
    /// # Panics
    /// If it cannot be the value of a header.
    pub fn redirect_to(&self, url: &str) -> Fault<'_> {
        self.reply(302, [(header::LOCATION, url)], "")
    }

    /// Takes requests and never answers, from now on.
    pub fn hang(&self) -> Fault<'_> {
        self.set(FaultAction::Hang)
    }

    /// Gives the right answer so much later, by tokio's clock, from now on: that of the time when
    /// it was asked, whatever has changed since.
    pub fn delay(&self, by: Duration) -> Fault<'_> {
        self.set(FaultAction::Spoil(Defect::Late(by)))
    }

    /// Gives the right answer slowly from now on: its headers at once, its body one byte a second,
    /// by tokio's clock.
    pub fn trickle(&self) -> Fault<'_> {
        self.set(FaultAction::Spoil(Defect::Trickling))
    }

    /// Gives the right answer with its whole `Content-Length` from now on, and closes the
    /// connection after half the body.
    pub fn truncate(&self) -> Fault<'_> {
        self.set(FaultAction::Spoil(Defect::Truncated))
    }

    /// Ends the fault for requests yet to come; those that hang keep hanging.
    pub fn recover(&self) {
        self.lock().fault = None;
    }

    /// Gives right answers to `GET` a strong `ETag` from now on, which follows from their content,
    /// and answers a request whose `If-None-Match` names it by 304 without a body. Default:
    /// `false`, as at Entra.
    pub fn serve_etags(&self, serves: bool) {
        self.lock().caching.serves_etags = serves;
    }

    /// Sets the `Cache-Control` of right answers from now on; if it is empty, they have none.
    /// Default: `max-age=86400, private` of documents, `no-store, no-cache` of tokens.
    ///
    /// # Panics
    /// If it cannot be the value of a header.
    pub fn set_cache_control(&self, value: &str) {
        // The documented panic: a mistake of the test that sets it.
        let value = HeaderValue::from_str(value).expect("a value of Cache-Control");
        self.lock().caching.cache_control = Some(value);
    }

    /// Records the request and responds to it: by what `right` makes, unless a fault is set.
    pub(crate) async fn respond(
        &self,
        request: RecordedRequest,
        right: impl Future<Output = Response<Body>>,
    ) -> Response<Body> {
        let (method, condition) = (request.method.clone(), condition(&request));
        let defect = match self.hit(request) {
            Some(FaultAction::Reply {
                status,
                headers,
                body,
            }) => return (status, headers, Body::from(body)).into_response(),
            Some(FaultAction::Hang) => return std::future::pending().await,
            Some(FaultAction::Spoil(defect)) => Some(defect),
            None => None,
        };
        let right = right.await;
        let caching = self.lock().caching.clone();
        finished(right, &method, condition.as_deref(), &caching, defect).await
    }

    /// Records a request and returns the action in place of the work, if a fault is set.
    fn hit(&self, request: RecordedRequest) -> Option<FaultAction> {
        let mut state = self.lock();
        state.record(request);
        let active = state.fault.as_mut()?;
        let action = active.action.clone();
        match &mut active.remaining {
            Some(0) => {
                state.fault = None;
                return None;
            }
            Some(remaining) => *remaining -= 1,
            None => {}
        }
        Some(action)
    }

    /// Sets a reply as the fault, and panics for a status or a header that is none, as each of its
    /// callers documents.
    fn reply<const N: usize>(
        &self,
        status: u16,
        headers: [(HeaderName, &str); N],
        body: &str,
    ) -> Fault<'_> {
        let headers = headers.map(|(name, value)| {
            let value = HeaderValue::from_str(value);
            (name, value.expect("the value of a header"))
        });
        self.set(FaultAction::Reply {
            status: StatusCode::from_u16(status).expect("a status of 100 to 999"),
            headers: HeaderMap::from_iter(headers),
            body: body.to_owned(),
        })
    }

    fn set(&self, action: FaultAction) -> Fault<'_> {
        self.lock().fault = Some(ActiveFault {
            action,
            remaining: None,
        });
        Fault { endpoint: self }
    }

    fn lock(&self) -> MutexGuard<'_, EndpointState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fault<'_> {
    /// Limits the fault to this many requests; after them the endpoint works again.
    pub fn for_next(self, requests: usize) {
        if let Some(active) = &mut self.endpoint.lock().fault {
            active.remaining = Some(requests);
        }
    }
}

impl EndpointState {
    fn record(&mut self, request: RecordedRequest) {
        self.hits += 1;
        if self.requests.len() == Endpoint::RECORDED {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        formatter
            .debug_struct("Endpoint")
            .field("hits", &state.hits)
            .field("fault", &state.fault.as_ref().map(|active| &active.action))
            .finish_non_exhaustive()
    }
}

/// Returns `If-None-Match`, where it means anything.
fn condition(request: &RecordedRequest) -> Option<String> {
    let is_read = matches!(request.method, Method::GET | Method::HEAD);
    let condition = request.header(header::IF_NONE_MATCH.as_str());
    condition.filter(|_| is_read).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> RecordedRequest {
        RecordedRequest::of(&axum::http::Request::new(()))
    }

    #[tokio::test]
    async fn a_fault_lasts_for_the_requests_it_was_given() {
        let endpoint = Endpoint::default();
        endpoint.fail_with(503).for_next(2);
        let failures: Vec<_> = (0..3).map(|_| endpoint.hit(request()).is_some()).collect();
        assert_eq!(failures, [true, true, false]);
        assert_eq!(endpoint.hits(), 3);
    }

    #[tokio::test]
    async fn a_fault_without_a_count_lasts_until_it_recovers() {
        let endpoint = Endpoint::default();
        endpoint.hang();
        assert!((0..5).all(|_| endpoint.hit(request()).is_some()));
        endpoint.recover();
        assert!(endpoint.hit(request()).is_none());
    }

    #[tokio::test]
    async fn the_latest_thousand_requests_are_kept() {
        let endpoint = Endpoint::default();
        for number in 0..1_002 {
            let request = axum::http::Request::get(format!("/{number}")).body(());
            endpoint.hit(RecordedRequest::of(&request.unwrap()));
        }
        let paths: Vec<_> = endpoint
            .requests()
            .into_iter()
            .map(|request| request.path_and_query)
            .collect();
        assert_eq!(paths.len(), 1_000);
        assert_eq!((&*paths[0], &*paths[999]), ("/2", "/1001"));
        assert_eq!(endpoint.hits(), 1_002);
    }
}
