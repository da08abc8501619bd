//! Rules of the service: about tenants, about callers, and about the grants of reissued tokens.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use entra_jwt_core::{InvalidToken, TenantId};

use super::{CallerKey, Check, CheckFuture, Verdict};
use crate::respond::Reason;
use crate::unavailable::Outage;

/// A rule of the service about `Q`, whose answer is cached under `K`.
pub(crate) struct Rule<K, Q = K> {
    rule: Arc<dyn Fn(Q) -> RuleFuture + Send + Sync>,
    /// Cache time of a yes.
    ttl: Duration,
    refusal: fn(K) -> Reason,
    unavailable: fn(String) -> Outage,
}

type RuleFuture = Pin<Box<dyn Future<Output = Result<bool, String>> + Send>>;

impl<K, Q> Rule<K, Q> {
    /// Creates a rule whose yes is not cached. The function is cloned for each call, so that an
    /// async closure can own what it captures.
    fn new<F, R, E>(rule: F, refusal: fn(K) -> Reason, unavailable: fn(String) -> Outage) -> Self
    where
        F: FnOnce(Q) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<bool, E>> + Send + 'static,
        E: fmt::Display,
    {
        let rule = move |question| -> RuleFuture {
            let answer = rule.clone()(question);
            Box::pin(async move { answer.await.map_err(|error| error.to_string()) })
        };
        Self {
            rule: Arc::new(rule),
            ttl: Duration::ZERO,
            refusal,
            unavailable,
        }
    }

    /// Sets how long a yes is cached.
    pub(crate) fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }
}

impl Rule<TenantId> {
    /// Creates a rule that decides whether a tenant is admitted.
    pub(crate) fn about_tenants<F, R, E>(rule: F) -> Self
    where
        F: FnOnce(TenantId) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<bool, E>> + Send + 'static,
        E: fmt::Display,
    {
        let refusal = |tenant| InvalidToken::tenant_rule_said_no(tenant).into();
        Self::new(rule, refusal, |reason| Outage::TenantRule { reason })
    }
}

impl<C> Rule<CallerKey, C> {
    /// Creates a rule that decides whether a caller is admitted.
    pub(crate) fn about_callers<F, R, E>(rule: F) -> Self
    where
        F: FnOnce(C) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<bool, E>> + Send + 'static,
        E: fmt::Display,
    {
        let refusal = |_| Reason::CallerNotAllowed;
        Self::new(rule, refusal, |reason| Outage::CallerRule { reason })
    }
}

impl Rule<Arc<str>> {
    /// Creates a rule that decides whether a grant is still valid.
    pub(crate) fn about_grants<F, R, E>(rule: F) -> Self
    where
        F: FnOnce(Arc<str>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<bool, E>> + Send + 'static,
        E: fmt::Display,
    {
        let refusal = |_| InvalidToken::grant_ended().into();
        Self::new(rule, refusal, |reason| Outage::GrantRule { reason })
    }
}

impl<K, Q> Check for Rule<K, Q>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    Q: Send + 'static,
{
    type Key = K;
    type Question = Q;

    fn ask(&self, key: K, question: Q) -> CheckFuture {
        let answer = (self.rule)(question);
        let (keep_for, refusal, unavailable) = (self.ttl, self.refusal, self.unavailable);
        Box::pin(async move {
            match answer.await {
                Ok(true) => Ok(Verdict::Yes { keep_for }),
                Ok(false) => Ok(Verdict::No(refusal(key))),
                Err(reason) => Err(unavailable(reason)),
            }
        })
    }

    fn no_answer(&self, reason: &str) -> Outage {
        (self.unavailable)(reason.to_owned())
    }
}

impl<K, Q> Clone for Rule<K, Q> {
    fn clone(&self) -> Self {
        Self {
            rule: Arc::clone(&self.rule),
            ..*self
        }
    }
}
