//! Tests of protected resources that cannot be published, and of the error messages about them.

use tower_entra_auth::{
    EntraAuth, EntraAuthBuilder, Tenancy, resource_metadata::ProtectedResource,
};

use crate::resource_metadata::{RESOURCE, resource};
use crate::support::{API, OTHER_TENANT};

fn problem(resource: ProtectedResource) -> String {
    problem_with(EntraAuth::builder().tenant(OTHER_TENANT), resource)
}

fn problem_with(settings: EntraAuthBuilder, resource: ProtectedResource) -> String {
    let built = settings.client_id(API).protected_resource(resource).build();
    built.unwrap_err().to_string()
}

#[test]
fn each_setting_that_cannot_be_published_is_a_problem_of_its_own() {
    let at = ProtectedResource::at;
    for (url, expected) in [
        ("", "is not a URL"),
        ("mcp.example.com/mcp", "is not a URL"),
        ("/mcp", "is not a URL"),
        (
            "http://mcp.example.com/mcp",
            "uses http, which only loopback addresses may use",
        ),
        ("ftp://mcp.example.com/mcp", "is neither https nor http"),
        ("https://mcp.example.com/mcp/", "ends with a slash"),
        (
            "https://mcp.example.com/mcp?a=b",
            "has a query or a fragment",
        ),
        ("https://mcp.example.com/mcp#a", "has a query or a fragment"),
        (
            "https://ada:secret@mcp.example.com/mcp",
            "has a user name or password",
        ),
        (
            "https://mcp.example.com/a%2Fb",
            "has a character or a segment",
        ),
        (
            "https://mcp.example.com/a/../b",
            "has a character or a segment",
        ),
        (
            "https://mcp.example.com/a//b",
            "has a character or a segment",
        ),
        (
            "https://mcp.example.com/scope=x",
            "has a character or a segment",
        ),
        (
            "https://mcp.example.com/\"x",
            "has a character or a segment",
        ),
    ] {
        let text = problem(at(url));
        assert!(text.contains("- protected_resource.scopes: "), "{text}");
        assert!(text.contains(expected), "{url}: {text}");
        assert!(!text.contains("secret"), "{text}");
    }
    for path in ["/:x", "/{x}", "/*x"] {
        let url = format!("https://mcp.example.com{path}");
        let text = problem(ProtectedResource::at(url));
        assert!(
            text.contains("has a character or a segment") || text.contains("is not a URL"),
            "{text}"
        );
    }
    for url in [
        "https://MCP.Example.com/mcp",
        "HTTPS://mcp.example.com/mcp",
        "https://mcp.example.com:443/mcp",
        "http://localhost:80/mcp",
        "https://mcp.example.com:0/mcp",
        "https://mcp.example.com:08080/mcp",
        "https://mcp.example.com:99999/mcp",
        "https://mcp.example.com:/mcp",
        "https://mcp.example.com./mcp",
        "https://mcp..example.com/mcp",
        "https://a,b/mcp",
        "https://*/mcp",
        "https://0x7f.1/mcp",
        "https://0x7f/mcp",
        "https://2130706433/mcp",
        "https://[0:0:0:0:0:0:0:1]/mcp",
        "https://[::1]x/mcp",
    ] {
        let text = problem(at(url));
        assert!(
            text.contains("has a host or port") || text.contains("is not a URL"),
            "{url}: {text}"
        );
    }
    let long = format!("https://mcp.example.com/{}", "a".repeat(500));
    assert!(problem(at(&long)).contains("is longer than 512"));
    for url in [
        "https://mcp.example.com",
        "https://mcp.example.com/",
        "https://mcp-1.example.com:8443/a/b-c._~/D",
        "http://127.0.0.1:8080/mcp",
        "http://[::1]:8080/mcp",
        "http://localhost/mcp",
    ] {
        let settings = EntraAuth::builder().tenant(OTHER_TENANT).client_id(API);
        let settings = settings.protected_resource(at(url).scopes(["Mcp.Access"]));
        assert!(settings.build().is_ok(), "{url}");
    }
    for (scope, expected) in [
        ("", "is not a scope"),
        ("a b", "is not a scope"),
        ("a\"b", "is not a scope"),
        ("é", "is not a scope"),
        ("api://x/Mcp.Access", "use its short name, \"Mcp.Access\""),
        (
            "6e74172b-be56-4843-9ff4-e66a39bb12e3/Mcp.Access",
            "use its short name, \"Mcp.Access\"",
        ),
        ("offline_access", "a scope of OpenID Connect"),
        ("OpenID", "a scope of OpenID Connect"),
        (".default", "is not a scope"),
        ("a=b", "is not a scope"),
    ] {
        let text = problem(at(RESOURCE).scopes([scope]));
        assert!(text.contains(expected), "{scope}: {text}");
    }
    for server in [
        "",
        "auth.example.com",
        "http://auth.example.com",
        "https://a.example?x",
        "https://a.example/\u{e4}",
        "https://a.example/{tenantid}",
        "https://login.microsoftonline.com/common/v2.0",
        "https://Login.MicrosoftOnline.com/organizations/v2.0",
        "https://login.microsoftonline.com/{tenantid}/v2.0",
        "https://login.microsoftonline.us/contoso.com/v2.0",
    ] {
        let text = problem(at(RESOURCE).authorization_server(server));
        assert!(text.contains("the authorization server \""), "{text}");
    }
    let text = problem(at(RESOURCE).documentation("javascript:alert(1)"));
    assert!(text.contains("the documentation's URL"), "{text}");
    let all = problem(at("x").scopes(["a b", "openid"]).authorization_server("y"));
    for (setting, count) in [("", 1), (".scopes", 2), (".authorization_server", 1)] {
        let named = format!("- protected_resource{setting}: ");
        assert_eq!(all.matches(&named).count(), count, "{setting} in {all}");
    }
    let text = problem(at(RESOURCE));
    assert!(text.contains("no scope is set"), "{text}");
}

/// Checks the Application ID URI, which precedes each scope: it is a setting, too, and becomes a
/// part of each challenge.
#[test]
fn an_app_id_uri_that_would_break_a_challenge_is_a_problem() {
    for uri in [
        "api://x,resource_metadata=\"https://evil.example\",y",
        "api://b\u{fc}cher",
        "api://a\"b",
        "api://a\\b",
        "api://a?scope=b",
    ] {
        let settings = EntraAuth::builder().tenant(OTHER_TENANT).audience(uri);
        let text = problem_with(settings, resource());
        assert!(
            text.contains("cannot be named in a challenge"),
            "{uri}: {text}"
        );
    }
    let many = (0..200).map(|number| format!("Mcp.Access.{number}"));
    let text = problem(ProtectedResource::at(RESOURCE).scopes(many));
    assert!(text.contains("at most 2048 characters"), "{text}");
}

/// Checks tenancies for which Entra's document names an issuer that matches neither tokens nor
/// clients' checks.
#[test]
fn where_any_tenant_is_accepted_the_authorization_server_must_be_named() {
    for tenancy in [Tenancy::organizations(), Tenancy::common()] {
        let settings = || EntraAuth::builder().tenant(tenancy.clone());
        let text = problem_with(settings(), resource());
        assert!(text.contains(".authorization_server(..)"), "{text}");
        let named = ProtectedResource::at(RESOURCE).authorization_server("https://auth.example");
        let built = settings().client_id(API).protected_resource(named).build();
        assert!(built.is_ok());
    }
}
