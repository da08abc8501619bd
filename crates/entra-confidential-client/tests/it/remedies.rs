//! Tests of the operator's remedy for each grant and error of Entra.

use entra_confidential_client::{AuthorizationCode, TokenError, TokenErrorKind, TokenRequest};
use entra_dev_tenant::{AppRegistration, DevTenant};

use crate::support::{CLIENT, Script, Step, json, refusal};

const GRAPH: [&str; 1] = ["https://graph.microsoft.com/User.Read"];

fn on_behalf_of() -> TokenRequest {
    TokenRequest::on_behalf_of("token", GRAPH)
}

fn refresh() -> TokenRequest {
    TokenRequest::refresh_token("token", GRAPH)
}

fn code() -> TokenRequest {
    let code = AuthorizationCode::new("code").redirect_uri("https://a.example/cb");
    TokenRequest::authorization_code(code.code_verifier("verifier"), GRAPH)
}

async fn error_of(request: TokenRequest, step: Step) -> TokenError {
    let script = Script::new([step]);
    script.client().send(request).await.unwrap_err()
}

#[tokio::test]
async fn a_remedy_is_about_the_grant_and_the_error() {
    let no_exchange = "this server does not support the on-behalf-of grant (entra-dev-tenant does \
        not): try the exchange with a tenant of Entra, or in a test with made-up tokens";
    let no_grant = "this server does not support the requested grant, but Entra does: check the \
        authority";
    let scopes = "request each scope by its full name, such as api://<client id>/<name>, and \
        scopes of one API only; each scope must be on the page Expose an API of the API's app \
        registration, and on the page API permissions of this application's app registration";
    let api = "this tenant does not know the API of the scopes: check the API's App ID URI, and \
        that an administrator of the tenant has consented";
    let request = "a parameter of the request is missing or not acceptable to Entra: look up the \
        AADSTS number, or the correlation id in Entra's sign-in log";
    for (sent, error, code, remedy) in [
        (
            on_behalf_of(),
            "unsupported_grant_type",
            70_003,
            no_exchange,
        ),
        (refresh(), "unsupported_grant_type", 70_003, no_grant),
        (on_behalf_of(), "invalid_scope", 70_011, scopes),
        (code(), "invalid_client", 650_053, scopes),
        (code(), "invalid_scope", 650_053, scopes),
        (refresh(), "invalid_resource", 1, api),
        (refresh(), "invalid_target", 1, api),
        (refresh(), "invalid_request", 900_144, request),
        (
            code(),
            "invalid_grant",
            70_000,
            "let the user sign in again; if every sign-in ends like this, redirect_uri or \
             code_verifier does not match the request to the authorization endpoint",
        ),
        (
            refresh(),
            "invalid_grant",
            70_000,
            "let the user sign in again",
        ),
        (
            on_behalf_of(),
            "invalid_grant",
            70_000,
            "exchange an access token whose audience is this application, before it expires; \
             otherwise let the user sign in again",
        ),
    ] {
        let found = error_of(sent, json(400, &refusal(400, error, code))).await;
        assert_eq!(found.remedy(), remedy, "{error} {code}");
    }
}

/// Runs against `entra-dev-tenant` itself.
#[tokio::test]
async fn the_development_tenant_is_said_to_have_no_exchange_of_tokens() {
    let application = AppRegistration::new(CLIENT).secret("secret");
    let tenant = DevTenant::builder()
        .register(application)
        .start()
        .await
        .unwrap();
    let script = Script::default();
    let settings = script.settings(entra_confidential_client::Secret::new("secret"));
    let authority = format!("{}/{}", tenant.url(), tenant.id());
    let settings = settings.authority(authority);
    let client = settings.http_client(tenant.http_client()).build().unwrap();
    let error = client.send(on_behalf_of()).await.unwrap_err();
    assert_eq!(error.error(), Some("unsupported_grant_type"));
    assert!(
        error.remedy().contains("entra-dev-tenant does not"),
        "{}",
        error.remedy()
    );
}

#[tokio::test]
async fn no_answer_names_host_and_port() {
    let error = error_of(code(), Step::Fail("connection reset".into())).await;
    assert_eq!(error.kind(), TokenErrorKind::NoResponse);
    let text = "no response from login.microsoftonline.com:443: the HTTP client failed: \
        connection reset (";
    assert!(error.to_string().starts_with(text), "{error}");
    assert_eq!(
        error.remedy(),
        "check DNS, proxy (HTTPS_PROXY), firewall and CA certificates between this machine and the token \
         endpoint"
    );
}
