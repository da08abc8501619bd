//! The standing of a user across sign-ins, beside the grants: the demands on the next sign-in or refresh,
//! and how often an operator ended the sign-ins. Most users have none of it, and no such record: each refresh
//! looks for it. Decided here, without any I/O.

use serde::{Deserialize, Serialize};

use crate::engine::Lifetimes;
use crate::keys::format::{self, Changing, Format, Kept};
use crate::oauth::claims_request;
use crate::tokens::ends::Ends;

/// The record of what stands about one user, as it is stored (encrypted).
#[derive(Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct UserStanding {
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    demands: Vec<Demand>,
    #[serde(rename = "e", default, skip_serializing_if = "Ends::is_zero")]
    pub(crate) ends: Ends,
}

impl Kept for UserStanding {
    const FORMAT: Format = format::STANDING;
}

impl Changing for UserStanding {
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
    const MOST_DEMANDS: usize = 8;

    /// The longest claims of a demand, in bytes: they come along in a cookie.
    pub(crate) const MOST_CLAIMS: usize = 1_024;

    /// Returns the open demand on the user's next sign-in, or refresh, by this client.
    pub(crate) fn demand(&self, client: &str, now: u64) -> Option<&str> {
        let mut demands = self.demands.iter();
        let open = demands.find(|demand| demand.client == client && now < demand.until);
        open.map(|demand| &*demand.claims)
    }

    /// Adds a demand on the next sign-in by this client to those of before, and returns whether it is kept.
    pub(crate) fn demands(&mut self, client: &str, claims: &str, now: u64) -> bool {
        let before = self.demand(client, now);
        let both = before.and_then(|before| claims_request::merged(before, claims));
        let both = both.filter(|both| both.len() <= Self::MOST_CLAIMS);
        let claims = both.as_deref().unwrap_or(claims);
        if claims.len() > Self::MOST_CLAIMS {
            return false;
        }
        let claims = claims.to_owned();
        self.forget_demand(client);
        if self.demands.len() >= Self::MOST_DEMANDS {
            self.demands.remove(0);
        }
        self.demands.push(Demand {
            client: client.to_owned(),
            claims,
            until: now.saturating_add(Lifetimes::SIGN_IN),
        });
        true
    }

    pub(crate) fn forget_demand(&mut self, client: &str) {
        self.demands.retain(|demand| demand.client != client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_as_long_as_anything_in_it_and_cleans_itself() {
        let mut record = UserStanding::default();
        assert_eq!(record.time_to_live(0), 1);
        assert!(record.demands("x", "{}", 4_900));
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
        assert!(record.demands("x", &of("a"), 0));
        assert!(record.demands("y", &of("b"), 0));
        assert!(record.demands("x", &of("c"), 0));
        let both = r#"{"access_token":{"a":null,"c":null}}"#;
        assert_eq!(record.demand("x", 0), Some(both));
        assert_eq!(record.demand("y", 0), Some(&*of("b")));
        record.forget_demand("x");
        assert_eq!(record.demand("x", 0), None);
    }

    #[test]
    fn demands_are_bounded_in_number_and_length() {
        let mut record = UserStanding::default();
        for number in 0..20 {
            assert!(record.demands(&format!("client {number}"), "{}", 0));
        }
        assert_eq!(record.demands.len(), 8);
        assert!(record.demand("client 19", 0).is_some());
        let long = format!(r#"{{"x":"{}"}}"#, "a".repeat(1_020));
        assert!(!record.demands("x", &long, 0));
        // Both together would be too long: the later one.
        let (one, other) = (
            format!(r#"{{"a":"{}"}}"#, "a".repeat(600)),
            format!(r#"{{"b":"{}"}}"#, "b".repeat(600)),
        );
        assert!(record.demands("x", &one, 0) && record.demands("x", &other, 0));
        assert_eq!(record.demand("x", 0), Some(&*other));
    }
}
