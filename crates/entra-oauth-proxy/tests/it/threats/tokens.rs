//! Tests of attacks with codes, tokens, keys and the store.

use std::time::Duration;

use entra_dev_tenant::DevTenant;
use entra_oauth_proxy::{EntraOAuthProxyBuilder, Lifetimes, ProxyKeys};
use http::StatusCode;
use serde_json::json;

use crate::support::{
    APP, Browser, HOUR, PUBLIC, RESOURCE, Stage, VERIFIER, application, claims, parameter,
    resource_at, settings, settings_of,
};
use crate::watched_store::WatchedStore;

const OTHER_TENANT: &str = "99999999-2222-4333-8444-555555555555";
const GRANT_CHECK: Duration = Duration::from_secs(31);

fn invalid_grant() -> (u16, String) {
    (400, "invalid_grant".to_owned())
}

#[tokio::test(start_paused = true)]
async fn interception_and_injection_of_codes() {
    let stage = Stage::new().await;
    let (client, attacker) = (stage.client().await, stage.client().await);
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    // An intercepted code, sent by another client, or by the same client without its verifier.
    assert_eq!(
        stage.redeem(&attacker, &code).await.error(),
        invalid_grant()
    );
    let other = format!("{VERIFIER}-of-another-session");
    let mut form = client.redemption(&code);
    form.retain(|(name, _)| *name != "code_verifier");
    form.push(("code_verifier", &other));
    assert_eq!(stage.token(&form).await.error(), invalid_grant());
    // An injected code: the attacker's, in the session of an honest client with another challenge.
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, other.as_bytes());
    use base64::Engine as _;
    let challenge = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash.as_ref());
    let changes = [("code_challenge", &*challenge)];
    let injected = Browser::new(&stage).code(&client, "grace", &changes).await;
    assert_eq!(
        stage.redeem(&client, &injected).await.error(),
        invalid_grant()
    );
    // A code that is used twice ends its grant. The requests to Entra also have a challenge.
    let tokens = stage.redeem(&client, &code).await.json();
    stage.tenant.time().advance(Duration::from_secs(11)).await;
    assert_eq!(stage.redeem(&client, &code).await.error(), invalid_grant());
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.error(), invalid_grant());
    for asked in stage.tenant.authorize_endpoint().requests() {
        assert_eq!(asked.parameter("code_challenge_method"), Some("S256"));
    }
}

#[tokio::test(start_paused = true)]
async fn pkce_downgrade() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    for changes in [
        &[("code_challenge", ""), ("code_challenge_method", "")][..],
        &[("code_challenge_method", "")],
        &[
            ("code_challenge", VERIFIER),
            ("code_challenge_method", "plain"),
        ],
    ] {
        let reply = stage.get(&client.authorize(changes)).await;
        assert!(
            reply.text().contains("?error=invalid_request"),
            "{changes:?}"
        );
    }
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    let mut form = client.redemption(&code);
    form.retain(|(name, _)| *name != "code_verifier");
    assert_eq!(
        stage.token(&form).await.error(),
        (400, "invalid_request".to_owned())
    );
    form.push(("code_verifier", ""));
    assert_eq!(
        stage.token(&form).await.error(),
        (400, "invalid_request".to_owned())
    );
    let document = stage
        .get("/.well-known/oauth-authorization-server")
        .await
        .json();
    assert_eq!(
        document["code_challenge_methods_supported"],
        json!(["S256"])
    );
}

#[tokio::test(start_paused = true)]
async fn token_passthrough_and_wrong_audience() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    assert_eq!(claims(&tokens["access_token"])["aud"], RESOURCE);
    let user = || stage.tenant.user("ada").scope("read");
    for (case, token) in [
        ("Graph's", stage.tenant.graph_token("ada").mint()),
        (
            "another API's",
            user()
                .for_api("11111111-2222-4333-8444-555555555555")
                .mint(),
        ),
        (
            "an id token",
            stage.tenant.id_token("ada").for_api(APP).mint(),
        ),
    ] {
        assert!(stage.verify(&json!(token)).await.is_err(), "{case}");
    }
    // Tokens for another resource, and of another issuer, with the same keys.
    let tenant = DevTenant::builder()
        .register(application().redirect_uri("https://other.example.com/callback"));
    let tenant = tenant.start().await.unwrap();
    let keys = ProxyKeys::generate();
    let proxy = |resource: &str, public: &str| {
        settings_of(&tenant, resource_at(resource))
            .keys(keys.clone())
            .public_url(public)
            .build()
            .unwrap()
    };
    let ours = proxy(RESOURCE, PUBLIC);
    let others = [
        proxy("https://mcp.example.com/other", PUBLIC),
        proxy(RESOURCE, "https://other.example.com"),
    ];
    let mut stage = Stage {
        proxy: ours.clone(),
        tenant,
    };
    for other in others {
        stage.proxy = other.clone();
        let client = stage.client().await;
        let mut browser = Browser::new(&stage);
        let at_entra = browser.goes_to_entra(&client, &[("resource", "")]).await;
        let callback = stage.tenant.people().sign_in("ada", &at_entra);
        let answered = browser
            .get(callback.strip_prefix(other.issuer()).unwrap())
            .await;
        let code = parameter(&answered.location().parse().unwrap(), "code").unwrap();
        let mut form = client.redemption(&code);
        form.retain(|(name, _)| *name != "resource");
        let foreign = stage.token(&form).await.json();
        assert!(stage.verify(&foreign["access_token"]).await.is_ok());
        stage.proxy = ours.clone();
        assert!(stage.verify(&foreign["access_token"]).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn theft_of_refresh_tokens() {
    let stage = Stage::new().await;
    let (client, attacker) = (stage.client().await, stage.client().await);
    let stolen = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    assert_eq!(
        stage.refresh(&attacker, &stolen).await.error(),
        invalid_grant()
    );
    let next = stage.refresh(&client, &stolen).await.json();
    stage.tenant.time().advance(Duration::from_secs(61)).await;
    // The thief gets a token, and its place in the family is the client's: the client's next
    // refresh ends both.
    let of_thief = stage.refresh(&client, &stolen).await.json();
    for token in [&next["refresh_token"], &of_thief["refresh_token"]] {
        assert_eq!(stage.refresh(&client, token).await.error(), invalid_grant());
    }
    stage.tenant.time().advance(GRANT_CHECK).await;
    for tokens in [&next, &of_thief] {
        assert!(stage.verify(&tokens["access_token"]).await.is_err());
    }
    // A sign-in ends, however often it is refreshed.
    let most = |settings: EntraOAuthProxyBuilder| {
        settings.lifetimes(Lifetimes::default().session(2 * HOUR))
    };
    let stage = Stage::with(most).await;
    let client = stage.client().await;
    let mut token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    for _ in 0..2 {
        stage
            .tenant
            .time()
            .advance(HOUR - Duration::from_secs(60))
            .await;
        token = stage.refresh(&client, &token).await.json()["refresh_token"].clone();
    }
    stage.tenant.time().advance(Duration::from_secs(121)).await;
    assert_eq!(
        stage.refresh(&client, &token).await.error(),
        invalid_grant()
    );
}

#[tokio::test(start_paused = true)]
async fn compromise_of_the_store() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let at_entra = stage.tenant.token_endpoint().requests().pop().unwrap();
    assert_eq!(at_entra.parameter("grant_type"), Some("authorization_code"));
    for (key, value) in store.written() {
        let value = String::from_utf8_lossy(&value);
        for word in [
            "access_token",
            "refresh_token",
            "claims",
            "eyJ",
            "client.example",
        ] {
            assert!(!value.contains(word), "{key} has {word}");
        }
    }
    // An attacker who writes into the store can end sign-ins, but not create them.
    store.corrupts("grant/").await;
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.error(), invalid_grant());
}

#[tokio::test(start_paused = true)]
async fn compromise_of_a_key() {
    let (old, new) = (
        "q0vYc6kM2mVb4u0q8oLQ0mJwT7x1n5rG9sZ3aE6dHfI=",
        "Zk9dS2pX7vN1rB5tYw8uC3eA6hL0mQ4gJoRiTfKxVbU=",
    );
    let store = WatchedStore::default();
    let with = |settings: EntraOAuthProxyBuilder, keys: &str| {
        settings
            .keys(ProxyKeys::from_base64(keys).unwrap())
            .store(store.clone())
    };
    let mut stage = Stage::with(|settings| with(settings, old)).await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    // During a change of keys, both are valid.
    stage.proxy = with(settings(&stage.tenant), &format!("{new},{old}"))
        .build()
        .unwrap();
    assert!(stage.verify(&tokens["access_token"]).await.is_ok());
    let next = stage
        .refresh(&client, &tokens["refresh_token"])
        .await
        .json();
    assert!(stage.verify(&next["access_token"]).await.is_ok());
    // After the change, nothing made with the old key is valid.
    stage.proxy = with(settings(&stage.tenant), new).build().unwrap();
    assert!(stage.verify(&tokens["access_token"]).await.is_err());
    assert!(
        stage.verify(&next["access_token"]).await.is_ok(),
        "signed by the new one"
    );
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.error(), (401, "invalid_client".to_owned()));
    // Each key has one purpose, so a value for one endpoint is invalid at another.
    let client = stage.client().await;
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    for other in [&client.id, &code] {
        assert_eq!(
            stage.refresh(&client, &json!(other)).await.error(),
            invalid_grant()
        );
    }
    let mut browser = Browser::new(&stage);
    browser.get(&client.authorize(&[])).await;
    let form = [("consent", &*client.id), ("decision", "approve")];
    assert_eq!(
        browser.post("/consent", &form).await.status,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test(start_paused = true)]
async fn delay_of_offboarding() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    stage.tenant.people().disable("ada");
    stage
        .tenant
        .time()
        .advance(Duration::from_secs(56 * 60))
        .await;
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.error(), invalid_grant());
    stage.tenant.time().advance(GRANT_CHECK).await;
    assert!(stage.verify(&tokens["access_token"]).await.is_err());

    // Without a refresh, the access token's lifetime is the bound.
    let stage = Stage::new().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    stage.tenant.people().disable("ada");
    stage
        .tenant
        .time()
        .advance(HOUR + Duration::from_secs(301))
        .await;
    assert!(stage.verify(&tokens["access_token"]).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn access_across_tenants() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let foreign = stage
        .tenant
        .user("ada")
        .scope("read")
        .for_api(APP)
        .of_tenant(OTHER_TENANT);
    let foreign = foreign.mint();
    assert!(stage.verify(&json!(foreign)).await.is_err());
    let mut browser = Browser::new(&stage);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    let body = json!({ "token_type": "Bearer", "expires_in": 3_599, "access_token": foreign });
    let endpoint = stage.tenant.token_endpoint();
    endpoint.answer_with(200, "application/json", &body.to_string());
    let answered = browser.come_back(&callback).await.location();
    assert!(answered.contains("error=access_denied"), "{answered}");
    endpoint.recover();
    // Tenant and object id identify a user. A name that can be given to another user does not.
    let tokens = stage.sign_in(&client, "ada").await;
    let claims = claims(&tokens["access_token"]);
    assert_eq!(claims["tid"], stage.tenant.id());
    assert!(claims["oid"].is_string());
    for claim in ["email", "upn", "unique_name", "verified_primary_email"] {
        assert!(claims[claim].is_null(), "{claim}");
    }
}

#[tokio::test(start_paused = true)]
async fn skew_of_clocks() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    let tokens = stage.redeem(&client, &code).await;
    stage.tenant.time().jump_forward(Duration::from_secs(120));
    assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.text());
    let tokens = tokens.json();
    assert!(stage.verify(&tokens["access_token"]).await.is_ok());
    // After the jump back, the token is from the near future.
    stage.tenant.time().jump_back(Duration::from_secs(120));
    assert!(stage.verify(&tokens["access_token"]).await.is_ok());
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
    let mut browser = Browser::new(&stage);
    let page = browser.get(&client.authorize(&[])).await;
    stage.tenant.time().jump_back(Duration::from_secs(60));
    let at_entra = browser.answer(&page, "approve").await.onward();
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    assert!(
        browser
            .come_back(&callback)
            .await
            .location()
            .contains("code=")
    );
}
