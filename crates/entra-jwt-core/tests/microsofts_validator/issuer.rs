//! Cases of `AadIssuerValidator` and its tests.

use entra_dev_tenant::{B2cPolicy, Flaw, TokenBuilder};
use entra_jwt_core::{
    Cloud, KeySet, Tenancy, Validator, ValidatorBuilder, integration::DiscoveryDocument,
};
use serde_json::json;

use crate::support::{API, tenant};
use crate::{
    ACCEPTED, Accepts, FOREIGN_DOCUMENT, NO_SUCH_SETTING, Refuses, Row, by, home, keys, now, rules,
    us_government, user, verdict,
};

pub(crate) const OTHER_TENANT: &str = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";
const LONG_TENANT_CLAIM: &str = "http://schemas.microsoft.com/identity/claims/tenantid";

const NO_B2C: &str = "Azure AD B2C is not supported: its issuer does not say by which policy, and \
                      so how strongly, somebody signed in";
const V1_IS_A_DECISION: &str = "v1 and v2 tokens have other audiences and claims: accepting both \
                                should be a decision";
const NO_V11: &str = "no endpoint of Entra has issued version 1.1 for years";
const NO_SUCH_CLOUD: &str = "closed, or Microsoft's own";
const TID_IS_REQUIRED: &str = "Entra always writes tid; tokens without are of Azure AD B2C";
pub(crate) const ONE_SPELLING: &str = "Entra writes lower-case GUIDs; one tenant has one spelling";
const CONSTANT: &str = "issuers are constants of the cloud, so that no document changes which are \
                        right";

pub(crate) fn issued_by(issuer: &str) -> TokenBuilder<'static> {
    user().claim("iss", issuer.replace("{}", tenant().id()))
}

/// Returns the cases of `MicrosoftIdentityIssuerValidatorTest` and `AadIssuerValidatorTests`.
pub(crate) fn tests() -> Vec<Row> {
    [
        tests_of_configuration(),
        tests_of_versions(),
        tests_of_tenants(),
        tests_of_b2c(),
        tests_of_the_last_known_good_issuer(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn tests_of_configuration() -> Vec<Row> {
    vec![
        Row::same(
            "an empty authority",
            Refuses("argument error"),
            NO_SUCH_SETTING,
            || no_tenancy(""),
        ),
        Row::differs(
            "an authority of a host alone",
            Accepts,
            NO_SUCH_SETTING,
            "whose tokens are accepted is said, never assumed",
            || no_tenancy("https://login.microsoftonline.com"),
        ),
        Row::same(
            "authorities of common give the issuers of every tenant",
            Accepts,
            ACCEPTED,
            || issuers_are(Tenancy::common(), "{tenantid}"),
        ),
        Row::same(
            "authorities of organizations give the issuers of every tenant",
            Accepts,
            ACCEPTED,
            || issuers_are(Tenancy::organizations(), "{tenantid}"),
        ),
        Row::same(
            "authorities of a tenant give the issuers of that",
            Accepts,
            ACCEPTED,
            || issuers_are(home().into(), tenant().id()),
        ),
        Row::differs(
            "a token of any issuer in ValidIssuers",
            Accepts,
            NO_SUCH_SETTING,
            "tenants are configured, and their issuers follow; a list of strings can hold anybody's",
            || {
                no_tenancy(
                    "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0",
                )
            },
        ),
        Row::same(
            "a token of one of several tenants, each a valid issuer",
            Accepts,
            ACCEPTED,
            || {
                let tenants = Tenancy::tenants([home(), OTHER_TENANT.parse().unwrap()]);
                let rules = Validator::entra(tenants, API.parse().unwrap());
                by(rules, user().of_tenant(OTHER_TENANT))
            },
        ),
    ]
}

fn no_tenancy(text: &str) -> &'static str {
    text.parse::<Tenancy>()
        .map_or(NO_SUCH_SETTING, |_| ACCEPTED)
}

/// Returns [`ACCEPTED`] if the issuers are exactly the v2 issuer and then the v1 issuer.
fn issuers_are(tenancy: Tenancy, tenant: &str) -> &'static str {
    let rules = Validator::entra(tenancy, API.parse().unwrap()).accept_v1_tokens();
    let issuers: Vec<String> = rules.build().unwrap().issuers().collect();
    let expected = [
        format!("https://login.microsoftonline.com/{tenant}/v2.0"),
        format!("https://sts.windows.net/{tenant}/"),
    ];
    if issuers == expected {
        ACCEPTED
    } else {
        "others"
    }
}

/// Returns nine combinations of token version and authority version.
///
/// An authority of version 1 or 1.1 in Microsoft's validator corresponds to `accept_v1_tokens`
/// here.
fn tests_of_versions() -> Vec<Row> {
    vec![
        Row::same("v2 token at a v2 authority", Accepts, ACCEPTED, || {
            by(rules(), user())
        }),
        Row::differs(
            "v1 token at a v2 authority",
            Accepts,
            "v1_token",
            V1_IS_A_DECISION,
            || by(rules(), user().v1()),
        ),
        Row::differs(
            "v1.1 token at a v2 authority",
            Accepts,
            "wrong_issuer",
            NO_V11,
            || by(rules(), user().flaw(Flaw::IssuerV11)),
        ),
        Row::same("v2 token at a v1 authority", Accepts, ACCEPTED, || {
            by(rules().accept_v1_tokens(), user())
        }),
        Row::same("v1 token at a v1 authority", Accepts, ACCEPTED, || {
            by(rules().accept_v1_tokens(), user().v1())
        }),
        Row::differs(
            "v1.1 token at a v1 authority",
            Accepts,
            "wrong_issuer",
            NO_V11,
            || by(rules().accept_v1_tokens(), user().flaw(Flaw::IssuerV11)),
        ),
        Row::differs(
            "v1.1 token at a v1.1 authority",
            Accepts,
            "wrong_issuer",
            NO_V11,
            || {
                let token = user().v1().flaw(Flaw::IssuerV11);
                by(rules().accept_v1_tokens(), token)
            },
        ),
        Row::same("v2 token at a v1.1 authority", Accepts, ACCEPTED, || {
            let organizations = Validator::entra(Tenancy::organizations(), API.parse().unwrap());
            by(organizations.accept_v1_tokens(), user())
        }),
        Row::same("v1 token at a v1.1 authority", Accepts, ACCEPTED, || {
            let organizations = Validator::entra(Tenancy::organizations(), API.parse().unwrap());
            by(organizations.accept_v1_tokens(), user().v1())
        }),
        Row::same("US Government, v2", Accepts, ACCEPTED, || {
            of_us_government(false)
        }),
        Row::same("US Government, v1", Accepts, ACCEPTED, || {
            of_us_government(true)
        }),
    ]
}

fn of_us_government(v1: bool) -> &'static str {
    let tenant = us_government();
    let keys = tenant.signing_keys().document_of("organizations");
    let keys = KeySet::from_jwks(keys.as_bytes()).unwrap();
    let token = tenant.user("ada").scope("Reports.Read").for_api(API);
    let token = if v1 { token.v1() } else { token };
    let rules = rules().cloud(Cloud::UsGovernment).accept_v1_tokens();
    verdict(rules, &keys, &token.mint(), tenant.clock()())
}

fn tests_of_tenants() -> Vec<Row> {
    vec![
        Row::differs(
            "the tenant's id in the long claim name alone",
            Accepts,
            "missing_claim",
            "no token has it: it is a name inside .NET",
            || {
                let token = user().without_claim("tid");
                by(rules(), token.claim(LONG_TENANT_CLAIM, tenant().id()))
            },
        ),
        Row::differs(
            "no tid, but the tenant in the issuer",
            Accepts,
            "missing_claim",
            TID_IS_REQUIRED,
            || by(rules(), user().without_claim("tid")),
        ),
        Row::same(
            "neither tid nor a tenant in the issuer",
            Refuses("IDX40003"),
            "missing_claim",
            || {
                let token = issued_by("https://login.microsoftonline.com");
                by(rules(), token.without_claim("tid"))
            },
        ),
        Row::same("no issuer", Refuses("no issuer"), "missing_claim", || {
            by(rules(), user().without_claim("iss"))
        }),
        Row::same(
            "an issuer of an unknown host",
            Refuses("IDX40001"),
            "wrong_issuer",
            || by(rules(), user().flaw(Flaw::IssuerWrongHost)),
        ),
        Row::same(
            "another tenant than the configured one",
            Refuses("IDX40001"),
            "tenant_not_allowed",
            || by(rules(), user().of_tenant(OTHER_TENANT)),
        ),
    ]
}

fn tests_of_b2c() -> Vec<Row> {
    vec![
        Row::differs("B2C without tid", Accepts, "wrong_issuer", NO_B2C, || {
            by(
                rules(),
                tenant().b2c_token("ada", B2cPolicy::Default).for_api(API),
            )
        }),
        Row::differs("B2C with tid", Accepts, "wrong_issuer", NO_B2C, || {
            let token = tenant().b2c_token("ada", B2cPolicy::Default).for_api(API);
            by(rules(), token.claim("tid", tenant().id()))
        }),
        Row::differs(
            "B2C at a custom domain",
            Accepts,
            "wrong_issuer",
            NO_B2C,
            || by(rules(), issued_by("https://login.contoso.com/{}/v2.0/")),
        ),
        Row::same(
            "B2C of another host",
            Refuses("IDX40001"),
            "wrong_issuer",
            || by(rules(), issued_by("https://fabrikam.b2clogin.com/{}/v2.0/")),
        ),
        Row::same(
            "B2C of another tenant",
            Refuses("IDX40001"),
            "wrong_issuer",
            || {
                let token = tenant().b2c_token("ada", B2cPolicy::Default).for_api(API);
                by(rules(), token.claim("tid", OTHER_TENANT))
            },
        ),
        Row::same(
            "B2C with the policy in the issuer (tfp)",
            Refuses("IDX40002"),
            "wrong_issuer",
            || {
                let token = tenant().b2c_token("ada", B2cPolicy::Tfp).for_api(API);
                by(rules(), token.claim("tid", tenant().id()))
            },
        ),
    ]
}

fn tests_of_the_last_known_good_issuer() -> Vec<Row> {
    vec![
        Row::same(
            "the metadata is wrong, and the last good issuer is younger than 24 hours",
            Accepts,
            ACCEPTED,
            || under_metadata_of(EVIL_ISSUER),
        ),
        Row::differs(
            "the metadata is wrong, and the last good issuer is older than 24 hours",
            Refuses("IDX40001"),
            ACCEPTED,
            "issuers are constants; for how long keys are trusted without a good document is for \
             whoever fetches them (24 hours)",
            || under_metadata_of(EVIL_ISSUER),
        ),
        Row::differs(
            "the issuer that wrong metadata names, under a key that names none",
            Accepts,
            "wrong_issuer",
            CONSTANT,
            || {
                let keys = tenant()
                    .signing_keys()
                    .document()
                    .replace("\"issuer\"", "\"former_issuer\"");
                let keys = KeySet::from_jwks(keys.as_bytes()).unwrap();
                let keys = keys.with_issuer(EVIL_ISSUER);
                verdict(
                    rules(),
                    &keys,
                    &user().flaw(Flaw::IssuerWrongHost).mint(),
                    now(),
                )
            },
        ),
        Row::differs(
            "metadata of another issuer than the cloud's",
            Accepts,
            FOREIGN_DOCUMENT,
            "a document of somebody else is a failed fetch",
            || {
                let document = json!({ "issuer": EVIL_ISSUER, "jwks_uri": "https://evil.example" });
                let document = DiscoveryDocument::from_json(document.to_string().as_bytes());
                let validator = rules().build().unwrap();
                let checked = validator.authority().check_document(&document.unwrap());
                checked.map_or(FOREIGN_DOCUMENT, |()| ACCEPTED)
            },
        ),
    ]
}

const EVIL_ISSUER: &str = "https://login.evil.example/{tenantid}/v2.0";

fn under_metadata_of(issuer: &str) -> &'static str {
    verdict(rules(), &keys().with_issuer(issuer), &user().mint(), now())
}

/// Returns the outcome for this issuer, which must be the same in every configurable cloud.
fn in_any_cloud(issuer: &str) -> &'static str {
    let codes: Vec<_> = Cloud::ALL
        .iter()
        .map(|&cloud| by(rules().cloud(cloud), issued_by(issuer)))
        .collect();
    let first = codes[0];
    assert!(codes.iter().all(|code| *code == first), "{codes:?}");
    first
}

/// Returns the cases of the algorithm's five steps, without those of [`tests`].
pub(crate) fn algorithm() -> Vec<Row> {
    vec![
        Row::same(
            "step 2: tid is blank",
            Refuses("IDX40003"),
            "invalid_tenant",
            || by(rules(), user().claim("tid", "")),
        ),
        Row::same(
            "step 2: tid is another tenant's than the issuer's",
            Refuses("IDX40001"),
            "wrong_issuer",
            || by(rules(), user().claim("tid", OTHER_TENANT)),
        ),
        Row::same(
            "step 3: an issuer of PPE, which is not among the configured ones",
            Refuses("IDX40001"),
            "wrong_issuer",
            || by(rules(), issued_by("https://login.windows-ppe.net/{}/v2.0")),
        ),
        Row::same(
            "step 3: an issuer of the closed cloud of Germany, which is not among them",
            Refuses("IDX40001"),
            "wrong_issuer",
            || {
                by(
                    rules(),
                    issued_by("https://login.microsoftonline.de/{}/v2.0"),
                )
            },
        ),
        Row::differs(
            "step 3: an issuer of PPE, which is configured",
            Accepts,
            "wrong_issuer",
            NO_SUCH_CLOUD,
            || in_any_cloud("https://login.windows-ppe.net/{}/v2.0"),
        ),
        Row::differs(
            "step 3: an issuer of the closed cloud of Germany, which is configured",
            Accepts,
            "wrong_issuer",
            NO_SUCH_CLOUD,
            || in_any_cloud("https://login.microsoftonline.de/{}/v2.0"),
        ),
        Row::same(
            "step 4: ver says 1.0, the issuer v2",
            Accepts,
            ACCEPTED,
            // Microsoft.Identity.Web requires this audience for ver 1.0.
            || {
                by(
                    rules(),
                    user().claim("ver", "1.0").audience(&format!("api://{API}")),
                )
            },
        ),
        Row::differs(
            "step 4: ver says 2.0, the issuer v1",
            Accepts,
            "v1_token",
            "the issuer tells the version, and v1 has to be accepted explicitly",
            || by(rules(), user().v1().claim("ver", "2.0").audience(API)),
        ),
        Row::same(
            "step 4: the v2 issuer with a slash chooses v2, and differs from its issuer",
            Refuses("IDX40001"),
            "wrong_issuer",
            || {
                by(
                    rules(),
                    issued_by("https://login.microsoftonline.com/{}/v2.0/"),
                )
            },
        ),
        Row::same(
            "step 4: the v2 issuer with a capital V chooses v2, and differs from its issuer",
            Refuses("IDX40001"),
            "wrong_issuer",
            || {
                by(
                    rules(),
                    issued_by("https://login.microsoftonline.com/{}/V2.0"),
                )
            },
        ),
        Row::same(
            "step 4: the v1 issuer without its slash",
            Refuses("IDX40001"),
            "wrong_issuer",
            || {
                by(
                    rules().accept_v1_tokens(),
                    issued_by("https://sts.windows.net/{}"),
                )
            },
        ),
        Row::differs(
            "step 4: organizations admits personal accounts, as its template admits every tid",
            Accepts,
            "personal_account",
            "organizations means tenants of work or school",
            || {
                let rules = Validator::entra(Tenancy::organizations(), API.parse().unwrap());
                by(rules, tenant().personal("ada").scope("read").for_api(API))
            },
        ),
        Row::same(
            "step 5: an issuer of somebody else",
            Refuses("IDX40001"),
            "wrong_issuer",
            || by(rules(), issued_by("https://accounts.google.com")),
        ),
    ]
}

pub(crate) fn rules_of_organizations() -> ValidatorBuilder {
    Validator::entra(Tenancy::organizations(), API.parse().unwrap())
}
