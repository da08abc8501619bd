//! A gRPC service behind the Layer.
//!
//! Each method has its own requirement, streams end when the caller's token expires, and the health
//! service is open to everyone.
//!
//! `cargo run -p tonic_service` calls its own service as each kind of caller and serves until
//! Ctrl-C. With `--once` the program exits after the calls, and fails if a status is not the
//! expected one.

use std::error::Error;
use std::pin::Pin;
use std::time::Duration;

use entra_dev_tenant::DevTenant;
use tokio::net::TcpListener;
use tokio_stream::Stream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::health_reporter;
use tower_entra_auth::{
    AppPermission, EntraAuth, RequireLayer, Scope, require::InvalidRequirement,
};

use self::grpc::reports_client::ReportsClient;
use self::grpc::reports_server::{Reports, ReportsServer};

const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
const CLIENT: &str = "2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b";

/// The code that `build.rs` generates.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated"
)]
mod grpc {
    include!(concat!(env!("OUT_DIR"), "/reports.v1.Reports.rs"));
}

/// An empty message.
#[expect(clippy::exhaustive_structs, reason = "a message, made by its fields")]
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Empty {}

/// A report.
#[expect(clippy::exhaustive_structs, reason = "a message, made by its fields")]
#[derive(Clone, PartialEq, prost::Message)]
pub struct Report {
    /// Text of the report.
    #[prost(string, tag = "1")]
    pub text: String,
}

/// The service, with the requirements of its methods.
struct Service {
    readers: RequireLayer,
    writers: RequireLayer,
}

impl Service {
    fn new(auth: &EntraAuth) -> Result<Self, InvalidRequirement> {
        Ok(Self {
            readers: auth.require(Scope("Reports.Read").or(AppPermission("Reports.Read.All")))?,
            writers: auth.require(Scope("Reports.Write"))?,
        })
    }
}

#[tonic::async_trait]
impl Reports for Service {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<Report, Status>> + Send>>;

    async fn list(&self, request: Request<Empty>) -> Result<Response<Report>, Status> {
        let caller = self.readers.authorize(request.extensions())?;
        let text = format!(
            "the reports that a caller of kind {} may see",
            caller.kind()
        );
        Ok(Response::new(Report { text }))
    }

    async fn publish(&self, request: Request<Report>) -> Result<Response<Empty>, Status> {
        self.writers.authorize(request.extensions())?;
        Ok(Response::new(Empty {}))
    }

    async fn watch(&self, request: Request<Empty>) -> Result<Response<Self::WatchStream>, Status> {
        self.readers.authorize(request.extensions())?;
        let reports = ["first", "second"].map(|text| Ok(Report { text: text.into() }));
        Ok(Response::new(Box::pin(tokio_stream::iter(reports))))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let tenant = DevTenant::start().await?;
    let auth = EntraAuth::builder()
        .tenant(tenant.id())
        .client_id(API)
        .metadata_endpoint(tenant.url())
        .clock(tenant.clock())
        .build()?;

    let (reporter, health) = health_reporter();
    reporter.set_serving::<ReportsServer<Service>>().await;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    // Disables Nagle's algorithm: small messages must not wait for each other. tonic's client does
    // this by default.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = tokio::spawn(
        Server::builder()
            .layer(auth.layer().open_grpc_service("grpc.health.v1.Health")?)
            .layer(auth.end_at_expiry(Duration::from_secs(300)))
            .add_service(ReportsServer::new(Service::new(&auth)?))
            .add_service(health)
            .serve_with_incoming(incoming),
    );

    play(&tenant, &url).await?;
    if std::env::args().any(|argument| argument == "--once") {
        return Ok(());
    }
    let token = tenant.user("ada").scope("Reports.Read").for_api(API).mint();
    println!("\nTOKEN={token}\n");
    println!("Serving {url}, a method is /reports.v1.Reports/List. Ctrl-C ends it.");
    tokio::select! {
        served = server => served??,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

/// Calls each method as each kind of caller.
async fn play(tenant: &DevTenant, url: &str) -> Result<(), Box<dyn Error>> {
    use Code::{Ok as Fine, PermissionDenied as Denied, Unauthenticated as Unknown};

    let channel = Endpoint::from_shared(url.to_owned())?.connect().await?;
    let ada = || tenant.user("ada").for_api(API);
    let application = tenant.app(CLIENT).for_api(API).role("Reports.Read.All");
    let expired = ada().scope("Reports.Read").expired();

    println!(
        "{:<14}{:<25}{:<30}{:<25}health",
        "caller", "List", "Publish", "Watch"
    );
    let mut all_as_expected = true;
    for (who, token, expected) in [
        (
            "reader",
            ada().scope("Reports.Read").mint(),
            [Fine, Denied, Fine, Fine],
        ),
        (
            "writer",
            ada().scope("Reports.Write").mint(),
            [Denied, Fine, Denied, Fine],
        ),
        (
            "application",
            application.mint(),
            [Fine, Denied, Fine, Fine],
        ),
        ("expired", expired.mint(), [Unknown, Unknown, Unknown, Fine]),
        ("no token", String::new(), [Unknown, Unknown, Unknown, Fine]),
    ] {
        let statuses = statuses(&channel, &token).await?;
        let [list, publish, watch, health] = statuses.each_ref().map(shown);
        println!("{who:<14}{list:<25}{publish:<30}{watch:<25}{health}");
        all_as_expected &= statuses.map(|status| status.code()) == expected;
    }
    match all_as_expected {
        true => Ok(()),
        false => Err("a status is not the expected one".into()),
    }
}

/// Calls List, Publish, Watch and the health check, and returns the status of each.
async fn statuses(channel: &Channel, token: &str) -> Result<[Status; 4], Box<dyn Error>> {
    let mut reports = ReportsClient::new(channel.clone());
    let mut health = HealthClient::new(channel.clone());
    let list = reports.list(with(token, Empty {})?).await;
    let report = Report { text: "new".into() };
    let publish = reports.publish(with(token, report)?).await;
    let watch = match reports.watch(with(token, Empty {})?).await {
        Ok(stream) => {
            let mut stream = stream.into_inner();
            while stream.message().await?.is_some() {}
            Ok(())
        }
        Err(status) => Err(status),
    };
    let check = health
        .check(with(token, HealthCheckRequest::default())?)
        .await;
    Ok([
        status(list.map(drop)),
        status(publish.map(drop)),
        status(watch),
        status(check.map(drop)),
    ])
}

/// Adds the token to the request's metadata, as any gRPC client does.
fn with<T>(token: &str, message: T) -> Result<Request<T>, Box<dyn Error>> {
    let mut request = Request::new(message);
    if !token.is_empty() {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", format!("Bearer {token}").parse()?);
    }
    Ok(request)
}

fn status(result: Result<(), Status>) -> Status {
    result.err().unwrap_or_else(|| Status::ok(""))
}

/// Formats a status as its gRPC code number and its message.
fn shown(status: &Status) -> String {
    match status.code() {
        Code::Ok => "ok".to_owned(),
        // Without a token, the message is a short text in place of a code.
        code => {
            let message = status.message().split(';').next().unwrap_or_default();
            format!("{} {message}", i32::from(code))
        }
    }
}
