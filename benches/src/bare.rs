//! The signature check alone, with aws-lc-rs.

use std::hint::black_box;

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// A prepared key, a message and its signature.
#[derive(Debug)]
pub struct Check {
    key: ParsedPublicKey,
    message: String,
    signature: Vec<u8>,
}

/// Returns a member of the first key in the document.
pub(crate) fn member(jwks: &str, name: &str) -> String {
    let jwks: Value = serde_json::from_str(jwks).expect("a key document");
    jwks["keys"][0][name].as_str().expect("a string").to_owned()
}

impl Check {
    /// Prepares the check of a token's signature.
    ///
    /// # Panics
    /// If `token` is not a token, or the document has no usable first key.
    #[must_use]
    pub fn new(jwks: &str, token: &str) -> Self {
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64url");
        let (modulus, exponent) = (decode(&member(jwks, "n")), decode(&member(jwks, "e")));
        let components = PublicKeyComponents {
            n: &*modulus,
            e: &*exponent,
        };
        let key = components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256);
        let (message, signature) = token.rsplit_once('.').expect("a token");
        Self {
            key: key.expect("a key"),
            message: message.to_owned(),
            signature: decode(signature),
        }
    }

    /// Checks the signature once.
    ///
    /// # Panics
    /// If the signature is not valid.
    pub fn run(&self) {
        self.key
            .verify_sig(
                black_box(self.message.as_bytes()),
                black_box(&self.signature),
            )
            .expect("a good signature");
    }
}
