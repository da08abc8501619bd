//! Failures that prevent the validation of a token for the moment.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use entra_http::{ProxyFailure, is_loopback_host};
use entra_jwt_core::{integration::Escaped, refusal::Setting};

use crate::setting::name_of;

/// An error that prevents the validation of a token for now: 503, never 401.
///
/// The keys cannot be fetched, are too old, or do not include the key that the token names; or a
/// rule does not answer.
///
/// Callers see only the [`public_code`](Self::public_code). The [`code`](Self::code) and the
/// [`remedy`](Self::remedy) are for the log, and for the program that awaits
/// [`ready`](crate::EntraAuth::ready). `Debug` shows both, because `fn main() -> Result<..>` prints
/// its error with `Debug`.
#[derive(Clone, Eq, PartialEq)]
pub struct Unavailable(Outage);

/// The kinds of [`Unavailable`] errors.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum UnavailableKind {
    /// Entra knows no tenant with the configured id in this cloud (AADSTS90002).
    TenantNotFound,
    /// The discovery document belongs to another cloud than the configured one.
    WrongCloud,
    /// The discovery document belongs to another tenant of the configured cloud.
    WrongTenant,
    /// The host's name does not resolve.
    Dns,
    /// No trusted TLS connection to the host is possible.
    Tls,
    /// The HTTP proxy refuses the connection, or cannot be reached.
    Proxy,
    /// The host cannot be reached, or it closed the connection.
    Connect,
    /// The host did not respond in time.
    Timeout,
    /// The host responded with a status other than 200; redirects are not followed.
    Status,
    /// The response is not a discovery or JWKS document.
    Document,
    /// The response is longer than a discovery or JWKS document may be.
    TooLarge,
    /// The discovery document names an untrusted address for the keys.
    ///
    /// Such an address is on a host outside of the configured endpoint's cloud or tenant, or uses
    /// `http` after `https`.
    KeyAddress,
    /// The configured [`KeySource`](crate::keys::KeySource) failed.
    KeySource,
    /// The JWKS document has no usable key.
    NoUsableKey,
    /// The token names a key that is not held, and the next fetch of keys is not permitted yet.
    ///
    /// No fetch that began after the request arrived has looked for the key. Tokens with unknown
    /// keys have used up the permitted fetches (two immediately, then one every 30 s). The held
    /// keys and this service work correctly, and the token may be valid. After `Retry-After`, the
    /// token can be validated.
    KeyRefreshPending,
    /// The fetch in progress took longer than a request may wait.
    TimedOut,
    /// Too many requests are waiting for keys already.
    TooManyWaiting,
    /// The fetch was interrupted, because its runtime shut down.
    Interrupted,
    /// The request does not run on a tokio runtime with timers.
    NoRuntime,
    /// The tenant rule failed, or did not answer in time.
    TenantRule,
    /// The caller rule failed, or did not answer in time.
    CallerRule,
    /// The grant rule failed, or did not answer in time.
    GrantRule,
}

/// The cause of an [`Unavailable`] error, with the details for its message.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Outage {
    #[error("the tenant {tenant} does not exist at {host}")]
    TenantNotFound { tenant: String, host: String },
    #[error("the discovery document belongs to {}; expected {expected}", Escaped(.found))]
    WrongCloud { found: String, expected: String },
    #[error(
        "the discovery document belongs to the issuer {}; expected {expected}",
        Escaped(.found)
    )]
    WrongTenant { found: String, expected: String },
    #[error("{host} does not resolve")]
    Dns { host: String },
    #[error("no trusted TLS connection to {host}")]
    Tls { host: String },
    #[error(
        "the HTTP proxy{} for {host} {}",
        .proxy.as_deref().map(|proxy| format!(" {proxy}")).unwrap_or_default(),
        match .failure {
            ProxyFailure::Unreachable => "cannot be reached",
            ProxyFailure::Credentials => "asks for a user name and a password (407)",
            ProxyFailure::Refused => "refuses to connect to it",
        }
    )]
    Proxy {
        host: String,
        /// Host and port of the proxy, if the environment names it.
        proxy: Option<String>,
        failure: ProxyFailure,
    },
    #[error("no connection to {host}")]
    Connect { host: String },
    #[error("{host} did not respond within {} s", .after.as_secs())]
    Timeout { host: String, after: Duration },
    #[error("{host} responded with the status {status}")]
    Status { host: String, status: u16 },
    #[error("the response of {host} is not a {expected}")]
    Document {
        host: String,
        expected: &'static str,
    },
    #[error("the response of {host} is longer than {limit} bytes")]
    TooLarge { host: String, limit: usize },
    #[error(
        "the discovery document names the key address {}, which is not trusted",
        Escaped(.jwks_uri)
    )]
    KeyAddress { jwks_uri: String },
    #[error("the key source {source_name} failed: {}", Escaped(.reason))]
    KeySource { source_name: String, reason: String },
    #[error("{host} published no usable key")]
    NoUsableKey { host: String },
    #[error("the token names an unknown key, and the next fetch of keys is not allowed yet")]
    KeyRefreshPending,
    #[error("the keys did not arrive in the time that a request may wait")]
    TimedOut,
    #[error("too many requests are waiting for keys")]
    TooManyWaiting,
    #[error("the attempt to fetch keys was interrupted")]
    Interrupted,
    #[error("there is no tokio runtime to fetch keys on")]
    NoRuntime,
    #[error("the tenant rule failed: {}", Escaped(.reason))]
    TenantRule { reason: String },
    #[error("the caller rule failed: {}", Escaped(.reason))]
    CallerRule { reason: String },
    #[error("the grant could not be looked up: {}", Escaped(.reason))]
    GrantRule { reason: String },
}

impl Unavailable {
    /// Returns the kind, for a `match`.
    #[must_use]
    pub fn kind(&self) -> UnavailableKind {
        self.0.kind()
    }

    /// Returns the exact code of the [`kind`](Self::kind), for logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.kind().code()
    }

    /// Returns the code that the caller may see.
    #[must_use]
    pub fn public_code(&self) -> &'static str {
        self.kind().public_code()
    }

    /// Returns the remedy: what to change, and where.
    #[must_use]
    pub fn remedy(&self) -> Cow<'static, str> {
        self.remedy_with(name_of)
    }

    /// Returns the remedy, with the given names for the settings in place of those of
    /// [`EntraAuthBuilder`](crate::EntraAuthBuilder).
    #[must_use]
    pub fn remedy_with(&self, setting: fn(Setting) -> &'static str) -> Cow<'static, str> {
        self.0.remedy_with(setting)
    }
}

impl From<Outage> for Unavailable {
    fn from(outage: Outage) -> Self {
        Self(outage)
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl fmt::Debug for Unavailable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self} ({}); {}", self.code(), self.remedy())
    }
}

impl std::error::Error for Unavailable {}

impl UnavailableKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::TenantNotFound,
        Self::WrongCloud,
        Self::WrongTenant,
        Self::Dns,
        Self::Tls,
        Self::Proxy,
        Self::Connect,
        Self::Timeout,
        Self::Status,
        Self::Document,
        Self::TooLarge,
        Self::KeyAddress,
        Self::KeySource,
        Self::NoUsableKey,
        Self::KeyRefreshPending,
        Self::TimedOut,
        Self::TooManyWaiting,
        Self::Interrupted,
        Self::NoRuntime,
        Self::TenantRule,
        Self::CallerRule,
        Self::GrantRule,
    ];

    /// Returns the exact code, which is stable across releases.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TenantNotFound => "tenant_not_found",
            Self::WrongCloud => "wrong_cloud",
            Self::WrongTenant => "wrong_tenant",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Proxy => "proxy",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Status => "status",
            Self::Document => "document",
            Self::TooLarge => "document_too_large",
            Self::KeyAddress => "key_address",
            Self::KeySource => "key_source",
            Self::NoUsableKey => "no_usable_key",
            Self::KeyRefreshPending => "key_refresh_pending",
            Self::TimedOut => "timed_out",
            Self::TooManyWaiting => "too_many_waiting",
            Self::Interrupted => "interrupted",
            Self::NoRuntime => "no_runtime",
            Self::TenantRule => "tenant_rule_unavailable",
            Self::CallerRule => "caller_rule_unavailable",
            Self::GrantRule => "grant_rule_unavailable",
        }
    }

    /// Returns the code that the caller may see.
    ///
    /// It is `key_refresh_pending` if the keys are usable, but a new key cannot be fetched yet. A
    /// rule without an answer has `tenant_rule_unavailable`, `caller_rule_unavailable` or
    /// `grant_rule_unavailable`. All other problems with the keys have `keys_unavailable`.
    #[must_use]
    pub const fn public_code(self) -> &'static str {
        match self {
            Self::KeyRefreshPending | Self::TenantRule | Self::CallerRule | Self::GrantRule => {
                self.code()
            }
            _ => "keys_unavailable",
        }
    }
}

/// Writes the [`code`](Self::code).
impl fmt::Display for UnavailableKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code())
    }
}

/// Returns whether a host, with or without a port, is this machine.
fn is_local(host: &str) -> bool {
    let uri = host.parse::<http::uri::Authority>();
    uri.is_ok_and(|authority| is_loopback_host(authority.host()))
}

impl Outage {
    pub(crate) fn kind(&self) -> UnavailableKind {
        use UnavailableKind as Kind;

        match self {
            Self::TenantNotFound { .. } => Kind::TenantNotFound,
            Self::WrongCloud { .. } => Kind::WrongCloud,
            Self::WrongTenant { .. } => Kind::WrongTenant,
            Self::Dns { .. } => Kind::Dns,
            Self::Tls { .. } => Kind::Tls,
            Self::Proxy { .. } => Kind::Proxy,
            Self::Connect { .. } => Kind::Connect,
            Self::Timeout { .. } => Kind::Timeout,
            Self::Status { .. } => Kind::Status,
            Self::Document { .. } => Kind::Document,
            Self::TooLarge { .. } => Kind::TooLarge,
            Self::KeyAddress { .. } => Kind::KeyAddress,
            Self::KeySource { .. } => Kind::KeySource,
            Self::NoUsableKey { .. } => Kind::NoUsableKey,
            Self::KeyRefreshPending => Kind::KeyRefreshPending,
            Self::TimedOut => Kind::TimedOut,
            Self::TooManyWaiting => Kind::TooManyWaiting,
            Self::Interrupted => Kind::Interrupted,
            Self::NoRuntime => Kind::NoRuntime,
            Self::TenantRule { .. } => Kind::TenantRule,
            Self::CallerRule { .. } => Kind::CallerRule,
            Self::GrantRule { .. } => Kind::GrantRule,
        }
    }

    /// Returns the remedy, with these names for the settings.
    pub(crate) fn remedy_with(&self, setting: fn(Setting) -> &'static str) -> Cow<'static, str> {
        let tenant = setting(Setting::Tenant);
        let cloud = setting(Setting::Cloud);
        let metadata = setting(Setting::MetadataEndpoint);
        match self {
            Self::TenantNotFound { .. } => Cow::Owned(format!(
                "check {tenant}: it is the Tenant ID on the Overview page of Microsoft Entra ID, \
                 not the id of an application; check {cloud} if the tenant is in US Government or \
                 China",
            )),
            Self::WrongCloud { .. } => Cow::Owned(format!(
                "set {cloud} to the cloud of the tenant: public, usgovernment or china; or correct \
                 {metadata}",
            )),
            Self::WrongTenant { .. } => {
                format!("set {tenant} or {metadata} so that they match").into()
            }
            Self::Dns { .. } => Cow::Owned(format!(
                "check the name resolution of this machine, and that {metadata} is spelt correctly; \
                 behind a proxy set HTTPS_PROXY",
            )),
            Self::Tls { .. } => "if a proxy intercepts TLS, add its CA certificate to the system's \
                certificates, or name a bundle in SSL_CERT_FILE; check the clock of this machine"
                .into(),
            Self::Proxy { host, failure, .. } => match failure {
                ProxyFailure::Unreachable => format!(
                    "set HTTPS_PROXY to a proxy that this machine reaches; if it reaches {host} \
                     without a proxy, add {host} to NO_PROXY"
                ),
                ProxyFailure::Credentials => {
                    "put the user name and the password in HTTPS_PROXY: http://user:password@host:port"
                        .to_owned()
                }
                ProxyFailure::Refused => format!(
                    "have the proxy's administrator allow {host}:443; if this machine reaches it \
                     without a proxy, add {host} to NO_PROXY"
                ),
            }
            .into(),
            Self::Connect { host } | Self::Timeout { host, .. } if is_local(host) => format!(
                "start the development tenant at {host}: entra-dev-tenant --listen {host}; or correct \
                 {metadata}",
            )
            .into(),
            Self::Connect { .. } | Self::Timeout { .. } => "allow this machine to reach the host \
                on port 443 (firewall, network policy), or set HTTPS_PROXY"
                .into(),
            Self::Status { .. } | Self::Document { .. } | Self::TooLarge { .. } => {
                Cow::Owned(format!(
                    "check that {metadata} is Entra's and that no proxy responds instead; \
                     otherwise the failure is at Entra, and the fetch is retried automatically",
                ))
            }
            Self::KeyAddress { .. } => Cow::Owned(format!(
                "{metadata} must lead to Entra's own discovery document, whose jwks_uri is on the \
                 same host",
            )),
            Self::KeySource { .. } => {
                "fix the source that key_source(..) reads; the fetch is retried automatically".into()
            }
            Self::NoUsableKey { .. } => Cow::Owned(format!(
                "the failure is at Entra, or {metadata} is not Entra's; the fault of each key is \
                 in the log at DEBUG; the fetch is retried automatically",
            )),
            Self::KeyRefreshPending => "retry after the time in Retry-After; if this continues, a \
                client sends tokens that no key of Entra has signed: look for `token refused` with \
                the code unknown_key in the log"
                .into(),
            Self::TimedOut | Self::TooManyWaiting | Self::Interrupted => {
                "retry; the cause of the failed attempt is in the log".into()
            }
            Self::NoRuntime => "serve requests on a tokio runtime with time and I/O enabled".into(),
            Self::TenantRule { .. } => Cow::Owned(format!(
                "fix the data source of {}; the rule must return within 5 s",
                setting(Setting::TenantRule),
            )),
            Self::CallerRule { .. } => Cow::Owned(format!(
                "fix the data source of {}; the rule must return within 5 s",
                setting(Setting::CallerRule),
            )),
            Self::GrantRule { .. } => "fix the grant store of the authorization server; it must \
                respond within 5 s"
                .into(),
        }
    }
}
