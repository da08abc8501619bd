//! Tests of problems that users reported with another proxy in front of Entra: FastMCP's
//! `OAuthProxy` and `AzureProvider`.
//!
//! Each problem, with the numbers of its issues, has a test here or is in this list:
//!
//! - Tenancies (`common`, `organizations`, `consumers`) whose issuer is in no token:
//!   openai/codex#38973, supabase/auth#2796. The Layer's rules use a template of the issuer and the
//!   tenant's id. See `threats::tokens::access_across_tenants`, and `tenancies` in the tests of
//!   `entra-jwt-core`.
//! - App roles and groups that cannot be used: #3467 #4630. A token contains them, and a route
//!   requires them as usual. See
//!   `tokens_of_this_server_and_of_entra_reach_the_resource_as_one_user`, and the Layer's own
//!   tests.
//! - A managed identity or a certificate in place of the secret: #3483 #2420. Both are credentials
//!   of `entra-confidential-client`. This proxy is never a public client at Entra, so it never
//!   sends a secret as one.
//! - One unusual key that invalidates all tokens: #4515. The Layer parses keys one by one. See
//!   `keys` in `tower-entra-auth`.
//! - The other consent faults, GHSA-c2jp-c369-7pvx, GHSA-rww4-4w9c-7733 and GHSA-6x8h-498w-gv8c:
//!   see `threats::browser`.
//! - B2C, and redirect URIs of the wrong platform (AADSTS9002326, AADSTS50011): #3994 #3995. B2C
//!   accepts no new customers. The page on connecting clients explains the platform.

use std::time::Duration;

use axum::Router;
use axum::routing::post;
use entra_oauth_proxy::{Clients, EntraOAuthProxyBuilder, Prompt, ProxyKeys};
use http::{Method, StatusCode};
use serde_json::json;
use tower::ServiceExt as _;
use url::Url;

use crate::support::{
    APP, Browser, HOUR, PUBLIC, RESOURCE, Stage, application, parameter, request, settings,
};
use crate::watched_store::WatchedStore;

/// Returns the scopes of a request to Entra.
fn scopes(at_entra: &str) -> Vec<String> {
    let at_entra: Url = at_entra.parse().unwrap();
    let scope = parameter(&at_entra, "scope").unwrap();
    scope.split(' ').map(str::to_owned).collect()
}

fn qualified(scope: &str) -> String {
    format!("api://{APP}/{scope}")
}

/// Checks that a client's `resource` is accepted and never reaches Entra.
///
/// Reported in #1846 #1964 #2116 #2152 #4839, microsoft/vscode#254009 and
/// anthropics/claude-code#73460: Entra refuses the resource that clients name (AADSTS901002,
/// AADSTS9010010).
#[tokio::test(start_paused = true)]
async fn complaint_01_the_resource_of_a_client_is_taken_and_never_reaches_entra() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let changes = [("resource", RESOURCE)];
    let mut browser = Browser::new(&stage);
    let at_entra = browser.goes_to_entra(&client, &changes).await;
    assert!(!at_entra.contains("resource"), "{at_entra}");
    let tokens = stage.sign_in(&client, "ada").await;
    assert!(stage.verify(&tokens["access_token"]).await.is_ok());
    let asked = stage.tenant.token_endpoint().requests();
    assert!(!asked.is_empty());
    assert!(
        asked
            .iter()
            .all(|asked| asked.parameter("resource").is_none())
    );
}

/// Checks that v1 tokens end the sign-in, and not each request after it.
///
/// Reported in #2280 #3835: v1 tokens, the default of the manifest, resulted in a token with which
/// every request was refused.
#[tokio::test(start_paused = true)]
async fn complaint_02_v1_tokens_end_the_sign_in_and_not_each_request_after_it() {
    let tenant = entra_dev_tenant::DevTenant::builder()
        .register(application().v1_tokens())
        .start()
        .await
        .unwrap();
    let proxy = settings(&tenant).build().unwrap();
    let stage = Stage { tenant, proxy };
    let client = stage.client().await;
    let answered = Browser::new(&stage).signed_in(&client, "ada", &[]).await;
    assert_eq!(parameter(&answered, "error").unwrap(), "server_error");
    assert_eq!(parameter(&answered, "code"), None);
}

/// Checks that a scope is returned in the form in which the client requested it.
///
/// Reported in #1663 #2151 #2243 #2263 #2269 #4130: the client requested the long form, received
/// the short form, and the scope was "not granted".
#[tokio::test(start_paused = true)]
async fn complaint_03_a_scope_comes_back_in_the_form_in_which_it_was_asked_for() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    for asked in ["read".to_owned(), qualified("read")] {
        let mut browser = Browser::new(&stage);
        let code = browser.code(&client, "ada", &[("scope", &asked)]).await;
        let tokens = stage.redeem(&client, &code).await.json();
        assert_eq!(tokens["scope"], *asked);
        let caller = stage.verify(&tokens["access_token"]).await.unwrap();
        assert_eq!(caller.scopes().collect::<Vec<_>>(), ["read"]);
    }
}

/// Checks that Entra receives the scopes of OpenID unchanged, and that no token needs them.
///
/// Reported in #2506 #3503: these scopes were prefixed with the API (AADSTS65005, AADSTS650053), or
/// searched for in `scp`, which never contains them.
#[tokio::test(start_paused = true)]
async fn complaint_04_scopes_of_openid_go_to_entra_as_they_are_and_no_token_needs_them() {
    let stage =
        Stage::with_resource(|resource| resource.required_scopes(["openid", "email"])).await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let asked = scopes(&browser.goes_to_entra(&client, &[]).await);
    for scope in ["openid", "email"] {
        assert!(asked.contains(&scope.to_owned()), "{asked:?}");
        assert!(!asked.contains(&qualified(scope)), "{asked:?}");
    }
    let tokens = stage.sign_in(&client, "ada").await;
    assert!(stage.verify(&tokens["access_token"]).await.is_ok());
}

/// Checks that a client that names no scope gets the required ones.
///
/// Reported in #4467 #4469: for such a client, Entra was asked for `offline_access` alone
/// (AADSTS70011).
#[tokio::test(start_paused = true)]
async fn complaint_05_a_client_without_scope_gets_the_required_ones() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    assert_eq!(tokens["scope"], "read");
    let redeemed = stage.tenant.token_endpoint().requests().pop().unwrap();
    let scope = redeemed.parameter("scope").unwrap();
    assert!(
        scope.split(' ').any(|scope| scope == qualified("read")),
        "{scope}"
    );
}

/// Checks that the user consents to scopes of another API, and that no token request names them.
///
/// Reported in #2447 #3013: token requests had scopes of two APIs (AADSTS28000), or none
/// (AADSTS28003).
#[tokio::test(start_paused = true)]
async fn complaint_06_scopes_of_another_api_are_consented_to_and_never_redeemed() {
    const GRAPH: &str = "https://graph.microsoft.com/User.Read";
    let stage = Stage::with(|settings| settings.additional_authorize_scopes([GRAPH])).await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    assert!(scopes(&at_entra).contains(&GRAPH.to_owned()));
    let tokens = stage.sign_in(&client, "ada").await;
    stage.tenant.time().advance(2 * HOUR).await;
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
    for asked in stage.tenant.token_endpoint().requests() {
        let scope = asked.parameter("scope").unwrap();
        assert!(!scope.contains("graph.microsoft.com"), "{scope}");
        assert!(scope.contains(&qualified("read")), "{scope}");
    }
}

/// Checks that no user has to sign in again each hour.
///
/// Reported in #2468 #2628 #3000 #2406 #2670 #4264 #4265 #4901 #4911 and typescript-sdk#2718: users
/// were signed out each hour. The causes were a refresh without scope (AADSTS90009), no refresh
/// token from Entra, or a second host that sends the previous token.
#[tokio::test(start_paused = true)]
async fn complaint_07_nobody_signs_in_again_each_hour() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut tokens = stage.sign_in(&client, "ada").await;
    for hour in 1..=48 {
        stage.tenant.time().advance(HOUR).await;
        let refresh_token = tokens["refresh_token"].clone();
        let refreshed = stage.refresh(&client, &refresh_token).await;
        assert_eq!(
            refreshed.status,
            StatusCode::OK,
            "{hour}: {}",
            refreshed.text()
        );
        tokens = refreshed.json();
        assert!(
            stage.verify(&tokens["access_token"]).await.is_ok(),
            "{hour}"
        );
        // Another host of the same client, which does not have the new token.
        stage.tenant.time().advance(Duration::from_secs(30)).await;
        let second = stage.refresh(&client, &refresh_token).await;
        assert_eq!(second.status, StatusCode::OK, "{hour}: {}", second.text());
        assert!(stage.verify(&second.json()["access_token"]).await.is_ok());
    }
}

/// Checks that each request of a sign-in can reach another instance.
///
/// Reported in #1577 #1762 #2010 #2027 #2479 #2634: "client not found" and "transaction not found",
/// after a restart or at another instance.
#[tokio::test(start_paused = true)]
async fn complaint_08_every_request_of_a_sign_in_may_meet_another_instance() {
    let (keys, store) = (ProxyKeys::generate(), WatchedStore::default());
    let change =
        |settings: EntraOAuthProxyBuilder| settings.keys(keys.clone()).store(store.clone());
    let mut stage = Stage::with(change).await;
    let another = |stage: &Stage| change(settings(&stage.tenant)).build().unwrap();

    let client = stage.client().await;
    stage.proxy = another(&stage);
    let mut browser = Browser::new(&stage);
    let page = browser.get(&client.authorize(&[])).await;
    let cookies = browser.cookies;

    stage.proxy = another(&stage);
    let mut browser = Browser::new(&stage);
    browser.cookies = cookies;
    let at_entra = browser.answer(&page, "approve").await.onward();
    let cookies = browser.cookies;

    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    stage.proxy = another(&stage);
    let mut browser = Browser::new(&stage);
    browser.cookies = cookies;
    let answered: Url = browser
        .come_back(&callback)
        .await
        .location()
        .parse()
        .unwrap();
    let code = parameter(&answered, "code").unwrap();

    stage.proxy = another(&stage);
    let tokens = stage.redeem(&client, &code).await.json();
    stage.proxy = another(&stage);
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
    stage.proxy = another(&stage);
    assert!(
        stage
            .verify(&refreshed.json()["access_token"])
            .await
            .is_ok()
    );
}

/// Returns the challenge with which the Layer refuses a POST with this token.
async fn challenge(stage: &Stage, token: Option<&str>) -> String {
    let router: Router = Router::new()
        .route("/mcp", post(|| async { "called" }))
        .layer(stage.proxy.layer());
    let authorization = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = authorization
        .iter()
        .map(|value| ("authorization", value.as_str()))
        .collect();
    let asked = request(Method::POST, "/mcp", &headers, bytes::Bytes::new());
    let answer = router
        .oneshot(asked.map(axum::body::Body::new))
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
    challenge.to_owned()
}

/// Checks that a refusal names its reason.
///
/// Reported in #952 #3619 #4850: the refusal of a token was `invalid_token`, without a reason.
#[tokio::test(start_paused = true)]
async fn complaint_09_a_refusal_says_why() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    stage.tenant.time().advance(2 * HOUR).await;
    let token = tokens["access_token"].as_str();
    let expired = challenge(&stage, token).await;
    assert!(
        expired.contains("error_description=\"expired\""),
        "{expired}"
    );
    let foreign = stage
        .tenant
        .user("ada")
        .scope("read")
        .for_api("00000003-0000-0000-c000-000000000000");
    let foreign = challenge(&stage, Some(&foreign.mint())).await;
    assert!(
        foreign.contains("error_description=\"graph_token\""),
        "{foreign}"
    );
}

/// Checks that an Application ID URI changes the requested scopes, and not which tokens are
/// accepted.
///
/// Reported in #3729 #3787 #3797: the audience is the client id or the Application ID URI, and one
/// of the two was refused.
#[tokio::test(start_paused = true)]
async fn complaint_10_an_application_id_uri_of_ones_own_changes_what_is_asked_and_not_who_gets_in()
{
    const URI: &str = "api://orders.example.com";
    let tenant = entra_dev_tenant::DevTenant::builder()
        .register(application().app_id_uri(URI))
        .start()
        .await
        .unwrap();
    let proxy = settings(&tenant).app_id_uri(URI).build().unwrap();
    let stage = Stage { tenant, proxy };
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let asked = scopes(&browser.goes_to_entra(&client, &[]).await);
    assert!(asked.contains(&format!("{URI}/read")), "{asked:?}");
    let tokens = stage.sign_in(&client, "ada").await;
    assert!(stage.verify(&tokens["access_token"]).await.is_ok());
}

/// Checks that the user can submit a decision on a page that was fetched twice.
///
/// Reported in #2056 #3201 #3747: such a page did not work any more. FastMCP's own client fetches
/// the page once before it opens the browser.
#[tokio::test(start_paused = true)]
async fn complaint_13_a_consent_page_that_was_fetched_twice_can_be_answered() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let authorize = client.authorize(&[]);
    assert_eq!(stage.get(&authorize).await.status, StatusCode::OK);
    let mut browser = Browser::new(&stage);
    let first = browser.get(&authorize).await;
    browser.get(&authorize).await;
    let at_entra = browser.answer(&first, "approve").await.onward();
    assert!(at_entra.contains("/authorize?"), "{at_entra}");
}

/// Checks that the issuer is the same everywhere, and that the metadata is at the root.
///
/// Reported in #2077 #2119 #2287 #2353 #2793 #4166 #4390 #1431 #1348: under a path, the documents
/// were not where clients look. The issuer had a slash at its end in one place and none in another.
#[tokio::test(start_paused = true)]
async fn complaint_14_the_issuer_is_the_same_to_the_letter_and_the_documents_are_at_the_root() {
    for path in ["", "/oauth"] {
        let issuer = format!("{PUBLIC}{path}");
        let tenant = entra_dev_tenant::DevTenant::builder()
            .register(application().redirect_uri(&format!("{issuer}/callback")))
            .start()
            .await
            .unwrap();
        let proxy = settings(&tenant).public_url(&issuer).build().unwrap();
        let stage = Stage { tenant, proxy };
        let of_resource = stage.get("/.well-known/oauth-protected-resource/mcp").await;
        assert_eq!(of_resource.json()["authorization_servers"], json!([issuer]));
        let metadata = format!("/.well-known/oauth-authorization-server{path}");
        let metadata = stage.get(&metadata).await.json();
        assert_eq!(metadata["issuer"], issuer);
        assert_eq!(metadata["token_endpoint"], format!("{issuer}/token"));
    }
}

/// Checks that the operator's `prompt` reaches Entra, and a client's does not.
///
/// Reported in #5107 #5162: users could not choose an account, because the prompt did not reach
/// Entra.
#[tokio::test(start_paused = true)]
async fn complaint_15_the_operators_prompt_reaches_entra_and_a_clients_does_not() {
    let stage = Stage::with(|settings| settings.prompt(Prompt::SelectAccount)).await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let changes = [("prompt", "consent")];
    let at_entra = browser.goes_to_entra(&client, &changes).await;
    let prompt = parameter(&at_entra.parse().unwrap(), "prompt");
    assert_eq!(prompt.as_deref(), Some("select_account"));
}

/// Checks that the challenge names the scopes, and that redirect URIs must be on the list.
///
/// Reported in #4513 #2966 #3037 #4419 #4408: no `scope` in the challenge, a refused resource with
/// a query, an allow-list that can be bypassed, and schemes that a browser executes.
#[tokio::test(start_paused = true)]
async fn complaint_17_the_challenge_names_the_scopes_and_addresses_are_held_to_the_list() {
    let list = ["https://client.example"];
    let stage =
        Stage::with(|settings| settings.clients(Clients::default().allowed_redirects(list))).await;
    let refused = challenge(&stage, None).await;
    assert!(refused.contains("scope=\"read\""), "{refused}");
    for address in [
        "https://client.example.evil.example/callback",
        "https://client.example@evil.example/callback",
        "https://evil.example/https://client.example",
        "javascript:alert(1)//https://client.example",
    ] {
        let registered = stage.register(&json!({ "redirect_uris": [address] })).await;
        let refused = (400, "invalid_redirect_uri".to_owned());
        assert_eq!(registered.error(), refused, "{address}");
    }
    let client = stage.client().await;
    let with_query = format!("{RESOURCE}?kb_name=notes");
    let mut browser = Browser::new(&stage);
    browser
        .code(&client, "ada", &[("resource", &with_query)])
        .await;
}
