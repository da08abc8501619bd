//! The one place that turns refusals into responses.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;

use crate::refusal::Refusal;

/// How much a refused caller learns. The log always has everything.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum RefusalDetail {
    /// The machine code, such as `expired` or `wrong_audience`.
    #[default]
    Code,
    /// The code and what to do about it: for development.
    Full,
    /// Nothing beyond the status and RFC 6750's `error`.
    None,
}

/// Which protocol the answer must speak.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Protocol {
    Http,
    Grpc,
}

impl Protocol {
    /// gRPC, if the content type is `application/grpc` or `application/grpc+…`.
    pub(crate) fn of(request: &HeaderMap) -> Self {
        const GRPC: &[u8] = b"application/grpc";

        let content_type = request
            .get(CONTENT_TYPE)
            .map_or(&b""[..], HeaderValue::as_bytes);
        match content_type.split_at_checked(GRPC.len()) {
            Some((start, [] | [b'+' | b';' | b' ', ..])) if start.eq_ignore_ascii_case(GRPC) => {
                Self::Grpc
            }
            _ => Self::Http,
        }
    }
}

/// The answer to a refused request.
pub(crate) fn response(
    refusal: &Refusal,
    detail: RefusalDetail,
    protocol: Protocol,
) -> Response<Full<Bytes>> {
    let kind = Kind::of(refusal);
    let description = description(refusal, detail);

    let mut response = match protocol {
        Protocol::Http => {
            let body = match &description {
                Some(text) => Full::from([text, "\n"].concat()),
                None => Full::default(),
            };
            let mut response = Response::new(body);
            *response.status_mut() = kind.status;
            if description.is_some() {
                insert(&mut response, CONTENT_TYPE, PLAIN_TEXT);
            }
            response
        }
        // Trailers only: the status is in the headers, and no body follows.
        Protocol::Grpc => {
            let mut response = Response::new(Full::default());
            insert(&mut response, CONTENT_TYPE, GRPC);
            insert(
                &mut response,
                GRPC_STATUS,
                HeaderValue::from_static(kind.grpc_status),
            );
            if let Some(text) = &description {
                insert_text(&mut response, GRPC_MESSAGE, grpc_message(text));
            }
            response
        }
    };
    if let Some(error) = kind.challenge {
        let challenge = challenge(error, description.as_deref());
        insert_text(&mut response, WWW_AUTHENTICATE, challenge);
    }
    if let Refusal::Unavailable { retry_after, .. } = refusal {
        let seconds = retry_after.as_secs_f64().ceil().max(1.0);
        insert_text(&mut response, RETRY_AFTER, format!("{seconds}"));
    }
    response
}

const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// One row of the table of answers.
struct Kind {
    status: StatusCode,
    grpc_status: &'static str,
    /// RFC 6750's `error` (§3.1); the inner `None` is the bare challenge.
    challenge: Option<Option<&'static str>>,
}

impl Kind {
    fn of(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::NoCredentials => Self {
                status: StatusCode::UNAUTHORIZED,
                grpc_status: "16",
                challenge: Some(None),
            },
            Refusal::Authorization(_) | Refusal::Rejected { .. } => Self {
                status: StatusCode::UNAUTHORIZED,
                grpc_status: "16",
                challenge: Some(Some("invalid_token")),
            },
            Refusal::Denied(_) => Self {
                status: StatusCode::FORBIDDEN,
                grpc_status: "7",
                challenge: Some(Some("insufficient_scope")),
            },
            Refusal::Unavailable { .. } => Self {
                status: StatusCode::SERVICE_UNAVAILABLE,
                grpc_status: "14",
                challenge: None,
            },
            #[cfg(feature = "axum")]
            Refusal::WrongLayer => Self {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                grpc_status: "13",
                challenge: None,
            },
        }
    }
}

fn description(refusal: &Refusal, detail: RefusalDetail) -> Option<Cow<'static, str>> {
    match (detail, refusal.public_code()) {
        (RefusalDetail::None, _) | (RefusalDetail::Code, None) => None,
        (RefusalDetail::Code, Some(code)) => Some(code.into()),
        (RefusalDetail::Full, None) => Some(refusal.public_remedy()),
        (RefusalDetail::Full, Some(code)) => {
            Some(format!("{code}: {}", refusal.public_remedy()).into())
        }
    }
}

/// One header line in the one form that all known clients parse: the scheme literally `Bearer`,
/// every value quoted, `error` first and `error_description` last.
fn challenge(error: Option<&str>, description: Option<&str>) -> String {
    let Some(error) = error else {
        return "Bearer".to_owned();
    };
    match description {
        None => ["Bearer error=\"", error, "\""].concat(),
        Some(description) => [
            "Bearer error=\"",
            error,
            "\", error_description=\"",
            &quotable(description),
            "\"",
        ]
        .concat(),
    }
}

/// Only the characters of RFC 6750 §3, and nothing that looks like another parameter: clients
/// search the whole header for `scope=`.
fn quotable(text: &str) -> Cow<'_, str> {
    if text.bytes().all(is_quotable) {
        return text.into();
    }
    text.chars()
        .map(|character| match character {
            '"' => '\'',
            '\\' => '/',
            '=' => ' ',
            ' '..='~' => character,
            _ => '?',
        })
        .collect()
}

fn is_quotable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\' | b'=')
}

/// Percent-encoded as the gRPC protocol over HTTP/2 demands.
fn grpc_message(text: &str) -> String {
    let mut message = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            message.push(char::from(byte));
        } else {
            let _ = write!(message, "%{byte:02X}");
        }
    }
    message
}

fn insert(response: &mut Response<Full<Bytes>>, name: HeaderName, value: HeaderValue) {
    response.headers_mut().insert(name, value);
}

fn insert_text(response: &mut Response<Full<Bytes>>, name: HeaderName, value: String) {
    // Every value above is printable ASCII; one that were not would be left out, not panic.
    if let Ok(value) = HeaderValue::try_from(value) {
        insert(response, name, value);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use entra_jwt_core::{Denied, Rejection};

    use super::*;
    use crate::unavailable::Unavailable;

    fn header(response: &Response<Full<Bytes>>, name: &str) -> Option<String> {
        let value = response.headers().get(name)?;
        Some(value.to_str().unwrap().to_owned())
    }

    fn expired() -> Refusal {
        Rejection::Expired {
            seconds_ago: 400,
            skew: 300,
        }
        .into()
    }

    #[test]
    fn the_challenge_has_the_one_form_that_clients_parse() {
        for (refusal, status, expected) in [
            (Refusal::NoCredentials, 401, "Bearer"),
            (
                expired(),
                401,
                "Bearer error=\"invalid_token\", error_description=\"expired\"",
            ),
            (
                Refusal::Denied(Denied::NoPermission),
                403,
                "Bearer error=\"insufficient_scope\", error_description=\"no_permission\"",
            ),
        ] {
            let response = response(&refusal, RefusalDetail::Code, Protocol::Http);
            assert_eq!(response.status(), status);
            assert_eq!(
                header(&response, "www-authenticate").as_deref(),
                Some(expected)
            );
        }
    }

    #[test]
    fn the_detail_decides_what_a_caller_learns() {
        let challenge = |detail| {
            let response = response(&expired(), detail, Protocol::Http);
            header(&response, "www-authenticate").unwrap()
        };
        assert_eq!(
            challenge(RefusalDetail::None),
            "Bearer error=\"invalid_token\""
        );
        assert!(challenge(RefusalDetail::Full).contains("expired: get a new token"));
        assert!(!challenge(RefusalDetail::Code).contains("get a new token"));
    }

    #[test]
    fn no_description_can_look_like_another_parameter() {
        let text = challenge(
            Some("invalid_token"),
            Some("a \"b\" \\ scope=x\r\nresource_metadata=é"),
        );
        assert_eq!(
            text,
            "Bearer error=\"invalid_token\", error_description=\"a 'b' / scope x??resource_metadata ?\""
        );
    }

    #[test]
    fn grpc_is_answered_with_trailers_only() {
        let unavailable = Refusal::Unavailable {
            cause: Unavailable::TimedOut,
            retry_after: Duration::from_millis(1_200),
        };
        for (refusal, status, message) in [
            (Refusal::NoCredentials, "16", None),
            (expired(), "16", Some("expired")),
            (
                Refusal::Denied(Denied::NoPermission),
                "7",
                Some("no_permission"),
            ),
            (unavailable, "14", Some("keys_unavailable")),
        ] {
            let response = response(&refusal, RefusalDetail::Code, Protocol::Grpc);
            assert_eq!(response.status(), 200);
            assert_eq!(
                header(&response, "content-type").unwrap(),
                "application/grpc"
            );
            assert_eq!(header(&response, "grpc-status").unwrap(), status);
            assert_eq!(header(&response, "grpc-message").as_deref(), message);
            assert!(http_body::Body::is_end_stream(response.body()));
        }
        assert_eq!(grpc_message("50 % é\n"), "50 %25 %C3%A9%0A");
    }

    #[test]
    fn unavailable_says_when_to_ask_again_in_whole_seconds() {
        for (retry_after, seconds) in [(0, "1"), (900, "1"), (1_200, "2"), (30_000, "30")] {
            let refusal = Refusal::Unavailable {
                cause: Unavailable::TimedOut,
                retry_after: Duration::from_millis(retry_after),
            };
            let response = response(&refusal, RefusalDetail::Code, Protocol::Http);
            assert_eq!(response.status(), 503);
            assert_eq!(header(&response, "retry-after").unwrap(), seconds);
            assert_eq!(header(&response, "www-authenticate"), None);
        }
    }

    #[test]
    fn grpc_is_known_by_its_content_type() {
        for (content_type, protocol) in [
            ("application/grpc", Protocol::Grpc),
            ("application/grpc+proto", Protocol::Grpc),
            ("Application/GRPC; charset=x", Protocol::Grpc),
            ("application/grpc-web+proto", Protocol::Http),
            ("application/grpcx", Protocol::Http),
            ("application/json", Protocol::Http),
            ("", Protocol::Http),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
            assert_eq!(Protocol::of(&headers), protocol, "{content_type}");
        }
        assert_eq!(Protocol::of(&HeaderMap::new()), Protocol::Http);
    }
}
