//! Tests of remedies that must be exact: each names the place and the value to set.

use std::time::Duration;

use entra_dev_tenant::{DevCloud, DevTenant, Flaw};
use entra_jwt_core::{
    Cloud, InvalidToken, KeySet, Tenancy, Validator,
    explain::{CheckName, ExplainOptions, Report},
    ids::Audience,
    refusal::Setting,
    require::{Requirement, Scope},
};
use serde_json::json;

use crate::{API, CLIENT, OTHER_TENANT, Setup};

/// Checks the code of a refusal and the words in its remedy.
fn says(rejection: &InvalidToken, code: &str, words: &[&str]) {
    assert_eq!(rejection.code(), code);
    let remedy = rejection.remedy();
    for words in words {
        assert!(remedy.contains(words), "{code}: {words} in {remedy}");
    }
    assert!(!remedy.contains("scope="), "{remedy}");
    // A user of this crate alone does not have the settings of other programs.
    assert!(
        !remedy.contains("ENTRA_") && !remedy.contains("(..)"),
        "{remedy}"
    );
}

#[tokio::test]
async fn a_token_for_somebody_else_names_the_scope_to_request() {
    let setup = Setup::new().await;
    let scope = &format!("api://{API}/<name>");
    let page = "Expose an API";
    let refused = |token| setup.validate(token).unwrap_err();

    says(
        &refused(setup.tenant.graph_token("ada")),
        "graph_token",
        &[scope, page, "User.Read"],
    );
    let graph = refused(setup.user().flaw(Flaw::HeaderNonce));
    says(&graph, "graph_token", &[scope, "only Graph can verify"]);
    assert!(graph.to_string().contains("nonce in the header"));

    for (audience, name) in [
        ("https://management.azure.com", "Azure Resource Manager"),
        (
            "https://management.core.windows.net/",
            "Azure Resource Manager",
        ),
        ("https://vault.azure.net", "Azure Key Vault"),
        ("499b84ac-1321-427f-aa17-267ca6975798", "Azure DevOps"),
        ("https://contoso.sharepoint.com", "SharePoint Online"),
    ] {
        let rejection = refused(setup.user().audience(audience));
        says(&rejection, "microsoft_api_token", &[scope, page, name]);
    }
    // The audience is another API of the tenant, named by its id.
    let rejection = refused(setup.user().audience(CLIENT));
    says(
        &rejection,
        "wrong_audience",
        &[scope, page, CLIENT, "the client id of Validator::entra"],
    );
    // The audience is an Application ID URI: of this API but not configured, or of another API.
    let rejection = refused(setup.user().audience("api://orders"));
    let words = [
        "api://orders",
        "ValidatorBuilder::audience",
        "Application ID URI",
        page,
        scope,
    ];
    says(&rejection, "wrong_audience", &words);
    let rules = setup
        .rules()
        .audience(Audience::new("api://orders").unwrap());
    let rejection = setup
        .validate_by(rules, setup.user().audience("api://other"))
        .unwrap_err();
    says(&rejection, "wrong_audience", &["api://orders/<name>"]);
    // Values from the token are escaped.
    let rejection = refused(setup.user().audience("api://a\nb\u{202e}"));
    assert!(!rejection.remedy().contains(['\n', '\u{202e}']));

    let rejection = refused(setup.tenant.id_token("ada").for_api(API));
    says(
        &rejection,
        "id_token",
        &["access_token, not id_token", scope, page],
    );
}

#[tokio::test]
async fn a_token_of_another_format_cloud_or_tenant_names_the_setting() {
    let setup = Setup::new().await;
    let refused = |token| setup.validate(token).unwrap_err();
    says(
        &refused(setup.user().v1()),
        "v1_token",
        &[
            "api.requestedAccessTokenVersion to 2 in the manifest",
            "ValidatorBuilder::accept_v1_tokens",
        ],
    );
    let rejection = refused(setup.user().flaw(Flaw::IssuerOfAnotherCloud));
    let words = [
        "at https://login.microsoftonline.com",
        "ValidatorBuilder::cloud",
        "to usgovernment",
    ];
    says(&rejection, "wrong_cloud", &words);
    says(
        &refused(setup.user().of_tenant(OTHER_TENANT)),
        "tenant_not_allowed",
        &[OTHER_TENANT, "the tenancy of Validator::entra"],
    );
    // An operator who set one tenant there would lock out all others.
    let by_rule = InvalidToken::tenant_rule_said_no(OTHER_TENANT.parse().unwrap());
    says(
        &by_rule,
        "tenant_not_allowed",
        &[OTHER_TENANT, "the service's rule about tenants"],
    );
    assert!(!by_rule.remedy().contains("Validator::entra"));
    let keys =
        KeySet::from_jwks(setup.tenant.signing_keys().document_of("common").as_bytes()).unwrap();
    let personal = setup
        .tenant
        .personal("ada")
        .scope("Reports.Read")
        .for_api(API);
    let rules = Validator::entra(Tenancy::organizations(), API.parse().unwrap());
    let rejection = rules
        .build()
        .unwrap()
        .validate(&personal.mint(), &keys, setup.now())
        .unwrap_err();
    let words = [
        "signInAudience to AzureADandPersonalMicrosoftAccount",
        "to common",
    ];
    says(&rejection, "personal_account", &words);

    let b2c = setup
        .tenant
        .b2c_token("ada", entra_dev_tenant::B2cPolicy::Default);
    let b2c = b2c.for_api(API).claim("tid", setup.tenant.id());
    says(
        &refused(b2c),
        "wrong_issuer",
        &["of Azure AD B2C, whose tokens are not supported"],
    );
    let issuer = format!("https://{0}.ciamlogin.com/{0}/v2.0", setup.tenant.id());
    says(
        &refused(setup.user().claim("iss", issuer)),
        "wrong_issuer",
        &["ValidatorBuilder::external_id (NAME.ciamlogin.com)"],
    );
}

#[tokio::test]
async fn a_caller_who_is_kept_out_learns_of_the_list_or_the_user_type() {
    let setup = Setup::new().await;
    let rules = setup
        .rules()
        .allowed_clients([OTHER_TENANT.parse().unwrap()]);
    let rejection = setup.validate_by(rules, setup.app()).unwrap_err();
    says(
        &rejection,
        "client_not_allowed",
        &[CLIENT, "ValidatorBuilder::allowed_clients", "Overview page"],
    );
    let rules = setup.rules().refuse_guests();
    let rejection = setup.validate_by(rules, setup.user().guest()).unwrap_err();
    let words = [
        "an account of the tenant 72f988bf",
        "optional claim acct",
        "Users, the user, Properties",
        "ValidatorBuilder::refuse_guests",
    ];
    says(&rejection, "guest_not_allowed", &words);
    let rejection = setup
        .validate(setup.user().proof_of_possession())
        .unwrap_err();
    says(
        &rejection,
        "proof_of_possession",
        &["plain bearer token", "token_type=pop"],
    );
}

#[tokio::test]
async fn a_lifetime_is_told_in_seconds_beyond_the_skew() {
    let setup = Setup::new().await;
    let rejection = setup.validate(setup.user().expired()).unwrap_err();
    says(
        &rejection,
        "expired",
        &["get a new token", "clock of this machine"],
    );
    let early = setup
        .user()
        .issued_ago(Duration::ZERO)
        .flaw(Flaw::NotYetValid);
    let rejection = setup.validate(early).unwrap_err();
    assert!(
        rejection
            .to_string()
            .contains("beyond the clock skew of 300 s")
    );
    says(&rejection, "not_yet_valid", &["NTP"]);
}

#[tokio::test]
async fn an_unknown_key_points_to_custom_signing_keys() {
    let setup = Setup::new().await;
    let rejection = setup
        .validate(setup.user().flaw(Flaw::UnknownKid))
        .unwrap_err();
    let words = [
        "the address of the discovery document",
        &format!("/v2.0/.well-known/openid-configuration?appid={API}"),
        "claims mapping",
    ];
    says(&rejection, "unknown_key", &words);
    assert_eq!(rejection.public_code(), "untrusted_signature");
    assert!(!rejection.public_remedy().contains("appid"));
}

#[tokio::test]
async fn neither_scope_nor_role_names_the_page_and_the_exemption() {
    let setup = Setup::new().await;
    let token = setup
        .validate(setup.tenant.app(CLIENT).for_api(API))
        .unwrap();
    let rules = setup.rules().build().unwrap();
    let remedy = rules.default_permission(&token).unwrap_err().remedy();
    for words in [
        "API permissions",
        "Grant admin consent",
        "ValidatorBuilder::allow_roleless_clients",
    ] {
        assert!(remedy.contains(words), "{words} in {remedy}");
    }
}

#[tokio::test]
async fn us_government_has_a_second_v1_issuer() {
    let tenant = DevTenant::builder()
        .cloud(DevCloud::UsGovernment)
        .start()
        .await
        .unwrap();
    let setup = Setup::of(tenant);
    let issuer = format!("https://login.microsoftonline.us/{}/", setup.tenant.id());
    let token = || setup.user().v1().claim("iss", json!(issuer));
    let us = Cloud::UsGovernment;
    let rules = || setup.rules().cloud(us);
    assert!(
        setup
            .validate_by(rules().accept_v1_tokens(), token())
            .is_ok()
    );
    assert_eq!(
        setup.validate_by(rules(), token()).unwrap_err().code(),
        "v1_token"
    );
    assert_eq!(
        setup
            .validate_by(setup.rules().accept_v1_tokens(), token())
            .unwrap_err()
            .code(),
        "wrong_cloud"
    );
}

/// Returns the setting names of another program.
fn named(setting: Setting) -> &'static str {
    match setting {
        Setting::AcceptV1Tokens => "our v1",
        Setting::RolelessClients => "our roleless clients",
        _ => "our another",
    }
}

/// Checks that a report uses the setting names that the caller gave. A user of this crate alone has
/// neither the Layer's builder nor its environment variables.
#[tokio::test]
async fn a_report_has_the_names_that_it_was_asked_for_with() {
    let setup = Setup::new().await;
    let rules = setup.rules().build().unwrap();
    let token = setup.user().v1().mint();
    let with = ExplainOptions::at(setup.now());
    let remedy = |report: &Report| {
        let finding = report.finding(CheckName::Version).unwrap();
        (
            finding.remedy().map(str::to_owned),
            finding.remedy_with(named),
        )
    };
    let ours = remedy(&rules.explain(&token, &with));
    let theirs = remedy(&rules.explain(&token, &with.setting_names(named)));
    assert!(ours.0.unwrap().contains(Setting::AcceptV1Tokens.name()));
    assert!(ours.1.as_deref().unwrap().contains("our v1"));
    assert_eq!(theirs.0.as_deref(), ours.1.as_deref());
    assert_eq!(theirs.1, ours.1);

    let token = setup.tenant.app(CLIENT).for_api(API).mint();
    let report = rules.explain(&token, &ExplainOptions::at(setup.now()));
    let finding = report.finding(CheckName::Permission).unwrap();
    assert!(
        finding
            .remedy_with(named)
            .unwrap()
            .contains("our roleless clients")
    );

    let requirement = Requirement::new(Scope("Reports.Write")).unwrap();
    let with = ExplainOptions::at(setup.now()).requirement(&requirement);
    let report = rules.explain(&setup.user().mint(), &with);
    let finding = report.finding(CheckName::Requirement).unwrap();
    let scope = format!("api://{API}/Reports.Write");
    for remedy in [
        finding.remedy().unwrap(),
        &finding.remedy_with(named).unwrap(),
    ] {
        assert!(remedy.contains(&scope), "{remedy}");
    }
}
