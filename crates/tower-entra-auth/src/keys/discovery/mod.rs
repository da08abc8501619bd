//! URL of the discovery document, and the URLs of keys that may follow from it.

mod fetch;

use entra_http::{is_loopback_host, plain_host, secure_url};
use entra_jwt_core::{ClientId, Cloud, TenantId, integration::Authority};
use http::Uri;

/// Base URL of the discovery documents of all tenants, or the full URL of one document.
#[derive(Clone, Debug)]
pub(crate) struct MetadataBase {
    text: String,
    is_document: bool,
}

/// URL of the discovery document. Always `https`, or `http` on loopback, unless a dangerous setting
/// permits plain `http`.
#[derive(Clone, Debug)]
struct MetadataEndpoint {
    uri: Uri,
    aliases: Aliases,
}

/// Hosts that serve the same documents as the host of the discovery document.
#[derive(Clone, Debug)]
enum Aliases {
    /// The hosts of the cloud.
    Cloud(Cloud),
    /// The host `{tenant}.ciamlogin.com`, even if the discovery document is on another host.
    ExternalId(String),
}

impl MetadataBase {
    const DOCUMENT: &str = "/v2.0/.well-known/openid-configuration";

    /// Returns the base URL of a cloud.
    pub(crate) fn of_cloud(cloud: Cloud) -> Self {
        Self {
            text: format!("https://{}", cloud.authority_host()),
            is_document: false,
        }
    }

    /// Returns the base URL of an External ID tenant, for a host name such as
    /// `contoso.ciamlogin.com`. The error completes the sentence "the host …".
    pub(crate) fn of_external_id(host: &str) -> Result<Self, &'static str> {
        let host = host.trim();
        let host = host.strip_prefix("https://").unwrap_or(host);
        let host = host.trim_end_matches('/').to_ascii_lowercase();
        let is_name = host.contains('.')
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
        if !is_name {
            return Err("is not a host name");
        }
        if Cloud::ALL.iter().any(|cloud| cloud.is_host(&host)) {
            return Err("is a host of workforce tenants, which have other keys");
        }
        Ok(Self {
            text: format!("https://{host}"),
            is_document: false,
        })
    }

    /// Parses a base URL such as `http://127.0.0.1:7580`, to which the tenant's path is added, or
    /// the full URL of a discovery document. The error completes the sentence "the URL …".
    pub(crate) fn configured(text: &str, allow_plain_http: bool) -> Result<Self, &'static str> {
        let text = text.trim().trim_end_matches('/');
        let uri = secure_url(text, allow_plain_http)?;
        let path = uri.path().trim_end_matches('/');
        let is_document = path.contains("/.well-known/");
        let last = path.rsplit('/').next().unwrap_or_default();
        let is_authority = matches!(last, "v2.0" | "common" | "organizations" | "consumers")
            || last.parse::<TenantId>().is_ok();
        if is_document && !path.ends_with(Self::DOCUMENT) {
            return Err("is not the address of a v2.0 discovery document");
        }
        if is_authority {
            return Err("ends with the path of a tenant, which is added automatically; remove it");
        }
        if uri.query().is_some() && !is_document {
            return Err("has a query, which is allowed only in the full address of a document");
        }
        Ok(Self {
            text: text.to_owned(),
            is_document,
        })
    }

    /// Returns whether the URL is on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        let uri = self.text.parse::<Uri>().ok();
        uri.and_then(|uri| uri.host().map(is_loopback_host))
            .unwrap_or_default()
    }

    /// Returns whether the URL is on loopback, on a host of the cloud or on a host of the External
    /// ID tenant.
    ///
    /// The hosts of the External ID tenant are the configured one and the tenant's own. Except on
    /// loopback, the URL must be `https`.
    pub(crate) fn is_own(
        &self,
        cloud: Cloud,
        external_id: Option<&str>,
        tenant: Option<TenantId>,
    ) -> bool {
        let Ok(uri) = self.text.parse::<Uri>() else {
            return false;
        };
        let Ok(host) = plain_host(&uri) else {
            return false;
        };
        let of_external_id = external_id.is_some_and(|named| {
            let named = Self::of_external_id(named).map(|named| named.text);
            named.is_ok_and(|named| named == format!("https://{host}"))
                || tenant.is_some_and(|tenant| host == format!("{tenant}.ciamlogin.com"))
        });
        let is_https = uri.scheme_str() == Some("https");
        is_loopback_host(host) || is_https && (cloud.is_host(host) || of_external_id)
    }

    pub(crate) fn is_plain_http(&self) -> bool {
        self.text.starts_with("http://")
    }

    /// Returns the base URL of the authority's endpoints.
    pub(crate) fn authority_url(&self, authority: &Authority) -> String {
        match self.text.split_once(Self::DOCUMENT) {
            Some((before, _)) => before.to_owned(),
            None => format!("{}/{}", self.text, authority.tenancy().path_segment()),
        }
    }

    /// Returns the URL of the discovery document of an authority, or `None` if it would not be
    /// valid. With the id of an application, the document leads to the application's own keys.
    fn of_authority(
        &self,
        authority: &Authority,
        application: Option<ClientId>,
    ) -> Option<MetadataEndpoint> {
        let segment = authority.tenancy().path_segment();
        let text = if self.is_document {
            self.text.clone()
        } else {
            format!("{}/{segment}{}", self.text, Self::DOCUMENT)
        };
        let text = match application {
            Some(id) => {
                let separator = if text.contains('?') { '&' } else { '?' };
                format!("{text}{separator}appid={id}")
            }
            None => text,
        };
        let uri = text.parse().ok()?;
        let aliases = if authority.is_external_id() {
            Aliases::ExternalId(format!("{segment}.ciamlogin.com"))
        } else {
            Aliases::Cloud(authority.cloud())
        };
        Some(MetadataEndpoint { uri, aliases })
    }
}

impl MetadataEndpoint {
    fn uri(&self) -> &Uri {
        &self.uri
    }

    fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    fn is_https(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// Returns the URL of the keys that a discovery document names, if it is as trustworthy as this
    /// endpoint.
    ///
    /// The URL must be on the same origin, or `https` on a host that serves the same documents. It
    /// never goes from `https` down to `http`.
    fn key_address(&self, jwks_uri: &str) -> Option<Uri> {
        let uri: Uri = jwks_uri.parse().ok()?;
        let host = plain_host(&uri).ok()?;
        let same_origin =
            uri.scheme() == self.uri.scheme() && uri.authority() == self.uri.authority();
        let is_alias = match &self.aliases {
            Aliases::Cloud(cloud) => cloud.is_host(host) && cloud.is_host(self.host()),
            Aliases::ExternalId(of_tenant) => host == of_tenant && self.is_https(),
        };
        let is_plain = uri.scheme_str() == Some("https") && uri.port().is_none();
        (same_origin || is_plain && is_alias).then_some(uri)
    }
}

#[cfg(test)]
mod tests {
    use entra_jwt_core::Validator;

    use super::*;

    const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

    fn configured(text: &str) -> Result<MetadataEndpoint, &'static str> {
        let base = MetadataBase::configured(text, false)?;
        Ok(base.of_authority(&authority(false), None).unwrap())
    }

    fn authority(is_external_id: bool) -> Authority {
        let tenant: TenantId = TENANT.parse().unwrap();
        let rules = Validator::entra(tenant, TENANT.parse().unwrap());
        let rules = if is_external_id {
            rules.external_id()
        } else {
            rules
        };
        rules.build().unwrap().authority().clone()
    }

    #[test]
    fn a_base_is_completed_and_a_full_address_is_kept() {
        let path = format!("/{TENANT}/v2.0/.well-known/openid-configuration");
        for base in [
            "https://login.microsoftonline.com",
            "http://127.0.0.1:7580/",
            "https://gateway.contoso.com/entra",
        ] {
            let endpoint = configured(base).unwrap();
            let expected = format!("{}{path}", base.trim_end_matches('/'));
            assert_eq!(endpoint.uri().to_string(), expected);
        }
        let full = "https://login.contoso.com/x/v2.0/.well-known/openid-configuration?appid=y";
        assert_eq!(configured(full).unwrap().uri().to_string(), full);
    }

    #[test]
    fn what_is_pasted_from_elsewhere_is_refused_with_the_reason() {
        let host = "https://login.microsoftonline.com";
        for (text, reason) in [
            (format!("{host}/{TENANT}/v2.0"), "path of a tenant"),
            (format!("{host}/{TENANT}/"), "path of a tenant"),
            (format!("{host}/common"), "path of a tenant"),
            (
                format!("{host}/{TENANT}/.well-known/openid-configuration"),
                "v2.0 discovery",
            ),
            (
                format!("{host}/{TENANT}/v2.0/.well-known/jwks"),
                "v2.0 discovery",
            ),
            (format!("{host}?appid=x"), "query"),
            ("https://user:secret@host".to_owned(), "user name"),
        ] {
            let error = configured(&text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
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
            "http://127.0.0.1@evil.example",
            "https://",
            "login.microsoftonline.com",
            "",
            "not a url",
        ] {
            assert!(configured(text).is_err(), "{text}");
        }
        assert!(MetadataBase::configured("http://tenant:80", true).is_ok());
    }

    #[test]
    fn keys_come_from_the_same_origin_or_an_alias_of_the_cloud() {
        let entra = configured("https://login.microsoftonline.com").unwrap();
        for good in [
            "https://login.microsoftonline.com/x/discovery/v2.0/keys",
            "https://login.windows.net/x/discovery/v2.0/keys?appid=y",
            "https://westus2.login.microsoft.com/x/discovery/v2.0/keys",
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

    #[test]
    fn external_id_is_reached_by_its_name_or_a_custom_domain() {
        for host in [
            "contoso.ciamlogin.com",
            "https://Contoso.ciamlogin.com/",
            "login.contoso.com",
        ] {
            let base = MetadataBase::of_external_id(host).unwrap();
            let endpoint = base.of_authority(&authority(true), None).unwrap();
            let uri = endpoint.uri().to_string();
            assert!(uri.ends_with(&format!("/{TENANT}/v2.0/.well-known/openid-configuration")));
            assert!(!uri.contains("Contoso"), "{uri}");
            let own_host = format!("https://{}/x/keys", endpoint.host());
            let tenants_host = format!("https://{TENANT}.ciamlogin.com/x/keys");
            for good in [&own_host, &tenants_host] {
                assert!(endpoint.key_address(good).is_some(), "{host} {good}");
            }
            for bad in [
                "https://other.ciamlogin.com/x/keys",
                "https://login.microsoftonline.com/x/keys",
                &tenants_host.replace("https", "http"),
                &tenants_host.replace(".com/", ".com:8443/"),
            ] {
                assert!(endpoint.key_address(bad).is_none(), "{host} {bad}");
            }
        }
        for host in [
            "",
            "contoso",
            "http://contoso.ciamlogin.com",
            "contoso.ciamlogin.com/tenant",
            "user@contoso.ciamlogin.com",
            "login.microsoftonline.com",
        ] {
            assert!(MetadataBase::of_external_id(host).is_err(), "{host}");
        }
        // `entra-dev-tenant` acting as External ID must have its keys on its own origin.
        let local = MetadataBase::configured("http://127.0.0.1:7580", false).unwrap();
        let local = local.of_authority(&authority(true), None).unwrap();
        let elsewhere = format!("https://{TENANT}.ciamlogin.com/keys");
        assert!(local.key_address("http://127.0.0.1:7580/keys").is_some());
        assert!(local.key_address(&elsewhere).is_none());
    }
}
