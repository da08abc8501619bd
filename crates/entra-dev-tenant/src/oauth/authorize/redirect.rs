//! The answer to the client, by way of the browser.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::html::{escaped, hidden, page};
use crate::dev_tenant::Inner;
use crate::entra_error::EntraError;

/// Where an answer goes, and how.
#[derive(Clone, Debug)]
pub(crate) struct Redirect {
    pub(super) uri: String,
    pub(super) mode: ResponseMode,
    pub(super) state: Option<String>,
    pub(super) parameters: Vec<(&'static str, String)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ResponseMode {
    Query,
    Fragment,
    FormPost,
}

impl Redirect {
    /// Entra sends no `iss` (RFC 9207).
    pub(super) fn with(mut self, parameters: Vec<(&'static str, String)>) -> Self {
        self.parameters = parameters;
        if let Some(state) = self.state.clone() {
            self.parameters.push(("state", state));
        }
        self
    }

    pub(super) fn with_error(self, tenant: &Inner, error: &EntraError) -> Self {
        self.with(error.redirect_parameters(&tenant.issuer.clock))
    }

    /// A form has no URL of its own: then what a query would be.
    pub(crate) fn url(&self) -> String {
        let parameters = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&self.parameters)
            .finish();
        let separator = match self.mode {
            ResponseMode::Fragment => '#',
            ResponseMode::Query | ResponseMode::FormPost if self.uri.contains('?') => '&',
            ResponseMode::Query | ResponseMode::FormPost => '?',
        };
        format!("{}{separator}{parameters}", self.uri)
    }

    pub(crate) fn into_response(self) -> Response {
        if self.mode == ResponseMode::FormPost {
            return self.form();
        }
        let no_store = (
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-store, no-cache"),
        );
        match HeaderValue::from_str(&self.url()) {
            Ok(url) => (StatusCode::FOUND, [(header::LOCATION, url), no_store]).into_response(),
            // A redirect URI that was registered with a control character in it.
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }

    /// Entra's is sent by a script; here the user does it.
    fn form(&self) -> Response {
        let fields: String = self
            .parameters
            .iter()
            .map(|(name, value)| hidden(name, value))
            .collect();
        let action = escaped(&self.uri);
        let body = format!(
            "<p>The answer goes to the application when you press the button.</p>\n\
             <form method=\"post\" action=\"{action}\">\n{fields}\
             <button type=\"submit\">Continue to {action}</button>\n</form>\n"
        );
        page(StatusCode::OK, "Working...", &body)
    }
}
