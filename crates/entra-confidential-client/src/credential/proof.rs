//! A credential of any kind, and the proof that it makes for a request.

use std::time::SystemTime;

use super::assertion;
use super::certificate::Certificate;
use super::federated::FederatedAssertion;
use super::secret::Secret;
use crate::text::VALUE_NOT_ID;

/// The application's proof of its identity to Entra.
///
/// It is converted from a [`Secret`], a [`Certificate`] or a [`FederatedAssertion`].
#[derive(Clone, Debug)]
pub struct Credential(CredentialKind);

#[derive(Clone, Debug)]
enum CredentialKind {
    Secret(Secret),
    Certificate(Certificate),
    Federated(FederatedAssertion),
}

/// The part of a request that proves the sender's identity.
pub(crate) enum Proof {
    /// The form parameter `client_secret`.
    ///
    /// Entra's documents and MSAL send it in the form. In the `Authorization` header it would be
    /// form-encoded before base64 (RFC 6749 §2.3.1). Servers and proxies get that wrong for secrets
    /// with `~`, `+` or `%`.
    Secret(Secret),
    /// The form parameter `client_assertion`: a JWT that this crate signed, or one of an identity
    /// provider that the app registration trusts.
    Assertion(Secret),
}

impl Credential {
    /// Returns the credential's fault, as far as it can be found without Entra.
    pub(crate) fn problem(&self) -> Option<String> {
        let CredentialKind::Secret(secret) = &self.0 else {
            return None;
        };
        let secret = secret.expose_secret();
        if secret.is_empty() {
            return Some(
                "the secret is empty; set the Value of a client secret from the app registration's \
                 Certificates & secrets page"
                    .to_owned(),
            );
        }
        let quotes = ['"', '\'', '`'];
        if secret.starts_with(quotes) && secret.ends_with(quotes) {
            return Some(
                "the secret is in quotes, which an environment file keeps; remove them".to_owned(),
            );
        }
        // Entra's secrets have 40 characters. The id of a secret is a GUID, which the portal shows
        // next to it.
        let is_guid = secret.len() == 36 && uuid::Uuid::try_parse(secret).is_ok();
        is_guid.then(|| format!("the secret is a GUID; {VALUE_NOT_ID}"))
    }

    /// Logs a warning if Entra will refuse the credential as expired.
    pub(crate) fn warn_if_expired(&self, now: SystemTime) {
        if let CredentialKind::Certificate(certificate) = &self.0 {
            certificate.warn_if_expired(now);
        }
    }

    /// Makes the proof for one request. The error is a message for people.
    pub(crate) async fn prove(
        &self,
        client_id: &str,
        audience: &str,
        now: SystemTime,
    ) -> Result<Proof, String> {
        match &self.0 {
            CredentialKind::Secret(secret) => Ok(Proof::Secret(secret.clone())),
            CredentialKind::Certificate(certificate) => {
                let key = certificate.signing_key(now).await;
                assertion::sign(&key, client_id, audience, now).map(Proof::Assertion)
            }
            CredentialKind::Federated(federated) => federated.obtain().await.map(Proof::Assertion),
        }
    }
}

impl From<Secret> for Credential {
    fn from(secret: Secret) -> Self {
        Self(CredentialKind::Secret(secret))
    }
}

impl From<Certificate> for Credential {
    fn from(certificate: Certificate) -> Self {
        Self(CredentialKind::Certificate(certificate))
    }
}

impl From<FederatedAssertion> for Credential {
    fn from(assertion: FederatedAssertion) -> Self {
        Self(CredentialKind::Federated(assertion))
    }
}
