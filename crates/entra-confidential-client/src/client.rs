//! The client: one request, from the credential to the tokens.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Request};
use tokio::time::{Instant, sleep, timeout};

use crate::answer::Answer;
use crate::builder::ConfidentialClientBuilder;
use crate::credential::Credential;
use crate::endpoint::TokenEndpoint;
use crate::error::{Details, TokenError, TokenErrorKind};
use crate::guid::guid;
use crate::http_client::{BoxError, Failure, HttpClient};
use crate::log::ErrorLog;
use crate::request::{Form, SentSecrets, TokenRequest};
use crate::response::TokenResponse;
use crate::text::printable;

pub(crate) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Gets tokens from Entra for one application. A cheap handle: clone it.
#[derive(Clone)]
pub struct ConfidentialClient(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) endpoint: TokenEndpoint,
    pub(crate) client_id: String,
    pub(crate) credential: Credential,
    pub(crate) http: HttpClient,
    pub(crate) clock: Clock,
    pub(crate) timeout: Duration,
    pub(crate) log: ErrorLog,
}

impl ConfidentialClient {
    /// The longest `Retry-After` that is waited for here rather than handed on.
    const LONGEST_WAIT: Duration = Duration::from_secs(2);

    /// Begins with no settings.
    pub fn builder() -> ConfidentialClientBuilder {
        ConfidentialClientBuilder::new()
    }

    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// "Application (client) ID".
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.0.client_id
    }

    /// Where requests go.
    #[must_use]
    pub fn token_endpoint(&self) -> &str {
        self.0.endpoint.as_str()
    }

    /// Sends the request, and returns the tokens of the answer. Nothing is kept: whoever wants
    /// tokens again asks again.
    ///
    /// A request is repeated once at most, if half of the [timeout] is left when it starts again:
    /// at once if the standard client could not even connect, and, unless it redeems an
    /// authorization code, after a `Retry-After` of 2 s or less that came with 429 or 5xx.
    /// Otherwise a code would be used twice, which Entra takes for theft.
    ///
    /// Dropping the future ends the request.
    ///
    /// [timeout]: ConfidentialClientBuilder::timeout
    ///
    /// # Errors
    /// If there are no tokens, by [`kind`](TokenError::kind) of what can be done about it. The log
    /// has a line at WARN for the first of a kind and then for at most one a minute, with how many
    /// there were, on top of whatever the caller does; the others are at DEBUG.
    pub async fn send(&self, request: TokenRequest) -> Result<TokenResponse, TokenError> {
        let request_id = request.own_correlation_id().map(str::to_owned);
        let request_id = request_id.or_else(guid);
        // On the heap, so that the future of a caller stays small.
        let attempts = Box::pin(self.attempts(&request, request_id.as_deref()));
        let result = timeout(self.0.timeout, attempts).await.unwrap_or_else(|_| {
            let text = format!("no answer from Entra within {:?}", self.0.timeout);
            Err(Details::new(TokenErrorKind::NoAnswer).text(text).into())
        });
        result.map_err(|error| {
            let error = error.correlated(request_id);
            error.log(self.0.log.due(error.kind()));
            error
        })
    }

    async fn attempts(
        &self,
        request: &TokenRequest,
        request_id: Option<&str>,
    ) -> Result<TokenResponse, TokenError> {
        if let Some(problem) = request.problem() {
            return Err(Details::new(TokenErrorKind::Misconfigured)
                .text(problem)
                .into());
        }
        let started = Instant::now();
        let error = match self.attempt(request, request_id).await {
            Ok(tokens) => return Ok(tokens),
            Err(error) => error,
        };
        match wait_before_repeating(request, &error) {
            Some(wait) if started.elapsed() + wait <= self.0.timeout / 2 => {
                tracing::debug!(
                    class = error.kind().as_str(),
                    ?wait,
                    "repeating a token request"
                );
                sleep(wait).await;
                self.attempt(request, request_id).await
            }
            _ => Err(error),
        }
    }

    async fn attempt(
        &self,
        request: &TokenRequest,
        request_id: Option<&str>,
    ) -> Result<TokenResponse, TokenError> {
        let Inner {
            endpoint,
            client_id,
            credential,
            http,
            clock,
            ..
        } = &*self.0;
        let proof = credential
            .prove(client_id, endpoint.as_str(), clock())
            .await
            .map_err(|why| Details::new(TokenErrorKind::NoCredential).text(why))?;
        let Form { body, secrets } = request.form(client_id, &proof);

        let mut request = Request::post(endpoint.uri().clone());
        if let Some(headers) = request.headers_mut() {
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert(CONTENT_TYPE, form);
            headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
            let request_id = request_id.and_then(|id| HeaderValue::from_str(id).ok());
            if let Some(request_id) = request_id {
                headers.insert("client-request-id", request_id);
            }
        }
        let no_answer = |error: BoxError| no_answer(&error, &secrets);
        let request = request
            .body(body)
            .map_err(|error| no_answer(error.into()))?;
        let response = http.send(request).await.map_err(no_answer)?;
        let answer = Answer::read(response).await.map_err(no_answer)?;
        answer.tokens(&secrets)
    }
}

/// See [`ConfidentialClient::send`].
fn wait_before_repeating(request: &TokenRequest, error: &TokenError) -> Option<Duration> {
    if error.was_not_sent() {
        return Some(Duration::ZERO);
    }
    let is_busy = matches!(
        error.kind(),
        TokenErrorKind::Throttled | TokenErrorKind::Unavailable
    );
    let wait = error.retry_after()?;
    (is_busy && request.is_repeatable() && wait <= ConfidentialClient::LONGEST_WAIT).then_some(wait)
}

fn no_answer(error: &BoxError, sent: &SentSecrets) -> TokenError {
    let Failure { what, was_not_sent } = Failure::of(error);
    let mut cause = &**error as &dyn std::error::Error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let cause = cause.to_string();
    let text = if sent.are_in(&cause) {
        format!("no answer from Entra: {what}")
    } else {
        format!("no answer from Entra: {what}: {}", printable(&cause))
    };
    let mut details = Details::new(TokenErrorKind::NoAnswer).text(text);
    details.was_not_sent = was_not_sent;
    details.into()
}

impl fmt::Debug for ConfidentialClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConfidentialClient")
            .field("token_endpoint", &self.token_endpoint())
            .field("client_id", &self.client_id())
            .field("credential", &self.0.credential)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::Response;
    use http_body_util::Full;

    use super::*;
    use crate::request::AuthorizationCode;
    use crate::secret::Secret;

    const TOKENS: &str = r#"{"token_type":"Bearer","expires_in":60,"access_token":"token"}"#;

    /// A client to which no connection comes about so many times, and how often it was asked.
    fn unconnected(times: usize) -> (ConfidentialClient, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let service = tower::service_fn(move |_| {
            let is_refused = count.fetch_add(1, Ordering::Relaxed) < times;
            async move {
                if is_refused {
                    return Err(Failure::unconnected());
                }
                Ok(Response::new(Full::<bytes::Bytes>::from(TOKENS)))
            }
        });
        let entra = ConfidentialClient::builder()
            .token_endpoint("https://login.microsoftonline.com/t/oauth2/v2.0/token")
            .client_id("6e74172b-be56-4843-9ff4-e66a39bb12e3")
            .credential(Secret::new("secret"))
            .http_client(service)
            .build()
            .unwrap();
        (entra, asked)
    }

    #[tokio::test]
    async fn what_never_left_is_sent_again_once_even_a_code() {
        let code = AuthorizationCode {
            code: "code",
            redirect_uri: "https://app.contoso.com/callback",
            code_verifier: "verifier",
        };
        let request = TokenRequest::authorization_code(code, ["api://api/read"]);
        let (entra, asked) = unconnected(1);
        entra.send(request.clone()).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 2);

        let (entra, asked) = unconnected(3);
        let error = entra.send(request).await.unwrap_err();
        assert_eq!(error.kind(), TokenErrorKind::NoAnswer);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
