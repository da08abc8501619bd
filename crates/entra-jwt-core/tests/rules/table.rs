//! Tests of every rule with every token of `entra-dev-tenant`, for every tenancy, cloud and
//! version.
//!
//! The tests expect the exact code, and the same reason from `explain`.

use entra_dev_tenant::{B2cPolicy, DevCloud, DevTenant, Flaw, TokenBuilder};
use entra_jwt_core::{
    AccessToken, Cloud, InvalidToken, KeySet, Tenancy, TenantId, Validator, ValidatorBuilder,
    explain::{CheckName, ExplainOptions, Outcome, Verdict},
    token::Unverified,
};
use serde_json::json;

use crate::{API, CLIENT, OTHER_TENANT};

/// The position of a refusal in the order of the checks, or the acceptance of the token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Expected {
    /// Refused before the check of the version.
    BeforeVersion(&'static str),
    /// Refused after the check of the version. Where only v2 is accepted, a v1 token is refused for
    /// its version instead.
    AfterVersion(&'static str),
    /// A token of another work or school tenant.
    OtherTenant,
    /// A valid token that permits nothing.
    Denied(&'static str),
    Accepted,
}
use Expected::{Accepted, AfterVersion, BeforeVersion, Denied, OtherTenant};

/// A good token, to which the flaws are applied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Base {
    User,
    App,
    UserV1,
    AppV1,
    Personal,
}

impl Base {
    const ALL: [Self; 5] = [
        Self::User,
        Self::App,
        Self::UserV1,
        Self::AppV1,
        Self::Personal,
    ];

    pub(crate) fn token(self, tenant: &DevTenant) -> TokenBuilder<'_> {
        let user = || tenant.user("ada").scope("Reports.Read");
        let app = || tenant.app(CLIENT).role("Reports.Read.All");
        match self {
            Self::User => user(),
            Self::App => app(),
            Self::UserV1 => user().v1(),
            Self::AppV1 => app().v1(),
            Self::Personal => tenant.personal("ada").scope("Reports.Read"),
        }
        .for_api(API)
    }

    fn is_v1(self) -> bool {
        matches!(self, Self::UserV1 | Self::AppV1)
    }
}

/// Returns the expected outcome of a flaw in a token that is otherwise good.
pub(crate) fn expected(flaw: Flaw, base: Base, cloud: DevCloud) -> Expected {
    match flaw {
        // The form.
        Flaw::Oversize => BeforeVersion("token_too_large"),
        Flaw::FourSegments | Flaw::TwoSegments => BeforeVersion("not_a_token"),
        Flaw::Jwe => BeforeVersion("encrypted_token"),
        Flaw::Padding | Flaw::TrailingBits => BeforeVersion("invalid_base64"),
        Flaw::DuplicateClaim
        | Flaw::DuplicateClaimEscaped
        | Flaw::DuplicateHeader
        | Flaw::DuplicateUnknownClaim => BeforeVersion("duplicate_member"),
        Flaw::NoKid => BeforeVersion("missing_kid"),
        Flaw::Crit => BeforeVersion("unsupported_header"),
        // The header.
        Flaw::HeaderNonce => BeforeVersion("graph_token"),
        Flaw::AlgNone | Flaw::Hs256WithPublicKey | Flaw::Ps256 | Flaw::Rs512 => {
            BeforeVersion("wrong_algorithm")
        }
        Flaw::TypAtJwt => BeforeVersion("wrong_token_type"),
        // The key.
        // A fault of the claims is reported first, because no key could correct it.
        Flaw::UnknownKid => AfterVersion("unknown_key"),
        Flaw::WrongKey | Flaw::BadSignature | Flaw::EmbeddedJwk => BeforeVersion("bad_signature"),
        // The claims' types.
        Flaw::ExpString
        | Flaw::ExpHuge
        | Flaw::NbfString
        | Flaw::AudArray
        | Flaw::ScpArray
        | Flaw::RolesString => BeforeVersion("wrong_type"),
        // The lifetime.
        Flaw::NoExp => BeforeVersion("missing_claim"),
        Flaw::Expired | Flaw::ExpiredAtSkewEdge => BeforeVersion("expired"),
        Flaw::NotYetValid => BeforeVersion("not_yet_valid"),
        Flaw::NbfAfterExp => BeforeVersion("impossible_lifetime"),
        Flaw::ExpiredWithinSkew | Flaw::NotYetValidWithinSkew | Flaw::ExpFloat => Accepted,
        // The issuer.
        Flaw::NoTid | Flaw::NoIssuer => BeforeVersion("missing_claim"),
        Flaw::TidTwin => BeforeVersion("ambiguous_tenant"),
        Flaw::UpperCaseTid | Flaw::TidNoGuid => BeforeVersion("invalid_tenant"),
        Flaw::IssuerOfAnotherCloud => BeforeVersion("wrong_cloud"),
        Flaw::IssuerV11
        | Flaw::TidOfAnotherTenant
        | Flaw::IssuerOfAnotherTenant
        | Flaw::IssuerTemplateLiteral
        | Flaw::IssuerWrongHost
        | Flaw::IssuerAliasHost
        | Flaw::IssuerSlashAdded
        | Flaw::IssuerSlashRemoved => BeforeVersion("wrong_issuer"),
        Flaw::AnotherTenant if base == Base::Personal => AfterVersion("key_issuer_mismatch"),
        Flaw::AnotherTenant => OtherTenant,
        // The issuer and cloud that the key may sign for.
        Flaw::PersonalKey if base == Base::Personal => Accepted,
        Flaw::PersonalKey => AfterVersion("key_issuer_mismatch"),
        Flaw::OtherCloudKey => AfterVersion("key_cloud_mismatch"),
        // The audience.
        Flaw::NoAud => AfterVersion("missing_claim"),
        Flaw::AudGraph => AfterVersion("graph_token"),
        Flaw::AudManagement => AfterVersion("microsoft_api_token"),
        Flaw::AudOther | Flaw::AudUpperCase => AfterVersion("wrong_audience"),
        // The kind.
        Flaw::ProofOfPossession => AfterVersion("proof_of_possession"),
        Flaw::NoClient | Flaw::PayloadNonce | Flaw::CHash | Flaw::AtHash => {
            AfterVersion("id_token")
        }
        // The permission.
        Flaw::ScpEmpty | Flaw::ScpSlash if matches!(base, Base::App | Base::AppV1) => Accepted,
        Flaw::NoScopeNoRole | Flaw::ScpEmpty | Flaw::ScpSlash => Denied("no_permission"),
        other => panic!("{other:?} of {base:?} in {cloud:?} is not in the table"),
    }
}

struct Row {
    tenancy: Tenancy,
    admits_home: bool,
    admits_others: bool,
    admits_personal: bool,
}

fn tenancies(tenant: &DevTenant) -> Vec<Row> {
    let home: TenantId = tenant.id().parse().unwrap();
    let row = |tenancy, admits_home, admits_others, admits_personal| Row {
        tenancy,
        admits_home,
        admits_others,
        admits_personal,
    };
    let list = Tenancy::tenants([home, OTHER_TENANT.parse().unwrap()]);
    vec![
        row(Tenancy::tenant(home), true, false, false),
        row(list, true, false, false),
        row(Tenancy::organizations(), true, true, false),
        row(Tenancy::common(), true, true, true),
        row(Tenancy::consumers(), false, false, true),
    ]
}

/// Returns the code of the whole validation: the flaw's, the version's or the tenancy's.
fn code(expected: Expected, base: Base, row: &Row, accepts_v1: bool) -> &'static str {
    let is_personal = base == Base::Personal && expected != OtherTenant;
    let is_admitted = match expected {
        OtherTenant => row.admits_others,
        _ if is_personal => row.admits_personal,
        _ => row.admits_home,
    };
    match expected {
        BeforeVersion(code) => code,
        _ if base.is_v1() && !accepts_v1 => "v1_token",
        AfterVersion(code) => code,
        _ if !is_admitted && is_personal => "personal_account",
        _ if !is_admitted => "tenant_not_allowed",
        Denied(code) => code,
        OtherTenant | Accepted => "accepted",
    }
}

/// The clouds of `entra-dev-tenant`, each with the configured cloud.
const CLOUDS: [(DevCloud, Cloud); 3] = [
    (DevCloud::Public, Cloud::Public),
    (DevCloud::UsGovernment, Cloud::UsGovernment),
    (DevCloud::China, Cloud::China),
];

/// Returns the result of validation and of the default permission, and checks that `explain`
/// agrees.
pub(crate) fn judge(
    validator: &Validator,
    keys: &KeySet,
    tenant: &DevTenant,
    token: &str,
) -> &'static str {
    let now = tenant.clock()();
    let result = validator.validate(token, keys, now);
    let report = validator.explain(token, &ExplainOptions::at(now).keys(keys));
    let code = match &result {
        Err(rejection) => {
            assert_eq!(report.verdict(), Verdict::InvalidToken(rejection));
            rejection.code()
        }
        Ok(valid) => match validator.default_permission(valid) {
            Err(denied) => {
                assert_eq!(report.verdict(), Verdict::PermissionDenied(&denied));
                denied.code()
            }
            Ok(()) => {
                assert_eq!(report.verdict(), Verdict::Accepted);
                "accepted"
            }
        },
    };
    precheck_agrees(validator, token, &result, now);
    without_keys_nothing_is_accepted(validator, token, code, now);
    code
}

const AFTER_THE_SIGNATURE: [&str; 7] = [
    "untrusted_signature",
    "duplicate_member",
    "tenant_not_allowed",
    "personal_account",
    "client_not_allowed",
    "guest_not_allowed",
    "agent_not_allowed",
];

/// Checks that the precheck agrees with the whole validation.
///
/// The validation refuses every token that the precheck refuses, for the same reason if no key is
/// known. A token that passes the precheck can be refused only for the key, or by a check that
/// follows the signature: for a duplicate member or for its admission.
fn precheck_agrees(
    validator: &Validator,
    token: &str,
    result: &Result<AccessToken, InvalidToken>,
    now: std::time::SystemTime,
) {
    let Ok(unverified) = Unverified::parse(token) else {
        return;
    };
    let precheck = validator.precheck(&unverified, now);
    let without_key = validator.verify(unverified, None, now).unwrap_err();
    let report = validator.explain(token, &ExplainOptions::at(now));
    match (precheck, result) {
        (Err(rejection), result) => {
            assert!(result.is_err());
            assert_eq!(rejection, without_key);
            assert_eq!(report.verdict(), Verdict::InvalidToken(&rejection));
        }
        (Ok(()), result) => {
            assert_eq!(without_key.code(), "unknown_key");
            if let Err(rejection) = result {
                let code = rejection.public_code();
                assert!(AFTER_THE_SIGNATURE.contains(&code), "{code}");
            }
        }
    }
}

fn without_keys_nothing_is_accepted(
    validator: &Validator,
    token: &str,
    code: &str,
    now: std::time::SystemTime,
) {
    let report = validator.explain(token, &ExplainOptions::at(now));
    assert_ne!(report.verdict(), Verdict::Accepted);
    if code == "accepted" {
        assert_eq!(report.verdict(), Verdict::NotVerified);
        let signature = report.finding(CheckName::Signature).unwrap();
        assert_eq!(signature.outcome, Outcome::NotChecked);
    }
}

#[tokio::test]
async fn each_flaw_gives_its_code_for_every_tenancy_cloud_and_version() {
    for (played, cloud) in CLOUDS {
        let tenant = DevTenant::builder().cloud(played).start().await.unwrap();
        // The key set with the most keys ensures that only the rules decide.
        let keys =
            KeySet::from_jwks(tenant.signing_keys().document_of("common").as_bytes()).unwrap();
        let rows = tenancies(&tenant);
        for base in Base::ALL {
            let good = (None, Accepted, base.token(&tenant).mint());
            let flawed = Flaw::ALL.iter().map(|flaw| {
                let token = base.token(&tenant).flaw(*flaw).mint();
                (Some(*flaw), expected(*flaw, base, played), token)
            });
            for (flaw, expected, token) in std::iter::once(good).chain(flawed) {
                for row in &rows {
                    for accepts_v1 in [false, true] {
                        let rules = rules(row.tenancy.clone(), cloud, accepts_v1);
                        let found = judge(&rules, &keys, &tenant, &token);
                        assert_eq!(
                            found,
                            code(expected, base, row, accepts_v1),
                            "{flaw:?} of {base:?} in {cloud}, {}, v1: {accepts_v1}",
                            row.tenancy
                        );
                    }
                }
            }
        }
    }
}

fn rules(tenancy: Tenancy, cloud: Cloud, accepts_v1: bool) -> Validator {
    let rules = Validator::entra(tenancy, API.parse().unwrap()).cloud(cloud);
    let rules = if accepts_v1 {
        rules.accept_v1_tokens()
    } else {
        rules
    };
    rules.build().unwrap()
}

/// The name and the settings of a validator.
type Rules = (&'static str, fn(ValidatorBuilder) -> ValidatorBuilder);

#[tokio::test]
async fn each_preset_gives_its_code_under_each_rule_about_callers() {
    let tenant = DevTenant::start().await.unwrap();
    let keys = KeySet::from_jwks(tenant.signing_keys().document_of("common").as_bytes()).unwrap();
    let user = || tenant.user("ada").scope("Reports.Read").for_api(API);
    let app = || tenant.app(CLIENT).role("Reports.Read.All").for_api(API);
    let bare = || tenant.app(CLIENT).for_api(API);
    let other_client = "3c2b1a09-1f2e-4d3c-8b4a-5f6e7d8c9b0a";

    let rules: [Rules; 5] = [
        ("default", |rules| rules),
        ("allowed", |rules| {
            rules.allowed_clients([CLIENT.parse().unwrap()])
        }),
        ("exempt", |rules| {
            rules.allow_roleless_clients([CLIENT.parse().unwrap()])
        }),
        ("exempt but not allowed", |rules| {
            let other = "3c2b1a09-1f2e-4d3c-8b4a-5f6e7d8c9b0a".parse().unwrap();
            rules
                .allowed_clients([other])
                .allow_roleless_clients([CLIENT.parse().unwrap()])
        }),
        ("no guests", ValidatorBuilder::refuse_guests),
    ];
    // In the order of the rules above.
    let (ok, client, none) = ("accepted", "client_not_allowed", "no_permission");
    let table: Vec<(&str, TokenBuilder<'_>, [&str; 5])> = vec![
        ("user", user(), [ok, client, ok, client, ok]),
        (
            "user of the client",
            user().client(CLIENT),
            [ok, ok, ok, client, ok],
        ),
        ("app", app(), [ok, ok, ok, client, ok]),
        (
            "app with idtyp",
            app().with_idtyp(),
            [ok, ok, ok, client, ok],
        ),
        ("app without a role", bare(), [none, none, ok, client, none]),
        (
            "app without a role, with idtyp",
            bare().with_idtyp(),
            [none, none, ok, client, none],
        ),
        (
            "app without a service principal",
            bare().without_service_principal(),
            [none, none, ok, client, none],
        ),
        (
            "another app without a role",
            tenant.app(other_client).for_api(API),
            [none, client, none, none, none],
        ),
        // The exemption is for applications with their own identity, not for their users.
        (
            "user without a scope of the exempt client",
            tenant.user("ada").client(CLIENT).for_api(API),
            [none, none, none, client, none],
        ),
        (
            "autonomous agent without a role",
            bare().agent(),
            [none, none, ok, client, none],
        ),
        ("autonomous agent", app().agent(), [ok, ok, ok, client, ok]),
        (
            "agent for a user",
            user().agent(),
            [ok, client, ok, client, ok],
        ),
        (
            "agent's user",
            user().agent_user(),
            [ok, client, ok, client, ok],
        ),
        (
            "guest",
            user().guest(),
            [ok, client, ok, client, "guest_not_allowed"],
        ),
        (
            "guest by acct",
            user().claim("acct", 1),
            [ok, client, ok, client, "guest_not_allowed"],
        ),
        (
            "guest by relation",
            user().claim("xms_idrel", "1 5"),
            [ok, client, ok, client, "guest_not_allowed"],
        ),
        (
            "partner (GDAP)",
            user().claim("xms_idrel", "11"),
            [ok, client, ok, client, "guest_not_allowed"],
        ),
        (
            "passed through",
            user().claim("xms_idrel", "15 1"),
            [ok, client, ok, client, "guest_not_allowed"],
        ),
        // The exemption is for applications: a claim that only users have rules it out.
        (
            "without object id, with a mark of a user",
            bare().without_service_principal().claim("acct", 0),
            [none, none, none, client, none],
        ),
        (
            "without object id, related as a member",
            bare().without_service_principal().claim("xms_idrel", "1"),
            [none, none, none, client, none],
        ),
        (
            "without object id, with blank marks of a user",
            bare()
                .without_service_principal()
                .claim("acrs", json!(["", " "]))
                .claim("xms_idrel", " "),
            [none, none, ok, client, none],
        ),
        (
            "without object id, with an authentication context",
            bare()
                .without_service_principal()
                .claim("acrs", json!(["c1"])),
            [none, none, none, client, none],
        ),
        (
            "without object id, related as an application",
            bare().without_service_principal().claim("xms_idrel", "13"),
            [none, none, ok, client, none],
        ),
        (
            "member who is authenticated elsewhere",
            user().guest().claim("acct", 0),
            [ok, client, ok, client, ok],
        ),
        (
            "personal account as a guest",
            user().claim("idp", "live.com"),
            [ok, client, ok, client, "guest_not_allowed"],
        ),
        ("v1 application, whose idp is its own tenant", app().v1(), {
            let v1 = "v1_token";
            [v1, v1, v1, v1, v1]
        }),
        (
            "bound to a key",
            user().proof_of_possession(),
            ["proof_of_possession"; 5],
        ),
        (
            "id token",
            tenant.id_token("ada").for_api(API),
            ["id_token"; 5],
        ),
        ("for Graph", tenant.graph_token("ada"), ["graph_token"; 5]),
        (
            "personal account",
            tenant.personal("ada").for_api(API),
            ["personal_account"; 5],
        ),
        (
            "B2C",
            tenant.b2c_token("ada", B2cPolicy::Default).for_api(API),
            ["wrong_issuer"; 5],
        ),
        (
            "B2C with tid",
            tenant
                .b2c_token("ada", B2cPolicy::Tfp)
                .for_api(API)
                .claim("tid", tenant.id()),
            ["wrong_issuer"; 5],
        ),
    ];
    for (name, token, codes) in table {
        let token = token.mint();
        for ((rule, set), expected) in rules.iter().zip(codes) {
            let home: TenantId = tenant.id().parse().unwrap();
            let validator = set(Validator::entra(home, API.parse().unwrap()));
            let validator = validator.build().unwrap();
            let found = judge(&validator, &keys, &tenant, &token);
            assert_eq!(found, expected, "{name}, {rule}");
        }
    }
}
