//! The settings that weaken the protection.

use super::EntraAuthBuilder;
use crate::authenticate::TokenLocation;

/// The weakening settings of an [`EntraAuthBuilder`]; see [`EntraAuthBuilder::dangerous`].
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
    /// Lets [`metadata_endpoint`](EntraAuthBuilder::metadata_endpoint) be `http` on another host
    /// than loopback, such as a development tenant in a neighbouring container.
    ///
    /// Whoever can change that traffic can then make tokens that this service accepts.
    pub fn allow_plain_http_metadata(mut self) -> EntraAuthBuilder {
        self.0.allow_plain_http = true;
        self.0
    }

    /// Lets [`metadata_endpoint`](EntraAuthBuilder::metadata_endpoint) be on any host where
    /// [`own_endpoints_only`](EntraAuthBuilder::own_endpoints_only) is set, such as that of a gateway.
    ///
    /// Whoever operates that host, or can set `ENTRA_METADATA_ENDPOINT`, then gets what this program
    /// sends to Entra: its client secret, its users' codes and refresh tokens.
    pub fn allow_endpoints_elsewhere(mut self) -> EntraAuthBuilder {
        self.0.allow_endpoints_elsewhere = true;
        self.0
    }

    /// Takes the token from this parameter of the query where there is no `Authorization` header:
    /// for clients that cannot set one, such as a browser's `EventSource` or `WebSocket`. A request
    /// with both is refused (`malformed_authorization`).
    ///
    /// Addresses are written into logs, histories and `Referer` headers, and tokens with them;
    /// [`remove_token_header`](EntraAuthBuilder::remove_token_header) does not take them out. Answer
    /// such requests with `Cache-Control: no-store` (RFC 6750 §2.3).
    pub fn token_in_query(mut self, parameter: impl Into<String>) -> EntraAuthBuilder {
        self.0.token_location = TokenLocation::HeaderOrQuery(parameter.into());
        self.0
    }

    /// Accepts tokens that are signed by a key of another national cloud, as key sets of Entra
    /// publish some beside their own.
    ///
    /// Whoever operates that cloud can then make tokens that this service accepts. For the case
    /// that Entra names the clouds of its keys otherwise than is known here.
    pub fn accept_keys_of_other_clouds(mut self) -> EntraAuthBuilder {
        self.0.accepts_keys_of_other_clouds = true;
        self.0
    }
}
