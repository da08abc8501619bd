//! Tests that any input in place of a token is refused with its own code, and never causes a panic.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entra_dev_tenant::DevTenant;
use entra_jwt_core::{KeySet, TenantId, Validator, token::Unverified};

const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";

fn code(token: &str) -> &'static str {
    Unverified::parse(token).map_or_else(|rejection| rejection.code(), |_| "parsed")
}

/// Returns a token of these two texts; parsing does not look at the signature.
fn token(header: &str, payload: &str) -> String {
    token_of_bytes(header.as_bytes(), payload.as_bytes())
}

fn token_of_bytes(header: &[u8], payload: &[u8]) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    format!("{}.{}.AAAA", encode(header), encode(payload))
}

const HEADER: &str = r#"{"alg":"RS256","kid":"k"}"#;

#[test]
fn a_token_has_three_segments() {
    assert_eq!(code(&token(HEADER, "{}")), "parsed");
    for (text, found) in [
        ("", "1 segment"),
        ("garbage", "1 segment"),
        ("a.b", "2 segments"),
        ("a.b.c.d", "4 segments"),
        ("a.b.c.d.e.f", "6 segments"),
        (&".".repeat(16 * 1024), "6 segments"),
        (&"A".repeat(16 * 1024), "an opaque token (1 segment)"),
    ] {
        assert_eq!(
            Unverified::parse(text).unwrap_err().to_string(),
            format!("not a signed token of three segments: {found}"),
            "{}",
            &text[..text.len().min(20)]
        );
    }
    assert_eq!(code("a.b.c.d.e"), "encrypted_token");
    assert_eq!(code("...."), "encrypted_token");
}

#[test]
fn an_empty_segment_counts_as_one() {
    let good = token(HEADER, "{}");
    assert_eq!(code(&format!(".{good}")), "not_a_token");
    assert_eq!(code(&format!("{good}.")), "not_a_token");
    assert_eq!(code(&good.replacen('.', "..", 1)), "not_a_token");
    assert_eq!(code(".."), "invalid_json");
}

#[test]
fn the_length_is_bounded_before_anything_is_decoded() {
    let rejection = Unverified::parse(&"A".repeat(16 * 1024 + 1)).unwrap_err();
    assert_eq!(
        rejection.to_string(),
        "the token has 16385 bytes, the limit is 16384"
    );
    assert_eq!(code(&"A".repeat(1024 * 1024)), "token_too_large");
    let good = token(HEADER, "{}");
    assert!(Unverified::parse_up_to(&good, good.len()).is_ok());
    assert!(Unverified::parse_up_to(&good, good.len() - 1).is_err());
}

#[test]
fn bytes_that_are_no_text_are_no_token() {
    let good = token(HEADER, "{}");
    let limit = good.len() + 2;
    assert!(Unverified::parse_bytes(good.as_bytes(), limit).is_ok());
    for place in 0..=good.len() {
        for foreign in [&b"\xff"[..], b"\xc3\xa9", b"\0", b" "] {
            let (before, behind) = good.as_bytes().split_at(place);
            let bytes = [before, foreign, behind].concat();
            assert!(Unverified::parse_bytes(&bytes, limit).is_err(), "{place}");
        }
    }
}

#[test]
fn base64url_is_strict_in_every_segment() {
    let good = token(HEADER, r#"{"a":1}"#);
    let segments: Vec<&str> = good.split('.').collect();
    for position in 0..3 {
        for spoilt in [
            format!("{}=", segments[position]),
            format!("{} ", segments[position]),
            format!("{}\n", segments[position]),
            format!("{}+", segments[position]),
            format!("{}/", segments[position]),
            format!("{}?", segments[position]),
            format!("{}é", segments[position]),
            "A".to_owned(),
            // The trailing bits are not zero.
            "AB".to_owned(),
        ] {
            let mut segments = segments.clone();
            segments[position] = &spoilt;
            assert_eq!(
                code(&segments.join(".")),
                "invalid_base64",
                "{position} {spoilt:?}"
            );
        }
    }
}

#[test]
fn header_and_payload_are_json_objects_and_nothing_else() {
    for text in [
        "",
        " ",
        "[]",
        "\"x\"",
        "5",
        "null",
        "true",
        "{",
        "{}{}",
        "{} x",
        "{'a':1}",
        "{\"a\":}",
        "{\"a\":1,}",
        "\u{feff}{}",
        "{\"a\":01}",
        "{\"a\":\"\n\"}",
        "NaN",
    ] {
        assert_eq!(code(&token(text, "{}")), "invalid_json", "header {text:?}");
        assert_eq!(
            code(&token(HEADER, text)),
            "invalid_json",
            "payload {text:?}"
        );
    }
    assert_eq!(code(&token(&format!(" {HEADER}\n"), " {} ")), "parsed");
}

#[test]
fn utf_8_is_required_everywhere() {
    for bytes in [
        &b"{\"a\":\"\xff\"}"[..],
        b"{\"\xc0\x80\":1}",
        b"\xff\xfe{\x00}\x00",
    ] {
        assert_eq!(
            code(&token_of_bytes(HEADER.as_bytes(), bytes)),
            "invalid_json"
        );
        assert_eq!(code(&token_of_bytes(bytes, b"{}")), "invalid_json");
    }
}

#[test]
fn a_member_that_decides_something_stands_once_whatever_its_spelling() {
    for payload in [
        r#"{"aud":"a","aud":"a"}"#,
        r#"{"aud":"a","\u0061ud":"a"}"#,
        r#"{"exp":1,"x":2,"exp":1}"#,
        r#"{"roles":["a"],"roles":[]}"#,
        r#"{"scope":"a","scope":5}"#,
        // A duplicate is also found after a claim of the wrong type.
        r#"{"aud":5,"azp":"x","azp":"x"}"#,
        r#"{"aud":5,"aud":"a"}"#,
        r#"{"aud":5,"tid":"x","tid":"x"}"#,
    ] {
        let code = code(&token(HEADER, payload));
        assert_eq!(code, "duplicate_member", "{payload}");
    }
    for header in [
        r#"{"alg":"RS256","kid":"k","alg":"none"}"#,
        r#"{"alg":"RS256","kid":"k","kid":"k"}"#,
        r#"{"alg":"RS256","kid":"k","k\u0069d":"k"}"#,
    ] {
        assert_eq!(code(&token(header, "{}")), "duplicate_member", "{header}");
    }
    // Names are case-sensitive, and only the top level is checked for duplicates.
    assert_eq!(
        code(&token(HEADER, r#"{"aud":"a","Aud":"b","x":{"y":1,"y":2}}"#)),
        "parsed"
    );
}

/// Checks that every other duplicate member is refused once the signature is verified.
///
/// Comparing many names is expensive, so a forged token must not cause that work.
#[tokio::test]
async fn any_other_member_stands_once_too_in_a_token_whose_signature_holds() {
    let tenant = DevTenant::start().await.unwrap();
    let keys = KeySet::from_jwks(tenant.signing_keys().document().as_bytes()).unwrap();
    let id: TenantId = tenant.id().parse().unwrap();
    let validator = Validator::entra(id, API.parse().unwrap()).build().unwrap();
    let now = tenant.clock()();
    let good = tenant.user("ada").scope("Reports.Read").for_api(API).mint();
    let text = |position: usize| {
        let segment = good.split('.').nth(position).unwrap();
        String::from_utf8(URL_SAFE_NO_PAD.decode(segment).unwrap()).unwrap()
    };
    let (header, payload) = (text(0), text(1));
    let with = |text: &str, members: &str| text.replacen('{', &format!("{{{members},"), 1);
    let many: Vec<String> = (0..500).map(|n| format!("\"m{n}\":0")).collect();
    let many = many.join(",");

    for members in [
        r#""unknown":1,"other":2,"unknown":1"#,
        r#""un\u006bnown":1,"unknown":1"#,
        r#""":1,"":1"#,
        r#""unheard of, and longer than any name":1,"unheard of, and longer than any n\u0061me":1"#,
        &format!("{many},\"m77\":1"),
    ] {
        for in_header in [true, false] {
            let (header, payload) = match in_header {
                true => (with(&header, members), payload.clone()),
                false => (header.clone(), with(&payload, members)),
            };
            let validate = |token: &str| {
                let refused = validator.validate(token, &keys, now);
                refused.map_or_else(|refused| refused.code(), |_| "accepted")
            };
            let token = tenant.sign(&header, &payload);
            assert_eq!(validate(&token), "duplicate_member", "{members:.60}");
            let (input, _) = token.rsplit_once('.').unwrap();
            let forged = format!("{input}.AAAA");
            assert_eq!(validate(&forged), "bad_signature", "{members:.60}");
            assert_eq!(code(&forged), "parsed", "{members:.60}");
        }
    }
    for members in [&*many, r#""Unknown":1,"unknown":1"#, r#""x":{"y":1,"y":1}"#] {
        let token = tenant.sign(&with(&header, members), &with(&payload, members));
        assert!(
            validator.validate(&token, &keys, now).is_ok(),
            "{members:.60}"
        );
    }
}

#[test]
fn deep_nesting_and_many_members_are_no_trouble() {
    let nested = |claim: &str, depth: usize| {
        format!("{{\"{claim}\":{}{}}}", "[".repeat(depth), "]".repeat(depth))
    };
    // Skipped values may be nested as deeply as the limit on the token's length allows.
    for claim in ["unknown", "cnf"] {
        assert_eq!(code(&token(HEADER, &nested(claim, 6_000))), "parsed");
        let unbounded = token(HEADER, &nested(claim, 500_000));
        assert!(Unverified::parse_up_to(&unbounded, usize::MAX).is_ok());
    }
    // Typed values are read with a recursion limit, so none of them overflows the stack.
    for claim in ["name", "roles", "exp", "iss"] {
        let unbounded = token(HEADER, &nested(claim, 500_000));
        drop(Unverified::parse_up_to(&unbounded, usize::MAX));
    }

    let members: Vec<String> = (0..1_000).map(|n| format!("\"m{n}\":0")).collect();
    let members = format!("{{{}}}", members.join(","));
    assert_eq!(code(&token(HEADER, &members)), "parsed");
    let digits = format!("{{\"exp\":{}}}", "9".repeat(10_000));
    assert_eq!(code(&token(HEADER, &digits)), "invalid_json");
}

#[tokio::test]
async fn a_signature_of_another_shape_does_not_verify() {
    let tenant = DevTenant::start().await.unwrap();
    let keys = KeySet::from_jwks(tenant.signing_keys().document().as_bytes()).unwrap();
    let id: TenantId = tenant.id().parse().unwrap();
    let validator = Validator::entra(id, API.parse().unwrap()).build().unwrap();
    let token = tenant.user("ada").scope("Reports.Read").for_api(API).mint();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let longer = [&signature[..], &[0]].concat();
    let padded = [&[0], &signature[..]].concat();
    for shape in [
        &[][..],
        &[0; 256],
        &[0xff; 256],
        &signature[1..],
        &signature[..255],
        &longer,
        &padded,
        &vec![1; 4_096],
    ] {
        let token = format!("{input}.{}", URL_SAFE_NO_PAD.encode(shape));
        let rejection = validator
            .validate(&token, &keys, tenant.clock()())
            .unwrap_err();
        assert_eq!(rejection.code(), "bad_signature", "{} bytes", shape.len());
    }
}

#[test]
fn json_serialisation_of_a_signed_token_is_none() {
    let flattened = r#"{"payload":"e30","protected":"e30","signature":"AAAA"}"#;
    assert_eq!(code(flattened), "not_a_token");
}

#[test]
fn text_that_is_no_ascii_is_refused() {
    for text in ["é.é.é", "🔑.🔑.🔑", "e30.e30.\u{0}", "e30.\u{202e}.AAAA"] {
        assert_eq!(code(text), "invalid_base64");
    }
}

/// Checks that no change of a valid token is accepted, like a small deterministic fuzzer.
#[tokio::test]
async fn no_changed_byte_of_a_valid_token_is_accepted() {
    let tenant = DevTenant::start().await.unwrap();
    let keys = KeySet::from_jwks(tenant.signing_keys().document().as_bytes()).unwrap();
    let id: TenantId = tenant.id().parse().unwrap();
    let validator = Validator::entra(id, API.parse().unwrap()).build().unwrap();
    let now = tenant.clock()();
    let token = tenant.user("ada").scope("Reports.Read").for_api(API).mint();
    assert!(validator.validate(&token, &keys, now).is_ok());

    for position in 0..token.len() {
        for replacement in ["A", "_", ".", "=", ""] {
            let mut changed = token.clone();
            changed.replace_range(position..=position, replacement);
            if changed != token {
                assert!(
                    validator.validate(&changed, &keys, now).is_err(),
                    "position {position}, {replacement:?}"
                );
            }
        }
    }
}
