//! Fuzzes the header of a signed token that is otherwise valid.

#![no_main]

use std::sync::LazyLock;

use entra_jwt_fuzz::examine::examine;
use entra_jwt_fuzz::mutator::{Words, mutate};
use entra_jwt_fuzz::second_reader::check_accepted;
use entra_jwt_fuzz::signer::{HEADER, SIGNER};
use entra_jwt_fuzz::words;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

const PAYLOAD: &str = include_str!("../seeds/claims/user.json");

static WORDS: LazyLock<Words> = words!("header");

fuzz_target!(
    init: assert!(is_accepted(HEADER.as_bytes()), "the harness is wrong"),
    |header: &[u8]| {
        is_accepted(header);
    }
);

fuzz_mutator!(|data: &mut [u8], size: usize, most: usize, seed: u32| {
    mutate(data, size, most, seed, &WORDS)
});

/// Returns whether any validator accepts the header; every validator checks it.
fn is_accepted(header: &[u8]) -> bool {
    let token = SIGNER.sign(header, PAYLOAD.as_bytes());
    let accepted =
        examine(&token).inspect(|(case, accepted)| check_accepted(case, &token, accepted));
    accepted.count() > 0
}
