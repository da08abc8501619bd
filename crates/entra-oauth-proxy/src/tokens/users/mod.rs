//! Records of users and clients that are shared by all their sign-ins.
//!
//! For a user they are references to grants, pending claims challenges, and a revocation counter.
//! For a client there is a revocation counter. Most users have references only, and most clients
//! have no record, but each refresh looks for both. This module decides, without any I/O.
//! [`changes`] reads and writes the records.
//!
//! An operator ends sign-ins by revocation counters, one for each user and each client. A sign-in
//! stores the values of its counters when Entra's response has been verified. Ending sign-ins
//! raises a counter. Every sign-in with an earlier value is then invalid. Only counters are
//! compared, never clocks. This needs no index, and sign-ins in progress end as well.

mod changes;

use serde::{Deserialize, Serialize};

pub use self::changes::{EndError, EndErrorKind};
pub(crate) use self::changes::{Users, demand_of, keep_challenge, keep_demand, remove_demand};
use super::{DEMAND_LIFETIME, Grant, MAX_DEMAND};
use crate::keys::Versioned;
use crate::oauth::merge_claims;

/// A record that many requests change, and that removes expired entries with each change.
trait SelfCleaning: Versioned + Default {
    /// Removes expired entries.
    fn clean(&mut self, now: u64);

    /// Returns the time to live from now on, in seconds: until the last entry expires.
    fn time_to_live(&self, now: u64) -> u64;
}

/// Maximum number of grants of a user, and of a user by one client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct GrantCaps {
    of_user: usize,
    of_client: usize,
}

/// References to the grants of one user, as they are stored (encrypted).
///
/// The serialized names are short, because each sign-in writes this record. Each change removes
/// references to grants that have expired. References to grants that ended earlier are removed when
/// there are too many.
#[derive(Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
struct UserRecord {
    /// References in the order of their creation.
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

/// A reference to a grant that was made, or is about to be made.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Reference {
    #[serde(rename = "i")]
    grant: String,
    #[serde(rename = "c")]
    client: String,
    /// Time of creation, in seconds since 1970.
    #[serde(rename = "m")]
    made_at: u64,
    /// Latest end of the grant, in seconds since 1970.
    #[serde(rename = "e")]
    ends_at: u64,
}

/// State of a referenced grant in the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// The grant exists. The value is the time of its last refresh, or of its creation.
    UsedAt(u64),
    /// The grant does not exist yet: the sign-in is in progress.
    Pending,
    /// The grant no longer exists.
    Over,
}

impl State {
    /// Maximum time between a reference and its grant, in seconds.
    ///
    /// It covers the store's timeout for both writes, and some more time. If another process made
    /// the reference, its clock may differ by the skew.
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
    /// Maximum number of a user's sign-ins in progress, in addition to the grants.
    const UNDER_WAY: usize = 64;

    /// Returns whether references to ended grants must be removed before another one can be added.
    fn is_full(&self, caps: GrantCaps) -> bool {
        self.grants.len() >= caps.of_user.saturating_add(Self::UNDER_WAY)
    }

    /// Adds a reference, unless the record already has it.
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

    /// Returns the references that may exceed a cap: all, or those of clients that have too many.
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

    /// Returns the grants that must end so that no cap is exceeded.
    ///
    /// These are the existing grants that have been unused for the longest time. `looked` are the
    /// [`excessive`](Self::excessive) references with their states. `is_all` says whether the user
    /// has too many.
    fn superfluous(looked: &[(Reference, State)], caps: GrantCaps, is_all: bool) -> Vec<String> {
        let mut there: Vec<(u64, &Reference)> = looked
            .iter()
            .filter_map(|(reference, state)| match state {
                State::UsedAt(at) => Some((*at, reference)),
                State::Pending | State::Over => None,
            })
            .collect();
        // The longest unused grant comes first. Grants with the same time stay in the order of
        // creation.
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

/// The pending claims challenges and the revocation counter of one user, as they are stored
/// (encrypted).
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

/// A pending claims challenge for the user's next sign-in or refresh by this client.
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
    /// Maximum number of pending challenges.
    ///
    /// There is one for each client, and a user has few at a time.
    const MAX_DEMANDS: usize = 8;

    /// Returns the pending claims challenge for the user's next sign-in or refresh by this client.
    fn demand(&self, client: &str, now: u64) -> Option<&str> {
        let mut demands = self.demands.iter();
        let open = demands.find(|demand| demand.client == client && now < demand.until);
        open.map(|demand| &*demand.claims)
    }

    /// Adds a claims challenge for this client to the pending one, and returns whether it is kept.
    ///
    /// If both together are too long, the new challenge replaces the pending one.
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

/// Revocation counter of one user or one client.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
struct Ends {
    #[serde(rename = "n")]
    number: u64,
    /// Time until which the counter is kept, in seconds since 1970.
    ///
    /// All sign-ins that it affects have ended by then.
    #[serde(rename = "u")]
    until: u64,
}

impl Ends {
    const DAY: u64 = 24 * 60 * 60;

    /// Longest time that a sign-in may last under any settings, in seconds, and a day for clocks
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

    /// Raises the counter, which ends every sign-in with an earlier value.
    fn raise(&mut self, now: u64) {
        self.number = self.number.saturating_add(1);
        self.keep(now);
    }

    /// Keeps a counter above zero for as long as any sign-in that begins now may last.
    ///
    /// A day more is added, so that the counter's record changes only once a day. If the counter
    /// were removed too early, it could reach a value again that a sign-in already has.
    fn keep(&mut self, now: u64) {
        if !self.is_kept(now) {
            self.until = now.saturating_add(Self::LONGEST + Self::DAY);
        }
    }

    /// Returns whether the counter is zero, or is kept for long enough.
    fn is_kept(&self, now: u64) -> bool {
        self.is_zero() || self.until >= now.saturating_add(Self::LONGEST)
    }

    /// Removes a counter that no longer affects any sign-in.
    fn clean(&mut self, now: u64) {
        if now >= self.until {
            *self = Self::default();
        }
    }
}

/// Revocation counter of one client, as it is stored (encrypted).
///
/// It exists only if an operator ended the client's sign-ins.
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
        // The client's grants end first. After that, the user may have few enough.
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
        // The conformance suite for stores uses values of 64 KiB.
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
        // Both together are too long, so the later one is kept.
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
        // A sign-in that stored zero a moment earlier lasts for 366 days at most.
        ends.clean(1_000 + 366 * DAY);
        assert_eq!(ends.number(), 1);
        // A sign-in stored the counter on the last day. While it lasts, the counter must not reach
        // the same value again.
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

    /// Checks that the counter ends in time, even if the store keeps the record for longer.
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
