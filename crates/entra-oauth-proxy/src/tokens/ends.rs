//! The numbers by which an operator ends sign-ins: one for each user and each client, which a sign-in takes
//! when Entra's answer is verified, and which an end raises. Numbers are compared, never clocks; no index is
//! needed, and what is under way ends as well. Decided here, without any I/O; [`ending`](crate::ending)
//! carries it out.

use serde::{Deserialize, Serialize};

use crate::keys::format::{self, Changing, Format, Kept};

/// The number of one user or one client.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Ends {
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

    pub(crate) fn number(self) -> u64 {
        self.number
    }

    pub(crate) fn until(self) -> u64 {
        self.until
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.number == 0
    }

    /// Raises the number: every sign-in that took the one before is over.
    pub(crate) fn raise(&mut self, now: u64) {
        self.number = self.number.saturating_add(1);
        self.keep(now);
    }

    /// Keeps a number that is not zero for as long as any sign-in that begins now may last; with a day more,
    /// so that it changes once a day. Were it forgotten before, the next end would give it a second time.
    pub(crate) fn keep(&mut self, now: u64) {
        let least = now.saturating_add(Self::LONGEST);
        if !self.is_zero() && self.until < least {
            self.until = least.saturating_add(Self::DAY);
        }
    }

    /// Forgets a number about which no sign-in is left.
    pub(crate) fn clean(&mut self, now: u64) {
        if now >= self.until {
            *self = Self::default();
        }
    }
}

/// The numbers that a sign-in took. Since version 2 of a code and of a grant: before, all were zero.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Numbers {
    #[serde(rename = "u")]
    pub(crate) user: u64,
    #[serde(rename = "c")]
    pub(crate) client: u64,
}

/// The record of one client, as it is stored (encrypted): there is one only where its sign-ins were ended.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct ClientRecord {
    #[serde(rename = "e")]
    pub(crate) ends: Ends,
}

impl Kept for ClientRecord {
    const FORMAT: Format = format::CLIENT;
}

impl Changing for ClientRecord {
    fn clean(&mut self, now: u64) {
        self.ends.clean(now);
    }

    fn time_to_live(&self, now: u64) -> u64 {
        self.ends.until().saturating_sub(now).max(1)
    }
}

/// Returns the key of a client's record.
pub(crate) fn client_key(client: &str) -> String {
    format!("client/{client}")
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut record = ClientRecord::default();
        record.ends.raise(1_000);
        let left = record.time_to_live(1_000);
        record.clean(1_000 + left - 1);
        assert_eq!(record.ends.number(), 1);
        record.clean(1_000 + left);
        assert_eq!(record.ends.number(), 0);
        assert_eq!(record.time_to_live(1_000 + left), 1);
    }
}
