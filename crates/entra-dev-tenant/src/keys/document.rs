//! JWKS documents: the keys that each authority publishes, with the members that Entra serves, and
//! the entries that should not be there.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::{Edition, Oddity, PublishedKeys, SigningKey};
use crate::authority::{Authority, CONSUMERS, DevCloud, Realm, Version};
use crate::text::base64url;

/// A key, with the other facts that its entry states.
struct Entry {
    key: Arc<SigningKey>,
    issuer: String,
    cloud: DevCloud,
}

/// Returns the document of `/{tenant}/discovery/v2.0/keys`, or of the v1 path without `v2.0`.
pub(super) fn document(
    realm: &Realm,
    authority: Authority<'_>,
    version: Version,
    custom: Option<&Arc<SigningKey>>,
    edition: &Edition,
) -> Value {
    let published = published(realm, authority, custom, &edition.published);
    let mut entries: Vec<Value> = published.iter().map(|entry| entry.json(version)).collect();
    if !matches!(authority, Authority::Consumers) {
        let newest = edition.published.keys.len() - 1;
        for oddity in &edition.published.oddities {
            add_oddity(oddity, &mut entries, newest);
        }
    }
    entries.retain(|entry| !edition.without.iter().any(|kid| entry["kid"] == **kid));
    json!({ "keys": entries })
}

/// Lists the keys of an authority's document, the tenant's own first.
///
/// The order is that of the public `common` document, as captured in September 2025.
fn published(
    realm: &Realm,
    authority: Authority<'_>,
    custom: Option<&Arc<SigningKey>>,
    set: &PublishedKeys,
) -> Vec<Entry> {
    let is_foreign_too = set.oddities.contains(&Oddity::Foreign);
    let (other_cloud, personal_accounts) = match authority {
        Authority::Consumers => return vec![of_personal_accounts(realm)],
        Authority::Common => (true, true),
        Authority::Organizations => (true, is_foreign_too),
        Authority::Tenant(_) => (is_foreign_too, is_foreign_too),
    };
    let own = set.keys.iter().chain(custom);
    let mut keys: Vec<_> = own.map(|key| of_tenant(realm, key)).collect();
    if other_cloud {
        keys.push(of_other_cloud(realm));
    }
    if personal_accounts {
        keys.push(of_personal_accounts(realm));
    }
    keys
}

fn of_tenant(realm: &Realm, key: &Arc<SigningKey>) -> Entry {
    Entry {
        key: Arc::clone(key),
        issuer: key_issuer(realm),
        cloud: realm.cloud,
    }
}

/// Returns the entry of another cloud's key.
///
/// Only `cloud_instance_name` distinguishes it from the entries of the played cloud, which have the
/// same `issuer`.
fn of_other_cloud(realm: &Realm) -> Entry {
    let cloud = realm.cloud.other();
    Entry {
        key: SigningKey::of_cloud(cloud),
        issuer: key_issuer(realm),
        cloud,
    }
}

/// Returns the entry of the key of personal accounts.
///
/// Only `issuer` distinguishes it from the other entries: it names the one tenant for which the key
/// may sign.
fn of_personal_accounts(realm: &Realm) -> Entry {
    Entry {
        key: SigningKey::personal(),
        issuer: realm.cloud.v2_issuer(CONSUMERS),
        cloud: realm.cloud,
    }
}

/// Returns `issuer` of the tenant's keys.
///
/// It is a template for all tenants of a cloud, because they share the keys. In External ID it
/// names the tenant.
fn key_issuer(realm: &Realm) -> String {
    if realm.is_external_id {
        realm.v2_issuer(&realm.id)
    } else {
        realm.cloud.v2_issuer("{tenantid}")
    }
}

impl Entry {
    /// Returns the entry with the members that Entra serves. There is no `alg`. In v2 there is
    /// `issuer`, for which the key may sign.
    fn json(&self, version: Version) -> Value {
        let mut entry = json!({
            "kty": "RSA",
            "use": "sig",
            "kid": self.key.id,
            "x5t": self.key.id,
            "n": self.key.modulus,
            "e": self.key.exponent,
            "x5c": [self.key.certificate],
            "cloud_instance_name": self.cloud.instance_name(),
        });
        if version == Version::V2 {
            entry["issuer"] = json!(self.issuer);
        }
        entry
    }
}

/// Adds an oddity to `entries`. `newest` is the index of the tenant's newest key.
fn add_oddity(oddity: &Oddity, entries: &mut Vec<Value>, newest: usize) {
    match oddity {
        // `published` adds these keys, because they depend on the authority.
        Oddity::Foreign => {}
        Oddity::Twin => entries.push(twin_of(&entries[newest])),
        Oddity::WeakAndExotic => {
            let exotic = [
                weak(&entries[newest]),
                without_kid(&entries[newest]),
                post_quantum(),
                edwards(),
                symmetric(),
            ];
            entries.extend(exotic);
        }
        Oddity::PrivateHalf => entries[newest]["d"] = json!(opaque("private exponent", 256)),
        Oddity::Also(entry) => entries.push(entry.clone()),
    }
}

/// Returns the attacker's key under the same `kid`. A client that uses it accepts the attacker's
/// tokens.
fn twin_of(entry: &Value) -> Value {
    let mut twin = with_attackers_material(entry);
    twin["kid"] = entry["kid"].clone();
    twin["x5t"] = entry["kid"].clone();
    twin
}

/// Returns the attacker's key without a `kid`. A client that uses it for any token accepts the
/// attacker's tokens.
fn without_kid(entry: &Value) -> Value {
    let mut nameless = with_attackers_material(entry);
    remove(&mut nameless, &["kid", "x5t"]);
    nameless
}

fn with_attackers_material(entry: &Value) -> Value {
    let attacker = SigningKey::attacker();
    let mut copy = entry.clone();
    remove(&mut copy, &["d"]);
    copy["n"] = json!(attacker.modulus);
    copy["e"] = json!(attacker.exponent);
    copy["x5c"] = json!([attacker.certificate]);
    copy
}

/// Returns an RSA key of 1024 bits. Its factors are unknown, so no token can be signed with it.
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

/// Returns a key of the type `AKP` (RFC 9964).
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

/// Returns a text that is the same in each document, as that of a real key would be.
fn opaque(word: &str, length: usize) -> String {
    base64url(&bytes_for(word, length))
}

/// Returns bytes without meaning, which are the same for the same word.
fn bytes_for(word: &str, length: usize) -> Vec<u8> {
    let block = |number: usize| digest(&SHA256, format!("{word}\n{number}").as_bytes());
    (0..length.div_ceil(32))
        .flat_map(|number| block(number).as_ref().to_vec())
        .take(length)
        .collect()
}

fn remove(entry: &mut Value, names: &[&str]) {
    if let Value::Object(members) = entry {
        for name in names {
            members.remove(*name);
        }
    }
}
