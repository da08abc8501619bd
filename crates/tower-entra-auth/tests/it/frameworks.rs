//! Tests of the same Layer in axum, hyper and tonic, over real sockets unless the clock is paused.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tonic::Code;
use tonic::service::Routes;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::{Layer as _, service_fn};
use tower_entra_auth::{Caller, EntraAuth};

use crate::grpc_api;
use crate::support::{
    API, CLIENT, NO_TOKEN, Server, app, ask, ask_without_token, auth, client, each_kind, header,
    serve, settings, tenant, user,
};

/// Checks the API's response to each kind of token, over HTTP.
async fn check_each_kind(server: &Server, tenant: &entra_dev_tenant::DevTenant) {
    for (status, code, token) in each_kind(tenant) {
        let response = ask(server, &token).await;
        assert_eq!(response.status(), status, "{code}");
        let error = match status {
            200 => None,
            401 => Some("invalid_token"),
            _ => Some("insufficient_scope"),
        };
        let challenge =
            error.map(|error| format!("Bearer error=\"{error}\", error_description=\"{code}\""));
        assert_eq!(header(&response, "www-authenticate"), challenge.as_deref());
    }
    let response = ask_without_token(server, "/me").await;
    assert_eq!(response.status(), 401);
    assert_eq!(header(&response, "www-authenticate"), Some("Bearer"));
}

#[tokio::test]
async fn axum_answers_each_kind_of_request() {
    let tenant = tenant().await;
    let server = serve(app(&auth(&tenant))).await;
    check_each_kind(&server, &tenant).await;
    let open = ask_without_token(&server, "/healthz").await;
    assert_eq!(open.status(), 200);
}

#[tokio::test]
async fn hyper_answers_each_kind_of_request() {
    let tenant = tenant().await;
    let server = serve_hyper(&auth(&tenant)).await;
    check_each_kind(&server, &tenant).await;
}

/// Serves a plain tower service behind the Layer with hyper.
async fn serve_hyper(auth: &EntraAuth) -> Server {
    let service = auth
        .layer()
        .layer(service_fn(async |request: Request<Incoming>| {
            let caller = request.extensions().get::<Caller>().expect("a caller");
            let body = Full::new(Bytes::from(caller.id().to_string()));
            Ok::<_, Infallible>(Response::new(body))
        }));
    memory_network::assert_clock_runs();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    Server::new(url, async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let connection = auto::Builder::new(TokioExecutor::new());
                let _ = connection
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    })
}

#[tokio::test]
async fn http2_gets_the_answers_of_http1_whatever_the_method_and_the_body() {
    let tenant = tenant().await;
    let server = serve_hyper(&auth(&tenant)).await;
    let stream = TokioIo::new(server.connect().await);
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
    let (mut http2, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    let http1 = client();
    // The body fits into the socket buffers, so that no client is still sending when it is refused.
    let large = vec![b'x'; 64 << 10];
    for (token, status) in [
        (user(&tenant).expired().mint(), 401),
        (tenant.app(CLIENT).for_api(API).mint(), 403),
    ] {
        for (method, body) in [
            (Method::GET, &b""[..]),
            (Method::HEAD, b""),
            (Method::POST, b""),
            (Method::POST, b"small"),
            (Method::PUT, &large),
        ] {
            let authorization = format!("Bearer {token}");
            let request = Request::builder()
                .method(&method)
                .uri(&server.url)
                .header("authorization", &authorization)
                .body(Full::new(Bytes::copy_from_slice(body)))
                .unwrap();
            let two = http2.send_request(request).await.unwrap();
            assert_eq!(two.version(), http::Version::HTTP_2);
            let two = two.map(http_body_util::BodyExt::collect);

            let one = http1
                .request(method.clone(), &server.url)
                .body(body.to_vec());
            let one = one
                .header("authorization", authorization)
                .send()
                .await
                .unwrap();
            assert_eq!(
                (one.status(), two.status().as_u16()),
                (two.status(), status)
            );
            for name in ["www-authenticate", "content-type", "content-length"] {
                assert_eq!(
                    one.headers().get(name),
                    two.headers().get(name),
                    "{method} {name}"
                );
            }
            let two = two.into_body().await.unwrap().to_bytes();
            assert_eq!(one.bytes().await.unwrap(), two);
            assert_eq!(two.is_empty(), method == Method::HEAD, "{method}");
        }
    }
}

#[tokio::test]
async fn tonic_answers_each_kind_of_request() {
    let tenant = tenant().await;
    let server = serve_tonic(&auth(&tenant)).await;
    for (status, code, token) in each_kind(&tenant) {
        let answer = check_health(&server, Some(&token)).await;
        match status {
            200 => assert!(answer.is_ok(), "{answer:?}"),
            _ => {
                let error = answer.unwrap_err();
                let expected = match status {
                    401 => Code::Unauthenticated,
                    _ => Code::PermissionDenied,
                };
                assert_eq!((error.code(), error.message()), (expected, code));
            }
        }
    }
    let error = check_health(&server, None).await.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::Unauthenticated, NO_TOKEN.trim_end())
    );
    assert_eq!(error.metadata().get("www-authenticate").unwrap(), "Bearer");
}

#[tokio::test(start_paused = true)]
async fn tonic_says_unavailable_while_there_are_no_keys() {
    let tenant = tenant().await;
    tenant.start_outage();
    let server = serve_tonic(&auth(&tenant)).await;
    let token = user(&tenant).mint();
    let error = check_health(&server, Some(&token)).await.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::Unavailable, "keys_unavailable")
    );
    assert!(error.metadata().get("retry-after").is_some());
}

#[tokio::test]
async fn the_extractor_without_a_layer_is_a_fault_of_the_program() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let layered = app(&auth);
    let bare = axum::Router::new().route(
        "/bare",
        axum::routing::any(async |caller: Caller| caller.id().to_string()),
    );
    let server = serve(layered.merge(bare)).await;
    let client = client();
    let request = || {
        client
            .post(format!("{}/bare", server.url))
            .bearer_auth(user(&tenant).mint())
    };
    let response = request().send().await.unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(response.text().await.unwrap(), "wrong_layer\n");
    let response = request()
        .header("content-type", "application/grpc")
        .send()
        .await
        .unwrap();
    assert_eq!(header(&response, "grpc-status"), Some("13"));
}

#[tokio::test]
async fn two_auths_in_one_process_know_their_own_callers() {
    let tenant = tenant().await;
    let first = auth(&tenant);
    let second = settings(&tenant).accept_v1_tokens().build().unwrap();
    let (one, two) = (first.clone(), second.clone());
    let app = axum::Router::new().route(
        "/me",
        axum::routing::get(async move |caller: Caller| {
            format!(
                "{} {}",
                one.has_verified(&caller),
                two.has_verified(&caller)
            )
        }),
    );
    for (auth, expected) in [(&first, "true false"), (&second, "false true")] {
        let server = serve(app.clone().layer(auth.layer())).await;
        let response = ask(&server, &user(&tenant).mint()).await;
        assert_eq!(response.text().await.unwrap(), expected);
    }
    let server = serve(app.layer(second.layer())).await;
    assert_eq!(ask(&server, &user(&tenant).v1().mint()).await.status(), 200);
    assert_eq!(tenant.key_endpoint().hits(), 2);
}

async fn serve_tonic(auth: &EntraAuth) -> Server {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter
        .set_service_status("reports", tonic_health::ServingStatus::Serving)
        .await;
    grpc_api::serve_routes(auth.layer(), Routes::new(health).into_axum_router()).await
}

async fn check_health(server: &Server, token: Option<&str>) -> Result<(), tonic::Status> {
    let channel = grpc_api::channel(server).await;
    let mut request = tonic::Request::new(HealthCheckRequest {
        service: "reports".to_owned(),
    });
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    HealthClient::new(channel).check(request).await.map(|_| ())
}
