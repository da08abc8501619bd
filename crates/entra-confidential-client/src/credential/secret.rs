//! Secret texts.

use std::fmt;
use std::sync::Arc;

use super::InvalidCredential;

/// A text not to be printed: a client secret, a token, an authorization code, a code
/// verifier. As a [`Credential`](super::Credential) it is the application's client secret.
///
/// `Debug` shows nothing of it, there is no `Display`, no comparison and no serialization; what it
/// says must be asked for by name: [`expose_secret`](Self::expose_secret). The memory is not wiped when it is
/// dropped: the text is also copied into a request, by an HTTP client and by the kernel, where
/// this crate could not wipe it.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Takes the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into().into())
    }

    /// Takes the text of an environment variable, without white space around it: a line end is easily
    /// taken along from a file.
    ///
    /// # Errors
    /// If the variable is not set, empty or not UTF-8.
    pub fn from_env(variable: &str) -> Result<Self, InvalidCredential> {
        let problem = |what: &str| InvalidCredential::new(format!("{variable}: {what}"));
        let text = match std::env::var(variable) {
            Ok(text) => text,
            Err(std::env::VarError::NotPresent) => {
                return Err(problem(
                    "not set; it takes the Value of a client secret from the app registration's \
                     Certificates & secrets page",
                ));
            }
            Err(std::env::VarError::NotUnicode(_)) => return Err(problem("not UTF-8")),
        };
        match text.trim() {
            "" => Err(problem(
                "empty; it takes the Value of a client secret from the app registration's \
                 Certificates & secrets page",
            )),
            text => Ok(Self::new(text)),
        }
    }

    /// Returns the text itself, for where it must be handed on.
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
