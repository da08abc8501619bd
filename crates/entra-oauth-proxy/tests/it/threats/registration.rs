//! Tests of attacks with registered clients, and with redirect URIs on the user's own machine.

use entra_oauth_proxy::Clients;
use http::StatusCode;
use serde_json::json;

use crate::support::{Browser, REDIRECT, Stage, parameter};
use crate::watched_store::WatchedStore;

/// Checks that a code is useless to another program that intercepts it, and that the page warned.
async fn a_code_is_caught(registered: &str, used: &str) {
    let stage = Stage::new().await;
    let client = stage
        .client_with(json!({ "redirect_uris": [registered], "client_name": "Test client" }))
        .await;
    let changes = [("redirect_uri", used)];
    let mut browser = Browser::new(&stage);
    for _ in 0..2 {
        let page = browser.get(&client.authorize(&changes)).await;
        assert_eq!(page.status, StatusCode::OK, "{used}");
        assert!(page.text().contains("class=\"warning\""), "{used}");
        let at_entra = browser.answer(&page, "approve").await.onward();
        let callback = stage.tenant.people().sign_in("ada", &at_entra);
        let answered = browser.come_back(&callback).await.location();
        assert!(answered.starts_with(&format!("{used}?code=")), "{answered}");
        let code = parameter(&answered.parse().unwrap(), "code").unwrap();
        let mut form = client.redemption(&code);
        form.retain(|(name, _)| !["redirect_uri", "code_verifier"].contains(name));
        form.push(("redirect_uri", used));
        let without = stage.token(&form).await;
        assert_eq!(without.error(), (400, "invalid_request".to_owned()));
        form.push((
            "code_verifier",
            "a-verifier-that-somebody-made-up-who-has-none",
        ));
        let made_up = stage.token(&form).await;
        assert_eq!(made_up.error(), (400, "invalid_grant".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn localhost_impersonation_by_another_local_process() {
    a_code_is_caught(
        "http://localhost/callback",
        "http://localhost:51234/callback",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn custom_scheme_hijack() {
    let uri = "cursor://anysphere.cursor-mcp/oauth/callback";
    a_code_is_caught(uri, uri).await;
    let stage = Stage::with(|settings| {
        settings.clients(Clients::default().allowed_redirects(["https://client.example"]))
    });
    let stage = stage.await;
    let reply = stage.register(&json!({ "redirect_uris": [uri] })).await;
    assert_eq!(reply.error(), (400, "invalid_redirect_uri".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn abuse_of_dynamic_registration() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    for _ in 0..100 {
        stage.client().await;
    }
    assert_eq!(store.calls(), 0, "nothing is stored");
    let long = "a".repeat(9 * 1024);
    let reply = stage
        .register(&json!({ "redirect_uris": [REDIRECT], "x": long }))
        .await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);

    let name = format!(
        "Micro\u{202e}tfos\u{200b} \u{0}\n  Support {}",
        "x".repeat(500)
    );
    let client = stage
        .client_with(json!({ "redirect_uris": [REDIRECT], "client_name": name }))
        .await;
    let page = stage.get(&client.authorize(&[])).await;
    let text = page.text();
    for hidden in ['\u{202e}', '\u{200b}', '\u{0}'] {
        assert!(!text.contains(hidden), "{hidden:?}");
    }
    assert!(!text.contains(&"x".repeat(100)));
    assert!(text.contains("not verified"));

    let fixed = entra_oauth_proxy::PreregisteredClient::public("desk").redirect_uri(REDIRECT);
    let off = Stage::with(|settings| {
        settings.clients(
            Clients::default()
                .without_registration()
                .preregistered(fixed),
        )
    })
    .await;
    let reply = off.register(&json!({ "redirect_uris": [REDIRECT] })).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
}
