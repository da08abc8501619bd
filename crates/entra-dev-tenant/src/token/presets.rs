//! Where tokens begin: one preset for each kind.

use std::time::Duration;

use serde_json::json;

use super::{Kind, TokenBuilder, Version};
use crate::cloud::CONSUMERS;
use crate::dev_tenant::Inner;
use crate::text::{guid_for, random_id};

/// Which policy claim and which issuer a token of Azure AD B2C has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum B2cPolicy {
    /// The policy in `tfp`, and an issuer without it: what B2C does unless it is configured.
    #[default]
    Default,
    /// The policy in `tfp` and in the issuer (`AuthorityWithTfp`).
    Tfp,
    /// The policy in `acr`, as of old, and an issuer without it.
    Acr,
}

impl<'a> TokenBuilder<'a> {
    pub(crate) fn user(tenant: &'a Inner, name: &str) -> Self {
        let name = name.to_owned();
        Self::new(tenant, Kind::User { name }, some_client())
    }

    pub(crate) fn personal(tenant: &'a Inner, name: &str) -> Self {
        let name = name.to_owned();
        Self::new(tenant, Kind::Personal { name }, some_client()).of_tenant(CONSUMERS)
    }

    pub(crate) fn b2c(tenant: &'a Inner, name: &str, policy: B2cPolicy) -> Self {
        let name = name.to_owned();
        Self::new(tenant, Kind::B2c { name, policy }, some_client())
    }

    pub(crate) fn app(tenant: &'a Inner, client_id: &str) -> Self {
        Self::new(tenant, Kind::App, client_id.to_owned())
    }

    pub(crate) fn id_token(tenant: &'a Inner, name: &str) -> Self {
        let name = name.to_owned();
        Self::new(tenant, Kind::IdToken { name }, some_client())
    }

    pub(crate) fn graph(tenant: &'a Inner, name: &str) -> Self {
        Self::graph_without_scope(tenant, name).scope("User.Read")
    }

    pub(crate) fn graph_without_scope(tenant: &'a Inner, name: &str) -> Self {
        let name = name.to_owned();
        let mut token = Self::new(tenant, Kind::Graph { name }, some_client());
        token.version = Version::V1;
        token.audience = Some(format!("https://{}", tenant.cloud.graph_host()));
        token.header("nonce", json!(random_id()))
    }

    fn new(tenant: &'a Inner, kind: Kind, client_id: String) -> Self {
        Self {
            tenant,
            kind,
            version: Version::V2,
            tenant_id: tenant.id.clone(),
            client_id,
            audience: None,
            api: None,
            scopes: Vec::new(),
            roles: Vec::new(),
            modifiers: Vec::new(),
            issued_ago: Duration::from_secs(300),
            expires_in: 3_599,
            header: Vec::new(),
            claims: Vec::new(),
            flaws: Vec::new(),
        }
    }
}

fn some_client() -> String {
    guid_for(&["a client application"])
}
