//! Tests of the standard HTTP client, over loopback and against `entra-dev-tenant`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::response::Redirect;
use axum::routing::post;
use bytes::Bytes;
use entra_confidential_client::{
    AuthorizationCode, ConfidentialClient, Secret, TokenErrorKind, TokenRequest,
};
use entra_dev_tenant::DevTenant;
use entra_http::{HttpClient, StandardClient};
use http::Response;
use http_body_util::Full;
use tokio::net::{TcpListener, TcpSocket};

use crate::support::{CLIENT, CLIENT_SECRET, Logs, refresh};

const TOKENS: &str = r#"{"token_type":"Bearer","expires_in":60,"access_token":"token"}"#;

fn client(authority: String) -> ConfidentialClient {
    ConfidentialClient::builder()
        .authority(authority)
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
    let authority = format!("{}/{}", tenant.url(), tenant.id());
    let logs = Logs::capture();
    let entra = client(authority);
    let scope = format!("api://{CLIENT}/.default");
    let request = TokenRequest::client_credentials([&scope]);
    let tokens = entra.send(request).await.unwrap();
    assert_eq!(tokens.access_token.expose_secret().split('.').count(), 3);
    assert!(tokens.refresh_token.is_none() && tokens.scope.is_none());

    let request = TokenRequest::client_credentials(["https://nobody.example/.default"]);
    let error = entra.send(request).await.unwrap_err();
    assert_eq!(error.kind(), TokenErrorKind::Misconfigured, "{error}");
    assert_eq!(logs.count("WARN"), 1);
    for secret in [CLIENT_SECRET, "s3cr3t", tokens.access_token.expose_secret()] {
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
    let authority = format!("{}/{}", tenant.url(), tenant.id());
    let scope = format!("api://{CLIENT}/.default");
    let request = TokenRequest::client_credentials([&scope]);
    let error = client(authority).send(request).await.unwrap_err();
    assert_eq!(error.kind(), TokenErrorKind::InvalidClient);
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
    let authority = format!("http://{}/t", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, app).into_future());

    let error = client(authority).send(refresh()).await.unwrap_err();
    assert_eq!(error.kind(), TokenErrorKind::InvalidResponse);
    assert_eq!(error.status(), Some(307));
    assert_eq!(followed.load(Ordering::Relaxed), 0);
}

/// Returns an authority that refuses connections while the socket lives.
fn closed_port() -> (TcpSocket, String) {
    // Bound, so that no other process gets the port, but not listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, format!("http://{address}/t"))
}

#[tokio::test]
async fn a_closed_port_is_no_response() {
    let (_socket, authority) = closed_port();
    let error = client(authority).send(refresh()).await.unwrap_err();
    assert_eq!(error.kind(), TokenErrorKind::NoResponse);
    let text = error.to_string();
    assert!(
        text.contains("no connection") && text.contains("refused"),
        "{text}"
    );
    assert_eq!(
        error.remedy(),
        "start the server at this address of this machine, such as entra-dev-tenant, or correct \
         the authority"
    );
}

/// Builds a client whose first `times` attempts fail to connect, and returns it with the number of
/// attempts.
fn unconnected(times: usize, authority: &str) -> (ConfidentialClient, Arc<AtomicUsize>) {
    let standard = HttpClient::standard(StandardClient {
        enabled: true,
        user_agent: "test",
        connect_timeout: Duration::from_secs(5),
        plain_http: true,
    });
    let standard = standard.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let service = tower::service_fn(move |request| {
        let is_refused = count.fetch_add(1, Ordering::Relaxed) < times;
        let standard = standard.clone();
        async move {
            if is_refused {
                return Err(standard.send(request, 0).await.unwrap_err());
            }
            Ok(Response::new(Full::<Bytes>::from(TOKENS)))
        }
    });
    let entra = ConfidentialClient::builder()
        .authority(authority)
        .client_id(CLIENT)
        .credential(Secret::new("secret"))
        .http_client(service)
        .build()
        .unwrap();
    (entra, asked)
}

#[tokio::test]
async fn what_never_left_is_sent_again_once_even_a_code() {
    let code = AuthorizationCode::new("code")
        .redirect_uri("https://app.contoso.com/callback")
        .code_verifier("verifier");
    let request = TokenRequest::authorization_code(code, ["api://api/read"]);
    let (_socket, authority) = closed_port();
    let (entra, asked) = unconnected(1, &authority);
    entra.send(request.clone()).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 2);

    let (entra, asked) = unconnected(3, &authority);
    let error = entra.send(request).await.unwrap_err();
    assert_eq!(error.kind(), TokenErrorKind::NoResponse);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_again_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = format!("http://{}/t", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        for count in 1.. {
            drop(listener.accept().await.unwrap());
            ACCEPTED.store(count, Ordering::Relaxed);
        }
    });
    let error = client(authority).send(refresh()).await.unwrap_err();
    server.abort();
    assert_eq!(error.kind(), TokenErrorKind::NoResponse);
    assert!(
        error.to_string().contains("the connection broke"),
        "{error}"
    );
    assert_eq!(ACCEPTED.load(Ordering::Relaxed), 2);
}

static ACCEPTED: AtomicUsize = AtomicUsize::new(0);
