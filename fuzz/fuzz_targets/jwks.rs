//! Fuzzes the JWKS document.
//!
//! `$n` in the document stands for the modulus of a key generated at start, so that a document can
//! contain a key that really signs.

#![no_main]

use std::sync::{Arc, LazyLock};

use entra_jwt_core::{
    InvalidKeySet, KeySet,
    keys::{Key, UnusableKey},
};
use entra_jwt_fuzz::cases::{CASES, TENANT};
use entra_jwt_fuzz::key_document::entries;
use entra_jwt_fuzz::memory::Bound;
use entra_jwt_fuzz::mutator::{Words, mutate};
use entra_jwt_fuzz::now;
use entra_jwt_fuzz::signer::{HEADER, KEY_ID, SIGNER, encode};
use entra_jwt_fuzz::text::{check_debug, check_short};
use entra_jwt_fuzz::words;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use serde_json::{Value, json};

const PAYLOAD: &str = include_str!("../seeds/claims/user.json");

static TOKEN: LazyLock<String> =
    LazyLock::new(|| SIGNER.sign(HEADER.as_bytes(), PAYLOAD.as_bytes()));

static MODULUS: LazyLock<String> = LazyLock::new(|| SIGNER.modulus());

static WORDS: LazyLock<Words> = words!("jwks");

fuzz_target!(
    init: {
        assert!(is_trusted(include_bytes!("../seeds/jwks/entra.json")), "the harness is wrong");
        assert!(is_trusted(include_bytes!("../seeds/jwks/exotic.json")), "an exotic entry costs all");
    },
    |document: &[u8]| {
        is_trusted(document);
    }
);

fuzz_mutator!(|data: &mut [u8], size: usize, most: usize, seed: u32| {
    mutate(data, size, most, seed, &WORDS)
});

/// Returns whether a token signed by the generated key is accepted with the keys of this document.
fn is_trusted(document: &[u8]) -> bool {
    let document = match str::from_utf8(document) {
        Ok(text) => text.replace("$n", &MODULUS).into_bytes(),
        Err(_) => document.to_owned(),
    };
    let entries = entries(&document);
    let keys = match Bound::KEY_SET.on(document.len(), || KeySet::from_jwks(&document)) {
        Ok(keys) => keys,
        Err(error) => {
            check_error(&error, entries.as_deref());
            return false;
        }
    };
    let entries = entries.expect("an array of keys");
    check_set(&keys, &entries);
    let is_trusted = CASES[0].validator.validate(&TOKEN, &keys, now()).is_ok();
    assert!(!is_trusted || may_be_trusted(&entries));
    with_marks(keys);
    is_trusted
}

fn check_error(error: &InvalidKeySet, entries: Option<&[Value]>) {
    check_short(error);
    match error {
        InvalidKeySet::TooManyKeys => {
            assert!(entries.is_some_and(|entries| entries.len() > KeySet::MAX_KEYS));
        }
        _ => assert_eq!(entries, None),
    }
}

fn check_set(keys: &KeySet, entries: &[Value]) {
    check_debug(keys);
    let unusable = keys.unusable().inspect(|(_, reason)| check_short(reason));
    assert!(keys.len() + unusable.count() <= entries.len());
    assert_eq!(keys.is_empty(), keys.iter().next().is_none());
    for key in keys.iter() {
        assert!(keys.key(key.id()).is_some_and(|same| same.is_same(key)));
        assert!(key.has_same_material(key) && !keys.is_leaked(key));
        assert!(is_published(entries, key));
        forges_nothing(keys, key);
    }
    assert!(keys.leaked().all(|key| keys.is_leaked(key)));
    let has_private = keys
        .unusable()
        .any(|(_, reason)| reason == UnusableKey::Private);
    assert!(has_private || keys.leaked().next().is_none());
}

/// Returns whether some entry is this key and no entry of its name is private.
fn is_published(entries: &[Value], key: &Key) -> bool {
    let mut namesakes = entries
        .iter()
        .filter(|entry| entry["kid"] == key.id().as_str());
    namesakes.clone().any(|entry| entry["kty"] == "RSA")
        && !namesakes.any(|entry| entry["kty"] == "RSA" && is_private(entry))
}

/// Checks that tokens with a made-up signature are refused for this key.
fn forges_nothing(keys: &KeySet, key: &Key) {
    let header = json!({"alg": "RS256", "kid": key.id().as_str()}).to_string();
    let signing_input = format!(
        "{}.{}",
        encode(header.as_bytes()),
        encode(PAYLOAD.as_bytes())
    );
    for length in [256, 384, 512] {
        let token = format!("{signing_input}.{}", encode(&vec![1; length]));
        assert!(CASES[0].validator.validate(&token, keys, now()).is_err());
    }
}

/// Returns whether an entry is the generated key, for signatures, for this issuer and cloud, and no
/// entry publishes its private half.
fn may_be_trusted(entries: &[Value]) -> bool {
    let issuers = ["{tenantid}", TENANT]
        .map(|tenant| format!("https://login.microsoftonline.com/{tenant}/v2.0"));
    let may_sign = |entry: &Value| {
        entry["kid"] == KEY_ID
            && is_blank_or(&entry["issuer"], &issuers.each_ref().map(String::as_str))
            && is_blank_or(&entry["cloud_instance_name"], &["microsoftonline.com"])
    };
    let ours = || entries.iter().filter(|entry| is_ours(entry));
    ours().any(|entry| is_usable(entry) && may_sign(entry)) && !ours().any(is_private)
}

/// Returns whether the entry's modulus is that of the generated key.
fn is_ours(entry: &Value) -> bool {
    entry["n"] == **MODULUS
}

fn is_usable(entry: &Value) -> bool {
    let is_name = |kid: &str| (1..=256).contains(&kid.len());
    entry["kty"] == "RSA"
        && has_exponent(entry)
        && entry["kid"].as_str().is_some_and(is_name)
        && is_null_or(&entry["use"], "sig")
        && is_null_or(&entry["alg"], "RS256")
        && match &entry["key_ops"] {
            Value::Array(operations) => operations.contains(&json!("verify")),
            other => other.is_null(),
        }
}

/// Returns whether the entry has the exponent 65537; the second spelling has a leading zero.
fn has_exponent(entry: &Value) -> bool {
    ["AQAB", "AAEAAQ"]
        .iter()
        .any(|exponent| entry["e"] == *exponent)
}

/// Returns whether the entry publishes a private half, regardless of its other members.
fn is_private(entry: &Value) -> bool {
    let private = ["d", "p", "q", "dp", "dq", "qi", "oth"];
    private.iter().any(|member| entry.get(member).is_some())
}

fn is_null_or(member: &Value, allowed: &str) -> bool {
    member.is_null() || member == allowed
}

fn is_blank_or(member: &Value, allowed: &[&str]) -> bool {
    member.is_null()
        || member
            .as_str()
            .is_some_and(|text| text.trim().is_empty() || allowed.contains(&text))
}

/// Checks that the discovered issuer and cloud stay with the keys.
fn with_marks(keys: KeySet) {
    let count = keys.len();
    let again: KeySet = keys.iter().map(Arc::clone).collect();
    assert_eq!((again.len(), again.unusable().count()), (count, 0));
    let marked = keys.with_issuer("issuer").with_cloud_instance_name("cloud");
    assert_eq!(marked.len(), count);
    assert_eq!(
        (marked.issuer(), marked.cloud_instance_name()),
        (Some("issuer"), Some("cloud"))
    );
}
