//! Tests of the sign-in page and of its responses.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::browser::{
    Answer, READ, REDIRECT, SCOPES, SECRET, authorize_url, builder, open, parameters, redeem,
    redirected_refusal, sign_in, submit, tenant,
};
use crate::support::{CLIENT, decoded, get};

#[tokio::test]
async fn discovery_names_the_endpoints_that_are_there() {
    let tenant = tenant().await;
    let (url, id) = (tenant.url(), tenant.id());
    let path = "v2.0/.well-known/openid-configuration";
    let (_, document) = get(&format!("{url}/{id}/{path}")).await;
    let endpoint = document["authorization_endpoint"].as_str().unwrap();
    let request = authorize_url(&tenant, &[]);
    assert!(request.starts_with(&format!("{endpoint}?")), "{request}");
    let token_endpoint = format!("{url}/{id}/oauth2/v2.0/token");
    assert_eq!(document["token_endpoint"], token_endpoint);
}

#[tokio::test]
async fn the_page_has_a_button_for_each_user_and_one_to_decline() {
    let tenant = builder().users(["ada", "bo<b>"]).start().await.unwrap();
    let page = open(&authorize_url(&tenant, &[])).await;
    assert_eq!(page.status, 200);
    for part in [
        "<form id=\"sign-in\" method=\"post\"",
        "<button type=\"submit\" name=\"user\" value=\"ada\"",
        "<button type=\"submit\" name=\"user\" value=\"bo&lt;b&gt;\"",
        "<button type=\"submit\" name=\"decline\" value=\"1\"",
        READ,
    ] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    assert!(!page.body.contains("grace"), "{}", page.body);
}

#[tokio::test]
async fn the_page_runs_no_script_loads_nothing_and_is_not_kept() {
    let tenant = tenant().await;
    let state = "\"><script>alert(1)</script>";
    let page = open(&authorize_url(&tenant, &[("state", Some(state))])).await;
    assert!(!page.body.contains("<script"), "{}", page.body);
    for (name, part) in [
        ("content-type", "text/html; charset=utf-8"),
        (
            "content-security-policy",
            "default-src 'none'; style-src 'sha256-",
        ),
        ("cache-control", "no-store"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert!(page.header(name).unwrap().contains(part), "{name}");
    }
}

#[tokio::test]
async fn the_pages_form_leads_to_the_code() {
    let tenant = tenant().await;
    let page = open(&authorize_url(&tenant, &[])).await;
    let (_, rest) = page.body.split_once("action=\"").unwrap();
    let (action, _) = rest.split_once('"').unwrap();
    let url = format!(
        "{}/{}/oauth2/v2.0/authorize{}",
        tenant.url(),
        tenant.id(),
        action.replace("&amp;", "&")
    );
    let answer = submit(&url, &[("user", "grace")]).await;
    assert_eq!(answer.status, 302);
    let answer = parameters(&answer.location());
    assert_eq!(answer["state"], "a state");
    let (_, tokens) = redeem(&tenant, &answer["code"], &[]).await;
    let claims = decoded(tokens["id_token"].as_str().unwrap(), 1);
    assert_eq!(claims["name"], "grace");
}

#[tokio::test]
async fn a_request_may_come_as_a_form() {
    let tenant = tenant().await;
    let request = authorize_url(&tenant, &[]);
    let (url, query) = request.split_once('?').unwrap();
    let fields = parameters(&format!("?{query}"));
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    let page = submit(url, &fields).await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("client_id"), "{}", page.body);
}

#[tokio::test]
async fn shared_authorities_sign_the_tenants_users_in_and_that_of_personal_accounts_nobody() {
    let tenant = tenant().await;
    let at = |authority: &str| authorize_url(&tenant, &[]).replace(tenant.id(), authority);
    for authority in ["common", "organizations"] {
        let answer = submit(&at(authority), &[("user", "ada")]).await;
        let code = parameters(&answer.location())["code"].clone();
        assert_eq!(redeem(&tenant, &code, &[]).await.0, 200, "{authority}");
    }
    let answer = submit(&at("consumers"), &[("user", "ada")]).await;
    assert_eq!((answer.status, answer.shown_code()), (400, 90_002));
}

#[tokio::test]
async fn a_login_hint_puts_its_user_first() {
    let tenant = tenant().await;
    for hint in ["grace", "Grace@contoso.onmicrosoft.com"] {
        let page = open(&authorize_url(&tenant, &[("login_hint", Some(hint))])).await;
        let button = |name: &str| page.body.find(&format!("value=\"{name}\"")).unwrap();
        assert!(button("grace") < button("ada"), "{hint}");
        assert_eq!(page.body.matches("value=\"grace\"").count(), 1, "{hint}");
        assert!(page.body.contains("value=\"grace\" autofocus"), "{hint}");
    }
}

#[tokio::test]
async fn an_answer_comes_as_query_fragment_or_form() {
    let tenant = tenant().await;
    let location = sign_in(&tenant, "ada", &[("response_mode", Some("fragment"))]).await;
    assert!(
        location.starts_with(&format!("{REDIRECT}#code=")),
        "{location}"
    );

    let url = authorize_url(&tenant, &[("response_mode", Some("form_post"))]);
    let answer = submit(&url, &[("user", "ada")]).await;
    assert_eq!(answer.status, 200);
    let action = format!("<form method=\"post\" action=\"{REDIRECT}\">");
    assert!(answer.body.contains(&action), "{}", answer.body);
    let state = "<input type=\"hidden\" name=\"state\" value=\"a state\">";
    assert!(answer.body.contains(state), "{}", answer.body);
    let (_, rest) = answer.body.split_once("name=\"code\" value=\"").unwrap();
    let (code, _) = rest.split_once('"').unwrap();
    assert_eq!(redeem(&tenant, code, &[]).await.0, 200);
}

#[tokio::test]
async fn a_test_signs_in_without_http() {
    let tenant = tenant().await;
    let url = authorize_url(&tenant, &[]);
    let answer = parameters(&tenant.people().sign_in("ada", &url));
    assert_eq!(answer["state"], "a state");
    let (_, tokens) = redeem(&tenant, &answer["code"], &[("client_info", Some("1"))]).await;
    assert!(tokens["access_token"].is_string());
    assert!(tokens["client_info"].is_string());
    let location = tenant.people().decline(&url);
    assert_eq!(redirected_refusal(&location).1, 65_004);

    let requests = tenant.authorize_endpoint().requests();
    assert_eq!(tenant.authorize_endpoint().hits(), 2);
    assert_eq!(requests[0].parameter("state"), Some("a state"));
    assert_eq!(requests[0].parameter("resource"), None);
}

#[tokio::test]
async fn parameters_are_recorded_and_not_shown() {
    let tenant = tenant().await;
    crate::browser::tokens(&tenant).await;
    let requests = tenant.token_endpoint().requests();
    assert_eq!(
        requests[0].parameter("grant_type"),
        Some("authorization_code")
    );
    assert_eq!(requests[0].parameter("scope"), Some(SCOPES));
    assert_eq!(requests[0].parameter("client_secret"), Some(SECRET));
    assert_eq!(requests[0].parameter("resource"), None);
    let form = tenant.authorize_endpoint().requests();
    assert_eq!(form[0].parameter("user"), Some("ada"));
    assert_eq!(form[0].parameter("client_id"), Some(CLIENT));
    let shown = format!("{requests:?} {form:?}");
    assert!(shown.contains("client_secret"), "{shown}");
    for secret in [
        SECRET,
        requests[0].parameter("code").unwrap(),
        "a nonce",
        "a+state",
    ] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
}

#[tokio::test]
async fn the_page_fails_on_demand() {
    let tenant = tenant().await;
    let url = authorize_url(&tenant, &[]);
    tenant.authorize_endpoint().fail_with(503).for_next(1);
    assert_eq!(open(&url).await.status, 503);
    assert_eq!(open(&url).await.status, 200);
    assert_eq!(tenant.authorize_endpoint().hits(), 2);
}

#[tokio::test]
#[should_panic(expected = "AADSTS50011")]
async fn a_test_that_signs_in_wrongly_is_told_why() {
    let tenant = tenant().await;
    let wrong = [("redirect_uri", Some("https://evil.example/"))];
    let _ = tenant
        .people()
        .sign_in("ada", &authorize_url(&tenant, &wrong));
}

#[tokio::test]
#[should_panic(expected = "is not a user of the tenant")]
async fn a_user_who_is_not_there_cannot_be_disabled() {
    tenant().await.people().disable("mallory");
}

/// Returns the style hash in the policy of a page, and the hash of the page's style.
fn style_hashes(page: &Answer) -> [String; 2] {
    let (_, rest) = page.body.split_once("<style>").unwrap();
    let (style, _) = rest.split_once("</style>").unwrap();
    let (_, rest) = page
        .header("content-security-policy")
        .unwrap()
        .split_once("style-src 'sha256-")
        .unwrap();
    let hash = digest(&SHA256, style.as_bytes());
    [
        rest.split_once('\'').unwrap().0.to_owned(),
        STANDARD.encode(hash),
    ]
}

#[tokio::test]
async fn every_page_has_its_style_and_is_one_for_phones_and_for_readers_of_screens() {
    let tenant = tenant().await;
    let logout = format!("{}/{}/oauth2/v2.0/logout", tenant.url(), tenant.id());
    let form = [
        ("prompt", Some("none")),
        ("response_mode", Some("form_post")),
    ];
    for url in [
        authorize_url(&tenant, &[]),
        authorize_url(&tenant, &[("client_id", Some("x"))]),
        authorize_url(&tenant, &form),
        logout,
    ] {
        let page = open(&url).await;
        let [allowed, own] = style_hashes(&page);
        assert_eq!(allowed, own, "{url}");
        for part in [
            "<html lang=\"en\">",
            "content=\"width=device-width, initial-scale=1\"",
            "<main>",
            "color-scheme: light dark",
        ] {
            assert!(page.body.contains(part), "{url}: {part}");
        }
        assert_eq!(page.body.matches("<h1>").count(), 1, "{url}");
        for elsewhere in ["<script", "<img", "<link", "url(", "@import", "style="] {
            assert!(!page.body.contains(elsewhere), "{url}: {elsewhere}");
        }
    }
}
