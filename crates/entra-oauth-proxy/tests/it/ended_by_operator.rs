//! Tests of sign-ins that an operator ends: of a user, of a client, or one. Sign-ins in progress
//! end, too.

use std::time::Duration;

use entra_dev_tenant::DevTenant;
use entra_oauth_proxy::{EndErrorKind, Lifetimes, ProxyKeys};
use http::StatusCode;
use serde_json::{Value, json};
use tower_entra_auth::{TenantId, token::ObjectId};

use crate::disk::Directory;
use crate::logbook::Logbook;
use crate::long_tokens::{of_entra, redeemed, signs_in, with};
use crate::refresh::{invalid_grant, token_of};
use crate::support::{Browser, Client, HOUR, Stage, claims, parameter, settings};
use crate::watched_store::WatchedStore;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn stage() -> (Stage, WatchedStore) {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    (stage, store)
}

/// Returns the tenant and the object id of the user whose tokens these are.
fn user(tokens: &Value) -> (TenantId, ObjectId) {
    let claims = claims(&tokens["access_token"]);
    let id = |name: &str| claims[name].as_str().unwrap().to_owned();
    (id("tid").parse().unwrap(), id("oid").parse().unwrap())
}

async fn ends_user(stage: &Stage, tokens: &Value) {
    let (tenant, user) = user(tokens);
    stage.proxy.end_sign_ins_of(tenant, user).await.unwrap();
}

fn hash(client: &Client) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, client.id.as_bytes());
    URL_SAFE_NO_PAD.encode(digest.as_ref())
}

/// Returns whether the access token and the refresh token still work.
///
/// Waits 31 s first, so that the Layer checks the sign-in again.
async fn goes_on(stage: &Stage, client: &Client, tokens: &Value) -> bool {
    stage.tenant.time().advance(Duration::from_secs(31)).await;
    let access = stage.verify(&tokens["access_token"]).await;
    let refreshed = stage.refresh(client, &tokens["refresh_token"]).await;
    match access {
        Ok(_) => assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text()),
        Err(code) => {
            assert_eq!(code, "grant_ended");
            assert_eq!(refreshed.error(), invalid_grant());
        }
    }
    access.is_ok()
}

#[tokio::test(start_paused = true)]
async fn all_sign_ins_of_a_user_end_by_every_client_and_nobody_elses() {
    let (stage, store) = stage().await;
    let (client, other) = (stage.client().await, stage.client().await);
    let of_ada = [
        (&client, stage.sign_in(&client, "ada").await),
        (&other, stage.sign_in(&other, "ada").await),
    ];
    let of_grace = stage.sign_in(&client, "grace").await;
    let log = Logbook::begin();
    ends_user(&stage, &of_ada[0].1).await;
    for (client, tokens) in &of_ada {
        assert!(!goes_on(&stage, client, tokens).await);
    }
    assert!(goes_on(&stage, &client, &of_grace).await);
    assert_eq!(
        store.count("grant/").await,
        1,
        "Entra's tokens are gone, too"
    );
    let lines = log.lines("INFO");
    let mut told = lines.iter();
    assert!(
        told.any(|line| line.contains("ended by an operator")),
        "{lines:#?}"
    );
    assert!(!log.text().contains(&user(&of_ada[0].1).1.to_string()));
    // The user may sign in again.
    let again = stage.sign_in(&client, "ada").await;
    assert!(goes_on(&stage, &client, &again).await);
}

/// Checks that a user's sign-ins end even if the user's id came in upper case.
///
/// Entra writes ids in lower case, and the Layer reads both.
#[tokio::test(start_paused = true)]
async fn a_user_whose_id_came_in_another_case_is_ended_too() {
    let (stage, store) = stage().await;
    let client = stage.client().await;
    let oid = claims(&stage.sign_in(&client, "ada").await["access_token"])["oid"].clone();
    let upper = json!(oid.as_str().unwrap().to_uppercase());
    let entras = of_entra(&stage, &with(&[("oid", upper)]));
    let told = signs_in(&stage, &client, "read", &entras).await;
    let code = parameter(&told, "code").unwrap();
    let tokens = redeemed(&stage, &client, &code).await.json();
    assert_eq!(claims(&tokens["access_token"])["oid"], oid);
    ends_user(&stage, &tokens).await;
    assert!(!goes_on(&stage, &client, &tokens).await);
    assert_eq!(store.count("grant/").await, 0);
}

/// Checks that sign-ins by a client that was ended once need no more calls to the store than
/// others.
///
/// If each sign-in wrote the client's record, all of them would wait for each other.
#[tokio::test(start_paused = true)]
async fn sign_ins_by_a_client_that_was_ended_once_ask_the_store_no_more_than_others() {
    let (stage, store) = stage().await;
    let client = stage.client().await;
    let redeemed = async |user: &str| {
        let code = Browser::new(&stage).code(&client, user, &[]).await;
        let calls = store.calls();
        assert_eq!(stage.redeem(&client, &code).await.status, StatusCode::OK);
        store.calls() - calls
    };
    let before = redeemed("ada").await;
    let client_hash = hash(&client);
    let ended = stage.proxy.end_sign_ins_of_client(&client_hash);
    ended.await.unwrap();
    assert_eq!(redeemed("ada").await, before);
    // Once a day, a sign-in lengthens the lifetime of the client's counter.
    stage.tenant.time().advance(DAY + HOUR).await;
    assert!(redeemed("ada").await > before);
    assert_eq!(redeemed("ada").await, before);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_cannot_be_taken_out_of_the_store_is_over_and_keeps_no_other_there() {
    let (stage, store) = stage().await;
    let client = stage.client().await;
    let mut of_ada = Vec::new();
    for _ in 0..3 {
        of_ada.push(stage.sign_in(&client, "ada").await);
    }
    let first = claims(&of_ada[0]["access_token"])["gid"].clone();
    let key = format!("grant/{}", first.as_str().unwrap());
    store.keeps(key.clone());
    let log = Logbook::begin();
    ends_user(&stage, &of_ada[0]).await;
    let left = store.records("grant/").await;
    assert_eq!(left.iter().map(|(key, _)| key).collect::<Vec<_>>(), [&key]);
    let lines = log.lines("WARN");
    let mut told = lines.iter();
    assert!(
        told.any(|line| line.contains("were not yet removed from the store")),
        "{lines:#?}"
    );
    for tokens in &of_ada[1..] {
        assert!(!goes_on(&stage, &client, tokens).await);
    }
    // The proxy refuses its tokens, although the record is still there.
    let access = stage.verify(&of_ada[0]["access_token"]).await;
    assert_eq!(access.unwrap_err(), "grant_ended");
    let refreshed = stage.refresh(&client, &of_ada[0]["refresh_token"]).await;
    assert_ne!(refreshed.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_code_that_was_not_redeemed_yet_ends_with_its_user_and_with_its_client() {
    for of_user in [true, false] {
        let (stage, store) = stage().await;
        let client = stage.client().await;
        let before = stage.sign_in(&client, "ada").await;
        let code = Browser::new(&stage).code(&client, "ada", &[]).await;
        match of_user {
            true => ends_user(&stage, &before).await,
            false => stage
                .proxy
                .end_sign_ins_of_client(&hash(&client))
                .await
                .unwrap(),
        }
        stage.tenant.time().advance(Duration::from_secs(30)).await;
        assert_eq!(stage.redeem(&client, &code).await.error(), invalid_grant());
        assert!(!goes_on(&stage, &client, &before).await);
        assert_eq!(store.count("grant/").await, 0);
        let after = stage.sign_in(&client, "ada").await;
        assert!(goes_on(&stage, &client, &after).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_code_that_is_being_redeemed_comes_to_nothing_that_lasts() {
    for held in ["grant/", "code/"] {
        let (stage, store) = stage().await;
        let client = stage.client().await;
        let before = stage.sign_in(&client, "ada").await;
        let code = Browser::new(&stage).code(&client, "ada", &[]).await;
        let release = store.holds_the_next(held);
        let (redeemed, ()) = tokio::join!(stage.redeem(&client, &code), async {
            store.holds().await;
            ends_user(&stage, &before).await;
            release.send(()).unwrap();
        });
        if redeemed.status == StatusCode::OK {
            assert!(!goes_on(&stage, &client, &redeemed.json()).await, "{held}");
        } else {
            assert_eq!(redeemed.error(), invalid_grant(), "{held}");
        }
        let left = store.count("grant/").await;
        assert_eq!(left, 0, "{held}: no grant is left over");
    }
}

#[tokio::test(start_paused = true)]
async fn all_sign_ins_by_a_client_end_of_every_user_and_no_other_clients() {
    let (stage, _) = stage().await;
    let (client, other) = (stage.client().await, stage.client().await);
    let log = Logbook::begin();
    let of_client = [
        stage.sign_in(&client, "ada").await,
        stage.sign_in(&client, "grace").await,
    ];
    // The client's hash, as the log prints it.
    let lines = log.lines("INFO");
    let line = lines
        .iter()
        .find(|line| line.contains("a code was redeemed"));
    let printed = line.unwrap().split(" client=").nth(1).unwrap();
    let printed = printed.split(' ').next().unwrap().trim_matches('"');
    assert_eq!(printed, hash(&client));
    let of_other = stage.sign_in(&other, "ada").await;
    stage.proxy.end_sign_ins_of_client(printed).await.unwrap();
    for tokens in &of_client {
        assert!(!goes_on(&stage, &client, tokens).await);
    }
    assert!(goes_on(&stage, &other, &of_other).await);
    let again = stage.sign_in(&client, "ada").await;
    assert!(goes_on(&stage, &client, &again).await);
}

#[tokio::test(start_paused = true)]
async fn one_sign_in_ends_by_its_grant() {
    let (stage, _) = stage().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let other = stage.sign_in(&client, "ada").await;
    let grant = claims(&tokens["access_token"])["gid"].clone();
    let grant = grant.as_str().unwrap();
    assert!(stage.proxy.end_sign_in(grant).await.unwrap());
    assert!(!stage.proxy.end_sign_in(grant).await.unwrap());
    assert!(!goes_on(&stage, &client, &tokens).await);
    assert!(goes_on(&stage, &client, &other).await);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_clients_hash_is_told_so_and_a_store_that_is_down() {
    let (stage, store) = stage().await;
    let client = stage.client().await;
    for text in ["", "a", &client.id, &format!("{}=", &hash(&client)[1..])] {
        let error = stage.proxy.end_sign_ins_of_client(text).await.unwrap_err();
        assert_eq!(error.kind(), EndErrorKind::NoClientHash, "{error}");
    }
    let tokens = stage.sign_in(&client, "ada").await;
    let (tenant, user) = user(&tokens);
    store.goes_down();
    assert!(stage.proxy.end_sign_ins_of(tenant, user).await.is_err());
    let error = stage.proxy.end_sign_ins_of_client(&hash(&client)).await;
    assert_eq!(error.unwrap_err().kind(), EndErrorKind::Store);
    assert!(stage.proxy.end_sign_in("grant").await.is_err());
    store.comes_back();
    assert!(goes_on(&stage, &client, &tokens).await);
}

/// Maximum lifetime of a sign-in.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

#[tokio::test(start_paused = true)]
async fn an_end_is_remembered_for_as_long_as_it_decides_about_a_sign_in() {
    let stage = Stage::with(|settings| {
        settings.lifetimes(Lifetimes::default().session(LONGEST).idle(90 * DAY))
    })
    .await;
    let client = stage.client().await;
    let before = stage.sign_in(&client, "ada").await;
    let ends = || async {
        stage
            .proxy
            .end_sign_ins_of_client(&hash(&client))
            .await
            .unwrap();
        ends_user(&stage, &before).await;
    };
    ends().await;
    stage.tenant.time().advance(80 * DAY).await;
    let refused = stage.refresh(&client, &before["refresh_token"]).await;
    assert_eq!(refused.error(), invalid_grant());
    // This sign-in reads the counters when earlier sign-ins cannot last much longer. The counters
    // must then last as long as this sign-in.
    stage.tenant.time().advance(270 * DAY).await;
    let after = stage.sign_in(&client, "ada").await;
    stage.tenant.time().advance(60 * DAY).await;
    let token = token_of(stage.refresh(&client, &after["refresh_token"]).await).await;
    ends().await;
    assert_eq!(
        stage.refresh(&client, &token).await.error(),
        invalid_grant()
    );
}

#[tokio::test]
async fn an_end_survives_a_restart_and_is_seen_by_other_instances() {
    let directory = Directory::new("ended by an operator");
    let tenant = crate::support::tenant().start().await.unwrap();
    let in_directory =
        |tenant: &DevTenant| settings(tenant).data_directory(directory.path()).build();
    let proxy = in_directory(&tenant).unwrap();
    let mut stage = Stage { tenant, proxy };
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    stage
        .proxy
        .end_sign_ins_of_client(&hash(&client))
        .await
        .unwrap();
    stage.proxy.shutdown().await;
    let Stage { tenant, proxy } = stage;
    drop(proxy);
    let proxy = in_directory(&tenant).unwrap();
    stage = Stage { tenant, proxy };
    let refused = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refused.error(), invalid_grant());
    assert_eq!(stage.redeem(&client, &code).await.error(), invalid_grant());
    let access = stage.verify(&tokens["access_token"]).await;
    assert_eq!(access.err(), Some("grant_ended"));
}

#[tokio::test(start_paused = true)]
async fn another_instance_with_the_same_store_ends_what_this_one_made() {
    let (store, keys) = (WatchedStore::default(), ProxyKeys::generate());
    let stage = Stage::with(|settings| settings.store(store.clone()).keys(keys.clone())).await;
    let other = settings(&stage.tenant)
        .store(store)
        .keys(keys)
        .build()
        .unwrap();
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let token = token_of(stage.refresh(&client, &tokens["refresh_token"]).await).await;
    let (tenant, user) = user(&tokens);
    other.end_sign_ins_of(tenant, user).await.unwrap();
    assert_eq!(
        stage.refresh(&client, &token).await.error(),
        invalid_grant()
    );
    stage.tenant.time().advance(Duration::from_secs(31)).await;
    assert!(stage.verify(&tokens["access_token"]).await.is_err());
}
