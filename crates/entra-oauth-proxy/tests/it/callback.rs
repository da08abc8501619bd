//! `GET /callback`: which returns from Entra are believed, and how a refusal of Entra's is told.

use http::StatusCode;
use serde_json::{Value, json};
use url::Url;

use crate::logbook::Logbook;
use crate::support::{
    APP, Browser, HOUR, PUBLIC, REDIRECT, Reply, SECRET, Stage, application, claims, parameter,
    settings,
};

#[track_caller]
fn is_page(reply: &Reply, status: StatusCode, case: &str) {
    assert_eq!(reply.status, status, "{case}: {}", reply.location());
    assert_eq!(
        reply.header("content-type"),
        "text/html; charset=utf-8",
        "{case}"
    );
    assert_eq!(reply.location(), "", "{case}");
}

/// The client is told of an error, in words that are not Entra's.
#[track_caller]
fn is_told(reply: &Reply, error: &str, case: &str) {
    assert_eq!(
        reply.status,
        StatusCode::SEE_OTHER,
        "{case}: {}",
        reply.text()
    );
    let url: Url = reply.location().parse().unwrap();
    assert!(
        url.as_str().starts_with(&format!("{REDIRECT}?")),
        "{case}: {url}"
    );
    assert_eq!(
        parameter(&url, "error").as_deref(),
        Some(error),
        "{case}: {url}"
    );
    assert_eq!(
        parameter(&url, "state").as_deref(),
        Some("the client's state"),
        "{case}"
    );
    assert_eq!(parameter(&url, "iss").as_deref(), Some(PUBLIC), "{case}");
    assert_eq!(parameter(&url, "code"), None, "{case}");
    let description = parameter(&url, "error_description").unwrap();
    assert!(
        !description.contains("AADSTS") && !description.contains("Trace"),
        "{description}"
    );
}

/// A sign-in whose code Entra's token endpoint answers with the fault that `fail` sets.
async fn failed(stage: &Stage, fail: impl FnOnce(&Stage)) -> Reply {
    let client = stage.client().await;
    let mut browser = Browser::new(stage);
    let at_entra = browser.to_entra(&client, &[]).await;
    let callback = stage.tenant.signs_in("ada", &at_entra);
    fail(stage);
    browser.come_back(&callback).await
}

/// What Entra's token endpoint answered to the only sign-in of another stage, to be changed.
fn answer(access_token: &str, id_token: Option<&str>) -> Value {
    json!({
        "token_type": "Bearer",
        "scope": format!("api://{APP}/read"),
        "expires_in": 3_599,
        "access_token": access_token,
        "refresh_token": "0.AAAA",
        "id_token": id_token,
    })
}

fn nonce_of(stage: &Stage) -> String {
    let asked = stage.tenant.authorize_endpoint().requests().pop().unwrap();
    asked.parameter("nonce").unwrap().to_owned()
}

fn answers(stage: &Stage, access_token: &str, id_token: Option<&str>) {
    let body = answer(access_token, id_token).to_string();
    stage
        .tenant
        .token_endpoint()
        .answers_with(200, "application/json", &body);
}

#[tokio::test(start_paused = true)]
async fn only_the_browser_in_which_it_began_ends_a_sign_in() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let at_entra = browser.to_entra(&client, &[]).await;
    let callback = stage.tenant.signs_in("ada", &at_entra);

    let without = Browser::new(&stage).come_back(&callback).await;
    is_page(&without, StatusCode::FORBIDDEN, "without a cookie");
    let mut other = Browser::new(&stage);
    other.to_entra(&client, &[]).await;
    is_page(
        &other.come_back(&callback).await,
        StatusCode::FORBIDDEN,
        "with another's",
    );
    // The other's cookie under the name that is looked for.
    other.cookies[0].0.clone_from(&browser.cookies[0].0);
    is_page(
        &other.come_back(&callback).await,
        StatusCode::FORBIDDEN,
        "renamed",
    );
    // The right one beside one that somebody else set by its name.
    other.cookies.push(browser.cookies[0].clone());
    is_page(
        &other.come_back(&callback).await,
        StatusCode::FORBIDDEN,
        "twice",
    );
    assert_eq!(stage.tenant.token_endpoint().hits(), 0);
    assert!(
        browser
            .come_back(&callback)
            .await
            .location()
            .contains("code=")
    );
}

#[tokio::test(start_paused = true)]
async fn a_return_without_the_state_that_was_sent_is_a_page() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let at_entra: Url = browser.to_entra(&client, &[]).await.parse().unwrap();
    let state = parameter(&at_entra, "state").unwrap();
    for path in [
        "/callback",
        "/callback?code=x",
        "/callback?code=x&state=",
        "/callback?code=x&state=y",
        "/callback?error=access_denied",
        &format!("/callback?code=x&state={state}&state={state}"),
        &format!("/callback?code=x&state={}", &state[1..]),
        &format!("/callback?code=x&state={state}A"),
    ] {
        is_page(&browser.get(path).await, StatusCode::FORBIDDEN, path);
    }
    assert_eq!(stage.tenant.token_endpoint().hits(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_is_over_after_a_quarter_of_an_hour() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    for (seconds, is_good) in [(899, true), (901, false)] {
        let mut browser = Browser::new(&stage);
        let at_entra = browser.to_entra(&client, &[]).await;
        stage
            .tenant
            .advance(std::time::Duration::from_secs(seconds))
            .await;
        let callback = stage.tenant.signs_in("ada", &at_entra);
        let reply = browser.come_back(&callback).await;
        assert_eq!(reply.status == StatusCode::SEE_OTHER, is_good, "{seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_return_is_a_page_and_entra_is_not_asked_again() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let at_entra = browser.to_entra(&client, &[]).await;
    let callback = stage.tenant.signs_in("ada", &at_entra);
    // As a browser that sends the request twice at once.
    let mut twin = Browser::new(&stage);
    twin.cookies.clone_from(&browser.cookies);
    let answered: Url = browser
        .come_back(&callback)
        .await
        .location()
        .parse()
        .unwrap();
    is_page(
        &twin.come_back(&callback).await,
        StatusCode::BAD_REQUEST,
        "the same cookie",
    );
    is_page(
        &browser.come_back(&callback).await,
        StatusCode::FORBIDDEN,
        "the cookie is gone",
    );
    assert_eq!(stage.tenant.token_endpoint().hits(), 1);
    // And it takes nothing from the first.
    let code = parameter(&answered, "code").unwrap();
    assert_eq!(stage.redeem(&client, &code).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn codes_that_are_swapped_between_two_sign_ins_come_to_nothing() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browsers = [Browser::new(&stage), Browser::new(&stage)];
    let mut returns: Vec<Url> = Vec::new();
    for (browser, user) in browsers.iter_mut().zip(["ada", "grace"]) {
        let at_entra = browser.to_entra(&client, &[]).await;
        returns.push(stage.tenant.signs_in(user, &at_entra).parse().unwrap());
    }
    let codes: Vec<_> = returns
        .iter()
        .map(|url| parameter(url, "code").unwrap())
        .collect();
    for (index, browser) in browsers.iter_mut().enumerate() {
        let state = parameter(&returns[index], "state").unwrap();
        let path = format!("/callback?code={}&state={state}", codes[1 - index]);
        let reply = browser.get(&path).await;
        let url: Url = reply.location().parse().unwrap();
        assert!(parameter(&url, "error").is_some(), "{url}");
        assert_eq!(parameter(&url, "code"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_that_are_not_of_this_sign_in_are_refused_and_nothing_is_issued() {
    let (other_app, other_tenant) = (
        "11111111-2222-4333-8444-555555555555",
        "99999999-2222-4333-8444-555555555555",
    );
    type Tokens = (String, Option<String>);
    type Make = Box<dyn Fn(&Stage) -> Tokens>;
    let access = |stage: &Stage, user: &str| {
        stage
            .tenant
            .user(user)
            .scope("read")
            .for_api(APP)
            .client(APP)
            .mint()
    };
    let id = |stage: &Stage, user: &str, nonce: &str| {
        stage
            .tenant
            .id_token(user)
            .for_api(APP)
            .claim("nonce", nonce)
            .mint()
    };
    let good: Make = Box::new(move |s| (access(s, "ada"), Some(id(s, "ada", &nonce_of(s)))));
    let cases: Vec<(&str, &str, Make)> = vec![
        (
            "another nonce",
            "server_error",
            Box::new(move |s| (access(s, "ada"), Some(id(s, "ada", "other")))),
        ),
        (
            "no nonce",
            "server_error",
            Box::new(move |s| {
                let id = s
                    .tenant
                    .id_token("ada")
                    .for_api(APP)
                    .without_claim("nonce")
                    .mint();
                (access(s, "ada"), Some(id))
            }),
        ),
        (
            "no id token",
            "server_error",
            Box::new(move |s| (access(s, "ada"), None)),
        ),
        (
            "an id token that is none",
            "server_error",
            Box::new(move |s| (access(s, "ada"), Some("x".to_owned()))),
        ),
        (
            "an id token of another user",
            "server_error",
            Box::new(move |s| (access(s, "ada"), Some(id(s, "grace", &nonce_of(s))))),
        ),
        (
            "an id token for another application",
            "server_error",
            Box::new(move |s| {
                let id = s.tenant.id_token("ada").for_api(other_app);
                (
                    access(s, "ada"),
                    Some(id.claim("nonce", nonce_of(s)).mint()),
                )
            }),
        ),
        (
            "an access token of Graph",
            "server_error",
            Box::new(move |s| {
                (
                    s.tenant.graph_token("ada").mint(),
                    Some(id(s, "ada", &nonce_of(s))),
                )
            }),
        ),
        (
            "an access token for another API",
            "server_error",
            Box::new(move |s| {
                let token = s.tenant.user("ada").scope("read").for_api(other_app).mint();
                (token, Some(id(s, "ada", &nonce_of(s))))
            }),
        ),
        (
            "a v1 token",
            "server_error",
            Box::new(move |s| {
                let token = s.tenant.user("ada").scope("read").for_api(APP).v1().mint();
                (token, Some(id(s, "ada", &nonce_of(s))))
            }),
        ),
        (
            "an access token that is not signed",
            "server_error",
            Box::new(move |s| {
                let token = s
                    .tenant
                    .user("ada")
                    .scope("read")
                    .for_api(APP)
                    .bad_signature()
                    .mint();
                (token, Some(id(s, "ada", &nonce_of(s))))
            }),
        ),
        (
            "an id token in place of the access token",
            "server_error",
            Box::new(move |s| {
                let id = id(s, "ada", &nonce_of(s));
                (id.clone(), Some(id))
            }),
        ),
        (
            "an application's token",
            "server_error",
            Box::new(move |s| {
                let token = s.tenant.app(APP).role("read").for_api(APP).mint();
                (token, Some(id(s, "ada", &nonce_of(s))))
            }),
        ),
        (
            "a user of another tenant",
            "access_denied",
            Box::new(move |s| {
                let token = s
                    .tenant
                    .user("ada")
                    .scope("read")
                    .for_api(APP)
                    .of_tenant(other_tenant);
                (token.mint(), Some(id(s, "ada", &nonce_of(s))))
            }),
        ),
        (
            "a user without the required scope",
            "access_denied",
            Box::new(move |s| {
                let token = s.tenant.user("ada").scope("write").for_api(APP).mint();
                (token, Some(id(s, "ada", &nonce_of(s))))
            }),
        ),
    ];
    for (case, error, make) in cases {
        let stage = Stage::new().await;
        let reply = failed(&stage, |stage| {
            let (access_token, id_token) = make(stage);
            answers(stage, &access_token, id_token.as_deref());
        })
        .await;
        is_told(&reply, error, case);
    }
    // The same by which nothing is wrong.
    let stage = Stage::new().await;
    let reply = failed(&stage, |stage| {
        let (access_token, id_token) = good(stage);
        answers(stage, &access_token, id_token.as_deref());
    })
    .await;
    assert!(reply.location().contains("code="), "{}", reply.location());
}

#[tokio::test(start_paused = true)]
async fn guests_are_denied_where_that_is_set() {
    let stage = Stage::with(|settings| settings.auth(|auth| auth.refuse_guests())).await;
    let reply = failed(&stage, |stage| {
        let token = stage
            .tenant
            .user("ada")
            .guest()
            .scope("read")
            .for_api(APP)
            .mint();
        let id = stage
            .tenant
            .id_token("ada")
            .for_api(APP)
            .claim("nonce", nonce_of(stage));
        answers(stage, &token, Some(&id.mint()));
    })
    .await;
    is_told(&reply, "access_denied", "a guest");
}

#[tokio::test(start_paused = true)]
async fn an_issuer_in_the_return_must_be_that_of_the_tokens() {
    for (issuer, is_good) in [
        ("ours", true),
        ("https://login.microsoftonline.com/common/v2.0", false),
        ("https://evil.example", false),
    ] {
        let stage = Stage::new().await;
        let client = stage.client().await;
        let mut browser = Browser::new(&stage);
        let callback = {
            let at_entra = browser.to_entra(&client, &[]).await;
            stage.tenant.signs_in("ada", &at_entra)
        };
        let issuer = match issuer {
            "ours" => {
                let token = stage.tenant.user("ada").for_api(APP).mint();
                claims(&json!(token))["iss"].as_str().unwrap().to_owned()
            }
            other => other.to_owned(),
        };
        let reply = browser.come_back(&format!("{callback}&iss={issuer}")).await;
        assert_eq!(reply.location().contains("code="), is_good, "{issuer}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_entra_says_at_its_page_is_told_in_words_of_oauth() {
    for (error, subcode, number, told) in [
        ("access_denied", "cancel", "65004", "access_denied"),
        ("access_denied", "", "90094", "access_denied"),
        ("consent_required", "", "65001", "access_denied"),
        ("interaction_required", "", "50076", "access_denied"),
        ("invalid_scope", "", "70011", "server_error"),
        ("invalid_resource", "", "500011", "server_error"),
        ("invalid_target", "", "9010010", "server_error"),
        ("invalid_client", "", "650053", "server_error"),
        ("unauthorized_client", "", "700016", "server_error"),
        ("server_error", "", "90033", "temporarily_unavailable"),
        (
            "temporarily_unavailable",
            "",
            "90033",
            "temporarily_unavailable",
        ),
        ("what_nobody_knows", "", "1", "server_error"),
    ] {
        let stage = Stage::new().await;
        let client = stage.client().await;
        let mut browser = Browser::new(&stage);
        let at_entra: Url = browser.to_entra(&client, &[]).await.parse().unwrap();
        let mut url: Url = format!("{PUBLIC}/callback").parse().unwrap();
        url.query_pairs_mut()
            .append_pair("error", error)
            .append_pair(
                "error_description",
                &format!("AADSTS{number}: ada@x. Trace ID: 1"),
            )
            .append_pair("error_subcode", subcode)
            .append_pair("state", &parameter(&at_entra, "state").unwrap());
        let log = Logbook::begin();
        let reply = browser.come_back(url.as_str()).await;
        is_told(&reply, told, error);
        assert!(browser.cookies.is_empty());
        let said = log.lines("WARN").join("\n");
        assert!(said.contains(&format!("AADSTS{number}")), "{said}");
        // Which permission it was about.
        assert!(said.contains("scopes=\"read\""), "{said}");
        assert_eq!(
            log.lines("ERROR").is_empty(),
            told != "server_error",
            "{error}"
        );
        assert!(!log.text().contains("ada@x"), "{}", log.text());
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_who_declines_or_needs_an_administrator_is_denied() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let at_entra = browser.to_entra(&client, &[]).await;
    let reply = browser.come_back(&stage.tenant.declines(&at_entra)).await;
    is_told(&reply, "access_denied", "declined");
    stage
        .tenant
        .requires_admin_approval(&format!("api://{APP}/read"));
    let at_entra = browser.to_entra(&client, &[]).await;
    let reply = browser
        .come_back(&stage.tenant.signs_in("ada", &at_entra))
        .await;
    is_told(&reply, "access_denied", "admin approval");
    assert_eq!(stage.tenant.token_endpoint().hits(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_entra_says_to_the_code_is_told_in_words_of_oauth() {
    type Fail = fn(&Stage);
    let cases: [(&str, &str, Fail); 10] = [
        ("consent is gone", "access_denied", |s| {
            s.tenant.withdraws_consent(&format!("api://{APP}/read"))
        }),
        ("disabled", "access_denied", |s| {
            s.tenant.disable_user("ada")
        }),
        ("throttled", "temporarily_unavailable", |s| {
            s.tenant.token_endpoint().throttles(429, "7");
        }),
        ("failing", "temporarily_unavailable", |s| {
            s.tenant.token_endpoint().fails_with(500);
        }),
        ("unavailable", "temporarily_unavailable", |s| {
            s.tenant.token_endpoint().throttles(503, "120");
        }),
        ("hanging", "temporarily_unavailable", |s| {
            s.tenant.token_endpoint().hangs();
        }),
        ("a page", "temporarily_unavailable", |s| {
            s.tenant.token_endpoint().answers_html();
        }),
        ("half an answer", "temporarily_unavailable", |s| {
            s.tenant.token_endpoint().truncates();
        }),
        ("down", "temporarily_unavailable", |s| s.tenant.goes_down()),
        ("an unknown scope", "server_error", |s| {
            let body = r#"{"error":"invalid_scope","error_description":"AADSTS70011: x"}"#;
            s.tenant
                .token_endpoint()
                .answers_with(400, "application/json", body);
        }),
    ];
    for (case, told, fail) in cases {
        let stage = Stage::new().await;
        is_told(&failed(&stage, fail).await, told, case);
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_secret_is_ours_to_know_and_never_an_invalid_client() {
    let tenant = entra_dev_tenant::DevTenant::builder()
        .register(
            entra_dev_tenant::AppRegistration::new(APP)
                .expired_secret(SECRET)
                .redirect_uri("https://mcp.example.com/callback")
                .scope("read"),
        )
        .start()
        .await
        .unwrap();
    let proxy = settings(&tenant).optional_scopes(["x"; 0]).build().unwrap();
    let stage = Stage { tenant, proxy };
    let log = Logbook::begin();
    let reply = failed(&stage, |_| {}).await;
    is_told(&reply, "server_error", "an expired secret");
    let said = log.lines("ERROR").join("\n");
    assert!(said.contains("7000222"), "{said}");
    assert!(!log.text().contains(SECRET));
}

#[tokio::test(start_paused = true)]
async fn an_app_registration_with_v1_tokens_is_told_to_the_operator_with_the_remedy() {
    let tenant = entra_dev_tenant::DevTenant::builder()
        .register(application().v1_tokens())
        .start()
        .await
        .unwrap();
    let proxy = settings(&tenant).build().unwrap();
    let stage = Stage { tenant, proxy };
    let log = Logbook::begin();
    is_told(&failed(&stage, |_| {}).await, "server_error", "v1 tokens");
    let said = log.lines("ERROR").join("\n");
    assert!(said.contains("requestedAccessTokenVersion"), "{said}");
}

/// The claims that a request to Entra has.
fn demanded(at_entra: &str) -> Option<Value> {
    let at_entra: Url = at_entra.parse().unwrap();
    let claims = parameter(&at_entra, "claims")?;
    let claims: Value = serde_json::from_str(&claims).unwrap();
    assert!(claims.is_object());
    Some(claims)
}

#[tokio::test(start_paused = true)]
async fn what_conditional_access_demands_is_asked_of_the_same_browser_once() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    for demands_again in [false, true] {
        let mut browser = Browser::new(&stage);
        let first = browser.to_entra(&client, &[]).await;
        assert_eq!(demanded(&first), None);
        let callback = stage.tenant.signs_in("ada", &first);
        stage.tenant.requires_interaction("ada");
        let again = browser.come_back(&callback).await.location();
        assert!(demanded(&again).is_some(), "{again}");
        for secret in ["state", "nonce", "code_challenge"] {
            let of = |url: &str| parameter(&url.parse().unwrap(), secret).unwrap();
            assert_ne!(of(&first), of(&again), "{secret}");
        }
        let callback = stage.tenant.signs_in("ada", &again);
        if demands_again {
            stage.tenant.requires_interaction("ada");
        }
        let reply = browser.come_back(&callback).await;
        match demands_again {
            true => is_told(&reply, "access_denied", "demanded twice"),
            false => assert!(reply.location().contains("code="), "{}", reply.location()),
        }
        assert!(browser.cookies.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_conditional_access_demands_at_a_refresh_is_asked_until_that_user_signs_in() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    stage.tenant.advance(HOUR).await;
    stage.tenant.requires_interaction("ada");
    let refused = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refused.error(), (400, "invalid_grant".to_owned()));

    let other = stage.client().await;
    for (client, user, is_demanded) in [
        (&other, "ada", false),
        (&client, "grace", true),
        (&client, "ada", true),
        (&client, "ada", false),
    ] {
        let mut browser = Browser::new(&stage);
        let at_entra = browser.to_entra(client, &[]).await;
        assert_eq!(demanded(&at_entra).is_some(), is_demanded, "{user}");
        let callback = stage.tenant.signs_in(user, &at_entra);
        let reply = browser.come_back(&callback).await;
        assert!(reply.location().contains("code="), "{}", reply.location());
    }
}
