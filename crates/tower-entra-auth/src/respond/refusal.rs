//! Why a request is refused: everything that an answer and a log line are made of.

use std::borrow::Cow;
use std::time::Duration;

use entra_jwt_core::{Denied, Rejection};

use crate::caller::Caller;
use crate::respond::{ClaimsChallenge, Words};
use crate::unavailable::Unavailable;

/// Why a request does not reach the inner service.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// No `Authorization` header.
    NoCredentials,
    /// An `Authorization` header of another scheme than `Bearer`.
    OtherScheme,
    /// The `Authorization` header is not one bearer token.
    Authorization(AuthorizationFault),
    /// The token is not valid.
    Rejected {
        rejection: Rejection,
        /// Whether its claims were judged without its signature.
        unsigned: bool,
    },
    /// The token is valid and does not permit what was asked.
    Denied {
        denied: Denied,
        /// What to request, by short names; empty if no scope would do.
        scopes: Vec<String>,
    },
    /// The handler asks for a token with more claims.
    Challenged {
        claims: ClaimsChallenge,
        /// Whether the client declares that it understands that.
        is_understood: bool,
    },
    /// The handler wants claims as a type that the token's do not fit.
    #[cfg(feature = "axum")]
    OtherClaims { wanted: &'static str },
    /// Whether the token is valid cannot be told now.
    Unavailable {
        cause: Unavailable,
        /// When to ask again.
        retry_after: Duration,
    },
    /// The token has expired while the request was served.
    Outlived,
    /// A rule has said no while the request was served.
    Ended(Rejection),
    /// A handler asks for the caller, or a requirement is to be met, where no Layer ran before,
    /// or that of another `EntraAuth`.
    WrongLayer { of_another: bool },
    /// The hook that makes answers did not.
    HookPanicked,
}

/// A header that begins with `Bearer` and is no credentials.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AuthorizationFault {
    Malformed,
    Several,
}

impl From<AuthorizationFault> for Refusal {
    fn from(fault: AuthorizationFault) -> Self {
        Self::Authorization(fault)
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected {
            rejection,
            unsigned: false,
        }
    }
}

impl Refusal {
    /// The valid token of a caller permits nothing.
    pub(crate) fn denied(denied: Denied) -> Self {
        Self::Denied {
            denied,
            scopes: Vec::new(),
        }
    }

    /// A token with more claims is needed of this caller.
    pub(crate) fn challenged(claims: ClaimsChallenge, caller: Option<&Caller>) -> Self {
        Self::Challenged {
            claims,
            is_understood: caller.is_some_and(Caller::understands_challenges),
        }
    }

    /// Returns what the client is asked for, if it is challenged.
    pub(crate) fn challenge(&self) -> Option<Cow<'_, ClaimsChallenge>> {
        match self {
            Self::Denied { denied, .. } => ClaimsChallenge::that_cures(denied).map(Cow::Owned),
            Self::Challenged {
                claims,
                is_understood: true,
            } => Some(Cow::Borrowed(claims)),
            _ => None,
        }
    }

    /// The exact code, for the log.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NoCredentials => "no_credentials",
            Self::OtherScheme => "other_scheme",
            Self::Authorization(AuthorizationFault::Malformed) => "malformed_authorization",
            Self::Authorization(AuthorizationFault::Several) => "several_authorizations",
            Self::Rejected { rejection, .. } | Self::Ended(rejection) => rejection.code(),
            Self::Denied { denied, .. } => denied.code(),
            Self::Challenged { .. } => "claims_challenge",
            #[cfg(feature = "axum")]
            Self::OtherClaims { .. } => "other_claims",
            Self::Unavailable { cause, .. } => cause.code(),
            Self::Outlived => "expired",
            Self::WrongLayer { .. } => "wrong_layer",
            Self::HookPanicked => "response_hook_panicked",
        }
    }

    /// What it is called where decisions are counted.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::NoCredentials
            | Self::OtherScheme
            | Self::Authorization(_)
            | Self::Rejected { .. } => "refused",
            Self::Denied { .. } | Self::Challenged { .. } => "denied",
            #[cfg(feature = "axum")]
            Self::OtherClaims { .. } => "denied",
            // Strangers can bring it about, so that it says nothing of how this service is doing.
            Self::Unavailable {
                cause: Unavailable::KeyRefreshPending,
                ..
            } => "pending",
            Self::Unavailable { .. } => "unavailable",
            Self::Outlived | Self::Ended(_) => "ended",
            Self::WrongLayer { .. } | Self::HookPanicked => "fault",
        }
    }

    /// What is written into the log at most once a minute: the code, and what tells one mistake of
    /// the program from another, or the end of a stream from the refusal of a request.
    pub(crate) fn log_key(&self) -> (&'static str, &'static str) {
        let which = match self {
            #[cfg(feature = "axum")]
            Self::OtherClaims { wanted } => wanted,
            Self::WrongLayer { of_another: true } => "of another",
            Self::Ended(_) => "ended",
            _ => "",
        };
        (self.code(), which)
    }

    /// The code for the caller, if one is told.
    pub(crate) fn public_code(&self) -> Option<&'static str> {
        match self {
            Self::NoCredentials | Self::OtherScheme => None,
            Self::Rejected { rejection, .. } | Self::Ended(rejection) => {
                Some(rejection.public_code())
            }
            Self::Unavailable { cause, .. } => Some(cause.public_code()),
            other => Some(other.code()),
        }
    }

    /// What to change, for the log.
    pub(crate) fn remedy(&self, words: &Words) -> Cow<'static, str> {
        match self {
            Self::NoCredentials | Self::OtherScheme | Self::Authorization(_) => {
                words.how_to_send.into()
            }
            Self::Rejected { rejection, .. } | Self::Ended(rejection) => rejection.remedy(),
            Self::Denied { denied, .. } => denied.remedy_for(&words.app_id_uri),
            Self::Challenged {
                is_understood: true,
                ..
            } => "sign in again with the claims of the challenge".into(),
            Self::Challenged { .. } => "declare the client capability cp1 in the client, and have \
                this API's app registration request the optional claim xms_cc for access tokens \
                (manifest, optionalClaims), so that the client can be challenged for more claims"
                .into(),
            #[cfg(feature = "axum")]
            Self::OtherClaims { wanted } => format!(
                "have Entra emit the claims that {wanted} needs (App registrations, this API, Token \
                 configuration), or make its fields optional"
            )
            .into(),
            Self::Unavailable { cause, .. } => cause.remedy(),
            Self::Outlived => "get a new token and ask again".into(),
            Self::WrongLayer { of_another: false } => "add the Layer of EntraAuth to this route: \
                .layer(auth.layer()) comes after .route(..) and after .layer(auth.require(..)?)"
                .into(),
            Self::WrongLayer { of_another: true } => "the Layer nearest to this route is of another \
                EntraAuth than the requirement: make both from the same one, or clones of it"
                .into(),
            Self::HookPanicked => "see why the function of on_refusal(..) panicked".into(),
        }
    }

    /// What to change, for the caller.
    pub(crate) fn public_remedy(&self, words: &Words) -> Cow<'static, str> {
        match self {
            Self::Rejected { rejection, .. } | Self::Ended(rejection) => rejection.public_remedy(),
            other => other.remedy(words),
        }
    }
}
