//! The proxy's own keys: each for one purpose, all of one root, and several roots while one takes the
//! place of another.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::rand::{SystemRandom, fill};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use aws_lc_rs::{digest, hkdf, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tower_entra_auth::KeySet;
use tower_entra_auth::entra_jwt_core::{Key, KeyId};

use crate::telemetry::log::RefusalLog;

/// The roots of all the proxy's keys: secrets of 32 bytes, from which a key for each purpose is
/// derived (HKDF, RFC 5869).
///
/// The first signs and encrypts, the others only verify and decrypt. To replace a key where there are
/// several instances, add the new one at the end everywhere, then move it to the front, so that none
/// meets what it cannot read; take the old one away once what it made is over: with it go the
/// registrations of clients that were made under it, and the sign-ins.
///
/// They have nothing to do with Entra's credential: replacing that signs nobody out.
#[derive(Clone)]
pub struct ProxyKeys {
    roots: Vec<[u8; 32]>,
    is_generated: bool,
}

/// The text is no list of keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKeys {
    /// There is none.
    #[error("no key; make one with: openssl rand -base64 32")]
    Missing,
    /// One is not 32 bytes in base64.
    #[error("key {number} is not 32 bytes in base64; make one with: openssl rand -base64 32")]
    Malformed {
        /// Which one, counted from 1.
        number: usize,
    },
    /// One repeats itself, as no random key does: an example, most likely.
    #[error("key {number} is not random; make one with: openssl rand -base64 32")]
    NotRandom {
        /// Which one, counted from 1.
        number: usize,
    },
}

impl ProxyKeys {
    /// Parses keys in base64, separated by commas or white space; the first signs and encrypts. A line that
    /// begins with `#` is a comment.
    ///
    /// # Errors
    /// If there is none, or if one of them is not 32 random bytes.
    pub fn from_base64(text: &str) -> Result<Self, InvalidKeys> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let texts = lines.flat_map(|line| line.split(|c: char| c == ',' || c.is_whitespace()));
        let texts = texts.filter(|text| !text.is_empty());
        let roots: Vec<[u8; 32]> = texts
            .enumerate()
            .map(|(index, text)| root(text, index + 1))
            .collect::<Result<_, _>>()?;
        if roots.is_empty() {
            return Err(InvalidKeys::Missing);
        }
        Ok(Self {
            roots,
            is_generated: false,
        })
    }

    /// The same from an environment variable, such as `ENTRA_PROXY_KEYS`.
    ///
    /// # Errors
    /// As [`from_base64`](Self::from_base64); a variable that is not set has no key.
    pub fn from_env(variable: &str) -> Result<Self, InvalidKeys> {
        Self::from_base64(&std::env::var(variable).unwrap_or_default())
    }

    /// A key that is made now, and gone with this process: everybody registers and signs in again
    /// after a restart, and a second instance does not know it.
    #[must_use]
    pub fn generate() -> Self {
        Self {
            roots: vec![random()],
            is_generated: true,
        }
    }

    /// Keys that are there again at the next start.
    #[cfg(feature = "redb")]
    pub(crate) fn kept(self) -> Self {
        Self {
            is_generated: false,
            ..self
        }
    }

    /// As [`from_base64`](Self::from_base64) reads it: a secret.
    #[cfg(feature = "redb")]
    pub(crate) fn to_base64(&self) -> String {
        let roots = self.roots.iter().map(|root| STANDARD.encode(root));
        roots.collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn is_generated(&self) -> bool {
        self.is_generated
    }
}

impl fmt::Debug for ProxyKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ProxyKeys")
            .field("keys", &self.roots.len())
            .finish_non_exhaustive()
    }
}

fn root(text: &str, number: usize) -> Result<[u8; 32], InvalidKeys> {
    let engines = [&STANDARD, &URL_SAFE, &STANDARD_NO_PAD, &URL_SAFE_NO_PAD];
    let bytes = engines.iter().find_map(|engine| engine.decode(text).ok());
    let root: [u8; 32] = bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(InvalidKeys::Malformed { number })?;
    let mut different = root.to_vec();
    different.sort_unstable();
    different.dedup();
    match different.len() < 12 {
        true => Err(InvalidKeys::NotRandom { number }),
        false => Ok(root),
    }
}

/// Random bytes. The operating system's generator is seeded by the time that a program runs.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(
        clippy::expect_used,
        reason = "aws-lc's generator aborts rather than fails, and no answer without it is safe"
    )]
    fill(&mut bytes).expect("the random generator");
    bytes
}

/// Random text of the base64url alphabet, of 4 characters for 3 bytes.
pub(crate) fn random_text<const N: usize>() -> String {
    base64url(&random::<N>())
}

/// A random GUID, as Entra's log has them.
pub(crate) fn random_guid() -> String {
    uuid::Builder::from_random_bytes(random())
        .into_uuid()
        .to_string()
}

pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn from_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// SHA-256 as base64url: what is stored or logged in place of a secret or of something long.
pub(crate) fn hash(text: &str) -> String {
    base64url(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

/// Whether both are the same, in a time that does not depend on where they differ.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

/// What something is sealed or authenticated for: nothing that was made for one purpose passes for
/// another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// The registration in a client id.
    ClientId,
    /// The secret of a client.
    ClientSecret,
    /// What a person is asked to consent to, in the page's form.
    Consent,
    /// What is under way at Entra, in the browser's cookie.
    SignIn,
    /// A record in the store.
    Record,
    /// A refresh token.
    RefreshToken,
}

impl Purpose {
    const ALL: [Self; 6] = [
        Self::ClientId,
        Self::ClientSecret,
        Self::Consent,
        Self::SignIn,
        Self::Record,
        Self::RefreshToken,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::ClientId => "client id",
            Self::ClientSecret => "client secret",
            Self::Consent => "consent",
            Self::SignIn => "sign-in",
            Self::Record => "record",
            Self::RefreshToken => "refresh token",
        }
    }
}

/// The keys at work.
pub(crate) struct Keyring {
    /// At least one; the first signs and seals.
    sets: Vec<KeysOfRoot>,
    /// Part of everything that is sealed: what one server made is nothing to another.
    issuer: Box<str>,
    /// Of what a later version of this server made.
    pub(crate) later: RefusalLog,
}

struct KeysOfRoot {
    id: [u8; ID_LEN],
    derived: Vec<(Purpose, LessSafeKey, hmac::Key)>,
    signing: EcdsaKeyPair,
    /// The public half, as SEC 1 has it: 4, and both coordinates.
    point: Vec<u8>,
    verifying: Arc<Key>,
}

const ID_LEN: usize = 8;

/// The keys cannot be made of their root. No root is known of which that is so.
#[derive(Debug)]
pub(crate) struct NoKeys;

impl Keyring {
    pub(crate) fn new(keys: &ProxyKeys, issuer: &str) -> Result<Self, NoKeys> {
        let sets = keys.roots.iter().map(KeysOfRoot::of);
        Ok(Self {
            sets: sets.collect::<Option<_>>().ok_or(NoKeys)?,
            issuer: issuer.into(),
            later: RefusalLog::default(),
        })
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Encrypts what is written, and binds it to its purpose and its context, under the first key.
    pub(crate) fn seal(
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
        // It may be kept for long.
        sealed.shrink_to_fit();
        Some(sealed)
    }

    /// What was sealed, if it was sealed here, for this purpose and in this context.
    pub(crate) fn open(&self, purpose: Purpose, context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
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

    /// A tag that only the holder of the first key can make.
    pub(crate) fn tag(&self, purpose: Purpose, message: &[u8]) -> Vec<u8> {
        let first = self
            .sets
            .first()
            .and_then(|keys| keys.authenticating(purpose));
        first.map_or_else(Vec::new, |key| {
            hmac::sign(key, &self.tagged(message)).as_ref().to_vec()
        })
    }

    /// Whether it is the message's tag, by any of the keys.
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

    /// The public halves of all signing keys.
    pub(crate) fn key_set(&self) -> KeySet {
        self.sets
            .iter()
            .map(|keys| Arc::clone(&keys.verifying))
            .collect()
    }

    /// The same as a document (RFC 7517, RFC 7518 §6.2), for those who verify elsewhere.
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

/// A key pair of P-256: nearly every number of 32 bytes is a private key, so nearly always the first
/// attempt is one.
fn signing_key(root: &Prk, attempt: u8) -> Option<(EcdsaKeyPair, Vec<u8>)> {
    let number = derived::<32>(root, &["sign", &attempt.to_string()])?;
    let private = PrivateKey::from_private_key(&ECDH_P256, &number).ok()?;
    let point = private.compute_public_key().ok()?.as_ref().to_vec();
    let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pair = EcdsaKeyPair::from_private_key_and_public_key(signing, &number, &point).ok()?;
    Some((pair, point))
}

/// The room for what is sealed, in bytes: most fits, so that nothing is copied while it is written.
const ROOM: usize = 4 * 1_024;

/// The length of a signature of P-256, in bytes.
const SIGNATURE_LEN: usize = 64;

/// The order of P-256 (SEC 2 §2.4.2).
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// Returns the signature of P-256 with the lower one of `s` and `n - s`. Both verify; the Layer takes
/// that one alone, so that nobody can make a second text of a token.
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

    // Each label ends where the next begins: none has a slash.
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

    const ISSUER: &str = "https://mcp.example.com";

    fn keyring(keys: &ProxyKeys) -> Keyring {
        Keyring::new(keys, ISSUER).unwrap()
    }

    fn sealed_text(ring: &Keyring, purpose: Purpose, context: &[u8]) -> Vec<u8> {
        let write = |text: &mut Vec<u8>| {
            text.extend_from_slice(b"text");
            Some(())
        };
        ring.seal(purpose, context, write).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_for_its_purpose_and_context_alone() {
        let keys = ProxyKeys::generate();
        let ring = keyring(&keys);
        let sealed = sealed_text(&ring, Purpose::SignIn, b"one");
        assert_eq!(
            ring.open(Purpose::SignIn, b"one", &sealed).unwrap(),
            b"text"
        );
        assert_eq!(ring.open(Purpose::SignIn, b"two", &sealed), None);
        assert_eq!(ring.open(Purpose::Consent, b"one", &sealed), None);
        for issuer in ["https://other.example.com", "https://mcp.example.org"] {
            let elsewhere = Keyring::new(&keys, issuer).unwrap();
            assert_eq!(elsewhere.open(Purpose::SignIn, b"one", &sealed), None);
        }
        assert_eq!(
            keyring(&ProxyKeys::generate()).open(Purpose::SignIn, b"one", &sealed),
            None
        );
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert_eq!(
                ring.open(Purpose::SignIn, b"one", &changed),
                None,
                "{index}"
            );
            assert_eq!(
                ring.open(Purpose::SignIn, b"one", &sealed[..index]),
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
        // Where one ends and the other begins is part of it.
        assert_ne!(
            of("https://a.example", b"/one"),
            of("https://a.example/one", b"")
        );
        let ring = Keyring::new(&keys, "https://a.example").unwrap();
        let sealed = sealed_text(&ring, Purpose::Record, b"/one");
        let ring = Keyring::new(&keys, "https://a.example/one").unwrap();
        assert_eq!(ring.open(Purpose::Record, b"", &sealed), None);
    }

    #[test]
    fn what_is_random_is_as_long_as_it_says_and_never_the_same() {
        assert_eq!(random_text::<32>().len(), 43);
        assert_eq!(from_base64url(&random_text::<18>()).unwrap().len(), 18);
        assert_ne!(random_text::<18>(), random_text::<18>());
        assert_ne!(random_guid(), random_guid());
        let [key] = ProxyKeys::generate().roots[..] else {
            panic!("more than one key");
        };
        assert!(root(&STANDARD.encode(key), 1).is_ok());
        // Nothing of it is left as it was.
        assert!(random::<256>().iter().filter(|byte| **byte == 0).count() < 16);
        let ring = keyring(&ProxyKeys::generate());
        let sealed = || sealed_text(&ring, Purpose::Record, b"");
        let (one, other) = (sealed(), sealed());
        // The key's id, the nonce, the text, the tag.
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
                let opened = ring.open(other, b"", &sealed);
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
        assert!(both.open(Purpose::Record, b"", &by_old).is_some());
        assert!(new.open(Purpose::Record, b"", &by_both).is_some());
        assert!(old.open(Purpose::Record, b"", &by_both).is_none());
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

    /// RFC 7518 §6.2.1: 32 bytes each.
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
        assert!(other.open(Purpose::ClientId, b"", &sealed).is_some());
        let (one, other) = (one.key_set(), other.key_set());
        assert!(
            one.iter()
                .all(|key| other.iter().any(|same| same.is_same(key)))
        );
    }

    #[test]
    fn keys_that_are_none_are_refused() {
        let good = STANDARD.encode(random::<32>());
        assert!(ProxyKeys::from_base64(&format!("{good},{good}")).is_ok());
        for (text, expected) in [
            ("", InvalidKeys::Missing),
            (" , ", InvalidKeys::Missing),
            ("secret", InvalidKeys::Malformed { number: 1 }),
            (
                &*format!("{good},short"),
                InvalidKeys::Malformed { number: 2 },
            ),
            (
                &*STANDARD.encode([7; 32]),
                InvalidKeys::NotRandom { number: 1 },
            ),
        ] {
            assert_eq!(
                ProxyKeys::from_base64(text).unwrap_err(),
                expected,
                "{text}"
            );
        }
        let keys = ProxyKeys::from_base64(&good).unwrap();
        assert!(!format!("{keys:?}").contains(&good));
        // As many different bytes as a random key never falls short of.
        for (different, is_good) in [(11, false), (12, true)] {
            let mut key = [0; 32];
            (1..different).for_each(|byte| key[usize::from(byte)] = byte);
            let keys = ProxyKeys::from_base64(&STANDARD.encode(key));
            assert_eq!(keys.is_ok(), is_good, "{different}");
        }
    }
}
