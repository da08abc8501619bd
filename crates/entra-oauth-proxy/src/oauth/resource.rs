//! The resource that tokens are for.

use tower_entra_auth::entra_jwt_core::integration::EscapedUrl;
use url::Url;

use super::{ErrorCode, OAuthError, Parameters};
use crate::telemetry::Finding;

/// The resource, with the spellings that are accepted for it (RFC 8707).
#[derive(Clone, Debug)]
pub(crate) struct ResourceId {
    url: String,
    parsed: Url,
    name: Option<String>,
    is_required: bool,
    accepts_parents: bool,
}

impl ResourceId {
    /// Builds the resource from its URL.
    ///
    /// `name` is its name for users. `is_required` says whether a client must name the resource.
    /// `accepts_parents` says whether a parent path on the same origin is accepted for it.
    pub(crate) fn new(
        parsed: Url,
        name: Option<&str>,
        is_required: bool,
        accepts_parents: bool,
    ) -> Self {
        let url = match parsed.path() {
            "/" => parsed.as_str().trim_end_matches('/').to_owned(),
            _ => parsed.as_str().to_owned(),
        };
        Self {
            url,
            parsed,
            name: name.map(str::to_owned),
            is_required,
            accepts_parents,
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns the resource's name for users, or the host if it has no name.
    pub(crate) fn shown_name(&self) -> &str {
        let host = || self.parsed.host_str().unwrap_or(&self.url);
        self.name.as_deref().unwrap_or_else(host)
    }

    /// Checks that every `resource` parameter names this resource.
    ///
    /// A request for another server's resource is refused, even if all the rest is right. Otherwise
    /// another server could present this server as its own authorization server, and would receive
    /// tokens for this resource.
    pub(crate) fn check(&self, parameters: &Parameters) -> Result<(), OAuthError> {
        if self.is_required && parameters.all("resource").next().is_none() {
            return Err(self.refused("the parameter resource is missing"));
        }
        self.check_named(parameters)
    }

    /// Checks the `resource` parameters as [`check`](Self::check) does, but permits requests
    /// without any.
    pub(crate) fn check_named(&self, parameters: &Parameters) -> Result<(), OAuthError> {
        let mut named = parameters.all("resource");
        match named.find(|text| !self.is(text)) {
            None => Ok(()),
            Some(other) => {
                let reason = Finding::from("this server issues tokens for another resource");
                Err(self.refused(reason.found(EscapedUrl(other).to_string())))
            }
        }
    }

    fn refused(&self, reason: impl Into<Finding>) -> OAuthError {
        let finding = reason.into().expected(&self.url);
        OAuthError::new(ErrorCode::InvalidTarget, finding)
    }

    /// Returns whether a URL names this resource.
    ///
    /// A slash at the end, the case of scheme and host, and a query make no difference.
    fn is(&self, text: &str) -> bool {
        let Ok(other) = Url::parse(text) else {
            return false;
        };
        let is_plain = other.username().is_empty()
            && other.password().is_none()
            && !text.contains(['#', '\\', '\t', '\n', '\r'])
            && other.origin() == self.parsed.origin();
        let path = |url: &Url| url.path().trim_end_matches('/').to_owned();
        let (ours, theirs) = (path(&self.parsed), path(&other));
        let is_parent = || {
            ours.strip_prefix(&theirs)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        is_plain && (ours == theirs || self.accepts_parents && is_parent())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(accepts_parents: bool) -> ResourceId {
        let url = Url::parse("https://mcp.example.com/v1/mcp").unwrap();
        ResourceId::new(url, None, false, accepts_parents)
    }

    #[test]
    fn spellings_of_the_resource_are_the_resource() {
        for text in [
            "https://mcp.example.com/v1/mcp",
            "https://mcp.example.com/v1/mcp/",
            "HTTPS://MCP.example.com/v1/mcp",
            "https://mcp.example.com:443/v1/mcp",
            "https://mcp.example.com/v1/mcp?kb_name=x",
        ] {
            assert!(resource(false).is(text), "{text}");
        }
    }

    #[test]
    fn anything_else_is_another_resource() {
        for text in [
            "",
            "https://mcp.example.com",
            "https://mcp.example.com/v1",
            "https://mcp.example.com/v1/mcp/x",
            "https://mcp.example.com/v1/MCP",
            "http://mcp.example.com/v1/mcp",
            "https://mcp.example.com:8443/v1/mcp",
            "https://evil.example/v1/mcp",
            "https://mcp.example.com@evil.example/v1/mcp",
            "https://user@mcp.example.com/v1/mcp",
            "https://mcp.example.com.evil.example/v1/mcp",
            "https://mcp.example.com/v1/mcp#x",
            "https:\\\\mcp.example.com\\v1\\mcp",
            "api://6e74172b-be56-4843-9ff4-e66a39bb12e3",
            "/v1/mcp",
        ] {
            assert!(!resource(false).is(text), "{text}");
        }
    }

    #[test]
    fn parents_on_the_same_origin_pass_where_that_is_set() {
        for text in [
            "https://mcp.example.com",
            "https://mcp.example.com/",
            "https://mcp.example.com/v1",
        ] {
            assert!(resource(true).is(text), "{text}");
        }
        for text in [
            "https://evil.example",
            "https://mcp.example.com/v",
            "https://mcp.example.com/v2",
        ] {
            assert!(!resource(true).is(text), "{text}");
        }
    }

    #[test]
    fn all_that_are_named_must_be_ours() {
        let check = |query: &str| resource(false).check(&query.parse::<Parameters>().unwrap());
        let ours = "resource=https://mcp.example.com/v1/mcp";
        assert!(check("").is_ok());
        assert!(check(&format!("{ours}&{ours}/")).is_ok());
        let error = check(&format!("{ours}&resource=https://evil.example/")).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidTarget);
        let required = ResourceId {
            is_required: true,
            ..resource(false)
        };
        assert!(required.check(&"".parse::<Parameters>().unwrap()).is_err());
    }
}
