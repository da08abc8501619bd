//! Tests of the one repetition of a request against faults of `entra-dev-tenant`, connected in
//! memory, on paused time.

use std::time::Duration;

use entra_confidential_client::{
    AuthorizationCode, ConfidentialClient, Secret, TokenError, TokenErrorKind, TokenRequest,
    TokenResponse,
};
use entra_dev_tenant::{AppRegistration, DevTenant, Endpoint};
use tokio::time::Instant;

use crate::support::{CLIENT, CLIENT_SECRET};

const REDIRECT_URI: &str = "https://app.contoso.com/callback";
const LOOP: &str = r#"{"error":"invalid_grant","error_codes":[50196]}"#;

struct Scene {
    tenant: DevTenant,
    entra: ConfidentialClient,
}

impl Scene {
    async fn new() -> Self {
        let application = AppRegistration::new(CLIENT)
            .redirect_uri(REDIRECT_URI)
            .scope("Reports.Read")
            .secret(CLIENT_SECRET);
        let tenant = DevTenant::builder().register(application).start().await;
        let tenant = tenant.unwrap();
        let entra = ConfidentialClient::builder()
            .authority(format!("{}/{}", tenant.url(), tenant.id()))
            .client_id(CLIENT)
            .credential(Secret::new(CLIENT_SECRET))
            .http_client(tenant.http_client())
            .clock(tenant.clock())
            .build()
            .unwrap();
        Self { tenant, entra }
    }

    /// Signs the user in, and returns a request that redeems the code. The challenge is the one of
    /// RFC 7636.
    fn code(&self) -> TokenRequest {
        let request = format!(
            "{}/{}/oauth2/v2.0/authorize?client_id={CLIENT}&response_type=code&state=s\
             &redirect_uri={REDIRECT_URI}&scope={}&code_challenge_method=S256\
             &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            self.tenant.url(),
            self.tenant.id(),
            scopes().join("%20"),
        );
        let callback = self.tenant.people().sign_in("ada", &request);
        let (_, code) = callback.split_once("code=").unwrap();
        let code = AuthorizationCode::new(code.split('&').next().unwrap())
            .redirect_uri(REDIRECT_URI)
            .code_verifier("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        TokenRequest::authorization_code(code, scopes())
    }

    async fn refresh(&self) -> TokenRequest {
        let tokens = self.entra.send(self.code()).await.unwrap();
        TokenRequest::refresh_token(tokens.refresh_token.unwrap(), scopes())
    }

    /// Sends the request to an endpoint with this fault, and returns the result, the number of
    /// requests and the time that it took.
    async fn send(
        &self,
        request: TokenRequest,
        fault: impl FnOnce(&Endpoint),
    ) -> (Result<TokenResponse, TokenError>, usize, Duration) {
        let endpoint = self.tenant.token_endpoint();
        let before = endpoint.hits();
        fault(endpoint);
        let started = Instant::now();
        let result = self.entra.send(request).await;
        endpoint.recover();
        (result, endpoint.hits() - before, started.elapsed())
    }
}

fn scopes() -> [String; 3] {
    let read = format!("api://{CLIENT}/Reports.Read");
    [read, "openid".to_owned(), "offline_access".to_owned()]
}

type Fault = fn(&Endpoint, usize);

/// The faults for which a request is repeated, with the kind of the error and the pause in
/// milliseconds. Each fault lasts for this number of requests.
const REPEATED: [(&str, TokenErrorKind, u128, Fault); 7] = [
    (
        "500",
        TokenErrorKind::Unavailable,
        500,
        |endpoint, times| {
            endpoint.fail_with(500).for_next(times);
        },
    ),
    (
        "502",
        TokenErrorKind::Unavailable,
        500,
        |endpoint, times| {
            let page = "<html>Bad gateway</html>";
            endpoint.answer_with(502, "text/html", page).for_next(times);
        },
    ),
    (
        "503",
        TokenErrorKind::Unavailable,
        500,
        |endpoint, times| {
            endpoint.fail_with(503).for_next(times);
        },
    ),
    (
        "504",
        TokenErrorKind::Unavailable,
        500,
        |endpoint, times| {
            endpoint.fail_with(504).for_next(times);
        },
    ),
    ("cut", TokenErrorKind::NoResponse, 0, |endpoint, times| {
        endpoint.truncate().for_next(times);
    }),
    (
        "half",
        TokenErrorKind::InvalidResponse,
        500,
        |endpoint, times| {
            endpoint.answer_invalid_json().for_next(times);
        },
    ),
    (
        "page",
        TokenErrorKind::InvalidResponse,
        500,
        |endpoint, times| {
            endpoint.answer_html().for_next(times);
        },
    ),
];

#[tokio::test(start_paused = true)]
async fn a_refresh_survives_one_bad_response() {
    let scene = Scene::new().await;
    let refresh = scene.refresh().await;
    for (case, _, pause, fault) in REPEATED {
        let fault = |endpoint: &Endpoint| fault(endpoint, 1);
        let (result, requests, took) = scene.send(refresh.clone(), fault).await;
        assert!(result.is_ok(), "{case}: {result:?}");
        assert_eq!((requests, took.as_millis()), (2, pause), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_is_not_sent_a_third_time() {
    let scene = Scene::new().await;
    let refresh = scene.refresh().await;
    for (case, kind, _, fault) in REPEATED {
        let fault = |endpoint: &Endpoint| fault(endpoint, 3);
        let (result, requests, _) = scene.send(refresh.clone(), fault).await;
        assert_eq!(result.unwrap_err().kind(), kind, "{case}");
        assert_eq!(requests, 2, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_code_is_not_repeated_for_any_of_them() {
    let scene = Scene::new().await;
    for (case, kind, _, fault) in REPEATED {
        let code = scene.code();
        let fault = |endpoint: &Endpoint| fault(endpoint, 1);
        let (result, requests, _) = scene.send(code, fault).await;
        assert_eq!(result.unwrap_err().kind(), kind, "{case}");
        assert_eq!(requests, 1, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_names_a_long_time_or_a_loop_is_left_alone() {
    let scene = Scene::new().await;
    let refresh = scene.refresh().await;
    let unavailable = (TokenErrorKind::Unavailable, Some(60));
    let cases: [(_, fn(&Endpoint)); 4] = [
        (unavailable, |endpoint| {
            endpoint.throttle(503, "60");
        }),
        ((TokenErrorKind::Throttled, None), |endpoint| {
            endpoint.fail_with(429);
        }),
        ((TokenErrorKind::Throttled, Some(300)), |endpoint| {
            endpoint.answer_with(400, "application/json", LOOP);
        }),
        ((TokenErrorKind::NoResponse, None), |endpoint| {
            endpoint.hang();
        }),
    ];
    for ((kind, wait), fault) in cases {
        let (result, requests, _) = scene.send(refresh.clone(), fault).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert_eq!(error.retry_after(), wait.map(Duration::from_secs), "{kind}");
        assert!(error.is_transient());
        assert_eq!(requests, 1, "{kind}");
    }
    // The refresh token is as good as before.
    scene.entra.send(refresh).await.unwrap();
}
