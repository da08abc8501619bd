//! One place that writes refusals into the log: the first of a kind, then one a minute.

use std::fmt;

use entra_http::ThrottledLog;
use entra_jwt_core::integration::Escaped;

use super::{Reason, ResponderConfig};

/// See [`Reason::log_key`].
type LogKey = (&'static str, &'static str);

/// The lines about refusals.
#[derive(Debug, Default)]
pub(super) struct RefusalLog(ThrottledLog<LogKey>);

impl RefusalLog {
    pub(super) fn write(&self, refusal: &Reason, config: &ResponderConfig) {
        let code = refusal.code();
        if matches!(refusal, Reason::NoCredentials | Reason::OtherScheme) {
            tracing::debug!(code, "request without a bearer token");
            return;
        }
        // The ordinary end of a stream.
        if matches!(refusal, Reason::ExpiredWhileServed) {
            tracing::debug!(code, "the token expired while its request was served");
            return;
        }
        if let Some(count) = self.0.due(refusal.log_key()) {
            let remedy = refusal.remedy(config);
            write_line(refusal, code, &remedy, count);
        }
    }
}

fn write_line(refusal: &Reason, code: &'static str, remedy: &str, count: u64) {
    match refusal {
        Reason::InvalidToken {
            rejection,
            unsigned,
        } => {
            let found = rejection.found();
            let expected = rejection.expected();
            let found = found.as_deref().map(Escaped).map(tracing::field::display);
            let expected = expected
                .as_deref()
                .map(Escaped)
                .map(tracing::field::display);
            let signature = unsigned.then_some("not checked");
            tracing::warn!(
                code,
                found,
                expected,
                signature,
                remedy,
                count,
                "token refused"
            );
        }
        Reason::Unavailable { cause, .. } => {
            let cause: &dyn fmt::Display = cause;
            tracing::warn!(code, %cause, remedy, count, "cannot tell whether a token is valid");
        }
        Reason::PermissionDenied { denied, .. } => {
            let reason = denied.to_string();
            let reason = tracing::field::display(Escaped(&reason));
            tracing::warn!(
                code,
                reason,
                remedy,
                count,
                "valid token without permission"
            );
        }
        Reason::NoCredentials
        | Reason::OtherScheme
        | Reason::ExpiredWhileServed
        | Reason::MalformedAuthorization
        | Reason::SeveralAuthorizations => {
            tracing::warn!(code, remedy, count, "credentials refused");
        }
        Reason::Ended(no) => {
            let found = match &**no {
                Reason::InvalidToken { rejection, .. } => rejection.found(),
                _ => None,
            };
            let found = found.as_deref().map(Escaped).map(tracing::field::display);
            tracing::warn!(
                code,
                found,
                remedy,
                count,
                "what was being served was ended: a rule says no now"
            );
        }
        // What a claims request asks for may be about a person.
        Reason::Challenged { .. } => {
            tracing::warn!(code, remedy, count, "more claims are needed");
        }
        #[cfg(feature = "axum")]
        Reason::OtherClaims { type_name } => {
            tracing::warn!(
                code,
                wanted = type_name,
                remedy,
                count,
                "valid token without the claims that the handler wants"
            );
        }
        Reason::CallerNotAllowed => {
            tracing::warn!(code, remedy, count, "the caller rule refuses a caller");
        }
        Reason::Forbidden { .. } => {
            tracing::warn!(code, remedy, count, "a handler refuses a caller");
        }
        Reason::NotNow { .. } => {
            tracing::warn!(
                code,
                remedy,
                count,
                "a handler cannot tell about a caller now"
            );
        }
        #[cfg(feature = "axum")]
        Reason::InvalidRequirement {
            type_name,
            problems,
        } => {
            let problems = tracing::field::display(Escaped(problems));
            tracing::error!(
                code,
                wanted = type_name,
                problems,
                remedy,
                count,
                "the requirement of a handler is not one"
            );
        }
        Reason::WrongLayer { of_another: false } => {
            tracing::error!(code, remedy, count, "no caller in the request");
        }
        Reason::WrongLayer { of_another: true } => {
            tracing::error!(code, remedy, count, "the caller is of another EntraAuth");
        }
        Reason::HookPanicked => {
            tracing::error!(code, remedy, count, "no answer from the response hook");
        }
    }
}
