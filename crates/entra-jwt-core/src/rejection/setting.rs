//! The settings that remedies name.

use std::fmt;

/// A setting that a remedy names.
///
/// Displayed as this crate calls it. A library or program around it, whose users never see a
/// [`ValidatorBuilder`](crate::ValidatorBuilder), gives names of its own to
/// [`Rejection::remedy_with`](crate::Rejection::remedy_with) and its like.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Setting {
    /// v1 tokens are accepted beside v2 tokens.
    AcceptV1Tokens,
    /// The client applications that may call.
    AllowedClients,
    /// A further audience: the App ID URI of the API.
    Audience,
    /// The application (client) id of the API.
    ClientId,
    /// The national cloud.
    Cloud,
    /// The client applications that need neither a scope nor a role.
    ExemptClients,
    /// The tenant is one of External ID.
    ExternalId,
    /// The longest token that is read.
    MaxTokenLength,
    /// The address of the discovery document, which leads to the keys.
    MetadataEndpoint,
    /// Guests of the tenant are refused.
    RefuseGuests,
    /// Whose tokens are accepted.
    Tenant,
    /// The service's own rule about tenants.
    TenantRule,
}

impl Setting {
    /// Every setting that a remedy may name.
    pub const ALL: [Self; 12] = [
        Self::AcceptV1Tokens,
        Self::AllowedClients,
        Self::Audience,
        Self::ClientId,
        Self::Cloud,
        Self::ExemptClients,
        Self::ExternalId,
        Self::MaxTokenLength,
        Self::MetadataEndpoint,
        Self::RefuseGuests,
        Self::Tenant,
        Self::TenantRule,
    ];

    /// Returns what it is called in this crate.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AcceptV1Tokens => "ValidatorBuilder::accept_v1_tokens",
            Self::AllowedClients => "ValidatorBuilder::allowed_clients",
            Self::Audience => "ValidatorBuilder::audience",
            Self::ClientId => "the client id of Validator::entra",
            Self::Cloud => "ValidatorBuilder::cloud",
            Self::ExemptClients => "ValidatorBuilder::exempt_clients",
            Self::ExternalId => "ValidatorBuilder::external_id",
            Self::MaxTokenLength => "the limit of Unverified::parse_up_to",
            Self::MetadataEndpoint => "the address of the discovery document",
            Self::RefuseGuests => "ValidatorBuilder::refuse_guests",
            Self::Tenant => "the tenancy of Validator::entra",
            Self::TenantRule => "the service's rule about tenants",
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
