//! The types of claims on which nothing depends: read leniently, and only where somebody asks.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::json_text;

/// A text on which nothing depends: a string, or a number or boolean in its JSON form; anything
/// else counts as absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Informal(Option<Box<str>>);

impl Informal {
    /// Reads the JSON text of any value.
    pub(crate) fn read(value: &str) -> Self {
        serde_json::from_str(value).unwrap_or_default()
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl<'de> Deserialize<'de> for Informal {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_any(InformalVisitor)
    }
}

struct InformalVisitor;

impl<'de> Visitor<'de> for InformalVisitor {
    type Value = Informal;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Informal, E> {
        Ok(Informal(Some(text.into())))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Informal, E> {
        Ok(Informal(Some(value.to_string().into())))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Informal, E> {
        Ok(Informal(Some(value.to_string().into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Informal, E> {
        Ok(Informal(Some(value.to_string().into())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Informal, E> {
        Ok(Informal(Some(value.to_string().into())))
    }

    fn visit_unit<E>(self) -> Result<Informal, E> {
        Ok(Informal(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Informal, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Informal(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Informal, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Informal(None))
    }
}

/// Texts on which nothing depends: an array, of which what is no text or a blank one is left out, or
/// one text.
#[derive(Clone, Debug, Default)]
pub(crate) struct InformalList(Vec<Box<str>>);

impl InformalList {
    /// Reads the JSON text of any value.
    pub(crate) fn read(value: &str) -> Self {
        let texts = match json_text::elements(value) {
            Some(elements) => elements.flatten().filter_map(text).collect(),
            None => text(value).into_iter().collect(),
        };
        Self(texts)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}

fn text(value: &str) -> Option<Box<str>> {
    let text = json_text::string(value)?;
    (!text.trim().is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_texts_in_a_list_are_none() {
        let list = InformalList::read(r#"["", "pwd", " "]"#);
        assert_eq!(list.iter().collect::<Vec<_>>(), ["pwd"]);
        assert_eq!(InformalList::read(r#""""#).iter().count(), 0);
    }
}
