//! The tenant itself: its tokens and endpoints here; its [`keys`], its [`users`] and its
//! [`clock`] apart.

mod builder;
mod clock;
mod in_memory;
mod keys;
mod server;
mod users;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::DuplexStream;
use tokio::task::AbortHandle;

pub use self::builder::DevTenantBuilder;
pub use self::in_memory::{HttpClient, ResponseBody};

use self::in_memory::Pipes;
use crate::application::AppRegistration;
use crate::application::{ExternalIssuer, ExternalToken};
use crate::endpoint::Endpoint;
use crate::oauth::Directory;
use crate::oauth::Grants;
use crate::text::compact;
use crate::token::{B2cPolicy, Issuer, TokenBuilder, TokenKind};

/// A local tenant that serves on loopback; it ends when it is dropped.
///
/// See the [crate's page](crate) for an example.
pub struct DevTenant {
    inner: Arc<Inner>,
    in_memory: Pipes,
    server: AbortHandle,
}

/// What the handles, the token builders and the server share.
pub(crate) struct Inner {
    pub(crate) issuer: Issuer,
    pub(crate) address: SocketAddr,
    pub(crate) applications: Vec<AppRegistration>,
    pub(crate) refuses_resource_parameter: bool,
    pub(crate) directory: Directory,
    pub(crate) grants: Grants,
    pub(crate) discovery: Endpoint,
    pub(crate) key_document: Endpoint,
    pub(crate) authorize_endpoint: Endpoint,
    pub(crate) token_endpoint: Endpoint,
    pub(crate) is_down: AtomicBool,
}

impl Inner {
    /// The application that is registered with this id.
    pub(crate) fn application(&self, id: &str) -> Option<&AppRegistration> {
        let mut applications = self.applications.iter();
        applications.find(|app| app.id.eq_ignore_ascii_case(id))
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
        DevTenantBuilder::new()
    }

    /// The tenant id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.inner.issuer.realm.id
    }

    /// Where it serves, such as `http://127.0.0.1:40401`: the metadata endpoint for what is
    /// under test, in place of `https://login.microsoftonline.com`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.inner.issuer.realm.url
    }

    /// Where it listens, or loopback where that is any address: its [`url`](Self::url) too, unless
    /// another one [was given](DevTenantBuilder::url).
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.inner.address
    }

    /// Returns an HTTP client that reaches the tenant through memory: what tests with a paused
    /// clock need in place of a socket.
    ///
    /// It is set as the `http_client(..)` of what is under test, beside its
    /// [`url`](Self::url). See [the crate's page](crate#time) for an example.
    #[must_use]
    pub fn http_client(&self) -> HttpClient {
        HttpClient::new(
            self.in_memory.clone(),
            &self.inner.issuer.realm.url,
            self.inner.address,
        )
    }

    /// Opens a connection to the tenant through memory, for a client of HTTP/1.1 that takes any
    /// stream.
    ///
    /// # Errors
    /// If the runtime that the tenant was started on has ended.
    pub fn connects_in_memory(&self) -> io::Result<DuplexStream> {
        self.in_memory.connect()
    }

    /// An access token of a user, whose object id follows from the name.
    pub fn user(&self, name: &str) -> TokenBuilder<'_> {
        self.token(TokenKind::User {
            name: name.to_owned(),
        })
    }

    /// An access token of an application as itself.
    pub fn app(&self, client_id: &str) -> TokenBuilder<'_> {
        self.token(TokenKind::App {
            client_id: client_id.to_owned(),
        })
    }

    /// An id token of a user; [`for_api`](TokenBuilder::for_api) names the client it is for.
    pub fn id_token(&self, name: &str) -> TokenBuilder<'_> {
        self.token(TokenKind::IdToken {
            name: name.to_owned(),
        })
    }

    /// An access token of a user for Microsoft Graph, with the `nonce` in its header.
    pub fn graph_token(&self, name: &str) -> TokenBuilder<'_> {
        self.token(TokenKind::Graph {
            name: name.to_owned(),
        })
        .scope("User.Read")
    }

    /// An access token of a user with a personal Microsoft account, signed with the key of those.
    pub fn personal(&self, name: &str) -> TokenBuilder<'_> {
        self.token(TokenKind::Personal {
            name: name.to_owned(),
        })
    }

    /// An access token of a user in the format of Azure AD B2C, signed with the tenant's key:
    /// `ver` 1.0, the policy in a claim, no `tid`.
    pub fn b2c_token(&self, name: &str, policy: B2cPolicy) -> TokenBuilder<'_> {
        self.token(TokenKind::B2c {
            name: name.to_owned(),
            policy,
        })
    }

    fn token(&self, kind: TokenKind) -> TokenBuilder<'_> {
        TokenBuilder::new(&self.inner.issuer, kind)
    }

    /// A token of an issuer outside the tenant for this subject, for use as `client_assertion`.
    pub fn external_token<'a>(
        &'a self,
        issuer: &'a ExternalIssuer,
        subject: &str,
    ) -> ExternalToken<'a> {
        issuer.token(&self.inner.issuer.clock, subject)
    }

    /// Signs any two texts as header and payload with the current key: for tokens that no
    /// [`TokenBuilder`] can make.
    #[must_use]
    pub fn sign(&self, header: &str, payload: &str) -> String {
        let key = self.inner.issuer.keys.signing();
        compact(header, payload, |message| key.sign(message))
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

    /// The authorization endpoint: the sign-in page, and the forms that are sent from it.
    #[must_use]
    pub fn authorize_endpoint(&self) -> &Endpoint {
        &self.inner.authorize_endpoint
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
        self.is_down.store(down, Ordering::SeqCst);
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
            .field("id", &self.inner.issuer.realm.id)
            .field("url", &self.inner.issuer.realm.url)
            .finish_non_exhaustive()
    }
}
