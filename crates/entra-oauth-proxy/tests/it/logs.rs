//! Tests of values that the log never contains, at any level and from any crate.

use std::time::Duration;

use entra_oauth_proxy::{
    Clients, EntraOAuthProxy, PreregisteredClient, ProxyKeys, Secret,
    store::{MemoryStore, StoreError},
};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use url::Url;

use crate::logbook::Logbook;
use crate::support::{
    Browser, Client, HOUR, REDIRECT, SECRET, Stage, VERIFIER, challenge, parameter, request,
    settings, tenant,
};

/// Name of a user, which is not part of another word.
const USER: &str = "hypatia";

async fn stage() -> Stage {
    let tenant = tenant().users([USER]).start().await.unwrap();
    let proxy = settings(&tenant).build().unwrap();
    Stage { tenant, proxy }
}

/// Advances the tenant's clock by an hour.
///
/// The clock of tokio is paused only meanwhile, because the test uses sockets.
async fn an_hour_passes(stage: &Stage) {
    tokio::time::pause();
    stage.tenant.time().advance(HOUR).await;
    tokio::time::resume();
}

/// Values that must not be in the log, with their names.
#[derive(Default)]
struct Secrets(Vec<(String, String)>);

impl Secrets {
    fn add(&mut self, name: &str, value: &str) {
        assert!(value.len() > 2, "{name} is {value:?}");
        self.0.push((name.to_owned(), value.to_owned()));
    }

    fn add_query(&mut self, of: &str, url: &str, names: &[&str]) {
        let url: Url = url.parse().unwrap();
        for name in names {
            self.add(&format!("{name} of {of}"), &parameter(&url, name).unwrap());
        }
    }

    fn add_tokens(&mut self, of: &str, tokens: &Value) {
        for name in ["access_token", "refresh_token"] {
            self.add(&format!("{name} of {of}"), tokens[name].as_str().unwrap());
        }
        let token = tokens["access_token"].as_str().unwrap();
        self.add("a signature", token.rsplit('.').next().unwrap());
        self.add("claims", token.split('.').nth(1).unwrap());
    }

    fn add_cookies(&mut self, browser: &Browser<'_>) {
        for (name, value) in &browser.cookies {
            self.add(name, value);
        }
    }

    #[track_caller]
    fn are_not_in(&self, log: &str) {
        for (name, value) in &self.0 {
            let encoded: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
            for text in [value, &encoded] {
                let line = log.lines().find(|line| line.contains(&**text));
                assert!(line.is_none(), "{name}: {line:?}");
            }
        }
    }
}

/// Signs a user in, adds all secret values to `secrets`, and returns the code and the tokens.
async fn signed_in(stage: &Stage, client: &Client, secrets: &mut Secrets) -> (String, Value) {
    let mut browser = Browser::new(stage);
    let page = browser.get(&client.authorize(&[])).await;
    secrets.add("the consent", &page.field("consent"));
    secrets.add_cookies(&browser);
    let at_entra = browser.answer(&page, "approve").await.onward();
    secrets.add_cookies(&browser);
    secrets.add_query(
        "our request",
        &at_entra,
        &["state", "nonce", "code_challenge"],
    );
    let callback = stage.tenant.people().sign_in(USER, &at_entra);
    secrets.add_query("Entra's answer", &callback, &["code"]);
    let answered = browser.come_back(&callback).await.location();
    secrets.add_query("our answer", &answered, &["code", "state"]);
    let code = parameter(&answered.parse().unwrap(), "code").unwrap();
    let asked = stage.tenant.token_endpoint().requests().pop().unwrap();
    secrets.add("our verifier", asked.parameter("code_verifier").unwrap());
    let mut form = client.redemption(&code);
    form.push(("client_secret", client.secret.as_deref().unwrap()));
    let reply = stage.token(&form).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    secrets.add_tokens("the code", &reply.json());
    (code, reply.json())
}

/// Checks the log of sign-ins and refusals for secrets and user names.
///
/// The requests use real sockets, because the HTTP client of the feature `reqwest` also logs.
#[tokio::test]
async fn no_secret_and_no_name_of_a_user_is_ever_logged() {
    let log = Logbook::begin();
    let mut secrets = Secrets::default();
    let stage = stage().await;
    let client = stage
        .client_with(json!({
            "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "client_secret_post",
            "client_name": "Test client",
        }))
        .await;
    let client_secret = client.secret.clone().unwrap();
    for (name, value) in [
        ("the client's id", &*client.id),
        ("the client's secret", &client_secret),
        ("the client's verifier", VERIFIER),
        ("the client's challenge", &challenge()),
        ("the application's secret", SECRET),
    ] {
        secrets.add(name, value);
    }
    let (code, tokens) = signed_in(&stage, &client, &mut secrets).await;
    let caller = stage.verify(&tokens["access_token"]).await.unwrap();
    secrets.add("the user's name", caller.name().unwrap());
    let claims = crate::support::claims(&tokens["access_token"]);
    secrets.add(
        "preferred_username",
        claims["preferred_username"].as_str().unwrap(),
    );
    secrets.add("jti", claims["jti"].as_str().unwrap());

    let refresh = async |token: &Value, secret: &str| {
        stage
            .token(&[
                ("grant_type", "refresh_token"),
                ("refresh_token", token.as_str().unwrap()),
                ("client_id", &client.id),
                ("client_secret", secret),
            ])
            .await
    };
    an_hour_passes(&stage).await;
    let refreshed = refresh(&tokens["refresh_token"], &client_secret)
        .await
        .json();
    secrets.add_tokens("the refresh", &refreshed);
    let asked = stage.tenant.token_endpoint().requests().pop().unwrap();
    secrets.add(
        "Entra's refresh token",
        asked.parameter("refresh_token").unwrap(),
    );

    // Refusals of every kind: a wrong secret, a reused token, a code used twice, invalid values, a
    // declined sign-in, an outage.
    secrets.add("a wrong secret", "a wrong client secret");
    refresh(&refreshed["refresh_token"], "a wrong client secret").await;
    an_hour_passes(&stage).await;
    stage.tenant.token_endpoint().fail_with(500);
    let reply = refresh(&refreshed["refresh_token"], &client_secret).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    stage.tenant.token_endpoint().recover();
    stage.tenant.time().jump_forward(Duration::from_secs(11));
    let next = refresh(&refreshed["refresh_token"], &client_secret).await;
    secrets.add_tokens("the next refresh", &next.json());
    let reply = refresh(&tokens["refresh_token"], &client_secret).await;
    assert_eq!(reply.error().1, "invalid_grant");
    stage.verify(&tokens["access_token"]).await.unwrap_err();

    let (code_again, _) = signed_in(&stage, &client, &mut secrets).await;
    stage.tenant.time().jump_forward(Duration::from_secs(11));
    for code in [&code_again, &code] {
        let mut form = client.redemption(code);
        form.push(("client_secret", &client_secret));
        assert_eq!(stage.token(&form).await.error().1, "invalid_grant");
    }
    let mut browser = Browser::new(&stage);
    let at_entra = browser
        .goes_to_entra(&client, &[("claims", "{\"a secret claim\":1}")])
        .await;
    secrets.add("claims", "a secret claim");
    secrets.add_cookies(&browser);
    let mut stranger = Browser::new(&stage);
    let callback = stage.tenant.people().sign_in(USER, &at_entra);
    secrets.add_query("a stolen answer", &callback, &["code", "state"]);
    stranger.come_back(&callback).await;
    stage.tenant.people().disable(USER);
    browser.come_back(&callback).await;
    stage.tenant.people().enable(USER);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    browser
        .come_back(&stage.tenant.people().decline(&at_entra))
        .await;
    let page = browser.get(&client.authorize(&[])).await;
    secrets.add("a consent that is denied", &page.field("consent"));
    browser.answer(&page, "deny").await;

    for value in ["a secret value", "a%0asecret%0avalue", "<secret>"] {
        secrets.add("garbage", value);
        // Redirect URIs, scopes, resources and types are no secrets, and the log has them.
        for name in ["client_id", "state", "code_challenge"] {
            stage.get(&client.authorize(&[(name, value)])).await;
        }
        let query = crate::support::encoded(&[("code", value), ("state", value)]);
        stage.get(&format!("/callback?{query}")).await;
        let body = json!({ "redirect_uris": [], "client_name": value }).to_string();
        stage
            .send(request(Method::POST, "/register", &[], body.into()))
            .await;
        for name in ["code", "code_verifier", "refresh_token", "client_id"] {
            let mut form = client.redemption("x");
            form.retain(|(other, _)| *other != name);
            form.push((name, value));
            stage.token(&form).await;
        }
        let basic = [("authorization", value.trim_matches('<'))];
        stage
            .send(crate::support::post("/token", &[], &basic))
            .await;
    }
    let text = log.text();
    assert!(text.contains("a user signed in") && text.contains("a code was used twice"));
    assert!(text.contains("TRACE"));
    secrets.are_not_in(&text);
}

#[tokio::test(start_paused = true)]
async fn what_is_logged_for_operators_says_which_client_and_which_sign_in() {
    let stage = stage().await;
    let client = stage.client().await;
    let log = Logbook::begin();
    stage.sign_in(&client, USER).await;
    let lines = log.lines("INFO");
    let line = |text: &str| {
        let found = lines.iter().find(|line| line.contains(text));
        found.unwrap_or_else(|| panic!("{text}: {lines:?}")).clone()
    };
    assert!(line("a user signed in").contains("client="));
    assert!(line("a user signed in").contains(stage.tenant.id()));
    assert!(line("a code was redeemed").contains("grant="));
    // None of these lines is a warning or an error.
    assert!(
        log.lines("WARN").is_empty() && log.lines("ERROR").is_empty(),
        "{}",
        log.text()
    );
}

#[tokio::test(start_paused = true)]
async fn debug_shows_no_secret() {
    let stage = stage().await;
    let key = "q0vYc6kM2mVb4u0q8oLQ0mJwT7x1n5rG9sZ3aE6dHfI=";
    let keys = ProxyKeys::from_base64(key).unwrap();
    let fixed =
        PreregisteredClient::confidential("desk", "the secret of the desk").redirect_uri(REDIRECT);
    let builder = EntraOAuthProxy::builder()
        .credential(Secret::new(SECRET))
        .keys(keys.clone())
        .clients(Clients::default().preregistered(fixed.clone()));
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, USER).await;
    let service = stage.proxy.service();
    let of_builder = format!("{builder:?}");
    let shown = format!(
        "{keys:?} {fixed:?} {of_builder} {:?} {service:?} {:?} {:?} {:?} {:?}",
        stage.proxy,
        stage.proxy.layer(),
        MemoryStore::new(),
        StoreError::new("down"),
        builder.build().unwrap_err(),
    );
    for secret in [
        key,
        &key[..43],
        "the secret of the desk",
        SECRET,
        &client.id,
        tokens["access_token"].as_str().unwrap(),
        tokens["refresh_token"].as_str().unwrap(),
    ] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
