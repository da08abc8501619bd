//! Settings from which clients learn how to get tokens for this API (RFC 9728).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use entra_http::secure_url;
use entra_jwt_core::{
    ClientId, Cloud, Tenancy, TenantId, Validator, integration::EscapedUrl, refusal::Setting,
};
use http::Uri;
use serde::Serialize;

use super::{PublishedMetadata, ResourceMetadata};
use crate::respond::MetadataReference;
use crate::setting::SettingNames;

/// The URL of this API, and the data with which clients get tokens for it.
///
/// It is OAuth 2.0 Protected Resource Metadata (RFC 9728), by which MCP clients find out where to
/// sign in. If it is set with
/// [`EntraAuthBuilder::protected_resource`](crate::EntraAuthBuilder::protected_resource), every
/// challenge names the metadata document, which
/// [`EntraAuth::resource_metadata`](crate::EntraAuth::resource_metadata) serves.
///
/// ```
/// use tower_entra_auth::{EntraAuth, resource_metadata::ProtectedResource};
///
/// let settings = EntraAuth::builder().protected_resource(
///     ProtectedResource::at("https://mcp.example.com/mcp").scopes(["Mcp.Access"]),
/// );
/// ```
#[derive(Clone, Eq, PartialEq)]
#[must_use = "it does nothing until it is passed to the builder"]
pub struct ProtectedResource {
    url: String,
    scopes: Vec<String>,
    authorization_server: Option<String>,
    name: Option<String>,
    documentation: Option<String>,
}

impl fmt::Debug for ProtectedResource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scopes: Vec<_> = self.scopes.iter().map(|scope| EscapedUrl(scope)).collect();
        let authorization_server = self.authorization_server.as_deref().map(EscapedUrl);
        formatter
            .debug_struct("ProtectedResource")
            .field("url", &EscapedUrl(&self.url))
            .field("scopes", &scopes)
            .field("authorization_server", &authorization_server)
            .field("name", &self.name)
            .field(
                "documentation",
                &self.documentation.as_deref().map(EscapedUrl),
            )
            .finish()
    }
}

/// The well-known path (RFC 9728 §3).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// Scopes of OpenID Connect. Clients request them without being asked, and they permit nothing
/// here.
const OF_OPENID: [&str; 6] = [
    "openid",
    "profile",
    "email",
    "offline_access",
    "address",
    "phone",
];

/// Maximum length of a resource URL. Every challenge contains the URL as part of
/// `resource_metadata`, and clients limit the headers of a response.
const MAX_URL: usize = 512;
/// Maximum length of all scopes together. They are part of challenges, too.
const MAX_SCOPES: usize = 2_048;

impl ProtectedResource {
    /// Creates the protected resource with the URL of this API as its clients know it.
    ///
    /// The URL is the resource identifier (RFC 9728 §1.2). It is `https`, or `http` on loopback.
    /// For MCP, use the URL of the endpoint with its path: `https://mcp.example.com/mcp`. The URL
    /// is never taken from a request.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            scopes: Vec::new(),
            authorization_server: None,
            name: None,
            documentation: None,
        }
    }

    /// Adds the scopes that clients request first, by their short names (`Mcp.Access`).
    ///
    /// Name the few scopes that every client needs, not all scopes of the API. They are published
    /// in the form in which clients request them from the authorization server:
    /// `api://{client id}/Mcp.Access` for Entra, the short name for another server.
    ///
    /// Entra needs at least one: without a scope it issues tokens for Graph.
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// Sets the issuer of the authorization server to which clients are sent, such as a server in
    /// front of Entra for clients that register themselves.
    ///
    /// The default is Entra itself: the issuer of the tenant, or the issuers of all listed tenants,
    /// of which many clients use only the first. If any tenant is accepted, the authorization
    /// server must be set, because no client accepts the issuer that Entra publishes for all
    /// tenants.
    pub fn authorization_server(mut self, issuer: impl Into<String>) -> Self {
        self.authorization_server = Some(issuer.into());
        self
    }

    /// Sets the name of this API that users read (`resource_name`).
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the URL of the documentation for developers (`resource_documentation`).
    pub fn documentation(mut self, url: impl Into<String>) -> Self {
        self.documentation = Some(url.into());
        self
    }

    /// Returns each problem together with the name of its setting.
    pub(crate) fn problems(&self, tenancy: Option<&Tenancy>) -> Vec<(&'static str, String)> {
        const SCOPES: &str = "protected_resource.scopes";
        const AUTHORIZATION_SERVER: &str = "protected_resource.authorization_server";

        let mut texts = Vec::new();
        if let Err(problem) = resource_url(&self.url) {
            let text = format!(
                "the URL \"{}\" {problem}; for example https://mcp.example.com/mcp and, for \
                 development, http://127.0.0.1:8080/mcp",
                EscapedUrl(&self.url)
            );
            texts.push(("protected_resource", text));
        }
        let of_scopes = self.scopes.iter().filter_map(|scope| scope_problem(scope));
        texts.extend(of_scopes.map(|text| (SCOPES, text)));
        match &self.authorization_server {
            Some(issuer) => {
                if let Err(problem) = server_url(issuer).and_then(|uri| of_one_tenant(&uri)) {
                    let issuer = EscapedUrl(issuer);
                    let text = format!("the authorization server \"{issuer}\" {problem}");
                    texts.push((AUTHORIZATION_SERVER, text));
                }
            }
            None if tenancy.is_some_and(|tenancy| tenancy.tenant_ids().next().is_none()) => {
                let text = "no client accepts the issuer that Entra publishes for all tenants; set \
                    the authorization server with .authorization_server(..), or one tenant with \
                    tenant(..)";
                texts.push((AUTHORIZATION_SERVER, text.to_owned()));
            }
            None => {}
        }
        let is_entra = self.authorization_server.as_deref().is_none_or(is_of_entra);
        if self.scopes.is_empty() && is_entra {
            let text = "no scope is set, and without a scope Entra issues tokens for Graph; set \
                the scopes that every client needs with .scopes([\"Mcp.Access\"])";
            texts.push((SCOPES, text.to_owned()));
        }
        if let Some(url) = &self.documentation {
            if let Err(problem) = secure_url(url, false) {
                let url = EscapedUrl(url);
                let text = format!("the documentation's URL \"{url}\" {problem}");
                texts.push(("protected_resource.documentation", text));
            }
        }
        texts
    }

    /// Returns the metadata to publish, with the methods of RFC 6750 §2 by which the Layer finds
    /// tokens.
    ///
    /// The settings must have no [`problems`](Self::problems).
    ///
    /// # Errors
    /// If the settings still have a problem, such as scopes that a challenge cannot name.
    pub(crate) fn published(
        &self,
        rules: &Validator,
        bearer_methods: &[&'static str],
        SettingNames(name_of): SettingNames,
    ) -> Result<ResourceMetadata, String> {
        let authority = rules.authority();
        let uri = resource_url(self.url.trim()).map_err(str::to_owned)?;
        let path = match uri.path() {
            "/" => "",
            path => path,
        };
        let servers = match &self.authorization_server {
            Some(issuer) => vec![issuer.trim().to_owned()],
            None => {
                let tenants = authority.tenancy().tenant_ids();
                tenants.map(|tenant| authority.v2_issuer(tenant)).collect()
            }
        };
        let is_entra = servers.iter().all(|issuer| is_of_entra(issuer));
        let scope_prefix = match is_entra {
            true => format!("{}/", rules.app_id_uri()),
            false => String::new(),
        };
        let mut scopes: Vec<String> = Vec::new();
        for scope in &self.scopes {
            let scope = format!("{scope_prefix}{}", scope.trim());
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        // The scopes become a parameter of each challenge: nothing in them may look like another
        // parameter.
        let joined = scopes.join(" ");
        if !scopes.iter().all(|scope| is_of_scope_characters(scope)) || joined.len() > MAX_SCOPES {
            return Err(format!(
                "the scopes \"{}\" cannot be named in a challenge: use visible ASCII without = \" \
                 and \\, at most {MAX_SCOPES} characters; the part before the slash is the first \
                 {}",
                EscapedUrl(&joined),
                name_of(Setting::Audience)
            ));
        }
        let document = Document {
            resource: self.url.trim(),
            authorization_servers: &servers,
            scopes_supported: &scopes,
            bearer_methods_supported: bearer_methods,
            resource_name: self.name.as_deref().filter(|name| !name.is_empty()),
            resource_documentation: self.documentation.as_deref(),
        };
        let document = serde_json::to_vec(&document).map_err(|error| error.to_string())?;
        let origin = self.url.trim();
        let origin = origin.strip_suffix(uri.path()).unwrap_or(origin);
        let published = PublishedMetadata {
            document: document.into(),
            reference: MetadataReference::new(
                format!("{origin}{WELL_KNOWN}{path}"),
                joined,
                scope_prefix,
            ),
            paths: [format!("{WELL_KNOWN}{path}"), WELL_KNOWN.to_owned()],
        };
        Ok(ResourceMetadata {
            published: Arc::new(published),
        })
    }
}

/// The metadata document (RFC 9728 §2). Empty members are left out (§3.2).
#[derive(Serialize)]
struct Document<'d> {
    resource: &'d str,
    authorization_servers: &'d [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    scopes_supported: &'d [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    bearer_methods_supported: &'d [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_name: Option<&'d str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_documentation: Option<&'d str>,
}

/// Parses the URL of a resource. The error completes the sentence "the URL …".
///
/// Clients compare the URL with the one that they were given, character by character (RFC 9728
/// §3.3). Many clients normalise the URL before. For this reason, only URLs that every client
/// writes in the same way are accepted.
fn resource_url(text: &str) -> Result<Uri, &'static str> {
    let text = text.trim();
    let uri = secure_url(text, false)?;
    let path = uri.path();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    let has_dots = path.split('/').any(|part| matches!(part, "." | ".."));
    if text.contains(['?', '#']) {
        Err("has a query or a fragment; remove it")
    } else if text.len() > MAX_URL {
        Err("is longer than 512 characters")
    } else if !has_plain_origin(text, &uri) {
        Err(
            "has a host or port that clients may write in another way; use a host in lower case, \
             and no port if it is the scheme's default",
        )
    } else if has_dots || path.contains("//") || !path.bytes().all(is_plain) {
        Err("has a character or a segment that clients may change; use letters, digits and -._~")
    } else if path.len() > 1 && path.ends_with('/') {
        Err("ends with a slash; remove it")
    } else {
        Ok(uri)
    }
}

/// Returns whether scheme, host and port are in the form that every URL parser would write.
fn has_plain_origin(text: &str, uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let (scheme, default_port) = match uri.scheme_str() {
        Some("https") => ("https", 443),
        _ => ("http", 80),
    };
    let is_plain_port = |port: &str| match port.parse::<u16>() {
        Ok(number) => number != 0 && number != default_port && number.to_string() == port,
        Err(_) => false,
    };
    let after_scheme = text
        .strip_prefix(scheme)
        .and_then(|text| text.strip_prefix("://"));
    let after_host = after_scheme.and_then(|text| text.strip_prefix(host));
    let port_and_path = after_host.map(|text| text.strip_suffix(uri.path()).unwrap_or(text));
    let has_plain_port = port_and_path
        .is_some_and(|port| port.is_empty() || port.strip_prefix(':').is_some_and(is_plain_port));
    has_plain_port && is_plain_host(host)
}

/// Returns whether the host is an IP address in its normal form, or a name of lower-case labels.
/// The last label must not be a number, because the name would then be another spelling of an
/// address.
fn is_plain_host(host: &str) -> bool {
    if let Some(inside) = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        let address = inside.parse::<Ipv6Addr>();
        return address.is_ok_and(|address| address.to_string() == inside);
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return address.to_string() == host;
    }
    let is_label = |label: &str| {
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(is_plain)
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    host.split('.').all(is_label) && last.bytes().any(|byte| byte.is_ascii_lowercase()) && {
        !last.starts_with("0x")
    }
}

/// Parses an issuer (RFC 8414 §2). The error completes the sentence "the authorization server …".
fn server_url(text: &str) -> Result<Uri, &'static str> {
    let text = text.trim();
    let uri = secure_url(text, false)?;
    let is_plain = |byte: u8| matches!(byte, b'!'..=b'~') && !b"\"\\<>{}".contains(&byte);
    if text.contains(['?', '#']) {
        Err("has a query or a fragment; remove it")
    } else if !text.bytes().all(is_plain) {
        Err("has a character that no issuer has, or a placeholder")
    } else {
        Ok(uri)
    }
}

/// Refuses Entra's issuer for many tenants. It is a template, which no client finds equal to an
/// issuer.
fn of_one_tenant(uri: &Uri) -> Result<(), &'static str> {
    let tenant = uri.path().split('/').nth(1).unwrap_or_default();
    match is_host_of_entra(uri) && tenant.parse::<TenantId>().is_err() {
        true => Err(
            "is Entra's for many tenants, and no client accepts its issuer; set the authorization \
             server of one tenant, https://login.microsoftonline.com/{tenant id}/v2.0",
        ),
        false => Ok(()),
    }
}

fn scope_problem(scope: &str) -> Option<String> {
    let shown = EscapedUrl(scope);
    let scope = scope.trim();
    if let Some((api, name)) = scope.rsplit_once('/') {
        if api.contains("://") || api.parse::<ClientId>().is_ok() {
            return Some(format!(
                "the scope \"{shown}\" includes the API; use its short name, \"{}\"",
                EscapedUrl(name)
            ));
        }
    }
    if OF_OPENID
        .iter()
        .any(|name| name.eq_ignore_ascii_case(scope))
    {
        return Some(format!(
            "\"{shown}\" is a scope of OpenID Connect, which permits nothing here; remove it"
        ));
    }
    let is_good = !scope.is_empty() && scope != ".default" && is_of_scope_characters(scope);
    (!is_good).then(|| format!("\"{shown}\" is not a scope such as Mcp.Access"))
}

/// Returns whether a challenge can name the scope: it has only the characters of RFC 6749 §3.3,
/// without `=`.
fn is_of_scope_characters(scope: &str) -> bool {
    let is_good = |byte: u8| matches!(byte, b'!'..=b'~') && !b"\"\\=".contains(&byte);
    scope.bytes().all(is_good)
}

/// Returns whether the authorization server is Entra, in any cloud.
fn is_of_entra(issuer: &str) -> bool {
    server_url(issuer).is_ok_and(|uri| is_host_of_entra(&uri))
}

fn is_host_of_entra(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    Cloud::ALL.iter().any(|cloud| cloud.is_host(&host)) || host.ends_with(".ciamlogin.com")
}
