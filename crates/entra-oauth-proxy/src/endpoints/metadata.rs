//! `GET /.well-known/…` and `/jwks.json`: metadata for clients, before their first request (RFC
//! 8414).

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tower_entra_auth::layer::AnswerBody;

use super::{Documents, Urls};
use crate::http::{Response, empty, set_static};
use crate::keys::Keyring;
use crate::oauth::{ClientRegistry, Scopes};

/// Builds the documents. `keys` is `None` if clients receive Entra's tokens, which Entra's keys
/// verify.
pub(super) fn documents(
    urls: &Urls,
    scopes: &Scopes,
    clients: &ClientRegistry,
    keys: Option<&Keyring>,
) -> Documents {
    let written = |document: &Value| Bytes::from(document.to_string());
    let mut document = metadata(urls, scopes, clients, keys.is_some());
    let metadata = written(&document);
    // The same document at OpenID Connect's path (Discovery §3), with the members that its readers
    // require. This server issues no id tokens.
    document["subject_types_supported"] = json!(["pairwise"]);
    document["id_token_signing_alg_values_supported"] = json!(["ES256"]);
    Documents {
        metadata,
        openid: written(&document),
        keys: keys.map(|keys| written(&keys.key_document())),
    }
}

/// Builds the metadata of the authorization server, which lists only supported features.
fn metadata(urls: &Urls, scopes: &Scopes, clients: &ClientRegistry, has_keys: bool) -> Value {
    let methods = ["none", "client_secret_basic", "client_secret_post"];
    let mut document = json!({
        "issuer": urls.public,
        "authorization_endpoint": urls.endpoint("/authorize"),
        "token_endpoint": urls.endpoint("/token"),
        "revocation_endpoint": urls.endpoint("/revoke"),
        "scopes_supported": scopes.offered(),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    });
    if clients.can_register() {
        document["registration_endpoint"] = Value::from(urls.endpoint("/register"));
    }
    if has_keys {
        document["jwks_uri"] = Value::from(urls.endpoint("/jwks.json"));
    }
    document
}

/// Returns a JSON document that every client and proxy may cache for 5 minutes.
pub(super) fn answer(method: &Method, document: &Bytes) -> Response {
    let mut response = empty(StatusCode::OK);
    set_static(&mut response, CONTENT_TYPE, "application/json");
    set_static(&mut response, CACHE_CONTROL, "public, max-age=300");
    if method == Method::GET {
        *response.body_mut() = AnswerBody::from(document.clone());
    }
    response
}
