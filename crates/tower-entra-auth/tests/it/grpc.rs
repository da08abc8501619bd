//! Tests of what tonic's gRPC client sees, with a service whose code tonic-health provides.

use axum::Router;
use http::HeaderValue;
use serde_json::json;
use tonic::Code;
use tower::Layer as _;
use tower_entra_auth::{
    EntraAuth, EntraLayer, Group, RequireLayer, Scope, UserRole, layer::InvalidPath,
    require::AuthenticationContext, testing,
};

use crate::grpc_api::{
    Api, BOTH, Method, Seen, With, bearer, call, call_with, serve, serve_routes, service,
};
use crate::support::{
    API, CLIENT, MINUTE, NO_TOKEN, OTHER_TENANT, Scene, Server, auth, settings, tenant, user,
};

fn error(message: &str, error: &str) -> String {
    format!("Bearer error=\"{error}\", error_description=\"{message}\"")
}

/// Calls both methods in each way of calling, and checks the refusal.
async fn expect(
    server: &Server,
    authorization: &[&str],
    (code, message): (Code, &str),
    challenge: Option<&str>,
) {
    let timeout = Some(MINUTE);
    for method in BOTH {
        for with in [
            With::default(),
            With {
                timeout,
                compression: false,
            },
            With {
                timeout,
                compression: true,
            },
        ] {
            let Seen { messages, end } = call(server, method, authorization, with).await;
            let status = end.unwrap_err();
            let told = (status.code(), status.message());
            assert_eq!(told, (code, message), "{method:?} {with:?}");
            let found = status.metadata().get("www-authenticate");
            let found = found.map(|value| value.to_str().unwrap());
            assert_eq!(found, challenge, "{method:?} {with:?} {message}");
            assert_eq!(messages, 0);
        }
    }
}

#[tokio::test]
async fn a_good_call_passes_unary_and_streaming_with_timeout_and_compression() {
    let scene = Scene::start().await;
    let three = Api {
        messages: Some(3),
        ..Api::default()
    };
    let server = serve(scene.auth.layer(), three).await;
    for compression in [false, true] {
        for (method, expected) in [(Method::Unary, 1), (Method::Streaming, 3)] {
            let with = With {
                timeout: Some(MINUTE),
                compression,
            };
            let seen = call(&server, method, &[&bearer(&scene.token())], with).await;
            assert!(seen.end.is_ok(), "{seen:?}");
            assert_eq!(seen.messages, expected);
        }
    }
}

#[tokio::test]
async fn no_credentials_and_bad_ones_are_unauthenticated() {
    let scene = Scene::start().await;
    let server = serve(scene.auth.layer(), Api::default()).await;
    let tenant = &scene.tenant;
    let bare = Some("Bearer");
    let unauthenticated = |message| (Code::Unauthenticated, message);
    expect(&server, &[], unauthenticated(NO_TOKEN.trim_end()), bare).await;
    expect(
        &server,
        &["Basic YTpi"],
        unauthenticated("no bearer token; send one header Authorization: Bearer <access token>"),
        bare,
    )
    .await;
    let good = bearer(&user(tenant).mint());
    let expired = bearer(&user(tenant).expired().mint());
    let of_another = bearer(&user(tenant).of_tenant(OTHER_TENANT).mint());
    let forged = bearer(&user(tenant).bad_signature().mint());
    for (authorization, message) in [
        (&[&*good, &*good][..], "several_authorizations"),
        (&["Bearer"], "malformed_authorization"),
        (&["Bearer a b"], "malformed_authorization"),
        (&["Bearer garbage"], "not_a_token"),
        (&[&expired], "expired"),
        (&[&of_another], "tenant_not_allowed"),
        (&[&forged], "untrusted_signature"),
    ] {
        let challenge = error(message, "invalid_token");
        expect(
            &server,
            authorization,
            unauthenticated(message),
            Some(&challenge),
        )
        .await;
    }
}

/// Returns two servers: with the requirement as a Layer around a method's route, and in the methods
/// themselves.
async fn requiring(layer: EntraLayer, required: RequireLayer) -> [Server; 2] {
    let around = required.layer(service(Api::default()));
    let routes = Router::new().route_service("/grpc.health.v1.Health/{method}", around);
    let within = Api {
        required: Some(required),
        ..Api::default()
    };
    [
        serve_routes(layer.clone(), routes).await,
        serve(layer, within).await,
    ]
}

#[tokio::test]
async fn a_token_without_the_permission_is_denied() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let denied = |message| (Code::PermissionDenied, message);
    let insufficient = |message| error(message, "insufficient_scope");

    let server = serve(auth.layer(), Api::default()).await;
    let nothing = bearer(&tenant.app(CLIENT).for_api(API).mint());
    let challenge = insufficient("no_permission");
    expect(
        &server,
        &[&nothing],
        denied("no_permission"),
        Some(&challenge),
    )
    .await;

    let plain = bearer(&user(&tenant).mint());
    let overage = bearer(&user(&tenant).groups_overage().mint());
    let group = "11111111-2222-4333-8444-555555555555";
    let scoped = format!(
        "Bearer error=\"insufficient_scope\", scope=\"api://{API}/Reports.Write\", \
         error_description=\"missing_scope\""
    );
    for (required, token, message, challenge) in [
        (
            auth.require(Scope("Reports.Write")).unwrap(),
            &plain,
            "missing_scope",
            scoped,
        ),
        (
            auth.require(UserRole("Admin")).unwrap(),
            &plain,
            "missing_role",
            insufficient("missing_role"),
        ),
        (
            auth.require(Group(group)).unwrap(),
            &overage,
            "groups_overage",
            insufficient("groups_overage"),
        ),
        (
            auth.require(AuthenticationContext("c1")).unwrap(),
            &plain,
            "step_up",
            insufficient("step_up"),
        ),
    ] {
        for server in requiring(auth.layer(), required).await {
            expect(&server, &[token], denied(message), Some(&challenge)).await;
        }
    }
}

const STEP_UP: &str = "Bearer error=\"insufficient_claims\", \
    claims=\"eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19\", \
    authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\"";

#[tokio::test]
async fn step_up_is_unauthenticated_with_the_claims_for_who_understands_them() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let capable = bearer(&user(&tenant).capability("cp1").mint());
    let challenge = |code| format!("{STEP_UP}, error_description=\"{code}\"");
    let required = auth.require(AuthenticationContext("c1")).unwrap();
    for server in requiring(auth.layer(), required).await {
        let status = (Code::Unauthenticated, "step_up");
        expect(&server, &[&capable], status, Some(&challenge("step_up"))).await;
    }

    let challenging = Api {
        challenges: true,
        ..Api::default()
    };
    let server = serve(auth.layer(), challenging).await;
    let status = (Code::Unauthenticated, "claims_challenge");
    let expected = challenge("claims_challenge");
    expect(&server, &[&capable], status, Some(&expected)).await;
    let plain = bearer(&user(&tenant).mint());
    let expected = error("claims_challenge", "insufficient_scope");
    let status = (Code::PermissionDenied, "claims_challenge");
    expect(&server, &[&plain], status, Some(&expected)).await;
}

#[tokio::test]
async fn an_anonymous_call_is_unauthenticated_where_something_is_required() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let required = auth.require(Scope("Reports.Read")).unwrap();
    for server in requiring(auth.layer().optional(), required).await {
        expect(
            &server,
            &[],
            (Code::Unauthenticated, NO_TOKEN.trim_end()),
            Some("Bearer"),
        )
        .await;
        let token = user(&tenant).mint();
        assert!(call_with(&server, Method::Unary, &token).await.end.is_ok());
    }
}

#[tokio::test]
async fn the_wrong_layer_is_an_internal_error() {
    let tenant = tenant().await;
    let (auth, other) = (auth(&tenant), auth(&tenant));
    let token = bearer(&user(&tenant).mint());
    let required = other.require(Scope("Reports.Read")).unwrap();
    for server in requiring(auth.layer(), required).await {
        expect(&server, &[&token], (Code::Internal, "wrong_layer"), None).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_told_now_is_unavailable_with_retry_after() {
    let tenant = tenant().await;
    let rule = |_| async { Err::<bool, _>("the database is away") };
    let of_rule = settings(&tenant).tenant_rule(rule).build().unwrap();
    let by_rule = serve(of_rule.layer(), Api::default()).await;
    let token = user(&tenant).mint();
    expect_unavailable(&by_rule, &token, "tenant_rule_unavailable").await;

    tenant.start_outage();
    let of_keys = auth(&tenant);
    let by_keys = serve(of_keys.layer(), Api::default()).await;
    expect_unavailable(&by_keys, &token, "keys_unavailable").await;
}

async fn expect_unavailable(server: &Server, token: &str, message: &str) {
    for method in BOTH {
        let status = call_with(server, method, token).await.end.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::Unavailable, message)
        );
        let after = status.metadata().get("retry-after").unwrap();
        assert!(after.to_str().unwrap().parse::<u64>().unwrap() >= 1);
        assert_eq!(status.metadata().get("www-authenticate"), None);
    }
}

#[tokio::test]
async fn an_unknown_key_is_unauthenticated_once_it_was_fetched_for_in_vain_and_else_unavailable() {
    let scene = Scene::start().await;
    let server = serve(scene.auth.layer(), Api::default()).await;
    let unknown = user(&scene.tenant).header("kid", "unknown").mint();
    let seen = call(&server, BOTH[0], &[&bearer(&unknown)], With::default()).await;
    let status = seen.end.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unauthenticated, "untrusted_signature")
    );
    expect_unavailable(&server, &unknown, "key_refresh_pending").await;
}

#[tokio::test]
async fn a_service_that_is_open_by_name_needs_no_token_and_no_other_path_is() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let open = auth.layer().open_grpc_service("grpc.health.v1.Health");
    let server = serve(
        open.unwrap(),
        Api {
            messages: Some(1),
            ..Api::default()
        },
    )
    .await;
    for method in BOTH {
        let seen = call(&server, method, &[], With::default()).await;
        assert!(seen.end.is_ok(), "{seen:?}");
        // The Layer does not check the token.
        let bad = call(&server, method, &["Bearer garbage"], With::default()).await;
        assert!(bad.end.is_ok(), "{bad:?}");
    }

    let layer = auth.layer().open_grpc_service("grpc.health.v1.Health");
    let closed = auth.layer().open_grpc_service("health.v1.Health").unwrap();
    let protected = serve(closed, Api::default()).await;
    expect(
        &protected,
        &[],
        (Code::Unauthenticated, NO_TOKEN.trim_end()),
        Some("Bearer"),
    )
    .await;

    let anything = Router::new().fallback(async || "reached");
    let server = crate::support::serve(anything.layer(layer.unwrap())).await;
    for path in [
        "/grpc.health.v1.Health",
        "/grpc.health.v1.Health/",
        "/grpc.health.v1.Health/Check/more",
        "/grpc.health.v1.Health/Check/",
        "/grpc.health.v1.Health//Check",
        "/grpc.health.v1.Health/%43heck",
        "/grpc.health.v1.Health/..%2fadmin",
        "/grpc.health.v1.Health/Check;x",
        "/grpc.health.v1.Health/1",
        "/grpc.health.v1.Healthy/Check",
        "/GRPC.health.v1.Health/Check",
        "/x/grpc.health.v1.Health/Check",
        "//grpc.health.v1.Health/Check",
    ] {
        let response = crate::support::ask_without_token(&server, path).await;
        assert_eq!(response.status(), 401, "{path}");
    }
    let response = crate::support::ask_without_token(&server, "/grpc.health.v1.Health/Check?x=1");
    assert_eq!(response.await.status(), 200);
}

#[test]
fn only_the_full_name_of_a_service_can_be_open() {
    let auth = EntraAuth::builder()
        .tenant(OTHER_TENANT)
        .client_id(API)
        .build()
        .unwrap();
    let open = |name: &str| auth.layer().open_grpc_service(name).map(drop);
    for good in ["grpc.health.v1.Health", "Health", "a_b._c.D2"] {
        assert!(open(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        ".",
        "grpc..Health",
        "/grpc.health.v1.Health",
        "grpc.health.v1.Health/Check",
        "grpc.health.v1.Health/",
        "*",
        "2a",
        "é",
        "a b",
    ] {
        let error: InvalidPath = open(bad).unwrap_err();
        assert!(
            error.to_string().contains("grpc.health.v1.Health"),
            "{error}"
        );
    }
}

/// Checks that a request without gRPC's content type is refused like any request, with its HTTP
/// status.
#[tokio::test]
async fn a_broken_content_type_of_grpc_is_refused_in_the_open() {
    let scene = Scene::start().await;
    let server = serve(scene.auth.layer(), Api::default()).await;
    let url = format!("{}/grpc.health.v1.Health/Check", server.url);
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    let client = client.http2_prior_knowledge().build().unwrap();
    for values in [
        &[&b""[..]][..],
        &[b"application/grpcx"],
        &[b"application/grpc-web+proto"],
        &[b"application/ grpc"],
        &[b"\xff\xfe"],
        &[b"application/json", b"application/grpc"],
        &[b"application/grpc\xff"],
        &[],
    ] {
        for token in [
            None,
            Some("garbage".to_owned()),
            Some(user(&scene.tenant).expired().mint()),
        ] {
            let mut request = client.post(&url).body("");
            for value in values {
                request = request.header("content-type", HeaderValue::from_bytes(value).unwrap());
            }
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 401, "{values:?}");
            assert!(!response.headers().contains_key("grpc-status"));
        }
    }
    // A request with gRPC's content type is refused as gRPC, regardless of the value's suffix.
    for value in [
        "application/grpc;",
        "application/grpc+",
        "APPLICATION/GRPC+x;y",
    ] {
        let request = client.post(&url).header("content-type", value).body("");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "16");
        assert_eq!(response.headers()["content-type"], "application/grpc");
    }
}

/// Checks that the metadata contains no other headers of a response, because it may become the
/// trailers of one.
#[test]
fn the_metadata_of_a_refusal_is_status_message_and_challenge() {
    let auth = EntraAuth::builder().tenant(OTHER_TENANT).client_id(API);
    let auth = auth.build().unwrap();
    let caller = testing::caller(&auth, json!({ "scp": "Reports.Read" })).unwrap();
    let required = auth.require(Scope("Reports.Write")).unwrap();
    let metadata = required.check(&caller).unwrap_err().grpc_metadata();
    let mut names: Vec<&str> = metadata.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["grpc-message", "grpc-status", "www-authenticate"]);
    assert_eq!(metadata["grpc-status"], "7");
}

/// Checks that the status stays, regardless of the response that an `on_refusal` function returns.
#[tokio::test]
async fn a_refusal_in_a_method_keeps_its_status_whatever_the_hook_returns() {
    let tenant = tenant().await;
    let auth = settings(&tenant)
        .on_refusal(|_, _| http::Response::new("teapot".into()))
        .build()
        .unwrap();
    let required = auth.require(Scope("Reports.Write")).unwrap();
    let api = Api {
        required: Some(required),
        ..Api::default()
    };
    let server = serve(auth.layer(), api).await;
    let token = user(&tenant).mint();
    let status = call_with(&server, Method::Unary, &token).await.end;
    assert_eq!(status.unwrap_err().code(), Code::PermissionDenied);
}
