//! The reasons for which it cannot be told now whether a token is valid.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use entra_jwt_core::{Setting, Shown};

use crate::setting::name_of;

/// The keys cannot be had, are too old, or lack the one that a token names, or the tenant rule does
/// not answer, so that a token cannot be judged: 503, never 401.
///
/// Callers see no more than [`public_code`](Self::public_code); [`code`](Self::code) and
/// [`remedy`](Self::remedy) are for the log and for whoever awaits
/// [`ready`](crate::EntraAuth::ready). `Debug` shows both, as that is what
/// `fn main() -> Result<..>` prints.
#[derive(Clone, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// Entra knows no tenant with the configured id in this cloud (AADSTS90002).
    #[error("the tenant {tenant} does not exist at {host}")]
    TenantNotFound {
        /// The configured tenant id.
        tenant: String,
        /// The host that was asked.
        host: String,
    },
    /// The discovery document belongs to another cloud than the configured one.
    #[error("the discovery document is of {}, {expected} expected", Shown(.found))]
    WrongCloud {
        /// The issuer or cloud name in the document.
        found: String,
        /// The one of the configured cloud.
        expected: String,
    },
    /// The discovery document belongs to another tenant of the configured cloud.
    #[error("the discovery document is of the issuer {}, {expected} expected", Shown(.found))]
    WrongTenant {
        /// The issuer in the document.
        found: String,
        /// The configured tenant's.
        expected: String,
    },
    /// The host's name does not resolve.
    #[error("{host} does not resolve")]
    Dns {
        /// The host that was asked.
        host: String,
    },
    /// No trusted TLS connection to the host.
    #[error("no trusted TLS connection to {host}")]
    Tls {
        /// The host that was asked.
        host: String,
    },
    /// The HTTP proxy refuses or cannot be reached.
    #[error("the HTTP proxy on the way to {host} refuses or cannot be reached")]
    Proxy {
        /// The host that was asked.
        host: String,
    },
    /// The host cannot be reached, or closed the connection.
    #[error("no connection to {host}")]
    Connect {
        /// The host that was asked.
        host: String,
    },
    /// The host did not answer in time.
    #[error("{host} did not answer within {} s", .after.as_secs())]
    Timeout {
        /// The host that was asked.
        host: String,
        /// The time that it was given.
        after: Duration,
    },
    /// The host answered with another status than 200; redirects are not followed.
    #[error("{host} answered with the status {status}")]
    Status {
        /// The host that was asked.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// The answer is no discovery or key document.
    #[error("{host} answered with something that is no {expected}")]
    Document {
        /// The host that was asked.
        host: String,
        /// `discovery document` or `key document`.
        expected: &'static str,
    },
    /// The answer is longer than any such document. In bytes.
    #[error("{host} answered with more than {limit} bytes")]
    TooLarge {
        /// The host that was asked.
        host: String,
        /// The limit in force.
        limit: usize,
    },
    /// The discovery document names an address for the keys that is not trusted: another host,
    /// or `http` after `https`.
    #[error("the discovery document names {} for the keys, which is not trusted", Shown(.jwks_uri))]
    KeyAddress {
        /// The address.
        jwks_uri: String,
    },
    /// The [`KeySource`](crate::KeySource) that was set brought no keys.
    #[error("the key source {source_name} failed: {}", Shown(.reason))]
    KeySource {
        /// The source's name.
        source_name: String,
        /// The error's own words.
        reason: String,
    },
    /// The key document has no key that can be used.
    #[error("{host} published no usable key")]
    NoUsableKey {
        /// The host that was asked.
        host: String,
    },
    /// The token names a key that is not held, and no fetch that began after the request came has
    /// looked for it: the next may not begin yet, as tokens of unknown keys have used up what is
    /// allowed of them (two at once, then one in 30 s). Nothing is wrong with the keys that are held,
    /// nor with this service, and the token may be good; after `Retry-After` it can be told.
    #[error(
        "the token names a key that is not held, and the next fetch of keys is not allowed yet"
    )]
    KeyRefreshPending,
    /// The running attempt took longer than a request may wait.
    #[error("the keys did not arrive in the time that a request may wait")]
    TimedOut,
    /// Too many requests wait for keys already.
    #[error("too many requests are waiting for keys")]
    TooManyWaiting,
    /// The attempt was ended from outside: its runtime shut down.
    #[error("the attempt to fetch keys was interrupted")]
    Interrupted,
    /// The request does not run on a tokio runtime.
    #[error("there is no tokio runtime to fetch keys on")]
    NoRuntime,
    /// The tenant rule failed, or did not answer in time.
    #[error("the tenant rule gave no answer: {}", Shown(.reason))]
    TenantRule {
        /// The error's own words.
        reason: String,
    },
    /// The grant could not be looked up.
    #[error("the grant could not be looked up: {}", Shown(.reason))]
    GrantRule {
        /// The error's own words.
        reason: String,
    },
}

impl fmt::Debug for Unavailable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self} ({}); {}", self.code(), self.remedy())
    }
}

impl Unavailable {
    /// Returns the code that callers see: `keys_unavailable`, whatever is the matter with the keys,
    /// `key_refresh_pending` while there is nothing the matter with them but that a new one cannot
    /// be fetched yet, `tenant_rule_unavailable`, or `grant_rule_unavailable`.
    #[must_use]
    pub const fn public_code(&self) -> &'static str {
        match self {
            Self::KeyRefreshPending | Self::TenantRule { .. } | Self::GrantRule { .. } => {
                self.code()
            }
            _ => "keys_unavailable",
        }
    }

    /// Returns the exact machine code, stable across releases.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TenantNotFound { .. } => "tenant_not_found",
            Self::WrongCloud { .. } => "wrong_cloud",
            Self::WrongTenant { .. } => "wrong_tenant",
            Self::Dns { .. } => "dns",
            Self::Tls { .. } => "tls",
            Self::Proxy { .. } => "proxy",
            Self::Connect { .. } => "connect",
            Self::Timeout { .. } => "timeout",
            Self::Status { .. } => "status",
            Self::Document { .. } => "document",
            Self::TooLarge { .. } => "document_too_large",
            Self::KeyAddress { .. } => "key_address",
            Self::KeySource { .. } => "key_source",
            Self::NoUsableKey { .. } => "no_usable_key",
            Self::KeyRefreshPending => "key_refresh_pending",
            Self::TimedOut => "timed_out",
            Self::TooManyWaiting => "too_many_waiting",
            Self::Interrupted => "interrupted",
            Self::NoRuntime => "no_runtime",
            Self::TenantRule { .. } => "tenant_rule_unavailable",
            Self::GrantRule { .. } => "grant_rule_unavailable",
        }
    }

    /// Returns what to change, and where.
    #[must_use]
    pub fn remedy(&self) -> Cow<'static, str> {
        self.remedy_with(name_of)
    }

    /// Returns the same, with other names for the settings than those of
    /// [`EntraAuthBuilder`](crate::EntraAuthBuilder).
    #[must_use]
    pub fn remedy_with(&self, setting: fn(Setting) -> &'static str) -> Cow<'static, str> {
        let tenant = setting(Setting::Tenant);
        let cloud = setting(Setting::Cloud);
        let metadata = setting(Setting::MetadataEndpoint);
        match self {
            Self::TenantNotFound { .. } => Cow::Owned(format!(
                "check {tenant}: the id stands on the Overview page of Microsoft Entra ID; check \
                 {cloud} if the tenant is in US Government or China",
            )),
            Self::WrongCloud { .. } => Cow::Owned(format!(
                "set {cloud} to the cloud of the tenant: public, usgovernment or china; or correct \
                 {metadata}",
            )),
            Self::WrongTenant { .. } => {
                format!("set {tenant} or {metadata} so that they belong together").into()
            }
            Self::Dns { .. } => Cow::Owned(format!(
                "check the name resolution of this machine, and that {metadata} is spelt correctly; \
                 behind a proxy set HTTPS_PROXY",
            )),
            Self::Tls { .. } => "if a proxy opens TLS on the way, add its CA certificate to the \
                system's, or name a bundle in SSL_CERT_FILE; check the clock of this machine"
                .into(),
            Self::Proxy { .. } => {
                "check HTTPS_PROXY and NO_PROXY, and that the proxy lets this host through".into()
            }
            Self::Connect { .. } | Self::Timeout { .. } => "let this machine reach the host on \
                port 443 (firewall, network policy), or set HTTPS_PROXY"
                .into(),
            Self::Status { .. } | Self::Document { .. } | Self::TooLarge { .. } => {
                Cow::Owned(format!(
                    "check that {metadata} is Entra's and that nothing on the way answers in its place; \
                 if it is, Entra has trouble: it is asked again by itself",
                ))
            }
            Self::KeyAddress { .. } => Cow::Owned(format!(
                "{metadata} must lead to Entra's own discovery document, whose jwks_uri is on the \
                 same host",
            )),
            Self::KeySource { .. } => {
                "mend what key_source(..) reads; it is asked again by itself".into()
            }
            Self::NoUsableKey { .. } => Cow::Owned(format!(
                "Entra has trouble, or {metadata} is not Entra's; what is wrong with each key is in \
                 the log at DEBUG; it is asked again by itself",
            )),
            Self::KeyRefreshPending => "ask again after Retry-After; if it lasts, somebody sends \
                tokens that no key of Entra has signed: `token refused` in the log, by unknown_key"
                .into(),
            Self::TimedOut | Self::TooManyWaiting | Self::Interrupted => {
                "ask again; the log says what the attempt failed with".into()
            }
            Self::NoRuntime => "serve requests on a tokio runtime with time and I/O enabled".into(),
            Self::TenantRule { .. } => Cow::Owned(format!(
                "mend what {} asks; it must answer within 5 s",
                setting(Setting::TenantRule),
            )),
            Self::GrantRule { .. } => "mend where grants are kept: the store of the authorization \
                server must answer within 5 s"
                .into(),
        }
    }
}
