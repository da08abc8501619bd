//! The proxy: a handle for everything, and the Layer that protects the resource.

mod resource_layer;

use std::fmt;
use std::sync::Arc;

#[cfg(feature = "axum")]
use tower_entra_auth::axum::Protected;
use tower_entra_auth::{EntraAuth, RequireLayer, TenantId, readiness::Readiness, token::ObjectId};

pub use self::resource_layer::{ResourceBody, ResourceFuture, ResourceLayer, ResourceService};
use crate::endpoints::{Mount, ProxyEndpoints, Server};
use crate::store::StoreError;
use crate::tokens::{EndError, Users};

/// An OAuth authorization server in front of Entra. See the [crate's page](crate) for an example.
///
/// A cheap handle: clones share everything.
#[derive(Clone)]
pub struct EntraOAuthProxy {
    server: Arc<Server>,
    users: Arc<Users>,
    auth: EntraAuth,
    required: RequireLayer,
    /// The URL of the resource.
    resource: Arc<str>,
}

impl EntraOAuthProxy {
    /// Takes the requirement of the scopes that every token needs.
    pub(crate) fn new(
        server: Server,
        users: Arc<Users>,
        (auth, required, resource): (EntraAuth, RequireLayer, String),
    ) -> Self {
        Self {
            server: Arc::new(server),
            users,
            auth,
            required,
            resource: resource.into(),
        }
    }

    /// Returns the Layer that protects the resource: it accepts the tokens of this server and Entra's own,
    /// and requires the [required scopes](crate::Resource::required_scopes) of each.
    pub fn layer(&self) -> ResourceLayer {
        ResourceLayer::new(self.auth.layer(), self.required.clone())
    }

    /// Protects a router by the [Layer](Self::layer), with the endpoints beside it: no route can be added
    /// outside the Layer but by [`open`](Protected::open).
    ///
    /// ```no_run
    /// use axum::{Router, routing::{get, post}};
    /// use entra_oauth_proxy::{EntraOAuthProxy, layer::Protected};
    ///
    /// fn app(proxy: &EntraOAuthProxy) -> Protected {
    ///     proxy
    ///         .protect(Router::new().route("/mcp", post(|| async { "…" })))
    ///         .open(Router::new().route("/ready", get(proxy.readiness())))
    /// }
    /// ```
    ///
    /// # Panics
    /// If a route has the path of an endpoint.
    #[cfg(feature = "axum")]
    pub fn protect(&self, routes: axum::Router) -> Protected {
        let auth = self.auth.layer();
        auth.protect(routes.layer(self.required.clone()))
            .open(self.routes())
    }

    /// Returns the [Layer](Self::layer) that protects the resource at this URL, which is compared as clients'
    /// are told it: byte for byte.
    ///
    /// # Errors
    /// If no such resource was set.
    pub fn layer_for(&self, url: &str) -> Result<ResourceLayer, UnknownResource> {
        match *self.resource == *url {
            true => Ok(self.layer()),
            false => Err(UnknownResource(self.resource.clone())),
        }
    }

    /// Returns what is behind the Layer: for requirements of routes, `proxy.auth().require(..)?`.
    #[must_use]
    pub fn auth(&self) -> &EntraAuth {
        &self.auth
    }

    /// Returns the issuer, which is also the URL under which the endpoints are.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.server.urls.issuer()
    }

    /// Returns the redirect URI to register at Entra, under the platform "Web".
    #[must_use]
    pub fn redirect_uri(&self) -> String {
        self.server.urls.callback()
    }

    /// Returns where Entra sends a browser back that it has signed out: another redirect URI to register
    /// there, under "Web" likewise. Without it people end on a page of Entra's.
    #[must_use]
    pub fn post_logout_redirect_uri(&self) -> String {
        self.server.urls.signed_out()
    }

    /// Returns all endpoints, by their whole paths: for a server without a router.
    #[must_use]
    pub fn service(&self) -> ProxyEndpoints {
        ProxyEndpoints::new(Arc::clone(&self.server), Mount::All)
    }

    /// Returns the documents under `/.well-known/`, which clients look for at the root of the host wherever
    /// the other endpoints are.
    #[must_use]
    pub fn well_known_service(&self) -> ProxyEndpoints {
        ProxyEndpoints::new(Arc::clone(&self.server), Mount::WellKnown)
    }

    /// Returns the endpoints without the documents, for a router that takes the path of the
    /// [public URL](crate::EntraOAuthProxyBuilder::public_url) off before.
    #[must_use]
    pub fn nested_service(&self) -> ProxyEndpoints {
        ProxyEndpoints::new(Arc::clone(&self.server), Mount::Nested)
    }

    /// Returns all endpoints, to merge into the router at the root of the host, as [`protect`](Self::protect) does
    /// by itself.
    ///
    /// ```no_run
    /// # fn app(proxy: &entra_oauth_proxy::EntraOAuthProxy) -> axum::Router {
    /// use axum::{Router, routing::post};
    ///
    /// Router::new()
    ///     .route("/mcp", post(|| async { "…" }))
    ///     .layer(proxy.layer()) // around everything above
    ///     .merge(proxy.routes())
    /// # }
    /// ```
    #[cfg(feature = "axum")]
    pub fn routes<S>(&self) -> axum::Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        routed(&self.service())
    }

    /// Returns the endpoints without the documents, to nest under the path of the
    /// [public URL](crate::EntraOAuthProxyBuilder::public_url); with
    /// [`well_known_routes`](Self::well_known_routes) at the root of the host.
    ///
    /// ```no_run
    /// # fn app(proxy: &entra_oauth_proxy::EntraOAuthProxy) -> axum::Router {
    /// use axum::Router;
    ///
    /// Router::new()
    ///     .nest("/oauth", proxy.nested_routes()) // .public_url("https://mcp.example.com/oauth")
    ///     .merge(proxy.well_known_routes())
    /// # }
    /// ```
    #[cfg(feature = "axum")]
    pub fn nested_routes<S>(&self) -> axum::Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        routed(&self.nested_service())
    }

    /// Returns the documents under `/.well-known/`, to merge at the root of the host.
    #[cfg(feature = "axum")]
    pub fn well_known_routes<S>(&self) -> axum::Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        routed(&self.well_known_service())
    }

    /// Ends all sign-ins of a user, by every client, and those that are under way: their codes and refresh
    /// tokens at once, their access tokens when the Layer asks next
    /// ([`Lifetimes::grant_check`](crate::Lifetimes::grant_check), 30 s).
    ///
    /// Nobody is kept from signing in again: that is Entra's to refuse. Sessions at Entra, and its tokens that
    /// were [issued](crate::danger::DangerousBuilder::issue_entra_tokens), are not ended.
    ///
    /// # Errors
    /// [`StoreError`] if the store did not answer: they may be ended, or not; call it again. Or if it is full,
    /// and there is no record of this user yet.
    pub async fn end_sign_ins_of(
        &self,
        tenant: TenantId,
        user: ObjectId,
    ) -> Result<(), StoreError> {
        self.users.end_sign_ins_of(tenant, user).await
    }

    /// Ends all sign-ins by a client, and those that are under way, as
    /// [`end_sign_ins_of`](Self::end_sign_ins_of) does: a client by the hash of its id, as lines of the log
    /// and spans have it as `client`, and tokens as their
    /// [`registered_client`](tower_entra_auth::entra_jwt_core::AccessToken::registered_client).
    ///
    /// Its registration stays good, as it is in its id: its users can sign in again.
    ///
    /// # Errors
    /// [`NoClientHash`](crate::EndErrorKind::NoClientHash) for a text that is none, and
    /// [`Store`](crate::EndErrorKind::Store) as with a user.
    pub async fn end_sign_ins_of_client(&self, client: &str) -> Result<(), EndError> {
        self.users.end_sign_ins_of_client(client).await
    }

    /// Ends one sign-in, by the id of its grant, as lines of the log and spans have it as `grant`, and access
    /// tokens as `gid`. Returns whether there was one.
    ///
    /// # Errors
    /// [`StoreError`] if the store did not answer.
    pub async fn end_sign_in(&self, grant: &str) -> Result<bool, StoreError> {
        self.users.end_sign_in(grant).await
    }

    /// Returns an endpoint for a readiness probe: that of [the Layer](EntraAuth::readiness), which also asks the
    /// store. Its `code` is `store_unavailable` or `shutting_down` where it is that.
    ///
    /// ```no_run
    /// # #[cfg(feature = "axum")]
    /// # fn app(proxy: &entra_oauth_proxy::EntraOAuthProxy) -> axum::Router {
    /// use axum::{Router, routing::get};
    ///
    /// Router::new().route("/ready", get(proxy.readiness())) // outside the Layer
    /// # }
    /// ```
    pub fn readiness(&self) -> Readiness {
        let server = Arc::clone(&self.server);
        let readiness = self.auth.readiness();
        readiness.and(async move || server.check_ready().await)
    }

    /// Waits until nothing is under way here any more: sign-ins that came back from Entra, codes,
    /// refreshes, revocations, whether or not anybody still waits for their answer. From then on
    /// [readiness](Self::readiness) is 503. To be called when the server has stopped taking requests:
    ///
    /// ```no_run
    /// # async fn run(
    /// #     proxy: entra_oauth_proxy::EntraOAuthProxy,
    /// #     listener: tokio::net::TcpListener,
    /// #     app: axum::Router,
    /// #     terminated: impl Future<Output = ()> + Send + 'static,
    /// # ) -> std::io::Result<()> {
    /// # use axum::serve::ListenerExt as _;
    /// let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    /// axum::serve(listener, app).with_graceful_shutdown(terminated).await?;
    /// proxy.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// It takes as long as Entra and the store may take to answer, 10 s each: put a limit of your own
    /// around it where that is too long. Whoever is at Entra at that moment, or between a page and the
    /// next, loses nothing either way: that is in the browser, and whoever runs next goes on with it, if it
    /// has the same keys.
    pub async fn shutdown(&self) {
        self.server.shutdown().await;
    }
}

impl fmt::Debug for EntraOAuthProxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EntraOAuthProxy")
            .field("issuer", &self.issuer())
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "axum")]
fn routed<S>(service: &ProxyEndpoints) -> axum::Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    service
        .paths()
        .iter()
        .fold(axum::Router::new(), |router, path| {
            router.route_service(path, service.clone())
        })
}

/// There is no resource with the URL that was asked for.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no such resource: the one that was set is {0}")]
pub struct UnknownResource(Arc<str>);
