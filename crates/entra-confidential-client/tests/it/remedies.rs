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
    let no_exchange = "this server has no grant on behalf of a user, as entra-dev-tenant has none: try the \
                       exchange against a tenant of Entra, or with tokens that a test makes up";
    let no_grant = "this server does not have the grant that was asked for; Entra does: check that the \
                    authority is the one that is meant";
    let scopes = "compare the scopes with Expose an API of the app registration that has them, where each \
                  has to be, and with API permissions of this one: in full, such as \
                  api://<client id>/<name>, and of one API";
    let api = "the API of the scopes is not known in this tenant: check its App ID URI, and that an \
               administrator of the tenant has consented";
    let request = "look the AADSTS number up, or the correlation id in Entra's sign-in log: a parameter of \
                   the request is missing, or not as Entra takes it";
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
            "let the user sign in again; if every sign-in ends so, redirect_uri or code_verifier differ \
             from what was sent to the authorization endpoint",
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
            "exchange an access token whose audience is this application, before it expires; else let the \
             user sign in again",
        ),
    ] {
        let found = error_of(sent, json(400, &refusal(400, error, code))).await;
        assert_eq!(found.remedy(), remedy, "{error} {code}");
    }
}

/// Runs against the development tenant itself.
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
        error.remedy().contains("entra-dev-tenant has none"),
        "{}",
        error.remedy()
    );
}

#[tokio::test]
async fn no_answer_names_host_and_port() {
    let error = error_of(refresh(), Step::Fail("connection reset".into())).await;
    assert_eq!(error.kind(), TokenErrorKind::NoResponse);
    let text =
        "no answer from login.microsoftonline.com:443: the HTTP client failed: connection reset (";
    assert!(error.to_string().starts_with(text), "{error}");
    assert_eq!(
        error.remedy(),
        "check DNS, proxy (HTTPS_PROXY), firewall and CA certificates between this machine and the token \
         endpoint"
    );
}
