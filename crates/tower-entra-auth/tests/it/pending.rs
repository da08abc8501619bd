//! Tests of tokens whose keys are not held while no fetch is permitted: such tokens are not
//! refused.
//!
//! On paused time, without sockets: the key server is a service in memory.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use entra_dev_tenant::DevTenant;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_entra_auth::{EntraAuth, EntraAuthBuilder, EntraLayer, keys::BoxError};

use crate::status::{counter, recorded};
use crate::support::{
    ACCEPTED, API, CLIENT, OTHER_TENANT, PENDING, SECOND, UNAVAILABLE, UNTRUSTED, settings, tenant,
    user,
};

/// A tenant, the server that publishes its keys, and an API that trusts it.
struct Scene {
    tenant: DevTenant,
    entra: Arc<Mutex<Entra>>,
    auth: EntraAuth,
    api: Api,
    /// A token signed with the first key.
    first: String,
    /// Claims and signature of the tokens that [`strangers`](Self::strangers) returns.
    forged: String,
}

/// The key server.
struct Entra {
    key_document: String,
    /// Time that the server takes to return the JWKS document.
    takes: Duration,
    /// Times of the requests for the JWKS document.
    asked: Vec<Instant>,
}

impl Scene {
    async fn start() -> Self {
        let tenant = tenant().await;
        let entra = Arc::new(Mutex::new(Entra {
            key_document: tenant.signing_keys().document(),
            takes: Duration::ZERO,
            asked: Vec::new(),
        }));
        let first = user(&tenant).expires_in(1_000 * 3_600).mint();
        Self::of(tenant, entra, first, |settings| settings).await
    }

    /// Starts a new service, as after a restart: it knows only the keys that are published now.
    async fn restarted(self) -> Self {
        self.restarted_with(|settings| settings).await
    }

    async fn restarted_with(self, change: fn(EntraAuthBuilder) -> EntraAuthBuilder) -> Self {
        Self::of(self.tenant, self.entra, self.first, change).await
    }

    async fn of(
        tenant: DevTenant,
        entra: Arc<Mutex<Entra>>,
        first: String,
        change: fn(EntraAuthBuilder) -> EntraAuthBuilder,
    ) -> Self {
        let discovery = json!({
            "issuer": format!("https://login.microsoftonline.com/{}/v2.0", tenant.id()),
            "jwks_uri": format!("{}/keys", tenant.url()),
            "cloud_instance_name": "microsoftonline.com",
        })
        .to_string();
        let served = Arc::clone(&entra);
        let http = service_fn(move |request: Request<Bytes>| {
            let (entra, discovery) = (Arc::clone(&served), discovery.clone());
            async move {
                if request.uri().path() != "/keys" {
                    return Ok::<_, BoxError>(Response::new(Full::from(discovery)));
                }
                let (document, takes) = {
                    let mut entra = entra.lock().unwrap();
                    entra.asked.push(Instant::now());
                    (entra.key_document.clone(), entra.takes)
                };
                if !takes.is_zero() {
                    sleep(takes).await;
                }
                Ok(Response::new(Full::from(document)))
            }
        });
        let auth = change(settings(&tenant).http_client(http)).build().unwrap();
        auth.ready().await.unwrap();
        Self {
            forged: forged(&made_up(tenant.id())),
            api: Api(auth.layer()),
            tenant,
            entra,
            auth,
            first,
        }
    }

    /// Rotates the signing key and publishes only the new one.
    fn replace_keys(&self) {
        self.tenant.signing_keys().rotate();
        self.tenant.signing_keys().withdraw_old();
        self.entra.lock().unwrap().key_document = self.tenant.signing_keys().document();
    }

    fn keys_take(&self, takes: Duration) {
        self.entra.lock().unwrap().takes = takes;
    }

    /// Returns the number of key fetches.
    fn fetches(&self) -> usize {
        self.entra.lock().unwrap().asked.len()
    }

    /// Mints a good token of the current signing key.
    fn token(&self) -> String {
        user(&self.tenant).expires_in(1_000 * 3_600).mint()
    }

    /// Returns a token made up by a stranger who knows which API this is.
    fn strangers(&self, number: usize) -> String {
        with_key(&self.forged, &format!("stranger {number}"))
    }

    /// Uses up all fetches that the bucket permits now.
    async fn empty_the_bucket(&self) {
        let before = self.fetches();
        assert_eq!(self.api.ask(&self.strangers(0)).await, UNTRUSTED);
        assert_eq!(self.fetches(), before + 2);
    }
}

/// Returns the minimum claims of a token of which only the signature is wrong.
fn made_up(tenant: &str) -> Value {
    json!({
        "ver": "2.0", "aud": API, "tid": tenant, "exp": 4_102_444_800_u64, "nbf": 0,
        "scp": "Reports.Read", "azp": CLIENT,
        "iss": format!("https://login.microsoftonline.com/{tenant}/v2.0"),
    })
}

/// Returns a token with these claims, but without its header.
fn forged(claims: &Value) -> String {
    format!(".{}.AAAA", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// Returns the token under another key id.
fn with_key(token: &str, kid: &str) -> String {
    let header = format!(r#"{{"alg":"RS256","typ":"JWT","kid":"{kid}"}}"#);
    let (_, rest) = token.split_once('.').unwrap();
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header))
}

/// A service behind the Layer.
#[derive(Clone)]
struct Api(EntraLayer);

struct Answer {
    said: String,
    retry_after: Option<u64>,
    /// Status and message of a gRPC response.
    grpc: Option<(String, String)>,
    has_challenge: bool,
}

impl Api {
    fn answer(
        &self,
        token: &str,
        content_type: &str,
    ) -> impl Future<Output = Answer> + Send + use<> {
        let inner = service_fn(async |_: Request<()>| {
            Ok::<_, BoxError>(Response::new(Full::new(Bytes::new())))
        });
        let request = Request::post("/")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", content_type);
        let answer = self.0.layer(inner).oneshot(request.body(()).unwrap());
        async move {
            let (head, body) = answer.await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let text = |name: &str| {
                let value = head.headers.get(name);
                value.map(|value| value.to_str().unwrap().to_owned())
            };
            Answer {
                said: match head.status.as_u16() {
                    200 => ACCEPTED.to_owned(),
                    status => format!("{status} {}", std::str::from_utf8(&body).unwrap().trim()),
                },
                retry_after: text("retry-after").map(|seconds| seconds.parse().unwrap()),
                grpc: text("grpc-status").zip(text("grpc-message")),
                has_challenge: text("www-authenticate").is_some(),
            }
        }
    }

    /// Returns `accepted`, or the status and the code of the refusal.
    fn ask(&self, token: &str) -> impl Future<Output = String> + Send + use<> {
        let answer = self.answer(token, "text/plain");
        async move { answer.await.said }
    }

    /// Sends requests until the outcome is not pending, as a client does that honours
    /// `Retry-After`.
    async fn ask_until_told(self, token: String) -> String {
        loop {
            let answer = self.answer(&token, "text/plain").await;
            if answer.said != PENDING {
                return answer.said;
            }
            let seconds = answer.retry_after.unwrap();
            assert!((1..=30).contains(&seconds), "{seconds}");
            sleep(Duration::from_secs(seconds)).await;
        }
    }
}

/// Returns the result of a future that is ready at its first poll. Another future continues as a
/// task.
async fn at_once<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
    later: &mut JoinSet<T>,
) -> Option<T> {
    let mut future = Box::pin(future);
    let polled = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
    match polled {
        Poll::Ready(value) => Some(value),
        Poll::Pending => {
            later.spawn(future);
            None
        }
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_flood_of_100_000_unknown_keys_no_good_token_is_refused() {
    let scene = Scene::start().await;
    scene.keys_take(SECOND / 20);
    let start = Instant::now();
    let (mut later, mut have_waited) = (JoinSet::new(), 0);
    let (mut has_rotated, mut not_yet, mut accepted_after) = (false, 0, None);
    for second in 0..100 {
        for number in 0..1_000 {
            let token = scene.strangers(second * 1_000 + number);
            match at_once(scene.api.ask(&token), &mut later).await {
                // While a fetch is in progress and 256 requests wait for it, the others get 503
                // immediately.
                Some(answer) => assert!(answer == PENDING || answer == UNAVAILABLE, "{answer}"),
                None => have_waited += 1,
            }
        }
        if second == 41 {
            scene.replace_keys();
            has_rotated = true;
        }
        // Each second sends another token of the new key, and the token of the held key.
        if has_rotated {
            let answer = scene.api.ask(&scene.token()).await;
            if answer == ACCEPTED {
                accepted_after.get_or_insert_with(|| start.elapsed());
            } else {
                assert!(answer == PENDING || answer == UNAVAILABLE, "{answer}");
                assert_eq!(accepted_after, None, "{second}: once held it stays");
                not_yet += 1;
            }
        }
        assert_eq!(scene.api.ask(&scene.first).await, ACCEPTED);
        sleep_until(start + SECOND * u32::try_from(second + 1).unwrap()).await;
    }
    // The new key is accepted after the fetch that the bucket permits a minute after the flood
    // began.
    assert!((15..=20).contains(&not_yet), "{not_yet}");
    let accepted_after = accepted_after.unwrap();
    assert!(accepted_after <= 61 * SECOND, "{accepted_after:?}");

    // The first keys, two fetches of the full bucket, and one every 30 s.
    assert_eq!(scene.fetches(), 1 + 2 + 3);
    assert!(
        (256..=7 * 256).contains(&have_waited),
        "{have_waited} have waited for the five fetches"
    );
    for answer in later.join_all().await {
        assert!([UNTRUSTED, PENDING].contains(&&*answer), "{answer}");
    }
    let issuer = scene.auth.status().issuers.remove(0);
    assert!(issuer.is_ready && issuer.last_failure.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_client_with_a_token_of_a_dead_key_is_refused_once_the_flood_ends() {
    let scene = Scene::start().await;
    scene.replace_keys();
    let scene = scene.restarted().await;
    for number in 0..1_000 {
        let answer = scene.api.ask(&scene.strangers(number)).await;
        assert_eq!(answer, if number == 0 { UNTRUSTED } else { PENDING });
    }
    assert_eq!(scene.api.ask(&scene.first).await, PENDING);
    let ended = Instant::now();
    let answer = scene.api.clone().ask_until_told(scene.first.clone()).await;
    assert_eq!(answer, UNTRUSTED);
    assert!(ended.elapsed() <= 30 * SECOND, "{:?}", ended.elapsed());
}

#[tokio::test(start_paused = true)]
async fn as_many_as_may_wait_are_answered_by_one_fetch() {
    let scene = Scene::start().await;
    scene.replace_keys();
    let scene = scene.restarted().await;
    scene.keys_take(SECOND / 20);
    scene.empty_the_bucket().await;
    let (emptied, before) = (Instant::now(), scene.fetches());
    let mut clients = JoinSet::new();
    for number in 0..256 {
        let (api, token) = (scene.api.clone(), scene.first.clone());
        clients.spawn(async move {
            sleep(Duration::from_millis(number * 100)).await;
            api.ask_until_told(token).await
        });
    }
    let answers = clients.join_all().await;
    assert!(answers.iter().all(|answer| answer == UNTRUSTED));
    assert_eq!(scene.fetches(), before + 1);
    assert!(emptied.elapsed() <= 30 * SECOND, "{:?}", emptied.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_fetch_on_its_way_is_no_proof_for_a_request_that_came_later() {
    let scene = Scene::start().await;
    scene.keys_take(SECOND);
    let mut requests = JoinSet::new();
    let asks = async |number: usize, requests: &mut JoinSet<_>| {
        let answer = scene.api.ask(&scene.strangers(number));
        let start = Instant::now();
        let told = async move { (number, answer.await, start.elapsed().as_millis()) };
        assert!(at_once(told, requests).await.is_none(), "{number} waits");
    };
    // There are two fetches of a second each. One request comes before the first fetch, and one
    // during each.
    asks(0, &mut requests).await;
    sleep(SECOND / 2).await;
    asks(1, &mut requests).await;
    sleep(SECOND).await;
    asks(2, &mut requests).await;
    let mut told = requests.join_all().await;
    told.sort_unstable();
    let expected = [
        (0, UNTRUSTED, 2_000),
        (1, UNTRUSTED, 1_500),
        (2, PENDING, 500),
    ];
    let expected = expected.map(|(number, answer, took)| (number, answer.to_owned(), took));
    assert_eq!(told, expected);
    assert_eq!(scene.fetches(), 1 + 2);
}

#[tokio::test(start_paused = true)]
async fn the_key_is_found_by_a_fetch_on_its_way_if_that_brings_it() {
    let scene = Scene::start().await;
    scene.empty_the_bucket().await;
    scene.replace_keys();
    sleep(28 * SECOND + SECOND / 2).await;
    assert_eq!(scene.api.ask(&scene.token()).await, PENDING);
    // A request within a second before the next permitted fetch waits for that fetch.
    scene.keys_take(SECOND);
    sleep(SECOND / 2).await;
    let start = Instant::now();
    assert_eq!(scene.api.ask(&scene.token()).await, ACCEPTED);
    assert_eq!(start.elapsed(), 2 * SECOND);
}

/// Checks a key whose private half was published and that was then replaced by another key with the
/// same id.
#[tokio::test(start_paused = true)]
async fn a_fresh_key_that_has_the_id_of_an_exposed_one_is_fetched_by_its_first_token() {
    let scene = Scene::start().await;
    let kid = scene.tenant.signing_keys().current_id();
    scene.tenant.signing_keys().publish_private_half();
    scene.entra.lock().unwrap().key_document = scene.tenant.signing_keys().document();
    let scene = scene.restarted().await;
    scene.tenant.signing_keys().reset();
    scene.replace_keys();
    {
        let mut entra = scene.entra.lock().unwrap();
        entra.key_document = entra
            .key_document
            .replace(&scene.tenant.signing_keys().current_id(), &kid);
    }

    let before = scene.fetches();
    let fresh = user(&scene.tenant).header("kid", &*kid).mint();
    assert_eq!(scene.api.ask(&fresh).await, ACCEPTED);
    assert_eq!(scene.fetches(), before + 1);
    // Tokens of the exposed key are still refused.
    assert_eq!(scene.api.ask(&scene.first).await, UNTRUSTED);
}

#[tokio::test(start_paused = true)]
async fn the_token_of_an_exposed_key_is_refused_at_once_while_none_may_be_fetched() {
    let scene = Scene::start().await;
    scene.tenant.signing_keys().publish_private_half();
    scene.entra.lock().unwrap().key_document = scene.tenant.signing_keys().document();
    let scene = scene.restarted().await;
    scene.empty_the_bucket().await;
    let before = scene.fetches();
    assert_eq!(scene.api.ask(&scene.strangers(1)).await, PENDING);
    assert_eq!(scene.api.ask(&scene.first).await, UNTRUSTED);
    assert_eq!(scene.fetches(), before);
}

#[tokio::test(start_paused = true)]
async fn pending_says_when_to_ask_again_and_is_no_failure() {
    let scene = Scene::start().await;
    scene.empty_the_bucket().await;
    let (emptied, token) = (Instant::now(), scene.strangers(1));
    // A client that returns after this time is just in time for the fetch at 30 s.
    for (after, seconds) in [(0, 29), (500, 29), (10_000, 19), (28_000, 1), (28_999, 1)] {
        sleep_until(emptied + Duration::from_millis(after)).await;
        let answer = scene.api.answer(&token, "text/plain").await;
        let found = (&*answer.said, answer.retry_after, answer.has_challenge);
        assert_eq!(found, (PENDING, Some(seconds), false), "{after}");

        let grpc = scene.api.answer(&token, "application/grpc").await;
        let (status, message) = grpc.grpc.unwrap();
        assert_eq!((&*status, &*message), ("14", "key_refresh_pending"));
        assert_eq!(grpc.retry_after, Some(seconds));

        let refusal = scene.auth.verify(&token).await.unwrap_err();
        assert!(refusal.is_unavailable());
        assert_eq!(refusal.code(), "key_refresh_pending");
    }
    assert_eq!(scene.fetches(), 1 + 2);

    assert_eq!(scene.auth.readiness().response().await.status(), 200);
    let issuer = scene.auth.status().issuers.remove(0);
    assert!(issuer.is_ready && issuer.last_failure.is_none());
    assert_eq!(issuer.failures_in_a_row, 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_token_itself_is_refused_for_comes_first() {
    let scene = Scene::start().await;
    scene.empty_the_bucket().await;
    let expired = user(&scene.tenant).expired().mint();
    let answer = scene.api.ask(&with_key(&expired, "stranger")).await;
    assert_eq!(answer, "401 expired");
}

#[tokio::test(start_paused = true)]
async fn what_is_the_matter_with_the_keys_is_told_as_before() {
    let scene = Scene::start().await;
    scene.empty_the_bucket().await;
    sleep(60 * SECOND).await;
    // The last refresh failed, so nothing is pending.
    scene.entra.lock().unwrap().key_document = "garbage".to_owned();
    for _ in 0..5 {
        assert_eq!(scene.api.ask(&scene.strangers(1)).await, UNAVAILABLE);
    }
    let issuer = scene.auth.status().issuers.remove(0);
    assert_eq!(issuer.last_failure.unwrap().cause.code(), "document");
}

#[test]
fn pending_is_counted_apart_from_what_is_unavailable() {
    let recorded = recorded(async |_| {
        let scene = Scene::start().await;
        scene.empty_the_bucket().await;
        for number in 0..3 {
            assert_eq!(scene.api.ask(&scene.strangers(number)).await, PENDING);
        }
    });
    for (name, expected) in [
        ("entra_auth_decisions_total pending key_refresh_pending", 3),
        ("entra_auth_decisions_total refused unknown_key", 1),
        ("entra_auth_missing_keys_total 127.0.0.1 pending", 3),
        ("entra_auth_missing_keys_total 127.0.0.1 unknown", 1),
        ("entra_auth_missing_keys_total 127.0.0.1 unavailable", 0),
    ] {
        assert_eq!(counter(&recorded, name), expected, "{name}: {recorded:?}");
    }
    let unavailable = |name: &&String| name.starts_with("entra_auth_decisions_total unavailable");
    assert_eq!(recorded.keys().find(unavailable), None);
}

/// The visible parts of a response, and the counters of the service.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    said: String,
    retry_after: Option<u64>,
    grpc: Option<(String, String)>,
    took: Duration,
    fetches: usize,
    counted: Vec<String>,
}

/// State of the keys when a made-up token arrives.
#[derive(Clone, Copy, Debug)]
enum Keys {
    MayBeFetched,
    MayNotBeFetched,
    CannotBeHad,
}

/// Sends a made-up token to a service for one tenant, one client and no guests, and returns what
/// the client sees and what the service counts.
fn seen(keys: Keys, content_type: &str, change: fn(&mut Value)) -> Seen {
    let mut seen = Seen::default();
    let counted = recorded(async |_| {
        let scene = Scene::start().await;
        let restarted =
            scene.restarted_with(|settings| settings.allowed_clients([CLIENT]).refuse_guests());
        let scene = restarted.await;
        scene.keys_take(SECOND / 20);
        match keys {
            Keys::MayBeFetched => {}
            Keys::MayNotBeFetched => scene.empty_the_bucket().await,
            Keys::CannotBeHad => scene.entra.lock().unwrap().key_document = "garbage".to_owned(),
        }
        let mut claims = made_up(scene.tenant.id());
        change(&mut claims);
        let token = with_key(&forged(&claims), "stranger");
        let (before, start) = (scene.fetches(), Instant::now());
        let answer = scene.api.answer(&token, content_type).await;
        assert!(answer.has_challenge || answer.retry_after.is_some());
        seen.said = answer.said;
        seen.retry_after = answer.retry_after;
        seen.grpc = answer.grpc;
        seen.took = start.elapsed();
        seen.fetches = scene.fetches() - before;
    });
    let counts = counted.into_iter().filter(|(name, _)| {
        name.starts_with("entra_auth_decisions") || name.starts_with("entra_auth_missing_keys")
    });
    seen.counted = counts
        .map(|(name, count)| format!("{name} {count:?}"))
        .collect();
    seen
}

/// Checks that the response to a made-up token does not depend on whether its tenant and client are
/// admitted.
///
/// A stranger who learned that would know whom to deceive.
#[test]
fn a_made_up_token_is_answered_alike_whether_whom_it_names_is_admitted_or_not() {
    fn of_tenant(claims: &mut Value, tenant: &str) {
        claims["tid"] = json!(tenant);
        claims["iss"] = json!(format!("https://login.microsoftonline.com/{tenant}/v2.0"));
    }
    let not_admitted: [fn(&mut Value); 6] = [
        |claims| of_tenant(claims, OTHER_TENANT),
        |claims| of_tenant(claims, "9188040d-6c67-4c5b-b112-36a304b66dad"),
        |claims| claims["azp"] = json!(API),
        |claims| claims["acct"] = json!(1),
        |claims| claims["idp"] = json!("live.com"),
        |claims| claims["xms_idrel"] = json!("1 5"),
    ];
    for (keys, content_type, said, fetches) in [
        (Keys::MayBeFetched, "text/plain", UNTRUSTED, 2),
        (Keys::MayNotBeFetched, "text/plain", PENDING, 0),
        (Keys::CannotBeHad, "text/plain", UNAVAILABLE, 1),
        (Keys::MayBeFetched, "application/grpc", ACCEPTED, 2),
        (Keys::MayNotBeFetched, "application/grpc", ACCEPTED, 0),
    ] {
        let admitted = seen(keys, content_type, |_| {});
        assert_eq!((&*admitted.said, admitted.fetches), (said, fetches));
        for change in not_admitted {
            assert_eq!(seen(keys, content_type, change), admitted, "{keys:?}");
        }
    }
}
