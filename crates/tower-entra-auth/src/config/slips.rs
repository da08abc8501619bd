//! Mistakes of people who copy ids and URLs into settings.

use entra_http::{Problems, slip_in};
use entra_jwt_core::{ClientId, Tenancy, TenantId, integration::EscapedUrl};

/// Refuses settings in which the tenant and the client have the same id.
pub(super) fn check_distinct(
    tenancy: Option<&Tenancy>,
    client_id: Option<ClientId>,
    problems: &mut Problems,
) {
    let (Some(tenancy), Some(client_id)) = (tenancy, client_id) else {
        return;
    };
    let id = client_id.to_string();
    if tenancy.tenant_ids().any(|tenant| tenant == *id) {
        problems.add(
            "client_id",
            format!(
                "{id} is also set as the tenant; one is the Directory (tenant) ID, the other is \
                 the Application (client) ID, both on the app registration's Overview page"
            ),
        );
    }
}

/// Returns the mistake in the form of a tenant, if it is a known one.
pub(super) fn slip_in_tenant(text: &str) -> Option<String> {
    if let Some(slip) = slip_in(text) {
        return Some(slip.to_owned());
    }
    let lower = text.to_ascii_lowercase();
    if lower != text && lower.parse::<Tenancy>().is_ok() {
        return Some(format!("has capital letters in it; write {lower}"));
    }
    if !text.contains("://") {
        return None;
    }
    // Such as the URL of the authority, which has the id in its path.
    let mut segments = text.split(['/', '?', '#']);
    let id = segments.find(|part| part.parse::<TenantId>().is_ok());
    Some(match id {
        Some(id) => format!("is a URL; set only the id {id}"),
        None => {
            "is a URL; copy \"Tenant ID\" from the Overview page of Microsoft Entra ID".to_owned()
        }
    })
}

/// Returns the problem with a text that names no tenant.
pub(super) fn no_tenancy(text: &str) -> String {
    let is_domain = text.contains('.')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    let domain = if is_domain { text } else { "contoso.com" };
    format!(
        "\"{}\" is neither a tenant id (GUID) nor one of organizations, common, consumers; the id \
         of {domain} is the GUID in the issuer at \
         https://login.microsoftonline.com/{domain}/v2.0/.well-known/openid-configuration",
        EscapedUrl(text)
    )
}
