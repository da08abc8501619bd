//! A gRPC API whose code tonic-health provides, its server, and calls with tonic's client.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use futures_util::stream;
use hyper_util::rt::TokioIo;
use tokio_stream::{Stream, StreamExt as _};
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::{Layer as _, service_fn};
use tower_entra_auth::{Caller, EntraAuth, EntraLayer, RequireLayer, refusal::ClaimsChallenge};

use crate::support::{Listener, SECOND, Server};

/// A gRPC API with a unary method (`Check`) and a streaming one (`Watch`).
#[derive(Clone, Default)]
pub(crate) struct Api {
    /// Requirement of both methods.
    pub(crate) required: Option<RequireLayer>,
    /// `true` if both methods request more claims.
    pub(crate) challenges: bool,
    /// Number of messages in a stream; `None` sends one per second without end.
    pub(crate) messages: Option<u32>,
    /// `true` if no response ever begins.
    pub(crate) hangs: bool,
}

impl Api {
    async fn answer<T>(&self, request: &Request<T>) -> Result<HealthCheckResponse, Status> {
        if let Some(required) = &self.required {
            required.authorize(request.extensions())?;
        }
        if self.challenges {
            let caller = request.extensions().get::<Caller>().expect("a caller");
            let claims = ClaimsChallenge::authentication_context("c1").unwrap();
            return Err(caller.challenge(claims).into());
        }
        if self.hangs {
            pending::<()>().await;
        }
        Ok(HealthCheckResponse {
            status: ServingStatus::Serving.into(),
        })
    }
}

#[tonic::async_trait]
impl Health for Api {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.answer(&request).await.map(Response::new)
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let message = self.answer(&request).await?;
        let stream: Self::WatchStream = match self.messages {
            Some(count) => Box::pin(tokio_stream::iter((0..count).map(move |_| Ok(message)))),
            None => Box::pin(tokio_stream::iter(std::iter::repeat(Ok(message))).then(
                async |message| {
                    tokio::time::sleep(SECOND).await;
                    message
                },
            )),
        };
        Ok(Response::new(stream))
    }
}

/// Returns the service, which compresses its responses for clients that accept it.
pub(crate) fn service(api: Api) -> HealthServer<Api> {
    HealthServer::new(api)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
}

/// Serves routes of the methods behind the Layer.
pub(crate) async fn serve_routes(layer: EntraLayer, routes: Router) -> Server {
    let mut tonics = tonic::transport::Server::builder().layer(layer);
    let routes = tonics.add_routes(Routes::from(routes));
    match Listener::bind().await {
        Listener::Tcp(url, listener) => {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            Server::new(url, routes.serve_with_incoming(incoming))
        }
        Listener::Memory(url, listener) => {
            let incoming = stream::unfold(listener, async |mut listener| {
                let accepted = listener.accept().await;
                Some((Ok::<_, Infallible>(accepted), listener))
            });
            Server::new(url, routes.serve_with_incoming(incoming))
        }
    }
}

/// Opens a connection with tonic's client.
pub(crate) async fn channel(server: &Server) -> Channel {
    let endpoint = Endpoint::from_shared(server.url.clone()).unwrap();
    let address = server.url.trim_start_matches("http://").parse().unwrap();
    if !memory_network::has(address) {
        memory_network::assert_clock_runs();
        return endpoint.connect().await.unwrap();
    }
    let connector =
        service_fn(move |_: http::Uri| ready(memory_network::connect(address).map(TokioIo::new)));
    endpoint.connect_with_connector(connector).await.unwrap()
}

pub(crate) async fn serve(layer: EntraLayer, api: Api) -> Server {
    let routes = Router::new().route_service("/grpc.health.v1.Health/{method}", service(api));
    serve_routes(layer, routes).await
}

/// Serves an API whose streams end when the token has expired.
pub(crate) async fn serve_until_expiry(auth: &EntraAuth, api: Api, grace: Duration) -> Server {
    let service = auth.end_at_expiry(grace).layer(service(api));
    let routes = Router::new().route_service("/grpc.health.v1.Health/{method}", service);
    serve_routes(auth.layer(), routes).await
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Method {
    Unary,
    Streaming,
}

pub(crate) const BOTH: [Method; 2] = [Method::Unary, Method::Streaming];

/// Result of a call: the number of messages and the end.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) messages: u32,
    pub(crate) end: Result<(), Status>,
}

/// Further options of a call.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct With {
    pub(crate) timeout: Option<Duration>,
    pub(crate) compression: bool,
}

pub(crate) async fn call(
    server: &Server,
    method: Method,
    authorization: &[&str],
    with: With,
) -> Seen {
    let mut client = HealthClient::new(channel(server).await);
    if with.compression {
        client = client
            .send_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Gzip);
    }
    let mut request = Request::new(HealthCheckRequest::default());
    if let Some(timeout) = with.timeout {
        request.set_timeout(timeout);
    }
    for value in authorization {
        let metadata = request.metadata_mut();
        metadata.append("authorization", value.parse().unwrap());
    }
    let mut messages = 0;
    let end = match method {
        Method::Unary => client.check(request).await.map(|_| messages = 1),
        Method::Streaming => match client.watch(request).await {
            Err(status) => Err(status),
            Ok(response) => {
                let mut stream = response.into_inner();
                loop {
                    match stream.message().await {
                        Ok(Some(_)) => messages += 1,
                        Ok(None) => break Ok(()),
                        Err(status) => break Err(status),
                    }
                }
            }
        },
    };
    Seen { messages, end }
}

pub(crate) async fn call_with(server: &Server, method: Method, token: &str) -> Seen {
    call(server, method, &[&bearer(token)], With::default()).await
}

pub(crate) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}
