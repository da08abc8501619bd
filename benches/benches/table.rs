//! Measures the cost of each way to validate a token, in one table from one run: `cargo bench`.
//!
//! All rows are measured in turn, round after round, so that a slow moment of the machine slows all
//! of them. The table shows each row's median, and the median of its ratio to the bare signature
//! check of the same round. Ratios can be compared between machines, times cannot. `cargo bench --
//! --quick` takes a minute less and holds at most 20,000 tokens.

use std::hint::black_box;
use std::time::Duration;

use benches::layer::{self, Protected, Serves};
use benches::measure::{Measured, Table};
use benches::{Material, Turns, bare, bearer, jwt, with_bad_signature};
use entra_jwt_core::{KeySet, TenantId, Validator};
use http::HeaderValue;
use tower_entra_auth::settings::TokenCache;

fn main() {
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let many = if is_quick { 20_000 } else { 100_000 };
    eprintln!("signing {many} tokens ...");
    let material = Material::new(many);
    // Waiting for keys and fetching them needs a tokio runtime.
    let _tokio = material.tokio.enter();
    let token = &*material.tokens[0];
    eprintln!(
        "tokens of {} bytes, and of {} with 200 groups",
        token.len(),
        material.long_tokens[0].len()
    );

    let mut table = Table::new(if is_quick { 60 } else { 160 });

    let bare = bare::Check::new(&material.jwks, token);
    table.row("bare signature check", move || bare.run());
    let jwt = jwt::Jsonwebtoken::new(&material);
    table.row("jsonwebtoken, every check set", move || {
        jwt.run(black_box(token));
    });
    let tenant: TenantId = material.tenant_id.parse().expect("a tenant id");
    let validator = Validator::entra(tenant, benches::API.parse().expect("a client id"))
        .build()
        .expect("rules");
    let keys = KeySet::from_jwks(material.jwks.as_bytes()).expect("a key set");
    let now = material.now();
    table.row("entra-jwt-core", move || {
        let verified = validator.validate(black_box(token), &keys, now);
        black_box(verified.expect("a good token"));
    });

    let header = bearer(token);
    table.section("the whole Layer");
    table.row("empty inner service", getting(layer::empty(), &header));
    let off = material.protected(|settings| settings.token_cache(TokenCache::off()));
    table.row("token cache off", getting(off, &header));
    // The cache is so small that the thousand tokens evict each other: no token is ever found in
    // it.
    let cold = material.protected(|settings| settings.token_cache(TokenCache::bytes(64 * 1024)));
    let turns = material.turns(1_000);
    table.row("not cached yet", taking_turns(cold, turns));

    table.row(
        "cached, the hottest",
        getting(material.remembering(1), &header),
    );
    for held in [1_000, many] {
        let name = format!("cached, one of {held}");
        let turns = material.turns(held);
        table.row(&name, taking_turns(material.remembering(held), turns));
    }
    let long = bearer(&material.long_tokens[0]);
    table.row(
        "cached, 12 KB, the hottest",
        getting(material.remembering_long(), &long),
    );
    table.row(
        "cached, 12 KB, one of 1,000",
        taking_turns(material.remembering_long(), material.long_turns()),
    );

    let mut protected = material.protected(|settings| settings);
    let unknown = bearer(&material.unknown_key());
    protected.empty_the_bucket(&material, &unknown);
    let forged = bearer(&with_bad_signature(token));
    table.section("refusing");
    let mut service = protected.clone();
    table.row("no token", move || service.refuse_without_token());
    let (mut service, garbage) = (protected.clone(), bearer("garbage"));
    table.row("garbage", move || service.refuse(&garbage));
    let mut service = protected.clone();
    table.row("unknown key, empty bucket", move || {
        service.refuse_unknown_key(&unknown);
    });
    let mut service = protected;
    table.row("bad signature", move || service.refuse(&forged));

    let measured = table.measure();
    print(&measured);
    two_threads(&material, is_quick);
}

/// Returns work that sends the same header in every request.
fn getting<S: Serves>(mut service: Protected<S>, header: &HeaderValue) -> impl FnMut() + use<S> {
    let header = header.clone();
    move || service.get(&header)
}

/// Returns work that sends another token in each request.
fn taking_turns<S: Serves>(mut service: Protected<S>, mut turns: Turns) -> impl FnMut() {
    move || service.get(turns.next_header())
}

fn print(measured: &[Measured]) {
    let of = |name: &str| {
        let row = measured.iter().find(|row| row.name == name);
        row.expect("a row").time
    };
    let empty = of("empty inner service");
    println!(
        "{:36} {:>10} {:>8} {:>13}",
        "", "time", "/ bare", "beyond inner"
    );
    let mut is_layer = false;
    for row in measured {
        if let Some(section) = &row.section {
            println!("\n{section}");
            is_layer = true;
        }
        let beyond = row.time.saturating_sub(empty);
        let beyond = if is_layer && row.time != empty {
            micros(beyond)
        } else {
            String::new()
        };
        println!(
            "{:36} {:>10} {:>7.3}x {:>13}",
            row.name,
            micros(row.time),
            row.ratio,
            beyond
        );
    }
}

/// Prints the calls per second of one thread and of two threads, and their ratio.
fn two_threads(material: &Material, is_quick: bool) {
    println!(
        "\n{:36} {:>10} {:>10} {:>8}",
        "on two threads", "one", "two", "scaling"
    );
    let span = Duration::from_millis(if is_quick { 100 } else { 1_000 });
    let token = &*material.tokens[0];
    let off = material.protected(|settings| settings.token_cache(TokenCache::off()));
    let hot = material.remembering(1);
    let thousand = material.remembering(1_000);
    let refusing = material.protected(|settings| settings);
    let bare = bare::Check::new(&material.jwks, token);

    let rows: [(&str, benches::measure::Work<'_>); 5] = [
        (
            "bare signature check",
            Box::new(|| {
                let bare = &bare;
                Box::new(move || bare.run())
            }),
        ),
        (
            "token cache off",
            Box::new(|| {
                let (mut off, header) = (off.clone(), bearer(token));
                Box::new(move || off.get(&header))
            }),
        ),
        (
            "cached, the hottest",
            Box::new(|| {
                let (mut hot, header) = (hot.clone(), bearer(token));
                Box::new(move || hot.get(&header))
            }),
        ),
        (
            "cached, one of 1,000",
            Box::new(|| Box::new(taking_turns(thousand.clone(), material.turns(1_000)))),
        ),
        (
            "garbage",
            Box::new(|| {
                let (mut refusing, garbage) = (refusing.clone(), bearer("garbage"));
                Box::new(move || refusing.refuse(&garbage))
            }),
        ),
    ];
    for (name, work) in rows {
        let (one, two) = benches::measure::scaling(&work, span);
        println!(
            "{name:36} {:>8}/s {:>8}/s {:>7.2}x",
            thousands(one),
            thousands(two),
            two / one
        );
    }
}

fn micros(time: Duration) -> String {
    format!("{:.3} us", time.as_secs_f64() * 1e6)
}

fn thousands(per_second: f64) -> String {
    format!("{:.0} k", per_second / 1e3)
}
