//! Tests of JWKS documents whose content a test has changed, as the tenant serves them.

use aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
use entra_dev_tenant::{DevTenant, Flaw};
use serde_json::{Value, json};

use crate::support::{API, bytes, decoded, get, keys, verifies, verifies_with};

/// Fetches the entries of the tenant's own JWKS document.
async fn served(tenant: &DevTenant) -> Vec<Value> {
    entries(tenant, tenant.id(), "/v2.0").await
}

async fn entries(tenant: &DevTenant, authority: &str, version: &str) -> Vec<Value> {
    let url = format!("{}/{authority}/discovery{version}/keys", tenant.url());
    let (status, document) = get(&url).await;
    assert_eq!(status, 200);
    document["keys"].as_array().unwrap().clone()
}

fn ids(entries: &[Value]) -> Vec<&str> {
    let ids = entries.iter().map(|key| key["kid"].as_str());
    ids.map(|id| id.unwrap_or("none")).collect()
}

async fn served_ids(tenant: &DevTenant) -> Vec<String> {
    let entries = served(tenant).await;
    ids(&entries).into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn an_empty_set_can_be_served() {
    let tenant = DevTenant::start().await.unwrap();
    tenant.signing_keys().serve_none().for_next(2);
    for authority in [tenant.id(), "common"] {
        let url = format!("{}/{authority}/discovery/v2.0/keys", tenant.url());
        assert_eq!(get(&url).await, (200, json!({ "keys": [] })));
    }
    assert_eq!(served(&tenant).await, keys(&tenant, tenant.id()));
}

#[tokio::test]
async fn documents_lag_behind_the_latest_rotation() {
    let tenant = DevTenant::start().await.unwrap();
    let first = tenant.signing_keys().current_id();
    // Before the first rotation, there are no earlier keys.
    tenant.signing_keys().lag(1);
    assert_eq!(served_ids(&tenant).await, [&*first]);

    tenant.signing_keys().rotate();
    let second = tenant.signing_keys().current_id();
    tenant.signing_keys().lag(2);
    // Neither a document that was only looked at nor a failed request counts as served.
    let looked_at = ids(&keys(&tenant, tenant.id())).join(" ");
    assert_eq!(looked_at, first);
    tenant.key_endpoint().fail_with(503).for_next(1);
    let url = format!("{}/common/discovery/v2.0/keys", tenant.url());
    let failed = crate::support::fetch(&url).await.unwrap();
    assert_eq!(failed.status(), 503);
    assert_eq!(served_ids(&tenant).await, [&*first]);
    let v1 = entries(&tenant, tenant.id(), "").await;
    assert_eq!(ids(&v1), [&*first]);
    assert_eq!(served_ids(&tenant).await, [&*first, &*second]);

    // This lag begins before the rotation.
    tenant.signing_keys().lag(1);
    tenant.signing_keys().rotate();
    let third = tenant.signing_keys().current_id();
    assert_eq!(served_ids(&tenant).await, [&*first, &*second]);
    assert_eq!(served_ids(&tenant).await, [&*first, &*second, &*third]);
}

#[tokio::test]
async fn documents_flap_between_sets_until_they_stop() {
    let tenant = DevTenant::start().await.unwrap();
    let (old, first) = (
        tenant.signing_keys().published(),
        tenant.signing_keys().current_id(),
    );
    tenant.signing_keys().rotate();
    tenant.signing_keys().withdraw_old();
    let (new, second) = (
        tenant.signing_keys().published(),
        tenant.signing_keys().current_id(),
    );
    tenant.signing_keys().alternate(vec![old, new]);
    for expected in [&first, &second, &first] {
        assert_eq!(&ids(&keys(&tenant, tenant.id())), &[&**expected]);
        assert_eq!(&served_ids(&tenant).await, &[&**expected]);
    }
    tenant.signing_keys().stop_alternating();
    for _ in 0..2 {
        assert_eq!(served_ids(&tenant).await, [&*second]);
    }
}

#[tokio::test]
async fn a_snapshot_keeps_what_was_published_beside_the_keys() {
    let tenant = DevTenant::start().await.unwrap();
    let plain = tenant.signing_keys().published();
    tenant.signing_keys().publish_private_half();
    let exposed = tenant.signing_keys().published();
    tenant.signing_keys().reset();
    tenant
        .signing_keys()
        .alternate(vec![exposed.clone(), plain]);
    for expected in [true, false, true] {
        assert_eq!(served(&tenant).await[0]["d"].is_string(), expected);
    }
    assert!(format!("{exposed:?}").contains(&tenant.signing_keys().current_id()));
}

#[tokio::test]
#[should_panic(expected = "needs at least one set of keys")]
async fn flapping_between_nothing_is_refused() {
    DevTenant::start()
        .await
        .unwrap()
        .signing_keys()
        .alternate(Vec::new());
}

#[tokio::test]
async fn a_key_vanishes_for_some_documents_and_is_back() {
    let tenant = DevTenant::start().await.unwrap();
    let first = tenant.signing_keys().current_id();
    tenant.signing_keys().rotate();
    let second = tenant.signing_keys().current_id();
    tenant.signing_keys().omit(&first, 9);
    tenant.signing_keys().omit(&first, 2);
    tenant.signing_keys().omit(&second, 1);
    assert!(keys(&tenant, tenant.id()).is_empty());
    assert!(served(&tenant).await.is_empty());
    assert_eq!(served_ids(&tenant).await, [&*second]);
    assert_eq!(served_ids(&tenant).await, [&*first, &*second]);
}

#[tokio::test]
async fn in_an_emergency_a_new_key_signs_and_all_others_are_withdrawn_at_once() {
    let tenant = DevTenant::start().await.unwrap();
    tenant.signing_keys().rotate();
    let before = tenant.signing_keys().published();
    let old = tenant.user("ada").for_api(API).mint();
    tenant.signing_keys().replace_at_once();
    let new = tenant.user("ada").for_api(API).mint();

    let jwks = json!({ "keys": served(&tenant).await });
    assert_eq!(
        served_ids(&tenant).await,
        [tenant.signing_keys().current_id()]
    );
    assert!(verifies(&new, &jwks) && !verifies(&old, &jwks));

    tenant.signing_keys().lag(1);
    let lagging = served_ids(&tenant).await;
    assert_eq!(lagging.len(), 2);
    assert!(lagging.iter().all(|id| format!("{before:?}").contains(id)));
}

#[tokio::test]
async fn the_tenants_own_document_can_hold_the_keys_of_others() {
    let tenant = DevTenant::start().await.unwrap();
    let other_cloud = tenant.user("ada").for_api(API).flaw(Flaw::OtherCloudKey);
    let of_others = [
        other_cloud.mint(),
        tenant.personal("ada").for_api(API).mint(),
    ];
    let holds = async |authority: &str| {
        let jwks = json!({ "keys": entries(&tenant, authority, "/v2.0").await });
        of_others.each_ref().map(|token| verifies(token, &jwks))
    };
    assert_eq!(holds(tenant.id()).await, [false, false]);
    tenant.signing_keys().publish_foreign();
    tenant.signing_keys().publish_foreign();
    for authority in [tenant.id(), "organizations", "common"] {
        assert_eq!(holds(authority).await, [true, true], "{authority}");
        let entries = entries(&tenant, authority, "/v2.0").await;
        assert_eq!(entries.len(), 3, "{authority}");
        assert_eq!(entries[1]["cloud_instance_name"], "microsoftonline.us");
        let issuer = entries[2]["issuer"].as_str().unwrap();
        assert!(issuer.contains("9188040d-6c67-4c5b-b112-36a304b66dad"));
    }
    tenant.signing_keys().reset();
    assert_eq!(holds(tenant.id()).await, [false, false]);
}

#[tokio::test]
async fn the_signing_keys_id_can_stand_there_twice_with_different_material() {
    let tenant = DevTenant::start().await.unwrap();
    tenant.signing_keys().rotate();
    tenant.signing_keys().publish_twin();
    tenant.signing_keys().publish_twin();
    let served = served(&tenant).await;
    let twins: Vec<_> = served
        .iter()
        .filter(|key| key["kid"] == tenant.signing_keys().current_id())
        .collect();
    assert_eq!((served.len(), twins.len()), (3, 2));
    let members = |key: &Value| key.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(members(twins[0]), members(twins[1]));

    let good = tenant.user("ada").for_api(API).mint();
    let forged = tenant.user("ada").for_api(API).flaw(Flaw::WrongKey).mint();
    let verifying = |token: &str| {
        let twins = twins.iter();
        twins
            .map(|key| verifies_with(token, key, &RSA_PKCS1_2048_8192_SHA256))
            .collect::<Vec<_>>()
    };
    assert_eq!(verifying(&good), [true, false]);
    assert_eq!(verifying(&forged), [false, true]);

    tenant.signing_keys().reset();
    assert_eq!(keys(&tenant, tenant.id()).len(), 2);
}

#[tokio::test]
async fn a_weak_key_and_exotic_entries_can_be_published() {
    let tenant = DevTenant::start().await.unwrap();
    let before = served(&tenant).await;
    tenant.signing_keys().publish_weak();
    let served = served(&tenant).await;
    assert_eq!(served[..1], before[..]);
    let [_, weak, nameless, rest @ ..] = &served[..] else {
        panic!("{served:?}");
    };
    let modulus = bytes(weak["n"].as_str().unwrap());
    assert_eq!(
        (modulus.len(), modulus[0] >> 7, modulus[127] & 1),
        (128, 1, 1)
    );
    assert_eq!((&weak["kty"], &weak["e"]), (&json!("RSA"), &json!("AQAB")));
    assert_eq!(weak["issuer"], before[0]["issuer"]);

    assert_eq!((nameless.get("kid"), nameless.get("x5t")), (None, None));
    let forged = tenant.user("ada").for_api(API).flaw(Flaw::WrongKey).mint();
    let algorithm = &RSA_PKCS1_2048_8192_SHA256;
    assert!(verifies_with(&forged, nameless, algorithm));

    let kinds: Vec<_> = rest.iter().map(|key| &key["kty"]).collect();
    assert_eq!(kinds, ["AKP", "OKP", "oct"]);
    assert_eq!(bytes(rest[0]["pub"].as_str().unwrap()).len(), 1_312);
    assert_eq!(bytes(rest[1]["x"].as_str().unwrap()).len(), 32);
    assert_eq!(bytes(rest[2]["k"].as_str().unwrap()).len(), 32);
    let mut names = ids(&served);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 6);

    // The entries are the same in each document, as those of real keys would be.
    assert_eq!(keys(&tenant, tenant.id()), served);
    tenant.signing_keys().reset();
    assert_eq!(keys(&tenant, tenant.id()), before);
}

#[tokio::test]
async fn the_signing_keys_private_half_can_be_published() {
    let tenant = DevTenant::start().await.unwrap();
    tenant.signing_keys().rotate();
    tenant.signing_keys().publish_private_half();
    for authority in [tenant.id(), "common"] {
        for version in ["/v2.0", ""] {
            let entries = entries(&tenant, authority, version).await;
            let exposed: Vec<_> = entries.iter().filter(|key| key["d"].is_string()).collect();
            let [exposed] = &exposed[..] else {
                panic!("{entries:?}");
            };
            assert_eq!(exposed["kid"], tenant.signing_keys().current_id());
            assert_eq!(bytes(exposed["d"].as_str().unwrap()).len(), 256);
        }
    }
    let token = tenant.user("ada").for_api(API).mint();
    let jwks = json!({ "keys": served(&tenant).await });
    assert!(verifies(&token, &jwks), "it is the same key");

    tenant.signing_keys().reset();
    assert!(!tenant.signing_keys().document().contains("\"d\""));
}

#[tokio::test]
async fn any_entry_can_be_published_and_consumers_stays_as_it_is() {
    let tenant = DevTenant::start().await.unwrap();
    let consumers = entries(&tenant, "consumers", "/v2.0").await;
    tenant.signing_keys().publish(json!({ "kid": "any" }));
    tenant.signing_keys().publish("no object at all");
    tenant.signing_keys().publish_weak();
    for authority in [tenant.id(), "organizations", "common"] {
        let entries = entries(&tenant, authority, "/v2.0").await;
        assert!(entries.contains(&json!({ "kid": "any" })), "{authority}");
        assert!(entries.contains(&json!("no object at all")), "{authority}");
    }
    let found = entries(&tenant, "consumers", "/v2.0").await;
    assert_eq!(found, consumers);
    tenant.signing_keys().omit("any", 1);
    let lacking = served(&tenant).await;
    assert!(!lacking.contains(&json!({ "kid": "any" })));
    assert!(lacking.contains(&json!("no object at all")));
}

#[tokio::test]
async fn what_is_published_beside_the_keys_follows_a_rotation() {
    let tenant = DevTenant::start().await.unwrap();
    tenant.signing_keys().publish_private_half();
    tenant.signing_keys().rotate();
    let token = tenant.user("ada").for_api(API).mint();
    let entries = served(&tenant).await;
    let exposed = entries.iter().find(|key| key["d"].is_string()).unwrap();
    assert_eq!(exposed["kid"], decoded(&token, 0)["kid"]);
}
