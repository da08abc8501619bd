//! The facts that a token states about itself, for people. They decide nothing, and they may be
//! false. The [fix](fix()) for a refusal also depends on them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entra_jwt_core::{
    explain::{CheckName, Finding, Outcome, Report},
    integration::Escaped,
    refusal::InvalidTokenKind,
};
use serde_json::Value;

/// A fact that a token states about itself.
pub(crate) struct Fact {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    /// The report's remark on the fact, for people.
    pub(crate) remark: Option<&'static str>,
}

/// Returns the token's audience, caller, ids and lifetime, or nothing if the token cannot be read.
/// With `shows_names`, also the names of user and application.
pub(crate) fn facts(report: &Report, token: &str, shows_names: bool) -> Vec<Fact> {
    let form = report.finding(CheckName::Form);
    let is_readable = form.is_some_and(|form| form.outcome == Outcome::Passed);
    let Some(claims) = part_of(token, 1).filter(|_| is_readable) else {
        return Vec::new();
    };
    let text = |names: &[&str]| {
        let value = names.iter().find_map(|name| claims[*name].as_str());
        value.map(str::to_owned)
    };
    let found = |check| {
        report
            .finding(check)
            .and_then(|finding| finding.found.clone())
    };
    let kind = report.finding(CheckName::Kind);
    let caller = kind.and_then(caller_of);
    let is_agent = |caller: &String| caller.contains("agent");
    let facts = [
        ("audience", text(&["aud"]), remark_on_audience(report)),
        ("caller", caller.clone(), None),
        (
            "marked_by",
            caller.filter(is_agent).map(|_| marks_in(&claims)),
            None,
        ),
        ("client_id", text(&["azp", "appid"]), None),
        ("object_id", text(&["oid"]), None),
        ("tenant_id", text(&["tid"]), None),
        ("lifetime", found(CheckName::Lifetime), None),
    ];
    let names = [
        ("name", text(&["name"]), None),
        (
            "username",
            text(&["preferred_username", "upn", "unique_name", "email"]),
            None,
        ),
        ("app_name", text(&["app_displayname"]), None),
    ];
    let shown = facts
        .into_iter()
        .chain(names.into_iter().filter(|_| shows_names));
    let fact = |(name, value, remark)| {
        Some(Fact {
            name,
            value: value?,
            remark,
        })
    };
    shown.filter_map(fact).collect()
}

/// Returns the fix for the failure that decides the verdict, or `None` if no check failed.
///
/// It is the remedy of the check, except for a token that `entra-oauth-proxy` may have issued. The
/// service behind that server accepts such tokens, but this program does not have its keys.
pub(crate) fn fix(report: &Report, token: &str) -> Option<String> {
    let cause = report.cause()?;
    match reissuing_server(cause, token) {
        Some(server) => Some(format!(
            "the token is not of Entra itself, but of another authorization server ({}), such as \
             entra-oauth-proxy: this program cannot judge it; the reason is in the log of the \
             service that refused the token, in the line \"token refused\"",
            Escaped(&server)
        )),
        None => cause.remedy().map(str::to_owned),
    }
}

/// Returns the issuer of a token in the form of `entra-oauth-proxy` (RFC 9068, ES256), if its
/// algorithm is the cause of the refusal.
fn reissuing_server(cause: &Finding, token: &str) -> Option<String> {
    let Outcome::InvalidToken(rejection) = &cause.outcome else {
        return None;
    };
    let header = part_of(token, 0)?;
    let has = |name: &str, value: &str| {
        let found = header[name].as_str();
        found.is_some_and(|found| found.eq_ignore_ascii_case(value))
    };
    let is_reissued = rejection.kind() == InvalidTokenKind::WrongAlgorithm
        && has("alg", "ES256")
        && has("typ", "at+jwt");
    let issuer = part_of(token, 1)?["iss"].as_str()?.to_owned();
    is_reissued.then_some(issuer)
}

/// Returns the header (0) or the claims (1) of a token in the compact form.
fn part_of(token: &str, index: usize) -> Option<Value> {
    let part = URL_SAFE_NO_PAD.decode(token.split('.').nth(index)?).ok()?;
    serde_json::from_slice(&part).ok()
}

/// Returns the kind of caller, or a remark that the token is no access token.
fn caller_of(kind: &Finding) -> Option<String> {
    match (&kind.outcome, &kind.found) {
        (Outcome::Passed, Some(found)) => {
            let caller = found.strip_prefix("access token of ");
            Some(caller.unwrap_or(found).to_owned())
        }
        (Outcome::InvalidToken(_), _) => Some("none (not an access token)".to_owned()),
        _ => None,
    }
}

fn remark_on_audience(report: &Report) -> Option<&'static str> {
    let audience = report.finding(CheckName::Audience)?;
    match (&audience.outcome, audience.code()) {
        (Outcome::Passed, _) => Some("this API"),
        (_, Some("graph_token")) => Some("Microsoft Graph"),
        (_, Some("microsoft_api_token")) => Some("an API of Microsoft"),
        (_, Some("wrong_audience")) => Some("another API"),
        _ => None,
    }
}

/// Returns those claims of the token by which Entra marks the tokens of agents.
fn marks_in(claims: &Value) -> String {
    let marks = ["xms_par_app_azp", "xms_act_fct", "xms_sub_fct"];
    let marks = marks.iter().filter_map(|name| {
        let value = claims[*name].as_str()?;
        Some(format!("{name} \"{value}\""))
    });
    marks.collect::<Vec<_>>().join(", ")
}
