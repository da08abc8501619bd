//! Tests of wrong settings, which are reported together, each with the mistake and an example of a
//! good value.

use std::collections::HashMap;
use std::time::Duration;

use tower_entra_auth::{
    BuildError, Cloud, EntraAuth, EntraAuthBuilder, Problem, Tenancy, issuer::TrustedIssuer,
    keys::KeySet, resource_metadata::ProtectedResource,
};

use crate::logs::Log;
use crate::support::{API, CLIENT, OTHER_TENANT, app, serve, status, tenant, user};

const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

pub(crate) fn good() -> EntraAuthBuilder {
    EntraAuth::builder().tenant(TENANT).client_id(API)
}

fn error(builder: EntraAuthBuilder) -> BuildError {
    builder.build().unwrap_err()
}

fn from(variables: &[(&str, &str)]) -> Result<EntraAuth, BuildError> {
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    EntraAuth::builder()
        .variables(|name| variables.get(name).map(ToString::to_string))
        .build()
}

#[test]
fn every_problem_is_told_at_once() {
    let error = error(
        EntraAuth::builder()
            .tenant("contoso")
            .client_id("")
            .audience("api://x/.default")
            .metadata_endpoint("http://login.microsoftonline.com")
            .clock_skew(Duration::from_secs(3_600))
            .max_token_length(1),
    );
    let settings: Vec<&str> = error.problems().map(Problem::setting).collect();
    assert_eq!(
        settings,
        [
            "tenant",
            "client_id",
            "audience",
            "clock_skew",
            "max_token_length",
            "metadata_endpoint"
        ]
    );
    let text = error.to_string();
    assert_eq!(format!("{error:?}"), text, "what main() prints");
    assert!(text.starts_with(
        "cannot protect this service:\n  - tenant: \"contoso\" is neither a tenant id (GUID) nor \
             one of organizations, common, consumers; the id of contoso.com is the GUID in the issuer at"
    ));
    assert!(text.contains(
        "https://login.microsoftonline.com/contoso.com/v2.0/.well-known/openid-configuration"
    ));
    assert!(text.contains("\n  - client_id: empty; copy \"Application (client) ID\""));
}

#[test]
fn each_bad_value_is_named_with_a_good_one() {
    for (builder, setting, says) in [
        (
            EntraAuth::builder().client_id(API),
            "tenant",
            "ENTRA_TENANT_ID",
        ),
        (good().tenant("  "), "tenant", "Overview page"),
        (
            good().tenant("fabrikam.com"),
            "tenant",
            "/fabrikam.com/v2.0/.well-known/",
        ),
        (
            good().tenant("Organizations"),
            "tenant",
            "\"Organizations\" has capital letters in it; write organizations",
        ),
        (
            good().tenant(Tenancy::tenants([])),
            "tenant",
            "name at least one",
        ),
        (
            good().allowed_clients(["orders"]),
            "allowed_clients",
            "client's Overview page",
        ),
        (
            good().allowed_clients([] as [&str; 0]),
            "allowed_clients",
            "remove the setting",
        ),
        (
            good().allow_roleless_clients([" "]),
            "allow_roleless_clients",
            "2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b",
        ),
        (
            good()
                .tenant_rule(async |_| Ok::<_, String>(true))
                .rule_ttl(Duration::from_secs(3_601)),
            "rule_ttl",
            "at most 3600 s",
        ),
        (
            good().rule_ttl(Duration::from_secs(60)),
            "rule_ttl",
            "without tenant_rule(..)",
        ),
        (
            good().external_id("contoso"),
            "external_id",
            "contoso.ciamlogin.com",
        ),
        (
            good().external_id("login.microsoftonline.com"),
            "external_id",
            "other keys",
        ),
        (
            good()
                .tenant("organizations")
                .external_id("contoso.ciamlogin.com"),
            "external_id",
            "name exactly one tenant",
        ),
        (
            good()
                .cloud(Cloud::China)
                .external_id("contoso.ciamlogin.com"),
            "external_id",
            "public cloud",
        ),
        (
            good()
                .accept_v1_tokens()
                .external_id("contoso.ciamlogin.com"),
            "accept_v1_tokens",
            "v2 tokens only",
        ),
        (
            good().audience("https://management.azure.com"),
            "audience",
            "Azure Resource Manager",
        ),
        (good().tenant("a\nb"), "tenant", "\"a\\nb\""),
        (
            EntraAuth::builder().tenant(TENANT),
            "client_id",
            "ENTRA_CLIENT_ID",
        ),
        (
            good().client_id("api://orders"),
            "client_id",
            "belongs in audience(..)",
        ),
        (
            good().client_id("orders"),
            "client_id",
            "6e74172b-be56-4843-9ff4-e66a39bb12e3",
        ),
        (good().audience(""), "audience", "api://orders.contoso.com"),
        (
            good().audience("https://graph.microsoft.com"),
            "audience",
            "this API's own App ID URI",
        ),
        (
            good().metadata_endpoint("http://10.0.0.1"),
            "metadata_endpoint",
            "only loopback addresses may use",
        ),
        (
            good().metadata_endpoint("nonsense"),
            "metadata_endpoint",
            "http://127.0.0.1:7580",
        ),
        (
            good().clock_skew(Duration::from_secs(601)),
            "clock_skew",
            "at most 600 s",
        ),
        (
            good().tenant("00000000-0000-0000-0000-000000000000"),
            "tenant",
            "placeholder",
        ),
        (
            good().client_id("00000000-0000-0000-0000-000000000000"),
            "client_id",
            "placeholder",
        ),
        (
            good().metadata_endpoint("https://user:secret@login.microsoftonline.com"),
            "metadata_endpoint",
            "remove it",
        ),
        (
            good().max_token_length(1 << 20),
            "max_token_length",
            "1024 to 256000",
        ),
    ] {
        let error = error(builder);
        let problems: Vec<_> = error.problems().collect();
        assert_eq!(problems.len(), 1, "{error}");
        assert_eq!(problems[0].setting(), setting);
        assert!(problems[0].text().contains(says), "{says} in {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    assert!(good().build().is_ok());
    assert!(good().cloud(Cloud::China).build().is_ok());
    assert!(
        good()
            .audience("api://a")
            .audience("https://b")
            .build()
            .is_ok()
    );
    assert!(good().external_id("contoso.ciamlogin.com").build().is_ok());
    assert!(
        good()
            .allowed_clients([CLIENT])
            .allow_roleless_clients([CLIENT])
            .build()
            .is_ok()
    );
    for tenancy in ["organizations", "common", "consumers"] {
        assert!(good().tenant(tenancy).build().is_ok());
    }
    let list = format!("{TENANT}, {OTHER_TENANT}");
    assert!(good().tenant(list).build().is_ok());
}

#[test]
fn plain_http_elsewhere_needs_a_setting_named_dangerous() {
    let builder = || good().metadata_endpoint("http://tenant.internal:7580");
    assert!(builder().build().is_err());
    assert!(
        builder()
            .dangerous()
            .allow_plain_http_metadata()
            .build()
            .is_ok()
    );
}

#[test]
fn the_environment_has_an_order_and_code_comes_before_it() {
    for variables in [
        &[("ENTRA_TENANT_ID", TENANT), ("ENTRA_CLIENT_ID", API)][..],
        &[("AZURE_TENANT_ID", TENANT), ("AZURE_CLIENT_ID", API)],
        // The first variable counts, so the bad fallback does not matter.
        &[
            ("ENTRA_TENANT_ID", TENANT),
            ("ENTRA_CLIENT_ID", API),
            ("AZURE_TENANT_ID", "bad"),
            ("AZURE_CLIENT_ID", "bad"),
            ("ENTRA_CLOUD", "china"),
            ("AZURE_AUTHORITY_HOST", "bad"),
        ],
        // An empty variable counts as unset.
        &[
            ("ENTRA_TENANT_ID", " "),
            ("AZURE_TENANT_ID", TENANT),
            ("AZURE_CLIENT_ID", API),
        ],
    ] {
        from(variables).unwrap();
    }
    let error = from(&[
        ("AZURE_TENANT_ID", "contoso"),
        ("ENTRA_CLIENT_ID", "orders"),
    ])
    .unwrap_err();
    let settings: Vec<&str> = error.problems().map(Problem::setting).collect();
    assert_eq!(
        settings,
        ["tenant (AZURE_TENANT_ID)", "client_id (ENTRA_CLIENT_ID)"]
    );

    let by_code = good().variables(|_| Some("bad".to_owned())).build();
    let problems = by_code.unwrap_err();
    let settings: Vec<&str> = problems.problems().map(Problem::setting).collect();
    assert_eq!(
        settings,
        [
            "cloud (ENTRA_CLOUD)",
            "metadata_endpoint (ENTRA_METADATA_ENDPOINT)"
        ]
    );
}

#[test]
fn the_cloud_is_known_by_name_or_by_host() {
    let tenant = [("ENTRA_TENANT_ID", TENANT), ("ENTRA_CLIENT_ID", API)];
    let with = |name, value| from(&[tenant[0], tenant[1], (name, value)]);
    for (name, value, cloud) in [
        ("ENTRA_CLOUD", "public", "Public"),
        ("ENTRA_CLOUD", "UsGovernment", "UsGovernment"),
        ("ENTRA_CLOUD", "AzureChinaCloud", "China"),
        (
            "AZURE_AUTHORITY_HOST",
            "https://login.microsoftonline.us/",
            "UsGovernment",
        ),
        ("AZURE_AUTHORITY_HOST", "login.chinacloudapi.cn", "China"),
        (
            "AZURE_AUTHORITY_HOST",
            "https://login.microsoftonline.com",
            "Public",
        ),
    ] {
        let auth = with(name, value).unwrap();
        assert!(
            format!("{auth:?}").contains(&format!("cloud: {cloud}")),
            "{auth:?}"
        );
    }
    for (name, value, says) in [
        ("ENTRA_CLOUD", "germany", "public, usgovernment and china"),
        (
            "AZURE_AUTHORITY_HOST",
            "https://login.example.com/",
            "https://login.microsoftonline.us",
        ),
        (
            "AZURE_AUTHORITY_HOST",
            "http://login.microsoftonline.com",
            "https://",
        ),
    ] {
        let error = with(name, value).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(says), "{error}");
    }
}

#[tokio::test]
async fn the_environment_leads_to_a_service_that_works() {
    let tenant = tenant().await;
    let auth = from(&[
        ("ENTRA_TENANT_ID", tenant.id()),
        ("ENTRA_CLIENT_ID", API),
        ("ENTRA_METADATA_ENDPOINT", tenant.url()),
    ])
    .unwrap();
    let server = serve(app(&auth)).await;
    assert_eq!(status(&server, &user(&tenant).mint()).await, 200);
    assert_eq!(
        status(&server, &user(&tenant).for_api(CLIENT).mint()).await,
        401
    );
    assert_eq!(
        status(&server, &user(&tenant).of_tenant(OTHER_TENANT).mint()).await,
        401
    );
}

/// Returns the setting of the only problem, which must be about the place that secrets are sent to,
/// or `None` if there is no problem.
fn elsewhere(builder: EntraAuthBuilder) -> Option<String> {
    let error = builder.own_endpoints_only().build().err()?;
    let problems: Vec<_> = error.problems().collect();
    let [problem] = problems[..] else {
        panic!("{error}");
    };
    let text = problem.text();
    assert!(text.contains("secrets are sent"), "{text}");
    assert!(text.contains("allow_endpoints_elsewhere()"), "{text}");
    Some(problem.setting().to_owned())
}

#[test]
fn where_secrets_are_sent_the_endpoints_are_entras_own_or_loopback() {
    assert_eq!(elsewhere(good()), None);
    for url in [
        "https://login.microsoftonline.com",
        "https://login.windows.net",
        "http://127.0.0.1:7580",
        "http://localhost:7580/",
        "https://[::1]:7580",
    ] {
        assert_eq!(elsewhere(good().metadata_endpoint(url)), None, "{url}");
    }
    let document =
        format!("https://login.example.com/{TENANT}/v2.0/.well-known/openid-configuration?appid=x");
    for url in [
        "https://login.example.com",
        "https://login.example.com:8443/entra",
        "https://login.microsoftonline.com.evil.example",
        "https://evil.example/login.microsoftonline.com",
        "https://contoso.ciamlogin.com",
        // This URL is of another cloud than the tenant's.
        "https://login.microsoftonline.us",
        &document,
    ] {
        let builder = || good().metadata_endpoint(url);
        let setting = elsewhere(builder());
        assert_eq!(setting.as_deref(), Some("metadata_endpoint"), "{url}");
        assert!(builder().build().is_ok(), "keys alone may come from there");
        let dared = builder().dangerous().allow_endpoints_elsewhere();
        assert_eq!(elsewhere(dared), None, "{url}");
    }
    let government = good().cloud(Cloud::UsGovernment);
    let government = government.metadata_endpoint("https://login.microsoftonline.us");
    assert_eq!(elsewhere(government), None);
}

#[test]
fn a_tenant_of_external_id_has_the_host_that_is_set_and_one_of_its_own() {
    let external = |url: &str| {
        let builder = good().external_id("login.contoso.com");
        elsewhere(builder.metadata_endpoint(url))
    };
    assert_eq!(elsewhere(good().external_id("login.contoso.com")), None);
    assert_eq!(external("https://login.contoso.com"), None);
    assert_eq!(external(&format!("https://{TENANT}.ciamlogin.com")), None);
    for url in ["https://evil.ciamlogin.com", "https://www.contoso.com"] {
        assert!(external(url).is_some(), "{url}");
    }
}

#[test]
fn where_secrets_are_sent_no_other_setting_lets_the_environment_move_the_endpoints() {
    let moved =
        |name: &str| (name == "ENTRA_METADATA_ENDPOINT").then(|| "http://entra.example".to_owned());
    let named = Some("metadata_endpoint (ENTRA_METADATA_ENDPOINT)".to_owned());
    let plain = good().dangerous().allow_plain_http_metadata();
    assert_eq!(elsewhere(plain.variables(moved)), named);
    // The keys come from elsewhere, but the endpoints still follow the variable.
    let secure = |name: &str| moved(name).map(|url| url.replace("http:", "https:"));
    let brought = good().key_source(KeySet::default());
    assert_eq!(elsewhere(brought.variables(secure)), named);
}

/// URLs that contain a secret.
const WITH_SECRETS: [&str; 4] = [
    "https://user:hunter2@host.example/",
    "https://user:hunter2%40host.example/",
    "https://host.example/cb?sig=hunter2",
    "https://host.example/cb#hunter2",
];

/// Checks errors, `Debug` output, and the log line at the start if the value is good.
#[test]
fn nothing_secret_in_a_url_is_printed() {
    let (log, _guard) = Log::capture();
    for url in WITH_SECRETS {
        let variable =
            |wanted: &'static str| move |name: &str| (name == wanted).then(|| url.to_owned());
        let resource = || ProtectedResource::at("https://api.example.com").scopes(["Read"]);
        let issuer = format!("{url}{}", "a".repeat(1_000));
        let reissued = |issuer: &str, audience: &str| {
            TrustedIssuer::oauth_proxy(issuer, audience, KeySet::default())
        };
        let resources = [
            ProtectedResource::at(url).scopes(["Read"]),
            resource().authorization_server(url),
            resource().documentation(url),
            resource().scopes([url]),
        ];
        let of_others = [
            reissued(url, "api://x"),
            reissued(&issuer, "api://x"),
            reissued("https://issuer.example", url),
        ];
        for printed in [format!("{resources:?}"), format!("{of_others:?}")] {
            assert!(!printed.contains("hunter2"), "{printed}");
        }
        let mut builders = vec![
            good().tenant(url),
            good().client_id(url),
            good().audience(url),
            good().metadata_endpoint(url),
            good().metadata_endpoint(url).own_endpoints_only(),
            good().metadata_endpoint(format!("{url}/v2.0/.well-known/openid-configuration")),
            good().external_id(url),
            good().allowed_clients([url]),
            good().allow_roleless_clients([url]),
            good().dangerous().token_in_query(url),
            good().variables(variable("ENTRA_METADATA_ENDPOINT")),
            good().variables(variable("ENTRA_CLOUD")),
            good().variables(variable("AZURE_AUTHORITY_HOST")),
            EntraAuth::builder().variables(variable("ENTRA_TENANT_ID")),
            EntraAuth::builder().variables(variable("ENTRA_CLIENT_ID")),
        ];
        builders.extend(resources.map(|resource| good().protected_resource(resource)));
        builders.extend(of_others.map(|tokens| good().trust(tokens)));
        for builder in builders {
            let mut printed = format!("{builder:?}");
            match builder.build() {
                Ok(auth) => printed = format!("{printed} {auth:?}"),
                Err(error) => printed = format!("{printed} {error}"),
            }
            assert!(!printed.contains("hunter2"), "{printed}");
        }
    }
    let log = log.text();
    assert!(log.contains("tokens of Microsoft Entra ID are required"));
    assert!(!log.contains("hunter2"), "{log}");
}
