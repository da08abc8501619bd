//! What each flaw does to keys, signature and texts.

use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{RSA_PKCS1_SHA512, RSA_PSS_SHA256};
use serde_json::{Value, json};

use super::Flaw;
use super::mint::Keys;
use crate::cloud::DevCloud;
use crate::keys;
use crate::keys::SigningKey;
use crate::text::{base64url, random_bytes, random_key_id};

impl Flaw {
    pub(super) fn spoil_keys(self, keys: Keys, played: DevCloud) -> Keys {
        let both = |key: Arc<SigningKey>| Keys {
            named: Arc::clone(&key),
            signing: key,
        };
        match self {
            Self::PersonalKey => both(keys::personal()),
            Self::OtherCloudKey => both(keys::of_cloud(played.other())),
            Self::WrongKey | Self::EmbeddedJwk => Keys {
                signing: keys::attacker(),
                ..keys
            },
            _ => keys,
        }
    }

    /// Where the signature is not RS256.
    pub(super) fn other_signature(self, key: &SigningKey, message: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::AlgNone => Some(Vec::new()),
            Self::Hs256WithPublicKey => {
                let secret = hmac::Key::new(hmac::HMAC_SHA256, key.public_der());
                Some(hmac::sign(&secret, message).as_ref().to_vec())
            }
            Self::Ps256 => Some(key.sign_as(&RSA_PSS_SHA256, message)),
            Self::Rs512 => Some(key.sign_as(&RSA_PKCS1_SHA512, message)),
            _ => None,
        }
    }

    pub(super) fn spoil_texts(self, header: &mut String, payload: &mut String) {
        match self {
            Self::DuplicateClaim => repeat(payload, "aud", "aud"),
            Self::DuplicateClaimEscaped => repeat(payload, "aud", r"\u0061ud"),
            Self::DuplicateHeader => repeat(header, "alg", "alg"),
            Self::DuplicateUnknownClaim => {
                append(payload, "xms_unheard_of", &json!(1));
                append(payload, "xms_unheard_of", &json!(1));
            }
            // Room for padding, as JSON permits it.
            Self::Padding if payload.len().is_multiple_of(3) => payload.push(' '),
            _ => {}
        }
    }

    /// Before it is signed.
    pub(super) fn spoil_payload_segment(self, segment: &mut String) {
        if self == Self::Padding {
            while !segment.len().is_multiple_of(4) {
                segment.push('=');
            }
        }
    }

    /// After it is signed.
    pub(super) fn spoil_token(self, token: String) -> String {
        match self {
            Self::FourSegments => format!("{token}.{}", base64url(b"fourth")),
            Self::TwoSegments => match token.rsplit_once('.') {
                Some((input, _)) => input.to_owned(),
                None => token,
            },
            Self::Jwe => jwe(),
            Self::TrailingBits => with_trailing_bits(token),
            _ => token,
        }
    }
}

/// Once more, with the same value: a reader that takes the first and one that takes the last both
/// find nothing else wrong.
fn repeat(object: &mut String, name: &str, spelling: &str) {
    let members: Value = serde_json::from_str(object).unwrap_or_default();
    append(object, spelling, &members[name]);
}

fn append(object: &mut String, spelling: &str, value: &Value) {
    object.truncate(object.len() - 1);
    write!(object, r#","{spelling}":{value}}}"#).expect("a string takes all");
}

/// As large as one with a key of 2048 bits and a usual token inside.
fn jwe() -> String {
    let header = json!({
        "alg": "RSA-OAEP",
        "enc": "A256GCM",
        "typ": "JWT",
        "kid": random_key_id(),
    });
    [
        base64url(header.to_string().as_bytes()),
        base64url(&random_bytes::<256>()),
        base64url(&random_bytes::<12>()),
        base64url(&random_bytes::<1_400>()),
        base64url(&random_bytes::<16>()),
    ]
    .join(".")
}

/// The last character of a signature has two or four bits to spare, all zero, so that the next
/// letter of the alphabet differs by one of them.
fn with_trailing_bits(mut token: String) -> String {
    match token.pop() {
        Some(last) if last.is_ascii_alphanumeric() => token.push(char::from(last as u8 + 1)),
        Some(last) => token.push(last),
        None => {}
    }
    token
}
