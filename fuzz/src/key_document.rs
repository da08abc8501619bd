//! Reads a JWKS document a second time, with a reader that is independent of the core's.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Returns the entries of a document with the members that the core uses, or `None` if the document
/// is not a key set.
///
/// Each value is read separately. A value that `serde_json` cannot hold counts as a wrong type.
#[must_use]
pub fn entries(document: &[u8]) -> Option<Vec<Value>> {
    let document: Members = serde_json::from_str(str::from_utf8(document).ok()?).ok()?;
    let mut keys = document.named("keys");
    let entries = elements(keys.next()?)?;
    if keys.next().is_some() {
        return None;
    }
    Some(entries.iter().map(|entry| read_entry(entry)).collect())
}

const PUBLIC: [&str; 9] = [
    "kty",
    "use",
    "key_ops",
    "alg",
    "kid",
    "n",
    "e",
    "issuer",
    "cloud_instance_name",
];

const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

fn read_entry(entry: &RawValue) -> Value {
    let Ok(members) = serde_json::from_str::<Members>(entry.get()) else {
        return readable(entry);
    };
    let mut read = json!({});
    for name in PUBLIC.iter().chain(&PRIVATE) {
        if let Some(last) = members.named(name).last() {
            read[*name] = read_member(last);
        }
    }
    let is_twice = |name: &&str| members.named(name).nth(1).is_some();
    if PUBLIC.iter().any(is_twice) {
        read["kty"] = exotic();
    }
    read
}

/// Reads an array element by element, because `serde_json` may be unable to hold one of them.
fn read_member(value: &RawValue) -> Value {
    match elements(value) {
        Some(elements) => elements.iter().map(|element| readable(element)).collect(),
        None => readable(value),
    }
}

fn elements(array: &RawValue) -> Option<Vec<Box<RawValue>>> {
    serde_json::from_str(array.get()).ok()
}

fn readable(value: &RawValue) -> Value {
    serde_json::from_str(value.get()).unwrap_or_else(|_| exotic())
}

/// Returns a placeholder for a value that `serde_json` cannot hold; its type is wrong for every
/// member.
fn exotic() -> Value {
    json!({ "exotic": true })
}

/// The members of an object in a document.
///
/// A name is decoded only on lookup, because a member that is not used may contain anything, even
/// half a surrogate pair in its name.
#[derive(Debug)]
pub struct Members(Vec<(Box<RawValue>, Box<RawValue>)>);

impl Members {
    /// Parses a JSON object.
    ///
    /// # Panics
    /// If the text is not a JSON object.
    #[must_use]
    pub fn read(text: &str) -> Self {
        serde_json::from_str(text).expect("an accepted JSON object")
    }

    /// Returns the last member of this name if it is a string.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        let member = self.named(name).last()?;
        serde_json::from_str(member.get()).ok()
    }

    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a RawValue> {
        let members = self.0.iter();
        members
            .filter(move |(found, _)| {
                serde_json::from_str::<String>(found.get()).is_ok_and(|found| found == name)
            })
            .map(|(_, value)| &**value)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(object: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = object.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        object.deserialize_map(MembersVisitor)
    }
}
