//! Tests of a token's lifetime.

use std::time::{Duration, SystemTime};

use entra_jwt_core::{InvalidSettings, TenantId, Validator};
use serde_json::{Value, json};

use crate::{API, OTHER_TENANT, Setup};

#[tokio::test]
async fn the_lifetime_ends_with_the_clock_skew_and_not_before() {
    let setup = Setup::new().await;
    let token = setup
        .user()
        .claim("nbf", 1_800_000_000)
        .claim("exp", 1_800_003_600)
        .mint();
    let at = |seconds: u64| {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        setup
            .rules()
            .build()
            .unwrap()
            .validate(&token, &setup.keys, now)
    };
    assert!(at(1_800_003_900).is_ok());
    assert_eq!(
        at(1_800_003_901).unwrap_err().to_string(),
        "expired 301 s ago, 1 s beyond the clock skew of 300 s"
    );
    assert!(at(1_799_999_700).is_ok());
    assert_eq!(
        at(1_799_999_699).unwrap_err().to_string(),
        "becomes valid in 301 s, 1 s beyond the clock skew of 300 s"
    );
}

#[tokio::test]
async fn exp_is_required_nbf_is_optional_and_iat_decides_nothing() {
    let setup = Setup::new().await;
    let far = 32_503_680_000_i64;
    assert_eq!(
        setup.code(setup.user().without_claim("exp")),
        "missing_claim"
    );
    assert_eq!(setup.code(setup.user().expired()), "expired");
    assert_eq!(
        setup.code(setup.user().claim("nbf", far).claim("exp", far)),
        "not_yet_valid"
    );
    assert_eq!(
        setup.code(setup.user().claim("nbf", far)),
        "impossible_lifetime"
    );
    assert!(setup.validate(setup.user().without_claim("nbf")).is_ok());
    assert!(setup.validate(setup.user().without_claim("iat")).is_ok());
    assert!(setup.validate(setup.user().claim("iat", far)).is_ok());
}

#[tokio::test]
async fn times_are_json_numbers_or_the_token_is_refused() {
    let setup = Setup::new().await;
    for claim in ["exp", "nbf", "iat"] {
        for value in [
            json!("1700000000"),
            json!("NaN"),
            Value::Null,
            json!(true),
            json!([]),
            json!({}),
            json!(1e300),
            json!(u64::MAX),
            json!(253_402_300_800_i64),
        ] {
            let rejection = setup
                .validate(setup.user().claim(claim, value.clone()))
                .unwrap_err();
            assert_eq!(rejection.code(), "wrong_type", "{claim}: {value}");
            assert_eq!(rejection.found().unwrap(), claim);
        }
    }
    let soon = setup
        .now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
        + 60.5;
    assert!(setup.validate(setup.user().claim("exp", soon)).is_ok());
    assert_eq!(
        setup.code(setup.user().claim("exp", -1).without_claim("nbf")),
        "expired"
    );
}

#[tokio::test]
async fn no_time_of_the_clock_makes_a_check_panic() {
    let setup = Setup::new().await;
    let token = setup.user().mint();
    let validator = setup.rules().build().unwrap();
    for now in [
        SystemTime::UNIX_EPOCH,
        SystemTime::UNIX_EPOCH - Duration::from_secs(1),
        SystemTime::UNIX_EPOCH + Duration::from_secs(u32::MAX.into()) * 1_000,
    ] {
        assert!(validator.validate(&token, &setup.keys, now).is_err());
    }
}

#[test]
fn the_clock_skew_is_bounded() {
    let tenant: TenantId = OTHER_TENANT.parse().unwrap();
    let rules = |skew| {
        Validator::entra(tenant, API.parse().unwrap())
            .clock_skew(skew)
            .build()
            .map(|_| ())
    };
    assert_eq!(rules(Duration::from_secs(600)), Ok(()));
    let too_long = Duration::from_secs(601);
    assert_eq!(rules(too_long), Err(InvalidSettings::ClockSkew));
}
