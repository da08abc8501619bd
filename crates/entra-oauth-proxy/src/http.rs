//! HTTP, as all endpoints speak it: responses, cookies and the bodies of requests.

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

/// A response, whole.
pub(crate) type Response = http::Response<AnswerBody>;

/// Sets a header to a constant, without a copy.
pub(crate) fn set_static(response: &mut Response, name: HeaderName, value: &'static str) {
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}

/// Begins each response of this server's own: a browser takes its body for nothing but what its content
/// type says.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(AnswerBody::default());
    *response.status_mut() = status;
    set_static(&mut response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

/// Makes a response of JSON that nobody keeps (RFC 6749 §5.1).
pub(crate) fn json(status: StatusCode, value: &Value) -> Response {
    let mut response = empty(status);
    set_static(&mut response, CACHE_CONTROL, "no-store");
    set_static(&mut response, PRAGMA, "no-cache");
    // Most fit: tokens are the longest.
    let mut body = Vec::with_capacity(4 * 1_024);
    if serde_json::to_writer(&mut body, value).is_err() {
        body.clear();
    }
    *response.body_mut() = AnswerBody::from(body);
    set_static(&mut response, CONTENT_TYPE, "application/json");
    response
}

/// Sends a browser elsewhere by GET, whatever it came with: never 307 or 308, which would repeat a
/// form there.
pub(crate) fn see_other(location: &str) -> Response {
    let mut response = empty(StatusCode::SEE_OTHER);
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    set_static(&mut response, CACHE_CONTROL, "no-store");
    set_static(&mut response, REFERRER_POLICY, "no-referrer");
    response
}

/// The purpose of a cookie: each binds a step of a sign-in to the browser in which that began.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CookieKind {
    /// A consent page that was shown.
    Consent,
    /// A sign-in that is under way at Entra.
    SignIn,
}

impl CookieKind {
    const ALL: [Self; 2] = [Self::Consent, Self::SignIn];

    /// Returns the beginning of the names of its cookies. `__Host-`: of this host alone, over https, for
    /// every path. On loopback without TLS, browsers know neither.
    const fn prefix(self, is_secure: bool) -> &'static str {
        match (self, is_secure) {
            (Self::Consent, true) => "__Host-entra-proxy-consent-",
            (Self::Consent, false) => "entra-proxy-consent-",
            (Self::SignIn, true) => "__Host-entra-proxy-sign-in-",
            (Self::SignIn, false) => "entra-proxy-sign-in-",
        }
    }
}

/// The cookies of a request that are this server's.
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
            // By the whole beginning: what others set by a like name does not take their place.
            .filter(|(name, _)| ours.iter().any(|ours| name.starts_with(ours)))
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            sent: pairs.take(64).collect(),
            is_secure,
        }
    }

    pub(crate) fn get(&self, kind: CookieKind, id: &str) -> Option<&str> {
        let mut found = self.all(kind).filter(|(other, _)| *other == id);
        // Of two by one name, one was set by somebody else.
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    /// Returns the ids and values of a kind.
    pub(crate) fn all(&self, kind: CookieKind) -> impl Iterator<Item = (&str, &str)> {
        let prefix = kind.prefix(self.is_secure);
        self.sent
            .iter()
            .filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, &**value)))
    }

    /// Sets a cookie for so many seconds.
    pub(crate) fn set(
        &self,
        response: &mut Response,
        (kind, id): (CookieKind, &str),
        value: &str,
        seconds: u64,
    ) {
        let prefix = kind.prefix(self.is_secure);
        let secure = if self.is_secure { "; Secure" } else { "" };
        // `Lax`, as the way back from Entra is a link from another site.
        let cookie = format!(
            "{prefix}{id}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
        );
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
    }

    /// Takes a cookie away.
    pub(crate) fn expire(&self, response: &mut Response, kind: CookieKind, id: &str) {
        self.set(response, (kind, id), "", 0);
    }

    /// Takes all cookies away.
    pub(crate) fn expire_all(&self, response: &mut Response) {
        for kind in CookieKind::ALL {
            for (id, _) in self.all(kind) {
                self.expire(response, kind, id);
            }
        }
    }
}

/// The longest form, in bytes.
const MAX_FORM: usize = 64 * 1024;

/// A body that nobody has read yet, and the note of whether it was read to its end.
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

    /// Reads the whole body; `None` if it is longer, or was not sent to its end.
    pub(crate) async fn read(self, max: usize) -> Option<Bytes> {
        let body = Box::pin(Limited::new(self.body, max).collect())
            .await
            .ok()?;
        self.was_read.store(true, Ordering::Relaxed);
        Some(body.to_bytes())
    }

    /// Reads a form. The error says what is wrong with it.
    pub(crate) async fn form(self, headers: &HeaderMap) -> Result<String, Finding> {
        const FORM: &str = "application/x-www-form-urlencoded";

        let media_type = MediaType::of(headers);
        if !media_type.is(FORM) {
            let finding = Finding::from("the body must be application/x-www-form-urlencoded");
            return Err(finding.found(media_type.in_words()).expected(FORM));
        }
        let body = self.read(MAX_FORM).await;
        let text = body.and_then(|body| String::from_utf8(body.into()).ok());
        text.ok_or_else(|| {
            "the form is longer than 64 KiB, no text, or was not sent to its end".into()
        })
    }
}

/// Checks that the headers say of a body that it is JSON (RFC 8259 §11) or something in the form of it
/// (`+json`, RFC 6839 §3.1), or say nothing of it.
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
    /// Nothing is said of it.
    None,
    Of(String),
    /// There are two, or one that is no text.
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

    /// Returns what was said, for the log.
    fn in_words(&self) -> String {
        match self {
            Self::None => "no content-type".to_owned(),
            Self::Of(essence) => Escaped(essence).to_string(),
            Self::Unreadable => "two of content-type, or one that is no text".to_owned(),
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
