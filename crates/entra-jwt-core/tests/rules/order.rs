//! Which check comes first, and what is checked before a key is known.

use entra_dev_tenant::TokenBuilder;
use entra_jwt_core::{KeySet, Unverified};
use serde_json::json;

use crate::{API, OTHER_TENANT, Setup};

#[tokio::test]
async fn of_two_faults_the_earlier_check_names_the_reason() {
    let setup = Setup::new().await;
    let far = 32_503_680_000_i64;
    for (token, code) in [
        (
            setup.user().header("nonce", "x").header("alg", "none"),
            "graph_token",
        ),
        (
            setup.user().header("alg", "none").header("typ", "x"),
            "wrong_algorithm",
        ),
        (
            setup.user().header("typ", "x").header("kid", "unknown"),
            "wrong_token_type",
        ),
        // No key could mend it.
        (setup.user().header("kid", "unknown").expired(), "expired"),
        (setup.user().bad_signature().expired(), "bad_signature"),
        (setup.user().claim("scp", 5).expired(), "wrong_type"),
        (setup.user().expired().of_tenant(OTHER_TENANT), "expired"),
        (
            setup.user().claim("nbf", far).claim("iss", "x"),
            "impossible_lifetime",
        ),
        (
            setup.user().claim("iss", "x").audience("api://other"),
            "wrong_issuer",
        ),
        (
            setup.user().v1().of_tenant(OTHER_TENANT),
            "tenant_not_allowed",
        ),
        (setup.user().v1().audience("api://other"), "v1_token"),
        (
            setup.user().audience("api://other").claim("cnf", json!({})),
            "wrong_audience",
        ),
        (
            setup.user().claim("cnf", json!({})).claim("nonce", "x"),
            "proof_of_possession",
        ),
    ] {
        assert_eq!(setup.code(token), code);
    }
    // Which key may sign for whom comes between the version and the audience.
    let foreign = setup
        .tenant
        .jwks()
        .replace("microsoftonline.com/{tenantid}", "example.com/x");
    let keys = KeySet::from_jwks(foreign.as_bytes()).unwrap();
    let validate = |token: TokenBuilder<'_>| {
        let validator = setup.rules().build().unwrap();
        validator
            .validate(&token.mint(), &keys, setup.now())
            .unwrap_err()
            .code()
    };
    assert_eq!(validate(setup.user().v1()), "v1_token");
    assert_eq!(
        validate(setup.user().audience("api://other")),
        "key_issuer_mismatch"
    );
}

#[tokio::test]
async fn the_precheck_finds_what_the_whole_check_would_find() {
    let setup = Setup::new().await;
    let validator = setup.rules().build().unwrap();
    let precheck = |token: TokenBuilder<'_>| {
        let token = token.mint();
        let unverified = Unverified::parse(&token).unwrap();
        validator
            .precheck(&unverified, setup.now())
            .map_err(|error| error.code())
    };
    assert_eq!(precheck(setup.user().header("kid", "unknown")), Ok(()));
    assert_eq!(precheck(setup.user().bad_signature()), Ok(()));
    for (token, code) in [
        (setup.user().header("alg", "none"), "wrong_algorithm"),
        (setup.tenant.graph_token("ada"), "graph_token"),
        (setup.user().expired(), "expired"),
        (setup.user().of_tenant(OTHER_TENANT), "tenant_not_allowed"),
        (setup.user().v1(), "v1_token"),
        (setup.user().audience("api://other"), "wrong_audience"),
        (setup.tenant.id_token("ada").for_api(API), "id_token"),
    ] {
        assert_eq!(precheck(token.header("kid", "unknown")), Err(code));
    }
}

#[tokio::test]
async fn a_token_says_which_key_it_asks_for_and_whose_it_claims_to_be() {
    let setup = Setup::new().await;
    let validator = setup.rules().build().unwrap();
    for (token, ours) in [
        (setup.user(), true),
        (setup.user().v1(), true),
        (setup.user().of_tenant(OTHER_TENANT), false),
        (setup.user().claim("iss", "https://other.example"), false),
    ] {
        let token = token.header("kid", "some key").mint();
        let unverified = Unverified::parse(&token).unwrap();
        assert_eq!(unverified.key_ref().key_id.as_str(), "some key");
        assert_eq!(validator.claims_to_be_ours(&unverified), ours);
    }
}
