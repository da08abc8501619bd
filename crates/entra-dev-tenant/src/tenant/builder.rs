//! A tenant's settings, and its start.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::net::TcpListener;

use super::{DevTenant, Inner};
use crate::clock::Clock;
use crate::cloud::DevCloud;
use crate::custom_key::CustomKey;
use crate::endpoint::Endpoint;
use crate::key_ring::KeyRing;
use crate::key_script::KeyScript;
use crate::server;
use crate::signing_key::SigningKey;
use crate::text::is_guid;
use crate::token_endpoint::Client;

/// Settings of a [`DevTenant`]; begin with [`DevTenant::builder`].
#[derive(Debug)]
#[must_use = "the tenant exists only once it is started"]
pub struct DevTenantBuilder {
    id: String,
    cloud: DevCloud,
    is_external_id: bool,
    listen: SocketAddr,
    url: Option<String>,
    clients: Vec<Client>,
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
            clients: Vec::new(),
            custom_keys: Vec::new(),
        }
    }

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

    /// The URL by which others reach it, such as `http://tenant:7580` in a network of containers:
    /// its documents name their addresses by it. Default: `http://` and the address where it
    /// listens, or loopback where that is any address.
    pub fn url(mut self, url: &str) -> Self {
        self.url = Some(url.trim_end_matches('/').to_owned());
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

    /// The application with this id has a signing key of its own, as applications with claims
    /// mapping have at Entra. Default: none has.
    ///
    /// Tokens of users and applications, and id tokens, whose audience is the id or `api://` and
    /// the id are signed with that key. The tenant's key documents lack it, unless they are asked
    /// for with `?appid={client_id}`: the `jwks_uri` of a discovery document that was asked for so
    /// leads there. Any other `appid` is ignored. The key never rotates.
    pub fn custom_signing_key(mut self, client_id: &str) -> Self {
        self.custom_keys.push(client_id.to_ascii_lowercase());
        self
    }

    /// Makes its keys (about 90 ms each) and starts to serve on the current tokio runtime.
    ///
    /// # Errors
    /// If the address cannot be listened on, or if the tenant's or an application's id is no
    /// GUID.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(self) -> io::Result<DevTenant> {
        let clients = self.clients.iter().map(|client| ("client", &*client.id));
        let custom_keys = self.custom_keys.iter().map(|id| ("application", &**id));
        for (setting, id) in clients.chain(custom_keys).chain([("tenant", &*self.id)]) {
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
        let certificate_name = self.cloud.certificate_name();
        let custom_keys = self.custom_keys.into_iter().map(|client_id| CustomKey {
            client_id,
            key: Arc::new(SigningKey::generate(certificate_name)),
        });
        let inner = Arc::new(Inner {
            address,
            url: self.url.unwrap_or_else(|| format!("http://{address}")),
            id: self.id,
            cloud: self.cloud,
            is_external_id: self.is_external_id,
            clock: Clock::start(),
            keys: KeyRing::new(certificate_name),
            key_script: KeyScript::default(),
            custom_keys: custom_keys.collect(),
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
