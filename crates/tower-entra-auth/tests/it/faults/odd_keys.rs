//! Tests of published keys that sign no token of Entra, next to keys that do.

use entra_dev_tenant::{DevTenant, Flaw};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{
    ACCEPTED, API, HOUR, MINUTE, PENDING, SECOND, Scene, UNTRUSTED, auth, tenant, until, user,
};

/// Waits for a scheduled fetch and checks that it succeeds.
async fn after_the_next_fetch(scene: &Scene) {
    let (before, failures) = (
        scene.tenant.key_endpoint().hits(),
        scene.issuer().failures_in_a_row,
    );
    let is_fetched = || scene.tenant.key_endpoint().hits() > before;
    until(2 * HOUR, MINUTE, is_fetched).await;
    assert_eq!((scene.issuer().failures_in_a_row, failures), (0, 0));
}

// F19
#[tokio::test(start_paused = true)]
async fn a_key_id_that_is_published_twice_leaves_the_key_that_is_held() {
    let scene = Scene::start().await;
    scene.tenant.signing_keys().rotate();
    let [remembered, unseen, later] = scene.tokens();
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    scene.tenant.signing_keys().publish_twin();
    let of_the_twin = || user(&scene.tenant).flaw(Flaw::WrongKey).mint();
    for _ in 0..30 {
        // The loop takes more than a day: the key does not count as absent either.
        after_the_next_fetch(&scene).await;
        assert_eq!(scene.answer(&of_the_twin()).await, UNTRUSTED);
    }
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    assert_eq!(scene.answer(&unseen).await, ACCEPTED);
    scene.tenant.signing_keys().reset();
    after_the_next_fetch(&scene).await;
    assert_eq!(scene.answer(&later).await, ACCEPTED);
    assert_eq!(scene.answer(&of_the_twin()).await, UNTRUSTED);
}

// F19
#[tokio::test(start_paused = true)]
async fn a_key_id_that_is_published_twice_from_the_beginning_is_none() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let scene = Scene::of(tenant, auth).await;
    let of_the_first = scene.token();
    scene.tenant.signing_keys().rotate();
    scene.tenant.signing_keys().publish_twin();
    let of_the_twin = user(&scene.tenant).flaw(Flaw::WrongKey).mint();
    let new = scene.token();
    assert_eq!(scene.answer(&of_the_first).await, ACCEPTED);
    assert_eq!(scene.answer(&of_the_twin).await, UNTRUSTED);
    assert_eq!(scene.answer(&new).await, PENDING);
    assert_eq!(scene.tenant.key_endpoint().hits(), 1 + 2);

    scene.tenant.signing_keys().reset();
    sleep(30 * SECOND).await;
    assert_eq!(scene.answer(&new).await, ACCEPTED);
    assert_eq!(scene.answer(&of_the_twin).await, UNTRUSTED);
}

/// Returns the entry with these members changed.
fn changed(mut entry: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        entry[name] = value.clone();
    }
    entry
}

// F20
#[tokio::test(start_paused = true)]
async fn entries_of_another_kind_with_the_id_of_a_good_key_do_not_make_it_ambiguous() {
    let tenant = tenant().await;
    let attackers = entry_of_an_attacker(&tenant).await;
    let kid = tenant.signing_keys().current_id();
    for twin in [
        json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": kid }),
        json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AA", "kid": kid }),
        changed(attackers.clone(), &json!({ "use": "enc", "kid": kid })),
        changed(attackers, &json!({ "alg": "PS256", "kid": kid })),
    ] {
        tenant.signing_keys().publish(twin);
    }
    let auth = auth(&tenant);
    let scene = Scene::of(tenant, auth).await;
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);
    let of_a_twin = user(&scene.tenant).flaw(Flaw::WrongKey).mint();
    assert_eq!(scene.answer(&of_a_twin).await, UNTRUSTED);
    assert_eq!(scene.tenant.key_endpoint().hits(), 1);
}

/// Returns an entry with the key that [`Flaw::WrongKey`] signs with, as another tenant's key
/// document contains it.
async fn entry_of_an_attacker(tenant: &DevTenant) -> Value {
    let other = DevTenant::builder().id(tenant.id()).start().await.unwrap();
    other.signing_keys().publish_twin();
    let document: Value = serde_json::from_str(&other.signing_keys().document()).unwrap();
    document["keys"][1].clone()
}

// F21, F24, F25, F27
#[tokio::test(start_paused = true)]
async fn weak_and_exotic_keys_beside_good_ones_hinder_nobody_and_are_never_used() {
    let tenant = tenant().await;
    tenant.signing_keys().publish_weak();
    let document: Value = serde_json::from_str(&tenant.signing_keys().document()).unwrap();
    let auth = auth(&tenant);
    let scene = Scene::of(tenant, auth).await;
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);
    let held = scene.issuer().keys;
    assert_eq!(
        (held.len(), held[0].id.as_str()),
        (1, &*scene.tenant.signing_keys().current_id())
    );

    // The published key without an id is an attacker's: none of the attacker's tokens finds it,
    // with or without `kid`.
    let theirs = || user(&scene.tenant).flaw(Flaw::WrongKey);
    assert_eq!(scene.answer(&theirs().mint()).await, UNTRUSTED);
    let without = theirs().without_header("kid").mint();
    assert_eq!(scene.answer(&without).await, "401 missing_kid");
    let mut asked = 0;
    for entry in document["keys"].as_array().unwrap() {
        if let Some(kid) = entry["kid"]
            .as_str()
            .filter(|kid| *kid != scene.tenant.signing_keys().current_id())
        {
            let token = theirs().header("kid", kid).mint();
            assert_eq!(scene.answer(&token).await, UNTRUSTED, "{entry}");
            asked += 2;
            // The bucket refills.
            sleep(MINUTE).await;
        }
    }
    assert!(asked > 0);
    assert_eq!(scene.tenant.key_endpoint().hits(), 1 + asked);
}

// F22
#[tokio::test(start_paused = true)]
async fn the_algorithm_comes_from_the_rules_and_neither_from_the_key_nor_from_the_token() {
    let scene = Scene::start().await;
    let document: Value = serde_json::from_str(&scene.tenant.signing_keys().document()).unwrap();
    assert!(document["keys"][0].get("alg").is_none());
    for flaw in [
        Flaw::Ps256,
        Flaw::Rs512,
        Flaw::Hs256WithPublicKey,
        Flaw::AlgNone,
    ] {
        let token = user(&scene.tenant).flaw(flaw).mint();
        assert_eq!(
            scene.answer(&token).await,
            "401 wrong_algorithm",
            "{flaw:?}"
        );
    }
    assert_eq!(scene.tenant.key_endpoint().hits(), 1);
}

// F23
#[tokio::test(start_paused = true)]
async fn keys_for_another_purpose_are_left_out_and_the_others_are_not() {
    for (changes, expected) in [
        (json!({ "alg": "SHA256" }), UNTRUSTED),
        (json!({ "alg": "RS512" }), UNTRUSTED),
        (json!({ "use": "enc" }), UNTRUSTED),
        (json!({ "use": "tls" }), UNTRUSTED),
        (json!({ "use": "sig", "key_ops": ["encrypt"] }), UNTRUSTED),
        // These two are accepted, which shows that the others are refused for their members.
        (json!({ "use": "sig", "alg": "RS256" }), ACCEPTED),
        (json!({}), ACCEPTED),
    ] {
        let tenant = tenant().await;
        let attackers = entry_of_an_attacker(&tenant).await;
        let entry = changed(changed(attackers, &json!({ "kid": "theirs" })), &changes);
        tenant.signing_keys().publish(entry.clone());
        let auth = auth(&tenant);
        let scene = Scene::of(tenant, auth).await;
        assert_eq!(scene.answer(&scene.token()).await, ACCEPTED, "{entry}");
        let token = user(&scene.tenant)
            .flaw(Flaw::WrongKey)
            .header("kid", "theirs");
        assert_eq!(scene.answer(&token.mint()).await, expected, "{entry}");
        assert!(scene.issuer().last_failure.is_none());
    }
}

// F26
#[tokio::test(start_paused = true)]
async fn a_key_whose_private_half_was_published_stays_refused_whatever_is_published_later() {
    let scene = Scene::start().await;
    let first = scene.token();
    scene.tenant.signing_keys().rotate();
    let [remembered, unseen] = scene.tokens();
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    scene.tenant.signing_keys().publish_private_half();
    after_the_next_fetch(&scene).await;
    for _ in 0..3 {
        for token in [&remembered, &unseen, &scene.token()] {
            assert_eq!(scene.answer(token).await, UNTRUSTED);
        }
        assert_eq!(scene.answer(&first).await, ACCEPTED);
        // This could be a front end that lags, or an attempt to undo the publication.
        scene.tenant.signing_keys().reset();
        after_the_next_fetch(&scene).await;
    }
    scene.tenant.signing_keys().rotate();
    sleep(MINUTE).await;
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);
    assert_eq!(scene.answer(&unseen).await, UNTRUSTED);
}

// F26
#[tokio::test(start_paused = true)]
async fn a_key_whose_private_half_is_published_is_refused_even_where_it_is_the_only_one() {
    let scene = Scene::start().await;
    let [remembered, unseen] = scene.tokens();
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    scene.tenant.signing_keys().publish_private_half();
    let before = scene.tenant.key_endpoint().hits();
    let is_fetched = || scene.tenant.key_endpoint().hits() > before;
    until(2 * HOUR, MINUTE, is_fetched).await;
    // Anyone can sign with this key, so no token of it may be accepted, regardless of the code.
    for token in [&remembered, &unseen, &scene.token()] {
        assert_ne!(scene.answer(token).await, ACCEPTED);
    }
    scene.tenant.signing_keys().reset();
    scene.tenant.signing_keys().rotate();
    sleep(6 * MINUTE).await;
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);
    assert_eq!(scene.answer(&unseen).await, UNTRUSTED);
}

// F29
#[tokio::test(start_paused = true)]
async fn keys_of_another_cloud_and_of_personal_accounts_sign_for_nobody_here() {
    let tenant = tenant().await;
    tenant.signing_keys().publish_foreign();
    let auth = auth(&tenant);
    let scene = Scene::of(tenant, auth).await;
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);
    assert_eq!(scene.issuer().keys.len(), 3, "all of them are held");
    for flaw in [Flaw::PersonalKey, Flaw::OtherCloudKey] {
        let token = user(&scene.tenant).flaw(flaw).mint();
        assert_eq!(scene.answer(&token).await, UNTRUSTED, "{flaw:?}");
    }
    let personal = scene
        .tenant
        .personal("lovelace")
        .scope("Reports.Read")
        .for_api(API);
    assert_eq!(scene.answer(&personal.mint()).await, "401 personal_account");
    assert_eq!(scene.tenant.key_endpoint().hits(), 1);
}
