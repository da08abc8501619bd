//! Tests of the kinds of tokens: each has the claims of Entra's tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entra_dev_tenant::{B2cPolicy, DevCloud, DevTenant};
use serde_json::{Value, json};

use crate::support::{API, CLIENT, decoded, keys, names, verifies};

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
async fn an_application_that_is_called_by_a_name_has_ids_that_follow_from_it() {
    let tenant = DevTenant::start().await.unwrap();
    let app = |name| decoded(&tenant.app(name).for_api(API).mint(), 1);
    let is_guid = |id: &Value| {
        let id = id.as_str().unwrap();
        id.len() == 36 && id.split('-').map(str::len).eq([8, 4, 4, 4, 12])
    };
    let orders = app("orders-client");
    assert!(
        is_guid(&orders["azp"]) && is_guid(&orders["oid"]),
        "{orders}"
    );
    let another = DevTenant::start().await.unwrap();
    let later = decoded(&another.app("orders-client").v1().for_api(API).mint(), 1);
    assert_eq!(orders["azp"], later["appid"]);
    assert_ne!(orders["azp"], app("reports-client")["azp"]);
    let user = tenant.user("ada").client("orders-client").for_api(API);
    assert_eq!(decoded(&user.mint(), 1)["azp"], orders["azp"]);
    // An application called by its id keeps this id.
    assert_eq!(app(CLIENT)["azp"], CLIENT);
}

#[tokio::test]
async fn a_graph_token_verifies_for_nobody_but_graph() {
    let tenant = DevTenant::start().await.unwrap();
    let jwks: Value = serde_json::from_str(&tenant.signing_keys().document()).unwrap();
    let token = tenant.graph_token("ada").mint();
    assert!(!verifies(&token, &jwks));
    assert_eq!(decoded(&token, 1)["aud"], "https://graph.microsoft.com");

    // Graph verifies the signature over the header with the hashed nonce.
    use aws_lc_rs::digest::{SHA256, digest};
    let mut header = decoded(&token, 0);
    let hash = digest(&SHA256, header["nonce"].as_str().unwrap().as_bytes());
    header["nonce"] = json!(URL_SAFE_NO_PAD.encode(hash));
    let (_, rest) = token.split_once('.').unwrap();
    let header = URL_SAFE_NO_PAD.encode(header.to_string());
    assert!(verifies(&format!("{header}.{rest}"), &jwks));
}

#[tokio::test]
async fn a_personal_token_is_of_the_consumers_tenant_and_its_key() {
    for (cloud, issuer) in [
        (
            DevCloud::Public,
            "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
        ),
        (
            DevCloud::China,
            "https://login.partner.microsoftonline.cn/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
        ),
    ] {
        let tenant = DevTenant::builder().cloud(cloud).start().await.unwrap();
        let token = tenant.personal("ada").scope("Read").for_api(API).mint();
        let claims = decoded(&token, 1);
        assert_eq!(claims["tid"], "9188040d-6c67-4c5b-b112-36a304b66dad");
        assert_eq!(claims["iss"], issuer);
        assert_eq!(claims["ver"], "2.0");
        assert_eq!(claims["scp"], "Read");
        assert!(
            claims["oid"]
                .as_str()
                .unwrap()
                .starts_with("00000000-0000-0000-")
        );
        assert_eq!(
            decoded(&token, 0)["kid"],
            keys(&tenant, "consumers")[0]["kid"]
        );
        for (authority, is_there) in [
            ("consumers", true),
            ("common", true),
            ("organizations", false),
        ] {
            let jwks: Value =
                serde_json::from_str(&tenant.signing_keys().document_of(authority)).unwrap();
            assert_eq!(verifies(&token, &jwks), is_there, "{authority}");
        }
    }
}

#[tokio::test]
async fn a_b2c_token_has_the_policy_and_no_tenant() {
    let tenant = DevTenant::start().await.unwrap();
    let jwks: Value = serde_json::from_str(&tenant.signing_keys().document()).unwrap();
    let plain = format!("https://contoso.b2clogin.com/{}/v2.0/", tenant.id());
    let with_policy = format!(
        "https://contoso.b2clogin.com/tfp/{}/b2c_1_signin/v2.0/",
        tenant.id()
    );
    for (policy, issuer, claim) in [
        (B2cPolicy::Default, &plain, "tfp"),
        (B2cPolicy::Tfp, &with_policy, "tfp"),
        (B2cPolicy::Acr, &plain, "acr"),
    ] {
        let token = tenant.b2c_token("ada", policy).scope("Read").for_api(API);
        let token = token.client(CLIENT).v1().mint();
        let claims = decoded(&token, 1);
        let mut expected = vec![
            "aud", "azp", "exp", "iat", "iss", "name", "nbf", "scp", "sub", "ver", claim,
        ];
        expected.sort_unstable();
        assert_eq!(names(&claims), expected);
        assert_eq!(claims["iss"], **issuer);
        assert_eq!(claims[claim], "B2C_1_signin");
        assert_eq!(
            (&claims["aud"], &claims["azp"]),
            (&json!(API), &json!(CLIENT))
        );
        assert_eq!(claims["ver"], "1.0");
        assert_eq!(names(&decoded(&token, 0)), ["alg", "kid", "typ"]);
        assert!(verifies(&token, &jwks));
    }
}
