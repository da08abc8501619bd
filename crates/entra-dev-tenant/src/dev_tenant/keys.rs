//! Its keys: rotation, what the coming key documents hold, and what no key document should.
//!
//! All that is said of key documents holds for those of v1 and v2 and of every authority but
//! `consumers`, whose key is not the tenant's.

use serde_json::Value;

use super::DevTenant;
use crate::endpoint::Fault;
use crate::keys::{KeyChange, Oddity, PublishedKeys};

impl DevTenant {
    /// Returns the `kid` of the key that signs where no application has its own.
    #[must_use]
    pub fn key_id(&self) -> String {
        self.issuer().keys.signing().id.clone()
    }

    /// Returns the tenant's own v2 key document as it would be served now.
    #[must_use]
    pub fn jwks(&self) -> String {
        self.jwks_of(&self.issuer().realm.id)
    }

    /// Returns the v2 key document as it would be served now for this authority: the tenant's id,
    /// `common`, `organizations` or `consumers`; Entra's refusal for any other.
    ///
    /// Shared documents hold what Entra's hold: `organizations` the tenant's keys and one of
    /// another cloud, `common` one of personal accounts as well, `consumers` only this.
    #[must_use]
    pub fn jwks_of(&self, authority: &str) -> String {
        let issuer = self.issuer();
        match issuer.realm.authority(authority) {
            Ok(authority) => issuer.keys.peek(&issuer.realm, authority),
            Err(error) => error.body(&issuer.clock),
        }
        .to_string()
    }

    /// Publishes a key that it never had, made for it (about 90 ms) or by a tenant that has ended, and
    /// signs with it from now on; the last six keys stay published.
    pub fn rotate_keys(&self) {
        self.change_keys(KeyChange::Rotate);
    }

    /// Stops publishing all keys but the current one.
    pub fn withdraw_old_keys(&self) {
        self.change_keys(KeyChange::WithdrawOld);
    }

    /// Publishes a key that it never had, as [`rotate_keys`](Self::rotate_keys) does, signs with it from
    /// now on, and stops publishing every older key, as after a leak.
    pub fn replaces_keys_in_an_emergency(&self) {
        self.change_keys(KeyChange::Replace);
    }

    /// Answers requests for keys, of `consumers` too, with an empty set from now on: a fault of
    /// [`keys`](Self::keys).
    pub fn serves_no_keys(&self) -> Fault<'_> {
        let body = r#"{"keys":[]}"#;
        self.keys().answers_with(200, "application/json", body)
    }

    /// Serves the next `documents` key documents with the keys as they were before the latest
    /// [rotation](Self::rotate_keys) or [emergency](Self::replaces_keys_in_an_emergency), be that
    /// before this call or after it. 0 ends it.
    ///
    /// A request that a fault answers without the right document does not count.
    pub fn answers_lag(&self, documents: usize) {
        self.change_keys(KeyChange::Lag(documents));
    }

    /// Returns the keys that are published now, with what
    /// [`publishes_weak_key`](Self::publishes_weak_key) and its like add; what single documents
    /// lack, or hold in their place, changes nothing here.
    #[must_use]
    pub fn published_keys(&self) -> PublishedKeys {
        self.issuer().keys.published()
    }

    /// Serves key documents with these sets in turn from now on, one per document, the first first,
    /// until [`stops_flapping`](Self::stops_flapping). A lag goes before them.
    ///
    /// # Panics
    /// Without any set.
    pub fn flaps_between(&self, sets: Vec<PublishedKeys>) {
        assert!(!sets.is_empty(), "flaps_between() needs a set of keys");
        self.change_keys(KeyChange::FlapBetween(sets));
    }

    /// Ends [`flaps_between`](Self::flaps_between).
    pub fn stops_flapping(&self) {
        self.change_keys(KeyChange::FlapBetween(Vec::new()));
    }

    /// Serves the next `documents` key documents without the key of this `kid`, be it the tenant's or not;
    /// then it is back. In a second call for the same key, the last number counts.
    pub fn key_vanishes_for(&self, kid: &str, documents: usize) {
        self.change_keys(KeyChange::Vanish(kid.to_owned(), documents));
    }

    /// Adds a key of another cloud and one of personal accounts to the tenant's own key documents,
    /// as those of `common` have them, until [`publishes_normally`](Self::publishes_normally).
    pub fn publishes_foreign_keys(&self) {
        self.change_keys(KeyChange::Publish(Oddity::Foreign));
    }

    /// Adds the `kid` of their newest key to key documents once more, with the key that
    /// [`Flaw::WrongKey`](crate::Flaw::WrongKey) signs with, until
    /// [`publishes_normally`](Self::publishes_normally).
    pub fn publishes_twin_of_signing_key(&self) {
        self.change_keys(KeyChange::Publish(Oddity::Twin));
    }

    /// Adds entries to key documents that nobody should use, until
    /// [`publishes_normally`](Self::publishes_normally): an RSA key of 1024 bits; one without
    /// `kid`, which is the key that [`Flaw::WrongKey`](crate::Flaw::WrongKey) signs with; and one
    /// each of the types `AKP`, `OKP` and `oct`.
    pub fn publishes_weak_key(&self) {
        self.change_keys(KeyChange::Publish(Oddity::WeakAndExotic));
    }

    /// Adds a private exponent (`d`), which is not the real one, to the entry of the newest key in
    /// key documents, until [`publishes_normally`](Self::publishes_normally).
    pub fn publishes_private_half(&self) {
        self.change_keys(KeyChange::Publish(Oddity::PrivateHalf));
    }

    /// Adds this entry to key documents, until [`publishes_normally`](Self::publishes_normally).
    pub fn publishes_also(&self, entry: impl Into<Value>) {
        self.change_keys(KeyChange::Publish(Oddity::Also(entry.into())));
    }

    /// Ends all that `publishes_…` began.
    pub fn publishes_normally(&self) {
        self.change_keys(KeyChange::PublishNormally);
    }

    fn change_keys(&self, change: KeyChange) {
        self.issuer().keys.apply(change);
    }
}
