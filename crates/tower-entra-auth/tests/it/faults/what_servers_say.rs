//! Tests of what servers say about time: `ETag` and 304, `Retry-After`, `Cache-Control`.

use std::collections::HashSet;
use std::time::Duration;

use entra_dev_tenant::{Endpoint, RecordedRequest};
use tokio::time::{Instant, sleep};

use super::{Place, hits};
use crate::support::{
    ACCEPTED, HOUR, MINUTE, SECOND, Scene, UNAVAILABLE, auth, retry_after, settings, tenant, until,
};
use tower_entra_auth::settings::KeyOptions;

fn condition(request: &RecordedRequest) -> Option<&str> {
    request.header("if-none-match")
}

// F11
#[tokio::test(start_paused = true)]
async fn a_304_that_was_asked_for_renews_the_keys() {
    let tenant = tenant().await;
    tenant.discovery_endpoint().serve_etags(true);
    tenant.key_endpoint().serve_etags(true);
    let auth = auth(&tenant);
    let scene = Scene::of(tenant, auth).await;
    let [remembered, unseen] = scene.tokens();
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);

    // The server responds only 304, for longer than `max_staleness` and than the time for which a
    // key may be absent.
    sleep(50 * HOUR).await;
    for place in Place::BOTH {
        let requests = place.of(&scene.tenant).requests();
        // One request comes at the start, and one every 57 to 60 minutes. The last one may be about
        // to begin.
        assert!((50..=54).contains(&requests.len()), "{}", requests.len());
        assert_eq!(condition(&requests[0]), None, "{place:?}");
        let conditions = requests[1..].iter().map(condition);
        let conditions: HashSet<_> = conditions.collect();
        assert_eq!(conditions.len(), 1, "{place:?}");
        assert!(!conditions.contains(&None), "{place:?}");
    }
    let issuer = scene.issuer();
    assert!(issuer.last_failure.is_none());
    assert!(issuer.last_success_ago.unwrap() <= HOUR);
    assert!(issuer.keys[0].last_seen_ago <= HOUR);
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    assert_eq!(scene.answer(&unseen).await, ACCEPTED);

    // A new document has a new tag, so a scheduled fetch brings it.
    scene.tenant.signing_keys().rotate();
    sleep(HOUR + SECOND).await;
    let fetched = scene.tenant.key_endpoint().hits();
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);
    assert_eq!(scene.tenant.key_endpoint().hits(), fetched);
}

// F11
#[tokio::test(start_paused = true)]
async fn a_missing_key_is_asked_for_without_a_condition_as_a_cache_may_say_304_for_long() {
    let tenant = tenant().await;
    tenant.discovery_endpoint().serve_etags(true);
    tenant.key_endpoint().serve_etags(true);
    let auth = auth(&tenant);
    let scene = Scene::of(tenant, auth).await;
    let old = scene.token();
    assert_eq!(scene.answer(&old).await, ACCEPTED);
    scene.tenant.signing_keys().rotate();
    let new = scene.token();

    // A cache has not noticed the rotation. A scheduled fetch trusts its 304.
    scene.tenant.key_endpoint().answer_not_modified();
    sleep(HOUR + SECOND).await;
    assert_eq!(scene.tenant.key_endpoint().hits(), 2);
    assert!(scene.issuer().last_failure.is_none());
    assert_eq!(scene.answer(&old).await, ACCEPTED);
    // A 304 to an unconditional request is a failure.
    assert_eq!(scene.answer(&new).await, UNAVAILABLE);
    assert_eq!(scene.last_failure(), "status");
    scene.tenant.key_endpoint().recover();
    assert_eq!(scene.answer(&new).await, ACCEPTED);

    let conditional = |endpoint: &Endpoint| -> Vec<bool> {
        let requests = endpoint.requests();
        requests
            .iter()
            .map(|request| condition(request).is_some())
            .collect()
    };
    assert_eq!(
        conditional(scene.tenant.key_endpoint()),
        [false, true, false, false]
    );
    assert_eq!(
        conditional(scene.tenant.discovery_endpoint()),
        [false, true, false, false]
    );
}

// F11
#[tokio::test(start_paused = true)]
async fn without_an_etag_every_fetch_is_unconditional() {
    let scene = Scene::start().await;
    sleep(3 * HOUR + SECOND).await;
    for place in Place::BOTH {
        let requests = place.of(&scene.tenant).requests();
        assert!(requests.len() >= 4);
        assert!(requests.iter().all(|request| condition(request).is_none()));
    }
}

// F12
#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_time_gets_it_and_so_do_the_callers() {
    for place in Place::BOTH {
        for (status, asked, seconds) in [
            (429, "120", 120),
            (503, "45", 45),
            (503, "a date", 90),
            (429, "86400", 300),
            (503, "a late date", 300),
        ] {
            let scene = Scene::start().await;
            let tenant = &scene.tenant;
            let endpoint = place.of(tenant);
            let held = scene.token();
            tenant.signing_keys().rotate();
            let new = scene.token();
            let asked = match asked {
                "a date" => tenant.time().http_date_in(90 * SECOND),
                "a late date" => tenant.time().http_date_in(48 * HOUR),
                seconds => seconds.to_owned(),
            };
            let of = format!("{place:?} {status} {asked}");
            endpoint.throttle(status, &asked).for_next(1);

            let start = Instant::now();
            for _ in 0..3 {
                let response = scene.response(&new).await;
                assert_eq!(response.status(), 503, "{of}");
                assert_eq!(retry_after(&response), seconds, "{of}");
                assert_eq!(response.text().await.unwrap(), "keys_unavailable\n");
                assert_eq!(scene.answer(&held).await, ACCEPTED, "{of}");
            }
            sleep((seconds as u32 - 1) * SECOND).await;
            let response = scene.response(&new).await;
            assert_eq!(
                (response.status().as_u16(), retry_after(&response)),
                (503, 1)
            );
            assert_eq!(endpoint.hits(), 2, "{of}: left alone");
            assert_eq!(start.elapsed().as_secs(), seconds - 1);
            assert_eq!(scene.last_failure(), "status");

            sleep(SECOND).await;
            assert_eq!(scene.answer(&new).await, ACCEPTED, "{of}");
            assert_eq!(endpoint.hits(), 3, "{of}");
        }
    }
}

// F12
#[tokio::test(start_paused = true)]
async fn time_asked_for_at_the_start_is_given_and_then_the_schedule_asks_by_itself() {
    let tenant = tenant().await;
    tenant.discovery_endpoint().throttle(429, "60").for_next(1);
    let auth = auth(&tenant);
    let scene = Scene::of(tenant, auth).await;
    let token = scene.token();
    for _ in 0..3 {
        let response = scene.response(&token).await;
        assert_eq!(
            (response.status().as_u16(), retry_after(&response)),
            (503, 60)
        );
    }
    sleep(59 * SECOND).await;
    assert_eq!(hits(&scene.tenant), (1, 0));
    sleep(8 * SECOND).await;
    assert_eq!(hits(&scene.tenant), (2, 1));
    assert_eq!(scene.answer(&token).await, ACCEPTED);
}

// F12
#[tokio::test(start_paused = true)]
async fn what_says_nothing_of_time_leaves_the_back_off_as_it_is() {
    for rubbish in ["0", "-1", "soon", "", "Thu, 01 Jan 1970 00:00:00 GMT"] {
        let scene = Scene::start().await;
        scene.tenant.key_endpoint().throttle(503, rubbish);
        scene.tenant.signing_keys().rotate();
        let new = scene.token();
        for _ in 0..3 {
            assert_eq!(scene.answer(&new).await, UNAVAILABLE, "{rubbish:?}");
        }
        assert_eq!(scene.tenant.key_endpoint().hits(), 3, "{rubbish:?}");
        sleep(8 * SECOND).await;
        let hits = scene.tenant.key_endpoint().hits();
        assert!((3 + 2..=3 + 3).contains(&hits), "{rubbish:?}: {hits}");
    }
}

/// Returns the intervals between key fetches without any request, in seconds.
async fn intervals(cache_control: &str, refresh_interval: Duration) -> Vec<u64> {
    let tenant = tenant().await;
    tenant.key_endpoint().set_cache_control(cache_control);
    let auth = settings(&tenant)
        .keys(KeyOptions::default().refresh_interval(refresh_interval))
        .build()
        .unwrap();
    auth.ready().await.unwrap();
    until(6 * refresh_interval, MINUTE, || {
        tenant.key_endpoint().hits() == 6
    })
    .await;
    let requests = tenant.key_endpoint().requests();
    let pairs = requests.windows(2);
    pairs
        .map(|pair| (pair[1].arrived_at() - pair[0].arrived_at()).as_secs())
        .collect()
}

// F13
#[tokio::test(start_paused = true)]
async fn cache_control_is_honoured_between_five_minutes_and_the_refresh_interval() {
    let hour = 3_600;
    for (cache_control, refresh_interval, seconds) in [
        ("max-age=0", HOUR, 300),
        ("max-age=60, private", HOUR, 300),
        ("no-store", HOUR, 300),
        ("max-age=nonsense", HOUR, 300),
        ("max-age=600", HOUR, 600),
        ("max-age=86400, private", HOUR, hour),
        ("max-age=315360000", HOUR, hour),
        ("max-age=99999999999999999999999", HOUR, hour),
        ("", HOUR, hour),
        ("max-age=315360000", 12 * HOUR, 86_400 / 2),
        ("max-age=0", 5 * MINUTE, 300),
        ("max-age=3600", 10 * MINUTE, 600),
    ] {
        let intervals = intervals(cache_control, refresh_interval).await;
        // The intervals are shorter by up to a twentieth, so that replicas do not fetch at the same
        // time.
        let expected = seconds - seconds / 20..=seconds;
        assert!(
            intervals.iter().all(|interval| expected.contains(interval)),
            "{cache_control} {intervals:?}"
        );
    }
}
