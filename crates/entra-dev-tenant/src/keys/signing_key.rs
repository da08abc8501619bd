//! A signing key with its self-signed certificate, named as Entra names them.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaEncoding, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use crate::text::base64url;

/// An RSA key of 2048 bits.
pub(crate) struct SigningKey {
    /// `kid` and `x5t` at once: base64url of the SHA-1 of the certificate, 27 characters.
    pub(crate) id: String,
    /// `x5c[0]`: the certificate in standard base64.
    pub(crate) certificate: String,
    pub(crate) modulus: String,
    pub(crate) exponent: String,
    pair: RsaKeyPair,
}

impl SigningKey {
    /// A new key; takes about 90 ms. Nothing here depends on input: it can fail only where
    /// aws-lc-rs can make no RSA key at all.
    pub(crate) fn generate(certificate_name: &str) -> Self {
        // aws-lc-rs has the algorithm, so that only a want of memory or randomness is left.
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

        // Written by the same library a line before.
        let pair = RsaKeyPair::from_pkcs8(&pair.serialize_der()).expect("the key just made");
        let public = pair.public_key();
        Self {
            id: base64url(digest(&SHA1_FOR_LEGACY_USE_ONLY, der).as_ref()),
            certificate: STANDARD.encode(der),
            modulus: base64url(public.modulus().big_endian_without_leading_zero()),
            exponent: base64url(public.exponent().big_endian_without_leading_zero()),
            pair,
        }
    }

    /// The RS256 signature over `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.sign_as(&RSA_PKCS1_SHA256, message)
    }

    /// The signature over `message` in another form than RS256.
    pub(crate) fn sign_as(&self, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        // It fails only for a buffer of another length.
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(encoding, &SystemRandom::new(), message, &mut signature)
            .expect("a signature");
        signature
    }

    /// The public key in DER, as in a PEM of `RSA PUBLIC KEY` (PKCS #1).
    pub(crate) fn public_der(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// The public key as a JWK without a name.
    pub(crate) fn jwk(&self) -> Value {
        json!({ "kty": "RSA", "n": self.modulus, "e": self.exponent })
    }
}
