//! The report on a token: the result of every check, for people who look for the cause of a
//! refusal.

use std::borrow::Cow;
use std::time::SystemTime;

use super::words::{found, permissions_of, times_of};
use super::{Check, CheckContext, CheckName, Rules, checks};
use crate::keys::KeySet;
use crate::refusal::{InvalidToken, Lack, PermissionDenied, Setting, TokenFault};
use crate::require::Requirement;
use crate::token::{Claims, Unverified};

/// The results of all checks of a token, made by [`Validator::explain`](crate::Validator::explain).
///
/// A report is meant for the holder of the token: it quotes claims, but none about a person. The
/// quoted values come from outside. Display them through [`Escaped`](crate::integration::Escaped).
#[derive(Clone, Debug)]
pub struct Report {
    findings: Vec<Finding>,
}

/// The options for explaining a token; begin with [`ExplainOptions::at`].
#[derive(Clone, Debug)]
#[must_use = "it has no effect until it is passed to Validator::explain"]
pub struct ExplainOptions<'a> {
    now: SystemTime,
    keys: Option<&'a KeySet>,
    requirement: Option<&'a Requirement>,
    max_length: usize,
    setting: fn(Setting) -> &'static str,
}

impl<'a> ExplainOptions<'a> {
    /// Creates options for an explanation as of `now`, without keys and without a requirement.
    ///
    /// Without keys, the signature is not checked.
    pub fn at(now: SystemTime) -> Self {
        Self {
            now,
            keys: None,
            requirement: None,
            max_length: Unverified::DEFAULT_MAX_LENGTH,
            setting: Setting::name,
        }
    }

    /// Sets the keys of the issuer.
    pub fn keys(mut self, keys: &'a KeySet) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Sets the requirement of a route.
    pub fn requirement(mut self, requirement: &'a Requirement) -> Self {
        self.requirement = Some(requirement);
        self
    }

    /// Sets the maximum length of the token in bytes.
    ///
    /// Default: [`Unverified::DEFAULT_MAX_LENGTH`].
    pub fn max_length(mut self, bytes: usize) -> Self {
        self.max_length = bytes;
        self
    }

    /// Sets how remedies name each setting, for programs with options of their own.
    ///
    /// Default: [`Setting::name`].
    pub fn setting_names(mut self, setting: fn(Setting) -> &'static str) -> Self {
        self.setting = setting;
        self
    }
}

/// A check and its result.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// The check.
    pub check: CheckName,
    /// The result of the check.
    pub outcome: Outcome,
    /// The token's value that was checked.
    pub found: Option<String>,
    /// The value that would have passed; `None` if the check did not fail.
    pub expected: Option<String>,
    remedy: Option<Cow<'static, str>>,
    /// The API's Application ID URI, if the check failed because a permission is missing.
    app_id_uri: Option<Box<str>>,
}

/// The result of a check.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// The token passed the check.
    Passed,
    /// The token is not valid.
    InvalidToken(InvalidToken),
    /// The token lacks a permission.
    PermissionDenied(PermissionDenied),
    /// The check had nothing to look at, because an earlier check failed.
    NotReached,
    /// The check needs keys, and there are none.
    NotChecked,
}

/// The conclusion from a report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Verdict<'a> {
    /// Every check passed.
    Accepted,
    /// The token is not valid, for this reason: 401.
    InvalidToken(&'a InvalidToken),
    /// The token is valid, but does not permit the request: 403.
    PermissionDenied(&'a PermissionDenied),
    /// No check failed, but the signature was not checked: the token may be forged.
    NotVerified,
}

impl Report {
    pub(super) fn new(rules: &Rules, token: &str, with: &ExplainOptions<'_>) -> Self {
        let mut report = Self::without_remedies(rules, token, with);
        for finding in &mut report.findings {
            finding.remedy = finding.remedy_with(with.setting);
        }
        report
    }

    fn without_remedies(rules: &Rules, token: &str, with: &ExplainOptions<'_>) -> Self {
        match Unverified::parse_up_to(token, with.max_length) {
            Ok(unverified) => {
                let key_id = unverified.key_ref().key_id;
                let key = with.keys.and_then(|keys| keys.key(key_id));
                Examination {
                    claims: unverified.own_claims(rules.profile.is_reissued()),
                    context: CheckContext::new(rules, &unverified, key, with.now),
                    has_keys: with.keys.is_some(),
                    findings: vec![Finding::passed(
                        CheckName::Form,
                        Some(format!("{} bytes", token.len())),
                    )],
                }
                .finish(with.requirement)
            }
            Err(rejection) => Self::of_unreadable(rejection, with.requirement.is_some()),
        }
    }

    /// Returns the report on a text that cannot be parsed: only its form can be checked.
    fn of_unreadable(rejection: InvalidToken, has_requirement: bool) -> Self {
        let mut findings = vec![Finding::rejected(CheckName::Form, rejection)];
        let names = checks::ALL
            .iter()
            .flat_map(|checks| checks.iter())
            .map(|check| check.name);
        let last = [
            Some(CheckName::Permission),
            has_requirement.then_some(CheckName::Requirement),
        ];
        let last = last.into_iter().flatten();
        findings.extend(names.chain(last).map(Finding::not_reached));
        Self { findings }
    }

    /// Returns the findings, in the order of the checks.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Returns the finding of one check.
    ///
    /// The finding of the requirement exists only if a requirement was set.
    #[must_use]
    pub fn finding(&self, check: CheckName) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.check == check)
    }

    /// Returns the conclusion: the first failure, in the order of the checks.
    ///
    /// If the key is unknown, a failure of the claims takes precedence over the key's, and failures
    /// of admission do not count, as in [`Validator::verify`](crate::Validator::verify).
    #[must_use]
    pub fn verdict(&self) -> Verdict<'_> {
        let is_passed = |finding: &Finding| finding.outcome == Outcome::Passed;
        match self.cause().map(|cause| &cause.outcome) {
            Some(Outcome::InvalidToken(rejection)) => Verdict::InvalidToken(rejection),
            Some(Outcome::PermissionDenied(denied)) => Verdict::PermissionDenied(denied),
            _ if self.findings.iter().all(is_passed) => Verdict::Accepted,
            _ => Verdict::NotVerified,
        }
    }

    /// Returns the failure that decides the [verdict](Self::verdict), or `None` if no check failed.
    ///
    /// Other failures may be consequences of this one, so that their remedies do not help.
    #[must_use]
    pub fn cause(&self) -> Option<&Finding> {
        let mut failures = self.findings.iter().filter(|finding| finding.is_failure());
        let first = failures.next()?;
        let of_claims = (first.check == CheckName::Key)
            .then(|| failures.find(|finding| finding.is_among(&checks::CLAIMS)));
        Some(of_claims.flatten().unwrap_or(first))
    }
}

impl Finding {
    /// Returns the remedy if the check failed: what to change, and where.
    ///
    /// The settings have the names from [`ExplainOptions::setting_names`].
    #[must_use]
    pub fn remedy(&self) -> Option<&str> {
        self.remedy.as_deref()
    }

    /// Returns the remedy, with the given names for the settings.
    #[must_use]
    pub fn remedy_with(&self, setting: fn(Setting) -> &'static str) -> Option<Cow<'static, str>> {
        match &self.outcome {
            Outcome::InvalidToken(rejection) => Some(rejection.remedy_with(setting)),
            Outcome::PermissionDenied(denied) => {
                let app_id_uri = self.app_id_uri.as_deref().unwrap_or_default();
                Some(denied.remedy_with(setting, app_id_uri))
            }
            Outcome::Passed | Outcome::NotReached | Outcome::NotChecked => None,
        }
    }

    /// Returns the code of the refusal, if the check failed.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        match &self.outcome {
            Outcome::InvalidToken(rejection) => Some(rejection.code()),
            Outcome::PermissionDenied(denied) => Some(denied.code()),
            Outcome::Passed | Outcome::NotReached | Outcome::NotChecked => None,
        }
    }

    fn is_failure(&self) -> bool {
        matches!(
            self.outcome,
            Outcome::InvalidToken(_) | Outcome::PermissionDenied(_)
        )
    }

    fn is_among(&self, checks: &[Check]) -> bool {
        checks.iter().any(|check| check.name == self.check)
    }

    fn new(check: CheckName, outcome: Outcome) -> Self {
        Self {
            check,
            outcome,
            found: None,
            expected: None,
            remedy: None,
            app_id_uri: None,
        }
    }

    fn passed(check: CheckName, found: Option<String>) -> Self {
        Self {
            found,
            ..Self::new(check, Outcome::Passed)
        }
    }

    fn rejected(check: CheckName, rejection: InvalidToken) -> Self {
        let owned = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
        Self {
            found: owned(rejection.found()),
            expected: owned(rejection.expected()),
            ..Self::new(check, Outcome::InvalidToken(rejection))
        }
    }

    /// Returns the finding of a failed check, with times that people can read easily.
    fn of_fault(check: CheckName, fault: TokenFault) -> Self {
        let times = times_of(&fault);
        let finding = Self::rejected(check, fault.into());
        match times {
            Some((found, expected)) => Self {
                found: Some(found),
                expected: Some(expected),
                ..finding
            },
            None => finding,
        }
    }

    fn denied(
        check: CheckName,
        denied: PermissionDenied,
        expected: String,
        app_id_uri: &str,
    ) -> Self {
        Self {
            found: denied.found().map(Cow::into_owned),
            expected: Some(expected),
            app_id_uri: Some(app_id_uri.into()),
            ..Self::new(check, Outcome::PermissionDenied(denied))
        }
    }

    fn not_reached(check: CheckName) -> Self {
        Self::new(check, Outcome::NotReached)
    }
}

/// A report that is being made.
struct Examination<'a> {
    context: CheckContext<'a>,
    claims: Claims,
    has_keys: bool,
    findings: Vec<Finding>,
}

impl Examination<'_> {
    fn finish(mut self, requirement: Option<&Requirement>) -> Report {
        for check in checks::ALL.iter().flat_map(|checks| checks.iter()) {
            let finding = self.examine(check);
            self.findings.push(finding);
        }
        self.fault_of_the_issuer_comes_first();
        self.permission(requirement);
        Report {
            findings: self.findings,
        }
    }

    fn examine(&self, check: &Check) -> Finding {
        let is_of_the_key = matches!(check.name, CheckName::Key | CheckName::Signature);
        if is_of_the_key && !self.has_keys {
            return self.not_checked(check.name);
        }
        let lacks = |need: &CheckName, outcome: fn(&Outcome) -> bool| {
            let found = self.findings.iter().find(|finding| finding.check == *need);
            found.is_some_and(|finding| outcome(&finding.outcome))
        };
        let failed = |outcome: &Outcome| !matches!(outcome, Outcome::Passed | Outcome::NotChecked);
        if check.needs.iter().any(|need| lacks(need, failed)) {
            return Finding::not_reached(check.name);
        }
        let unchecked = |outcome: &Outcome| *outcome == Outcome::NotChecked;
        if check.needs.iter().any(|need| lacks(need, unchecked)) {
            return self.not_checked(check.name);
        }
        match (check.run)(&self.context) {
            Ok(()) => Finding::passed(check.name, found(check.name, &self.context, &self.claims)),
            Err(fault) => Finding::of_fault(check.name, fault),
        }
    }

    fn not_checked(&self, check: CheckName) -> Finding {
        let key_id = self.context.token.key_id().as_str();
        Finding {
            // The key id, which could not be checked.
            found: (check == CheckName::Key).then(|| key_id.to_owned()),
            ..Finding::new(check, Outcome::NotChecked)
        }
    }

    /// Marks the check of the claims' types as not reached, if it returned the issuer's fault as
    /// its own.
    ///
    /// In a token of another issuer the types of the claims do not matter: the issuer's fault is
    /// the cause.
    fn fault_of_the_issuer_comes_first(&mut self) {
        let outcome_of = |name| {
            let finding = self.findings.iter().find(|finding| finding.check == name);
            finding.map(|finding| &finding.outcome)
        };
        if matches!(
            outcome_of(CheckName::Issuer),
            Some(Outcome::InvalidToken(_))
        ) && outcome_of(CheckName::Issuer) == outcome_of(CheckName::Claims)
        {
            for finding in &mut self.findings {
                if finding.check == CheckName::Claims {
                    *finding = Finding::not_reached(CheckName::Claims);
                }
            }
        }
    }

    fn permission(&mut self, requirement: Option<&Requirement>) {
        let can_be_read = self.context.token.type_error.is_none();
        let app_id_uri = self.context.rules.audiences.app_id_uri();
        let mut judge = |check, judgement: Result<(), Lack>, expected: String| {
            self.findings.push(match judgement {
                _ if !can_be_read => Finding::not_reached(check),
                Ok(()) => Finding::passed(check, permissions_of(&self.claims)),
                Err(denied) => Finding::denied(check, denied.into(), expected, &app_id_uri),
            });
        };
        judge(
            CheckName::Permission,
            self.context.rules.default_permission(&self.claims),
            "a scope or a role".to_owned(),
        );
        if let Some(requirement) = requirement {
            judge(
                CheckName::Requirement,
                requirement.check_claims(
                    &self.claims,
                    self.context.token.payload_text(),
                    self.context.rules.profile.is_reissued(),
                ),
                requirement.to_string(),
            );
        }
    }
}
