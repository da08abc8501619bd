//! The tenant's realm, the authorities that it serves, and their discovery documents.
//!
//! The documents have the members that Entra serves, with the issuers, hosts and names of the cloud
//! that the tenant plays. Only the addresses of endpoints are local.

use serde_json::{Value, json};

use crate::entra_error::EntraError;

/// Tenant id of personal Microsoft accounts, the same in every cloud.
pub(crate) const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// The version of Entra's endpoints, documents and tokens.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// The tenant's id, URL and cloud.
pub(crate) struct Realm {
    /// The tenant id.
    pub(crate) id: String,
    /// The base URL of the endpoints in the tenant's documents.
    pub(crate) url: String,
    pub(crate) cloud: DevCloud,
    /// `true` if the tenant plays one of External ID (CIAM).
    pub(crate) is_external_id: bool,
}

impl Realm {
    /// Returns the authority that the first segment of a path names.
    pub(crate) fn authority(&self, segment: &str) -> Result<Authority<'_>, EntraError> {
        match segment {
            own if own.eq_ignore_ascii_case(&self.id) => Ok(Authority::Tenant(&self.id)),
            other if self.is_external_id => Err(EntraError::tenant_not_found(other)),
            "common" => Ok(Authority::Common),
            "organizations" => Ok(Authority::Organizations),
            "consumers" | CONSUMERS => Ok(Authority::Consumers),
            other => Err(EntraError::tenant_not_found(other)),
        }
    }

    pub(crate) fn v2_issuer(&self, tenant: &str) -> String {
        if self.is_external_id {
            format!("https://{tenant}.ciamlogin.com/{tenant}/v2.0")
        } else {
            self.cloud.v2_issuer(tenant)
        }
    }

    /// Returns the discovery document of an authority. Its `jwks_uri` has `appid`, if that is
    /// given.
    pub(crate) fn discovery(
        &self,
        authority: Authority<'_>,
        version: Version,
        appid: Option<&str>,
    ) -> Value {
        let query = appid.map_or_else(String::new, |appid| format!("?appid={appid}"));
        match version {
            Version::V1 => self.v1_discovery(authority, &query),
            Version::V2 => self.v2_discovery(authority, &query),
        }
    }

    /// Returns the document of `/{tenant}/v2.0/.well-known/openid-configuration`, as captured in
    /// July 2026.
    fn v2_discovery(&self, authority: Authority<'_>, query: &str) -> Value {
        let cloud = self.cloud;
        let local = format!("{}/{}", self.url, authority.segment());
        json!({
            "token_endpoint": format!("{local}/oauth2/v2.0/token"),
            "token_endpoint_auth_methods_supported": [
                "client_secret_post", "private_key_jwt", "client_secret_basic",
                "self_signed_tls_client_auth",
            ],
            "jwks_uri": format!("{local}/discovery/v2.0/keys{query}"),
            "response_modes_supported": ["query", "fragment", "form_post"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "issuer": self.v2_issuer(authority.issuer_tenant()),
            "request_uri_parameter_supported": false,
            "userinfo_endpoint": format!("https://{}/oidc/userinfo", cloud.graph_host()),
            "authorization_endpoint": format!("{local}/oauth2/v2.0/authorize"),
            "device_authorization_endpoint": format!("{local}/oauth2/v2.0/devicecode"),
            "http_logout_supported": true,
            "frontchannel_logout_supported": true,
            "end_session_endpoint": format!("{local}/oauth2/v2.0/logout"),
            "claims_supported": [
                "sub", "iss", "cloud_instance_name", "cloud_instance_host_name",
                "cloud_graph_host_name", "msgraph_host", "aud", "exp", "iat", "auth_time", "acr",
                "nonce", "preferred_username", "name", "tid", "ver", "at_hash", "c_hash", "email",
            ],
            "kerberos_endpoint": format!("{local}/kerberos"),
            "mtls_endpoint_aliases": { "token_endpoint": format!("{local}/oauth2/v2.0/token") },
            "tls_client_certificate_bound_access_tokens": true,
            "tenant_region_scope": authority.region(cloud),
            "cloud_instance_name": cloud.instance_name(),
            "cloud_graph_host_name": cloud.azure_ad_graph_host(),
            "msgraph_host": cloud.graph_host(),
            "rbac_url": cloud.rbac_url(),
        })
    }

    /// Returns the document of `/{tenant}/.well-known/openid-configuration`.
    fn v1_discovery(&self, authority: Authority<'_>, query: &str) -> Value {
        let cloud = self.cloud;
        let local = format!("{}/{}", self.url, authority.segment());
        json!({
            "token_endpoint": format!("{local}/oauth2/token"),
            "token_endpoint_auth_methods_supported": [
                "client_secret_post", "private_key_jwt", "client_secret_basic",
            ],
            "jwks_uri": format!("{local}/discovery/keys{query}"),
            "response_modes_supported": ["query", "fragment", "form_post"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": [
                "code", "id_token", "code id_token", "token id_token", "token",
            ],
            "scopes_supported": ["openid"],
            "issuer": cloud.v1_issuer(authority.issuer_tenant()),
            "microsoft_multi_refresh_token": true,
            "authorization_endpoint": format!("{local}/oauth2/authorize"),
            "device_authorization_endpoint": format!("{local}/oauth2/devicecode"),
            "http_logout_supported": true,
            "frontchannel_logout_supported": true,
            "end_session_endpoint": format!("{local}/oauth2/logout"),
            "claims_supported": [
                "sub", "iss", "cloud_instance_name", "cloud_instance_host_name",
                "cloud_graph_host_name", "msgraph_host", "aud", "exp", "iat", "auth_time", "acr",
                "amr", "nonce", "email", "given_name", "family_name", "nickname",
            ],
            "check_session_iframe": format!("{local}/oauth2/checksession"),
            "userinfo_endpoint": format!("{local}/openid/userinfo"),
            "kerberos_endpoint": format!("{local}/kerberos"),
            "tenant_region_scope": authority.region(cloud),
            "cloud_instance_name": cloud.instance_name(),
            "cloud_graph_host_name": cloud.azure_ad_graph_host(),
            "msgraph_host": cloud.graph_host(),
            "rbac_url": cloud.rbac_url(),
        })
    }
}

/// An authority, which is the first segment of a path.
///
/// A tenant has its own documents. The documents of `common` and `organizations` are shared, with
/// the literal `{tenantid}` as the tenant of the issuer.
#[derive(Clone, Copy)]
pub(crate) enum Authority<'a> {
    Tenant(&'a str),
    Common,
    Organizations,
    Consumers,
}

impl<'a> Authority<'a> {
    fn segment(self) -> &'a str {
        match self {
            Self::Tenant(id) => id,
            Self::Common => "common",
            Self::Organizations => "organizations",
            Self::Consumers => "consumers",
        }
    }

    fn issuer_tenant(self) -> &'a str {
        match self {
            Self::Tenant(id) => id,
            Self::Common | Self::Organizations => "{tenantid}",
            Self::Consumers => CONSUMERS,
        }
    }

    fn region(self, cloud: DevCloud) -> Value {
        match self {
            Self::Tenant(_) => json!(cloud.region()),
            Self::Common | Self::Organizations | Self::Consumers => Value::Null,
        }
    }
}

/// The cloud that the tenant plays: its issuers, host names and cloud names.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum DevCloud {
    /// The public cloud, `login.microsoftonline.com`.
    #[default]
    Public,
    /// Azure US Government, `login.microsoftonline.us`.
    UsGovernment,
    /// Azure China, `login.partner.microsoftonline.cn`.
    China,
}

impl DevCloud {
    /// Returns the other cloud of which shared documents also hold a key.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Public => Self::UsGovernment,
            Self::UsGovernment | Self::China => Self::Public,
        }
    }

    pub(crate) fn v2_issuer(self, tenant: &str) -> String {
        match self {
            Self::Public => format!("https://login.microsoftonline.com/{tenant}/v2.0"),
            Self::UsGovernment => format!("https://login.microsoftonline.us/{tenant}/v2.0"),
            Self::China => format!("https://login.partner.microsoftonline.cn/{tenant}/v2.0"),
        }
    }

    pub(crate) fn v1_issuer(self, tenant: &str) -> String {
        match self {
            Self::Public | Self::UsGovernment => format!("https://sts.windows.net/{tenant}/"),
            Self::China => format!("https://sts.chinacloudapi.cn/{tenant}/"),
        }
    }

    /// Returns the domain of the tenant's users.
    pub(crate) fn domain(self) -> &'static str {
        match self {
            Self::Public => "contoso.onmicrosoft.com",
            Self::UsGovernment => "contoso.onmicrosoft.us",
            Self::China => "contoso.partner.onmschina.cn",
        }
    }

    pub(crate) fn instance_name(self) -> &'static str {
        match self {
            Self::Public => "microsoftonline.com",
            Self::UsGovernment => "microsoftonline.us",
            Self::China => "partner.microsoftonline.cn",
        }
    }

    pub(crate) fn azure_ad_graph_host(self) -> &'static str {
        match self {
            Self::Public | Self::UsGovernment => "graph.windows.net",
            Self::China => "graph.chinacloudapi.cn",
        }
    }

    pub(crate) fn graph_host(self) -> &'static str {
        match self {
            Self::Public => "graph.microsoft.com",
            Self::UsGovernment => "graph.microsoft.us",
            Self::China => "microsoftgraph.chinacloudapi.cn",
        }
    }

    fn rbac_url(self) -> &'static str {
        match self {
            Self::Public => "https://pas.windows.net",
            Self::UsGovernment => "https://pasff.usgovcloudapi.net",
            Self::China => "https://pas.chinacloudapi.cn",
        }
    }

    /// Returns `tenant_region_scope` of a tenant's own document. Shared documents have null there.
    fn region(self) -> &'static str {
        match self {
            Self::Public => "EU",
            Self::UsGovernment => "USGov",
            Self::China => "AS",
        }
    }
}
