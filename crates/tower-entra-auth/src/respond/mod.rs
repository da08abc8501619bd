//! The one place that turns refusals into responses.

mod claims_challenge;
mod format;
mod log;
mod refusal;

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use entra_jwt_core::Denied;
use http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::Body as _;
use http_body_util::Full;
use serde::Serialize;

pub use self::claims_challenge::{ClaimsChallenge, InvalidClaimsRequest};
pub(crate) use self::format::{Form, is_grpc};
pub(crate) use self::log::RefusalLog;
pub(crate) use self::refusal::{AuthorizationFault, Refusal};
use crate::resource_metadata::Pointer;

/// How much a refused caller learns. The log always has everything.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum RefusalDetail {
    /// The machine code, such as `expired` or `wrong_audience`.
    #[default]
    Code,
    /// The code and what to do about it: for development.
    Full,
    /// Neither: the status, and of the challenge `error` and what a client needs to get a better
    /// token (`scope`, `claims`, `authorization_uri`).
    None,
}

/// What the answers of one `EntraAuth` have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words {
    pub(crate) detail: RefusalDetail,
    /// What stands before the short name of a scope when it is requested from Entra, but for a
    /// slash.
    pub(crate) app_id_uri: String,
    /// Where a client learns how to get a token, if that is published.
    pub(crate) pointer: Option<Pointer>,
    /// Where a client may turn to with a claims challenge.
    pub(crate) authorization_uri: String,
    /// How a token is to be sent.
    pub(crate) how_to_send: &'static str,
}

/// The answer to a refused request.
pub(crate) fn response(refusal: &Refusal, words: &Words, form: Form) -> Response<Full<Bytes>> {
    let kind = Kind::of(refusal);
    let told = Told::about(refusal, words);
    let description = told.description();

    let mut response = match form {
        Form::Text => {
            let body = match &description {
                Some(text) => [text, "\n"].concat(),
                None => String::new(),
            };
            let mut response = begun(body);
            if description.is_some() {
                insert(&mut response, CONTENT_TYPE, PLAIN_TEXT);
            }
            response
        }
        Form::Json => {
            let mut response = begun(told.problem(kind.status));
            insert(&mut response, CONTENT_TYPE, PROBLEM_JSON);
            response
        }
        // Trailers only: the status is in the headers, and no body follows.
        Form::Grpc => {
            let mut response = Response::new(Full::default());
            insert(&mut response, CONTENT_TYPE, GRPC);
            let status = HeaderValue::from_static(kind.grpc_status);
            insert(&mut response, GRPC_STATUS, status);
            if let Some(text) = &description {
                insert_text(&mut response, GRPC_MESSAGE, grpc_message(text));
            }
            response
        }
    };
    if form != Form::Grpc {
        *response.status_mut() = kind.status;
    }
    if let Some(challenge) = kind.challenge {
        let challenge = challenge.text(words, description.as_deref());
        insert_text(&mut response, WWW_AUTHENTICATE, challenge);
    }
    if let Refusal::Unavailable { retry_after, .. } = refusal {
        let seconds = retry_after.as_secs_f64().ceil().max(1.0);
        insert_text(&mut response, RETRY_AFTER, format!("{seconds}"));
    }
    response
}

/// Begins an answer of this crate's own, but for gRPC: a browser takes its body for nothing but what its
/// content type says.
pub(crate) fn begun(body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    insert(&mut response, X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    response
}

/// What HEAD gets (RFC 9110 §9.3.2): no body, and the length that it would have. Over HTTP/2 hyper
/// sends a body where there is one, and clients take that for a fault of the protocol.
pub(crate) fn without_body(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let length = response.body().size_hint().exact();
    if let Some(length) = length.filter(|length| *length > 0) {
        insert(&mut response, CONTENT_LENGTH, length.into());
    }
    response.map(|_| Full::default())
}

const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(crate) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// One row of the table of answers.
struct Kind<'r> {
    status: StatusCode,
    grpc_status: &'static str,
    challenge: Option<Challenge<'r>>,
}

/// What `WWW-Authenticate` says.
enum Challenge<'r> {
    /// That a bearer token is needed.
    Bare,
    /// RFC 6750's `error` (§3.1), with the scopes to request.
    Error(&'static str, Wanted<'r>),
    /// That a token with more claims is needed.
    Claims(Cow<'r, ClaimsChallenge>),
}

/// Which scopes would do.
enum Wanted<'r> {
    /// None that is known.
    Unknown,
    /// Those to begin with, if they are published.
    First,
    /// These, by their short names.
    Named(&'r [String]),
}

impl<'r> Kind<'r> {
    fn of(refusal: &'r Refusal) -> Self {
        if let Some(claims) = refusal.challenge() {
            return Self::unauthorized(Challenge::Claims(claims));
        }
        match refusal {
            Refusal::NoCredentials | Refusal::OtherScheme => Self::unauthorized(Challenge::Bare),
            Refusal::Authorization(_)
            | Refusal::Rejected { .. }
            | Refusal::Outlived
            | Refusal::Ended(_) => {
                Self::unauthorized(Challenge::Error("invalid_token", Wanted::First))
            }
            Refusal::Denied { denied, .. } if *denied == Denied::NoPermission => {
                Self::forbidden(Wanted::First)
            }
            Refusal::Denied { scopes, .. } => Self::forbidden(Wanted::Named(scopes)),
            Refusal::Challenged { .. } => Self::forbidden(Wanted::Unknown),
            #[cfg(feature = "axum")]
            Refusal::OtherClaims { .. } => Self::forbidden(Wanted::Unknown),
            Refusal::Unavailable { .. } => Self {
                status: StatusCode::SERVICE_UNAVAILABLE,
                grpc_status: "14",
                challenge: None,
            },
            Refusal::WrongLayer { .. } | Refusal::HookPanicked => Self {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                grpc_status: "13",
                challenge: None,
            },
        }
    }

    fn unauthorized(challenge: Challenge<'r>) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            grpc_status: "16",
            challenge: Some(challenge),
        }
    }

    fn forbidden(scopes: Wanted<'r>) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            grpc_status: "7",
            challenge: Some(Challenge::Error("insufficient_scope", scopes)),
        }
    }
}

impl Challenge<'_> {
    /// One header line in the one form that all known clients parse: the scheme literally
    /// `Bearer`, every value quoted, `error` first and `error_description` last.
    fn text(&self, words: &Words, description: Option<&str>) -> String {
        let mut line = Line::new();
        match self {
            Self::Bare => line.add("scope", &Wanted::First.requestable(words)),
            Self::Error(error, scopes) => {
                line.add("error", error);
                line.add("scope", &scopes.requestable(words));
            }
            Self::Claims(claims) => {
                line.add("error", "insufficient_claims");
                line.add("claims", &claims.encoded());
                line.add("authorization_uri", &words.authorization_uri);
            }
        }
        if let Some(pointer) = &words.pointer {
            line.add("resource_metadata", &pointer.metadata_url);
        }
        if let (Some(text), false) = (description, matches!(self, Self::Bare)) {
            line.add("error_description", &quotable(text));
        }
        line.text
    }
}

/// The parameters of a challenge, one after the other.
struct Line {
    text: String,
    separator: &'static str,
}

impl Line {
    /// What most challenges fit into.
    const CAPACITY: usize = 128;

    fn new() -> Self {
        let mut text = String::with_capacity(Self::CAPACITY);
        text.push_str("Bearer");
        Self {
            text,
            separator: " ",
        }
    }

    /// A parameter whose value has neither quotes nor backslashes; none, if it is empty.
    fn add(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            for part in [self.separator, name, "=\"", value, "\""] {
                self.text.push_str(part);
            }
            self.separator = ", ";
        }
    }
}

impl Wanted<'_> {
    /// As they are requested from the authorization server that is published, else from Entra.
    fn requestable<'w>(&self, words: &'w Words) -> Cow<'w, str> {
        let pointer = words.pointer.as_ref();
        let names = match self {
            Self::Unknown => return "".into(),
            Self::First => return pointer.map_or("", |pointer| &pointer.scopes).into(),
            Self::Named(names) => names.iter(),
        };
        let scopes = names.map(|name| match pointer {
            Some(pointer) => format!("{}{name}", pointer.scope_prefix),
            None => format!("{}/{name}", words.app_id_uri),
        });
        let scopes: Vec<String> = scopes.filter(|scope| is_scope(scope)).collect();
        scopes.join(" ").into()
    }
}

/// The gRPC status of a refusal.
pub(crate) fn grpc_status(refusal: &Refusal) -> HeaderValue {
    HeaderValue::from_static(Kind::of(refusal).grpc_status)
}

/// The characters of RFC 6749 §3.3.
pub(crate) fn is_scope(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'!'..=b'~') && byte != b'"' && byte != b'\\')
}

/// What the caller is told in words.
struct Told {
    code: Option<&'static str>,
    remedy: Option<Cow<'static, str>>,
}

impl Told {
    fn about(refusal: &Refusal, words: &Words) -> Self {
        Self {
            code: match words.detail {
                RefusalDetail::None => None,
                RefusalDetail::Code | RefusalDetail::Full => refusal.public_code(),
            },
            remedy: match words.detail {
                RefusalDetail::None | RefusalDetail::Code => None,
                RefusalDetail::Full => Some(refusal.public_remedy(words)),
            },
        }
    }

    fn description(&self) -> Option<Cow<'_, str>> {
        match (self.code, &self.remedy) {
            (None, None) => None,
            (Some(code), None) => Some(code.into()),
            (None, Some(remedy)) => Some(Cow::Borrowed(remedy)),
            (Some(code), Some(remedy)) => Some(format!("{code}: {remedy}").into()),
        }
    }

    /// Without a `type` of its own a problem is its status (RFC 9457 §4.2.1); the code is a member
    /// beside.
    fn problem(&self, status: StatusCode) -> Vec<u8> {
        #[derive(Serialize)]
        struct Problem<'t> {
            #[serde(rename = "type")]
            kind: &'static str,
            title: &'t str,
            status: u16,
            #[serde(skip_serializing_if = "Option::is_none")]
            code: Option<&'static str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            detail: Option<&'t str>,
        }

        let problem = Problem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            code: self.code,
            detail: self.remedy.as_deref(),
        };
        serde_json::to_vec(&problem).unwrap_or_default()
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

    fn answer(refusal: &Refusal, detail: RefusalDetail, form: Form) -> Response<Full<Bytes>> {
        let words = Words {
            detail,
            app_id_uri: "api://orders".to_owned(),
            pointer: None,
            authorization_uri: "https://login.example/common/oauth2/authorize".to_owned(),
            how_to_send: "send one",
        };
        response(refusal, &words, form)
    }

    async fn body(response: Response<Full<Bytes>>) -> Vec<u8> {
        use http_body_util::BodyExt as _;
        response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .to_vec()
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
        let missing_scope = |scopes: &[&str]| Refusal::Denied {
            denied: Denied::MissingScope {
                any_of: vec!["Reports.Read".to_owned()],
                found: Vec::new(),
            },
            scopes: scopes.iter().map(ToString::to_string).collect(),
        };
        let step_up = |understands_challenges| {
            Refusal::denied(Denied::StepUp {
                context: "c1".to_owned(),
                understands_challenges,
            })
        };
        // {"access_token":{"acrs":{"essential":true,"value":"c1"}}}
        let claims = "eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19";
        for (refusal, status, expected) in [
            (Refusal::NoCredentials, 401, "Bearer"),
            (Refusal::OtherScheme, 401, "Bearer"),
            (
                expired(),
                401,
                "Bearer error=\"invalid_token\", error_description=\"expired\"",
            ),
            (
                Refusal::denied(Denied::NoPermission),
                403,
                "Bearer error=\"insufficient_scope\", error_description=\"no_permission\"",
            ),
            (
                missing_scope(&["Reports.Read"]),
                403,
                "Bearer error=\"insufficient_scope\", scope=\"api://orders/Reports.Read\", \
                 error_description=\"missing_scope\"",
            ),
            (
                missing_scope(&["Reports.Read", "a\"b", "Files.Read"]),
                403,
                "Bearer error=\"insufficient_scope\", \
                 scope=\"api://orders/Reports.Read api://orders/Files.Read\", \
                 error_description=\"missing_scope\"",
            ),
            (
                step_up(true),
                401,
                &format!(
                    "Bearer error=\"insufficient_claims\", claims=\"{claims}\", \
                     authorization_uri=\"https://login.example/common/oauth2/authorize\", \
                     error_description=\"step_up\""
                ),
            ),
            (
                step_up(false),
                403,
                "Bearer error=\"insufficient_scope\", error_description=\"step_up\"",
            ),
        ] {
            let response = answer(&refusal, RefusalDetail::Code, Form::Text);
            assert_eq!(response.status(), status);
            assert_eq!(
                header(&response, "www-authenticate").as_deref(),
                Some(expected)
            );
        }
    }

    #[tokio::test]
    async fn json_is_problem_details_with_the_code_beside() {
        for (refusal, detail, expected) in [
            (
                expired(),
                RefusalDetail::Code,
                r#"{"type":"about:blank","title":"Unauthorized","status":401,"code":"expired"}"#,
            ),
            (
                expired(),
                RefusalDetail::None,
                r#"{"type":"about:blank","title":"Unauthorized","status":401}"#,
            ),
            (
                Refusal::NoCredentials,
                RefusalDetail::Full,
                r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"send one"}"#,
            ),
            (
                Refusal::HookPanicked,
                RefusalDetail::Code,
                r#"{"type":"about:blank","title":"Internal Server Error","status":500,"code":"response_hook_panicked"}"#,
            ),
        ] {
            let response = answer(&refusal, detail, Form::Json);
            assert_eq!(
                header(&response, "content-type").unwrap(),
                "application/problem+json"
            );
            assert_eq!(String::from_utf8(body(response).await).unwrap(), expected);
        }
    }

    #[test]
    fn no_browser_guesses_what_an_answer_is() {
        for form in [Form::Text, Form::Json] {
            for detail in [RefusalDetail::Full, RefusalDetail::None] {
                let response = answer(&expired(), detail, form);
                let told = header(&response, "x-content-type-options");
                assert_eq!(told.as_deref(), Some("nosniff"), "{form:?} {detail:?}");
            }
        }
    }

    #[test]
    fn the_detail_decides_what_a_caller_learns() {
        let challenge = |detail| {
            let response = answer(&expired(), detail, Form::Text);
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
        let text = Challenge::Error("invalid_token", Wanted::Unknown).text(
            &Words::default(),
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
                Refusal::denied(Denied::NoPermission),
                "7",
                Some("no_permission"),
            ),
            (unavailable, "14", Some("keys_unavailable")),
        ] {
            let response = answer(&refusal, RefusalDetail::Code, Form::Grpc);
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
            let response = answer(&refusal, RefusalDetail::Code, Form::Text);
            assert_eq!(response.status(), 503);
            assert_eq!(header(&response, "retry-after").unwrap(), seconds);
            assert_eq!(header(&response, "www-authenticate"), None);
        }
    }
}
