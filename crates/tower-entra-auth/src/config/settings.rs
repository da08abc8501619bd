//! The settings of the builder, one method for each, and those from environment variables.
//!
//! `ENTRA_*` comes first. The Azure SDK's `AZURE_*` is the fallback; on AKS with workload identity
//! those name the pod, not the API, so that `ENTRA_*` must be set there.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use entra_http::{BoxError, HttpClient};
use entra_jwt_core::{Cloud, TenantId, refusal::Setting};
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{
    CloudSetting, EntraAuthBuilder, KeyOptions, Sourced, TenantSetting, TokenCache, TrustedIssuer,
};
use crate::authenticate::{EntraAuth, TokenLocation, TokenSource};
use crate::caller::{Caller, RefusalContext};
use crate::keys::{KeySource, Source};
use crate::policy::Rule;
use crate::resource_metadata::ProtectedResource;
use crate::respond::RefusalDetail;
use crate::service::AnswerBody;
use crate::setting::SettingNames;

impl EntraAuthBuilder {
    /// Sets the tenant (directory) whose tokens are accepted.
    ///
    /// It is the id from the Overview page of Microsoft Entra ID, as text or as a
    /// [`TenantId`](crate::TenantId). Text may also have several ids, separated by commas, or be one of
    /// `organizations`, `common` and `consumers`. A [`Tenancy`](crate::Tenancy) says the same in types: the
    /// tenants of a list, every work or school tenant, personal accounts too or alone.
    ///
    /// The issuer of a token is checked all the same: it must be that of the token's own tenant.
    pub fn tenant(mut self, tenant: impl Into<TenantSetting>) -> Self {
        self.tenancy = Some(Sourced::by_code(tenant.into()));
        self
    }

    /// Asks about the tenant of each token that passed every other check: whether it is a customer, for
    /// example. `Ok(false)` refuses the token (401, `tenant_not_allowed`), an error or no answer within 5 s is
    /// 503 (`tenant_rule_unavailable`).
    ///
    /// The rule is cloned for each question, so that an async closure can use what it captures: a pool of
    /// connections, an [`Arc`].
    ///
    /// ```
    /// use std::collections::HashSet;
    /// use std::convert::Infallible;
    /// use tokio::sync::RwLock;
    /// use std::sync::Arc;
    /// use tower_entra_auth::{EntraAuth, Tenancy, TenantId};
    ///
    /// # fn main() -> Result<(), tower_entra_auth::BuildError> {
    /// let customers = Arc::new(RwLock::new(HashSet::<TenantId>::new())); // or a database
    /// let auth = EntraAuth::builder()
    ///     .tenant(Tenancy::organizations())
    ///     .tenant_rule(async move |tenant| {
    ///         Ok::<_, Infallible>(customers.read().await.contains(&tenant))
    ///     })
    ///     .client_id("6e74172b-be56-4843-9ff4-e66a39bb12e3")
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A yes is kept for the tenant, for [`rule_ttl`](Self::rule_ttl) from when it was asked; a no for a
    /// second. [`EntraAuth::forget_tenant`](crate::EntraAuth::forget_tenant) ends both. A rule that goes by
    /// more than the tenant is a [`caller_rule`](Self::caller_rule).
    ///
    /// Requests of the same tenant that come while the rule is being asked share its answer. 1,024 wait
    /// at most, and those of one tenant only while they are at most three times as many as there are
    /// places left (768 if nobody else waits), so that no tenant takes the places of all; the others are
    /// 503. The rule is asked on a task of its own, so that a client that hangs up ends
    /// nothing; its error goes into the log.
    pub fn tenant_rule<F, R, E>(mut self, rule: F) -> Self
    where
        F: FnOnce(TenantId) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<bool, E>> + Send + 'static,
        E: fmt::Display,
    {
        self.tenant_rule = Some(Rule::about_tenants(rule));
        self
    }

    /// Asks about each caller whose token passed every other check, the
    /// [`tenant_rule`](Self::tenant_rule) among them: whether the user was blocked here, for example.
    /// `Ok(false)` refuses the caller (403, `caller_not_allowed`), an error or no answer within 5 s is 503
    /// (`caller_rule_unavailable`).
    ///
    /// ```
    /// use std::collections::HashSet;
    /// use std::convert::Infallible;
    /// use std::sync::Arc;
    /// use tower_entra_auth::{Caller, EntraAuth, TenantId, token::ObjectId};
    /// # use tokio::sync::RwLock;
    ///
    /// # fn main() -> Result<(), tower_entra_auth::BuildError> {
    /// // An object id is unique within its tenant alone.
    /// let blocked = Arc::new(RwLock::new(HashSet::<(TenantId, ObjectId)>::new()));
    /// let auth = EntraAuth::builder()
    ///     .tenant("72f988bf-86f1-41af-91ab-2d7cd011db47")
    ///     .caller_rule(async move |caller: Caller| {
    ///         let Some(id) = caller.object_id() else {
    ///             return Ok::<_, Infallible>(false);
    ///         };
    ///         Ok(!blocked.read().await.contains(&(caller.tenant_id(), id)))
    ///     })
    ///     .client_id("6e74172b-be56-4843-9ff4-e66a39bb12e3")
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The rule sees all of the token, so a yes is kept for this token alone, for
    /// [`rule_ttl`](Self::rule_ttl): a user with a new token is asked about again. Of 50,000 tokens a yes is kept,
    /// of more that of the most recently used. [`EntraAuth::forget_tenant`](crate::EntraAuth::forget_tenant) forgets
    /// those of one tenant, so that a block counts at once. At most 256 questions are asked at a time,
    /// and requests of further tokens get 503: a slow rule about many callers meets that bound.
    ///
    /// For what depends on the request, refuse in the handler: [`Caller::forbid`].
    pub fn caller_rule<F, R, E>(mut self, rule: F) -> Self
    where
        F: FnOnce(Caller) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<bool, E>> + Send + 'static,
        E: fmt::Display,
    {
        self.caller_rule = Some(Rule::about_callers(rule));
        self
    }

    /// Sets how long a yes of the [`tenant_rule`](Self::tenant_rule) and of the
    /// [`caller_rule`](Self::caller_rule) is kept: at most an hour; zero asks with every request, and every 5 s
    /// for streams that [`end_at_expiry`](crate::EntraAuth::end_at_expiry) watches.
    pub fn rule_ttl(mut self, ttl: Duration) -> Self {
        self.rule_ttl = Some(ttl);
        self
    }

    /// Sets the application (client) id of this API: a GUID, from the Overview page of its app
    /// registration. Tokens for `{client id}` and `api://{client id}` are accepted.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(Sourced::by_code(id.into()));
        self
    }

    /// Adds a further audience: the App ID URI, if it is not `api://{client id}`. Compared byte for
    /// byte, but for one trailing slash. v2 tokens always have the client id as audience. Several calls add
    /// up.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Accepts v1 tokens beside v2 tokens: those with an issuer of `sts.windows.net`. Better: set
    /// `api.requestedAccessTokenVersion` to 2 in the manifest of the app registration.
    pub fn accept_v1_tokens(mut self) -> Self {
        self.accepts_v1 = true;
        self
    }

    /// Accepts tokens of these client applications only, by their application (client) ids. The
    /// list restricts; being on it permits nothing. Of [reissued tokens](Self::trust) it
    /// judges the server that reissued them, which must be on it, and cannot tell that server's clients
    /// apart: compare [`AccessToken::registered_client`](crate::token::AccessToken::registered_client) for
    /// that.
    pub fn allowed_clients<I: Into<String>>(mut self, ids: impl IntoIterator<Item = I>) -> Self {
        let ids = ids.into_iter().map(Into::into);
        self.allowed_clients.get_or_insert_default().extend(ids);
        self
    }

    /// Lets these client applications call as themselves without any role: what Microsoft calls
    /// authorization by access control list. It exempts their app-only tokens from needing a scope
    /// or a role, and from nothing else.
    pub fn allow_roleless_clients<I: Into<String>>(
        mut self,
        ids: impl IntoIterator<Item = I>,
    ) -> Self {
        self.roleless_clients
            .extend(ids.into_iter().map(Into::into));
        self
    }

    /// Refuses guests of the tenant: users whom another tenant or provider authenticates. Have
    /// the API's app registration emit the optional claim `acct`, which says it best.
    pub fn refuse_guests(mut self) -> Self {
        self.refuses_guests = true;
        self
    }

    /// Refuses agents of Entra Agent ID (401, `agent_not_allowed`), as far as tokens say that they are of one.
    ///
    /// Entra leaves the claims that say it out of tokens for an API of your own, unless [its manifest asks for
    /// them](crate::_guide::setup_entra#agents): without that, agents pass as applications and users.
    pub fn refuse_agents(mut self) -> Self {
        self.refuses_agents = true;
        self
    }

    /// Sets the national cloud of the tenant.
    pub fn cloud(mut self, cloud: Cloud) -> Self {
        self.cloud = Some(Sourced::by_code(CloudSetting::Known(cloud)));
        self
    }

    /// Says that the tenant is one of External ID: keys come from this host, `NAME.ciamlogin.com` or a
    /// custom URL domain. Tokens always have the issuer `https://{tenant}.ciamlogin.com/{tenant}/v2.0`,
    /// so [`tenant`](Self::tenant) must be its id.
    pub fn external_id(mut self, host: impl Into<String>) -> Self {
        self.external_id = Some(host.into());
        self
    }

    /// Sets where the discovery document comes from: a base such as `http://127.0.0.1:7580`, to
    /// which the tenant's path is added, or the full address of a document. It must be `https`, or
    /// `http` on loopback. It changes no rule: the document must be of the configured cloud and
    /// tenant.
    pub fn metadata_endpoint(mut self, url: impl Into<String>) -> Self {
        self.metadata_endpoint = Some(Sourced::by_code(url.into()));
        self
    }

    /// Refuses a [`metadata_endpoint`](Self::metadata_endpoint) that is neither on a host of the
    /// [`cloud`](Self::cloud) or of [`external_id`](Self::external_id), nor on loopback, wherever it
    /// was set: for a service that sends secrets to the endpoints under
    /// [`EntraAuth::authority_url`](crate::EntraAuth::authority_url), which follow it. Whoever sets an
    /// environment variable would get them. [`dangerous`](Self::dangerous) has the exception.
    pub fn own_endpoints_only(mut self) -> Self {
        self.own_endpoints_only = true;
        self
    }

    /// Sets how far the clocks of Entra and of this machine may differ: at most 10 minutes.
    pub fn clock_skew(mut self, skew: Duration) -> Self {
        self.clock_skew = skew;
        self
    }

    /// Sets the longest token that is looked at, in bytes: 1 KiB to 250 KiB. A token with 200 groups
    /// has about 12 KB; servers limit headers too, hyper's HTTP/2 to 16 KiB in all.
    pub fn max_token_length(mut self, bytes: usize) -> Self {
        self.max_token_length = bytes;
        self
    }

    /// Sets how much a refused caller learns.
    pub fn refusal_detail(mut self, detail: RefusalDetail) -> Self {
        self.refusal_detail = detail;
        self
    }

    /// Sets what remedies call the settings: for a program that has options of its own in place of this
    /// builder. Default: the methods of this builder, and their environment variables.
    ///
    /// ```
    /// use tower_entra_auth::{EntraAuth, entra_jwt_core::refusal::Setting};
    ///
    /// let builder = EntraAuth::builder().setting_names(|setting| match setting {
    ///     Setting::Tenant => "auth.tenant in service.toml",
    ///     Setting::ClientId => "auth.client_id in service.toml",
    ///     other => other.name(),
    /// });
    /// ```
    pub fn setting_names(mut self, name: fn(Setting) -> &'static str) -> Self {
        self.setting_names = SettingNames(name);
        self
    }

    /// Makes the answers to refused requests, each from the one that it would get: for a body or
    /// headers of your own, or for a challenge that only the service knows of. The inner service
    /// is not called, whatever the answer is. If the function panics the answer is 500.
    ///
    /// ```
    /// use tower_entra_auth::EntraAuth;
    ///
    /// let settings = EntraAuth::builder().on_refusal(|refused, mut answer| {
    ///     let code = refused.public_code().unwrap_or("no_token");
    ///     answer.headers_mut().insert("x-refused", http::HeaderValue::from_static(code));
    ///     answer
    /// });
    /// ```
    pub fn on_refusal<F>(mut self, hook: F) -> Self
    where
        F: Fn(&RefusalContext<'_>, Response<AnswerBody>) -> Response<AnswerBody>
            + Send
            + Sync
            + 'static,
    {
        self.on_refusal = Some(Arc::new(hook));
        self
    }

    /// Says where this API is and how clients get tokens for it (RFC 9728): every challenge then
    /// names the metadata document and the scopes to request, which MCP clients need to find out
    /// where to sign in. The document is served by
    /// [`EntraAuth::resource_metadata`](crate::EntraAuth::resource_metadata).
    pub fn protected_resource(mut self, resource: ProtectedResource) -> Self {
        self.protected_resource = Some(resource);
        self
    }

    /// Adds paths of endpoints that must be outside of this Layer: a request for one that arrives here is
    /// an error in the log.
    #[doc(hidden)] // for `entra-oauth-proxy` and the like
    pub fn own_endpoints(mut self, paths: impl IntoIterator<Item = String>) -> Self {
        self.own_endpoints.extend(paths);
        self
    }

    /// Accepts the tokens of an issuer beside Entra, too, such as an authorization server in front of it.
    /// Several calls add up. Default: none but Entra's.
    pub fn trust(mut self, issuer: TrustedIssuer) -> Self {
        self.trusted.push(issuer);
        self
    }

    /// Sets where the token is, if not in the `Authorization` header, which is then not looked at.
    pub fn token_source(mut self, source: impl TokenSource) -> Self {
        self.token_location = TokenLocation::Source(Arc::new(source));
        self
    }

    /// Removes the `Authorization` header, or the one that the
    /// [token source](TokenSource::header) names, before the inner service is called, so that
    /// nobody there hands the token on or writes it down. With it go headers whose names are
    /// spelled like it but for the characters between their words (`X_Token`, `X.Token`): to CGI
    /// and its heirs they are one, and nobody verified those.
    /// [`Caller::bearer_token`](crate::Caller::bearer_token) still has it.
    ///
    /// Where one `EntraAuth` is inside another, only the innermost may do so: a Layer inside of one
    /// that removed the token finds none, and refuses.
    pub fn remove_token_header(mut self) -> Self {
        self.removes_token = true;
        self
    }

    /// Takes the place of another `EntraAuth` of the same API, as when settings are read again: what one
    /// of them verified, the requirements of the other take for their own, so that requests that are under way
    /// in between are served. Without, they are 500 (`wrong_layer`).
    ///
    /// A caller keeps the rules by which it was verified: nothing of it is judged again. Keys and remembered
    /// tokens are not handed on. Another [`client_id`](Self::client_id) is a problem of the settings: callers of
    /// one API would pass for those of another.
    ///
    /// ```
    /// use tower_entra_auth::{BuildError, EntraAuth};
    ///
    /// fn read_again(old: &EntraAuth) -> Result<EntraAuth, BuildError> {
    ///     EntraAuth::builder().env().replacing(old).build()
    /// }
    /// ```
    pub fn replacing(mut self, old: &EntraAuth) -> Self {
        let client_id = old
            .validators()
            .next()
            .and_then(|rules| rules.audiences().next());
        let client_id = client_id.map(ToString::to_string).unwrap_or_default();
        self.replaced = Some((old.context().id(), client_id));
        self
    }

    /// Sets the wall clock by which tokens expire: for tests.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets the HTTP client that fetches discovery and key documents: any tower service, for a private
    /// CA or a network of your own. It must not follow redirects. Sizes and times are limited
    /// here, not by the client.
    pub fn http_client<S, B>(mut self, service: S) -> Self
    where
        S: Service<Request<Bytes>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.http_client = Some(HttpClient::new(service));
        self
    }

    /// Sets where the keys come from, in place of the discovery document: a
    /// [`JwksFile`](crate::keys::JwksFile), a fixed [`KeySet`](crate::keys::KeySet), or a
    /// [`KeySource`] of your own. No HTTP client is needed then.
    ///
    /// ```
    /// use tower_entra_auth::{EntraAuth, keys::JwksFile};
    ///
    /// # fn main() -> Result<(), tower_entra_auth::BuildError> {
    /// let auth = EntraAuth::builder()
    ///     .tenant("72f988bf-86f1-41af-91ab-2d7cd011db47")
    ///     .client_id("6e74172b-be56-4843-9ff4-e66a39bb12e3")
    ///     .key_source(JwksFile::new("/etc/entra/jwks.json"))
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn key_source(mut self, source: impl KeySource) -> Self {
        self.key_source = Some(Source::new(source));
        self
    }

    /// Sets how keys are fetched, and for how long they serve.
    pub fn keys(mut self, options: KeyOptions) -> Self {
        self.keys = options;
        self
    }

    /// Sets how much memory verified tokens may take that are remembered, and for how long, or that none is.
    pub fn token_cache(mut self, cache: TokenCache) -> Self {
        self.token_cache = cache;
        self
    }

    /// Takes from the environment what the code has not set.
    ///
    /// | variable | setting |
    /// |---|---|
    /// | `ENTRA_TENANT_ID`, else `AZURE_TENANT_ID` | [`tenant`](Self::tenant) |
    /// | `ENTRA_CLIENT_ID`, else `AZURE_CLIENT_ID` | [`client_id`](Self::client_id) |
    /// | `ENTRA_CLOUD` (`public`, `usgovernment`, `china`), else `AZURE_AUTHORITY_HOST` | [`cloud`](Self::cloud) |
    /// | `ENTRA_METADATA_ENDPOINT` | [`metadata_endpoint`](Self::metadata_endpoint) |
    ///
    /// On AKS with workload identity the `AZURE_*` variables name the pod, not the API: set
    /// `ENTRA_*` there.
    pub fn env(self) -> Self {
        self.variables(|name| {
            std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
        })
    }

    /// Takes the same as [`env`](Self::env), from other variables: for tests.
    #[doc(hidden)]
    pub fn variables(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
        // An empty variable counts as unset, as with the Azure SDK.
        let first = |names: &[&'static str]| {
            names.iter().find_map(|source| {
                let value = variable(source).filter(|value| !value.trim().is_empty())?;
                Some(Sourced {
                    value: value.trim().to_owned(),
                    source,
                })
            })
        };

        if self.tenancy.is_none() {
            self.tenancy = first(&["ENTRA_TENANT_ID", "AZURE_TENANT_ID"])
                .map(|setting| setting.map(TenantSetting::from));
        }
        if self.client_id.is_none() {
            self.client_id = first(&["ENTRA_CLIENT_ID", "AZURE_CLIENT_ID"]);
        }
        if self.metadata_endpoint.is_none() {
            self.metadata_endpoint = first(&["ENTRA_METADATA_ENDPOINT"]);
        }
        if self.cloud.is_none() {
            self.cloud = first(&["ENTRA_CLOUD"])
                .map(|setting| setting.map(CloudSetting::Name))
                .or_else(|| {
                    first(&["AZURE_AUTHORITY_HOST"])
                        .map(|setting| setting.map(CloudSetting::AuthorityHost))
                });
        }
        self
    }
}
