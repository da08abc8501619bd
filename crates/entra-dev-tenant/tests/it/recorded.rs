//! Tests of the requests that an endpoint records.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::Request;
use entra_dev_tenant::DevTenant;
use tokio::time::Instant;
use tower::ServiceExt as _;

use crate::raw::{Place, tenant};
use crate::support::fetch;

#[tokio::test(start_paused = true)]
async fn a_request_is_recorded_with_method_path_query_headers_and_time() {
    let tenant = tenant().await;
    let start = Instant::now().into_std();
    for place in Place::ALL {
        tenant.time().advance(Duration::from_secs(10)).await;
        place.answer_to(&tenant, "user-agent: a test\r\n").await;
        let requests = place.endpoint(&tenant).requests();
        let [request] = &requests[..] else {
            panic!("{place:?}: {requests:?}");
        };
        let method = if place == Place::Token { "POST" } else { "GET" };
        assert_eq!(request.method, method);
        assert!(request.path_and_query.contains(tenant.id()));
        assert_eq!(request.header("user-agent"), Some("a test"));
        assert_eq!(request.header("accept"), None);
        assert!(request.arrived_at() >= start + Duration::from_secs(10));
        assert!(request.arrived_at() <= Instant::now().into_std());
    }
    let at = |place: Place| place.endpoint(&tenant).requests()[0].arrived_at();
    let apart = at(Place::Keys) - at(Place::Discovery);
    assert_eq!(apart.as_secs(), 10);

    let path = format!("/{}/discovery/keys?appid=1&x=%20", tenant.id());
    let request = Request::get(format!("{}{path}", tenant.url())).body(Bytes::new());
    let answered = tenant.http_client().oneshot(request.unwrap());
    answered.await.unwrap();
    assert_eq!(tenant.key_endpoint().requests()[1].path_and_query, path);
}

#[tokio::test]
async fn requests_that_a_fault_answers_are_recorded_and_those_while_it_is_down_are_not() {
    let tenant = tenant().await;
    tenant.key_endpoint().fail_with(503);
    Place::Keys.answer(&tenant).await;
    assert_eq!(recorded(&tenant), (1, 1));

    tenant.start_outage();
    let url = format!("{}/common/discovery/v2.0/keys", tenant.url());
    assert!(fetch(&url).await.is_err());
    assert_eq!(recorded(&tenant), (1, 1));

    tenant.end_outage();
    Place::Keys.answer(&tenant).await;
    assert_eq!(recorded(&tenant), (2, 2));
}

#[tokio::test]
async fn credentials_are_recorded_and_not_shown() {
    let tenant = tenant().await;
    let headers = "authorization: Bearer hush\r\ncookie: c=hush\r\n";
    Place::Token.answer_to(&tenant, headers).await;
    let requests = tenant.token_endpoint().requests();
    assert_eq!(requests[0].header("authorization"), Some("Bearer hush"));
    let shown = format!("{requests:?} {tenant:?} {:?}", tenant.token_endpoint());
    assert!(shown.contains("authorization"), "{shown}");
    assert!(
        !shown.contains("hush") && !shown.contains("s3cret"),
        "{shown}"
    );
}

fn recorded(tenant: &DevTenant) -> (usize, usize) {
    (
        tenant.key_endpoint().hits(),
        tenant.key_endpoint().requests().len(),
    )
}
