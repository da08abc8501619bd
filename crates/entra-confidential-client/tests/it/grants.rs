//! Tests of the form that each grant sends, and of the tokens in a successful response.

use std::time::Duration;

use entra_confidential_client::{AuthorizationCode, TokenErrorKind, TokenRequest};
use serde_json::json;

use crate::support::{
    CLIENT, CLIENT_SECRET, CODE, ENDPOINT, Logs, REFRESH_TOKEN, SCOPES, Script, Sent, USER_TOKEN,
    VERIFIER, error_of, json, refresh, refusal, tokens,
};

async fn sent(request: TokenRequest) -> Sent {
    let script = Script::new([json(200, &tokens())]);
    script.client().send(request).await.unwrap();
    script.sent().remove(0)
}

fn code() -> TokenRequest {
    let code = AuthorizationCode::new(CODE)
        .redirect_uri("https://app.contoso.com/callback")
        .code_verifier(VERIFIER);
    TokenRequest::authorization_code(code, SCOPES)
}

#[track_caller]
fn assert_form(sent: &Sent, expected: &[(&str, &str)]) {
    let form: Vec<_> = sent.form.iter().map(|(k, v)| (&**k, &**v)).collect();
    let mut expected = expected.to_vec();
    expected.extend([("client_id", CLIENT), ("client_secret", CLIENT_SECRET)]);
    expected.sort_unstable();
    assert_eq!(form, expected);
}

#[tokio::test]
async fn a_code_is_redeemed_with_its_verifier_and_the_scopes() {
    let sent = sent(code()).await;
    assert_form(
        &sent,
        &[
            ("grant_type", "authorization_code"),
            ("code", CODE),
            ("code_verifier", VERIFIER),
            ("redirect_uri", "https://app.contoso.com/callback"),
            ("scope", "api://6e74172b/Reports.Read offline_access"),
        ],
    );
    assert_eq!(sent.uri, ENDPOINT);
    let header = |name| sent.headers[name].to_str().unwrap();
    assert_eq!(header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(header("accept"), "application/json");
    assert_eq!(header("client-request-id").len(), 36);
    assert!(!sent.headers.contains_key("authorization"));
}

#[tokio::test]
async fn a_correlation_id_is_sent_as_it_is_and_found_in_the_error() {
    let id = "0f9c1f4e-6f0b-4d2e-9b0a-0d3f5f7a1c2b";
    let sent = sent(code().correlation_id(id)).await;
    assert_eq!(sent.headers["client-request-id"], id);
    let script = Script::new([json(500, &json!({}))]);
    let error = script.client().send(code().correlation_id(id)).await;
    assert_eq!(error.unwrap_err().correlation_id(), Some(id));
}

#[tokio::test]
async fn a_refresh_says_its_scopes_and_its_claims_unchanged() {
    let claims = r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#;
    let sent = sent(refresh().claims(claims)).await;
    assert_form(
        &sent,
        &[
            ("grant_type", "refresh_token"),
            ("refresh_token", REFRESH_TOKEN),
            ("scope", "api://6e74172b/Reports.Read offline_access"),
            ("claims", claims),
        ],
    );
}

#[tokio::test]
async fn the_application_asks_for_itself() {
    let scope = ["https://graph.microsoft.com/.default"];
    let sent = sent(TokenRequest::client_credentials(scope)).await;
    assert_form(
        &sent,
        &[("grant_type", "client_credentials"), ("scope", scope[0])],
    );
}

#[tokio::test]
async fn a_users_token_is_exchanged_for_one_to_a_downstream_api() {
    let scope = ["https://graph.microsoft.com/User.Read"];
    let sent = sent(TokenRequest::on_behalf_of(USER_TOKEN, scope)).await;
    assert_form(
        &sent,
        &[
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", USER_TOKEN),
            ("requested_token_use", "on_behalf_of"),
            ("scope", scope[0]),
        ],
    );
}

#[tokio::test]
async fn a_request_goes_to_its_own_tenant_or_to_the_authoritys() {
    let script = Script::new((0..3).map(|_| json(200, &tokens())));
    let entra = script.client();
    let scope = ["https://graph.microsoft.com/User.Read"];
    let on_behalf = TokenRequest::on_behalf_of(USER_TOKEN, scope);
    for tenant in [
        "8a4925a9-fd8e-4866-b31c-f719fb05dce6",
        "fabrikam.onmicrosoft.com",
    ] {
        entra.send(on_behalf.clone().tenant(tenant)).await.unwrap();
        let sent = script.sent().pop().unwrap();
        let endpoint = format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token");
        assert_eq!(sent.uri, endpoint);
    }
    // The next request does not use that tenant any more.
    entra.send(on_behalf).await.unwrap();
    assert_eq!(script.sent().pop().unwrap().uri, ENDPOINT);
}

#[tokio::test]
async fn what_is_no_tenant_is_refused_and_nothing_is_sent() {
    let long = "a".repeat(254);
    for tenant in [
        "",
        ".",
        "..",
        " ",
        "a/b",
        "../evil",
        "evil.example/t",
        "/evil.example",
        "//evil.example",
        "\\evil.example",
        "@evil.example",
        "t?x=y",
        "t#x",
        "t%2f..",
        "%2e%2e",
        "t:443",
        "a b",
        "t\r\nhost: evil.example",
        "t\0",
        "mün.example",
        "b2c_1_sign_in",
        &long,
    ] {
        let script = Script::default();
        let entra = script.client();
        let logs = Logs::capture();
        let error = entra.send(refresh().tenant(tenant)).await.unwrap_err();
        assert_eq!(error.kind(), TokenErrorKind::Misconfigured, "{tenant:?}");
        assert_eq!(
            error.to_string(),
            "the tenant is neither an id nor a domain name"
        );
        assert!(error.remedy().contains("nothing was sent"));
        assert!(script.sent().is_empty());
        assert!(!logs.text().contains("tenant="), "{}", logs.text());
    }
}

#[tokio::test]
async fn the_log_has_the_tenant_of_a_request() {
    let script = Script::new([json(400, &refusal(400, "invalid_grant", 500_131))]);
    let logs = Logs::capture();
    let request = refresh().tenant("fabrikam.com");
    script.client().send(request).await.unwrap_err();
    assert!(
        logs.text().contains("tenant=\"fabrikam.com\""),
        "{}",
        logs.text()
    );
}

#[tokio::test]
async fn every_token_of_the_answer_is_returned() {
    let script = Script::new([json(200, &tokens())]);
    let tokens = script.client().send(code()).await.unwrap();
    assert_eq!(
        tokens.access_token.expose_secret(),
        "eyJ0eXAi.new-access-token"
    );
    let expose = |token: Option<entra_confidential_client::Secret>| {
        token.map(|token| token.expose_secret().to_owned())
    };
    assert_eq!(
        expose(tokens.refresh_token).unwrap(),
        "0.AXkA-new-refresh-token"
    );
    assert_eq!(expose(tokens.id_token).unwrap(), "eyJ0eXAi.new-id-token");
    assert_eq!(tokens.expires_in, Duration::from_secs(3_599));
    assert_eq!(tokens.scope.unwrap(), "api://6e74172b/Reports.Read");
}

#[tokio::test]
async fn only_the_access_token_and_its_lifetime_are_required() {
    for expires_in in [json!(60), json!("60")] {
        let document = json!({
            "token_type": "bearer",
            "expires_in": expires_in,
            "access_token": "token",
        });
        let script = Script::new([json(200, &document)]);
        let tokens = script.client().send(refresh()).await.unwrap();
        assert_eq!(tokens.expires_in, Duration::from_secs(60));
        assert!(tokens.refresh_token.is_none() && tokens.id_token.is_none());
        assert!(tokens.scope.is_none());
    }
}

#[tokio::test]
async fn an_answer_without_a_good_token_is_none() {
    for (member, value) in [
        ("access_token", json!(null)),
        ("access_token", json!("")),
        ("access_token", json!(1)),
        ("token_type", json!(null)),
        ("token_type", json!("mac")),
        ("expires_in", json!(null)),
        ("expires_in", json!(0)),
        ("expires_in", json!("0")),
        ("expires_in", json!(-60)),
        ("expires_in", json!(1.5)),
        ("expires_in", json!("soon")),
    ] {
        let mut document = tokens();
        document[member] = value.clone();
        let error = error_of(json(200, &document)).await;
        assert_eq!(
            error.kind(),
            TokenErrorKind::InvalidResponse,
            "{member} {value}"
        );
        assert!(error.to_string().contains(member), "{error}");
    }
}

#[tokio::test]
async fn a_lifetime_beyond_reason_is_cut_so_that_times_can_be_added() {
    let mut document = tokens();
    document["expires_in"] = json!(u64::MAX);
    let script = Script::new([json(200, &document)]);
    let tokens = script.client().send(refresh()).await.unwrap();
    assert!(
        std::time::SystemTime::now()
            .checked_add(tokens.expires_in)
            .is_some()
    );
}

#[tokio::test]
async fn a_request_that_cannot_be_granted_is_not_sent() {
    let none: [&str; 0] = [];
    let code = |code: AuthorizationCode| TokenRequest::authorization_code(code, SCOPES);
    let callback = "https://app.contoso.com/callback";
    for request in [
        TokenRequest::refresh_token(REFRESH_TOKEN, none),
        TokenRequest::refresh_token(REFRESH_TOKEN, [""]),
        TokenRequest::refresh_token(REFRESH_TOKEN, ["openid profile"]),
        TokenRequest::refresh_token(REFRESH_TOKEN, ["a\"b"]),
        TokenRequest::refresh_token("", SCOPES),
        TokenRequest::on_behalf_of("", SCOPES),
        TokenRequest::client_credentials(none),
        refresh().correlation_id("a\r\nb"),
        refresh().correlation_id(""),
        code(AuthorizationCode::new(CODE).code_verifier(VERIFIER)),
        code(AuthorizationCode::new(CODE).redirect_uri(callback)),
        code(
            AuthorizationCode::new("")
                .redirect_uri(callback)
                .code_verifier(VERIFIER),
        ),
        code(
            AuthorizationCode::new(CODE)
                .redirect_uri("")
                .code_verifier(VERIFIER),
        ),
        code(
            AuthorizationCode::new(CODE)
                .redirect_uri(callback)
                .code_verifier(""),
        ),
    ] {
        let script = Script::default();
        let error = script.client().send(request.clone()).await.unwrap_err();
        assert_eq!(error.kind(), TokenErrorKind::Misconfigured, "{request:?}");
        assert!(script.sent().is_empty() && error.correlation_id().is_none());
    }
}
