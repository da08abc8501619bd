//! The tenant itself.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::clock::Clock;
use crate::cloud::DevCloud;
use crate::documents::Authority;
use crate::endpoint::Endpoint;
use crate::entra_error::EntraError;
use crate::key_ring::KeyRing;
use crate::text::is_guid;
use crate::token::{B2cPolicy, TokenBuilder, compact};
use crate::token_endpoint::Client;
use crate::{key_document, server};

/// A local tenant that serves on loopback; it ends when it is dropped.
///
/// See the [crate's page](crate) for an example.
pub struct DevTenant {
    inner: Arc<Inner>,
    server: AbortHandle,
}

/// What the handles, the token builders and the server share.
pub(crate) struct Inner {
    pub(crate) id: String,
    pub(crate) url: String,
    pub(crate) cloud: DevCloud,
    pub(crate) is_external_id: bool,
    pub(crate) clock: Clock,
    pub(crate) keys: KeyRing,
    pub(crate) clients: Vec<Client>,
    pub(crate) discovery: Endpoint,
    pub(crate) key_document: Endpoint,
    pub(crate) token_endpoint: Endpoint,
    pub(crate) is_down: AtomicBool,
}

impl Inner {
    /// The authority that a path names.
    pub(crate) fn authority(&self, segment: &str) -> Result<Authority<'_>, EntraError> {
        match Authority::from_path(segment, &self.id) {
            Some(authority @ Authority::Tenant(_)) => Ok(authority),
            Some(shared) if !self.is_external_id => Ok(shared),
            _ => Err(EntraError::tenant_not_found(segment)),
        }
    }

    pub(crate) fn v2_issuer(&self, tenant: &str) -> String {
        if self.is_external_id {
            format!("https://{tenant}.ciamlogin.com/{tenant}/v2.0")
        } else {
            self.cloud.v2_issuer(tenant)
        }
    }

    /// `issuer` of its keys: a template for all tenants of a cloud, as they share them.
    pub(crate) fn key_issuer(&self) -> String {
        if self.is_external_id {
            self.v2_issuer(&self.id)
        } else {
            self.cloud.v2_issuer("{tenantid}")
        }
    }

    pub(crate) fn sign(&self, header: &str, payload: &str) -> String {
        let key = self.keys.signing();
        compact(header, payload, |message| key.sign(message))
    }
}

/// Settings of a [`DevTenant`]; begin with [`DevTenant::builder`].
#[derive(Debug)]
#[must_use = "the tenant exists only once it is started"]
pub struct DevTenantBuilder {
    id: String,
    cloud: DevCloud,
    is_external_id: bool,
    listen: SocketAddr,
    clients: Vec<Client>,
}

impl DevTenantBuilder {
    /// The tenant id. Default: `72f988bf-86f1-41af-91ab-2d7cd011db47`.
    pub fn id(mut self, id: &str) -> Self {
        self.id = id.to_ascii_lowercase();
        self
    }

    /// The cloud whose strings it uses. Default: the public one.
    pub fn cloud(mut self, cloud: DevCloud) -> Self {
        self.cloud = cloud;
        self
    }

    /// It plays a tenant of External ID (CIAM): the v2 issuer of its tokens, discovery and keys is
    /// `https://{tid}.ciamlogin.com/{tid}/v2.0`, and there are no documents of `common`,
    /// `organizations` and `consumers`. Default: a tenant of employees.
    pub fn external_id(mut self) -> Self {
        self.is_external_id = true;
        self
    }

    /// Where it listens. Default: a free port of 127.0.0.1.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Registers an application that may have tokens by `client_credentials`, with the
    /// application permissions (`roles`) that it was granted.
    pub fn client<'r>(
        mut self,
        client_id: &str,
        secret: &str,
        roles: impl IntoIterator<Item = &'r str>,
    ) -> Self {
        self.clients.push(Client {
            id: client_id.to_ascii_lowercase(),
            secret: secret.to_owned(),
            roles: roles.into_iter().map(str::to_owned).collect(),
        });
        self
    }

    /// Makes a key (about 90 ms) and starts to serve on the current tokio runtime.
    ///
    /// # Errors
    /// If the address cannot be listened on, or if the tenant's or a client's id is no GUID.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(self) -> io::Result<DevTenant> {
        let clients = self.clients.iter().map(|client| ("client", &*client.id));
        for (setting, id) in clients.chain([("tenant", &*self.id)]) {
            if !is_guid(id) {
                let problem = format!(
                    "{setting} id: {id:?} is no GUID such as 72f988bf-86f1-41af-91ab-2d7cd011db47"
                );
                return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
            }
        }
        let listener = TcpListener::bind(self.listen).await?;
        let mut address = listener.local_addr()?;
        if address.ip().is_unspecified() {
            // Reached here by loopback; whoever comes from elsewhere knows this machine's name.
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        let inner = Arc::new(Inner {
            url: format!("http://{address}"),
            id: self.id,
            cloud: self.cloud,
            is_external_id: self.is_external_id,
            clock: Clock::start(),
            keys: KeyRing::new(self.cloud.certificate_name()),
            clients: self.clients,
            discovery: Endpoint::default(),
            key_document: Endpoint::default(),
            token_endpoint: Endpoint::default(),
            is_down: AtomicBool::new(false),
        });
        let server = tokio::spawn(server::serve(listener, Arc::clone(&inner)));
        Ok(DevTenant {
            inner,
            server: server.abort_handle(),
        })
    }
}

impl DevTenant {
    /// Starts a tenant with every default, on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// If no port can be listened on.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// Settings other than the defaults.
    pub fn builder() -> DevTenantBuilder {
        DevTenantBuilder {
            id: "72f988bf-86f1-41af-91ab-2d7cd011db47".to_owned(),
            cloud: DevCloud::default(),
            is_external_id: false,
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            clients: Vec::new(),
        }
    }

    /// The tenant id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// Where it serves, such as `http://127.0.0.1:40401`: the metadata endpoint for what is
    /// under test, in place of `https://login.microsoftonline.com`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// The tenant's wall clock, for what is under test: it follows tokio's clock, so that one
    /// `tokio::time::advance` moves both.
    pub fn clock(&self) -> impl Fn() -> SystemTime + Clone + Send + Sync + 'static + use<> {
        let clock = self.inner.clock;
        move || clock.now()
    }

    /// An access token of a user, whose object id follows from the name.
    pub fn user(&self, name: &str) -> TokenBuilder<'_> {
        TokenBuilder::user(&self.inner, name)
    }

    /// An access token of an application as itself.
    pub fn app(&self, client_id: &str) -> TokenBuilder<'_> {
        TokenBuilder::app(&self.inner, client_id)
    }

    /// An id token of a user; [`for_api`](TokenBuilder::for_api) names the client it is for.
    pub fn id_token(&self, name: &str) -> TokenBuilder<'_> {
        TokenBuilder::id_token(&self.inner, name)
    }

    /// An access token of a user for Microsoft Graph, with the `nonce` in its header.
    pub fn graph_token(&self, name: &str) -> TokenBuilder<'_> {
        TokenBuilder::graph(&self.inner, name)
    }

    /// An access token of a user with a personal Microsoft account, signed with the key of those.
    pub fn personal(&self, name: &str) -> TokenBuilder<'_> {
        TokenBuilder::personal(&self.inner, name)
    }

    /// An access token of a user in the format of Azure AD B2C, signed with the tenant's key:
    /// `ver` 1.0, the policy in a claim, no `tid`.
    pub fn b2c_token(&self, name: &str, policy: B2cPolicy) -> TokenBuilder<'_> {
        TokenBuilder::b2c(&self.inner, name, policy)
    }

    /// Signs any two texts as header and payload with the current key: for tokens that no
    /// [`TokenBuilder`] can make.
    #[must_use]
    pub fn sign(&self, header: &str, payload: &str) -> String {
        self.inner.sign(header, payload)
    }

    /// The `kid` of the key that signs.
    #[must_use]
    pub fn key_id(&self) -> String {
        self.inner.keys.signing().id.clone()
    }

    /// The tenant's own v2 key document as it would be served now.
    #[must_use]
    pub fn jwks(&self) -> String {
        key_document::v2(&self.inner, Authority::Tenant(&self.inner.id)).to_string()
    }

    /// The v2 key document as it would be served now for this authority: the tenant's id,
    /// `common`, `organizations` or `consumers`; Entra's refusal for any other.
    ///
    /// Shared documents hold what Entra's hold: `organizations` the tenant's keys and one of
    /// another cloud, `common` one of personal accounts as well, `consumers` only this.
    #[must_use]
    pub fn jwks_of(&self, authority: &str) -> String {
        match self.inner.authority(authority) {
            Ok(authority) => key_document::v2(&self.inner, authority),
            Err(error) => error.body(self.inner.clock),
        }
        .to_string()
    }

    /// Makes a new key (about 90 ms), publishes it at once and signs with it from now on; the
    /// last six keys stay published.
    pub fn rotate_keys(&self) {
        self.inner.keys.rotate();
    }

    /// Stops publishing all keys but the current one.
    pub fn withdraw_old_keys(&self) {
        self.inner.keys.withdraw_old();
    }

    /// The discovery documents, v1 and v2.
    #[must_use]
    pub fn discovery(&self) -> &Endpoint {
        &self.inner.discovery
    }

    /// The key documents, v1 and v2.
    #[must_use]
    pub fn keys(&self) -> &Endpoint {
        &self.inner.key_document
    }

    /// The token endpoint.
    #[must_use]
    pub fn token_endpoint(&self) -> &Endpoint {
        &self.inner.token_endpoint
    }

    /// Closes every connection without an answer until [`comes_back`](Self::comes_back).
    pub fn goes_down(&self) {
        self.inner.set_down(true);
    }

    /// Ends [`goes_down`](Self::goes_down).
    pub fn comes_back(&self) {
        self.inner.set_down(false);
    }
}

impl Inner {
    fn set_down(&self, down: bool) {
        self.is_down
            .store(down, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Drop for DevTenant {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl fmt::Debug for DevTenant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DevTenant")
            .field("id", &self.inner.id)
            .field("url", &self.inner.url)
            .finish_non_exhaustive()
    }
}
