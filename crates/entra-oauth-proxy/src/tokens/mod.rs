//! Grants, their tokens, and the records of their users.
//!
//! A grant is one sign-in: it lets a client use the resource for a user. [`Grants`] keeps grants in
//! the store, issues their tokens and refreshes them. [`Users`] keeps the records of users and
//! clients. This module has the records that both share.

mod grants;
mod users;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::users::{EndError, EndErrorKind};
pub(crate) use self::{
    grants::{Grants, room_for_claims},
    users::{Users, keep_challenge},
};
use crate::crypto::random_text;
use crate::entra::{EntraTokens, User};
use crate::keys::Versioned;

/// A grant, as it is stored (encrypted).
#[derive(Clone, Deserialize, Serialize)]
struct Grant {
    client: String,
    may_refresh: bool,
    /// Short names of the scopes that the user agreed to, and the scopes as the client wrote them.
    names: Vec<String>,
    shown: Vec<String>,
    user: User,
    upstream: EntraTokens,
    /// Number of the current refresh token.
    #[serde(rename = "generation")]
    current: u32,
    /// Number of the token in place of which the current one was issued. Since version 3: before,
    /// it was always the number before the current one.
    #[serde(default)]
    parent: Option<u32>,
    /// Time at which the current token was made, in seconds since 1970.
    rotated_at: u64,
    /// Random name of the process that wrote `rotated_at`. Since version 2.
    #[serde(default)]
    rotated_by: String,
    /// Last request to Entra for this grant. Since version 3.
    #[serde(default)]
    attempt: Option<Attempt>,
    /// Latest end of the grant, in seconds since 1970.
    ends_at: u64,
    /// `true` if the user's record has a reference to this grant.
    ///
    /// Since version 1: before, there were no references.
    #[serde(default)]
    is_referred_to: bool,
    #[serde(default)]
    numbers: Numbers,
}

impl Versioned for Grant {
    const NAME: &'static str = "grant";
    const VERSION: u8 = 3;
}

impl Grant {
    /// Returns the number of the token in place of which the current one was issued; `None` if the
    /// current one is the first.
    fn parent(&self) -> Option<u32> {
        self.parent.or_else(|| self.current.checked_sub(1))
    }

    /// Returns the time at which the current token was made, and the process that made it.
    fn rotated(&self) -> (u64, &str) {
        (self.rotated_at, &self.rotated_by)
    }

    /// Removes everything with which the grant could be used.
    fn end(&mut self) {
        self.ends_at = 0;
        self.upstream = EntraTokens::default();
    }
}

/// The last request to Entra for a grant, which every instance takes into account.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Attempt {
    /// Time of the response or of the failure, in seconds since 1970.
    at: u64,
    /// `true` if Entra neither issued tokens nor refused them.
    has_failed: bool,
    /// Time that Entra demanded until the next request, in seconds.
    wait: u64,
}

/// Result of a sign-in at Entra, from which a grant is made.
#[derive(Deserialize, Serialize)]
pub(crate) struct SignedIn {
    user: User,
    upstream: EntraTokens,
    #[serde(default)]
    numbers: Numbers,
    /// Time at which the code was issued, in seconds since 1970, and the random name of the process
    /// that issued it. Since version 3 of a code: before, the time is 0.
    #[serde(default)]
    issued_at: u64,
    #[serde(default)]
    issued_by: String,
}

/// Values of the revocation counters at the time of a sign-in.
///
/// Since version 2 of a code and of a grant: before, all were zero.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
struct Numbers {
    #[serde(rename = "u")]
    user: u64,
    #[serde(rename = "c")]
    client: u64,
}

/// State of a user and a client that decides about a sign-in.
struct Standing {
    /// Last part of the keys of the user's records.
    user_key: String,
    client: String,
    numbers: Numbers,
    /// The pending claims challenge in the store, for the next sign-in or refresh.
    demand: Option<String>,
}

/// Lifetime of a pending claims challenge, in seconds.
const DEMAND_LIFETIME: u64 = 15 * 60;

/// Lifetime of an authorization code (RFC 6749 §4.1.2 recommends at most ten minutes).
const CODE_LIFETIME: Duration = Duration::from_secs(60);

/// Time within which a client that did not receive its tokens may redeem the code again.
const REPEATED: Duration = Duration::from_secs(10);

/// Maximum length of a pending claims challenge, in bytes, because a cookie carries it.
const MAX_DEMAND: usize = 1_024;

/// Returns the store key of a grant.
fn grant_key(id: &str) -> String {
    format!("grant/{id}")
}

/// A parsed refresh token. The token itself is not stored anywhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RefreshToken {
    grant: String,
    number: u32,
}

impl RefreshToken {
    pub(crate) fn grant_id(&self) -> &str {
        &self.grant
    }
}

/// Comparison of times in records that several processes may have written.
#[derive(Clone, Debug)]
struct Stamps {
    process: Arc<str>,
    /// Maximum difference between two clocks, in seconds.
    skew: u64,
}

impl Stamps {
    fn new(skew: u64) -> Self {
        Self {
            process: random_text::<9>().into(),
            skew,
        }
    }

    /// Returns the random name of this process among those that share the store.
    fn process(&self) -> &str {
        &self.process
    }

    /// Returns whether more time has certainly passed since a time in a record.
    ///
    /// The time, in seconds since 1970, is given with the random name of the process that wrote it.
    /// If that is another process, its clock may have been behind by the skew. A time in the future
    /// counts as now.
    fn is_older(&self, (at, by): (u64, &str), span: Duration, now: u64) -> bool {
        let skew = match by == &*self.process {
            true => 0,
            false => self.skew,
        };
        let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
        now.saturating_sub(at) > seconds.saturating_add(skew)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_another_process_may_be_longer_ago_by_the_skew() {
        let stamps = Stamps::new(300);
        let (ours, theirs) = ((1_000, stamps.process()), (1_000, ""));
        let span = Duration::from_secs(60);
        for (now, is_older) in [(0, [false; 2]), (1_060, [false; 2]), (1_061, [true, false])] {
            assert_eq!(stamps.is_older(ours, span, now), is_older[0], "{now}");
            assert_eq!(stamps.is_older(theirs, span, now), is_older[1], "{now}");
        }
        assert!(!stamps.is_older(theirs, span, 1_360));
        assert!(stamps.is_older(theirs, span, 1_361));
        assert!(stamps.is_older(ours, Duration::from_millis(59_001), 1_061));
        assert!(!stamps.is_older(ours, Duration::from_millis(59_001), 1_060));
    }
}
