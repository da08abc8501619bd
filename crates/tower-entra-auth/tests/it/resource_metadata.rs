//! Tests of the metadata from which clients learn how to get a token (RFC 9728).

use axum::Router;
use axum::routing::{get, post};
use entra_dev_tenant::DevTenant;
use http::{Method, Request};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_entra_auth::{
    AppPermission, EntraAuth, EntraAuthBuilder, Scope,
    require::AuthenticationContext,
    resource_metadata::ProtectedResource,
    token::{SentToken, TokenSource},
};

use crate::support::{
    API, CLIENT, OTHER_TENANT, Server, client, header, serve, settings, tenant, user,
};

pub(crate) const RESOURCE: &str = "https://mcp.example.com/mcp";
const METADATA: &str = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp";
const OWN: &str = "/.well-known/oauth-protected-resource/mcp";
const ROOT: &str = "/.well-known/oauth-protected-resource";

pub(crate) fn resource() -> ProtectedResource {
    ProtectedResource::at(RESOURCE).scopes(["Mcp.Access"])
}

fn of(tenant: &DevTenant, resource: ProtectedResource) -> EntraAuth {
    settings(tenant)
        .protected_resource(resource)
        .build()
        .unwrap()
}

/// Returns `POST /mcp` behind the Layer, and the metadata around everything.
fn app(auth: &EntraAuth) -> Router {
    Router::new()
        .route("/mcp", post(async || "ok"))
        .layer(auth.layer())
        .layer(auth.resource_metadata().unwrap())
}

async fn document(auth: &EntraAuth, path: &str) -> Value {
    let response = ask(&serve(app(auth)).await, Method::GET, path).await;
    assert_eq!(response.status(), 200, "{path}");
    assert_eq!(header(&response, "x-content-type-options"), Some("nosniff"));
    let text = response.text().await.unwrap();
    serde_json::from_str(&text).unwrap()
}

async fn ask(server: &Server, method: Method, path: &str) -> reqwest::Response {
    let request = client().request(method, format!("{}{path}", server.url));
    request.send().await.unwrap()
}

#[tokio::test]
async fn the_document_is_served_at_its_own_path_and_at_the_root() {
    let tenant = tenant().await;
    let auth = of(
        &tenant,
        resource()
            .name("Reports")
            .documentation("https://docs.example.com/mcp"),
    );
    let expected = json!({
        "resource": RESOURCE,
        "authorization_servers": [format!("https://login.microsoftonline.com/{}/v2.0", tenant.id())],
        "scopes_supported": [format!("api://{API}/Mcp.Access")],
        "bearer_methods_supported": ["header"],
        "resource_name": "Reports",
        "resource_documentation": "https://docs.example.com/mcp",
    });
    for path in [OWN, ROOT] {
        assert_eq!(document(&auth, path).await, expected);
    }
    assert!(auth.resource_metadata().unwrap().paths().eq([OWN, ROOT]));

    // Empty and duplicate values are left out.
    let whole = ProtectedResource::at("http://127.0.0.1:8080").name("");
    let whole = of(&tenant, whole.scopes(["Mcp.Access", " Mcp.Access"]));
    assert!(whole.resource_metadata().unwrap().paths().eq([ROOT]));
    let expected = json!({
        "resource": "http://127.0.0.1:8080",
        "authorization_servers": [format!("https://login.microsoftonline.com/{}/v2.0", tenant.id())],
        "scopes_supported": [format!("api://{API}/Mcp.Access")],
        "bearer_methods_supported": ["header"],
    });
    assert_eq!(document(&whole, ROOT).await, expected);
}

#[tokio::test]
async fn scopes_have_the_form_in_which_that_authorization_server_wants_them() {
    let tenant = tenant().await;
    for (server, scopes, first, step) in [
        // An authorization server in front of Entra has short names.
        (
            "https://mcp.example.com",
            vec!["Mcp.Access", "Mcp.Read"],
            "Mcp.Access Mcp.Read",
            "Reports.Write",
        ),
        (
            "https://LOGIN.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0",
            vec!["Mcp.Access"],
            "api://6e74172b-be56-4843-9ff4-e66a39bb12e3/Mcp.Access",
            "api://6e74172b-be56-4843-9ff4-e66a39bb12e3/Reports.Write",
        ),
    ] {
        let resource = ProtectedResource::at(RESOURCE).scopes(scopes);
        let auth = of(&tenant, resource.authorization_server(server));
        let published = document(&auth, OWN).await;
        assert_eq!(published["authorization_servers"], json!([server]));
        let supported: Vec<&str> = first.split(' ').collect();
        assert_eq!(published["scopes_supported"], json!(supported));

        let required = auth.require(Scope("Reports.Write")).unwrap();
        let app = Router::new().route("/mcp", post(async || "ok").layer(required));
        let server = serve(app.layer(auth.layer())).await;
        let challenge = format!("Bearer scope=\"{first}\", resource_metadata=\"{METADATA}\"");
        let response = ask(&server, Method::POST, "/mcp").await;
        assert_eq!(header(&response, "www-authenticate"), Some(&*challenge));
        let request = client().post(format!("{}/mcp", server.url));
        let response = request
            .bearer_auth(user(&tenant).mint())
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 403);
        let challenge = format!(
            "Bearer error=\"insufficient_scope\", scope=\"{step}\", \
             resource_metadata=\"{METADATA}\", error_description=\"missing_scope\""
        );
        assert_eq!(header(&response, "www-authenticate"), Some(&*challenge));
    }
    // Without scopes, a challenge names none, unless the authorization server is Entra.
    let resource = ProtectedResource::at(RESOURCE).authorization_server("https://mcp.example.com");
    let auth = of(&tenant, resource);
    assert_eq!(document(&auth, OWN).await.get("scopes_supported"), None);
    let response = ask(&serve(app(&auth)).await, Method::POST, "/mcp").await;
    let challenge = format!("Bearer resource_metadata=\"{METADATA}\"");
    assert_eq!(header(&response, "www-authenticate"), Some(&*challenge));
}

#[tokio::test]
async fn every_challenge_points_to_the_document_in_the_one_form() {
    let tenant = tenant().await;
    let auth = of(&tenant, resource());
    let strong = auth.require(AuthenticationContext("c1")).unwrap();
    let permission = auth.require(AppPermission("Admin.All")).unwrap();
    let app = Router::new()
        .route("/mcp", get(async || "ok").post(async || "ok"))
        .route("/strong", get(async || "ok").layer(strong))
        .route("/permission", get(async || "ok").layer(permission))
        .layer(auth.layer());
    let server = serve(app).await;
    let first = format!("scope=\"api://{API}/Mcp.Access\", resource_metadata=\"{METADATA}\"");
    let pointer = format!("resource_metadata=\"{METADATA}\"");
    let application = || tenant.app(CLIENT).for_api(API);
    for (path, token, status, expected) in [
        ("/mcp", String::new(), 401, format!("Bearer {first}")),
        (
            "/mcp",
            user(&tenant).expired().mint(),
            401,
            format!("Bearer error=\"invalid_token\", {first}, error_description=\"expired\""),
        ),
        (
            "/mcp",
            application().mint(),
            403,
            format!(
                "Bearer error=\"insufficient_scope\", {first}, error_description=\"no_permission\""
            ),
        ),
        // No scope would suffice.
        (
            "/permission",
            application().role("Other").mint(),
            403,
            format!(
                "Bearer error=\"insufficient_scope\", {pointer}, \
                 error_description=\"missing_app_permission\""
            ),
        ),
        (
            "/strong",
            user(&tenant).capability("cp1").mint(),
            401,
            format!(
                "Bearer error=\"insufficient_claims\", \
                 claims=\"eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19\", \
                 authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\", \
                 {pointer}, error_description=\"step_up\""
            ),
        ),
    ] {
        let mut request = client().get(format!("{}{path}", server.url));
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(header(&response, "www-authenticate"), Some(&*expected));
        assert_eq!(
            response
                .headers()
                .get_all("www-authenticate")
                .iter()
                .count(),
            1
        );
    }
}

/// Checks that a probe with GET is challenged: the client must learn that a token is needed, not
/// that GET is unsupported.
#[tokio::test]
async fn get_is_challenged_before_it_is_said_that_there_is_none() {
    let tenant = tenant().await;
    let auth = of(&tenant, resource());
    let whole = app(&auth);
    let of_the_method = Router::new().route("/mcp", post(async || "ok").layer(auth.layer()));
    let route_layer = Router::new()
        .route("/mcp", post(async || "ok"))
        .route_layer(auth.layer());
    let service = service_fn(async |request: Request<axum::body::Body>| {
        let status = if request.method() == "POST" { 200 } else { 405 };
        let response = http::Response::builder().status(status);
        Ok::<_, std::convert::Infallible>(response.body(axum::body::Body::empty()).unwrap())
    });
    let nested = Router::new().nest_service("/mcp", auth.layer().layer(service));
    for app in [whole, of_the_method, route_layer, nested] {
        let server = serve(app).await;
        for method in [Method::GET, Method::HEAD, Method::DELETE, Method::POST] {
            let response = ask(&server, method.clone(), "/mcp").await;
            assert_eq!(response.status(), 401, "{method}");
            let challenge = header(&response, "www-authenticate").unwrap();
            assert!(challenge.contains(METADATA), "{method} {challenge}");
        }
        let get = client().get(format!("{}/mcp", server.url));
        let get = get.bearer_auth(user(&tenant).mint()).send().await.unwrap();
        assert_eq!(get.status(), 405);
    }
}

#[tokio::test]
async fn scripts_of_any_origin_may_read_it_and_nothing_else_is_answered() {
    let tenant = tenant().await;
    let auth = of(&tenant, resource());
    let server = serve(app(&auth)).await;
    for path in [OWN, ROOT] {
        let get = ask(&server, Method::GET, path).await;
        for (name, value) in [
            ("content-type", "application/json"),
            ("cache-control", "public, max-age=300"),
            ("access-control-allow-origin", "*"),
        ] {
            assert_eq!(header(&get, name), Some(value));
        }
        let length = get.text().await.unwrap().len().to_string();

        let head = ask(&server, Method::HEAD, path).await;
        assert_eq!(head.status(), 200);
        assert_eq!(header(&head, "content-length"), Some(&*length));

        let preflight = ask(&server, Method::OPTIONS, path).await;
        assert_eq!(preflight.status(), 204);
        for (name, value) in [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-methods", "GET, HEAD, OPTIONS"),
            ("access-control-allow-headers", "*"),
        ] {
            assert_eq!(header(&preflight, name), Some(value));
        }

        let post = ask(&server, Method::POST, path).await;
        assert_eq!(post.status(), 405);
        assert_eq!(header(&post, "allow"), Some("GET, HEAD, OPTIONS"));
    }
    for path in [
        "/.well-known/oauth-protected-resource/",
        "/.well-known/oauth-protected-resource/mcp/",
        "/.well-known/oauth-protected-resource/other",
        "/.well-known/oauth-protected-resource/mcp/..",
        "/.well-known/oauth-protected-resource%2Fmcp",
        "/.well-known//oauth-protected-resource",
        "/.well-known/oauth-protected-resourcemcp",
        "/.well-known/oauth-authorization-server",
        "/.WELL-KNOWN/oauth-protected-resource",
    ] {
        // The request is passed on to a route that needs a token.
        let mut path_and_query = path.to_owned();
        path_and_query.push_str("?a=b");
        let response = raw(&server, &get_line(&path_and_query), "Host: localhost").await;
        assert!(response.starts_with("HTTP/1.1 401"), "{path} {response}");
    }
    let with_query = ask(&server, Method::GET, &format!("{OWN}?a=b")).await;
    assert_eq!(with_query.status(), 200);
}

fn get_line(target: &str) -> String {
    format!("GET {target} HTTP/1.1")
}

/// Returns a server's response to bytes that no client would send.
async fn raw(server: &Server, line: &str, headers: &str) -> String {
    let mut stream = server.connect().await;
    let request = format!("{line}\r\n{headers}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    String::from_utf8(response).unwrap()
}

/// Checks that the document depends only on the settings: no request can make it name another host.
#[tokio::test]
async fn whatever_host_a_request_names_the_document_and_the_challenge_are_the_same() {
    let tenant = tenant().await;
    let auth = of(&tenant, resource());
    let server = serve(app(&auth)).await;
    let absolute = format!("http://evil.example{OWN}");
    for (target, headers) in [
        (OWN, "Host: evil.example"),
        (OWN, "Host: evil.example\r\nHost: mcp.example.com"),
        (OWN, "Host: "),
        (OWN, "Host: \"><script>"),
        (OWN, "Host: a@evil.example:99999"),
        (OWN, "X-Forwarded-Host: evil.example"),
        (OWN, "Forwarded: host=evil.example;proto=http\r\nHost: x"),
        (&*absolute, "Host: mcp.example.com"),
        (&*absolute, "Host: evil.example"),
    ] {
        let response = raw(&server, &get_line(target), headers).await;
        assert!(response.starts_with("HTTP/1.1 200"), "{headers} {response}");
        assert!(!response.contains("evil"), "{response}");
        assert!(response.contains(&format!("\"resource\":\"{RESOURCE}\"")));
    }
    for headers in [
        "Host: evil.example",
        "Host: a\r\nHost: evil.example",
        "X: evil",
    ] {
        let response = raw(&server, &get_line("/mcp"), headers).await;
        assert!(response.starts_with("HTTP/1.1 401"), "{response}");
        assert!(response.contains(METADATA) && !response.contains("evil"));
    }
}

#[tokio::test]
async fn it_is_a_service_for_a_router_too() {
    let tenant = tenant().await;
    let auth = of(&tenant, resource());
    let metadata = auth.resource_metadata().unwrap();
    let mut app = Router::new()
        .route("/mcp", post(async || "ok"))
        .layer(auth.layer());
    for path in metadata.paths() {
        app = app.route_service(path, metadata.clone());
    }
    let server = serve(app).await;
    for path in [OWN, ROOT] {
        assert_eq!(ask(&server, Method::GET, path).await.status(), 200);
    }
    // hyper leaves out the body of HEAD; other servers may not.
    let head = Request::head(OWN).body(()).unwrap();
    let head = metadata.clone().oneshot(head).await.unwrap();
    assert!(head.headers().contains_key("content-length"));
    assert_eq!(http_body::Body::size_hint(head.body()).exact(), Some(0));
    let elsewhere = Request::get("/elsewhere").body(()).unwrap();
    assert_eq!(metadata.oneshot(elsewhere).await.unwrap().status(), 404);
}

#[tokio::test]
async fn without_a_resource_nothing_is_published_nor_challenged_with() {
    let tenant = tenant().await;
    let auth = settings(&tenant).build().unwrap();
    let error = auth.resource_metadata().unwrap_err();
    assert!(
        error.to_string().contains(".protected_resource("),
        "{error}"
    );
    let app = Router::new().route("/mcp", post(async || "ok"));
    let response = ask(&serve(app.layer(auth.layer())).await, Method::GET, ROOT).await;
    assert_eq!(response.status(), 401);
    assert_eq!(header(&response, "www-authenticate"), Some("Bearer"));
}

/// Checks that the document says how a token is sent only if it is sent as RFC 6750 specifies.
#[tokio::test]
async fn the_document_says_how_tokens_are_sent() {
    struct Elsewhere;

    impl TokenSource for Elsewhere {
        fn find<'r>(&self, _: tower_entra_auth::token::RequestHead<'r>) -> SentToken<'r> {
            SentToken::Nothing
        }
    }

    let tenant = tenant().await;
    let settings = || settings(&tenant).protected_resource(resource());
    let query = settings().dangerous().token_in_query("access_token");
    let query = document(&query.build().unwrap(), OWN).await;
    assert_eq!(
        query["bearer_methods_supported"],
        json!(["header", "query"])
    );
    let elsewhere = settings().token_source(Elsewhere).build().unwrap();
    let elsewhere = document(&elsewhere, OWN).await;
    assert_eq!(elsewhere.get("bearer_methods_supported"), None);
}

#[tokio::test]
async fn each_tenant_of_a_list_is_an_authorization_server_and_so_is_one_of_external_id() {
    let auth = |settings: EntraAuthBuilder| {
        let resource = resource();
        settings
            .client_id(API)
            .protected_resource(resource)
            .build()
            .unwrap()
    };
    let two = auth(EntraAuth::builder().tenant(format!("{OTHER_TENANT},{CLIENT}")));
    assert_eq!(
        document(&two, OWN).await["authorization_servers"],
        json!([
            format!("https://login.microsoftonline.com/{OTHER_TENANT}/v2.0"),
            format!("https://login.microsoftonline.com/{CLIENT}/v2.0"),
        ])
    );
    let external = EntraAuth::builder().tenant(OTHER_TENANT);
    let external = auth(external.external_id("contoso.ciamlogin.com"));
    let published = document(&external, OWN).await;
    assert_eq!(
        published["authorization_servers"],
        json!([format!(
            "https://{OTHER_TENANT}.ciamlogin.com/{OTHER_TENANT}/v2.0"
        )])
    );
    assert_eq!(
        published["scopes_supported"],
        json!([format!("api://{API}/Mcp.Access")])
    );
}
