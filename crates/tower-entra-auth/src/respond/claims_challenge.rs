//! Challenges that ask for a new token that satisfies a claims request: step-up, and continuous
//! access evaluation.

use std::borrow::Cow;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use entra_jwt_core::require::{AuthenticationContext, InvalidRequirement, Requirement};
use serde_json::{Value, json};

use super::Reason;

/// A claims challenge: it asks the client for a new token that satisfies a claims request.
///
/// It contains a `claims` request of OpenID Connect (Core §5.5), which the client passes to Entra.
///
/// Only a client that declares the capability `cp1` understands the challenge; another client would
/// loop. The token contains the declaration (`xms_cc`) only if the API's app registration requests
/// that optional claim for access tokens. [`Caller::challenge`](crate::Caller::challenge) checks
/// the declaration.
///
/// The client of a [reissued token](crate::issuer::TrustedIssuer) need not understand the
/// challenge, if the server that reissued the token [receives
/// it](crate::issuer::TrustedIssuer::on_challenge).
///
/// Source: "Claims challenges, claims requests, and client capabilities" of Microsoft's identity
/// platform.
#[derive(Clone, Eq, PartialEq)]
pub struct ClaimsChallenge {
    request: String,
}

/// The error of a text that is not a claims request.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a claims request is a JSON object of at most 4 KiB, such as \
     {{\"access_token\":{{\"acrs\":{{\"essential\":true,\"value\":\"c1\"}}}}}}"
)]
#[non_exhaustive]
pub struct InvalidClaimsRequest;

/// Maximum length of a claims request, in bytes.
const MAX_LENGTH: usize = 4 << 10;

impl ClaimsChallenge {
    /// Makes a challenge for a sign-in that satisfies this authentication context of Conditional
    /// Access.
    ///
    /// # Errors
    /// If `id` is not one of `c1` to `c99`.
    pub fn authentication_context(id: &str) -> Result<Self, InvalidRequirement> {
        Requirement::new(AuthenticationContext(id)).map(|_| Self::of_context(id))
    }

    /// Makes a challenge for a token that was issued after this moment.
    ///
    /// Use it for a user whose earlier sessions you consider revoked. The challenge revokes
    /// nothing: compare the moment with [`issued_at`](crate::token::AccessToken::issued_at)
    /// yourself. For a [reissued token](crate::issuer::TrustedIssuer), `issued_at` is the time at
    /// which Entra issued the original token.
    #[must_use]
    pub fn issued_after(moment: SystemTime) -> Self {
        let seconds = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
        let not_before = seconds.as_secs().to_string();
        Self::of(&json!({ "nbf": { "essential": true, "value": not_before } }))
    }

    /// Makes a challenge from the JSON of a claims request.
    ///
    /// # Errors
    /// If `request` is not a JSON object, or is longer than 4 KiB: the request becomes part of a
    /// header.
    pub fn from_json(request: &str) -> Result<Self, InvalidClaimsRequest> {
        match serde_json::from_str(request) {
            Ok(Value::Object(_)) if request.len() <= MAX_LENGTH => Ok(Self {
                request: request.to_owned(),
            }),
            _ => Err(InvalidClaimsRequest),
        }
    }

    /// Returns the claims request, as JSON.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.request
    }

    fn of_context(id: &str) -> Self {
        Self::of(&json!({ "acrs": { "essential": true, "value": id } }))
    }

    fn of(access_token: &Value) -> Self {
        Self {
            request: json!({ "access_token": access_token }).to_string(),
        }
    }
}

impl Reason {
    /// Returns the claims challenge to the client, if this refusal is one.
    pub(crate) fn challenge(&self) -> Option<Cow<'_, ClaimsChallenge>> {
        match self {
            Self::PermissionDenied { denied, .. } if denied.is_challengeable() => {
                let context = denied.authentication_context()?;
                Some(Cow::Owned(ClaimsChallenge::of_context(context)))
            }
            Self::Challenged {
                claims,
                is_understood: true,
            } => Some(Cow::Borrowed(claims)),
            _ => None,
        }
    }
}

/// Leaves out the request, which may be about a person.
impl fmt::Debug for ClaimsChallenge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClaimsChallenge")
            .finish_non_exhaustive()
    }
}
