//! The endpoints as routers of axum.

use ::axum::Router;

use crate::proxy::EntraOAuthProxy;

impl EntraOAuthProxy {
    /// All endpoints, to merge into the router at the root of the host.
    ///
    /// ```no_run
    /// # fn app(proxy: &entra_oauth_proxy::EntraOAuthProxy) -> axum::Router {
    /// use axum::{Router, routing::post};
    ///
    /// Router::new()
    ///     .route("/mcp", post(|| async { "…" }).layer(proxy.layer()))
    ///     .merge(proxy.routes())
    /// # }
    /// ```
    pub fn routes<S>(&self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let path = &self.inner.engine.urls.path;
        let nested = Self::nested_paths().map(|nested| format!("{path}{nested}"));
        let mut paths: Vec<String> = self.well_known_paths();
        paths.extend(nested.filter(|nested| !self.well_known_paths().contains(nested)));
        routed(paths, &self.service())
    }

    /// The endpoints without the documents, to nest under the path of the
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
    pub fn nested_routes<S>(&self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        routed(
            Self::nested_paths().map(str::to_owned),
            &self.nested_service(),
        )
    }

    /// The documents under `/.well-known/`, to merge at the root of the host.
    pub fn well_known_routes<S>(&self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        routed(self.well_known_paths(), &self.well_known_service())
    }
}

fn routed<S>(paths: impl IntoIterator<Item = String>, service: &crate::ProxyService) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    paths.into_iter().fold(Router::new(), |router, path| {
        router.route_service(&path, service.clone())
    })
}
