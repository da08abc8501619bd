//! Lifetimes of tokens and sign-ins.

use std::time::Duration;

use entra_http::Problems;

use super::{DAY, MINUTE};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Lifetimes of tokens and sign-ins.
///
/// Pass them to [`EntraOAuthProxyBuilder::lifetimes`](crate::EntraOAuthProxyBuilder::lifetimes).
///
/// ```
/// use std::time::Duration;
/// use entra_oauth_proxy::{EntraOAuthProxy, Lifetimes};
///
/// let quarter = Duration::from_secs(15 * 60);
/// let settings = EntraOAuthProxy::builder().lifetimes(Lifetimes::default().access_token(quarter));
/// ```
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`access_token`](Self::access_token) | 1 hour |
/// | [`idle`](Self::idle) | 30 days |
/// | [`session`](Self::session) | 90 days |
/// | [`rotation_grace`](Self::rotation_grace) | 60 s |
/// | [`grant_check`](Self::grant_check) | 30 s |
#[derive(Clone, Copy, Debug)]
#[must_use = "lifetimes have no effect until they are passed to the builder"]
pub struct Lifetimes {
    access_token: Duration,
    idle: Duration,
    session: Duration,
    rotation_grace: Duration,
    grant_check: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            access_token: HOUR,
            idle: 30 * DAY,
            session: 90 * DAY,
            rotation_grace: MINUTE,
            grant_check: MINUTE / 2,
        }
    }
}

impl Lifetimes {
    /// Sets the lifetime of an access token: 1 minute to 24 hours.
    ///
    /// This server notices that a user has left when it renews Entra's own token. It does so at a
    /// refresh if that token would expire before the access token that the client receives, at most
    /// every 10 minutes. A user who has left can continue for 90 minutes or for the lifetime set
    /// here and 10 minutes more, whichever is longer. While Entra does not respond, the user can
    /// continue until Entra's token expires (after 60 to 90 minutes; this server allows no more,
    /// even if Entra does), and then for the lifetime set here.
    pub fn access_token(mut self, span: Duration) -> Self {
        self.access_token = span;
        self
    }

    /// Sets the lifetime of a sign-in without a refresh: 1 hour to 90 days.
    ///
    /// Entra also forgets an unused sign-in after 90 days. The value must be at least 10 minutes
    /// longer than the lifetime of an access token.
    pub fn idle(mut self, span: Duration) -> Self {
        self.idle = span;
        self
    }

    /// Sets the total lifetime of a sign-in, however often it is refreshed: 1 hour to 366 days.
    ///
    /// The value must be at least 10 minutes longer than the lifetime of an access token.
    pub fn session(mut self, span: Duration) -> Self {
        self.session = span;
        self
    }

    /// Sets the grace period during which the holder of a rotated refresh token receives the current
    /// token: at most 2 minutes.
    ///
    /// It is for clients that refresh several times at once, or did not receive the response.
    ///
    /// After the grace period, the token that was rotated last still works: a client may have lost
    /// the response however late it comes. Its holder then receives a new token, and the one that
    /// was issued before is dead. Any older token is dead, too. The use of a dead token ends the
    /// sign-in, because two parties have tokens of it (RFC 9700 §4.14.2). Zero disables the grace
    /// period, except for requests that arrived before the token was rotated.
    ///
    /// For tokens that another process rotated, the grace period is longer by the [clock
    /// skew](tower_entra_auth::EntraAuthBuilder::clock_skew), because that process's clock may
    /// differ. Clients with a secret can [share a sign-in](crate::Clients::shared_sign_ins).
    pub fn rotation_grace(mut self, span: Duration) -> Self {
        self.rotation_grace = span;
        self
    }

    /// Sets how often the Layer checks whether the grant (sign-in) of an access token has ended.
    ///
    /// The interval is at most 5 minutes. With zero, the Layer checks on every request.
    pub fn grant_check(mut self, span: Duration) -> Self {
        self.grant_check = span;
        self
    }

    /// Returns `[access_token, idle, session]` and `[rotation_grace, grant_check]`.
    pub(super) fn times(&self) -> ([Duration; 3], [Duration; 2]) {
        (
            [self.access_token, self.idle, self.session],
            [self.rotation_grace, self.grant_check],
        )
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        for (name, span, min, max) in [
            ("access_token", self.access_token, MINUTE, DAY),
            ("idle", self.idle, HOUR, 90 * DAY),
            ("session", self.session, HOUR, 366 * DAY),
            (
                "rotation_grace",
                self.rotation_grace,
                Duration::ZERO,
                2 * MINUTE,
            ),
            ("grant_check", self.grant_check, Duration::ZERO, 5 * MINUTE),
        ] {
            if span < min || span > max {
                let text = format_args!("{span:?} is not between {min:?} and {max:?}");
                problems.add(format!("lifetimes.{name}"), text);
            }
        }
        for (name, span) in [("idle", self.idle), ("session", self.session)] {
            // A client refreshes when its access token expires.
            let least = self.access_token.saturating_add(10 * MINUTE);
            if span >= HOUR && span < least {
                problems.add(
                    format!("lifetimes.{name}"),
                    format_args!(
                        "{span:?} is not at least 10 minutes longer than access_token({:?}): a \
                         token would outlive its sign-in",
                        self.access_token
                    ),
                );
            }
        }
    }
}
