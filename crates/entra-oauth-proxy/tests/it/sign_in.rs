//! Tests of a complete sign-in, its tokens and its cookies.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::json;
use tower_entra_auth::token::TokenVersion;

use crate::support::{APP, Browser, HOUR, PUBLIC, RESOURCE, Stage, claims, parameter, part};

#[tokio::test(start_paused = true)]
async fn a_client_registers_signs_a_user_in_and_calls() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let answered = browser.signed_in(&client, "ada", &[]).await;
    assert!(
        answered
            .as_str()
            .starts_with(&format!("{}?code=", client.redirect_uri))
    );
    assert_eq!(parameter(&answered, "state").unwrap(), "the client's state");
    assert_eq!(parameter(&answered, "iss").unwrap(), PUBLIC);

    let code = parameter(&answered, "code").unwrap();
    let tokens = stage.redeem(&client, &code).await;
    assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.text());
    assert_eq!(tokens.header("cache-control"), "no-store");
    let tokens = tokens.json();
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["expires_in"], 3600);
    assert_eq!(tokens["scope"], "read");

    let caller = stage.verify(&tokens["access_token"]).await.unwrap();
    let entra = stage.tenant.user("ada").scope("read").for_api(APP).mint();
    let entra = stage.proxy.auth().verify(&entra).await.unwrap();
    assert_eq!(caller.object_id(), entra.object_id());
    assert_eq!(caller.tenant_id(), entra.tenant_id());
    assert_eq!(caller.name(), entra.name());
    assert_eq!(caller.scopes().collect::<Vec<_>>(), ["read"]);
    assert_eq!(caller.kind(), entra.kind());
    assert_eq!(caller.version(), TokenVersion::V2);
    // At Entra, this server is the client of every sign-in. The caller has only the registered
    // client.
    assert_eq!(entra.registered_client(), None);
    assert_eq!(caller.client_id(), None);
    let hash = digest(&SHA256, client.id.as_bytes());
    let hash = URL_SAFE_NO_PAD.encode(hash);
    assert_eq!(caller.registered_client(), Some(&*hash));
    // A browser whose sign-in is complete has no secret of it.
    assert_eq!(browser.told(), ["done"]);
}

#[tokio::test(start_paused = true)]
async fn a_token_says_by_rfc_9068_whose_it_is_and_for_what() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let header = part(&tokens["access_token"], 0);
    assert_eq!(
        (&header["alg"], &header["typ"]),
        (&json!("ES256"), &json!("at+jwt"))
    );
    let claims = claims(&tokens["access_token"]);
    assert_eq!(claims["iss"], PUBLIC);
    assert_eq!(claims["aud"], RESOURCE);
    assert_eq!(claims["client_id"], *client.id);
    assert_eq!(claims["scope"], "read");
    assert_eq!(claims["tid"], stage.tenant.id());
    let lifetime = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert_eq!(lifetime, 3_600);
    for claim in ["sub", "oid", "jti", "gid"] {
        assert!(claims[claim].is_string(), "{claim}");
    }
    for claim in ["email", "upn", "scp", "uti", "rh"] {
        assert!(claims[claim].is_null(), "{claim}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_replaces_the_token_and_asks_entra_with_the_scopes_said() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let before = stage.tenant.token_endpoint().hits();

    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
    let refreshed = refreshed.json();
    assert_ne!(refreshed["refresh_token"], tokens["refresh_token"]);
    assert!(stage.verify(&refreshed["access_token"]).await.is_ok());
    // Entra's own token was still valid.
    assert_eq!(stage.tenant.token_endpoint().hits(), before);

    stage.tenant.time().advance(HOUR).await;
    let refreshed = stage.refresh(&client, &refreshed["refresh_token"]).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
    let asked = stage.tenant.token_endpoint().requests().pop().unwrap();
    assert_eq!(asked.parameter("grant_type"), Some("refresh_token"));
    let scope = format!("api://{APP}/read openid profile offline_access");
    assert_eq!(asked.parameter("scope"), Some(&*scope));
    assert_eq!(asked.parameter("resource"), None);
}
