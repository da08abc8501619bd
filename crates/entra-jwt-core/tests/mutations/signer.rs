//! A signer with its own key that signs any text; `entra-dev-tenant` signs only JSON.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entra_jwt_core::KeySet;
use serde_json::json;

pub(crate) struct Signer {
    key: KeyPair,
}

impl Signer {
    pub(crate) const KEY_ID: &str = "ours";

    pub(crate) fn new() -> Self {
        let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
        Self { key }
    }

    pub(crate) fn keys(&self) -> KeySet {
        let public = self.key.public_key();
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwks = json!({ "keys": [{
            "kty": "RSA",
            "use": "sig",
            "kid": Self::KEY_ID,
            "n": encode(public.modulus().big_endian_without_leading_zero()),
            "e": encode(public.exponent().big_endian_without_leading_zero()),
            "issuer": "https://login.microsoftonline.com/{tenantid}/v2.0",
            "cloud_instance_name": "microsoftonline.com",
        }] });
        KeySet::from_jwks(jwks.to_string().as_bytes()).unwrap()
    }

    /// Signs two segments without encoding them first.
    pub(crate) fn sign(&self, header: &str, payload: &str) -> String {
        let input = format!("{header}.{payload}");
        let mut signature = vec![0; self.key.public_modulus_len()];
        let (algorithm, random) = (&RSA_PKCS1_SHA256, SystemRandom::new());
        self.key
            .sign(algorithm, &random, input.as_bytes(), &mut signature)
            .unwrap();
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
