//! One place that writes refusals into the log: the first of a kind, then one a minute.

use std::borrow::Cow;
use std::time::Duration;

use entra_http::ThrottledLog;
use entra_jwt_core::{integration::Escaped, refusal::InvalidTokenKind};

use super::without_token::{Look, method_shown, path_shown};
use super::{Reason, ResponderConfig};
use crate::service::Asked;

/// See [`Reason::log_key`].
type LogKey = (&'static str, &'static str);

/// The lines about refusals.
#[derive(Debug)]
pub(super) struct RefusalLog {
    refusals: ThrottledLog<LogKey>,
    without_token: ThrottledLog<Look>,
}

/// The least time between two lines about requests without a token that look alike: some come every few
/// seconds for as long as a service runs.
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
        // The ordinary end of a stream.
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

    /// Says once what such a request looks like, if it is recognised. Nothing of it is written but its method
    /// and its path.
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
        // A stranger's path does not keep an honest one out of the log.
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
            // People type addresses.
            Look::Page => line!(info),
            _ => line!(warn),
        }
    }
}

/// The values of a line.
struct Facts<'r> {
    found: Option<Cow<'r, str>>,
    expected: Option<Cow<'r, str>>,
    /// `true` if `found` differs from one token to the next without being another mistake.
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

    /// Returns what tells one mistake from another of the same code.
    fn detail(&self) -> Option<(Option<&str>, Option<&str>)> {
        (!self.counts).then_some((self.found.as_deref(), self.expected.as_deref()))
    }

    /// Writes the line; where the program is at fault, with the path at which it is.
    fn write(
        &self,
        refusal: &Reason,
        code: &'static str,
        path: Option<&str>,
        remedy: &str,
        count: u64,
    ) {
        // As text: a formatter puts quotes around it, so that what reads `key=value` finds its end.
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
