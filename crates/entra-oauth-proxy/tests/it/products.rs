//! Tests of the statements about products on the page on connecting clients.
//!
//! The redirect URIs are from the documentation and the sources of the products.

use entra_oauth_proxy::{Clients, EntraOAuthProxyBuilder};
use http::StatusCode;
use serde_json::json;

use crate::support::{Browser, Client, Stage};

const PAGE: &str = include_str!("../../docs/clients.md");

/// Sets the allow-list from the page.
fn listed(settings: EntraOAuthProxyBuilder) -> EntraOAuthProxyBuilder {
    let (_, list) = PAGE.split_once("allowed_redirects([").unwrap();
    let (list, _) = list.split_once("]);").unwrap();
    let entries: Vec<_> = list.split('"').skip(1).step_by(2).collect();
    assert_eq!(entries.len(), 10, "{entries:?}");
    settings.clients(Clients::default().allowed_redirects(entries))
}

/// Products, each with the redirect URIs that it registers, and those that it then sends.
const PRODUCTS: [(&str, &[&str], &[&str]); 9] = [
    (
        "Claude",
        &["https://claude.ai/api/mcp/auth_callback"],
        &["https://claude.ai/api/mcp/auth_callback"],
    ),
    (
        "Claude Code",
        &["http://localhost:51423/callback"],
        &[
            "http://localhost:51423/callback",
            "http://localhost:60000/callback",
        ],
    ),
    (
        "ChatGPT",
        &["https://chatgpt.com/connector_platform_oauth_redirect"],
        &["https://chatgpt.com/connector_platform_oauth_redirect"],
    ),
    (
        "Codex",
        &["http://127.0.0.1:5678/callback/Xk3vQ0pZ_a1b"],
        &["http://127.0.0.1:8765/callback/Xk3vQ0pZ_a1b"],
    ),
    (
        "An older Codex",
        &["http://127.0.0.1:5678/callback"],
        &["http://127.0.0.1:8765/callback"],
    ),
    (
        "VS Code",
        &[
            "http://127.0.0.1/",
            "http://127.0.0.1:33418/",
            "https://vscode.dev/redirect",
            "https://insiders.vscode.dev/redirect",
        ],
        &[
            "http://127.0.0.1:33418/",
            "http://127.0.0.1:40404/",
            "https://vscode.dev/redirect",
            "https://insiders.vscode.dev/redirect",
        ],
    ),
    (
        "Cursor",
        &[
            "http://localhost:8787/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
            "cursor://anysphere.cursor-mcp/oauth/callback",
        ],
        &[
            "http://localhost:8787/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
            "cursor://anysphere.cursor-mcp/oauth/callback",
        ],
    ),
    (
        "MCP Inspector",
        &["http://localhost:6274/oauth/callback"],
        &["http://localhost:6274/oauth/callback"],
    ),
    (
        "mcp-remote",
        &["http://localhost:3334/oauth/callback"],
        &["http://localhost:12345/oauth/callback"],
    ),
];

#[tokio::test(start_paused = true)]
async fn with_the_allow_list_of_the_page_each_product_signs_in_at_each_of_its_addresses() {
    let stage = Stage::with(listed).await;
    for (product, registered, sent) in PRODUCTS {
        let client = stage.client_with(json!({
            "client_name": product,
            "redirect_uris": registered,
            "grant_types": [
                "authorization_code",
                "refresh_token",
                "urn:ietf:params:oauth:grant-type:device_code",
            ],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "application_type": "native",
        }));
        let client = client.await;
        for address in sent {
            let client = Client {
                redirect_uri: (*address).to_owned(),
                ..client.clone()
            };
            let mut browser = Browser::new(&stage);
            let code = browser.code(&client, "ada", &[]).await;
            let tokens = stage.redeem(&client, &code).await;
            assert_eq!(tokens.status, StatusCode::OK, "{product} {address}");
        }
    }
    let elsewhere = json!({ "redirect_uris": ["https://elsewhere.example/callback"] });
    let registered = stage.register(&elsewhere).await;
    assert_eq!(registered.status, StatusCode::BAD_REQUEST);
}

/// Checks that the document describes every error page.
///
/// The test finds the pages in the sources, and so includes those that are added later.
#[test]
fn every_page_for_people_that_tells_of_an_error_stands_in_the_document() {
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let mut titles = Vec::new();
    let mut directories = vec![std::path::PathBuf::from(sources)];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let source = std::fs::read_to_string(path).unwrap();
            let found = source.split("ErrorPage::new(").skip(1);
            titles.extend(found.map(|rest| rest.split('"').nth(1).unwrap().to_owned()));
        }
    }
    assert!(titles.len() >= 16, "{titles:?}");
    for title in titles {
        assert!(
            PAGE.contains(&title),
            "docs/clients.md does not tell of: {title}"
        );
    }
}
