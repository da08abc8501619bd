//! Cases of `JsonWebTokenHandler` and `TokenValidationParameters`: key lookup, order of checks,
//! time and defaults.

use entra_dev_tenant::{Flaw, TokenBuilder};
use entra_jwt_core::{KeySet, token::Unverified};
use serde_json::{Value, json};

use crate::support::tenant;
use crate::{ACCEPTED, Accepts, Refuses, Row, at, by, keys, now, rules, user, verdict, with_key};

const BY_KID: &str = "Entra always names the key, and kid and x5t are the same value; trying costs \
                      an attacker nothing and us a signature check for each key";
const OTHER_ORDER: &str = "refused by both, with another of its faults named: whose token it is \
                           comes before for whom it is";

pub(crate) fn rows() -> Vec<Row> {
    [
        keys_of_tokens(),
        documents(),
        order(),
        unknown_keys(),
        defaults(),
        clock(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn keys_of_tokens() -> Vec<Row> {
    vec![
        Row::same("kid is that of a key", Accepts, ACCEPTED, || {
            by(rules(), user())
        }),
        Row::differs(
            "kid is that of a key in another case",
            Accepts,
            "unknown_key",
            BY_KID,
            || {
                by(
                    rules(),
                    user().header("kid", tenant().signing_keys().current_id().to_uppercase()),
                )
            },
        ),
        Row::differs(
            "x5t is that of a key, kid is none",
            Accepts,
            "unknown_key",
            BY_KID,
            || {
                by(
                    rules(),
                    user()
                        .header("x5t", tenant().signing_keys().current_id())
                        .header("kid", "another"),
                )
            },
        ),
        Row::differs(
            "x5t is that of a key, without kid",
            Accepts,
            "missing_kid",
            BY_KID,
            || {
                by(
                    rules(),
                    user()
                        .header("x5t", tenant().signing_keys().current_id())
                        .without_header("kid"),
                )
            },
        ),
        Row::differs(
            "kid is of no key, but one of them has signed: all are tried",
            Accepts,
            "unknown_key",
            BY_KID,
            || by(rules(), user().flaw(Flaw::UnknownKid)),
        ),
        Row::differs(
            "neither kid nor x5t, but one of the keys has signed: all are tried",
            Accepts,
            "missing_kid",
            BY_KID,
            || by(rules(), user().flaw(Flaw::NoKid)),
        ),
        Row::same(
            "kid is that of a key which has not signed",
            Refuses("the signature is invalid"),
            "bad_signature",
            || by(rules(), user().flaw(Flaw::WrongKey)),
        ),
        Row::same(
            "kid is of no key, and none of them has signed",
            Refuses("the signature is invalid"),
            "unknown_key",
            || {
                by(
                    rules(),
                    user().flaw(Flaw::WrongKey).header("kid", "another"),
                )
            },
        ),
        Row::same(
            "the header brings a key",
            Refuses("the signature is invalid"),
            "bad_signature",
            || by(rules(), user().flaw(Flaw::EmbeddedJwk)),
        ),
    ]
}

fn documents() -> Vec<Row> {
    vec![
        Row::same(
            "the key is for encryption (use)",
            Refuses("the signature is invalid"),
            "unknown_key",
            || with_key(rules(), |key| key["use"] = json!("enc"), user()),
        ),
        Row::same(
            "beside the key is one of an unknown type",
            Accepts,
            ACCEPTED,
            || {
                let mut document: Value =
                    serde_json::from_str(&tenant().signing_keys().document()).unwrap();
                let exotic = json!({ "kty": "LATTICE", "kid": "exotic", "l": [1, 2] });
                document["keys"].as_array_mut().unwrap().insert(0, exotic);
                let keys = KeySet::from_jwks(document.to_string().as_bytes()).unwrap();
                verdict(rules(), &keys, &user().mint(), now())
            },
        ),
        Row::same(
            "the key has no certificate (x5c)",
            Accepts,
            ACCEPTED,
            || {
                let no_certificate = |key: &mut Value| {
                    key.as_object_mut().unwrap().remove("x5c");
                };
                with_key(rules(), no_certificate, user())
            },
        ),
        Row::differs(
            "the key is in its certificate alone (no n and e)",
            Accepts,
            "unknown_key",
            "Entra publishes both; two descriptions of a key can contradict each other",
            || {
                let no_numbers = |key: &mut Value| {
                    key.as_object_mut().unwrap().remove("n");
                    key.as_object_mut().unwrap().remove("e");
                };
                with_key(rules(), no_numbers, user())
            },
        ),
        Row::differs(
            "an RSA key of 1024 bits",
            Accepts,
            "unknown_key",
            "Entra's have 2048 bits; 1024 have not been enough for long",
            || {
                let short = |key: &mut Value| {
                    // The modulus has 128 bytes, with the first and the last bit set.
                    key["n"] = json!(format!("{}8", "_".repeat(170)));
                };
                with_key(rules(), short, user())
            },
        ),
    ]
}

/// Returns the cases about the order of checks: signature, lifetime, audience, issuer. The refusal
/// names the first of two faults.
fn order() -> Vec<Row> {
    vec![
        Row::same(
            "a wrong signature and expired: the signature",
            Refuses("the signature is invalid"),
            "bad_signature",
            || by(rules(), user().bad_signature().expired()),
        ),
        Row::same(
            "expired and for another API: expired",
            Refuses("expired"),
            "expired",
            || by(rules(), user().expired().audience("api://other")),
        ),
        Row::same(
            "expired and of another issuer: expired",
            Refuses("expired"),
            "expired",
            || {
                by(
                    rules(),
                    user().expired().claim("iss", "https://accounts.google.com"),
                )
            },
        ),
        Row::differs(
            "for another API and of another issuer: the audience",
            Refuses("IDX10214"),
            "wrong_issuer",
            OTHER_ORDER,
            || {
                let token = user().audience("api://other");
                by(rules(), token.claim("iss", "https://accounts.google.com"))
            },
        ),
        Row::same(
            "for another API and signed by the personal key: the key",
            Refuses("IDX40005"),
            "key_issuer_mismatch",
            || {
                by(
                    rules(),
                    user().flaw(Flaw::PersonalKey).audience("api://other"),
                )
            },
        ),
        Row::differs(
            "expired and signed by the personal key: the key",
            Refuses("IDX40005"),
            "expired",
            "refused by both, with another of its faults named: for whom the key may sign is \
             asked with the issuer here, with the signature there",
            || by(rules(), user().expired().flaw(Flaw::PersonalKey)),
        ),
    ]
}

/// Returns the cases about tokens with an unknown key: only some of them cause a key fetch.
fn unknown_keys() -> Vec<Row> {
    vec![
        Row::same(
            "unknown kid, all claims right: keys are fetched again",
            Accepts,
            ACCEPTED,
            || before_fetching(user()),
        ),
        Row::same(
            "unknown kid, expired: they are not",
            Refuses("no refresh"),
            "expired",
            || before_fetching(user().expired()),
        ),
        Row::same(
            "unknown kid, not yet valid: they are not",
            Refuses("no refresh"),
            "not_yet_valid",
            || before_fetching(user().flaw(Flaw::NotYetValid)),
        ),
        Row::same(
            "unknown kid, another issuer: they are not",
            Refuses("no refresh"),
            "wrong_issuer",
            || before_fetching(user().flaw(Flaw::IssuerWrongHost)),
        ),
        Row::differs(
            "unknown kid, another tenant: they are not",
            Refuses("no refresh"),
            ACCEPTED,
            "whether the tenant is allowed is looked at once the signature holds: the refusal of a \
             token that anybody made up would say who is admitted",
            || before_fetching(user().flaw(Flaw::AnotherTenant)),
        ),
        Row::same(
            "unknown kid, another audience: they are not",
            Refuses("no refresh"),
            "wrong_audience",
            || before_fetching(user().flaw(Flaw::AudOther)),
        ),
    ]
}

fn before_fetching(token: TokenBuilder<'_>) -> &'static str {
    let token = token.flaw(Flaw::UnknownKid).mint();
    let unverified = Unverified::parse(&token).unwrap();
    let prechecked = rules().build().unwrap().precheck(&unverified, now());
    prechecked.map_or_else(|rejection| rejection.code(), |()| ACCEPTED)
}

fn defaults() -> Vec<Row> {
    vec![
        Row::same(
            "RequireExpirationTime: no exp",
            Refuses("no exp"),
            "missing_claim",
            || by(rules(), user().flaw(Flaw::NoExp)),
        ),
        Row::same(
            "RequireSignedTokens: alg none",
            Refuses("not signed"),
            "wrong_algorithm",
            || by(rules(), user().flaw(Flaw::AlgNone)),
        ),
        Row::same(
            "RequireAudience: no aud",
            Refuses("IDX10206"),
            "missing_claim",
            || by(rules(), user().flaw(Flaw::NoAud)),
        ),
        Row::differs(
            "ValidTypes is unset: a typ of at+jwt",
            Accepts,
            "wrong_token_type",
            "Entra writes JWT; another type is another kind of token",
            || by(rules(), user().flaw(Flaw::TypAtJwt)),
        ),
        Row::differs(
            "ValidAlgorithms is unset: PS256 by the right key",
            Accepts,
            "wrong_algorithm",
            "Entra signs with RS256 alone, and its keys do not say so",
            || by(rules(), user().flaw(Flaw::Ps256)),
        ),
        Row::differs(
            "ValidAlgorithms is unset: RS512 by the right key",
            Accepts,
            "wrong_algorithm",
            "Entra signs with RS256 alone, and its keys do not say so",
            || by(rules(), user().flaw(Flaw::Rs512)),
        ),
        Row::same(
            "HS256 with the public key as its secret",
            Refuses("the signature is invalid"),
            "wrong_algorithm",
            || by(rules(), user().flaw(Flaw::Hs256WithPublicKey)),
        ),
        Row::same(
            "ValidateTokenReplay is off: the same token twice",
            Accepts,
            ACCEPTED,
            || {
                let (keys, token) = (keys(), user().mint());
                verdict(rules(), &keys, &token, now());
                verdict(rules(), &keys, &token, now())
            },
        ),
    ]
}

/// Returns the cases about the clock, with a skew of 300 seconds.
fn clock() -> Vec<Row> {
    vec![
        Row::same("exp and skew end now", Accepts, ACCEPTED, || {
            lives(Some(0), 3_600, 3_900.0)
        }),
        Row::same(
            "exp and skew ended a second ago",
            Refuses("expired"),
            "expired",
            || lives(Some(0), 3_600, 3_901.0),
        ),
        Row::differs(
            "the clock stands a fraction of a second after exp and skew",
            Refuses("expired"),
            ACCEPTED,
            "the clock is read in whole seconds, as exp is written",
            || lives(Some(0), 3_600, 3_900.9),
        ),
        Row::same("nbf and skew begin now", Accepts, ACCEPTED, || {
            lives(Some(600), 3_600, 300.0)
        }),
        Row::same(
            "nbf and skew begin in a second",
            Refuses("not yet valid"),
            "not_yet_valid",
            || lives(Some(600), 3_600, 299.0),
        ),
        Row::same(
            "nbf is later than exp",
            Refuses("nbf later than exp"),
            "impossible_lifetime",
            || lives(Some(3_601), 3_600, 3_600.0),
        ),
        Row::same("nbf is exp", Accepts, ACCEPTED, || {
            lives(Some(3_600), 3_600, 3_600.0)
        }),
        Row::same("no nbf", Accepts, ACCEPTED, || lives(None, 3_600, 0.0)),
    ]
}

/// Validates a token with this lifetime at `now`, all in seconds since a fixed time.
fn lives(nbf: Option<i64>, exp: i64, now: f64) -> &'static str {
    let moment = 1_800_000_000;
    let token = user().claim("exp", moment + exp);
    let token = match nbf {
        Some(nbf) => token.claim("nbf", moment + nbf),
        None => token.without_claim("nbf"),
    };
    verdict(rules(), &keys(), &token.mint(), at(moment as f64 + now))
}
