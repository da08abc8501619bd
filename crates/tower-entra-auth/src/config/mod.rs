//! The settings of an [`EntraAuth`], and their validation, which reports all problems together.

mod announce;
mod bounds;
mod build;
mod danger;
mod options;
mod settings;
mod slips;
mod trusted_issuer;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use entra_http::{BuildError, HttpClient};
use entra_jwt_core::{Cloud, TenantId, Validator, integration::EscapedUrl, token::Unverified};

pub use self::announce::Announcement;
pub use self::danger::DangerousBuilder;
pub use self::options::{KeyOptions, TenantSetting, TokenCache};
pub use self::trusted_issuer::TrustedIssuer;
use crate::authenticate::{EntraAuth, TokenLocation};
use crate::caller::{Caller, OnRefusal};
use crate::keys::Source;
use crate::policy::{CallerKey, Rule};
use crate::resource_metadata::ProtectedResource;
use crate::respond::RefusalDetail;
use crate::setting::SettingNames;
use crate::time::Clock;

/// Builder of an [`EntraAuth`]; begin with [`EntraAuth::builder`].
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`tenant`](Self::tenant) | none: required |
/// | [`client_id`](Self::client_id) | none: required |
/// | [`audience`](Self::audience) | the client id and `api://{client id}`, always accepted |
/// | [`accept_v1_tokens`](Self::accept_v1_tokens) | off: v2 tokens only |
/// | [`tenant_rule`](Self::tenant_rule) | none: every tenant that [`tenant`](Self::tenant) admits |
/// | [`caller_rule`](Self::caller_rule) | none |
/// | [`rule_ttl`](Self::rule_ttl) | 5 minutes |
/// | [`allowed_clients`](Self::allowed_clients) | every client application |
/// | [`allow_roleless_clients`](Self::allow_roleless_clients) | none: every token needs a scope or a role |
/// | [`refuse_guests`](Self::refuse_guests) | off: guests of the tenant are accepted |
/// | [`refuse_agents`](Self::refuse_agents) | off: agents are accepted |
/// | [`cloud`](Self::cloud) | public |
/// | [`external_id`](Self::external_id) | off: a workforce tenant |
/// | [`metadata_endpoint`](Self::metadata_endpoint) | the cloud's own endpoint |
/// | [`own_endpoints_only`](Self::own_endpoints_only) | off: metadata and keys may come from any configured host |
/// | [`key_source`](Self::key_source) | none: the discovery document |
/// | [`keys`](Self::keys) | fetched hourly, trusted for 24 hours without a successful fetch |
/// | [`token_cache`](Self::token_cache) | 32 MiB, each token for an hour |
/// | [`clock_skew`](Self::clock_skew) | 5 minutes |
/// | [`max_token_length`](Self::max_token_length) | 16 KiB |
/// | [`refusal_detail`](Self::refusal_detail) | the code |
/// | [`setting_names`](Self::setting_names) | this builder's methods and their environment variables |
/// | [`on_refusal`](Self::on_refusal) | none: the responses of the [table](crate#answers) |
/// | [`protected_resource`](Self::protected_resource) | none: challenges name no metadata |
/// | [`trust`](Self::trust) | none: only Entra's tokens |
/// | [`token_source`](Self::token_source) | the `Authorization` header |
/// | [`remove_token_header`](Self::remove_token_header) | off: the inner service sees the header, marked as sensitive |
/// | [`replacing`](Self::replacing) | none |
/// | [`clock`](Self::clock) | the system clock |
/// | [`http_client`](Self::http_client) | reqwest with rustls (feature `reqwest`) |
#[derive(Clone)]
#[must_use = "the builder does nothing until build() is called"]
pub struct EntraAuthBuilder {
    tenancy: Option<Sourced<TenantSetting>>,
    client_id: Option<Sourced<String>>,
    cloud: Option<Sourced<CloudSetting>>,
    external_id: Option<String>,
    metadata_endpoint: Option<Sourced<String>>,
    allow_plain_http: bool,
    own_endpoints_only: bool,
    allow_endpoints_elsewhere: bool,
    accepts_keys_of_other_clouds: bool,
    audiences: Vec<String>,
    accepts_v1: bool,
    allowed_clients: Option<Vec<String>>,
    roleless_clients: Vec<String>,
    refuses_guests: bool,
    refuses_agents: bool,
    tenant_rule: Option<Rule<TenantId>>,
    caller_rule: Option<Rule<CallerKey, Caller>>,
    rule_ttl: Option<Duration>,
    clock_skew: Duration,
    max_token_length: usize,
    refusal_detail: RefusalDetail,
    setting_names: SettingNames,
    own_endpoints: Vec<String>,
    on_refusal: Option<Arc<OnRefusal>>,
    protected_resource: Option<ProtectedResource>,
    trusted: Vec<TrustedIssuer>,
    token_location: TokenLocation,
    removes_token: bool,
    clock: Clock,
    http_client: Option<HttpClient>,
    key_source: Option<Source>,
    keys: KeyOptions,
    token_cache: TokenCache,
    /// The replaced `EntraAuth`: its identity and its client id.
    replaced: Option<(u64, String)>,
}

/// A value and its source: `builder` or the name of an environment variable.
#[derive(Clone, Debug)]
struct Sourced<T> {
    value: T,
    source: &'static str,
}

impl<T> Sourced<T> {
    fn by_code(value: T) -> Self {
        Self {
            value,
            source: BUILDER,
        }
    }

    fn map<U>(self, change: impl FnOnce(T) -> U) -> Sourced<U> {
        Sourced {
            value: change(self.value),
            source: self.source,
        }
    }

    fn is_by_code(&self) -> bool {
        self.source == BUILDER
    }

    /// Returns the setting's name for messages, with the environment variable if the value came
    /// from one.
    fn named(&self, name: &str) -> String {
        match self.source {
            BUILDER => name.to_owned(),
            variable => format!("{name} ({variable})"),
        }
    }
}

const BUILDER: &str = "builder";

/// The cloud as it was set.
#[derive(Clone)]
enum CloudSetting {
    Known(Cloud),
    /// The value of `ENTRA_CLOUD`.
    Name(String),
    /// The value of `AZURE_AUTHORITY_HOST`.
    AuthorityHost(String),
}

impl fmt::Debug for CloudSetting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(cloud) => cloud.fmt(formatter),
            Self::Name(text) | Self::AuthorityHost(text) => EscapedUrl(text).fmt(formatter),
        }
    }
}

impl EntraAuth {
    /// Creates a builder with no settings.
    pub fn builder() -> EntraAuthBuilder {
        EntraAuthBuilder::new()
    }

    /// Builds an `EntraAuth` from environment variables: `ENTRA_TENANT_ID`, `ENTRA_CLIENT_ID` and
    /// more.
    ///
    /// See [`EntraAuthBuilder::env`] for all of them.
    ///
    /// # Errors
    /// Returns all problems with the settings in one error.
    pub fn from_env() -> Result<Self, BuildError> {
        Self::builder().env().build()
    }
}

impl EntraAuthBuilder {
    fn new() -> Self {
        Self {
            tenancy: None,
            client_id: None,
            cloud: None,
            external_id: None,
            metadata_endpoint: None,
            allow_plain_http: false,
            own_endpoints_only: false,
            allow_endpoints_elsewhere: false,
            accepts_keys_of_other_clouds: false,
            audiences: Vec::new(),
            accepts_v1: false,
            allowed_clients: None,
            roleless_clients: Vec::new(),
            refuses_guests: false,
            refuses_agents: false,
            tenant_rule: None,
            caller_rule: None,
            rule_ttl: None,
            clock_skew: Validator::DEFAULT_CLOCK_SKEW,
            max_token_length: Unverified::DEFAULT_MAX_LENGTH,
            refusal_detail: RefusalDetail::default(),
            setting_names: SettingNames::default(),
            own_endpoints: Vec::new(),
            on_refusal: None,
            protected_resource: None,
            trusted: Vec::new(),
            token_location: TokenLocation::default(),
            removes_token: false,
            clock: Arc::new(SystemTime::now),
            http_client: None,
            key_source: None,
            keys: KeyOptions::default(),
            token_cache: TokenCache::default(),
            replaced: None,
        }
    }
}

impl fmt::Debug for EntraAuthBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metadata_endpoint = self.metadata_endpoint.as_ref();
        let metadata_endpoint = metadata_endpoint.map(|setting| EscapedUrl(&setting.value));
        let client_id = self.client_id.as_ref();
        let client_id = client_id.map(|setting| EscapedUrl(&setting.value));
        let audiences: Vec<_> = self.audiences.iter().map(|text| EscapedUrl(text)).collect();
        formatter
            .debug_struct("EntraAuthBuilder")
            .field("tenancy", &self.tenancy)
            .field("client_id", &client_id)
            .field("cloud", &self.cloud)
            .field("metadata_endpoint", &metadata_endpoint)
            .field("audiences", &audiences)
            .finish_non_exhaustive()
    }
}
