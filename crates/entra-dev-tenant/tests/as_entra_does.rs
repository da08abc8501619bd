//! The tenant serves what Entra serves, and fails on demand.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use entra_dev_tenant::{DevCloud, DevTenant};
use serde_json::{Value, json};

const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
const CLIENT: &str = "2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b";

/// Never by a proxy of the environment, which does not know our loopback.
fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn fetch(url: &str) -> reqwest::Result<reqwest::Response> {
    client().get(url).send().await
}

async fn get(url: &str) -> (u16, Value) {
    let response = fetch(url).await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn decoded(token: &str, segment: usize) -> Value {
    let segment = token.split('.').nth(segment).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(segment).unwrap()).unwrap()
}

fn verifies(token: &str, jwks: &Value) -> bool {
    let (input, signature) = token.rsplit_once('.').unwrap();
    let kid = &decoded(token, 0)["kid"];
    let entries = jwks["keys"].as_array().unwrap();
    let Some(key) = entries.iter().find(|key| key["kid"] == *kid) else {
        return false;
    };
    let number = |member: &str| {
        URL_SAFE_NO_PAD
            .decode(key[member].as_str().unwrap())
            .unwrap()
    };
    RsaPublicKeyComponents {
        n: number("n"),
        e: number("e"),
    }
    .verify(
        &RSA_PKCS1_2048_8192_SHA256,
        input.as_bytes(),
        &URL_SAFE_NO_PAD.decode(signature).unwrap(),
    )
    .is_ok()
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
    assert_eq!((tenant.discovery().hits(), tenant.keys().hits()), (2, 2));
    let broken = tenant.user("ada").for_api(API).bad_signature().mint();
    let jwks: Value = serde_json::from_str(&tenant.jwks()).unwrap();
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
        let jwks: Value = serde_json::from_str(&tenant.jwks()).unwrap();
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
    let jwks: Value = serde_json::from_str(&tenant.jwks()).unwrap();
    let key = &jwks["keys"][0];
    let certificate = STANDARD.decode(key["x5c"][0].as_str().unwrap()).unwrap();
    let thumbprint = digest(&SHA1_FOR_LEGACY_USE_ONLY, &certificate);
    assert_eq!(key["kid"], URL_SAFE_NO_PAD.encode(thumbprint));
    assert_eq!(key["kid"], key["x5t"]);
    assert_eq!(key["kid"].as_str().unwrap().len(), 27);
    assert_eq!(tenant.key_id(), key["kid"].as_str().unwrap());
}

#[tokio::test]
async fn an_app_token_has_the_claims_of_a_live_one() {
    let tenant = DevTenant::start().await.unwrap();
    let token = tenant.app(CLIENT).for_api(API).mint();
    let claims = decoded(&token, 1);
    let names: Vec<&String> = claims.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        [
            "aio", "aud", "azp", "azpacr", "exp", "iat", "iss", "nbf", "oid", "rh", "sub", "tid",
            "uti", "ver", "xms_ftd"
        ]
    );
    assert_eq!(claims["oid"], claims["sub"]);
    let header = decoded(&token, 0);
    let header: Vec<&String> = header.as_object().unwrap().keys().collect();
    assert_eq!(header, ["alg", "kid", "typ"]);
}

#[tokio::test]
async fn a_rotated_key_is_published_and_a_withdrawn_one_is_not() {
    let tenant = DevTenant::start().await.unwrap();
    let old = tenant.user("ada").for_api(API).mint();
    tenant.rotate_keys();
    let new = tenant.user("ada").for_api(API).mint();
    let jwks: Value = serde_json::from_str(&tenant.jwks()).unwrap();
    assert!(verifies(&old, &jwks) && verifies(&new, &jwks));
    tenant.withdraw_old_keys();
    let jwks: Value = serde_json::from_str(&tenant.jwks()).unwrap();
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
async fn client_credentials_are_granted_or_refused_as_entra_does() {
    let tenant = DevTenant::builder()
        .client(CLIENT, "s3cret", ["Reports.Read.All"])
        .start()
        .await
        .unwrap();
    let scope = format!("api://{API}/.default");
    let good = [
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT),
        ("client_secret", "s3cret"),
        ("scope", &scope),
    ];
    let url = |authority: &str| format!("{}/{authority}/oauth2/v2.0/token", tenant.url());
    let ask = async |authority: &str, form: &[(&str, &str)]| {
        let request = client().post(url(authority)).form(form);
        let response = request.send().await.unwrap();
        (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap(),
        )
    };

    let (status, answer) = ask(tenant.id(), &good).await;
    assert_eq!((status, &answer["token_type"]), (200, &json!("Bearer")));
    let claims = decoded(answer["access_token"].as_str().unwrap(), 1);
    assert_eq!(claims["roles"], json!(["Reports.Read.All"]));
    assert_eq!(
        (&claims["aud"], &claims["azp"]),
        (&json!(API), &json!(CLIENT))
    );

    for (parameter, value, status, error, code) in [
        ("grant_type", "", 400, "invalid_request", 900_144),
        (
            "grant_type",
            "no_such_grant",
            400,
            "unsupported_grant_type",
            70_003,
        ),
        (
            "client_id",
            "not-a-guid",
            400,
            "unauthorized_client",
            700_038,
        ),
        ("client_id", API, 400, "unauthorized_client", 700_016),
        ("client_secret", "wrong", 401, "invalid_client", 7_000_215),
        ("scope", "api://x/read", 400, "invalid_scope", 1_002_012),
        (
            "scope",
            "api://x/.default",
            400,
            "invalid_resource",
            500_011,
        ),
    ] {
        let form = good.map(|(name, old)| (name, if name == parameter { value } else { old }));
        let (found, answer) = ask(tenant.id(), &form).await;
        assert_eq!(
            (found, &answer["error"], &answer["error_codes"]),
            (status, &json!(error), &json!([code])),
            "{parameter}={value}"
        );
    }
    let (_, answer) = ask("common", &good).await;
    assert_eq!(answer["error_codes"], json!([9_001_023]));
    assert_eq!(tenant.token_endpoint().hits(), 9);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_can_hang_fail_and_recover_and_the_tenant_can_be_down() {
    let tenant = DevTenant::start().await.unwrap();
    let url = format!("{}/common/discovery/v2.0/keys", tenant.url());

    tenant.keys().fails_with(503).for_next(1);
    assert_eq!(fetch(&url).await.unwrap().status(), 503);
    assert_eq!(fetch(&url).await.unwrap().status(), 200);

    tenant.keys().hangs();
    let patience = std::time::Duration::from_secs(60);
    assert!(tokio::time::timeout(patience, fetch(&url)).await.is_err());
    tenant.keys().recovers();

    tenant.goes_down();
    assert!(fetch(&url).await.is_err());
    tenant.comes_back();
    assert_eq!(fetch(&url).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn the_clock_follows_tokios() {
    let tenant = DevTenant::start().await.unwrap();
    let clock = tenant.clock();
    let before = clock();
    tokio::time::advance(std::time::Duration::from_secs(7_200)).await;
    assert_eq!(clock().duration_since(before).unwrap().as_secs(), 7_200);
}

#[tokio::test]
async fn a_dropped_tenant_stops_serving() {
    let tenant = DevTenant::start().await.unwrap();
    let url = format!("{}/common/discovery/v2.0/keys", tenant.url());
    drop(tenant);
    tokio::task::yield_now().await;
    assert!(fetch(&url).await.is_err());
}

#[tokio::test]
async fn a_graph_token_verifies_for_nobody_but_graph() {
    let tenant = DevTenant::start().await.unwrap();
    let jwks: Value = serde_json::from_str(&tenant.jwks()).unwrap();
    let token = tenant.graph_token("ada").mint();
    assert!(!verifies(&token, &jwks));
    assert_eq!(decoded(&token, 1)["aud"], "https://graph.microsoft.com");

    // As Graph does it: over the header with the nonce hashed.
    use aws_lc_rs::digest::{SHA256, digest};
    let mut header = decoded(&token, 0);
    let hash = digest(&SHA256, header["nonce"].as_str().unwrap().as_bytes());
    header["nonce"] = json!(URL_SAFE_NO_PAD.encode(hash));
    let (_, rest) = token.split_once('.').unwrap();
    let header = URL_SAFE_NO_PAD.encode(header.to_string());
    assert!(verifies(&format!("{header}.{rest}"), &jwks));
}

#[tokio::test]
async fn a_setting_that_is_no_guid_is_refused_with_an_example() {
    for builder in [
        DevTenant::builder().id("contoso"),
        DevTenant::builder().client("my-app", "secret", []),
    ] {
        let error = builder.start().await.unwrap_err().to_string();
        assert!(error.contains("is no GUID such as"), "{error}");
    }
    let anywhere = DevTenant::builder().listen(([0, 0, 0, 0], 0).into());
    assert!(
        anywhere
            .start()
            .await
            .unwrap()
            .url()
            .starts_with("http://127.0.0.1:")
    );
}
