//! The settings that remedies name.

named! {
    /// A setting that a remedy names.
    ///
    /// `Display` writes this crate's name for the setting. A library or program around this crate,
    /// whose users never see a [`ValidatorBuilder`](crate::ValidatorBuilder), passes its own names
    /// to [`InvalidToken::remedy_with`](crate::InvalidToken::remedy_with) and similar methods.
    #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
    #[non_exhaustive]
    pub enum Setting {
        /// Accepts v1 tokens in addition to v2 tokens.
        AcceptV1Tokens = "ValidatorBuilder::accept_v1_tokens",
        /// The allowed client applications.
        AllowedClients = "ValidatorBuilder::allowed_clients",
        /// An added audience: the Application ID URI of the API.
        Audience = "ValidatorBuilder::audience",
        /// The application (client) id of the API.
        ClientId = "the client id of Validator::entra",
        /// The cloud of the tenant.
        Cloud = "ValidatorBuilder::cloud",
        /// The client applications that need neither a scope nor a role.
        RolelessClients = "ValidatorBuilder::allow_roleless_clients",
        /// Declares an External ID tenant.
        ExternalId = "ValidatorBuilder::external_id",
        /// Maximum length of a token.
        MaxTokenLength = "the limit of Unverified::parse_up_to",
        /// The address of the discovery document, which leads to the keys.
        MetadataEndpoint = "the address of the discovery document",
        /// Refuses agents of Entra Agent ID.
        RefuseAgents = "ValidatorBuilder::refuse_agents",
        /// Refuses guests of the tenant.
        RefuseGuests = "ValidatorBuilder::refuse_guests",
        /// The tenants whose tokens are accepted.
        Tenant = "the tenancy of Validator::entra",
        /// The service's own rule about tenants.
        TenantRule = "the service's rule about tenants",
        /// The service's own rule about callers.
        CallerRule = "the service's rule about callers",
    }
    /// Returns the setting's name in this crate.
    name,
    /// Every setting that a remedy may name.
    ALL
}
