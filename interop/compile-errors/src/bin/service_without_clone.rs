//! The inner service must be `Clone`, because each waiting request needs its own instance.
//~ error[E0277]: the trait bound `Inner: Clone` is not satisfied
//~ required for `EntraService<Inner>` to implement `Service<
//~ consider annotating `Inner` with `#[derive(Clone)]`

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_entra_auth::EntraAuth;
use tower_layer::Layer as _;
use tower_service::Service;

struct Inner;

impl Service<Request<()>> for Inner {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::default()))
    }
}

fn serve(_: impl Service<Request<()>>) {}

fn main() {
    let auth = EntraAuth::from_env().unwrap();
    serve(auth.layer().layer(Inner));
}
