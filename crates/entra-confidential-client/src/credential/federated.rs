//! A token of another identity provider instead of a secret.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use entra_http::BoxError;

use super::secret::Secret;
use super::{InvalidCredential, read_file};
use crate::text::printable;

/// A token of another identity provider, sent as the client assertion.
///
/// The app registration must trust the identity provider (Certificates & secrets > Federated
/// credentials). Examples are workload identity on Kubernetes, another cloud, a CI system, or a
/// managed identity.
///
/// The token is obtained from its file or function with every request, so that it may be rotated at
/// any time.
///
/// ```
/// use entra_confidential_client::FederatedAssertion;
///
/// # async fn token_of_the_managed_identity() -> Result<String, std::io::Error> {
/// #     Ok(String::new())
/// # }
/// let projected = FederatedAssertion::from_file("/var/run/secrets/azure/tokens/azure-identity-token");
///
/// // For a managed identity: its token for the audience `api://AzureADTokenExchange`.
/// let managed = FederatedAssertion::from_fn(|| async { Ok(token_of_the_managed_identity().await?) });
/// ```
#[derive(Clone)]
pub struct FederatedAssertion(Source);

type Function =
    dyn Fn() -> Pin<Box<dyn Future<Output = Result<String, BoxError>> + Send>> + Send + Sync;

#[derive(Clone)]
enum Source {
    File(PathBuf),
    Function(Arc<Function>),
}

impl FederatedAssertion {
    const VARIABLE: &str = "AZURE_FEDERATED_TOKEN_FILE";

    /// Takes the token from this file, which need not exist yet.
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    /// Takes the token from the file that `AZURE_FEDERATED_TOKEN_FILE` names.
    ///
    /// The workload identity webhook of AKS sets the variable.
    ///
    /// # Errors
    /// If the variable is not set or is empty.
    pub fn from_env() -> Result<Self, InvalidCredential> {
        match std::env::var_os(Self::VARIABLE) {
            Some(path) if !path.is_empty() => Ok(Self::from_file(path)),
            _ => Err(InvalidCredential::new(format!(
                "{}: not set; on AKS, label the pod azure.workload.identity/use: \"true\", or name \
                 the file with from_file(..)",
                Self::VARIABLE
            ))),
        }
    }

    /// Takes the token from a function.
    ///
    /// If the function fails, the text of its error goes to the log, so the text must not contain a
    /// token.
    pub fn from_fn<F, T>(function: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<String, BoxError>> + Send + 'static,
    {
        Self(Source::Function(Arc::new(move || Box::pin(function()))))
    }

    /// Returns the token from the file or the function. The error is a message for people.
    pub(super) async fn obtain(&self) -> Result<Secret, String> {
        let (token, origin) = match &self.0 {
            Source::File(path) => {
                let path = path.clone();
                let origin = path.display().to_string();
                let read = tokio::task::spawn_blocking(move || read_file(&path));
                let bytes = read
                    .await
                    .map_err(|_| "the tokio runtime is shutting down".to_owned())??;
                let text = String::from_utf8(bytes)
                    .map_err(|_| format!("{origin}: not text, so not a token"))?;
                (text, origin)
            }
            Source::Function(function) => {
                let token = function().await;
                let token = token.map_err(|error| {
                    format!(
                        "the federated assertion's function failed: {}",
                        printable(&error.to_string())
                    )
                })?;
                (token, "the federated assertion's function".to_owned())
            }
        };
        match token.trim() {
            "" => Err(format!("{origin}: the token is empty")),
            token => Ok(Secret::new(token)),
        }
    }
}

impl fmt::Debug for FederatedAssertion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_tuple("FederatedAssertion");
        match &self.0 {
            Source::File(path) => debug.field(path),
            Source::Function(_) => debug.field(&format_args!("function")),
        };
        debug.finish()
    }
}
