//! Tests of keys that do not come from Entra's discovery document.
//!
//! They come from a fixed set, from a custom source or HTTP client, or from the documents of an
//! application with its own key.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use entra_dev_tenant::DevTenant;
use http::Request;
use tokio::time::{Instant, sleep};
use tower::{ServiceExt as _, service_fn};
use tower_entra_auth::keys::{BoxError, FetchedKeys, KeySet, KeySource};
use tower_entra_auth::settings::KeyOptions;

use crate::support::{
    ACCEPTED, API, HOUR, MINUTE, PENDING, SECOND, Scene, UNAVAILABLE, UNTRUSTED, of_source,
    scene_with, settings, tenant, until,
};

#[tokio::test(start_paused = true)]
async fn a_fixed_key_set_needs_no_network_and_never_goes_stale() {
    let tenant = tenant().await;
    let keys = KeySet::from_jwks(tenant.signing_keys().document().as_bytes()).unwrap();
    let scene = scene_with(tenant, keys).await;
    let [remembered, unseen] = scene.tokens();
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    sleep(100 * HOUR).await;
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    assert_eq!(scene.answer(&unseen).await, ACCEPTED);
    // The set is complete: a token of any other key is refused immediately.
    scene.tenant.signing_keys().rotate();
    for _ in 0..5 {
        let (answer, took) = scene.timed(&scene.token()).await;
        assert_eq!((&*answer, took), (UNTRUSTED, Duration::ZERO));
    }
    assert_eq!(
        (
            scene.tenant.discovery_endpoint().hits(),
            scene.tenant.key_endpoint().hits()
        ),
        (0, 0)
    );

    let nothing = KeySet::from_jwks(br#"{"keys":[]}"#).unwrap();
    let auth = of_source(&scene.tenant, nothing).build().unwrap();
    assert_eq!(auth.ready().await.unwrap_err().code(), "no_usable_key");
}

/// Behaviour of a source in one fetch.
#[derive(Clone, Copy, Debug)]
enum Doing {
    Fail,
    Panic,
    PanicBeforeTheFirstPoll,
    Hang,
    Nothing,
    AskAgainAfter(Duration),
}

/// A source that follows a script, and otherwise returns this document.
#[derive(Clone, Default)]
struct Scripted {
    document: Arc<Mutex<String>>,
    script: Arc<Mutex<VecDeque<Doing>>>,
    asked: Arc<Mutex<Vec<Instant>>>,
}

impl Scripted {
    fn of(tenant: &DevTenant) -> Self {
        let source = Self::default();
        source.publishes(&tenant.signing_keys().document());
        source
    }

    fn publishes(&self, document: &str) {
        document.clone_into(&mut self.document.lock().unwrap());
    }

    fn does(&self, doing: Doing) {
        self.script.lock().unwrap().push_back(doing);
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl KeySource for Scripted {
    fn fetch(&self) -> impl Future<Output = Result<FetchedKeys, BoxError>> + Send {
        self.asked.lock().unwrap().push(Instant::now());
        let doing = self.script.lock().unwrap().pop_front();
        assert!(
            !matches!(doing, Some(Doing::PanicBeforeTheFirstPoll)),
            "on purpose"
        );
        let document = self.document.lock().unwrap().clone();
        async move {
            match doing {
                Some(Doing::Fail) => return Err("the vault\nis sealed".into()),
                Some(Doing::Panic) => panic!("on purpose"),
                Some(Doing::Hang) => std::future::pending().await,
                Some(Doing::Nothing) => return Ok(FetchedKeys::from_jwks(br#"{"keys":[]}"#)?),
                Some(Doing::AskAgainAfter(span)) => {
                    let keys = FetchedKeys::from_jwks(document.as_bytes())?;
                    return Ok(keys.check_again_after(span));
                }
                Some(Doing::PanicBeforeTheFirstPoll) | None => {}
            }
            Ok(FetchedKeys::from_jwks(document.as_bytes())?)
        }
    }

    fn name(&self) -> Cow<'static, str> {
        "vault".into()
    }
}

/// Checks a source that fails: held keys serve, a missing key is unavailable, and the source is
/// asked again without a request.
async fn is_a_failed_fetch(doing: Doing, seconds: u64, code: &str) {
    let tenant = tenant().await;
    let source = Scripted::of(&tenant);
    let scene = scene_with(tenant, source.clone()).await;
    let [remembered, unseen, later] = scene.tokens();
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    assert_eq!(scene.issuer().source, "vault");
    scene.tenant.signing_keys().rotate();
    source.publishes(&scene.tenant.signing_keys().document());
    let new = scene.token();

    source.does(doing);
    let (answer, took) = scene.timed(&new).await;
    assert_eq!(
        (&*answer, took.as_secs()),
        (UNAVAILABLE, seconds.min(3)),
        "{doing:?}"
    );
    assert_eq!(scene.answer(&remembered).await, ACCEPTED, "{doing:?}");
    assert_eq!(scene.answer(&unseen).await, ACCEPTED, "{doing:?}");
    // This wait is shorter than any back-off.
    sleep(Duration::from_secs(seconds.saturating_sub(3)) + SECOND / 10).await;
    assert_eq!(source.asked(), 2, "{doing:?}");
    let issuer = scene.issuer();
    assert_eq!(
        (scene.last_failure(), issuer.failures_in_a_row),
        (code, 1),
        "{doing:?}"
    );
    assert!(issuer.next_attempt_in <= SECOND, "{doing:?}");

    sleep(SECOND).await;
    assert_eq!(source.asked(), 3, "{doing:?}");
    for token in [&new, &later, &remembered] {
        assert_eq!(scene.answer(token).await, ACCEPTED, "{doing:?}");
    }
    assert_eq!(source.asked(), 3, "{doing:?}");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_is_asked_again_while_held_keys_serve() {
    is_a_failed_fetch(Doing::Fail, 0, "key_source").await;
    is_a_failed_fetch(Doing::Nothing, 0, "no_usable_key").await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_is_asked_again_while_held_keys_serve() {
    is_a_failed_fetch(Doing::Panic, 0, "interrupted").await;
    is_a_failed_fetch(Doing::PanicBeforeTheFirstPoll, 0, "interrupted").await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_is_given_five_seconds_while_held_keys_serve() {
    is_a_failed_fetch(Doing::Hang, 5, "timeout").await;
}

#[tokio::test(start_paused = true)]
async fn a_scheduled_fetch_that_panics_does_not_end_the_schedule() {
    let tenant = tenant().await;
    let source = Scripted::of(&tenant);
    let scene = scene_with(tenant, source.clone()).await;
    scene.auth.ready().await.unwrap();
    for _ in 0..5 {
        source.does(Doing::Panic);
    }
    sleep(HOUR + MINUTE).await;
    assert_eq!(source.asked(), 1 + 5 + 1);
    scene.tenant.signing_keys().rotate();
    source.publishes(&scene.tenant.signing_keys().document());
    sleep(HOUR).await;
    let asked = source.asked();
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);
    assert_eq!(source.asked(), asked, "the schedule has brought it");
    assert_eq!(scene.issuer().failures_in_a_row, 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_source_fails_with_is_told_in_its_own_words_and_on_one_line() {
    let tenant = tenant().await;
    let source = Scripted::of(&tenant);
    source.does(Doing::Fail);
    let auth = of_source(&tenant, source).build().unwrap();
    let failure = auth.ready().await.unwrap_err();
    assert_eq!(failure.code(), "key_source");
    assert_eq!(failure.public_code(), "keys_unavailable");
    assert_eq!(
        failure.to_string(),
        "the key source vault failed: the vault\\nis sealed"
    );
    assert!(failure.remedy().contains("key_source(..)"));
}

#[tokio::test(start_paused = true)]
async fn a_source_says_when_to_ask_again_from_ten_seconds_to_the_refresh_interval() {
    for (span, expected) in [
        (Duration::ZERO, 9..=10),
        (10 * MINUTE, 570..=600),
        (100 * HOUR, 3_420..=3_600),
    ] {
        let tenant = tenant().await;
        let source = Scripted::of(&tenant);
        for _ in 0..4 {
            source.does(Doing::AskAgainAfter(span));
        }
        let auth = of_source(&tenant, source.clone()).build().unwrap();
        auth.ready().await.unwrap();
        until(4 * HOUR, SECOND, || source.asked() == 4).await;
        let asked = source.asked.lock().unwrap();
        for pair in asked.windows(2) {
            let seconds = (pair[1] - pair[0]).as_secs();
            assert!(expected.contains(&seconds), "{span:?}: {seconds}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_is_asked_within_the_bucket_too() {
    let tenant = tenant().await;
    let stranger = DevTenant::start().await.unwrap();
    let source = Scripted::of(&tenant);
    let scene = scene_with(tenant, source.clone()).await;
    scene.auth.ready().await.unwrap();
    for expected in std::iter::once(UNTRUSTED).chain([PENDING; 49]) {
        let token = crate::support::user(&stranger).mint();
        assert_eq!(scene.answer(&token).await, expected);
    }
    assert_eq!(source.asked(), 1 + 2);
}

#[tokio::test(start_paused = true)]
async fn an_http_client_of_ones_own_fetches_from_the_tenant_within_the_same_limits() {
    let tenant = tenant().await;
    let sent = Arc::new(AtomicUsize::new(0));
    let through_memory = tenant.http_client();
    let own = service_fn({
        let sent = Arc::clone(&sent);
        move |mut request: Request<Bytes>| {
            sent.fetch_add(1, Ordering::Relaxed);
            request
                .headers_mut()
                .insert("x-own-client", "1".parse().unwrap());
            through_memory.clone().oneshot(request)
        }
    });
    let auth = settings(&tenant).http_client(own).build().unwrap();
    let scene = Scene::of(tenant, auth).await;
    let held = scene.token();
    assert_eq!(scene.answer(&held).await, ACCEPTED);
    scene.tenant.signing_keys().rotate();
    let new = scene.token();
    assert_eq!(scene.answer(&new).await, ACCEPTED);
    assert_eq!(sent.load(Ordering::Relaxed), 4);
    for endpoint in [
        scene.tenant.discovery_endpoint(),
        scene.tenant.key_endpoint(),
    ] {
        let requests = endpoint.requests();
        assert_eq!(requests.len(), 2);
        for request in requests {
            assert_eq!(request.header("x-own-client"), Some("1"));
            assert_eq!(request.header("accept"), Some("application/json"));
        }
    }

    // The Layer limits time and size, regardless of the client's own limits.
    scene.tenant.signing_keys().rotate();
    scene.tenant.key_endpoint().trickle();
    let new = scene.token();
    let (answer, took) = scene.timed(&new).await;
    assert_eq!((&*answer, took.as_secs()), (UNAVAILABLE, 3));
    sleep(2 * SECOND + SECOND / 10).await;
    assert_eq!(scene.last_failure(), "timeout");
    scene.tenant.key_endpoint().answer_oversized(512 * 1024 + 1);
    sleep(2 * SECOND).await;
    assert_eq!(scene.last_failure(), "document_too_large");
    assert_eq!(scene.answer(&held).await, ACCEPTED);
}

#[tokio::test(start_paused = true)]
async fn tokens_signed_with_the_applications_own_key_need_the_setting() {
    let tenant = DevTenant::builder()
        .custom_signing_key(API)
        .start()
        .await
        .unwrap();
    let without = settings(&tenant).build().unwrap();
    let with = settings(&tenant)
        .keys(KeyOptions::default().custom_signing_key())
        .build()
        .unwrap();
    let scene = Scene::of(tenant, without).await;
    assert_eq!(scene.answer(&scene.token()).await, UNTRUSTED);
    let of = |endpoint: &entra_dev_tenant::Endpoint| -> Vec<String> {
        let requests = endpoint.requests();
        requests
            .into_iter()
            .map(|request| request.path_and_query)
            .collect()
    };
    let appid = format!("?appid={API}");
    let (discovery, keys) = (
        scene.tenant.discovery_endpoint(),
        scene.tenant.key_endpoint(),
    );
    let has_appid = |path: &String| path.ends_with(&appid);
    assert!(!of(discovery).iter().any(has_appid) && !of(keys).iter().any(has_appid));

    let asked = (discovery.hits(), keys.hits());
    let scene = Scene::of(scene.tenant, with).await;
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);
    let (discovery, keys) = (
        of(scene.tenant.discovery_endpoint()),
        of(scene.tenant.key_endpoint()),
    );
    assert_eq!((discovery.len(), keys.len()), (asked.0 + 1, asked.1 + 1));
    let id = scene.tenant.id();
    let path = format!("/{id}/v2.0/.well-known/openid-configuration{appid}");
    assert_eq!(discovery.last(), Some(&path));
    assert!(keys.last().is_some_and(has_appid), "{keys:?}");
}

#[tokio::test(start_paused = true)]
async fn the_application_is_added_to_the_full_address_of_a_document() {
    let tenant = DevTenant::builder()
        .custom_signing_key(API)
        .start()
        .await
        .unwrap();
    for query in ["", "?x=1"] {
        let address = format!(
            "{}/{}/v2.0/.well-known/openid-configuration{query}",
            tenant.url(),
            tenant.id()
        );
        let auth = settings(&tenant)
            .metadata_endpoint(address)
            .keys(KeyOptions::default().custom_signing_key())
            .build()
            .unwrap();
        auth.ready().await.unwrap();
        let last = tenant
            .discovery_endpoint()
            .requests()
            .pop()
            .unwrap()
            .path_and_query;
        let separator = if query.is_empty() { '?' } else { '&' };
        assert!(
            last.ends_with(&format!("{query}{separator}appid={API}")),
            "{last}"
        );
    }
}
