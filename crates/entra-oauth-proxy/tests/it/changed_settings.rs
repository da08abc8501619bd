//! Tests of scopes that became required, or are no longer offered, after a user's consent.
//!
//! No client receives a scope that the user did not agree to.

use entra_oauth_proxy::{EntraOAuthProxyBuilder, ProxyKeys, Resource};
use http::StatusCode;
use serde_json::json;
use url::Url;

use crate::logbook::Logbook;
use crate::refresh::{invalid_grant, token_of};
use crate::support::{Browser, HOUR, RESOURCE, Stage, claims, parameter, settings_of};
use crate::watched_store::WatchedStore;

/// A server that restarts with other settings, and keeps its store and its keys.
struct Service {
    store: WatchedStore,
    keys: ProxyKeys,
}

impl Service {
    async fn start() -> (Self, Stage) {
        let service = Self {
            store: WatchedStore::default(),
            keys: ProxyKeys::generate(),
        };
        let stage = Stage::with(|settings| service.kept(settings)).await;
        (service, stage)
    }

    fn kept(&self, settings: EntraOAuthProxyBuilder) -> EntraOAuthProxyBuilder {
        settings.store(self.store.clone()).keys(self.keys.clone())
    }

    fn restart(&self, stage: &mut Stage, required: &[&str], optional: &[&str]) {
        let resource = Resource::at(RESOURCE)
            .required_scopes(required.iter().copied())
            .optional_scopes(optional.iter().copied());
        let settings = settings_of(&stage.tenant, resource);
        stage.proxy = self.kept(settings).build().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_is_required_now_is_not_handed_to_whoever_agreed_to_less() {
    let (service, mut stage) = Service::start().await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    // Entra's token has to be renewed by now, and Entra would grant the scope.
    stage.tenant.time().advance(HOUR).await;
    service.restart(&mut stage, &["read", "write"], &[]);
    let log = Logbook::begin();
    let asked = stage.tenant.token_endpoint().requests().len();
    let refused = stage.refresh(&client, &token).await;
    assert_eq!(refused.error(), invalid_grant());
    assert!(
        refused.text().contains("sign in again"),
        "{}",
        refused.text()
    );
    assert_eq!(stage.tenant.token_endpoint().requests().len(), asked);
    assert_eq!(service.store.count("grant/").await, 0);
    let lines = log.lines("INFO");
    assert!(
        lines.iter().any(|line| line.contains("is now required")),
        "{lines:#?}"
    );
    // The new sign-in shows the consent page, which names the scope.
    let mut browser = Browser::new(&stage);
    let page = browser.get(&client.authorize(&[])).await;
    assert!(page.text().contains("write"), "{}", page.text());
    let tokens = stage.sign_in(&client, "ada").await;
    assert_eq!(claims(&tokens["access_token"])["scope"], "read write");
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_was_agreed_to_and_is_required_now_goes_on() {
    let (service, mut stage) = Service::start().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let code = browser
        .code(&client, "ada", &[("scope", "read write")])
        .await;
    let tokens = stage.redeem(&client, &code).await.json();
    drop(browser);
    service.restart(&mut stage, &["read", "write"], &[]);
    let token = token_of(stage.refresh(&client, &tokens["refresh_token"]).await).await;
    stage.tenant.time().advance(HOUR).await;
    token_of(stage.refresh(&client, &token).await).await;
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_is_not_offered_any_more_is_not_minted_any_more() {
    let (service, mut stage) = Service::start().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let code = browser
        .code(&client, "ada", &[("scope", "read write")])
        .await;
    let tokens = stage.redeem(&client, &code).await.json();
    assert_eq!(claims(&tokens["access_token"])["scope"], "read write");
    drop(browser);
    service.restart(&mut stage, &["read"], &[]);
    let mut token = tokens["refresh_token"].clone();
    // The first refresh uses Entra's earlier token, which has the scope. The second one uses a new
    // token.
    for _ in 0..2 {
        let refreshed = stage.refresh(&client, &token).await;
        assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
        let refreshed = refreshed.json();
        assert_eq!(claims(&refreshed["access_token"])["scope"], "read");
        assert_eq!(refreshed["scope"], "read");
        token = refreshed["refresh_token"].clone();
        stage.tenant.time().advance(HOUR).await;
    }
    let asked = stage.tenant.token_endpoint().requests().pop().unwrap();
    assert!(!asked.parameter("scope").unwrap().contains("write"));
    // The scope can return, because the user agreed to it.
    service.restart(&mut stage, &["read"], &["write"]);
    let refreshed = stage.refresh(&client, &token).await.json();
    assert_eq!(claims(&refreshed["access_token"])["scope"], "read write");
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_while_the_settings_change_gets_no_more_than_was_agreed_to() {
    let (service, mut stage) = Service::start().await;
    let client = stage.client().await;
    // A consent page without a decision, a browser at Entra, and a code.
    let mut at_page = Browser::new(&stage);
    let page = at_page.get(&client.authorize(&[])).await;
    let cookies_at_page = at_page.cookies.clone();
    let mut at_entra = Browser::new(&stage);
    let url = at_entra.goes_to_entra(&client, &[]).await;
    let cookies_at_entra = at_entra.cookies.clone();
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    drop((at_page, at_entra));
    service.restart(&mut stage, &["read", "write"], &[]);
    assert_eq!(stage.redeem(&client, &code).await.error(), invalid_grant());
    let mut browser = Browser::new(&stage);
    browser.cookies = cookies_at_page;
    let answered = browser.answer(&page, "approve").await;
    assert_eq!(answered.status, StatusCode::BAD_REQUEST);
    assert!(
        answered.text().contains("have changed"),
        "{}",
        answered.text()
    );
    browser.cookies = cookies_at_entra;
    let callback = stage.tenant.people().sign_in("ada", &url);
    let back: Url = browser
        .come_back(&callback)
        .await
        .location()
        .parse()
        .unwrap();
    if let Some(code) = parameter(&back, "code") {
        let redeemed = stage.redeem(&client, &code).await;
        assert_eq!(redeemed.error(), invalid_grant());
    }
    assert_eq!(service.store.count("grant/").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_was_dropped_while_the_user_is_at_entra_is_not_asked_for() {
    let (service, mut stage) = Service::start().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let all = [("scope", "read write")];
    let page = browser.get(&client.authorize(&all)).await;
    let cookies = browser.cookies.clone();
    drop(browser);
    service.restart(&mut stage, &["read"], &[]);
    let mut browser = Browser::new(&stage);
    browser.cookies = cookies;
    let at_entra = browser.answer(&page, "approve").await.onward();
    let url: Url = at_entra.parse().unwrap();
    assert!(
        !parameter(&url, "scope").unwrap().contains("write"),
        "{url}"
    );
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    let back: Url = browser
        .come_back(&callback)
        .await
        .location()
        .parse()
        .unwrap();
    let tokens = stage
        .redeem(&client, &parameter(&back, "code").unwrap())
        .await;
    assert_eq!(tokens.json()["scope"], json!("read"));
}
