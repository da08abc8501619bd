//! The standard HTTP client, over loopback, and the local tenant.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::response::Redirect;
use axum::routing::post;
use entra_confidential_client::{ConfidentialClient, Secret, TokenErrorKind, TokenRequest};
use entra_dev_tenant::DevTenant;
use tokio::net::{TcpListener, TcpSocket};

use crate::support::{CLIENT, CLIENT_SECRET, Logs, refresh};

fn client(endpoint: String) -> ConfidentialClient {
    ConfidentialClient::builder()
        .token_endpoint(endpoint)
        .client_id(CLIENT)
        .credential(Secret::new(CLIENT_SECRET))
        .build()
        .unwrap()
}

#[tokio::test]
async fn the_local_tenant_gives_the_application_its_token() {
    let tenant = DevTenant::builder()
        .client(CLIENT, CLIENT_SECRET, [])
        .start()
        .await
        .unwrap();
    let endpoint = format!("{}/{}/oauth2/v2.0/token", tenant.url(), tenant.id());
    let logs = Logs::capture();
    let entra = client(endpoint);
    let scope = format!("api://{CLIENT}/.default");
    let request = TokenRequest::client_credentials([&scope]);
    let tokens = entra.send(request).await.unwrap();
    assert_eq!(tokens.access_token.expose().split('.').count(), 3);
    assert!(tokens.refresh_token.is_none() && tokens.scope.is_none());

    let request = TokenRequest::client_credentials(["https://nobody.example/.default"]);
    let error = entra.send(request).await.unwrap_err();
    assert_eq!(error.kind(), TokenErrorKind::Misconfigured, "{error}");
    assert_eq!(logs.count("WARN"), 1);
    for secret in [CLIENT_SECRET, "s3cr3t", tokens.access_token.expose()] {
        assert!(!logs.text().contains(secret), "{}", logs.text());
    }
}

#[tokio::test]
async fn the_local_tenant_refuses_a_wrong_secret() {
    let tenant = DevTenant::builder()
        .client(CLIENT, "another", [])
        .start()
        .await
        .unwrap();
    let endpoint = format!("{}/{}/oauth2/v2.0/token", tenant.url(), tenant.id());
    let scope = format!("api://{CLIENT}/.default");
    let request = TokenRequest::client_credentials([&scope]);
    let error = client(endpoint).send(request).await.unwrap_err();
    assert_eq!(error.kind(), TokenErrorKind::ClientRefused);
    assert!(error.remedy().contains("Secret ID"), "{}", error.remedy());
    assert!(error.correlation_id().is_some() && error.trace_id().is_some());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let followed = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&followed);
    let app = Router::new()
        .route(
            "/t/oauth2/v2.0/token",
            post(|| async { Redirect::temporary("/elsewhere") }),
        )
        .fallback(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            async { "" }
        });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!(
        "http://{}/t/oauth2/v2.0/token",
        listener.local_addr().unwrap()
    );
    tokio::spawn(axum::serve(listener, app).into_future());

    let error = client(endpoint).send(refresh()).await.unwrap_err();
    assert_eq!(error.kind(), TokenErrorKind::BadAnswer);
    assert_eq!(error.status(), Some(307));
    assert_eq!(followed.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_closed_port_is_no_answer() {
    // Bound, so that nobody else gets it, and not listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = format!(
        "http://{}/t/oauth2/v2.0/token",
        socket.local_addr().unwrap()
    );
    let error = client(endpoint).send(refresh()).await.unwrap_err();
    assert_eq!(error.kind(), TokenErrorKind::NoAnswer);
    let text = error.to_string();
    assert!(
        text.contains("no connection") && text.contains("refused"),
        "{text}"
    );
    assert!(error.remedy().contains("proxy"));
}

#[tokio::test]
async fn a_connection_that_breaks_is_not_made_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!(
        "http://{}/t/oauth2/v2.0/token",
        listener.local_addr().unwrap()
    );
    let server = tokio::spawn(async move {
        for count in 1.. {
            drop(listener.accept().await.unwrap());
            ACCEPTED.store(count, Ordering::Relaxed);
        }
    });
    let error = client(endpoint).send(refresh()).await.unwrap_err();
    server.abort();
    assert_eq!(error.kind(), TokenErrorKind::NoAnswer);
    assert!(
        error.to_string().contains("the connection broke"),
        "{error}"
    );
    assert_eq!(ACCEPTED.load(Ordering::Relaxed), 1);
}

static ACCEPTED: AtomicUsize = AtomicUsize::new(0);
