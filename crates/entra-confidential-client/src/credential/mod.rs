//! How the application proves to Entra that it is itself.

mod assertion;
mod certificate;
mod federated;
mod file;
mod x509;

use std::fmt;
use std::time::SystemTime;

pub use self::certificate::Certificate;
pub use self::federated::FederatedAssertion;
use crate::secret::Secret;

/// How the application proves to Entra that it is itself: a [`Secret`], a [`Certificate`] or a
/// [`FederatedAssertion`], each of which converts into it.
#[derive(Clone, Debug)]
pub struct Credential(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Secret(Secret),
    Certificate(Certificate),
    Federated(FederatedAssertion),
}

/// What a request says to prove who sends it.
pub(crate) enum Proof {
    /// `client_secret`, in the form: Entra's documents and MSAL send it there. In the
    /// `Authorization` header it would be form-encoded before base64 (RFC 6749 §2.3.1), which
    /// servers and proxies get wrong for secrets with `~`, `+` or `%`.
    Secret(Secret),
    /// `client_assertion`, a JWT of ours or of an identity provider that the app registration
    /// trusts.
    Assertion(Secret),
}

impl Credential {
    /// What is wrong with it, as far as can be told without Entra.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        match &self.0 {
            Kind::Secret(secret) if secret.expose().is_empty() => Some(
                "the secret is empty; it is the Value of a client secret from the app \
                 registration's Certificates & secrets page",
            ),
            _ => None,
        }
    }

    /// Tells the log what will soon be refused.
    pub(crate) fn warn_if_expired(&self, now: SystemTime) {
        if let Kind::Certificate(certificate) = &self.0 {
            certificate.warn_if_expired(now);
        }
    }

    /// The proof for one request. The error is for people.
    pub(crate) async fn prove(
        &self,
        client_id: &str,
        audience: &str,
        now: SystemTime,
    ) -> Result<Proof, String> {
        match &self.0 {
            Kind::Secret(secret) => Ok(Proof::Secret(secret.clone())),
            Kind::Certificate(certificate) => {
                let key = certificate.signing_key(now).await;
                assertion::sign(&key, client_id, audience, now).map(Proof::Assertion)
            }
            Kind::Federated(federated) => federated.obtain().await.map(Proof::Assertion),
        }
    }
}

impl From<Secret> for Credential {
    fn from(secret: Secret) -> Self {
        Self(Kind::Secret(secret))
    }
}

impl From<Certificate> for Credential {
    fn from(certificate: Certificate) -> Self {
        Self(Kind::Certificate(certificate))
    }
}

impl From<FederatedAssertion> for Credential {
    fn from(assertion: FederatedAssertion) -> Self {
        Self(Kind::Federated(assertion))
    }
}

/// A credential that cannot be used, with the reason and what would be good.
///
/// `Debug` is the same text as `Display`, as that is what `fn main() -> Result<..>` prints.
#[derive(Clone, Eq, PartialEq)]
pub struct InvalidCredential(String);

impl InvalidCredential {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for InvalidCredential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for InvalidCredential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for InvalidCredential {}
