//! The faults of tokens, each with the values that explain it.

use std::fmt;

use crate::authority::Cloud;
use crate::identifier::{ClientId, KeyId, TenantId};
use crate::refusal::SentInstead;
use crate::shown::Escaped;

/// The fault of a token: one variant for each `InvalidTokenKind`.
///
/// No variant holds the token, its signature or a claim about a person. Values from the token are
/// escaped and cut to 200 characters when displayed.
#[derive(Clone, Eq, PartialEq, thiserror::Error)]
pub(crate) enum TokenFault {
    #[error("the token has {length} bytes, the limit is {limit}")]
    TooLarge { length: usize, limit: usize },
    #[error("not a signed token of three segments: {}", .found.found())]
    NotAToken { found: SentInstead },
    #[error("the token is encrypted (five segments)")]
    Encrypted,
    #[error("the {part} is not unpadded base64url")]
    InvalidBase64 { part: TokenPart },
    #[error("the {part} is not a JSON object")]
    InvalidJson { part: TokenPart },
    #[error("the {part} has the member \"{}\" twice", Escaped(.member))]
    DuplicateMember { part: TokenPart, member: String },
    #[error("\"{member}\" in the {part} is not {expected}")]
    WrongType {
        part: TokenPart,
        member: &'static str,
        expected: &'static str,
    },
    #[error("the header names no signing key (kid)")]
    MissingKeyId,
    #[error("the header has the member \"{member}\", which is not supported")]
    UnsupportedHeader { member: &'static str },
    #[error("signed with {}; expected {expected}", Escaped(.found.as_deref().unwrap_or("nothing")))]
    WrongAlgorithm {
        found: Option<String>,
        expected: &'static str,
        /// The issuer, if another authorization server issued the token (`at+jwt`).
        other_server: Option<String>,
    },
    #[error("wrong token type: {}; expected {expected}", Escaped(.found))]
    WrongTokenType {
        found: String,
        expected: &'static str,
    },
    #[error("the token is for Microsoft Graph, not for this API ({mark})")]
    GraphToken { mark: GraphMark, api: ClientId },
    #[error("no key of this issuer has the id {}", Escaped(.key_id.as_str()))]
    UnknownKey {
        key_id: KeyId,
        api: Option<ClientId>,
    },
    #[error("the signature does not verify with the key {}", Escaped(.key_id.as_str()))]
    BadSignature { key_id: KeyId },
    #[error("the claim {claim} is missing")]
    MissingClaim { claim: &'static str },
    #[error(
        "expired {seconds_ago} s ago, {} s beyond the clock skew of {skew} s",
        .seconds_ago.saturating_sub(*.skew)
    )]
    Expired { seconds_ago: i64, skew: i64 },
    #[error(
        "becomes valid in {seconds_ahead} s, {} s beyond the clock skew of {skew} s",
        .seconds_ahead.saturating_sub(*.skew)
    )]
    NotYetValid { seconds_ahead: i64, skew: i64 },
    #[error("nbf is later than exp")]
    ImpossibleLifetime,
    #[error("a second claim has the name tid in another letter case")]
    AmbiguousTenant,
    #[error("tid is {}, not a lower-case GUID", Escaped(.found))]
    InvalidTenant { found: String },
    #[error("issued by {}; expected {expected}", Escaped(.found))]
    WrongIssuer { found: String, expected: String },
    #[error("issued by {} of the cloud {cloud}; expected {expected}", Escaped(.found))]
    WrongCloud {
        found: String,
        cloud: Cloud,
        expected: String,
    },
    #[error("the tenant {found} is not allowed; allowed: {allowed}")]
    TenantNotAllowed {
        found: TenantId,
        allowed: String,
        by_tenant_rule: bool,
        /// The configured client id equals the token's tenant.
        is_the_client_id: bool,
    },
    #[error("personal Microsoft accounts are not allowed; allowed: {allowed}")]
    PersonalAccount {
        allowed: String,
        /// Every organization is admitted already; only personal accounts are not.
        are_all_others_admitted: bool,
    },
    #[error("a v1 token (issuer {}); expected v2 ({expected})", Escaped(.found))]
    V1Token { found: String, expected: String },
    #[error(
        "the key may sign for {}, but the token's issuer is {}",
        Escaped(.key_issuer), Escaped(.found)
    )]
    KeyIssuerMismatch { found: String, key_issuer: String },
    #[error("the key belongs to the cloud {}; expected {expected}", Escaped(.found))]
    KeyCloudMismatch { found: String, expected: String },
    #[error("the token is for {api_name} ({}), not for this API", Escaped(.found))]
    MicrosoftApiToken {
        found: String,
        api_name: &'static str,
        api: ClientId,
    },
    #[error("the audience is {}; accepted: {}", Escaped(.found), .accepted.join(", "))]
    WrongAudience {
        found: String,
        accepted: Vec<String>,
        /// A configured tenant equals the token's audience.
        is_the_tenant: bool,
    },
    #[error("a proof-of-possession token (claim cnf) was sent as a bearer token")]
    ProofOfPossession,
    #[error("an id token; expected an access token")]
    IdToken { api: ClientId },
    #[error("the client {found} is not allowed")]
    ClientNotAllowed { found: ClientId },
    #[error("the user is a guest of the tenant {tenant}; guests are refused")]
    GuestNotAllowed { tenant: TenantId },
    #[error("the caller is an agent; agents are refused")]
    AgentNotAllowed,
    #[error("the token's sign-in has ended")]
    GrantEnded,
}

impl TokenFault {
    /// Returns the fault of a text without the three segments of a token. The fault names the text
    /// if it is a known one.
    pub(crate) fn not_a_token(sent: &[u8], segments: usize) -> Self {
        Self::NotAToken {
            found: SentInstead::of(sent, segments),
        }
    }

    /// Returns the fault that names the text, if clients are known to send it instead of a token.
    /// Otherwise returns this fault.
    pub(crate) fn or_sent_instead(self, sent: &[u8]) -> Self {
        match (SentInstead::recognise(sent), &self) {
            // White space in a token counts as a fault of its encoding.
            (Some(SentInstead::Several), Self::InvalidBase64 { .. }) | (None, _) => self,
            (Some(found), _) => Self::NotAToken { found },
        }
    }
}

/// Writes the escaped and cut text, as `Display` does.
impl fmt::Debug for TokenFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A part of a token in the compact serialization `header.payload.signature`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TokenPart {
    /// The first segment.
    Header,
    /// The second segment, the claims.
    Payload,
    /// The third segment.
    Signature,
}

impl fmt::Display for TokenPart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Header => "header",
            Self::Payload => "payload",
            Self::Signature => "signature",
        })
    }
}

/// The mark by which a token for Microsoft Graph is recognised.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum GraphMark {
    /// The header has a `nonce`: the signature covers the hash of the nonce, so that only Graph can
    /// verify the signature.
    Nonce,
    /// The audience is Graph.
    Audience,
}

impl fmt::Display for GraphMark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Nonce => "a nonce in the header",
            Self::Audience => "Microsoft Graph as audience",
        })
    }
}
