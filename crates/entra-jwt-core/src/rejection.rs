//! Why a token is refused, and what to do about it.

use std::borrow::Cow;
use std::fmt;

use crate::identifier::{KeyId, TenantId};

/// A part of a token in the compact form `header.payload.signature`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Part {
    /// The first segment.
    Header,
    /// The second segment, the claims.
    Payload,
    /// The third segment.
    Signature,
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Header => "header",
            Self::Payload => "payload",
            Self::Signature => "signature",
        })
    }
}

/// A token was refused: one variant for each check.
///
/// [`code`](Self::code) is stable across releases and fit for metrics and log searches,
/// [`remedy`](Self::remedy) is for people. No variant holds the token, its signature or a claim
/// about a person; values from the token are escaped and cut to 200 characters when displayed,
/// by `Debug` too.
#[derive(Clone, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The token is longer than the limit. Both in bytes.
    #[error("the token has {length} bytes, the limit is {limit}")]
    TooLarge {
        /// The token's length.
        length: usize,
        /// The limit in force.
        limit: usize,
    },

    /// The token does not have three segments (RFC 7515 §3.1).
    #[error("not a signed token: three segments expected, {found} found")]
    NotAToken {
        /// How many segments were found; counting ends at six.
        found: usize,
    },

    /// Five segments: an encrypted token (RFC 7516 §3.1).
    #[error("the token is encrypted (five segments)")]
    Encrypted,

    /// A segment is not strict base64url: padding, another alphabet or trailing bits.
    #[error("the {part} is not unpadded base64url")]
    InvalidBase64 {
        /// The segment.
        part: Part,
    },

    /// A segment is not one JSON object in UTF-8.
    #[error("the {part} is not a JSON object")]
    InvalidJson {
        /// The segment.
        part: Part,
    },

    /// A member of the header or payload stands twice (RFC 7519 §4).
    #[error("the {part} has the member \"{}\" twice", Shown(.member))]
    DuplicateMember {
        /// The segment.
        part: Part,
        /// The member's name.
        member: String,
    },

    /// A member on which the decision depends has the wrong JSON type.
    #[error("\"{member}\" in the {part} is not {expected}")]
    WrongType {
        /// The segment.
        part: Part,
        /// The member's name.
        member: &'static str,
        /// What it must be.
        expected: &'static str,
    },

    /// The header has no `kid`; Entra always sends one.
    #[error("the header names no signing key (kid)")]
    MissingKeyId,

    /// The header has a member that changes how the token must be read, such as `crit`
    /// (RFC 7515 §4.1.11); none is understood.
    #[error("the header has the member \"{member}\", which is not supported")]
    UnsupportedHeader {
        /// The member's name.
        member: &'static str,
    },

    /// The header's `alg` is not the one that this issuer signs with.
    #[error("signed with {}, {expected} expected", Shown(.found.as_deref().unwrap_or("nothing")))]
    WrongAlgorithm {
        /// The header's `alg`, if it has one.
        found: Option<String>,
        /// The only algorithm accepted.
        expected: &'static str,
    },

    /// The header's `typ` is neither absent nor `JWT`.
    #[error("of the type {}, JWT expected", Shown(.found))]
    WrongTokenType {
        /// The header's `typ`.
        found: String,
    },

    /// The token is meant for Microsoft Graph, which alone can verify it: its header has a
    /// `nonce`, or its audience is Graph.
    #[error("the token is for Microsoft Graph, not for this API")]
    GraphToken,

    /// None of the issuer's keys has the token's `kid`.
    #[error("no key of this issuer has the id {}", Shown(.key_id.as_str()))]
    UnknownKey {
        /// The header's `kid`.
        key_id: KeyId,
    },

    /// The signature does not verify with the key that the token names.
    #[error("the signature does not verify with the key {}", Shown(.key_id.as_str()))]
    BadSignature {
        /// The header's `kid`.
        key_id: KeyId,
    },

    /// A claim that every Entra access token has is missing.
    #[error("the claim {claim} is missing")]
    MissingClaim {
        /// The claim's name.
        claim: &'static str,
    },

    /// `exp` has passed by more than the clock skew. All in seconds.
    #[error("expired {seconds_ago} s ago, {skew} s of clock skew are allowed")]
    Expired {
        /// How long ago, without the skew.
        seconds_ago: i64,
        /// The clock skew that is allowed.
        skew: i64,
    },

    /// `nbf` is further ahead than the clock skew. All in seconds.
    #[error("valid only in {seconds_ahead} s, {skew} s of clock skew are allowed")]
    NotYetValid {
        /// How far ahead, without the skew.
        seconds_ahead: i64,
        /// The clock skew that is allowed.
        skew: i64,
    },

    /// `nbf` is later than `exp`.
    #[error("nbf is later than exp")]
    ImpossibleLifetime,

    /// A second member equals `tid` but for its case.
    #[error("a second claim is named like tid in another case")]
    AmbiguousTenant,

    /// `tid` is not a GUID in the form that Entra writes.
    #[error("tid is {}, not a lower-case GUID", Shown(.found))]
    InvalidTenant {
        /// The claim's value.
        found: String,
    },

    /// The issuer is not the one that belongs to the token's own `tid` in this cloud.
    #[error("issued by {}, {expected} expected", Shown(.found))]
    WrongIssuer {
        /// The claim `iss`.
        found: String,
        /// The issuer of the token's tenant in this cloud.
        expected: String,
    },

    /// The token is of another tenant.
    #[error("of the tenant {found}, which is not allowed; allowed: {allowed}")]
    TenantNotAllowed {
        /// The token's tenant.
        found: TenantId,
        /// The tenants that are allowed, in words.
        allowed: String,
    },

    /// A token in Entra's format v1 where only v2 is accepted.
    #[error("a v1 token (issuer {}), v2 expected ({expected})", Shown(.found))]
    V1Token {
        /// The claim `iss`.
        found: String,
        /// The v2 issuer of the token's tenant.
        expected: String,
    },

    /// The key that signed may not sign for this issuer: the key's own `issuer` differs.
    #[error("the key may sign for {}, the token says {}", Shown(.key_issuer), Shown(.found))]
    KeyIssuerMismatch {
        /// The token's `iss`.
        found: String,
        /// The `issuer` of the key.
        key_issuer: String,
    },

    /// The key that signed belongs to another cloud.
    #[error("the key belongs to the cloud {}, {expected} expected", Shown(.found))]
    KeyCloudMismatch {
        /// The `cloud_instance_name` of the key.
        found: String,
        /// The configured cloud's name.
        expected: &'static str,
    },

    /// The token is for another API.
    #[error("for the audience {}; accepted: {}", Shown(.found), .accepted.join(", "))]
    WrongAudience {
        /// The claim `aud`.
        found: String,
        /// The audiences that are accepted.
        accepted: Vec<String>,
    },

    /// The token is bound to a key of its holder (`cnf`) and must not pass as a bearer token.
    #[error("a proof-of-possession token (claim cnf) was sent as a bearer token")]
    ProofOfPossession,

    /// An id token, which tells a client who signed in; it is no key to an API.
    #[error("an id token, an access token is expected")]
    IdToken,
}

/// What a caller may learn of a failed signature, whatever the exact reason was.
const UNTRUSTED_SIGNATURE: &str = "untrusted_signature";

impl Rejection {
    /// The exact machine code, stable across releases.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "token_too_large",
            Self::NotAToken { .. } => "not_a_token",
            Self::Encrypted => "encrypted_token",
            Self::InvalidBase64 { .. } => "invalid_base64",
            Self::InvalidJson { .. } => "invalid_json",
            Self::DuplicateMember { .. } => "duplicate_member",
            Self::WrongType { .. } => "wrong_type",
            Self::MissingKeyId => "missing_kid",
            Self::UnsupportedHeader { .. } => "unsupported_header",
            Self::WrongAlgorithm { .. } => "wrong_algorithm",
            Self::WrongTokenType { .. } => "wrong_token_type",
            Self::GraphToken => "graph_token",
            Self::UnknownKey { .. } => "unknown_key",
            Self::BadSignature { .. } => "bad_signature",
            Self::MissingClaim { .. } => "missing_claim",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::ImpossibleLifetime => "impossible_lifetime",
            Self::AmbiguousTenant => "ambiguous_tenant",
            Self::InvalidTenant { .. } => "invalid_tenant",
            Self::WrongIssuer { .. } => "wrong_issuer",
            Self::TenantNotAllowed { .. } => "tenant_not_allowed",
            Self::V1Token { .. } => "v1_token",
            Self::KeyIssuerMismatch { .. } => "key_issuer_mismatch",
            Self::KeyCloudMismatch { .. } => "key_cloud_mismatch",
            Self::WrongAudience { .. } => "wrong_audience",
            Self::ProofOfPossession => "proof_of_possession",
            Self::IdToken => "id_token",
        }
    }

    /// The code for the caller who sent the token: as [`code`](Self::code), but one and the same
    /// for an unknown key, a bad signature and a key that may not sign for this issuer, so that
    /// nobody can probe the key set. The exact one belongs into the log.
    #[must_use]
    pub const fn public_code(&self) -> &'static str {
        if self.concerns_the_key() {
            UNTRUSTED_SIGNATURE
        } else {
            self.code()
        }
    }

    /// What to change, and where, so that the next token is accepted: for the service's log.
    #[must_use]
    pub fn remedy(&self) -> Cow<'static, str> {
        match self {
            Self::TooLarge { .. } => "have the API's app registration emit only the groups \
                assigned to the application (Token configuration), or raise the limit"
                .into(),
            Self::NotAToken { .. }
            | Self::InvalidBase64 { .. }
            | Self::InvalidJson { .. }
            | Self::DuplicateMember { .. }
            | Self::WrongType { .. } => {
                "send the access token exactly as Entra's token endpoint returned it".into()
            }
            Self::Encrypted => "remove tokenEncryptionKeyId from the manifest of this API's app \
                registration; encrypted tokens are not supported"
                .into(),
            Self::MissingKeyId
            | Self::UnsupportedHeader { .. }
            | Self::WrongAlgorithm { .. }
            | Self::WrongTokenType { .. }
            | Self::MissingClaim { .. } => "this is no access token of Microsoft Entra ID; \
                request one from its token endpoint"
                .into(),
            Self::GraphToken => "request a token for this API, by the scope \
                api://<client id>/<name>, not by a Graph scope such as User.Read"
                .into(),
            Self::UnknownKey { .. } => "check that the token is of the configured tenant and \
                cloud; if the API has custom signing keys (claims mapping), those are not among \
                the tenant's"
                .into(),
            Self::BadSignature { .. } => "the token was changed on its way, or forged; send it \
                exactly as Entra's token endpoint returned it"
                .into(),
            Self::Expired { .. } => {
                "get a new token; if this one is new, the clock of this machine is wrong".into()
            }
            Self::NotYetValid { .. } | Self::ImpossibleLifetime => {
                "synchronise the clock of this machine (NTP)".into()
            }
            Self::AmbiguousTenant => {
                "remove the claims mapping that emits a second tenant id".into()
            }
            Self::InvalidTenant { .. } | Self::WrongIssuer { .. } => "request the token from the \
                tenant and the cloud (public, US Government, China) that this API is configured \
                for"
            .into(),
            Self::TenantNotAllowed { .. } => "sign in to the tenant that this API is configured \
                for, or configure this API for the token's tenant"
                .into(),
            Self::V1Token { .. } => "set api.requestedAccessTokenVersion to 2 in the manifest of \
                this API's app registration, or call accept_v1_tokens()"
                .into(),
            Self::KeyIssuerMismatch { .. } | Self::KeyCloudMismatch { .. } => "treat the token as \
                forged: its key may not sign for its issuer"
                .into(),
            Self::WrongAudience { accepted, .. } => format!(
                "request the scope {}/<name>, or configure the API's own App ID URI as an audience",
                accepted
                    .iter()
                    // A configured one stands behind the two that are always accepted.
                    .rfind(|audience| audience.contains("://"))
                    .map_or("api://<client id>", String::as_str),
            )
            .into(),
            Self::ProofOfPossession => "have the client request a plain bearer token".into(),
            Self::IdToken => "send the access token, not the id token; the client must request a \
                scope api://<client id>/<name>"
                .into(),
        }
    }

    /// What to change, for the caller who sent the token; as vague as
    /// [`public_code`](Self::public_code).
    #[must_use]
    pub fn public_remedy(&self) -> Cow<'static, str> {
        if self.concerns_the_key() {
            "send the token exactly as Entra's token endpoint returned it; the exact reason is in \
             this service's log"
                .into()
        } else {
            self.remedy()
        }
    }

    /// What the token has in the place that was checked, if it is safe to show. It comes from
    /// outside: display it through [`Rejection`]'s `Display`, or escape and cut it.
    #[must_use]
    pub fn found(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::TooLarge { length, .. } => format!("{length} bytes").into(),
            Self::NotAToken { found } => format!("{found} segments").into(),
            Self::DuplicateMember { member, .. } => member.as_str().into(),
            Self::WrongType { member, .. } | Self::UnsupportedHeader { member } => (*member).into(),
            Self::WrongAlgorithm { found, .. } => found.as_deref().unwrap_or("no alg").into(),
            Self::UnknownKey { key_id } | Self::BadSignature { key_id } => key_id.as_str().into(),
            Self::MissingClaim { claim } => format!("no {claim}").into(),
            Self::Expired { seconds_ago, .. } => format!("{seconds_ago} s ago").into(),
            Self::NotYetValid { seconds_ahead, .. } => format!("in {seconds_ahead} s").into(),
            Self::TenantNotAllowed { found, .. } => found.to_string().into(),
            Self::WrongTokenType { found }
            | Self::InvalidTenant { found }
            | Self::WrongIssuer { found, .. }
            | Self::V1Token { found, .. }
            | Self::KeyIssuerMismatch { found, .. }
            | Self::KeyCloudMismatch { found, .. }
            | Self::WrongAudience { found, .. } => found.as_str().into(),
            Self::Encrypted
            | Self::InvalidBase64 { .. }
            | Self::InvalidJson { .. }
            | Self::MissingKeyId
            | Self::GraphToken
            | Self::ImpossibleLifetime
            | Self::AmbiguousTenant
            | Self::ProofOfPossession
            | Self::IdToken => return None,
        })
    }

    /// What would have passed in that place.
    #[must_use]
    pub fn expected(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::TooLarge { limit, .. } => format!("at most {limit} bytes").into(),
            Self::NotAToken { .. } => "3 segments".into(),
            Self::WrongType { expected, .. }
            | Self::WrongAlgorithm { expected, .. }
            | Self::KeyCloudMismatch { expected, .. } => (*expected).into(),
            Self::WrongTokenType { .. } => "JWT".into(),
            Self::Expired { skew, .. } | Self::NotYetValid { skew, .. } => {
                format!("within {skew} s of clock skew").into()
            }
            Self::InvalidTenant { .. } => "a lower-case GUID".into(),
            Self::WrongIssuer { expected, .. } | Self::V1Token { expected, .. } => {
                expected.as_str().into()
            }
            Self::TenantNotAllowed { allowed, .. } => allowed.as_str().into(),
            Self::KeyIssuerMismatch { key_issuer, .. } => key_issuer.as_str().into(),
            Self::WrongAudience { accepted, .. } => accepted.join(", ").into(),
            Self::Encrypted
            | Self::InvalidBase64 { .. }
            | Self::InvalidJson { .. }
            | Self::DuplicateMember { .. }
            | Self::MissingKeyId
            | Self::UnsupportedHeader { .. }
            | Self::GraphToken
            | Self::UnknownKey { .. }
            | Self::BadSignature { .. }
            | Self::MissingClaim { .. }
            | Self::ImpossibleLifetime
            | Self::AmbiguousTenant
            | Self::ProofOfPossession
            | Self::IdToken => return None,
        })
    }

    const fn concerns_the_key(&self) -> bool {
        matches!(
            self,
            Self::UnknownKey { .. }
                | Self::BadSignature { .. }
                | Self::KeyIssuerMismatch { .. }
                | Self::KeyCloudMismatch { .. }
        )
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Rejection({}: {self})", self.code())
    }
}

/// Displays text from outside: control and invisible characters escaped, cut at 200 characters.
///
/// For logs and answers, so that a token cannot write lines of its own into them.
#[derive(Clone, Copy)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LIMIT: usize = 200;

        let mut characters = self.0.chars();
        for character in characters.by_ref().take(LIMIT) {
            match character {
                '"' | '\'' => fmt::Write::write_char(formatter, character)?,
                _ => write!(formatter, "{}", character.escape_debug())?,
            }
        }
        if characters.next().is_some() {
            formatter.write_str("…")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_escaped_and_cut() {
        assert_eq!(Shown("a\nb\u{202e}c").to_string(), "a\\nb\\u{202e}c");
        assert_eq!(Shown(&"x".repeat(200)).to_string(), "x".repeat(200));
        assert_eq!(
            Shown(&"x".repeat(201)).to_string(),
            format!("{}…", "x".repeat(200))
        );
    }

    #[test]
    fn outwardly_all_key_troubles_are_one() {
        let key_id = KeyId::new("k").unwrap();
        let unknown = Rejection::UnknownKey {
            key_id: key_id.clone(),
        };
        let bad = Rejection::BadSignature { key_id };
        assert_ne!(unknown.code(), bad.code());
        assert_eq!(unknown.public_code(), bad.public_code());
        assert_eq!(unknown.public_remedy(), bad.public_remedy());
    }
}
