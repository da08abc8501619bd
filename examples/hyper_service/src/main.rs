//! A plain tower service on hyper behind the Layer, without a framework.
//!
//! `cargo run -p hyper_service` serves until Ctrl-C. With `--once` the program sends itself two
//! requests, and fails if a response is not the expected one.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use entra_dev_tenant::DevTenant;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::{Layer as _, service_fn};
use tower_entra_auth::{Caller, EntraAuth};

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

    let service = auth.layer().layer(service_fn(greet));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);

    // One protected service for every connection, HTTP/1.1 or HTTP/2.
    let server = tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // The process has most likely run out of file descriptors: other connections must
                // close first.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            // Disables Nagle's algorithm: small writes must not wait for each other.
            drop(stream.set_nodelay(true));
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let connection = auto::Builder::new(TokioExecutor::new());
                // Most errors are caused by clients. With a log line for each, any client could
                // fill the log.
                let _ = connection
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });

    let token = tenant.user("ada").scope("Reports.Read").for_api(API).mint();
    if std::env::args().any(|argument| argument == "--once") {
        return try_it(&url, &token).await;
    }
    println!("TOKEN={token}\n");
    println!("curl -i {url} -H \"Authorization: Bearer $TOKEN\"");
    println!("curl -i {url}");
    println!("\nServing {url}, Ctrl-C ends it.");
    tokio::select! {
        served = server => served?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

/// Greets the caller that the Layer put into the request's extensions.
///
/// The Layer refuses requests without a caller before they reach this function.
async fn greet(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = match request.extensions().get::<Caller>() {
        Some(caller) => format!("hello {}\n", caller.id()),
        None => "hello anonymous\n".to_owned(),
    };
    Ok(Response::new(Full::new(text.into())))
}

async fn try_it(url: &str, token: &str) -> Result<(), Box<dyn Error>> {
    // Connects directly to loopback and ignores the proxies and certificates set on this machine.
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()?;
    let with_token = client.get(url).bearer_auth(token).send().await?;
    let without = client.get(url).send().await?;
    println!("with a token     {}", with_token.status());
    println!("without          {}", without.status());
    let statuses = (with_token.status().as_u16(), without.status().as_u16());
    let greeting = with_token.text().await?;
    match (statuses, greeting.starts_with("hello ")) {
        ((200, 401), true) => Ok(()),
        _ => Err("a response is not the expected one".into()),
    }
}
