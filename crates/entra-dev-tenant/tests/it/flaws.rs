//! Tests of flaws: each changes what it says and nothing else, and the signature is right for the
//! changed token.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entra_dev_tenant::{B2cPolicy, DevCloud, DevTenant, Flaw, TokenBuilder};
use serde_json::{Value, json};

use crate::support::{API, CLIENT, bytes, decoded, differences, keys, names, verifies_with};

fn user(tenant: &DevTenant) -> TokenBuilder<'_> {
    tenant.user("ada").scope("Read").scope("Write").for_api(API)
}

fn app(tenant: &DevTenant) -> TokenBuilder<'_> {
    tenant.app(CLIENT).role("Read").role("Write").for_api(API)
}

fn claims(token: TokenBuilder<'_>) -> Value {
    decoded(&token.mint(), 1)
}

/// Returns the members of the header and of the claims that a flaw changes in any kind of token.
fn changes(flaw: Flaw) -> (&'static [&'static str], &'static [&'static str]) {
    match flaw {
        Flaw::AlgNone | Flaw::Hs256WithPublicKey | Flaw::Ps256 | Flaw::Rs512 => (&["alg"], &[]),
        Flaw::UnknownKid | Flaw::NoKid | Flaw::PersonalKey | Flaw::OtherCloudKey => {
            (&["kid", "x5t"], &[])
        }
        Flaw::HeaderNonce => (&["nonce"], &[]),
        Flaw::TypAtJwt => (&["typ"], &[]),
        Flaw::Crit => (&["crit"], &[]),
        Flaw::EmbeddedJwk => (&["jwk"], &[]),
        Flaw::WrongKey
        | Flaw::BadSignature
        | Flaw::DuplicateClaim
        | Flaw::DuplicateClaimEscaped
        | Flaw::DuplicateHeader
        | Flaw::FourSegments
        | Flaw::TwoSegments
        | Flaw::Padding
        | Flaw::TrailingBits => (&[], &[]),
        Flaw::DuplicateUnknownClaim => (&[], &["xms_unheard_of"]),
        Flaw::Oversize => (&[], &["extn.filler"]),
        Flaw::TidOfAnotherTenant | Flaw::NoTid => (&[], &["tid"]),
        Flaw::TidTwin => (&[], &["TID"]),
        Flaw::UpperCaseTid | Flaw::TidNoGuid => (&[], &["iss", "tid"]),
        Flaw::AnotherTenant => (&[], &["idp", "iss", "oid", "sub", "tid"]),
        Flaw::IssuerOfAnotherTenant
        | Flaw::IssuerTemplateLiteral
        | Flaw::IssuerWrongHost
        | Flaw::IssuerAliasHost
        | Flaw::IssuerSlashAdded
        | Flaw::IssuerSlashRemoved
        | Flaw::IssuerV11
        | Flaw::IssuerOfAnotherCloud
        | Flaw::NoIssuer => (&[], &["iss"]),
        Flaw::Expired | Flaw::ExpiredAtSkewEdge | Flaw::ExpiredWithinSkew => {
            (&[], &["exp", "iat", "nbf"])
        }
        Flaw::NotYetValid | Flaw::NotYetValidWithinSkew | Flaw::NbfString => (&[], &["nbf"]),
        Flaw::NbfAfterExp => (&[], &["exp", "nbf"]),
        Flaw::NoExp | Flaw::ExpString | Flaw::ExpFloat | Flaw::ExpHuge => (&[], &["exp"]),
        Flaw::AudArray
        | Flaw::NoAud
        | Flaw::AudOther
        | Flaw::AudGraph
        | Flaw::AudManagement
        | Flaw::AudUpperCase => (&[], &["aud"]),
        Flaw::ProofOfPossession => (&[], &["cnf"]),
        Flaw::NoClient => (&[], &["appid", "azp"]),
        Flaw::PayloadNonce => (&[], &["nonce"]),
        Flaw::CHash => (&[], &["c_hash"]),
        Flaw::AtHash => (&[], &["at_hash"]),
        Flaw::NoScopeNoRole => (&[], &["roles", "scp"]),
        Flaw::ScpEmpty | Flaw::ScpSlash | Flaw::ScpArray => (&[], &["scp"]),
        Flaw::RolesString => (&[], &["roles"]),
        _ => panic!("{flaw:?} has no test"),
    }
}

/// Returns whether the tenant's own key has signed the token with RS256.
fn is_signed_as_a_good_one(flaw: Flaw) -> bool {
    !matches!(
        flaw,
        Flaw::AlgNone
            | Flaw::Hs256WithPublicKey
            | Flaw::Ps256
            | Flaw::Rs512
            | Flaw::WrongKey
            | Flaw::BadSignature
            | Flaw::PersonalKey
            | Flaw::OtherCloudKey
            | Flaw::EmbeddedJwk
            | Flaw::TwoSegments
    )
}

#[tokio::test(start_paused = true)]
async fn a_flaw_changes_what_it_says_and_nothing_else() {
    let tenant = DevTenant::start().await.unwrap();
    let key = &keys(&tenant, tenant.id())[0];
    let kinds: [fn(&DevTenant) -> TokenBuilder<'_>; 4] = [
        user,
        app,
        |tenant| user(tenant).v1(),
        |tenant| app(tenant).v1(),
    ];
    for (number, kind) in kinds.into_iter().enumerate() {
        let (good, good_v1) = (kind(&tenant).mint(), kind(&tenant).v1().mint());
        for &flaw in Flaw::ALL {
            // A JWE has neither the header nor the claims of the other tokens.
            if flaw == Flaw::Jwe {
                continue;
            }
            let good = match flaw {
                Flaw::IssuerSlashRemoved => &good_v1,
                _ => &good,
            };
            let bad = kind(&tenant).flaw(flaw).mint();
            let (header, payload) = changes(flaw);
            for (segment, expected) in [(0, header), (1, payload)] {
                let (good, bad) = (decoded(good, segment), decoded(&bad, segment));
                let changed = differences(&good, &bad);
                // A kind of token may have only some of the members, such as one of `azp` and
                // `appid`.
                let applies = |name: &&&str| good.get(name).is_some() || bad.get(name).is_some();
                let expected: Vec<&str> = expected.iter().filter(applies).copied().collect();
                assert_eq!(names(&changed), expected, "{flaw:?} of kind {number}");
            }
            assert_eq!(
                verifies_with(&bad, key, &RSA_PKCS1_2048_8192_SHA256),
                is_signed_as_a_good_one(flaw),
                "{flaw:?} of kind {number}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn claims_are_wrong_as_the_flaw_says() {
    let tenant = DevTenant::start().await.unwrap();
    let id = tenant.id();
    let now = (tenant.clock())()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let good = claims(user(&tenant));
    let another = claims(user(&tenant).flaw(Flaw::AnotherTenant))["tid"].clone();
    let another = another.as_str().unwrap();
    assert_ne!(another, id);
    let v2 = |tenant: &str| json!(format!("https://login.microsoftonline.com/{tenant}/v2.0"));
    let at = |host: &str| json!(format!("https://{host}/{id}/v2.0"));
    let exp = good["exp"].as_u64().unwrap();
    for (flaw, claim, value) in [
        (Flaw::TidOfAnotherTenant, "tid", json!(another)),
        (Flaw::IssuerOfAnotherTenant, "iss", v2(another)),
        (Flaw::AnotherTenant, "iss", v2(another)),
        (Flaw::NoTid, "tid", Value::Null),
        (Flaw::TidTwin, "TID", json!(another)),
        (Flaw::UpperCaseTid, "tid", json!(id.to_uppercase())),
        (Flaw::UpperCaseTid, "iss", v2(&id.to_uppercase())),
        (Flaw::TidNoGuid, "tid", json!("contoso.onmicrosoft.com")),
        (Flaw::TidNoGuid, "iss", v2("contoso.onmicrosoft.com")),
        (Flaw::IssuerTemplateLiteral, "iss", v2("{tenantid}")),
        (Flaw::IssuerWrongHost, "iss", at("login.evil.example")),
        (Flaw::IssuerAliasHost, "iss", at("login.windows.net")),
        (
            Flaw::IssuerSlashAdded,
            "iss",
            json!(format!("https://login.microsoftonline.com/{id}/v2.0/")),
        ),
        (
            Flaw::IssuerSlashRemoved,
            "iss",
            json!(format!("https://sts.windows.net/{id}")),
        ),
        (
            Flaw::IssuerV11,
            "iss",
            json!(format!("https://login.microsoftonline.com/{id}/v1.1")),
        ),
        (
            Flaw::IssuerOfAnotherCloud,
            "iss",
            at("login.microsoftonline.us"),
        ),
        (Flaw::NoIssuer, "iss", Value::Null),
        (Flaw::Expired, "exp", json!(now - 3_600)),
        (Flaw::ExpiredAtSkewEdge, "exp", json!(now - 301)),
        (Flaw::ExpiredWithinSkew, "exp", json!(now - 290)),
        (Flaw::NotYetValid, "nbf", json!(now + 310)),
        (Flaw::NotYetValidWithinSkew, "nbf", json!(now + 290)),
        (Flaw::NoExp, "exp", Value::Null),
        (Flaw::ExpString, "exp", json!(exp.to_string())),
        (Flaw::ExpFloat, "exp", json!(exp as f64 + 0.5)),
        (Flaw::ExpHuge, "exp", json!(1e300)),
        (Flaw::NbfString, "nbf", json!(good["nbf"].to_string())),
        (Flaw::AudArray, "aud", json!([API])),
        (Flaw::NoAud, "aud", Value::Null),
        (
            Flaw::AudGraph,
            "aud",
            json!("00000003-0000-0000-c000-000000000000"),
        ),
        (
            Flaw::AudManagement,
            "aud",
            json!("https://management.azure.com"),
        ),
        (Flaw::AudUpperCase, "aud", json!(API.to_uppercase())),
        (Flaw::NoClient, "azp", Value::Null),
        (Flaw::NoScopeNoRole, "scp", Value::Null),
        (Flaw::ScpEmpty, "scp", json!("")),
        (Flaw::ScpSlash, "scp", json!("/")),
        (Flaw::ScpArray, "scp", json!(["Read", "Write"])),
    ] {
        let found = claims(user(&tenant).flaw(flaw));
        assert_eq!(found[claim], value, "{flaw:?}");
    }
    let roles = claims(app(&tenant).flaw(Flaw::RolesString));
    assert_eq!(roles["roles"], "Read Write");
    let other = claims(user(&tenant).flaw(Flaw::AudOther));
    assert_eq!(other["aud"].as_str().unwrap().len(), 36);
    let ends_first = claims(user(&tenant).flaw(Flaw::NbfAfterExp));
    assert!(ends_first["nbf"].as_u64() > ends_first["exp"].as_u64());
    assert!(ends_first["exp"].as_u64() > Some(now));
    for flaw in [
        Flaw::Expired,
        Flaw::ExpiredAtSkewEdge,
        Flaw::ExpiredWithinSkew,
    ] {
        let expired = claims(user(&tenant).flaw(flaw));
        assert!(expired["nbf"].as_u64() < expired["exp"].as_u64());
        assert_eq!(expired["nbf"], expired["iat"]);
    }
}

#[tokio::test]
async fn v1_issuers_and_audiences_are_wrong_in_their_own_form() {
    let tenant = DevTenant::start().await.unwrap();
    let id = tenant.id();
    for (flaw, claim, value) in [
        (
            Flaw::IssuerTemplateLiteral,
            "iss",
            "https://sts.windows.net/{tenantid}/".to_owned(),
        ),
        (
            Flaw::IssuerWrongHost,
            "iss",
            format!("https://login.evil.example/{id}/"),
        ),
        (
            Flaw::IssuerAliasHost,
            "iss",
            format!("https://login.windows.net/{id}/"),
        ),
        (
            Flaw::IssuerSlashAdded,
            "iss",
            format!("https://sts.windows.net/{id}//"),
        ),
        (
            Flaw::IssuerSlashRemoved,
            "iss",
            format!("https://sts.windows.net/{id}"),
        ),
        (
            Flaw::IssuerOfAnotherCloud,
            "iss",
            format!("https://sts.chinacloudapi.cn/{id}/"),
        ),
        (
            Flaw::AudUpperCase,
            "aud",
            format!("api://{}", API.to_uppercase()),
        ),
    ] {
        assert_eq!(
            claims(app(&tenant).v1().flaw(flaw))[claim],
            value,
            "{flaw:?}"
        );
    }
}

#[tokio::test]
async fn signatures_are_wrong_as_the_flaw_says() {
    let tenant = DevTenant::start().await.unwrap();
    let own = &keys(&tenant, tenant.id())[0];
    let token = |flaw| user(&tenant).flaw(flaw).mint();
    assert!(token(Flaw::AlgNone).ends_with('.'));
    assert_eq!(decoded(&token(Flaw::AlgNone), 0)["alg"], "none");

    let pss = token(Flaw::Ps256);
    assert_eq!(decoded(&pss, 0)["alg"], "PS256");
    assert!(verifies_with(&pss, own, &RSA_PSS_2048_8192_SHA256));
    let sha512 = token(Flaw::Rs512);
    assert_eq!(decoded(&sha512, 0)["alg"], "RS512");
    assert!(verifies_with(&sha512, own, &RSA_PKCS1_2048_8192_SHA512));

    let hmac_token = token(Flaw::Hs256WithPublicKey);
    assert_eq!(decoded(&hmac_token, 0)["alg"], "HS256");
    let (input, tag) = hmac_token.rsplit_once('.').unwrap();
    // A PKCS #1 public key of 2048 bits with the exponent 65537, in DER.
    let mut der = vec![0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00];
    der.extend(bytes(own["n"].as_str().unwrap()));
    der.extend([0x02, 0x03, 0x01, 0x00, 0x01]);
    let secret = hmac::Key::new(hmac::HMAC_SHA256, &der);
    assert!(hmac::verify(&secret, input.as_bytes(), &bytes(tag)).is_ok());
}

#[tokio::test]
async fn keys_are_wrong_as_the_flaw_says() {
    let tenant = DevTenant::start().await.unwrap();
    let token = |flaw| user(&tenant).v1().flaw(flaw).mint();
    for (flaw, authority) in [
        (Flaw::PersonalKey, "consumers"),
        (Flaw::OtherCloudKey, "organizations"),
    ] {
        let token = token(flaw);
        let published = keys(&tenant, authority);
        let key = published.last().unwrap();
        let header = decoded(&token, 0);
        assert_eq!((&header["kid"], &header["x5t"]), (&key["kid"], &key["kid"]));
        assert!(verifies_with(&token, key, &RSA_PKCS1_2048_8192_SHA256));
    }
    let embedded = token(Flaw::EmbeddedJwk);
    let header = decoded(&embedded, 0);
    assert_eq!(header["kid"], tenant.signing_keys().current_id());
    assert!(verifies_with(
        &embedded,
        &header["jwk"],
        &RSA_PKCS1_2048_8192_SHA256
    ));

    let unknown = decoded(&token(Flaw::UnknownKid), 0);
    assert_eq!(unknown["kid"].as_str().unwrap().len(), 27);
    assert_eq!(unknown["kid"], unknown["x5t"]);
    assert_ne!(unknown["kid"], decoded(&token(Flaw::UnknownKid), 0)["kid"]);
    let unnamed = decoded(&token(Flaw::NoKid), 0);
    assert_eq!(names(&unnamed), ["alg", "typ"]);
}

#[tokio::test]
async fn headers_are_wrong_as_the_flaw_says() {
    let tenant = DevTenant::start().await.unwrap();
    let header = |flaw| decoded(&user(&tenant).flaw(flaw).mint(), 0);
    assert_eq!(header(Flaw::TypAtJwt)["typ"], "at+jwt");
    assert_eq!(header(Flaw::Crit)["crit"], json!(["exp"]));
    assert!(header(Flaw::HeaderNonce)["nonce"].is_string());
}

#[tokio::test]
async fn texts_are_wrong_as_the_flaw_says() {
    let tenant = DevTenant::start().await.unwrap();
    let token = |flaw| user(&tenant).flaw(flaw).mint();
    let json_text = |token: &str, segment: usize| {
        String::from_utf8(bytes(token.split('.').nth(segment).unwrap())).unwrap()
    };
    for (flaw, segment, member, times) in [
        (Flaw::DuplicateClaim, 1, format!(r#""aud":"{API}""#), 2),
        (
            Flaw::DuplicateClaimEscaped,
            1,
            format!(r#""aud":"{API}""#),
            1,
        ),
        (
            Flaw::DuplicateClaimEscaped,
            1,
            format!(r#""\u0061ud":"{API}""#),
            1,
        ),
        (Flaw::DuplicateHeader, 0, r#""alg":"RS256""#.to_owned(), 2),
        (
            Flaw::DuplicateUnknownClaim,
            1,
            r#""xms_unheard_of":1"#.to_owned(),
            2,
        ),
    ] {
        let text = json_text(&token(flaw), segment);
        assert_eq!(text.matches(&member).count(), times, "{flaw:?}: {text}");
    }
    for (flaw, segments) in [
        (Flaw::TwoSegments, 2),
        (Flaw::FourSegments, 4),
        (Flaw::Jwe, 5),
    ] {
        assert_eq!(token(flaw).split('.').count(), segments);
    }
    assert_eq!(decoded(&token(Flaw::Jwe), 0)["enc"], "A256GCM");
    assert!(token(Flaw::Oversize).len() > 16 * 1_024);
}

#[tokio::test]
async fn only_a_lenient_decoder_reads_a_wrong_base64() {
    let tenant = DevTenant::start().await.unwrap();
    // With names of three lengths, the payload has each remainder of a division by 3.
    for name in ["a", "ad", "ada"] {
        for (flaw, segment) in [(Flaw::Padding, 1), (Flaw::TrailingBits, 2)] {
            let token = tenant.user(name).for_api(API).flaw(flaw).mint();
            let text = token.split('.').nth(segment).unwrap();
            assert!(URL_SAFE_NO_PAD.decode(text).is_err(), "{flaw:?}: {text}");
            assert!(!bytes(text).is_empty());
        }
    }
}

#[tokio::test]
async fn whoever_speaks_last_is_right() {
    let tenant = DevTenant::start().await.unwrap();
    let flaw_last = user(&tenant).claim("aud", "x").flaw(Flaw::AudOther);
    assert_ne!(claims(flaw_last)["aud"], "x");
    let claim_last = user(&tenant).flaw(Flaw::AudOther).claim("aud", "x");
    assert_eq!(claims(claim_last)["aud"], "x");
    let both = user(&tenant).flaw(Flaw::NoTid).flaw(Flaw::ScpEmpty);
    let both = claims(both);
    assert_eq!((&both["tid"], &both["scp"]), (&Value::Null, &json!("")));
}

#[tokio::test]
async fn a_flaw_combines_with_any_token_of_any_tenant() {
    for cloud in [DevCloud::Public, DevCloud::UsGovernment, DevCloud::China] {
        let builder = DevTenant::builder().cloud(cloud);
        let tenant = builder.external_id().start().await.unwrap();
        for &flaw in Flaw::ALL {
            for token in [
                tenant.user("ada"),
                tenant.personal("ada").v1(),
                tenant.b2c_token("ada", B2cPolicy::Tfp),
                tenant.app(CLIENT).without_service_principal(),
                tenant.id_token("ada"),
                tenant.graph_token("ada"),
            ] {
                let token = token.flaw(flaw).flaw(Flaw::AlgNone).bad_signature().mint();
                assert!(token.split('.').count() >= 2, "{flaw:?}");
            }
        }
    }
}
