//! The keys that seal, authenticate and sign.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use aws_lc_rs::{hkdf, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tower_entra_auth::entra_jwt_core::{ids::KeyId, keys::Key};
use tower_entra_auth::keys::KeySet;

use super::{ProxyKeys, Purpose, Unreadable, Versioned, read, write};
use crate::crypto::{base64url, random};
use crate::telemetry::{ThrottledLog, throttled};

/// The keys derived from all roots.
pub(crate) struct Keyring {
    /// The keys of each root, at least one. The first root signs and encrypts.
    sets: Vec<KeysOfRoot>,
    /// URL of this server.
    ///
    /// It is bound to every encrypted value and tag, so that those of one server are invalid at
    /// another.
    issuer: Box<str>,
    /// Throttle for log lines about values from a later version.
    later: ThrottledLog,
}

struct KeysOfRoot {
    id: [u8; ID_LEN],
    derived: Vec<(Purpose, LessSafeKey, hmac::Key)>,
    signing: EcdsaKeyPair,
    /// The public key as an uncompressed point (SEC 1): the byte 4, then both coordinates.
    point: Vec<u8>,
    verifying: Arc<Key>,
}

const ID_LEN: usize = 8;

impl Keyring {
    /// Derives the keys from their roots, or returns `None` if that fails. No root is known to
    /// fail.
    pub(crate) fn new(keys: &ProxyKeys, issuer: &str) -> Option<Self> {
        let sets = keys.roots.iter().map(KeysOfRoot::of);
        Some(Self {
            sets: sets.collect::<Option<_>>()?,
            issuer: issuer.into(),
            later: ThrottledLog::default(),
        })
    }

    /// Encrypts a value with its version, bound to a purpose and a context.
    pub(crate) fn seal<T: Versioned>(
        &self,
        purpose: Purpose,
        context: &[u8],
        value: &T,
    ) -> Option<Vec<u8>> {
        self.encrypt(purpose, context, |text| write(value, text))
    }

    /// Decrypts a value that this version of the server or an earlier one [sealed](Self::seal).
    pub(crate) fn open<T: Versioned>(
        &self,
        purpose: Purpose,
        context: &[u8],
        sealed: &[u8],
    ) -> Result<T, Unreadable> {
        let text = self.decrypt(purpose, context, sealed);
        let value = read(&text.ok_or(Unreadable::Malformed)?);
        if matches!(value, Err(Unreadable::Later)) {
            self.warn_of_later(T::NAME, T::VERSION);
        }
        value
    }

    /// Logs, at most once a minute, that a later version wrote a value.
    pub(crate) fn warn_of_later(&self, format: &'static str, reads_up_to: u8) {
        throttled!(
            error,
            self.later,
            ("written by a later version", format),
            format,
            reads_up_to,
            "written by a later version of this server; this version does not change it: start the \
             later version again, or wait until all instances run it"
        );
    }

    /// Encrypts the output of `write` under the first key, bound to a purpose and a context.
    fn encrypt(
        &self,
        purpose: Purpose,
        context: &[u8],
        write: impl FnOnce(&mut Vec<u8>) -> Option<()>,
    ) -> Option<Vec<u8>> {
        let keys = self.sets.first()?;
        let nonce: [u8; NONCE_LEN] = random();
        let mut sealed = Vec::with_capacity(ROOM);
        sealed.extend_from_slice(&keys.id);
        sealed.extend_from_slice(&nonce);
        let head = sealed.len();
        write(&mut sealed)?;
        let body = sealed.get_mut(head..)?;
        let key = keys.sealing(purpose)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.seal_in_place_separate_tag(nonce, self.aad(keys, context), body);
        sealed.extend_from_slice(tag.ok()?.as_ref());
        // The result may be kept for a long time.
        sealed.shrink_to_fit();
        Some(sealed)
    }

    /// Decrypts a value that was encrypted here for this purpose and context.
    fn decrypt(&self, purpose: Purpose, context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (id, rest) = sealed.split_at_checked(ID_LEN)?;
        let (nonce, body) = rest.split_at_checked(NONCE_LEN)?;
        let keys = self.sets.iter().find(|keys| keys.id == id)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = body.to_vec();
        let key = keys.sealing(purpose)?;
        let text = key.open_in_place(nonce, self.aad(keys, context), &mut body);
        let length = text.ok()?.len();
        body.truncate(length);
        Some(body)
    }

    /// Returns a tag that only the holder of the first key can make.
    pub(crate) fn tag(&self, purpose: Purpose, message: &[u8]) -> Vec<u8> {
        let first = self
            .sets
            .first()
            .and_then(|keys| keys.authenticating(purpose));
        first.map_or_else(Vec::new, |key| {
            hmac::sign(key, &self.tagged(message)).as_ref().to_vec()
        })
    }

    /// Returns whether `tag` is the message's tag under any of the keys.
    pub(crate) fn has_tag(&self, purpose: Purpose, message: &[u8], tag: &[u8]) -> bool {
        let message = self.tagged(message);
        let mut keys = self.sets.iter();
        keys.any(|keys| {
            let key = keys.authenticating(purpose);
            key.is_some_and(|key| hmac::verify(key, &message, tag).is_ok())
        })
    }

    /// Returns a token of this type with these claims, signed by the first signing key (ES256).
    pub(crate) fn token(&self, token_type: &str, claims: &[u8]) -> Option<String> {
        let keys = self.sets.first()?;
        let key_id = keys.verifying.id().as_str();
        let header = json!({ "alg": "ES256", "typ": token_type, "kid": key_id }).to_string();
        let parts = header.len() + claims.len() + SIGNATURE_LEN;
        let mut token = String::with_capacity(parts * 4 / 3 + 8);
        URL_SAFE_NO_PAD.encode_string(header, &mut token);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = keys.signing.sign(&SystemRandom::new(), token.as_bytes());
        let signature = with_low_s(signature.ok()?.as_ref())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Some(token)
    }

    /// Returns the public halves of all signing keys.
    pub(crate) fn key_set(&self) -> KeySet {
        self.sets
            .iter()
            .map(|keys| Arc::clone(&keys.verifying))
            .collect()
    }

    /// Returns the public keys as a document (RFC 7517, RFC 7518 §6.2), for services that verify
    /// tokens elsewhere.
    pub(crate) fn key_document(&self) -> Value {
        let keys = self.sets.iter().map(|keys| {
            let coordinates = keys.point.get(1..).unwrap_or_default();
            let (x, y) = coordinates.split_at(coordinates.len() / 2);
            json!({
                "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256",
                "kid": keys.verifying.id().as_str(), "x": base64url(x), "y": base64url(y),
            })
        });
        json!({ "keys": keys.collect::<Vec<_>>() })
    }

    fn aad(&self, keys: &KeysOfRoot, context: &[u8]) -> Aad<Vec<u8>> {
        let length = u32::try_from(self.issuer.len()).unwrap_or(u32::MAX);
        let parts = [
            &length.to_be_bytes(),
            self.issuer.as_bytes(),
            &keys.id,
            context,
        ];
        Aad::from(parts.concat())
    }

    fn tagged(&self, message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(self.issuer.len()).unwrap_or(u32::MAX);
        [&length.to_be_bytes(), self.issuer.as_bytes(), message].concat()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Keyring")
            .field("keys", &self.sets.len())
            .finish_non_exhaustive()
    }
}

impl KeysOfRoot {
    fn of(root: &[u8; 32]) -> Option<Self> {
        let root = Salt::new(HKDF_SHA256, b"entra-oauth-proxy").extract(root);
        let of_purposes = Purpose::ALL.map(|purpose| {
            let key = |kind: &str| derived::<32>(&root, &[purpose.label(), kind]);
            let sealing = UnboundKey::new(&AES_256_GCM_SIV, &key("seal")?).ok()?;
            let authenticating = hmac::Key::new(hmac::HMAC_SHA256, &key("tag")?);
            Some((purpose, LessSafeKey::new(sealing), authenticating))
        });
        let id = derived::<ID_LEN>(&root, &["id"])?;
        let (signing, point) = (0..=u8::MAX).find_map(|attempt| signing_key(&root, attempt))?;
        let verifying = Key::es256(KeyId::new(&base64url(&id))?, &point).ok()?;
        Some(Self {
            id,
            derived: of_purposes.into_iter().collect::<Option<_>>()?,
            signing,
            point,
            verifying: Arc::new(verifying),
        })
    }

    fn sealing(&self, purpose: Purpose) -> Option<&LessSafeKey> {
        let mut keys = self.derived.iter();
        keys.find(|(of, ..)| *of == purpose).map(|(_, key, _)| key)
    }

    fn authenticating(&self, purpose: Purpose) -> Option<&hmac::Key> {
        let mut keys = self.derived.iter();
        keys.find(|(of, ..)| *of == purpose).map(|(.., key)| key)
    }
}

/// Derives a P-256 key pair from a root.
///
/// Nearly every 32-byte number is a valid private key, so the first attempt nearly always succeeds.
fn signing_key(root: &Prk, attempt: u8) -> Option<(EcdsaKeyPair, Vec<u8>)> {
    let number = derived::<32>(root, &["sign", &attempt.to_string()])?;
    let private = PrivateKey::from_private_key(&ECDH_P256, &number).ok()?;
    let point = private.compute_public_key().ok()?.as_ref().to_vec();
    let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pair = EcdsaKeyPair::from_private_key_and_public_key(signing, &number, &point).ok()?;
    Some((pair, point))
}

/// Initial capacity for an encrypted value, in bytes.
///
/// Most values fit, so that writing them copies nothing.
const ROOM: usize = 4 * 1_024;

/// Length of a P-256 signature, in bytes.
const SIGNATURE_LEN: usize = 64;

/// Order of P-256 (SEC 2 §2.4.2).
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// Returns the P-256 signature with the lower one of `s` and `n - s`.
///
/// Both signatures are valid. The Layer accepts only the lower one, so that a client cannot turn a
/// token into a second valid text.
fn with_low_s(signature: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = signature.split_at_checked(32)?;
    let mut other = ORDER;
    let mut borrow = false;
    for (digit, of_s) in other.iter_mut().zip(s).rev() {
        let (less, first) = digit.overflowing_sub(*of_s);
        let (difference, second) = less.overflowing_sub(u8::from(borrow));
        (*digit, borrow) = (difference, first || second);
    }
    Some([r, s.min(&other[..])].concat())
}

fn derived<const N: usize>(root: &Prk, labels: &[&str]) -> Option<[u8; N]> {
    struct Length(usize);

    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }

    // No label contains a slash, so the joined text is unambiguous.
    let info = labels.join("/");
    let info = [info.as_bytes()];
    let mut key = [0; N];
    root.expand(&info, Length(N)).ok()?.fill(&mut key).ok()?;
    Some(key)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;
    use crate::crypto::from_base64url;

    const ISSUER: &str = "https://mcp.example.com";

    fn keyring(keys: &ProxyKeys) -> Keyring {
        Keyring::new(keys, ISSUER).unwrap()
    }

    fn sealed_text(ring: &Keyring, purpose: Purpose, context: &[u8]) -> Vec<u8> {
        let write = |text: &mut Vec<u8>| {
            text.extend_from_slice(b"text");
            Some(())
        };
        ring.encrypt(purpose, context, write).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_for_its_purpose_and_context_alone() {
        let keys = ProxyKeys::generate();
        let ring = keyring(&keys);
        let sealed = sealed_text(&ring, Purpose::SignIn, b"one");
        assert_eq!(
            ring.decrypt(Purpose::SignIn, b"one", &sealed).unwrap(),
            b"text"
        );
        assert_eq!(ring.decrypt(Purpose::SignIn, b"two", &sealed), None);
        assert_eq!(ring.decrypt(Purpose::Consent, b"one", &sealed), None);
        for issuer in ["https://other.example.com", "https://mcp.example.org"] {
            let elsewhere = Keyring::new(&keys, issuer).unwrap();
            assert_eq!(elsewhere.decrypt(Purpose::SignIn, b"one", &sealed), None);
        }
        assert_eq!(
            keyring(&ProxyKeys::generate()).decrypt(Purpose::SignIn, b"one", &sealed),
            None
        );
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert_eq!(
                ring.decrypt(Purpose::SignIn, b"one", &changed),
                None,
                "{index}"
            );
            assert_eq!(
                ring.decrypt(Purpose::SignIn, b"one", &sealed[..index]),
                None,
                "{index}"
            );
        }
        assert_ne!(sealed_text(&ring, Purpose::SignIn, b"one"), sealed);
    }

    #[test]
    fn a_tag_holds_for_its_purpose_and_message_alone() {
        let ring = keyring(&ProxyKeys::generate());
        let tag = ring.tag(Purpose::ClientSecret, b"one");
        assert_eq!(tag.len(), 32);
        assert!(ring.has_tag(Purpose::ClientSecret, b"one", &tag));
        assert!(!ring.has_tag(Purpose::ClientSecret, b"two", &tag));
        assert!(!ring.has_tag(Purpose::RefreshToken, b"one", &tag));
        assert!(!ring.has_tag(Purpose::ClientSecret, b"one", b""));
        assert!(!ring.has_tag(Purpose::ClientSecret, b"one", &tag[..31]));
    }

    #[test]
    fn a_tag_of_one_issuer_is_none_of_another() {
        let keys = ProxyKeys::generate();
        let of = |issuer: &str, message: &[u8]| {
            let ring = Keyring::new(&keys, issuer).unwrap();
            ring.tag(Purpose::RefreshToken, message)
        };
        assert_eq!(of(ISSUER, b"one"), of(ISSUER, b"one"));
        assert_ne!(of(ISSUER, b"one"), of("https://other.example.com", b"one"));
        // The boundary between issuer and message is part of the input.
        assert_ne!(
            of("https://a.example", b"/one"),
            of("https://a.example/one", b"")
        );
        let ring = Keyring::new(&keys, "https://a.example").unwrap();
        let sealed = sealed_text(&ring, Purpose::Record, b"/one");
        let ring = Keyring::new(&keys, "https://a.example/one").unwrap();
        assert_eq!(ring.decrypt(Purpose::Record, b"", &sealed), None);
    }

    #[test]
    fn each_seal_has_a_nonce_of_its_own() {
        let ring = keyring(&ProxyKeys::generate());
        let sealed = || sealed_text(&ring, Purpose::Record, b"");
        let (one, other) = (sealed(), sealed());
        // Key id, nonce, text, tag.
        assert_eq!(one.len(), 8 + 12 + 4 + 16);
        assert_eq!(one[..8], other[..8]);
        assert_ne!(one[8..20], other[8..20]);
    }

    #[test]
    fn each_purpose_has_keys_of_its_own() {
        let ring = keyring(&ProxyKeys::generate());
        for purpose in Purpose::ALL {
            let tag = ring.tag(purpose, b"one");
            let sealed = sealed_text(&ring, purpose, b"");
            for other in Purpose::ALL {
                let is_same = other == purpose;
                assert_eq!(
                    ring.has_tag(other, b"one", &tag),
                    is_same,
                    "{purpose:?} {other:?}"
                );
                let opened = ring.decrypt(other, b"", &sealed);
                assert_eq!(opened.is_some(), is_same, "{purpose:?} {other:?}");
            }
        }
    }

    #[test]
    fn the_first_key_makes_and_all_of_them_read() {
        let (old, new) = (ProxyKeys::generate(), ProxyKeys::generate());
        let both = ProxyKeys {
            roots: [new.roots.clone(), old.roots.clone()].concat(),
            is_generated: false,
        };
        let (old, new, both) = (keyring(&old), keyring(&new), keyring(&both));
        let by_old = sealed_text(&old, Purpose::Record, b"");
        let by_both = sealed_text(&both, Purpose::Record, b"");
        assert!(both.decrypt(Purpose::Record, b"", &by_old).is_some());
        assert!(new.decrypt(Purpose::Record, b"", &by_both).is_some());
        assert!(old.decrypt(Purpose::Record, b"", &by_both).is_none());
        assert!(both.has_tag(
            Purpose::ClientSecret,
            b"x",
            &old.tag(Purpose::ClientSecret, b"x")
        ));
        let by_both = both.tag(Purpose::ClientSecret, b"x");
        assert!(new.has_tag(Purpose::ClientSecret, b"x", &by_both));
        assert!(!old.has_tag(Purpose::ClientSecret, b"x", &by_both));
        assert_eq!(both.key_set().len(), 2);
        let by = |ring: &Keyring| {
            let token = ring.token("JWT", b"{}").unwrap();
            token.split('.').next().map(str::to_owned)
        };
        assert_eq!(by(&both), by(&new));
        assert_ne!(by(&both), by(&old));
    }

    #[test]
    fn of_the_two_spellings_of_a_signature_the_lower_one_is_written() {
        let ring = keyring(&ProxyKeys::generate());
        let half = "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8";
        let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
        for number in 0..64 {
            let claims = format!("{{\"number\":{number}}}");
            let token = ring.token("JWT", claims.as_bytes()).unwrap();
            let (input, signature) = token.rsplit_once('.').unwrap();
            let signature = from_base64url(signature).unwrap();
            assert!(hex(&signature[32..]).as_str() <= half, "{number}");
            let point = &ring.sets[0].point;
            let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
            assert!(public.verify(input.as_bytes(), &signature).is_ok());
        }
        let of = |s: [u8; 32]| with_low_s(&[[1; 32], s].concat()).unwrap();
        let (mut one, mut most) = ([0; 32], ORDER);
        one[31] = 1;
        most[31] -= 1;
        assert_eq!(of(most), of(one));
        assert_eq!(of(one)[32..], one);
    }

    /// Checks that both coordinates have 32 bytes each (RFC 7518 §6.2.1).
    #[test]
    fn the_key_document_has_both_coordinates_of_each_point() {
        let ring = keyring(&ProxyKeys::generate());
        let document = ring.key_document();
        let keys = document["keys"].as_array().unwrap();
        assert_eq!(keys.len(), ring.sets.len());
        for (key, set) in keys.iter().zip(&ring.sets) {
            let of = |name: &str| from_base64url(key[name].as_str().unwrap()).unwrap();
            assert_eq!((of("x").len(), of("y").len()), (32, 32));
            assert_eq!([vec![4], of("x"), of("y")].concat(), set.point);
            assert_eq!(key["kid"], set.verifying.id().as_str());
        }
    }

    #[test]
    fn keys_are_the_same_after_a_restart() {
        let text = base64url(&random::<32>());
        let one = keyring(&ProxyKeys::from_base64(&text).unwrap());
        let other = keyring(&ProxyKeys::from_base64(&format!(" {text}\n")).unwrap());
        let sealed = sealed_text(&one, Purpose::ClientId, b"");
        assert!(other.decrypt(Purpose::ClientId, b"", &sealed).is_some());
        let (one, other) = (one.key_set(), other.key_set());
        assert!(
            one.iter()
                .all(|key| other.iter().any(|same| same.is_same(key)))
        );
    }
}
