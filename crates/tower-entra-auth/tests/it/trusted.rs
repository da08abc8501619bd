//! Callers made of JSON, for unit tests of whoever uses this crate.

use axum::Router;
use axum::routing::get;
use http::Request;
use serde_json::json;
use tower::ServiceExt as _;
use tower_entra_auth::{Caller, EntraAuth, Scope, testing};

use crate::settings::good;

async fn me(caller: Caller) -> String {
    caller.scopes().collect::<Vec<_>>().join(" ")
}

fn app(auth: &EntraAuth) -> Router {
    let readers = auth.require(Scope("Reports.Read")).unwrap();
    Router::new().route("/", get(me).layer(readers))
}

async fn status(app: Router, caller: Option<Caller>) -> u16 {
    let mut request = Request::new(axum::body::Body::empty());
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    app.oneshot(request).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_trusted_caller_is_the_handlers_argument_or_stands_behind_the_trusting_layer() {
    let auth = good().build().unwrap();
    let with = |scope: &str| testing::caller(&auth, json!({ "scp": scope })).unwrap();
    assert_eq!(me(with("a b")).await, "a b");
    assert!(auth.has_verified(&with("a")));

    let trusting = |caller| app(&auth).layer(testing::CallerLayer::new(caller));
    assert_eq!(status(trusting(with("Reports.Read")), None).await, 200);
    assert_eq!(status(trusting(with("Other")), None).await, 403);
    let own = Some(with("Reports.Read"));
    assert_eq!(status(trusting(with("Other")), own).await, 200);

    // It is a caller of that one alone, and the real Layer asks for a token all the same.
    let other = good().build().unwrap();
    let elsewhere = app(&other).layer(testing::CallerLayer::new(with("Reports.Read")));
    assert_eq!(status(elsewhere, None).await, 500);
    let real = app(&auth).layer(auth.layer());
    assert_eq!(status(real, Some(with("Reports.Read"))).await, 401);
}
