//! One development tenant for all tests of a file.

use std::sync::OnceLock;

use entra_dev_tenant::{DevTenant, DevTenantBuilder};
use tokio::runtime::Builder;

pub(crate) const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
pub(crate) const CLIENT: &str = "2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b";

/// Started once, as a key takes a while to make.
pub(crate) fn tenant() -> &'static DevTenant {
    static TENANT: OnceLock<DevTenant> = OnceLock::new();
    TENANT.get_or_init(|| start(DevTenant::builder()))
}

/// A tenant for its tokens and documents alone: its server ends with the runtime, here.
pub(crate) fn start(builder: DevTenantBuilder) -> DevTenant {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(builder.start()).unwrap()
}
