//! The report for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use entra_jwt_core::explain::{Finding, Outcome, Report, Verdict};
use serde::Serialize;

use crate::claims::Fact;

/// The JSON report. Its members, and the values of `verdict`, `code`, `check` and `outcome`, are
/// stable.
#[derive(Serialize)]
struct Explanation<'a> {
    verdict: &'static str,
    code: Option<&'static str>,
    /// The HTTP status with which a service responds.
    status: Option<u16>,
    /// The remedy for the failure that decides the verdict. The remedy for another failure may be
    /// of no use.
    remedy: Option<&'a str>,
    /// Notes on how the token was found in the input.
    notes: &'a [&'static str],
    /// The facts that the token states about itself.
    token: BTreeMap<&'static str, &'a str>,
    checks: Vec<Check<'a>>,
}

#[derive(Serialize)]
struct Check<'a> {
    check: &'static str,
    outcome: &'static str,
    code: Option<&'static str>,
    reason: Option<String>,
    found: Option<&'a str>,
    expected: Option<&'a str>,
}

/// Returns the report as an indented JSON object in ASCII. Other characters in a token could
/// control a terminal.
pub(crate) fn of(
    report: &Report,
    fix: Option<&str>,
    facts: &[Fact],
    notes: &[&'static str],
) -> Result<String, serde_json::Error> {
    let (verdict, code, status) = match report.verdict() {
        Verdict::Accepted => ("accepted", None, Some(200)),
        Verdict::InvalidToken(rejection) => ("rejected", Some(rejection.code()), Some(401)),
        Verdict::PermissionDenied(denied) => ("denied", Some(denied.code()), Some(403)),
        _ => ("not_verified", None, None),
    };
    let explanation = Explanation {
        verdict,
        code,
        status,
        remedy: fix,
        notes,
        token: facts.iter().map(|fact| (fact.name, &*fact.value)).collect(),
        checks: report.findings().iter().map(check).collect(),
    };
    Ok(in_ascii(&serde_json::to_string_pretty(&explanation)?) + "\n")
}

/// Returns the same JSON in ASCII. Other characters occur only in strings, where an escape by
/// number may replace each of them (RFC 8259 §7).
fn in_ascii(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for character in json.chars() {
        if matches!(character, '\n' | ' '..='~') {
            ascii.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(ascii, "\\u{unit:04x}");
            }
        }
    }
    ascii
}

fn check(finding: &Finding) -> Check<'_> {
    let (outcome, reason) = match &finding.outcome {
        Outcome::Passed => ("pass", None),
        Outcome::InvalidToken(rejection) => ("fail", Some(rejection.to_string())),
        Outcome::PermissionDenied(denied) => ("fail", Some(denied.to_string())),
        Outcome::NotReached => ("not_reached", None),
        _ => ("not_checked", None),
    };
    Check {
        check: finding.check.name(),
        outcome,
        code: finding.code(),
        reason,
        found: finding.found.as_deref(),
        expected: finding.expected.as_deref(),
    }
}
