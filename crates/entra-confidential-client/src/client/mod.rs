//! The client: one request, from the credential to the tokens.

mod authority;
mod builder;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use entra_http::{BoxError, Failure, FailureCause, HttpClient, ProxyFailure, ThrottledLog};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Request};
use tokio::time::{Instant, sleep, timeout};

use self::authority::Authority;
pub use self::builder::ConfidentialClientBuilder;
use crate::credential::Credential;
use crate::error::{TokenError, TokenErrorKind};
use crate::request::{SentSecrets, TokenRequest};
use crate::response::TokenResponse;
use crate::text::{new_guid, printable};

type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// A client that gets tokens from Entra for one application.
///
/// It is a handle that is cheap to clone.
#[derive(Clone)]
pub struct ConfidentialClient(Arc<ClientState>);

/// The settings and the log of a client, shared by its handles.
///
/// No field belongs to one tenant only, because each request may go to another tenant.
struct ClientState {
    authority: Authority,
    client_id: String,
    credential: Credential,
    http: HttpClient,
    clock: Clock,
    timeout: Duration,
    /// The rate-limited log of errors.
    ///
    /// Strangers can cause errors, because any visitor of a callback URL can send a code. The keys
    /// distinguish errors by what an operator can do about them.
    log: ThrottledLog<(TokenErrorKind, &'static str)>,
}

impl ConfidentialClient {
    /// Longest `Retry-After` for which the client waits itself. A longer one is returned to the
    /// caller.
    const MAX_WAIT: Duration = Duration::from_secs(2);

    /// The pause before a repetition if Entra names no time.
    const PAUSE: Duration = Duration::from_millis(500);

    /// Returns the "Application (client) ID".
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.0.client_id
    }

    /// Returns the URL of the authority, without a slash at its end.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.0.authority.as_str()
    }

    /// Returns the URL that receives requests without a [tenant](TokenRequest::tenant) of their
    /// own.
    #[must_use]
    pub fn token_endpoint(&self) -> &str {
        self.0.authority.endpoint()
    }

    /// Sends the request and returns the tokens of the response.
    ///
    /// No token is cached: each call sends a request.
    ///
    /// A request is repeated at most once, and only if at least half of the [timeout] is left for
    /// the repetition:
    ///
    /// - immediately, if the standard client could not even connect
    /// - immediately, if the connection broke ([`NoResponse`](TokenErrorKind::NoResponse))
    /// - after a `Retry-After` of 2 s or less, if Entra is busy
    ///   ([`Throttled`](TokenErrorKind::Throttled) or [`Unavailable`](TokenErrorKind::Unavailable))
    /// - after half a second, if Entra is `Unavailable` and names no time, such as a 500, 502, 503
    ///   or 504 without `Retry-After`
    /// - after half a second, if the response has status 200, but no tokens: HTML, or JSON that ends
    ///   in the middle ([`InvalidResponse`](TokenErrorKind::InvalidResponse))
    ///
    /// A request that redeems an authorization code is repeated in the first case only, because
    /// Entra takes a second use of a code for theft. A longer `Retry-After` is respected: a server
    /// that names a time is not asked sooner. `Throttled` without a time and AADSTS50196 are not
    /// repeated: too many requests are their cause.
    ///
    /// Dropping the future ends the request.
    ///
    /// [timeout]: ConfidentialClientBuilder::timeout
    ///
    /// # Errors
    /// If there are no tokens. The error's [`kind`](TokenError::kind) says what can be done about
    /// it.
    ///
    /// The client logs errors itself, in addition to what the caller does. The first error of a
    /// kind and remedy is logged at WARN, then at most one a minute, with the number of errors. All
    /// others are logged at DEBUG.
    pub async fn send(&self, request: TokenRequest) -> Result<TokenResponse, TokenError> {
        let request_id = request.own_correlation_id().map(str::to_owned);
        let request_id = request_id.or_else(new_guid);
        // On the heap, so that the caller's future stays small.
        let attempts = Box::pin(self.attempts(&request, request_id.as_deref()));
        let result = timeout(self.0.timeout, attempts).await.unwrap_or_else(|_| {
            let (place, _) = self.0.authority.place();
            let text = format!("no response from {place} within {:?}", self.0.timeout);
            Err(TokenError::no_response(text, false))
        });
        result.map_err(|error| {
            let (_, is_local) = self.0.authority.place();
            let error = error.of_request((request.grant_type(), is_local), request_id);
            let tenant = request.own_tenant();
            // An invalid tenant may be any text, so it is not logged.
            let tenant = tenant.filter(|_| self.0.authority.endpoint_of(tenant).is_ok());
            let count = self.0.log.due((error.kind(), error.remedy()));
            error.log(count, tenant);
            error
        })
    }

    async fn attempts(
        &self,
        request: &TokenRequest,
        request_id: Option<&str>,
    ) -> Result<TokenResponse, TokenError> {
        let misconfigured = |problem| TokenError::new(TokenErrorKind::Misconfigured, problem);
        if let Some(problem) = request.problem() {
            return Err(misconfigured(problem));
        }
        let endpoint = self.0.authority.endpoint_of(request.own_tenant());
        let endpoint = endpoint.map_err(misconfigured)?;
        let started = Instant::now();
        let error = match self.attempt(request, &endpoint, request_id).await {
            Ok(tokens) => return Ok(tokens),
            Err(error) => error,
        };
        match wait_before_repeating(request, &error) {
            Some(wait) if started.elapsed() + wait <= self.0.timeout / 2 => {
                tracing::debug!(class = error.code(), ?wait, "retrying a token request");
                sleep(wait).await;
                self.attempt(request, &endpoint, request_id).await
            }
            _ => Err(error),
        }
    }

    async fn attempt(
        &self,
        request: &TokenRequest,
        endpoint: &str,
        request_id: Option<&str>,
    ) -> Result<TokenResponse, TokenError> {
        let ClientState {
            client_id,
            credential,
            http,
            clock,
            authority,
            ..
        } = &*self.0;
        let proof = credential
            .prove(client_id, endpoint, clock())
            .await
            .map_err(|why| TokenError::new(TokenErrorKind::CredentialUnavailable, why))?;
        let (body, secrets) = request.form(client_id, &proof);

        let mut request = Request::post(endpoint);
        if let Some(headers) = request.headers_mut() {
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert(CONTENT_TYPE, form);
            headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
            let request_id = request_id.and_then(|id| HeaderValue::from_str(id).ok());
            if let Some(request_id) = request_id {
                headers.insert("client-request-id", request_id);
            }
        }
        let no_response = |error: BoxError| no_response(&error, &authority.place().0, &secrets);
        let request = request
            .body(body)
            .map_err(|error| no_response(error.into()))?;
        let response = http.send(request, TokenResponse::MAX_BYTES).await;
        TokenResponse::read(&response.map_err(no_response)?, &secrets)
    }
}

/// Returns the wait before the request is repeated, or `None` if it is not: see
/// [`ConfidentialClient::send`].
fn wait_before_repeating(request: &TokenRequest, error: &TokenError) -> Option<Duration> {
    if error.was_not_sent() {
        return Some(Duration::ZERO);
    }
    if !request.is_repeatable() || error.is_loop() {
        return None;
    }
    let wait = match error.kind() {
        TokenErrorKind::Throttled => error.retry_after()?,
        TokenErrorKind::Unavailable => error.retry_after().unwrap_or(ConfidentialClient::PAUSE),
        // The time limit is not among these errors: it ends the repetition as well.
        TokenErrorKind::NoResponse => Duration::ZERO,
        TokenErrorKind::InvalidResponse if error.status() == Some(200) => ConfidentialClient::PAUSE,
        _ => return None,
    };
    (wait <= ConfidentialClient::MAX_WAIT).then_some(wait)
}

/// Builds the error of a request to this host and port that got no response.
///
/// The text contains nothing of what was sent.
fn no_response(error: &BoxError, place: &str, sent: &SentSecrets) -> TokenError {
    let failure = Failure::of(error);
    let was_not_sent = failure.is_some_and(|failure| failure.was_not_sent);
    let what = match failure {
        None => "the HTTP client failed",
        Some(_) if !was_not_sent => "the connection broke",
        Some(failure) => match failure.cause {
            FailureCause::Dns => "DNS does not know the host",
            FailureCause::Tls => "TLS failed",
            FailureCause::Proxy(ProxyFailure::Unreachable) => "the proxy cannot be reached",
            FailureCause::Proxy(ProxyFailure::Credentials) => {
                "the proxy asks for credentials (407)"
            }
            FailureCause::Proxy(ProxyFailure::Refused) => "the proxy refused to connect",
            FailureCause::Connect => "no connection",
        },
    };
    let mut cause = &**error as &dyn std::error::Error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let cause = cause.to_string();
    let text = if sent.are_in(&cause) {
        format!("no response from {place}: {what}")
    } else {
        format!("no response from {place}: {what}: {}", printable(&cause))
    };
    TokenError::no_response(text, was_not_sent)
}

impl fmt::Debug for ConfidentialClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConfidentialClient")
            .field("authority", &self.authority())
            .field("client_id", &self.client_id())
            .field("credential", &self.0.credential)
            .finish_non_exhaustive()
    }
}
