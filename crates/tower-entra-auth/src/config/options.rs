//! Groups of settings, each of which is set as one value.

use std::fmt;
use std::time::Duration;

use entra_jwt_core::{Tenancy, TenantId, integration::EscapedUrl};

/// The tenants for [`EntraAuthBuilder::tenant`](crate::EntraAuthBuilder::tenant), made from text, a
/// [`TenantId`] or a [`Tenancy`].
#[derive(Clone)]
pub struct TenantSetting(TenancyInput);

#[derive(Clone)]
enum TenancyInput {
    Known(Tenancy),
    Text(String),
}

impl TenantSetting {
    /// Returns the tenancy, or the text from which it must be parsed.
    pub(super) fn read(&self) -> Result<Tenancy, &str> {
        match &self.0 {
            TenancyInput::Known(tenancy) => Ok(tenancy.clone()),
            TenancyInput::Text(text) => Err(text.trim()),
        }
    }
}

impl From<Tenancy> for TenantSetting {
    fn from(tenancy: Tenancy) -> Self {
        Self(TenancyInput::Known(tenancy))
    }
}

impl From<TenantId> for TenantSetting {
    fn from(id: TenantId) -> Self {
        Tenancy::tenant(id).into()
    }
}

/// Conversion from a tenant id (GUID), from several ids separated by commas, or from one of
/// `organizations`, `common` and `consumers`.
impl From<String> for TenantSetting {
    fn from(text: String) -> Self {
        Self(TenancyInput::Text(text))
    }
}

impl From<&String> for TenantSetting {
    fn from(text: &String) -> Self {
        text.clone().into()
    }
}

impl From<&str> for TenantSetting {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl fmt::Debug for TenantSetting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            TenancyInput::Known(tenancy) => tenancy.fmt(formatter),
            TenancyInput::Text(text) => EscapedUrl(text).fmt(formatter),
        }
    }
}

/// Settings of how keys are fetched, for [`EntraAuthBuilder::keys`](crate::EntraAuthBuilder::keys).
///
/// ```
/// use std::time::Duration;
/// use tower_entra_auth::{EntraAuth, settings::KeyOptions};
///
/// let hour = Duration::from_secs(60 * 60);
/// let settings = EntraAuth::builder()
///     .keys(KeyOptions::default().refresh_interval(hour / 2).max_staleness(6 * hour));
/// ```
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`refresh_interval`](Self::refresh_interval) | 1 hour |
/// | [`max_staleness`](Self::max_staleness) | 24 hours |
/// | [`custom_signing_key`](Self::custom_signing_key) | off: the tenant's keys |
#[derive(Clone, Copy, Debug)]
#[must_use = "they have no effect until they are passed to the builder"]
pub struct KeyOptions {
    refresh_interval: Duration,
    max_staleness: Duration,
    pub(super) has_custom_signing_key: bool,
}

impl Default for KeyOptions {
    fn default() -> Self {
        Self {
            refresh_interval: Duration::from_secs(60 * 60),
            max_staleness: Duration::from_secs(24 * 60 * 60),
            has_custom_signing_key: false,
        }
    }
}

impl KeyOptions {
    /// Sets the interval of key fetches while they succeed: 5 minutes to 12 hours.
    ///
    /// Each interval is shortened at random by up to a twentieth, so that replicas do not fetch in
    /// step. A key server's `Cache-Control` can also shorten it, to 5 minutes at least. Nothing
    /// extends it.
    pub fn refresh_interval(mut self, interval: Duration) -> Self {
        self.refresh_interval = interval;
        self
    }

    /// Sets how long keys are trusted after the last successful fetch, while Entra cannot be
    /// reached: at most 24 hours, and longer than [`refresh_interval`](Self::refresh_interval).
    ///
    /// After that, every request with a token receives 503.
    pub fn max_staleness(mut self, duration: Duration) -> Self {
        self.max_staleness = duration;
        self
    }

    /// Declares that the app registration has its own signing key, as with a claims mapping policy
    /// or SAML.
    ///
    /// The metadata is then fetched with `?appid={client id}`, and the keys are those of the
    /// application.
    pub fn custom_signing_key(mut self) -> Self {
        self.has_custom_signing_key = true;
        self
    }

    /// Returns the refresh interval and the maximum staleness.
    pub(super) fn times(self) -> (Duration, Duration) {
        (self.refresh_interval, self.max_staleness)
    }
}

/// Size and lifetime of the cache of verified tokens, for
/// [`EntraAuthBuilder::token_cache`](crate::EntraAuthBuilder::token_cache).
///
/// ```
/// use tower_entra_auth::{EntraAuth, settings::TokenCache};
///
/// let small = EntraAuth::builder().token_cache(TokenCache::bytes(4 * 1024 * 1024));
/// let none = EntraAuth::builder().token_cache(TokenCache::off());
/// ```
///
/// The cache stores accepted tokens and compares all their bytes. On every request, the Layer again
/// checks the token's lifetime, its key and the rules about
/// [tenants](crate::EntraAuthBuilder::tenant_rule) and
/// [callers](crate::EntraAuthBuilder::caller_rule). The signature and the rest cannot change, so
/// the Layer does not check them again.
///
/// The default is 32 MiB and one hour.
#[derive(Clone, Copy, Debug)]
#[must_use = "it has no effect until it is passed to the builder"]
pub struct TokenCache(Option<CacheBounds>);

#[derive(Clone, Copy, Debug)]
struct CacheBounds {
    bytes: usize,
    ttl: Duration,
}

impl Default for TokenCache {
    fn default() -> Self {
        // About 9,000 tokens of 1.4 KB, 1,900 of 12 KB.
        Self::bytes(32 * 1024 * 1024)
    }
}

impl TokenCache {
    const TTL: Duration = Duration::from_secs(60 * 60);

    /// Creates a cache of this size, in bytes: 64 KiB to 4 GiB.
    ///
    /// A MiB holds about 290 tokens of 1.4 KB, or 60 tokens of 12 KB with 200 groups.
    pub const fn bytes(bytes: usize) -> Self {
        let ttl = Self::TTL;
        Self(Some(CacheBounds { bytes, ttl }))
    }

    /// Turns the cache off: every token is verified on every request.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Sets how long a verified token is cached, if it does not expire before: 1 second to
    /// 24 hours.
    ///
    /// After that, the token is verified again. Without effect on a cache that is [off](Self::off).
    pub fn ttl(mut self, ttl: Duration) -> Self {
        if let Some(bounds) = &mut self.0 {
            bounds.ttl = ttl;
        }
        self
    }

    /// Returns the size in bytes and the lifetime of an entry; `None` if the cache is off.
    pub(super) fn bounds(self) -> Option<(usize, Duration)> {
        self.0.map(|bounds| (bounds.bytes, bounds.ttl))
    }
}
