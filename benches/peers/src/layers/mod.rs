//! The Layers, one file for each crate: the strictest settings that it has for one tenant.

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

/// The issuer of the tenant's v2 tokens: Entra's own, as the tenant plays it.
///
/// The tenant's documents are elsewhere, on this machine, so that no peer can discover its keys by
/// this issuer: they are given [`keys_url`].
fn issuer(tenant: &DevTenant) -> String {
    format!("https://login.microsoftonline.com/{}/v2.0", tenant.id())
}

fn keys_url(tenant: &DevTenant) -> String {
    format!("{}/{}/discovery/v2.0/keys", tenant.url(), tenant.id())
}
