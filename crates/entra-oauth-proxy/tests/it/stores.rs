//! Tests of a store that is down, was manipulated, or is read by an attacker.

use std::time::Duration;

use entra_oauth_proxy::{EntraOAuthProxyBuilder, ProxyKeys};
use http::{Request, Response, StatusCode};
use serde_json::json;
use tower::{ServiceExt as _, service_fn};
use tower_layer::Layer as _;
use url::Url;

use crate::logbook::Logbook;
use crate::support::{Browser, Client, HOUR, REDIRECT, Reply, Stage, parameter};
use crate::watched_store::WatchedStore;

async fn watched() -> (Stage, WatchedStore) {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    (stage, store)
}

#[track_caller]
fn is_unavailable(reply: &Reply) {
    assert_eq!(reply.error(), (503, "temporarily_unavailable".to_owned()));
    assert!(reply.header("retry-after").parse::<u64>().unwrap() > 0);
    assert!(!reply.text().contains("connection refused"));
}

/// Checks that this URL tells the client `temporarily_unavailable`.
#[track_caller]
fn is_told_unavailable(url: &str) {
    let url: Url = url.parse().unwrap();
    assert!(url.as_str().starts_with(REDIRECT), "{url}");
    assert_eq!(
        parameter(&url, "error").as_deref(),
        Some("temporarily_unavailable")
    );
    assert_eq!(
        parameter(&url, "state").as_deref(),
        Some("the client's state")
    );
}

#[tokio::test(start_paused = true)]
async fn while_it_is_down_a_code_is_not_redeemed_and_not_lost() {
    let (stage, store) = watched().await;
    let client = stage.client().await;
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    store.goes_down();
    is_unavailable(&stage.redeem(&client, &code).await);
    store.comes_back();
    store.refuses_writes();
    is_unavailable(&stage.redeem(&client, &code).await);
    store.comes_back();
    let tokens = stage.redeem(&client, &code).await;
    assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.text());
    assert!(stage.verify(&tokens.json()["access_token"]).await.is_ok());
}

/// Checks that the log names a grant whose write failed.
///
/// No client received its tokens, and it may be in the store.
#[tokio::test(start_paused = true)]
async fn a_grant_of_which_the_store_says_nothing_is_named_in_the_log() {
    let (stage, store) = watched().await;
    let client = stage.client().await;
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    store.refuses_writes_to("grant/");
    let log = Logbook::begin();
    is_unavailable(&stage.redeem(&client, &code).await);
    let errors = log.lines("ERROR");
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(errors[0].contains(" grant="), "{errors:#?}");
}

#[tokio::test(start_paused = true)]
async fn while_it_is_down_a_refresh_token_is_not_replaced_and_not_lost() {
    let (stage, store) = watched().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    // First without a request to Entra in the refresh, then with one.
    for wait in [Duration::ZERO, HOUR] {
        stage.tenant.time().advance(wait).await;
        store.goes_down();
        is_unavailable(&stage.refresh(&client, &tokens["refresh_token"]).await);
        store.comes_back();
        store.refuses_writes();
        is_unavailable(&stage.refresh(&client, &tokens["refresh_token"]).await);
        store.comes_back();
    }
    // Waits longer than the grace period, in which a replaced token would still work.
    stage.tenant.time().advance(Duration::from_secs(61)).await;
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_leaves_a_record_out_is_one_that_does_not_answer_and_operators_see_it() {
    let (stage, store) = watched().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    store.leaves_one_out();
    let log = Logbook::begin();
    is_unavailable(&stage.refresh(&client, &tokens["refresh_token"]).await);
    let errors = log.lines("ERROR");
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(
        errors[0].contains("a different number of records"),
        "{errors:#?}"
    );
    store.comes_back();
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
}

#[tokio::test(start_paused = true)]
async fn while_it_is_down_a_reused_token_does_not_pass() {
    let (stage, store) = watched().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let second = stage
        .refresh(&client, &tokens["refresh_token"])
        .await
        .json();
    let second = stage
        .refresh(&client, &second["refresh_token"])
        .await
        .json();
    store.goes_down();
    is_unavailable(&stage.refresh(&client, &tokens["refresh_token"]).await);
    store.comes_back();
    let reuse = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(reuse.error(), (400, "invalid_grant".to_owned()));
    let ended = stage.refresh(&client, &second["refresh_token"]).await;
    assert_eq!(ended.error(), (400, "invalid_grant".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn while_it_is_down_a_sign_in_is_put_off_and_can_begin_again() {
    let (stage, store) = watched().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    store.goes_down();
    let page = browser.get(&client.authorize(&[])).await;
    assert_eq!(page.status, StatusCode::OK);
    is_told_unavailable(&browser.answer(&page, "approve").await.onward());
    store.comes_back();
    // The page is still valid.
    let at_entra = browser.answer(&page, "approve").await.onward();
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    store.goes_down();
    is_told_unavailable(&browser.come_back(&callback).await.location());
    store.comes_back();
    assert!(!browser.code(&client, "ada", &[]).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn while_it_is_down_the_layer_answers_503_once_its_last_yes_is_over() {
    let (stage, store) = watched().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let token = tokens["access_token"].as_str().unwrap();
    let inner = service_fn(async |_: Request<String>| {
        Ok::<_, std::convert::Infallible>(Response::new(String::new()))
    });
    let service = stage.proxy.layer().layer(inner);
    let status = async || {
        let request = Request::builder().header("authorization", format!("Bearer {token}"));
        let request = request.body(String::new()).unwrap();
        service.clone().oneshot(request).await.unwrap().status()
    };
    assert_eq!(status().await, StatusCode::OK);
    store.goes_down();
    stage.tenant.time().advance(Duration::from_secs(29)).await;
    assert_eq!(status().await, StatusCode::OK);
    stage.tenant.time().advance(Duration::from_secs(2)).await;
    assert_eq!(status().await, StatusCode::SERVICE_UNAVAILABLE);
    store.comes_back();
    assert_eq!(status().await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_was_changed_is_none_and_one_warning() {
    let (stage, store) = watched().await;
    let client = stage.client().await;
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    store.corrupts("code/").await;
    let log = Logbook::begin();
    let reply = stage.redeem(&client, &code).await;
    assert_eq!(reply.error(), (400, "invalid_grant".to_owned()));
    assert_eq!(log.lines("WARN").len(), 1, "{}", log.text());
    drop(log);

    let tokens = stage.sign_in(&client, "ada").await;
    store.corrupts("grant/").await;
    let log = Logbook::begin();
    let reply = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(reply.error(), (400, "invalid_grant".to_owned()));
    let warnings = log.lines("WARN");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("grant"), "{warnings:?}");
}

#[tokio::test(start_paused = true)]
async fn a_record_under_another_key_is_none() {
    // An attacker who writes into the store cannot put one user's grant in place of another's.
    let (stage, store) = watched().await;
    let client = stage.client().await;
    let (ada, grace) = (
        stage.sign_in(&client, "ada").await,
        stage.sign_in(&client, "grace").await,
    );
    let grants = store.records("grant/").await;
    assert_eq!(grants.len(), 2);
    use entra_oauth_proxy::store::Store as _;
    store
        .put(&grants[0].0, grants[1].1.clone(), HOUR)
        .await
        .unwrap();
    let reply = stage.refresh(&client, &ada["refresh_token"]).await;
    assert_eq!(reply.error(), (400, "invalid_grant".to_owned()));
    let reply = stage.refresh(&client, &grace["refresh_token"]).await;
    assert_eq!(reply.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn whoever_reads_the_store_learns_nothing() {
    let (stage, store) = watched().await;
    let metadata = json!({
        "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "client_secret_post",
        "client_name": "Test client",
    });
    let client: Client = stage.client_with(metadata).await;
    let secret = client.secret.clone().unwrap();
    let mut browser = Browser::new(&stage);
    let at_entra: Url = browser.goes_to_entra(&client, &[]).await.parse().unwrap();
    let callback: Url = stage
        .tenant
        .people()
        .sign_in("ada", at_entra.as_str())
        .parse()
        .unwrap();
    let answered: Url = browser
        .come_back(callback.as_str())
        .await
        .location()
        .parse()
        .unwrap();
    let code = parameter(&answered, "code").unwrap();
    let mut form = client.redemption(&code);
    form.push(("client_secret", &secret));
    let tokens = stage.token(&form).await.json();
    stage.tenant.time().advance(HOUR).await;
    let refresh_token = tokens["refresh_token"].as_str().unwrap();
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh_token),
        ("client_id", &client.id),
        ("client_secret", &secret),
    ];
    let refreshed = stage.token(&form).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
    let asked = stage.tenant.token_endpoint().requests().pop().unwrap();

    let verified = stage.verify(&tokens["access_token"]).await.unwrap();
    let caller = verified.object_id().unwrap().to_string();
    let secrets = [
        &*client.id,
        &secret,
        &code,
        &parameter(&callback, "code").unwrap(),
        &parameter(&at_entra, "state").unwrap(),
        &parameter(&at_entra, "nonce").unwrap(),
        refresh_token,
        tokens["access_token"].as_str().unwrap(),
        asked.parameter("refresh_token").unwrap(),
        "the client's state",
        "eyJ",
        "refresh_token",
        "client.example",
        &caller,
        stage.tenant.id(),
        "preferred_username",
        "ada",
    ];
    let written = store.written();
    assert!(written.len() >= 4);
    for (key, value) in &written {
        assert!(
            key.len() <= 128 && key.bytes().all(|byte| byte.is_ascii_graphic()),
            "{key}"
        );
        let value = String::from_utf8_lossy(value);
        for secret in secrets {
            assert!(!key.contains(secret), "{key} has {secret}");
            // Three letters can occur by chance.
            let is_long = secret.len() > 3;
            assert!(!is_long || !value.contains(secret), "a value has {secret}");
        }
    }
    // No two values are equal, even of the same content.
    let values: Vec<_> = written.iter().map(|(_, value)| value).collect();
    for (index, value) in values.iter().enumerate() {
        assert!(!values[..index].contains(value));
    }
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_goes_on_at_another_instance_with_the_same_keys_and_store() {
    let keys = ProxyKeys::generate();
    let store = WatchedStore::default();
    let change =
        |settings: EntraOAuthProxyBuilder| settings.keys(keys.clone()).store(store.clone());
    let mut stage = Stage::with(change).await;
    let another = change(crate::support::settings(&stage.tenant))
        .build()
        .unwrap();
    let client = stage.client().await;
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    let first = std::mem::replace(&mut stage.proxy, another);
    let tokens = stage.redeem(&client, &code).await.json();
    assert!(stage.verify(&tokens["access_token"]).await.is_ok());
    stage.proxy = first;
    assert!(stage.verify(&tokens["access_token"]).await.is_ok());
    // The other instance used the code, and its clock may be behind by the skew.
    stage.tenant.time().advance(Duration::from_secs(311)).await;
    assert_eq!(
        stage.redeem(&client, &code).await.error().1,
        "invalid_grant"
    );
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(
        refreshed.error(),
        (400, "invalid_grant".to_owned()),
        "the replay ended it"
    );
}
