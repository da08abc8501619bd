//! Why a request is refused: everything that an answer and a log line are made of.

use std::borrow::Cow;
use std::time::Duration;

use entra_jwt_core::{Denied, Rejection, Setting};

use super::claims_challenge::ClaimsChallenge;
use super::config::ResponderConfig;
use crate::unavailable::Unavailable;

/// Why a request does not reach the inner service.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// No `Authorization` header.
    NoCredentials,
    /// An `Authorization` header of another scheme than `Bearer`.
    OtherScheme,
    /// The `Authorization` header begins with `Bearer` and is no credentials.
    MalformedAuthorization,
    /// There is more than one `Authorization` header.
    SeveralAuthorizations,
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

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected {
            rejection,
            unsigned: false,
        }
    }
}

impl Refusal {
    /// The refusal of a valid token that permits nothing.
    pub(crate) fn denied(denied: Denied) -> Self {
        Self::Denied {
            denied,
            scopes: Vec::new(),
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

    /// What is written into the log at most once a minute: the code, and what tells one mistake of
    /// the program from another, or the end of a stream from the refusal of a request.
    pub(super) fn log_key(&self) -> (&'static str, &'static str) {
        let which = match self {
            #[cfg(feature = "axum")]
            Self::OtherClaims { wanted } => wanted,
            Self::WrongLayer { of_another: true } => "of another",
            Self::Ended(_) => "ended",
            _ => "",
        };
        (self.code(), which)
    }

    /// What to change, for the log.
    pub(super) fn remedy(&self, config: &ResponderConfig) -> Cow<'static, str> {
        match self {
            Self::NoCredentials
            | Self::OtherScheme
            | Self::MalformedAuthorization
            | Self::SeveralAuthorizations => {
                config.how_to_send.into()
            }
            Self::Rejected { rejection, .. } | Self::Ended(rejection) => rejection.remedy(),
            Self::Denied { denied, .. } => denied.remedy_with(Setting::name, &config.app_id_uri),
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
    pub(super) fn public_remedy(&self, config: &ResponderConfig) -> Cow<'static, str> {
        match self {
            Self::Rejected { rejection, .. } | Self::Ended(rejection) => rejection.public_remedy(),
            other => other.remedy(config),
        }
    }
}
