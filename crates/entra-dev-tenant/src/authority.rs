//! Discovery documents with the members that Entra serves.
//!
//! Every string is that of the cloud being played; only the endpoints' addresses are local.

use serde_json::{Value, json};

use crate::cloud::{CONSUMERS, DevCloud};
use crate::dev_tenant::Inner;
use crate::keys::CustomKey;

/// Whose document it is: a tenant's own, or a shared one with the literal `{tenantid}`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Authority<'a> {
    Tenant(&'a str),
    Common,
    Organizations,
    Consumers,
}

impl<'a> Authority<'a> {
    /// As the first segment of a path names it; the id of any other tenant is none of ours.
    pub(crate) fn from_path(segment: &str, tenant: &'a str) -> Option<Self> {
        match segment {
            own if own.eq_ignore_ascii_case(tenant) => Some(Self::Tenant(tenant)),
            "common" => Some(Self::Common),
            "organizations" => Some(Self::Organizations),
            "consumers" | CONSUMERS => Some(Self::Consumers),
            _ => None,
        }
    }

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

/// `/{tenant}/v2.0/.well-known/openid-configuration`, as captured in July 2026.
pub(crate) fn v2_discovery(
    tenant: &Inner,
    authority: Authority<'_>,
    custom: Option<&CustomKey>,
) -> Value {
    let cloud = tenant.cloud;
    let local = format!("{}/{}", tenant.url, authority.segment());
    json!({
        "token_endpoint": format!("{local}/oauth2/v2.0/token"),
        "token_endpoint_auth_methods_supported": [
            "client_secret_post", "private_key_jwt", "client_secret_basic",
            "self_signed_tls_client_auth",
        ],
        "jwks_uri": format!("{local}/discovery/v2.0/keys{}", query_of(custom)),
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": tenant.v2_issuer(authority.issuer_tenant()),
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

/// `/{tenant}/.well-known/openid-configuration`.
pub(crate) fn v1_discovery(
    tenant: &Inner,
    authority: Authority<'_>,
    custom: Option<&CustomKey>,
) -> Value {
    let cloud = tenant.cloud;
    let local = format!("{}/{}", tenant.url, authority.segment());
    json!({
        "token_endpoint": format!("{local}/oauth2/token"),
        "token_endpoint_auth_methods_supported": [
            "client_secret_post", "private_key_jwt", "client_secret_basic",
        ],
        "jwks_uri": format!("{local}/discovery/keys{}", query_of(custom)),
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

/// Leads from the document that was asked for with it to the keys with it.
fn query_of(custom: Option<&CustomKey>) -> String {
    match custom {
        Some(custom) => format!("?appid={}", custom.client_id),
        None => String::new(),
    }
}
