//! The settings that weaken the protection.

use super::EntraAuthBuilder;
use crate::authenticate::TokenLocation;

/// Settings of an [`EntraAuthBuilder`] that weaken the protection; see
/// [`EntraAuthBuilder::dangerous`].
#[derive(Debug)]
#[must_use]
pub struct DangerousBuilder(EntraAuthBuilder);

impl EntraAuthBuilder {
    /// Gives access to the settings that weaken the protection.
    pub fn dangerous(self) -> DangerousBuilder {
        DangerousBuilder(self)
    }
}

impl DangerousBuilder {
    /// Permits `http` for a [`metadata_endpoint`](EntraAuthBuilder::metadata_endpoint) outside of
    /// loopback, such as `entra-dev-tenant` in another container.
    ///
    /// An attacker who can change that traffic can then make tokens that this service accepts.
    pub fn allow_plain_http_metadata(mut self) -> EntraAuthBuilder {
        self.0.allow_plain_http = true;
        self.0
    }

    /// Permits a [`metadata_endpoint`](EntraAuthBuilder::metadata_endpoint) on any host, such as
    /// that of a gateway, although [`own_endpoints_only`](EntraAuthBuilder::own_endpoints_only) is
    /// set.
    ///
    /// The operator of that host then receives what this program sends to Entra: its client secret,
    /// its users' codes and refresh tokens. An attacker who can set `ENTRA_METADATA_ENDPOINT`
    /// receives them too.
    pub fn allow_endpoints_elsewhere(mut self) -> EntraAuthBuilder {
        self.0.allow_endpoints_elsewhere = true;
        self.0
    }

    /// Takes the token from this query parameter if there is no `Authorization` header.
    ///
    /// This setting is meant for clients that cannot set the header, such as a browser's
    /// `EventSource` or `WebSocket`. A request with both is refused (`malformed_authorization`).
    ///
    /// URLs are written into logs, histories and `Referer` headers, and tokens with them.
    /// [`remove_token_header`](EntraAuthBuilder::remove_token_header) does not remove the token
    /// from the URL. Respond to such requests with `Cache-Control: no-store` (RFC 6750 §2.3).
    pub fn token_in_query(mut self, parameter: impl Into<String>) -> EntraAuthBuilder {
        self.0.token_location = TokenLocation::HeaderOrQuery(parameter.into());
        self.0
    }

    /// Accepts tokens that are signed by a key of another national cloud.
    ///
    /// Entra's key sets publish some of these keys in addition to their own. The operator of that
    /// cloud can then make tokens that this service accepts. The setting is meant for the case that
    /// Entra names the clouds of its keys otherwise than this crate expects.
    pub fn accept_keys_of_other_clouds(mut self) -> EntraAuthBuilder {
        self.0.accepts_keys_of_other_clouds = true;
        self.0
    }
}
