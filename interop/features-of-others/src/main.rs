//! Tests our crates in a dependency tree in which another crate enables features of shared crates.
//!
//! Cargo enables such features for every crate in the tree.
//!
//! - Both cryptography backends of `jsonwebtoken`: its process-wide provider then panics at first
//!   use until one is installed. Our crates do not depend on it: they validate a token before a
//!   provider is installed. Once one is installed, `jsonwebtoken` also accepts our keys.
//! - `arbitrary_precision` of `serde_json`: code that reads any value then receives an object in
//!   place of a number.

use std::error::Error;
use std::time::{Duration, UNIX_EPOCH};

use entra_dev_tenant::DevTenant;
use entra_jwt_core::{
    KeySet, TenantId, Validator,
    require::{Claim, Requirement},
    token::Unverified,
};
use jsonwebtoken::crypto::aws_lc;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let tenant = DevTenant::start().await?;
    let user = tenant.user("ada").scope("Reports.Read").for_api(API);
    let user = user.claim("level", 3).claim("ratios", json!([1.5, -2]));
    let token = user.claim("auth_time", 1_800_000_000).mint();

    let id: TenantId = tenant.id().parse()?;
    let validator = Validator::entra(id, API.parse()?).build()?;
    let keys = KeySet::from_jwks(tenant.signing_keys().document().as_bytes())?;
    let caller = validator.validate(&token, &keys, tenant.clock()())?;
    println!(
        "entra-jwt-core     {} of tenant {}",
        caller.id(),
        caller.tenant_id()
    );

    let is_met =
        |requirement: Result<Requirement, _>| requirement.map(|it| it.check(&caller).is_ok());
    for (name, requirement, expected) in [
        ("level 3", Requirement::new(Claim("level", 3)), true),
        ("level 4", Requirement::new(Claim("level", 4)), false),
        ("ratio -2", Requirement::new(Claim("ratios", -2)), true),
    ] {
        if is_met(requirement)? != expected {
            return Err(format!("{name}: not {expected}").into());
        }
    }
    let signed_in = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    if caller.details().authenticated_at() != Some(signed_in) {
        return Err("auth_time is not read".into());
    }
    println!("entra-jwt-core     reads numbers where serde_json keeps them as texts");

    let auth = tower_entra_auth::EntraAuth::builder()
        .tenant(tenant.id())
        .client_id(API)
        .metadata_endpoint(tenant.url())
        .build()?;
    auth.ready().await?;
    println!("tower-entra-auth   ready");

    aws_lc::DEFAULT_PROVIDER
        .install_default()
        .map_err(|_| "a provider is installed already")?;
    let unverified = Unverified::parse(&token)?;
    let key = keys.key(unverified.key_ref().key_id).ok_or("no key")?;
    let mut rules = Validation::new(Algorithm::RS256);
    rules.set_audience(&[API]);
    let (modulus, exponent) = key.rsa_components().ok_or("no RSA key")?;
    let key = DecodingKey::from_rsa_raw_components(modulus, exponent);
    let decoded = jsonwebtoken::decode::<Value>(&token, &key, &rules)?;
    let object_id = caller.object_id().ok_or("no object id")?.to_string();
    if decoded.claims["oid"] != object_id.as_str() {
        return Err("jsonwebtoken decodes another caller".into());
    }
    println!("jsonwebtoken       decodes the same caller with the same key");
    Ok(())
}
