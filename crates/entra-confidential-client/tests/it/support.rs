//! A token endpoint inside the test: it answers by a script and records the requests.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, Once};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use entra_confidential_client::{
    AuthorizationCode, BoxError, ConfidentialClient, ConfidentialClientBuilder, Credential, Secret,
    TokenError, TokenRequest,
};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, PublicKeyData as _, date_time_ymd};
use serde_json::{Value, json};
use tokio::time::sleep;
use tower::Service;
use tracing::Subscriber;
use tracing::subscriber::{DefaultGuard, set_default, set_global_default};
use tracing_subscriber::fmt::MakeWriter;

pub(crate) const CLIENT: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
pub(crate) const AUTHORITY: &str =
    "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47";
pub(crate) const ENDPOINT: &str =
    "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/oauth2/v2.0/token";
pub(crate) const SCOPES: [&str; 2] = ["api://6e74172b/Reports.Read", "offline_access"];
/// The client secret. Like the four constants below, it must never be printed.
pub(crate) const CLIENT_SECRET: &str = "s3cr3t~of-the+client%";
pub(crate) const CODE: &str = "0.AXkA-the-authorization-code";
pub(crate) const VERIFIER: &str = "the-code-verifier-dBjftJeZ4CVP";
pub(crate) const REFRESH_TOKEN: &str = "0.AXkA-the-refresh-token";
pub(crate) const USER_TOKEN: &str = "eyJ0eXAi.the-users-access-token";

pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A step of the script: the endpoint's reaction to one request.
pub(crate) enum Step {
    Answer(Response<Body>),
    /// Waits for this time, then does the inner step.
    Slow(Duration, Box<Step>),
    Fail(BoxError),
    /// Sends the head of a response, but never its body.
    Drip,
    /// Fails with an error that contains everything that was sent, decoded or as in the form.
    FailEcho {
        decoded: bool,
    },
    /// Returns a response that has a sent secret in every member, and the whole form in the
    /// description.
    Echo(u16),
}

/// The endpoint. For the crate it is an HTTP client that the user brings.
#[derive(Clone, Default)]
pub(crate) struct Script {
    steps: Arc<Mutex<VecDeque<Step>>>,
    sent: Arc<Mutex<Vec<Sent>>>,
}

/// A recorded request.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) uri: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) form: BTreeMap<String, String>,
}

impl Script {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        let script = Self::default();
        script.steps.lock().unwrap().extend(steps);
        script
    }

    /// Returns the requests so far.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    pub(crate) fn settings(&self, credential: impl Into<Credential>) -> ConfidentialClientBuilder {
        ConfidentialClient::builder()
            .authority(AUTHORITY)
            .client_id(CLIENT)
            .credential(credential)
            .http_client(self.clone())
    }

    pub(crate) fn client(&self) -> ConfidentialClient {
        self.settings(Secret::new(CLIENT_SECRET)).build().unwrap()
    }
}

impl Service<Request<Bytes>> for Script {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let body = request.body().clone();
        let pairs = form_urlencoded::parse(&body);
        let form: Vec<(String, String)> = pairs.into_owned().collect();
        let count = form.len();
        let form: BTreeMap<_, _> = form.into_iter().collect();
        assert_eq!(form.len(), count, "a parameter was sent twice");
        self.sent.lock().unwrap().push(Sent {
            uri: request.uri().to_string(),
            headers: request.headers().clone(),
            form: form.clone(),
        });
        let step = self.steps.lock().unwrap().pop_front();
        let step = step.expect("one request more than the script has answers");
        Box::pin(act(step, body))
    }
}

async fn act(mut step: Step, sent: Bytes) -> Result<Response<Body>, BoxError> {
    loop {
        match step {
            Step::Answer(response) => return Ok(response),
            Step::Slow(span, then) => {
                sleep(span).await;
                step = *then;
            }
            Step::Fail(error) => return Err(error),
            Step::Drip => {
                let body = StreamBody::new(futures_util::stream::pending::<Result<_, BoxError>>());
                return Ok(Response::new(body.boxed_unsync()));
            }
            Step::FailEcho { decoded } => {
                let form = String::from_utf8_lossy(&sent);
                let values = form_urlencoded::parse(&sent).map(|(_, value)| value.into_owned());
                let text = if decoded {
                    values.collect()
                } else {
                    form.into_owned()
                };
                return Err(format!("cannot send {text}").into());
            }
            Step::Echo(status) => return Ok(echo(status, &sent)),
        }
    }
}

fn echo(status: u16, sent: &Bytes) -> Response<Body> {
    let secrets = [
        "code",
        "refresh_token",
        "assertion",
        "client_assertion",
        "client_secret",
    ];
    let all = String::from_utf8_lossy(sent).into_owned();
    let form: BTreeMap<_, _> = form_urlencoded::parse(sent).collect();
    let secret = secrets.iter().find_map(|name| form.get(*name)).unwrap();
    let members = [
        "error",
        "suberror",
        "correlation_id",
        "trace_id",
        "timestamp",
    ];
    let mut document = serde_json::Map::new();
    for member in members {
        document.insert(member.to_owned(), json!(secret));
    }
    document.insert("error_description".to_owned(), json!(all));
    answer(status, Value::Object(document).to_string())
}

/// Builds a response with this body.
pub(crate) fn answer(status: u16, body: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(body.into()).map_err(|never: Infallible| match never {});
    Response::builder()
        .status(status)
        .body(body.boxed_unsync())
        .unwrap()
}

pub(crate) fn json(status: u16, body: &Value) -> Step {
    Step::Answer(answer(status, body.to_string()))
}

/// Returns a refusal in Entra's format.
pub(crate) fn refusal(status: u16, error: &str, code: u64) -> Value {
    json!({
        "error": error,
        "error_description": format!(
            "AADSTS{code}: The user ada@contoso.com did something. Trace ID: … Correlation ID: …"
        ),
        "error_codes": [code],
        "timestamp": "2026-11-26 13:00:00Z",
        "trace_id": "11111111-2222-3333-4444-555555555555",
        "correlation_id": "66666666-7777-8888-9999-aaaaaaaaaaaa",
        "error_uri": format!("https://login.microsoftonline.com/error?code={code}"),
        "status": status,
    })
}

/// Returns a successful response in Entra's format.
pub(crate) fn tokens() -> Value {
    json!({
        "token_type": "Bearer",
        "scope": "api://6e74172b/Reports.Read",
        "expires_in": 3_599,
        "ext_expires_in": 3_599,
        "access_token": "eyJ0eXAi.new-access-token",
        "refresh_token": "0.AXkA-new-refresh-token",
        "id_token": "eyJ0eXAi.new-id-token",
    })
}

pub(crate) fn refresh() -> TokenRequest {
    TokenRequest::refresh_token(REFRESH_TOKEN, SCOPES)
}

/// Returns a request that redeems a code, and so is sent only once.
pub(crate) fn code() -> TokenRequest {
    let code = AuthorizationCode::new(CODE)
        .redirect_uri("https://app.contoso.com/callback")
        .code_verifier(VERIFIER);
    TokenRequest::authorization_code(code, SCOPES)
}

/// Returns the error of one redemption of a code for which the endpoint does this step.
pub(crate) async fn error_of(step: Step) -> TokenError {
    let script = Script::new([step]);
    script.client().send(code()).await.unwrap_err()
}

/// A certificate with its key.
pub(crate) struct Issued {
    pub(crate) der: Vec<u8>,
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
    /// `RSAPublicKey`, as rcgen encodes it.
    pub(crate) public_key: Vec<u8>,
    pkcs8: Vec<u8>,
}

/// Returns one of two certificates, which are generated only once because RSA keys take a while.
pub(crate) fn issued(index: usize) -> &'static Issued {
    static ISSUED: [LazyLock<Issued>; 2] = [LazyLock::new(Issued::new), LazyLock::new(Issued::new)];
    &ISSUED[index]
}

impl Issued {
    fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.not_after = date_time_ymd(2036, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            der: certificate.der().to_vec(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            public_key: key.der_bytes().to_vec(),
            pkcs8: key.serialize_der(),
        }
    }

    pub(crate) fn pem(&self) -> String {
        format!("{}{}", self.certificate_pem, self.key_pem)
    }

    /// Returns the key in PKCS #1, as older versions of OpenSSL wrote it.
    ///
    /// PKCS #8 ends with the PKCS #1 key: a sequence with a length of two bytes. Before it are 22
    /// bytes of version and algorithm, and 4 bytes of the octet string around it.
    pub(crate) fn pkcs1_pem(&self) -> String {
        let text = BASE64_STANDARD.encode(&self.pkcs8[26..]);
        let lines: Vec<_> = text
            .as_bytes()
            .chunks(64)
            .map(String::from_utf8_lossy)
            .collect();
        let body = lines.join("\n");
        format!("-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----\n")
    }
}

/// A folder that is removed when the value is dropped.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("entra-confidential-client-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn subscriber<W>(writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(writer)
        .finish()
}

/// The log of this thread, at every level and of every crate, while the value lives.
pub(crate) struct Logs {
    written: Arc<Mutex<Vec<u8>>>,
    _guard: DefaultGuard,
}

impl Logs {
    pub(crate) fn capture() -> Self {
        // A subscriber for all threads. Without it, a test on another thread that is the first to
        // reach a log line can disable that line for all threads.
        static FOR_ALL: Once = Once::new();
        FOR_ALL.call_once(|| set_global_default(subscriber(io::sink)).unwrap());
        let written = Arc::new(Mutex::new(Vec::new()));
        let writer = Writer(Arc::clone(&written));
        Self {
            written,
            _guard: set_default(subscriber(move || writer.clone())),
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
    }

    /// Returns the number of lines of this level.
    pub(crate) fn count(&self, level: &str) -> usize {
        let level = format!(" {level} ");
        self.text()
            .lines()
            .filter(|line| line.contains(&level))
            .count()
    }
}

#[derive(Clone)]
struct Writer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
