//! The settings of an [`EntraAuth`](crate::EntraAuth).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use entra_jwt_core::{Cloud, Unverified, Validator};
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::danger::DangerousBuilder;
use crate::endpoint::printable;
use crate::environment;
use crate::http_client::{BoxError, HttpClient};
use crate::respond::RefusalDetail;

/// Settings of an [`EntraAuth`](crate::EntraAuth); begin with [`EntraAuth::builder`](crate::EntraAuth::builder).
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`tenant`](Self::tenant) | none: required |
/// | [`client_id`](Self::client_id) | none: required |
/// | [`audience`](Self::audience) | the client id and `api://{client id}`, always accepted |
/// | [`accept_v1_tokens`](Self::accept_v1_tokens) | off: v2 tokens only |
/// | [`cloud`](Self::cloud) | public |
/// | [`metadata_endpoint`](Self::metadata_endpoint) | the cloud's own |
/// | [`clock_skew`](Self::clock_skew) | 5 minutes |
/// | [`max_token_length`](Self::max_token_length) | 16 KiB |
/// | [`refusal_detail`](Self::refusal_detail) | the code |
/// | [`clock`](Self::clock) | the system's |
/// | [`http_client`](Self::http_client) | reqwest with rustls (feature `reqwest`) |
#[must_use = "nothing is protected before build()"]
pub struct EntraAuthBuilder {
    pub(crate) tenant: Option<Setting<String>>,
    pub(crate) client_id: Option<Setting<String>>,
    pub(crate) cloud: Option<Setting<CloudSetting>>,
    pub(crate) metadata_endpoint: Option<Setting<String>>,
    pub(crate) allow_plain_http: bool,
    pub(crate) audiences: Vec<String>,
    pub(crate) accepts_v1: bool,
    pub(crate) clock_skew: Duration,
    pub(crate) max_token_length: usize,
    pub(crate) refusal_detail: RefusalDetail,
    pub(crate) clock: Clock,
    pub(crate) http_client: Option<HttpClient>,
}

/// The wall clock.
pub(crate) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// A value and where it came from: `builder` or an environment variable.
#[derive(Clone, Debug)]
pub(crate) struct Setting<T> {
    pub(crate) value: T,
    pub(crate) source: &'static str,
}

impl<T> Setting<T> {
    fn by_code(value: T) -> Self {
        Self {
            value,
            source: BUILDER,
        }
    }

    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Setting<U> {
        Setting {
            value: change(self.value),
            source: self.source,
        }
    }

    /// The setting's name for people: with the variable, if it came from one.
    pub(crate) fn named(&self, name: &str) -> String {
        match self.source {
            BUILDER => name.to_owned(),
            variable => format!("{name} ({variable})"),
        }
    }
}

const BUILDER: &str = "builder";

/// A cloud as it was set.
#[derive(Clone, Debug)]
pub(crate) enum CloudSetting {
    Known(Cloud),
    /// `ENTRA_CLOUD`
    Name(String),
    /// `AZURE_AUTHORITY_HOST`
    AuthorityHost(String),
}

impl EntraAuthBuilder {
    pub(crate) fn new() -> Self {
        Self {
            tenant: None,
            client_id: None,
            cloud: None,
            metadata_endpoint: None,
            allow_plain_http: false,
            audiences: Vec::new(),
            accepts_v1: false,
            clock_skew: Validator::DEFAULT_CLOCK_SKEW,
            max_token_length: Unverified::DEFAULT_MAX_LENGTH,
            refusal_detail: RefusalDetail::default(),
            clock: Arc::new(SystemTime::now),
            http_client: None,
        }
    }

    /// The tenant (directory) id whose tokens are accepted: a GUID, from the Overview page of
    /// Microsoft Entra ID.
    pub fn tenant(mut self, id: impl Into<String>) -> Self {
        self.tenant = Some(Setting::by_code(id.into()));
        self
    }

    /// The application (client) id of this API: a GUID, from the Overview page of its app
    /// registration. Tokens for `{client id}` and `api://{client id}` are accepted.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(Setting::by_code(id.into()));
        self
    }

    /// A further audience: the App ID URI, if it is not `api://{client id}`. Compared byte for
    /// byte, but for one trailing slash. v2 tokens always have the client id as audience.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Further audiences; see [`audience`](Self::audience).
    pub fn audiences<A: Into<String>>(mut self, audiences: impl IntoIterator<Item = A>) -> Self {
        self.audiences.extend(audiences.into_iter().map(Into::into));
        self
    }

    /// Accepts v1 tokens beside v2 tokens: those with an issuer of `sts.windows.net`. Better: set
    /// `api.requestedAccessTokenVersion` to 2 in the manifest of the app registration.
    pub fn accept_v1_tokens(mut self) -> Self {
        self.accepts_v1 = true;
        self
    }

    /// The national cloud of the tenant.
    pub fn cloud(mut self, cloud: Cloud) -> Self {
        self.cloud = Some(Setting::by_code(CloudSetting::Known(cloud)));
        self
    }

    /// Where the discovery document comes from: a base such as `http://127.0.0.1:7580`, to which
    /// the tenant's path is added, or the full address of a document. It must be `https`, or
    /// `http` on loopback. It changes no rule: the document must be of the configured cloud and
    /// tenant.
    pub fn metadata_endpoint(mut self, url: impl Into<String>) -> Self {
        self.metadata_endpoint = Some(Setting::by_code(url.into()));
        self
    }

    /// How far the clocks of Entra and of this machine may differ: at most 10 minutes.
    pub fn clock_skew(mut self, skew: Duration) -> Self {
        self.clock_skew = skew;
        self
    }

    /// The longest token that is looked at, in bytes: 1 KiB to 250 KiB. A token with 200 groups
    /// has about 12 KB; servers limit headers too, hyper's HTTP/2 to 16 KiB in all.
    pub fn max_token_length(mut self, bytes: usize) -> Self {
        self.max_token_length = bytes;
        self
    }

    /// How much a refused caller learns.
    pub fn refusal_detail(mut self, detail: RefusalDetail) -> Self {
        self.refusal_detail = detail;
        self
    }

    /// The wall clock by which tokens expire: for tests.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The HTTP client that fetches discovery and key documents: any tower service, for a private
    /// CA or a network of your own. It must not follow redirects. Sizes and times are limited
    /// here, not by the client.
    pub fn http_client<S, B>(mut self, service: S) -> Self
    where
        S: Service<Request<Bytes>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.http_client = Some(HttpClient::new(service));
        self
    }

    /// Takes from the environment what the code has not set.
    ///
    /// | variable | setting |
    /// |---|---|
    /// | `ENTRA_TENANT_ID`, else `AZURE_TENANT_ID` | [`tenant`](Self::tenant) |
    /// | `ENTRA_CLIENT_ID`, else `AZURE_CLIENT_ID` | [`client_id`](Self::client_id) |
    /// | `ENTRA_CLOUD` (`public`, `usgovernment`, `china`), else `AZURE_AUTHORITY_HOST` | [`cloud`](Self::cloud) |
    /// | `ENTRA_METADATA_ENDPOINT` | [`metadata_endpoint`](Self::metadata_endpoint) |
    ///
    /// On AKS with workload identity the `AZURE_*` variables name the pod, not the API: set
    /// `ENTRA_*` there.
    pub fn environment(self) -> Self {
        self.variables(|name| {
            std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
        })
    }

    /// As [`environment`](Self::environment), with variables of your own.
    pub fn variables(self, variable: impl Fn(&str) -> Option<String>) -> Self {
        environment::fill(self, variable)
    }

    /// The settings that weaken the protection.
    pub fn dangerous(self) -> DangerousBuilder {
        DangerousBuilder(self)
    }
}

impl fmt::Debug for EntraAuthBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metadata_endpoint = self.metadata_endpoint.as_ref();
        let metadata_endpoint = metadata_endpoint.map(|setting| printable(&setting.value));
        formatter
            .debug_struct("EntraAuthBuilder")
            .field("tenant", &self.tenant)
            .field("client_id", &self.client_id)
            .field("cloud", &self.cloud)
            .field("metadata_endpoint", &metadata_endpoint)
            .field("audiences", &self.audiences)
            .finish_non_exhaustive()
    }
}
