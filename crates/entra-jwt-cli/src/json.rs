//! The report for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use entra_jwt_core::explain::{Finding, Outcome, Report, Verdict};
use serde::Serialize;

use crate::claims::Fact;

/// The members, and the words in `verdict`, `code`, `check` and `outcome`, are stable.
#[derive(Serialize)]
struct Explanation<'a> {
    verdict: &'static str,
    code: Option<&'static str>,
    /// The HTTP status that a service answers with.
    status: Option<u16>,
    /// The remedy of the failure that the verdict is; that of another may be of no use.
    remedy: Option<&'a str>,
    /// Notes on the way from the text that was read to the token.
    notes: &'a [&'static str],
    /// The facts that the token states of itself.
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

/// One JSON object, in lines, in ASCII: what a token says may hold characters that would steer a
/// terminal.
pub(crate) fn of(
    report: &Report,
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
        remedy: report.cause().and_then(Finding::remedy),
        notes,
        token: facts.iter().map(|fact| (fact.name, &*fact.value)).collect(),
        checks: report.findings().iter().map(check).collect(),
    };
    Ok(in_ascii(&serde_json::to_string_pretty(&explanation)?) + "\n")
}

/// The same JSON: outside ASCII there is nothing but the content of strings, where each character
/// may be written by its number (RFC 8259 §7).
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
