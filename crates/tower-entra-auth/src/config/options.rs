//! Settings that belong together, each group one value.

use std::fmt;
use std::time::Duration;

use entra_jwt_core::{Tenancy, TenantId, integration::EscapedUrl};

/// The tenants of [`EntraAuthBuilder::tenant`](crate::EntraAuthBuilder::tenant): made from text, a
/// [`TenantId`] or a [`Tenancy`].
#[derive(Clone)]
pub struct TenantSetting(TenancyInput);

#[derive(Clone)]
enum TenancyInput {
    Known(Tenancy),
    Text(String),
}

impl TenantSetting {
    /// Returns the tenancy, or the text that was set in place of one.
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

/// A tenant id (GUID); several, separated by commas; or one of `organizations`, `common` and `consumers`.
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

/// The settings of how keys are fetched: for [`EntraAuthBuilder::keys`](crate::EntraAuthBuilder::keys).
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
#[must_use = "they count once they are given to the builder"]
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
    /// Sets how often keys are fetched when all is well: 5 minutes to 12 hours, less up to a twentieth,
    /// so that replicas do not ask in step. Sooner where the key server's `Cache-Control` says so,
    /// though not within 5 minutes; never later.
    pub fn refresh_interval(mut self, interval: Duration) -> Self {
        self.refresh_interval = interval;
        self
    }

    /// Sets for how long keys serve after the last fetch that succeeded, while Entra cannot be reached:
    /// at most 24 hours, and longer than [`refresh_interval`](Self::refresh_interval). After that,
    /// every token is 503.
    pub fn max_staleness(mut self, duration: Duration) -> Self {
        self.max_staleness = duration;
        self
    }

    /// Says that the app registration has a signing key of its own, as claims mapping and SAML
    /// applications do: metadata is asked for with `?appid={client id}`, and keys are those of the
    /// application.
    pub fn custom_signing_key(mut self) -> Self {
        self.has_custom_signing_key = true;
        self
    }

    /// Returns the refresh interval and the longest staleness.
    pub(super) fn times(self) -> (Duration, Duration) {
        (self.refresh_interval, self.max_staleness)
    }
}

/// The bounds within which verified tokens are remembered: for
/// [`EntraAuthBuilder::token_cache`](crate::EntraAuthBuilder::token_cache).
///
/// ```
/// use tower_entra_auth::{EntraAuth, settings::TokenCache};
///
/// let small = EntraAuth::builder().token_cache(TokenCache::bytes(4 * 1024 * 1024));
/// let none = EntraAuth::builder().token_cache(TokenCache::off());
/// ```
///
/// A token is remembered by its whole bytes, once it was accepted. With every request its lifetime, its key
/// and the rules about [tenants](crate::EntraAuthBuilder::tenant_rule) and
/// [callers](crate::EntraAuthBuilder::caller_rule) are checked again; the signature and the rest, which cannot
/// change, are not.
///
/// The default is 32 MiB, and an hour.
#[derive(Clone, Copy, Debug)]
#[must_use = "it counts once it is given to the builder"]
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

    /// Remembers tokens in this much memory: 64 KiB to 4 GiB. A MiB holds about 290 tokens of 1.4 KB, or 60
    /// of 12 KB with 200 groups.
    pub const fn bytes(bytes: usize) -> Self {
        let ttl = Self::TTL;
        Self(Some(CacheBounds { bytes, ttl }))
    }

    /// Remembers none: every token is verified every time.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Sets for how long a verified token is remembered, if it does not expire before: 1 second to
    /// 24 hours. Then it is verified again. Without effect on a cache that is [off](Self::off).
    pub fn ttl(mut self, ttl: Duration) -> Self {
        if let Some(bounds) = &mut self.0 {
            bounds.ttl = ttl;
        }
        self
    }

    /// Returns the memory that the tokens may take, in bytes, and for how long each is remembered.
    pub(super) fn bounds(self) -> Option<(usize, Duration)> {
        self.0.map(|bounds| (bounds.bytes, bounds.ttl))
    }
}
