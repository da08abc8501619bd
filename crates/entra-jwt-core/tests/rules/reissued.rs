//! Tokens that an authorization server in front of Entra reissues (RFC 9068).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entra_jwt_core::{
    AccessToken, InvalidToken, KeySet, Validator,
    explain::{CheckName, ExplainOptions, Verdict},
    ids::{Audience, KeyId},
    keys::Key,
    refusal::PermissionDeniedKind,
    require::{AppPermission, Requirement, Scope, UserRole},
};
use serde_json::{Value, json};

use super::{API, OTHER_TENANT, Setup};

const ISSUER: &str = "https://mcp.example.com";
const RESOURCE: &str = "https://mcp.example.com/mcp";
const OBJECT: &str = "0a1b2c3d-4e5f-4a6b-8c7d-000000000001";

/// An authorization server with one key, and the rules for its tokens.
struct Server {
    key: EcdsaKeyPair,
    keys: KeySet,
    rules: Validator,
    tenant: String,
}

impl Server {
    async fn new() -> (Setup, Self) {
        let setup = Setup::new().await;
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let public = Key::es256(KeyId::new("own").unwrap(), key.public_key().as_ref()).unwrap();
        let entra = setup.rules().build().unwrap();
        let server = Self {
            key,
            keys: KeySet::from_iter([Arc::new(public)]),
            rules: entra.reissued(ISSUER, RESOURCE).unwrap(),
            tenant: setup.tenant.id().to_owned(),
        };
        (setup, server)
    }

    fn claims(&self) -> Value {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        json!({
            "iss": ISSUER, "aud": RESOURCE, "sub": "pairwise", "client_id": "opaque",
            "scope": "Mcp.Read Mcp.Write", "iat": now, "exp": now + 3_600, "jti": "1",
            "tid": self.tenant, "oid": OBJECT, "azp": API, "idtyp": "user", "gid": "grant",
            "roles": ["Reader"],
        })
    }

    fn header() -> Value {
        json!({ "alg": "ES256", "typ": "at+jwt", "kid": "own" })
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let input = format!("{}.{}", part(header), part(claims));
        let random = SystemRandom::new();
        let mut signatures =
            std::iter::repeat_with(|| self.key.sign(&random, input.as_bytes()).unwrap());
        // The validator requires `s` below half of the order; a first byte below 0x7f ensures that.
        let low = signatures.find(|signature| signature.as_ref()[32] < 0x7f);
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(low.unwrap()))
    }

    fn validate(&self, token: &str) -> Result<AccessToken, InvalidToken> {
        self.rules.validate(token, &self.keys, SystemTime::now())
    }

    /// Returns the code of the refusal of a token with another value of `claim`.
    fn refusal_of(&self, claim: &str, value: Value) -> &'static str {
        let mut claims = self.claims();
        claims[claim] = value;
        let token = self.sign(&Self::header(), &claims);
        self.validate(&token).unwrap_err().code()
    }

    fn refusal_of_header(&self, member: &str, value: Value) -> &'static str {
        let mut header = Self::header();
        header[member] = value;
        let token = self.sign(&header, &self.claims());
        self.validate(&token).unwrap_err().code()
    }
}

#[tokio::test]
async fn a_reissued_token_is_read_like_one_of_entra() {
    let (_, server) = Server::new().await;
    let token = server.sign(&Server::header(), &server.claims());
    let token = server.validate(&token).unwrap();
    assert_eq!(token.tenant_id().to_string(), server.tenant);
    assert_eq!(token.object_id().unwrap().to_string(), OBJECT);
    assert_eq!(
        token.scopes().collect::<Vec<_>>(),
        ["Mcp.Read", "Mcp.Write"]
    );
    assert!(token.is_delegated());
    assert_eq!(token.issuer(), ISSUER);
    assert_eq!(token.claim("gid"), Some(json!("grant")));
    assert!(server.rules.default_permission(&token).is_ok());
    let passes = |requirement: Requirement| requirement.check(&token).is_ok();
    assert!(passes(Requirement::new(Scope("Mcp.Write")).unwrap()));
    assert!(passes(Requirement::new(UserRole("Reader")).unwrap()));
    assert!(!passes(Requirement::new(AppPermission("Reader")).unwrap()));
}

/// Checks that no remedy names a page of the token's client. The client registered itself at the
/// server, so it has none.
#[tokio::test]
async fn the_remedy_for_a_reissued_token_names_no_registration_of_its_client() {
    let (setup, server) = Server::new().await;
    let reissued = server.sign(&Server::header(), &server.claims());
    let token = server.validate(&reissued).unwrap();
    let entras = setup.validate(setup.user()).unwrap();
    for (requirement, words) in [
        (
            Requirement::new(Scope("Mcp.Admin")).unwrap(),
            "have the client request the scope Mcp.Admin in a new sign-in; the authorization server \
             must offer it (entra-oauth-proxy: in optional_scopes), and it must be on the pages Expose \
             an API and API permissions (Delegated permissions) of the server's app registration",
        ),
        (
            Requirement::new(AppPermission("Reader")).unwrap(),
            "call with a token that an application got from Entra itself: it requests \
             api://<client id>/.default by client credentials, and has an app role of this API; or \
             require a Scope as an alternative",
        ),
    ] {
        let denied = requirement.check(&token).unwrap_err();
        assert_eq!(denied.remedy(), words);
        let of_entra = requirement.check(&entras).unwrap_err();
        assert_eq!(of_entra.kind(), denied.kind());
        assert!(
            of_entra.remedy().contains("client's page") || of_entra.remedy().contains("its API")
        );
        // The report says the same.
        let with = ExplainOptions::at(SystemTime::now())
            .keys(&server.keys)
            .requirement(&requirement);
        let report = server.rules.explain(&reissued, &with);
        let Verdict::PermissionDenied(reported) = report.verdict() else {
            panic!("{:?}", report.verdict());
        };
        assert_eq!(reported.remedy(), words);
    }
}

/// SHA-256 of `opaque`, in base64url.
const OPAQUE: &str = "bSKYhMEmi7CrMtjaMV0P5S-RRyKL2DCje8n7KKlUlA0";

#[tokio::test]
async fn the_client_of_a_reissued_token_is_the_servers_and_not_the_one_that_entra_knows() {
    let (setup, server) = Server::new().await;
    let mut claims = server.claims();
    let read = |claims: &Value| {
        let token = server.sign(&Server::header(), claims);
        server.validate(&token).unwrap()
    };
    let token = read(&claims);
    assert_eq!(token.client_id(), None);
    assert_eq!(token.registered_client(), Some(OPAQUE));
    let shown = format!("{token:?}");
    assert!(shown.contains(OPAQUE) && !shown.contains(API), "{shown}");
    claims["client_id"] = json!("https://client.example.com/metadata.json");
    let other = read(&claims);
    assert!(
        other
            .registered_client()
            .is_some_and(|other| other != OPAQUE)
    );

    // A token of Entra has no registered client, even if it has a claim `client_id`.
    let entras = setup.user().claim("client_id", "opaque");
    let entras = setup.validate(entras).unwrap();
    assert!(entras.client_id().is_some());
    assert_eq!(entras.registered_client(), None);
    assert!(setup.validate(setup.user().claim("client_id", 5)).is_ok());
}

#[tokio::test]
async fn a_reissued_token_was_issued_when_entra_issued_the_one_that_it_is_of() {
    let (setup, server) = Server::new().await;
    let mut claims = server.claims();
    for (at, expected) in [
        (json!(1_700_000_000), Some(1_700_000_000)),
        (json!(1_700_000_000.5), Some(1_700_000_000)),
        (json!(null), None),
        (json!("1700000000"), None),
        (json!([1_700_000_000]), None),
        (json!(1e300), None),
    ] {
        claims["entra_iat"] = at;
        let token = server.sign(&Server::header(), &claims);
        let issued_at = server.validate(&token).unwrap().issued_at();
        let seconds =
            issued_at.map(|at| at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
        assert_eq!(seconds, expected);
    }
    claims.as_object_mut().unwrap().remove("entra_iat");
    let token = server.sign(&Server::header(), &claims);
    assert_eq!(server.validate(&token).unwrap().issued_at(), None);

    let entras = setup.validate(setup.user().claim("entra_iat", 5)).unwrap();
    let iat = entras.claim("iat").unwrap().as_u64().unwrap();
    let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(iat);
    assert_eq!(entras.issued_at(), Some(expected));
}

#[tokio::test]
async fn a_reissued_token_says_of_which_client_and_whom_it_is() {
    let (_, server) = Server::new().await;
    for claim in ["client_id", "sub"] {
        assert_eq!(
            server.refusal_of(claim, json!("")),
            "missing_claim",
            "{claim}"
        );
        let mut claims = server.claims();
        claims.as_object_mut().unwrap().remove(claim);
        let token = server.sign(&Server::header(), &claims);
        let refused = server.validate(&token).unwrap_err();
        assert_eq!(refused, InvalidToken::missing_claim(claim));
    }
    assert_eq!(server.refusal_of("client_id", json!(5)), "missing_claim");
    let mut claims = server.claims();
    claims.as_object_mut().unwrap().remove("oid");
    let token = server.sign(&Server::header(), &claims);
    let id = server.validate(&token).unwrap().id().to_string();
    assert_eq!(id, "sub:pairwise");
}

/// Checks that the allowed clients admit either every client of a server or none. The server is the
/// only client that Entra knows.
#[tokio::test]
async fn the_allowed_clients_admit_every_client_of_a_server_or_none() {
    let (setup, server) = Server::new().await;
    for (allowed, expected) in [(API, None), (OTHER_TENANT, Some("client_not_allowed"))] {
        let rules = setup.rules().allowed_clients([allowed.parse().unwrap()]);
        let rules = rules.build().unwrap().reissued(ISSUER, RESOURCE).unwrap();
        for client in ["opaque", "another"] {
            let mut claims = server.claims();
            claims["client_id"] = json!(client);
            let token = server.sign(&Server::header(), &claims);
            let outcome = rules.validate(&token, &server.keys, SystemTime::now());
            assert_eq!(outcome.err().map(|refused| refused.code()), expected);
        }
    }
}

/// Checks that no client of a server is exempt. The exemption would apply to the server, and so to
/// all its clients.
#[tokio::test]
async fn no_client_of_a_server_is_exempt_from_needing_a_scope_or_a_role() {
    let (setup, server) = Server::new().await;
    let rules = setup.rules().allow_roleless_clients([API.parse().unwrap()]);
    let rules = rules.build().unwrap().reissued(ISSUER, RESOURCE).unwrap();
    let mut claims = server.claims();
    claims["idtyp"] = json!("app");
    claims["scope"] = json!("");
    claims["roles"] = json!([]);
    let token = server.sign(&Server::header(), &claims);
    let token = rules.validate(&token, &server.keys, SystemTime::now());
    let token = token.unwrap();
    assert!(token.is_app_only());
    let denied = rules.default_permission(&token).unwrap_err();
    assert_eq!(denied.kind(), PermissionDeniedKind::NoPermission);
}

#[tokio::test]
async fn what_a_reissued_token_must_be_is_exact() {
    let (_, server) = Server::new().await;
    for (member, value, code) in [
        ("alg", json!("RS256"), "wrong_algorithm"),
        ("alg", json!("none"), "wrong_algorithm"),
        ("typ", json!("JWT"), "wrong_token_type"),
        ("kid", json!("other"), "unknown_key"),
    ] {
        assert_eq!(server.refusal_of_header(member, value), code, "{member}");
    }
    for (claim, value, code) in [
        ("iss", json!("https://mcp.example.com/"), "wrong_issuer"),
        ("iss", json!("https://evil.example.com"), "wrong_issuer"),
        (
            "aud",
            json!("https://mcp.example.com/other"),
            "wrong_audience",
        ),
        ("aud", json!(API), "wrong_audience"),
        ("aud", json!(format!("api://{API}")), "wrong_audience"),
        ("aud", json!([RESOURCE]), "wrong_type"),
        ("exp", json!(1), "expired"),
        ("tid", json!(OTHER_TENANT), "tenant_not_allowed"),
        ("cnf", json!({}), "proof_of_possession"),
        ("nonce", json!("n"), "id_token"),
    ] {
        assert_eq!(server.refusal_of(claim, value), code, "{claim}");
    }
    let mut header = Server::header();
    header.as_object_mut().unwrap().remove("typ");
    let token = server.sign(&header, &server.claims());
    assert_eq!(
        server.validate(&token).unwrap_err().code(),
        "wrong_token_type"
    );
    let mut claims = server.claims();
    claims.as_object_mut().unwrap().remove("tid");
    let token = server.sign(&Server::header(), &claims);
    assert_eq!(server.validate(&token).unwrap_err().code(), "missing_claim");
}

/// Checks that the other form of a signature is refused. From `(r, s)` anyone can compute `(r, n -
/// s)`, and ECDSA verifies both.
#[tokio::test]
async fn the_other_spelling_of_a_signature_is_no_second_token() {
    let (_, server) = Server::new().await;
    let token = server.sign(&Server::header(), &server.claims());
    assert!(server.validate(&token).is_ok());
    let (input, signature) = token.rsplit_once('.').unwrap();
    let mut other = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let mut borrow = false;
    for (of_s, of_order) in other[32..].iter_mut().zip(order).rev() {
        let (less, first) = u8::overflowing_sub(of_order, *of_s);
        let (difference, second) = less.overflowing_sub(u8::from(borrow));
        (*of_s, borrow) = (difference, first || second);
    }
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, server.key.public_key());
    assert!(public.verify(input.as_bytes(), &other).is_ok());
    let spelled_otherwise = format!("{input}.{}", URL_SAFE_NO_PAD.encode(other));
    let refused = server.validate(&spelled_otherwise).unwrap_err();
    assert_eq!(refused.code(), "bad_signature");
}

#[tokio::test]
async fn only_the_claim_scope_has_the_scopes_of_a_reissued_token() {
    let (_, server) = Server::new().await;
    let mut claims = server.claims();
    claims["scp"] = json!("Mcp.Admin");
    let token = server.sign(&Server::header(), &claims);
    let token = server.validate(&token).unwrap();
    assert_eq!(
        token.scopes().collect::<Vec<_>>(),
        ["Mcp.Read", "Mcp.Write"]
    );

    for scope in [
        json!(null),
        json!(["Mcp.Read"]),
        json!(""),
        json!("\t"),
        json!(" \u{a0} /"),
    ] {
        claims["scope"] = scope;
        claims["roles"] = json!([]);
        let token = server.sign(&Server::header(), &claims);
        let token = server.validate(&token).unwrap();
        assert_eq!(token.scopes().count(), 0);
        assert!(server.rules.default_permission(&token).is_err());
    }
}

#[tokio::test]
async fn neither_kind_of_token_passes_for_the_other() {
    let (setup, server) = Server::new().await;
    let own = server.sign(&Server::header(), &server.claims());
    let entra = setup.rules().build().unwrap();
    let refused = entra.validate(&own, &setup.keys, SystemTime::now());
    assert_eq!(refused.unwrap_err().code(), "wrong_algorithm");
    let refused = entra.validate(&own, &server.keys, SystemTime::now());
    assert_eq!(refused.unwrap_err().code(), "wrong_algorithm");
    let entras = setup.user().mint();
    assert_eq!(
        server.validate(&entras).unwrap_err().code(),
        "wrong_algorithm"
    );

    // Entra's own key cannot sign for the server, and the server's key cannot sign for Entra.
    let posing = setup.user().header("alg", "ES256").header("typ", "at+jwt");
    let posing = posing.claim("iss", ISSUER).claim("aud", RESOURCE).mint();
    let refused = server
        .rules
        .validate(&posing, &setup.keys, SystemTime::now());
    assert_eq!(refused.unwrap_err().code(), "bad_signature");
    let mut claims = server.claims();
    claims["iss"] = json!(entra.issuers().next().unwrap());
    claims["aud"] = json!(API);
    let posing = server.sign(&json!({ "alg": "RS256", "kid": "own" }), &claims);
    let refused = entra.validate(&posing, &server.keys, SystemTime::now());
    assert_eq!(refused.unwrap_err().code(), "bad_signature");
}

#[tokio::test]
async fn a_key_that_is_gone_is_explained_by_what_makes_it_go() {
    let (_, server) = Server::new().await;
    let mut header = Server::header();
    header["kid"] = json!("before the restart");
    let token = server.sign(&header, &server.claims());
    let refused = server.validate(&token).unwrap_err();
    assert!(
        refused.remedy().contains("survive a restart"),
        "{}",
        refused.remedy()
    );
    assert!(!refused.public_remedy().contains("survive a restart"));
}

#[tokio::test]
async fn a_report_reads_the_scopes_too() {
    let (_, server) = Server::new().await;
    let token = server.sign(&Server::header(), &server.claims());
    let with = ExplainOptions::at(SystemTime::now()).keys(&server.keys);
    let report = server.rules.explain(&token, &with);
    assert_eq!(report.verdict(), Verdict::Accepted);
    let found = report.finding(CheckName::Permission).unwrap().found.clone();
    assert!(found.unwrap().contains("Mcp.Read"));
}

#[tokio::test]
async fn an_audience_that_no_token_can_have_is_refused_at_once() {
    let (setup, server) = Server::new().await;
    let entra = setup.rules().build().unwrap();
    assert!(
        entra
            .reissued(ISSUER, "https://graph.microsoft.com")
            .is_err()
    );
    let longest = format!("{ISSUER}/{}", "a".repeat(Audience::MAX_LENGTH - 24));
    assert!(entra.reissued(&longest, RESOURCE).is_ok());
    for (issuer, audience) in [
        (&*format!("{longest}a"), RESOURCE),
        (ISSUER, &*format!("{longest}a")),
    ] {
        let refused = entra.reissued(issuer, audience).unwrap_err();
        assert_eq!(refused.to_string(), "longer than 1000 bytes");
    }
    assert_eq!(server.rules.issuers().collect::<Vec<_>>(), [ISSUER]);
    let audiences: Vec<String> = server.rules.audiences().map(ToString::to_string).collect();
    assert_eq!(audiences, [RESOURCE]);
}
