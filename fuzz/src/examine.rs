//! Runs one token through one validator, and checks that all ways to validate the token agree.

use entra_jwt_core::{
    AccessToken, InvalidToken, KeySet,
    explain::{CheckName, ExplainOptions, Outcome, Report, Verdict},
    require::Requirement,
    token::Unverified,
};

use crate::cases::{CASES, Case};
use crate::memory::Bound;
use crate::now;
use crate::text::{check_debug, check_denied, check_rejection, check_short};

/// Returns the validators that accept the token, each with the accepted token.
///
/// # Panics
/// If the token breaks a rule that holds for every token.
pub fn examine(token: &str) -> impl Iterator<Item = (&'static Case, AccessToken)> {
    // An unreadable token is refused before any validator's rules apply, so one validator is
    // enough.
    let is_readable = Bound::TOKEN
        .on(token.len(), || Unverified::parse(token))
        .is_ok();
    let cases = CASES.iter().take(if is_readable { CASES.len() } else { 1 });
    cases.filter_map(move |case| Some((case, examine_by(case, token)?)))
}

fn examine_by(case: &Case, token: &str) -> Option<AccessToken> {
    before_keys(case, token);
    let accepted = judged(case, token, &case.keys).ok()?;
    let foreign = judged(case, token, &case.foreign_keys);
    assert!(
        foreign.is_err(),
        "{}: signed by a key of somebody else",
        case.name
    );
    Some(accepted)
}

/// Codes of refusals because a tenant, client or user is not admitted.
const ADMISSION: [&str; 5] = [
    "tenant_not_allowed",
    "personal_account",
    "client_not_allowed",
    "guest_not_allowed",
    "agent_not_allowed",
];

/// Checks that a token refused without a key is also refused by `explain`, with the same error.
fn before_keys(case: &Case, token: &str) {
    let unverified = Bound::TOKEN.on(token.len(), || Unverified::parse(token));
    let prechecked = unverified.and_then(|unverified| {
        check_debug(&unverified);
        check_debug(&unverified.key_ref());
        let outcome = case.validator.precheck(&unverified, now());
        assert!(outcome.is_err() || case.validator.matches_issuer(&unverified));
        outcome
    });
    let report = Bound::TOKEN.on(token.len(), || {
        case.validator.explain(token, &ExplainOptions::at(now()))
    });
    match (prechecked, report.verdict()) {
        (Err(expected), Verdict::InvalidToken(found)) => assert_eq!(*found, expected),
        (Ok(()), Verdict::NotVerified | Verdict::PermissionDenied(_)) => {}
        // `validate` checks admission only after the signature, but `explain` reports it without
        // keys.
        (Ok(()), Verdict::InvalidToken(found)) if ADMISSION.contains(&found.code()) => {}
        (prechecked, verdict) => {
            panic!(
                "{}: {prechecked:?} before any key, explained as {verdict:?}",
                case.name
            )
        }
    }
}

/// Checks that `explain` agrees with `validate` and `default_permission`, and returns the result.
fn judged(case: &Case, token: &str, keys: &KeySet) -> Result<AccessToken, InvalidToken> {
    let validated = Bound::TOKEN.on(token.len(), || case.validator.validate(token, keys, now()));
    let report = explained(
        case,
        token,
        ExplainOptions::at(now()).keys(keys),
        Bound::TOKEN,
    );
    let permitted = validated
        .as_ref()
        .map(|token| case.validator.default_permission(token));
    match (permitted, report.verdict()) {
        (Err(expected), Verdict::InvalidToken(found)) => assert_eq!(found, expected),
        (Ok(Err(expected)), Verdict::PermissionDenied(found)) => assert_eq!(*found, expected),
        (Ok(Ok(())), Verdict::Accepted) => {}
        (permitted, verdict) => {
            panic!("{}: {permitted:?}, explained as {verdict:?}", case.name)
        }
    }
    if let Err(rejection) = &validated {
        check_rejection(rejection);
    }
    validated
}

/// Checks that `explain` with a requirement agrees with the validator and the requirement.
///
/// # Panics
/// If the results differ.
pub fn with_requirement(
    case: &Case,
    token: &str,
    accepted: &AccessToken,
    requirement: &Requirement,
) {
    let explain = ExplainOptions::at(now())
        .keys(&case.keys)
        .requirement(requirement);
    let report = explained(case, token, explain, Bound::REQUIREMENT);
    let expected = case
        .validator
        .default_permission(accepted)
        .and_then(|()| requirement.check(accepted));
    match (expected, report.verdict()) {
        (Err(expected), Verdict::PermissionDenied(found)) => assert_eq!(*found, expected),
        (Ok(()), Verdict::Accepted) => {}
        (expected, verdict) => panic!("{requirement}: {expected:?}, explained as {verdict:?}"),
    }
}

/// Explains the token, and checks that all texts of the report are safe to show and that the first
/// finding is about the form.
fn explained(case: &Case, token: &str, with: ExplainOptions<'_>, bound: Bound) -> Report {
    let report = bound.on(token.len(), || case.validator.explain(token, &with));
    let first = report.findings().first().map(|finding| finding.check);
    assert_eq!(first, Some(CheckName::Form));
    for finding in report.findings() {
        match &finding.outcome {
            Outcome::InvalidToken(rejection) => check_rejection(rejection),
            Outcome::PermissionDenied(denied) => check_denied(denied),
            _ => assert_eq!(finding.expected, None),
        }
        finding.remedy().iter().for_each(check_short);
    }
    report
}
