//! A tenant: its tokens and endpoints here, the handles on its [keys](signing_keys), [`people`] and
//! [`time`] apart; and the [`server`] that the [`builder`] starts.

mod builder;
mod in_memory;
mod people;
mod server;
mod signing_keys;
mod time;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use tokio::io::DuplexStream;
use tokio::task::AbortHandle;

pub use self::builder::DevTenantBuilder;
pub use self::in_memory::{HttpClient, ResponseBody};
pub use self::people::People;
pub use self::signing_keys::SigningKeys;
pub use self::time::Time;
use crate::application::{ExternalIssuer, ExternalToken};
use crate::endpoint::Endpoint;
use crate::oauth::Tenant;
use crate::text::compact;
use crate::token::{B2cPolicy, Issuer, TokenBuilder, TokenKind};

/// A local tenant that serves on loopback; it ends when it is dropped.
///
/// It says where it is, and makes tokens. What happens to it is set by handles, which borrow it and can
/// be copied: [`signing_keys`](Self::signing_keys), [`people`](Self::people) and [`time`](Self::time),
/// and an [`Endpoint`] for each of its endpoints.
///
/// See the [crate's page](crate) for an example.
pub struct DevTenant {
    served: Arc<ServedTenant>,
    http_client: HttpClient,
    server: AbortHandle,
}

/// The tenant and its endpoints, which the handle and the server share.
struct ServedTenant {
    tenant: Tenant,
    address: SocketAddr,
    discovery_endpoint: Endpoint,
    key_endpoint: Endpoint,
    authorize_endpoint: Endpoint,
    token_endpoint: Endpoint,
    is_down: AtomicBool,
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

    /// Returns the settings of a tenant, to change the defaults.
    pub fn builder() -> DevTenantBuilder {
        DevTenantBuilder::new()
    }

    /// Returns the tenant id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.issuer().realm.id
    }

    /// Returns the URL at which it serves, such as `http://127.0.0.1:40401`: the metadata endpoint
    /// for what is under test, in place of `https://login.microsoftonline.com`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.issuer().realm.url
    }

    /// Returns the address on which it listens, or loopback where that is any address: its
    /// [`url`](Self::url) too, unless another one [was given](DevTenantBuilder::url).
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.served.address
    }

    /// Returns an HTTP client that reaches the tenant through memory: what tests with a paused
    /// clock need in place of a socket.
    ///
    /// It is set as the `http_client(..)` of what is under test, beside its
    /// [`url`](Self::url). See [the crate's page](crate#time) for an example.
    #[must_use]
    pub fn http_client(&self) -> HttpClient {
        self.http_client.clone()
    }

    /// Opens a connection to the tenant through memory, for a client of HTTP/1.1 that takes any
    /// stream.
    ///
    /// # Errors
    /// If the runtime that the tenant was started on has ended.
    pub fn connect_in_memory(&self) -> io::Result<DuplexStream> {
        self.http_client.connect()
    }

    /// Begins an access token of a user, whose object id follows from the name.
    pub fn user(&self, name: &str) -> TokenBuilder<'_> {
        let name = name.to_owned();
        self.token(TokenKind::User { name })
    }

    /// Begins an access token of an application as itself.
    ///
    /// An application (client) id of Entra is a GUID. Any other text is a name, from which the id follows,
    /// as the object id of a [`user`](Self::user) does: the same in each tenant and at each start. To
    /// [register](crate::AppRegistration) an application takes its id.
    pub fn app(&self, client_id: &str) -> TokenBuilder<'_> {
        let client_id = client_id.to_owned();
        self.token(TokenKind::App { client_id })
    }

    /// Begins an id token of a user; [`for_api`](TokenBuilder::for_api) names the client that it is
    /// for.
    pub fn id_token(&self, name: &str) -> TokenBuilder<'_> {
        let name = name.to_owned();
        self.token(TokenKind::IdToken { name })
    }

    /// Begins an access token of a user for Microsoft Graph, with the `nonce` in its header.
    pub fn graph_token(&self, name: &str) -> TokenBuilder<'_> {
        let name = name.to_owned();
        self.token(TokenKind::Graph { name }).scope("User.Read")
    }

    /// Begins an access token of a user with a personal Microsoft account, signed with the key of
    /// those.
    pub fn personal(&self, name: &str) -> TokenBuilder<'_> {
        let name = name.to_owned();
        self.token(TokenKind::Personal { name })
    }

    /// Begins an access token of a user in the format of Azure AD B2C, signed with the tenant's
    /// key: `ver` 1.0, the policy in a claim, no `tid`.
    pub fn b2c_token(&self, name: &str, policy: B2cPolicy) -> TokenBuilder<'_> {
        let name = name.to_owned();
        self.token(TokenKind::B2c { name, policy })
    }

    /// Begins a token of an issuer outside the tenant for this subject, for use as
    /// `client_assertion`.
    pub fn external_token<'a>(
        &'a self,
        issuer: &'a ExternalIssuer,
        subject: &str,
    ) -> ExternalToken<'a> {
        issuer.token(&self.issuer().clock, subject)
    }

    /// Signs any two texts as header and payload with the current key: for tokens that no
    /// [`TokenBuilder`] can make.
    #[must_use]
    pub fn sign(&self, header: &str, payload: &str) -> String {
        let key = self.issuer().keys.signing();
        compact(header, payload, |message| key.sign(message))
    }

    /// Returns the handle on its keys: rotation, and what key documents hold.
    #[must_use]
    pub fn signing_keys(&self) -> SigningKeys<'_> {
        SigningKeys::of(self)
    }

    /// Returns the handle on its users and its administrator: sign-ins, accounts, sessions and consent.
    #[must_use]
    pub fn people(&self) -> People<'_> {
        People::of(self)
    }

    /// Returns the endpoint of the discovery documents, v1 and v2.
    #[must_use]
    pub fn discovery_endpoint(&self) -> &Endpoint {
        &self.served.discovery_endpoint
    }

    /// Returns the endpoint of the key documents, v1 and v2.
    #[must_use]
    pub fn key_endpoint(&self) -> &Endpoint {
        &self.served.key_endpoint
    }

    /// Returns the authorization endpoint: the sign-in page, and the forms that are sent from it.
    #[must_use]
    pub fn authorize_endpoint(&self) -> &Endpoint {
        &self.served.authorize_endpoint
    }

    /// Returns the token endpoint.
    #[must_use]
    pub fn token_endpoint(&self) -> &Endpoint {
        &self.served.token_endpoint
    }

    /// Returns the tenant's wall clock, for what is under test.
    ///
    /// It follows tokio's clock, so that one [`advance`](Time::advance) moves both, and jumps when
    /// the tenant's does. Where tokio's clock is paused, the [`http_client`](Self::http_client)
    /// belongs to it.
    pub fn clock(&self) -> impl Fn() -> SystemTime + Clone + Send + Sync + 'static + use<> {
        let clock = self.issuer().clock.clone();
        move || clock.now()
    }

    /// Returns the handle on its time: both clocks, and dates in the future.
    #[must_use]
    pub fn time(&self) -> Time<'_> {
        Time::of(self)
    }

    /// Starts an outage: every connection is closed without an answer until
    /// [`end_outage`](Self::end_outage).
    pub fn start_outage(&self) {
        self.served.is_down.store(true, Ordering::SeqCst);
    }

    /// Ends an [outage](Self::start_outage).
    pub fn end_outage(&self) {
        self.served.is_down.store(false, Ordering::SeqCst);
    }

    fn token(&self, kind: TokenKind) -> TokenBuilder<'_> {
        TokenBuilder::new(self.issuer(), kind)
    }

    fn issuer(&self) -> &Issuer {
        &self.served.tenant.issuer
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
            .field("id", &self.issuer().realm.id)
            .field("url", &self.issuer().realm.url)
            .finish_non_exhaustive()
    }
}
