//! Every fault of a key server, with what requests get during it and after it, and what is fetched
//! meanwhile; on paused time, over real sockets.
//!
//! The rows of the fault table in the project's reference on key servers, and where each is tested:
//!
//! | row | fault | tested |
//! |---|---|---|
//! | F1 | flood of unknown keys | `keys::a_thousand_unknown_keys_fetch_no_more_than_the_bucket_allows` |
//! | F2 | flood of bad signatures | `keys::a_bad_signature_under_a_known_key_fetches_nothing` |
//! | F3 | down at the start | here; `keys::a_tenant_that_is_down_at_the_start_is_found_when_it_comes` |
//! | F4 | down later | here |
//! | F5 | down for too long | here; `keys::keys_serve_for_a_day_without_entra_and_no_longer` |
//! | F6 | slow | here |
//! | F7 | thundering herd | here; `keys::sixty_four_first_requests_download_the_keys_once` |
//! | F8 | the client that began a fetch hangs up | `keys::a_client_that_disconnects_does_not_lose_the_refresh` |
//! | F9 | truncated, HTML, wrong JSON, an error | here; at the start `unavailable::what_is_no_document_is_told_as_such` |
//! | F10 | no key, or none that can be used | here |
//! | F11 | 304 and `ETag` | here |
//! | F12 | 429 and 503 with `Retry-After` | here |
//! | F13 | `Cache-Control` of nothing or of ten years | here |
//! | F14 | no name, no connection, no TLS | here the connection; `http_clients::a_name_that_does_not_resolve_is_told_as_such`, `http_clients::a_server_that_speaks_no_tls_is_told_as_such` |
//! | F15 | redirects, other hosts, `https` to `http` | here; the last in the unit tests of `endpoint` |
//! | F16 | huge body, gzip bomb | here |
//! | F17 | the wall clock jumps | here |
//! | F18 | a key is withdrawn | `rotation`; by the design it is trusted for a day more, remembered tokens too |
//! | F19 | a `kid` twice | here |
//! | F20 | a `kid` twice, of other type or use | here |
//! | F21 | keys without `kid` | here |
//! | F22 | keys without `alg` | here: every key of Entra is one |
//! | F23 | keys for another `alg` or use | here |
//! | F24 | keys of unknown types | here |
//! | F25 | symmetric keys | here |
//! | F26 | a private half is published | here; `keys::a_key_whose_private_half_is_published_is_refused_at_once` |
//! | F27 | weak RSA keys | here the short one; each bound in the tests of `entra_jwt_core`, which takes any key within bounds: ROCA cannot be told from them |
//! | F28 | members that are not canonical | the tests of `entra_jwt_core`, which reads them |
//! | F29 | keys of other clouds and of personal accounts | here; `tenants::each_tenancy_admits_its_own_with_keys_from_its_own_documents` |
//! | F30 | discovery of others, keys elsewhere | here; at the start `unavailable::keys_are_never_fetched_from_elsewhere` |
//! | F31 | an older answer comes after a newer one | the unit tests of `keys::refresher`: an attempt ends after 5 s and none begins before, so that sockets cannot bring it about |
//! | F32 | the refresh panics, or its runtime does not run | `sources::a_source_that_panics_is_asked_again_while_held_keys_serve`, `lifetime::a_runtime_that_does_not_run_blocks_the_others_for_seconds_only` |
//! | F33 | shutdown during a fetch | `lifetime::an_attempt_that_hangs_ends_with_the_last_handle`, `lifetime::an_attempt_that_dies_with_its_runtime_does_not_block_the_next` |
//! | F34 | thousands of tenants | here |
//! | F35 | all replicas fetch at once | here |

use std::collections::HashSet;
use std::time::Duration;

use entra_dev_tenant::{DevCloud, DevTenant, Endpoint, Fault, Flaw, RecordedRequest};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tower_entra_auth::EntraAuth;

use crate::support::{
    ACCEPTED, API, OTHER_TENANT, Scene, UNAVAILABLE, UNTRUSTED, at_once_until, auth, client,
    header, retry_after, settings, tenant, until, user,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// Which of the two documents a fault spoils.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Discovery,
    Keys,
}

impl Place {
    const BOTH: [Self; 2] = [Self::Discovery, Self::Keys];

    fn of(self, tenant: &DevTenant) -> &Endpoint {
        match self {
            Self::Discovery => tenant.discovery(),
            Self::Keys => tenant.keys(),
        }
    }
}

fn hits(tenant: &DevTenant) -> (usize, usize) {
    (tenant.discovery().hits(), tenant.keys().hits())
}

/// A fault of either document that is seen at once.
async fn is_a_failed_fetch(spoil: impl Fn(&Endpoint) -> Fault<'_>, code: &str) {
    for place in Place::BOTH {
        is_a_failed_fetch_of(place, |tenant| spoil(place.of(tenant)), code).await;
    }
}

/// During the fault: tokens of held keys are accepted, those of a new key are 503, and after the
/// two attempts of the bucket the back-off alone asks. After it: all are accepted, with the
/// schedule's next attempt.
async fn is_a_failed_fetch_of(place: Place, spoil: impl Fn(&DevTenant) -> Fault<'_>, code: &str) {
    let scene = Scene::start().await;
    let remembered = scene.token();
    let unseen: [String; 6] = scene.tokens();
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    assert_eq!(hits(&scene.tenant), (1, 1));
    scene.tenant.rotate_keys();
    let new = scene.token();

    spoil(&scene.tenant);
    for (round, held) in unseen[..4].iter().enumerate() {
        let response = scene.response(&new).await;
        assert_eq!(response.status(), 503, "{place:?} {round}");
        assert!((1..=30).contains(&retry_after(&response)), "{response:?}");
        assert_eq!(header(&response, "www-authenticate"), None);
        assert_eq!(response.text().await.unwrap(), "keys_unavailable\n");
        assert_eq!(scene.answer(held).await, ACCEPTED, "{place:?} {round}");
        assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    }
    assert_eq!(place.of(&scene.tenant).hits(), 1 + 2, "{place:?}");
    let issuer = scene.issuer();
    assert!(issuer.is_ready);
    assert_eq!((scene.last_failure(), issuer.failures_in_a_row), (code, 2));

    // 1 or 2 s, 2 to 4, 4 to 8, 8 to 16, 16 to 32 later.
    sleep(MINUTE).await;
    let during = hits(&scene.tenant);
    let asked = place.of(&scene.tenant).hits() - 3;
    assert!((4..=5).contains(&asked), "{place:?} {asked}");
    assert_eq!(scene.last_failure(), code);
    if place == Place::Discovery {
        assert_eq!(
            during.1, 1,
            "no keys are fetched without a discovery document"
        );
    }

    place.of(&scene.tenant).recovers();
    sleep(65 * SECOND).await;
    assert_eq!(scene.issuer().failures_in_a_row, 0, "{place:?}");
    assert_eq!(place.of(&scene.tenant).hits(), 3 + asked + 1, "{place:?}");
    let after = hits(&scene.tenant);
    for token in [&new, &scene.token(), &unseen[4], &unseen[5], &remembered] {
        assert_eq!(scene.answer(token).await, ACCEPTED, "{place:?}");
    }
    assert_eq!(
        hits(&scene.tenant),
        after,
        "{place:?}: no request had to ask"
    );
}

// F4, F9, F14
#[tokio::test(start_paused = true)]
async fn each_status_that_is_no_success_is_a_failed_fetch() {
    for status in [500, 503, 429, 404, 204] {
        is_a_failed_fetch(|endpoint| endpoint.fails_with(status), "status").await;
    }
}

// F9
#[tokio::test(start_paused = true)]
async fn html_is_a_failed_fetch() {
    is_a_failed_fetch(Endpoint::answers_html, "document").await;
}

// F9
#[tokio::test(start_paused = true)]
async fn json_that_ends_in_the_middle_is_a_failed_fetch() {
    is_a_failed_fetch(Endpoint::answers_invalid_json, "document").await;
}

// F9
#[tokio::test(start_paused = true)]
async fn an_error_in_json_with_status_200_is_a_failed_fetch() {
    is_a_failed_fetch(Endpoint::answers_error_json, "document").await;
}

// F9
#[tokio::test(start_paused = true)]
async fn json_of_the_wrong_types_is_a_failed_fetch() {
    for body in [r#"{"keys":{},"issuer":1,"jwks_uri":[]}"#, "[]", "null"] {
        is_a_failed_fetch(
            |endpoint| endpoint.answers_with(200, "application/json", body),
            "document",
        )
        .await;
    }
}

// F9
#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_a_failed_fetch() {
    is_a_failed_fetch(Endpoint::truncates, "connect").await;
}

// F10
#[tokio::test(start_paused = true)]
async fn a_document_without_any_key_that_can_be_used_is_a_failed_fetch() {
    for body in [
        r#"{"keys":[]}"#,
        r#"{"keys":[{"kty":"OKP","kid":"a","crv":"Ed25519","x":"AAAA"}]}"#,
        r#"{"keys":[{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"}]}"#,
    ] {
        is_a_failed_fetch_of(
            Place::Keys,
            |tenant| tenant.keys().answers_with(200, "application/json", body),
            "no_usable_key",
        )
        .await;
    }
}

// F11
#[tokio::test(start_paused = true)]
async fn a_304_that_nobody_asked_for_is_a_failed_fetch() {
    is_a_failed_fetch(Endpoint::answers_not_modified, "status").await;
}

// F15
#[tokio::test(start_paused = true)]
async fn a_redirect_is_a_failed_fetch_even_to_the_right_documents() {
    let elsewhere = tenant().await;
    let id = elsewhere.id();
    for (place, path) in [
        (Place::Discovery, "v2.0/.well-known/openid-configuration"),
        (Place::Keys, "discovery/v2.0/keys"),
    ] {
        let url = format!("{}/{id}/{path}", elsewhere.url());
        is_a_failed_fetch_of(
            place,
            |tenant| place.of(tenant).redirects_to(&url),
            "status",
        )
        .await;
    }
    assert_eq!(hits(&elsewhere), (0, 0));
}

// F16
#[tokio::test(start_paused = true)]
async fn a_body_of_more_than_512_kib_is_a_failed_fetch_and_one_of_as_much_is_not() {
    const LIMIT: usize = 512 * 1024;
    is_a_failed_fetch(
        |endpoint| endpoint.answers_oversized(LIMIT + 1),
        "document_too_large",
    )
    .await;

    let scene = Scene::start().await;
    for place in Place::BOTH {
        place.of(&scene.tenant).answers_oversized(LIMIT);
    }
    scene.tenant.rotate_keys();
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);
}

// F16
#[tokio::test(start_paused = true)]
async fn a_gzip_bomb_is_a_failed_fetch_and_never_inflated() {
    is_a_failed_fetch(Endpoint::answers_gzip_bomb, "document").await;
}

/// A fault of either document that takes time. Whoever needs a new key is answered after 3 s at
/// most, the attempt ends after 5 s, and nobody else waits.
async fn is_given_five_seconds(spoil: impl Fn(&Endpoint) -> Fault<'_>) {
    for place in Place::BOTH {
        let scene = Scene::start().await;
        let unseen: [String; 4] = scene.tokens();
        scene.tenant.rotate_keys();
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

        // The next joins the attempt that runs, and is told when that fails.
        let (answer, took) = scene.timed(&new).await;
        assert_eq!((&*answer, took.as_secs()), (UNAVAILABLE, 2), "{place:?}");
        assert_eq!(
            (scene.last_failure(), start.elapsed().as_secs()),
            ("timeout", 5)
        );
        assert_eq!(endpoint.hits(), 2, "{place:?}");
        assert_eq!(scene.answer(&unseen[0]).await, ACCEPTED);

        endpoint.recovers();
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
    is_given_five_seconds(Endpoint::hangs).await;
}

// F6
#[tokio::test(start_paused = true)]
async fn a_server_that_sends_one_byte_a_second_is_given_five_seconds() {
    is_given_five_seconds(Endpoint::trickles).await;
}

// F6
#[tokio::test(start_paused = true)]
async fn a_server_that_takes_longer_than_the_deadline_is_given_five_seconds() {
    is_given_five_seconds(|endpoint| endpoint.takes(6 * SECOND)).await;
}

// F6
#[tokio::test(start_paused = true)]
async fn a_late_answer_is_waited_for_up_to_three_seconds_and_serves_the_next_after_that() {
    let scene = Scene::start().await;
    scene.tenant.keys().takes(2 * SECOND);
    scene.tenant.rotate_keys();
    let (answer, took) = scene.timed(&scene.token()).await;
    assert_eq!((&*answer, took.as_secs()), (ACCEPTED, 2));

    scene.tenant.keys().takes(4 * SECOND);
    scene.tenant.rotate_keys();
    let new = scene.token();
    let (answer, took) = scene.timed(&new).await;
    assert_eq!((&*answer, took.as_secs()), (UNAVAILABLE, 3));
    let (answer, took) = scene.timed(&new).await;
    assert_eq!((&*answer, took.as_secs()), (ACCEPTED, 1));
    assert_eq!(scene.tenant.keys().hits(), 3);
    assert!(scene.issuer().last_failure.is_none());
}

// F6, F7
#[tokio::test(start_paused = true)]
async fn nobody_waits_while_the_scheduled_fetch_hangs() {
    let scene = Scene::start().await;
    let unseen: [String; 70] = scene.tokens();
    scene.tenant.keys().hangs();
    let mut tokens = unseen.iter();
    // Every minute of the hour, with the fetch of the 57th to 60th among them.
    while scene.tenant.keys().hits() < 2 {
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
        scene.tenant.rotate_keys();
        // So that all of them are there before the answer is.
        scene.tenant.keys().takes(SECOND);
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
        assert_eq!(scene.tenant.keys().hits(), downloads);
        assert_eq!(scene.answer(&held).await, ACCEPTED);
    }
}

// F3
#[tokio::test(start_paused = true)]
async fn a_tenant_that_is_down_at_the_start_is_found_by_itself_when_it_comes() {
    // Asked in vain once more at the end, the back-off is at most as long as it was down, doubled.
    for (minutes_down, longest) in [(0, 2), (1, 128), (60, 300)] {
        let tenant = tenant().await;
        tenant.goes_down();
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
        scene.tenant.comes_back();
        // Without any request.
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
        |endpoint| endpoint.fails_with(503),
        Endpoint::answers_html,
        Endpoint::truncates,
    ];
    for place in Place::BOTH {
        for spoil in faults {
            let tenant = tenant().await;
            spoil(place.of(&tenant));
            let auth = auth(&tenant);
            let scene = Scene::of(tenant, auth).await;
            let token = scene.token();
            // The first fetch and the two of the bucket.
            for expected in [1, 2, 3, 3, 3] {
                assert_eq!(scene.answer(&token).await, UNAVAILABLE);
                assert_eq!(place.of(&scene.tenant).hits(), expected, "{place:?}");
            }
            place.of(&scene.tenant).recovers();
            sleep(4 * SECOND).await;
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
    scene.tenant.goes_down();
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

    scene.tenant.comes_back();
    sleep(5 * MINUTE).await;
    assert_eq!(hits(&scene.tenant), (2, 2));
    assert_eq!(scene.issuer().failures_in_a_row, 0);
    // The staleness clock has begun anew.
    scene.tenant.goes_down();
    sleep(23 * HOUR).await;
    assert_eq!(scene.answer(&unseen.next().unwrap()).await, ACCEPTED);
}

// F5
#[tokio::test(start_paused = true)]
async fn after_max_staleness_every_token_is_503_remembered_ones_too_until_a_fetch_succeeds() {
    let scene = Scene::with(|settings| settings.max_staleness(2 * HOUR)).await;
    let [remembered, unseen, other] = scene.tokens();
    scene.tenant.keys().fails_with(503);
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    sleep(2 * HOUR - SECOND).await;
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    assert_eq!(scene.answer(&unseen).await, ACCEPTED);
    let before = scene.tenant.keys().hits();
    // Nearly an hour without trouble, then one of back-off up to 5 minutes.
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
    let asked = scene.tenant.keys().hits() - before;
    assert!(
        (2..=3).contains(&asked),
        "the bucket, and perhaps the schedule: {asked}"
    );

    scene.tenant.keys().recovers();
    sleep(30 * SECOND).await;
    for token in [&remembered, &unseen, &other] {
        assert_eq!(scene.answer(token).await, ACCEPTED);
    }
    let issuer = scene.issuer();
    assert!(issuer.is_ready && issuer.failures_in_a_row == 0);
    assert!(scene.tenant.keys().hits() - before - asked <= 1);
}

fn condition(request: &RecordedRequest) -> Option<&str> {
    request.header("if-none-match")
}

// F11
#[tokio::test(start_paused = true)]
async fn a_304_that_was_asked_for_renews_the_keys() {
    let tenant = tenant().await;
    tenant.discovery().serves_etags(true);
    tenant.keys().serves_etags(true);
    let auth = auth(&tenant);
    let scene = Scene::of(tenant, auth).await;
    let [remembered, unseen] = scene.tokens();
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);

    // Nothing but 304 for longer than max_staleness and than a key may be absent.
    sleep(50 * HOUR).await;
    for place in Place::BOTH {
        let requests = place.of(&scene.tenant).requests();
        assert!((51..=54).contains(&requests.len()), "{}", requests.len());
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

    // A new document has a new tag: a scheduled fetch brings it.
    scene.tenant.rotate_keys();
    sleep(HOUR).await;
    let fetched = scene.tenant.keys().hits();
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);
    assert_eq!(scene.tenant.keys().hits(), fetched);
}

// F11
#[tokio::test(start_paused = true)]
async fn a_missing_key_is_asked_for_without_a_condition_as_a_cache_may_say_304_for_long() {
    let tenant = tenant().await;
    tenant.discovery().serves_etags(true);
    tenant.keys().serves_etags(true);
    let auth = auth(&tenant);
    let scene = Scene::of(tenant, auth).await;
    let old = scene.token();
    assert_eq!(scene.answer(&old).await, ACCEPTED);
    scene.tenant.rotate_keys();
    let new = scene.token();

    // A cache that has not noticed: a scheduled fetch believes it.
    scene.tenant.keys().answers_not_modified();
    sleep(HOUR).await;
    assert_eq!(scene.tenant.keys().hits(), 2);
    assert!(scene.issuer().last_failure.is_none());
    assert_eq!(scene.answer(&old).await, ACCEPTED);
    // Asked without a condition it may not say so.
    assert_eq!(scene.answer(&new).await, UNAVAILABLE);
    assert_eq!(scene.last_failure(), "status");
    scene.tenant.keys().recovers();
    assert_eq!(scene.answer(&new).await, ACCEPTED);

    let conditional = |endpoint: &Endpoint| -> Vec<bool> {
        let requests = endpoint.requests();
        requests
            .iter()
            .map(|request| condition(request).is_some())
            .collect()
    };
    assert_eq!(
        conditional(scene.tenant.keys()),
        [false, true, false, false]
    );
    assert_eq!(
        conditional(scene.tenant.discovery()),
        [false, true, false, false]
    );
}

// F11
#[tokio::test(start_paused = true)]
async fn without_an_etag_every_fetch_is_unconditional() {
    let scene = Scene::start().await;
    sleep(3 * HOUR).await;
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
            tenant.rotate_keys();
            let new = scene.token();
            let asked = match asked {
                "a date" => tenant.http_date_in(90 * SECOND),
                "a late date" => tenant.http_date_in(48 * HOUR),
                seconds => seconds.to_owned(),
            };
            let of = format!("{place:?} {status} {asked}");
            endpoint.throttles(status, &asked).for_next(1);

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
    tenant.discovery().throttles(429, "60").for_next(1);
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
        scene.tenant.keys().throttles(503, rubbish);
        scene.tenant.rotate_keys();
        let new = scene.token();
        for _ in 0..3 {
            assert_eq!(scene.answer(&new).await, UNAVAILABLE, "{rubbish:?}");
        }
        assert_eq!(scene.tenant.keys().hits(), 3, "{rubbish:?}");
        sleep(8 * SECOND).await;
        let hits = scene.tenant.keys().hits();
        assert!((3 + 2..=3 + 3).contains(&hits), "{rubbish:?}: {hits}");
    }
}

/// How long after each other keys are fetched without any request, in seconds.
async fn intervals(cache_control: &str, refresh_interval: Duration) -> Vec<u64> {
    let tenant = tenant().await;
    tenant.keys().cache_control(cache_control);
    let auth = settings(&tenant)
        .refresh_interval(refresh_interval)
        .build()
        .unwrap();
    auth.ready().await.unwrap();
    until(6 * refresh_interval, MINUTE, || tenant.keys().hits() == 6).await;
    let requests = tenant.keys().requests();
    let pairs = requests.windows(2);
    pairs
        .map(|pair| (pair[1].at - pair[0].at).as_secs())
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
        // Less up to a twentieth, so that replicas do not ask in step.
        let expected = seconds - seconds / 20..=seconds;
        assert!(
            intervals.iter().all(|interval| expected.contains(interval)),
            "{cache_control} {intervals:?}"
        );
    }
}

// F17
#[tokio::test(start_paused = true)]
async fn when_the_wall_clock_jumps_tokens_are_judged_by_the_new_time_and_nothing_is_fetched() {
    let scene = Scene::start().await;
    let token = || user(&scene.tenant).mint();
    let [remembered, unseen, other] = [token(), token(), token()];
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    let due = scene.issuer().next_attempt_in;

    let two_days = 48 * HOUR;
    scene.tenant.clock_jumps_forward(two_days);
    assert_eq!(scene.answer(&remembered).await, "401 expired");
    assert_eq!(scene.answer(&unseen).await, "401 expired");
    let later = token();
    assert_eq!(
        scene.answer(&later).await,
        ACCEPTED,
        "keys do not age by it"
    );

    scene.tenant.clock_jumps_back(two_days);
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    assert_eq!(scene.answer(&unseen).await, ACCEPTED);
    assert_eq!(
        scene.answer(&later).await,
        "401 not_yet_valid",
        "remembered, too"
    );

    // To before 1970.
    let sixty_years = 60 * 366 * 24 * HOUR;
    scene.tenant.clock_jumps_back(sixty_years);
    for token in [&remembered, &unseen, &other, &later] {
        assert_eq!(scene.answer(token).await, "401 not_yet_valid");
    }
    assert_eq!(hits(&scene.tenant), (1, 1));
    let issuer = scene.issuer();
    assert_eq!((issuer.is_ready, issuer.next_attempt_in), (true, due));

    scene.tenant.clock_jumps_forward(sixty_years);
    assert_eq!(scene.answer(&other).await, ACCEPTED);
    scene.tenant.rotate_keys();
    assert_eq!(scene.answer(&token()).await, ACCEPTED);
    assert_eq!(hits(&scene.tenant), (2, 2));
}

/// A scheduled fetch takes place.
async fn after_the_next_fetch(scene: &Scene) {
    let (before, failures) = (scene.tenant.keys().hits(), scene.issuer().failures_in_a_row);
    let is_fetched = || scene.tenant.keys().hits() > before;
    until(2 * HOUR, MINUTE, is_fetched).await;
    assert_eq!((scene.issuer().failures_in_a_row, failures), (0, 0));
}

// F19
#[tokio::test(start_paused = true)]
async fn a_key_id_that_is_published_twice_leaves_the_key_that_is_held() {
    let scene = Scene::start().await;
    scene.tenant.rotate_keys();
    let [remembered, unseen, later] = scene.tokens();
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    scene.tenant.publishes_twin_of_signing_key();
    let of_the_twin = || user(&scene.tenant).flaw(Flaw::WrongKey).mint();
    for _ in 0..30 {
        // More than a day: it is not absent, either.
        after_the_next_fetch(&scene).await;
        assert_eq!(scene.answer(&of_the_twin()).await, UNTRUSTED);
    }
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    assert_eq!(scene.answer(&unseen).await, ACCEPTED);
    scene.tenant.publishes_normally();
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
    scene.tenant.rotate_keys();
    scene.tenant.publishes_twin_of_signing_key();
    let of_the_twin = user(&scene.tenant).flaw(Flaw::WrongKey).mint();
    let new = scene.token();
    assert_eq!(scene.answer(&of_the_first).await, ACCEPTED);
    assert_eq!(scene.answer(&of_the_twin).await, UNTRUSTED);
    assert_eq!(scene.answer(&new).await, UNTRUSTED);
    assert_eq!(scene.tenant.keys().hits(), 1 + 2);

    scene.tenant.publishes_normally();
    sleep(30 * SECOND).await;
    assert_eq!(scene.answer(&new).await, ACCEPTED);
    assert_eq!(scene.answer(&of_the_twin).await, UNTRUSTED);
}

/// The entry with these members changed.
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
    let kid = tenant.key_id();
    for twin in [
        json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": kid }),
        json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AA", "kid": kid }),
        changed(attackers.clone(), &json!({ "use": "enc", "kid": kid })),
        changed(attackers, &json!({ "alg": "PS256", "kid": kid })),
    ] {
        tenant.publishes_also(twin);
    }
    let auth = auth(&tenant);
    let scene = Scene::of(tenant, auth).await;
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);
    let of_a_twin = user(&scene.tenant).flaw(Flaw::WrongKey).mint();
    assert_eq!(scene.answer(&of_a_twin).await, UNTRUSTED);
    assert_eq!(scene.tenant.keys().hits(), 1);
}

/// An entry with the key that [`Flaw::WrongKey`] signs with, as another tenant's key document has
/// it.
async fn entry_of_an_attacker(tenant: &DevTenant) -> Value {
    let other = DevTenant::builder().id(tenant.id()).start().await.unwrap();
    other.publishes_twin_of_signing_key();
    let document: Value = serde_json::from_str(&other.jwks()).unwrap();
    document["keys"][1].clone()
}

// F21, F24, F25, F27
#[tokio::test(start_paused = true)]
async fn weak_and_exotic_keys_beside_good_ones_hinder_nobody_and_are_never_used() {
    let tenant = tenant().await;
    tenant.publishes_weak_key();
    let document: Value = serde_json::from_str(&tenant.jwks()).unwrap();
    let auth = auth(&tenant);
    let scene = Scene::of(tenant, auth).await;
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);
    let held = scene.issuer().keys;
    assert_eq!(
        (held.len(), held[0].id.as_str()),
        (1, &*scene.tenant.key_id())
    );

    // The one without an id is a key of somebody: no token of theirs finds it, with or without.
    let theirs = || user(&scene.tenant).flaw(Flaw::WrongKey);
    assert_eq!(scene.answer(&theirs().mint()).await, UNTRUSTED);
    let without = theirs().without_header("kid").mint();
    assert_eq!(scene.answer(&without).await, "401 missing_kid");
    for entry in document["keys"].as_array().unwrap() {
        if let Some(kid) = entry["kid"]
            .as_str()
            .filter(|kid| *kid != scene.tenant.key_id())
        {
            let token = theirs().header("kid", kid).mint();
            assert_eq!(scene.answer(&token).await, UNTRUSTED, "{entry}");
        }
    }
    assert_eq!(scene.tenant.keys().hits(), 1 + 2);
}

// F22
#[tokio::test(start_paused = true)]
async fn the_algorithm_comes_from_the_rules_and_neither_from_the_key_nor_from_the_token() {
    let scene = Scene::start().await;
    let document: Value = serde_json::from_str(&scene.tenant.jwks()).unwrap();
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
    assert_eq!(scene.tenant.keys().hits(), 1);
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
        // So that the others are seen to be refused for what they say.
        (json!({ "use": "sig", "alg": "RS256" }), ACCEPTED),
        (json!({}), ACCEPTED),
    ] {
        let tenant = tenant().await;
        let attackers = entry_of_an_attacker(&tenant).await;
        let entry = changed(changed(attackers, &json!({ "kid": "theirs" })), &changes);
        tenant.publishes_also(entry.clone());
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
    scene.tenant.rotate_keys();
    let [remembered, unseen] = scene.tokens();
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    scene.tenant.publishes_private_half();
    after_the_next_fetch(&scene).await;
    for _ in 0..3 {
        for token in [&remembered, &unseen, &scene.token()] {
            assert_eq!(scene.answer(token).await, UNTRUSTED);
        }
        assert_eq!(scene.answer(&first).await, ACCEPTED);
        // A front end that lags, or an attempt to make it undone.
        scene.tenant.publishes_normally();
        after_the_next_fetch(&scene).await;
    }
    scene.tenant.rotate_keys();
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
    scene.tenant.publishes_private_half();
    let before = scene.tenant.keys().hits();
    let is_fetched = || scene.tenant.keys().hits() > before;
    until(2 * HOUR, MINUTE, is_fetched).await;
    // Everybody can sign with it: whatever the code is, nothing of it is accepted.
    for token in [&remembered, &unseen, &scene.token()] {
        assert_ne!(scene.answer(token).await, ACCEPTED);
    }
    scene.tenant.publishes_normally();
    scene.tenant.rotate_keys();
    sleep(5 * MINUTE).await;
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);
    assert_eq!(scene.answer(&unseen).await, UNTRUSTED);
}

// F29
#[tokio::test(start_paused = true)]
async fn keys_of_another_cloud_and_of_personal_accounts_sign_for_nobody_here() {
    let tenant = tenant().await;
    tenant.publishes_foreign_keys();
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
    assert_eq!(scene.tenant.keys().hits(), 1);
}

// F15, F30
#[tokio::test(start_paused = true)]
async fn a_discovery_document_of_somebody_else_is_a_failed_fetch() {
    let other_tenant = DevTenant::builder().id(OTHER_TENANT).start().await.unwrap();
    let other_cloud = DevTenant::builder()
        .cloud(DevCloud::UsGovernment)
        .start()
        .await
        .unwrap();
    let home = tenant().await;
    let id = home.id();
    let issuer = format!("https://login.microsoftonline.com/{id}/v2.0");
    let documents = [
        (
            "wrong_tenant",
            json!({
                "issuer": format!("https://login.microsoftonline.com/{OTHER_TENANT}/v2.0"),
                "jwks_uri": format!("{}/{OTHER_TENANT}/discovery/v2.0/keys", other_tenant.url()),
            }),
        ),
        (
            "wrong_cloud",
            json!({
                "issuer": format!("https://login.microsoftonline.us/{id}/v2.0"),
                "jwks_uri": format!("{}/{id}/discovery/v2.0/keys", other_cloud.url()),
            }),
        ),
        (
            "wrong_cloud",
            json!({
                "issuer": issuer,
                "jwks_uri": format!("{}/{id}/discovery/v2.0/keys", other_cloud.url()),
                "cloud_instance_name": "microsoftonline.us",
            }),
        ),
        (
            "key_address",
            json!({
                "issuer": issuer,
                "jwks_uri": format!("{}/{id}/discovery/v2.0/keys", other_cloud.url()),
                "cloud_instance_name": "microsoftonline.com",
            }),
        ),
        (
            "key_address",
            json!({
                "issuer": issuer,
                "jwks_uri": "https://login.microsoftonline.com/common/discovery/v2.0/keys",
            }),
        ),
        (
            "key_address",
            json!({ "issuer": issuer, "jwks_uri": "file:///etc/passwd" }),
        ),
    ];
    for (code, document) in documents {
        let document = document.to_string();
        is_a_failed_fetch_of(
            Place::Discovery,
            |tenant| {
                let discovery = tenant.discovery();
                discovery.answers_with(200, "application/json", &document)
            },
            code,
        )
        .await;
    }
    for elsewhere in [&other_tenant, &other_cloud, &home] {
        assert_eq!(hits(elsewhere), (0, 0));
    }
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
        assert_eq!(scene.answer(&token.mint()).await, "401 tenant_not_allowed");
    }
    assert_eq!(scene.auth.status().issuers.len(), 1);
    assert_eq!(
        hits(&scene.tenant),
        (2, 2),
        "none for a tenant that is not allowed"
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
    assert_eq!(tenant.keys().hits(), 20);
    sleep(HOUR).await;
    let requests = tenant.keys().requests();
    assert_eq!(requests.len(), 40);
    let moments: HashSet<u64> = requests[20..]
        .iter()
        .map(|request| (request.at - start).as_secs())
        .collect();
    assert!(
        moments
            .iter()
            .all(|moment| (57 * 60..=3_600).contains(moment))
    );
    assert!(moments.len() > 10, "{moments:?}");
}
