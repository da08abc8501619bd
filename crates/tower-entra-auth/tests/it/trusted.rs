//! Tests of callers made from JSON, for the unit tests of this crate's users.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::Request;
use serde_json::json;
use tower::ServiceExt as _;
use tower_entra_auth::{Caller, EntraAuth, Problem, Scope, testing};

use crate::settings::good;
use crate::support::{OTHER_TENANT, settings, tenant, user};

async fn me(caller: Caller) -> String {
    caller.scopes().collect::<Vec<_>>().join(" ")
}

fn app(auth: &EntraAuth) -> Router {
    let readers = auth.require(Scope("Reports.Read")).unwrap();
    Router::new().route("/", get(me).layer(readers))
}

async fn status(app: Router, caller: Option<Caller>) -> u16 {
    let mut request = Request::new(Body::empty());
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    app.oneshot(request).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_trusted_caller_is_the_handlers_argument_or_stands_behind_the_caller_layer() {
    let auth = good().build().unwrap();
    let with = |scope: &str| testing::caller(&auth, json!({ "scp": scope })).unwrap();
    assert_eq!(me(with("a b")).await, "a b");
    assert!(auth.has_verified(&with("a")));

    let trusting = |caller| app(&auth).layer(testing::CallerLayer::new(caller));
    assert_eq!(status(trusting(with("Reports.Read")), None).await, 200);
    assert_eq!(status(trusting(with("Other")), None).await, 403);
    let own = Some(with("Reports.Read"));
    assert_eq!(status(trusting(with("Other")), own).await, 200);

    // The caller belongs to that `EntraAuth` alone.
    let other = good().build().unwrap();
    let elsewhere = app(&other).layer(testing::CallerLayer::new(with("Reports.Read")));
    assert_eq!(status(elsewhere, None).await, 500);
}

/// Checks that a test can use the application in the form in which it is served.
#[tokio::test]
async fn the_real_layer_takes_a_made_up_caller_of_its_own_and_nobody_elses() {
    let auth = good().build().unwrap();
    let real = || app(&auth).layer(auth.layer());
    let with = |auth, scope: &str| testing::caller(auth, json!({ "scp": scope })).unwrap();
    let as_caller = |caller| real().layer(testing::CallerLayer::new(caller));
    assert_eq!(
        status(as_caller(with(&auth, "Reports.Read")), None).await,
        200
    );
    assert_eq!(status(as_caller(with(&auth, "Other")), None).await, 403);
    assert_eq!(status(real(), Some(with(&auth, "Reports.Read"))).await, 200);
    assert_eq!(status(real(), None).await, 401);

    let other = good().build().unwrap();
    assert_eq!(
        status(as_caller(with(&other, "Reports.Read")), None).await,
        401
    );
    // A token is validated even if the request has a made-up caller.
    for credentials in ["Bearer a.b.c", "Bearer", "Basic eDp5"] {
        let request = Request::get("/").header("authorization", credentials);
        let request = request.body(Body::empty()).unwrap();
        let app = as_caller(with(&auth, "Reports.Read"));
        assert_eq!(
            app.oneshot(request).await.unwrap().status(),
            401,
            "{credentials}"
        );
    }
}

/// Checks that a request verified by the old Layer meets a requirement of the new settings.
#[tokio::test]
async fn a_request_that_is_under_way_outlives_a_reload() {
    let tenant = tenant().await;
    let old = settings(&tenant).build().unwrap();
    let token = user(&tenant).mint();
    for (new, expected) in [
        (settings(&tenant).replacing(&old), 200),
        (settings(&tenant), 500),
    ] {
        let readers = new.build().unwrap().require(Scope("Reports.Read")).unwrap();
        let routes = readers.route("/reports", get(|| async { "reports" }));
        let request = Request::get("/reports").header("authorization", format!("Bearer {token}"));
        let request = request.body(Body::empty()).unwrap();
        let response = old.protect(routes).oneshot(request).await.unwrap();
        assert_eq!(response.status(), expected);
    }
}

/// Checks that callers verified before a reload of the settings meet the requirements after it.
#[tokio::test]
async fn what_replaces_another_takes_its_callers_for_its_own() {
    let old = good().build().unwrap();
    let caller = || testing::caller(&old, json!({ "scp": "Reports.Read" })).unwrap();
    let new = good().replacing(&old).build().unwrap();
    assert!(new.has_verified(&caller()));
    let newest = good().replacing(&new).build().unwrap();
    for (auth, expected) in [(&new, 200), (&newest, 200), (&good().build().unwrap(), 500)] {
        let app = app(auth).layer(testing::CallerLayer::new(caller()));
        assert_eq!(status(app, None).await, expected);
        assert_eq!(auth.has_verified(&caller()), expected == 200);
    }

    let of_another_api = good().client_id(OTHER_TENANT).replacing(&old);
    let error = of_another_api.build().unwrap_err();
    let problems: Vec<_> = error.problems().map(Problem::setting).collect();
    assert_eq!(problems, ["replacing"], "{error}");
}
