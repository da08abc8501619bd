//! Tests of each rule for tokens of one tenant, with a token that breaks only that rule.

mod accepted;
mod claims;
mod header_and_key;
mod issuer_and_audience;
mod lifetime;
mod mistakes;
mod order;
mod reissued;
mod remedies;
mod requirements;
mod table;
mod tenants_and_clouds;

use std::time::SystemTime;

use entra_dev_tenant::{DevTenant, TokenBuilder};
use entra_jwt_core::{AccessToken, InvalidToken, KeySet, TenantId, Validator, ValidatorBuilder};

const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
const CLIENT: &str = "2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b";
const OTHER_TENANT: &str = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";

/// A tenant, its keys, and the rules for one API in it.
struct Setup {
    tenant: DevTenant,
    keys: KeySet,
}

impl Setup {
    async fn new() -> Self {
        Self::of(DevTenant::start().await.unwrap())
    }

    fn of(tenant: DevTenant) -> Self {
        let keys = KeySet::from_jwks(tenant.signing_keys().document().as_bytes()).unwrap();
        Self { tenant, keys }
    }

    fn rules(&self) -> ValidatorBuilder {
        let tenant: TenantId = self.tenant.id().parse().unwrap();
        Validator::entra(tenant, API.parse().unwrap())
    }

    fn user(&self) -> TokenBuilder<'_> {
        self.tenant.user("ada").scope("Reports.Read").for_api(API)
    }

    fn app(&self) -> TokenBuilder<'_> {
        self.tenant
            .app(CLIENT)
            .role("Reports.Read.All")
            .for_api(API)
    }

    fn validate(&self, token: TokenBuilder<'_>) -> Result<AccessToken, InvalidToken> {
        self.validate_by(self.rules(), token)
    }

    fn validate_by(
        &self,
        rules: ValidatorBuilder,
        token: TokenBuilder<'_>,
    ) -> Result<AccessToken, InvalidToken> {
        self.validate_text(rules, &token.mint())
    }

    fn validate_text(
        &self,
        rules: ValidatorBuilder,
        token: &str,
    ) -> Result<AccessToken, InvalidToken> {
        rules
            .build()
            .unwrap()
            .validate(token, &self.keys, self.now())
    }

    fn now(&self) -> SystemTime {
        self.tenant.clock()()
    }

    fn code(&self, token: TokenBuilder<'_>) -> &'static str {
        self.validate(token).unwrap_err().code()
    }
}
