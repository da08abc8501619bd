//! The address of the token endpoint.

use entra_http::secure_url;
use http::Uri;

/// The URL of a token endpoint: `https`, or `http` on loopback, and with Entra's v2 path.
#[derive(Clone, Debug)]
pub(super) struct TokenEndpoint {
    uri: Uri,
    text: String,
}

impl TokenEndpoint {
    /// Parses the URL; the error completes the sentence "the URL …".
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let uri = secure_url(text, false)?;
        if text.contains(['?', '#']) {
            return Err("has a query or a fragment; leave it out");
        }
        if !uri.path().ends_with("/oauth2/v2.0/token") {
            return Err(
                "does not end in /oauth2/v2.0/token; the endpoint without v2.0 takes other \
                 requests",
            );
        }
        Ok(Self {
            text: text.to_owned(),
            uri,
        })
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn is_plain_http(&self) -> bool {
        self.uri.scheme_str() == Some("http")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_v2_endpoint_of_any_host_is_taken_over_https_and_of_loopback_over_http() {
        for good in [
            "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/oauth2/v2.0/token",
            "https://contoso.b2clogin.com/contoso.onmicrosoft.com/b2c_1_sign_in/oauth2/v2.0/token",
            "http://127.0.0.1:7580/t/oauth2/v2.0/token",
            "http://localhost:7580/t/oauth2/v2.0/token",
            "http://[::1]:7580/t/oauth2/v2.0/token",
        ] {
            assert_eq!(TokenEndpoint::parse(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_reason() {
        for (bad, reason) in [
            ("", "no URL"),
            ("login.microsoftonline.com", "neither https"),
            ("/t/oauth2/v2.0/token", "no URL"),
            ("http://10.0.0.1/t/oauth2/v2.0/token", "only loopback"),
            (
                "http://127.0.0.1.evil.example/t/oauth2/v2.0/token",
                "only loopback",
            ),
            (
                "http://127.0.0.1@evil.example/t/oauth2/v2.0/token",
                "user name",
            ),
            ("ftp://127.0.0.1/t/oauth2/v2.0/token", "neither https"),
            ("https://login.microsoftonline.com/t/oauth2/token", "v2.0"),
            ("https://login.microsoftonline.com/t", "v2.0"),
            (
                "https://login.microsoftonline.com/t/oauth2/v2.0/token?x=y",
                "query",
            ),
            (
                "https://login.microsoftonline.com/t/oauth2/v2.0/token#x",
                "fragment",
            ),
        ] {
            let error = TokenEndpoint::parse(bad).unwrap_err();
            assert!(error.contains(reason), "{bad}: {error}");
        }
    }
}
