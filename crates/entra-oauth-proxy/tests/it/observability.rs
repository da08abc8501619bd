//! Tests of what operators see: metrics, and spans that connect the requests of a sign-in with each
//! other and with Entra's log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use url::Url;

use crate::logbook::Logbook;
use crate::refresh::token_of;
use crate::support::{Browser, HOUR, Stage, parameter};
use crate::watched_store::WatchedStore;

/// Returns the value of a field on a log line.
fn field<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    let (_, rest) = line.split_once(&format!("{name}=\""))?;
    rest.split('"').next()
}

fn line<'l>(lines: &'l [String], text: &str) -> &'l str {
    let mut found = lines.iter().filter(|line| line.contains(text));
    let line = found.next().unwrap_or_else(|| panic!("{text}: {lines:#?}"));
    assert!(found.next().is_none(), "{text} twice");
    line
}

#[tokio::test(start_paused = true)]
async fn one_id_goes_through_a_sign_in_and_is_entras_correlation_id() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let log = Logbook::begin();
    let mut browser = Browser::new(&stage);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    let url: Url = at_entra.parse().unwrap();
    let id = parameter(&url, "client-request-id").unwrap();
    assert_eq!(id.len(), 36, "a GUID");
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    let answered: Url = browser
        .come_back(&callback)
        .await
        .location()
        .parse()
        .unwrap();
    let asked = stage.tenant.token_endpoint().requests().pop().unwrap();
    assert_eq!(asked.headers["client-request-id"], id);
    let code = parameter(&answered, "code").unwrap();
    let tokens = stage.redeem(&client, &code).await.json();

    let lines = log.lines("INFO");
    let signed_in = line(&lines, "a user signed in");
    assert_eq!(field(signed_in, "sign_in"), Some(&*id));
    assert_eq!(field(signed_in, "endpoint"), Some("callback"));
    let redeemed = line(&lines, "a code was redeemed");
    assert_eq!(field(redeemed, "sign_in"), Some(&*id));
    assert_eq!(field(redeemed, "endpoint"), Some("token"));
    // From here on, the grant's id connects the requests.
    let grant = field(redeemed, "grant").unwrap().to_owned();
    let caller = stage.verify(&tokens["access_token"]).await.unwrap();
    assert_eq!(caller.grant_id(), Some(&*grant));
    stage.tenant.time().advance(HOUR).await;
    stage.tenant.people().disable("ada");
    stage.refresh(&client, &tokens["refresh_token"]).await;
    let refused = log.lines("INFO");
    let refused = line(&refused, "Entra refused tokens for a user");
    assert_eq!(field(refused, "grant"), Some(&*grant));
    assert_eq!(field(refused, "client"), field(redeemed, "client"));
    // Another sign-in has another id.
    let url: Url = Browser::new(&stage)
        .goes_to_entra(&client, &[])
        .await
        .parse()
        .unwrap();
    assert_ne!(parameter(&url, "client-request-id").unwrap(), id);
}

#[tokio::test(start_paused = true)]
async fn what_entra_refuses_is_logged_within_the_request_that_it_is_of() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let log = Logbook::begin();
    let mut browser = Browser::new(&stage);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    stage.tenant.token_endpoint().fail_with(500).for_next(1);
    browser.come_back(&callback).await;
    let url: Url = at_entra.parse().unwrap();
    let lines = log.lines("WARN");
    let of_client = lines
        .iter()
        .find(|line| line.contains("entra_token_request{"));
    let of_client = of_client.unwrap_or_else(|| panic!("{lines:#?}"));
    assert_eq!(
        field(of_client, "sign_in").map(str::to_owned),
        parameter(&url, "client-request-id")
    );
    assert_eq!(field(of_client, "grant_type"), Some("authorization_code"));
}

/// Returns the counters by name and labels, and the number of values in each histogram.
fn seen(snapshotter: &Snapshotter) -> BTreeMap<String, u64> {
    let all = snapshotter.snapshot().into_vec().into_iter();
    let all = all.map(|(key, _, _, value)| {
        let labels = key.key().labels();
        let labels: Vec<_> = labels
            .map(|l| format!("{}={}", l.key(), l.value()))
            .collect();
        let value = match value {
            DebugValue::Counter(count) => count,
            DebugValue::Histogram(values) => values.len() as u64,
            DebugValue::Gauge(_) => 0,
        };
        (format!("{} {}", key.key().name(), labels.join(",")), value)
    });
    all.filter(|(name, _)| name.starts_with("entra_proxy_"))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn metrics_count_what_came_of_requests() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _local = metrics::set_default_local_recorder(&recorder);
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let at_first = seen(&snapshotter);
    for name in [
        "entra_proxy_reused_total what=code",
        "entra_proxy_reused_total what=refresh_token",
        "entra_proxy_lost_writes_total ",
        "entra_proxy_store_errors_total ",
    ] {
        assert_eq!(at_first.get(name), Some(&0), "there from the beginning");
    }

    let client = stage.client().await;
    let first = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    // Refreshes with Entra's current token, repeated, with a renewed token, and with the current
    // token while Entra fails.
    let second = token_of(stage.refresh(&client, &first).await).await;
    token_of(stage.refresh(&client, &first).await).await;
    stage.tenant.time().advance(HOUR).await;
    let third = token_of(stage.refresh(&client, &second).await).await;
    stage
        .tenant
        .time()
        .advance(Duration::from_secs(57 * 60))
        .await;
    // The request to Entra is repeated once.
    stage.tenant.token_endpoint().fail_with(500).for_next(2);
    token_of(stage.refresh(&client, &third).await).await;
    // A stolen token, a code used twice, a browser without the cookie, and a store that is down.
    stage.refresh(&client, &first).await;
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    stage.redeem(&client, &code).await;
    stage.tenant.time().advance(Duration::from_secs(11)).await;
    stage.redeem(&client, &code).await;
    stage.get("/callback?code=x&state=y").await;
    let foreign = [("resource", "https://evil.example/mcp")];
    Browser::new(&stage).get(&client.authorize(&foreign)).await;
    store.goes_down();
    stage.redeem(&client, &code).await;

    let seen = seen(&snapshotter);
    let expected = [
        ("requests_total endpoint=register,outcome=ok", 1),
        ("requests_total endpoint=authorize,outcome=ok", 2),
        (
            "requests_total endpoint=authorize,outcome=invalid_target",
            1,
        ),
        ("requests_total endpoint=consent,outcome=ok", 2),
        ("requests_total endpoint=callback,outcome=ok", 2),
        ("requests_total endpoint=callback,outcome=forbidden", 1),
        ("requests_total endpoint=token,outcome=ok", 6),
        ("requests_total endpoint=token,outcome=invalid_grant", 2),
        (
            "requests_total endpoint=token,outcome=temporarily_unavailable",
            1,
        ),
        ("request_duration_seconds endpoint=token", 9),
        (
            "entra_requests_total grant_type=authorization_code,outcome=ok",
            2,
        ),
        (
            "entra_requests_total grant_type=refresh_token,outcome=ok",
            1,
        ),
        (
            "entra_requests_total grant_type=refresh_token,outcome=unavailable",
            1,
        ),
        ("entra_request_duration_seconds grant_type=refresh_token", 2),
        ("refreshes_total by=held", 1),
        ("refreshes_total by=again", 1),
        ("refreshes_total by=renewed", 1),
        ("refreshes_total by=held_in_trouble", 1),
        ("reused_total what=refresh_token", 1),
        ("reused_total what=code", 1),
        ("store_errors_total ", 1),
    ];
    for (name, count) in expected {
        let found = seen.get(&format!("entra_proxy_{name}")).copied();
        assert_eq!(found, Some(count), "{name}: {seen:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_the_store_lost_is_counted_when_it_shows() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _local = metrics::set_default_local_recorder(&recorder);
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    let backup = store.records("grant/").await.remove(0);
    let token = token_of(stage.refresh(&client, &token).await).await;
    let token = token_of(stage.refresh(&client, &token).await).await;
    store.puts_back(backup).await;
    token_of(stage.refresh(&client, &token).await).await;
    let seen = seen(&snapshotter);
    assert_eq!(seen.get("entra_proxy_lost_writes_total "), Some(&1));
}

/// Returns the names of the metrics in a text.
fn named(text: &str) -> BTreeSet<&str> {
    let is_of_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let words = text.split(|c| !is_of_name(c));
    words
        .filter(|word| word.starts_with("entra_proxy_"))
        .collect()
}

#[test]
fn the_documented_metrics_are_those_that_there_are() {
    let there_are = named(include_str!("../../src/telemetry.rs"));
    let documented = named(include_str!("../../docs/operations.md"));
    assert_eq!(documented, there_are);
    assert!(there_are.len() >= 7, "{there_are:?}");
    let alerts = named(include_str!("../../docs/prometheus/alerts.yml"));
    assert!(alerts.is_subset(&there_are), "{alerts:?}");
}
