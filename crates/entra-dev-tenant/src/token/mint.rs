//! The signing of tokens, and the change that each flaw makes to keys, header, signature and texts.

use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{RSA_PKCS1_SHA512, RSA_PSS_SHA256};
use serde_json::{Value, json};

use super::claims::good_claims;
use super::spoil::spoil_claims;
use super::{
    Change, Flaw, Members, TokenBuilder, TokenKeys, TokenKind, random_id, random_key_id, remove,
    set,
};
use crate::authority::{DevCloud, Version};
use crate::keys::SigningKey;
use crate::text::{base64url, random_bytes};

impl TokenBuilder<'_> {
    /// Returns the signed token.
    ///
    /// The current key of the tenant or of personal accounts signs it, or the [API's own
    /// key](crate::DevTenantBuilder::custom_signing_key). A token for Graph is signed as Entra
    /// signs such tokens, so that it verifies nowhere else.
    #[must_use]
    pub fn mint(self) -> String {
        let keys = self.keys();
        let now = self.issuer.clock.unix_seconds();
        let header = changed(
            self.good_header(&keys.named),
            &self.header,
            |flaw, header| {
                spoil_header(flaw, header, &keys);
            },
        );
        let claims = changed(good_claims(&self, now), &self.claims, |flaw, claims| {
            spoil_claims(&self, flaw, claims, now);
        });
        let (mut header_text, mut payload_text) = (
            Value::Object(header).to_string(),
            Value::Object(claims).to_string(),
        );
        for flaw in &self.flaws {
            spoil_texts(*flaw, &mut header_text, &mut payload_text);
        }
        let mut payload = base64url(payload_text.as_bytes());
        for flaw in &self.flaws {
            spoil_payload_segment(*flaw, &mut payload);
        }
        let input = format!("{}.{payload}", base64url(header_text.as_bytes()));
        let signature = match self.kind {
            TokenKind::Graph { .. } => {
                let header = with_hashed_nonce(&header_text);
                let signed = format!("{}.{payload}", base64url(header.as_bytes()));
                self.signature(&keys.signing, signed.as_bytes())
            }
            _ => self.signature(&keys.signing, input.as_bytes()),
        };
        let token = format!("{input}.{}", base64url(&signature));
        self.flaws
            .iter()
            .fold(token, |token, flaw| spoil_token(*flaw, token))
    }

    fn keys(&self) -> TokenKeys {
        let named = match self.kind {
            TokenKind::Personal { .. } => SigningKey::personal(),
            TokenKind::Graph { .. } | TokenKind::B2c { .. } => self.issuer.keys.signing(),
            TokenKind::User { .. } | TokenKind::App { .. } | TokenKind::IdToken { .. } => {
                self.issuer.keys.signing_for(&self.effective_audience())
            }
        };
        let good = TokenKeys {
            signing: Arc::clone(&named),
            named,
        };
        self.flaws.iter().fold(good, |keys, flaw| {
            spoil_keys(*flaw, keys, self.issuer.realm.cloud)
        })
    }

    fn good_header(&self, named: &SigningKey) -> Members {
        let mut header = Members::from_iter([
            ("typ".to_owned(), json!("JWT")),
            ("alg".to_owned(), json!("RS256")),
            ("kid".to_owned(), json!(named.id)),
        ]);
        if self.version == Version::V1 {
            header.insert("x5t".to_owned(), json!(named.id));
        }
        header
    }

    fn signature(&self, key: &SigningKey, message: &[u8]) -> Vec<u8> {
        let spoiled = self
            .flaws
            .iter()
            .rev()
            .find_map(|flaw| other_signature(*flaw, key, message));
        let mut signature = spoiled.unwrap_or_else(|| key.sign(message));
        if self.flaws.contains(&Flaw::BadSignature)
            && let Some(last) = signature.last_mut()
        {
            *last ^= 1;
        }
        signature
    }
}

/// Returns the header that Entra signs in place of a Graph token's own header.
///
/// It has the hash of the `nonce` in place of the `nonce`. Only Graph knows this rule, so only
/// Graph can verify the token.
fn with_hashed_nonce(header: &str) -> String {
    let mut header: Value = serde_json::from_str(header).unwrap_or_default();
    if let Some(nonce) = header["nonce"].as_str() {
        header["nonce"] = json!(base64url(digest(&SHA256, nonce.as_bytes()).as_ref()));
    }
    header.to_string()
}

fn changed(
    mut members: Members,
    changes: &[Change],
    spoil: impl Fn(Flaw, &mut Members),
) -> Members {
    for change in changes {
        match change {
            Change::Set(name, value) => {
                members.insert(name.clone(), value.clone());
            }
            Change::Remove(name) => {
                members.remove(name);
            }
            Change::Spoil(flaw) => spoil(*flaw, &mut members),
        }
    }
    members
}

fn spoil_keys(flaw: Flaw, keys: TokenKeys, played: DevCloud) -> TokenKeys {
    let both = |key: Arc<SigningKey>| TokenKeys {
        named: Arc::clone(&key),
        signing: key,
    };
    match flaw {
        Flaw::PersonalKey => both(SigningKey::personal()),
        Flaw::OtherCloudKey => both(SigningKey::of_cloud(played.other())),
        Flaw::WrongKey | Flaw::EmbeddedJwk => TokenKeys {
            signing: SigningKey::attacker(),
            ..keys
        },
        _ => keys,
    }
}

fn spoil_header(flaw: Flaw, header: &mut Members, keys: &TokenKeys) {
    match flaw {
        Flaw::AlgNone => set(header, "alg", "none"),
        Flaw::Hs256WithPublicKey => set(header, "alg", "HS256"),
        Flaw::Ps256 => set(header, "alg", "PS256"),
        Flaw::Rs512 => set(header, "alg", "RS512"),
        Flaw::UnknownKid => {
            let id = random_key_id();
            if header.contains_key("x5t") {
                set(header, "x5t", id.clone());
            }
            set(header, "kid", id);
        }
        Flaw::NoKid => remove(header, &["kid", "x5t"]),
        Flaw::HeaderNonce => set(header, "nonce", random_id()),
        Flaw::TypAtJwt => set(header, "typ", "at+jwt"),
        Flaw::Crit => set(header, "crit", json!(["exp"])),
        Flaw::EmbeddedJwk => set(header, "jwk", keys.signing.jwk()),
        _ => {}
    }
}

/// Returns the signature that a flaw has in place of RS256, if it has one.
fn other_signature(flaw: Flaw, key: &SigningKey, message: &[u8]) -> Option<Vec<u8>> {
    match flaw {
        Flaw::AlgNone => Some(Vec::new()),
        Flaw::Hs256WithPublicKey => {
            let secret = hmac::Key::new(hmac::HMAC_SHA256, key.public_der());
            Some(hmac::sign(&secret, message).as_ref().to_vec())
        }
        Flaw::Ps256 => Some(key.sign_as(&RSA_PSS_SHA256, message)),
        Flaw::Rs512 => Some(key.sign_as(&RSA_PKCS1_SHA512, message)),
        _ => None,
    }
}

fn spoil_texts(flaw: Flaw, header: &mut String, payload: &mut String) {
    match flaw {
        Flaw::DuplicateClaim => repeat(payload, "aud", "aud"),
        Flaw::DuplicateClaimEscaped => repeat(payload, "aud", r"\u0061ud"),
        Flaw::DuplicateHeader => repeat(header, "alg", "alg"),
        Flaw::DuplicateUnknownClaim => {
            append(payload, "xms_unheard_of", &json!(1));
            append(payload, "xms_unheard_of", &json!(1));
        }
        // With this space, which JSON permits, the segment needs padding.
        Flaw::Padding if payload.len().is_multiple_of(3) => payload.push(' '),
        _ => {}
    }
}

/// Spoils the payload's segment before it is signed.
fn spoil_payload_segment(flaw: Flaw, segment: &mut String) {
    if flaw == Flaw::Padding {
        while !segment.len().is_multiple_of(4) {
            segment.push('=');
        }
    }
}

/// Spoils the token after it is signed.
fn spoil_token(flaw: Flaw, token: String) -> String {
    match flaw {
        Flaw::FourSegments => format!("{token}.{}", base64url(b"fourth")),
        Flaw::TwoSegments => match token.rsplit_once('.') {
            Some((input, _)) => input.to_owned(),
            None => token,
        },
        Flaw::Jwe => jwe(),
        Flaw::TrailingBits => with_trailing_bits(token),
        _ => token,
    }
}

/// Adds a member a second time, with the same value.
///
/// A reader that takes the first one and a reader that takes the last one both find nothing else
/// wrong.
fn repeat(object: &mut String, name: &str, spelling: &str) {
    let members: Value = serde_json::from_str(object).unwrap_or_default();
    append(object, spelling, &members[name]);
}

fn append(object: &mut String, spelling: &str, value: &Value) {
    object.truncate(object.len() - 1);
    write!(object, r#","{spelling}":{value}}}"#).expect("writing to a string cannot fail");
}

/// Makes an encrypted token, as large as one with a key of 2048 bits and a usual token inside.
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

/// Sets a spare bit of the last character of a signature.
///
/// The character has two or four spare bits, which are all zero. The next letter of the alphabet
/// therefore differs in one of them only.
fn with_trailing_bits(mut token: String) -> String {
    match token.pop() {
        Some(last) if last.is_ascii_alphanumeric() => token.push(char::from(last as u8 + 1)),
        Some(last) => token.push(last),
        None => {}
    }
    token
}
