//! Tests with random requests: the proxy answers each one, and redirects only to permitted
//! addresses.

use std::cell::Cell;

use entra_oauth_proxy::{Clients, EntraOAuthProxyBuilder, PreregisteredClient};
use http::{Method, StatusCode};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use url::Url;

use crate::support::{
    Browser, Client, RESOURCE, Stage, VERIFIER, challenge, encoded, parameter, request,
};
use crate::told::links;

const CASES: u32 = 1_500;

/// A client with two sign-ins in progress: one at the consent page, and one that returns from
/// Entra.
struct Under {
    client: Client,
    registered: Vec<&'static str>,
    /// Value of the hidden field `consent` on the page.
    consent: String,
    /// `state` with which Entra redirects back.
    state: String,
    entras_code: String,
    cookies: String,
}

impl Under {
    async fn way(stage: &Stage, client: Client, registered: Vec<&'static str>) -> Self {
        let mut browser = Browser::new(stage);
        let at_entra = browser.goes_to_entra(&client, &[]).await;
        let callback: Url = stage
            .tenant
            .people()
            .sign_in("ada", &at_entra)
            .parse()
            .unwrap();
        let page = browser.get(&client.authorize(&[])).await;
        let cookies = browser
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        Self {
            registered,
            consent: page.field("consent"),
            state: parameter(&callback, "state").unwrap(),
            entras_code: parameter(&callback, "code").unwrap(),
            cookies: cookies.collect::<Vec<_>>().join("; "),
            client,
        }
    }
}

/// A change to a valid request.
#[derive(Clone, Debug)]
enum Change {
    Without(&'static str),
    With(&'static str, String),
    Also(&'static str, String),
}

#[derive(Clone, Debug)]
struct Sent {
    path: &'static str,
    method: Method,
    of_client: usize,
    with_cookies: bool,
    changes: Vec<Change>,
    in_body: bool,
    raw: String,
    headers: Vec<(&'static str, &'static str)>,
}

const PATHS: [&str; 10] = [
    "/authorize",
    "/authorize",
    "/consent",
    "/consent",
    "/callback",
    "/token",
    "/register",
    "/.well-known/oauth-authorization-server",
    "/.well-known/oauth-protected-resource/mcp",
    "/other",
];

const NAMES: [&str; 20] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "response_mode",
    "state",
    "scope",
    "resource",
    "code_challenge",
    "code_challenge_method",
    "prompt",
    "claims",
    "request",
    "consent",
    "decision",
    "code",
    "error",
    "iss",
    "grant_type",
    "code_verifier",
    "refresh_token",
];

const HOSTILE: [&str; 22] = [
    "https://evil.example/callback",
    "https://evil.example",
    "//evil.example",
    "/\\evil.example",
    "javascript:alert(1)",
    "https://client.example@evil.example/callback",
    "https://client.example.evil.example/callback",
    "https://client.example/callback/../x",
    "https://client.example/callback#x",
    "https://client.example/callback\r\nLocation: https://evil.example",
    "http://localhost:9/callback",
    "http://127.0.0.1:9/callback",
    "https://second.example/callback",
    "https://client.example/callback",
    "code",
    "query",
    "plain",
    "deny",
    "access_denied",
    "{}",
    "\u{0}\u{1}\u{7f}\u{202e}",
    "é✓",
];

fn value(own: Vec<String>) -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(own),
        4 => select(HOSTILE.to_vec()).prop_map(str::to_owned),
        1 => "\\PC{0,40}",
        1 => prop::collection::vec(any::<char>(), 0..8).prop_map(|all| all.into_iter().collect()),
        1 => (1..5_000_usize).prop_map(|length| "a".repeat(length)),
    ]
}

fn sent(own: Vec<String>) -> impl Strategy<Value = Sent> {
    let change = prop_oneof![
        select(NAMES.to_vec()).prop_map(Change::Without),
        (select(NAMES.to_vec()), value(own.clone())).prop_map(|(n, v)| Change::With(n, v)),
        (select(NAMES.to_vec()), value(own)).prop_map(|(n, v)| Change::Also(n, v)),
    ];
    let methods = [
        Method::GET,
        Method::POST,
        Method::HEAD,
        Method::OPTIONS,
        Method::DELETE,
    ];
    let method = prop_oneof![3 => Just(None), 1 => select(methods.to_vec()).prop_map(Some)];
    let headers = select(vec![
        vec![],
        vec![("origin", "null"), ("sec-fetch-site", "same-origin")],
        vec![("origin", "https://evil.example")],
        vec![("authorization", "Basic YTpi")],
        vec![("authorization", "Bearer x"), ("host", "evil.example")],
        vec![
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "host=evil.example"),
        ],
        vec![("cookie", "__Host-entra-proxy-sign-in-=x; =; ;;")],
    ]);
    (
        select(PATHS.to_vec()),
        method,
        0..2_usize,
        prop::bool::weighted(0.8),
        prop::collection::vec(change, 0..4),
        any::<bool>(),
        prop_oneof![4 => Just(String::new()), 1 => "[ -~]{0,30}"],
        headers,
    )
        .prop_map(
            |(path, method, of_client, with_cookies, changes, both, raw, headers)| {
                let usual = match path {
                    "/consent" | "/token" | "/register" => Method::POST,
                    _ => Method::GET,
                };
                let is_post = usual == Method::POST;
                Sent {
                    path,
                    in_body: method.is_none() && is_post || method.is_some() && both,
                    method: method.unwrap_or(usual),
                    of_client,
                    with_cookies,
                    changes,
                    raw,
                    headers,
                }
            },
        )
}

/// Destination of a response.
enum Led {
    ToAPage,
    ToEntra,
    ToAClient,
    Nowhere,
}

/// Returns the parameters of the valid request to a path.
fn good(path: &str, under: &Under) -> Vec<(String, String)> {
    let owned = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect::<Vec<_>>()
    };
    match path {
        "/consent" => owned(&[("consent", &under.consent), ("decision", "approve")]),
        "/callback" => owned(&[("code", &under.entras_code), ("state", &under.state)]),
        "/token" => owned(&under.client.redemption("a code")),
        _ => under.client.request(),
    }
}

/// Returns the clients to whose redirect URIs the response may go.
fn may_answer<'u>(
    sent: &Sent,
    parameters: &[(String, String)],
    all: &'u [Under],
) -> Vec<&'u Under> {
    let has = |name: &str, value: &str| {
        parameters
            .iter()
            .any(|(other, found)| other == name && found == value)
    };
    let is_of = |under: &&Under| match sent.path {
        "/authorize" => has("client_id", &under.client.id),
        "/consent" => has("consent", &under.consent),
        "/callback" => has("state", &under.state),
        _ => false,
    };
    all.iter().filter(is_of).collect()
}

/// Returns a URL without its query, and without its port on `localhost`.
fn place(location: &str) -> String {
    let mut url: Url = location.parse().unwrap();
    url.set_query(None);
    if url.host_str() == Some("localhost") {
        url.set_port(None).unwrap();
    }
    url.into()
}

fn check(
    runtime: &Runtime,
    stage: &Stage,
    all: &[Under],
    sent: &Sent,
) -> Result<Led, TestCaseError> {
    let under = &all[sent.of_client];
    let mut parameters = good(sent.path, under);
    for change in &sent.changes {
        match change {
            Change::Without(name) => parameters.retain(|(other, _)| other != name),
            Change::With(name, value) => {
                parameters.retain(|(other, _)| other != name);
                parameters.push(((*name).to_owned(), value.clone()));
            }
            Change::Also(name, value) => parameters.push(((*name).to_owned(), value.clone())),
        }
    }
    let text = format!("{}{}", encoded(&parameters), sent.raw);
    let (path, body) = match sent.in_body {
        true => (sent.path.to_owned(), text),
        false => (format!("{}?{text}", sent.path), String::new()),
    };
    if path.parse::<http::Uri>().is_err() {
        return Ok(Led::Nowhere);
    }
    let mut headers = sent.headers.clone();
    headers.push(("content-type", "application/x-www-form-urlencoded"));
    if sent.with_cookies {
        headers.push(("cookie", &under.cookies));
    }
    let reply =
        runtime.block_on(stage.send(request(sent.method.clone(), &path, &headers, body.into())));
    prop_assert_ne!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    prop_assert!(
        !reply.status.is_server_error(),
        "{} {}",
        reply.status,
        reply.text()
    );
    prop_assert!(!matches!(reply.status.as_u16(), 301 | 302 | 307 | 308));
    let location = reply.location();
    prop_assert_eq!(reply.status == StatusCode::SEE_OTHER, !location.is_empty());
    let to_registered = |location: &str| {
        may_answer(sent, &parameters, all)
            .iter()
            .any(|under| under.registered.contains(&&*place(location)))
    };
    let entra = format!(
        "{}/{}/oauth2/v2.0/authorize?",
        stage.tenant.url(),
        stage.tenant.id()
    );
    if reply.text().contains("http-equiv") {
        prop_assert_eq!((sent.path, &*location), ("/consent", ""));
        let onward = reply.onward();
        prop_assert_eq!(links(&reply), std::slice::from_ref(&onward));
        let is_entra = onward.starts_with(&entra);
        let is_client = to_registered(&onward) && onward.contains("error=access_denied");
        prop_assert!(is_entra || is_client, "{onward}");
        return Ok(if is_entra {
            Led::ToEntra
        } else {
            Led::ToAClient
        });
    }
    if location.is_empty() {
        let is_consent = reply.status == StatusCode::OK && sent.path == "/authorize";
        // The link of the button that carries an error to the client.
        for link in links(&reply).iter().filter(|link| link.contains("://")) {
            prop_assert!(to_registered(link), "{}", link);
            prop_assert!(link.contains("error="), "{}", link);
        }
        return Ok(if is_consent {
            Led::ToAPage
        } else {
            Led::Nowhere
        });
    }
    prop_assert!(to_registered(&location), "{location}");
    // Before the user agrees, the proxy redirects only to loopback addresses and pre-registered
    // clients.
    let is_vouched_for = ["http://localhost", "https://second.example"]
        .into_iter()
        .any(|beginning| location.starts_with(beginning));
    prop_assert!(sent.path != "/authorize" || is_vouched_for, "{location}");
    Ok(Led::ToAClient)
}

#[test]
fn whatever_is_sent_is_answered_and_leads_nowhere_else() {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let (stage, all) = runtime.block_on(async {
        let desk =
            PreregisteredClient::public("desk").redirect_uri("https://second.example/callback");
        let change = |settings: EntraOAuthProxyBuilder| {
            settings.clients(Clients::default().preregistered(desk))
        };
        let stage = Stage::with(change).await;
        let uris = vec![
            "https://client.example/callback",
            "http://localhost/callback",
        ];
        let first = stage.client_with(json!({ "redirect_uris": uris })).await;
        let second = Client {
            id: "desk".to_owned(),
            secret: None,
            redirect_uri: "https://second.example/callback".to_owned(),
        };
        let all = [
            Under::way(&stage, first, uris).await,
            Under::way(&stage, second, vec!["https://second.example/callback"]).await,
        ];
        (stage, all)
    });
    let mut own: Vec<String> = all
        .iter()
        .flat_map(|under| {
            [
                &under.client.id,
                &under.consent,
                &under.state,
                &under.entras_code,
            ]
            .map(Clone::clone)
        })
        .collect();
    own.extend([RESOURCE, VERIFIER, "S256", "approve", "read"].map(str::to_owned));
    own.push(challenge());
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    // The counts make sure that the test does not send only invalid requests.
    let [pages, to_entra, to_clients, nowhere] = [const { Cell::new(0) }; 4];
    TestRunner::new(config)
        .run(&sent(own), |sent| {
            let of = match check(&runtime, &stage, &all, &sent)? {
                Led::ToAPage => &pages,
                Led::ToEntra => &to_entra,
                Led::ToAClient => &to_clients,
                Led::Nowhere => &nowhere,
            };
            of.set(of.get() + 1);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    for count in [pages, to_entra, to_clients, nowhere] {
        assert!(count.get() > 20, "{}", count.get());
    }
}
