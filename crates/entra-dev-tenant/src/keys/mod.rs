//! The keys of tenants, of applications and of others, and the documents that publish them.
//!
//! The keys of personal accounts, of other clouds and of an attacker are never configured and never
//! rotated. Each is made at most once per process, when it is first needed.

mod document;
mod ring;

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaEncoding, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};

pub(crate) use self::ring::{KeyChange, KeyRing};
use crate::authority::DevCloud;
use crate::text::base64url;

/// An RSA key of 2048 bits.
pub(crate) struct SigningKey {
    /// The value of both `kid` and `x5t`: base64url of the SHA-1 of the certificate, 27 characters.
    pub(crate) id: String,
    /// `x5c[0]`: the certificate in standard base64.
    pub(crate) certificate: String,
    modulus: String,
    exponent: String,
    pair: RsaKeyPair,
}

impl SigningKey {
    /// Generates a new key, which takes about 90 ms.
    ///
    /// Nothing here depends on input, so this fails only if aws-lc-rs can make no RSA key at all.
    pub(crate) fn generate(certificate_name: &str) -> Self {
        // aws-lc-rs supports the algorithm, so only a lack of memory or randomness can be the
        // cause.
        let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("an RSA key");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, certificate_name);
        // The name is a constant of this crate.
        let certificate = params
            .self_signed(&pair)
            .expect("a self-signed certificate");
        let der = certificate.der();

        // The same library has just written it.
        let pair =
            RsaKeyPair::from_pkcs8(&pair.serialize_der()).expect("the key that was just generated");
        let public = pair.public_key();
        Self {
            id: base64url(digest(&SHA1_FOR_LEGACY_USE_ONLY, der).as_ref()),
            certificate: STANDARD.encode(der),
            modulus: base64url(public.modulus().big_endian_without_leading_zero()),
            exponent: base64url(public.exponent().big_endian_without_leading_zero()),
            pair,
        }
    }

    /// Returns the key that signs tokens of personal Microsoft accounts.
    pub(crate) fn personal() -> Arc<Self> {
        static KEY: OnceLock<Arc<SigningKey>> = OnceLock::new();
        made_once(&KEY, "Live ID STS Signing Public Key")
    }

    /// Returns the key of `cloud`, for tenants that play another cloud.
    pub(crate) fn of_cloud(cloud: DevCloud) -> Arc<Self> {
        static PUBLIC: OnceLock<Arc<SigningKey>> = OnceLock::new();
        static US_GOVERNMENT: OnceLock<Arc<SigningKey>> = OnceLock::new();
        static CHINA: OnceLock<Arc<SigningKey>> = OnceLock::new();
        let key = match cloud {
            DevCloud::Public => &PUBLIC,
            DevCloud::UsGovernment => &US_GOVERNMENT,
            DevCloud::China => &CHINA,
        };
        made_once(key, certificate_name(cloud))
    }

    /// Returns the attacker's key, which no document has unless a test adds it.
    pub(crate) fn attacker() -> Arc<Self> {
        static KEY: OnceLock<Arc<SigningKey>> = OnceLock::new();
        made_once(&KEY, "attacker.example")
    }

    /// Returns the RS256 signature over `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.sign_as(&RSA_PKCS1_SHA256, message)
    }

    /// Returns the signature over `message` with the given padding and hash.
    pub(crate) fn sign_as(&self, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        // Signing fails only if the buffer has another length.
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(encoding, &SystemRandom::new(), message, &mut signature)
            .expect("a signature");
        signature
    }

    /// Returns the public key in DER, as in a PEM of `RSA PUBLIC KEY` (PKCS #1).
    pub(crate) fn public_der(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// Returns the public key as a JWK without `kid`.
    pub(crate) fn jwk(&self) -> Value {
        json!({ "kty": "RSA", "n": self.modulus, "e": self.exponent })
    }
}

fn made_once(key: &'static OnceLock<Arc<SigningKey>>, certificate_name: &str) -> Arc<SigningKey> {
    Arc::clone(key.get_or_init(|| Arc::new(SigningKey::generate(certificate_name))))
}

/// Keys of tenants that have ended, with the names of their certificates.
static STOCK: Mutex<Vec<(&'static str, Arc<SigningKey>)>> = Mutex::new(Vec::new());

/// Maximum number of keys that are kept for later tenants, more than are ever in use at the same
/// time.
const MOST_KEPT: usize = 64;

/// Returns a key that no running tenant has.
///
/// It comes from a tenant that has ended, or is new (about 90 ms). Tests start hundreds of tenants,
/// and would otherwise spend most of their time on making keys.
fn take(certificate_name: &'static str) -> Arc<SigningKey> {
    let mut stock = STOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let fitting = stock.iter().position(|(name, _)| *name == certificate_name);
    let kept = fitting.map(|at| stock.swap_remove(at).1);
    drop(stock);
    kept.unwrap_or_else(|| Arc::new(SigningKey::generate(certificate_name)))
}

/// Keeps the keys of a tenant that has ended, for later tenants.
fn give_back(certificate_name: &'static str, keys: impl IntoIterator<Item = Arc<SigningKey>>) {
    let mut stock = STOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let room = MOST_KEPT.saturating_sub(stock.len());
    let keys = keys.into_iter().take(room);
    stock.extend(keys.map(|key| (certificate_name, key)));
}

/// Returns the common name of a cloud's certificates.
fn certificate_name(cloud: DevCloud) -> &'static str {
    match cloud {
        DevCloud::Public => "accounts.accesscontrol.windows.net",
        DevCloud::UsGovernment => "login.microsoftonline.us",
        DevCloud::China => "accounts.accesscontrol.chinacloudapi.cn",
    }
}

/// The keys that a tenant published at one time, for
/// [`SigningKeys::alternate`](crate::SigningKeys::alternate).
#[derive(Clone)]
pub struct PublishedKeys {
    /// Published keys, the oldest first.
    keys: Vec<Arc<SigningKey>>,
    oddities: Vec<Oddity>,
}

/// An addition to JWKS documents that no tenant should publish.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Oddity {
    /// Keys of another cloud and of personal accounts.
    Foreign,
    /// A second entry with the newest key's id and another key.
    Twin,
    /// A key that is too short, and entries that are not RSA keys with a `kid`.
    WeakAndExotic,
    /// A private exponent in the entry of the newest key.
    PrivateHalf,
    /// The given entry.
    Also(Value),
}

/// The content of one JWKS document.
struct Edition {
    published: PublishedKeys,
    /// `kid`s of published keys that the document lacks.
    without: Vec<String>,
}

impl fmt::Debug for PublishedKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.keys.iter().map(|key| &key.id).collect();
        formatter
            .debug_struct("PublishedKeys")
            .field("key_ids", &ids)
            .field("oddities", &self.oddities)
            .finish()
    }
}
