//! The names of the checks.

named! {
    /// The checks in their order, as [`Validator`](crate::Validator) runs them.
    #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
    #[non_exhaustive]
    pub enum CheckName {
        /// The compact form: size, segments, base64url, JSON, no member twice that decides something.
        Form = "form",
        /// No header `nonce`, which marks tokens for Microsoft Graph.
        Nonce = "nonce",
        /// The header's `alg`.
        Algorithm = "algorithm",
        /// The header's `typ`.
        Type = "type",
        /// The key is one of the issuer's.
        Key = "key",
        /// The signature is the key's.
        Signature = "signature",
        /// No member of header or payload stands twice. Those that decide something are part of
        /// [`Form`](Self::Form); the others are looked at only when the signature holds.
        Names = "names",
        /// Every claim on which something depends has its type.
        Claims = "claims",
        /// `exp` and `nbf`.
        Lifetime = "lifetime",
        /// `iss` belongs to `tid` in this cloud.
        Issuer = "issuer",
        /// v2, or v1 where that is accepted.
        Version = "version",
        /// The key may sign for this issuer.
        KeyIssuer = "key_issuer",
        /// The key is of this cloud.
        KeyCloud = "key_cloud",
        /// `aud` is this API.
        Audience = "audience",
        /// The token is not bound to a key of its holder.
        Binding = "binding",
        /// An access token, not an id token.
        Kind = "kind",
        /// `tid` is allowed. Looked at, as client, guest and agent are, only when the signature holds.
        Tenant = "tenant",
        /// The client application is allowed.
        Client = "client",
        /// The user is no guest, where guests are refused.
        Guest = "guest",
        /// The caller is no agent, as far as the token says, where agents are refused.
        Agent = "agent",
        /// The token permits anything at all: a scope or a role.
        Permission = "permission",
        /// The requirement of a route.
        Requirement = "requirement",
    }
    /// Returns a stable name for programs, in lower case with underscores.
    name
}
