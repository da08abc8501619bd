//! What the token endpoint answered: read within bounds, and told as tokens or as an error.

use std::time::Duration;

use bytes::Bytes;
use entra_http::retry_after;
use http::{Response, StatusCode};
use serde_json::{Map, Value};

use crate::classify::classify;
use crate::error::{Details, TokenError, TokenErrorKind};
use crate::request::SentSecrets;
use crate::response::TokenResponse;
use crate::secret::Secret;

/// Tokens of users in very many groups have some tens of KiB.
pub(crate) const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// The longest that anybody is told to wait.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// The answer, read to its end; without a body if that is longer than anything that Entra says.
type Answer = Response<Option<Bytes>>;

/// Returns the tokens in an answer, or what it says in their place.
pub(crate) fn tokens(answer: &Answer, sent: &SentSecrets) -> Result<TokenResponse, TokenError> {
    let document = document(answer);
    if answer.status() != StatusCode::OK {
        return Err(refusal(answer, &document.unwrap_or_default(), sent));
    }
    document
        .and_then(|document| tokens_in(&document))
        .map_err(|problem| {
            let mut details = Details::new(TokenErrorKind::BadAnswer).text(problem);
            details.status = Some(answer.status());
            details.into()
        })
}

fn document(answer: &Answer) -> Result<Map<String, Value>, &'static str> {
    let Some(body) = answer.body() else {
        return Err("the answer is longer than any of Entra's");
    };
    serde_json::from_slice(body).map_err(|_| "the answer is no JSON object")
}

fn refusal(answer: &Answer, document: &Map<String, Value>, sent: &SentSecrets) -> TokenError {
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
        answer.status(),
        word("error"),
        word("suberror"),
        claims.is_some(),
    );
    let mut details = Details::new(kind);
    details.status = Some(answer.status());
    details.error = shown("error", text("error"));
    details.suberror = shown("suberror", text("suberror"));
    details.claims = claims.map(str::to_owned);
    let codes = document.get("error_codes").and_then(Value::as_array);
    let codes = codes.into_iter().flatten().filter_map(Value::as_u64);
    details.error_codes = codes.take(8).collect();
    details.correlation_id = shown("correlation_id", text("correlation_id"));
    details.trace_id = shown("trace_id", text("trace_id"));
    details.timestamp = shown("timestamp", text("timestamp"));
    details.retry_after = retry_after(answer.headers()).map(|wait| wait.min(MAX_RETRY_AFTER));
    details.into()
}

/// The tokens in a good answer (RFC 6749 §5.1). The error says what is wrong with it.
fn tokens_in(document: &Map<String, Value>) -> Result<TokenResponse, &'static str> {
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

#[cfg(test)]
mod tests {
    use http::header::RETRY_AFTER;

    use super::*;

    #[test]
    fn five_minutes_are_the_longest_that_anybody_is_told_to_wait() {
        for (said, expected) in [("7", 7), ("86400", 300), ("99999999999999999999", 300)] {
            let answer = Response::builder().status(429).header(RETRY_AFTER, said);
            let error = tokens(&answer.body(None).unwrap(), &SentSecrets::default()).unwrap_err();
            assert_eq!(error.retry_after(), Some(Duration::from_secs(expected)));
        }
    }
}
