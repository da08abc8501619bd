//! The handle `EntraAuth`: the trusted issuers, and the state that all requests share.

mod decision;
mod malformed;
#[cfg(test)]
mod remembered_tests;
mod token_source;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use entra_jwt_core::{TenantId, Validator};
use http::{Extensions, Request, Response};
use tokio::time::Instant;

pub(crate) use self::decision::{Decision, RememberedTokens};
pub use self::token_source::{RequestHead, SentToken, TokenSource, source_fn};
pub(crate) use self::token_source::{TokenLocation, TokenReader};
use crate::caller::{Anonymous, AuthContext, Caller};
use crate::keys::KeyStore;
use crate::resource_metadata::{NoProtectedResource, ResourceMetadata};
use crate::respond::Reason;
use crate::service::{AnswerBody, Asked, for_body};
use crate::status::AuthStatus;
use crate::unavailable::Unavailable;

/// Decides which requests carry a valid token for this API, and keeps the signing keys fresh.
///
/// Cloning is cheap: all clones share one state. The background refresh of keys stops when the last
/// clone is dropped. Layers and services hold clones too. See the [crate's page](crate) for an
/// example.
#[derive(Clone)]
pub struct EntraAuth {
    state: Arc<AuthState>,
}

/// A trusted authority: its validation rules and its signing keys. One authority can admit many
/// tenants.
pub(crate) struct Issuer {
    validator: Validator,
    keys: Arc<KeyStore>,
    /// `true` if every token of this issuer must name its grant (claim `gid`).
    has_grants: bool,
}

impl Issuer {
    pub(crate) fn new(validator: Validator, keys: Arc<KeyStore>, has_grants: bool) -> Self {
        Self {
            validator,
            keys,
            has_grants,
        }
    }
}

/// State shared by all clones of a handle.
struct AuthState {
    /// The trusted issuers, at least one: first Entra, then the authorization servers that are
    /// trusted in addition.
    issuers: Vec<Issuer>,
    tokens: TokenReader,
    max_token_length: usize,
    /// The cache of accepted tokens; `None` if every token is verified on every request.
    token_cache: Option<RememberedTokens>,
    /// The protected resource metadata of this API, if it publishes any.
    resource: Option<ResourceMetadata>,
    /// Base URL of Entra's endpoints, without a slash at its end.
    authority_url: String,
    context: Arc<AuthContext>,
}

impl Drop for AuthState {
    fn drop(&mut self) {
        for issuer in &self.issuers {
            issuer.keys.stop();
        }
    }
}

impl EntraAuth {
    pub(crate) fn new(
        issuers: Vec<Issuer>,
        tokens: TokenReader,
        max_token_length: usize,
        token_cache: Option<RememberedTokens>,
        resource: Option<ResourceMetadata>,
        authority_url: String,
        context: AuthContext,
    ) -> Self {
        Self {
            state: Arc::new(AuthState {
                issuers,
                tokens,
                max_token_length,
                token_cache,
                resource,
                authority_url,
                context: Arc::new(context),
            }),
        }
    }

    /// Returns the endpoint that serves the metadata of the configured
    /// [protected resource](crate::EntraAuthBuilder::protected_resource).
    ///
    /// Use it as a Layer around everything, as a service, or as routes of axum:
    ///
    /// ```
    /// # #[cfg(feature = "axum")]
    /// # fn app(auth: &tower_entra_auth::EntraAuth)
    /// # -> Result<tower_entra_auth::axum::Protected, Box<dyn std::error::Error>> {
    /// use axum::{Router, routing::post};
    ///
    /// let mcp = Router::new().route("/mcp", post(|| async { "…" }));
    /// Ok(auth.protect(mcp).open(auth.resource_metadata()?))
    /// # }
    /// ```
    ///
    /// # Errors
    /// If no protected resource was set.
    pub fn resource_metadata(&self) -> Result<ResourceMetadata, NoProtectedResource> {
        self.state.resource.clone().ok_or(NoProtectedResource)
    }

    /// Waits until the keys of every trusted issuer are available.
    ///
    /// Returns immediately if they are. Calling it is optional: without it, the first request
    /// starts the fetch.
    ///
    /// # Errors
    /// Returns the error of the fetch in progress, or of the next one if none is. The next one
    /// starts within 30 s, or within 5 minutes if the key server asked for a delay (`Retry-After`).
    /// Fetching continues in the background; call again to keep waiting.
    pub async fn ready(&self) -> Result<(), Unavailable> {
        for issuer in &self.state.issuers {
            issuer.keys.ready().await?;
        }
        Ok(())
    }

    /// Returns the current state of the keys and of the token cache.
    ///
    /// Performs no I/O and never waits for a fetch.
    ///
    /// ```
    /// # fn show(auth: &tower_entra_auth::EntraAuth) {
    /// println!("{}", auth.status());
    /// # }
    /// ```
    #[must_use]
    pub fn status(&self) -> AuthStatus {
        let issuers = self.state.issuers.iter();
        AuthStatus {
            issuers: issuers.map(|issuer| issuer.keys.status()).collect(),
            token_cache: self
                .state
                .token_cache
                .as_ref()
                .map(RememberedTokens::status),
        }
    }

    /// Starts a key refresher for every issuer that has none, and returns how long to wait before
    /// asking again.
    pub(crate) fn ensure_refreshers(&self) -> Duration {
        let mut retry_after = Duration::ZERO;
        for issuer in &self.state.issuers {
            // This fails without a tokio runtime. There are no keys then, and the status says so.
            let _ = issuer.keys.ensure_refresher(Instant::now());
            retry_after = retry_after.max(issuer.keys.retry_after());
        }
        retry_after
    }

    /// Removes the cached answers of the [tenant rule](crate::EntraAuthBuilder::tenant_rule) about
    /// a tenant, and those of the [caller rule](crate::EntraAuthBuilder::caller_rule) about its
    /// callers.
    ///
    /// The next requests of the tenant call the rules again. Use it when a company becomes a
    /// customer or stops being one, or when a user is blocked. Without it, a yes stays cached for
    /// [`rule_ttl`](crate::EntraAuthBuilder::rule_ttl), and a no for a second.
    ///
    /// Other processes and other `EntraAuth`s keep their cached answers. A stream that
    /// [`end_at_expiry`](Self::end_at_expiry) watches calls the rules again at its scheduled time.
    pub fn forget_tenant(&self, tenant: TenantId) {
        self.state.context.checks().forget_tenant(tenant);
    }

    /// Returns the base URL of the authority's endpoints, without a slash at its end:
    /// `https://login.microsoftonline.com/{tenant}`.
    ///
    /// The paths `/oauth2/v2.0/authorize` and `/oauth2/v2.0/token` are added to it. The URL follows
    /// the [metadata endpoint](crate::EntraAuthBuilder::metadata_endpoint), even if an environment
    /// variable sets that endpoint. A service that sends secrets to these endpoints must set
    /// [`own_endpoints_only`](crate::EntraAuthBuilder::own_endpoints_only).
    ///
    /// It tells clients where users sign in, for example in the security scheme of an OpenAPI
    /// document. The example `openapi` uses it so.
    #[must_use]
    pub fn authority_url(&self) -> &str {
        &self.state.authority_url
    }

    /// Returns the validation rules of each trusted issuer.
    #[doc(hidden)] // for `entra-oauth-proxy` and similar crates
    pub fn validators(&self) -> impl Iterator<Item = &Validator> {
        self.state.issuers.iter().map(|issuer| &issuer.validator)
    }

    /// Returns whether the caller was verified by this `EntraAuth`, by a clone of it, or by one
    /// that it [replaces](crate::EntraAuthBuilder::replacing).
    #[must_use]
    pub fn has_verified(&self, caller: &Caller) -> bool {
        caller.context().id() == self.state.context.id()
    }

    /// Returns the caller that this `EntraAuth` verified, or `None` if it admitted the request as
    /// anonymous. Fails with `WrongLayer` if no Layer has checked the request, or only the Layer of
    /// another `EntraAuth`.
    pub(crate) fn caller_in<'r>(
        &self,
        request: &'r Extensions,
    ) -> Result<Option<&'r Caller>, Reason> {
        let anonymous = request.get::<Anonymous>();
        let (caller, by) = match (request.get::<Caller>(), anonymous) {
            (Some(caller), _) => (Some(caller), caller.context()),
            (None, Some(Anonymous(by))) => (None, by),
            (None, None) => return Err(Reason::WrongLayer { of_another: false }),
        };
        match by.id() == self.state.context.id() {
            true => Ok(caller),
            false => Err(Reason::WrongLayer { of_another: true }),
        }
    }

    /// Logs and counts a refusal, and builds the response to the request.
    pub(crate) fn refuse<B>(&self, refusal: &Reason, request: &Request<B>) -> Response<AnswerBody> {
        let caller = match refusal {
            // A requirement refuses for these reasons, after an outer Layer has verified the
            // caller. For every other reason, the extensions say nothing about the refused token.
            Reason::PermissionDenied { .. } | Reason::Challenged { .. } => {
                let caller = request.extensions().get::<Caller>();
                caller.filter(|caller| self.has_verified(caller))
            }
            _ => None,
        };
        let context = &self.state.context;
        let response = context.refuse(refusal, caller, Asked::from(request));
        for_body(request, response)
    }

    pub(crate) fn context(&self) -> &Arc<AuthContext> {
        &self.state.context
    }
}

impl fmt::Debug for EntraAuth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuers = &self.state.issuers;
        formatter
            .debug_struct("EntraAuth")
            .field("id", &self.state.context.id())
            .field("authority", issuers[0].validator.authority())
            .finish_non_exhaustive()
    }
}
