//! The proxy: a handle for all its parts, and the Layer that protects the resource.

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

/// An OAuth authorization server in front of Entra.
///
/// See the [crate's page](crate) for an example. The handle is cheap to clone, and clones share
/// everything.
#[derive(Clone)]
pub struct EntraOAuthProxy {
    server: Arc<Server>,
    users: Arc<Users>,
    auth: EntraAuth,
    required: RequireLayer,
    /// URL of the resource.
    resource: Arc<str>,
}

impl EntraOAuthProxy {
    /// Creates the handle. `required` demands the scopes that every token needs.
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

    /// Returns the Layer that protects the resource.
    ///
    /// It accepts this server's tokens and Entra's own, and requires the [required
    /// scopes](crate::Resource::required_scopes) of each token.
    pub fn layer(&self) -> ResourceLayer {
        ResourceLayer::new(self.auth.layer(), self.required.clone())
    }

    /// Protects a router with the [Layer](Self::layer), and adds this server's endpoints outside of
    /// the Layer.
    ///
    /// Only [`open`](Protected::open) can add routes outside the Layer.
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

    /// Returns the [Layer](Self::layer) that protects the resource with this URL.
    ///
    /// The URL is compared byte for byte with the one that clients receive.
    ///
    /// # Errors
    /// [`UnknownResource`] if no resource with this URL was set.
    pub fn layer_for(&self, url: &str) -> Result<ResourceLayer, UnknownResource> {
        match *self.resource == *url {
            true => Ok(self.layer()),
            false => Err(UnknownResource(self.resource.clone())),
        }
    }

    /// Returns the [`EntraAuth`] behind the Layer.
    ///
    /// Routes use it for requirements: `proxy.auth().require(..)?`.
    #[must_use]
    pub fn auth(&self) -> &EntraAuth {
        &self.auth
    }

    /// Returns the issuer, which is also the base URL of the endpoints.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.server.urls.issuer()
    }

    /// Returns the redirect URI to register at Entra, under the platform "Web".
    #[must_use]
    pub fn redirect_uri(&self) -> String {
        self.server.urls.callback()
    }

    /// Returns the URI to which Entra redirects a browser after sign-out.
    ///
    /// Register it at Entra as another redirect URI, also under "Web". Without this redirect URI,
    /// users end on a page of Entra.
    #[must_use]
    pub fn post_logout_redirect_uri(&self) -> String {
        self.server.urls.signed_out()
    }

    /// Returns a service for all endpoints, by their full paths.
    ///
    /// It is for a server without a router.
    #[must_use]
    pub fn service(&self) -> ProxyEndpoints {
        ProxyEndpoints::new(Arc::clone(&self.server), Mount::All)
    }

    /// Returns a service for the documents under `/.well-known/`.
    ///
    /// Clients look for them at the root of the host, even if the other endpoints are under a path.
    #[must_use]
    pub fn well_known_service(&self) -> ProxyEndpoints {
        ProxyEndpoints::new(Arc::clone(&self.server), Mount::WellKnown)
    }

    /// Returns a service for all endpoints except the documents under `/.well-known/`.
    ///
    /// It is for a router that strips the path of the [public
    /// URL](crate::EntraOAuthProxyBuilder::public_url) first.
    #[must_use]
    pub fn nested_service(&self) -> ProxyEndpoints {
        ProxyEndpoints::new(Arc::clone(&self.server), Mount::Nested)
    }

    /// Returns all endpoints, to merge into the router at the root of the host.
    ///
    /// [`protect`](Self::protect) does this by itself.
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

    /// Returns all endpoints except the documents under `/.well-known/`, to nest under a path.
    ///
    /// The path is that of the [public URL](crate::EntraOAuthProxyBuilder::public_url). The root of
    /// the host also needs [`well_known_routes`](Self::well_known_routes).
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

    /// Returns the documents under `/.well-known/`, to merge into the router at the root of the
    /// host.
    #[cfg(feature = "axum")]
    pub fn well_known_routes<S>(&self) -> axum::Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        routed(&self.well_known_service())
    }

    /// Ends all sign-ins of a user, by every client, including those in progress.
    ///
    /// Their codes and refresh tokens end immediately. Their access tokens end when the Layer
    /// checks the sign-in next ([`Lifetimes::grant_check`](crate::Lifetimes::grant_check), 30 s by
    /// default).
    ///
    /// The user can sign in again; only Entra can refuse that. Sessions at Entra, and Entra's
    /// tokens that were [issued](crate::danger::DangerousBuilder::issue_entra_tokens), do not end.
    ///
    /// # Errors
    /// [`StoreError`] if the store did not respond. The sign-ins may have ended or not, so call it
    /// again. The same error says that the store is full and has no record of this user yet.
    pub async fn end_sign_ins_of(
        &self,
        tenant: TenantId,
        user: ObjectId,
    ) -> Result<(), StoreError> {
        self.users.end_sign_ins_of(tenant, user).await
    }

    /// Ends all sign-ins by the client with this hash of its id, including those in progress.
    ///
    /// It works like [`end_sign_ins_of`](Self::end_sign_ins_of). Log lines and spans have this hash
    /// as `client`, and tokens have it as their
    /// [`registered_client`](tower_entra_auth::entra_jwt_core::AccessToken::registered_client).
    ///
    /// The client's registration stays valid, because it is part of the client's id. Its users can
    /// sign in again.
    ///
    /// # Errors
    /// [`NoClientHash`](crate::EndErrorKind::NoClientHash) if `client` is no such hash, and
    /// [`Store`](crate::EndErrorKind::Store) for the same reasons as
    /// [`end_sign_ins_of`](Self::end_sign_ins_of).
    pub async fn end_sign_ins_of_client(&self, client: &str) -> Result<(), EndError> {
        self.users.end_sign_ins_of_client(client).await
    }

    /// Ends one sign-in, by the id of its grant, and returns whether there was one.
    ///
    /// Log lines and spans have this id as `grant`, and access tokens have it as `gid`.
    ///
    /// # Errors
    /// [`StoreError`] if the store did not respond.
    pub async fn end_sign_in(&self, grant: &str) -> Result<bool, StoreError> {
        self.users.end_sign_in(grant).await
    }

    /// Returns an endpoint for a readiness probe.
    ///
    /// It is the endpoint of [the Layer](EntraAuth::readiness), with an additional check of the
    /// store. Its `code` is `store_unavailable` if the store does not respond, and `shutting_down`
    /// once [`shutdown`](Self::shutdown) was called.
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

    /// Makes [readiness](Self::readiness) fail from now on, and waits until no work is in progress.
    ///
    /// The work is sign-ins that returned from Entra, codes, refreshes and revocations, even if
    /// their clients no longer wait for the response. Readiness is then 503 (`shutting_down`). Call
    /// it when the server has stopped accepting requests:
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
    /// It takes as long as Entra and the store take to respond, up to 10 s each. Add your own
    /// timeout if that is too long.
    ///
    /// Users who are at Entra at that time, or between two pages, lose nothing. Their sign-in is in
    /// the browser, and the next process continues it if it has the same keys.
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

/// The error for a URL that is not the URL of the resource.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no resource with this URL; the configured resource is {0}")]
pub struct UnknownResource(Arc<str>);
