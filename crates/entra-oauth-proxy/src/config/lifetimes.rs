//! The times for which things are good.

use std::time::Duration;

use entra_http::Problems;

use super::{DAY, MINUTE};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// The times for which tokens and sign-ins are good: for
/// [`EntraOAuthProxyBuilder::lifetimes`](crate::EntraOAuthProxyBuilder::lifetimes).
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
#[must_use = "they count once they are given to the builder"]
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
    /// Sets how long an access token is good: 1 minute to 24 hours.
    ///
    /// That a user has left is noticed when Entra's own token is renewed, with the first refresh in its
    /// last 5 minutes or after: a user may go on for what is left of that (60 to 90 minutes, whatever
    /// Entra says of it) and then for this long.
    pub fn access_token(mut self, span: Duration) -> Self {
        self.access_token = span;
        self
    }

    /// Sets how long a sign-in lasts without a refresh: 1 hour to 90 days, as Entra forgets it then; longer
    /// than an access token by 10 minutes.
    pub fn idle(mut self, span: Duration) -> Self {
        self.idle = span;
        self
    }

    /// Sets how long a sign-in lasts however often it is refreshed: 1 hour to a year.
    pub fn session(mut self, span: Duration) -> Self {
        self.session = span;
        self
    }

    /// Sets the time for which a refresh token works on after another took its place, for a client that
    /// did not get the answer: at most 2 minutes, and until its successor is replaced in its turn. Used
    /// later, it ends the sign-in. Zero is none, but for requests that came at once.
    ///
    /// It counts anew where a client could not be answered: for what was replaced in the hour before this
    /// process began, and for what the store did not say that it wrote. It is longer by the
    /// [clock skew](tower_entra_auth::EntraAuthBuilder::clock_skew) for what another instance replaced, whose
    /// clock may differ.
    pub fn rotation_grace(mut self, span: Duration) -> Self {
        self.rotation_grace = span;
        self
    }

    /// Sets how often it is looked up whether a sign-in was ended, for its access tokens: at most 5 minutes;
    /// zero with every request.
    pub fn grant_check(mut self, span: Duration) -> Self {
        self.grant_check = span;
        self
    }

    /// Returns how long an access token, a sign-in without a refresh and one with refreshes are good; and the
    /// grace after a rotation, and how often a sign-in is looked up.
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
            // A client refreshes when its token ends.
            let least = self.access_token.saturating_add(10 * MINUTE);
            if span >= HOUR && span < least {
                problems.add(
                    format!("lifetimes.{name}"),
                    format_args!(
                        "{span:?} is not longer than access_token({:?}) by 10 minutes: a token \
                         would outlive its sign-in",
                        self.access_token
                    ),
                );
            }
        }
    }
}
