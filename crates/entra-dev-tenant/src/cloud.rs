//! The strings of the clouds that the tenant can play, as their real documents have them.

/// The tenant of personal Microsoft accounts, the same in every cloud.
pub(crate) const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// The cloud whose strings the tenant uses.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum DevCloud {
    /// The public cloud, `login.microsoftonline.com`.
    #[default]
    Public,
    /// Azure US Government, `login.microsoftonline.us`.
    UsGovernment,
    /// Azure China, `login.partner.microsoftonline.cn`.
    China,
}

impl DevCloud {
    /// Whose keys its shared documents hold beside its own.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Public => Self::UsGovernment,
            Self::UsGovernment | Self::China => Self::Public,
        }
    }

    pub(crate) fn v2_issuer(self, tenant: &str) -> String {
        match self {
            Self::Public => format!("https://login.microsoftonline.com/{tenant}/v2.0"),
            Self::UsGovernment => format!("https://login.microsoftonline.us/{tenant}/v2.0"),
            Self::China => format!("https://login.partner.microsoftonline.cn/{tenant}/v2.0"),
        }
    }

    pub(crate) fn v1_issuer(self, tenant: &str) -> String {
        match self {
            Self::Public | Self::UsGovernment => format!("https://sts.windows.net/{tenant}/"),
            Self::China => format!("https://sts.chinacloudapi.cn/{tenant}/"),
        }
    }

    /// A host that serves the same as the issuer's, and that no issuer names.
    pub(crate) fn alias_host(self) -> &'static str {
        match self {
            Self::Public => "login.windows.net",
            Self::UsGovernment => "login.usgovcloudapi.net",
            Self::China => "login.chinacloudapi.cn",
        }
    }

    pub(crate) fn b2c_host(self) -> &'static str {
        match self {
            Self::Public => "contoso.b2clogin.com",
            Self::UsGovernment => "contoso.b2clogin.us",
            Self::China => "contoso.b2clogin.cn",
        }
    }

    /// The domain of the tenant's users.
    pub(crate) fn domain(self) -> &'static str {
        match self {
            Self::Public => "contoso.onmicrosoft.com",
            Self::UsGovernment => "contoso.onmicrosoft.us",
            Self::China => "contoso.partner.onmschina.cn",
        }
    }

    pub(crate) fn instance_name(self) -> &'static str {
        match self {
            Self::Public => "microsoftonline.com",
            Self::UsGovernment => "microsoftonline.us",
            Self::China => "partner.microsoftonline.cn",
        }
    }

    pub(crate) fn azure_ad_graph_host(self) -> &'static str {
        match self {
            Self::Public | Self::UsGovernment => "graph.windows.net",
            Self::China => "graph.chinacloudapi.cn",
        }
    }

    pub(crate) fn graph_host(self) -> &'static str {
        match self {
            Self::Public => "graph.microsoft.com",
            Self::UsGovernment => "graph.microsoft.us",
            Self::China => "microsoftgraph.chinacloudapi.cn",
        }
    }

    pub(crate) fn rbac_url(self) -> &'static str {
        match self {
            Self::Public => "https://pas.windows.net",
            Self::UsGovernment => "https://pasff.usgovcloudapi.net",
            Self::China => "https://pas.chinacloudapi.cn",
        }
    }

    /// `tenant_region_scope` of a tenant's own document; it is null for `common` and its like.
    pub(crate) fn region(self) -> &'static str {
        match self {
            Self::Public => "EU",
            Self::UsGovernment => "USGov",
            Self::China => "AS",
        }
    }

    pub(crate) fn certificate_name(self) -> &'static str {
        match self {
            Self::Public => "accounts.accesscontrol.windows.net",
            Self::UsGovernment => "login.microsoftonline.us",
            Self::China => "accounts.accesscontrol.chinacloudapi.cn",
        }
    }
}
