//! Key sources that a service provides.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use entra_http::BoxError;
use entra_jwt_core::KeySet;

use super::{Fetch, FetchError, FetchFuture, FetchReason, Fetched, Source, brings_nothing};
use crate::unavailable::Outage;

/// A source of signing keys in place of Entra's discovery document, set by
/// [`EntraAuthBuilder::key_source`](crate::EntraAuthBuilder::key_source).
///
/// The service calls [`fetch`](Self::fetch) on the refresh schedule, and when a token names a key
/// that is not held. A token bucket limits the calls for missing keys: two in a row, then one every
/// 30 s. Each call must end within 5 s. The service merges the fetched keys with the held ones, as
/// it does with Entra's documents.
///
/// A [`KeySet`] is a source that never changes. A [`JwksFile`](crate::keys::JwksFile) reads a file.
///
/// A token of a key that is not held is refused with 401 if the source was asked and did not return
/// the key. While the bucket permits no call, the token is refused with 503
/// (`key_refresh_pending`). With a [`KeySet`] it is refused with 401 immediately.
///
/// An attacker who can change the keys of the source can make tokens that this service accepts.
///
/// ```
/// use tower_entra_auth::{EntraAuth, keys::{BoxError, FetchedKeys, KeySource}};
///
/// struct Vault;
///
/// impl KeySource for Vault {
///     async fn fetch(&self) -> Result<FetchedKeys, BoxError> {
///         let jwks: Vec<u8> = br#"{"keys":[]}"#.to_vec(); // from wherever they are kept
///         Ok(FetchedKeys::from_jwks(&jwks)?)
///     }
/// }
///
/// # fn main() -> Result<(), tower_entra_auth::BuildError> {
/// let auth = EntraAuth::builder()
///     .tenant("72f988bf-86f1-41af-91ab-2d7cd011db47")
///     .client_id("6e74172b-be56-4843-9ff4-e66a39bb12e3")
///     .key_source(Vault)
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a source of signing keys",
    note = "use a `KeySet` or a `JwksFile`; or implement `KeySource` for your own type: `async fn \
        fetch(&self) -> Result<FetchedKeys, BoxError>`"
)]
pub trait KeySource: Send + Sync + 'static {
    /// Fetches the keys that are published now.
    ///
    /// # Errors
    /// Any failure of the source. The error's text goes into the log and into
    /// [`AuthStatus`](crate::status::AuthStatus), never into a response.
    fn fetch(&self) -> impl Future<Output = Result<FetchedKeys, BoxError>> + Send;

    /// Returns the name of the source in the log, the status and the metrics.
    ///
    /// Default: `key source`.
    fn name(&self) -> Cow<'static, str> {
        "key source".into()
    }
}

/// Result of a [`KeySource`]: the keys, and the delay before the next fetch.
#[derive(Clone, Debug)]
pub struct FetchedKeys {
    keys: Arc<KeySet>,
    is_final: bool,
    check_again_after: Option<Duration>,
}

impl FetchedKeys {
    /// Creates a result with the given keys.
    #[must_use]
    pub fn new(keys: KeySet) -> Self {
        Self {
            keys: Arc::new(keys),
            is_final: false,
            check_again_after: None,
        }
    }

    /// Reads a JWKS document, as [`KeySet::from_jwks`] does.
    ///
    /// # Errors
    /// If `document` is not a valid JWKS document.
    pub fn from_jwks(document: &[u8]) -> Result<Self, entra_jwt_core::InvalidKeySet> {
        KeySet::from_jwks(document).map(Self::new)
    }

    /// Sets the delay before the next fetch, if shorter than the
    /// [refresh interval](crate::settings::KeyOptions::refresh_interval).
    ///
    /// The minimum is 10 s.
    #[must_use]
    pub fn check_again_after(mut self, duration: Duration) -> Self {
        self.check_again_after = Some(duration);
        self
    }
}

/// A fixed key set.
///
/// It never changes, so it never becomes stale. A token of another key is refused immediately.
impl KeySource for KeySet {
    async fn fetch(&self) -> Result<FetchedKeys, BoxError> {
        Ok(FetchedKeys {
            is_final: true,
            ..FetchedKeys::new(self.clone())
        })
    }

    fn name(&self) -> Cow<'static, str> {
        "fixed key set".into()
    }
}

impl<S: KeySource + ?Sized> KeySource for Arc<S> {
    fn fetch(&self) -> impl Future<Output = Result<FetchedKeys, BoxError>> + Send {
        S::fetch(self)
    }

    fn name(&self) -> Cow<'static, str> {
        S::name(self)
    }
}

impl<S: KeySource + ?Sized> KeySource for Box<S> {
    fn fetch(&self) -> impl Future<Output = Result<FetchedKeys, BoxError>> + Send {
        S::fetch(self)
    }

    fn name(&self) -> Cow<'static, str> {
        S::name(self)
    }
}

impl Source {
    /// Wraps the service's own key source.
    pub(crate) fn new(source: impl KeySource) -> Self {
        let name = source.name();
        Self(Arc::new(OwnSource { source, name }))
    }

    /// Creates a source of fixed keys with the given name.
    pub(crate) fn fixed(keys: KeySet, name: &str) -> Self {
        let name = name.to_owned().into();
        Self(Arc::new(OwnSource { source: keys, name }))
    }
}

/// The service's own key source, with its name.
struct OwnSource<S> {
    source: S,
    name: Cow<'static, str>,
}

impl<S: KeySource> Fetch for OwnSource<S> {
    fn name(&self) -> &str {
        &self.name
    }

    fn fetch(&self, _: FetchReason) -> FetchFuture<'_> {
        Box::pin(async {
            let published = self.source.fetch().await.map_err(|error| {
                FetchError::from(Outage::KeySource {
                    source_name: self.name.to_string(),
                    reason: error.to_string(),
                })
            })?;
            if brings_nothing(&published.keys) {
                let host = self.name.to_string();
                return Err(FetchError::no_usable_key(host, published.keys));
            }
            Ok(Fetched {
                keys: published.keys,
                is_unchanged: false,
                is_final: published.is_final,
                check_again_after: published.check_again_after,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that `Arc` and `Box` forward every method: a forgotten method would return the
    /// default.
    #[tokio::test]
    async fn a_shared_source_is_the_source() {
        let keys = KeySet::default;
        let sources: (Arc<KeySet>, Box<KeySet>) = (Arc::new(keys()), Box::new(keys()));
        assert_eq!(KeySource::name(&sources.0), "fixed key set");
        assert_eq!(KeySource::name(&sources.1), "fixed key set");
        assert!(KeySource::fetch(&sources.0).await.unwrap().is_final);
        assert!(KeySource::fetch(&sources.1).await.unwrap().is_final);
    }
}
