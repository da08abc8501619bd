//! Uses an accepted token as a service does: reads every claim and checks permissions.

use std::sync::LazyLock;

use entra_jwt_core::{
    AccessToken,
    require::{
        AppPermission, AuthenticationContext, Claim, Condition, Group, NotInGroup, Requirement,
        Scope, UserRole,
    },
    token::{CallerKind, Groups},
};

use crate::cases::Case;
use crate::examine::with_requirement;
use crate::memory::Bound;
use crate::second_reader::Claims;
use crate::text::{check_debug, check_denied, check_short};

/// Reads all of the token and compares the values with those of the second reader.
///
/// # Panics
/// If the two differ, or a text could harm a log.
pub fn handle(case: &Case, text: &str, token: &AccessToken, claims: &Claims) {
    read(token, claims);
    for (requirement, may_pass) in REQUIREMENTS.iter() {
        check_short(requirement);
        let _ = requirement.scopes(Some(token));
        match Bound::REQUIREMENT.on(text.len(), || requirement.check(token)) {
            Ok(()) => assert!(may_pass(token, claims), "{requirement} is not met"),
            Err(denied) => check_denied(&denied),
        }
        with_requirement(case, text, token, requirement);
    }
}

fn read(token: &AccessToken, claims: &Claims) {
    assert_eq!(Some(token.tenant_id().to_string()), claims.text("tid"));
    assert_eq!(Some(token.issuer()), claims.text("iss").as_deref());
    assert_eq!(Some(token.audience()), claims.text("aud").as_deref());
    assert_eq!(token.subject(), claims.text("sub").as_deref());
    assert_eq!(token.identity_provider(), claims.text("idp").as_deref());
    assert_eq!(
        token.object_id().map(|id| id.to_string()),
        claims.text("oid").map(|text| text.to_lowercase())
    );
    assert_eq!(
        token.client_id().map(|id| id.to_string()),
        claims.client().map(|text| text.to_lowercase())
    );
    same(token.scopes(), &claims.scopes());
    same(token.roles(), &claims.texts("roles"));
    same(token.authentication_contexts(), &claims.texts("acrs"));
    same(token.client_capabilities(), &claims.texts("xms_cc"));
    for (name, found) in [
        (
            "xms_idrel",
            token.identity_relations().collect::<Vec<u32>>(),
        ),
        ("xms_act_fct", token.actor_facets().collect()),
        ("xms_sub_fct", token.subject_facets().collect()),
    ] {
        assert_eq!(found, claims.numbers(name), "{name}");
    }
    for name in claims.names().take(8) {
        assert_eq!(token.claim(name), claims.get(name), "{name}");
    }

    assert!(!(token.is_app_only() && token.is_delegated()));
    match token.kind() {
        CallerKind::App => assert!(token.is_app_only()),
        CallerKind::User => assert!(token.is_delegated()),
        _ => {}
    }
    check_short(token.kind());
    check_debug(&token.id());
    let _ = (token.id().to_string(), token.is_guest(), token.issued_at());
    groups(token.groups(), claims);
    details(token, claims);
    check_debug(token);
    check_debug(token.key_id());
}

fn same<'a>(found: impl Iterator<Item = &'a str>, expected: &[String]) {
    assert!(
        found.eq(expected.iter().map(String::as_str)),
        "{expected:?}"
    );
}

fn groups(groups: Groups<'_>, claims: &Claims) {
    check_debug(&groups);
    if let Groups::Listed(list) = groups {
        let expected = claims.texts("groups");
        assert_eq!(list.len(), expected.len());
        assert_eq!(list.is_empty(), expected.is_empty());
        assert_eq!(list.ids().count() + list.names().count(), list.len());
        assert!(expected.iter().all(|group| list.contains(group)));
    }
}

/// Checks the details, on which no decision depends: each text that `serde_json` can read must be
/// present.
fn details(token: &AccessToken, claims: &Claims) {
    let details = token.details();
    check_debug(details);
    let texts = [
        ("ver", details.version()),
        ("uti", details.token_id()),
        ("sid", details.session_id()),
        ("login_hint", details.login_hint()),
        ("acr", details.authentication_class()),
        ("name", details.name()),
        ("preferred_username", details.preferred_username()),
        ("unique_name", details.unique_name()),
        ("upn", details.user_principal_name()),
        ("email", details.email()),
        ("given_name", details.given_name()),
        ("family_name", details.family_name()),
        ("ipaddr", details.ip_address()),
        ("onprem_sid", details.on_premises_sid()),
        ("ctry", details.country()),
        ("tenant_ctry", details.tenant_country()),
        ("tenant_region_scope", details.tenant_region()),
    ];
    for (name, found) in texts {
        let expected = claims.text(name);
        assert!(expected.is_none() || expected.as_deref() == found, "{name}");
    }
    let methods = claims.texts("amr");
    assert!(methods.is_empty() || details.authentication_methods().eq(&methods));
    let _ = (
        token.name(),
        token.preferred_username(),
        token.token_id(),
        details.email_domain_is_verified(),
        details.authenticated_at(),
        details.client_authentication(),
        details.agent_blueprint(),
        details.directory_roles().count(),
    );
}

const GROUP: &str = "b1d5c3f0-2a4e-4c6d-8e7f-0a9b8c7d6e5f";
const BANNED: &str = "e4a1f7c2-9b3d-4f60-8a15-2c7d6e5f4a3b";

/// A test of whether a token may pass a requirement.
type MayPass = fn(&AccessToken, &Claims) -> bool;

/// Requirements, one of each kind, with a condition that must hold if the requirement is met.
static REQUIREMENTS: LazyLock<Vec<(Requirement, MayPass)>> = LazyLock::new(|| {
    let has_scope: MayPass = |_, claims| claims.scopes().contains(&"Orders.Read".to_owned());
    vec![
        (required(Scope("Orders.Read")), has_scope),
        (required(UserRole("Orders.Read.All")), |token, claims| {
            !token.is_app_only() && has_role(claims)
        }),
        (
            required(AppPermission("Orders.Read.All")),
            |token, claims| token.is_app_only() && has_role(claims),
        ),
        (required(Group(GROUP)), |_, claims| {
            claims.lists_groups() && has_group(claims, GROUP)
        }),
        (required(NotInGroup(BANNED)), |_, claims| {
            claims.lists_groups() && !has_group(claims, BANNED)
        }),
        (required(AuthenticationContext("c1")), |_, claims| {
            claims.texts("acrs").contains(&"c1".to_owned())
        }),
        (required(Claim("department", "sales")), |_, claims| {
            claims
                .text("department")
                .is_some_and(|text| text == "sales")
                || claims.texts("department").contains(&"sales".to_owned())
        }),
        (
            required(Condition::any([
                Scope("Orders.Read").and(AuthenticationContext("c1")),
                Scope("Orders.Write").or(Scope("Orders.Delete")),
                Condition::all([AppPermission("Orders.Read.All")]),
                Group(GROUP).or(UserRole("Orders.Read.All")),
            ])),
            |_, _| true,
        ),
    ]
});

fn has_group(claims: &Claims, group: &str) -> bool {
    let groups = claims.texts("groups");
    groups.iter().any(|id| id.eq_ignore_ascii_case(group))
}

fn has_role(claims: &Claims) -> bool {
    claims
        .texts("roles")
        .contains(&"Orders.Read.All".to_owned())
}

fn required(condition: impl entra_jwt_core::require::IntoCondition) -> Requirement {
    Requirement::new(condition).expect("a requirement that makes sense")
}
