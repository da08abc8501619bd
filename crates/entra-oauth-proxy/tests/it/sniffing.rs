//! Tests of the header that stops a browser from guessing the media type of a response.

use bytes::Bytes;
use entra_oauth_proxy::{Rate, RateLimits};
use http::{Method, StatusCode};
use serde_json::json;

use crate::support::{Browser, PUBLIC, Reply, Stage, post, request};
use crate::watched_store::WatchedStore;

#[track_caller]
fn is_not_sniffed(reply: &Reply, what: &str) {
    let headers: Vec<_> = reply
        .headers
        .get_all("x-content-type-options")
        .iter()
        .collect();
    assert_eq!(headers, ["nosniff"], "{what}: {reply:?}");
}

#[tokio::test(start_paused = true)]
async fn no_answer_of_any_endpoint_to_any_method_is_sniffed() {
    let stage = Stage::new().await;
    for path in [
        "/authorize",
        "/consent",
        "/callback",
        "/sign-out",
        "/signed-out",
        "/token",
        "/revoke",
        "/register",
        "/jwks.json",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-protected-resource",
        "/elsewhere",
    ] {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let reply = stage
                .send(request(method.clone(), path, &[], Bytes::new()))
                .await;
            is_not_sniffed(&reply, &format!("{method} {path}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_answer_on_the_way_of_a_sign_in_is_sniffed() {
    let stage = Stage::new().await;
    let metadata = json!({ "redirect_uris": ["https://client.example/callback"] });
    let registered = stage.register(&metadata).await;
    assert_eq!(registered.status, StatusCode::CREATED);
    is_not_sniffed(&registered, "a registration");
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let page = browser.get(&client.authorize(&[])).await;
    assert_eq!(page.status, StatusCode::OK);
    is_not_sniffed(&page, "the consent page");
    let to_entra = browser.answer(&page, "approve").await;
    is_not_sniffed(&to_entra, "the way to Entra");
    let callback = stage.tenant.people().sign_in("ada", &to_entra.onward());
    let to_client = browser.come_back(&callback).await;
    assert_eq!(to_client.status, StatusCode::SEE_OTHER);
    is_not_sniffed(&to_client, "the way to the client");
    let to_client = to_client.location().parse().unwrap();
    let code = crate::support::parameter(&to_client, "code").unwrap();
    let tokens = stage.redeem(&client, &code).await;
    assert_eq!(tokens.status, StatusCode::OK);
    is_not_sniffed(&tokens, "tokens");
    let token = tokens.json()["refresh_token"].clone();
    let form = [
        ("token", token.as_str().unwrap()),
        ("client_id", &client.id),
    ];
    let revoked = stage.send(post("/revoke", &form, &[])).await;
    assert_eq!(revoked.status, StatusCode::OK);
    is_not_sniffed(&revoked, "a revocation");
    let refused = stage.refresh(&client, &token).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    is_not_sniffed(&refused, "an error");
}

#[tokio::test(start_paused = true)]
async fn no_answer_of_a_server_that_cannot_serve_is_sniffed() {
    let store = WatchedStore::default();
    let limits = RateLimits::none()
        .sign_ins_per_address(Rate::per_minute(1).burst(1))
        .token_requests_per_address(Rate::per_minute(1).burst(1));
    let stage = Stage::with(|settings| settings.store(store.clone()).limits(limits)).await;
    for store_is_down in [false, true] {
        if store_is_down {
            store.goes_down();
        }
        let answer = stage.proxy.readiness().response().await;
        is_not_sniffed(&Reply::of(answer).await, "readiness");
    }
    for (method, path) in [(Method::GET, "/signed-out"), (Method::POST, "/token")] {
        let mut told = Vec::new();
        for _ in 0..2 {
            let mut request = request(method.clone(), path, &[], Bytes::new());
            let peer: std::net::SocketAddr = "203.0.113.9:1".parse().unwrap();
            request.extensions_mut().insert(peer);
            let reply = stage.send(request).await;
            is_not_sniffed(&reply, &format!("{PUBLIC}{path}"));
            told.push(reply.status);
        }
        assert_eq!(told[1], StatusCode::TOO_MANY_REQUESTS);
    }
}
