//! Any bytes as the payload of a token that is good otherwise, and signed.

#![no_main]

use std::sync::LazyLock;

use entra_jwt_fuzz::cases::CASES;
use entra_jwt_fuzz::examine::examine;
use entra_jwt_fuzz::mutator::{Words, mutate};
use entra_jwt_fuzz::second_reader::check_accepted;
use entra_jwt_fuzz::signer::{HEADER, SIGNER};
use entra_jwt_fuzz::words;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

/// Each validator accepts at least one of these.
const GOOD: [&str; 5] = [
    include_str!("../seeds/claims/user.json"),
    include_str!("../seeds/claims/application_v1.json"),
    include_str!("../seeds/claims/personal_account.json"),
    include_str!("../seeds/claims/external_id.json"),
    include_str!("../seeds/claims/us_government.json"),
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
    examine(&token)
        .inspect(|(case, accepted)| check_accepted(case, &token, accepted))
        .map(|(case, _)| case.name)
        .collect()
}

fn each_validator_is_reached() {
    let reached: Vec<&str> = GOOD
        .iter()
        .flat_map(|payload| accepted_by(payload.as_bytes()))
        .collect();
    for case in CASES.iter() {
        assert!(
            reached.contains(&case.name),
            "the harness is wrong: {}",
            case.name
        );
    }
}
