//! The bare check of a token's RS256 signature, which no Layer without a cache can avoid.

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::material::{Case, Material, TOKENS};
use crate::subject::{AT_A_TIME, Subject};

/// aws-lc-rs with a prepared key and decoded signatures.
pub(crate) struct BareSignature {
    key: ParsedPublicKey,
    signatures: Vec<Vec<u8>>,
}

impl BareSignature {
    pub(crate) fn new(material: &Material) -> Result<Self, Box<dyn Error>> {
        let keys: Value = serde_json::from_str(&material.tenant.signing_keys().document())?;
        let member = |name: &str| {
            let text = keys["keys"][0][name].as_str().ok_or("no such member")?;
            Ok::<_, Box<dyn Error>>(URL_SAFE_NO_PAD.decode(text)?)
        };
        let key = PublicKeyComponents {
            n: member("n")?,
            e: member("e")?,
        };
        let signatures = material.valid.iter().map(|token| {
            let (_, signature) = parts(token);
            URL_SAFE_NO_PAD.decode(signature)
        });
        Ok(Self {
            key: key.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)?,
            signatures: signatures.collect::<Result<_, _>>()?,
        })
    }
}

impl Subject for BareSignature {
    fn name(&self) -> &'static str {
        "the RS256 check of aws-lc-rs alone"
    }

    fn fastest(
        &mut self,
        _: &Runtime,
        material: &Material,
        case: Case,
    ) -> Result<Option<Duration>, String> {
        if !case.is_valid() {
            return Ok(None);
        }
        let mut fastest = Duration::MAX;
        for first in (0..TOKENS).step_by(AT_A_TIME) {
            let started = Instant::now();
            for number in first..first + AT_A_TIME {
                let number = if case == Case::OneToken { 0 } else { number };
                let (message, _) = parts(black_box(&material.valid[number]));
                self.key
                    .verify_sig(message.as_bytes(), black_box(&self.signatures[number]))
                    .map_err(|_| "a valid token has a bad signature")?;
            }
            fastest = fastest.min(started.elapsed());
        }
        Ok(Some(fastest))
    }
}

/// Splits a token into the signed part and the signature.
fn parts(token: &str) -> (&str, &str) {
    token.rsplit_once('.').unwrap_or_default()
}
