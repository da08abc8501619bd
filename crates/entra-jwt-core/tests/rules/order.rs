//! Tests of the order of checks, and of the checks before a key is known.

use entra_dev_tenant::{Flaw, TokenBuilder};
use entra_jwt_core::{
    KeySet,
    explain::{CheckName, ExplainOptions, Finding, Outcome, Verdict},
    ids::Audience,
    token::Unverified,
};
use serde_json::json;

use crate::{API, CLIENT, OTHER_TENANT, Setup};

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
        // No key could make the expired token valid.
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
        (setup.user().v1().of_tenant(OTHER_TENANT), "v1_token"),
        (
            setup.user().audience("api://other").of_tenant(OTHER_TENANT),
            "wrong_audience",
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
    // The check of the issuers that a key may sign for comes between the version and the audience.
    let foreign = setup
        .tenant
        .signing_keys()
        .document()
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
        (setup.user().v1(), "v1_token"),
        (setup.user().audience("api://other"), "wrong_audience"),
        (setup.tenant.id_token("ada").for_api(API), "id_token"),
    ] {
        assert_eq!(precheck(token.header("kid", "unknown")), Err(code));
    }
}

/// Checks that admission is no reason for a refusal before the signature is verified.
///
/// Any client can invent a token with an unknown key. Its refusal must not reveal who is admitted.
#[tokio::test]
async fn who_is_admitted_is_no_reason_before_the_signature_holds() {
    let setup = Setup::new().await;
    let rules = || setup.rules().allowed_clients([CLIENT.parse().unwrap()]);
    let validator = rules().refuse_guests().refuse_agents().build().unwrap();
    let user = || setup.user().client(CLIENT);
    let keys =
        KeySet::from_jwks(setup.tenant.signing_keys().document_of("common").as_bytes()).unwrap();
    for (token, code) in [
        (user(), "accepted"),
        (user().of_tenant(OTHER_TENANT), "tenant_not_allowed"),
        (
            setup
                .tenant
                .personal("ada")
                .client(CLIENT)
                .scope("Reports.Read")
                .for_api(API),
            "personal_account",
        ),
        (setup.user(), "client_not_allowed"),
        (user().claim("acct", 1), "guest_not_allowed"),
        (user().claim("xms_idrel", "1 5"), "guest_not_allowed"),
        (user().claim("idp", "live.com"), "guest_not_allowed"),
        (user().claim("xms_par_app_azp", CLIENT), "agent_not_allowed"),
        (user().claim("xms_act_fct", "11"), "agent_not_allowed"),
    ] {
        let token = token.mint();
        let outcome = validator.validate(&token, &keys, setup.now());
        let found = outcome.map_or_else(|refused| refused.code(), |_| "accepted");
        assert_eq!(found, code);

        let unverified = Unverified::parse(&token).unwrap();
        assert_eq!(validator.precheck(&unverified, setup.now()), Ok(()));
        assert!(validator.matches_issuer(&unverified));
        let refused = validator.verify(unverified, None, setup.now()).unwrap_err();
        assert_eq!(refused.code(), "unknown_key", "{code}");
        // `explain` reports the admission too.
        let none = KeySet::default();
        let report = validator.explain(&token, &ExplainOptions::at(setup.now()).keys(&none));
        assert_eq!(report.verdict(), Verdict::InvalidToken(&refused));
        let codes = report.findings().iter().filter_map(Finding::code);
        let mut expected = vec!["unknown_key"];
        expected.extend(Some(code).filter(|code| *code != "accepted"));
        assert_eq!(codes.collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn a_token_says_which_key_it_asks_for_and_whose_it_claims_to_be() {
    let setup = Setup::new().await;
    let validator = setup.rules().build().unwrap();
    for (token, ours) in [
        (setup.user(), true),
        (setup.user().v1(), true),
        (setup.user().of_tenant(OTHER_TENANT), true),
        (setup.user().claim("iss", "https://other.example"), false),
    ] {
        let token = token.header("kid", "some key").mint();
        let unverified = Unverified::parse(&token).unwrap();
        assert_eq!(unverified.key_ref().key_id.as_str(), "some key");
        assert_eq!(validator.matches_issuer(&unverified), ours);
    }
}

/// Checks that duplicates of other members are looked for after the signature is verified and
/// before the claims are checked. Everything that is refused without a key comes earlier.
#[tokio::test]
async fn a_member_that_stands_twice_comes_between_the_signature_and_the_claims() {
    let setup = Setup::new().await;
    let validator = setup.rules().build().unwrap();
    let keys = KeySet::from_jwks(setup.tenant.signing_keys().document().as_bytes()).unwrap();
    let none = KeySet::default();
    // The token has only the duplicate, or another fault as well.
    for (token, with_key, without_key) in [
        (setup.user(), "duplicate_member", "unknown_key"),
        (setup.user().expired(), "duplicate_member", "expired"),
        (
            setup.user().header("typ", "x"),
            "wrong_token_type",
            "wrong_token_type",
        ),
        (setup.user().bad_signature(), "bad_signature", "unknown_key"),
    ] {
        let twice = token.flaw(Flaw::DuplicateUnknownClaim).mint();
        let code = |keys: &KeySet| {
            let refused = validator.validate(&twice, keys, setup.now()).unwrap_err();
            let report = validator.explain(&twice, &ExplainOptions::at(setup.now()).keys(keys));
            assert_eq!(report.verdict(), Verdict::InvalidToken(&refused));
            if refused.code() == "duplicate_member" {
                let names = report.finding(CheckName::Names).unwrap();
                assert_eq!(names.outcome, Outcome::InvalidToken(refused.clone()));
            }
            refused.code()
        };
        assert_eq!(code(&keys), with_key);
        assert_eq!(code(&none), without_key);
        let unverified = Unverified::parse(&twice).unwrap();
        let precheck = validator.precheck(&unverified, setup.now());
        let precheck = precheck.map_or_else(|refused| refused.code(), |()| "unknown_key");
        assert_eq!(precheck, without_key);
    }
    // Without keys, `explain` does not check for duplicates.
    let twice = setup.user().flaw(Flaw::DuplicateUnknownClaim).mint();
    let report = validator.explain(&twice, &ExplainOptions::at(setup.now()));
    assert_eq!(report.verdict(), Verdict::NotVerified);
    let names = report.finding(CheckName::Names).unwrap();
    assert_eq!(names.outcome, Outcome::NotChecked);
}

/// Checks that a wrong issuer is reported as such, without a version. The issuer determines the
/// version of a token.
#[tokio::test]
async fn a_wrong_issuer_is_reported_as_that_and_the_version_is_not_reached() {
    let setup = Setup::new().await;
    let validator = setup.rules().build().unwrap();
    let keys = KeySet::from_jwks(setup.tenant.signing_keys().document().as_bytes()).unwrap();
    let token = setup.user().flaw(Flaw::IssuerOfAnotherTenant).mint();
    let refused = validator.validate(&token, &keys, setup.now()).unwrap_err();
    assert_eq!(refused.code(), "wrong_issuer");
    let report = validator.explain(&token, &ExplainOptions::at(setup.now()).keys(&keys));
    let outcome = |check| report.finding(check).map(|finding| finding.outcome.clone());
    assert_eq!(
        outcome(CheckName::Issuer),
        Some(Outcome::InvalidToken(refused))
    );
    assert_eq!(outcome(CheckName::Version), Some(Outcome::NotReached));
}

#[tokio::test]
async fn rules_say_by_which_uri_scopes_are_requested_and_which_versions_they_accept() {
    let setup = Setup::new().await;
    let usual = setup.rules().build().unwrap();
    assert!(!usual.accepts_v1_tokens());
    let both = setup.rules().accept_v1_tokens().build().unwrap();
    assert!(both.accepts_v1_tokens());
    assert_eq!(usual.app_id_uri(), format!("api://{API}"));
    let uri = Audience::new("https://api.contoso.com/orders/").unwrap();
    let named = setup.rules().audience(uri).build().unwrap();
    assert_eq!(named.app_id_uri(), "https://api.contoso.com/orders");
}
