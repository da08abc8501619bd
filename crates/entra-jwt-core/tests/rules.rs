//! Each rule for tokens of one tenant, told by a token that breaks only it.

use std::time::{Duration, SystemTime};

use entra_dev_tenant::{DevCloud, DevTenant, TokenBuilder};
use entra_jwt_core::{
    AccessToken, Audience, CallerId, CallerKind, Cloud, Denied, InvalidRules, KeySet, Rejection,
    TenantId, TokenVersion, Unverified, Validator, ValidatorBuilder,
};
use serde_json::{Value, json};

const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
const CLIENT: &str = "2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b";
const OTHER_TENANT: &str = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";

/// A tenant, its keys, and the rules for one API in it.
struct Setup {
    tenant: DevTenant,
    keys: KeySet,
}

impl Setup {
    async fn new() -> Self {
        Self::of(DevTenant::start().await.unwrap())
    }

    fn of(tenant: DevTenant) -> Self {
        let keys = KeySet::from_jwks(tenant.jwks().as_bytes()).unwrap();
        Self { tenant, keys }
    }

    fn rules(&self) -> ValidatorBuilder {
        let tenant: TenantId = self.tenant.id().parse().unwrap();
        Validator::entra(tenant, API.parse().unwrap())
    }

    fn user(&self) -> TokenBuilder<'_> {
        self.tenant.user("ada").scope("Reports.Read").for_api(API)
    }

    fn app(&self) -> TokenBuilder<'_> {
        self.tenant
            .app(CLIENT)
            .role("Reports.Read.All")
            .for_api(API)
    }

    fn validate(&self, token: TokenBuilder<'_>) -> Result<AccessToken, Rejection> {
        self.validate_by(self.rules(), token)
    }

    fn validate_by(
        &self,
        rules: ValidatorBuilder,
        token: TokenBuilder<'_>,
    ) -> Result<AccessToken, Rejection> {
        self.validate_text(rules, &token.mint())
    }

    fn validate_text(
        &self,
        rules: ValidatorBuilder,
        token: &str,
    ) -> Result<AccessToken, Rejection> {
        rules
            .build()
            .unwrap()
            .validate(token, &self.keys, self.now())
    }

    fn now(&self) -> SystemTime {
        self.tenant.clock()()
    }

    fn code(&self, token: TokenBuilder<'_>) -> &'static str {
        self.validate(token).unwrap_err().code()
    }
}

#[tokio::test]
async fn a_good_user_token_is_accepted_with_its_claims() {
    let setup = Setup::new().await;
    let token = setup
        .user()
        .role("Reports.Admin")
        .claim("extension_x", json!(["a", 1]));
    let token = setup.validate(token).unwrap();

    assert_eq!(token.kind(), CallerKind::User);
    assert_eq!(token.version(), TokenVersion::V2);
    assert_eq!(token.tenant_id().to_string(), setup.tenant.id());
    assert_eq!(
        token.id().to_string(),
        token.object_id().unwrap().to_string()
    );
    assert_eq!(token.scopes().collect::<Vec<_>>(), ["Reports.Read"]);
    assert_eq!(token.roles().collect::<Vec<_>>(), ["Reports.Admin"]);
    assert_eq!(token.audience(), API);
    assert_eq!(token.name(), Some("ada"));
    assert_eq!(
        token.preferred_username(),
        Some("ada@contoso.onmicrosoft.com")
    );
    assert_eq!(token.key_id().as_str(), setup.tenant.key_id());
    assert_eq!(token.claim("extension_x"), Some(json!(["a", 1])));
    assert_eq!(token.claim("absent"), None);
    // A claim beyond serde_json hides no other.
    let exotic = format!("{{{}", r#""exotic":1e400,"lone":"\ud800","#);
    let payload = serde_json::to_string(&token.claims_as::<Value>().unwrap()).unwrap();
    let payload = payload.replacen('{', &exotic, 1);
    let header = format!(r#"{{"alg":"RS256","kid":"{}"}}"#, setup.tenant.key_id());
    let exotic = setup.tenant.sign(&header, &payload);
    let exotic = setup.validate_text(setup.rules(), &exotic).unwrap();
    assert_eq!(exotic.claim("extension_x"), Some(json!(["a", 1])));
    assert_eq!(exotic.claim("exotic"), None);
    assert_eq!(token.header_member("typ"), Some(json!("JWT")));
    let left = token.expires_at().duration_since(setup.now()).unwrap();
    assert!((3_595..=3_600).contains(&left.as_secs()));

    #[derive(serde::Deserialize)]
    struct Own {
        extension_x: Vec<Value>,
    }
    assert_eq!(token.claims_as::<Own>().unwrap().extension_x.len(), 2);
    assert!(token.claims_as::<Vec<u8>>().is_err());
}

#[tokio::test]
async fn a_good_app_token_is_accepted() {
    let setup = Setup::new().await;
    let token = setup.validate(setup.app()).unwrap();
    assert_eq!(token.kind(), CallerKind::App);
    assert_eq!(token.client_id().unwrap().to_string(), CLIENT);
    assert_eq!(
        token.subject().unwrap(),
        token.object_id().unwrap().to_string()
    );
}

#[tokio::test]
async fn what_is_displayed_for_debugging_names_no_person() {
    let setup = Setup::new().await;
    let text = setup.user().mint();
    let unverified = format!("{:?}", Unverified::parse(&text).unwrap());
    let token = setup.validate_text(setup.rules(), &text).unwrap();
    let shown = format!("{token:?} {unverified}");
    let shown = format!("{shown} {:?}", token.id());
    for secret in ["\"ada", &token.id().to_string(), token.subject().unwrap()] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    assert!(!shown.contains(text.rsplit('.').next().unwrap()));
}

#[tokio::test]
async fn users_apps_and_agents_are_told_apart() {
    let setup = Setup::new().await;
    for (token, kind) in [
        (setup.user(), CallerKind::User),
        (setup.user().claim("idtyp", "user"), CallerKind::User),
        (setup.app(), CallerKind::App),
        (setup.app().claim("idtyp", "app"), CallerKind::App),
        (
            setup.app().claim("sub", "other").claim("idtyp", "app"),
            CallerKind::App,
        ),
        // Without a service principal: neither object id, nor scope, nor role.
        (
            setup.tenant.app(CLIENT).for_api(API).without_claim("oid"),
            CallerKind::App,
        ),
        // A user's role without an object id never passes for an application's permission.
        (setup.app().without_claim("oid"), CallerKind::Unknown),
        (setup.app().without_claim("sub"), CallerKind::Unknown),
        (setup.user().claim("idtyp", "device"), CallerKind::Unknown),
        (setup.user().without_claim("oid"), CallerKind::User),
        (
            setup.user().claim("scp", "/").claim("idtyp", "app"),
            CallerKind::App,
        ),
        (setup.app().claim("xms_act_fct", "3 11"), CallerKind::Agent),
        (setup.user().claim("xms_sub_fct", "13"), CallerKind::Agent),
        (setup.user().claim("xms_sub_fct", "113 3"), CallerKind::User),
    ] {
        assert_eq!(setup.validate(token).unwrap().kind(), kind);
    }
}

#[tokio::test]
async fn a_caller_always_has_an_id_and_none_passes_for_another() {
    let setup = Setup::new().await;
    let token = setup.validate(setup.user().without_claim("oid")).unwrap();
    assert!(matches!(token.id(), CallerId::Subject(_)));
    assert!(token.id().to_string().starts_with("sub:"));

    let token = setup.app().without_claim("oid").without_claim("sub");
    let token = setup.validate(token).unwrap();
    assert_eq!(token.id().to_string(), format!("client:{CLIENT}"));
}

#[tokio::test]
async fn v1_token_is_refused_with_the_manifest_remedy_or_accepted_on_request() {
    let setup = Setup::new().await;
    let rejection = setup.validate(setup.user().v1()).unwrap_err();
    assert_eq!(rejection.code(), "v1_token");
    assert!(
        rejection
            .remedy()
            .contains("api.requestedAccessTokenVersion to 2")
    );
    assert!(
        rejection
            .found()
            .unwrap()
            .starts_with("https://sts.windows.net/")
    );

    for (token, kind) in [
        (setup.user(), CallerKind::User),
        (setup.app(), CallerKind::App),
    ] {
        let rules = setup.rules().accept_v1_tokens();
        let token = setup.validate_by(rules, token.v1()).unwrap();
        assert_eq!((token.version(), token.kind()), (TokenVersion::V1, kind));
    }
    let both = setup.rules().accept_v1_tokens();
    assert!(setup.validate_by(both, setup.user()).is_ok());
}

#[tokio::test]
async fn a_graph_token_is_named_as_such() {
    let setup = Setup::new().await;
    assert_eq!(setup.code(setup.tenant.graph_token("ada")), "graph_token");
    for audience in [
        "https://graph.microsoft.com",
        "https://graph.microsoft.com/",
        "https://graph.microsoft.us",
        "https://microsoftgraph.chinacloudapi.cn",
        "00000003-0000-0000-c000-000000000000",
    ] {
        assert_eq!(setup.code(setup.user().audience(audience)), "graph_token");
    }
}

#[tokio::test]
async fn an_id_token_is_refused_even_if_its_audience_is_this_api() {
    let setup = Setup::new().await;
    assert_eq!(
        setup.code(setup.tenant.id_token("ada").for_api(API)),
        "id_token"
    );
    for mark in ["nonce", "c_hash", "at_hash"] {
        assert_eq!(setup.code(setup.user().claim(mark, "x")), "id_token");
    }
    assert_eq!(setup.code(setup.user().without_claim("azp")), "id_token");
}

#[tokio::test]
async fn a_proof_of_possession_token_is_no_bearer_token() {
    let setup = Setup::new().await;
    let token = setup.user().claim("cnf", json!({ "kid": "x" }));
    assert_eq!(setup.code(token), "proof_of_possession");
}

#[tokio::test]
async fn the_lifetime_ends_with_the_clock_skew_and_not_before() {
    let setup = Setup::new().await;
    let token = setup
        .user()
        .claim("nbf", 1_800_000_000)
        .claim("exp", 1_800_003_600)
        .mint();
    let at = |seconds: u64| {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        setup
            .rules()
            .build()
            .unwrap()
            .validate(&token, &setup.keys, now)
    };
    assert!(at(1_800_003_900).is_ok());
    assert_eq!(
        at(1_800_003_901).unwrap_err(),
        Rejection::Expired {
            seconds_ago: 301,
            skew: 300
        }
    );
    assert!(at(1_799_999_700).is_ok());
    assert_eq!(
        at(1_799_999_699).unwrap_err(),
        Rejection::NotYetValid {
            seconds_ahead: 301,
            skew: 300
        }
    );
}

#[tokio::test]
async fn of_two_faults_the_earlier_check_names_the_reason() {
    let setup = Setup::new().await;
    let far = 32_503_680_000_i64;
    for (token, code) in [
        (
            setup.user().header("nonce", "x").header("alg", "none"),
            "graph_token",
        ),
        (
            setup.user().header("alg", "none").header("typ", "x"),
            "wrong_algorithm",
        ),
        (
            setup.user().header("typ", "x").header("kid", "unknown"),
            "wrong_token_type",
        ),
        (
            setup.user().header("kid", "unknown").expired(),
            "unknown_key",
        ),
        (setup.user().bad_signature().expired(), "bad_signature"),
        (setup.user().claim("scp", 5).expired(), "wrong_type"),
        (setup.user().expired().of_tenant(OTHER_TENANT), "expired"),
        (
            setup.user().claim("nbf", far).claim("iss", "x"),
            "impossible_lifetime",
        ),
        (
            setup.user().claim("iss", "x").audience("api://other"),
            "wrong_issuer",
        ),
        (
            setup.user().v1().of_tenant(OTHER_TENANT),
            "tenant_not_allowed",
        ),
        (setup.user().v1().audience("api://other"), "v1_token"),
        (
            setup.user().audience("api://other").claim("cnf", json!({})),
            "wrong_audience",
        ),
        (
            setup.user().claim("cnf", json!({})).claim("nonce", "x"),
            "proof_of_possession",
        ),
    ] {
        assert_eq!(setup.code(token), code);
    }
    // Which key may sign for whom comes between the version and the audience.
    let foreign = setup
        .tenant
        .jwks()
        .replace("microsoftonline.com/{tenantid}", "example.com/x");
    let keys = KeySet::from_jwks(foreign.as_bytes()).unwrap();
    let validate = |token: TokenBuilder<'_>| {
        let validator = setup.rules().build().unwrap();
        validator
            .validate(&token.mint(), &keys, setup.now())
            .unwrap_err()
            .code()
    };
    assert_eq!(validate(setup.user().v1()), "v1_token");
    assert_eq!(
        validate(setup.user().audience("api://other")),
        "key_issuer_mismatch"
    );
}

#[tokio::test]
async fn a_token_of_somebody_else_is_called_that_whatever_its_claims_look_like() {
    let setup = Setup::new().await;
    for token in [
        setup.user().claim("azp", "123.apps.googleusercontent.com"),
        setup.user().claim("aud", json!(["api", "other"])),
        setup.user().claim("exp", "soon"),
    ] {
        assert_eq!(
            setup.code(token.claim("iss", "https://accounts.google.com")),
            "wrong_issuer"
        );
    }
    assert_eq!(
        setup.code(setup.user().claim("azp", "my-client")),
        "wrong_type"
    );
}

#[tokio::test]
async fn exp_is_required_nbf_is_optional_and_iat_decides_nothing() {
    let setup = Setup::new().await;
    let far = 32_503_680_000_i64;
    assert_eq!(
        setup.code(setup.user().without_claim("exp")),
        "missing_claim"
    );
    assert_eq!(setup.code(setup.user().expired()), "expired");
    assert_eq!(
        setup.code(setup.user().claim("nbf", far).claim("exp", far)),
        "not_yet_valid"
    );
    assert_eq!(
        setup.code(setup.user().claim("nbf", far)),
        "impossible_lifetime"
    );
    assert!(setup.validate(setup.user().without_claim("nbf")).is_ok());
    assert!(setup.validate(setup.user().without_claim("iat")).is_ok());
    assert!(setup.validate(setup.user().claim("iat", far)).is_ok());
}

#[tokio::test]
async fn times_are_json_numbers_or_the_token_is_refused() {
    let setup = Setup::new().await;
    for claim in ["exp", "nbf", "iat"] {
        for value in [
            json!("1700000000"),
            json!("NaN"),
            Value::Null,
            json!(true),
            json!([]),
            json!({}),
            json!(1e300),
            json!(u64::MAX),
            json!(253_402_300_800_i64),
        ] {
            let rejection = setup
                .validate(setup.user().claim(claim, value.clone()))
                .unwrap_err();
            assert_eq!(rejection.code(), "wrong_type", "{claim}: {value}");
            assert_eq!(rejection.found().unwrap(), claim);
        }
    }
    let soon = setup
        .now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
        + 60.5;
    assert!(setup.validate(setup.user().claim("exp", soon)).is_ok());
    assert_eq!(
        setup.code(setup.user().claim("exp", -1).without_claim("nbf")),
        "expired"
    );
}

#[tokio::test]
async fn the_issuer_is_that_of_the_tokens_own_tenant_byte_for_byte() {
    let setup = Setup::new().await;
    let tid = setup.tenant.id();
    let good = format!("https://login.microsoftonline.com/{tid}/v2.0");
    for issuer in [
        format!("{good}/"),
        format!("{good} "),
        good.replace("https", "http"),
        good.replace(".com", ".com:443"),
        good.replace("login.", "LOGIN."),
        good.replace(".com/", ".com.evil.example/"),
        good.replace(
            "login.microsoftonline.com",
            "login.microsoftonline.com@evil.example",
        ),
        good.replace("login.microsoftonline.com", "login.windows.net"),
        good.replace("login.microsoftonline.com", "login.microsoftonline.us"),
        good.replace("microsoftonline", "micr\u{43e}softonline"),
        good.replace(tid, OTHER_TENANT),
        good.replace(tid, "{tenantid}"),
        good.replace(tid, "common"),
        good.replace(tid, "organizations"),
        good.replace(tid, &tid.to_uppercase()),
        good.replace("/v2.0", "/v1.1"),
        good.replace("/v2.0", ""),
        format!("https://sts.windows.net/{tid}"),
        format!("https://sts.windows.net/{tid}//"),
        String::new(),
    ] {
        let code = setup.code(setup.user().claim("iss", issuer.clone()));
        assert_eq!(code, "wrong_issuer", "{issuer}");
    }
    assert_eq!(
        setup.code(setup.user().without_claim("iss")),
        "missing_claim"
    );
    for value in [json!(5), json!([good]), json!({ "iss": good }), Value::Null] {
        assert_eq!(setup.code(setup.user().claim("iss", value)), "wrong_type");
    }
}

#[tokio::test]
async fn the_tenant_is_one_lower_case_guid_and_the_one_allowed() {
    let setup = Setup::new().await;
    assert_eq!(
        setup.code(setup.user().of_tenant(OTHER_TENANT)),
        "tenant_not_allowed"
    );
    assert_eq!(
        setup.code(setup.user().without_claim("tid")),
        "missing_claim"
    );
    for (tid, code) in [
        (json!(OTHER_TENANT), "wrong_issuer"),
        (json!(setup.tenant.id().to_uppercase()), "invalid_tenant"),
        (
            json!(format!("{{{}}}", setup.tenant.id())),
            "invalid_tenant",
        ),
        (json!("common"), "invalid_tenant"),
        (json!(""), "invalid_tenant"),
        (json!([setup.tenant.id()]), "wrong_type"),
        (Value::Null, "wrong_type"),
    ] {
        assert_eq!(
            setup.code(setup.user().claim("tid", tid.clone())),
            code,
            "{tid}"
        );
    }
    for twin in ["TID", "Tid", "tiD"] {
        let token = setup.user().claim(twin, setup.tenant.id());
        assert_eq!(setup.code(token), "ambiguous_tenant");
    }
}

#[tokio::test]
async fn each_cloud_accepts_its_own_tokens_only() {
    let clouds = [
        (Cloud::Public, DevCloud::Public),
        (Cloud::UsGovernment, DevCloud::UsGovernment),
        (Cloud::China, DevCloud::China),
    ];
    for (played, dev_cloud) in clouds {
        let tenant = DevTenant::builder().cloud(dev_cloud).start().await.unwrap();
        let setup = Setup::of(tenant);
        for (configured, _) in clouds {
            for v1 in [false, true] {
                let rules = setup.rules().cloud(configured).accept_v1_tokens();
                let token = if v1 { setup.user().v1() } else { setup.user() };
                let result = setup
                    .validate_by(rules, token)
                    .map_err(|error| error.code());
                match result {
                    Ok(_) => assert_eq!(played, configured),
                    Err(code) => {
                        assert_ne!(played, configured);
                        // The public and the US Government cloud share the v1 issuer: only
                        // their keys tell them apart.
                        let shared = v1 && played != Cloud::China && configured != Cloud::China;
                        let expected = if shared {
                            "key_issuer_mismatch"
                        } else {
                            "wrong_issuer"
                        };
                        assert_eq!(code, expected, "{played} {configured} v1: {v1}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_key_signs_only_for_the_issuer_and_cloud_that_it_belongs_to() {
    let setup = Setup::new().await;
    let jwks: Value = serde_json::from_str(&setup.tenant.jwks()).unwrap();
    let validate = |member: &str, value: Option<&str>, token: TokenBuilder<'_>| {
        let mut jwks = jwks.clone();
        match value {
            Some(value) => jwks["keys"][0][member] = json!(value),
            None => drop(jwks["keys"][0].as_object_mut().unwrap().remove(member)),
        }
        let keys = KeySet::from_jwks(jwks.to_string().as_bytes()).unwrap();
        let rules = setup.rules().accept_v1_tokens().build().unwrap();
        rules
            .validate(&token.mint(), &keys, setup.now())
            .map(|_| "accepted")
            .unwrap_or_else(|rejection| rejection.code())
    };
    let own = format!(
        "https://login.microsoftonline.com/{}/v2.0",
        setup.tenant.id()
    );
    let personal = "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0";
    let template = "https://login.microsoftonline.com/{tenantid}/v2.0";
    for (issuer, code) in [
        (None, "accepted"),
        (Some(template), "accepted"),
        (Some(&*own), "accepted"),
        (Some(personal), "key_issuer_mismatch"),
        (
            Some("https://login.microsoftonline.us/{tenantid}/v2.0"),
            "key_issuer_mismatch",
        ),
        (Some(""), "accepted"),
    ] {
        assert_eq!(validate("issuer", issuer, setup.user()), code, "{issuer:?}");
        assert_eq!(
            validate("issuer", issuer, setup.user().v1()),
            code,
            "v1 {issuer:?}"
        );
    }
    for (cloud, code) in [
        (None, "accepted"),
        (Some("microsoftonline.com"), "accepted"),
        (Some("microsoftonline.us"), "key_cloud_mismatch"),
        (Some(""), "accepted"),
    ] {
        assert_eq!(
            validate("cloud_instance_name", cloud, setup.user()),
            code,
            "{cloud:?}"
        );
    }
}

#[tokio::test]
async fn the_audience_is_this_api() {
    let setup = Setup::new().await;
    for audience in [
        "",
        CLIENT,
        "https://management.azure.com",
        "api://6e74172b-be56-4843-9ff4-e66a39bb12e3/Reports.Read",
    ] {
        let rejection = setup.validate(setup.user().audience(audience)).unwrap_err();
        assert_eq!(rejection.code(), "wrong_audience", "{audience}");
        assert!(rejection.remedy().contains(&format!("api://{API}/<name>")));
        let rules = setup
            .rules()
            .audience(Audience::new("https://api.contoso.com").unwrap());
        let rejection = setup
            .validate_by(rules, setup.user().audience(audience))
            .unwrap_err();
        assert!(
            rejection
                .remedy()
                .contains("https://api.contoso.com/<name>")
        );
    }
    assert_eq!(
        setup.code(setup.user().without_claim("aud")),
        "missing_claim"
    );
    for value in [
        json!(5),
        json!([API]),
        json!([]),
        json!({ "0": API }),
        Value::Null,
    ] {
        assert_eq!(setup.code(setup.user().claim("aud", value)), "wrong_type");
    }
    for audience in [
        "api://6e74172b-be56-4843-9ff4-e66a39bb12e3",
        "api://orders",
        "api://orders/",
    ] {
        let rules = setup
            .rules()
            .audience(Audience::new("api://orders").unwrap());
        assert!(
            setup
                .validate_by(rules, setup.user().audience(audience))
                .is_ok()
        );
    }
}

#[tokio::test]
async fn the_header_is_that_of_an_entra_token() {
    let setup = Setup::new().await;
    for algorithm in [
        "none", "None", "", "rs256", "RS256 ", "RS256\0", "HS256", "PS256", "RS512",
    ] {
        assert_eq!(
            setup.code(setup.user().header("alg", algorithm)),
            "wrong_algorithm"
        );
    }
    assert_eq!(
        setup.code(setup.user().without_header("alg")),
        "wrong_algorithm"
    );
    assert_eq!(
        setup.code(setup.user().header("typ", "at+jwt")),
        "wrong_token_type"
    );
    assert!(setup.validate(setup.user().header("typ", "jwt")).is_ok());
    assert!(setup.validate(setup.user().without_header("typ")).is_ok());
    for member in ["alg", "typ", "kid"] {
        for value in [json!(0), Value::Null, json!(["RS256"])] {
            assert_eq!(setup.code(setup.user().header(member, value)), "wrong_type");
        }
    }
    for (member, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
    ] {
        assert_eq!(
            setup.code(setup.user().header(member, value)),
            "unsupported_header"
        );
    }
    // Keys and addresses that the sender brings are never looked at.
    for member in ["jwk", "jku", "x5u", "x5c", "x5t", "anything"] {
        assert!(
            setup
                .validate(setup.user().header(member, json!({ "n": 5 })))
                .is_ok()
        );
    }
}

#[tokio::test]
async fn only_a_key_of_the_issuer_verifies() {
    let setup = Setup::new().await;
    let stranger = DevTenant::start().await.unwrap();
    assert_eq!(setup.code(setup.user().bad_signature()), "bad_signature");
    assert_eq!(
        setup.code(setup.user().without_header("kid")),
        "missing_kid"
    );
    assert_eq!(setup.code(setup.user().header("kid", "")), "wrong_type");
    assert_eq!(
        setup.code(setup.user().header("kid", "k".repeat(257))),
        "wrong_type"
    );

    let forged = stranger.user("ada").scope("Reports.Read").for_api(API);
    assert_eq!(setup.code(forged), "unknown_key");
    let forged = stranger
        .user("ada")
        .for_api(API)
        .header("kid", setup.tenant.key_id());
    assert_eq!(setup.code(forged), "bad_signature");
    for kid in [
        format!("{} ", setup.tenant.key_id()),
        setup.tenant.key_id().to_uppercase(),
        "../../../dev/null".to_owned(),
        "' OR 1=1--".to_owned(),
        "\u{202e}".to_owned(),
    ] {
        assert_eq!(setup.code(setup.user().header("kid", kid)), "unknown_key");
    }
}

#[tokio::test]
async fn outwardly_a_forged_signature_tells_nothing_of_the_keys() {
    let setup = Setup::new().await;
    let unknown = setup.validate(setup.user().header("kid", "x")).unwrap_err();
    let bad = setup.validate(setup.user().bad_signature()).unwrap_err();
    assert_ne!(unknown.code(), bad.code());
    assert_eq!(unknown.public_code(), "untrusted_signature");
    assert_eq!(unknown.public_code(), bad.public_code());
    assert_eq!(unknown.public_remedy(), bad.public_remedy());
}

#[tokio::test]
async fn a_token_that_permits_nothing_is_denied() {
    let setup = Setup::new().await;
    let validator = setup.rules().build().unwrap();
    let permission = |token| validator.default_permission(&setup.validate(token).unwrap());
    assert_eq!(permission(setup.user()), Ok(()));
    assert_eq!(permission(setup.app()), Ok(()));
    let nothing = || setup.tenant.app(CLIENT).for_api(API);
    for token in [
        nothing(),
        nothing().claim("scp", ""),
        nothing().claim("scp", "/"),
        nothing().claim("roles", json!([])),
    ] {
        assert_eq!(permission(token), Err(Denied::NoPermission));
    }
}

#[tokio::test]
async fn claims_that_decide_have_their_type_and_others_are_tolerated() {
    let setup = Setup::new().await;
    for (claim, value) in [
        ("scp", json!(["Reports.Read"])),
        ("roles", json!("Reports.Read.All")),
        ("roles", json!([5])),
        ("oid", json!("not a guid")),
        ("azp", json!(5)),
        ("sub", json!(5)),
        ("idtyp", json!(["app"])),
        ("groups", json!("one")),
    ] {
        assert_eq!(
            setup.code(setup.user().claim(claim, value)),
            "wrong_type",
            "{claim}"
        );
    }
    for (value, shown) in [
        (json!(5), Some("5")),
        (json!(true), Some("true")),
        (json!(["ada"]), None),
        (json!({ "first": "ada" }), None),
        (Value::Null, None),
    ] {
        let token = setup.validate(setup.user().claim("name", value)).unwrap();
        assert_eq!(token.name(), shown);
    }
}

#[tokio::test]
async fn the_precheck_finds_what_the_whole_check_would_find() {
    let setup = Setup::new().await;
    let validator = setup.rules().build().unwrap();
    let precheck = |token: TokenBuilder<'_>| {
        let token = token.mint();
        let unverified = Unverified::parse(&token).unwrap();
        validator
            .precheck(&unverified, setup.now())
            .map_err(|error| error.code())
    };
    assert_eq!(precheck(setup.user().header("kid", "unknown")), Ok(()));
    assert_eq!(precheck(setup.user().bad_signature()), Ok(()));
    for (token, code) in [
        (setup.user().header("alg", "none"), "wrong_algorithm"),
        (setup.tenant.graph_token("ada"), "graph_token"),
        (setup.user().expired(), "expired"),
        (setup.user().of_tenant(OTHER_TENANT), "tenant_not_allowed"),
        (setup.user().v1(), "v1_token"),
        (setup.user().audience("api://other"), "wrong_audience"),
        (setup.tenant.id_token("ada").for_api(API), "id_token"),
    ] {
        assert_eq!(precheck(token.header("kid", "unknown")), Err(code));
    }
}

#[tokio::test]
async fn a_token_says_which_key_it_asks_for_and_whose_it_claims_to_be() {
    let setup = Setup::new().await;
    let validator = setup.rules().build().unwrap();
    for (token, ours) in [
        (setup.user(), true),
        (setup.user().v1(), true),
        (setup.user().of_tenant(OTHER_TENANT), false),
        (setup.user().claim("iss", "https://other.example"), false),
    ] {
        let token = token.header("kid", "some key").mint();
        let unverified = Unverified::parse(&token).unwrap();
        assert_eq!(unverified.key_ref().key_id.as_str(), "some key");
        assert_eq!(validator.claims_to_be_ours(&unverified), ours);
    }
}

#[tokio::test]
async fn no_time_of_the_clock_makes_a_check_panic() {
    let setup = Setup::new().await;
    let token = setup.user().mint();
    let validator = setup.rules().build().unwrap();
    for now in [
        SystemTime::UNIX_EPOCH,
        SystemTime::UNIX_EPOCH - Duration::from_secs(1),
        SystemTime::UNIX_EPOCH + Duration::from_secs(u32::MAX.into()) * 1_000,
    ] {
        assert!(validator.validate(&token, &setup.keys, now).is_err());
    }
}

#[test]
fn the_clock_skew_is_bounded() {
    let tenant: TenantId = OTHER_TENANT.parse().unwrap();
    let rules = |skew| {
        Validator::entra(tenant, API.parse().unwrap())
            .clock_skew(skew)
            .build()
            .map(|_| ())
    };
    assert_eq!(rules(Duration::from_secs(600)), Ok(()));
    let too_long = Duration::from_secs(601);
    assert_eq!(rules(too_long), Err(InvalidRules::ClockSkew(too_long)));
}
