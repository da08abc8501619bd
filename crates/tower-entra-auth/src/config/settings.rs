//! The settings of the builder: one method for each, and those from environment variables.
//!
//! `ENTRA_*` variables come first. The `AZURE_*` variables of the Azure SDK are the fallback. On
//! AKS with workload identity, the `AZURE_*` variables name the pod, not the API, so `ENTRA_*` must
//! be set there.

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
    /// Sets the tenant (directory), or several tenants, whose tokens are accepted.
    ///
    /// Pass the id from the Overview page of Microsoft Entra ID, as text or as a
    /// [`TenantId`](crate::TenantId). Text may also be several ids, separated by commas, or one of
    /// `organizations`, `common` and `consumers`. A [`Tenancy`](crate::Tenancy) says the same in
    /// types: a list of tenants, every work or school tenant, personal accounts in addition, or
    /// personal accounts alone.
    ///
    /// The issuer of a token is always checked: it must be the issuer of the token's own tenant.
    pub fn tenant(mut self, tenant: impl Into<TenantSetting>) -> Self {
        self.tenancy = Some(Sourced::by_code(tenant.into()));
        self
    }

    /// Sets a rule that decides whether a tenant is admitted: whether it is a customer, for
    /// example.
    ///
    /// The Layer calls the rule about the tenant of each verified token. `Ok(false)` refuses the
    /// token (401, `tenant_not_allowed`). If the rule returns an error, or no answer within 5 s,
    /// the client receives 503 (`tenant_rule_unavailable`).
    ///
    /// The rule is cloned for each call, so that an async closure can use what it captures: a
    /// connection pool, an [`Arc`].
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
    /// A yes is cached for the tenant, for [`rule_ttl`](Self::rule_ttl) from the call. A no is
    /// cached for a second. [`EntraAuth::forget_tenant`](crate::EntraAuth::forget_tenant) removes
    /// both. For a decision that depends on more than the tenant, set a
    /// [`caller_rule`](Self::caller_rule).
    ///
    /// Requests of the same tenant that arrive during a call share its answer. At most 1,024
    /// requests wait for answers. Those of one tenant may be at most three times as many as the
    /// free places: 768 if no other tenant's requests wait. So one tenant cannot take all places.
    /// Further requests receive 503. The rule runs in its own task, so that a client that
    /// disconnects does not end the call. An error of the rule goes into the log.
    pub fn tenant_rule<F, R, E>(mut self, rule: F) -> Self
    where
        F: FnOnce(TenantId) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<bool, E>> + Send + 'static,
        E: fmt::Display,
    {
        self.tenant_rule = Some(Rule::about_tenants(rule));
        self
    }

    /// Sets a rule that decides whether a caller is admitted: whether the user is blocked in this
    /// service, for example.
    ///
    /// The Layer calls the rule about each caller whose token passed every other check, including
    /// the [`tenant_rule`](Self::tenant_rule). `Ok(false)` refuses the caller (403,
    /// `caller_not_allowed`). If the rule returns an error, or no answer within 5 s, the client
    /// receives 503 (`caller_rule_unavailable`).
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
    /// The rule sees the whole token, so a yes is cached for this token alone, for
    /// [`rule_ttl`](Self::rule_ttl). For a new token of the same user, the Layer calls the rule
    /// again. Up to 50,000 yes answers are cached, those of the most recently used tokens.
    /// [`EntraAuth::forget_tenant`](crate::EntraAuth::forget_tenant) removes those of one tenant,
    /// so that a block takes effect immediately. At most 256 calls run at the same time, and
    /// requests with further tokens receive 503. A slow rule about many callers can reach that
    /// limit.
    ///
    /// For a decision that depends on the request, refuse in the handler: [`Caller::forbid`].
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
    /// [`caller_rule`](Self::caller_rule) is cached: at most an hour.
    ///
    /// With zero, the Layer calls the rules on every request. For streams that
    /// [`end_at_expiry`](crate::EntraAuth::end_at_expiry) watches, it then calls them every 5 s.
    pub fn rule_ttl(mut self, ttl: Duration) -> Self {
        self.rule_ttl = Some(ttl);
        self
    }

    /// Sets the application (client) id of this API: a GUID, from the Overview page of its app
    /// registration.
    ///
    /// Tokens for `{client id}` and `api://{client id}` are accepted.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(Sourced::by_code(id.into()));
        self
    }

    /// Adds an audience: the Application ID URI, if it is not `api://{client id}`.
    ///
    /// Audiences are compared byte for byte, except for one trailing slash. v2 tokens always have
    /// the client id as audience. Several calls add up.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Accepts v1 tokens, which have an issuer of `sts.windows.net`, in addition to v2 tokens.
    ///
    /// It is better to set `api.requestedAccessTokenVersion` to 2 in the manifest of the app
    /// registration.
    pub fn accept_v1_tokens(mut self) -> Self {
        self.accepts_v1 = true;
        self
    }

    /// Accepts only tokens of these client applications, by their application (client) ids.
    ///
    /// The list only restricts: it gives the listed clients no permission. For
    /// [reissued tokens](Self::trust), the list must contain the server that reissued them. It
    /// cannot distinguish that server's clients. For that, compare
    /// [`AccessToken::registered_client`](crate::token::AccessToken::registered_client).
    pub fn allowed_clients<I: Into<String>>(mut self, ids: impl IntoIterator<Item = I>) -> Self {
        let ids = ids.into_iter().map(Into::into);
        self.allowed_clients.get_or_insert_default().extend(ids);
        self
    }

    /// Accepts app-only tokens of these client applications even if they have no role.
    ///
    /// Microsoft calls this authorization by access control list. It exempts the app-only tokens of
    /// these clients from the need of a scope or a role, and from nothing else.
    pub fn allow_roleless_clients<I: Into<String>>(
        mut self,
        ids: impl IntoIterator<Item = I>,
    ) -> Self {
        self.roleless_clients
            .extend(ids.into_iter().map(Into::into));
        self
    }

    /// Refuses guests of the tenant: users whom another tenant or provider authenticates.
    ///
    /// For the most reliable result, make the API's app registration emit the optional claim
    /// `acct`.
    pub fn refuse_guests(mut self) -> Self {
        self.refuses_guests = true;
        self
    }

    /// Refuses agents of Entra Agent ID (401, `agent_not_allowed`), if the token says that it
    /// belongs to an agent.
    ///
    /// Entra leaves the claims that say this out of tokens for your own API, unless
    /// [its manifest asks for them](crate::_guide::setup_entra#agents). Without these claims,
    /// agents pass as applications and users.
    pub fn refuse_agents(mut self) -> Self {
        self.refuses_agents = true;
        self
    }

    /// Sets the cloud of the tenant.
    pub fn cloud(mut self, cloud: Cloud) -> Self {
        self.cloud = Some(Sourced::by_code(CloudSetting::Known(cloud)));
        self
    }

    /// Declares that the tenant is an External ID tenant with this host: `NAME.ciamlogin.com` or a
    /// custom URL domain.
    ///
    /// The keys come from this host. Tokens always have the issuer
    /// `https://{tenant}.ciamlogin.com/{tenant}/v2.0`, so [`tenant`](Self::tenant) must be the
    /// tenant's id.
    pub fn external_id(mut self, host: impl Into<String>) -> Self {
        self.external_id = Some(host.into());
        self
    }

    /// Sets the URL of the discovery document: the full URL, or a base such as
    /// `http://127.0.0.1:7580`, to which the tenant's path is added.
    ///
    /// The URL must be `https`, or `http` on loopback. It changes no rule: the document must belong
    /// to the configured cloud and tenant.
    pub fn metadata_endpoint(mut self, url: impl Into<String>) -> Self {
        self.metadata_endpoint = Some(Sourced::by_code(url.into()));
        self
    }

    /// Refuses a [`metadata_endpoint`](Self::metadata_endpoint) on any host but those of the
    /// [`cloud`](Self::cloud), of [`external_id`](Self::external_id), and loopback.
    ///
    /// This includes an endpoint from an environment variable. The setting is meant for a service
    /// that sends secrets to the endpoints under
    /// [`EntraAuth::authority_url`](crate::EntraAuth::authority_url), because that URL follows the
    /// metadata endpoint. Otherwise an attacker who can set an environment variable would receive
    /// the secrets. [`dangerous`](Self::dangerous) has the exception.
    pub fn own_endpoints_only(mut self) -> Self {
        self.own_endpoints_only = true;
        self
    }

    /// Sets how far the clocks of Entra and of this machine may differ: at most 10 minutes.
    pub fn clock_skew(mut self, skew: Duration) -> Self {
        self.clock_skew = skew;
        self
    }

    /// Sets the maximum length of a token, in bytes: 1 KiB to 250 KiB.
    ///
    /// A token with 200 groups has about 12 KB. Servers limit headers too: hyper's HTTP/2 limits
    /// all headers of a request together to 16 KiB.
    pub fn max_token_length(mut self, bytes: usize) -> Self {
        self.max_token_length = bytes;
        self
    }

    /// Sets how much a refused caller learns from the response.
    pub fn refusal_detail(mut self, detail: RefusalDetail) -> Self {
        self.refusal_detail = detail;
        self
    }

    /// Sets how remedies name each setting, for programs with options of their own.
    ///
    /// Default: the methods of this builder, and their environment variables.
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

    /// Sets a function that makes the responses to refused requests, each from the default
    /// response.
    ///
    /// The function can set its own body or headers, or a challenge that only the service knows of.
    /// The inner service is not called, even if the function returns a success. If the function
    /// panics, the client receives 500.
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

    /// Sets the URL of this API and how clients get tokens for it (RFC 9728).
    ///
    /// Every challenge then names the metadata document and the scopes to request. MCP clients need
    /// both to find out where to sign in.
    /// [`EntraAuth::resource_metadata`](crate::EntraAuth::resource_metadata) serves the document.
    pub fn protected_resource(mut self, resource: ProtectedResource) -> Self {
        self.protected_resource = Some(resource);
        self
    }

    /// Adds paths of endpoints that must be outside of this Layer. If a request for one arrives
    /// here without a bearer token, the Layer logs an error.
    #[doc(hidden)] // for `entra-oauth-proxy` and similar crates
    pub fn own_endpoints(mut self, paths: impl IntoIterator<Item = String>) -> Self {
        self.own_endpoints.extend(paths);
        self
    }

    /// Accepts the tokens of another issuer in addition to Entra's, such as an authorization server
    /// in front of Entra.
    ///
    /// Several calls add up. Default: only Entra's tokens.
    pub fn trust(mut self, issuer: TrustedIssuer) -> Self {
        self.trusted.push(issuer);
        self
    }

    /// Sets the source of the token, in place of the `Authorization` header.
    ///
    /// The Layer then ignores the `Authorization` header.
    pub fn token_source(mut self, source: impl TokenSource) -> Self {
        self.token_location = TokenLocation::Source(Arc::new(source));
        self
    }

    /// Removes the token header before the inner service is called, so that the service can neither
    /// pass on nor log the token.
    ///
    /// This is the `Authorization` header, or the one that the [token source](TokenSource::header)
    /// names. The Layer also removes headers whose names differ from it only in the characters
    /// between words (`X_Token`, `X.Token`). For CGI and its successors these are the same header,
    /// and the Layer has not verified their values.
    /// [`Caller::bearer_token`](crate::Caller::bearer_token) still returns the token.
    ///
    /// If one `EntraAuth` is inside another, only the innermost may remove the header. A Layer
    /// inside one that removed the token finds no token, and refuses the request.
    pub fn remove_token_header(mut self) -> Self {
        self.removes_token = true;
        self
    }

    /// Names the `EntraAuth` of the same API that this one replaces, so that each accepts the
    /// callers that the other has verified.
    ///
    /// It is for a program that reads its settings again. The requirements of each `EntraAuth`
    /// accept the callers of the other, so that requests in flight during the change are served.
    /// Without this setting, such requests receive 500 (`wrong_layer`).
    ///
    /// A verified caller is not checked again by the new rules. Keys and cached tokens are not
    /// taken over. Another [`client_id`](Self::client_id) is a problem of the settings: callers of
    /// one API would be accepted as callers of another.
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

    /// Sets the wall clock by which tokens expire, for tests.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets the HTTP client that fetches discovery and JWKS documents.
    ///
    /// The client can be any tower service, for example one with a private CA or for a private
    /// network. It must not follow redirects. The `EntraAuth` limits sizes and times itself.
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

    /// Sets a key source in place of the discovery document: a [`JwksFile`](crate::keys::JwksFile),
    /// a fixed [`KeySet`](crate::keys::KeySet), or your own [`KeySource`].
    ///
    /// No HTTP client is needed then.
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

    /// Sets how keys are fetched, and how long they are trusted.
    pub fn keys(mut self, options: KeyOptions) -> Self {
        self.keys = options;
        self
    }

    /// Sets the size and the lifetime of the cache of verified tokens, or turns it off.
    pub fn token_cache(mut self, cache: TokenCache) -> Self {
        self.token_cache = cache;
        self
    }

    /// Reads from environment variables the settings that the code has not set.
    ///
    /// | variable | setting |
    /// |---|---|
    /// | `ENTRA_TENANT_ID`, else `AZURE_TENANT_ID` | [`tenant`](Self::tenant) |
    /// | `ENTRA_CLIENT_ID`, else `AZURE_CLIENT_ID` | [`client_id`](Self::client_id) |
    /// | `ENTRA_CLOUD` (`public`, `usgovernment`, `china`), else `AZURE_AUTHORITY_HOST` | [`cloud`](Self::cloud) |
    /// | `ENTRA_METADATA_ENDPOINT` | [`metadata_endpoint`](Self::metadata_endpoint) |
    ///
    /// On AKS with workload identity, the `AZURE_*` variables name the pod, not the API: set
    /// `ENTRA_*` there.
    pub fn env(self) -> Self {
        self.variables(|name| {
            std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
        })
    }

    /// Reads the same settings as [`env`](Self::env) from the given variables, for tests.
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
