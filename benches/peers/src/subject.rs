//! The subjects of the measurement, each a row of the table.

use std::convert::Infallible;
use std::future::poll_fn;
use std::hint::black_box;
use std::time::{Duration, Instant};

use axum_core::body::Body;
use http::{Request, Response, StatusCode};
use tokio::runtime::Runtime;
use tower_service::Service;

use crate::material::{Case, Material, TOKENS};

/// Number of requests that are created and then measured together.
///
/// The number is small enough for the requests to stay in the CPU cache, as they would just after
/// they were read from a socket.
pub(crate) const AT_A_TIME: usize = 100;

const _: () = assert!(TOKENS.is_multiple_of(AT_A_TIME));

/// A row of the table.
pub(crate) trait Subject {
    fn name(&self) -> &'static str;

    /// Sends one request per token and returns the shortest time of [`AT_A_TIME`] requests.
    ///
    /// The shortest time is the one that other programs disturbed least. `None` if this case cannot
    /// be measured.
    fn fastest(
        &mut self,
        runtime: &Runtime,
        material: &Material,
        case: Case,
    ) -> Result<Option<Duration>, String>;
}

/// A row with a Layer, which must prove that it refuses bad tokens.
pub(crate) trait Protected: Subject {
    /// Returns the status of the response to one request.
    fn answer(&mut self, runtime: &Runtime, request: Request<Body>) -> StatusCode;
}

/// A service, with or without a Layer.
pub(crate) struct Layered<S> {
    name: &'static str,
    is_protected: bool,
    service: S,
}

impl<S> Layered<S> {
    /// Wraps a service that has the Layer of the crate `name`.
    pub(crate) fn new(name: &'static str, service: S) -> Self {
        Self {
            name,
            is_protected: true,
            service,
        }
    }

    /// Wraps a service without a Layer.
    pub(crate) fn bare(name: &'static str, service: S) -> Self {
        Self {
            name,
            is_protected: false,
            service,
        }
    }
}

impl<S, R> Subject for Layered<S>
where
    S: Service<Request<Body>, Response = Response<R>, Error = Infallible>,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn fastest(
        &mut self,
        runtime: &Runtime,
        material: &Material,
        case: Case,
    ) -> Result<Option<Duration>, String> {
        let mut fastest = Duration::MAX;
        let mut accepted = 0;
        for first in (0..TOKENS).step_by(AT_A_TIME) {
            let requests: Vec<_> = (first..first + AT_A_TIME)
                .map(|number| material.request(case, number))
                .collect();
            let taken = runtime.block_on(async {
                let started = Instant::now();
                for request in requests {
                    let response = black_box(call(&mut self.service, request).await);
                    accepted += usize::from(response.status() == StatusCode::OK);
                }
                started.elapsed()
            });
            fastest = fastest.min(taken);
        }
        let is_let_through = case.is_valid() || !self.is_protected;
        let expected = if is_let_through { TOKENS } else { 0 };
        if accepted == expected {
            Ok(Some(fastest))
        } else {
            Err(format!(
                "{}: {accepted} of {TOKENS} requests of {case:?} had the status 200",
                self.name
            ))
        }
    }
}

impl<S, R> Protected for Layered<S>
where
    S: Service<Request<Body>, Response = Response<R>, Error = Infallible>,
{
    fn answer(&mut self, runtime: &Runtime, request: Request<Body>) -> StatusCode {
        runtime.block_on(call(&mut self.service, request)).status()
    }
}

/// Sends one request through the service, as a server would.
async fn call<S, R>(service: &mut S, request: Request<Body>) -> Response<R>
where
    S: Service<Request<Body>, Response = Response<R>, Error = Infallible>,
{
    let Ok(()) = poll_fn(|context| service.poll_ready(context)).await;
    let Ok(response) = service.call(request).await;
    response
}
