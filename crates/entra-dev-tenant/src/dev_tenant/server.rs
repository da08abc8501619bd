//! Serves the tenant's documents, its sign-in page and its token endpoint over HTTP/1.1.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::ServedTenant;
use crate::authority::{Authority, Version};
use crate::clock::http_date;
use crate::endpoint::{Endpoint, RecordedRequest};
use crate::oauth::{self, respond_to_token_request};
use crate::token::Issuer;

/// Serves the tenant until the task is aborted. The connections end with it.
pub(super) async fn serve(
    listener: TcpListener,
    mut in_memory: UnboundedReceiver<DuplexStream>,
    served: Arc<ServedTenant>,
) {
    let router = router(Arc::clone(&served));
    let mut connections = JoinSet::new();
    loop {
        let service = |transport| tower_service(router.clone(), Arc::clone(&served), transport);
        tokio::select! {
            Some(stream) = in_memory.recv() => {
                connections.spawn(connection(stream, service(Transport::Memory)));
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Headers and body are two writes. Without this call, the second would wait
                    // until the client has acknowledged the first.
                    let _ = stream.set_nodelay(true);
                    connections.spawn(connection(stream, service(Transport::Socket)));
                }
                // Most likely there are no free file descriptors. Other connections must close
                // first.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
        }
        while connections.try_join_next().is_some() {}
    }
}

/// The transport of a connection.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Transport {
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

/// Returns the service of a connection. In an outage the service returns an error instead of a
/// response, which makes hyper close the connection.
fn tower_service(
    router: Router,
    served: Arc<ServedTenant>,
    transport: Transport,
) -> impl hyper::service::Service<
    Request<hyper::body::Incoming>,
    Response = Response,
    Error = io::Error,
    Future: Send,
> {
    let router = TowerToHyperService::new(router);
    hyper::service::service_fn(move |request| {
        let served = Arc::clone(&served);
        let is_down = served.is_down.load(Ordering::SeqCst);
        let response = hyper::service::Service::call(&router, request);
        async move {
            assert!(
                transport == Transport::Memory || !is_tokios_paused(),
                "received a request over TCP while tokio's clock is paused: time would pass while \
                 its packets are in transit; use DevTenant::http_client() or a running clock"
            );
            if is_down {
                return Err(io::Error::other("the tenant is down"));
            }
            let mut response = response
                .await
                .unwrap_or_else(|never: Infallible| match never {});
            // An HTTP date has only letters, digits, spaces, commas and colons.
            let date = HeaderValue::from_str(&http_date(served.tenant.issuer.clock.now()));
            let headers = response.headers_mut();
            headers.insert(header::DATE, date.expect("a date"));
            // All of Entra's responses have this header.
            let no_sniff = HeaderValue::from_static("nosniff");
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, no_sniff);
            if response.status() == StatusCode::NOT_MODIFIED {
                // In a 304 this header means the length of the unmodified document, which is not 0.
                response.headers_mut().remove(header::CONTENT_LENGTH);
            }
            Ok(response)
        }
    })
}

fn router(served: Arc<ServedTenant>) -> Router {
    let discovery = |version| {
        published(
            |served| &served.discovery_endpoint,
            move |issuer, authority, appid| issuer.realm.discovery(authority, version, appid),
        )
    };
    let key_documents = |version| {
        published(
            |served| &served.key_endpoint,
            move |issuer, authority, appid| {
                issuer
                    .keys
                    .document(&issuer.realm, authority, version, appid)
            },
        )
    };
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
        .route(
            "/{tenant}/oauth2/v2.0/token",
            post(token).options(preflight),
        )
        .route("/{tenant}/oauth2/v2.0/logout", get(sign_out).post(sign_out))
        .with_state(served)
}

/// Serves the documents that `make` returns for an authority and for the application that the
/// request names, at the given endpoint.
fn published(
    endpoint: fn(&ServedTenant) -> &Endpoint,
    make: impl Fn(&Issuer, Authority<'_>, Option<&str>) -> Value + Clone + Send + Sync + 'static,
) -> MethodRouter<Arc<ServedTenant>> {
    get(
        move |State(served): State<Arc<ServedTenant>>,
              Path(authority): Path<String>,
              request: Request<Body>| async move {
            let recorded = RecordedRequest::of(&request);
            let issuer = &served.tenant.issuer;
            let appid = issuer.keys.application_of(request.uri().query());
            let right = async {
                match issuer.realm.authority(&authority) {
                    Ok(authority) => (
                        [
                            (header::CACHE_CONTROL, "max-age=86400, private"),
                            // As Entra's, also without an `Origin` (October 2023).
                            (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
                            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, OPTIONS"),
                        ],
                        Json(make(issuer, authority, appid)),
                    )
                        .into_response(),
                    Err(error) => error.into_response(&issuer.clock),
                }
            };
            endpoint(&served).respond(recorded, right).await
        },
    )
}

async fn authorize(
    State(served): State<Arc<ServedTenant>>,
    Path(authority): Path<String>,
    request: Request<Body>,
) -> Response {
    let recorded = RecordedRequest::with_form(request).await;
    let (headers, (query, form)) = (recorded.headers.clone(), recorded.parameters());
    let right = async { oauth::authorize(&served.tenant, &authority, &headers, query, form) };
    served.authorize_endpoint.respond(recorded, right).await
}

async fn token(
    State(served): State<Arc<ServedTenant>>,
    Path(authority): Path<String>,
    request: Request<Body>,
) -> Response {
    let recorded = RecordedRequest::with_form(request).await;
    let (headers, (_, form)) = (recorded.headers.clone(), recorded.parameters());
    let right = async { respond_to_token_request(&served.tenant, &authority, &headers, &form) };
    served.token_endpoint.respond(recorded, right).await
}

/// Answers the preflight of a token request with additional headers, such as `X-Requested-With` of
/// Swagger UI. A preflight does not name the client, so all are allowed.
async fn preflight(headers: HeaderMap) -> Response {
    let is_preflight = headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if !is_preflight {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST")]).into_response();
    }
    let mut response = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST, OPTIONS"),
    ]
    .into_response();
    if let Some(asked) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        let allowed = (header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        response.headers_mut().extend([allowed]);
    }
    response
}

async fn sign_out(
    State(served): State<Arc<ServedTenant>>,
    Path(authority): Path<String>,
    request: Request<Body>,
) -> Response {
    let recorded = RecordedRequest::with_form(request).await;
    let (mut parameters, form) = recorded.parameters();
    parameters.extend(form);
    oauth::sign_out(&served.tenant, &authority, &recorded.headers, &parameters)
}

/// Returns whether tokio's clock is paused. tokio has no API for this. A running clock is never
/// behind the system's clock.
fn is_tokios_paused() -> bool {
    let (tokios, systems) = (Instant::now(), std::time::Instant::now());
    while systems.elapsed().is_zero() {
        std::hint::spin_loop();
    }
    tokios.elapsed().is_zero()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_clock_that_runs_and_one_that_is_paused_are_told_apart() {
        for _ in 0..1_000 {
            assert!(!is_tokios_paused());
        }
        tokio::time::pause();
        assert!(is_tokios_paused());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(is_tokios_paused());
        tokio::time::resume();
        assert!(!is_tokios_paused());
    }
}
