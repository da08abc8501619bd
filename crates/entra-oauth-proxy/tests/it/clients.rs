//! Tests of clients: their authentication, the clients that the proxy knows, and the validity of
//! their ids over time.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entra_oauth_proxy::{Clients, EntraOAuthProxyBuilder, PreregisteredClient, ProxyKeys};
use http::StatusCode;
use serde_json::json;

use crate::support::{Browser, Client, REDIRECT, Reply, Stage, VERIFIER, post, settings};

const KEY: &str = "q0vYc6kM2mVb4u0q8oLQ0mJwT7x1n5rG9sZ3aE6dHfI=";
const LATER_KEY: &str = "Zk9dS2pX7vN1rB5tYw8uC3eA6hL0mQ4gJoRiTfKxVbU=";

fn keys(text: &str) -> ProxyKeys {
    ProxyKeys::from_base64(text).unwrap()
}

/// Redeems a code, with these changes to the form and these headers.
async fn redeemed(
    stage: &Stage,
    client: &Client,
    more: &[(&str, &str)],
    headers: &[(&str, &str)],
) -> Reply {
    let code = Browser::new(stage).code(client, "ada", &[]).await;
    let mut form = client.redemption(&code);
    for (name, value) in more {
        form.retain(|(other, _)| other != name);
        if !value.is_empty() {
            form.push((name, value));
        }
    }
    stage.send(post("/token", &form, headers)).await
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

async fn is_known(stage: &Stage, client: &Client) -> bool {
    stage.get(&client.authorize(&[])).await.status == StatusCode::OK
}

#[tokio::test(start_paused = true)]
async fn a_confidential_client_gets_a_secret_by_either_method_and_needs_it() {
    for method in ["client_secret_basic", "client_secret_post"] {
        let stage = Stage::new().await;
        let metadata = json!({ "redirect_uris": [REDIRECT], "token_endpoint_auth_method": method });
        let registered = stage.register(&metadata).await.json();
        assert_eq!(registered["token_endpoint_auth_method"], method);
        assert_eq!(registered["client_secret_expires_at"], 0);
        let client = stage.client_with(metadata).await;
        let secret = client.secret.clone().unwrap();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!(secret.len() >= 43 && secret.chars().all(is_plain));

        let wrong = format!("{}A", &secret[1..]);
        for secret in ["", &wrong, "x"] {
            let reply = redeemed(&stage, &client, &[("client_secret", secret)], &[]).await;
            assert_eq!(
                reply.error(),
                (401, "invalid_client".to_owned()),
                "{secret}"
            );
            assert!(reply.header("www-authenticate").starts_with("Basic"));
        }
        let others = stage.client_with(json!({
            "redirect_uris": [REDIRECT], "token_endpoint_auth_method": method,
        }));
        let others = others.await.secret.unwrap();
        let reply = redeemed(&stage, &client, &[("client_secret", &others)], &[]).await;
        assert_eq!(reply.error(), (401, "invalid_client".to_owned()));

        let in_form = redeemed(&stage, &client, &[("client_secret", &secret)], &[]).await;
        assert_eq!(in_form.status, StatusCode::OK, "{}", in_form.text());
        let headers = [("authorization", &*basic(&client.id, &secret))];
        for more in [&[][..], &[("client_id", "")]] {
            let in_header = redeemed(&stage, &client, more, &headers).await;
            assert_eq!(in_header.status, StatusCode::OK, "{}", in_header.text());
        }
        let both = redeemed(&stage, &client, &[("client_secret", &secret)], &headers).await;
        assert_eq!(both.error(), (400, "invalid_request".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn basic_credentials_are_taken_raw_and_form_encoded() {
    let secret = "p+ss w%rd/of=the&desk:";
    let client = PreregisteredClient::confidential("ops/desk+1", secret).redirect_uri(REDIRECT);
    let stage =
        Stage::with(|settings| settings.clients(Clients::default().preregistered(client))).await;
    let client = Client {
        id: "ops/desk+1".to_owned(),
        secret: Some(secret.to_owned()),
        redirect_uri: REDIRECT.to_owned(),
    };
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let (id, form_encoded): (String, String) = (encoded("ops/desk+1"), encoded(secret));
    for credentials in [basic("ops/desk+1", secret), basic(&id, &form_encoded)] {
        for more in [&[][..], &[("client_id", "")]] {
            let headers = [("authorization", &*credentials)];
            let reply = redeemed(&stage, &client, more, &headers).await;
            assert_eq!(
                reply.status,
                StatusCode::OK,
                "{credentials} {more:?} {}",
                reply.text()
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_that_are_none_are_an_invalid_client() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let other = stage.client().await;
    for credentials in ["Bearer abc", "Basic", "Basic %%%", "Basic YWJj", "abc"] {
        let reply = redeemed(&stage, &client, &[], &[("authorization", credentials)]).await;
        assert_eq!(
            reply.error(),
            (401, "invalid_client".to_owned()),
            "{credentials}"
        );
    }
    let own = basic(&client.id, "");
    let twice = [("authorization", &*own); 2];
    let reply = redeemed(&stage, &client, &[], &twice).await;
    assert_eq!(reply.error(), (401, "invalid_client".to_owned()));
    let another = [("authorization", &*basic(&other.id, ""))];
    let reply = redeemed(&stage, &client, &[], &another).await;
    assert_eq!(reply.error(), (400, "invalid_request".to_owned()));
    for id in ["", "x", &client.id[1..]] {
        let reply = redeemed(&stage, &client, &[("client_id", id)], &[]).await;
        assert_eq!(reply.error(), (401, "invalid_client".to_owned()), "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn registration_can_be_switched_off() {
    let fixed = PreregisteredClient::public("desk")
        .redirect_uri(REDIRECT)
        .name("The desk");
    let open = Stage::with(|settings| settings.keys(keys(KEY))).await;
    let document = "/.well-known/oauth-authorization-server";
    assert!(open.get(document).await.json()["registration_endpoint"].is_string());
    let registered = open.client().await;

    let closed = |settings: EntraOAuthProxyBuilder| {
        settings.keys(keys(KEY)).clients(
            Clients::default()
                .without_registration()
                .preregistered(fixed),
        )
    };
    let stage = Stage::with(closed).await;
    let reply = stage
        .register(&json!({ "redirect_uris": [REDIRECT] }))
        .await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert!(stage.get(document).await.json()["registration_endpoint"].is_null());
    assert!(!is_known(&stage, &registered).await);

    let desk = Client {
        id: "desk".to_owned(),
        secret: None,
        redirect_uri: REDIRECT.to_owned(),
    };
    let page = stage.get(&desk.authorize(&[])).await;
    assert!(page.text().contains("The desk"));
    assert!(!page.text().contains("not verified"));
    let tokens = stage.sign_in(&desk, "ada").await;
    assert!(stage.verify(&tokens["access_token"]).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_allow_list_bounds_where_answers_go() {
    let list = ["https://client.example", "http://localhost", "cursor:"];
    let stage = Stage::with(|settings| {
        settings
            .keys(keys(KEY))
            .clients(Clients::default().allowed_redirects(list))
    })
    .await;
    for (uri, is_allowed) in [
        ("https://client.example/any/path", true),
        ("http://localhost:5555/callback", true),
        ("cursor://anysphere.cursor-mcp/oauth/callback", true),
        ("https://client.example:8443/callback", false),
        ("https://client.example.evil.example/callback", false),
        ("https://evil.example/callback", false),
        ("http://127.0.0.1:5555/callback", false),
        ("vscode://host/callback", false),
    ] {
        let reply = stage.register(&json!({ "redirect_uris": [uri] })).await;
        assert_eq!(reply.status == StatusCode::CREATED, is_allowed, "{uri}");
    }
    // The list also applies to a client that registered before.
    let before = Stage::with(|settings| settings.keys(keys(KEY))).await;
    let client = before
        .client_with(json!({ "redirect_uris": ["https://evil.example/callback"] }))
        .await;
    assert!(is_known(&before, &client).await);
    let reply = stage.get(&client.authorize(&[])).await;
    assert_eq!(
        (reply.status, reply.location()),
        (StatusCode::BAD_REQUEST, String::new())
    );
    // The list also applies to a sign-in that was in progress when the list was set.
    let mut stage = before;
    let (at_entra, cookies) = {
        let mut browser = Browser::new(&stage);
        (browser.goes_to_entra(&client, &[]).await, browser.cookies)
    };
    let proxy = settings(&stage.tenant)
        .keys(keys(KEY))
        .clients(Clients::default().allowed_redirects(list));
    stage.proxy = proxy.build().unwrap();
    let mut browser = Browser::new(&stage);
    browser.cookies = cookies;
    let reply = browser
        .come_back(&stage.tenant.people().sign_in("ada", &at_entra))
        .await;
    assert_eq!(
        (reply.status, reply.location()),
        (StatusCode::BAD_REQUEST, String::new())
    );
    assert!(reply.text().contains("have changed"), "{}", reply.text());
}

#[tokio::test(start_paused = true)]
async fn an_id_of_another_issuer_or_of_other_keys_is_unknown() {
    let stage = Stage::with(|settings| settings.keys(keys(KEY))).await;
    let client = stage.client().await;
    assert!(is_known(&stage, &client).await);
    let of_other_keys = Stage::with(|settings| settings.keys(keys(LATER_KEY))).await;
    assert!(!is_known(&of_other_keys, &client).await);
    let elsewhere = |settings: EntraOAuthProxyBuilder| {
        settings
            .keys(keys(KEY))
            .public_url("https://other.example.com")
    };
    assert!(!is_known(&Stage::with(elsewhere).await, &client).await);
}

#[tokio::test(start_paused = true)]
async fn ids_and_secrets_outlive_a_restart_and_a_change_of_keys_until_theirs_is_gone() {
    let first = Stage::with(|settings| settings.keys(keys(KEY))).await;
    let metadata = json!({
        "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "client_secret_post",
    });
    let client = first.client_with(metadata).await;
    let secret = client.secret.clone().unwrap();
    let Stage { tenant, proxy } = first;
    drop(proxy);
    let mut stage = Stage {
        proxy: settings(&tenant).keys(keys(KEY)).build().unwrap(),
        tenant,
    };
    let both = format!("{LATER_KEY},{KEY}");
    for list in [KEY, &both] {
        stage.proxy = settings(&stage.tenant).keys(keys(list)).build().unwrap();
        let reply = redeemed(&stage, &client, &[("client_secret", &secret)], &[]).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    }
    stage.proxy = settings(&stage.tenant)
        .keys(keys(LATER_KEY))
        .build()
        .unwrap();
    assert!(!is_known(&stage, &client).await);
    let form = [
        ("grant_type", "authorization_code"),
        ("code", "x"),
        ("code_verifier", VERIFIER),
        ("redirect_uri", REDIRECT),
        ("client_id", &client.id),
        ("client_secret", &secret),
    ];
    assert_eq!(
        stage.token(&form).await.error(),
        (401, "invalid_client".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_secret_sends_none_or_an_empty_one() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    for (secret, status) in [("x", 401), ("", 200)] {
        let mut form = client.redemption(&code);
        form.push(("client_secret", secret));
        let reply = stage.token(&form).await;
        assert_eq!(reply.status.as_u16(), status, "{secret}: {}", reply.text());
    }
}

#[tokio::test(start_paused = true)]
async fn the_secret_of_a_preregistered_client_is_the_whole_of_it() {
    let secret = "0123456789abcdef";
    let desk = PreregisteredClient::confidential("desk", secret).redirect_uri(REDIRECT);
    let stage =
        Stage::with(|settings| settings.clients(Clients::default().preregistered(desk))).await;
    let client = Client {
        id: "desk".to_owned(),
        secret: None,
        redirect_uri: REDIRECT.to_owned(),
    };
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    for (sent, status) in [
        (&*format!("{secret}x"), 401),
        (&secret[1..], 401),
        (&secret[..15], 401),
        ("0123456789ABCDEF", 401),
        ("", 401),
        (secret, 200),
    ] {
        let mut form = client.redemption(&code);
        form.push(("client_secret", sent));
        let reply = stage.token(&form).await;
        assert_eq!(reply.status.as_u16(), status, "{sent}: {}", reply.text());
    }
}
