//! Serves the tenant's documents, its sign-in page and its token endpoint over HTTP/1.1.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::Inner;
use super::in_memory::Accepted;
use crate::authority::{Authority, Version};
use crate::clock::{http_date, is_tokios_paused};
use crate::endpoint::{Endpoint, RecordedRequest};
use crate::oauth::authorize::{self, Choice, sign_out};
use crate::oauth::token_endpoint;
use crate::token::Issuer;

/// Serves until it is aborted; its connections end with it.
pub(crate) async fn serve(listener: TcpListener, mut in_memory: Accepted, tenant: Arc<Inner>) {
    let router = router(Arc::clone(&tenant));
    let mut connections = JoinSet::new();
    loop {
        let service = |by| tower_service(router.clone(), Arc::clone(&tenant), by);
        tokio::select! {
            Some(stream) = in_memory.recv() => {
                connections.spawn(connection(stream, service(By::Memory)));
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Headers and body are two writes: the second would wait for the client's
                    // acknowledgement of the first.
                    let _ = stream.set_nodelay(true);
                    connections.spawn(connection(stream, service(By::Socket)));
                }
                // Out of file descriptors, most likely: others must close some first.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
        }
        while connections.try_join_next().is_some() {}
    }
}

/// The transport of a connection.
#[derive(Clone, Copy, Eq, PartialEq)]
enum By {
    Socket,
    Memory,
}

async fn connection<S>(stream: impl AsyncRead + AsyncWrite + Unpin, service: S)
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = Body, Error = io::Error>,
{
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// An error instead of an answer makes hyper close the connection: that is being down.
fn tower_service(
    router: Router,
    tenant: Arc<Inner>,
    by: By,
) -> impl hyper::service::Service<
    Request<hyper::body::Incoming>,
    Response = Response,
    Error = io::Error,
    Future: Send,
> {
    let router = TowerToHyperService::new(router);
    hyper::service::service_fn(move |request| {
        let tenant = Arc::clone(&tenant);
        let is_down = tenant.is_down.load(Ordering::SeqCst);
        let answer = hyper::service::Service::call(&router, request);
        async move {
            assert!(
                by == By::Memory || !is_tokios_paused(),
                "a request came by a socket while tokio's clock is paused: time would pass while \
                 its packets are on their way; use DevTenant::http_client(), or a clock that runs"
            );
            if is_down {
                return Err(io::Error::other("the tenant is down"));
            }
            let mut answer = answer
                .await
                .unwrap_or_else(|never: Infallible| match never {});
            // An HTTP date is letters, digits, spaces, commas and colons.
            let date = HeaderValue::from_str(&http_date(tenant.issuer.clock.now()));
            let headers = answer.headers_mut();
            headers.insert(header::DATE, date.expect("a date"));
            // As all of Entra's answers have it.
            let no_sniff = HeaderValue::from_static("nosniff");
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, no_sniff);
            if answer.status() == StatusCode::NOT_MODIFIED {
                // It would be the length of what is not modified, which is not 0.
                answer.headers_mut().remove(header::CONTENT_LENGTH);
            }
            Ok(answer)
        }
    })
}

fn router(tenant: Arc<Inner>) -> Router {
    let discovery = |version| published(|tenant| &tenant.discovery, discovery, version);
    let key_documents = |version| published(|tenant| &tenant.key_document, key_document, version);
    Router::new()
        .route(
            "/{tenant}/v2.0/.well-known/openid-configuration",
            discovery(Version::V2),
        )
        .route(
            "/{tenant}/.well-known/openid-configuration",
            discovery(Version::V1),
        )
        .route("/{tenant}/discovery/v2.0/keys", key_documents(Version::V2))
        .route("/{tenant}/discovery/keys", key_documents(Version::V1))
        .route(
            "/{tenant}/oauth2/v2.0/authorize",
            get(authorize).post(authorize),
        )
        .route("/{tenant}/oauth2/v2.0/token", post(token))
        .route("/{tenant}/oauth2/v2.0/logout", get(sign_out).post(sign_out))
        .with_state(tenant)
}

/// Makes a document of an authority; the text is the application that it was asked for with.
type Make = fn(&Issuer, Authority<'_>, Version, Option<&str>) -> Value;

fn discovery(
    issuer: &Issuer,
    authority: Authority<'_>,
    version: Version,
    appid: Option<&str>,
) -> Value {
    issuer.realm.discovery(authority, version, appid)
}

fn key_document(
    issuer: &Issuer,
    authority: Authority<'_>,
    version: Version,
    appid: Option<&str>,
) -> Value {
    let realm = &issuer.realm;
    issuer.keys.document(realm, authority, version, appid)
}

/// Serves the documents that `make` makes, at the endpoint whose faults are theirs.
fn published(
    endpoint: fn(&Inner) -> &Endpoint,
    make: Make,
    version: Version,
) -> MethodRouter<Arc<Inner>> {
    get(
        move |State(tenant): State<Arc<Inner>>,
              Path(authority): Path<String>,
              request: Request<Body>| async move {
            let recorded = RecordedRequest::of(&request);
            let issuer = &tenant.issuer;
            let appid = issuer.keys.appid(request.uri().query());
            let right = async {
                match issuer.realm.authority(&authority) {
                    Ok(authority) => (
                        [(header::CACHE_CONTROL, "max-age=86400, private")],
                        Json(make(issuer, authority, version, appid)),
                    )
                        .into_response(),
                    Err(error) => error.into_response(&issuer.clock),
                }
            };
            endpoint(&tenant).respond(recorded, right).await
        },
    )
}

async fn authorize(
    State(tenant): State<Arc<Inner>>,
    Path(authority): Path<String>,
    request: Request<Body>,
) -> Response {
    let recorded = RecordedRequest::with_form(request).await;
    let (mut parameters, mut form) = (recorded.query().clone(), recorded.form().clone());
    let choice = Choice::take(&mut form);
    parameters.extend(form);
    let right = async { authorize::answer(&tenant, &authority, &parameters, &choice) };
    tenant.authorize_endpoint.respond(recorded, right).await
}

async fn token(
    State(tenant): State<Arc<Inner>>,
    Path(authority): Path<String>,
    request: Request<Body>,
) -> Response {
    let recorded = RecordedRequest::with_form(request).await;
    let (headers, form) = (recorded.headers.clone(), recorded.form().clone());
    let right = async { token_endpoint::answer(&tenant, &authority, &headers, &form) };
    tenant.token_endpoint.respond(recorded, right).await
}

async fn sign_out(
    State(tenant): State<Arc<Inner>>,
    Path(authority): Path<String>,
    request: Request<Body>,
) -> Response {
    let recorded = RecordedRequest::with_form(request).await;
    let mut parameters = recorded.query().clone();
    parameters.extend(recorded.form().clone());
    sign_out::answer(&tenant, &authority, &parameters)
}
