//! One configured authority: whose tokens, of which cloud, and which issuers that makes.

mod audience;
mod cloud;
mod discovery;
mod microsoft_api;
mod tenancy;

pub use self::audience::{Audience, InvalidAudience};
pub(crate) use self::audience::{Audiences, is_graph};
pub(crate) use self::cloud::published_template_matches;
pub use self::cloud::{Cloud, UnknownCloud};
use self::cloud::{EXTERNAL_ID, IssuerTemplate};
pub use self::discovery::{DiscoveryDocument, InvalidDiscoveryDocument};
pub(crate) use self::microsoft_api::name_of as microsoft_api_of;
pub use self::tenancy::{InvalidTenancy, Tenancy};
use crate::identifier::TenantId;

/// The format of a token, chosen by `api.requestedAccessTokenVersion` of the API's app
/// registration, not by the endpoint that the client used.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum TokenVersion {
    /// `null` or 1: the issuer is `sts.windows.net` or its like.
    V1,
    /// 2: the issuer ends in `/v2.0`.
    V2,
}

/// Who may have issued a token: a [`Tenancy`] in a [`Cloud`], or a tenant of External ID.
///
/// The issuers follow from constants of each cloud and the token's own tenant, never from a
/// document that was fetched. Part of a [`Validator`](crate::Validator).
#[derive(Clone, Debug)]
pub struct Authority {
    tenancy: Tenancy,
    cloud: Cloud,
    is_external_id: bool,
}

/// A discovery document is of somebody else.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignDocument {
    /// Of another cloud, or of none that is known.
    #[error("of {}, {expected} expected", crate::Shown(.found))]
    Cloud {
        /// The issuer or cloud name in the document.
        found: String,
        /// That of this authority.
        expected: String,
    },
    /// Of another tenant of this cloud.
    #[error("of the issuer {}, {expected} expected", crate::Shown(.found))]
    Tenant {
        /// The issuer in the document.
        found: String,
        /// That of this authority.
        expected: String,
    },
}

impl Authority {
    pub(crate) fn new(tenancy: Tenancy, cloud: Cloud, is_external_id: bool) -> Self {
        Self {
            tenancy,
            cloud,
            is_external_id,
        }
    }

    /// Whose tokens are accepted.
    #[must_use]
    pub fn tenancy(&self) -> &Tenancy {
        &self.tenancy
    }

    /// The national cloud.
    #[must_use]
    pub fn cloud(&self) -> Cloud {
        self.cloud
    }

    /// Whether this is a tenant of External ID (`ciamlogin.com`).
    #[must_use]
    pub fn is_external_id(&self) -> bool {
        self.is_external_id
    }

    /// The issuer of v2 tokens of a tenant.
    #[must_use]
    pub fn v2_issuer(&self, tenant: TenantId) -> String {
        self.v2_template().fill(tenant)
    }

    /// The issuer of v2 tokens, with `{tenantid}` where several tenants are accepted.
    #[must_use]
    pub fn v2_issuer_template(&self) -> String {
        self.filled(self.v2_template())
    }

    /// The issuers of v1 tokens, likewise.
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

    /// Where clients sign in, as claims challenges name it: that of any tenant (v1 endpoint), as
    /// Microsoft's services do, or of the one tenant of External ID.
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

    /// `cloud_instance_name` that the keys must have, if they have one. `None` for External ID,
    /// where the one counts that was discovered with the keys.
    #[must_use]
    pub fn cloud_instance_name(&self) -> Option<&'static str> {
        (!self.is_external_id).then(|| self.cloud.instance_name())
    }

    /// Whether a discovery document belongs to this authority, by strings that are known here:
    /// whatever it says, it cannot change which tokens are accepted.
    ///
    /// # Errors
    /// If it is of another cloud or tenant.
    pub fn check_document(&self, document: &DiscoveryDocument) -> Result<(), ForeignDocument> {
        let expected = self.v2_issuer_template();
        let found = &*document.issuer;
        if found != expected && found != self.v2_template().published() {
            let (found, is_ours) = (found.to_owned(), self.is_of_our_cloud(found));
            return Err(if is_ours {
                ForeignDocument::Tenant { found, expected }
            } else {
                ForeignDocument::Cloud { found, expected }
            });
        }
        match (&document.cloud_instance_name, self.cloud_instance_name()) {
            (Some(found), Some(expected)) if found != expected => Err(ForeignDocument::Cloud {
                found: found.clone(),
                expected: expected.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// The version of which the issuer is, filled with the token's own `tid`, byte for byte.
    pub(crate) fn version_of(&self, issuer: &str, tid: &str) -> Option<TokenVersion> {
        if self.v2_template().matches(issuer, tid) {
            return Some(TokenVersion::V2);
        }
        self.v1_templates()
            .iter()
            .any(|template| template.matches(issuer, tid))
            .then_some(TokenVersion::V1)
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
            Err(ForeignDocument::Cloud { .. }) => "cloud",
            Err(ForeignDocument::Tenant { .. }) => "tenant",
        }
    }

    #[test]
    fn a_document_is_of_the_authority_or_of_somebody_else() {
        let public = |tenancy: Tenancy| Authority::new(tenancy, Cloud::Public, false);
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
            let found = check(&public(tenancy.clone()), issuer, None);
            assert_eq!(found, expected, "{tenancy} {issuer}");
        }
        let authority = public(one);
        assert_eq!(check(&authority, &own, Some("microsoftonline.com")), "ok");
        assert_eq!(check(&authority, &own, Some("microsoftonline.us")), "cloud");
    }

    #[test]
    fn a_document_of_external_id_may_name_any_cloud_but_no_other_tenant() {
        let authority = Authority::new(Tenancy::tenant(ONE.parse().unwrap()), Cloud::Public, true);
        let own = format!("https://{ONE}.ciamlogin.com/{ONE}/v2.0");
        let other = own.replace(ONE, OTHER);
        let workforce = format!("https://login.microsoftonline.com/{ONE}/v2.0");
        assert_eq!(check(&authority, &own, None), "ok");
        assert_eq!(check(&authority, &own, Some("anything")), "ok");
        assert_eq!(check(&authority, &other, None), "tenant");
        assert_eq!(check(&authority, &workforce, None), "cloud");
    }
}
