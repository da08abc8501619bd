//! A tenant of `entra-dev-tenant` that all tests of a file share.

use std::sync::OnceLock;

use entra_dev_tenant::{DevTenant, DevTenantBuilder};
use tokio::runtime::Builder;

pub(crate) const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
pub(crate) const CLIENT: &str = "2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b";

/// Returns the tenant, started only once because generating a key takes a while.
pub(crate) fn tenant() -> &'static DevTenant {
    static TENANT: OnceLock<DevTenant> = OnceLock::new();
    TENANT.get_or_init(|| start(DevTenant::builder()))
}

/// Starts a tenant only for its tokens and documents: its server ends with this function's runtime.
pub(crate) fn start(builder: DevTenantBuilder) -> DevTenant {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(builder.start()).unwrap()
}
