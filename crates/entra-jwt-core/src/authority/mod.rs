//! The configured authority: its tenants, its cloud, and the issuers that follow from both.

mod audience;
mod cloud;
mod discovery;
mod tenancy;

use std::fmt;

pub(crate) use self::audience::Audiences;
pub use self::audience::{Audience, InvalidAudience};
pub use self::cloud::{Cloud, UnknownCloud};
pub use self::discovery::{DiscoveryDocument, InvalidDiscoveryDocument};
pub use self::tenancy::{InvalidTenancy, Tenancy};
use crate::identifier::TenantId;
use crate::shown::Escaped;

/// The format of a token.
///
/// The API's app registration chooses it (`api.requestedAccessTokenVersion`), not the endpoint that
/// the client used.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum TokenVersion {
    /// Version 1 (`requestedAccessTokenVersion` is `null` or 1): the issuer is `sts.windows.net`,
    /// or another cloud's equivalent.
    V1,
    /// Version 2 (`requestedAccessTokenVersion` is 2): the issuer ends in `/v2.0`.
    V2,
}

/// The issuers that a token may have: a [`Tenancy`] in a [`Cloud`], or a tenant of External ID.
///
/// The issuers follow from constants of each cloud and from the token's own tenant, never from a
/// fetched document. The authority is part of a [`Validator`](crate::Validator).
#[derive(Clone, Debug)]
pub struct Authority {
    tenancy: Tenancy,
    cloud: Cloud,
    is_external_id: bool,
}

/// The discovery document belongs to another authority.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", .0)]
pub struct ForeignDocument(Foreign);

#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
enum Foreign {
    /// The document belongs to another cloud, or to no known one.
    #[error("belongs to {}; expected {expected}", Escaped(.found))]
    Cloud { found: String, expected: String },
    /// The document belongs to another tenant of this cloud.
    #[error("belongs to the issuer {}; expected {expected}", Escaped(.found))]
    Tenant { found: String, expected: String },
}

impl ForeignDocument {
    /// Returns whether the document belongs to this cloud, but to another tenant.
    #[must_use]
    pub fn is_of_another_tenant(&self) -> bool {
        matches!(self.0, Foreign::Tenant { .. })
    }

    /// Returns the issuer or the cloud name in the document.
    ///
    /// The text comes from outside.
    #[must_use]
    pub fn found(&self) -> &str {
        match &self.0 {
            Foreign::Cloud { found, .. } | Foreign::Tenant { found, .. } => found,
        }
    }

    /// Returns the issuer or the cloud name of this authority.
    #[must_use]
    pub fn expected(&self) -> &str {
        match &self.0 {
            Foreign::Cloud { expected, .. } | Foreign::Tenant { expected, .. } => expected,
        }
    }
}

impl Authority {
    /// Returns whether an issuer is of Azure AD B2C: at `{name}.b2clogin.com`, or under `/tfp/` or
    /// `/te/`.
    ///
    /// A custom domain is recognised only under `/tfp/` or `/te/`.
    ///
    /// Source: "Overview of tokens in Azure Active Directory B2C", issuer claim.
    pub(crate) fn is_b2c(issuer: &str) -> bool {
        let mut segments = issuer.split('/').skip(2);
        let (host, first) = (segments.next(), segments.next());
        host.is_some_and(|host| host.contains(".b2clogin.")) || matches!(first, Some("tfp" | "te"))
    }

    pub(crate) fn new(tenancy: Tenancy) -> Self {
        Self {
            tenancy,
            cloud: Cloud::default(),
            is_external_id: false,
        }
    }

    pub(crate) fn set_cloud(&mut self, cloud: Cloud) {
        self.cloud = cloud;
    }

    pub(crate) fn set_external_id(&mut self) {
        self.is_external_id = true;
    }

    /// Returns the tenants whose tokens are accepted.
    #[must_use]
    pub fn tenancy(&self) -> &Tenancy {
        &self.tenancy
    }

    /// Returns the cloud of the tenants.
    #[must_use]
    pub fn cloud(&self) -> Cloud {
        self.cloud
    }

    /// Returns whether this is a tenant of External ID (`ciamlogin.com`).
    #[must_use]
    pub fn is_external_id(&self) -> bool {
        self.is_external_id
    }

    /// Returns the issuer of v2 tokens of a tenant.
    #[must_use]
    pub fn v2_issuer(&self, tenant: TenantId) -> String {
        self.v2_template().fill(tenant)
    }

    /// Returns the issuer of v2 tokens, with `{tenantid}` if several tenants are accepted.
    #[must_use]
    pub fn v2_issuer_template(&self) -> String {
        self.filled(self.v2_template())
    }

    /// Returns the issuers of v1 tokens, with `{tenantid}` if several tenants are accepted.
    pub(crate) fn v1_issuer_templates(&self) -> Vec<String> {
        let templates = self.v1_templates().iter();
        templates.map(|template| self.filled(*template)).collect()
    }

    fn filled(&self, template: IssuerTemplate) -> String {
        match self.tenancy.single() {
            Some(tenant) => template.fill(tenant),
            None => template.published(),
        }
    }

    /// Returns the URL where clients sign in, for use in claims challenges.
    ///
    /// It is the URL for any tenant (v1 endpoint), as in challenges of Microsoft's services. With
    /// External ID it is the URL of the one tenant.
    #[must_use]
    pub fn authorization_uri(&self) -> String {
        if let (true, Some(tenant)) = (self.is_external_id, self.tenancy.single()) {
            let issuer = self.v2_issuer(tenant);
            let base = issuer.trim_end_matches("/v2.0");
            return format!("{base}/oauth2/v2.0/authorize");
        }
        let prefix = self.cloud.v2_template().prefix();
        format!("{prefix}common/oauth2/authorize")
    }

    /// Returns the `cloud_instance_name` that the keys must have, if they have one.
    ///
    /// `None` for External ID: there, the name that was discovered with the keys counts.
    #[doc(hidden)] // for `tower-entra-auth` and similar crates
    #[must_use]
    pub fn cloud_instance_name(&self) -> Option<&'static str> {
        (!self.is_external_id).then(|| self.cloud.instance_name())
    }

    /// Checks that a discovery document belongs to this authority.
    ///
    /// The document is compared with known strings, so it cannot change which tokens are accepted.
    ///
    /// # Errors
    /// If the document belongs to another cloud or tenant.
    pub fn check_document(&self, document: &DiscoveryDocument) -> Result<(), ForeignDocument> {
        let expected = self.v2_issuer_template();
        let found = &*document.issuer;
        if found != expected && found != self.v2_template().published() {
            let (found, is_ours) = (found.to_owned(), self.is_of_our_cloud(found));
            return Err(if is_ours {
                ForeignDocument(Foreign::Tenant { found, expected })
            } else {
                ForeignDocument(Foreign::Cloud { found, expected })
            });
        }
        match (&document.cloud_instance_name, self.cloud_instance_name()) {
            (Some(found), Some(expected)) if found != expected => {
                Err(ForeignDocument(Foreign::Cloud {
                    found: found.clone(),
                    expected: expected.to_owned(),
                }))
            }
            _ => Ok(()),
        }
    }

    /// Returns the version of tokens with this issuer, or `None` if the issuer is not one of this
    /// authority.
    ///
    /// The issuer is compared byte for byte with the templates, filled with the token's own `tid`.
    pub(crate) fn version_of(&self, issuer: &str, tid: &str) -> Option<TokenVersion> {
        if self.v2_template().matches(issuer, tid) {
            return Some(TokenVersion::V2);
        }
        self.v1_templates()
            .iter()
            .any(|template| template.matches(issuer, tid))
            .then_some(TokenVersion::V1)
    }

    /// Returns whether a key may sign for the issuer of a token, by the issuer published with the
    /// key.
    ///
    /// As in Microsoft's `EnableAadSigningKeyIssuerValidation`, the v2 issuer on a key stands for
    /// the tenant's v1 issuer, too.
    pub(crate) fn key_may_sign(
        &self,
        key_issuer: &str,
        issuer: &str,
        tid: &str,
        version: TokenVersion,
    ) -> bool {
        published_template_matches(key_issuer, tid, issuer)
            || version == TokenVersion::V1
                && published_template_matches(key_issuer, tid, &self.v2_template().fill(tid))
    }

    fn v2_template(&self) -> IssuerTemplate {
        if self.is_external_id {
            EXTERNAL_ID
        } else {
            self.cloud.v2_template()
        }
    }

    fn v1_templates(&self) -> &'static [IssuerTemplate] {
        if self.is_external_id {
            &[]
        } else {
            self.cloud.v1_templates()
        }
    }

    fn is_of_our_cloud(&self, issuer: &str) -> bool {
        if self.is_external_id {
            issuer.contains(".ciamlogin.com/")
        } else {
            issuer.starts_with(self.v2_template().prefix())
        }
    }
}

/// The issuers of a cloud.
impl Cloud {
    const fn v2_template(self) -> IssuerTemplate {
        match self {
            Self::Public => IssuerTemplate(&["https://login.microsoftonline.com/", "/v2.0"]),
            Self::UsGovernment => IssuerTemplate(&["https://login.microsoftonline.us/", "/v2.0"]),
            Self::China => IssuerTemplate(&["https://login.partner.microsoftonline.cn/", "/v2.0"]),
        }
    }

    /// Returns the issuers of v1 tokens.
    ///
    /// The public and the US Government cloud share one issuer. Their keys distinguish the two
    /// clouds. Microsoft's Bot Framework also knows another issuer of US Government.
    const fn v1_templates(self) -> &'static [IssuerTemplate] {
        match self {
            Self::Public => &[STS_WINDOWS_NET],
            Self::UsGovernment => &[
                STS_WINDOWS_NET,
                IssuerTemplate(&["https://login.microsoftonline.us/", "/"]),
            ],
            Self::China => &[STS_CHINA],
        }
    }

    /// Returns the cloud of an issuer for that tenant.
    ///
    /// A refusal names this cloud, so clouds that share an issuer need not be distinguished.
    pub(crate) fn of_issuer(issuer: &str, tenant: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|cloud| {
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

/// The issuer of External ID.
///
/// Its host contains the tenant's id, no matter on which host the user signed in. Source: "External
/// ID: custom URL domains" and the captures of MSAL's tests.
const EXTERNAL_ID: IssuerTemplate = IssuerTemplate(&["https://", ".ciamlogin.com/", "/v2.0"]);

/// An issuer with gaps for the tenant id: the texts between the gaps.
#[derive(Clone, Copy, Debug)]
struct IssuerTemplate(&'static [&'static str]);

impl IssuerTemplate {
    /// Returns whether `issuer` is this template filled with `tenant`, byte for byte.
    fn matches(self, issuer: &str, tenant: &str) -> bool {
        is_filled(self.0.iter().copied(), tenant, issuer)
    }

    fn fill(self, tenant: impl fmt::Display) -> String {
        self.0.join(&*tenant.to_string())
    }

    /// Returns the template as it is in documents for many tenants.
    fn published(self) -> String {
        self.fill(HOLE)
    }

    /// Returns the text before the first gap.
    fn prefix(self) -> &'static str {
        self.0.first().copied().unwrap_or_default()
    }
}

const HOLE: &str = "{tenantid}";

/// Returns whether a template as Entra publishes it (`…/{tenantid}/…`), filled with `tenant`, is
/// `issuer`.
///
/// A template without `{tenantid}` must equal `issuer`.
fn published_template_matches(template: &str, tenant: &str, issuer: &str) -> bool {
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

    const ONE: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    const OTHER: &str = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";

    fn check(authority: &Authority, issuer: &str, cloud: Option<&str>) -> &'static str {
        let document = DiscoveryDocument {
            issuer: issuer.to_owned(),
            jwks_uri: String::new(),
            cloud_instance_name: cloud.map(str::to_owned),
        };
        match authority.check_document(&document) {
            Ok(()) => "ok",
            Err(foreign) if !foreign.is_of_another_tenant() => "cloud",
            Err(_) => "tenant",
        }
    }

    #[test]
    fn a_document_is_of_the_authority_or_of_somebody_else() {
        let one = Tenancy::tenant(ONE.parse().unwrap());
        let list = Tenancy::tenants([ONE.parse().unwrap(), OTHER.parse().unwrap()]);
        let own = format!("https://login.microsoftonline.com/{ONE}/v2.0");
        let many = "https://login.microsoftonline.com/{tenantid}/v2.0";
        let personal =
            "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0";
        for (tenancy, issuer, expected) in [
            (&one, &*own, "ok"),
            (&one, many, "ok"),
            (&one, personal, "tenant"),
            (&list, many, "ok"),
            (&list, &own, "tenant"),
            (&Tenancy::organizations(), many, "ok"),
            (&Tenancy::organizations(), personal, "tenant"),
            (&Tenancy::common(), many, "ok"),
            (&Tenancy::consumers(), personal, "ok"),
            (&Tenancy::consumers(), &own, "tenant"),
            (
                &one,
                "https://login.microsoftonline.us/{tenantid}/v2.0",
                "cloud",
            ),
            (&one, "https://evil.example/", "cloud"),
        ] {
            let found = check(&Authority::new(tenancy.clone()), issuer, None);
            assert_eq!(found, expected, "{tenancy} {issuer}");
        }
        let authority = Authority::new(one);
        assert_eq!(check(&authority, &own, Some("microsoftonline.com")), "ok");
        assert_eq!(check(&authority, &own, Some("microsoftonline.us")), "cloud");
    }

    #[test]
    fn a_document_of_external_id_may_name_any_cloud_but_no_other_tenant() {
        let mut authority = Authority::new(Tenancy::tenant(ONE.parse().unwrap()));
        authority.set_external_id();
        let own = format!("https://{ONE}.ciamlogin.com/{ONE}/v2.0");
        let other = own.replace(ONE, OTHER);
        let workforce = format!("https://login.microsoftonline.com/{ONE}/v2.0");
        assert_eq!(check(&authority, &own, None), "ok");
        assert_eq!(check(&authority, &own, Some("anything")), "ok");
        assert_eq!(check(&authority, &other, None), "tenant");
        assert_eq!(check(&authority, &workforce, None), "cloud");
    }

    #[test]
    fn an_issuer_is_compared_byte_for_byte() {
        let template = Cloud::Public.v2_template();
        let issuer = template.fill(ONE);
        assert_eq!(
            issuer,
            format!("https://login.microsoftonline.com/{ONE}/v2.0")
        );
        assert!(template.matches(&issuer, ONE));
        for other in [
            format!("{issuer}/"),
            issuer.to_uppercase(),
            issuer.replace("https", "http"),
            issuer.replace(".com/", ".com.evil/"),
            "https://login.microsoftonline.com/{tenantid}/v2.0".to_owned(),
            "https://login.microsoftonline.com/v2.0".to_owned(),
            String::new(),
        ] {
            assert!(!template.matches(&other, ONE), "{other}");
        }
    }

    #[test]
    fn overlapping_prefix_and_suffix_do_not_match() {
        let v1 = Cloud::Public.v1_templates()[0];
        assert!(!v1.matches("https://sts.windows.net/", ONE));
        assert!(!v1.matches(&v1.fill(&ONE[1..]), ONE));
        assert!(!published_template_matches("a/{tenantid}/a", ONE, "a/a"));
    }

    #[test]
    fn a_published_template_binds_to_the_tenant() {
        let template = "https://login.microsoftonline.com/{tenantid}/v2.0";
        let issuer = Cloud::Public.v2_template().fill(ONE);
        assert!(published_template_matches(template, ONE, &issuer));
        assert!(published_template_matches(&issuer, ONE, &issuer));
        let personal = Cloud::Public
            .v2_template()
            .fill("9188040d-6c67-4c5b-b112-36a304b66dad");
        assert!(!published_template_matches(&personal, ONE, &issuer));
        assert!(!published_template_matches("", ONE, &issuer));
        assert!(!published_template_matches(template, ONE, template));
    }

    #[test]
    fn the_issuer_of_external_id_has_the_tenant_twice() {
        let issuer = format!("https://{ONE}.ciamlogin.com/{ONE}/v2.0");
        let other = "9188040d-6c67-4c5b-b112-36a304b66dad";
        assert_eq!(EXTERNAL_ID.fill(ONE), issuer);
        assert!(EXTERNAL_ID.matches(&issuer, ONE));
        assert!(published_template_matches(
            &EXTERNAL_ID.published(),
            ONE,
            &issuer
        ));
        for wrong in [
            issuer.replacen(ONE, other, 1),
            issuer.replace(&format!("/{ONE}/"), &format!("/{other}/")),
            issuer.replacen(ONE, "contoso", 1),
            format!("{issuer}/"),
        ] {
            assert!(!EXTERNAL_ID.matches(&wrong, ONE), "{wrong}");
        }
    }
}
