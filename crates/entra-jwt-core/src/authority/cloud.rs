//! The clouds of Microsoft Entra ID, public and national, with their names and hosts.

use std::str::FromStr;

named! {
    /// A cloud of Microsoft: the worldwide public cloud, or a national cloud.
    ///
    /// Tokens of one cloud are never valid in another. Hosts and issuers are those of Microsoft's
    /// "National clouds" page and of the instance metadata of MSAL.
    #[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
    #[non_exhaustive]
    pub enum Cloud {
        /// The worldwide public cloud, `login.microsoftonline.com`.
        #[default]
        Public = "public",
        /// Azure US Government, `login.microsoftonline.us`.
        UsGovernment = "usgovernment",
        /// Azure China operated by 21Vianet, `login.partner.microsoftonline.cn`.
        China = "china",
    }
    /// Returns the name in this project's settings: `public`, `usgovernment`, `china`.
    name,
    /// Every known cloud.
    ALL
}

impl Cloud {
    /// Returns the host that serves discovery documents, keys and tokens.
    #[must_use]
    pub const fn authority_host(self) -> &'static str {
        match self {
            Self::Public => "login.microsoftonline.com",
            Self::UsGovernment => "login.microsoftonline.us",
            Self::China => "login.partner.microsoftonline.cn",
        }
    }

    /// Returns the authority host and the other hosts that serve the same documents.
    ///
    /// The public cloud's regional hosts are not included.
    const fn host_aliases(self) -> &'static [&'static str] {
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

    /// Returns whether this cloud serves its documents at the host.
    ///
    /// Such hosts are the [authority host](Self::authority_host), its aliases, and
    /// `{region}.login.microsoft.com` of the public cloud.
    #[doc(hidden)] // for `tower-entra-auth` and similar crates
    #[must_use]
    pub fn is_host(self, host: &str) -> bool {
        let is_region = |region: &str| {
            !region.is_empty()
                && region
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        self.host_aliases().contains(&host)
            || self == Self::Public
                && host
                    .strip_suffix(".login.microsoft.com")
                    .is_some_and(is_region)
    }

    /// Returns `cloud_instance_name` as discovery and JWKS documents spell it.
    #[must_use]
    pub const fn instance_name(self) -> &'static str {
        match self {
            Self::Public => "microsoftonline.com",
            Self::UsGovernment => "microsoftonline.us",
            Self::China => "partner.microsoftonline.cn",
        }
    }
}

/// The text names no known cloud.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown cloud; known clouds are public, usgovernment and china")]
#[non_exhaustive]
pub struct UnknownCloud;

impl FromStr for Cloud {
    type Err = UnknownCloud;

    /// Parses a [`name`](Self::name), or the name that the Azure CLI and the Azure SDKs use, in
    /// upper or lower case.
    fn from_str(name: &str) -> Result<Self, UnknownCloud> {
        match name.trim().to_ascii_lowercase().as_str() {
            "public" | "azurecloud" | "azurepublic" => Ok(Self::Public),
            "usgovernment" | "usgov" | "azureusgovernment" => Ok(Self::UsGovernment),
            "china" | "azurechinacloud" | "azurechina" => Ok(Self::China),
            _ => Err(UnknownCloud),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cloud_is_known_by_its_names() {
        for &cloud in Cloud::ALL {
            assert_eq!(cloud.name().parse(), Ok(cloud));
            assert_eq!(cloud.to_string().to_uppercase().parse(), Ok(cloud));
        }
        assert_eq!("AzureChinaCloud".parse(), Ok(Cloud::China));
        for name in ["", "germany", "login.microsoftonline.com"] {
            assert_eq!(name.parse::<Cloud>(), Err(UnknownCloud));
        }
    }

    #[test]
    fn hosts_belong_to_one_cloud() {
        for (host, cloud) in [
            ("login.windows.net", Some(Cloud::Public)),
            ("westus2.login.microsoft.com", Some(Cloud::Public)),
            ("login.usgovcloudapi.net", Some(Cloud::UsGovernment)),
            ("login.chinacloudapi.cn", Some(Cloud::China)),
            (".login.microsoft.com", None),
            ("a.b.login.microsoft.com", None),
            ("evil.example/.login.microsoft.com", None),
            ("login.microsoftonline.com.evil.example", None),
        ] {
            let found: Vec<Cloud> = Cloud::ALL
                .iter()
                .copied()
                .filter(|cloud| cloud.is_host(host))
                .collect();
            assert_eq!(found, Vec::from_iter(cloud), "{host}");
        }
    }
}
