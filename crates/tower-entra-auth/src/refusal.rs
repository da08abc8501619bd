//! Why a request is refused: everything that an answer and a log line are made of.

use std::borrow::Cow;
use std::time::Duration;

use entra_jwt_core::{Denied, Rejection};

use crate::unavailable::Unavailable;

/// Why a request does not reach the inner service.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// No `Authorization` header, or one of another scheme.
    NoCredentials,
    /// The `Authorization` header is not one bearer token.
    Authorization(AuthorizationFault),
    /// The token is not valid.
    Rejected {
        rejection: Rejection,
        /// Whether its claims were judged without its signature.
        unsigned: bool,
    },
    /// The token is valid and permits nothing.
    Denied(Denied),
    /// Whether the token is valid cannot be told now.
    Unavailable {
        cause: Unavailable,
        /// When to ask again.
        retry_after: Duration,
    },
    /// A handler asks for the caller, and no Layer of ours ran.
    #[cfg(feature = "axum")]
    WrongLayer,
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
    /// The exact code, for the log.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NoCredentials => "no_credentials",
            Self::Authorization(AuthorizationFault::Malformed) => "malformed_authorization",
            Self::Authorization(AuthorizationFault::Several) => "several_authorizations",
            Self::Rejected { rejection, .. } => rejection.code(),
            Self::Denied(denied) => denied.code(),
            Self::Unavailable { cause, .. } => cause.code(),
            #[cfg(feature = "axum")]
            Self::WrongLayer => "wrong_layer",
        }
    }

    /// The code for the caller, if one is told.
    pub(crate) fn public_code(&self) -> Option<&'static str> {
        match self {
            Self::NoCredentials => None,
            Self::Rejected { rejection, .. } => Some(rejection.public_code()),
            Self::Unavailable { cause, .. } => Some(cause.public_code()),
            other => Some(other.code()),
        }
    }

    /// What to change, for the log.
    pub(crate) fn remedy(&self) -> Cow<'static, str> {
        match self {
            Self::NoCredentials | Self::Authorization(_) => {
                "send one header Authorization: Bearer <access token>".into()
            }
            Self::Rejected { rejection, .. } => rejection.remedy(),
            Self::Denied(denied) => denied.remedy(),
            Self::Unavailable { cause, .. } => cause.remedy(),
            #[cfg(feature = "axum")]
            Self::WrongLayer => "add the Layer of EntraAuth to this route: .layer(auth.layer()) \
                comes after .route(..)"
                .into(),
        }
    }

    /// What to change, for the caller.
    pub(crate) fn public_remedy(&self) -> Cow<'static, str> {
        match self {
            Self::Rejected { rejection, .. } => rejection.public_remedy(),
            other => other.remedy(),
        }
    }
}
