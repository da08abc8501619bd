//! The handle on the tenant's keys: rotation, what the coming key documents hold, and what no key
//! document should.

use serde_json::Value;

use super::DevTenant;
use crate::endpoint::Fault;
use crate::keys::{KeyChange, Oddity, PublishedKeys};

/// A handle on the keys of a [`DevTenant`]; made by [`DevTenant::signing_keys`].
///
/// It rotates them, and changes what the coming key documents hold. All that is said of key documents
/// holds for those of v1 and v2 and of every authority but `consumers`, whose key is not the tenant's.
/// Faults of answers are those of the [`key_endpoint`](DevTenant::key_endpoint).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let tenant = entra_dev_tenant::DevTenant::start().await?;
/// let keys = tenant.signing_keys();
/// let old = keys.current_id();
/// keys.rotate(); // the next token has a new key …
/// keys.lag(2); // … which two more key documents do not have
/// assert!(!keys.document().contains(&keys.current_id()));
/// keys.omit(&old, 1); // the next one does not have the old key either
/// keys.publish_weak(); // and entries that nobody should use
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SigningKeys<'t>(&'t DevTenant);

impl<'t> SigningKeys<'t> {
    pub(super) fn of(tenant: &'t DevTenant) -> Self {
        Self(tenant)
    }

    /// Returns the `kid` of the key that signs where no application has its own.
    #[must_use]
    pub fn current_id(self) -> String {
        self.0.issuer().keys.signing().id.clone()
    }

    /// Returns the tenant's own v2 key document as it would be served now.
    #[must_use]
    pub fn document(self) -> String {
        self.document_of(self.0.id())
    }

    /// Returns the v2 key document as it would be served now for this authority: the tenant's id,
    /// `common`, `organizations` or `consumers`; Entra's refusal for any other.
    ///
    /// Shared documents hold what Entra's hold: `organizations` the tenant's keys and one of
    /// another cloud, `common` one of personal accounts as well, `consumers` only this.
    #[must_use]
    pub fn document_of(self, authority: &str) -> String {
        let issuer = self.0.issuer();
        match issuer.realm.authority(authority) {
            Ok(authority) => issuer.keys.peek(&issuer.realm, authority),
            Err(error) => error.body(&issuer.clock),
        }
        .to_string()
    }

    /// Returns the keys that are published now, with what [`publish_weak`](Self::publish_weak) and
    /// its like add; what single documents lack, or hold in their place, changes nothing here.
    #[must_use]
    pub fn published(self) -> PublishedKeys {
        self.0.issuer().keys.published()
    }

    /// Publishes a key that it never had, made for it (about 90 ms) or by a tenant that has ended, and
    /// signs with it from now on; the last six keys stay published.
    pub fn rotate(self) {
        self.change(KeyChange::Rotate);
    }

    /// Stops publishing all keys but the current one.
    pub fn withdraw_old(self) {
        self.change(KeyChange::WithdrawOld);
    }

    /// Publishes a key that it never had, as [`rotate`](Self::rotate) does, signs with it from now on,
    /// and stops publishing every older key, as after a leak.
    pub fn replace_at_once(self) {
        self.change(KeyChange::Replace);
    }

    /// Answers requests for keys, of `consumers` too, with an empty set from now on: a fault of the
    /// [`key_endpoint`](DevTenant::key_endpoint).
    pub fn serve_none(self) -> Fault<'t> {
        let body = r#"{"keys":[]}"#;
        self.0
            .key_endpoint()
            .answer_with(200, "application/json", body)
    }

    /// Serves the next `documents` key documents with the keys as they were before the latest
    /// [rotation](Self::rotate) or [replacement](Self::replace_at_once), be that before this call or
    /// after it. 0 ends it.
    ///
    /// A request that a fault answers without the right document does not count.
    pub fn lag(self, documents: usize) {
        self.change(KeyChange::Lag(documents));
    }

    /// Serves key documents with these sets in turn from now on, one per document, the first first,
    /// until [`stop_alternating`](Self::stop_alternating). A lag goes before them.
    ///
    /// # Panics
    /// Without any set.
    pub fn alternate(self, sets: Vec<PublishedKeys>) {
        assert!(!sets.is_empty(), "alternate() needs a set of keys");
        self.change(KeyChange::Alternate(sets));
    }

    /// Ends [`alternate`](Self::alternate).
    pub fn stop_alternating(self) {
        self.change(KeyChange::Alternate(Vec::new()));
    }

    /// Serves the next `documents` key documents without the key of this `kid`, be it the tenant's or not;
    /// then it is back. In a second call for the same key, the last number counts.
    pub fn omit(self, kid: &str, documents: usize) {
        self.change(KeyChange::Omit(kid.to_owned(), documents));
    }

    /// Adds a key of another cloud and one of personal accounts to the tenant's own key documents,
    /// as those of `common` have them, until [`reset`](Self::reset).
    pub fn publish_foreign(self) {
        self.change(KeyChange::Publish(Oddity::Foreign));
    }

    /// Adds the `kid` of their newest key to key documents once more, with the key that
    /// [`Flaw::WrongKey`](crate::Flaw::WrongKey) signs with, until [`reset`](Self::reset).
    pub fn publish_twin(self) {
        self.change(KeyChange::Publish(Oddity::Twin));
    }

    /// Adds entries to key documents that nobody should use, until [`reset`](Self::reset): an RSA
    /// key of 1024 bits; one without `kid`, which is the key that
    /// [`Flaw::WrongKey`](crate::Flaw::WrongKey) signs with; and one each of the types `AKP`, `OKP`
    /// and `oct`.
    pub fn publish_weak(self) {
        self.change(KeyChange::Publish(Oddity::WeakAndExotic));
    }

    /// Adds a private exponent (`d`), which is not the real one, to the entry of the newest key in
    /// key documents, until [`reset`](Self::reset).
    pub fn publish_private_half(self) {
        self.change(KeyChange::Publish(Oddity::PrivateHalf));
    }

    /// Adds this entry to key documents, until [`reset`](Self::reset).
    pub fn publish(self, entry: impl Into<Value>) {
        self.change(KeyChange::Publish(Oddity::Also(entry.into())));
    }

    /// Ends all that [`publish`](Self::publish) and the methods `publish_…` began, and nothing else.
    pub fn reset(self) {
        self.change(KeyChange::Reset);
    }

    fn change(self, change: KeyChange) {
        self.0.issuer().keys.apply(change);
    }
}
