//! From claims to a signed token.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::{Change, Flaw, Kind, Members, TokenBuilder, Version};
use crate::keys;
use crate::keys::CustomKey;
use crate::keys::SigningKey;
use crate::text::base64url;

/// Two keys only where the token lies about it.
pub(super) struct Keys {
    /// Whose `kid` the header has.
    pub(super) named: Arc<SigningKey>,
    pub(super) signing: Arc<SigningKey>,
}

impl TokenBuilder<'_> {
    /// The token, signed with the current key of the tenant or of personal accounts, or with the
    /// [API's own](crate::DevTenantBuilder::custom_signing_key); one for Graph is signed as Entra
    /// signs those, so that it verifies nowhere else.
    #[must_use]
    pub fn mint(self) -> String {
        let keys = self.keys();
        let now = self.tenant.clock.unix_seconds();
        let header = changed(
            self.good_header(&keys.named),
            &self.header,
            |flaw, header| {
                self.spoil_header(flaw, header, &keys);
            },
        );
        let claims = changed(self.good_claims(now), &self.claims, |flaw, claims| {
            self.spoil_claims(flaw, claims, now);
        });
        let (mut header_text, mut payload_text) = (
            Value::Object(header).to_string(),
            Value::Object(claims).to_string(),
        );
        for flaw in &self.flaws {
            flaw.spoil_texts(&mut header_text, &mut payload_text);
        }
        let mut payload = base64url(payload_text.as_bytes());
        for flaw in &self.flaws {
            flaw.spoil_payload_segment(&mut payload);
        }
        let input = format!("{}.{payload}", base64url(header_text.as_bytes()));
        let signature = match self.kind {
            Kind::Graph { .. } => {
                let header = with_hashed_nonce(&header_text);
                let signed = format!("{}.{payload}", base64url(header.as_bytes()));
                self.signature(&keys.signing, signed.as_bytes())
            }
            _ => self.signature(&keys.signing, input.as_bytes()),
        };
        let token = format!("{input}.{}", base64url(&signature));
        self.flaws
            .iter()
            .fold(token, |token, flaw| flaw.spoil_token(token))
    }

    fn keys(&self) -> Keys {
        let named = match self.kind {
            Kind::Personal { .. } => keys::personal(),
            Kind::Graph { .. } | Kind::B2c { .. } => self.tenant.keys.signing(),
            Kind::User { .. } | Kind::App | Kind::IdToken { .. } => self.key_of_audience(),
        };
        let good = Keys {
            signing: Arc::clone(&named),
            named,
        };
        self.flaws
            .iter()
            .fold(good, |keys, flaw| flaw.spoil_keys(keys, self.tenant.cloud))
    }

    fn key_of_audience(&self) -> Arc<SigningKey> {
        let audience = self.effective_audience();
        match CustomKey::for_audience(&audience, &self.tenant.custom_keys) {
            Some(custom) => Arc::clone(&custom.key),
            None => self.tenant.keys.signing(),
        }
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
            .find_map(|flaw| flaw.other_signature(key, message));
        let mut signature = spoiled.unwrap_or_else(|| key.sign(message));
        if self.flaws.contains(&Flaw::BadSignature)
            && let Some(last) = signature.last_mut()
        {
            *last ^= 1;
        }
        signature
    }
}

/// What Entra signs in place of a Graph token's own header: its `nonce` replaced by the nonce's
/// hash, so that nobody but Graph, which knows this, can verify the token.
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
