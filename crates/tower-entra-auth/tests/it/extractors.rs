//! Tests of extractors and return values of handlers: the caller, an optional caller, and custom
//! claims.

use std::collections::HashMap;
use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::get;
use http::{HeaderValue, Request};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_entra_auth::{
    Caller, EntraAuth, Refusal, RequireLayer, Scope, axum::CustomClaims, refusal::ClaimsChallenge,
};

use crate::logs::Log;
use crate::support::{SECOND, auth, client, header, serve, settings, tenant, user};

#[derive(Deserialize)]
struct Office {
    office: String,
    floor: Option<u8>,
}

async fn office(CustomClaims(claims): CustomClaims<Office>) -> String {
    format!("{} {:?}", claims.office, claims.floor)
}

#[tokio::test]
async fn claims_come_as_a_type_of_ones_own_or_the_token_is_of_no_use() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let app = Router::new().route("/", get(office)).layer(auth.layer());
    let server = serve(app).await;
    let ask = |token: String, accept: &'static str| {
        let request = client().get(&server.url).bearer_auth(token);
        request.header("accept", accept).send()
    };
    let good = user(&tenant)
        .claim("office", "Oslo")
        .claim("floor", 3)
        .mint();
    let response = ask(good, "*/*").await.unwrap();
    assert_eq!(response.text().await.unwrap(), "Oslo Some(3)");
    for token in [
        user(&tenant).mint(),
        user(&tenant).claim("office", 3).mint(),
        user(&tenant)
            .claim("office", "secret place")
            .claim("floor", "3")
            .mint(),
    ] {
        let response = ask(token.clone(), "*/*").await.unwrap();
        assert_eq!(response.status(), 403);
        assert_eq!(
            header(&response, "www-authenticate").unwrap(),
            "Bearer error=\"insufficient_scope\", error_description=\"other_claims\""
        );
        assert_eq!(response.text().await.unwrap(), "other_claims\n");
        let response = ask(token, "application/json").await.unwrap();
        assert_eq!(
            response.text().await.unwrap(),
            r#"{"type":"about:blank","title":"Forbidden","status":403,"code":"other_claims"}"#
        );
    }
}

/// Compares every extractor's response with the Layer's response to the same request.
#[tokio::test]
async fn extractors_refuse_as_the_layer_does() {
    let tenant = tenant().await;
    let auth = settings(&tenant)
        .on_refusal(|refused, mut answer| {
            let code = refused.code();
            answer.headers_mut().insert("x-code", code.parse().unwrap());
            answer
        })
        .build()
        .unwrap();
    let strict = Router::new()
        .route("/", get(async |_: Caller| "never"))
        .layer(auth.layer());
    let optional = Router::new()
        .route("/", get(async |_: Caller| "never"))
        .layer(auth.layer().optional());
    let optional_claims = Router::new()
        .route("/", get(office))
        .layer(auth.layer().optional());
    let mut answers = Vec::new();
    for app in [strict, optional, optional_claims] {
        let server = serve(app).await;
        for (name, value) in [
            ("accept", "*/*"),
            ("accept", "application/json"),
            ("content-type", "application/grpc"),
        ] {
            let request = client().get(&server.url).header(name, value);
            let response = request.send().await.unwrap();
            let mut headers: HashMap<String, Vec<u8>> = HashMap::new();
            for (name, value) in response.headers() {
                if name != "date" {
                    headers.insert(name.to_string(), value.as_bytes().to_vec());
                }
            }
            let status = response.status();
            let body = response.bytes().await.unwrap();
            answers.push((value, status, headers, body));
        }
    }
    let (layer, extractors) = answers.split_at(3);
    for (index, answer) in extractors.iter().enumerate() {
        assert_eq!(answer, &layer[index % 3]);
        assert_eq!(answer.2["x-code"], b"no_credentials");
    }
}

/// Moves money if the sign-in was strong enough, and otherwise requests a stronger one.
async fn transfer(caller: Caller) -> Result<&'static str, Refusal> {
    let is_strong = caller
        .authentication_contexts()
        .any(|context| context == "c2");
    if is_strong {
        Ok("moved")
    } else {
        Err(caller.challenge(ClaimsChallenge::authentication_context("c2").unwrap()))
    }
}

/// Checks that a handler's own refusals have the form, the log line and the code of the Layer's
/// refusals.
#[tokio::test]
async fn a_handler_forbids_and_puts_off_in_the_layers_form() {
    let tenant = tenant().await;
    let (log, _guard) = Log::capture();
    let auth = auth(&tenant);
    let app = Router::new()
        .route(
            "/forbidden",
            get(async |caller: Caller| Err::<(), _>(caller.forbid("no_subscription"))),
        )
        .route(
            "/not-now",
            get(async |caller: Caller| Err::<(), _>(caller.unavailable("no_database", 7 * SECOND))),
        )
        .layer(auth.layer());
    let token = user(&tenant).mint();
    let ask = async |path: &str, accept: &str| {
        let request = Request::get(path)
            .header("authorization", format!("Bearer {token}"))
            .header("accept", accept);
        let response = app.clone().oneshot(request.body(Body::empty()).unwrap());
        response.await.unwrap()
    };
    let response = ask("/forbidden", "*/*").await;
    assert_eq!(response.status(), 403);
    assert_eq!(
        response.headers()["www-authenticate"],
        "Bearer error=\"insufficient_scope\", error_description=\"no_subscription\""
    );
    let response = ask("/forbidden", "application/json").await;
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let response = ask("/not-now", "*/*").await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "7");
    assert!(!response.headers().contains_key("www-authenticate"));
    let log = log.text();
    for said in [
        "a handler refuses a caller code=\"no_subscription\"",
        "a handler cannot decide about a caller now code=\"no_database\"",
    ] {
        assert!(log.contains(said), "{said} in {log}");
    }

    let caller = auth.verify(&token).await.unwrap();
    let (forbidden, later) = (caller.forbid("x"), caller.unavailable("y", SECOND));
    assert_eq!(
        (forbidden.code(), forbidden.public_code()),
        ("x", Some("x"))
    );
    assert!(!forbidden.is_unavailable() && later.is_unavailable());
    assert_eq!(forbidden.grpc_metadata()["grpc-status"], "7");
    assert_eq!(later.grpc_metadata()["grpc-status"], "14");
}

#[tokio::test]
async fn a_handler_challenges_whoever_understands_it() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let app = Router::new().route("/", get(transfer)).layer(auth.layer());
    let server = serve(app).await;
    for (token, status, challenge) in [
        (user(&tenant).claim("acrs", ["c2"]), 200, None),
        (
            user(&tenant).claim("xms_cc", ["CP1"]),
            401,
            Some(
                "Bearer error=\"insufficient_claims\", \
                 claims=\"eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzIifX19\", \
                 authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\", \
                 error_description=\"claims_challenge\"",
            ),
        ),
        (
            user(&tenant).claim("xms_cc", ["cp2"]),
            403,
            Some("Bearer error=\"insufficient_scope\", error_description=\"claims_challenge\""),
        ),
        (
            user(&tenant),
            403,
            Some("Bearer error=\"insufficient_scope\", error_description=\"claims_challenge\""),
        ),
    ] {
        let request = client().get(&server.url).bearer_auth(token.mint());
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(header(&response, "www-authenticate"), challenge);
    }
}

/// Pays if the caller meets the requirement.
async fn pay(caller: Caller, State(strong): State<RequireLayer>) -> Result<String, Refusal> {
    strong.check(&caller)?;
    Ok("paid".to_owned())
}

#[tokio::test]
async fn a_requirement_is_checked_in_a_handler_as_on_a_route() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let of_another = settings(&tenant)
        .on_refusal(|_, mut answer| {
            let mark = HeaderValue::from_static("of another");
            answer.headers_mut().insert("x-mark", mark);
            answer
        })
        .build()
        .unwrap();
    let required = |auth: &EntraAuth| auth.require(Scope("Pay")).unwrap();
    let app = Router::new()
        .route("/route", get(async || "paid").layer(required(&auth)))
        .route("/handler", get(pay).with_state(required(&auth)))
        .route(
            "/other/route",
            get(async || "paid").layer(required(&of_another)),
        )
        .route("/other/handler", get(pay).with_state(required(&of_another)))
        .layer(auth.layer());
    let server = serve(app).await;
    for (at, token, status) in [
        ("", user(&tenant).scope("Pay"), 200),
        ("", user(&tenant), 403),
        ("/other", user(&tenant).scope("Pay"), 500),
    ] {
        let token = token.mint();
        for accept in ["*/*", "application/json"] {
            let mut answers = Vec::new();
            for path in ["route", "handler"] {
                let url = format!("{}{at}/{path}", server.url);
                let request = client().get(url).bearer_auth(&token);
                let response = request.header("accept", accept).send().await.unwrap();
                assert_eq!(response.status(), status, "{path}");
                let is_problem =
                    header(&response, "content-type") == Some("application/problem+json");
                assert_eq!(is_problem, status != 200 && accept == "application/json");
                // The requirement's `EntraAuth` creates the response, not the caller's.
                let mark = header(&response, "x-mark");
                assert_eq!(mark.is_some(), at == "/other", "{path}");
                answers.push((
                    header(&response, "www-authenticate").map(str::to_owned),
                    response.text().await.unwrap(),
                ));
            }
            assert_eq!(answers[0], answers[1]);
        }
    }
}

/// Checks that a service without axum can turn a refusal into a response.
#[tokio::test]
async fn a_handler_refusal_is_answered_as_the_request_wants_it() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let pay = auth.require(Scope("Pay")).unwrap();
    let service = auth.layer().layer(service_fn(async |request: Request<()>| {
        let (parts, ()) = request.into_parts();
        let caller = parts.extensions.get::<Caller>().unwrap();
        let refusal = pay.check(caller).unwrap_err();
        assert_eq!(refusal.code(), "missing_scope");
        assert!(!format!("{refusal:?} {refusal}").contains("lovelace"));
        Ok::<_, Infallible>(refusal.response_to(&parts))
    }));
    for (method, name, value, status, body) in [
        ("GET", "accept", "*/*", 403, "missing_scope\n"),
        ("HEAD", "accept", "*/*", 403, ""),
        (
            "GET",
            "accept",
            "application/json",
            403,
            r#"{"type":"about:blank","title":"Forbidden","status":403,"code":"missing_scope"}"#,
        ),
        ("POST", "content-type", "application/grpc", 200, ""),
    ] {
        let token = format!("Bearer {}", user(&tenant).mint());
        let request = Request::builder().method(method).header(name, value);
        let request = request.header("authorization", token).body(()).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status);
        assert!(response.headers().contains_key("www-authenticate"));
        let found = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(found, body, "{method}");
    }
}

#[test]
fn a_claims_challenge_is_a_claims_request() {
    let moment = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    assert_eq!(
        ClaimsChallenge::issued_after(moment).json(),
        r#"{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}"#
    );
    for id in ["", "c0", "c100", "C1", "c1 "] {
        assert!(ClaimsChallenge::authentication_context(id).is_err(), "{id}");
    }
    let request = r#"{"id_token":{"auth_time":{"essential":true}}}"#;
    assert_eq!(ClaimsChallenge::from_json(request).unwrap().json(), request);
    let long = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
    assert!(ClaimsChallenge::from_json(&long(4096)).is_ok());
    for text in ["", "null", "[]", "{", "{} {}", &long(4097)] {
        assert!(ClaimsChallenge::from_json(text).is_err(), "{text}");
    }
    let hint = r#"{"id_token":{"login_hint":{"value":"ada@example.com"}}}"#;
    let challenge = ClaimsChallenge::from_json(hint).unwrap();
    assert!(!format!("{challenge:?}").contains("ada"));
}
