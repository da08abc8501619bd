//! Tests of browsers with several sign-ins in progress, second clicks, and the cookies of both.

use std::time::Duration;

use entra_oauth_proxy::ProxyKeys;
use http::StatusCode;
use serde_json::json;
use url::Url;

use crate::support::{Browser, Client, MINUTE, REDIRECT, Reply, Stage, parameter};
use crate::told::title;
use crate::watched_store::WatchedStore;

/// Maximum length of the header `Cookie`, in bytes.
const MAX_BYTES: usize = 6_000;

const SECOND: Duration = Duration::from_secs(1);

/// Opens a page, approves it, and returns the URL at Entra. Checks the length of the cookies.
async fn begins(browser: &mut Browser<'_>, client: &Client, changes: &[(&str, &str)]) -> String {
    let at_entra = browser.goes_to_entra(client, changes).await;
    assert!(browser.cookie().len() <= MAX_BYTES, "{}", browser.cookie());
    let state = parameter(&at_entra.parse().unwrap(), "state").unwrap();
    assert!(state.len() <= 4_096, "{}", state.len());
    at_entra
}

/// Signs ada in, returns to the proxy, and redeems the code.
async fn ends(stage: &Stage, browser: &mut Browser<'_>, client: &Client, at_entra: &str) {
    let callback = stage.tenant.people().sign_in("ada", at_entra);
    let answered = browser.come_back(&callback).await;
    assert_eq!(
        answered.status,
        StatusCode::SEE_OTHER,
        "{}",
        title(&answered)
    );
    let code = parameter(&answered.location().parse().unwrap(), "code").unwrap();
    let tokens = stage.redeem(client, &code).await;
    assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.text());
    assert!(browser.cookie().len() <= MAX_BYTES, "{}", browser.cookie());
}

#[tokio::test(start_paused = true)]
async fn ten_sign_ins_that_begin_at_once_in_one_browser_all_come_back() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let mut pages = Vec::new();
    for _ in 0..10 {
        pages.push(browser.get(&client.authorize(&[])).await);
    }
    let mut at_entra = Vec::new();
    for page in &pages {
        at_entra.push(browser.answer(page, "approve").await.onward());
    }
    assert_eq!(browser.told(), ["open"; 10]);
    for at_entra in at_entra.iter().rev() {
        ends(&stage, &mut browser, &client, at_entra).await;
    }
    assert_eq!(browser.told(), ["done"; 10]);
}

#[tokio::test(start_paused = true)]
async fn ten_sign_ins_at_two_servers_of_one_host_all_come_back() {
    let stages = [Stage::new().await, Stage::new().await];
    let clients = [stages[0].client().await, stages[1].client().await];
    let mut cookies = Vec::new();
    let mut at_entra = Vec::new();
    for number in 0..10 {
        let mut browser = Browser::new(&stages[number % 2]);
        browser.cookies = cookies;
        at_entra.push(begins(&mut browser, &clients[number % 2], &[]).await);
        cookies = browser.cookies;
    }
    for (number, at_entra) in at_entra.iter().enumerate() {
        let (stage, client) = (&stages[number % 2], &clients[number % 2]);
        let mut browser = Browser::new(stage);
        browser.cookies = cookies;
        ends(stage, &mut browser, client, at_entra).await;
        cookies = browser.cookies;
    }
}

/// Returns a client with the longest id that can be registered at all, and the longest request.
async fn longest(stage: &Stage) -> (Client, [(&'static str, String); 2]) {
    let uri = |number: usize| {
        let uri = format!("https://client.example/{number}/");
        format!("{uri}{}", "a".repeat(512 - uri.len()))
    };
    let mut client = None;
    for count in 1.. {
        let uris: Vec<String> = (0..count).map(uri).collect();
        let metadata = json!({ "redirect_uris": uris, "client_name": "n".repeat(60) });
        let registered = stage.register(&metadata).await;
        if registered.status != StatusCode::CREATED {
            break;
        }
        client = Some(stage.client_with(metadata).await);
    }
    let value = "c".repeat(440);
    let claims = json!({ "access_token": { "acrs": { "essential": true, "value": value } } });
    let claims = claims.to_string();
    assert!((480..=512).contains(&claims.len()), "{}", claims.len());
    let request = [("state", "s".repeat(1_024)), ("claims", claims)];
    (client.unwrap(), request)
}

#[tokio::test(start_paused = true)]
async fn ten_of_the_longest_requests_at_once_all_come_back() {
    let stage = Stage::new().await;
    let (client, request) = longest(&stage).await;
    assert!(client.id.len() > 1_500, "{}", client.id.len());
    let request = request.each_ref().map(|(name, value)| (*name, &**value));
    let mut browser = Browser::new(&stage);
    let mut at_entra = Vec::new();
    let mut states = Vec::new();
    for _ in 0..10 {
        let url = begins(&mut browser, &client, &request).await;
        states.push(parameter(&url.parse().unwrap(), "state").unwrap().len());
        at_entra.push(url);
    }
    // The first is in a cookie. There is no room for another, so the others are in `state`.
    assert!(states[0] < 100, "{states:?}");
    assert!(
        states[1..].iter().all(|length| *length > 1_500),
        "{states:?}"
    );
    for at_entra in &at_entra {
        ends(&stage, &mut browser, &client, at_entra).await;
    }
    assert_eq!(browser.told(), ["done"; 10]);
}

#[tokio::test(start_paused = true)]
async fn the_oldest_of_too_many_is_pushed_out_and_its_pages_say_so() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let mut open = Vec::new();
    for _ in 0..26 {
        let page = browser.get(&client.authorize(&[])).await;
        let at_entra = browser.answer(&page, "approve").await.onward();
        open.push((page, at_entra));
        // The time in the cookies counts, not their order.
        browser.cookies.reverse();
        stage.tenant.time().advance(Duration::from_secs(1)).await;
    }
    let told = browser.told();
    let count = |word: &str| told.iter().filter(|told| **told == word).count();
    assert_eq!((count("open"), count("pushed-out")), (24, 2));
    let expected = "Too many sign-ins were in progress in this browser";
    for (page, at_entra) in &open[..2] {
        for decision in ["approve", "deny"] {
            assert_eq!(title(&browser.answer(page, decision).await), expected);
        }
        let callback = stage.tenant.people().sign_in("ada", at_entra);
        assert_eq!(title(&browser.come_back(&callback).await), expected);
    }
    for (_, at_entra) in &open[2..] {
        ends(&stage, &mut browser, &client, at_entra).await;
    }
}

#[tokio::test(start_paused = true)]
async fn cookies_of_a_browser_stay_below_their_limits() {
    let stage = Stage::new().await;
    let (long, request) = longest(&stage).await;
    let request = request.each_ref().map(|(name, value)| (*name, &**value));
    let short = stage.client().await;
    let mut browser = Browser::new(&stage);
    for number in 0..90_usize {
        let (client, changes) = match number % 10 {
            0 => (&long, &request[..]),
            _ => (&short, &[][..]),
        };
        let at_entra = begins(&mut browser, client, changes).await;
        match number % 3 {
            // The newest is never the one that is pushed out.
            0 => ends(&stage, &mut browser, client, &at_entra).await,
            1 => {
                let page = browser.get(&client.authorize(&[])).await;
                browser.answer(&page, "deny").await.onward();
            }
            _ => {}
        }
        let told = browser.told();
        let open = told.iter().filter(|word| **word == "open").count();
        assert!(open <= 25, "24, and the cookie of a long one: {told:?}");
        assert!(told.len() - open <= 24, "{told:?}");
        assert!(browser.cookie().len() <= MAX_BYTES);
        stage.tenant.time().advance(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_sign_in_that_is_pushed_out_of_its_cookie_says_so() {
    let stage = Stage::new().await;
    let (long, request) = longest(&stage).await;
    let request = request.each_ref().map(|(name, value)| (*name, &**value));
    let short = stage.client().await;
    let mut browser = Browser::new(&stage);
    let at_entra = begins(&mut browser, &long, &request).await;
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    for _ in 0..40 {
        stage.tenant.time().advance(Duration::from_secs(1)).await;
        begins(&mut browser, &short, &[]).await;
    }
    let reply = browser.come_back(&callback).await;
    let expected = "Too many sign-ins were in progress in this browser";
    assert_eq!(title(&reply), expected);
}

/// Returns the id of the sign-in that Entra receives.
fn id(at_entra: &str) -> String {
    parameter(&at_entra.parse().unwrap(), "client-request-id").unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_second_click_sends_the_same_request_on_until_it_is_over() {
    let stage = Stage::new().await;
    let (long, request) = longest(&stage).await;
    let request = request.each_ref().map(|(name, value)| (*name, &**value));
    let short = stage.client().await;
    for (client, changes) in [(&short, &[][..]), (&long, &request[..])] {
        let mut browser = Browser::new(&stage);
        let page = browser.get(&client.authorize(changes)).await;
        let mut urls = Vec::new();
        for _ in 0..3 {
            urls.push(browser.answer(&page, "approve").await.onward());
            stage.tenant.time().advance(4 * MINUTE).await;
        }
        assert!(urls.iter().all(|url| id(url) == id(&urls[0])), "{urls:?}");
        // The last click counts for the time. Which of the tabs returns makes no difference.
        stage.tenant.time().advance(2 * MINUTE).await;
        let twin = browser.cookies.clone();
        for url in &urls {
            browser.cookies.clone_from(&twin);
            ends(&stage, &mut browser, client, url).await;
            if client.id == long.id {
                // All have one nonce, so Entra's first code is the only one that is redeemed.
                break;
            }
        }
        assert_eq!(browser.told(), ["done"]);
        let callback = stage.tenant.people().sign_in("ada", &urls[1]);
        for reply in [
            browser.come_back(&callback).await,
            browser.answer(&page, "approve").await,
            browser.answer(&page, "deny").await,
        ] {
            assert_eq!(title(&reply), "This sign-in is already complete");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_decision_late_on_the_page_leaves_the_whole_time_at_entra() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let page = browser.get(&client.authorize(&[])).await;
    stage.tenant.time().advance(14 * MINUTE).await;
    let approved = browser.answer(&page, "approve").await;
    let [cookie] = &approved.cookies()[..] else {
        panic!("{:?}", approved.cookies());
    };
    // A minute longer than the sign-in lasts.
    assert!(cookie.contains("Max-Age=960"), "{cookie}");
    stage.tenant.time().advance(14 * MINUTE).await;
    ends(&stage, &mut browser, &client, &approved.onward()).await;
}

#[tokio::test(start_paused = true)]
async fn cancel_in_one_tab_ends_the_sign_in_in_the_other() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let page = browser.get(&client.authorize(&[])).await;
    let at_entra = browser.answer(&page, "approve").await.onward();
    browser.answer(&page, "deny").await.onward();
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    let reply = browser.come_back(&callback).await;
    assert_eq!(title(&reply), "You cancelled this sign-in");
    assert_eq!(stage.tenant.token_endpoint().hits(), 0);
}

#[tokio::test(start_paused = true)]
async fn cookies_of_another_server_on_the_host_count_by_their_time_alone() {
    let keys = ProxyKeys::generate;
    let stages = [
        Stage::with(|settings| settings.keys(keys())).await,
        Stage::with(|settings| settings.keys(keys())).await,
    ];
    let mut browser = Browser::new(&stages[0]);
    let (client, request) = longest(&stages[0]).await;
    let request = request.each_ref().map(|(name, value)| (*name, &**value));
    let long = begins(&mut browser, &client, &request).await;
    let before = browser.cookies;
    // The other server cannot read the cookie of the long sign-in, and leaves it alone.
    let mut browser = Browser::new(&stages[1]);
    browser.cookies.clone_from(&before);
    begins(&mut browser, &stages[1].client().await, &[]).await;
    assert!(before.iter().all(|cookie| browser.cookies.contains(cookie)));
    let cookies = browser.cookies;
    let mut browser = Browser::new(&stages[0]);
    browser.cookies = cookies;
    ends(&stages[0], &mut browser, &client, &long).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_neither_a_cookie_nor_a_url_holds_is_told_to_the_client() {
    let scopes: Vec<String> = (0..12).map(|n| format!("{n:0>100}")).collect();
    let asked = format!("read {}", scopes.join(" "));
    let stage = Stage::with_resource(|resource| resource.optional_scopes(scopes)).await;
    let client = stage.client().await;
    let state = "s".repeat(1_024);
    let mut browser = Browser::new(&stage);
    let request = client.authorize(&[("scope", &asked), ("state", &state)]);
    let page = browser.get(&request).await;
    let answered: Reply = browser.answer(&page, "approve").await;
    let told: Url = answered.onward().parse().unwrap();
    assert!(told.as_str().starts_with(REDIRECT), "{told}");
    let error = parameter(&told, "error");
    assert_eq!(error.as_deref(), Some("invalid_request"));
}

#[tokio::test(start_paused = true)]
async fn of_sign_ins_that_are_over_a_browser_keeps_the_newest_ends() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let mut pages = Vec::new();
    for _ in 0..26 {
        let page = browser.get(&client.authorize(&[])).await;
        browser.answer(&page, "deny").await.onward();
        pages.push(page);
        stage.tenant.time().advance(Duration::from_secs(1)).await;
    }
    assert_eq!(browser.told(), ["declined"; 24]);
    for (number, page) in pages.iter().enumerate() {
        let expected = match number < 2 {
            true => "This browser does not have the cookie of that page",
            false => "You cancelled this sign-in",
        };
        assert_eq!(title(&browser.answer(page, "approve").await), expected);
    }
}

/// Checks what every browser shows that was left open: the time is over, and the cookie is gone.
#[tokio::test(start_paused = true)]
async fn a_late_answer_or_return_is_late_although_its_cookie_is_gone() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let page = browser.get(&client.authorize(&[])).await;
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    let long = "s".repeat(1_024);
    let at_entra = browser.goes_to_entra(&client, &[("state", &*long)]).await;
    let of_long = stage.tenant.people().sign_in("ada", &at_entra);
    stage.tenant.time().advance(15 * MINUTE + SECOND).await;
    browser.cookies.clear();
    let late = browser.answer(&page, "approve").await;
    assert!(
        late.text().contains("Your answer came too late"),
        "{}",
        late.text()
    );
    for callback in [callback, of_long] {
        let late = browser.come_back(&callback).await;
        assert!(
            late.text().contains("This sign-in took too long"),
            "{}",
            late.text()
        );
    }
}

/// Checks an application that the browser did not open, such as because the user hesitated.
#[tokio::test(start_paused = true)]
async fn an_application_that_did_not_open_gets_its_code_again_until_it_uses_it() {
    let stage = Stage::new().await;
    let scheme = json!({ "redirect_uris": ["com.example.app:/callback"] });
    let client = stage.client_with(scheme).await;
    let mut browser = Browser::new(&stage);
    let page = browser.get(&client.authorize(&[])).await;
    let mut codes = Vec::new();
    for _ in 0..2 {
        let going_on = browser.answer(&page, "approve").await;
        assert!(going_on.text().contains("or the application does not open"));
        let callback = stage.tenant.people().sign_in("ada", &going_on.onward());
        let answered = browser.come_back(&callback).await;
        let there = answered.location();
        assert!(there.starts_with("com.example.app:/callback?"), "{there}");
        codes.push(parameter(&there.parse().unwrap(), "code").unwrap());
        // The user clicks the button a while later, and a browser may repeat the request.
        let again = browser.come_back(&callback).await;
        assert_eq!(again.location(), there);
        stage.tenant.time().advance(5 * SECOND).await;
    }
    let redeemed = stage.redeem(&client, &codes[1]).await;
    assert_eq!(redeemed.status, StatusCode::OK, "{}", redeemed.text());
    let tokens = redeemed.json();
    // Once it has used it, a browser that comes back does not bring it a second time.
    let going_on = browser.answer(&page, "approve").await;
    assert_eq!(going_on.status, StatusCode::OK);
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
}

#[tokio::test(start_paused = true)]
async fn a_return_that_is_loaded_again_after_the_code_was_used_says_that_it_is_complete() {
    let stage = Stage::new().await;
    let scheme = json!({ "redirect_uris": ["com.example.app:/callback"] });
    let client = stage.client_with(scheme).await;
    let mut browser = Browser::new(&stage);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    let there = browser.come_back(&callback).await.location();
    let code = parameter(&there.parse().unwrap(), "code").unwrap();
    let tokens = stage.redeem(&client, &code).await.json();
    let again = browser.come_back(&callback).await;
    assert!(
        again.text().contains("This sign-in is already complete"),
        "{}",
        again.text()
    );
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
}

#[tokio::test(start_paused = true)]
async fn a_return_that_is_loaded_again_while_the_store_is_down_is_asked_to_wait() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let scheme = json!({ "redirect_uris": ["com.example.app:/callback"] });
    let client = stage.client_with(scheme).await;
    let mut browser = Browser::new(&stage);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    let there = browser.come_back(&callback).await.location();
    store.goes_down();
    let busy = browser.come_back(&callback).await;
    assert_eq!(busy.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        busy.text().contains("Load this page again"),
        "{}",
        busy.text()
    );
    store.comes_back();
    assert_eq!(browser.come_back(&callback).await.location(), there);
}
