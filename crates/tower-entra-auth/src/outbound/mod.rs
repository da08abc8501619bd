//! The seam to HTTP: any tower service that answers with a streaming body, and the URLs that are safe
//! to send to.

#[cfg(feature = "reqwest")]
mod reqwest;

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::Body;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use tower_service::Service;

/// Any error that crosses threads.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

type SendResult = Result<Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError>;
type SendRequest =
    dyn Fn(Request<Bytes>) -> Pin<Box<dyn Future<Output = SendResult> + Send>> + Send + Sync;

/// An HTTP client, whatever it is made of. Its callers limit size and time.
#[derive(Clone)]
pub(crate) struct HttpClient(Arc<SendRequest>);

/// The reason for which a request got no answer, as far as a client can tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(
    not(feature = "reqwest"),
    expect(dead_code, reason = "only the standard client classifies")
)]
pub(crate) enum Failure {
    Dns,
    Tls,
    Proxy,
    Connect,
}

/// An error that says which [`Failure`] it is.
#[derive(Debug)]
struct Classified {
    failure: Failure,
    source: BoxError,
}

impl HttpClient {
    pub(crate) fn new<S, B>(service: S) -> Self
    where
        S: Service<Request<Bytes>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        // A lock, held to clone, asks less of the service than `Sync`.
        let service = Mutex::new(service);
        Self(Arc::new(move |request| {
            let mut service = service
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            Box::pin(async move {
                poll_fn(|context| service.poll_ready(context))
                    .await
                    .map_err(Into::into)?;
                let response = service.call(request).await.map_err(Into::into)?;
                Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
            })
        }))
    }

    /// Makes the client of the feature `reqwest`; the error is for people.
    pub(crate) fn standard(plain_http: bool) -> Result<Self, String> {
        #[cfg(feature = "reqwest")]
        return reqwest::client(plain_http);
        #[cfg(not(feature = "reqwest"))]
        {
            let _ = plain_http;
            Err(
                "not set, and the feature `reqwest` is off; bring one with http_client(..)"
                    .to_owned(),
            )
        }
    }

    pub(crate) async fn send(&self, request: Request<Bytes>) -> SendResult {
        (self.0)(request).await
    }
}

impl Failure {
    /// Returns the failure of any client's error; what no client classified counts as no connection.
    pub(crate) fn of(error: &BoxError) -> Self {
        error
            .downcast_ref::<Classified>()
            .map_or(Self::Connect, |classified| classified.failure)
    }
}

impl fmt::Display for Classified {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(formatter)
    }
}

impl std::error::Error for Classified {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HttpClient")
    }
}

/// Parses a URL of `https`, or of `http` on loopback. The error completes the sentence "the URL …".
pub(crate) fn secure_url(text: &str, allow_plain_http: bool) -> Result<Uri, &'static str> {
    let uri: Uri = text
        .parse()
        .map_err(|_| "is no URL of the form https://host")?;
    let host = plain_host(&uri)?;
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if allow_plain_http || is_loopback(host) => Ok(uri),
        Some("http") => Err("is http, which only loopback may be"),
        _ => Err("is neither https nor http"),
    }
}

/// Returns the host, if the authority is nothing but host and port: a user name in front of it is how
/// one host is made to look like another.
pub(crate) fn plain_host(uri: &Uri) -> Result<&str, &'static str> {
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            Err("has a user name or password; leave it out")
        }
        Some(authority) if !authority.host().is_empty() => Ok(authority.host()),
        _ => Err("is no URL of the form https://host"),
    }
}

pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
