//! The handle: which issuers are trusted, and the decision about one request.

use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
#[cfg(feature = "testing")]
use entra_jwt_core::AccessToken;
use entra_jwt_core::{
    Explain, IntoCondition, InvalidRequirement, Report, Requirement, Unverified, Validator,
};
use http::{Extensions, HeaderMap, HeaderName, Request, Response, Uri};
use http_body_util::Full;
use tokio::time::Instant;

use crate::after_check::Remembering;
use crate::answers::{Answers, Hook};
use crate::bearer;
use crate::build_error::BuildError;
use crate::builder::{Clock, EntraAuthBuilder};
use crate::caller::{Anonymous, AuthId, Caller, Proof};
use crate::keys::{KeyStore, Missing, TrustedKey};
use crate::layer::EntraLayer;
use crate::metrics::{self, Lookup};
use crate::refusal::Refusal;
use crate::require::RequireLayer;
use crate::respond::Words;
use crate::status::Status;
use crate::tenant_rule::TenantRule;
use crate::token_cache::TokenCache;
use crate::token_source::TokenPlace;
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
    /// `None` if every token is verified every time.
    pub(crate) token_cache: Option<TokenCache>,
    pub(crate) clock: Clock,
    pub(crate) max_token_length: usize,
    pub(crate) token_place: TokenPlace,
    /// The header that is nothing but the token, if there is such a one.
    pub(crate) token_header: Option<HeaderName>,
    pub(crate) removes_token: bool,
}

/// One authority with its rules and its keys, however many tenants it admits.
pub(crate) struct TrustedIssuer {
    pub(crate) validator: Validator,
    pub(crate) keys: Arc<KeyStore>,
}

struct Inner {
    parts: Parts,
    answers: Arc<Answers>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for issuer in &self.parts.issuers {
            issuer.keys.stop();
        }
    }
}

/// Says in a request's extensions that its token was taken away: who finds none must not think that
/// none was sent.
#[derive(Clone)]
struct TokenRemoved;

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
    Key { token: Arc<[u8]>, issuer: usize },
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

    pub(crate) fn new(parts: Parts, words: Words, hook: Option<Hook>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);

        let id = AuthId(NEXT.fetch_add(1, Ordering::Relaxed));
        Self {
            inner: Arc::new(Inner {
                parts,
                answers: Arc::new(Answers::new(id, words, hook)),
            }),
        }
    }

    /// The Layer that protects a service.
    pub fn layer(&self) -> EntraLayer {
        EntraLayer::new(self.clone())
    }

    /// A Layer that lets only callers pass that meet the condition, for a route behind
    /// [`layer`](Self::layer): 403, or the challenge to step up, for the others.
    ///
    /// ```
    /// # #[cfg(feature = "axum")] {
    /// use axum::{Router, routing::get};
    /// use tower_entra_auth::{AppPermission, EntraAuth, InvalidRequirement, Scope};
    ///
    /// fn app(auth: &EntraAuth) -> Result<Router, InvalidRequirement> {
    ///     let readers = auth.require(Scope("Reports.Read").or(AppPermission("Reports.Read.All")))?;
    ///     Ok(Router::new()
    ///         .route("/reports", get(|| async { "…" }).layer(readers))
    ///         .layer(auth.layer()))
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// If no token of Entra could meet the condition, or every one would, or if it decides by a claim
    /// that people can change: every problem with it, each with the correction.
    pub fn require(
        &self,
        condition: impl IntoCondition,
    ) -> Result<RequireLayer, InvalidRequirement> {
        Ok(RequireLayer::new(
            self.clone(),
            Requirement::new(condition)?,
        ))
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

    /// How the keys and the remembered tokens are doing at this moment. Asks nobody and waits for
    /// nothing.
    ///
    /// ```
    /// # fn show(auth: &tower_entra_auth::EntraAuth) {
    /// println!("{}", auth.status());
    /// # }
    /// ```
    #[must_use]
    pub fn status(&self) -> Status {
        let parts = &self.inner.parts;
        let issuers = parts.issuers.iter();
        Status {
            issuers: issuers.map(|issuer| issuer.keys.status()).collect(),
            token_cache: parts.token_cache.as_ref().map(TokenCache::status),
        }
    }

    /// An endpoint for a readiness probe: 200 while tokens can be judged, else 503 with
    /// `Retry-After`, and a little JSON. Being asked starts the fetching of keys, so that a
    /// service which gets no requests before it is ready becomes so. It keeps this handle alive.
    ///
    /// ```
    /// # #[cfg(feature = "axum")]
    /// # fn app(auth: &tower_entra_auth::EntraAuth) -> axum::Router {
    /// use axum::{Router, routing::get};
    ///
    /// Router::new().route("/ready", get(auth.readiness())) // outside the Layer
    /// # }
    /// ```
    pub fn readiness(
        &self,
    ) -> impl Fn() -> Ready<Response<Full<Bytes>>> + Clone + Send + Sync + 'static + use<> {
        let auth = self.clone();
        move || {
            let mut retry_after = Duration::ZERO;
            for issuer in &auth.inner.parts.issuers {
                // Without a runtime it is not ready, and says so.
                let _ = issuer.keys.keep_running(Instant::now());
                retry_after = retry_after.max(issuer.keys.retry_after());
            }
            ready(auth.status().readiness(retry_after))
        }
    }

    /// Runs every check of a token to its end, with the keys that are held now, and reports on
    /// each, and on the requirement of a route if one is given: for people who look for the
    /// reason. Without keys (see [`ready`](Self::ready)) the signature is not checked. The tenant
    /// rule is not asked.
    #[must_use]
    pub fn explain(&self, token: &str, requirement: Option<&Requirement>) -> Report {
        let issuers = &self.inner.parts.issuers;
        let issuer = match self.parse(token.as_bytes()) {
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
        caller.verified_by() == self.inner.answers.id()
    }

    /// Decides about a request by its headers, without awaiting anything.
    pub(crate) fn decide(&self, headers: &HeaderMap, uri: &Uri) -> Decision {
        match self.try_decide(headers, uri) {
            Ok(decision) => decision,
            Err(refusal) => Decision::Refuse(refusal),
        }
    }

    fn try_decide(&self, headers: &HeaderMap, uri: &Uri) -> Result<Decision, Refusal> {
        let sent = self.inner.parts.token_place.find(headers, uri)?;
        let now = Instant::now();
        if let Some(caller) = self.remembered(sent, now) {
            return Ok(self.accepted(caller, true));
        }
        // What parses has the characters of a token; only what does not need be looked at twice.
        let unverified = match self.parse(sent) {
            Ok(unverified) => unverified,
            Err(fault) if sent.len() > self.inner.parts.max_token_length => return Err(fault),
            Err(fault) => return Err(bearer::check_characters(sent).err().unwrap_or(fault)),
        };
        let (index, issuer) = self.issuer_of(&unverified);

        if let Some(key) = issuer.keys.find(unverified.key_ref().key_id, now) {
            // A key that is held serves even where none could be fetched.
            let _ = issuer.keys.keep_running(now);
            let caller = self.finish(index, unverified, key, now)?;
            return Ok(self.accepted(caller, false));
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
        let keep_running = issuer.keys.keep_running(now);
        keep_running.map_err(|cause| issuer.keys.refusal(cause))?;
        if let Some(found) = issuer.keys.final_word(unverified.key_ref().key_id, now) {
            let caller = self.finish_with(index, unverified, found, now)?;
            return Ok(self.accepted(caller, false));
        }
        Ok(self.wait_for(Unknown::Key {
            token: sent.into(),
            issuer: index,
        }))
    }

    /// Who was verified with exactly this token, if all that may change since still holds.
    fn remembered(&self, token: &[u8], now: Instant) -> Option<Caller> {
        let cache = self.inner.parts.token_cache.as_ref()?;
        let Some(caller) = cache.get(token, now) else {
            metrics::token_lookup(Lookup::Miss);
            return None;
        };
        let proof = caller.proof()?;
        let issuer = &self.inner.parts.issuers[proof.issuer];
        let _ = issuer.keys.keep_running(now);
        let still_holds = issuer.keys.trusts(&proof.key, now)
            && issuer
                .validator
                .check_lifetime(&caller, (self.inner.parts.clock)())
                .is_ok();
        if still_holds {
            metrics::token_lookup(Lookup::Hit);
            return Some(caller);
        }
        // The reason is for the checks to say, from the beginning.
        metrics::token_lookup(Lookup::Outdated);
        cache.forget(token);
        None
    }

    /// What is to happen to a request whose token is valid.
    fn accepted(&self, caller: Caller, is_remembered: bool) -> Decision {
        if self.unanswered_rule(&caller).is_some() {
            return self.wait_for(Unknown::TenantRule(caller));
        }
        if !is_remembered {
            self.remember(&caller);
        }
        Decision::Accept(caller)
    }

    fn remember(&self, caller: &Caller) {
        if let Some(cache) = &self.inner.parts.token_cache {
            cache.remember(caller);
        }
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

    fn parse<'t>(&self, token: &'t [u8]) -> Result<Unverified<'t>, Refusal> {
        Ok(Unverified::parse_bytes(
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
        issuer: usize,
        token: Unverified<'_>,
        key: Arc<TrustedKey>,
        now: Instant,
    ) -> Result<Caller, Refusal> {
        let validator = &self.inner.parts.issuers[issuer].validator;
        let token = validator.finish(token, Some(key.key()), (self.inner.parts.clock)())?;
        validator
            .default_permission(&token)
            .map_err(Refusal::denied)?;
        let proof = Proof {
            issuer,
            key,
            verified_at: now,
        };
        Ok(Caller::new(token, &self.inner.answers, proof))
    }

    /// Whether a requirement is met by the caller of a request.
    pub(crate) fn check(
        &self,
        requirement: &Requirement,
        request: &Extensions,
    ) -> Result<(), Refusal> {
        let Some(caller) = request.get::<Caller>() else {
            let anonymous = request.get::<Anonymous>();
            return Err(match anonymous {
                Some(Anonymous(by)) if by.id() == self.inner.answers.id() => Refusal::NoCredentials,
                Some(_) => Refusal::WrongLayer { of_another: true },
                None => Refusal::WrongLayer { of_another: false },
            });
        };
        self.check_caller(requirement, caller)
    }

    pub(crate) fn check_caller(
        &self,
        requirement: &Requirement,
        caller: &Caller,
    ) -> Result<(), Refusal> {
        if !self.has_verified(caller) {
            return Err(Refusal::WrongLayer { of_another: true });
        }
        requirement.check(caller).map_err(|denied| {
            let scopes = requirement.scopes_after(&denied, caller);
            Refusal::Denied {
                scopes: scopes.into_iter().map(str::to_owned).collect(),
                denied,
            }
        })
    }

    /// Marks the header that has the token as sensitive, so that whoever prints headers leaves its
    /// value out.
    pub(crate) fn hide_token(&self, request: &mut HeaderMap) {
        let name = self.inner.parts.token_header.as_ref();
        if let Some(value) = name.and_then(|name| request.get_mut(name)) {
            value.set_sensitive(true);
        }
    }

    /// The same for a request whose headers nobody looked at: there may be several.
    fn hide_tokens(&self, request: &mut HeaderMap) {
        let token_header = self.inner.parts.token_header.as_ref();
        for (name, value) in request.iter_mut() {
            if Some(name) == token_header {
                value.set_sensitive(true);
            }
        }
    }

    /// Hands a verified caller on with the request.
    pub(crate) fn admit<B>(&self, request: &mut Request<B>, caller: Caller) {
        request.extensions_mut().insert(caller);
        self.remove_token(request);
    }

    /// Hands a request on that is to pass without a token. A caller whom a Layer further out has
    /// verified is not this one's.
    pub(crate) fn admit_anonymous<B>(&self, request: &mut Request<B>) {
        let anonymous = Anonymous(Arc::clone(&self.inner.answers));
        let extensions = request.extensions_mut();
        extensions.remove::<Caller>();
        extensions.insert(anonymous);
        self.hide_tokens(request.headers_mut());
        self.remove_token(request);
    }

    fn remove_token<B>(&self, request: &mut Request<B>) {
        let parts = &self.inner.parts;
        let Some(name) = parts.token_header.as_ref().filter(|_| parts.removes_token) else {
            return;
        };
        if request.headers_mut().remove(name).is_some() {
            request.extensions_mut().insert(TokenRemoved);
        }
    }

    /// Whether a Layer further out removed the token of a request.
    pub(crate) fn was_removed(request: &Extensions) -> bool {
        request.get::<TokenRemoved>().is_some()
    }

    /// A caller whom nobody verified.
    #[cfg(feature = "testing")]
    pub(crate) fn trusted(&self, token: AccessToken) -> Caller {
        Caller::trusted(token, &self.inner.answers)
    }

    /// The answer to a request that is refused.
    pub(crate) fn answer<B>(
        &self,
        refusal: &Refusal,
        request: &Request<B>,
    ) -> Response<Full<Bytes>> {
        let caller = match refusal {
            // Who is calling is known from a Layer further out, but not by this token.
            Refusal::Denied { .. } | Refusal::Challenged { .. } => {
                let caller = request.extensions().get::<Caller>();
                caller.filter(|caller| self.has_verified(caller))
            }
            _ => None,
        };
        let answers = &self.inner.answers;
        answers.answer(refusal, caller, request.method(), request.headers())
    }

    pub(crate) fn answers(&self) -> &Arc<Answers> {
        &self.inner.answers
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
        self.auth.remember(&caller);
        Ok(caller)
    }
}

impl EntraAuth {
    async fn decide_with_key(&self, token: Arc<[u8]>, index: usize) -> Result<Caller, Refusal> {
        let issuer = &self.inner.parts.issuers[index];
        let key_id = {
            // Parsed again rather than kept: what was parsed borrows from the request.
            let unverified = self.parse(&token)?;
            unverified.key_ref().key_id.clone()
        };
        let found = issuer.keys.wait_for(&key_id).await;
        self.finish_with(index, self.parse(&token)?, found, Instant::now())
    }

    /// Judges a token whose key was missing by what became of it.
    fn finish_with(
        &self,
        index: usize,
        token: Unverified<'_>,
        found: Result<Arc<TrustedKey>, Missing>,
        now: Instant,
    ) -> Result<Caller, Refusal> {
        let issuer = &self.inner.parts.issuers[index];
        let source = issuer.keys.source_name();
        match found {
            Ok(key) => {
                metrics::missing_key(source, "found");
                self.finish(index, token, key, now)
            }
            Err(Missing::Unknown) => {
                metrics::missing_key(source, "unknown");
                Err(issuer.validator.unknown_key(token).into())
            }
            Err(Missing::Unavailable(cause)) => {
                metrics::missing_key(source, "unavailable");
                Err(issuer.keys.refusal(cause))
            }
        }
    }
}

impl fmt::Debug for EntraAuth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuers = &self.inner.parts.issuers;
        formatter
            .debug_struct("EntraAuth")
            .field("id", &self.inner.answers.id().0)
            .field("authority", issuers[0].validator.authority())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
impl EntraAuth {
    /// With the issuers of another one, too.
    pub(crate) fn and_trusting(&self, other: &Self) -> Self {
        let both = [&self.inner, &other.inner];
        let issuers = both.into_iter().flat_map(|inner| &inner.parts.issuers);
        let parts = &self.inner.parts;
        Self::new(
            Parts {
                issuers: issuers
                    .map(|issuer| TrustedIssuer {
                        validator: issuer.validator.clone(),
                        keys: Arc::clone(&issuer.keys),
                    })
                    .collect(),
                tenant_rule: None,
                token_cache: Some(TokenCache::new(
                    TokenCache::DEFAULT_BYTES,
                    TokenCache::DEFAULT_TTL,
                )),
                clock: Arc::clone(&parts.clock),
                max_token_length: parts.max_token_length,
                token_place: TokenPlace::default(),
                token_header: None,
                removes_token: false,
            },
            Words::default(),
            None,
        )
    }
}
