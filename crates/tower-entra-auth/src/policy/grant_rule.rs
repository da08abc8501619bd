//! The rule about the grants of reissued tokens.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use entra_jwt_core::Rejection;

use super::cached_check::{Asking, Check, Verdict};
use crate::unavailable::Unavailable;

/// The rule that says whether a grant is still good, and how long its yes is kept.
pub(crate) struct GrantRule {
    rule: Box<dyn Fn(Arc<str>) -> Asked + Send + Sync>,
    ttl: Duration,
}

type Asked = Pin<Box<dyn Future<Output = Result<bool, String>> + Send>>;

impl GrantRule {
    /// The longest that a yes is kept.
    pub(crate) const MAX_TTL: Duration = Duration::from_secs(5 * 60);

    pub(crate) fn new<F, R, E>(ttl: Duration, rule: F) -> Self
    where
        F: Fn(Arc<str>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<bool, E>> + Send + 'static,
        E: fmt::Display,
    {
        Self {
            rule: Box::new(move |grant| {
                let asked = rule(grant);
                Box::pin(async move { asked.await.map_err(|error| error.to_string()) })
            }),
            ttl: ttl.min(Self::MAX_TTL),
        }
    }
}

impl Check for GrantRule {
    type Key = Arc<str>;

    fn ask(&self, grant: Arc<str>) -> Asking {
        let asked = (self.rule)(grant);
        let keep_for = self.ttl;
        Box::pin(async move {
            match asked.await {
                Ok(true) => Ok(Verdict::Yes { keep_for }),
                Ok(false) => Ok(Verdict::No(Rejection::GrantEnded)),
                Err(reason) => Err(Unavailable::GrantRule { reason }),
            }
        })
    }

    fn no_answer(&self, reason: &str) -> Unavailable {
        Unavailable::GrantRule {
            reason: reason.to_owned(),
        }
    }
}
