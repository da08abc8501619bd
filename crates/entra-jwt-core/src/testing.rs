//! Unsigned access tokens, for unit tests of code that handles tokens.
//!
//! Use this module only as a dev-dependency.

use crate::authority::TokenVersion;
use crate::refusal::{InvalidToken, TokenFault, TokenPart};
use crate::token::{AccessToken, Unverified};

/// Returns an unsigned access token with these claims, for tests of code that handles tokens.
///
/// `claims` is a JSON object. The function adds the claims that every token has, if they are
/// missing: `tid`, `iss`, `aud`, `azp`, `sub`, `iat`, `nbf`, and an `exp` in the year 2100. No rule
/// is checked.
///
/// ```
/// let claims = serde_json::json!({ "oid": "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d", "scp": "Read" });
/// let token = entra_jwt_core::testing::access_token(claims)?;
/// assert!(token.is_delegated());
/// # Ok::<(), entra_jwt_core::InvalidToken>(())
/// ```
///
/// # Errors
/// If `claims` is not an object, if a claim has another type than in tokens of Entra, or if `tid`
/// is not a GUID.
pub fn access_token(claims: serde_json::Value) -> Result<AccessToken, InvalidToken> {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    const TENANT: &str = "11111111-1111-4111-8111-111111111111";
    const CLIENT: &str = "22222222-2222-4222-8222-222222222222";
    const API: &str = "33333333-3333-4333-8333-333333333333";

    let Value::Object(mut claims) = claims else {
        return Err(TokenFault::InvalidJson {
            part: TokenPart::Payload,
        }
        .into());
    };
    let tenant = claims.entry("tid").or_insert_with(|| TENANT.into());
    let issuer = format!(
        "https://login.microsoftonline.com/{}/v2.0",
        tenant.as_str().unwrap_or_default()
    );
    for (claim, value) in [
        ("iss", json!(issuer)),
        ("aud", json!(API)),
        ("azp", json!(CLIENT)),
        ("sub", json!("subject")),
        ("iat", json!(1_577_836_800)),
        ("nbf", json!(1_577_836_800)),
        ("exp", json!(4_102_444_800_u64)),
    ] {
        claims.entry(claim).or_insert(value);
    }
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let header = encode(&json!({ "alg": "none", "kid": "trusted in tests" }));
    let compact = format!("{header}.{}.", encode(&Value::Object(claims)));

    let token = Unverified::parse_up_to(&compact, usize::MAX)?;
    if let Some(error) = &token.type_error {
        return Err(error.clone().into());
    }
    let tenant = token.tenant().and_then(|tenant| tenant.parse().ok());
    let tenant = tenant.ok_or(TokenFault::MissingClaim { claim: "tid" })?;
    let issuer = token.issuer().unwrap_or_default();
    let version = if issuer.ends_with("/v2.0") {
        TokenVersion::V2
    } else {
        TokenVersion::V1
    };
    Ok(AccessToken::new(tenant, version, token, false))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_of_json_has_what_it_says_and_what_every_token_has() {
        let token = access_token(json!({ "roles": ["Reader"], "idtyp": "app" })).unwrap();
        assert!(token.is_app_only());
        assert_eq!(token.roles().collect::<Vec<_>>(), ["Reader"]);
        assert_eq!(token.version(), TokenVersion::V2);
        assert!(token.issuer().contains(&token.tenant_id().to_string()));
        assert_eq!(token.claim("idtyp"), Some(json!("app")));
        let v1 = access_token(json!({ "iss": "https://sts.windows.net/x/" })).unwrap();
        assert_eq!(v1.version(), TokenVersion::V1);
    }

    #[test]
    fn what_no_token_could_be_is_none() {
        for claims in [
            json!(null),
            json!([]),
            json!({ "exp": "4102444800" }),
            json!({ "scp": ["a"] }),
            json!({ "tid": "contoso.com" }),
            json!({ "tid": 5 }),
        ] {
            assert!(access_token(claims.clone()).is_err(), "{claims}");
        }
    }
}
