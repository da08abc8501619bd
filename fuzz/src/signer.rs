//! Signs tokens with a key that is generated at start and never stored.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entra_jwt_core::{KeySet, token::Unverified};
use serde_json::{Map, Value, json};

/// The one signer of this process.
pub static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer {
    pair: KeyPair::generate(KeySize::Rsa2048).expect("a key can be made"),
});

/// The `kid` of every published form of the key.
pub const KEY_ID: &str = "k";

/// The header of a good token.
pub const HEADER: &str = r#"{"alg":"RS256","kid":"k","typ":"JWT"}"#;

/// A key pair that signs tokens and publishes its public half.
#[derive(Debug)]
pub struct Signer {
    pair: KeyPair,
}

impl Signer {
    /// Signs a token with any header and payload, valid or not.
    ///
    /// The signature is empty if the token cannot be parsed: no check would reach it, and signing
    /// takes longer than all other work.
    #[must_use]
    pub fn sign(&self, header: &[u8], payload: &[u8]) -> String {
        let input = format!("{}.{}", encode(header), encode(payload));
        let unsigned = format!("{input}.");
        if Unverified::parse(&unsigned).is_err() {
            return unsigned;
        }
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                input.as_bytes(),
                &mut signature,
            )
            .expect("whatever bytes can be signed");
        unsigned + &encode(&signature)
    }

    /// Returns the modulus in the form of a JWKS document.
    #[must_use]
    pub fn modulus(&self) -> String {
        let modulus = self.pair.public_key().modulus();
        encode(modulus.big_endian_without_leading_zero())
    }

    /// Returns a key set with this key, and with an `issuer` and a `cloud_instance_name` if given.
    #[must_use]
    pub fn keys(&self, issuer: Option<&str>, cloud: Option<&str>) -> KeySet {
        let key =
            json!({"kty": "RSA", "use": "sig", "kid": KEY_ID, "e": "AQAB", "n": self.modulus()});
        let marks = [("issuer", issuer), ("cloud_instance_name", cloud)];
        let marks = marks
            .into_iter()
            .filter_map(|(name, text)| Some((name.to_owned(), Value::from(text?))));
        let key: Map<String, Value> = key
            .as_object()
            .cloned()
            .into_iter()
            .flatten()
            .chain(marks)
            .collect();
        let document = json!({ "keys": [key] });
        KeySet::from_jwks(document.to_string().as_bytes()).expect("a key set")
    }
}

/// Encodes bytes as base64url without padding.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes a segment of an accepted token.
#[must_use]
pub fn segment(token: &str, position: usize) -> String {
    let segment = token.split('.').nth(position).expect("a segment");
    let bytes = URL_SAFE_NO_PAD.decode(segment).expect("base64url");
    String::from_utf8(bytes).expect("UTF-8")
}
