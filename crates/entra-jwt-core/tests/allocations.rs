//! Tests that no sender can cause allocations of more than a small multiple of the input's length.
//!
//! The tests count the memory that Rust allocates during one call, including the result: the
//! maximum at any time (peak) and the sum of all allocations (total). A reallocation counts the old
//! and the new memory together. aws-lc allocates in C, a few kilobytes for each signature; the
//! tests do not count that memory.
//!
//! The table shows multiples of the input's length, measured in November 2026 over the inputs
//! below, and the asserted limits:
//!
//! | call | peak | asserted | total | asserted | worst input |
//! |---|---|---|---|---|---|
//! | parse | 0.9 | 1 | 1.1 | 1 | a giant `iss` that consists of escapes |
//! | precheck | 0.2 | 1 | 0.3 | 1 | a giant `aud` that consists of escapes |
//! | validate | 8.8 | 10 | 12.9 | 14 | thousands of groups of one letter |
//! | explain | 13.9 | 15 | 20.4 | 22 | thousands of scopes of one letter |
//! | explain with a requirement | 13.9 | 15 | 20.5 | 22 | thousands of scopes of one letter |
//! | JWKS document | 1.5 | 2 | 2.0 | 3 | a giant `n`; a giant `kid` that consists of escapes |
//!
//! In addition to the multiple, 10 KiB are permitted for memory that does not grow with the input.
//! `validate` needs more than the input's length only for a token with a valid signature. For a
//! token with a forged signature or an unknown key, the total is less than twice its length,
//! without the 10 KiB.
//!
//! A JWKS document has up to 512 KiB, the maximum that the Layer reads: at most 0.8 MB are held.

mod support;

use std::hint::black_box;
use std::time::{SystemTime, UNIX_EPOCH};

use allocation_counter::{AllocationInfo, measure};
use entra_jwt_core::{
    AccessToken, InvalidToken, KeySet, TenantId, Validator,
    explain::{ExplainOptions, Verdict},
    require::{Requirement, Scope},
    token::Unverified,
};
use serde_json::Value;

use crate::support::{API, CLIENT, tenant};

/// Permitted allocation that does not grow with the input.
const CONSTANT: usize = 10 * 1_024;

/// A text from a sender.
struct Input {
    name: String,
    text: String,
}

/// Limits as multiples of an input's length.
#[derive(Clone, Copy)]
struct Bound {
    peak: usize,
    total: usize,
}

const PARSE: Bound = Bound { peak: 1, total: 1 };
const PRECHECK: Bound = PARSE;
const VALIDATE: Bound = Bound {
    peak: 10,
    total: 14,
};
const EXPLAIN: Bound = Bound {
    peak: 15,
    total: 22,
};
const EXPLAIN_REQUIREMENT: Bound = EXPLAIN;
const KEY_DOCUMENT: Bound = Bound { peak: 2, total: 3 };

impl Bound {
    fn holds(self, call: &str, input: &Input, used: &AllocationInfo) {
        let length = input.text.len();
        let within = |used: u64, multiple: usize| {
            usize::try_from(used).unwrap() <= multiple * length + CONSTANT
        };
        let ratio = |used: u64| used as f64 / length as f64;
        assert!(
            within(used.bytes_max, self.peak) && within(used.bytes_total, self.total),
            "{call} of {} ({length} bytes): peak {:.1}, total {:.1}",
            input.name,
            ratio(used.bytes_max),
            ratio(used.bytes_total)
        );
    }
}

/// Returns as many units as fit into `room` bytes.
fn repeated(room: usize, separator: &str, unit: &str) -> String {
    vec![unit; room / (separator.len() + unit.len())].join(separator)
}

/// Returns as many different members as fit into `room` bytes; each name begins with `start`.
fn tiny_members(room: usize, start: &str, value: &str) -> String {
    let mut members = String::new();
    for count in 0.. {
        let member = format!("\"{start}{count:x}\":{value}");
        if members.len() + 1 + member.len() > room {
            break;
        }
        if count > 0 {
            members.push(',');
        }
        members.push_str(&member);
    }
    members
}

fn list(room: usize, item: &str) -> String {
    format!("[{}]", repeated(room - 2, ",", item))
}

fn nested(room: usize) -> String {
    let depth = room / 2;
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

fn giant(room: usize, unit: &str) -> String {
    format!("\"{}\"", repeated(room - 2, "", unit))
}

/// Returns texts of members that are large in one respect, to add to valid members or to replace
/// them.
fn large_members(room: usize) -> Vec<(String, String)> {
    let tiny = |room| tiny_members(room, "", "0");
    let names = tiny_members(room - 30, "", "\"\"");
    let half = "x".repeat(room / 2 - 10);
    let ids = list(room - 20, "\"2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b\"");
    let mut members = vec![
        ("tiny members".to_owned(), tiny(room)),
        (
            "tiny members, escaped".to_owned(),
            tiny_members(room, "\\u0061", "0"),
        ),
        (
            "tiny members, the first once more".to_owned(),
            format!("{},\"0\":0", tiny(room - 6)),
        ),
        (
            "a giant member twice".to_owned(),
            format!("\"{half}\":0,\"{half}\":0"),
        ),
        ("many groups".to_owned(), format!("\"groups\":{ids}")),
        (
            "many names in _claim_names".to_owned(),
            format!("\"_claim_names\":{{{names}}}"),
        ),
        (
            "a giant _claim_names".to_owned(),
            format!("\"_claim_names\":{{\"groups\":{}}}", giant(room - 30, "x")),
        ),
        (
            "a giant number".to_owned(),
            format!("\"exp\":{}", "9".repeat(room - 10)),
        ),
    ];
    for claim in [
        "roles", "groups", "acrs", "xms_cc", "wids", "amr", "unknown",
    ] {
        for item in ["\"\"", "\"x\"", "\"\\n\"", "0", "[]", "{}"] {
            let list = list(room - 15, item);
            members.push((
                format!("tiny {claim}: {item}"),
                format!("\"{claim}\":{list}"),
            ));
        }
    }
    for claim in [
        "cnf",
        "name",
        "roles",
        "iss",
        "exp",
        "_claim_names",
        "unknown",
    ] {
        let nested = nested(room - 20);
        members.push((format!("deep {claim}"), format!("\"{claim}\":{nested}")));
    }
    for claim in [
        "iss",
        "tid",
        "aud",
        "exp",
        "nbf",
        "scp",
        "azp",
        "oid",
        "sub",
        "idtyp",
        "idp",
        "xms_idrel",
        "roles",
        "acct",
        "name",
        "cnf",
        "nonce",
        "unknown",
    ] {
        // The units are a letter, a character that must be escaped, scopes of one letter, and an
        // invisible character.
        for unit in ["x", "\\u0001", "a ", "\u{202e}"] {
            let giant = giant(room - 15, unit);
            members.push((
                format!("giant {claim}: {unit:?}"),
                format!("\"{claim}\":{giant}"),
            ));
        }
    }
    members
}

/// Returns tokens of the given length, signed by the right key and valid except for one large part.
fn large_tokens(length: usize) -> Vec<Input> {
    chosen_large_tokens(length, |_| true)
}

fn chosen_large_tokens(length: usize, is_chosen: impl Fn(&str) -> bool) -> Vec<Input> {
    let (claims, header) = (good_claims(), good_header());
    // Subtracts the signature of 256 bytes in base64, and room for the dots and the small segment.
    let room = (length - 344) / 4 * 3 - 400;
    let mut tokens = vec![
        Input {
            name: "letters".to_owned(),
            text: "A".repeat(length),
        },
        Input {
            name: "dots".to_owned(),
            text: ".".repeat(length),
        },
    ];
    let in_payload = large_members(room).into_iter();
    for (name, large) in in_payload.filter(|(name, _)| is_chosen(name)) {
        let payload = object(&claims, &large);
        let text = tenant().sign(&object(&header, ""), &payload);
        tokens.push(Input { name, text });
    }
    let in_header = ["alg", "kid", "typ", "nonce", "crit", "jwk", "unknown"];
    let in_header = in_header.map(|member| {
        let giant = giant(room - 15, "x");
        (
            format!("giant {member} of the header"),
            format!("\"{member}\":{giant}"),
        )
    });
    let tiny = tiny_members(room, "", "0");
    let tiny = [("tiny members of the header".to_owned(), tiny)];
    let in_header = in_header.into_iter().chain(tiny);
    for (name, large) in in_header.filter(|(name, _)| is_chosen(name)) {
        let text = tenant().sign(&object(&header, &large), &object(&claims, ""));
        tokens.push(Input { name, text });
    }
    for token in &tokens {
        let found = token.text.len();
        assert!(
            (length * 9 / 10..=length).contains(&found),
            "{}: {found}",
            token.name
        );
    }
    tokens
}

fn good_claims() -> [(&'static str, String); 6] {
    let id = tenant().id();
    let now = tenant().clock()().duration_since(UNIX_EPOCH).unwrap();
    [
        (
            "iss",
            format!("\"https://login.microsoftonline.com/{id}/v2.0\""),
        ),
        ("tid", format!("\"{id}\"")),
        ("aud", format!("\"{API}\"")),
        ("exp", (now.as_secs() + 3_600).to_string()),
        ("azp", format!("\"{CLIENT}\"")),
        ("scp", "\"Reports.Read\"".to_owned()),
    ]
}

fn good_header() -> [(&'static str, String); 2] {
    [
        ("alg", "\"RS256\"".to_owned()),
        (
            "kid",
            format!("\"{}\"", tenant().signing_keys().current_id()),
        ),
    ]
}

/// Returns an object with `large` and with the good members that `large` does not contain.
fn object(good: &[(&str, String)], large: &str) -> String {
    let is_large = |name: &str| large.starts_with(&format!("\"{name}\":"));
    let members: Vec<String> = good
        .iter()
        .filter(|(name, _)| !is_large(name))
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .chain((!large.is_empty()).then(|| large.to_owned()))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// The settings for validating a token.
struct Setup {
    validator: Validator,
    keys: KeySet,
    now: SystemTime,
    requirement: Requirement,
}

impl Setup {
    fn new() -> Self {
        let id: TenantId = tenant().id().parse().unwrap();
        let required = Scope("Reports.Write");
        let rules = Validator::entra(id, API.parse().unwrap()).refuse_guests();
        Self {
            validator: rules.build().unwrap(),
            keys: KeySet::from_jwks(tenant().signing_keys().document().as_bytes()).unwrap(),
            now: tenant().clock()(),
            requirement: Requirement::new(required).unwrap(),
        }
    }

    /// Validates like `Validator::validate`, with the token's own length as the limit.
    fn validate(&self, token: &str) -> Result<AccessToken, InvalidToken> {
        let unverified = Unverified::parse_up_to(token, token.len())?;
        let key = self.keys.key(unverified.key_ref().key_id);
        self.validator.verify(unverified, key, self.now)
    }

    /// Checks that a token refused before its signature is verified costs little more than its
    /// decoded segments.
    fn is_cheap_while_unproven(&self, name: &str, token: &str) {
        let (input, signature) = token.rsplit_once('.').unwrap();
        let first = if signature.starts_with('A') { "B" } else { "A" };
        let forged = format!("{input}.{first}{}", signature.get(1..).unwrap_or_default());
        let bad_signature = measure(|| {
            let refused = self.validator.validate(&forged, &self.keys, self.now);
            assert!(black_box(refused).is_err());
        });
        let unknown_key = measure(|| {
            let unverified = Unverified::parse(&forged);
            let prechecked = unverified.and_then(|unverified| {
                self.validator.precheck(&unverified, self.now)?;
                Err::<(), _>(self.validator.unknown_key(unverified))
            });
            assert!(black_box(prechecked).is_err());
        });
        for (call, used) in [
            ("bad signature", bad_signature),
            ("unknown key", unknown_key),
        ] {
            let most = 2 * forged.len() as u64;
            assert!(
                used.bytes_total < most,
                "{call} of {name}: {} bytes allocated, {most} may be",
                used.bytes_total
            );
        }
    }

    fn is_bounded(&self, token: &Input) {
        let (text, length) = (&*token.text, token.text.len());
        let used = measure(|| drop(black_box(Unverified::parse_up_to(text, length))));
        PARSE.holds("parse", token, &used);

        if let Ok(unverified) = Unverified::parse_up_to(text, length) {
            let prechecked = || drop(black_box(self.validator.precheck(&unverified, self.now)));
            PRECHECK.holds("precheck", token, &measure(prechecked));
        }

        let used = measure(|| drop(black_box(self.validate(text))));
        VALIDATE.holds("validate", token, &used);

        let with = || {
            ExplainOptions::at(self.now)
                .keys(&self.keys)
                .max_length(length)
        };
        let used = measure(|| drop(black_box(self.validator.explain(text, &with()))));
        EXPLAIN.holds("explain", token, &used);

        let with = || with().requirement(&self.requirement);
        let used = measure(|| drop(black_box(self.validator.explain(text, &with()))));
        EXPLAIN_REQUIREMENT.holds("explain with a requirement", token, &used);
    }
}

#[test]
fn a_token_of_the_default_limit_costs_a_small_multiple_of_its_length() {
    let setup = Setup::new();
    for token in large_tokens(Unverified::DEFAULT_MAX_LENGTH) {
        setup.is_bounded(&token);
    }
}

#[test]
fn a_forged_token_costs_less_than_twice_its_length() {
    let setup = Setup::new();
    for token in large_tokens(Unverified::DEFAULT_MAX_LENGTH) {
        if token.text.contains('.') {
            setup.is_cheap_while_unproven(&token.name, &token.text);
        }
    }
    for length in [1_024, 4_096, 12_000] {
        for (name, large) in large_members(length * 3 / 4 - 600) {
            let payload = object(&good_claims(), &large);
            let text = tenant().sign(&object(&good_header(), ""), &payload);
            setup.is_cheap_while_unproven(&format!("{name}, {length}"), &text);
        }
    }
}

#[test]
fn a_mark_of_a_guest_is_not_copied_before_the_signature_holds() {
    let setup = Setup::new();
    for claim in ["xms_idrel", "idp"] {
        let mark = format!("\"{claim}\":\"\\u0061{}\"", "b".repeat(10_000));
        let payload = object(&good_claims(), &mark);
        let token = tenant().sign(&object(&good_header(), ""), &payload);
        let unverified = Unverified::parse(&token).unwrap();
        let used = measure(|| {
            let prechecked = setup.validator.precheck(&unverified, setup.now);
            assert!(black_box(prechecked).is_ok());
        });
        assert!(used.bytes_total < 2_048, "{claim}: {}", used.bytes_total);
    }
}

#[test]
fn the_multiple_stays_the_same_where_the_limit_is_set_sixteen_times_as_high() {
    let setup = Setup::new();
    let worst = [
        "tiny members",
        "tiny roles: \"\"",
        "giant scp: \"a \"",
        "giant iss: \"x\"",
    ];
    let length = 16 * Unverified::DEFAULT_MAX_LENGTH;
    let tokens = chosen_large_tokens(length, |name| worst.contains(&name));
    assert_eq!(tokens.len(), worst.len() + 2, "beside letters and dots");
    for token in tokens {
        setup.is_bounded(&token);
    }
}

/// Checks that the bounds are not measured only with tokens that are refused immediately.
#[test]
fn large_tokens_are_refused_late_or_not_at_all() {
    let setup = Setup::new();
    let tokens = large_tokens(Unverified::DEFAULT_MAX_LENGTH);
    let accepted = tokens
        .iter()
        .filter(|token| setup.validate(&token.text).is_ok());
    assert!(accepted.count() > 40);
    let denied = tokens.iter().filter(|token| {
        let with = ExplainOptions::at(setup.now).keys(&setup.keys);
        let with = with.requirement(&setup.requirement);
        let report = setup.validator.explain(&token.text, &with);
        matches!(report.verdict(), Verdict::PermissionDenied(_))
    });
    assert!(denied.count() > 40);
}

#[test]
fn a_refusal_is_displayed_in_few_words_however_large_the_token() {
    let setup = Setup::new();
    for token in large_tokens(Unverified::DEFAULT_MAX_LENGTH) {
        if let Err(rejection) = setup.validate(&token.text) {
            let shown = format!("{rejection} {rejection:?} {}", rejection.remedy());
            assert!(shown.len() < 8 * 1_024, "{}: {}", token.name, shown.len());
        }
    }
}

/// Returns JWKS documents of 512 KiB, the maximum that the Layer reads.
fn large_documents() -> Vec<Input> {
    const LENGTH: usize = 512 * 1_024;
    let room = LENGTH - 4 * 1_024;
    let good: Value = serde_json::from_str(&tenant().signing_keys().document()).unwrap();
    let good = &good["keys"][0];
    let keys = |entries: &str| format!("{{\"keys\":[{entries}]}}");
    let tiny = |room| tiny_members(room, "", "0");
    let entry_of = |room| format!("{{{}}}", tiny(room));
    let many = |entry: &str| repeated(room, ",", entry);
    let mut documents = vec![
        ("letters".to_owned(), "A".repeat(LENGTH)),
        ("brackets".to_owned(), "[".repeat(LENGTH)),
        ("empty entries".to_owned(), keys(&many("{}"))),
        ("tiny entries".to_owned(), keys(&many("{\"\":0}"))),
        ("numbers as entries".to_owned(), keys(&many("0"))),
        (
            "tiny objects in an entry".to_owned(),
            keys(&format!("{{\"x\":[{}]}}", many("{\"\":0}"))),
        ),
        (
            "tiny members of the document".to_owned(),
            format!("{{\"keys\":[],{}}}", tiny(room)),
        ),
        ("tiny members of an entry".to_owned(), keys(&entry_of(room))),
        (
            "tiny members of the most entries".to_owned(),
            keys(&vec![entry_of(room / KeySet::MAX_KEYS - 10); KeySet::MAX_KEYS].join(",")),
        ),
        ("a deep entry".to_owned(), keys(&nested(room))),
        (
            "a deep member of an entry".to_owned(),
            keys(&format!("{{\"x\":{}}}", nested(room))),
        ),
    ];
    for member in [
        "kid",
        "kty",
        "use",
        "key_ops",
        "alg",
        "n",
        "e",
        "d",
        "x5c",
        "issuer",
        "cloud_instance_name",
        "unknown",
    ] {
        for large in [
            giant(room, "A"),
            giant(room, "\\u0041"),
            giant(room, "\\n"),
            list(room, "\"\""),
            list(room, "\"\\n\""),
            list(room, "1e400"),
            list(room, "\"\\ud800\""),
            nested(room),
        ] {
            let mut key = good.clone();
            key[member] = Value::from("LARGE");
            let key = key.to_string().replace("\"LARGE\"", &large);
            documents.push((format!("large {member}: {}", &large[..4]), keys(&key)));
        }
    }
    let documents = documents.into_iter();
    documents.map(|(name, text)| Input { name, text }).collect()
}

#[test]
fn a_key_document_costs_a_small_multiple_of_its_length() {
    for document in large_documents() {
        let parsed = || drop(black_box(KeySet::from_jwks(document.text.as_bytes())));
        KEY_DOCUMENT.holds("JWKS document", &document, &measure(parsed));
    }
}

#[test]
fn entries_beyond_the_hundredth_cost_nothing() {
    let used = |count: usize| {
        let document = format!("{{\"keys\":[{}]}}", vec!["{\"d\":0}"; count].join(","));
        measure(|| drop(black_box(KeySet::from_jwks(document.as_bytes()))))
    };
    let (few, many) = (used(KeySet::MAX_KEYS + 1), used(50_000));
    assert_eq!(many.bytes_total, few.bytes_total);
    assert_eq!(many.count_total, few.count_total);
}
