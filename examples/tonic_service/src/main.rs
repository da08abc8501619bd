//! A gRPC service behind the Layer: the standard health service, whose code tonic-health brings,
//! so that no `protoc` is needed.
//!
//! `cargo run -p tonic_service` serves until Ctrl-C; with `--once` it calls itself with and
//! without a token, and fails if a status is not the expected one.

use std::error::Error;

use entra_dev_tenant::DevTenant;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::health_reporter;
use tower_entra_auth::EntraAuth;

const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let tenant = DevTenant::start().await?;
    let auth = EntraAuth::builder()
        .tenant(tenant.id())
        .client_id(API)
        .metadata_endpoint(tenant.url())
        .clock(tenant.clock())
        .build()?;

    let (_reporter, health) = health_reporter();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let server = tokio::spawn(
        Server::builder()
            .layer(auth.layer())
            .add_service(health)
            .serve_with_incoming(TcpIncoming::from(listener)),
    );

    let token = tenant.user("ada").scope("Reports.Read").for_api(API).mint();
    if std::env::args().any(|argument| argument == "--once") {
        let expired = tenant
            .user("ada")
            .scope("Reports.Read")
            .for_api(API)
            .expired()
            .mint();
        return try_it(&url, &token, &expired).await;
    }
    println!("TOKEN={token}\n");
    println!("Serving {url}, a method is /grpc.health.v1.Health/Check. Ctrl-C ends it.");
    tokio::select! {
        served = server => served??,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

async fn try_it(url: &str, token: &str, expired: &str) -> Result<(), Box<dyn Error>> {
    let channel = Endpoint::from_shared(url.to_owned())?.connect().await?;
    let mut all_as_expected = true;
    for (sent, token, expected) in [
        ("user token", Some(token), Code::Ok),
        ("expired", Some(expired), Code::Unauthenticated),
        ("no token", None, Code::Unauthenticated),
    ] {
        let status = check(channel.clone(), token).await?;
        all_as_expected &= status.code() == expected;
        println!(
            "{sent:<12}  {:<16}  {}",
            format!("{:?}", status.code()),
            status.message()
        );
    }
    if all_as_expected {
        Ok(())
    } else {
        Err("a status is not the expected one".into())
    }
}

/// Calls the health service, as any gRPC client calls a method: the token goes into metadata.
async fn check(channel: Channel, token: Option<&str>) -> Result<Status, Box<dyn Error>> {
    let mut request = Request::new(HealthCheckRequest::default());
    if let Some(token) = token {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", format!("Bearer {token}").parse()?);
    }
    Ok(match HealthClient::new(channel).check(request).await {
        Ok(_) => Status::ok(""),
        Err(status) => status,
    })
}
