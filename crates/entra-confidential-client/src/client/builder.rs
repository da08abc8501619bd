//! The settings of a client.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use entra_http::{
    BoxError, BuildError, HttpClient, Problems, StandardClient, ThrottledLog, slip_in,
};
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::authority::Authority;
use super::{ClientState, Clock, ConfidentialClient};
use crate::credential::Credential;
use crate::text::printable_url;

/// The settings of a [`ConfidentialClient`].
///
/// # Defaults
///
/// - `authority`, `client_id`, `credential`: required
/// - `http_client`: reqwest with rustls, without redirects, retries and a connection pool
/// - `clock`: the system's
/// - `timeout`: 10 s
#[derive(Clone)]
#[must_use = "the builder does nothing until build() is called"]
pub struct ConfidentialClientBuilder {
    authority: Option<String>,
    client_id: Option<String>,
    credential: Option<Credential>,
    http_client: Option<HttpClient>,
    clock: Clock,
    timeout: Duration,
}

impl ConfidentialClient {
    /// Returns a builder without settings.
    pub fn builder() -> ConfidentialClientBuilder {
        ConfidentialClientBuilder::new()
    }
}

impl ConfidentialClientBuilder {
    const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
    const MAX_TIMEOUT: Duration = Duration::from_secs(5 * 60);
    /// Time limit of the standard client for making a connection.
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

    fn new() -> Self {
        Self {
            authority: None,
            client_id: None,
            credential: None,
            http_client: None,
            clock: Arc::new(SystemTime::now),
            timeout: Self::DEFAULT_TIMEOUT,
        }
    }

    /// Sets the authority: the URL of the tenant that receives the requests.
    ///
    /// It is, for example, `https://login.microsoftonline.com/{tenant id}` or
    /// `https://{name}.ciamlogin.com/{tenant id}`. MSAL uses the same word.
    /// `http` is accepted on loopback only. The client adds the path of the token endpoint,
    /// `/oauth2/v2.0/token`. A request may name [another tenant](crate::TokenRequest::tenant).
    ///
    /// `organizations`, `common` and `consumers` are accepted instead of a tenant, for the codes
    /// and refresh tokens of users who signed in there. Then these requests must name a tenant of
    /// their own:
    ///
    /// - a request for the application's own token, because Entra cannot reliably find out which
    ///   tenant is meant
    ///   (<https://learn.microsoft.com/entra/identity-platform/scenario-daemon-app-configuration>)
    /// - a request on behalf of a user, which must name the tenant of the user's token
    pub fn authority(mut self, url: impl Into<String>) -> Self {
        self.authority = Some(url.into());
        self
    }

    /// Sets the "Application (client) ID" of the app registration.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// Sets the application's proof of its identity: a [`Secret`](crate::Secret), a
    /// [`Certificate`](crate::Certificate) or a [`FederatedAssertion`](crate::FederatedAssertion).
    pub fn credential(mut self, credential: impl Into<Credential>) -> Self {
        self.credential = Some(credential.into());
        self
    }

    /// Sets the HTTP client: any tower service from `Request<Bytes>` to a response with a streaming
    /// body.
    ///
    /// The service must not follow redirects, because a redirect would send the credential to
    /// another host. It must not repeat requests. The [`ConfidentialClient`] limits the size of
    /// responses and the time. The texts of the service's errors go to the log, unless they contain
    /// a secret of the request.
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

    /// Sets the wall clock, for tests.
    ///
    /// It dates assertions, and decides whether a certificate has expired. Default: the system's
    /// clock.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets the time limit of a whole request, at most 5 min.
    ///
    /// The time includes reading the credential, a repetition and reading the response. The
    /// standard client uses at most 5 s of it for a connection. Default: 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Builds the client.
    ///
    /// It sends nothing, and needs no runtime.
    ///
    /// # Errors
    /// If settings are missing or wrong. The error lists all of them.
    pub fn build(self) -> Result<ConfidentialClient, BuildError> {
        let mut problems = Problems::new("cannot get tokens from Entra");
        let authority = Authority::parse(self.authority.as_deref());
        let authority = problems.take("authority", authority);
        let client_id = problems.take("client_id", self.checked_client_id());
        let credential = match self.credential {
            None => Err(
                "not set; use Secret::from_env(..), a Certificate or a FederatedAssertion"
                    .to_owned(),
            ),
            Some(credential) => credential.problem().map_or(Ok(credential), Err),
        };
        let credential = problems.take("credential", credential);
        if self.timeout.is_zero() || self.timeout > Self::MAX_TIMEOUT {
            problems.add(
                "timeout",
                format_args!(
                    "{:?} is out of range; set more than 0 and at most 5 min, such as 10 s",
                    self.timeout
                ),
            );
        }
        let http = match self.http_client {
            Some(client) => Ok(client),
            None => HttpClient::standard(StandardClient {
                enabled: cfg!(feature = "reqwest"),
                user_agent: concat!("entra-confidential-client/", env!("CARGO_PKG_VERSION")),
                connect_timeout: Self::CONNECT_TIMEOUT,
                plain_http: authority
                    .as_ref()
                    .is_some_and(|authority| authority.as_str().starts_with("http://")),
            }),
        };
        let http = problems.take("http_client", http);
        match (authority, client_id, credential, http) {
            (Some(authority), Some(client_id), Some(credential), Some(http))
                if problems.is_empty() =>
            {
                credential.warn_if_expired((self.clock)());
                Ok(ConfidentialClient(Arc::new(ClientState {
                    authority,
                    client_id,
                    credential,
                    http,
                    clock: self.clock,
                    timeout: self.timeout,
                    log: ThrottledLog::default(),
                })))
            }
            _ => Err(problems.into_error()),
        }
    }

    fn checked_client_id(&self) -> Result<String, String> {
        let source = "copy \"Application (client) ID\" from the app registration's Overview page";
        let id = self.client_id.as_deref().unwrap_or_default().trim();
        if id.is_empty() {
            return Err(format!("not set; {source}"));
        }
        // Entra does not accept braces and other notations of a GUID.
        match id.parse::<uuid::Uuid>() {
            Ok(parsed) if id.len() == 36 => Ok(parsed.to_string()),
            _ => {
                let fault = slip_in(id).unwrap_or("is not a GUID");
                Err(format!("\"{}\" {fault}; {source}", printable_url(id)))
            }
        }
    }
}

impl fmt::Debug for ConfidentialClientBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConfidentialClientBuilder")
            .field("authority", &self.authority.as_deref().map(printable_url))
            .field("client_id", &self.client_id.as_deref().map(printable_url))
            .field("credential", &self.credential)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
