//! The names of the checks.

named! {
    /// The name of a check of a token.
    ///
    /// The variants are in the order in which [`Validator`](crate::Validator) runs the checks.
    #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
    #[non_exhaustive]
    pub enum CheckName {
        /// The text is a token in the compact serialization: length, segments, base64url, JSON, and
        /// no duplicate of a member that decides something.
        Form = "form",
        /// The header has no `nonce`, which would mark a token for Microsoft Graph.
        Nonce = "nonce",
        /// The header's `alg` is the algorithm of the issuer.
        Algorithm = "algorithm",
        /// The header's `typ` is `JWT` or absent, or, in a [reissued](crate::Validator::reissued)
        /// token, `at+jwt`.
        Type = "type",
        /// The token's key is one of the issuer's keys.
        Key = "key",
        /// The signature verifies with the key.
        Signature = "signature",
        /// Header and payload have no duplicate member.
        ///
        /// Members that decide something are part of [`Form`](Self::Form). All others are checked
        /// only once the signature is verified.
        Names = "names",
        /// Every claim that decides something has the right type.
        Claims = "claims",
        /// The token has not expired (`exp`), and is already valid (`nbf`).
        Lifetime = "lifetime",
        /// `iss` belongs to `tid` in this cloud.
        Issuer = "issuer",
        /// The token is v2, or v1 if v1 tokens are accepted.
        Version = "version",
        /// The key may sign for this issuer.
        KeyIssuer = "key_issuer",
        /// The key belongs to this cloud.
        KeyCloud = "key_cloud",
        /// `aud` is this API.
        Audience = "audience",
        /// The token is not bound to a key of its holder.
        Binding = "binding",
        /// The token is an access token, not an id token.
        Kind = "kind",
        /// `tid` is allowed.
        ///
        /// Tenant, client, guest and agent are checked only once the signature is verified.
        Tenant = "tenant",
        /// The client application is allowed.
        Client = "client",
        /// The user is not a guest, or guests are accepted.
        Guest = "guest",
        /// The caller is not an agent, as far as the token says, or agents are accepted.
        Agent = "agent",
        /// The token has at least one permission: a scope or a role.
        Permission = "permission",
        /// The token meets the requirement of a route.
        Requirement = "requirement",
    }
    /// Returns a stable name for programs, in lower case with underscores.
    name
}
