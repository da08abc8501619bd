//! The groups of a caller, in one of the three states that a token can have.

use std::fmt;

use super::{HeapSize, Member, MemberError, TextList, allocation, names};
use crate::identifier::{GroupId, Guid};
use crate::json::Reader;

/// The caller's groups, as far as the token names them.
///
/// Only [`Listed`](Self::Listed) shows that a caller is *not* in a group.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Groups<'a> {
    /// The groups in the claim `groups`: all of the caller's groups among those that the API's app
    /// registration emits.
    Listed(&'a GroupList),
    /// More groups than fit into the token (200 in a JWT, nested ones counted).
    ///
    /// Entra omits the claim and says so: in `_claim_names`, or in `hasgroups` in the implicit
    /// flow.
    ///
    /// The address that Entra gives in `_claim_sources` is that of a retired API. To get the
    /// groups, ask Microsoft Graph by the object id.
    Overage,
    /// The token neither lists groups nor says that there are too many.
    ///
    /// The caller is in no group, or the API's app registration does not emit groups
    /// (`groupMembershipClaims`). A token does not distinguish the two.
    NotEmitted,
}

/// The groups of a token: ids of 16 bytes each, and names where Entra is configured to emit names.
#[derive(Default)]
pub struct GroupList {
    ids: Vec<Guid>,
    names: Vec<Box<str>>,
    /// Set if there is a blank entry, which is not a group, but not an id either.
    has_blank: bool,
}

impl GroupList {
    /// Returns the groups that are given by object id: all of them, unless configured otherwise.
    pub fn ids(&self) -> impl Iterator<Item = GroupId> {
        self.ids.iter().copied().map(GroupId)
    }

    /// Returns the groups that are given by name (`sam_account_name`, `cloud_displayname` and
    /// such).
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }

    /// Returns whether the list has the group, by object id in upper or lower case, or by its exact
    /// name.
    #[must_use]
    pub fn contains(&self, group: &str) -> bool {
        match Guid::from_setting(group) {
            Some(id) => self.ids.contains(&id),
            None => self.names().any(|name| name == group),
        }
    }

    /// Returns whether each group is given by its id.
    ///
    /// A list of names does not show that a caller is not in a group.
    pub(crate) fn has_ids_alone(&self) -> bool {
        self.names.is_empty() && !self.has_blank
    }

    /// Returns the number of groups.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len().saturating_add(self.names.len())
    }

    /// Returns whether there is no group.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.names.is_empty()
    }
}

/// Shows only the number of groups: a person's groups are not for logs.
impl fmt::Debug for GroupList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "GroupList({})", self.len())
    }
}

impl HeapSize for GroupList {
    fn heap_size(&self) -> usize {
        let ids = allocation(size_of::<Guid>().saturating_mul(self.ids.capacity()));
        let names = allocation(size_of::<Box<str>>().saturating_mul(self.names.capacity()));
        let texts: usize = self.names.iter().map(HeapSize::heap_size).sum();
        ids.saturating_add(names).saturating_add(texts)
    }
}

/// The claim `groups`.
#[derive(Clone, Copy)]
pub(crate) struct GroupsMember(TextList);

impl Member for GroupsMember {
    const EXPECTED: &'static str = TextList::EXPECTED;

    type Owned = GroupList;

    fn read(value: &mut Reader<'_>) -> Result<Self, MemberError> {
        TextList::read(value).map(Self)
    }

    fn own(self, text: &str) -> GroupList {
        let mut list = GroupList::default();
        let (count, groups) = self.0.of(text);
        for group in groups {
            match Guid::from_setting(&group) {
                Some(id) => list.ids.push(id),
                None => list.names.push(group.into()),
            }
        }
        list.has_blank = list.len() < count;
        list.ids.shrink_to_fit();
        list.names.shrink_to_fit();
        list
    }
}

/// The claim `_claim_names`: the names of the claims that Entra omitted.
///
/// The addresses in `_claim_sources` are never read.
#[derive(Clone, Copy)]
pub(crate) struct ClaimNames {
    pub(crate) has_groups: bool,
}

impl HeapSize for ClaimNames {}

impl Member for ClaimNames {
    const EXPECTED: &'static str = "an object";

    type Owned = Self;

    fn read(value: &mut Reader<'_>) -> Result<Self, MemberError> {
        let mut has_groups = false;
        names(value, |name| has_groups |= name == *"groups")?;
        Ok(Self { has_groups })
    }

    fn own(self, _: &str) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";

    fn list(json: &str) -> GroupList {
        GroupsMember::read(&mut Reader::new(json))
            .unwrap()
            .own(json)
    }

    #[test]
    fn ids_take_sixteen_bytes_and_names_stay_names() {
        let json = format!(r#"["{ID}","contoso\\sales","{}"]"#, ID.replace('0', "1"));
        let list = list(&json);
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
    fn a_blank_group_is_none_but_no_id_either() {
        for (json, length, has_ids_alone) in [
            ("[]", 0, true),
            (r#"[""]"#, 0, false),
            (r#"["", " ", "\u0020"]"#, 0, false),
            (&format!(r#"["{ID}"]"#), 1, true),
            (&format!(r#"["{ID}",""]"#), 1, false),
            (&format!(r#"["{ID}","sales"]"#), 2, false),
        ] {
            let list = list(json);
            assert_eq!(list.len(), length, "{json}");
            assert_eq!(list.has_ids_alone(), has_ids_alone, "{json}");
            assert!(!list.contains("") && !list.contains(" "), "{json}");
        }
    }

    #[test]
    fn the_names_of_absent_claims_are_an_object() {
        let names = |json| ClaimNames::read(&mut Reader::new(json)).map(|names| names.has_groups);
        assert!(names(r#"{"groups":"src1"}"#).unwrap());
        assert!(!names(r#"{"other":"src1"}"#).unwrap());
        assert!(names(r#"{"gr\u006fups":"src1"}"#).unwrap());
        assert!(names(r#"["groups"]"#).is_err());
    }
}
