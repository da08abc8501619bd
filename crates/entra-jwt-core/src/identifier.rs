//! The types of Entra's identifiers, parsed from text once.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// A GUID in the one spelling that Entra writes: 36 lower-case characters with four hyphens.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Guid(Uuid);

impl Guid {
    /// Parses the exact spelling that Entra writes into tokens.
    ///
    /// Upper case, braces and the form without hyphens are refused, so that each identifier has one
    /// spelling.
    pub(crate) fn from_token(text: &str) -> Option<Self> {
        Self::from_setting(text).filter(|_| !text.bytes().any(|byte| byte.is_ascii_uppercase()))
    }

    /// Parses a GUID in upper or lower case, otherwise as strictly as
    /// [`from_token`](Self::from_token).
    ///
    /// It is used for configured values, and where the case does not matter.
    pub(crate) fn from_setting(text: &str) -> Option<Self> {
        // The other forms that `Uuid` parses have other lengths.
        let has_hyphens = text.len() == 36;
        let guid = has_hyphens.then(|| Uuid::try_parse(text).ok());
        guid.flatten().map(Self)
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

/// The text is not a GUID of 36 characters, such as `72f988bf-86f1-41af-91ab-2d7cd011db47`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a GUID of the form 72f988bf-86f1-41af-91ab-2d7cd011db47")]
#[non_exhaustive]
pub struct InvalidGuid;

macro_rules! guid_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Parsed from the 36-character form in upper or lower case, printed in lower case.
        #[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub(crate) Guid);

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, formatter)
            }
        }

        /// Compares the id with a literal id; upper and lower case do not matter.
        ///
        /// Text that is not an id equals no id. Parse ids that come from a configuration: a
        /// comparison would hide a typo in them.
        impl PartialEq<str> for $name {
            fn eq(&self, text: &str) -> bool {
                Guid::from_setting(text) == Some(self.0)
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, text: &&str) -> bool {
                self == *text
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        /// Serializes the id as text.
        #[cfg(feature = "serde")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        /// Deserializes the id from text in upper or lower case.
        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl FromStr for $name {
            type Err = InvalidGuid;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Guid::from_setting(text).map(Self).ok_or(InvalidGuid)
            }
        }
    };
}

guid_type! {
    /// The id of a tenant (directory), as in the claim `tid`.
    TenantId
}

impl TenantId {
    /// The tenant of all personal Microsoft accounts,
    /// `9188040d-6c67-4c5b-b112-36a304b66dad`.
    pub const CONSUMERS: Self = Self(Guid(Uuid::from_u128(
        0x9188_040d_6c67_4c5b_b112_36a3_04b6_6dad,
    )));
}

guid_type! {
    /// An application (client) id, as in the claims `aud`, `azp` and `appid`.
    ClientId
}

guid_type! {
    /// The immutable id of a user or service principal in its tenant, as in the claim `oid`.
    ///
    /// It identifies a user or service principal only together with the [`TenantId`].
    ObjectId
}

guid_type! {
    /// The id of a group, as in the claim `groups`.
    GroupId
}

guid_type! {
    /// The id of a directory role's template, as in the claim `wids`.
    ///
    /// It is the same in every tenant.
    DirectoryRoleId
}

/// The name of a signing key, as in the header member `kid`: 1 to 256 bytes, compared byte for
/// byte.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId(Box<str>);

impl KeyId {
    /// Maximum length of a key id, in bytes.
    ///
    /// Entra's key ids have 27 bytes.
    pub const MAX_LENGTH: usize = 256;

    /// Returns a key id, or `None` if the text is empty or longer than
    /// [`MAX_LENGTH`](Self::MAX_LENGTH).
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        Self::is_bounded(text).then(|| Self(text.into()))
    }

    fn is_bounded(text: &str) -> bool {
        !text.is_empty() && text.len() <= Self::MAX_LENGTH
    }

    /// Returns the key id as text.
    ///
    /// The text comes from outside: escape it before you print it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOWER: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    const UPPER: &str = "72F988BF-86F1-41AF-91AB-2D7CD011DB47";

    #[test]
    fn a_guid_prints_as_it_was_read() {
        assert_eq!(LOWER.parse::<TenantId>().unwrap().to_string(), LOWER);
    }

    #[test]
    fn a_setting_may_be_upper_case_and_a_token_may_not() {
        assert_eq!(UPPER.parse::<TenantId>().unwrap().to_string(), LOWER);
        assert!(Guid::from_token(LOWER).is_some());
        assert!(Guid::from_token(UPPER).is_none());
    }

    #[test]
    fn an_id_compares_with_text_in_any_case() {
        let id: TenantId = LOWER.parse().unwrap();
        assert!(id == LOWER && id == UPPER && id == *LOWER);
        assert!(id != "72f988bf-86f1-41af-91ab-2d7cd011db48" && id != "contoso.com" && id != "");
    }

    #[test]
    fn other_spellings_of_a_guid_are_refused() {
        for text in [
            "",
            "contoso.com",
            "72f988bf86f141af91ab2d7cd011db47",
            "{72f988bf-86f1-41af-91ab-2d7cd011db47}",
            "72f988bf-86f1-41af-91ab-2d7cd011db4",
            "72f988bf-86f1-41af-91ab-2d7cd011db477",
            "72f988bf-86f1-41af-91ab-2d7cd011db4g",
            "72f988bf-86f1-41af-91ab02d7cd011db47",
            "72f988bf-86f1-41af-91ab-2d7cd011d-47",
            "７2f988bf-86f1-41af-91ab-2d7cd011db",
        ] {
            assert_eq!(text.parse::<TenantId>(), Err(InvalidGuid), "{text}");
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn ids_are_text_in_documents_keys_of_maps_too() {
        use std::collections::HashMap;

        let customers = format!(r#"{{"{UPPER}":["{LOWER}"]}}"#);
        let customers: HashMap<TenantId, Vec<ClientId>> = serde_json::from_str(&customers).unwrap();
        let id: TenantId = LOWER.parse().unwrap();
        assert_eq!(customers[&id], [LOWER]);
        let written = serde_json::to_string(&customers).unwrap();
        assert_eq!(written, format!(r#"{{"{LOWER}":["{LOWER}"]}}"#));
        for text in [r#""contoso.com""#, "5", "null"] {
            assert!(serde_json::from_str::<ObjectId>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_id_is_bounded() {
        assert!(KeyId::new("").is_none());
        assert!(KeyId::new(&"k".repeat(KeyId::MAX_LENGTH)).is_some());
        assert!(KeyId::new(&"k".repeat(KeyId::MAX_LENGTH + 1)).is_none());
    }
}
