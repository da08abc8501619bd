//! The Layers, one file for each crate, each with its strictest settings for one tenant.

mod claims;
mod jwt_authorizer;
mod oauth_resource_server;
mod ours;
mod tower_oauth2_resource_server;

use entra_dev_tenant::DevTenant;

pub(crate) use self::jwt_authorizer::jwt_authorizer;
pub(crate) use self::oauth_resource_server::oauth_resource_server;
pub(crate) use self::ours::ours;
pub(crate) use self::tower_oauth2_resource_server::tower_oauth2_resource_server;

/// Returns the issuer of the tenant's v2 tokens: Entra's own, which `entra-dev-tenant` imitates.
///
/// The tenant's documents are on this machine and not at this issuer, so no peer can discover its
/// keys through the issuer: the peers receive [`keys_url`] instead.
fn issuer(tenant: &DevTenant) -> String {
    format!("https://login.microsoftonline.com/{}/v2.0", tenant.id())
}

fn keys_url(tenant: &DevTenant) -> String {
    format!("{}/{}/discovery/v2.0/keys", tenant.url(), tenant.id())
}
