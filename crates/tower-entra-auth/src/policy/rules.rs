//! The rules of the service: about tenants, and about the grants of reissued tokens.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use entra_jwt_core::{InvalidToken, TenantId};

use super::{Check, CheckFuture, Verdict};
use crate::unavailable::Outage;

/// A rule of the service about what it is asked by, and how long its yes is kept.
#[derive(Clone)]
pub(crate) struct Rule<K> {
    rule: Arc<dyn Fn(K) -> RuleFuture + Send + Sync>,
    ttl: Duration,
    rejection: fn(K) -> InvalidToken,
    unavailable: fn(String) -> Outage,
}

type RuleFuture = Pin<Box<dyn Future<Output = Result<bool, String>> + Send>>;

impl Rule<TenantId> {
    /// The time for which a yes is kept, unless set otherwise.
    const DEFAULT_TTL: Duration = Duration::from_secs(5 * 60);

    /// Makes the rule that says whether a tenant is admitted.
    pub(crate) fn about_tenants<F, R, E>(rule: F) -> Self
    where
        F: Fn(TenantId) -> R + Send + Sync + 'static,
        R: Future<Output = Result<bool, E>> + Send + 'static,
        E: fmt::Display,
    {
        Self {
            rule: boxed(rule),
            ttl: Self::DEFAULT_TTL,
            rejection: InvalidToken::tenant_rule_said_no,
            unavailable: |reason| Outage::TenantRule { reason },
        }
    }

    pub(crate) fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }
}

impl Rule<Arc<str>> {
    /// Makes the rule that says whether a grant is still good.
    pub(crate) fn about_grants<F, R, E>(ttl: Duration, rule: F) -> Self
    where
        F: Fn(Arc<str>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<bool, E>> + Send + 'static,
        E: fmt::Display,
    {
        Self {
            rule: boxed(rule),
            ttl,
            rejection: |_| InvalidToken::grant_ended(),
            unavailable: |reason| Outage::GrantRule { reason },
        }
    }
}

fn boxed<K, F, R, E>(rule: F) -> Arc<dyn Fn(K) -> RuleFuture + Send + Sync>
where
    F: Fn(K) -> R + Send + Sync + 'static,
    R: Future<Output = Result<bool, E>> + Send + 'static,
    E: fmt::Display,
{
    Arc::new(move |key| {
        let answer = rule(key);
        Box::pin(async move { answer.await.map_err(|error| error.to_string()) })
    })
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> Check for Rule<K> {
    type Key = K;

    fn ask(&self, key: K) -> CheckFuture {
        let answer = (self.rule)(key.clone());
        let (keep_for, rejection, unavailable) = (self.ttl, self.rejection, self.unavailable);
        Box::pin(async move {
            match answer.await {
                Ok(true) => Ok(Verdict::Yes { keep_for }),
                Ok(false) => Ok(Verdict::No(rejection(key))),
                Err(reason) => Err(unavailable(reason)),
            }
        })
    }

    fn no_answer(&self, reason: &str) -> Outage {
        (self.unavailable)(reason.to_owned())
    }
}
