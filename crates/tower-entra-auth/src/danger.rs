//! Settings that weaken the protection. Each needs a reason; reviewers search for `dangerous()`.

use crate::builder::EntraAuthBuilder;

/// The weakening settings of an [`EntraAuthBuilder`]; see [`EntraAuthBuilder::dangerous`].
#[derive(Debug)]
#[must_use]
pub struct DangerousBuilder(pub(crate) EntraAuthBuilder);

impl DangerousBuilder {
    /// Lets [`metadata_endpoint`](EntraAuthBuilder::metadata_endpoint) be `http` on another host
    /// than loopback, such as a development tenant in a neighbouring container.
    ///
    /// Whoever can change that traffic can then make tokens that this service accepts.
    pub fn allow_plain_http_metadata(mut self) -> EntraAuthBuilder {
        self.0.allow_plain_http = true;
        self.0
    }
}
