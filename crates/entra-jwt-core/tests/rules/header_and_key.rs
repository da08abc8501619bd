//! Tests of the header, the key, the signature, and the issuers that a key may sign for.

use entra_dev_tenant::{DevTenant, TokenBuilder};
use entra_jwt_core::{KeySet, token::Unverified};
use serde_json::{Value, json};

use crate::{API, Setup};

#[tokio::test]
async fn a_graph_token_is_named_as_such() {
    let setup = Setup::new().await;
    assert_eq!(setup.code(setup.tenant.graph_token("ada")), "graph_token");
    for audience in [
        "https://graph.microsoft.com",
        "https://graph.microsoft.com/",
        "https://graph.microsoft.us",
        "https://microsoftgraph.chinacloudapi.cn",
        "00000003-0000-0000-c000-000000000000",
    ] {
        assert_eq!(setup.code(setup.user().audience(audience)), "graph_token");
    }
}

#[tokio::test]
async fn a_key_signs_only_for_the_issuer_and_cloud_that_it_belongs_to() {
    let setup = Setup::new().await;
    let jwks: Value = serde_json::from_str(&setup.tenant.signing_keys().document()).unwrap();
    let validate = |member: &str, value: Option<&str>, token: TokenBuilder<'_>| {
        let mut jwks = jwks.clone();
        match value {
            Some(value) => jwks["keys"][0][member] = json!(value),
            None => drop(jwks["keys"][0].as_object_mut().unwrap().remove(member)),
        }
        let keys = KeySet::from_jwks(jwks.to_string().as_bytes()).unwrap();
        let rules = setup.rules().accept_v1_tokens().build().unwrap();
        rules
            .validate(&token.mint(), &keys, setup.now())
            .map(|_| "accepted")
            .unwrap_or_else(|rejection| rejection.code())
    };
    let own = format!(
        "https://login.microsoftonline.com/{}/v2.0",
        setup.tenant.id()
    );
    let personal = "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0";
    let template = "https://login.microsoftonline.com/{tenantid}/v2.0";
    for (issuer, code) in [
        (None, "accepted"),
        (Some(template), "accepted"),
        (Some(&*own), "accepted"),
        (Some(personal), "key_issuer_mismatch"),
        (
            Some("https://login.microsoftonline.us/{tenantid}/v2.0"),
            "key_issuer_mismatch",
        ),
        (Some(""), "accepted"),
    ] {
        assert_eq!(validate("issuer", issuer, setup.user()), code, "{issuer:?}");
        assert_eq!(
            validate("issuer", issuer, setup.user().v1()),
            code,
            "v1 {issuer:?}"
        );
    }
    for (cloud, code) in [
        (None, "accepted"),
        (Some("microsoftonline.com"), "accepted"),
        (Some("microsoftonline.us"), "key_cloud_mismatch"),
        (Some(""), "accepted"),
    ] {
        assert_eq!(
            validate("cloud_instance_name", cloud, setup.user()),
            code,
            "{cloud:?}"
        );
    }
}

#[tokio::test]
async fn the_header_is_that_of_an_entra_token() {
    let setup = Setup::new().await;
    for algorithm in [
        "none", "None", "", "rs256", "RS256 ", "RS256\0", "HS256", "PS256", "RS512",
    ] {
        assert_eq!(
            setup.code(setup.user().header("alg", algorithm)),
            "wrong_algorithm"
        );
    }
    assert_eq!(
        setup.code(setup.user().without_header("alg")),
        "wrong_algorithm"
    );
    assert_eq!(
        setup.code(setup.user().header("typ", "at+jwt")),
        "wrong_token_type"
    );
    assert!(setup.validate(setup.user().header("typ", "jwt")).is_ok());
    assert!(setup.validate(setup.user().without_header("typ")).is_ok());
    for member in ["alg", "typ", "kid"] {
        for value in [json!(0), Value::Null, json!(["RS256"])] {
            assert_eq!(setup.code(setup.user().header(member, value)), "wrong_type");
        }
    }
    for (member, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
    ] {
        assert_eq!(
            setup.code(setup.user().header(member, value)),
            "unsupported_header"
        );
    }
    // The validator ignores keys and URLs that the sender supplies.
    for member in ["jwk", "jku", "x5u", "x5c", "x5t", "anything"] {
        assert!(
            setup
                .validate(setup.user().header(member, json!({ "n": 5 })))
                .is_ok()
        );
    }
}

#[tokio::test]
async fn only_a_key_of_the_issuer_verifies() {
    let setup = Setup::new().await;
    let stranger = DevTenant::start().await.unwrap();
    assert_eq!(setup.code(setup.user().bad_signature()), "bad_signature");
    assert_eq!(
        setup.code(setup.user().without_header("kid")),
        "missing_kid"
    );
    assert_eq!(setup.code(setup.user().header("kid", "")), "wrong_type");
    assert_eq!(
        setup.code(setup.user().header("kid", "k".repeat(257))),
        "wrong_type"
    );

    let forged = stranger.user("ada").scope("Reports.Read").for_api(API);
    assert_eq!(setup.code(forged), "unknown_key");
    let forged = stranger
        .user("ada")
        .for_api(API)
        .header("kid", setup.tenant.signing_keys().current_id());
    assert_eq!(setup.code(forged), "bad_signature");
    for kid in [
        format!("{} ", setup.tenant.signing_keys().current_id()),
        setup.tenant.signing_keys().current_id().to_uppercase(),
        "../../../dev/null".to_owned(),
        "' OR 1=1--".to_owned(),
        "\u{202e}".to_owned(),
    ] {
        assert_eq!(setup.code(setup.user().header("kid", kid)), "unknown_key");
    }
}

#[tokio::test]
async fn a_key_of_another_name_is_not_the_key_that_the_token_names() {
    let setup = Setup::new().await;
    let renamed = setup
        .tenant
        .signing_keys()
        .document()
        .replace(&setup.tenant.signing_keys().current_id(), "another");
    let keys = KeySet::from_jwks(renamed.as_bytes()).unwrap();
    let validator = setup.rules().build().unwrap();
    let token = setup.user().mint();
    for key in keys.iter() {
        let unverified = Unverified::parse(&token).unwrap();
        let rejection = validator
            .verify(unverified, Some(key), setup.now())
            .unwrap_err();
        assert_eq!(rejection.code(), "unknown_key");
    }
}

#[tokio::test]
async fn outwardly_a_forged_signature_tells_nothing_of_the_keys() {
    let setup = Setup::new().await;
    let unknown = setup.validate(setup.user().header("kid", "x")).unwrap_err();
    let bad = setup.validate(setup.user().bad_signature()).unwrap_err();
    assert_ne!(unknown.code(), bad.code());
    assert_eq!(unknown.public_code(), "untrusted_signature");
    assert_eq!(unknown.public_code(), bad.public_code());
    assert_eq!(unknown.public_remedy(), bad.public_remedy());
}
