//! Tests of applications with their own signing keys.

use entra_dev_tenant::{B2cPolicy, DevTenant, Flaw};
use serde_json::Value;

use crate::support::{API, CLIENT, decoded, get, verifies};

async fn tenant() -> DevTenant {
    let builder = DevTenant::builder().custom_signing_key(&API.to_uppercase());
    builder.start().await.unwrap()
}

#[tokio::test]
async fn discovery_asked_for_an_application_leads_to_its_key_and_the_tenants() {
    let tenant = tenant().await;
    let custom = tenant.user("ada").for_api(API).mint();
    let usual = tenant.user("ada").for_api(CLIENT).mint();
    for authority in [tenant.id(), "common"] {
        for version in ["/v2.0", ""] {
            let discovery = format!(
                "{}/{authority}{version}/.well-known/openid-configuration",
                tenant.url()
            );
            for (query, leads_on, has_custom) in [
                (format!("?appid={API}"), true, true),
                (format!("?x=1&appid={}", API.to_uppercase()), true, true),
                (format!("?appid={CLIENT}"), false, false),
                ("?appid=".to_owned(), false, false),
                (String::new(), false, false),
            ] {
                let (_, document) = get(&format!("{discovery}{query}")).await;
                let keys = document["jwks_uri"].as_str().unwrap();
                let suffix = format!("/keys?appid={API}");
                assert_eq!(keys.ends_with(&suffix), leads_on, "{keys}");
                assert_eq!(keys.ends_with("/keys"), !leads_on, "{keys}");
                let (_, jwks) = get(keys).await;
                assert_eq!(verifies(&custom, &jwks), has_custom, "{query}");
                assert!(verifies(&usual, &jwks), "{query}");
            }
        }
    }
    let normal: Value = serde_json::from_str(&tenant.signing_keys().document()).unwrap();
    assert!(!verifies(&custom, &normal) && verifies(&usual, &normal));
}

#[tokio::test]
async fn the_custom_keys_entry_is_like_the_tenants() {
    let tenant = tenant().await;
    let url = format!(
        "{}/{}/discovery/v2.0/keys?appid={API}",
        tenant.url(),
        tenant.id()
    );
    let (_, jwks) = get(&url).await;
    let [own, custom] = &jwks["keys"].as_array().unwrap()[..] else {
        panic!("{jwks}");
    };
    for same in ["kty", "use", "e", "issuer", "cloud_instance_name"] {
        assert_eq!(own[same], custom[same]);
    }
    assert_eq!(own["kid"], tenant.signing_keys().current_id());
    assert_ne!(own["kid"], custom["kid"]);
}

#[tokio::test]
async fn only_tokens_for_the_application_are_signed_with_its_key() {
    let tenant = tenant().await;
    let uri = format!("api://{API}");
    let usual = tenant.signing_keys().current_id();
    for (token, expected) in [
        (tenant.user("ada").for_api(API), true),
        (tenant.user("ada").for_api(API).v1(), true),
        (tenant.user("ada").audience(&uri), true),
        (tenant.app(CLIENT).for_api(API), true),
        (tenant.id_token("ada").for_api(API), true),
        (tenant.user("ada").for_api(CLIENT), false),
        (tenant.app(API).for_api(CLIENT), false),
        (tenant.user("ada").audience("https://api.example"), false),
        (tenant.graph_token("ada"), false),
        (
            tenant.b2c_token("ada", B2cPolicy::Default).for_api(API),
            false,
        ),
    ] {
        let header = decoded(&token.mint(), 0);
        assert_eq!(header["kid"] != usual, expected, "{header}");
    }
    let personal = decoded(&tenant.personal("ada").for_api(API).mint(), 0);
    let (_, consumers) = get(&format!("{}/consumers/discovery/v2.0/keys", tenant.url())).await;
    assert_eq!(personal["kid"], consumers["keys"][0]["kid"]);
}

#[tokio::test]
async fn a_custom_key_outlives_rotation_and_flaws_spoil_its_tokens_as_any() {
    let tenant = tenant().await;
    let kid = |token: &str| decoded(token, 0)["kid"].clone();
    let before = tenant.user("ada").for_api(API).mint();
    tenant.signing_keys().replace_at_once();
    let after = tenant.user("ada").for_api(API).mint();
    let forged = tenant.user("ada").for_api(API).flaw(Flaw::WrongKey).mint();
    assert_eq!(kid(&before), kid(&after));
    assert_eq!(kid(&before), kid(&forged));

    let (_, jwks) = get(&format!(
        "{}/common/discovery/keys?appid={API}",
        tenant.url()
    ))
    .await;
    assert!(verifies(&after, &jwks) && !verifies(&forged, &jwks));
}
