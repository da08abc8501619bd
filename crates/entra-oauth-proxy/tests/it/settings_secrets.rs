//! Tests of the settings that decide where secrets are sent, and of secrets in settings.

use entra_oauth_proxy::{
    Clients, EntraOAuthProxy, EntraOAuthProxyBuilder, PreregisteredClient, Secret,
};

use crate::logbook::Logbook;
use crate::support::{APP, RESOURCE, resource_at};

const ELSEWHERE: &str = "https://entra.example";

/// Returns the value of a variable: the metadata endpoint is elsewhere, and no other variable is
/// set.
fn moved(name: &str) -> Option<String> {
    (name == "ENTRA_METADATA_ENDPOINT").then(|| ELSEWHERE.to_owned())
}

fn in_the_cloud() -> EntraOAuthProxyBuilder {
    before_the_resource().resource(resource_at(RESOURCE))
}

fn before_the_resource() -> EntraOAuthProxyBuilder {
    EntraOAuthProxy::builder()
        .tenant("72f988bf-86f1-41af-91ab-2d7cd011db47")
        .client_id(APP)
        .credential(Secret::new("sixteen characters"))
        .public_url("https://mcp.example.com")
}

/// Checks that no setting or variable moves the endpoints away from Entra.
///
/// The client secret, codes, refresh tokens and browsers go to the endpoints that the metadata
/// names.
#[tokio::test]
async fn the_environment_does_not_move_the_endpoints_away_from_entra() {
    for (settings, named) in [
        (
            in_the_cloud().auth(|auth| auth.variables(moved)),
            "metadata_endpoint (ENTRA_METADATA_ENDPOINT)",
        ),
        (
            in_the_cloud().metadata_endpoint(ELSEWHERE),
            "metadata_endpoint",
        ),
        (
            in_the_cloud()
                .metadata_endpoint(ELSEWHERE.replace("https", "http"))
                .auth(|auth| auth.dangerous().allow_plain_http_metadata()),
            "metadata_endpoint",
        ),
    ] {
        let error = settings.build().unwrap_err();
        let problems: Vec<_> = error.problems().collect();
        let [problem] = problems[..] else {
            panic!("{error}");
        };
        let text = problem.text();
        assert_eq!(problem.setting(), named);
        for part in ["entra.example", "secrets are sent", "dangerous()"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}

#[tokio::test]
async fn the_start_says_where_secrets_are_sent() {
    let logbook = Logbook::begin();
    let dared = in_the_cloud()
        .auth(|auth| auth.variables(moved))
        .dangerous();
    assert!(dared.allow_endpoints_elsewhere().build().is_ok());
    assert!(in_the_cloud().build().is_ok());
    let log = logbook.text();
    for host in ["entra.example", "login.microsoftonline.com"] {
        let endpoint =
            format!("https://{host}/72f988bf-86f1-41af-91ab-2d7cd011db47/oauth2/v2.0/token");
        let mut lines = log.lines();
        let line = lines.find(|line| line.contains("token_endpoint") && line.contains(&endpoint));
        assert!(line.is_some(), "{endpoint} in {log}");
    }
}

/// URLs that contain a secret.
const WITH_SECRETS: [&str; 4] = [
    "https://user:hunter2@host.example/",
    "https://user:hunter2%40host.example/",
    "https://host.example/cb?sig=hunter2",
    "https://host.example/cb#hunter2",
];

/// Checks that errors, `Debug` and the log line at startup show no secret.
#[tokio::test]
async fn nothing_secret_in_a_url_is_printed() {
    let logbook = Logbook::begin();
    for url in WITH_SECRETS {
        let variable =
            |wanted: &'static str| move |name: &str| (name == wanted).then(|| url.to_owned());
        let document = format!("{url}/v2.0/.well-known/openid-configuration");
        let moved = || in_the_cloud().metadata_endpoint(&*document);
        let client = PreregisteredClient::public("fixed");
        for settings in [
            in_the_cloud().tenant(url),
            in_the_cloud().client_id(url),
            in_the_cloud().public_url(url),
            before_the_resource().resource(resource_at(url)),
            in_the_cloud().app_id_uri(url),
            in_the_cloud().metadata_endpoint(url),
            moved(),
            moved().dangerous().allow_endpoints_elsewhere(),
            in_the_cloud().auth(|auth| auth.external_id(url)),
            before_the_resource().resource(resource_at(RESOURCE).required_scopes([url])),
            before_the_resource().resource(resource_at(RESOURCE).optional_scopes([url])),
            in_the_cloud().additional_authorize_scopes([url, "with space"]),
            in_the_cloud().additional_authorize_scopes([format!("{url} ")]),
            before_the_resource().resource(resource_at(RESOURCE).describe_scope(url, "Read")),
            in_the_cloud().clients(Clients::default().allowed_redirects([url])),
            in_the_cloud().clients(Clients::default().private_use_schemes([url])),
            in_the_cloud().trusted_proxies([url]),
            in_the_cloud()
                .clients(Clients::default().preregistered(client.clone().redirect_uri(url))),
            in_the_cloud().auth(|auth| auth.variables(variable("ENTRA_METADATA_ENDPOINT"))),
            in_the_cloud().auth(|auth| auth.variables(variable("AZURE_AUTHORITY_HOST"))),
        ] {
            let mut printed = format!("{settings:?} {:?}", client.clone().redirect_uri(url));
            match settings.build() {
                Ok(proxy) => printed = format!("{printed} {proxy:?}"),
                Err(error) => printed = format!("{printed} {error}"),
            }
            assert!(!printed.contains("hunter2"), "{printed}");
        }
    }
    let log = logbook.text();
    assert!(log.contains("sign in through this server"));
    assert!(!log.contains("hunter2"), "{log}");
}
