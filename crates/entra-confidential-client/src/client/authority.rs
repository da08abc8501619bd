//! The authority, and the token endpoints of its tenants.

use entra_http::{is_loopback_host, secure_url, slip_in};
use http::Uri;

use crate::text::printable_url;

/// The URL of an authority: `https`, or `http` on loopback, with the tenant at the end of its path.
#[derive(Clone, Debug)]
pub(super) struct Authority {
    /// The URL without a slash at its end.
    text: String,
    /// The token endpoint of the authority's own tenant.
    endpoint: String,
}

impl Authority {
    const EXAMPLE: &str = "https://login.microsoftonline.com/<tenant id>";

    /// Parses the setting, with or without a slash at its end.
    ///
    /// The error is a message for people that says what would be right.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, String> {
        let example = Self::EXAMPLE;
        let text = text.ok_or_else(|| format!("not set; for example {example}"))?;
        let text = text.trim();
        Self::of(text).map_err(|why| {
            let why = slip_in(text).unwrap_or(why);
            let shown = printable_url(text);
            match authority_of(text) {
                Some(right) => {
                    let right = printable_url(right);
                    format!("the URL {shown:?} has more than the tenant in its path; set {right}")
                }
                None => format!("the URL {shown:?} {why}; for example {example}"),
            }
        })
    }

    /// Parses the text. The error completes the sentence "the URL …".
    fn of(text: &str) -> Result<Self, &'static str> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let uri = secure_url(text, false)?;
        if text.contains(['?', '#']) {
            return Err("has a query or a fragment; remove it");
        }
        let path = uri.path();
        if path == "/" {
            return Err("names no tenant");
        }
        let mut segments = path.split('/').skip(1);
        // Only segments that no HTTP client changes: an assertion is signed for exactly this URL.
        if !segments.clone().all(is_segment) {
            return Err(
                "has a path segment that is empty, `.` or `..`, or that has characters other than \
                 letters, digits, -, . and _",
            );
        }
        if segments.any(is_behind_the_tenant) {
            return Err("has more than the tenant in its path");
        }
        let text = uri.to_string();
        let endpoint = endpoint_under(&text).ok_or("is too long")?;
        Ok(Self { text, endpoint })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the token endpoint of the authority's own tenant.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Returns the host and port, for people, and whether the host is this machine.
    pub(super) fn place(&self) -> (String, bool) {
        let uri = self.text.parse::<Uri>().unwrap_or_default();
        let host = uri.host().unwrap_or_default();
        let default = match uri.scheme_str() {
            Some("http") => 80,
            _ => 443,
        };
        let port = uri.port_u16().unwrap_or(default);
        (format!("{host}:{port}"), is_loopback_host(host))
    }

    /// Returns the token endpoint of `tenant`, or of the authority's own tenant if it is `None`.
    ///
    /// Scheme, host and the rest of the path stay the same for any text of the tenant. The error is
    /// a message for people.
    pub(super) fn endpoint_of(&self, tenant: Option<&str>) -> Result<String, &'static str> {
        let Some(tenant) = tenant else {
            return Ok(self.endpoint.clone());
        };
        if !is_tenant(tenant) {
            return Err("the tenant is neither an id nor a domain name");
        }
        if ["common", "organizations", "consumers"].contains(&&*tenant.to_ascii_lowercase()) {
            return Err("a request needs one tenant, not common, organizations or consumers");
        }
        match self.text.rsplit_once('/') {
            Some((before, own)) if is_tenant(own) => {
                endpoint_under(&format!("{before}/{tenant}")).ok_or("the authority is too long")
            }
            // For example, a user flow of Azure AD B2C, such as b2c_1_sign_in.
            _ => Err(
                "the authority does not end with a tenant, so a request cannot replace the tenant",
            ),
        }
    }
}

/// Returns the token endpoint of an authority that ends in a tenant, or `None` if it is too long
/// for a URL.
fn endpoint_under(authority: &str) -> Option<String> {
    let endpoint = format!("{authority}/oauth2/v2.0/token");
    endpoint.parse::<Uri>().is_ok().then_some(endpoint)
}

/// Returns whether a text has the form of a tenant's id or domain name, and cannot lead to another
/// path or host.
fn is_tenant(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    (1..=253).contains(&text.len()) && text.bytes().all(is_allowed) && !matches!(text, "." | "..")
}

fn is_segment(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !text.is_empty() && text.bytes().all(is_allowed) && !matches!(text, "." | "..")
}

/// Returns whether a path segment belongs to an endpoint, an issuer or a discovery document.
fn is_behind_the_tenant(segment: &str) -> bool {
    matches!(segment, "oauth2" | "v2.0" | ".well-known")
}

/// Returns the authority in the URL of an endpoint, an issuer or a discovery document.
fn authority_of(url: &str) -> Option<&str> {
    let mut slashes = url.match_indices('/').map(|(at, _)| url.split_at(at));
    let (authority, _) = slashes.find(|(_, rest)| {
        let segment = rest.split('/').nth(1);
        segment.is_some_and(is_behind_the_tenant)
    })?;
    Authority::of(authority).is_ok().then_some(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

    #[test]
    fn an_authority_of_any_host_is_taken_over_https_and_of_loopback_over_http() {
        for good in [
            "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47",
            "https://login.microsoftonline.com/contoso.onmicrosoft.com",
            "https://login.microsoftonline.com/organizations",
            "https://contoso.ciamlogin.com/72f988bf-86f1-41af-91ab-2d7cd011db47",
            "https://contoso.b2clogin.com/contoso.onmicrosoft.com/b2c_1_sign_in",
            "http://127.0.0.1:7580/t",
            "http://localhost:7580/t",
            "http://[::1]:7580/t",
        ] {
            for text in [good.to_owned(), format!("{good}/"), format!(" {good}\n")] {
                let authority = Authority::parse(Some(&text)).unwrap();
                assert_eq!(authority.as_str(), good);
                assert_eq!(authority.endpoint(), format!("{good}/oauth2/v2.0/token"));
            }
        }
    }

    #[test]
    fn what_goes_on_behind_the_tenant_is_refused_with_the_authority() {
        for rest in [
            "/v2.0",
            "/v2.0/",
            "/oauth2/v2.0/token",
            "/oauth2/token",
            "/oauth2/v2.0/token?x=secret",
            "/v2.0/.well-known/openid-configuration",
            "/.well-known/openid-configuration",
        ] {
            let url = format!("https://login.microsoftonline.com/{TENANT}{rest}");
            assert_eq!(
                Authority::parse(Some(&url)).unwrap_err(),
                format!(
                    "the URL {:?} has more than the tenant in its path; set \
                     https://login.microsoftonline.com/{TENANT}",
                    printable_url(&url)
                )
            );
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_reason_and_an_example() {
        for (bad, reason) in [
            ("", "not a URL"),
            ("login.microsoftonline.com", "neither https"),
            ("/t", "not a URL"),
            ("http://10.0.0.1/t", "only loopback"),
            ("http://10.0.0.1/t/oauth2/v2.0/token", "only loopback"),
            ("http://127.0.0.1.evil.example/t", "only loopback"),
            ("http://127.0.0.1@evil.example/t", "user name"),
            ("ftp://127.0.0.1/t", "neither https"),
            ("https://login.microsoftonline.com", "names no tenant"),
            ("https://login.microsoftonline.com/", "names no tenant"),
            ("https://login.microsoftonline.com//", "names no tenant"),
            ("https://login.microsoftonline.com/t//", "empty"),
            ("https://login.microsoftonline.com//t", "empty"),
            ("https://login.microsoftonline.com/a/../t", "`..`"),
            ("https://login.microsoftonline.com/t/.", "`.`"),
            ("https://login.microsoftonline.com/%2e%2e/t", "characters"),
            ("https://login.microsoftonline.com/a\\t", "characters"),
            ("https://login.microsoftonline.com/t@evil", "characters"),
            ("https://login.microsoftonline.com/t?x=y", "query"),
            ("https://login.microsoftonline.com/t#x", "fragment"),
            (
                "https://login.microsoftonline.com/oauth2/v2.0/token",
                "more than the tenant",
            ),
        ] {
            let error = Authority::parse(Some(bad)).unwrap_err();
            assert!(error.contains(reason), "{bad}: {error}");
            let example = "; for example https://login.microsoftonline.com/<tenant id>";
            assert!(error.ends_with(example), "{bad}: {error}");
        }
    }

    #[test]
    fn a_tenant_takes_the_place_of_the_authoritys_own() {
        let longest = "a".repeat(253);
        for (authority, before) in [
            (
                "https://login.microsoftonline.com/organizations",
                "https://login.microsoftonline.com",
            ),
            ("http://127.0.0.1:7580/t/", "http://127.0.0.1:7580"),
            (
                "https://gateway.contoso.com/entra/contoso.com",
                "https://gateway.contoso.com/entra",
            ),
        ] {
            let authority = Authority::parse(Some(authority)).unwrap();
            for tenant in [TENANT, "fabrikam.onmicrosoft.com", "FABRIKAM.com", &longest] {
                let endpoint = authority.endpoint_of(Some(tenant)).unwrap();
                assert_eq!(endpoint, format!("{before}/{tenant}/oauth2/v2.0/token"));
            }
            for all in ["common", "organizations", "Consumers"] {
                let error = authority.endpoint_of(Some(all)).unwrap_err();
                assert!(error.contains("needs one tenant"), "{error}");
            }
            let own = authority.endpoint_of(None).unwrap();
            assert_eq!(own, authority.endpoint());
        }
    }

    #[test]
    fn a_user_flow_is_not_replaced_by_a_tenant() {
        let url = "https://contoso.b2clogin.com/contoso.onmicrosoft.com/b2c_1_sign_in";
        let authority = Authority::parse(Some(url)).unwrap();
        let error = authority.endpoint_of(Some(TENANT)).unwrap_err();
        assert_eq!(
            error,
            "the authority does not end with a tenant, so a request cannot replace the tenant"
        );
    }
}
