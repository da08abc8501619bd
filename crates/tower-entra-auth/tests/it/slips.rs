//! Tests of slips in the settings of a service, and of the service's log lines at its start.

use tower_entra_auth::{EntraAuth, EntraAuthBuilder, Tenancy};

use crate::logs::Log;
use crate::mistakes::field;
use crate::settings::good;
use crate::support::{API, OTHER_TENANT, settings, tenant};

const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

fn from_env(variables: &'static [(&str, &str)]) -> EntraAuthBuilder {
    EntraAuth::builder().variables(|name| {
        let found = variables.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

#[test]
fn a_slip_of_copying_is_named() {
    const OVERVIEW: &str =
        "copy \"Application (client) ID\" from the app registration's Overview page";
    let client_id = |text: &str| EntraAuth::builder().tenant(TENANT).client_id(text);
    let tenant = |text: &str| EntraAuth::builder().client_id(API).tenant(text);
    for (settings, expected) in [
        (
            from_env(&[
                ("ENTRA_TENANT_ID", "\"72f988bf-86f1-41af-91ab-2d7cd011db47\""),
                ("ENTRA_CLIENT_ID", "6e74172b-be56-4843-9ff4-e66a39bb12e3"),
            ]),
            "tenant (ENTRA_TENANT_ID): \"\"72f988bf-86f1-41af-91ab-2d7cd011db47\"\" has quotes in \
             it, which an environment file keeps; remove them"
                .to_owned(),
        ),
        (
            tenant("{72f988bf-86f1-41af-91ab-2d7cd011db47}"),
            "tenant: \"{72f988bf-86f1-41af-91ab-2d7cd011db47}\" has braces around it; remove them"
                .to_owned(),
        ),
        (
            tenant("https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0"),
            format!(
                "tenant: \"https://login.microsoftonline.com/{TENANT}/v2.0\" is a URL; set only \
                 the id {TENANT}"
            ),
        ),
        (
            tenant("https://contoso.example"),
            "tenant: \"https://contoso.example\" is a URL; copy \"Tenant ID\" from the Overview page of \
             Microsoft Entra ID"
                .to_owned(),
        ),
        (
            tenant("Common"),
            "tenant: \"Common\" has capital letters in it; write common".to_owned(),
        ),
        (
            tenant("contoso.onmicrosoft.com"),
            "tenant: \"contoso.onmicrosoft.com\" is neither a tenant id (GUID) nor one of \
             organizations, common, consumers; the id of contoso.onmicrosoft.com is the GUID in \
             the issuer at \
             https://login.microsoftonline.com/contoso.onmicrosoft.com/v2.0/.well-known/openid-configuration"
                .to_owned(),
        ),
        (
            client_id("${ENTRA_CLIENT_ID}"),
            format!(
                "client_id: \"${{ENTRA_CLIENT_ID}}\" is a variable that was not expanded; set its \
                 value; {OVERVIEW}"
            ),
        ),
        (
            client_id("https://orders.contoso.com"),
            format!("client_id: \"https://orders.contoso.com\" is a URL; {OVERVIEW}"),
        ),
        (
            client_id("api://orders"),
            format!(
                "client_id: \"api://orders\" is an App ID URI, which belongs in audience(..); {OVERVIEW}"
            ),
        ),
        (
            client_id(TENANT),
            format!(
                "client_id: {TENANT} is also set as the tenant; one is the Directory (tenant) ID, \
                 the other is the Application (client) ID, both on the app registration's Overview \
                 page"
            ),
        ),
        (
            good().audience("'api://orders'"),
            "audience: \"'api://orders'\" has quotes in it, which an environment file keeps; \
             remove them"
                .to_owned(),
        ),
        (
            good().allowed_clients(["<client id>"]),
            "allowed_clients: \"<client id>\" is a placeholder; give the value itself; copy \"Application \
             (client) ID\" from the client's Overview page"
                .to_owned(),
        ),
        (
            good().metadata_endpoint("\"https://login.microsoftonline.com\""),
            "metadata_endpoint: the URL \"\"https://login.microsoftonline.com\"\" has quotes in \
             it, which an environment file keeps; remove them; for example \
             https://login.microsoftonline.com and, for a development tenant, http://127.0.0.1:7580"
                .to_owned(),
        ),
        (
            good().external_id("'contoso.ciamlogin.com'"),
            "external_id: the host \"'contoso.ciamlogin.com'\" has quotes in it, which an \
             environment file keeps; remove them; for example contoso.ciamlogin.com, or a custom URL \
             domain such as login.contoso.com"
                .to_owned(),
        ),
        (
            from_env(&[
                ("ENTRA_TENANT_ID", TENANT),
                ("ENTRA_CLIENT_ID", API),
                ("ENTRA_CLOUD", "\"public\""),
            ]),
            "cloud (ENTRA_CLOUD): \"\"public\"\" has quotes in it, which an environment file \
             keeps; remove them; known clouds are public, usgovernment and china"
                .to_owned(),
        ),
    ] {
        let error = settings.build().expect_err(&expected);
        let problems: Vec<String> = error.problems().map(ToString::to_string).collect();
        assert_eq!(problems, [expected]);
    }
}

/// Returns the lines at WARN that a build logs.
fn warned(settings: EntraAuthBuilder) -> Vec<String> {
    let (log, _guard) = Log::capture();
    let built = settings.build();
    assert!(built.is_ok(), "{built:?}");
    let text = log.text();
    let warned = text
        .lines()
        .filter(|line| line.trim_start().starts_with("WARN"));
    warned.map(str::to_owned).collect()
}

#[test]
fn users_of_every_organization_are_warned_of_once_unless_a_rule_decides() {
    let of = |tenancy| EntraAuth::builder().tenant(tenancy).client_id(API);
    for tenancy in [
        Tenancy::organizations(),
        Tenancy::common(),
        Tenancy::consumers(),
    ] {
        let lines = warned(of(tenancy.clone()));
        if tenancy == Tenancy::consumers() {
            assert_eq!(lines, [] as [String; 0]);
            continue;
        }
        let [line] = &*lines else { panic!("{lines:?}") };
        assert!(
            line.contains("users of every organization may call: anyone can create a tenant"),
            "{line}"
        );
        assert_eq!(field(line, "tenants"), Some(tenancy.to_string()));
        assert_eq!(
            field(line, "remedy").as_deref(),
            Some(
                "list the tenants that may call in tenant (ENTRA_TENANT_ID), by their ids, \
                 separated by commas; or decide about each tenant with tenant_rule(..)"
            )
        );
    }
    let allowed = async |_| Ok::<_, String>(true);
    assert!(warned(of(Tenancy::organizations()).tenant_rule(allowed)).is_empty());
    let allowed = async |_| Ok::<_, String>(true);
    assert!(warned(of(Tenancy::organizations()).caller_rule(allowed)).is_empty());
    assert!(warned(of(OTHER_TENANT.parse::<Tenancy>().unwrap())).is_empty());
}

#[test]
fn where_agents_are_refused_the_start_says_what_that_needs() {
    let (log, _guard) = Log::capture();
    good().refuse_agents().build().unwrap();
    let text = log.text();
    let words = "agents are refused, if the token marks them";
    let line = text.lines().find(|line| line.contains(words)).unwrap();
    assert!(line.contains("INFO"), "{line}");
    assert_eq!(
        field(line, "remedy").as_deref(),
        Some(
            "request the claims of agents in the API's manifest: optionalClaims, accessToken, \
             xms_par_app_azp, xms_act_fct, xms_sub_fct and idtyp"
        )
    );
}

#[tokio::test]
async fn nothing_is_said_of_what_was_not_built() {
    let tenant = tenant().await;
    let (log, _guard) = Log::capture();
    settings(&tenant)
        .clock_skew(std::time::Duration::MAX)
        .build()
        .unwrap_err();
    assert_eq!(log.text(), "");
}

#[tokio::test]
async fn a_development_tenant_that_is_not_running_is_what_to_start() {
    // The port is bound, so that no other program gets it, but nothing listens on it.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let free = socket.local_addr().unwrap();
    let auth = good()
        .metadata_endpoint(format!("http://{free}"))
        .build()
        .unwrap();
    let failure = auth.ready().await.unwrap_err();
    assert_eq!(failure.to_string(), format!("no connection to {free}"));
    assert_eq!(
        failure.remedy(),
        format!(
            "start the development tenant at {free}: entra-dev-tenant --listen {free}; or correct \
             metadata_endpoint (ENTRA_METADATA_ENDPOINT)"
        )
    );
}
