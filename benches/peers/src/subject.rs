//! Whatever has a row in the table.

use std::convert::Infallible;
use std::future::poll_fn;
use std::hint::black_box;
use std::time::{Duration, Instant};

use axum_core::body::Body;
use http::{Request, Response, StatusCode};
use tokio::runtime::Runtime;
use tower_service::Service;

use crate::material::{Case, Material, TOKENS};

/// So many requests are made, and then measured, at a time: few enough for them to stay in a cache,
/// as they would where they had just been read from a socket.
pub(crate) const AT_A_TIME: usize = 100;

const _: () = assert!(TOKENS.is_multiple_of(AT_A_TIME));

/// A row.
pub(crate) trait Subject {
    fn name(&self) -> &'static str;

    /// Sends as many requests as there are tokens, and tells the shortest time in which
    /// [`AT_A_TIME`] of them were answered: the one that other programs disturbed least. `None`
    /// where there is nothing to measure.
    fn fastest(
        &mut self,
        runtime: &Runtime,
        material: &Material,
        case: Case,
    ) -> Result<Option<Duration>, String>;
}

/// A row that is a Layer, and must prove that it protects.
pub(crate) trait Protected: Subject {
    /// What it answers to one request.
    fn answer(&mut self, runtime: &Runtime, request: Request<Body>) -> StatusCode;
}

/// A service, in a Layer or not.
pub(crate) struct Layered<S> {
    name: &'static str,
    is_protected: bool,
    service: S,
}

impl<S> Layered<S> {
    /// In the Layer of this crate.
    pub(crate) fn new(name: &'static str, service: S) -> Self {
        Self {
            name,
            is_protected: true,
            service,
        }
    }

    /// In none.
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
                "{}: {accepted} of {TOKENS} requests of {case:?} answered with 200",
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

/// One request, as a server would send it through.
async fn call<S, R>(service: &mut S, request: Request<Body>) -> Response<R>
where
    S: Service<Request<Body>, Response = Response<R>, Error = Infallible>,
{
    let Ok(()) = poll_fn(|context| service.poll_ready(context)).await;
    let Ok(response) = service.call(request).await;
    response
}
