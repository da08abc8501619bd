//! Tests of tokens of an authorization server in front of Entra, together with Entra's own tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use entra_dev_tenant::DevTenant;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_entra_auth::entra_jwt_core::{ids::KeyId, keys::Key};
use tower_entra_auth::{
    EntraAuth, Problem,
    issuer::TrustedIssuer,
    keys::{BoxError, KeySet},
};

use crate::logs::for_all_threads;
use crate::observability::{Spans, fields};
use crate::support::{API, HOUR, OTHER_TENANT, SECOND, settings, tenant, user};

pub(crate) const ISSUER: &str = "https://mcp.example.com";
pub(crate) const RESOURCE: &str = "https://mcp.example.com/mcp";

pub(crate) struct Server {
    key: EcdsaKeyPair,
    pub(crate) tenant: DevTenant,
}

impl Server {
    pub(crate) async fn new() -> Self {
        Self {
            key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            tenant: tenant().await,
        }
    }

    pub(crate) fn tokens(&self) -> TrustedIssuer {
        TrustedIssuer::oauth_proxy(ISSUER, RESOURCE, self.keys())
    }

    pub(crate) fn keys(&self) -> KeySet {
        let id = KeyId::new("own").unwrap();
        let key = Key::es256(id, self.key.public_key().as_ref()).unwrap();
        KeySet::from_iter([Arc::new(key)])
    }

    pub(crate) fn auth(&self, tokens: TrustedIssuer) -> EntraAuth {
        settings(&self.tenant).trust(tokens).build().unwrap()
    }

    pub(crate) fn claims(&self) -> Value {
        let now = (self.tenant.clock())();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        json!({
            "iss": ISSUER, "aud": RESOURCE, "sub": "s", "client_id": "opaque", "scope": "Mcp.Read",
            "iat": now, "exp": now + 3_600, "jti": "1", "tid": self.tenant.id(),
            "oid": "0a1b2c3d-4e5f-4a6b-8c7d-000000000001", "azp": API, "idtyp": "user",
            "gid": "grant 1",
        })
    }

    pub(crate) fn mint(&self, claims: &Value) -> String {
        self.mint_with("own", claims)
    }

    fn mint_with(&self, kid: &str, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": kid });
        let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let input = format!("{}.{}", part(&header), part(claims));
        let random = SystemRandom::new();
        let mut signatures =
            std::iter::repeat_with(|| self.key.sign(&random, input.as_bytes()).unwrap());
        // The validator requires `s` below half of the order; a first byte below 0x7f ensures that.
        let low = signatures.find(|signature| signature.as_ref()[32] < 0x7f);
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(low.unwrap()))
    }
}

pub(crate) async fn code(auth: &EntraAuth, token: &str) -> &'static str {
    match auth.verify(token).await {
        Ok(_) => "accepted",
        Err(refusal) => refusal.code(),
    }
}

#[tokio::test(start_paused = true)]
async fn both_kinds_of_token_are_accepted_and_told_apart() {
    let server = Server::new().await;
    let auth = server.auth(server.tokens());
    let own = auth.verify(&server.mint(&server.claims())).await.unwrap();
    assert_eq!(own.grant_id(), Some("grant 1"));
    assert_eq!(own.scopes().collect::<Vec<_>>(), ["Mcp.Read"]);
    let entras = auth.verify(&user(&server.tenant).mint()).await.unwrap();
    assert_eq!(entras.grant_id(), None);
    assert!(auth.has_verified(&own) && auth.has_verified(&entras));
    assert_eq!(auth.status().issuers.len(), 2);
}

/// Checks that one of Entra's own issuers cannot be trusted as well. The tenant's rules validate
/// its tokens, so the trusted issuer would never be used.
#[tokio::test]
async fn an_issuer_of_entras_cannot_be_trusted_besides() {
    let server = Server::new().await;
    for host in [
        "login.microsoftonline.com",
        "login.microsoftonline.us",
        "sts.windows.net",
        "contoso.ciamlogin.com",
    ] {
        let entras =
            TrustedIssuer::oauth_proxy(format!("https://{host}/x"), RESOURCE, server.keys());
        let error = settings(&server.tenant).trust(entras).build().unwrap_err();
        let problems: Vec<_> = error.problems().map(Problem::text).collect();
        assert!(
            problems.len() == 1 && problems[0].contains("one of Entra's"),
            "{error}"
        );
    }
}

/// Checks that gauges and the status distinguish the keys of trusted issuers by their hosts.
#[tokio::test]
async fn trusted_issuers_have_their_hosts_as_names_of_their_keys() {
    let server = Server::new().await;
    let (log, guard) = crate::logs::Log::capture();
    let auth = server.auth(server.tokens());
    drop(guard);
    assert_eq!(auth.status().issuers[1].source, "mcp.example.com");
    assert!(
        log.text().contains("trusted=\"https://mcp.example.com\""),
        "{}",
        log.text()
    );
}

#[tokio::test]
async fn two_issuers_of_one_name_are_a_problem() {
    let server = Server::new().await;
    let twice = settings(&server.tenant)
        .trust(server.tokens())
        .trust(server.tokens());
    let error = twice.build().unwrap_err();
    let problems: Vec<_> = error.problems().map(Problem::text).collect();
    assert_eq!(
        problems,
        ["two trusted issuers have the same issuer URL; remove one of them"]
    );
}

/// SHA-256 of `opaque`, in base64url.
pub(crate) const OPAQUE: &str = "bSKYhMEmi7CrMtjaMV0P5S-RRyKL2DCje8n7KKlUlA0";

#[tokio::test(start_paused = true)]
async fn the_span_names_the_client_that_the_server_knows_and_none_of_entras() {
    for_all_threads();
    let server = Server::new().await;
    let auth = server.auth(server.tokens());
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(spans.clone());
    let request = Request::get("/").header(
        "authorization",
        format!("Bearer {}", server.mint(&server.claims())),
    );
    let answer = auth.layer().layer(service_fn(served));
    answer.oneshot(request.body(()).unwrap()).await.unwrap();
    let expected = fields(&[
        ("caller", "user"),
        ("tenant", server.tenant.id()),
        ("registered_client", OPAQUE),
        ("outcome", "accepted"),
    ]);
    assert_eq!(spans.take(), [expected]);
}

pub(crate) async fn served(_: Request<()>) -> Result<Response<Full<Bytes>>, BoxError> {
    Ok(Response::new(Full::default()))
}

#[tokio::test(start_paused = true)]
async fn without_the_setting_they_are_strangers() {
    let server = Server::new().await;
    let auth = settings(&server.tenant).build().unwrap();
    assert_eq!(
        code(&auth, &server.mint(&server.claims())).await,
        "wrong_algorithm"
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_of_a_key_that_the_server_no_longer_has_is_refused_at_once_whatever_entras_keys_do()
{
    let server = Server::new().await;
    let auth = server.auth(server.tokens());
    auth.ready().await.unwrap();
    let withdrawn = server.mint_with("before", &server.claims());
    let unknown = user(&server.tenant).header("kid", "unknown").mint();
    // The client then gets a new token; a 503 would prevent that.
    for entras in ["unknown_key", "key_refresh_pending", "key_refresh_pending"] {
        assert_eq!(code(&auth, &withdrawn).await, "unknown_key");
        assert_eq!(code(&auth, &unknown).await, entras);
    }
    assert_eq!(
        code(&auth, &server.mint(&server.claims())).await,
        "accepted"
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_that_names_no_grant_is_refused() {
    let server = Server::new().await;
    let auth = server.auth(server.tokens());
    for grant in [json!(null), json!(""), json!(5)] {
        let mut claims = server.claims();
        claims["gid"] = grant;
        assert_eq!(code(&auth, &server.mint(&claims)).await, "missing_claim");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_tenant_is_refused_whoever_issued_it() {
    let server = Server::new().await;
    let auth = server.auth(server.tokens());
    let mut claims = server.claims();
    claims["tid"] = json!(OTHER_TENANT);
    assert_eq!(
        code(&auth, &server.mint(&claims)).await,
        "tenant_not_allowed"
    );
}

#[tokio::test(start_paused = true)]
async fn a_made_up_token_of_the_server_does_not_tell_which_tenants_are_admitted() {
    let server = Server::new().await;
    let auth = server.auth(server.tokens());
    for tenant in [
        server.tenant.id(),
        OTHER_TENANT,
        "9188040d-6c67-4c5b-b112-36a304b66dad",
    ] {
        let mut claims = server.claims();
        claims["tid"] = json!(tenant);
        let unknown = server.mint_with("unknown", &claims);
        assert_eq!(code(&auth, &unknown).await, "unknown_key", "{tenant}");
        let (good, other) = (server.mint(&claims), server.mint_with("x", &claims));
        let (input, _) = good.rsplit_once('.').unwrap();
        let (_, signature) = other.rsplit_once('.').unwrap();
        let forged = format!("{input}.{signature}");
        assert_eq!(code(&auth, &forged).await, "bad_signature", "{tenant}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_has_ended_ends_its_tokens_once_the_last_yes_has_run_out() {
    let server = Server::new().await;
    let (active, asked) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicUsize::new(0)),
    );
    let auth = server.auth(server.tokens().grant_rule(30 * SECOND, {
        let (active, asked) = (Arc::clone(&active), Arc::clone(&asked));
        move |grant| {
            assert_eq!(&*grant, "grant 1");
            asked.fetch_add(1, Ordering::SeqCst);
            let is_active = active.load(Ordering::SeqCst);
            async move { Ok::<_, String>(is_active) }
        }
    }));
    let token = server.mint(&server.claims());
    for _ in 0..3 {
        assert_eq!(code(&auth, &token).await, "accepted");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    active.store(false, Ordering::SeqCst);
    tokio::time::advance(29 * SECOND).await;
    assert_eq!(code(&auth, &token).await, "accepted");
    tokio::time::advance(SECOND).await;
    // This no is also cached for a short time.
    for _ in 0..3 {
        assert_eq!(code(&auth, &token).await, "grant_ended");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    // The grant rule is not asked about Entra's own tokens.
    assert_eq!(code(&auth, &user(&server.tenant).mint()).await, "accepted");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn however_long_a_yes_is_to_be_kept_it_is_asked_for_again_after_the_longest_time() {
    let server = Server::new().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let auth = server.auth(server.tokens().grant_rule(24 * HOUR, move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, String>(true) }
    }));
    let token = server.mint(&server.claims());
    let longest = TrustedIssuer::MAX_GRANT_TTL;
    for (wait, expected) in [(Duration::ZERO, 1), (longest - SECOND, 1), (SECOND, 2)] {
        tokio::time::advance(wait).await;
        assert_eq!(code(&auth, &token).await, "accepted");
        assert_eq!(asked.load(Ordering::SeqCst), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_gives_no_answer_is_no_refusal_of_the_token() {
    let server = Server::new().await;
    let tokens = server
        .tokens()
        .grant_rule(30 * SECOND, |_| async { Err("the store is down") });
    let auth = server.auth(tokens);
    let refusal = auth
        .verify(&server.mint(&server.claims()))
        .await
        .unwrap_err();
    assert_eq!(refusal.code(), "grant_rule_unavailable");
    assert!(refusal.is_unavailable());
    assert!(refusal.remedy().contains("store"));
    let refusal = auth.verify("x").await.unwrap_err();
    assert!(!refusal.is_unavailable());
}

#[tokio::test(start_paused = true)]
async fn a_no_of_the_tenant_rule_holds_for_reissued_tokens_too() {
    let server = Server::new().await;
    let auth = settings(&server.tenant)
        .trust(server.tokens())
        .tenant_rule(|_| async { Ok::<_, String>(false) })
        .build()
        .unwrap();
    let token = server.mint(&server.claims());
    assert_eq!(code(&auth, &token).await, "tenant_not_allowed");
}

#[tokio::test]
async fn settings_that_cannot_be_are_told_together() {
    let server = Server::new().await;
    let wrong =
        TrustedIssuer::oauth_proxy("http://mcp.example.com", "two words", KeySet::default());
    let error = settings(&server.tenant).trust(wrong).build().unwrap_err();
    let problems: Vec<_> = error.problems().collect();
    assert_eq!(problems.len(), 3, "{error}");
    assert!(problems.iter().all(|problem| problem.setting() == "trust"));
}

#[tokio::test]
async fn an_issuer_or_audience_that_is_too_long_is_refused() {
    let server = Server::new().await;
    let long = format!("{ISSUER}/{}", "a".repeat(1_000));
    let error = settings(&server.tenant)
        .audience(&long)
        .trust(TrustedIssuer::oauth_proxy(&long, &long, KeySet::default()))
        .build()
        .unwrap_err();
    let too_long = error
        .problems()
        .filter(|problem| problem.text().contains("longer than 1000 bytes"));
    let settings: Vec<_> = too_long.map(Problem::setting).collect();
    assert_eq!(settings, ["audience", "trust", "trust"]);
}

#[tokio::test]
async fn the_authority_is_where_its_metadata_is() {
    let server = Server::new().await;
    let id = server.tenant.id();
    let url = |settings: tower_entra_auth::EntraAuthBuilder| {
        settings.build().unwrap().authority_url().to_owned()
    };
    let base = || EntraAuth::builder().tenant(id).client_id(API);
    assert_eq!(
        url(base()),
        format!("https://login.microsoftonline.com/{id}")
    );
    assert_eq!(
        url(settings(&server.tenant)),
        format!("{}/{id}", server.tenant.url())
    );
    let document = format!(
        "https://gateway.example.com/x/{id}/v2.0/.well-known/openid-configuration?appid={API}"
    );
    assert_eq!(
        url(base().metadata_endpoint(document)),
        format!("https://gateway.example.com/x/{id}")
    );
    let custom = base().external_id("contoso.ciamlogin.com");
    assert_eq!(url(custom), format!("https://contoso.ciamlogin.com/{id}"));
    let brought = base()
        .key_source(KeySet::from_jwks(server.tenant.signing_keys().document().as_bytes()).unwrap());
    assert_eq!(
        url(brought),
        format!("https://login.microsoftonline.com/{id}")
    );
}
