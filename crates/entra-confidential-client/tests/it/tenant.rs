//! Tests of each credential and each grant against `entra-dev-tenant`, which shares no code with
//! this crate.

use entra_confidential_client::{
    AuthorizationCode, Certificate, ConfidentialClient, Credential, FederatedAssertion, Secret,
    TokenErrorKind, TokenRequest,
};
use entra_dev_tenant::{AppRegistration, DevTenant, ExternalIssuer};

use crate::support::{CLIENT, CLIENT_SECRET, TempDir, issued};

const REDIRECT_URI: &str = "https://app.contoso.com/callback";

fn application() -> AppRegistration {
    AppRegistration::new(CLIENT)
        .redirect_uri(REDIRECT_URI)
        .scope("Reports.Read")
}

async fn tenant(application: AppRegistration) -> DevTenant {
    let tenant = DevTenant::builder().register(application).start().await;
    tenant.unwrap()
}

fn client(tenant: &DevTenant, credential: impl Into<Credential>) -> ConfidentialClient {
    ConfidentialClient::builder()
        .authority(format!("{}/{}", tenant.url(), tenant.id()))
        .client_id(CLIENT)
        .credential(credential)
        .clock(tenant.clock())
        .build()
        .unwrap()
}

fn scopes() -> [String; 3] {
    let read = format!("api://{CLIENT}/Reports.Read");
    [read, "openid".to_owned(), "offline_access".to_owned()]
}

/// Signs the user in, and returns a request that redeems the code. The challenge is the one of RFC
/// 7636.
fn redemption(tenant: &DevTenant) -> TokenRequest {
    let request = format!(
        "{}/{}/oauth2/v2.0/authorize?client_id={CLIENT}&response_type=code&state=s\
         &redirect_uri={REDIRECT_URI}&scope={}&code_challenge_method=S256\
         &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        tenant.url(),
        tenant.id(),
        scopes().join("%20"),
    );
    let callback = tenant.people().sign_in("ada", &request);
    let (_, code) = callback.split_once("code=").unwrap();
    let code = code.split('&').next().unwrap();
    let code = AuthorizationCode::new(code)
        .redirect_uri(REDIRECT_URI)
        .code_verifier("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    TokenRequest::authorization_code(code, scopes())
}

#[tokio::test]
async fn a_code_is_redeemed_and_its_refresh_token_renewed_with_a_secret() {
    let tenant = tenant(application().secret(CLIENT_SECRET)).await;
    let entra = client(&tenant, Secret::new(CLIENT_SECRET));
    let tokens = entra.send(redemption(&tenant)).await.unwrap();
    assert!(tokens.id_token.is_some());
    let scope = tokens.scope.unwrap();
    assert!(
        scope.starts_with(&format!("api://{CLIENT}/Reports.Read")),
        "{scope}"
    );
    let refresh_token = tokens.refresh_token.unwrap();
    let request = TokenRequest::refresh_token(&refresh_token, scopes());
    let renewed = entra.send(request.clone()).await.unwrap();
    assert_ne!(
        renewed.access_token.expose_secret(),
        tokens.access_token.expose_secret()
    );

    tenant.people().revoke_sessions("ada");
    let error = entra.send(request).await.unwrap_err();
    assert_eq!(error.kind(), TokenErrorKind::InvalidGrant, "{error}");
}

#[tokio::test]
async fn a_certificate_proves_the_application() {
    let tenant = tenant(application().certificate(&issued(0).certificate_pem)).await;
    let good = Certificate::from_pem(issued(0).pem()).unwrap();
    let tokens = client(&tenant, good)
        .send(redemption(&tenant))
        .await
        .unwrap();
    assert!(tokens.refresh_token.is_some());

    let stranger = Certificate::from_pem(issued(1).pem()).unwrap();
    let error = client(&tenant, stranger)
        .send(redemption(&tenant))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), TokenErrorKind::InvalidClient, "{error}");
    assert_eq!(error.error_codes().as_deref(), Some("AADSTS700027"));
}

/// Uses a certificate, because `entra-dev-tenant` accepts assertions only for its own token
/// endpoint.
#[tokio::test]
async fn a_request_to_another_tenant_proves_the_application_there() {
    let tenant = tenant(application().certificate(&issued(0).certificate_pem)).await;
    let entra = ConfidentialClient::builder()
        .authority(format!("{}/organizations", tenant.url()))
        .client_id(CLIENT)
        .credential(Certificate::from_pem(issued(0).pem()).unwrap())
        .clock(tenant.clock())
        .build()
        .unwrap();
    let request = redemption(&tenant).tenant(tenant.id().to_string());
    let tokens = entra.send(request).await.unwrap();
    assert!(tokens.refresh_token.is_some());

    let nobody = redemption(&tenant).tenant("nobody.onmicrosoft.com");
    let error = entra.send(nobody).await.unwrap_err();
    assert_eq!(error.error_codes().as_deref(), Some("AADSTS90002"));
}

#[tokio::test]
async fn a_certificate_that_is_replaced_on_disk_proves_it_from_then_on() {
    let folder = TempDir::new("tenant-rotation");
    let path = folder.path("client.pem");
    std::fs::write(&path, issued(0).pem()).unwrap();
    let both = application()
        .certificate(&issued(0).certificate_pem)
        .certificate(&issued(1).certificate_pem);
    let tenant = tenant(both).await;
    let entra = client(&tenant, Certificate::from_pem_file(&path).unwrap());
    entra.send(redemption(&tenant)).await.unwrap();
    let named = || {
        let sent = tenant.token_endpoint().requests().pop().unwrap();
        let assertion = sent.parameter("client_assertion").unwrap().to_owned();
        assertion.split('.').next().unwrap().to_owned()
    };
    let before = named();
    std::fs::write(&path, issued(1).pem()).unwrap();
    entra.send(redemption(&tenant)).await.unwrap();
    assert_ne!(named(), before);
}

#[tokio::test]
async fn a_federated_assertion_proves_it_without_any_secret() {
    let issuer = ExternalIssuer::new("https://oidc.example.com");
    let subject = "system:serviceaccount:mcp:proxy";
    let tenant = tenant(application().trust(&issuer, subject)).await;
    let folder = TempDir::new("tenant-federated");
    let path = folder.path("token");
    std::fs::write(&path, tenant.external_token(&issuer, subject).mint()).unwrap();
    let entra = client(&tenant, FederatedAssertion::from_file(&path));
    entra.send(redemption(&tenant)).await.unwrap();

    std::fs::write(&path, tenant.external_token(&issuer, "another").mint()).unwrap();
    let error = entra.send(redemption(&tenant)).await.unwrap_err();
    assert_eq!(error.kind(), TokenErrorKind::InvalidClient, "{error}");
}

#[tokio::test]
async fn an_expired_secret_is_the_operators_fault_and_the_remedy_says_so() {
    let tenant = tenant(application().expired_secret(CLIENT_SECRET)).await;
    let entra = client(&tenant, Secret::new(CLIENT_SECRET));
    let error = entra.send(redemption(&tenant)).await.unwrap_err();
    assert_eq!(error.kind(), TokenErrorKind::InvalidClient);
    assert_eq!(error.error_codes().as_deref(), Some("AADSTS7000222"));
    assert!(error.remedy().contains("secret"), "{}", error.remedy());
}

#[tokio::test]
async fn what_conditional_access_demands_comes_with_the_error() {
    let tenant = tenant(application().secret(CLIENT_SECRET)).await;
    let entra = client(&tenant, Secret::new(CLIENT_SECRET));
    let tokens = entra.send(redemption(&tenant)).await.unwrap();
    tenant.people().require_interaction("ada");
    let request = TokenRequest::refresh_token(tokens.refresh_token.unwrap(), scopes());
    let error = entra.send(request).await.unwrap_err();
    assert_eq!(error.kind(), TokenErrorKind::InteractionRequired, "{error}");
    assert!(error.claims().is_some_and(|claims| claims.starts_with('{')));
}

#[tokio::test]
async fn a_request_may_be_sent_from_any_task() {
    let tenant = tenant(application().secret(CLIENT_SECRET)).await;
    let entra = client(&tenant, Secret::new(CLIENT_SECRET));
    let request = redemption(&tenant);
    let sent = tokio::spawn(async move {
        let tokens = entra.send(request).await?;
        entra
            .send(TokenRequest::refresh_token(tokens.access_token, ["openid"]))
            .await
    });
    let error = sent.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), TokenErrorKind::InvalidGrant, "{error}");
}
