//! Answers over HTTP.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONNECTION,
    CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION, PRAGMA, REFERRER_POLICY, RETRY_AFTER,
    SET_COOKIE, TRANSFER_ENCODING, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, Version};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::oauth::error::{Code, OAuthError};
use crate::telemetry::spans;

/// An answer, whole.
pub(crate) type Answer = Response<Full<Bytes>>;

pub(crate) fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

/// Sets a header to a constant, without a copy.
pub(crate) fn set_static(answer: &mut Answer, name: HeaderName, value: &'static str) {
    answer
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}

/// Begins each answer of this server's own: a browser takes its body for nothing but what its content
/// type says.
pub(crate) fn of_status(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    set_static(&mut answer, X_CONTENT_TYPE_OPTIONS, "nosniff");
    answer
}

/// JSON that nobody keeps (RFC 6749 §5.1).
pub(crate) fn json(status: StatusCode, value: &Value) -> Answer {
    let mut answer = of_status(status);
    // Most fit: tokens are the longest.
    let mut body = Vec::with_capacity(4 * 1_024);
    if serde_json::to_writer(&mut body, value).is_err() {
        body.clear();
    }
    *answer.body_mut() = Full::new(body.into());
    set_static(&mut answer, CONTENT_TYPE, "application/json");
    set_static(&mut answer, CACHE_CONTROL, "no-store");
    set_static(&mut answer, PRAGMA, "no-cache");
    answer
}

/// It is done, and there is nothing more to say (RFC 7009 §2.2).
pub(crate) fn done() -> Answer {
    let mut answer = of_status(StatusCode::OK);
    set_static(&mut answer, CACHE_CONTROL, "no-store");
    set_static(&mut answer, PRAGMA, "no-cache");
    answer
}

/// RFC 6749 §5.2.
pub(crate) fn oauth_error(error: &OAuthError) -> Answer {
    let body = json!({
        "error": error.code.as_str(),
        "error_description": error.description,
    });
    let mut answer = json(error.code.status(), &body);
    if error.code == Code::InvalidClient {
        set(
            &mut answer,
            WWW_AUTHENTICATE,
            "Basic realm=\"token endpoint\"",
        );
    }
    spans::mark(&mut answer, error);
    if let Some(wait) = error.retry_after {
        set(&mut answer, RETRY_AFTER, &wait.as_secs().max(1).to_string());
    }
    answer
}

/// Sends a browser elsewhere by GET, whatever it came with: never 307 or 308, which would repeat a
/// form there.
pub(crate) fn see_other(location: &str) -> Answer {
    let mut answer = of_status(StatusCode::SEE_OTHER);
    set(&mut answer, LOCATION, location);
    set_static(&mut answer, CACHE_CONTROL, "no-store");
    set_static(&mut answer, REFERRER_POLICY, "no-referrer");
    answer
}

pub(crate) fn add_cookie(answer: &mut Answer, cookie: &str) {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        answer.headers_mut().append(SET_COOKIE, value);
    }
}

/// Says that the connection ends, as there is a body that nobody read: a server closes where that has
/// not arrived yet, and a client that is not told (RFC 9112 §9.6) sends its next request into it.
pub(crate) fn ends_connection(answer: &mut Answer) {
    set_static(answer, CONNECTION, "close");
}

/// Whether a body comes with the head, by a protocol in which it is in the way of what follows.
pub(crate) fn has_body_in_the_way(head: &Parts) -> bool {
    let length = head.headers.get(CONTENT_LENGTH);
    let has_body =
        head.headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != "0");
    has_body && head.version <= Version::HTTP_11
}

/// The method is none of the endpoint's.
pub(crate) fn method_not_allowed(methods: &str) -> Answer {
    let mut answer = of_status(StatusCode::METHOD_NOT_ALLOWED);
    set(&mut answer, ALLOW, methods);
    answer
}

/// The answer to a preflight: scripts of any origin may ask, as no cookie counts here.
pub(crate) fn preflight(methods: &str) -> Answer {
    let mut answer = of_status(StatusCode::NO_CONTENT);
    set(&mut answer, ALLOW, methods);
    set(&mut answer, ACCESS_CONTROL_ALLOW_METHODS, methods);
    set_static(
        &mut answer,
        ACCESS_CONTROL_ALLOW_HEADERS,
        "authorization, content-type, mcp-protocol-version, *",
    );
    set_static(&mut answer, ACCESS_CONTROL_MAX_AGE, "86400");
    for_scripts(answer)
}

/// Lets scripts of any origin read the answer.
pub(crate) fn for_scripts(mut answer: Answer) -> Answer {
    set_static(&mut answer, ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set_static(
        &mut answer,
        ACCESS_CONTROL_EXPOSE_HEADERS,
        "www-authenticate, retry-after",
    );
    answer
}
