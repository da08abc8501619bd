//! Settings of an [`EntraOAuthProxy`].
//!
//! The builder reports all problems with them in one error.

mod branding;
mod build;
mod clients;
#[cfg(feature = "disk-store")]
mod data_directory;
mod lifetimes;
mod resource;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use entra_confidential_client::{ConfidentialClient, ConfidentialClientBuilder, Credential};
use entra_http::BoxError;
use http::{Request, Response};
use http_body::Body;
use tower_entra_auth::entra_jwt_core::{integration::EscapedUrl, refusal::Setting};
use tower_entra_auth::{EntraAuth, EntraAuthBuilder, settings::TenantSetting};
use tower_service::Service;

pub use self::branding::Branding;
pub use self::clients::Clients;
pub use self::lifetimes::Lifetimes;
pub use self::resource::Resource;
use crate::keys::ProxyKeys;
use crate::limits::RateLimits;
use crate::proxy::EntraOAuthProxy;
use crate::store::Store;
use crate::time::Clock;

/// A builder for an [`EntraOAuthProxy`], returned by [`EntraOAuthProxy::builder`].
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`tenant`](Self::tenant) | none: required |
/// | [`client_id`](Self::client_id) | none: required |
/// | [`credential`](Self::credential) | none: required |
/// | [`public_url`](Self::public_url) | none: required |
/// | [`resource`](Self::resource) | none: required |
/// | [`additional_authorize_scopes`](Self::additional_authorize_scopes) | none |
/// | [`app_id_uri`](Self::app_id_uri) | `api://{client id}` |
/// | [`keys`](Self::keys) | generated at the start: for one instance, until it ends |
/// | [`store`](Self::store) | [`MemoryStore`](crate::store::MemoryStore): for one instance, until it ends |
/// | [`data_directory`](Self::data_directory) | none: nothing is kept on disk |
/// | [`clients`](Self::clients) | every client that registers itself, with every safe redirect URI |
/// | [`branding`](Self::branding) | none: pages show no organization name, no logo and no support contact |
/// | [`lifetimes`](Self::lifetimes) | [`Lifetimes::default`] |
/// | [`prompt`](Self::prompt) | none: Entra decides |
/// | [`issue_entra_tokens`](DangerousBuilder::issue_entra_tokens), dangerous | off: clients receive this server's own tokens |
/// | [`limits`](Self::limits) | [`RateLimits::default`] |
/// | [`trusted_proxies`](Self::trusted_proxies) | none: `X-Forwarded-For` is not read |
/// | [`metadata_endpoint`](Self::metadata_endpoint) | the cloud's own |
/// | [`auth`](Self::auth) | the Layer's defaults: the public cloud, every client, guests allowed, and more |
/// | [`clock`](Self::clock) | the system's |
/// | [`http_client`](Self::http_client) | reqwest with rustls (feature `reqwest`) |
#[derive(Clone)]
#[must_use = "the builder does nothing until build() is called"]
pub struct EntraOAuthProxyBuilder {
    auth: EntraAuthBuilder,
    entra: ConfidentialClientBuilder,
    has_credential: bool,
    public_url: Option<String>,
    resources: Vec<Resource>,
    app_id_uri: Option<String>,
    additional_scopes: Vec<String>,
    keys: Option<ProxyKeys>,
    store: Option<Arc<dyn Store>>,
    data_directory: Option<PathBuf>,
    /// True if the keys come from the data directory.
    has_kept_keys: bool,
    clients: Clients,
    branding: Option<Branding>,
    prompt: Option<Prompt>,
    lifetimes: Lifetimes,
    issues_entra_tokens: bool,
    limits: RateLimits,
    trusted_proxies: Vec<String>,
    clock: Clock,
}

/// The `prompt` that Entra shows to a user who is already signed in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Prompt {
    /// The user selects an account.
    SelectAccount,
    /// The user signs in again.
    Login,
    /// The user consents again. Users who may not consent themselves cannot get past this prompt.
    Consent,
}

impl Prompt {
    const fn as_str(self) -> &'static str {
        match self {
            Self::SelectAccount => "select_account",
            Self::Login => "login",
            Self::Consent => "consent",
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns this builder's name for a setting of the Layer.
fn setting_name(setting: Setting) -> &'static str {
    match setting {
        Setting::AcceptV1Tokens => "auth(|auth| auth.accept_v1_tokens())",
        Setting::AllowedClients => "auth(|auth| auth.allowed_clients(..))",
        Setting::Audience => "app_id_uri(..)",
        Setting::ClientId => "client_id (ENTRA_CLIENT_ID)",
        Setting::Cloud => "cloud (ENTRA_CLOUD)",
        Setting::RolelessClients => "auth(|auth| auth.allow_roleless_clients(..))",
        Setting::ExternalId => "auth(|auth| auth.external_id(..))",
        Setting::MaxTokenLength => "auth(|auth| auth.max_token_length(..))",
        Setting::MetadataEndpoint => "metadata_endpoint (ENTRA_METADATA_ENDPOINT)",
        Setting::RefuseAgents => "auth(|auth| auth.refuse_agents())",
        Setting::RefuseGuests => "auth(|auth| auth.refuse_guests())",
        Setting::Tenant => "tenant (ENTRA_TENANT_ID)",
        Setting::TenantRule => "auth(|auth| auth.tenant_rule(..))",
        Setting::CallerRule => "auth(|auth| auth.caller_rule(..))",
        other => other.name(),
    }
}

impl EntraOAuthProxy {
    /// Returns a builder without settings.
    pub fn builder() -> EntraOAuthProxyBuilder {
        EntraOAuthProxyBuilder::new()
    }
}

impl EntraOAuthProxyBuilder {
    fn new() -> Self {
        Self {
            auth: EntraAuth::builder().setting_names(setting_name),
            entra: ConfidentialClient::builder(),
            has_credential: false,
            public_url: None,
            resources: Vec::new(),
            app_id_uri: None,
            additional_scopes: Vec::new(),
            keys: None,
            store: None,
            data_directory: None,
            has_kept_keys: false,
            clients: Clients::default(),
            branding: None,
            prompt: None,
            lifetimes: Lifetimes::default(),
            issues_entra_tokens: false,
            limits: RateLimits::default(),
            trusted_proxies: Vec::new(),
            clock: Clock::default(),
        }
    }

    /// Sets the tenant, or several tenants, whose users sign in.
    ///
    /// It is the tenant's id from the Overview page of Microsoft Entra ID. For users of more than
    /// one tenant, pass a [`Tenancy`](tower_entra_auth::Tenancy). See [`EntraAuthBuilder::tenant`].
    pub fn tenant(self, tenant: impl Into<TenantSetting>) -> Self {
        self.auth(|auth| auth.tenant(tenant))
    }

    /// Sets the application (client) id of the app registration.
    ///
    /// This registration is both the client and the API. It must have the [redirect
    /// URI](crate::EntraOAuthProxy::redirect_uri) under the platform "Web", expose the scopes, and
    /// issue v2 tokens (`requestedAccessTokenVersion` 2).
    pub fn client_id(self, id: impl Into<String>) -> Self {
        self.auth(|auth| auth.client_id(id))
    }

    /// Reads tenant, client id, cloud and metadata endpoint from environment variables, unless the
    /// code has set them.
    ///
    /// See [`EntraAuthBuilder::env`].
    pub fn env(self) -> Self {
        self.auth(EntraAuthBuilder::env)
    }

    /// Sets the credential that proves to Entra that this server is the application.
    ///
    /// It is a [`Secret`](crate::Secret), a [`Certificate`](crate::Certificate) or a
    /// [`FederatedAssertion`](crate::FederatedAssertion).
    pub fn credential(mut self, credential: impl Into<Credential>) -> Self {
        self.entra = self.entra.credential(credential);
        self.has_credential = true;
        self
    }

    /// Sets the URL under which browsers and clients reach this server, which is also its issuer.
    ///
    /// It is `https`, or `http` on loopback, without a trailing slash. The server never takes it
    /// from a request. If it has a path, such as `https://mcp.example.com/oauth`, the endpoints are
    /// under that path.
    ///
    /// Clients keep their registration for this URL. If the URL changes, every client must register
    /// again.
    pub fn public_url(mut self, url: impl Into<String>) -> Self {
        self.public_url = Some(url.into());
        self
    }

    /// Sets the resource that tokens are for; [`build`](Self::build) refuses a second one.
    ///
    /// A proxy currently serves one resource. A service with two resources needs a proxy for each.
    pub fn resource(mut self, resource: Resource) -> Self {
        self.resources.push(resource);
        self
    }

    /// Sets the Application ID URI of the app registration, which is the prefix of its scopes at
    /// Entra.
    ///
    /// It is only needed if the URI is not `api://{client id}`.
    pub fn app_id_uri(mut self, uri: impl Into<String>) -> Self {
        self.app_id_uri = Some(uri.into());
        self
    }

    /// Adds scopes that this server sends unchanged to Entra's authorization endpoint.
    ///
    /// An example is `https://graph.microsoft.com/User.Read`. The user consents to them during the
    /// same sign-in. This server does not advertise them or look for them in tokens, and no token
    /// has them.
    ///
    /// They are for a service that exchanges the user's token for a token of another API
    /// (on-behalf-of). The user then needs no second consent. Such a service needs Entra's own
    /// token, which clients receive only with
    /// [`issue_entra_tokens`](DangerousBuilder::issue_entra_tokens).
    pub fn additional_authorize_scopes<S: Into<String>>(
        mut self,
        scopes: impl IntoIterator<Item = S>,
    ) -> Self {
        self.additional_scopes
            .extend(scopes.into_iter().map(Into::into));
        self
    }

    /// Sets the keys of this server.
    ///
    /// They are needed if there is more than one instance. They are also needed if clients are to
    /// stay registered over a restart and no [data directory](Self::data_directory) keeps the keys.
    pub fn keys(mut self, keys: ProxyKeys) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Sets the store of sign-ins (grants), codes and user records.
    ///
    /// A store that is shared or outlives the process needs [keys](Self::keys).
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Sets the data directory, where a single instance keeps its sign-ins and keys over a restart.
    ///
    /// Users then do not have to sign in again. Sign-ins (grants) and codes are in `sign-ins.redb`
    /// (see [`DiskStore`](crate::store::DiskStore)). Unless [`keys`](Self::keys) are set, the keys
    /// are in the file `keys`, which the server creates at its first start. With both files, the
    /// sign-ins can be read, so a backup is as secret as the files.
    ///
    /// The directory must exist, be on a persistent disk, and belong to this process's user. No
    /// other process may use it at the same time. If other users may read one of its files, the
    /// server uses the file and logs a warning.
    ///
    /// ```
    /// # use entra_oauth_proxy::EntraOAuthProxy;
    /// let settings = EntraOAuthProxy::builder().data_directory("/var/lib/mcp");
    /// ```
    #[cfg(feature = "disk-store")]
    pub fn data_directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_directory = Some(path.into());
        self
    }

    /// Sets which clients may connect, and to which redirect URIs responses are sent.
    pub fn clients(mut self, clients: Clients) -> Self {
        self.clients = clients;
        self
    }

    /// Sets the name, logo and support contact of the organization that runs this server, for its
    /// pages.
    ///
    /// ```
    /// # use entra_oauth_proxy::{Branding, EntraOAuthProxy};
    /// let settings = EntraOAuthProxy::builder()
    ///     .branding(Branding::new("Contoso").support_email("help@contoso.com"));
    /// ```
    ///
    /// # Errors
    /// [`build`](Self::build) refuses an invalid name, a logo that is neither PNG nor SVG or is
    /// larger than 64 KiB, and an invalid support URL or email address.
    pub fn branding(mut self, branding: Branding) -> Self {
        self.branding = Some(branding);
        self
    }

    /// Sets what Entra asks users who are already signed in.
    ///
    /// A client's own `prompt` is never forwarded.
    pub fn prompt(mut self, prompt: Prompt) -> Self {
        self.prompt = Some(prompt);
        self
    }

    /// Sets the lifetimes of tokens and sign-ins.
    pub fn lifetimes(mut self, lifetimes: Lifetimes) -> Self {
        self.lifetimes = lifetimes;
        self
    }

    /// Sets the limits on requests (by address, client, sign-in and user) and on stored sign-ins.
    ///
    /// See [`RateLimits`].
    ///
    /// The address is that of the connection, and the HTTP server must provide it. axum does so if
    /// it is served with `app.into_make_service_with_connect_info::<SocketAddr>()`. For other
    /// servers, see [`ProxyEndpoints`](crate::ProxyEndpoints). Behind a reverse proxy, also name
    /// the proxy with [`trusted_proxies`](Self::trusted_proxies).
    pub fn limits(mut self, limits: RateLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Adds trusted reverse proxies in front of this server, by address or network.
    ///
    /// An address is written `192.0.2.7`, a network `10.0.0.0/8` or `fd00::/8`. A request from a
    /// trusted proxy counts for the client that the proxy names in `X-Forwarded-For`. Several calls
    /// add up. The server does not read `Forwarded` or `X-Forwarded-Host`.
    ///
    /// A trusted proxy must append the address of its client to that header, or overwrite the
    /// header. All proxies do so by default. No other machine may have an address in these
    /// networks.
    pub fn trusted_proxies<S: Into<String>>(
        mut self,
        proxies: impl IntoIterator<Item = S>,
    ) -> Self {
        self.trusted_proxies
            .extend(proxies.into_iter().map(Into::into));
        self
    }

    /// Sets the URL of Entra's metadata, such as that of `entra-dev-tenant` on this machine.
    ///
    /// See [`EntraAuthBuilder::metadata_endpoint`].
    ///
    /// This server also sends browsers, its client secret, codes and refresh tokens to that host. A
    /// host that is neither loopback nor one of the cloud's needs
    /// [`allow_endpoints_elsewhere`](crate::danger::DangerousBuilder::allow_endpoints_elsewhere),
    /// also if it comes from `ENTRA_METADATA_ENDPOINT`.
    pub fn metadata_endpoint(self, url: impl Into<String>) -> Self {
        self.auth(|auth| auth.metadata_endpoint(url))
    }

    /// Gives access to the settings that weaken the protection.
    pub fn dangerous(self) -> DangerousBuilder {
        DangerousBuilder(self)
    }

    /// Changes settings of the Layer's builder that have no method here, such as
    /// [`refuse_guests`](EntraAuthBuilder::refuse_guests).
    ///
    /// These are the cloud, External ID, the rules for tenants and callers, the clock skew, guests
    /// and more. Afterwards the proxy adds what it needs: its audience, the protected resource, and
    /// trust in its own tokens.
    ///
    /// If this setting restricts clients ([`EntraAuthBuilder::allowed_clients`]), this application
    /// itself must be among them: it is the client of Entra's tokens for users who sign in here.
    ///
    /// ```
    /// # use entra_oauth_proxy::EntraOAuthProxy;
    /// let settings = EntraOAuthProxy::builder().auth(|auth| auth.refuse_guests());
    /// ```
    pub fn auth(mut self, change: impl FnOnce(EntraAuthBuilder) -> EntraAuthBuilder) -> Self {
        self.auth = change(self.auth);
        self
    }

    /// Sets the wall clock, for tests.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        let clock = Clock::new(clock);
        let (of_auth, of_entra) = (clock.clone(), clock.clone());
        self.auth = self.auth.clock(move || of_auth.system_time());
        self.entra = self.entra.clock(move || of_entra.system_time());
        self.clock = clock;
        self
    }

    /// Sets the HTTP client for requests to Entra: any tower service.
    ///
    /// It must not follow redirects.
    pub fn http_client<S, B>(mut self, service: S) -> Self
    where
        S: Service<Request<Bytes>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.auth = self.auth.http_client(service.clone());
        self.entra = self.entra.http_client(service);
        self
    }
}

/// Settings of an [`EntraOAuthProxyBuilder`] that weaken the protection.
///
/// See [`EntraOAuthProxyBuilder::dangerous`].
#[derive(Debug)]
#[must_use]
pub struct DangerousBuilder(EntraOAuthProxyBuilder);

impl DangerousBuilder {
    /// Allows any host for [`metadata_endpoint`](EntraOAuthProxyBuilder::metadata_endpoint), such
    /// as a gateway, over `https`.
    ///
    /// The operator of that host then receives everything that this server sends to Entra: its
    /// client secret, codes and refresh tokens. Browsers also sign in there. An attacker who can
    /// set `ENTRA_METADATA_ENDPOINT` can choose the host.
    pub fn allow_endpoints_elsewhere(self) -> EntraOAuthProxyBuilder {
        self.0
            .auth(|auth| auth.dangerous().allow_endpoints_elsewhere())
    }

    /// Gives clients Entra's own access tokens instead of tokens of this server.
    ///
    /// Their audience is the app registration. This has three consequences:
    ///
    /// - Ending a sign-in does not end its access tokens.
    /// - Every service that accepts tokens of the app registration accepts them.
    /// - They have every scope of the app registration that the user ever consented to, even if
    ///   another client asked for it.
    pub fn issue_entra_tokens(mut self) -> EntraOAuthProxyBuilder {
        self.0.issues_entra_tokens = true;
        self.0
    }
}

impl fmt::Debug for EntraOAuthProxyBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EntraOAuthProxyBuilder")
            .field("public_url", &self.public_url.as_deref().map(EscapedUrl))
            .field("resources", &self.resources)
            .field("clients", &self.clients)
            .finish_non_exhaustive()
    }
}
