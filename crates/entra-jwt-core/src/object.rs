//! Reads the top level of a JSON object: each member once, each known one with its type.
//!
//! Written by hand on serde because of three things that a derived struct does not do: any member
//! that stands twice is refused, known to us or not (RFC 7519 §4, RFC 8725 §2.4); the member that
//! has the wrong type is named; and what decides is read the same way whichever of serde_json's
//! features some crate in the tree turns on for all.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, Visitor};

use crate::rejection::{Part, Rejection};

/// A struct whose fields are the known members of one JSON object.
pub(crate) trait Members<'de>: Default {
    /// Reads the value that stands behind `name` into its field.
    fn read<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        object: &mut A,
        known: &Cell<Option<KnownMember>>,
    ) -> Result<Reading, A::Error>;

    /// How many bytes the fields hold beyond themselves.
    fn heap_size(&self) -> usize;
}

/// What became of one member.
pub(crate) enum Reading {
    /// Read into its field.
    Done,
    /// Its field is filled already.
    Duplicate,
    /// None of the fields has this name; the value is still to be read.
    Unknown,
}

/// The member whose value is being read, so that a wrong type can be named.
#[derive(Clone, Copy)]
pub(crate) struct KnownMember {
    pub(crate) name: &'static str,
    pub(crate) expected: &'static str,
}

/// The type of a member's value, with the words for a refusal: "expected {EXPECTED}".
pub(crate) trait MemberType {
    const EXPECTED: &'static str;

    /// How many bytes the value holds beyond itself.
    fn heap_size(&self) -> usize {
        0
    }
}

/// Declares a struct of optional fields, each read from the member of the given name.
macro_rules! members {
    (
        $(#[$meta:meta])*
        struct $name:ident {
            $($(#[$field_meta:meta])* $member:literal => $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Default)]
        pub(crate) struct $name {
            $($(#[$field_meta])* pub(crate) $field: Option<$type>,)*
        }

        impl<'de> $crate::object::Members<'de> for $name {
            fn read<A: serde::de::MapAccess<'de>>(
                &mut self,
                name: &str,
                object: &mut A,
                known: &std::cell::Cell<Option<$crate::object::KnownMember>>,
            ) -> Result<$crate::object::Reading, A::Error> {
                match name {
                    $($member => {
                        if self.$field.is_some() {
                            return Ok($crate::object::Reading::Duplicate);
                        }
                        known.set(Some($crate::object::KnownMember {
                            name: $member,
                            expected: <$type as $crate::object::MemberType>::EXPECTED,
                        }));
                        self.$field = Some(object.next_value()?);
                        known.set(None);
                        Ok($crate::object::Reading::Done)
                    })*
                    _ => Ok($crate::object::Reading::Unknown),
                }
            }

            fn heap_size(&self) -> usize {
                let sizes = [$(
                    self.$field.as_ref().map_or(0, $crate::object::MemberType::heap_size),
                )*];
                sizes.iter().sum()
            }
        }
    };
}
pub(crate) use members;

/// More than a token of Entra has.
const USUAL_UNKNOWN: usize = 24;

/// The members of `text` and the names of those that are none of `T`'s fields, in order.
pub(crate) fn read<'de, T: Members<'de>>(
    text: &'de str,
    part: Part,
) -> Result<(T, Vec<Unknown<'de>>), Rejection> {
    let known = Cell::new(None);
    let duplicate = Cell::new(None);
    let visitor = ObjectVisitor {
        known: &known,
        duplicate: &duplicate,
        members: T::default(),
    };

    let mut json = serde_json::Deserializer::from_str(text);
    let read = json
        .deserialize_map(visitor)
        .and_then(|members| json.end().map(|()| members));

    let (members, mut unknown) = read.map_err(|error| match (duplicate.take(), known.get()) {
        (Some(member), _) => Rejection::DuplicateMember { part, member },
        (None, Some(known)) if error.is_data() => Rejection::WrongType {
            part,
            member: known.name,
            expected: known.expected,
        },
        _ => Rejection::InvalidJson { part },
    })?;

    // Sorting keeps a token with thousands of members linear enough.
    unknown.sort_unstable();
    let twin = unknown.windows(2).find_map(|pair| match pair {
        [first, second] if first == second => Some(first.name.to_string()),
        _ => None,
    });
    match twin {
        Some(member) => Err(Rejection::DuplicateMember { part, member }),
        None => Ok((members, unknown)),
    }
}

/// A member that is none of the known ones. Ordered by its length and first letters, which are one
/// number, before the rest: comparing whole names was a twentieth of a validation.
#[derive(Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Unknown<'a> {
    beginning: u64,
    pub(crate) name: Cow<'a, str>,
}

impl<'a> Unknown<'a> {
    fn new(name: Cow<'a, str>) -> Self {
        let [length, ..] = name.len().to_le_bytes();
        let letters = match name.as_bytes() {
            [a, b, c, d, e, f, g, ..] => [length, *a, *b, *c, *d, *e, *f, *g],
            [a, b, c, ..] => [length, *a, *b, *c, 0, 0, 0, 0],
            _ => [length, 0, 0, 0, 0, 0, 0, 0],
        };
        Self {
            beginning: u64::from_le_bytes(letters),
            name,
        }
    }
}

struct ObjectVisitor<'a, T> {
    known: &'a Cell<Option<KnownMember>>,
    duplicate: &'a Cell<Option<String>>,
    members: T,
}

impl<'de, T: Members<'de>> Visitor<'de> for ObjectVisitor<'_, T> {
    type Value = (T, Vec<Unknown<'de>>);

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut unknown = Vec::new();
        while let Some(name) = object.next_key_seed(Name)? {
            match self.members.read(&name, &mut object, self.known)? {
                Reading::Done => {}
                Reading::Unknown => {
                    object.next_value::<IgnoredAny>()?;
                    if unknown.is_empty() {
                        unknown.reserve(USUAL_UNKNOWN);
                    }
                    unknown.push(Unknown::new(name));
                }
                Reading::Duplicate => {
                    self.duplicate.set(Some(name.into_owned()));
                    return Err(serde::de::Error::custom("duplicate member"));
                }
            }
        }
        Ok((self.members, unknown))
    }
}

/// A member's name, borrowed unless it is written with escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, name: D) -> Result<Self::Value, D::Error> {
        name.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a member's name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}
