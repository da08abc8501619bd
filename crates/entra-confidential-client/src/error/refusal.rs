//! Refusals of the token endpoint.

use std::time::Duration;

use entra_http::retry_after;
use http::Response;
use serde_json::{Map, Value};

use super::numbers::LOOP;
use super::{ErrorParts, TokenError, TokenErrorKind};
use crate::request::SentSecrets;

/// Maximum wait that is passed on to the caller.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// Length of Entra's window for counting equal requests, after which the earlier ones no longer
/// count.
///
/// Source: <https://learn.microsoft.com/entra/identity-platform/reference-breaking-changes>, March
/// 2019.
const LOOP_WINDOW: Duration = Duration::from_secs(5 * 60);

/// Maximum number of AADSTS numbers that are kept for the log.
const MAX_CODES: usize = 8;

impl TokenError {
    /// Builds the error of a response whose status is not 200, with this document (RFC 6749 §5.2).
    ///
    /// No part of the request is printed, even if the response contains it.
    pub(crate) fn refusal<B>(
        response: &Response<B>,
        document: &Map<String, Value>,
        sent: &SentSecrets,
    ) -> Self {
        let text = |name| document.get(name).and_then(Value::as_str);
        let word = |name| text(name).filter(|text| is_word(text));
        let shown = |name: &'static str| {
            let text = text(name).filter(|text| !sent.are_in(text));
            text.filter(|text| is_word(text) || name == "timestamp" && is_time(text))
                .map(str::to_owned)
        };
        let claims = text("claims").filter(|claims| !claims.is_empty());
        let codes = document.get("error_codes").and_then(Value::as_array);
        let codes = codes.into_iter().flatten().filter_map(Value::as_u64);
        let mut codes: Vec<u64> = codes.collect();
        let kind = TokenErrorKind::of_refusal(
            response.status(),
            (word("error"), word("suberror")),
            &codes,
            claims.is_some(),
        );
        let retry_after = retry_after(response.headers()).map(|wait| wait.min(MAX_RETRY_AFTER));
        let is_loop = codes.contains(&LOOP);
        let passes = matches!(
            kind,
            TokenErrorKind::Throttled | TokenErrorKind::Unavailable
        );
        let wait = (is_loop && passes).then_some(LOOP_WINDOW);
        codes.truncate(MAX_CODES);
        Self::of(ErrorParts {
            status: Some(response.status()),
            error: shown("error"),
            suberror: shown("suberror"),
            claims: claims.map(str::to_owned),
            error_codes: codes,
            correlation_id: shown("correlation_id"),
            trace_id: shown("trace_id"),
            timestamp: shown("timestamp"),
            // For a loop, never earlier than its window: each request before that is part of it.
            retry_after: retry_after.max(wait),
            is_loop,
            ..ErrorParts::new(kind)
        })
    }
}

/// Returns whether the text looks like an `error`, a `suberror` or an id.
fn is_word(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// Returns whether the text looks like `2026-11-26 13:00:00Z`.
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
            let response = Response::builder().status(429).header(RETRY_AFTER, said);
            let response = response.body(()).unwrap();
            let error = TokenError::refusal(&response, &Map::new(), &SentSecrets::default());
            assert_eq!(error.retry_after(), Some(Duration::from_secs(expected)));
        }
    }
}
