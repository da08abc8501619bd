//! The standard client: reqwest with rustls, without redirects, retries, cookies or a pool.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use reqwest::redirect::Policy;
use reqwest::{Body, Client};
use tower_service::Service;

use super::{BoxError, Classified, Failure, HttpClient};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client for `https`, or for `http` alone; that one needs no CA certificates and takes no
/// proxy from the environment, as its endpoint is on loopback.
pub(super) fn client(plain_http: bool) -> Result<HttpClient, String> {
    let builder = Client::builder()
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        // What repeats a request must know what is in it.
        .retry(reqwest::retry::never())
        // On a kept connection that the server is just closing, an authorization code is lost.
        .pool_max_idle_per_host(0)
        .user_agent(concat!(
            "entra-confidential-client/",
            env!("CARGO_PKG_VERSION")
        ));
    let builder = if plain_http {
        builder.no_proxy().tls_certs_only([])
    } else {
        builder.https_only(true)
    };
    let client = builder.build().map_err(|error| {
        format!(
            "cannot be made ({}); if this image has no CA certificates, install them (Debian and \
             Ubuntu: apt-get install ca-certificates, Alpine: apk add ca-certificates) or name a \
             bundle in SSL_CERT_FILE",
            innermost(&error)
        )
    })?;
    Ok(HttpClient::new(Reqwest(client)))
}

#[derive(Clone)]
struct Reqwest(Client);

impl Service<Request<Bytes>> for Reqwest {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let client = self.0.clone();
        Box::pin(async move {
            let request = reqwest::Request::try_from(request)?;
            match client.execute(request).await {
                Ok(response) => Ok(response.into()),
                Err(error) => Err(Box::new(Classified {
                    failure: classify(&error),
                    source: error.into(),
                }) as BoxError),
            }
        })
    }
}

/// The words by what the connectors below write into their errors.
fn classify(error: &reqwest::Error) -> Failure {
    Failure {
        what: if error.is_connect() {
            connecting(error)
        } else {
            "the connection broke"
        },
        was_not_sent: error.is_connect(),
    }
}

fn connecting(error: &reqwest::Error) -> &'static str {
    // Not the outermost: it names the URL.
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string().to_ascii_lowercase();
        if text.contains("tunnel") || text.contains("proxy") {
            return "the proxy does not connect";
        }
        if text.contains("dns error") {
            return "DNS does not know the host";
        }
        if text.contains("certificate")
            || text.contains("handshake")
            || text.contains("invalidcontenttype")
            || text.contains("tls")
        {
            return "TLS failed";
        }
        source = error.source();
    }
    "no connection"
}

fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
