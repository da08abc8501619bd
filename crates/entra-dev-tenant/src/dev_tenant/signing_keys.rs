//! The handle on the tenant's keys: rotation, the content of the next JWKS documents, and entries
//! that no JWKS document should have.

use serde_json::Value;

use super::DevTenant;
use crate::endpoint::Fault;
use crate::keys::{KeyChange, Oddity, PublishedKeys};

/// A handle on the keys of a [`DevTenant`].
///
/// [`DevTenant::signing_keys`] returns it. It rotates the keys, and changes the content of the next
/// JWKS documents. The changes apply to the v1 and v2 documents of every authority except
/// `consumers`, whose key is not the tenant's. Faults of the responses are set at the
/// [`key_endpoint`](DevTenant::key_endpoint).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let tenant = entra_dev_tenant::DevTenant::start().await?;
/// let keys = tenant.signing_keys();
/// let old = keys.current_id();
/// keys.rotate(); // the next token has a new key …
/// keys.lag(2); // … which two more JWKS documents do not have
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

    /// Returns the `kid` of the tenant's current signing key.
    ///
    /// Tokens for an application with its own key are signed with that key instead.
    #[must_use]
    pub fn current_id(self) -> String {
        self.0.issuer().keys.signing().id.clone()
    }

    /// Returns the tenant's own v2 JWKS document as the tenant would serve it now.
    #[must_use]
    pub fn document(self) -> String {
        self.document_of(self.0.id())
    }

    /// Returns the v2 JWKS document of this authority as the tenant would serve it now.
    ///
    /// The authority is the tenant's id, `common`, `organizations` or `consumers`. For any other,
    /// the text is Entra's refusal.
    ///
    /// Shared documents have keys of the same owners as Entra's. `organizations` has the tenant's
    /// keys and one of another cloud. `common` also has one of personal accounts, and `consumers`
    /// has only this one.
    #[must_use]
    pub fn document_of(self, authority: &str) -> String {
        let issuer = self.0.issuer();
        match issuer.realm.authority(authority) {
            Ok(authority) => issuer.keys.peek(&issuer.realm, authority),
            Err(error) => error.body(&issuer.clock),
        }
        .to_string()
    }

    /// Returns the keys that are published now, with the entries that
    /// [`publish_weak`](Self::publish_weak) and the other `publish` methods add.
    ///
    /// Changes of single documents, such as [`lag`](Self::lag) and [`omit`](Self::omit), do not
    /// affect the result.
    #[must_use]
    pub fn published(self) -> PublishedKeys {
        self.0.issuer().keys.published()
    }

    /// Publishes a new key and signs with it from now on.
    ///
    /// The tenant never had this key before. The key is made now (about 90 ms), or comes from a
    /// tenant that has ended. The last six keys stay published.
    pub fn rotate(self) {
        self.change(KeyChange::Rotate);
    }

    /// Stops publishing all keys except the current one.
    pub fn withdraw_old(self) {
        self.change(KeyChange::WithdrawOld);
    }

    /// Publishes a new key, signs with it from now on, and stops publishing every older key, as
    /// after a leak.
    ///
    /// The tenant never had the new key before, as with [`rotate`](Self::rotate).
    pub fn replace_at_once(self) {
        self.change(KeyChange::Replace);
    }

    /// Responds to requests for keys, also those of `consumers`, with an empty set from now on.
    ///
    /// This is a fault of the [`key_endpoint`](DevTenant::key_endpoint).
    pub fn serve_none(self) -> Fault<'t> {
        let body = r#"{"keys":[]}"#;
        self.0
            .key_endpoint()
            .answer_with(200, "application/json", body)
    }

    /// Serves old keys, from before the latest [rotation](Self::rotate) or
    /// [replacement](Self::replace_at_once), in this number of JWKS documents.
    ///
    /// The rotation or replacement may come before this call or after it. 0 ends the lag. A request
    /// does not count if a fault responds to it without the normal document.
    pub fn lag(self, documents: usize) {
        self.change(KeyChange::Lag(documents));
    }

    /// Serves JWKS documents with these sets in turn from now on, until
    /// [`stop_alternating`](Self::stop_alternating).
    ///
    /// Each document has one set, and the first document has the first set. A [`lag`](Self::lag)
    /// takes precedence over the sets.
    ///
    /// # Panics
    /// If `sets` is empty.
    pub fn alternate(self, sets: Vec<PublishedKeys>) {
        assert!(
            !sets.is_empty(),
            "alternate() needs at least one set of keys"
        );
        self.change(KeyChange::Alternate(sets));
    }

    /// Ends [`alternate`](Self::alternate).
    pub fn stop_alternating(self) {
        self.change(KeyChange::Alternate(Vec::new()));
    }

    /// Leaves the key with this `kid`, of the tenant or not, out of this number of JWKS documents.
    ///
    /// After these documents, the key is back. If the method is called again for the same key, only
    /// the last number counts.
    pub fn omit(self, kid: &str, documents: usize) {
        self.change(KeyChange::Omit(kid.to_owned(), documents));
    }

    /// Adds a key of another cloud and one of personal accounts to the tenant's own JWKS documents,
    /// until [`reset`](Self::reset).
    ///
    /// The documents of `common` always have these keys.
    pub fn publish_foreign(self) {
        self.change(KeyChange::Publish(Oddity::Foreign));
    }

    /// Adds a second entry with the `kid` of the newest key to JWKS documents, until
    /// [`reset`](Self::reset).
    ///
    /// Its key is the one that signs tokens with [`Flaw::WrongKey`](crate::Flaw::WrongKey).
    pub fn publish_twin(self) {
        self.change(KeyChange::Publish(Oddity::Twin));
    }

    /// Adds entries that no client should use to JWKS documents, until [`reset`](Self::reset).
    ///
    /// The entries are an RSA key of 1024 bits, one key without `kid`, and one entry each of the
    /// types `AKP`, `OKP` and `oct`. The key without `kid` is the one that signs tokens with
    /// [`Flaw::WrongKey`](crate::Flaw::WrongKey).
    pub fn publish_weak(self) {
        self.change(KeyChange::Publish(Oddity::WeakAndExotic));
    }

    /// Adds a private exponent (`d`) to the entry of the newest key in JWKS documents, until
    /// [`reset`](Self::reset).
    ///
    /// The exponent is not the real one.
    pub fn publish_private_half(self) {
        self.change(KeyChange::Publish(Oddity::PrivateHalf));
    }

    /// Adds this entry to JWKS documents, until [`reset`](Self::reset).
    pub fn publish(self, entry: impl Into<Value>) {
        self.change(KeyChange::Publish(Oddity::Also(entry.into())));
    }

    /// Removes all that [`publish`](Self::publish) and the `publish_…` methods have added, and
    /// nothing else.
    pub fn reset(self) {
        self.change(KeyChange::Reset);
    }

    fn change(self, change: KeyChange) {
        self.0.issuer().keys.apply(change);
    }
}
