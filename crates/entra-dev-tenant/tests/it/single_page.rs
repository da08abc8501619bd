//! Single-page applications: scripts that redeem codes and refresh tokens from their own origin.

use std::time::Duration;

use entra_dev_tenant::{AppRegistration, DevTenant};
use reqwest::Method;
use serde_json::{Value, json};

use crate::browser::{
    Answer, Changes, REDIRECT, SCOPES, SECRET, VERIFIER, authorize_url, builder, changed, code,
    open, parameters, redirected_refusal, refusal, submit,
};
use crate::support::{CLIENT, client, decoded};

const ORIGIN: &str = "http://127.0.0.1:3000";
const PAGE: &str = "http://127.0.0.1:3000/page";

/// Starts a tenant in which the usual web application, which has a secret, is a page as well.
async fn tenant() -> DevTenant {
    let page = AppRegistration::new(CLIENT).spa_redirect_uri(PAGE);
    builder().register(page).start().await.unwrap()
}

async fn code_for_page(tenant: &DevTenant) -> String {
    let url = authorize_url(tenant, &[("redirect_uri", Some(PAGE))]);
    let answer = submit(&url, &[("user", "ada")]).await;
    parameters(&answer.location())["code"].clone()
}

/// Asks the token endpoint, with an `Origin` or without.
async fn ask(tenant: &DevTenant, origin: Option<&str>, form: &[(&str, &str)]) -> Answer {
    let url = format!("{}/{}/oauth2/v2.0/token", tenant.url(), tenant.id());
    let request = client().post(url).form(form);
    Answer::of(match origin {
        Some(origin) => request.header("origin", origin),
        None => request,
    })
    .await
}

/// Redeems a code as a script on the page does.
async fn redeem(
    tenant: &DevTenant,
    origin: Option<&str>,
    code: &str,
    changes: Changes<'_>,
) -> Answer {
    let usual = [
        ("grant_type", "authorization_code"),
        ("client_id", CLIENT),
        ("code", code),
        ("redirect_uri", PAGE),
        ("code_verifier", VERIFIER),
        ("scope", SCOPES),
    ];
    ask(tenant, origin, &changed(&usual, changes)).await
}

async fn refresh(tenant: &DevTenant, origin: Option<&str>, refresh_token: &str) -> Answer {
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", CLIENT),
        ("refresh_token", refresh_token),
        ("scope", SCOPES),
    ];
    ask(tenant, origin, &form).await
}

fn json_of(answer: &Answer) -> (u16, Value) {
    (answer.status, serde_json::from_str(&answer.body).unwrap())
}

/// Returns whether a script may read the answer.
fn is_shared(answer: &Answer) -> bool {
    let allowed = answer.header("access-control-allow-origin");
    assert!(matches!(allowed, None | Some("*")), "{allowed:?}");
    allowed.is_some()
}

#[tokio::test]
async fn a_script_redeems_a_code_and_refreshes_without_the_secret() {
    let tenant = tenant().await;
    let code = code_for_page(&tenant).await;
    let answer = redeem(&tenant, Some(ORIGIN), &code, &[]).await;
    assert!(is_shared(&answer));
    let methods = answer.header("access-control-allow-methods");
    assert_eq!(methods, Some("POST, OPTIONS"));
    let (status, tokens) = json_of(&answer);
    assert_eq!(status, 200, "{tokens}");
    let access = decoded(tokens["access_token"].as_str().unwrap(), 1);
    assert_eq!(
        (&access["azp"], &access["azpacr"], &access["scp"]),
        (&json!(CLIENT), &json!("0"), &json!("read"))
    );

    let refresh_token = tokens["refresh_token"].as_str().unwrap();
    let answer = refresh(&tenant, Some(ORIGIN), refresh_token).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(is_shared(&answer));
}

#[tokio::test]
async fn a_page_has_to_use_pkce() {
    let tenant = tenant().await;
    let without = [
        ("redirect_uri", Some(PAGE)),
        ("code_challenge", None),
        ("code_challenge_method", None),
    ];
    let answer = open(&authorize_url(&tenant, &without)).await;
    assert_eq!(answer.status, 302, "{}", answer.body);
    let refused = redirected_refusal(&answer.location());
    assert_eq!(refused, ("invalid_request".to_owned(), 9_002_325));
}

#[tokio::test]
async fn a_program_gets_no_tokens_of_a_page() {
    let tenant = tenant().await;
    let code = code_for_page(&tenant).await;
    let answer = redeem(&tenant, None, &code, &[]).await;
    assert!(!is_shared(&answer));
    let refused = json_of(&answer);
    assert_eq!(refusal(&refused), (400, "invalid_request", 9_002_327));

    // The code is still good for the page.
    let (_, tokens) = json_of(&redeem(&tenant, Some(ORIGIN), &code, &[]).await);
    let refresh_token = tokens["refresh_token"].as_str().unwrap();
    let refused = json_of(&refresh(&tenant, None, refresh_token).await);
    assert_eq!(refusal(&refused), (400, "invalid_request", 9_002_327));
}

#[tokio::test]
async fn a_page_may_not_present_a_credential() {
    let tenant = tenant().await;
    let code = code_for_page(&tenant).await;
    for origin in [Some(ORIGIN), None] {
        let secret = [("client_secret", Some(SECRET))];
        let refused = json_of(&redeem(&tenant, origin, &code, &secret).await);
        assert_eq!(refusal(&refused), (401, "invalid_client", 700_025));
    }
    // Swagger UI sends the parameter, and nothing in it.
    let empty = [("client_secret", Some(""))];
    let answer = redeem(&tenant, Some(ORIGIN), &code, &empty).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test]
async fn a_script_gets_no_tokens_of_a_program_but_reads_why() {
    let tenant = tenant().await;
    let code = code(&tenant, &[]).await;
    let web = [
        ("redirect_uri", Some(REDIRECT)),
        ("client_secret", Some(SECRET)),
    ];
    let answer = redeem(&tenant, Some(ORIGIN), &code, &web).await;
    assert!(is_shared(&answer));
    let refused = json_of(&answer);
    assert_eq!(refusal(&refused), (400, "invalid_request", 9_002_326));
    let description = refused.1["error_description"].as_str().unwrap();
    let origin = format!("Request origin: '{ORIGIN}'.");
    assert!(description.contains(&origin), "{description}");

    let (status, tokens) = json_of(&redeem(&tenant, None, &code, &web).await);
    assert_eq!(status, 200, "{tokens}");
}

#[tokio::test]
async fn an_application_may_not_ask_as_itself_in_a_browser() {
    let tenant = tenant().await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT),
        ("client_secret", SECRET),
        (
            "scope",
            "api://6e74172b-be56-4843-9ff4-e66a39bb12e3/.default",
        ),
    ];
    let answer = ask(&tenant, Some(ORIGIN), &form).await;
    assert!(!is_shared(&answer), "no such flow for scripts");
    let refused = json_of(&answer);
    assert_eq!(refusal(&refused), (400, "invalid_request", 9_002_326));
    assert_eq!(ask(&tenant, None, &form).await.status, 200);
}

#[tokio::test]
async fn a_grant_that_is_nobodys_is_unknown_from_any_origin() {
    let tenant = tenant().await;
    for origin in [Some(ORIGIN), None] {
        let secret = [("client_secret", Some(SECRET))];
        let refused = json_of(&redeem(&tenant, origin, "1.unknown", &secret).await);
        assert_eq!(refusal(&refused), (400, "invalid_grant", 70_000));
    }
}

#[tokio::test]
async fn refresh_tokens_of_a_page_end_a_day_after_the_sign_in_however_often_they_are_used() {
    let tenant = tenant().await;
    let code = code_for_page(&tenant).await;
    let (_, first) = json_of(&redeem(&tenant, Some(ORIGIN), &code, &[]).await);
    let first = first["refresh_token"].as_str().unwrap();
    tenant.time().jump_forward(Duration::from_secs(23 * 3_600));
    let (status, second) = json_of(&refresh(&tenant, Some(ORIGIN), first).await);
    assert_eq!(status, 200, "{second}");
    let second = second["refresh_token"].as_str().unwrap();
    tenant.time().jump_forward(Duration::from_secs(3_601));
    for token in [first, second] {
        let answer = refresh(&tenant, Some(ORIGIN), token).await;
        assert!(is_shared(&answer));
        let refused = json_of(&answer);
        assert_eq!(refusal(&refused), (400, "invalid_grant", 700_084));
    }
}

#[tokio::test]
async fn preflights_are_answered_and_other_options_are_not() {
    let tenant = tenant().await;
    let url = format!("{}/{}/oauth2/v2.0/token", tenant.url(), tenant.id());
    let options = || client().request(Method::OPTIONS, &url);
    let preflight = options()
        .header("origin", ORIGIN)
        .header("access-control-request-method", "POST");
    let answer = Answer::of(preflight.try_clone().unwrap()).await;
    assert_eq!(answer.status, 200);
    assert!(is_shared(&answer));
    assert_eq!(answer.header("access-control-allow-headers"), None);

    let with_header = preflight.header("access-control-request-headers", "x-requested-with");
    let answer = Answer::of(with_header).await;
    let allowed = answer.header("access-control-allow-headers");
    assert_eq!(allowed, Some("x-requested-with"));
    let methods = answer.header("access-control-allow-methods");
    assert_eq!(methods, Some("POST, OPTIONS"));

    for request in [options(), options().header("origin", ORIGIN)] {
        let answer = Answer::of(request).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
        assert!(!is_shared(&answer));
    }
    // A page is opened, not fetched.
    let page = authorize_url(&tenant, &[("redirect_uri", Some(PAGE))]);
    let answer = Answer::of(client().get(page).header("origin", ORIGIN)).await;
    assert!(!is_shared(&answer));
    assert_eq!(tenant.token_endpoint().hits(), 0);
}

#[tokio::test]
async fn documents_are_for_everybody() {
    let tenant = tenant().await;
    for path in [
        "v2.0/.well-known/openid-configuration",
        ".well-known/openid-configuration",
        "discovery/v2.0/keys",
        "discovery/keys",
    ] {
        let document = open(&format!("{}/{}/{path}", tenant.url(), tenant.id())).await;
        assert_eq!(document.status, 200);
        assert!(is_shared(&document), "{path}");
        let methods = document.header("access-control-allow-methods");
        assert_eq!(methods, Some("GET, OPTIONS"), "{path}");
    }
}
