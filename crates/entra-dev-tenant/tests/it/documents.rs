//! Tests of discovery and JWKS documents.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use entra_dev_tenant::{DevCloud, DevTenant};
use serde_json::{Value, json};

use crate::support::{API, decoded, get, keys, verifies};

const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// Checks that documents name the configured URL. Clients do not trust keys from another place than
/// that of the discovery document.
#[tokio::test]
async fn documents_name_the_url_by_which_others_reach_it() {
    let tenant = DevTenant::builder();
    let tenant = tenant.url("http://tenant:7580/").start().await.unwrap();
    assert_eq!(tenant.url(), "http://tenant:7580");
    let (address, id) = (tenant.address(), tenant.id());
    let url = format!("http://{address}/{id}/v2.0/.well-known/openid-configuration");
    let (_, document) = get(&url).await;
    for endpoint in ["jwks_uri", "token_endpoint", "authorization_endpoint"] {
        let endpoint = document[endpoint].as_str().unwrap();
        assert!(endpoint.starts_with("http://tenant:7580/"), "{endpoint}");
    }
    assert!(
        document["issuer"]
            .as_str()
            .unwrap()
            .starts_with("https://login")
    );
}

#[tokio::test]
async fn discovery_leads_to_keys_that_verify_its_tokens() {
    let tenant = DevTenant::start().await.unwrap();
    let token = tenant.user("ada").scope("Reports.Read").for_api(API).mint();
    for version in ["/v2.0", ""] {
        let url = format!(
            "{}/{}{version}/.well-known/openid-configuration",
            tenant.url(),
            tenant.id()
        );
        let (status, document) = get(&url).await;
        assert_eq!(status, 200);
        let (status, jwks) = get(document["jwks_uri"].as_str().unwrap()).await;
        assert_eq!(status, 200);
        assert!(verifies(&token, &jwks), "{version}");
    }
    assert_eq!(
        (
            tenant.discovery_endpoint().hits(),
            tenant.key_endpoint().hits()
        ),
        (2, 2)
    );
    let broken = tenant.user("ada").for_api(API).bad_signature().mint();
    let jwks: Value = serde_json::from_str(&tenant.signing_keys().document()).unwrap();
    assert!(verifies(&token, &jwks) && !verifies(&broken, &jwks));
}

#[tokio::test]
async fn issuers_are_the_real_strings_of_the_cloud() {
    for (cloud, v2, v1, name) in [
        (
            DevCloud::Public,
            "https://login.microsoftonline.com/{tenantid}/v2.0",
            "https://sts.windows.net/{tenantid}/",
            "microsoftonline.com",
        ),
        (
            DevCloud::UsGovernment,
            "https://login.microsoftonline.us/{tenantid}/v2.0",
            "https://sts.windows.net/{tenantid}/",
            "microsoftonline.us",
        ),
        (
            DevCloud::China,
            "https://login.partner.microsoftonline.cn/{tenantid}/v2.0",
            "https://sts.chinacloudapi.cn/{tenantid}/",
            "partner.microsoftonline.cn",
        ),
    ] {
        let tenant = DevTenant::builder().cloud(cloud).start().await.unwrap();
        for (path, template) in [("/v2.0", v2), ("", v1)] {
            for (authority, issuer_tenant) in [
                (tenant.id(), tenant.id()),
                ("common", "{tenantid}"),
                ("organizations", "{tenantid}"),
                ("consumers", "9188040d-6c67-4c5b-b112-36a304b66dad"),
            ] {
                let url = format!(
                    "{}/{authority}{path}/.well-known/openid-configuration",
                    tenant.url()
                );
                let (_, document) = get(&url).await;
                assert_eq!(
                    document["issuer"],
                    template.replace("{tenantid}", issuer_tenant)
                );
                assert_eq!(document["cloud_instance_name"], name);
            }
        }
        let jwks: Value = serde_json::from_str(&tenant.signing_keys().document()).unwrap();
        assert_eq!(jwks["keys"][0]["issuer"], v2);
        assert_eq!(jwks["keys"][0]["cloud_instance_name"], name);
        let token = decoded(&tenant.user("ada").for_api(API).v1().mint(), 1);
        assert_eq!(token["iss"], v1.replace("{tenantid}", tenant.id()));
    }
}

#[tokio::test]
async fn documents_have_exactly_the_members_that_entra_serves() {
    let tenant = DevTenant::start().await.unwrap();
    let members = |document: &Value| -> Vec<String> {
        document.as_object().unwrap().keys().cloned().collect()
    };
    let base = format!("{}/common", tenant.url());
    let (_, v2) = get(&format!("{base}/v2.0/.well-known/openid-configuration")).await;
    assert_eq!(
        members(&v2),
        [
            "authorization_endpoint",
            "claims_supported",
            "cloud_graph_host_name",
            "cloud_instance_name",
            "device_authorization_endpoint",
            "end_session_endpoint",
            "frontchannel_logout_supported",
            "http_logout_supported",
            "id_token_signing_alg_values_supported",
            "issuer",
            "jwks_uri",
            "kerberos_endpoint",
            "msgraph_host",
            "mtls_endpoint_aliases",
            "rbac_url",
            "request_uri_parameter_supported",
            "response_modes_supported",
            "response_types_supported",
            "scopes_supported",
            "subject_types_supported",
            "tenant_region_scope",
            "tls_client_certificate_bound_access_tokens",
            "token_endpoint",
            "token_endpoint_auth_methods_supported",
            "userinfo_endpoint",
        ]
    );
    assert_eq!(v2["tenant_region_scope"], Value::Null);

    let (_, v1) = get(&format!("{base}/.well-known/openid-configuration")).await;
    assert_eq!(
        members(&v1),
        [
            "authorization_endpoint",
            "check_session_iframe",
            "claims_supported",
            "cloud_graph_host_name",
            "cloud_instance_name",
            "device_authorization_endpoint",
            "end_session_endpoint",
            "frontchannel_logout_supported",
            "http_logout_supported",
            "id_token_signing_alg_values_supported",
            "issuer",
            "jwks_uri",
            "kerberos_endpoint",
            "microsoft_multi_refresh_token",
            "msgraph_host",
            "rbac_url",
            "response_modes_supported",
            "response_types_supported",
            "scopes_supported",
            "subject_types_supported",
            "tenant_region_scope",
            "token_endpoint",
            "token_endpoint_auth_methods_supported",
            "userinfo_endpoint",
        ]
    );

    let (_, v2_keys) = get(&format!("{base}/discovery/v2.0/keys")).await;
    let (_, v1_keys) = get(&format!("{base}/discovery/keys")).await;
    assert_eq!(
        members(&v2_keys["keys"][0]),
        [
            "cloud_instance_name",
            "e",
            "issuer",
            "kid",
            "kty",
            "n",
            "use",
            "x5c",
            "x5t"
        ]
    );
    assert_eq!(
        members(&v1_keys["keys"][0]),
        [
            "cloud_instance_name",
            "e",
            "kid",
            "kty",
            "n",
            "use",
            "x5c",
            "x5t"
        ]
    );
}

#[tokio::test]
async fn a_key_is_named_by_the_sha1_of_its_certificate() {
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

    let tenant = DevTenant::start().await.unwrap();
    let jwks: Value = serde_json::from_str(&tenant.signing_keys().document()).unwrap();
    let key = &jwks["keys"][0];
    let certificate = STANDARD.decode(key["x5c"][0].as_str().unwrap()).unwrap();
    let thumbprint = digest(&SHA1_FOR_LEGACY_USE_ONLY, &certificate);
    assert_eq!(key["kid"], URL_SAFE_NO_PAD.encode(thumbprint));
    assert_eq!(key["kid"], key["x5t"]);
    assert_eq!(key["kid"].as_str().unwrap().len(), 27);
    assert_eq!(
        tenant.signing_keys().current_id(),
        key["kid"].as_str().unwrap()
    );
}

#[tokio::test]
async fn a_rotated_key_is_published_and_a_withdrawn_one_is_not() {
    let tenant = DevTenant::start().await.unwrap();
    let old = tenant.user("ada").for_api(API).mint();
    tenant.signing_keys().rotate();
    let new = tenant.user("ada").for_api(API).mint();
    let jwks: Value = serde_json::from_str(&tenant.signing_keys().document()).unwrap();
    assert!(verifies(&old, &jwks) && verifies(&new, &jwks));
    tenant.signing_keys().withdraw_old();
    let jwks: Value = serde_json::from_str(&tenant.signing_keys().document()).unwrap();
    assert!(!verifies(&old, &jwks) && verifies(&new, &jwks));
}

#[tokio::test]
async fn an_unknown_tenant_is_answered_as_entra_does() {
    let tenant = DevTenant::start().await.unwrap();
    let url = format!(
        "{}/contoso.com/v2.0/.well-known/openid-configuration",
        tenant.url()
    );
    let (status, error) = get(&url).await;
    assert_eq!((status, &error["error"]), (400, &json!("invalid_tenant")));
    assert_eq!(error["error_codes"], json!([90002]));
}

#[tokio::test]
async fn shared_documents_hold_the_keys_of_others_too() {
    for (cloud, own, other, host) in [
        (
            DevCloud::Public,
            "microsoftonline.com",
            "microsoftonline.us",
            "login.microsoftonline.com",
        ),
        (
            DevCloud::UsGovernment,
            "microsoftonline.us",
            "microsoftonline.com",
            "login.microsoftonline.us",
        ),
        (
            DevCloud::China,
            "partner.microsoftonline.cn",
            "microsoftonline.com",
            "login.partner.microsoftonline.cn",
        ),
    ] {
        let tenant = DevTenant::builder().cloud(cloud).start().await.unwrap();
        let template = format!("https://{host}/{{tenantid}}/v2.0");
        let consumers = format!("https://{host}/{CONSUMERS}/v2.0");
        let own_key = (own, &*template);
        let other_key = (other, &*template);
        let personal_key = (own, &*consumers);
        for (authority, expected) in [
            (tenant.id(), vec![own_key]),
            ("organizations", vec![own_key, other_key]),
            ("common", vec![own_key, other_key, personal_key]),
            ("consumers", vec![personal_key]),
            (CONSUMERS, vec![personal_key]),
        ] {
            let base = format!("{}/{authority}/discovery", tenant.url());
            let (_, v2) = get(&format!("{base}/v2.0/keys")).await;
            let found: Vec<_> = v2["keys"]
                .as_array()
                .unwrap()
                .iter()
                .map(|key| {
                    (
                        key["cloud_instance_name"].as_str().unwrap(),
                        key["issuer"].as_str().unwrap(),
                    )
                })
                .collect();
            assert_eq!(found, expected, "{authority}");
            assert_eq!(v2.to_string(), tenant.signing_keys().document_of(authority));

            let (_, v1) = get(&format!("{base}/keys")).await;
            let mut without_issuers = v2.clone();
            for key in without_issuers["keys"].as_array_mut().unwrap() {
                key.as_object_mut().unwrap().remove("issuer");
            }
            assert_eq!(v1, without_issuers);
        }
        assert_eq!(
            tenant.signing_keys().document_of(tenant.id()),
            tenant.signing_keys().document()
        );
    }
}

#[tokio::test]
async fn shared_documents_follow_a_rotation_and_the_keys_of_others_stay() {
    let tenant = DevTenant::start().await.unwrap();
    let before = keys(&tenant, "common");
    tenant.signing_keys().rotate();
    let after = keys(&tenant, "common");
    assert_eq!(before.len() + 1, after.len());
    assert!(before.iter().all(|key| after.contains(key)));
    let another = DevTenant::start().await.unwrap();
    assert_eq!(keys(&another, "consumers"), keys(&tenant, "consumers"));
}

#[tokio::test]
async fn a_document_of_an_unknown_authority_is_refused_as_it_is_served() {
    let tenant = DevTenant::start().await.unwrap();
    let refusal: Value =
        serde_json::from_str(&tenant.signing_keys().document_of("contoso.com")).unwrap();
    assert_eq!(refusal["error_codes"], json!([90002]));
}

#[tokio::test]
async fn an_external_id_tenant_has_issuers_of_its_own_and_no_shared_documents() {
    let tenant = DevTenant::builder().external_id().start().await.unwrap();
    let id = tenant.id();
    let issuer = format!("https://{id}.ciamlogin.com/{id}/v2.0");
    let discovery = |authority: &str| {
        let base = tenant.url();
        format!("{base}/{authority}/v2.0/.well-known/openid-configuration")
    };
    let (_, document) = get(&discovery(id)).await;
    assert_eq!(document["issuer"], issuer);
    let (_, jwks) = get(document["jwks_uri"].as_str().unwrap()).await;
    assert_eq!(jwks["keys"][0]["issuer"], issuer);
    let token = tenant.user("ada").for_api(API).mint();
    assert_eq!(decoded(&token, 1)["iss"], issuer);
    assert_eq!(decoded(&token, 1)["ver"], "2.0");
    assert!(verifies(&token, &jwks));

    for authority in ["common", "organizations", "consumers", CONSUMERS] {
        let keys = format!("{}/{authority}/discovery/v2.0/keys", tenant.url());
        for url in [discovery(authority), keys] {
            let (status, error) = get(&url).await;
            assert_eq!((status, &error["error"]), (400, &json!("invalid_tenant")));
        }
    }
}
