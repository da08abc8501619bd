//! Tests that compare our validator with Microsoft's own, case by case, with a reason for each
//! difference.
//!
//! Microsoft's validator is `Microsoft.IdentityModel` with the defaults of
//! `Microsoft.Identity.Web`. Its decisions are taken from its tests and sources; these tests do not
//! run it. They run our validator. Each table is in the order of its source.

mod audience;
mod issuer;
mod key;
mod lookup;
#[path = "../support/mod.rs"]
mod support;
mod template;
mod token;

use std::collections::HashSet;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use entra_dev_tenant::{DevCloud, DevTenant, TokenBuilder};
use entra_jwt_core::{KeySet, TenantId, Validator, ValidatorBuilder};
use serde_json::Value;

use crate::support::{API, start, tenant};

/// A case with both decisions.
struct Row {
    case: &'static str,
    microsoft: Microsoft,
    /// [`ACCEPTED`], or the code of our refusal.
    ours: &'static str,
    /// Reason for a difference; empty if there is none.
    reason: &'static str,
    outcome: fn() -> &'static str,
}

/// The decision of Microsoft's validator.
#[derive(Clone, Copy)]
enum Microsoft {
    Accepts,
    /// Refused with this error or for this reason.
    Refuses(&'static str),
}
use Microsoft::{Accepts, Refuses};

const ACCEPTED: &str = "accepted";

/// Outcome of a case that cannot be configured, so that nothing is refused at run time.
const NO_SUCH_SETTING: &str = "no such setting";

/// Outcome of a case in which a document is refused instead of a token.
const FOREIGN_DOCUMENT: &str = "foreign document";

impl Row {
    const fn same(
        case: &'static str,
        microsoft: Microsoft,
        ours: &'static str,
        outcome: fn() -> &'static str,
    ) -> Self {
        Self {
            case,
            microsoft,
            ours,
            reason: "",
            outcome,
        }
    }

    const fn differs(
        case: &'static str,
        microsoft: Microsoft,
        ours: &'static str,
        reason: &'static str,
        outcome: fn() -> &'static str,
    ) -> Self {
        Self {
            case,
            microsoft,
            ours,
            reason,
            outcome,
        }
    }

    fn is_decided_alike(&self) -> bool {
        matches!(self.microsoft, Accepts) == (self.ours == ACCEPTED)
    }
}

/// A case without a counterpart here, which cannot be run: the case, Microsoft's behaviour, and the
/// reason why we have no counterpart.
type WithoutCounterpart = (&'static str, &'static str, &'static str);

const WITHOUT_COUNTERPART: [WithoutCounterpart; 6] = [
    (
        "null where an object is expected: authority, token, parameters",
        "argument error",
        "Rust has no null",
    ),
    (
        "tokens as JwtSecurityToken and as JsonWebToken",
        "the same for both",
        "there is one reader of tokens",
    ),
    (
        "validators are cached by authority, in the whole process",
        "the instance of the first caller is used by all",
        "a Validator is a value; nothing is global",
    ),
    (
        "validating delegates of the user",
        "called after the validator's own rules",
        "further rules belong after verification, to the Layer or the service",
    ),
    (
        "the network fails while metadata is fetched",
        "IDX40001 with the inner error",
        "the issuer needs no document; missing keys are 503, not a refusal of the token",
    ),
    (
        "ValidateActor, ValidateTokenReplay, ValidateIssuerSigningKey",
        "off",
        "actors are not nested in Entra's tokens; a bearer token is meant to be sent often; keys \
         are those that the issuer publishes now",
    ),
];

fn tables() -> [(&'static str, Vec<Row>); 8] {
    [
        (
            "issuers, as the tests of Microsoft's validator have them",
            issuer::tests(),
        ),
        ("issuers, as the algorithm goes", issuer::algorithm()),
        ("the issuer's template", template::tests()),
        ("the issuer of the key", key::issuer()),
        ("the cloud of the key", key::cloud()),
        (
            "the look-up of the key, and what comes before it",
            lookup::rows(),
        ),
        ("the audience", audience::rows()),
        ("the token as a whole", token::rows()),
    ]
}

fn check(table: Vec<Row>) {
    for row in table {
        assert_eq!((row.outcome)(), row.ours, "{}", row.case);
    }
}

#[test]
fn issuers_are_decided_as_by_the_tests_of_microsofts_validator() {
    check(issuer::tests());
}

#[test]
fn issuers_are_decided_as_by_microsofts_algorithm() {
    check(issuer::algorithm());
}

#[test]
fn templates_match_as_microsofts_do() {
    check(template::tests());
}

#[test]
fn a_key_signs_for_the_issuer_that_microsofts_validator_binds_it_to() {
    check(key::issuer());
}

#[test]
fn a_key_signs_for_the_cloud_that_microsofts_validator_can_bind_it_to() {
    check(key::cloud());
}

#[test]
fn keys_are_looked_up_and_times_compared_as_by_microsofts_validator() {
    check(lookup::rows());
}

#[test]
fn audiences_are_decided_as_by_microsofts_validator() {
    check(audience::rows());
}

#[test]
fn tokens_of_other_forms_and_kinds_are_not_accepted_because_microsofts_validator_accepts_them() {
    check(token::rows());
}

#[test]
fn every_difference_has_a_reason_and_nothing_else_has_one() {
    let mut cases = HashSet::new();
    for (table, rows) in tables() {
        assert!(!rows.is_empty(), "{table}");
        for row in rows {
            assert!(cases.insert(row.case), "twice: {}", row.case);
            // A reason may also explain two refusals with different causes.
            let needs_reason = !row.is_decided_alike();
            assert!(
                !needs_reason || !row.reason.is_empty(),
                "no reason: {}",
                row.case
            );
            let may_have_reason = needs_reason || matches!(row.microsoft, Refuses(_));
            assert!(
                may_have_reason || row.reason.is_empty(),
                "same: {}",
                row.case
            );
            if let Refuses(error) = row.microsoft {
                assert!(!error.is_empty(), "{}", row.case);
            }
        }
    }
    for (case, microsoft, reason) in WITHOUT_COUNTERPART {
        assert!(cases.insert(case) && !microsoft.is_empty() && !reason.is_empty());
    }
}

/// Checks the complete list of cases in which we accept a token that Microsoft's validator refuses.
#[test]
fn what_microsofts_validator_refuses_is_refused_but_for_these() {
    let laxer: Vec<&str> = tables()
        .into_iter()
        .flat_map(|(_, rows)| rows)
        .filter(|row| row.ours == ACCEPTED && !row.is_decided_alike())
        .map(|row| row.case)
        .collect();
    assert_eq!(
        laxer,
        [
            "the metadata is wrong, and the last good issuer is older than 24 hours",
            "unknown kid, another tenant: they are not",
            "the clock stands a fraction of a second after exp and skew",
            "v2 token for api://{client id}",
            "v1 token for {client id}",
            "token whose ver is 3.0",
            "token without ver",
            "the client id, where only another audience is configured",
        ]
    );
}

fn home() -> TenantId {
    tenant().id().parse().unwrap()
}

fn rules() -> ValidatorBuilder {
    Validator::entra(home(), API.parse().unwrap())
}

fn user() -> TokenBuilder<'static> {
    tenant().user("ada").scope("Reports.Read").for_api(API)
}

/// Returns the outcome with every key that Entra publishes.
fn by(rules: ValidatorBuilder, token: TokenBuilder<'_>) -> &'static str {
    verdict(rules, &keys(), &token.mint(), now())
}

/// Returns the outcome after a change to the tenant's own key.
fn with_key(
    rules: ValidatorBuilder,
    change: fn(&mut Value),
    token: TokenBuilder<'_>,
) -> &'static str {
    let mut document: Value =
        serde_json::from_str(&tenant().signing_keys().document_of("common")).unwrap();
    change(&mut document["keys"][0]);
    let keys = KeySet::from_jwks(document.to_string().as_bytes()).unwrap();
    verdict(rules, &keys, &token.mint(), now())
}

/// Validates the token as a service does, and returns [`ACCEPTED`] or the code of the refusal or
/// denial.
fn verdict(rules: ValidatorBuilder, keys: &KeySet, token: &str, now: SystemTime) -> &'static str {
    let validator = rules.build().unwrap();
    match validator.validate(token, keys, now) {
        Err(rejection) => rejection.code(),
        Ok(token) => match validator.default_permission(&token) {
            Err(denied) => denied.code(),
            Ok(()) => ACCEPTED,
        },
    }
}

fn keys() -> KeySet {
    KeySet::from_jwks(tenant().signing_keys().document_of("common").as_bytes()).unwrap()
}

fn now() -> SystemTime {
    tenant().clock()()
}

fn at(seconds: f64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds)
}

fn us_government() -> &'static DevTenant {
    static TENANT: OnceLock<DevTenant> = OnceLock::new();
    TENANT.get_or_init(|| start(DevTenant::builder().cloud(DevCloud::UsGovernment)))
}

fn external_id() -> &'static DevTenant {
    static TENANT: OnceLock<DevTenant> = OnceLock::new();
    TENANT.get_or_init(|| start(DevTenant::builder().external_id()))
}
