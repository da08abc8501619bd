//! One token before one validator: every way to judge it comes to the same.

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

/// The validators that accept the token, each with what it made of it.
///
/// # Panics
/// If a rule is broken that holds for every token.
pub fn examine(token: &str) -> impl Iterator<Item = (&'static Case, AccessToken)> {
    // What cannot be read meets no rule: one validator stands for all.
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

/// The codes of who is not admitted.
const ADMISSION: [&str; 5] = [
    "tenant_not_allowed",
    "personal_account",
    "client_not_allowed",
    "guest_not_allowed",
    "agent_not_allowed",
];

/// What is refused without a key is refused with each.
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
        // Looked at when the signature holds, and explained at once.
        (Ok(()), Verdict::InvalidToken(found)) if ADMISSION.contains(&found.code()) => {}
        (prechecked, verdict) => {
            panic!(
                "{}: {prechecked:?} before any key, explained as {verdict:?}",
                case.name
            )
        }
    }
}

/// `explain` and `validate` with `default_permission` say the same.
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

/// `explain` with a requirement says what the validator and the requirement say.
///
/// # Panics
/// If it does not.
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

/// A report in which every text is fit to be read, and that begins with the form.
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
