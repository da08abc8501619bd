//! Reads a JWKS document a second time: by another reader, which knows nothing of ours.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The entries of a document with the members that are looked at; `None` if it is no key set. Each
/// value is read by itself: one that is beyond `serde_json` stands for a wrong type.
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

/// An array is read element by element, as one of them may be beyond `serde_json`.
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

/// Stands for a value that is beyond `serde_json`: of no type that a member may have.
fn exotic() -> Value {
    json!({ "exotic": true })
}

/// The members of an object in a document. A name is read when it is asked for, as it may have half a surrogate
/// pair in it: what nobody needs may be anything.
#[derive(Debug)]
pub struct Members(Vec<(Box<RawValue>, Box<RawValue>)>);

impl Members {
    /// # Panics
    /// If the text is no JSON object.
    #[must_use]
    pub fn read(text: &str) -> Self {
        serde_json::from_str(text).expect("an accepted JSON object")
    }

    /// Returns the last member of this name, if it is a text.
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
