//! Tests of invalid settings, and of their error messages.

use std::future::ready;
use std::time::Duration;

use bytes::Bytes;
use entra_oauth_proxy::{
    Clients, EntraOAuthProxy, EntraOAuthProxyBuilder, Lifetimes, PreregisteredClient, Problem,
    ProxyKeys, Resource, Secret,
    store::{Store, StoreFuture},
};
use http::StatusCode;

use crate::logbook::Logbook;
use crate::support::{APP, HOUR, RESOURCE, Stage, resource_at, settings, settings_of, tenant};

/// Returns the problems of valid settings after a change.
async fn problems(
    change: impl FnOnce(EntraOAuthProxyBuilder) -> EntraOAuthProxyBuilder,
) -> Vec<(String, String)> {
    let tenant = tenant().start().await.unwrap();
    problems_of(change(settings(&tenant)))
}

fn problems_of(settings: EntraOAuthProxyBuilder) -> Vec<(String, String)> {
    match settings.build() {
        Ok(_) => Vec::new(),
        Err(error) => {
            let problems = error.problems();
            problems
                .map(|problem| (problem.setting().to_owned(), problem.text().to_owned()))
                .collect()
        }
    }
}

/// Returns the only problem of valid settings after a change.
pub(crate) async fn problem(
    change: impl FnOnce(EntraOAuthProxyBuilder) -> EntraOAuthProxyBuilder,
) -> (String, String) {
    let mut problems = problems(change).await;
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

/// Returns the problems of settings with this resource.
async fn problems_with(resource: Resource) -> Vec<(String, String)> {
    let tenant = tenant().start().await.unwrap();
    problems_of(settings_of(&tenant, resource))
}

/// Returns the only problem of the usual resource after a change.
async fn problem_with(change: impl FnOnce(Resource) -> Resource) -> (String, String) {
    let mut problems = problems_with(change(resource_at(RESOURCE))).await;
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

#[tokio::test]
async fn a_store_that_outlives_the_process_needs_keys() {
    struct Shared;

    impl Store for Shared {
        fn get<'s>(&'s self, _: &'s str) -> StoreFuture<'s, Option<Bytes>> {
            Box::pin(ready(Ok(None)))
        }

        fn put<'s>(&'s self, _: &'s str, _: Bytes, _: Duration) -> StoreFuture<'s, ()> {
            Box::pin(ready(Ok(())))
        }

        fn take<'s>(&'s self, key: &'s str) -> StoreFuture<'s, Option<Bytes>> {
            self.get(key)
        }

        fn compare_and_swap<'s>(
            &'s self,
            _: &'s str,
            _: Option<Bytes>,
            _: Bytes,
            _: Duration,
        ) -> StoreFuture<'s, bool> {
            Box::pin(ready(Ok(true)))
        }
    }

    for made_anew in [None, Some(ProxyKeys::generate())] {
        let (setting, text) = problem(|settings| match made_anew {
            Some(keys) => settings.store(Shared).keys(keys),
            None => settings.store(Shared),
        })
        .await;
        assert_eq!(setting, "keys");
        assert!(text.contains("openssl rand -base64 32"), "{text}");
    }
    let kept = ProxyKeys::from_base64("7wW6qQJqTgVd3o6m1z0kGk2rQ4cXnE9yB5fHhLpUsvA=").unwrap();
    assert!(problems(|s| s.store(Shared).keys(kept)).await.is_empty());
}

#[tokio::test]
async fn everything_that_is_missing_is_told_at_once_each_with_an_example() {
    let error = EntraOAuthProxy::builder().build().unwrap_err();
    let settings: Vec<&str> = error.problems().map(Problem::setting).collect();
    for setting in [
        "public_url",
        "resource",
        "resource.required_scopes",
        "credential",
        "tenant",
        "client_id",
    ] {
        assert!(settings.contains(&setting), "{setting} in {settings:?}");
    }
    assert_eq!(settings.len(), 6, "{error}");
    let text = error.to_string();
    for example in [
        "https://mcp.example.com/mcp",
        "Mcp.Access",
        "Secret::from_env",
        "Overview",
    ] {
        assert!(text.contains(example), "{example}");
    }
    assert_eq!(format!("{error:?}"), text);
}

#[tokio::test]
async fn a_public_url_is_https_and_written_as_everybody_writes_it() {
    for url in [
        "http://mcp.example.com",
        "mcp.example.com",
        "ftp://mcp.example.com",
        "https://mcp.example.com/",
        "https://mcp.example.com/oauth/",
        "https://MCP.example.com",
        "https://mcp.example.com:443",
        "https://mcp.example.com?x",
        "https://mcp.example.com#x",
        "https://user@mcp.example.com",
        "https://mcp.example.com/a/../b",
    ] {
        let (setting, text) = problem(|settings| settings.public_url(url)).await;
        assert_eq!(setting, "public_url", "{url}: {text}");
        assert!(text.contains("https://mcp.example.com"), "{text}");
    }
    for url in [
        "https://mcp.example.com:8443/a/b",
        "http://127.0.0.1:8080",
        "http://127.0.0.2:1",
        "http://localhost:1",
    ] {
        assert!(
            problems(|settings| settings.public_url(url))
                .await
                .is_empty(),
            "{url}"
        );
    }
}

#[tokio::test]
async fn a_resource_is_a_url_as_clients_compare_it() {
    for url in [
        "http://mcp.example.com/mcp",
        "https://mcp.example.com/mcp/",
        "https://mcp.example.com/mcp?x=1",
        "https://mcp.example.com/m%20cp",
        "api://mcp",
    ] {
        let problems = problems_with(resource_at(url)).await;
        assert!(!problems.is_empty(), "{url}");
    }
}

#[tokio::test]
async fn a_scope_with_its_api_is_corrected_by_name() {
    for (scope, name) in [
        (format!("api://{APP}/files.read"), "files.read"),
        (
            "https://graph.microsoft.com/User.Read".to_owned(),
            "User.Read",
        ),
        (format!("{APP}/files.read"), "files.read"),
    ] {
        for (setting, text) in [
            problem_with(|resource| resource.required_scopes([&scope])).await,
            problem_with(|resource| resource.optional_scopes([&scope])).await,
        ] {
            assert!(setting.ends_with("_scopes"), "{setting}");
            assert!(
                text.contains(&format!("use its short name, \"{name}\"")),
                "{text}"
            );
        }
    }
    for scope in ["", "two words", ".default", "a\"b", "scope=x"] {
        assert_eq!(
            problem_with(|resource| resource.required_scopes([scope]))
                .await
                .0,
            "resource.required_scopes"
        );
    }
}

#[tokio::test]
async fn a_description_of_a_scope_is_a_line_about_a_scope_that_there_is() {
    let longest = "é".repeat(200);
    let good = resource_at(RESOURCE)
        .describe_scope("read", "Read your notes")
        .describe_scope("write", &longest);
    assert_eq!(problems_with(good).await, []);
    let too_long = "é".repeat(201);
    for (scope, text, says) in [
        ("admin", "Do everything", "\"admin\" is neither in"),
        ("openid", "Sign you in", "\"openid\" is neither in"),
        ("", "Nothing", "\"\" is neither in"),
        ("read", "", "1 to 200 characters"),
        ("read", "  ", "1 to 200 characters"),
        ("read", &too_long, "1 to 200 characters"),
        ("read", "Read\nyour notes", "in one line"),
        ("read", "Read\u{7}", "in one line"),
    ] {
        let (setting, problem) =
            problem_with(|resource| resource.describe_scope(scope, text)).await;
        assert_eq!(setting, "resource.describe_scope");
        assert!(problem.contains(says), "{problem}");
    }
    let twice = problem_with(|resource| {
        resource
            .describe_scope("read", "a")
            .describe_scope("read", "b")
    })
    .await;
    assert!(twice.1.contains("two texts"), "{}", twice.1);
}

#[tokio::test]
async fn openid_alone_is_no_required_scope() {
    let with = |scopes: [&str; 2]| problems_with(Resource::at(RESOURCE).required_scopes(scopes));
    let problems = with(["openid", "profile"]).await;
    let [(_, text)] = &*problems else {
        panic!("{problems:?}");
    };
    assert!(
        text.contains("at least one scope that is not of OpenID Connect"),
        "{text}"
    );
    assert_eq!(with(["openid", "read"]).await, []);
}

#[tokio::test]
async fn one_proxy_serves_one_resource() {
    let second = Resource::at("https://mcp.example.com/second").required_scopes(["read"]);
    let (setting, text) = problem(|settings| settings.resource(second)).await;
    assert_eq!(setting, "resource");
    assert_eq!(
        text,
        "\"https://mcp.example.com/mcp\" and \"https://mcp.example.com/second\" are set, but one proxy \
         serves only one resource: build a proxy for each, with its own public_url(..)"
    );
    let same = Resource::at(RESOURCE).required_scopes(["write"]);
    let (_, text) = problem(|settings| settings.resource(same)).await;
    assert_eq!(
        text,
        "\"https://mcp.example.com/mcp\" is set twice: merge both into one Resource::at(..), with the \
         scopes of both"
    );
    let none = EntraOAuthProxy::builder().build().unwrap_err();
    let of_resource = none
        .problems()
        .find(|problem| problem.setting() == "resource");
    assert!(
        of_resource
            .unwrap()
            .text()
            .starts_with("not set; for example")
    );

    let tenant = tenant().start().await.unwrap();
    let proxy = settings(&tenant).build().unwrap();
    assert!(proxy.layer_for(RESOURCE).is_ok());
    for other in [
        "https://mcp.example.com/other",
        "https://mcp.example.com/mcp/",
        "",
    ] {
        let unknown = proxy.layer_for(other).unwrap_err().to_string();
        assert_eq!(
            unknown,
            format!("no resource with this URL; the configured resource is {RESOURCE}")
        );
    }
}

#[tokio::test]
async fn an_allow_list_has_origins_uris_and_schemes() {
    let good = [
        "https://claude.ai",
        "http://localhost/",
        "https://claude.ai/api/mcp/auth_callback",
        "cursor:",
        "com.example.app:/cb",
    ];
    assert!(
        problems(|settings| settings.clients(Clients::default().allowed_redirects(good)))
            .await
            .is_empty()
    );
    for entry in [
        "https://claude.ai/a/../b",
        "https://claude.ai/cb#x",
        "javascript:",
        "javascript:alert(1)",
        "ms-settings:",
        "myserver:8080",
        "",
    ] {
        let text = not_allowed(entry).await;
        let expected = format!(
            "\"{}\" is neither an origin, such as https://claude.ai or http://localhost, nor a URI that \
             could be registered, such as https://claude.ai/api/mcp/auth_callback, nor the scheme of an \
             application, such as cursor:",
            entry.split('#').next().unwrap()
        );
        assert_eq!(text, expected);
    }
}

/// Returns the problem with an entry of the list.
async fn not_allowed(entry: &str) -> String {
    let clients = Clients::default().allowed_redirects([entry]);
    let (setting, text) = problem(|settings| settings.clients(clients)).await;
    assert_eq!(setting, "clients.allowed_redirects", "{text}");
    text
}

#[tokio::test]
async fn a_host_in_an_allow_list_is_told_the_address_to_write() {
    for (entry, address) in [
        ("claude.ai", "https://claude.ai"),
        (" claude.ai ", "https://claude.ai"),
        ("claude.ai:", "https://claude.ai"),
        ("claude.ai:443", "https://claude.ai:443"),
        ("claude.ai/api/x", "https://claude.ai/api/x"),
        ("claude.ai:443/api/x", "https://claude.ai:443/api/x"),
        ("mcp.internal", "https://mcp.internal"),
        ("http://example.com", "https://example.com"),
        ("http://example.com/cb", "https://example.com/cb"),
        ("localhost", "http://localhost"),
        ("localhost:8080", "http://localhost:8080"),
        ("localhost:8080/callback", "http://localhost:8080/callback"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
    ] {
        let expected = format!("\"{entry}\" has no scheme; write \"{address}\"");
        assert_eq!(not_allowed(entry).await, expected);
    }
    assert_eq!(
        not_allowed("com.example.app").await,
        "\"com.example.app\" has no scheme; write \"https://com.example.app\", or \
         \"com.example.app:\" for the scheme of an application"
    );
    for entry in [
        "*",
        "*.example.com",
        "https://*.example.com",
        "http://localhost:*",
    ] {
        let expected = format!(
            "\"{entry}\" has a wildcard, which is not supported here; list each host, such as \
             https://claude.ai"
        );
        assert_eq!(not_allowed(entry).await, expected);
    }
}

#[tokio::test]
async fn schemes_that_are_named_are_an_applications_own() {
    let good = ["notes-desk", "notes-desk:", "com.example.app"];
    assert!(
        problems(|settings| settings.clients(Clients::default().private_use_schemes(good)))
            .await
            .is_empty()
    );
    for entry in [
        "javascript",
        "data:",
        "vbscript",
        "blob",
        "file",
        "view-source",
        "about",
        "intent",
        "http",
        "https",
        "ms-settings",
        "microsoft-edge",
        "com.apple.notes",
        "Notes-desk",
        "notes desk",
        "notes-desk:/cb",
        "https://claude.ai",
        "example.com",
        "",
    ] {
        let (setting, text) =
            problem(|settings| settings.clients(Clients::default().private_use_schemes([entry])))
                .await;
        assert_eq!(setting, "clients.private_use_schemes", "{text}");
        assert!(text.contains("notes-desk"), "{text}");
    }
}

#[tokio::test]
async fn a_preregistered_client_can_be_told_and_answered() {
    let good =
        || PreregisteredClient::public("known").redirect_uri("https://client.example/callback");
    assert!(
        problems(|settings| settings.clients(Clients::default().preregistered(good())))
            .await
            .is_empty()
    );
    for (client, says) in [
        (PreregisteredClient::public("known"), "no redirect_uri"),
        (good().redirect_uri("http://client.example/x"), "is http"),
        (good().redirect_uri("notes-desk:/cb"), "has a scheme"),
        (
            good().redirect_uri("notes-desk:/cb"),
            "private_use_schemes(..)",
        ),
        (
            PreregisteredClient::public("").redirect_uri("https://client.example/"),
            "not an id",
        ),
        (
            PreregisteredClient::public("a:b").redirect_uri("https://client.example/"),
            "not an id",
        ),
        (
            PreregisteredClient::confidential("known", "short")
                .redirect_uri("https://client.example/"),
            "fewer than 16",
        ),
    ] {
        let (setting, text) =
            problem(|settings| settings.clients(Clients::default().preregistered(client))).await;
        assert_eq!(setting, "clients.preregistered");
        assert!(text.contains(says), "{says}: {text}");
    }
    let twice = |settings: EntraOAuthProxyBuilder| {
        settings.clients(
            Clients::default()
                .preregistered(good())
                .preregistered(good()),
        )
    };
    assert!(problem(twice).await.1.contains("two clients have the id"));
    let nobody =
        problem(|settings| settings.clients(Clients::default().without_registration())).await;
    assert!(nobody.1.contains("no user could sign in"), "{}", nobody.1);
}

#[tokio::test]
async fn lifetimes_have_bounds() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let second = Duration::from_secs(1);
    let default = Lifetimes::default();
    for (lifetimes, says) in [
        (
            default.access_token(second),
            "lifetimes.access_token: 1s is not between 60s and 86400s",
        ),
        (
            default.access_token(25 * HOUR),
            "lifetimes.access_token: 90000s is not between",
        ),
        (
            default.idle(91 * DAY),
            "lifetimes.idle: 7862400s is not between 3600s and 7776000s",
        ),
        (
            default.session(second),
            "lifetimes.session: 1s is not between 3600s and 31622400s",
        ),
        (
            default.rotation_grace(HOUR),
            "lifetimes.rotation_grace: 3600s is not between 0ns and 120s",
        ),
        (
            default.grant_check(HOUR),
            "lifetimes.grant_check: 3600s is not between 0ns and 300s",
        ),
        (
            default.access_token(3 * HOUR).session(2 * HOUR),
            "lifetimes.session: 7200s is not at least 10 minutes longer than access_token(10800s): a token would",
        ),
    ] {
        let (setting, text) = problem(|settings| settings.lifetimes(lifetimes)).await;
        let problem = format!("{setting}: {text}");
        assert!(problem.starts_with(says), "{problem}");
    }
}

#[tokio::test]
async fn problems_of_the_layer_and_of_the_proxy_come_together() {
    let tenant = tenant().start().await.unwrap();
    let resource = resource_at(RESOURCE).required_scopes(["a/b"]);
    let settings = settings_of(&tenant, resource)
        .tenant("contoso")
        .credential(Secret::new(""))
        .public_url("nonsense");
    let problems = problems_of(settings);
    let settings: Vec<&str> = problems.iter().map(|(setting, _)| &**setting).collect();
    assert_eq!(
        settings,
        [
            "public_url",
            "resource.required_scopes",
            "credential",
            "tenant"
        ]
    );
}

#[tokio::test]
async fn the_id_of_a_secret_is_no_secret() {
    let secret_id = Secret::new("0f9c1f4e-6f0b-4d2e-9b0a-0d3f5f7a1c2b");
    let (setting, text) = problem(|settings| settings.credential(secret_id)).await;
    assert_eq!(setting, "credential");
    assert_eq!(
        text,
        "the secret is a GUID; configure the Value of a client secret, not its Secret ID; the \
         secret must belong to the app registration with this client id"
    );
}

/// Checks that the first line of the message is the same for problems of each builder.
#[tokio::test]
async fn every_problem_stands_under_the_same_words() {
    let tenant = tenant().start().await.unwrap();
    for (settings, setting) in [
        (settings(&tenant).credential(Secret::new("")), "credential"),
        (settings(&tenant).tenant("contoso"), "tenant"),
        (settings(&tenant).public_url("nonsense"), "public_url"),
    ] {
        let text = settings.build().unwrap_err().to_string();
        let expected = format!("cannot let clients sign in through Entra:\n  - {setting}: ");
        assert!(text.starts_with(&expected), "{text}");
    }
}

#[tokio::test]
async fn nothing_that_is_set_is_printed_that_is_secret() {
    let tenant = tenant().start().await.unwrap();
    let client = PreregisteredClient::confidential("known", "a secret of the client's")
        .redirect_uri("https://client.example/callback");
    let builder = settings(&tenant).clients(Clients::default().preregistered(client));
    let before = format!("{builder:?}");
    let printed = format!("{before} {:?}", builder.build().unwrap());
    assert!(!printed.contains("secret of the client") && !printed.contains("own secret"));
}

#[tokio::test]
async fn keys_that_are_missing_are_made_for_one_instance_and_that_is_said() {
    let tenant = tenant().start().await.unwrap();
    let log = Logbook::begin();
    let proxy = settings(&tenant).build().unwrap();
    let said = log.lines("WARN").join("\n");
    for words in ["no keys are set", "set data_directory(..)", "openssl rand"] {
        assert!(said.contains(words), "{said}");
    }

    // Another instance does not know these keys, and this one does.
    let one = Stage { tenant, proxy };
    let client = one.client().await;
    assert_eq!(one.get(&client.authorize(&[])).await.status, StatusCode::OK);
    let other = Stage::new().await;
    let stranger = other.get(&client.authorize(&[])).await;
    assert_eq!(stranger.status, StatusCode::BAD_REQUEST);

    let log = Logbook::begin();
    let keys = ProxyKeys::from_base64("7wW6qQJqTgVd3o6m1z0kGk2rQ4cXnE9yB5fHhLpUsvA=").unwrap();
    settings(&one.tenant).keys(keys).build().unwrap();
    assert!(log.lines("WARN").is_empty(), "{}", log.text());
}
