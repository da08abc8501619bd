//! Tests of common mistakes in front of a service, each with the exact text of its remedy.
//!
//! The tests check the log at the default level, and the response to the client.

use axum::body::Body;
use axum::{Router, routing::get};
use entra_dev_tenant::{B2cPolicy, Flaw};
use http::Request;
use serde_json::json;
use tower::ServiceExt as _;
use tower_entra_auth::{
    AppPermission, EntraAuth, EntraAuthBuilder, Group, Scope, UserRole, require::IntoCondition,
};

use crate::logs::Log;
use crate::support::{API, CLIENT, OTHER_TENANT, settings, tenant, user};

/// Sends requests to a service, and returns the log lines at the default level, without their
/// target.
pub(crate) async fn lines(
    app: &Router,
    requests: impl IntoIterator<Item = Request<Body>>,
) -> Vec<String> {
    let (log, _guard) = Log::capture();
    for request in requests {
        app.clone().oneshot(request).await.unwrap();
    }
    let text = log.text();
    let lines = text.lines().filter_map(|line| {
        let line = line.trim_start();
        let level = line
            .split(' ')
            .next()
            .filter(|level| matches!(*level, "INFO" | "WARN" | "ERROR"))?;
        let (_, words) = line.split_once(": ")?;
        if words.starts_with("signing keys fetched") {
            return None;
        }
        Some(format!("{level} {words}"))
    });
    lines.collect()
}

/// Returns a service with the Layer around one route.
pub(crate) fn app(auth: &EntraAuth) -> Router {
    Router::new()
        .route("/me", get(async || "served"))
        .layer(auth.layer())
}

pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

fn bearer(token: &str) -> Request<Body> {
    request(
        "GET",
        "/me",
        &[("authorization", &format!("Bearer {token}"))],
    )
}

/// Returns the code, the found value, the expected value and the remedy from a line.
fn fields(line: &str) -> [String; 4] {
    ["code", "found", "expected", "remedy"].map(|name| field(line, name).unwrap_or_default())
}

/// Returns the value of a field as a parser of `key=value` reads it: a quoted text ends with its
/// quotes.
pub(crate) fn field(line: &str, name: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!(" {name}="))?;
    let Some(quoted) = rest.strip_prefix('"') else {
        return rest.split(' ').next().map(str::to_owned);
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return Some(value),
            '\\' => value.extend(characters.next()),
            other => value.push(other),
        }
    }
    None
}

/// Returns the fields of the log line about a request with this token.
async fn said_of(auth: EntraAuthBuilder, token: &str) -> [String; 4] {
    let app = app(&auth.build().unwrap());
    let lines = lines(&app, [bearer(token)]).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    fields(&lines[0])
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_token_is_said_in_one_line() {
    let tenant = tenant().await;
    let good = || settings(&tenant);
    let of_user = || user(&tenant);
    let (id, ours) = (tenant.id(), format!("{API}, api://{API}"));
    let issuer = format!("https://login.microsoftonline.com/{id}/v2.0");
    let b2c = tenant.b2c_token("ada", B2cPolicy::Default).for_api(API);
    let sibling = of_user()
        .claim("iss", "https://other.example.com")
        .header("alg", json!("ES256"))
        .header("typ", json!("at+jwt"));
    for (mistake, auth, token, expected) in [
        (
            "wrong tenant id",
            good(),
            of_user().of_tenant(OTHER_TENANT),
            [
                "tenant_not_allowed",
                OTHER_TENANT,
                id,
                &format!(
                    "if {OTHER_TENANT} is this API's own tenant, set tenant (ENTRA_TENANT_ID) to \
                     it; if it is another tenant that may call, add it there after a comma; \
                     otherwise have the client sign in to an allowed tenant (its authority ends \
                     with the tenant's id)"
                ),
            ],
        ),
        (
            "client id of the client",
            good().client_id(CLIENT),
            of_user(),
            [
                "wrong_audience",
                API,
                &format!("{CLIENT}, api://{CLIENT}"),
                &format!(
                    "if {API} is this API itself, set client_id (ENTRA_CLIENT_ID) to it; otherwise have \
                     the client request the scope api://{CLIENT}/<name> (listed on this API's page \
                     Expose an API)"
                ),
            ],
        ),
        (
            "aud api://custom",
            good(),
            of_user().audience("api://orders"),
            [
                "wrong_audience",
                "api://orders",
                &ours,
                &format!(
                    "if api://orders is this API's Application ID URI (Expose an API), add it with \
                     audience(..); otherwise have the client request the scope api://{API}/<name>"
                ),
            ],
        ),
        (
            "v1 token",
            good(),
            of_user().v1(),
            [
                "v1_token",
                &format!("https://sts.windows.net/{id}/"),
                &issuer,
                "set api.requestedAccessTokenVersion to 2 in the manifest of this API's app registration \
                 (accessTokenAcceptedVersion in the older manifest) and get a new token, or accept v1 \
                 tokens with accept_v1_tokens()",
            ],
        ),
        (
            "Graph token",
            good(),
            tenant.graph_token("ada"),
            [
                "graph_token",
                "a nonce in the header",
                &ours,
                &format!(
                    "request the scope api://{API}/<name> (listed on this API's page Expose an API; add \
                     one if there is none), not a Graph scope such as User.Read; only Graph can verify \
                     its tokens"
                ),
            ],
        ),
        (
            "id token",
            good(),
            tenant.id_token("ada").for_api(API),
            [
                "id_token",
                "an id token",
                "an access token",
                &format!(
                    "send access_token, not id_token, from Entra's response, and have the client \
                     request the scope api://{API}/<name> (listed on this API's page Expose an \
                     API; add one if there is none)"
                ),
            ],
        ),
        (
            "clock",
            good(),
            of_user().flaw(Flaw::NotYetValid),
            [
                "not_yet_valid",
                "valid in 310 s, 10 s beyond the clock skew",
                "within a clock skew of 300 s",
                "the clock of this machine is behind: synchronise it (NTP; for a container, \
                 synchronise its host)",
            ],
        ),
        (
            "wrong cloud",
            good(),
            of_user().flaw(Flaw::IssuerOfAnotherCloud),
            [
                "wrong_cloud",
                &format!("https://login.microsoftonline.us/{id}/v2.0 (usgovernment)"),
                &issuer,
                "if this API's tenant is in that cloud, set cloud (ENTRA_CLOUD) to usgovernment; otherwise \
                 have the client sign in at https://login.microsoftonline.com",
            ],
        ),
        (
            "B2C",
            good(),
            b2c,
            [
                "wrong_issuer",
                &format!("https://contoso.b2clogin.com/{id}/v2.0/"),
                &issuer,
                "the token is of Azure AD B2C, whose tokens are not supported: for people of your \
                 own organization set the client's authority to \
                 https://login.microsoftonline.com/<tenant id>; for customers, to an External ID \
                 tenant (https://<name>.ciamlogin.com), and set external_id(..) to it; accounts \
                 that exist only in B2C must be moved to that tenant",
            ],
        ),
        (
            "token of another instance of the proxy",
            good(),
            sibling,
            [
                "wrong_algorithm",
                "ES256 of https://other.example.com",
                "RS256",
                "the token is of another authorization server (https://other.example.com): connect the \
                 client to this service itself, so that it signs in for it",
            ],
        ),
        (
            "tenant and client id swapped",
            good().tenant(API).client_id(id),
            of_user(),
            [
                "wrong_audience",
                API,
                &format!("{id}, api://{id}"),
                "tenant (ENTRA_TENANT_ID) and client_id (ENTRA_CLIENT_ID) look swapped: one is set to the \
                 other's value",
            ],
        ),
        (
            "no scope and no role",
            good(),
            tenant.user("ada").for_api(API),
            [
                "no_permission",
                "neither scope nor role",
                "a scope or a role",
                "grant the client a scope (for users) or an app role (for applications) of this API: App \
                 registrations, the client, API permissions, then Grant admin consent; or name an \
                 application in allow_roleless_clients(..)",
            ],
        ),
        (
            "an agent where agents are refused",
            good().refuse_agents(),
            of_user().agent(),
            [
                "agent_not_allowed",
                "an agent",
                "a user or an application",
                "call as a user or as an application, without an agent identity; or remove \
                 refuse_agents()",
            ],
        ),
        (
            "dev tenant restarted, old token",
            good(),
            of_user().header("kid", json!("of-before")),
            [
                "unknown_key",
                "of-before",
                "",
                "get a new token: the development tenant on this machine creates new keys at every \
                 start, and has restarted since it issued this token; or the token is of another \
                 tenant",
            ],
        ),
    ] {
        assert_eq!(said_of(auth, &token.mint()).await, expected, "{mistake}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_in_place_of_a_token_is_named() {
    let tenant = tenant().await;
    let token = user(&tenant).mint();
    let malformed = "malformed_authorization";
    for (sent, code, found, remedy) in [
        (
            format!("Bearer {token}"),
            malformed,
            "Bearer twice",
            "send the word Bearer once; the client, or a library in it, adds it already",
        ),
        (
            format!("\"{token}\""),
            malformed,
            "a text in quotes",
            "send the access token without quotes",
        ),
        (
            "undefined".to_owned(),
            "not_a_token",
            "the word undefined",
            "the client has no token: the variable that it sends was never set; find out why it \
             got no token",
        ),
        (
            format!("{{\"token_type\":\"Bearer\",\"access_token\":\"{token}\"}}"),
            malformed,
            "a JSON object",
            "send only the value of access_token, not the whole response of the token endpoint",
        ),
        (
            format!("EwB{}", "A".repeat(900)),
            "not_a_token",
            "an opaque token (1 segment)",
            "request a token for this API, by a scope api://<client id>/<name>; a token without \
             dots is for an API of Microsoft (EwB…: Graph, for a personal account) or of another \
             server, and only that API can read it",
        ),
        (
            "$TOKEN".to_owned(),
            malformed,
            "a placeholder",
            "replace the placeholder with an access token; a shell expands $NAME in double quotes, \
             not in single quotes",
        ),
        (
            format!("{token}, Bearer {token}"),
            malformed,
            "several values",
            "send one access token, and nothing after it",
        ),
        (
            String::new(),
            malformed,
            "Bearer without a token",
            "the client has no token: the variable that it sends is empty; find out why it got no \
             token",
        ),
    ] {
        let said = said_of(settings(&tenant), &sent).await;
        assert_eq!([&*said[0], &said[1], &said[3]], [code, found, remedy]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_valid_token_lacks_is_said_in_one_line() {
    let tenant = tenant().await;
    let auth = settings(&tenant).build().unwrap();
    let group = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4e";
    let job = tenant.app(CLIENT).role("Other.Read.All").for_api(API);
    let groups = json!([group]);
    for (condition, token, code, found, expected, remedy) in [
        (
            Scope("Orders.Read").into_condition(),
            user(&tenant),
            "missing_scope",
            "Reports.Read",
            "Orders.Read",
            "have the client request the scope api://6e74172b-be56-4843-9ff4-e66a39bb12e3/Orders.Read; it \
             is defined on this API's page Expose an API, and granted on the client's page API \
             permissions (Delegated permissions)",
        ),
        (
            UserRole("Admin").into_condition(),
            user(&tenant),
            "missing_role",
            "none",
            "Admin",
            "assign the user the app role Admin: Enterprise applications, this API, Users and groups; if \
             it is not there, create it on this API's page App roles (its Value; allowed member types: \
             Users/Groups); then get a new token",
        ),
        (
            AppPermission("Orders.Read.All").into_condition(),
            job,
            "missing_app_permission",
            "Other.Read.All",
            "Orders.Read.All",
            "grant the client the application permission Orders.Read.All: App registrations, the client, \
             API permissions, Application permissions, then Grant admin consent; if it is not there, \
             create it on this API's page App roles (its Value; allowed member types: Applications); \
             then get a new token",
        ),
        (
            AppPermission("Orders.Read.All").into_condition(),
            user(&tenant),
            "app_required",
            "",
            "an application without a user",
            "grant the client an app role of this API (its API permissions, Application permissions, then \
             Grant admin consent) and have it request api://6e74172b-be56-4843-9ff4-e66a39bb12e3/.default \
             by client credentials; or require a Scope as an alternative",
        ),
        (
            Group(group).into_condition(),
            user(&tenant).groups_overage(),
            "groups_overage",
            "too many groups to list",
            "a list of groups, to check for 0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4e",
            "in two steps: (1) emit only the groups assigned to the application: App registrations, this \
             API, Token configuration, groups claim (in the manifest \"groupMembershipClaims\": \
             \"ApplicationGroup\"); (2) assign the group 0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4e: Enterprise \
             applications, this API, Users and groups (nested groups do not count). Or require an app role \
             instead",
        ),
        (
            Group("Sales").into_condition(),
            user(&tenant).claim("groups", groups),
            "missing_group",
            "groups by their ids",
            "a member of the group Sales",
            "require the group by its Object ID (Entra admin center, Groups, the group, Overview), not by \
             the name Sales: the token lists groups by their ids",
        ),
        (
            Group(group).into_condition(),
            user(&tenant),
            "groups_not_emitted",
            "no groups claim",
            "a list of groups",
            "add the groups claim: App registrations, this API, Token configuration, Add groups \
             claim, Groups assigned to the application (in the manifest \"groupMembershipClaims\": \
             \"ApplicationGroup\"), and assign the group (Enterprise applications, this API, Users \
             and groups); a user who is in none of these groups has no such claim either",
        ),
    ] {
        let app = Router::new()
            .route("/me", get(async || "served"))
            .layer(auth.require(condition).unwrap())
            .layer(auth.layer());
        let lines = lines(&app, [bearer(&token.mint())]).await;
        assert_eq!(fields(&lines[0]), [code, found, expected, remedy]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_mistake_within_a_second_has_a_line_of_its_own() {
    let tenant = tenant().await;
    let auth = settings(&tenant).build().unwrap();
    let protected = |scope: &str| {
        let layer = auth.require(Scope(scope)).unwrap();
        get(async || "served").layer(layer)
    };
    let app = Router::new()
        .route("/a", protected("Orders.Read"))
        .route("/b", protected("Orders.Write"))
        .route("/c", protected("Orders.Delete"))
        .layer(auth.layer());
    let token = format!("Bearer {}", user(&tenant).mint());
    let paths = ["/a", "/b", "/c", "/a"];
    let requests = paths.map(|path| request("GET", path, &[("authorization", &token)]));
    let lines = lines(&app, requests).await;
    let expected: Vec<_> = lines
        .iter()
        .map(|line| field(line, "expected").unwrap())
        .collect();
    assert_eq!(expected, ["Orders.Read", "Orders.Write", "Orders.Delete"]);
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_one_mistake_whenever_it_expired() {
    let tenant = tenant().await;
    let app = app(&settings(&tenant).build().unwrap());
    let expired = |ago: i64| {
        let issued = user(&tenant).issued_ago(std::time::Duration::from_secs(20_000));
        bearer(&issued.expires_in(-400 - ago).mint())
    };
    let lines = lines(&app, (0..5).map(expired)).await;
    let codes: Vec<_> = lines
        .iter()
        .map(|line| field(line, "code").unwrap())
        .collect();
    assert_eq!(codes, ["expired"]);
}
