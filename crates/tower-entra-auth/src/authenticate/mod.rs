//! The handle: the issuers that are trusted, and all that requests share.

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

/// Decides which requests carry a valid token for this API, and keeps the keys for that fresh.
///
/// A cheap handle: clones share everything. The background refresh of keys ends with the last
/// one, Layers and services included. See the [crate's page](crate) for an example.
#[derive(Clone)]
pub struct EntraAuth {
    state: Arc<AuthState>,
}

/// One authority with its rules and its keys, however many tenants it admits.
pub(crate) struct Issuer {
    validator: Validator,
    keys: Arc<KeyStore>,
    /// `true` if each of its tokens is of a grant.
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

/// The state that all handles share.
struct AuthState {
    /// The trusted issuers, at least one: Entra, then the authorization servers trusted beside it.
    issuers: Vec<Issuer>,
    tokens: TokenReader,
    max_token_length: usize,
    /// `None` if every token is verified every time.
    token_cache: Option<RememberedTokens>,
    /// The metadata that is published about this API, if any is.
    resource: Option<ResourceMetadata>,
    /// The URL of Entra's endpoints.
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

    /// Serves the metadata of the
    /// [protected resource](crate::EntraAuthBuilder::protected_resource) that was set, as a Layer around
    /// everything, a service, or routes of axum:
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

    /// Waits for the first keys; returns at once if they are there. Optional: without it they are
    /// fetched when the first request arrives.
    ///
    /// # Errors
    /// The error of the fetch in progress, or of the next one (started within 30 s) if none is.
    /// Attempts go on in the background: to wait longer, call it again.
    pub async fn ready(&self) -> Result<(), Unavailable> {
        for issuer in &self.state.issuers {
            issuer.keys.ready().await?;
        }
        Ok(())
    }

    /// Returns how the keys and the remembered tokens are doing at this moment. Asks nobody and waits
    /// for nothing.
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

    /// Begins to fetch keys where nobody has yet, and returns after what time it is worth asking again.
    pub(crate) fn ensure_refreshers(&self) -> Duration {
        let mut retry_after = Duration::ZERO;
        for issuer in &self.state.issuers {
            // Without a runtime there are no keys, and the status says so.
            let _ = issuer.keys.ensure_refresher(Instant::now());
            retry_after = retry_after.max(issuer.keys.retry_after());
        }
        retry_after
    }

    /// Forgets what the [tenant rule](crate::EntraAuthBuilder::tenant_rule) answered about a tenant, and the
    /// [caller rule](crate::EntraAuthBuilder::caller_rule) about its callers, so that their next requests ask
    /// again: when a company becomes a customer or ceases to be one, or a user is blocked. Without it a yes is kept for
    /// [`rule_ttl`](crate::EntraAuthBuilder::rule_ttl), and a no for a second.
    ///
    /// Other processes, and other `EntraAuth`s, keep what they have. Streams that
    /// [`end_at_expiry`](Self::end_at_expiry) watches ask at the time that they had set.
    pub fn forget_tenant(&self, tenant: TenantId) {
        self.state.context.checks().forget_tenant(tenant);
    }

    /// Returns the URL under which the endpoints of the authority are, without a slash at its end:
    /// `https://login.microsoftonline.com/{tenant}`, to which `/oauth2/v2.0/authorize` and
    /// `/oauth2/v2.0/token` are added. It follows the
    /// [metadata endpoint](crate::EntraAuthBuilder::metadata_endpoint), also if that is of the environment:
    /// where secrets are sent there, set
    /// [`own_endpoints_only`](crate::EntraAuthBuilder::own_endpoints_only).
    #[must_use]
    #[doc(hidden)] // for `entra-oauth-proxy` and the like
    pub fn authority_url(&self) -> &str {
        &self.state.authority_url
    }

    /// Returns the rules of each issuer that is trusted.
    #[doc(hidden)] // for `entra-oauth-proxy` and the like
    pub fn validators(&self) -> impl Iterator<Item = &Validator> {
        self.state.issuers.iter().map(|issuer| &issuer.validator)
    }

    /// Returns whether this `EntraAuth`, or a clone of it, verified the caller.
    #[must_use]
    pub fn has_verified(&self, caller: &Caller) -> bool {
        caller.context().id() == self.state.context.id()
    }

    /// Returns who is calling, if it is known here; `None` if the request passed as an anonymous one.
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

    /// Logs and counts a refusal, and makes the response to the request.
    pub(crate) fn refuse<B>(&self, refusal: &Reason, request: &Request<B>) -> Response<AnswerBody> {
        let caller = match refusal {
            // Who is calling is known from a Layer further out, but not by this token.
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
