//! The proxy: the engine, with the store and Entra to carry out what it decides.
//!
//! What is done is in [`signing_in`](crate::signing_in), [`granting`](crate::granting) and
//! [`refreshing`](crate::refreshing).

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use entra_confidential_client::ConfidentialClient;
use moka::sync::Cache;
use serde_json::Value;
use tower_entra_auth::{EntraAuth, RequireLayer, ResourceMetadata};

use crate::config::builder::EntraOAuthProxyBuilder;
use crate::endpoints::callback::Arrival;
use crate::engine::Engine;
use crate::layer::ProxyLayer;
use crate::limits::Gate;
use crate::oauth::error::OAuthError;
use crate::running::Work;
use crate::store::{Records, StoreError};
use crate::tokens::challenges::Challenges;
use crate::tokens::refresh_lock::Refreshes;
use crate::tokens::users::Users;

/// An OAuth authorization server in front of Entra. See the [crate's page](crate) for an example.
///
/// A cheap handle: clones share everything.
#[derive(Clone)]
pub struct EntraOAuthProxy {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) records: Records,
    pub(crate) entra: ConfidentialClient,
    pub(crate) auth: EntraAuth,
    pub(crate) required: RequireLayer,
    pub(crate) documents: Documents,
    pub(crate) resource_metadata: ResourceMetadata,
    pub(crate) clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    pub(crate) gate: Gate,
    /// What the sign-ins that came back from Entra came to, by the hash of their nonce.
    pub(crate) arrivals: Cache<String, Arrival>,
    pub(crate) refreshes: Refreshes,
    pub(crate) users: Arc<Users>,
    pub(crate) challenges: Arc<Challenges>,
    pub(crate) work: Work,
}

/// What is said of this server to everybody, as it is sent.
pub(crate) struct Documents {
    pub(crate) metadata: Bytes,
    pub(crate) openid: Bytes,
    /// `None` where no token is signed here.
    pub(crate) keys: Option<Bytes>,
}

impl Documents {
    pub(crate) fn of(engine: &Engine) -> Self {
        let written = |document: Value| Bytes::from(document.to_string());
        Self {
            metadata: written(engine.metadata()),
            openid: written(engine.openid_metadata()),
            keys: (!engine.pass_through).then(|| written(engine.keys.key_document())),
        }
    }
}

impl EntraOAuthProxy {
    /// Begins with no settings.
    pub fn builder() -> EntraOAuthProxyBuilder {
        EntraOAuthProxyBuilder::new()
    }

    /// The Layer that protects the resource: it accepts the tokens of this server and Entra's own, and
    /// requires the [required scopes](EntraOAuthProxyBuilder::required_scopes) of each.
    pub fn layer(&self) -> ProxyLayer {
        ProxyLayer::new(self.inner.auth.layer(), self.inner.required.clone())
    }

    /// What is behind the Layer: for requirements of routes, `proxy.auth().require(..)?`.
    #[must_use]
    pub fn auth(&self) -> &EntraAuth {
        &self.inner.auth
    }

    /// The issuer, which is also the URL under which the endpoints are.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.inner.engine.urls.public
    }

    /// The redirect URI to register at Entra, under the platform "Web".
    #[must_use]
    pub fn redirect_uri(&self) -> String {
        self.inner.engine.urls.callback()
    }

    /// Where Entra sends a browser back that it has signed out: another redirect URI to register there,
    /// under "Web" likewise. Without it people end on a page of Entra's.
    #[must_use]
    pub fn signed_out_uri(&self) -> String {
        self.inner.engine.urls.signed_out()
    }
}

impl fmt::Debug for EntraOAuthProxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EntraOAuthProxy")
            .field("issuer", &self.issuer())
            .field("resource", &self.inner.engine.resource.url)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Seconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        seconds((self.clock)())
    }
}

/// Since 1970.
pub(crate) fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// Returns the error for clients where the store does not answer, is full, or has what only a later
/// version of this server can read. The log has it already.
pub(crate) fn down(error: &StoreError) -> OAuthError {
    if error.is_full() {
        return OAuthError::full();
    }
    if error.is_later() {
        return OAuthError::later();
    }
    OAuthError::unavailable(None)
}
