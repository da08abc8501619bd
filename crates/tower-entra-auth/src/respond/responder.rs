//! Construction of the responses to refusals.

use std::borrow::Cow;
use std::fmt::Write as _;

use entra_http::retry_after_value;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::log::RefusalLog;
use super::{Format, Reason, RefusalDetail, ResponderConfig};
use crate::service::{AnswerBody, Asked, new_response};
use crate::setting::SettingNames;

/// A responder that makes the responses to refusals and logs the refusals.
#[derive(Debug, Default)]
pub(crate) struct Responder {
    config: ResponderConfig,
    log: RefusalLog,
}

impl Responder {
    pub(crate) fn new(config: ResponderConfig) -> Self {
        Self {
            config,
            log: RefusalLog::default(),
        }
    }

    /// Logs a refusal if a line of its kind is due, with the head of its request if that is
    /// available.
    pub(crate) fn log(&self, refusal: &Reason, asked: Option<Asked<'_>>) {
        self.log.write(refusal, asked, &self.config);
    }

    pub(crate) fn setting_names(&self) -> SettingNames {
        self.config.setting_names
    }

    /// Returns the remedy for the log.
    pub(crate) fn remedy(&self, refusal: &Reason) -> Cow<'static, str> {
        refusal.remedy(&self.config)
    }

    /// Returns the remedy for the caller.
    pub(crate) fn public_remedy(&self, refusal: &Reason) -> Cow<'static, str> {
        refusal.public_remedy(&self.config)
    }

    /// Makes the response to a refused request.
    pub(crate) fn response(&self, refusal: &Reason, format: Format) -> Response<AnswerBody> {
        let row = refusal.row();
        let disclosure = Disclosure::of(refusal, &self.config);
        let description = disclosure.description();

        let mut response = match format {
            Format::Text => {
                let body = match &description {
                    Some(text) => [text, "\n"].concat(),
                    None => String::new(),
                };
                let mut response = new_response(body);
                if description.is_some() {
                    insert(&mut response, CONTENT_TYPE, PLAIN_TEXT);
                }
                response
            }
            Format::Json => {
                let mut response = new_response(disclosure.problem(row.status));
                insert(&mut response, CONTENT_TYPE, PROBLEM_JSON);
                response
            }
            // Trailers only: the gRPC status is in the headers, and no body follows.
            Format::Grpc => {
                let mut response = Response::new(AnswerBody::default());
                insert(&mut response, CONTENT_TYPE, GRPC);
                let status = HeaderValue::from_static(row.grpc_status);
                insert(&mut response, GRPC_STATUS, status);
                if let Some(text) = &description {
                    insert_text(&mut response, GRPC_MESSAGE, grpc_message(text));
                }
                response
            }
        };
        if format != Format::Grpc {
            *response.status_mut() = row.status;
        }
        if let Some(challenge) = row.challenge {
            let challenge = challenge.text(refusal, &self.config, description.as_deref());
            insert_text(&mut response, WWW_AUTHENTICATE, challenge);
        }
        if let Reason::Unavailable { retry_after, .. } | Reason::NotNow { retry_after, .. } =
            refusal
        {
            insert(&mut response, RETRY_AFTER, retry_after_value(*retry_after));
        }
        response
    }
}

/// Returns the response to a refusal as gRPC metadata, for headers or trailers.
pub(crate) fn grpc_metadata(refusal: &Reason, response: Response<AnswerBody>) -> HeaderMap {
    let mut headers = response.into_parts().0.headers;
    headers.remove(CONTENT_TYPE);
    // The `on_refusal` hook may have removed the status or set it to 0, which would mean success.
    if headers.get(GRPC_STATUS).is_none_or(|status| status == "0") {
        let status = HeaderValue::from_static(refusal.row().grpc_status);
        headers.insert(GRPC_STATUS, status);
    }
    headers
}

const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The code and the remedy that the response discloses to the caller.
struct Disclosure {
    code: Option<&'static str>,
    remedy: Option<Cow<'static, str>>,
}

impl Disclosure {
    fn of(refusal: &Reason, config: &ResponderConfig) -> Self {
        let code = refusal.public_code();
        match config.detail {
            RefusalDetail::None => Self {
                code: None,
                remedy: None,
            },
            // A refusal without a code discloses its remedy instead.
            RefusalDetail::Code if code.is_some() => Self { code, remedy: None },
            RefusalDetail::Code | RefusalDetail::Full => Self {
                code,
                remedy: Some(refusal.public_remedy(config)),
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

    /// Returns the problem details as JSON.
    ///
    /// The `type` is `about:blank`, so that the problem is the HTTP status (RFC 9457 §4.2.1). The
    /// code is an additional member.
    fn problem(&self, status: StatusCode) -> Vec<u8> {
        #[derive(Serialize)]
        struct ProblemDetails<'t> {
            #[serde(rename = "type")]
            kind: &'static str,
            title: &'t str,
            status: u16,
            #[serde(skip_serializing_if = "Option::is_none")]
            code: Option<&'static str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            detail: Option<&'t str>,
        }

        let problem = ProblemDetails {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            code: self.code,
            detail: self.remedy.as_deref(),
        };
        serde_json::to_vec(&problem).unwrap_or_default()
    }
}

/// Returns the text, percent-encoded as the gRPC protocol over HTTP/2 requires.
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

fn insert(response: &mut Response<AnswerBody>, name: HeaderName, value: HeaderValue) {
    response.headers_mut().insert(name, value);
}

fn insert_text(response: &mut Response<AnswerBody>, name: HeaderName, value: String) {
    // All values are printable ASCII. A value that is not would be left out, without a panic.
    if let Ok(value) = HeaderValue::try_from(value) {
        insert(response, name, value);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use entra_jwt_core::testing::access_token;
    use entra_jwt_core::{
        PermissionDenied, Tenancy, Validator,
        require::{AuthenticationContext, IntoCondition, Requirement, Scope},
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::respond::{Challenge, RequiredScopes};
    use crate::unavailable::Outage;

    fn header(response: &Response<AnswerBody>, name: &str) -> Option<String> {
        let value = response.headers().get(name)?;
        Some(value.to_str().unwrap().to_owned())
    }

    fn response_to(
        refusal: &Reason,
        detail: RefusalDetail,
        format: Format,
    ) -> Response<AnswerBody> {
        let config = ResponderConfig {
            detail,
            app_id_uri: "api://orders".to_owned(),
            metadata: None,
            authorization_uri: "https://login.example/common/oauth2/authorize".to_owned(),
            how_to_send: "send one",
            ..ResponderConfig::default()
        };
        Responder::new(config).response(refusal, format)
    }

    async fn body(response: Response<AnswerBody>) -> Vec<u8> {
        use http_body_util::BodyExt as _;
        response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .to_vec()
    }

    fn rules() -> Validator {
        let client_id = "6e74172b-be56-4843-9ff4-e66a39bb12e3".parse().unwrap();
        Validator::entra(Tenancy::organizations(), client_id)
            .build()
            .unwrap()
    }

    fn expired() -> Reason {
        let token = access_token(json!({ "exp": 1_577_836_801 })).unwrap();
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
        rules().check_lifetime(&token, later).unwrap_err().into()
    }

    fn no_permission() -> Reason {
        let token = access_token(json!({})).unwrap();
        rules().default_permission(&token).unwrap_err().into()
    }

    fn denied(condition: impl IntoCondition, claims: Value) -> PermissionDenied {
        let token = access_token(claims).unwrap();
        let requirement = Requirement::new(condition).unwrap();
        requirement.check(&token).unwrap_err()
    }

    #[test]
    fn the_challenge_has_the_one_form_that_clients_parse() {
        let missing_scope = |scopes: &[&str]| Reason::PermissionDenied {
            denied: denied(Scope("Reports.Read"), json!({ "scp": "x" })),
            scopes: scopes.iter().map(ToString::to_string).collect(),
        };
        let step_up = |understands_challenges| {
            let denied = denied(AuthenticationContext("c1"), json!({ "scp": "x" }));
            Reason::from(denied.with_understanding(understands_challenges))
        };
        // {"access_token":{"acrs":{"essential":true,"value":"c1"}}}
        let claims = "eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19";
        for (refusal, status, expected) in [
            (Reason::NoCredentials, 401, "Bearer"),
            (Reason::OtherScheme, 401, "Bearer"),
            (
                expired(),
                401,
                "Bearer error=\"invalid_token\", error_description=\"expired\"",
            ),
            (
                no_permission(),
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
            let response = response_to(&refusal, RefusalDetail::Code, Format::Text);
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
                Reason::NoCredentials,
                RefusalDetail::Full,
                r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"no token; send one"}"#,
            ),
            (
                Reason::HookPanicked,
                RefusalDetail::Code,
                r#"{"type":"about:blank","title":"Internal Server Error","status":500,"code":"response_hook_panicked"}"#,
            ),
        ] {
            let response = response_to(&refusal, detail, Format::Json);
            assert_eq!(
                header(&response, "content-type").unwrap(),
                "application/problem+json"
            );
            assert_eq!(String::from_utf8(body(response).await).unwrap(), expected);
        }
    }

    #[test]
    fn no_browser_guesses_what_an_answer_is() {
        for format in [Format::Text, Format::Json] {
            for detail in [RefusalDetail::Full, RefusalDetail::None] {
                let response = response_to(&expired(), detail, format);
                let told = header(&response, "x-content-type-options");
                assert_eq!(told.as_deref(), Some("nosniff"), "{format:?} {detail:?}");
            }
        }
    }

    #[test]
    fn the_detail_decides_what_a_caller_learns() {
        let challenge = |detail| {
            let response = response_to(&expired(), detail, Format::Text);
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
        let challenge = Challenge::Error("invalid_token", RequiredScopes::Unknown);
        let text = challenge.text(
            &expired(),
            &ResponderConfig::default(),
            Some("a \"b\" \\ scope=x\r\nresource_metadata=é"),
        );
        assert_eq!(
            text,
            "Bearer error=\"invalid_token\", error_description=\"a 'b' / scope x??resource_metadata ?\""
        );
    }

    #[test]
    fn grpc_is_answered_with_trailers_only() {
        let unavailable = Reason::Unavailable {
            cause: Outage::TimedOut,
            retry_after: Duration::from_millis(1_200),
        };
        for (refusal, status, message) in [
            (Reason::NoCredentials, "16", Some("no token; send one")),
            (expired(), "16", Some("expired")),
            (no_permission(), "7", Some("no_permission")),
            (unavailable, "14", Some("keys_unavailable")),
        ] {
            let response = response_to(&refusal, RefusalDetail::Code, Format::Grpc);
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
            let refusal = Reason::Unavailable {
                cause: Outage::TimedOut,
                retry_after: Duration::from_millis(retry_after),
            };
            let response = response_to(&refusal, RefusalDetail::Code, Format::Text);
            assert_eq!(response.status(), 503);
            assert_eq!(header(&response, "retry-after").unwrap(), seconds);
            assert_eq!(header(&response, "www-authenticate"), None);
        }
    }
}
