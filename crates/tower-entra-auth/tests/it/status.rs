//! Tests of the keys' state for operators: the status, the readiness endpoint, and the metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::routing::get;
use entra_dev_tenant::{DevTenant, Flaw};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use reqwest::Response;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tower_entra_auth::EntraAuth;
use tower_entra_auth::settings::{KeyOptions, TokenCache};

use crate::support::{
    ACCEPTED, API, HOUR, OTHER_TENANT, PENDING, SECOND, Scene, Server, UNAVAILABLE, UNTRUSTED,
    ask_without_token, at_once_until, auth, header, retry_after, serve, settings, tenant, until,
    user,
};

fn hits(tenant: &DevTenant) -> (usize, usize) {
    (
        tenant.discovery_endpoint().hits(),
        tenant.key_endpoint().hits(),
    )
}

#[tokio::test(start_paused = true)]
async fn before_anything_it_is_not_ready_and_looking_starts_nothing() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    for _ in 0..3 {
        let status = auth.status();
        assert!(!status.is_ready());
        assert_eq!(status.issuers.len(), 1);
        let issuer = &status.issuers[0];
        assert_eq!(format!("http://{}", issuer.source), tenant.url());
        assert!(!issuer.is_ready && issuer.keys.is_empty());
        assert!(issuer.last_success_ago.is_none() && issuer.last_failure.is_none());
        assert_eq!(
            (issuer.failures_in_a_row, issuer.next_attempt_in),
            (0, Duration::ZERO)
        );
        assert!(
            status
                .to_string()
                .starts_with("not ready: 0 keys of 127.0.0.1:")
        );
        sleep(2 * HOUR).await;
    }
    assert_eq!(hits(&tenant), (0, 0));
}

#[test]
fn the_status_needs_no_runtime() {
    let auth = EntraAuth::builder()
        .tenant(OTHER_TENANT)
        .client_id(API)
        .metadata_endpoint("http://127.0.0.1:1")
        .build()
        .unwrap();
    assert!(!auth.status().is_ready());
    let response = futures_util::FutureExt::now_or_never(auth.readiness().response()).unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
}

#[tokio::test(start_paused = true)]
async fn once_keys_are_fetched_it_is_ready_and_ages() {
    let scene = Scene::start().await;
    let issuer = scene.issuer();
    assert!(scene.auth.status().is_ready() && issuer.is_ready);
    assert_eq!(issuer.last_success_ago, Some(Duration::ZERO));
    assert!(issuer.last_failure.is_none());
    assert!((57 * 60 * SECOND..=HOUR).contains(&issuer.next_attempt_in));
    let [key] = &issuer.keys[..] else {
        panic!("{issuer}");
    };
    assert_eq!(key.id.as_str(), scene.tenant.signing_keys().current_id());
    assert_eq!(
        (key.first_seen_ago, key.last_seen_ago),
        (Duration::ZERO, Duration::ZERO)
    );
    assert_eq!(key.time_to_live, None);

    let half_an_hour = HOUR / 2;
    sleep(half_an_hour).await;
    let later = scene.issuer();
    assert_eq!(later.last_success_ago, Some(half_an_hour));
    assert_eq!(later.next_attempt_in, issuer.next_attempt_in - half_an_hour);
    assert_eq!(later.keys[0].first_seen_ago, half_an_hour);
    sleep(3 * HOUR).await;
    let later = scene.issuer();
    assert!(later.last_success_ago.unwrap() < HOUR);
    assert!(later.keys[0].last_seen_ago < HOUR);
    assert_eq!(later.keys[0].first_seen_ago, half_an_hour + 3 * HOUR);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_with_its_code_and_remedy_and_stays_told_after_it_is_over() {
    let scene = Scene::start().await;
    scene.tenant.key_endpoint().fail_with(500);
    scene.tenant.signing_keys().rotate();
    assert_eq!(scene.answer(&scene.token()).await, UNAVAILABLE);
    let issuer = scene.issuer();
    assert!(issuer.is_ready, "held keys serve");
    assert_eq!(issuer.failures_in_a_row, 1);
    assert!(issuer.next_attempt_in <= SECOND && issuer.next_attempt_in >= SECOND / 2);
    let failure = issuer.last_failure.as_ref().unwrap();
    assert_eq!(
        (failure.ago, failure.cause.code()),
        (Duration::ZERO, "status")
    );
    assert_eq!(
        failure.cause.to_string(),
        format!("{} responded with the status 500", issuer.source)
    );
    assert!(failure.cause.remedy().contains("metadata_endpoint"));
    assert!(
        issuer.to_string().contains(&*failure.cause.remedy()),
        "{issuer}"
    );

    // During an attempt, the status shows the time until the attempt must have ended.
    scene.tenant.key_endpoint().hang();
    let before = scene.tenant.key_endpoint().hits();
    let asks_again = || scene.tenant.key_endpoint().hits() > before;
    until(2 * SECOND, SECOND / 100, asks_again).await;
    sleep(2 * SECOND).await;
    let next = scene.issuer().next_attempt_in;
    assert!((3 * SECOND..=4 * SECOND).contains(&next), "{next:?}");

    scene.tenant.key_endpoint().recover();
    sleep(20 * SECOND).await;
    let issuer = scene.issuer();
    assert_eq!((issuer.failures_in_a_row, issuer.keys.len()), (0, 2));
    let failure = issuer.last_failure.unwrap();
    assert_eq!(failure.cause.code(), "timeout");
    assert!(failure.ago > issuer.last_success_ago.unwrap());
}

#[tokio::test(start_paused = true)]
async fn it_is_not_ready_once_the_last_success_is_too_long_ago() {
    let scene =
        Scene::with(|settings| settings.keys(KeyOptions::default().max_staleness(2 * HOUR))).await;
    scene.tenant.start_outage();
    sleep(2 * HOUR - SECOND).await;
    assert!(scene.auth.status().is_ready());
    sleep(SECOND).await;
    assert!(!scene.auth.status().is_ready());
    assert_eq!(scene.issuer().last_success_ago, Some(2 * HOUR));
    assert_eq!(scene.last_failure(), "connect");
}

#[tokio::test(start_paused = true)]
async fn the_time_to_live_of_a_withdrawn_key_counts_down_to_its_end() {
    let scene = Scene::start().await;
    let old = scene.tenant.signing_keys().current_id();
    sleep(HOUR / 2).await;
    scene.tenant.signing_keys().rotate();
    scene.tenant.signing_keys().withdraw_old();
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);
    let of_old = || {
        let keys = scene.issuer().keys;
        keys.into_iter().find(|key| key.id.as_str() == old)
    };
    for hours in 0..24 {
        let key = of_old().unwrap();
        assert_eq!(key.time_to_live, Some((24 - hours) * HOUR));
        assert_eq!(key.last_seen_ago, HOUR / 2 + hours * HOUR);
        assert_eq!(scene.issuer().keys.len(), 2);
        sleep(HOUR).await;
    }
    assert!(of_old().is_none());
    let keys = scene.issuer().keys;
    assert_eq!((keys.len(), keys[0].time_to_live), (1, None));
}

#[tokio::test(start_paused = true)]
async fn the_remembered_tokens_are_told_unless_that_is_off() {
    let tenant = tenant().await;
    let with = settings(&tenant)
        .token_cache(TokenCache::bytes(100_000))
        .build()
        .unwrap();
    assert_eq!(with.status().token_cache.unwrap().capacity, 100_000);
    assert_eq!(with.status().token_cache.unwrap().tokens, 0);
    let without = settings(&tenant)
        .token_cache(TokenCache::off())
        .build()
        .unwrap();
    assert!(without.status().token_cache.is_none());
}

/// Serves an API whose only open route is the readiness endpoint.
async fn serve_readiness(auth: &EntraAuth) -> Server {
    let app = Router::new()
        .route("/me", get(async || "never"))
        .layer(auth.layer())
        .route("/ready", get(auth.readiness()));
    serve(app).await
}

async fn body(response: Response, scene: &Scene) -> Value {
    assert_eq!(header(&response, "content-type"), Some("application/json"));
    assert_eq!(header(&response, "cache-control"), Some("no-store"));
    let text = response.text().await.unwrap();
    let tenant = &scene.tenant;
    for secret in [tenant.id(), &tenant.signing_keys().current_id(), "http"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_readiness_endpoint_is_503_until_keys_are_there_and_fetches_them_by_itself() {
    let tenant = tenant().await;
    tenant.discovery_endpoint().fail_with(503).for_next(1);
    let auth = auth(&tenant);
    let scene = Scene::of(tenant, auth).await;
    let server = serve_readiness(&scene.auth).await;
    let ready = async || ask_without_token(&server, "/ready").await;
    assert_eq!(hits(&scene.tenant), (0, 0));

    let response = ready().await;
    assert_eq!(response.status(), 503);
    assert!((1..=6).contains(&retry_after(&response)), "{response:?}");
    let found = body(response, &scene).await;
    assert_eq!(
        found,
        json!({
            "ready": false, "keys": 0, "code": "keys_unavailable", "cause": "not_fetched_yet",
            "source": scene.tenant.url().trim_start_matches("http://"),
        })
    );
    at_once_until(|| scene.issuer().last_failure.is_some()).await;
    assert_eq!(hits(&scene.tenant), (1, 0), "being asked has started it");
    let response = ready().await;
    assert_eq!(
        (response.status().as_u16(), retry_after(&response)),
        (503, 1)
    );
    assert_eq!(body(response, &scene).await["cause"], "status");

    // The back-off is at most 1 s, and its end may be noticed a moment later.
    until(2 * SECOND, SECOND / 2, || scene.issuer().is_ready).await;
    let response = ready().await;
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "retry-after"), None);
    let found = body(response, &scene).await;
    assert_eq!((&found["ready"], &found["keys"]), (&json!(true), &json!(1)));
    assert_eq!(found["last_success_seconds_ago"], 0);
    assert_eq!(
        (&found["code"], &found["cause"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(hits(&scene.tenant), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn the_readiness_endpoint_says_when_the_keys_are_too_old_and_asks_no_more_than_the_schedule()
{
    let scene =
        Scene::with(|settings| settings.keys(KeyOptions::default().max_staleness(2 * HOUR))).await;
    let server = serve_readiness(&scene.auth).await;
    scene.tenant.key_endpoint().fail_with(503);
    sleep(2 * HOUR - SECOND).await;
    let response = ask_without_token(&server, "/ready").await;
    assert_eq!(response.status(), 200);
    let found = body(response, &scene).await;
    assert_eq!(found["last_success_seconds_ago"], 7_199);
    sleep(SECOND).await;
    let before = hits(&scene.tenant);
    for _ in 0..20 {
        let response = ask_without_token(&server, "/ready").await;
        assert_eq!(response.status(), 503);
        assert!((1..=300).contains(&retry_after(&response)));
        let found = body(response, &scene).await;
        assert_eq!(found["ready"], false);
        assert_eq!(found["code"], "keys_unavailable");
        assert_eq!(found["cause"], "status");
    }
    assert!(hits(&scene.tenant).1 - before.1 <= 1, "the schedule's");
    scene.tenant.key_endpoint().recover();
    sleep(301 * SECOND).await;
    assert_eq!(ask_without_token(&server, "/ready").await.status(), 200);
}

/// The metrics that `src/telemetry.rs` describes, each with its labels in their order.
pub(crate) const METRICS: [(&str, &[&str]); 7] = [
    ("entra_auth_decisions_total", &["outcome", "code"]),
    ("entra_auth_key_fetch_duration_seconds", &["source"]),
    ("entra_auth_key_fetches_total", &["source", "outcome"]),
    ("entra_auth_key_last_success_timestamp_seconds", &["source"]),
    ("entra_auth_keys", &["source"]),
    ("entra_auth_missing_keys_total", &["source", "outcome"]),
    ("entra_auth_token_cache_lookups_total", &["outcome"]),
];

/// Returns every series, named by the metric and its label values, with its value.
pub(crate) fn series(snapshotter: &Snapshotter) -> BTreeMap<String, DebugValue> {
    let snapshot = snapshotter.snapshot().into_vec();
    let series = snapshot.into_iter().map(|(key, _, description, value)| {
        let key = key.key();
        let labels: Vec<_> = key
            .labels()
            .map(|label| (label.key(), label.value()))
            .collect();
        let (name, expected) = METRICS
            .into_iter()
            .find(|(name, _)| *name == key.name())
            .unwrap_or_else(|| panic!("{} is not documented", key.name()));
        let names: Vec<&str> = labels.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, expected, "{name}");
        assert!(description.is_some_and(|text| !text.is_empty()), "{name}");
        // Each run has its own port.
        let without_port = |value: &'_ str| match value.starts_with("127.0.0.1:") {
            true => "127.0.0.1".to_owned(),
            false => value.to_owned(),
        };
        let values = labels.iter().map(|(_, value)| without_port(value));
        let words: Vec<String> = [name.to_owned()].into_iter().chain(values).collect();
        (words.join(" "), value)
    });
    series.collect()
}

/// Runs the work on paused time with its own recorder, and returns the recorded series.
pub(crate) fn recorded(work: impl AsyncFnOnce(&Snapshotter)) -> BTreeMap<String, DebugValue> {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(work(&snapshotter)));
    series(&snapshotter)
}

pub(crate) fn counter(series: &BTreeMap<String, DebugValue>, name: &str) -> u64 {
    match series.get(name) {
        Some(DebugValue::Counter(count)) => *count,
        None => 0,
        Some(other) => panic!("{name} is {other:?}"),
    }
}

fn gauge(series: &BTreeMap<String, DebugValue>, name: &str) -> f64 {
    match series.get(name) {
        Some(DebugValue::Gauge(value)) => value.into_inner(),
        other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn fetches_missing_keys_and_look_ups_are_counted() {
    let recorded = recorded(async |_| {
        let tenant = tenant().await;
        tenant.discovery_endpoint().serve_etags(true);
        tenant.key_endpoint().serve_etags(true);
        let auth = auth(&tenant);
        let scene = Scene::of(tenant, auth).await;
        let [first, other] = [user(&scene.tenant).mint(), user(&scene.tenant).mint()];
        // The first token counts as fetched, found. The three requests are two misses and a hit of
        // the cache.
        for token in [&first, &first, &other] {
            assert_eq!(scene.answer(token).await, ACCEPTED);
        }
        // The scheduled fetch counts as not_modified.
        sleep(HOUR + SECOND).await;
        // The new key counts as fetched, found.
        scene.tenant.signing_keys().rotate();
        assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);
        // The unknown key counts as fetched once more, unknown. Then the bucket is empty: pending
        // twice.
        for expected in [UNTRUSTED, PENDING, PENDING] {
            let unknown = user(&scene.tenant).flaw(Flaw::UnknownKid).mint();
            assert_eq!(scene.answer(&unknown).await, expected);
        }
        // The failed fetch counts as status, unavailable.
        sleep(30 * SECOND).await;
        scene.tenant.key_endpoint().fail_with(500).for_next(1);
        scene.tenant.signing_keys().rotate();
        let late = scene.token();
        assert_eq!(scene.answer(&late).await, UNAVAILABLE);
        // The schedule's fetch counts as fetched.
        sleep(2 * SECOND).await;
        assert_eq!(scene.answer(&late).await, ACCEPTED);
        // The cache counts miss, outdated.
        let soon_over = user(&scene.tenant).mint();
        assert_eq!(scene.answer(&soon_over).await, ACCEPTED);
        scene.tenant.time().jump_forward(3 * HOUR);
        assert_eq!(scene.answer(&soon_over).await, "401 expired");
        assert_eq!(scene.answer("garbage").await, "401 not_a_token");
    });
    let count = |name: &str| counter(&recorded, name);
    let fetches =
        |outcome: &str| count(&format!("entra_auth_key_fetches_total 127.0.0.1 {outcome}"));
    assert_eq!(fetches("fetched"), 1 + 1 + 1 + 1, "{recorded:?}");
    assert_eq!(fetches("not_modified"), 1);
    assert_eq!(fetches("status"), 1);
    let missing = |outcome: &str| {
        count(&format!(
            "entra_auth_missing_keys_total 127.0.0.1 {outcome}"
        ))
    };
    assert_eq!(missing("found"), 2);
    assert_eq!(missing("unknown"), 1);
    assert_eq!(missing("pending"), 2);
    assert_eq!(missing("unavailable"), 1);
    let look_ups =
        |outcome: &str| count(&format!("entra_auth_token_cache_lookups_total {outcome}"));
    assert_eq!(look_ups("hit"), 1);
    assert_eq!(look_ups("outdated"), 1);
    assert_eq!(look_ups("miss"), 2 + 1 + 3 + 2 + 1 + 1);
    assert_eq!(gauge(&recorded, "entra_auth_keys 127.0.0.1"), 3.0);
    let fetched_at = gauge(
        &recorded,
        "entra_auth_key_last_success_timestamp_seconds 127.0.0.1",
    );
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!(
        (now - 600.0..=now).contains(&fetched_at),
        "{fetched_at} of {now}"
    );
    let durations = &recorded["entra_auth_key_fetch_duration_seconds 127.0.0.1"];
    let DebugValue::Histogram(durations) = durations else {
        panic!("{durations:?}");
    };
    assert_eq!(durations.len(), 6);
    let of_keys = recorded
        .keys()
        .filter(|name| !name.starts_with("entra_auth_decisions"));
    assert_eq!(of_keys.count(), 3 + 4 + 3 + 3, "{recorded:?}");
}

#[test]
fn a_fetch_is_counted_by_the_code_that_it_failed_with_and_by_its_time() {
    let recorded = recorded(async |_| {
        let tenant = tenant().await;
        tenant.key_endpoint().hang().for_next(1);
        let auth = auth(&tenant);
        assert_eq!(auth.ready().await.unwrap_err().code(), "timeout");
        tenant.key_endpoint().answer_html().for_next(1);
        assert_eq!(auth.ready().await.unwrap_err().code(), "document");
        let start = Instant::now();
        auth.ready().await.unwrap();
        assert!(start.elapsed() < 3 * SECOND);
    });
    for outcome in ["timeout", "document", "fetched"] {
        let name = format!("entra_auth_key_fetches_total 127.0.0.1 {outcome}");
        assert_eq!(counter(&recorded, &name), 1, "{recorded:?}");
    }
    match &recorded["entra_auth_key_fetch_duration_seconds 127.0.0.1"] {
        DebugValue::Histogram(durations) => {
            let seconds: Vec<u64> = durations
                .iter()
                .map(|took| took.into_inner() as u64)
                .collect();
            assert_eq!(seconds, [5, 0, 0]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_that_a_caller_sends_becomes_a_label() {
    recorded(async |snapshotter| {
        let scene = Scene::start().await;
        let stranger = DevTenant::start().await.unwrap();
        let good = scene.token();
        let unknown = || user(&stranger);
        assert_eq!(scene.answer(&good).await, ACCEPTED);
        assert_eq!(scene.answer(&good).await, ACCEPTED);
        assert_eq!(scene.answer(&unknown().mint()).await, UNTRUSTED);
        assert_eq!(scene.answer(&unknown().mint()).await, PENDING);
        // The codes of decisions are a closed set. Apart from them, no new series may appear.
        let of_closed_sets = |name: &String| {
            let labels = name.strip_prefix("entra_auth_decisions_total ")?;
            let is_word = |byte: u8| byte.is_ascii_lowercase() || byte == b'_' || byte == b' ';
            labels.bytes().all(is_word).then_some(())
        };
        let seen = || {
            let names = series(snapshotter).into_keys();
            names
                .filter(|name| of_closed_sets(name).is_none())
                .collect()
        };
        let before: BTreeSet<String> = seen();

        for kid in [
            "fetched",
            "entra_auth_keys",
            "a\"} 1\nentra_auth_keys{source=\"evil",
            "\u{202e}\r\n\0",
            "../../etc/passwd",
            &"k".repeat(256),
        ] {
            assert_eq!(
                scene.answer(&unknown().header("kid", kid).mint()).await,
                PENDING
            );
        }
        let hostile = "evil\"} 1\n";
        for token in [
            unknown().claim("iss", hostile),
            unknown().claim("tid", hostile),
            unknown().claim("aud", hostile),
            unknown().claim("sub", hostile),
            unknown().header("alg", hostile),
            unknown().of_tenant(OTHER_TENANT),
        ] {
            assert_ne!(scene.answer(&token.mint()).await, ACCEPTED);
        }
        let after: BTreeSet<String> = seen();
        assert_eq!(before, after);
    });
}
