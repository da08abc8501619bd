//! Fuzzes the token text, which has no signature by our key and must never be accepted.

#![no_main]

use entra_jwt_core::{InvalidToken, explain::ExplainOptions, token::Unverified};
use entra_jwt_fuzz::cases::CASES;
use entra_jwt_fuzz::examine::examine;
use entra_jwt_fuzz::now;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|token: &str| {
    if let Some((case, _)) = examine(token).next() {
        panic!("{}: a forged token", case.name);
    }
    a_longer_token_is_not_looked_at(token);
});

fn a_longer_token_is_not_looked_at(token: &str) {
    let Some(limit) = token.len().checked_sub(1) else {
        return;
    };
    let is_too_large = |rejection: &InvalidToken| rejection.code() == "token_too_large";
    assert!(Unverified::parse_up_to(token, limit).is_err_and(|rejection| is_too_large(&rejection)));
    assert!(
        !Unverified::parse_up_to(token, token.len())
            .is_err_and(|rejection| is_too_large(&rejection))
    );

    let explain = ExplainOptions::at(now()).max_length(limit);
    let report = CASES[0].validator.explain(token, &explain);
    assert_eq!(report.findings()[0].code(), Some("token_too_large"));
}
