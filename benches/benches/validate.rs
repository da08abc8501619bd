//! One token, validated cold: the core, jsonwebtoken, and the bare signature check of both.
//!
//! The three stand in one group, so that one run gives the ratios: `cargo bench --bench validate`.

use std::hint::black_box;

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use benches::{API, Material};
use criterion::{Criterion, criterion_group, criterion_main};
use entra_jwt_core::{KeySet, TenantId, Validator};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

fn validate(criterion: &mut Criterion) {
    let material = Material::new();
    let token = &*material.token;
    let mut group = criterion.benchmark_group("validate");
    eprintln!("token: {} bytes", token.len());

    let jwks: Value = serde_json::from_str(&material.jwks).expect("a key document");
    let member = |name: &str| jwks["keys"][0][name].as_str().expect("a string").to_owned();
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64url");

    let (modulus, exponent) = (decode(&member("n")), decode(&member("e")));
    let prepared = PublicKeyComponents {
        n: &*modulus,
        e: &*exponent,
    }
    .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
    .expect("a key");
    let (message, signature) = token.rsplit_once('.').expect("a token");
    let signature = decode(signature);
    group.bench_function("bare_signature_check", |bencher| {
        bencher.iter(|| {
            prepared
                .verify_sig(black_box(message).as_bytes(), black_box(&signature))
                .expect("a good signature");
        });
    });

    let tenant: TenantId = material.tenant_id.parse().expect("a tenant id");
    let validator = Validator::entra(tenant, API.parse().expect("a client id"))
        .build()
        .expect("rules");
    let keys = KeySet::from_jwks(material.jwks.as_bytes()).expect("a key set");
    group.bench_function("entra_jwt_core", |bencher| {
        bencher.iter(|| {
            validator
                .validate(black_box(token), &keys, material.now)
                .expect("a good token")
        });
    });

    let key = DecodingKey::from_rsa_components(&member("n"), &member("e")).expect("a key");
    let mut strict = Validation::new(Algorithm::RS256);
    strict.set_audience(&[API]);
    strict.set_issuer(&[format!(
        "https://login.microsoftonline.com/{}/v2.0",
        material.tenant_id
    )]);
    strict.set_required_spec_claims(&["exp", "iss", "aud"]);
    strict.validate_nbf = true;
    group.bench_function("jsonwebtoken_aws_lc_rs", |bencher| {
        bencher.iter(|| {
            jsonwebtoken::decode::<JwtClaims>(black_box(token), &key, &strict)
                .expect("a good token")
        });
    });
    group.finish();
}

/// The claims that a service usually reads.
#[derive(serde::Deserialize)]
#[expect(dead_code, reason = "decoded, not looked at")]
struct JwtClaims {
    oid: String,
    tid: String,
    sub: String,
    azp: String,
    name: Option<String>,
    scp: Option<String>,
    roles: Option<Vec<String>>,
}

criterion_group!(benches, validate);
criterion_main!(benches);
