//! Tests of the service's own responses, and of tokens outside the `Authorization` header.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_entra_auth::layer::AnswerBody;
use tower_entra_auth::{
    Caller, EntraAuth,
    refusal::{ClaimsChallenge, RefusalDetail},
    require::AuthenticationContext,
    token::{RequestHead, SentToken, TokenSource, source_fn},
};

use crate::support::{API, ask_without_token, client, header, serve, settings, tenant, user};

/// Returns the status of the response, and the headers that the inner service received.
async fn seen(auth: &EntraAuth, uri: &str, headers: &[(&str, String)]) -> (u16, Option<HeaderMap>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let service = auth.layer().layer(service_fn(async |request: Request<()>| {
        assert!(request.extensions().get::<Caller>().is_some());
        sender.send(request.headers().clone()).unwrap();
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let mut request = Request::builder().uri(uri);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let response = service.oneshot(request.body(()).unwrap()).await.unwrap();
    (response.status().as_u16(), receiver.try_recv().ok())
}

#[tokio::test]
async fn the_hook_makes_the_answer_and_knows_why() {
    let tenant = tenant().await;
    let auth = settings(&tenant)
        .on_refusal(|refused, answer| {
            let text = format!(
                "{} {} {:?} {} {}",
                refused.request_headers().contains_key("x-asked"),
                refused.code(),
                refused.public_code(),
                refused.caller().is_some(),
                answer.status().as_u16()
            );
            let mut answer = Response::new(AnswerBody::from(text));
            *answer.status_mut() = StatusCode::IM_A_TEAPOT;
            answer
        })
        .build()
        .unwrap();
    let step_up = auth.require(AuthenticationContext("c1")).unwrap();
    let app = Router::new()
        .route("/", get(async || "ok"))
        .route(
            "/handler",
            get({
                let step_up = step_up.clone();
                async move |caller: Caller| step_up.check(&caller)
            }),
        )
        .route("/step-up", get(async || "ok").layer(step_up))
        .layer(auth.layer());
    let server = serve(app).await;
    for (path, token, expected) in [
        ("/", None, "true no_credentials None false 401"),
        (
            "/",
            Some(user(&tenant).expired().mint()),
            "true expired Some(\"expired\") false 401",
        ),
        (
            "/",
            Some(user(&tenant).bad_signature().mint()),
            "true bad_signature Some(\"untrusted_signature\") false 401",
        ),
        (
            "/step-up",
            Some(user(&tenant).mint()),
            "true step_up Some(\"step_up\") true 403",
        ),
        (
            "/handler",
            Some(user(&tenant).mint()),
            "false step_up Some(\"step_up\") true 403",
        ),
    ] {
        let mut request = client()
            .get(format!("{}{path}", server.url))
            .header("x-asked", "1");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 418);
        assert_eq!(response.text().await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_hook_that_panics_is_500_and_never_a_pass() {
    let tenant = tenant().await;
    let auth = settings(&tenant)
        .on_refusal(|_, _| panic!("the hook's own fault"))
        .build()
        .unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let app = Router::new()
        .route(
            "/",
            get(async move || {
                counted.fetch_add(1, Ordering::SeqCst);
                "ok"
            }),
        )
        .layer(auth.layer());
    let server = serve(app).await;
    for _ in 0..2 {
        let response = ask_without_token(&server, "/").await;
        assert_eq!(response.status(), 500);
        assert_eq!(header(&response, "www-authenticate"), None);
        assert_eq!(response.text().await.unwrap(), "response_hook_panicked\n");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    let good = client().get(&server.url).bearer_auth(user(&tenant).mint());
    assert_eq!(good.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_hook_challenges_whoever_understands_it() {
    let tenant = tenant().await;
    let auth = settings(&tenant)
        .on_refusal(|refused, answer| match refused.code() {
            "step_up" => answer,
            _ => refused.challenge(ClaimsChallenge::from_json("{}").unwrap()),
        })
        .build()
        .unwrap();
    let readers = auth
        .require(tower_entra_auth::Scope("Reports.Write"))
        .unwrap();
    let app = Router::new()
        .route("/", get(async || "ok").layer(readers))
        .layer(auth.layer());
    let server = serve(app).await;
    for (token, status) in [
        (user(&tenant).claim("xms_cc", ["cp1"]).mint(), 401),
        (user(&tenant).mint(), 403),
        // The capabilities of an unverified caller are unknown.
        ("garbage".to_owned(), 403),
    ] {
        let response = client()
            .get(&server.url)
            .bearer_auth(token)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), status);
        let challenge = header(&response, "www-authenticate").unwrap();
        assert_eq!(challenge.contains("claims=\"e30=\""), status == 401);
    }
}

#[tokio::test]
async fn head_gets_the_headers_alone() {
    let tenant = tenant().await;
    let auth = settings(&tenant).build().unwrap();
    let app = Router::new()
        .route("/", get(async || "ok"))
        .layer(auth.layer());
    let server = serve(app).await;
    for accept in ["*/*", "application/json"] {
        let ask = |method| {
            let request = client()
                .request(method, &server.url)
                .header("accept", accept);
            request.bearer_auth("garbage").send()
        };
        let get = ask(Method::GET).await.unwrap();
        let head = ask(Method::HEAD).await.unwrap();
        assert_eq!(head.status(), 401);
        for name in ["www-authenticate", "content-type", "content-length"] {
            assert_eq!(header(&head, name), header(&get, name), "{name}");
        }
        assert!(head.bytes().await.unwrap().is_empty());
        assert!(!get.bytes().await.unwrap().is_empty());
    }
}

/// Checks that a request that is gRPC only by its content type does not get gRPC's status 200.
#[tokio::test]
async fn what_is_not_post_is_not_grpc() {
    let tenant = tenant().await;
    let auth = settings(&tenant).build().unwrap();
    let app = Router::new().fallback(async || "ok").layer(auth.layer());
    let server = serve(app).await;
    for (method, status) in [("GET", 401), ("HEAD", 401), ("PUT", 401), ("POST", 200)] {
        let request = client().request(method.parse().unwrap(), &server.url);
        let request = request.header("content-type", "application/grpc");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{method}");
        assert_eq!(header(&response, "grpc-status").is_some(), status == 200);
    }
}

/// A token source for the callers of a gateway.
struct Forwarded;

impl TokenSource for Forwarded {
    fn find<'r>(&self, request: RequestHead<'r>) -> SentToken<'r> {
        let headers = request.headers();
        let mut values = headers.get_all("x-token").iter();
        match (values.next(), values.next()) {
            (None, _) => SentToken::Nothing,
            (Some(token), None) => SentToken::Token(token.as_bytes()),
            _ => SentToken::Malformed,
        }
    }

    fn header(&self) -> Option<HeaderName> {
        Some(HeaderName::from_static("x-token"))
    }
}

#[tokio::test]
async fn a_closure_is_a_token_source() {
    let tenant = tenant().await;
    let in_cookie = source_fn(|request| {
        let cookie = request.headers().get("cookie");
        let token = cookie.and_then(|cookie| cookie.as_bytes().strip_prefix(b"token="));
        token.map_or(SentToken::Nothing, SentToken::Token)
    });
    let auth = settings(&tenant).token_source(in_cookie).build().unwrap();
    let token = user(&tenant).mint();
    for (headers, status) in [
        ([("cookie", format!("token={token}"))], 200),
        ([("cookie", token.clone())], 401),
        ([("authorization", format!("Bearer {token}"))], 401),
    ] {
        assert_eq!(seen(&auth, "/", &headers).await.0, status, "{headers:?}");
    }
}

#[tokio::test]
async fn a_token_source_of_ones_own_is_the_only_one() {
    let tenant = tenant().await;
    let auth = settings(&tenant).token_source(Forwarded).build().unwrap();
    let token = user(&tenant).mint();
    let bearer = format!("Bearer {token}");
    for (headers, status) in [
        (&[("x-token", token.clone())][..], 200),
        // The second time, the token is cached.
        (&[("x-token", token.clone())], 200),
        (
            &[
                ("x-token", token.clone()),
                ("authorization", "rubbish".to_owned()),
            ],
            200,
        ),
        (&[("authorization", bearer.clone())], 401),
        (&[("x-token", bearer)], 401),
        (&[("x-token", String::new())], 401),
        (
            &[("x-token", token.clone()), ("x-token", token.clone())],
            401,
        ),
        (&[("x_token", token.clone())], 401),
        (&[("x-token", format!("{token}\u{e9}"))], 401),
    ] {
        assert_eq!(seen(&auth, "/", headers).await.0, status, "{headers:?}");
    }
}

#[tokio::test]
async fn the_query_is_read_only_where_that_was_dared() {
    let tenant = tenant().await;
    let token = user(&tenant).mint();
    let uri = format!("/?access_token={token}");
    let strict = settings(&tenant).build().unwrap();
    assert_eq!(seen(&strict, &uri, &[]).await.0, 401);
    let daring = settings(&tenant).dangerous().token_in_query("access_token");
    let daring = daring.build().unwrap();
    let bearer = [("authorization", format!("Bearer {token}"))];
    assert_eq!(seen(&daring, &uri, &[]).await.0, 200);
    assert_eq!(seen(&daring, "/", &bearer).await.0, 200);
    assert_eq!(seen(&daring, &uri, &bearer).await.0, 401);
    assert_eq!(
        seen(&daring, &format!("{uri}&access_token=x"), &[]).await.0,
        401
    );
}

/// Checks that an inner Layer, which finds no token, does not treat a removed token as missing.
#[tokio::test]
async fn a_token_that_was_removed_is_not_a_missing_one() {
    let tenant = tenant().await;
    let removing = settings(&tenant).remove_token_header().build().unwrap();
    let inner = settings(&tenant).build().unwrap();
    let ok = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let optional = || inner.layer().optional().layer(ok);
    let request = |name: &str| {
        let token = format!("Bearer {}", user(&tenant).mint());
        Request::builder().header(name, token).body(()).unwrap()
    };
    let outer = removing.layer().layer(optional());
    let response = outer.oneshot(request("authorization")).await.unwrap();
    assert_eq!(response.status(), 401);
    // If no token was sent, the inner Layer lets the request pass.
    let outer = removing.layer().optional().layer(optional());
    let response = outer.oneshot(request("x-other")).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[test]
fn a_place_for_tokens_that_makes_no_sense_is_a_build_error() {
    let settings = || {
        let settings = EntraAuth::builder().tenant("72f988bf-86f1-41af-91ab-2d7cd011db47");
        settings
            .client_id(API)
            .metadata_endpoint("http://127.0.0.1:1")
    };
    for parameter in ["", "access token", "a=b", "ä"] {
        let settings = settings().dangerous().token_in_query(parameter);
        let error = settings.build().unwrap_err().to_string();
        assert!(error.contains("token_in_query"), "{error}");
    }
    let unnamed = settings().token_source(Unnamed).remove_token_header();
    let error = unnamed.build().unwrap_err().to_string();
    assert!(error.contains("remove_token_header"), "{error}");
    assert!(settings().token_source(Unnamed).build().is_ok());
}

/// Checks that the remedy names the place where the Layer looks for the token.
#[tokio::test]
async fn the_remedy_names_the_place_of_the_token() {
    let tenant = tenant().await;
    let full = || settings(&tenant).refusal_detail(RefusalDetail::Full);
    for (settings, place) in [
        (full(), "one header Authorization"),
        (full().token_source(Forwarded), "token source"),
        (full().dangerous().token_in_query("access_token"), "query"),
    ] {
        let auth = settings.build().unwrap();
        let app = Router::new().fallback(async || "ok").layer(auth.layer());
        let server = serve(app).await;
        let response = ask_without_token(&server, "/").await;
        let body = response.text().await.unwrap();
        assert!(body.contains(place), "{body}");
    }
}

/// A token source that finds nothing and names no header.
struct Unnamed;

impl TokenSource for Unnamed {
    fn find<'r>(&self, _: RequestHead<'r>) -> SentToken<'r> {
        SentToken::Nothing
    }
}

#[tokio::test]
async fn the_header_is_marked_as_sensitive_or_removed() {
    let tenant = tenant().await;
    let marking = settings(&tenant).build().unwrap();
    let removing = settings(&tenant).remove_token_header().build().unwrap();
    let headers = [
        ("authorization", format!("Bearer {}", user(&tenant).mint())),
        ("x-other", "kept".to_owned()),
    ];
    // The token is new the first time, and cached the second time.
    for _ in 0..2 {
        let (_, seen_by_inner) = seen(&marking, "/", &headers).await;
        let kept = seen_by_inner.unwrap();
        assert!(kept["authorization"].is_sensitive());
        assert!(!format!("{kept:?}").contains("ey"));
        let (_, seen_by_inner) = seen(&removing, "/", &headers).await;
        let kept = seen_by_inner.unwrap();
        assert_eq!(kept.get("authorization"), None);
        assert_eq!(kept["x-other"], "kept");
    }
    // The Layer changes only the header that the source names.
    for removes in [false, true] {
        let settings = settings(&tenant).token_source(Forwarded);
        let settings = match removes {
            true => settings.remove_token_header(),
            false => settings,
        };
        let headers = [
            ("x-token", user(&tenant).mint()),
            ("x_token", "another spelling".to_owned()),
            ("authorization", "Basic eDp5".to_owned()),
        ];
        let (_, seen_by_inner) = seen(&settings.build().unwrap(), "/", &headers).await;
        let kept = seen_by_inner.unwrap();
        assert_eq!(kept["authorization"], "Basic eDp5");
        let token = kept.get("x-token").map(HeaderValue::is_sensitive);
        assert_eq!(token, (!removes).then_some(true));
        // The other spelling was never verified, and a reader like CGI takes it for the removed
        // header.
        assert_eq!(kept.contains_key("x_token"), !removes);
    }
    // On an open path the Layer checks no token, so it marks every value as sensitive.
    let open = marking.layer().open_path("/").unwrap();
    let service = open.layer(service_fn(async |request: Request<()>| {
        let mut values = request.headers().get_all("authorization").iter();
        assert!(values.all(HeaderValue::is_sensitive));
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let request = Request::builder()
        .header("authorization", "Bearer x")
        .header("authorization", "Bearer y");
    let response = service.oneshot(request.body(()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    let open = removing.layer().open_path("/").unwrap();
    let service = open.layer(service_fn(async |request: Request<()>| {
        assert!(request.headers().is_empty());
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let request = Request::builder().header("authorization", "Bearer x");
    let response = service.oneshot(request.body(()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
}
