//! Requests through a service, polled to completion on the calling thread.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use tokio::runtime::Handle;
use tower::{Layer as _, Service};
use tower_entra_auth::{EntraAuth, layer::EntraService};

use crate::{Material, bearer};

/// The inner service, which responds immediately with an empty body.
#[derive(Clone, Copy, Debug)]
pub struct Inner;

impl Service<Request<Empty<Bytes>>> for Inner {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        black_box(request);
        ready(Ok(Response::new(Full::default())))
    }
}

/// The inner service, alone or behind the Layer.
#[derive(Clone)]
pub struct Protected<S> {
    service: S,
    auth: Option<EntraAuth>,
}

/// Returns the inner service without the Layer.
#[must_use]
pub fn empty() -> Protected<Inner> {
    Protected {
        service: Inner,
        auth: None,
    }
}

impl Protected<EntraService<Inner>> {
    /// Puts the inner service behind the Layer.
    #[must_use]
    pub fn new(auth: EntraAuth) -> Self {
        Self {
            service: auth.layer().layer(Inner),
            auth: Some(auth),
        }
    }

    /// Sends each token once, so that the Layer caches it.
    ///
    /// # Panics
    /// If fewer than nine tenths of the tokens are cached.
    pub fn remember<'t>(&mut self, tokens: impl ExactSizeIterator<Item = &'t String>) {
        let count = tokens.len() as u64;
        for token in tokens {
            self.get(&bearer(token));
        }
        let held = || {
            let status = self.auth.as_ref().map(EntraAuth::status);
            let cache = status.and_then(|status| status.token_cache);
            cache.map_or(0, |cache| cache.tokens)
        };
        assert!(held() >= count * 9 / 10, "{} of {count}", held());
    }

    /// Sends tokens of an unknown key until the Layer starts no more fetches for them.
    ///
    /// # Panics
    /// If one is accepted, or if the Layer starts a fetch for the last one.
    pub fn empty_the_bucket(&mut self, material: &Material, unknown: &HeaderValue) {
        material.tokio.block_on(async {
            let mut last = None;
            for _ in 0..4 {
                let answer = self.service.call(request(Some(unknown))).await;
                last = Some(of_unknown_key(status(answer)));
            }
            assert_eq!(last, Some(StatusCode::SERVICE_UNAVAILABLE));
        });
    }
}

/// A service that never fails.
pub trait Serves:
    Service<Request<Empty<Bytes>>, Response = Response<Self::Body>, Error = Infallible>
{
    /// Body type of the responses.
    type Body;
}

impl<S, B> Serves for S
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Infallible>,
{
    type Body = B;
}

impl<S: Serves> Protected<S> {
    /// Sends a request that must be accepted.
    ///
    /// # Panics
    /// If the request is refused.
    pub fn get(&mut self, bearer: &HeaderValue) {
        assert_eq!(self.ask(Some(bearer)), StatusCode::OK);
    }

    /// Sends a request whose token is invalid.
    ///
    /// # Panics
    /// If the response is not 401.
    pub fn refuse(&mut self, bearer: &HeaderValue) {
        assert_eq!(self.ask(Some(bearer)), StatusCode::UNAUTHORIZED);
    }

    /// Sends a request whose token has an unknown key.
    ///
    /// # Panics
    /// If the response is neither 401 nor 503.
    pub fn refuse_unknown_key(&mut self, bearer: &HeaderValue) {
        of_unknown_key(self.ask(Some(bearer)));
    }

    /// Sends a request without a token.
    ///
    /// # Panics
    /// If the response is not 401.
    pub fn refuse_without_token(&mut self) {
        assert_eq!(self.ask(None), StatusCode::UNAUTHORIZED);
    }

    fn ask(&mut self, bearer: Option<&HeaderValue>) -> StatusCode {
        let answer = pin!(self.service.call(request(bearer)));
        let mut answer = answer;
        match answer
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(answer) => status(answer),
            // The bucket has refilled and a fetch starts: this happens once in 30 s, too seldom to
            // affect a median.
            Poll::Pending => status(Handle::current().block_on(answer)),
        }
    }
}

fn request(bearer: Option<&HeaderValue>) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    if let Some(bearer) = bearer {
        request.headers_mut().insert(AUTHORIZATION, bearer.clone());
    }
    request
}

/// Checks the status of a request whose token has an unknown key, and returns the status.
///
/// The status is 401 if a fetch did not bring the key, and otherwise 503 until the next fetch.
fn of_unknown_key(status: StatusCode) -> StatusCode {
    let expected = [StatusCode::UNAUTHORIZED, StatusCode::SERVICE_UNAVAILABLE];
    assert!(expected.contains(&status), "{status}");
    status
}

fn status<B>(answer: Result<Response<B>, Infallible>) -> StatusCode {
    match answer {
        Ok(response) => black_box(response).status(),
        Err(never) => match never {},
    }
}

impl<S> fmt::Debug for Protected<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Protected").finish_non_exhaustive()
    }
}
