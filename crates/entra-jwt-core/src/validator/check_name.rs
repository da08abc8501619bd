//! The names of the checks.

use std::fmt;

/// The checks in their order, as [`Validator`](crate::Validator) runs them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum CheckName {
    /// The compact form: size, segments, base64url, JSON, no member twice that decides something.
    Form,
    /// No header `nonce`, which marks tokens for Microsoft Graph.
    Nonce,
    /// The header's `alg`.
    Algorithm,
    /// The header's `typ`.
    Type,
    /// The key is one of the issuer's.
    Key,
    /// The signature is the key's.
    Signature,
    /// No member of header or payload stands twice. Those that decide something are part of
    /// [`Form`](Self::Form); the others are looked at only when the signature holds.
    Names,
    /// Every claim on which something depends has its type.
    Claims,
    /// `exp` and `nbf`.
    Lifetime,
    /// `iss` belongs to `tid` in this cloud.
    Issuer,
    /// v2, or v1 where that is accepted.
    Version,
    /// The key may sign for this issuer.
    KeyIssuer,
    /// The key is of this cloud.
    KeyCloud,
    /// `aud` is this API.
    Audience,
    /// Not bound to a key of its holder.
    Binding,
    /// An access token, not an id token.
    Kind,
    /// `tid` is allowed. Looked at, as client and guest are, only when the signature holds.
    Tenant,
    /// The client application is allowed.
    Client,
    /// The user is no guest, where guests are refused.
    Guest,
    /// The token permits anything at all: a scope or a role.
    Permission,
    /// The requirement of a route.
    Requirement,
}

impl CheckName {
    /// A stable name for programs, in lower case with underscores.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Nonce => "nonce",
            Self::Algorithm => "algorithm",
            Self::Type => "type",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Names => "names",
            Self::Claims => "claims",
            Self::Lifetime => "lifetime",
            Self::Issuer => "issuer",
            Self::Version => "version",
            Self::KeyIssuer => "key_issuer",
            Self::KeyCloud => "key_cloud",
            Self::Audience => "audience",
            Self::Binding => "binding",
            Self::Kind => "kind",
            Self::Tenant => "tenant",
            Self::Client => "client",
            Self::Guest => "guest",
            Self::Permission => "permission",
            Self::Requirement => "requirement",
        }
    }
}

impl fmt::Display for CheckName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
