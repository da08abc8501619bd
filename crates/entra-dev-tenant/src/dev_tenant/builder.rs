//! A tenant's settings, and its start.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::net::TcpListener;

use super::{DevTenant, HttpClient, ServedTenant, server};
use crate::application::AppRegistration;
use crate::authority::{DevCloud, Realm};
use crate::clock::Clock;
use crate::endpoint::Endpoint;
use crate::keys::KeyRing;
use crate::oauth::Tenant;
use crate::text::is_guid;
use crate::token::Issuer;

/// Settings of a [`DevTenant`]; begin with [`DevTenant::builder`].
#[derive(Debug)]
#[must_use = "the builder starts no tenant until start() is called"]
pub struct DevTenantBuilder {
    id: String,
    cloud: DevCloud,
    is_external_id: bool,
    listen: SocketAddr,
    url: Option<String>,
    applications: Vec<AppRegistration>,
    users: Vec<String>,
    refuses_resource_parameter: bool,
    custom_keys: Vec<String>,
}

impl DevTenantBuilder {
    pub(super) fn new() -> Self {
        Self {
            id: "72f988bf-86f1-41af-91ab-2d7cd011db47".to_owned(),
            cloud: DevCloud::default(),
            is_external_id: false,
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            url: None,
            applications: Vec::new(),
            users: vec!["ada".to_owned(), "grace".to_owned()],
            refuses_resource_parameter: false,
            custom_keys: Vec::new(),
        }
    }

    /// Sets the tenant id.
    ///
    /// Default: `72f988bf-86f1-41af-91ab-2d7cd011db47`.
    pub fn id(mut self, id: &str) -> Self {
        self.id = id.to_ascii_lowercase();
        self
    }

    /// Sets the cloud whose strings the tenant uses.
    ///
    /// Default: the public cloud.
    pub fn cloud(mut self, cloud: DevCloud) -> Self {
        self.cloud = cloud;
        self
    }

    /// Makes the tenant one of External ID (CIAM).
    ///
    /// The v2 issuer of its tokens, discovery and keys is `https://{tid}.ciamlogin.com/{tid}/v2.0`.
    /// There are no documents of `common`, `organizations` and `consumers`. Default: a workforce
    /// tenant.
    pub fn external_id(mut self) -> Self {
        self.is_external_id = true;
        self
    }

    /// Sets the address on which the tenant listens.
    ///
    /// Default: a free port of 127.0.0.1.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Sets the URL by which others reach the tenant, such as `http://tenant:7580` in a network of
    /// containers.
    ///
    /// The tenant's documents name its endpoints by this URL. Default: `http://` and the address on
    /// which the tenant listens, or the loopback address if it listens on all addresses.
    pub fn url(mut self, url: &str) -> Self {
        self.url = Some(url.trim_end_matches('/').to_owned());
        self
    }

    /// Registers an application, or adds to the one that is registered under the same id.
    pub fn register(mut self, application: AppRegistration) -> Self {
        let known = self.applications.iter_mut();
        match known.into_iter().find(|known| known.id == application.id) {
            Some(known) => known.extend(application),
            None => self.applications.push(application),
        }
        self
    }

    /// Registers an application that may get tokens by `client_credentials`.
    ///
    /// `roles` are the application permissions that it was granted.
    pub fn client<'r>(
        self,
        client_id: &str,
        secret: &str,
        roles: impl IntoIterator<Item = &'r str>,
    ) -> Self {
        let application = AppRegistration::new(client_id).secret(secret);
        let application = roles.into_iter().fold(application, AppRegistration::role);
        self.register(application)
    }

    /// Registers an application that users sign in to, with a client secret.
    pub fn web_client(
        self,
        client_id: &str,
        secret: &str,
        redirect_uris: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Self {
        let application = AppRegistration::new(client_id).secret(secret);
        let application = redirect_uris
            .into_iter()
            .fold(application, |application, uri| {
                application.redirect_uri(uri.as_ref())
            });
        self.register(application)
    }

    /// Registers an API that exposes these scopes and no others.
    ///
    /// Its Application ID URI is `api://` and its id. If `scopes` is empty, every scope counts as
    /// exposed.
    pub fn api<'s>(self, client_id: &str, scopes: impl IntoIterator<Item = &'s str>) -> Self {
        let application = AppRegistration::new(client_id);
        let application = scopes.into_iter().fold(application, AppRegistration::scope);
        self.register(application)
    }

    /// Sets the users who can sign in.
    ///
    /// Each is the user whose tokens [`DevTenant::user`] makes. Default: `ada` and `grace`.
    pub fn users<'u>(mut self, names: impl IntoIterator<Item = &'u str>) -> Self {
        self.users = names.into_iter().map(str::to_owned).collect();
        self
    }

    /// Refuses every `resource` parameter (RFC 8707) with AADSTS901002, as Entra did until 2026.
    ///
    /// Default: the tenant refuses `resource` with AADSTS9010010, unless it equals the Application
    /// ID URI of the one API whose scopes the client asks for. The comparison is exact.
    pub fn refuse_resource_parameter(mut self) -> Self {
        self.refuses_resource_parameter = true;
        self
    }

    /// Gives the application with this id its own signing key, as Entra does for applications with
    /// claims mapping.
    ///
    /// This key signs the tokens of users and applications, and the id tokens, whose audience is
    /// the id or `api://` and the id. The tenant's JWKS documents lack the key, unless the client
    /// requests them with `?appid={client_id}`. If a client requests a discovery document with this
    /// parameter, its `jwks_uri` has the parameter, too. The tenant ignores any other `appid`. The
    /// key never rotates. Default: no application has its own key.
    pub fn custom_signing_key(mut self, client_id: &str) -> Self {
        self.custom_keys.push(client_id.to_ascii_lowercase());
        self
    }

    /// Starts the tenant on the current tokio runtime.
    ///
    /// The tenant makes its keys (about 90 ms each), or takes those of tenants that have ended in
    /// this process. Running tenants share no key.
    ///
    /// # Errors
    /// If the tenant cannot listen on the address, if the id of the tenant or of an application is
    /// not a GUID, or if a registered certificate is not usable.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(self) -> io::Result<DevTenant> {
        if let Some(problem) = self.applications.iter().find_map(AppRegistration::problem) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        let custom_keys = self.custom_keys.iter().map(|id| ("application", &**id));
        for (setting, id) in custom_keys.chain([("tenant", &*self.id)]) {
            if !is_guid(id) {
                let problem = format!(
                    "{setting} id: {id:?} is not a GUID such as \
                     72f988bf-86f1-41af-91ab-2d7cd011db47"
                );
                return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
            }
        }
        let listener = TcpListener::bind(self.listen).await?;
        let mut address = listener.local_addr()?;
        if address.ip().is_unspecified() {
            // Clients on this machine use loopback. Clients elsewhere know this machine's name.
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        let issuer = Issuer {
            keys: KeyRing::new(self.cloud, self.custom_keys),
            clock: Clock::start(),
            realm: Realm {
                url: self.url.unwrap_or_else(|| format!("http://{address}")),
                id: self.id,
                cloud: self.cloud,
                is_external_id: self.is_external_id,
            },
        };
        let (http_client, in_memory) = HttpClient::new(&issuer.realm.url, address);
        let served = Arc::new(ServedTenant {
            tenant: Tenant::new(
                issuer,
                self.applications,
                self.users,
                self.refuses_resource_parameter,
            ),
            address,
            discovery_endpoint: Endpoint::default(),
            key_endpoint: Endpoint::default(),
            authorize_endpoint: Endpoint::default(),
            token_endpoint: Endpoint::default(),
            is_down: AtomicBool::new(false),
        });
        let server = tokio::spawn(server::serve(listener, in_memory, Arc::clone(&served)));
        Ok(DevTenant {
            served,
            http_client,
            server: server.abort_handle(),
        })
    }
}
