//! A tenant with its tokens and endpoints, the handles on its [keys](signing_keys), [`people`] and
//! [`time`], and the [`server`] that the [`builder`] starts.

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

/// A local tenant, which serves on loopback by default and ends when it is dropped.
///
/// It returns its addresses and makes tokens. Handles change its state. They borrow the tenant and
/// can be copied: [`signing_keys`](Self::signing_keys), [`people`](Self::people) and
/// [`time`](Self::time). An [`Endpoint`] controls each of its endpoints.
///
/// See the [crate's page](crate) for an example.
pub struct DevTenant {
    served: Arc<ServedTenant>,
    http_client: HttpClient,
    server: AbortHandle,
}

/// The tenant and its endpoints, shared by the handle and the server.
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
    /// Starts a tenant with default settings, on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// If the tenant cannot listen on any port.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// Returns the default settings of a tenant, to change them before the start.
    pub fn builder() -> DevTenantBuilder {
        DevTenantBuilder::new()
    }

    /// Returns the tenant id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.issuer().realm.id
    }

    /// Returns the tenant's URL, such as `http://127.0.0.1:40401`.
    ///
    /// Configure it as the metadata endpoint of the code under test, in place of
    /// `https://login.microsoftonline.com`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.issuer().realm.url
    }

    /// Returns the address on which the tenant listens, or the loopback address if it listens on
    /// all addresses.
    ///
    /// The [`url`](Self::url) has this address, unless another URL [was
    /// configured](DevTenantBuilder::url).
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.served.address
    }

    /// Returns an HTTP client that reaches the tenant in memory, without a socket.
    ///
    /// Tests with a paused clock need this client in place of a socket. Configure it as the
    /// `http_client(..)` of the code under test, together with the [`url`](Self::url). See [the
    /// crate's page](crate#time) for an example.
    #[must_use]
    pub fn http_client(&self) -> HttpClient {
        self.http_client.clone()
    }

    /// Opens an in-memory connection to the tenant, for an HTTP/1.1 client that takes any stream.
    ///
    /// # Errors
    /// If the runtime that the tenant was started on has ended.
    pub fn connect_in_memory(&self) -> io::Result<DuplexStream> {
        self.http_client.connect()
    }

    /// Returns a builder of an access token of a user.
    ///
    /// The object id is derived from the name and the tenant id.
    pub fn user(&self, name: &str) -> TokenBuilder<'_> {
        let name = name.to_owned();
        self.token(TokenKind::User { name })
    }

    /// Returns a builder of an app-only access token of an application.
    ///
    /// An application (client) id of Entra is a GUID. Any other text is a name, from which the
    /// tenant derives the id. A name has the same id in each tenant and at each start. A
    /// [registration](crate::AppRegistration) of an application needs its id.
    pub fn app(&self, client_id: &str) -> TokenBuilder<'_> {
        let client_id = client_id.to_owned();
        self.token(TokenKind::App { client_id })
    }

    /// Returns a builder of an id token of a user.
    ///
    /// [`for_api`](TokenBuilder::for_api) sets the client that the token is for.
    pub fn id_token(&self, name: &str) -> TokenBuilder<'_> {
        let name = name.to_owned();
        self.token(TokenKind::IdToken { name })
    }

    /// Returns a builder of an access token of a user for Microsoft Graph, with a `nonce` in its
    /// header.
    pub fn graph_token(&self, name: &str) -> TokenBuilder<'_> {
        let name = name.to_owned();
        self.token(TokenKind::Graph { name }).scope("User.Read")
    }

    /// Returns a builder of an access token of a user with a personal Microsoft account, signed
    /// with the key of personal accounts.
    pub fn personal(&self, name: &str) -> TokenBuilder<'_> {
        let name = name.to_owned();
        self.token(TokenKind::Personal { name })
    }

    /// Returns a builder of an access token of a user in the format of Azure AD B2C.
    ///
    /// The tenant's key signs the token. `ver` is 1.0, a claim has the policy, and there is no
    /// `tid`.
    pub fn b2c_token(&self, name: &str, policy: B2cPolicy) -> TokenBuilder<'_> {
        let name = name.to_owned();
        self.token(TokenKind::B2c { name, policy })
    }

    /// Returns a builder of a token of an external issuer with this subject, for use as
    /// `client_assertion`.
    pub fn external_token<'a>(
        &'a self,
        issuer: &'a ExternalIssuer,
        subject: &str,
    ) -> ExternalToken<'a> {
        issuer.token(&self.issuer().clock, subject)
    }

    /// Signs any two texts as header and payload with the current key.
    ///
    /// Use it for tokens that no [`TokenBuilder`] can make.
    #[must_use]
    pub fn sign(&self, header: &str, payload: &str) -> String {
        let key = self.issuer().keys.signing();
        compact(header, payload, |message| key.sign(message))
    }

    /// Returns the handle on the tenant's keys: rotation, and the content of JWKS documents.
    #[must_use]
    pub fn signing_keys(&self) -> SigningKeys<'_> {
        SigningKeys::of(self)
    }

    /// Returns the handle on the tenant's users and administrator: sign-ins, accounts, sessions and
    /// consent.
    #[must_use]
    pub fn people(&self) -> People<'_> {
        People::of(self)
    }

    /// Returns the endpoint of the discovery documents, v1 and v2.
    #[must_use]
    pub fn discovery_endpoint(&self) -> &Endpoint {
        &self.served.discovery_endpoint
    }

    /// Returns the endpoint of the JWKS documents, v1 and v2.
    #[must_use]
    pub fn key_endpoint(&self) -> &Endpoint {
        &self.served.key_endpoint
    }

    /// Returns the authorization endpoint, which receives the requests for the sign-in page and its
    /// forms.
    #[must_use]
    pub fn authorize_endpoint(&self) -> &Endpoint {
        &self.served.authorize_endpoint
    }

    /// Returns the token endpoint.
    #[must_use]
    pub fn token_endpoint(&self) -> &Endpoint {
        &self.served.token_endpoint
    }

    /// Returns the tenant's wall clock, for the code under test.
    ///
    /// The clock follows tokio's clock, so that one [`advance`](Time::advance) moves both. It also
    /// jumps when the tenant's wall clock does. If tokio's clock is paused, use the
    /// [`http_client`](Self::http_client) together with this clock.
    pub fn clock(&self) -> impl Fn() -> SystemTime + Clone + Send + Sync + 'static + use<> {
        let clock = self.issuer().clock.clone();
        move || clock.now()
    }

    /// Returns the handle on the tenant's time: tokio's clock, its wall clock, and HTTP dates.
    #[must_use]
    pub fn time(&self) -> Time<'_> {
        Time::of(self)
    }

    /// Starts an outage: the tenant closes every connection without a response until
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
