//! The settings that remedies name.

named! {
    /// A setting that a remedy names.
    ///
    /// Displayed as this crate calls it. A library or program around it, whose users never see a
    /// [`ValidatorBuilder`](crate::ValidatorBuilder), gives names of its own to
    /// [`InvalidToken::remedy_with`](crate::InvalidToken::remedy_with) and its like.
    #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
    #[non_exhaustive]
    pub enum Setting {
        /// v1 tokens are accepted beside v2 tokens.
        AcceptV1Tokens = "ValidatorBuilder::accept_v1_tokens",
        /// The client applications that may call.
        AllowedClients = "ValidatorBuilder::allowed_clients",
        /// A further audience: the App ID URI of the API.
        Audience = "ValidatorBuilder::audience",
        /// The application (client) id of the API.
        ClientId = "the client id of Validator::entra",
        /// The national cloud.
        Cloud = "ValidatorBuilder::cloud",
        /// The client applications that need neither a scope nor a role.
        RolelessClients = "ValidatorBuilder::allow_roleless_clients",
        /// The tenant is one of External ID.
        ExternalId = "ValidatorBuilder::external_id",
        /// The longest token that is read.
        MaxTokenLength = "the limit of Unverified::parse_up_to",
        /// The address of the discovery document, which leads to the keys.
        MetadataEndpoint = "the address of the discovery document",
        /// Agents of Entra Agent ID are refused.
        RefuseAgents = "ValidatorBuilder::refuse_agents",
        /// Guests of the tenant are refused.
        RefuseGuests = "ValidatorBuilder::refuse_guests",
        /// The tenants whose tokens are accepted.
        Tenant = "the tenancy of Validator::entra",
        /// The service's own rule about tenants.
        TenantRule = "the service's rule about tenants",
        /// The service's own rule about callers.
        CallerRule = "the service's rule about callers",
    }
    /// Returns what it is called in this crate.
    name,
    /// Every setting that a remedy may name.
    ALL
}
