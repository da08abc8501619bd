//! Client authentication at the token endpoint: by a secret, or by an assertion (RFC 7523) that a
//! certificate's key or a trusted external issuer has signed.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey,
};
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{AppRegistration, Certificate, FederatedCredential, Platform};
use crate::authority::Realm;
use crate::clock::Clock;
use crate::endpoint::Parameters;
use crate::entra_error::EntraError;

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Maximum difference between clocks, in seconds.
const SKEW_SECONDS: i64 = 300;

/// The client that a request names, and the secret that it presents.
struct Presented {
    client_id: String,
    secret: Option<String>,
}

struct Assertion<'a> {
    header: Value,
    claims: Value,
    /// The signed text.
    input: &'a str,
    signature: Vec<u8>,
}

/// Authenticates the client of a request to the token endpoint. Returns the application, which
/// `find` finds by its id, and the `azpacr` or `appidacr` of its tokens. In a
/// sign-in to a single-page application every client is public, even one with credentials.
pub(crate) fn authenticate<'t>(
    realm: &Realm,
    clock: &Clock,
    find: impl FnOnce(&str) -> Result<&'t AppRegistration, EntraError>,
    headers: &HeaderMap,
    form: &Parameters,
    platform: Option<Platform>,
) -> Result<(&'t AppRegistration, &'static str), EntraError> {
    const PUBLIC: &str = "0";
    const SECRET: &str = "1";
    const ASSERTION: &str = "2";

    let presented = Presented::read(headers, form)?;
    let application = find(&presented.client_id)?;
    let is_public = application.is_public() || platform == Some(Platform::SinglePage);
    let acr = match (presented.secret, form.get("client_assertion")) {
        (Some(_), Some(_)) => return Err(EntraError::malformed()),
        (Some(_), None) | (None, Some(_)) if is_public => return Err(public_client()),
        (Some(secret), None) => {
            check_secret(application, &secret)?;
            SECRET
        }
        (None, Some(text)) => {
            let assertion_type = form.get("client_assertion_type");
            check_assertion(realm, clock, application, assertion_type, text)?;
            ASSERTION
        }
        (None, None) if form.get("grant_type") == Some("client_credentials") => {
            let message = "'client_assertion', 'client_secret' or 'request' is required for the \
                'client_credentials' grant type.";
            return Err(EntraError::new("invalid_request", 7_000_216, message));
        }
        (None, None) if is_public => PUBLIC,
        (None, None) => {
            let message = "The request body must contain the following parameter: \
                'client_assertion' or 'client_secret'.";
            return Err(EntraError::new("invalid_client", 7_000_218, message));
        }
    };
    Ok((application, acr))
}

impl Presented {
    /// Reads the client and its secret from the `Authorization` header or from the form. In the
    /// header both are form-encoded (RFC 6749 §2.3.1).
    fn read(headers: &HeaderMap, form: &Parameters) -> Result<Self, EntraError> {
        let Some(header) = headers.get(header::AUTHORIZATION) else {
            return Ok(Self {
                client_id: form.required("client_id")?.to_owned(),
                secret: form.get("client_secret").map(str::to_owned),
            });
        };
        let basic = header.to_str().ok().and_then(|header| {
            let (scheme, credentials) = header.split_once(' ')?;
            let credentials = STANDARD.decode(credentials.trim()).ok()?;
            let credentials = String::from_utf8(credentials).ok()?;
            let (id, secret) = credentials.split_once(':')?;
            scheme
                .eq_ignore_ascii_case("basic")
                .then(|| (form_decoded(id), form_decoded(secret)))
        });
        let (client_id, secret) = basic.ok_or_else(EntraError::malformed)?;
        let is_of_another = form.get("client_id").is_some_and(|id| id != client_id);
        if is_of_another || form.get("client_secret").is_some() {
            return Err(EntraError::malformed());
        }
        Ok(Self {
            client_id,
            secret: Some(secret),
        })
    }
}

fn form_decoded(text: &str) -> String {
    // The text is one value: `&` and `=` do not begin anything else.
    let value = text.replace('&', "%26").replace('=', "%3D");
    let pairs = form_urlencoded::parse(value.as_bytes());
    pairs.map(|(value, _)| value.into_owned()).collect()
}

fn check_secret(app: &AppRegistration, presented: &str) -> Result<(), EntraError> {
    let is_same =
        |value: &str| verify_slices_are_equal(value.as_bytes(), presented.as_bytes()).is_ok();
    let known = app.secrets.iter().find(|secret| is_same(&secret.value));
    let (code, message) = match known {
        Some(secret) if !secret.is_expired => return Ok(()),
        Some(_) => (
            7_000_222,
            format!(
                "The provided client secret keys for app '{}' are expired. Visit the Azure portal \
                 to create new keys for your app, or consider using certificate credentials for \
                 added security.",
                app.id
            ),
        ),
        None => (
            7_000_215,
            format!(
                "Invalid client secret provided. Ensure the secret being sent in the request is \
                 the client secret value, not the client secret ID, for a secret added to app \
                 '{}'.",
                app.id
            ),
        ),
    };
    Err(EntraError::new("invalid_client", code, message))
}

/// Checks that this assertion authenticates `app` to this tenant now.
fn check_assertion(
    realm: &Realm,
    clock: &Clock,
    app: &AppRegistration,
    assertion_type: Option<&str>,
    assertion: &str,
) -> Result<(), EntraError> {
    if assertion_type != Some(JWT_BEARER) {
        let message = "The request body must contain the following parameter: \
            'client_assertion_type'.";
        return Err(EntraError::new("invalid_request", 900_144, message));
    }
    let assertion = Assertion::parse(assertion)?;
    if assertion.text("iss").eq_ignore_ascii_case(&app.id) {
        assertion.check_certificate(app)?;
        assertion.check_own_claims(realm, app)?;
    } else {
        assertion.check_federated(app)?;
    }
    assertion.check_times(clock.unix_seconds())
}

impl<'a> Assertion<'a> {
    fn parse(text: &'a str) -> Result<Self, EntraError> {
        Self::parsed(text).ok_or_else(|| malformed("JWT token is invalid or malformed."))
    }

    fn parsed(text: &'a str) -> Option<Self> {
        let (input, signature) = text.rsplit_once('.')?;
        let (header, claims) = input.split_once('.')?;
        let object = |segment: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(segment).ok()?;
            let value: Value = serde_json::from_slice(&bytes).ok()?;
            value.is_object().then_some(value)
        };
        Some(Self {
            header: object(header)?,
            claims: object(claims)?,
            input,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    fn text(&self, claim: &str) -> &str {
        self.claims[claim].as_str().unwrap_or_default()
    }

    /// Returns the seconds of a claim. The claim may be a string, as one of Microsoft's own
    /// libraries writes it.
    fn seconds(&self, claim: &str) -> Option<i64> {
        let claim = &self.claims[claim];
        claim
            .as_i64()
            .or_else(|| claim.as_str().and_then(|text| text.parse().ok()))
    }

    fn has_audience(&self, accepted: impl Fn(&str) -> bool) -> bool {
        match &self.claims["aud"] {
            Value::String(one) => accepted(one),
            Value::Array(several) => several.iter().filter_map(Value::as_str).any(accepted),
            _ => false,
        }
    }

    fn check_certificate(&self, app: &AppRegistration) -> Result<(), EntraError> {
        let thumbprint = |name: &str| self.header[name].as_str();
        let (sha256, sha1) = (thumbprint("x5t#S256"), thumbprint("x5t"));
        let Some(named) = sha256.or(sha1) else {
            return Err(EntraError::new(
                "invalid_client",
                5_002_723,
                "Invalid JWT token. No certificate SHA-1 thumbprint, certificate SHA-256 \
                 thumbprint, nor keyId specified in token header.",
            ));
        };
        let is_named = |certificate: &&Certificate| match sha256 {
            Some(sha256) => certificate.sha256 == sha256,
            None => Some(&*certificate.sha1) == sha1,
        };
        let Some(certificate) = app.certificates.iter().find(is_named) else {
            return Err(refused_certificate(app, "The key was not found", named));
        };
        let algorithm = match self.header["alg"].as_str() {
            Some("PS256") => &RSA_PSS_2048_8192_SHA256,
            Some("RS256") => &RSA_PKCS1_2048_8192_SHA256,
            _ => return Err(malformed("JWT token is invalid or malformed.")),
        };
        UnparsedPublicKey::new(algorithm, &certificate.public_key)
            .verify(self.input.as_bytes(), &self.signature)
            .map_err(|_| {
                let reason = "The provided signature value did not match the expected signature \
                    value";
                refused_certificate(app, reason, named)
            })
    }

    fn check_own_claims(&self, realm: &Realm, app: &AppRegistration) -> Result<(), EntraError> {
        if !self.text("sub").eq_ignore_ascii_case(&app.id) {
            let message = "Client assertion application identifier doesn't match 'client_id' \
                parameter.";
            return Err(EntraError::new("invalid_client", 700_021, message));
        }
        if !self.has_audience(|audience| is_here(realm, audience)) {
            let message = "Client assertion audience claim does not match Realm issuer.";
            return Err(EntraError::new("invalid_client", 700_023, message));
        }
        match self.text("jti") {
            "" => Err(malformed(
                "JWT token is invalid or malformed: it has no 'jti'.",
            )),
            _ => Ok(()),
        }
    }

    fn check_federated(&self, app: &AppRegistration) -> Result<(), EntraError> {
        let no_match = |code, what: &str, found: &str| {
            let message = format!(
                "No matching federated identity record found for presented assertion {what} \
                 '{found}'. Check your federated identity credential Subject, Audience and Issuer \
                 against the presented assertion."
            );
            EntraError::new("invalid_client", code, message)
        };
        let mut trusted: Vec<&FederatedCredential> = app.federated.iter().collect();
        let (issuer, subject) = (self.text("iss"), self.text("sub"));
        trusted.retain(|credential| credential.issuer.issuer() == issuer);
        if trusted.is_empty() {
            return Err(no_match(700_211, "issuer", issuer));
        }
        trusted.retain(|credential| self.has_audience(|found| found == credential.audience));
        if trusted.is_empty() {
            let audience = self.claims["aud"].to_string();
            return Err(no_match(700_212, "audience", &audience));
        }
        trusted.retain(|credential| credential.subject == subject);
        if trusted.is_empty() {
            return Err(no_match(700_213, "subject", subject));
        }
        let is_signed = trusted.iter().any(|credential| {
            let issuer = &credential.issuer;
            self.header["alg"] == "RS256"
                && issuer.has_signed(self.input.as_bytes(), &self.signature)
        });
        match is_signed {
            true => Ok(()),
            false => Err(EntraError::new(
                "invalid_client",
                50_013,
                "Assertion failed signature validation. [Reason - The provided signature value \
                 did not match the expected signature value.]",
            )),
        }
    }

    fn check_times(&self, now: i64) -> Result<(), EntraError> {
        let is_over = self
            .seconds("exp")
            .is_none_or(|exp| exp + SKEW_SECONDS < now);
        let is_early = self
            .seconds("nbf")
            .is_some_and(|nbf| nbf > now + SKEW_SECONDS);
        if !is_over && !is_early {
            return Ok(());
        }
        let message = format!(
            "Client assertion is not within its valid time range. Current time: {now}, assertion \
             valid from {}, expiry time of assertion {}.",
            self.claims["nbf"], self.claims["exp"],
        );
        Err(EntraError::new("invalid_client", 700_024, message))
    }
}

/// Returns whether an audience is this tenant's token endpoint or issuer.
///
/// The URL of the token endpoint is that of the documents here or of those of the played cloud
/// ("The audience should be the token endpoint").
fn is_here(realm: &Realm, audience: &str) -> bool {
    let issuer = realm.v2_issuer(&realm.id);
    let authority = issuer.strip_suffix("/v2.0").unwrap_or(&issuer);
    let local = format!("{}/{}", realm.url, realm.id);
    audience == issuer
        || [authority, &local]
            .into_iter()
            .any(|authority| audience.strip_prefix(authority) == Some("/oauth2/v2.0/token"))
}

fn malformed(message: &str) -> EntraError {
    EntraError::new("invalid_client", 50_027, message)
}

fn refused_certificate(app: &AppRegistration, reason: &str, thumbprint: &str) -> EntraError {
    let message = format!(
        "The certificate with identifier used to sign the client assertion is not registered on \
         application. [Reason - {reason}., Thumbprint of key used by client: '{thumbprint}', \
         application '{}'.]",
        app.id,
    );
    EntraError::new("invalid_client", 700_027, message)
}

/// Returns the refusal of a credential from a client that has none registered.
fn public_client() -> EntraError {
    let message = "Client is public so neither 'client_assertion' nor 'client_secret' should \
        be presented.";
    EntraError::new("invalid_client", 700_025, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_form_encodes_is_decoded() {
        assert_eq!(form_decoded("a%3Ab+c%26"), "a:b c&");
        assert_eq!(form_decoded("a&b=c~"), "a&b=c~");
        assert_eq!(form_decoded(""), "");
    }
}
