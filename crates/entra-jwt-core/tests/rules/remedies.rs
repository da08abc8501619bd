//! The remedies that must be exact: each names the place and a value to set.

use std::time::Duration;

use entra_dev_tenant::{DevCloud, DevTenant, Flaw};
use entra_jwt_core::{Audience, KeySet, Rejection, Tenancy, Validator};
use serde_json::json;

use crate::{API, CLIENT, OTHER_TENANT, Setup};

/// What the remedy of a mistake must say.
fn says(rejection: &Rejection, code: &str, words: &[&str]) {
    assert_eq!(rejection.code(), code);
    let remedy = rejection.remedy();
    for words in words {
        assert!(remedy.contains(words), "{code}: {words} in {remedy}");
    }
    assert!(!remedy.contains("scope="), "{remedy}");
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
    // Another API of the tenant, by id.
    let rejection = refused(setup.user().audience(CLIENT));
    says(
        &rejection,
        "wrong_audience",
        &[scope, page, CLIENT, "ENTRA_CLIENT_ID"],
    );
    // An App ID URI: this API's, which is not configured, or another's.
    let rejection = refused(setup.user().audience("api://orders"));
    let words = [
        "api://orders",
        "audience(..)",
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
    // What the token says is escaped.
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
            "accept_v1_tokens()",
        ],
    );
    let rejection = refused(setup.user().flaw(Flaw::IssuerOfAnotherCloud));
    let words = [
        "https://login.microsoftonline.com,",
        "ENTRA_CLOUD",
        "to usgovernment",
    ];
    says(&rejection, "wrong_cloud", &words);
    says(
        &refused(setup.user().of_tenant(OTHER_TENANT)),
        "tenant_not_allowed",
        &[OTHER_TENANT, "ENTRA_TENANT_ID"],
    );
    // Whoever put one tenant there would lock out all others.
    let by_rule = Rejection::TenantNotAllowed {
        found: OTHER_TENANT.parse().unwrap(),
        allowed: "those that the tenant rule admits".to_owned(),
        by_tenant_rule: true,
    };
    says(
        &by_rule,
        "tenant_not_allowed",
        &[OTHER_TENANT, "tenant_rule(..)"],
    );
    assert!(!by_rule.remedy().contains("ENTRA_TENANT_ID"));
    let keys = KeySet::from_jwks(setup.tenant.jwks_of("common").as_bytes()).unwrap();
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
        &["Azure AD B2C are not supported"],
    );
    let issuer = format!("https://{0}.ciamlogin.com/{0}/v2.0", setup.tenant.id());
    says(
        &refused(setup.user().claim("iss", issuer)),
        "wrong_issuer",
        &["external_id(\"NAME.ciamlogin.com\")"],
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
        &[CLIENT, "allowed_clients(..)", "Overview page"],
    );
    let rules = setup.rules().refuse_guests();
    let rejection = setup.validate_by(rules, setup.user().guest()).unwrap_err();
    let words = [
        "an account of the tenant 72f988bf",
        "optional claim acct",
        "Users, the user, Properties",
        "refuse_guests()",
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
    let text = Rejection::Expired {
        seconds_ago: 400,
        skew: 300,
    }
    .to_string();
    assert_eq!(
        text,
        "expired 400 s ago, 100 s beyond the clock skew of 300 s"
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
        "metadata_endpoint",
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
        "exempt_clients(..)",
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
    let us = entra_jwt_core::Cloud::UsGovernment;
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
