//! Tests of sessions: browsers that have signed in, and `prompt`.

use entra_dev_tenant::DevTenant;
use reqwest::Method;

use crate::browser::{
    Answer, Changes, READ, authorize_url, open, parameters, redeem, redirected_refusal, sign_in,
    tenant,
};
use crate::support::decoded;

/// A browser, which keeps only the tenant's cookie.
#[derive(Default)]
struct Browser {
    cookie: Option<String>,
}

impl Browser {
    async fn get(&mut self, url: &str) -> Answer {
        self.send(Method::GET, url, &[]).await
    }

    async fn post(&mut self, url: &str, form: &[(&str, &str)]) -> Answer {
        self.send(Method::POST, url, form).await
    }

    async fn authorize(&mut self, tenant: &DevTenant, changes: Changes<'_>) -> Answer {
        self.get(&authorize_url(tenant, changes)).await
    }

    /// Picks the user on the page of the usual request.
    async fn pick(&mut self, tenant: &DevTenant, user: &str) -> Answer {
        self.post(&authorize_url(tenant, &[]), &[("user", user)])
            .await
    }

    async fn send(&mut self, method: Method, url: &str, form: &[(&str, &str)]) -> Answer {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let own = self.cookie.as_deref().unwrap_or("other=x");
        let request = client.request(method, url).form(form);
        let answer = Answer::of(request.header("cookie", format!("theme=dark; {own}"))).await;
        if let Some(set) = answer.header("set-cookie") {
            let (cookie, attributes) = set.split_once("; ").unwrap();
            let is_kept = !attributes.contains("Max-Age=0");
            self.cookie = is_kept.then(|| cookie.to_owned());
        }
        answer
    }
}

async fn signed_in(tenant: &DevTenant, user: &str) -> Browser {
    let mut browser = Browser::default();
    assert_eq!(browser.pick(tenant, user).await.status, 302);
    assert!(browser.cookie.is_some());
    browser
}

/// Returns the name of the user for whom the response has a code.
async fn user(tenant: &DevTenant, answer: &Answer) -> String {
    assert_eq!(answer.status, 302, "{}", answer.body);
    let (status, tokens) = redeem(tenant, &parameters(&answer.location())["code"], &[]).await;
    assert_eq!(status, 200, "{tokens}");
    let claims = decoded(tokens["id_token"].as_str().unwrap(), 1);
    let name = claims["preferred_username"].as_str().unwrap();
    name.split('@').next().unwrap().to_owned()
}

fn is_page(answer: &Answer) -> bool {
    let is_page = answer.body.contains("name=\"user\" value=\"ada\"");
    assert_eq!(answer.header("location"), None);
    is_page && answer.status == 200
}

fn refusal(answer: &Answer) -> (String, u64) {
    redirected_refusal(&answer.location())
}

#[tokio::test]
async fn a_browser_that_has_signed_in_is_not_asked_again_and_no_other_is_signed_in() {
    let tenant = tenant().await;
    let mut browser = signed_in(&tenant, "grace").await;
    for prompt in [None, Some("none")] {
        let answer = browser.authorize(&tenant, &[("prompt", prompt)]).await;
        assert_eq!(user(&tenant, &answer).await, "grace");
        assert_eq!(parameters(&answer.location())["state"], "a state");
    }
    let mut other = Browser::default();
    assert!(is_page(&other.authorize(&tenant, &[]).await));
    assert_eq!(other.cookie, None);
}

#[tokio::test]
async fn a_cookie_is_random_kept_from_scripts_and_from_forms_of_other_sites() {
    let tenant = tenant().await;
    let mut values = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let answer = Browser::default().pick(&tenant, "ada").await;
        let cookie = answer.header("set-cookie").unwrap();
        let (value, attributes) = cookie.split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax");
        assert_eq!(value.strip_prefix("ESTSAUTH=").unwrap().len(), 43);
        values.insert(value.to_owned());
    }
    assert_eq!(values.len(), 3);
    for value in ["ada", "", "ada@contoso.com"] {
        let cookie = Some(format!("ESTSAUTH={value}"));
        let answer = Browser { cookie }.authorize(&tenant, &[]).await;
        assert!(is_page(&answer), "{value}");
    }
}

#[tokio::test]
async fn a_prompt_shows_the_page_despite_a_session() {
    let tenant = tenant().await;
    let mut browser = signed_in(&tenant, "ada").await;
    for prompt in ["login", "select_account", "consent"] {
        let prompt = [("prompt", Some(prompt))];
        let answer = browser.authorize(&tenant, &prompt).await;
        assert!(is_page(&answer), "{prompt:?}");
    }
    assert_eq!(
        user(&tenant, &browser.authorize(&tenant, &[]).await).await,
        "ada"
    );
}

#[tokio::test]
async fn a_hint_at_another_user_shows_the_page() {
    let tenant = tenant().await;
    let mut browser = signed_in(&tenant, "ada").await;
    for hint in ["ada", "Ada@contoso.com"] {
        let answer = browser
            .authorize(&tenant, &[("login_hint", Some(hint))])
            .await;
        assert_eq!(user(&tenant, &answer).await, "ada");
    }
    for hint in ["grace", "mallory"] {
        let hint = ("login_hint", Some(hint));
        assert!(is_page(&browser.authorize(&tenant, &[hint]).await));
        let silent = [hint, ("prompt", Some("none"))];
        let answer = browser.authorize(&tenant, &silent).await;
        assert_eq!(refusal(&answer), ("login_required".to_owned(), 50_058));
        let parameters = parameters(&answer.location());
        assert!(parameters["error_description"].contains("login hint"));
    }
}

#[tokio::test]
async fn the_page_is_shown_when_the_user_has_to_do_something() {
    let tenant = tenant().await;
    let people = tenant.people();
    let mut browser = signed_in(&tenant, "ada").await;
    let write = READ.replace("read", "write");
    assert!(is_page(
        &browser.authorize(&tenant, &[("scope", Some(&write))]).await
    ));

    people.require_interaction("ada");
    assert!(is_page(&browser.authorize(&tenant, &[]).await));
    browser.pick(&tenant, "ada").await;
    user(&tenant, &browser.authorize(&tenant, &[]).await).await;

    people.withdraw_consent(READ);
    assert!(is_page(&browser.authorize(&tenant, &[]).await));
    browser.pick(&tenant, "ada").await;
    people.disable("ada");
    assert!(is_page(&browser.authorize(&tenant, &[]).await));
    people.enable("ada");
    user(&tenant, &browser.authorize(&tenant, &[]).await).await;

    people.require_admin_approval(READ);
    assert!(is_page(&browser.authorize(&tenant, &[]).await));
    assert_eq!(refusal(&browser.pick(&tenant, "ada").await).1, 90_094);
    people.approve_as_admin(READ);
    assert!(is_page(&browser.authorize(&tenant, &[]).await));
    browser.pick(&tenant, "ada").await;
    user(&tenant, &browser.authorize(&tenant, &[]).await).await;
}

#[tokio::test]
async fn of_several_users_in_one_browser_the_last_one_counts() {
    let tenant = tenant().await;
    let mut browser = signed_in(&tenant, "ada").await;
    let first = browser.cookie.clone();
    browser.pick(&tenant, "grace").await;
    assert_eq!(
        user(&tenant, &browser.authorize(&tenant, &[]).await).await,
        "grace"
    );
    let mut old = Browser { cookie: first };
    assert!(
        is_page(&old.authorize(&tenant, &[]).await),
        "its session has ended"
    );
}

#[tokio::test]
async fn a_browser_that_signs_out_ends_its_own_session_and_no_other_browsers() {
    let tenant = tenant().await;
    let mut browser = signed_in(&tenant, "ada").await;
    let mut other = signed_in(&tenant, "ada").await;
    let cookie = browser.cookie.clone();
    let logout = format!("{}/{}/oauth2/v2.0/logout", tenant.url(), tenant.id());
    assert_eq!(browser.get(&logout).await.status, 200);
    assert_eq!(browser.cookie, None);
    let mut stolen = Browser { cookie };
    assert!(is_page(&stolen.authorize(&tenant, &[]).await));
    assert_eq!(
        user(&tenant, &other.authorize(&tenant, &[]).await).await,
        "ada"
    );
}

#[tokio::test]
async fn revoked_sessions_end_in_all_browsers() {
    let tenant = tenant().await;
    let mut browser = signed_in(&tenant, "ada").await;
    let mut other = signed_in(&tenant, "grace").await;
    tenant.people().revoke_sessions("ada");
    assert!(is_page(&browser.authorize(&tenant, &[]).await));
    assert_eq!(
        user(&tenant, &other.authorize(&tenant, &[]).await).await,
        "grace"
    );
}

#[tokio::test]
async fn a_started_session_serves_every_browser_without_one_of_its_own() {
    let tenant = tenant().await;
    let mut own = signed_in(&tenant, "ada").await;
    sign_in(&tenant, "grace", &[]).await;
    tenant.people().start_session("grace");
    let mut new = Browser::default();
    for prompt in [None, Some("none")] {
        let prompt = [("prompt", prompt)];
        let answer = new.authorize(&tenant, &prompt).await;
        assert_eq!(user(&tenant, &answer).await, "grace");
        let answer = own.authorize(&tenant, &prompt).await;
        assert_eq!(user(&tenant, &answer).await, "ada");
    }
    assert!(is_page(
        &new.authorize(&tenant, &[("prompt", Some("login"))]).await
    ));
    assert_eq!(user(&tenant, &new.pick(&tenant, "ada").await).await, "ada");
    assert_eq!(
        user(&tenant, &new.authorize(&tenant, &[]).await).await,
        "ada"
    );
}

#[tokio::test]
async fn a_sign_in_without_a_browser_leaves_no_session() {
    let tenant = tenant().await;
    let url = authorize_url(&tenant, &[]);
    let _ = tenant.people().sign_in("ada", &url);
    assert!(is_page(&open(&url).await));
}

#[tokio::test]
async fn who_does_not_get_in_has_no_session() {
    let tenant = tenant().await;
    let mut browser = Browser::default();
    let url = authorize_url(&tenant, &[]);
    browser.post(&url, &[("decline", "1")]).await;
    tenant.people().disable("ada");
    for user in ["mallory", "ada"] {
        assert_eq!(browser.pick(&tenant, user).await.status, 400);
    }
    let wrong = authorize_url(&tenant, &[("scope", Some("a\\b"))]);
    browser.post(&wrong, &[("user", "grace")]).await;
    assert_eq!(browser.cookie, None);
}
