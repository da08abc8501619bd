//! Fuzzes the payload of a signed token that is otherwise valid.

#![no_main]

use std::sync::LazyLock;

use entra_jwt_fuzz::cases::CASES;
use entra_jwt_fuzz::examine::examine;
use entra_jwt_fuzz::mutator::{Words, mutate};
use entra_jwt_fuzz::second_reader::{check_accepted, check_form};
use entra_jwt_fuzz::signer::{HEADER, SIGNER};
use entra_jwt_fuzz::words;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

/// Payloads that some validator accepts; each validator accepts at least one of them.
const GOOD: [&str; 6] = [
    include_str!("../seeds/claims/user.json"),
    include_str!("../seeds/claims/application_v1.json"),
    include_str!("../seeds/claims/personal_account.json"),
    include_str!("../seeds/claims/external_id.json"),
    include_str!("../seeds/claims/us_government.json"),
    include_str!("../seeds/claims/everything.json"),
];

static WORDS: LazyLock<Words> = words!("claims");

fuzz_target!(
    init: each_validator_is_reached(),
    |payload: &[u8]| {
        accepted_by(payload);
    }
);

fuzz_mutator!(|data: &mut [u8], size: usize, most: usize, seed: u32| {
    mutate(data, size, most, seed, &WORDS)
});

fn accepted_by(payload: &[u8]) -> Vec<&'static str> {
    let token = SIGNER.sign(HEADER.as_bytes(), payload);
    check_form(payload, &token);
    examine(&token)
        .inspect(|(case, accepted)| check_accepted(case, &token, accepted))
        .map(|(case, _)| case.name)
        .collect()
}

fn each_validator_is_reached() {
    let accepted = GOOD.map(|payload| accepted_by(payload.as_bytes()));
    assert!(
        accepted.iter().all(|by| !by.is_empty()),
        "the harness is wrong: {accepted:?}"
    );
    for case in CASES.iter() {
        assert!(
            accepted.iter().flatten().any(|name| *name == case.name),
            "the harness is wrong: {}",
            case.name
        );
    }
}
