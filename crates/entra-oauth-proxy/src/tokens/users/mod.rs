//! The records of users and clients across sign-ins: references to the grants of a user, the demands on the
//! user's next sign-in or refresh, and how often an operator ended the sign-ins of a user or a client. Most
//! users have nothing but references, and most clients no record: each refresh looks for both. Decided here,
//! without any I/O; [`changes`] carries it out.
//!
//! An operator ends sign-ins by numbers: one for each user and each client, which a sign-in takes when
//! Entra's answer is verified, and which an end raises. Numbers are compared, never clocks; no index is
//! needed, and what is under way ends as well.

mod changes;

use serde::{Deserialize, Serialize};

pub use self::changes::{EndError, EndErrorKind};
pub(crate) use self::changes::{Users, demand_of, keep_challenge, keep_demand, remove_demand};
use super::{DEMAND_LIFETIME, Grant, MAX_DEMAND};
use crate::keys::Versioned;
use crate::oauth::merge_claims;

/// A record that many change, and that cleans itself then.
trait SelfCleaning: Versioned + Default {
    /// Takes away what is over by time.
    fn clean(&mut self, now: u64);

    /// Returns its time to live from this moment on, in seconds: as long as anything in it.
    fn time_to_live(&self, now: u64) -> u64;
}

/// The most grants that there may be of a user, and of a user by one client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct GrantCaps {
    of_user: usize,
    of_client: usize,
}

/// The record of one user, as it is stored (encrypted). The names are short, as it is written with each
/// sign-in.
///
/// It cleans itself: with each change go the references to grants that have ended by time. References to
/// grants that ended before go when there are too many.
#[derive(Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
struct UserRecord {
    /// The one made first comes first.
    #[serde(rename = "g")]
    grants: Vec<Reference>,
}

impl Versioned for UserRecord {
    const NAME: &'static str = "user";
    const VERSION: u8 = 1;
}

impl SelfCleaning for UserRecord {
    fn clean(&mut self, now: u64) {
        self.grants.retain(|reference| now < reference.ends_at);
    }

    fn time_to_live(&self, now: u64) -> u64 {
        let ends = self.grants.iter().map(|reference| reference.ends_at);
        let last = ends.max().unwrap_or_default();
        last.saturating_sub(now).max(1)
    }
}

/// A reference to a grant that was made, or is about to be.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Reference {
    #[serde(rename = "i")]
    grant: String,
    #[serde(rename = "c")]
    client: String,
    /// The time when it was made, in seconds since 1970, as the next.
    #[serde(rename = "m")]
    made_at: u64,
    /// The latest end of the grant.
    #[serde(rename = "e")]
    ends_at: u64,
}

/// A grant to which there is a reference, as the store has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// It is there, and was last refreshed, or made, then.
    UsedAt(u64),
    /// It is not there yet: a sign-in is under way.
    Pending,
    /// It is not there any more.
    Over,
}

impl State {
    /// The longest time between a reference and its grant, in seconds: as long as the store may
    /// take for both, and some. Another process may have made it, by a clock that differs by the skew.
    const PENDING: u64 = 60;

    fn of(reference: &Reference, grant: Option<&Grant>, now: u64, skew: u64) -> Self {
        let pending = Self::PENDING.saturating_add(skew);
        match grant {
            Some(grant) => Self::UsedAt(grant.rotated_at),
            None if now.saturating_sub(reference.made_at) <= pending => Self::Pending,
            None => Self::Over,
        }
    }
}

impl UserRecord {
    /// The most sign-ins of one user that may be under way beside the grants.
    const UNDER_WAY: usize = 64;

    /// Returns whether references that are over must go before there is a place for another.
    fn is_full(&self, caps: GrantCaps) -> bool {
        self.grants.len() >= caps.of_user.saturating_add(Self::UNDER_WAY)
    }

    /// Adds the reference, once.
    fn add(&mut self, reference: Reference) {
        if !self.has(&reference.grant) {
            self.grants.push(reference);
        }
    }

    /// Removes the reference to a grant, and returns whether there was one.
    fn remove(&mut self, grant: &str) -> bool {
        let before = self.grants.len();
        self.grants.retain(|reference| reference.grant != grant);
        self.grants.len() != before
    }

    fn has(&self, grant: &str) -> bool {
        self.grants.iter().any(|reference| reference.grant == grant)
    }

    /// Returns the references among which there may be too many: all, or those of clients that have too many.
    fn excessive(&self, caps: GrantCaps) -> Vec<Reference> {
        let is_excessive = |reference: &&Reference| {
            self.grants.len() > caps.of_user || self.count(&reference.client) > caps.of_client
        };
        self.grants.iter().filter(is_excessive).cloned().collect()
    }

    fn count(&self, client: &str) -> usize {
        let of_client = self.grants.iter().filter(|other| other.client == client);
        of_client.count()
    }

    /// Returns the grants that have to end, so that no cap is exceeded: of those that are there, the longest
    /// unused. `looked` are the [`excessive`](Self::excessive) references with their states.
    fn superfluous(looked: &[(Reference, State)], caps: GrantCaps, is_all: bool) -> Vec<String> {
        let mut there: Vec<(u64, &Reference)> = looked
            .iter()
            .filter_map(|(reference, state)| match state {
                State::UsedAt(at) => Some((*at, reference)),
                State::Pending | State::Over => None,
            })
            .collect();
        // The longest unused first; of those that were used last at the same time, the one made first.
        there.sort_by_key(|(at, _)| *at);
        let mut superfluous = Vec::new();
        let mut left = there.clone();
        left.retain(|(_, reference)| {
            let is_of_client = |other: &&(u64, &Reference)| other.1.client == reference.client;
            let ended = |other: &&(u64, &Reference)| superfluous.contains(&other.1.grant);
            let count = there.iter().filter(is_of_client).count();
            let ended = there.iter().filter(is_of_client).filter(ended).count();
            let goes = count - ended > caps.of_client;
            if goes {
                superfluous.push(reference.grant.clone());
            }
            !goes
        });
        if is_all {
            let excess = left.len().saturating_sub(caps.of_user);
            let oldest = left.iter().take(excess);
            superfluous.extend(oldest.map(|(_, reference)| reference.grant.clone()));
        }
        superfluous
    }
}

/// The record of what stands about one user, as it is stored (encrypted).
#[derive(Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
struct UserStanding {
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    demands: Vec<Demand>,
    #[serde(rename = "e", default, skip_serializing_if = "Ends::is_zero")]
    ends: Ends,
}

impl Versioned for UserStanding {
    const NAME: &'static str = "standing";
    const VERSION: u8 = 1;
}

impl SelfCleaning for UserStanding {
    fn clean(&mut self, now: u64) {
        self.demands.retain(|demand| now < demand.until);
        self.ends.clean(now);
    }

    fn time_to_live(&self, now: u64) -> u64 {
        let demands = self.demands.iter().map(|demand| demand.until);
        let last = demands.chain([self.ends.until()]).max().unwrap_or_default();
        last.saturating_sub(now).max(1)
    }
}

/// A claims challenge: what is demanded of the user's next sign-in or refresh by this client.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Demand {
    #[serde(rename = "c")]
    client: String,
    #[serde(rename = "t")]
    claims: String,
    #[serde(rename = "u")]
    until: u64,
}

impl UserStanding {
    /// The most demands: one for each client, and a user has few at a time.
    const MAX_DEMANDS: usize = 8;

    /// Returns the open demand on the user's next sign-in, or refresh, by this client.
    fn demand(&self, client: &str, now: u64) -> Option<&str> {
        let mut demands = self.demands.iter();
        let open = demands.find(|demand| demand.client == client && now < demand.until);
        open.map(|demand| &*demand.claims)
    }

    /// Adds a demand on the next sign-in by this client to those of before, and returns whether it is kept.
    fn add_demand(&mut self, client: &str, claims: &str, now: u64) -> bool {
        let before = self.demand(client, now);
        let both = before.and_then(|before| merge_claims(before, claims));
        let both = both.filter(|both| both.len() <= MAX_DEMAND);
        let claims = both.as_deref().unwrap_or(claims);
        if claims.len() > MAX_DEMAND {
            return false;
        }
        let claims = claims.to_owned();
        self.remove_demand(client);
        if self.demands.len() >= Self::MAX_DEMANDS {
            self.demands.remove(0);
        }
        self.demands.push(Demand {
            client: client.to_owned(),
            claims,
            until: now.saturating_add(DEMAND_LIFETIME),
        });
        true
    }

    fn remove_demand(&mut self, client: &str) {
        self.demands.retain(|demand| demand.client != client);
    }
}

/// The number of one user or one client.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
struct Ends {
    #[serde(rename = "n")]
    number: u64,
    /// The end of the last sign-in that it decides about, in seconds since 1970.
    #[serde(rename = "u")]
    until: u64,
}

impl Ends {
    const DAY: u64 = 24 * 60 * 60;

    /// The longest that a sign-in may last, in seconds, with whatever settings it began, and a day for clocks
    /// that differ.
    const LONGEST: u64 = 367 * Self::DAY;

    fn number(self) -> u64 {
        self.number
    }

    fn until(self) -> u64 {
        self.until
    }

    fn is_zero(&self) -> bool {
        self.number == 0
    }

    /// Raises the number: every sign-in that took the one before is over.
    fn raise(&mut self, now: u64) {
        self.number = self.number.saturating_add(1);
        self.keep(now);
    }

    /// Keeps a number that is not zero for as long as any sign-in that begins now may last; with a day more,
    /// so that it changes once a day. Were it forgotten before, the next end would give it a second time.
    fn keep(&mut self, now: u64) {
        if !self.is_kept(now) {
            self.until = now.saturating_add(Self::LONGEST + Self::DAY);
        }
    }

    /// Returns whether there is nothing to keep for as long, or it is kept.
    fn is_kept(&self, now: u64) -> bool {
        self.is_zero() || self.until >= now.saturating_add(Self::LONGEST)
    }

    /// Forgets a number about which no sign-in is left.
    fn clean(&mut self, now: u64) {
        if now >= self.until {
            *self = Self::default();
        }
    }
}

/// The record of one client, as it is stored (encrypted): there is one only where its sign-ins were ended.
#[derive(Debug, Default, Deserialize, Serialize)]
struct ClientStanding {
    #[serde(rename = "e")]
    ends: Ends,
}

impl Versioned for ClientStanding {
    const NAME: &'static str = "client";
    const VERSION: u8 = 1;
}

impl SelfCleaning for ClientStanding {
    fn clean(&mut self, now: u64) {
        self.ends.clean(now);
    }

    fn time_to_live(&self, now: u64) -> u64 {
        self.ends.until().saturating_sub(now).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::RateLimits;

    const CAPS: GrantCaps = GrantCaps {
        of_user: 4,
        of_client: 2,
    };

    fn reference(grant: &str, client: &str) -> Reference {
        Reference {
            grant: grant.to_owned(),
            client: client.to_owned(),
            made_at: 0,
            ends_at: 1_000,
        }
    }

    fn superfluous(grants: &[(&str, &str, State)]) -> Vec<String> {
        let looked = grants.iter();
        let looked = looked.map(|(grant, client, state)| (reference(grant, client), *state));
        UserRecord::superfluous(&looked.collect::<Vec<_>>(), CAPS, true)
    }

    #[test]
    fn the_longest_unused_of_a_client_goes_and_then_of_the_user() {
        use State::UsedAt;
        assert_eq!(
            superfluous(&[
                ("a", "x", UsedAt(3)),
                ("b", "x", UsedAt(1)),
                ("c", "x", UsedAt(2))
            ]),
            ["b"]
        );
        let five = [
            ("a", "x", UsedAt(5)),
            ("b", "y", UsedAt(2)),
            ("c", "z", UsedAt(3)),
            ("d", "x", UsedAt(4)),
            ("e", "y", UsedAt(6)),
        ];
        assert_eq!(superfluous(&five), ["b"]);
        // Of the client first: then there may be few enough.
        let six = [
            ("a", "x", UsedAt(9)),
            ("b", "x", UsedAt(8)),
            ("c", "x", UsedAt(7)),
            ("d", "y", UsedAt(1)),
            ("e", "z", UsedAt(2)),
        ];
        assert_eq!(superfluous(&six), ["c"]);
    }

    #[test]
    fn of_two_that_were_used_at_once_the_one_made_first_goes() {
        let at = State::UsedAt(7);
        assert_eq!(
            superfluous(&[("b", "x", at), ("a", "x", at), ("c", "x", at)]),
            ["b"]
        );
    }

    #[test]
    fn a_grant_that_is_not_there_is_under_way_for_a_minute_and_over_from_then_on() {
        let reference = reference("a", "x");
        for now in [0, 60] {
            assert_eq!(State::of(&reference, None, now, 0), State::Pending, "{now}");
        }
        assert_eq!(State::of(&reference, None, 61, 0), State::Over);
        assert_eq!(State::of(&reference, None, 61, 1), State::Pending);
    }

    #[test]
    fn what_is_not_there_neither_counts_nor_goes() {
        let at = State::UsedAt(7);
        let (pending, over) = (State::Pending, State::Over);
        let grants = [
            ("a", "x", at),
            ("b", "x", pending),
            ("c", "x", over),
            ("d", "x", at),
        ];
        assert_eq!(superfluous(&grants), [""; 0]);
    }

    #[test]
    fn only_references_of_clients_with_too_many_are_looked_at() {
        let mut record = UserRecord::default();
        for (grant, client) in [("a", "x"), ("b", "x"), ("c", "y")] {
            record.add(reference(grant, client));
            record.add(reference(grant, client));
        }
        assert_eq!(record.excessive(CAPS), []);
        record.add(reference("d", "x"));
        let names = |record: &UserRecord| -> Vec<String> {
            let excessive = record.excessive(CAPS).into_iter();
            excessive.map(|reference| reference.grant).collect()
        };
        assert_eq!(names(&record), ["a", "b", "d"]);
        record.add(reference("e", "y"));
        assert_eq!(names(&record), ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn references_last_as_long_as_the_last_of_them_and_clean_themselves() {
        let mut record = UserRecord::default();
        assert_eq!(record.time_to_live(0), 1);
        record.add(reference("a", "x"));
        record.add(Reference {
            ends_at: 5_000,
            ..reference("b", "x")
        });
        assert_eq!(record.time_to_live(1_000), 4_000);
        record.clean(1_000);
        assert_eq!(record.grants.len(), 1);
        record.clean(5_000);
        assert_eq!(record, UserRecord::default());
    }

    #[test]
    fn the_largest_record_is_one_that_every_store_takes() {
        let caps = GrantCaps {
            of_user: RateLimits::MAX_GRANTS,
            of_client: RateLimits::MAX_GRANTS,
        };
        let mut record = UserRecord::default();
        let mut number = 0;
        while !record.is_full(caps) {
            number += 1;
            record.add(Reference {
                made_at: 1_795_951_462,
                ends_at: 1_803_727_462,
                ..reference(&format!("{number:024}"), &"c".repeat(43))
            });
        }
        let length = serde_json::to_vec(&record).unwrap().len();
        // The suite for stores has values of 64 KiB.
        assert!(length < 64 * 1_024 - 64, "{length}");
    }

    #[test]
    fn a_standing_lasts_as_long_as_anything_in_it_and_cleans_itself() {
        let mut record = UserStanding::default();
        assert_eq!(record.time_to_live(0), 1);
        assert!(record.add_demand("x", "{}", 4_900));
        assert_eq!(record.time_to_live(1_000), 4_900 + 900 - 1_000);
        record.clean(5_799);
        assert_eq!(record.demand("x", 5_799), Some("{}"));
        assert_eq!(record.demand("x", 5_800), None);
        record.ends.raise(0);
        assert!(record.time_to_live(0) > 367 * 24 * 60 * 60);
        record.clean(5_800);
        assert_eq!(record.ends.number(), 1);
        record.clean(u64::MAX);
        assert_eq!(record, UserStanding::default());
    }

    #[test]
    fn demands_are_of_one_client_and_two_of_it_are_one() {
        let mut record = UserStanding::default();
        let of = |claim: &str| format!(r#"{{"access_token":{{"{claim}":null}}}}"#);
        assert!(record.add_demand("x", &of("a"), 0));
        assert!(record.add_demand("y", &of("b"), 0));
        assert!(record.add_demand("x", &of("c"), 0));
        let both = r#"{"access_token":{"a":null,"c":null}}"#;
        assert_eq!(record.demand("x", 0), Some(both));
        assert_eq!(record.demand("y", 0), Some(&*of("b")));
        record.remove_demand("x");
        assert_eq!(record.demand("x", 0), None);
    }

    #[test]
    fn demands_are_bounded_in_number_and_length() {
        let mut record = UserStanding::default();
        for number in 0..20 {
            assert!(record.add_demand(&format!("client {number}"), "{}", 0));
        }
        assert_eq!(record.demands.len(), 8);
        assert!(record.demand("client 19", 0).is_some());
        let long = format!(r#"{{"x":"{}"}}"#, "a".repeat(1_020));
        assert!(!record.add_demand("x", &long, 0));
        // Both together would be too long: the later one.
        let (one, other) = (
            format!(r#"{{"a":"{}"}}"#, "a".repeat(600)),
            format!(r#"{{"b":"{}"}}"#, "b".repeat(600)),
        );
        assert!(record.add_demand("x", &one, 0) && record.add_demand("x", &other, 0));
        assert_eq!(record.demand("x", 0), Some(&*other));
    }

    const DAY: u64 = Ends::DAY;

    #[test]
    fn a_number_is_kept_as_long_as_any_sign_in_that_it_can_end() {
        let mut ends = Ends::default();
        ends.keep(1_000);
        assert_eq!(ends, Ends::default(), "nothing was ended");
        ends.raise(1_000);
        assert_eq!(ends.number(), 1);
        // A sign-in that took zero a moment before lasts for 366 days at most.
        ends.clean(1_000 + 366 * DAY);
        assert_eq!(ends.number(), 1);
        // One took it on the last day: no later end may come to the same number while it lasts.
        ends.keep(1_000 + 366 * DAY);
        ends.clean(1_000 + 732 * DAY);
        ends.raise(1_000 + 732 * DAY);
        assert_eq!(ends.number(), 2);
        ends.clean(1_000 + 732 * DAY + 368 * DAY);
        assert_eq!(ends, Ends::default());
    }

    #[test]
    fn a_number_that_many_take_changes_its_record_once_a_day() {
        let mut ends = Ends::default();
        ends.raise(0);
        let first = ends;
        ends.keep(DAY);
        assert_eq!(ends, first);
        ends.keep(DAY + 1);
        assert_ne!(ends, first);
    }

    /// A store that forgets later than it should makes no difference.
    #[test]
    fn the_number_of_a_client_is_forgotten_at_its_time() {
        let mut record = ClientStanding::default();
        record.ends.raise(1_000);
        let left = record.time_to_live(1_000);
        record.clean(1_000 + left - 1);
        assert_eq!(record.ends.number(), 1);
        record.clean(1_000 + left);
        assert_eq!(record.ends.number(), 0);
        assert_eq!(record.time_to_live(1_000 + left), 1);
    }
}
