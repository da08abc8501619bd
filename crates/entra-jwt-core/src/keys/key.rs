//! A signing key of an issuer, prepared once so that verifying a signature needs no set-up.

use std::fmt;

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};

use super::{ES256, Jwk, RS256, roca, text};
use crate::base64url;
use crate::identifier::KeyId;
use crate::json;

/// A public key that can verify signatures, with the data that the issuer published beside it.
///
/// The key is opaque and bound to one algorithm. Keys that
/// [`KeySet::from_jwks`](crate::KeySet::from_jwks) reads, such as Entra's, verify RS256. Others
/// verify [ES256](Self::es256).
#[derive(Clone)]
pub struct Key {
    id: KeyId,
    issuer: Option<Box<str>>,
    cloud_instance_name: Option<Box<str>>,
    /// The cloud name in the discovery document that led to this key.
    discovered_cloud: Option<Box<str>>,
    material: Material,
    prepared: ParsedPublicKey,
}

/// The key material, without name and restrictions.
#[derive(Clone, Eq, PartialEq)]
enum Material {
    Rsa {
        modulus: Box<[u8]>,
        exponent: Box<[u8]>,
    },
    /// A point of P-256, uncompressed (SEC 1 §2.3.3).
    P256(Box<[u8]>),
}

/// Cause of an unusable entry of a key set.
///
/// The other entries of the set can be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UnusableKey {
    /// The entry is not a JSON object, or a needed member has the wrong type or occurs twice.
    #[error("malformed")]
    Malformed,
    /// The entry has no `kid`, an empty one, or one of more than 256 bytes.
    #[error("without a usable kid")]
    KeyId,
    /// The entry is not an RSA key (`kty`).
    ///
    /// A symmetric key whose value is published (`k`) is [`Private`](Self::Private) instead.
    #[error("not an RSA key")]
    KeyType,
    /// The entry is not for verifying signatures (`use`, `key_ops`).
    #[error("not for signatures")]
    Use,
    /// The entry is for another algorithm than RS256 (`alg`).
    #[error("not for RS256")]
    Algorithm,
    /// The entry is published with its private half: the key is compromised, and its issuer should
    /// know.
    #[error("published with private members")]
    Private,
    /// The key is too weak, or out of bounds.
    ///
    /// RSA: the modulus is not odd, or does not have 2048 to 8192 bits, or the exponent is not odd,
    /// or is not between 3 and 2^32. ES256: the public key is not an uncompressed point of P-256.
    #[error("too weak, or out of bounds")]
    Strength,
    /// The modulus has the fingerprint of the library whose private keys can be computed from the
    /// public ones (ROCA, CVE-2017-15361).
    #[error("made by a library whose private keys can be computed (ROCA)")]
    Roca,
    /// Another entry of the document has this `kid` and is not the same key: material, issuer or
    /// cloud differ. Neither entry is used.
    #[error("ambiguous: another key has the same kid")]
    Ambiguous,
}

impl Key {
    /// Prepares one entry of a JWKS document (RFC 7517 §4, RFC 7518 §6.3.1).
    pub(super) fn from_jwk(jwk: &Jwk<'_>) -> Result<Self, UnusableKey> {
        // Checked first: for every kind of key, a published private half must be reported.
        if jwk.is_private {
            return Err(UnusableKey::Private);
        }
        if jwk.has_duplicates {
            return Err(UnusableKey::Malformed);
        }
        if text(jwk.kty)?.as_deref() != Some("RSA") {
            return Err(UnusableKey::KeyType);
        }
        Self::from_public_jwk(jwk)
    }

    /// Returns the public half of an entry that was published with its private half, if it is a
    /// usable key.
    ///
    /// The entry's type, use and algorithm do not matter: under another name, the key could be for
    /// signatures.
    pub(super) fn exposed(jwk: &Jwk<'_>) -> Option<Self> {
        let has_name = jwk.id().is_some();
        let public = Jwk {
            kid: jwk.kid.filter(|_| has_name).or(Some("\"without a name\"")),
            n: jwk.n,
            // Only the modulus is compared.
            e: Some("\"AQAB\""),
            ..Jwk::default()
        };
        Self::from_public_jwk(&public).ok()
    }

    fn from_public_jwk(jwk: &Jwk<'_>) -> Result<Self, UnusableKey> {
        if text(jwk.usage)?.is_some_and(|usage| usage != "sig") || !may_verify(jwk.key_ops)? {
            return Err(UnusableKey::Use);
        }
        if text(jwk.alg)?.is_some_and(|algorithm| algorithm != RS256) {
            return Err(UnusableKey::Algorithm);
        }
        let id = text(jwk.kid)?
            .as_deref()
            .and_then(KeyId::new)
            .ok_or(UnusableKey::KeyId)?;
        let modulus = number(jwk.n)?;
        let exponent = number(jwk.e)?;
        if !is_strong(&modulus, &exponent) {
            return Err(UnusableKey::Strength);
        }
        if roca::has_fingerprint(&modulus) {
            return Err(UnusableKey::Roca);
        }
        let prepared = PublicKeyComponents {
            n: &*modulus,
            e: &*exponent,
        }
        .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
        .map_err(|_| UnusableKey::Strength)?;

        Ok(Self {
            id,
            issuer: not_blank(text(jwk.issuer)?.as_deref()),
            cloud_instance_name: not_blank(text(jwk.cloud_instance_name)?.as_deref()),
            discovered_cloud: None,
            material: Material::Rsa { modulus, exponent },
            prepared,
        })
    }

    /// Builds a key for ES256 (ECDSA on P-256 with SHA-256, RFC 7518 §3.4).
    ///
    /// Such a key belongs to an authorization server in front of Entra, whose tokens
    /// [`Validator::reissued`](crate::Validator::reissued) accepts. Entra has no such keys, and
    /// none is read from a key document.
    ///
    /// Anyone can turn a signature `(r, s)` into a second one of the same text, `(r, n - s)`. The
    /// key verifies only the one with the lower `s`, so that a token has one spelling. The signer
    /// must write that one.
    ///
    /// `public_key` is an uncompressed point of 65 bytes: the byte 4, then its two coordinates.
    ///
    /// # Errors
    /// [`UnusableKey::Strength`] if `public_key` is not an uncompressed point of P-256.
    pub fn es256(id: KeyId, public_key: &[u8]) -> Result<Self, UnusableKey> {
        // A compressed point would verify as well, but would not compare as equal.
        if public_key.len() != 65 {
            return Err(UnusableKey::Strength);
        }
        let prepared = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public_key)
            .map_err(|_| UnusableKey::Strength)?;
        Ok(Self {
            id,
            issuer: None,
            cloud_instance_name: None,
            discovered_cloud: None,
            material: Material::P256(public_key.into()),
            prepared,
        })
    }

    /// Returns the name by which tokens refer to this key.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// Returns the issuer that this key may sign for, as published.
    ///
    /// Usually it contains the literal `{tenantid}`. v1 documents publish no issuer.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Returns the cloud that this key belongs to, such as `microsoftonline.com`, if published.
    #[must_use]
    pub fn cloud_instance_name(&self) -> Option<&str> {
        self.cloud_instance_name.as_deref()
    }

    pub(crate) fn discovered_cloud(&self) -> Option<&str> {
        self.discovered_cloud.as_deref()
    }

    pub(super) fn set_discovered_cloud(&mut self, name: &str) {
        self.discovered_cloud = not_blank(Some(name));
    }

    /// Returns whether both keys have the same name, material, issuer and cloud, and were
    /// discovered in the same cloud.
    #[doc(hidden)] // for `tower-entra-auth` and similar crates
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.id == other.id
            && self.has_same_material(other)
            && self.issuer == other.issuer
            && self.cloud_instance_name == other.cloud_instance_name
            && self.discovered_cloud == other.discovered_cloud
    }

    /// Returns whether both keys have the same material. Other published data does not matter.
    #[doc(hidden)] // for `tower-entra-auth` and similar crates
    #[must_use]
    pub fn has_same_material(&self, other: &Self) -> bool {
        self.material == other.material
    }

    /// Returns whether both keys have the same modulus, or are the same point.
    ///
    /// With the private half of one key, an attacker can then sign with the other, even if the
    /// exponents differ.
    #[doc(hidden)] // for `tower-entra-auth` and similar crates
    #[must_use]
    pub fn has_same_modulus(&self, other: &Self) -> bool {
        match (&self.material, &other.material) {
            (Material::Rsa { modulus, .. }, Material::Rsa { modulus: other, .. }) => {
                modulus == other
            }
            (one, other) => one == other,
        }
    }

    /// Returns modulus and exponent of an RSA key, big-endian.
    ///
    /// They are for code that verifies with another library, such as `jsonwebtoken`'s
    /// `DecodingKey::from_rsa_raw_components`. Such code checks none of the rules of this crate.
    #[must_use]
    pub fn rsa_components(&self) -> Option<(&[u8], &[u8])> {
        match &self.material {
            Material::Rsa { modulus, exponent } => Some((modulus, exponent)),
            Material::P256(_) => None,
        }
    }

    /// Returns the uncompressed point (SEC 1 §2.3.3) of a key of the curve P-256.
    ///
    /// It is for code that verifies with another library: see
    /// [`rsa_components`](Self::rsa_components).
    #[must_use]
    pub fn ec_point(&self) -> Option<&[u8]> {
        match &self.material {
            Material::Rsa { .. } => None,
            Material::P256(point) => Some(point),
        }
    }

    /// Returns the one algorithm that the key verifies (RFC 7518 §3.1).
    pub(crate) fn algorithm(&self) -> &'static str {
        match self.material {
            Material::Rsa { .. } => RS256,
            Material::P256(_) => ES256,
        }
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let is_the_one_spelling = match self.material {
            Material::Rsa { .. } => true,
            Material::P256(_) => has_low_s(signature),
        };
        is_the_one_spelling && self.prepared.verify_sig(message, signature).is_ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Key")
            .field("id", &self.id)
            .field("issuer", &self.issuer)
            .field("cloud_instance_name", &self.cloud_instance_name)
            .finish_non_exhaustive()
    }
}

/// Half of the order of P-256 (SEC 2 §2.4.2), rounded down.
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xde, 0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];

/// Returns whether a signature of P-256 has the lower one of the two possible values `s` and
/// `n - s`.
///
/// Both values verify. The signature is `r`, then `s`, of 32 bytes each.
fn has_low_s(signature: &[u8]) -> bool {
    signature.get(32..).is_some_and(|s| *s <= HALF_ORDER[..])
}

/// Returns the text, unless it is blank.
///
/// A blank restriction restricts nothing, as in Microsoft's validator.
fn not_blank(text: Option<&str>) -> Option<Box<str>> {
    text.filter(|text| !text.trim().is_empty()).map(Into::into)
}

/// Returns whether `key_ops` is absent or names `verify`.
fn may_verify(key_ops: Option<&str>) -> Result<bool, UnusableKey> {
    let Some(operations) = key_ops.filter(|value| *value != "null") else {
        return Ok(true);
    };
    let mut operations = json::elements(operations).ok_or(UnusableKey::Malformed)?;
    Ok(operations.any(|operation| {
        let name = operation.ok().and_then(json::string);
        name.as_deref() == Some("verify")
    }))
}

/// Decodes a `Base64urlUInt` (RFC 7518 §2). One leading zero byte, which some issuers publish, is
/// removed.
fn number(member: Option<&str>) -> Result<Box<[u8]>, UnusableKey> {
    let bytes = text(member)?
        .as_deref()
        .and_then(base64url::decode)
        .ok_or(UnusableKey::Malformed)?;
    match bytes.split_first() {
        Some((0, rest)) => Ok(rest.into()),
        _ => Ok(bytes.into()),
    }
}

/// Returns whether modulus and exponent are within the bounds that aws-lc enforces only while it
/// verifies. Here they are checked when the key is loaded.
fn is_strong(modulus: &[u8], exponent: &[u8]) -> bool {
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    let no_leading_zero = |number: &[u8]| number.first().is_some_and(|byte| *byte != 0);
    let modulus_fits = match modulus.first() {
        // 2048 bits are 256 bytes with the highest bit set.
        Some(first) if modulus.len() == 256 => *first >= 0x80,
        _ => (257..=1024).contains(&modulus.len()),
    };
    let exponent_fits = exponent.len() <= 4 && exponent != [1];
    [modulus, exponent]
        .into_iter()
        .all(|number| odd(number) && no_leading_zero(number))
        && modulus_fits
        && exponent_fits
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::test_support::{ROCA_MODULUS, jwk, with};

    fn read(entry: &Value) -> Result<Key, UnusableKey> {
        read_text(&entry.to_string())
    }

    fn read_text(entry: &str) -> Result<Key, UnusableKey> {
        Key::from_jwk(&Jwk::read(entry).unwrap())
    }

    /// Returns the entry with one more member, which may repeat an existing one.
    fn with_text(entry: &Value, member: &str) -> String {
        entry.to_string().replacen('{', &format!("{{{member},"), 1)
    }

    #[test]
    fn a_key_as_entra_publishes_it_is_usable() {
        let key = read(&jwk()).unwrap();
        assert_eq!(key.cloud_instance_name(), Some("microsoftonline.com"));
        assert!(key.issuer().unwrap().contains("{tenantid}"));
    }

    #[test]
    fn members_that_are_not_needed_do_not_matter() {
        for (member, value) in [
            ("use", Value::Null),
            ("alg", Value::Null),
            ("alg", json!("RS256")),
            ("key_ops", Value::Null),
            ("key_ops", json!(["verify"])),
            ("issuer", Value::Null),
            ("cloud_instance_name", Value::Null),
            ("x5c", json!(5)),
            ("unknown", json!({})),
        ] {
            let entry = with(&jwk(), member, value);
            assert!(read(&entry).is_ok(), "{member}");
            let mut entry = entry;
            entry.as_object_mut().unwrap().remove(member);
            assert!(read(&entry).is_ok(), "without {member}");
        }
    }

    #[test]
    fn a_blank_issuer_or_cloud_restricts_nothing() {
        let entry = with(
            &with(&jwk(), "issuer", json!("")),
            "cloud_instance_name",
            json!(" "),
        );
        let key = read(&entry).unwrap();
        assert_eq!((key.issuer(), key.cloud_instance_name()), (None, None));
    }

    #[test]
    fn what_cannot_verify_a_token_of_entra_is_unusable() {
        let padded = format!("{}=", jwk()["n"].as_str().unwrap());
        for (member, value, reason) in [
            ("kty", json!("EC"), UnusableKey::KeyType),
            ("kty", json!("oct"), UnusableKey::KeyType),
            ("kty", json!("AKP"), UnusableKey::KeyType),
            ("kty", json!(5), UnusableKey::Malformed),
            ("d", json!("AQAB"), UnusableKey::Private),
            ("k", json!("AQAB"), UnusableKey::Private),
            ("use", json!("enc"), UnusableKey::Use),
            ("use", json!(["sig"]), UnusableKey::Malformed),
            ("key_ops", json!(["encrypt"]), UnusableKey::Use),
            ("alg", json!("PS256"), UnusableKey::Algorithm),
            ("alg", json!("SHA256"), UnusableKey::Algorithm),
            ("kid", json!(""), UnusableKey::KeyId),
            ("kid", json!(7), UnusableKey::Malformed),
            ("n", json!("AQAB"), UnusableKey::Strength),
            ("n", json!(padded), UnusableKey::Malformed),
            ("n", json!(""), UnusableKey::Strength),
            ("e", json!("AQ"), UnusableKey::Strength),
            ("e", json!("Ag"), UnusableKey::Strength),
            ("e", json!("AA"), UnusableKey::Strength),
            ("e", json!(""), UnusableKey::Strength),
            ("e", json!("AQAAAAE"), UnusableKey::Strength),
            ("n", json!(ROCA_MODULUS), UnusableKey::Roca),
            ("issuer", json!(5), UnusableKey::Malformed),
            ("cloud_instance_name", json!([]), UnusableKey::Malformed),
        ] {
            let entry = with(&jwk(), member, value.clone());
            assert_eq!(
                read(&entry).map(|key| key.id).unwrap_err(),
                reason,
                "{member}: {value}"
            );
        }
    }

    #[test]
    fn what_serde_json_cannot_read_is_skipped_where_it_is_not_needed() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for exotic in ["1e400", r#""\ud800""#, r#"{"\ud800":1e400}"#, &deep] {
            for member in [
                format!(r#""unknown":{exotic}"#),
                format!(r#""x5c":[{exotic}]"#),
                format!(r#""key_ops":[{exotic},"verify"]"#),
                format!(r#""\udfff":{exotic}"#),
            ] {
                let entry = with_text(&jwk(), &member);
                assert!(read_text(&entry).is_ok(), "{exotic:.20} {member:.20}");
            }
        }
    }

    #[test]
    fn what_serde_json_cannot_read_is_of_the_wrong_type_where_it_is_needed() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for exotic in ["1e400", r#""\ud800""#, &deep] {
            for member in [
                "kty",
                "use",
                "alg",
                "kid",
                "n",
                "e",
                "issuer",
                "cloud_instance_name",
            ] {
                let mut entry = jwk();
                entry.as_object_mut().unwrap().remove(member);
                let entry = with_text(&entry, &format!(r#""{member}":{exotic}"#));
                let reason = read_text(&entry).map(|key| key.id).unwrap_err();
                assert_eq!(reason, UnusableKey::Malformed, "{member} {exotic:.20}");
            }
        }
    }

    #[test]
    fn a_member_that_matters_stands_once_whatever_its_spelling() {
        for member in [
            r#""kty":"RSA""#,
            r#""use":"sig""#,
            r#""key_ops":["verify"],"key_ops":["verify"]"#,
            r#""alg":null,"alg":null"#,
            r#""kid":"other""#,
            r#""n":1e400"#,
            r#""\u0065":"AQAB""#,
            r#""issuer":"""#,
            r#""cloud_instance_name":null"#,
        ] {
            let entry = with_text(&jwk(), member);
            let reason = read_text(&entry).map(|key| key.id).unwrap_err();
            assert_eq!(reason, UnusableKey::Malformed, "{member}");
        }
        let entry = with_text(&jwk(), r#""x5t":"a","x5t":"b","Kid":"c""#);
        assert!(read_text(&entry).is_ok());
    }

    #[test]
    fn a_private_member_is_seen_whatever_its_spelling_and_value_and_company() {
        for member in [
            r#""d":null"#,
            r#""\u0064":"AQAB""#,
            r#""dp":1e400"#,
            r#""k":"\ud800""#,
            r#""p":"A","p":"B""#,
            r#""oth":[],"kid":"twin""#,
            r#""q":"A","kty":1e400"#,
        ] {
            let entry = with_text(&jwk(), member);
            let reason = read_text(&entry).map(|key| key.id).unwrap_err();
            assert_eq!(reason, UnusableKey::Private, "{member}");
        }
    }

    #[test]
    fn the_modulus_has_2048_to_8192_bits() {
        let modulus = |length: usize, first: u8| {
            let mut bytes = vec![0xff; length];
            bytes[0] = first;
            bytes
        };
        assert!(is_strong(&modulus(256, 0x80), &[3]));
        assert!(is_strong(&modulus(1024, 0xff), &[1, 0, 1]));
        assert!(!is_strong(&modulus(256, 0x7f), &[1, 0, 1]));
        assert!(!is_strong(&modulus(255, 0xff), &[1, 0, 1]));
        assert!(!is_strong(&modulus(1025, 0x01), &[1, 0, 1]));
        assert!(!is_strong(&[0xfe; 256], &[1, 0, 1]));
    }

    #[test]
    fn a_key_for_es256_is_a_point_of_its_curve() {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let id = || KeyId::new("k").unwrap();
        let point = pair.public_key().as_ref();
        let key = Key::es256(id(), point).unwrap();
        let other = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let other = Key::es256(id(), other.public_key().as_ref()).unwrap();
        assert!(key.has_same_material(&key) && key.has_same_modulus(&key));
        assert!(!key.has_same_material(&other) && !key.has_same_modulus(&other));
        assert!(!key.has_same_modulus(&read(&jwk()).unwrap()));

        let mut elsewhere = point.to_vec();
        elsewhere[64] ^= 1;
        for wrong in [&[][..], &point[1..], &point[..33], &elsewhere] {
            let reason = Key::es256(id(), wrong).map(|key| key.id).unwrap_err();
            assert_eq!(reason, UnusableKey::Strength);
        }
    }

    #[test]
    fn of_the_two_spellings_of_a_signature_the_lower_one_counts() {
        let signature = |s: [u8; 32]| [[1; 32], s].concat();
        let mut above = HALF_ORDER;
        above[31] += 1;
        assert!(has_low_s(&signature(HALF_ORDER)) && has_low_s(&signature([0; 32])));
        assert!(!has_low_s(&signature(above)) && !has_low_s(&signature([0xff; 32])));
        assert!(!has_low_s(&[]) && !has_low_s(&[0; 31]));
        // `HALF_ORDER` times two, plus one, is the order.
        let order: [u8; 32] = [
            0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63,
            0x25, 0x51,
        ];
        let mut carry = 1;
        for (half, whole) in HALF_ORDER.iter().zip(order).rev() {
            let doubled = u16::from(*half) * 2 + carry;
            assert_eq!(doubled & 0xff, u16::from(whole));
            carry = doubled >> 8;
        }
    }

    #[test]
    fn a_leading_zero_byte_of_the_modulus_is_tolerated() {
        use base64::Engine as _;
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let mut modulus = base64url::decode(jwk()["n"].as_str().unwrap()).unwrap();
        modulus.insert(0, 0);
        let entry = with(&jwk(), "n", json!(engine.encode(&modulus)));
        assert!(read(&entry).is_ok());
        modulus.insert(0, 0);
        let entry = with(&jwk(), "n", json!(engine.encode(&modulus)));
        assert!(read(&entry).is_err());
    }
}
