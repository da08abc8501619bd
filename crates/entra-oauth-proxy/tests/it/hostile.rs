//! Tests of attacks that must not harm others, and of small faults that must not cost a sign-in.

use entra_oauth_proxy::{
    Clients, EntraOAuthProxy, FederatedAssertion, ProxyKeys, Resource, Secret, store::MemoryStore,
};
use http::StatusCode;
use serde_json::json;
use url::Url;

use crate::support::{
    APP, Browser, HOUR, PUBLIC, REDIRECT, RESOURCE, SECRET, Stage, parameter, settings, tenant,
};
use crate::watched_store::WatchedStore;

#[tokio::test(start_paused = true)]
async fn a_script_that_comes_back_without_having_signed_in_leaves_nothing_in_the_store() {
    let store = MemoryStore::with_capacity(3);
    let stage = Stage::with(|settings| settings.store(store)).await;
    let client = stage.client().await;
    for _ in 0..5 {
        let mut script = Browser::new(&stage);
        let at_entra: Url = script.goes_to_entra(&client, &[]).await.parse().unwrap();
        let state = parameter(&at_entra, "state").unwrap();
        let told = script
            .get(&format!("/callback?code=garbage&state={state}"))
            .await;
        assert!(told.location().contains("error="), "{}", told.location());
    }
    // The store has room only for a code, a grant and the record of its user.
    stage.sign_in(&client, "ada").await;
}

#[tokio::test(start_paused = true)]
async fn a_used_code_in_the_hands_of_another_client_ends_nothing() {
    let stage = Stage::new().await;
    let (client, thief) = (stage.client().await, stage.client().await);
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    let tokens = stage.redeem(&client, &code).await.json();
    assert_eq!(
        stage.redeem(&thief, &code).await.error(),
        (400, "invalid_grant".to_owned())
    );
    let mut guessed = client.redemption(&code);
    for (name, value) in &mut guessed {
        if *name == "code_verifier" {
            *value = "another-verifier-of-the-right-length-43-chars-";
        }
    }
    assert_eq!(
        stage.token(&guessed).await.error(),
        (400, "invalid_grant".to_owned())
    );
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
}

#[tokio::test(start_paused = true)]
async fn cookies_of_a_like_name_push_none_of_ours_out() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    for index in 0..200 {
        let name = format!("x__Host-entra-proxy-sign-in-{index}");
        browser.cookies.insert(0, (name, "tossed".to_owned()));
        let name = format!("entra-proxy-sign-in-{index}");
        browser.cookies.insert(0, (name, "tossed".to_owned()));
    }
    assert!(!browser.code(&client, "ada", &[]).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn long_requests_do_not_fill_a_header_with_cookies() {
    let stage = Stage::new().await;
    let uri = format!("https://client.example/{}", "a".repeat(480));
    let client = stage.client_with(json!({ "redirect_uris": [uri] })).await;
    let state = "s".repeat(1_000);
    let mut browser = Browser::new(&stage);
    let mut at_entra = String::new();
    for _ in 0..4 {
        at_entra = browser.goes_to_entra(&client, &[("state", &state)]).await;
        let bytes: usize = browser
            .cookies
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        assert!(bytes < 7_000, "{bytes}");
    }
    // The newest cookie is never the one that the proxy removes.
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    assert!(
        browser
            .come_back(&callback)
            .await
            .location()
            .contains("code=")
    );
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_is_gone_does_not_cost_a_sign_in() {
    let tenant = tenant().start().await.unwrap();
    let keys = ProxyKeys::from_base64("7wW6qQJqTgVd3o6m1z0kGk2rQ4cXnE9yB5fHhLpUsvA=").unwrap();
    let store = WatchedStore::default();
    let before = settings(&tenant)
        .keys(keys.clone())
        .store(store.clone())
        .build()
        .unwrap();
    let after = EntraOAuthProxy::builder()
        .tenant(tenant.id())
        .client_id(APP)
        .credential(Secret::new(SECRET))
        .metadata_endpoint(tenant.url())
        .http_client(tenant.http_client())
        .clock(tenant.clock())
        .public_url(PUBLIC)
        .resource(Resource::at(RESOURCE).required_scopes(["read"]))
        .keys(keys)
        .store(store)
        .build()
        .unwrap();
    let mut stage = Stage {
        proxy: before,
        tenant,
    };
    let client = stage.client().await;
    let code = Browser::new(&stage)
        .code(&client, "ada", &[("scope", "read write")])
        .await;
    let tokens = stage.redeem(&client, &code).await.json();
    assert_eq!(tokens["scope"], "read write");

    stage.proxy = after;
    stage.tenant.time().advance(HOUR).await;
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
    assert_eq!(refreshed.json()["scope"], "read");
    let asked = stage.tenant.token_endpoint().requests().pop().unwrap();
    assert!(!asked.parameter("scope").unwrap().contains("/write"));
}

#[tokio::test(start_paused = true)]
async fn one_address_that_is_not_allowed_does_not_cost_a_registration() {
    let allowed = ["https://client.example", "http://localhost"];
    let stage =
        Stage::with(|settings| settings.clients(Clients::default().allowed_redirects(allowed)))
            .await;
    let uris = json!([
        REDIRECT,
        "http://localhost:1/cb",
        "cursor://anysphere.cursor-mcp/cb"
    ]);
    let client = stage.client_with(json!({ "redirect_uris": uris })).await;
    let not_allowed = [("redirect_uri", "cursor://anysphere.cursor-mcp/cb")];
    let refused = stage.get(&client.authorize(&not_allowed)).await;
    assert_eq!(
        (refused.status, refused.location()),
        (StatusCode::BAD_REQUEST, String::new())
    );
    assert_eq!(
        stage.get(&client.authorize(&[])).await.status,
        StatusCode::OK
    );
    for uris in [
        json!(["https://other.example/"]),
        json!([REDIRECT, "javascript:alert(1)"]),
    ] {
        let refused = stage.register(&json!({ "redirect_uris": uris })).await;
        assert_eq!(
            refused.error(),
            (400, "invalid_redirect_uri".to_owned()),
            "{uris}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_way_to_authenticate_that_there_is_not_becomes_none() {
    let stage = Stage::new().await;
    let metadata =
        json!({ "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "private_key_jwt" });
    let registered = stage.register(&metadata).await.json();
    assert_eq!(registered["token_endpoint_auth_method"], "none");
    assert!(registered["client_secret"].is_null());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_passed_through_is_said_to_have_what_it_has() {
    let stage = Stage::with(|settings| settings.dangerous().issue_entra_tokens()).await;
    let (first, second) = (stage.client().await, stage.client().await);
    Browser::new(&stage)
        .code(&first, "ada", &[("scope", "read write")])
        .await;
    // The user consented to both scopes for this application, so Entra's token has both.
    let page = stage.get(&second.authorize(&[])).await;
    assert!(
        page.text()
            .contains("everything else in this service that you allowed before")
    );
    let tokens = stage.sign_in(&second, "ada").await;
    let caller = stage.verify(&tokens["access_token"]).await.unwrap();
    let mut scopes: Vec<&str> = caller.scopes().collect();
    scopes.sort_unstable();
    let mut said: Vec<&str> = tokens["scope"].as_str().unwrap().split(' ').collect();
    said.sort_unstable();
    assert_eq!(said, scopes);
    assert_eq!(scopes, ["read", "write"]);
}

#[tokio::test(start_paused = true)]
async fn a_return_that_is_not_entras_is_our_affair_and_not_the_clients() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    for query in ["", "code=a&code=b", "code=a&iss=b&iss=c", "error=a&error=b"] {
        let mut browser = Browser::new(&stage);
        let at_entra: Url = browser.goes_to_entra(&client, &[]).await.parse().unwrap();
        let state = parameter(&at_entra, "state").unwrap();
        let told = browser
            .get(&format!("/callback?{query}&state={state}"))
            .await;
        let told: Url = told.location().parse().unwrap();
        assert_eq!(
            parameter(&told, "error").as_deref(),
            Some("server_error"),
            "{query}"
        );
    }
    assert_eq!(stage.tenant.token_endpoint().hits(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_cannot_be_read_now_may_be_there_in_a_moment() {
    let missing = FederatedAssertion::from_fn(|| async { Err("not mounted yet".into()) });
    let stage = Stage::with(|settings| settings.credential(missing)).await;
    let client = stage.client().await;
    let told = Browser::new(&stage).signed_in(&client, "ada", &[]).await;
    assert_eq!(
        parameter(&told, "error").as_deref(),
        Some("temporarily_unavailable")
    );
}
