//! The table of answers: one row for each refusal.

use entra_jwt_core::Denied;
use http::StatusCode;

use super::challenge::{Challenge, RequiredScopes};
use super::refusal::Refusal;
use crate::telemetry::Decided;
use crate::unavailable::Unavailable;

/// One row of the table of answers.
pub(super) struct Row<'r> {
    pub(super) status: StatusCode,
    pub(super) grpc_status: &'static str,
    pub(super) challenge: Option<Challenge<'r>>,
    /// The exact code, for the log.
    code: &'static str,
    /// The code that the caller may learn, if there is one.
    public_code: Option<&'static str>,
    /// The name under which decisions are counted.
    outcome: &'static str,
}

impl Refusal {
    /// Returns the row of this refusal.
    pub(super) fn row(&self) -> Row<'_> {
        match self {
            Self::NoCredentials => Row {
                public_code: None,
                ..Row::unauthorized("no_credentials", Challenge::Bare)
            },
            Self::OtherScheme => Row {
                public_code: None,
                ..Row::unauthorized("other_scheme", Challenge::Bare)
            },
            Self::MalformedAuthorization => {
                Row::unauthorized("malformed_authorization", Challenge::INVALID_TOKEN)
            }
            Self::SeveralAuthorizations => {
                Row::unauthorized("several_authorizations", Challenge::INVALID_TOKEN)
            }
            Self::Rejected { rejection, .. } => Row {
                public_code: Some(rejection.public_code()),
                ..Row::unauthorized(rejection.code(), Challenge::INVALID_TOKEN)
            },
            Self::Denied { denied, scopes } => match denied {
                Denied::StepUp {
                    understands_challenges: true,
                    ..
                } => Row {
                    outcome: "denied",
                    ..Row::unauthorized(denied.code(), Challenge::Claims)
                },
                Denied::NoPermission => Row::forbidden(denied.code(), RequiredScopes::First),
                _ => Row::forbidden(denied.code(), RequiredScopes::Named(scopes)),
            },
            Self::Challenged {
                is_understood: true,
                ..
            } => Row {
                outcome: "denied",
                ..Row::unauthorized("claims_challenge", Challenge::Claims)
            },
            Self::Challenged { .. } => Row::forbidden("claims_challenge", RequiredScopes::Unknown),
            #[cfg(feature = "axum")]
            Self::OtherClaims { .. } => Row::forbidden("other_claims", RequiredScopes::Unknown),
            Self::Unavailable { cause, .. } => Row {
                public_code: Some(cause.public_code()),
                outcome: match cause {
                    // Strangers can bring it about, so that it says nothing of how this service is
                    // doing.
                    Unavailable::KeyRefreshPending => "pending",
                    _ => "unavailable",
                },
                ..Row::server_error(StatusCode::SERVICE_UNAVAILABLE, "14", cause.code())
            },
            Self::Outlived => Row {
                outcome: "ended",
                ..Row::unauthorized("expired", Challenge::INVALID_TOKEN)
            },
            Self::Ended(rejection) => Row {
                public_code: Some(rejection.public_code()),
                outcome: "ended",
                ..Row::unauthorized(rejection.code(), Challenge::INVALID_TOKEN)
            },
            Self::WrongLayer { .. } => Row::fault("wrong_layer"),
            Self::HookPanicked => Row::fault("response_hook_panicked"),
        }
    }

    /// Returns the exact code, for the log.
    pub(crate) fn code(&self) -> &'static str {
        self.row().code
    }

    /// Returns the code for the caller, if there is one.
    pub(crate) fn public_code(&self) -> Option<&'static str> {
        self.row().public_code
    }

    /// Returns the decision as it is counted.
    pub(crate) fn decided(&self) -> Decided {
        let row = self.row();
        Decided {
            outcome: row.outcome,
            code: Some(row.code),
        }
    }
}

impl<'r> Row<'r> {
    fn unauthorized(code: &'static str, challenge: Challenge<'r>) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            grpc_status: "16",
            challenge: Some(challenge),
            code,
            public_code: Some(code),
            outcome: "refused",
        }
    }

    fn forbidden(code: &'static str, scopes: RequiredScopes<'r>) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            grpc_status: "7",
            challenge: Some(Challenge::Error("insufficient_scope", scopes)),
            code,
            public_code: Some(code),
            outcome: "denied",
        }
    }

    fn fault(code: &'static str) -> Self {
        Self::server_error(StatusCode::INTERNAL_SERVER_ERROR, "13", code)
    }

    fn server_error(status: StatusCode, grpc_status: &'static str, code: &'static str) -> Self {
        Self {
            status,
            grpc_status,
            challenge: None,
            code,
            public_code: Some(code),
            outcome: "fault",
        }
    }
}
