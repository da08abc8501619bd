//! Tests of servers that are down: at the start, later, and for too long.

use entra_dev_tenant::{Endpoint, Fault};
use tokio::time::sleep;

use super::{Place, hits};
use crate::support::{
    ACCEPTED, HOUR, MINUTE, OTHER_TENANT, SECOND, Scene, UNAVAILABLE, auth, retry_after, tenant,
    user,
};
use tower_entra_auth::settings::KeyOptions;

// F3
#[tokio::test(start_paused = true)]
async fn a_tenant_that_is_down_at_the_start_is_found_by_itself_when_it_comes() {
    // The last attempt may fail just before the outage ends. The back-off after it is at most about
    // twice as long as the outage. One second is added, because a wait as long as the back-off may
    // end before the attempt.
    for (minutes_down, longest) in [(0, 3), (1, 129), (60, 301)] {
        let tenant = tenant().await;
        tenant.start_outage();
        let auth = auth(&tenant);
        let scene = Scene::of(tenant, auth).await;
        let token = scene.token();
        let response = scene.response(&token).await;
        assert_eq!(response.status(), 503);
        assert!((1..=2).contains(&retry_after(&response)), "{response:?}");
        assert_eq!(response.text().await.unwrap(), "keys_unavailable\n");
        assert!(!scene.issuer().is_ready);
        assert_eq!(scene.last_failure(), "connect");

        sleep(minutes_down * MINUTE).await;
        assert_eq!(scene.answer(&token).await, UNAVAILABLE);
        scene.tenant.end_outage();
        // The fetch needs no request.
        sleep(longest * SECOND).await;
        assert_eq!(hits(&scene.tenant), (1, 1), "after {minutes_down} min");
        assert_eq!(scene.answer(&token).await, ACCEPTED);
        assert_eq!(hits(&scene.tenant), (1, 1));
    }
}

// F3
#[tokio::test(start_paused = true)]
async fn a_fault_at_the_start_is_unavailable_and_over_within_the_back_off() {
    let faults: [fn(&Endpoint) -> Fault<'_>; 3] = [
        |endpoint| endpoint.fail_with(503),
        Endpoint::answer_html,
        Endpoint::truncate,
    ];
    for place in Place::BOTH {
        for spoil in faults {
            let tenant = tenant().await;
            spoil(place.of(&tenant));
            let auth = auth(&tenant);
            let scene = Scene::of(tenant, auth).await;
            let token = scene.token();
            // These are the first fetch and the two of the bucket.
            for expected in [1, 2, 3, 3, 3] {
                assert_eq!(scene.answer(&token).await, UNAVAILABLE);
                assert_eq!(place.of(&scene.tenant).hits(), expected, "{place:?}");
            }
            place.of(&scene.tenant).recover();
            // The back-off is at most 4 s.
            sleep(5 * SECOND).await;
            assert_eq!(place.of(&scene.tenant).hits(), 4, "{place:?}");
            assert_eq!(scene.answer(&token).await, ACCEPTED);
            assert_eq!(place.of(&scene.tenant).hits(), 4, "{place:?}");
        }
    }
}

// F4, F14
#[tokio::test(start_paused = true)]
async fn a_tenant_that_goes_down_later_is_not_missed_and_found_by_itself_when_it_comes_back() {
    let scene = Scene::start().await;
    let mut unseen = scene.tokens::<24>().into_iter();
    let remembered = scene.token();
    scene.tenant.start_outage();
    for _ in 0..23 {
        sleep(HOUR).await;
        assert_eq!(scene.answer(&remembered).await, ACCEPTED);
        assert_eq!(scene.answer(&unseen.next().unwrap()).await, ACCEPTED);
    }
    let issuer = scene.issuer();
    assert!(
        issuer.is_ready && issuer.failures_in_a_row > 250,
        "{issuer}"
    );
    assert_eq!(scene.last_failure(), "connect");
    assert_eq!(hits(&scene.tenant), (1, 1));

    scene.tenant.end_outage();
    sleep(5 * MINUTE + SECOND).await;
    assert_eq!(hits(&scene.tenant), (2, 2));
    assert_eq!(scene.issuer().failures_in_a_row, 0);
    // The staleness clock has started again.
    scene.tenant.start_outage();
    sleep(23 * HOUR).await;
    assert_eq!(scene.answer(&unseen.next().unwrap()).await, ACCEPTED);
}

// F5
#[tokio::test(start_paused = true)]
async fn after_max_staleness_every_token_is_503_remembered_ones_too_until_a_fetch_succeeds() {
    let scene =
        Scene::with(|settings| settings.keys(KeyOptions::default().max_staleness(2 * HOUR))).await;
    let [remembered, unseen, other] = scene.tokens();
    scene.tenant.key_endpoint().fail_with(503);
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    sleep(2 * HOUR - SECOND).await;
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    assert_eq!(scene.answer(&unseen).await, ACCEPTED);
    let before = scene.tenant.key_endpoint().hits();
    // Nearly an hour passes without failures, then an hour with a back-off of up to 5 minutes.
    assert!((1 + 9 + 11..=1 + 9 + 30).contains(&before), "{before}");

    sleep(SECOND).await;
    for token in [&remembered, &unseen, &other, &remembered] {
        let response = scene.response(token).await;
        assert_eq!(response.status(), 503);
        assert!((1..=300).contains(&retry_after(&response)), "{response:?}");
        assert_eq!(response.text().await.unwrap(), "keys_unavailable\n");
    }
    assert!(!scene.issuer().is_ready);
    let bad = user(&scene.tenant).for_api(OTHER_TENANT).mint();
    assert_eq!(
        scene.answer(&bad).await,
        "401 wrong_audience",
        "without any key"
    );
    let asked = scene.tenant.key_endpoint().hits() - before;
    assert!(
        (2..=3).contains(&asked),
        "the bucket, and perhaps the schedule: {asked}"
    );

    scene.tenant.key_endpoint().recover();
    sleep(30 * SECOND).await;
    for token in [&remembered, &unseen, &other] {
        assert_eq!(scene.answer(token).await, ACCEPTED);
    }
    let issuer = scene.issuer();
    assert!(issuer.is_ready && issuer.failures_in_a_row == 0);
    assert!(scene.tenant.key_endpoint().hits() - before - asked <= 1);
}
