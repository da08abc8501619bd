//! Key documents: which keys each authority publishes, with the members that Entra serves.

use std::sync::Arc;

use serde_json::{Value, json};

use super::custom_key::CustomKey;
use super::script::{Edition, Oddity, PublishedKeys};
use super::shared_keys;
use super::signing_key::SigningKey;
use crate::authority::Authority;
use crate::cloud::{CONSUMERS, DevCloud};
use crate::dev_tenant::Inner;

/// `/{tenant}/discovery/v2.0/keys`.
pub(crate) fn v2(
    tenant: &Inner,
    authority: Authority<'_>,
    custom: Option<&CustomKey>,
    edition: &Edition,
) -> Value {
    document(tenant, authority, custom, edition, v2_entry)
}

/// `/{tenant}/discovery/keys`.
pub(crate) fn v1(
    tenant: &Inner,
    authority: Authority<'_>,
    custom: Option<&CustomKey>,
    edition: &Edition,
) -> Value {
    document(tenant, authority, custom, edition, v1_entry)
}

/// A key and what its entry says about it.
struct Published {
    key: Arc<SigningKey>,
    issuer: String,
    cloud: DevCloud,
}

fn document(
    tenant: &Inner,
    authority: Authority<'_>,
    custom: Option<&CustomKey>,
    edition: &Edition,
    entry: fn(&Published) -> Value,
) -> Value {
    let published = published(tenant, authority, custom, &edition.published);
    let mut entries: Vec<Value> = published.iter().map(entry).collect();
    if !matches!(authority, Authority::Consumers) {
        let newest = edition.published.keys.len() - 1;
        for oddity in &edition.published.oddities {
            oddity.write(&mut entries, newest);
        }
    }
    entries.retain(|entry| !edition.without.iter().any(|kid| entry["kid"] == **kid));
    json!({ "keys": entries })
}

/// The tenant's own first. As a capture of the public `common` document of September 2025 has them.
fn published(
    tenant: &Inner,
    authority: Authority<'_>,
    custom: Option<&CustomKey>,
    set: &PublishedKeys,
) -> Vec<Published> {
    let is_foreign_too = set.oddities.contains(&Oddity::Foreign);
    let (other_cloud, personal_accounts) = match authority {
        Authority::Consumers => return vec![of_personal_accounts(tenant)],
        Authority::Common => (true, true),
        Authority::Organizations => (true, is_foreign_too),
        Authority::Tenant(_) => (is_foreign_too, is_foreign_too),
    };
    let custom = custom.map(|custom| &custom.key);
    let own = set.keys.iter().chain(custom);
    let mut keys: Vec<_> = own.map(|key| of_tenant(tenant, key)).collect();
    if other_cloud {
        keys.push(of_other_cloud(tenant));
    }
    if personal_accounts {
        keys.push(of_personal_accounts(tenant));
    }
    keys
}

fn of_tenant(tenant: &Inner, key: &Arc<SigningKey>) -> Published {
    Published {
        key: Arc::clone(key),
        issuer: tenant.key_issuer(),
        cloud: tenant.cloud,
    }
}

/// Only `cloud_instance_name` tells it from the played cloud's own: its `issuer` is theirs.
fn of_other_cloud(tenant: &Inner) -> Published {
    let cloud = tenant.cloud.other();
    Published {
        key: shared_keys::of_cloud(cloud),
        issuer: tenant.key_issuer(),
        cloud,
    }
}

/// Only `issuer` tells it from the others: it names the one tenant that the key may sign for.
fn of_personal_accounts(tenant: &Inner) -> Published {
    Published {
        key: shared_keys::personal(),
        issuer: tenant.cloud.v2_issuer(CONSUMERS),
        cloud: tenant.cloud,
    }
}

/// No `alg`, but the `issuer` the key may sign for.
fn v2_entry(published: &Published) -> Value {
    let mut entry = v1_entry(published);
    entry["issuer"] = json!(published.issuer);
    entry
}

/// The same without `issuer`.
fn v1_entry(published: &Published) -> Value {
    let key = &published.key;
    json!({
        "kty": "RSA",
        "use": "sig",
        "kid": key.id,
        "x5t": key.id,
        "n": key.modulus,
        "e": key.exponent,
        "x5c": [key.certificate],
        "cloud_instance_name": published.cloud.instance_name(),
    })
}
