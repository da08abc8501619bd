//! The national clouds of Microsoft Entra ID and the issuers that each writes into tokens.

use std::fmt;

use crate::identifier::TenantId;

/// A national cloud. Tokens of one are never valid in another.
///
/// Hosts and issuers: Microsoft's "National clouds" page and the instance metadata of MSAL.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Cloud {
    /// The worldwide public cloud, `login.microsoftonline.com`.
    #[default]
    Public,
    /// Azure US Government, `login.microsoftonline.us`.
    UsGovernment,
    /// Azure China operated by 21Vianet, `login.partner.microsoftonline.cn`.
    China,
}

impl Cloud {
    /// Every cloud that is known.
    pub const ALL: [Self; 3] = [Self::Public, Self::UsGovernment, Self::China];

    /// The name in this project's settings: `public`, `usgovernment`, `china`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::UsGovernment => "usgovernment",
            Self::China => "china",
        }
    }

    /// The host that serves discovery documents, keys and tokens.
    #[must_use]
    pub const fn authority_host(self) -> &'static str {
        match self {
            Self::Public => "login.microsoftonline.com",
            Self::UsGovernment => "login.microsoftonline.us",
            Self::China => "login.partner.microsoftonline.cn",
        }
    }

    /// The authority host and the other hosts that serve the same documents.
    #[must_use]
    pub const fn host_aliases(self) -> &'static [&'static str] {
        match self {
            Self::Public => &[
                "login.microsoftonline.com",
                "login.windows.net",
                "login.microsoft.com",
                "sts.windows.net",
            ],
            Self::UsGovernment => &["login.microsoftonline.us", "login.usgovcloudapi.net"],
            Self::China => &["login.partner.microsoftonline.cn", "login.chinacloudapi.cn"],
        }
    }

    /// `cloud_instance_name` as discovery and key documents spell it.
    #[must_use]
    pub const fn instance_name(self) -> &'static str {
        match self {
            Self::Public => "microsoftonline.com",
            Self::UsGovernment => "microsoftonline.us",
            Self::China => "partner.microsoftonline.cn",
        }
    }

    /// The issuer of v2 tokens of a tenant, such as
    /// `https://login.microsoftonline.com/{tenant}/v2.0`.
    #[must_use]
    pub fn v2_issuer(self, tenant: TenantId) -> String {
        self.v2_template().fill(tenant)
    }

    /// The issuer of v1 tokens of a tenant, such as `https://sts.windows.net/{tenant}/`.
    ///
    /// The public and the US Government cloud share it; their keys tell them apart.
    #[must_use]
    pub fn v1_issuer(self, tenant: TenantId) -> String {
        self.v1_template().fill(tenant)
    }

    pub(crate) const fn v2_template(self) -> IssuerTemplate {
        IssuerTemplate {
            prefix: match self {
                Self::Public => "https://login.microsoftonline.com/",
                Self::UsGovernment => "https://login.microsoftonline.us/",
                Self::China => "https://login.partner.microsoftonline.cn/",
            },
            suffix: "/v2.0",
        }
    }

    pub(crate) const fn v1_template(self) -> IssuerTemplate {
        IssuerTemplate {
            prefix: match self {
                Self::Public | Self::UsGovernment => "https://sts.windows.net/",
                Self::China => "https://sts.chinacloudapi.cn/",
            },
            suffix: "/",
        }
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// An issuer with a hole for the tenant id.
#[derive(Clone, Copy)]
pub(crate) struct IssuerTemplate {
    prefix: &'static str,
    suffix: &'static str,
}

impl IssuerTemplate {
    /// Whether `issuer` is this template filled with `tenant`, byte for byte.
    pub(crate) fn matches(self, issuer: &str, tenant: &str) -> bool {
        issuer
            .strip_prefix(self.prefix)
            .and_then(|rest| rest.strip_suffix(self.suffix))
            == Some(tenant)
    }

    pub(crate) fn fill(self, tenant: impl fmt::Display) -> String {
        format!("{}{tenant}{}", self.prefix, self.suffix)
    }
}

/// Whether a template as Entra publishes it (`…/{tenantid}/…`), filled with `tenant`, is `issuer`.
/// A text without the hole must be equal.
pub(crate) fn published_template_matches(template: &str, tenant: &str, issuer: &str) -> bool {
    match template.split_once("{tenantid}") {
        Some((prefix, suffix)) => {
            issuer
                .strip_prefix(prefix)
                .and_then(|rest| rest.strip_suffix(suffix))
                == Some(tenant)
        }
        None => template == issuer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

    #[test]
    fn an_issuer_is_compared_byte_for_byte() {
        let template = Cloud::Public.v2_template();
        let issuer = template.fill(TENANT);
        assert_eq!(
            issuer,
            format!("https://login.microsoftonline.com/{TENANT}/v2.0")
        );
        assert!(template.matches(&issuer, TENANT));
        for other in [
            format!("{issuer}/"),
            issuer.to_uppercase(),
            issuer.replace("https", "http"),
            issuer.replace(".com/", ".com.evil/"),
            "https://login.microsoftonline.com/{tenantid}/v2.0".to_owned(),
            "https://login.microsoftonline.com/v2.0".to_owned(),
            String::new(),
        ] {
            assert!(!template.matches(&other, TENANT), "{other}");
        }
    }

    #[test]
    fn overlapping_prefix_and_suffix_do_not_match() {
        assert!(
            !Cloud::Public
                .v1_template()
                .matches("https://sts.windows.net/", "")
        );
        assert!(!published_template_matches("a/{tenantid}/a", "", "a/a"));
    }

    #[test]
    fn a_published_template_binds_to_the_tenant() {
        let template = "https://login.microsoftonline.com/{tenantid}/v2.0";
        let issuer = Cloud::Public.v2_template().fill(TENANT);
        assert!(published_template_matches(template, TENANT, &issuer));
        assert!(published_template_matches(&issuer, TENANT, &issuer));
        let personal = Cloud::Public
            .v2_template()
            .fill("9188040d-6c67-4c5b-b112-36a304b66dad");
        assert!(!published_template_matches(&personal, TENANT, &issuer));
        assert!(!published_template_matches("", TENANT, &issuer));
    }
}
