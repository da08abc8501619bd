//! What the token endpoint answered: read within bounds, and told as tokens or as an error.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Collected, LengthLimitError, Limited};
use serde_json::{Map, Value};

use crate::classify::classify;
use crate::error::{Details, TokenError, TokenErrorKind};
use crate::http_client::BoxError;
use crate::request::SentSecrets;
use crate::response::TokenResponse;
use crate::retry_after::retry_after;
use crate::secret::Secret;

/// Tokens of users in very many groups have some tens of KiB.
const MOST_BYTES: usize = 256 * 1024;

/// An answer, read to its end.
pub(crate) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    /// `None` if it is longer than anything that Entra says.
    body: Option<Bytes>,
}

/// Not an `async fn`: inside one, the compiler forgets that the error's conversion is into itself, and
/// the futures of callers would not be known to be `Send`.
fn read_to_end(body: AnswerBody) -> Pin<Box<dyn Future<Output = ReadBody> + Send>> {
    Box::pin(Limited::new(body, MOST_BYTES).collect())
}

type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;
type ReadBody = Result<Collected<Bytes>, BoxError>;

impl Answer {
    pub(crate) async fn read(response: Response<AnswerBody>) -> Result<Self, BoxError> {
        let (head, body) = response.into_parts();
        let body = match read_to_end(body).await {
            Ok(body) => Some(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    pub(crate) fn tokens(&self, sent: &SentSecrets) -> Result<TokenResponse, TokenError> {
        let document = self.document();
        if self.status != StatusCode::OK {
            return Err(self.refusal(&document.unwrap_or_default(), sent));
        }
        document
            .and_then(|document| tokens(&document))
            .map_err(|problem| {
                let mut details = Details::new(TokenErrorKind::BadAnswer).text(problem);
                details.status = Some(self.status);
                details.into()
            })
    }

    fn document(&self) -> Result<Map<String, Value>, &'static str> {
        let Some(body) = &self.body else {
            return Err("the answer is longer than any of Entra's");
        };
        serde_json::from_slice(body).map_err(|_| "the answer is no JSON object")
    }

    fn refusal(&self, document: &Map<String, Value>, sent: &SentSecrets) -> TokenError {
        let text = |name| document.get(name).and_then(Value::as_str);
        let word = |name| text(name).filter(|text| is_word(text));
        // As it may be printed: nothing of what was sent, even if it came back.
        let shown = |name: &str, text: Option<&str>| {
            let text = text.filter(|text| !sent.are_in(text));
            text.filter(|text| is_word(text) || name == "timestamp" && is_time(text))
                .map(str::to_owned)
        };
        let claims = text("claims").filter(|claims| !claims.is_empty());
        let kind = classify(
            self.status,
            word("error"),
            word("suberror"),
            claims.is_some(),
        );
        let mut details = Details::new(kind);
        details.status = Some(self.status);
        details.error = shown("error", text("error"));
        details.suberror = shown("suberror", text("suberror"));
        details.claims = claims.map(str::to_owned);
        let codes = document.get("error_codes").and_then(Value::as_array);
        let codes = codes.into_iter().flatten().filter_map(Value::as_u64);
        details.error_codes = codes.take(8).collect();
        details.correlation_id = shown("correlation_id", text("correlation_id"));
        details.trace_id = shown("trace_id", text("trace_id"));
        details.timestamp = shown("timestamp", text("timestamp"));
        details.retry_after = retry_after(&self.headers);
        details.into()
    }
}

/// The tokens in a good answer (RFC 6749 §5.1). The error says what is wrong with it.
fn tokens(document: &Map<String, Value>) -> Result<TokenResponse, &'static str> {
    let text = |name| {
        let text = document.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
    };
    let access_token = text("access_token").ok_or("the answer has no access_token")?;
    if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err("the token is no bearer token (token_type)");
    }
    let expires_in = document
        .get("expires_in")
        .and_then(seconds)
        .ok_or("the answer does not say for how long the token is good (expires_in)")?;
    Ok(TokenResponse {
        access_token: access_token.into(),
        refresh_token: text("refresh_token").map(Secret::from),
        id_token: text("id_token").map(Secret::from),
        expires_in,
        scope: text("scope").map(str::to_owned),
    })
}

/// A number, or a string of one as Entra's older endpoints have it; positive, and never so much
/// that adding it to a time fails.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = value
        .as_u64()
        .or_else(|| value.as_str().and_then(|text| text.parse().ok()))?;
    (seconds > 0).then(|| Duration::from_secs(seconds.min(u64::from(u32::MAX))))
}

/// As `error`, `suberror` and ids are.
fn is_word(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// As in `2026-11-26 13:00:00Z`.
fn is_time(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_digit() || b"-: TZ.+".contains(&byte);
    (1..=40).contains(&text.len()) && text.bytes().all(is_allowed)
}
