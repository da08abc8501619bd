//! jsonwebtoken with its strictest settings.

use std::fmt;
use std::hint::black_box;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};

use crate::{API, Material, bare};

/// The key and the validation rules of jsonwebtoken.
pub struct Jsonwebtoken {
    key: DecodingKey,
    rules: Validation,
}

/// The claims that a service usually reads.
#[derive(serde::Deserialize)]
#[expect(dead_code, reason = "decoded, not looked at")]
struct Claims {
    oid: String,
    tid: String,
    sub: String,
    azp: String,
    name: Option<String>,
    scp: Option<String>,
    roles: Option<Vec<String>>,
}

impl Jsonwebtoken {
    /// Prepares the validation of the material's tokens.
    ///
    /// # Panics
    /// If the JWKS document has no key.
    #[must_use]
    pub fn new(material: &Material) -> Self {
        let member = |name| bare::member(&material.jwks, name);
        let key = DecodingKey::from_rsa_components(&member("n"), &member("e"));
        let mut rules = Validation::new(Algorithm::RS256);
        rules.set_audience(&[API]);
        rules.set_issuer(&[format!(
            "https://login.microsoftonline.com/{}/v2.0",
            material.tenant_id
        )]);
        rules.set_required_spec_claims(&["exp", "iss", "aud"]);
        rules.validate_nbf = true;
        Self {
            key: key.expect("a key"),
            rules,
        }
    }

    /// Validates a token.
    ///
    /// # Panics
    /// If the token is not valid.
    pub fn run(&self, token: &str) {
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.key, &self.rules);
        black_box(decoded.expect("a good token"));
    }
}

impl fmt::Debug for Jsonwebtoken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Jsonwebtoken")
    }
}
