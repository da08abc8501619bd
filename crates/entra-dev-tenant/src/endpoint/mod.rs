//! An endpoint: its recorded requests, its responses and its faults.
//!
//! A request passes these parts in order. It is [`recorded`]. If a [`Fault`] is set, the fault
//! decides what happens. [`response`] turns the normal response into the one that is sent, which
//! may be slow, broken, or the [`gzip_bomb`].

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

/// An endpoint of a [`DevTenant`](crate::DevTenant), with its recorded requests and its faults.
///
/// A method that sets a [`Fault`] replaces the previous fault. A fault lasts until
/// [`recover`](Self::recover), or for the number of requests that [`Fault::for_next`] sets.
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

/// Settings of caching. They are not faults, because they hold until they are set otherwise.
#[derive(Clone, Default)]
struct Caching {
    serves_etags: bool,
    /// `None` means Entra's value, and an empty value means no header.
    cache_control: Option<HeaderValue>,
}

/// A fault that was just set, returned so that [`for_next`](Self::for_next) can limit it.
///
/// It lasts until [`Endpoint::recover`], unless [`for_next`](Self::for_next) limits it.
#[derive(Debug)]
pub struct Fault<'a> {
    endpoint: &'a Endpoint,
}

struct ActiveFault {
    action: FaultAction,
    /// Number of requests that still get the fault. `None` means no limit.
    remaining: Option<usize>,
}

/// The action of a fault.
#[derive(Clone, Debug)]
enum FaultAction {
    /// Responds with exactly this.
    Reply {
        status: StatusCode,
        headers: HeaderMap,
        body: String,
    },
    /// Never responds.
    Hang,
    /// Sends the normal response with a defect.
    Spoil(Defect),
}

/// A defect of the normal response.
#[derive(Clone, Debug)]
enum Defect {
    /// The response is late by this duration.
    Late(Duration),
    /// The body comes at one byte a second.
    Trickling,
    /// The connection closes after half of the body.
    Truncated,
    /// Half of the body is sent as if it were the whole.
    CutInTheMiddle,
    /// The body has at least this number of bytes.
    Oversized(usize),
    /// The body is compressed, together with 100 MiB of white space.
    GzipBomb,
}

impl Endpoint {
    /// Number of latest requests that are kept.
    const RECORDED: usize = 1_000;

    /// Returns the number of requests that have arrived, including those that got a fault.
    #[must_use]
    pub fn hits(&self) -> usize {
        self.lock().hits
    }

    /// Returns the latest 1,000 requests, the oldest first, including those that got a fault.
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.lock().requests.iter().cloned().collect()
    }

    /// Records a request without applying the fault that is set.
    pub(crate) fn record(&self, request: RecordedRequest) {
        self.lock().record(request);
    }

    /// Responds with this status and an empty body from now on.
    ///
    /// # Panics
    /// If the status is not in the range 100 to 999.
    pub fn fail_with(&self, status: u16) -> Fault<'_> {
        self.answer_with(status, "text/plain", "")
    }

    /// Responds with exactly this status, content type and body from now on.
    ///
    /// # Panics
    /// If the status is not in the range 100 to 999, or if the content type is not a valid header
    /// value.
    pub fn answer_with(&self, status: u16, content_type: &str, body: &str) -> Fault<'_> {
        self.reply(status, [(header::CONTENT_TYPE, content_type)], body)
    }

    /// Responds with 200 and the HTML page of a proxy that requires a sign-in, from now on.
    pub fn answer_html(&self) -> Fault<'_> {
        const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Sign in to the network</title>\
            </head><body><h1>Sign in to the network</h1><p>Your browser must be signed in to \
            reach this site.</p></body></html>\n";
        self.answer_with(200, "text/html; charset=utf-8", PAGE)
    }

    /// Responds with the first half of the normal body from now on, as if it were the whole.
    ///
    /// Status, content type and content length are correct for this half, but the JSON ends in the
    /// middle.
    pub fn answer_invalid_json(&self) -> Fault<'_> {
        self.set(FaultAction::Spoil(Defect::CutInTheMiddle))
    }

    /// Responds with 200 and a JSON object that is an error from now on, as some gateways do.
    pub fn answer_error_json(&self) -> Fault<'_> {
        let body = r#"{"error":"temporarily_unavailable"}"#;
        self.answer_with(200, "application/json", body)
    }

    /// Sends the normal response with an additional member from now on, so that its body has at
    /// least `bytes` bytes.
    ///
    /// The member is the last one, and no client knows it.
    pub fn answer_oversized(&self, bytes: usize) -> Fault<'_> {
        self.set(FaultAction::Spoil(Defect::Oversized(bytes)))
    }

    /// Sends the normal response with `Content-Encoding: gzip` from now on, inflating to 100 MiB of
    /// white space and then the normal JSON.
    ///
    /// The compressed body has less than 200 KiB. It is sent even if the client does not accept
    /// gzip.
    pub fn answer_gzip_bomb(&self) -> Fault<'_> {
        self.set(FaultAction::Spoil(Defect::GzipBomb))
    }

    /// Responds with 304 and no body from now on, even if the request is not conditional.
    pub fn answer_not_modified(&self) -> Fault<'_> {
        self.reply(304, [], "")
    }

    /// Responds with this status, such as 429 or 503, and this `Retry-After` from now on.
    ///
    /// `retry_after` is a number of seconds, or a date such as
    /// [`http_date_in`](crate::Time::http_date_in) returns. This date follows the tenant's clock,
    /// as does the `Date` header of every response.
    ///
    /// # Panics
    /// If the status is not in the range 100 to 999, or if `retry_after` is not a valid header
    /// value.
    pub fn throttle(&self, status: u16, retry_after: &str) -> Fault<'_> {
        self.reply(status, [(header::RETRY_AFTER, retry_after)], "")
    }

    /// Responds with a redirect (302) to this URL from now on.
    ///
    /// # Panics
    /// If the URL is not a valid header value.
    pub fn redirect_to(&self, url: &str) -> Fault<'_> {
        self.reply(302, [(header::LOCATION, url)], "")
    }

    /// Accepts requests and never responds to them, from now on.
    pub fn hang(&self) -> Fault<'_> {
        self.set(FaultAction::Hang)
    }

    /// Sends the normal response later by this duration, by tokio's clock, from now on.
    ///
    /// The response is that of the time when the request arrived, even if the tenant has changed
    /// since then.
    pub fn delay(&self, by: Duration) -> Fault<'_> {
        self.set(FaultAction::Spoil(Defect::Late(by)))
    }

    /// Sends the normal response slowly from now on: its headers immediately, and its body at one
    /// byte a second, by tokio's clock.
    pub fn trickle(&self) -> Fault<'_> {
        self.set(FaultAction::Spoil(Defect::Trickling))
    }

    /// Sends the normal response with its whole `Content-Length` from now on, and closes the
    /// connection after half of the body.
    pub fn truncate(&self) -> Fault<'_> {
        self.set(FaultAction::Spoil(Defect::Truncated))
    }

    /// Ends the fault for new requests.
    ///
    /// Requests that already hang keep hanging.
    pub fn recover(&self) {
        self.lock().fault = None;
    }

    /// Sets whether normal responses to `GET` and `HEAD` have a strong `ETag` from now on.
    ///
    /// The tag is derived from the content. A request whose `If-None-Match` names the tag gets 304
    /// without a body. Default: `false`, as at Entra.
    pub fn serve_etags(&self, serves: bool) {
        self.lock().caching.serves_etags = serves;
    }

    /// Sets the `Cache-Control` of normal responses from now on.
    ///
    /// If the value is empty, normal responses have no such header. Default:
    /// `max-age=86400, private` for documents, `no-store, no-cache` for tokens.
    ///
    /// # Panics
    /// If the value is not a valid header value.
    pub fn set_cache_control(&self, value: &str) {
        // This is the documented panic, for a mistake in the test.
        let value = HeaderValue::from_str(value).expect("a valid value of Cache-Control");
        self.lock().caching.cache_control = Some(value);
    }

    /// Records the request and returns the response, which `right` makes unless a fault replaces
    /// it.
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

    /// Records a request, and returns the action of the fault if one is set.
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

    /// Sets a reply as the fault. Panics if the status or a header is not valid, as each caller
    /// documents.
    fn reply<const N: usize>(
        &self,
        status: u16,
        headers: [(HeaderName, &str); N],
        body: &str,
    ) -> Fault<'_> {
        let headers = headers.map(|(name, value)| {
            let value = HeaderValue::from_str(value);
            (name, value.expect("a valid header value"))
        });
        self.set(FaultAction::Reply {
            status: StatusCode::from_u16(status).expect("a status code from 100 to 999"),
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
    /// Limits the fault to this number of requests, after which the endpoint works again.
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

/// Returns `If-None-Match` of a `GET` or `HEAD`. It has no meaning for other methods.
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
