//! What operators see of requests: a span around each, with what joins it to the others of the same
//! sign-in and to Entra's own log; and what it came to.
//!
//! Nothing of a person, no token, code or `state` becomes part of it: clients are known by the hash of
//! their id, sign-ins and grants by random ids.

use std::time::Duration;

use entra_confidential_client::{TokenError, TokenRequest, TokenResponse};
use http::StatusCode;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::http::response::Answer;
use crate::oauth::error::OAuthError;
use crate::proxy::Inner;
use crate::telemetry::metrics;

/// What an answer is, if its status does not say it: the code of an error that a client is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome(pub(crate) &'static str);

impl Outcome {
    fn of(answer: &Answer) -> &'static str {
        let said = answer.extensions().get::<Self>();
        said.map_or_else(|| by_status(answer.status()), |said| said.0)
    }
}

fn by_status(status: StatusCode) -> &'static str {
    match status {
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
        StatusCode::TOO_MANY_REQUESTS => "too_many_requests",
        status if status.is_server_error() => "unavailable",
        status if status.is_client_error() => "bad_request",
        _ => "ok",
    }
}

/// The answer says so to whoever counts it.
pub(crate) fn mark(answer: &mut Answer, error: &OAuthError) {
    let outcome = match error.code.status() {
        StatusCode::TOO_MANY_REQUESTS => "too_many_requests",
        _ => error.code.as_str(),
    };
    answer.extensions_mut().insert(Outcome(outcome));
}

/// The span around one request.
pub(crate) fn span(endpoint: &'static str) -> Span {
    tracing::info_span!(
        "entra_oauth_proxy",
        endpoint,
        client = Empty,
        sign_in = Empty,
        grant = Empty,
        outcome = Empty,
    )
}

/// The request was answered.
pub(crate) fn answered(span: &Span, endpoint: &'static str, answer: &Answer, took: Duration) {
    let outcome = Outcome::of(answer);
    span.record("outcome", outcome);
    metrics::request(endpoint, outcome, took);
}

/// It is known which client the request is of, by the hash of its id.
pub(crate) fn client(hash: &str) {
    Span::current().record("client", hash);
}

/// It is known which sign-in the request is of: Entra's log has the same as its correlation id.
pub(crate) fn sign_in(id: &str) {
    Span::current().record("sign_in", id);
}

/// It is known which grant the request is of.
pub(crate) fn grant(id: &str) {
    Span::current().record("grant", id);
}

/// What was used again by somebody who should not have it any more.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reused {
    /// A refresh token, long after it was replaced.
    RefreshToken,
    /// A code, by whoever could prove it.
    Code,
}

impl Reused {
    pub(crate) const ALL: [Self; 2] = [Self::RefreshToken, Self::Code];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::RefreshToken => "refresh_token",
            Self::Code => "code",
        }
    }
}

impl Inner {
    /// Asks Entra for tokens, seen by operators.
    pub(crate) async fn ask(
        &self,
        grant_type: &'static str,
        request: TokenRequest,
    ) -> Result<TokenResponse, TokenError> {
        let span = tracing::info_span!("entra_token_request", grant_type, outcome = Empty);
        let began = Instant::now();
        let result = self.entra.send(request).instrument(span.clone()).await;
        let outcome = match &result {
            Ok(_) => "ok",
            Err(error) => error.kind().as_str(),
        };
        span.record("outcome", outcome);
        metrics::entra_request(grant_type, outcome, began.elapsed());
        result
    }
}
