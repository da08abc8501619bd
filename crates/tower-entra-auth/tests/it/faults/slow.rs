//! Tests of slow servers.

use std::time::Duration;

use entra_dev_tenant::{Endpoint, Fault};
use tokio::time::{Instant, sleep};

use super::{Place, hits};
use crate::support::{
    ACCEPTED, MINUTE, SECOND, Scene, UNAVAILABLE, at_once_until, client, retry_after,
};

/// Checks a fault of either document that takes time.
///
/// A request that needs a new key gets its response after at most 3 s. The attempt ends after 5 s,
/// and no other request waits.
async fn is_given_five_seconds(spoil: impl Fn(&Endpoint) -> Fault<'_>) {
    for place in Place::BOTH {
        let scene = Scene::start().await;
        let unseen: [String; 4] = scene.tokens();
        scene.tenant.signing_keys().rotate();
        let new = scene.token();
        let endpoint = place.of(&scene.tenant);
        spoil(endpoint);

        let start = Instant::now();
        let held = async {
            at_once_until(|| endpoint.hits() == 2).await;
            for token in &unseen {
                let (answer, took) = scene.timed(token).await;
                assert_eq!((&*answer, took), (ACCEPTED, Duration::ZERO), "{place:?}");
            }
        };
        let (response, ()) = tokio::join!(scene.response(&new), held);
        assert_eq!(
            (response.status().as_u16(), start.elapsed().as_secs()),
            (503, 3)
        );
        assert_eq!(
            retry_after(&response),
            3,
            "when the attempt must have ended"
        );
        assert_eq!(endpoint.hits(), 2);

        // The next request joins the attempt in progress, and gets its response when the attempt
        // fails.
        let (answer, took) = scene.timed(&new).await;
        assert_eq!((&*answer, took.as_secs()), (UNAVAILABLE, 2), "{place:?}");
        assert_eq!(
            (scene.last_failure(), start.elapsed().as_secs()),
            ("timeout", 5)
        );
        assert_eq!(endpoint.hits(), 2, "{place:?}");
        assert_eq!(scene.answer(&unseen[0]).await, ACCEPTED);

        endpoint.recover();
        sleep(2 * SECOND).await;
        let after = hits(&scene.tenant);
        assert_eq!(scene.answer(&new).await, ACCEPTED, "{place:?}");
        assert_eq!(
            hits(&scene.tenant),
            after,
            "{place:?}: the back-off has asked"
        );
    }
}

// F6
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_given_five_seconds() {
    is_given_five_seconds(Endpoint::hang).await;
}

// F6
#[tokio::test(start_paused = true)]
async fn a_server_that_sends_one_byte_a_second_is_given_five_seconds() {
    is_given_five_seconds(Endpoint::trickle).await;
}

// F6
#[tokio::test(start_paused = true)]
async fn a_server_that_takes_longer_than_the_deadline_is_given_five_seconds() {
    is_given_five_seconds(|endpoint| endpoint.delay(6 * SECOND)).await;
}

// F6
#[tokio::test(start_paused = true)]
async fn a_late_answer_is_waited_for_up_to_three_seconds_and_serves_the_next_after_that() {
    let scene = Scene::start().await;
    scene.tenant.key_endpoint().delay(2 * SECOND);
    scene.tenant.signing_keys().rotate();
    let (answer, took) = scene.timed(&scene.token()).await;
    assert_eq!((&*answer, took.as_secs()), (ACCEPTED, 2));

    scene.tenant.key_endpoint().delay(4 * SECOND);
    scene.tenant.signing_keys().rotate();
    let new = scene.token();
    let (answer, took) = scene.timed(&new).await;
    assert_eq!((&*answer, took.as_secs()), (UNAVAILABLE, 3));
    let (answer, took) = scene.timed(&new).await;
    assert_eq!((&*answer, took.as_secs()), (ACCEPTED, 1));
    assert_eq!(scene.tenant.key_endpoint().hits(), 3);
    assert!(scene.issuer().last_failure.is_none());
}

// F6, F7
#[tokio::test(start_paused = true)]
async fn nobody_waits_while_the_scheduled_fetch_hangs() {
    let scene = Scene::start().await;
    let unseen: [String; 70] = scene.tokens();
    scene.tenant.key_endpoint().hang();
    let mut tokens = unseen.iter();
    // The requests cover every minute of the hour, with the scheduled fetch of the 57th to 60th
    // minute.
    while scene.tenant.key_endpoint().hits() < 2 {
        sleep(MINUTE).await;
        let (answer, took) = scene.timed(tokens.next().unwrap()).await;
        assert_eq!((&*answer, took), (ACCEPTED, Duration::ZERO));
    }
    for token in tokens {
        let (answer, took) = scene.timed(token).await;
        assert_eq!((&*answer, took), (ACCEPTED, Duration::ZERO));
        sleep(SECOND).await;
    }
    assert_eq!(scene.last_failure(), "timeout");
}

// F7
#[tokio::test(start_paused = true)]
async fn sixty_four_requests_at_a_rotation_download_the_keys_once() {
    let scene = Scene::start().await;
    let held = scene.token();
    for downloads in [2, 3] {
        scene.tenant.signing_keys().rotate();
        // The delay lets all requests arrive before the response does.
        scene.tenant.key_endpoint().delay(SECOND);
        let new: [String; 64] = scene.tokens();
        let mut herd = tokio::task::JoinSet::new();
        for token in new {
            let url = format!("{}/me", scene.server.url);
            herd.spawn(async move {
                let request = client().get(url).bearer_auth(token);
                request.send().await.unwrap().status().as_u16()
            });
        }
        let statuses = herd.join_all().await;
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        assert_eq!(scene.tenant.key_endpoint().hits(), downloads);
        assert_eq!(scene.answer(&held).await, ACCEPTED);
    }
}
