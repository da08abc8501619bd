//! Tests of the service's own rule about callers.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::time::advance;
use tower::{Layer as _, ServiceExt as _};
use tower_entra_auth::{Caller, EntraAuth, Tenancy, expiry::TokenExpired, testing};

use crate::grpc_api;
use crate::support::{
    MINUTE, OTHER_TENANT, SECOND, app, ask, header, serve, settings, status, tenant, user,
};
use crate::tenants::Rule;

const ADA: &str = "11111111-2222-4333-8444-555555555555";
const BOB: &str = "99999999-2222-4333-8444-555555555555";

/// A list that blocks users by their object ids and counts the questions about each.
#[derive(Clone, Default)]
struct Blocklist {
    blocked: Arc<Mutex<HashSet<String>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Blocklist {
    async fn admits(&self, caller: &Caller) -> Result<bool, &'static str> {
        let id = caller.object_id().ok_or("no object id")?.to_string();
        self.asked.lock().unwrap().push(id.clone());
        Ok(!self.blocked.lock().unwrap().contains(&id))
    }

    fn block(&self, id: &str) {
        self.blocked.lock().unwrap().insert(id.to_owned());
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// Returns settings with a caller rule that is a capturing async closure, as in a service.
fn protected(
    tenant: &entra_dev_tenant::DevTenant,
    list: &Blocklist,
) -> tower_entra_auth::EntraAuthBuilder {
    let list = list.clone();
    settings(tenant)
        .tenant(Tenancy::organizations())
        .caller_rule(async move |caller| list.admits(&caller).await)
}

#[tokio::test(start_paused = true)]
async fn the_rule_sees_the_caller_and_a_yes_is_kept_for_this_token_alone() {
    let tenant = tenant().await;
    let list = Blocklist::default();
    let server = serve(app(&protected(&tenant, &list).build().unwrap())).await;
    let ada = user(&tenant).claim("oid", ADA).mint();
    for _ in 0..3 {
        assert_eq!(status(&server, &ada).await, 200);
    }
    assert_eq!(list.asked(), 1);

    // Another user of the same tenant, and the first user with another token, are asked about.
    list.block(BOB);
    let bob = user(&tenant).claim("oid", BOB).mint();
    assert_eq!(status(&server, &bob).await, 403);
    let again = user(&tenant).claim("oid", ADA).expires_in(600).mint();
    assert_ne!(again, ada);
    assert_eq!(status(&server, &again).await, 200);
    assert_eq!(*list.asked.lock().unwrap(), [ADA, BOB, ADA]);

    // The rule is asked again about a cached token too.
    list.block(ADA);
    advance(5 * MINUTE - SECOND).await;
    assert_eq!(status(&server, &ada).await, 200);
    advance(2 * SECOND).await;
    assert_eq!(status(&server, &ada).await, 403);
}

#[tokio::test(start_paused = true)]
async fn a_no_is_403_for_a_second_and_no_answer_503() {
    let tenant = tenant().await;
    let rule = Rule::saying(Ok(false));
    let asked = rule.clone();
    let builder = settings(&tenant).caller_rule(move |_| rule.ask());
    let rule = asked;
    let server = serve(app(&builder.build().unwrap())).await;
    let token = user(&tenant).mint();
    let response = ask(&server, &token).await;
    assert_eq!(response.status(), 403);
    assert_eq!(
        header(&response, "www-authenticate").unwrap(),
        "Bearer error=\"insufficient_scope\", error_description=\"caller_not_allowed\""
    );
    assert_eq!(response.text().await.unwrap(), "caller_not_allowed\n");
    rule.says(Err("database down: secret connection string"));
    assert_eq!(status(&server, &token).await, 403);
    assert_eq!(rule.asked(), 1);
    advance(SECOND).await;
    let response = ask(&server, &token).await;
    assert_eq!(response.status(), 503);
    assert_eq!(header(&response, "retry-after"), Some("5"));
    assert_eq!(response.text().await.unwrap(), "caller_rule_unavailable\n");
    rule.says(Ok(true));
    assert_eq!(status(&server, &token).await, 200);
    assert_eq!(rule.asked(), 3);
}

#[tokio::test]
async fn only_callers_that_every_other_rule_admits_are_asked_about() {
    let tenant = tenant().await;
    let list = Blocklist::default();
    let of_tenants = Rule::saying(Ok(false));
    let asked = of_tenants.clone();
    let builder = protected(&tenant, &list).tenant_rule(move |_| asked.ask());
    let server = serve(app(&builder.build().unwrap())).await;
    assert_eq!(status(&server, &user(&tenant).mint()).await, 401);
    assert_eq!(status(&server, &user(&tenant).expired().mint()).await, 401);
    assert_eq!(of_tenants.asked(), 1);
    assert_eq!(list.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_can_be_forgotten_and_ends_streams() {
    let tenant = tenant().await;
    let list = Blocklist::default();
    let auth = protected(&tenant, &list).build().unwrap();
    let ada = user(&tenant).claim("oid", ADA).mint();
    let caller = auth.verify(&ada).await.unwrap();
    let stream = tokio::spawn(caller.expired(MINUTE));
    list.block(ADA);
    assert!(auth.verify(&ada).await.is_ok());
    // Forgetting another tenant has no effect on this caller.
    auth.forget_tenant(OTHER_TENANT.parse().unwrap());
    assert!(auth.verify(&ada).await.is_ok());
    assert_eq!(list.asked(), 1);
    auth.forget_tenant(caller.tenant_id());
    let refusal = auth.verify(&ada).await.unwrap_err();
    assert_eq!(refusal.code(), "caller_not_allowed");
    assert_eq!(
        refusal.to_string(),
        "the caller is refused: caller_not_allowed"
    );
    assert!(
        refusal.remedy().contains("caller_rule(..)"),
        "{}",
        refusal.remedy()
    );

    // The stream asks the rule when the cached yes would have expired.
    let begun = tokio::time::Instant::now();
    stream.await.unwrap();
    assert!(begun.elapsed() <= 5 * MINUTE, "{:?}", begun.elapsed());
    assert!(begun.elapsed() >= 4 * MINUTE, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_response_ends_with_the_code_of_the_no() {
    let tenant = tenant().await;
    let list = Blocklist::default();
    let auth = protected(&tenant, &list).build().unwrap();
    let ada = user(&tenant).claim("oid", ADA).mint();
    let endless = |_| async {
        let chunks = futures_util::stream::pending::<Result<Bytes, Infallible>>();
        Ok::<_, Infallible>(http::Response::new(Body::from_stream(chunks)))
    };
    let never = |_| std::future::pending::<Result<http::Response<Body>, Infallible>>();
    let request = || {
        let request = http::Request::get("/").header("authorization", format!("Bearer {ada}"));
        request.body(Body::empty()).unwrap()
    };
    let ends = auth.end_at_expiry(MINUTE);

    // The body of a response that has begun.
    let service = auth.layer().layer(ends.layer(tower::service_fn(endless)));
    let response = service.oneshot(request()).await.unwrap();
    list.block(ADA);
    let error = response.into_body().collect().await.unwrap_err();
    let end = std::iter::successors(
        Some(&*error as &(dyn std::error::Error + 'static)),
        |error| error.source(),
    );
    let end = end.filter_map(|error| error.downcast_ref::<TokenExpired>());
    let codes: Vec<_> = end.map(TokenExpired::code).collect();
    assert_eq!(codes, ["caller_not_allowed"]);

    // A response that has not begun.
    list.blocked.lock().unwrap().clear();
    auth.forget_tenant(tenant.id().parse().unwrap());
    let service = auth.layer().layer(ends.layer(tower::service_fn(never)));
    let waiting = tokio::spawn(service.oneshot(request()));
    let asked = list.asked();
    while list.asked() == asked {
        tokio::task::yield_now().await;
    }
    list.block(ADA);
    let response = waiting.await.unwrap().unwrap();
    assert_eq!(response.status(), 403);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "caller_not_allowed\n");
}

#[tokio::test(start_paused = true)]
async fn grpc_callers_get_the_status_permission_denied_at_once_or_in_the_trailers() {
    let tenant = tenant().await;
    let list = Blocklist::default();
    let auth = protected(&tenant, &list).build().unwrap();
    let server = grpc_api::serve_until_expiry(&auth, grpc_api::Api::default(), MINUTE).await;
    let (ada, bob) = (
        user(&tenant).claim("oid", ADA).mint(),
        user(&tenant).claim("oid", BOB).mint(),
    );
    let denied = |seen: grpc_api::Seen| {
        let end = seen.end.unwrap_err();
        assert_eq!(
            (end.code(), end.message()),
            (tonic::Code::PermissionDenied, "caller_not_allowed")
        );
        seen.messages
    };
    list.block(BOB);
    let messages = denied(grpc_api::call_with(&server, grpc_api::Method::Streaming, &bob).await);
    assert_eq!(messages, 0);

    let call = grpc_api::call_with(&server, grpc_api::Method::Streaming, &ada);
    let ending = async {
        tokio::time::sleep(MINUTE).await;
        list.block(ADA);
    };
    let (seen, ()) = tokio::join!(call, ending);
    assert!(denied(seen) > 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_time_to_keep_a_yes_the_rule_is_asked_with_every_request() {
    let tenant = tenant().await;
    let list = Blocklist::default();
    let builder = protected(&tenant, &list).rule_ttl(std::time::Duration::ZERO);
    let server = serve(app(&builder.build().unwrap())).await;
    let ada = user(&tenant).claim("oid", ADA).mint();
    for asked in 1..4 {
        assert_eq!(status(&server, &ada).await, 200);
        assert_eq!(list.asked(), asked);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_panics_refuses_for_now() {
    let tenant = tenant().await;
    let builder = settings(&tenant).caller_rule(async |caller: Caller| {
        assert!(caller.object_id().is_none(), "a fault of the service");
        Ok::<_, Infallible>(true)
    });
    let server = serve(app(&builder.build().unwrap())).await;
    let response = ask(&server, &user(&tenant).mint()).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.text().await.unwrap(), "caller_rule_unavailable\n");
}

/// Checks that the rule is not asked about a caller that a test made up: no rule can know such a
/// caller.
#[tokio::test]
async fn a_caller_that_is_made_up_is_not_asked_about() {
    let tenant = tenant().await;
    let list = Blocklist::default();
    let auth: EntraAuth = protected(&tenant, &list).build().unwrap();
    let ada = testing::caller(&auth, serde_json::json!({ "scp": "Reports.Read" })).unwrap();
    let service = app(&auth).layer(testing::CallerLayer::new(ada));
    let request = http::Request::get("/me").body(Body::empty()).unwrap();
    assert_eq!(service.oneshot(request).await.unwrap().status(), 200);
    assert_eq!(list.asked(), 0);
}
