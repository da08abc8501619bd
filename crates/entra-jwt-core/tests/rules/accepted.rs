//! Tests of accepted tokens and of the values that they return.

use entra_jwt_core::{
    refusal::PermissionDeniedKind,
    token::{CallerId, CallerKind, TokenVersion, Unverified},
};
use serde_json::{Value, json};

use crate::{API, CLIENT, Setup};

#[tokio::test]
async fn a_good_user_token_is_accepted_with_its_claims() {
    let setup = Setup::new().await;
    let token = setup
        .user()
        .role("Reports.Admin")
        .claim("extension_x", json!(["a", 1]));
    let token = setup.validate(token).unwrap();

    assert_eq!(token.kind(), CallerKind::User);
    assert_eq!(token.version(), TokenVersion::V2);
    assert_eq!(token.tenant_id().to_string(), setup.tenant.id());
    assert_eq!(
        token.id().to_string(),
        token.object_id().unwrap().to_string()
    );
    assert_eq!(token.scopes().collect::<Vec<_>>(), ["Reports.Read"]);
    assert_eq!(token.roles().collect::<Vec<_>>(), ["Reports.Admin"]);
    assert_eq!(token.audience(), API);
    assert_eq!(token.name(), Some("ada"));
    assert_eq!(
        token.preferred_username(),
        Some("ada@contoso.onmicrosoft.com")
    );
    assert_eq!(
        token.key_id().as_str(),
        setup.tenant.signing_keys().current_id()
    );
    assert_eq!(token.claim("extension_x"), Some(json!(["a", 1])));
    assert_eq!(token.claim("absent"), None);
    // A claim that `serde_json` cannot hold does not hide other claims.
    let exotic = format!("{{{}", r#""exotic":1e400,"lone":"\ud800","#);
    let payload = serde_json::to_string(&token.claims_as::<Value>().unwrap()).unwrap();
    let payload = payload.replacen('{', &exotic, 1);
    let header = format!(
        r#"{{"alg":"RS256","kid":"{}"}}"#,
        setup.tenant.signing_keys().current_id()
    );
    let exotic = setup.tenant.sign(&header, &payload);
    let exotic = setup.validate_text(setup.rules(), &exotic).unwrap();
    assert_eq!(exotic.claim("extension_x"), Some(json!(["a", 1])));
    assert_eq!(exotic.claim("exotic"), None);
    let left = token.expires_at().duration_since(setup.now()).unwrap();
    assert!((3_595..=3_600).contains(&left.as_secs()));

    #[derive(serde::Deserialize)]
    struct Own {
        extension_x: Vec<Value>,
    }
    assert_eq!(token.claims_as::<Own>().unwrap().extension_x.len(), 2);
    assert!(token.claims_as::<Vec<u8>>().is_err());
}

#[tokio::test]
async fn a_good_app_token_is_accepted() {
    let setup = Setup::new().await;
    let token = setup.validate(setup.app()).unwrap();
    assert_eq!(token.kind(), CallerKind::App);
    assert_eq!(token.client_id().unwrap().to_string(), CLIENT);
    assert_eq!(
        token.subject().unwrap(),
        token.object_id().unwrap().to_string()
    );
}

#[tokio::test]
async fn what_is_displayed_for_debugging_names_no_person() {
    let setup = Setup::new().await;
    let text = setup.user().mint();
    let unverified = format!("{:?}", Unverified::parse(&text).unwrap());
    let token = setup.validate_text(setup.rules(), &text).unwrap();
    let shown = format!("{token:?} {unverified}");
    let shown = format!("{shown} {:?}", token.id());
    for secret in ["\"ada", &token.id().to_string(), token.subject().unwrap()] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    assert!(!shown.contains(text.rsplit('.').next().unwrap()));
}

#[tokio::test]
async fn users_apps_and_agents_are_told_apart() {
    let setup = Setup::new().await;
    for (token, kind) in [
        (setup.user(), CallerKind::User),
        (setup.user().claim("idtyp", "user"), CallerKind::User),
        (setup.app(), CallerKind::App),
        (setup.app().claim("idtyp", "app"), CallerKind::App),
        (
            setup.app().claim("sub", "other").claim("idtyp", "app"),
            CallerKind::App,
        ),
        // An application without a service principal has neither object id, nor scope, nor role.
        (
            setup.tenant.app(CLIENT).for_api(API).without_claim("oid"),
            CallerKind::App,
        ),
        // A user's role without an object id never counts as an application's permission.
        (setup.app().without_claim("oid"), CallerKind::Unknown),
        (setup.app().without_claim("sub"), CallerKind::Unknown),
        (setup.user().claim("idtyp", "device"), CallerKind::Unknown),
        (setup.user().without_claim("oid"), CallerKind::User),
        (
            setup.user().claim("scp", "/").claim("idtyp", "app"),
            CallerKind::App,
        ),
        (setup.app().claim("xms_act_fct", "3 11"), CallerKind::Agent),
        (setup.user().claim("xms_sub_fct", "13"), CallerKind::Agent),
        (setup.user().claim("xms_sub_fct", "113 3"), CallerKind::User),
    ] {
        assert_eq!(setup.validate(token).unwrap().kind(), kind);
    }
}

#[tokio::test]
async fn a_caller_always_has_an_id_and_none_passes_for_another() {
    let setup = Setup::new().await;
    let token = setup.validate(setup.user().without_claim("oid")).unwrap();
    assert!(matches!(token.id(), CallerId::Subject(_)));
    assert!(token.id().to_string().starts_with("sub:"));

    let token = setup.app().without_claim("oid").without_claim("sub");
    let token = setup.validate(token).unwrap();
    assert_eq!(token.id().to_string(), format!("client:{CLIENT}"));
}

#[tokio::test]
async fn a_token_that_permits_nothing_is_denied() {
    let setup = Setup::new().await;
    let validator = setup.rules().build().unwrap();
    let permission = |token| validator.default_permission(&setup.validate(token).unwrap());
    assert_eq!(permission(setup.user()), Ok(()));
    assert_eq!(permission(setup.app()), Ok(()));
    let nothing = || setup.tenant.app(CLIENT).for_api(API);
    for token in [
        nothing(),
        nothing().claim("scp", ""),
        nothing().claim("scp", "/"),
        nothing().claim("roles", json!([])),
    ] {
        let denied = permission(token).unwrap_err();
        assert_eq!(denied.kind(), PermissionDeniedKind::NoPermission);
    }
}

#[tokio::test]
async fn claims_that_decide_have_their_type_and_others_are_tolerated() {
    let setup = Setup::new().await;
    for (claim, value) in [
        ("scp", json!(["Reports.Read"])),
        ("roles", json!("Reports.Read.All")),
        ("roles", json!([5])),
        ("oid", json!("not a guid")),
        ("azp", json!(5)),
        ("sub", json!(5)),
        ("idtyp", json!(["app"])),
        ("groups", json!("one")),
    ] {
        assert_eq!(
            setup.code(setup.user().claim(claim, value)),
            "wrong_type",
            "{claim}"
        );
    }
    for (value, shown) in [
        (json!(5), Some("5")),
        (json!(true), Some("true")),
        (json!(["ada"]), None),
        (json!({ "first": "ada" }), None),
        (Value::Null, None),
    ] {
        let token = setup.validate(setup.user().claim("name", value)).unwrap();
        assert_eq!(token.name(), shown);
    }
}
