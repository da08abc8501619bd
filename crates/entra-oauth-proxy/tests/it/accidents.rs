//! Tests that tell accidents of a client from thefts, and of what each costs.
//!
//! A refresh whose response was lost comes back with the only token that the client has. A thief
//! comes with a token that the client has, too.

use std::time::Duration;

use entra_oauth_proxy::{Clients, EntraOAuthProxyBuilder, Lifetimes, ProxyKeys};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tower::ServiceExt as _;

use crate::logbook::Logbook;
use crate::refresh::{invalid_grant, token_of};
use crate::support::{Browser, Client, HOUR, MINUTE, REDIRECT, Reply, Stage, post, settings};
use crate::watched_store::{Swaps, WatchedStore};

const SECOND: Duration = Duration::from_secs(1);

fn unavailable() -> (u16, String) {
    (503, "temporarily_unavailable".to_owned())
}

/// Signs ada in, and returns the client and its first refresh token.
async fn signed_in(stage: &Stage) -> (Client, Value) {
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    (client, token)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_during_a_refresh_comes_back_at_any_time() {
    for away in [SECOND, 30 * SECOND, 5 * MINUTE, 24 * HOUR] {
        let stage = Stage::new().await;
        let (client, token) = signed_in(&stage).await;
        stage.tenant.time().advance(HOUR).await;
        let endpoint = stage.tenant.token_endpoint();
        endpoint.delay(3 * SECOND).for_next(1);
        let impatient = timeout(SECOND / 2, stage.refresh(&client, &token)).await;
        assert!(impatient.is_err());
        // Entra responds in time. The rest of the time passes at once.
        let until_then = away.min(5 * SECOND);
        sleep(until_then).await;
        stage.tenant.time().advance(away - until_then).await;
        let next = token_of(stage.refresh(&client, &token).await).await;
        token_of(stage.refresh(&client, &next).await).await;
    }
}

/// A holder of a copy of the first token, who keeps the newest one that it received.
struct Holder(Value);

impl Holder {
    async fn comes(&mut self, stage: &Stage, client: &Client) -> bool {
        let reply = stage.refresh(client, &self.0).await;
        let is_good = reply.status == StatusCode::OK;
        if is_good {
            self.0 = reply.json()["refresh_token"].clone();
        } else {
            assert_eq!(reply.error(), invalid_grant());
        }
        is_good
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_holders_that_alternate_the_one_who_was_pushed_out_ends_the_family() {
    for thief_is_first in [false, true] {
        for wait in [61 * SECOND, HOUR] {
            let stage = Stage::new().await;
            let (client, token) = signed_in(&stage).await;
            let mut holders = [Holder(token.clone()), Holder(token)];
            if thief_is_first {
                holders.reverse();
            }
            let mut came = Vec::new();
            for round in 0..6 {
                stage.tenant.time().advance(wait).await;
                came.push(holders[round % 2].comes(&stage, &client).await);
            }
            // The first one gets a token, the second one pushes that out, and then it comes.
            assert_eq!(came, [true, true, false, false, false, false], "{wait:?}");
        }
    }
}

/// Checks the gap that the threat model names: a thief who always comes within the grace period
/// after the client receives the same current token, so rotation does not find the thief.
#[tokio::test(start_paused = true)]
async fn a_thief_who_always_comes_within_the_grace_is_not_found_by_rotation() {
    let stage = Stage::new().await;
    let (client, token) = signed_in(&stage).await;
    let (mut honest, mut thief) = (Holder(token.clone()), Holder(token));
    for _ in 0..6 {
        stage.tenant.time().advance(HOUR).await;
        assert!(honest.comes(&stage, &client).await);
        stage.tenant.time().advance(59 * SECOND).await;
        assert!(thief.comes(&stage, &client).await);
        assert_eq!(honest.0, thief.0);
    }
    // Once the thief is late, the family ends.
    stage.tenant.time().advance(HOUR).await;
    assert!(honest.comes(&stage, &client).await);
    stage.tenant.time().advance(61 * SECOND).await;
    assert!(thief.comes(&stage, &client).await);
    assert!(!honest.comes(&stage, &client).await);
    assert!(!thief.comes(&stage, &client).await);
    let threats = include_str!("../../docs/threat-model.md");
    assert!(threats.contains("accidents::a_thief_who_always_comes_within_the_grace_"));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_later_than_the_record_is_a_write_that_the_store_lost() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let (client, first) = signed_in(&stage).await;
    let backup = store.records("grant/").await.remove(0);
    let second = token_of(stage.refresh(&client, &first).await).await;
    let third = token_of(stage.refresh(&client, &second).await).await;
    store.puts_back(backup).await;
    let log = Logbook::begin();
    let fourth = token_of(stage.refresh(&client, &third).await).await;
    let warned = log.lines("WARN");
    assert_eq!(warned.len(), 1, "{warned:#?}");
    assert!(
        warned[0].contains("the store has lost a write"),
        "{warned:#?}"
    );
    assert!(![&first, &second, &third].contains(&&fourth));
    // The presented token is the parent now, and those before it are dead.
    assert_eq!(token_of(stage.refresh(&client, &third).await).await, fourth);
    for dead in [&second, &fourth] {
        assert_eq!(stage.refresh(&client, dead).await.error(), invalid_grant());
    }
}

/// Registers a client with a secret, and signs ada in.
async fn confidential(stage: &Stage) -> (Client, Value) {
    let metadata = json!({
        "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "client_secret_post",
    });
    let client = stage.client_with(metadata).await;
    let code = Browser::new(stage).code(&client, "ada", &[]).await;
    let mut form = client.redemption(&code);
    form.push(("client_secret", client.secret.as_deref().unwrap()));
    let token = token_of(stage.token(&form).await).await;
    (client, token)
}

async fn proven(stage: &Stage, client: &Client, token: &Value) -> Reply {
    stage
        .token(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", token.as_str().unwrap()),
            ("client_id", &client.id),
            ("client_secret", client.secret.as_deref().unwrap()),
        ])
        .await
}

#[tokio::test(start_paused = true)]
async fn a_dead_token_of_a_client_with_a_secret_is_refused_and_the_current_one_lives() {
    let stage = Stage::new().await;
    let (client, first) = confidential(&stage).await;
    let second = token_of(proven(&stage, &client, &first).await).await;
    let mut current = token_of(proven(&stage, &client, &second).await).await;
    stage.tenant.time().advance(HOUR).await;
    for _ in 0..3 {
        let dead = proven(&stage, &client, &first).await;
        assert_eq!(dead.error(), invalid_grant());
        current = token_of(proven(&stage, &client, &current).await).await;
    }
    // Without the secret, the token does not even get so far.
    let unproven = stage.refresh(&client, &first).await;
    assert_eq!(unproven.error(), (401, "invalid_client".to_owned()));
    // The response to a client with a secret can be lost, too.
    let parent = current;
    let lost = token_of(proven(&stage, &client, &parent).await).await;
    stage.tenant.time().advance(HOUR).await;
    let new = token_of(proven(&stage, &client, &parent).await).await;
    assert_ne!(new, lost);
    assert_eq!(
        proven(&stage, &client, &lost).await.error(),
        invalid_grant()
    );
    token_of(proven(&stage, &client, &new).await).await;
}

#[tokio::test(start_paused = true)]
async fn where_sign_ins_are_shared_every_token_of_a_client_with_a_secret_gets_the_current_one() {
    let clients = Clients::default().shared_sign_ins();
    let stage = Stage::with(|settings| settings.clients(clients)).await;
    let (client, token) = confidential(&stage).await;
    let mut processes = [Holder(token.clone()), Holder(token.clone()), Holder(token)];
    for round in 0..9 {
        stage.tenant.time().advance(HOUR).await;
        let process = &mut processes[round % 3];
        process.0 = token_of(proven(&stage, &client, &process.0).await).await;
    }
    // A process that never keeps its new token does not let the sign-in become idle.
    for _ in 0..3 {
        stage.tenant.time().advance(20 * 24 * HOUR).await;
        token_of(proven(&stage, &client, &processes[0].0).await).await;
    }
    // A client without a secret is treated as ever.
    let (client, first) = signed_in(&stage).await;
    let second = token_of(stage.refresh(&client, &first).await).await;
    token_of(stage.refresh(&client, &second).await).await;
    assert_eq!(
        stage.refresh(&client, &first).await.error(),
        invalid_grant()
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_of_which_the_store_says_nothing_leaves_the_client_a_token_that_works() {
    for swaps in [Swaps::DoneUnsaid, Swaps::Lost] {
        let store = WatchedStore::default();
        let stage = Stage::with(|settings| settings.store(store.clone())).await;
        let (client, token) = signed_in(&stage).await;
        store.swaps_are(swaps);
        assert_eq!(stage.refresh(&client, &token).await.error(), unavailable());
        store.swaps_are(Swaps::Done);
        stage.tenant.time().advance(24 * HOUR).await;
        let next = token_of(stage.refresh(&client, &token).await).await;
        token_of(stage.refresh(&client, &next).await).await;
    }
}

/// Checks a refresh during which an operator ends the sign-in at another instance.
///
/// The end comes after the refresh has read the records, and before it has written. A repeated
/// refresh writes if it asked Entra.
#[tokio::test(start_paused = true)]
async fn an_end_by_an_operator_during_a_refresh_is_seen_before_the_response() {
    for (of_user, is_repeated) in [(true, false), (false, false), (true, true), (false, true)] {
        let (keys, store) = (ProxyKeys::generate(), WatchedStore::default());
        let change =
            |settings: EntraOAuthProxyBuilder| settings.keys(keys.clone()).store(store.clone());
        let stage = Stage::with(change).await;
        let client = stage.client().await;
        let tokens = stage.sign_in(&client, "ada").await;
        let caller = stage.verify(&tokens["access_token"]).await.unwrap();
        let elsewhere = change(settings(&stage.tenant)).build().unwrap();
        let token = &tokens["refresh_token"];
        if is_repeated {
            stage.tenant.time().advance(570 * SECOND).await;
            token_of(stage.refresh(&client, token).await).await;
            stage.tenant.time().advance(30 * SECOND).await;
        }
        let release = store.holds_the_next("grant/");
        let (refreshed, ()) = tokio::join!(stage.refresh(&client, token), async {
            store.holds().await;
            if of_user {
                let user = caller.object_id().unwrap();
                let ended = elsewhere.end_sign_ins_of(caller.tenant_id(), user);
                ended.await.unwrap();
            } else {
                let client = caller.registered_client().unwrap();
                elsewhere.end_sign_ins_of_client(client).await.unwrap();
            }
            release.send(()).unwrap();
        });
        assert_eq!(
            refreshed.error(),
            invalid_grant(),
            "{of_user} {is_repeated}"
        );
        assert!(refreshed.json()["access_token"].is_null());
    }
}

/// Checks Entra's no at one instance while another one renews the sign-in.
#[tokio::test(start_paused = true)]
async fn a_no_of_entra_ends_no_sign_in_that_was_renewed_meanwhile() {
    let (keys, store) = (ProxyKeys::generate(), WatchedStore::default());
    let change =
        |settings: EntraOAuthProxyBuilder| settings.keys(keys.clone()).store(store.clone());
    let stage = Stage::with(change).await;
    let (client, token) = signed_in(&stage).await;
    stage.tenant.time().advance(9 * MINUTE + 30 * SECOND).await;
    let second = token_of(stage.refresh(&client, &token).await).await;
    stage.tenant.time().advance(45 * SECOND).await;
    // Entra's no to a repeated refresh is on its way, while the same refresh renews the tokens
    // elsewhere. That does not change the number of the current token.
    let elsewhere = Stage {
        proxy: change(settings(&stage.tenant)).build().unwrap(),
        tenant: stage.tenant,
    };
    let here = stage.proxy;
    let endpoint = elsewhere.tenant.token_endpoint();
    let no = r#"{"error":"invalid_grant","error_codes":[50173]}"#;
    endpoint
        .answer_with(400, "application/json", no)
        .for_next(1);
    let release = store.holds_the_next("grant/");
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token.as_str().unwrap()),
        ("client_id", &*client.id),
    ];
    let asked = here.service().oneshot(post("/token", &form, &[]));
    let (refused, renewed) = tokio::join!(async { Reply::of(asked.await.unwrap()).await }, async {
        store.holds().await;
        let renewed = elsewhere.refresh(&client, &token).await;
        release.send(()).unwrap();
        renewed
    });
    assert_eq!(token_of(renewed).await, second);
    // The refused one begins again from the record, and finds the renewed tokens.
    assert_eq!(token_of(refused).await, second);
    token_of(elsewhere.refresh(&client, &second).await).await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_scope_changes_nothing() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let (client, token) = signed_in(&stage).await;
    stage.tenant.time().advance(HOUR).await;
    let written = store.written().len();
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token.as_str().unwrap()),
        ("client_id", &*client.id),
        ("scope", "nothing"),
    ];
    let reply = stage.token(&form).await;
    assert_eq!(reply.error(), (400, "invalid_scope".to_owned()));
    assert_eq!(store.written().len(), written);
}

#[tokio::test(start_paused = true)]
async fn the_grace_can_be_switched_off_and_an_accident_is_still_none() {
    let lifetimes = Lifetimes::default().rotation_grace(Duration::ZERO);
    let stage = Stage::with(|settings| settings.lifetimes(lifetimes)).await;
    let (client, token) = signed_in(&stage).await;
    let lost = token_of(stage.refresh(&client, &token).await).await;
    let next = token_of(stage.refresh(&client, &token).await).await;
    assert_ne!(next, lost);
    token_of(stage.refresh(&client, &next).await).await;
}
