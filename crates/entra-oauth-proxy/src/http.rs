//! HTTP for all endpoints: responses, cookies and request bodies.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use entra_http::BoxError;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, COOKIE, HeaderName, LOCATION, PRAGMA, REFERRER_POLICY, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Limited};
use serde_json::Value;
use tower_entra_auth::entra_jwt_core::integration::Escaped;
use tower_entra_auth::layer::AnswerBody;

use crate::telemetry::Finding;

/// A response with a complete body.
pub(crate) type Response = http::Response<AnswerBody>;

/// Sets a header to a constant, without copying the value.
pub(crate) fn set_static(response: &mut Response, name: HeaderName, value: &'static str) {
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}

/// Returns an empty response with `X-Content-Type-Options: nosniff`.
///
/// Every response of this server starts as this one. A browser then interprets the body only as its
/// content type says.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(AnswerBody::default());
    *response.status_mut() = status;
    set_static(&mut response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

/// Builds a JSON response that must not be cached (RFC 6749 §5.1).
pub(crate) fn json(status: StatusCode, value: &Value) -> Response {
    let mut response = empty(status);
    set_static(&mut response, CACHE_CONTROL, "no-store");
    set_static(&mut response, PRAGMA, "no-cache");
    // Enough for most responses. Those with tokens are the longest.
    let mut body = Vec::with_capacity(4 * 1_024);
    if serde_json::to_writer(&mut body, value).is_err() {
        body.clear();
    }
    *response.body_mut() = AnswerBody::from(body);
    set_static(&mut response, CONTENT_TYPE, "application/json");
    response
}

/// Redirects a browser with 303, so that it uses GET for any request.
///
/// 307 and 308 would send a form again to the new URL.
pub(crate) fn see_other(location: &str) -> Response {
    let mut response = empty(StatusCode::SEE_OTHER);
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    set_static(&mut response, CACHE_CONTROL, "no-store");
    set_static(&mut response, REFERRER_POLICY, "no-referrer");
    response
}

/// Purpose of a cookie.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CookieKind {
    /// A random secret, which binds a sign-in to its browser, from the consent page to the end.
    Consent,
    /// A sign-in in progress at Entra that is too long for a URL.
    SignIn,
}

impl CookieKind {
    const ALL: [Self; 2] = [Self::Consent, Self::SignIn];

    /// Returns the prefix of the names of this kind's cookies.
    ///
    /// `__Host-` limits a cookie to this host, https and all paths. On loopback without TLS,
    /// browsers support neither this prefix nor `Secure`.
    const fn prefix(self, is_secure: bool) -> &'static str {
        match (self, is_secure) {
            (Self::Consent, true) => "__Host-entra-proxy-consent-",
            (Self::Consent, false) => "entra-proxy-consent-",
            (Self::SignIn, true) => "__Host-entra-proxy-sign-in-",
            (Self::SignIn, false) => "entra-proxy-sign-in-",
        }
    }
}

/// Maximum number of cookies that are read. A header with all that this server sets has fewer.
const MAX_READ: usize = 160;

/// This server's cookies in a request.
pub(crate) struct Cookies {
    sent: Vec<(String, String)>,
    is_secure: bool,
}

impl Cookies {
    pub(crate) fn of(headers: &HeaderMap, is_secure: bool) -> Self {
        let ours = CookieKind::ALL.map(|kind| kind.prefix(is_secure));
        let values = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let pairs = values
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            // Compare the whole prefix, so that cookies of others with similar names are ignored.
            .filter(|(name, _)| ours.iter().any(|ours| name.starts_with(ours)))
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            sent: pairs.take(MAX_READ).collect(),
            is_secure,
        }
    }

    pub(crate) fn get(&self, kind: CookieKind, id: &str) -> Option<&str> {
        let mut found = self.all(kind).filter(|(other, _)| *other == id);
        // Of two cookies with the same name, another party set one.
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    /// Returns the ids and values of the cookies of one kind.
    pub(crate) fn all(&self, kind: CookieKind) -> impl Iterator<Item = (&str, &str)> {
        let prefix = kind.prefix(self.is_secure);
        self.sent
            .iter()
            .filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, &**value)))
    }

    /// Sets a cookie that expires after the given number of seconds, or deletes it after 0.
    pub(crate) fn set(
        &self,
        response: &mut Response,
        (kind, id): (CookieKind, &str),
        value: &str,
        seconds: u64,
    ) {
        let prefix = kind.prefix(self.is_secure);
        let secure = if self.is_secure { "; Secure" } else { "" };
        // `Lax`, because the return from Entra is a link from another site.
        let cookie = format!(
            "{prefix}{id}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
        );
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
    }
}

/// Maximum size of a form in bytes.
const MAX_FORM: usize = 64 * 1024;

/// An unread request body. `was_read` records whether it was read to its end.
pub(crate) struct UnreadBody<'r, B> {
    body: B,
    was_read: &'r AtomicBool,
}

impl<'r, B> UnreadBody<'r, B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    pub(crate) fn new(body: B, was_read: &'r AtomicBool) -> Self {
        Self { body, was_read }
    }

    /// Reads the whole body. Returns `None` if it is longer than `max` or incomplete.
    pub(crate) async fn read(self, max: usize) -> Option<Bytes> {
        let body = Box::pin(Limited::new(self.body, max).collect())
            .await
            .ok()?;
        self.was_read.store(true, Ordering::Relaxed);
        Some(body.to_bytes())
    }

    /// Reads a form. The error says what is wrong with the body.
    pub(crate) async fn form(self, headers: &HeaderMap) -> Result<String, Finding> {
        const FORM: &str = "application/x-www-form-urlencoded";

        let media_type = MediaType::of(headers);
        if !media_type.is(FORM) {
            let finding = Finding::from("the body must be application/x-www-form-urlencoded");
            return Err(finding.found(media_type.in_words()).expected(FORM));
        }
        let body = self.read(MAX_FORM).await;
        let text = body.and_then(|body| String::from_utf8(body.into()).ok());
        text.ok_or_else(|| "the form is longer than 64 KiB, not UTF-8, or incomplete".into())
    }
}

/// Checks that the content type is JSON (RFC 8259 §11) or `+json` (RFC 6839 §3.1), or is missing.
pub(crate) fn check_json(headers: &HeaderMap) -> Result<(), Finding> {
    let media_type = MediaType::of(headers);
    let finding = || {
        Finding::from("the body must be application/json")
            .found(media_type.in_words())
            .expected("application/json")
    };
    media_type.may_be_json().then_some(()).ok_or_else(finding)
}

/// The media type of a body (RFC 9110 §8.3.1), in lower case and without its parameters.
enum MediaType {
    /// The request has no content type.
    None,
    Of(String),
    /// The request has two content types, or one that is no text.
    Unreadable,
}

impl MediaType {
    fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(CONTENT_TYPE).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::None,
            (Some(value), None) => value.to_str().map_or(Self::Unreadable, |text| {
                let essence = text.split(';').next().unwrap_or_default();
                Self::Of(essence.trim().to_ascii_lowercase())
            }),
            (Some(_), Some(_)) => Self::Unreadable,
        }
    }

    /// Returns a description of the content type for the log.
    fn in_words(&self) -> String {
        match self {
            Self::None => "no content-type".to_owned(),
            Self::Of(essence) => Escaped(essence).to_string(),
            Self::Unreadable => "a repeated content-type, or one that is not text".to_owned(),
        }
    }

    fn is(&self, expected: &str) -> bool {
        matches!(self, Self::Of(essence) if essence == expected)
    }

    fn may_be_json(&self) -> bool {
        match self {
            Self::None => true,
            Self::Of(essence) => {
                let suffixed = essence.strip_suffix("+json");
                let is_of_json = |name: &str| {
                    name.split_once('/').is_some_and(|(of, name)| {
                        !of.is_empty() && !name.is_empty() && !name.contains([',', '/', ' '])
                    })
                };
                essence == "application/json" || suffixed.is_some_and(is_of_json)
            }
            Self::Unreadable => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> MediaType {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(CONTENT_TYPE, value);
        }
        MediaType::of(&headers)
    }

    #[test]
    fn json_is_json_with_parameters_by_suffix_or_unsaid() {
        for values in [
            &[][..],
            &["application/json"],
            &["Application/JSON"],
            &["application/json; charset=utf-8"],
            &["application/json;charset=\"UTF-8\""],
            &[" application/json "],
            &["application/scim+json"],
            &["application/x+json;charset=utf-8"],
        ] {
            assert!(of(values).may_be_json(), "{values:?}");
        }
        for values in [
            &[""][..],
            &["text/plain"],
            &["text/plain;application/json"],
            &["text/plain; charset=application/json"],
            &["text/plain;+json"],
            &["text/json"],
            &["application/jsonp"],
            &["application/jsonl"],
            &["application/json, text/plain"],
            &["text/plain, application/x+json"],
            &["+json"],
            &["/+json"],
            &["x/+json"],
            &["json"],
            &["*/*"],
            &["application/x-www-form-urlencoded"],
            &["multipart/form-data; boundary=x"],
            &["application/octet-stream"],
            &["application/json", "application/json"],
            &["application/json", "text/plain"],
            &["application/json\u{e9}"],
        ] {
            assert!(!of(values).may_be_json(), "{values:?}");
        }
    }

    #[test]
    fn a_form_is_said_to_be_one() {
        let form = "application/x-www-form-urlencoded";
        assert!(of(&[form]).is(form));
        assert!(of(&["Application/X-WWW-Form-Urlencoded; charset=utf-8"]).is(form));
        for values in [&[][..], &["text/plain"], &[form, form], &["a, b"]] {
            assert!(!of(values).is(form), "{values:?}");
        }
    }
}
