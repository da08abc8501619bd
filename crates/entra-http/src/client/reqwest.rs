//! The standard client: reqwest with rustls, without redirects, retries, cookies or a pool.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use reqwest::redirect::Policy;
use reqwest::{Body, Client};
use tower_service::Service;

use super::{
    BoxError, Classified, Failure, FailureCause, HttpClient, ProxyFailure, StandardClient,
};

/// Builds the client of [`HttpClient::standard`].
pub(super) fn client(settings: StandardClient) -> Result<HttpClient, String> {
    let builder = Client::builder()
        .redirect(Policy::none())
        .connect_timeout(settings.connect_timeout)
        // Only code that knows a request's content may repeat the request.
        .retry(reqwest::retry::never())
        // If the server is just closing a pooled connection, the request on it is lost, and with it
        // an authorization code. A pooled connection would also belong to a runtime that may end
        // before the next request.
        .pool_max_idle_per_host(0)
        .user_agent(settings.user_agent);
    let builder = if settings.plain_http {
        builder.no_proxy().tls_certs_only([])
    } else {
        builder.https_only(true)
    };
    let client = builder.build().map_err(|error| {
        format!(
            "cannot be created ({}); if this image has no CA certificates, install them (Debian \
             and Ubuntu: apt-get install ca-certificates, Alpine: apk add ca-certificates) or name \
             a bundle in SSL_CERT_FILE",
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
                    failure: Failure {
                        cause: cause(&error),
                        was_not_sent: error.is_connect(),
                    },
                    source: error.into(),
                }) as BoxError),
            }
        })
    }
}

/// Returns the cause, recognised by the texts that the connectors write into the inner errors.
fn cause(error: &reqwest::Error) -> FailureCause {
    // Skips the outermost error, because it names the URL.
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string().to_ascii_lowercase();
        if text.contains("tunnel") || text.contains("proxy") {
            return FailureCause::Proxy(if text.contains("authorization required") {
                ProxyFailure::Credentials
            } else if text.contains("underlying connection") {
                ProxyFailure::Unreachable
            } else {
                ProxyFailure::Refused
            });
        }
        if text.contains("dns error") {
            return FailureCause::Dns;
        }
        if text.contains("certificate")
            || text.contains("handshake")
            || text.contains("invalidcontenttype")
            || text.contains("tls")
        {
            return FailureCause::Tls;
        }
        source = error.source();
    }
    FailureCause::Connect
}

fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
