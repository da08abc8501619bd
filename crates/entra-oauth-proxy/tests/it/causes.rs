//! Tests that a page has one cause, and that each cause has its page.

use std::collections::BTreeMap;

use entra_oauth_proxy::{Clients, ProxyKeys};
use http::StatusCode;
use serde_json::json;
use url::Url;

use crate::support::{
    Browser, MINUTE, PUBLIC, REDIRECT, Reply, Stage, encoded, parameter, post, settings,
};
use crate::told::title;

/// Titles by cause. Two causes with one title fail.
#[derive(Default)]
struct Causes(BTreeMap<String, &'static str>);

impl Causes {
    #[track_caller]
    fn add(&mut self, cause: &'static str, reply: &Reply, status: u16, expected: &str) {
        assert_eq!(
            (reply.status.as_u16(), title(reply)),
            (status, expected),
            "{cause}"
        );
        assert_eq!(reply.location(), "", "{cause}");
        let before = self.0.insert(expected.to_owned(), cause);
        assert!(
            before.is_none_or(|before| before == cause),
            "{expected}: {cause}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_return_from_entra_without_a_sign_in_is_told_what_it_is() {
    let stage = Stage::new().await;
    let tenant = "tenant=72f988bf-86f1-41af-91ab-2d7cd011db47";
    let mut causes = Causes::default();
    for (cause, query, status, title) in [
        (
            "granted",
            "admin_consent=True&T",
            200,
            "Permission for the organization",
        ),
        (
            "granted",
            "admin_consent=True&T&state=12345",
            200,
            "Permission for the organization",
        ),
        (
            "granted",
            "admin_consent=True&T&state=8f14e45f-ceea-467f-9575-2ad3b1b5a3d1",
            200,
            "Permission for the organization",
        ),
        (
            "granted",
            "admin_consent=true&T&state=8f14e45fceea467f95752ad3b1b5a3d1",
            200,
            "Permission for the organization",
        ),
        (
            "granted",
            "admin_consent=True&T&state=1.2.3",
            200,
            "Permission for the organization",
        ),
        (
            "granted",
            "admin_consent=True&T&state=YSBsb25nIHRleHQgb2YgYW4gYWRtaW5pc3RyYXRvcidzIHNjcmlwdCwgaW4gYmFzZTY0dXJs",
            200,
            "Permission for the organization",
        ),
        (
            "declined",
            "admin_consent=False&T",
            403,
            "The permission was not granted",
        ),
        (
            "declined",
            "error=access_denied&error_subcode=cancel&state=8f14e45f-ceea-467f-9575-2ad3b1b5a3d1",
            403,
            "The permission was not granted",
        ),
        (
            "declined",
            "error=permission_denied&admin_consent=True&T",
            403,
            "The permission was not granted",
        ),
        (
            "declined",
            "error=access_denied&error_subcode=cancel&state=12345",
            403,
            "The permission was not granted",
        ),
        (
            "declined",
            "error=access_denied",
            403,
            "The permission was not granted",
        ),
        (
            "an error",
            "error=invalid_client&error_description=AADSTS650051",
            400,
            "Microsoft reports an error and names no sign-in",
        ),
        ("opened", "", 400, "There is nothing to see at this address"),
        (
            "cut",
            "code=x",
            400,
            "The address of this page is incomplete",
        ),
        (
            "cut",
            "session_state=x",
            400,
            "The address of this page is incomplete",
        ),
        (
            "cut",
            "state=x",
            400,
            "The address of this page is incomplete",
        ),
        (
            "cut",
            "code=x&code=y&state=x",
            400,
            "The address of this page is incomplete",
        ),
        (
            "cut",
            "code=x&state=x&state=x",
            400,
            "The address of this page is incomplete",
        ),
        (
            "cut",
            "code=x&error=y",
            400,
            "The address of this page is incomplete",
        ),
        (
            "another server's",
            "code=x&state=12345",
            403,
            "This server does not know this sign-in",
        ),
    ] {
        let query = query
            .replace('T', tenant)
            .replace(&format!("{tenant}rue"), "True");
        let reply = stage.get(&format!("/callback?{query}")).await;
        causes.add(cause, &reply, status, title);
    }
    let reply = stage.get("/callback?admin_consent=True").await;
    for text in [
        "If Microsoft has just sent you here",
        "Nothing is connected yet",
        "opened this page yourself",
    ] {
        assert!(reply.text().contains(text), "{text}: {}", reply.text());
    }
}

#[tokio::test(start_paused = true)]
async fn each_cause_for_which_a_sign_in_stops_has_its_page() {
    let keys = ProxyKeys::from_base64("7wW6qQJqTgVd3o6m1z0kGk2rQ4cXnE9yB5fHhLpUsvA=").unwrap();
    let mut stage = Stage::with(|settings| settings.keys(keys.clone())).await;
    let client = stage.client().await;
    let mut causes = Causes::default();
    let (pages, returns, cookies) = {
        let mut browser = Browser::new(&stage);
        let page = browser.get(&client.authorize(&[])).await;
        let at_entra = browser.answer(&page, "approve").await.onward();
        let callback = stage.tenant.people().sign_in("ada", &at_entra);
        (page, callback, browser.cookies)
    };
    // Another browser.
    let mut stranger = Browser::new(&stage);
    let reply = stranger.come_back(&returns).await;
    causes.add(
        "no cookie",
        &reply,
        403,
        "This sign-in did not begin in this browser",
    );
    for decision in ["approve", "deny"] {
        let reply = stranger.answer(&pages, decision).await;
        let title = "This browser does not have the cookie of that page";
        causes.add("no cookie, form", &reply, 403, title);
    }
    // A form without its parts.
    let sealed = pages.field("consent");
    for form in [
        &[("consent", &*sealed)][..],
        &[("decision", "approve")],
        &[],
    ] {
        let reply = Browser::new(&stage).post("/consent", form).await;
        causes.add("no decision", &reply, 400, "Your answer did not arrive");
    }
    let form = encoded(&[("consent", &*sealed), ("decision", "approve")]);
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("sec-fetch-site", "cross-site"),
    ];
    let foreign = crate::support::request(http::Method::POST, "/consent", &headers, form.into());
    let reply = stage.send(foreign).await;
    causes.add(
        "another site",
        &reply,
        403,
        "Another site tried to answer for you",
    );
    // Other settings.
    let elsewhere = Clients::default().allowed_redirects(["https://elsewhere.example"]);
    let changed = settings(&stage.tenant)
        .keys(keys.clone())
        .clients(elsewhere);
    let before = std::mem::replace(&mut stage.proxy, changed.build().unwrap());
    {
        let mut browser = Browser::new(&stage);
        browser.cookies.clone_from(&cookies);
        for decision in ["approve", "deny"] {
            let reply = browser.answer(&pages, decision).await;
            causes.add(
                "settings",
                &reply,
                400,
                "This application can no longer connect",
            );
        }
        let reply = browser.come_back(&returns).await;
        causes.add(
            "settings",
            &reply,
            400,
            "This application can no longer connect",
        );
        let reply = browser.get(&client.authorize(&[])).await;
        causes.add(
            "settings, address",
            &reply,
            400,
            "The return address is no longer allowed here",
        );
    }
    // Other keys.
    stage.proxy = settings(&stage.tenant).build().unwrap();
    {
        let mut browser = Browser::new(&stage);
        browser.cookies.clone_from(&cookies);
        let reply = browser.answer(&pages, "approve").await;
        causes.add(
            "keys, form",
            &reply,
            403,
            "This server does not know that page",
        );
        let reply = browser.come_back(&returns).await;
        causes.add(
            "keys",
            &reply,
            403,
            "This server does not know this sign-in",
        );
        let reply = browser.get(&client.authorize(&[])).await;
        causes.add(
            "keys, client",
            &reply,
            400,
            "This application is not known here",
        );
    }
    stage.proxy = before;
    // Too late.
    stage.tenant.time().advance(16 * MINUTE).await;
    let mut browser = Browser::new(&stage);
    browser.cookies.clone_from(&cookies);
    let reply = browser.come_back(&returns).await;
    causes.add("late", &reply, 403, "This sign-in took too long");
    let reply = browser.answer(&pages, "approve").await;
    causes.add("late, form", &reply, 403, "Your answer came too late");
    // Over. What it was decides over the time.
    for (end, title) in [
        ("done", "This sign-in is already complete"),
        ("failed", "This sign-in has already ended"),
        ("declined", "You cancelled this sign-in"),
        (
            "pushed-out",
            "Too many sign-ins were in progress in this browser",
        ),
    ] {
        browser.cookies[0].1 = format!("1.{end}");
        let reply = browser.come_back(&returns).await;
        causes.add(end, &reply, 403, title);
        let reply = browser.answer(&pages, "approve").await;
        causes.add(end, &reply, 403, title);
    }
    assert_eq!(stage.tenant.token_endpoint().hits(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_that_failed_is_over_for_a_second_return() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    let declined = stage.tenant.people().decline(&at_entra);
    let told = browser.come_back(&declined).await;
    assert!(told.location().contains("error=access_denied"));
    assert_eq!(browser.told(), ["failed"]);
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    let again = browser.come_back(&callback).await;
    assert_eq!(title(&again), "This sign-in has already ended");
    assert_eq!(stage.tenant.token_endpoint().hits(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_registration_reads_what_it_can_do() {
    let stage = Stage::new().await;
    let closed = Stage::with(|settings| {
        let fixed = entra_oauth_proxy::PreregisteredClient::public("desk").redirect_uri(REDIRECT);
        settings.clients(
            Clients::default()
                .without_registration()
                .preregistered(fixed),
        )
    })
    .await;
    let document = "https://client.example/client.json";
    let mut causes = Causes::default();
    for (cause, stage, id, title) in [
        (
            "none",
            &stage,
            "",
            "The application's request does not name the application",
        ),
        (
            "document",
            &stage,
            document,
            "The application must register with this server",
        ),
        ("unknown", &stage, "x", "This application is not known here"),
        (
            "closed",
            &closed,
            "x",
            "This application is not registered here",
        ),
        (
            "closed",
            &closed,
            document,
            "This application is not registered here",
        ),
    ] {
        let path = format!("/authorize?{}", encoded(&[("client_id", id)]));
        let reply = stage.get(&path).await;
        causes.add(cause, &reply, 400, &title.replace('\'', "&#39;"));
    }
    const UNKNOWN: &str = "this client_id is not known here: register again, or remove this server \
                           from the application and add it again";
    for (stage, id, text) in [
        (
            &stage,
            document,
            "this server does not read client id metadata documents; register at its registration_endpoint",
        ),
        (&stage, "x", UNKNOWN),
        (&closed, document, UNKNOWN),
    ] {
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", id),
            ("code", "x"),
        ];
        let reply = stage.send(post("/token", &form, &[])).await;
        assert_eq!(reply.error(), (401, "invalid_client".to_owned()));
        assert_eq!(reply.json()["error_description"], json!(text));
    }
}

#[tokio::test(start_paused = true)]
async fn each_answer_of_entra_about_the_user_has_its_text() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut causes: BTreeMap<String, &str> = BTreeMap::new();
    for (cause, error, subcode, number) in [
        ("declined", "access_denied", "cancel", "65004"),
        ("declined", "access_denied", "", "65004"),
        ("declined", "consent_required", "cancel", "1"),
        ("approval", "access_denied", "", "90094"),
        ("approval", "consent_required", "", "90095"),
        ("assignment", "access_denied", "", "50105"),
        ("assignment", "interaction_required", "", "50105"),
        ("consent", "consent_required", "", "65001"),
        ("consent", "interaction_required", "", "65001"),
        ("interaction", "interaction_required", "", "50076"),
        ("no session", "login_required", "", "50058"),
        ("policy", "access_denied", "", "53003"),
        ("disabled", "access_denied", "", "50057"),
        ("denied", "access_denied", "", "no number"),
    ] {
        let mut browser = Browser::new(&stage);
        let at_entra: Url = browser.goes_to_entra(&client, &[]).await.parse().unwrap();
        let state = parameter(&at_entra, "state").unwrap();
        let query = encoded(&[
            ("error", error),
            ("error_subcode", subcode),
            ("error_description", &format!("AADSTS{number}: text")),
            ("state", &state),
        ]);
        let told = browser
            .come_back(&format!("{PUBLIC}/callback?{query}"))
            .await;
        assert_eq!(told.status, StatusCode::SEE_OTHER);
        let told: Url = told.location().parse().unwrap();
        assert_eq!(parameter(&told, "error").as_deref(), Some("access_denied"));
        let text = parameter(&told, "error_description").unwrap();
        let (text, _) = text.split_once("; reference ").unwrap();
        let before = *causes.entry(text.to_owned()).or_insert(cause);
        assert_eq!(before, cause, "{text}");
    }
    assert_eq!(causes.len(), 9, "{causes:?}");
    let page = include_str!("../../docs/clients.md");
    for text in causes.keys() {
        let begin = text.split("; an administrator").next().unwrap();
        let begin = begin.split("; the reason").next().unwrap();
        assert!(page.contains(begin), "{text}");
    }
}
