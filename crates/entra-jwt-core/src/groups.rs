//! The groups of a caller, in the three states that a token can be in.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::identifier::{GroupId, Guid};
use crate::member::{Text, allocation};
use crate::object::MemberType;

/// What a token says about the caller's groups.
///
/// Only [`Listed`](Self::Listed) tells who is *not* in a group.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Groups<'a> {
    /// The claim `groups`: these and no others, among those that the API's app registration emits.
    Listed(&'a GroupList),
    /// More groups than fit (200 in a JWT, nested ones counted), so that Entra left the claim out
    /// and says so (`_claim_names`, or `hasgroups` in the implicit flow).
    ///
    /// The address that Entra gives in `_claim_sources` is that of a retired API: to know the
    /// groups, ask Microsoft Graph by the object id.
    Overage,
    /// Neither. The caller is in no group, or the API's app registration does not emit groups
    /// (`groupMembershipClaims`), which a token does not tell apart.
    NotEmitted,
}

/// The groups of a token: ids of 16 bytes each, and names where Entra is configured to emit those.
#[derive(Default)]
pub struct GroupList {
    ids: Vec<Guid>,
    names: Vec<Box<str>>,
}

impl GroupList {
    /// The groups that are given by object id: all of them, unless configured otherwise.
    pub fn ids(&self) -> impl Iterator<Item = GroupId> {
        self.ids.iter().copied().map(GroupId)
    }

    /// The groups that are given by name (`sam_account_name`, `cloud_displayname` and such).
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }

    /// Whether the group is among them: by object id in any case, or by its exact name.
    #[must_use]
    pub fn contains(&self, group: &str) -> bool {
        match Guid::from_setting(group) {
            Some(id) => self.ids.contains(&id),
            None => self.names().any(|name| name == group),
        }
    }

    /// How many groups there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len().saturating_add(self.names.len())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.names.is_empty()
    }
}

/// Says only how many: whose groups they are is not for logs.
impl fmt::Debug for GroupList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "GroupList({})", self.len())
    }
}

impl MemberType for GroupList {
    const EXPECTED: &'static str = "an array of strings";

    fn heap_size(&self) -> usize {
        let ids = allocation(size_of::<Guid>().saturating_mul(self.ids.capacity()));
        let names = allocation(size_of::<Text>().saturating_mul(self.names.capacity()));
        let texts: usize = self.names.iter().map(MemberType::heap_size).sum();
        ids.saturating_add(names).saturating_add(texts)
    }
}

impl<'de> Deserialize<'de> for GroupList {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        struct ListVisitor;

        impl<'de> Visitor<'de> for ListVisitor {
            type Value = GroupList;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(GroupList::EXPECTED)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut groups: A) -> Result<GroupList, A::Error> {
                let mut list = GroupList::default();
                while let Some(group) = groups.next_element()? {
                    match group {
                        Group::Id(id) => list.ids.push(id),
                        Group::Name(name) => list.names.push(name),
                    }
                }
                list.ids.shrink_to_fit();
                list.names.shrink_to_fit();
                Ok(list)
            }
        }

        value.deserialize_seq(ListVisitor)
    }
}

enum Group {
    Id(Guid),
    Name(Box<str>),
}

impl<'de> Deserialize<'de> for Group {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        struct GroupVisitor;

        impl Visitor<'_> for GroupVisitor {
            type Value = Group;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<Group, E> {
                Ok(match Guid::from_setting(text) {
                    Some(id) => Group::Id(id),
                    None => Group::Name(text.into()),
                })
            }
        }

        value.deserialize_str(GroupVisitor)
    }
}

/// `_claim_names`: which claims Entra left out. Its addresses (`_claim_sources`) are never read.
pub(crate) struct ClaimNames {
    pub(crate) has_groups: bool,
}

impl MemberType for ClaimNames {
    const EXPECTED: &'static str = "an object";
}

impl<'de> Deserialize<'de> for ClaimNames {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        struct NamesVisitor;

        impl<'de> Visitor<'de> for NamesVisitor {
            type Value = ClaimNames;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(ClaimNames::EXPECTED)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut names: A) -> Result<ClaimNames, A::Error> {
                let mut has_groups = false;
                while let Some(name) = names.next_key::<String>()? {
                    has_groups |= name == "groups";
                    names.next_value::<IgnoredAny>()?;
                }
                Ok(ClaimNames { has_groups })
            }
        }

        value.deserialize_map(NamesVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";

    #[test]
    fn ids_take_sixteen_bytes_and_names_stay_names() {
        let json = format!(r#"["{ID}","contoso\\sales","{}"]"#, ID.replace('0', "1"));
        let list: GroupList = serde_json::from_str(&json).unwrap();
        assert_eq!((list.ids.len(), list.names.len(), list.len()), (2, 1, 3));
        assert_eq!(size_of_val(&*list.ids), 32);
        assert_eq!(list.ids().next().unwrap().to_string(), ID);
        assert_eq!(list.names().next(), Some("contoso\\sales"));
        assert!(list.contains(ID) && list.contains(&ID.to_uppercase()));
        assert!(list.contains("contoso\\sales") && !list.contains("contoso\\Sales"));
        assert!(!list.contains("9188040d-6c67-4c5b-b112-36a304b66dad"));
        assert_eq!(format!("{list:?}"), "GroupList(3)");
    }

    #[test]
    fn the_names_of_absent_claims_are_an_object() {
        let names = |json| serde_json::from_str::<ClaimNames>(json).map(|names| names.has_groups);
        assert!(names(r#"{"groups":"src1"}"#).unwrap());
        assert!(!names(r#"{"other":"src1"}"#).unwrap());
        assert!(names(r#"["groups"]"#).is_err());
    }
}
