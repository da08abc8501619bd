//! Validators of every kind, each with a separate statement of what it may accept.
//!
//! The statements are deliberately written a second time and not computed from the validator, so
//! that a mistake in one is not repeated in the other.

use std::sync::LazyLock;
use std::time::Duration;

use entra_jwt_core::{
    ClientId, Cloud, KeySet, Tenancy, TenantId, Validator, ValidatorBuilder, ids::Audience,
};

use crate::signer::SIGNER;

/// Tenant id in most seeds.
pub const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
/// Id of another tenant.
pub const OTHER_TENANT: &str = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";
/// Tenant id of personal accounts.
pub const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";
/// Client id of the API.
pub const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
/// Client id in most seeds.
pub const CLIENT: &str = "2d4d11a2-f814-46a7-890a-274a72a7309e";

/// A validator with its keys and its expected decisions.
#[derive(Debug)]
pub struct Case {
    /// Name for messages.
    pub name: &'static str,
    /// The validator under test.
    pub validator: Validator,
    /// The key as Entra publishes it for this validator.
    pub keys: KeySet,
    /// A key set with the same key, published for another issuer: every token that the key signs
    /// must be refused.
    pub foreign_keys: KeySet,
    /// Tokens that the validator may accept.
    pub admits: Admits,
}

/// The tokens that a validator may accept.
#[derive(Clone, Copy, Debug)]
pub struct Admits {
    /// Issuer of v2 tokens, with `{}` in place of the tenant.
    pub v2_issuer: &'static str,
    /// Issuers of v1 tokens, with `{}` in place of the tenant; empty if v1 tokens are refused.
    pub v1_issuers: &'static [&'static str],
    /// Test of the claim `tid`.
    pub tenant: fn(&str) -> bool,
    /// Accepted values of the claim `aud`.
    pub audiences: &'static [&'static str],
    /// Test of the client in the claim `azp` or `appid`.
    pub client: fn(&str) -> bool,
    /// Test for clients that may call with their own identity without any role.
    pub is_exempt: fn(&str) -> bool,
    /// Acceptance of guests of the tenant.
    pub guests: bool,
    /// Clock skew in seconds.
    pub clock_skew: i64,
}

const OURS: &[&str] = &[
    API,
    "api://6e74172b-be56-4843-9ff4-e66a39bb12e3",
    "api://6e74172b-be56-4843-9ff4-e66a39bb12e3/",
];

const DEFAULT: Admits = Admits {
    v2_issuer: "https://login.microsoftonline.com/{}/v2.0",
    v1_issuers: &[],
    tenant: |tenant| tenant == TENANT,
    audiences: OURS,
    client: |_| true,
    is_exempt: |_| false,
    guests: true,
    clock_skew: 300,
};

const TEMPLATE: &str = "https://login.microsoftonline.com/{tenantid}/v2.0";
const OF_CONSUMERS: &str =
    "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0";
const OF_TENANT: &str =
    "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0";
const PUBLIC: &str = "microsoftonline.com";
const US_GOVERNMENT: &str = "microsoftonline.us";

/// All cases.
pub static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    vec![
        one_tenant(),
        organizations_with_v1(),
        consumers(),
        external_id(),
        without_guests(),
        allowed_clients(),
        us_government(),
    ]
});

fn one_tenant() -> Case {
    Case {
        name: "one tenant",
        validator: built(Validator::entra(tenant(TENANT), client(API))),
        keys: SIGNER.keys(Some(TEMPLATE), Some(PUBLIC)),
        foreign_keys: SIGNER.keys(Some(OF_CONSUMERS), Some(PUBLIC)),
        admits: DEFAULT,
    }
}

fn organizations_with_v1() -> Case {
    let rules = Validator::entra(Tenancy::organizations(), client(API))
        .audience(Audience::new("https://api.contoso.com/orders").expect("an audience"))
        .accept_v1_tokens();
    Case {
        name: "organizations, with v1",
        validator: built(rules),
        keys: SIGNER.keys(Some(TEMPLATE), Some(PUBLIC)),
        foreign_keys: SIGNER.keys(None, Some(US_GOVERNMENT)),
        admits: Admits {
            v1_issuers: &["https://sts.windows.net/{}/"],
            tenant: |tenant| tenant != CONSUMERS,
            audiences: &[
                API,
                "api://6e74172b-be56-4843-9ff4-e66a39bb12e3",
                "api://6e74172b-be56-4843-9ff4-e66a39bb12e3/",
                "https://api.contoso.com/orders",
                "https://api.contoso.com/orders/",
            ],
            ..DEFAULT
        },
    }
}

fn consumers() -> Case {
    Case {
        name: "consumers",
        validator: built(Validator::entra(Tenancy::consumers(), client(API))),
        keys: SIGNER.keys(Some(OF_CONSUMERS), Some(PUBLIC)),
        foreign_keys: SIGNER.keys(Some(OF_TENANT), Some(PUBLIC)),
        admits: Admits {
            tenant: |tenant| tenant == CONSUMERS,
            ..DEFAULT
        },
    }
}

fn external_id() -> Case {
    let template = "https://{tenantid}.ciamlogin.com/{tenantid}/v2.0";
    Case {
        name: "External ID",
        validator: built(Validator::entra(tenant(TENANT), client(API)).external_id()),
        keys: SIGNER
            .keys(Some(template), Some("ciamlogin.com"))
            .with_cloud_instance_name("ciamlogin.com"),
        foreign_keys: SIGNER
            .keys(Some(template), Some(US_GOVERNMENT))
            .with_cloud_instance_name("ciamlogin.com"),
        admits: Admits {
            v2_issuer: "https://{}.ciamlogin.com/{}/v2.0",
            ..DEFAULT
        },
    }
}

fn without_guests() -> Case {
    Case {
        name: "without guests",
        validator: built(
            Validator::entra(tenant(TENANT), client(API))
                .refuse_guests()
                .refuse_agents(),
        ),
        // These are the keys as v1 documents publish them.
        keys: SIGNER.keys(None, None),
        foreign_keys: SIGNER.keys(Some("https://sts.windows.net/{tenantid}/"), None),
        admits: Admits {
            guests: false,
            ..DEFAULT
        },
    }
}

fn allowed_clients() -> Case {
    let rules = Validator::entra(tenant(TENANT), client(API))
        .allowed_clients([client(CLIENT)])
        .allow_roleless_clients([client(CLIENT)])
        .clock_skew(Duration::ZERO);
    Case {
        name: "allowed clients",
        validator: built(rules),
        keys: SIGNER.keys(Some(OF_TENANT), None),
        foreign_keys: KeySet::default(),
        admits: Admits {
            client: |client| client.eq_ignore_ascii_case(CLIENT),
            is_exempt: |client| client.eq_ignore_ascii_case(CLIENT),
            clock_skew: 0,
            ..DEFAULT
        },
    }
}

fn us_government() -> Case {
    let tenants = Tenancy::tenants([tenant(TENANT), tenant(OTHER_TENANT)]);
    let template = "https://login.microsoftonline.us/{tenantid}/v2.0";
    let rules = Validator::entra(tenants, client(API))
        .cloud(Cloud::UsGovernment)
        .accept_v1_tokens();
    Case {
        name: "two tenants of US Government, with v1",
        validator: built(rules),
        keys: SIGNER.keys(Some(template), Some(US_GOVERNMENT)),
        foreign_keys: SIGNER.keys(Some(template), Some(PUBLIC)),
        admits: Admits {
            v2_issuer: "https://login.microsoftonline.us/{}/v2.0",
            v1_issuers: &[
                "https://sts.windows.net/{}/",
                "https://login.microsoftonline.us/{}/",
            ],
            tenant: |tenant| [TENANT, OTHER_TENANT].contains(&tenant),
            ..DEFAULT
        },
    }
}

fn built(rules: ValidatorBuilder) -> Validator {
    rules.build().expect("rules that make sense")
}

fn tenant(id: &str) -> TenantId {
    id.parse().expect("a tenant id")
}

fn client(id: &str) -> ClientId {
    id.parse().expect("a client id")
}
