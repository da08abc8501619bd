//! Tests of requirements: the callers that meet them, the permissions that others lack, and invalid
//! requirements.

use entra_dev_tenant::TokenBuilder;
use entra_jwt_core::require::{
    AppPermission, AuthenticationContext, Claim, Condition, Group, IntoCondition, NotInGroup,
    Requirement, RequirementProblem, RequirementProblemKind, Scope, UserRole,
};
use serde_json::json;

use crate::Setup;

const SALES: &str = "5d0c5f51-3c1e-4c0a-9d0f-2b8f4f7b1c11";
const AUDIT: &str = "7e1d6a62-4d2f-4d1b-8e1a-3c9a5a8c2d22";

fn requirement(condition: impl IntoCondition) -> Requirement {
    Requirement::new(condition).unwrap()
}

/// Returns the code of the denial, or `met`.
fn check(setup: &Setup, condition: impl IntoCondition, token: TokenBuilder<'_>) -> &'static str {
    let token = setup.validate(token).unwrap();
    match requirement(condition).check(&token) {
        Ok(()) => "met",
        Err(denied) => denied.code(),
    }
}

#[tokio::test]
async fn a_scope_is_of_users_and_agents_for_them_never_of_applications() {
    let setup = Setup::new().await;
    let scope = || Scope("Reports.Read");
    for (token, found) in [
        (setup.user(), "met"),
        (setup.user().with_idtyp(), "met"),
        (setup.user().agent(), "met"),
        (setup.user().agent_user(), "met"),
        (setup.user().guest(), "met"),
        (setup.user().claim("scp", "Reports.Write"), "missing_scope"),
        (setup.user().claim("scp", "reports.read"), "missing_scope"),
        (
            setup.user().claim("scp", "Reports.Read.All"),
            "missing_scope",
        ),
        (setup.user().claim("scp", "Other Reports.Read"), "met"),
        (setup.app(), "user_required"),
        // The application has a role of this name, or a `scp`, which no application should have.
        (setup.app().role("Reports.Read"), "user_required"),
        (
            setup.app().with_idtyp().claim("scp", "Reports.Read"),
            "user_required",
        ),
        (setup.user().claim("idtyp", "device"), "user_required"),
    ] {
        assert_eq!(check(&setup, scope(), token), found);
    }
}

#[tokio::test]
async fn a_role_of_a_user_and_a_permission_of_an_application_are_two_things_of_one_name() {
    let setup = Setup::new().await;
    let name = "Reports.Read.All";
    let user_with_role = || setup.user().role(name);
    let unknown = || setup.app().without_claim("oid");
    for (token, as_user, as_app) in [
        (user_with_role(), "met", "app_required"),
        (user_with_role().agent(), "met", "app_required"),
        (user_with_role().agent_user(), "met", "app_required"),
        (setup.app(), "user_required", "met"),
        (setup.app().with_idtyp(), "user_required", "met"),
        (setup.app().agent(), "user_required", "met"),
        (setup.user(), "missing_role", "app_required"),
        (
            setup.app().claim("roles", json!(["Other"])),
            "user_required",
            "missing_app_permission",
        ),
        // A token that does not show its kind of caller meets neither.
        (unknown(), "user_required", "app_required"),
    ] {
        let token = setup.validate(token).unwrap();
        let code = |requirement: Requirement| match requirement.check(&token) {
            Ok(()) => "met",
            Err(denied) => denied.code(),
        };
        assert_eq!(code(requirement(UserRole(name))), as_user);
        assert_eq!(code(requirement(AppPermission(name))), as_app);
    }
}

#[tokio::test]
async fn groups_are_listed_or_too_many_or_not_emitted_and_only_a_list_tells() {
    let setup = Setup::new().await;
    let listed = || setup.user().group(SALES);
    for (token, member, not_member) in [
        (listed(), "met", "forbidden_group"),
        (listed().group(AUDIT), "met", "forbidden_group"),
        (setup.user().group(AUDIT), "missing_group", "met"),
        (
            setup.user().claim("groups", json!([])),
            "missing_group",
            "met",
        ),
        (
            listed().groups_overage(),
            "groups_overage",
            "groups_overage",
        ),
        (
            listed().implicit_overage(),
            "groups_overage",
            "groups_overage",
        ),
        // The token itself marks this list as incomplete.
        (
            setup
                .user()
                .claim("groups", json!([SALES]))
                .claim("_claim_names", json!({ "groups": "src1" })),
            "groups_overage",
            "groups_overage",
        ),
        (
            listed().claim("hasgroups", json!(false)),
            "met",
            "forbidden_group",
        ),
        (
            listed().claim("_claim_names", json!({ "other": "src1" })),
            "met",
            "forbidden_group",
        ),
        (setup.user(), "groups_not_emitted", "groups_not_emitted"),
        (setup.app().group(SALES), "user_required", "user_required"),
    ] {
        let token = token.mint();
        let token = setup.validate_text(setup.rules(), &token).unwrap();
        let code = |requirement: Requirement| match requirement.check(&token) {
            Ok(()) => "met",
            Err(denied) => denied.code(),
        };
        assert_eq!(code(requirement(Group(SALES))), member);
        assert_eq!(code(requirement(Group(SALES.to_uppercase()))), member);
        assert_eq!(code(requirement(NotInGroup(SALES))), not_member);
    }
    let named = || setup.user().group("CONTOSO\\Sales");
    assert_eq!(check(&setup, Group("CONTOSO\\Sales"), named()), "met");
    assert_eq!(check(&setup, Group(SALES), named()), "missing_group");
    // A list of names omits groups without a name, so it never proves that a user is outside a
    // group.
    for token in [named(), named().group(SALES), named().group(AUDIT)] {
        assert_eq!(check(&setup, NotInGroup(SALES), token), "groups_by_name");
    }
}

#[tokio::test]
async fn an_authentication_context_is_challenged_for_only_where_the_client_understands() {
    let setup = Setup::new().await;
    let context = || AuthenticationContext("c1");
    let denied = |token: TokenBuilder<'_>| {
        let token = setup.validate(token).unwrap();
        requirement(context()).check(&token).unwrap_err()
    };
    let satisfied = setup.user().authentication_context("c1");
    assert_eq!(check(&setup, context(), satisfied), "met");
    for (token, understands) in [
        (setup.user(), false),
        (setup.user().authentication_context("c2"), false),
        (setup.user().capability("cp1"), true),
        (setup.user().capability("CP1"), true),
        (setup.user().capability("cp11"), false),
    ] {
        let denied = denied(token);
        assert_eq!(denied.authentication_context(), Some("c1"));
        assert_eq!(denied.is_challengeable(), understands);
        let remedy = denied.remedy();
        assert_eq!(remedy.contains("capability cp1"), !understands, "{remedy}");
    }
    assert_eq!(check(&setup, context(), setup.app()), "user_required");
}

#[tokio::test]
async fn any_claim_can_be_required_by_its_value() {
    let setup = Setup::new().await;
    let token = || {
        setup
            .user()
            .claim("extension_department", "sales")
            .claim("extension_level", 3)
            .claim("extension_sites", json!(["berlin", "paris"]))
            .claim("extension_active", true)
    };
    for (condition, found) in [
        (Claim("extension_department", "sales").into(), "met"),
        (
            Claim("extension_department", "Sales").into(),
            "claim_required",
        ),
        (Claim("extension_level", 3).into(), "met"),
        (Claim("extension_level", "3").into(), "claim_required"),
        (Claim("extension_sites", "paris").into(), "met"),
        (Claim("extension_sites", "rome").into(), "claim_required"),
        (Claim("extension_active", true).into(), "met"),
        (Claim("absent", "x").into(), "claim_required"),
    ] {
        let condition: Condition = condition;
        assert_eq!(check(&setup, condition, token()), found);
    }
}

#[tokio::test]
async fn conditions_are_joined_by_and_and_or() {
    let setup = Setup::new().await;
    let read = || Scope("Reports.Read");
    let admin = || UserRole("Admin");
    let app = || AppPermission("Reports.Read.All");
    for (condition, user, user_admin, application) in [
        (read().or(app()), "met", "met", "met"),
        (read().and(admin()), "missing_role", "met", "user_required"),
        (read().and(admin()).or(app()), "missing_role", "met", "met"),
        (
            Condition::any([read(), Scope("Other")]),
            "met",
            "met",
            "user_required",
        ),
        (
            Condition::all([read(), Scope("Other")]),
            "missing_scope",
            "missing_scope",
            "user_required",
        ),
        (
            Condition::any([Condition::from(admin()), app().into()]),
            "missing_role",
            "met",
            "met",
        ),
    ] {
        let name = condition.to_string();
        assert_eq!(
            check(&setup, condition.clone(), setup.user()),
            user,
            "{name}"
        );
        let admin = setup.user().role("Admin");
        assert_eq!(
            check(&setup, condition.clone(), admin),
            user_admin,
            "{name}"
        );
        assert_eq!(check(&setup, condition, setup.app()), application, "{name}");
    }
}

#[tokio::test]
async fn of_several_reasons_the_closest_is_told() {
    let setup = Setup::new().await;
    let denied = |condition: Condition, token: TokenBuilder<'_>| {
        let token = setup.validate(token).unwrap();
        requirement(condition).check(&token).unwrap_err()
    };
    // The denial does not say that an application would be permitted. It names all scopes of which
    // one would suffice.
    let condition = AppPermission("A").or(Scope("x")).or(Scope("y"));
    assert_eq!(
        denied(condition, setup.user()).to_string(),
        "the scope x or y is required; the token has Reports.Read"
    );
    let condition = Scope("x").or(AppPermission("A"));
    assert_eq!(
        denied(condition, setup.app()).code(),
        "missing_app_permission"
    );
    // Signing in again helps only if nothing else is missing.
    let step_up = || AuthenticationContext("c1");
    let condition = step_up().and(Scope("x"));
    assert_eq!(denied(condition, setup.user()).code(), "missing_scope");
    let condition = step_up().and(Scope("Reports.Read"));
    assert_eq!(denied(condition, setup.user()).code(), "step_up");
    let condition = Scope("x").or(Scope("Reports.Read").and(step_up()));
    assert_eq!(denied(condition, setup.user()).code(), "step_up");
    // The user may already be in the group.
    let condition = Scope("x").or(Group(SALES));
    let overage = setup.user().groups_overage();
    assert_eq!(denied(condition, overage).code(), "groups_overage");
}

#[tokio::test]
async fn the_scopes_to_request_are_those_of_the_closest_way() {
    let setup = Setup::new().await;
    let token = setup.validate(setup.user()).unwrap();
    let (read, write) = (|| Scope("Reports.Read"), || Scope("Reports.Write"));
    for (condition, without, with) in [
        (
            Condition::from(read()),
            vec!["Reports.Read"],
            vec!["Reports.Read"],
        ),
        (
            read().and(write()).and(read()),
            vec!["Reports.Read", "Reports.Write"],
            vec!["Reports.Read", "Reports.Write"],
        ),
        // Without a token, the alternative with the fewest scopes counts, and the first of several
        // such. With a token, the alternative counts of which the token lacks the fewest scopes.
        (
            read().and(write()).or(Scope("All")),
            vec!["All"],
            vec!["Reports.Read", "Reports.Write"],
        ),
        (
            write().or(read()),
            vec!["Reports.Write"],
            vec!["Reports.Read"],
        ),
        (
            AppPermission("A").or(write()),
            vec!["Reports.Write"],
            vec!["Reports.Write"],
        ),
        (
            UserRole("Admin").or(write()),
            vec!["Reports.Write"],
            vec!["Reports.Write"],
        ),
        (
            UserRole("Admin").and(write()),
            vec!["Reports.Write"],
            vec!["Reports.Write"],
        ),
        (AppPermission("A").into(), vec![], vec![]),
    ] {
        let requirement = requirement(condition);
        assert_eq!(requirement.scopes(None), without, "{requirement}");
        assert_eq!(requirement.scopes(Some(&token)), with, "{requirement}");
    }
}

#[tokio::test]
async fn after_a_refusal_those_scopes_are_named_that_would_do() {
    let setup = Setup::new().await;
    let user = setup.validate(setup.user()).unwrap();
    let app = setup.app().role("Other");
    let app = setup.validate(app).unwrap();
    let write = || Scope("Reports.Write");
    for (token, condition, scopes) in [
        (&user, write().into(), &["Reports.Write"][..]),
        (&user, UserRole("Admin").or(write()), &["Reports.Write"]),
        (&user, UserRole("Admin").and(write()), &[]),
        (&user, write().and(UserRole("Admin")), &["Reports.Write"]),
        // The closest alternative is the role alone, but the denial says that the scope is missing.
        (
            &user,
            write().and(UserRole("Editor")).or(UserRole("Admin")),
            &["Reports.Write"],
        ),
        // An application without a signed-in user cannot have a scope.
        (&app, write().into(), &["Reports.Write"]),
        (&app, AppPermission("A").or(write()), &[]),
    ] {
        let requirement = requirement(condition);
        let denied = requirement.check(token).unwrap_err();
        let found = requirement.scopes_after(&denied, token);
        assert_eq!(found, scopes, "{requirement}: {denied:?}");
    }
}

#[test]
fn a_requirement_is_displayed_as_people_say_it() {
    for (condition, text) in [
        (
            Scope("Reports.Read").or(AppPermission("Reports.Read.All")),
            "scope Reports.Read or app permission Reports.Read.All",
        ),
        (
            Scope("a").and(UserRole("b").or(Group("c"))),
            "scope a and (user role b or member of group c)",
        ),
        (
            Condition::all([Scope("a")])
                .and(NotInGroup(SALES))
                .and(AuthenticationContext("c1")),
            "scope a and not a member of group 5d0c5f51-3c1e-4c0a-9d0f-2b8f4f7b1c11 and \
             authentication context c1",
        ),
        (
            Condition::any([Claim("x", "y")]).or(Claim("z", 5)),
            "claim x = \"y\" or claim z = 5",
        ),
    ] {
        assert_eq!(condition.to_string(), text);
        assert_eq!(requirement(condition).to_string(), text);
    }
}

#[test]
fn what_can_never_be_met_fails_when_it_is_built_with_the_correction() {
    let reason = |condition: Condition| {
        let error = Requirement::new(condition).unwrap_err();
        let problems: Vec<&RequirementProblem> = error.problems().collect();
        assert_eq!(problems.len(), 1, "{error}");
        assert!(error.to_string().contains(&problems[0].to_string()));
        (problems[0].kind(), error.to_string())
    };
    let full = "api://6e74172b-be56-4843-9ff4-e66a39bb12e3/Reports.Read";
    for (condition, says) in [
        (Condition::from(Scope(full)), "use \"Reports.Read\""),
        (
            Scope("https://api.contoso.com/orders/Reports.Read").into(),
            "use \"Reports.Read\"",
        ),
        (
            Scope("6e74172b-be56-4843-9ff4-e66a39bb12e3/Reports.Read").into(),
            "use \"Reports.Read\"",
        ),
        (AppPermission(full).into(), "use \"Reports.Read\""),
        (UserRole(full).into(), "use \"Reports.Read\""),
        (Scope("openid").into(), "never in an access token"),
        (Scope("profile").into(), "never in an access token"),
        (Scope("email").into(), "never in an access token"),
        (Scope("offline_access").into(), "never in an access token"),
        (Scope(".default").into(), "never in a token"),
        (Scope("api://orders/.default").into(), "never in a token"),
        (
            Scope("a b").into(),
            "Condition::all([..]) or Condition::any([..])",
        ),
        (
            UserRole("a\tb").into(),
            "Condition::all([..]) or Condition::any([..])",
        ),
        (Scope(" Reports.Read").into(), "names have no white space"),
        (Scope("OpenID").into(), "never in an access token"),
        (
            Scope("api://orders").into(),
            "name one of its scopes or roles",
        ),
        (
            Scope("api://orders/").into(),
            "name one of its scopes or roles",
        ),
        (
            Scope("api://6e74172b-be56-4843-9ff4-e66a39bb12e3").into(),
            "name one of its scopes or roles",
        ),
        (
            UserRole("https://orders.contoso.com").into(),
            "name one of its scopes or roles",
        ),
        (Scope("").into(), "the name is missing"),
        (Scope("/").into(), "the name is missing"),
        (AppPermission(" ").into(), "the name is missing"),
        (Group(" ").into(), "the name is missing"),
        (
            Group("00000000-0000-0000-0000-000000000000").into(),
            "group's Overview page",
        ),
        (NotInGroup("Sales").into(), "use the group's object id"),
        (
            Group(SALES).and(NotInGroup(SALES)),
            "in the group and not in it",
        ),
        (AuthenticationContext("c0").into(), "c1 to c99"),
        (AuthenticationContext("c100").into(), "c1 to c99"),
        (AuthenticationContext("c01").into(), "c1 to c99"),
        (AuthenticationContext("c+1").into(), "c1 to c99"),
        (AuthenticationContext("C1").into(), "c1 to c99"),
        (AuthenticationContext("urn:mfa").into(), "c1 to c99"),
        (Claim("", "x").into(), "the name is missing"),
        (Claim("email", "ada@contoso.com").into(), "mutable"),
        (Claim("upn", "ada@contoso.com").into(), "mutable"),
        (Claim("preferred_username", "ada").into(), "mutable"),
        (Claim("unique_name", "ada").into(), "mutable"),
        (Claim("name", "ada").into(), "mutable"),
        (Claim("verified_primary_email", "ada").into(), "mutable"),
        (Claim("scp", "Reports.Read").into(), "use Scope instead"),
        (
            Claim("roles", "Admin").into(),
            "use UserRole or AppPermission",
        ),
        (Claim("groups", SALES).into(), "use Group or NotInGroup"),
        (Claim("acrs", "c1").into(), "use AuthenticationContext"),
        (Claim("x", "").into(), "the value must not be blank"),
        (Claim("x", " ").into(), "the value must not be blank"),
        (
            Condition::any([] as [Condition; 0]),
            "an empty list of alternatives",
        ),
        (
            Condition::all([] as [Condition; 0]),
            "every token would pass",
        ),
        (
            Scope("Reports.Read").and(AppPermission("Reports.Read.All")),
            "or(..) instead of and(..)",
        ),
        (
            Group(SALES).and(Claim("x", "y")).and(AppPermission("A")),
            "or(..) instead of and(..)",
        ),
        // The mistake is in an alternative, so the requirement could still be met, but the mistake
        // is reported.
        (Scope("a").or(Scope("b").and(Scope("openid"))), "openid"),
    ] {
        let (_, text) = reason(condition);
        assert!(text.contains(says), "{says} in {text}");
    }
    // The error reports all problems together, and `main()` prints them with `Debug`.
    let error = Requirement::new(Scope("openid").or(Scope("a b"))).unwrap_err();
    let kinds: Vec<_> = error.problems().map(RequirementProblem::kind).collect();
    assert_eq!(
        kinds,
        [
            RequirementProblemKind::OpenIdScope,
            RequirementProblemKind::SeveralNames
        ]
    );
    assert_eq!(format!("{error:?}"), error.to_string());

    for fine in [
        Condition::from(Scope("Reports/Read")),
        Scope("user_impersonation").into(),
        AuthenticationContext("c99").into(),
        Group("Sales and Marketing").into(),
        Scope("a").and(UserRole("b").or(AppPermission("c"))),
    ] {
        assert!(Requirement::new(fine).is_ok());
    }
}

#[tokio::test]
async fn each_denial_says_what_to_change_and_where() {
    let setup = Setup::new().await;
    let denied = |condition: Condition, token: TokenBuilder<'_>| {
        let token = setup.validate(token).unwrap();
        requirement(condition).check(&token).unwrap_err()
    };
    for (denied, place, value) in [
        (
            denied(Scope("Reports.Write").into(), setup.user()),
            "Expose an API",
            "api://<client id>/Reports.Write",
        ),
        (
            denied(UserRole("Admin").into(), setup.user()),
            "Enterprise applications, this API, Users and groups",
            "app role Admin",
        ),
        (
            denied(AppPermission("Reports.Write.All").into(), setup.app()),
            "API permissions, Application permissions, then Grant admin consent",
            "Reports.Write.All",
        ),
        (
            denied(Scope("Reports.Read").into(), setup.app()),
            "Delegated permissions",
            "api://<client id>/<name>",
        ),
        (
            denied(AppPermission("Reports.Read.All").into(), setup.user()),
            "Application permissions, then Grant admin consent",
            "api://<client id>/.default",
        ),
        (
            denied(Group(SALES).into(), setup.user().groups_overage()),
            "Token configuration",
            "\"groupMembershipClaims\": \"ApplicationGroup\"",
        ),
        (
            denied(Group(SALES).into(), setup.user()),
            "Token configuration",
            "Groups assigned to the application",
        ),
        (
            denied(Group(SALES).into(), setup.user().group(AUDIT)),
            "Groups, the group, Members",
            SALES,
        ),
        (
            denied(NotInGroup(SALES).into(), setup.user().group(SALES)),
            "Groups, the group, Members",
            SALES,
        ),
        (
            denied(AuthenticationContext("c1").into(), setup.user()),
            "Conditional Access, Authentication contexts",
            "cp1",
        ),
        (
            denied(
                AuthenticationContext("c7").into(),
                setup.user().capability("cp1"),
            ),
            "Conditional Access, Authentication contexts",
            "c7",
        ),
        (
            denied(Claim("department", "x").into(), setup.user()),
            "Token configuration",
            "department",
        ),
    ] {
        let remedy = denied.remedy();
        assert!(remedy.contains(place), "{place} in {remedy}");
        assert!(remedy.contains(value), "{value} in {remedy}");
        // The remedy must not look as if it named a scope to request.
        assert!(!remedy.contains("scope="), "{remedy}");
    }
}
