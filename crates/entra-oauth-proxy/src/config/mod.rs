//! The settings of an [`EntraOAuthProxy`], and what is wrong with them: everything at once.

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

/// Settings of an [`EntraOAuthProxy`]; begin with [`EntraOAuthProxy::builder`].
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
/// | [`keys`](Self::keys) | made at the start: for one instance, until it ends |
/// | [`store`](Self::store) | [`MemoryStore`](crate::store::MemoryStore): likewise |
/// | [`data_directory`](Self::data_directory) | none: nothing is kept on disk |
/// | [`clients`](Self::clients) | all that register themselves, with every address that is safe |
/// | [`branding`](Self::branding) | none: pages have no name of an organization, no logo and no link to support |
/// | [`lifetimes`](Self::lifetimes) | [`Lifetimes::default`] |
/// | [`prompt`](Self::prompt) | none: Entra decides |
/// | [`issue_entra_tokens`](DangerousBuilder::issue_entra_tokens), dangerous | off: tokens of this server's own |
/// | [`limits`](Self::limits) | [`RateLimits::default`] |
/// | [`trusted_proxies`](Self::trusted_proxies) | none: `X-Forwarded-For` is not read |
/// | [`metadata_endpoint`](Self::metadata_endpoint) | the cloud's own |
/// | [`auth`](Self::auth) | the Layer's defaults: the public cloud, every client, guests, and more |
/// | [`clock`](Self::clock) | the system's |
/// | [`http_client`](Self::http_client) | reqwest with rustls (feature `reqwest`) |
#[derive(Clone)]
#[must_use = "nobody can sign in before build()"]
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
    /// The keys are the directory's.
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

/// The question that Entra is to ask of a user who is signed in already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Prompt {
    /// Asks which account to take.
    SelectAccount,
    /// Asks the user to sign in again.
    Login,
    /// Asks the user to consent again. Where users may not consent themselves, they cannot get past
    /// this.
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

/// Returns what this builder calls a setting of the Layer.
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
    /// Begins a builder with no settings.
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

    /// Sets the tenant whose users sign in: its id, from the Overview page of Microsoft Entra ID, or, where
    /// it is more than one tenant's users, a [`Tenancy`](tower_entra_auth::Tenancy). See
    /// [`EntraAuthBuilder::tenant`].
    pub fn tenant(self, tenant: impl Into<TenantSetting>) -> Self {
        self.auth(|auth| auth.tenant(tenant))
    }

    /// Sets the application (client) id of the app registration, which is client and API in one: it has the
    /// [redirect URI](crate::EntraOAuthProxy::redirect_uri) under the platform "Web", exposes the scopes,
    /// and issues v2 tokens (`requestedAccessTokenVersion` 2).
    pub fn client_id(self, id: impl Into<String>) -> Self {
        self.auth(|auth| auth.client_id(id))
    }

    /// Sets tenant, client id, cloud and metadata endpoint from the environment: see
    /// [`EntraAuthBuilder::env`].
    pub fn env(self) -> Self {
        self.auth(EntraAuthBuilder::env)
    }

    /// Sets how this server proves to Entra that it is the application: a
    /// [`Secret`](crate::Secret), a [`Certificate`](crate::Certificate) or a
    /// [`FederatedAssertion`](crate::FederatedAssertion).
    pub fn credential(mut self, credential: impl Into<Credential>) -> Self {
        self.entra = self.entra.credential(credential);
        self.has_credential = true;
        self
    }

    /// Sets the URL under which browsers and clients reach this server, which is also its issuer: `https`,
    /// or `http` on loopback, without a slash at its end. It is never taken from a request. With a
    /// path, such as `https://mcp.example.com/oauth`, the endpoints are under that.
    ///
    /// Clients keep what they registered under it: another one makes all of them register anew.
    pub fn public_url(mut self, url: impl Into<String>) -> Self {
        self.public_url = Some(url.into());
        self
    }

    /// Adds the resource that tokens are for. There is one so far: a second is refused by
    /// [`build`](Self::build), and a service of two has a proxy for each.
    pub fn resource(mut self, resource: Resource) -> Self {
        self.resources.push(resource);
        self
    }

    /// Sets the Application ID URI of the app registration, if it is not `api://{client id}`: what stands
    /// before its scopes at Entra.
    pub fn app_id_uri(mut self, uri: impl Into<String>) -> Self {
        self.app_id_uri = Some(uri.into());
        self
    }

    /// Adds scopes that are sent to Entra's authorization endpoint as they are, such as
    /// `https://graph.microsoft.com/User.Read`, so that the user consents to them at the same time.
    /// Nothing is validated or advertised of them, and no token has them: they spare the user a second
    /// question where the service exchanges the user's token for one of another API (on-behalf-of).
    /// For that the service needs Entra's own token, which clients get only with
    /// [`issue_entra_tokens`](DangerousBuilder::issue_entra_tokens).
    pub fn additional_authorize_scopes<S: Into<String>>(
        mut self,
        scopes: impl IntoIterator<Item = S>,
    ) -> Self {
        self.additional_scopes
            .extend(scopes.into_iter().map(Into::into));
        self
    }

    /// Sets the keys of this server: where there is more than one instance, and where clients are
    /// to stay signed in over a restart and no [directory](Self::data_directory) keeps them.
    pub fn keys(mut self, keys: ProxyKeys) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Sets the store of grants, codes and the records of users. One that is shared or outlives the
    /// process needs [keys](Self::keys).
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Sets the directory in which a single instance keeps what it must not lose, so that nobody signs in
    /// again after a restart: grants and codes in `sign-ins.redb` (see
    /// [`DiskStore`](crate::store::DiskStore)), and, unless [`keys`](Self::keys) are set, the keys in `keys`,
    /// made at the first start. Whoever has both can read the sign-ins: a backup is as secret as they
    /// are. It must be there, on a disk that stays, with this process's user as its owner, and no
    /// other process uses it at the same time. A file that others may read is used, with a warning.
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

    /// Sets which clients may connect, and to which addresses answers are sent.
    pub fn clients(mut self, clients: Clients) -> Self {
        self.clients = clients;
        self
    }

    /// Sets the name, the logo and the support of the organization that runs this server, for its pages.
    ///
    /// ```
    /// # use entra_oauth_proxy::{Branding, EntraOAuthProxy};
    /// let settings = EntraOAuthProxy::builder()
    ///     .branding(Branding::new("Contoso").support_email("help@contoso.com"));
    /// ```
    ///
    /// # Errors
    /// [`build`](Self::build) refuses a logo that is neither PNG nor SVG or is larger than 64 KiB, and a
    /// page or an address for help that is none.
    pub fn branding(mut self, branding: Branding) -> Self {
        self.branding = Some(branding);
        self
    }

    /// Sets what Entra asks of users who are signed in already. A client's own `prompt` is never passed
    /// on.
    pub fn prompt(mut self, prompt: Prompt) -> Self {
        self.prompt = Some(prompt);
        self
    }

    /// Sets how long tokens and sign-ins are good.
    pub fn lifetimes(mut self, lifetimes: Lifetimes) -> Self {
        self.lifetimes = lifetimes;
        self
    }

    /// Sets the limits of requests by address, client, sign-in and user, and of the sign-ins that are
    /// kept of a user: see [`RateLimits`].
    ///
    /// The address is what the server says of the connection, so it must say it: axum's does where it is
    /// given `app.into_make_service_with_connect_info::<SocketAddr>()`; for others see
    /// [`ProxyEndpoints`](crate::ProxyEndpoints). Behind a reverse proxy, name that by
    /// [`trusted_proxies`](Self::trusted_proxies).
    pub fn limits(mut self, limits: RateLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Adds reverse proxies before this server, by address (`192.0.2.7`) or network (`10.0.0.0/8`,
    /// `fd00::/8`): a request that one of them sends counts for the client that it names in
    /// `X-Forwarded-For`. Several calls add up. `Forwarded` and `X-Forwarded-Host` are not read.
    ///
    /// A proxy must add the address of whoever asks it at the end of that header, or write the header
    /// anew, as all do by default; and nobody else may be in these networks.
    pub fn trusted_proxies<S: Into<String>>(
        mut self,
        proxies: impl IntoIterator<Item = S>,
    ) -> Self {
        self.trusted_proxies
            .extend(proxies.into_iter().map(Into::into));
        self
    }

    /// Sets where Entra is: for a development tenant on this machine. See
    /// [`EntraAuthBuilder::metadata_endpoint`].
    ///
    /// Browsers are sent there, too, and the client secret, codes and refresh tokens. On another host
    /// than those of the cloud and loopback it needs
    /// [`allow_endpoints_elsewhere`](crate::danger::DangerousBuilder::allow_endpoints_elsewhere),
    /// also if it is `ENTRA_METADATA_ENDPOINT`.
    pub fn metadata_endpoint(self, url: impl Into<String>) -> Self {
        self.auth(|auth| auth.metadata_endpoint(url))
    }

    /// Returns the settings that weaken the protection.
    pub fn dangerous(self) -> DangerousBuilder {
        DangerousBuilder(self)
    }

    /// Changes any other setting of the Layer: the cloud, External ID, the rules about tenants and callers, the
    /// clock skew, guests and more. After this the proxy adds what it needs itself: its audience, the protected resource, and trust
    /// in its own tokens. Where it
    /// restricts clients ([`EntraAuthBuilder::allowed_clients`]), this very application must be among
    /// them: Entra's tokens for users who sign in here are its own.
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

    /// Sets the HTTP client by which Entra is asked: any tower service. It must not follow redirects.
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

/// The weakening settings of an [`EntraOAuthProxyBuilder`]; see [`EntraOAuthProxyBuilder::dangerous`].
#[derive(Debug)]
#[must_use]
pub struct DangerousBuilder(EntraOAuthProxyBuilder);

impl DangerousBuilder {
    /// Lets [`metadata_endpoint`](EntraOAuthProxyBuilder::metadata_endpoint) be on any host, such as
    /// that of a gateway, over `https`.
    ///
    /// Whoever operates that host, or can set `ENTRA_METADATA_ENDPOINT`, then gets what this server
    /// sends to Entra: its client secret, codes and refresh tokens. Browsers sign in there.
    pub fn allow_endpoints_elsewhere(self) -> EntraOAuthProxyBuilder {
        self.0
            .auth(|auth| auth.dangerous().allow_endpoints_elsewhere())
    }

    /// Gives clients Entra's own access tokens, whose audience is the app registration, instead of
    /// tokens of this server. Then ending a sign-in does not end its access tokens, they are good for
    /// whatever accepts tokens of the app registration, and they have every scope of it that the user
    /// ever consented to, whichever client asked.
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
