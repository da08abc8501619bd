//! Tests of refresh tokens with a store that loses writes or returns an old record.

use http::StatusCode;

use crate::support::{HOUR, Stage};
use crate::watched_store::{Swaps, WatchedStore};

async fn stage() -> (Stage, WatchedStore) {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    (stage, store)
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lost_the_last_rotation_signs_nobody_out() {
    let (stage, store) = stage().await;
    let client = stage.client().await;
    let mut refresh_token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    for swaps in [
        Swaps::Done,
        Swaps::Forgotten,
        Swaps::Forgotten,
        Swaps::Done,
        Swaps::Done,
    ] {
        store.swaps_are(swaps);
        let refreshed = stage.refresh(&client, &refresh_token).await;
        assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
        let next = refreshed.json()["refresh_token"].clone();
        assert_ne!(next, refresh_token);
        refresh_token = next;
        let access_token = &refreshed.json()["access_token"];
        assert!(stage.verify(access_token).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_always_comes_second_is_put_off() {
    let (stage, store) = stage().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    store.swaps_are(Swaps::Lost);
    let refused = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refused.error(), (503, "temporarily_unavailable".to_owned()));
    assert_ne!(refused.header("retry-after"), "");
    store.swaps_are(Swaps::Done);
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
}

#[tokio::test(start_paused = true)]
async fn a_slow_request_that_entra_refuses_does_not_end_what_a_faster_one_got() {
    let (stage, store) = stage().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    stage.tenant.time().advance(HOUR).await;
    let faster = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(faster.status, StatusCode::OK, "{}", faster.text());

    // The slower request read the grant before the faster one, and Entra refuses its renewal.
    store.shows_the_first_grant_once();
    let body = r#"{"error":"invalid_grant"}"#;
    let endpoint = stage.tenant.token_endpoint();
    endpoint
        .answer_with(400, "application/json", body)
        .for_next(1);
    let slower = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(slower.status, StatusCode::OK, "{}", slower.text());
    assert_eq!(
        slower.json()["refresh_token"],
        faster.json()["refresh_token"]
    );
    assert!(stage.verify(&faster.json()["access_token"]).await.is_ok());
}
