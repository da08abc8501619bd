//! Issuers outside the tenant, whose tokens applications may use as their credential.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::json;

use super::TOKEN_EXCHANGE;
use crate::clock::Clock;
use crate::keys::SigningKey;
use crate::text::compact;
use crate::text::{base64url, random_guid};

/// An issuer of tokens outside Entra, such as a Kubernetes cluster or a CI service, with its own
/// key.
///
/// Its clones are the same issuer.
///
/// ```
/// use entra_dev_tenant::{AppRegistration, DevTenant, ExternalIssuer};
///
/// # async fn start() -> std::io::Result<()> {
/// const SUBJECT: &str = "system:serviceaccount:reports:api";
/// let cluster = ExternalIssuer::new("https://oidc.cluster.example");
/// let app = AppRegistration::new("6e74172b-be56-4843-9ff4-e66a39bb12e3");
/// let tenant = DevTenant::builder().register(app.trust(&cluster, SUBJECT)).start().await?;
/// let client_assertion = tenant.external_token(&cluster, SUBJECT).mint();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ExternalIssuer {
    issuer: String,
    key: Arc<SigningKey>,
}

/// A builder of a token of an [`ExternalIssuer`].
///
/// Begin with [`DevTenant::external_token`](crate::DevTenant::external_token).
///
/// # Defaults
/// The audience is `api://AzureADTokenExchange`. The token is issued now, by the tenant's clock,
/// and valid for an hour.
#[must_use = "the builder creates no token until mint() is called"]
pub struct ExternalToken<'a> {
    clock: &'a Clock,
    issuer: &'a ExternalIssuer,
    subject: String,
    audience: String,
    expires_in: i64,
    has_bad_signature: bool,
}

impl ExternalIssuer {
    /// Makes an issuer with this `iss` and a new key (about 90 ms).
    #[must_use]
    pub fn new(issuer: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            key: Arc::new(SigningKey::generate("external.example")),
        }
    }

    /// Returns the issuer's `iss`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(super) fn has_signed(&self, input: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.key.public_der())
            .verify(input, signature)
            .is_ok()
    }

    pub(crate) fn token<'a>(&'a self, clock: &'a Clock, subject: &str) -> ExternalToken<'a> {
        ExternalToken {
            clock,
            issuer: self,
            subject: subject.to_owned(),
            audience: TOKEN_EXCHANGE.to_owned(),
            expires_in: 3_600,
            has_bad_signature: false,
        }
    }
}

impl ExternalToken<'_> {
    /// Sets the audience.
    pub fn audience(mut self, audience: &str) -> Self {
        audience.clone_into(&mut self.audience);
        self
    }

    /// Sets the seconds from now until the token expires.
    ///
    /// If `seconds` is negative, the token expired that long ago.
    pub fn expires_in(mut self, seconds: i64) -> Self {
        self.expires_in = seconds;
        self
    }

    /// Spoils the signature, so that it does not verify.
    pub fn bad_signature(mut self) -> Self {
        self.has_bad_signature = true;
        self
    }

    /// Returns the token, signed with the issuer's key.
    #[must_use]
    pub fn mint(self) -> String {
        let (now, key) = (self.clock.unix_seconds(), &self.issuer.key);
        let header = json!({ "typ": "JWT", "alg": "RS256", "kid": key.id });
        let claims = json!({
            "iss": self.issuer.issuer,
            "sub": self.subject,
            "aud": [self.audience],
            "iat": now,
            "nbf": now,
            "exp": now + self.expires_in,
            "jti": random_guid(),
        });
        compact(&header.to_string(), &claims.to_string(), |input| {
            let mut signature = key.sign(input);
            if self.has_bad_signature
                && let Some(last) = signature.last_mut()
            {
                *last ^= 1;
            }
            signature
        })
    }
}

impl fmt::Debug for ExternalIssuer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ExternalIssuer")
            .field("issuer", &self.issuer)
            .field("key", &base64url(self.key.public_der()))
            .finish()
    }
}

impl fmt::Debug for ExternalToken<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ExternalToken")
            .finish_non_exhaustive()
    }
}
