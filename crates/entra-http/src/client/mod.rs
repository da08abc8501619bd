//! The HTTP client: any tower service whose responses have a streaming body.

#[cfg(feature = "reqwest")]
mod reqwest;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tower_service::Service;

/// An error of any type that can be sent between threads.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

type SendResult = Result<Response<Option<Bytes>>, BoxError>;
type SendRequest =
    dyn Fn(Request<Bytes>, usize) -> Pin<Box<dyn Future<Output = SendResult> + Send>> + Send + Sync;

/// An HTTP client that wraps any tower service.
///
/// It has no timeout: its callers limit the time.
#[derive(Clone)]
pub struct HttpClient(Arc<SendRequest>);

/// The settings of the standard client, reqwest with rustls.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "written as a literal, so that no crate forgets a setting; another one is a breaking change"
)]
pub struct StandardClient {
    /// `true` if the calling crate has its own feature `reqwest` on.
    ///
    /// Cargo unifies the features of this crate over the whole program. A calling crate without the
    /// feature must not get the client because another crate enabled it.
    pub enabled: bool,
    /// The `User-Agent` header, such as `tower-entra-auth/0.1.0`.
    pub user_agent: &'static str,
    /// Time limit for making a connection.
    pub connect_timeout: Duration,
    /// `true` for `http` only, to a server on loopback; `false` for `https` only.
    ///
    /// For `http`, the client needs no CA certificates and uses no proxy from the environment.
    pub plain_http: bool,
}

/// The failure of a request without a response, as far as the standard client knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Failure {
    /// The cause, as far as it is known.
    pub cause: FailureCause,
    /// `true` if the request certainly never left this machine.
    pub was_not_sent: bool,
}

/// The cause of a failure, recognised by the error texts of the libraries that connect.
///
/// It only chooses the words of messages for people; no code decides by it. There will be no
/// further variants: any other cause is [`Connect`](Self::Connect).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "no cause will be added, and every crate has a text for each"
)]
pub enum FailureCause {
    /// DNS does not know the host.
    Dns,
    /// TLS failed, for example because a certificate is not trusted.
    Tls,
    /// The HTTP proxy between this machine and the host does not connect.
    Proxy(ProxyFailure),
    /// The connection failed, or the cause is none of the others.
    Connect,
}

/// The failure of an HTTP proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "as with `FailureCause`, every crate has a text for each"
)]
pub enum ProxyFailure {
    /// The proxy cannot be reached.
    Unreachable,
    /// The proxy demands a user name and password (407).
    Credentials,
    /// The proxy refuses to connect to the host, or closes the connection.
    Refused,
}

/// Returns the host and port of the proxy that the environment sets for `https`, without user name
/// and password.
///
/// Reads `HTTPS_PROXY`, then `ALL_PROXY`, each also in lower case.
#[must_use]
pub fn https_proxy() -> Option<String> {
    let variables = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let set = variables.iter().filter_map(|name| std::env::var(name).ok());
    proxy_of(&set.into_iter().find(|value| !value.is_empty())?)
}

/// Returns the host and port of a proxy's URL. The URL may lack its scheme.
fn proxy_of(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    let host = uri.host()?;
    Some(match uri.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

/// An error together with its [`Failure`].
#[derive(Debug)]
struct Classified {
    failure: Failure,
    source: BoxError,
}

impl HttpClient {
    /// Creates a client from a tower service.
    pub fn new<S, B>(service: S) -> Self
    where
        S: Service<Request<Bytes>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        // The lock is held only to clone. With it the service need not be `Sync`.
        let service = Mutex::new(service);
        Self(Arc::new(move |request, limit| {
            let mut service = service
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            Box::pin(async move {
                poll_fn(|context| service.poll_ready(context))
                    .await
                    .map_err(Into::into)?;
                let response = service.call(request).await.map_err(Into::into)?;
                let (head, body) = response.into_parts();
                let body = match Limited::new(body, limit).collect().await {
                    Ok(body) => Some(body.to_bytes()),
                    Err(error) if error.is::<LengthLimitError>() => None,
                    Err(error) => return Err(error),
                };
                Ok(Response::from_parts(head, body))
            })
        }))
    }

    /// Creates the client of the feature `reqwest`: no redirects, no retries, no cookies, no
    /// connection pool.
    ///
    /// # Errors
    /// A message for people about the setting `http_client`: there are no CA certificates, or the
    /// feature is off.
    pub fn standard(settings: StandardClient) -> Result<Self, String> {
        #[cfg(feature = "reqwest")]
        if settings.enabled {
            return reqwest::client(settings);
        }
        let _ = settings;
        Err(
            "not set, and the feature `reqwest` is off; provide one with http_client(..)"
                .to_owned(),
        )
    }

    /// Sends a request and returns the response with its body.
    ///
    /// The body is `None` if it is longer than `limit` bytes.
    ///
    /// # Errors
    /// The errors of the wrapped service; [`Failure::of`] returns their known cause.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        limit: usize,
    ) -> Result<Response<Option<Bytes>>, BoxError> {
        (self.0)(request, limit).await
    }
}

impl Failure {
    /// Returns the failure of an error of the standard client, or `None` for errors of other
    /// clients.
    #[must_use]
    pub fn of(error: &BoxError) -> Option<Self> {
        let classified = error.downcast_ref::<Classified>();
        classified.map(|classified| classified.failure)
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

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tokio::net::TcpSocket;

    use super::*;

    #[test]
    fn a_proxy_is_named_without_user_and_password() {
        for (url, shown) in [
            ("http://proxy.example:3128", Some("proxy.example:3128")),
            (
                "http://user:s3cr3t@proxy.example:3128/",
                Some("proxy.example:3128"),
            ),
            ("https://proxy.example", Some("proxy.example")),
            ("proxy.example:3128", Some("proxy.example:3128")),
            ("not a proxy", None),
            ("", None),
        ] {
            assert_eq!(proxy_of(url).as_deref(), shown, "{url}");
        }
    }

    fn get(uri: String) -> Request<Bytes> {
        Request::get(uri).body(Bytes::new()).unwrap()
    }

    fn standard(enabled: bool) -> StandardClient {
        StandardClient {
            enabled,
            user_agent: "entra-http",
            connect_timeout: Duration::from_secs(5),
            plain_http: true,
        }
    }

    #[test]
    fn a_crate_whose_feature_is_off_gets_no_client_by_the_feature_of_another() {
        let problem = HttpClient::standard(standard(false)).unwrap_err();
        assert!(problem.contains("`reqwest` is off"), "{problem}");
    }

    #[tokio::test]
    async fn a_response_has_its_body_up_to_the_limit() {
        let client = HttpClient::new(tower::service_fn(async |_| {
            Ok::<_, BoxError>(Response::new(Full::<Bytes>::from("12345")))
        }));
        let send = async |limit| client.send(get("https://host".to_owned()), limit).await;
        assert_eq!(send(5).await.unwrap().into_body().unwrap(), "12345");
        assert_eq!(send(4).await.unwrap().into_body(), None);
    }

    #[tokio::test]
    async fn what_a_closed_port_refuses_was_not_sent_and_of_others_errors_nothing_is_known() {
        // Bound, so that no other process gets the port, but not listening.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let closed = format!("http://{}", socket.local_addr().unwrap());
        let client = HttpClient::standard(standard(true));
        let error = client.unwrap().send(get(closed), 0).await.unwrap_err();
        let expected = Failure {
            cause: FailureCause::Connect,
            was_not_sent: true,
        };
        assert_eq!(Failure::of(&error), Some(expected));
        assert_eq!(Failure::of(&"reset".into()), None);
    }
}
