//! Key documents: which keys each authority publishes, with the members that Entra serves.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::cloud::{CONSUMERS, DevCloud};
use crate::documents::Authority;
use crate::shared_keys;
use crate::signing_key::SigningKey;
use crate::tenant::Inner;

/// `/{tenant}/discovery/v2.0/keys`.
pub(crate) fn v2(tenant: &Inner, authority: Authority<'_>) -> Value {
    let keys: Vec<Value> = published(tenant, authority).iter().map(v2_entry).collect();
    json!({ "keys": keys })
}

/// `/{tenant}/discovery/keys`.
pub(crate) fn v1(tenant: &Inner, authority: Authority<'_>) -> Value {
    let keys: Vec<Value> = published(tenant, authority).iter().map(v1_entry).collect();
    json!({ "keys": keys })
}

/// A key and what its entry says about it.
struct Published {
    key: Arc<SigningKey>,
    issuer: String,
    cloud: DevCloud,
}

/// As a capture of the public `common` document of September 2025 has them.
fn published(tenant: &Inner, authority: Authority<'_>) -> Vec<Published> {
    match authority {
        Authority::Tenant(_) => own(tenant),
        Authority::Organizations => {
            let mut keys = own(tenant);
            keys.push(of_other_cloud(tenant));
            keys
        }
        Authority::Common => {
            let mut keys = own(tenant);
            keys.extend([of_other_cloud(tenant), of_personal_accounts(tenant)]);
            keys
        }
        Authority::Consumers => vec![of_personal_accounts(tenant)],
    }
}

fn own(tenant: &Inner) -> Vec<Published> {
    let keys = tenant.keys.published().into_iter();
    keys.map(|key| Published {
        key,
        issuer: tenant.key_issuer(),
        cloud: tenant.cloud,
    })
    .collect()
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
