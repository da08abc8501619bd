//! Recorded requests to an endpoint, and their parameters.

use std::fmt;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, header};
use tokio::time::Instant;

use crate::entra_error::EntraError;

/// A request as it arrived.
///
/// The tenant keeps only the [parameters](Self::parameter) of a form, and no other body.
/// `Debug` shows neither
/// credentials (`Authorization`, `Proxy-Authorization`, `Cookie`) nor the values of parameters,
/// except `appid` in the query.
#[derive(Clone)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// The method, such as `GET`.
    pub method: Method,
    /// The path and, if there is one, `?` and the query, as the client sent them.
    pub path_and_query: String,
    /// The headers, of which those with credentials are marked as sensitive.
    pub headers: HeaderMap,
    arrived_at: Instant,
    query: Parameters,
    form: Parameters,
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
            arrived_at: Instant::now(),
            query: Parameters::parse(uri.query().unwrap_or_default().as_bytes()),
            form: Parameters::default(),
        }
    }

    /// Records a request with its form. The form is empty if the request has none, or one of more
    /// than 1 MiB.
    pub(crate) async fn with_form(request: Request<Body>) -> Self {
        const LONGEST: usize = 1 << 20;
        let mut recorded = Self::of(&request);
        let content_type = recorded.header(header::CONTENT_TYPE.as_str());
        let media_type = content_type.and_then(|value| value.split(';').next());
        if media_type.is_some_and(|media_type| {
            media_type
                .trim()
                .eq_ignore_ascii_case("application/x-www-form-urlencoded")
        }) && let Ok(body) = to_bytes(request.into_body(), LONGEST).await
        {
            recorded.form = Parameters::parse(&body);
        }
        recorded
    }

    /// Returns the time at which the request arrived, by tokio's clock.
    ///
    /// Compare it with a time of the same clock, tokio's `Instant::now().into_std()`, because tests
    /// may pause that clock.
    #[must_use]
    pub fn arrived_at(&self) -> std::time::Instant {
        self.arrived_at.into_std()
    }

    /// Returns the value of this header, or the first one if there are several.
    ///
    /// A value that is not text counts as none.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the decoded value of a parameter of the form or, if it is not there, of the query.
    ///
    /// If there are several values, the result is the first one.
    ///
    /// ```
    /// # async fn check(tenant: entra_dev_tenant::DevTenant) {
    /// let requests = tenant.token_endpoint().requests();
    /// let refresh = requests.last().unwrap();
    /// assert_eq!(refresh.parameter("grant_type"), Some("refresh_token"));
    /// assert_eq!(refresh.parameter("resource"), None);
    /// # }
    /// ```
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.form.raw(name).or_else(|| self.query.raw(name))
    }

    /// Returns the parameters of the query, and those of the form.
    pub(crate) fn parameters(&self) -> (Parameters, Parameters) {
        (self.query.clone(), self.form.clone())
    }
}

impl fmt::Debug for RecordedRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RecordedRequest")
            .field("method", &self.method)
            .field("path_and_query", &without_values(&self.path_and_query))
            .field("headers", &self.headers)
            .field("form", &self.form.names().collect::<Vec<_>>())
            .field("arrived_at", &self.arrived_at)
            .finish_non_exhaustive()
    }
}

/// The decoded parameters of a query or of a form, in their order.
#[derive(Clone, Default)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn parse(encoded: &[u8]) -> Self {
        Self(form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// Returns the value of the first parameter with this name, which may be empty.
    pub(crate) fn raw(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(found, _)| found == name)?;
        Some(value)
    }

    /// Returns the value of the first parameter with this name. An empty value counts as none.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.raw(name).filter(|value| !value.is_empty())
    }

    pub(crate) fn required(&self, name: &str) -> Result<&str, EntraError> {
        self.get(name).ok_or_else(|| {
            let message =
                format!("The request body must contain the following parameter: '{name}'.");
            EntraError::new("invalid_request", 900_144, message)
        })
    }

    /// Refuses a request that has a parameter twice (RFC 6749 §3.1).
    pub(crate) fn check_each_is_there_once(&self) -> Result<(), EntraError> {
        for (position, (name, _)) in self.0.iter().enumerate() {
            if self.0[..position]
                .iter()
                .any(|(earlier, _)| earlier == name)
            {
                let message = format!(
                    "The request is not properly formatted. The parameter '{name}' is duplicated."
                );
                return Err(EntraError::new("invalid_request", 9_000_411, message));
            }
        }
        Ok(())
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// Removes the first parameter with this name and returns its value.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let position = self.0.iter().position(|(found, _)| found == name)?;
        Some(self.0.remove(position).1)
    }

    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub(crate) fn encoded(&self) -> String {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&self.0)
            .finish()
    }
}

/// Returns a path and its query without the values of parameters. If a client wrongly sends its
/// secret in the query, a test must see the mistake but not the secret.
fn without_values(path_and_query: &str) -> String {
    let Some((path, query)) = path_and_query.split_once('?') else {
        return path_and_query.to_owned();
    };
    let parameters: Vec<_> = query
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some(("appid", _)) => parameter.to_owned(),
            Some((name, _)) => format!("{name}=…"),
            // The whole text may be a value.
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
