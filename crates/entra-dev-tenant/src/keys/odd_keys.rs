//! Entries of key documents that should not be there.

use serde_json::{Value, json};

use super::script::Oddity;
use super::shared_keys;
use crate::text::{base64url, bytes_for};

impl Oddity {
    /// Among `entries`, of which the one at `newest` is that of the tenant's newest key.
    pub(crate) fn write(&self, entries: &mut Vec<Value>, newest: usize) {
        match self {
            // Whose keys these are decides the document, not an entry.
            Self::Foreign => {}
            Self::Twin => entries.push(twin_of(&entries[newest])),
            Self::WeakAndExotic => {
                let exotic = [
                    weak(&entries[newest]),
                    without_kid(&entries[newest]),
                    post_quantum(),
                    edwards(),
                    symmetric(),
                ];
                entries.extend(exotic);
            }
            Self::PrivateHalf => entries[newest]["d"] = json!(opaque("private exponent", 256)),
            Self::Also(entry) => entries.push(entry.clone()),
        }
    }
}

/// The attacker's key under the same name: who takes it for the right one accepts its tokens.
fn twin_of(entry: &Value) -> Value {
    let mut twin = with_attackers_material(entry);
    twin["kid"] = entry["kid"].clone();
    twin["x5t"] = entry["kid"].clone();
    twin
}

/// The attacker's key without a name: who takes it for any token's key accepts its tokens.
fn without_kid(entry: &Value) -> Value {
    let mut nameless = with_attackers_material(entry);
    remove(&mut nameless, &["kid", "x5t"]);
    nameless
}

fn with_attackers_material(entry: &Value) -> Value {
    let attacker = shared_keys::attacker();
    let mut copy = entry.clone();
    remove(&mut copy, &["d"]);
    copy["n"] = json!(attacker.modulus);
    copy["e"] = json!(attacker.exponent);
    copy["x5c"] = json!([attacker.certificate]);
    copy
}

/// Of 1024 bits; nobody knows its factors, so that it signs nothing.
fn weak(entry: &Value) -> Value {
    let mut modulus = bytes_for("weak modulus", 128);
    modulus[0] |= 0x80;
    modulus[127] |= 1;
    let mut weak = entry.clone();
    remove(&mut weak, &["d", "x5c"]);
    weak["n"] = json!(base64url(&modulus));
    weak["kid"] = json!(opaque("weak", 20));
    weak["x5t"] = weak["kid"].clone();
    weak
}

/// RFC 9964.
fn post_quantum() -> Value {
    json!({
        "kty": "AKP",
        "use": "sig",
        "alg": "ML-DSA-44",
        "kid": opaque("AKP", 20),
        "pub": opaque("ML-DSA-44", 1_312),
    })
}

fn edwards() -> Value {
    json!({
        "kty": "OKP",
        "use": "sig",
        "crv": "Ed25519",
        "kid": opaque("OKP", 20),
        "x": opaque("Ed25519", 32),
    })
}

fn symmetric() -> Value {
    json!({
        "kty": "oct",
        "use": "sig",
        "alg": "HS256",
        "kid": opaque("oct", 20),
        "k": opaque("HS256", 32),
    })
}

/// The same in each document, as a key would be.
fn opaque(word: &str, length: usize) -> String {
    base64url(&bytes_for(word, length))
}

fn remove(entry: &mut Value, names: &[&str]) {
    if let Value::Object(members) = entry {
        for name in names {
            members.remove(*name);
        }
    }
}
