//! Refusals, and their responses, log lines and counts.
//!
//! A [`Reason`] is the reason of a refusal. Its row of the table of responses has the status and
//! the code. The [`Responder`] of an `EntraAuth` makes the response, in the [format](Format) that
//! the request asks for.

mod challenge;
mod claims_challenge;
#[cfg(all(test, feature = "axum"))]
mod codes_tests;
mod format;
mod log;
mod responder;
mod without_token;

use std::borrow::Cow;
use std::time::Duration;

use entra_jwt_core::{
    InvalidToken, PermissionDenied, Validator,
    refusal::{InvalidTokenKind, PermissionDeniedKind, Setting},
};
use http::StatusCode;

pub use self::claims_challenge::{ClaimsChallenge, InvalidClaimsRequest};
pub(crate) use self::responder::{Responder, grpc_metadata};
use crate::setting::SettingNames;
use crate::telemetry::Decided;
use crate::unavailable::Outage;

/// A reason to refuse a request, or to end its response.
#[derive(Clone, Debug)]
pub(crate) enum Reason {
    /// The request has no `Authorization` header, or no token where the configured source looks for
    /// it.
    NoCredentials,
    /// An `Authorization` header of another scheme than `Bearer`.
    OtherScheme,
    /// The credentials are malformed: `Bearer` without a token, for example, or two tokens in two
    /// places.
    MalformedAuthorization {
        found: Cow<'static, str>,
        /// Specific advice, if the general advice on how to send a token is not enough.
        remedy: Option<&'static str>,
    },
    /// There is more than one `Authorization` header.
    SeveralAuthorizations,
    /// The token is not valid.
    InvalidToken {
        rejection: InvalidToken,
        /// `true` if the claims were checked but the signature was not.
        unsigned: bool,
    },
    /// The token is valid, but does not permit the request.
    PermissionDenied {
        denied: PermissionDenied,
        /// The short names of the scopes to request; empty if no scope helps.
        scopes: Vec<String>,
    },
    /// The handler asks for a new token that satisfies a claims request.
    Challenged {
        claims: ClaimsChallenge,
        /// `true` if a challenge gets the client another token.
        is_understood: bool,
    },
    /// The token's claims do not fit the type that the handler wants.
    #[cfg(feature = "axum")]
    OtherClaims { type_name: &'static str },
    /// The requirement of a handler is one that no token could meet, or that every token meets.
    #[cfg(feature = "axum")]
    InvalidRequirement {
        type_name: &'static str,
        problems: String,
    },
    /// A handler refuses the caller.
    Forbidden { code: &'static str },
    /// A handler cannot decide about the caller now.
    NotNow {
        code: &'static str,
        /// Time until the client should retry.
        retry_after: Duration,
    },
    /// The token cannot be validated now.
    Unavailable {
        cause: Outage,
        /// Time until the client should retry.
        retry_after: Duration,
    },
    /// The token expired while the request was served.
    ExpiredWhileServed,
    /// The service's caller rule answers no.
    CallerNotAllowed,
    /// A rule answered no while the request was served, with this reason.
    Ended(Box<Self>),
    /// A handler or a requirement needs the caller, but no Layer ran before, or only a Layer of
    /// another `EntraAuth`.
    WrongLayer { of_another: bool },
    /// The `on_refusal` hook panicked.
    HookPanicked,
}

const NEW_KEYS_AT_EACH_START: &str = "get a new token: the development tenant on this machine \
    creates new keys at every start, and has restarted since it issued this token; or the token is \
    of another tenant";

impl From<InvalidToken> for Reason {
    fn from(rejection: InvalidToken) -> Self {
        Self::InvalidToken {
            rejection,
            unsigned: false,
        }
    }
}

/// Converts the refusal of a valid token that does not permit the request.
impl From<PermissionDenied> for Reason {
    fn from(denied: PermissionDenied) -> Self {
        Self::PermissionDenied {
            denied,
            scopes: Vec::new(),
        }
    }
}

/// A row of the table of responses.
struct Row<'r> {
    status: StatusCode,
    grpc_status: &'static str,
    challenge: Option<Challenge<'r>>,
    /// The exact code, for the log.
    code: &'static str,
    /// The code that the caller may see, if there is one.
    public_code: Option<&'static str>,
    /// The outcome under which the decision is counted.
    outcome: &'static str,
}

impl Reason {
    /// Returns the row of this refusal.
    fn row(&self) -> Row<'_> {
        match self {
            Self::NoCredentials => Row {
                public_code: None,
                ..Row::unauthorized("no_credentials", Challenge::Bare)
            },
            Self::OtherScheme => Row {
                public_code: None,
                ..Row::unauthorized("other_scheme", Challenge::Bare)
            },
            Self::MalformedAuthorization { .. } => {
                Row::unauthorized("malformed_authorization", Challenge::INVALID_TOKEN)
            }
            Self::SeveralAuthorizations => {
                Row::unauthorized("several_authorizations", Challenge::INVALID_TOKEN)
            }
            Self::InvalidToken { rejection, .. } => Row {
                public_code: Some(rejection.public_code()),
                ..Row::unauthorized(rejection.code(), Challenge::INVALID_TOKEN)
            },
            Self::PermissionDenied { denied, .. } if denied.is_challengeable() => Row {
                outcome: "denied",
                ..Row::unauthorized(denied.code(), Challenge::Claims)
            },
            Self::PermissionDenied { denied, scopes } => {
                let scopes = match denied.kind() {
                    PermissionDeniedKind::NoPermission => RequiredScopes::First,
                    _ => RequiredScopes::Named(scopes),
                };
                Row::forbidden(denied.code(), scopes)
            }
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
            Self::Forbidden { code } => Row::forbidden(code, RequiredScopes::Unknown),
            Self::NotNow { code, .. } => Row {
                outcome: "unavailable",
                ..Row::server_error(StatusCode::SERVICE_UNAVAILABLE, "14", code)
            },
            Self::Unavailable { cause, .. } => Row {
                public_code: Some(cause.kind().public_code()),
                outcome: match cause {
                    // An attacker can cause this refusal, so that it says nothing about the health
                    // of the service.
                    Outage::KeyRefreshPending => "pending",
                    _ => "unavailable",
                },
                ..Row::server_error(StatusCode::SERVICE_UNAVAILABLE, "14", cause.kind().code())
            },
            Self::ExpiredWhileServed => Row {
                outcome: "ended",
                ..Row::unauthorized("expired", Challenge::INVALID_TOKEN)
            },
            Self::CallerNotAllowed => Row::forbidden("caller_not_allowed", RequiredScopes::Unknown),
            Self::Ended(no) => Row {
                outcome: "ended",
                ..no.row()
            },
            #[cfg(feature = "axum")]
            Self::InvalidRequirement { .. } => Row::fault("invalid_requirement"),
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

    /// Returns the key for the throttling of log lines. It is the code, and a part that
    /// distinguishes mistakes of the program, or the end of a stream from the refusal of a request.
    fn log_key(&self) -> (&'static str, &'static str) {
        let which = match self {
            #[cfg(feature = "axum")]
            Self::OtherClaims { type_name } | Self::InvalidRequirement { type_name, .. } => {
                type_name
            }
            Self::WrongLayer { of_another: true } => "of another",
            Self::Ended(_) => "ended",
            Self::Forbidden { .. } => "forbidden",
            Self::NotNow { .. } => "not now",
            _ => "",
        };
        (self.code(), which)
    }

    /// Returns the message of the log line.
    fn message(&self) -> &'static str {
        match self {
            Self::InvalidToken { .. } => "token refused",
            Self::Unavailable { .. } => "a token cannot be validated now",
            Self::PermissionDenied { .. } => "valid token without permission",
            Self::NoCredentials
            | Self::OtherScheme
            | Self::ExpiredWhileServed
            | Self::MalformedAuthorization { .. }
            | Self::SeveralAuthorizations => "credentials refused",
            Self::Ended(_) => "a response was ended: a rule now refuses the caller",
            // Without the claims request, which may be about a person.
            Self::Challenged { .. } => "more claims are needed",
            #[cfg(feature = "axum")]
            Self::OtherClaims { .. } => "valid token without the claims that the handler requires",
            Self::CallerNotAllowed => "the caller rule refuses a caller",
            Self::Forbidden { .. } => "a handler refuses a caller",
            Self::NotNow { .. } => "a handler cannot decide about a caller now",
            #[cfg(feature = "axum")]
            Self::InvalidRequirement { .. } => "a handler's requirement is invalid",
            Self::WrongLayer { of_another: false } => "no caller in the request",
            Self::WrongLayer { of_another: true } => {
                "the Layer and the requirement of this route belong to two different EntraAuth \
                 values"
            }
            Self::HookPanicked => "the on_refusal function panicked",
        }
    }

    /// Returns the reason inside of [`Ended`](Self::Ended), or the reason itself.
    fn innermost(&self) -> &Self {
        match self {
            Self::Ended(reason) => reason,
            other => other,
        }
    }

    /// Returns the remedy for the log.
    fn remedy(&self, config: &ResponderConfig) -> Cow<'static, str> {
        let SettingNames(setting) = config.setting_names;
        match self {
            Self::NoCredentials => format!("no token; {}", config.how_to_send).into(),
            Self::OtherScheme => format!("no bearer token; {}", config.how_to_send).into(),
            Self::MalformedAuthorization { remedy, .. } => {
                remedy.unwrap_or(config.how_to_send).into()
            }
            Self::SeveralAuthorizations => config.how_to_send.into(),
            Self::InvalidToken { rejection, .. }
                if config.is_local && rejection.kind() == InvalidTokenKind::UnknownKey =>
            {
                NEW_KEYS_AT_EACH_START.into()
            }
            Self::InvalidToken { rejection, .. } => rejection.remedy_with(setting),
            Self::Ended(no) => no.remedy(config),
            Self::CallerNotAllowed => format!(
                "{} refuses this caller: change the rule's data, or remove the rule",
                setting(Setting::CallerRule)
            )
            .into(),
            Self::PermissionDenied { denied, .. } => denied.remedy_with(setting, &config.app_id_uri),
            Self::Challenged {
                is_understood: true,
                ..
            } => "sign in again with the claims of the challenge".into(),
            Self::Challenged { .. } => "declare the client capability cp1 in the client, and have \
                this API's app registration request the optional claim xms_cc for access tokens \
                (manifest, optionalClaims), so that the client can be challenged for more claims"
                .into(),
            #[cfg(feature = "axum")]
            Self::OtherClaims { type_name } => format!(
                "have Entra emit the claims that {type_name} needs (App registrations, this API, Token \
                 configuration), or make its fields optional"
            )
            .into(),
            Self::Unavailable { cause, .. } => cause.remedy_with(setting),
            Self::Forbidden { code } => format!(
                "find out why a handler refuses with {code}: it calls Caller::forbid, \
                 independently of the token's permissions"
            )
            .into(),
            Self::NotNow { code, .. } => format!(
                "fix the dependency for which a handler calls Caller::unavailable with {code}"
            )
            .into(),
            Self::ExpiredWhileServed => "get a new token and retry".into(),
            #[cfg(feature = "axum")]
            Self::InvalidRequirement { type_name, .. } => format!(
                "correct the condition of {type_name}; auth.require(..)? reports it at startup"
            )
            .into(),
            Self::WrongLayer { of_another: false } => "the Layer of EntraAuth is missing, or is \
                inside the Layer that needs it: use auth.protect(routes), or call \
                .layer(auth.layer()) last, after .route(..) and after .layer(auth.require(..)?)"
                .into(),
            Self::WrongLayer { of_another: true } => "there are two, for example by from_env() in \
                two places: build one, and use clones of it for the Layer and for the requirement"
                .into(),
            Self::HookPanicked => "find out why the function of on_refusal(..) panicked".into(),
        }
    }

    /// Returns the remedy for the caller.
    fn public_remedy(&self, config: &ResponderConfig) -> Cow<'static, str> {
        let SettingNames(setting) = config.setting_names;
        match self {
            Self::InvalidToken { rejection, .. } => rejection.public_remedy_with(setting),
            Self::Ended(no) => no.public_remedy(config),
            Self::CallerNotAllowed | Self::Forbidden { .. } => {
                "this service does not permit the request to this caller".into()
            }
            Self::NotNow { .. } => "retry after the time in Retry-After".into(),
            other => other.remedy(config),
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

/// The content of a `WWW-Authenticate` header.
enum Challenge<'r> {
    /// A challenge for a bearer token, without an error.
    Bare,
    /// The `error` of RFC 6750 (§3.1), with the scopes to request.
    Error(&'static str, RequiredScopes<'r>),
    /// A challenge for a new token that satisfies a claims request.
    Claims,
}

impl Challenge<'_> {
    const INVALID_TOKEN: Self = Self::Error("invalid_token", RequiredScopes::First);
}

/// Scopes that a challenge asks the client to request.
enum RequiredScopes<'r> {
    /// No scope is known.
    Unknown,
    /// The scopes that clients request first, if they are published.
    First,
    /// Scopes with these short names.
    Named(&'r [String]),
}

/// The format in which the client wants the response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Format {
    Text,
    /// Problem details (RFC 9457).
    Json,
    Grpc,
}

/// Amount of detail in responses to refused callers.
///
/// The log always has all details.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum RefusalDetail {
    /// The code, such as `expired` or `wrong_audience`; if no token was sent, advice on how to send
    /// one.
    #[default]
    Code,
    /// The code and the remedy, for development.
    Full,
    /// Neither code nor remedy.
    ///
    /// The caller sees the status. The challenge has `error` and the parameters that a client needs
    /// to get a better token (`scope`, `claims`, `authorization_uri`, `resource_metadata`).
    None,
}

/// Settings that all responses of one `EntraAuth` share.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResponderConfig {
    detail: RefusalDetail,
    /// Prefix of the API's scopes at Entra, without the slash before the scope's short name.
    app_id_uri: String,
    /// Reference to the published document from which clients learn how to get a token, if there is
    /// one.
    metadata: Option<MetadataReference>,
    /// URL where a client signs in to satisfy a claims challenge.
    authorization_uri: String,
    /// Advice on how to send a token.
    how_to_send: &'static str,
    setting_names: SettingNames,
    /// Paths of endpoints that must be outside of this Layer.
    own_endpoints: Vec<String>,
    /// `true` if the keys come from this machine, on which `entra-dev-tenant` runs.
    is_local: bool,
}

impl ResponderConfig {
    pub(crate) fn new(
        detail: RefusalDetail,
        validator: &Validator,
        metadata: Option<MetadataReference>,
        how_to_send: &'static str,
        setting_names: SettingNames,
        (own_endpoints, is_local): (Vec<String>, bool),
    ) -> Self {
        Self {
            detail,
            app_id_uri: validator.app_id_uri(),
            metadata,
            authorization_uri: validator.authority().authorization_uri(),
            how_to_send,
            setting_names,
            own_endpoints,
            is_local,
        }
    }
}

/// Data for challenges about the metadata of a protected resource (RFC 9728 §5.1).
#[derive(Clone, Debug)]
pub(crate) struct MetadataReference {
    /// URL of the metadata document, on the origin of the resource.
    url: String,
    /// The scopes that clients request first, in the form in which they request them.
    scopes: String,
    /// Prefix of a scope's short name in the form in which clients request it.
    scope_prefix: String,
}

impl MetadataReference {
    pub(crate) fn new(url: String, scopes: String, scope_prefix: String) -> Self {
        Self {
            url,
            scopes,
            scope_prefix,
        }
    }
}
