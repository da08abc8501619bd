//! Tests of jumps of the wall clock, of many tenants, and of many replicas.

use std::collections::HashSet;
use std::time::Duration;

use entra_dev_tenant::Flaw;
use tokio::time::{Instant, sleep};
use tower_entra_auth::EntraAuth;

use super::hits;
use crate::support::{
    ACCEPTED, HOUR, PENDING, SECOND, Scene, UNTRUSTED, auth, settings, tenant, user,
};

// F17
#[tokio::test(start_paused = true)]
async fn when_the_wall_clock_jumps_tokens_are_judged_by_the_new_time_and_nothing_is_fetched() {
    let scene = Scene::start().await;
    let token = || user(&scene.tenant).mint();
    let [remembered, unseen, other] = [token(), token(), token()];
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    let due = scene.issuer().next_attempt_in;

    let two_days = 48 * HOUR;
    scene.tenant.time().jump_forward(two_days);
    assert_eq!(scene.answer(&remembered).await, "401 expired");
    assert_eq!(scene.answer(&unseen).await, "401 expired");
    let later = token();
    assert_eq!(
        scene.answer(&later).await,
        ACCEPTED,
        "keys do not age by it"
    );

    scene.tenant.time().jump_back(two_days);
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    assert_eq!(scene.answer(&unseen).await, ACCEPTED);
    assert_eq!(
        scene.answer(&later).await,
        "401 not_yet_valid",
        "remembered, too"
    );

    // The clock jumps to a time before 1970.
    let sixty_years = 60 * 366 * 24 * HOUR;
    scene.tenant.time().jump_back(sixty_years);
    for token in [&remembered, &unseen, &other, &later] {
        assert_eq!(scene.answer(token).await, "401 not_yet_valid");
    }
    assert_eq!(hits(&scene.tenant), (1, 1));
    let issuer = scene.issuer();
    assert_eq!((issuer.is_ready, issuer.next_attempt_in), (true, due));

    scene.tenant.time().jump_forward(sixty_years);
    assert_eq!(scene.answer(&other).await, ACCEPTED);
    scene.tenant.signing_keys().rotate();
    assert_eq!(scene.answer(&token()).await, ACCEPTED);
    assert_eq!(hits(&scene.tenant), (2, 2));
}

// F34
#[tokio::test(start_paused = true)]
async fn hundreds_of_tenants_share_one_set_of_keys_and_forged_ones_make_none() {
    let tenant = tenant().await;
    let ours = tenant.id().to_owned();
    let tenant_number = |number: u32| format!("{number:08x}-4e5f-4a6b-8c7d-9e0f1a2b3c4d");
    let of_any = settings(&tenant).tenant("organizations").build().unwrap();
    let of_two = settings(&tenant)
        .tenant(format!("{ours},{}", tenant_number(0)))
        .build()
        .unwrap();
    let scene = Scene::of(tenant, of_any).await;
    for number in 0..300 {
        let token = user(&scene.tenant).of_tenant(&tenant_number(number)).mint();
        assert_eq!(scene.answer(&token).await, ACCEPTED);
    }
    assert_eq!(scene.auth.status().issuers.len(), 1);
    assert_eq!(hits(&scene.tenant), (1, 1));

    let scene = Scene::of(scene.tenant, of_two).await;
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);
    for number in 1..100 {
        let token = user(&scene.tenant)
            .of_tenant(&tenant_number(number))
            .flaw(Flaw::UnknownKid);
        let expected = if number == 1 { UNTRUSTED } else { PENDING };
        assert_eq!(scene.answer(&token.mint()).await, expected);
    }
    assert_eq!(scene.auth.status().issuers.len(), 1);
    assert_eq!(
        hits(&scene.tenant),
        (4, 4),
        "two for all of them, as for any unknown keys"
    );
}

// F35
#[tokio::test(start_paused = true)]
async fn replicas_that_start_together_do_not_go_on_in_step() {
    let tenant = tenant().await;
    let replicas: Vec<EntraAuth> = (0..20).map(|_| auth(&tenant)).collect();
    let start = Instant::now();
    for replica in &replicas {
        replica.ready().await.unwrap();
    }
    assert_eq!(
        start.elapsed(),
        Duration::ZERO,
        "the first fetch waits for nothing"
    );
    assert_eq!(tenant.key_endpoint().hits(), 20);
    sleep(HOUR + SECOND).await;
    let requests = tenant.key_endpoint().requests();
    assert_eq!(requests.len(), 40);
    let moments: HashSet<u64> = requests[20..]
        .iter()
        .map(|request| (request.arrived_at() - start.into_std()).as_secs())
        .collect();
    assert!(
        moments
            .iter()
            .all(|moment| (57 * 60..=3_600).contains(moment))
    );
    assert!(moments.len() > 10, "{moments:?}");
}
