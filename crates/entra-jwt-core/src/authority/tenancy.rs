//! The tenants whose tokens are accepted.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::identifier::TenantId;

/// The tenants whose tokens are accepted: one, several, or those of `organizations`, `common` or
/// `consumers`.
///
/// In every case, the issuer of a token must belong to the token's own tenant. Accepting many
/// tenants never leaves the issuer unchecked.
///
/// Parsed from a tenant id, several tenant ids separated by commas, or one of `organizations`,
/// `common` and `consumers`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tenancy(Admitted);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Admitted {
    Tenant(TenantId),
    /// Sorted, without duplicates. No validator can be built with an empty list.
    Tenants(Arc<[TenantId]>),
    Organizations,
    Common,
    Consumers,
}

/// Maximum number of displayed tenants of a list. A refusal names the allowed tenants, and must
/// stay small.
const MOST_SHOWN: usize = 5;

/// The text is neither a tenant id, nor a list of tenant ids, nor `organizations`, `common` or
/// `consumers`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "neither a tenant id (a GUID such as 72f988bf-86f1-41af-91ab-2d7cd011db47), nor several \
     separated by commas, nor one of organizations, common, consumers"
)]
#[non_exhaustive]
pub struct InvalidTenancy;

impl Tenancy {
    /// Accepts tokens of one tenant.
    #[must_use]
    pub fn tenant(id: TenantId) -> Self {
        if id == TenantId::CONSUMERS {
            return Self::consumers();
        }
        Self(Admitted::Tenant(id))
    }

    /// Accepts tokens of these tenants.
    ///
    /// Building the validator fails if the list is empty.
    #[must_use]
    pub fn tenants(ids: impl IntoIterator<Item = TenantId>) -> Self {
        let mut ids: Vec<TenantId> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        match *ids {
            [id] => Self::tenant(id),
            _ => Self(Admitted::Tenants(ids.into())),
        }
    }

    /// Accepts tokens of any work or school tenant: all tenants except that of personal accounts.
    ///
    /// Anyone can create a tenant. For a product with customers, also decide about each tenant
    /// after verification (`tenant_rule` in `tower-entra-auth`).
    #[must_use]
    pub const fn organizations() -> Self {
        Self(Admitted::Organizations)
    }

    /// Accepts tokens of any tenant, and of personal Microsoft accounts.
    #[must_use]
    pub const fn common() -> Self {
        Self(Admitted::Common)
    }

    /// Accepts only tokens of personal Microsoft accounts: those of [`TenantId::CONSUMERS`].
    #[must_use]
    pub const fn consumers() -> Self {
        Self(Admitted::Consumers)
    }

    /// Returns whether tokens of the tenant are accepted.
    #[must_use]
    pub fn admits(&self, tenant: TenantId) -> bool {
        match &self.0 {
            Admitted::Tenant(id) => *id == tenant,
            Admitted::Tenants(ids) => ids.binary_search(&tenant).is_ok(),
            Admitted::Organizations => tenant != TenantId::CONSUMERS,
            Admitted::Common => true,
            Admitted::Consumers => tenant == TenantId::CONSUMERS,
        }
    }

    /// Returns the tenant whose tokens are accepted, if there is exactly one.
    #[must_use]
    pub const fn single(&self) -> Option<TenantId> {
        match &self.0 {
            Admitted::Tenant(id) => Some(*id),
            Admitted::Consumers => Some(TenantId::CONSUMERS),
            Admitted::Tenants(_) | Admitted::Organizations | Admitted::Common => None,
        }
    }

    /// Returns the ids of the accepted tenants, sorted; none for `organizations` and `common`.
    ///
    /// For `consumers`, it is the id of the tenant of personal accounts.
    pub fn tenant_ids(&self) -> impl Iterator<Item = TenantId> {
        let listed = match &self.0 {
            Admitted::Tenants(ids) => &**ids,
            _ => &[],
        };
        self.single().into_iter().chain(listed.iter().copied())
    }

    /// Returns the first path segment of Entra's documents: the tenant's id, or `organizations`,
    /// `common` or `consumers`.
    #[doc(hidden)] // for `tower-entra-auth` and similar crates
    #[must_use]
    pub fn path_segment(&self) -> String {
        match &self.0 {
            Admitted::Tenant(id) => id.to_string(),
            // The keys of personal accounts are not among those of organizations.
            Admitted::Tenants(_) if self.admits(TenantId::CONSUMERS) => "common".to_owned(),
            Admitted::Tenants(_) | Admitted::Organizations => "organizations".to_owned(),
            Admitted::Common => "common".to_owned(),
            Admitted::Consumers => "consumers".to_owned(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(&self.0, Admitted::Tenants(ids) if ids.is_empty())
    }
}

impl From<TenantId> for Tenancy {
    fn from(tenant: TenantId) -> Self {
        Self::tenant(tenant)
    }
}

impl FromStr for Tenancy {
    type Err = InvalidTenancy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "organizations" => Ok(Self::organizations()),
            "common" => Ok(Self::common()),
            "consumers" => Ok(Self::consumers()),
            list => list
                .split(',')
                .map(|id| id.trim().parse())
                .collect::<Result<Vec<TenantId>, _>>()
                .map(Self::tenants)
                .map_err(|_| InvalidTenancy),
        }
    }
}

impl fmt::Display for Tenancy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Admitted::Tenant(id) => fmt::Display::fmt(id, formatter),
            Admitted::Tenants(ids) => {
                for (position, id) in ids.iter().take(MOST_SHOWN).enumerate() {
                    let comma = if position == 0 { "" } else { ", " };
                    write!(formatter, "{comma}{id}")?;
                }
                match ids.len().saturating_sub(MOST_SHOWN) {
                    0 => Ok(()),
                    more => write!(formatter, " and {more} more"),
                }
            }
            Admitted::Organizations => {
                formatter.write_str("any work or school tenant (organizations)")
            }
            Admitted::Common => formatter.write_str("any tenant (common)"),
            Admitted::Consumers => formatter.write_str("personal accounts only (consumers)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    const OTHER: &str = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";

    fn id(text: &str) -> TenantId {
        text.parse().unwrap()
    }

    #[test]
    fn each_admits_its_own_and_names_its_documents() {
        let consumers = TenantId::CONSUMERS;
        for (tenancy, admits, segment) in [
            (Tenancy::tenant(id(ONE)), [true, false, false], ONE),
            (
                Tenancy::tenants([id(ONE), id(OTHER)]),
                [true, true, false],
                "organizations",
            ),
            (
                Tenancy::tenants([id(OTHER), consumers]),
                [false, true, true],
                "common",
            ),
            (
                Tenancy::organizations(),
                [true, true, false],
                "organizations",
            ),
            (Tenancy::common(), [true, true, true], "common"),
            (Tenancy::consumers(), [false, false, true], "consumers"),
            (Tenancy::tenants([]), [false; 3], "organizations"),
        ] {
            let found = [id(ONE), id(OTHER), consumers].map(|tenant| tenancy.admits(tenant));
            assert_eq!(found, admits, "{tenancy}");
            assert_eq!(tenancy.path_segment(), segment);
        }
    }

    #[test]
    fn a_long_list_is_displayed_short() {
        let ids = (0..1_000).map(|n| id(&format!("00000000-0000-4000-8000-{n:012}")));
        let text = Tenancy::tenants(ids).to_string();
        assert!(text.ends_with("000000000004 and 995 more"), "{text}");
    }

    #[test]
    fn a_text_is_read_as_ids_or_as_entras_words() {
        let upper = ONE.to_uppercase();
        for (text, expected) in [
            (ONE, Tenancy::tenant(id(ONE))),
            (&upper, Tenancy::tenant(id(ONE))),
            (
                &format!("{ONE}, {OTHER}"),
                Tenancy::tenants([id(OTHER), id(ONE)]),
            ),
            (&format!("{ONE},{ONE}"), Tenancy::tenant(id(ONE))),
            (" organizations ", Tenancy::organizations()),
            ("common", Tenancy::common()),
            ("consumers", Tenancy::consumers()),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in [
            "",
            ",",
            "contoso.com",
            "Common",
            &format!("{ONE},"),
            &format!("{ONE} {ONE}"),
        ] {
            assert_eq!(text.parse::<Tenancy>(), Err(InvalidTenancy), "{text}");
        }
        assert_eq!(Tenancy::tenant(TenantId::CONSUMERS), Tenancy::consumers());
        assert_eq!(
            TenantId::CONSUMERS.to_string(),
            "9188040d-6c67-4c5b-b112-36a304b66dad"
        );
    }
}
