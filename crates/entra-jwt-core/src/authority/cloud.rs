//! The national clouds of Microsoft Entra ID and the issuers that each writes into tokens.

use std::fmt;
use std::str::FromStr;

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

    /// The authority host and the other hosts that serve the same documents. The public cloud's
    /// regional hosts are not listed: see [`is_host`](Self::is_host).
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

    /// Whether this cloud serves its documents at the host: one of
    /// [`host_aliases`](Self::host_aliases), or `{region}.login.microsoft.com` of the public cloud.
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

    /// `cloud_instance_name` as discovery and key documents spell it.
    #[must_use]
    pub const fn instance_name(self) -> &'static str {
        match self {
            Self::Public => "microsoftonline.com",
            Self::UsGovernment => "microsoftonline.us",
            Self::China => "partner.microsoftonline.cn",
        }
    }

    pub(crate) const fn v2_template(self) -> IssuerTemplate {
        match self {
            Self::Public => IssuerTemplate(&["https://login.microsoftonline.com/", "/v2.0"]),
            Self::UsGovernment => IssuerTemplate(&["https://login.microsoftonline.us/", "/v2.0"]),
            Self::China => IssuerTemplate(&["https://login.partner.microsoftonline.cn/", "/v2.0"]),
        }
    }

    /// The public and the US Government cloud share one: their keys tell them apart. Microsoft's
    /// Bot Framework knows another one of US Government beside it.
    pub(crate) const fn v1_templates(self) -> &'static [IssuerTemplate] {
        match self {
            Self::Public => &[STS_WINDOWS_NET],
            Self::UsGovernment => &[
                STS_WINDOWS_NET,
                IssuerTemplate(&["https://login.microsoftonline.us/", "/"]),
            ],
            Self::China => &[STS_CHINA],
        }
    }

    /// The cloud of which the issuer is, for that tenant; for saying which one a refused token is
    /// of, so the clouds that share an issuer need not be told apart.
    pub(crate) fn of_issuer(issuer: &str, tenant: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cloud| {
            cloud.v2_template().matches(issuer, tenant)
                || cloud
                    .v1_templates()
                    .iter()
                    .any(|template| template.matches(issuer, tenant))
        })
    }
}

const STS_WINDOWS_NET: IssuerTemplate = IssuerTemplate(&["https://sts.windows.net/", "/"]);
const STS_CHINA: IssuerTemplate = IssuerTemplate(&["https://sts.chinacloudapi.cn/", "/"]);

/// The issuer of External ID, on a host of the tenant's id whatever host the sign-in was on.
/// Source: "External ID: custom URL domains" and the captures of MSAL's tests.
pub(crate) const EXTERNAL_ID: IssuerTemplate =
    IssuerTemplate(&["https://", ".ciamlogin.com/", "/v2.0"]);

impl fmt::Display for Cloud {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The text names no cloud that is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no known cloud; those are public, usgovernment and china")]
pub struct UnknownCloud;

impl FromStr for Cloud {
    type Err = UnknownCloud;

    /// By [`name`](Self::name), or as the Azure CLI and the Azure SDKs call it, in any case.
    fn from_str(name: &str) -> Result<Self, UnknownCloud> {
        match name.trim().to_ascii_lowercase().as_str() {
            "public" | "azurecloud" | "azurepublic" => Ok(Self::Public),
            "usgovernment" | "usgov" | "azureusgovernment" => Ok(Self::UsGovernment),
            "china" | "azurechinacloud" | "azurechina" => Ok(Self::China),
            _ => Err(UnknownCloud),
        }
    }
}

/// An issuer with holes for the tenant id: the texts between them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IssuerTemplate(&'static [&'static str]);

impl IssuerTemplate {
    /// Whether `issuer` is this template filled with `tenant`, byte for byte.
    pub(crate) fn matches(self, issuer: &str, tenant: &str) -> bool {
        is_filled(self.0.iter().copied(), tenant, issuer)
    }

    pub(crate) fn fill(self, tenant: impl fmt::Display) -> String {
        self.0.join(&*tenant.to_string())
    }

    /// As documents of many tenants have it.
    pub(crate) fn published(self) -> String {
        self.fill(HOLE)
    }

    /// What stands before the first hole.
    pub(crate) fn prefix(self) -> &'static str {
        self.0.first().copied().unwrap_or_default()
    }
}

const HOLE: &str = "{tenantid}";

/// Whether a template as Entra publishes it (`…/{tenantid}/…`), filled with `tenant`, is `issuer`.
/// A text without the hole must be equal.
pub(crate) fn published_template_matches(template: &str, tenant: &str, issuer: &str) -> bool {
    is_filled(template.split(HOLE), tenant, issuer)
}

fn is_filled<'a>(mut parts: impl Iterator<Item = &'a str>, tenant: &str, issuer: &str) -> bool {
    let first = parts.next().and_then(|first| issuer.strip_prefix(first));
    let rest = parts.try_fold(first, |rest, part| {
        rest.and_then(|rest| rest.strip_prefix(tenant)?.strip_prefix(part))
            .map(Some)
    });
    rest.flatten() == Some("")
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
        let v1 = Cloud::Public.v1_templates()[0];
        assert!(!v1.matches("https://sts.windows.net/", TENANT));
        assert!(!v1.matches(&v1.fill(&TENANT[1..]), TENANT));
        assert!(!published_template_matches("a/{tenantid}/a", TENANT, "a/a"));
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
        assert!(!published_template_matches(template, TENANT, template));
    }

    #[test]
    fn the_issuer_of_external_id_has_the_tenant_twice() {
        let issuer = format!("https://{TENANT}.ciamlogin.com/{TENANT}/v2.0");
        let other = "9188040d-6c67-4c5b-b112-36a304b66dad";
        assert_eq!(EXTERNAL_ID.fill(TENANT), issuer);
        assert!(EXTERNAL_ID.matches(&issuer, TENANT));
        assert!(published_template_matches(
            &EXTERNAL_ID.published(),
            TENANT,
            &issuer
        ));
        for wrong in [
            issuer.replacen(TENANT, other, 1),
            issuer.replace(&format!("/{TENANT}/"), &format!("/{other}/")),
            issuer.replacen(TENANT, "contoso", 1),
            format!("{issuer}/"),
        ] {
            assert!(!EXTERNAL_ID.matches(&wrong, TENANT), "{wrong}");
        }
    }

    #[test]
    fn a_cloud_is_known_by_its_names() {
        for cloud in Cloud::ALL {
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
                .into_iter()
                .filter(|cloud| cloud.is_host(host))
                .collect();
            assert_eq!(found, Vec::from_iter(cloud), "{host}");
        }
    }
}
