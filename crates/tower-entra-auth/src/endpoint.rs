//! The address of the discovery document, and which addresses for keys may follow from it.

use std::net::IpAddr;

use entra_jwt_core::{Cloud, TenantId};
use http::Uri;

/// Where the discovery document is. Always `https`, or `http` on loopback, unless a setting named
/// dangerous says otherwise.
#[derive(Clone, Debug)]
pub(crate) struct MetadataEndpoint {
    uri: Uri,
    cloud: Cloud,
}

impl MetadataEndpoint {
    /// The configured cloud's own.
    pub(crate) fn of_cloud(cloud: Cloud, tenant: TenantId) -> Result<Self, &'static str> {
        let base = format!("https://{}", cloud.authority_host());
        Self::configured(&base, cloud, tenant, false)
    }

    /// A base such as `http://127.0.0.1:7580`, to which the tenant's path is added, or the full
    /// address of a discovery document.
    pub(crate) fn configured(
        text: &str,
        cloud: Cloud,
        tenant: TenantId,
        allow_plain_http: bool,
    ) -> Result<Self, &'static str> {
        let text = text.trim_end_matches('/');
        let text = if text.contains("/.well-known/") {
            text.to_owned()
        } else {
            format!("{text}/{tenant}/v2.0/.well-known/openid-configuration")
        };
        let uri: Uri = text.parse().map_err(|_| "is no URL")?;
        let host = plain_host(&uri).ok_or("is no URL of the form https://host")?;
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if allow_plain_http || is_loopback(host) => {}
            Some("http") => return Err("is http, which only loopback may be"),
            _ => return Err("is neither https nor http"),
        }
        Ok(Self { uri, cloud })
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(crate) fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    pub(crate) fn is_plain_http(&self) -> bool {
        self.uri.scheme_str() == Some("http")
    }

    /// The address for keys that a discovery document names, if it can be trusted as this
    /// endpoint is: on the same origin, or between hosts of the same cloud, never from `https`
    /// down to `http`.
    pub(crate) fn key_address(&self, jwks_uri: &str) -> Option<Uri> {
        let uri: Uri = jwks_uri.parse().ok()?;
        let host = plain_host(&uri)?;
        let same_origin =
            uri.scheme() == self.uri.scheme() && uri.authority() == self.uri.authority();
        let aliases = self.cloud.host_aliases();
        let alias = uri.scheme_str() == Some("https")
            && uri.port().is_none()
            && aliases.contains(&host)
            && aliases.contains(&self.host());
        (same_origin || alias).then_some(uri)
    }
}

/// The host, if the authority is nothing but host and port: a user name in front of it is how
/// one host is made to look like another.
fn plain_host(uri: &Uri) -> Option<&str> {
    let authority = uri.authority()?;
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return None;
    }
    Some(authority.host())
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

    fn configured(text: &str) -> Result<MetadataEndpoint, &'static str> {
        MetadataEndpoint::configured(text, Cloud::Public, TENANT.parse().unwrap(), false)
    }

    #[test]
    fn a_base_is_completed_and_a_full_address_is_kept() {
        let path = format!("/{TENANT}/v2.0/.well-known/openid-configuration");
        for base in [
            "https://login.microsoftonline.com",
            "http://127.0.0.1:7580/",
        ] {
            let endpoint = configured(base).unwrap();
            assert_eq!(
                endpoint.uri().to_string(),
                format!("{}{path}", base.trim_end_matches('/'))
            );
        }
        let full = "https://login.contoso.com/x/v2.0/.well-known/openid-configuration?appid=y";
        assert_eq!(configured(full).unwrap().uri().to_string(), full);
    }

    #[test]
    fn http_is_for_loopback_only_unless_allowed() {
        for text in [
            "http://127.0.0.1:1",
            "http://localhost:1",
            "http://[::1]:1",
            "http://127.9.9.9",
        ] {
            assert!(configured(text).is_ok(), "{text}");
        }
        for text in [
            "http://login.microsoftonline.com",
            "http://10.0.0.1",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "ftp://127.0.0.1",
            "https://user@login.microsoftonline.com",
            "http://127.0.0.1@evil.example",
            "https://",
            "login.microsoftonline.com",
            "",
            "not a url",
        ] {
            assert!(configured(text).is_err(), "{text}");
        }
        let tenant = TENANT.parse().unwrap();
        assert!(
            MetadataEndpoint::configured("http://tenant:80", Cloud::Public, tenant, true).is_ok()
        );
    }

    #[test]
    fn keys_come_from_the_same_origin_or_an_alias_of_the_cloud() {
        let entra = MetadataEndpoint::of_cloud(Cloud::Public, TENANT.parse().unwrap()).unwrap();
        for good in [
            "https://login.microsoftonline.com/x/discovery/v2.0/keys",
            "https://login.windows.net/x/discovery/v2.0/keys?appid=y",
        ] {
            assert!(entra.key_address(good).is_some(), "{good}");
        }
        for bad in [
            "http://login.microsoftonline.com/x/keys",
            "https://login.microsoftonline.us/x/keys",
            "https://login.microsoftonline.com.evil.example/keys",
            "https://login.microsoftonline.com@evil.example/keys",
            "https://login.microsoftonline.com:8443/keys",
            "https://evil.example/keys",
            "file:///etc/passwd",
            "/x/keys",
            "",
        ] {
            assert!(entra.key_address(bad).is_none(), "{bad}");
        }
        let local = configured("http://127.0.0.1:7580").unwrap();
        assert!(local.key_address("http://127.0.0.1:7580/keys").is_some());
        assert!(local.key_address("http://127.0.0.1:7581/keys").is_none());
        assert!(
            local
                .key_address("https://login.microsoftonline.com/keys")
                .is_none()
        );
    }
}
