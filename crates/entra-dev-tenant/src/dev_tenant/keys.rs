//! Its keys: rotation, what the coming key documents hold, and what no key document should.
//!
//! What is said of key documents holds for those of v1 and v2 and of every authority but
//! `consumers`, whose key is not the tenant's.

use serde_json::Value;

use super::DevTenant;
use crate::endpoint::Fault;
use crate::keys::{KeyChange, Oddity, PublishedKeys};

impl DevTenant {
    /// The `kid` of the key that signs, where no application has its own.
    #[must_use]
    pub fn key_id(&self) -> String {
        self.issuer().keys.signing().id.clone()
    }

    /// The tenant's own v2 key document as it would be served now.
    #[must_use]
    pub fn jwks(&self) -> String {
        self.jwks_of(&self.issuer().realm.id)
    }

    /// The v2 key document as it would be served now for this authority: the tenant's id,
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

    /// From now on answers requests for keys, of `consumers` too, with an empty set: a fault of
    /// [`keys`](Self::keys).
    pub fn serves_no_keys(&self) -> Fault<'_> {
        let body = r#"{"keys":[]}"#;
        self.keys().answers_with(200, "application/json", body)
    }

    /// The next `documents` key documents that are served hold the keys as they were before the
    /// latest [rotation](Self::rotate_keys) or [emergency](Self::replaces_keys_in_an_emergency),
    /// be that before this call or after it. 0 ends it.
    ///
    /// A request that a fault answers without the right document does not count.
    pub fn answers_lag(&self, documents: usize) {
        self.change_keys(KeyChange::Lag(documents));
    }

    /// The keys that are published now, with what
    /// [`publishes_weak_key`](Self::publishes_weak_key) and its like add; what single documents
    /// lack, or hold in their place, changes nothing here.
    #[must_use]
    pub fn published_keys(&self) -> PublishedKeys {
        self.issuer().keys.published()
    }

    /// From now on key documents hold these sets in turn, one per document that is served, the
    /// first first, until [`stops_flapping`](Self::stops_flapping). A lag goes before them.
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

    /// The next `documents` key documents that are served lack the key with this `kid`, whoever's
    /// it is; then it is back. Said again for the same key, the last number counts.
    pub fn key_vanishes_for(&self, kid: &str, documents: usize) {
        self.change_keys(KeyChange::Vanish(kid.to_owned(), documents));
    }

    /// From now on the tenant's own key documents hold a key of another cloud and one of personal
    /// accounts, too, as those of `common` do, until
    /// [`publishes_normally`](Self::publishes_normally).
    pub fn publishes_foreign_keys(&self) {
        self.change_keys(KeyChange::Publish(Oddity::Foreign));
    }

    /// From now on key documents hold the `kid` of their newest key twice, the second time with
    /// the key that [`Flaw::WrongKey`](crate::Flaw::WrongKey) signs with, until
    /// [`publishes_normally`](Self::publishes_normally).
    pub fn publishes_twin_of_signing_key(&self) {
        self.change_keys(KeyChange::Publish(Oddity::Twin));
    }

    /// From now on key documents hold entries that nobody should use, too: an RSA key of 1024
    /// bits; one without `kid`, which is the key that [`Flaw::WrongKey`](crate::Flaw::WrongKey)
    /// signs with; and one each of the types `AKP`, `OKP` and `oct`; until
    /// [`publishes_normally`](Self::publishes_normally).
    pub fn publishes_weak_key(&self) {
        self.change_keys(KeyChange::Publish(Oddity::WeakAndExotic));
    }

    /// From now on the entry of their newest key has a private exponent (`d`) in key documents,
    /// which is not the real one, until [`publishes_normally`](Self::publishes_normally).
    pub fn publishes_private_half(&self) {
        self.change_keys(KeyChange::Publish(Oddity::PrivateHalf));
    }

    /// From now on key documents hold this entry, too, until
    /// [`publishes_normally`](Self::publishes_normally).
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
