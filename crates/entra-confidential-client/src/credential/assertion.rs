//! The JWT by which the holder of a certificate's key proves its identity.
//!
//! Source: Microsoft identity platform, "Certificate credentials": `PS256`, `x5t#S256`, `aud` is
//! the token endpoint, `iss` and `sub` are the client id, `jti` is unique, short-lived.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::RSA_PSS_SHA256;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;

use super::certificate::SigningKey;
use super::secret::Secret;
use crate::text::new_guid;

/// Lifetime of an assertion. Entra allows ten minutes.
const LIFETIME: Duration = Duration::from_secs(5 * 60);

/// Signs an assertion for one request. The error is a message for people.
pub(super) fn sign(
    key: &SigningKey,
    client_id: &str,
    audience: &str,
    now: SystemTime,
) -> Result<Secret, String> {
    let seconds = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_secs()
    };
    let jti = new_guid().ok_or("the system's random number generator failed")?;
    let header = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": key.thumbprint() });
    let claims = json!({
        "aud": audience,
        "iss": client_id,
        "sub": client_id,
        "jti": jti,
        "iat": seconds(now),
        "nbf": seconds(now),
        "exp": seconds(now + LIFETIME),
    });
    let signed = format!(
        "{}.{}",
        BASE64_URL_SAFE_NO_PAD.encode(header.to_string()),
        BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()),
    );
    let pair = key.pair();
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(
        &RSA_PSS_SHA256,
        &SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .map_err(|_| "signing with the certificate's key failed".to_owned())?;
    let signature = BASE64_URL_SAFE_NO_PAD.encode(signature);
    Ok(Secret::new(format!("{signed}.{signature}")))
}
