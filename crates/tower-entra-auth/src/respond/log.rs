//! The log of refusals: the first refusal of a kind, then at most one line per minute.

use std::borrow::Cow;
use std::time::Duration;

use entra_http::ThrottledLog;
use entra_jwt_core::{integration::Escaped, refusal::InvalidTokenKind};

use super::without_token::{Look, method_shown, path_shown};
use super::{Reason, ResponderConfig};
use crate::service::Asked;

/// A key for the throttling of lines, as [`Reason::log_key`] returns it.
type LogKey = (&'static str, &'static str);

/// The throttled log of refusals.
#[derive(Debug)]
pub(super) struct RefusalLog {
    refusals: ThrottledLog<LogKey>,
    without_token: ThrottledLog<Look>,
}

/// Minimum time between two lines about similar requests without a token.
///
/// Some of these requests arrive every few seconds for as long as the service runs.
const WITHOUT_TOKEN_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for RefusalLog {
    fn default() -> Self {
        Self {
            refusals: ThrottledLog::default(),
            without_token: ThrottledLog::every(WITHOUT_TOKEN_EVERY),
        }
    }
}

impl RefusalLog {
    pub(super) fn write(
        &self,
        refusal: &Reason,
        asked: Option<Asked<'_>>,
        config: &ResponderConfig,
    ) {
        let code = refusal.code();
        if matches!(refusal, Reason::NoCredentials | Reason::OtherScheme) {
            self.write_without_token(code, asked, config);
            return;
        }
        // The ordinary end of a stream is no warning.
        if matches!(refusal, Reason::ExpiredWhileServed) {
            tracing::debug!(code, "the token expired while its request was served");
            return;
        }
        let facts = Facts::of(refusal);
        if let Some(count) = self.refusals.due_for(refusal.log_key(), facts.detail()) {
            let path = asked.map(|asked| path_shown(asked.uri));
            facts.write(
                refusal,
                code,
                path.as_deref(),
                &refusal.remedy(config),
                count,
            );
        }
    }

    /// Logs a request without a token. A recognised request gets a line that says what it looks
    /// like, at most one a day for each kind. All other requests get a line at DEBUG. Of the
    /// request, only method and path are logged.
    fn write_without_token(
        &self,
        code: &'static str,
        asked: Option<Asked<'_>>,
        config: &ResponderConfig,
    ) {
        let Some(asked) = asked else {
            tracing::debug!(code, "request without a bearer token");
            return;
        };
        let (method, path) = (method_shown(asked.method), path_shown(asked.uri));
        let look = Look::of(asked, &config.own_endpoints);
        // Throttled for each path, so that an attacker's request does not hide a real one from the
        // log.
        let due = look.and_then(|look| {
            let path = look.is_about_a_path().then_some(&path);
            Some((look, self.without_token.due_for(look, path)?))
        });
        let Some((look, count)) = due else {
            tracing::debug!(code, method, path, "request without a bearer token");
            return;
        };
        let (looks_like, remedy) = (look.name(), look.remedy(&path, config.how_to_send));
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    code,
                    method,
                    path,
                    looks_like,
                    remedy,
                    count,
                    "request without a bearer token"
                )
            };
        }
        match look {
            Look::OwnEndpoint => line!(error),
            // Only INFO, because users may type the address into a browser.
            Look::Page => line!(info),
            _ => line!(warn),
        }
    }
}

/// The values of a log line.
struct Facts<'r> {
    found: Option<Cow<'r, str>>,
    expected: Option<Cow<'r, str>>,
    /// `true` if `found` differs between tokens although the mistake is the same.
    counts: bool,
}

impl<'r> Facts<'r> {
    fn of(refusal: &'r Reason) -> Self {
        use InvalidTokenKind::{Expired, NotYetValid, TooLarge};

        let (found, expected) = match refusal.innermost() {
            Reason::InvalidToken { rejection, .. } => (rejection.found(), rejection.expected()),
            Reason::PermissionDenied { denied, .. } => (denied.found(), denied.expected()),
            Reason::MalformedAuthorization { found, .. } => (Some(Cow::Borrowed(&**found)), None),
            Reason::Unavailable { cause, .. } => (Some(cause.to_string().into()), None),
            #[cfg(feature = "axum")]
            Reason::OtherClaims { type_name } => (None, Some((*type_name).into())),
            #[cfg(feature = "axum")]
            Reason::InvalidRequirement { problems, .. } => (Some(problems.into()), None),
            _ => (None, None),
        };
        Self {
            found,
            expected,
            counts: matches!(
                refusal.innermost(),
                Reason::InvalidToken { rejection, .. }
                    if matches!(rejection.kind(), Expired | NotYetValid | TooLarge)
            ),
        }
    }

    /// Returns the values that distinguish mistakes with the same code, if any.
    fn detail(&self) -> Option<(Option<&str>, Option<&str>)> {
        (!self.counts).then_some((self.found.as_deref(), self.expected.as_deref()))
    }

    /// Writes the log line, with the request's path if the program is at fault.
    fn write(
        &self,
        refusal: &Reason,
        code: &'static str,
        path: Option<&str>,
        remedy: &str,
        count: u64,
    ) {
        // Recorded as strings: formatters quote strings, so that parsers of `key=value` find their
        // end.
        let shown = |text: &Option<Cow<'_, str>>| Some(Escaped(text.as_deref()?).to_string());
        let (found, expected) = (shown(&self.found), shown(&self.expected));
        let signature = match refusal {
            Reason::InvalidToken { unsigned: true, .. } => Some("not checked"),
            _ => None,
        };
        let message = refusal.message();
        match refusal {
            Reason::WrongLayer { .. } | Reason::HookPanicked => {
                tracing::error!(code, path, found, expected, remedy, count, "{message}");
            }
            #[cfg(feature = "axum")]
            Reason::InvalidRequirement { .. } => {
                tracing::error!(code, path, found, expected, remedy, count, "{message}");
            }
            _ => tracing::warn!(code, found, expected, signature, remedy, count, "{message}"),
        }
    }
}
