//! Tests of `GET /callback`: the returns from Entra that the proxy accepts.

use http::StatusCode;
use url::Url;

use crate::support::{Browser, PUBLIC, REDIRECT, Reply, Stage, parameter};

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

/// Checks that the client receives this error by redirect, with a description that is not Entra's.
#[track_caller]
pub(crate) fn is_told(reply: &Reply, error: &str, case: &str) {
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

/// Runs a sign-in in which Entra's token endpoint fails as `fail` configures, and returns the
/// response.
pub(crate) async fn failed(stage: &Stage, fail: impl FnOnce(&Stage)) -> Reply {
    let client = stage.client().await;
    let mut browser = Browser::new(stage);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    fail(stage);
    browser.come_back(&callback).await
}

#[tokio::test(start_paused = true)]
async fn only_the_browser_in_which_it_began_ends_a_sign_in() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    let callback = stage.tenant.people().sign_in("ada", &at_entra);

    let without = Browser::new(&stage).come_back(&callback).await;
    is_page(&without, StatusCode::FORBIDDEN, "without a cookie");
    let mut other = Browser::new(&stage);
    other.goes_to_entra(&client, &[]).await;
    is_page(
        &other.come_back(&callback).await,
        StatusCode::FORBIDDEN,
        "with another's",
    );
    // The other browser's cookie, under the name that the proxy looks for.
    other.cookies[0].0.clone_from(&browser.cookies[0].0);
    is_page(
        &other.come_back(&callback).await,
        StatusCode::FORBIDDEN,
        "renamed",
    );
    // The right cookie, next to one that another party set under the same name.
    other.cookies.push(browser.cookies[0].clone());
    is_page(
        &other.come_back(&callback).await,
        StatusCode::FORBIDDEN,
        "twice",
    );
    // The order makes no difference.
    other.cookies.swap(0, 1);
    is_page(
        &other.come_back(&callback).await,
        StatusCode::FORBIDDEN,
        "twice, the right one first",
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
    let at_entra: Url = browser.goes_to_entra(&client, &[]).await.parse().unwrap();
    let state = parameter(&at_entra, "state").unwrap();
    for (path, status) in [
        ("", StatusCode::BAD_REQUEST),
        ("code=x", StatusCode::BAD_REQUEST),
        ("code=x&state=", StatusCode::BAD_REQUEST),
        ("code=x&state=y", StatusCode::FORBIDDEN),
        ("error=access_denied", StatusCode::FORBIDDEN),
        (
            &format!("code=x&state={state}&state={state}"),
            StatusCode::BAD_REQUEST,
        ),
        (
            &format!("code=x&state={}", &state[1..]),
            StatusCode::FORBIDDEN,
        ),
        (&format!("code=x&state={state}A"), StatusCode::FORBIDDEN),
    ] {
        let reply = browser.get(&format!("/callback?{path}")).await;
        is_page(&reply, status, path);
    }
    assert_eq!(stage.tenant.token_endpoint().hits(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_is_over_after_a_quarter_of_an_hour() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    for (seconds, is_good) in [(899, true), (901, false)] {
        let mut browser = Browser::new(&stage);
        let at_entra = browser.goes_to_entra(&client, &[]).await;
        stage
            .tenant
            .time()
            .advance(std::time::Duration::from_secs(seconds))
            .await;
        let callback = stage.tenant.people().sign_in("ada", &at_entra);
        let reply = browser.come_back(&callback).await;
        assert_eq!(reply.status == StatusCode::SEE_OTHER, is_good, "{seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_return_that_is_repeated_gets_the_same_answer_and_entra_is_asked_once() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    // The twin is the same browser, which received no response and sends the request again.
    let mut twin = Browser::new(&stage);
    twin.cookies.clone_from(&browser.cookies);
    let answered: Url = browser
        .come_back(&callback)
        .await
        .location()
        .parse()
        .unwrap();
    let again = twin.come_back(&callback).await;
    assert_eq!(again.location(), answered.as_str(), "the same cookie");
    is_page(
        &browser.come_back(&callback).await,
        StatusCode::FORBIDDEN,
        "the cookie is gone",
    );
    assert_eq!(stage.tenant.token_endpoint().hits(), 1);
    // The repetition leaves the first response's code valid.
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
        let at_entra = browser.goes_to_entra(&client, &[]).await;
        returns.push(
            stage
                .tenant
                .people()
                .sign_in(user, &at_entra)
                .parse()
                .unwrap(),
        );
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
