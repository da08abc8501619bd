//! Refresh tokens and a store that is not what it should be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use entra_oauth_proxy::{MemoryStore, Store, Stored};
use http::StatusCode;

use crate::support::Stage;

/// A store that can forget a write while it says that it was done.
#[derive(Clone)]
struct Forgetful {
    store: Arc<MemoryStore>,
    forgets: Arc<AtomicBool>,
}

impl Store for Forgetful {
    fn get<'s>(&'s self, key: &'s str) -> Stored<'s, Option<Bytes>> {
        self.store.get(key)
    }

    fn put<'s>(&'s self, key: &'s str, value: Bytes, ttl: Duration) -> Stored<'s, ()> {
        self.store.put(key, value, ttl)
    }

    fn take<'s>(&'s self, key: &'s str) -> Stored<'s, Option<Bytes>> {
        self.store.take(key)
    }

    fn compare_and_swap<'s>(
        &'s self,
        key: &'s str,
        expected: Option<Bytes>,
        value: Bytes,
        ttl: Duration,
    ) -> Stored<'s, bool> {
        match self.forgets.load(Ordering::SeqCst) {
            true => Box::pin(async { Ok(true) }),
            false => self.store.compare_and_swap(key, expected, value, ttl),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lost_the_last_rotation_signs_nobody_out() {
    let store = Forgetful {
        store: Arc::default(),
        forgets: Arc::default(),
    };
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let client = stage.client().await;
    let mut refresh_token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    for forgets in [false, true, true, false, false] {
        store.forgets.store(forgets, Ordering::SeqCst);
        let refreshed = stage.refresh(&client, &refresh_token).await;
        assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
        let next = refreshed.json()["refresh_token"].clone();
        assert_ne!(next, refresh_token);
        refresh_token = next;
        assert!(
            stage
                .verify(&refreshed.json()["access_token"])
                .await
                .is_ok()
        );
    }
}
