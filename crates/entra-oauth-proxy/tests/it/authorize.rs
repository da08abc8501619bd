//! Tests of `GET /authorize`: requests that lead to a consent page, and requests that are refused.

use entra_oauth_proxy::{Prompt, Resource};
use http::{Method, StatusCode};
use url::Url;

use crate::support::{
    APP, Browser, Client, PUBLIC, REDIRECT, Reply, Stage, challenge, parameter, request,
};
use crate::told::carried;

/// Checks that the response is an error page without a redirect and without cookies.
#[track_caller]
fn is_page(reply: &Reply, case: &str) {
    assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{case}");
    assert_eq!(
        reply.header("content-type"),
        "text/html; charset=utf-8",
        "{case}"
    );
    assert!(!reply.headers.contains_key("location"), "{case}");
    assert!(reply.cookies().is_empty(), "{case}");
}

/// Checks that the response is an error page whose button carries the error to the client.
///
/// The button's URL has the client's `state` and the proxy's issuer.
#[track_caller]
fn is_told(reply: &Reply, error: &str, state: Option<&str>, case: &str) {
    let url = carried(reply);
    assert!(
        url.as_str().starts_with(&format!("{REDIRECT}?")),
        "{case}: {url}"
    );
    assert_eq!(parameter(&url, "error").as_deref(), Some(error), "{case}");
    assert_eq!(parameter(&url, "state").as_deref(), state, "{case}");
    assert_eq!(parameter(&url, "iss").as_deref(), Some(PUBLIC), "{case}");
    assert_eq!(parameter(&url, "code"), None, "{case}");
    assert!(reply.cookies().is_empty(), "{case}");
}

const STATE: Option<&str> = Some("the client's state");

async fn with_more(stage: &Stage, client: &Client, more: &str) -> Reply {
    stage
        .get(&format!("{}&{more}", client.authorize(&[])))
        .await
}

#[tokio::test(start_paused = true)]
async fn an_unknown_client_or_redirect_uri_is_a_page_without_a_location() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    for changes in [
        [("client_id", "")],
        [("client_id", "x")],
        [("client_id", &client.id[1..])],
        [("client_id", "https://client.example/metadata.json")],
        [("redirect_uri", "")],
        [("redirect_uri", "https://evil.example/callback")],
        [("redirect_uri", "https://client.example/callback/")],
        [("redirect_uri", "https://client.example/callback?x=1")],
        [("redirect_uri", "https://CLIENT.example/callback")],
        [("redirect_uri", "https://client.example:443/callback")],
        [("redirect_uri", "https://client.example/callback#x")],
        [("redirect_uri", "https://client.example/%63allback")],
        [("redirect_uri", "http://client.example/callback")],
        [("redirect_uri", "javascript:alert(1)")],
    ] {
        let reply = stage.get(&client.authorize(&changes)).await;
        is_page(&reply, &format!("{changes:?}"));
    }
    for more in [
        "client_id=x",
        &format!("client_id={}", client.id),
        "redirect_uri=https://evil.example/callback",
        &format!("redirect_uri={REDIRECT}"),
        &"x=1&".repeat(70),
    ] {
        is_page(&with_more(&stage, &client, more).await, more);
    }
}

#[tokio::test(start_paused = true)]
async fn a_redirect_uri_on_this_machine_is_the_registered_one_whatever_its_port() {
    let stage = Stage::new().await;
    let registered = "http://localhost/callback";
    let metadata = serde_json::json!({ "redirect_uris": [registered, "http://127.0.0.1:1/cb"] });
    let client = stage.client_with(metadata).await;
    for (uri, is_registered) in [
        ("http://localhost/callback", true),
        ("http://localhost:51234/callback", true),
        ("http://127.0.0.1:51234/cb", true),
        ("http://127.0.0.1/callback", false),
        ("http://127.0.0.2:1/cb", false),
        ("http://localhost:51234/other", false),
        ("http://localhost:51234/callback?x=1", false),
        ("https://localhost/callback", false),
        ("http://localhost:51234@evil.example/callback", false),
        ("http://localhost.evil.example:51234/callback", false),
    ] {
        let reply = stage.get(&client.authorize(&[("redirect_uri", uri)])).await;
        assert_eq!(reply.status == StatusCode::OK, is_registered, "{uri}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_other_error_can_be_carried_to_the_client_with_state_and_issuer() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let (long, foreign) = ("a".repeat(600), "https://evil.example/mcp");
    for (changes, error) in [
        (&[("response_type", "")][..], "invalid_request"),
        (&[("response_type", "token")], "unsupported_response_type"),
        (
            &[("response_type", "code id_token")],
            "unsupported_response_type",
        ),
        (&[("response_mode", "form_post")], "invalid_request"),
        (&[("response_mode", "fragment")], "invalid_request"),
        (&[("code_challenge", "")], "invalid_request"),
        (
            &[("code_challenge", ""), ("code_challenge_method", "")],
            "invalid_request",
        ),
        (&[("code_challenge_method", "")], "invalid_request"),
        (&[("code_challenge_method", "plain")], "invalid_request"),
        (&[("code_challenge_method", "s256")], "invalid_request"),
        (&[("code_challenge", &challenge()[1..])], "invalid_request"),
        (
            &[("code_challenge", &format!("{}A", challenge()))],
            "invalid_request",
        ),
        (&[("code_challenge", &"+".repeat(43))], "invalid_request"),
        (&[("code_challenge", &long)], "invalid_request"),
        (&[("resource", foreign)], "invalid_target"),
        (&[("resource", PUBLIC)], "invalid_target"),
        (
            &[("resource", "https://mcp.example.com/mcp#x")],
            "invalid_target",
        ),
        (&[("resource", &format!("api://{APP}"))], "invalid_target"),
        (&[("scope", "admin")], "invalid_scope"),
        (
            &[("scope", "openid https://graph.microsoft.com/User.Read")],
            "invalid_scope",
        ),
        (&[("request", "eyJ.e30.x")], "request_not_supported"),
        (
            &[("request_uri", "https://evil.example/r")],
            "request_uri_not_supported",
        ),
    ] {
        let reply = stage.get(&client.authorize(changes)).await;
        is_told(&reply, error, STATE, &format!("{changes:?}"));
    }
    let reply = stage
        .get(&client.authorize(&[("state", ""), ("scope", "admin")]))
        .await;
    is_told(&reply, "invalid_scope", None, "no state");
    let at_entra = stage.tenant.authorize_endpoint().hits();
    assert_eq!(at_entra, 0);
}

#[tokio::test(start_paused = true)]
async fn a_parameter_that_stands_there_twice_is_an_error() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    for more in [
        "response_type=code",
        "code_challenge=x",
        "code_challenge_method=plain",
        "scope=read&scope=write",
    ] {
        is_told(
            &with_more(&stage, &client, more).await,
            "invalid_request",
            STATE,
            more,
        );
    }
    // With two values, neither is the client's `state`.
    is_told(
        &with_more(&stage, &client, "state=other").await,
        "invalid_request",
        None,
        "state",
    );
    // A request may have several `resource` parameters (RFC 8707 §2), if all name this resource.
    let ours = "resource=https://mcp.example.com/mcp/";
    assert_eq!(
        with_more(&stage, &client, ours).await.status,
        StatusCode::OK
    );
    let reply = with_more(&stage, &client, "resource=https://evil.example/mcp").await;
    is_told(&reply, "invalid_target", STATE, "another resource");
}

#[tokio::test(start_paused = true)]
async fn spellings_of_the_resource_are_taken_and_it_may_be_left_out() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    for resource in [
        "",
        "https://mcp.example.com/mcp/",
        "HTTPS://MCP.EXAMPLE.COM/mcp",
        "https://mcp.example.com/mcp?kb_name=x",
    ] {
        let page = stage
            .get(&client.authorize(&[("resource", resource)]))
            .await;
        assert_eq!(page.status, StatusCode::OK, "{resource}");
    }
    let strict = Stage::with_resource(Resource::require_indicator).await;
    let client = strict.client().await;
    let reply = strict.get(&client.authorize(&[("resource", "")])).await;
    is_told(&reply, "invalid_target", STATE, "required");
    let lax = Stage::with_resource(Resource::accept_parent).await;
    let client = lax.client().await;
    let page = lax.get(&client.authorize(&[("resource", PUBLIC)])).await;
    assert_eq!(page.status, StatusCode::OK);
    let reply = lax
        .get(&client.authorize(&[("resource", "https://evil.example")]))
        .await;
    is_told(&reply, "invalid_target", STATE, "another origin");
}

#[tokio::test(start_paused = true)]
async fn scopes_are_taken_short_and_long_and_returned_as_they_were_written() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let long = format!("api://{APP}/read");
    for (asked, at_entra, granted) in [
        ("", "read", "read"),
        ("openid profile email", "read", "read"),
        ("read", "read", "read"),
        ("read offline_access", "read", "read offline_access"),
        (&long, "read", &long),
        ("write", "read write", "write read"),
        ("read unknown", "read", "read"),
    ] {
        let mut browser = Browser::new(&stage);
        let url: Url = browser
            .goes_to_entra(&client, &[("scope", asked)])
            .await
            .parse()
            .unwrap();
        let full = at_entra
            .split(' ')
            .map(|name| format!("api://{APP}/{name}"));
        let expected = full.chain(["openid profile offline_access".to_owned()]);
        let expected = expected.collect::<Vec<_>>().join(" ");
        assert_eq!(parameter(&url, "scope").unwrap(), expected, "{asked}");

        let callback = stage.tenant.people().sign_in("ada", url.as_str());
        let answered: Url = browser
            .come_back(&callback)
            .await
            .location()
            .parse()
            .unwrap();
        let tokens = stage
            .redeem(&client, &parameter(&answered, "code").unwrap())
            .await;
        assert_eq!(tokens.json()["scope"], granted, "{asked}");
        // Entra refuses a code if the request has no scopes, or scopes of two APIs.
        let redeemed = stage.tenant.token_endpoint().requests().pop().unwrap();
        assert_eq!(redeemed.parameter("scope"), Some(&*expected), "{asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_for_nobody_here_is_ignored_and_never_reaches_entra() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let changes = [
        ("prompt", "consent"),
        ("nonce", "the client's nonce"),
        ("login_hint", "eve@evil.example"),
        ("domain_hint", "evil.example"),
        ("display", "touch"),
        ("x", "1"),
    ];
    let url: Url = browser
        .goes_to_entra(&client, &changes)
        .await
        .parse()
        .unwrap();
    let _ = stage.tenant.people().sign_in("ada", url.as_str());
    let asked = stage.tenant.authorize_endpoint().requests().pop().unwrap();
    for name in [
        "resource",
        "prompt",
        "login_hint",
        "domain_hint",
        "display",
        "x",
        "claims",
    ] {
        assert_eq!(asked.parameter(name), None, "{name}");
    }
    assert_eq!(asked.parameter("client_id"), Some(APP));
    assert_eq!(asked.parameter("response_type"), Some("code"));
    assert_eq!(asked.parameter("response_mode"), Some("query"));
    assert_eq!(
        asked.parameter("redirect_uri"),
        Some("https://mcp.example.com/callback")
    );
    assert_eq!(asked.parameter("code_challenge_method"), Some("S256"));
    assert_ne!(asked.parameter("code_challenge").unwrap(), challenge());
    assert_ne!(asked.parameter("nonce").unwrap(), "the client's nonce");
    assert_ne!(asked.parameter("state").unwrap(), "the client's state");
    assert!(!url.as_str().contains("client%27s"));

    // All three are new for each request.
    let again: Url = browser
        .goes_to_entra(&client, &changes)
        .await
        .parse()
        .unwrap();
    for name in ["state", "nonce", "code_challenge"] {
        assert_ne!(parameter(&url, name), parameter(&again, name), "{name}");
        assert!(parameter(&url, name).unwrap().len() >= 32, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_operators_prompt_and_additional_scopes_reach_entra() {
    let graph = "https://graph.microsoft.com/User.Read";
    let stage = Stage::with(|settings| {
        settings
            .prompt(Prompt::SelectAccount)
            .additional_authorize_scopes([graph])
    })
    .await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let url: Url = browser
        .goes_to_entra(&client, &[("prompt", "none")])
        .await
        .parse()
        .unwrap();
    assert_eq!(parameter(&url, "prompt").as_deref(), Some("select_account"));
    assert!(
        parameter(&url, "scope")
            .unwrap()
            .split(' ')
            .any(|scope| scope == graph)
    );
    let answered = browser
        .come_back(&stage.tenant.people().sign_in("ada", url.as_str()))
        .await;
    assert!(answered.location().contains("code="));
    let redeemed = stage.tenant.token_endpoint().requests().pop().unwrap();
    assert!(!redeemed.parameter("scope").unwrap().contains("graph"));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_carried_along_is_refused_and_not_lost() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let long = "s".repeat(1_025);
    let reply = stage.get(&client.authorize(&[("state", &long)])).await;
    is_told(&reply, "invalid_request", Some(&long), "a long state");
    let state = "é\u{1} &=+%\"'<>;,".repeat(20);
    let url = Browser::new(&stage)
        .signed_in(&client, "ada", &[("state", &state)])
        .await;
    assert_eq!(parameter(&url, "state").unwrap(), state);
    assert!(parameter(&url, "code").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_request_is_read_by_get_alone() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let reply = stage
            .send(request(method, &client.authorize(&[]), &[], "".into()))
            .await;
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(reply.header("allow"), "GET");
    }
    // The endpoint allows no scripts of other origins.
    let page = stage.get(&client.authorize(&[])).await;
    assert!(!page.headers.contains_key("access-control-allow-origin"));
}
