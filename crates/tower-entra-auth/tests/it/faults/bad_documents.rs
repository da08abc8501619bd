//! Tests that invalid documents and documents of others are failed fetches, for both kinds of
//! document.

use entra_dev_tenant::{DevCloud, DevTenant, Endpoint, Fault};
use serde_json::json;
use tokio::time::sleep;

use super::{Place, hits};
use crate::support::{ACCEPTED, MINUTE, OTHER_TENANT, SECOND, Scene, header, retry_after, tenant};

/// Checks a fault of either document that is noticed immediately.
async fn is_a_failed_fetch(spoil: impl Fn(&Endpoint) -> Fault<'_>, code: &str) {
    for place in Place::BOTH {
        is_a_failed_fetch_of(place, |tenant| spoil(place.of(tenant)), code).await;
    }
}

/// Checks that a fault of one document is a failed fetch.
///
/// During the fault, tokens of held keys are accepted, and tokens of a new key get 503. After the
/// two attempts of the bucket, only the back-off starts fetches. After the fault, all tokens are
/// accepted with the schedule's next attempt.
async fn is_a_failed_fetch_of(place: Place, spoil: impl Fn(&DevTenant) -> Fault<'_>, code: &str) {
    let scene = Scene::start().await;
    let remembered = scene.token();
    let unseen: [String; 6] = scene.tokens();
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    assert_eq!(hits(&scene.tenant), (1, 1));
    scene.tenant.signing_keys().rotate();
    let new = scene.token();

    spoil(&scene.tenant);
    for (round, held) in unseen[..4].iter().enumerate() {
        let response = scene.response(&new).await;
        assert_eq!(response.status(), 503, "{place:?} {round}");
        assert!((1..=30).contains(&retry_after(&response)), "{response:?}");
        assert_eq!(header(&response, "www-authenticate"), None);
        assert_eq!(response.text().await.unwrap(), "keys_unavailable\n");
        assert_eq!(scene.answer(held).await, ACCEPTED, "{place:?} {round}");
        assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    }
    assert_eq!(place.of(&scene.tenant).hits(), 1 + 2, "{place:?}");
    let issuer = scene.issuer();
    assert!(issuer.is_ready);
    assert_eq!((scene.last_failure(), issuer.failures_in_a_row), (code, 2));

    // The attempts follow after 1 to 2 s, 2 to 4, 4 to 8, 8 to 16 and 16 to 32 s.
    sleep(MINUTE).await;
    let during = hits(&scene.tenant);
    let asked = place.of(&scene.tenant).hits() - 3;
    assert!((4..=5).contains(&asked), "{place:?} {asked}");
    assert_eq!(scene.last_failure(), code);
    if place == Place::Discovery {
        assert_eq!(
            during.1, 1,
            "no keys are fetched without a discovery document"
        );
    }

    place.of(&scene.tenant).recover();
    sleep(65 * SECOND).await;
    assert_eq!(scene.issuer().failures_in_a_row, 0, "{place:?}");
    assert_eq!(place.of(&scene.tenant).hits(), 3 + asked + 1, "{place:?}");
    let after = hits(&scene.tenant);
    for token in [&new, &scene.token(), &unseen[4], &unseen[5], &remembered] {
        assert_eq!(scene.answer(token).await, ACCEPTED, "{place:?}");
    }
    assert_eq!(
        hits(&scene.tenant),
        after,
        "{place:?}: no request had to ask"
    );
}

// F4, F9, F14
#[tokio::test(start_paused = true)]
async fn each_status_that_is_no_success_is_a_failed_fetch() {
    for status in [500, 503, 429, 404, 204] {
        is_a_failed_fetch(|endpoint| endpoint.fail_with(status), "status").await;
    }
}

// F9
#[tokio::test(start_paused = true)]
async fn html_is_a_failed_fetch() {
    is_a_failed_fetch(Endpoint::answer_html, "document").await;
}

// F9
#[tokio::test(start_paused = true)]
async fn json_that_ends_in_the_middle_is_a_failed_fetch() {
    is_a_failed_fetch(Endpoint::answer_invalid_json, "document").await;
}

// F9
#[tokio::test(start_paused = true)]
async fn an_error_in_json_with_status_200_is_a_failed_fetch() {
    is_a_failed_fetch(Endpoint::answer_error_json, "document").await;
}

// F9
#[tokio::test(start_paused = true)]
async fn json_of_the_wrong_types_is_a_failed_fetch() {
    for body in [r#"{"keys":{},"issuer":1,"jwks_uri":[]}"#, "[]", "null"] {
        is_a_failed_fetch(
            |endpoint| endpoint.answer_with(200, "application/json", body),
            "document",
        )
        .await;
    }
}

// F9
#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_a_failed_fetch() {
    is_a_failed_fetch(Endpoint::truncate, "connect").await;
}

// F10
#[tokio::test(start_paused = true)]
async fn a_document_without_any_key_that_can_be_used_is_a_failed_fetch() {
    for body in [
        r#"{"keys":[]}"#,
        r#"{"keys":[{"kty":"OKP","kid":"a","crv":"Ed25519","x":"AAAA"}]}"#,
        r#"{"keys":[{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"}]}"#,
    ] {
        is_a_failed_fetch_of(
            Place::Keys,
            |tenant| {
                tenant
                    .key_endpoint()
                    .answer_with(200, "application/json", body)
            },
            "no_usable_key",
        )
        .await;
    }
}

// F11
#[tokio::test(start_paused = true)]
async fn a_304_that_nobody_asked_for_is_a_failed_fetch() {
    is_a_failed_fetch(Endpoint::answer_not_modified, "status").await;
}

// F15
#[tokio::test(start_paused = true)]
async fn a_redirect_is_a_failed_fetch_even_to_the_right_documents() {
    let elsewhere = tenant().await;
    let id = elsewhere.id();
    for (place, path) in [
        (Place::Discovery, "v2.0/.well-known/openid-configuration"),
        (Place::Keys, "discovery/v2.0/keys"),
    ] {
        let url = format!("{}/{id}/{path}", elsewhere.url());
        is_a_failed_fetch_of(place, |tenant| place.of(tenant).redirect_to(&url), "status").await;
    }
    assert_eq!(hits(&elsewhere), (0, 0));
}

// F16
#[tokio::test(start_paused = true)]
async fn a_body_of_more_than_512_kib_is_a_failed_fetch_and_one_of_as_much_is_not() {
    const LIMIT: usize = 512 * 1024;
    is_a_failed_fetch(
        |endpoint| endpoint.answer_oversized(LIMIT + 1),
        "document_too_large",
    )
    .await;

    let scene = Scene::start().await;
    for place in Place::BOTH {
        place.of(&scene.tenant).answer_oversized(LIMIT);
    }
    scene.tenant.signing_keys().rotate();
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);
}

// F16
#[tokio::test(start_paused = true)]
async fn a_gzip_bomb_is_a_failed_fetch_and_never_inflated() {
    is_a_failed_fetch(Endpoint::answer_gzip_bomb, "document").await;
}

// F15, F30
#[tokio::test(start_paused = true)]
async fn a_discovery_document_of_somebody_else_is_a_failed_fetch() {
    let other_tenant = DevTenant::builder().id(OTHER_TENANT).start().await.unwrap();
    let other_cloud = DevTenant::builder()
        .cloud(DevCloud::UsGovernment)
        .start()
        .await
        .unwrap();
    let home = tenant().await;
    let id = home.id();
    let issuer = format!("https://login.microsoftonline.com/{id}/v2.0");
    let documents = [
        (
            "wrong_tenant",
            json!({
                "issuer": format!("https://login.microsoftonline.com/{OTHER_TENANT}/v2.0"),
                "jwks_uri": format!("{}/{OTHER_TENANT}/discovery/v2.0/keys", other_tenant.url()),
            }),
        ),
        (
            "wrong_cloud",
            json!({
                "issuer": format!("https://login.microsoftonline.us/{id}/v2.0"),
                "jwks_uri": format!("{}/{id}/discovery/v2.0/keys", other_cloud.url()),
            }),
        ),
        (
            "wrong_cloud",
            json!({
                "issuer": issuer,
                "jwks_uri": format!("{}/{id}/discovery/v2.0/keys", other_cloud.url()),
                "cloud_instance_name": "microsoftonline.us",
            }),
        ),
        (
            "key_address",
            json!({
                "issuer": issuer,
                "jwks_uri": format!("{}/{id}/discovery/v2.0/keys", other_cloud.url()),
                "cloud_instance_name": "microsoftonline.com",
            }),
        ),
        (
            "key_address",
            json!({
                "issuer": issuer,
                "jwks_uri": "https://login.microsoftonline.com/common/discovery/v2.0/keys",
            }),
        ),
        (
            "key_address",
            json!({ "issuer": issuer, "jwks_uri": "file:///etc/passwd" }),
        ),
    ];
    for (code, document) in documents {
        let document = document.to_string();
        is_a_failed_fetch_of(
            Place::Discovery,
            |tenant| {
                let discovery = tenant.discovery_endpoint();
                discovery.answer_with(200, "application/json", &document)
            },
            code,
        )
        .await;
    }
    for elsewhere in [&other_tenant, &other_cloud, &home] {
        assert_eq!(hits(elsewhere), (0, 0));
    }
}
