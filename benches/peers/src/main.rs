//! Measures the cost of one request with our tower Layer and with those of other crates, in one
//! run.
//!
//! Run `cargo run --release --manifest-path benches/peers/Cargo.toml`, with `-- --quick` for 3
//! rounds instead of 30.
//!
//! 1. [`material`]: `entra-dev-tenant` serves its keys, and mints 1 000 valid tokens and some bad
//!    ones.
//! 2. [`layers`]: each crate's Layer, with its strictest settings, wraps the same [`inner`]
//!    service.
//! 3. [`proof`]: each Layer must accept the valid tokens and refuse the bad ones, or the program
//!    ends.
//! 4. [`rounds`]: every subject has a turn in every round; the medians become the [`table`].

#![forbid(unsafe_code)]

mod inner;
mod layers;
mod material;
mod proof;
mod rounds;
mod signature;
mod subject;
mod table;
mod versions;

use std::error::Error;
use std::process::ExitCode;

use crate::inner::Inner;
use crate::material::Material;
use crate::signature::BareSignature;
use crate::subject::{Layered, Protected, Subject};
use crate::versions::version;

fn main() -> ExitCode {
    let rounds = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => 30,
        [only] if only == "--quick" => 3,
        _ => {
            eprintln!("usage: peers [--quick]");
            return ExitCode::from(2);
        }
    };
    match run(rounds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(rounds: usize) -> Result<(), Box<dyn Error>> {
    let material = Material::new()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;

    let mut layers = runtime.block_on(layers(&material))?;
    for layer in &mut layers {
        proof::of(&runtime, &mut **layer, &material)?;
    }

    let mut subjects: Vec<Box<dyn Subject>> = vec![
        Box::new(Layered::bare("the inner service alone", Inner)),
        Box::new(BareSignature::new(&material)?),
    ];
    let ours = subjects.len();
    subjects.extend(
        layers
            .into_iter()
            .map(|layer| -> Box<dyn Subject> { layer }),
    );

    let medians = rounds::medians(&runtime, &mut subjects, &material, rounds)?;
    print!("{}", table::text(&medians, ours));
    println!("{}", summary(rounds, &material));
    Ok(())
}

/// Returns all Layers, ours first.
async fn layers(material: &Material) -> Result<Vec<Box<dyn Protected>>, Box<dyn Error>> {
    let tenant = &material.tenant;
    Ok(vec![
        Box::new(Layered::new(
            "tower-entra-auth",
            layers::ours(tenant).await?,
        )),
        Box::new(Layered::new(
            "tower-oauth2-resource-server",
            layers::tower_oauth2_resource_server(tenant).await?,
        )),
        Box::new(Layered::new(
            "oauth-resource-server",
            layers::oauth_resource_server(tenant).await?,
        )),
        Box::new(Layered::new(
            "jwt-authorizer",
            layers::jwt_authorizer(tenant).await?,
        )),
    ])
}

/// Returns the two lines below the table.
fn summary(rounds: usize, material: &Material) -> String {
    format!(
        "Measured: one request through the whole Layer, polled on one thread, its response dropped; \
         medians of {rounds} rounds, each of {} requests in {}s, of which the fastest counts; \
         requests are made outside the measured time, with tokens of about {} bytes; the inner \
         service is not subtracted; no log is written.\n\
         Versions: tower-entra-auth {} and aws-lc-rs {}; tower-oauth2-resource-server {} \
         (jsonwebtoken with aws-lc-rs), oauth-resource-server {} and jwt-authorizer {} \
         (jsonwebtoken with ring).",
        material::TOKENS,
        subject::AT_A_TIME,
        material.token_length(),
        version("tower-entra-auth"),
        version("aws-lc-rs"),
        version("tower-oauth2-resource-server"),
        version("oauth-resource-server"),
        version("jwt-authorizer"),
    )
}
