//! Why a token is refused, and what to do about it.

/// Writes the methods of a refusal that read its row: one for each variant, or it does not compile.
macro_rules! rows {
    (
        $type:ident, named by $setting:ident $(and $app_id_uri:ident)?:
        $(
            $variant:ident $({ $($fields:tt)* })? => $code:literal $(, publicly $public:ident)? {
                $(found: $found:expr,)?
                $(expected: $expected:expr,)?
                remedy: $remedy:expr $(,)?
            }
        )*
    ) => {
        #[expect(unused_variables, reason = "each reads what it needs of a row's fields")]
        impl $type {
            /// Returns the exact machine code, stable across releases and fit for metrics and log
            /// searches.
            #[must_use]
            pub const fn code(&self) -> &'static str {
                match self {
                    $(Self::$variant $({ $($fields)* })? => $code,)*
                }
            }

            /// Returns the code for the caller who sent the token: that of [`code`](Self::code), unless
            /// it is about key or signature. All of those have one code, so that nobody can probe the
            /// key set; the exact one belongs into the log.
            #[must_use]
            pub const fn public_code(&self) -> &'static str {
                match self {
                    $(Self::$variant $({ $($fields)* })? => rows!(@last $code $(, $public)?),)*
                }
            }

            /// Returns what the token has in the place that was checked, if it is safe to show. It
            /// comes from outside: escape and cut it, as [`Shown`](crate::Shown) does.
            #[must_use]
            pub fn found(&self) -> Option<std::borrow::Cow<'_, str>> {
                match self {
                    $(Self::$variant $({ $($fields)* })? => rows!(@value $($found)?),)*
                }
            }

            /// Returns what would have passed in that place.
            #[must_use]
            pub fn expected(&self) -> Option<std::borrow::Cow<'_, str>> {
                match self {
                    $(Self::$variant $({ $($fields)* })? => rows!(@value $($expected)?),)*
                }
            }

            /// Returns what to change, and where, with the names that this program has for the
            /// settings.
            $(
                #[doc = ""]
                #[doc = concat!("`", stringify!($app_id_uri), "` is the API's App ID URI, which")]
                /// [`Validator::app_id_uri`](crate::Validator::app_id_uri) returns: it stands before
                /// the names of scopes.
            )?
            #[must_use]
            pub fn remedy_with(
                &self,
                $setting: fn($crate::rejection::Setting) -> &'static str,
                $($app_id_uri: &str,)?
            ) -> std::borrow::Cow<'static, str> {
                match self {
                    $(Self::$variant $({ $($fields)* })? => ($remedy).into(),)*
                }
            }
        }
    };
    (@value) => { None };
    (@value $value:expr) => { Some(($value).into()) };
    (@last $code:expr) => { $code };
    (@last $code:expr, $public:expr) => { $public };
}

mod denied;
mod rows;
mod setting;

use std::fmt;

pub use self::denied::Denied;
pub use self::setting::Setting;
use crate::authority::Cloud;
use crate::identifier::{ClientId, KeyId, TenantId};
use crate::shown::Shown;

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
        /// The number of segments; counting ends at six.
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

    /// A member of the header or payload stands twice (RFC 7519 §4). One that decides something is
    /// refused while the token is parsed, any other when the signature holds.
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
        /// The value that it must have.
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

    /// The header's `typ` is neither absent nor `JWT`; or not `at+jwt`, in a reissued token.
    #[error("of the type {}, {expected} expected", Shown(.found))]
    WrongTokenType {
        /// The header's `typ`.
        found: String,
        /// The only type accepted.
        expected: &'static str,
    },

    /// The token is meant for Microsoft Graph, which alone can verify it.
    #[error("the token is for Microsoft Graph, not for this API ({mark})")]
    GraphToken {
        /// The sign of it in the token.
        mark: GraphMark,
        /// The application (client) id of this API.
        api: ClientId,
    },

    /// None of the issuer's keys has the token's `kid`.
    #[error("no key of this issuer has the id {}", Shown(.key_id.as_str()))]
    UnknownKey {
        /// The header's `kid`.
        key_id: KeyId,
        /// The application (client) id of this API; `None` if the token says that it is not
        /// Entra's, but [reissued](crate::Validator::reissued).
        api: Option<ClientId>,
    },

    /// The signature does not verify with the key that the token names.
    #[error("the signature does not verify with the key {}", Shown(.key_id.as_str()))]
    BadSignature {
        /// The header's `kid`.
        key_id: KeyId,
    },

    /// A claim that every such token has is missing: every access token of Entra, or every
    /// [reissued](crate::Validator::reissued) one.
    #[error("the claim {claim} is missing")]
    MissingClaim {
        /// The claim's name.
        claim: &'static str,
    },

    /// `exp` has passed by more than the clock skew. All in seconds.
    #[error(
        "expired {seconds_ago} s ago, {} s beyond the clock skew of {skew} s",
        .seconds_ago.saturating_sub(*.skew)
    )]
    Expired {
        /// The seconds since then, without the skew.
        seconds_ago: i64,
        /// The clock skew that is allowed.
        skew: i64,
    },

    /// `nbf` is further ahead than the clock skew. All in seconds.
    #[error(
        "valid only in {seconds_ahead} s, {} s beyond the clock skew of {skew} s",
        .seconds_ahead.saturating_sub(*.skew)
    )]
    NotYetValid {
        /// The seconds until then, without the skew.
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

    /// The issuer is the one that belongs to the token's own `tid`, but in another cloud.
    #[error("issued by {} of the cloud {cloud}, {expected} expected", Shown(.found))]
    WrongCloud {
        /// The claim `iss`.
        found: String,
        /// The cloud that it is of.
        cloud: Cloud,
        /// The issuer of the token's tenant in the configured cloud.
        expected: String,
    },

    /// The token is of another tenant.
    #[error("of the tenant {found}, which is not allowed; allowed: {allowed}")]
    TenantNotAllowed {
        /// The token's tenant.
        found: TenantId,
        /// The tenants that are allowed, in words.
        allowed: String,
        /// `true` if the service's own rule about tenants said no.
        by_tenant_rule: bool,
    },

    /// The token is of a personal Microsoft account, which is not accepted.
    #[error("of a personal Microsoft account; allowed: {allowed}")]
    PersonalAccount {
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
        /// The configured cloud's name, or the one that was discovered with the key.
        expected: String,
    },

    /// The token is for another API of Microsoft.
    #[error("for {api_name} ({}), not for this API", Shown(.found))]
    MicrosoftApiToken {
        /// The claim `aud`.
        found: String,
        /// The name of the API that it is for.
        api_name: &'static str,
        /// The application (client) id of this API.
        api: ClientId,
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
    IdToken {
        /// The application (client) id of this API.
        api: ClientId,
    },

    /// The client application is not among those that are allowed.
    #[error("sent by the client {found}, which is not allowed")]
    ClientNotAllowed {
        /// The claim `azp` (v1: `appid`).
        found: ClientId,
    },

    /// The user is a guest of the tenant, and guests are refused.
    #[error("of a guest of the tenant {tenant}, and guests are refused")]
    GuestNotAllowed {
        /// The token's tenant.
        tenant: TenantId,
    },

    /// A reissued token of a sign-in that was ended since.
    #[error("of a sign-in that was ended")]
    GrantEnded,
}

/// The sign by which a token for Microsoft Graph is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum GraphMark {
    /// The header has a `nonce`: the signature was made over its hash, so that nobody but Graph
    /// can verify it.
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

impl fmt::Debug for Rejection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Rejection({}: {self})", self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outwardly_all_key_troubles_are_one() {
        let key_id = KeyId::new("k").unwrap();
        let unknown = Rejection::UnknownKey {
            key_id: key_id.clone(),
            api: "6e74172b-be56-4843-9ff4-e66a39bb12e3".parse().ok(),
        };
        let bad = Rejection::BadSignature { key_id };
        assert_ne!(unknown.code(), bad.code());
        assert_eq!(unknown.public_code(), bad.public_code());
        assert_eq!(unknown.public_remedy(), bad.public_remedy());
    }
}
