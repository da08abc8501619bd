//! Tests of the claims of accepted tokens, which are read strictly if a decision depends on them,
//! and leniently otherwise.

use std::time::{Duration, SystemTime};

use entra_jwt_core::{
    KeySet, Tenancy, TenantId, Validator,
    refusal::PermissionDeniedKind,
    require::{NotInGroup, Requirement},
    token::{CallerKind, ClientAuthentication, Groups},
};
use serde_json::json;

use crate::{API, CLIENT, Setup};

#[tokio::test]
async fn details_are_read_when_asked_for_each_with_its_type() {
    let setup = Setup::new().await;
    let role = "62e90394-69f5-4237-9190-012177145e10";
    let token = setup
        .user()
        .directory_role(role)
        .agent()
        .claim("azpacr", "2")
        .claim("email", "ada@contoso.com")
        .claim("xms_edov", true)
        .claim("upn", "ada@contoso.com")
        .claim("given_name", "Ada")
        .claim("family_name", "Lovelace")
        .claim("ipaddr", "192.0.2.1")
        .claim("ctry", "GB")
        .claim("tenant_ctry", "DE")
        .claim("tenant_region_scope", "EU")
        .claim("sid", "session")
        .claim("login_hint", "hint")
        .claim("onprem_sid", "S-1-5")
        .claim("auth_time", 1_700_000_000);
    let token = setup.validate(token).unwrap();
    let details = token.details();
    for (found, expected) in [
        (details.version(), "2.0"),
        (details.name(), "ada"),
        (details.preferred_username(), "ada@contoso.onmicrosoft.com"),
        (details.email(), "ada@contoso.com"),
        (details.user_principal_name(), "ada@contoso.com"),
        (details.given_name(), "Ada"),
        (details.family_name(), "Lovelace"),
        (details.ip_address(), "192.0.2.1"),
        (details.country(), "GB"),
        (details.tenant_country(), "DE"),
        (details.tenant_region(), "EU"),
        (details.session_id(), "session"),
        (details.login_hint(), "hint"),
        (details.on_premises_sid(), "S-1-5"),
    ] {
        assert_eq!(found, Some(expected));
    }
    assert!(details.email_domain_is_verified());
    assert_eq!(details.token_id(), token.token_id());
    assert_eq!(
        details.authenticated_at(),
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
    );
    assert_eq!(
        details.client_authentication(),
        Some(ClientAuthentication::Certificate)
    );
    assert!(details.agent_blueprint().is_some());
    let roles: Vec<String> = details.directory_roles().map(|id| id.to_string()).collect();
    assert_eq!(roles, [role]);
    assert_eq!(format!("{details:?}"), "Details { .. }");

    let v1 = setup.validate_by(setup.rules().accept_v1_tokens(), setup.user().v1());
    let v1 = v1.unwrap();
    let methods: Vec<&str> = v1.details().authentication_methods().collect();
    assert_eq!(methods, ["pwd", "mfa"]);
    assert_eq!(v1.details().authentication_class(), Some("1"));
    assert_eq!(
        v1.details().unique_name(),
        Some("ada@contoso.onmicrosoft.com")
    );
    assert_eq!(
        v1.details().client_authentication(),
        Some(ClientAuthentication::Public)
    );
}

#[tokio::test]
async fn a_detail_of_another_type_counts_as_absent_and_refuses_nothing() {
    let setup = Setup::new().await;
    for name in [
        "ver",
        "uti",
        "sid",
        "login_hint",
        "auth_time",
        "acr",
        "amr",
        "azpacr",
        "wids",
        "name",
        "preferred_username",
        "upn",
        "email",
        "xms_edov",
        "xms_par_app_azp",
        "ctry",
    ] {
        for value in [
            json!({ "x": [1] }),
            json!([[1]]),
            json!(null),
            json!([null]),
        ] {
            let token = setup.validate(setup.user().claim(name, value)).unwrap();
            let details = token.details();
            assert_eq!(details.email(), None, "{name}");
            assert!(!details.email_domain_is_verified());
            assert_eq!(details.authenticated_at(), None);
            assert_eq!(details.agent_blueprint(), None);
            assert_eq!(details.directory_roles().count(), 0);
            assert_eq!(details.authentication_methods().count(), 0);
        }
    }
    for (name, value) in [("auth_time", json!(-1)), ("auth_time", json!("9e99"))] {
        let token = setup.validate(setup.user().claim(name, value)).unwrap();
        assert_eq!(token.details().authenticated_at(), None);
    }
    // The same value is also read from another JSON type.
    let token = setup
        .user()
        .claim("xms_edov", "1")
        .claim("auth_time", "1700000000");
    let token = setup.validate(token).unwrap();
    assert!(token.details().email_domain_is_verified());
    assert!(token.details().authenticated_at().is_some());
}

#[tokio::test]
async fn what_decides_has_its_type_or_the_token_is_refused() {
    let setup = Setup::new().await;
    for (name, value) in [
        ("acct", json!("1")),
        ("acct", json!(1.5)),
        ("acct", json!(null)),
        ("idp", json!(["live.com"])),
        ("xms_idrel", json!(5)),
        ("xms_act_fct", json!([11])),
        ("xms_sub_fct", json!(13)),
        ("groups", json!([5])),
        ("groups", json!("one")),
        ("_claim_names", json!(["groups"])),
        ("acrs", json!("c1")),
        ("xms_cc", json!("cp1")),
        ("idtyp", json!(true)),
        ("oid", json!("ada")),
    ] {
        let code = setup.code(setup.user().claim(name, value.clone()));
        assert_eq!(code, "wrong_type", "{name}: {value}");
    }
}

#[tokio::test]
async fn two_hundred_groups_are_listed_and_fit() {
    let setup = Setup::new().await;
    let ids: Vec<String> = (0..200)
        .map(|n| format!("5d0c5f51-3c1e-4c0a-9d0f-{n:012}"))
        .collect();
    let token = setup.user().claim("groups", json!(ids));
    let token = setup.validate(token).unwrap();
    let Groups::Listed(groups) = token.groups() else {
        panic!("listed");
    };
    let found: Vec<String> = groups.ids().map(|id| id.to_string()).collect();
    assert_eq!((found, groups.names().count()), (ids, 0));
    assert!(!groups.is_empty());
    assert!(!format!("{groups:?}").contains("5d0c5f51"));
}

#[tokio::test]
async fn who_acts_is_told_from_for_whom() {
    let setup = Setup::new().await;
    for (token, kind, delegated, app_only) in [
        (setup.user(), CallerKind::User, true, false),
        (setup.app(), CallerKind::App, false, true),
        (setup.app().agent(), CallerKind::Agent, false, true),
        (setup.user().agent(), CallerKind::Agent, true, false),
        (setup.user().agent_user(), CallerKind::Agent, true, false),
        (
            setup.app().without_claim("oid"),
            CallerKind::Unknown,
            false,
            false,
        ),
    ] {
        let token = setup.validate(token).unwrap();
        assert_eq!(token.kind(), kind);
        assert_eq!(
            (token.is_delegated(), token.is_app_only()),
            (delegated, app_only)
        );
    }
    let guest = setup.validate(setup.user().guest()).unwrap();
    assert!(guest.is_guest() && guest.identity_provider().is_some());
    assert!(!setup.validate(setup.user()).unwrap().is_guest());
    let at_home = format!("https://sts.windows.net/{}/", setup.tenant.id());
    let member = setup.user().claim("idp", at_home);
    assert!(!setup.validate(member).unwrap().is_guest());
}

#[tokio::test]
async fn a_validator_for_many_tenants_keeps_nothing_of_any() {
    let setup = Setup::new().await;
    let validator = Validator::entra(Tenancy::organizations(), API.parse().unwrap())
        .build()
        .unwrap();
    let keys = KeySet::from_jwks(
        setup
            .tenant
            .signing_keys()
            .document_of("organizations")
            .as_bytes(),
    )
    .unwrap();
    let before = format!("{validator:?}");
    for number in 0..50 {
        let tenant = format!("0a1b2c3d-4e5f-4a6b-8c7d-{number:012}");
        let token = setup
            .tenant
            .app(CLIENT)
            .role("R")
            .for_api(API)
            .of_tenant(&tenant);
        let token = validator
            .validate(&token.mint(), &keys, setup.now())
            .unwrap();
        assert_eq!(token.tenant_id(), tenant.parse::<TenantId>().unwrap());
    }
    // The derived `Debug` output shows the validator's whole state.
    assert_eq!(format!("{validator:?}"), before);
}

/// Checks that blank entries of any list do not count. An empty `scp` has never permitted anything.
#[tokio::test]
async fn blank_entries_of_any_list_are_none() {
    let setup = Setup::new().await;
    let validator = setup.rules().build().unwrap();
    let blank = json!(["", " ", "\t", "\u{a0}"]);
    let user = || setup.tenant.user("ada").for_api(API);
    for (token, is_app, scopes) in [
        (user(), false, "  / "),
        (user(), false, "\t"),
        (user(), false, "\u{a0}"),
        (user(), false, " \t \u{a0} / \n"),
        (setup.tenant.app(CLIENT).for_api(API), true, "\t"),
    ] {
        let mut token = token.claim("scp", scopes).with_idtyp();
        for list in ["roles", "groups", "acrs", "xms_cc", "wids", "amr"] {
            token = token.claim(list, blank.clone());
        }
        let token = setup.validate(token).unwrap();
        assert_eq!(token.is_app_only(), is_app);
        let denied = validator.default_permission(&token).unwrap_err();
        assert_eq!(denied.kind(), PermissionDeniedKind::NoPermission);
        assert_eq!(token.scopes().count(), 0);
        assert_eq!(token.roles().count(), 0);
        assert_eq!(token.authentication_contexts().count(), 0);
        assert_eq!(token.client_capabilities().count(), 0);
        assert_eq!(token.details().authentication_methods().count(), 0);
        assert_eq!(token.details().directory_roles().count(), 0);
        let Groups::Listed(groups) = token.groups() else {
            panic!("{:?}", token.groups());
        };
        assert!(groups.is_empty() && !groups.contains(""));
    }
    // The other entries of the same lists stay.
    let mixed = setup.user().claim("roles", json!(["", "Reader", " "]));
    let mixed = mixed.claim("scp", "\t Reports.Read \u{a0}");
    let token = setup.validate(mixed).unwrap();
    assert_eq!(token.roles().collect::<Vec<_>>(), ["Reader"]);
    assert_eq!(token.scopes().collect::<Vec<_>>(), ["Reports.Read"]);
}

/// Checks that a list with a blank group does not prove that a user is outside a group. The group
/// without an id may be the forbidden one.
#[tokio::test]
async fn a_list_with_a_blank_group_does_not_tell_who_is_not_in_a_group() {
    let setup = Setup::new().await;
    let outside = Requirement::new(NotInGroup("0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d")).unwrap();
    for (groups, met) in [
        (json!([]), Ok(())),
        (json!(["2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b"]), Ok(())),
        (json!([""]), Err("groups_by_name")),
        (
            json!(["2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b", " "]),
            Err("groups_by_name"),
        ),
    ] {
        let token = setup.user().claim("groups", groups.clone());
        let token = setup.validate(token).unwrap();
        let checked = outside.check(&token);
        assert_eq!(checked.map_err(|denied| denied.code()), met, "{groups}");
    }
}

#[tokio::test]
async fn a_long_value_is_kept_in_a_refusal_as_far_as_it_is_shown() {
    let setup = Setup::new().await;
    let long = "x".repeat(5_000);
    for token in [
        setup.user().claim("iss", &*long),
        setup.user().claim("tid", &*long),
        setup.user().claim("aud", &*long),
        setup.user().claim("aud", format!("https://{long}")),
        setup.user().header("alg", &*long),
        setup.user().header("typ", &*long),
    ] {
        let refused = setup.validate(token).unwrap_err();
        let found = refused.found().unwrap();
        assert_eq!(found.chars().count(), 201, "{refused}");
        assert!(refused.to_string().contains('…'), "{refused}");
    }
    let (header, payload) = ("{\"alg\":\"RS256\",\"kid\":", "{}");
    let header = format!("{header}\"{}\"}}", setup.tenant.signing_keys().current_id());
    let twice = payload.replace('{', &format!("{{\"{long}\":1,\"{long}\":1"));
    let token = setup.tenant.sign(&header, &twice);
    let refused = setup.validate_text(setup.rules(), &token).unwrap_err();
    assert_eq!(refused.code(), "duplicate_member");
    assert_eq!(refused.found().unwrap().chars().count(), 201);
}
