//! The report for programs.

use std::borrow::Cow;

use entra_jwt_core::{Finding, Outcome, Report, Verdict};
use serde::Serialize;

/// The members, and the words in `verdict`, `code`, `check` and `outcome`, are stable.
#[derive(Serialize)]
struct Explanation<'a> {
    verdict: &'static str,
    code: Option<&'static str>,
    /// The HTTP status that a service answers with.
    status: Option<u16>,
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
    remedy: Option<Cow<'static, str>>,
}

/// One JSON object, in lines.
pub(crate) fn of(report: &Report) -> Result<String, serde_json::Error> {
    let (verdict, code, status) = match report.verdict() {
        Verdict::Accepted => ("accepted", None, Some(200)),
        Verdict::Rejected(rejection) => ("rejected", Some(rejection.code()), Some(401)),
        Verdict::Denied(denied) => ("denied", Some(denied.code()), Some(403)),
        _ => ("not_verified", None, None),
    };
    let explanation = Explanation {
        verdict,
        code,
        status,
        checks: report.findings().iter().map(check).collect(),
    };
    Ok(serde_json::to_string_pretty(&explanation)? + "\n")
}

fn check(finding: &Finding) -> Check<'_> {
    let (outcome, reason) = match &finding.outcome {
        Outcome::Passed => ("pass", None),
        Outcome::Rejected(rejection) => ("fail", Some(rejection.to_string())),
        Outcome::Denied(denied) => ("fail", Some(denied.to_string())),
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
        remedy: finding.remedy(),
    }
}
