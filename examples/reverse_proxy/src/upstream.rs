//! The service behind the proxy.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::answer::Body;
use crate::log::Throttle;
use crate::server::{CONNECTION_WINDOW, MAX_HEADER_BYTES, STREAM_WINDOW};
use crate::upload::{Sender, Upload};

/// Timeout for connecting to the upstream.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout for the headers of the response, counted from the last piece of the request that the
/// upstream took.
///
/// A long upload is therefore not a timeout.
pub(crate) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle time after which TCP checks whether the other end of a connection is still there.
///
/// HTTP/2 pings would detect more, but gRPC servers close connections that send one every minute.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
/// Time for which an idle connection is kept for the next request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The upstream, with the connections to it.
#[derive(Clone)]
pub(crate) struct Upstream<C = HttpConnector> {
    authority: Authority,
    /// Prefix of each path: empty, or a path without a slash at its end.
    base: String,
    version: Version,
    client: Client<C, Upload>,
    losses: Arc<Losses>,
}

/// Log throttles, one for each kind of request that got no response or only part of one.
#[derive(Default)]
struct Losses {
    not_connected: Throttle,
    broken_off: Throttle,
    late: Throttle,
    cut_short: Throttle,
}

/// Cause of a missing response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Failure {
    Unreachable,
    Late,
}

impl Upstream {
    /// Parses an upstream from `http://host:port[/base]` or `h2c://host:port`.
    ///
    /// The error says what is wrong with the text.
    pub(crate) fn new(text: &str) -> Result<Self, &'static str> {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_keepalive(Some(TCP_KEEPALIVE));
        connector.set_nodelay(true);
        Self::with_connector(text, connector)
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> Upstream<C> {
    /// Parses an upstream and connects to it through `connector` instead of TCP.
    pub(crate) fn with_connector(text: &str, connector: C) -> Result<Self, &'static str> {
        let (version, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Version::HTTP_11, rest),
            Some(("h2c", rest)) => (Version::HTTP_2, rest),
            Some(("https", _)) => return Err("is https, and TLS to the upstream is not supported"),
            _ => return Err("is neither http://host:port[/base] nor h2c://host:port"),
        };
        if rest.contains(['?', '#', '@']) {
            return Err("has a query, a fragment or a user, which an upstream cannot have");
        }
        let uri: Uri = ["http://", rest]
            .concat()
            .parse()
            .map_err(|_| "is not an address")?;
        let authority = uri.authority().ok_or("has no host")?;
        if authority.host().is_empty() {
            return Err("has no host");
        }
        let has_port = authority.as_str() != authority.host();
        if has_port && matches!(authority.port_u16(), None | Some(0)) {
            return Err("has a port outside of 1 to 65535");
        }
        Ok(Self {
            authority: authority.clone(),
            base: uri.path().trim_end_matches('/').to_owned(),
            version,
            client: client(connector, version),
            losses: Arc::default(),
        })
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// Returns the upstream's URI for the URI that the client asked for, or `None` if the result
    /// would be too long.
    pub(crate) fn uri(&self, asked: &Uri) -> Option<Uri> {
        let path = match asked.path_and_query() {
            // `path` is displayed with a slash before a query that has no path.
            Some(path) => format!("{}{path}", self.base),
            None => format!("{}/", self.base),
        };
        Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .ok()
    }

    /// Sends the request and returns the response as soon as its headers have arrived.
    pub(crate) async fn send(&self, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
        let (progress, taken) = watch::channel(());
        let sender = Arc::<Sender>::default();
        let request = request.map(|body| Upload::new(body, progress, Arc::clone(&sender)));
        let authority = &self.authority;
        let response = tokio::select! {
            response = self.client.request(request) => response,
            () = silence(taken) => {
                let limit = RESPONSE_TIMEOUT;
                if sender.is_awaited() {
                    tracing::debug!("a client sent nothing more of its upload for {limit:?}");
                } else {
                    let late = format_args!("upstream {authority}: no response within {limit:?}");
                    self.losses.late.warn(late);
                }
                return Err(Failure::Late);
            }
        };
        match response {
            // The client did not ask to switch protocols: the proxy removed that header.
            Ok(response) if response.status().is_informational() => {
                let status = response.status();
                let switched =
                    format_args!("upstream {authority}: {status}, which the proxy did not request");
                self.losses.broken_off.warn(switched);
                Err(Failure::Unreachable)
            }
            Ok(response) => Ok(response.map(|body| self.download(body, sender))),
            Err(error) if sender.has_broken_off() => {
                tracing::debug!("a client aborted its upload: {}", chain(&error));
                Err(Failure::Unreachable)
            }
            Err(error) => {
                let kind = match error.is_connect() {
                    true => &self.losses.not_connected,
                    false => &self.losses.broken_off,
                };
                kind.warn(format_args!("upstream {authority}: {}", chain(&error)));
                match is_timeout(&error) {
                    true => Err(Failure::Late),
                    false => Err(Failure::Unreachable),
                }
            }
        }
    }

    /// Returns the body of a response for the client.
    ///
    /// If the body breaks off, the log says so, because the client already has the status.
    fn download(&self, body: Incoming, sender: Arc<Sender>) -> Body {
        let (authority, losses) = (self.authority.clone(), Arc::clone(&self.losses));
        let told = move |error: hyper::Error| {
            let why = chain(&error);
            if sender.has_broken_off() {
                tracing::debug!("a client aborted its upload: {why}");
            } else {
                let half =
                    format_args!("upstream {authority}: the response was interrupted: {why}");
                losses.cut_short.warn(half);
            }
            error.into()
        };
        body.map_err(told).boxed()
    }
}

/// Completes when the upstream has taken no piece of the request for [`RESPONSE_TIMEOUT`].
async fn silence(mut taken: watch::Receiver<()>) {
    loop {
        match timeout(RESPONSE_TIMEOUT, taken.changed()).await {
            Ok(Ok(())) => {}
            // The upstream has taken the whole request.
            Ok(Err(_)) => return sleep(RESPONSE_TIMEOUT).await,
            Err(_) => return,
        }
    }
}

impl Failure {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Unreachable => StatusCode::BAD_GATEWAY,
            Self::Late => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Unreachable => "the upstream is not available",
            Self::Late => "the upstream did not respond in time",
        }
    }
}

fn client<C>(connector: C, version: Version) -> Client<C, Upload>
where
    C: Connect + Clone,
{
    Client::builder(TokioExecutor::new())
        .http2_only(version == Version::HTTP_2)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_timer(TokioTimer::new())
        .build(connector)
}

fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    causes(error)
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::TimedOut)
}

/// Joins an error and its causes for the log: hyper's own message says little without them.
fn chain(error: &(dyn Error + 'static)) -> String {
    let causes: Vec<String> = causes(error).map(ToString::to_string).collect();
    causes.join(": ")
}

fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
