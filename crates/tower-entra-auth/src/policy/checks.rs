//! The post-verification checks of an `EntraAuth`, in their order: the tenant, the grant, the
//! caller.

use std::sync::Arc;

use entra_jwt_core::TenantId;
use tokio::time::Instant;

use super::{CachedCheck, Check, MIN_REST, Rule};
use crate::respond::Reason;

/// Maximum number of cached yes answers about tenants, and of those about grants.
const MAX_TENANTS: u64 = 10_000;

/// Maximum number of cached yes answers about tokens.
const MAX_TOKENS: u64 = 50_000;

/// Post-verification checks of one `EntraAuth`, for callers of the type `C`.
pub(crate) struct PostVerificationChecks<C: Send + 'static> {
    tenant_rule: Option<Arc<CachedCheck<Rule<TenantId>>>>,
    caller_rule: Option<Arc<CachedCheck<Rule<CallerKey, C>>>>,
    /// Rules about grants, each at the index of its issuer in the `EntraAuth`.
    grant_rules: Box<[Option<Arc<GrantCheck>>]>,
}

type GrantCheck = CachedCheck<Rule<Arc<str>>>;

/// Subject of the checks: the caller, and the parts of the verified token that the checks use.
pub(crate) struct Subject<'c, C> {
    caller: &'c C,
    tenant: TenantId,
    /// Index of the issuer in the `EntraAuth`.
    issuer: usize,
    token: &'c str,
    grant: Option<&'c Arc<str>>,
}

impl<'c, C> Subject<'c, C> {
    pub(crate) fn new(
        caller: &'c C,
        tenant: TenantId,
        issuer: usize,
        token: &'c str,
        grant: Option<&'c Arc<str>>,
    ) -> Self {
        Self {
            caller,
            tenant,
            issuer,
            token,
            grant,
        }
    }
}

impl<C> Subject<'_, C> {
    fn caller_key(&self) -> CallerKey {
        CallerKey {
            tenant: self.tenant,
            issuer: self.issuer,
            tail: TokenTail::of(self.token),
        }
    }
}

/// Cache key of an answer about a caller. It belongs to one token.
#[derive(Clone, Eq, Hash, PartialEq)]
pub(crate) struct CallerKey {
    tenant: TenantId,
    /// Index of the issuer in the `EntraAuth`. Another issuer could choose a key with which it
    /// makes the same signature.
    issuer: usize,
    tail: TokenTail,
}

/// End of a verified token. It belongs to the signature, and differs from that of every other token
/// of the issuer.
#[derive(Clone, Eq, Hash, PartialEq)]
struct TokenTail([u8; Self::LENGTH]);

impl TokenTail {
    const LENGTH: usize = 64;

    fn of(token: &str) -> Self {
        let mut tail = [0; Self::LENGTH];
        let from = token.len().saturating_sub(Self::LENGTH);
        for (kept, byte) in tail.iter_mut().zip(&token.as_bytes()[from..]) {
            *kept = *byte;
        }
        Self(tail)
    }
}

impl<C: Clone + Send + 'static> PostVerificationChecks<C> {
    pub(crate) fn new(
        tenant_rule: Option<Rule<TenantId>>,
        caller_rule: Option<Rule<CallerKey, C>>,
        grant_rules: Vec<Option<Rule<Arc<str>>>>,
    ) -> Self {
        let grant_rules = grant_rules.into_iter();
        Self {
            tenant_rule: tenant_rule.map(|rule| CachedCheck::new(rule, MAX_TENANTS)),
            caller_rule: caller_rule.map(|rule| CachedCheck::new(rule, MAX_TOKENS)),
            grant_rules: grant_rules
                .map(|rule| rule.map(|rule| CachedCheck::new(rule, MAX_TENANTS)))
                .collect(),
        }
    }

    /// Returns whether every check has a valid cached yes. Never waits.
    pub(crate) fn have_every_yes(&self, subject: &Subject<'_, C>) -> bool {
        let of_tenant = self.tenant_rule.as_ref();
        let of_caller = self.caller_rule.as_ref();
        let of_grant = self.grant_check(subject);
        of_tenant.is_none_or(|check| check.has_yes(&subject.tenant))
            && of_caller.is_none_or(|check| check.has_yes(&subject.caller_key()))
            && of_grant.is_none_or(|(check, grant)| check.has_yes(grant))
    }

    /// Asks each check that has no cached yes, one after the other.
    pub(crate) async fn ask(&self, subject: &Subject<'_, C>) -> Result<(), Reason> {
        if let Some(check) = &self.tenant_rule {
            ask_unless_yes(check, subject.tenant, subject.tenant).await?;
        }
        if let Some((check, grant)) = self.grant_check(subject) {
            ask_unless_yes(check, Arc::clone(grant), Arc::clone(grant)).await?;
        }
        // Last, because the rule may look at the caller's records.
        if let Some(check) = &self.caller_rule {
            let key = subject.caller_key();
            ask_unless_yes(check, key, subject.caller.clone()).await?;
        }
        Ok(())
    }

    /// Returns the time at which a stream that begins now asks again; `None` if there is nothing to
    /// ask.
    pub(crate) fn stream_asks_at(&self, subject: &Subject<'_, C>) -> Option<Instant> {
        let now = Instant::now();
        let of_tenant = self.tenant_rule.as_ref();
        let of_tenant = of_tenant.map(|check| check.stream_asks_at(&subject.tenant, now));
        let of_caller = self.caller_rule.as_ref();
        let of_caller = of_caller.map(|check| check.stream_asks_at(&subject.caller_key(), now));
        let of_grant = self.grant_check(subject);
        let of_grant = of_grant.map(|(check, grant)| check.stream_asks_at(grant, now));
        let moments = [of_tenant, of_caller, of_grant];
        moments.into_iter().flatten().min()
    }

    /// Asks the checks again for a stream, and returns the time of its next question, with or
    /// without an answer.
    ///
    /// # Errors
    /// Returns the refusal if a check says no.
    pub(crate) async fn ask_for_stream(&self, subject: &Subject<'_, C>) -> Result<Instant, Reason> {
        let mut moments = Vec::new();
        if let Some(check) = &self.tenant_rule {
            let next = Arc::clone(check).ask_for_stream(subject.tenant, subject.tenant);
            moments.push(next.await?);
        }
        if let Some((check, grant)) = self.grant_check(subject) {
            let next = Arc::clone(check).ask_for_stream(Arc::clone(grant), Arc::clone(grant));
            moments.push(next.await?);
        }
        if let Some(check) = &self.caller_rule {
            let key = subject.caller_key();
            let next = Arc::clone(check).ask_for_stream(key, subject.caller.clone());
            moments.push(next.await?);
        }
        let next = moments.into_iter().min();
        Ok(next.unwrap_or_else(|| Instant::now() + MIN_REST))
    }

    /// Removes the cached answers of the rules about this tenant and its callers.
    pub(crate) fn forget_tenant(&self, tenant: TenantId) {
        if let Some(check) = &self.tenant_rule {
            check.forget(&tenant);
        }
        if let Some(check) = &self.caller_rule {
            check.forget_where(|caller| caller.tenant == tenant);
        }
    }

    fn grant_check<'s>(
        &'s self,
        subject: &Subject<'s, C>,
    ) -> Option<(&'s Arc<GrantCheck>, &'s Arc<str>)> {
        let check = self.grant_rules.get(subject.issuer)?.as_ref()?;
        Some((check, subject.grant?))
    }
}

async fn ask_unless_yes<C: Check>(
    check: &Arc<CachedCheck<C>>,
    key: C::Key,
    question: C::Question,
) -> Result<(), Reason> {
    match check.has_yes(&key) {
        true => Ok(()),
        false => Arc::clone(check).ask(key, question).await.map(drop),
    }
}
