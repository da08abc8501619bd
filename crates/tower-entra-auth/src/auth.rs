//! The handle: which issuers are trusted, and the decision about one request.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use entra_jwt_core::{Explain, Key, Report, Requirement, Unverified, Validator};
use http::HeaderMap;

use crate::after_check::Remembering;
use crate::bearer;
use crate::build_error::BuildError;
use crate::builder::{Clock, EntraAuthBuilder};
use crate::caller::{AuthId, Caller};
use crate::keys::{KeyStore, Missing};
use crate::layer::EntraLayer;
use crate::log::RefusalLog;
use crate::refusal::Refusal;
use crate::respond::RefusalDetail;
use crate::tenant_rule::TenantRule;
use crate::unavailable::Unavailable;

/// Decides which requests carry a valid token for this API, and keeps the keys for that fresh.
///
/// A cheap handle: clones share everything. The background refresh of keys ends with the last
/// one, Layers and services included. See the [crate's page](crate) for an example.
#[derive(Clone)]
pub struct EntraAuth {
    inner: Arc<Inner>,
}

/// What an [`EntraAuth`] is made of.
pub(crate) struct Parts {
    /// At least one.
    pub(crate) issuers: Vec<TrustedIssuer>,
    /// Asked after every other check.
    pub(crate) tenant_rule: Option<Arc<Remembering<TenantRule>>>,
    pub(crate) clock: Clock,
    pub(crate) max_token_length: usize,
    pub(crate) refusal_detail: RefusalDetail,
}

/// One authority with its rules and its keys, however many tenants it admits.
pub(crate) struct TrustedIssuer {
    pub(crate) validator: Validator,
    pub(crate) keys: Arc<KeyStore>,
}

struct Inner {
    id: AuthId,
    parts: Parts,
    log: RefusalLog,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for issuer in &self.parts.issuers {
            issuer.keys.stop();
        }
    }
}

/// What is to happen to a request.
pub(crate) enum Decision {
    Accept(Caller),
    Refuse(Refusal),
    /// Something is to be waited for.
    Wait(Waiting),
}

/// A token about which something is not known yet.
pub(crate) struct Waiting {
    auth: EntraAuth,
    unknown: Unknown,
}

enum Unknown {
    /// The token could be valid, if its key turns up.
    Key { token: Arc<str>, issuer: usize },
    /// The token is valid; what the tenant rule says is not remembered.
    TenantRule(Caller),
}

impl EntraAuth {
    /// Begins with no settings.
    pub fn builder() -> EntraAuthBuilder {
        EntraAuthBuilder::new()
    }

    /// Everything from the environment: `ENTRA_TENANT_ID`, `ENTRA_CLIENT_ID` and more, see
    /// [`EntraAuthBuilder::environment`].
    ///
    /// # Errors
    /// Every problem with the settings at once.
    pub fn from_env() -> Result<Self, BuildError> {
        Self::builder().environment().build()
    }

    pub(crate) fn new(parts: Parts) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);

        Self {
            inner: Arc::new(Inner {
                id: AuthId(NEXT.fetch_add(1, Ordering::Relaxed)),
                parts,
                log: RefusalLog::default(),
            }),
        }
    }

    /// The Layer that protects a service.
    #[must_use]
    pub fn layer(&self) -> EntraLayer {
        EntraLayer::new(self.clone())
    }

    /// Waits for the first keys; returns at once if they are there. Optional: without it they are
    /// fetched when the first request arrives.
    ///
    /// # Errors
    /// Why the attempt failed that was running, or the next one if none was, which begins within
    /// 30 s. Attempts go on in the background: to wait longer, call it again.
    pub async fn ready(&self) -> Result<(), Unavailable> {
        for issuer in &self.inner.parts.issuers {
            issuer.keys.ready().await?;
        }
        Ok(())
    }

    /// Runs every check of a token to its end, with the keys that are held now, and reports on
    /// each, and on the requirement of a route if one is given: for people who look for the
    /// reason. Without keys (see [`ready`](Self::ready)) the signature is not checked. The tenant
    /// rule is not asked.
    #[must_use]
    pub fn explain(&self, token: &str, requirement: Option<&Requirement>) -> Report {
        let issuers = &self.inner.parts.issuers;
        let issuer = match self.parse(token) {
            Ok(unverified) => self.issuer_of(&unverified).1,
            Err(_) => &issuers[0],
        };
        let keys = issuer.keys.all();
        let mut with =
            Explain::at((self.inner.parts.clock)()).max_length(self.inner.parts.max_token_length);
        if let Some(keys) = &keys {
            with = with.keys(keys);
        }
        if let Some(requirement) = requirement {
            with = with.requirement(requirement);
        }
        issuer.validator.explain(token, &with)
    }

    /// The rules of each issuer that is trusted.
    pub fn validators(&self) -> impl Iterator<Item = &Validator> {
        self.inner
            .parts
            .issuers
            .iter()
            .map(|issuer| &issuer.validator)
    }

    /// Whether this `EntraAuth`, or a clone of it, verified the caller.
    #[must_use]
    pub fn has_verified(&self, caller: &Caller) -> bool {
        caller.verified_by() == self.inner.id
    }

    /// Decides about a request by its headers, without awaiting anything.
    pub(crate) fn decide(&self, headers: &HeaderMap) -> Decision {
        match self.try_decide(headers) {
            Ok(decision) => decision,
            Err(refusal) => Decision::Refuse(refusal),
        }
    }

    fn try_decide(&self, headers: &HeaderMap) -> Result<Decision, Refusal> {
        let token = bearer::token(headers)?;
        let unverified = self.parse(token)?;
        let (index, issuer) = self.issuer_of(&unverified);

        if let Some(key) = issuer.keys.find(unverified.key_ref().key_id) {
            // A key that is held serves even where none could be fetched.
            let _ = issuer.keys.keep_running();
            let caller = self.finish(issuer, unverified, Some(&key), || token.into())?;
            return Ok(match self.unanswered_rule(&caller) {
                None => Decision::Accept(caller),
                Some(_) => self.wait_for(Unknown::TenantRule(caller)),
            });
        }
        // The reason is the token's own if it has a fault: then no key could help, and none is
        // fetched.
        issuer
            .validator
            .precheck(&unverified, (self.inner.parts.clock)())
            .map_err(|rejection| Refusal::Rejected {
                rejection,
                unsigned: true,
            })?;
        let keep_running = issuer.keys.keep_running();
        keep_running.map_err(|cause| issuer.keys.refusal(cause))?;
        Ok(self.wait_for(Unknown::Key {
            token: token.into(),
            issuer: index,
        }))
    }

    fn wait_for(&self, unknown: Unknown) -> Decision {
        Decision::Wait(Waiting {
            auth: self.clone(),
            unknown,
        })
    }

    /// The tenant rule, if there is one and it must be asked about the caller.
    fn unanswered_rule(&self, caller: &Caller) -> Option<&Arc<Remembering<TenantRule>>> {
        let rule = self.inner.parts.tenant_rule.as_ref();
        rule.filter(|rule| !rule.remembers(caller))
    }

    fn parse<'t>(&self, token: &'t str) -> Result<Unverified<'t>, Refusal> {
        Ok(Unverified::parse_up_to(
            token,
            self.inner.parts.max_token_length,
        )?)
    }

    /// The issuer that the token claims to be of, else the first, whose rules name the reason.
    fn issuer_of(&self, token: &Unverified<'_>) -> (usize, &TrustedIssuer) {
        let issuers = &self.inner.parts.issuers;
        let claimed = match issuers.len() {
            1 => 0,
            _ => issuers
                .iter()
                .position(|issuer| issuer.validator.claims_to_be_ours(token))
                .unwrap_or(0),
        };
        (claimed, &issuers[claimed])
    }

    fn finish(
        &self,
        issuer: &TrustedIssuer,
        token: Unverified<'_>,
        key: Option<&Key>,
        raw: impl FnOnce() -> Arc<str>,
    ) -> Result<Caller, Refusal> {
        let now = (self.inner.parts.clock)();
        let token = issuer.validator.finish(token, key, now)?;
        issuer
            .validator
            .default_permission(&token)
            .map_err(Refusal::Denied)?;
        Ok(Caller::new(token, raw(), self.inner.id))
    }

    pub(crate) fn refusal_detail(&self) -> RefusalDetail {
        self.inner.parts.refusal_detail
    }

    pub(crate) fn log(&self) -> &RefusalLog {
        &self.inner.log
    }
}

impl Waiting {
    /// Waits within the bounds, then decides.
    pub(crate) async fn decide(self) -> Result<Caller, Refusal> {
        let caller = match self.unknown {
            Unknown::Key { token, issuer } => self.auth.decide_with_key(token, issuer).await?,
            Unknown::TenantRule(caller) => caller,
        };
        if let Some(rule) = self.auth.unanswered_rule(&caller) {
            Arc::clone(rule).ask(caller.clone()).await?;
        }
        Ok(caller)
    }
}

impl EntraAuth {
    async fn decide_with_key(&self, token: Arc<str>, issuer: usize) -> Result<Caller, Refusal> {
        let issuer = &self.inner.parts.issuers[issuer];
        let key_id = {
            // Parsed again rather than kept: what was parsed borrows from the request.
            let unverified = self.parse(&token)?;
            unverified.key_ref().key_id.clone()
        };
        let key = match issuer.keys.wait_for(&key_id).await {
            Ok(key) => Some(key),
            Err(Missing::Unknown) => None,
            Err(Missing::Unavailable(cause)) => return Err(issuer.keys.refusal(cause)),
        };
        let unverified = self.parse(&token)?;
        self.finish(issuer, unverified, key.as_deref(), || Arc::clone(&token))
    }
}

impl fmt::Debug for EntraAuth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuers = &self.inner.parts.issuers;
        formatter
            .debug_struct("EntraAuth")
            .field("id", &self.inner.id.0)
            .field("authority", issuers[0].validator.authority())
            .finish_non_exhaustive()
    }
}
