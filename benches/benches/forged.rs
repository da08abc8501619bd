//! Measures the cost of a forged token before it is refused, in one table from one run: `cargo
//! bench --bench forged`.
//!
//! A bad signature is compared with the bare signature check of the same bytes. An unknown key is
//! compared with the unavoidable work: base64 decoding of the whole token, and one pass over its
//! payload with `serde_json`. Each ratio compares the minimum times of all rounds, because other
//! work on the machine can only increase a time. `-- --quick` takes half a minute.
//!
//! The core's `tests/allocations.rs` counts the allocated bytes.

use std::hint::black_box;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use benches::forged::Forgeries;
use benches::measure::{Measured, Table};
use benches::{Material, bare, with_bad_signature};
use entra_jwt_core::{KeySet, TenantId, Validator, token::Unverified};
use serde::de::IgnoredAny;

fn main() {
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let rounds = if is_quick { 300 } else { 2_000 };
    let material = Material::new(1);
    let tenant: TenantId = material.tenant_id.parse().expect("a tenant id");
    let validator = Validator::entra(tenant, benches::API.parse().expect("a client id"))
        .build()
        .expect("rules");
    let keys = KeySet::from_jwks(material.jwks.as_bytes()).expect("a key set");
    let now = material.now();

    println!(
        "{:34} {:>6} {:>10} {:>10} {:>8} {:>12} {:>11} {:>8}",
        "", "bytes", "bare check", "bad sig.", "/ bare", "base64+skip", "unknown key", "/ both"
    );
    for (name, token) in Forgeries::of(&material) {
        let check = bare::Check::new(&material.jwks, &token);
        let forged = with_bad_signature(&token);
        let mut table = Table::of_short_batches(rounds);
        table.row("bare check", move || check.run());
        table.row("bad signature", || {
            let refused = validator.validate(black_box(&forged), &keys, now);
            assert_eq!(refused.expect_err("forged").code(), "bad_signature");
        });
        let against_check = table.measure();

        let segments: Vec<&str> = token.split('.').collect();
        let mut table = Table::of_short_batches(rounds);
        table.row("base64 and one skip", || {
            decode_and_skip(black_box(&segments));
        });
        // The Layer makes the same calls after a fetch did not bring the key.
        table.row("unknown key", || {
            let unverified = Unverified::parse(black_box(&token)).expect("a token in form");
            let prechecked = validator.precheck(&unverified, now);
            prechecked.expect("nothing but the key is missing");
            black_box(validator.unknown_key(unverified));
        });
        let against_both = table.measure();

        let ([check, bad], [both, unknown]) = (&against_check[..], &against_both[..]) else {
            unreachable!("two rows each");
        };
        print(&name, token.len(), [check, bad, both, unknown]);
    }
}

/// Does the minimum work to learn that the payload is JSON.
fn decode_and_skip(segments: &[&str]) {
    for (position, segment) in segments.iter().enumerate() {
        let bytes = URL_SAFE_NO_PAD.decode(segment).expect("base64url");
        if position == 1 {
            let text = std::str::from_utf8(&bytes).expect("UTF-8");
            black_box(serde_json::from_str::<IgnoredAny>(text).expect("JSON"));
        }
        black_box(bytes);
    }
}

fn print(name: &str, bytes: usize, [check, bad, both, unknown]: [&Measured; 4]) {
    println!(
        "{name:34} {bytes:>6} {:>10} {:>10} {:>7.2}x {:>12} {:>11} {:>7.2}x",
        micros(check.least),
        micros(bad.least),
        bad.least.as_secs_f64() / check.least.as_secs_f64(),
        micros(both.least),
        micros(unknown.least),
        unknown.least.as_secs_f64() / both.least.as_secs_f64()
    );
}

fn micros(time: Duration) -> String {
    format!("{:.1} us", time.as_secs_f64() * 1e6)
}
