//! Every check run to its end: for people who look for the reason.

use std::borrow::Cow;
use std::time::SystemTime;

use super::words::{found, permissions_of, times_of};
use super::{Check, CheckContext, CheckName, Rules, checks};
use crate::keys::KeySet;
use crate::refusal::{InvalidToken, Lack, PermissionDenied, Setting, TokenFault};
use crate::require::Requirement;
use crate::token::{Claims, Unverified};

/// The result of each check of a token, by [`Validator::explain`](crate::Validator::explain).
///
/// Made for whoever holds the token: it quotes claims, though none about a person. What is quoted
/// comes from outside; display it through [`Escaped`](crate::integration::Escaped).
#[derive(Clone, Debug)]
pub struct Report {
    findings: Vec<Finding>,
}

/// The options to explain a token with; begin with [`ExplainOptions::at`].
#[derive(Clone, Debug)]
#[must_use = "give it to Validator::explain"]
pub struct ExplainOptions<'a> {
    now: SystemTime,
    keys: Option<&'a KeySet>,
    requirement: Option<&'a Requirement>,
    max_length: usize,
    setting: fn(Setting) -> &'static str,
}

impl<'a> ExplainOptions<'a> {
    /// Explains as of this moment; without keys, so that the signature is not checked, and without
    /// a requirement.
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

    /// Sets another limit than [`Unverified::DEFAULT_MAX_LENGTH`], in bytes.
    pub fn max_length(mut self, bytes: usize) -> Self {
        self.max_length = bytes;
        self
    }

    /// Sets other names for the settings in the remedies than [`Setting::name`].
    pub fn setting_names(mut self, setting: fn(Setting) -> &'static str) -> Self {
        self.setting = setting;
        self
    }
}

/// One check and what became of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// The check.
    pub check: CheckName,
    /// The result of the check.
    pub outcome: Outcome,
    /// The token's value in the place that was checked.
    pub found: Option<String>,
    /// The value that would have passed there, if it failed.
    pub expected: Option<String>,
    remedy: Option<Cow<'static, str>>,
    /// The API's, if it failed for want of a permission.
    app_id_uri: Option<Box<str>>,
}

/// The result of a check.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// The token is good in this respect.
    Passed,
    /// The token is not valid.
    InvalidToken(InvalidToken),
    /// The token permits too little.
    PermissionDenied(PermissionDenied),
    /// An earlier failure leaves nothing to look at.
    NotReached,
    /// There are no keys to check with.
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
    /// The token is valid, but does not permit what was asked: 403.
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

    /// Nothing can be looked at but the form.
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

    /// Each check in its order.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Returns the finding of one check. The requirement's is there only if there was one.
    #[must_use]
    pub fn finding(&self, check: CheckName) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.check == check)
    }

    /// Returns what follows: the first failure, in the order of the checks. Where the key is unknown,
    /// a failure of the claims comes before that, and who is admitted is no reason, as with
    /// [`Validator::verify`](crate::Validator::verify).
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

    /// Returns the failure that the [verdict](Self::verdict) is, if a check failed. The other failures
    /// may be its consequences: their remedies may be of no use.
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
    /// Returns what to change, and where, if it failed: with the names for the settings that the report
    /// was [asked for](ExplainOptions::setting_names) with.
    #[must_use]
    pub fn remedy(&self) -> Option<&str> {
        self.remedy.as_deref()
    }

    /// Returns the same, with other names for the settings.
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

    /// The machine code of the refusal, if it failed.
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

    /// Returns the failure, with times as people say them.
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

/// A report in the making.
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
            // What there is to be checked, where it cannot be.
            found: (check == CheckName::Key).then(|| key_id.to_owned()),
            ..Finding::new(check, Outcome::NotChecked)
        }
    }

    /// The types of the claims do not matter in a token of somebody else: there the issuer's fault
    /// is the reason, which that check gives as its own.
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
                requirement.check_claims(&self.claims, self.context.token.payload_text()),
                requirement.to_string(),
            );
        }
    }
}
