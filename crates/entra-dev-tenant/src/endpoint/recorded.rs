//! What an endpoint was asked.

use std::fmt;

use axum::http::{HeaderMap, Method, Request, header};
use tokio::time::Instant;

/// A request as it arrived; its body is not kept.
///
/// Its `Debug` shows neither credentials (`Authorization`, `Proxy-Authorization`, `Cookie`) nor
/// the values of query parameters, other than `appid`.
#[derive(Clone)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// The method, such as `GET`.
    pub method: Method,
    /// The path and, if there is one, `?` and the query, as they were sent.
    pub path_and_query: String,
    /// The headers; those with credentials are marked as sensitive.
    pub headers: HeaderMap,
    /// When it arrived, by tokio's clock.
    pub at: Instant,
}

impl RecordedRequest {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let mut headers = request.headers().clone();
        for name in [
            header::AUTHORIZATION,
            header::PROXY_AUTHORIZATION,
            header::COOKIE,
        ] {
            if let header::Entry::Occupied(mut entry) = headers.entry(name) {
                entry.iter_mut().for_each(|value| value.set_sensitive(true));
            }
        }
        let uri = request.uri();
        Self {
            method: request.method().clone(),
            path_and_query: match uri.path_and_query() {
                Some(path_and_query) => path_and_query.to_string(),
                None => uri.path().to_owned(),
            },
            headers,
            at: Instant::now(),
        }
    }

    /// The header's value, the first if there are several; `None` as well if it is no text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What `If-None-Match` says, where it means anything.
    pub(super) fn condition(&self) -> Option<String> {
        let is_read = matches!(self.method, Method::GET | Method::HEAD);
        let condition = self.header(header::IF_NONE_MATCH.as_str());
        condition.filter(|_| is_read).map(str::to_owned)
    }
}

impl fmt::Debug for RecordedRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RecordedRequest")
            .field("method", &self.method)
            .field("path_and_query", &without_values(&self.path_and_query))
            .field("headers", &self.headers)
            .field("at", &self.at)
            .finish()
    }
}

/// A client that sends its secret in the query is wrong, and must be seen to be without the secret.
fn without_values(path_and_query: &str) -> String {
    let Some((path, query)) = path_and_query.split_once('?') else {
        return path_and_query.to_owned();
    };
    let parameters: Vec<_> = query
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some(("appid", _)) => parameter.to_owned(),
            Some((name, _)) => format!("{name}=…"),
            // All of it may be a value.
            None => "…".to_owned(),
        })
        .collect();
    format!("{path}?{}", parameters.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn debug_shows_no_credentials() {
        let request = Request::get("/x/token?appid=1&client_secret=hush&hush")
            .header("authorization", "Basic hush")
            .header("proxy-authorization", "Basic hush")
            .header("cookie", "a=hush")
            .header("accept", "application/json")
            .body(());
        let recorded = RecordedRequest::of(&request.unwrap());
        let shown = format!("{recorded:?}");
        assert!(!shown.contains("hush"), "{shown}");
        for part in [
            "/x/token?appid=1&client_secret=…&…",
            "GET",
            "application/json",
        ] {
            assert!(shown.contains(part), "{shown}");
        }
        assert_eq!(recorded.header("Authorization"), Some("Basic hush"));
    }
}
