//! The service's own rule about tenants.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use entra_jwt_core::{Rejection, TenantId};

use super::cached_check::{Asking, Check, Verdict};
use crate::unavailable::Unavailable;

/// The rule as it was set, and how long its yes is kept.
pub(crate) struct TenantRule {
    rule: Box<dyn Fn(TenantId) -> Asked + Send + Sync>,
    ttl: Duration,
}

type Asked = std::pin::Pin<Box<dyn Future<Output = Result<bool, String>> + Send>>;

impl TenantRule {
    pub(crate) const DEFAULT_TTL: Duration = Duration::from_secs(5 * 60);
    pub(crate) const MAX_TTL: Duration = Duration::from_secs(60 * 60);

    pub(crate) fn new<F, R, E>(rule: F) -> Self
    where
        F: Fn(TenantId) -> R + Send + Sync + 'static,
        R: Future<Output = Result<bool, E>> + Send + 'static,
        E: fmt::Display,
    {
        Self {
            rule: Box::new(move |tenant| {
                let asked = rule(tenant);
                Box::pin(async move { asked.await.map_err(|error| error.to_string()) })
            }),
            ttl: Self::DEFAULT_TTL,
        }
    }

    pub(crate) fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }
}

impl Check for TenantRule {
    type Key = TenantId;

    fn ask(&self, tenant: TenantId) -> Asking {
        let asked = (self.rule)(tenant);
        let keep_for = self.ttl;
        Box::pin(async move {
            match asked.await {
                Ok(true) => Ok(Verdict::Yes { keep_for }),
                Ok(false) => Ok(Verdict::No(Rejection::TenantNotAllowed {
                    found: tenant,
                    allowed: "those that the tenant rule admits".to_owned(),
                    by_tenant_rule: true,
                })),
                Err(reason) => Err(Unavailable::TenantRule { reason }),
            }
        })
    }

    fn no_answer(&self, reason: &str) -> Unavailable {
        Unavailable::TenantRule {
            reason: reason.to_owned(),
        }
    }
}
