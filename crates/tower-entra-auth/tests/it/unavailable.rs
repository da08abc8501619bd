//! Tests that each cause of unavailable keys has its own code and remedy.

use entra_dev_tenant::{DevCloud, DevTenant};
use serde_json::json;
use tower_entra_auth::{Cloud, EntraAuthBuilder, refusal::Unavailable};

use crate::support::{OTHER_TENANT, settings, tenant};

async fn failure(builder: EntraAuthBuilder) -> Unavailable {
    let failure = builder.build().unwrap().ready().await.unwrap_err();
    assert!(!failure.remedy().is_empty());
    failure
}

#[tokio::test]
async fn a_wrong_tenant_id_is_told_as_such() {
    let tenant = tenant().await;
    let failure = failure(settings(&tenant).tenant(OTHER_TENANT)).await;
    assert_eq!(failure.code(), "tenant_not_found");
    assert!(failure.to_string().contains(OTHER_TENANT));
    assert!(failure.remedy().contains("ENTRA_TENANT_ID"));
}

#[tokio::test]
async fn a_document_of_another_cloud_or_tenant_is_told_as_such() {
    let government = DevTenant::builder()
        .cloud(DevCloud::UsGovernment)
        .start()
        .await
        .unwrap();
    let public = tenant().await;
    let failure_of_public = failure(settings(&government)).await;
    assert_eq!(failure_of_public.code(), "wrong_cloud");
    assert!(failure_of_public.remedy().contains("ENTRA_CLOUD"));
    assert!(
        settings(&government)
            .cloud(Cloud::UsGovernment)
            .build()
            .unwrap()
            .ready()
            .await
            .is_ok()
    );
    assert_eq!(
        failure(settings(&public).cloud(Cloud::UsGovernment))
            .await
            .code(),
        "wrong_cloud"
    );

    let full_address = format!(
        "{}/{}/v2.0/.well-known/openid-configuration",
        public.url(),
        public.id()
    );
    let other = settings(&public)
        .tenant(OTHER_TENANT)
        .metadata_endpoint(&full_address);
    assert_eq!(failure(other).await.code(), "wrong_tenant");

    let document = json!({
        "issuer": format!("https://login.microsoftonline.com/{}/v2.0", public.id()),
        "jwks_uri": format!("{}/{}/discovery/v2.0/keys", public.url(), public.id()),
        "cloud_instance_name": "microsoftonline.us",
    });
    public
        .discovery_endpoint()
        .answer_with(200, "application/json", &document.to_string());
    assert_eq!(failure(settings(&public)).await.code(), "wrong_cloud");
}

#[tokio::test]
async fn what_is_no_document_is_told_as_such() {
    let tenant = tenant().await;
    let huge = "x".repeat(513 * 1024);
    for (status, body, code) in [
        (503, "", "status"),
        (404, "<html>", "status"),
        (302, "", "status"),
        (200, "<html>", "document"),
        (200, "{}", "document"),
        (200, "", "document"),
        (200, &*huge, "document_too_large"),
    ] {
        tenant
            .discovery_endpoint()
            .answer_with(status, "text/plain", body);
        assert_eq!(
            failure(settings(&tenant)).await.code(),
            code,
            "discovery {status}"
        );
    }
    tenant.discovery_endpoint().recover();
    let others_keys = tenant
        .signing_keys()
        .document()
        .replace("\"sig\"", "\"enc\"");
    let many = format!("{{\"keys\":[{}0]}}", "0,".repeat(100));
    for (status, body, code) in [
        (500, "", "status"),
        (304, "", "status"),
        (200, "<html>", "document"),
        (200, "{\"error\":\"x\"}", "document"),
        (200, &*many, "document"),
        (200, "{\"keys\":[]}", "no_usable_key"),
        (200, &*others_keys, "no_usable_key"),
        (200, &*huge, "document_too_large"),
    ] {
        tenant
            .key_endpoint()
            .answer_with(status, "application/json", body);
        assert_eq!(
            failure(settings(&tenant)).await.code(),
            code,
            "keys {status}"
        );
    }
}

/// Checks the client of the feature `reqwest`, over sockets. With a paused clock, these faults come
/// in memory (`faults`).
#[tokio::test]
async fn a_body_that_breaks_off_or_is_compressed_is_told_as_such() {
    let tenant = tenant().await;
    for endpoint in [tenant.discovery_endpoint(), tenant.key_endpoint()] {
        endpoint.truncate();
        assert_eq!(failure(settings(&tenant)).await.code(), "connect");
        endpoint.answer_gzip_bomb();
        assert_eq!(failure(settings(&tenant)).await.code(), "document");
        endpoint.answer_oversized(512 * 1024 + 1);
        let failure = failure(settings(&tenant)).await;
        assert_eq!(failure.code(), "document_too_large");
        endpoint.recover();
    }
}

#[tokio::test]
async fn keys_are_never_fetched_from_elsewhere() {
    let tenant = tenant().await;
    let elsewhere = DevTenant::start().await.unwrap();
    for jwks_uri in [
        format!("{}/{}/discovery/v2.0/keys", elsewhere.url(), elsewhere.id()),
        "https://login.microsoftonline.com/common/discovery/v2.0/keys".to_owned(),
        "file:///etc/passwd".to_owned(),
        "nonsense".to_owned(),
    ] {
        let document = json!({
            "issuer": format!("https://login.microsoftonline.com/{}/v2.0", tenant.id()),
            "jwks_uri": jwks_uri,
        });
        tenant
            .discovery_endpoint()
            .answer_with(200, "application/json", &document.to_string());
        assert_eq!(
            failure(settings(&tenant)).await.code(),
            "key_address",
            "{jwks_uri}"
        );
    }
    assert_eq!(elsewhere.key_endpoint().hits(), 0);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let tenant = tenant().await;
    let elsewhere = DevTenant::start().await.unwrap();
    let path = format!("{}/v2.0/.well-known/openid-configuration", tenant.id());
    tenant
        .discovery_endpoint()
        .redirect_to(&format!("{}/{path}", elsewhere.url()));
    assert_eq!(failure(settings(&tenant)).await.code(), "status");
    tenant.discovery_endpoint().recover();
    let path = format!("{}/discovery/v2.0/keys", tenant.id());
    tenant
        .key_endpoint()
        .redirect_to(&format!("{}/{path}", elsewhere.url()));
    assert_eq!(failure(settings(&tenant)).await.code(), "status");
    assert_eq!(
        (
            elsewhere.discovery_endpoint().hits(),
            elsewhere.key_endpoint().hits()
        ),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_given_five_seconds() {
    let tenant = tenant().await;
    tenant.discovery_endpoint().hang();
    let start = tokio::time::Instant::now();
    assert_eq!(failure(settings(&tenant)).await.code(), "timeout");
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_as_such() {
    let tenant = tenant().await;
    tenant.start_outage();
    assert_eq!(failure(settings(&tenant)).await.code(), "connect");
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    assert_eq!(
        failure(settings(&tenant).metadata_endpoint(nobody))
            .await
            .code(),
        "connect"
    );
}
