//! What clients learn of this server before they ask anything (RFC 8414).

use serde_json::{Value, json};

use crate::engine::Engine;
use crate::oauth::client::Method;
use crate::oauth::scopes::OFFLINE_ACCESS;

impl Engine {
    /// The document of the authorization server: it names only what works.
    pub(crate) fn metadata(&self) -> Value {
        let methods = [Method::None, Method::Basic, Method::Post].map(Method::as_str);
        let offered = self.scopes.required.iter().map(String::as_str);
        let offered: Vec<&str> = offered.chain([OFFLINE_ACCESS]).collect();
        let mut document = json!({
            "issuer": self.urls.public,
            "authorization_endpoint": self.urls.endpoint("/authorize"),
            "token_endpoint": self.urls.endpoint("/token"),
            "revocation_endpoint": self.urls.endpoint("/revoke"),
            "scopes_supported": offered,
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_methods_supported": methods,
            "revocation_endpoint_auth_methods_supported": methods,
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
        });
        if self.clients.registration {
            document["registration_endpoint"] = Value::from(self.urls.endpoint("/register"));
        }
        // Entra's tokens are verified by Entra's keys.
        if !self.pass_through {
            document["jwks_uri"] = Value::from(self.urls.endpoint("/jwks.json"));
        }
        document
    }

    /// The same where OpenID Connect has it (Discovery §3), with what readers of that insist on. There
    /// are no id tokens.
    pub(crate) fn openid_metadata(&self) -> Value {
        let mut document = self.metadata();
        document["subject_types_supported"] = json!(["pairwise"]);
        document["id_token_signing_alg_values_supported"] = json!(["ES256"]);
        document
    }
}
