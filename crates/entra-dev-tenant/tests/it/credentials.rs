//! Tests of client authentication, and of its failures.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use entra_dev_tenant::{AppRegistration, DevTenant, ExternalIssuer};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use crate::browser::{ask, refusal};
use crate::support::{API, CLIENT, client, decoded};

const PUBLIC: &str = "0f4e4b1c-6a0d-4c57-8d6f-3a1d1c4b7e55";
const SUBJECT: &str = "system:serviceaccount:reports:api";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn scope() -> String {
    format!("api://{API}/.default")
}

/// Requests a token of an application as itself, with this credential.
async fn ask_with(tenant: &DevTenant, credential: &[(&str, &str)]) -> (u16, Value) {
    let scope = scope();
    let mut form = vec![("grant_type", "client_credentials"), ("scope", &scope)];
    if !credential.iter().any(|(name, _)| *name == "client_id") {
        form.push(("client_id", CLIENT));
    }
    form.extend(credential);
    ask(tenant, &form).await
}

async fn ask_asserting(tenant: &DevTenant, assertion: &str) -> (u16, Value) {
    let credential = [
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", assertion),
    ];
    ask_with(tenant, &credential).await
}

#[tokio::test]
async fn an_expired_secret_a_wrong_one_and_none_are_told_apart() {
    let app = AppRegistration::new(CLIENT)
        .secret("good")
        .expired_secret("old");
    let tenant = DevTenant::builder().register(app).start().await.unwrap();
    for (secret, expected) in [
        ("old", (401, "invalid_client", 7_000_222)),
        ("wrong", (401, "invalid_client", 7_000_215)),
        ("", (400, "invalid_request", 7_000_216)),
    ] {
        let answer = ask_with(&tenant, &[("client_secret", secret)]).await;
        assert_eq!(refusal(&answer), expected, "{secret:?}");
    }
    assert_eq!(ask_with(&tenant, &[("client_secret", "good")]).await.0, 200);
}

#[tokio::test]
async fn a_confidential_client_without_a_credential_is_refused_for_a_users_grant() {
    let tenant = crate::browser::tenant().await;
    let code = crate::browser::code(&tenant, &[]).await;
    let answer = crate::browser::redeem(&tenant, &code, &[("client_secret", None)]).await;
    assert_eq!(refusal(&answer), (401, "invalid_client", 7_000_218));
}

#[tokio::test]
async fn a_public_client_needs_no_credential_and_may_present_none() {
    let app = AppRegistration::new(PUBLIC).redirect_uri("http://localhost");
    let builder = DevTenant::builder().register(app);
    let tenant = builder.start().await.unwrap();
    let changes = [
        ("client_id", Some(PUBLIC)),
        ("redirect_uri", Some("http://localhost:40401")),
    ];
    let code = crate::browser::code(&tenant, &changes).await;
    let assertion = [
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", "a.b.c"),
    ];
    for credential in [&[("client_secret", "s3cret")][..], &assertion] {
        let changes: Vec<_> = changes
            .into_iter()
            .chain([("client_secret", None)])
            .filter(|(name, _)| credential[0].0 != *name)
            .chain(credential.iter().map(|(name, value)| (*name, Some(*value))))
            .collect();
        let answer = crate::browser::redeem(&tenant, &code, &changes).await;
        assert_eq!(refusal(&answer), (401, "invalid_client", 700_025));
    }
    let changes = [changes[0], changes[1], ("client_secret", None)];
    let (status, tokens) = crate::browser::redeem(&tenant, &code, &changes).await;
    assert_eq!(status, 200, "{tokens}");
    let claims = decoded(tokens["access_token"].as_str().unwrap(), 1);
    assert_eq!(claims["azpacr"], "0");
}

#[tokio::test]
async fn basic_credentials_are_decoded_as_in_a_form() {
    let app = AppRegistration::new(CLIENT).secret("a:b c&d~é");
    let tenant = DevTenant::builder().register(app).start().await.unwrap();
    let url = format!("{}/{}/oauth2/v2.0/token", tenant.url(), tenant.id());
    let ask = async |credentials: &str, more: &[(&str, &str)]| {
        let header = format!("Basic {}", STANDARD.encode(credentials));
        let scope = scope();
        let mut form = vec![("grant_type", "client_credentials"), ("scope", &*scope)];
        form.extend(more);
        let request = client().post(&url).header("authorization", header);
        let response = request.form(&form).send().await.unwrap();
        (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap(),
        )
    };
    let good = format!("{CLIENT}:a%3Ab+c%26d%7E%C3%A9");
    assert_eq!(ask(&good, &[]).await.0, 200);
    assert_eq!(ask(&good, &[("client_id", CLIENT)]).await.0, 200);

    let wrong = ask(&format!("{CLIENT}:wrong"), &[]).await;
    assert_eq!(refusal(&wrong), (401, "invalid_client", 7_000_215));
    let malformed = (400, "invalid_request", 9_002_313);
    assert_eq!(refusal(&ask("no colon", &[]).await), malformed);
    let two = ask(&good, &[("client_id", API)]).await;
    assert_eq!(refusal(&two), malformed, "another client in the form");
    let two = ask(&good, &[("client_secret", "a:b c&d~é")]).await;
    assert_eq!(refusal(&two), malformed, "two ways at once");
}

/// A certificate with its key pair.
struct Credential {
    pem: String,
    der: Vec<u8>,
    key: RsaKeyPair,
}

impl Credential {
    fn new() -> Self {
        let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let certificate = CertificateParams::default().self_signed(&pair).unwrap();
        let der = certificate.der().to_vec();
        let base64 = STANDARD.encode(&der);
        let lines: Vec<_> = base64
            .as_bytes()
            .chunks(64)
            .map(|line| str::from_utf8(line).unwrap())
            .collect();
        Self {
            pem: format!(
                "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
                lines.join("\n")
            ),
            der,
            key: RsaKeyPair::from_pkcs8(&pair.serialize_der()).unwrap(),
        }
    }

    fn header(&self) -> Value {
        let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA256, &self.der));
        json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint })
    }

    fn legacy_header(&self) -> Value {
        let thumbprint = digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.der);
        json!({ "alg": "RS256", "typ": "JWT", "x5t": URL_SAFE_NO_PAD.encode(thumbprint) })
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", encoded(header), encoded(claims));
        let encoding: &'static dyn RsaEncoding = match header["alg"].as_str() {
            Some("PS256") => &RSA_PSS_SHA256,
            _ => &RSA_PKCS1_SHA256,
        };
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                encoding,
                &SystemRandom::new(),
                input.as_bytes(),
                &mut signature,
            )
            .unwrap();
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn seconds(tenant: &DevTenant) -> i64 {
    let since = (tenant.clock())().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_secs()).unwrap()
}

fn claims(tenant: &DevTenant) -> Value {
    let now = seconds(tenant);
    json!({
        "aud": format!("{}/{}/oauth2/v2.0/token", tenant.url(), tenant.id()),
        "iss": CLIENT,
        "sub": CLIENT,
        "jti": "8d1f3c5b",
        "nbf": now,
        "exp": now + 600,
    })
}

#[tokio::test]
async fn a_certificate_signs_assertions_of_both_algorithms_and_thumbprints() {
    let credential = Credential::new();
    for app in [
        AppRegistration::new(CLIENT).certificate(&credential.pem),
        AppRegistration::new(CLIENT).certificate_der(&credential.der),
    ] {
        let tenant = DevTenant::builder().register(app).start().await.unwrap();
        for header in [credential.header(), credential.legacy_header()] {
            let assertion = credential.sign(&header, &claims(&tenant));
            let (status, answer) = ask_asserting(&tenant, &assertion).await;
            assert_eq!(status, 200, "{header}: {answer}");
            let claims = decoded(answer["access_token"].as_str().unwrap(), 1);
            assert_eq!(claims["azpacr"], "2");
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_an_assertion_is_told_apart() {
    let (credential, other) = (Credential::new(), Credential::new());
    let old = Credential::new();
    let app = AppRegistration::new(CLIENT)
        .certificate(&old.pem)
        .certificate(&credential.pem);
    let tenant = DevTenant::builder().register(app).start().await.unwrap();
    let now = seconds(&tenant);
    let good = claims(&tenant);
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        credential.sign(&credential.header(), &claims)
    };
    let by_header = |header: &Value| credential.sign(header, &good);
    let mut without_thumbprint = credential.header();
    without_thumbprint
        .as_object_mut()
        .unwrap()
        .remove("x5t#S256");
    let mut without_algorithm = credential.header();
    without_algorithm["alg"] = json!("none");
    let real = format!("https://login.microsoftonline.com/{}", tenant.id());

    for (what, assertion, expected) in [
        ("good", with("jti", json!("another")), None),
        (
            "times as text",
            with("exp", json!((now + 600).to_string())),
            None,
        ),
        (
            "the real endpoint",
            with("aud", json!(format!("{real}/oauth2/v2.0/token"))),
            None,
        ),
        (
            "the issuer",
            with("aud", json!(format!("{real}/v2.0"))),
            None,
        ),
        (
            "another certificate",
            other.sign(&other.header(), &good),
            Some(700_027),
        ),
        (
            "another key",
            other.sign(&credential.header(), &good),
            Some(700_027),
        ),
        (
            "no thumbprint",
            by_header(&without_thumbprint),
            Some(5_002_723),
        ),
        ("no algorithm", by_header(&without_algorithm), Some(50_027)),
        ("no JWT", "a.b".to_owned(), Some(50_027)),
        ("another subject", with("sub", json!(API)), Some(700_021)),
        ("another issuer", with("iss", json!(API)), Some(700_211)),
        ("another audience", with("aud", json!(real)), Some(700_023)),
        ("no audience", with("aud", json!(null)), Some(700_023)),
        ("no id", with("jti", json!(null)), Some(50_027)),
        ("expired", with("exp", json!(now - 301)), Some(700_024)),
        ("just expired", with("exp", json!(now - 290)), None),
        ("without end", with("exp", json!(null)), Some(700_024)),
        ("early", with("nbf", json!(now + 310)), Some(700_024)),
    ] {
        let answer = ask_asserting(&tenant, &assertion).await;
        match expected {
            None => assert_eq!(answer.0, 200, "{what}: {}", answer.1),
            Some(code) => assert_eq!(refusal(&answer), (401, "invalid_client", code), "{what}"),
        }
    }
    let credential = [("client_assertion", "a.b.c")];
    let answer = ask_with(&tenant, &credential).await;
    assert_eq!(
        refusal(&answer),
        (400, "invalid_request", 900_144),
        "no type"
    );
    let credential = [
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", "a.b.c"),
        ("client_secret", "s3cret"),
    ];
    let answer = ask_with(&tenant, &credential).await;
    assert_eq!(
        refusal(&answer),
        (400, "invalid_request", 9_002_313),
        "two ways"
    );
}

#[tokio::test]
async fn a_token_of_a_trusted_issuer_is_a_credential() {
    let (cluster, stranger) = (
        ExternalIssuer::new("https://oidc.cluster.example"),
        ExternalIssuer::new("https://oidc.stranger.example"),
    );
    let app = AppRegistration::new(CLIENT)
        .trust(&cluster, SUBJECT)
        .trust_for_audience(&cluster, "another subject", "another audience");
    let tenant = DevTenant::builder().register(app).start().await.unwrap();
    let token = |subject: &str| tenant.external_token(&cluster, subject);

    let (status, answer) = ask_asserting(&tenant, &token(SUBJECT).mint()).await;
    assert_eq!(status, 200, "{answer}");
    let claims = decoded(answer["access_token"].as_str().unwrap(), 1);
    assert_eq!(claims["azpacr"], "2");
    let other = token("another subject").audience("another audience").mint();
    assert_eq!(ask_asserting(&tenant, &other).await.0, 200);

    for (what, assertion, code) in [
        (
            "issuer",
            tenant.external_token(&stranger, SUBJECT).mint(),
            700_211,
        ),
        (
            "audience",
            token(SUBJECT).audience("api://x").mint(),
            700_212,
        ),
        ("subject", token("another subject").mint(), 700_213),
        (
            "subject of an audience",
            token(SUBJECT).audience("another audience").mint(),
            700_213,
        ),
        ("signature", token(SUBJECT).bad_signature().mint(), 50_013),
        ("expired", token(SUBJECT).expires_in(-301).mint(), 700_024),
    ] {
        let answer = ask_asserting(&tenant, &assertion).await;
        assert_eq!(refusal(&answer), (401, "invalid_client", code), "{what}");
    }
    let shown = format!("{cluster:?} {:?}", token(SUBJECT));
    assert!(shown.contains("oidc.cluster.example"), "{shown}");
}

#[tokio::test]
async fn what_is_no_certificate_cannot_be_registered() {
    let app = AppRegistration::new(CLIENT).certificate("-----BEGIN PRIVATE KEY-----");
    let error = DevTenant::builder()
        .register(app)
        .start()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("BEGIN CERTIFICATE"), "{error}");
}
