//! The record of a user across sign-ins: the grants.
//! Decided here, without any I/O; [`users`](crate::users) carries it out.

use serde::{Deserialize, Serialize};

use crate::keys::format::{self, Changing, Format, Kept};
use crate::tokens::grant::Grant;

/// The record of one user, as it is stored (encrypted). The names are short, as it is written with each
/// sign-in.
///
/// It cleans itself: with each change go the references to grants that have ended by time. References to
/// grants that ended before go when there are too many.
#[derive(Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct UserRecord {
    /// The one made first comes first.
    #[serde(rename = "g")]
    pub(crate) grants: Vec<Reference>,
}

impl Kept for UserRecord {
    const FORMAT: Format = format::USER;
}

impl Changing for UserRecord {
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
pub(crate) struct Reference {
    #[serde(rename = "i")]
    pub(crate) grant: String,
    #[serde(rename = "c")]
    pub(crate) client: String,
    /// In seconds since 1970, as the next.
    #[serde(rename = "m")]
    pub(crate) made_at: u64,
    /// The latest end of the grant.
    #[serde(rename = "e")]
    pub(crate) ends_at: u64,
}

/// The most grants that there may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Caps {
    pub(crate) of_user: usize,
    pub(crate) of_client: usize,
}

/// A grant to which there is a reference, as the store has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
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

    pub(crate) fn of(reference: &Reference, grant: Option<&Grant>, now: u64, skew: u64) -> Self {
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
    pub(crate) fn is_full(&self, caps: Caps) -> bool {
        self.grants.len() >= caps.of_user.saturating_add(Self::UNDER_WAY)
    }

    /// Adds the reference, once.
    pub(crate) fn add(&mut self, reference: Reference) {
        if !self.has(&reference.grant) {
            self.grants.push(reference);
        }
    }

    /// Removes the reference to a grant, and returns whether there was one.
    pub(crate) fn remove(&mut self, grant: &str) -> bool {
        let before = self.grants.len();
        self.grants.retain(|reference| reference.grant != grant);
        self.grants.len() != before
    }

    pub(crate) fn has(&self, grant: &str) -> bool {
        self.grants.iter().any(|reference| reference.grant == grant)
    }

    /// Returns the references among which there may be too many: all, or those of clients that have too many.
    pub(crate) fn excessive(&self, caps: Caps) -> Vec<Reference> {
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
    pub(crate) fn superfluous(
        looked: &[(Reference, State)],
        caps: Caps,
        is_all: bool,
    ) -> Vec<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const CAPS: Caps = Caps {
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
    fn it_lasts_as_long_as_anything_in_it_and_cleans_itself() {
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
        let caps = Caps {
            of_user: crate::limits::MOST_GRANTS,
            of_client: crate::limits::MOST_GRANTS,
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
}
