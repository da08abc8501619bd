//! Tokens of every kind that Entra issues.

use std::time::Duration;

use entra_dev_tenant::{B2cPolicy, DevTenant, TokenBuilder};

use crate::support::{API, CLIENT};

/// A kind of token that Entra issues, whether or not the rules of an API accept it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    User,
    App,
    AppWithoutServicePrincipal,
    UserV1,
    AppV1,
    Personal,
    Guest,
    OfAnotherTenant,
    Agent,
    AgentForUser,
    AgentUser,
    IdToken,
    Graph,
    B2c,
}

impl Kind {
    pub(crate) const ALL: [Self; 14] = [
        Self::User,
        Self::App,
        Self::AppWithoutServicePrincipal,
        Self::UserV1,
        Self::AppV1,
        Self::Personal,
        Self::Guest,
        Self::OfAnotherTenant,
        Self::Agent,
        Self::AgentForUser,
        Self::AgentUser,
        Self::IdToken,
        Self::Graph,
        Self::B2c,
    ];

    pub(crate) fn token(self, tenant: &DevTenant) -> TokenBuilder<'_> {
        let user = || tenant.user("ada").scope("Reports.Read");
        let app = || tenant.app(CLIENT).role("Reports.Read.All");
        match self {
            Self::User => user(),
            Self::App => app(),
            Self::AppWithoutServicePrincipal => tenant.app(CLIENT).without_service_principal(),
            Self::UserV1 => user().v1(),
            Self::AppV1 => app().v1(),
            Self::Personal => tenant.personal("ada").scope("Reports.Read"),
            Self::Guest => user().guest(),
            Self::OfAnotherTenant => user().of_tenant("0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d"),
            Self::Agent => app().agent(),
            Self::AgentForUser => user().agent(),
            Self::AgentUser => user().agent_user(),
            Self::IdToken => tenant.id_token("ada"),
            Self::Graph => return tenant.graph_token("ada"),
            Self::B2c => tenant.b2c_token("ada", B2cPolicy::Default),
        }
        .for_api(API)
        // The tokens are old enough that `exp` can be at any time around now and still be later
        // than `nbf`.
        .issued_ago(Duration::from_secs(3_000))
    }
}
