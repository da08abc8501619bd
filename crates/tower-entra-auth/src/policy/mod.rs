//! Checks that are asked outside, about a verified token, after every other check; each yes is
//! remembered.

mod cached_check;
mod grant_rule;
mod tenant_rule;

use std::sync::Arc;

use entra_jwt_core::{Rejection, TenantId};
use tokio::time::Instant;

use self::cached_check::CachedCheck;
pub(crate) use self::grant_rule::GrantRule;
pub(crate) use self::tenant_rule::TenantRule;
use crate::respond::Refusal;

/// The checks of one `EntraAuth`.
#[derive(Clone, Default)]
pub(crate) struct PostVerificationChecks {
    tenant_rule: Option<Arc<CachedCheck<TenantRule>>>,
    /// Of tokens that have a grant.
    grant_rule: Option<Arc<CachedCheck<GrantRule>>>,
}

/// What the checks look at.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'c> {
    pub(crate) tenant: TenantId,
    pub(crate) grant: Option<&'c Arc<str>>,
}

impl PostVerificationChecks {
    pub(crate) fn new(tenant_rule: Option<TenantRule>, grant_rule: Option<GrantRule>) -> Self {
        Self {
            tenant_rule: tenant_rule.map(CachedCheck::new),
            grant_rule: grant_rule.map(CachedCheck::new),
        }
    }

    /// Returns whether every check has a yes that is still good. Never waits.
    pub(crate) fn have_every_yes(&self, subject: Subject<'_>) -> bool {
        let of_tenant = self.tenant_rule.as_ref();
        let of_grant = self.grant_check(subject);
        of_tenant.is_none_or(|check| check.has_yes(&subject.tenant))
            && of_grant.is_none_or(|(check, grant)| check.has_yes(grant))
    }

    /// Asks each check that has no yes, one after the other.
    pub(crate) async fn ask(&self, subject: Subject<'_>) -> Result<(), Refusal> {
        let of_tenant = self.tenant_rule.as_ref();
        if let Some(check) = of_tenant.filter(|check| !check.has_yes(&subject.tenant)) {
            Arc::clone(check).ask(subject.tenant).await?;
        }
        let of_grant = self.grant_check(subject);
        if let Some((check, grant)) = of_grant.filter(|(check, grant)| !check.has_yes(grant)) {
            Arc::clone(check).ask(Arc::clone(grant)).await?;
        }
        Ok(())
    }

    /// Returns the moment at which a stream that begins now asks again; `None` if there is nothing to
    /// ask.
    pub(crate) fn stream_asks_at(&self, subject: Subject<'_>) -> Option<Instant> {
        let now = Instant::now();
        let of_tenant = self.tenant_rule.as_ref();
        let of_tenant = of_tenant.map(|check| check.stream_asks_at(&subject.tenant, now));
        let of_grant = self.grant_check(subject);
        let of_grant = of_grant.map(|(check, grant)| check.stream_asks_at(grant, now));
        of_tenant.into_iter().chain(of_grant).min()
    }

    /// Asks again while a stream lasts, and returns the moment at which to ask next, whether there was
    /// an answer or not.
    ///
    /// # Errors
    /// The no.
    pub(crate) async fn ask_for_stream(&self, subject: Subject<'_>) -> Result<Instant, Rejection> {
        let mut next = None;
        if let Some(check) = &self.tenant_rule {
            let of_tenant = Arc::clone(check).ask_for_stream(subject.tenant).await?;
            next = Some(of_tenant);
        }
        if let Some((check, grant)) = self.grant_check(subject) {
            let of_grant = Arc::clone(check).ask_for_stream(Arc::clone(grant)).await?;
            next = Some(next.map_or(of_grant, |next| of_grant.min(next)));
        }
        Ok(next.unwrap_or_else(|| Instant::now() + cached_check::LEAST_REST))
    }

    /// Forgets what the tenant rule answered about this tenant.
    pub(crate) fn forget_tenant(&self, tenant: TenantId) {
        if let Some(check) = &self.tenant_rule {
            check.forget(&tenant);
        }
    }

    fn grant_check<'s>(
        &'s self,
        subject: Subject<'s>,
    ) -> Option<(&'s Arc<CachedCheck<GrantRule>>, &'s Arc<str>)> {
        self.grant_rule.as_ref().zip(subject.grant)
    }
}
