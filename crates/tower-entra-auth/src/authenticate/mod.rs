//! The handle: which issuers are trusted, and what is done with a request once it is decided.

mod bearer;
mod decision;
#[cfg(test)]
mod remembered_tests;
mod spelling;
mod token_cache;
mod token_source;

use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entra_jwt_core::{Explain, Report, Requirement, TenantId, Validator};
use http::{Extensions, HeaderMap, HeaderName, Request, Response};
use http_body_util::Full;
use tokio::time::Instant;

pub(crate) use self::decision::Decision;
use self::spelling::remove_other_spellings;
pub(crate) use self::token_cache::TokenCache;
pub(crate) use self::token_source::TokenPlace;
pub use self::token_source::{SentToken, TokenSource};
use crate::caller::{Anonymous, AuthContext, Caller, HandlerRefusal};
use crate::keys::KeyStore;
use crate::policy::PostVerificationChecks;
use crate::resource_metadata::{NoProtectedResource, ResourceMetadata};
use crate::respond::Refusal;
use crate::service::for_body;
use crate::status::Status;
use crate::telemetry::Decided;
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
    /// At least one: Entra, then an authorization server in front of it, if there is one.
    pub(crate) issuers: Vec<TrustedIssuer>,
    /// `None` if every token is verified every time.
    pub(crate) token_cache: Option<TokenCache>,
    pub(crate) max_token_length: usize,
    pub(crate) token_place: TokenPlace,
    pub(crate) removes_token: bool,
    /// What is published about this API, if anything is.
    pub(crate) resource: Option<ResourceMetadata>,
    /// Where Entra's endpoints are.
    pub(crate) authority_url: String,
}

/// One authority with its rules and its keys, however many tenants it admits.
pub(crate) struct TrustedIssuer {
    pub(crate) validator: Validator,
    pub(crate) keys: Arc<KeyStore>,
    /// Whether each of its tokens is of a grant.
    pub(crate) has_grants: bool,
}

struct Inner {
    parts: Parts,
    /// The header that is nothing but the token, if there is such a one.
    token_header: Option<HeaderName>,
    context: Arc<AuthContext>,
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

impl EntraAuth {
    pub(crate) fn new(parts: Parts, context: AuthContext) -> Self {
        Self {
            inner: Arc::new(Inner {
                token_header: parts.token_place.header(),
                parts,
                context: Arc::new(context),
            }),
        }
    }

    /// Serves the metadata of the
    /// [protected resource](crate::EntraAuthBuilder::protected_resource) that was set, as a Layer around
    /// everything or as a service in a router:
    ///
    /// ```
    /// # #[cfg(feature = "axum")]
    /// # fn app(auth: &tower_entra_auth::EntraAuth) -> Result<axum::Router, Box<dyn std::error::Error>> {
    /// use axum::{Router, routing::post};
    ///
    /// Ok(Router::new()
    ///     .route("/mcp", post(|| async { "…" }))
    ///     .layer(auth.layer())
    ///     .layer(auth.resource_metadata()?)) // after it, so outside: open
    /// # }
    /// ```
    ///
    /// # Errors
    /// If no protected resource was set.
    pub fn resource_metadata(&self) -> Result<ResourceMetadata, NoProtectedResource> {
        self.inner.parts.resource.clone().ok_or(NoProtectedResource)
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

    /// Verifies a token that did not come in a request's header, as the Layer verifies those that do:
    /// by every rule, [the tenant rule](crate::EntraAuthBuilder::tenant_rule) included, waiting for keys
    /// within the same bounds. Nothing is logged or counted unless the refusal is answered.
    ///
    /// # Errors
    /// The refusal.
    pub async fn verify(&self, token: &str) -> Result<Caller, HandlerRefusal> {
        let decided = match self.decide_about(token.as_bytes()) {
            Ok(Decision::Accept(caller)) => Ok(caller),
            Ok(Decision::Refuse(refusal)) | Err(refusal) => Err(refusal),
            Ok(Decision::Wait(waiting)) => waiting.decide().await,
        };
        decided.map_err(|refusal| HandlerRefusal::new(&self.inner.context, None, refusal, None))
    }

    /// Forgets what the [tenant rule](crate::EntraAuthBuilder::tenant_rule) answered about a tenant, so that
    /// its next request asks again: for the moment at which a company becomes a customer, or ceases to
    /// be one. Without it a yes is kept for
    /// [`tenant_rule_ttl`](crate::EntraAuthBuilder::tenant_rule_ttl), and a no for a second.
    ///
    /// Other processes, and other `EntraAuth`s, keep what they have. Streams that
    /// [`end_at_expiry`](Self::end_at_expiry) watches ask at the time that they had set.
    pub fn forget_tenant(&self, tenant: TenantId) {
        self.checks().forget_tenant(tenant);
    }

    /// The URL under which the endpoints of the authority are, without a slash at its end:
    /// `https://login.microsoftonline.com/{tenant}`, to which `/oauth2/v2.0/authorize` and
    /// `/oauth2/v2.0/token` are added. It follows the
    /// [metadata endpoint](crate::EntraAuthBuilder::metadata_endpoint), also if that is of the environment:
    /// where secrets are sent there, set
    /// [`own_endpoints_only`](crate::EntraAuthBuilder::own_endpoints_only).
    #[must_use]
    pub fn authority_url(&self) -> &str {
        &self.inner.parts.authority_url
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
            Explain::at(self.inner.context.now()).max_length(self.inner.parts.max_token_length);
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
        caller.context().id() == self.inner.context.id()
    }

    /// Who is calling, if it is known here; `None` if the request passed as an anonymous one.
    pub(crate) fn caller_in<'r>(
        &self,
        request: &'r Extensions,
    ) -> Result<Option<&'r Caller>, Refusal> {
        let anonymous = request.get::<Anonymous>();
        let (caller, by) = match (request.get::<Caller>(), anonymous) {
            (Some(caller), _) => (Some(caller), caller.context()),
            (None, Some(Anonymous(by))) => (None, by),
            (None, None) => return Err(Refusal::WrongLayer { of_another: false }),
        };
        match by.id() == self.inner.context.id() {
            true => Ok(caller),
            false => Err(Refusal::WrongLayer { of_another: true }),
        }
    }

    /// Marks the header that has the token as sensitive, so that whoever prints headers leaves its
    /// value out.
    pub(crate) fn hide_token(&self, request: &mut HeaderMap) {
        let name = self.inner.token_header.as_ref();
        if let Some(value) = name.and_then(|name| request.get_mut(name)) {
            value.set_sensitive(true);
        }
    }

    /// The same for a request whose headers nobody looked at: there may be several.
    fn hide_tokens(&self, request: &mut HeaderMap) {
        let token_header = self.inner.token_header.as_ref();
        for (name, value) in request.iter_mut() {
            if Some(name) == token_header {
                value.set_sensitive(true);
            }
        }
    }

    /// Hands a verified caller on with the request.
    pub(crate) fn admit<B>(&self, request: &mut Request<B>, caller: Caller) {
        Decided::ACCEPTED.count();
        request.extensions_mut().insert(caller);
        self.remove_token(request);
    }

    /// Hands a request on that is to pass without a token. A caller whom a Layer further out has
    /// verified is not this one's.
    pub(crate) fn admit_anonymous<B>(&self, request: &mut Request<B>) {
        Decided::ANONYMOUS.count();
        let anonymous = Anonymous(Arc::clone(&self.inner.context));
        let extensions = request.extensions_mut();
        extensions.remove::<Caller>();
        extensions.insert(anonymous);
        self.hide_tokens(request.headers_mut());
        self.remove_token(request);
    }

    fn remove_token<B>(&self, request: &mut Request<B>) {
        let name = self.inner.token_header.as_ref();
        let Some(name) = name.filter(|_| self.inner.parts.removes_token) else {
            return;
        };
        // Nobody further in may take what a client sends beside its token for the token.
        remove_other_spellings(request.headers_mut(), name);
        if request.headers_mut().remove(name).is_some() {
            request.extensions_mut().insert(TokenRemoved);
        }
    }

    /// Whether a Layer further out removed the token of a request.
    pub(crate) fn was_removed(request: &Extensions) -> bool {
        request.get::<TokenRemoved>().is_some()
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
        let context = &self.inner.context;
        let answer = context.answer(refusal, caller, request.method(), request.headers());
        for_body(request, answer)
    }

    pub(crate) fn context(&self) -> &Arc<AuthContext> {
        &self.inner.context
    }

    fn checks(&self) -> &PostVerificationChecks {
        self.inner.context.checks()
    }
}

impl fmt::Debug for EntraAuth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuers = &self.inner.parts.issuers;
        formatter
            .debug_struct("EntraAuth")
            .field("id", &self.inner.context.id())
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
        let context = Arc::clone(&self.inner.context);
        Self::new(
            Parts {
                issuers: issuers
                    .map(|issuer| TrustedIssuer {
                        validator: issuer.validator.clone(),
                        keys: Arc::clone(&issuer.keys),
                        has_grants: issuer.has_grants,
                    })
                    .collect(),
                token_cache: Some(TokenCache::new(
                    TokenCache::DEFAULT_BYTES,
                    TokenCache::DEFAULT_TTL,
                )),
                max_token_length: self.inner.parts.max_token_length,
                token_place: TokenPlace::default(),
                removes_token: false,
                resource: None,
                authority_url: String::new(),
            },
            AuthContext::new(
                crate::respond::ResponderConfig::default(),
                Arc::new(move || context.now()),
                self.inner.context.clock_skew(),
                PostVerificationChecks::default(),
                None,
                None,
            ),
        )
    }
}
