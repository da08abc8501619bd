//! Helpers of this crate's own unit tests: JWKS entries of keys that are generated on first use.

use std::sync::OnceLock;

use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A modulus of 2049 bits whose private half can be computed from it (ROCA).
///
/// Source: Wycheproof, `json_web_key_test.json`, test 7.
pub(crate) const ROCA_MODULUS: &str = "AanFpofbj7KjD4Lf-N2hVMKR7yewSyXhhbirIMTGpfYEhZ_lnt5UoK98DnKIgArXG\
    Tu3MaW_HhFw16HGaTDUHqPrId7fe4r11CqRw09yBFuW79V8sYIwHdzCaWflUI6auImYbVfoN9_nD5n8N8SY9DwXw7mwZM9wREP\
    XoDPgOoIWl6q_MPsp7n0zs3Z5ZaiQWOOzl1S9OhwAfSiiOwz6efnXEaxuTEtPd7BjSx7NaFka8Dx9U7YqXy2RFj1O9PjyaDGuR\
    h7YXsX3iMUSP_wSyHQg_c_qHRtKUsNSGCT7OZg0hzm2KphtjnayKJvC64vAbROBR4Ubg6Bxg9IQVZ-QYyE";

/// Returns a JWKS entry as Entra publishes it.
pub(crate) fn jwk() -> Value {
    static KEY: OnceLock<Value> = OnceLock::new();
    KEY.get_or_init(|| make("first")).clone()
}

/// Returns the JWKS entry of a second key.
pub(crate) fn second_jwk() -> Value {
    static KEY: OnceLock<Value> = OnceLock::new();
    KEY.get_or_init(|| make("second")).clone()
}

/// Returns a copy of the entry with one member set.
pub(crate) fn with(entry: &Value, member: &str, value: Value) -> Value {
    let mut entry = entry.clone();
    entry[member] = value;
    entry
}

fn make(kid: &str) -> Value {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let public = pair.public_key();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    json!({
        "kty": "RSA",
        "use": "sig",
        "kid": kid,
        "n": encode(public.modulus().big_endian_without_leading_zero()),
        "e": encode(public.exponent().big_endian_without_leading_zero()),
        "issuer": "https://login.microsoftonline.com/{tenantid}/v2.0",
        "cloud_instance_name": "microsoftonline.com",
    })
}
