//! The Layer of the proxy: that of `tower-entra-auth`, and the required scopes inside it.

use tower_entra_auth::{EntraLayer, EntraService, RequireLayer, RequireService};
use tower_layer::Layer;

/// Protects the resource; made by [`EntraOAuthProxy::layer`](crate::EntraOAuthProxy::layer).
#[derive(Clone, Debug)]
#[must_use = "nothing is protected before it is a Layer around a service"]
pub struct ProxyLayer {
    auth: EntraLayer,
    required: RequireLayer,
}

impl ProxyLayer {
    pub(crate) fn new(auth: EntraLayer, required: RequireLayer) -> Self {
        Self { auth, required }
    }
}

impl<S> Layer<S> for ProxyLayer {
    type Service = EntraService<RequireService<S>>;

    fn layer(&self, inner: S) -> Self::Service {
        self.auth.layer(self.required.layer(inner))
    }
}
