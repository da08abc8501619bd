//! Secret texts.

use std::fmt;
use std::sync::Arc;

use super::InvalidCredential;

/// A text that must not be printed: a client secret, a token, an authorization code or a code
/// verifier.
///
/// As a [`Credential`](super::Credential) it is the application's client secret.
///
/// `Debug` shows nothing of the text. There is no `Display`, no comparison and no serialization.
/// Only [`expose_secret`](Self::expose_secret) returns the text. The memory is not wiped when the
/// secret is dropped: an HTTP client and the kernel copy the text into a request, and this crate
/// could not wipe those copies.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Creates a secret from the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into().into())
    }

    /// Reads the secret from an environment variable, without white space around it.
    ///
    /// White space is removed because a line end is easily copied from a file.
    ///
    /// # Errors
    /// If the variable is not set, empty or not UTF-8.
    pub fn from_env(variable: &str) -> Result<Self, InvalidCredential> {
        let problem = |what: &str| InvalidCredential::new(format!("{variable}: {what}"));
        let text = match std::env::var(variable) {
            Ok(text) => text,
            Err(std::env::VarError::NotPresent) => {
                return Err(problem(
                    "not set; set it to the Value of a client secret from the app registration's \
                     Certificates & secrets page",
                ));
            }
            Err(std::env::VarError::NotUnicode(_)) => return Err(problem("not UTF-8")),
        };
        match text.trim() {
            "" => Err(problem(
                "empty; set it to the Value of a client secret from the app registration's \
                 Certificates & secrets page",
            )),
            text => Ok(Self::new(text)),
        }
    }

    /// Returns the text itself, for code that must pass it on.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<&Self> for Secret {
    fn from(secret: &Self) -> Self {
        secret.clone()
    }
}
