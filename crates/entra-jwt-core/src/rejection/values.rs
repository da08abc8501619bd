//! What was found in a refused token, and what would have passed.

use std::borrow::Cow;

use super::Rejection;
use crate::identifier::TenantId;

impl Rejection {
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
            Self::UnknownKey { key_id, .. } | Self::BadSignature { key_id } => {
                key_id.as_str().into()
            }
            Self::MissingClaim { claim } => format!("no {claim}").into(),
            Self::Expired { seconds_ago, skew } => {
                let beyond = seconds_ago.saturating_sub(*skew);
                format!("expired {seconds_ago} s ago, {beyond} s beyond the clock skew").into()
            }
            Self::NotYetValid {
                seconds_ahead,
                skew,
            } => {
                let beyond = seconds_ahead.saturating_sub(*skew);
                format!("valid in {seconds_ahead} s, {beyond} s beyond the clock skew").into()
            }
            Self::MicrosoftApiToken {
                found, api_name, ..
            } => format!("{found} ({api_name})").into(),
            Self::WrongCloud { found, cloud, .. } => format!("{found} ({cloud})").into(),
            Self::TenantNotAllowed { found, .. } => found.to_string().into(),
            Self::PersonalAccount { .. } => TenantId::CONSUMERS.to_string().into(),
            Self::GraphToken { mark, .. } => mark.to_string().into(),
            Self::ClientNotAllowed { found } => found.to_string().into(),
            Self::GuestNotAllowed { .. } => "a guest".into(),
            Self::WrongTokenType { found, .. }
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
            | Self::ImpossibleLifetime
            | Self::AmbiguousTenant
            | Self::ProofOfPossession
            | Self::GrantEnded
            | Self::IdToken { .. } => return None,
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
            | Self::WrongTokenType { expected, .. } => (*expected).into(),
            Self::Expired { skew, .. } | Self::NotYetValid { skew, .. } => {
                format!("within a clock skew of {skew} s").into()
            }
            Self::InvalidTenant { .. } => "a lower-case GUID".into(),
            Self::WrongIssuer { expected, .. }
            | Self::WrongCloud { expected, .. }
            | Self::V1Token { expected, .. }
            | Self::KeyCloudMismatch { expected, .. } => expected.as_str().into(),
            Self::TenantNotAllowed { allowed, .. } | Self::PersonalAccount { allowed } => {
                allowed.as_str().into()
            }
            Self::GraphToken { api, .. } | Self::MicrosoftApiToken { api, .. } => {
                format!("{api}, api://{api}").into()
            }
            Self::ProofOfPossession => "no cnf".into(),
            Self::IdToken { .. } => "an access token".into(),
            Self::ClientNotAllowed { .. } => "one of the allowed clients".into(),
            Self::GuestNotAllowed { .. } => "a member".into(),
            Self::KeyIssuerMismatch { key_issuer, .. } => key_issuer.as_str().into(),
            Self::WrongAudience { accepted, .. } => accepted.join(", ").into(),
            Self::Encrypted
            | Self::InvalidBase64 { .. }
            | Self::InvalidJson { .. }
            | Self::DuplicateMember { .. }
            | Self::MissingKeyId
            | Self::UnsupportedHeader { .. }
            | Self::UnknownKey { .. }
            | Self::BadSignature { .. }
            | Self::MissingClaim { .. }
            | Self::ImpossibleLifetime
            | Self::AmbiguousTenant
            | Self::GrantEnded => return None,
        })
    }
}
