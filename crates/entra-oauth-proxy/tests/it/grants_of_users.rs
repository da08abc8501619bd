//! Tests of the maximum number of sign-ins of one user, of which other users notice nothing.

use std::time::Duration;

use entra_oauth_proxy::{
    EntraOAuthProxy, EntraOAuthProxyBuilder, ProxyKeys, Rate, RateLimits,
    store::{MemoryStore, Store as _},
};
use http::StatusCode;
use serde_json::Value;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::callback::is_told;
use crate::logbook::Logbook;
use crate::refresh::{invalid_grant, token_of};
use crate::refusals_of_entra::refused;
use crate::support::{Browser, Client, HOUR, Reply, Stage, parameter, post, settings};
use crate::watched_store::WatchedStore;

/// Returns limits without rate limits. The limits on stored sign-ins apply.
fn limits() -> RateLimits {
    RateLimits::none()
}

async fn watched(limits: RateLimits) -> (Stage, WatchedStore) {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone()).limits(limits)).await;
    (stage, store)
}

/// Signs a user in once with each client, and returns the codes.
async fn codes(stage: &Stage, user: &str, clients: &[Client]) -> Vec<String> {
    let mut codes = Vec::new();
    for client in clients {
        codes.push(Browser::new(stage).code(client, user, &[]).await);
    }
    codes
}

/// Redeems all codes at these proxies in turn, all before the first response.
///
/// Returns the refresh tokens of the clients that receive some.
async fn redeemed_at_once(
    proxies: &[&EntraOAuthProxy],
    clients: &[Client],
    codes: &[String],
) -> Vec<(Client, Value)> {
    let mut all = JoinSet::new();
    for (number, (client, code)) in clients.iter().zip(codes).enumerate() {
        let form = post("/token", &client.redemption(code), &[]);
        let asked = proxies[number % proxies.len()].service().oneshot(form);
        let client = client.clone();
        all.spawn(async move { (client, Reply::of(asked.await.unwrap()).await) });
    }
    let mut tokens = Vec::new();
    for (client, reply) in all.join_all().await {
        match reply.status {
            StatusCode::OK => tokens.push((client, reply.json()["refresh_token"].clone())),
            _ => assert_eq!(reply.error(), invalid_grant(), "{}", reply.text()),
        }
    }
    tokens
}

/// Returns the number of refresh tokens that work.
async fn good(stage: &Stage, tokens: &[(Client, Value)]) -> usize {
    let mut good = 0;
    for (client, token) in tokens {
        let reply = stage.refresh(client, token).await;
        good += usize::from(reply.status == StatusCode::OK);
    }
    good
}

#[tokio::test(start_paused = true)]
async fn one_user_does_not_fill_the_store_for_the_others() {
    let store = MemoryStore::with_capacity(1_000);
    let stage = Stage::with(|settings| settings.store(store).limits(limits())).await;
    let client = stage.client().await;
    let ada = stage.sign_in(&client, "ada").await;
    for _ in 0..499 {
        stage.sign_in(&client, "grace").await;
    }
    stage.sign_in(&client, "ada").await;
    token_of(stage.refresh(&client, &ada["refresh_token"]).await).await;
}

#[tokio::test(start_paused = true)]
async fn one_user_signs_in_so_often_and_is_then_told_to_wait_and_no_one_else() {
    let (stage, store) = watched(limits().sign_ins_per_user(Rate::per_minute(2).burst(3))).await;
    let client = stage.client().await;
    for _ in 0..3 {
        stage.sign_in(&client, "grace").await;
    }
    let other = stage.client().await;
    let mut browser = Browser::new(&stage);
    let at_entra = browser.goes_to_entra(&other, &[]).await;
    let callback = stage.tenant.people().sign_in("grace", &at_entra);
    let calls = store.calls();
    let told = browser.come_back(&callback).await;
    assert_eq!(store.calls(), calls, "the store is not asked");
    let told = told.location().parse().unwrap();
    let said = |name: &str| parameter(&told, name).unwrap_or_default();
    assert_eq!(said("error"), "temporarily_unavailable");
    assert!(
        said("error_description").ends_with("in 30 seconds"),
        "{told}"
    );
    stage.sign_in(&client, "ada").await;
    stage.tenant.time().advance(Duration::from_secs(30)).await;
    stage.sign_in(&client, "grace").await;
}

#[tokio::test(start_paused = true)]
async fn the_longest_unused_sign_in_of_the_user_by_that_client_ends_and_no_other() {
    let (stage, store) = watched(limits().grants_per_user_and_client(3)).await;
    let (client, other) = (stage.client().await, stage.client().await);
    let of_others = [
        (&client, stage.sign_in(&client, "grace").await),
        (&other, stage.sign_in(&other, "ada").await),
    ];
    let mut tokens = Vec::new();
    for _ in 0..3 {
        stage.tenant.time().advance(Duration::from_secs(61)).await;
        let signed_in = stage.sign_in(&client, "ada").await;
        tokens.push(signed_in["refresh_token"].clone());
    }
    // The first sign-in is used once more. Now the second is the longest unused one, then the
    // third.
    stage.tenant.time().advance(Duration::from_secs(61)).await;
    tokens[0] = token_of(stage.refresh(&client, &tokens[0]).await).await;
    let log = Logbook::begin();
    for ended in [1, 2] {
        stage.tenant.time().advance(Duration::from_secs(61)).await;
        let signed_in = stage.sign_in(&client, "ada").await;
        tokens.push(signed_in["refresh_token"].clone());
        let reply = stage.refresh(&client, &tokens[ended]).await;
        assert_eq!(reply.error(), invalid_grant(), "{ended}");
    }
    assert_eq!(log.text().matches("a sign-in was ended").count(), 2);
    for index in [0, 3, 4] {
        token_of(stage.refresh(&client, &tokens[index]).await).await;
    }
    for (client, tokens) in &of_others {
        token_of(stage.refresh(client, &tokens["refresh_token"]).await).await;
    }
    assert_eq!(store.count("grant/").await, 5);
    assert_eq!(store.count("user/").await, 2);
}

#[tokio::test(start_paused = true)]
async fn the_longest_unused_sign_in_of_the_user_ends_whichever_client_it_is_of() {
    let (stage, store) = watched(limits().grants_per_user(3)).await;
    let grace = stage.client().await;
    let of_grace = stage.sign_in(&grace, "grace").await;
    let mut signed_in = Vec::new();
    for _ in 0..5 {
        let client = stage.client().await;
        let tokens = stage.sign_in(&client, "ada").await;
        signed_in.push((client, tokens["refresh_token"].clone()));
        stage.tenant.time().advance(Duration::from_secs(1)).await;
    }
    assert_eq!(good(&stage, &signed_in[..2]).await, 0);
    assert_eq!(good(&stage, &signed_in[2..]).await, 3);
    token_of(stage.refresh(&grace, &of_grace["refresh_token"]).await).await;
    assert_eq!(store.count("grant/").await, 4);
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_that_has_ended_makes_room_before_one_that_is_good() {
    let (stage, store) = watched(limits().grants_per_user_and_client(2)).await;
    let client = stage.client().await;
    let first = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    let second = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    let form = [
        ("token", second.as_str().unwrap()),
        ("client_id", &*client.id),
    ];
    let revoked = stage.send(post("/revoke", &form, &[])).await;
    assert_eq!(revoked.status, StatusCode::OK);
    stage.tenant.time().advance(Duration::from_secs(61)).await;
    stage.sign_in(&client, "ada").await;
    let first = token_of(stage.refresh(&client, &first).await).await;
    assert_eq!(store.count("grant/").await, 2);
    // Expired sign-ins leave neither grants nor references to them.
    stage.tenant.time().advance(91 * 24 * HOUR).await;
    let reply = stage.refresh(&client, &first).await;
    assert_eq!(reply.error(), invalid_grant());
    assert_eq!(store.count("user/").await, 0);
    assert_eq!(store.count("grant/").await, 0);
}

#[tokio::test(start_paused = true)]
async fn fifty_sign_ins_at_once_leave_as_many_as_may_be() {
    let (stage, store) = watched(limits()).await;
    let client = stage.client().await;
    let clients = vec![client; 50];
    let codes = codes(&stage, "ada", &clients).await;
    let tokens = redeemed_at_once(&[&stage.proxy], &clients, &codes).await;
    assert!(tokens.len() >= 10, "{}", tokens.len());
    assert_eq!(store.count("grant/").await, 10);
    assert_eq!(good(&stage, &tokens).await, 10);
}

#[tokio::test(start_paused = true)]
async fn sixty_sign_ins_at_once_of_sixty_clients_leave_fifty_and_others_are_untouched() {
    let (stage, store) = watched(limits()).await;
    let mut clients = Vec::new();
    for _ in 0..60 {
        clients.push(stage.client().await);
    }
    let grace = stage.sign_in(&clients[0], "grace").await["refresh_token"].clone();
    let codes = codes(&stage, "ada", &clients).await;
    let tokens = redeemed_at_once(&[&stage.proxy], &clients, &codes).await;
    assert_eq!(store.count("grant/").await, 51);
    assert_eq!(good(&stage, &tokens).await, 50);
    token_of(stage.refresh(&clients[0], &grace).await).await;
}

#[tokio::test(start_paused = true)]
async fn sign_ins_at_once_at_two_instances_leave_as_many_as_may_be() {
    let keys = ProxyKeys::generate();
    let store = WatchedStore::default();
    let change = |settings: EntraOAuthProxyBuilder| {
        let settings = settings.keys(keys.clone()).store(store.clone());
        settings.limits(limits().grants_per_user_and_client(4))
    };
    let stage = Stage::with(change).await;
    let another = change(settings(&stage.tenant)).build().unwrap();
    let clients = vec![stage.client().await; 12];
    let codes = codes(&stage, "ada", &clients).await;
    let tokens = redeemed_at_once(&[&stage.proxy, &another], &clients, &codes).await;
    assert_eq!(store.count("grant/").await, 4);
    assert_eq!(good(&stage, &tokens).await, 4);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_overtaken_by_a_later_sign_in_looks_once_its_own_is_there() {
    let (stage, store) = watched(limits().grants_per_user_and_client(2)).await;
    let client = stage.client().await;
    stage.sign_in(&client, "ada").await;
    let codes = codes(&stage, "ada", &[client.clone(), client.clone()]).await;
    let release = store.holds_the_next("grant/");
    let (slow, fast) = tokio::join!(stage.redeem(&client, &codes[0]), async {
        store.holds().await;
        let fast = stage.redeem(&client, &codes[1]).await;
        release.send(()).unwrap();
        fast
    });
    assert_eq!((slow.status, fast.status), (StatusCode::OK, StatusCode::OK));
    assert_eq!(store.count("grant/").await, 2);
}

#[tokio::test(start_paused = true)]
async fn many_who_use_one_code_at_once_keep_its_user_out_of_no_other_client() {
    let (stage, _) = watched(limits().grants_per_user(1).grants_per_user_and_client(1)).await;
    let (client, other) = (stage.client().await, stage.client().await);
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    let mut all = JoinSet::new();
    // More requests than one user may have in progress.
    for _ in 0..70 {
        let form = post("/token", &client.redemption(&code), &[]);
        all.spawn(stage.proxy.service().oneshot(form));
    }
    all.join_all().await;
    stage.sign_in(&other, "ada").await;
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_too_long_behind_others_of_the_same_user_is_told_and_so_are_operators() {
    let (stage, store) = watched(limits()).await;
    let client = stage.client().await;
    let codes = codes(&stage, "ada", &vec![client.clone(); 3]).await;
    let log = Logbook::begin();
    // A change reads and writes, so the third change would wait for 16 s.
    store.takes(Duration::from_secs(4));
    let mut all = JoinSet::new();
    for code in codes {
        let form = post("/token", &client.redemption(&code), &[]);
        all.spawn(stage.proxy.service().oneshot(form));
    }
    let mut statuses = Vec::new();
    for response in all.join_all().await {
        statuses.push(response.unwrap().status());
    }
    statuses.sort();
    assert_eq!(statuses, [200, 200, 503]);
    let lines = log.lines("WARN");
    let crowded = lines
        .iter()
        .filter(|line| line.contains("too many concurrent changes"));
    assert_eq!(crowded.count(), 1, "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_reaches_the_store_after_it_was_given_up_counts_for_its_user() {
    let (stage, store) = watched(limits().grants_per_user_and_client(1)).await;
    let client = stage.client().await;
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    let _held = store.holds_the_next("grant/");
    let reply = stage.redeem(&client, &code).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    let written = store.written();
    let mut written = written.iter().rev();
    let (key, value) = written.find(|(key, _)| key.starts_with("grant/")).unwrap();
    store.put(key, value.clone(), HOUR).await.unwrap();
    stage.tenant.time().advance(Duration::from_secs(1)).await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    assert_eq!(store.count("grant/").await, 1);
    token_of(stage.refresh(&client, &token).await).await;
}

/// Checks a redemption that is interrupted at one of its writes, as if the process ended there.
#[tokio::test(start_paused = true)]
async fn a_sign_in_that_does_not_come_to_its_end_signs_nobody_out_and_its_code_stays_good() {
    for interrupted in ["user/", "grant/", "code/"] {
        let (stage, store) = watched(limits().grants_per_user_and_client(2)).await;
        let client = stage.client().await;
        let mut tokens = Vec::new();
        for _ in 0..2 {
            let signed_in = stage.sign_in(&client, "ada").await;
            tokens.push((client.clone(), signed_in["refresh_token"].clone()));
        }
        let code = Browser::new(&stage).code(&client, "ada", &[]).await;
        store.refuses_writes_to(interrupted);
        let reply = stage.redeem(&client, &code).await;
        assert_eq!(
            reply.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "{interrupted}"
        );
        store.comes_back();
        assert_eq!(good(&stage, &tokens).await, 2, "{interrupted}");
        stage.tenant.time().advance(Duration::from_secs(3)).await;
        // The same code again: one sign-in ends, and not one for each attempt.
        let reply = stage.redeem(&client, &code).await;
        assert_eq!(reply.status, StatusCode::OK, "{interrupted}");
        assert_eq!(store.count("grant/").await, 2, "{interrupted}");
        stage.tenant.time().advance(Duration::from_secs(61)).await;
        let mut client_again = Browser::new(&stage);
        let code = client_again.code(&client, "ada", &[]).await;
        let last = stage.redeem(&client, &code).await.json();
        token_of(stage.refresh(&client, &last["refresh_token"]).await).await;
        assert_eq!(store.count("grant/").await, 2, "{interrupted}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_of_a_user_that_cannot_be_read_is_replaced() {
    let (stage, store) = watched(limits()).await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    store.corrupts("user/").await;
    stage.sign_in(&client, "ada").await;
    token_of(stage.refresh(&client, &tokens["refresh_token"]).await).await;
}

#[tokio::test(start_paused = true)]
async fn a_refresh_reads_the_grant_and_what_may_have_ended_it_and_writes_the_grant_alone() {
    let (stage, store) = watched(limits()).await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    let mut token = token;
    // At the first refresh, the proxy does not know the user before it has read the grant.
    // The last one looks for an operator's end after the write.
    for requests in [4, 3, 3] {
        let (calls, written) = (store.calls(), store.written().len());
        token = token_of(stage.refresh(&client, &token).await).await;
        assert_eq!(store.calls() - calls, requests);
        assert_eq!(store.written().len() - written, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_full_whoever_is_signed_in_goes_on_and_others_are_told_when_to_come() {
    // Four of the places are reserved for sign-ins in progress.
    let store = MemoryStore::with_capacity(64);
    let stage = Stage::with(|settings| settings.store(store).limits(limits())).await;
    let client = stage.client().await;
    let mut ada = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    // One browser is at the consent page, and one is at Entra.
    let mut at_page = Browser::new(&stage);
    let page = at_page.get(&client.authorize(&[])).await;
    let mut at_entra = Browser::new(&stage);
    let to_entra = at_entra.goes_to_entra(&client, &[]).await;
    let mut cancels = Browser::new(&stage);
    let cancel = ("access_denied", "cancel");
    let cancelled = refused(&mut cancels, &client, cancel, "65004").await;
    let log = Logbook::begin();
    while stage.get(&client.authorize(&[])).await.status == StatusCode::OK {
        ada = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    }
    let full = stage.get(&client.authorize(&[])).await;
    assert_eq!(full.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(full.header("retry-after"), "300");
    assert!(full.text().contains("has reached its limit of sign-ins"));
    let callback = stage.tenant.people().sign_in("grace", &to_entra);
    let asked = stage.tenant.token_endpoint().requests().len();
    for told in [
        at_page.answer(&page, "approve").await.onward(),
        at_entra.come_back(&callback).await.location(),
    ] {
        let told = told.parse().unwrap();
        let said = |name: &str| parameter(&told, name).unwrap_or_default();
        assert_eq!(said("error"), "temporarily_unavailable", "{told}");
        let description = said("error_description");
        assert!(description.contains("limit of sign-ins"), "{description}");
        assert!(description.contains("in 5 minutes"), "{description}");
    }
    let asked = stage.tenant.token_endpoint().requests().len() - asked;
    assert_eq!(asked, 0, "Entra's code is not used up in vain");
    let told = cancels.come_back(cancelled.as_str()).await;
    is_told(&told, "access_denied", "what Entra said comes first");
    let errors = log.lines("ERROR");
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(errors[0].contains("grants_per_user"), "{errors:#?}");
    // Clients that are signed in can refresh and sign out.
    for _ in 0..3 {
        stage.tenant.time().advance(Duration::from_secs(61)).await;
        ada = token_of(stage.refresh(&client, &ada).await).await;
    }
    let form = [("token", ada.as_str().unwrap()), ("client_id", &*client.id)];
    let revoked = stage.send(post("/revoke", &form, &[])).await;
    assert_eq!(revoked.status, StatusCode::OK);
    // The revocation makes room for another sign-in.
    stage.sign_in(&client, "grace").await;
}
