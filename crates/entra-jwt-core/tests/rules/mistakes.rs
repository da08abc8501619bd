//! Tests of common mistakes, each with the exact text of its remedy.

use entra_dev_tenant::{B2cPolicy, Flaw};
use entra_jwt_core::{
    AccessToken, InvalidToken, KeySet, Tenancy, TenantId, Validator,
    require::{Group, Requirement, Scope},
    token::Unverified,
};
use serde_json::json;

use crate::{API, CLIENT, OTHER_TENANT, Setup};

const GROUP: &str = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4e";

/// Returns the code, the found value and the remedy.
fn said(refused: &InvalidToken) -> (&'static str, String, String) {
    let found = refused.found().unwrap_or_default().into_owned();
    (refused.code(), found, refused.remedy().into_owned())
}

#[track_caller]
fn says(refused: &InvalidToken, code: &str, found: &str, remedy: &str) {
    let said = said(refused);
    assert_eq!((said.0, &*said.1, &*said.2), (code, found, remedy));
}

#[test]
fn what_is_sent_in_place_of_a_token_is_named() {
    let opaque = format!("EwB{}", "A".repeat(1_000));
    for (sent, found, remedy) in [
        (
            "undefined",
            "the word undefined",
            "the client has no token: the variable that it sends was never set; find out why it \
             got no token",
        ),
        (
            r#"{"token_type":"Bearer","access_token":"eyJhbGciOi.eyJh.c","refresh_token":"1.AA.b.c"}"#,
            "a JSON object",
            "send only the value of access_token, not the whole response of the token endpoint",
        ),
        (
            &opaque,
            "an opaque token (1 segment)",
            "request a token for this API, by a scope api://<client id>/<name>; a token without \
             dots is for an API of Microsoft (EwB…: Graph, for a personal account) or of another \
             server, and only that API can read it",
        ),
        (
            "\"eyJhbGciOi.eyJh.c\"",
            "a text in quotes",
            "send the access token without quotes",
        ),
        (
            "Bearer eyJhbGciOi.eyJh.c",
            "Bearer twice",
            "send the word Bearer once; the client, or a library in it, adds it already",
        ),
        (
            "eyJhbGciOi.eyJh.c, Bearer eyJhbGciOi.eyJh.c",
            "several values",
            "send one access token, and nothing after it",
        ),
        (
            "eyJhbGciOi.eyJh",
            "2 of 3 segments",
            "send the whole access token: a part of this token was cut off",
        ),
        (
            "garbage",
            "1 segment",
            "send the access token exactly as Entra's token endpoint returned it",
        ),
    ] {
        says(
            &Unverified::parse(sent).unwrap_err(),
            "not_a_token",
            found,
            remedy,
        );
    }
}

#[tokio::test]
async fn a_token_of_another_instance_of_the_proxy_is_called_that() {
    let setup = Setup::new().await;
    let of_sibling = setup
        .user()
        .claim("iss", "https://other.example.com")
        .header("alg", json!("ES256"))
        .header("typ", json!("at+jwt"));
    says(
        &setup.validate(of_sibling).unwrap_err(),
        "wrong_algorithm",
        "ES256 of https://other.example.com",
        "the token is of another authorization server (https://other.example.com): connect the client \
         to this service itself, so that it signs in for it",
    );
    // Without this type, the refusal does not assume another authorization server of our kind.
    let unknown = setup.user().header("alg", json!("ES256"));
    says(
        &setup.validate(unknown).unwrap_err(),
        "wrong_algorithm",
        "ES256",
        "this is not an access token of Microsoft Entra ID; request one from its token endpoint",
    );
}

#[tokio::test]
async fn no_clock_is_blamed_for_a_lifetime_that_ends_before_it_begins() {
    let setup = Setup::new().await;
    says(
        &setup
            .validate(setup.user().flaw(Flaw::NbfAfterExp))
            .unwrap_err(),
        "impossible_lifetime",
        "",
        "this is not an access token of Microsoft Entra ID; request one from its token endpoint",
    );
}

#[tokio::test]
async fn a_token_of_b2c_is_known_by_its_issuer_with_and_without_a_tenant() {
    let setup = Setup::new().await;
    let b2c = || {
        setup
            .tenant
            .b2c_token("ada", B2cPolicy::Default)
            .for_api(API)
    };
    for token in [
        b2c(),
        b2c().claim("tid", setup.tenant.id()),
        setup.tenant.b2c_token("ada", B2cPolicy::Tfp).for_api(API),
        b2c().claim(
            "iss",
            "https://login.microsoftonline.com/te/contoso/b2c_1_x/v2.0/",
        ),
    ] {
        let (code, _, remedy) = said(&setup.validate(token).unwrap_err());
        assert_eq!(code, "wrong_issuer");
        assert_eq!(
            remedy,
            "the token is of Azure AD B2C, whose tokens are not supported: for people of your own \
             organization set the client's authority to https://login.microsoftonline.com/<tenant \
             id>; for customers, to an External ID tenant (https://<name>.ciamlogin.com), and set \
             ValidatorBuilder::external_id to it; accounts that exist only in B2C must be moved to \
             that tenant"
        );
    }
}

#[tokio::test]
async fn swapped_ids_are_called_that() {
    let setup = Setup::new().await;
    let swapped = "the tenancy of Validator::entra and the client id of Validator::entra look swapped: \
                   one is set to the other's value";
    let tenant: TenantId = API.parse().unwrap();
    let rules = || Validator::entra(tenant, setup.tenant.id().parse().unwrap());
    let refused = setup.validate_by(rules(), setup.user()).unwrap_err();
    says(&refused, "wrong_audience", API, swapped);
    // The remedy is the same if the audience is configured.
    let audience = entra_jwt_core::ids::Audience::new(API).unwrap();
    let refused = setup.validate_by(rules().audience(audience), setup.user());
    says(
        &refused.unwrap_err(),
        "tenant_not_allowed",
        setup.tenant.id(),
        swapped,
    );
}

#[tokio::test]
async fn personal_accounts_are_let_in_beside_one_tenant_without_all_others() {
    let setup = Setup::new().await;
    let keys = setup.tenant.signing_keys().document_of("common");
    let keys = KeySet::from_jwks(keys.as_bytes()).unwrap();
    let personal = setup
        .tenant
        .personal("ada")
        .scope("Reports.Read")
        .for_api(API)
        .mint();
    let validate = |tenancy: Tenancy| {
        let rules = Validator::entra(tenancy, API.parse().unwrap())
            .build()
            .unwrap();
        rules.validate(&personal, &keys, setup.now())
    };
    let own: TenantId = setup.tenant.id().parse().unwrap();
    let to_accept = "sign in with a work or school account; to accept personal accounts too \
        (anyone can create one), set signInAudience to AzureADandPersonalMicrosoftAccount in the \
        manifest of this API's app registration, and";
    for (tenancy, how) in [
        (
            Tenancy::tenant(own),
            "add 9188040d-6c67-4c5b-b112-36a304b66dad to the tenancy of Validator::entra (not common, \
             which admits every organization)",
        ),
        (
            Tenancy::organizations(),
            "the tenancy of Validator::entra to common",
        ),
    ] {
        let refused = validate(tenancy).unwrap_err();
        assert_eq!(refused.code(), "personal_account");
        assert_eq!(refused.remedy(), format!("{to_accept} {how}"));
    }
    // Tokens are accepted with the settings that the remedies name.
    assert!(validate(Tenancy::tenants([own, TenantId::CONSUMERS])).is_ok());
    assert!(validate(Tenancy::common()).is_ok());
}

#[tokio::test]
async fn a_v1_token_names_the_setting_of_both_manifests() {
    let setup = Setup::new().await;
    assert_eq!(
        setup.validate(setup.user().v1()).unwrap_err().remedy(),
        "set api.requestedAccessTokenVersion to 2 in the manifest of this API's app registration \
         (accessTokenAcceptedVersion in the older manifest) and get a new token, or accept v1 tokens with \
         ValidatorBuilder::accept_v1_tokens"
    );
}

#[tokio::test]
async fn a_token_bound_to_a_device_names_the_client_and_its_setting() {
    let setup = Setup::new().await;
    says(
        &setup
            .validate(setup.user().proof_of_possession())
            .unwrap_err(),
        "proof_of_possession",
        "cnf",
        "have the client request a plain bearer token (no token_type=pop, req_cnf or mTLS binding); VS \
         Code on Windows: set \"microsoft-authentication.implementation\" to \"msal-no-broker\", as its \
         broker binds tokens to the device and sends them as plain Bearer",
    );
}

#[test]
fn a_permission_of_graph_is_not_one_of_this_api() {
    for (scope, api) in [
        ("https://graph.microsoft.com/User.Read", "Microsoft Graph"),
        ("https://graph.microsoft.com/.default", "Microsoft Graph"),
        (
            "00000003-0000-0000-c000-000000000000/User.Read",
            "Microsoft Graph",
        ),
        (
            "https://management.azure.com/user_impersonation",
            "Azure Resource Manager",
        ),
    ] {
        let error = Requirement::new(Scope(scope)).unwrap_err();
        let problem = error.problems().next().unwrap().to_string();
        assert_eq!(
            problem,
            format!(
                "scope \"{scope}\": a permission of {api}, which no token for this API has; \
                 require a scope of this API (Expose an API), and call {api} with a separate token \
                 (on-behalf-of)"
            )
        );
    }
    // A scope with a URI of this API has a short name in tokens.
    let error = Requirement::new(Scope("api://orders/Orders.Read")).unwrap_err();
    let problem = error.problems().next().unwrap().to_string();
    assert!(
        problem.ends_with("a token has only the last part of this name; use \"Orders.Read\""),
        "{problem}"
    );
}

/// Returns the found value and the remedy of the denial, for a token with these groups and a
/// required group.
async fn without_group(required: &str, groups: serde_json::Value) -> (String, String) {
    let setup = Setup::new().await;
    let token = match groups.is_null() {
        true => setup.user(),
        false => setup.user().claim("groups", groups),
    };
    let token: AccessToken = setup.validate(token).unwrap();
    let denied = Requirement::new(Group(required))
        .unwrap()
        .check(&token)
        .unwrap_err();
    let found = denied.found().unwrap_or_default().into_owned();
    (found, denied.remedy().into_owned())
}

#[tokio::test]
async fn a_group_in_the_other_form_than_the_tokens_says_which() {
    let (found, remedy) = without_group("Sales", json!([GROUP])).await;
    assert_eq!(found, "groups by their ids");
    assert_eq!(
        remedy,
        "require the group by its Object ID (Entra admin center, Groups, the group, Overview), not by \
         the name Sales: the token lists groups by their ids"
    );
    let (found, remedy) = without_group(GROUP, json!(["Sales"])).await;
    assert_eq!(found, "groups by their names");
    assert_eq!(
        remedy,
        "emit group ids, as the group is required by its id: App registrations, this API, Token \
         configuration, groups claim, Group ID"
    );
    for (required, groups) in [
        (GROUP, json!([OTHER_TENANT])),
        ("Sales", json!(["Other"])),
        (GROUP, json!([])),
        (GROUP, json!([OTHER_TENANT, "Other"])),
    ] {
        let (_, remedy) = without_group(required, groups).await;
        assert_eq!(
            remedy,
            format!(
                "add the user to the group {required}: Entra admin center, Groups, the group, Members"
            )
        );
    }
}

#[tokio::test]
async fn groups_that_are_not_emitted_are_those_assigned_to_the_application() {
    let (found, remedy) = without_group(GROUP, json!(null)).await;
    assert_eq!(found, "no groups claim");
    assert_eq!(
        remedy,
        "add the groups claim: App registrations, this API, Token configuration, Add groups claim, \
         Groups assigned to the application (in the manifest \"groupMembershipClaims\": \
         \"ApplicationGroup\"), and assign the group (Enterprise applications, this API, Users and \
         groups); a user who is in none of these groups has no such claim either"
    );
}

#[tokio::test]
async fn an_agent_is_one_by_its_marker_alone() {
    let setup = Setup::new().await;
    let kind = |token| setup.validate(token).unwrap().kind().to_string();
    assert_eq!(kind(setup.app()), "app");
    assert_eq!(kind(setup.app().claim("xms_par_app_azp", CLIENT)), "agent");
    assert_eq!(kind(setup.user().claim("xms_par_app_azp", CLIENT)), "agent");
}

#[tokio::test]
async fn agents_are_refused_as_far_as_tokens_say() {
    let setup = Setup::new().await;
    let refused = |token| setup.validate_by(setup.rules().refuse_agents(), token);
    for token in [
        setup.user().agent(),
        setup.user().agent_user(),
        setup.app().claim("xms_par_app_azp", CLIENT),
        setup.app().claim("xms_act_fct", "3 11"),
        setup.user().claim("xms_sub_fct", "13"),
    ] {
        says(
            &refused(token).unwrap_err(),
            "agent_not_allowed",
            "an agent",
            "call as a user or as an application, without an agent identity; or remove \
             ValidatorBuilder::refuse_agents",
        );
    }
    for token in [
        setup.user(),
        setup.app(),
        setup.user().claim("xms_act_fct", "3 1"),
    ] {
        assert!(refused(token).is_ok());
    }
    assert!(setup.validate(setup.user().agent()).is_ok());
}
