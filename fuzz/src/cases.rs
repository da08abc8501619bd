//! Validators of every kind, and beside each, in plain words, what it may accept.
//!
//! The words are written a second time on purpose, and not computed from the validator: a mistake
//! in the one is not in the other.

use std::sync::LazyLock;
use std::time::Duration;

use entra_jwt_core::{
    ClientId, Cloud, KeySet, Tenancy, TenantId, Validator, ValidatorBuilder, ids::Audience,
};

use crate::signer::SIGNER;

/// The tenant of most seeds.
pub const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
/// Another one.
pub const OTHER_TENANT: &str = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";
/// That of personal accounts.
pub const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";
/// The API.
pub const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
/// The client of most seeds.
pub const CLIENT: &str = "2d4d11a2-f814-46a7-890a-274a72a7309e";

/// One validator.
#[derive(Debug)]
pub struct Case {
    /// For messages.
    pub name: &'static str,
    /// What decides.
    pub validator: Validator,
    /// The keys as Entra publishes them for it.
    pub keys: KeySet,
    /// The same key, published for somebody else: nothing that it signs is in order.
    pub foreign_keys: KeySet,
    /// What may be accepted.
    pub admits: Admits,
}

/// What a validator may accept.
#[derive(Clone, Copy, Debug)]
pub struct Admits {
    /// With `{}` where the tenant stands.
    pub v2_issuer: &'static str,
    /// Likewise; none where v1 tokens are refused.
    pub v1_issuers: &'static [&'static str],
    /// By the claim `tid`.
    pub tenant: fn(&str) -> bool,
    /// By the claim `aud`.
    pub audiences: &'static [&'static str],
    /// By the claim `azp` or `appid`.
    pub client: fn(&str) -> bool,
    /// Clients that may call as themselves without any role.
    pub is_exempt: fn(&str) -> bool,
    /// Whether guests of the tenant pass.
    pub guests: bool,
    /// In seconds.
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

/// All of them.
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
        // As v1 documents publish them.
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
