//! The keys of one issuer, from a JWKS document (RFC 7517 §5).

use std::collections::HashMap;
use std::sync::Arc;

use super::Jwk;
use super::key::{Key, UnusableKey};
use crate::identifier::KeyId;
use crate::json::{self, NotJson};

/// The usable keys of a JWKS document, with the issuer and cloud that were discovered with them.
///
/// Each entry is read on its own: an unusable or exotic entry never hides the good ones.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: HashMap<KeyId, Arc<Key>>,
    unusable: Vec<(Option<KeyId>, UnusableKey)>,
    /// The public halves of keys that were published with their private halves.
    exposed: Vec<Arc<Key>>,
    issuer: Option<Box<str>>,
    cloud_instance_name: Option<Box<str>>,
}

/// The document as a whole is not a key set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKeySet {
    /// The document is not a JSON object with one array `keys`.
    #[error("not a JWKS document: expected an object with an array \"keys\"")]
    Malformed,
    /// The document has more than [`KeySet::MAX_KEYS`] entries, which no key server ever has.
    #[error("more than {} keys", KeySet::MAX_KEYS)]
    TooManyKeys,
}

impl From<NotJson> for InvalidKeySet {
    fn from(NotJson: NotJson) -> Self {
        Self::Malformed
    }
}

impl KeySet {
    /// Maximum number of entries in a document.
    ///
    /// Entra's documents have 4 to 14.
    pub const MAX_KEYS: usize = 100;

    /// Reads a JWKS document.
    ///
    /// Two entries with the same `kid` that are not the same key make both unusable. A key that is
    /// published with its private half makes every entry with its `kid` or its modulus unusable,
    /// because anyone can sign with it. [`unusable`](Self::unusable) lists the entries that cannot
    /// be used.
    ///
    /// # Errors
    /// If the document as a whole is not a key set. A set without any usable key is not an error
    /// here: see [`is_empty`](Self::is_empty).
    pub fn from_jwks(document: &[u8]) -> Result<Self, InvalidKeySet> {
        let mut set = Self::default();
        let mut ambiguous = Vec::new();
        for entry in entries(document)? {
            let Some(jwk) = Jwk::read(entry) else {
                set.unusable.push((None, UnusableKey::Malformed));
                continue;
            };
            match Key::from_jwk(&jwk) {
                Ok(key) => match set.keys.get(key.id()) {
                    Some(twin) if !twin.is_same(&key) => ambiguous.push(key.id().clone()),
                    Some(_) => {}
                    None => {
                        set.keys.insert(key.id().clone(), Arc::new(key));
                    }
                },
                Err(reason) => {
                    set.unusable.push((jwk.id(), reason));
                    if reason == UnusableKey::Private {
                        set.exposed.extend(Key::exposed(&jwk).map(Arc::new));
                    }
                }
            }
        }
        for id in ambiguous {
            if set.keys.remove(&id).is_some() {
                set.unusable.push((Some(id), UnusableKey::Ambiguous));
            }
        }
        let compromised: Vec<KeyId> = set
            .iter()
            .filter(|key| set.is_leaked(key))
            .map(|key| key.id().clone())
            .collect();
        for id in compromised {
            set.keys.remove(&id);
            let unusable = (Some(id), UnusableKey::Private);
            if !set.unusable.contains(&unusable) {
                set.unusable.push(unusable);
            }
        }
        Ok(set)
    }

    /// Returns whether this document publishes the private half of the key, by its `kid` or its
    /// modulus.
    ///
    /// A program that holds such a key from an earlier document must drop it immediately.
    #[doc(hidden)] // for `tower-entra-auth` and similar crates
    #[must_use]
    pub fn is_leaked(&self, key: &Key) -> bool {
        self.exposed
            .iter()
            .any(|exposed| exposed.has_same_modulus(key))
            || self
                .unusable()
                .any(|(id, reason)| reason == UnusableKey::Private && id == Some(key.id()))
    }

    /// Returns the public halves of the keys that this document publishes with their private
    /// halves.
    #[doc(hidden)] // for `tower-entra-auth` and similar crates
    pub fn leaked(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.exposed.iter()
    }

    /// Sets the `issuer` of the discovery document that led to these keys.
    #[must_use]
    pub fn with_issuer(mut self, issuer: &str) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Sets the `cloud_instance_name` of the discovery document that led to these keys.
    ///
    /// If the cloud's name is not known otherwise (External ID), a key must have the same name.
    #[must_use]
    pub fn with_cloud_instance_name(mut self, name: &str) -> Self {
        for key in self.keys.values_mut() {
            Arc::make_mut(key).set_discovered_cloud(name);
        }
        self.cloud_instance_name = Some(name.into());
        self
    }

    /// Returns the key with this id.
    #[must_use]
    pub fn key(&self, id: &KeyId) -> Option<&Key> {
        self.keys.get(id).map(Arc::as_ref)
    }

    /// Returns the keys, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keys.values()
    }

    /// Returns the number of usable keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns whether no key is usable.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the entries that cannot be used, by `kid` if it is usable, each with the cause.
    pub fn unusable(&self) -> impl Iterator<Item = (Option<&KeyId>, UnusableKey)> {
        self.unusable
            .iter()
            .map(|(id, reason)| (id.as_ref(), *reason))
    }

    /// Returns the issuer that was discovered with the keys.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Returns the cloud that was discovered with the keys.
    #[must_use]
    pub fn cloud_instance_name(&self) -> Option<&str> {
        self.cloud_instance_name.as_deref()
    }
}

impl FromIterator<Arc<Key>> for KeySet {
    /// Builds a set of keys that were read before.
    fn from_iter<I: IntoIterator<Item = Arc<Key>>>(keys: I) -> Self {
        Self {
            keys: keys
                .into_iter()
                .map(|key| (key.id().clone(), key))
                .collect(),
            ..Self::default()
        }
    }
}

/// Returns the texts of the entries.
///
/// The whole document is known to be JSON before any entry is read. The search ends at the first
/// entry above the maximum.
fn entries(document: &[u8]) -> Result<Vec<&str>, InvalidKeySet> {
    let document = std::str::from_utf8(document).map_err(|_| InvalidKeySet::Malformed)?;
    let keys = keys_member(document)?.ok_or(InvalidKeySet::Malformed)?;
    let entries: Vec<&str> = json::elements(keys)
        .ok_or(InvalidKeySet::Malformed)?
        .take(KeySet::MAX_KEYS.saturating_add(1))
        .collect::<Result<_, _>>()?;
    if entries.len() > KeySet::MAX_KEYS {
        return Err(InvalidKeySet::TooManyKeys);
    }
    Ok(entries)
}

/// Returns the text of `keys`.
///
/// A second `keys` is refused: by RFC 7517 §5 the last one counts, but another reader may take the
/// first.
fn keys_member(document: &str) -> Result<Option<&str>, InvalidKeySet> {
    let mut keys = None;
    for member in json::members(document).ok_or(InvalidKeySet::Malformed)? {
        let (name, value) = member?;
        let is_keys = json::string(name).as_deref() == Some("keys");
        if is_keys && keys.replace(value).is_some() {
            return Err(InvalidKeySet::Malformed);
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::test_support::{jwk, second_jwk, with};

    fn read(keys: &Value) -> KeySet {
        read_text(&keys.to_string())
    }

    fn read_text(keys: &str) -> KeySet {
        KeySet::from_jwks(format!(r#"{{"keys":{keys}}}"#).as_bytes()).unwrap()
    }

    fn error(document: &[u8]) -> InvalidKeySet {
        KeySet::from_jwks(document).unwrap_err()
    }

    #[test]
    fn an_exotic_key_does_not_cost_the_good_one() {
        let good = jwk();
        for exotic in [
            json!(null),
            json!("key"),
            json!({ "kty": "AKP", "alg": "ML-DSA-65", "pub": "AQAB" }),
            json!({ "kty": "OKP", "crv": "X25519", "kid": 5 }),
            with(&good, "kid", json!({ "not": "a string" })),
            with(&with(&good, "kid", json!("weak")), "e", json!("AQ")),
        ] {
            let set = read(&json!([exotic.clone(), good.clone()]));
            assert_eq!(set.len(), 1, "{exotic}");
            assert_eq!(set.unusable().count(), 1, "{exotic}");
        }
    }

    #[test]
    fn an_entry_that_serde_json_cannot_read_costs_only_itself() {
        let good = jwk();
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for exotic in [
            "1e400",
            r#""\ud800""#,
            &deep,
            r#"{"kty":1e400}"#,
            r#"{"kty":"RSA","kid":"\ud800"}"#,
            r#"{"\ud800":"\udc00"}"#,
            r#"{"kty":"RSA","kty":"RSA"}"#,
            &format!(r#"{{"kid":{deep}}}"#),
        ] {
            for keys in [format!("[{exotic},{good}]"), format!("[{good},{exotic}]")] {
                let set = read_text(&keys);
                assert_eq!(set.len(), 1, "{exotic:.40}");
                let (id, reason) = set.unusable().next().unwrap();
                assert_eq!(id, None, "{exotic:.40}");
                assert_ne!(reason, UnusableKey::Private, "{exotic:.40}");
                assert_eq!(set.unusable().count(), 1, "{exotic:.40}");
            }
        }
    }

    #[test]
    fn an_exotic_member_of_the_document_costs_no_key() {
        for exotic in ["1e400", r#""\ud800""#, r#"{"keys":1e400}"#] {
            let document = format!(r#"{{"x":{exotic},"\ud800":0,"keys":[{}]}}"#, jwk());
            let set = KeySet::from_jwks(document.as_bytes()).unwrap();
            assert_eq!(set.len(), 1, "{exotic}");
        }
    }

    #[test]
    fn an_exotic_member_does_not_hide_that_a_key_is_published_with_its_private_half() {
        let modulus = &jwk()["n"];
        let renamed = with(&jwk(), "kid", json!("renamed"));
        for private in [
            format!(r#"{{"d":1e400,"n":{modulus}}}"#),
            format!(r#"{{"kty":"\ud800","n":{modulus},"d":""}}"#),
            format!(r#"{{"kid":"a","kid":"b","n":{modulus},"d":""}}"#),
            format!(r#"{{"\u0064":"","e":1e400,"n":{modulus}}}"#),
        ] {
            let set = read_text(&format!("[{renamed},{private}]"));
            assert!(set.is_empty(), "{private}");
            assert_eq!(set.leaked().count(), 1, "{private}");
        }
    }

    #[test]
    fn one_kid_with_two_materials_is_nobodys() {
        let twin = with(&second_jwk(), "kid", jwk()["kid"].clone());
        let third = with(&second_jwk(), "kid", json!("third"));
        let set = read(&json!([jwk(), twin.clone(), third, twin]));
        assert_eq!(set.len(), 1);
        assert_eq!(
            set.unusable().map(|(_, reason)| reason).collect::<Vec<_>>(),
            [UnusableKey::Ambiguous]
        );
    }

    #[test]
    fn one_kid_with_two_issuers_or_clouds_is_nobodys() {
        for member in ["issuer", "cloud_instance_name"] {
            let twin = with(
                &jwk(),
                member,
                json!("https://other.example/{tenantid}/v2.0"),
            );
            for order in [json!([jwk(), twin]), json!([twin, jwk()])] {
                assert!(read(&order).is_empty(), "{member}");
            }
        }
    }

    #[test]
    fn a_key_published_with_its_private_half_is_nobodys_whatever_stands_beside_it() {
        let private = with(&jwk(), "d", json!("AQAB"));
        let renamed = with(&jwk(), "kid", json!("renamed"));
        let reused = with(&second_jwk(), "kid", jwk()["kid"].clone());
        for twin in [jwk(), renamed, reused] {
            for order in [json!([private, twin]), json!([twin, private])] {
                let set = read(&order);
                assert!(set.is_empty(), "{twin}");
            }
        }
        // Neither the declared purpose of the private entry matters, nor whether it has a name.
        let renamed = with(&jwk(), "kid", json!("renamed"));
        for (member, value) in [
            ("use", json!("enc")),
            ("alg", json!("PS256")),
            ("key_ops", json!(["sign"])),
            ("kid", json!(null)),
            ("kid", json!("")),
            ("kty", json!(null)),
            ("kty", json!("EC")),
            ("e", json!("Aw")),
            ("e", json!(null)),
            ("issuer", json!("https://other.example/")),
        ] {
            let private = with(&private, member, value);
            assert!(read(&json!([private, renamed])).is_empty(), "{member}");
        }
        let set = read(&json!([private, second_jwk()]));
        assert_eq!(set.len(), 1);
        let held = read(&json!([jwk(), second_jwk()]));
        let exposed: Vec<bool> = held.iter().map(|key| set.is_leaked(key)).collect();
        assert_eq!(exposed.iter().filter(|exposed| **exposed).count(), 1);
    }

    #[test]
    fn a_key_published_with_its_private_half_is_listed_once_under_each_of_its_names() {
        let private = with(&jwk(), "d", json!("AQAB"));
        let renamed = with(&jwk(), "kid", json!("renamed"));
        let set = read(&json!([jwk(), renamed, private, second_jwk()]));
        let listed = set
            .unusable()
            .map(|(id, reason)| (id.unwrap().as_str(), reason));
        let mut listed: Vec<(&str, UnusableKey)> = listed.collect();
        listed.sort_unstable_by_key(|(id, _)| *id);
        let expected = ["first", "renamed"].map(|id| (id, UnusableKey::Private));
        assert_eq!(listed, expected);
    }

    #[test]
    fn the_same_key_twice_is_one_key() {
        let set = read(&json!([jwk(), jwk()]));
        assert_eq!((set.len(), set.unusable().count()), (1, 0));
    }

    #[test]
    fn an_unusable_twin_is_left_out_before_ambiguity_is_judged() {
        let encryption = with(
            &with(&second_jwk(), "kid", jwk()["kid"].clone()),
            "use",
            json!("enc"),
        );
        assert_eq!(read(&json!([encryption, jwk()])).len(), 1);
    }

    #[test]
    fn other_documents_are_no_key_set() {
        for document in [
            "",
            "[]",
            "{}",
            "{\"keys\":5}",
            "{\"keys\":null}",
            "{\"keys\":{}}",
            "{\"Keys\":[]}",
            "{\"keys\":[],\"keys\":[]}",
            "{\"keys\":[],\"k\\u0065ys\":[]}",
            "<html>",
            "{\"error\":\"x\"}",
            "\u{feff}{\"keys\":[]}",
        ] {
            let error = error(document.as_bytes());
            assert!(matches!(error, InvalidKeySet::Malformed), "{document}");
        }
    }

    #[test]
    fn what_is_not_json_to_its_end_is_no_key_set_whatever_keys_are_in_it() {
        let good = format!(r#"{{"keys":[{}],"x":0}}"#, jwk());
        assert!(KeySet::from_jwks(format!(" {good}\r\n").as_bytes()).is_ok());
        for length in 0..good.len() {
            let error = error(&good.as_bytes()[..length]);
            assert!(matches!(error, InvalidKeySet::Malformed), "{length} bytes");
        }
        for document in [
            format!("{good}x"),
            format!("{good}{good}"),
            format!("<!-- -->{good}"),
            good.replace("[{", "[01,{"),
            good.replace("[{", "[{\"a\":nul},{"),
            good.replace("[{", "[\"\n\",{"),
            good.replace("\"x\":0", "\"x\":[}"),
            good.replace("\"x\":0", "\"x\":0,"),
        ] {
            let error = error(document.as_bytes());
            assert!(matches!(error, InvalidKeySet::Malformed), "{document}");
        }
        let latin = [&good.as_bytes()[..good.len() - 2], b"\"\xe9\"}"].concat();
        assert!(matches!(error(&latin), InvalidKeySet::Malformed));
    }

    #[test]
    fn the_number_of_keys_is_bounded() {
        let document = |count: usize| json!({ "keys": vec![json!(null); count] }).to_string();
        assert!(KeySet::from_jwks(document(100).as_bytes()).is_ok());
        for count in [101, 10_000] {
            let error = error(document(count).as_bytes());
            assert!(matches!(error, InvalidKeySet::TooManyKeys), "{count}");
            assert_eq!(error.to_string(), "more than 100 keys");
        }
    }
}
