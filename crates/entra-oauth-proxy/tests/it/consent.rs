//! Tests of the consent page: its content, its protection, and the decisions that count.

use http::{Method, StatusCode};
use url::Url;

use crate::support::{
    Browser, PUBLIC, REDIRECT, RESOURCE, Stage, application, encoded, parameter, resource_at,
    settings_of,
};
use crate::watched_store::WatchedStore;

#[tokio::test(start_paused = true)]
async fn the_page_says_who_asks_for_what_and_where_the_answer_goes() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let page = stage.get(&client.authorize(&[("scope", "write")])).await;
    let text = page.text();
    for shown in [
        "Test client",
        "not verified",
        "<dd class=\"host\">client.example</dd>",
        REDIRECT,
        RESOURCE,
        "<dd>read</dd>",
        "<dd>write</dd>",
        stage.tenant.id(),
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn cookies_belong_to_this_host_alone_and_to_no_script() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let page = browser.get(&client.authorize(&[])).await;
    let approved = browser.answer(&page, "approve").await;
    let mut cookies = page.cookies();
    cookies.extend(approved.cookies());
    // The secret of the page, again with the whole lifetime after the decision.
    assert_eq!(cookies.len(), 2, "{cookies:?}");
    assert_eq!(cookies[0], cookies[1]);
    for cookie in &cookies {
        let mut parts = cookie.split("; ");
        let (name, value) = parts.next().unwrap().split_once('=').unwrap();
        assert!(value.len() < 40);
        assert!(name.starts_with("__Host-"), "{cookie}");
        let mut attributes: Vec<_> = parts.collect();
        attributes.sort_unstable();
        assert_eq!(
            attributes,
            [
                "HttpOnly",
                "Max-Age=960",
                "Path=/",
                "SameSite=Lax",
                "Secure"
            ],
            "{cookie}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn without_tls_on_this_machine_cookies_are_plain_and_a_sign_in_works() {
    let local = "http://127.0.0.1:8080";
    let tenant = entra_dev_tenant::DevTenant::builder()
        .register(application().redirect_uri("http://127.0.0.1:8080/callback"))
        .start()
        .await
        .unwrap();
    let settings = settings_of(&tenant, resource_at("http://127.0.0.1:8080/mcp"));
    let proxy = settings.public_url(local).build().unwrap();
    let stage = Stage { tenant, proxy };
    let client = stage.client().await;
    let changes = [("resource", "http://127.0.0.1:8080/mcp")];
    let mut browser = Browser::new(&stage);
    let page = browser.get(&client.authorize(&changes)).await;
    let cookie = page.cookies().remove(0);
    assert!(
        !cookie.contains("__Host-") && !cookie.contains("Secure"),
        "{cookie}"
    );
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=960"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let at_entra = browser.answer(&page, "approve").await.onward();
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    let answered = browser.get(callback.strip_prefix(local).unwrap()).await;
    let answered: Url = answered.location().parse().unwrap();
    assert_eq!(parameter(&answered, "iss").as_deref(), Some(local));
    assert!(parameter(&answered, "code").is_some());
}

#[tokio::test(start_paused = true)]
async fn two_pages_in_one_browser_do_not_end_each_other() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    // A client may look at the URL before it opens the browser, so the page is fetched twice.
    let first = browser.get(&client.authorize(&[("state", "1")])).await;
    let second = browser.get(&client.authorize(&[("state", "2")])).await;
    let of_second = browser.answer(&second, "approve").await.onward();
    let of_first = browser.answer(&first, "approve").await.onward();
    for (at_entra, state) in [(of_first, "1"), (of_second, "2")] {
        let callback = stage.tenant.people().sign_in("ada", &at_entra);
        let answered: Url = browser
            .come_back(&callback)
            .await
            .location()
            .parse()
            .unwrap();
        assert_eq!(parameter(&answered, "state").as_deref(), Some(state));
        let code = parameter(&answered, "code").unwrap();
        assert_eq!(stage.redeem(&client, &code).await.status, StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_another_site_does_not_count() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    for headers in [
        &[("origin", "https://evil.example")][..],
        &[
            ("origin", "https://evil.example"),
            ("sec-fetch-site", "same-origin"),
        ],
        &[("origin", PUBLIC), ("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "null"), ("sec-fetch-site", "cross-site")],
        &[("origin", PUBLIC), ("origin", "https://evil.example")],
        &[("origin", "http://mcp.example.com")],
        &[("origin", "https://mcp.example.com.evil.example")],
    ] {
        for decision in ["approve", "deny"] {
            let mut browser = Browser::new(&stage);
            let page = browser.get(&client.authorize(&[])).await;
            let form = encoded(&[("consent", &*page.field("consent")), ("decision", decision)]);
            let mut headers = headers.to_vec();
            headers.push(("content-type", "application/x-www-form-urlencoded"));
            let reply = browser
                .send(Method::POST, "/consent", &headers, form.into())
                .await;
            assert_eq!(reply.status, StatusCode::FORBIDDEN, "{headers:?}");
            assert_eq!(reply.location(), "");
        }
    }
    // The headers of a browser for the proxy's own page, or none of them.
    for headers in [
        &[][..],
        &[("origin", PUBLIC)],
        &[("sec-fetch-site", "same-origin")],
    ] {
        let mut browser = Browser::new(&stage);
        let page = browser.get(&client.authorize(&[])).await;
        let form = encoded(&[
            ("consent", &*page.field("consent")),
            ("decision", "approve"),
        ]);
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/x-www-form-urlencoded"));
        let reply = browser
            .send(Method::POST, "/consent", &headers, form.into())
            .await;
        assert!(reply.onward().contains("/authorize?"), "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_the_pages_cookie_or_too_late_does_not_count() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let page = browser.get(&client.authorize(&[])).await;
    let mut other = Browser::new(&stage);
    assert_eq!(
        other.answer(&page, "approve").await.status,
        StatusCode::FORBIDDEN
    );
    let others_page = other.get(&client.authorize(&[])).await;
    assert_eq!(
        other.answer(&page, "approve").await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        browser.answer(&others_page, "approve").await.status,
        StatusCode::FORBIDDEN
    );
    // The other browser's cookie, under the name that the page looks for.
    let name = browser.cookies[0].0.clone();
    other.cookies[0].0 = name;
    assert_eq!(
        other.answer(&page, "approve").await.status,
        StatusCode::FORBIDDEN
    );

    let changed = format!("{}A", page.field("consent"));
    for consent in ["x", &changed] {
        let form = [("consent", consent), ("decision", "approve")];
        assert_eq!(
            browser.post("/consent", &form).await.status,
            StatusCode::FORBIDDEN
        );
    }
    let form = [
        ("consent", &*page.field("consent")),
        ("decision", "perhaps"),
    ];
    assert_eq!(
        browser.post("/consent", &form).await.status,
        StatusCode::BAD_REQUEST
    );
    stage
        .tenant
        .time()
        .advance(std::time::Duration::from_secs(901))
        .await;
    assert_eq!(
        browser.answer(&page, "approve").await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(stage.tenant.authorize_endpoint().hits(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_says_no_is_not_sent_to_entra_and_the_client_learns_it() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let page = browser.get(&client.authorize(&[])).await;
    let url: Url = browser
        .answer(&page, "deny")
        .await
        .onward()
        .parse()
        .unwrap();
    assert!(url.as_str().starts_with(&format!("{REDIRECT}?")));
    assert_eq!(parameter(&url, "error").as_deref(), Some("access_denied"));
    assert_eq!(
        parameter(&url, "state").as_deref(),
        Some("the client's state")
    );
    assert_eq!(parameter(&url, "iss").as_deref(), Some(PUBLIC));
    assert_eq!(stage.tenant.authorize_endpoint().hits(), 0);
    // The page leads no further. A second click on Cancel leads to the same denial.
    assert_eq!(browser.told(), ["declined"]);
    let again = browser.answer(&page, "approve").await;
    assert_eq!(again.status, StatusCode::FORBIDDEN);
    let again = browser.answer(&page, "deny").await;
    assert_eq!(again.onward(), url.as_str());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_before_a_person_has_come_back() {
    let store = WatchedStore::default();
    let stage = Stage::with(|settings| settings.store(store.clone())).await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let page = browser.get(&client.authorize(&[])).await;
    assert_eq!(store.calls(), 0);
    let at_entra = browser.answer(&page, "approve").await.onward();
    assert!(store.written().is_empty());
    Browser::new(&stage)
        .come_back(&stage.tenant.people().sign_in("ada", &at_entra))
        .await;
    assert!(store.written().is_empty());
}
