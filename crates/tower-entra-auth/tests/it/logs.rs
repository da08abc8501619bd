//! Tests of the log's lines, and of data that the log must never contain.

use std::io::Write;
use std::sync::{Arc, Mutex, Once};

use axum::Router;
use axum::routing::get;
use http::Request;
use serde_json::json;
use tokio::time::sleep;
use tower::ServiceExt as _;
use tower_entra_auth::{Caller, Refusal, Scope, keys::KeySet, refusal::ClaimsChallenge};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{API, HOUR, MINUTE, app, each_kind, of_source, settings, tenant, user};
use crate::tenants::Rule;

/// The modulus of a key whose private half can be computed from it (ROCA).
///
/// Source: Wycheproof, `json_web_key_test.json`, test 7.
const ROCA_MODULUS: &str = "AanFpofbj7KjD4Lf-N2hVMKR7yewSyXhhbirIMTGpfYEhZ_lnt5UoK98DnKIgArXG\
    Tu3MaW_HhFw16HGaTDUHqPrId7fe4r11CqRw09yBFuW79V8sYIwHdzCaWflUI6auImYbVfoN9_nD5n8N8SY9DwXw7mwZM9wREP\
    XoDPgOoIWl6q_MPsp7n0zs3Z5ZaiQWOOzl1S9OhwAfSiiOwz6efnXEaxuTEtPd7BjSx7NaFka8Dx9U7YqXy2RFj1O9PjyaDGuR\
    h7YXsX3iMUSP_wSyHQg_c_qHRtKUsNSGCT7OZg0hzm2KphtjnayKJvC64vAbROBR4Ubg6Bxg9IQVZ-QYyE";

#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Captures everything that this thread logs from now on, at every level.
    pub(crate) fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        for_all_threads();
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_writer(log.clone())
            .with_ansi(false)
            .without_time()
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn lines_with(&self, needle: &str) -> Vec<String> {
        let text = self.text();
        text.lines()
            .filter(|line| line.contains(needle))
            .map(str::to_owned)
            .collect()
    }
}

/// Installs a subscriber for all threads.
///
/// Without it, a test on another thread that reaches a log line first could disable that line for
/// all threads.
pub(crate) fn for_all_threads() {
    static FOR_ALL: Once = Once::new();
    FOR_ALL.call_once(|| tracing::subscriber::set_global_default(Undecided).unwrap());
}

/// A subscriber that is asked about every line and accepts none.
struct Undecided;

impl Subscriber for Undecided {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Log {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

async fn send(auth: &tower_entra_auth::EntraAuth, token: Option<&str>) {
    let request = Request::get("/me");
    let request = match token {
        Some(token) => request.header("authorization", format!("Bearer {token}")),
        None => request,
    };
    let request = request.body(axum::body::Body::empty()).unwrap();
    let _ = app(auth).oneshot(request).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_a_rule_ends_is_a_line_and_one_that_its_token_ends_is_none() {
    let (log, _guard) = Log::capture();
    let tenant = tenant().await;
    let rule = Rule::saying(Ok(true));
    let auth = rule.of(&tenant).build().unwrap();
    let never = get(std::future::pending::<()>).layer(auth.end_at_expiry(MINUTE));
    let app = Router::new().route("/", never).layer(auth.layer());
    for lifetime in [60, 3_600] {
        let token = user(&tenant).expires_in(lifetime).mint();
        let request = Request::get("/").header("authorization", format!("Bearer {token}"));
        let answer = app
            .clone()
            .oneshot(request.body(axum::body::Body::empty()).unwrap());
        assert_eq!(answer.await.unwrap().status(), 401);
        rule.says(Ok(false));
    }
    let lines = log.lines_with("a rule now refuses the caller");
    assert_eq!(lines.len(), 1, "{}", log.text());
    for part in ["WARN", "tenant_not_allowed", tenant.id(), "remedy="] {
        assert!(lines[0].contains(part), "{part} in {}", lines[0]);
    }
    let lines = log.lines_with("the token expired while");
    assert!(
        matches!(&lines[..], [line] if line.contains("DEBUG")),
        "{}",
        log.text()
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_what_was_found_and_expected_and_the_remedy() {
    let (log, _guard) = Log::capture();
    let tenant = tenant().await;
    let auth = settings(&tenant).build().unwrap();
    send(&auth, Some(&user(&tenant).v1().mint())).await;

    let lines = log.lines_with("v1_token");
    assert_eq!(lines.len(), 1, "{}", log.text());
    let line = &lines[0];
    assert!(line.contains("WARN"), "{line}");
    let issuer = format!("found=\"https://sts.windows.net/{}/\"", tenant.id());
    let expected = format!(
        "expected=\"https://login.microsoftonline.com/{}/v2.0\"",
        tenant.id()
    );
    for part in [
        &*issuer,
        &*expected,
        "signature=\"not checked\"",
        "requestedAccessTokenVersion to 2",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_refusal_of_a_kind_is_logged_then_one_a_minute_with_a_count() {
    let (log, _guard) = Log::capture();
    let tenant = tenant().await;
    let auth = settings(&tenant).build().unwrap();
    for _ in 0..5 {
        send(&auth, Some("garbage")).await;
    }
    assert_eq!(log.lines_with("not_a_token").len(), 1);
    tokio::time::advance(std::time::Duration::from_secs(60)).await;
    send(&auth, Some("garbage")).await;
    let lines = log.lines_with("not_a_token");
    assert_eq!(lines.len(), 2);
    assert!(
        lines[0].contains("count=1") && lines[1].contains("count=5"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_missing_token_is_for_debugging_only() {
    let (log, _guard) = Log::capture();
    let tenant = tenant().await;
    let auth = settings(&tenant).build().unwrap();
    send(&auth, None).await;
    let lines = log.lines_with("without a bearer token");
    assert!(lines.len() == 1 && lines[0].contains("DEBUG"), "{lines:?}");
    assert!(log.lines_with("WARN").is_empty());
}

#[tokio::test]
async fn a_short_line_at_the_start_says_what_is_trusted_and_another_for_debugging_the_rest() {
    let (log, _guard) = Log::capture();
    let tenant = tenant().await;
    let variables = |name: &str| (name == "ENTRA_CLOUD").then(|| "public".to_owned());
    let _auth = settings(&tenant)
        .accept_v1_tokens()
        .variables(variables)
        .build()
        .unwrap();
    let lines = log.lines_with("tokens of Microsoft Entra ID are required");
    assert_eq!(
        lines,
        [format!(
            " INFO tower_entra_auth::config::announce: tokens of Microsoft Entra ID are required \
             tenants=\"{}\" client_id=\"{API}\" keys_from=\"{}\"",
            tenant.id(),
            tenant.url().trim_start_matches("http://"),
        )]
    );
    let lines = log.lines_with("settings for the validation of tokens");
    assert_eq!(lines.len(), 1);
    for part in [
        "DEBUG",
        "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0",
        "https://sts.windows.net/72f988bf-86f1-41af-91ab-2d7cd011db47/",
        "api://6e74172b-be56-4843-9ff4-e66a39bb12e3",
        "cloud=\"public\"",
        "versions=\"v1, v2\"",
        "tenant: builder",
        "cloud: ENTRA_CLOUD",
    ] {
        assert!(lines[0].contains(part), "{part} in {}", lines[0]);
    }
}

#[tokio::test]
async fn mistakes_of_the_program_are_errors_each_with_what_to_do() {
    let tenant = tenant().await;
    let auth = settings(&tenant).build().unwrap();
    let other = settings(&tenant).build().unwrap();
    let panicking = settings(&tenant)
        .on_refusal(|_, _| panic!("a fault"))
        .build()
        .unwrap();
    let (log, _guard) = Log::capture();
    let required = Router::new()
        .route("/", get(async || "ok"))
        .layer(auth.require(Scope("Reports.Read")).unwrap());
    for app in [
        required.clone(),
        required.layer(other.layer()),
        Router::new()
            .route("/", get(async || "ok"))
            .layer(panicking.layer()),
    ] {
        for _ in 0..2 {
            let request = Request::builder().header(
                "authorization",
                format!("Bearer {}", user(&tenant).expired().mint()),
            );
            let good = Request::builder()
                .header("authorization", format!("Bearer {}", user(&tenant).mint()));
            for request in [request, good] {
                let request = request.body(axum::body::Body::empty()).unwrap();
                app.clone().oneshot(request).await.unwrap();
            }
        }
    }
    let errors = log.lines_with("ERROR");
    for (line, (message, remedy)) in errors.iter().zip([
        ("no caller in the request", ".layer(auth.layer())"),
        (
            "the Layer and the requirement of this route belong to two different EntraAuth values",
            "build one, and use clones of it",
        ),
        ("the on_refusal function panicked", "on_refusal(..)"),
    ]) {
        assert!(line.contains(message) && line.contains(remedy), "{line}");
        assert!(line.contains("count=1"), "{line}");
    }
    assert_eq!(errors.len(), 3, "{errors:?}");
}

#[tokio::test]
async fn what_a_challenge_asks_for_is_not_logged() {
    let tenant = tenant().await;
    let auth = settings(&tenant).build().unwrap();
    let (log, _guard) = Log::capture();
    let app = Router::new().route(
        "/",
        get(async |caller: Caller| -> Result<(), Refusal> {
            let request = r#"{"id_token":{"login_hint":{"value":"ada@example.com"}}}"#;
            Err(caller.challenge(ClaimsChallenge::from_json(request).unwrap()))
        }),
    );
    let token = user(&tenant).capability("cp1").mint();
    let request = Request::builder().header("authorization", format!("Bearer {token}"));
    let request = request.body(axum::body::Body::empty()).unwrap();
    let response = app.layer(auth.layer()).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(log.lines_with("claims_challenge").len(), 1);
    assert!(!log.text().contains("ada@example.com"));
}

#[tokio::test]
async fn found_values_cannot_forge_log_lines() {
    let (log, _guard) = Log::capture();
    let tenant = tenant().await;
    let auth = settings(&tenant).build().unwrap();
    let forged = format!("x\nWARN forged line\u{1b}[31m{}", "y".repeat(500));
    send(&auth, Some(&user(&tenant).claim("iss", forged).mint())).await;
    let lines = log.lines_with("wrong_issuer");
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].contains("x\\\\nWARN forged line\\\\u{1b}[31m"),
        "{}",
        lines[0]
    );
    assert!(lines[0].contains("y…") && !lines[0].contains(&"y".repeat(200)));
}

#[tokio::test(start_paused = true)]
async fn no_token_and_no_personal_claim_is_logged_at_any_level() {
    let (log, _guard) = Log::capture();
    let tenant = tenant().await;
    let auth = settings(&tenant).build().unwrap();
    let mut tokens = Vec::new();
    for (_, _, token) in each_kind(&tenant) {
        send(&auth, Some(&token)).await;
        tokens.push(token);
    }
    tenant.key_endpoint().fail_with(500);
    tokio::time::advance(std::time::Duration::from_secs(4_000)).await;
    send(&auth, Some(&user(&tenant).header("kid", "another").mint())).await;

    let text = log.text();
    assert!(
        text.contains("expired") && text.contains("cannot fetch signing keys"),
        "{text}"
    );
    for token in tokens {
        for segment in token.split('.').skip(1) {
            assert!(!text.contains(segment), "{segment}");
        }
    }
    for personal in ["lovelace", "contoso.onmicrosoft.com", "preferred_username"] {
        assert!(!text.contains(personal), "{personal} in {text}");
    }
}

/// Returns the names of a line's fields, as a parser of `key=value` reads them, or `None` if the
/// parser would fail.
fn fields_of(line: &str) -> Option<Vec<&str>> {
    let first = line.match_indices('=').next()?.0;
    let mut rest = &line[line[..first].rfind(' ')? + 1..];
    let mut names = Vec::new();
    while !rest.is_empty() {
        let (name, value) = rest.split_once('=')?;
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        if name.is_empty() || !name.bytes().all(is_name) {
            return None;
        }
        names.push(name);
        let end = match value.strip_prefix('"') {
            Some(quoted) => {
                let mut escaped = false;
                let end = quoted.find(|character| {
                    let is_end = character == '"' && !escaped;
                    escaped = character == '\\' && !escaped;
                    is_end
                });
                end? + 2
            }
            None => value.find(' ').unwrap_or(value.len()),
        };
        rest = value[end..].strip_prefix(' ').unwrap_or(&value[end..]);
    }
    Some(names)
}

#[tokio::test(start_paused = true)]
async fn every_line_is_read_by_what_parses_key_and_value() {
    let (log, _guard) = Log::capture();
    let tenant = tenant().await;
    let auth = settings(&tenant).build().unwrap();
    for (_, _, token) in each_kind(&tenant) {
        send(&auth, Some(&token)).await;
    }
    for token in ["undefined", "\"x\"", "a b"] {
        send(&auth, Some(token)).await;
    }
    let strange = user(&tenant).claim("iss", "a \"b\" c=d \\");
    send(&auth, Some(&strange.mint())).await;
    tenant.key_endpoint().fail_with(500);
    tokio::time::advance(std::time::Duration::from_secs(4_000)).await;
    send(&auth, Some(&user(&tenant).header("kid", "another").mint())).await;

    let text = log.text();
    let lines = text
        .lines()
        .filter(|line| line.contains(" tower_entra_auth::"));
    let lines: Vec<&str> = lines.filter(|line| line.contains('=')).collect();
    assert!(lines.len() > 20, "{text}");
    for line in lines {
        assert!(fields_of(line).is_some(), "{line}");
    }
    assert_eq!(fields_of(" INFO a: b c=d e f=g"), None);
}

#[tokio::test]
async fn what_keys_fail_with_is_logged_with_its_remedy() {
    let (log, _guard) = Log::capture();
    let tenant = tenant().await;
    let auth = settings(&tenant)
        .tenant("0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d")
        .build()
        .unwrap();
    auth.ready().await.unwrap_err();
    let lines = log.lines_with("cannot fetch signing keys");
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("WARN") && lines[0].contains("tenant_not_found"));
    assert!(lines[0].contains("ENTRA_TENANT_ID") && lines[0].contains("failures=1"));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_anybody_can_compute_is_warned_of_once_beside_good_ones_and_alone() {
    let (beside, alone) = (tenant().await, tenant().await);
    let weak = json!({ "kty": "RSA", "kid": "weak", "n": ROCA_MODULUS, "e": "AQAB" });
    let document = json!({ "keys": [weak] }).to_string();
    beside.signing_keys().publish(weak);
    alone
        .key_endpoint()
        .answer_with(200, "application/json", &document);
    let brought = KeySet::from_jwks(document.as_bytes()).unwrap();
    let no_key = Some("no_usable_key");
    for (auth, expected) in [
        (settings(&beside).build().unwrap(), None),
        (settings(&alone).build().unwrap(), no_key),
        (of_source(&beside, brought).build().unwrap(), no_key),
    ] {
        let (log, _guard) = Log::capture();
        let failure = auth.ready().await.err();
        assert_eq!(failure.map(|failure| failure.code()), expected);
        // The keys are fetched several more times.
        sleep(3 * HOUR).await;
        let lines = log.lines_with("can be computed (ROCA); it is not used");
        assert_eq!(lines.len(), 1, "{}", log.text());
        let line = &lines[0];
        assert!(line.contains("WARN") && line.contains("weak"), "{line}");
    }
}
