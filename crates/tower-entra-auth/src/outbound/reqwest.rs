//! The standard client: reqwest with rustls, without redirects, cookies or a pool.

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

/// The time that a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Makes a client for `https`, or for `http` alone; that one needs no CA certificates and takes no
/// proxy from the environment, as its endpoint is on loopback.
pub(super) fn client(plain_http: bool) -> Result<HttpClient, String> {
    let builder = Client::builder()
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        // Fetches are hours apart, and a kept connection would belong to a runtime that may end.
        .pool_max_idle_per_host(0)
        .user_agent(concat!("tower-entra-auth/", env!("CARGO_PKG_VERSION")));
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

/// Classifies by what the connectors below write into their errors; it only chooses the remedy's
/// words.
fn classify(error: &reqwest::Error) -> Failure {
    // Not the outermost: it names the URL.
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string().to_ascii_lowercase();
        if text.contains("tunnel") || text.contains("proxy") {
            return Failure::Proxy;
        }
        if text.contains("dns error") {
            return Failure::Dns;
        }
        if text.contains("certificate")
            || text.contains("handshake")
            || text.contains("invalidcontenttype")
            || text.contains("tls")
        {
            return Failure::Tls;
        }
        source = error.source();
    }
    Failure::Connect
}

fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
