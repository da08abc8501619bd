//! Helpers that the tests share.

use std::collections::BTreeSet;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaParameters, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use entra_dev_tenant::DevTenant;
use serde_json::Value;

pub(crate) const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
pub(crate) const CLIENT: &str = "2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b";

/// Returns a client that uses no proxy of the environment, because a proxy does not reach our
/// loopback.
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

pub(crate) async fn fetch(url: &str) -> reqwest::Result<reqwest::Response> {
    client().get(url).send().await
}

pub(crate) async fn get(url: &str) -> (u16, Value) {
    let response = fetch(url).await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// Returns the entries of an authority's JWKS document.
pub(crate) fn keys(tenant: &DevTenant, authority: &str) -> Vec<Value> {
    let document: Value =
        serde_json::from_str(&tenant.signing_keys().document_of(authority)).unwrap();
    document["keys"].as_array().unwrap().clone()
}

/// Decodes a segment leniently, because some tokens here are wrong on purpose.
pub(crate) fn bytes(segment: &str) -> Vec<u8> {
    let lenient = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let engine = GeneralPurpose::new(&URL_SAFE, lenient);
    engine.decode(segment).unwrap()
}

pub(crate) fn decoded(token: &str, segment: usize) -> Value {
    let segment = token.split('.').nth(segment).unwrap();
    serde_json::from_slice(&bytes(segment)).unwrap()
}

pub(crate) fn names(object: &Value) -> Vec<&str> {
    let members = object.as_object().unwrap();
    members.keys().map(String::as_str).collect()
}

/// Returns the members of `changed` that differ from `plain`, with null for a member that it lacks.
pub(crate) fn differences(plain: &Value, changed: &Value) -> Value {
    // Members with a random value in each token.
    const OPAQUE: [&str; 4] = ["aio", "rh", "uti", "xms_ftd"];
    let all: BTreeSet<&str> = [names(plain), names(changed)]
        .concat()
        .into_iter()
        .collect();
    all.into_iter()
        .filter(|name| !OPAQUE.contains(name) && plain[*name] != changed[*name])
        .map(|name| (name, changed[name].clone()))
        .collect()
}

/// Returns whether the signature verifies with the key in the document that the token's `kid`
/// names.
pub(crate) fn verifies(token: &str, jwks: &Value) -> bool {
    let kid = &decoded(token, 0)["kid"];
    let entries = jwks["keys"].as_array().unwrap();
    let key = entries.iter().find(|key| key["kid"] == *kid);
    key.is_some_and(|key| verifies_with(token, key, &RSA_PKCS1_2048_8192_SHA256))
}

/// Returns whether the signature of the first three segments verifies with this key and algorithm,
/// regardless of the header.
pub(crate) fn verifies_with(token: &str, key: &Value, algorithm: &'static RsaParameters) -> bool {
    let segments: Vec<&str> = token.split('.').collect();
    let [header, payload, signature, ..] = segments[..] else {
        return false;
    };
    RsaPublicKeyComponents {
        n: bytes(key["n"].as_str().unwrap()),
        e: bytes(key["e"].as_str().unwrap()),
    }
    .verify(
        algorithm,
        format!("{header}.{payload}").as_bytes(),
        &bytes(signature),
    )
    .is_ok()
}
