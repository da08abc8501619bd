//! What the benchmarks share: a token of the shape and size that Entra issues, and its key.

use std::time::SystemTime;

use entra_dev_tenant::DevTenant;

/// The application id of the API that the token is for.
pub const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";

/// What a benchmark needs of a tenant.
#[derive(Debug)]
pub struct Material {
    /// The tenant's id.
    pub tenant_id: String,
    /// The key document.
    pub jwks: String,
    /// A valid user token of about 1.5 KB.
    pub token: String,
    /// When the token is valid.
    pub now: SystemTime,
}

impl Material {
    /// Makes a tenant and a token.
    ///
    /// # Panics
    /// If no port of loopback is free.
    #[must_use]
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let tenant = runtime.block_on(DevTenant::start()).expect("a tenant");
        let token = tenant
            .user("ada.lovelace")
            .scope("Reports.Read")
            .scope("Reports.Write")
            .role("Reports.Administrator")
            .for_api(API)
            .claim("azpacr", "1")
            .claim(
                "login_hint",
                "O.CiQ3MmY5ODhiZi04NmYxLTQxYWYtOTFhYi0yZDdjZDAxMWRiNDc",
            )
            .claim("sid", "00a1b2c3-d4e5-4f60-8a7b-9c8d7e6f5a4b")
            .claim(
                "xms_ftd",
                "Zm9yIGJlbmNobWFya3Mgb25seSwgbm90aGluZyB0byBzZWUgaGVyZQ",
            )
            .mint();
        Self {
            tenant_id: tenant.id().to_owned(),
            jwks: tenant.jwks(),
            token,
            now: tenant.clock()(),
        }
    }
}

impl Default for Material {
    fn default() -> Self {
        Self::new()
    }
}
