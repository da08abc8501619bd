//! Tests that no secret is ever printed.

use entra_confidential_client::{
    AuthorizationCode, Certificate, ConfidentialClient, Credential, FederatedAssertion, Secret,
    TokenRequest,
};

use crate::support::{
    CLIENT_SECRET, CODE, Issued, Logs, REFRESH_TOKEN, SCOPES, Script, Step, TempDir, USER_TOKEN,
    VERIFIER, answer, issued, json, refresh, refusal, tokens,
};

const FEDERATED: &str = "eyJ0eXAi.the-federated-token";
const CLAIMS: &str = "{\"id_token\":{\"the-claims\":null}}";

fn requests() -> Vec<TokenRequest> {
    let code = AuthorizationCode::new(CODE)
        .redirect_uri("https://app.contoso.com/callback")
        .code_verifier(VERIFIER);
    assert_clean(&format!("{code:?}"), "");
    vec![
        TokenRequest::authorization_code(code, SCOPES).claims(CLAIMS),
        refresh(),
        TokenRequest::client_credentials(SCOPES),
        TokenRequest::on_behalf_of(USER_TOKEN, SCOPES),
        TokenRequest::refresh_token(REFRESH_TOKEN, ["not a scope"]),
    ]
}

/// Asserts that a text contains none of the secrets, in any notation that the text could use.
#[track_caller]
fn assert_clean(text: &str, assertion: &str) {
    let key = &issued(0).key_pem;
    let in_key = key.lines().nth(5).unwrap();
    let signature = assertion.rsplit('.').next().unwrap();
    for secret in [
        CLIENT_SECRET,
        "s3cr3t",
        CODE,
        VERIFIER,
        REFRESH_TOKEN,
        USER_TOKEN,
        FEDERATED,
        "new-access-token",
        "new-refresh-token",
        "new-id-token",
        "ada@contoso.com",
        "client_assertion",
        assertion,
        signature,
        in_key,
    ] {
        assert!(
            secret.is_empty() || !text.contains(secret),
            "{secret} in {text}"
        );
    }
}

fn steps() -> Vec<Step> {
    vec![
        json(200, &tokens()),
        json(400, &refusal(400, "invalid_grant", 50_173)),
        json(401, &refusal(401, "invalid_client", 7_000_215)),
        Step::Echo(200),
        Step::Echo(400),
        Step::Echo(429),
        Step::Echo(503),
        Step::Answer(answer(400, format!("{CLIENT_SECRET} {REFRESH_TOKEN}"))),
        Step::Fail("reset".into()),
        Step::FailEcho { decoded: false },
        Step::FailEcho { decoded: true },
        json(429, &refusal(429, "temporarily_unavailable", 90_033)),
    ]
}

async fn exercise(credential: impl Into<Credential>) {
    let credential = credential.into();
    assert_clean(&format!("{credential:?}"), "");
    for request in requests() {
        // A request may be repeated.
        for (step, again) in steps().into_iter().zip(steps()) {
            let script = Script::new([step, again]);
            let settings = script.settings(credential.clone());
            assert_clean(&format!("{settings:?}"), "");
            let entra: ConfidentialClient = settings.build().unwrap();
            assert_clean(&format!("{entra:?} {request:?}"), "");

            let logs = Logs::capture();
            let result = entra.send(request.clone()).await;
            let sent = script.sent().pop();
            let assertion = sent.and_then(|sent| sent.form.get("client_assertion").cloned());
            let assertion = assertion.unwrap_or_default();
            assert_clean(&logs.text(), &assertion);
            match result {
                Ok(tokens) => assert_clean(&format!("{tokens:?}"), &assertion),
                Err(error) => {
                    assert_eq!(logs.count("WARN"), 1, "{}", logs.text());
                    let accessors = [error.error(), error.suberror(), error.correlation_id()];
                    let others = [error.trace_id(), error.timestamp(), Some(error.remedy())];
                    let all = format!("{error} {error:?} {accessors:?} {others:?}");
                    assert_clean(&all, &assertion);
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_secret_is_printed_with_a_client_secret() {
    exercise(Secret::new(CLIENT_SECRET)).await;
}

#[tokio::test(start_paused = true)]
async fn no_secret_is_printed_with_a_certificate() {
    exercise(Certificate::from_pem(issued(0).pem()).unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn no_secret_is_printed_with_a_federated_assertion() {
    exercise(FederatedAssertion::from_fn(|| async {
        Ok(FEDERATED.to_owned())
    }))
    .await;
}

#[tokio::test]
async fn no_key_is_printed_when_its_file_breaks() {
    let folder = TempDir::new("redaction");
    let path = folder.path("client.pem");
    let Issued { key_pem, .. } = issued(0);
    std::fs::write(&path, issued(0).pem()).unwrap();
    let credential = Certificate::from_pem_file(&path).unwrap();
    let script = Script::new([json(200, &tokens())]);
    let entra = script.settings(credential).build().unwrap();
    std::fs::write(&path, key_pem).unwrap();
    let logs = Logs::capture();
    entra.send(refresh()).await.unwrap();
    assert_eq!(logs.count("WARN"), 1);
    assert_clean(&logs.text(), "");
    let error = Certificate::from_pem_file(&path).unwrap_err();
    assert_clean(&format!("{error} {error:?}"), "");
}

#[test]
fn a_secret_is_only_shown_to_who_asks() {
    let secret = Secret::new(CLIENT_SECRET);
    assert_eq!(format!("{secret:?} {secret:#?}"), "Secret(…) Secret(…)");
    assert_eq!(secret.expose_secret(), CLIENT_SECRET);
}
