//! The checks that make a token valid, in their order. There is no second list.
//!
//! Each is a function from [`Facts`] to a refusal. Those of the header need only the token, those
//! of the claims may look at the key, if one is known by then: the same functions judge the
//! unverified claims before a key is fetched and the verified ones after. Those of admission judge
//! verified claims only: whoever makes up a token must not learn from the answer who is admitted.
//! `explain` runs all of them to the end.

mod admission;
mod claims;
mod header;
mod key;
mod name;
mod rules;

use std::cell::OnceCell;
use std::time::SystemTime;

pub use self::name::CheckName;
pub(crate) use self::rules::{Profile, Rules};
use crate::authority::{Cloud, TokenVersion};
use crate::identifier::{Guid, TenantId};
use crate::keys::Key;
use crate::rejection::Rejection;
use crate::shown::Shown;
use crate::token::NumericDate;
use crate::token::Unverified;

/// What a check may look at.
pub(crate) struct Facts<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) token: &'a Unverified<'a>,
    /// The key that the token names; `None` while it is not known.
    pub(crate) key: Option<&'a Key>,
    pub(crate) now: NumericDate,
    /// Several checks build on it; it is found out once.
    issued_by: OnceCell<(TenantId, TokenVersion)>,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(
        rules: &'a Rules,
        token: &'a Unverified<'a>,
        key: Option<&'a Key>,
        now: SystemTime,
    ) -> Self {
        Self {
            rules,
            token,
            key,
            now: NumericDate::from_clock(now),
            issued_by: OnceCell::new(),
        }
    }

    /// Whether the key is the one that the token names.
    pub(crate) fn key_is_known(&self) -> bool {
        self.key.is_some_and(|key| key.id() == self.token.key_id())
    }

    /// The token's tenant and version, by an issuer that belongs to that tenant.
    pub(crate) fn issued_by(&self) -> Result<(TenantId, TokenVersion), Rejection> {
        match self.issued_by.get() {
            Some(known) => Ok(*known),
            None => {
                let found = issued_by(self.rules, self.token)?;
                Ok(*self.issued_by.get_or_init(|| found))
            }
        }
    }
}

/// The issuer's template, filled with the token's own `tid`, byte for byte: v2, else v1. A reissued
/// token has the one issuer, and stands for a v2 token.
fn issued_by(rules: &Rules, token: &Unverified<'_>) -> Result<(TenantId, TokenVersion), Rejection> {
    if token.tenant_is_ambiguous() {
        return Err(Rejection::AmbiguousTenant);
    }
    let tid = token
        .tenant()
        .ok_or(Rejection::MissingClaim { claim: "tid" })?;
    let tid = &*tid;
    let tenant = Guid::from_token(tid)
        .map(TenantId)
        .ok_or_else(|| Rejection::InvalidTenant {
            found: Shown::cut(tid),
        })?;
    let issuer = token
        .issuer()
        .ok_or(Rejection::MissingClaim { claim: "iss" })?;
    if let Profile::Reissued { issuer: expected } = &rules.profile {
        return match issuer == &**expected {
            true => Ok((tenant, TokenVersion::V2)),
            false => Err(Rejection::WrongIssuer {
                found: Shown::cut(issuer),
                expected: expected.to_string(),
            }),
        };
    }
    match rules.authority.version_of(issuer, tid) {
        Some(version) => Ok((tenant, version)),
        None => {
            let found = Shown::cut(issuer);
            let expected = rules.authority.v2_issuer(tenant);
            let other = (!rules.authority.is_external_id())
                .then(|| Cloud::of_issuer(issuer, tid))
                .flatten();
            Err(match other {
                Some(cloud) => Rejection::WrongCloud {
                    found,
                    cloud,
                    expected,
                },
                None => Rejection::WrongIssuer { found, expected },
            })
        }
    }
}

/// One check.
pub(crate) struct Check {
    pub(crate) name: CheckName,
    pub(crate) run: fn(&Facts<'_>) -> Result<(), Rejection>,
    /// Without whose success this one has nothing to look at: for `explain`, as otherwise the
    /// first failure ends it all.
    pub(crate) needs: &'static [CheckName],
}

const fn check(
    name: CheckName,
    run: fn(&Facts<'_>) -> Result<(), Rejection>,
    needs: &'static [CheckName],
) -> Check {
    Check { name, run, needs }
}

/// Of the header: they run before any key is looked up.
pub(crate) static HEADER: [Check; 3] = [
    check(CheckName::Nonce, header::nonce, &[]),
    check(CheckName::Algorithm, header::algorithm, &[]),
    check(CheckName::Type, header::token_type, &[]),
];

/// The checks that the signature is the key's, and of what is looked at when it is, as that costs
/// more.
pub(crate) static SIGNATURE: [Check; 3] = [
    check(CheckName::Key, key::require_known, &[]),
    check(CheckName::Signature, key::signature, &[CheckName::Key]),
    check(CheckName::Names, key::names, &[CheckName::Signature]),
];

/// The checks of the claims: they run on verified claims, and on unverified ones before a key is fetched. They
/// compare with what is known of this API, or with the token itself.
pub(crate) static CLAIMS: [Check; 9] = [
    check(CheckName::Claims, claims::types, &[]),
    check(CheckName::Lifetime, claims::lifetime, &[CheckName::Claims]),
    check(CheckName::Issuer, claims::issuer, &[]),
    check(CheckName::Version, claims::version, &[CheckName::Issuer]),
    check(
        CheckName::KeyIssuer,
        key::issuer,
        &[CheckName::Issuer, CheckName::Key],
    ),
    check(CheckName::KeyCloud, key::cloud, &[CheckName::Key]),
    check(CheckName::Audience, claims::audience, &[CheckName::Claims]),
    check(CheckName::Binding, claims::binding, &[CheckName::Claims]),
    check(CheckName::Kind, claims::kind, &[CheckName::Claims]),
];

/// The checks of who is admitted: they run on verified claims only, as they compare with other tenants and
/// clients.
pub(crate) static ADMISSION: [Check; 3] = [
    check(CheckName::Tenant, admission::tenant, &[CheckName::Issuer]),
    check(
        CheckName::Client,
        admission::client,
        &[CheckName::Claims, CheckName::Kind],
    ),
    check(
        CheckName::Guest,
        admission::guest,
        &[CheckName::Claims, CheckName::Issuer],
    ),
];

/// All of them, in the order in which a token with a known key meets them.
pub(crate) static ALL: [&[Check]; 4] = [&HEADER, &SIGNATURE, &CLAIMS, &ADMISSION];

pub(crate) use self::claims::lifetime_of as lifetime;

pub(crate) fn run(checks: &[Check], facts: &Facts<'_>) -> Result<(), Rejection> {
    checks.iter().try_for_each(|check| (check.run)(facts))
}
