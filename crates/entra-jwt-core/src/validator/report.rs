//! Every check run to its end: for people who look for the reason.

mod found;

use std::borrow::Cow;
use std::time::SystemTime;

use super::checks::{self, Check, CheckName, Facts, Rules};
use crate::denied::Denied;
use crate::keys::KeySet;
use crate::rejection::Rejection;
use crate::requirement::{Payload, Permissions, Requirement};
use crate::token::Claims;
use crate::token::Unverified;

/// What became of each check of a token, by [`Validator::explain`](crate::Validator::explain).
///
/// Made for whoever holds the token: it quotes claims, though none about a person. What is quoted
/// comes from outside; display it through [`Shown`](crate::Shown).
#[derive(Clone, Debug)]
pub struct Report {
    findings: Vec<Finding>,
}

/// What to explain a token with: begin with [`Explain::at`].
#[derive(Clone, Debug)]
#[must_use = "give it to Validator::explain"]
pub struct Explain<'a> {
    now: SystemTime,
    keys: Option<&'a KeySet>,
    requirement: Option<&'a Requirement>,
    max_length: usize,
}

impl<'a> Explain<'a> {
    /// As of this moment; without keys, so that the signature is not checked, and without a
    /// requirement.
    pub fn at(now: SystemTime) -> Self {
        Self {
            now,
            keys: None,
            requirement: None,
            max_length: Unverified::DEFAULT_MAX_LENGTH,
        }
    }

    /// With the keys of the issuer.
    pub fn keys(mut self, keys: &'a KeySet) -> Self {
        self.keys = Some(keys);
        self
    }

    /// With the requirement of a route.
    pub fn requirement(mut self, requirement: &'a Requirement) -> Self {
        self.requirement = Some(requirement);
        self
    }

    /// With another limit than [`Unverified::DEFAULT_MAX_LENGTH`], in bytes.
    pub fn max_length(mut self, bytes: usize) -> Self {
        self.max_length = bytes;
        self
    }
}

/// One check and what became of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// The check.
    pub check: CheckName,
    /// What became of it.
    pub outcome: Outcome,
    /// What the token has in the place that was checked.
    pub found: Option<String>,
    /// What would have passed there, if it failed.
    pub expected: Option<String>,
    remedy: Option<Cow<'static, str>>,
}

/// What became of a check.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// The token is good in this respect.
    Passed,
    /// The token is not valid.
    Rejected(Rejection),
    /// The token permits too little.
    Denied(Denied),
    /// An earlier failure leaves nothing to look at.
    NotReached,
    /// There are no keys to check with.
    NotChecked,
}

/// What follows from a report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Verdict<'a> {
    /// Every check passed.
    Accepted,
    /// The token is not valid, for this reason: 401.
    Rejected(&'a Rejection),
    /// The token is valid, but does not permit what was asked: 403.
    Denied(&'a Denied),
    /// No check failed, but the signature was not checked: the token may be forged.
    NotVerified,
}

impl Report {
    pub(crate) fn new(rules: &Rules, token: &str, with: &Explain<'_>) -> Self {
        match Unverified::parse_up_to(token, with.max_length) {
            Ok(unverified) => {
                let key_id = unverified.key_ref().key_id;
                let key = with.keys.and_then(|keys| keys.key(key_id));
                Examination {
                    claims: rules.own_claims(&unverified),
                    facts: Facts::new(rules, &unverified, key, with.now),
                    has_keys: with.keys.is_some(),
                    findings: vec![Finding::passed(CheckName::Form, Some(found::form(token)))],
                }
                .finish(with.requirement)
            }
            Err(rejection) => Self::of_unreadable(rejection, with.requirement.is_some()),
        }
    }

    /// Nothing can be looked at but the form.
    fn of_unreadable(rejection: Rejection, has_requirement: bool) -> Self {
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

    /// What became of one check. The requirement's is there only if there was one.
    #[must_use]
    pub fn finding(&self, check: CheckName) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.check == check)
    }

    /// Returns what follows: the first failure, in the order of the checks. Where the key is unknown,
    /// a failure of the claims comes before that, and who is admitted is no reason, as with
    /// [`Validator::finish`](crate::Validator::finish).
    #[must_use]
    pub fn verdict(&self) -> Verdict<'_> {
        let mut failures = self
            .findings
            .iter()
            .filter_map(|finding| match &finding.outcome {
                Outcome::Rejected(rejection) => Some((finding, Verdict::Rejected(rejection))),
                Outcome::Denied(denied) => Some((finding, Verdict::Denied(denied))),
                Outcome::Passed | Outcome::NotReached | Outcome::NotChecked => None,
            });
        let is_passed = |finding: &Finding| finding.outcome == Outcome::Passed;
        match failures.next() {
            Some((Finding { check, .. }, unknown)) if *check == CheckName::Key => {
                let of_claims = failures.find(|(finding, _)| finding.is_among(&checks::CLAIMS));
                of_claims.map_or(unknown, |(_, verdict)| verdict)
            }
            Some((_, failure)) => failure,
            None if self.findings.iter().all(is_passed) => Verdict::Accepted,
            None => Verdict::NotVerified,
        }
    }
}

impl Finding {
    /// What to change, and where, if it failed.
    #[must_use]
    pub fn remedy(&self) -> Option<&str> {
        self.remedy.as_deref()
    }

    /// The machine code of the refusal, if it failed.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        match &self.outcome {
            Outcome::Rejected(rejection) => Some(rejection.code()),
            Outcome::Denied(denied) => Some(denied.code()),
            Outcome::Passed | Outcome::NotReached | Outcome::NotChecked => None,
        }
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
        }
    }

    fn passed(check: CheckName, found: Option<String>) -> Self {
        Self {
            found,
            ..Self::new(check, Outcome::Passed)
        }
    }

    fn rejected(check: CheckName, rejection: Rejection) -> Self {
        let owned = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
        Self {
            found: owned(rejection.found()),
            expected: owned(rejection.expected()),
            remedy: Some(rejection.remedy()),
            ..Self::new(check, Outcome::Rejected(rejection))
        }
    }

    fn denied(check: CheckName, denied: Denied, expected: String, app_id_uri: &str) -> Self {
        Self {
            found: denied.found(),
            expected: Some(expected),
            remedy: Some(denied.remedy_for(app_id_uri)),
            ..Self::new(check, Outcome::Denied(denied))
        }
    }

    fn not_reached(check: CheckName) -> Self {
        Self::new(check, Outcome::NotReached)
    }
}

/// A report in the making.
struct Examination<'a> {
    facts: Facts<'a>,
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
        match (check.run)(&self.facts) {
            Ok(()) => Finding::passed(check.name, found::of(check.name, &self.facts, &self.claims)),
            Err(rejection) => Finding::rejected(check.name, rejection),
        }
    }

    fn not_checked(&self, check: CheckName) -> Finding {
        Finding {
            found: found::unchecked(check, self.facts.token),
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
        if matches!(outcome_of(CheckName::Issuer), Some(Outcome::Rejected(_)))
            && outcome_of(CheckName::Issuer) == outcome_of(CheckName::Claims)
        {
            for finding in &mut self.findings {
                if finding.check == CheckName::Claims {
                    *finding = Finding::not_reached(CheckName::Claims);
                }
            }
        }
    }

    fn permission(&mut self, requirement: Option<&Requirement>) {
        let can_be_read = self.facts.token.type_fault.is_none();
        let permissions = Permissions {
            claims: &self.claims,
            payload: Payload::Text(self.facts.token.payload_text()),
        };
        let app_id_uri = self.facts.rules.audiences.app_id_uri();
        let mut judge = |check, judgement: Result<(), Denied>, expected: String| {
            self.findings.push(match judgement {
                _ if !can_be_read => Finding::not_reached(check),
                Ok(()) => Finding::passed(check, found::permission(&permissions)),
                Err(denied) => Finding::denied(check, denied, expected, &app_id_uri),
            });
        };
        judge(
            CheckName::Permission,
            self.facts.rules.default_permission(&permissions),
            "a scope or a role".to_owned(),
        );
        if let Some(requirement) = requirement {
            judge(
                CheckName::Requirement,
                requirement.check_permissions(&permissions),
                requirement.to_string(),
            );
        }
    }
}
