//! Settings that weaken the protection. Each needs a reason; reviewers search for `danger`.

use crate::config::builder::EntraOAuthProxyBuilder;

/// The weakening settings of an [`EntraOAuthProxyBuilder`]; see [`EntraOAuthProxyBuilder::dangerous`].
#[derive(Debug)]
#[must_use]
pub struct DangerousBuilder(pub(crate) EntraOAuthProxyBuilder);

impl DangerousBuilder {
    /// Lets [`metadata_endpoint`](EntraOAuthProxyBuilder::metadata_endpoint) be on any host, such as
    /// that of a gateway, over `https`.
    ///
    /// Whoever operates that host, or can set `ENTRA_METADATA_ENDPOINT`, then gets what this server
    /// sends to Entra: its client secret, codes and refresh tokens. Browsers sign in there.
    pub fn allow_endpoints_elsewhere(self) -> EntraOAuthProxyBuilder {
        self.0
            .auth(|auth| auth.dangerous().allow_endpoints_elsewhere())
    }
}
