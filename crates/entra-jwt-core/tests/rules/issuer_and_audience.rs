//! Tests of a token's issuer, audience and kind.

use entra_dev_tenant::{DevCloud, DevTenant};
use entra_jwt_core::{
    Cloud,
    ids::Audience,
    token::{CallerKind, TokenVersion},
};
use serde_json::{Value, json};

use crate::{API, CLIENT, OTHER_TENANT, Setup};

#[tokio::test]
async fn v1_token_is_refused_with_the_manifest_remedy_or_accepted_on_request() {
    let setup = Setup::new().await;
    let rejection = setup.validate(setup.user().v1()).unwrap_err();
    assert_eq!(rejection.code(), "v1_token");
    assert!(
        rejection
            .remedy()
            .contains("api.requestedAccessTokenVersion to 2")
    );
    assert!(
        rejection
            .found()
            .unwrap()
            .starts_with("https://sts.windows.net/")
    );

    for (token, kind) in [
        (setup.user(), CallerKind::User),
        (setup.app(), CallerKind::App),
    ] {
        let rules = setup.rules().accept_v1_tokens();
        let token = setup.validate_by(rules, token.v1()).unwrap();
        assert_eq!((token.version(), token.kind()), (TokenVersion::V1, kind));
    }
    let both = setup.rules().accept_v1_tokens();
    assert!(setup.validate_by(both, setup.user()).is_ok());
}

#[tokio::test]
async fn an_id_token_is_refused_even_if_its_audience_is_this_api() {
    let setup = Setup::new().await;
    assert_eq!(
        setup.code(setup.tenant.id_token("ada").for_api(API)),
        "id_token"
    );
    for mark in ["nonce", "c_hash", "at_hash"] {
        assert_eq!(setup.code(setup.user().claim(mark, "x")), "id_token");
    }
    assert_eq!(setup.code(setup.user().without_claim("azp")), "id_token");
}

#[tokio::test]
async fn a_proof_of_possession_token_is_no_bearer_token() {
    let setup = Setup::new().await;
    let token = setup.user().claim("cnf", json!({ "kid": "x" }));
    assert_eq!(setup.code(token), "proof_of_possession");
}

#[tokio::test]
async fn a_token_of_somebody_else_is_called_that_whatever_its_claims_look_like() {
    let setup = Setup::new().await;
    for token in [
        setup.user().claim("azp", "123.apps.googleusercontent.com"),
        setup.user().claim("aud", json!(["api", "other"])),
        setup.user().claim("exp", "soon"),
    ] {
        assert_eq!(
            setup.code(token.claim("iss", "https://accounts.google.com")),
            "wrong_issuer"
        );
    }
    assert_eq!(
        setup.code(setup.user().claim("azp", "my-client")),
        "wrong_type"
    );
}

#[tokio::test]
async fn the_issuer_is_that_of_the_tokens_own_tenant_byte_for_byte() {
    let setup = Setup::new().await;
    let tid = setup.tenant.id();
    let good = format!("https://login.microsoftonline.com/{tid}/v2.0");
    for issuer in [
        format!("{good}/"),
        format!("{good} "),
        good.replace("https", "http"),
        good.replace(".com", ".com:443"),
        good.replace("login.", "LOGIN."),
        good.replace(".com/", ".com.evil.example/"),
        good.replace(
            "login.microsoftonline.com",
            "login.microsoftonline.com@evil.example",
        ),
        good.replace("login.microsoftonline.com", "login.windows.net"),
        good.replace("microsoftonline", "micr\u{43e}softonline"),
        good.replace(tid, OTHER_TENANT),
        good.replace(tid, "{tenantid}"),
        good.replace(tid, "common"),
        good.replace(tid, "organizations"),
        good.replace(tid, &tid.to_uppercase()),
        good.replace("/v2.0", "/v1.1"),
        good.replace("/v2.0", ""),
        format!("https://sts.windows.net/{tid}"),
        format!("https://sts.windows.net/{tid}//"),
        String::new(),
    ] {
        let code = setup.code(setup.user().claim("iss", issuer.clone()));
        assert_eq!(code, "wrong_issuer", "{issuer}");
    }
    assert_eq!(
        setup.code(setup.user().without_claim("iss")),
        "missing_claim"
    );
    for value in [json!(5), json!([good]), json!({ "iss": good }), Value::Null] {
        assert_eq!(setup.code(setup.user().claim("iss", value)), "wrong_type");
    }
}

#[tokio::test]
async fn the_tenant_is_one_lower_case_guid_and_the_one_allowed() {
    let setup = Setup::new().await;
    assert_eq!(
        setup.code(setup.user().of_tenant(OTHER_TENANT)),
        "tenant_not_allowed"
    );
    assert_eq!(
        setup.code(setup.user().without_claim("tid")),
        "missing_claim"
    );
    for (tid, code) in [
        (json!(OTHER_TENANT), "wrong_issuer"),
        (json!(setup.tenant.id().to_uppercase()), "invalid_tenant"),
        (
            json!(format!("{{{}}}", setup.tenant.id())),
            "invalid_tenant",
        ),
        (json!("common"), "invalid_tenant"),
        (json!(""), "invalid_tenant"),
        (json!([setup.tenant.id()]), "wrong_type"),
        (Value::Null, "wrong_type"),
    ] {
        assert_eq!(
            setup.code(setup.user().claim("tid", tid.clone())),
            code,
            "{tid}"
        );
    }
    for twin in ["TID", "Tid", "tiD"] {
        let token = setup.user().claim(twin, setup.tenant.id());
        assert_eq!(setup.code(token), "ambiguous_tenant");
    }
}

#[tokio::test]
async fn each_cloud_accepts_its_own_tokens_only() {
    let clouds = [
        (Cloud::Public, DevCloud::Public),
        (Cloud::UsGovernment, DevCloud::UsGovernment),
        (Cloud::China, DevCloud::China),
    ];
    for (played, dev_cloud) in clouds {
        let tenant = DevTenant::builder().cloud(dev_cloud).start().await.unwrap();
        let setup = Setup::of(tenant);
        for (configured, _) in clouds {
            for v1 in [false, true] {
                let rules = setup.rules().cloud(configured).accept_v1_tokens();
                let token = if v1 { setup.user().v1() } else { setup.user() };
                let result = setup
                    .validate_by(rules, token)
                    .map_err(|error| error.code());
                match result {
                    Ok(_) => assert_eq!(played, configured),
                    Err(code) => {
                        assert_ne!(played, configured);
                        // The public and the US Government cloud share the v1 issuer: only their
                        // keys distinguish them.
                        let shared = v1 && played != Cloud::China && configured != Cloud::China;
                        let expected = if shared {
                            "key_issuer_mismatch"
                        } else {
                            "wrong_cloud"
                        };
                        assert_eq!(code, expected, "{played} {configured} v1: {v1}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn the_audience_is_this_api() {
    let setup = Setup::new().await;
    for audience in [
        "",
        CLIENT,
        "api://6e74172b-be56-4843-9ff4-e66a39bb12e3/Reports.Read",
    ] {
        let rejection = setup.validate(setup.user().audience(audience)).unwrap_err();
        assert_eq!(rejection.code(), "wrong_audience", "{audience}");
        assert!(rejection.remedy().contains(&format!("api://{API}/<name>")));
        let rules = setup
            .rules()
            .audience(Audience::new("https://api.contoso.com").unwrap());
        let rejection = setup
            .validate_by(rules, setup.user().audience(audience))
            .unwrap_err();
        assert!(
            rejection
                .remedy()
                .contains("https://api.contoso.com/<name>")
        );
    }
    assert_eq!(
        setup.code(setup.user().without_claim("aud")),
        "missing_claim"
    );
    for value in [
        json!(5),
        json!([API]),
        json!([]),
        json!({ "0": API }),
        Value::Null,
    ] {
        assert_eq!(setup.code(setup.user().claim("aud", value)), "wrong_type");
    }
    for audience in [
        "api://6e74172b-be56-4843-9ff4-e66a39bb12e3",
        "api://orders",
        "api://orders/",
    ] {
        let rules = setup
            .rules()
            .audience(Audience::new("api://orders").unwrap());
        assert!(
            setup
                .validate_by(rules, setup.user().audience(audience))
                .is_ok()
        );
    }
}

#[tokio::test]
async fn the_longest_audience_is_accepted_with_a_slash_more_and_however_it_is_written() {
    let setup = Setup::new().await;
    let longest = format!("https://{}", "a".repeat(Audience::MAX_LENGTH - 8));
    let token = setup.validate(setup.user()).unwrap();
    let mut claims: Value = token.claims_as().unwrap();
    claims["aud"] = json!(format!("{longest}/"));
    let header = format!(
        r#"{{"alg":"RS256","kid":"{}"}}"#,
        setup.tenant.signing_keys().current_id()
    );
    let plain = claims.to_string();
    for payload in [&plain, &plain.replace('/', "\\/")] {
        let rules = setup.rules().audience(Audience::new(&longest).unwrap());
        let token = setup.tenant.sign(&header, payload);
        assert!(setup.validate_text(rules, &token).is_ok(), "{payload}");
    }
}
